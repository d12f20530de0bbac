//! Reading an RDB front to back, one event at a time.
//!
//! The reader pulls from a `Read` and lends what it found: texts lie in its buffers until the next
//! call. The caller decides what the events do; the reader keeps no database.
//!
//! Left to the caller, who knows the configuration: whether a database number exists, whether a
//! key occurs twice, whether it has expired.
//!
//! Source: redis 7.0 `rdb.c:rdbLoadRioWithLoadingCtx`.

use std::io::Read;

use super::codes::*;
use super::decode::{DecodeOptions, Decoded, Loaded, Scratch, decode_value};
use super::error::{RdbError, RdbErrorKind};
use super::source::Source;

/// How an RDB is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How values are built.
    pub decode: DecodeOptions,
    /// Compare the checksum at the end (`rdbchecksum`); one of zero is never compared.
    pub checksum: bool,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { decode: DecodeOptions::default(), checksum: true }
    }
}

/// One key with everything that was stored about it.
pub struct KeyRecord<'a> {
    /// Its name.
    pub key: &'a [u8],
    /// Its value.
    pub value: Loaded<'a>,
    /// When it expires, in milliseconds of Unix time; may be in the past.
    pub expire_at: Option<i64>,
    /// Seconds since the last access when the file was written.
    pub idle: Option<u64>,
    /// Logarithmic access counter.
    pub freq: Option<u8>,
}

