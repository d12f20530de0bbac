//! The master's side: every connection that has spoken REPLCONF, PSYNC or SYNC, from its first word
//! until it is gone.
//!
//! ```text
//! Handshake --PSYNC, history known------------------------------> Online(Live)
//!     |
//!     +--PSYNC/SYNC--> WaitStart --StartSnapshot--> InJob --disk: file done--> SendBulk
//!                                                     |                            |
//!                                     diskless: sent  v                      sent  v
//!                                              Online(AwaitAck) --first ACK--> Online(Live)
//! ```
//! Every state may end in removal: link closed, time-out, output limit, failed snapshot, or a
//! change of role. INFO shows `wait_bgsave` for WaitStart and InJob, `send_bulk`, `online`.
//!
//! A replica's [`Cursor`] is registered when its snapshot starts and handed to the driver with
//! [`MasterOutput::Stream`]; the machine keeps a [`CursorWatch`] to measure the backlog of work.
//! The driver sends the RDB and the stream; the machine decides when.
//!
//! After a diskless transfer streaming waits for the first `REPLCONF ACK`: the replica cannot tell
//! the end of an unsized RDB from the stream that follows unless there is a pause between them. An
//! ACK during the transfer means nothing; the replica repeats it each second.
//!
//! FAILOVER is in `failover.rs`. The other end of it, `PSYNC id offset FAILOVER` to a replica, is
//! the node's: it is promoted under all stripe locks before the request comes here.
//!
//! Source: redis 7.0 `replication.c:syncCommand`, `replconfCommand`, `replicationCron`.

mod api;
mod cron;
mod failover;
mod replconf;
mod sync;

use std::collections::VecDeque;
use std::sync::Arc;

use resp::{Protocol, Reply};
use stdx::{MonoMs, Prng, ViewAddrs};

pub use api::{
    JobId, MasterInput, MasterOptions, MasterOutput, OutputLimit, RDB_CAPA, RdbFilter, SyncStats,
    Transport, Upstream,
};

pub use failover::{FailoverRequest, FailoverState, FailoverStep};

use crate::event::{ConnId, LogLine, format_addr};
use crate::log::{Cursor, CursorWatch, Log};
use crate::replid::ReplId;
use crate::watermarks::Watermarks;
use cron::over_limit;

/// Where one connection stands.
#[derive(Debug)]
enum State {
    /// REPLCONF was heard; not a replica yet.
    Handshake,
    /// Waits for a snapshot to start.
    WaitStart { since: MonoMs },
    /// Its snapshot is being made (and, diskless, sent). No cursor before the snapshot's position
    /// is known, and none for a peer that wants the RDB alone.
    InJob { job: JobId, transport: Transport, cursor: Option<Cursor> },
    /// The finished RDB is on its way.
    SendBulk { job: JobId, cursor: Option<Cursor> },
    /// Has the data. The cursor is the driver's once streaming began.
    Online(Streaming),
}

impl State {
    /// As INFO prints it. A connection that is no replica is not shown.
    fn name(&self) -> &'static str {
        match self {
            State::Handshake => "handshake",
            State::WaitStart { .. } | State::InJob { .. } => "wait_bgsave",
            State::SendBulk { .. } => "send_bulk",
            State::Online(_) => "online",
        }
    }
}

/// Replicas that have not acknowledged everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Laggards {
    /// Attached replicas.
    pub replicas: usize,
    /// Those of them that lag.
    pub lagging: usize,
    /// A log line for each of these.
    pub lines: Vec<String>,
}

#[derive(Debug)]
enum Streaming {
    AwaitAck(Cursor),
    Live(CursorWatch),
}

#[derive(Debug)]
struct Conn {
    id: ConnId,
    peer_ip: String,
    announced_ip: Option<String>,
    /// Its further addresses.
    views: ViewAddrs,
    /// 0 until announced. Redis keeps any integer, cut to 32 bits, and so do INFO's readers.
    listening_port: i32,
    capa_eof: bool,
    capa_psync2: bool,
    capa_rdb12: bool,
    rdb_only: bool,
    filter: RdbFilter,
    /// Came by SYNC: gets no `+FULLRESYNC` line and sends no ACKs.
    pre_psync: bool,
    state: State,
    /// Since when the diskless transfer cannot write.
    blocked_since: Option<MonoMs>,
    /// Since when it is above the soft output limit.
    over_soft_since: Option<MonoMs>,
}

