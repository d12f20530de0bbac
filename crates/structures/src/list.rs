//! The list: one listpack while it is small, else a row of nodes ("quicklist").
//!
//! A node is a listpack of at most the configured size or, for an element too big to be packed, the
//! element alone. Conversions follow Redis 7.2: a listpack becomes a quicklist when a command's
//! additions would bring it over the node limit; a quicklist shrinks back to a listpack when removals
//! leave a single packed node of at most half the limit.
//!
//! Copies share their nodes, so a copy of a big list costs a pointer for each node.
//!
//! Nodes are not compressed in memory; `list-compress-depth` is accepted and has no effect.
//!
//! Source: redis 7.2 `t_list.c:listTypeTryConversionRaw`, `quicklist.c`.

use crate::listpack::{self, HEADER, Listpack, ListpackIter};
use crate::{Elem, Limits};
use std::collections::VecDeque;

mod node;

use node::{Node, NodeLimit};

#[derive(Clone)]
enum Repr {
    Packed(Listpack),
    Quick(Box<Quick>),
}

/// Invariant: no node is empty; `len` is the sum of the nodes' lengths.
#[derive(Clone)]
struct Quick {
    nodes: VecDeque<Node>,
    len: usize,
    /// The limits of the last change that had any, for conversions at removals.
    limit: NodeLimit,
}

/// A sequence of byte strings.
#[derive(Clone)]
pub struct List(Repr);

