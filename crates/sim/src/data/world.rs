//! Real data nodes on simulated machines, and clients around them.

use super::client::{Client, Loss};
use crate::os::net::{Host, Net, PORT};
use crate::os::turns::{Event, ProcId, Turns};
use crate::server;
use commands::digest::{self, Digest};
use keyspace::{ExpireRule, KeyOptions, Keys, MemoryPolicy};
use node::Node;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stdx::{Prng, UnixMs};

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Machines; the first begins as the master.
    pub nodes: usize,
    /// Clients with private keys.
    pub clients: usize,
    /// Clients that do anything to shared keys.
    pub noise: usize,
    /// Directives of every node, one a line.
    pub config: String,
    /// `appendfsync` as the checks take it.
    pub promise: Promise,
    /// Bounds of a packet's delay, microseconds.
    pub delay: (u64, u64),
    /// Bytes in a socket's buffer.
    pub buffer: usize,
    /// Disks that say that they have synced and have not.
    pub disks_lie: bool,
}

/// What survives the loss of power of a node that comes back as the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Whatever was confirmed.
    Always,
    /// Whatever was confirmed two seconds before.
    Everysec,
    /// Nothing.
    Nothing,
}

/// Own events of the world.
const TICK_CLIENT: u64 = 1 << 32;
const TICK_NOISE: u64 = 2 << 32;
const TICK_LOOK: u64 = 3 << 32;

/// Time for which old states of the models are kept, microseconds.
const STATES_US: u64 = 20_000_000;

/// Time between two comparisons of the nodes' data, microseconds.
const LOOK_US: u64 = 40_000;

/// A client without a model: sends requests and holds the order of the replies against it.
struct Noise {
    conn: Option<usize>,
    left: Vec<usize>,
    parser: resp::ReplyParser,
    /// Texts of ECHO whose replies are to come; `None` for a request with any reply.
    expected: std::collections::VecDeque<Option<Vec<u8>>>,
    numbers: u64,
}

/// The world.
pub struct World {
    turns: Turns,
    /// As it was made.
    pub options: Options,
    prng: Prng,
    /// Who is the master, as the administrator wants it.
    pub master: ProcId,
    /// Clients with private keys.
    pub clients: Vec<Client>,
    noise: Vec<Noise>,
    noise_is_over: bool,
    /// When each node was started last, microseconds.
    booted: Vec<u64>,
    /// When each node was last seen to follow the master of that time, microseconds.
    followed: Vec<u64>,
    /// Since when a disk was in trouble, and until when, microseconds.
    trouble: Vec<Option<(u64, u64)>>,
    admin: Vec<usize>,
    /// Comparisons of data that found nodes at the same place.
    pub compared: u64,
}

impl World {
    /// A world in which nothing runs yet.
    pub fn new(options: Options) -> World {
        let net = Net::new(options.nodes, options.delay, options.buffer);
        let turns = Turns::new(options.seed, options.nodes, net);
        let mut prng = Prng::new(options.seed ^ 0x5bd1_e995);
        {
            let mut state = turns.core.state();
            for proc in &mut state.procs {
                proc.disk.faults.lies = options.disks_lie;
            }
            for client in 0..options.clients {
                let at = 1_200_000 + prng.below(100_000);
                state.schedule(at, Event::Own(TICK_CLIENT | client as u64));
            }
            for noise in 0..options.noise {
                let at = 1_200_000 + prng.below(100_000);
                state.schedule(at, Event::Own(TICK_NOISE | noise as u64));
            }
            state.schedule(1_300_000, Event::Own(TICK_LOOK));
        }
        World {
            turns,
            prng,
            master: 0,
            clients: (0..options.clients).map(Client::new).collect(),
            noise: (0..options.noise).map(|_| Noise::new()).collect(),
            noise_is_over: false,
            booted: vec![0; options.nodes],
            followed: vec![0; options.nodes],
            trouble: vec![None; options.nodes],
            admin: Vec::new(),
            compared: 0,
            options,
        }
    }

