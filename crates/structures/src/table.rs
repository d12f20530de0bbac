//! The hash table under the keyspace and under big sets, hashes and sorted sets.
//!
//! # Shape
//!
//! A table is a row of buckets of one cache line (64 bytes):
//!
//! ```text
//! byte    0        1 .. 7                  8 .. 63
//!         chained  one tag per slot        7 slots, one owning pointer each
//! ```
//!
//! A tag is the top byte of the key's hash, never 0; tag 0 means that the slot is free. A lookup
//! compares all seven tags at once and touches an entry only when its tag matches: one bucket line
//! and one entry line, with a wrong entry in about one lookup of forty. A full bucket gives up its
//! last slot for a pointer to a child: half a bucket (32 bytes, 3 slots) first, a whole one when
//! that is full, and so on.
//!
//! # Growth without a second table
//!
//! The table grows by one bucket at a time (linear hashing, Litwin 1980). With `n` buckets,
//! `2^L < n <= 2^(L+1)`, a hash belongs to the bucket named by its low `L + 1` bits, or by its
//! low `L` bits where that bucket does not exist yet. An insertion that would bring the average
//! above [`GROW_AT`] entries per bucket first splits one bucket in two; a removal that leaves fewer
//! than [`SHRINK_AT`] merges the last bucket back. So there is never a big move, a lookup never
//! has two tables to search, and memory follows the number of keys closely: about 12.5 bytes per
//! key at every size, where doubling would swing between 11 and 19.
//!
//! Buckets live in segments, four per doubling and at most 4 MiB long, that are never moved or copied. A segment is
//! allocated untouched, and a bucket of it is first written when the table reaches it, so a big new
//! segment costs no time and no resident memory up front. The directory of segments stays in cache.
//!
//! Rejected: two tables and incremental rehashing (Redis, Valkey): twice the cache misses while
//! it lasts, which is about half of a growing table's life, and the swing in memory. Open addressing
//! over the whole table: no SCAN guarantee.
//!
//! # Scan
//!
//! A cursor is a position in the space of bit-reversed hashes. A bucket covers an interval of that
//! space, splitting halves the interval, merging joins two. [`Table::scan`] visits the whole
//! bucket that the cursor lies in and returns the end of its interval, so an entry that is there
//! from start to end is always visited, whatever was split or merged in between (some twice).
//! Positions are the same in all tables with one hash, so a cursor survives a change of table.

use crate::hash::hash_bytes;
use crate::parts::{COST_MIN, PartsHead, Watch};
use smallvec::SmallVec;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use stdx::Prng;

mod bucket;
mod segments;
#[cfg(test)]
mod tests;

use bucket::{Chain, Piece};
pub use segments::PrefetchHint;
use segments::Segments;

/// What a table holds: an owning pointer to something that knows its key.
///
/// The size must be that of a pointer (checked when a table is built).
pub trait TableEntry {
    /// The key; it must not change while the entry is in a table.
    fn key(&self) -> &[u8];

    /// The key's hash.
    #[inline]
    fn hash(&self) -> u64 {
        hash_bytes(self.key())
    }

    /// Address of the memory that `key` reads, to be prefetched; it is never dereferenced.
    /// Override it where it can be told without reading that memory, or prefetching is in vain.
    fn address(&self) -> *const u8 {
        self.key().as_ptr()
    }

    /// Whether tables of these can be handed to a snapshot in parts; see `parts.rs`. Then `twin` and
    /// `copied_bytes` are there, too.
    const IN_PARTS: bool = false;

