//! A worker's event loop.
//!
//! Sockets are edge-triggered and registered once for both directions, so that a request and its
//! reply cost one `epoll_wait`, one `read` and one `write` and nothing else. A connection that
//! might have more to read goes to the end of the line instead of being drained at once.

mod arrivals;
mod forward;
mod gate;
mod messages;
mod moves;
mod requests;
mod scripts;
mod secure;

use self::moves::{Moves, Watcher};
use self::requests::{Ahead, Round};
use super::addr;
use super::conn::{Conn, Flush, Script};
use super::listen::{self, Listener};
use super::replica::{self, Pumped, ReplicaFeed, SnapshotQueues};
use super::stream::Stream;
use super::sys;
use crate::os::mio::event::Source;
use crate::os::mio::{Events, Interest, Poll, Token};
use crate::os::time::Duration;
use node::{ClientInfo, Message, Next, Node, OnFile, ReplicaTask, Session, Worker};
use replication::{ConnId, MasterInput, Position};
use resp::Reply;
use slab::Slab;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Token of the waker; connections have their slab index, listeners the numbers from
/// [`LISTENER_BASE`] on.
pub const WAKER: Token = Token(usize::MAX);
const LISTENER_BASE: usize = usize::MAX / 2;

/// Bytes that one read takes.
const READ_BYTES: usize = 64 * 1024;
/// A reply buffer above this is given out before the batch goes on.
const REPLY_FLUSH_BYTES: usize = 256 * 1024;
/// Messages to one connection that are put together before they are sent, bytes.
const QUEUE_BYTES: usize = 256 * 1024;
/// Time in which the most bytes that waited to be sent are remembered, ms.
const PEAK_MS: u64 = 5000;
/// Time between two rounds of housekeeping, ms.
const HOUSEKEEPING_MS: u64 = 100;

/// A socket that was accepted for a worker.
pub struct NewConn {
    stream: Stream,
    peer: Option<SocketAddr>,
    local: String,
}

/// Ways to give sockets to workers.
pub struct Handover {
    queues: Vec<Mutex<Vec<NewConn>>>,
    loads: Vec<AtomicUsize>,
    moves: Moves,
}

impl Handover {
    /// For so many workers.
    pub fn new(workers: usize) -> Handover {
        Handover {
            queues: (0..workers).map(|_| Mutex::default()).collect(),
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            moves: Moves::new(workers),
        }
    }

    /// The first so many workers serve from now on; 0 leaves the number to what is measured.
    pub fn set_active(&self, workers: usize) {
        self.moves.force(workers);
    }

    /// The worker with the fewest connections, of those that serve.
    fn least_loaded(&self) -> usize {
        let load = |worker: &usize| self.loads[*worker].load(Ordering::Relaxed);
        (0..self.moves.active()).min_by_key(load).unwrap_or(0)
    }
}

/// What all workers of a process share.
pub struct Shared {
    /// The node.
    pub node: Arc<Node>,
    /// Ways to give sockets to workers.
    pub handover: Handover,
    /// Snapshots on their way to replicas.
    pub queues: SnapshotQueues,
    /// New listening sockets for the first worker, which take the place of others of their kind
    /// (CONFIG SET port, tls-port, bind).
    pub new_listeners: Mutex<Vec<(listen::Kind, Vec<Listener>)>>,
    /// Settings of new TLS connections.
    pub tls: super::tls::Tls,
    /// DEBUG SLEEP: no worker runs anything before this monotonic time in microseconds.
    pub sleep_until_us: std::sync::atomic::AtomicU64,
}

