//! `redoubt check-rdb FILE`, as redis-check-rdb.
//!
//! Source: redis 7.0 `redis-check-rdb.c` (what it prints).

use persistence::rdb::{Event, RdbErrorKind, RdbReader, ReadOptions};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
pub fn main(args: &[OsString]) -> ExitCode {
    let [file] = args else {
        eprintln!("Usage: redis-check-rdb <rdb-file-name>");
        return ExitCode::FAILURE;
    };
    let path = Path::new(file);
    println!("[offset 0] Checking RDB file {}", path.display());
    match File::open(path) {
        Ok(file) => match check(BufReader::with_capacity(1 << 20, file)) {
            Some(_) => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("Cannot open file {}: {}", path.display(), crate::io::sys::reason(&error));
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Counts {
    keys: u64,
    expires: u64,
    expired: u64,
}

impl Counts {
    fn print(&self) {
        println!("[info] {} keys read", self.keys);
        println!("[info] {} expires", self.expires);
        println!("[info] {} already expired", self.expired);
    }
}

/// Reads an RDB to its end and tells what there is. The reader at the end of it; `None` if the RDB
/// is damaged.
pub fn check<R: Read>(input: R) -> Option<RdbReader<R>> {
    let mut reader = RdbReader::new(input, ReadOptions::default());
    let (mut counts, now) = (Counts::default(), super::unix_ms());
    loop {
        let event = match reader.next_event() {
            Ok(event) => event,
            Err(error) => {
                println!("--- RDB ERROR DETECTED ---");
                println!("[offset {}] {}", error.offset(), reason(error.kind()));
                println!("[additional info] {error}");
                if let Some(key) = error.key() {
                    println!("[additional info] Reading key '{}'", key.escape_ascii());
                }
                counts.print();
                return None;
            }
        };
        let line = match event {
            Event::Aux { name, value } => Some(format!(
                "AUX FIELD {} = '{}'",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            )),
            Event::SelectDb(db) => Some(format!("Selecting DB ID {db}")),
            Event::Key(record) => {
                counts.keys += 1;
                counts.expires += u64::from(record.expire_at.is_some());
                counts.expired += u64::from(record.expire_at.is_some_and(|at| at < now));
                None
            }
            Event::Eof { checksum } => {
                let offset = reader.offset();
                match checksum {
                    Some(_) => println!("[offset {offset}] Checksum OK"),
                    None => println!(
                        "[offset {offset}] RDB file was saved with checksum disabled: no check performed."
                    ),
                }
                println!("[offset {offset}] \\o/ RDB looks OK! \\o/");
                counts.print();
                return Some(reader);
            }
            _ => None,
        };
        if let Some(line) = line {
            println!("[offset {}] {line}", reader.offset());
        }
    }
}

/// The kind of error in Redis's words.
fn reason(kind: &RdbErrorKind) -> String {
    match kind {
        RdbErrorKind::UnexpectedEof { .. } => "Unexpected EOF reading RDB file".into(),
        RdbErrorKind::BadMagic { .. } => "Wrong signature trying to load DB from file".into(),
        RdbErrorKind::BadVersion { found, .. } => {
            format!("Can't handle RDB format version {found}")
        }
        RdbErrorKind::ChecksumMismatch { .. } => "RDB CRC error".into(),
        RdbErrorKind::Io(error) => crate::io::sys::reason(error),
        _ => "Internal error in RDB reading".into(),
    }
}