    /// Starts a node.
    pub fn boot(&mut self, proc: ProcId) {
        let mut text = format!(
            "port {PORT}\nprotected-mode no\nenable-debug-command yes\nlogfile \"\"\n{}\n",
            self.options.config
        );
        if proc != self.master {
            text.push_str(&format!("replicaof {} {PORT}\n", Host::Node(self.master).ip()));
        }
        let loaded = match server::config_file::load(text.as_bytes(), false) {
            Ok(loaded) => loaded,
            Err(error) => panic!("the simulator's configuration is wrong: {error:?}"),
        };
        self.booted[proc] = self.now_us();
        let files = self.turns.core.state().procs[proc].disk.listing();
        self.note(format!("=== node {proc} starts, master is {}; files: {files}", self.master));
        self.turns.boot(proc, move || {
            let file = server::config_file::ConfigFile::new(None, Default::default(), true);
            server::run(loaded, file);
            crate::os::process::exit(1);
        });
    }

    /// Power fails: the node is gone and with it what its disk had not been brought.
    pub fn lose_power(&mut self, proc: ProcId) {
        self.turns.kill(proc);
        let mut state = self.turns.core.state();
        state.forget_sockets(proc);
        let mut prng = Prng::new(self.prng.next_u64());
        let gone = state.procs[proc].disk.lose_power(&mut prng);
        let listing = state.procs[proc].disk.listing();
        state.note(format!("=== node {proc} loses power, {gone} bytes are gone; left: {listing}"));
        drop(state);
        self.after_death(proc, true);
    }

    /// The process is killed; the machine goes on.
    pub fn kill(&mut self, proc: ProcId) {
        self.turns.kill(proc);
        let mut state = self.turns.core.state();
        state.forget_sockets(proc);
        state.procs[proc].disk.lose_process();
        state.note(format!("=== node {proc} is killed"));
        drop(state);
        self.after_death(proc, false);
    }

    fn after_death(&mut self, proc: ProcId, power: bool) {
        let mut state = self.turns.core.state();
        let now = state.now_us;
        for conn in 0..state.net.len() {
            let hosts = state.net.hosts(conn);
            if hosts.contains(&Host::Node(proc)) && state.net.is_whole(conn) && !power {
                state.break_conn(conn);
            }
        }
        drop(state);
        if proc != self.master {
            return;
        }
        let loss = self.loss_of(proc, now, power);
        for client in &mut self.clients {
            client.may_lose(loss);
        }
        // Whoever talks to a dead machine finds out sooner or later; here at once.
        self.hang_up();
    }

    fn loss_of(&self, proc: ProcId, now: u64, power: bool) -> Loss {
        match self.options.promise {
            Promise::Always => Loss::None,
            Promise::Nothing => Loss::After(0),
            // What was written is in the kernel, but for the last milliseconds.
            Promise::Everysec => {
                let since = now.saturating_sub(if power { 2_000_000 } else { 1_000_000 });
                let trouble = self.trouble[proc].filter(|(_, until)| until + 3_000_000 > now);
                Loss::After(trouble.map_or(since, |(from, _)| since.min(from - 1_500_000)))
            }
        }
    }

    /// All clients leave their connections.
    pub fn hang_up(&mut self) {
        let conns: Vec<usize> = self.clients.iter().filter_map(|client| client.conn).collect();
        self.clients.iter_mut().for_each(Client::disconnected);
        let noise: Vec<usize> = self.noise.iter_mut().filter_map(Noise::disconnected).collect();
        let mut state = self.turns.core.state();
        conns.into_iter().chain(noise).for_each(|conn| state.close(conn, 0));
    }

