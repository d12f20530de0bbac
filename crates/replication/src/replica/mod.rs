//! The replica's side: the link to this node's master, if it has one.
//!
//! ```text
//! None --replicaof--> Connect --time--> Connecting --> Handshake --+--+CONTINUE--> Connected
//!                        ^                                         |                   ^
//!                        |                                   +FULLRESYNC or SYNC       |
//!                        |                                         v                   |
//!                        +--cut, refused, time-out--------- Transfer --> Loading ------+
//! ```
//! `REPLICAOF NO ONE` leads from everywhere to None, another REPLICAOF to Connect.
//!
//! The machine does not read the stream: it hands the bytes out as they are, the node decodes and
//! applies whole commands and copies each one's bytes into the [`Log`] with `append_verbatim`. So
//! the log's offset *is* the applied offset: ACKs and the PSYNC argument come from there, and bytes
//! that were received but not applied when a link broke are simply asked for again.
//!
//! A *cached master* in Redis's words is here one flag, `can_continue`: the log's history may be
//! offered to the master. It is false after a start without history and while data is replaced.
//!
//! An ACK goes out each second and at once when the node saw GETACK in the stream, several requests
//! being answered by one. That is all that a waiting master needs for a prompt answer; no
//! capability is added to the handshake for it.
//!
//! FAILOVER makes this node the replica of the one that is to take over and sends
//! `PSYNC id offset FAILOVER` to it. Until that is answered nobody knows who is master: the node
//! holds its writers back, and takes its old role again when the target refuses.
//!
//! Source: redis 7.0 `replication.c:syncWithMaster`, `readSyncBulkPayload`, `replicationCron`,
//! `replicationSetMaster`, `replicationUnsetMaster`.

mod api;
mod handshake;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;

use resp::Reply;
use stdx::{MonoMs, Prng, ViewAddrs};

pub use api::{
    LinkId, LinkState, LinkStatus, LoadMode, ReplicaInput, ReplicaOfOutcome, ReplicaOptions,
    ReplicaOutput, SyncProgress,
};

use crate::event::{LogLine, format_addr};
use crate::log::Log;
use crate::master::Upstream;
use crate::replid::ReplId;
use handshake::Handshake;
use transfer::Transfer;

/// Time between two attempts to connect, and between two ACKs.
const RETRY_MS: u64 = 1000;
const ACK_PERIOD_MS: u64 = 1000;
/// A failed full synchronization is tried again at once; from the second failure on after this time,
/// doubled each time up to `RETRY_MS`. (Redis retries some ten times a second.)
const SYNC_BACKOFF_MS: u64 = 100;
/// After the empty data set of a master was refused: it may get its data back, or another master
/// may be named.
const REFUSED_RETRY_MS: u64 = 5000;
/// How often the master hears a newline while this node loads.
const NEWLINE_PERIOD_MS: u64 = 1000;

/// What the log says about an attempt to connect.
#[derive(Clone, Copy, Debug)]
enum How {
    First,
    Again,
    AfterFailure,
}

#[derive(Debug)]
enum State {
    None,
    /// Waits until `at`.
    Connect {
        at: MonoMs,
        how: How,
    },
    Connecting {
        since: MonoMs,
    },
    Handshake(Handshake),
    Transfer(Transfer),
    /// The RDB is complete; `early` is what came after it.
    Loading {
        offset: u64,
        replid: Option<ReplId>,
        early: Vec<u8>,
        next_newline: MonoMs,
    },
    Connected {
        last_io: MonoMs,
        next_ack: MonoMs,
    },
}

#[derive(Debug)]
struct Master {
    host: String,
    port: u16,
}

/// A FAILOVER as the link sees it.
#[derive(Clone, Copy, Debug)]
struct Handover {
    /// `PSYNC … FAILOVER` went out once: the target may have been promoted.
    asked: bool,
    /// The answer to that was lost.
    second_try: bool,
    /// Given up then.
    until: MonoMs,
}

