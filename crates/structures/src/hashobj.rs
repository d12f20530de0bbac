//! The hash: field-value pairs in a listpack, or in a hash table; with the first time that a field
//! gets, in forms that know times (see `timed.rs`), for good.
//!
//! Conversion follows Redis 7.2 and only goes to the table: when there are more than
//! `hash-max-listpack-entries` fields, or a field or value is longer than
//! `hash-max-listpack-value`.
//!
//! Source: redis 7.2 `t_hash.c:hashTypeSet`, `hashTypeTryConversion`.

use crate::hash::hash_bytes;
use crate::items::Field;
use crate::listpack::{self, Corrupt, HEADER, Listpack, ListpackIter, corrupt};
use crate::set::scan_table;
use crate::table::{Table, TableIter};
use crate::{Elem, Limits};
use stdx::Prng;
use timed::{TimedPack, TimedTable, stays_packed};

mod timed;
mod times;

/// The latest time that a field can have. Source: redis 7.4 `ebuckets.h:EB_EXPIRE_TIME_MAX`.
pub const FIELD_TIME_MAX: i64 = (1 << 48) - 1;

#[derive(Clone)]
enum Repr {
    /// Fields and values in turn.
    Listpack(Listpack),
    Table(Box<Table<Field>>),
    TimedPack(Box<TimedPack>),
    TimedTable(Box<TimedTable>),
}

