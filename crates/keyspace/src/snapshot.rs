//! A snapshot of the keyspace at one moment, taken without fork and without stopping writers.
//!
//! Starting it marks every stripe under all locks. A background pass then walks the stripes, a few
//! buckets at a time, and hands each entry out. A write to an entry that the pass has not reached yet
//! hands over the old state first, and sets the entry's mark, so that the pass skips it. A key born
//! after the start in a part not reached yet gets the mark at birth. So no list of written keys is
//! needed.
//!
//! What was reached is one number: the pass walks a table in the order of bit-reversed hashes
//! (see `structures::Table::scan`), which growing and shrinking don't disturb.
//!
//! How an old state is handed over, so that neither a write nor a step of the pass does work that
//! grows with the value:
//! - Small entries are encoded.
//! - Big sets, hashes and sorted sets get a *watch* (`structures::Entry::begin_parts`), which copies
//!   out what changes, and which the pass works off in parts when their turn comes. They bear no mark.
//! - Long strings and big lists share their pages and nodes with the copy that is handed over.
//! - What goes for good (DEL, expiry, eviction, overwriting) is handed over by pointer, watch and all;
//!   the command sees a stub in its place.
//! - FLUSHALL, FLUSHDB and SWAPDB hand whole tables over.
//!
//! Not bounded yet: a big stream is encoded whole; RENAME and MOVE of a big set, hash or sorted
//! set that the snapshot is not through with encode what is left of it.
//!
//! Invariant: outside a pass no entry bears the mark, and no watch is open; within one only entries not
//! reached yet bear the mark, and they have no watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use structures::hash::hash_bytes;
use structures::{Entry, Part, PartsHead};

/// Writes one entry of a database in the form that the snapshot's sink wants.
pub type EncodeEntry = fn(&mut Vec<u8>, &Entry);

