//! The two forms of a hash whose fields may have times: a listpack of triples, and a table.
//!
//! The listpack is byte for byte what Redis 7.4 has in memory and in RDB files: field, value, time
//! (0 for none), ordered by time, those without one last. The table has its own index of what is
//! due: a big hash must not be walked to find the few fields whose time has come.
//!
//! Times are opaque numbers here; whoever calls says what time it is. A field is due from its time
//! on.
//!
//! Source: redis 7.4 `t_hash.c` (`listpackEx`), behaviour.

use super::{FIELD_TIME_MAX, set_in_table};
use crate::due::ExpireIndex;
use crate::hash::hash_bytes;
use crate::items::Field;
use crate::listpack::{self, Corrupt, HEADER, Listpack, corrupt};
use crate::table::Table;
use crate::{Elem, Limits};

/// A small hash whose fields may have times.
#[derive(Default)]
pub(super) struct TimedPack {
    /// Triples of field, value and time.
    pub(super) pack: Listpack,
    /// See [`super::Hash::note`].
    pub(super) note: Option<i64>,
}

/// One triple of a [`TimedPack`].
pub(super) struct Triple<'a> {
    pub(super) field: Elem<'a>,
    pub(super) value: Elem<'a>,
    pub(super) time: Option<i64>,
    /// Offset of the next one.
    next: usize,
}

impl Clone for TimedPack {
    fn clone(&self) -> TimedPack {
        TimedPack { pack: self.pack.clone(), note: None }
    }
}

impl TimedPack {
    /// Takes over pairs, which get no time.
    pub(super) fn from_pairs(pairs: &Listpack) -> TimedPack {
        let mut pack = Listpack::new();
        let mut elems = pairs.iter();
        while let (Some(field), Some(value)) = (elems.next(), elems.next()) {
            pack.push_elem(field);
            pack.push_elem(value);
            pack.push_elem(Elem::Int(0));
        }
        TimedPack { pack, note: None }
    }

    /// Takes over triples that came from outside, and puts them in order if they are not.
    pub(super) fn from_triples(pack: Listpack) -> Result<TimedPack, Corrupt> {
        if !pack.len().is_multiple_of(3) {
            return corrupt(4, "a value and a time for every field");
        }
        if listpack::has_duplicates(&pack, 3) {
            return corrupt(0, "every field once");
        }
        let (mut last, mut ordered) = (0, true);
        for time in pack.iter().skip(2).step_by(3) {
            match time {
                // None at all is later than every time.
                Elem::Int(0) => last = i64::MAX,
                Elem::Int(time) if (1..=FIELD_TIME_MAX).contains(&time) => {
                    ordered &= time >= last;
                    last = time.max(last);
                }
                _ => return corrupt(0, "a time of a field"),
            }
        }
        if ordered {
            return Ok(TimedPack { pack, note: None });
        }
        let unordered = TimedPack { pack, note: None };
        let mut triples: Vec<Triple<'_>> = unordered.triples().collect();
        triples.sort_by_key(|triple| triple.time.unwrap_or(i64::MAX));
        let mut pack = Listpack::new();
        for Triple { field, value, time, .. } in triples {
            pack.push_elem(field);
            pack.push_elem(value);
            pack.push_elem(Elem::Int(time.unwrap_or(0)));
        }
        Ok(TimedPack { pack, note: None })
    }

    /// The same fields and values as pairs, their times lost.
    pub(super) fn to_pairs(&self) -> Listpack {
        let mut pairs = Listpack::new();
        for triple in self.triples() {
            pairs.push_elem(triple.field);
            pairs.push_elem(triple.value);
        }
        pairs
    }

    pub(super) fn len(&self) -> usize {
        self.pack.len() / 3
    }