    /// A copy of the entry.
    fn twin(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Bytes of such a copy.
    fn copied_bytes(&self) -> usize {
        0
    }
}

/// Entries per bucket, on average, above which the table grows.
pub const GROW_AT: usize = 6;
/// Entries per bucket, on average, below which the table shrinks.
pub const SHRINK_AT: usize = 3;

/// A hash table of owning pointers. See the head of this file.
///
/// Invariants: buckets `0..buckets` are initialised; `mask` is the smallest `2^k - 1` that is at
/// least `buckets - 1`; `len` entries lie in the chains, each in the bucket that its hash names.
pub struct Table<E: TableEntry> {
    segments: Segments,
    buckets: usize,
    mask: u64,
    len: usize,
    /// Bytes of child buckets.
    child_bytes: usize,
    /// A snapshot is about to hand out what is here, or does so; see `parts.rs`.
    watch: Option<Box<Watch<E>>>,
    entries: PhantomData<E>,
}

// SAFETY: the table owns its entries and buckets; moving it moves them. The shared hint is atomic.
unsafe impl<E: TableEntry + Send> Send for Table<E> {}
// SAFETY: a shared table gives out only shared entries and changes nothing.
unsafe impl<E: TableEntry + Sync> Sync for Table<E> {}

/// The tag of a hash: its top byte, but never 0.
#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The bucket that `hash` belongs to, of `buckets`, with the table's mask.
#[inline]
fn bucket_index(hash: u64, buckets: usize, mask: u64) -> usize {
    let index = (hash & mask) as usize;
    if index < buckets { index } else { index & (mask >> 1) as usize }
}

/// Asks the processor to load the cache line at `address`. Any address will do.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl<E: TableEntry> Default for Table<E> {
    fn default() -> Table<E> {
        Table::new()
    }
}

impl<E: TableEntry> Table<E> {
    /// An empty table; allocates nothing yet.
    pub fn new() -> Table<E> {
        const { assert!(size_of::<E>() == 8 && align_of::<E>() <= 8) };
        Table {
            segments: Segments::new(),
            buckets: 0,
            mask: 0,
            len: 0,
            child_bytes: 0,
            watch: None,
            entries: PhantomData,
        }
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bucket positions, that is of steps in a full scan.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// The chain that `hash` belongs to. There must be buckets.
    #[inline]
    fn chain(&self, hash: u64) -> Chain<E> {
        debug_assert!(self.buckets > 0);
        self.chain_at(bucket_index(hash, self.buckets, self.mask))
    }

    #[inline]
    fn chain_at(&self, index: usize) -> Chain<E> {
        debug_assert!(index < self.buckets);
        // SAFETY: buckets below `buckets` exist, are initialised and belong to this table.
        unsafe { Chain::new(self.segments.address(index)) }
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<*mut E> {
        if self.buckets == 0 {
            return None;
        }
        // SAFETY: the chain belongs to this table and nobody changes it during the call.
        unsafe { self.chain(hash).find(tag_of(hash), key).map(|(piece, slot)| piece.slot(slot)) }
    }

    /// The entry with this key; `hash` must be the key's hash.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&E> {
        // SAFETY: a found slot holds an entry; it lives as long as the table is borrowed.
        self.find(hash, key).map(|slot| unsafe { &*slot })
    }

    /// The entry with this key, to be changed (its key excepted); it may also be replaced by
    /// another with the same key.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut E> {
        // SAFETY: as in `get`; the table is borrowed exclusively.
        let entry = self.find(hash, key).map(|slot| unsafe { &mut *slot })?;
        if E::IN_PARTS
            && let Some(watch) = &mut self.watch
        {
            watch.before_change(hash, entry);
        }
        Some(entry)
    }

    /// Adds an entry whose key is not in the table; `hash` must be the key's hash.
    /// The work for growth is bounded: one bucket is split at most.
    pub fn insert_new(&mut self, hash: u64, entry: E) -> &mut E {
        debug_assert!(entry.hash() == hash);
        debug_assert!(self.find(hash, entry.key()).is_none(), "the key is in the table already");
        if E::IN_PARTS
            && let Some(watch) = &mut self.watch
        {
            watch.before_birth(hash, entry.key());
        }
        if self.len >= self.buckets * GROW_AT {
            self.split_one();
        }
        self.len += 1;
        let chain = self.chain(hash);
        // SAFETY: the chain belongs to this table, which is borrowed exclusively; the slot returned
        // holds the entry just written.
        unsafe { &mut *chain.push(tag_of(hash), entry, &mut self.child_bytes) }
    }

