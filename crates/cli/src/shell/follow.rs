//! Modes that make the server take this client for a replica: `--rdb` and `--functions-rdb` fetch
//! its data set as a file, `--replica` shows the commands that it sends its replicas.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use super::answer::Answer;
use super::link::{Link, error_text};
use super::options::Options;
use super::render;
use super::session::emit;
use super::tool::{Failure, Tool};

/// Bytes of the mark that ends a transfer whose length is not known before.
const MARK: usize = 40;
/// A line before a transfer is no longer than this.
const HEAD_MAX: u64 = 1024;

/// How the server says where the file ends.
enum Size {
    Known(u64),
    UpTo([u8; MARK]),
}

/// `REPLCONF name value`; a server that does not know the setting is told of.
fn replconf(tool: &mut Tool, name: &str, value: &str) -> Result<bool, Failure> {
    eprintln!("sending REPLCONF {name} {value}");
    let answer = tool.ask(&[b"REPLCONF", name.as_bytes(), value.as_bytes()])?;
    if let Answer::Error(text) = &answer {
        eprintln!("REPLCONF {name} error: {}", String::from_utf8_lossy(text));
    }
    Ok(!answer.is_error())
}

/// Sends SYNC and reads up to where the file begins.
fn begin(mut link: Link) -> Result<(Link, Size), Failure> {
    link.send(&[b"SYNC".to_vec()])?;
    let head = loop {
        let mut line = Vec::new();
        link.reader().take(HEAD_MAX).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(Failure("Error reading bulk length while SYNCing".into()));
        }
        // The server shows so that it is there while it prepares the file.
        if !line.trim_ascii().is_empty() {
            break line.trim_ascii().to_vec();
        }
    };
    if head.first() == Some(&b'-') {
        return Err(Failure(format!(
            "SYNC with master failed: {}",
            String::from_utf8_lossy(&head)
        )));
    }
    let size = match head.strip_prefix(b"$EOF:") {
        Some(mark) => mark.try_into().ok().map(Size::UpTo),
        None => head.strip_prefix(b"$").and_then(stdx::parse_u64).map(Size::Known),
    };
    let size = size.ok_or_else(|| {
        Failure(format!("SYNC: unexpected reply '{}'", String::from_utf8_lossy(&head)))
    })?;
    Ok((link, size))
}

/// Hands the file's bytes to `take`; returns how many were read of the link for it, with the mark.
fn transfer(
    link: &mut Link,
    size: &Size,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut read = 0;
    // What may be the beginning of the mark is kept back.
    let mut kept: Vec<u8> = Vec::new();
    loop {
        if let Size::Known(total) = size
            && read == *total
        {
            return Ok(read);
        }
        let piece = link.reader().fill_buf()?;
        if piece.is_empty() {
            return Err(Failure(
                "Error reading RDB payload while SYNCing: server closed the connection".into(),
            ));
        }
        let piece = match size {
            Size::Known(total) => {
                let left = usize::try_from(total - read).unwrap_or(usize::MAX);
                &piece[..piece.len().min(left)]
            }
            Size::UpTo(_) => piece,
        };
        let count = piece.len();
        read += count as u64;
        match size {
            Size::Known(_) => take(piece)?,
            Size::UpTo(mark) => {
                kept.extend_from_slice(piece);
                // Nothing follows the mark until the server has heard of its arrival.
                if kept.ends_with(mark) {
                    let end = kept.len() - MARK;
                    take(&kept[..end])?;
                    link.reader().consume(count);
                    return Ok(read);
                }
                let sure = kept.len().saturating_sub(MARK);
                take(&kept[..sure])?;
                kept.drain(..sure);
            }
        }
        link.reader().consume(count);
    }
}

/// `--rdb` and `--functions-rdb`: the server's data set, or its functions alone, into a file; `-` is
/// the standard output.
pub fn fetch(options: &Options, path: &OsString, functions_only: bool) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    replconf(&mut tool, "capa", "eof")?;
    replconf(&mut tool, "rdb-only", "1")?;
    if functions_only && !replconf(&mut tool, "rdb-filter-only", "functions")? {
        return Err(Failure("Failed requesting functions only RDB from server, aborting".into()));
    }
    let name = path.to_string_lossy().into_owned();
    let (mut link, size) = begin(tool.into_link())?;
    match &size {
        Size::Known(bytes) => {
            eprintln!("SYNC sent to master, writing {bytes} bytes to '{name}'");
        }
        Size::UpTo(_) => eprintln!(
            "SYNC sent to master, writing bytes of bulk transfer until EOF marker to '{name}'"
        ),
    }
    let failed =
        |what: &str, error: &io::Error| Failure(format!("{what} '{name}': {}", error_text(error)));
    let mut file = match name.as_str() {
        "-" => None,
        _ => Some(File::create(path).map_err(|error| failed("Error opening", &error))?),
    };
    let mut out = io::stdout();
    let read = transfer(&mut link, &size, &mut |bytes| {
        let written = match &mut file {
            Some(file) => file.write_all(bytes),
            None => out.write_all(bytes),
        };
        written.map_err(|error| failed("Error writing data to", &error))
    })?;
    match &file {
        Some(file) => file.sync_all(),
        None => out.flush(),
    }
    .map_err(|error| failed("Fail to fsync", &error))?;
    match size {
        Size::Known(_) => eprintln!("Transfer finished with success."),
        Size::UpTo(_) => {
            eprintln!("Transfer finished with success after {} bytes", read - MARK as u64);
        }
    }
    Ok(())
}

/// Says every second that the file has arrived: a server that has not noted yet that it is sent takes
/// no notice of the first time.
fn keep_acknowledging(link: &Link) -> Result<(), Failure> {
    let mut writer = link.writer()?;
    std::thread::spawn(move || {
        let mut ack = Vec::new();
        resp::encode_command(&mut ack, &[&b"REPLCONF"[..], b"ACK", b"0"]);
        while writer.write_all(&ack).is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    Ok(())
}

/// `--replica`: the commands that the server sends to replicas, until the connection ends.
pub fn replica(options: &Options) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    replconf(&mut tool, "capa", "eof")?;
    // An earlier wish for a part of the file would hold on.
    replconf(&mut tool, "rdb-filter-only", "")?;
    let (mut link, size) = begin(tool.into_link())?;
    match &size {
        Size::Known(bytes) => {
            eprintln!("SYNC with master, discarding {bytes} bytes of bulk transfer...");
        }
        Size::UpTo(_) => {
            eprintln!("SYNC with master, discarding bytes of bulk transfer until EOF marker...");
        }
    }
    let read = transfer(&mut link, &size, &mut |_| Ok(()))?;
    match size {
        Size::Known(_) => eprintln!("SYNC done. Logging commands from master."),
        Size::UpTo(_) => {
            let bytes = read - MARK as u64;
            eprintln!("SYNC done after {bytes} bytes. Logging commands from master.");
            eprintln!("sending REPLCONF ACK 0");
            keep_acknowledging(&link)?;
        }
    }
    loop {
        let command = link.receive()?;
        let mut line = render::csv(&command);
        line.push(b'\n');
        emit(&line)?;
    }
}
