//! Big collections handed to a snapshot in parts, while they go on changing.
//!
//! A snapshot that meets a big collection, or a writer that is about to change one which the
//! snapshot has not met, opens a *watch* on it ([`crate::Entry::begin_parts`]): its state at that
//! moment is to be handed out, element by element, in steps of bounded work
//! ([`crate::Entry::parts_step`]). Until then every first change of an element copies that element
//! out, and no other; so what a write is charged does not depend on the size of the value.
//!
//! Tables of sets and hashes are walked in the order of bit-reversed hashes, where one number tells
//! for every element whether it had its turn, however the table grows or shrinks (see
//! `Table::scan`). What was copied out is kept by that order, too: it is handed out when the walk
//! comes there. Big sorted sets are walked by rank; see `zset/big.rs`.
//!
//! A watch that is dropped before it is through takes what it had with it. Whoever opened it counts,
//! and gives the snapshot up: better none than a wrong one.

use crate::table::TableEntry;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One element of a big collection.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A member of a set.
    Member(&'a [u8]),
    /// A field of a hash.
    Field {
        /// Its name.
        field: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// Its time.
        time: Option<i64>,
    },
    /// A member of a sorted set.
    Scored {
        /// The member.
        member: &'a [u8],
        /// Its score.
        score: f64,
    },
}

/// What whoever opens a watch wants to find again when the value's turn comes.
#[derive(Debug)]
pub struct PartsHead {
    /// Tells watches of one snapshot apart.
    pub id: u64,
    /// What stands before the elements, with the value's state when the watch began.
    pub bytes: Vec<u8>,
    /// The number that times of fields are counted from.
    pub base: Option<i64>,
    /// Counts the bytes that are held for snapshots.
    pub held: Arc<AtomicU64>,
}

/// Least cost of a step's unit, bytes: walking over nothing is work, too.
pub(crate) const COST_MIN: usize = 16;
/// What an entry of a map of touched elements takes beside the element.
const TOUCHED_BYTES: usize = 48;

/// Bytes that a watch holds, counted where the snapshot's others are.
pub(crate) struct Account {
    all: Arc<AtomicU64>,
    own: u64,
}

impl Account {
    pub(crate) fn new(head: &PartsHead) -> Account {
        Account { all: Arc::clone(&head.held), own: 0 }
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        let bytes = (bytes + TOUCHED_BYTES) as u64;
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&mut self, bytes: usize) {
        let bytes = ((bytes + TOUCHED_BYTES) as u64).min(self.own);
        self.own -= bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// An element that changed before the walk came to it.
enum Touched<E> {
    /// As it was when the watch began.
    Was(E),
    /// It was not there then.
    Born(Box<[u8]>),
}

impl<E: TableEntry> Touched<E> {
    fn key(&self) -> &[u8] {
        match self {
            Touched::Was(entry) => entry.key(),
            Touched::Born(key) => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Touched::Was(entry) => entry.copied_bytes(),
            Touched::Born(key) => key.len(),
        }
    }
}

/// The watch on a table.
///
/// Invariant: elements whose reversed hash is below the cursor's had their turn. Entries of
/// `touched` below it wait to be handed out; those from it on stand for elements that the walk skips.
pub(crate) struct Watch<E> {
    pub(crate) head: PartsHead,
    /// Where the walk stands; `None`: all buckets had their turn.
    pub(crate) cursor: Option<u64>,
    touched: BTreeMap<u64, SmallVec<[Touched<E>; 1]>>,
    account: Account,
}

impl<E: TableEntry> Watch<E> {
    pub(crate) fn new(head: PartsHead, empty: bool) -> Watch<E> {
        let account = Account::new(&head);
        let cursor = if empty { None } else { Some(0) };
        Watch { head, cursor, touched: BTreeMap::new(), account }
    }

    fn reached(&self, at: u64) -> bool {
        self.cursor.is_none_or(|cursor| at < cursor.reverse_bits())
    }

    /// True if the element's state is settled: the walk has to skip what it finds.
    pub(crate) fn knows(&self, at: u64, key: &[u8]) -> bool {
        self.touched.get(&at).is_some_and(|there| there.iter().any(|t| t.key() == key))
    }

    fn touch(&mut self, at: u64, touched: Touched<E>) {
        self.account.add(touched.bytes());
        self.touched.entry(at).or_default().push(touched);
    }

    /// An element is about to change or to go.
    #[cold]
    pub(crate) fn before_change(&mut self, hash: u64, entry: &E) {
        let at = hash.reverse_bits();
        if !self.reached(at)
            && !self.knows(at, entry.key())
            && let Some(twin) = entry.twin()
        {
            self.touch(at, Touched::Was(twin));
        }
    }

    /// An element is about to come.
    #[cold]
    pub(crate) fn before_birth(&mut self, hash: u64, key: &[u8]) {
        let at = hash.reverse_bits();
        if !self.reached(at) && !self.knows(at, key) {
            self.touch(at, Touched::Born(key.into()));
        }
    }

    /// Hands out what was copied out before the cursor's place; the cost, or `None` without any.
    pub(crate) fn pop_due(&mut self, f: &mut dyn FnMut(&E) -> usize) -> Option<usize> {
        let first = self.touched.first_entry()?;
        if self.cursor.is_some_and(|cursor| *first.key() >= cursor.reverse_bits()) {
            return None;
        }
        let mut cost = COST_MIN;
        for touched in first.remove() {
            self.account.sub(touched.bytes());
            if let Touched::Was(entry) = touched {
                cost += f(&entry);
            }
        }
        Some(cost)
    }
}
