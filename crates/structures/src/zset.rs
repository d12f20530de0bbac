//! The sorted set: members ordered by (score, member bytes), in a listpack or in a tree with a
//! member table.
//!
//! Conversion follows Redis 7.2: to the big form when there are more than
//! `zset-max-listpack-entries` members or one is longer than `zset-max-listpack-value`; back only
//! on request ([`Zset::compact`], for results of whole-set commands). The big form's encoding is
//! named `skiplist` for compatibility.
//!
//! Source: redis 7.2 `t_zset.c:zsetAdd`, `zzlInsert`, `zsetConvertToListpackIfNeeded`.

use crate::items::ScoredMember;
use crate::listpack::{self, Corrupt, HEADER, Listpack, ListpackIter, corrupt};
use crate::set::scan_table;
use crate::{Elem, Limits};
use std::cmp::Ordering;
use stdx::{Prng, format_f64};

mod big;

pub(crate) use big::Big;
use big::BigIter;

#[derive(Clone)]
enum Repr {
    /// Members and scores in turn, in order.
    Listpack(Listpack),
    Big(Box<Big>),
}

/// A set of members with scores, in order of score, then bytes. Scores are never NaN.
#[derive(Clone)]
pub struct Zset(Repr);

/// What [`Zset::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZAdd {
    /// The member is new.
    Added,
    /// The member was there with another score.
    Updated {
        /// The score before.
        old: f64,
    },
    /// The member was there with this score.
    Same,
}

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// Lowest score.
    pub min: f64,
    /// Whether the lowest score itself is excluded.
    pub min_excl: bool,
    /// Highest score.
    pub max: f64,
    /// Whether the highest score itself is excluded.
    pub max_excl: bool,
}

impl ScoreRange {
    /// Whether `score` lies before the range.
    pub fn is_below(&self, score: f64) -> bool {
        score < self.min || (self.min_excl && score == self.min)
    }

    /// Whether `score` lies behind the range.
    pub fn is_above(&self, score: f64) -> bool {
        score > self.max || (self.max_excl && score == self.max)
    }

    /// Whether `score` lies in the range.
    pub fn contains(&self, score: f64) -> bool {
        !self.is_below(score) && !self.is_above(score)
    }
}

/// One end of a lexicographical range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LexBound {
    /// Before every member (`-`).
    NegInf,
    /// Behind every member (`+`).
    PosInf,
    /// This member included (`[member`).
    Incl(Vec<u8>),
    /// This member excluded (`(member`).
    Excl(Vec<u8>),
}

/// A range of members by their bytes; meaningful where all scores are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LexRange {
    /// Lower end.
    pub min: LexBound,
    /// Upper end.
    pub max: LexBound,
}

impl LexRange {
    /// Whether `member` lies before the range.
    pub fn is_below(&self, member: &[u8]) -> bool {
        match &self.min {
            LexBound::NegInf => false,
            LexBound::PosInf => true,
            LexBound::Incl(bound) => member < bound.as_slice(),
            LexBound::Excl(bound) => member <= bound.as_slice(),
        }
    }

    /// Whether `member` lies behind the range.
    pub fn is_above(&self, member: &[u8]) -> bool {
        match &self.max {
            LexBound::NegInf => true,
            LexBound::PosInf => false,
            LexBound::Incl(bound) => member > bound.as_slice(),
            LexBound::Excl(bound) => member >= bound.as_slice(),
        }
    }

    /// Whether `member` lies in the range.
    pub fn contains(&self, member: &[u8]) -> bool {
        !self.is_below(member) && !self.is_above(member)
    }
}

/// The score of a packed element; loading checked that it is one.
fn score_of(elem: Elem<'_>) -> f64 {
    elem.as_f64().unwrap_or(0.0)
}

