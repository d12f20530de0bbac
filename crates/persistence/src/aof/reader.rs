//! Reading a part: its commands one by one, its seals checked on the way.
//!
//! The reader knows no command: whoever applies them keeps track of transactions. All that it
//! keeps in memory is the command at hand; lengths are believed only as far as bytes follow.

use std::fmt;
use std::io::{self, Read};

use resp::Args;

use super::history::History;
use super::seal::{PREFIX, Seal};
use crate::crc64::Crc64;

/// Bytes asked from the input at once, at least.
const CHUNK: usize = 128 * 1024;
/// The longest line that is no argument.
const LINE_MAX: usize = 1024;
/// Arguments of one command are ranges of 32 bits.
const COMMAND_MAX: usize = u32::MAX as usize;

/// Why reading stopped.
#[derive(Debug)]
pub struct AofError {
    /// Where, in bytes from the beginning of the part.
    pub offset: u64,
    /// What.
    pub kind: AofErrorKind,
}

/// The kinds of [`AofError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AofErrorKind {
    /// The input itself failed.
    Io(io::Error),
    /// The part ends inside a command.
    Truncated {
        /// What should have come.
        expected: &'static str,
        /// Where that begins.
        at: u64,
        /// How many bytes it has, if that is known.
        wanted: u64,
    },
    /// Bytes that don't belong there.
    Malformed {
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The bytes before a seal are not those that were sealed.
    Checksum {
        /// Where the sealed bytes begin.
        from: u64,
        /// What the seal says.
        expected: u64,
        /// What the bytes have.
        found: u64,
    },
}

impl AofError {
    /// True if the part just ends too early, so that what comes before may be used.
    pub fn is_truncated(&self) -> bool {
        matches!(self.kind, AofErrorKind::Truncated { .. })
    }
}

impl fmt::Display for AofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            AofErrorKind::Io(error) => write!(f, "read error: {error}")?,
            AofErrorKind::Truncated { expected, .. } => {
                write!(f, "unexpected end: expected {expected}, found nothing")?;
            }
            AofErrorKind::Malformed { expected, found } => {
                write!(f, "expected {expected}, found {found}")?;
            }
            AofErrorKind::Checksum { from, expected, found } => write!(
                f,
                "wrong checksum of the bytes from offset {from} on: expected {expected:016x}, found {found:016x}"
            )?,
        }
        write!(f, " at offset {}", self.offset)
    }
}

impl std::error::Error for AofError {}