/// A map from fields to values, all byte strings.
#[derive(Clone)]
pub struct Hash(Repr);

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash(Repr::Listpack(Listpack::new()))
    }

    /// Prepares for `n` more fields arriving in one command: more than a packed hash may hold at all
    /// make it a table at once.
    /// Source: redis 7.2 `t_hash.c:hashTypeTryConversion`.
    pub fn reserve(&mut self, n: usize, limits: &Limits) {
        if n > limits.hash_max_listpack_entries {
            self.become_table();
        }
    }

    /// Takes over a listpack of fields and values that was read from a file or peer; it becomes a
    /// table if it has more fields than allowed.
    ///
    /// # Errors
    /// If a field has no value or occurs twice.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Hash, Corrupt> {
        if !pack.len().is_multiple_of(2) {
            return corrupt(4, "as many values as fields");
        }
        if listpack::has_duplicates(&pack, 2) {
            return corrupt(0, "every field once");
        }
        let mut hash = Hash(Repr::Listpack(pack));
        if hash.len() > limits.hash_max_listpack_entries {
            hash.become_table();
        }
        Ok(hash)
    }

    /// The listpack of a small hash that never had a field with a time.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => Some(pack),
            _ => None,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.len() / 2,
            Repr::Table(table) => table.len(),
            Repr::TimedPack(timed) => timed.len(),
            Repr::TimedTable(timed) => timed.table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding's name: `listpack`, `listpackex` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::TimedPack(_) => "listpackex",
            Repr::Table(_) | Repr::TimedTable(_) => "hashtable",
        }
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<Elem<'_>> {
        match &self.0 {
            Repr::Listpack(pack) => {
                let (at, _) = pack.search(HEADER, field, 1)?;
                let (_, value_at) = pack.decode_at(at);
                Some(pack.elem_at(value_at))
            }
            Repr::Table(table) => value_in_table(table, field),
            Repr::TimedPack(timed) => timed.find(field).map(|triple| triple.value),
            Repr::TimedTable(timed) => value_in_table(&timed.table, field),
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.0 {
            Repr::Listpack(pack) => pack.search(HEADER, field, 1).is_some(),
            Repr::Table(table) => table.get(hash_bytes(field), field).is_some(),
            Repr::TimedPack(timed) => timed.find(field).is_some(),
            Repr::TimedTable(timed) => timed.table.get(hash_bytes(field), field).is_some(),
        }
    }

    /// Sets a field; true if it is new. A time that it had goes.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.set_field(field, value, false, limits)
    }

    /// Sets a field; true if it is new. A time that it had stays.
    pub fn set_keep_time(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.set_field(field, value, true, limits)
    }

    fn set_field(&mut self, field: &[u8], value: &[u8], keep: bool, limits: &Limits) -> bool {
        let packed = match &self.0 {
            Repr::Listpack(pack) => stays_packed(pack, field.len(), value.len(), limits),
            Repr::TimedPack(timed) => stays_packed(&timed.pack, field.len(), value.len(), limits),
            Repr::Table(_) | Repr::TimedTable(_) => true,
        };
        if !packed {
            self.become_table();
        }
        match &mut self.0 {
            Repr::Table(table) => set_in_table(table, field, value),
            Repr::TimedTable(timed) => timed.set(field, value, keep),
            Repr::TimedPack(timed) => {
                let new = timed.set(field, value, keep);
                if new && timed.len() > limits.hash_max_listpack_entries {
                    self.become_table();
                }
                new
            }
            Repr::Listpack(pack) => {
                if let Some((at, _)) = pack.search(HEADER, field, 1) {
                    let (_, value_at) = pack.decode_at(at);
                    pack.replace_elem(value_at, Elem::Bytes(value));
                    return false;
                }
                pack.push_back(field);
                pack.push_back(value);
                if pack.len() / 2 > limits.hash_max_listpack_entries {
                    self.become_table();
                }
                true
            }
        }
    }

    /// Removes a field; false if it was not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Listpack(pack) => match pack.search(HEADER, field, 1) {
                Some((at, _)) => pack.delete_from(at, 2) == 2,
                None => false,
            },
            Repr::Table(table) => table.remove(hash_bytes(field), field).is_some(),
            Repr::TimedPack(timed) => timed.remove(field),
            Repr::TimedTable(timed) => timed.remove(field),
        }
    }

    /// All fields with their values, in the order of the encoding.
    pub fn iter(&self) -> HashIter<'_> {
        let inner = match &self.0 {
            Repr::Listpack(pack) => Inner::Listpack(pack.iter(), pack.len() / 2),
            Repr::Table(table) => Inner::Table(table.iter()),
            Repr::TimedPack(timed) => Inner::TimedPack(timed.pack.iter(), timed.len()),
            Repr::TimedTable(timed) => Inner::Table(timed.table.iter()),
        };
        HashIter { inner, now: i64::MIN }
    }

    /// A random field with its value, each with the same chance.
    pub fn random(&self, prng: &mut Prng) -> Option<(Elem<'_>, Elem<'_>)> {
        match &self.0 {
            Repr::Listpack(pack) => {
                let len = pack.len() as u64 / 2;
                if len == 0 {
                    return None;
                }
                let at = pack.seek(prng.below(len) as usize * 2)?;
                let (field, value_at) = pack.decode_at(at);
                Some((field, pack.elem_at(value_at)))
            }
            Repr::Table(table) => table.random(prng).map(pair_of),
            Repr::TimedPack(timed) => {
                let len = timed.len() as u64;
                if len == 0 {
                    return None;
                }
                let at = timed.pack.seek(prng.below(len) as usize * 3)?;
                let triple = timed.at(at);
                Some((triple.field, triple.value))
            }
            Repr::TimedTable(timed) => timed.table.random(prng).map(pair_of),
        }
    }

    /// Calls `f` on a part of the fields and returns the next cursor; 0 starts and ends a scan.
    /// `count` is about how many to visit. A listpack is visited at once. Fields that are due at
    /// `now` are left out.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        now: i64,
        f: &mut dyn FnMut(Elem<'_>, Elem<'_>),
    ) -> u64 {
        let table = match &self.0 {
            Repr::Table(table) => table,
            Repr::TimedTable(timed) => &timed.table,
            Repr::Listpack(_) | Repr::TimedPack(_) => {
                self.iter_at(now).for_each(|(field, value)| f(field, value));
                return 0;
            }
        };
        scan_table(table, cursor, count, &mut |entry| {
            if entry.time().is_none_or(|time| time > now) {
                f(Elem::Bytes(entry.field()), Elem::Bytes(entry.value()));
            }
        })
    }

    /// Bytes requested from the allocator for what the hash holds.
    pub fn mem_usage(&self) -> usize {
        let fields = |table: &Table<Field>| {
            table.mem_usage() + table.iter().map(Field::mem_usage).sum::<usize>()
        };
        match &self.0 {
            Repr::Listpack(pack) => pack.mem_usage(),
            Repr::Table(table) => size_of::<Table<Field>>() + fields(table),
            Repr::TimedPack(timed) => size_of::<TimedPack>() + timed.pack.mem_usage(),
            Repr::TimedTable(timed) => {
                size_of::<TimedTable>() + fields(&timed.table) + timed.due.mem_usage()
            }
        }
    }

    /// The table, if the hash has one; for handing it out in parts.
    pub(crate) fn table(&self) -> Option<&Table<Field>> {
        match &self.0 {
            Repr::Table(table) => Some(table),
            Repr::TimedTable(timed) => Some(&timed.table),
            Repr::Listpack(_) | Repr::TimedPack(_) => None,
        }
    }

    /// As [`Hash::table`].
    pub(crate) fn table_mut(&mut self) -> Option<&mut Table<Field>> {
        match &mut self.0 {
            Repr::Table(table) => Some(table),
            Repr::TimedTable(timed) => Some(&mut timed.table),
            Repr::Listpack(_) | Repr::TimedPack(_) => None,
        }
    }

    fn become_table(&mut self) {
        match &self.0 {
            Repr::Listpack(_) => {
                let mut table = Box::new(Table::new());
                for (field, value) in self.iter() {
                    field.with(|field| value.with(|value| set_in_table(&mut table, field, value)));
                }
                self.0 = Repr::Table(table);
            }
            Repr::TimedPack(timed) => {
                self.0 = Repr::TimedTable(Box::new(TimedTable::from_pack(timed)));
            }
            Repr::Table(_) | Repr::TimedTable(_) => {}
        }
    }
}

