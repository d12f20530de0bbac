//! The big form of a sorted set: a table of members with their scores, and the tree that orders
//! them.
//!
//! The table owns the members; the tree holds plain pointers to them. Both always hold the same
//! members: a member enters the tree right after the table, and leaves the tree before it leaves
//! the table. That is the whole safety argument for reading a member through the tree.
//!
//! For a snapshot (see `parts.rs`) the set is walked from the highest pair down: a reader that builds
//! its tree from the right end then always inserts at the left one. A pair has had its turn if it is
//! not below the last one that was handed out. A member that changes is named, once, and skipped by
//! the walk wherever it goes; its pair is copied out if it had not had its turn.

use crate::hash::hash_bytes;
use crate::items::{MemberRef, ScoredMember};
use crate::parts::{Account, COST_MIN, PartsHead};
use crate::table::Table;
use crate::tree::{Tree, TreeIter};
use crate::zset::ZAdd;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use stdx::Prng;

impl Default for MemberRef {
    fn default() -> MemberRef {
        MemberRef::NONE
    }
}

/// Members with scores, by member and by order.
pub(crate) struct Big {
    tree: Tree<MemberRef>,
    table: Table<ScoredMember>,
    watch: Option<Box<Watch>>,
}

/// How far a snapshot has come.
struct Watch {
    head: PartsHead,
    /// The last pair that was handed out: this and all above have had their turn.
    last: Option<(f64, Vec<u8>)>,
    /// So have all.
    walked: bool,
    /// Members whose state is settled, by their hashes.
    touched: BTreeMap<u64, SmallVec<[Box<[u8]>; 1]>>,
    /// Pairs as they were, to be handed out.
    copies: Vec<ScoredMember>,
    account: Account,
}

impl Watch {
    fn reached(&self, score: f64, member: &[u8]) -> bool {
        self.walked
            || self.last.as_ref().is_some_and(|(last_score, last_member)| {
                score > *last_score || (score == *last_score && member >= last_member.as_slice())
            })
    }

    fn knows(&self, hash: u64, member: &[u8]) -> bool {
        self.touched.get(&hash).is_some_and(|there| there.iter().any(|name| **name == *member))
    }

    /// A member's pair is about to become another: none before a birth, none after a removal.
    #[cold]
    fn before_change(&mut self, hash: u64, member: &[u8], old: Option<f64>, new: Option<f64>) {
        let copy = old.filter(|old| !self.reached(*old, member));
        let comes = new.is_some_and(|new| !self.reached(new, member));
        if (copy.is_none() && !comes) || self.knows(hash, member) {
            return;
        }
        self.account.add(member.len());
        self.touched.entry(hash).or_default().push(member.into());
        if let Some(old) = copy {
            let copy = ScoredMember::new(member, old);
            self.account.add(copy.mem_usage());
            self.copies.push(copy);
        }
    }
}

impl Big {
    pub(super) fn new() -> Big {
        Big { tree: Tree::new(), table: Table::new(), watch: None }
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
            if let Some(watch) = &mut self.watch {
                watch.before_change(hash, member, None, Some(score));
            }
            let rank = self.place(score, member);
            let entry = self.table.insert_new(hash, ScoredMember::new(member, score));
            self.tree.insert_at(rank, score, entry.as_ref());
            return ZAdd::Added;
        };
        let old = entry.score();
        if old == score {
            return ZAdd::Same;
        }
        if let Some(watch) = &mut self.watch {
            watch.before_change(hash, member, Some(old), Some(score));
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
        if let Some(watch) = &mut self.watch {
            watch.before_change(hash, member, Some(score), None);
        }
        let rank = self.place(score, member);
        self.tree.remove_at(rank);
        self.table.remove(hash, member);
        Some(score)
    }

    /// Removes the pair with rank `rank`, which must be below the length.
    pub(super) fn remove_at(&mut self, rank: usize) -> ScoredMember {
        let (score, item) = self.tree.remove_at(rank);
        // SAFETY: the member just left the tree and is still in the table.
        let text = unsafe { item.text() };
        let hash = hash_bytes(text);
        if let Some(watch) = &mut self.watch {
            watch.before_change(hash, text, Some(score), None);
        }
        self.table.remove(hash, text).expect("a member of the tree is in the table")
    }

    pub(super) fn range(&self, start: usize, len: usize) -> BigIter<'_> {
        BigIter(self.tree.range(start, len))
    }

    pub(crate) fn table(&self) -> &Table<ScoredMember> {
        &self.table
    }

    /// Opens a watch: the present state is to be handed out by [`Big::watch_step`].
    pub(crate) fn begin_watch(&mut self, head: PartsHead) {
        assert!(self.watch.is_none(), "one watch at a time");
        let account = Account::new(&head);
        self.watch = Some(Box::new(Watch {
            head,
            last: None,
            walked: self.table.is_empty(),
            touched: BTreeMap::new(),
            copies: Vec::new(),
            account,
        }));
    }

    /// Closes the watch, whatever is left to do.
    pub(crate) fn end_watch(&mut self) {
        self.watch = None;
    }

    /// What the open watch was begun with.
    #[inline]
    pub(crate) fn watch_head(&mut self) -> Option<&mut PartsHead> {
        self.watch.as_mut().map(|watch| &mut watch.head)
    }

    /// Hands out pairs as they were when the watch began, each once, in a step of about `budget`;
    /// `f` returns a pair's cost. True when that was all: the watch is closed.
    pub(crate) fn watch_step(
        &mut self,
        budget: usize,
        f: &mut dyn FnMut(&[u8], f64) -> usize,
    ) -> bool {
        let Some(mut watch) = self.watch.take() else { return true };
        let mut left = budget;
        while left > 0
            && let Some(copy) = watch.copies.pop()
        {
            watch.account.sub(copy.mem_usage());
            left = left.saturating_sub(COST_MIN + f(copy.text(), copy.score()));
        }
        if left > 0 && !watch.walked {
            self.watch_walk(&mut watch, left, f);
        }
        if watch.walked && watch.copies.is_empty() {
            return true;
        }
        self.watch = Some(watch);
        false
    }

    fn watch_walk(&self, watch: &mut Watch, budget: usize, f: &mut dyn FnMut(&[u8], f64) -> usize) {
        let below = match &watch.last {
            None => self.tree.len(),
            Some((score, member)) => self.place(*score, member),
        };
        let count = below.min(budget / COST_MIN + 1);
        let (mut left, mut last, mut seen) = (budget, None, 0);
        for (member, score) in self.range(below - count, count).rev() {
            let mut cost = COST_MIN;
            if watch.touched.is_empty() || !watch.knows(hash_bytes(member), member) {
                cost += f(member, score);
            }
            (last, seen) = (Some((score, member)), seen + 1);
            left = left.saturating_sub(cost);
            if left == 0 {
                break;
            }
        }
        watch.walked = seen == below;
        if let Some((score, member)) = last {
            watch.last = Some((score, member.to_vec()));
        }
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