impl Conn {
    fn new(id: ConnId, peer_ip: &str) -> Conn {
        Conn {
            id,
            peer_ip: peer_ip.to_owned(),
            announced_ip: None,
            views: ViewAddrs::default(),
            listening_port: 0,
            capa_eof: false,
            capa_psync2: false,
            capa_rdb12: false,
            rdb_only: false,
            filter: RdbFilter::default(),
            pre_psync: false,
            state: State::Handshake,
            blocked_since: None,
            over_soft_since: None,
        }
    }

    fn is_replica(&self) -> bool {
        !matches!(self.state, State::Handshake)
    }

    fn ip(&self) -> &str {
        self.announced_ip.as_deref().unwrap_or(&self.peer_ip)
    }

    /// Host and port in a view.
    fn told(&self, view: Option<&str>) -> (&str, i32) {
        match view.and_then(|view| self.views.get(view)) {
            Some((host, port)) => (host, i32::from(port)),
            None => (self.ip(), self.listening_port),
        }
    }

    /// How log lines call it. Source: redis 7.0 `replication.c:replicationGetSlaveName`.
    fn name(&self) -> String {
        match (self.ip(), self.listening_port) {
            ("", _) => format!("client id #{}", self.id.0),
            (ip, 0) => format!("{ip}:<unknown-replica-port>"),
            (ip, port) => format_addr(ip, i64::from(port)),
        }
    }

    /// The snapshot that it takes part in.
    fn job(&self) -> Option<JobId> {
        match self.state {
            State::InJob { job, .. } | State::SendBulk { job, .. } => Some(job),
            _ => None,
        }
    }

    /// Its place in the log, if anything is kept for it.
    fn watch(&self) -> Option<CursorWatch> {
        match &self.state {
            State::InJob { cursor, .. } | State::SendBulk { cursor, .. } => {
                cursor.as_ref().map(Cursor::watch)
            }
            State::Online(Streaming::AwaitAck(cursor)) => Some(cursor.watch()),
            State::Online(Streaming::Live(watch)) => Some(watch.clone()),
            State::Handshake | State::WaitStart { .. } => None,
        }
    }

    /// Stream offset of the next byte that it has to get, if anything is kept for it.
    fn stream_position(&self) -> Option<u64> {
        self.watch().and_then(|watch| watch.position())
    }
}

/// The snapshot in the making. There is one at a time; later comers wait for the next.
#[derive(Debug)]
struct Job {
    id: JobId,
    transport: Transport,
    filter: RdbFilter,
    /// Position, once it has started.
    offset: Option<u64>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct MasterSide {
    options: MasterOptions,
    log: Arc<Log>,
    watermarks: Arc<Watermarks>,
    prng: Prng,
    upstream: Upstream,
    /// In the order in which they came; INFO numbers them so.
    conns: Vec<Conn>,
    job: Option<Job>,
    jobs_made: u64,
    /// Runs while there are replicas.
    next_ping: Option<MonoMs>,
    /// The once-a-second look at all replicas; runs while there are any.
    next_cron: Option<MonoMs>,
    /// When bare newlines went out last.
    last_newline: MonoMs,
    /// Since when nobody was attached; meaningful with a backlog.
    no_replicas_since: MonoMs,
    stats: SyncStats,
    failover: failover::Failover,
    /// No keepalives: the offset has to stand still.
    hold_pings: bool,
    outputs: VecDeque<MasterOutput>,
}

impl MasterSide {
    /// No replicas. `prng` names histories and marks ends of transfers: seed it from the operating
    /// system's random source.
    pub fn new(
        now: MonoMs,
        log: Arc<Log>,
        watermarks: Arc<Watermarks>,
        options: MasterOptions,
        prng: Prng,
    ) -> MasterSide {
        MasterSide {
            options,
            log,
            watermarks,
            prng,
            upstream: Upstream::None,
            conns: Vec::new(),
            job: None,
            jobs_made: 0,
            next_ping: None,
            next_cron: None,
            last_newline: now,
            no_replicas_since: now,
            stats: SyncStats::default(),
            failover: failover::Failover::default(),
            hold_pings: false,
            outputs: VecDeque::new(),
        }
    }

    /// CONFIG SET changed something.
    pub fn set_options(&mut self, now: MonoMs, options: MasterOptions) {
        self.options = options;
        self.limit_readers();
        if self.next_ping.is_some() {
            self.next_ping = Some(now + self.options.ping_period_ms.max(1));
        }
        self.start_due_snapshot(now);
    }

