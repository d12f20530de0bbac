//! What can be wrong with an RDB file or payload, with the place.

use std::{fmt, io};

use super::codes::type_name;

/// Why reading stopped. Small, as it travels in every return value; the details are boxed.
#[derive(Debug)]
pub struct RdbError(Box<Details>);

#[derive(Debug)]
struct Details {
    offset: u64,
    key: Option<Vec<u8>>,
    kind: RdbErrorKind,
}

/// The kinds of [`RdbError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RdbErrorKind {
    /// The input itself failed.
    Io(io::Error),
    /// The input ended with this many bytes still needed.
    UnexpectedEof {
        /// Bytes wanted beyond the end; at least 1.
        missing: u64,
    },
    /// The file does not begin with `REDIS` and four digits.
    BadMagic {
        /// What it begins with.
        found: Vec<u8>,
    },
    /// The file's version is 0 or later than what is accepted.
    BadVersion {
        /// The file's version.
        found: u32,
        /// The highest accepted one.
        max: u32,
    },
    /// The checksum at the end is not that of the bytes.
    ChecksumMismatch {
        /// Computed from the bytes.
        expected: u64,
        /// Stored in the file.
        found: u64,
    },
    /// A value of a type that exists in Redis but is not supported here.
    UnsupportedType {
        /// Its number.
        code: u8,
    },
    /// An element that was stored by itself occurs twice in a collection that can't hold it twice.
    /// (Inside a packed container that is [`RdbErrorKind::Malformed`].)
    DuplicateElement {
        /// The number of the value's type.
        code: u8,
    },
    /// Bytes that no version of Redis writes at this place.
    Malformed {
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
}

impl RdbError {
    pub(crate) fn new(offset: u64, kind: RdbErrorKind) -> RdbError {
        RdbError(Box::new(Details { offset, key: None, kind }))
    }

    pub(crate) fn malformed(
        offset: u64,
        expected: &'static str,
        found: impl Into<String>,
    ) -> RdbError {
        RdbError::new(offset, RdbErrorKind::Malformed { expected, found: found.into() })
    }

    /// Names the key whose value was being read.
    pub(crate) fn in_key(mut self, key: &[u8]) -> RdbError {
        self.0.key = Some(key.to_vec());
        self
    }

    /// Byte offset in the file or payload, at or shortly before the trouble.
    pub fn offset(&self) -> u64 {
        self.0.offset
    }

    /// The key whose value was being read, if one was.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }

    /// What is wrong.
    pub fn kind(&self) -> &RdbErrorKind {
        &self.0.kind
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            RdbErrorKind::Io(error) => write!(f, "read error: {error}")?,
            RdbErrorKind::UnexpectedEof { missing } => {
                write!(f, "unexpected end: {missing} more bytes expected, found none")?;
            }
            RdbErrorKind::BadMagic { found } => {
                let found = found.escape_ascii();
                write!(f, "wrong signature: expected 'REDIS' and a version, found '{found}'")?;
            }
            RdbErrorKind::BadVersion { found, max } => {
                write!(f, "Can't handle RDB format version {found}: expected 1 to {max}")?;
            }
            RdbErrorKind::ChecksumMismatch { expected, found } => {
                write!(f, "wrong checksum: expected {expected:016x}, found {found:016x}")?;
            }
            RdbErrorKind::UnsupportedType { code } => {
                write!(f, "unsupported type {code} ({})", type_name(*code).unwrap_or("unknown"))?;
            }
            RdbErrorKind::DuplicateElement { code } => {
                let name = type_name(*code).unwrap_or("unknown");
                write!(f, "expected distinct elements, found a duplicate (type {code}, {name})")?;
            }
            RdbErrorKind::Malformed { expected, found } => {
                write!(f, "expected {expected}, found {found}")?;
            }
        }
        write!(f, " at offset {}", self.0.offset)?;
        if let Some(key) = &self.0.key {
            write!(f, ", key '{}'", key.escape_ascii())?;
        }
        Ok(())
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            RdbErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// What is wrong inside a packed container, by offset from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedError {
    pub(crate) at: usize,
    pub(crate) expected: &'static str,
}
