//! `--pipe`: standard input is protocol; it goes to the server as it is, and replies are counted.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::answer::Answer;
use super::link::is_called_off;
use super::options::Options;
use super::session::emit;
use super::tool::{Failure, Tool};

/// How often the time since the last reply is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the last ECHO carries: 20 letters that no other reply is likely to be.
fn magic() -> [u8; 20] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut state = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
    std::array::from_fn(|_| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b'a' + ((mixed ^ (mixed >> 31)) % 26) as u8
    })
}

/// Copies standard input, then the ECHO that tells when everything has been answered.
fn send_all(mut to: impl Write, magic: &[u8]) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The line end closes an inline command that input may have ended in.
    let mut echo = b"\r\n".to_vec();
    resp::encode_command(&mut echo, &[b"ECHO", magic]);
    to.write_all(&echo)
}

/// Runs the mode; the exit code is 1 if a reply was an error.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let tool = Tool::connect(options)?;
    let call_off = tool.call_off();
    let mut link = tool.into_link();
    let writer = link.writer()?;
    let magic = magic();
    let (done, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
    // Milliseconds since `began` at which something was last heard or, before that, fully sent.
    let heard = Arc::new(AtomicU64::new(0));
    let elapsed = move || began.elapsed().as_millis() as u64;
    let patience = options.pipe_timeout.max(0).unsigned_abs().saturating_mul(1000);
    {
        let (done, heard) = (done.clone(), heard.clone());
        std::thread::spawn(move || {
            // A broken link is noticed by the reader, with better words.
            if send_all(writer, &magic).is_err() {
                return;
            }
            heard.store(elapsed(), Ordering::Relaxed);
            // Standard output may be closed; the counts are printed all the same if it is not.
            let _ = emit(b"All data transferred. Waiting for the last reply...\n");
            done.store(true, Ordering::Release);
            if patience == 0 {
                return;
            }
            loop {
                std::thread::sleep(LOOK);
                if elapsed().saturating_sub(heard.load(Ordering::Relaxed)) > patience {
                    call_off.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
    }
    let (mut errors, mut replies) = (0_u64, 0_u64);
    loop {
        let answer = match link.receive() {
            Ok(answer) => answer,
            Err(error) if is_called_off(&error) => {
                eprintln!("No replies for {} seconds: exiting.", options.pipe_timeout);
                errors += 1;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        heard.store(elapsed(), Ordering::Relaxed);
        if answer.is_push() {
            continue;
        }
        if let Answer::Error(text) = &answer {
            io::stderr().write_all(&[text, &b"\n"[..]].concat())?;
            errors += 1;
        }
        if answer.text() == Some(&magic[..]) && !answer.is_error() {
            // The words of the sender come first.
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            emit(b"Last reply received from server.\n")?;
            break;
        }
        replies += 1;
    }
    emit(format!("errors: {errors}, replies: {replies}\n").as_bytes())?;
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