    /// The triple at an offset where one begins.
    pub(super) fn at(&self, at: usize) -> Triple<'_> {
        let (field, at) = self.pack.decode_at(at);
        let (value, at) = self.pack.decode_at(at);
        let (time, next) = self.pack.decode_at(at);
        let time = match time {
            Elem::Int(time) if time != 0 => Some(time),
            _ => None,
        };
        Triple { field, value, time, next }
    }

    pub(super) fn triples(&self) -> impl Iterator<Item = Triple<'_>> {
        let (mut at, end) = (HEADER, self.pack.end());
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let triple = self.at(at);
            at = triple.next;
            Some(triple)
        })
    }

    /// Where a field is.
    fn seek(&self, field: &[u8]) -> Option<usize> {
        self.pack.search(HEADER, field, 2).map(|(at, _)| at)
    }

    pub(super) fn find(&self, field: &[u8]) -> Option<Triple<'_>> {
        self.seek(field).map(|at| self.at(at))
    }

    /// Sets a field; true if it is new. Its time goes unless `keep` says otherwise.
    pub(super) fn set(&mut self, field: &[u8], value: &[u8], keep: bool) -> bool {
        let Some(at) = self.seek(field) else {
            self.push(field, value);
            return true;
        };
        if !keep && self.at(at).time.is_some() {
            self.pack.delete_from(at, 3);
            self.push(field, value);
            return false;
        }
        let (_, value_at) = self.pack.decode_at(at);
        self.pack.replace_elem(value_at, Elem::Bytes(value));
        false
    }

    fn push(&mut self, field: &[u8], value: &[u8]) {
        self.pack.push_back(field);
        self.pack.push_back(value);
        self.pack.push_elem(Elem::Int(0));
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        match self.seek(field) {
            Some(at) => self.pack.delete_from(at, 3) == 3,
            None => false,
        }
    }

    /// Sets or clears the time of a field; false without the field.
    pub(super) fn set_time(&mut self, field: &[u8], time: Option<i64>) -> bool {
        let Some(at) = self.seek(field) else { return false };
        let triple = self.at(at);
        if triple.time == time {
            return true;
        }
        let value = triple.value.to_vec();
        self.pack.delete_from(at, 3);
        // Behind those that are due no later.
        let mut to = HEADER;
        while to < self.pack.end() {
            let other = self.at(to);
            if time.is_some_and(|time| other.time.is_none_or(|other| other > time)) {
                break;
            }
            to = other.next;
        }
        to = self.pack.insert_elem(to, Elem::Bytes(field));
        to = self.pack.insert_elem(to, Elem::Bytes(&value));
        self.pack.insert_elem(to, Elem::Int(time.unwrap_or(0)));
        true
    }

    /// The earliest time.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.triples().next()?.time
    }

    /// Removes up to `max` fields that are due into `out`.
    pub(super) fn take_due(&mut self, now: i64, max: usize, out: &mut Vec<Vec<u8>>) {
        let due = |triple: &Triple<'_>| triple.time.is_some_and(|time| time <= now);
        let before = out.len();
        out.extend(self.triples().take_while(due).take(max).map(|triple| triple.field.to_vec()));
        let taken = out.len() - before;
        self.pack.delete_from(HEADER, taken.saturating_mul(3));
    }
}

/// A big hash whose fields may have times.
#[derive(Default)]
pub(super) struct TimedTable {
    pub(super) table: Table<Field>,
    /// Fields with a time.
    pub(super) timed: usize,
    /// A note for each of them, no later than its time.
    pub(super) due: ExpireIndex,
    /// See [`super::Hash::note`].
    pub(super) note: Option<i64>,
}

impl Clone for TimedTable {
    fn clone(&self) -> TimedTable {
        let (table, timed, due) = (self.table.clone(), self.timed, self.due.clone());
        TimedTable { table, timed, due, note: None }
    }
}

/// An index with fewer notes than this is not rebuilt.
const NOTES_MIN: usize = 1024;

impl TimedTable {
    /// Takes over a table of fields without times.
    pub(super) fn from_table(table: Table<Field>) -> TimedTable {
        TimedTable { table, ..TimedTable::default() }
    }

