//! Against a naive model, and the conversion rules.

use super::*;
use crate::listpack::tests::unhex;
use std::collections::BTreeMap;

#[test]
fn behaves_as_an_ordered_map() {
    let mut prng = Prng::new(33);
    for (most, limits) in [
        (40, Limits::default()),
        (900, Limits::default()),
        (40, Limits { hash_max_listpack_entries: 0, ..Limits::default() }),
    ] {
        let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
        for step in 0..20_000 {
            let field = match prng.below(3) {
                0 => prng.below(most).to_string().into_bytes(),
                _ => format!("field{}", prng.below(most)).into_bytes(),
            };
            if prng.chance(if (step / 4_000) % 2 == 0 { 70 } else { 30 }) {
                let value = match prng.below(3) {
                    0 => prng.next_u64().to_string().into_bytes(),
                    1 => (prng.below(300) as i64 - 150).to_string().into_bytes(),
                    _ => vec![b'v'; prng.below(60) as usize],
                };
                let new = hash.set(&field, &value, &limits);
                assert_eq!(new, model.insert(field.clone(), value).is_none());
            } else {
                assert_eq!(hash.remove(&field), model.remove(&field).is_some());
            }
            assert_eq!(hash.get(&field).map(Elem::to_vec), model.get(&field).cloned());
            assert_eq!(hash.contains(&field), model.contains_key(&field));
            assert_eq!(hash.len(), model.len());
        }
        let all: BTreeMap<_, _> = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
        assert_eq!(all, model);
        assert_eq!(hash.iter().size_hint().0, model.len());
        let (mut cursor, mut seen) = (0, BTreeMap::new());
        loop {
            cursor = hash.scan(cursor, 10, &mut |field, value| {
                seen.insert(field.to_vec(), value.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, model);
        let (field, value) = hash.random(&mut prng).unwrap();
        assert_eq!(model.get(&field.to_vec()), Some(&value.to_vec()));
    }
    assert!(Hash::new().random(&mut prng).is_none());
}

fn filled(n: usize, limits: &Limits) -> Hash {
    let mut hash = Hash::new();
    for i in 0..n {
        hash.set(format!("f{i}").as_bytes(), b"v", limits);
    }
    hash
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let limits = Limits::default();
    assert_eq!(filled(512, &limits).encoding(), "listpack");
    assert_eq!(filled(513, &limits).encoding(), "hashtable");
    let mut hash = filled(1, &limits);
    hash.set(&[b'f'; 64], &[b'v'; 64], &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.set(b"f0", &[b'v'; 65], &limits);
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 2));
    let mut hash = filled(1, &limits);
    hash.set(&[b'f'; 65], b"v", &limits);
    assert_eq!(hash.encoding(), "hashtable");
    let mut hash = Hash::new();
    hash.reserve(512, &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.reserve(513, &limits);
    assert_eq!(hash.encoding(), "hashtable");
}

/// `HSET h short z*125 b w*126`, `HSET h c v*127 d u*128` on a real redis-server, from its DUMP.
#[test]
fn bytes_are_those_of_redis() {
    let limits = Limits { hash_max_listpack_value: 1000, ..Limits::default() };
    let mut hash = Hash::new();
    for (field, byte, len) in
        [("short", b'z', 125), ("b", b'w', 126), ("c", b'v', 127), ("d", b'u', 128)]
    {
        hash.set(field.as_bytes(), &vec![byte; len], &limits);
    }
    let run = |byte: &str, n: usize| byte.repeat(n);
    let real = format!(
        "20020000080085{}06e07d{}7f816202e07e{}0180816302e07f{}0181816402e080{}0182ff",
        "73686f7274",
        run("7a", 125),
        run("77", 126),
        run("76", 127),
        run("75", 128)
    );
    assert_eq!(hash.as_listpack().unwrap().as_bytes(), unhex(&real));
    let pack = Listpack::from_bytes(unhex(&real)).unwrap();
    let read = Hash::from_listpack(pack, &limits).unwrap();
    assert!(read.get(b"d").unwrap().eq_bytes(&[b'u'; 128]));
}

#[test]
fn listpacks_are_checked_before_they_are_taken_over() {
    let limits = Limits::default();
    let pack = |texts: &[&str]| {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        pack
    };
    assert!(Hash::from_listpack(pack(&["a", "1", "b"]), &limits).is_err());
    assert!(Hash::from_listpack(pack(&["a", "1", "a", "2"]), &limits).is_err());
    assert_eq!(Hash::from_listpack(pack(&["a", "1", "b", "1"]), &limits).unwrap().len(), 2);
    let tight = Limits { hash_max_listpack_entries: 1, ..limits };
    let hash = Hash::from_listpack(pack(&["a", "1", "7", "x"]), &tight).unwrap();
    assert_eq!(hash.encoding(), "hashtable");
    assert!(hash.get(b"7").unwrap().eq_bytes(b"x") && hash.as_listpack().is_none());
}
