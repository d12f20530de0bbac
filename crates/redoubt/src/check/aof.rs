//! `redoubt check-aof [--fix|--truncate-to-timestamp TIME] FILE`, as redis-check-aof; seals of
//! ours are checked, too.
//!
//! Source: redis 7.0 `redis-check-aof.c` (what it prints, when it stops).

use crate::io::sys::reason;
use persistence::aof::{AofError, AofErrorKind, AofEvent, AofReader, Manifest};
use resp::Args;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";

/// What is to be done about what is found.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Look,
    /// Cut off what is not whole.
    Fix,
    /// Cut off what was written later.
    Until(i64),
}

/// What came of one file.
enum Outcome {
    Valid,
    Empty,
    Truncated,
    TruncatedToTime,
}

/// Why the check ends; it has been said already if the text is empty.
type Stop = String;

/// Runs the command.
pub fn main(args: &[OsString]) -> ExitCode {
    let (mode, file) = match args {
        [file] => (Mode::Look, file),
        [flag, file] if flag == "--fix" => (Mode::Fix, file),
        [flag, time, file] if flag == "--truncate-to-timestamp" => {
            match stdx::parse_i64(time.as_bytes()).filter(|time| *time >= 0) {
                Some(time) => (Mode::Until(time), file),
                None => {
                    println!("Invalid timestamp, aborting...");
                    return ExitCode::FAILURE;
                }
            }
        }
        _ => {
            println!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match run(mode, Path::new(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode, path: &Path) -> Result<(), Stop> {
    let cannot_open =
        |error: std::io::Error| format!("Cannot open file {}: {}", path.display(), reason(&error));
    let mut head = Vec::new();
    let file = File::open(path).map_err(cannot_open)?;
    file.take(64 * 1024)
        .read_to_end(&mut head)
        .map_err(|_| format!("Cannot read file: {}", path.display()))?;
    if is_manifest(&head) {
        return multi_part(mode, path);
    }
    println!("Start checking Old-Style AOF");
    let name = path.display().to_string();
    say(&check(mode, path, &name, true)?, "AOF", &name, mode);
    Ok(())
}

/// The first line that is no comment begins with `file`.
fn is_manifest(head: &[u8]) -> bool {
    let mut lines = head.split(|&b| b == b'\n').filter(|line| line.first() != Some(&b'#'));
    lines.next().is_some_and(|line| line.starts_with(b"file"))
}

fn multi_part(mode: Mode, path: &Path) -> Result<(), Stop> {
    println!("Start checking Multi Part AOF");
    let text = std::fs::read(path)
        .map_err(|error| format!("Cannot open file {}: {}", path.display(), reason(&error)))?;
    let manifest = Manifest::parse(&text).map_err(|error| error.to_string())?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let total = manifest.files().count();
    for (index, info) in manifest.files().enumerate() {
        let file = dir.join(std::ffi::OsStr::from_bytes(&info.name));
        let name = String::from_utf8_lossy(&info.name).into_owned();
        let is_base = index == 0 && manifest.base.is_some();
        if is_base {
            let mut magic = [0; 5];
            let rdb = File::open(&file)
                .map_err(|error| {
                    format!("Cannot open file {}: {}, aborting...", file.display(), reason(&error))
                })?
                .read_exact(&mut magic)
                .is_ok()
                && &magic == b"REDIS";
            let format = if rdb { "RDB" } else { "RESP" };
            println!("Start to check BASE AOF ({format} format).");
        }
        if index == usize::from(manifest.base.is_some()) {
            println!("Start to check INCR files.");
        }
        let outcome = check(mode, &file, &name, index + 1 == total)?;
        say(&outcome, if is_base { "BASE AOF" } else { "INCR AOF" }, &name, mode);
    }
    println!("All AOF files and manifest are valid");
    Ok(())
}

fn say(outcome: &Outcome, kind: &str, name: &str, mode: Mode) {
    match (outcome, mode) {
        (Outcome::Valid, _) => println!("{kind} {name} is valid"),
        (Outcome::Empty, _) => println!("{kind} {name} is empty"),
        (Outcome::Truncated, _) => println!("Successfully truncated AOF {name}"),
        (Outcome::TruncatedToTime, Mode::Until(time)) => {
            println!("Successfully truncated AOF {name} to timestamp {time}");
        }
        (Outcome::TruncatedToTime, _) => {}
    }
}

/// How far a file is whole.
#[derive(Default)]
struct Progress {
    ok_up_to: u64,
    multi: bool,
    /// Where the text of the last command's name lies.
    last_at: u64,
    lines: u64,
}

fn check(mode: Mode, path: &Path, name: &str, is_last: bool) -> Result<Outcome, Stop> {
    let cannot_open = |error: std::io::Error| {
        format!("Cannot open file {}: {}, aborting...", path.display(), reason(&error))
    };
    let mut file = File::open(path).map_err(cannot_open)?;
    let meta = file.metadata().map_err(cannot_open)?;
    if !meta.is_file() {
        return Err(format!("Cannot read file: {}", path.display()));
    }
    let size = meta.len();
    if size == 0 {
        return Ok(Outcome::Empty);
    }
    let mut magic = [0; 5];
    let is_rdb = file.read_exact(&mut magic).is_ok() && &magic == b"REDIS";
    file.rewind().map_err(cannot_open)?;
    let input = BufReader::with_capacity(1 << 20, file);
    let mut reader = if is_rdb {
        println!("[offset 0] Checking RDB file {name}");
        let Some(rdb) = super::rdb::check(input) else {
            return Err("RDB preamble of AOF file is not sane, aborting.".into());
        };
        println!("RDB preamble is OK, proceeding with AOF tail...");
        let offset = rdb.offset();
        let (input, ahead) = rdb.into_parts();
        AofReader::behind(input, ahead, offset)
    } else {
        AofReader::new(input)
    };
    let mut progress = Progress { ok_up_to: reader.offset(), ..Progress::default() };
    if let Some(outcome) = commands(mode, path, name, is_last, &mut reader, &mut progress)? {
        return Ok(outcome);
    }
    progress.lines = reader.lines() + 1;
    let ok = progress.ok_up_to;
    if let Mode::Until(time) = mode
        && ok == size
    {
        println!("Truncate nothing in AOF {name} to timestamp {time}");
        return Ok(Outcome::Valid);
    }
    println!(
        "AOF analyzed: filename={name}, size={size}, ok_up_to={ok}, ok_up_to_line={}, diff={}",
        progress.lines,
        size.saturating_sub(ok)
    );
    if reader.has_seals() && ok == size && reader.unsealed() > 0 {
        println!("[info] the last {} bytes have no checksum", reader.unsealed());
    }
    if ok == size {
        return Ok(Outcome::Valid);
    }
    if !matches!(mode, Mode::Fix) {
        return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
    }
    if !is_last {
        return Err(format!("Failed to truncate AOF {name} because it is not the last file"));
    }
    fix(path, name, size, ok)
}

fn fix(path: &Path, name: &str, size: u64, ok: u64) -> Result<Outcome, Stop> {
    println!(
        "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {ok} bytes",
        size - ok
    );
    print!("Continue? [y/N]: ");
    // Without a terminal the question just stands in the output.
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    if !answer.trim_start().starts_with(['y', 'Y']) {
        return Err("Aborting...".into());
    }
    cut(path, name, ok)?;
    Ok(Outcome::Truncated)
}

fn cut(path: &Path, name: &str, to: u64) -> Result<(), Stop> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(to).and_then(|()| file.sync_all()))
        .map_err(|error| format!("Failed to truncate AOF {name}: {}", reason(&error)))
}

/// Reads the commands as far as they are whole. An outcome if that ends the check of this file.
fn commands<R: Read>(
    mode: Mode,
    path: &Path,
    name: &str,
    is_last: bool,
    reader: &mut AofReader<R>,
    progress: &mut Progress,
) -> Result<Option<Outcome>, Stop> {
    loop {
        let start = reader.offset();
        match reader.next_event() {
            Ok(AofEvent::Command(args)) => {
                if !command(&args, start, name, progress) {
                    return Ok(None);
                }
            }
            Ok(AofEvent::Annotation(line)) => {
                if let Mode::Until(time) = mode
                    && time_of(line).is_some_and(|stamp| stamp > time)
                {
                    return cut_at_time(path, name, start, time, is_last).map(Some);
                }
            }
            Ok(AofEvent::Eof) => {
                if progress.multi {
                    println!(
                        "0x{:16x}: Reached EOF before reading EXEC for MULTI",
                        progress.last_at
                    );
                }
                return Ok(None);
            }
            Err(error) => {
                report(&error, start, name);
                if let AofErrorKind::Checksum { from, .. } = error.kind {
                    progress.ok_up_to = progress.ok_up_to.min(from);
                } else if is_damaged_seal(&error, start) {
                    progress.ok_up_to = progress.ok_up_to.min(reader.sealed_to());
                }
                return Ok(None);
            }
        }
        if !progress.multi {
            progress.ok_up_to = reader.offset();
        }
    }
}

/// Takes one command; false if it must not stand there.
fn command(args: &Args<'_>, start: u64, name: &str, progress: &mut Progress) -> bool {
    // Behind "*1" and "$5": both are commands of one word.
    progress.last_at = start + 8;
    let (is_multi, is_exec) = (args.is(0, "multi"), args.is(0, "exec"));
    if is_multi && progress.multi {
        println!("0x{:16x}: Unexpected MULTI in AOF {name}", progress.last_at);
        return false;
    }
    if is_exec && !progress.multi {
        println!("0x{:16x}: Unexpected EXEC in AOF {name}", progress.last_at);
        return false;
    }
    progress.multi = (progress.multi || is_multi) && !is_exec;
    true
}

/// A line that should have been a seal or a time stamp.
fn is_damaged_seal(error: &AofError, start: u64) -> bool {
    matches!(&error.kind, AofErrorKind::Malformed { found, .. } if error.offset == start && found.starts_with("'#"))
}

fn report(error: &AofError, start: u64, name: &str) {
    match &error.kind {
        AofErrorKind::Truncated { at, wanted, .. } if *wanted > 0 => {
            println!(
                "0x{at:16x}: Expected to read {wanted} bytes, got {} bytes",
                error.offset.saturating_sub(*at)
            );
        }
        AofErrorKind::Truncated { expected, at, .. } => {
            println!("0x{at:16x}: Expected {expected}, got the end of the file");
        }
        AofErrorKind::Malformed { found, .. }
            if error.offset == start && !found.starts_with("'#") && !found.starts_with("'*") =>
        {
            println!("AOF {name} format error");
        }
        AofErrorKind::Malformed { expected, found } => {
            println!("0x{:16x}: Expected {expected}, got: {found}", error.offset);
        }
        _ => println!("0x{:16x}: {error}", error.offset),
    }
}

fn time_of(line: &[u8]) -> Option<i64> {
    stdx::parse_i64(line.strip_prefix(b"#TS:")?.trim_ascii_end())
}

fn cut_at_time(
    path: &Path,
    name: &str,
    at: u64,
    time: i64,
    is_last: bool,
) -> Result<Outcome, Stop> {
    if at == 0 {
        return Err(format!(
            "AOF {} has nothing before timestamp {time}, aborting...",
            path.display()
        ));
    }
    if !is_last {
        println!(
            "Failed to truncate AOF {name} to timestamp {time} to offset {at} because it is not the last file."
        );
        return Err("If you insist, please delete all files after this file according to the manifest file and delete the corresponding records in manifest file manually. Then re-run redis-check-aof.".into());
    }
    cut(path, name, at)?;
    Ok(Outcome::TruncatedToTime)
}