    /// Takes out the entry with this key.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        if self.buckets == 0 {
            return None;
        }
        let chain = self.chain(hash);
        // SAFETY: the chain belongs to this table, which is borrowed exclusively.
        let entry = unsafe {
            let (piece, slot) = chain.find(tag_of(hash), key)?;
            chain.take(piece, slot, &mut self.child_bytes)
        };
        if E::IN_PARTS
            && let Some(watch) = &mut self.watch
        {
            watch.before_change(hash, &entry);
        }
        self.len -= 1;
        self.shrink(1);
        Some(entry)
    }

    /// Splits one bucket, or makes the first.
    fn split_one(&mut self) {
        let new = self.buckets;
        self.segments.cover(new);
        // SAFETY: the segment of bucket `new` exists now, and the bucket is not in use.
        unsafe { Piece::<E>::init_bucket(self.segments.address(new)) };
        self.buckets = new + 1;
        if new == 0 {
            self.segments.publish(self.buckets, self.mask);
            return;
        }
        self.mask = u64::MAX >> (new as u64).leading_zeros();
        self.segments.publish(self.buckets, self.mask);
        let half = (self.mask >> 1) as usize;
        let old = self.chain_at(new & half);
        let new = self.chain_at(new);
        // SAFETY: both chains belong to this table and are different; every entry of the old one
        // goes to one of the two.
        unsafe {
            old.for_each(|entry| prefetch(entry.address()));
            let bit = half as u64 + 1;
            let mut moved: SmallVec<[(u8, E); 16]> = SmallVec::new();
            old.extract_if(|entry| entry.hash() & bit != 0, &mut moved, &mut self.child_bytes);
            for (tag, entry) in moved {
                new.push(tag, entry, &mut self.child_bytes);
            }
        }
    }

    /// Merges up to `steps` buckets back while the table is too empty.
    fn shrink(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.buckets <= 1 || self.len >= self.buckets * SHRINK_AT {
                break;
            }
            self.merge_one();
        }
        if self.len == 0 && self.buckets == 1 {
            self.release();
        }
    }

    /// Merges the last bucket into the one that it was split from.
    fn merge_one(&mut self) {
        let last = self.buckets - 1;
        let half = 1usize << last.ilog2();
        let from = self.chain_at(last);
        let to = self.chain_at(last - half);
        // SAFETY: both chains belong to this table and are different; the last one is empty
        // afterwards and not used again.
        unsafe {
            let mut moved: SmallVec<[(u8, E); 16]> = SmallVec::new();
            from.extract_if(|_| true, &mut moved, &mut self.child_bytes);
            for (tag, entry) in moved {
                to.push(tag, entry, &mut self.child_bytes);
            }
        }
        self.buckets = last;
        self.mask = if last == 1 { 0 } else { u64::MAX >> (last as u64 - 1).leading_zeros() };
        self.segments.publish(self.buckets, self.mask);
        self.segments.trim(last);
    }

    /// Gives the memory of an empty table back.
    fn release(&mut self) {
        debug_assert!(self.len == 0 && self.child_bytes == 0);
        self.buckets = 0;
        self.mask = 0;
        self.segments.publish(0, 0);
        self.segments.trim(0);
    }

    /// Removes and frees all entries.
    pub fn clear(&mut self) {
        for index in 0..self.buckets {
            let chain = self.chain_at(index);
            // SAFETY: the chain belongs to this table, which is borrowed exclusively.
            unsafe { chain.clear(&mut self.child_bytes) };
        }
        self.len = 0;
        self.release();
    }

    /// Takes everything out into a table of its own and leaves an empty one that keeps the
    /// prefetch hint; for handing a whole database to a background job.
    pub fn take(&mut self) -> Table<E> {
        let mut taken = std::mem::take(self);
        self.segments.adopt_hint(&mut taken.segments);
        taken
    }

    /// Does idle work: up to `budget` steps of growing or shrinking. Returns the steps done; 0
    /// means that the table has the size that it should have.
    pub fn maintenance(&mut self, budget: usize) -> usize {
        let before = self.buckets;
        let mut done = 0;
        while done < budget && self.len > self.buckets * GROW_AT {
            self.split_one();
            done += 1;
        }
        self.shrink(budget - done);
        done.max(before.saturating_sub(self.buckets))
    }

    /// The table's prefetch hint, which stays valid for the table's whole life and may be used
    /// without holding the table's lock. From the first call on the table keeps it up to date.
    pub fn prefetch_hint(&mut self) -> Arc<PrefetchHint> {
        self.segments.hint(self.buckets, self.mask)
    }

    /// Starts loading the bucket line of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if self.buckets > 0 {
            let index = bucket_index(hash, self.buckets, self.mask);
            prefetch(self.segments.address(index).cast_const().cast());
        }
    }

    /// Starts loading the entry whose tag matches `hash`, if there is one. Reads the bucket line,
    /// so it needs the table's lock and pays off after [`Table::prefetch_bucket`].
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if self.buckets > 0 {
            // SAFETY: the chain belongs to this table and nobody changes it during the call.
            unsafe { self.chain(hash).prefetch_match(tag_of(hash)) };
        }
    }

    /// Calls `f` on every entry of one bucket position and returns the next cursor; start with 0,
    /// and 0 comes back after the last. An entry that stays in the table from the first call to the
    /// last is visited at least once, however the table grows or shrinks in between.
    ///
    /// After cursor `c != 0` came back, exactly the entries with
    /// `hash.reverse_bits() < c.reverse_bits()` have had their turn.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&E)) -> u64 {
        if self.buckets == 0 {
            return 0;
        }
        // SAFETY: the chain belongs to this table and nobody changes it during the call.
        unsafe { self.chain(cursor).for_each(f) };
        self.next_cursor(cursor)
    }

    /// As [`Table::scan`], with entries that may be changed or replaced by others with the same
    /// key.
    pub fn scan_mut(&mut self, cursor: u64, f: &mut dyn FnMut(&mut E)) -> u64 {
        if self.buckets == 0 {
            return 0;
        }
        // SAFETY: the chain belongs to this table, which is borrowed exclusively.
        unsafe { self.chain(cursor).for_each_mut(f) };
        self.next_cursor(cursor)
    }

    /// The end of the interval of the bucket that `cursor` lies in.
    fn next_cursor(&self, cursor: u64) -> u64 {
        let low = (cursor & self.mask) as usize;
        let half = (self.mask >> 1) as usize + 1;
        // A bucket spans the full depth if it and its twin in the other half both exist.
        let bits = self.mask.count_ones();
        let depth = if self.mask == 0 {
            0
        } else if (low & (half - 1)) + half < self.buckets {
            bits
        } else {
            bits - 1
        };
        if depth == 0 {
            return 0;
        }
        let span = 1u64 << (64 - depth);
        let start = cursor.reverse_bits() & !(span - 1);
        start.wrapping_add(span).reverse_bits()
    }

    /// Visits the entries of the one bucket position that hashes with these low 32 bits belong to,
    /// and moves those for which `f` is true to `out`. The table shrinks by as much as it must
    /// afterwards, but in no more steps than entries were taken.
    pub fn extract_if_hash32(
        &mut self,
        low32: u32,
        f: &mut dyn FnMut(&E) -> bool,
        out: &mut Vec<E>,
    ) {
        if self.buckets == 0 {
            return;
        }
        let chain = self.chain(u64::from(low32));
        let mut taken: SmallVec<[(u8, E); 16]> = SmallVec::new();
        // SAFETY: the chain belongs to this table, which is borrowed exclusively.
        unsafe { chain.extract_if(f, &mut taken, &mut self.child_bytes) };
        if E::IN_PARTS
            && let Some(watch) = &mut self.watch
        {
            taken.iter().for_each(|(_, entry)| watch.before_change(entry.hash(), entry));
        }
        let count = taken.len();
        self.len -= count;
        out.extend(taken.into_iter().map(|(_, entry)| entry));
        self.shrink(count);
    }

    /// Opens a watch: the present state is to be handed out by [`Table::watch_step`].
    pub(crate) fn begin_watch(&mut self, head: PartsHead) {
        assert!(E::IN_PARTS && self.watch.is_none(), "one watch at a time");
        self.watch = Some(Box::new(Watch::new(head, self.is_empty())));
    }

    /// Closes the watch, whatever is left to do.
    pub(crate) fn end_watch(&mut self) {
        self.watch = None;
    }

    /// What the open watch was begun with.
    #[inline]
    pub(crate) fn watch_head(&mut self) -> Option<&mut PartsHead> {
        self.watch.as_mut().map(|watch| &mut watch.head)
    }

    /// Hands out entries as they were when the watch began, each once, in a step of about `budget`;
    /// `f` returns an entry's cost. True when that was all: the watch is closed.
    pub(crate) fn watch_step(&mut self, budget: usize, f: &mut dyn FnMut(&E) -> usize) -> bool {
        let Some(mut watch) = self.watch.take() else { return true };
        let mut left = budget;
        while left > 0 {
            if let Some(cost) = watch.pop_due(f) {
                left = left.saturating_sub(cost);
                continue;
            }
            let Some(cursor) = watch.cursor else { return true };
            // A table that shrank shows entries again that had their turn.
            let (start, mut cost) = (cursor.reverse_bits(), COST_MIN);
            let next = self.scan(cursor, &mut |entry| {
                let at = entry.hash().reverse_bits();
                if at >= start && !watch.knows(at, entry.key()) {
                    cost += f(entry);
                }
            });
            watch.cursor = (next != 0).then_some(next);
            left = left.saturating_sub(cost);
        }
        self.watch = Some(watch);
        false
    }

    /// A random entry, each with the same chance.
    pub fn random(&self, prng: &mut Prng) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        // A bucket drawn evenly is accepted in proportion to its entries, up to 24 of them (chains
        // that long are practically never seen), which makes all entries equally likely.
        const CEILING: u64 = 24;
        loop {
            let chain = self.chain_at(prng.below(self.buckets as u64) as usize);
            // SAFETY: the chain belongs to this table and nobody changes it during the call; the
            // slot of a counted entry holds one.
            unsafe {
                let count = chain.count() as u64;
                let draw = prng.below(CEILING.max(count));
                if draw < count {
                    return Some(&*chain.nth(draw as usize));
                }
            }
        }
    }

    /// All entries, in bucket order.
    pub fn iter(&self) -> TableIter<'_, E> {
        TableIter { table: self, next_bucket: 0, chain: None, left: self.len }
    }

    /// Bytes of the table itself that are in use: buckets reached so far and their children,
    /// without the entries and without the untouched rest of the newest segment.
    pub fn mem_usage(&self) -> usize {
        self.buckets * bucket::BUCKET + self.child_bytes + self.segments.mem_usage()
    }

    /// Bytes requested from the allocator, with the untouched rest of the newest segment.
    pub fn allocated(&self) -> usize {
        self.segments.allocated() + self.child_bytes + self.segments.mem_usage()
    }
}

