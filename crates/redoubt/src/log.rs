//! Log lines in Redis's format: `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL text`.
//!
//! Scripts and people search these lines; the format is part of what we promise. Source:
//! redis 7.0 `server.c:serverLogRaw`. Each line is one write, so that lines of several threads and
//! processes don't mix.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Levels of `loglevel`.
pub const DEBUG: u8 = 0;
/// See [`DEBUG`].
pub const VERBOSE: u8 = 1;
/// See [`DEBUG`].
pub const NOTICE: u8 = 2;
/// See [`DEBUG`].
pub const WARNING: u8 = 3;

static LEVEL: AtomicU8 = AtomicU8::new(NOTICE);
static ROLE: AtomicU8 = AtomicU8::new(b'C');
static TARGET: Mutex<Option<(String, File)>> = Mutex::new(None);
static QUEUE: OnceLock<Sender<Queued>> = OnceLock::new();

/// How long [`flush`] waits for a disk that does not answer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What the writing thread is given.
enum Queued {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Sets the lowest level that is written.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Sets the letter of the role: `M` master, `S` replica, `X` sentinel; `C` before that is known.
pub fn set_role(role: u8) {
    ROLE.store(role, Ordering::Relaxed);
}

/// Sends the lines to a file; an empty path is the standard output.
pub fn set_file(path: &str) -> std::io::Result<()> {
    let target = if path.is_empty() {
        None
    } else {
        Some((path.to_string(), OpenOptions::new().append(true).create(true).open(path)?))
    };
    *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = target;
    Ok(())
}

/// Writes one line, if its level is high enough. Line ends inside become blanks.
pub fn write(level: u8, text: &str) {
    if level < LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = [b'.', b'-', b'*', b'#'][usize::from(level.min(3))];
    let mut line = format!(
        "{}:{} {}.{:03} {} ",
        std::process::id(),
        char::from(ROLE.load(Ordering::Relaxed)),
        local_time(now.as_secs() as i64),
        now.subsec_millis(),
        char::from(mark)
    )
    .into_bytes();
    line.extend(text.bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
    line.push(b'\n');
    raw(&line);
}

/// From now on a thread of its own writes the lines: a disk that is busy (a write to any file may
/// wait for another one's sync) does not hold up whoever has something to say. Whoever ends the
/// process calls [`flush`] first.
pub fn write_in_background() -> Result<(), String> {
    let (sender, queue) = channel();
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_queued(&queue))
        .map_err(|error| format!("starting the thread 'log': {error}"))?;
    // A second call leaves the first thread in place; the new one ends.
    let _ = QUEUE.set(sender);
    Ok(())
}

fn write_queued(queue: &Receiver<Queued>) {
    for queued in queue {
        match queued {
            Queued::Line(line) => write_now(&line),
            Queued::Flush(done) => {
                // Nobody waits any more if this fails.
                let _ = done.send(());
            }
        }
    }
}

/// Waits until everything said so far is written.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        let (done, written) = channel();
        let _ = queue.send(Queued::Flush(done));
        let _ = written.recv_timeout(FLUSH_PATIENCE);
    }
}

/// Writes bytes as they are.
pub fn raw(bytes: &[u8]) {
    match QUEUE.get() {
        // The thread lives as long as the process.
        Some(queue) => {
            let _ = queue.send(Queued::Line(bytes.to_vec()));
        }
        None => write_now(bytes),
    }
}

fn write_now(bytes: &[u8]) {
    let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    // A log that can't be written must not stop the server.
    let _ = match target.as_mut() {
        Some((path, file)) => {
            // A rotated log is gone under our handle: open the new one.
            if std::fs::metadata(&*path).is_err()
                && let Ok(fresh) = OpenOptions::new().append(true).create(true).open(&*path)
            {
                *file = fresh;
            }
            file.write_all(bytes)
        }
        None => std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().flush()),
    };
}

/// `22 Nov 2026 18:07:59` in the machine's time zone.
fn local_time(secs: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let tm = crate::io::sys::local_tm(secs);
    format!(
        "{:02} {} {} {:02}:{:02}:{:02}",
        tm.day,
        MONTHS[usize::from(tm.month) % 12],
        tm.year,
        tm.hour,
        tm.minute,
        tm.second
    )
}
