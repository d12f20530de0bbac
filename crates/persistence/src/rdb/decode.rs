//! Values from RDB bytes: every form that any version of Redis wrote for the types that exist
//! here.
//!
//! What is packed in the file stays packed if the configured limits allow it; old forms (ziplist,
//! zipmap, quicklist of ziplists) are rebuilt.
//!
//! Everything is always checked as Redis does under `sanitize-dump-payload yes`, and the order of
//! sorted sets besides: the collections rely on it. Redis's weaker level, its default, takes
//! packed collections that name an element twice; no server ever writes such.
//!
//! Source: redis 7.0 `rdb.c:rdbLoadObject`.

use std::io::Read;

use structures::{
    Corrupt, Elem, FIELD_TIME_MAX, Hash, Intset, Limits, List, ListNodeOwned, Listpack, Set, Value,
    ZAdd, Zset,
};

use super::codes::*;
use super::error::{PackedError, RdbError, RdbErrorKind};
use super::source::{Length, Source};
use super::stream_value::StreamReader;
use super::{ziplist, zipmap};

/// How values are built.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeOptions {
    /// Thresholds that decide the encodings.
    pub limits: Limits,
}

/// A value as it was read.
pub enum Loaded<'a> {
    /// A string that lies in the reader's buffer: store it without a vector in between.
    Text(&'a [u8]),
    /// Anything else, also long strings.
    Owned(Value),
}

impl Loaded<'_> {
    /// The value in its owned form.
    pub fn into_value(self) -> Value {
        match self {
            Loaded::Text(text) => Value::Str(text.to_vec()),
            Loaded::Owned(value) => value,
        }
    }
}

/// A value, or a collection without elements, which no key may hold.
pub(crate) enum Decoded<'a> {
    Loaded(Loaded<'a>),
    Empty,
}

/// Buffers that live as long as a reader.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) first: Vec<u8>,
    pub(crate) second: Vec<u8>,
}

/// Texts above this are handed over instead of copied, so that no long buffer is kept.
const TEXT_MAX: usize = 64 * 1024;
/// Room made in a table on the word of an announced count.
const RESERVE_MAX: u64 = 4096;

/// Reads the value of type `code`.
#[inline]
pub(crate) fn decode_value<'a, R: Read>(
    src: &'a mut Source<R>,
    code: u8,
    scratch: &'a mut Scratch,
    options: &DecodeOptions,
) -> Result<Decoded<'a>, RdbError> {
    if code == TYPE_STRING {
        return string(src, &mut scratch.first).map(Decoded::Loaded);
    }
    let value = Decoder { src, scratch, options, code }.collection()?;
    Ok(value.map_or(Decoded::Empty, |value| Decoded::Loaded(Loaded::Owned(value))))
}

#[inline]
fn string<'a, R: Read>(
    src: &'a mut Source<R>,
    scratch: &'a mut Vec<u8>,
) -> Result<Loaded<'a>, RdbError> {
    match src.length_or_special()? {
        Length::Plain(n) if n <= TEXT_MAX as u64 && src.fits(n) => {
            Ok(Loaded::Text(src.take(n as usize)?))
        }
        Length::Plain(n) => {
            let mut text = Vec::new();
            src.string_body(Length::Plain(n), &mut text)?;
            Ok(Loaded::Owned(Value::Str(text)))
        }
        special => {
            scratch.clear();
            src.string_body(special, scratch)?;
            if scratch.len() > TEXT_MAX {
                return Ok(Loaded::Owned(Value::Str(std::mem::take(scratch))));
            }
            Ok(Loaded::Text(scratch))
        }
    }
}

/// What the readers of collections share. They return `None` for one without elements.
struct Decoder<'a, R> {
    src: &'a mut Source<R>,
    scratch: &'a mut Scratch,
    options: &'a DecodeOptions,
    code: u8,
}

/// Why the elements of a packed container were not taken.
enum ElementError {
    Packed(PackedError),
    Duplicate,
    NoScore,
}

impl From<PackedError> for ElementError {
    fn from(error: PackedError) -> ElementError {
        ElementError::Packed(error)
    }
}