/// One node of a list, as the codecs see it.
#[derive(Clone, Copy)]
pub enum ListNode<'a> {
    /// A single big element.
    Plain(&'a [u8]),
    /// The bytes of a listpack of elements.
    Packed(&'a [u8]),
}

/// A node to be appended to a list by the codecs.
pub enum ListNodeOwned {
    /// A single big element.
    Plain(Vec<u8>),
    /// A listpack of elements.
    Packed(Listpack),
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List(Repr::Packed(Listpack::new()))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.len(),
            Repr::Quick(quick) => quick.len,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Packed(pack) => pack.is_empty(),
            Repr::Quick(quick) => quick.len == 0,
        }
    }

    /// The encoding's name: `listpack` or `quicklist`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Quick(_) => "quicklist",
        }
    }

    /// Prepares for `count` elements of together `bytes` bytes that one command is about to add: a
    /// listpack that would exceed the node limit becomes a quicklist. Adding calls it for its one
    /// element; a command that adds several calls it for all of them first and then
    /// [`List::push_back_prepared`] or [`List::push_front_prepared`], which decides as Redis does.
    pub fn reserve(&mut self, bytes: usize, count: usize, limits: &Limits) {
        let limit = NodeLimit::new(limits);
        match &mut self.0 {
            Repr::Packed(pack) => {
                let size = pack.byte_len().saturating_add(bytes);
                if limit.exceeded(size, pack.len().saturating_add(count)) {
                    self.become_quick(limit);
                }
            }
            Repr::Quick(quick) => quick.limit = limit,
        }
    }

    /// Puts an element before all others.
    pub fn push_front(&mut self, text: &[u8], limits: &Limits) {
        self.reserve(text.len(), 1, limits);
        self.push_front_prepared(text);
    }

    /// Puts an element behind all others.
    pub fn push_back(&mut self, text: &[u8], limits: &Limits) {
        self.reserve(text.len(), 1, limits);
        self.push_back_prepared(text);
    }

    /// [`List::push_front`] after [`List::reserve`].
    pub fn push_front_prepared(&mut self, text: &[u8]) {
        match &mut self.0 {
            Repr::Packed(pack) => pack.push_front(text),
            Repr::Quick(quick) => quick.push_front(text),
        }
    }

    /// [`List::push_back`] after [`List::reserve`].
    pub fn push_back_prepared(&mut self, text: &[u8]) {
        match &mut self.0 {
            Repr::Packed(pack) => pack.push_back(text),
            Repr::Quick(quick) => quick.push_back(text),
        }
    }

    /// Removes the first element.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        let text = self.get(0)?.to_vec();
        self.delete_range(0, 1);
        Some(text)
    }

    /// Removes the last element.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        let text = self.get(-1)?.to_vec();
        self.delete_range(self.len() - 1, 1);
        Some(text)
    }

    /// Turns an index that counts from the end when negative into a position.
    fn position(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let position = if index < 0 {
            len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
        } else {
            usize::try_from(index).ok()?
        };
        (position < len).then_some(position)
    }

    /// The element with this index; negative ones count from the end.
    pub fn get(&self, index: i64) -> Option<Elem<'_>> {
        let position = self.position(index)?;
        match &self.0 {
            Repr::Packed(pack) => pack.get(position),
            Repr::Quick(quick) => {
                let (n, inside) = quick.locate(position);
                quick.nodes[n].get(inside)
            }
        }
    }

    /// Replaces the element with this index; false if there is none.
    pub fn set(&mut self, index: i64, text: &[u8], limits: &Limits) -> bool {
        let Some(position) = self.position(index) else { return false };
        self.reserve(text.len(), 1, limits);
        match &mut self.0 {
            Repr::Packed(pack) => {
                if let Some(at) = pack.seek(position) {
                    pack.replace_elem(at, Elem::Bytes(text));
                }
            }
            Repr::Quick(quick) => quick.replace(position, text),
        }
        self.shrink();
        true
    }

    /// Inserts an element before or behind the first one equal to `pivot`; false if there is none.
    pub fn insert(&mut self, pivot: &[u8], before: bool, text: &[u8], limits: &Limits) -> bool {
        self.reserve(text.len(), 1, limits);
        match &mut self.0 {
            Repr::Packed(pack) => {
                let Some((at, _)) = pack.search(HEADER, pivot, 0) else { return false };
                let at = if before { at } else { pack.decode_at(at).1 };
                pack.insert_elem(at, Elem::Bytes(text));
            }
            Repr::Quick(quick) => {
                let Some((n, inside)) = quick.find(pivot) else { return false };
                quick.insert(n, inside + usize::from(!before), text);
            }
        }
        true
    }

    /// Removes elements equal to `text`: the first `count`, the last `-count` when negative, all
    /// when 0. Returns how many there were.
    pub fn remove(&mut self, count: i64, text: &[u8]) -> usize {
        let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        let removed = match &mut self.0 {
            Repr::Packed(pack) => node::remove_from_pack(pack, text, most, count < 0),
            Repr::Quick(quick) => quick.remove(text, most, count < 0),
        };
        if removed > 0 {
            self.shrink();
        }
        removed
    }

    /// Keeps the `len` elements from position `start` on and removes the others.
    pub fn trim(&mut self, start: usize, len: usize) {
        let total = self.len();
        let start = start.min(total);
        let end = start.saturating_add(len).min(total);
        self.delete_range(end, total - end);
        self.delete_range(0, start);
    }

    /// Removes up to `n` elements from position `start` on; returns how many there were.
    pub fn delete_range(&mut self, start: usize, n: usize) -> usize {
        let total = self.len();
        let n = n.min(total.saturating_sub(start));
        if n == 0 {
            return 0;
        }
        match &mut self.0 {
            Repr::Packed(pack) => {
                pack.delete_range(start, n);
            }
            Repr::Quick(quick) => quick.delete_range(start, n),
        }
        self.shrink();
        n
    }

    /// All elements.
    pub fn iter(&self) -> ListIter<'_> {
        self.range(0, usize::MAX)
    }

    /// The `len` elements from position `start` on (or as many as there are).
    pub fn range(&self, start: usize, len: usize) -> ListIter<'_> {
        let total = self.len();
        let start = start.min(total);
        let left = len.min(total - start);
        ListIter { list: self, start, left, front: None, back: None }
    }

    /// The `len` elements from position `start` from the tail (0: the last) on, towards the head.
    pub fn range_rev(&self, start: usize, len: usize) -> std::iter::Rev<ListIter<'_>> {
        let total = self.len();
        let end = total - start.min(total);
        let len = len.min(end);
        self.range(end - len, len).rev()
    }

    /// The list's nodes; a small list is a single packed one.
    pub fn nodes(&self) -> impl Iterator<Item = ListNode<'_>> {
        let (packed, quick) = match &self.0 {
            Repr::Packed(pack) if pack.is_empty() => (None, None),
            Repr::Packed(pack) => (Some(ListNode::Packed(pack.as_bytes())), None),
            Repr::Quick(quick) => (None, Some(quick.nodes.iter().map(Node::show))),
        };
        packed.into_iter().chain(quick.into_iter().flatten())
    }

    /// Appends a node that was read from a file or peer. An empty one changes nothing. The list
    /// takes the encoding that Redis gives it after loading.
    pub fn push_node(&mut self, node: ListNodeOwned, limits: &Limits) {
        let limit = NodeLimit::new(limits);
        let node = match node {
            ListNodeOwned::Packed(pack) if pack.is_empty() => return,
            ListNodeOwned::Packed(pack) => Node::packed(pack),
            ListNodeOwned::Plain(text) => Node::plain(&text),
        };
        if self.is_empty() {
            let mut quick = Quick { nodes: VecDeque::new(), len: 0, limit };
            quick.push_node(node);
            self.0 = Repr::Quick(Box::new(quick));
            self.try_pack(limit);
        } else {
            self.become_quick(limit).push_node(node);
        }
    }

    /// Bytes requested from the allocator for what the list holds.
    pub fn mem_usage(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.mem_usage(),
            Repr::Quick(quick) => {
                let nodes: usize = quick.nodes.iter().map(Node::mem_usage).sum();
                size_of::<Quick>() + quick.nodes.capacity() * size_of::<Node>() + nodes
            }
        }
    }

    /// Node `n` of the list, or its only listpack.
    fn node(&self, n: usize) -> Option<NodeIter<'_>> {
        match &self.0 {
            Repr::Packed(pack) if n == 0 => Some(NodeIter::Packed(pack.iter())),
            Repr::Packed(_) => None,
            Repr::Quick(quick) => quick.nodes.get(n).map(Node::iter),
        }
    }

    /// An iterator over the node of `position` that stands before it, and the node's number.
    fn node_from(&self, position: usize) -> (usize, NodeIter<'_>) {
        match &self.0 {
            Repr::Packed(pack) => (0, node::iter_from(pack, position)),
            Repr::Quick(quick) => {
                let (n, inside) = quick.locate(position);
                (n, quick.nodes[n].iter_from(inside))
            }
        }
    }

    /// An iterator over the node of `position` that ends behind it, and the node's number.
    fn node_until(&self, position: usize) -> (usize, NodeIter<'_>) {
        match &self.0 {
            Repr::Packed(pack) => (0, node::iter_until(pack, position)),
            Repr::Quick(quick) => {
                let (n, inside) = quick.locate(position);
                (n, quick.nodes[n].iter_until(inside))
            }
        }
    }

    fn become_quick(&mut self, limit: NodeLimit) -> &mut Quick {
        if let Repr::Packed(pack) = &mut self.0 {
            let pack = std::mem::take(pack);
            let mut quick = Quick { nodes: VecDeque::new(), len: 0, limit };
            if !pack.is_empty() {
                quick.push_node(Node::packed(pack));
            }
            self.0 = Repr::Quick(Box::new(quick));
        }
        match &mut self.0 {
            Repr::Quick(quick) => {
                quick.limit = limit;
                quick
            }
            Repr::Packed(_) => unreachable!("just converted"),
        }
    }

    /// After removals: back to a listpack if a single small node is left.
    fn shrink(&mut self) {
        if let Repr::Quick(quick) = &self.0 {
            self.try_pack(quick.limit.halved());
        }
    }

    /// Turns a quicklist with one packed node within `limit`, or with none, into a listpack.
    fn try_pack(&mut self, limit: NodeLimit) {
        let Repr::Quick(quick) = &mut self.0 else { return };
        if quick.nodes.is_empty() {
            self.0 = Repr::Packed(Listpack::new());
        } else if quick.nodes.len() == 1
            && let Some(pack) = quick.nodes[0].take_pack_within(limit)
        {
            self.0 = Repr::Packed(pack);
        }
    }
}

