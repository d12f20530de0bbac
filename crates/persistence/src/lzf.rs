//! LZF, the compression inside RDB strings.
//!
//! A stream is a row of controls. A control byte below 32 announces that many plus one literal
//! bytes. Any other names a copy from what was already put out: the top three bits are the length
//! (7: one more length byte follows), the low five and the next byte the distance.
//!
//! The compressor is greedy with one candidate per hash of three bytes, as liblzf's is. Its table
//! lives on the stack and its size follows the input, so that a value of thirty bytes does not pay
//! for clearing a table meant for megabytes. Rejected: a table kept between calls (state that
//! every caller would have to carry); output identical to liblzf's (no reader can tell).
//!
//! Source: format of liblzf as redis 7.0 `rdb.c:rdbSaveLzfStringObject` stores it.

/// The longest run of literal bytes after one control.
const LITERALS_MAX: usize = 32;
/// The longest distance of a copy.
const DISTANCE_MAX: usize = 1 << 13;
/// The shortest and the longest copy.
const COPY_MIN: usize = 3;
const COPY_MAX: usize = 264;

/// Appends the compressed form of `input` to `out` if it takes at most `max` bytes. Otherwise
/// leaves `out` as it was and returns false.
///
/// Pieces compressed one after the other into the same `out` form one valid stream of the
/// concatenated input.
pub fn compress(input: &[u8], out: &mut Vec<u8>, max: usize) -> bool {
    let start = out.len();
    let fits = if input.len() <= 512 {
        compress_with::<u16, 512>(input, out, max)
    } else if input.len() <= 8192 {
        compress_with::<u16, 4096>(input, out, max)
    } else {
        compress_with::<u32, 8192>(input, out, max)
    };
    if !fits {
        out.truncate(start);
    }
    fits
}

/// An input position as the table stores it.
trait Position: Copy + Default {
    fn store(at: usize) -> Self;
    fn load(self) -> usize;
}

impl Position for u16 {
    fn store(at: usize) -> u16 {
        at as u16 // Inputs for this table are shorter than 64 KiB.
    }
    fn load(self) -> usize {
        usize::from(self)
    }
}

impl Position for u32 {
    /// Positions beyond 4 GiB wrap; the candidate check makes that a missed copy, not an error.
    fn store(at: usize) -> u32 {
        at as u32
    }
    fn load(self) -> usize {
        self as usize
    }
}

fn compress_with<P: Position, const SLOTS: usize>(
    input: &[u8],
    out: &mut Vec<u8>,
    max: usize,
) -> bool {
    // An empty slot reads as position 0, a candidate like any other: it is compared before use.
    let mut table = [P::default(); SLOTS];
    let shift = 32 - SLOTS.trailing_zeros();
    let limit = out.len().saturating_add(max);
    let (mut at, mut literals_from) = (0, 0);
    while at + COPY_MIN <= input.len() {
        let word = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let slot = &mut table[(word.wrapping_mul(0x9e37_79b1) >> shift) as usize];
        let candidate = slot.load();
        *slot = P::store(at);
        let distance = at.wrapping_sub(candidate);
        if distance.wrapping_sub(1) >= DISTANCE_MAX
            || input[candidate..candidate + COPY_MIN] != input[at..at + COPY_MIN]
        {
            at += 1;
            continue;
        }
        let longest = COPY_MAX.min(input.len() - at);
        let same = COPY_MIN
            + input[candidate + COPY_MIN..]
                .iter()
                .zip(&input[at + COPY_MIN..at + longest])
                .take_while(|(a, b)| a == b)
                .count();
        push_literals(out, &input[literals_from..at]);
        push_copy(out, distance, same);
        if out.len() > limit {
            return false;
        }
        at += same;
        literals_from = at;
    }
    push_literals(out, &input[literals_from..]);
    out.len() <= limit
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, distance: usize, len: usize) {
    let (distance, len) = (distance - 1, len - 2);
    let high = (distance >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
    }
    out.push(distance as u8);
}

/// What is wrong with a compressed stream, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LzfError {
    /// Byte offset in the compressed input.
    pub at: usize,
    /// What the stream should have held there.
    pub expected: &'static str,
}

/// The most bytes that `compressed` bytes of LZF can stand for.
pub fn expansion_max(compressed: u64) -> u64 {
    compressed.div_ceil(COPY_MIN as u64).saturating_mul(COPY_MAX as u64)
}

