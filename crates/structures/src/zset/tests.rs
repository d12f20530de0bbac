//! Against a naive model, the conversion rules, and bytes of a real redis-server.

use super::*;
use crate::listpack::tests::unhex;
use std::collections::BTreeMap;

/// Members in order.
fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
    all.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
    all
}

fn owned((member, score): (Elem<'_>, f64)) -> (Vec<u8>, f64) {
    (member.to_vec(), score)
}

fn random_score(prng: &mut Prng) -> f64 {
    match prng.below(8) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => prng.unit_f64() * 10.0,
        3 => 1e18 * prng.unit_f64(),
        _ => prng.below(20) as f64 - 10.0,
    }
}

fn check_queries(zset: &Zset, model: &BTreeMap<Vec<u8>, f64>, prng: &mut Prng) {
    let all = sorted(model);
    let n = all.len();
    assert!(zset.iter().map(owned).eq(all.iter().cloned()));
    assert!(zset.iter().rev().map(owned).eq(all.iter().rev().cloned()));
    assert_eq!(zset.iter().len(), n);
    for _ in 0..20 {
        let (start, len) = (prng.below(n as u64 + 3) as usize, prng.below(30) as usize);
        let expected: Vec<_> = all.iter().skip(start).take(len).cloned().collect();
        assert!(zset.range_by_rank(start, len, false).map(owned).eq(expected));
        let expected: Vec<_> = all.iter().rev().skip(start).take(len).cloned().collect();
        assert!(zset.range_by_rank(start, len, true).map(owned).eq(expected));

        let (min, max) = (random_score(prng), random_score(prng));
        let (min_excl, max_excl) = (prng.chance(50), prng.chance(50));
        let range = ScoreRange { min, min_excl, max, max_excl };
        let expected: Vec<_> = all.iter().filter(|(_, s)| range.contains(*s)).cloned().collect();
        assert_eq!(zset.count_by_score(&range), expected.len());
        assert!(zset.range_by_score(&range, false).map(owned).eq(expected.iter().cloned()));
        assert!(zset.range_by_score(&range, true).map(owned).eq(expected.iter().rev().cloned()));
    }
    for (rank, (member, score)) in all.iter().enumerate() {
        assert_eq!(zset.rank(member, false), Some(rank));
        assert_eq!(zset.rank(member, true), Some(n - 1 - rank));
        assert_eq!(zset.score(member), Some(*score));
    }
}

