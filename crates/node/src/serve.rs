//! Replication as the node sees it: the master's side machine behind one lock, and where its
//! outputs go.
//!
//! Replicas speak seldom (an ACK a second), so one lock for all of them is cheap. What the machine
//! wants sent goes into the reply of the connection that is being served, or into the mailbox of
//! the worker that owns the connection; snapshots are asked of the [`ReplicationHost`].

use crate::{Message, Node, lock};
use replication::{
    ConnId, Cursor, JobId, LoadMode, LogLine, MasterInput, MasterOptions, MasterOutput, MasterSide,
    OutputLimit, RdbFilter, ReplicaLink, ReplicaOptions, Transport, Watermarks,
};
use resp::Reply;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use stdx::MonoMs;

/// What replication asks of the program around the node.
pub trait ReplicationHost: Send + Sync {
    /// Starts a snapshot for replicas; answers with [`Node::master_input`].
    fn start_snapshot(
        &self,
        job: JobId,
        transport: Transport,
        filter: RdbFilter,
        conns: Vec<ConnId>,
    );
    /// Gives a snapshot up.
    fn abort_snapshot(&self, job: JobId);
    /// The machine's next time-out may have come nearer.
    fn timers_changed(&self);
}

/// A full synchronization's bytes on their way to one replica.
#[derive(Debug)]
pub struct Transfer {
    /// Whose bytes.
    pub job: JobId,
    /// Sent first.
    pub header: Vec<u8>,
    /// Sent last.
    pub trailer: Vec<u8>,
}

/// What the worker that owns a replica's connection has to do for it.
#[derive(Debug)]
pub enum ReplicaTask {
    /// Send a snapshot.
    Transfer(Transfer),
    /// Send the log from here on.
    Stream(Cursor),
}

/// Replication's state in the node.
#[derive(Default)]
pub struct Repl {
    master: OnceLock<Mutex<MasterSide>>,
    watermarks: OnceLock<Arc<Watermarks>>,
    host: OnceLock<Box<dyn ReplicationHost>>,
    link: OnceLock<Mutex<ReplicaLink>>,
    /// Tasks for workers: (connection, task), taken by [`Repl::take_tasks`].
    tasks: Mutex<Vec<(u64, ReplicaTask)>>,
    /// Owners of streaming replicas, a bit for each worker.
    streaming: AtomicU64,
}

impl Repl {
    /// Puts the machine in place; once, before the first connection.
    pub fn install(&self, master: MasterSide, link: ReplicaLink, host: Box<dyn ReplicationHost>) {
        let _ = self.link.set(Mutex::new(link));
        let _ = self.watermarks.set(Arc::clone(master.watermarks()));
        let _ = self.master.set(Mutex::new(master));
        let _ = self.host.set(host);
    }

