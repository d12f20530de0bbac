//! The big form of a sorted set: a table of members with their scores, and the tree that orders
//! them.
//!
//! The table owns the members; the tree holds plain pointers to them. Both always hold the same
//! members: a member enters the tree right after the table, and leaves the tree before it leaves
//! the table. That is the whole safety argument for reading a member through the tree.

use crate::hash::hash_bytes;
use crate::items::{MemberRef, ScoredMember};
use crate::table::Table;
use crate::tree::{Tree, TreeIter};
use crate::zset::ZAdd;
use stdx::Prng;

impl Default for MemberRef {
    fn default() -> MemberRef {
        MemberRef::NONE
    }
}

/// Members with scores, by member and by order.
pub(super) struct Big {
    tree: Tree<MemberRef>,
    table: Table<ScoredMember>,
}

impl Big {
    pub(super) fn new() -> Big {
        Big { tree: Tree::new(), table: Table::new() }
    }

    pub(super) fn len(&self) -> usize {
        debug_assert!(self.table.len() == self.tree.len());
        self.table.len()
    }

    /// Number of pairs before the place of (score, member). Reads members only where scores tie.
    fn place(&self, score: f64, member: &[u8]) -> usize {
        self.tree.count_while(|own, item| {
            // SAFETY: a member in the tree is in the table, hence alive, while `self` is borrowed.
            own < score || (own == score && unsafe { item.text() } < member)
        })
    }

    /// How many pairs at the beginning have scores for which `holds` is true.
    pub(super) fn count_while_score(&self, holds: impl Fn(f64) -> bool) -> usize {
        self.tree.count_while(|score, _| holds(score))
    }

    /// How many pairs at the beginning have members for which `holds` is true.
    pub(super) fn count_while_member(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        // SAFETY: as in `place`.
        self.tree.count_while(|_, item| holds(unsafe { item.text() }))
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(hash_bytes(member), member).map(ScoredMember::score)
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<usize> {
        self.score(member).map(|score| self.place(score, member))
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> ZAdd {
        let hash = hash_bytes(member);
        let Some(entry) = self.table.get_mut(hash, member) else {
            let rank = self.place(score, member);
            let entry = self.table.insert_new(hash, ScoredMember::new(member, score));
            self.tree.insert_at(rank, score, entry.as_ref());
            return ZAdd::Added;
        };
        let old = entry.score();
        if old == score {
            return ZAdd::Same;
        }
        let item = entry.as_ref();
        entry.set_score(score);
        let from = self.place(old, member);
        let to = self.place(score, member);
        // Counted with the old pair still in its place, which lies before a higher one.
        let to = if old < score { to - 1 } else { to };
        if from == to {
            self.tree.set_score_at(from, score);
        } else {
            self.tree.remove_at(from);
            self.tree.insert_at(to, score, item);
        }
        ZAdd::Updated { old }
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = hash_bytes(member);
        let score = self.table.get(hash, member)?.score();
        let rank = self.place(score, member);
        self.tree.remove_at(rank);
        self.table.remove(hash, member);
        Some(score)
    }

    /// Removes the pair with rank `rank`, which must be below the length.
    pub(super) fn remove_at(&mut self, rank: usize) -> ScoredMember {
        let (_, item) = self.tree.remove_at(rank);
        // SAFETY: the member just left the tree and is still in the table.
        let text = unsafe { item.text() };
        self.table.remove(hash_bytes(text), text).expect("a member of the tree is in the table")
    }

    pub(super) fn range(&self, start: usize, len: usize) -> BigIter<'_> {
        BigIter(self.tree.range(start, len))
    }

    pub(super) fn table(&self) -> &Table<ScoredMember> {
        &self.table
    }

    pub(super) fn random(&self, prng: &mut Prng) -> Option<(&[u8], f64)> {
        self.table.random(prng).map(|entry| (entry.text(), entry.score()))
    }

    pub(super) fn mem_usage(&self) -> usize {
        let members: usize = self.table.iter().map(ScoredMember::mem_usage).sum();
        size_of::<Big>() + self.tree.mem_usage() + self.table.mem_usage() + members
    }
}

impl Clone for Big {
    fn clone(&self) -> Big {
        let mut copy = Big::new();
        for (member, score) in self.range(0, usize::MAX) {
            let entry = copy.table.insert_new(hash_bytes(member), ScoredMember::new(member, score));
            copy.tree.insert_at(copy.tree.len(), score, entry.as_ref());
        }
        copy
    }
}

/// Walks a range of a big sorted set.
pub(super) struct BigIter<'a>(TreeIter<'a, MemberRef>);

impl<'a> BigIter<'a> {
    fn pair((score, item): (f64, MemberRef)) -> (&'a [u8], f64) {
        // SAFETY: the set is borrowed during `'a`, and a member in its tree is in its table.
        (unsafe { item.text() }, score)
    }
}

impl<'a> Iterator for BigIter<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        self.0.next().map(Self::pair)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for BigIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(Self::pair)
    }
}