#[test]
fn behaves_as_a_sorted_map() {
    let mut prng = Prng::new(77);
    for (most, entries) in [(60, 128), (60, 0), (3_000, 128)] {
        let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
        let (mut zset, mut model) = (Zset::new(), BTreeMap::new());
        for step in 0..20_000 {
            let member = match prng.below(3) {
                0 => prng.below(most).to_string().into_bytes(),
                _ => format!("member:{}", prng.below(most)).into_bytes(),
            };
            if prng.chance(if (step / 4_000) % 2 == 0 { 75 } else { 30 }) {
                let score = random_score(&mut prng);
                let expected = match model.insert(member.clone(), score) {
                    None => ZAdd::Added,
                    Some(old) if old == score => ZAdd::Same,
                    Some(old) => ZAdd::Updated { old },
                };
                assert_eq!(zset.insert(&member, score, &limits), expected);
            } else {
                assert_eq!(zset.remove(&member), model.remove(&member));
            }
            assert_eq!(zset.len(), model.len());
            if step % 1_501 == 1_500 && !model.is_empty() {
                check_queries(&zset, &model, &mut prng);
                let (member, score) = owned(zset.random(&mut prng).unwrap());
                assert_eq!(model.get(&member), Some(&score));
            }
        }
        check_queries(&zset, &model, &mut prng);
        let (mut cursor, mut seen) = (0, BTreeMap::new());
        loop {
            cursor = zset.scan(cursor, 10, &mut |member, score| {
                seen.insert(member.to_vec(), score);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, model);
        drain(&mut zset, &mut model, &mut prng);
    }
}

/// Empties both by ranges and pops.
fn drain(zset: &mut Zset, model: &mut BTreeMap<Vec<u8>, f64>, prng: &mut Prng) {
    while !model.is_empty() {
        let all = sorted(model);
        match prng.below(4) {
            0 => assert_eq!(zset.pop_min(), all.first().cloned()),
            1 => assert_eq!(zset.pop_max(), all.last().cloned()),
            2 => {
                let start = prng.below(all.len() as u64 + 1) as usize;
                let len = prng.below(50) as usize;
                let mut removed = Vec::new();
                let n = zset.remove_by_rank(start, len, &mut |m, s| removed.push((m.to_vec(), s)));
                let expected: Vec<_> = all.iter().skip(start).take(len).cloned().collect();
                assert_eq!((n, &removed), (expected.len(), &expected));
            }
            _ => {
                let min = random_score(prng);
                let range = ScoreRange { min, min_excl: false, max: min + 1.0, max_excl: true };
                let expected = all.iter().filter(|(_, s)| range.contains(*s)).count();
                assert_eq!(zset.remove_by_score(&range), expected);
            }
        }
        *model = zset.iter().map(owned).collect();
    }
    assert!(zset.is_empty() && zset.pop_min().is_none() && zset.pop_max().is_none());
}

#[test]
fn lexicographical_ranges() {
    let mut prng = Prng::new(13);
    for (n, entries) in [(40u64, 128), (500, 128)] {
        let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
        let (mut zset, mut model) = (Zset::new(), BTreeMap::new());
        for i in 0..n {
            let member = (i * 7919 % 1000).to_string().into_bytes();
            zset.insert(&member, 0.0, &limits);
            model.insert(member, 0.0);
        }
        let bound = |prng: &mut Prng| match prng.below(6) {
            0 => LexBound::NegInf,
            1 => LexBound::PosInf,
            2 | 3 => LexBound::Incl(prng.below(1000).to_string().into_bytes()),
            _ => LexBound::Excl(prng.below(1000).to_string().into_bytes()),
        };
        for _ in 0..500 {
            let range = LexRange { min: bound(&mut prng), max: bound(&mut prng) };
            let expected: Vec<_> =
                sorted(&model).into_iter().filter(|(m, _)| range.contains(m)).collect();
            assert_eq!(zset.count_by_lex(&range), expected.len());
            assert!(zset.range_by_lex(&range, false).map(owned).eq(expected.iter().cloned()));
            assert!(zset.range_by_lex(&range, true).map(owned).eq(expected.into_iter().rev()));
        }
        let range = LexRange { min: LexBound::Incl(b"5".to_vec()), max: LexBound::PosInf };
        let expected = model.keys().filter(|m| m.as_slice() >= b"5".as_slice()).count();
        assert_eq!(zset.remove_by_lex(&range), expected);
        assert_eq!(zset.len(), model.len() - expected);
    }
}

fn filled(n: usize, limits: &Limits) -> Zset {
    let mut zset = Zset::new();
    for i in 0..n {
        zset.insert(format!("m{i}").as_bytes(), i as f64, limits);
    }
    zset
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let limits = Limits::default();
    assert_eq!(filled(128, &limits).encoding(), "listpack");
    assert_eq!(filled(129, &limits).encoding(), "skiplist");
    let mut zset = filled(1, &limits);
    zset.insert(&[b'm'; 64], 1.0, &limits);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(&[b'm'; 65], 1.0, &limits);
    assert_eq!(zset.encoding(), "skiplist");
    let mut zset = filled(129, &limits);
    zset.compact(&limits);
    assert_eq!(zset.encoding(), "skiplist");
    zset.pop_max();
    assert_eq!(zset.encoding(), "skiplist");
    zset.compact(&limits);
    assert_eq!((zset.encoding(), zset.len()), ("listpack", 128));
    assert!(Zset::from_listpack(zset.as_listpack().unwrap().clone(), &limits).is_ok());
    let mut zset = Zset::new();
    zset.reserve(1, 65, &limits);
    assert_eq!(zset.encoding(), "skiplist");
}

/// From DUMP of a real redis-server: scores that are integers, fractions, infinite and too big.
const REAL: &str = "6d0000001600846e696e6605842d696e6605826d3503862d35652b313807846e656730050001836f6e6504010181780283312e35040c01030105010301826d3103f4000000000000004009826d33038535652b313806826d34038531652b3139068470696e660583696e6604ff";

#[test]
fn bytes_are_those_of_redis() {
    let limits = Limits::default();
    let mut zset = Zset::new();
    for (score, member) in [
        (1.0, "one"),
        (1.5, "x"),
        (-0.0, "neg0"),
        (f64::INFINITY, "pinf"),
        (f64::NEG_INFINITY, "ninf"),
        (3.0, "12"),
        (3.0, "5"),
        (4611686018427387903.0, "m1"),
        (5e18, "m3"),
        (1e19, "m4"),
        (-5e18, "m5"),
    ] {
        zset.insert(member.as_bytes(), score, &limits);
    }
    assert_eq!(zset.as_listpack().unwrap().as_bytes(), unhex(REAL));
    let read = Zset::from_listpack(Listpack::from_bytes(unhex(REAL)).unwrap(), &limits).unwrap();
    assert!(read.iter().map(owned).eq(zset.iter().map(owned)));
}

#[test]
fn listpacks_are_checked_before_they_are_taken_over() {
    let limits = Limits::default();
    let pack = |texts: &[&str]| {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        Zset::from_listpack(pack, &limits).map(|zset| zset.len())
    };
    assert_eq!(pack(&["a", "1", "b", "1", "a5", "2.5"]), Ok(3));
    assert!(pack(&["a"]).is_err());
    assert!(pack(&["a", "x"]).is_err());
    assert!(pack(&["a", "nan"]).is_err());
    assert!(pack(&["b", "1", "a", "1"]).is_err());
    assert!(pack(&["b", "2", "c", "1"]).is_err());
    assert!(pack(&["a", "1", "a", "2"]).is_err());
}
