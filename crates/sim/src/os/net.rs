//! The network between machines, and between them and clients: ordered byte pipes that are slow, are cut
//! and break.
//!
//! Bytes in a cut direction wait; the ends learn of a dead machine when a packet of theirs reaches it.

use super::mio::Signals;
pub use super::mio::net::TcpStream;
use super::turns::{Event, ProcId, State};
use std::collections::{BTreeSet, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// Where every data node listens.
pub const PORT: u16 = 6379;

/// Who is at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A machine with a data node.
    Node(ProcId),
    /// A client.
    Client(usize),
}

impl Host {
    /// Its address.
    pub fn ip(self) -> IpAddr {
        IpAddr::V4(match self {
            Host::Node(proc) => Ipv4Addr::new(10, 0, 0, proc as u8 + 1),
            Host::Client(client) => Ipv4Addr::new(10, 0, 1, client as u8 + 1),
        })
    }
}

/// The node at that address.
pub fn node_at(addr: SocketAddr) -> Option<ProcId> {
    match addr.ip() {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 0] && addr.port() == PORT => {
            Some(usize::from(ip.octets()[3]).checked_sub(1)?)
        }
        _ => None,
    }
}

#[derive(Clone, Debug)]
enum Packet {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One direction, named by the side that writes.
#[derive(Debug, Default)]
struct Pipe {
    flight: VecDeque<(u64, Packet)>,
    /// Bytes written that were not read yet.
    held: usize,
    arrived: VecDeque<u8>,
    ended: bool,
    reset: bool,
    /// The writer was told to wait.
    wants_room: bool,
}

/// Where a side is told of events.
type Ears = Arc<Mutex<Signals>>;

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Both ends: who has opened it comes first.
    pub hosts: [Host; 2],
    lives: [u32; 2],
    pipes: [Pipe; 2],
    ears: [Option<(Ears, usize)>; 2],
    closed: [bool; 2],
}

/// A node's listening socket.
#[derive(Debug, Default)]
pub struct Listening {
    ears: Option<(Ears, usize)>,
    queue: VecDeque<usize>,
    open: bool,
}

/// The network.
#[derive(Debug, Default)]
pub struct Net {
    conns: Vec<Conn>,
    listening: Vec<Listening>,
    /// Directions in which nothing gets through.
    pub cuts: BTreeSet<(Host, Host)>,
    /// Bounds of the delay of a packet, microseconds.
    pub delay: (u64, u64),
    /// Bytes that a direction holds before the writer has to wait.
    pub buffer: usize,
}

impl Net {
    /// A network with so many nodes.
    pub fn new(nodes: usize, delay: (u64, u64), buffer: usize) -> Net {
        Net {
            listening: (0..nodes).map(|_| Listening::default()).collect(),
            delay,
            buffer,
            ..Net::default()
        }
    }

    /// Connections so far.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// The ends of a connection.
    pub fn hosts(&self, conn: usize) -> [Host; 2] {
        self.conns[conn].hosts
    }

    /// True while neither end is closed nor broken.
    pub fn is_whole(&self, conn: usize) -> bool {
        let conn = &self.conns[conn];
        !conn.closed.contains(&true) && !conn.pipes.iter().any(|pipe| pipe.ended || pipe.reset)
    }

    /// Connections that stand between nodes, and their ends.
    pub fn whole_between_nodes(&self) -> Vec<usize> {
        let both = |conn: &Conn| conn.hosts.iter().all(|host| matches!(host, Host::Node(_)));
        (0..self.conns.len()).filter(|&at| self.is_whole(at) && both(&self.conns[at])).collect()
    }
}

fn tell(state: &mut State, ears: Option<(Ears, usize)>, f: impl FnOnce(&mut super::mio::Ready)) {
    let Some((ears, token)) = ears else { return };
    let mut signals = ears.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    f(signals.ready.entry(token).or_default());
    if let Some(task) = signals.task {
        drop(signals);
        state.wake(task);
    }
}

