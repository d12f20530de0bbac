//! One watched process seen as a pair of connections: opening and replacing them, pairing replies
//! with commands, PING, and the clocks from which it is judged to be down.
//!
//! A link knows nothing of masters, votes or failovers. Links to peers are shared by all masters
//! that are watched in common with that peer. Differences from redis-sentinel, none of them visible
//! on the wire: a lost connection is opened again at once; the down clock runs from the first PING
//! that stays unanswered, or from the loss of the connection; and a connection that the other side
//! closed is remembered as possible proof of its death.
//! Source: redis 7.0 `sentinel.c:sentinelReconnectInstance`, `sentinelSendPing`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use resp::{ReplyParser, Value};
use stdx::MonoMs;

use crate::addr::Addr;
use crate::api::{CloseReason, ConnId, LinkPurpose};
use crate::hello::{HELLO_CHANNEL, REQUEST_CHANNEL};
use crate::io::Io;
use crate::model::{MasterId, ReplicaKey};
use crate::timing::{CONNECT_WAIT_MS, PENDING_MAX, RETRY_MS, SILENT_RECYCLE_MS};

/// Names a link inside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub u64);

/// Whose replies arrive on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Master(MasterId),
    Replica(MasterId, ReplicaKey),
    /// A sentinel; several masters may share the link.
    Peer,
}

/// A command whose reply has not come yet.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    /// The reply says nothing (AUTH, SETNAME, MULTI, …).
    Ignored,
    Ping {
        sent: MonoMs,
    },
    Info,
    /// INFO of a peer.
    PeerInfo,
    Role,
    /// FAILOVER, in the epoch of a planned switch.
    Failover {
        epoch: u64,
    },
    /// `is-master-down-by-addr`: about which master and address, from which entry, and the epoch
    /// in which a vote was asked for.
    Ask {
        master: MasterId,
        peer: String,
        addr: Addr,
        vote_epoch: Option<u64>,
    },
    /// `SENTINEL MASTER`: what does the peer take for the master?
    Confirm {
        master: MasterId,
        peer: String,
    },
}

/// One of the two connections of a link.
pub(crate) enum Channel {
    /// Not there; the next attempt is due at `retry_at`.
    Idle {
        retry_at: MonoMs,
    },
    Connecting {
        conn: ConnId,
        since: MonoMs,
    },
    Up {
        conn: ConnId,
        since: MonoMs,
        parser: ReplyParser,
        /// Something has been answered on it.
        heard: bool,
    },
}

impl Channel {
    pub fn is_up(&self) -> bool {
        matches!(self, Channel::Up { .. })
    }

    pub fn conn(&self) -> Option<ConnId> {
        match self {
            Channel::Idle { .. } => None,
            Channel::Connecting { conn, .. } | Channel::Up { conn, .. } => Some(*conn),
        }
    }
}

/// The other side closed the command connection and has not been heard since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    pub since: MonoMs,
    /// A new connection was refused, not answered, or closed without a word.
    pub failed: bool,
}

/// What a sweep tells a link about the instance behind it.
#[derive(Clone, Copy)]
pub(crate) struct Care {
    pub ping_period: u64,
    pub down_after: u64,
    pub publish_period: u64,
    pub min_reconnect: u64,
    pub s_down: bool,
    /// `crash-grace` of a master, 0 for everyone else.
    pub grace: u64,
}

pub(crate) struct Link {
    pub id: LinkId,
    pub owner: Owner,
    pub addr: Addr,
    /// How many masters share the link.
    pub refcount: u32,
    pub cmd: Channel,
    pub pubsub: Channel,
    pub pending: VecDeque<Pending>,
    /// Since when the instance owes an answer. Redis calls it `act_ping_time`.
    pub down_clock: Option<MonoMs>,
    /// The clock was started by the loss of the connection, not by a PING.
    clock_by_loss: bool,
    pub last_ping: Option<MonoMs>,
    /// The last acceptable reply to PING.
    pub last_ok: MonoMs,
    /// The last reply to PING of any kind.
    pub last_pong: MonoMs,
    pub pubsub_activity: MonoMs,
    pub proof: Option<Proof>,
    /// Largest round trip measured lately, in ms.
    pub rtt: u64,
    /// Whether a peer is of our own kind: none until it has said so.
    pub is_redoubt: Option<bool>,
    /// Connection on which a peer was asked for its kind.
    pub kind_asked: Option<ConnId>,
    /// Connection on which a peer was last asked for its further addresses, and when.
    pub views_asked: Option<(ConnId, MonoMs)>,
    pub local_ip: Option<IpAddr>,
    /// User and password to log in with.
    pub login: Option<(Option<String>, String)>,
    /// Commands that have another name on this node.
    pub renamed: BTreeMap<String, String>,
    /// `sentinel-<first 8 of myid>`.
    client_name: String,
    /// Where a master that is about to end asks this sentinel to lead.
    request_channel: String,
    /// The command connection stood at least once.
    pub ever_up: bool,
    failures: u32,
    grace: u64,
}

