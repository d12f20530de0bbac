//! Lock stripes: which one a key belongs to, what it holds, and holding several at once.
//!
//! Lock order is ascending stripe index; whoever holds a stripe may only take higher ones, or try
//! for others without waiting ([`Held::try_rest`]). Nothing
//! else is locked between taking the first stripe and letting go but the log's append lock, which
//! is taken last.

use crate::db::DbStripe;
use crate::snapshot::{EncodeEntry, Handed, PassEncoder, PassProgress, StripePass, TablePass};
use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use structures::hash::hash_bytes;
use structures::{Entry, Table};

/// The most stripes that a keyspace may have: a set of stripes fits one machine word.
pub const STRIPES_MAX: usize = 64;

/// How a key's stripe is found. Chosen once, at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripeBy {
    /// By the hash of the key.
    Hash,
    /// By its cluster slot, so that a slot's keys lie in one stripe.
    Slot,
}

/// A set of stripes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StripeMask(pub u64);

impl StripeMask {
    /// Just this stripe.
    #[inline]
    pub fn of(stripe: usize) -> StripeMask {
        StripeMask(1 << stripe)
    }

    /// Adds a stripe.
    #[inline]
    pub fn add(&mut self, stripe: usize) {
        self.0 |= 1 << stripe;
    }

    /// True if the stripe is in the set.
    #[inline]
    pub fn has(self, stripe: usize) -> bool {
        self.0 >> stripe & 1 == 1
    }

    /// True if every stripe of `other` is in this set.
    pub fn covers(self, other: StripeMask) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Set when a key that a connection watches has changed.
#[derive(Debug, Default)]
pub struct WatchFlag(AtomicBool);

impl WatchFlag {
    /// Notes a change.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// True once a watched key has changed.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

type DbKey = (usize, Box<[u8]>);

/// What one stripe holds.
pub struct StripeData {
    pub(crate) dbs: Vec<DbStripe>,
    /// Who waits for elements of a key, oldest first. Tickets are the caller's.
    pub(crate) waiters: BTreeMap<DbKey, VecDeque<u64>>,
    pub(crate) watched: BTreeMap<DbKey, Vec<Arc<WatchFlag>>>,
    pub(crate) pass: Option<StripePass>,
    /// Position of the last write, on the log that the caller keeps.
    pub last_write: u64,
    pub(crate) stats: KeyspaceStats,
    /// State of the pseudo-random numbers that LFU counting draws.
    pub(crate) noise: u64,
}

/// Counters that INFO shows, of one stripe or of all.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyspaceStats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Keys removed for want of memory.
    pub evicted: u64,
    /// Fields of hashes removed because their time had come.
    pub expired_fields: u64,
}

impl StripeData {
    fn new(databases: usize) -> StripeData {
        StripeData {
            dbs: (0..databases).map(|_| DbStripe::default()).collect(),
            waiters: BTreeMap::new(),
            watched: BTreeMap::new(),
            pass: None,
            last_write: 0,
            stats: KeyspaceStats::default(),
            noise: 0,
        }
    }

    /// This stripe's part of a database.
    pub fn db(&self, db: usize) -> &DbStripe {
        &self.dbs[db]
    }

    /// Tells everybody who watches the key that it has changed.
    pub(crate) fn touch(&self, db: usize, key: &[u8]) {
        if self.watched.is_empty() {
            return;
        }
        if let Some(flags) = self.watched.get(&(db, Box::from(key))) {
            flags.iter().for_each(|flag| flag.set());
        }
    }

    /// Tells everybody who watches an existing key of `db` (or any, with `None`), or one of those
    /// that `other` has, that it has changed. For FLUSHDB, FLUSHALL, SWAPDB.
    pub(crate) fn touch_all(&self, db: usize, other: Option<usize>) {
        for ((watched_db, key), flags) in &self.watched {
            let hash = hash_bytes(key);
            let there = *watched_db == db
                && (self.dbs[db].get(hash, key).is_some()
                    || other.is_some_and(|o| self.dbs[o].get(hash, key).is_some()));
            if there {
                flags.iter().for_each(|flag| flag.set());
            }
        }
    }

