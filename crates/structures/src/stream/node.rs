//! One node of a stream: a run of entries in a listpack, as Redis has it in memory and in files.
//!
//! ```text
//! master entry  count, deleted, fields, field …, 0
//! each entry    flags, ms, seq, [fields, field, value … | value …], elements of this entry
//! ```
//!
//! `count` and `deleted` say how many entries are alive and how many are only marked. `ms` and
//! `seq` are distances from the node's key, the ID of its first entry at birth. An entry that has
//! the master entry's fields names only its values. The last element of an entry (the master's is
//! 0) allows walking backwards.
//!
//! Source: redis 7.0 `t_stream.c:streamAppendItem`; format table in the project's RDB notes.

use super::id::StreamId;
use crate::Elem;
use crate::listpack::{Corrupt, HEADER, Listpack, corrupt};

/// The entry is deleted.
const DELETED: i64 = 1;
/// The entry has the fields of the master entry.
const SAME_FIELDS: i64 = 2;

/// A run of entries.
///
/// Invariant: the listpack has the form above; IDs ascend and none is below the node's key; the
/// counts are true.
#[derive(Clone)]
pub(super) struct Node(pub(super) Listpack);

/// What the master entry says, and where things are.
#[derive(Clone, Copy)]
pub(super) struct Master {
    pub(super) count: u64,
    pub(super) deleted: u64,
    fields: usize,
    fields_at: usize,
    /// Where the first entry begins.
    pub(super) entries_at: usize,
}

/// One entry, found in its node.
#[derive(Clone, Copy)]
pub(super) struct Raw {
    pub(super) id: StreamId,
    pub(super) deleted: bool,
    same_fields: bool,
    pub(super) flags_at: usize,
    body_at: usize,
    fields: usize,
    /// Where the next entry begins.
    pub(super) next: usize,
}

fn int(elem: Elem<'_>) -> Option<i64> {
    match elem {
        Elem::Int(value) => Some(value),
        Elem::Bytes(_) => None,
    }
}

/// Reads elements in turn, for bytes that nobody has checked yet.
struct Reader<'a> {
    pack: &'a Listpack,
    at: usize,
}

impl Reader<'_> {
    fn elem(&mut self, expected: &'static str) -> Result<Elem<'_>, Corrupt> {
        if self.at >= self.pack.end() {
            return corrupt(self.at, expected);
        }
        let (elem, next) = self.pack.decode_at(self.at);
        self.at = next;
        Ok(elem)
    }

    fn int(&mut self, expected: &'static str) -> Result<i64, Corrupt> {
        let at = self.at;
        int(self.elem(expected)?).map_or_else(|| corrupt(at, expected), Ok)
    }

    fn count(&mut self, expected: &'static str) -> Result<u64, Corrupt> {
        let at = self.at;
        u64::try_from(self.int(expected)?).or_else(|_| corrupt(at, expected))
    }

    /// Passes over `n` elements; a number that lies ends at the end of the listpack.
    fn skip(&mut self, n: u64, expected: &'static str) -> Result<(), Corrupt> {
        (0..n).try_for_each(|_| self.elem(expected).map(|_| ()))
    }
}

/// The first ID (deleted or not), the last one, and how many entries are alive.
pub(super) struct Checked {
    pub(super) first: StreamId,
    pub(super) last: StreamId,
    pub(super) alive: u64,
}

impl Node {
    /// A node without entries whose master entry has the fields of `pairs`.
    pub(super) fn new(pairs: &[&[u8]]) -> Node {
        let mut pack = Listpack::new();
        pack.push_elem(Elem::Int(0));
        pack.push_elem(Elem::Int(0));
        pack.push_elem(Elem::Int((pairs.len() / 2) as i64));
        pairs.iter().step_by(2).for_each(|field| pack.push_back(field));
        pack.push_elem(Elem::Int(0));
        Node(pack)
    }

