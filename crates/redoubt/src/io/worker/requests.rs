//! From bytes that arrived to replies that are sent.
//!
//! All whole requests of a read are cut and prepared before the first of them runs, so that the
//! cache misses of their keys overlap. Whatever depends on what runs in between stays in order: a
//! connection that is not known yet has its requests cut one by one, and those left over when it
//! stops (blocked, held, closing) are forgotten and cut again.

use super::{EventLoop, READ_BYTES, REPLY_FLUSH_BYTES, bump, log_over_limit};
use crate::io::conn::{Conn, Flush};
use node::{Next, Node, Prepared, Worker};
use replication::{ConnId, MasterInput};
use resp::{Args, Batch, Limits, Reply};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

/// Requests of a connection that are prepared together. Their cache lines have to stay in the
/// first-level cache until they run.
const AHEAD: usize = 32;

/// Requests of the connection that is being served; kept to be filled again.
#[derive(Default)]
pub(super) struct Ahead {
    batch: Batch,
    prepared: Vec<Prepared>,
}

enum ReadOutcome {
    /// Nothing more for now.
    Drained,
    /// Probably more.
    More,
    /// The connection ends.
    Close,
}

impl EventLoop {
    pub(super) fn on_readable(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.closing {
            return;
        }
        conn.more_to_read = false;
        if conn.is_stopped() && conn.input.len() > READ_BYTES {
            // Not read further while it waits; looked at again when it goes on.
            conn.more_to_read = true;
            return;
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let outcome = self.read_once(at, &mut buffer);
        self.read_buffer = buffer;
        match outcome {
            ReadOutcome::Drained => {}
            ReadOutcome::More => {
                if let Some(conn) = self.conns.get_mut(at) {
                    if conn.is_stopped() {
                        conn.more_to_read = true;
                    } else {
                        self.again.push(at);
                    }
                }
            }
            ReadOutcome::Close => self.close(at),
        }
    }

    fn read_once(&mut self, at: usize, buffer: &mut [u8]) -> ReadOutcome {
        let Some(conn) = self.conns.get_mut(at) else { return ReadOutcome::Drained };
        let direct = conn.input.is_empty();
        let (result, room) =
            if direct { (conn.stream.read(buffer), buffer.len()) } else { read_into(conn) };
        let read = match result {
            Ok(0) => return ReadOutcome::Close,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadOutcome::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return ReadOutcome::More,
            Err(_) => return ReadOutcome::Close,
        };
        let stats = &self.worker.stats;
        bump(&stats.reads, 1);
        bump(&stats.net_input, read as u64);
        conn.session.info.last_active.store(self.worker.now.mono().0, Ordering::Relaxed);
        let keep = if direct {
            self.run_requests(at, &buffer[..read])
        } else {
            let mut input = std::mem::take(&mut conn.input);
            let start = conn.input_start;
            let keep = self.run_requests(at, &input[start..]);
            if let Some(conn) = self.conns.get_mut(at) {
                // `run_requests` has put what is left of the slice into `conn.input`; reuse the
                // bigger buffer when much is left.
                if conn.input.len() == input.len() - start {
                    std::mem::swap(&mut conn.input, &mut input);
                    conn.input_start = start;
                }
            }
            keep
        };
        if !keep {
            return ReadOutcome::Close;
        }
        if read == room { ReadOutcome::More } else { ReadOutcome::Drained }
    }

    /// Runs the requests in `bytes` and sends the replies; what is left goes to the connection's
    /// own buffer. False if the connection has to be closed at once.
    fn run_requests(&mut self, at: usize, bytes: &[u8]) -> bool {
        let EventLoop { shared, worker, conns, ahead, reply_buffer, .. } = self;
        let Some(conn) = conns.get_mut(at) else { return true };
        conn.input_start = 0;
        let mut reply = Reply::with_buffer(std::mem::take(reply_buffer), conn.session.protocol);
        let (used, mut alive) = run_batches(&shared.node, worker, conn, ahead, bytes, &mut reply);
        if alive && used < bytes.len() && !conn.closing {
            conn.input.clear();
            conn.input.extend_from_slice(&bytes[used..]);
        } else if conn.input.capacity() > 0 {
            conn.input = Vec::new();
        }
        conn.session.info.qbuf.store(conn.input.len() as u64, Ordering::Relaxed);
        if alive && !reply.is_empty() {
            bump(&worker.stats.writes, 1);
            alive = send(worker, conn, &reply);
        }
        conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
        if conn.closing && conn.pending_output() == 0 {
            alive = false;
        }
        let mut buffer = reply.into_bytes();
        buffer.clear();
        if buffer.capacity() > 4 * REPLY_FLUSH_BYTES {
            buffer = Vec::with_capacity(READ_BYTES);
        }
        *reply_buffer = buffer;
        alive
    }

    /// Goes on with requests that arrived while the connection waited.
    pub(super) fn go_on(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.is_stopped() {
            return;
        }
        let more = std::mem::take(&mut conn.more_to_read);
        if !conn.input.is_empty() {
            let input = std::mem::take(&mut conn.input);
            let start = conn.input_start;
            if !self.run_requests(at, &input[start..]) {
                self.close(at);
                return;
            }
        }
        if more {
            self.again.push(at);
        }
    }
}

/// Runs requests until there are no more, or the connection stops. Returns how many bytes they
/// were, and false if the connection has to be closed at once.
fn run_batches(
    node: &Node,
    worker: &mut Worker,
    conn: &mut Conn,
    ahead: &mut Ahead,
    bytes: &[u8],
    reply: &mut Reply,
) -> (usize, bool) {
    let mut used = 0;
    while !conn.is_stopped() && used < bytes.len() {
        let rest = &bytes[used..];
        let authenticated = conn.session.authenticated;
        let limits = Limits { bulk_max: worker.settings.config.proto_max_bulk_len, authenticated };
        let most = if authenticated { AHEAD } else { 1 };
        if let Err(error) = conn.decoder.decode_ahead(rest, &limits, most, &mut ahead.batch) {
            reply.error(&format!("ERR {error}"));
            conn.closing = true;
            break;
        }
        if ahead.batch.is_empty() {
            return (used, !is_too_long(worker, conn, rest));
        }
        node.prepare_batch(&conn.session, &ahead.batch, rest, &mut ahead.prepared);
        let (ran, alive) = run_batch(node, worker, conn, ahead, rest, reply);
        used += ahead.batch.end(ran - 1);
        if ran < ahead.batch.len() {
            conn.decoder.start_over();
        }
        if !alive {
            return (used, false);
        }
    }
    (used, true)
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
            Next::Continue | Next::Blocked => {}
            Next::Held => conn.held = Some(args.to_owned_args()),
            Next::Close => conn.closing = true,
        }
        if reply.len() >= REPLY_FLUSH_BYTES {
            let alive = send(worker, conn, reply);
            reply.buffer_mut().clear();
            if !alive {
                return (index + 1, false);
            }
        }
        if conn.is_stopped() {
            return (index + 1, true);
        }
    }
    (ahead.prepared.len(), true)
}

/// Sends replies. False if the connection is broken, or has too much waiting.
fn send(worker: &Worker, conn: &mut Conn, reply: &Reply) -> bool {
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
    conn.input.resize(have + room, 0);
    let result = conn.stream.read(&mut conn.input[have..]);
    let read = *result.as_ref().unwrap_or(&0);
    conn.input.truncate(have + read);
    (result, room)
}

fn is_http(args: &Args<'_>) -> bool {
    args.is(0, "post") || args.is(0, "host:")
}
