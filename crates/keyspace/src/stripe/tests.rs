//! Stripes, expiry, watches and snapshot passes against naive models, by hash and by slot.

use super::*;
use crate::access::MemoryPolicy;
use crate::changes::EventClass;
use crate::db::SetTtl;
use crate::keys::{ExpireRule, KeyOptions, Keys};
use std::collections::BTreeSet;
use stdx::{Prng, UnixMs};
use structures::{Limits, StrRef, ValueRef};

type Model = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

fn options(now: i64) -> KeyOptions {
    KeyOptions {
        now: UnixMs(now),
        expire: ExpireRule::Remove,
        notify: 0,
        touch: true,
        policy: MemoryPolicy::Lru,
    }
}

fn all_keys(space: &Keyspace, db: usize, now: i64) -> Keys<'_> {
    Keys::new(space.hold(space.all()), db, options(now))
}

/// A record is: length and bytes of the key, length and bytes of the value as text.
fn encode(out: &mut Vec<u8>, entry: &Entry) {
    let mut value = Vec::new();
    match entry.value() {
        ValueRef::Str(text) => text.push_to(&mut value),
        ValueRef::List(list) => list.iter().for_each(|elem| elem.push_to(&mut value)),
        _ => unreachable!("the tests store strings and lists"),
    }
    for part in [entry.key(), &value] {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
}

fn decode(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (len, tail) = rest.split_at(4);
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        parts.push(tail[..len].to_vec());
        rest = &tail[len..];
    }
    parts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn key_of(prng: &mut Prng, keys: u64) -> Vec<u8> {
    format!("key:{}", prng.below(keys)).into_bytes()
}

/// One random change of the keyspace and of its model.
fn change(space: &Keyspace, model: &mut Model, prng: &mut Prng, keys: u64) {
    let db = prng.below(space.databases() as u64) as usize;
    let key = key_of(prng, keys);
    let mut held = all_keys(space, db, 0);
    match prng.below(100) {
        0 => {
            held.flush(Some(db));
            model.retain(|(d, _), _| *d != db);
        }
        1 => {
            let other = prng.below(space.databases() as u64) as usize;
            held.swap_dbs(db, other);
            *model = std::mem::take(model)
                .into_iter()
                .map(|((d, key), value)| {
                    let d = if d == db {
                        other
                    } else if d == other {
                        db
                    } else {
                        d
                    };
                    ((d, key), value)
                })
                .collect();
        }
        2..=24 => {
            held.remove(&key);
            model.remove(&(db, key));
        }
        25..=49 => {
            let value = format!("l{}", prng.below(1000)).into_bytes();
            if let Ok(list) = held.list_or_new(&key) {
                list.push_back(&value, &Limits::default());
                model.entry((db, key)).or_default().extend_from_slice(&value);
            }
        }
        _ => {
            let value = vec![b'a' + prng.below(26) as u8; prng.below(100) as usize + 1];
            held.set_string(&key, &value, SetTtl::Clear);
            model.insert((db, key), value);
        }
    }
}

/// What a pass without parts hands out, encoded.
fn whole(handed: Handed) -> (usize, Vec<u8>) {
    match handed {
        Handed::Records { db, bytes, .. } => (db, bytes),
        Handed::Value { db, entry, .. } => {
            let mut bytes = Vec::new();
            encode(&mut bytes, &entry);
            (db, bytes)
        }
        Handed::Emptied(_) => (0, Vec::new()),
        Handed::Part { .. } | Handed::Rest { .. } => panic!("a part"),
    }
}

/// Runs a whole pass with random changes between its steps; returns what it wrote.
fn pass(space: &Keyspace, model: &mut Model, prng: &mut Prng, keys: u64) -> Model {
    assert!(space.begin_pass(encode, || ()));
    assert!(!space.begin_pass(encode, || ()), "passes do not overlap");
    let mut found = Model::new();
    let mut take = |out: &mut Vec<Handed>| {
        for handed in out.drain(..) {
            let (db, bytes) = whole(handed);
            for (key, value) in decode(&bytes) {
                let again = found.insert((db, key.clone()), value);
                assert!(again.is_none(), "{} was handed out twice", String::from_utf8_lossy(&key));
            }
        }
    };
    let (mut out, mut count) = (Vec::new(), 0);
    for stripe in 0..space.stripes() {
        loop {
            let progress = space
                .hold(StripeMask(1 << stripe))
                .stripe(stripe)
                .pass_step(200, &mut out, &mut count);
            take(&mut out);
            if progress == PassProgress::Done {
                break;
            }
            for _ in 0..prng.below(30) {
                change(space, model, prng, keys);
            }
            if prng.chance(20) {
                let any = prng.below(space.stripes() as u64) as usize;
                space.hold(StripeMask(1 << any)).stripe(any).take_pre_images(&mut out);
                take(&mut out);
            }
        }
    }
    found
}

#[test]
fn a_pass_sees_the_state_at_its_start() {
    for (seed, stripes, by, keys) in [
        (1, 1, StripeBy::Hash, 50),
        (2, 1, StripeBy::Hash, 3000),
        (3, 4, StripeBy::Hash, 2000),
        (4, 64, StripeBy::Hash, 3000),
        (5, 8, StripeBy::Slot, 3000),
        (6, 64, StripeBy::Slot, 500),
    ] {
        let space = Keyspace::new(3, stripes, by);
        let (mut model, mut prng) = (Model::new(), Prng::new(seed));
        for round in 0..4 {
            for _ in 0..2 * keys {
                change(&space, &mut model, &mut prng, keys);
            }
            let before = model.clone();
            let found = pass(&space, &mut model, &mut prng, keys);
            assert!(found == before, "seed {seed}, round {round}");
        }
        for db in 0..3 {
            let there = model.keys().filter(|(d, _)| *d == db).count();
            assert_eq!(space.db_size(db).0, there);
        }
    }
}

#[test]
fn keys_expire_when_their_time_comes_and_not_before() {
    for by in [StripeBy::Hash, StripeBy::Slot] {
        let space = Keyspace::new(2, 8, by);
        let (mut prng, mut model) =
            (Prng::new(9), BTreeMap::<(usize, Vec<u8>), Option<i64>>::new());
        let mut now = 1_000_000i64;
        for _ in 0..20_000 {
            let (db, key) = (prng.below(2) as usize, key_of(&mut prng, 500));
            // Whoever touches a key whose time has come removes it.
            model.retain(|(d, k), at| (*d, k) != (db, &key) || at.is_none_or(|at| at > now));
            let mut keys = all_keys(&space, db, now);
            let at = now + prng.below(20_000) as i64 + 1;
            match prng.below(10) {
                0..=3 => {
                    keys.set_string(&key, b"v", SetTtl::At(at));
                    model.insert((db, key), Some(at));
                }
                4 => {
                    keys.set_string(&key, b"v", SetTtl::Clear);
                    model.insert((db, key), None);
                }
                5 => {
                    keys.remove(&key);
                    model.remove(&(db, key));
                }
                6 => {
                    if keys.set_expire(&key, Some(at)) {
                        model.insert((db, key), Some(at));
                    }
                }
                7 => {
                    if keys.set_expire(&key, None) {
                        model.insert((db, key), None);
                    }
                }
                _ => assert_eq!(keys.expire_time(&key), model.get(&(db, key)).copied()),
            }
            drop(keys);
            if prng.chance(5) {
                now += prng.below(2_000) as i64;
                let mut gone = Vec::new();
                for stripe in 0..space.stripes() {
                    while space
                        .hold(StripeMask(1 << stripe))
                        .stripe(stripe)
                        .expire_step(now, 10, &mut gone)
                    {}
                }
                for (db, entry) in &gone {
                    let at = model.remove(&(*db, entry.key().to_vec())).flatten();
                    assert!(at.is_some_and(|at| at <= now), "removed before its time");
                }
                let due = model.values().flatten().filter(|at| **at + 64 <= now).count();
                assert_eq!(due, 0, "a due key was left");
            }
        }
        let volatile = model.iter().filter(|((db, _), at)| *db == 0 && at.is_some()).count();
        assert_eq!(space.db_size(0).1, volatile);
    }
}

#[test]
fn expired_keys_are_removed_hidden_or_seen() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    all_keys(&space, 0, 0).set_string(b"k", b"v", SetTtl::At(100));
    let with =
        |expire| Keys::new(space.hold(space.all()), 0, KeyOptions { expire, ..options(100) });
    assert!(with(ExpireRule::Ignore).exists(b"k"));
    assert!(!with(ExpireRule::Hide).exists(b"k"));
    assert_eq!(space.db_size(0).0, 1);
    let mut keys = with(ExpireRule::Remove);
    assert!(!keys.exists(b"k"));
    assert_eq!(keys.changes.implied.len(), 1);
    drop(keys);
    assert_eq!(space.db_size(0).0, 0);
}

