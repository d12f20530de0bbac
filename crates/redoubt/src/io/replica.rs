//! What a replica's connection is being sent: a snapshot, then the log as it grows.

use super::conn::{Conn, Flush};
use crate::os::time::{Duration, Instant};
use node::{Node, Transfer};
use replication::{Chunk, ConnId, Cursor, JobId, MasterInput};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use stdx::MonoMs;

/// A snapshot's bytes between the thread that makes them and the worker that sends them.
#[derive(Debug, Default)]
pub struct SnapshotQueue {
    state: Mutex<QueueState>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    chunks: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
    ended: bool,
    /// The reader is gone: nothing more is taken.
    closed: bool,
}

/// Bytes that may wait for one replica before the snapshot waits for it.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How often the snapshot does other work while it waits for a replica.
const IDLE: Duration = Duration::from_millis(20);

impl SnapshotQueue {
    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes; waits while the replica is slow, at most for `patience`. False if the reader is
    /// gone or too slow, or if `idle`, which is called from time to time meanwhile, says so.
    pub fn push(
        &self,
        chunk: &Arc<Vec<u8>>,
        patience: Duration,
        idle: &mut dyn FnMut() -> bool,
    ) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (now, waited) = self
                .room
                .wait_timeout_while(state, left.min(IDLE), |s| {
                    s.bytes > QUEUE_BYTES_MAX && !s.closed
                })
                .unwrap_or_else(PoisonError::into_inner);
            state = now;
            if state.closed {
                return false;
            }
            if !waited.timed_out() {
                break;
            }
            drop(state);
            if left.is_zero() || !idle() {
                return false;
            }
            state = self.lock();
        }
        state.bytes += chunk.len();
        state.chunks.push_back(Arc::clone(chunk));
        true
    }

    /// No more bytes come.
    pub fn end(&self) {
        self.lock().ended = true;
    }

    /// The reader is gone.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.chunks.clear();
        self.room.notify_all();
    }

    /// The next bytes; `Err(true)` when all were taken and no more come, `Err(false)` when there
    /// are none yet.
    fn pop(&self) -> Result<Arc<Vec<u8>>, bool> {
        let mut state = self.lock();
        match state.chunks.pop_front() {
            Some(chunk) => {
                state.bytes -= chunk.len();
                self.room.notify_all();
                Ok(chunk)
            }
            None => Err(state.ended),
        }
    }
}

/// What a replica's connection is being sent.
pub struct ReplicaFeed {
    step: Step,
}

enum Step {
    /// Nothing yet, or nothing any more.
    Idle,
    Snapshot {
        queue: Arc<SnapshotQueue>,
        /// The chunk being sent, and how much of it went out.
        current: Option<(Arc<Vec<u8>>, usize)>,
        trailer: Vec<u8>,
    },
    Log {
        cursor: Cursor,
        chunks: Vec<Chunk>,
    },
}

/// Bytes sent to one replica before other connections get their turn.
const TURN_BYTES_MAX: usize = 256 << 10;

/// What sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Nothing more to send for now, or the socket takes no more.
    Waits,
    /// There is more; come back when the others had their turn.
    More,
    /// The connection is broken, or its place in the log is gone.
    Broken,
}

impl ReplicaFeed {
    /// A feed without anything to send.
    pub fn new() -> ReplicaFeed {
        ReplicaFeed { step: Step::Idle }
    }

    /// Sends a snapshot: its header goes out with the connection's replies.
    pub fn start_transfer(&mut self, queue: Arc<SnapshotQueue>, trailer: Vec<u8>) {
        self.step = Step::Snapshot { queue, current: None, trailer };
    }

    /// Sends the log from here on.
    pub fn start_stream(&mut self, cursor: Cursor) {
        self.step = Step::Log { cursor, chunks: Vec::new() };
    }

    /// True while it follows the log.
    pub fn is_streaming(&self) -> bool {
        matches!(self.step, Step::Log { .. })
    }

    /// The connection ends.
    pub fn close(&self) {
        if let Step::Snapshot { queue, .. } = &self.step {
            queue.close();
        }
    }
}

/// Queues by snapshot and connection, for workers to find the one that a transfer names.
#[derive(Default)]
pub struct SnapshotQueues(Mutex<Vec<(JobId, u64, Arc<SnapshotQueue>)>>);

