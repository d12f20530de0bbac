//! The intset: a sorted array of integers, all 2, 4 or 8 bytes wide.
//!
//! Byte-exact with Redis: `u32` width, `u32` count, ascending signed values, all little-endian.
//! The width grows when a value needs it and never shrinks.
//!
//! Source: redis `intset.c`.

use crate::listpack::{Corrupt, corrupt};
use crate::pack::{PackBuf, PackFormat};
use std::fmt;
use stdx::Prng;

const HEADER: usize = 8;

struct Format;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

impl PackFormat for Format {
    const HEAD: usize = HEADER;
    const MAX: usize = u32::MAX as usize;
    fn total(head: &[u8]) -> usize {
        HEADER + u32_at(head, 0) * u32_at(head, 4)
    }
    fn set_total(head: &mut [u8], total: usize) {
        let count = (total - HEADER) / u32_at(head, 0);
        head[4..8].copy_from_slice(&(count as u32).to_le_bytes());
    }
}

/// A sorted set of integers in one block.
///
/// Invariant: the width is 2, 4 or 8 and the values ascend strictly.
#[derive(Clone)]
pub struct Intset(PackBuf<Format>);

/// The narrowest width that holds `value`.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

fn value_at(bytes: &[u8], width: usize, i: usize) -> i64 {
    let at = HEADER + i * width;
    let b = &bytes[at..at + width];
    match width {
        2 => i64::from(i16::from_le_bytes([b[0], b[1]])),
        4 => i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        _ => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
    }
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Intset {
    /// An empty set, 2 bytes wide.
    pub fn new() -> Intset {
        Intset(PackBuf::from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes bytes from a file or peer; checks width, length and order.
    ///
    /// # Errors
    /// [`Corrupt`] with the place of the first fault.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Intset, Corrupt> {
        if bytes.len() < HEADER {
            return corrupt(bytes.len(), "an intset header");
        }
        let (width, count) = (u32_at(&bytes, 0), u32_at(&bytes, 4));
        if !matches!(width, 2 | 4 | 8) {
            return corrupt(0, "an intset width of 2, 4 or 8");
        }
        if bytes.len() - HEADER != width * count || bytes.len() > Format::MAX {
            return corrupt(4, "the number of integers");
        }
        for i in 1..count {
            if value_at(&bytes, width, i - 1) >= value_at(&bytes, width, i) {
                return corrupt(HEADER + i * width, "an integer above the one before");
            }
        }
        Ok(Intset(PackBuf::from_slice(&bytes)))
    }

    /// The set's bytes, as Redis has them in memory and in RDB files.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn width(&self) -> usize {
        u32_at(self.0.bytes(), 0)
    }

    /// Number of integers.
    pub fn len(&self) -> usize {
        u32_at(self.0.bytes(), 4)
    }

    /// Whether there is no integer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes requested from the allocator.
    pub fn mem_usage(&self) -> usize {
        self.0.mem_usage()
    }

    /// The integer with index `i` in ascending order.
    pub fn get(&self, i: usize) -> Option<i64> {
        (i < self.len()).then(|| value_at(self.0.bytes(), self.width(), i))
    }

    /// Where `value` is (`Ok`) or belongs (`Err`).
    fn position(&self, value: i64) -> Result<usize, usize> {
        let (bytes, width) = (self.0.bytes(), self.width());
        let (mut low, mut high) = (0, self.len());
        // Appending in order is the common way to fill a set.
        if high > 0 && value_at(bytes, width, high - 1) < value {
            return Err(high);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match value_at(bytes, width, middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Whether `value` is a member.
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.position(value).is_ok()
    }

    /// Adds `value`; false if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let width = width_of(value);
        if width > self.width() {
            self.widen(width);
        }
        let width = self.width();
        match self.position(value) {
            Ok(_) => false,
            Err(i) => {
                self.0.splice(HEADER + i * width, 0, &[&value.to_le_bytes()[..width]]);
                true
            }
        }
    }

    /// Rebuilds the set with wider integers.
    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(HEADER + width * self.len());
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.len() as u32).to_le_bytes());
        for value in self.iter() {
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.0 = PackBuf::from_slice(&bytes);
    }

    /// Removes `value`; false if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        let width = self.width();
        if width_of(value) > width {
            return false;
        }
        match self.position(value) {
            Ok(i) => {
                self.0.splice(HEADER + i * width, width, &[]);
                true
            }
            Err(_) => false,
        }
    }

    /// The integers in ascending order.
    pub fn iter(&self) -> IntsetIter<'_> {
        IntsetIter { set: self, front: 0, back: self.len() }
    }

    /// A random integer; each with equal chance.
    pub fn random(&self, prng: &mut Prng) -> Option<i64> {
        let len = self.len();
        if len == 0 { None } else { self.get(prng.below(len as u64) as usize) }
    }
}

/// Walks an [`Intset`] from either end.
#[derive(Clone)]
pub struct IntsetIter<'a> {
    set: &'a Intset,
    front: usize,
    back: usize,
}

impl Iterator for IntsetIter<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.front += 1;
        self.set.get(self.front - 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl DoubleEndedIterator for IntsetIter<'_> {
    fn next_back(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        self.set.get(self.back)
    }
}

impl ExactSizeIterator for IntsetIter<'_> {}

#[cfg(test)]
mod tests;