    /// Removes keys that are due at `now`, at most about `budget` of them, of all databases.
    /// Returns true if more are due. The removed entries are added to `out`.
    pub fn expire_step(&mut self, now: i64, budget: usize, out: &mut Vec<(usize, Entry)>) -> bool {
        let mut removed = Vec::new();
        let mut left = budget;
        for db in 0..self.dbs.len() {
            while left > 0 && self.dbs[db].expire_one(now, &mut self.pass, &mut removed) {
                left -= 1;
                for entry in removed.drain(..) {
                    self.stats.expired += 1;
                    self.touch(db, entry.key());
                    out.push((db, entry));
                }
            }
            self.dbs[db].compact_expires();
            if left == 0 {
                return true;
            }
        }
        false
    }

    /// True if keys are due at `now`.
    pub fn has_due(&self, now: i64) -> bool {
        self.dbs.iter().any(|db| db.expires.has_due(now))
    }

    /// Moves a few buckets of tables that are growing or shrinking.
    pub fn rehash_step(&mut self, budget: usize) {
        for db in &mut self.dbs {
            db.table.maintenance(budget);
        }
    }

    /// The counters of this stripe.
    pub fn stats(&self) -> KeyspaceStats {
        self.stats
    }

    /// Sets the counters of INFO to zero.
    pub fn reset_stats(&mut self) {
        self.stats = KeyspaceStats::default();
    }

    /// Empties a database; a running snapshot keeps the table that it still needs.
    pub(crate) fn flush_db(&mut self, db: usize) -> DbStripe {
        let done = self.dbs[db].pass.map(|pass| TablePass { cursor: None, ..pass });
        let fresh = DbStripe { pass: done, ..DbStripe::default() };
        let old = std::mem::replace(&mut self.dbs[db], fresh);
        match (&mut self.pass, old.pass) {
            (Some(pass), Some(at))
                if at.cursor.is_some()
                    || pass.open.iter().any(|open| open.db_at_start == at.db_at_start) =>
            {
                pass.detached.push(old);
                DbStripe::default()
            }
            _ => old,
        }
    }

    /// Starts a snapshot here; the caller holds all stripes.
    pub(crate) fn begin_pass(&mut self, encoder: PassEncoder, held: &Arc<AtomicU64>) {
        assert!(self.pass.is_none(), "passes from different positions do not overlap");
        self.pass = Some(StripePass::new(encoder, held));
        for (db_at_start, db) in self.dbs.iter_mut().enumerate() {
            let cursor = (!db.is_empty()).then_some(0);
            db.pass = Some(TablePass { db_at_start, cursor });
        }
    }

    /// One step of the background pass: hands out what writers left here, then entries, or parts of one,
    /// of about `budget_bytes`.
    pub fn pass_step(
        &mut self,
        budget_bytes: usize,
        out: &mut Vec<Handed>,
        keys: &mut u64,
    ) -> PassProgress {
        let StripeData { dbs, pass: slot, .. } = self;
        let Some(pass) = slot else { return PassProgress::Done };
        pass.take_aside(out);
        let mut left = budget_bytes;
        pass.write_open(dbs, &mut left, out);
        let tables = dbs.len() + pass.detached.len();
        for table in 0..tables {
            while left > 0 && pass.walk_table(dbs, table, &mut left, out) {
                pass.write_open(dbs, &mut left, out);
            }
        }
        *keys = pass.keys;
        if left == 0 || !pass.open.is_empty() {
            return PassProgress::More;
        }
        let sound = pass.is_sound();
        let emptied = pass.detached.drain(..);
        out.extend(emptied.map(|table| Handed::Emptied(Box::new(table))));
        *slot = None;
        dbs.iter_mut().for_each(|db| db.pass = None);
        if sound { PassProgress::Done } else { PassProgress::Lost }
    }

    /// Hands out what writers left for the snapshot here.
    pub fn take_pre_images(&mut self, out: &mut Vec<Handed>) {
        if let Some(pass) = &mut self.pass {
            pass.take_aside(out);
        }
    }

    /// Nobody wants the snapshot any more: nothing is kept for it from now on. It has to be walked to its
    /// end all the same.
    pub fn abandon_pass(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.unwanted = true;
        }
    }

    /// Registers a waiter for a key, behind those that wait already.
    pub fn wait_on(&mut self, db: usize, key: &[u8], ticket: u64) {
        let queue = self.waiters.entry((db, Box::from(key))).or_default();
        if !queue.contains(&ticket) {
            queue.push_back(ticket);
        }
    }

    /// Takes a waiter out again.
    pub fn stop_waiting(&mut self, db: usize, key: &[u8], ticket: u64) {
        let at = (db, Box::from(key));
        if let Some(queue) = self.waiters.get_mut(&at) {
            queue.retain(|&t| t != ticket);
            if queue.is_empty() {
                self.waiters.remove(&at);
            }
        }
    }

