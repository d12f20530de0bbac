//! What the node asks of the process: clocks, files, snapshots, the end.

use super::aof::{self, AofControl, AofTask};
use super::config_file::{self, ConfigFile};
use super::cron::Trash;
use super::load::{self, Expired, LoadHow};
use super::snapshot::{Aborted, Job};
use crate::io::listen;
use crate::io::memory;
use crate::io::sys;
use crate::io::worker::Shared;
use crate::log::{NOTICE, WARNING};
use crate::os::fs::File;
use crate::os::mio::Waker;
use crate::os::mpsc::{RecvTimeoutError, Sender, channel};
use crate::os::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use config::{Config, LogLevel};
use keyspace::DbStripe;
use node::{AofState, Host, Now, ProcessFacts, ReplicationHost, ShutdownHow, Worker};
use replication::{ConnId, JobId, RdbFilter, Transport};
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use structures::Entry;

/// What the node's host and the jobs share.
pub struct Tools {
    file: ConfigFile,
    snapshots: Mutex<Sender<Job>>,
    trash: Mutex<Sender<Trash>>,
    link_waker: Arc<Waker>,
    started_us: u64,
    started_unix_us: i64,
    shared: OnceLock<Arc<Shared>>,
    /// Snapshots that nobody wants any more.
    pub aborted: Aborted,
    /// Ways to the thread of the append-only file.
    pub aof: AofControl,
    peak: AtomicU64,
    startup_memory: AtomicU64,
}

impl Tools {
    /// Tools of a process that started at `started`.
    pub fn new(
        file: ConfigFile,
        snapshots: Sender<Job>,
        trash: Sender<Trash>,
        link_waker: Arc<Waker>,
        started: Instant,
    ) -> Tools {
        let unix_us =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
        Tools {
            file,
            snapshots: Mutex::new(snapshots),
            trash: Mutex::new(trash),
            link_waker,
            started_us: sys::monotonic_us() - started.elapsed().as_micros() as u64,
            started_unix_us: unix_us - started.elapsed().as_micros() as i64,
            shared: OnceLock::new(),
            aborted: Aborted::default(),
            aof: AofControl::default(),
            peak: AtomicU64::new(0),
            startup_memory: AtomicU64::new(0),
        }
    }

    /// The workers exist.
    pub fn attach(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::clone(shared));
        self.startup_memory.store(memory::allocated(), Ordering::Relaxed);
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.shared.get().expect("attached before the first request")
    }

    /// Gives the snapshot thread a job.
    pub fn snapshot(&self, job: Job) {
        // The thread lives as long as the process.
        let _ = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).send(job);
    }

    pub(super) fn save_and_wait(&self) -> Result<(), String> {
        self.save_within(None).unwrap_or_else(|| Err("the snapshot thread is gone".into()))
    }

    /// Saves; `None` if that takes longer than `limit`.
    pub(super) fn save_within(&self, limit: Option<Duration>) -> Option<Result<(), String>> {
        let (answer, done) = channel();
        self.snapshot(Job::Wait(answer));
        let gone = || Some(Err("the snapshot thread is gone".into()));
        match limit {
            None => done.recv().ok().or_else(gone),
            Some(limit) => match done.recv_timeout(limit) {
                Ok(saved) => Some(saved),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => gone(),
            },
        }
    }

    /// Looks at the memory in use, for its peak.
    pub fn note_peak(&self) {
        self.peak.fetch_max(memory::allocated(), Ordering::Relaxed);
    }

    /// Starts a rewrite of the append-only file.
    pub fn start_rewrite(&self) {
        let node = &self.shared().node;
        let aof = &node.aof;
        aof.scheduled.store(false, Ordering::Relaxed);
        aof.rewriting.store(true, Ordering::Release);
        aof.rewrites.fetch_add(1, Ordering::Relaxed);
        aof.rewrite_started.store(node.host.now().unix().secs(), Ordering::Relaxed);
        crate::log::write(NOTICE, "Background append only file rewriting started");
        self.snapshot(Job::Rewrite);
    }

    /// `appendonly yes` at run time. The first base is written in the background.
    fn start_aof(&self) -> Result<(), String> {
        let node = &self.shared().node;
        self.aof.ask(AofTask::Start).map_err(|why| {
            crate::log::write(WARNING, &why);
            "Unable to turn on AOF. Check server logs.".to_string()
        })?;
        node.aof.set_state(AofState::WaitRewrite);
        let busy = node.persistence.bgsave_running.load(Ordering::Relaxed)
            || node.aof.rewriting.load(Ordering::Relaxed);
        if busy {
            node.aof.scheduled.store(true, Ordering::Relaxed);
            crate::log::write(
                NOTICE,
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible.",
            );
        } else {
            self.start_rewrite();
        }
        Ok(())
    }

    /// `appendonly no`, or a full synchronization that replaces everything.
    pub fn stop_aof(&self) {
        let node = &self.shared().node;
        node.aof.set_state(AofState::Off);
        node.aof.scheduled.store(false, Ordering::Relaxed);
        // A rewrite that runs is called off.
        self.aof.next_generation();
        self.aof.task(AofTask::Stop);
    }

    /// After a full synchronization: a file of the new data, begun by a rewrite.
    pub fn restart_aof(&self) {
        if let Err(why) = self.start_aof() {
            crate::log::write(
                WARNING,
                &format!("Failed enabling the AOF after successful master synchronization! {why}"),
            );
        }
    }

    /// Brings the append-only file to disk before the end.
    pub fn finish_aof(&self, how: ShutdownHow) -> Result<(), String> {
        let node = &self.shared().node;
        match node.aof.state() {
            AofState::Off => return Ok(()),
            AofState::WaitRewrite if !how.force => {
                crate::log::write(WARNING, "Writing initial AOF, can't exit");
                return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
            }
            AofState::WaitRewrite => {
                crate::log::write(WARNING, "Writing initial AOF. Exit anyway.");
            }
            AofState::On if node.aof.rewriting.load(Ordering::Relaxed) => {
                crate::log::write(WARNING, "The AOF is being rewritten: that is given up.");
            }
            AofState::On => {}
        }
        crate::log::write(NOTICE, "Calling fsync() on the AOF file.");
        if let Err(why) = self.aof.sync_and_wait() {
            crate::log::write(WARNING, &format!("Fail to fsync the AOF file: {why}."));
            if !how.force {
                return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
            }
        }
        Ok(())
    }
}

