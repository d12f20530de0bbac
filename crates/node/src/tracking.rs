//! Client-side caching (CLIENT TRACKING): who has read which key, and telling them when it changes.
//!
//! In the default mode a table remembers, for each key, the connections that have read it since it
//! last changed; the change takes the key out and tells them. In BCAST mode nothing is remembered:
//! a change is told to everybody who asked for one of the key's prefixes. Keys count by name alone,
//! whatever their database, as in Redis.
//!
//! **Why no invalidation is lost.** A read is entered in the table, and a write looks there, while
//! the command holds the key's stripe. So of a read and a write of one key either the write comes
//! first, and the read has the new value; or the read comes first, and the write finds its entry.
//! The message goes into the mailbox of the receiver's worker before the stripe is let go, and that
//! worker looks into its mailbox only after it has put the replies of what it runs into the output:
//! a message never overtakes the reply that it is about. It may come behind a reply with the newer
//! value, which costs the client a read and nothing else. The limit of the table sends while it
//! holds the table, so a writer who finds a key gone knows that its message is on the way. Tracking
//! is turned on under all stripes: no command that began before goes on after it, so the two
//! relaxed loads that say whether anybody cares are never out of date where it matters. BCAST
//! messages leave after the stripes are let go but before the writer has its reply; since whoever
//! registers reads only afterwards, and no state is kept, that loses nothing either.
//!
//! Lock order: stripes, then `switch`, then one table or `prefixes`, then the connections' table and
//! mailboxes.
//! Source: redis 7.0 `tracking.c`.

use crate::{ClientInfo, Message, Node, Session, lock};
use hashbrown::HashTable;
use keyspace::Keyspace;
use resp::{Protocol, Reply};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use stdx::Prng;
use structures::hash::hash_bytes;

bitflags::bitflags! {
    /// How a connection tracks; all bits clear if it does not.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Track: u32 {
        /// CLIENT TRACKING ON.
        const ON = 1;
        /// By prefixes.
        const BCAST = 1 << 1;
        /// Only reads after CLIENT CACHING YES.
        const OPTIN = 1 << 2;
        /// All reads but those after CLIENT CACHING NO.
        const OPTOUT = 1 << 3;
        /// Not told of its own changes.
        const NOLOOP = 1 << 4;
        /// The connection that messages are redirected to is gone.
        const BROKEN = 1 << 5;
    }
}

/// Messages of RESP2 connections come on this channel.
const CHANNEL: &str = "__redis__:invalidate";

/// Keys that changed in one command, or in one transaction, with who changed them last.
pub(crate) type Broadcast = BTreeMap<Box<[u8]>, u64>;

/// A key and who has read it.
struct Tracked {
    hash: u64,
    key: Box<[u8]>,
    /// In order. Connections that are gone stay until the key changes.
    clients: SmallVec<[u64; 2]>,
}

/// The keys of one stripe.
#[derive(Default)]
struct Table {
    entries: Vec<Tracked>,
    /// Places in `entries`.
    index: HashTable<usize>,
}

impl Table {
    /// Enters a read; (true if the key is new, true if the connection is).
    fn insert(&mut self, hash: u64, key: &[u8], client: u64) -> (bool, bool) {
        let Table { entries, index } = self;
        let found =
            index.find(hash, |&at| entries.get(at).is_some_and(|e| *e.key == *key)).copied();
        if let Some(entry) = found.and_then(|at| entries.get_mut(at)) {
            let place = entry.clients.binary_search(&client);
            if let Err(place) = place {
                entry.clients.insert(place, client);
            }
            return (false, place.is_err());
        }
        let at = entries.len();
        entries.push(Tracked {
            hash,
            key: Box::from(key),
            clients: SmallVec::from_slice(&[client]),
        });
        index.insert_unique(hash, at, |&at| entries.get(at).map_or(0, |entry| entry.hash));
        (true, true)
    }

    /// Takes a key out.
    fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Tracked> {
        let entries = &self.entries;
        let same = |at: &usize| entries.get(*at).is_some_and(|entry| *entry.key == *key);
        let (at, _) = self.index.find_entry(hash, same).ok()?.remove();
        let taken = self.entries.swap_remove(at);
        let moved_from = self.entries.len();
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.index.find_mut(moved.hash, |&other| other == moved_from)
        {
            *place = at;
        }
        Some(taken)
    }

