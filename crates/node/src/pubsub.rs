//! Channels, patterns, and who listens.
//!
//! Publishing finds the listeners under one lock and leaves the encoded message in the mailbox of
//! each listener's worker. Sharded pub/sub belongs to the next step of the data server.

use crate::client::ClientInfo;
use crate::lock;
use crate::mailbox::{Mailbox, Message};
use resp::Reply;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Listeners = BTreeMap<u64, Arc<ClientInfo>>;

#[derive(Default)]
struct Tables {
    channels: BTreeMap<Vec<u8>, Listeners>,
    patterns: BTreeMap<Vec<u8>, Listeners>,
}

/// All subscriptions of this node.
#[derive(Default)]
pub struct PubSub {
    tables: Mutex<Tables>,
    /// Channels and patterns that somebody listens to: publishing to nobody costs one load.
    count: AtomicUsize,
}

impl PubSub {
    /// Subscribes to a channel; false if it was before.
    pub fn subscribe(&self, channel: &[u8], client: &Arc<ClientInfo>) -> bool {
        self.add(channel, client, false)
    }

    /// Subscribes to a pattern; false if it was before.
    pub fn psubscribe(&self, pattern: &[u8], client: &Arc<ClientInfo>) -> bool {
        self.add(pattern, client, true)
    }

    fn add(&self, name: &[u8], client: &Arc<ClientInfo>, pattern: bool) -> bool {
        let mut tables = lock(&self.tables);
        let table = if pattern { &mut tables.patterns } else { &mut tables.channels };
        let fresh =
            table.entry(name.to_vec()).or_default().insert(client.id, Arc::clone(client)).is_none();
        self.count.store(tables.channels.len() + tables.patterns.len(), Ordering::Release);
        fresh
    }

    /// Ends a subscription; false if there was none.
    pub fn unsubscribe(&self, channel: &[u8], client: u64) -> bool {
        self.drop_one(channel, client, false)
    }

    /// Ends a subscription to a pattern; false if there was none.
    pub fn punsubscribe(&self, pattern: &[u8], client: u64) -> bool {
        self.drop_one(pattern, client, true)
    }

    fn drop_one(&self, name: &[u8], client: u64, pattern: bool) -> bool {
        let mut tables = lock(&self.tables);
        let table = if pattern { &mut tables.patterns } else { &mut tables.channels };
        let Some(listeners) = table.get_mut(name) else { return false };
        let was = listeners.remove(&client).is_some();
        if listeners.is_empty() {
            table.remove(name);
        }
        self.count.store(tables.channels.len() + tables.patterns.len(), Ordering::Release);
        was
    }

    /// True if a message could reach anybody.
    pub fn has_listeners(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Sends a message to all listeners; returns how many there were. The message for `own`, the
    /// connection that publishes, is returned through `own_out` so that it precedes its reply.
    pub fn publish(
        &self,
        mailboxes: &[Mailbox],
        channel: &[u8],
        message: &[u8],
        own: u64,
        own_out: &mut Vec<u8>,
    ) -> usize {
        if !self.has_listeners() {
            return 0;
        }
        let tables = lock(&self.tables);
        let mut receivers = 0;
        // A client that gets the message several times gets all of them in one piece, as from a
        // server with one thread: what it sends upon the first comes too late to part them.
        let mut deliveries: BTreeMap<u64, (usize, Reply)> = BTreeMap::new();
        let mut deliver = |client: &ClientInfo, pattern: Option<&[u8]>| {
            let (_, reply) = deliveries
                .entry(client.id)
                .or_insert_with(|| (client.worker, Reply::new(client.protocol())));
            match pattern {
                None => {
                    reply.push(3);
                    reply.bulk(b"message");
                }
                Some(pattern) => {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                }
            }
            reply.bulk(channel);
            reply.bulk(message);
            receivers += 1;
        };
        if let Some(listeners) = tables.channels.get(channel) {
            listeners.values().for_each(|client| deliver(client, None));
        }
        for (pattern, listeners) in &tables.patterns {
            if stdx::glob_match(pattern, channel, false) {
                listeners.values().for_each(|client| deliver(client, Some(pattern)));
            }
        }
        for (client, (worker, reply)) in deliveries {
            if client == own {
                own_out.extend_from_slice(reply.bytes());
            } else if let Some(mailbox) = mailboxes.get(worker) {
                mailbox.send(Message::Push { client, bytes: reply.into_bytes() });
            }
        }
        receivers
    }

    /// Channels with listeners that match `pattern`.
    pub fn channels(&self, pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
        let tables = lock(&self.tables);
        tables
            .channels
            .keys()
            .filter(|c| pattern.is_none_or(|p| stdx::glob_match(p, c, false)))
            .cloned()
            .collect()
    }

    /// Listeners of one channel, patterns not counted.
    pub fn listeners(&self, channel: &[u8]) -> usize {
        lock(&self.tables).channels.get(channel).map_or(0, BTreeMap::len)
    }

    /// Channels and patterns that have listeners.
    pub fn counts(&self) -> (usize, usize) {
        let tables = lock(&self.tables);
        (tables.channels.len(), tables.patterns.len())
    }
}
