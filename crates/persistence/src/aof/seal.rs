//! Checksums inside a part, so that a flipped bit is found although the commands have none.
//!
//! A line `#CRC:<length>:<16 hex digits>` says: the `length` bytes that end where this line begins
//! have this CRC-64. Sealed runs follow each other without a gap, each line excluded. A program
//! that does not know these lines may have written behind them; whoever goes on after that writes
//! the line of length 0, which says that sealed bytes begin behind it. So bytes without a seal are
//! legal at the end and before a line of length 0, and nowhere else: a seal that was damaged into
//! something else does not go unnoticed.
//!
//! Redis 7 skips lines that begin with `#` (`aof.c:loadSingleAppendOnlyFile`), up to 127 bytes.

use crate::crc64::crc64;

/// How the line begins.
pub const PREFIX: &[u8] = b"#CRC:";
/// Sealed bytes begin behind it.
pub const BEGIN: &[u8] = b"#CRC:0:0000000000000000\r\n";

/// What a seal's line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Bytes before the line that it is about.
    pub length: u64,
    /// Their checksum.
    pub checksum: u64,
}

impl Seal {
    /// The seal of these bytes.
    pub fn of(bytes: &[u8]) -> Seal {
        Seal { length: bytes.len() as u64, checksum: crc64(bytes) }
    }

    /// Appends the line.
    pub fn push_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFIX);
        stdx::push_u64(out, self.length);
        out.extend_from_slice(format!(":{:016x}\r\n", self.checksum).as_bytes());
    }

    /// Reads a whole line, its end included. Only what [`Seal::push_to`] writes is one.
    pub fn parse(line: &[u8]) -> Option<Seal> {
        let text = line.strip_prefix(PREFIX)?.strip_suffix(b"\r\n")?;
        let colon = text.iter().position(|&b| b == b':')?;
        let length = stdx::parse_u64(&text[..colon])?;
        let digits = std::str::from_utf8(&text[colon + 1..]).ok()?;
        let checksum = u64::from_str_radix(digits, 16).ok()?;
        let seal = Seal { length, checksum };
        let mut again = Vec::with_capacity(line.len());
        seal.push_to(&mut again);
        (again == line).then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for bytes in [&b""[..], b"123456789", &[7; 1000]] {
            let seal = Seal::of(bytes);
            let mut line = Vec::new();
            seal.push_to(&mut line);
            assert!(line.len() < 127, "Redis reads lines up to 127 bytes");
            assert_eq!(Seal::parse(&line), Some(seal));
            for at in 0..line.len() {
                for bit in 0..8 {
                    let mut other = line.clone();
                    other[at] ^= 1 << bit;
                    assert_ne!(Seal::parse(&other), Some(seal), "byte {at}, bit {bit}");
                }
            }
        }
        assert_eq!(Seal::parse(BEGIN), Some(Seal { length: 0, checksum: 0 }));
        for bad in ["#CRC:1:1\r\n", "#CRC:01:0000000000000000\r\n", "#CRC:\r\n", "#TS:1\r\n", ""] {
            assert_eq!(Seal::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
