//! Finds the keys whose time has come without looking at the others; and the fields of a big hash.
//!
//! Times are put into ticks of 64 ms; each tick has the low halves of the hashes of its keys, four
//! bytes a key. An entry may be stale (the key is gone, or lives longer now): whoever takes it looks
//! at the key itself and puts it back if its time is yet to come. So lengthening a key's life costs
//! nothing here, and a removed key costs four bytes until its old time comes or the index is
//! rebuilt. Rejected: a second table of keys with a time (Redis's `expires`), which costs ten
//! times as much; sampling, which finds the last expired keys of many only slowly.

use std::collections::BTreeMap;
use stdx::Prng;

/// Milliseconds of a tick, as a power of two.
const TICK_SHIFT: u32 = 6;

/// The expiry times of one stripe of one database, or of one hash.
#[derive(Clone, Default)]
pub struct ExpireIndex {
    ticks: BTreeMap<i64, Vec<u32>>,
    len: usize,
}

impl ExpireIndex {
    /// Notes that the key with this hash expires at `at` (Unix ms).
    pub fn insert(&mut self, at: i64, hash: u64) {
        self.ticks.entry(at >> TICK_SHIFT).or_default().push(hash as u32);
        self.len += 1;
    }

    /// Notes, the stale ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without any note.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes one hash whose tick is over at `now`; its key is probably due. (One of the present tick
    /// might live some milliseconds yet: it would be put back and taken again without end.)
    pub fn pop_due(&mut self, now: i64) -> Option<u32> {
        let mut first = self.ticks.first_entry()?;
        if *first.key() >= now >> TICK_SHIFT {
            return None;
        }
        let hash = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        if hash.is_some() {
            self.len -= 1;
        }
        hash
    }

    /// The beginning of the first tick, Unix ms: nothing is due before it.
    pub fn first(&self) -> Option<i64> {
        self.ticks.first_key_value().map(|(&tick, _)| tick << TICK_SHIFT)
    }

    /// The low halves of the hashes of all notes, the earliest first.
    pub fn notes(&self) -> impl Iterator<Item = u32> + '_ {
        self.ticks.values().flatten().copied()
    }

    /// The low half of some key's hash, drawn at a random time between the first and the last.
    pub fn random(&self, rng: &mut Prng) -> Option<u32> {
        let (&first, _) = self.ticks.first_key_value()?;
        let (&last, _) = self.ticks.last_key_value()?;
        let from = first + rng.below((last - first) as u64 + 1) as i64;
        let (_, hashes) = self.ticks.range(from..).next()?;
        hashes.get(rng.below(hashes.len() as u64) as usize).copied()
    }

    /// True if a tick is over whose keys were not all looked at.
    pub fn has_due(&self, now: i64) -> bool {
        self.ticks.first_key_value().is_some_and(|(&tick, _)| tick < now >> TICK_SHIFT)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ticks.clear();
        self.len = 0;
    }

    /// Bytes held.
    pub fn mem_usage(&self) -> usize {
        self.ticks.values().map(|v| v.capacity() * 4 + 48).sum()
    }
}