impl<R: Read> Decoder<'_, R> {
    fn collection(&mut self) -> Result<Option<Value>, RdbError> {
        match self.code {
            TYPE_LIST => self.list_plain(),
            TYPE_LIST_ZIPLIST => self.list_ziplist(),
            TYPE_LIST_QUICKLIST => self.list_quicklist(),
            TYPE_LIST_QUICKLIST_2 => self.list_quicklist_2(),
            TYPE_SET => self.set_plain(),
            TYPE_SET_INTSET => self.set_intset(),
            TYPE_SET_LISTPACK => self.set_listpack(),
            TYPE_HASH => self.hash_plain(),
            TYPE_HASH_ZIPMAP => self.hash_zipmap(),
            TYPE_HASH_ZIPLIST => self.hash_ziplist(),
            TYPE_HASH_LISTPACK => self.hash_listpack(),
            TYPE_HASH_METADATA | TYPE_HASH_METADATA_PRE_GA => self.hash_metadata(),
            TYPE_HASH_LISTPACK_EX | TYPE_HASH_LISTPACK_EX_PRE_GA => self.hash_listpack_ex(),
            TYPE_ZSET | TYPE_ZSET_2 => self.zset_plain(),
            TYPE_ZSET_ZIPLIST => self.zset_ziplist(),
            TYPE_ZSET_LISTPACK => self.zset_listpack(),
            TYPE_STREAM | TYPE_STREAM_2 | TYPE_STREAM_3 => {
                let stream = StreamReader { src: self.src, code: self.code }.stream()?;
                Ok(Some(Value::Stream(stream)))
            }
            code if type_name(code).is_some() => {
                let at = self.src.offset();
                Err(RdbError::new(at, RdbErrorKind::UnsupportedType { code }))
            }
            code => {
                let found = format!("byte {code:#04x}");
                Err(RdbError::malformed(self.src.offset(), "a value type", found))
            }
        }
    }

    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// A string of packed bytes in a vector of its own, and its offset.
    fn packed(&mut self) -> Result<(u64, Vec<u8>), RdbError> {
        let at = self.src.offset();
        let mut bytes = Vec::new();
        self.src.string_into(&mut bytes)?;
        Ok((at, bytes))
    }

    fn listpack(&mut self) -> Result<(u64, Listpack), RdbError> {
        let (at, bytes) = self.packed()?;
        let pack = Listpack::from_bytes(bytes).map_err(|error| corrupt(at, error))?;
        Ok((at, pack))
    }

    fn duplicate(&self) -> RdbError {
        let kind = RdbErrorKind::DuplicateElement { code: self.code };
        RdbError::new(self.src.offset(), kind)
    }

    fn element_error(&self, at: u64, error: ElementError) -> RdbError {
        match error {
            ElementError::Packed(error) => packed_error(at, error),
            ElementError::Duplicate => self.duplicate(),
            ElementError::NoScore => RdbError::malformed(at, "scores", "other text in a ziplist"),
        }
    }

    // Lists.

    fn list_plain(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut list = List::new();
        for _ in 0..count {
            let element = self.src.string(&mut self.scratch.first)?;
            list.push_back(element, &self.options.limits);
        }
        Ok(finish_list(list))
    }

    fn list_ziplist(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, bytes) = self.packed()?;
        let mut list = List::new();
        ziplist::for_each(&bytes, |element| {
            element.with(|text| list.push_back(text, self.limits()));
            Ok(())
        })
        .map_err(|error| packed_error(at, error))?;
        Ok(finish_list(list))
    }

    fn list_quicklist(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut list = List::new();
        for _ in 0..count {
            let (at, bytes) = self.packed()?;
            let mut pack = Listpack::new();
            ziplist::for_each(&bytes, |element| {
                element.with(|text| pack.push_back(text));
                Ok(())
            })
            .map_err(|error| packed_error(at, error))?;
            if !pack.is_empty() {
                list.push_node(ListNodeOwned::Packed(pack), self.limits());
            }
        }
        Ok(finish_list(list))
    }

    fn list_quicklist_2(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut list = List::new();
        for _ in 0..count {
            let at = self.src.offset();
            let node = match self.src.length()? {
                NODE_PLAIN => ListNodeOwned::Plain(self.packed()?.1),
                NODE_PACKED => {
                    let (_, pack) = self.listpack()?;
                    if pack.is_empty() {
                        continue; // Redis passes over such nodes, too.
                    }
                    ListNodeOwned::Packed(pack)
                }
                other => {
                    return Err(RdbError::malformed(
                        at,
                        "a quicklist container, 1 or 2",
                        other.to_string(),
                    ));
                }
            };
            list.push_node(node, self.limits());
        }
        Ok(finish_list(list))
    }

    // Sets.

    fn set_plain(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut set = Set::new();
        if count > self.limits().set_max_listpack_entries as u64 {
            set.reserve(count.min(RESERVE_MAX) as usize, self.limits());
        }
        for _ in 0..count {
            let member = self.src.string(&mut self.scratch.first)?;
            if !set.add(member, &self.options.limits) {
                return Err(self.duplicate());
            }
        }
        Ok(finish_set(set))
    }

    fn set_intset(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, bytes) = self.packed()?;
        let ints = Intset::from_bytes(bytes).map_err(|error| corrupt(at, error))?;
        if ints.is_empty() {
            // Other empty collections are passed over, this one Redis takes for damage.
            return Err(damaged(at, 4, "members"));
        }
        Ok(finish_set(Set::from_intset(ints, self.limits())))
    }

    fn set_listpack(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, pack) = self.listpack()?;
        let set = Set::from_listpack(pack, self.limits()).map_err(|error| corrupt(at, error))?;
        Ok(finish_set(set))
    }

    // Hashes.

    fn hash_plain(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut hash = Hash::new();
        for _ in 0..count {
            self.scratch.second.clear();
            self.src.string_into(&mut self.scratch.second)?;
            let value = self.src.string(&mut self.scratch.first)?;
            if !hash.set(&self.scratch.second, value, &self.options.limits) {
                return Err(self.duplicate());
            }
        }
        Ok(finish_hash(hash))
    }

    fn hash_zipmap(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, bytes) = self.packed()?;
        let mut hash = Hash::new();
        zipmap::for_each(&bytes, |field, value| {
            if hash.set(field, value, self.limits()) {
                Ok(())
            } else {
                Err(ElementError::Duplicate)
            }
        })
        .map_err(|error| self.element_error(at, error))?;
        Ok(finish_hash(hash))
    }

    fn hash_ziplist(&mut self) -> Result<Option<Value>, RdbError> {
        let mut hash = Hash::new();
        self.ziplist_pairs(|field, value, limits| {
            let new = field.with(|field| value.with(|value| hash.set(field, value, limits)));
            if new { Ok(()) } else { Err(ElementError::Duplicate) }
        })?;
        Ok(finish_hash(hash))
    }

    fn hash_listpack(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, pack) = self.listpack()?;
        let hash = Hash::from_listpack(pack, self.limits()).map_err(|error| corrupt(at, error))?;
        Ok(finish_hash(hash))
    }

    /// A hash whose fields have times, element by element. The form of the release candidates has
    /// whole times, the released one counts them from a first time and from 1. None is 0.
    fn hash_metadata(&mut self) -> Result<Option<Value>, RdbError> {
        let released = self.code == TYPE_HASH_METADATA;
        let base = if released { u64::from_le_bytes(self.src.array()?) } else { 1 };
        let count = self.src.length()?;
        let mut hash = Hash::new();
        for _ in 0..count {
            let at = self.src.offset();
            let time = match self.src.length()? {
                0 => None,
                time => Some(field_time(at, base.checked_add(time - 1))?),
            };
            self.scratch.second.clear();
            self.src.string_into(&mut self.scratch.second)?;
            let value = self.src.string(&mut self.scratch.first)?;
            if !hash.set(&self.scratch.second, value, &self.options.limits) {
                return Err(self.duplicate());
            }
            if time.is_some() {
                hash.set_time(&self.scratch.second, time);
            }
        }
        Ok(finish_hash(hash))
    }

    /// A small hash whose fields have times. The first time that may stand before it is a hint, and
    /// may be stale.
    fn hash_listpack_ex(&mut self) -> Result<Option<Value>, RdbError> {
        if self.code == TYPE_HASH_LISTPACK_EX {
            let _: [u8; 8] = self.src.array()?;
        }
        let (at, pack) = self.listpack()?;
        let hash = Hash::from_timed_listpack(pack, self.limits());
        Ok(finish_hash(hash.map_err(|error| corrupt(at, error))?))
    }

    // Sorted sets.

    fn zset_plain(&mut self) -> Result<Option<Value>, RdbError> {
        let count = self.src.length()?;
        let mut zset = Zset::new();
        for _ in 0..count {
            self.scratch.second.clear();
            self.src.string_into(&mut self.scratch.second)?;
            let at = self.src.offset();
            let score = if self.code == TYPE_ZSET_2 {
                f64::from_le_bytes(self.src.array()?)
            } else {
                self.score_text()?
            };
            if score.is_nan() {
                return Err(RdbError::malformed(at, "a score", "NaN"));
            }
            if zset.insert(&self.scratch.second, score, self.limits()) != ZAdd::Added {
                return Err(self.duplicate());
            }
        }
        Ok(finish_zset(zset))
    }

    /// The score form of type 3: a length and text, or one of three special bytes.
    fn score_text(&mut self) -> Result<f64, RdbError> {
        let at = self.src.offset();
        Ok(match self.src.byte()? {
            253 => f64::NAN,
            254 => f64::INFINITY,
            255 => f64::NEG_INFINITY,
            len => {
                let text = self.src.take_short(len)?;
                stdx::parse_f64(text).ok_or_else(|| {
                    RdbError::malformed(at, "a score", format!("'{}'", text.escape_ascii()))
                })?
            }
        })
    }

    fn zset_ziplist(&mut self) -> Result<Option<Value>, RdbError> {
        let mut zset = Zset::new();
        self.ziplist_pairs(|member, score, limits| {
            let score = score_of(score)?;
            match member.with(|member| zset.insert(member, score, limits)) {
                ZAdd::Added => Ok(()),
                _ => Err(ElementError::Duplicate),
            }
        })?;
        Ok(finish_zset(zset))
    }

    fn zset_listpack(&mut self) -> Result<Option<Value>, RdbError> {
        let (at, pack) = self.listpack()?;
        let zset = Zset::from_listpack(pack, self.limits()).map_err(|error| corrupt(at, error))?;
        Ok(finish_zset(zset))
    }

    /// Reads a ziplist of pairs.
    fn ziplist_pairs(
        &mut self,
        mut each: impl FnMut(Elem<'_>, Elem<'_>, &Limits) -> Result<(), ElementError>,
    ) -> Result<(), RdbError> {
        let (at, bytes) = self.packed()?;
        let mut first = None;
        ziplist::for_each(&bytes, |element| match first.take() {
            None => {
                first = Some(element);
                Ok(())
            }
            Some(first) => each(first, element, self.limits()),
        })
        .map_err(|error| self.element_error(at, error))?;
        if first.is_some() {
            return Err(RdbError::malformed(at, "pairs", "an odd number of ziplist entries"));
        }
        Ok(())
    }
}

