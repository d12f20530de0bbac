//! Replies that wait until the log is durable enough.
//!
//! One place for all policies: a waiter names the log position that its reply depends on and what
//! must have happened to it. WAIT and WAITAOF are such policies. Replies that wait for the disk
//! under `appendfsync always` are too many to be looked at one by one; they wait with their
//! connections, see [`crate::Aof`].

use crate::lock;
use replication::Position;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A reply that waits.
#[derive(Clone, Debug)]
pub struct GateWaiter {
    /// Ticket of the blocked connection.
    pub ticket: u64,
    /// What it waits for.
    pub wants: Durability,
}

/// What must have happened to a position.
#[derive(Clone, Copy, Debug)]
pub struct Durability {
    /// The position.
    pub position: Position,
    /// So many replicas have acknowledged it.
    pub replicas: usize,
    /// On disk: here too if it is true, and on those replicas (WAITAOF). `None`: in memory (WAIT).
    pub on_disk: Option<bool>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Replicas that have acknowledged, in the sense of the wait.
    pub replicas: usize,
    /// It is on the disk of this node.
    pub local: bool,
}

impl Durability {
    /// Whether that is enough.
    pub fn is_met(&self, progress: Progress) -> bool {
        progress.replicas >= self.replicas && (progress.local || self.on_disk != Some(true))
    }
}

/// Everything that waits.
#[derive(Default)]
pub struct Gate {
    waiters: Mutex<BTreeMap<u64, GateWaiter>>,
    count: AtomicUsize,
}

impl Gate {
    /// Adds a waiter.
    pub fn add(&self, waiter: GateWaiter) {
        let mut waiters = lock(&self.waiters);
        waiters.insert(waiter.ticket, waiter);
        self.count.store(waiters.len(), Ordering::Release);
    }

    /// Takes a waiter out, whatever it waits for.
    pub fn remove(&self, ticket: u64) -> Option<GateWaiter> {
        let mut waiters = lock(&self.waiters);
        let found = waiters.remove(&ticket);
        self.count.store(waiters.len(), Ordering::Release);
        found
    }

    /// Takes out those who have waited enough; returns them with how far things have come.
    pub fn open(&self, progress: impl Fn(&Durability) -> Progress) -> Vec<(GateWaiter, Progress)> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut waiters = lock(&self.waiters);
        let mut done = Vec::new();
        waiters.retain(|_, waiter| {
            let now = progress(&waiter.wants);
            if waiter.wants.is_met(now) {
                done.push((waiter.clone(), now));
                return false;
            }
            true
        });
        self.count.store(waiters.len(), Ordering::Release);
        done
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}