impl Link {
    pub fn new(id: LinkId, owner: Owner, addr: Addr, myid: &str, now: MonoMs) -> Link {
        Link {
            id,
            owner,
            addr,
            refcount: 1,
            cmd: Channel::Idle { retry_at: now },
            pubsub: Channel::Idle { retry_at: now },
            pending: VecDeque::new(),
            down_clock: Some(now),
            clock_by_loss: true,
            last_ping: None,
            last_ok: now,
            last_pong: now,
            pubsub_activity: now,
            proof: None,
            rtt: 0,
            is_redoubt: None,
            kind_asked: None,
            views_asked: None,
            local_ip: None,
            login: None,
            renamed: BTreeMap::new(),
            client_name: format!("sentinel-{}", &myid[..8.min(myid.len())]),
            request_channel: format!("{REQUEST_CHANNEL}{myid}"),
            ever_up: false,
            failures: 0,
            grace: 0,
        }
    }

    fn is_peer(&self) -> bool {
        self.owner == Owner::Peer
    }

    pub fn awaits(&self, test: impl Fn(&Pending) -> bool) -> bool {
        self.pending.iter().any(test)
    }

    /// Encodes a command under the name that it has on this node.
    fn encode(&self, bytes: &mut Vec<u8>, args: &[&str]) {
        let mut words: Vec<&str> = args.to_vec();
        if !self.is_peer() {
            // CONFIG|REWRITE and the like are renamed by their first word only.
            if let Some(name) = self.renamed.get(&args[0].to_ascii_lowercase()) {
                words[0] = name;
            }
        }
        resp::encode_command(bytes, &words);
    }

    /// Sends commands in one write. Returns false, and sends nothing, when the link is not up or
    /// too many replies are outstanding.
    pub fn send(&mut self, io: &mut Io, commands: &[(Pending, &[&str])]) -> bool {
        let Channel::Up { conn, .. } = self.cmd else { return false };
        if self.pending.len() >= PENDING_MAX * self.refcount as usize {
            return false;
        }
        let mut bytes = Vec::new();
        for (pending, args) in commands {
            self.encode(&mut bytes, args);
            self.pending.push_back(pending.clone());
        }
        io.send(conn, bytes);
        true
    }

    /// Sends PING and starts the down clock if no answer is owed yet.
    fn ping(&mut self, io: &mut Io) {
        let now = io.now.mono;
        if self.send(io, &[(Pending::Ping { sent: now }, &["PING"])]) {
            self.owe_ping(now);
        }
    }

    fn owe_ping(&mut self, now: MonoMs) {
        self.last_ping = Some(now);
        if self.down_clock.is_none() {
            self.down_clock = Some(now);
            self.clock_by_loss = false;
        }
    }

    fn owe_by_loss(&mut self, now: MonoMs) {
        if self.down_clock.is_none() {
            self.down_clock = Some(now);
            self.clock_by_loss = true;
        }
    }

    /// An answer to PING. `good` answers (`+PONG`, `-LOADING`, `-MASTERDOWN`) show a live server.
    pub fn pong(&mut self, now: MonoMs, sent: MonoMs, good: bool) {
        self.last_pong = now;
        let sample = now.since(sent);
        self.rtt = sample.max(self.rtt - self.rtt / 8);
        if good {
            self.last_ok = now;
            // PINGs sent meanwhile still owe their own answers.
            self.down_clock = self.pending.iter().find_map(|p| match p {
                Pending::Ping { sent } => Some(*sent),
                _ => None,
            });
        }
    }

