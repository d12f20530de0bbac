//! What the node asks of the program around it: files, processes, the network.

use config::Config;
use keyspace::DbStripe;
use structures::Entry;

/// How SHUTDOWN is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownHow {
    /// SAVE: even without save points. NOSAVE: never. `None`: as configured.
    pub save: Option<bool>,
    /// Without waiting for replicas.
    pub now: bool,
    /// Errors don't stop it.
    pub force: bool,
}

/// Facts of the process for INFO.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// Bytes allocated and in use.
    pub used_memory: u64,
    /// The most that ever was.
    pub used_memory_peak: u64,
    /// Bytes in use when the node started.
    pub used_memory_startup: u64,
    /// Resident set, bytes.
    pub rss: u64,
    /// Allocator: allocated, active, resident.
    pub allocator: (u64, u64, u64),
    /// Allocator's name.
    pub allocator_name: &'static str,
    /// Physical memory of the machine.
    pub total_system_memory: u64,
    /// CPU seconds: system, user, of this process.
    pub cpu: (f64, f64),
    /// CPU seconds: system, user, of the calling thread.
    pub cpu_thread: (f64, f64),
    /// `uname` words: system, release, machine.
    pub os: String,
    /// Path of the program.
    pub executable: String,
    /// Path of the configuration file, empty without one.
    pub config_file: String,
    /// `no`, `systemd`, `upstart`.
    pub supervised: &'static str,
}

/// The program around the node. Methods return at once unless they say otherwise.
pub trait Host: Send + Sync {
    /// Both clocks.
    fn now(&self) -> crate::Now;
    /// The monotonic clock alone, as [`crate::Now::mono_us`]: read after every command.
    fn mono_us(&self) -> u64 {
        self.now().mono_us
    }
    /// Writes a snapshot and returns when it is in its file (SAVE). Called without locks.
    fn save(&self) -> Result<(), String>;
    /// Starts a snapshot in the background. An error says why not (`ERR …`).
    fn bgsave(&self, schedule: bool) -> Result<&'static str, String>;
    /// Starts a rewrite of the append-only file. An error says why not (`ERR …`).
    /// `in_exec`: it may only be scheduled.
    fn bgrewriteaof(&self, in_exec: bool) -> Result<&'static str, String>;
    /// Brings the append-only file to disk, empties the data set and loads it again (DEBUG
    /// LOADAOF). Called without locks.
    fn load_aof(&self) -> Result<(), String>;
    /// The thread of the append-only file is to go on. Called under locks.
    fn wake_file(&self) {}
    /// Empties the data set and loads the file again (DEBUG RELOAD). Called without locks.
    fn reload(&self, save: bool, flush: bool) -> Result<(), String>;
    /// This node has become a replica, or a master. Called under all stripe locks.
    fn role_changed(&self, is_replica: bool);
    /// Begins to end the process. What comes of it is told by [`crate::Node::cancel_shutdown`], or
    /// not at all any more.
    fn shutdown(&self, how: ShutdownHow);
    /// The text of the configuration file, for a rewrite.
    fn read_config_file(&self) -> Result<String, String>;
    /// Replaces the configuration file.
    fn write_config_file(&self, text: &str) -> Result<(), String>;
    /// The text of the ACL file, or the operating system's reason.
    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String>;
    /// Replaces the ACL file: beside it, synced, renamed.
    fn write_acl_file(&self, path: &str, text: &[u8]) -> Result<(), String>;
    /// Acts on changed directives (port, bind, loglevel …). An error takes the change back.
    fn config_changed(&self, old: &Config, new: &Config, names: &[&str]) -> Result<(), String>;
    /// Facts for INFO.
    fn facts(&self) -> ProcessFacts;
    /// Bytes allocated and in use, without the other facts.
    fn used_memory(&self) -> u64 {
        self.facts().used_memory
    }
    /// Frees values and tables on a thread of its own.
    fn free(&self, entries: Vec<Entry>, tables: Vec<DbStripe>);
    /// Random lower-case hexadecimal digits from the system's secure source.
    fn random_hex(&self, digits: usize) -> String;
    /// Makes every worker stand still for so many microseconds (DEBUG SLEEP), the caller included.
    fn sleep_all(&self, usec: u64);
    /// The first so many workers get all connections (DEBUG ACTIVE-WORKERS); 0 leaves it to the server.
    fn set_active_workers(&self, _workers: usize) {}
    /// Writes a log line: level 0 debug, 1 verbose, 2 notice, 3 warning.
    fn log(&self, level: u8, line: &str);
    /// The addresses of the machine's default gateways, as they are now.
    fn gateways(&self) -> Vec<std::net::IpAddr> {
        Vec::new()
    }
    /// Resident memory is given back to the system (MEMORY PURGE).
    fn purge_memory(&self);
    /// What the allocator says of itself (MEMORY MALLOC-STATS).
    fn malloc_stats(&self) -> String;
    /// Ends the process hard (DEBUG SEGFAULT, DEBUG PANIC …).
    fn crash(&self, how: &str);
}