/// One worker's loop.
pub struct EventLoop {
    shared: Arc<Shared>,
    poll: Poll,
    worker: Box<Worker>,
    conns: Slab<Conn>,
    /// Slab index by client id.
    by_client: BTreeMap<u64, usize>,
    listeners: Vec<Listener>,
    /// Connections to be read without waiting for an event.
    again: Vec<usize>,
    /// Connections whose output is sent at the end of the round.
    unsent: Vec<usize>,
    /// Replicas that have more to be sent.
    pump_again: bool,
    reply_buffer: Vec<u8>,
    ahead: Ahead,
    round: Round,
    next_housekeeping: u64,
    /// Connections with a script to be run.
    scripts_due: Vec<usize>,
    /// Room for the reply of the next one.
    script_reply: Vec<u8>,
    /// Connections whose replies wait for the append-only file.
    gated: Vec<usize>,
    /// Some of them need not wait any more.
    gate_open: bool,
    /// Stands in for `worker` while a script has that one.
    spare: Option<Box<Worker>>,
    /// The first worker's: how all are doing.
    watcher: Option<Box<Watcher>>,
    /// Number of serving workers that the connections were spread for.
    active_seen: usize,
}

impl EventLoop {
    /// A loop for worker `index`, which accepts on `listeners`.
    pub fn new(
        shared: Arc<Shared>,
        poll: Poll,
        worker: Worker,
        listeners: Vec<Listener>,
    ) -> std::io::Result<EventLoop> {
        let workers = shared.handover.loads.len();
        let watcher = if worker.index == 0 { Watcher::new(workers) } else { None };
        let mut this = EventLoop {
            shared,
            poll,
            worker: Box::new(worker),
            conns: Slab::new(),
            by_client: BTreeMap::new(),
            listeners: Vec::new(),
            again: Vec::new(),
            unsent: Vec::new(),
            pump_again: false,
            reply_buffer: Vec::with_capacity(READ_BYTES),
            ahead: Ahead::default(),
            round: Round::new(),
            next_housekeeping: 0,
            scripts_due: Vec::new(),
            script_reply: Vec::new(),
            gated: Vec::new(),
            gate_open: false,
            spare: None,
            watcher,
            active_seen: workers,
        };
        this.set_listeners(listeners)?;
        Ok(this)
    }

    fn node(&self) -> Arc<Node> {
        Arc::clone(&self.shared.node)
    }

    fn set_listeners(&mut self, listeners: Vec<Listener>) -> std::io::Result<()> {
        self.listeners = listeners;
        for known in &mut self.listeners {
            let registry = self.poll.registry();
            // It fails for those that are new.
            let _ = match known {
                Listener::Tcp(listener) | Listener::Extra(listener) | Listener::Tls(listener) => {
                    listener.deregister(registry)
                }
                Listener::Unix(listener) => listener.deregister(registry),
            };
        }
        for (at, listener) in self.listeners.iter_mut().enumerate() {
            let token = Token(LISTENER_BASE + at);
            match listener {
                Listener::Tcp(l) | Listener::Extra(l) | Listener::Tls(l) => {
                    l.register(self.poll.registry(), token, Interest::READABLE)?
                }
                Listener::Unix(l) => l.register(self.poll.registry(), token, Interest::READABLE)?,
            }
        }
        Ok(())
    }