    /// Opens, replaces and uses the connections as far as they are due.
    pub fn drive(&mut self, io: &mut Io, care: &Care) {
        self.grace = care.grace;
        self.drive_cmd(io, care);
        if !self.is_peer() {
            self.drive_pubsub(io, care);
        }
    }

    fn drive_cmd(&mut self, io: &mut Io, care: &Care) {
        let now = io.now.mono;
        match self.cmd {
            Channel::Idle { retry_at } => {
                if now < retry_at {
                    return io.wake_at(retry_at);
                }
                self.cmd = self.open(io, LinkPurpose::Command);
                io.wake_at(now + CONNECT_WAIT_MS);
            }
            Channel::Connecting { conn, since } => {
                if io.due(since, CONNECT_WAIT_MS) {
                    io.close(conn);
                    self.connect_failed(now);
                    self.cmd = self.open(io, LinkPurpose::Command);
                    io.wake_at(now + CONNECT_WAIT_MS);
                }
            }
            Channel::Up { conn, since, .. } => {
                if self.silent_too_long(io, since, care) {
                    io.close(conn);
                    self.forget_cmd(now);
                    self.cmd = self.open(io, LinkPurpose::Command);
                    return io.wake_at(now + CONNECT_WAIT_MS);
                }
                self.drive_ping(io, since, care);
            }
        }
    }

    fn drive_ping(&mut self, io: &mut Io, up_since: MonoMs, care: &Care) {
        let first = self.last_ping.is_none_or(|at| at < up_since);
        let ready = first || {
            let pong_due = io.due(self.last_pong, care.ping_period);
            let ping_due = io.due(self.last_ping.unwrap_or(up_since), care.ping_period / 2);
            pong_due && ping_due
        };
        if ready {
            self.ping(io);
            io.wake_at(io.now.mono + care.ping_period / 2);
        }
    }

    /// True when a connection has been silent so long that a new one has better chances.
    fn silent_too_long(&self, io: &mut Io, up_since: MonoMs, care: &Care) -> bool {
        // Every connection begins with a PING: the oldest that waits tells how long it is silent.
        let oldest = self.pending.iter().find_map(|p| match p {
            Pending::Ping { sent } => Some(*sent),
            _ => None,
        });
        let Some(sent) = oldest else { return false };
        if care.s_down {
            let limit = if self.is_peer() { 2 * SILENT_RECYCLE_MS } else { SILENT_RECYCLE_MS };
            return io.due(sent, limit);
        }
        io.due(up_since, care.min_reconnect) && io.due(sent, care.down_after / 2)
    }

    fn drive_pubsub(&mut self, io: &mut Io, care: &Care) {
        let now = io.now.mono;
        match self.pubsub {
            Channel::Idle { retry_at } => {
                // Without commands there is nobody to subscribe to either.
                if !self.cmd.is_up() {
                    return;
                }
                if now < retry_at {
                    return io.wake_at(retry_at);
                }
                self.pubsub = self.open(io, LinkPurpose::PubSub);
                io.wake_at(now + CONNECT_WAIT_MS);
            }
            Channel::Connecting { conn, since } => {
                if io.due(since, CONNECT_WAIT_MS) {
                    io.close(conn);
                    self.pubsub = Channel::Idle { retry_at: now + RETRY_MS };
                    io.wake_at(now + RETRY_MS);
                }
            }
            Channel::Up { conn, .. } => {
                // Our own hellos come back here; silence means that the connection is dead.
                if io.due(self.pubsub_activity, care.publish_period * 3) {
                    io.close(conn);
                    self.pubsub = self.open(io, LinkPurpose::PubSub);
                    io.wake_at(now + CONNECT_WAIT_MS);
                }
            }
        }
    }

    /// Starts a connection, or waits for the name's address.
    fn open(&mut self, io: &mut Io, purpose: LinkPurpose) -> Channel {
        let now = io.now.mono;
        if self.addr.is_name() {
            io.resolve(&self.addr.host.clone());
        }
        match self.addr.socket() {
            Some(addr) => {
                Channel::Connecting { conn: io.connect(self.id, addr, purpose), since: now }
            }
            None => {
                io.wake_at(now + RETRY_MS);
                Channel::Idle { retry_at: now + RETRY_MS }
            }
        }
    }

