//! Against bytes from a real redis-server, against a naive model, and against broken bytes.

use super::*;
use crate::listpack::tests::unhex;
use std::collections::BTreeSet;

#[test]
fn bytes_are_those_of_redis() {
    let mut set = Intset::new();
    (-3..=3).for_each(|value| assert!(set.insert(value)));
    assert_eq!(set.as_bytes(), unhex("0200000007000000fdfffeffffff0000010002000300"));
    set.insert(40000);
    set.insert(-40000);
    let real =
        "0400000009000000c063fffffdfffffffeffffffffffffff00000000010000000200000003000000409c0000";
    assert_eq!(set.as_bytes(), unhex(real));
    set.insert(1 << 40);
    set.insert(i64::MIN);
    set.remove(0);
    let real = "080000000a0000000000000000000080c063fffffffffffffdfffffffffffffffeffffffffffffffffffffffffffffff010000000000000002000000000000000300000000000000409c0000000000000000000000010000";
    assert_eq!(set.as_bytes(), unhex(real));
    assert!(Intset::from_bytes(unhex(real)).is_ok());
}

#[test]
fn behaves_as_an_ordered_set() {
    let mut prng = Prng::new(5);
    for shift in [60, 50, 30, 0] {
        let (mut set, mut model) = (Intset::new(), BTreeSet::new());
        for _ in 0..10_000 {
            let value = (prng.next_u64() as i64 >> shift) / 3;
            let value = if shift < 50 && prng.chance(60) { value >> 55 } else { value };
            match prng.below(3) {
                0 | 1 if model.len() < 300 => assert_eq!(set.insert(value), model.insert(value)),
                _ => assert_eq!(set.remove(value), model.remove(&value)),
            }
            assert_eq!(set.contains(value), model.contains(&value));
            assert_eq!(set.len(), model.len());
        }
        assert!(set.iter().eq(model.iter().copied()));
        assert!(set.iter().rev().eq(model.iter().rev().copied()));
        assert!(model.contains(&set.random(&mut prng).unwrap()));
        assert!(Intset::from_bytes(set.as_bytes().to_vec()).is_ok());
    }
}

#[test]
fn broken_bytes_are_refused_without_a_panic() {
    let mut set = Intset::new();
    (0..50).for_each(|i| assert!(set.insert(i * 1000)));
    let mut prng = Prng::new(9);
    for _ in 0..20_000 {
        let mut bytes = set.as_bytes().to_vec();
        let at = prng.below(bytes.len() as u64) as usize;
        bytes[at] = prng.next_u64() as u8;
        bytes.truncate(prng.below(bytes.len() as u64 * 4) as usize);
        if let Ok(mut read) = Intset::from_bytes(bytes) {
            assert!(read.iter().is_sorted());
            read.insert(i64::MAX);
            read.remove(7);
        }
    }
    for (bytes, offset) in [
        (vec![], 0),
        (vec![3, 0, 0, 0, 0, 0, 0, 0], 0),
        (vec![2, 0, 0, 0, 1, 0, 0, 0], 4),
        (vec![2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 4),
        (vec![2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0], 10),
    ] {
        assert_eq!(Intset::from_bytes(bytes).unwrap_err().offset, offset);
    }
}
