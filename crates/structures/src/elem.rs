//! One element of a collection as it is stored: packed containers keep integers as integers.

use stdx::{I64_MAX_LEN, parse_f64, parse_i64, push_i64};

/// An element as stored. `Int` stands for its canonical decimal text; whoever needs text converts
/// it with [`Elem::with`], which does not allocate.
#[derive(Clone, Copy, Debug)]
pub enum Elem<'a> {
    /// The element's bytes.
    Bytes(&'a [u8]),
    /// An element whose text is this integer.
    Int(i64),
}

/// Writes the decimal text of `value` at the end of `buffer` and returns it.
pub(crate) fn int_text(value: i64, buffer: &mut [u8; I64_MAX_LEN]) -> &[u8] {
    let mut at = I64_MAX_LEN;
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

impl<'a> Elem<'a> {
    /// The element's text in a vector of its own.
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Elem::Bytes(bytes) => bytes.to_vec(),
            Elem::Int(_) => self.with(<[u8]>::to_vec),
        }
    }

    /// Appends the element's text.
    pub fn push_to(self, out: &mut Vec<u8>) {
        match self {
            Elem::Bytes(bytes) => out.extend_from_slice(bytes),
            Elem::Int(value) => push_i64(out, value),
        }
    }

    /// Runs `f` on the element's text; an integer is formatted on the stack.
    pub fn with<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Elem::Bytes(bytes) => f(bytes),
            Elem::Int(value) => f(int_text(value, &mut [0; I64_MAX_LEN])),
        }
    }

    /// Whether the element's text is `text`.
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            Elem::Bytes(bytes) => bytes == text,
            Elem::Int(value) => parse_i64(text) == Some(value),
        }
    }

    /// Length of the element's text in bytes.
    pub fn len(self) -> usize {
        match self {
            Elem::Bytes(bytes) => bytes.len(),
            Elem::Int(value) => int_len(value),
        }
    }

    /// Whether the element's text is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element as a double, by Redis's rules for scores; `None` if it is not one.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Elem::Bytes(bytes) => parse_f64(bytes),
            Elem::Int(value) => Some(value as f64),
        }
    }

    /// The element as a canonical integer; `None` if it is not one.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Elem::Bytes(bytes) => parse_i64(bytes),
            Elem::Int(value) => Some(value),
        }
    }

    /// Compares the texts byte by byte.
    pub fn cmp_bytes(self, text: &[u8]) -> std::cmp::Ordering {
        self.with(|own| own.cmp(text))
    }
}

/// Length of the decimal text of `value`.
pub(crate) fn int_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

impl PartialEq for Elem<'_> {
    /// Equal when the texts are equal, however they are stored.
    fn eq(&self, other: &Elem<'_>) -> bool {
        match (*self, *other) {
            (Elem::Int(a), Elem::Int(b)) => a == b,
            (a, Elem::Bytes(b)) => a.eq_bytes(b),
            (Elem::Bytes(a), b) => b.eq_bytes(a),
        }
    }
}

impl Eq for Elem<'_> {}

impl<'a> From<&'a [u8]> for Elem<'a> {
    fn from(bytes: &'a [u8]) -> Elem<'a> {
        Elem::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Elem<'a> {
    fn from(bytes: &'a Vec<u8>) -> Elem<'a> {
        Elem::Bytes(bytes)
    }
}

impl From<i64> for Elem<'_> {
    fn from(value: i64) -> Self {
        Elem::Int(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stand_for_their_text() {
        for value in [0, 7, -7, 10, 99, 100, i64::MAX, i64::MIN] {
            let text = value.to_string().into_bytes();
            let elem = Elem::Int(value);
            assert_eq!(elem.to_vec(), text);
            assert_eq!(elem.len(), text.len());
            assert!(elem.eq_bytes(&text));
            assert_eq!(elem, Elem::Bytes(&text));
            assert_eq!(Elem::Bytes(&text).as_i64(), Some(value));
            let mut out = vec![b'x'];
            elem.push_to(&mut out);
            assert_eq!(&out[1..], text);
        }
        assert!(!Elem::Int(1).eq_bytes(b"01"));
        assert_ne!(Elem::Bytes(b"01"), Elem::Int(1));
        assert_eq!(Elem::Bytes(b"1.5").as_f64(), Some(1.5));
    }
}