#[test]
fn a_hidden_key_makes_room_for_a_new_one() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    let mut hiding = Keys::new(
        space.hold(space.all()),
        0,
        KeyOptions { expire: ExpireRule::Hide, ..options(100) },
    );
    for round in 0..3 {
        hiding.set_string(b"k", b"old", SetTtl::At(50));
        assert!(!hiding.exists(b"k"));
        match round {
            0 => hiding.set_string(b"k", b"new", SetTtl::Keep),
            1 => drop(hiding.list_or_new(b"k").unwrap().len()),
            _ => hiding.put(b"k", structures::Value::Str(b"new".to_vec()), SetTtl::Clear),
        }
        assert_eq!(hiding.expire_time(b"k"), Some(None));
        assert!(hiding.remove(b"k"));
    }
    drop(hiding);
    assert_eq!(space.db_size(0), (0, 0));
}

#[test]
fn a_string_takes_the_place_of_a_collection() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    for (ttl, expected) in
        [(SetTtl::Keep, Some(50)), (SetTtl::Clear, None), (SetTtl::At(90), Some(90))]
    {
        let mut keys = all_keys(&space, 0, 0);
        keys.remove(b"k");
        for element in 0..5000 {
            keys.list_or_new(b"k")
                .unwrap()
                .push_back(format!("{element}").as_bytes(), &Limits::default());
        }
        keys.set_expire(b"k", Some(50));
        keys.set_string(b"k", b"text", ttl);
        assert_eq!(keys.string(b"k").unwrap().unwrap().to_vec(), b"text");
        assert_eq!(keys.expire_time(b"k"), Some(expected));
        assert_eq!(keys.changes.trash.len(), 1, "a long list is freed elsewhere");
        assert!(!keys.changes.trash[0].mark());
        drop(keys);
        assert_eq!(space.db_size(0), (1, usize::from(expected.is_some())));
    }
}