    /// The name stands for another address now: use it.
    pub fn set_ip(&mut self, io: &mut Io, ip: IpAddr) {
        if self.addr.ip == Some(ip) {
            return;
        }
        self.addr.ip = Some(ip);
        self.restart(io);
    }

    /// Drops both connections and opens them anew at once; what was owed stays owed.
    pub fn restart(&mut self, io: &mut Io) {
        let now = io.now.mono;
        self.close(io);
        self.cmd = Channel::Idle { retry_at: now };
        self.pubsub = Channel::Idle { retry_at: now };
    }

    /// The instance begins a new part (it is the master now): if it owes an answer, connections and
    /// clock start anew, at once, so that it is not judged by what was before.
    pub fn begin_anew(&mut self, io: &mut Io) {
        self.proof = None;
        if self.down_clock.is_some() {
            self.restart(io);
            self.down_clock = Some(io.now.mono);
            self.clock_by_loss = true;
            self.ever_up = false;
            self.failures = 0;
        }
    }

    /// Drops both connections.
    pub fn close(&mut self, io: &mut Io) {
        let now = io.now.mono;
        for conn in [self.cmd.conn(), self.pubsub.conn()].into_iter().flatten() {
            io.close(conn);
        }
        self.forget_cmd(now);
        self.cmd = Channel::Idle { retry_at: now };
        self.pubsub = Channel::Idle { retry_at: now };
    }

    /// Restarts the clocks: this process was away and must not judge by what it missed.
    pub fn restart_clocks(&mut self, now: MonoMs) {
        if let Some(clock) = &mut self.down_clock {
            *clock = now;
        }
        if let Some(proof) = &mut self.proof {
            proof.since = now;
        }
        for pending in &mut self.pending {
            if let Pending::Ping { sent } = pending {
                *sent = now;
            }
        }
        self.pubsub_activity = now;
    }

    /// The replies that were awaited will not come; from now on the instance owes a sign of life.
    fn forget_cmd(&mut self, now: MonoMs) {
        self.pending.clear();
        self.owe_by_loss(now);
    }

    fn connect_failed(&mut self, now: MonoMs) {
        self.failures = self.failures.saturating_add(1);
        if let Some(proof) = &mut self.proof {
            proof.failed = true;
        }
        self.owe_by_loss(now);
    }

    fn retry_delay(&self) -> u64 {
        if self.proof.is_some() && self.grace > 0 && self.failures < 20 {
            (self.grace / 8).clamp(10, RETRY_MS)
        } else if self.failures < 40 {
            RETRY_MS
        } else {
            2 * RETRY_MS
        }
    }

    /// [`crate::Input::Connected`].
    pub fn on_connected(&mut self, io: &mut Io, purpose: LinkPurpose, conn: ConnId, local: IpAddr) {
        let now = io.now.mono;
        let up = Channel::Up { conn, since: now, parser: ReplyParser::new(), heard: false };
        match purpose {
            LinkPurpose::Command => {
                assert_eq!(self.cmd.conn(), Some(conn), "only the present attempt can succeed");
                self.cmd = up;
                // The clock runs from the first PING on an established link; one that the loss of
                // the connection had started begins anew, unless attempts have failed meanwhile.
                // One that a PING has started goes on: a new connection is no answer.
                if self.clock_by_loss && (!self.ever_up || self.failures == 0) {
                    self.down_clock = None;
                }
                self.ever_up = true;
                self.pending.clear();
                self.local_ip = Some(local);
                self.greet(io);
            }
            LinkPurpose::PubSub => {
                assert_eq!(self.pubsub.conn(), Some(conn), "only the present attempt can succeed");
                self.pubsub = up;
                self.pubsub_activity = now;
                let mut bytes = Vec::new();
                self.encode_login(&mut bytes);
                let name = format!("{}-pubsub", self.client_name);
                self.encode(&mut bytes, &["CLIENT", "SETNAME", &name]);
                self.encode(&mut bytes, &["SUBSCRIBE", HELLO_CHANNEL]);
                // Apart, so that a user without a right to it still hears hellos.
                self.encode(&mut bytes, &["SUBSCRIBE", &self.request_channel]);
                io.send(conn, bytes);
            }
        }
    }

    fn encode_login(&self, bytes: &mut Vec<u8>) {
        match &self.login {
            Some((Some(user), pass)) => self.encode(bytes, &["AUTH", user, pass]),
            Some((None, pass)) => self.encode(bytes, &["AUTH", pass]),
            None => {}
        }
    }

