//! One node of a quicklist, and the limits that decide what goes into one.

use super::*;
use std::sync::Arc;

/// Byte limits for `list-max-listpack-size` -1 to -5.
/// Source: redis `quicklist.c:optimization_level`.
const BYTES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
/// A node limited by its count is limited to these bytes, too.
/// Source: redis `quicklist.c:SIZE_SAFETY_LIMIT`.
const SAFETY_BYTES: usize = 8192;
/// What Redis assumes an element to take beside its text. Overestimated on purpose.
/// Source: redis `quicklist.c:SIZE_ESTIMATE_OVERHEAD`.
const OVERHEAD: usize = 8;

/// How big a node may be.
#[derive(Clone, Copy)]
pub(super) struct NodeLimit {
    /// Bytes, or `usize::MAX` when the count decides.
    bytes: usize,
    count: usize,
    /// Size from which an element is not packed.
    large: usize,
}

impl NodeLimit {
    /// Source: redis 7.2 `quicklist.c:quicklistNodeLimit`.
    pub(super) fn new(limits: &Limits) -> NodeLimit {
        let large = limits.quicklist_packed_threshold;
        let fill = limits.list_max_listpack_size;
        if fill >= 0 {
            NodeLimit { bytes: usize::MAX, count: (fill as usize).max(1), large }
        } else {
            let level = (fill.unsigned_abs() as usize - 1).min(BYTES.len() - 1);
            NodeLimit { bytes: BYTES[level], count: usize::MAX, large }
        }
    }

    /// The limit for shrinking to a listpack.
    pub(super) fn halved(self) -> NodeLimit {
        NodeLimit { bytes: self.bytes / 2, count: self.count / 2, large: self.large }
    }

    /// Source: redis 7.2 `quicklist.c:quicklistNodeExceedsLimit`.
    pub(super) fn exceeded(self, bytes: usize, count: usize) -> bool {
        if self.bytes != usize::MAX {
            bytes > self.bytes
        } else {
            bytes > SAFETY_BYTES || count > self.count
        }
    }

    /// Whether an element of this size gets a node of its own.
    pub(super) fn is_large(self, len: usize) -> bool {
        len >= self.large
    }
}

/// Copies of a list share the bodies of its nodes; who changes one copies it first.
#[derive(Clone)]
enum Body {
    Packed(Arc<Listpack>),
    Plain(Arc<[u8]>),
}

/// What an `Arc` has beside its value.
const COUNTS: usize = 2 * size_of::<usize>();

/// A node. Its length stands beside the body, so that walking over nodes does not touch them.
#[derive(Clone)]
pub(super) struct Node {
    body: Body,
    len: usize,
}

impl Node {
    pub(super) fn packed(pack: Listpack) -> Node {
        Node { len: pack.len(), body: Body::Packed(Arc::new(pack)) }
    }

    pub(super) fn plain(text: &[u8]) -> Node {
        Node { len: 1, body: Body::Plain(text.into()) }
    }

    /// A new node for one element.
    pub(super) fn of(text: &[u8], limit: NodeLimit) -> Node {
        if limit.is_large(text.len()) {
            return Node::plain(text);
        }
        let mut pack = Listpack::new();
        pack.push_back(text);
        Node { len: 1, body: Body::Packed(Arc::new(pack)) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.body, Body::Plain(_))
    }

