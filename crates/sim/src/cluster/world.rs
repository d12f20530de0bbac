//! The event loop: one queue of events in time order, delivered to the nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use cluster::bus::{Cutter, decode};
use cluster::{Cluster, ConnId, Input, NodeId, Now, Output, PersistToken};
use stdx::Prng;

use super::check::Checker;
use super::seat::{PORT, Seat};

/// Sizes and settings of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that is random.
    pub seed: u64,
    /// Masters with slots at the start.
    pub masters: usize,
    /// Replicas of each.
    pub replicas: usize,
    /// `cluster-node-timeout`.
    pub node_timeout: u64,
    /// Bounds of the one-way delay of a packet, in µs.
    pub delay_us: (u64, u64),
    /// Bounds of the time that a write to disk takes, in µs.
    pub disk_us: (u64, u64),
    /// Whether messages are decoded and checked; off for measurements.
    pub checked: bool,
}

impl Settings {
    /// How many hosts there are.
    pub fn nodes(&self) -> usize {
        self.masters * (1 + self.replicas)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

#[derive(Clone, Debug)]
enum Event {
    /// The first packet of a connection arrives.
    Syn(u64),
    /// The answer to it.
    SynAnswer(u64, bool),
    /// Something may be deliverable to this side.
    Deliver(u64, Side),
    /// A node asked to be called.
    Wake(usize, u32),
    /// A write to disk is done.
    Disk(usize, u32),
    /// Data nodes replicate.
    Replication,
}

/// What is under way to one side.
#[derive(Default)]
struct Way {
    queue: VecDeque<(u64, Option<Vec<u8>>)>,
    last: u64,
    /// Takes messages apart as they leave, for the checks.
    cutter: Cutter,
}

struct Conn {
    hosts: [usize; 2],
    lives: [u32; 2],
    ids: [ConnId; 2],
    /// Accepted, or established, on this side.
    open: [bool; 2],
    ways: [Way; 2],
}

/// Everything there is.
pub struct ClusterWorld {
    /// World time in µs.
    pub now: u64,
    /// The settings it was made with.
    pub settings: Settings,
    /// The hosts.
    pub(crate) seats: Vec<Seat>,
    pub(crate) checker: Checker,
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) slow: Vec<u64>,
    /// Bytes sent on the bus.
    pub bytes_sent: u64,
    /// Log lines of all nodes.
    pub log: Vec<(u64, usize, String)>,
    pub(crate) prng: Prng,
    conns: BTreeMap<u64, Conn>,
    by_end: BTreeMap<(usize, u32, ConnId), (u64, Side)>,
    queue: BTreeMap<(u64, u64), Event>,
    wakes: Vec<Option<u64>>,
    inbox: Vec<Vec<Event>>,
    seq: u64,
    next_conn: u64,
}

fn other(side: Side) -> Side {
    if side == Side::Client { Side::Server } else { Side::Client }
}

impl ClusterWorld {
    /// Hosts whose processes have just been started, and know nothing of each other.
    pub fn new(settings: Settings) -> ClusterWorld {
        let count = settings.nodes();
        let mut world = ClusterWorld {
            now: 0,
            seats: (0..count).map(|_| Seat::new()).collect(),
            checker: Checker::default(),
            cuts: BTreeSet::new(),
            slow: vec![0; count],
            bytes_sent: 0,
            log: Vec::new(),
            prng: Prng::new(settings.seed),
            conns: BTreeMap::new(),
            by_end: BTreeMap::new(),
            queue: BTreeMap::new(),
            wakes: vec![None; count],
            inbox: vec![Vec::new(); count],
            seq: 0,
            next_conn: 1,
            settings,
        };
        (0..count).for_each(|host| world.start(host));
        world.at(world.now + 10_000, Event::Replication);
        world
    }