/// What a part tells, in its order.
pub enum AofEvent<'a> {
    /// A command.
    Command(Args<'a>),
    /// A line that begins with `#`, with its end. Seals are among them; they have been checked.
    Annotation(&'a [u8]),
    /// The end.
    Eof,
}

/// Reads one part from `R`.
pub struct AofReader<R> {
    input: R,
    /// What was read and not yet handed out begins at `start`.
    buf: Vec<u8>,
    start: usize,
    /// End of the item that was handed out last, from `start`.
    handed: usize,
    /// Offset of `buf[start]` in the part.
    offset: u64,
    ranges: Vec<(u32, u32)>,
    /// Of the bytes since `sealed_to`.
    crc: Crc64,
    sealed_to: u64,
    /// A seal was seen: other lines than time stamps are damage from here on.
    sealed: bool,
    failed: bool,
    /// Whole lines of commands so far.
    lines: u64,
}

impl<R: Read> AofReader<R> {
    /// A reader at the beginning of a part.
    pub fn new(input: R) -> AofReader<R> {
        AofReader::behind(input, Vec::new(), 0)
    }

    /// A reader that goes on at `offset`, with the bytes that were already read from there
    /// (commands behind an RDB).
    pub fn behind(input: R, ahead: Vec<u8>, offset: u64) -> AofReader<R> {
        AofReader {
            input,
            buf: ahead,
            start: 0,
            handed: 0,
            offset,
            ranges: Vec::new(),
            crc: Crc64::new(),
            sealed_to: offset,
            sealed: false,
            failed: false,
            lines: 0,
        }
    }

    /// Whole lines of commands so far, those of a command that is not whole included.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Everything before this place has a checksum that fits.
    pub fn sealed_to(&self) -> u64 {
        self.sealed_to
    }

    /// Where the next item begins: everything before is whole.
    pub fn offset(&self) -> u64 {
        self.offset + self.handed as u64
    }

    /// Bytes at the end of what was read so far that no seal covers.
    pub fn unsealed(&self) -> u64 {
        self.offset() - self.sealed_to
    }

    /// True if the part has seals.
    pub fn has_seals(&self) -> bool {
        self.sealed
    }

    /// The next item. After an error there is no more.
    pub fn next_event(&mut self) -> Result<AofEvent<'_>, AofError> {
        self.pass();
        if self.failed {
            return Ok(AofEvent::Eof);
        }
        match self.find() {
            Ok(Item::Eof) => Ok(AofEvent::Eof),
            Ok(Item::Command(len)) => {
                self.handed = len;
                let bytes = &self.buf[self.start..self.start + len];
                self.crc.update(bytes);
                Ok(AofEvent::Command(Args::new(bytes, &self.ranges)))
            }
            Ok(Item::Annotation(len)) => {
                if let Err(error) = self.check_line(len) {
                    self.failed = true;
                    return Err(error);
                }
                self.handed = len;
                Ok(AofEvent::Annotation(&self.buf[self.start..self.start + len]))
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// The item handed out last is done with.
    fn pass(&mut self) {
        self.start += self.handed;
        self.offset += self.handed as u64;
        self.handed = 0;
    }

    fn check_line(&mut self, len: usize) -> Result<(), AofError> {
        let line = &self.buf[self.start..self.start + len];
        let malformed = |expected, found: &[u8]| AofError {
            offset: self.offset,
            kind: AofErrorKind::Malformed { expected, found: shown(found) },
        };
        if !line.starts_with(PREFIX) {
            if self.sealed && !is_time_stamp(line) && History::parse(line).is_none() {
                return Err(malformed("a time stamp, a place in a history or a checksum", line));
            }
            self.crc.update(line);
            return Ok(());
        }
        let Some(seal) = Seal::parse(line) else {
            return Err(malformed("a whole checksum line", line));
        };
        let length = self.offset - self.sealed_to;
        if seal.length > 0 {
            if seal.length != length {
                return Err(malformed(
                    "a checksum of exactly the bytes since the one before",
                    line,
                ));
            }
            let found = self.crc.value();
            if found != seal.checksum {
                let (from, expected) = (self.sealed_to, seal.checksum);
                let kind = AofErrorKind::Checksum { from, expected, found };
                return Err(AofError { offset: self.offset, kind });
            }
        } else if seal.checksum != 0 {
            return Err(malformed("zeros, since it covers nothing", line));
        }
        self.sealed = true;
        self.crc = Crc64::new();
        self.sealed_to = self.offset + len as u64;
        Ok(())
    }

    /// Makes `n` bytes available behind `start`, or as many as there are.
    fn fill(&mut self, n: usize) -> Result<bool, AofError> {
        if self.buf.len() - self.start >= n {
            return Ok(true);
        }
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        while self.buf.len() < n {
            let have = self.buf.len();
            // Grows with what has arrived, not with what was promised.
            let room = have.clamp(CHUNK, 64 << 20);
            self.buf.resize(have + room, 0);
            let result = self.input.read(&mut self.buf[have..]);
            self.buf.truncate(have + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(AofError {
                        offset: self.offset + have as u64,
                        kind: AofErrorKind::Io(error),
                    });
                }
            }
        }
        Ok(true)
    }

    /// Length of the line that begins `at` bytes behind `start`, its end included. `None` if the
    /// input ends first.
    fn line(&mut self, at: usize, expected: &'static str) -> Result<Option<usize>, AofError> {
        let mut seen = 0;
        loop {
            let whole = self.fill(at + seen + 1)?;
            let rest = &self.buf[self.start + at..];
            if let Some(end) = rest[seen..].iter().position(|&b| b == b'\n') {
                return Ok(Some(seen + end + 1));
            }
            if rest.len() > LINE_MAX {
                return Err(AofError {
                    offset: self.offset + at as u64,
                    kind: AofErrorKind::Malformed { expected, found: shown(rest) },
                });
            }
            if !whole {
                return Ok(None);
            }
            seen = rest.len();
        }
    }

    /// A number on a line of its own, behind a mark.
    fn number(
        &mut self,
        at: usize,
        mark: u8,
        min: i64,
        expected: &'static str,
    ) -> Result<(usize, usize), AofError> {
        let offset = self.offset + at as u64;
        if self.fill(at + 1)? && self.buf[self.start + at] != mark {
            let kind =
                AofErrorKind::Malformed { expected, found: shown(&self.buf[self.start + at..]) };
            return Err(AofError { offset, kind });
        }
        let Some(len) = self.line(at, expected)? else {
            return Err(AofError {
                offset: self.offset + (self.buf.len() - self.start) as u64,
                kind: AofErrorKind::Truncated { expected, at: offset, wanted: 0 },
            });
        };
        let line = &self.buf[self.start + at..self.start + at + len];
        let number = line[1..].strip_suffix(b"\r\n").and_then(stdx::parse_i64);
        let Some(number) = number.filter(|n| (min..=COMMAND_MAX as i64).contains(n)) else {
            let kind = AofErrorKind::Malformed { expected, found: shown(line) };
            return Err(AofError { offset, kind });
        };
        Ok((number as usize, len))
    }

    /// Looks for the next item.
    fn find(&mut self) -> Result<Item, AofError> {
        if !self.fill(1)? {
            return Ok(Item::Eof);
        }
        if self.buf[self.start] == b'#' {
            let expected = "the end of a line that begins with '#'";
            return match self.line(0, expected)? {
                Some(len) => Ok(Item::Annotation(len)),
                None => Err(AofError {
                    offset: self.offset + (self.buf.len() - self.start) as u64,
                    kind: AofErrorKind::Truncated { expected, at: self.offset, wanted: 0 },
                }),
            };
        }
        let (count, mut at) = self.number(0, b'*', 1, "'*' and the number of arguments")?;
        self.ranges.clear();
        self.lines += 1;
        for _ in 0..count {
            let (length, head) = self.number(at, b'$', 0, "'$' and the length of an argument")?;
            let from = at + head;
            self.lines += 1;
            if length > COMMAND_MAX - from - 2 {
                return Err(AofError {
                    offset: self.offset + at as u64,
                    kind: AofErrorKind::Malformed {
                        expected: "a command below 4 GiB",
                        found: format!("an argument of {length} bytes"),
                    },
                });
            }
            let to = from + length;
            if !self.fill(to + 2)? {
                return Err(AofError {
                    offset: self.offset + (self.buf.len() - self.start) as u64,
                    kind: AofErrorKind::Truncated {
                        expected: "the rest of an argument",
                        at: self.offset + from as u64,
                        wanted: length as u64 + 2,
                    },
                });
            }
            let end = &self.buf[self.start + to..self.start + to + 2];
            if end != b"\r\n" {
                return Err(AofError {
                    offset: self.offset + to as u64,
                    kind: AofErrorKind::Malformed {
                        expected: "the end of an argument (\\r\\n)",
                        found: shown(end),
                    },
                });
            }
            self.ranges.push((from as u32, to as u32));
            at = to + 2;
            self.lines += 1;
        }
        Ok(Item::Command(at))
    }
}

enum Item {
    Command(usize),
    Annotation(usize),
    Eof,
}

/// `#TS:` and a number.
fn is_time_stamp(line: &[u8]) -> bool {
    let number = line.strip_prefix(b"#TS:").and_then(|rest| rest.strip_suffix(b"\r\n"));
    number.and_then(stdx::parse_i64).is_some()
}

/// The beginning of some bytes, for a message.
fn shown(bytes: &[u8]) -> String {
    format!("'{}'", bytes[..bytes.len().min(24)].escape_ascii())
}
