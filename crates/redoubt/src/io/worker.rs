//! A worker's event loop.
//!
//! Sockets are edge-triggered and registered once for both directions, so that a request and its
//! reply cost one `epoll_wait`, one `read` and one `write` and nothing else. A connection that
//! might have more to read goes to the end of the line instead of being drained at once.

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
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use node::{ClientInfo, Message, Next, Node, OnFile, ReplicaTask, Session, Worker};
use replication::{ConnId, MasterInput, Position};
use resp::Reply;
use slab::Slab;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    worker: Worker,
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
            worker,
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
                std::thread::sleep(Duration::from_micros(until - now));
            }
        }
    }

    fn tick(&mut self) {
        self.worker.now = self.shared.node.host.now();
    }

    // ---- connections come ----------------------------------------------------------------

    fn accept(&mut self, at: usize) {
        loop {
            let Some(listener) = self.listeners.get(at) else { return };
            let accepted = match listener {
                Listener::Tcp(listener) | Listener::Extra(listener) => {
                    listener.accept().map(|(stream, peer)| {
                        let local = stream.local_addr().map(addr::show).unwrap_or_default();
                        Some(NewConn { stream: Stream::Tcp(stream), peer: Some(peer), local })
                    })
                }
                Listener::Tls(listener) => listener
                    .accept()
                    .map(|(stream, peer)| secure::accepted(&self.shared.tls, stream, peer)),
                Listener::Unix(listener) => listener.accept().map(|(stream, _)| {
                    let path = self.worker.settings.config.unixsocket.to_str().into_owned();
                    Some(NewConn { stream: Stream::Unix(stream), peer: None, local: path })
                }),
            };
            match accepted {
                Ok(None) => {}
                Ok(Some(new)) => {
                    let target = self.shared.handover.least_loaded();
                    self.shared.handover.loads[target].fetch_add(1, Ordering::Relaxed);
                    if target == self.worker.index {
                        self.add_conn(new);
                    } else {
                        self.shared.handover.queues[target]
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(new);
                        // Any message wakes the worker, which then looks at its queue.
                        self.shared.node.mailboxes[target].send(Message::Resume);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    crate::log::write(
                        crate::log::WARNING,
                        &format!("Accepting client connection: {error}"),
                    );
                    return;
                }
            }
        }
    }

    fn take_new_conns(&mut self) {
        let new = {
            let queue = &self.shared.handover.queues[self.worker.index];
            std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for conn in new {
            self.add_conn(conn);
        }
    }

    fn add_conn(&mut self, new: NewConn) {
        let node = self.node();
        let NewConn { mut stream, peer, local } = new;
        let settings = node.settings.load_full();
        let config = &settings.config;
        let refusal = refusal(&node, config, peer);
        // Behind a handshake even a refusal has to wait; where there are too many, that is too much.
        let refuse_later =
            refusal.is_some_and(|text| text.starts_with("-DENIED")) && stream.is_handshaking();
        if let Some(refusal) = refusal.filter(|_| !refuse_later) {
            // One try: the refusal fits any socket buffer.
            let _ = stream.write(refusal.as_bytes());
            node.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            self.shared.handover.loads[self.worker.index].fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if let Some(tcp) = stream.tcp() {
            // Without these the connection works as well, only worse.
            let _ = tcp.set_nodelay(true);
            if config.tcp_keepalive > 0 {
                set_keepalive(tcp, config.tcp_keepalive);
            }
        }
        let is_unix = peer.is_none();
        let peer_text = peer.map_or_else(|| format!("{local}:0"), addr::show);
        let local = if is_unix { format!("{local}:0") } else { local };
        let id = node.clients.next_id();
        let now = self.worker.now.mono().0;
        let info = Arc::new(ClientInfo::new(
            id,
            self.worker.index,
            peer_text,
            local,
            stream.fd(),
            is_unix,
            now,
        ));
        node.clients.add(&info);
        node.stats.connections.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(info, &node.access);
        let mut conn = Conn::new(stream, session);
        if refuse_later {
            node.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            conn.output.extend_from_slice(refusal.unwrap_or_default().as_bytes());
            conn.closing = true;
        }
        let at = self.conns.insert(conn);
        if self.conns[at].account_now(&node) {
            node.evict_clients();
        }
        self.by_client.insert(id, at);
        let registered = self.conns[at].stream.register(self.poll.registry(), Token(at));
        if registered.is_err() {
            self.close(at);
        }
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

    // ---- messages ------------------------------------------------------------------------

    fn take_messages(&mut self) {
        let messages = self.shared.node.mailboxes[self.worker.index].take();
        if messages.is_empty() {
            return;
        }
        let mut pump = false;
        for message in messages {
            match message {
                Message::PushAll { clients, bytes } => {
                    for client in clients {
                        if self.by_client.contains_key(&client) {
                            self.push(client, &bytes);
                        } else {
                            self.send_on(client, Message::Push { client, bytes: bytes.to_vec() });
                        }
                    }
                }
                Message::Push { client, bytes } => {
                    if self.by_client.contains_key(&client) {
                        self.push(client, &bytes);
                    } else {
                        self.send_on(client, Message::Push { client, bytes });
                    }
                }
                Message::Unblock { client, ticket, bytes, position } => {
                    self.unblock(client, ticket, &bytes, position)
                }
                Message::Close { client, flush } => {
                    if let Some(&at) = self.by_client.get(&client) {
                        let conn = &mut self.conns[at];
                        conn.closing = true;
                        if !flush || conn.pending_output() == 0 {
                            self.close(at);
                        }
                    } else {
                        self.send_on(client, Message::Close { client, flush });
                    }
                }
                // Looked at at the end of each round.
                Message::OpenGate => {}
                Message::Resume => self.resume(),
                Message::CheckChannels { client } => {
                    if let Some(&at) = self.by_client.get(&client)
                        && !self.shared.node.may_listen_on(&self.conns[at].session)
                    {
                        let conn = &mut self.conns[at];
                        conn.closing = true;
                        if conn.pending_output() == 0 {
                            self.close(at);
                        }
                    }
                }
                Message::PumpReplicas => pump = true,
                Message::Retry { client, args } => {
                    if let Some(&at) = self.by_client.get(&client) {
                        self.conns[at].held = Some(args);
                        self.retry(at);
                    }
                }
            }
        }
        if let Some(listeners) = self.take_listeners()
            && let Err(error) = self.set_listeners(listeners)
        {
            crate::log::write(
                crate::log::WARNING,
                &format!("Could not listen on the new addresses: {error}"),
            );
        }
        if pump {
            self.take_replica_tasks();
            self.pump_all();
        }
    }

    /// All listening sockets, if some of them are new.
    fn take_listeners(&mut self) -> Option<Vec<Listener>> {
        if self.worker.index != 0 {
            return None;
        }
        let new = {
            let mut new = self.shared.new_listeners.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *new)
        };
        if new.is_empty() {
            return None;
        }
        let mut all = std::mem::take(&mut self.listeners);
        for (kind, listeners) in new {
            // The socket is closed, which ends its registration.
            all.retain(|listener| listener.kind() != kind);
            all.extend(listeners);
        }
        Some(all)
    }

    fn take_replica_tasks(&mut self) {
        let node = self.node();
        let tasks = node.repl.take_tasks(|client| self.by_client.contains_key(&client));
        let any = !tasks.is_empty();
        for (client, task) in tasks {
            let Some(&at) = self.by_client.get(&client) else { continue };
            let conn = &mut self.conns[at];
            let fine = match task {
                ReplicaTask::Transfer(transfer) => {
                    if node.settings.load().config.repl_disable_tcp_nodelay
                        && let Stream::Tcp(tcp) = &conn.stream
                    {
                        // Without it the connection works as well.
                        let _ = tcp.set_nodelay(false);
                    }
                    replica::start_transfer(conn, &self.shared.queues, transfer)
                }
                ReplicaTask::Stream(cursor) => {
                    conn.feed
                        .get_or_insert_with(|| Box::new(ReplicaFeed::new()))
                        .start_stream(cursor);
                    true
                }
            };
            if !fine {
                self.close(at);
            }
        }
        if any {
            self.publish_streaming();
        }
    }

    fn push(&mut self, client: u64, bytes: &[u8]) {
        let Some(&at) = self.by_client.get(&client) else { return };
        let conn = &mut self.conns[at];
        // CLIENT REPLY silences replies: a MONITOR line is one, a message is not.
        let silent = conn.session.is_monitor && conn.session.reply_mode == node::ReplyMode::Off;
        if conn.closing || silent {
            return;
        }
        self.queue(at, bytes);
        if let Some(conn) = self.conns.get_mut(at)
            && conn.account(&self.shared.node)
        {
            self.shared.node.evict_clients();
        }
    }

    fn unblock(&mut self, client: u64, ticket: u64, bytes: &[u8], position: Position) {
        let Some(&at) = self.by_client.get(&client) else { return };
        let conn = &mut self.conns[at];
        if conn.session.waiting.as_ref().is_none_or(|waiting| waiting.ticket != ticket) {
            return;
        }
        conn.session.waiting = None;
        conn.session.info.blocked.store(false, Ordering::Relaxed);
        if position > Position::START {
            conn.session.last_write = position;
            let needs = OnFile { write: position.file_position(), read: 0 };
            if !self.shared.node.aof.is_open_to(needs) {
                conn.hold_replies(needs);
                self.gated.push(at);
            }
        }
        bump(&self.worker.stats.net_output, bytes.len() as u64);
        if conn.send(bytes) == Flush::Broken {
            return self.close(at);
        }
        self.go_on(at);
    }

    /// Runs what CLIENT PAUSE held back.
    fn resume(&mut self) {
        let held: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.held.is_some()).map(|(at, _)| at).collect();
        for at in held {
            self.retry(at);
        }
    }

    fn retry(&mut self, at: usize) {
        let node = self.node();
        let Some(conn) = self.conns.get_mut(at) else { return };
        let Some(args) = conn.held.take() else { return };
        let mut reply = Reply::new(conn.session.protocol);
        self.worker.begin_turn();
        match node.handle_first(&mut self.worker, &mut conn.session, &args.as_args(), &mut reply) {
            Next::Continue | Next::Blocked => {}
            Next::Held => {
                conn.held = Some(args);
                return;
            }
            Next::Script => {
                conn.script = Script::Due(args);
                self.scripts_due.push(at);
                return;
            }
            Next::Close => conn.closing = true,
        }
        if !reply.is_empty() {
            self.hold_if_gated(at);
        }
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.send(reply.bytes()) == Flush::Broken || (conn.closing && conn.pending_output() == 0)
        {
            return self.close(at);
        }
        self.go_on(at);
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

    // ---- the gate --------------------------------------------------------------------------

    /// The replies that come next wait if what they depend on is not on disk yet.
    fn hold_if_gated(&mut self, at: usize) {
        let needs = self.worker.take_dependence();
        if !self.shared.node.aof.is_open_to(needs)
            && let Some(conn) = self.conns.get_mut(at)
        {
            conn.hold_replies(needs);
            self.gated.push(at);
        }
    }

    /// Sends the replies that need not wait any more; their connections go on.
    fn open_gate(&mut self) {
        self.gate_open = false;
        for at in std::mem::take(&mut self.gated) {
            let Some(conn) = self.conns.get_mut(at) else { continue };
            let Some(gated) = conn.gated.take() else { continue };
            if !self.shared.node.aof.is_open_to(gated.needs) {
                conn.gated = Some(gated);
                self.gated.push(at);
                continue;
            }
            if conn.send(&gated.bytes) == Flush::Broken
                || (conn.closing && conn.pending_output() == 0)
            {
                self.close(at);
                continue;
            }
            conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
            if conn.feed.is_some() {
                self.pump(at);
            }
            self.go_on(at);
        }
    }

    /// Says that replies wait, and looks whether they had to meanwhile.
    fn wait_at_gate(&mut self) {
        let aof = &self.shared.node.aof;
        aof.wait(self.worker.index);
        self.gate_open = self.gated.iter().any(|at| {
            let gated = self.conns.get(*at).and_then(|conn| conn.gated.as_ref());
            gated.is_none_or(|gated| aof.is_open_to(gated.needs))
        });
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

/// Why a new connection is not served, if it is not.
/// Source: redis 7.0 `networking.c:clientAcceptHandler`.
fn refusal(node: &Node, config: &config::Config, peer: Option<SocketAddr>) -> Option<&'static str> {
    if node.clients.len() >= config.maxclients as usize {
        return Some("-ERR max number of clients reached\r\n");
    }
    let stranger = peer.is_some_and(|peer| !addr::plain_ip(peer.ip()).is_loopback());
    let without_password = || node.access.default_user().rules().needs_no_password();
    if config.protected_mode && stranger && without_password() {
        if let Some(text) = crate::container::protected_mode_refusal() {
            return Some(text);
        }
        return Some(
            "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
             for the default user. In this mode connections are only accepted from the loopback interface. If you \
             want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just \
             disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface \
             by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly \
             accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively \
             you can just disable the protected mode by editing the Redis configuration file, and setting the protected \
             mode option to 'no', and then restarting the server. 3) If you started the server manually just for \
             testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the \
             default user. NOTE: You only need to do one of the above things in order for the server to start accepting \
             connections from the outside.\r\n",
        );
    }
    None
}

fn set_keepalive(tcp: &mio::net::TcpStream, secs: u32) {
    let interval = (secs / 3).max(1);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(secs)))
        .with_interval(Duration::from_secs(u64::from(interval)))
        .with_retries(3);
    // Without it a dead peer is found later, nothing else.
    let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
}