    /// Checks a listpack from a file or peer; `key` is the key under which it was stored.
    /// Source: redis 7.0 `t_stream.c:streamValidateListpackIntegrity`, and what its readers rely on.
    pub(super) fn check(pack: &Listpack, key: StreamId) -> Result<Checked, Corrupt> {
        let mut reader = Reader { pack, at: HEADER };
        let count = reader.count("a number of entries")?;
        let deleted = reader.count("a number of deleted entries")?;
        let fields = reader.count("a number of fields")?;
        reader.skip(fields, "a field of the master entry")?;
        if reader.int("the master entry's end")? != 0 {
            return corrupt(reader.at, "the master entry's end");
        }
        let mut checked = Checked { first: key, last: key, alive: 0 };
        let (mut seen, mut marked) = (0u64, 0u64);
        while reader.at < pack.end() {
            let at = reader.at;
            let flags = reader.int("flags")?;
            let ms = reader.int("milliseconds")? as u64;
            let seq = reader.int("a sequence number")? as u64;
            let id = StreamId::new(key.ms.wrapping_add(ms), key.seq.wrapping_add(seq));
            if id < key || (seen > 0 && id <= checked.last) {
                return corrupt(at, "ascending IDs");
            }
            if seen == 0 {
                checked.first = id;
            }
            checked.last = id;
            let elements = if flags & SAME_FIELDS != 0 {
                reader.skip(fields, "a value")?;
                fields.checked_add(3)
            } else {
                let own = reader.count("a number of fields")?;
                let body = own.checked_mul(2).ok_or(Corrupt { offset: at, expected: "fields" })?;
                reader.skip(body, "fields and values")?;
                body.checked_add(4)
            };
            if elements != Some(reader.count("the number of elements of an entry")?) {
                return corrupt(reader.at, "the true number of elements of an entry");
            }
            seen += 1;
            marked += u64::from(flags & DELETED != 0);
        }
        if deleted != marked || seen - marked != count {
            return corrupt(HEADER, "the true numbers of entries");
        }
        checked.alive = count;
        Ok(checked)
    }

    fn int_at(&self, at: usize) -> (i64, usize) {
        let (elem, next) = self.0.decode_at(at);
        (int(elem).unwrap_or(0), next)
    }

    fn skip(&self, mut at: usize, n: usize) -> usize {
        for _ in 0..n {
            at = self.0.decode_at(at).1;
        }
        at
    }

    /// Reads the master entry.
    pub(super) fn master(&self) -> Master {
        let (count, at) = self.int_at(HEADER);
        let (deleted, at) = self.int_at(at);
        let (fields, fields_at) = self.int_at(at);
        let fields = fields as usize;
        let entries_at = self.skip(fields_at, fields + 1);
        Master { count: count as u64, deleted: deleted as u64, fields, fields_at, entries_at }
    }

    /// Number of entries alive.
    pub(super) fn alive(&self) -> u64 {
        self.int_at(HEADER).0 as u64
    }

    /// Number of entries, those that are only marked included.
    pub(super) fn total(&self) -> u64 {
        let (count, at) = self.int_at(HEADER);
        count as u64 + self.int_at(at).0 as u64
    }

    fn set_counts(&mut self, count: u64, deleted: u64) {
        self.0.replace_elem(HEADER, Elem::Int(count as i64));
        let (_, at) = self.0.decode_at(HEADER);
        self.0.replace_elem(at, Elem::Int(deleted as i64));
    }

    /// The entry that begins at `at`.
    pub(super) fn entry(&self, key: StreamId, master: &Master, at: usize) -> Raw {
        let (flags, next) = self.int_at(at);
        let (ms, next) = self.int_at(next);
        let (seq, next) = self.int_at(next);
        let id = StreamId::new(key.ms.wrapping_add(ms as u64), key.seq.wrapping_add(seq as u64));
        let same_fields = flags & SAME_FIELDS != 0;
        let (fields, body_at, elements) = if same_fields {
            (master.fields, next, master.fields)
        } else {
            let (fields, body_at) = self.int_at(next);
            (fields as usize, body_at, fields as usize * 2)
        };
        Raw {
            id,
            deleted: flags & DELETED != 0,
            same_fields,
            flags_at: at,
            body_at,
            fields,
            next: self.skip(body_at, elements + 1),
        }
    }

    /// Where the entry before `at` begins; `at` is not that of the first entry.
    pub(super) fn entry_before(&self, at: usize) -> usize {
        let mut at = self.0.before(at);
        let elements = self.int_at(at).0;
        for _ in 0..elements {
            at = self.0.before(at);
        }
        at
    }

    /// ID of the last entry, deleted or not.
    pub(super) fn last_id(&self, key: StreamId) -> StreamId {
        let at = self.entry_before(self.0.end());
        let (_, next) = self.int_at(at);
        let (ms, next) = self.int_at(next);
        let (seq, _) = self.int_at(next);
        StreamId::new(key.ms.wrapping_add(ms as u64), key.seq.wrapping_add(seq as u64))
    }