    /// First words on a command connection: login, name, PING.
    fn greet(&mut self, io: &mut Io) {
        let now = io.now.mono;
        let login = self.login.clone();
        let name = format!("{}-cmd", self.client_name);
        let setname = ["CLIENT", "SETNAME", name.as_str()];
        let auth: Vec<&str> = match &login {
            Some((Some(user), pass)) => vec!["AUTH", user, pass],
            Some((None, pass)) => vec!["AUTH", pass],
            None => Vec::new(),
        };
        let mut words: Vec<(Pending, &[&str])> = Vec::new();
        if !auth.is_empty() {
            words.push((Pending::Ignored, &auth));
        }
        words.push((Pending::Ignored, &setname));
        words.push((Pending::Ping { sent: now }, &["PING"]));
        if self.send(io, &words) {
            self.owe_ping(now);
        }
    }

    /// [`crate::Input::ConnectFailed`].
    pub fn on_connect_failed(&mut self, now: MonoMs, purpose: LinkPurpose) {
        match purpose {
            LinkPurpose::Command => {
                self.connect_failed(now);
                self.cmd = Channel::Idle { retry_at: now + self.retry_delay() };
            }
            LinkPurpose::PubSub => self.pubsub = Channel::Idle { retry_at: now + RETRY_MS },
        }
    }

    /// [`crate::Input::Closed`].
    pub fn on_closed(&mut self, now: MonoMs, purpose: LinkPurpose, how: CloseReason) {
        let channel = match purpose {
            LinkPurpose::Command => &self.cmd,
            LinkPurpose::PubSub => &self.pubsub,
        };
        let heard = matches!(channel, Channel::Up { heard: true, .. });
        if purpose == LinkPurpose::PubSub {
            let delay = if heard { 0 } else { RETRY_MS };
            self.pubsub = Channel::Idle { retry_at: now + delay };
            return;
        }
        self.forget_cmd(now);
        match &mut self.proof {
            Some(proof) => proof.failed = true,
            None if how != CloseReason::Error => {
                self.proof = Some(Proof { since: now, failed: false });
            }
            None => {}
        }
        // A connection that is taken and dropped without a word is no better than a refused one.
        let delay = if heard {
            0
        } else {
            self.failures = self.failures.saturating_add(1);
            self.retry_delay()
        };
        self.cmd = Channel::Idle { retry_at: now + delay };
    }

    /// Takes bytes of one connection and returns the replies that are whole now, or nothing when
    /// the bytes are no replies.
    pub fn on_received(
        &mut self,
        now: MonoMs,
        purpose: LinkPurpose,
        bytes: &[u8],
    ) -> Option<Vec<Value>> {
        let channel = match purpose {
            LinkPurpose::Command => &mut self.cmd,
            LinkPurpose::PubSub => &mut self.pubsub,
        };
        let Channel::Up { parser, heard, .. } = channel else {
            unreachable!("bytes come from an established connection");
        };
        parser.feed(bytes);
        let mut values = Vec::new();
        while let Some(value) = parser.next().ok()? {
            values.push(value);
            *heard = true;
        }
        if parser.pending().len() > REPLY_BYTES_MAX {
            return None;
        }
        match purpose {
            LinkPurpose::Command if !values.is_empty() => {
                // Whatever it says, a process is there to say it.
                self.proof = None;
                self.failures = 0;
            }
            LinkPurpose::Command => {}
            LinkPurpose::PubSub => self.pubsub_activity = now,
        }
        Some(values)
    }

    /// Closes a connection on which nonsense has arrived.
    pub fn drop_broken(&mut self, io: &mut Io, purpose: LinkPurpose) {
        let now = io.now.mono;
        let channel = match purpose {
            LinkPurpose::Command => &mut self.cmd,
            LinkPurpose::PubSub => &mut self.pubsub,
        };
        if let Some(conn) = channel.conn() {
            io.close(conn);
        }
        *channel = Channel::Idle { retry_at: now + 4 * RETRY_MS };
        if purpose == LinkPurpose::Command {
            self.forget_cmd(now);
        }
    }
}

/// A reply longer than this comes from no sane peer (INFO of a node with many replicas is a few
/// hundred KiB).
const REPLY_BYTES_MAX: usize = 16 << 20;
