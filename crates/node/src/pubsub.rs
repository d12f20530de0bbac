//! Channels, patterns, shard channels, and who listens.
//!
//! Publishing finds the listeners under one lock and leaves the encoded message in the mailbox of
//! each listener's worker. Shard channels have names of their own: without cluster mode all of them
//! are local, and no pattern matches them.

use crate::client::ClientInfo;
use crate::lock;
use crate::mailbox::{Mailbox, Message};
use resp::{Protocol, Reply};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Listeners = BTreeMap<u64, Arc<ClientInfo>>;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A channel.
    Channel,
    /// All channels that match a pattern.
    Pattern,
    /// A shard channel.
    Shard,
}

#[derive(Default)]
struct Tables {
    channels: BTreeMap<Vec<u8>, Listeners>,
    patterns: BTreeMap<Vec<u8>, Listeners>,
    shards: BTreeMap<Vec<u8>, Listeners>,
}

impl Tables {
    fn of(&mut self, topic: Topic) -> &mut BTreeMap<Vec<u8>, Listeners> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }

    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shards.len()
    }
}

/// Something published.
struct Event<'a> {
    shard: bool,
    channel: &'a [u8],
    message: &'a [u8],
}

impl Event<'_> {
    /// As a listener to the channel, or to a pattern, hears it.
    fn encode(&self, pattern: Option<&[u8]>, reply: &mut Reply) {
        match pattern {
            None => {
                reply.push(3);
                reply.text(if self.shard { "smessage" } else { "message" });
            }
            Some(pattern) => {
                reply.push(4);
                reply.bulk(b"pmessage");
                reply.bulk(pattern);
            }
        }
        reply.bulk(self.channel);
        reply.bulk(self.message);
    }

    /// Sends it to the listeners of its channel, encoded once for each protocol version; returns how
    /// many they are.
    fn to_all<'m>(
        &self,
        listeners: &Listeners,
        mailbox: impl Fn(usize) -> Option<&'m Mailbox>,
        own: u64,
        own_out: &mut Vec<u8>,
    ) -> usize {
        let mut groups: BTreeMap<(usize, bool), Vec<u64>> = BTreeMap::new();
        for client in listeners.values() {
            if client.id == own {
                let mut reply = Reply::new(client.protocol());
                self.encode(None, &mut reply);
                own_out.extend_from_slice(reply.bytes());
            } else {
                let third = client.protocol() == Protocol::Resp3;
                groups.entry((client.worker(), third)).or_default().push(client.id);
            }
        }
        let mut encoded: [Option<Arc<[u8]>>; 2] = [None, None];
        for ((worker, third), clients) in groups {
            let bytes = encoded[usize::from(third)].get_or_insert_with(|| {
                let protocol = if third { Protocol::Resp3 } else { Protocol::Resp2 };
                let mut reply = Reply::new(protocol);
                self.encode(None, &mut reply);
                reply.into_bytes().into()
            });
            if let Some(mailbox) = mailbox(worker) {
                mailbox.send(Message::PushAll { clients, bytes: Arc::clone(bytes) });
            }
        }
        listeners.len()
    }
}

/// All subscriptions of this node.
#[derive(Default)]
pub struct PubSub {
    tables: Mutex<Tables>,
    /// Channels and patterns that somebody listens to: publishing to nobody costs one load.
    count: AtomicUsize,
}

impl PubSub {
    /// Subscribes; false if it was before.
    pub fn subscribe(&self, topic: Topic, name: &[u8], client: &Arc<ClientInfo>) -> bool {
        let mut tables = lock(&self.tables);
        let listeners = tables.of(topic).entry(name.to_vec()).or_default();
        let fresh = listeners.insert(client.id, Arc::clone(client)).is_none();
        self.count.store(tables.len(), Ordering::Release);
        fresh
    }

    /// Ends a subscription; false if there was none.
    pub fn unsubscribe(&self, topic: Topic, name: &[u8], client: u64) -> bool {
        let mut tables = lock(&self.tables);
        let table = tables.of(topic);
        let Some(listeners) = table.get_mut(name) else { return false };
        let was = listeners.remove(&client).is_some();
        if listeners.is_empty() {
            table.remove(name);
        }
        self.count.store(tables.len(), Ordering::Release);
        was
    }