impl<E: TableEntry + Clone> Clone for Table<E> {
    /// A table of copies of the entries; it has no prefetch hint yet.
    fn clone(&self) -> Table<E> {
        let mut copy = Table::new();
        for entry in self.iter() {
            copy.insert_new(entry.hash(), entry.clone());
        }
        copy
    }
}

impl<E: TableEntry> Drop for Table<E> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Walks all entries of a [`Table`].
pub struct TableIter<'a, E: TableEntry> {
    table: &'a Table<E>,
    next_bucket: usize,
    /// Where the walk stands: a piece and the slots of it that are still to come.
    chain: Option<(Piece<E>, u64)>,
    left: usize,
}

impl<'a, E: TableEntry> Iterator for TableIter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some((piece, used)) = &mut self.chain {
                if *used != 0 {
                    let slot = bucket::lowest(*used);
                    *used &= *used - 1;
                    self.left -= 1;
                    // SAFETY: the slot's tag said that it holds an entry, and the table is borrowed.
                    return Some(unsafe { &*piece.slot(slot) });
                }
                // SAFETY: the piece belongs to the borrowed table.
                self.chain = unsafe { piece.child().map(|child| (child, child.used())) };
                continue;
            }
            if self.next_bucket >= self.table.buckets {
                return None;
            }
            let first = self.table.chain_at(self.next_bucket).first();
            self.next_bucket += 1;
            // SAFETY: the piece belongs to the borrowed table.
            self.chain = Some((first, unsafe { first.used() }));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<E: TableEntry> ExactSizeIterator for TableIter<'_, E> {}