    /// This node's own role changed, or its link to its master did. Replicas stay attached; those
    /// that must go are named by `DropReplicas`.
    pub fn set_upstream(&mut self, now: MonoMs, upstream: Upstream) {
        if self.upstream != Upstream::None && upstream == Upstream::None {
            self.no_replicas_since = now;
        }
        self.upstream = upstream;
    }

    /// Takes one input. Outputs are ready afterwards.
    pub fn handle_input(&mut self, now: MonoMs, input: MasterInput<'_>) {
        match input {
            MasterInput::Replconf { conn, peer_ip, args } => {
                self.replconf(now, conn, peer_ip, args);
            }
            MasterInput::Sync { conn, peer_ip, args, pending_output } => {
                self.sync(now, conn, peer_ip, args, pending_output);
            }
            MasterInput::Newline { conn } => self.watermarks.touch(conn, now),
            MasterInput::SnapshotStarted { job, mark } => self.snapshot_started(job, &mark),
            MasterInput::SnapshotEnded { job, length } => self.snapshot_ended(now, job, length),
            MasterInput::SnapshotRefused { job, why } => self.snapshot_refused(now, job, why),
            MasterInput::TransferBlocked { conn, blocked } => {
                if let Some(conn) = self.find(conn) {
                    let since = conn.blocked_since.unwrap_or(now);
                    conn.blocked_since = blocked.then_some(since);
                }
            }
            MasterInput::TransferDone { conn } => self.transfer_done(now, conn),
            MasterInput::Closed { conn } => self.remove(now, conn),
            MasterInput::RequestAcks => {
                if self.replica_count() > 0 {
                    self.log.append_getack();
                }
            }
            MasterInput::DropReplicas => {
                let all: Vec<ConnId> =
                    self.conns.iter().filter(|c| c.is_replica()).map(|c| c.id).collect();
                for conn in all {
                    self.close(now, conn);
                }
            }
        }
        self.invariants();
    }

    /// Call it at or after the time that [`MasterSide::poll_timeout`] gave. Too early is harmless.
    pub fn handle_timeout(&mut self, now: MonoMs) {
        self.cron(now);
        self.invariants();
    }

