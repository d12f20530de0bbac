//! One stripe's part of one database: table, expiry index, and the snapshot's position in it.
//!
//! Every change of an entry goes through here, so that a running snapshot sees the old state first
//! and the count of volatile keys stays right.

use crate::snapshot::{Fate, StripePass, TablePass};
use structures::{Entry, ExpireIndex, Table};

/// What happens to a key's expiry time when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTtl {
    /// The key lives on without one.
    Clear,
    /// It stays as it was.
    Keep,
    /// It becomes this Unix time in milliseconds.
    At(i64),
}

/// Where a string went.
pub(crate) enum Stored {
    /// The key is new.
    New,
    /// Over another string.
    Over,
    /// In place of this collection, which may take long to free.
    Instead(Entry),
}

/// One stripe's part of one database.
#[derive(Default)]
pub struct DbStripe {
    pub(crate) table: Table<Entry>,
    pub(crate) expires: ExpireIndex,
    /// Keys that have an expiry time.
    pub(crate) volatile: usize,
    /// Notes of hashes whose fields have times; see `fields.rs`.
    pub(crate) fields: ExpireIndex,
    /// Hashes that have fields with a time.
    pub(crate) timed_hashes: usize,
    pub(crate) pass: Option<TablePass>,
}

impl DbStripe {
    /// Keys, expired ones that nobody has removed yet included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True without any key.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Keys that have an expiry time.
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// The table, for reading.
    pub fn table(&self) -> &Table<Entry> {
        &self.table
    }

    /// The expiry index, for reading.
    pub fn expires(&self) -> &ExpireIndex {
        &self.expires
    }

