//! Against a naive model, and the conversion rules.

use super::*;
use crate::listpack::tests::unhex;
use std::collections::BTreeSet;

fn random_member(prng: &mut Prng, style: u64) -> Vec<u8> {
    match style {
        0 => prng.below(700).to_string().into_bytes(),
        1 => format!("m{}", prng.below(200)).into_bytes(),
        _ if prng.chance(50) => (prng.below(300) as i64 - 150).to_string().into_bytes(),
        _ => vec![b'x'; prng.below(100) as usize],
    }
}

#[test]
fn behaves_as_an_ordered_set() {
    let mut prng = Prng::new(21);
    let limits = Limits::default();
    for style in 0..3 {
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for step in 0..20_000 {
            let member = random_member(&mut prng, style);
            if prng.chance(if (step / 4_000) % 2 == 0 { 70 } else { 30 }) {
                assert_eq!(set.add(&member, &limits), model.insert(member.clone()));
            } else {
                assert_eq!(set.remove(&member), model.remove(&member));
            }
            assert_eq!(set.contains(&member), model.contains(&member));
            assert_eq!(set.len(), model.len());
            if prng.chance(2)
                && let Some(popped) = set.pop_random(&mut prng)
            {
                assert!(model.remove(&popped));
            }
        }
        let all: BTreeSet<Vec<u8>> = set.iter().map(Elem::to_vec).collect();
        assert_eq!(all, model);
        assert_eq!(set.iter().size_hint().0, model.len());
        let (mut cursor, mut seen) = (0, BTreeSet::new());
        loop {
            cursor = set.scan(cursor, 10, &mut |member| {
                seen.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, model);
        while let Some(popped) = set.pop_random(&mut prng) {
            assert!(model.remove(&popped));
        }
        assert!(set.is_empty() && model.is_empty());
        assert!(set.random(&mut prng).is_none());
    }
}

fn filled(members: impl IntoIterator<Item = String>) -> Set {
    let mut set = Set::new();
    for member in members {
        set.add(member.as_bytes(), &Limits::default());
    }
    set
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let ints = |n: usize| (0..n).map(|i| i.to_string());
    let texts = |n: usize| (0..n).map(|i| format!("t{i}"));
    assert_eq!(filled(ints(512)).encoding(), "intset");
    assert_eq!(filled(ints(513)).encoding(), "hashtable");
    assert_eq!(filled(texts(128)).encoding(), "listpack");
    assert_eq!(filled(texts(129)).encoding(), "hashtable");
    assert_eq!(filled(ints(127).chain(texts(1))).encoding(), "listpack");
    assert_eq!(filled(ints(128).chain(texts(1))).encoding(), "hashtable");
    assert_eq!(filled(["x".repeat(64)]).encoding(), "listpack");
    assert_eq!(filled(["x".repeat(65)]).encoding(), "hashtable");
    // Never back.
    let mut set = filled(texts(200));
    for text in texts(199) {
        assert!(set.remove(text.as_bytes()));
    }
    assert_eq!(set.encoding(), "hashtable");

    let limits = Limits::default();
    assert_eq!(Set::with_hint(b"1", 512, &limits).encoding(), "intset");
    assert_eq!(Set::with_hint(b"1", 513, &limits).encoding(), "hashtable");
    assert_eq!(Set::with_hint(b"a", 128, &limits).encoding(), "listpack");
    assert_eq!(Set::with_hint(b"a", 129, &limits).encoding(), "hashtable");
    let mut set = filled(ints(5));
    set.reserve(600, &limits);
    assert_eq!((set.encoding(), set.len()), ("hashtable", 5));
}

#[test]
fn packed_forms_are_taken_over() {
    let limits = Limits::default();
    let intset = Intset::from_bytes(unhex("0200000002000000fdfffeff")).unwrap();
    let set = Set::from_intset(intset, &limits);
    assert!(set.contains(b"-3") && set.contains(b"-2") && set.len() == 2);
    assert!(matches!(set.repr(), SetRepr::Intset(_)));
    let tight = Limits { set_max_intset_entries: 1, ..limits };
    let intset = Intset::from_bytes(unhex("0200000002000000fdfffeff")).unwrap();
    assert_eq!(Set::from_intset(intset, &tight).encoding(), "hashtable");

    let mut pack = Listpack::new();
    for member in ["a", "b", "7"] {
        pack.push_back(member.as_bytes());
    }
    let set = Set::from_listpack(pack.clone(), &limits).unwrap();
    assert!(set.contains(b"7") && set.encoding() == "listpack");
    let tight = Limits { set_max_listpack_entries: 2, ..limits };
    let set = Set::from_listpack(pack.clone(), &tight).unwrap();
    assert!(set.contains(b"7") && set.encoding() == "hashtable");
    pack.push_back(b"a");
    assert!(Set::from_listpack(pack, &limits).is_err());
}

#[test]
fn small_sets_are_small() {
    assert!(filled((0..20).map(|i| i.to_string())).mem_usage() <= 48);
    assert!(filled((0..20).map(|i| format!("{i:010}"))).mem_usage() <= 256);
}