impl State {
    fn life_of(&self, host: Host) -> u32 {
        match host {
            Host::Node(proc) => self.procs[proc].life,
            Host::Client(_) => 0,
        }
    }

    fn delay(&mut self) -> u64 {
        let (low, high) = self.net.delay;
        self.prng.between(low, high)
    }

    /// True if packets get from one host to another.
    pub fn passes(&self, from: Host, to: Host) -> bool {
        !self.net.cuts.contains(&(from, to))
    }

    fn send(&mut self, conn: usize, side: usize, packet: Packet) {
        let at = self.now_us + self.delay();
        let pipe = &mut self.net.conns[conn].pipes[side];
        let at = pipe.flight.back().map_or(at, |(last, _)| at.max(*last));
        pipe.flight.push_back((at, packet));
        self.schedule(at, Event::Deliver(conn, side));
    }

    /// A node listens from now on.
    pub fn listen(&mut self, proc: ProcId) {
        self.net.listening[proc] = Listening { open: true, ..Listening::default() };
    }

    /// The process is gone, with its sockets.
    pub fn forget_sockets(&mut self, proc: ProcId) {
        self.net.listening[proc] = Listening::default();
        for conn in &mut self.net.conns {
            for side in 0..2 {
                if conn.hosts[side] == Host::Node(proc) {
                    conn.ears[side] = None;
                }
            }
        }
    }

    /// Whether a connection to that node could be made now; `None` if nobody answers.
    pub fn answers(&self, from: Host, to: ProcId) -> Option<bool> {
        let there = Host::Node(to);
        (self.passes(from, there) && self.passes(there, from))
            .then(|| self.procs[to].alive && self.net.listening[to].open)
    }

    /// Makes a connection.
    pub fn connect(&mut self, from: Host, to: ProcId) -> usize {
        let hosts = [from, Host::Node(to)];
        let lives = hosts.map(|host| self.life_of(host));
        self.net.conns.push(Conn {
            hosts,
            lives,
            pipes: Default::default(),
            ears: [None, None],
            closed: [false, false],
        });
        let conn = self.net.conns.len() - 1;
        self.net.listening[to].queue.push_back(conn);
        let ears = self.net.listening[to].ears.clone();
        tell(self, ears, |ready| ready.readable = true);
        conn
    }

    /// The next connection of a listener.
    pub fn accept(&mut self, proc: ProcId) -> Option<(usize, SocketAddr)> {
        let conn = self.net.listening[proc].queue.pop_front()?;
        let ip = self.net.conns[conn].hosts[0].ip();
        Some((conn, SocketAddr::new(ip, 20_000 + (conn % 40_000) as u16)))
    }

    /// Where a listener's events go.
    pub fn hear_listener(&mut self, proc: ProcId, ears: Option<(Ears, usize)>) {
        let some = !self.net.listening[proc].queue.is_empty();
        self.net.listening[proc].ears.clone_from(&ears);
        if some {
            tell(self, ears, |ready| ready.readable = true);
        }
    }

    /// Where a connection's events go.
    pub fn hear(&mut self, conn: usize, side: usize, ears: Option<(Ears, usize)>) {
        self.net.conns[conn].ears[side].clone_from(&ears);
        // As epoll: what is there already makes an event.
        let pipe = &self.net.conns[conn].pipes[1 - side];
        let some = !pipe.arrived.is_empty() || pipe.ended || pipe.reset;
        tell(self, ears, |ready| {
            ready.writable = true;
            ready.readable |= some;
        });
    }

