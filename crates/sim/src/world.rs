//! The event loop: one queue of events in time order, delivered to data nodes and sentinels.
//!
//! Ties are broken by the order in which events were made, so that a seed has one history.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use resp::{Decoded, Decoder, Limits};
use sentinel::{
    CloseReason, ConnId, ConnectError, Hello, Input, LinkPurpose, LogLevel, Output, PersistToken,
    Status,
};
use stdx::Prng;

use crate::check::Checker;
use crate::net::{Conn, ConnState, Dir, HostId, Net, slot};
use crate::node::{DataNode, Effect, NODE_PORT};
use crate::seat::{SENTINEL_PORT, Seat};

/// The one master's name.
pub const MASTER: &str = "mymaster";

/// Sizes and settings of a world.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Decides everything that is random.
    pub seed: u64,
    /// How many sentinels.
    pub sentinels: usize,
    /// How many data nodes; the first is the master.
    pub nodes: usize,
    /// `sentinel monitor … QUORUM`.
    pub quorum: u64,
    /// `down-after-milliseconds`.
    pub down_after: u64,
    /// `failover-timeout`.
    pub failover_timeout: u64,
    /// `parallel-syncs`.
    pub parallel_syncs: u64,
    /// `crash-grace`.
    pub crash_grace: u64,
    /// Bounds of the one-way delay of a packet, in µs.
    pub delay_us: (u64, u64),
    /// Bounds of the time that a write to disk takes, in µs.
    pub disk_us: (u64, u64),
    /// Sentinels begin with an id, as after a restart; without it they give no votes at first.
    pub with_state: bool,
    /// Priorities of the nodes; 100 for those that are not listed.
    pub priorities: Vec<i64>,
}

impl Default for WorldOptions {
    fn default() -> WorldOptions {
        WorldOptions {
            seed: 1,
            sentinels: 3,
            nodes: 3,
            quorum: 2,
            down_after: 5000,
            failover_timeout: 10_000,
            parallel_syncs: 1,
            crash_grace: 200,
            delay_us: (30, 200),
            disk_us: (500, 3000),
            with_state: true,
            priorities: Vec::new(),
        }
    }
}

/// One log line of one sentinel.
#[derive(Clone, Debug)]
pub struct Entry {
    /// World time in µs.
    pub at_us: u64,
    /// Which sentinel, from 0.
    pub sentinel: usize,
    /// The line.
    pub line: String,
}

/// What runs on a host, and how it is.
pub struct Host {
    /// The process runs.
    pub alive: bool,
    /// The host answers packets although the process is dead (it refuses connections).
    pub kernel: bool,
    /// The process is stopped; its kernel goes on.
    pub paused: bool,
    /// Grows with every start.
    life: u32,
    /// What happened while it was paused.
    inbox: VecDeque<Event>,
    /// The connections whose bytes wait, as a kernel's buffers hold them.
    cut_since: u64,
}

#[derive(Clone, Debug)]
enum Event {
    /// The first packet of a connection arrives.
    Syn(u64),
    /// The answer to it: true if accepted.
    SynAnswer(u64, bool),
    /// Bytes arrive.
    Bytes(u64, Dir),
    /// The news that a connection has ended arrives at one end.
    Closed(u64, Dir, CloseReason),
    /// A sentinel asked to be called.
    Wake(usize, u64),
    /// A write to disk may be done.
    Disk(usize, u32),
    /// Data nodes replicate.
    Replication,
    /// A cut has ended and the sender tries again.
    Retransmit(u64, Dir),
}

/// Everything there is.
pub struct World {
    /// World time in µs.
    pub now: u64,
    /// The settings it was made with.
    pub options: WorldOptions,
    /// Hosts: data nodes first, then sentinels.
    pub hosts: Vec<Host>,
    /// All log lines of all sentinels.
    pub log: Vec<Entry>,
    /// How often a sentinel told the rightful master to follow another node.
    pub demotions: Vec<u64>,
    /// Switches that leaders have made.
    pub switches: u64,
    pub(crate) prng: Prng,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<DataNode>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) checker: Checker,
    conns: BTreeMap<u64, Conn>,
    by_client: BTreeMap<(HostId, u32, ConnId), u64>,
    queue: BTreeMap<(u64, u64), Event>,
    seq: u64,
    next_conn: u64,
    decoder_limits: Limits,
}

const REPLICATION_US: u64 = 5000;

impl World {
    /// A world in which everything has just been started.
    pub fn new(options: WorldOptions) -> World {
        let conf = move |options: &WorldOptions| {
            format!(
                "port {SENTINEL_PORT}\n\
                 sentinel monitor {MASTER} 10.0.0.1 {NODE_PORT} {}\n\
                 sentinel down-after-milliseconds {MASTER} {}\n\
                 sentinel failover-timeout {MASTER} {}\n\
                 sentinel parallel-syncs {MASTER} {}\n\
                 sentinel crash-grace {MASTER} {}\n",
                options.quorum,
                options.down_after,
                options.failover_timeout,
                options.parallel_syncs,
                options.crash_grace
            )
        };
        let confs = vec![conf(&options); options.sentinels];
        World::with_confs(options, confs)
    }