fn pair_of(entry: &Field) -> (Elem<'_>, Elem<'_>) {
    (Elem::Bytes(entry.field()), Elem::Bytes(entry.value()))
}

fn value_in_table<'a>(table: &'a Table<Field>, field: &[u8]) -> Option<Elem<'a>> {
    table.get(hash_bytes(field), field).map(|entry| Elem::Bytes(entry.value()))
}

fn set_in_table(table: &mut Table<Field>, field: &[u8], value: &[u8]) -> bool {
    let hash = hash_bytes(field);
    if let Some(entry) = table.get_mut(hash, field) {
        entry.set_value(value);
        return false;
    }
    table.insert_new(hash, Field::new(field, value));
    true
}

enum Inner<'a> {
    Listpack(ListpackIter<'a>, usize),
    TimedPack(ListpackIter<'a>, usize),
    Table(TableIter<'a, Field>),
}

/// Walks the fields and values of a [`Hash`].
pub struct HashIter<'a> {
    inner: Inner<'a>,
    /// Fields that are due by then are left out.
    now: i64,
}

impl<'a> HashIter<'a> {
    /// The next field with its value and its time.
    pub fn next_timed(&mut self) -> Option<(Elem<'a>, Elem<'a>, Option<i64>)> {
        match &mut self.inner {
            Inner::Listpack(iter, left) => {
                let (field, value) = (iter.next()?, iter.next()?);
                *left -= 1;
                Some((field, value, None))
            }
            Inner::TimedPack(iter, left) => loop {
                let (field, value, time) = (iter.next()?, iter.next()?, iter.next()?);
                *left -= 1;
                match time {
                    Elem::Int(time) if time != 0 && time <= self.now => {}
                    Elem::Int(time) if time != 0 => return Some((field, value, Some(time))),
                    _ => return Some((field, value, None)),
                }
            },
            Inner::Table(iter) => loop {
                let entry = iter.next()?;
                let time = entry.time();
                if time.is_none_or(|time| time > self.now) {
                    let (field, value) = pair_of(entry);
                    return Some((field, value, time));
                }
            },
        }
    }
}

impl<'a> Iterator for HashIter<'a> {
    type Item = (Elem<'a>, Elem<'a>);

    fn next(&mut self) -> Option<(Elem<'a>, Elem<'a>)> {
        self.next_timed().map(|(field, value, _)| (field, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.inner {
            Inner::Listpack(_, left) | Inner::TimedPack(_, left) => *left,
            Inner::Table(iter) => iter.len(),
        };
        (if self.now == i64::MIN { left } else { 0 }, Some(left))
    }
}

#[cfg(test)]
mod tests;
