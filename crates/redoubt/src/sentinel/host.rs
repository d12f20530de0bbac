//! What a sentinel's node asks of the process, and the process's end.

use super::disk::Disk;
use super::driver::News;
use crate::log::{NOTICE, WARNING};
use crate::server::host::ProcessHost;
use crate::server::server_spawn;
use config::Config;
use keyspace::DbStripe;
use mio::Waker;
use node::{Host, Now, ProcessFacts, ShutdownHow};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;
use structures::Entry;

/// How long the end of the process waits for the disk.
const LAST_WRITE: Duration = Duration::from_secs(3);

/// Ends the process in an orderly way.
pub struct Ending {
    disk: Arc<Disk>,
    /// Files that go with the process.
    pidfile: Option<PathBuf>,
    socket: Option<PathBuf>,
    begun: AtomicBool,
}

impl Ending {
    /// The end of a process with this configuration.
    pub fn new(disk: Arc<Disk>, config: &Config) -> Ending {
        let path = |text: &config::Text| {
            text.non_empty().map(|text| PathBuf::from(String::from_utf8_lossy(text).into_owned()))
        };
        Ending {
            disk,
            pidfile: path(&config.pidfile),
            socket: path(&config.unixsocket),
            begun: AtomicBool::new(false),
        }
    }

    fn end(&self) -> ! {
        crate::log::write(WARNING, "User requested shutdown...");
        // A vote that was given out is on disk already; this is for the rest.
        self.disk.settle(LAST_WRITE);
        if let Some(path) = &self.pidfile {
            crate::log::write(NOTICE, "Removing the pid file.");
            let _ = std::fs::remove_file(path);
        }
        if let Some(path) = &self.socket {
            crate::log::write(NOTICE, "Removing the unix socket file.");
            let _ = std::fs::remove_file(path);
        }
        crate::log::write(WARNING, "Sentinel is now ready to exit, bye bye...");
        crate::log::flush();
        std::process::exit(0)
    }
}

/// SIGTERM and SIGINT end the process, a second SIGINT at once; SIGCHLD is news for the driver.
pub fn spawn_signals(
    ending: Arc<Ending>,
    news: Sender<News>,
    waker: Arc<Waker>,
) -> Result<(), String> {
    let wanted = [SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGCHLD];
    let mut signals =
        signal_hook::iterator::Signals::new(wanted).map_err(|error| format!("signals: {error}"))?;
    server_spawn("signals", move || {
        for signal in signals.forever() {
            let name = match signal {
                SIGTERM => "SIGTERM",
                SIGINT => "SIGINT",
                SIGCHLD => {
                    // The driver lives as long as the process.
                    let _ = news.send(News::ChildEnded);
                    let _ = waker.wake();
                    continue;
                }
                _ => continue,
            };
            if ending.begun.swap(true, Ordering::AcqRel) {
                if signal == SIGINT {
                    crate::log::write(WARNING, "You insist... exiting now.");
                    crate::log::flush();
                    std::process::exit(1);
                }
                continue;
            }
            crate::log::write(WARNING, &format!("Received {name} scheduling shutdown..."));
            let ending = Arc::clone(&ending);
            std::thread::spawn(move || ending.end());
        }
    })
}

/// The node's host: clocks and facts are the process's, files and data there are none.
pub struct SentinelHost {
    process: ProcessHost,
    ending: Arc<Ending>,
}

impl SentinelHost {
    /// A host that ends the process through `ending`.
    pub fn new(process: ProcessHost, ending: Arc<Ending>) -> SentinelHost {
        SentinelHost { process, ending }
    }
}

/// No command of a sentinel leads here.
fn no_data<T>() -> Result<T, String> {
    Err("ERR This instance is a sentinel".into())
}

impl Host for SentinelHost {
    fn now(&self) -> Now {
        self.process.now()
    }

    fn mono_us(&self) -> u64 {
        self.process.mono_us()
    }

    fn save(&self) -> Result<(), String> {
        no_data()
    }

    fn bgsave(&self, _schedule: bool) -> Result<&'static str, String> {
        no_data()
    }

    fn bgrewriteaof(&self, _in_exec: bool) -> Result<&'static str, String> {
        no_data()
    }

    fn load_aof(&self) -> Result<(), String> {
        no_data()
    }

    fn reload(&self, _save: bool, _flush: bool) -> Result<(), String> {
        no_data()
    }

    fn role_changed(&self, _is_replica: bool) {}

    fn shutdown(&self, _how: ShutdownHow) {
        self.ending.begun.store(true, Ordering::Release);
        self.ending.end()
    }

    fn read_config_file(&self) -> Result<String, String> {
        no_data()
    }

    fn write_config_file(&self, _text: &str) -> Result<(), String> {
        no_data()
    }

    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        self.process.read_acl_file(path)
    }

    fn write_acl_file(&self, path: &str, text: &[u8]) -> Result<(), String> {
        self.process.write_acl_file(path, text)
    }

    fn config_changed(&self, _old: &Config, _new: &Config, _names: &[&str]) -> Result<(), String> {
        no_data()
    }

    fn gateways(&self) -> Vec<std::net::IpAddr> {
        self.process.gateways()
    }

    fn facts(&self) -> ProcessFacts {
        self.process.facts()
    }

    fn free(&self, entries: Vec<Entry>, tables: Vec<DbStripe>) {
        drop((entries, tables));
    }

    fn random_hex(&self, digits: usize) -> String {
        self.process.random_hex(digits)
    }

    fn sleep_all(&self, _usec: u64) {}

    fn log(&self, level: u8, line: &str) {
        crate::log::write(level, line);
    }

    fn purge_memory(&self) {
        self.process.purge_memory();
    }

    fn malloc_stats(&self) -> String {
        self.process.malloc_stats()
    }

    fn crash(&self, how: &str) {
        self.process.crash(how);
    }
}
