//! From bytes that arrived to replies that are sent.
//!
//! Whole requests, of one read or of several connections that are ready together, are cut and
//! prepared before the first of them runs, so that the cache misses of their keys overlap. Whatever
//! depends on what runs in between stays in order: a connection that is not known yet has its
//! requests cut one by one, and those left over when it stops (blocked, held, closing) are
//! forgotten and cut again.

use super::{EventLoop, READ_BYTES, REPLY_FLUSH_BYTES, bump, log_over_limit};
use crate::io::conn::{Conn, Flush, Script};
use node::{Next, Node, Prepared, Worker};
use replication::{ConnId, MasterInput};
use resp::{Args, Batch, Limits, ProtocolError, Reply};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

/// Requests that are prepared together, about. Their cache lines have to stay in the first-level
/// cache until they run.
const AHEAD: usize = 32;

/// Requests of one connection, cut and prepared. Empty unless they wait to be run.
#[derive(Default)]
pub(super) struct Ahead {
    batch: Batch,
    prepared: Vec<Prepared>,
}

impl Ahead {
    /// Cuts the next requests of a connection. What is left of `bytes` begins behind them.
    fn cut(
        &mut self,
        node: &Node,
        worker: &Worker,
        conn: &mut Conn,
        bytes: &[u8],
    ) -> Result<(), ProtocolError> {
        let authenticated = !node.must_authenticate(&conn.session);
        let limits = Limits { bulk_max: worker.settings.config.proto_max_bulk_len, authenticated };
        let most = if authenticated && !conn.runs_scripts { AHEAD } else { 1 };
        conn.decoder.decode_ahead(bytes, &limits, most, &mut self.batch)?;
        node.prepare_batch(&conn.session, &self.batch, bytes, &mut self.prepared);
        Ok(())
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.prepared.clear();
    }
}

/// What was read of several connections and is to be run next.
#[derive(Default)]
pub(super) struct Round {
    bytes: Vec<u8>,
    /// End of what was read.
    end: usize,
    arrived: Vec<Arrived>,
    /// For each of `arrived` its first requests; longer, to be used again.
    aheads: Vec<Ahead>,
    /// Requests in them.
    requests: usize,
}

/// What was read of one connection.
struct Arrived {
    at: usize,
    start: usize,
    end: usize,
}

impl Round {
    /// An empty round with room for what it will hold.
    pub(super) fn new() -> Round {
        Round { bytes: vec![0; 2 * READ_BYTES], ..Round::default() }
    }
}

impl EventLoop {
    /// Reads what a connection has sent. It is run by the next [`EventLoop::run_round`], for which
    /// several connections are collected.
    pub(super) fn on_readable(&mut self, at: usize) {
        if self.conns.get(at).is_some_and(|conn| conn.in_round) {
            self.run_round();
        }
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.closing {
            return self.finish_handshake(at);
        }
        conn.more_to_read = false;
        if conn.is_stopped() && conn.input.len() > READ_BYTES {
            // Not read further while it waits; looked at again when it goes on.
            conn.more_to_read = true;
            return;
        }
        if conn.input.is_empty() {
            self.read_to_round(at);
        } else {
            self.read_to_conn(at);
        }
    }

    fn read_to_round(&mut self, at: usize) {
        let EventLoop { conns, round, .. } = self;
        let Some(conn) = conns.get_mut(at) else { return };
        let start = round.end;
        let result = conn.stream.read(&mut round.bytes[start..start + READ_BYTES]);
        let Some(read) = self.note_read(at, result) else { return };
        let EventLoop { shared, worker, conns, round, .. } = self;
        round.end = start + read;
        let Some(conn) = conns.get_mut(at) else { return };
        conn.in_round = true;
        if round.aheads.len() == round.arrived.len() {
            round.aheads.push(Ahead::default());
        }
        let ahead = &mut round.aheads[round.arrived.len()];
        if !conn.is_stopped()
            && ahead.cut(&shared.node, worker, conn, &round.bytes[start..round.end]).is_err()
        {
            // Found again, and said, when its turn comes.
            ahead.clear();
        }
        round.requests += ahead.batch.len();
        round.arrived.push(Arrived { at, start, end: round.end });
        if round.requests >= AHEAD || round.end > READ_BYTES {
            self.run_round();
        }
    }

    /// Runs what was read of several connections.
    pub(super) fn run_round(&mut self) {
        if self.round.arrived.is_empty() {
            return;
        }
        let mut round = std::mem::take(&mut self.round);
        if round.requests > 1 {
            let aheads = &round.aheads[..round.arrived.len()];
            self.shared.node.prefetch(aheads.iter().flat_map(|ahead| &ahead.prepared));
        }
        for (arrived, ahead) in round.arrived.iter().zip(&mut round.aheads) {
            let bytes = &round.bytes[arrived.start..arrived.end];
            let (used, keep) = self.run_requests(arrived.at, bytes, ahead);
            if let Some(conn) = self.conns.get_mut(arrived.at)
                && used < bytes.len()
            {
                conn.input.extend_from_slice(&bytes[used..]);
            }
            self.after_read(arrived.at, keep, arrived.end - arrived.start == READ_BYTES);
        }
        round.arrived.clear();
        (round.end, round.requests) = (0, 0);
        self.round = round;
    }

