//! A snapshot of the keyspace at one moment, taken without fork and without stopping writers.
//!
//! Starting it marks every stripe under all locks. A background pass then walks the stripes, a few
//! buckets at a time, and hands each entry to an encoder. A write to an entry that the pass has not
//! reached yet hands over the old state first (its bytes go to the stripe's `pre_images`), and sets
//! the entry's mark, so that the pass skips it. A key born after the start in a part not reached
//! yet gets the mark at birth. So no list of written keys is needed.
//!
//! What was reached is one number: the pass walks a table in the order of bit-reversed hashes
//! (see `structures::Table::scan`), which growing and shrinking don't disturb.
//!
//! Invariant: outside a pass no entry bears the mark; within one, only entries not reached yet do.
//! Work charged to one write is one encoding of the old value; bounding it for very big values
//! needs copied-out pages and belongs to the durability work.

use structures::Entry;

/// Writes one entry of a database (its index first) in the form that the snapshot's sink wants.
pub type EncodeEntry = fn(&mut Vec<u8>, &Entry);

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

/// The snapshot's state in one stripe.
pub struct StripePass {
    /// Writes one entry.
    pub encode: EncodeEntry,
    /// Old states that writers handed over: (database at the start, encoded records).
    pub pre_images: Vec<(usize, Vec<u8>)>,
    /// Bytes in `pre_images`.
    pub pre_image_bytes: usize,
    /// Tables that FLUSHALL or FLUSHDB took out of the keyspace while the pass needed them.
    pub detached: Vec<crate::db::DbStripe>,
    /// Keys handed out so far, by either way.
    pub keys: u64,
}

impl StripePass {
    pub(crate) fn new(encode: EncodeEntry) -> StripePass {
        StripePass {
            encode,
            pre_images: Vec::new(),
            pre_image_bytes: 0,
            detached: Vec::new(),
            keys: 0,
        }
    }

    /// Hands over the state of `entry` before it changes.
    pub(crate) fn hand_over(&mut self, db_at_start: usize, entry: &Entry) {
        let reuse = matches!(self.pre_images.last(), Some((db, bytes)) if *db == db_at_start && bytes.len() < 64 * 1024);
        if !reuse {
            self.pre_images.push((db_at_start, Vec::new()));
        }
        if let Some((_, bytes)) = self.pre_images.last_mut() {
            let before = bytes.len();
            (self.encode)(bytes, entry);
            self.pre_image_bytes += bytes.len() - before;
        }
        self.keys += 1;
    }
}

/// What one step of the pass left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassProgress {
    /// The stripe has more.
    More,
    /// The stripe is done.
    Done,
}
