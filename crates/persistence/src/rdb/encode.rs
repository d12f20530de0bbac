//! Lengths, strings, values and key records as RDB bytes.
//!
//! One encoder serves two kinds of callers through [`Sink`]: snapshot pre-images and `DUMP` want
//! the bytes of one key in a vector, apart from any stream; a pass over the keyspace wants to
//! write a collection of any size without holding its encoding in memory. The second kind is
//! asked to take bytes away after every element.
//!
//! Forms: what is packed in memory is written packed, the rest element by element. Version 10, the
//! default, has no packed set, so that one is written element by element too; everything written
//! for version 10 loads in Redis 7.0. Hashes whose fields have times are the exception: no form before
//! version 12 holds them, so they are written in that form whatever version is asked for, and whoever
//! writes the header or footer has to say so ([`version_for`]).
//!
//! Source: redis 7.0 `rdb.c:rdbSaveObject`, `rdbSaveRawString`, `rdbSaveKeyValuePair`.

use std::convert::Infallible;

use structures::{Elem, Hash, List, ListNode, Part, Set, SetRepr, StrRef, ValueRef, Zset};

use super::codes::*;
use super::stream_value::{put_stream, stream_type};
use crate::lzf;

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Format version that the bytes are for: 10 (loads in Redis 7.0) to 12.
    pub version: u32,
    /// Compress strings where that saves at least four bytes (`rdbcompression`).
    pub compress: bool,
}

impl Default for EncodeOptions {
    fn default() -> EncodeOptions {
        EncodeOptions { version: VERSION_DEFAULT, compress: true }
    }
}

/// What of a key's access history goes with its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing; Redis writes nothing unless the eviction policy keeps such data.
    #[default]
    None,
    /// Seconds since the last access; for the LRU policies.
    Idle(u64),
    /// Logarithmic access counter; for the LFU policies.
    Freq(u8),
}

/// Where encoded bytes go.
pub(crate) trait Sink {
    type Error;
    /// The place to append to.
    fn bytes(&mut self) -> &mut Vec<u8>;
    /// Called between elements: may take the bytes away.
    fn relieve(&mut self) -> Result<(), Self::Error>;
}

