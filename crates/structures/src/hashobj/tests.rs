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
            cursor = hash.scan(cursor, 10, i64::MIN, &mut |field, value| {
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

/// Field, value and time of every field, by field.
type Timed = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn timed_fields(hash: &Hash) -> Timed {
    let (mut iter, mut all) = (hash.iter(), Timed::new());
    while let Some((field, value, time)) = iter.next_timed() {
        all.insert(field.to_vec(), (value.to_vec(), time));
    }
    all
}

#[track_caller]
fn check_timed(hash: &Hash, model: &Timed, now: i64, prng: &mut Prng) {
    assert_eq!(&timed_fields(hash), model);
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.has_times(), model.values().any(|(_, time)| time.is_some()));
    let first = model.values().filter_map(|(_, time)| *time).min();
    match (hash.next_due(), first) {
        (None, first) => assert_eq!(first, None),
        (Some(due), first) => assert!(first.is_some_and(|first| due <= first), "{due} {first:?}"),
    }
    let seen: BTreeMap<_, _> = model
        .iter()
        .filter(|(_, (_, time))| time.is_none_or(|time| time > now))
        .map(|(field, (value, _))| (field.clone(), value.clone()))
        .collect();
    let all: BTreeMap<_, _> = hash.iter_at(now).map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
    assert_eq!(all, seen);
    assert_eq!(hash.len_at(now), seen.len());
    let (mut cursor, mut scanned) = (0, BTreeMap::new());
    loop {
        cursor = hash.scan(cursor, 10, now, &mut |field, value| {
            scanned.insert(field.to_vec(), value.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, seen);
    match hash.random_at(now, prng) {
        Some((field, value)) => assert_eq!(seen.get(&field.to_vec()), Some(&value.to_vec())),
        None => assert!(seen.is_empty()),
    }
}

/// Every operation under a clock that moves, against a map.
#[test]
fn times_behave_as_in_a_map() {
    let mut prng = Prng::new(34);
    for (most, limits) in [
        (12, Limits::default()),
        (700, Limits::default()),
        (40, Limits { hash_max_listpack_entries: 0, ..Limits::default() }),
        (40, Limits { hash_max_listpack_entries: 20, ..Limits::default() }),
    ] {
        let (mut hash, mut model, mut now) = (Hash::new(), Timed::new(), 1_000_000i64);
        for step in 0..6_000 {
            let field = match prng.below(3) {
                0 => prng.below(most).to_string().into_bytes(),
                _ => format!("field{}", prng.below(most)).into_bytes(),
            };
            let value = prng.below(1 << 40).to_string().into_bytes();
            match prng.below(8) {
                0 | 1 => {
                    let old = model.insert(field.clone(), (value.clone(), None));
                    assert_eq!(hash.set(&field, &value, &limits), old.is_none());
                }
                2 => {
                    let time = model.get(&field).and_then(|(_, time)| *time);
                    let old = model.insert(field.clone(), (value.clone(), time));
                    assert_eq!(hash.set_keep_time(&field, &value, &limits), old.is_none());
                }
                3 => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                4..=6 => {
                    let time = (!prng.chance(20)).then(|| now + prng.below(3_000) as i64 - 200);
                    let there = model.get_mut(&field).map(|(_, old)| *old = time).is_some();
                    assert_eq!(hash.set_time(&field, time), there);
                }
                _ => now += prng.below(300) as i64,
            }
            let due = model.get(&field).map(|(_, time)| *time);
            assert_eq!(hash.time_of(&field), due);
            let there = model.get(&field).filter(|(_, time)| time.is_none_or(|time| time > now));
            assert_eq!(
                hash.get_at(&field, now).map(Elem::to_vec),
                there.map(|(value, _)| value.clone())
            );
            assert_eq!(hash.contains_at(&field, now), there.is_some());
            assert_eq!(hash.is_due(&field, now), model.contains_key(&field) && there.is_none());
            if step % 50 == 0 {
                check_timed(&hash, &model, now, &mut prng);
            }
            if step % 333 == 0 {
                let (mut taken, max) = (Vec::new(), prng.below(20) as usize);
                hash.take_due(now, max, &mut taken);
                for field in taken {
                    let (_, time) = model.remove(&field).expect("a field that is there");
                    assert!(time.is_some_and(|time| time <= now));
                }
            }
        }
        // After a tick everything that is due goes, by and by.
        now += 200;
        loop {
            let mut taken = Vec::new();
            hash.take_due(now, 7, &mut taken);
            taken.iter().for_each(|field| assert!(model.remove(field).is_some()));
            if !hash.may_have_due(now - 64) {
                break;
            }
        }
        assert!(model.values().all(|(_, time)| time.is_none_or(|time| time > now - 128)));
        check_timed(&hash, &model, now, &mut prng);
        check_timed(&hash.clone(), &model, now, &mut prng);
    }
}

#[test]
fn small_hashes_with_times_are_as_redis_has_them() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    for (field, value) in [("a", "1"), ("b", "x"), ("c", "3")] {
        hash.set(field.as_bytes(), value.as_bytes(), &limits);
    }
    assert!(!hash.set_time(b"none", Some(5)) && hash.set_time(b"a", None));
    assert_eq!(hash.encoding(), "listpack");
    hash.set_time(b"c", Some(70_000));
    hash.set_time(b"b", Some(5));
    assert_eq!((hash.encoding(), hash.next_due()), ("listpackex", Some(5)));
    let texts = |hash: &Hash| -> Vec<String> {
        let pack = hash.as_timed_listpack().unwrap();
        pack.iter().map(|elem| String::from_utf8(elem.to_vec()).unwrap()).collect()
    };
    assert_eq!(texts(&hash), ["b", "x", "5", "c", "3", "70000", "a", "1", "0"]);
    let plain = hash.to_plain_listpack().unwrap();
    assert_eq!(plain.iter().map(Elem::to_vec).collect::<Vec<_>>().concat(), b"bxc3a1");
    let mut taken = Vec::new();
    hash.take_due(4, 10, &mut taken);
    assert!(taken.is_empty());
    hash.take_due(5, 10, &mut taken);
    assert_eq!((taken.concat(), hash.len()), (b"b".to_vec(), 2));
    hash.set_note(Some(9));
    assert_eq!((hash.note(), hash.clone().note()), (Some(9), None));
    // A time that went does not make it a plain one again.
    hash.set_time(b"c", None);
    assert_eq!((hash.encoding(), hash.has_times()), ("listpackex", false));
    hash.set(b"long", &[b'v'; 65], &limits);
    assert_eq!((hash.encoding(), hash.len(), hash.note()), ("hashtable", 3, Some(9)));

    let pack = |texts: &[&str]| {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        pack
    };
    for wrong in [
        &["a", "1", "5", "b", "2"][..],
        &["a", "1", "5", "a", "2", "6"],
        &["a", "1", "soon"],
        &["a", "1", "-5"],
        &["a", "1", "281474976710656"],
    ] {
        assert!(Hash::from_timed_listpack(pack(wrong), &limits).is_err(), "{wrong:?}");
    }
    let unordered = pack(&["a", "1", "0", "b", "2", "9", "c", "3", "8"]);
    let hash = Hash::from_timed_listpack(unordered, &limits).unwrap();
    assert_eq!(texts(&hash), ["c", "3", "8", "b", "2", "9", "a", "1", "0"]);
    let tight = Limits { hash_max_listpack_entries: 2, ..limits };
    let ordered = hash.as_timed_listpack().unwrap().clone();
    let hash = Hash::from_timed_listpack(ordered, &tight).unwrap();
    assert_eq!((hash.encoding(), hash.time_of(b"b")), ("hashtable", Some(Some(9))));
}
