//! The stream: entries in order of their IDs, and the groups of consumers that read them.
//!
//! Entries lie in nodes, listpacks of up to `stream-node-max-bytes` or `stream-node-max-entries`,
//! byte for byte as Redis has them, so that files and payloads take them as they are. An ordered
//! map keeps the nodes by the ID of their first entry. Redis has a radix tree there; a node of 4 KiB
//! or 100 entries makes the difference between index structures small.
//!
//! Source: redis 7.0 `t_stream.c`, `stream.h`.

use crate::Limits;
use crate::listpack::{Corrupt, Listpack, SAFETY_LIMIT, corrupt};
use crate::size::class_size;
use std::collections::BTreeMap;

mod group;
mod id;
mod iter;
mod node;

pub use group::{ConsumerNo, Pending, StreamConsumer, StreamGroup, UNKNOWN_READ};
pub use id::StreamId;
pub use iter::StreamIter;
use node::Node;
pub use node::{StreamEntry, StreamFields};

/// What is cut off at the old end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// At most so many entries stay.
    MaxLen(u64),
    /// Entries from this ID on stay.
    MinId(StreamId),
}

/// A stream.
///
/// Invariants: no node is without a living entry; IDs ascend over all nodes and end at or before
/// `last_id`; `len` is the number of living entries.
#[derive(Clone)]
pub struct Stream(Box<Inner>);

#[derive(Clone, Default)]
struct Inner {
    nodes: BTreeMap<StreamId, Node>,
    len: u64,
    first_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    groups: BTreeMap<Box<[u8]>, StreamGroup>,
}

/// The counters of a stream, as files hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamMeta {
    /// Living entries.
    pub len: u64,
    /// ID of the first living entry, 0-0 if there is none.
    pub first_id: StreamId,
    /// The highest ID that ever was in the stream, or that XSETID set.
    pub last_id: StreamId,
    /// The highest ID that XDEL deleted.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream::new()
    }
}

/// Entries.
impl Stream {
    /// A stream without entries, which a key may hold.
    pub fn new() -> Stream {
        Stream(Box::default())
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// True without any entry.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The counters.
    pub fn meta(&self) -> StreamMeta {
        let Inner { len, first_id, last_id, max_deleted_id, entries_added, .. } = *self.0;
        StreamMeta { len, first_id, last_id, max_deleted_id, entries_added }
    }

    /// The highest ID so far.
    pub fn last_id(&self) -> StreamId {
        self.0.last_id
    }

    /// Sets the highest ID (XSETID); the caller has seen to it that no entry has a higher one.
    pub fn set_last_id(&mut self, id: StreamId) {
        self.0.last_id = id;
    }

    /// Sets the number of entries ever added (XSETID).
    pub fn set_entries_added(&mut self, count: u64) {
        self.0.entries_added = count;
    }

    /// Sets the highest deleted ID (XSETID).
    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        self.0.max_deleted_id = id;
    }

    /// The ID that an entry added at `now_ms` gets; `None` if there is none left.
    /// Source: redis 7.0 `t_stream.c:streamNextID`.
    pub fn next_id(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.0.last_id.ms {
            return Some(StreamId::new(now_ms, 0));
        }
        self.0.last_id.next()
    }

    /// Whether texts of `bytes` in all can be one entry.
    pub fn can_hold(bytes: usize) -> bool {
        bytes <= SAFETY_LIMIT
    }

