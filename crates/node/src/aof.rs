//! The append-only file as the node sees it: what may be answered, what INFO tells.
//!
//! The file itself is written by the program around the node, on a thread of its own, from
//! [`replication::Log::take_file`]. It publishes here how far replies may leave: under
//! `appendfsync always` up to what is on disk, otherwise everything, unless the disk has not kept
//! up for two seconds.

use crate::{Message, Node, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

/// What the append-only file is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AofState {
    /// Off.
    Off,
    /// On.
    On,
    /// Being turned on: its first base file is written.
    WaitRewrite,
}

/// File positions that a reply depends on; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnFile {
    /// Of the connection's own writes.
    pub write: u64,
    /// Of the writes that it has seen.
    pub read: u64,
}

impl OnFile {
    /// Both.
    #[must_use]
    pub fn max(self, other: OnFile) -> OnFile {
        OnFile { write: self.write.max(other.write), read: self.read.max(other.read) }
    }
}

/// Shared state of the append-only file.
#[derive(Debug)]
pub struct Aof {
    /// Replies that depend on a file position above this wait.
    open_to: AtomicU64,
    /// Workers with replies that wait, a bit for each.
    waiting: AtomicU64,
    /// The file's thread sleeps until it is woken.
    pub parked: AtomicBool,
    state: AtomicU8,
    /// Why writes are refused, in the words of the operating system.
    error: Mutex<Option<String>>,
    has_error: AtomicBool,
    /// Bytes of all parts.
    pub current_size: AtomicU64,
    /// Bytes of all parts after the last rewrite, or at start.
    pub base_size: AtomicU64,
    /// A rewrite runs.
    pub rewriting: AtomicBool,
    /// A rewrite is to follow the save that runs.
    pub scheduled: AtomicBool,
    /// Seconds that the last rewrite took, -1 never.
    pub last_rewrite_secs: AtomicI64,
    /// Unix seconds of the start of the present one.
    pub rewrite_started: AtomicI64,
    /// The last one succeeded.
    pub last_rewrite_ok: AtomicBool,
    /// Rewrites that were begun.
    pub rewrites: AtomicU64,
    /// Rewrites that failed since the last success.
    pub rewrite_failures: AtomicU64,
    /// Times that writers were kept since the disk did not keep up.
    pub delayed: AtomicU64,
    /// The file's thread is inside a sync.
    pub syncing: AtomicBool,
    /// Bytes taken from the log and not written yet.
    pub buffered: AtomicU64,
}

impl Default for Aof {
    fn default() -> Aof {
        Aof {
            open_to: AtomicU64::new(u64::MAX),
            waiting: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            state: AtomicU8::new(0),
            error: Mutex::new(None),
            has_error: AtomicBool::new(false),
            current_size: AtomicU64::new(0),
            base_size: AtomicU64::new(0),
            rewriting: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            last_rewrite_secs: AtomicI64::new(-1),
            rewrite_started: AtomicI64::new(0),
            last_rewrite_ok: AtomicBool::new(true),
            rewrites: AtomicU64::new(0),
            rewrite_failures: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            buffered: AtomicU64::new(0),
        }
    }
}

impl Aof {
    /// What it is at.
    pub fn state(&self) -> AofState {
        match self.state.load(Ordering::Acquire) {
            0 => AofState::Off,
            1 => AofState::On,
            _ => AofState::WaitRewrite,
        }
    }

    /// It is at something else now.
    pub fn set_state(&self, state: AofState) {
        let number = match state {
            AofState::Off => 0,
            AofState::On => 1,
            AofState::WaitRewrite => 2,
        };
        self.state.store(number, Ordering::Release);
    }

    /// Writing fails, or works again (`None`). True if that is news.
    pub fn set_error(&self, reason: Option<String>) -> bool {
        let mut error = lock(&self.error);
        let news = error.is_some() != reason.is_some();
        self.has_error.store(reason.is_some(), Ordering::Release);
        *error = reason;
        news
    }

    /// Why writes are refused, if they are.
    pub fn error(&self) -> Option<String> {
        if !self.has_error.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.error).clone()
    }

    /// Whether a reply that depends on this may leave. While the disk fails, reads go on: what they
    /// show may not be on disk yet, and nobody was told that it is.
    #[inline]
    pub fn is_open_to(&self, needs: OnFile) -> bool {
        let open_to = self.open_to.load(Ordering::SeqCst);
        needs.write <= open_to && (needs.read <= open_to || self.has_error.load(Ordering::Acquire))
    }

    /// The position up to which replies may leave; `u64::MAX` without a gate.
    pub fn open_to(&self) -> u64 {
        self.open_to.load(Ordering::SeqCst)
    }

    /// A worker keeps replies; it has to look once more behind this call.
    pub fn wait(&self, worker: usize) {
        self.waiting.fetch_or(1 << worker.min(63), Ordering::SeqCst);
    }
}

impl Node {
    /// Replies may leave up to this file position; the workers that keep some are told.
    pub fn open_file_gate(&self, position: u64) {
        self.aof.open_to.store(position, Ordering::SeqCst);
        self.nudge_file_gate();
    }

    /// The workers that keep replies look whether they still have to.
    pub fn nudge_file_gate(&self) {
        let waiting = self.aof.waiting.swap(0, Ordering::SeqCst);
        for worker in 0..self.mailboxes.len().min(64) {
            if waiting >> worker & 1 == 1 {
                self.mailboxes[worker].send(Message::OpenGate);
            }
        }
    }

    /// After a change of `appendonly` or `appendfsync`: whether replies wait at all. Whoever syncs
    /// the file moves the gate on from there.
    pub fn set_file_gate(&self) {
        let always = self.settings.load().config.appendfsync == config::AppendFsync::Always;
        if self.aof.state() != AofState::On || !always {
            self.open_file_gate(u64::MAX);
        } else if self.aof.open_to() == u64::MAX {
            self.open_file_gate(self.log.synced_position());
        }
        self.wake_file();
    }

    /// The log has something for the file: its thread is woken if it sleeps.
    #[inline]
    pub fn wake_file(&self) {
        if self.aof.parked.load(Ordering::SeqCst) && self.aof.parked.swap(false, Ordering::SeqCst) {
            self.host.wake_file();
        }
    }
}
