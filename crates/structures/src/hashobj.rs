//! The hash: field-value pairs in a listpack, or in a hash table.
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

#[derive(Clone)]
enum Repr {
    /// Fields and values in turn.
    Listpack(Listpack),
    Table(Box<Table<Field>>),
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

    /// The listpack of a small hash.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => Some(pack),
            Repr::Table(_) => None,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.len() / 2,
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding's name: `listpack` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
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
            Repr::Table(table) => {
                table.get(hash_bytes(field), field).map(|entry| Elem::Bytes(entry.value()))
            }
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.0 {
            Repr::Listpack(pack) => pack.search(HEADER, field, 1).is_some(),
            Repr::Table(table) => table.get(hash_bytes(field), field).is_some(),
        }
    }

    /// Sets a field; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Repr::Listpack(pack) = &mut self.0 {
            let longest = limits.hash_max_listpack_value;
            let add = field.len().saturating_add(value.len());
            if field.len() > longest || value.len() > longest || !pack.safe_to_add(add) {
                self.become_table();
            }
        }
        match &mut self.0 {
            Repr::Table(table) => set_in_table(table, field, value),
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
        }
    }

    /// All fields with their values, in the order of the encoding.
    pub fn iter(&self) -> HashIter<'_> {
        HashIter(match &self.0 {
            Repr::Listpack(pack) => Inner::Listpack(pack.iter(), pack.len() / 2),
            Repr::Table(table) => Inner::Table(table.iter()),
        })
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
        }
    }

    /// Calls `f` on a part of the fields and returns the next cursor; 0 starts and ends a scan.
    /// `count` is about how many to visit. A listpack is visited at once.
    pub fn scan(&self, cursor: u64, count: usize, f: &mut dyn FnMut(Elem<'_>, Elem<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(table) => scan_table(table, cursor, count, &mut |entry| {
                f(Elem::Bytes(entry.field()), Elem::Bytes(entry.value()));
            }),
            Repr::Listpack(_) => {
                self.iter().for_each(|(field, value)| f(field, value));
                0
            }
        }
    }

    /// Bytes requested from the allocator for what the hash holds.
    pub fn mem_usage(&self) -> usize {
        match &self.0 {
            Repr::Listpack(pack) => pack.mem_usage(),
            Repr::Table(table) => {
                let fields: usize = table.iter().map(Field::mem_usage).sum();
                size_of::<Table<Field>>() + table.mem_usage() + fields
            }
        }
    }

    fn become_table(&mut self) {
        if let Repr::Listpack(_) = &self.0 {
            let mut table = Box::new(Table::new());
            for (field, value) in self.iter() {
                field.with(|field| value.with(|value| set_in_table(&mut table, field, value)));
            }
            self.0 = Repr::Table(table);
        }
    }
}

fn pair_of(entry: &Field) -> (Elem<'_>, Elem<'_>) {
    (Elem::Bytes(entry.field()), Elem::Bytes(entry.value()))
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
    Table(TableIter<'a, Field>),
}

/// Walks the fields and values of a [`Hash`].
pub struct HashIter<'a>(Inner<'a>);

impl<'a> Iterator for HashIter<'a> {
    type Item = (Elem<'a>, Elem<'a>);

    fn next(&mut self) -> Option<(Elem<'a>, Elem<'a>)> {
        match &mut self.0 {
            Inner::Listpack(iter, left) => {
                let pair = (iter.next()?, iter.next()?);
                *left -= 1;
                Some(pair)
            }
            Inner::Table(iter) => iter.next().map(pair_of),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Inner::Listpack(_, left) => *left,
            Inner::Table(iter) => iter.len(),
        };
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests;
