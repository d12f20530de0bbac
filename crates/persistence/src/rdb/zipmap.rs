//! Reading zipmaps, the small hashes of Redis before 2.6.
//!
//! Bytes: count of pairs (254 and above: unknown), then per pair the field's length and bytes, the
//! value's length, one byte with the number of unused bytes, the value and the unused bytes; `FF`.
//! A length is one byte below 254, or 254 and u32 little-endian.
//!
//! Source: redis 7.0 `zipmap.c:zipmapValidateIntegrity`.

use super::error::PackedError;

/// Calls `each` for every field and value. Returns the number of pairs.
pub(crate) fn for_each<'a, E: From<PackedError>>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let wrong = |at, expected| PackedError { at, expected };
    if bytes.len() < 2 {
        return Err(wrong(0, "a zipmap of at least two bytes").into());
    }
    if bytes[bytes.len() - 1] != 0xff {
        return Err(wrong(bytes.len() - 1, "the end byte of a zipmap").into());
    }
    let body = &bytes[..bytes.len() - 1];
    let (mut at, mut count) = (1, 0);
    while at < body.len() {
        let (field, next) = piece(body, at, false).ok_or(wrong(at, "a whole zipmap field"))?;
        let (value, next) = piece(body, next, true).ok_or(wrong(next, "a whole zipmap value"))?;
        at = next;
        count += 1;
        each(field, value)?;
    }
    if bytes[0] < 254 && usize::from(bytes[0]) != count {
        return Err(wrong(0, "the true number of zipmap pairs").into());
    }
    Ok(count)
}

/// The field or value at `at` and the place behind it; a value has a byte for unused space.
fn piece(body: &[u8], at: usize, is_value: bool) -> Option<(&[u8], usize)> {
    let (len, mut at) = match *body.get(at)? {
        254 => (u32::from_le_bytes(body.get(at + 1..at + 5)?.try_into().ok()?) as usize, at + 5),
        255 => return None,
        len => (usize::from(len), at + 1),
    };
    let mut unused = 0;
    if is_value {
        unused = usize::from(*body.get(at)?);
        at += 1;
    }
    let end = at.checked_add(len)?;
    let next = end.checked_add(unused)?;
    (next <= body.len()).then(|| (&body[at..end], next))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(bytes: &[u8]) -> Result<Pairs, PackedError> {
        let mut out = Vec::new();
        for_each(bytes, |f, v| {
            out.push((f.to_vec(), v.to_vec()));
            Ok::<(), PackedError>(())
        })?;
        Ok(out)
    }

    #[test]
    fn pairs_with_unused_bytes_and_long_lengths() {
        let good = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world\0\0\xff";
        let pairs = read(good).unwrap();
        assert_eq!(pairs[0], (b"foo".to_vec(), b"bar".to_vec()));
        assert_eq!(pairs[1], (b"hello".to_vec(), b"world".to_vec()));
        let mut long = b"\xfe\x01f\xfe\x2c\x01\0\0\0".to_vec();
        long.extend_from_slice(&[b'v'; 300]);
        long.push(0xff);
        assert_eq!(read(&long).unwrap(), [(b"f".to_vec(), vec![b'v'; 300])]);
        assert_eq!(read(b"\0\xff").unwrap(), []);
    }

    #[test]
    fn damage_is_found() {
        let good = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world\0\0\xff";
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_err());
        }
        for (at, to) in [(0, 1), (0, 3), (1, 4), (5, 200), (6, 9), (1, 255), (1, 254)] {
            let mut bad = good.to_vec();
            bad[at] = to;
            assert!(read(&bad).is_err(), "{at} {to}");
        }
    }
}
