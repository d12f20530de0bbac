//! The listpack: strings and integers packed into one byte string, walkable from both ends.
//!
//! Byte-exact with Redis, because it is written to and read from RDB files and DUMP payloads as it
//! is. A `u32` total length, a `u16` element count (65535: too many, count by walking), the
//! entries, and `0xFF`. An entry is an encoding byte with its data, then a `backlen`: the length of
//! encoding and data, readable from its right end, which allows walking backwards. Text that is a
//! canonical `i64` is stored as an integer.
//!
//! Source: redis 7.2 `listpack.c`; format table in the project's RDB notes.
//!
//! Positions inside a listpack are byte offsets ("at") for the collections of this crate, and
//! element indexes in the public interface.

use crate::elem::Elem;
use crate::pack::{PackBuf, PackFormat};
use smallvec::SmallVec;
use std::fmt;
use stdx::parse_i64;

/// Bytes before the first entry.
pub(crate) const HEADER: usize = 6;
const END: u8 = 0xff;
/// Element count that means "unknown".
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Redis refuses to let a listpack grow beyond this.
/// Source: redis `listpack.c:LISTPACK_MAX_SAFETY_LIMIT`.
pub(crate) const SAFETY_LIMIT: usize = 1 << 30;

/// Why bytes are not a container of the expected format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Where in the bytes.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt container at byte {}: expected {}", self.offset, self.expected)
    }
}

impl std::error::Error for Corrupt {}

pub(crate) fn corrupt<T>(offset: usize, expected: &'static str) -> Result<T, Corrupt> {
    Err(Corrupt { offset, expected })
}

struct Format;

impl PackFormat for Format {
    const HEAD: usize = HEADER;
    const MAX: usize = u32::MAX as usize;
    #[inline]
    fn total(head: &[u8]) -> usize {
        u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize
    }
    fn set_total(head: &mut [u8], total: usize) {
        head[..4].copy_from_slice(&(total as u32).to_le_bytes());
    }
}

/// A packed sequence of strings and integers.
///
/// Invariant: the bytes passed full validation or were built here, so every entry decodes.
#[derive(Clone)]
pub struct Listpack(PackBuf<Format>);

/// One entry as encoded: at most 5 bytes of head, borrowed data, at most 5 bytes of backlen.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    data: &'a [u8],
    back: [u8; 5],
    back_len: usize,
}

impl<'a> Encoded<'a> {
    fn new(elem: Elem<'a>) -> Encoded<'a> {
        let mut head = [0u8; 9];
        let (head_len, data): (usize, &[u8]) = match elem {
            Elem::Int(value) => (encode_int(value, &mut head), &[]),
            Elem::Bytes(bytes) => match small_int(bytes) {
                Some(value) => (encode_int(value, &mut head), &[]),
                None => (encode_len(bytes.len(), &mut head), bytes),
            },
        };
        let mut back = [0u8; 5];
        let back_len = encode_backlen(head_len + data.len(), &mut back);
        Encoded { head, head_len, data, back, back_len }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len], self.data, &self.back[..self.back_len]]
    }
}

/// A text that is stored as an integer.
#[inline]
fn small_int(text: &[u8]) -> Option<i64> {
    // Most strings are ruled out by their first byte or length.
    match text.first() {
        Some(b'-' | b'0'..=b'9') if text.len() <= 20 => parse_i64(text),
        _ => None,
    }
}

/// Source: redis `listpack.c:lpEncodeIntegerGetType`.
fn encode_int(value: i64, head: &mut [u8; 9]) -> usize {
    let bytes = value.to_le_bytes();
    let width = match value {
        0..=127 => {
            head[0] = value as u8;
            return 1;
        }
        -4096..=4095 => {
            let bits = (value & 0x1fff) as u16;
            head[0] = 0xc0 | (bits >> 8) as u8;
            head[1] = bits as u8;
            return 2;
        }
        -0x8000..=0x7fff => (0xf1, 2),
        -0x80_0000..=0x7f_ffff => (0xf2, 3),
        -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
        _ => (0xf4, 8),
    };
    head[0] = width.0;
    head[1..=width.1].copy_from_slice(&bytes[..width.1]);
    1 + width.1
}