    fn remove_any(&mut self, rng: &mut Prng) -> Option<Tracked> {
        if self.entries.is_empty() {
            return None;
        }
        let at = rng.below(self.entries.len() as u64) as usize;
        let (hash, key) = self.entries.get(at).map(|entry| (entry.hash, entry.key.clone()))?;
        self.remove(hash, &key)
    }
}

/// Who follows a prefix, by their numbers.
type Prefixes = BTreeMap<Vec<u8>, BTreeMap<u64, Arc<ClientInfo>>>;

/// What INFO shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingCounts {
    /// Connections in tracking mode.
    pub clients: usize,
    /// Keys in the tables.
    pub keys: usize,
    /// Pairs of key and connection.
    pub items: usize,
    /// Prefixes.
    pub prefixes: usize,
}

/// Who tracks what.
pub struct Tracking {
    /// Serialises turning it on and off.
    switch: Mutex<()>,
    clients: AtomicUsize,
    /// One for each stripe.
    tables: Box<[Mutex<Table>]>,
    keys: AtomicUsize,
    items: AtomicUsize,
    prefixes: Mutex<Prefixes>,
    prefix_count: AtomicUsize,
    /// Commands in a row that found the tables too full.
    over: AtomicUsize,
    rng: Mutex<Prng>,
}

/// What a message says.
#[derive(Clone, Copy)]
enum What<'a> {
    /// These keys have changed.
    Keys(&'a [&'a [u8]]),
    /// Everything may have.
    All,
}

impl Tracking {
    pub(crate) fn new(stripes: usize, seed: u64) -> Tracking {
        Tracking {
            switch: Mutex::new(()),
            clients: AtomicUsize::new(0),
            tables: (0..stripes).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            prefixes: Mutex::default(),
            prefix_count: AtomicUsize::new(0),
            over: AtomicUsize::new(0),
            rng: Mutex::new(Prng::new(seed)),
        }
    }

    /// True while anybody tracks.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.clients.load(Relaxed) > 0
    }

    /// Counts for INFO.
    pub fn counts(&self) -> TrackingCounts {
        TrackingCounts {
            clients: self.clients.load(Relaxed),
            keys: self.keys.load(Relaxed),
            items: self.items.load(Relaxed),
            prefixes: self.prefix_count.load(Relaxed),
        }
    }

    /// Turns tracking on, or changes its mode. Call it with all stripes held.
    pub(crate) fn enable(
        &self,
        space: &Keyspace,
        session: &mut Session,
        mode: Track,
        redirect: u64,
        prefixes: &[&[u8]],
    ) {
        let _switch = lock(&self.switch);
        let info = &session.info;
        if !info.track().contains(Track::ON) {
            self.clients.fetch_add(1, Relaxed);
            space.note_changes(true);
        }
        info.redirect.store(redirect, Relaxed);
        info.tracking.store((mode | Track::ON).bits(), Relaxed);
        if !mode.contains(Track::BCAST) {
            return;
        }
        let everything: &[&[u8]] = &[b""];
        let prefixes = if prefixes.is_empty() { everything } else { prefixes };
        let mut table = lock(&self.prefixes);
        for prefix in prefixes {
            table.entry(prefix.to_vec()).or_default().insert(info.id, Arc::clone(info));
            session.prefixes.insert(prefix.to_vec());
        }
        self.prefix_count.store(table.len(), Relaxed);
    }

    /// Turns tracking off. What the tables remember of the connection goes with time.
    pub(crate) fn disable(&self, space: &Keyspace, session: &mut Session) {
        session.caching = false;
        if session.info.track().is_empty() {
            return;
        }
        let _switch = lock(&self.switch);
        session.info.tracking.store(0, Relaxed);
        session.info.redirect.store(0, Relaxed);
        let prefixes = std::mem::take(&mut session.prefixes);
        if !prefixes.is_empty() {
            let mut table = lock(&self.prefixes);
            for prefix in prefixes {
                if let Some(clients) = table.get_mut(&prefix) {
                    clients.remove(&session.info.id);
                    if clients.is_empty() {
                        table.remove(&prefix);
                    }
                }
            }
            self.prefix_count.store(table.len(), Relaxed);
        }
        if self.clients.fetch_sub(1, Relaxed) == 1 {
            // Nobody is left to be told; writers need not look any more.
            space.note_changes(false);
            self.clear();
        }
    }

    /// Enters a read of a key whose stripe is held.
    pub(crate) fn remember(&self, stripe: usize, key: &[u8], client: u64) {
        let Some(table) = self.tables.get(stripe) else { return };
        let (new_key, new_item) = lock(table).insert(hash_bytes(key), key, client);
        self.keys.fetch_add(usize::from(new_key), Relaxed);
        self.items.fetch_add(usize::from(new_item), Relaxed);
    }

    fn forgot(&self, tracked: &Tracked) {
        self.keys.fetch_sub(1, Relaxed);
        self.items.fetch_sub(tracked.clients.len(), Relaxed);
    }

    fn clear(&self) {
        for table in &self.tables {
            let mut table = lock(table);
            table.index.clear();
            for tracked in std::mem::take(&mut table.entries) {
                self.forgot(&tracked);
            }
        }
    }

    /// True if somebody tracks by prefixes.
    #[inline]
    pub(crate) fn broadcasts(&self) -> bool {
        self.prefix_count.load(Relaxed) > 0
    }
}