impl Quick {
    fn push_node(&mut self, node: Node) {
        self.len += node.len();
        self.nodes.push_back(node);
    }

    fn push_front(&mut self, text: &[u8]) {
        self.len += 1;
        match self.nodes.front_mut() {
            Some(node) if node.has_room(text, self.limit) => node.insert(0, text),
            _ => self.nodes.push_front(Node::of(text, self.limit)),
        }
    }

    fn push_back(&mut self, text: &[u8]) {
        self.len += 1;
        match self.nodes.back_mut() {
            Some(node) if node.has_room(text, self.limit) => node.push_back(text),
            _ => self.nodes.push_back(Node::of(text, self.limit)),
        }
    }

    /// The node that holds `position`, which must be below the length, and the place within it.
    /// Walks the nodes from the nearer end.
    fn locate(&self, position: usize) -> (usize, usize) {
        if position <= self.len / 2 {
            let mut inside = position;
            for (n, node) in self.nodes.iter().enumerate() {
                if inside < node.len() {
                    return (n, inside);
                }
                inside -= node.len();
            }
        } else {
            let mut behind = self.len - position;
            for (n, node) in self.nodes.iter().enumerate().rev() {
                if behind <= node.len() {
                    return (n, node.len() - behind);
                }
                behind -= node.len();
            }
        }
        unreachable!("the position is below the length");
    }