fn encode_len(len: usize, head: &mut [u8; 9]) -> usize {
    match len {
        0..=63 => {
            head[0] = 0x80 | len as u8;
            1
        }
        64..=4095 => {
            head[0] = 0xe0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        }
        _ => {
            head[0] = 0xf0;
            head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        }
    }
}

/// Length of the backlen of an entry whose encoding and data take `len` bytes.
/// Source: redis `listpack.c:lpEncodeBacklen` (its bounds are one short of the powers of 128).
fn backlen_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2097150 => 3,
        2097151..=268435454 => 4,
        _ => 5,
    }
}

fn encode_backlen(len: usize, out: &mut [u8; 5]) -> usize {
    let size = backlen_size(len);
    for (i, byte) in out[..size].iter_mut().enumerate() {
        let group = (len >> (7 * (size - 1 - i))) as u8 & 127;
        *byte = if i == 0 { group } else { group | 128 };
    }
    size
}

/// Decodes the entry at `at`: the element and the whole entry's size with its backlen.
/// `None` when the entry does not fit in `bytes`, or `at` is the end mark.
#[inline]
fn decode(bytes: &[u8], at: usize) -> Option<(Elem<'_>, usize)> {
    // Small integers and short strings, nearly all there is, have a backlen of one byte.
    match *bytes.get(at)? {
        lead @ 0..=0x7f => Some((Elem::Int(i64::from(lead)), 2)),
        lead @ 0x80..=0xbf => {
            let len = usize::from(lead & 0x3f);
            Some((Elem::Bytes(bytes.get(at + 1..at + 1 + len)?), len + 2))
        }
        lead => decode_long(bytes, at, lead),
    }
}

fn decode_long(bytes: &[u8], at: usize, lead: u8) -> Option<(Elem<'_>, usize)> {
    let le = |n: usize| -> Option<i64> {
        let mut wide = [0u8; 8];
        wide[..n].copy_from_slice(bytes.get(at + 1..at + 1 + n)?);
        // Shifting up and back down extends the sign.
        let shift = 64 - 8 * n as u32;
        Some((i64::from_le_bytes(wide) << shift) >> shift)
    };
    let text = |start: usize, len: usize| -> Option<(Elem<'_>, usize)> {
        let end = at.checked_add(start)?.checked_add(len)?;
        Some((Elem::Bytes(bytes.get(at + start..end)?), start + len))
    };
    let (elem, len) = match lead {
        0xc0..=0xdf => {
            let bits = (i64::from(lead & 0x1f) << 8) | i64::from(*bytes.get(at + 1)?);
            (Elem::Int((bits << 51) >> 51), 2)
        }
        0xe0..=0xef => text(2, (usize::from(lead & 0x0f) << 8) | usize::from(*bytes.get(at + 1)?))?,
        0xf0 => {
            let len = bytes.get(at + 1..at + 5)?;
            text(5, u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize)?
        }
        0xf1 => (Elem::Int(le(2)?), 3),
        0xf2 => (Elem::Int(le(3)?), 4),
        0xf3 => (Elem::Int(le(4)?), 5),
        0xf4 => (Elem::Int(le(8)?), 9),
        // The end mark, bytes without a meaning, and what `decode` has handled.
        0xf5..=END | 0..=0xbf => return None,
    };
    Some((elem, len + backlen_size(len)))
}

/// Bytes that an element takes in a listpack.
pub(crate) fn entry_size(elem: Elem<'_>) -> usize {
    let encoded = Encoded::new(elem);
    encoded.parts().iter().map(|part| part.len()).sum()
}

/// Bytes that `n` copies of the integer `value` take, without header and end.
/// Source: redis `listpack.c:lpEstimateBytesRepeatedInteger`.
pub(crate) fn estimate_repeated_int(value: i64, n: usize) -> usize {
    entry_size(Elem::Int(value)).saturating_mul(n)
}

