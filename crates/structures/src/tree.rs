//! The order of a big sorted set: a counted B+ tree of (score, item) pairs.
//!
//! The tree is a sequence: everything is done by rank (`insert_at`, `remove_at`, `get`), and
//! ranks are found with [`Tree::count_while`], which asks the caller's own comparison. So the tree
//! needs to know nothing of members, and one search serves scores, lexicographical bounds and
//! exact places.
//!
//! Leaves hold up to 63 pairs in 1 KiB, scores apart from items so that a search by score stays in
//! few cache lines. Inner nodes hold for each child its count (for ranks) and its first pair (for
//! searches). A full leaf first gives to a neighbour before it is split, which keeps leaves about
//! four fifths full under random insertion, and nearly full under ascending or descending insertion.
//!
//! Rejected: a skip list (Redis): about twice the memory and a cache miss per step.

use crate::table::prefetch;
use smallvec::SmallVec;

/// Pairs per leaf: with its length a leaf is just below 1 KiB.
const LEAF: usize = 63;
/// Children per inner node.
const FAN: usize = 48;
/// A leaf below this length is joined with a neighbour.
const LEAF_MIN: usize = LEAF / 3;
/// An inner node with fewer children is joined with a neighbour where they fit together.
const FAN_MIN: usize = FAN / 4;

struct Leaf<T> {
    len: usize,
    scores: [f64; LEAF],
    items: [T; LEAF],
}

/// The four lists have the same length, at most [`FAN`], so none ever leaves its inline space: an
/// inner node is one allocation, and a search by score reads one run of scores.
struct Inner<T> {
    /// Score of the first pair below each child.
    scores: Row<f64>,
    /// Pairs below each child.
    counts: Row<usize>,
    /// Item of the first pair below each child.
    items: Row<T>,
    children: Row<Node<T>>,
}

type Row<X> = SmallVec<[X; FAN]>;

enum Node<T> {
    Leaf(Box<Leaf<T>>),
    Inner(Box<Inner<T>>),
}

/// A sequence of (score, item) pairs with logarithmic access by rank.
///
/// Invariants: all leaves are at the same depth; no node but an empty tree's root is empty; counts
/// and firsts tell the truth.
pub(crate) struct Tree<T> {
    root: Option<Node<T>>,
    len: usize,
}

impl<T: Copy + Default> Leaf<T> {
    fn new() -> Box<Leaf<T>> {
        Box::new(Leaf { len: 0, scores: [0.0; LEAF], items: [T::default(); LEAF] })
    }

    fn insert(&mut self, at: usize, score: f64, item: T) {
        self.scores.copy_within(at..self.len, at + 1);
        self.items.copy_within(at..self.len, at + 1);
        self.scores[at] = score;
        self.items[at] = item;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> (f64, T) {
        let pair = (self.scores[at], self.items[at]);
        self.drop_range(at, at + 1);
        pair
    }

    fn drop_range(&mut self, from: usize, to: usize) {
        self.scores.copy_within(to..self.len, from);
        self.items.copy_within(to..self.len, from);
        self.len -= to - from;
    }

    /// Moves the first `n` pairs of `right` to the end of `self`.
    fn take_front_of(&mut self, right: &mut Leaf<T>, n: usize) {
        let at = self.len;
        self.scores[at..at + n].copy_from_slice(&right.scores[..n]);
        self.items[at..at + n].copy_from_slice(&right.items[..n]);
        self.len += n;
        right.drop_range(0, n);
    }

    /// Moves the last `n` pairs of `left` to the front of `self`.
    fn take_back_of(&mut self, left: &mut Leaf<T>, n: usize) {
        self.scores.copy_within(0..self.len, n);
        self.items.copy_within(0..self.len, n);
        let from = left.len - n;
        self.scores[..n].copy_from_slice(&left.scores[from..left.len]);
        self.items[..n].copy_from_slice(&left.items[from..left.len]);
        self.len += n;
        left.len = from;
    }
}

impl<T: Copy + Default> Inner<T> {
    fn new() -> Box<Inner<T>> {
        Box::new(Inner {
            scores: Row::new(),
            counts: Row::new(),
            items: Row::new(),
            children: Row::new(),
        })
    }

    fn with_child(child: Node<T>) -> Box<Inner<T>> {
        let mut inner = Inner::new();
        inner.insert_child(0, child);
        inner
    }

    fn insert_child(&mut self, i: usize, child: Node<T>) {
        let (score, item) = child.first();
        self.scores.insert(i, score);
        self.counts.insert(i, child.count());
        self.items.insert(i, item);
        self.children.insert(i, child);
    }

    fn remove_child(&mut self, i: usize) -> Node<T> {
        self.scores.remove(i);
        self.counts.remove(i);
        self.items.remove(i);
        self.children.remove(i)
    }

