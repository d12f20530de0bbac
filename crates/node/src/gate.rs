//! Replies that wait until the log is durable enough.
//!
//! One place for all policies: a waiter names the log position that its reply depends on and what
//! must have happened to it. WAIT is the first policy; local fsync and quorum writes join here.

use crate::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A reply that waits for replicas.
#[derive(Clone, Debug)]
pub struct GateWaiter {
    /// Ticket of the blocked connection.
    pub ticket: u64,
    /// Position that must have been acknowledged.
    pub position: u64,
    /// By so many replicas.
    pub replicas: usize,
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

    /// Takes out those for which `acked(position)` replicas are enough; returns them with that number.
    pub fn open(&self, acked: impl Fn(u64) -> usize) -> Vec<(GateWaiter, usize)> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut waiters = lock(&self.waiters);
        let mut done = Vec::new();
        waiters.retain(|_, waiter| {
            let count = acked(waiter.position);
            if count >= waiter.replicas {
                done.push((waiter.clone(), count));
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