/// See the head of this file.
#[derive(Debug)]
pub struct ReplicaLink {
    options: ReplicaOptions,
    log: Arc<Log>,
    prng: Prng,
    master: Option<Master>,
    state: State,
    link: LinkId,
    /// The log's history may be offered for a partial resynchronization.
    can_continue: bool,
    /// Data of the incoming RDB has begun to replace ours.
    replacing: bool,
    /// Since when the link is down, if it was up with this master.
    down_since: Option<MonoMs>,
    /// Stream bytes received, as an offset.
    read_offset: u64,
    /// Full synchronizations that failed since the last success.
    failed_syncs: u32,
    ack_wanted: bool,
    /// REPLICAOF named this master after the last sync: whatever it has, it is what was wanted.
    deliberate: bool,
    /// See [`LinkStatus::empty_refused`].
    empty_refused: u64,
    /// The master's further addresses, as it told them in the handshake.
    master_views: ViewAddrs,
    /// The history that was refused last.
    refused: Option<ReplId>,
    /// Asking the target of a FAILOVER to take over.
    failover: Option<Handover>,
    /// What came while an earlier part was still being dealt with.
    outputs: VecDeque<ReplicaOutput>,
}

impl ReplicaLink {
    /// A node that follows nobody. `prng` names histories: seed it from the operating system's
    /// random source.
    pub fn new(log: Arc<Log>, options: ReplicaOptions, prng: Prng) -> ReplicaLink {
        ReplicaLink {
            options,
            log,
            prng,
            master: None,
            state: State::None,
            link: LinkId(0),
            can_continue: false,
            replacing: false,
            down_since: None,
            read_offset: 0,
            failed_syncs: 0,
            ack_wanted: false,
            deliberate: false,
            empty_refused: 0,
            master_views: ViewAddrs::default(),
            refused: None,
            failover: None,
            outputs: VecDeque::new(),
        }
    }

    /// CONFIG SET changed something; it counts from the next handshake on, time-outs at once.
    pub fn set_options(&mut self, options: ReplicaOptions) {
        self.options = options;
    }

    /// `replicaof host port` in the configuration, at start. `history` is true if the log was
    /// restored with `restore_as_replica`.
    pub fn start(&mut self, now: MonoMs, host: &str, port: u16, history: bool) {
        assert!(self.master.is_none(), "the configuration is read once");
        self.log.follow();
        self.can_continue = history;
        self.read_offset = self.log.offset();
        self.master = Some(Master { host: host.to_owned(), port });
        self.state = State::Connect { at: now, how: How::First };
    }

    /// REPLICAOF host port at run time. Call it with all stripe locks held, so that no write
    /// straddles the change of role. `who` describes the client, for the log.
    ///
    /// Source: redis 7.0 `replication.c:replicaofCommand`, `replicationSetMaster`.
    pub fn replicaof(&mut self, now: MonoMs, host: &str, port: u16, who: &str) -> ReplicaOfOutcome {
        if self.is_following(host, port) && self.empty_refused == 0 {
            self.notice(
                "REPLICAOF would result into synchronization with the master we are already \
                 connected with. No operation performed.",
            );
            return ReplicaOfOutcome::AlreadyConnected;
        }
        self.set_master(now, host, port);
        self.deliberate = true;
        self.notice(format!(
            "REPLICAOF {} enabled (user request from '{who}')",
            format_addr(host, i64::from(port))
        ));
        ReplicaOfOutcome::Started
    }

    /// FAILOVER: this master becomes the replica of the node that is to take over, and asks it to.
    /// All stripe locks are held.
    pub fn hand_over(&mut self, now: MonoMs, host: &str, port: u16) {
        assert!(self.master.is_none(), "only a master hands over");
        self.failover = Some(Handover {
            asked: false,
            second_try: false,
            until: now + self.options.timeout_ms,
        });
        self.set_master(now, host, port);
    }