/// Where a message for the connection that is being served goes: behind its reply.
pub(crate) struct Own<'a> {
    /// Its number; 0 for none.
    pub(crate) id: u64,
    /// What follows its reply.
    pub(crate) after: &'a mut Vec<u8>,
}

impl Node {
    /// Keys have changed whose stripes are held: those who have read them are told, and BCAST
    /// messages are put together for [`Node::broadcast`].
    pub(crate) fn keys_changed(
        &self,
        keys: Vec<Box<[u8]>>,
        own: &mut Own<'_>,
        broadcast: &mut Broadcast,
    ) {
        for key in keys {
            if self.tracking.keys.load(Relaxed) > 0 {
                self.invalidate(&key, own);
            }
            if self.tracking.broadcasts() {
                broadcast.insert(key, own.id);
            }
        }
    }

    fn invalidate(&self, key: &[u8], own: &mut Own<'_>) {
        let tracking = &self.tracking;
        let Some(table) = tracking.tables.get(self.keyspace.stripe_of(key)) else { return };
        let mut table = lock(table);
        if let Some(tracked) = table.remove(hash_bytes(key), key) {
            tracking.forgot(&tracked);
            self.tell_readers(&tracked, own);
        }
    }

    fn tell_readers(&self, tracked: &Tracked, own: &mut Own<'_>) {
        for &id in &tracked.clients {
            let Some(client) = self.clients.get(id) else { continue };
            let mode = client.track();
            let silent = mode.contains(Track::BCAST)
                || !mode.contains(Track::ON)
                || (mode.contains(Track::NOLOOP) && id == own.id);
            if !silent {
                self.send_invalidation(&client, What::Keys(&[&tracked.key]), own);
            }
        }
    }

    /// A key has gone by itself (its time, or want of memory); its stripe is held.
    pub(crate) fn key_went(&self, key: &[u8]) {
        if !self.keyspace.notes_changes() {
            return;
        }
        let (mut broadcast, mut after) = (Broadcast::new(), Vec::new());
        let mut own = Own { id: 0, after: &mut after };
        self.keys_changed(vec![Box::from(key)], &mut own, &mut broadcast);
        self.broadcast(&mut broadcast, &mut own);
    }

    /// Tells those who track by prefixes of the keys that a command or transaction has changed.
    pub(crate) fn broadcast(&self, changed: &mut Broadcast, own: &mut Own<'_>) {
        if changed.is_empty() {
            return;
        }
        let changed = std::mem::take(changed);
        let prefixes = lock(&self.tracking.prefixes);
        for (prefix, clients) in prefixes.iter() {
            let keys: Vec<(&[u8], u64)> = changed
                .range(Box::from(prefix.as_slice())..)
                .map(|(key, &by)| (&**key, by))
                .take_while(|(key, _)| key.starts_with(prefix))
                .collect();
            for client in clients.values() {
                let no_loop = client.track().contains(Track::NOLOOP);
                let told: Vec<&[u8]> = keys
                    .iter()
                    .filter(|(_, by)| !(no_loop && *by == client.id))
                    .map(|(key, _)| *key)
                    .collect();
                if !told.is_empty() {
                    self.send_invalidation(client, What::Keys(&told), own);
                }
            }
        }
    }