/// Writes big collections in parts, whose bytes together are those of the whole entry.
#[derive(Clone, Copy)]
pub struct PartsEncoder {
    /// What stands before the elements; returns the number that times of fields are counted from.
    pub head: fn(&mut Vec<u8>, &Entry) -> Option<i64>,
    /// One element, with that number.
    pub part: fn(&mut Vec<u8>, Part<'_>, Option<i64>),
}

/// How entries are written.
#[derive(Clone, Copy)]
pub struct PassEncoder {
    /// Whole ones.
    pub entry: EncodeEntry,
    /// Big ones in parts; without this they are written whole, at one go.
    pub parts: Option<PartsEncoder>,
}

/// Bytes of a part of a value that [`PassEncoder::drain`] writes at one go.
const DRAIN_BYTES: usize = 64 * 1024;

impl PassEncoder {
    /// Writes an entry that was handed over by pointer; `put` gets its bytes piece by piece. If
    /// it was in the midst of being written, `put` gets the rest.
    pub fn drain<E>(
        &self,
        entry: &mut Entry,
        put: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = Vec::new();
        let Some(parts) = self.parts else {
            (self.entry)(&mut bytes, entry);
            return put(&bytes);
        };
        if entry.parts_head().is_none() {
            if !entry.goes_in_parts() {
                (self.entry)(&mut bytes, entry);
                return put(&bytes);
            }
            open_watch(&parts, entry, 0, &Arc::default());
        }
        loop {
            let done = part_step(&parts, entry, DRAIN_BYTES, &mut bytes);
            put(&bytes)?;
            bytes.clear();
            if done {
                return Ok(());
            }
        }
    }
}

fn open_watch(parts: &PartsEncoder, entry: &mut Entry, id: u64, held: &Arc<AtomicU64>) {
    let mut bytes = Vec::new();
    let base = (parts.head)(&mut bytes, entry);
    entry.begin_parts(PartsHead { id, bytes, base, held: Arc::clone(held) });
}

/// Writes the next part of a watched value, with its head if that was not written yet. True if that was
/// all.
fn part_step(parts: &PartsEncoder, entry: &mut Entry, budget: usize, out: &mut Vec<u8>) -> bool {
    let mut base = None;
    if let Some(head) = entry.parts_head() {
        base = head.base;
        out.append(&mut head.bytes);
    }
    entry.parts_step(budget, &mut |part| {
        let before = out.len();
        (parts.part)(out, part, base);
        out.len() - before
    })
}

/// Bytes held for the snapshot, counted as long as this lives.
#[derive(Debug, Default)]
pub struct HeldBytes {
    all: Arc<AtomicU64>,
    own: u64,
}

impl HeldBytes {
    fn add(&mut self, bytes: u64) {
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many.
    pub fn bytes(&self) -> u64 {
        self.own
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// What the pass hands out. Databases are numbered as they were at the start.
pub enum Handed {
    /// Encoded entries, all of them whole.
    Records {
        /// The database.
        db: usize,
        /// The entries.
        bytes: Vec<u8>,
        /// Counts them while they wait.
        held: HeldBytes,
    },
    /// An entry to be encoded by [`PassEncoder::drain`], and freed.
    Value {
        /// The database.
        db: usize,
        /// The entry.
        entry: Entry,
        /// Counts it while it waits.
        held: HeldBytes,
    },
    /// The next bytes of an entry that is written in parts: nothing else may come between them.
    Part {
        /// The database.
        db: usize,
        /// The bytes.
        bytes: Vec<u8>,
        /// The entry is complete.
        last: bool,
    },
    /// As `Value`, of the entry that is being written in parts: its rest, which comes before all else.
    Rest {
        /// The database.
        db: usize,
        /// The entry.
        entry: Entry,
    },
    /// A table that nobody needs any more, to be freed where nobody waits for it.
    Emptied(Box<crate::DbStripe>),
}

/// How far the pass has come in one table.
#[derive(Clone, Copy, Debug)]
pub struct TablePass {
    /// Database index at the start of the snapshot; SWAPDB may have moved the table since.
    pub db_at_start: usize,
    /// Cursor of the next bucket; `None` when the table is done.
    pub cursor: Option<u64>,
}

impl TablePass {
    /// True if the pass has been where this hash lives.
    pub fn reached(&self, hash: u64) -> bool {
        match self.cursor {
            None => true,
            Some(cursor) => hash.reverse_bits() < cursor.reverse_bits(),
        }
    }
}

/// What becomes of an entry that leaves its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lives on elsewhere.
    Kept,
    /// It goes for good.
    Dropped,
}

/// A watched value that the pass has met and not finished.
pub(crate) struct Open {
    id: u64,
    pub(crate) db_at_start: usize,
    hash: u64,
    key: Box<[u8]>,
    /// A part of it is written: it has to be finished before anything else.
    begun: bool,
}

/// The snapshot's state in one stripe.
pub struct StripePass {
    pub(crate) encoder: PassEncoder,
    /// What writers handed over.
    aside: Vec<Handed>,
    /// The rest of the value that is being written, if it left its place.
    rest: Option<Handed>,
    /// Watched values of buckets that the pass has been in, in the order in which they are written.
    pub(crate) open: VecDeque<Open>,
    /// Watches opened so far.
    opened: u64,
    /// Of these, the ones that wait in the keyspace.
    watches: u64,
    /// Tables that FLUSHALL or FLUSHDB took out of the keyspace while the pass needed them.
    pub(crate) detached: Vec<crate::db::DbStripe>,
    /// Keys handed out so far, by either way.
    pub(crate) keys: u64,
    /// Bytes held for the snapshot in the whole keyspace.
    held: Arc<AtomicU64>,
    /// Nobody wants the snapshot any more.
    pub(crate) unwanted: bool,
    /// A watched value was not found: the snapshot is wrong.
    lost: bool,
}

impl StripePass {
    pub(crate) fn new(encoder: PassEncoder, held: &Arc<AtomicU64>) -> StripePass {
        StripePass {
            encoder,
            aside: Vec::new(),
            rest: None,
            open: VecDeque::new(),
            opened: 0,
            watches: 0,
            detached: Vec::new(),
            keys: 0,
            held: Arc::clone(held),
            unwanted: false,
            lost: false,
        }
    }

    fn counted(&self, bytes: u64) -> HeldBytes {
        let mut held = HeldBytes { all: Arc::clone(&self.held), own: 0 };
        held.add(bytes);
        held
    }

    /// Encodes the state of `entry` before it changes.
    fn encode(&mut self, db_at_start: usize, entry: &Entry) {
        let reuse = matches!(self.aside.last(), Some(Handed::Records { db, bytes, .. })
            if *db == db_at_start && bytes.len() < 64 * 1024);
        if !reuse {
            let held = self.counted(0);
            self.aside.push(Handed::Records { db: db_at_start, bytes: Vec::new(), held });
        }
        if let Some(Handed::Records { bytes, held, .. }) = self.aside.last_mut() {
            let before = bytes.len();
            (self.encoder.entry)(bytes, entry);
            held.add((bytes.len() - before) as u64);
        }
    }

    /// Opens a watch if the value is one for that; true if it has one now.
    fn watch(&mut self, entry: &mut Entry) -> bool {
        if entry.parts_head().is_some() {
            return true;
        }
        let Some(parts) = self.encoder.parts else { return false };
        if !entry.goes_in_parts() {
            return false;
        }
        self.opened += 1;
        self.watches += 1;
        self.keys += 1;
        open_watch(&parts, entry, self.opened, &self.held);
        true
    }

    /// An entry that the pass has not reached, without the mark, is about to change.
    #[inline(never)]
    pub(crate) fn before_change(&mut self, db_at_start: usize, entry: &mut Entry) {
        if self.unwanted || self.watch(entry) {
            return;
        }
        if entry.copies_share() {
            let (copy, held) = (entry.clone(), self.counted(0));
            self.aside.push(Handed::Value { db: db_at_start, entry: copy, held });
        } else {
            self.encode(db_at_start, entry);
        }
        entry.set_mark(true);
        self.keys += 1;
    }

    /// An entry has left its table, which was numbered `db_at_start`; `settled`: the snapshot has it, or
    /// never needed it. What goes for good may be exchanged for a stub with the same key.
    #[inline(never)]
    pub(crate) fn before_removal(
        &mut self,
        db_at_start: usize,
        settled: bool,
        entry: &mut Entry,
        fate: Fate,
    ) {
        if self.unwanted {
            self.close(entry);
            return;
        }
        if let Some(id) = entry.parts_head().map(|head| head.id) {
            self.watches -= 1;
            let begun = self.open.front().is_some_and(|open| open.id == id && open.begun);
            self.open.retain(|open| open.id != id);
            let handed = match (fate, begun) {
                (Fate::Dropped, false) => self.by_pointer(db_at_start, entry),
                (Fate::Dropped, true) => Handed::Rest { db: db_at_start, entry: stubbed(entry) },
                (Fate::Kept, begun) => self.finish(db_at_start, entry, begun),
            };
            if begun {
                self.rest = Some(handed);
            } else {
                self.aside.push(handed);
            }
            return;
        }
        if settled {
            return;
        }
        self.keys += 1;
        if fate == Fate::Dropped && entry.is_bulky() {
            let handed = self.by_pointer(db_at_start, entry);
            self.aside.push(handed);
        } else if entry.copies_share() {
            let (copy, held) = (entry.clone(), self.counted(0));
            self.aside.push(Handed::Value { db: db_at_start, entry: copy, held });
        } else {
            self.encode(db_at_start, entry);
        }
    }

    fn by_pointer(&self, db: usize, entry: &mut Entry) -> Handed {
        let entry = stubbed(entry);
        let held = self.counted(entry.mem_estimate() as u64);
        Handed::Value { db, entry, held }
    }

    /// Writes all that is left of a watched value: it goes where this stripe does not find it.
    fn finish(&self, db: usize, entry: &mut Entry, begun: bool) -> Handed {
        let mut bytes = Vec::new();
        if let Some(parts) = self.encoder.parts {
            while !part_step(&parts, entry, usize::MAX, &mut bytes) {}
        }
        if begun {
            return Handed::Part { db, bytes, last: true };
        }
        let held = self.counted(bytes.len() as u64);
        Handed::Records { db, bytes, held }
    }

    /// Closes the watch of a value that nobody wants any more.
    fn close(&mut self, entry: &mut Entry) {
        if entry.parts_head().is_some() {
            entry.end_parts();
            self.watches -= 1;
        }
    }

    /// Hands out what writers left here.
    pub(crate) fn take_aside(&mut self, out: &mut Vec<Handed>) {
        out.append(&mut self.aside);
    }

    /// The pass has come to an entry.
    pub(crate) fn meet(&mut self, db_at_start: usize, hash: u64, entry: &mut Entry, out: &mut Met) {
        if self.unwanted {
            self.close(entry);
            return;
        }
        if self.watch(entry) {
            let id = entry.parts_head().map_or(0, |head| head.id);
            let (key, begun) = (Box::from(entry.key()), false);
            self.open.push_back(Open { id, db_at_start, hash, key, begun });
            return;
        }
        self.keys += 1;
        if entry.copies_share() {
            let (entry, held) = (entry.clone(), self.counted(0));
            out.values.push(Handed::Value { db: db_at_start, entry, held });
        } else {
            (self.encoder.entry)(&mut out.bytes, entry);
        }
    }

    /// Writes watched values that the pass has met, in a step of about `left`, which is what remains of
    /// it afterwards.
    pub(crate) fn write_open(
        &mut self,
        dbs: &mut [crate::db::DbStripe],
        left: &mut usize,
        out: &mut Vec<Handed>,
    ) {
        out.extend(self.rest.take());
        let Some(parts) = self.encoder.parts else { return };
        while *left > 0
            && let Some(mut open) = self.open.pop_front()
        {
            let (db, hash) = (open.db_at_start, open.hash);
            let mut tables = dbs
                .iter_mut()
                .chain(self.detached.iter_mut())
                .filter(|table| table.pass.is_some_and(|pass| pass.db_at_start == db));
            let found = tables.find_map(|table| {
                let entry = table.table.get_mut(hash, &open.key)?;
                (entry.parts_head()?.id == open.id).then_some(entry)
            });
            let Some(entry) = found else {
                // Walked on, so that no mark stays behind.
                (self.lost, self.unwanted) = (true, true);
                continue;
            };
            if self.unwanted {
                entry.end_parts();
                self.watches -= 1;
                continue;
            }
            let mut bytes = Vec::new();
            let last = part_step(&parts, entry, *left, &mut bytes);
            *left = left.saturating_sub(bytes.len().max(16));
            out.push(Handed::Part { db, bytes, last });
            if last {
                self.watches -= 1;
            } else {
                open.begun = true;
                self.open.push_front(open);
            }
        }
    }

    /// Walks on in one table, its number counted over `dbs` and then the detached ones, until `left` is
    /// used up or a watched value was met. True in the latter case.
    pub(crate) fn walk_table(
        &mut self,
        dbs: &mut [crate::db::DbStripe],
        table: usize,
        left: &mut usize,
        out: &mut Vec<Handed>,
    ) -> bool {
        // Out of the way: meeting an entry needs the pass.
        let mut detached = std::mem::take(&mut self.detached);
        let (attached, mut met) = (dbs.len(), Met::default());
        let place = match table.checked_sub(attached) {
            None => dbs.get_mut(table),
            Some(index) => detached.get_mut(index),
        };
        if let Some(stripe) = place
            && let Some(TablePass { db_at_start, cursor: Some(mut cursor) }) = stripe.pass
        {
            while *left > 0 && self.open.is_empty() {
                // A table that shrank may show entries again that were reached: they are skipped.
                let start = cursor.reverse_bits();
                let before = met.bytes.len();
                let next = stripe.table.scan_mut(cursor, &mut |entry| {
                    if entry.mark() {
                        entry.set_mark(false);
                        return;
                    }
                    let hash = hash_bytes(entry.key());
                    if hash.reverse_bits() >= start {
                        self.meet(db_at_start, hash, entry, &mut met);
                    }
                });
                *left = left.saturating_sub((met.bytes.len() - before).max(16));
                let cursor_after = (next != 0).then_some(next);
                stripe.pass = Some(TablePass { db_at_start, cursor: cursor_after });
                if next == 0 {
                    break;
                }
                cursor = next;
            }
            met.flush(db_at_start, out);
        }
        self.detached = detached;
        !self.open.is_empty()
    }

    /// True if all that was opened here is accounted for.
    pub(crate) fn is_sound(&self) -> bool {
        !self.lost && (self.unwanted || self.watches == 0)
    }
}

/// Takes the value out of an entry that goes for good; what stays has the same key.
fn stubbed(entry: &mut Entry) -> Entry {
    let stub = Entry::new_str(entry.key(), b"", entry.stamp());
    std::mem::replace(entry, stub)
}

/// What one step of the pass gathers of a table.
#[derive(Default)]
pub(crate) struct Met {
    /// Small entries.
    pub(crate) bytes: Vec<u8>,
    /// Others.
    pub(crate) values: Vec<Handed>,
}

impl Met {
    /// Hands out what was gathered.
    pub(crate) fn flush(&mut self, db: usize, out: &mut Vec<Handed>) {
        out.append(&mut self.values);
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            out.push(Handed::Records { db, bytes, held: HeldBytes::default() });
        }
    }
}

/// What one step of the pass left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassProgress {
    /// The stripe has more.
    More,
    /// The stripe is done.
    Done,
    /// The stripe is done, but a value that was to be handed out in parts is gone: what was handed out
    /// is not the state at the start. An error of ours.
    Lost,
}

#[cfg(test)]
mod tests;