    /// A world whose sentinels start from these files.
    pub fn with_confs(options: WorldOptions, confs: Vec<String>) -> World {
        assert_eq!(confs.len(), options.sentinels, "one file per sentinel");
        let mut prng = Prng::new(options.seed);
        let mut nodes = Vec::new();
        for index in 0..options.nodes {
            let master = (index > 0).then(|| ("10.0.0.1".to_string(), NODE_PORT));
            let priority = options.priorities.get(index).copied().unwrap_or(100);
            nodes.push(DataNode::new(format!("10.0.0.{}", index + 1), priority, master, &mut prng));
        }
        let mut seats = Vec::new();
        for (index, mut conf) in confs.into_iter().enumerate() {
            let original = conf.clone().into_bytes();
            if options.with_state && !conf.contains("sentinel myid") {
                conf.push_str(&format!("sentinel myid {}\n", prng.hex(40)));
            }
            let mut seat = Seat::new(format!("10.0.1.{}", index + 1), conf.into_bytes(), &mut prng);
            seat.original = original;
            seats.push(seat);
        }
        let count = options.nodes + options.sentinels;
        let host = || Host {
            alive: true,
            kernel: true,
            paused: false,
            life: 1,
            inbox: VecDeque::new(),
            cut_since: 0,
        };
        let net = Net { cuts: Default::default(), delay: options.delay_us, slow: vec![0; count] };
        let mut world = World {
            now: 0,
            hosts: (0..count).map(|_| host()).collect(),
            log: Vec::new(),
            demotions: Vec::new(),
            switches: 0,
            prng,
            net,
            nodes,
            seats,
            checker: Checker::default(),
            conns: BTreeMap::new(),
            by_client: BTreeMap::new(),
            queue: BTreeMap::new(),
            seq: 0,
            next_conn: 1,
            decoder_limits: Limits::default(),
            options,
        };
        world.push(0, Event::Replication);
        for index in 0..world.seats.len() {
            world.start_machine(index);
        }
        world
    }

    // ----- what tests and faults use -----

    /// Broken rules so far.
    pub fn violations(&self) -> &[String] {
        &self.checker.violations
    }

    /// Epochs in which a leader was elected.
    pub fn elections(&self) -> usize {
        self.checker.winners.len()
    }

    /// The host of a sentinel.
    pub fn sentinel_host(&self, index: usize) -> HostId {
        self.nodes.len() + index
    }

    /// What a sentinel thinks, if it runs.
    pub fn status(&self, index: usize) -> Option<Status> {
        self.seats[index].machine.as_ref().map(|m| m.status())
    }

    /// Run id of a sentinel.
    pub fn runid(&self, index: usize) -> &str {
        &self.seats[index].runid
    }

    /// The file of a sentinel as the disk holds it.
    pub fn disk_text(&self, index: usize) -> String {
        String::from_utf8_lossy(&self.seats[index].disk).into_owned()
    }