    /// Runs until the process ends.
    pub fn run(mut self) {
        sys::ask_for_short_slices();
        sys::large_signal_stack();
        crate::crash::this_is_worker(self.worker.index);
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                panic!("epoll_wait failed: {error}");
            }
            self.stand_still();
            self.tick();
            self.run_events(&events);
            self.run_scripts();
            self.take_new_conns();
            self.take_moved();
            self.take_messages();
            self.flush_unsent();
            self.run_scripts();
            self.housekeeping();
            self.run_scripts();
            self.after_round();
            self.flush_unsent();
        }
    }

    /// Serves what has happened to sockets, and reads on where more may have come.
    fn run_events(&mut self, events: &Events) {
        let again = std::mem::take(&mut self.again);
        let mut accept = Vec::new();
        for event in events {
            match event.token() {
                WAKER => {}
                Token(at) if at >= LISTENER_BASE => accept.push(at - LISTENER_BASE),
                Token(at) => {
                    if event.is_writable() {
                        self.on_writable(at);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.on_readable(at);
                        if event.is_read_closed() {
                            // The end came together with the last bytes: no other event will.
                            self.again.push(at);
                        }
                    }
                }
            }
        }
        self.run_round();
        for at in again {
            self.on_readable(at);
        }
        self.run_round();
        for at in accept {
            self.accept(at);
        }
    }

    /// How long the loop may sleep.
    fn timeout(&self) -> Duration {
        if !self.again.is_empty()
            || self.pump_again
            || self.gate_open
            || self.shared.node.mailboxes[self.worker.index].is_signalled()
        {
            return Duration::ZERO;
        }
        // As of the last command: a sleep that is a little too long does no harm.
        let now = self.worker.now;
        let mut ms = self.next_housekeeping.saturating_sub(now.mono().0);
        if let Some(until) = self.worker.next_timeout() {
            ms = ms.min((until.0 - now.unix().0).max(0) as u64);
        }
        Duration::from_millis(ms)
    }

    /// DEBUG SLEEP stops every worker.
    fn stand_still(&self) {
        let until = self.shared.sleep_until_us.load(Ordering::Acquire);
        if until != 0 {
            let now = self.shared.node.host.now().mono_us;
            if now < until {
                crate::os::thread::sleep(Duration::from_micros(until - now));
            }
        }
    }

    fn tick(&mut self) {
        self.worker.now = self.shared.node.host.now();
    }

    // ---- connections go ------------------------------------------------------------------

    fn close(&mut self, at: usize) {
        if let Some(conn) = self.conns.get_mut(at)
            && matches!(conn.script, Script::Runs)
        {
            // Its script goes on; it is closed behind it.
            conn.closing = true;
            return;
        }
        let Some(mut conn) = self.conns.try_remove(at) else { return };
        conn.stream.say_farewell();
        let node = self.node();
        let id = conn.session.id();
        conn.stream.deregister(self.poll.registry());
        self.by_client.remove(&id);
        self.shared.handover.loads[self.worker.index].fetch_sub(1, Ordering::Relaxed);
        if let Some(feed) = &conn.feed {
            feed.close();
        }
        let now = self.worker.now.mono();
        node.session_ended(&mut conn.session);
        if conn.session.is_replica {
            self.shared.queues.drop_conn(id);
            node.master_input(now, MasterInput::Closed { conn: ConnId(id) }, None);
            self.publish_streaming();
        }
    }

    fn publish_streaming(&self) {
        let any = self
            .conns
            .iter()
            .any(|(_, conn)| conn.feed.as_ref().is_some_and(|feed| feed.is_streaming()));
        self.shared.node.repl.set_streaming(self.worker.index, any);
    }

    // ---- writing -------------------------------------------------------------------------

    fn on_writable(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.pending_output() > 0 {
            let flushed = conn.flush();
            conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
            conn.account(&self.shared.node);
            match flushed {
                Flush::Broken => return self.close(at),
                Flush::Done if conn.closing => return self.close(at),
                _ => {}
            }
        }
        if self.conns.get(at).is_some_and(|conn| conn.feed.is_some()) {
            self.pump(at);
        }
    }

    /// Puts bytes behind what a connection is being sent. All of a round go out together, since a
    /// message to many is seldom the only one.
    fn queue(&mut self, at: usize, bytes: &[u8]) {
        let EventLoop { worker, conns, unsent, .. } = self;
        let Some(conn) = conns.get_mut(at) else { return };
        bump(&worker.stats.net_output, bytes.len() as u64);
        if conn.gated.is_some() {
            // Behind what waits for the disk.
            conn.send(bytes);
            return;
        }
        conn.output.extend_from_slice(bytes);
        if !conn.unsent {
            conn.unsent = true;
            unsent.push(at);
        }
        if conn.pending_output() > QUEUE_BYTES {
            self.flush_and_judge(at);
        }
    }

    /// Sends what was queued in this round.
    fn flush_unsent(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for at in unsent.drain(..) {
            if let Some(conn) = self.conns.get_mut(at)
                && std::mem::take(&mut conn.unsent)
            {
                self.flush_and_judge(at);
            }
        }
        self.unsent = unsent;
    }

    fn flush_and_judge(&mut self, at: usize) {
        let EventLoop { worker, conns, .. } = self;
        let Some(conn) = conns.get_mut(at) else { return };
        let flushed = if conn.pending_output() > 0 {
            bump(&worker.stats.writes, 1);
            conn.flush()
        } else {
            Flush::Done
        };
        conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
        let over = conn.over_limit(&worker.settings.config, worker.now.mono().0);
        if over {
            log_over_limit(conn);
        }
        if flushed == Flush::Broken || over || (flushed == Flush::Done && conn.closing) {
            self.close(at);
        }
    }

    fn pump(&mut self, at: usize) {
        let node = self.node();
        let now = self.worker.now.mono();
        let Some(conn) = self.conns.get_mut(at) else { return };
        let mut sent = 0;
        let pumped = replica::pump(&node, conn, now, &mut sent);
        bump(&self.worker.stats.repl_output, sent);
        match pumped {
            Pumped::Waits => {}
            Pumped::More => self.pump_again = true,
            Pumped::Broken => self.close(at),
        }
    }

    fn pump_all(&mut self) {
        self.pump_again = false;
        let with_feed: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.feed.is_some()).map(|(at, _)| at).collect();
        for at in with_feed {
            self.pump(at);
        }
    }

    // ---- from time to time ---------------------------------------------------------------

    fn housekeeping(&mut self) {
        let now = self.worker.now;
        if self.worker.next_timeout().is_some_and(|until| until <= now.unix()) {
            self.node().expire_waits(&mut self.worker, now.unix());
        }
        if now.mono().0 < self.next_housekeeping {
            return;
        }
        self.next_housekeeping = now.mono().0 + HOUSEKEEPING_MS;
        let settings = self.shared.node.settings.load_full();
        let idle_ms = u64::from(settings.config.timeout) * 1000;
        let mut close = Vec::new();
        let mut resume = false;
        let forget_peaks = self.next_housekeeping / PEAK_MS != now.mono().0 / PEAK_MS;
        for (at, conn) in &mut self.conns {
            let info = &conn.session.info;
            if forget_peaks {
                info.output_peak.store(0, Ordering::Relaxed);
            }
            conn.account_now(&self.shared.node);
            if info.killed.load(Ordering::Relaxed)
                || conn.over_limit(&settings.config, now.mono().0)
            {
                close.push(at);
                continue;
            }
            if conn.stream.is_handshaking() && secure::is_too_slow(conn, now.mono().0) {
                close.push(at);
                continue;
            }
            let idle =
                now.mono().0.saturating_sub(conn.session.info.last_active.load(Ordering::Relaxed));
            if idle_ms > 0
                && idle > idle_ms
                && conn.session.waiting.is_none()
                && conn.session.subscriptions() == 0
                && !conn.session.is_replica
            {
                crate::log::write(crate::log::VERBOSE, "Closing idle client");
                close.push(at);
            }
            resume |= conn.held.is_some();
        }
        close.into_iter().for_each(|at| self.close(at));
        if self.shared.node.clients_are_too_much() {
            self.shared.node.evict_clients();
        }
        self.balance();
        if resume {
            self.resume();
        }
        if self.conns.iter().any(|(_, conn)| conn.feed.is_some()) {
            self.take_replica_tasks();
            self.pump_all();
        }
    }

    /// At the end of a round: what grew is sent, what is garbage is given away.
    fn after_round(&mut self) {
        if !self.gated.is_empty() {
            self.open_gate();
            self.run_scripts();
        }
        if self.worker.log_grew {
            self.worker.log_grew = false;
            if self.shared.node.wake_streams(self.worker.index) {
                self.pump_again = true;
            }
        }
        if !self.gated.is_empty() {
            self.wait_at_gate();
        }
        if self.pump_again {
            self.pump_all();
        }
        if !self.worker.trash.is_empty() || !self.worker.tables.is_empty() {
            let (trash, tables) =
                (std::mem::take(&mut self.worker.trash), std::mem::take(&mut self.worker.tables));
            self.shared.node.host.free(trash, tables);
        }
    }
}

fn bump(counter: &std::sync::atomic::AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

fn log_over_limit(conn: &Conn) {
    crate::log::write(
        crate::log::WARNING,
        &format!(
            "Client id={} addr={} closed for overcoming of output buffer limits.",
            conn.session.id(),
            conn.session.info.addr
        ),
    );
}