/// Appends exactly `len` decompressed bytes to `out`. On error `out` holds what came before it.
/// Asks for at most `len` bytes of memory, which the caller checks against [`expansion_max`].
pub fn decompress(input: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), LzfError> {
    let start = out.len();
    out.reserve_exact(len);
    let mut at = 0;
    while at < input.len() {
        let control_at = at;
        let wrong = |expected| LzfError { at: control_at, expected };
        let control = usize::from(input[at]);
        at += 1;
        let room = len - (out.len() - start);
        if control < LITERALS_MAX {
            let run = input.get(at..at + control + 1).ok_or(wrong("literal bytes"))?;
            if run.len() > room {
                return Err(wrong("no more than the announced original length"));
            }
            out.extend_from_slice(run);
            at += run.len();
            continue;
        }
        let mut count = control >> 5;
        if count == 7 {
            count += usize::from(*input.get(at).ok_or(wrong("a copy length"))?);
            at += 1;
        }
        count += 2;
        let low = usize::from(*input.get(at).ok_or(wrong("a copy distance"))?);
        at += 1;
        let distance = ((control & 31) << 8 | low) + 1;
        if distance > out.len() - start {
            return Err(wrong("a copy from inside the output"));
        }
        if count > room {
            return Err(wrong("no more than the announced original length"));
        }
        copy_back(out, distance, count);
    }
    if out.len() - start != len {
        return Err(LzfError { at, expected: "as many bytes as the announced original length" });
    }
    Ok(())
}

/// Appends `count` bytes from `distance` back; the two ranges may overlap, which repeats.
fn copy_back(out: &mut Vec<u8>, distance: usize, count: usize) {
    let from = out.len() - distance;
    let mut left = count;
    while left > 0 {
        // What lies between `from` and the end doubles with every round and stays periodic.
        let piece = left.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        left -= piece;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    fn round(input: &[u8]) -> usize {
        let mut packed = b"before".to_vec();
        assert!(compress(input, &mut packed, input.len() * 2 + 10));
        assert!(input.len() as u64 <= expansion_max(packed.len() as u64 - 6));
        let mut back = b"x".to_vec();
        decompress(&packed[6..], input.len(), &mut back).unwrap();
        assert!(&back[1..] == input);
        packed.len() - 6
    }

    #[test]
    fn the_sheet_s_example_unpacks() {
        let mut out = Vec::new();
        decompress(&[1, 0x61, 0x61, 0xe0, 0x1b, 0, 1, 0x61, 0x61], 40, &mut out).unwrap();
        assert_eq!(out, [b'a'; 40]);
    }

    #[test]
    fn round_trips_of_every_kind() {
        let mut prng = Prng::new(3);
        for len in (0..70).chain([100, 511, 512, 513, 8191, 8192, 8193, 20_000, 100_000]) {
            assert!(len < 30 || round(&vec![b'z'; len]) < len / 2 + 3);
            let noise: Vec<u8> = (0..len).map(|_| prng.next_u64() as u8).collect();
            round(&noise);
            let words: Vec<u8> = (0..len)
                .flat_map(|_| {
                    *[&b"alpha"[..], b"be", b"gamma-delta"].get(prng.below(3) as usize).unwrap()
                })
                .copied()
                .take(len)
                .collect();
            round(&words);
            // A repeat right at and right beyond the longest distance.
            for gap in [8190, 8192, 8193] {
                let mut far = noise.clone();
                far.resize(gap.max(len), 7);
                far.extend_from_slice(&noise[..len.min(50)]);
                round(&far);
            }
        }
    }

    #[test]
    fn refuses_to_exceed_the_limit() {
        let text = b"abcabcabcabcabcabcabcabcabcabc";
        let mut out = vec![1];
        assert!(!compress(text, &mut out, 3));
        assert_eq!(out, [1]);
        let mut noise = Vec::new();
        let mut prng = Prng::new(9);
        (0..100).for_each(|_| noise.push(prng.next_u64() as u8));
        assert!(!compress(&noise, &mut out, 96));
        assert_eq!(out, [1]);
    }

    #[test]
    fn pieces_form_one_stream() {
        let text: Vec<u8> = b"some words again and ".iter().cycle().take(3000).copied().collect();
        let mut packed = Vec::new();
        for piece in text.chunks(700) {
            assert!(compress(piece, &mut packed, usize::MAX));
        }
        let mut back = Vec::new();
        decompress(&packed, text.len(), &mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn bad_streams_are_errors() {
        for (bytes, len) in [
            (&[5u8, 1, 2][..], 6), // Literals cut off.
            (&[0x20], 3),          // Distance missing.
            (&[0xe0], 9),          // Length missing.
            (&[0xe0, 1], 9),
            (&[0, 1, 0x20, 5], 4), // Before the beginning.
            (&[0, 1, 0x20, 0], 3), // Too much.
            (&[1, 1, 1], 1),
            (&[0, 1], 2), // Too little.
            (&[], 1),
        ] {
            assert!(decompress(bytes, len, &mut Vec::new()).is_err(), "{bytes:?}");
        }
        let mut prng = Prng::new(5);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..prng.below(30)).map(|_| prng.next_u64() as u8).collect();
            let mut out = Vec::new();
            let len = prng.below(2000) as usize;
            let done = decompress(&bytes, len, &mut out).is_ok();
            assert_eq!(done, out.len() == len && done);
            assert!(out.len() <= len);
        }
    }
}