/// Runs `f` on the form in which a score is packed: an integer where it is one, else its text.
/// Source: redis 7.2 `t_zset.c:zzlInsertAt`, `util.c:double2ll`.
fn with_packed_score<R>(score: f64, f: impl FnOnce(Elem<'_>) -> R) -> R {
    const SAFE: f64 = (i64::MAX / 2) as f64;
    if (-SAFE..=SAFE).contains(&score) && score as i64 as f64 == score {
        return f(Elem::Int(score as i64));
    }
    let mut text = Vec::with_capacity(32);
    format_f64(&mut text, score);
    f(Elem::Bytes(&text))
}

impl Default for Zset {
    fn default() -> Zset {
        Zset::new()
    }
}

impl Zset {
    /// An empty sorted set.
    pub fn new() -> Zset {
        Zset(Repr::Listpack(Listpack::new()))
    }

    /// Prepares for growth to about `n` members, of which the first has `longest` bytes: a set that
    /// cannot stay packed takes the big form at once.
    /// Source: redis 7.2 `t_zset.c:zsetTypeCreate`, `zsetTypeMaybeConvert`.
    pub fn reserve(&mut self, n: usize, longest: usize, limits: &Limits) {
        if n > limits.zset_max_listpack_entries || longest > limits.zset_max_listpack_value {
            self.become_big();
        }
    }

    /// Takes over a listpack of members and scores that was read from a file or peer; it takes the
    /// big form if it has more members than allowed.
    ///
    /// # Errors
    /// If a member has no score, a score is not a number, the order is wrong or a member occurs
    /// twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Zset, Corrupt> {
        if !pack.len().is_multiple_of(2) {
            return corrupt(4, "as many scores as members");
        }
        let mut last: Option<(f64, Vec<u8>)> = None;
        let mut at = HEADER;
        while at < pack.end() {
            let (member, score_at) = pack.decode_at(at);
            let (score, next) = pack.decode_at(score_at);
            let Some(score) = score.as_f64().filter(|score| !score.is_nan()) else {
                return corrupt(score_at, "a score");
            };
            let member = member.to_vec();
            if let Some((last_score, last_member)) = &last
                && !(*last_score < score || (*last_score == score && *last_member < member))
            {
                return corrupt(at, "members in order");
            }
            last = Some((score, member));
            at = next;
        }
        if listpack::has_duplicates(&pack, 2) {
            return corrupt(0, "every member once");
        }
        let mut zset = Zset(Repr::Listpack(pack));
        if zset.len() > limits.zset_max_listpack_entries {
            zset.become_big();
        }
        Ok(zset)
    }

    /// The listpack of a small sorted set.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => Some(pack),
            Repr::Big(_) => None,
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.len() / 2,
            Repr::Big(big) => big.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding's name: `listpack` or `skiplist`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::Big(_) => "skiplist",
        }
    }

    /// Adds a member or changes its score, which must not be NaN.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> ZAdd {
        assert!(!score.is_nan(), "a score is a number");
        let pack = match &mut self.0 {
            Repr::Big(big) => return big.insert(member, score),
            Repr::Listpack(pack) => pack,
        };
        if let Some((at, _)) = pack.search(HEADER, member, 1) {
            let (_, score_at) = pack.decode_at(at);
            let old = score_of(pack.elem_at(score_at));
            if old == score {
                return ZAdd::Same;
            }
            pack.delete_from(at, 2);
            insert_sorted(pack, member, score);
            return ZAdd::Updated { old };
        }
        if pack.len() / 2 < limits.zset_max_listpack_entries
            && member.len() <= limits.zset_max_listpack_value
            && pack.safe_to_add(member.len())
        {
            insert_sorted(pack, member, score);
            return ZAdd::Added;
        }
        self.become_big().insert(member, score)
    }

    /// A member's score.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Listpack(pack) => {
                let (at, _) = pack.search(HEADER, member, 1)?;
                let (_, score_at) = pack.decode_at(at);
                Some(score_of(pack.elem_at(score_at)))
            }
            Repr::Big(big) => big.score(member),
        }
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Repr::Listpack(pack) => {
                let (at, _) = pack.search(HEADER, member, 1)?;
                let (_, score_at) = pack.decode_at(at);
                let score = score_of(pack.elem_at(score_at));
                pack.delete_from(at, 2);
                Some(score)
            }
            Repr::Big(big) => big.remove(member),
        }
    }

    /// A member's place, counted from the lowest score (`rev`: from the highest), starting at 0.
    pub fn rank(&self, member: &[u8], rev: bool) -> Option<usize> {
        let rank = match &self.0 {
            Repr::Listpack(pack) => pack.search(HEADER, member, 1)?.1 / 2,
            Repr::Big(big) => big.rank(member)?,
        };
        Some(if rev { self.len() - 1 - rank } else { rank })
    }

    /// All members with their scores in ascending order.
    pub fn iter(&self) -> ZsetIter<'_> {
        self.window(0, usize::MAX, false)
    }

    /// The members with ranks `start` to `start + len`, in order; with `rev`, ranks and order go
    /// from the highest score down.
    pub fn range_by_rank(&self, start: usize, len: usize, rev: bool) -> ZsetIter<'_> {
        let total = self.len();
        let start = start.min(total);
        let len = len.min(total - start);
        self.window(if rev { total - start - len } else { start }, len, rev)
    }

    /// The members whose scores are in `range`; with `rev` from the highest down.
    pub fn range_by_score(&self, range: &ScoreRange, rev: bool) -> ZsetIter<'_> {
        let (start, len) = self.score_window(range);
        self.window(start, len, rev)
    }

    /// The members in `range`; with `rev` from the highest down.
    pub fn range_by_lex(&self, range: &LexRange, rev: bool) -> ZsetIter<'_> {
        let (start, len) = self.lex_window(range);
        self.window(start, len, rev)
    }

    /// Number of members whose scores are in `range`.
    pub fn count_by_score(&self, range: &ScoreRange) -> usize {
        self.score_window(range).1
    }

    /// Number of members in `range`.
    pub fn count_by_lex(&self, range: &LexRange) -> usize {
        self.lex_window(range).1
    }

    /// Rank of the first member whose score is not below `range`; the length if there is none.
    pub fn first_rank_by_score(&self, range: &ScoreRange) -> usize {
        self.count_while_score(|score| range.is_below(score))
    }

    /// Rank of the first member that is not below `range`; the length if there is none.
    pub fn first_rank_by_lex(&self, range: &LexRange) -> usize {
        self.count_while_member(|member| range.is_below(member))
    }

    /// Rank of the first member in `range` and the number of members in it.
    pub fn score_window(&self, range: &ScoreRange) -> (usize, usize) {
        let start = self.first_rank_by_score(range);
        let end = self.count_while_score(|score| !range.is_above(score));
        (start, end.saturating_sub(start))
    }

    /// Rank of the first member in `range` and the number of members in it.
    pub fn lex_window(&self, range: &LexRange) -> (usize, usize) {
        let start = self.first_rank_by_lex(range);
        let end = self.count_while_member(|member| !range.is_above(member));
        (start, end.saturating_sub(start))
    }

    fn count_while_score(&self, holds: impl Fn(f64) -> bool) -> usize {
        match &self.0 {
            Repr::Listpack(_) => self.iter().take_while(|&(_, score)| holds(score)).count(),
            Repr::Big(big) => big.count_while_score(holds),
        }
    }

    fn count_while_member(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        match &self.0 {
            Repr::Listpack(_) => self.iter().take_while(|(m, _)| m.with(&holds)).count(),
            Repr::Big(big) => big.count_while_member(holds),
        }
    }

    fn window(&self, start: usize, len: usize, rev: bool) -> ZsetIter<'_> {
        let inner = match &self.0 {
            Repr::Listpack(pack) => {
                let total = pack.len() / 2;
                let start = start.min(total);
                let len = len.min(total - start);
                let from = pack.seek(start * 2).unwrap_or(pack.end());
                let to = pack.seek((start + len) * 2).unwrap_or(pack.end());
                Inner::Listpack(ListpackIter::between(pack, from, to), len)
            }
            Repr::Big(big) => Inner::Big(big.range(start, len)),
        };
        ZsetIter { inner, rev }
    }

    /// Removes the lowest member.
    pub fn pop_min(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(0)
    }

    /// Removes the highest member.
    pub fn pop_max(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(self.len().checked_sub(1)?)
    }

    fn pop(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let mut popped = None;
        self.remove_by_rank(rank, 1, &mut |member, score| popped = Some((member.to_vec(), score)));
        popped
    }

    /// Removes the members with ranks `start` to `start + len` and shows each to `f`; returns how
    /// many there were.
    pub fn remove_by_rank(
        &mut self,
        start: usize,
        len: usize,
        f: &mut dyn FnMut(Elem<'_>, f64),
    ) -> usize {
        let total = self.len();
        let start = start.min(total);
        let len = len.min(total - start);
        if len == 0 {
            return 0;
        }
        match &mut self.0 {
            Repr::Listpack(pack) => {
                let at = pack.seek(start * 2).unwrap_or(pack.end());
                let mut iter = ListpackIter::between(pack, at, pack.end());
                for _ in 0..len {
                    if let (Some(member), Some(score)) = (iter.next(), iter.next()) {
                        f(member, score_of(score));
                    }
                }
                pack.delete_from(at, len * 2);
            }
            Repr::Big(big) => {
                for _ in 0..len {
                    let removed = big.remove_at(start);
                    f(Elem::Bytes(removed.text()), removed.score());
                }
            }
        }
        len
    }

    /// Removes the members whose scores are in `range`; returns how many there were.
    pub fn remove_by_score(&mut self, range: &ScoreRange) -> usize {
        let (start, len) = self.score_window(range);
        self.remove_by_rank(start, len, &mut |_, _| ())
    }

    /// Removes the members in `range`; returns how many there were.
    pub fn remove_by_lex(&mut self, range: &LexRange) -> usize {
        let (start, len) = self.lex_window(range);
        self.remove_by_rank(start, len, &mut |_, _| ())
    }

    /// A random member with its score, each with the same chance.
    pub fn random(&self, prng: &mut Prng) -> Option<(Elem<'_>, f64)> {
        match &self.0 {
            Repr::Listpack(pack) => {
                let len = pack.len() as u64 / 2;
                if len == 0 {
                    return None;
                }
                let at = pack.seek(prng.below(len) as usize * 2)?;
                let (member, score_at) = pack.decode_at(at);
                Some((member, score_of(pack.elem_at(score_at))))
            }
            Repr::Big(big) => big.random(prng).map(|(m, score)| (Elem::Bytes(m), score)),
        }
    }

    /// Calls `f` on a part of the members and returns the next cursor; 0 starts and ends a scan.
    /// `count` is about how many to visit. A listpack is visited at once.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(Elem<'_>, f64)) -> u64 {
        match &self.0 {
            Repr::Listpack(_) => {
                self.iter().for_each(|(member, score)| f(member, score));
                0
            }
            Repr::Big(big) => {
                scan_table(big.table(), cursor, count, &mut |entry: &ScoredMember| {
                    f(Elem::Bytes(entry.text()), entry.score());
                })
            }
        }
    }

    /// Bytes requested from the allocator for what the sorted set holds.
    pub fn mem_usage(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.mem_usage(),
            Repr::Big(big) => big.mem_usage(),
        }
    }

    /// Packs a set that is small enough for it; for results that were built in the big form.
    /// Source: redis 7.2 `t_zset.c:zsetConvertToListpackIfNeeded`.
    pub fn compact(&mut self, limits: &Limits) {
        let Repr::Big(big) = &self.0 else { return };
        if big.len() > limits.zset_max_listpack_entries {
            return;
        }
        if big.range(0, usize::MAX).any(|(m, _)| m.len() > limits.zset_max_listpack_value) {
            return;
        }
        let mut pack = Listpack::new();
        for (member, score) in big.range(0, usize::MAX) {
            if !pack.safe_to_add(member.len()) {
                return;
            }
            pack.push_back(member);
            with_packed_score(score, |score| pack.push_elem(score));
        }
        self.0 = Repr::Listpack(pack);
    }

    /// Gives the sorted set its big form, however small it is: SORT leaves it so.
    /// Source: redis 7.0 `sort.c:sortCommandGeneric`.
    pub fn unpack(&mut self) {
        self.become_big();
    }

    /// The big form; for handing it out in parts.
    pub(crate) fn big(&self) -> Option<&Big> {
        match &self.0 {
            Repr::Big(big) => Some(big),
            Repr::Listpack(_) => None,
        }
    }

    /// As [`Zset::big`].
    pub(crate) fn big_mut(&mut self) -> Option<&mut Big> {
        match &mut self.0 {
            Repr::Big(big) => Some(big),
            Repr::Listpack(_) => None,
        }
    }

    fn become_big(&mut self) -> &mut Big {
        if let Repr::Listpack(_) = &self.0 {
            let mut big = Box::new(Big::new());
            for (member, score) in self.iter() {
                member.with(|member| big.insert(member, score));
            }
            self.0 = Repr::Big(big);
        }
        match &mut self.0 {
            Repr::Big(big) => big,
            Repr::Listpack(_) => unreachable!("just converted"),
        }
    }
}

