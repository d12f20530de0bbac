//! What has to be taken out of a stripe, but can wait: a connection that ends while a script holds
//! all stripes must not wait for the script.

use crate::{Node, lock};
use keyspace::{StripeMask, WatchFlag};
use std::sync::Arc;

/// Something to be taken out of a stripe.
#[derive(Debug)]
pub(crate) enum Later {
    /// A watch.
    Unwatch {
        /// Database.
        db: usize,
        /// Key.
        key: Box<[u8]>,
        /// Whose watch.
        flag: Arc<WatchFlag>,
    },
    /// A place in a key's queue.
    StopWaiting {
        /// Database.
        db: usize,
        /// Key.
        key: Box<[u8]>,
        /// Whose place.
        ticket: u64,
    },
}

impl Node {
    /// Takes it out, now or when the running script has ended. Call it without stripes held.
    pub(crate) fn forget(&self, what: Later) {
        let (Later::Unwatch { key, .. } | Later::StopWaiting { key, .. }) = &what;
        let stripe = self.keyspace.stripe_of(key);
        let give_up = || self.scripts.is_busy();
        match self.keyspace.hold_unless(StripeMask::of(stripe), &give_up) {
            None => lock(&self.scripts.later).push(what),
            Some(mut held) => match what {
                Later::Unwatch { db, key, flag } => held.stripe(stripe).unwatch(db, &key, &flag),
                Later::StopWaiting { db, key, ticket } => {
                    held.stripe(stripe).stop_waiting(db, &key, ticket);
                }
            },
        }
    }

    /// Does what had to wait. Call it without stripes held.
    #[inline]
    pub(crate) fn do_later(&self) {
        if self.scripts.has_later() {
            let waiting = std::mem::take(&mut *lock(&self.scripts.later));
            waiting.into_iter().for_each(|what| self.forget(what));
        }
    }
}