    /// Who waits for the key, oldest first.
    pub fn waiters_of(&self, db: usize, key: &[u8]) -> Vec<u64> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        self.waiters
            .get(&(db, Box::from(key)))
            .map(|q| q.iter().copied().collect())
            .unwrap_or_default()
    }

    /// True if anybody waits for any key here.
    pub fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// The keys of `db` that somebody waits for.
    pub fn waited_keys(&self, db: usize) -> Vec<Box<[u8]>> {
        self.waiters.keys().filter(|(d, _)| *d == db).map(|(_, key)| key.clone()).collect()
    }

    /// `flag` is set when the key changes from now on.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) {
        self.watched.entry((db, Box::from(key))).or_default().push(Arc::clone(flag));
    }

    /// Takes a watch out again.
    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &Arc<WatchFlag>) {
        let at = (db, Box::from(key));
        if let Some(flags) = self.watched.get_mut(&at) {
            flags.retain(|f| !Arc::ptr_eq(f, flag));
            if flags.is_empty() {
                self.watched.remove(&at);
            }
        }
    }
}

/// Where a key lives, told once for all that a command does with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The key's hash.
    pub hash: u64,
    /// Its stripe.
    pub stripe: usize,
}

/// All databases.
pub struct Keyspace {
    stripes: Box<[CachePadded<Mutex<StripeData>>]>,
    by: StripeBy,
    databases: usize,
    /// Somebody wants to know the names of all keys that change.
    notes_changes: AtomicBool,
    /// The running snapshot, or the last one, has hashes whose fields have times.
    pass_has_timed_fields: AtomicBool,
    /// Bytes held for the snapshot alone.
    snapshot_held: Arc<AtomicU64>,
}

/// Tries before a worker lets the operating system wait for it. A stripe is held for well below a
/// microsecond by most commands.
const SPINS: u32 = 200;
/// Time between two looks whether waiting for a stripe is to be given up.
const GIVE_UP_CHECK: Duration = Duration::from_millis(1);

impl Keyspace {
    /// An empty keyspace. `stripes` is a power of two, at most [`STRIPES_MAX`].
    pub fn new(databases: usize, stripes: usize, by: StripeBy) -> Keyspace {
        assert!(stripes.is_power_of_two() && stripes <= STRIPES_MAX);
        assert!(databases > 0);
        let stripes = (0..stripes)
            .map(|_| CachePadded::new(Mutex::new(StripeData::new(databases))))
            .collect();
        let flag = || AtomicBool::new(false);
        Keyspace {
            stripes,
            by,
            databases,
            notes_changes: flag(),
            pass_has_timed_fields: flag(),
            snapshot_held: Arc::default(),
        }
    }

    /// From now on [`crate::Changes::modified`] names the keys that change, or does so no more. A
    /// command sees this if it takes a stripe after the caller, or somebody whom the caller told of
    /// it, has let that stripe go; to be sure of all commands, hold all stripes.
    pub fn note_changes(&self, on: bool) {
        self.notes_changes.store(on, Ordering::Relaxed);
    }

    /// True if keys that change are named.
    #[inline]
    pub fn notes_changes(&self) -> bool {
        self.notes_changes.load(Ordering::Relaxed)
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Number of stripes.
    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// The set of all stripes.
    pub fn all(&self) -> StripeMask {
        StripeMask(u64::MAX >> (64 - self.stripes.len()))
    }

    /// The stripe of a key whose hash is known.
    #[inline]
    pub fn stripe_of_hash(&self, hash: u64, key: &[u8]) -> usize {
        match self.by {
            // The table uses the low bits for its buckets and the highest for its tags.
            StripeBy::Hash => (hash >> 40) as usize & (self.stripes.len() - 1),
            StripeBy::Slot => usize::from(key_hash_slot(key)) & (self.stripes.len() - 1),
        }
    }

    /// Where a key lives.
    #[inline]
    pub fn place_of(&self, key: &[u8]) -> Place {
        let hash = hash_bytes(key);
        Place { hash, stripe: self.stripe_of_hash(hash, key) }
    }

    /// Starts loading what lookups of these keys (database, place) will read, so that their cache
    /// misses overlap: first all bucket lines, then all entries. A stripe that somebody holds is
    /// left out.
    pub fn prefetch(&self, keys: impl Iterator<Item = (usize, Place)> + Clone) {
        let each = |prefetch: fn(&Table<Entry>, u64)| {
            for (db, place) in keys.clone() {
                if let Some(stripe) = self.stripes[place.stripe].try_lock() {
                    prefetch(&stripe.dbs[db].table, place.hash);
                }
            }
        };
        each(Table::prefetch_bucket);
        each(Table::prefetch_entry);
    }

    /// The stripe of a key.
    #[inline]
    pub fn stripe_of(&self, key: &[u8]) -> usize {
        match self.by {
            StripeBy::Hash => self.stripe_of_hash(hash_bytes(key), key),
            StripeBy::Slot => self.stripe_of_hash(0, key),
        }
    }

    #[inline]
    fn lock(&self, stripe: usize) -> MutexGuard<'_, StripeData> {
        let lock = &*self.stripes[stripe];
        for _ in 0..SPINS {
            match lock.try_lock() {
                Some(guard) => return guard,
                None => std::hint::spin_loop(),
            }
        }
        lock.lock()
    }