    fn set_first(&mut self, i: usize, (score, item): (f64, T)) {
        self.scores[i] = score;
        self.items[i] = item;
    }

    /// Brings count and first pair of child `i` up to date.
    fn refresh(&mut self, i: usize) {
        self.counts[i] = self.children[i].count();
        self.set_first(i, self.children[i].first());
    }

    /// The child for an insertion at `rank`, and the rank within it; at a border the left one.
    fn child_for_insert(&self, mut rank: usize) -> (usize, usize) {
        let last = self.counts.len() - 1;
        for (i, &count) in self.counts[..last].iter().enumerate() {
            if rank <= count {
                return (i, rank);
            }
            rank -= count;
        }
        (last, rank)
    }

    /// The child that holds `rank`, and the rank within it.
    fn child_with(&self, mut rank: usize) -> (usize, usize) {
        for (i, &count) in self.counts.iter().enumerate() {
            if rank < count {
                return (i, rank);
            }
            rank -= count;
        }
        unreachable!("the rank is below the count of the node");
    }

    /// The two leaves `i` and `i + 1`, if that is what the children are.
    fn leaf_pair(&mut self, i: usize) -> Option<(&mut Leaf<T>, &mut Leaf<T>)> {
        match self.children.get_mut(i..i + 2)? {
            [Node::Leaf(left), Node::Leaf(right)] => Some((left, right)),
            _ => None,
        }
    }

    /// Makes room in the full child `i`, where something will be inserted at `rank`.
    fn make_room(&mut self, i: usize, rank: usize) {
        // A neighbour with some room takes half of the difference.
        const WORTH: usize = LEAF - LEAF / 16;
        let at_end = i + 1 == self.children.len() && rank == self.counts[i];
        let at_start = i == 0 && rank == 0;
        if !at_end && !at_start {
            if i > 0
                && let Some((left, full)) = self.leaf_pair(i - 1)
                && left.len < WORTH
            {
                left.take_front_of(full, (full.len - left.len).div_ceil(2));
                self.refresh(i - 1);
                self.refresh(i);
                return;
            }
            if let Some((full, right)) = self.leaf_pair(i)
                && right.len < WORTH
            {
                right.take_back_of(full, (full.len - right.len).div_ceil(2));
                self.refresh(i);
                self.refresh(i + 1);
                return;
            }
        }
        let width = self.children[i].width();
        // Ascending (descending) insertion leaves full nodes behind.
        let at = if at_end {
            width - 1
        } else if at_start {
            1
        } else {
            width / 2
        };
        let right = self.children[i].split_off(at);
        self.refresh(i);
        self.insert_child(i + 1, right);
    }

    /// Joins child `i`, which has become thin, with a neighbour.
    fn thicken(&mut self, i: usize) {
        let left = if i + 1 < self.children.len() {
            i
        } else if i > 0 {
            i - 1
        } else {
            return;
        };
        let fits = match (&self.children[left], &self.children[left + 1]) {
            (Node::Leaf(a), Node::Leaf(b)) => a.len + b.len <= LEAF,
            (Node::Inner(a), Node::Inner(b)) => a.children.len() + b.children.len() <= FAN,
            _ => unreachable!("siblings are of one kind"),
        };
        if fits {
            let right = self.remove_child(left + 1);
            self.children[left].append(right);
            self.refresh(left);
        } else if let Some((a, b)) = self.leaf_pair(left) {
            if a.len < b.len {
                a.take_front_of(b, (b.len - a.len) / 2);
            } else {
                b.take_back_of(a, (a.len - b.len) / 2);
            }
            self.refresh(left);
            self.refresh(left + 1);
        }
    }
}

impl<T: Copy + Default> Node<T> {
    fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    /// The first pair; a node in the tree is not empty.
    fn first(&self) -> (f64, T) {
        match self {
            Node::Leaf(leaf) => (leaf.scores[0], leaf.items[0]),
            Node::Inner(inner) => (inner.scores[0], inner.items[0]),
        }
    }

