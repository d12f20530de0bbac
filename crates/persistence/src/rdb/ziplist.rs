//! Reading ziplists, the packed container of Redis before 7.0. They are never kept: every element
//! is handed to the caller, who builds today's container.
//!
//! Bytes, little-endian: u32 total, u32 offset of the last entry, u16 count (65535: unknown),
//! entries, `FF`. An entry: length of the previous entry (1 byte, or `FE` and u32), then its
//! encoding and data.
//!
//! Source: redis 7.0 `ziplist.c:ziplistValidateIntegrity`, whose deep form this equals.

use structures::Elem;

use super::error::PackedError;

const HEADER: usize = 10;

/// Calls `each` for every element from head to tail, after checking all that surrounds it.
/// Returns the number of elements.
pub(crate) fn for_each<'a, E: From<PackedError>>(
    bytes: &'a [u8],
    mut each: impl FnMut(Elem<'a>) -> Result<(), E>,
) -> Result<usize, E> {
    let wrong = |at, expected| PackedError { at, expected };
    if bytes.len() <= HEADER || u32_at(bytes, 0) as usize != bytes.len() {
        return Err(wrong(0, "a ziplist of its own announced size").into());
    }
    let tail = u32_at(bytes, 4) as usize;
    let announced = u16::from_le_bytes([bytes[8], bytes[9]]);
    let end = bytes.len() - 1;
    if bytes[end] != 0xff {
        return Err(wrong(end, "the end byte of a ziplist").into());
    }
    let (mut at, mut previous, mut count) = (HEADER, 0, 0);
    let mut last = HEADER;
    while at < end {
        let body = &bytes[at..end];
        let (prev_len, prev_size) = match body {
            [0xff, ..] => return Err(wrong(at, "a ziplist entry").into()),
            [0xfe, rest @ ..] if rest.len() >= 4 => (u32_at(rest, 0) as usize, 5),
            [n, ..] if *n < 0xfe => (usize::from(*n), 1),
            _ => return Err(wrong(at, "the length of the previous ziplist entry").into()),
        };
        if prev_len != previous {
            return Err(wrong(at, "the true length of the previous ziplist entry").into());
        }
        let (elem, size) = entry(&body[prev_size..]).ok_or(wrong(at, "a whole ziplist entry"))?;
        last = at;
        previous = prev_size + size;
        at += previous;
        count += 1;
        each(elem)?;
    }
    if announced != u16::MAX && usize::from(announced) != count {
        return Err(wrong(8, "the true number of ziplist entries").into());
    }
    if tail != last {
        return Err(wrong(4, "the true offset of the last ziplist entry").into());
    }
    Ok(count)
}

/// The element at the beginning of `body` and the size of its encoding and data.
fn entry(body: &[u8]) -> Option<(Elem<'_>, usize)> {
    let (&lead, rest) = body.split_first()?;
    let text = |skip: usize, len: usize| {
        Some((Elem::Bytes(rest.get(skip..skip.checked_add(len)?)?), 1 + skip + len))
    };
    let int = |value: i64, size: usize| Some((Elem::Int(value), 1 + size));
    match lead {
        0x00..=0x3f => text(0, usize::from(lead)),
        0x40..=0x7f => text(1, usize::from(lead & 0x3f) << 8 | usize::from(*rest.first()?)),
        0x80 => text(4, u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize),
        0xc0 => int(i16::from_le_bytes(rest.get(..2)?.try_into().ok()?).into(), 2),
        0xd0 => int(i32::from_le_bytes(rest.get(..4)?.try_into().ok()?).into(), 4),
        0xe0 => int(i64::from_le_bytes(rest.get(..8)?.try_into().ok()?), 8),
        0xf0 => {
            let b = rest.get(..3)?;
            int((i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8).into(), 3)
        }
        0xfe => int((*rest.first()? as i8).into(), 1),
        0xf1..=0xfd => int(i64::from(lead & 0x0f) - 1, 0),
        _ => None,
    }
}

/// The caller has checked that four bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackedError> {
        let mut out = Vec::new();
        let count = for_each(bytes, |e| {
            out.push(e.to_vec());
            Ok::<(), PackedError>(())
        })?;
        assert_eq!(count, out.len());
        Ok(out)
    }

    /// Every encoding once, laid out by hand.
    fn sample() -> (Vec<u8>, Vec<Vec<u8>>) {
        let long = vec![b'l'; 300];
        let bodies: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (b"\x03abc".to_vec(), b"abc".to_vec()),
            (vec![0x00], vec![]),
            ([&[0x41, 0x2c][..], &long].concat(), long.clone()),
            ([&[0x80, 0, 0, 1, 0x2c][..], &long].concat(), long),
            (vec![0xc0, 0x39, 0x30], b"12345".to_vec()),
            (vec![0xd0, 0xff, 0xff, 0xff, 0xff], b"-1".to_vec()),
            (vec![0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80], i64::MIN.to_string().into_bytes()),
            (vec![0xf0, 0, 0, 0x80], b"-8388608".to_vec()),
            (vec![0xfe, 0x80], b"-128".to_vec()),
            (vec![0xf1], b"0".to_vec()),
            (vec![0xfd], b"12".to_vec()),
        ];
        let (mut out, mut previous, mut tail) = (vec![0; 10], 0usize, 10);
        for (body, _) in &bodies {
            tail = out.len();
            if previous < 254 {
                out.push(previous as u8);
            } else {
                out.push(0xfe);
                out.extend_from_slice(&(previous as u32).to_le_bytes());
            }
            out.extend_from_slice(body);
            previous = out.len() - tail;
        }
        out.push(0xff);
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_le_bytes());
        out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        out[8..10].copy_from_slice(&(bodies.len() as u16).to_le_bytes());
        (out, bodies.into_iter().map(|b| b.1).collect())
    }

    #[test]
    fn every_encoding() {
        let (mut bytes, elements) = sample();
        assert_eq!(read(&bytes).unwrap(), elements);
        bytes[8..10].copy_from_slice(&[0xff, 0xff]); // Count unknown.
        assert_eq!(read(&bytes).unwrap(), elements);
        assert_eq!(read(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn every_damage_is_found_or_harmless() {
        let (bytes, elements) = sample();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err());
        }
        for at in 0..10 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "header byte {at}");
        }
        let mut changed = 0;
        for at in 10..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                if let Ok(read) = read(&bad) {
                    changed += usize::from(read != elements);
                }
            }
        }
        assert!(changed > 600, "flips inside texts change only the texts");
    }
}
