//! The set: an intset, a listpack or a hash table of members.
//!
//! Conversions follow Redis 7.2 and only ever go from smaller to bigger encodings: integers in an
//! intset up to `set-max-intset-entries`; other text in a listpack up to
//! `set-max-listpack-entries` members of at most `set-max-listpack-value` bytes; else a table.
//!
//! Source: redis 7.2 `t_set.c:setTypeAddAux`, `setTypeMaybeConvert`.

use crate::elem::int_len;
use crate::hash::hash_bytes;
use crate::intset::{Intset, IntsetIter};
use crate::items::SetMember;
use crate::listpack::{Corrupt, Listpack, ListpackIter, SAFETY_LIMIT, corrupt};
use crate::table::{Table, TableIter};
use crate::{Elem, Limits, listpack};
use stdx::{Prng, parse_i64};

/// Redis never lets an intset hold more, whatever is configured.
const INTSET_MAX: usize = 1 << 30;

#[derive(Clone)]
enum Repr {
    Intset(Intset),
    Listpack(Listpack),
    Table(Box<Table<SetMember>>),
}

/// A set of byte strings.
#[derive(Clone)]
pub struct Set(Repr);

/// How a set is stored, for the codecs.
pub enum SetRepr<'a> {
    /// All members are integers.
    Intset(&'a Intset),
    /// A small set.
    Listpack(&'a Listpack),
    /// A big set; its members come from [`Set::iter`].
    Table,
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl Set {
    /// An empty set.
    pub fn new() -> Set {
        Set(Repr::Intset(Intset::new()))
    }

    /// An empty set for `n` members of which `first` is the first, encoded as Redis would create it
    /// for an SADD with that many arguments.
    /// Source: redis 7.2 `t_set.c:setTypeCreate`.
    pub fn with_hint(first: &[u8], n: usize, limits: &Limits) -> Set {
        if parse_i64(first).is_some() && n <= limits.set_max_intset_entries {
            Set::new()
        } else if n <= limits.set_max_listpack_entries {
            Set(Repr::Listpack(Listpack::new()))
        } else {
            Set(Repr::Table(Box::default()))
        }
    }

    /// Prepares for growth to about `n` members: a set that cannot stay small at that size becomes
    /// a table at once.
    /// Source: redis 7.2 `t_set.c:setTypeMaybeConvert`.
    pub fn reserve(&mut self, n: usize, limits: &Limits) {
        let exceeds = match &self.0 {
            Repr::Intset(_) => n > limits.set_max_intset_entries,
            Repr::Listpack(_) => n > limits.set_max_listpack_entries,
            Repr::Table(_) => false,
        };
        if exceeds {
            self.become_table();
        }
    }

    /// Takes over an intset that was read from a file or peer; it becomes a table if it is bigger
    /// than allowed.
    pub fn from_intset(intset: Intset, limits: &Limits) -> Set {
        let mut set = Set(Repr::Intset(intset));
        set.reserve(set.len(), limits);
        set
    }

    /// Takes over a listpack that was read from a file or peer; it becomes a table if it has more
    /// members than allowed.
    ///
    /// # Errors
    /// If a member occurs twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Set, Corrupt> {
        if listpack::has_duplicates(&pack, 1) {
            return corrupt(0, "every member once");
        }
        let mut set = Set(Repr::Listpack(pack));
        set.reserve(set.len(), limits);
        Ok(set)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Intset(intset) => intset.len(),
            Repr::Listpack(pack) => pack.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding's name: `intset`, `listpack` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Intset(_) => "intset",
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// How the set is stored.
    pub fn repr(&self) -> SetRepr<'_> {
        match &self.0 {
            Repr::Intset(intset) => SetRepr::Intset(intset),
            Repr::Listpack(pack) => SetRepr::Listpack(pack),
            Repr::Table(_) => SetRepr::Table,
        }
    }

    /// Adds a member; false if it was there.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Repr::Table(table) => return add_to_table(table, member),
            Repr::Listpack(pack) => {
                if pack.search(listpack::HEADER, member, 0).is_some() {
                    return false;
                }
                if pack.len() < limits.set_max_listpack_entries
                    && member.len() <= limits.set_max_listpack_value
                    && pack.safe_to_add(member.len())
                {
                    pack.push_back(member);
                    return true;
                }
            }
            Repr::Intset(intset) => {
                if let Some(value) = parse_i64(member) {
                    if !intset.insert(value) {
                        return false;
                    }
                    if intset.len() > limits.set_max_intset_entries.min(INTSET_MAX) {
                        self.become_table();
                    }
                    return true;
                }
                if intset_fits_listpack(intset, member.len(), limits) {
                    let mut pack = Listpack::new();
                    intset.iter().for_each(|value| pack.push_elem(Elem::Int(value)));
                    pack.push_back(member);
                    self.0 = Repr::Listpack(pack);
                    return true;
                }
            }
        }
        add_to_table(self.become_table(), member)
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Intset(intset) => parse_i64(member).is_some_and(|value| intset.remove(value)),
            Repr::Listpack(pack) => match pack.search(listpack::HEADER, member, 0) {
                Some((at, _)) => pack.delete_from(at, 1) == 1,
                None => false,
            },
            Repr::Table(table) => table.remove(hash_bytes(member), member).is_some(),
        }
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Intset(intset) => parse_i64(member).is_some_and(|value| intset.contains(value)),
            Repr::Listpack(pack) => pack.search(listpack::HEADER, member, 0).is_some(),
            Repr::Table(table) => table.get(hash_bytes(member), member).is_some(),
        }
    }

    /// All members, in the order of the encoding.
    pub fn iter(&self) -> SetIter<'_> {
        SetIter(match &self.0 {
            Repr::Intset(intset) => Inner::Intset(intset.iter()),
            Repr::Listpack(pack) => Inner::Listpack(pack.iter(), pack.len()),
            Repr::Table(table) => Inner::Table(table.iter()),
        })
    }

    /// A random member, each with the same chance.
    pub fn random(&self, prng: &mut Prng) -> Option<Elem<'_>> {
        match &self.0 {
            Repr::Intset(intset) => intset.random(prng).map(Elem::Int),
            Repr::Listpack(pack) => match pack.len() as u64 {
                0 => None,
                len => pack.get(prng.below(len) as usize),
            },
            Repr::Table(table) => table.random(prng).map(|member| Elem::Bytes(member.text())),
        }
    }

    /// Removes a random member and returns it.
    pub fn pop_random(&mut self, prng: &mut Prng) -> Option<Vec<u8>> {
        let member = self.random(prng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Calls `f` on a part of the members and returns the next cursor; 0 starts and ends a scan.
    /// `count` is about how many to visit. Small encodings visit everything at once.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(Elem<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(table) => {
                scan_table(table, cursor, count, &mut |m| f(Elem::Bytes(m.text())))
            }
            _ => {
                self.iter().for_each(f);
                0
            }
        }
    }

    /// Bytes requested from the allocator for what the set holds.
    pub fn mem_usage(&self) -> usize {
        match &self.0 {
            Repr::Intset(intset) => intset.mem_usage(),
            Repr::Listpack(pack) => pack.mem_usage(),
            Repr::Table(table) => {
                let members: usize = table.iter().map(SetMember::mem_usage).sum();
                size_of::<Table<SetMember>>() + table.mem_usage() + members
            }
        }
    }

    /// The table, if the set has one; for handing it out in parts.
    pub(crate) fn table(&self) -> Option<&Table<SetMember>> {
        match &self.0 {
            Repr::Table(table) => Some(table),
            _ => None,
        }
    }

    /// As [`Set::table`].
    pub(crate) fn table_mut(&mut self) -> Option<&mut Table<SetMember>> {
        match &mut self.0 {
            Repr::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Changes the encoding to a table.
    fn become_table(&mut self) -> &mut Table<SetMember> {
        if !matches!(self.0, Repr::Table(_)) {
            let mut table = Box::new(Table::new());
            for member in self.iter() {
                member.with(|text| add_to_table(&mut table, text));
            }
            self.0 = Repr::Table(table);
        }
        match &mut self.0 {
            Repr::Table(table) => table,
            _ => unreachable!("just converted"),
        }
    }
}

fn add_to_table(table: &mut Table<SetMember>, member: &[u8]) -> bool {
    let hash = hash_bytes(member);
    if table.get(hash, member).is_some() {
        return false;
    }
    table.insert_new(hash, SetMember::new(member));
    true
}

/// Whether the integers of `intset` and one more member of `len` bytes may become a listpack.
fn intset_fits_listpack(intset: &Intset, len: usize, limits: &Limits) -> bool {
    let n = intset.len();
    let (mut longest, mut bytes) = (0, 0);
    if let (Some(low), Some(high)) = (intset.get(0), n.checked_sub(1).and_then(|i| intset.get(i))) {
        longest = int_len(low).max(int_len(high));
        let estimate = listpack::estimate_repeated_int;
        bytes = estimate(low, n).max(estimate(high, n));
    }
    n < limits.set_max_listpack_entries
        && len.max(longest) <= limits.set_max_listpack_value
        && bytes.saturating_add(len) <= SAFETY_LIMIT
}

/// One SCAN call over a table: steps until about `count` entries were visited, but no more than
/// ten empty positions for each of them.
/// Source: redis `db.c:scanGenericCommand`.
pub(crate) fn scan_table<E: crate::TableEntry>(
    table: &Table<E>,
    mut cursor: u64,
    count: usize,
    f: &mut dyn FnMut(&E),
) -> u64 {
    let (mut visited, mut steps) = (0usize, count.saturating_mul(10).max(1));
    loop {
        cursor = table.scan(cursor, &mut |entry| {
            visited += 1;
            f(entry);
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || visited >= count {
            return cursor;
        }
    }
}

enum Inner<'a> {
    Intset(IntsetIter<'a>),
    Listpack(ListpackIter<'a>, usize),
    Table(TableIter<'a, SetMember>),
}

/// Walks the members of a [`Set`].
pub struct SetIter<'a>(Inner<'a>);

impl<'a> Iterator for SetIter<'a> {
    type Item = Elem<'a>;

    fn next(&mut self) -> Option<Elem<'a>> {
        match &mut self.0 {
            Inner::Intset(iter) => iter.next().map(Elem::Int),
            Inner::Listpack(iter, left) => {
                *left = left.saturating_sub(1);
                iter.next()
            }
            Inner::Table(iter) => iter.next().map(|member| Elem::Bytes(member.text())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Inner::Intset(iter) => iter.len(),
            Inner::Listpack(_, left) => *left,
            Inner::Table(iter) => iter.len(),
        };
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests;