    /// Reads behind the part of a request that has arrived already, and runs what is whole.
    fn read_to_conn(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        let (result, room) = read_into(conn);
        let Some(read) = self.note_read(at, result) else { return };
        let keep = self.run_input(at);
        self.after_read(at, keep, read == room);
    }

    /// Runs what is in a connection's own buffer. False if the connection has to be closed at once.
    fn run_input(&mut self, at: usize) -> bool {
        let Some(conn) = self.conns.get_mut(at) else { return true };
        let input = std::mem::take(&mut conn.input);
        let start = conn.input_start;
        let mut ahead = std::mem::take(&mut self.ahead);
        let (used, keep) = self.run_requests(at, &input[start..], &mut ahead);
        self.ahead = ahead;
        if let Some(conn) = self.conns.get_mut(at)
            && start + used < input.len()
        {
            conn.input = input;
            conn.input_start = start + used;
        }
        keep
    }

    /// Counts what a read has brought; nothing if there is nothing to run.
    fn note_read(&mut self, at: usize, result: std::io::Result<usize>) -> Option<usize> {
        match result {
            Ok(read) if read > 0 => {
                bump(&self.worker.stats.reads, 1);
                bump(&self.worker.stats.net_input, read as u64);
                let now = self.worker.now.mono().0;
                self.conns[at].session.info.last_active.store(now, Ordering::Relaxed);
                return Some(read);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.again.push(at),
            Ok(_) => self.close(at),
            Err(error) => {
                super::secure::say_read_failed(&self.conns[at], &error);
                self.close(at);
            }
        }
        None
    }

    /// After the requests of a read: the connection ends, or may have more to be read.
    fn after_read(&mut self, at: usize, keep: bool, more: bool) {
        if !keep {
            self.close(at);
        } else if let Some(conn) = self.conns.get_mut(at)
            && (more || conn.stream.has_more())
        {
            if conn.is_stopped() {
                conn.more_to_read = true;
            } else {
                self.again.push(at);
            }
        }
    }

    /// Runs the requests in `bytes` and sends the replies. Returns how much of `bytes` is done with (the
    /// rest belongs into the connection's own buffer), and false if the connection has to be closed at
    /// once.
    fn run_requests(&mut self, at: usize, bytes: &[u8], ahead: &mut Ahead) -> (usize, bool) {
        let EventLoop { shared, worker, conns, reply_buffer, scripts_due, gated, .. } = self;
        let Some(conn) = conns.get_mut(at) else { return (bytes.len(), true) };
        worker.begin_turn();
        conn.input_start = 0;
        conn.argv_bytes = 0;
        conn.in_round = false;
        worker.stats.serving.store(conn.session.id(), Ordering::Relaxed);
        let mut reply = Reply::with_buffer(std::mem::take(reply_buffer), conn.session.protocol);
        let (used, mut alive) = run_batches(&shared.node, worker, conn, ahead, bytes, &mut reply);
        let used = if alive && !conn.closing { used } else { bytes.len() };
        if conn.input.capacity() > 0 {
            conn.input = Vec::new();
        }
        conn.session.info.qbuf.store((bytes.len() - used) as u64, Ordering::Relaxed);
        if matches!(conn.script, Script::Due(_)) {
            scripts_due.push(at);
        }
        if alive && !reply.is_empty() {
            bump(&worker.stats.writes, 1);
            alive = send(&shared.node, worker, conn, &reply);
        }
        if conn.gated.is_some() {
            gated.push(at);
        }
        conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
        if conn.account(&shared.node) {
            shared.node.evict_clients();
        }
        if conn.leaving && used == bytes.len() && !conn.is_stopped() {
            conn.closing = true;
        }
        if conn.closing && conn.pending_output() == 0 {
            alive = false;
        }
        let mut buffer = reply.into_bytes();
        buffer.clear();
        if buffer.capacity() > 4 * REPLY_FLUSH_BYTES {
            buffer = Vec::with_capacity(READ_BYTES);
        }
        *reply_buffer = buffer;
        (used, alive)
    }

    /// Goes on with requests that arrived while the connection waited.
    pub(super) fn go_on(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.is_stopped() {
            return;
        }
        let more = std::mem::take(&mut conn.more_to_read);
        if !conn.input.is_empty() && !self.run_input(at) {
            self.close(at);
            return;
        }
        if more {
            self.again.push(at);
        }
    }
}

/// Runs requests until there are no more, or the connection stops; the first of them may be cut
/// already. Returns how many bytes they were, and false if the connection has to be closed at once.
fn run_batches(
    node: &Node,
    worker: &mut Worker,
    conn: &mut Conn,
    ahead: &mut Ahead,
    bytes: &[u8],
    reply: &mut Reply,
) -> (usize, bool) {
    let (mut used, mut alive) = (0, true);
    while alive && !conn.is_stopped() && used < bytes.len() {
        let rest = &bytes[used..];
        if ahead.batch.is_empty() {
            if let Err(error) = ahead.cut(node, worker, conn, rest) {
                reply.error(&format!("ERR {error}"));
                conn.closing = true;
                break;
            }
            if ahead.batch.is_empty() {
                alive = !is_too_long(worker, conn, rest);
                break;
            }
            if ahead.prepared.len() > 1 {
                node.prefetch(ahead.prepared.iter());
            }
        }
        let ran;
        (ran, alive) = run_batch(node, worker, conn, ahead, rest, reply);
        used += ahead.batch.end(ran - 1);
        conn.runs_scripts &= matches!(conn.script, Script::Due(_));
        if ran < ahead.batch.len() {
            conn.decoder.start_over();
        }
        ahead.clear();
    }
    if !ahead.batch.is_empty() {
        // The connection stopped before its turn came.
        conn.decoder.start_over();
        ahead.clear();
    }
    (used, alive)
}

/// Runs the requests of a batch, at least one. Returns how many ran, and false if the connection has
/// to be closed at once.
fn run_batch(
    node: &Node,
    worker: &mut Worker,
    conn: &mut Conn,
    ahead: &Ahead,
    bytes: &[u8],
    reply: &mut Reply,
) -> (usize, bool) {
    for (index, prepared) in ahead.prepared.iter().enumerate() {
        let args = ahead.batch.args(index, bytes);
        if args.is_empty() {
            if conn.session.is_replica {
                let conn_id = ConnId(conn.session.id());
                node.master_input(worker.now.mono(), MasterInput::Newline { conn: conn_id }, None);
            }
            continue;
        }
        if prepared.command.is_none() && is_http(&args) {
            crate::log::write(crate::log::WARNING, HTTP_WARNING);
            return (index + 1, false);
        }
        match node.handle_prepared(worker, &mut conn.session, *prepared, &args, reply) {
            Next::Continue => {}
            Next::Blocked => conn.argv_bytes = bytes_of(&args),
            Next::Held => {
                conn.argv_bytes = bytes_of(&args);
                conn.held = Some(args.to_owned_args());
            }
            Next::Script => {
                conn.argv_bytes = bytes_of(&args);
                conn.script = Script::Due(args.to_owned_args());
            }
            Next::Close => conn.closing = true,
        }
        if reply.len() >= REPLY_FLUSH_BYTES {
            let alive = send(node, worker, conn, reply);
            reply.buffer_mut().clear();
            conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
            if conn.account(node) {
                node.evict_clients();
            }
            if !alive || conn.session.info.killed.load(Ordering::Relaxed) {
                return (index + 1, false);
            }
        }
        if conn.is_stopped() {
            return (index + 1, true);
        }
    }
    (ahead.prepared.len(), true)
}

/// Sends replies, or keeps them until what they depend on is on disk. False if the connection is
/// broken, or has too much waiting.
fn send(node: &Node, worker: &mut Worker, conn: &mut Conn, reply: &Reply) -> bool {
    if worker.depends_on_file() {
        let needs = worker.take_dependence();
        if !node.aof.is_open_to(needs) {
            conn.hold_replies(needs);
        }
    }
    bump(&worker.stats.net_output, reply.len() as u64);
    if conn.send(reply.bytes()) == Flush::Broken {
        return false;
    }
    if conn.over_limit(&worker.settings.config, worker.now.mono().0) {
        log_over_limit(conn);
        return false;
    }
    true
}

/// True if the connection has sent too much without a whole request.
fn is_too_long(worker: &Worker, conn: &Conn, bytes: &[u8]) -> bool {
    let too_long = bytes.len() as u64 > worker.settings.config.client_query_buffer_limit;
    if too_long {
        let id = conn.session.id();
        crate::log::write(
            crate::log::WARNING,
            &format!("Closing client that reached max query buffer length: id={id}"),
        );
    }
    too_long
}

const HTTP_WARNING: &str = "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. Connection aborted.";

/// Reads behind the bytes that the connection has already; returns how much room there was.
fn read_into(conn: &mut Conn) -> (std::io::Result<usize>, usize) {
    if conn.input_start > 0 {
        conn.input.drain(..conn.input_start);
        conn.input_start = 0;
    }
    let have = conn.input.len();
    // A request that is arriving in many pieces doubles its buffer, so that copying stays linear.
    let room = have.clamp(READ_BYTES, 16 << 20);
    conn.input.reserve_exact(room);
    conn.input.resize(have + room, 0);
    let result = conn.stream.read(&mut conn.input[have..]);
    let read = *result.as_ref().unwrap_or(&0);
    conn.input.truncate(have + read);
    (result, room)
}

fn bytes_of(args: &Args<'_>) -> usize {
    args.iter().map(<[u8]>::len).sum()
}

fn is_http(args: &Args<'_>) -> bool {
    args.is(0, "post") || args.is(0, "host:")
}