    /// Appends an entry. `pairs` has fields and values in turn.
    ///
    /// # Panics
    /// If the ID is not above [`Stream::last_id`].
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], limits: &Limits) {
        assert!(id > self.0.last_id && pairs.len().is_multiple_of(2), "IDs ascend");
        let inner = &mut *self.0;
        let bytes = pairs.iter().map(|text| text.len()).sum();
        let tail = inner.nodes.last_entry().filter(|tail| has_room(tail.get(), bytes, limits));
        match tail {
            Some(mut tail) => {
                let key = *tail.key();
                tail.get_mut().push(key, id, pairs);
            }
            None => {
                let mut node = Node::new(pairs);
                node.push(id, id, pairs);
                inner.nodes.insert(id, node);
            }
        }
        if inner.len == 0 {
            inner.first_id = id;
        }
        inner.len += 1;
        inner.entries_added = inner.entries_added.wrapping_add(1);
        inner.last_id = id;
    }

    /// The entries from `start` to `end`, both included; with `rev` from the end on.
    pub fn range(&self, start: StreamId, end: StreamId, rev: bool) -> StreamIter<'_> {
        StreamIter::new(&self.0.nodes, start, end, rev)
    }

    /// All entries.
    pub fn iter(&self) -> StreamIter<'_> {
        self.range(StreamId::ZERO, StreamId::MAX, false)
    }

    /// One entry.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.range(id, id, false).next()
    }

    /// ID of the last living entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range(StreamId::ZERO, StreamId::MAX, true).next().map(|entry| entry.id)
    }

    /// Deletes an entry; true if it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let inner = &mut *self.0;
        let Some((&key, node)) = inner.nodes.range_mut(..=id).next_back() else { return false };
        let master = node.master();
        let mut at = master.entries_at;
        let raw = loop {
            if at >= node.0.end() {
                return false;
            }
            let raw = node.entry(key, &master, at);
            if raw.id >= id {
                break raw;
            }
            at = raw.next;
        };
        if raw.id != id || raw.deleted {
            return false;
        }
        if node.delete(&raw) {
            inner.nodes.remove(&key);
        }
        inner.len -= 1;
        inner.max_deleted_id = inner.max_deleted_id.max(id);
        if id == inner.first_id {
            self.find_first();
        }
        true
    }

    fn find_first(&mut self) {
        self.0.first_id = self.iter().next().map_or(StreamId::ZERO, |entry| entry.id);
    }

    /// Cuts entries off the old end. `approx` takes whole nodes only, and stops before more than
    /// `limit` entries (0: as many as there are) are gone. Returns how many went.
    /// Source: redis 7.0 `t_stream.c:streamTrim`.
    pub fn trim(&mut self, to: TrimTo, approx: bool, limit: u64) -> u64 {
        let inner = &mut *self.0;
        let before = inner.len;
        while let Some(mut node) = inner.nodes.first_entry() {
            let (key, alive) = (*node.key(), node.get().alive());
            if matches!(to, TrimTo::MaxLen(max) if inner.len <= max) {
                break;
            }
            if limit > 0 && (before - inner.len).saturating_add(alive) > limit {
                break;
            }
            let whole = match to {
                TrimTo::MaxLen(max) => inner.len - alive >= max,
                TrimTo::MinId(min) => node.get().last_id(key) < min,
            };
            if whole {
                node.remove();
                inner.len -= alive;
                continue;
            }
            if !approx {
                let len = inner.len;
                inner.len -= node.get_mut().delete_front(key, |id, deleted| match to {
                    TrimTo::MaxLen(max) => len - deleted > max,
                    TrimTo::MinId(min) => id < min,
                });
                if node.get().alive() == 0 {
                    node.remove();
                    continue;
                }
            }
            break;
        }
        let deleted = before - inner.len;
        if deleted > 0 {
            self.find_first();
        }
        deleted
    }
}

/// Whether the node may take one more entry of `bytes`.
fn has_room(node: &Node, bytes: usize, limits: &Limits) -> bool {
    let max = match limits.stream_node_max_bytes {
        0 => SAFETY_LIMIT,
        max => max.min(SAFETY_LIMIT),
    };
    let entries = limits.stream_node_max_entries;
    node.0.byte_len().saturating_add(bytes) < max && (entries == 0 || node.total() < entries as u64)
}

/// How far somebody who has read up to some ID has come.
impl Stream {
    /// Whether XDEL has deleted an entry at or after `start`, as far as that is known: then
    /// counting what lies behind `start` does not tell how much was added.
    /// Source: redis 7.0 `t_stream.c:streamRangeHasTombstones`.
    pub fn has_tombstones_from(&self, start: StreamId) -> bool {
        let deleted = self.0.max_deleted_id;
        // A deletion before the first entry leaves no gap behind it.
        self.0.len > 0 && deleted >= self.0.first_id && start <= deleted
    }

    /// How many entries were ever added up to `id`, as far as that can be told.
    /// Source: redis 7.0 `t_stream.c:streamEstimateDistanceFromFirstEverEntry`.
    pub fn count_up_to(&self, id: StreamId) -> Option<u64> {
        let Inner { len, first_id, last_id, max_deleted_id, entries_added, .. } = *self.0;
        if entries_added == 0 {
            return Some(0);
        }
        if len == 0 && id <= last_id {
            return Some(entries_added);
        }
        if id != StreamId::ZERO && id < max_deleted_id && max_deleted_id >= first_id {
            return None;
        }
        if id == last_id {
            return Some(entries_added);
        }
        if id > last_id {
            return None;
        }
        if max_deleted_id == StreamId::ZERO || max_deleted_id < first_id {
            if id < first_id {
                return Some(entries_added.wrapping_sub(len));
            }
            if id == first_id {
                return Some(entries_added.wrapping_sub(len).wrapping_add(1));
            }
        }
        None
    }

