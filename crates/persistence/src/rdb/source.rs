//! A buffered, counting, checksumming view of an input, and the two primitives of the format that
//! everything else is made of: lengths and strings.
//!
//! Small things are borrowed from the buffer without a copy. The checksum is taken over whole
//! buffers when they are refilled, not per field. A length is believed only as far as bytes
//! follow: memory for a long string grows with what has arrived.

use std::io::{self, Read};

use super::codes::{ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF};
use super::error::{RdbError, RdbErrorKind};
use crate::{crc64::Crc64, lzf};

/// Bytes asked from the input at once. Fits the second-level cache.
const BUFFER: usize = 128 * 1024;
/// The most bytes that one [`Source::take`] may ask for, whatever the input.
const TAKE_MIN: usize = 256;
/// Memory asked for a long string before any of its bytes are there.
const TRUST: usize = 1 << 20;

/// A length, or the special encoding of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Plain(u64),
    Special(u8),
}

pub(crate) struct Source<R> {
    input: R,
    /// Valid bytes are `pos..end`; what is before `pos` has been handed out.
    buf: Vec<u8>,
    pos: usize,
    end: usize,
    /// Offset of `buf[0]` in the input.
    base: u64,
    crc: Option<Crc64>,
    /// `buf[..summed]` is in `crc`.
    summed: usize,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(input: R, checksum: bool) -> Source<R> {
        Source::with_buffer(input, vec![0; BUFFER], 0, checksum)
    }