/// Inserts a pair at its place.
fn insert_sorted(pack: &mut Listpack, member: &[u8], score: f64) {
    let end = pack.end();
    let mut at = HEADER;
    while at < end {
        let (other, score_at) = pack.decode_at(at);
        let (other_score, next) = pack.decode_at(score_at);
        let other_score = score_of(other_score);
        if other_score > score
            || (other_score == score && other.cmp_bytes(member) == Ordering::Greater)
        {
            break;
        }
        at = next;
    }
    let at = pack.insert_elem(at, Elem::Bytes(member));
    with_packed_score(score, |score| pack.insert_elem(at, score));
}

// The tree's cursors are big, but an iterator lives on the stack only; a box would cost more.
#[allow(clippy::large_enum_variant)]
enum Inner<'a> {
    Listpack(ListpackIter<'a>, usize),
    Big(BigIter<'a>),
}

/// Walks members of a [`Zset`] with their scores.
pub struct ZsetIter<'a> {
    inner: Inner<'a>,
    rev: bool,
}

impl<'a> ZsetIter<'a> {
    fn step(&mut self, from_back: bool) -> Option<(Elem<'a>, f64)> {
        match &mut self.inner {
            Inner::Listpack(iter, left) => {
                let (member, score) = if from_back {
                    let score = iter.next_back()?;
                    (iter.next_back()?, score)
                } else {
                    (iter.next()?, iter.next()?)
                };
                *left -= 1;
                Some((member, score_of(score)))
            }
            Inner::Big(iter) => {
                let (member, score) = if from_back { iter.next_back()? } else { iter.next()? };
                Some((Elem::Bytes(member), score))
            }
        }
    }
}

impl<'a> Iterator for ZsetIter<'a> {
    type Item = (Elem<'a>, f64);

    fn next(&mut self) -> Option<(Elem<'a>, f64)> {
        self.step(self.rev)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.inner {
            Inner::Listpack(_, left) => (*left, Some(*left)),
            Inner::Big(iter) => iter.size_hint(),
        }
    }
}

impl DoubleEndedIterator for ZsetIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(!self.rev)
    }
}

impl ExactSizeIterator for ZsetIter<'_> {}

#[cfg(test)]
mod tests;