    /// How many entries a group has still to read; `None` if that can't be told.
    /// Source: redis 7.0 `t_stream.c:xinfoCommand`.
    pub fn lag(&self, group: &StreamGroup) -> Option<i64> {
        let added = self.0.entries_added;
        if added == 0 {
            return Some(0);
        }
        if group.entries_read != UNKNOWN_READ && !self.has_tombstones_from(group.last_id) {
            return Some((added as i64).wrapping_sub(group.entries_read));
        }
        let read = self.count_up_to(group.last_id)?;
        Some(added.wrapping_sub(read) as i64)
    }
}

/// Groups.
impl Stream {
    /// Number of groups.
    pub fn group_count(&self) -> usize {
        self.0.groups.len()
    }

    /// The groups by their names, in order.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &StreamGroup)> {
        self.0.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// One group.
    pub fn group(&self, name: &[u8]) -> Option<&StreamGroup> {
        self.0.groups.get(name)
    }

    /// One group, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut StreamGroup> {
        self.0.groups.get_mut(name)
    }

    /// Adds a group; false if there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: StreamGroup) -> bool {
        if self.0.groups.contains_key(name) {
            return false;
        }
        self.0.groups.insert(Box::from(name), group);
        true
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<StreamGroup> {
        self.0.groups.remove(name)
    }
}

/// Files and sizes.
impl Stream {
    /// Keys and listpacks of the nodes, in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Listpack)> {
        self.0.nodes.iter().map(|(key, node)| (*key, &node.0))
    }

    /// How many nodes Redis's radix tree has over these keys (XINFO STREAM): one for each run of
    /// bytes without a branch, one for each branch, and one for each end.
    pub fn radix_nodes(&self) -> usize {
        fn count(keys: &[[u8; 16]], from: usize) -> usize {
            let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 1 };
            // The keys are sorted: what the outer ones share, all share.
            let shared = (from..16).take_while(|&at| first[at] == last[at]).count();
            let at = from + shared;
            let run = usize::from(shared > 0);
            if at == 16 {
                return run + 1;
            }
            let below = keys.chunk_by(|a, b| a[at] == b[at]).map(|keys| count(keys, at + 1));
            run + 1 + below.sum::<usize>()
        }
        let keys: Vec<[u8; 16]> = self.0.nodes.keys().map(|key| key.to_be_bytes()).collect();
        count(&keys, 0)
    }

    /// Appends a node that was read from a file or peer.
    ///
    /// # Errors
    /// If it has not the form of one, or does not follow the nodes before.
    pub fn push_node(&mut self, key: StreamId, pack: Listpack) -> Result<(), Corrupt> {
        let checked = Node::check(&pack, key)?;
        let inner = &mut *self.0;
        if key <= inner.last_id && inner.last_id != StreamId::ZERO {
            return corrupt(0, "nodes with ascending IDs");
        }
        inner.last_id = checked.last;
        inner.len = inner.len.saturating_add(checked.alive);
        // Redis's XTRIM MINID can leave a node of nothing but deleted entries.
        if checked.alive > 0 {
            inner.nodes.insert(key, Node(pack));
        }
        Ok(())
    }

    /// Ends reading: takes the counters over after the last [`Stream::push_node`]. The ID of the
    /// first entry is looked up, not taken over.
    ///
    /// # Errors
    /// If they contradict the entries.
    pub fn set_meta(&mut self, meta: StreamMeta) -> Result<(), Corrupt> {
        if meta.len != self.0.len {
            return corrupt(0, "the true length of a stream");
        }
        if meta.last_id < self.0.last_id {
            return corrupt(0, "a last ID that is not before the entries");
        }
        self.find_first();
        self.0.last_id = meta.last_id;
        self.0.max_deleted_id = meta.max_deleted_id;
        self.0.entries_added = meta.entries_added;
        Ok(())
    }

    /// Bytes requested from the allocator.
    pub fn mem_usage(&self) -> usize {
        const ENTRY: usize = size_of::<StreamId>() + size_of::<Node>();
        let nodes: usize = self.0.nodes.values().map(|node| node.0.mem_usage()).sum();
        let groups: usize = self.groups().map(|(name, g)| group::named(name) + g.mem_usage()).sum();
        class_size(size_of::<Inner>())
            + group::map_bytes(self.0.nodes.len(), ENTRY)
            + nodes
            + groups
    }
}

#[cfg(test)]
mod tests;