    /// The node that calls itself master at this address, as an index.
    pub fn node_at(&self, ip: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.ip == ip)
    }

    /// True when the node runs and is nobody's replica.
    pub fn is_master(&self, node: usize) -> bool {
        self.hosts[node].alive && self.nodes[node].master.is_none()
    }

    /// Whom the node follows, as an index.
    pub fn follows(&self, node: usize) -> Option<usize> {
        let (ip, _) = self.nodes[node].master.as_ref()?;
        self.node_at(ip)
    }

    /// True when the node's link to its master is up.
    pub fn link_up(&self, node: usize) -> bool {
        self.nodes[node].link_up
    }

    /// Offset of a node.
    pub fn offset(&self, node: usize) -> i64 {
        self.nodes[node].offset
    }

    /// Sets a node's offset (in a world where it stands still).
    pub fn set_offset(&mut self, node: usize, offset: i64) {
        self.nodes[node].offset = offset;
        self.nodes[node].offset_since = self.now;
    }

    /// Lets `ms` milliseconds pass.
    pub fn run_ms(&mut self, ms: u64) {
        self.run_until_us(self.now + ms * 1000);
    }

    /// Lets time pass until `test` holds, at most `ms`. Returns whether it came true.
    pub fn run_until(&mut self, ms: u64, test: impl Fn(&World) -> bool) -> bool {
        let end = self.now + ms * 1000;
        while self.now < end {
            if test(self) {
                return true;
            }
            self.run_until_us(end.min(self.now + 1000));
        }
        test(self)
    }

    /// Lets time pass until `at`, in µs.
    pub fn run_until_us(&mut self, at: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > at {
                break;
            }
            let ((time, _), event) = entry.remove_entry();
            self.now = self.now.max(time);
            self.handle(event);
        }
        self.now = self.now.max(at);
    }

    /// Log lines that begin with `event`, of one sentinel or of all.
    pub fn lines(&self, sentinel: Option<usize>, event: &str) -> Vec<&Entry> {
        self.log
            .iter()
            .filter(|e| sentinel.is_none_or(|s| s == e.sentinel))
            .filter(|e| e.line.split(' ').next() == Some(event))
            .collect()
    }

    /// The log as text, one line per entry: time in ms, sentinel, line.
    pub fn log_text(&self) -> String {
        self.log
            .iter()
            .map(|e| format!("{:>9} {}: {}\n", e.at_us / 1000, e.sentinel, e.line))
            .collect()
    }

    /// Kills a process. `noisy`: its host goes on and resets its connections; otherwise the host
    /// is gone without a word.
    pub fn crash(&mut self, host: HostId, noisy: bool) {
        if !self.hosts[host].alive {
            if !noisy {
                self.hosts[host].kernel = false;
            }
            return;
        }
        self.hosts[host].alive = false;
        self.hosts[host].paused = false;
        self.hosts[host].kernel = noisy;
        self.hosts[host].inbox.clear();
        self.hosts[host].cut_since = self.now;
        if host < self.nodes.len() {
            self.nodes[host].sessions.clear();
            let offset = self.nodes[host].offset;
            self.nodes[host].disk.1 = offset;
        } else {
            let seat = &mut self.seats[host - self.nodes.len()];
            seat.machine = None;
            seat.writes.clear();
            seat.sessions.clear();
            seat.wake_at = u64::MAX;
        }
        let ids: Vec<u64> = self.conns_of(host);
        for id in ids {
            if noisy {
                self.end_from(id, host, CloseReason::Reset);
            } else if let Some(conn) = self.conns.get_mut(&id) {
                conn.half_dead = true;
                conn.in_flight.iter_mut().for_each(VecDeque::clear);
            }
        }
    }

    /// Starts a process again. A sentinel without its disk has only its owner's file; a data node
    /// without it is empty.
    pub fn restart(&mut self, host: HostId, with_disk: bool) {
        if self.hosts[host].alive {
            return;
        }
        let away = self.now - self.hosts[host].cut_since;
        self.hosts[host].alive = true;
        self.hosts[host].kernel = true;
        self.hosts[host].life += 1;
        // Whoever still believes in an old connection learns better by its next packet.
        for id in self.conns_of(host) {
            let dir = if self.conns[&id].client == host { Dir::ToServer } else { Dir::ToClient };
            let delay = self.prng.below(away.clamp(1, 3_000_000) + 1);
            self.push(self.now + delay, Event::Closed(id, dir, CloseReason::Reset));
        }
        if host < self.nodes.len() {
            self.nodes[host].restart(self.now, !with_disk, &mut self.prng);
        } else {
            let index = host - self.nodes.len();
            if !with_disk {
                self.seats[index].disk = self.seats[index].original.clone();
            }
            self.start_machine(index);
        }
    }

    /// Stops a process (SIGSTOP).
    pub fn pause(&mut self, host: HostId) {
        if self.hosts[host].alive {
            self.hosts[host].paused = true;
        }
    }

    /// Lets a stopped process go on (SIGCONT). What came in meanwhile is read first.
    pub fn resume(&mut self, host: HostId) {
        if !self.hosts[host].paused {
            return;
        }
        self.hosts[host].paused = false;
        for event in std::mem::take(&mut self.hosts[host].inbox) {
            self.handle(event);
        }
        if host >= self.nodes.len() {
            let index = host - self.nodes.len();
            self.seats[index].wake_at = self.now;
            self.push(self.now, Event::Wake(index, self.now));
        }
    }

    /// Loses all packets from `from` to `to`.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        self.net.cuts.insert((from, to));
    }

    /// Loses all packets between the two.
    pub fn cut_both(&mut self, a: HostId, b: HostId) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Ends a cut. Senders notice at their next retransmission.
    pub fn heal(&mut self, from: HostId, to: HostId) {
        if !self.net.cuts.remove(&(from, to)) {
            return;
        }
        let stalled: Vec<(u64, Dir, u64)> = self
            .conns
            .iter()
            .flat_map(|(id, conn)| [(*id, Dir::ToServer, conn), (*id, Dir::ToClient, conn)])
            .filter(|(_, dir, conn)| conn.ends(*dir) == (from, to))
            .filter_map(|(id, dir, conn)| Some((id, dir, conn.stalled[slot(dir)]?)))
            .collect();
        for (id, dir, since) in stalled {
            let delay = self.prng.below((self.now - since).clamp(1, 30_000_000));
            self.push(self.now + delay, Event::Retransmit(id, dir));
        }
        // A first packet that was lost is sent again after 1 s, then 3, 7 …
        let opening: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.state == ConnState::Opening && c.ends(Dir::ToServer) == (from, to))
            .map(|(id, _)| *id)
            .collect();
        for id in opening {
            let delay = self.prng.below(1_000_000);
            self.push(self.now + delay, Event::Syn(id));
        }
    }

    /// Ends all cuts.
    pub fn heal_all(&mut self) {
        for (from, to) in self.net.cuts.clone() {
            self.heal(from, to);
        }
        self.net.slow.iter_mut().for_each(|extra| *extra = 0);
    }

    /// Makes a host's packets slower by `us` each way.
    pub fn slow(&mut self, host: HostId, us: u64) {
        self.net.slow[host] = us;
    }

    /// Lets a sentinel's writes end only after `ms`.
    pub fn stall_disk(&mut self, index: usize, ms: u64) {
        self.seats[index].disk_stalled_until = self.now + ms * 1000;
    }

    /// Moves a sentinel's wall clock.
    pub fn jump_clock(&mut self, index: usize, ms: i64) {
        self.seats[index].unix_offset += ms;
    }

    /// Resets one open connection, the one with this number among all.
    pub fn break_connection(&mut self, which: u64) {
        let open: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, c)| c.state == ConnState::Open && !c.half_dead)
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[(which % open.len() as u64) as usize];
        let (client, server) = self.conns[&id].ends(Dir::ToServer);
        // A lossy network gives up: both ends see an error, not a close by the other side.
        self.deliver_close(id, client, CloseReason::Error);
        self.deliver_close(id, server, CloseReason::Error);
    }

    /// Ends what SENTINEL SIMULATE-FAILURE has asked for, as a restart would.
    pub fn clear_simulated_failure(&mut self, index: usize) {
        if let Some(machine) = &mut self.seats[index].machine {
            machine.clear_simulated_failure();
        }
    }

    /// Has a sentinel run a command, as a client would.
    pub fn command(&mut self, index: usize, words: &[&str]) -> String {
        let now = self.seats[index].time(self.now);
        let Some(machine) = &mut self.seats[index].machine else { return String::new() };
        let argv: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let mut reply = resp::Reply::new(resp::Protocol::Resp2);
        let _ = machine.command(now, &argv, &mut reply);
        self.drain(index);
        String::from_utf8_lossy(reply.bytes()).into_owned()
    }

    // ----- the loop -----

    fn push(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((at, self.seq), event);
    }

    fn conns_of(&self, host: HostId) -> Vec<u64> {
        self.conns
            .iter()
            .filter(|(_, c)| c.client == host || c.server == host)
            .map(|(id, _)| *id)
            .collect()
    }

    fn delay(&mut self, a: HostId, b: HostId) -> u64 {
        let (low, high) = self.net.delay;
        self.prng.between(low, high) + self.net.slow[a] + self.net.slow[b]
    }

    /// The process that an event is for, when it is one that a stopped process cannot see.
    fn addressee(&self, event: &Event) -> Option<HostId> {
        match event {
            Event::SynAnswer(id, _) => self.conns.get(id).map(|c| c.client),
            Event::Bytes(id, dir) | Event::Closed(id, dir, _) => {
                self.conns.get(id).map(|c| c.ends(*dir).1)
            }
            Event::Wake(index, _) | Event::Disk(index, _) => Some(self.sentinel_host(*index)),
            _ => None,
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(host) = self.addressee(&event)
            && self.hosts[host].paused
        {
            self.hosts[host].inbox.push_back(event);
            return;
        }
        match event {
            Event::Syn(id) => self.on_syn(id),
            Event::SynAnswer(id, accepted) => self.on_syn_answer(id, accepted),
            Event::Bytes(id, dir) => self.on_bytes(id, dir),
            Event::Closed(id, dir, how) => {
                if let Some(conn) = self.conns.get(&id) {
                    let host = conn.ends(dir).1;
                    self.deliver_close(id, host, how);
                }
            }
            Event::Wake(index, at) => self.on_wake(index, at),
            Event::Disk(index, life) => self.on_disk(index, life),
            Event::Replication => self.on_replication(),
            Event::Retransmit(id, dir) => self.on_retransmit(id, dir),
        }
    }

    fn on_wake(&mut self, index: usize, at: u64) {
        if self.seats[index].wake_at != at {
            return;
        }
        self.seats[index].wake_at = u64::MAX;
        let now = self.seats[index].time(self.now);
        if let Some(machine) = &mut self.seats[index].machine {
            machine.handle_timeout(now);
        }
        self.drain(index);
    }

    fn on_disk(&mut self, index: usize, life: u32) {
        let host = self.sentinel_host(index);
        if self.hosts[host].life != life || !self.hosts[host].alive {
            return;
        }
        let seat = &mut self.seats[index];
        if self.now < seat.disk_stalled_until {
            let at = seat.disk_stalled_until;
            return self.push(at, Event::Disk(index, life));
        }
        let Some((token, text)) = seat.writes.pop_front() else { return };
        seat.disk = text;
        seat.durable = token;
        self.input(index, Input::Persisted { token });
        let sessions: Vec<u64> = self.seats[index].sessions.keys().copied().collect();
        for conn in sessions {
            self.flush_session(index, conn);
        }
    }

    // ----- connections -----

    fn host_of(&self, ip: IpAddr, port: u16) -> Option<HostId> {
        let ip = ip.to_string();
        match port {
            NODE_PORT => self.nodes.iter().position(|n| n.ip == ip),
            SENTINEL_PORT => {
                self.seats.iter().position(|s| s.ip == ip).map(|i| self.sentinel_host(i))
            }
            _ => None,
        }
    }

    fn connect(
        &mut self,
        index: usize,
        id: ConnId,
        addr: std::net::SocketAddr,
        purpose: LinkPurpose,
    ) {
        let client = self.sentinel_host(index);
        let Some(server) = self.host_of(addr.ip(), addr.port()) else { return };
        let number = self.next_conn;
        self.next_conn += 1;
        let conn = Conn {
            client,
            id,
            client_life: self.hosts[client].life,
            server,
            server_life: 0,
            purpose,
            state: ConnState::Opening,
            opened_at: self.now,
            in_flight: Default::default(),
            arrives: [self.now; 2],
            stalled: [None; 2],
            half_dead: false,
        };
        self.by_client.insert((client, conn.client_life, id), number);
        self.conns.insert(number, conn);
        if self.net.passes(client, server) {
            let delay = self.delay(client, server);
            self.push(self.now + delay, Event::Syn(number));
        }
    }

    fn on_syn(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (client, server) = (conn.client, conn.server);
        let host = &self.hosts[server];
        if conn.state != ConnState::Opening || !host.kernel || conn.server_life != 0 {
            return;
        }
        let accepted = host.alive;
        if !self.net.talk(client, server) {
            return;
        }
        if accepted {
            conn.server_life = host.life;
        }
        let delay = self.delay(client, server);
        self.push(self.now + delay, Event::SynAnswer(id, accepted));
    }

    fn on_syn_answer(&mut self, id: u64, accepted: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (client, server, own_id) = (conn.client, conn.server, conn.id);
        let index = client - self.nodes.len();
        if !accepted {
            self.forget(id);
            let error = ConnectError::Refused;
            return self.input(index, Input::ConnectFailed { conn: own_id, error });
        }
        conn.state = ConnState::Open;
        // The server may have died meanwhile.
        if conn.server_life != self.hosts[server].life || !self.hosts[server].alive {
            conn.half_dead = true;
        }
        let local = self.seats[index].ip.parse().expect("simulated hosts have addresses");
        self.input(index, Input::Connected { conn: own_id, local });
    }

    fn forget(&mut self, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            self.by_client.remove(&(conn.client, conn.client_life, conn.id));
        }
    }

    /// Sends bytes along a connection.
    fn transmit(&mut self, id: u64, dir: Dir, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if conn.half_dead {
            return self.knock(id, dir);
        }
        let passes = self.net.passes(from, to);
        let delay = self.delay(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.in_flight[slot(dir)].push_back(bytes);
        if !passes || conn.stalled[slot(dir)].is_some() {
            conn.stalled[slot(dir)].get_or_insert(self.now);
            return;
        }
        let at = (self.now + delay).max(conn.arrives[slot(dir)]);
        conn.arrives[slot(dir)] = at;
        self.push(at, Event::Bytes(id, dir));
    }

    /// A packet for an end that is gone: reset, if its host can be heard.
    fn knock(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if self.hosts[to].kernel && self.net.talk(from, to) {
            let delay = 2 * self.delay(from, to);
            let back = if dir == Dir::ToServer { Dir::ToClient } else { Dir::ToServer };
            self.push(self.now + delay, Event::Closed(id, back, CloseReason::Reset));
        }
    }

    fn on_retransmit(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if !self.net.passes(from, to) || conn.stalled[slot(dir)].is_none() {
            return;
        }
        let delay = self.delay(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stalled[slot(dir)] = None;
        let at = (self.now + delay).max(conn.arrives[slot(dir)]);
        conn.arrives[slot(dir)] = at;
        for _ in 0..conn.in_flight[slot(dir)].len() {
            self.push(at, Event::Bytes(id, dir));
        }
    }

    fn on_bytes(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.stalled[slot(dir)].is_some() {
            return;
        }
        let Some(bytes) = conn.in_flight[slot(dir)].pop_front() else { return };
        let (from, to) = conn.ends(dir);
        let own_id = conn.id;
        if !self.hosts[to].alive {
            return self.knock(id, dir);
        }
        match dir {
            Dir::ToClient => {
                let index = to - self.nodes.len();
                self.input(index, Input::Received { conn: own_id, bytes: &bytes });
            }
            Dir::ToServer if to < self.nodes.len() => self.serve_node(to, id, from, &bytes),
            Dir::ToServer => self.serve_seat(to - self.nodes.len(), id, from, &bytes),
        }
    }

    /// One end has closed or died: tell the other, after what it had sent before.
    fn end_from(&mut self, id: u64, host: HostId, how: CloseReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let dir = if conn.client == host { Dir::ToServer } else { Dir::ToClient };
        let (from, to) = conn.ends(dir);
        if conn.state == ConnState::Opening {
            // The answer, if any, meets nobody, or a dead server.
            if conn.client == host {
                self.forget(id);
            } else {
                conn.half_dead = true;
            }
            return;
        }
        // Nobody is there any more to receive.
        let back = if dir == Dir::ToServer { Dir::ToClient } else { Dir::ToServer };
        conn.in_flight[slot(back)].clear();
        conn.half_dead = true;
        let after = conn.arrives[slot(dir)];
        if self.net.passes(from, to) && conn.stalled[slot(dir)].is_none() {
            let delay = self.delay(from, to);
            self.push((self.now + delay).max(after), Event::Closed(id, dir, how));
        }
    }

    /// An end learns that its connection is over.
    fn deliver_close(&mut self, id: u64, host: HostId, how: CloseReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let own_id = conn.id;
        if conn.client == host {
            let alive = self.hosts[host].alive && self.hosts[host].life == conn.client_life;
            let opening = conn.state == ConnState::Opening;
            self.forget(id);
            if alive {
                let index = host - self.nodes.len();
                let input = if opening {
                    Input::ConnectFailed { conn: own_id, error: ConnectError::Refused }
                } else {
                    Input::Closed { conn: own_id, how }
                };
                self.input(index, input);
            }
        } else {
            conn.half_dead = true;
            self.drop_session(host, id);
        }
    }

    fn drop_session(&mut self, host: HostId, id: u64) {
        if host < self.nodes.len() {
            self.nodes[host].sessions.remove(&id);
        } else {
            self.seats[host - self.nodes.len()].sessions.remove(&id);
        }
    }

    // ----- servers -----

    fn serve_node(&mut self, node: usize, id: u64, from: HostId, bytes: &[u8]) {
        self.nodes[node].sessions.entry(id).or_default().buffer.extend_from_slice(bytes);
        loop {
            let Some(session) = self.nodes[node].sessions.get_mut(&id) else { return };
            let Some(args) = next_request(&mut session.buffer, &self.decoder_limits) else {
                return;
            };
            let mut out = Vec::new();
            self.note_hello(from, &args);
            let effects = self.nodes[node].run(self.now, id, &args, &mut out);
            self.transmit(id, Dir::ToClient, out);
            for effect in effects {
                self.apply(node, id, from, effect);
            }
        }
    }

    fn apply(&mut self, node: usize, id: u64, from: HostId, effect: Effect) {
        match effect {
            Effect::KillClients { pubsub } => {
                let victims: Vec<u64> = self.nodes[node]
                    .sessions
                    .iter()
                    .filter(|(conn, session)| **conn != id && session.subscribed == pubsub)
                    .map(|(conn, _)| *conn)
                    .collect();
                for victim in victims {
                    self.nodes[node].sessions.remove(&victim);
                    self.end_from(victim, node, CloseReason::Fin);
                }
            }
            Effect::Publish { channel, message } => {
                let mut out = resp::Reply::new(resp::Protocol::Resp2);
                out.array(3);
                out.text("message");
                out.text(&channel);
                out.text(&message);
                let subscribers: Vec<u64> = self.nodes[node]
                    .sessions
                    .iter()
                    .filter(|(_, session)| session.subscribed)
                    .map(|(conn, _)| *conn)
                    .collect();
                for conn in subscribers {
                    self.transmit(conn, Dir::ToClient, out.bytes().to_vec());
                }
            }
            Effect::Follow { master } => self.note_follow(node, from, master),
        }
    }

    /// Watches for a sentinel that demotes the rightful master: the one named by the highest
    /// configuration that any sentinel has.
    fn note_follow(&mut self, node: usize, from: HostId, master: Option<(String, u16)>) {
        let Some((to, _)) = master else { return };
        let newest = (0..self.seats.len())
            .filter_map(|i| self.status(i))
            .filter_map(|s| s.masters.into_iter().next())
            .max_by_key(|m| m.config_epoch);
        let Some(newest) = newest else { return };
        if newest.addr.ip_text() == self.nodes[node].ip && to != self.nodes[node].ip {
            self.demotions.push(self.now);
            let by = from - self.nodes.len();
            self.log.push(Entry {
                at_us: self.now,
                sentinel: by,
                line: format!(
                    "(world) rightful master {} told to follow {to}",
                    self.nodes[node].ip
                ),
            });
        }
    }

    fn serve_seat(&mut self, index: usize, id: u64, from: HostId, bytes: &[u8]) {
        self.seats[index].sessions.entry(id).or_default().buffer.extend_from_slice(bytes);
        while let Some(session) = self.seats[index].sessions.get_mut(&id) {
            let Some(args) = next_request(&mut session.buffer, &self.decoder_limits) else { break };
            self.note_hello(from, &args);
            self.note_ask(from, &args);
            self.seats[index].run(self.now, id, &args);
            self.drain(index);
            self.flush_session(index, id);
        }
    }

    fn flush_session(&mut self, index: usize, id: u64) {
        let (bytes, told) = self.seats[index].take_replies(id);
        let runid = self.seats[index].runid.clone();
        for (epoch, candidate) in told.into_iter().filter_map(|t| t.vote) {
            self.checker.voted(self.now, &runid, epoch, &candidate);
            self.checker.told(&runid, epoch, 0);
        }
        self.transmit(id, Dir::ToClient, bytes);
    }

    /// What a hello says, its sender has told.
    fn note_hello(&mut self, from: HostId, args: &[String]) {
        if args.len() == 3
            && args[0].eq_ignore_ascii_case("publish")
            && let Some(hello) = Hello::parse(&args[2])
            && from >= self.nodes.len()
        {
            self.checker.told(&hello.runid, hello.current_epoch, hello.master_config_epoch);
        }
    }

    /// Who asks for votes has voted for itself.
    fn note_ask(&mut self, from: HostId, args: &[String]) {
        if args.len() == 6
            && args[1].eq_ignore_ascii_case("is-master-down-by-addr")
            && let Ok(epoch) = args[4].parse::<u64>()
            && from >= self.nodes.len()
        {
            if args[5] != "*" {
                self.checker.voted(self.now, &args[5], epoch, &args[5]);
                self.checker.told(&args[5], epoch, 0);
            } else {
                let runid = self.seats[from - self.nodes.len()].runid.clone();
                self.checker.told(&runid, epoch, 0);
            }
        }
    }

    // ----- replication between data nodes -----

    fn on_replication(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.hosts[node].alive || self.hosts[node].paused {
                continue;
            }
            match self.nodes[node].master.clone() {
                None => {
                    self.nodes[node].offset += self.prng.below(40) as i64;
                    self.nodes[node].offset_since = self.now;
                    self.nodes[node].connected_replicas = self.replicas_of(node);
                }
                Some((ip, _)) => self.replicate(node, &ip),
            }
        }
        self.push(self.now + REPLICATION_US, Event::Replication);
    }

    fn replicas_of(&self, node: usize) -> Vec<(String, u16, i64)> {
        let ip = &self.nodes[node].ip;
        self.nodes
            .iter()
            .enumerate()
            .filter(|(other, n)| {
                self.hosts[*other].alive
                    && n.link_up
                    && n.master.as_ref().is_some_and(|(master, _)| master == ip)
            })
            .map(|(_, n)| (n.ip.clone(), NODE_PORT, n.offset))
            .collect()
    }

    fn replicate(&mut self, node: usize, master_ip: &str) {
        let now = self.now;
        let Some(master) = self.node_at(master_ip) else { return };
        let reachable = self.hosts[master].alive
            && !self.hosts[master].paused
            && master != node
            && self.net.talk(node, master)
            // A replica of a replica that is itself cut off gets nothing.
            && (self.nodes[master].master.is_none() || self.nodes[master].link_up);
        let target = self.nodes[master].offset;
        let refused = !self.hosts[master].alive && self.hosts[master].kernel;
        let lag = self.prng.below(25) as i64;
        let work = self.prng.between(1000, 60_000);
        let me = &mut self.nodes[node];
        if !reachable {
            me.sync_done_at = None;
            let timed_out = now.saturating_sub(me.last_master_io) > 10_000_000;
            if me.link_up && (refused || timed_out) {
                me.link_up = false;
                me.link_down_since = now;
            }
            return;
        }
        me.last_master_io = now;
        let before = me.offset;
        if me.link_up {
            me.offset = me.offset.max(target - lag);
        } else {
            match me.sync_done_at {
                None => me.sync_done_at = Some(now + work),
                Some(at) if now >= at => {
                    me.link_up = true;
                    me.sync_done_at = None;
                    me.offset = target - lag.min(target);
                }
                Some(_) => {}
            }
        }
        if me.offset != before {
            me.offset_since = now;
        }
    }

    // ----- sentinels -----

    fn start_machine(&mut self, index: usize) {
        let host = self.sentinel_host(index);
        self.seats[index].start(self.now, &mut self.prng);
        if let Some(machine) = &self.seats[index].machine {
            self.checker.restarted(self.now, machine);
        }
        assert!(self.hosts[host].alive, "only a running host starts its process");
        self.drain(index);
    }

    fn input(&mut self, index: usize, input: Input<'_>) {
        let host = self.sentinel_host(index);
        if !self.hosts[host].alive {
            return;
        }
        let now = self.seats[index].time(self.now);
        if let Some(machine) = &mut self.seats[index].machine {
            machine.handle_input(now, input);
        }
        self.drain(index);
    }

    /// Carries out what a machine wants, and notes when it wants to be called again.
    fn drain(&mut self, index: usize) {
        let host = self.sentinel_host(index);
        let life = self.hosts[host].life;
        loop {
            let Some(machine) = &mut self.seats[index].machine else { return };
            let Some(output) = machine.poll_output() else { break };
            match output {
                Output::Connect { conn, addr, purpose } => self.connect(index, conn, addr, purpose),
                Output::Send { conn, bytes } => {
                    if let Some(&id) = self.by_client.get(&(host, life, conn)) {
                        self.transmit(id, Dir::ToServer, bytes);
                    }
                }
                Output::Close { conn } => {
                    if let Some(&id) = self.by_client.get(&(host, life, conn)) {
                        let server = self.conns[&id].server;
                        self.end_from(id, host, CloseReason::Fin);
                        self.drop_session(server, id);
                        self.forget(id);
                    }
                }
                Output::Persist { token, text } => self.write(index, life, token, text),
                Output::Log { level, line } => self.logged(index, level, line),
                Output::Exit { .. } => return self.crash(host, true),
                Output::Publish { .. }
                | Output::RunScript { .. }
                | Output::KillScript { .. }
                | Output::Resolve { .. } => {}
            }
        }
        let seat = &mut self.seats[index];
        let Some(machine) = &seat.machine else { return };
        self.checker.epochs(self.now, machine);
        let at = seat.world_time(machine.poll_timeout()).max(self.now);
        if at != seat.wake_at {
            seat.wake_at = at;
            self.push(at, Event::Wake(index, at));
        }
    }

    fn write(&mut self, index: usize, life: u32, token: PersistToken, text: Vec<u8>) {
        let (low, high) = self.options.disk_us;
        let took = self.prng.between(low, high);
        // One write after the other.
        let queued = self.seats[index].writes.len() as u64;
        self.seats[index].writes.push_back((token, text));
        self.push(self.now + took * (queued + 1), Event::Disk(index, life));
    }

    fn logged(&mut self, index: usize, level: LogLevel, line: String) {
        if level == LogLevel::Debug {
            return;
        }
        let event = line.split(' ').next().unwrap_or_default().to_string();
        self.log.push(Entry { at_us: self.now, sentinel: index, line });
        match event.as_str() {
            "+elected-leader" => self.note_election(index),
            "+selected-slave" => self.note_selection(index),
            "+failover-end" => self.switches += 1,
            _ => {}
        }
    }

    fn note_election(&mut self, index: usize) {
        let Some(status) = self.status(index) else { return };
        if let Some(epoch) = status.masters.first().and_then(|m| m.failover_epoch) {
            self.checker.elected(self.now, epoch, &status.myid);
        }
    }

    /// The replica just chosen must be the best of those that could be chosen: no node that the
    /// leader could reach all the time, and whose offset has stood still, may be better.
    fn note_selection(&mut self, index: usize) {
        let leader = self.sentinel_host(index);
        let Some(line) = self.log.last().map(|e| e.line.clone()) else { return };
        let ip = line.split(' ').nth(3).unwrap_or_default().to_string();
        let Some(chosen) = self.node_at(&ip) else { return };
        if self.nodes[chosen].master.is_none() {
            return; // Promoted already by a predecessor.
        }
        let Some(status) = self.status(index) else { return };
        let Some(master) = status.masters.into_iter().next() else { return };
        for other in 0..self.nodes.len() {
            let node = &self.nodes[other];
            let known = master.replicas.iter().find(|r| r.addr.ip_text() == node.ip);
            let Some(known) = known else { continue };
            let steady = |n: &DataNode| self.now.saturating_sub(n.offset_since) > 1_000_000;
            let eligible = other != chosen
                && self.hosts[other].alive
                && !self.hosts[other].paused
                && self.net.talk(leader, other)
                && self.net.slow[other] + self.net.slow[leader] < 5_000
                && known.connected
                && !known.s_down
                && known.runid == node.runid
                && node.priority != 0
                && node.master.is_some()
                && steady(node)
                && steady(&self.nodes[chosen])
                && self.now.saturating_sub(node.link_down_since) < self.options.down_after * 5000
                && !self.just_disturbed(leader, other);
            if !eligible {
                continue;
            }
            let key = |n: &DataNode| (n.priority, -n.offset, n.runid.clone());
            if key(node) < key(&self.nodes[chosen]) {
                let (better, worse) = (key(node), key(&self.nodes[chosen]));
                let text = format!("{index} chose {ip} {worse:?} though {} is {better:?}", node.ip);
                self.checker.violation(self.now, text);
            }
        }
    }

    /// True when a connection between the two is too young, or stands still, so that an answer
    /// may have been lost.
    fn just_disturbed(&self, client: HostId, server: HostId) -> bool {
        !self.conns.values().any(|c| {
            c.client == client
                && c.server == server
                && c.purpose == LinkPurpose::Command
                && c.state == ConnState::Open
                && !c.half_dead
                && c.stalled == [None, None]
                && self.now - c.opened_at > 200_000
        })
    }
}

/// Takes one request off the front of a buffer.
fn next_request(buffer: &mut Vec<u8>, limits: &Limits) -> Option<Vec<String>> {
    let mut decoder = Decoder::new();
    match decoder.decode(buffer, limits).expect("sentinels speak RESP") {
        Decoded::Request { consumed } => {
            let args = decoder.args(buffer);
            let args = args.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
            buffer.drain(..consumed);
            Some(args)
        }
        Decoded::Nothing { consumed } => {
            buffer.drain(..consumed);
            None
        }
        Decoded::Incomplete { .. } => None,
    }
}
