//! Hashes whose fields expire: an index of them, and the removal of what is due.
//!
//! The index has a note for every hash with such fields, no later than the first of them is due; the
//! hash itself remembers for when it is noted (`Hash::note`), so that whoever changed one has it
//! noted anew only if a field is due earlier than before. As with keys, a note may be stale: it costs
//! one look when its time comes.
//!
//! A field that is due is not seen any more. Who removes it: on a master the command that asks for
//! it by name, or the cycle ([`StripeData::expire_fields_step`]); on a replica the master's HDEL.

use crate::changes::{Change, EventClass};
use crate::db::DbStripe;
use crate::keys::{ExpireRule, Keys};
use crate::stripe::{Keyspace, StripeData};
use structures::hash::hash_bytes;
use structures::{Entry, ExpireIndex, Hash, ValueRef};

/// Hashes with more fields than this wait for a running snapshot.
const PATIENT_LEN: usize = 1024;
/// Until they are looked at again.
const PATIENCE_MS: i64 = 250;

/// Fields that the cycle removed from one hash.
pub struct ExpiredFields {
    /// Index of the database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// The fields.
    pub fields: Vec<Vec<u8>>,
    /// The hash, if those were its last fields: it went, too.
    pub emptied: Option<Entry>,
}

/// Brings index and count up to what a hash has become. `noted` is what it was noted for.
fn note(value: &mut Hash, hash: u64, index: &mut ExpireIndex, count: &mut usize) {
    let (due, noted) = (value.next_due(), value.note());
    *count = *count + usize::from(due.is_some()) - usize::from(noted.is_some());
    match due {
        None => value.set_note(None),
        Some(due) if noted.is_none_or(|noted| due < noted) => {
            index.insert(due, hash);
            value.set_note(Some(due));
        }
        Some(_) => {}
    }
}

impl DbStripe {
    /// Hashes that have fields with a time.
    pub fn timed_hashes(&self) -> usize {
        self.timed_hashes
    }

    /// Notes the hash of an entry that has just come into the table.
    pub(crate) fn note_new(
        entry: &mut Entry,
        hash: u64,
        index: &mut ExpireIndex,
        count: &mut usize,
    ) {
        if let Some(value) = entry.hash_mut()
            && value.knows_times()
        {
            value.set_note(None);
            note(value, hash, index, count);
        }
    }

    /// Forgets the hash of an entry that has left the table.
    pub(crate) fn forget_fields(&mut self, entry: &mut Entry) {
        if let Some(value) = entry.hash_mut()
            && value.note().is_some()
        {
            value.set_note(None);
            self.timed_hashes -= 1;
        }
    }

    /// Notes a hash whose fields or their times have changed.
    pub(crate) fn note_fields(&mut self, hash: u64, key: &[u8]) {
        let DbStripe { table, fields, timed_hashes, .. } = self;
        if let Some(value) = table.get_mut(hash, key).and_then(Entry::hash_mut) {
            note(value, hash, fields, timed_hashes);
        }
    }

    /// Keys of the hashes that a note may mean and that may have something due.
    fn noted(&self, low: u32, now: i64) -> Vec<(u64, Box<[u8]>)> {
        let mut keys = Vec::new();
        self.table.scan(u64::from(low), &mut |entry| {
            if let ValueRef::Hash(value) = entry.value()
                && value.note().is_some()
            {
                let hash = hash_bytes(entry.key());
                // Its neighbours in the bucket have notes of their own.
                if hash as u32 == low || value.may_have_due(now) {
                    keys.push((hash, Box::from(entry.key())));
                }
            }
        });
        keys
    }

    /// A big hash that a snapshot without parts has not reached yet is left alone for a while: its old
    /// state would be handed over whole, and nobody sees what is due anyway. True if this is one.
    fn postpone(&mut self, hash: u64, key: &[u8], now: i64) -> bool {
        let Some(position) = self.pass else { return false };
        let DbStripe { table, fields, .. } = self;
        let Some(entry) = table.get_mut(hash, key) else { return false };
        if position.reached(hash) || entry.mark() {
            return false;
        }
        let Some(value) = entry.hash_mut().filter(|value| value.len() > PATIENT_LEN) else {
            return false;
        };
        if value.note().is_none_or(|noted| noted <= now) {
            let later = now.saturating_add(PATIENCE_MS);
            value.set_note(Some(later));
            fields.insert(later, hash);
        }
        true
    }

    /// Rebuilds the index when most of its notes are stale.
    fn compact_fields(&mut self) {
        let DbStripe { table, fields, timed_hashes, .. } = self;
        if fields.len() < 4096 || fields.len() < *timed_hashes * 3 {
            return;
        }
        fields.clear();
        for entry in table.iter() {
            if let ValueRef::Hash(value) = entry.value()
                && let Some(noted) = value.note()
            {
                // For the time that the hash believes to be noted for; it may be stale itself.
                fields.insert(noted, hash_bytes(entry.key()));
            }
        }
    }

    /// The key of some hash that has fields with a time.
    fn some_timed_hash(&self) -> Option<Box<[u8]>> {
        if self.timed_hashes == 0 {
            return None;
        }
        let mut found = None;
        for low in self.fields.notes() {
            self.table.scan(u64::from(low), &mut |entry| {
                if let ValueRef::Hash(value) = entry.value()
                    && value.has_times()
                {
                    found = Some(Box::from(entry.key()));
                }
            });
            if found.is_some() {
                break;
            }
        }
        found
    }
}

impl StripeData {
    /// True if fields of hashes may be due at `now`.
    pub fn has_due_fields(&self, now: i64) -> bool {
        self.dbs.iter().any(|db| db.fields.has_due(now))
    }