    /// All keys of a database, or of all, have gone; the stripes are held. Nothing is remembered
    /// any more, and everybody is told so.
    pub(crate) fn all_keys_changed(&self, own: &mut Own<'_>) {
        if !self.tracking.is_active() {
            return;
        }
        self.tracking.clear();
        for client in self.clients.all() {
            if client.track().contains(Track::ON) {
                self.send_invalidation(&client, What::All, own);
            }
        }
    }

    /// As FLUSHALL for those who track: the data set is being replaced. The stripes are held.
    pub fn data_set_emptied(&self) {
        self.all_keys_changed(&mut Own { id: 0, after: &mut Vec::new() });
    }

    /// Keeps the tables within `tracking-table-max-keys`: keys go as if they had changed, the more
    /// at a time the longer there have been too many.
    pub(crate) fn limit_tracking(&self, max: u64) {
        let tracking = &self.tracking;
        let fits = || tracking.keys.load(Relaxed) as u64 <= max;
        if max == 0 || fits() {
            if tracking.over.load(Relaxed) != 0 {
                tracking.over.store(0, Relaxed);
            }
            return;
        }
        let rounds = tracking.over.fetch_add(1, Relaxed).saturating_add(1);
        let mut rng = lock(&tracking.rng);
        let count = tracking.tables.len();
        for _ in 0..rounds.saturating_mul(100) {
            let first = rng.below(count as u64) as usize;
            for table in tracking.tables.iter().cycle().skip(first).take(count) {
                let mut table = lock(table);
                if let Some(tracked) = table.remove_any(&mut rng) {
                    tracking.forgot(&tracked);
                    self.tell_readers(&tracked, &mut Own { id: 0, after: &mut Vec::new() });
                    break;
                }
            }
            if fits() {
                tracking.over.store(0, Relaxed);
                return;
            }
        }
    }

    fn send_invalidation(&self, client: &Arc<ClientInfo>, what: What<'_>, own: &mut Own<'_>) {
        let redirect = client.redirect.load(Relaxed);
        if redirect == 0 {
            return self.deliver(client, message(client, what, false), own);
        }
        if let Some(receiver) = self.clients.get(redirect) {
            return self.deliver(&receiver, message(&receiver, what, true), own);
        }
        client.tracking.fetch_or(Track::BROKEN.bits(), Relaxed);
        if client.protocol() == Protocol::Resp3 {
            let mut reply = Reply::new(Protocol::Resp3);
            reply.push(2);
            reply.text("tracking-redir-broken");
            reply.integer(redirect as i64);
            self.deliver(client, Some(reply.into_bytes()), own);
        }
    }

    fn deliver(&self, receiver: &ClientInfo, bytes: Option<Vec<u8>>, own: &mut Own<'_>) {
        let Some(bytes) = bytes else { return };
        if receiver.id == own.id {
            own.after.extend_from_slice(&bytes);
        } else if let Some(mailbox) = self.mailboxes.get(receiver.worker()) {
            mailbox.send(Message::Push { client: receiver.id, bytes });
        }
    }
}

/// A message for its receiver; none if it could not take it for what it is: in RESP2 only a
/// connection that others redirect to, and that is subscribed to something, expects messages.
fn message(receiver: &ClientInfo, what: What<'_>, redirected: bool) -> Option<Vec<u8>> {
    let mut reply = Reply::new(receiver.protocol());
    if receiver.protocol() == Protocol::Resp3 {
        reply.push(2);
        reply.text("invalidate");
    } else if redirected && receiver.is_subscribed() {
        reply.push(3);
        reply.text("message");
        reply.text(CHANNEL);
    } else {
        return None;
    }
    match what {
        What::All => reply.null(),
        What::Keys(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
    Some(reply.into_bytes())
}

#[cfg(test)]
mod tests;
