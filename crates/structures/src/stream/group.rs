//! Groups of consumers: what was given to whom and is not acknowledged yet.
//!
//! The pending entries of a group are one ordered map by ID, which says whose each is; every
//! consumer has the set of the IDs that are its own. Redis shares one record between two radix
//! trees; here the consumer's side is the ID alone.

use super::id::StreamId;
use crate::size::class_size;
use std::collections::{BTreeMap, BTreeSet};

/// The number of entries that a group has read, where it is unknown.
pub const UNKNOWN_READ: i64 = -1;

/// A consumer's place in its group; good until the consumer is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerNo(u32);

/// An entry that was given to a consumer and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Whose it is.
    pub consumer: ConsumerNo,
    /// When it was given last, Unix time in ms.
    pub delivered_at: i64,
    /// How often it was given.
    pub deliveries: u64,
}

/// One consumer.
#[derive(Clone)]
pub struct StreamConsumer {
    name: Box<[u8]>,
    /// When it was last heard of, Unix time in ms.
    pub seen_time: i64,
    /// When it last got an entry, Unix time in ms; -1 for never.
    pub active_time: i64,
    pending: BTreeSet<StreamId>,
}

/// A group of consumers.
///
/// Invariant: an ID is in the pending set of exactly the consumer that `pending` names.
#[derive(Clone)]
pub struct StreamGroup {
    /// The last entry that was given to anybody.
    pub last_id: StreamId,
    /// How many entries were read, [`UNKNOWN_READ`] if that is not known.
    pub entries_read: i64,
    pending: BTreeMap<StreamId, Pending>,
    /// Places, some of them free.
    consumers: Vec<Option<StreamConsumer>>,
    /// Places in the order of names.
    order: Vec<u32>,
}

impl StreamConsumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of entries that wait for its acknowledgement.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// IDs of those entries from `start` to `end`, in order.
    pub fn pending(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = StreamId> {
        let range = (start <= end).then(|| self.pending.range(start..=end));
        range.into_iter().flatten().copied()
    }
}

impl StreamGroup {
    /// A group without consumers.
    pub fn new(last_id: StreamId, entries_read: i64) -> StreamGroup {
        StreamGroup {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            consumers: Vec::new(),
            order: Vec::new(),
        }
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.order.binary_search_by(|&place| {
            self.consumers[place as usize].as_ref().map_or(&[][..], |c| &c.name).cmp(name)
        })
    }

    /// Number of consumers.
    pub fn consumer_count(&self) -> usize {
        self.order.len()
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &StreamConsumer> {
        self.order.iter().filter_map(|&place| self.consumers[place as usize].as_ref())
    }

    /// The place of the consumer of this name.
    pub fn consumer_no(&self, name: &[u8]) -> Option<ConsumerNo> {
        self.find(name).ok().map(|at| ConsumerNo(self.order[at]))
    }

    /// A consumer.
    ///
    /// # Panics
    /// If the consumer was removed.
    pub fn consumer(&self, no: ConsumerNo) -> &StreamConsumer {
        self.consumers[no.0 as usize].as_ref().expect("a consumer that is there")
    }

    /// A consumer, to set its times.
    ///
    /// # Panics
    /// If the consumer was removed.
    pub fn consumer_mut(&mut self, no: ConsumerNo) -> &mut StreamConsumer {
        self.consumers[no.0 as usize].as_mut().expect("a consumer that is there")
    }

    /// Adds a consumer that was never active; `None` if there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], seen_time: i64) -> Option<ConsumerNo> {
        let at = self.find(name).err()?;
        let consumer = StreamConsumer {
            name: Box::from(name),
            seen_time,
            active_time: -1,
            pending: BTreeSet::new(),
        };
        let has_free = self.order.len() < self.consumers.len();
        let free = has_free.then(|| self.consumers.iter().position(Option::is_none)).flatten();
        let place = free.unwrap_or(self.consumers.len());
        match free {
            Some(free) => self.consumers[free] = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        let place = u32::try_from(place).expect("fewer consumers than memory holds");
        self.order.insert(at, place);
        Some(ConsumerNo(place))
    }

    /// Removes a consumer with everything that it has pending; returns how many entries that were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.find(name).ok()?;
        let place = self.order.remove(at);
        let consumer = self.consumers[place as usize].take()?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        while matches!(self.consumers.last(), Some(None)) {
            self.consumers.pop();
        }
        Some(consumer.pending.len())
    }

    /// Number of entries that wait for acknowledgement.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The state of one such entry.
    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// Those entries from `start` to `end`, in order.
    pub fn pending_range(
        &self,
        start: StreamId,
        end: StreamId,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        let range = (start <= end).then(|| self.pending.range(start..=end));
        range.into_iter().flatten().map(|(id, pending)| (*id, pending))
    }

    /// Makes an entry pending with this state, whosever it was before.
    pub fn set_pending(&mut self, id: StreamId, pending: Pending) {
        let old = self.pending.insert(id, pending);
        match old {
            Some(old) if old.consumer == pending.consumer => return,
            Some(old) => {
                self.consumer_mut(old.consumer).pending.remove(&id);
            }
            None => {}
        }
        self.consumer_mut(pending.consumer).pending.insert(id);
    }

    /// Acknowledges an entry; true if it was pending.
    pub fn ack(&mut self, id: StreamId) -> bool {
        match self.pending.remove(&id) {
            Some(pending) => {
                self.consumer_mut(pending.consumer).pending.remove(&id);
                true
            }
            None => false,
        }
    }

    /// Bytes requested from the allocator, the group itself not included.
    pub(super) fn mem_usage(&self) -> usize {
        const PENDING: usize = size_of::<StreamId>() + size_of::<Pending>();
        let consumers: usize = self
            .consumers()
            .map(|c| class_size(c.name.len()) + map_bytes(c.pending.len(), size_of::<StreamId>()))
            .sum();
        let slab = self.consumers.capacity() * size_of::<Option<StreamConsumer>>();
        let order = self.order.capacity() * size_of::<u32>();
        map_bytes(self.pending.len(), PENDING) + consumers + slab + order
    }
}

/// Bytes of one group with its name in the stream's map.
pub(super) fn named(name: &[u8]) -> usize {
    class_size(name.len()) + size_of::<Box<[u8]>>() + size_of::<StreamGroup>()
}

/// About the bytes of an ordered map of `len` entries of `size` bytes: nodes of 11 places, more
/// than half of them in use, and those above them.
pub(super) fn map_bytes(len: usize, size: usize) -> usize {
    if len == 0 { 0 } else { len.div_ceil(7) * (class_size(11 * size + 16) + 16) }
}