    /// Source: redis 7.0 `replication.c:replicationSetMaster`.
    fn set_master(&mut self, now: MonoMs, host: &str, port: u16) {
        let was_master = self.master.is_none();
        self.leave_link();
        if was_master {
            self.notice(
                "Before turning into a replica, using my own master parameters to synthesize a \
                 cached master: I may be able to synchronize with the new master with just a \
                 partial transfer.",
            );
            self.log.follow();
            self.can_continue = true;
        }
        self.master = Some(Master { host: host.to_owned(), port });
        self.failed_syncs = 0;
        (self.empty_refused, self.refused) = (0, None);
        self.connect(now, How::First);
    }

    /// REPLICAOF NO ONE, with all stripe locks held. False if this node is a master already.
    pub fn replicaof_no_one(&mut self, who: &str) -> bool {
        let changed = self.unset_master();
        if changed {
            self.notice(format!("MASTER MODE enabled (user request from '{who}')"));
        }
        changed
    }

    /// The master hands its role over to this replica (`PSYNC … FAILOVER`), with all stripe locks
    /// held.
    pub fn take_over(&mut self, who: &str) -> bool {
        let changed = self.unset_master();
        if changed {
            self.notice(format!("MASTER MODE enabled (failover request from '{who}')"));
        }
        changed
    }

    /// A FAILOVER was aborted after this node had become a replica: it is the master again. All
    /// stripe locks are held.
    pub fn hand_over_aborted(&mut self) -> bool {
        self.unset_master()
    }

    /// What the own replicas have to be told at once, not when the driver comes round.
    pub fn take_drop_replicas(&mut self) -> bool {
        let before = self.outputs.len();
        self.outputs.retain(|output| *output != ReplicaOutput::DropReplicas);
        self.outputs.len() < before
    }