    /// As [`Keyspace::hold`], but nothing is held and `None` returned when a stripe is taken and
    /// `give_up` says so: a script may hold stripes for very long.
    #[inline]
    pub fn hold_unless(&self, mask: StripeMask, give_up: &dyn Fn() -> bool) -> Option<Held<'_>> {
        let mut guards = SmallVec::new();
        let mut left = mask.0 & self.all().0;
        while left != 0 {
            let stripe = left.trailing_zeros() as usize;
            match self.stripes[stripe].try_lock() {
                Some(guard) => guards.push(guard),
                None => guards.push(self.lock_unless(stripe, give_up)?),
            }
            left &= left - 1;
        }
        Some(Held { guards, mask: StripeMask(mask.0 & self.all().0), space: self })
    }

    #[cold]
    fn lock_unless(
        &self,
        stripe: usize,
        give_up: &dyn Fn() -> bool,
    ) -> Option<MutexGuard<'_, StripeData>> {
        let lock = &*self.stripes[stripe];
        for _ in 0..SPINS {
            match lock.try_lock() {
                Some(guard) => return Some(guard),
                None => std::hint::spin_loop(),
            }
        }
        loop {
            if give_up() {
                return None;
            }
            if let Some(guard) = lock.try_lock_for(GIVE_UP_CHECK) {
                return Some(guard);
            }
        }
    }

    /// Takes the stripes of `mask`, in ascending order, and holds them until dropped.
    #[inline]
    pub fn hold(&self, mask: StripeMask) -> Held<'_> {
        let mut guards = SmallVec::new();
        let mut left = mask.0 & self.all().0;
        while left != 0 {
            guards.push(self.lock(left.trailing_zeros() as usize));
            left &= left - 1;
        }
        Held { guards, mask: StripeMask(mask.0 & self.all().0), space: self }
    }

    /// As [`Keyspace::begin_pass_in_parts`], with an encoder for whole entries alone: big values are
    /// encoded at one go.
    pub fn begin_pass(&self, encode: EncodeEntry, at_start: impl FnOnce()) -> bool {
        self.begin_pass_in_parts(PassEncoder { entry: encode, parts: None }, at_start)
    }

    /// Bytes held in memory for the running snapshot alone: old states that wait, roughly.
    pub fn snapshot_held(&self) -> u64 {
        self.snapshot_held.load(Ordering::Relaxed)
    }

    /// Starts a snapshot under all locks; `at_start` runs while they are held (it reads the log's
    /// position). False if one is running.
    pub fn begin_pass_in_parts(&self, encoder: PassEncoder, at_start: impl FnOnce()) -> bool {
        let mut held = self.hold(self.all());
        if held.guards.iter().any(|stripe| stripe.pass.is_some()) {
            return false;
        }
        let timed = held.guards.iter().any(|data| data.dbs.iter().any(|db| db.timed_hashes > 0));
        self.pass_has_timed_fields.store(timed, Ordering::Relaxed);
        let bytes = &self.snapshot_held;
        held.guards.iter_mut().for_each(|stripe| stripe.begin_pass(encoder, bytes));
        at_start();
        true
    }

    /// True if the state that the last snapshot began with has hashes whose fields have times. For
    /// whoever began it.
    pub fn pass_has_timed_fields(&self) -> bool {
        self.pass_has_timed_fields.load(Ordering::Relaxed)
    }

    /// Keys and keys with an expiry time in a database.
    pub fn db_size(&self, db: usize) -> (usize, usize) {
        (0..self.stripes.len()).fold((0, 0), |(keys, volatile), stripe| {
            let data = self.lock(stripe);
            (keys + data.dbs[db].len(), volatile + data.dbs[db].volatile)
        })
    }

    /// The counters of all stripes.
    pub fn stats(&self) -> KeyspaceStats {
        let mut all = KeyspaceStats::default();
        for stripe in 0..self.stripes.len() {
            let one = self.lock(stripe).stats;
            all.hits += one.hits;
            all.misses += one.misses;
            all.expired += one.expired;
            all.evicted += one.evicted;
            all.expired_fields += one.expired_fields;
        }
        all
    }
}

