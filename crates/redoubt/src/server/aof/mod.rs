//! The append-only file: its folder, its thread, loading it.
//!
//! One thread owns the files. It takes what the log has for it, writes it with a checksum behind
//! each batch, and syncs as `appendfsync` says; no worker ever waits in a call of the file system.
//! Replies that depend on the disk wait at the gate ([`node::Aof`]).

pub mod files;
pub mod load;
mod writer;

pub use files::Files;
pub use writer::Writer;

use crate::os::mpsc::{Sender, channel};
use crate::os::thread::Thread;
use crate::os::time::{Duration, Instant};
use node::{AofState, Node};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What the thread of the file is asked to do.
pub enum AofTask {
    /// `appendonly yes` at run time: is there a folder to write into?
    Start(Sender<Result<(), String>>),
    /// `appendonly no`.
    Stop,
    /// A base file was written, or could not be.
    Rewritten {
        /// The pass that it is from.
        generation: u64,
        /// What came of it.
        result: Result<NewBase, String>,
    },
    /// Write and sync everything (SHUTDOWN, DEBUG LOADAOF).
    Sync(Sender<Result<(), String>>),
}

/// A base file that was written.
pub struct NewBase {
    /// Where it lies for now.
    pub temp: PathBuf,
    /// It is an RDB.
    pub rdb: bool,
    /// The pass that it is from.
    pub generation: u64,
}

/// A call of the file system that takes this long under `everysec` makes writers wait.
const STALL: Duration = Duration::from_secs(2);

/// Ways to the thread of the file.
#[derive(Default)]
pub struct AofControl {
    tasks: Mutex<Vec<AofTask>>,
    thread: OnceLock<Thread>,
    busy: Mutex<Busy>,
    /// File position that has been written, synced or not.
    written: AtomicU64,
    /// Counts the rewrites that were begun and those that were called off.
    generation: AtomicU64,
    /// Stream offset that the thread has seen.
    seen_offset: AtomicU64,
    /// A rewrite was begun and its job has not run yet.
    pub asked: AtomicBool,
}

#[derive(Default)]
struct Busy {
    since: Option<Instant>,
    stalled: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AofControl {
    /// Gives the thread something to do.
    pub fn task(&self, task: AofTask) {
        lock(&self.tasks).push(task);
        self.wake();
    }

    /// Lets the thread go on.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Writes and syncs everything that the log has, and waits for it.
    pub fn sync_and_wait(&self) -> Result<(), String> {
        self.ask(AofTask::Sync)
    }

    /// Gives it a task with an answer, and waits for that.
    pub fn ask(
        &self,
        task: impl FnOnce(Sender<Result<(), String>>) -> AofTask,
    ) -> Result<(), String> {
        let (answer, done) = channel();
        self.task(task(answer));
        done.recv().unwrap_or_else(|_| Err("the thread of the append-only file is gone".into()))
    }

    fn take_tasks(&self) -> Vec<AofTask> {
        std::mem::take(&mut *lock(&self.tasks))
    }

    fn has_tasks(&self) -> bool {
        !lock(&self.tasks).is_empty()
    }

    /// The number of a rewrite that begins now.
    pub fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// True if this rewrite is still wanted.
    pub fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// A call of the file system that may take long begins.
    fn begin_call(&self) {
        lock(&self.busy).since = Some(Instant::now());
    }

    /// It is over: writers that were kept go on.
    fn end_call(&self, node: &Node) {
        let mut busy = lock(&self.busy);
        busy.since = None;
        if std::mem::take(&mut busy.stalled) {
            node.open_file_gate(u64::MAX);
        }
    }

    /// Under `everysec`, a disk that has not answered for two seconds makes those who write wait
    /// until it does. Call it from time to time.
    pub fn watch(&self, node: &Node) {
        if node.aof.state() != AofState::Off
            && self.seen_offset.load(Ordering::Relaxed) != node.log.offset()
        {
            // Keepalives wake nobody, but the file has to tell of them.
            node.wake_file();
        }
        let mut busy = lock(&self.busy);
        let late = busy.since.is_some_and(|since| since.elapsed() > STALL);
        let config = &node.settings.load().config;
        if late && !busy.stalled && config.appendfsync == config::AppendFsync::Everysec {
            busy.stalled = true;
            node.aof.delayed.fetch_add(1, Ordering::Relaxed);
            crate::log::write(
                crate::log::NOTICE,
                "Asynchronous AOF fsync is taking too long (disk is busy?). Writers wait until the disk answers, this may slow down Redis.",
            );
            node.open_file_gate(self.written.load(Ordering::Acquire));
        }
    }
}