/// A time that a field can have.
fn field_time(at: u64, time: Option<u64>) -> Result<i64, RdbError> {
    time.and_then(|time| i64::try_from(time).ok())
        .filter(|time| (1..=FIELD_TIME_MAX).contains(time))
        .ok_or_else(|| RdbError::malformed(at, "a field's time", "one out of range"))
}

fn score_of(score: Elem<'_>) -> Result<f64, ElementError> {
    score.as_f64().filter(|s| !s.is_nan()).ok_or(ElementError::NoScore)
}

/// `at` is where the container begins in the file. The offset inside it goes to the text: the
/// container may have been compressed.
fn damaged(at: u64, inside: usize, expected: &'static str) -> RdbError {
    RdbError::malformed(at, expected, format!("other bytes at {inside} of a packed container"))
}

fn packed_error(at: u64, error: PackedError) -> RdbError {
    damaged(at, error.at, error.expected)
}

pub(super) fn corrupt(at: u64, error: Corrupt) -> RdbError {
    damaged(at, error.offset, error.expected)
}

fn finish_list(list: List) -> Option<Value> {
    (!list.is_empty()).then(|| Value::List(Box::new(list)))
}

fn finish_set(set: Set) -> Option<Value> {
    (!set.is_empty()).then(|| Value::Set(Box::new(set)))
}

fn finish_hash(hash: Hash) -> Option<Value> {
    (!hash.is_empty()).then(|| Value::Hash(Box::new(hash)))
}

fn finish_zset(zset: Zset) -> Option<Value> {
    (!zset.is_empty()).then(|| Value::Zset(Box::new(zset)))
}