    pub(super) fn show(&self) -> ListNode<'_> {
        match &self.body {
            Body::Packed(pack) => ListNode::Packed(pack.as_bytes()),
            Body::Plain(text) => ListNode::Plain(text),
        }
    }

    pub(super) fn mem_usage(&self) -> usize {
        match &self.body {
            Body::Packed(pack) => COUNTS + size_of::<Listpack>() + pack.mem_usage(),
            Body::Plain(text) => COUNTS + text.len(),
        }
    }

    /// The node's listpack, if it is one within `limit`.
    /// Source: redis 7.2 `t_list.c:listTypeTryConvertQuicklist`.
    pub(super) fn take_pack_within(&mut self, limit: NodeLimit) -> Option<Listpack> {
        match &mut self.body {
            Body::Packed(pack) if pack.byte_len() <= limit.bytes && self.len <= limit.count => {
                self.len = 0;
                Some(std::mem::take(Arc::make_mut(pack)))
            }
            _ => None,
        }
    }

    /// Whether one more element may be packed into this node.
    /// Source: redis 7.2 `quicklist.c:_quicklistNodeAllowInsert`.
    pub(super) fn has_room(&self, text: &[u8], limit: NodeLimit) -> bool {
        match &self.body {
            Body::Plain(_) => false,
            Body::Packed(pack) => {
                !limit.is_large(text.len())
                    && !limit.exceeded(pack.byte_len() + text.len() + OVERHEAD, self.len + 1)
            }
        }
    }

    /// Source: redis 7.2 `quicklist.c:_quicklistNodeAllowMerge`.
    pub(super) fn may_merge(a: &Node, b: &Node, limit: NodeLimit) -> bool {
        match (&a.body, &b.body) {
            (Body::Packed(a_pack), Body::Packed(b_pack)) => {
                let bytes = a_pack.byte_len() + b_pack.byte_len() - HEADER - 1;
                !limit.exceeded(bytes, a.len + b.len)
            }
            _ => false,
        }
    }

    pub(super) fn append(&mut self, right: Node) {
        match (&mut self.body, &right.body) {
            (Body::Packed(a), Body::Packed(b)) => Arc::make_mut(a).append(b),
            _ => unreachable!("only packed nodes are merged"),
        }
        self.len += right.len;
    }

    pub(super) fn get(&self, inside: usize) -> Option<Elem<'_>> {
        match &self.body {
            Body::Packed(pack) => pack.get(inside),
            Body::Plain(text) => (inside == 0).then_some(Elem::Bytes(text)),
        }
    }

    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match &self.body {
            Body::Packed(pack) => pack.find(text, 0),
            Body::Plain(own) => (**own == *text).then_some(0),
        }
    }

    /// The listpack of a node that was found to have room, or is otherwise known to be packed.
    fn pack(&mut self) -> &mut Listpack {
        match &mut self.body {
            Body::Packed(pack) => Arc::make_mut(pack),
            Body::Plain(_) => unreachable!("a plain node has no room and no parts"),
        }
    }

    pub(super) fn push_back(&mut self, text: &[u8]) {
        self.pack().push_back(text);
        self.len += 1;
    }

    /// Inserts into a packed node.
    pub(super) fn insert(&mut self, inside: usize, text: &[u8]) {
        self.pack().insert_at(inside, text);
        self.len += 1;
    }

    /// Replaces an element of a packed node.
    pub(super) fn replace(&mut self, inside: usize, text: &[u8]) {
        self.pack().replace_at(inside, text);
    }

    /// Cuts a packed node; the new one takes the elements from `inside` on.
    pub(super) fn split_off(&mut self, inside: usize) -> Node {
        let pack = self.pack();
        let at = pack.seek(inside).unwrap_or(pack.end());
        let right = Node::packed(pack.split_off(at));
        self.len -= right.len;
        right
    }

    /// Removes a part of a packed node.
    pub(super) fn delete_range(&mut self, inside: usize, n: usize) {
        self.len -= self.pack().delete_range(inside, n);
    }

    /// Removes up to `most` elements equal to `text`; the node may be empty afterwards.
    pub(super) fn remove(&mut self, text: &[u8], most: usize, from_tail: bool) -> usize {
        let removed = match &mut self.body {
            // A look first: what does not change is not copied.
            Body::Packed(pack) if pack.find(text, 0).is_none() => 0,
            Body::Packed(pack) => remove_from_pack(Arc::make_mut(pack), text, most, from_tail),
            Body::Plain(own) => usize::from(**own == *text && most > 0),
        };
        self.len -= removed;
        removed
    }

    pub(super) fn iter(&self) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => NodeIter::Packed(pack.iter()),
            Body::Plain(text) => NodeIter::Plain(Some(text)),
        }
    }

    pub(super) fn iter_from(&self, inside: usize) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => iter_from(pack, inside),
            Body::Plain(text) => NodeIter::Plain(Some(text)),
        }
    }

    pub(super) fn iter_until(&self, inside: usize) -> NodeIter<'_> {
        match &self.body {
            Body::Packed(pack) => iter_until(pack, inside),
            Body::Plain(text) => NodeIter::Plain(Some(text)),
        }
    }
}

/// The elements from number `inside` on.
pub(super) fn iter_from(pack: &Listpack, inside: usize) -> NodeIter<'_> {
    let at = pack.seek(inside).unwrap_or(pack.end());
    NodeIter::Packed(ListpackIter::between(pack, at, pack.end()))
}

/// The elements up to number `inside`, included.
pub(super) fn iter_until(pack: &Listpack, inside: usize) -> NodeIter<'_> {
    let end = pack.seek(inside + 1).unwrap_or(pack.end());
    NodeIter::Packed(ListpackIter::between(pack, listpack::HEADER, end))
}

/// Removes up to `most` elements equal to `text`, from the tail or the head.
pub(super) fn remove_from_pack(
    pack: &mut Listpack,
    text: &[u8],
    most: usize,
    from_tail: bool,
) -> usize {
    let mut removed = 0;
    if !from_tail {
        let mut from = HEADER;
        while removed < most
            && let Some((at, _)) = pack.search(from, text, 0)
        {
            pack.delete_from(at, 1);
            from = at;
            removed += 1;
        }
        return removed;
    }
    let mut at = pack.end();
    while removed < most && at > HEADER {
        at = pack.before(at);
        if pack.elem_at(at).eq_bytes(text) {
            pack.delete_from(at, 1);
            removed += 1;
        }
    }
    removed
}
