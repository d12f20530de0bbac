//! CRC-64 as Redis computes it ("Jones" polynomial, reflected, initial value 0, no final xor).
//!
//! The arithmetic is the `crc-fast` crate's (carry-less multiplication where the processor has
//! it); this file only pins the parameters, so that no other file can choose wrong ones.
//!
//! Source: redis 7.0 `crc64.c`; check value in its `crc64Test`.

use crc_fast::{CrcAlgorithm, Digest};

/// A running checksum.
#[derive(Clone)]
pub struct Crc64(Digest);

impl Crc64 {
    /// The checksum of nothing, which is 0.
    pub fn new() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    /// Takes `bytes` into the checksum.
    pub fn update(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.update(bytes);
        }
    }

    /// The checksum of everything so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

/// The checksum of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    let mut crc = Crc64::new();
    crc.update(bytes);
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit from the definition.
    fn naive(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc, &b| {
            (0..8).fold(crc ^ u64::from(b), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 }
            })
        })
    }

    #[test]
    fn check_value_and_definition() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
        let mut prng = stdx::Prng::new(1);
        let bytes: Vec<u8> = (0..3000).map(|_| prng.next_u64() as u8).collect();
        for len in (0..300).chain([1000, 3000]) {
            assert_eq!(crc64(&bytes[..len]), naive(&bytes[..len]), "{len}");
        }
    }

    #[test]
    fn pieces_equal_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for step in [1, 7, 64, 999] {
            let mut crc = Crc64::new();
            bytes.chunks(step).for_each(|piece| crc.update(piece));
            assert_eq!(crc.value(), crc64(&bytes));
        }
    }
}