fn validate(bytes: &[u8]) -> Result<(), Corrupt> {
    if bytes.len() < HEADER + 1 {
        return corrupt(bytes.len(), "a listpack header and end mark");
    }
    if Format::total(bytes) != bytes.len() {
        return corrupt(0, "the listpack's length");
    }
    let end = bytes.len() - 1;
    if bytes[end] != END {
        return corrupt(end, "the listpack's end mark");
    }
    let (mut at, mut count) = (HEADER, 0usize);
    while at < end {
        let Some((_, size)) = decode(&bytes[..end], at) else {
            return corrupt(at, "a listpack entry");
        };
        if size > end - at {
            return corrupt(at, "a listpack entry within the listpack");
        }
        let mut back = [0u8; 5];
        let body = body_len(&bytes[..end], at);
        let back_len = encode_backlen(body, &mut back);
        if bytes[at + body..at + size] != back[..back_len] {
            return corrupt(at + body, "the entry's length again");
        }
        at += size;
        count += 1;
    }
    let told = u16::from_le_bytes([bytes[4], bytes[5]]);
    if told != COUNT_UNKNOWN && usize::from(told) != count {
        return corrupt(4, "the number of listpack entries");
    }
    Ok(())
}

/// Length of encoding and data of the entry at `at`, which decodes.
fn body_len(bytes: &[u8], at: usize) -> usize {
    match decode(bytes, at) {
        Some((_, size)) => {
            // The size is body plus backlen, and the backlen's size follows from the body.
            (1..=5).map(|b| size - b).find(|&body| backlen_size(body) == size - body).unwrap_or(0)
        }
        None => 0,
    }
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Listpack {
        Listpack(PackBuf::from_slice(&[7, 0, 0, 0, 0, 0, END]))
    }

    /// Takes bytes from a file or peer. Checks length, every entry and backlen, and the count.
    ///
    /// # Errors
    /// [`Corrupt`] with the place of the first fault.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Corrupt> {
        validate(&bytes)?;
        Ok(Listpack(PackBuf::from_slice(&bytes)))
    }

    /// The listpack's bytes, as Redis has them in memory and in RDB files.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Number of elements. Constant time up to 65534, beyond that a walk.
    pub fn len(&self) -> usize {
        match self.count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER + 1
    }

    /// Length of the whole listpack in bytes.
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Bytes requested from the allocator.
    pub fn mem_usage(&self) -> usize {
        self.0.mem_usage()
    }

    /// Whether `add` more bytes keep the listpack below the size that Redis regards as safe (1 GiB).
    pub fn safe_to_add(&self, add: usize) -> bool {
        self.0.len().saturating_add(add) <= SAFETY_LIMIT
    }

    fn count(&self) -> u16 {
        let bytes = self.0.bytes();
        u16::from_le_bytes([bytes[4], bytes[5]])
    }

    fn change_count(&mut self, removed: usize, added: usize) {
        let count = self.count();
        if count == COUNT_UNKNOWN {
            return; // Stays unknown, as in Redis.
        }
        let count = usize::from(count) - removed + added;
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.0.set_head(4, &count.to_le_bytes());
    }

    /// Appends an element; text that is an integer is stored as one.
    pub fn push_back(&mut self, text: &[u8]) {
        self.insert_elem(self.end(), Elem::Bytes(text));
    }

    /// Puts an element before all others.
    pub fn push_front(&mut self, text: &[u8]) {
        self.insert_elem(HEADER, Elem::Bytes(text));
    }

    /// Appends an element as stored elsewhere.
    pub fn push_elem(&mut self, elem: Elem<'_>) {
        self.insert_elem(self.end(), elem);
    }

    /// Appends several elements at once: the buffer grows once.
    pub(crate) fn push_all<'a>(&mut self, elems: impl Iterator<Item = Elem<'a>>) {
        let encoded: SmallVec<[Encoded<'a>; 12]> = elems.map(Encoded::new).collect();
        let parts: SmallVec<[&[u8]; 36]> = encoded.iter().flat_map(Encoded::parts).collect();
        self.0.splice(self.end(), 0, &parts);
        self.change_count(0, encoded.len());
    }

    /// The element with index `i`, counted from 0.
    pub fn get(&self, i: usize) -> Option<Elem<'_>> {
        let at = self.seek(i)?;
        Some(self.elem_at(at))
    }

    /// Inserts an element so that it gets index `i`; `i` up to the length.
    ///
    /// # Panics
    /// If `i` is greater than the length.
    pub fn insert_at(&mut self, i: usize, text: &[u8]) {
        let at = self.seek_or_end(i);
        self.insert_elem(at, Elem::Bytes(text));
    }

    /// Replaces the element with index `i`.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn replace_at(&mut self, i: usize, text: &[u8]) {
        let at = self.seek(i).expect("an index below the length");
        self.replace_elem(at, Elem::Bytes(text));
    }

    /// Removes up to `n` elements from index `i` on; returns how many there were.
    pub fn delete_range(&mut self, i: usize, n: usize) -> usize {
        match self.seek(i) {
            Some(at) => self.delete_from(at, n),
            None => 0,
        }
    }

    /// Index of the first element whose text is `text`, looking at one element, then leaving out
    /// `skip`, and so on (1 finds fields among field-value pairs).
    pub fn find(&self, text: &[u8], skip: usize) -> Option<usize> {
        self.search(HEADER, text, skip).map(|(_, index)| index)
    }

    /// The elements from first to last.
    pub fn iter(&self) -> ListpackIter<'_> {
        let bytes = self.0.bytes();
        ListpackIter { bytes, front: HEADER, back: bytes.len() - 1 }
    }
}

