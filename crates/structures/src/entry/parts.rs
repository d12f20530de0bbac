//! Entries whose values a snapshot gets in parts, or by pointer.

use super::*;
use crate::items::{Field, ScoredMember, SetMember};
use crate::parts::{Part, PartsHead};
use crate::table::Table;

/// Collections with this many elements are handed out in parts.
const PARTS_MIN: usize = 64;
/// So are smaller ones with this many bytes.
const PARTS_BYTES: usize = 16 * 1024;
/// Elements that an estimate of a size looks at.
const SAMPLES: usize = 8;

fn is_big<E: TableEntry>(table: &Table<E>) -> bool {
    table.len() >= PARTS_MIN
        || table.iter().map(TableEntry::copied_bytes).sum::<usize>() >= PARTS_BYTES
}

fn estimate<E: TableEntry>(table: &Table<E>) -> usize {
    let some: usize = table.iter().take(SAMPLES).map(TableEntry::copied_bytes).sum();
    let all =
        if table.len() <= SAMPLES { some } else { (some / SAMPLES).saturating_mul(table.len()) };
    table.mem_usage().saturating_add(all)
}

/// For snapshots.
impl Entry {
    /// True if the value is one that [`Entry::begin_parts`] takes: a big set, hash or sorted set.
    pub fn goes_in_parts(&self) -> bool {
        match self.value() {
            ValueRef::Set(set) => set.table().is_some_and(is_big::<SetMember>),
            ValueRef::Hash(hash) => hash.table().is_some_and(is_big::<Field>),
            ValueRef::Zset(zset) => {
                zset.big().is_some_and(|big| is_big::<ScoredMember>(big.table()))
            }
            ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => false,
        }
    }

    /// True if a copy of the value shares the memory of the original: long strings and big lists. A list
    /// costs a pointer for every node of about 8 KiB.
    pub fn copies_share(&self) -> bool {
        match self.value() {
            ValueRef::Str(StrRef::Paged(_)) => true,
            ValueRef::List(list) => list.encoding() == "quicklist",
            _ => false,
        }
    }

    /// True if freeing or copying the value is work beyond a few microseconds, by its form.
    pub fn is_bulky(&self) -> bool {
        match self.value() {
            ValueRef::Str(StrRef::Paged(_)) => true,
            ValueRef::Str(_) => false,
            ValueRef::List(list) => list.encoding() == "quicklist",
            ValueRef::Stream(stream) => {
                stream.nodes().len() > 1 || stream.groups().next().is_some()
            }
            ValueRef::Set(_) | ValueRef::Hash(_) | ValueRef::Zset(_) => self.goes_in_parts(),
        }
    }

    /// About the bytes that the entry takes, told without walking over a big value.
    pub fn mem_estimate(&self) -> usize {
        let held = match self.value() {
            ValueRef::Set(set) => set.table().map(estimate::<SetMember>),
            ValueRef::Hash(hash) => hash.table().map(estimate::<Field>),
            ValueRef::Zset(zset) => zset.big().map(|big| estimate::<ScoredMember>(big.table())),
            // Nodes are of about 8 KiB and 4 KiB.
            ValueRef::List(list) if list.encoding() == "quicklist" => Some(list.len() * 16),
            ValueRef::Stream(stream) => Some(stream.nodes().len() * 4096),
            ValueRef::Str(StrRef::Paged(text)) => Some(text.len()),
            ValueRef::Str(_) | ValueRef::List(_) => None,
        };
        held.map_or_else(|| self.mem_usage(), |held| self.allocated().saturating_add(held))
    }

    /// Opens a watch on the value: its present state is to be handed out in parts. Only where
    /// [`Entry::goes_in_parts`] is true and no watch is open.
    pub fn begin_parts(&mut self, head: PartsHead) {
        if let Some(table) = self.set_mut().and_then(crate::Set::table_mut) {
            table.begin_watch(head);
        } else if let Some(table) = self.hash_mut().and_then(Hash::table_mut) {
            table.begin_watch(head);
        } else if let Some(big) = self.zset_mut().and_then(Zset::big_mut) {
            big.begin_watch(head);
        } else {
            unreachable!("the caller has asked whether the value goes in parts");
        }
    }

    /// What the open watch was begun with; `None` if there is none.
    pub fn parts_head(&mut self) -> Option<&mut PartsHead> {
        match self.kind() {
            Kind::Set => self.set_mut()?.table_mut()?.watch_head(),
            Kind::Hash => self.hash_mut()?.table_mut()?.watch_head(),
            Kind::Zset => self.zset_mut()?.big_mut()?.watch_head(),
            _ => None,
        }
    }

    /// Closes the watch, if one is open: nobody wants the state that it was to hand out.
    pub fn end_parts(&mut self) {
        if let Some(table) = self.set_mut().and_then(crate::Set::table_mut) {
            table.end_watch();
        } else if let Some(table) = self.hash_mut().and_then(Hash::table_mut) {
            table.end_watch();
        } else if let Some(big) = self.zset_mut().and_then(Zset::big_mut) {
            big.end_watch();
        }
    }

    /// Hands out elements as they were when the watch began, each once, in a step of about `budget`;
    /// `f` returns what an element cost. True when that was all: the watch is closed.
    pub fn parts_step(&mut self, budget: usize, f: &mut dyn FnMut(Part<'_>) -> usize) -> bool {
        if let Some(table) = self.set_mut().and_then(crate::Set::table_mut) {
            return table.watch_step(budget, &mut |member| f(Part::Member(member.text())));
        }
        if let Some(table) = self.hash_mut().and_then(Hash::table_mut) {
            return table.watch_step(budget, &mut |entry| {
                let (field, value, time) = (entry.field(), entry.value(), entry.time());
                f(Part::Field { field, value, time })
            });
        }
        if let Some(big) = self.zset_mut().and_then(Zset::big_mut) {
            return big.watch_step(budget, &mut |member, score| f(Part::Scored { member, score }));
        }
        true
    }
}

#[cfg(test)]
mod tests;