    /// When `handle_timeout` has to be called next. Every `handle_…` and `set_…` may change it.
    pub fn poll_timeout(&self) -> Option<MonoMs> {
        [
            self.next_ping,
            self.next_cron,
            self.snapshot_due(),
            self.backlog_free_due(),
            self.failover_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<MasterOutput> {
        self.outputs.pop_front()
    }

    /// The log that the replicas read.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// What the replicas have acknowledged.
    pub fn watermarks(&self) -> &Arc<Watermarks> {
        &self.watermarks
    }

    /// Counters for INFO.
    pub fn stats(&self) -> SyncStats {
        self.stats
    }

    /// No keepalives while this node shuts down: replicas have to reach the log's end.
    pub fn hold_pings(&mut self, hold: bool) {
        self.hold_pings = hold;
    }

    /// How replicas stand to the log's end, as a shutdown reports it.
    pub fn laggards(&self, now: MonoMs) -> Laggards {
        let end = self.log.offset();
        let mut report = Laggards::default();
        for conn in self.conns.iter().filter(|c| c.is_replica()) {
            report.replicas += 1;
            let (acked, age_ms) = self.watermarks.of(conn.id, now).unwrap_or((0, 0));
            if acked == end {
                continue;
            }
            report.lagging += 1;
            report.lines.push(format!(
                "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
                conn.name(),
                end.saturating_sub(acked),
                if matches!(conn.state, State::Online(_)) { age_ms / 1000 } else { 0 },
                conn.state.name(),
            ));
        }
        report
    }

    /// Bytes that are in no replica's socket yet, the most of all replicas that follow the log.
    pub fn unsent_bytes(&self) -> u64 {
        let online = self.conns.iter().filter(|c| matches!(c.state, State::Online(_)));
        let end = self.log.offset();
        let left = |conn: &Conn| conn.stream_position().map_or(0, |at| end.saturating_sub(at));
        online.map(left).max().unwrap_or(0)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        self.stats = SyncStats::default();
    }

    /// `connected_slaves`: attached replicas in any state.
    pub fn replica_count(&self) -> usize {
        self.conns.iter().filter(|c| c.is_replica()).count()
    }

    /// Whether this connection is an attached replica (it is then no ordinary client any more).
    pub fn is_replica(&self, conn: ConnId) -> bool {
        self.conns.iter().any(|c| c.id == conn && c.is_replica())
    }

    /// Bytes of the log that `conn` has still to get: its output buffer, in Redis's terms.
    pub fn output_bytes(&self, conn: ConnId) -> u64 {
        let conn = self.conns.iter().find(|c| c.id == conn);
        let position = conn.and_then(Conn::stream_position);
        position.map_or(0, |at| self.log.offset().saturating_sub(at))
    }

    /// Appends the `slaveN:` lines of INFO.
    pub(crate) fn info_replicas(&self, now: MonoMs, view: Option<&str>, out: &mut String) {
        let shown = self.conns.iter().filter(|c| c.is_replica());
        for (index, conn) in shown.enumerate() {
            let state = conn.state.name();
            let (offset, age_ms) = self.watermarks.of(conn.id, now).unwrap_or((0, 0));
            let lag = if state == "online" { age_ms / 1000 } else { 0 };
            let (ip, port) = conn.told(view);
            out.push_str(&format!(
                "slave{index}:ip={ip},port={port},state={state},offset={offset},lag={lag}\r\n",
            ));
        }
    }

    /// The answer of ROLE on a master.
    pub(crate) fn role_reply(&self, now: MonoMs, view: Option<&str>, reply: &mut Reply) {
        let online: Vec<&Conn> =
            self.conns.iter().filter(|c| matches!(c.state, State::Online(_))).collect();
        reply.array(3);
        reply.bulk(b"master");
        reply.integer(self.log.offset() as i64);
        reply.array(online.len());
        for conn in online {
            let offset = self.watermarks.of(conn.id, now).map_or(0, |(offset, _)| offset);
            reply.array(3);
            let (ip, port) = conn.told(view);
            reply.text(ip);
            reply.bulk_i64(i64::from(port));
            reply.bulk_i64(offset as i64);
        }
    }

    fn find(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.iter_mut().find(|c| c.id == conn)
    }

    fn find_or_add(&mut self, conn: ConnId, peer_ip: &str) -> &mut Conn {
        let at = self.conns.iter().position(|c| c.id == conn).unwrap_or_else(|| {
            self.conns.push(Conn::new(conn, peer_ip));
            self.conns.len() - 1
        });
        &mut self.conns[at]
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.outputs.push_back(MasterOutput::Send { conn, bytes: bytes.to_vec() });
    }

    fn reply_ok(&mut self, conn: ConnId) {
        self.send(conn, b"+OK\r\n");
    }

    /// Sends an error reply; `text` carries its code.
    fn reply_error(&mut self, conn: ConnId, text: &[u8]) {
        let mut reply = Reply::new(Protocol::Resp2);
        reply.error_bytes(text);
        self.outputs.push_back(MasterOutput::Send { conn, bytes: reply.into_bytes() });
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.outputs.push_back(MasterOutput::Log(LogLine::notice(text)));
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.outputs.push_back(MasterOutput::Log(LogLine::warning(text)));
    }

    /// Ends a connection from this side.
    fn close(&mut self, now: MonoMs, conn: ConnId) {
        self.outputs.push_back(MasterOutput::Close { conn });
        self.remove(now, conn);
    }

    /// Forgets a connection, and its snapshot when nobody else is left to take it.
    fn remove(&mut self, now: MonoMs, conn: ConnId) {
        let Some(at) = self.conns.iter().position(|c| c.id == conn) else { return };
        let gone = self.conns.remove(at);
        if !gone.is_replica() {
            return;
        }
        self.watermarks.detach(conn);
        if gone.watch().is_some_and(|watch| watch.is_overrun()) {
            self.warning(over_limit(gone.id, &gone.name()));
        }
        self.warning(format!("Connection with replica {} lost.", gone.name()));
        if let Some(job) = gone.job() {
            self.abort_unwanted(now, job);
        }
        if self.replica_count() == 0 {
            self.no_replicas_since = now;
            self.next_ping = None;
            self.next_cron = None;
        }
    }

    fn invariants(&self) {
        let attached = self.replica_count() > 0;
        assert_eq!(self.next_cron.is_some(), attached, "the timers run while there are replicas");
        assert_eq!(self.next_ping.is_some(), attached);
        if let Some(job) = &self.job {
            assert!(
                self.conns.iter().any(|c| c.job() == Some(job.id)),
                "a snapshot is made for somebody"
            );
        }
    }

    fn fresh_id(&mut self) -> ReplId {
        ReplId::generate(&mut self.prng)
    }
}