    fn has_fields(&self, master: &Master, pairs: &[&[u8]]) -> bool {
        let mut at = master.fields_at;
        pairs.len() == master.fields * 2
            && pairs.iter().step_by(2).all(|field| {
                let (elem, next) = self.0.decode_at(at);
                at = next;
                elem.eq_bytes(field)
            })
    }

    /// Appends an entry.
    pub(super) fn push(&mut self, key: StreamId, id: StreamId, pairs: &[&[u8]]) {
        let master = self.master();
        let same = self.has_fields(&master, pairs);
        let fields = pairs.len() / 2;
        let elements = if same { fields + 3 } else { fields * 2 + 4 };
        let head = [
            if same { SAME_FIELDS } else { 0 },
            id.ms.wrapping_sub(key.ms) as i64,
            id.seq.wrapping_sub(key.seq) as i64,
        ];
        let count = (!same).then_some(fields as i64);
        // With the node's own fields only the values are stored.
        let texts = pairs.iter().enumerate().filter(|(at, _)| !same || at % 2 == 1);
        let elems = head.into_iter().chain(count).map(Elem::Int);
        let elems = elems.chain(texts.map(|(_, text)| Elem::Bytes(text)));
        self.0.push_all(elems.chain([Elem::Int(elements as i64)]));
        self.0.replace_elem(HEADER, Elem::Int(master.count as i64 + 1));
    }

    /// Marks the entry at `at`, which is alive, as deleted; the counts are not touched.
    fn mark(&mut self, at: usize) {
        let flags = self.int_at(at).0;
        self.0.replace_elem(at, Elem::Int(flags | DELETED));
    }

    /// Deletes one entry; true if that was the last one alive.
    pub(super) fn delete(&mut self, raw: &Raw) -> bool {
        let master = self.master();
        self.mark(raw.flags_at);
        self.set_counts(master.count - 1, master.deleted + 1);
        master.count == 1
    }

    /// Deletes entries from the first one on while `more` (asked before each, deleted or not, with
    /// its ID and the number deleted so far) says so; returns how many.
    pub(super) fn delete_front(
        &mut self,
        key: StreamId,
        mut more: impl FnMut(StreamId, u64) -> bool,
    ) -> u64 {
        let master = self.master();
        let (mut at, mut deleted) = (master.entries_at, 0);
        while at < self.0.end() {
            let raw = self.entry(key, &master, at);
            if !more(raw.id, deleted) {
                break;
            }
            at = raw.next;
            if !raw.deleted {
                // Flags that a file held in a wider form than they need become shorter.
                let len = self.0.byte_len();
                self.mark(raw.flags_at);
                at -= len - self.0.byte_len();
                deleted += 1;
            }
        }
        self.set_counts(master.count - deleted, master.deleted + deleted);
        deleted
    }
}

/// An entry of a stream.
#[derive(Clone, Copy)]
pub struct StreamEntry<'a> {
    /// Its ID.
    pub id: StreamId,
    pack: &'a Listpack,
    names_at: Option<usize>,
    body_at: usize,
    fields: usize,
}

impl<'a> StreamEntry<'a> {
    pub(super) fn new(node: &'a Node, master: &Master, raw: &Raw) -> StreamEntry<'a> {
        StreamEntry {
            id: raw.id,
            pack: &node.0,
            names_at: raw.same_fields.then_some(master.fields_at),
            body_at: raw.body_at,
            fields: raw.fields,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// True without any field; commands make no such entries, but files may hold them.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Fields with their values, in order.
    pub fn iter(&self) -> StreamFields<'a> {
        StreamFields {
            pack: self.pack,
            names_at: self.names_at,
            at: self.body_at,
            left: self.fields,
        }
    }
}

/// Fields and values of an entry.
#[derive(Clone)]
pub struct StreamFields<'a> {
    pack: &'a Listpack,
    names_at: Option<usize>,
    at: usize,
    left: usize,
}

impl<'a> Iterator for StreamFields<'a> {
    type Item = (Elem<'a>, Elem<'a>);

    fn next(&mut self) -> Option<(Elem<'a>, Elem<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names_at {
            Some(names_at) => {
                let (name, next) = self.pack.decode_at(*names_at);
                *names_at = next;
                name
            }
            None => {
                let (name, next) = self.pack.decode_at(self.at);
                self.at = next;
                name
            }
        };
        let (value, next) = self.pack.decode_at(self.at);
        self.at = next;
        Some((name, value))
    }
}
