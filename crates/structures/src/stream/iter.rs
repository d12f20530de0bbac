//! Walking a stream by ranges of IDs, forwards and backwards.

use super::id::StreamId;
use super::node::{Master, Node, StreamEntry};
use std::collections::BTreeMap;
use std::collections::btree_map::Range;

/// The living entries of a range of IDs.
pub struct StreamIter<'a> {
    nodes: Range<'a, StreamId, Node>,
    within: Option<Place<'a>>,
    start: StreamId,
    end: StreamId,
    rev: bool,
}

/// A place between two entries of a node.
struct Place<'a> {
    key: StreamId,
    node: &'a Node,
    master: Master,
    at: usize,
}

impl<'a> StreamIter<'a> {
    pub(super) fn new(
        nodes: &'a BTreeMap<StreamId, Node>,
        start: StreamId,
        end: StreamId,
        rev: bool,
    ) -> StreamIter<'a> {
        // The node that `start` is in begins at or before it.
        let first = nodes.range(..=start).next_back().map_or(start, |(key, _)| *key);
        let nodes =
            if start <= end { nodes.range(first..=end) } else { nodes.range(..StreamId::ZERO) };
        StreamIter { nodes, within: None, start, end, rev }
    }

    fn enter(&mut self) -> Option<Place<'a>> {
        let (key, node) = if self.rev { self.nodes.next_back() } else { self.nodes.next() }?;
        let master = node.master();
        let at = if self.rev { node.0.end() } else { master.entries_at };
        Some(Place { key: *key, node, master, at })
    }
}

impl<'a> Iterator for StreamIter<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let mut place = match self.within.take() {
                Some(place) => place,
                None => self.enter()?,
            };
            let raw = if self.rev {
                if place.at <= place.master.entries_at {
                    continue;
                }
                let at = place.node.entry_before(place.at);
                place.at = at;
                place.node.entry(place.key, &place.master, at)
            } else {
                if place.at >= place.node.0.end() {
                    continue;
                }
                let raw = place.node.entry(place.key, &place.master, place.at);
                place.at = raw.next;
                raw
            };
            if if self.rev { raw.id < self.start } else { raw.id > self.end } {
                // Whatever follows lies outside, too.
                self.start = StreamId::MAX;
                self.end = StreamId::ZERO;
                self.nodes = Range::default();
                return None;
            }
            let entry = StreamEntry::new(place.node, &place.master, &raw);
            self.within = Some(place);
            if !raw.deleted && raw.id >= self.start && raw.id <= self.end {
                return Some(entry);
            }
        }
    }
}