/// What the collections use: positions as byte offsets of entries.
impl Listpack {
    /// Offset of the end mark.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.0.len() - 1
    }

    /// The element at `at` and the offset of the next one.
    #[inline]
    pub(crate) fn decode_at(&self, at: usize) -> (Elem<'_>, usize) {
        let (elem, size) = decode(self.0.bytes(), at).expect("a valid listpack decodes");
        (elem, at + size)
    }

    /// The element at `at`.
    #[inline]
    pub(crate) fn elem_at(&self, at: usize) -> Elem<'_> {
        self.decode_at(at).0
    }

    /// Offset of the entry before `at`; `at` must not be the first.
    pub(crate) fn before(&self, at: usize) -> usize {
        before(self.0.bytes(), at)
    }

    /// Offset of the element with index `i`; from the nearer end where the count is known.
    pub(crate) fn seek(&self, i: usize) -> Option<usize> {
        let count = self.count();
        if count != COUNT_UNKNOWN {
            let count = usize::from(count);
            if i >= count {
                return None;
            }
            if i > count / 2 {
                let mut at = self.end();
                for _ in i..count {
                    at = self.before(at);
                }
                return Some(at);
            }
        }
        let (mut at, end) = (HEADER, self.end());
        for _ in 0..i {
            if at == end {
                return None;
            }
            at = self.decode_at(at).1;
        }
        (at < end).then_some(at)
    }

    fn seek_or_end(&self, i: usize) -> usize {
        self.seek(i).unwrap_or_else(|| {
            assert!(i == self.len(), "an index up to the length");
            self.end()
        })
    }

    /// Looks for `text` from offset `from` on, at every `skip + 1`st element. Returns the offset
    /// and the index counted from `from`.
    pub(crate) fn search(&self, from: usize, text: &[u8], skip: usize) -> Option<(usize, usize)> {
        let wanted = small_int(text);
        let bytes = self.0.bytes();
        let (mut at, end, mut index, mut pass) = (from, bytes.len() - 1, 0, 0);
        while at < end {
            let (elem, size) = decode(bytes, at)?;
            if pass == 0 {
                let found = match elem {
                    Elem::Bytes(own) => own == text,
                    Elem::Int(value) => wanted == Some(value),
                };
                if found {
                    return Some((at, index));
                }
                pass = skip;
            } else {
                pass -= 1;
            }
            at += size;
            index += 1;
        }
        None
    }

    /// Inserts `elem` before the entry at `at` (or the end mark). Returns the offset behind it.
    pub(crate) fn insert_elem(&mut self, at: usize, elem: Elem<'_>) -> usize {
        let encoded = Encoded::new(elem);
        let parts = encoded.parts();
        self.0.splice(at, 0, &parts);
        self.change_count(0, 1);
        at + parts.iter().map(|part| part.len()).sum::<usize>()
    }

    /// Replaces the entry at `at`.
    pub(crate) fn replace_elem(&mut self, at: usize, elem: Elem<'_>) {
        let (_, next) = self.decode_at(at);
        self.0.splice(at, next - at, &Encoded::new(elem).parts());
    }

    /// Removes up to `n` entries from offset `at` on; returns how many there were.
    pub(crate) fn delete_from(&mut self, at: usize, n: usize) -> usize {
        let (mut to, end, mut count) = (at, self.end(), 0);
        while count < n && to < end {
            to = self.decode_at(to).1;
            count += 1;
        }
        if count > 0 {
            self.0.splice(at, to - at, &[]);
            self.change_count(count, 0);
        }
        count
    }

    /// Moves all elements from offset `at` on to a new listpack.
    pub(crate) fn split_off(&mut self, at: usize) -> Listpack {
        let mut right = Listpack::new();
        let end = self.end();
        let moved = {
            let bytes = &self.0.bytes()[at..end];
            right.0.splice(HEADER, 0, &[bytes]);
            ListpackIter { bytes: self.0.bytes(), front: at, back: end }.count()
        };
        right.change_count(0, moved);
        self.0.splice(at, end - at, &[]);
        self.change_count(moved, 0);
        right
    }

    /// Appends all elements of `other`.
    pub(crate) fn append(&mut self, other: &Listpack) {
        let count = other.len();
        let end = self.end();
        self.0.splice(end, 0, &[&other.0.bytes()[HEADER..other.end()]]);
        self.change_count(0, count);
    }
}