    /// Takes over the fields of a small hash.
    pub(super) fn from_pack(small: &TimedPack) -> TimedTable {
        let mut big = TimedTable { note: small.note, ..TimedTable::default() };
        for Triple { field, value, time, .. } in small.triples() {
            field.with(|field| {
                value.with(|value| set_in_table(&mut big.table, field, value));
                big.set_time(field, time);
            });
        }
        big
    }

    pub(super) fn set(&mut self, field: &[u8], value: &[u8], keep: bool) -> bool {
        let hash = hash_bytes(field);
        let Some(entry) = self.table.get_mut(hash, field) else {
            self.table.insert_new(hash, Field::new(field, value));
            return true;
        };
        if !keep && entry.time().is_some() {
            self.timed -= 1;
            *entry = Field::new(field, value);
        } else {
            entry.set_value(value);
        }
        false
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        let Some(entry) = self.table.remove(hash_bytes(field), field) else { return false };
        self.timed -= usize::from(entry.time().is_some());
        true
    }

    pub(super) fn set_time(&mut self, field: &[u8], time: Option<i64>) -> bool {
        let hash = hash_bytes(field);
        let Some(entry) = self.table.get_mut(hash, field) else { return false };
        let old = entry.time();
        if old == time {
            return true;
        }
        entry.set_time(time);
        self.timed = self.timed + usize::from(time.is_some()) - usize::from(old.is_some());
        if let Some(time) = time
            // A later time needs no new note: the old one puts the field back when its tick comes.
            && old.is_none_or(|old| time < old)
        {
            self.due.insert(time, hash);
            self.compact();
        }
        true
    }

    /// Rebuilds the index when most of its notes are stale: not more often than the walk over all
    /// fields is paid for by changes.
    fn compact(&mut self) {
        let notes = self.due.len();
        if notes < NOTES_MIN || notes < self.timed * 3 || notes < self.table.len() / 4 {
            return;
        }
        self.due.clear();
        for entry in self.table.iter() {
            if let Some(time) = entry.time() {
                self.due.insert(time, hash_bytes(entry.field()));
            }
        }
    }

    /// Nothing is due before this.
    pub(super) fn first_time(&self) -> Option<i64> {
        if self.timed == 0 { None } else { self.due.first() }
    }

    /// Removes about `max` fields that are due into `out`. Fields of the tick that is running stay.
    pub(super) fn take_due(&mut self, now: i64, max: usize, out: &mut Vec<Vec<u8>>) {
        let end = out.len().saturating_add(max);
        // Stale notes are work, too.
        let mut left = max;
        while out.len() < end && left > 0 && self.timed > 0 {
            left -= 1;
            let Some(low) = self.due.pop_due(now) else { return };
            self.take_noted(low, now, out);
        }
    }

    /// Removes what is due of the fields that a note may mean; those that live longer are noted again.
    fn take_noted(&mut self, low: u32, now: i64, out: &mut Vec<Vec<u8>>) {
        let (mut again, mut taken) = (Vec::new(), Vec::new());
        self.table.extract_if_hash32(
            low,
            &mut |entry: &Field| {
                let Some(time) = entry.time() else { return false };
                if time > now {
                    // Its neighbours in the bucket have notes of their own.
                    let hash = hash_bytes(entry.field());
                    if hash as u32 == low {
                        again.push((time, hash));
                    }
                }
                time <= now
            },
            &mut taken,
        );
        for (time, hash) in again {
            self.due.insert(time, hash);
        }
        self.timed -= taken.len();
        out.extend(taken.iter().map(|entry| entry.field().to_vec()));
    }
}

/// Whether a packed hash with one more field of these lengths stays within the limits.
pub(super) fn stays_packed(pack: &Listpack, field: usize, value: usize, limits: &Limits) -> bool {
    let longest = limits.hash_max_listpack_value;
    field <= longest && value <= longest && pack.safe_to_add(field.saturating_add(value))
}