impl SnapshotQueues {
    /// Makes the queue of one replica.
    pub fn open(&self, job: JobId, conn: u64) -> Arc<SnapshotQueue> {
        let queue = Arc::new(SnapshotQueue::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((job, conn, Arc::clone(&queue)));
        queue
    }

    /// Takes the queue of one replica.
    pub fn take(&self, job: JobId, conn: u64) -> Option<Arc<SnapshotQueue>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(j, c, _)| *j == job && *c == conn)?;
        Some(all.swap_remove(at).2)
    }

    /// A replica is gone: its queues that nobody took go, too. (A snapshot may be made whole before
    /// the worker comes to take its queue, so its end is no reason to drop it.)
    pub fn drop_conn(&self, conn: u64) {
        self.drop_where(|_, c| c == conn);
    }

    fn drop_where(&self, gone: impl Fn(JobId, u64) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(job, conn, queue)| {
            let gone = gone(*job, *conn);
            if gone {
                queue.close();
            }
            !gone
        });
    }

    /// Forgets a failed snapshot's queues that nobody took.
    pub fn drop_job(&self, job: JobId) {
        self.drop_where(|j, _| j == job);
    }
}

/// Starts what the replication machine wants sent.
pub fn start_transfer(conn: &mut Conn, queues: &SnapshotQueues, transfer: Transfer) -> bool {
    let Some(queue) = queues.take(transfer.job, conn.session.id()) else { return false };
    conn.feed
        .get_or_insert_with(|| Box::new(ReplicaFeed::new()))
        .start_transfer(queue, transfer.trailer);
    conn.send(&transfer.header) != Flush::Broken
}

/// Sends what a replica has still to get, as far as its socket takes it and its turn allows.
pub fn pump(node: &Node, conn: &mut Conn, now: MonoMs, sent_total: &mut u64) -> Pumped {
    let Some(mut feed) = conn.feed.take() else { return Pumped::Waits };
    let result = pump_feed(node, conn, &mut feed, now, sent_total);
    conn.feed = Some(feed);
    result
}

fn pump_feed(
    node: &Node,
    conn: &mut Conn,
    feed: &mut ReplicaFeed,
    now: MonoMs,
    sent_total: &mut u64,
) -> Pumped {
    // Replies and status lines go first.
    match conn.flush() {
        Flush::Done => {}
        Flush::Pending => return Pumped::Waits,
        Flush::Broken => return Pumped::Broken,
    }
    let id = ConnId(conn.session.id());
    let mut sent = 0;
    let result = match &mut feed.step {
        Step::Idle => Pumped::Waits,
        Step::Snapshot { queue, current, trailer } => loop {
            if sent >= TURN_BYTES_MAX {
                break Pumped::More;
            }
            if current.is_none() {
                match queue.pop() {
                    Ok(chunk) => *current = Some((chunk, 0)),
                    Err(false) => break Pumped::Waits,
                    Err(true) => {
                        let trailer = std::mem::take(trailer);
                        if conn.send(&trailer) == Flush::Broken {
                            break Pumped::Broken;
                        }
                        feed.step = Step::Idle;
                        node.master_input(now, MasterInput::TransferDone { conn: id }, None);
                        break Pumped::Waits;
                    }
                }
            }
            let Some((chunk, done)) = current else { break Pumped::Waits };
            match write_some(conn, &chunk[*done..]) {
                Ok(0) => break Pumped::Waits,
                Ok(n) => {
                    sent += n;
                    *done += n;
                    if *done == chunk.len() {
                        *current = None;
                    }
                }
                Err(()) => break Pumped::Broken,
            }
        },
        Step::Log { cursor, chunks } => loop {
            if sent >= TURN_BYTES_MAX {
                break Pumped::More;
            }
            chunks.clear();
            match node.log.read(cursor, TURN_BYTES_MAX, chunks) {
                Ok(0) => break Pumped::Waits,
                Ok(_) => {}
                Err(_) => break Pumped::Broken,
            }
            let mut blocked = None;
            for chunk in chunks.iter() {
                match write_all_it_takes(conn, chunk) {
                    Ok(n) => {
                        sent += n;
                        cursor.advance(n);
                        if n < chunk.len() {
                            blocked = Some(Pumped::Waits);
                            break;
                        }
                    }
                    Err(()) => {
                        blocked = Some(Pumped::Broken);
                        break;
                    }
                }
            }
            if let Some(result) = blocked {
                chunks.clear();
                break result;
            }
        },
    };
    *sent_total += sent as u64;
    result
}

/// Writes as much as the socket takes; 0 means none for now.
fn write_some(conn: &mut Conn, bytes: &[u8]) -> Result<usize, ()> {
    loop {
        return match conn.stream.write(bytes) {
            Ok(0) => Err(()),
            Ok(n) => Ok(n),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => Err(()),
        };
    }
}

fn write_all_it_takes(conn: &mut Conn, bytes: &[u8]) -> Result<usize, ()> {
    let mut done = 0;
    while done < bytes.len() {
        match write_some(conn, &bytes[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
