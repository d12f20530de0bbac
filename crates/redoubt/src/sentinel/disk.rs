//! The thread that keeps the configuration file.
//!
//! One text waits at most: a newer one replaces it, since each holds everything. What a caller hears
//! about the newest covers the older ones.

use super::conf::plain;
use super::driver::News;
use crate::server::config_file;
use crate::server::server_spawn;
use mio::Waker;
use sentinel::PersistToken;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct Slot {
    next: Option<(PersistToken, Vec<u8>)>,
    busy: bool,
}

/// The file and the text that is on its way there.
pub struct Disk {
    path: PathBuf,
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Disk {
    /// Keeps the file at `path`.
    pub fn new(path: PathBuf) -> Arc<Disk> {
        Arc::new(Disk { path, slot: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the file's text, soon.
    pub fn write(&self, token: PersistToken, text: Vec<u8>) {
        self.lock().next = Some((token, text));
        self.changed.notify_all();
    }

    /// Waits until nothing is left to be written, but not longer than this.
    pub fn settle(&self, patience: Duration) {
        let slot = self.lock();
        // Either way the process ends next.
        let _ = self
            .changed
            .wait_timeout_while(slot, patience, |slot| slot.busy || slot.next.is_some());
    }

    /// Starts the thread; it tells the driver what has become of each text.
    pub fn spawn(self: &Arc<Disk>, news: Sender<News>, waker: Arc<Waker>) -> Result<(), String> {
        let disk = Arc::clone(self);
        server_spawn("disk", move || {
            loop {
                let (token, text) = disk.take();
                let result = config_file::replace(&disk.path, &text, holds_secret(&text));
                let result = result.map_err(|error| plain(&error));
                // The driver lives as long as the process.
                let _ = news.send(News::Written(token, result));
                let _ = waker.wake();
                disk.lock().busy = false;
                disk.changed.notify_all();
            }
        })
    }

    fn take(&self) -> (PersistToken, Vec<u8>) {
        let mut slot = self.lock();
        loop {
            if let Some(next) = slot.next.take() {
                slot.busy = true;
                return next;
            }
            slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// True if a line of the text has a password in it.
fn holds_secret(text: &[u8]) -> bool {
    text.split(|&b| b == b'\n').any(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default().to_ascii_lowercase();
        let second = words.next().unwrap_or_default().to_ascii_lowercase();
        match first.as_slice() {
            b"requirepass" | b"masterauth" | b"tls-key-file-pass" | b"tls-client-key-file-pass" => {
                true
            }
            b"sentinel" => matches!(second.as_slice(), b"auth-pass" | b"sentinel-pass"),
            b"user" => line.windows(2).any(|pair| pair == b" >" || pair == b" #"),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::holds_secret;

    #[test]
    fn passwords_are_seen_wherever_they_stand() {
        for text in [
            "port 1\nrequirepass x\n",
            "sentinel auth-pass mymaster x",
            "SENTINEL Sentinel-Pass x",
            "user default on >x",
        ] {
            assert!(holds_secret(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "port 1\n",
            "# requirepass x\n",
            "sentinel auth-user mymaster u",
            "user default on nopass",
        ] {
            assert!(!holds_secret(text.as_bytes()), "{text}");
        }
    }
}