    /// The master's side, locked.
    pub fn master(&self) -> std::sync::MutexGuard<'_, MasterSide> {
        lock(self.master.get().expect("replication is installed before the first connection"))
    }

    /// The link to our own master, locked. Its driver drains the outputs; whoever feeds it calls
    /// [`Repl::wake_driver`] afterwards.
    pub fn link(&self) -> std::sync::MutexGuard<'_, ReplicaLink> {
        lock(self.link.get().expect("replication is installed before the first connection"))
    }

    /// Tells the driver that a machine has something to do.
    pub fn wake_driver(&self) {
        if let Some(host) = self.host.get() {
            host.timers_changed();
        }
    }

    /// What replicas have acknowledged.
    pub fn watermarks(&self) -> Option<&Arc<Watermarks>> {
        self.watermarks.get()
    }

    /// How many replicas have acknowledged a position.
    pub fn acked_count(&self, position: u64) -> usize {
        self.watermarks.get().map_or(0, |marks| marks.count_acked(position))
    }

    /// The tasks for these connections' owner.
    pub fn take_tasks(&self, mine: impl Fn(u64) -> bool) -> Vec<(u64, ReplicaTask)> {
        let mut tasks = lock(&self.tasks);
        if tasks.is_empty() {
            return Vec::new();
        }
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *tasks).into_iter().partition(|(conn, _)| mine(*conn));
        *tasks = left;
        taken
    }

    /// A worker has replicas that follow the log, or none any more.
    pub fn set_streaming(&self, worker: usize, streaming: bool) {
        let bit = 1u64 << worker.min(63);
        if streaming {
            self.streaming.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.streaming.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Workers whose replicas follow the log, a bit for each.
    pub fn streaming(&self) -> u64 {
        self.streaming.load(Ordering::Acquire)
    }
}

/// The machine's settings out of the configuration.
pub fn master_options(config: &config::Config) -> MasterOptions {
    let limit = config.client_output_buffer_limit.replica;
    MasterOptions {
        views: config.announce_view.addresses(),
        diskless_sync: config.repl_diskless_sync,
        diskless_sync_delay_ms: u64::from(config.repl_diskless_sync_delay) * 1000,
        diskless_sync_max_replicas: config.repl_diskless_sync_max_replicas as usize,
        ping_period_ms: u64::from(config.repl_ping_replica_period) * 1000,
        timeout_ms: u64::from(config.repl_timeout) * 1000,
        backlog_ttl_ms: config.repl_backlog_ttl * 1000,
        output_limit: OutputLimit {
            hard_bytes: limit.hard_bytes,
            soft_bytes: limit.soft_bytes,
            soft_ms: limit.soft_secs * 1000,
        },
    }
}

/// The link's settings out of the configuration.
pub fn replica_options(config: &config::Config) -> ReplicaOptions {
    let text = |text: &config::Text| {
        text.non_empty().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    ReplicaOptions {
        listening_port: if config.replica_announce_port != 0 {
            config.replica_announce_port
        } else if config.tls_replication && config.tls_port != 0 {
            config.tls_port
        } else {
            config.port
        },
        announce_ip: text(&config.replica_announce_ip),
        views: (!config.announce_view.is_empty()).then(|| config.announce_view.addresses()),
        masteruser: text(&config.masteruser),
        masterauth: config.masterauth.non_empty().map(<[u8]>::to_vec),
        timeout_ms: u64::from(config.repl_timeout) * 1000,
        load_mode: LoadMode::Disk,
    }
}

impl Node {
    /// Feeds the master's side machine and does what it wants. Bytes for `own`, the connection that
    /// is being served, go into its reply. True if that connection is to be closed.
    pub fn master_input(
        &self,
        now: MonoMs,
        input: MasterInput<'_>,
        own: Option<(u64, &mut Reply)>,
    ) -> bool {
        let mut master = self.repl.master();
        master.handle_input(now, input);
        let close = self.drain_master(&mut master, own);
        drop(master);
        // The machine's next time-out may have come nearer.
        self.repl.wake_driver();
        close
    }

    /// Lets the machine's timers run. Returns when it wants to be called again.
    pub fn master_timeout(&self, now: MonoMs) -> Option<MonoMs> {
        let mut master = self.repl.master();
        master.handle_timeout(now);
        self.drain_master(&mut master, None);
        self.refresh_good_replicas(now);
        master.poll_timeout()
    }

    /// Counts the replicas that are good enough for `min-replicas-to-write`.
    pub fn refresh_good_replicas(&self, now: MonoMs) {
        let lag = u64::from(self.settings.load().config.min_replicas_max_lag);
        let good = self.repl.watermarks().map_or(0, |marks| marks.good_replicas(now, lag));
        self.role.good_replicas.store(good, Ordering::Relaxed);
    }

    pub(crate) fn drain_master(
        &self,
        master: &mut MasterSide,
        mut own: Option<(u64, &mut Reply)>,
    ) -> bool {
        let mut close_own = false;
        let host = self.repl.host.get();
        while let Some(output) = master.poll_output() {
            match output {
                MasterOutput::Send { conn, bytes } => match &mut own {
                    Some((id, reply)) if *id == conn.0 => {
                        reply.buffer_mut().extend_from_slice(&bytes)
                    }
                    _ => self.send_to(conn, |client| Message::Push { client, bytes }),
                },
                MasterOutput::StartSnapshot { job, transport, filter, conns } => {
                    if let Some(host) = host {
                        host.start_snapshot(job, transport, filter, conns);
                    }
                }
                MasterOutput::AbortSnapshot { job } => {
                    if let Some(host) = host {
                        host.abort_snapshot(job);
                    }
                }
                MasterOutput::Transfer { conn, job, header, trailer } => {
                    self.give_task(conn, ReplicaTask::Transfer(Transfer { job, header, trailer }));
                }
                MasterOutput::Stream { conn, cursor } => {
                    self.give_task(conn, ReplicaTask::Stream(cursor));
                }
                MasterOutput::Close { conn } => match &own {
                    Some((id, _)) if *id == conn.0 => close_own = true,
                    _ => self.send_to(conn, |client| Message::Close { client, flush: true }),
                },
                MasterOutput::Log(line) => self.log_line(&line),
            }
        }
        close_own
    }

    fn give_task(&self, conn: ConnId, task: ReplicaTask) {
        lock(&self.repl.tasks).push((conn.0, task));
        self.send_to(conn, |_| Message::PumpReplicas);
    }

    fn send_to(&self, conn: ConnId, message: impl FnOnce(u64) -> Message) {
        if let Some(client) = self.clients.get(conn.0)
            && let Some(mailbox) = self.mailboxes.get(client.worker())
        {
            mailbox.send(message(conn.0));
        }
    }

    /// Writes a machine's line to the log.
    pub fn log_line(&self, line: &LogLine) {
        self.host.log(line.level as u8, &line.text);
    }

    /// Tells the owners of streaming replicas that the log has grown, the caller's own excepted.
    /// True if the caller has some itself.
    pub fn wake_streams(&self, own: usize) -> bool {
        self.wake_file();
        let streaming = self.repl.streaming();
        for worker in 0..self.mailboxes.len().min(64) {
            if worker != own && streaming >> worker & 1 == 1 {
                self.mailboxes[worker].send(Message::PumpReplicas);
            }
        }
        streaming >> own.min(63) & 1 == 1
    }
}