/// The node's host.
pub struct ProcessHost(pub Arc<Tools>);

impl Host for ProcessHost {
    fn now(&self) -> Now {
        let mono_us = self.mono_us();
        let unix_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(self.0.started_unix_us, |d| d.as_micros() as i64);
        Now { unix_us, mono_us }
    }

    #[inline]
    fn mono_us(&self) -> u64 {
        // A start at zero would make the first moment look like 'never'.
        sys::monotonic_us() - self.0.started_us + 1_000_000
    }

    fn save(&self) -> Result<(), String> {
        if self.0.shared().node.persistence.bgsave_running.load(Ordering::Relaxed) {
            return Err("ERR Background save already in progress".into());
        }
        self.0.save_and_wait().map_err(|_| "ERR".to_string())
    }

    fn bgrewriteaof(&self, in_exec: bool) -> Result<&'static str, String> {
        let node = &self.0.shared().node;
        if node.aof.rewriting.load(Ordering::Relaxed) {
            return Err("ERR Background append only file rewriting already in progress".into());
        }
        if in_exec || node.persistence.bgsave_running.load(Ordering::Relaxed) {
            node.aof.scheduled.store(true, Ordering::Relaxed);
            return Ok("Background append only file rewriting scheduled");
        }
        node.aof.rewrite_failures.store(0, Ordering::Relaxed);
        self.0.start_rewrite();
        Ok("Background append only file rewriting started")
    }

    fn load_aof(&self) -> Result<(), String> {
        let node = &self.0.shared().node;
        if node.aof.state() == AofState::On {
            self.0.aof.sync_and_wait().map_err(|why| format!("ERR {why}"))?;
        }
        node.persistence.loading.store(true, Ordering::Release);
        load::flush_all(node);
        // The counters of the link's worker are borrowed; it has nothing to do while this runs.
        let mut worker = Worker::new(node, node.mailboxes.len(), node.host.mono_us());
        worker.now = node.host.now();
        let files = aof::Files::new(&node.settings.load().config);
        let result = files
            .read_manifest()
            .and_then(|manifest| aof::load::load(node, &mut worker, &files, &manifest));
        node.host.free(std::mem::take(&mut worker.trash), std::mem::take(&mut worker.tables));
        if let Err(why) = result {
            // A node that has half of its data must not go on.
            crate::log::write(WARNING, &why);
            crate::os::process::exit(1);
        }
        node.persistence.dirty_at_save.store(node.dirty(), Ordering::Relaxed);
        node.persistence.loading.store(false, Ordering::Release);
        crate::log::write(WARNING, "Append Only File loaded by DEBUG LOADAOF");
        Ok(())
    }

    fn wake_file(&self) {
        self.0.aof.wake();
    }

    fn bgsave(&self, schedule: bool) -> Result<&'static str, String> {
        let node = &self.0.shared().node;
        if node.aof.rewriting.load(Ordering::Relaxed)
            && !node.persistence.bgsave_running.load(Ordering::Relaxed)
        {
            if !schedule {
                return Err("ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.".into());
            }
            // One thread makes all passes, one after the other.
            node.persistence.bgsave_running.store(true, Ordering::Release);
            self.0.snapshot(Job::Background);
            return Ok("Background saving scheduled");
        }
        if node.persistence.bgsave_running.swap(true, Ordering::AcqRel) {
            return Err("ERR Background save already in progress".into());
        }
        self.0.snapshot(Job::Background);
        Ok("Background saving started")
    }

    fn reload(&self, save: bool, flush: bool) -> Result<(), String> {
        let node = &self.0.shared().node;
        if save {
            self.0.save_and_wait()?;
        }
        node.persistence.loading.store(true, Ordering::Release);
        if flush {
            load::flush_all(node);
        }
        let path = PathBuf::from(node.settings.load().config.dbfilename.to_str().into_owned());
        let how = LoadHow {
            expired: Expired::on_reload(node),
            replace: !flush,
            done_before: 0,
            header: None,
        };
        let result = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| load::load(node, BufReader::with_capacity(1 << 20, file), how));
        node.persistence.loading.store(false, Ordering::Release);
        result.map(|_| ()).map_err(|why| {
            crate::log::write(WARNING, &format!("DEBUG RELOAD: {why}"));
            "ERR Error trying to load the RDB dump, check server logs.".into()
        })
    }

    fn role_changed(&self, is_replica: bool) {
        crate::log::set_role(if is_replica { b'S' } else { b'M' });
    }

    fn shutdown(&self, how: ShutdownHow) {
        super::ending::begin(&self.0, how);
    }

    fn read_config_file(&self) -> Result<String, String> {
        let path = self.0.file.path.as_ref().ok_or(config::NO_CONFIG_FILE)?;
        match crate::os::fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(format!("ERR Rewriting config file: {error}")),
        }
    }

    fn write_config_file(&self, text: &str) -> Result<(), String> {
        let path = self.0.file.path.as_ref().ok_or(config::NO_CONFIG_FILE)?;
        let config = &self.0.shared().node.settings.load().config;
        let secret = !config.requirepass.as_bytes().is_empty()
            || !config.masterauth.as_bytes().is_empty()
            || text.lines().any(|line| line.starts_with("user ") && line.contains(" #"));
        config_file::replace(path, text.as_bytes(), secret).map_err(|error| error.to_string())
    }

    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        crate::os::fs::read(path).map_err(|error| sys::reason(&error))
    }

    fn write_acl_file(&self, path: &str, text: &[u8]) -> Result<(), String> {
        let path = std::path::Path::new(path);
        config_file::replace(path, text, true).map_err(|error| sys::reason(&error))
    }

    fn config_changed(&self, old: &Config, new: &Config, names: &[&str]) -> Result<(), String> {
        for name in names {
            match *name {
                "port" => self.listen_again(new, &[listen::Kind::Tcp])?,
                "unixsocket" => self.listen_again(new, &[listen::Kind::Unix])?,
                "bind" => {
                    use listen::Kind::{Extra, Tcp, Tls};
                    self.listen_again(new, &[Tcp, Extra, Tls])?;
                }
                "tls-port" => {
                    if old.tls_port == 0 || new.tls_port == 0 {
                        self.0.shared().tls.configure(new)?;
                    }
                    self.listen_again(new, &[listen::Kind::Tls])?;
                }
                "announce-view" => {
                    let ports = |config: &Config| listen::extra_listeners(config);
                    if ports(old) != ports(new) {
                        self.listen_again(new, &[listen::Kind::Extra])?;
                    }
                }
                name if crate::io::tls::is_setting(name) => self.0.shared().tls.configure(new)?,
                "loglevel" => crate::log::set_level(level_number(new.loglevel)),
                "dir" => std::env::set_current_dir(new.dir.to_str().as_ref())
                    .map_err(|error| error.to_string())?,
                "maxclients" => {
                    let wanted = u64::from(new.maxclients) + super::SPARE_FILES;
                    if sys::raise_open_files(wanted) < wanted {
                        return Err(format!(
                            "The operating system is not able to handle the specified number of clients, try with {}",
                            sys::raise_open_files(0).saturating_sub(super::SPARE_FILES)
                        ));
                    }
                }
                "appendonly" if new.appendonly && !old.appendonly => self.0.start_aof()?,
                "appendonly" if !new.appendonly && old.appendonly => self.0.stop_aof(),
                _ => {}
            }
        }
        Ok(())
    }

    fn gateways(&self) -> Vec<std::net::IpAddr> {
        crate::io::gateway::gateways()
    }

    fn facts(&self) -> ProcessFacts {
        let allocated = memory::allocated();
        let (active, resident) = memory::active_and_resident();
        self.0.peak.fetch_max(allocated, Ordering::Relaxed);
        ProcessFacts {
            pid: std::process::id(),
            used_memory: allocated,
            used_memory_peak: self.0.peak.load(Ordering::Relaxed),
            used_memory_startup: self.0.startup_memory.load(Ordering::Relaxed),
            rss: memory::resident(),
            allocator: (allocated, active, resident),
            allocator_name: "jemalloc-5.3.1",
            total_system_memory: memory::total(),
            cpu: sys::cpu_seconds(false),
            cpu_thread: sys::cpu_seconds(true),
            os: sys::uname(),
            executable: std::env::current_exe()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            config_file: self.0.file.shown(),
            supervised: if std::env::var_os("NOTIFY_SOCKET").is_some() { "systemd" } else { "no" },
        }
    }

    fn used_memory(&self) -> u64 {
        memory::allocated()
    }

    fn free(&self, entries: Vec<Entry>, tables: Vec<DbStripe>) {
        if entries.is_empty() && tables.is_empty() {
            return;
        }
        let node = &self.0.shared().node;
        let count =
            entries.len() as i64 + tables.iter().map(|table| table.len() as i64).sum::<i64>();
        node.stats.lazyfree_pending.fetch_add(count, Ordering::Relaxed);
        // The thread lives as long as the process; without it the values are freed here.
        let _ = self.0.trash.lock().unwrap_or_else(PoisonError::into_inner).send((entries, tables));
    }

    fn random_hex(&self, digits: usize) -> String {
        super::random_hex(digits)
    }

    fn sleep_all(&self, usec: u64) {
        let until = self.now().mono_us + usec;
        self.0.shared().sleep_until_us.store(until, Ordering::Release);
        crate::os::thread::sleep(crate::os::time::Duration::from_micros(usec));
    }

    fn set_active_workers(&self, workers: usize) {
        self.0.shared().handover.set_active(workers);
    }

    fn log(&self, level: u8, line: &str) {
        crate::log::write(level, line);
    }

    fn purge_memory(&self) {
        memory::purge();
    }

    fn malloc_stats(&self) -> String {
        let facts = self.facts();
        format!(
            "allocated {} active {} resident {}\n",
            facts.allocator.0, facts.allocator.1, facts.allocator.2
        )
    }

    fn crash(&self, how: &str) {
        crate::log::write(WARNING, &format!("DEBUG {how}: the process ends on request"));
        match how {
            "segfault" => sys::segfault(),
            "panic" => panic!("DEBUG PANIC called at Unix time {}", self.now().unix().secs()),
            "assert" => assert!(how.is_empty(), "DEBUG ASSERT called"),
            "restart" | "crash-and-recover" => crate::os::process::exit(0),
            _ => crate::os::process::abort(),
        }
    }
}