    /// Pairs or children.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len,
            Node::Inner(inner) => inner.children.len(),
        }
    }

    fn is_full(&self) -> bool {
        self.width() == if matches!(self, Node::Leaf(_)) { LEAF } else { FAN }
    }

    fn is_thin(&self) -> bool {
        self.width() < if matches!(self, Node::Leaf(_)) { LEAF_MIN } else { FAN_MIN }
    }

    fn split_off(&mut self, at: usize) -> Node<T> {
        match self {
            Node::Leaf(leaf) => {
                let mut right = Leaf::new();
                right.take_back_of(leaf, leaf.len - at);
                Node::Leaf(right)
            }
            Node::Inner(inner) => {
                let mut right = Inner::new();
                right.scores.extend(inner.scores.drain(at..));
                right.counts.extend(inner.counts.drain(at..));
                right.items.extend(inner.items.drain(at..));
                right.children.extend(inner.children.drain(at..));
                Node::Inner(right)
            }
        }
    }

    fn append(&mut self, right: Node<T>) {
        match (self, right) {
            (Node::Leaf(a), Node::Leaf(mut b)) => {
                let n = b.len;
                a.take_front_of(&mut b, n);
            }
            (Node::Inner(a), Node::Inner(mut b)) => {
                a.scores.append(&mut b.scores);
                a.counts.append(&mut b.counts);
                a.items.append(&mut b.items);
                a.children.append(&mut b.children);
            }
            _ => unreachable!("siblings are of one kind"),
        }
    }

    fn remove_at(&mut self, rank: usize) -> (f64, T) {
        let inner = match self {
            Node::Leaf(leaf) => return leaf.remove(rank),
            Node::Inner(inner) => inner,
        };
        let (i, rank) = inner.child_with(rank);
        let removed = inner.children[i].remove_at(rank);
        inner.counts[i] -= 1;
        if inner.counts[i] == 0 {
            inner.remove_child(i);
        } else {
            inner.set_first(i, inner.children[i].first());
            if inner.children[i].is_thin() {
                inner.thicken(i);
            }
        }
        removed
    }

    fn mem_usage(&self) -> usize {
        match self {
            Node::Leaf(_) => size_of::<Leaf<T>>(),
            Node::Inner(inner) => {
                size_of::<Inner<T>>() + inner.children.iter().map(Node::mem_usage).sum::<usize>()
            }
        }
    }
}

/// How many pairs at the beginning satisfy `holds`.
fn beginning<T: Copy>(scores: &[f64], items: &[T], holds: impl Fn(f64, T) -> bool) -> usize {
    let (mut low, mut high) = (0, scores.len().min(items.len()));
    while low < high {
        let middle = (low + high) / 2;
        if holds(scores[middle], items[middle]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

impl<T: Copy + Default> Tree<T> {
    pub(crate) fn new() -> Tree<T> {
        Tree { root: None, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Inserts a pair so that it gets rank `rank`, up to the length.
    pub(crate) fn insert_at(&mut self, rank: usize, score: f64, item: T) {
        assert!(rank <= self.len);
        self.len += 1;
        let root = self.root.get_or_insert_with(|| Node::Leaf(Leaf::new()));
        if root.is_full() {
            let old = std::mem::replace(root, Node::Leaf(Leaf::new()));
            *root = Node::Inner(Inner::with_child(old));
        }
        let (mut node, mut rank) = (root, rank);
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.insert(rank, score, item),
                Node::Inner(inner) => {
                    let (mut i, mut inside) = inner.child_for_insert(rank);
                    if inner.children[i].is_full() {
                        inner.make_room(i, inside);
                        (i, inside) = inner.child_for_insert(rank);
                        if inner.children[i].is_full() {
                            // The border between a leaf that stayed full and its neighbour.
                            (i, inside) = (i + 1, 0);
                        }
                    }
                    inner.counts[i] += 1;
                    if inside == 0 {
                        inner.set_first(i, (score, item));
                    }
                    node = &mut inner.children[i];
                    rank = inside;
                }
            }
        }
    }

    /// Removes the pair with rank `rank`, which must be below the length.
    pub(crate) fn remove_at(&mut self, rank: usize) -> (f64, T) {
        assert!(rank < self.len);
        let root = self.root.as_mut().expect("a tree with pairs has a root");
        let removed = root.remove_at(rank);
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
            return removed;
        }
        while let Some(Node::Inner(inner)) = &mut self.root
            && inner.children.len() == 1
        {
            let child = inner.remove_child(0);
            self.root = Some(child);
        }
        removed
    }

    /// Changes the score of the pair with rank `rank`, which must keep its place in the order.
    pub(crate) fn set_score_at(&mut self, mut rank: usize, score: f64) {
        assert!(rank < self.len);
        let mut node = self.root.as_mut().expect("a tree with pairs has a root");
        loop {
            match node {
                Node::Leaf(leaf) => {
                    leaf.scores[rank] = score;
                    return;
                }
                Node::Inner(inner) => {
                    let (i, inside) = inner.child_with(rank);
                    if inside == 0 {
                        inner.scores[i] = score;
                    }
                    node = &mut inner.children[i];
                    rank = inside;
                }
            }
        }
    }

    /// How many pairs at the beginning satisfy `holds`, which must be true for a beginning of the
    /// sequence and false for the rest.
    pub(crate) fn count_while(&self, holds: impl Fn(f64, T) -> bool) -> usize {
        let Some(mut node) = self.root.as_ref() else { return 0 };
        let mut count = 0;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    // All lines at once; a binary search would wait for one after the other.
                    leaf.scores.chunks(8).for_each(|line| prefetch(line.as_ptr().cast()));
                    let len = leaf.len;
                    return count + beginning(&leaf.scores[..len], &leaf.items[..len], &holds);
                }
                Node::Inner(inner) => {
                    inner.scores.chunks(8).for_each(|line| prefetch(line.as_ptr().cast()));
                    let begun = beginning(&inner.scores, &inner.items, &holds);
                    if begun == 0 {
                        return count;
                    }
                    count += inner.counts[..begun - 1].iter().sum::<usize>();
                    node = &inner.children[begun - 1];
                }
            }
        }
    }

    /// The `len` pairs from rank `start` on (or as many as there are).
    pub(crate) fn range(&self, start: usize, len: usize) -> TreeIter<'_, T> {
        let start = start.min(self.len);
        TreeIter { tree: self, start, left: len.min(self.len - start), front: None, back: None }
    }

    /// Bytes of all nodes.
    pub(crate) fn mem_usage(&self) -> usize {
        self.root.as_ref().map_or(0, Node::mem_usage)
    }
}