/// Whether two of the elements 0, `step`, 2 * `step`, ... have the same text.
pub(crate) fn has_duplicates(pack: &Listpack, step: usize) -> bool {
    let mut texts: Vec<Vec<u8>> = pack.iter().step_by(step).map(Elem::to_vec).collect();
    texts.sort_unstable();
    texts.windows(2).any(|pair| pair[0] == pair[1])
}

/// Offset of the entry before `at` in valid listpack bytes.
fn before(bytes: &[u8], at: usize) -> usize {
    let (mut back, mut len, mut shift) = (at, 0usize, 0);
    loop {
        back -= 1;
        len |= usize::from(bytes[back] & 127) << shift;
        if bytes[back] & 128 == 0 {
            return back - len;
        }
        shift += 7;
    }
}

/// Walks a listpack from either end.
#[derive(Clone)]
pub struct ListpackIter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> ListpackIter<'a> {
    /// An iterator over the entries of `pack` from offset `front` up to offset `back`.
    pub(crate) fn between(pack: &'a Listpack, front: usize, back: usize) -> ListpackIter<'a> {
        ListpackIter { bytes: pack.0.bytes(), front, back }
    }
}

impl<'a> Iterator for ListpackIter<'a> {
    type Item = Elem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (elem, size) = decode(self.bytes, self.front)?;
        self.front += size;
        Some(elem)
    }
}

impl<'a> DoubleEndedIterator for ListpackIter<'a> {
    fn next_back(&mut self) -> Option<Elem<'a>> {
        if self.front >= self.back {
            return None;
        }
        self.back = before(self.bytes, self.back);
        decode(self.bytes, self.back).map(|(elem, _)| elem)
    }
}

#[cfg(test)]
pub(crate) mod tests;