impl ProcessHost {
    /// Opens the sockets of these kinds anew; the others stay. Addresses that are in use by this
    /// server itself can't be opened a second time: then everything stays as it is.
    fn listen_again(&self, new: &Config, kinds: &[listen::Kind]) -> Result<(), String> {
        let shared = self.0.shared();
        let mut opened = Vec::new();
        for kind in kinds {
            let listeners = listen::of_kind(*kind, new)
                .map_err(|_| "Unable to listen on this port. Check server logs.")?;
            opened.push((*kind, listeners));
        }
        shared.new_listeners.lock().unwrap_or_else(PoisonError::into_inner).append(&mut opened);
        shared.node.mailboxes[0].send(node::Message::Resume);
        Ok(())
    }
}

/// The number of a log level.
pub fn level_number(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 0,
        LogLevel::Verbose => 1,
        LogLevel::Notice => 2,
        LogLevel::Warning => 3,
        LogLevel::Nothing => 4,
    }
}

/// What replication asks of the process.
pub struct ReplicationDriver(pub Arc<Tools>);

impl ReplicationHost for ReplicationDriver {
    fn start_snapshot(
        &self,
        job: JobId,
        transport: Transport,
        filter: RdbFilter,
        conns: Vec<ConnId>,
    ) {
        self.0.snapshot(Job::Replicas { job, transport, filter, conns });
    }

    fn abort_snapshot(&self, job: JobId) {
        self.0.aborted.add(job);
        self.0.shared().queues.drop_job(job);
    }

    fn timers_changed(&self) {
        // Fails only if the counter is full: then the driver is being woken already.
        let _ = self.0.link_waker.wake();
    }
}

/// Tells systemd that the server is ready. Source: sd_notify(3).
pub fn notify_supervisor(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return };
    // An abstract socket is written with `@` in the environment.
    let shown = path.to_string_lossy().into_owned();
    let _ = match shown.strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes())
                .and_then(|addr| socket.send_to_addr(state.as_bytes(), &addr))
        }
        None => socket.send_to(state.as_bytes(), &path),
    };
}
