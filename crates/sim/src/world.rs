//! The event loop: one queue of events in time order, delivered to data nodes and sentinels.
//!
//! Ties are broken by the order in which events were made, so that a seed has one history.

use std::collections::{BTreeMap, VecDeque};

use resp::Limits;
use sentinel::{CloseReason, ConnId, Input, LogLevel, Output, PersistToken, Status};
use stdx::Prng;

use crate::check::Checker;
use crate::net::{Conn, ConnState, Dir, HostId, Net, slot};
use crate::node::{DataNode, NODE_PORT};
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
    pub(crate) life: u32,
    /// What happened while it was paused.
    inbox: VecDeque<Event>,
    /// The connections whose bytes wait, as a kernel's buffers hold them.
    cut_since: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
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
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) by_client: BTreeMap<(HostId, u32, ConnId), u64>,
    queue: BTreeMap<(u64, u64), Event>,
    seq: u64,
    pub(crate) next_conn: u64,
    pub(crate) decoder_limits: Limits,
}

pub(crate) const REPLICATION_US: u64 = 5000;

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

    /// A data node that is about to end asks a sentinel to lead a planned switch.
    pub fn ask_to_lead(&mut self, node: usize, sentinel: usize) {
        if !self.hosts[node].alive || self.hosts[node].paused {
            return;
        }
        let channel = format!("{}{}", sentinel::REQUEST_CHANNEL, self.seats[sentinel].runid);
        let message = self.nodes[node].runid.clone();
        self.apply(node, 0, node, crate::node::Effect::Publish { channel, message });
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

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((at, self.seq), event);
    }

    pub(crate) fn conns_of(&self, host: HostId) -> Vec<u64> {
        self.conns
            .iter()
            .filter(|(_, c)| c.client == host || c.server == host)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn delay(&mut self, a: HostId, b: HostId) -> u64 {
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

    pub(crate) fn input(&mut self, index: usize, input: Input<'_>) {
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
    pub(crate) fn drain(&mut self, index: usize) {
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
}