/// A place in a tree: the way down from the root and the place in the leaf.
struct Cursor<'a, T> {
    path: SmallVec<[(&'a Inner<T>, usize); 6]>,
    leaf: &'a Leaf<T>,
    at: usize,
}

impl<'a, T: Copy + Default> Cursor<'a, T> {
    fn at_rank(tree: &'a Tree<T>, mut rank: usize) -> Option<Cursor<'a, T>> {
        if rank >= tree.len {
            return None;
        }
        let mut path = SmallVec::new();
        let mut node = tree.root.as_ref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(Cursor { path, leaf, at: rank }),
                Node::Inner(inner) => {
                    let (i, inside) = inner.child_with(rank);
                    path.push((&**inner, i));
                    node = &inner.children[i];
                    rank = inside;
                }
            }
        }
    }

    fn pair(&self) -> (f64, T) {
        (self.leaf.scores[self.at], self.leaf.items[self.at])
    }

    /// Goes one pair on; stays where it is at the end.
    fn forward(&mut self) {
        if self.at + 1 < self.leaf.len {
            self.at += 1;
            return;
        }
        let Some(turn) = self.path.iter().rposition(|(inner, i)| i + 1 < inner.children.len())
        else {
            return;
        };
        self.path.truncate(turn + 1);
        let (inner, i) = &mut self.path[turn];
        *i += 1;
        let mut node = &inner.children[*i];
        while let Node::Inner(inner) = node {
            self.path.push((inner, 0));
            node = &inner.children[0];
        }
        if let Node::Leaf(leaf) = node {
            self.leaf = leaf;
            self.at = 0;
        }
    }

    /// Goes one pair back; stays where it is at the start.
    fn backward(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            return;
        }
        let Some(turn) = self.path.iter().rposition(|&(_, i)| i > 0) else { return };
        self.path.truncate(turn + 1);
        let (inner, i) = &mut self.path[turn];
        *i -= 1;
        let mut node = &inner.children[*i];
        while let Node::Inner(inner) = node {
            let last = inner.children.len() - 1;
            self.path.push((inner, last));
            node = &inner.children[last];
        }
        if let Node::Leaf(leaf) = node {
            self.leaf = leaf;
            self.at = leaf.len - 1;
        }
    }
}

/// Walks a range of a tree from either end.
pub(crate) struct TreeIter<'a, T> {
    tree: &'a Tree<T>,
    /// Rank of the next pair from the front.
    start: usize,
    left: usize,
    front: Option<Cursor<'a, T>>,
    back: Option<Cursor<'a, T>>,
}

impl<T: Copy + Default> Iterator for TreeIter<'_, T> {
    type Item = (f64, T);

    fn next(&mut self) -> Option<(f64, T)> {
        if self.left == 0 {
            return None;
        }
        match &mut self.front {
            Some(cursor) => cursor.forward(),
            None => self.front = Cursor::at_rank(self.tree, self.start),
        }
        self.left -= 1;
        self.start += 1;
        self.front.as_ref().map(Cursor::pair)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Copy + Default> DoubleEndedIterator for TreeIter<'_, T> {
    fn next_back(&mut self) -> Option<(f64, T)> {
        if self.left == 0 {
            return None;
        }
        match &mut self.back {
            Some(cursor) => cursor.backward(),
            None => self.back = Cursor::at_rank(self.tree, self.start + self.left - 1),
        }
        self.left -= 1;
        self.back.as_ref().map(Cursor::pair)
    }
}

#[cfg(test)]
mod tests;