    /// Removes fields of hashes that are due at `now`, at most about `budget` of them, of all
    /// databases. Returns true if more may be due. Who watches their keys is told; what was removed is
    /// added to `out`, and the caller has to put it on the log before the stripe is let go.
    pub fn expire_fields_step(
        &mut self,
        now: i64,
        budget: usize,
        out: &mut Vec<ExpiredFields>,
    ) -> bool {
        let mut left = budget;
        for db in 0..self.dbs.len() {
            while left > 0 {
                let Some(low) = self.dbs[db].fields.pop_due(now) else { break };
                left -= 1;
                for (hash, key) in self.dbs[db].noted(low, now) {
                    let taken = self.expire_fields_of(db, hash, key, now, left.max(1), out);
                    left = left.saturating_sub(taken);
                }
            }
            self.dbs[db].compact_fields();
            if left == 0 {
                return true;
            }
        }
        false
    }

    /// Removes up to `max` due fields of one hash, and notes it anew. Returns how many went.
    fn expire_fields_of(
        &mut self,
        db: usize,
        hash: u64,
        key: Box<[u8]>,
        now: i64,
        max: usize,
        out: &mut Vec<ExpiredFields>,
    ) -> usize {
        let StripeData { dbs, pass, .. } = self;
        let stripe = &mut dbs[db];
        let whole = pass.as_ref().is_some_and(|pass| pass.encoder.parts.is_none());
        if whole && stripe.postpone(hash, &key, now) {
            return 0;
        }
        let due = match stripe.get(hash, &key).map(Entry::value) {
            Some(ValueRef::Hash(value)) => value.may_have_due(now),
            _ => false,
        };
        // A running snapshot gets the old state only if something changes.
        let entry =
            if due { stripe.get_write(hash, &key, pass) } else { stripe.get_touch(hash, &key) };
        let Some(value) = entry.and_then(Entry::hash_mut) else { return 0 };
        let mut fields = Vec::new();
        value.take_due(now, max, &mut fields);
        // The note is gone; the hash counts all the same until it is noted anew.
        if value.note().is_some() {
            value.set_note(Some(i64::MAX));
        }
        let emptied = value.is_empty();
        stripe.note_fields(hash, &key);
        if fields.is_empty() {
            return 0;
        }
        let emptied = if emptied { stripe.remove(hash, &key, pass) } else { None };
        let taken = fields.len();
        self.stats.expired_fields += taken as u64;
        self.touch(db, &key);
        out.push(ExpiredFields { db, key, fields, emptied });
        taken
    }
}

impl Keyspace {
    /// Some key whose hash has fields with a time, and its database; `None` if there is none.
    pub fn key_with_timed_fields(&self) -> Option<(usize, Box<[u8]>)> {
        (0..self.stripes()).find_map(|stripe| {
            let mut held = self.hold(crate::StripeMask::of(stripe));
            let data = held.stripe(stripe);
            let mut dbs = data.dbs.iter().enumerate();
            dbs.find_map(|(index, db)| Some((index, db.some_timed_hash()?)))
        })
    }
}

impl Keys<'_> {
    /// The time by which fields of hashes are judged: those that are due by then are not seen.
    #[inline]
    pub fn fields_now(&self) -> i64 {
        match self.options.expire {
            ExpireRule::Ignore => i64::MIN,
            ExpireRule::Remove | ExpireRule::Hide => self.options.now.0,
        }
    }

    /// A hash that knows times was changed: call it before the command ends, and before the hash is
    /// removed as an empty one.
    pub fn fields_changed(&mut self, key: &[u8]) {
        let db = self.db;
        let (hash, stripe) = self.locate(key);
        stripe.dbs[db].note_fields(hash, key);
    }

    /// Removes those of these fields whose time has come, if that is our task, before a command
    /// looks at them; the hash goes with its last field.
    #[inline]
    pub fn expire_fields<'f>(&mut self, key: &[u8], fields: impl IntoIterator<Item = &'f [u8]>) {
        let db = self.db;
        let (_, stripe) = self.locate(key);
        if stripe.dbs[db].timed_hashes != 0 && self.options.expire == ExpireRule::Remove {
            self.expire_fields_now(key, &mut fields.into_iter());
        }
    }

    #[cold]
    fn expire_fields_now(&mut self, key: &[u8], fields: &mut dyn Iterator<Item = &[u8]>) {
        let (Some(hash), now, db) = (self.in_time(key), self.options.now.0, self.db) else {
            return;
        };
        let (_, stripe) = self.locate(key);
        let due: Vec<Vec<u8>> = match stripe.dbs[db].get(hash, key).map(Entry::value) {
            Some(ValueRef::Hash(value)) if value.may_have_due(now) => {
                fields.filter(|field| value.is_due(field, now)).map(<[u8]>::to_vec).collect()
            }
            _ => return,
        };
        // In a script that may be taken back a field stays hidden unless its removal can be, too.
        if due.is_empty() || !self.keep(key) {
            return;
        }
        let (_, stripe) = self.locate(key);
        let StripeData { dbs, pass, .. } = stripe;
        let Some(value) = dbs[db].get_write(hash, key, pass).and_then(Entry::hash_mut) else {
            return;
        };
        // A field may be named twice.
        let gone: Vec<Vec<u8>> = due.into_iter().filter(|field| value.remove(field)).collect();
        dbs[db].note_fields(hash, key);
        stripe.stats.expired_fields += gone.len() as u64;
        self.changes.implied.push(Change::ExpiredFields { db, key: Box::from(key), fields: gone });
        self.signal(key);
        self.notify(EventClass::HASH, "hexpired", key);
        self.remove_if_empty(key);
    }
}

#[cfg(test)]
mod tests;