/// Stripes that one command holds.
pub struct Held<'a> {
    guards: SmallVec<[MutexGuard<'a, StripeData>; 2]>,
    mask: StripeMask,
    space: &'a Keyspace,
}

impl<'a> Held<'a> {
    /// The stripes held.
    pub fn mask(&self) -> StripeMask {
        self.mask
    }

    /// Takes the stripes that are not held yet, if nobody holds any of them: trying does not wait, so
    /// it may be done out of order. False if somebody does; then nothing has changed.
    pub fn try_rest(&mut self) -> bool {
        let space = self.space;
        let mut rest: SmallVec<[(usize, MutexGuard<'a, StripeData>); STRIPES_MAX]> =
            SmallVec::new();
        for stripe in (0..space.stripes.len()).filter(|&stripe| !self.mask.has(stripe)) {
            match space.stripes[stripe].try_lock() {
                Some(guard) => rest.push((stripe, guard)),
                None => return false,
            }
        }
        let mut held = std::mem::take(&mut self.guards).into_iter();
        let mut rest = rest.into_iter().peekable();
        for stripe in 0..space.stripes.len() {
            let taken = rest.next_if(|(at, _)| *at == stripe).map(|(_, guard)| guard);
            self.guards.extend(taken.or_else(|| held.next()));
        }
        self.mask = space.all();
        true
    }

    /// The keyspace that they are part of.
    pub fn space(&self) -> &'a Keyspace {
        self.space
    }

    /// A held stripe. Panics if it is not held: a command named too few of its keys.
    #[inline]
    pub fn stripe(&mut self, index: usize) -> &mut StripeData {
        if self.guards.len() == 1 {
            debug_assert!(self.mask.has(index));
            return &mut self.guards[0];
        }
        assert!(self.mask.has(index), "stripe {index} is not held");
        let at = (self.mask.0 & ((1u64 << index) - 1)).count_ones();
        &mut self.guards[at as usize]
    }

    /// The held stripe of a key.
    #[inline]
    pub fn of_key(&mut self, hash: u64, key: &[u8]) -> &mut StripeData {
        // A stripe that is held alone is the key's, and need not be looked for.
        let index = if self.guards.len() == 1 {
            self.mask.0.trailing_zeros() as usize
        } else {
            self.space.stripe_of_hash(hash, key)
        };
        debug_assert_eq!(
            index,
            self.space.stripe_of_hash(hash, key),
            "a key of a stripe that is not held"
        );
        self.stripe(index)
    }

    /// As [`Held::stripe`], for reading only.
    #[inline]
    pub fn stripe_ref(&self, index: usize) -> &StripeData {
        assert!(self.mask.has(index), "stripe {index} is not held");
        let at = (self.mask.0 & ((1u64 << index) - 1)).count_ones();
        &self.guards[at as usize]
    }

    /// Runs `f` on a stripe, which is taken for the moment if it is not held. Only for commands
    /// that hold none or all.
    pub fn with_stripe<R>(&mut self, index: usize, f: impl FnOnce(&mut StripeData) -> R) -> R {
        if self.mask.has(index) {
            return f(self.stripe(index));
        }
        assert!(self.mask.0 == 0, "a held stripe and another one taken out of order");
        f(&mut self.space.lock(index))
    }

    /// Every held stripe in ascending order.
    pub fn each(&mut self) -> impl Iterator<Item = &mut StripeData> {
        self.guards.iter_mut().map(|guard| &mut **guard)
    }
}

/// The cluster slot of a key: CRC16 of it, or of the part between the first `{` and the next `}`.
/// Source: Redis Cluster specification, "Hash tags".
pub fn key_hash_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) & 16383
}

/// CRC-16/XMODEM, as the cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    static TABLE: [u16; 256] = crc16_table();
    bytes.iter().fold(0, |crc: u16, &b| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ b)])
}

const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests;