    /// Another node becomes the master, by REPLICAOF on all that run.
    pub fn promote(&mut self, proc: ProcId) {
        let old = std::mem::replace(&mut self.master, proc);
        self.note(format!("=== node {proc} is to be the master instead of {old}"));
        // What was undone before it followed, it has no more, if it runs since then.
        let back = Some(self.followed[proc]).filter(|&us| self.booted[proc] < us).unwrap_or(0);
        for client in &mut self.clients {
            // What all replicas have acknowledged, this one has, if it has not forgotten since.
            let safe = client.safe_us.filter(|&safe| self.booted[proc] < safe);
            client.may_change_line(Loss::After(safe.unwrap_or(0)), back);
        }
        self.hang_up();
        self.tell(proc, &["REPLICAOF", "NO", "ONE"]);
        let ip = Host::Node(proc).ip().to_string();
        for other in (0..self.options.nodes).filter(|&other| other != proc) {
            self.tell(other, &["REPLICAOF", &ip, &PORT.to_string()]);
        }
    }

    /// An administrator's command, on a connection of its own; nobody reads the reply.
    pub fn tell(&mut self, proc: ProcId, words: &[&str]) {
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, words);
        let from = Host::Client(200);
        let mut state = self.turns.core.state();
        if state.answers(from, proc) != Some(true) {
            return;
        }
        state.note(format!("=== node {proc} is told {}", words.join(" ")));
        let conn = state.connect(from, proc);
        // The request is small, so the socket takes it.
        let _ = state.write(conn, 0, &bytes);
        self.admin.push(conn);
    }

    /// Writes to the world's log.
    pub fn note(&self, text: String) {
        self.turns.core.state().note(text);
    }

    /// Microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        self.turns.core.state().now_us
    }

    /// True while a node runs.
    pub fn is_alive(&self, proc: ProcId) -> bool {
        self.turns.core.state().procs[proc].alive
    }

    /// The node, if it runs and has its data.
    pub fn node(&self, proc: ProcId) -> Option<Arc<Node>> {
        let state = self.turns.core.state();
        let node = state.procs[proc].node.clone().filter(|_| state.procs[proc].alive)?;
        (!node.persistence.loading.load(Ordering::Acquire)).then_some(node)
    }

    /// Changes what is wrong with a disk. `until_us` is when it will be over.
    pub fn disk(
        &mut self,
        proc: ProcId,
        until_us: u64,
        f: impl FnOnce(&mut crate::os::disk::Faults),
    ) {
        let mut state = self.turns.core.state();
        let now = state.now_us;
        f(&mut state.procs[proc].disk.faults);
        let faults = state.procs[proc].disk.faults.clone();
        state.note(format!("=== disk of node {proc}: {faults:?}"));
        let old = self.trouble[proc].filter(|(_, until)| until + 3_000_000 > now);
        let (from, until) = old.unwrap_or((now, until_us));
        self.trouble[proc] = Some((from, until.max(until_us)));
    }

    /// Empties a disk.
    pub fn wipe(&mut self, proc: ProcId) {
        self.turns.core.state().procs[proc].disk.wipe();
    }

    /// Cuts the ways between two hosts, or opens them.
    pub fn cut(&mut self, a: Host, b: Host, cut: bool) {
        let mut state = self.turns.core.state();
        state.note(format!("=== {a:?} and {b:?}: {}", if cut { "cut" } else { "open" }));
        for way in [(a, b), (b, a)] {
            if cut {
                state.net.cuts.insert(way);
            } else {
                state.net.cuts.remove(&way);
            }
        }
    }

    /// Opens all ways.
    pub fn open_all(&mut self) {
        self.turns.core.state().net.cuts.clear();
    }

    /// Breaks a connection between nodes.
    pub fn break_some(&mut self) {
        let mut state = self.turns.core.state();
        let conns = state.net.whole_between_nodes();
        if !conns.is_empty() {
            let conn = conns[self.prng.below(conns.len() as u64) as usize];
            let hosts = state.net.hosts(conn);
            state.note(format!("=== connection {hosts:?} breaks"));
            state.break_conn(conn);
        }
    }

    /// A random number below this.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// Lets time pass.
    pub fn run_us(&mut self, us: u64) {
        let until = self.now_us() + us;
        self.run_until(until, |_| false);
    }

    /// Lets time pass until something is so, or it is too late.
    pub fn run_until(&mut self, until_us: u64, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let mut look = 0;
        while self.violations() == 0 {
            match self.turns.step(until_us) {
                None => return done(self),
                Some(Event::Task(..)) => self.bury(),
                Some(Event::Deliver(conn, side)) => self.deliver(conn, side),
                Some(Event::Own(tag)) => {
                    self.own(tag);
                    look += 1;
                    if look % 8 == 0 && done(self) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Processes that have ended themselves.
    fn bury(&mut self) {
        let ended: Vec<(ProcId, i32)> = {
            let mut state = self.turns.core.state();
            let procs = state.procs.iter_mut().enumerate();
            procs.filter_map(|(proc, p)| p.exit.take().map(|code| (proc, code))).collect()
        };
        for (proc, code) in ended {
            self.violation(format!("node {proc} has ended itself with code {code}"));
            self.kill(proc);
        }
    }

    fn deliver(&mut self, conn: usize, side: usize) {
        let mut state = self.turns.core.state();
        if state.deliver(conn, side).is_none() {
            return;
        }
        let Host::Client(who) = state.net.hosts(conn)[0] else { return };
        let now = state.now_us;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let ended = loop {
            match state.read(conn, 0, &mut buffer) {
                Ok(0) => break true,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        };
        drop(state);
        let noise_at = self.options.clients;
        let result = if who >= 200 {
            Ok(())
        } else if who >= noise_at {
            let noise = &mut self.noise[who - noise_at];
            if noise.conn == Some(conn) { noise.hear(&bytes) } else { Ok(()) }
        } else if self.clients[who].conn == Some(conn) {
            self.clients[who].hear(now, &bytes)
        } else {
            Ok(())
        };
        if let Err(why) = result {
            self.violation(why);
        }
        if ended {
            self.turns.core.state().close(conn, 0);
            if who < noise_at && self.clients[who].conn == Some(conn) {
                self.clients[who].disconnected();
            } else if (noise_at..200).contains(&who)
                && self.noise[who - noise_at].conn == Some(conn)
            {
                self.noise[who - noise_at].disconnected();
            }
        }
    }

    fn own(&mut self, tag: u64) {
        let index = (tag & 0xffff_ffff) as usize;
        let again = match tag & !0xffff_ffff {
            TICK_CLIENT => {
                self.tick_client(index);
                self.prng.between(500, 12_000)
            }
            TICK_NOISE if self.noise_is_over => return,
            TICK_NOISE => {
                self.tick_noise(index);
                self.prng.between(500, 15_000)
            }
            _ => {
                self.compare();
                LOOK_US
            }
        };
        let mut state = self.turns.core.state();
        let at = state.now_us + again;
        state.schedule(at, Event::Own(tag));
    }

    fn tick_client(&mut self, index: usize) {
        let now = self.now_us();
        let (from, master) = (Host::Client(index), self.master);
        let client = &mut self.clients[index];
        let mut state = self.turns.core.state();
        let Some(conn) = client.conn else {
            // What a node may still hear on an old connection must not come behind what is new.
            client.left.retain(|&conn| !state.is_over(conn));
            if client.left.is_empty() && state.answers(from, master) == Some(true) {
                client.connected(state.connect(from, master));
            }
            return;
        };
        let replicas = self.options.nodes - 1;
        let bytes = client.ask(&mut self.prng, replicas);
        if !bytes.is_empty() && !write_all(&mut state, conn, &bytes) {
            drop(state);
            self.clients[index].disconnected();
            self.turns.core.state().close(conn, 0);
            return;
        }
        // Nothing goes back further than this.
        self.clients[index].forget_before(now.saturating_sub(STATES_US));
    }

    fn tick_noise(&mut self, index: usize) {
        let from = Host::Client(self.options.clients + index);
        let master = self.master;
        let noise = &mut self.noise[index];
        let mut state = self.turns.core.state();
        let Some(conn) = noise.conn else {
            noise.left.retain(|&conn| !state.is_over(conn));
            if noise.left.is_empty() && state.answers(from, master) == Some(true) {
                noise.conn = Some(state.connect(from, master));
            }
            return;
        };
        let bytes = noise.ask(&mut self.prng);
        if !bytes.is_empty() && !write_all(&mut state, conn, &bytes) {
            noise.disconnected();
            state.close(conn, 0);
        }
    }

    /// Notes who has the history of the master and is in step with it.
    fn see_followers(&mut self) {
        let Some(master) = self.node(self.master).filter(|node| !node.is_replica()) else { return };
        let (replid, now) = (master.log.ids().replid.to_string(), self.now_us());
        for proc in 0..self.options.nodes {
            let follows = |node: &Arc<Node>| {
                let linked = node.is_replica() && node.role.link_up.load(Ordering::Acquire);
                linked && node.log.ids().replid.to_string() == replid
            };
            if self.node(proc).as_ref().is_some_and(follows) {
                self.followed[proc] = now;
            }
        }
    }

    /// Nodes at the same place of the same history have the same data.
    fn compare(&mut self) {
        self.see_followers();
        let mut seen: Vec<(ProcId, String, u64, Option<Digest>)> = Vec::new();
        for proc in 0..self.options.nodes {
            let Some(node) = self.node(proc) else { continue };
            let place = (node.log.ids().replid.to_string(), node.log.offset());
            let mut digest = None;
            for (other, replid, offset, sum) in &mut seen {
                if *replid != place.0 || *offset != place.1 {
                    continue;
                }
                let theirs = *sum.get_or_insert_with(|| match self.node(*other) {
                    Some(node) => digest_of(&self.turns, *other, &node),
                    None => Digest::default(),
                });
                let ours = *digest.get_or_insert_with(|| digest_of(&self.turns, proc, &node));
                self.compared += 1;
                if ours != theirs {
                    let text = format!(
                        "nodes {other} and {proc} are both at {replid} {offset}: {} and {}",
                        theirs.hex(),
                        ours.hex()
                    );
                    self.turns.core.state().violations.push(text);
                }
            }
            seen.push((proc, place.0, place.1, digest));
        }
    }

    /// All nodes run, follow the master and have what it has.
    pub fn agrees(&mut self) -> bool {
        let Some(master) = self.node(self.master) else { return false };
        if master.is_replica() {
            return false;
        }
        let place = |node: &Node| (node.log.ids().replid.to_string(), node.log.offset());
        let others: Vec<_> = (0..self.options.nodes).filter(|&p| p != self.master).collect();
        for proc in others {
            let Some(node) = self.node(proc) else { return false };
            let follows = node.is_replica() && node.role.link_up.load(Ordering::Acquire);
            if !follows || place(&node) != place(&master) {
                return false;
            }
            let sums = [(proc, &node), (self.master, &master)]
                .map(|(proc, node)| digest_of(&self.turns, proc, node));
            if sums[0] != sums[1] {
                return false;
            }
        }
        self.clients.iter().all(Client::is_done)
    }

    /// Keys of a node.
    pub fn keys(&self, proc: ProcId) -> Option<usize> {
        let node = self.node(proc)?;
        Some((0..node.keyspace.databases()).map(|db| node.keyspace.db_size(db).0).sum())
    }

    /// Clients and noise ask nothing more, but look at their keys once more.
    pub fn quieten(&mut self) {
        self.clients.iter_mut().for_each(|client| {
            client.quiet = true;
            client.look_again();
        });
        let noise: Vec<usize> = self.noise.iter_mut().filter_map(Noise::disconnected).collect();
        self.noise_is_over = true;
        let mut state = self.turns.core.state();
        noise.into_iter().for_each(|conn| state.close(conn, 0));
    }

    fn violation(&self, text: String) {
        let mut state = self.turns.core.state();
        state.note(format!("!!! {text}"));
        state.violations.push(text);
    }

    /// Number of broken rules.
    pub fn violations(&self) -> usize {
        self.turns.core.state().violations.len()
    }

    /// Says what is broken.
    pub fn say_broken(&self, text: String) {
        self.violation(text);
    }

    /// The broken rules.
    pub fn broken(&self) -> Vec<String> {
        self.turns.core.state().violations.clone()
    }

    /// The world's log.
    pub fn log_text(&self) -> String {
        let mut text = self.turns.core.state().log.join("\n");
        text.push('\n');
        text
    }

    /// Turns of threads so far.
    pub fn turns(&self) -> u64 {
        self.turns.core.state().turns
    }

    /// Syncs of all disks so far.
    pub fn syncs(&self) -> u64 {
        self.turns.core.state().procs.iter().map(|proc| proc.disk.syncs).sum()
    }
}

/// Writes a client's requests; false if the connection is broken. A client waits for nothing, so what
/// the socket does not take is a reason to leave.
fn write_all(state: &mut crate::os::turns::State, conn: usize, bytes: &[u8]) -> bool {
    matches!(state.write(conn, 0, bytes), Ok(n) if n == bytes.len())
}

fn digest_of(turns: &Turns, proc: ProcId, node: &Node) -> Digest {
    turns.visit(proc);
    let options = KeyOptions {
        now: UnixMs(0),
        expire: ExpireRule::Ignore,
        notify: 0,
        touch: false,
        policy: MemoryPolicy::Lru,
    };
    let mut keys = Keys::new(node.keyspace.hold(node.keyspace.all()), 0, options);
    digest::of_keyspace(&mut keys)
}

/// Errors that say that the request itself is wrong: those are the simulator's own.
fn is_mistake(reply: &resp::Value) -> bool {
    ["ERR unknown", "ERR syntax", "ERR wrong number"].iter().any(|text| reply.is_error(text))
}

impl Noise {
    fn new() -> Noise {
        Noise {
            conn: None,
            left: Vec::new(),
            parser: resp::ReplyParser::new(),
            expected: Default::default(),
            numbers: 0,
        }
    }

    fn disconnected(&mut self) -> Option<usize> {
        self.parser = resp::ReplyParser::new();
        self.expected.clear();
        self.left.extend(self.conn);
        self.conn.take()
    }

    fn ask(&mut self, prng: &mut Prng) -> Vec<u8> {
        let mut out = Vec::new();
        if self.expected.len() > 12 {
            return out;
        }
        for _ in 0..prng.below(5) {
            let words = super::noise::request(prng);
            resp::encode_command(&mut out, &words);
            self.expected.push_back(None);
            self.numbers += 1;
            let text = format!("n{}", self.numbers).into_bytes();
            resp::encode_command(&mut out, &[&b"ECHO"[..], &text]);
            self.expected.push_back(Some(text));
        }
        out
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.parser.feed(bytes);
        loop {
            match self.parser.next() {
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("a noisy client: no reply: {error}")),
                Ok(Some(reply)) => match self.expected.pop_front() {
                    None => return Err(format!("a noisy client: a reply to nothing: {reply:?}")),
                    Some(None) if is_mistake(&reply) => {
                        return Err(format!("a noisy client: {reply:?}"));
                    }
                    Some(None) => {}
                    Some(Some(text)) if reply.as_bytes() == Some(&text) => {}
                    Some(Some(text)) => {
                        let text = String::from_utf8_lossy(&text).into_owned();
                        return Err(format!("a noisy client: {reply:?} in the place of {text}"));
                    }
                },
            }
        }
    }
}