impl Sink for Vec<u8> {
    type Error = Infallible;
    #[inline]
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }
    #[inline]
    fn relieve(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Appends the record of one key: expiry, access data, type, key and value. The bytes stand for
/// themselves; records of one database may be concatenated in any order.
///
/// `expire_at` is absolute, in milliseconds of Unix time.
pub fn encode_key_record(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_at: Option<i64>,
    access: Access,
    options: &EncodeOptions,
) {
    match put_key_record(out, key, value, expire_at, access, options) {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// Appends what stands before the elements in the record of a big set, hash or sorted set, which
/// [`encode_part`] goes on with: together the bytes that [`encode_key_record`] makes. Returns the number
/// that times of fields are counted from.
pub fn encode_head(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_at: Option<i64>,
    access: Access,
    options: &EncodeOptions,
) -> Option<i64> {
    push_key(out, key, value, expire_at, access, options);
    let (len, base) = match value {
        ValueRef::Set(set) => (set.len(), None),
        ValueRef::Zset(zset) => (zset.len(), None),
        ValueRef::Hash(hash) if hash.has_times() => (hash.len(), Some(push_first_time(out, hash))),
        ValueRef::Hash(hash) => (hash.len(), None),
        ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => {
            unreachable!("no value of elements in any order")
        }
    };
    push_length(out, len as u64);
    base
}

/// Appends one element of a record that [`encode_head`] began.
pub fn encode_part(out: &mut Vec<u8>, part: Part<'_>, base: Option<i64>, compress: bool) {
    match part {
        Part::Member(member) => push_string(out, member, compress),
        Part::Scored { member, score } => {
            push_string(out, member, compress);
            out.extend_from_slice(&score.to_le_bytes());
        }
        Part::Field { field, value, time } => {
            if let Some(first) = base {
                push_time(out, time, first);
            }
            push_string(out, field, compress);
            push_string(out, value, compress);
        }
    }
}

/// Appends type and value without a key, as a `DUMP` payload begins.
pub(crate) fn encode_value(out: &mut Vec<u8>, value: ValueRef<'_>, options: &EncodeOptions) {
    out.push(type_code(value, options));
    match put_value(out, value, options) {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

pub(crate) fn put_key_record<S: Sink>(
    out: &mut S,
    key: &[u8],
    value: ValueRef<'_>,
    expire_at: Option<i64>,
    access: Access,
    options: &EncodeOptions,
) -> Result<(), S::Error> {
    push_key(out.bytes(), key, value, expire_at, access, options);
    put_value(out, value, options)
}

/// What stands before a value: expiry, access data, type and key.
fn push_key(
    bytes: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_at: Option<i64>,
    access: Access,
    options: &EncodeOptions,
) {
    if let Some(at) = expire_at {
        bytes.push(OP_EXPIRETIME_MS);
        bytes.extend_from_slice(&at.to_le_bytes());
    }
    match access {
        Access::None => {}
        Access::Idle(seconds) => {
            bytes.push(OP_IDLE);
            push_length(bytes, seconds);
        }
        Access::Freq(counter) => bytes.extend_from_slice(&[OP_FREQ, counter]),
    }
    bytes.push(type_code(value, options));
    push_string(bytes, key, options.compress);
}

/// The number of the type under which `value` is written.
fn type_code(value: ValueRef<'_>, options: &EncodeOptions) -> u8 {
    match value {
        ValueRef::Str(_) => TYPE_STRING,
        ValueRef::List(_) => TYPE_LIST_QUICKLIST_2,
        ValueRef::Set(set) => match set.repr() {
            SetRepr::Intset(_) => TYPE_SET_INTSET,
            SetRepr::Listpack(_) if options.version >= VERSION_SET_LISTPACK => TYPE_SET_LISTPACK,
            _ => TYPE_SET,
        },
        ValueRef::Hash(hash) => hash_type(hash),
        ValueRef::Zset(zset) if zset.as_listpack().is_some() => TYPE_ZSET_LISTPACK,
        ValueRef::Zset(_) => TYPE_ZSET_2,
        ValueRef::Stream(_) => stream_type(options),
    }
}

fn hash_type(hash: &Hash) -> u8 {
    match (hash.has_times(), hash.encoding()) {
        (false, "hashtable") => TYPE_HASH,
        (false, _) => TYPE_HASH_LISTPACK,
        (true, "hashtable") => TYPE_HASH_METADATA,
        (true, _) => TYPE_HASH_LISTPACK_EX,
    }
}

/// The lowest version that has a form for this value.
pub fn version_for(value: ValueRef<'_>) -> u32 {
    match value {
        ValueRef::Hash(hash) if hash.has_times() => VERSION_FIELD_TIMES,
        _ => VERSION_DEFAULT,
    }
}

fn put_value<S: Sink>(
    out: &mut S,
    value: ValueRef<'_>,
    options: &EncodeOptions,
) -> Result<(), S::Error> {
    let compress = options.compress;
    match value {
        ValueRef::Str(text) => put_str(out, text, compress),
        ValueRef::List(list) => put_list(out, list, compress),
        ValueRef::Set(set) => put_set(out, set, options),
        ValueRef::Hash(hash) => put_hash(out, hash, compress),
        ValueRef::Zset(zset) => put_zset(out, zset, compress),
        ValueRef::Stream(stream) => put_stream(out, stream, options),
    }
}

fn put_str<S: Sink>(out: &mut S, text: StrRef<'_>, compress: bool) -> Result<(), S::Error> {
    match text {
        StrRef::Int(value) => push_int(out.bytes(), value),
        StrRef::Bytes(bytes) => push_string(out.bytes(), bytes, compress),
        StrRef::Paged(pages) => {
            let len = pages.len();
            if compress && push_compressed(out.bytes(), len, |f| pages.read(0, len, f)) {
                return Ok(());
            }
            push_length(out.bytes(), len as u64);
            let mut result = Ok(());
            pages.read(0, len, &mut |piece| {
                if result.is_ok() {
                    out.bytes().extend_from_slice(piece);
                    result = out.relieve();
                }
            });
            return result;
        }
    }
    out.relieve()
}

fn put_list<S: Sink>(out: &mut S, list: &List, compress: bool) -> Result<(), S::Error> {
    push_length(out.bytes(), list.nodes().count() as u64);
    for node in list.nodes() {
        let (container, bytes) = match node {
            ListNode::Plain(bytes) => (NODE_PLAIN, bytes),
            ListNode::Packed(bytes) => (NODE_PACKED, bytes),
        };
        push_length(out.bytes(), container);
        push_string(out.bytes(), bytes, compress);
        out.relieve()?;
    }
    Ok(())
}

fn put_set<S: Sink>(out: &mut S, set: &Set, options: &EncodeOptions) -> Result<(), S::Error> {
    match set.repr() {
        SetRepr::Intset(ints) => push_string(out.bytes(), ints.as_bytes(), options.compress),
        SetRepr::Listpack(pack) if options.version >= VERSION_SET_LISTPACK => {
            push_string(out.bytes(), pack.as_bytes(), options.compress);
        }
        _ => {
            push_length(out.bytes(), set.len() as u64);
            for member in set.iter() {
                push_elem(out.bytes(), member, options.compress);
                out.relieve()?;
            }
        }
    }
    out.relieve()
}

fn put_hash<S: Sink>(out: &mut S, hash: &Hash, compress: bool) -> Result<(), S::Error> {
    if hash.has_times() {
        return put_timed_hash(out, hash, compress);
    }
    if let Some(pack) = hash.as_listpack() {
        push_string(out.bytes(), pack.as_bytes(), compress);
        return out.relieve();
    }
    if let Some(pack) = hash.to_plain_listpack() {
        push_string(out.bytes(), pack.as_bytes(), compress);
        return out.relieve();
    }
    push_length(out.bytes(), hash.len() as u64);
    for (field, value) in hash.iter() {
        push_elem(out.bytes(), field, compress);
        push_elem(out.bytes(), value, compress);
        out.relieve()?;
    }
    Ok(())
}

/// A hash whose fields have times: first a time that no field is due before. Source: redis 7.4
/// `rdb.c:rdbSaveObject`.
fn put_timed_hash<S: Sink>(out: &mut S, hash: &Hash, compress: bool) -> Result<(), S::Error> {
    let first = push_first_time(out.bytes(), hash);
    if let Some(pack) = hash.as_timed_listpack() {
        push_string(out.bytes(), pack.as_bytes(), compress);
        return out.relieve();
    }
    push_length(out.bytes(), hash.len() as u64);
    let mut fields = hash.iter();
    while let Some((field, value, time)) = fields.next_timed() {
        push_time(out.bytes(), time, first);
        push_elem(out.bytes(), field, compress);
        push_elem(out.bytes(), value, compress);
        out.relieve()?;
    }
    Ok(())
}

/// Appends the time that no field is due before.
fn push_first_time(out: &mut Vec<u8>, hash: &Hash) -> i64 {
    let first = hash.next_due().unwrap_or(0).max(0);
    out.extend_from_slice(&first.to_le_bytes());
    first
}

/// Appends a field's time: counted from the first time, and from 1; 0 is none.
fn push_time(out: &mut Vec<u8>, time: Option<i64>, first: i64) {
    push_length(out, time.map_or(0, |time| time.abs_diff(first).saturating_add(1)));
}

/// Highest score first, so that a reader that builds a tree from the right end always inserts at
/// the left one.
fn put_zset<S: Sink>(out: &mut S, zset: &Zset, compress: bool) -> Result<(), S::Error> {
    if let Some(pack) = zset.as_listpack() {
        push_string(out.bytes(), pack.as_bytes(), compress);
        return out.relieve();
    }
    push_length(out.bytes(), zset.len() as u64);
    for (member, score) in zset.iter().rev() {
        push_elem(out.bytes(), member, compress);
        out.bytes().extend_from_slice(&score.to_le_bytes());
        out.relieve()?;
    }
    Ok(())
}

/// Appends a length in its shortest form.
#[inline]
pub(crate) fn push_length(out: &mut Vec<u8>, n: u64) {
    if n < 1 << 6 {
        out.push(n as u8);
    } else if n < 1 << 14 {
        out.extend_from_slice(&[0x40 | (n >> 8) as u8, n as u8]);
    } else if let Ok(n) = u32::try_from(n) {
        out.push(0x80);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

/// Bytes that [`push_length`] takes.
fn length_size(n: u64) -> usize {
    match n {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[inline]
fn push_elem(out: &mut Vec<u8>, elem: Elem<'_>, compress: bool) {
    match elem {
        Elem::Bytes(bytes) => push_string(out, bytes, compress),
        Elem::Int(value) => push_int(out, value),
    }
}

/// Appends the decimal text of `value` as a string: as an integer if it fits 32 bits.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(v) = i8::try_from(value) {
        out.extend_from_slice(&[0xc0 | ENC_INT8, v as u8]);
    } else if let Ok(v) = i16::try_from(value) {
        out.push(0xc0 | ENC_INT16);
        out.extend_from_slice(&v.to_le_bytes());
    } else if let Ok(v) = i32::try_from(value) {
        out.push(0xc0 | ENC_INT32);
        out.extend_from_slice(&v.to_le_bytes());
    } else {
        let at = out.len();
        out.push(0); // Replaced by the length: at most 20.
        stdx::push_i64(out, value);
        out[at] = (out.len() - at - 1) as u8;
    }
}

/// Strings up to this length may be integers of 32 bits.
const INT_TEXT_MAX: usize = 11;
/// Strings up to this length are not compressed.
const PLAIN_MAX: usize = 20;

/// Appends a string: as an integer, compressed or as it is.
#[inline]
pub(crate) fn push_string(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    if text.len() <= INT_TEXT_MAX {
        if let Some(&first) = text.first()
            && (first.is_ascii_digit() || first == b'-')
            && let Some(value) = stdx::parse_i64(text)
            && i32::try_from(value).is_ok()
        {
            return push_int(out, value);
        }
    } else if compress
        && text.len() > PLAIN_MAX
        && push_compressed(out, text.len(), |piece| piece(text))
    {
        return;
    }
    push_length(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Appends a compressed string of `len` bytes that `pieces` hands to its argument in order.
/// Leaves `out` as it was and returns false unless that saves at least four bytes.
fn push_compressed(
    out: &mut Vec<u8>,
    len: usize,
    pieces: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> bool {
    let start = out.len();
    let Some(max) = len.checked_sub(4) else { return false };
    // Room for the longest length that can come; the data moves up if it takes less.
    let packed_at = start + 1 + length_size(max as u64) + length_size(len as u64);
    out.resize(packed_at, 0);
    let mut fits = true;
    pieces(&mut |piece| {
        fits = fits && lzf::compress(piece, out, (packed_at + max).saturating_sub(out.len()));
    });
    if !fits {
        out.truncate(start);
        return false;
    }
    let packed = out.len() - packed_at;
    let mut head = Vec::with_capacity(19);
    head.push(0xc0 | ENC_LZF);
    push_length(&mut head, packed as u64);
    push_length(&mut head, len as u64);
    out[start..start + head.len()].copy_from_slice(&head);
    if start + head.len() < packed_at {
        out.drain(start + head.len()..packed_at);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8], compress: bool) -> Vec<u8> {
        let mut out = Vec::new();
        push_string(&mut out, text, compress);
        out
    }

    /// Source: the sheet's section 3, seen from 7.0.15.
    #[test]
    fn lengths_in_their_shortest_form() {
        for (n, bytes) in [
            (0u64, &[0u8][..]),
            (63, &[63]),
            (64, &[0x40, 64]),
            (100, &[0x40, 0x64]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (u64::from(u32::MAX), &[0x80, 255, 255, 255, 255]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            push_length(&mut out, n);
            assert_eq!(out, bytes);
            assert_eq!(length_size(n), bytes.len());
        }
    }

    #[test]
    fn integers_take_their_encodings() {
        assert_eq!(string(b"64", true), [0xc0, 64]);
        assert_eq!(string(b"-128", true), [0xc0, 0x80]);
        assert_eq!(string(b"128", true), [0xc1, 0x80, 0]);
        assert_eq!(string(b"-32769", true), [0xc2, 0xff, 0x7f, 0xff, 0xff]);
        assert_eq!(string(b"2147483647", true), [0xc2, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(string(b"2147483648", true), b"\x0a2147483648");
        for text in [&b"007"[..], b"+1", b"-0", b"1a", b"-", b""] {
            assert_eq!(string(text, true), [&[text.len() as u8], text].concat());
        }
        let mut out = Vec::new();
        push_int(&mut out, i64::MIN);
        assert_eq!(out, b"\x14-9223372036854775808");
        push_int(&mut out, 5);
        assert_eq!(out[21..], [0xc0, 5]);
    }

    #[test]
    fn compression_only_when_it_saves_four_bytes() {
        assert_eq!(string(&[b'a'; 20], true)[0], 20);
        assert_eq!(string(&[b'a'; 21], true)[0], 0xc3);
        assert_eq!(string(&[b'a'; 21], false)[0], 21);
        assert_eq!(string(b"abcdefghijklmnopqrstuvwxyz", true)[0], 26);
        // A long text whose compressed length has a shorter form than its limit has.
        let packed = string(&[b'a'; 20_000], true);
        assert_eq!(packed[..2], [0xc3, 0x40]);
        assert_eq!(packed[3..8], [0x80, 0, 0, 0x4e, 0x20]);
    }
}
