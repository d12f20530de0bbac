//! `DUMP` and `RESTORE` payloads: a type and a value (or functions libraries) and a footer of two
//! bytes of RDB version and eight bytes of checksum over all before.
//!
//! Payloads are written with version 10 unless asked otherwise, so that Redis 7.0 takes them; those of
//! hashes whose fields have times with version 12, since nothing earlier holds them.
//!
//! Source: redis 7.0 `cluster.c:createDumpPayload`, `verifyDumpPayload`, `restoreCommand`;
//! `functions.c:functionDumpCommand`, `functionRestoreCommand`.

use std::fmt;

use structures::{Value, ValueRef};

use crate::crc64::crc64;
use crate::rdb::{
    DecodeOptions, Decoded, EncodeOptions, OP_FUNCTION_PRE_GA, OP_FUNCTION2, RdbError, Scratch,
    Source, VERSION_READ_MAX, decode_value, encode_value, push_string, version_for,
};

/// Two bytes of version, eight of checksum.
const FOOTER: usize = 10;

/// Why a payload is not taken. Displays as the error reply, without `-`.
#[derive(Debug)]
pub enum RestoreError {
    /// Too short, of a later version, or damaged.
    VersionOrChecksum,
    /// Checksum and version are right, the value is not. `None`: a collection without elements.
    BadData(Option<RdbError>),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestoreError::VersionOrChecksum => "ERR DUMP payload version or checksum are wrong",
            RestoreError::BadData(_) => "ERR Bad data format",
        })
    }
}

impl std::error::Error for RestoreError {}

/// The payload of `DUMP` for a value.
pub fn dump_payload(value: ValueRef<'_>, options: &EncodeOptions) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(&mut out, value, options);
    push_footer(&mut out, options.version.max(version_for(value)));
    out
}

/// The value in a payload of `RESTORE`. Bytes between the value and the footer are ignored, as
/// Redis does.
pub fn restore_payload(payload: &[u8], options: &DecodeOptions) -> Result<Value, RestoreError> {
    let body = verify_footer(payload).ok_or(RestoreError::VersionOrChecksum)?;
    let bad = |error| RestoreError::BadData(Some(error));
    let mut src = Source::from_bytes(body);
    let code = src.byte().map_err(bad)?;
    let mut scratch = Scratch::default();
    match decode_value(&mut src, code, &mut scratch, options).map_err(bad)? {
        Decoded::Loaded(value) => Ok(value.into_value()),
        Decoded::Empty => Err(RestoreError::BadData(None)),
    }
}

/// The payload of `FUNCTION DUMP`: the sources of all libraries.
pub fn function_dump_payload<'a>(
    libraries: impl IntoIterator<Item = &'a [u8]>,
    options: &EncodeOptions,
) -> Vec<u8> {
    let mut out = Vec::new();
    for code in libraries {
        out.push(OP_FUNCTION2);
        push_string(&mut out, code, options.compress);
    }
    push_footer(&mut out, options.version);
    out
}

/// Why a payload of `FUNCTION RESTORE` is not taken. Displays as the error reply, without `-`.
#[derive(Debug)]
pub enum FunctionRestoreError {
    /// Too short, of a later version, or damaged.
    VersionOrChecksum,
    /// A library in the form of a release candidate of Redis 7.0.
    PreGa,
    /// Something else than a library.
    NotAFunction,
    /// A library can't be read.
    BadData(RdbError),
}

impl fmt::Display for FunctionRestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FunctionRestoreError::VersionOrChecksum => {
                "ERR DUMP payload version or checksum are wrong"
            }
            FunctionRestoreError::PreGa => "ERR Pre-GA function format not supported",
            FunctionRestoreError::NotAFunction => "ERR given type is not a function",
            FunctionRestoreError::BadData(_) => "ERR Failed loading library payload",
        })
    }
}

impl std::error::Error for FunctionRestoreError {}

/// The sources of the libraries in a payload of `FUNCTION RESTORE`.
pub fn function_restore_payload(payload: &[u8]) -> Result<Vec<Vec<u8>>, FunctionRestoreError> {
    let body = verify_footer(payload).ok_or(FunctionRestoreError::VersionOrChecksum)?;
    let mut src = Source::from_bytes(body);
    let mut libraries = Vec::new();
    while src.remaining() > 0 {
        match src.byte().map_err(FunctionRestoreError::BadData)? {
            OP_FUNCTION2 => {}
            OP_FUNCTION_PRE_GA => return Err(FunctionRestoreError::PreGa),
            _ => return Err(FunctionRestoreError::NotAFunction),
        }
        let mut code = Vec::new();
        src.string_into(&mut code).map_err(FunctionRestoreError::BadData)?;
        libraries.push(code);
    }
    Ok(libraries)
}

fn push_footer(out: &mut Vec<u8>, version: u32) {
    // Versions that are written have two digits.
    out.extend_from_slice(&(version as u16).to_le_bytes());
    let crc = crc64(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What stands before the footer, if the footer is right.
fn verify_footer(payload: &[u8]) -> Option<&[u8]> {
    let (rest, crc) = payload.split_last_chunk::<8>()?;
    let (body, version) = rest.split_last_chunk::<2>()?;
    debug_assert_eq!(body.len() + FOOTER, payload.len());
    (u32::from(u16::from_le_bytes(*version)) <= VERSION_READ_MAX
        && crc64(rest) == u64::from_le_bytes(*crc))
    .then_some(body)
}
