//! How the ends of ranges of scores and names are written.

use crate::CommandError;
use stdx::parse_f64;
use structures::{LexBound, LexRange, ScoreRange};

/// A range of scores, `min` and `max` each with `(` before them if they are excluded.
/// Source: redis 7.0 `t_zset.c:zslParseRange`.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    const ERROR: CommandError = CommandError::new("ERR min or max is not a float");
    let (min, min_excl) = score_bound(min).ok_or(ERROR)?;
    let (max, max_excl) = score_bound(max).ok_or(ERROR)?;
    Ok(ScoreRange { min, min_excl, max, max_excl })
}

fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    match text {
        [b'(', rest @ ..] => Some((loose_f64(rest)?, true)),
        _ => Some((loose_f64(text)?, false)),
    }
}

/// A double by the looser rules for bounds, which are those of C's `strtod` on a C string: nothing
/// at all is 0, blanks may come before the number, too big and too small ones become infinite and
/// 0, and what follows a zero byte is not seen. Never NaN.
fn loose_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_f64(text) {
        return Some(value);
    }
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let blank = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|b| !blank(b))?;
    let text = &text[start..];
    // Decimal numbers beyond the range of a double, which the strict rules refuse.
    parse_f64(text).or_else(|| {
        let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        (!value.is_nan()).then_some(value)
    })
}

/// A range of members. Source: redis 7.0 `t_zset.c:zslParseLexRange`.
pub(super) fn lex_range(min: &[u8], max: &[u8]) -> Result<LexRange, CommandError> {
    const ERROR: CommandError = CommandError::new("ERR min or max not valid string range item");
    let min = lex_bound(min).ok_or(ERROR)?;
    let max = lex_bound(max).ok_or(ERROR)?;
    Ok(LexRange { min, max })
}

fn lex_bound(text: &[u8]) -> Option<LexBound> {
    match text {
        b"-" => Some(LexBound::NegInf),
        b"+" => Some(LexBound::PosInf),
        [b'[', rest @ ..] => Some(LexBound::Incl(rest.to_vec())),
        [b'(', rest @ ..] => Some(LexBound::Excl(rest.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bounds_follow_strtod() {
        for (text, expected) in [
            ("1", Some((1.0, false))),
            ("(1", Some((1.0, true))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            (" \t1", Some((1.0, false))),
            ("1\0x", Some((1.0, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("+inf", Some((f64::INFINITY, false))),
            ("0x10", Some((16.0, false))),
            (" ", None),
            ("1 ", None),
            ("nan", None),
            (" nan", None),
            ("((1", None),
            ("[1", None),
            ("x", None),
        ] {
            assert_eq!(score_bound(text.as_bytes()), expected, "{text:?}");
        }
    }
}