    /// True if a message could reach anybody.
    pub fn has_listeners(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Sends a message to all listeners of a channel, or of a shard channel; returns how many there
    /// were. The message for `own`, the connection that publishes, is returned through `own_out` so
    /// that it precedes its reply.
    pub fn publish(
        &self,
        mailboxes: &[Mailbox],
        shard: bool,
        channel: &[u8],
        message: &[u8],
        own: u64,
        own_out: &mut Vec<u8>,
    ) -> usize {
        if !self.has_listeners() {
            return 0;
        }
        let tables = lock(&self.tables);
        let named = if shard { &tables.shards } else { &tables.channels };
        let direct = named.get(channel);
        let matching: Vec<_> = if shard {
            Vec::new()
        } else {
            let fits = |pattern: &&Vec<u8>| stdx::glob_match(pattern, channel, false);
            tables.patterns.iter().filter(|(pattern, _)| fits(pattern)).collect()
        };
        let event = Event { shard, channel, message };
        let mailbox = |worker: usize| mailboxes.get(worker);
        if matching.is_empty() {
            return direct.map_or(0, |listeners| event.to_all(listeners, mailbox, own, own_out));
        }
        // A client that gets the message several times gets all of them in one piece, as from a
        // server with one thread: what it sends upon the first comes too late to part them.
        let mut receivers = 0;
        let mut deliveries: BTreeMap<u64, (usize, Reply)> = BTreeMap::new();
        let mut deliver = |client: &ClientInfo, pattern: Option<&[u8]>| {
            let (_, reply) = deliveries
                .entry(client.id)
                .or_insert_with(|| (client.worker(), Reply::new(client.protocol())));
            event.encode(pattern, reply);
            receivers += 1;
        };
        for client in direct.into_iter().flat_map(Listeners::values) {
            deliver(client, None);
        }
        for (pattern, listeners) in matching {
            listeners.values().for_each(|client| deliver(client, Some(pattern)));
        }
        for (client, (worker, reply)) in deliveries {
            if client == own {
                own_out.extend_from_slice(reply.bytes());
            } else if let Some(mailbox) = mailbox(worker) {
                mailbox.send(Message::Push { client, bytes: reply.into_bytes() });
            }
        }
        receivers
    }

    /// Sends a message to all listeners of a channel, to each as `message` says it for them. From
    /// here nobody publishes that listens.
    pub fn publish_each<'m>(
        &self,
        mailboxes: &[Mailbox],
        channel: &[u8],
        message: &dyn Fn(&ClientInfo) -> &'m [u8],
    ) {
        let tables = lock(&self.tables);
        let mut deliveries: BTreeMap<u64, (usize, Reply)> = BTreeMap::new();
        let mut deliver = |client: &ClientInfo, pattern: Option<&[u8]>| {
            let (_, reply) = deliveries
                .entry(client.id)
                .or_insert_with(|| (client.worker(), Reply::new(client.protocol())));
            Event { shard: false, channel, message: message(client) }.encode(pattern, reply);
        };
        tables.channels.get(channel).into_iter().flat_map(Listeners::values).for_each(|client| {
            deliver(client, None);
        });
        for (pattern, listeners) in &tables.patterns {
            if stdx::glob_match(pattern, channel, false) {
                listeners.values().for_each(|client| deliver(client, Some(pattern)));
            }
        }
        for (client, (worker, reply)) in deliveries {
            if let Some(mailbox) = mailboxes.get(worker) {
                mailbox.send(Message::Push { client, bytes: reply.into_bytes() });
            }
        }
    }

    /// Channels of a kind with listeners that match `pattern`.
    pub fn channels(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut tables = lock(&self.tables);
        let names = tables.of(topic).keys();
        names.filter(|c| pattern.is_none_or(|p| stdx::glob_match(p, c, false))).cloned().collect()
    }

    /// Listeners of one channel, patterns not counted.
    pub fn listeners(&self, topic: Topic, channel: &[u8]) -> usize {
        lock(&self.tables).of(topic).get(channel).map_or(0, BTreeMap::len)
    }

    /// How many names of a kind have listeners.
    pub fn count(&self, topic: Topic) -> usize {
        lock(&self.tables).of(topic).len()
    }
}