/// What an RDB tells, in its order.
pub enum Event<'a> {
    /// A field of information about the file; unknown names are to be ignored.
    Aux {
        /// Its name, such as `redis-ver`.
        name: &'a [u8],
        /// Its value; numbers as decimal text.
        value: &'a [u8],
    },
    /// The following keys belong to this database. Before the first one it is database 0.
    SelectDb(u64),
    /// The numbers of keys, and of keys with an expiry, that follow in this database. A hint.
    ResizeDb {
        /// All keys.
        keys: u64,
        /// Those with an expiry.
        expires: u64,
    },
    /// The numbers of keys of a cluster slot. A hint.
    SlotInfo {
        /// The slot.
        slot: u64,
        /// Its keys.
        keys: u64,
        /// Those with an expiry.
        expires: u64,
    },
    /// A key.
    Key(KeyRecord<'a>),
    /// A key whose collection has no elements. Redis drops it, counts it and logs it.
    EmptyKey {
        /// Its name.
        key: &'a [u8],
        /// The number of its type, see [`super::type_name`].
        code: u8,
    },
    /// The source of a functions library.
    Function(&'a [u8]),
    /// The end. `checksum` is the one that was compared, `None` if none was.
    Eof {
        /// The verified checksum.
        checksum: Option<u64>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Body,
    Done { checksum: Option<u64> },
    Failed,
}

/// Reads one RDB from `R`.
pub struct RdbReader<R> {
    parser: Parser<R>,
    state: State,
}

/// Everything that an event may borrow from.
struct Parser<R> {
    src: Source<R>,
    key: Vec<u8>,
    scratch: Scratch,
    options: ReadOptions,
    version: u32,
}

impl<R: Read> RdbReader<R> {
    /// A reader at the beginning of an RDB. Reads nothing yet.
    pub fn new(input: R, options: ReadOptions) -> RdbReader<R> {
        let parser = Parser {
            src: Source::new(input, options.checksum),
            key: Vec::new(),
            scratch: Scratch::default(),
            options,
            version: 0,
        };
        RdbReader { parser, state: State::Start }
    }

    /// The file's version; `None` before the header has been read.
    pub fn version(&self) -> Option<u32> {
        (self.parser.version > 0).then_some(self.parser.version)
    }

    /// Bytes taken in so far.
    pub fn offset(&self) -> u64 {
        self.parser.src.offset()
    }

    /// The input, and the bytes behind what was taken in that were read from it already: what
    /// follows the RDB in the same file (an append-only file's commands).
    pub fn into_parts(self) -> (R, Vec<u8>) {
        self.parser.src.into_parts()
    }

    /// Reads and checks the header, if that has not been done. Returns the version.
    pub fn read_header(&mut self) -> Result<u32, RdbError> {
        if self.state == State::Start {
            self.state = State::Failed;
            self.parser.header()?;
            self.state = State::Body;
        }
        Ok(self.parser.version)
    }

    /// The next event. After the end, the end again.
    #[inline]
    pub fn next_event(&mut self) -> Result<Event<'_>, RdbError> {
        match self.state {
            State::Body => {}
            State::Start => {
                self.read_header()?;
            }
            State::Done { checksum } => return Ok(Event::Eof { checksum }),
            State::Failed => {
                let at = self.parser.src.offset();
                return Err(RdbError::malformed(at, "no reading on after an error", "a call"));
            }
        }
        let state = &mut self.state;
        let event = self.parser.next_event();
        match &event {
            Ok(Event::Eof { checksum }) => *state = State::Done { checksum: *checksum },
            Ok(_) => {}
            Err(_) => *state = State::Failed,
        }
        event
    }
}

impl<R: Read> Parser<R> {
    fn header(&mut self) -> Result<(), RdbError> {
        let found: [u8; 9] = self.src.array()?;
        let digits = &found[5..];
        if &found[..5] != MAGIC || !digits.iter().all(u8::is_ascii_digit) {
            return Err(RdbError::new(0, RdbErrorKind::BadMagic { found: found.to_vec() }));
        }
        let version = digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
        if !(1..=VERSION_READ_MAX).contains(&version) {
            let kind = RdbErrorKind::BadVersion { found: version, max: VERSION_READ_MAX };
            return Err(RdbError::new(5, kind));
        }
        self.version = version;
        Ok(())
    }

    #[inline]
    fn next_event(&mut self) -> Result<Event<'_>, RdbError> {
        let (mut expire_at, mut idle, mut freq) = (None, None, None);
        loop {
            let code = self.src.byte()?;
            match code {
                // -1 is how Redis writes no expiry in memory; it reads it as none, too.
                OP_EXPIRETIME_MS => {
                    expire_at = Some(i64::from_le_bytes(self.src.array()?)).filter(|&at| at != -1);
                }
                OP_EXPIRETIME => {
                    let seconds = i32::from_le_bytes(self.src.array()?);
                    expire_at = Some(i64::from(seconds) * 1000);
                }
                OP_IDLE => idle = Some(self.src.length()?),
                OP_FREQ => freq = Some(self.src.byte()?),
                OP_MODULE_AUX => self.skip_module_aux()?,
                0..=TYPE_HASH_LISTPACK_EX => {
                    self.key.clear();
                    self.src.string_into(&mut self.key)?;
                    return self.key_event(code, expire_at, idle, freq);
                }
                _ => return self.other_event(code),
            }
        }
    }

    #[inline]
    fn key_event(
        &mut self,
        code: u8,
        expire_at: Option<i64>,
        idle: Option<u64>,
        freq: Option<u8>,
    ) -> Result<Event<'_>, RdbError> {
        let key = &self.key;
        match decode_value(&mut self.src, code, &mut self.scratch, &self.options.decode) {
            Ok(Decoded::Loaded(value)) => {
                Ok(Event::Key(KeyRecord { key, value, expire_at, idle, freq }))
            }
            Ok(Decoded::Empty) => Ok(Event::EmptyKey { key, code }),
            Err(error) => Err(error.in_key(key)),
        }
    }

    fn other_event(&mut self, code: u8) -> Result<Event<'_>, RdbError> {
        match code {
            OP_AUX => {
                let Scratch { first, second } = &mut self.scratch;
                first.clear();
                self.src.string_into(first)?;
                Ok(Event::Aux { name: first, value: self.src.string(second)? })
            }
            OP_SELECTDB => Ok(Event::SelectDb(self.src.length()?)),
            OP_RESIZEDB => {
                let keys = self.src.length()?;
                Ok(Event::ResizeDb { keys, expires: self.src.length()? })
            }
            OP_SLOT_INFO => {
                let (slot, keys) = (self.src.length()?, self.src.length()?);
                Ok(Event::SlotInfo { slot, keys, expires: self.src.length()? })
            }
            OP_FUNCTION2 => Ok(Event::Function(self.src.string(&mut self.scratch.first)?)),
            OP_EOF => self.eof(),
            OP_FUNCTION_PRE_GA => Err(self.malformed("a released functions format", code)),
            _ => Err(self.malformed("an RDB opcode or value type", code)),
        }
    }

    fn malformed(&self, expected: &'static str, code: u8) -> RdbError {
        RdbError::malformed(self.src.offset() - 1, expected, format!("byte {code:#04x}"))
    }

    fn eof(&mut self) -> Result<Event<'static>, RdbError> {
        let expected = self.src.checksum();
        if self.version < VERSION_CHECKSUM {
            return Ok(Event::Eof { checksum: None });
        }
        let at = self.src.offset();
        let found = u64::from_le_bytes(self.src.array()?);
        match expected {
            Some(expected) if found != 0 => {
                if found != expected {
                    let kind = RdbErrorKind::ChecksumMismatch { expected, found };
                    return Err(RdbError::new(at, kind));
                }
                Ok(Event::Eof { checksum: Some(found) })
            }
            _ => Ok(Event::Eof { checksum: None }),
        }
    }

    /// Passes over what a module stored beside the keys: its id, when it wants the data, and items
    /// that say their own kind.
    fn skip_module_aux(&mut self) -> Result<(), RdbError> {
        const ITEM_END: u64 = 0;
        const ITEM_SIGNED: u64 = 1;
        const ITEM_UNSIGNED: u64 = 2;
        const ITEM_FLOAT: u64 = 3;
        const ITEM_DOUBLE: u64 = 4;
        const ITEM_STRING: u64 = 5;
        self.src.length()?;
        let at = self.src.offset();
        let item = self.src.length()?;
        if item != ITEM_UNSIGNED {
            return Err(RdbError::malformed(at, "a module's 'when' item", item.to_string()));
        }
        self.src.length()?;
        loop {
            let at = self.src.offset();
            match self.src.length()? {
                ITEM_END => return Ok(()),
                ITEM_SIGNED | ITEM_UNSIGNED => {
                    self.src.length()?;
                }
                ITEM_FLOAT => self.src.skip(4)?,
                ITEM_DOUBLE => self.src.skip(8)?,
                ITEM_STRING => self.src.skip_string()?,
                other => {
                    return Err(RdbError::malformed(at, "a module item", other.to_string()));
                }
            }
        }
    }
}
