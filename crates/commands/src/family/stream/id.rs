//! Reading IDs: complete, without their second part, open, and the ends of intervals.

use crate::CommandError;
use structures::StreamId;

/// The error for what is no ID.
pub const INVALID: CommandError =
    CommandError::new("ERR Invalid stream ID specified as stream command argument");

/// Longest text that is looked at. Source: redis 7.0 `t_stream.c:streamGenericParseIDOrReply`.
const TEXT_MAX: usize = 127;

/// A number by C's rules for `strtoull`: blanks before it, a sign, leading zeros.
/// Source: redis 7.0 `util.c:string2ull`.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(value) = stdx::parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let start = text.iter().position(|byte| !blank(byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The two parts of an ID; `None` for the second where it is missing.
fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if text.len() > TEXT_MAX {
        return Err(INVALID);
    }
    // Redis reads it as a C string.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((number(ms).ok_or(INVALID)?, seq))
}

/// An ID whose second part may be missing: it is `missing_seq` then.
pub fn strict(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    let (ms, seq) = parts(text)?;
    let seq = match seq {
        Some(seq) => number(seq).ok_or(INVALID)?,
        None => missing_seq,
    };
    Ok(StreamId::new(ms, seq))
}

/// The ID of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: by the clock.
    Auto,
    /// `ms-*`: the next one in this millisecond.
    AutoSeq(u64),
    /// This one.
    Given(StreamId),
}

impl NewId {
    /// Reads the ID argument of XADD.
    pub fn parse(text: &[u8]) -> Result<NewId, CommandError> {
        if text == b"*" {
            return Ok(NewId::Auto);
        }
        match parts(text)? {
            (ms, Some(b"*")) => Ok(NewId::AutoSeq(ms)),
            _ => strict(text, 0).map(NewId::Given),
        }
    }
}

/// Which end of an interval an ID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The lower one; a missing second part is 0.
    Start,
    /// The upper one; a missing second part is the highest.
    Stop,
}

/// An end of an interval: `-`, `+`, an ID, or `(` and an ID that does not belong to it.
/// Source: redis 7.0 `t_stream.c:streamParseIntervalIDOrReply`.
pub fn bound(text: &[u8], end: End) -> Result<StreamId, CommandError> {
    let missing_seq = if end == End::Start { 0 } else { u64::MAX };
    match text {
        b"-" => Ok(StreamId::ZERO),
        b"+" => Ok(StreamId::MAX),
        [b'(', rest @ ..] if !rest.is_empty() => {
            let id = strict(rest, missing_seq)?;
            match end {
                End::Start => {
                    id.next().ok_or(CommandError::new("ERR invalid start ID for the interval"))
                }
                End::Stop => {
                    id.prev().ok_or(CommandError::new("ERR invalid end ID for the interval"))
                }
            }
        }
        _ => strict(text, missing_seq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_c_reads_them() {
        let id = |text: &str| strict(text.as_bytes(), 7).ok();
        for (text, expected) in [
            ("5", Some(StreamId::new(5, 7))),
            ("5-1", Some(StreamId::new(5, 1))),
            ("005-01", Some(StreamId::new(5, 1))),
            ("+5-+1", Some(StreamId::new(5, 1))),
            (" 5", Some(StreamId::new(5, 7))),
            ("5-18446744073709551615", Some(StreamId::new(5, u64::MAX))),
            ("5-18446744073709551616", None),
            ("5--1", None),
            ("5-", None),
            ("-5", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("5-*", None),
            ("5-1-1", None),
        ] {
            assert_eq!(id(text), expected, "{text:?}");
        }
        assert_eq!(NewId::parse(b"5-*"), Ok(NewId::AutoSeq(5)));
        assert_eq!(NewId::parse(b"5-**"), Err(INVALID));
        assert_eq!(bound(b"(5", End::Stop), Ok(StreamId::new(5, u64::MAX - 1)));
        assert!(bound(b"(-", End::Start).is_err() && bound(b"(", End::Start).is_err());
    }
}
