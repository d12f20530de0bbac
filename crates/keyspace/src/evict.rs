//! Candidates for eviction, and their removal.

use crate::db::DbStripe;
use crate::stripe::StripeData;
use stdx::Prng;
use structures::hash::hash_bytes;
use structures::{Entry, ValueRef};

/// A key that could go.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Index of its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// Its access field, see [`crate::MemoryPolicy`].
    pub access: u32,
    /// Its expiry time, Unix ms.
    pub stamp: Option<i64>,
}

/// Entries looked at in the table for one with an expiry time, before the expiry index is asked.
const LOOKED_AT_MAX: usize = 64;

impl StripeData {
    /// Up to `count` keys of each database, found from random places on, into `out`; with
    /// `volatile` only such as have an expiry time.
    pub fn sample(&self, volatile: bool, count: usize, rng: &mut Prng, out: &mut Vec<Candidate>) {
        for (db, stripe) in self.dbs.iter().enumerate() {
            let there = if volatile { stripe.volatile } else { stripe.len() };
            if there > 0 {
                stripe.sample(db, volatile, count.min(there), rng, out);
            }
        }
    }

    /// Removes a key for want of memory, if it is there (and has an expiry time, with `volatile`).
    /// Who watches it is told. Returns the entry and about the bytes that this frees; while a snapshot
    /// needs the value, the entry is a stub, and the bytes are no longer counted as the data's.
    pub fn evict(&mut self, db: usize, key: &[u8], volatile: bool) -> Option<(Entry, usize)> {
        let hash = hash_bytes(key);
        let entry = self.dbs[db].get(hash, key)?;
        if volatile && entry.stamp().is_none() {
            return None;
        }
        let freed = freed_by(entry);
        let entry = self.dbs[db].remove(hash, key, &mut self.pass);
        self.stats.evicted += 1;
        self.touch(db, key);
        Some((entry?, freed))
    }
}

impl DbStripe {
    fn sample(
        &self,
        db: usize,
        volatile: bool,
        count: usize,
        rng: &mut Prng,
        out: &mut Vec<Candidate>,
    ) {
        let candidate = |entry: &Entry| {
            let (key, access, stamp) = (Box::from(entry.key()), entry.access(), entry.stamp());
            Candidate { db, key, access, stamp }
        };
        let end = out.len() + count;
        let mut tries = if volatile { LOOKED_AT_MAX } else { count };
        // One by one, each from anywhere: neighbours in a bucket would be drawn by their places.
        while out.len() < end && tries > 0 {
            tries -= 1;
            let Some(entry) = self.table.random(rng) else { return };
            if !volatile || entry.stamp().is_some() {
                out.push(candidate(entry));
            }
        }
        // Few keys have a time: their notes lead to them.
        tries = LOOKED_AT_MAX;
        while volatile && out.len() < end && tries > 0 {
            tries -= 1;
            let Some(low) = self.expires.random(rng) else { return };
            self.table.scan(u64::from(low), &mut |entry| {
                if out.len() < end && entry.stamp().is_some() {
                    out.push(candidate(entry));
                }
            });
        }
    }
}

/// What freeing this value gives back, bytes, roughly: big collections are not walked.
fn freed_by(entry: &Entry) -> usize {
    let elements = match entry.value() {
        ValueRef::Set(set) if set.len() > 64 => set.len(),
        ValueRef::Hash(hash) if hash.len() > 64 => hash.len(),
        ValueRef::Zset(zset) if zset.len() > 64 => zset.len(),
        _ => return entry.mem_usage(),
    };
    // A pointer, its tag and a small element.
    entry.key().len() + elements * 48
}
