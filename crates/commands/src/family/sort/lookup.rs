//! Values that SORT's patterns name, and texts as the C library sees them.

use keyspace::Keys;
use structures::ValueRef;

/// A text up to its first NUL.
pub fn c_text(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A pattern of BY or GET.
pub enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// A pattern without `*`: names nothing.
    Nothing,
    /// The key is the element between two texts; with a field, the value is that field of a hash.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    /// Parses a pattern. A `*` or an arrow behind a NUL is not seen; what follows the NUL belongs
    /// to the names nevertheless. Source: redis 7.0 `sort.c:lookupKeyByPattern`.
    pub fn new(text: &'a [u8]) -> Pattern<'a> {
        let visible = c_text(text);
        if visible == b"#" {
            return Pattern::Element;
        }
        let Some(star) = visible.iter().position(|byte| *byte == b'*') else {
            return Pattern::Nothing;
        };
        let arrow = visible[star + 1..].windows(2).position(|two| two == b"->");
        // An arrow at the very end is a part of the key's name.
        let arrow = arrow.map(|at| star + 1 + at).filter(|at| at + 2 < visible.len());
        Pattern::Key {
            before: &text[..star],
            after: &text[star + 1..arrow.unwrap_or(text.len())],
            field: arrow.map(|at| &text[at + 2..]),
        }
    }

    /// The value that the pattern names for an element.
    pub fn value(&self, keys: &mut Keys<'_>, element: &[u8]) -> Option<Vec<u8>> {
        let (before, after, field) = match self {
            Pattern::Element => return Some(element.to_vec()),
            Pattern::Nothing => return None,
            Pattern::Key { before, after, field } => (before, after, field),
        };
        let key = [before, element, after].concat();
        let now = keys.fields_now();
        match (keys.value(&key)?, field) {
            (ValueRef::Str(text), None) => Some(text.to_vec()),
            (ValueRef::Hash(hash), Some(field)) => {
                hash.get_at(field, now).map(|value| value.to_vec())
            }
            _ => None,
        }
    }
}

/// A number as `strtod` reads it, up to a NUL: blanks may stand before it, nothing behind it; an
/// empty text is 0. `None` for what is no number, NaN, or beyond the range of a double at either
/// end.
pub fn number_of(text: &[u8]) -> Option<f64> {
    let text = c_text(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let number = stdx::parse_f64(&text[start..])?;
    // Below the smallest normal number digits are lost, which counts as out of range.
    let lost = number != 0.0 && number.abs() < f64::MIN_POSITIVE;
    (!lost).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_strtod() {
        for (text, number) in [
            ("", Some(0.0)),
            (" \t\n12", Some(12.0)),
            ("+1.5e3", Some(1500.0)),
            ("-.5", Some(-0.5)),
            ("0x10", Some(16.0)),
            ("7\0abc", Some(7.0)),
            ("inf", Some(f64::INFINITY)),
            ("1 ", None),
            (" ", None),
            ("abc", None),
            ("nan", None),
            ("1e400", None),
            ("1e-400", None),
            ("5e-324", None),
            ("1_0", None),
        ] {
            assert_eq!(number_of(text.as_bytes()), number, "{text:?}");
        }
    }
}