#[test]
fn a_known_hash_is_for_one_slice_alone() {
    let space = Keyspace::new(1, 4, StripeBy::Slot);
    let (known, equal) = (b"key".to_vec(), b"key".to_vec());
    let place = space.place_of(&known);
    assert_eq!(place.stripe, space.stripe_of(&known));
    space.prefetch([(0, place), (0, place)].into_iter());
    let mut keys = Keys::new(space.hold(space.all()), 0, options(0));
    keys.know(&known, place.hash);
    keys.set_string(&known, b"v", SetTtl::Clear);
    keys.set_string(b"yek", b"w", SetTtl::Clear);
    assert!(keys.exists(&equal) && keys.exists(b"yek") && !keys.exists(&known[..2]));
    space.prefetch([(0, place)].into_iter());
}

#[test]
fn a_watch_sees_changes_of_its_key_alone() {
    let space = Keyspace::new(2, 4, StripeBy::Hash);
    let flag = Arc::new(WatchFlag::default());
    let stripe = space.stripe_of(b"k");
    let watch = |on: bool| {
        let mut held = space.hold(space.all());
        if on {
            held.stripe(stripe).watch(0, b"k", &flag);
        } else {
            held.stripe(stripe).unwatch(0, b"k", &flag);
        }
    };
    watch(true);
    all_keys(&space, 0, 0).modified(EventClass::STRING, "set", b"other");
    all_keys(&space, 1, 0).modified(EventClass::STRING, "set", b"k");
    assert!(!flag.is_set());
    all_keys(&space, 0, 0).modified(EventClass::STRING, "set", b"k");
    assert!(flag.is_set());
    watch(false);
    assert!(space.hold(space.all()).stripe(stripe).watched.is_empty());
}

#[test]
fn waiters_of_a_key_come_in_their_order() {
    let space = Keyspace::new(1, 2, StripeBy::Hash);
    let stripe = space.stripe_of(b"q");
    let mut held = space.hold(space.all());
    let data = held.stripe(stripe);
    for ticket in [3, 1, 2, 3] {
        data.wait_on(0, b"q", ticket);
    }
    assert_eq!(data.waiters_of(0, b"q"), [3, 1, 2]);
    data.stop_waiting(0, b"q", 1);
    assert_eq!(data.waiters_of(0, b"q"), [3, 2]);
    drop(held);
    let mut keys = all_keys(&space, 0, 0);
    keys.signal(b"q");
    keys.signal(b"p");
    assert_eq!(keys.changes.ready, [(0, Box::from(&b"q"[..]))]);
}

#[test]
fn a_slot_lies_in_one_stripe() {
    // Values from the cluster specification's own examples.
    assert_eq!(key_hash_slot(b"123456789"), 0x31c3);
    assert_eq!(key_hash_slot(b"{user1000}.following"), key_hash_slot(b"{user1000}.followers"));
    assert_eq!(key_hash_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") & 16383);
    assert_eq!(key_hash_slot(b"foo{{bar}}zap"), crc16(b"{bar") & 16383);
    let space = Keyspace::new(1, 16, StripeBy::Slot);
    let mut stripes = BTreeSet::new();
    for n in 0..1000 {
        let key = format!("{{tag}}{n}");
        stripes.insert(space.stripe_of(key.as_bytes()));
    }
    assert_eq!(stripes.len(), 1);
}

#[test]
fn threads_on_different_stripes_do_not_lose_updates() {
    let space = Keyspace::new(1, 16, StripeBy::Hash);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let space = &space;
            scope.spawn(move || {
                let mut prng = Prng::new(thread);
                for _ in 0..5_000 {
                    let (a, b) = (key_of(&mut prng, 20), key_of(&mut prng, 20));
                    let mut mask = StripeMask::default();
                    mask.add(space.stripe_of(&a));
                    mask.add(space.stripe_of(&b));
                    let mut keys = Keys::new(space.hold(mask), 0, options(0));
                    for key in [&a, &b] {
                        let old = match keys.string(key) {
                            Ok(Some(StrRef::Int(n))) => n,
                            _ => 0,
                        };
                        keys.set_string(key, (old + 1).to_string().as_bytes(), SetTtl::Clear);
                    }
                }
            });
        }
    });
    let mut keys = all_keys(&space, 0, 0);
    let total: i64 = (0..20)
        .map(|n| match keys.string(format!("key:{n}").as_bytes()) {
            Ok(Some(StrRef::Int(n))) => n,
            _ => 0,
        })
        .sum();
    assert_eq!(total, 4 * 5_000 * 2);
}