    fn find(&self, text: &[u8]) -> Option<(usize, usize)> {
        self.nodes.iter().enumerate().find_map(|(n, node)| Some((n, node.find(text)?)))
    }

    /// Inserts an element into node `n` so that it stands at `inside` there (up to its length).
    fn insert(&mut self, n: usize, inside: usize, text: &[u8]) {
        self.len += 1;
        let limit = self.limit;
        let node = &mut self.nodes[n];
        if node.has_room(text, limit) {
            return node.insert(inside, text);
        }
        if inside == 0 {
            // Between this node and the one before: the other one may have room.
            match n.checked_sub(1).map(|before| &mut self.nodes[before]) {
                Some(before) if before.has_room(text, limit) => before.push_back(text),
                _ => self.nodes.insert(n, Node::of(text, limit)),
            }
        } else if inside == node.len() {
            match self.nodes.get_mut(n + 1) {
                Some(after) if after.has_room(text, limit) => after.insert(0, text),
                _ => self.nodes.insert(n + 1, Node::of(text, limit)),
            }
        } else {
            let mut right = node.split_off(inside);
            if right.has_room(text, limit) {
                right.insert(0, text);
                self.nodes.insert(n + 1, right);
                self.merge_around(n + 1);
            } else if node.has_room(text, limit) {
                node.push_back(text);
                self.nodes.insert(n + 1, right);
                self.merge_around(n);
            } else {
                self.nodes.insert(n + 1, right);
                self.nodes.insert(n + 1, Node::of(text, limit));
                // The later pair first, so that the earlier numbers stay true.
                self.merge_around(n + 2);
                self.merge_around(n);
            }
        }
    }

    /// Joins node `n` with its neighbours where they fit into one node.
    fn merge_around(&mut self, n: usize) {
        for left in [Some(n), n.checked_sub(1)].into_iter().flatten() {
            if left + 1 < self.nodes.len()
                && Node::may_merge(&self.nodes[left], &self.nodes[left + 1], self.limit)
                && let Some(right) = self.nodes.remove(left + 1)
            {
                self.nodes[left].append(right);
            }
        }
    }

