//! What a key holds, as the codecs and commands see it: owned and borrowed forms.

use crate::elem::int_text;
use crate::{Hash, List, PagedStr, Set, Stream, Zset};
use stdx::{I64_MAX_LEN, parse_i64, push_i64};

/// The value of a key, on its own.
#[derive(Clone)]
pub enum Value {
    /// A string.
    Str(Vec<u8>),
    /// A list.
    List(Box<List>),
    /// A set.
    Set(Box<Set>),
    /// A hash.
    Hash(Box<Hash>),
    /// A sorted set.
    Zset(Box<Zset>),
    /// A stream.
    Stream(Stream),
}

/// The value of a key, seen in its entry.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    Str(StrRef<'a>),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A hash.
    Hash(&'a Hash),
    /// A sorted set.
    Zset(&'a Zset),
    /// A stream.
    Stream(&'a Stream),
}

/// A string value as stored.
#[derive(Clone, Copy)]
pub enum StrRef<'a> {
    /// The decimal text of this integer.
    Int(i64),
    /// Bytes in one piece.
    Bytes(&'a [u8]),
    /// A long string in pages.
    Paged(&'a PagedStr),
}

impl ValueRef<'_> {
    /// The type's name, as the TYPE command gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            ValueRef::Str(_) => "string",
            ValueRef::List(_) => "list",
            ValueRef::Set(_) => "set",
            ValueRef::Hash(_) => "hash",
            ValueRef::Zset(_) => "zset",
            ValueRef::Stream(_) => "stream",
        }
    }
}

impl<'a> StrRef<'a> {
    /// Length of the text in bytes.
    pub fn len(self) -> usize {
        match self {
            StrRef::Int(value) => crate::elem::int_len(value),
            StrRef::Bytes(bytes) => bytes.len(),
            StrRef::Paged(paged) => paged.len(),
        }
    }

    /// Whether the string is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Runs `f` on the text in one piece. A string in pages is copied for it.
    pub fn with<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            StrRef::Int(value) => f(int_text(value, &mut [0; I64_MAX_LEN])),
            StrRef::Bytes(bytes) => f(bytes),
            StrRef::Paged(paged) => f(&paged.to_vec()),
        }
    }

    /// Appends the text.
    pub fn push_to(self, out: &mut Vec<u8>) {
        match self {
            StrRef::Int(value) => push_i64(out, value),
            StrRef::Bytes(bytes) => out.extend_from_slice(bytes),
            StrRef::Paged(paged) => {
                out.reserve(paged.len());
                paged.read(0, paged.len(), &mut |piece| out.extend_from_slice(piece));
            }
        }
    }

    /// The text in a vector of its own.
    pub fn to_vec(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.push_to(&mut out);
        out
    }

    /// Appends the bytes `start..end` of the text (cut to the text) to `out`.
    pub fn read_range(self, start: usize, end: usize, out: &mut Vec<u8>) {
        let end = end.min(self.len());
        if start >= end {
            return;
        }
        match self {
            StrRef::Paged(paged) => {
                paged.read(start, end, &mut |piece| out.extend_from_slice(piece));
            }
            StrRef::Bytes(bytes) => out.extend_from_slice(&bytes[start..end]),
            StrRef::Int(_) => self.with(|text| out.extend_from_slice(&text[start..end])),
        }
    }

    /// The byte at `offset`; `None` beyond the end.
    pub fn byte_at(self, offset: usize) -> Option<u8> {
        match self {
            StrRef::Int(_) => self.with(|text| text.get(offset).copied()),
            StrRef::Bytes(bytes) => bytes.get(offset).copied(),
            StrRef::Paged(paged) => paged.byte_at(offset),
        }
    }

    /// The text as a canonical integer; `None` if it is not one.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            StrRef::Int(value) => Some(value),
            StrRef::Bytes(bytes) => parse_i64(bytes),
            StrRef::Paged(_) => None, // Much longer than any integer.
        }
    }
}
