//! What a command sees of the keyspace: keys of one database, by the stripes that it holds.

use crate::access::MemoryPolicy;
use crate::changes::{Change, Changes, EventClass, KeyEvent};
use crate::db::{SetTtl, Stored};
use crate::stripe::{Held, Keyspace, StripeData};
use crate::undo::Undo;
use stdx::UnixMs;
use structures::hash::hash_bytes;
use structures::{Entry, Hash, List, Set, StrRef, Stream, Value, ValueRef, Zset};

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What is done about a key whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireRule {
    /// It is removed, and the removal goes on the log: a master.
    Remove,
    /// It is not seen, but stays: a replica's own clients, or while writes are paused.
    Hide,
    /// It is seen: commands from the master, and while loading.
    Ignore,
}

/// How the keys are looked at, the same for a whole command.
#[derive(Clone, Copy, Debug)]
pub struct KeyOptions {
    /// The time of the command.
    pub now: UnixMs,
    /// What is done about keys whose time has come.
    pub expire: ExpireRule,
    /// Classes of events that somebody wants.
    pub notify: u32,
    /// False for CLIENT NO-TOUCH and for commands that only look.
    pub touch: bool,
    /// What the access field means.
    pub policy: MemoryPolicy,
}

/// Keys of the database [`Keys::db`], and the account of what changes.
pub struct Keys<'a> {
    held: Held<'a>,
    /// A key with its hash: most commands name one key, and come back to it several times.
    known: Option<(&'a [u8], u64)>,
    /// Index of the database that the methods work on.
    pub db: usize,
    /// How keys are looked at.
    pub options: KeyOptions,
    /// What has changed so far.
    pub changes: Changes,
    /// Old states, while changes may have to be taken back.
    pub(crate) undo: Option<Box<Undo>>,
}

/// Values with more elements than this are freed elsewhere.
const TRASH_ELEMENTS: usize = 64;

fn effort_to_free(entry: &Entry) -> usize {
    match entry.value() {
        ValueRef::Str(StrRef::Paged(text)) => text.len() >> 14,
        ValueRef::Str(_) => 1,
        ValueRef::List(list) => list.len() / 16,
        ValueRef::Set(set) => set.len(),
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Zset(zset) => zset.len(),
        // A node is one piece, a pending entry another one.
        ValueRef::Stream(stream) => {
            stream.nodes().len() + stream.groups().map(|(_, g)| g.pending_count()).sum::<usize>()
        }
    }
}

impl<'a> Keys<'a> {
    /// Looks at database `db` through held stripes.
    pub fn new(held: Held<'a>, db: usize, options: KeyOptions) -> Keys<'a> {
        Keys { held, known: None, db, options, changes: Changes::default(), undo: None }
    }

    /// Tells the hash of a key that the command will ask for by this very slice.
    #[inline]
    pub fn know(&mut self, key: &'a [u8], hash: u64) {
        debug_assert_eq!(hash, hash_bytes(key));
        self.known = Some((key, hash));
    }

    /// The keyspace as a whole.
    pub fn space(&self) -> &'a Keyspace {
        self.held.space()
    }