    /// The address of a host.
    pub fn ip(host: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, (host / 250) as u8, (host % 250 + 1) as u8))
    }

    fn host_of(&self, ip: IpAddr) -> Option<usize> {
        let IpAddr::V4(ip) = ip else {
            return None;
        };
        let [_, _, high, low] = ip.octets();
        let host = usize::from(high) * 250 + usize::from(low).checked_sub(1)?;
        (host < self.seats.len()).then_some(host)
    }

    /// Broken rules so far.
    pub fn violations(&self) -> &[String] {
        &self.checker.violations
    }

    /// The machine of a running host.
    pub fn machine(&self, host: usize) -> Option<&Cluster> {
        self.seats[host].machine.as_ref()
    }

    pub(crate) fn id(&self, host: usize) -> Option<NodeId> {
        self.machine(host).map(Cluster::myid)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((at.max(self.now), self.seq), event);
    }

    /// Runs for so many milliseconds.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now + ms * 1000;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.event(event);
            if !self.violations().is_empty() {
                break;
            }
        }
        self.now = end;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Syn(conn) => self.syn(conn),
            Event::SynAnswer(conn, fine) => self.syn_answer(conn, fine),
            Event::Deliver(conn, side) => self.deliver(conn, side),
            Event::Wake(host, life) => {
                if self.seats[host].life == life
                    && self.wakes[host].is_some_and(|at| at <= self.now)
                {
                    self.wakes[host] = None;
                    if self.seats[host].running() {
                        self.call(host, |machine, now| machine.handle_timeout(now));
                    }
                }
            }
            Event::Disk(host, life) => self.disk_done(host, life),
            Event::Replication => self.replicate(),
        }
    }

    /// Calls a machine and carries out what it wants.
    pub(crate) fn call<T>(
        &mut self,
        host: usize,
        f: impl FnOnce(&mut Cluster, Now) -> T,
    ) -> Option<T> {
        let seat = &mut self.seats[host];
        let (now, facts) = (seat.now(self.now), seat.facts(self.now));
        let machine = seat.machine.as_mut()?;
        machine.set_facts(facts);
        let result = f(machine, now);
        self.drain(host);
        Some(result)
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.seats[host].machine.as_mut().and_then(Cluster::poll_output) {
            self.carry_out(host, output);
        }
        let Some(machine) = &self.seats[host].machine else {
            return;
        };
        let at = (machine.poll_timeout().0 - 1_000_000) * 1000;
        let at = at.max(self.now + 1);
        if self.wakes[host].is_none_or(|wake| wake > at) {
            self.wakes[host] = Some(at);
            let life = self.seats[host].life;
            self.at(at, Event::Wake(host, life));
        }
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        match output {
            Output::Connect { conn, addr } => {
                let Some(target) = self.host_of(addr.ip()) else {
                    return;
                };
                self.connect(host, conn, target);
            }
            Output::Send { conn, bytes } => self.send(host, conn, bytes),
            Output::Close { conn } => self.close(host, conn),
            Output::Persist { token, text, .. } => self.persist(host, token, text),
            Output::Log { line, .. } => self.log.push((self.now, host, line)),
            Output::Follow { ip, .. } => {
                let target = ip.parse().ok().and_then(|ip| self.host_of(ip));
                self.seats[host].follow = target;
                self.seats[host].held_until = 0;
            }
            Output::Lead => self.seats[host].follow = None,
            Output::PauseWrites { ms } => self.seats[host].held_until = self.now + ms * 1000,
            Output::ResumeWrites => self.seats[host].held_until = 0,
            Output::SlotsLost { .. } | Output::Deliver { .. } | Output::EmptyData => {}
        }
    }

    // The network.

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let (low, high) = self.settings.delay_us;
        self.prng.between(low, high) + self.slow[from] + self.slow[to]
    }

    fn connect(&mut self, host: usize, conn: ConnId, target: usize) {
        let key = self.next_conn;
        self.next_conn += 1;
        let life = self.seats[host].life;
        self.by_end.insert((host, life, conn), (key, Side::Client));
        self.conns.insert(
            key,
            Conn {
                hosts: [host, target],
                lives: [life, 0],
                ids: [conn, ConnId(0)],
                open: [false, false],
                ways: [Way::default(), Way::default()],
            },
        );
        let at = self.now + self.delay(host, target);
        self.at(at, Event::Syn(key));
    }

    fn syn(&mut self, key: u64) {
        let Some(conn) = self.conns.get(&key) else {
            return;
        };
        let [client, server] = conn.hosts;
        let seat = &self.seats[server];
        if self.cuts.contains(&(client, server)) || (seat.machine.is_none() && !seat.kernel) {
            // Tried again until one side gives up.
            let at = self.now + 200_000;
            self.at(at, Event::Syn(key));
            return;
        }
        let fine = seat.machine.is_some();
        if fine && !seat.paused {
            self.accept(key);
        } else if fine {
            self.inbox[server].push(Event::Syn(key));
            return;
        }
        let at = self.now + self.delay(server, client);
        self.at(at, Event::SynAnswer(key, fine));
    }

    fn accept(&mut self, key: u64) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let [client, server] = conn.hosts;
        let seat = &mut self.seats[server];
        let id = ConnId(seat.next_accept);
        seat.next_accept += 2;
        conn.lives[1] = seat.life;
        conn.ids[1] = id;
        conn.open[1] = true;
        self.by_end.insert((server, seat.life, id), (key, Side::Server));
        let (peer, local) = (ClusterWorld::ip(client), ClusterWorld::ip(server));
        self.input(server, Input::Accepted { conn: id, peer, local });
    }

    fn syn_answer(&mut self, key: u64, fine: bool) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let [client, server] = conn.hosts;
        let (id, life) = (conn.ids[0], conn.lives[0]);
        if self.seats[client].life != life || self.seats[client].machine.is_none() {
            self.conns.remove(&key);
            return;
        }
        if self.cuts.contains(&(server, client)) {
            let at = self.now + 200_000;
            self.at(at, Event::SynAnswer(key, fine));
        } else if self.seats[client].paused {
            self.inbox[client].push(Event::SynAnswer(key, fine));
        } else if fine {
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.open[0] = true;
            }
            self.input(client, Input::Connected { conn: id });
        } else {
            self.forget(key);
            self.input(client, Input::ConnectFailed { conn: id });
        }
    }

    fn input(&mut self, host: usize, input: Input<'_>) {
        self.call(host, |machine, now| machine.handle_input(now, input));
    }

    fn forget(&mut self, key: u64) {
        if let Some(conn) = self.conns.remove(&key) {
            for side in 0..2 {
                self.by_end.remove(&(conn.hosts[side], conn.lives[side], conn.ids[side]));
            }
        }
    }

    /// One side is done with a connection; when both are, it is gone.
    fn shut(&mut self, key: u64, side: Side) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let at = side as usize;
        conn.open[at] = false;
        self.by_end.remove(&(conn.hosts[at], conn.lives[at], conn.ids[at]));
        if conn.open == [false, false] {
            self.forget(key);
        }
    }

    fn send(&mut self, host: usize, conn: ConnId, bytes: Vec<u8>) {
        let life = self.seats[host].life;
        let Some((key, side)) = self.by_end.get(&(host, life, conn)).copied() else {
            return;
        };
        self.bytes_sent += bytes.len() as u64;
        if self.settings.checked {
            self.check_sent(key, side, &bytes);
        }
        self.push(key, other(side), Some(bytes));
    }

    /// Puts bytes, or the end of the connection, on the way to a side.
    fn push(&mut self, key: u64, to: Side, what: Option<Vec<u8>>) {
        let Some(conn) = self.conns.get(&key) else {
            return;
        };
        let (target, source) = (conn.hosts[to as usize], conn.hosts[other(to) as usize]);
        let delay = self.delay(source, target);
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let way = &mut conn.ways[to as usize];
        let due = (self.now + delay).max(way.last);
        way.last = due;
        way.queue.push_back((due, what));
        self.at(due, Event::Deliver(key, to));
    }

    fn check_sent(&mut self, key: u64, from: Side, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&key) else {
            return;
        };
        let to = conn.hosts[other(from) as usize];
        let cutter = &mut conn.ways[other(from) as usize].cutter;
        cutter.feed(bytes);
        let mut messages = Vec::new();
        while let Ok(Some(message)) = cutter.cut() {
            messages.push(decode(message));
        }
        let Some(to) = self.id(to) else {
            return;
        };
        for message in messages {
            match message {
                Ok(message) => self.checker.sent(self.now, &message, to),
                Err(error) => {
                    self.checker.violation(self.now, format!("a node sent nonsense: {error}"))
                }
            }
        }
    }

    fn deliver(&mut self, key: u64, side: Side) {
        loop {
            let Some(conn) = self.conns.get_mut(&key) else {
                return;
            };
            let at = side as usize;
            let (host, source) = (conn.hosts[at], conn.hosts[1 - at]);
            let Some((due, _)) = conn.ways[at].queue.front() else {
                return;
            };
            if *due > self.now {
                return;
            }
            if self.cuts.contains(&(source, host)) {
                let at = self.now + self.prng.between(50_000, 250_000);
                self.at(at, Event::Deliver(key, side));
                return;
            }
            let seat = &self.seats[host];
            if seat.machine.is_none() && !seat.kernel {
                return; // Into the void, until the host is there again.
            }
            if seat.paused {
                self.inbox[host].push(Event::Deliver(key, side));
                return;
            }
            let gone = seat.machine.is_none() || seat.life != conn.lives[at] || !conn.open[at];
            let (life, id) = (conn.lives[at], conn.ids[at]);
            let Some((_, what)) = conn.ways[at].queue.pop_front() else {
                return;
            };
            match what {
                Some(_) if gone => {
                    // Nobody here knows this connection: the sender is told.
                    conn.ways[at].queue.clear();
                    conn.open[at] = false;
                    self.by_end.remove(&(host, life, id));
                    self.push(key, other(side), None);
                    return;
                }
                Some(bytes) => self.input(host, Input::Received { conn: id, bytes: &bytes }),
                None => {
                    self.shut(key, side);
                    if !gone {
                        self.input(host, Input::Closed { conn: id });
                    }
                    return;
                }
            }
        }
    }

    fn close(&mut self, host: usize, conn: ConnId) {
        let life = self.seats[host].life;
        if let Some((key, side)) = self.by_end.remove(&(host, life, conn)) {
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.open[side as usize] = false;
                conn.ways[side as usize].queue.clear();
            }
            self.push(key, other(side), None);
        }
    }

    // Disks and data.

    fn persist(&mut self, host: usize, token: PersistToken, text: String) {
        let (low, high) = self.settings.disk_us;
        let takes = self.prng.between(low, high);
        let seat = &mut self.seats[host];
        seat.writing.push_back((token, text));
        if seat.writing.len() == 1 {
            let (at, life) = (self.now.max(seat.stalled_until) + takes, seat.life);
            self.at(at, Event::Disk(host, life));
        }
    }

    fn disk_done(&mut self, host: usize, life: u32) {
        let seat = &mut self.seats[host];
        if seat.life != life || seat.machine.is_none() {
            return;
        }
        if seat.stalled_until > self.now {
            let at = seat.stalled_until;
            self.at(at, Event::Disk(host, life));
            return;
        }
        if seat.paused {
            self.inbox[host].push(Event::Disk(host, life));
            return;
        }
        // A queue is cut to its newest entry, as a driver may do.
        let Some((token, text)) = seat.writing.pop_back() else {
            return;
        };
        seat.writing.clear();
        seat.disk = Some(text);
        self.input(host, Input::Persisted { token });
    }

    fn replicate(&mut self) {
        for host in 0..self.seats.len() {
            if !self.seats[host].running() {
                continue;
            }
            match self.seats[host].follow {
                None if self.seats[host].held_until <= self.now
                    && self.machine(host).is_some_and(|m| m.is_ok() && !m.is_replica()) =>
                {
                    self.seats[host].offset += self.prng.below(10);
                }
                Some(master) if master != host => {
                    let reached = self.seats[master].running()
                        && !self.cuts.contains(&(host, master))
                        && !self.cuts.contains(&(master, host));
                    if reached {
                        self.seats[host].heard = self.now;
                        self.seats[host].offset = self.seats[master].offset;
                    }
                }
                _ => {}
            }
            if self.machine(host).is_some_and(Cluster::wants_offset) {
                self.call(host, |machine, now| machine.handle_timeout(now));
            }
        }
        self.at(self.now + 10_000, Event::Replication);
    }

    // Faults.

    /// Starts a dead process.
    pub fn start(&mut self, host: usize) {
        if self.seats[host].machine.is_some() {
            return;
        }
        let timeout = self.settings.node_timeout;
        self.seats[host].kernel = true;
        self.seats[host].paused = false;
        let mut prng = Prng::new(self.prng.next_u64());
        let id = self.seats[host].start(self.now, &mut prng, &|options| {
            options.node_timeout = timeout;
            options.validity_factor = 0;
        });
        self.checker.started(id);
        self.wakes[host] = None;
        self.inbox[host].clear();
        self.drain(host);
    }

    /// Kills a process; `kernel`: its host goes on and says so.
    pub fn crash(&mut self, host: usize, kernel: bool) {
        if self.seats[host].machine.take().is_none() {
            return;
        }
        let life = self.seats[host].life;
        self.seats[host].kernel = kernel;
        self.seats[host].paused = false;
        self.inbox[host].clear();
        let ends: Vec<(usize, u32, ConnId)> = self
            .by_end
            .range((host, life, ConnId(0))..=(host, life, ConnId(u64::MAX)))
            .map(|(k, _)| *k)
            .collect();
        for end in ends {
            let Some((key, side)) = self.by_end.remove(&end) else {
                continue;
            };
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.open[side as usize] = false;
            }
            if kernel {
                self.push(key, other(side), None);
            }
        }
    }

    /// Stops a process for a while.
    pub fn pause(&mut self, host: usize) {
        if self.seats[host].machine.is_some() {
            self.seats[host].paused = true;
        }
    }

    /// Lets it go on.
    pub fn resume(&mut self, host: usize) {
        if !self.seats[host].paused {
            return;
        }
        self.seats[host].paused = false;
        for event in std::mem::take(&mut self.inbox[host]) {
            self.event(event);
        }
        if self.seats[host].running() {
            self.call(host, |machine, now| machine.handle_timeout(now));
        }
    }

    /// Breaks one connection.
    pub fn break_connection(&mut self, lot: u64) {
        if self.conns.is_empty() {
            return;
        }
        let at = (lot % self.conns.len() as u64) as usize;
        let Some(key) = self.conns.keys().nth(at).copied() else {
            return;
        };
        self.push(key, Side::Client, None);
        self.push(key, Side::Server, None);
    }

    /// The log as text.
    pub fn log_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (at, host, line) in &self.log {
            let _ = writeln!(text, "{:>9}.{:03} node {host}: {line}", at / 1000, at % 1000);
        }
        text
    }

    /// Where clients reach a host.
    pub fn client_port() -> u16 {
        PORT
    }
}