    /// Source: redis 7.0 `replication.c:replicationUnsetMaster`.
    fn unset_master(&mut self) -> bool {
        if self.master.is_none() {
            return false;
        }
        self.leave_link();
        self.failover = None;
        if self.can_continue {
            self.notice("Discarding previously cached master state.");
        }
        self.master = None;
        self.state = State::None;
        self.can_continue = false;
        self.down_since = None;
        let fresh = ReplId::generate(&mut self.prng);
        let ids = self.log.promote(fresh);
        self.warning(format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID \
             is {}",
            ids.replid2, ids.second_repl_offset, ids.replid
        ));
        // Our replicas learn the new id by coming again.
        self.outputs.push_back(ReplicaOutput::DropReplicas);
        true
    }

    /// Whether this is the master already followed.
    pub fn is_following(&self, host: &str, port: u16) -> bool {
        let same = |m: &Master| m.host.eq_ignore_ascii_case(host) && m.port == port;
        self.master.as_ref().is_some_and(same)
    }

    /// Host and port of the master; `None` on a master.
    pub fn master(&self) -> Option<(&str, u16)> {
        self.master.as_ref().map(|m| (m.host.as_str(), m.port))
    }

    /// What this means for the own replicas; tell [`MasterSide`](crate::MasterSide) when it changes.
    pub fn upstream(&self) -> Upstream {
        match self.state {
            State::None => Upstream::None,
            State::Connected { .. } => Upstream::Up,
            _ => Upstream::Down,
        }
    }

    /// The present attempt.
    pub fn link(&self) -> LinkId {
        self.link
    }

    /// Whether the driver should read from the link. False while an RDB is being loaded: what
    /// follows it waits in the socket.
    pub fn wants_read(&self) -> bool {
        !matches!(self.state, State::Loading { .. })
    }

    /// Takes one input. Outputs are ready afterwards.
    pub fn handle_input(&mut self, now: MonoMs, input: ReplicaInput<'_>) {
        match input {
            ReplicaInput::Connected { link } if link == self.link => self.connected(now),
            ReplicaInput::ConnectFailed { link, error } if link == self.link => {
                if matches!(self.state, State::Connecting { .. }) {
                    self.warning(format!("Error condition on socket for SYNC: {error}"));
                    self.state = State::Connect { at: now + RETRY_MS, how: How::First };
                    self.handover_stuck(now);
                }
            }
            ReplicaInput::Data { link, bytes } if link == self.link => self.data(now, bytes),
            ReplicaInput::Closed { link, error } if link == self.link => self.closed(now, error),
            ReplicaInput::Inspected { link, incoming_empty, own_keys, guarded }
                if link == self.link =>
            {
                self.inspected(now, incoming_empty, own_keys, guarded);
            }
            ReplicaInput::LoadStarted { link } if link == self.link => self.load_started(),
            ReplicaInput::LoadFinished { link, ok, stream_db } if link == self.link => {
                self.load_finished(now, ok, stream_db);
            }
            ReplicaInput::AckRequested => {
                self.ack_wanted = matches!(self.state, State::Connected { .. });
            }
            // Late news of an earlier attempt.
            _ => {}
        }
    }

    /// Call it at or after the time that [`ReplicaLink::poll_timeout`] gave. Too early is harmless.
    ///
    /// Source: redis 7.0 `replication.c:replicationCron`.
    pub fn handle_timeout(&mut self, now: MonoMs) {
        self.handover_stuck_late(now);
        let limit = self.options.timeout_ms;
        let expired = |last: MonoMs| now.since(last) > limit;
        match &mut self.state {
            State::Connect { at, how } if *at <= now => {
                let how = *how;
                self.connect(now, how);
            }
            State::Connecting { since } if expired(*since) => self.handshake_timeout(now),
            State::Handshake(handshake) if expired(handshake.last_io) => {
                self.handshake_timeout(now);
            }
            State::Transfer(transfer) if expired(transfer.last_io) => {
                self.warning(
                    "Timeout receiving bulk data from MASTER... If the problem persists try to \
                     set the 'repl-timeout' parameter in redis.conf to a larger value.",
                );
                self.sync_failed(now);
            }
            State::Loading { next_newline, .. } if *next_newline <= now => {
                *next_newline = now + NEWLINE_PERIOD_MS;
                self.send(b"\n".to_vec());
            }
            State::Connected { last_io, .. } if expired(*last_io) => {
                self.warning("MASTER timeout: no data nor PING received...");
                self.outputs.push_back(ReplicaOutput::Close { link: self.link });
                self.master_lost(now);
            }
            State::Connected { next_ack, .. } if *next_ack <= now => {
                *next_ack = now + ACK_PERIOD_MS;
                self.ack_wanted = true;
            }
            _ => {}
        }
    }

    /// When `handle_timeout` has to be called next. Every input and every `replicaof…` may change it.
    pub fn poll_timeout(&self) -> Option<MonoMs> {
        let limit = |last: MonoMs| last + self.options.timeout_ms + 1;
        let of_state = match &self.state {
            State::None => None,
            State::Connect { at, .. } => Some(*at),
            State::Connecting { since } => Some(limit(*since)),
            State::Handshake(handshake) => Some(limit(handshake.last_io)),
            State::Transfer(transfer) => Some(limit(transfer.last_io)),
            State::Loading { next_newline, .. } => Some(*next_newline),
            State::Connected { last_io, next_ack } => Some(limit(*last_io).min(*next_ack)),
        };
        [of_state, self.failover.map(|handover| handover.until)].into_iter().flatten().min()
    }

    /// The next thing to do, in order. An ACK is made here, so that one answers all requests that
    /// came before and tells the newest offset.
    pub fn poll_output(&mut self) -> Option<ReplicaOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if std::mem::take(&mut self.ack_wanted) {
            let mut bytes = Vec::with_capacity(48);
            let offset = self.log.offset().to_string();
            match self.log.synced_stream_offset() {
                // Masters before 7.2 stop reading behind the offset.
                Some(synced) => {
                    let synced = synced.to_string();
                    resp::encode_command(
                        &mut bytes,
                        &["REPLCONF", "ACK", &offset, "FACK", &synced],
                    );
                }
                None => resp::encode_command(&mut bytes, &["REPLCONF", "ACK", &offset]),
            }
            return Some(ReplicaOutput::Send { link: self.link, bytes });
        }
        None
    }

    /// The link for INFO; `None` on a master.
    pub fn status(&self, now: MonoMs) -> Option<LinkStatus> {
        let master = self.master.as_ref()?;
        let sync = match &self.state {
            State::Transfer(transfer) => transfer.progress(now),
            _ => None,
        };
        let up = match self.state {
            State::Connected { last_io, .. } => Some(now.since(last_io) / 1000),
            _ => None,
        };
        let down = || self.down_since.map_or(-1, |since| (now.since(since) / 1000) as i64);
        let applied_offset = self.log.offset();
        Some(LinkStatus {
            host: master.host.clone(),
            port: master.port,
            state: self.link_state(),
            last_io_seconds_ago: up.map_or(-1, |s| s as i64),
            sync,
            read_offset: if up.is_some() { self.read_offset } else { applied_offset },
            applied_offset,
            down_since_seconds: if up.is_some() { None } else { Some(down()) },
            empty_refused: self.empty_refused,
        })
    }

    /// ROLE's word.
    pub fn link_state(&self) -> LinkState {
        match self.state {
            State::None => LinkState::None,
            State::Connect { .. } => LinkState::Connect,
            State::Connecting { .. } => LinkState::Connecting,
            State::Handshake(_) => LinkState::Handshake,
            State::Transfer(_) | State::Loading { .. } => LinkState::Sync,
            State::Connected { .. } => LinkState::Connected,
        }
    }

    /// The answer of ROLE on a replica.
    pub(crate) fn role_reply(&self, view: Option<&str>, reply: &mut Reply) {
        let Some(master) = &self.master else { return };
        let (host, port) = self.master_in_view(view).unwrap_or((&master.host, master.port));
        let connected = matches!(self.state, State::Connected { .. });
        reply.array(5);
        reply.bulk(b"slave");
        reply.text(host);
        reply.integer(i64::from(port));
        reply.text(self.link_state().as_str());
        reply.integer(if connected { self.log.offset() as i64 } else { -1 });
    }

    /// The master's address in a view, if it has told one.
    pub(crate) fn master_in_view(&self, view: Option<&str>) -> Option<(&str, u16)> {
        self.master_views.get(view?)
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.outputs.push_back(ReplicaOutput::Log(LogLine::notice(text)));
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.outputs.push_back(ReplicaOutput::Log(LogLine::warning(text)));
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.outputs.push_back(ReplicaOutput::Send { link: self.link, bytes });
    }

    fn address(&self) -> String {
        self.master.as_ref().map_or_else(String::new, |m| format_addr(&m.host, i64::from(m.port)))
    }

    /// Starts one attempt.
    fn connect(&mut self, now: MonoMs, how: How) {
        let Some(master) = &self.master else { unreachable!("only a replica connects") };
        let (host, port) = (master.host.clone(), master.port);
        self.link = LinkId(self.link.0 + 1);
        self.state = State::Connecting { since: now };
        let address = self.address();
        self.notice(match how {
            How::First => format!("Connecting to MASTER {address}"),
            How::Again => format!("Reconnecting to MASTER {address}"),
            How::AfterFailure => format!("Reconnecting to MASTER {address} after failure"),
        });
        self.notice("MASTER <-> REPLICA sync started");
        self.outputs.push_back(ReplicaOutput::Connect { link: self.link, host, port });
    }

    fn connected(&mut self, now: MonoMs) {
        if matches!(self.state, State::Connecting { .. }) {
            self.notice("Non blocking connect for SYNC fired the event.");
            self.become_handshake(now);
        }
    }

    /// Bytes may carry the link through several states at once.
    fn data(&mut self, now: MonoMs, bytes: &[u8]) {
        let link = self.link;
        let mut rest = bytes.to_vec();
        while !rest.is_empty() && self.link == link {
            rest = match &mut self.state {
                State::Handshake(_) => self.handshake_bytes(now, rest),
                State::Transfer(_) => self.transfer_bytes(now, rest),
                State::Loading { early, .. } => {
                    early.extend_from_slice(&rest);
                    return;
                }
                State::Connected { last_io, .. } => {
                    *last_io = now;
                    self.read_offset += rest.len() as u64;
                    self.outputs.push_back(ReplicaOutput::Stream { link, bytes: rest });
                    return;
                }
                State::None | State::Connect { .. } | State::Connecting { .. } => return,
            };
        }
    }

    fn closed(&mut self, now: MonoMs, error: &str) {
        match self.state {
            State::Handshake(_) => self.handshake_closed(now, error),
            State::Transfer(_) | State::Loading { .. } => {
                let error = if error.is_empty() { "connection lost" } else { error };
                let what = match &self.state {
                    State::Transfer(t) if t.in_header() => "reading bulk count from MASTER",
                    _ => "trying to sync with MASTER",
                };
                self.warning(format!("I/O error {what}: {error}"));
                self.sync_failed(now);
            }
            State::Connected { .. } => self.master_lost(now),
            State::Connecting { .. } => {
                self.warning(format!("Error condition on socket for SYNC: {error}"));
                self.state = State::Connect { at: now + RETRY_MS, how: How::First };
            }
            State::None | State::Connect { .. } => {}
        }
    }

    /// The stream ended. It is taken up again at once.
    fn master_lost(&mut self, now: MonoMs) {
        self.warning("Connection with master lost.");
        self.notice("Caching the disconnected master state.");
        self.down_since = Some(now);
        self.ack_wanted = false;
        self.connect(now, How::Again);
    }

    /// Ends whatever the link is doing, on our own wish.
    fn leave_link(&mut self) {
        match self.state {
            State::None | State::Connect { .. } => {}
            State::Connected { .. } => {
                self.warning("Connection with master lost.");
                self.notice("Caching the disconnected master state.");
                self.outputs.push_back(ReplicaOutput::Close { link: self.link });
            }
            _ => self.outputs.push_back(ReplicaOutput::Close { link: self.link }),
        }
        self.ack_wanted = false;
        self.replacing = false;
        // Nothing of this attempt counts any more.
        self.link = LinkId(self.link.0 + 1);
    }

    /// A full synchronization failed: again, soon.
    fn sync_failed(&mut self, now: MonoMs) {
        self.outputs.push_back(ReplicaOutput::Close { link: self.link });
        self.link = LinkId(self.link.0 + 1);
        self.replacing = false;
        let failed = self.failed_syncs;
        self.failed_syncs = failed.saturating_add(1);
        if failed == 0 {
            return self.connect(now, How::AfterFailure);
        }
        let wait = (SYNC_BACKOFF_MS << (failed - 1).min(8)).min(RETRY_MS);
        self.state = State::Connect { at: now + wait, how: How::AfterFailure };
    }

    /// The stream begins here.
    fn become_connected(&mut self, now: MonoMs, full: bool) {
        assert!(
            matches!(self.state, State::Handshake(_) | State::Loading { .. }),
            "a stream follows an agreement"
        );
        self.can_continue = true;
        self.replacing = false;
        self.deliberate = false;
        (self.empty_refused, self.refused) = (0, None);
        self.failed_syncs = 0;
        self.down_since = None;
        self.read_offset = self.log.offset();
        self.state = State::Connected { last_io: now, next_ack: now + ACK_PERIOD_MS };
        // The first ACK puts this node online at its master.
        self.ack_wanted = true;
        self.outputs.push_back(ReplicaOutput::StreamBegin { link: self.link, full });
    }
}