    fn with_buffer(input: R, buf: Vec<u8>, end: usize, checksum: bool) -> Source<R> {
        let crc = checksum.then(Crc64::new);
        Source { input, buf, pos: 0, end, base: 0, crc, summed: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// The input and what was read from it but not handed out.
    pub(crate) fn into_parts(self) -> (R, Vec<u8>) {
        (self.input, self.buf[self.pos..self.end].to_vec())
    }

    /// The checksum of everything handed out so far; `None` if none is kept.
    pub(crate) fn checksum(&mut self) -> Option<u64> {
        self.sum();
        self.crc.as_ref().map(Crc64::value)
    }

    fn sum(&mut self) {
        if let Some(crc) = &mut self.crc {
            crc.update(&self.buf[self.summed..self.pos]);
        }
        self.summed = self.pos;
    }

    /// Makes `n` bytes (no more than the buffer holds) available behind `pos`.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: usize) -> Result<(), RdbError> {
        self.sum();
        self.buf.copy_within(self.pos..self.end, 0);
        self.base += self.pos as u64;
        self.end -= self.pos;
        (self.pos, self.summed) = (0, 0);
        while self.end < n {
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(0) => {
                    let missing = (n - self.end) as u64;
                    let at = self.base + self.end as u64;
                    return Err(RdbError::new(at, RdbErrorKind::UnexpectedEof { missing }));
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error)),
            }
        }
        Ok(())
    }

    fn io_error(&self, error: io::Error) -> RdbError {
        RdbError::new(self.base + self.end as u64, RdbErrorKind::Io(error))
    }

    /// The next `n` bytes, no more than the buffer holds.
    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&[u8], RdbError> {
        if self.end - self.pos < n {
            self.refill(n)?;
        }
        let at = self.pos;
        self.pos += n;
        Ok(&self.buf[at..at + n])
    }

    /// Whether [`Source::take`] may ask for `n` bytes.
    #[inline]
    pub(crate) fn fits(&self, n: u64) -> bool {
        n <= self.buf.len() as u64
    }

    /// The next up to 255 bytes.
    pub(crate) fn take_short(&mut self, n: u8) -> Result<&[u8], RdbError> {
        self.take(usize::from(n))
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        const { assert!(N < TAKE_MIN) };
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// The next byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.array::<1>()?[0])
    }

    /// Appends the next `n` bytes, however many, to `out`.
    pub(crate) fn take_into(&mut self, n: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let here = usize::try_from(n).map_or(self.end - self.pos, |n| n.min(self.end - self.pos));
        if here as u64 == n {
            out.extend_from_slice(&self.buf[self.pos..self.pos + here]);
            self.pos += here;
            return Ok(());
        }
        let start = out.len();
        let mut step = TRUST;
        let mut rest = n - here as u64;
        out.reserve_exact(here + step.min(usize::try_from(rest).unwrap_or(step)));
        out.extend_from_slice(&self.buf[self.pos..self.pos + here]);
        self.pos += here;
        self.sum();
        // The buffer is empty now: the rest goes straight to its place.
        while rest > 0 {
            let before = out.len();
            let part = rest.min(step as u64);
            out.reserve_exact(part as usize);
            if let Err(error) = (&mut self.input).take(part).read_to_end(out) {
                return Err(self.io_error(error));
            }
            let got = &out[before..];
            if let Some(crc) = &mut self.crc {
                crc.update(got);
            }
            self.base += got.len() as u64;
            rest -= got.len() as u64;
            if (got.len() as u64) < part {
                let at = self.base + self.end as u64;
                return Err(RdbError::new(at, RdbErrorKind::UnexpectedEof { missing: rest }));
            }
            // Doubling, so that the copies stay linear and the last step is exact.
            step = out.len() - start;
        }
        Ok(())
    }

    /// Passes over `n` bytes.
    pub(crate) fn skip(&mut self, mut n: u64) -> Result<(), RdbError> {
        while n > 0 {
            if self.pos == self.end {
                self.refill(1)?;
            }
            let here = ((self.end - self.pos) as u64).min(n);
            self.pos += here as usize;
            n -= here;
        }
        Ok(())
    }

    /// A length or a special encoding.
    #[inline]
    pub(crate) fn length_or_special(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Ok(Length::Plain(u64::from(first))),
            1 => Ok(Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?))),
            2 => self.wide_length(first),
            _ => Ok(Length::Special(first & 0x3f)),
        }
    }

    #[cold]
    fn wide_length(&mut self, first: u8) -> Result<Length, RdbError> {
        match first {
            0x80 => Ok(Length::Plain(u64::from(u32::from_be_bytes(self.array()?)))),
            0x81 => Ok(Length::Plain(u64::from_be_bytes(self.array()?))),
            _ => Err(self.malformed_byte("a length", first)),
        }
    }

    /// A length where a special encoding has no place.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_special()? {
            Length::Plain(n) => Ok(n),
            Length::Special(code) => Err(self.malformed_byte("a length", code | 0xc0)),
        }
    }

    fn malformed_byte(&self, expected: &'static str, found: u8) -> RdbError {
        RdbError::malformed(self.offset() - 1, expected, format!("byte {found:#04x}"))
    }

    /// A string. Borrowed from the buffer where it lies there as it is, else built in `scratch`.
    #[inline]
    pub(crate) fn string<'a>(&'a mut self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], RdbError> {
        match self.length_or_special()? {
            Length::Plain(n) if self.fits(n) => self.take(n as usize),
            other => {
                scratch.clear();
                self.string_body(other, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// Appends a string to `out`.
    pub(crate) fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let length = self.length_or_special()?;
        self.string_body(length, out)
    }

    /// What follows the length of a string.
    pub(crate) fn string_body(
        &mut self,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), RdbError> {
        match length {
            Length::Plain(n) => self.take_into(n, out)?,
            Length::Special(ENC_INT8) => {
                stdx::push_i64(out, i8::from_le_bytes(self.array()?).into());
            }
            Length::Special(ENC_INT16) => {
                stdx::push_i64(out, i16::from_le_bytes(self.array()?).into());
            }
            Length::Special(ENC_INT32) => {
                stdx::push_i64(out, i32::from_le_bytes(self.array()?).into());
            }
            Length::Special(ENC_LZF) => self.lzf(out)?,
            Length::Special(code) => {
                return Err(self.malformed_byte("a string encoding", code | 0xc0));
            }
        }
        Ok(())
    }

    fn lzf(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let packed_len = self.length()?;
        let len = self.length()?;
        let at = self.offset();
        if len > lzf::expansion_max(packed_len) {
            let found = format!("{len} from {packed_len} compressed bytes");
            return Err(RdbError::malformed(at, "a possible original length", found));
        }
        let owned;
        let packed = if self.fits(packed_len) {
            self.take(packed_len as usize)?
        } else {
            let mut all = Vec::new();
            self.take_into(packed_len, &mut all)?;
            owned = all;
            &owned
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        lzf::decompress(packed, len, out).map_err(|error| {
            RdbError::malformed(at + error.at as u64, error.expected, "a damaged LZF stream")
        })
    }

    /// Passes over a string.
    pub(crate) fn skip_string(&mut self) -> Result<(), RdbError> {
        match self.length_or_special()? {
            Length::Plain(n) => self.skip(n),
            Length::Special(ENC_INT8) => self.skip(1),
            Length::Special(ENC_INT16) => self.skip(2),
            Length::Special(ENC_INT32) => self.skip(4),
            Length::Special(ENC_LZF) => {
                let packed = self.length()?;
                self.length()?;
                self.skip(packed)
            }
            Length::Special(code) => Err(self.malformed_byte("a string encoding", code | 0xc0)),
        }
    }
}

impl Source<io::Empty> {
    /// A source over bytes in memory, without a checksum.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Source<io::Empty> {
        let mut buf = Vec::with_capacity(bytes.len().max(TAKE_MIN));
        buf.extend_from_slice(bytes);
        buf.resize(bytes.len().max(TAKE_MIN), 0);
        Source::with_buffer(io::empty(), buf, bytes.len(), false)
    }

    /// Bytes not handed out yet.
    pub(crate) fn remaining(&self) -> usize {
        self.end - self.pos
    }
}
