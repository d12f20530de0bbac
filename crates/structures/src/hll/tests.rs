//! Tests of HyperLogLogs against plain arrays of registers, and on damaged bytes.

use super::*;
use stdx::Prng;

const MAX: usize = 3000;

#[test]
fn the_empty_one_is_a_single_run() {
    let hll = new_sparse();
    assert_eq!(hll, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!((cached(&hll), estimate(&hll)), (Some(0), Ok(0)));
}

#[test]
fn hashes_are_those_of_a_real_server() {
    // PFADD of one element each on a redis-server 7.0.15, then PFDEBUG DECODE.
    for (element, first_run, value) in REAL_PLACES {
        let (index, got) = place_of(element.as_bytes());
        assert_eq!((index, got), (*first_run, *value), "{element:?}");
    }
}

/// Element, register, value.
const REAL_PLACES: &[(&str, usize, u8)] = &[
    ("", 5938, 2),
    ("a", 12711, 2),
    ("ab", 719, 1),
    ("1234567", 10327, 3),
    ("12345678", 10579, 3),
    ("123456789", 9293, 2),
    ("hello world", 9399, 4),
    ("The quick brown fox jumps over the lazy dog", 6862, 4),
    ("0", 13225, 4),
    ("1", 7527, 1),
    ("2", 15371, 4),
    ("foo", 7348, 5),
    ("bar", 10007, 1),
    ("zap", 7869, 2),
    ("é", 13353, 1),
];

/// Random values in both encodings and in a plain array.
#[test]
fn registers_follow_a_model() {
    let mut prng = Prng::new(5);
    for max in [0, 40, 200, MAX, 1 << 20] {
        let mut model = vec![0u8; REGISTERS];
        let mut sparse = new_sparse();
        let mut dense = new_sparse();
        make_dense(&mut dense).unwrap();
        for round in 0..6000 {
            // Often near each other, so that runs are split and joined.
            let index = if prng.chance(50) { prng.below(200) } else { prng.below(1 << 14) };
            let value = if prng.chance(2) { 33 } else { prng.between(1, 6) as u8 };
            let value = if max > MAX { value.min(32) } else { value };
            let index = index as usize;
            let changes = value > model[index];
            model[index] = model[index].max(value);
            assert_eq!(raise(&mut sparse, index, value, max), Ok(changes));
            assert_eq!(dense_raise(&mut dense, index, value), changes);
            if encoding(&sparse) == Some(HllEncoding::Sparse) {
                assert!(sparse.len() <= max.max(18), "{} bytes", sparse.len());
            }
            if round % 600 == 0 {
                let mut union = Union::new();
                union.merge(&sparse).unwrap();
                assert_eq!(union.registers(), model);
                assert!((0..REGISTERS).all(|at| dense_get(&dense, at) == model[at]));
                assert_eq!(estimate(&sparse), estimate(&dense));
                assert_eq!(estimate(&sparse), Ok(union.estimate()));
            }
        }
        assert_eq!(encoding(&sparse) == Some(HllEncoding::Sparse), max > MAX);
    }
}

#[test]
fn estimates_are_near() {
    let mut hll = new_sparse();
    let mut at = 0u64;
    for target in [10, 100, 1000, 10_000, 100_000] {
        while at < target {
            add(&mut hll, &at.to_le_bytes(), MAX).unwrap();
            at += 1;
        }
        let error = estimate(&hll).unwrap().abs_diff(target) as f64 / target as f64;
        assert!(error < 0.03, "{target}: {error}");
    }
}

#[test]
fn damaged_bytes_are_survived() {
    let mut prng = Prng::new(9);
    let mut good = new_sparse();
    (0..400u32).for_each(|n| {
        add(&mut good, &n.to_le_bytes(), MAX).unwrap();
    });
    for _ in 0..20_000 {
        let mut hll = good.clone();
        for _ in 0..prng.between(1, 4) {
            let at = prng.below(hll.len() as u64) as usize;
            match prng.below(4) {
                0 => hll.truncate(at),
                1 => hll.insert(at, prng.next_u64() as u8),
                _ => hll[at] = prng.next_u64() as u8,
            }
            if hll.is_empty() {
                break;
            }
        }
        if encoding(&hll).is_none() {
            assert!(add(&mut hll.clone(), b"x", MAX).is_err());
            continue;
        }
        let _ = estimate(&hll);
        let _ = Union::new().merge(&hll);
        for _ in 0..3 {
            let element = prng.next_u64().to_le_bytes();
            let _ = add(&mut hll, &element, MAX);
        }
        let before = hll.clone();
        if make_dense(&mut hll).is_err() {
            assert_eq!(hll, before);
        }
    }
}