    /// Reads what has arrived.
    pub fn read(&mut self, conn: usize, side: usize, out: &mut [u8]) -> Result<usize> {
        let pipe = &mut self.net.conns[conn].pipes[1 - side];
        if pipe.reset {
            return Err(Error::from(ErrorKind::ConnectionReset));
        }
        let n = out.len().min(pipe.arrived.len());
        if n == 0 {
            return if pipe.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        for (to, from) in out.iter_mut().zip(pipe.arrived.drain(..n)) {
            *to = from;
        }
        pipe.held -= n;
        if std::mem::take(&mut pipe.wants_room) {
            let ears = self.net.conns[conn].ears[1 - side].clone();
            tell(self, ears, |ready| ready.writable = true);
        }
        Ok(n)
    }

    /// Writes as much as the socket takes.
    pub fn write(&mut self, conn: usize, side: usize, bytes: &[u8]) -> Result<usize> {
        let room = self.net.buffer;
        let found = &mut self.net.conns[conn];
        if found.pipes[1 - side].reset || found.pipes[side].reset {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let pipe = &mut found.pipes[side];
        let n = bytes.len().min(room.saturating_sub(pipe.held));
        if n == 0 && !bytes.is_empty() {
            pipe.wants_room = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        // A short write means that the buffer is full: the next room is told.
        pipe.wants_room |= n < bytes.len();
        pipe.held += n;
        self.send(conn, side, Packet::Bytes(bytes[..n].to_vec()));
        Ok(n)
    }

    /// A side closes its socket.
    pub fn close(&mut self, conn: usize, side: usize) {
        let found = &mut self.net.conns[conn];
        found.ears[side] = None;
        if !std::mem::replace(&mut found.closed[side], true) {
            self.send(conn, side, Packet::End);
        }
    }

    /// True once the node at the other end hears nothing more of a connection that a client opened.
    pub fn is_over(&self, conn: usize) -> bool {
        let found = &self.net.conns[conn];
        found.closed[1] || self.life_of(found.hosts[1]) != found.lives[1]
    }

    /// The network breaks a connection: both ends learn of it.
    pub fn break_conn(&mut self, conn: usize) {
        self.send(conn, 0, Packet::Reset);
        self.send(conn, 1, Packet::Reset);
    }

    /// A packet arrives. Returns the connection if a client is to look at it.
    pub fn deliver(&mut self, conn: usize, side: usize) -> Option<usize> {
        let (now, hosts) = (self.now_us, self.net.conns[conn].hosts);
        let (from, to) = (hosts[side], hosts[1 - side]);
        let first = self.net.conns[conn].pipes[side].flight.front()?.0;
        if first > now {
            return None;
        }
        if !self.passes(from, to) {
            let at = now + self.prng.between(50_000, 250_000);
            self.net.conns[conn].pipes[side].flight[0].0 = at;
            self.schedule(at, Event::Deliver(conn, side));
            return None;
        }
        let (_, packet) = self.net.conns[conn].pipes[side].flight.pop_front()?;
        if let Some((next, _)) = self.net.conns[conn].pipes[side].flight.front() {
            // The first may have been late.
            let at = (*next).max(now);
            self.schedule(at, Event::Deliver(conn, side));
        }
        let here = self.life_of(to) == self.net.conns[conn].lives[1 - side];
        let gone = !here || self.net.conns[conn].closed[1 - side];
        if gone {
            if matches!(packet, Packet::Bytes(_)) {
                self.send(conn, 1 - side, Packet::Reset);
            }
            return None;
        }
        let ears = self.net.conns[conn].ears[1 - side].clone();
        let pipe = &mut self.net.conns[conn].pipes[side];
        match packet {
            Packet::Bytes(bytes) => {
                pipe.arrived.extend(bytes);
                tell(self, ears, |ready| ready.readable = true);
            }
            Packet::End => {
                pipe.ended = true;
                tell(self, ears, |ready| {
                    ready.readable = true;
                    ready.read_closed = true;
                });
            }
            Packet::Reset => {
                pipe.reset = true;
                pipe.arrived.clear();
                tell(self, ears, |ready| {
                    ready.readable = true;
                    ready.error = true;
                });
            }
        }
        matches!(to, Host::Client(_)).then_some(conn)
    }
}