    /// The held stripes.
    pub fn held(&mut self) -> &mut Held<'a> {
        &mut self.held
    }

    /// Ends the command: lets the stripes go and returns the account.
    pub fn finish(self) -> Changes {
        self.changes
    }

    #[inline]
    fn hash_of(&self, key: &[u8]) -> u64 {
        match self.known {
            // The known slice is borrowed, so nobody has put other bytes in its place.
            Some((known, hash)) if std::ptr::eq(known, key) => hash,
            _ => hash_bytes(key),
        }
    }

    #[inline]
    pub(crate) fn locate(&mut self, key: &[u8]) -> (u64, &mut StripeData) {
        let hash = self.hash_of(key);
        (hash, self.held.of_key(hash, key))
    }

    /// The key's hash, unless the key's time has come and it is not to be seen; then it is
    /// removed first if that is our task.
    #[inline]
    pub(crate) fn in_time(&mut self, key: &[u8]) -> Option<u64> {
        let (now, db) = (self.options.now.0, self.db);
        let (hash, stripe) = self.locate(key);
        let db = &stripe.dbs[db];
        // Where no key has a time, the caller's own lookup is the only one.
        let due = db.volatile != 0
            && db.get(hash, key).and_then(Entry::stamp).is_some_and(|at| at <= now);
        if due { self.expire_now(hash, key) } else { Some(hash) }
    }

    #[cold]
    fn expire_now(&mut self, hash: u64, key: &[u8]) -> Option<u64> {
        match self.options.expire {
            ExpireRule::Ignore => Some(hash),
            ExpireRule::Hide => None,
            ExpireRule::Remove => {
                let (db, kept) = (self.db, self.undo.is_some());
                let (_, stripe) = self.locate(key);
                let entry = match kept {
                    true => stripe.dbs[db].take(hash, key, &mut stripe.pass),
                    false => stripe.dbs[db].remove(hash, key, &mut stripe.pass),
                };
                stripe.stats.expired += 1;
                stripe.touch(db, key);
                self.note(key);
                self.changes.implied.push(Change::Expired { db, key: Box::from(key) });
                self.wake(key);
                self.notify(EventClass::EXPIRED, "expired", key);
                let entry = match (entry, &mut self.undo) {
                    (Some(entry), Some(undo)) => undo.keep_removed(db, hash, entry),
                    (entry, _) => entry,
                };
                if let Some(entry) = entry {
                    self.discard(entry);
                }
                None
            }
        }
    }

    pub(crate) fn discard(&mut self, entry: Entry) {
        if effort_to_free(&entry) > TRASH_ELEMENTS {
            self.changes.trash.push(entry);
        }
    }

    // ---- reading -------------------------------------------------------------------------

    /// The entry of a key, for a read that counts as an access.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        self.counted(key, self.options.touch)
    }

    /// As [`Keys::read`] for a read that counts in the statistics but does not make the key look
    /// used (EXISTS, TYPE, TTL …).
    pub fn look(&mut self, key: &[u8]) -> Option<&Entry> {
        self.counted(key, false)
    }

    #[inline]
    fn counted(&mut self, key: &[u8], touch: bool) -> Option<&Entry> {
        let in_time = self.in_time(key).is_some();
        let hash = self.hash_of(key);
        let Keys { held, db, options, changes, .. } = self;
        let StripeData { dbs, stats, noise, .. } = held.of_key(hash, key);
        let found = if in_time { dbs[*db].get_touch(hash, key) } else { None };
        match found {
            Some(entry) => {
                stats.hits += 1;
                if touch {
                    options.policy.touch(entry, options.now, noise);
                }
                Some(entry)
            }
            None => {
                stats.misses += 1;
                if options.notify & EventClass::KEY_MISS.0 != 0 {
                    changes.events.push(KeyEvent {
                        class: EventClass::KEY_MISS,
                        name: "keymiss",
                        db: *db,
                        key: Box::from(key),
                    });
                }
                None
            }
        }
    }

    /// The entry of a key that a command may be about to change: an access, but none that the
    /// statistics of reads count.
    pub fn before_write(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.in_time(key)?;
        let (options, db) = (self.options, self.db);
        let StripeData { dbs, noise, .. } = self.held.of_key(hash, key);
        let entry = dbs[db].get_touch(hash, key)?;
        if options.touch {
            options.policy.touch(entry, options.now, noise);
        }
        Some(entry)
    }

    /// The entry of a key, for a look that leaves no trace (OBJECT …).
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.in_time(key)?;
        let db = self.db;
        self.held.of_key(hash, key).dbs[db].get(hash, key)
    }

    /// The entry of a key, for commands that look at several values at once (SINTER, ZUNION …).
    /// Leaves no trace and removes nothing: read each key by its type's method first, which
    /// expires it, counts the access and checks the type.
    pub fn view(&self, key: &[u8]) -> Option<&Entry> {
        let hash = hash_bytes(key);
        let stripe = self.held.stripe_ref(self.held.space().stripe_of_hash(hash, key));
        let entry = stripe.dbs[self.db].get(hash, key)?;
        let due = entry.stamp().is_some_and(|at| at <= self.options.now.0);
        (!due || self.options.expire == ExpireRule::Ignore).then_some(entry)
    }

    /// True if the key is there. Does not count as an access.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The value of a key.
    pub fn value(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.read(key).map(Entry::value)
    }

    /// A string value.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::Str(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType),
        }
    }

    /// A list value.
    pub fn list(&mut self, key: &[u8]) -> Result<Option<&List>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::List(list)) => Ok(Some(list)),
            Some(_) => Err(WrongType),
        }
    }

    /// A set value.
    pub fn set(&mut self, key: &[u8]) -> Result<Option<&Set>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::Set(set)) => Ok(Some(set)),
            Some(_) => Err(WrongType),
        }
    }

    /// A hash value.
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<&Hash>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WrongType),
        }
    }

    /// A sorted set value.
    pub fn zset(&mut self, key: &[u8]) -> Result<Option<&Zset>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::Zset(zset)) => Ok(Some(zset)),
            Some(_) => Err(WrongType),
        }
    }

    /// A stream value.
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, WrongType> {
        match self.value(key) {
            None => Ok(None),
            Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
            Some(_) => Err(WrongType),
        }
    }

    /// The key's expiry time: `None` if the key is not there, `Some(None)` if it has none.
    pub fn expire_time(&mut self, key: &[u8]) -> Option<Option<i64>> {
        self.peek(key).map(Entry::stamp)
    }

    // ---- writing -------------------------------------------------------------------------

    /// The entry of a key, for a change of its value in place. The snapshot has the old state
    /// when this returns. Expiry time and key must not be changed through it.
    pub fn write(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.check_kept(key);
        let hash = self.in_time(key)?;
        let (options, db) = (self.options, self.db);
        let StripeData { dbs, pass, noise, .. } = self.held.of_key(hash, key);
        let entry = dbs[db].get_write(hash, key, pass)?;
        if options.touch {
            options.policy.touch(entry, options.now, noise);
        }
        Some(entry)
    }

    /// A list to be changed.
    pub fn list_mut(&mut self, key: &[u8]) -> Result<Option<&mut List>, WrongType> {
        self.write(key).map(|entry| entry.list_mut().ok_or(WrongType)).transpose()
    }

    /// A set to be changed.
    pub fn set_mut(&mut self, key: &[u8]) -> Result<Option<&mut Set>, WrongType> {
        self.write(key).map(|entry| entry.set_mut().ok_or(WrongType)).transpose()
    }

    /// A hash to be changed.
    pub fn hash_mut(&mut self, key: &[u8]) -> Result<Option<&mut Hash>, WrongType> {
        self.write(key).map(|entry| entry.hash_mut().ok_or(WrongType)).transpose()
    }

    /// A sorted set to be changed.
    pub fn zset_mut(&mut self, key: &[u8]) -> Result<Option<&mut Zset>, WrongType> {
        self.write(key).map(|entry| entry.zset_mut().ok_or(WrongType)).transpose()
    }

    /// A stream to be changed.
    pub fn stream_mut(&mut self, key: &[u8]) -> Result<Option<&mut Stream>, WrongType> {
        self.write(key).map(|entry| entry.stream_mut().ok_or(WrongType)).transpose()
    }

    /// A list to be changed, made empty if the key is not there: the caller fills it.
    pub fn list_or_new(&mut self, key: &[u8]) -> Result<&mut List, WrongType> {
        self.write_or_insert(key, || Value::List(Box::new(List::new()))).list_mut().ok_or(WrongType)
    }

    /// As [`Keys::list_or_new`] for a set.
    pub fn set_or_new(&mut self, key: &[u8]) -> Result<&mut Set, WrongType> {
        self.write_or_insert(key, || Value::Set(Box::new(Set::new()))).set_mut().ok_or(WrongType)
    }

    /// As [`Keys::list_or_new`] for a hash.
    pub fn hash_or_new(&mut self, key: &[u8]) -> Result<&mut Hash, WrongType> {
        self.write_or_insert(key, || Value::Hash(Box::new(Hash::new()))).hash_mut().ok_or(WrongType)
    }

    /// As [`Keys::list_or_new`] for a sorted set.
    pub fn zset_or_new(&mut self, key: &[u8]) -> Result<&mut Zset, WrongType> {
        self.write_or_insert(key, || Value::Zset(Box::new(Zset::new()))).zset_mut().ok_or(WrongType)
    }

    /// As [`Keys::list_or_new`] for a stream, which may stay empty.
    pub fn stream_or_new(&mut self, key: &[u8]) -> Result<&mut Stream, WrongType> {
        self.write_or_insert(key, || Value::Stream(Stream::new())).stream_mut().ok_or(WrongType)
    }

    fn write_or_insert(&mut self, key: &[u8], make: impl FnOnce() -> Value) -> &mut Entry {
        if !self.exists(key) {
            self.insert(Entry::new(key, make(), None));
        }
        self.write(key).expect("the key was found or inserted under its lock")
    }

    /// Sets a string, whatever was there. Emits no event but `new`.
    #[inline]
    pub fn set_string(&mut self, key: &[u8], value: &[u8], ttl: SetTtl) {
        self.check_kept(key);
        let in_time = self.in_time(key).is_some();
        let (options, db) = (self.options, self.db);
        let (hash, stripe) = self.locate(key);
        let StripeData { dbs, pass, .. } = stripe;
        // A key that is not seen any more leaves no time behind.
        let ttl = if ttl == SetTtl::Keep && !in_time { SetTtl::Clear } else { ttl };
        let stored =
            dbs[db].set_str(hash, key, value, ttl, options.policy.first(options.now), pass);
        if !in_time || matches!(stored, Stored::New) {
            self.notify(EventClass::NEW, "new", key);
        }
        if let Stored::Instead(old) = stored {
            self.discard(old);
        }
    }

    /// Puts a value, whatever was there. Emits no event.
    pub fn put(&mut self, key: &[u8], value: Value, ttl: SetTtl) {
        let at = match ttl {
            SetTtl::Clear => None,
            SetTtl::Keep => self.expire_time(key).flatten(),
            SetTtl::At(at) => Some(at),
        };
        self.remove(key);
        self.insert(Entry::new(key, value, at));
    }

    /// As [`Keys::put`] without a time to live, for commands that overwrite in one step: a key that
    /// was there is no new one for notify-keyspace-events.
    pub fn put_over(&mut self, key: &[u8], value: Value) {
        let notify = self.options.notify;
        if self.expire_time(key).is_some() {
            self.options.notify &= !EventClass::NEW.0;
        }
        self.put(key, value, SetTtl::Clear);
        self.options.notify = notify;
    }

    /// Adds an entry whose key is not there.
    pub fn insert(&mut self, mut entry: Entry) {
        self.check_kept(entry.key());
        let (options, db) = (self.options, self.db);
        entry.set_access(options.policy.first(options.now));
        let key: Option<Box<[u8]>> =
            (options.notify & EventClass::NEW.0 != 0).then(|| Box::from(entry.key()));
        let hash = hash_bytes(entry.key());
        let StripeData { dbs, pass, .. } = self.held.of_key(hash, entry.key());
        if options.expire == ExpireRule::Hide {
            // A key that is only hidden makes room.
            dbs[db].remove(hash, entry.key(), pass);
        }
        dbs[db].insert(hash, entry);
        if let Some(key) = key {
            self.notify(EventClass::NEW, "new", &key);
        }
    }

    /// Takes a key out, with its value and expiry time.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.check_kept(key);
        let hash = self.in_time(key)?;
        let StripeData { dbs, pass, .. } = self.held.of_key(hash, key);
        dbs[self.db].take(hash, key, pass)
    }

    /// Removes a key; true if it was there. Emits no event.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.check_kept(key);
        let Some(hash) = self.in_time(key) else { return false };
        let StripeData { dbs, pass, .. } = self.held.of_key(hash, key);
        match dbs[self.db].remove(hash, key, pass) {
            Some(entry) => {
                self.discard(entry);
                true
            }
            None => false,
        }
    }

    /// Removes a key whose collection has become empty, with the event `del`.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        self.check_kept(key);
        let db = self.db;
        let (hash, stripe) = self.locate(key);
        let empty = stripe.dbs[db].get(hash, key).is_some_and(|entry| match entry.value() {
            ValueRef::Str(_) => false,
            ValueRef::List(list) => list.is_empty(),
            ValueRef::Set(set) => set.is_empty(),
            ValueRef::Hash(hash) => hash.is_empty(),
            ValueRef::Zset(zset) => zset.is_empty(),
            // A stream without entries is still there.
            ValueRef::Stream(_) => false,
        });
        if empty {
            stripe.dbs[db].remove(hash, key, &mut stripe.pass);
            self.notify(EventClass::GENERIC, "del", key);
        }
        empty
    }

    /// Sets or clears the expiry time; true if the key is there.
    pub fn set_expire(&mut self, key: &[u8], at: Option<i64>) -> bool {
        self.check_kept(key);
        let Some(hash) = self.in_time(key) else { return false };
        let StripeData { dbs, pass, .. } = self.held.of_key(hash, key);
        dbs[self.db].set_expire(hash, key, at, pass)
    }

    // ---- the account ---------------------------------------------------------------------

    /// A key has changed: counts one change, tells watchers, wakes who waits for the key, and
    /// publishes the event.
    #[inline]
    pub fn modified(&mut self, class: EventClass, event: &'static str, key: &[u8]) {
        self.changes.dirty += 1;
        self.signal(key);
        self.notify(class, event, key);
    }

    /// A key has changed, without count or event: tells watchers and who waits for the key.
    #[inline]
    pub fn signal(&mut self, key: &[u8]) {
        let db = self.db;
        let (_, stripe) = self.locate(key);
        stripe.touch(db, key);
        self.wake(key);
        self.note(key);
    }

    /// Has those looked at who wait for the key, although it got nothing new.
    pub fn wake(&mut self, key: &[u8]) {
        let db = self.db;
        let (_, stripe) = self.locate(key);
        if !stripe.waiters.is_empty() && stripe.waiters.contains_key(&(db, Box::from(key))) {
            self.changes.ready.push((db, Box::from(key)));
        }
    }

    /// Names a key that has changed, for those who want all of them.
    #[inline]
    fn note(&mut self, key: &[u8]) {
        if self.space().notes_changes() {
            self.changes.modified.push(Box::from(key));
        }
    }

    /// Publishes an event if somebody wants its class.
    #[inline]
    pub fn notify(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        if self.options.notify & class.0 != 0 {
            self.changes.events.push(KeyEvent { class, name, db: self.db, key: Box::from(key) });
        }
    }

    /// Counts changes that [`Keys::modified`] did not.
    pub fn dirty(&mut self, changes: u64) {
        self.changes.dirty += changes;
    }

    // ---- the whole keyspace --------------------------------------------------------------

    /// Runs `f` on every stripe, one after the other; those not held are taken one at a time, so
    /// what it sees is atomic per stripe only.
    pub fn each_stripe(&mut self, mut f: impl FnMut(&mut StripeData)) {
        for index in 0..self.space().stripes() {
            self.held.with_stripe(index, &mut f);
        }
    }

    /// Runs `f` on one stripe.
    pub fn with_stripe<R>(&mut self, index: usize, f: impl FnOnce(&mut StripeData) -> R) -> R {
        self.held.with_stripe(index, f)
    }

    /// Empties one database or all; the stripes are all held. Returns how many keys went.
    pub fn flush(&mut self, db: Option<usize>) -> (u64, Vec<crate::DbStripe>) {
        let databases = self.space().databases();
        let range = db.map_or(0..databases, |db| db..db + 1);
        let (mut removed, mut tables, mut ready) = (0, Vec::new(), Vec::new());
        self.changes.flushed = true;
        for stripe in self.held.each() {
            for db in range.clone() {
                stripe.touch_all(db, None);
                ready.extend(stripe.waited_keys(db).into_iter().map(|key| (db, key)));
                removed += stripe.dbs[db].len() as u64;
                tables.push(stripe.flush_db(db));
            }
        }
        self.changes.ready.extend(ready);
        (removed, tables)
    }

    /// Exchanges two databases; the stripes are all held. Who waits for keys of either is woken.
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        let mut ready = Vec::new();
        for stripe in self.held.each() {
            stripe.touch_all(a, Some(b));
            stripe.touch_all(b, Some(a));
            stripe.dbs.swap(a, b);
            for db in [a, b] {
                ready.extend(stripe.waited_keys(db).into_iter().map(|key| (db, key)));
            }
        }
        self.changes.ready.extend(ready);
    }
}