    /// The entry, for reading.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.get(hash, key)
    }

    /// The entry, for a change of its access bits only: not a write for the snapshot.
    #[inline]
    pub(crate) fn get_touch(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        self.table.get_mut(hash, key)
    }

    /// The entry, for writing.
    #[inline]
    pub(crate) fn get_write(
        &mut self,
        hash: u64,
        key: &[u8],
        pass: &mut Option<StripePass>,
    ) -> Option<&mut Entry> {
        let entry = self.table.get_mut(hash, key)?;
        if let (Some(stripe), Some(table)) = (pass, &self.pass)
            && !table.reached(hash)
            && !entry.mark()
        {
            stripe.before_change(table.db_at_start, entry);
        }
        Some(entry)
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn insert(&mut self, hash: u64, mut entry: Entry) -> &mut Entry {
        entry.set_mark(self.pass.is_some_and(|pass| !pass.reached(hash)));
        if let Some(at) = entry.stamp() {
            self.volatile += 1;
            self.expires.insert(at, hash);
        }
        let DbStripe { table, fields, timed_hashes, .. } = self;
        let entry = table.insert_new(hash, entry);
        DbStripe::note_new(entry, hash, fields, timed_hashes);
        entry
    }

    /// Takes an entry out for good. A running snapshot may have kept the value: then the entry is a
    /// stub with its key.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        key: &[u8],
        pass: &mut Option<StripePass>,
    ) -> Option<Entry> {
        self.take_out(hash, key, pass, Fate::Dropped)
    }

    /// Takes an entry out whose value lives on elsewhere.
    pub(crate) fn take(
        &mut self,
        hash: u64,
        key: &[u8],
        pass: &mut Option<StripePass>,
    ) -> Option<Entry> {
        self.take_out(hash, key, pass, Fate::Kept)
    }

    fn take_out(
        &mut self,
        hash: u64,
        key: &[u8],
        pass: &mut Option<StripePass>,
        fate: Fate,
    ) -> Option<Entry> {
        let mut entry = self.table.remove(hash, key)?;
        self.after_removal(hash, &mut entry, pass, fate);
        Some(entry)
    }

    fn after_removal(
        &mut self,
        hash: u64,
        entry: &mut Entry,
        pass: &mut Option<StripePass>,
        fate: Fate,
    ) {
        let marked = entry.mark();
        entry.set_mark(false);
        if entry.stamp().is_some() {
            self.volatile -= 1;
        }
        self.forget_fields(entry);
        if let (Some(stripe), Some(table)) = (pass, &self.pass) {
            let settled = marked || table.reached(hash);
            stripe.before_removal(table.db_at_start, settled, entry, fate);
        }
    }

    /// Sets or clears the expiry time of an entry; true if the key is there.
    pub(crate) fn set_expire(
        &mut self,
        hash: u64,
        key: &[u8],
        at: Option<i64>,
        pass: &mut Option<StripePass>,
    ) -> bool {
        let Some(entry) = self.get_write(hash, key, pass) else { return false };
        let old = entry.stamp();
        entry.set_stamp(at);
        self.note_stamp(hash, old, at);
        true
    }

    fn note_stamp(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        self.volatile = self.volatile + usize::from(new.is_some()) - usize::from(old.is_some());
        if let Some(at) = new {
            // A longer life needs no new note: the old one puts the key back when its tick comes.
            if old.is_none_or(|old| at < old) {
                self.expires.insert(at, hash);
            }
        }
    }

    /// Sets a string, in place where the key holds one, and its access field.
    #[inline]
    pub(crate) fn set_str(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        ttl: SetTtl,
        access: u32,
        pass: &mut Option<StripePass>,
    ) -> Stored {
        let Some(entry) = self.table.get_mut(hash, key) else {
            let at = if let SetTtl::At(at) = ttl { Some(at) } else { None };
            let mut entry = Entry::new_str(key, value, at);
            entry.set_access(access);
            self.insert(hash, entry);
            return Stored::New;
        };
        let old = entry.stamp();
        let mut settled = true;
        if let (Some(stripe), Some(table)) = (&mut *pass, &self.pass)
            && !table.reached(hash)
            && !entry.mark()
        {
            // A collection is handed over by pointer, below.
            settled = entry.is_str();
            if settled {
                stripe.before_change(table.db_at_start, entry);
            }
        }
        let mut stored = if entry.is_str() {
            entry.replace_str(value, true);
            Stored::Over
        } else {
            let mut fresh = Entry::new_str(key, value, old);
            fresh.set_mark(self.pass.is_some_and(|table| !table.reached(hash)));
            let mut collection = std::mem::replace(entry, fresh);
            collection.set_mark(false);
            Stored::Instead(collection)
        };
        entry.set_access(access);
        let at = match ttl {
            SetTtl::Keep => old,
            SetTtl::Clear => None,
            SetTtl::At(at) => Some(at),
        };
        if at != old {
            entry.set_stamp(at);
            self.note_stamp(hash, old, at);
        }
        if let Stored::Instead(collection) = &mut stored {
            self.forget_fields(collection);
            if let (Some(stripe), Some(table)) = (pass, &self.pass) {
                stripe.before_removal(table.db_at_start, settled, collection, Fate::Dropped);
            }
        }
        stored
    }

    /// Removes the keys of one due note of the index whose time is at or before `now` into `out`;
    /// keys that live longer are noted again. False when nothing is due.
    pub(crate) fn expire_one(
        &mut self,
        now: i64,
        pass: &mut Option<StripePass>,
        out: &mut Vec<Entry>,
    ) -> bool {
        let Some(low) = self.expires.pop_due(now) else { return false };
        let before = out.len();
        let mut again: Vec<(i64, u64)> = Vec::new();
        self.table.extract_if_hash32(
            low,
            &mut |entry: &Entry| {
                let Some(at) = entry.stamp() else { return false };
                if at > now {
                    // Its neighbours in the bucket have notes of their own.
                    let hash = structures::hash::hash_bytes(entry.key());
                    if hash as u32 == low {
                        again.push((at, hash));
                    }
                }
                at <= now
            },
            out,
        );
        for (at, hash) in again {
            self.expires.insert(at, hash);
        }
        for entry in &mut out[before..] {
            let hash = structures::hash::hash_bytes(entry.key());
            self.after_removal(hash, entry, pass, Fate::Dropped);
        }
        true
    }

    /// Rebuilds the index when most of its notes are stale.
    pub(crate) fn compact_expires(&mut self) {
        if self.expires.len() < 4096 || self.expires.len() < self.volatile * 3 {
            return;
        }
        self.expires.clear();
        let mut notes = Vec::with_capacity(self.volatile);
        for entry in self.table.iter() {
            if let Some(at) = entry.stamp() {
                notes.push((at, structures::hash::hash_bytes(entry.key())));
            }
        }
        for (at, hash) in notes {
            self.expires.insert(at, hash);
        }
    }

    /// Bytes of the table and index, without the entries.
    pub fn overhead(&self) -> usize {
        self.table.mem_usage() + self.expires.mem_usage() + self.fields.mem_usage()
    }
}