    /// Replaces the element at `position`.
    fn replace(&mut self, position: usize, text: &[u8]) {
        let (n, inside) = self.locate(position);
        let limit = self.limit;
        let node = &mut self.nodes[n];
        if node.is_plain() {
            *node = Node::of(text, limit);
        } else if !limit.is_large(text.len()) {
            node.replace(inside, text);
        } else {
            // The node is cut around the element that gets a node of its own.
            let right = node.split_off(inside + 1);
            node.delete_range(inside, 1);
            let left_is_empty = node.len() == 0;
            if right.len() > 0 {
                self.nodes.insert(n + 1, right);
            }
            self.nodes.insert(n + 1, Node::of(text, limit));
            if left_is_empty {
                self.nodes.remove(n);
            }
        }
    }

    fn remove(&mut self, text: &[u8], most: usize, from_tail: bool) -> usize {
        let mut removed = 0;
        let count = self.nodes.len();
        for i in 0..count {
            if removed == most {
                break;
            }
            let n = if from_tail { count - 1 - i } else { i };
            removed += self.nodes[n].remove(text, most - removed, from_tail);
        }
        if removed > 0 {
            self.nodes.retain(|node| node.len() > 0);
            self.len -= removed;
        }
        removed
    }

    /// Removes `n` elements from `start` on; there are that many.
    fn delete_range(&mut self, start: usize, n: usize) {
        let (first, mut inside) = self.locate(start);
        let (mut at, mut left) = (first, n);
        let mut emptied = first..first;
        while left > 0 {
            let node = &mut self.nodes[at];
            let here = left.min(node.len() - inside);
            if here == node.len() {
                // Dropped below, all at once.
                if emptied.is_empty() {
                    emptied = at..at;
                }
                emptied.end = at + 1;
            } else {
                node.delete_range(inside, here);
            }
            left -= here;
            at += 1;
            inside = 0;
        }
        self.nodes.drain(emptied);
        self.len -= n;
    }
}

/// Walks the elements of one node.
enum NodeIter<'a> {
    Packed(ListpackIter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> NodeIter<'a> {
    fn next(&mut self) -> Option<Elem<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next(),
            NodeIter::Plain(text) => text.take().map(Elem::Bytes),
        }
    }

    fn next_back(&mut self) -> Option<Elem<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next_back(),
            NodeIter::Plain(text) => text.take().map(Elem::Bytes),
        }
    }
}

/// Walks a range of a [`List`] from either end.
pub struct ListIter<'a> {
    list: &'a List,
    /// Position of the next element from the front.
    start: usize,
    left: usize,
    front: Option<(usize, NodeIter<'a>)>,
    back: Option<(usize, NodeIter<'a>)>,
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        if self.left == 0 {
            return None;
        }
        let list = self.list;
        let (n, iter) = self.front.get_or_insert_with(|| list.node_from(self.start));
        loop {
            if let Some(elem) = iter.next() {
                self.start += 1;
                self.left -= 1;
                return Some(elem);
            }
            *n += 1;
            *iter = list.node(*n)?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> DoubleEndedIterator for ListIter<'a> {
    fn next_back(&mut self) -> Option<Elem<'a>> {
        if self.left == 0 {
            return None;
        }
        let list = self.list;
        let last = self.start + self.left - 1;
        let (n, iter) = self.back.get_or_insert_with(|| list.node_until(last));
        loop {
            if let Some(elem) = iter.next_back() {
                self.left -= 1;
                return Some(elem);
            }
            *n = n.checked_sub(1)?;
            *iter = list.node(*n)?;
        }
    }
}

impl ExactSizeIterator for ListIter<'_> {}

#[cfg(test)]
mod tests;
