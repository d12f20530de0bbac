//! Taking changes back: the old states that a script keeps while it might have to start again.
//!
//! A script that holds the stripes of its declared keys only may find in its middle that it needs
//! others which somebody holds. It must not wait for them while it holds some, so it has to be as
//! if it had never run. Before a command of such a script changes a key, [`Keys::keep`] copies the
//! entry, or notes that there is none; [`Keys::take_back`] puts everything back. The stripes are held
//! in between, so nobody sees either.
//!
//! Only small values are copied: the work charged to one write stays bounded. What has to be kept is
//! every key that a command may change, expired keys included; those that a mere look removes are kept
//! by the removal itself. A debug build checks that no key changes that was not kept.
//!
//! Not taken back: marks of WATCH (an EXEC may fail for nothing), access fields, notes in the index of
//! expiry times (which may be stale anyway), and what a snapshot was handed: the old state is the right
//! one, and the entry that comes back bears the mark of having been handed over.

use crate::keys::Keys;
use crate::stripe::KeyspaceStats;
use smallvec::SmallVec;
use structures::hash::hash_bytes;
use structures::{Entry, StrRef, Value, ValueRef};

/// The most bytes of a value that is copied.
const BYTES_MAX: usize = 4096;
/// The most keys of one script.
const KEYS_MAX: usize = 128;

/// A key as it was.
enum Before {
    Was(Entry),
    Absent(Box<[u8]>),
}

struct Kept {
    db: usize,
    hash: u64,
    before: Before,
}

impl Kept {
    fn is(&self, db: usize, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && self.db == db && self.key() == key
    }

    fn key(&self) -> &[u8] {
        match &self.before {
            Before::Was(entry) => entry.key(),
            Before::Absent(key) => key,
        }
    }
}

/// What was kept.
pub(crate) struct Undo {
    kept: Vec<Kept>,
    /// Counters of the held stripes at the start.
    stats: SmallVec<[KeyspaceStats; 4]>,
}

impl Undo {
    fn has(&self, db: usize, hash: u64, key: &[u8]) -> bool {
        self.kept.iter().any(|kept| kept.is(db, hash, key))
    }

    /// Keeps an entry that was just removed because its time had come; gives it back if the key's
    /// older state is kept already.
    pub(crate) fn keep_removed(&mut self, db: usize, hash: u64, entry: Entry) -> Option<Entry> {
        if self.has(db, hash, entry.key()) {
            return Some(entry);
        }
        self.kept.push(Kept { db, hash, before: Before::Was(entry) });
        None
    }
}

/// True for values whose copy costs little, whatever they hold.
fn is_small(entry: &Entry) -> bool {
    match entry.value() {
        ValueRef::Str(StrRef::Int(_)) => true,
        ValueRef::Str(StrRef::Bytes(text)) => text.len() <= BYTES_MAX,
        ValueRef::Str(StrRef::Paged(_)) => false,
        // The table counts these; see `fields.rs`.
        ValueRef::Hash(hash) if hash.knows_times() => false,
        ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Hash(_) | ValueRef::Zset(_) => {
            matches!(entry.encoding_name(), "listpack" | "intset") && entry.mem_usage() <= BYTES_MAX
        }
        ValueRef::Stream(stream) => {
            stream.nodes().len() <= 1
                && stream.groups().next().is_none()
                && entry.mem_usage() <= 2 * BYTES_MAX
        }
    }
}

/// The same entry once more.
fn copy(entry: &Entry) -> Entry {
    let value = match entry.value() {
        ValueRef::Str(_) => {
            let mut copy = entry.str_twin(entry.key());
            copy.set_access(entry.access());
            return copy;
        }
        ValueRef::List(list) => Value::List(Box::new(list.clone())),
        ValueRef::Set(set) => Value::Set(Box::new(set.clone())),
        ValueRef::Hash(hash) => Value::Hash(Box::new(hash.clone())),
        ValueRef::Zset(zset) => Value::Zset(Box::new(zset.clone())),
        ValueRef::Stream(stream) => Value::Stream(stream.clone()),
    };
    let mut copy = Entry::new(entry.key(), value, entry.stamp());
    copy.set_access(entry.access());
    copy
}

/// Taking back.
impl Keys<'_> {
    /// From now on changes can be taken back, if [`Keys::keep`] is called before each.
    pub fn begin_undo(&mut self) {
        let stats = self.held().each().map(|stripe| stripe.stats).collect();
        self.undo = Some(Box::new(Undo { kept: Vec::new(), stats }));
    }

    /// Keeps the present state of a key of [`Keys::db`], whose stripe is held. False if it is too big:
    /// then it must not be changed as long as the changes may have to be taken back.
    pub fn keep(&mut self, key: &[u8]) -> bool {
        let db = self.db;
        let Some(undo) = &self.undo else { return true };
        let hash = hash_bytes(key);
        if undo.has(db, hash, key) {
            return true;
        }
        if undo.kept.len() >= KEYS_MAX {
            return false;
        }
        let before = match self.held().of_key(hash, key).dbs[db].get(hash, key) {
            None => Before::Absent(Box::from(key)),
            Some(entry) if is_small(entry) => Before::Was(copy(entry)),
            Some(_) => return false,
        };
        if let Some(undo) = &mut self.undo {
            undo.kept.push(Kept { db, hash, before });
        }
        true
    }

    /// The changes stay; nothing is kept any more.
    pub fn end_undo(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for kept in undo.kept {
            if let Before::Was(entry) = kept.before {
                self.discard(entry);
            }
        }
    }

    /// Takes back everything since [`Keys::begin_undo`].
    pub fn take_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for Kept { db, hash, before } in undo.kept {
            let key = match &before {
                Before::Was(entry) => entry.key(),
                Before::Absent(key) => key,
            };
            let stripe = self.held().of_key(hash, key);
            let changed = stripe.dbs[db].remove(hash, key, &mut stripe.pass);
            if let Before::Was(entry) = before {
                stripe.dbs[db].insert(hash, entry);
            }
            if let Some(entry) = changed {
                self.discard(entry);
            }
        }
        for (stripe, stats) in self.held().each().zip(undo.stats) {
            stripe.stats = stats;
        }
        let trash = std::mem::take(&mut self.changes.trash);
        self.changes = crate::Changes { trash, ..crate::Changes::default() };
    }

    /// In a debug build: no key changes that was not kept.
    #[inline]
    pub(crate) fn check_kept(&self, key: &[u8]) {
        if cfg!(debug_assertions)
            && let Some(undo) = &self.undo
        {
            assert!(undo.has(self.db, hash_bytes(key), key), "a change that was not kept");
        }
    }
}

#[cfg(test)]
mod tests;
