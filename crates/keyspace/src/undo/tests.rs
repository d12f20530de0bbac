//! What is taken back leaves no trace: keys, times, counters, and what a snapshot sees.

use super::*;
use crate::access::MemoryPolicy;
use crate::{ExpireRule, KeyOptions, Keyspace, PassProgress, SetTtl, StripeBy, StripeMask};
use std::collections::BTreeMap;
use stdx::{Prng, UnixMs};
use structures::Limits;

const NOW: i64 = 1000;

fn all_keys(space: &Keyspace, db: usize) -> Keys<'_> {
    let options = KeyOptions {
        now: UnixMs(NOW),
        expire: ExpireRule::Remove,
        notify: 0,
        touch: true,
        policy: MemoryPolicy::Lru,
    };
    Keys::new(space.hold(space.all()), db, options)
}

/// Key, encoding, stamp, value: enough to tell entries apart.
fn describe(out: &mut Vec<u8>, entry: &Entry) {
    let mut elements: Vec<Vec<u8>> = Vec::new();
    match entry.value() {
        ValueRef::Str(text) => elements.push(text.to_vec()),
        ValueRef::List(list) => list.iter().for_each(|e| elements.push(e.to_vec())),
        ValueRef::Set(set) => set.iter().for_each(|e| elements.push(e.to_vec())),
        ValueRef::Hash(hash) => hash.iter().for_each(|(f, v)| {
            elements.push([f.to_vec(), v.to_vec()].concat());
        }),
        ValueRef::Zset(zset) => zset.iter().for_each(|(m, score)| {
            elements.push([m.to_vec(), score.to_string().into_bytes()].concat());
        }),
        ValueRef::Stream(stream) => elements.push(stream.len().to_string().into_bytes()),
    }
    let key = String::from_utf8_lossy(entry.key());
    let line = format!("{key} {} {:?} {elements:?}\n", entry.encoding_name(), entry.stamp());
    out.extend_from_slice(line.as_bytes());
}

type Picture = BTreeMap<usize, Vec<String>>;

fn add_lines(picture: &mut Picture, db: usize, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    picture.entry(db).or_default().extend(text.lines().map(str::to_owned));
}

fn sorted(mut picture: Picture) -> Picture {
    picture.values_mut().for_each(|lines| lines.sort());
    picture.retain(|_, lines| !lines.is_empty());
    picture
}

fn picture(space: &Keyspace) -> Picture {
    let mut found = Picture::new();
    let mut held = space.hold(space.all());
    for stripe in held.each() {
        for (db, part) in stripe.dbs.iter().enumerate() {
            assert_eq!(part.volatile, part.table.iter().filter(|e| e.stamp().is_some()).count());
            for entry in part.table.iter() {
                let mut line = Vec::new();
                describe(&mut line, entry);
                add_lines(&mut found, db, &line);
            }
        }
    }
    drop(held);
    sorted(found)
}

fn value(prng: &mut Prng, big: bool) -> Value {
    let limits = Limits::default();
    let n = if big { 300 + prng.below(300) } else { 1 + prng.below(9) };
    match prng.below(5) {
        0 => Value::Str(vec![b'x'; n as usize * 20]),
        1 => {
            let mut list = structures::List::new();
            (0..n).for_each(|i| list.push_back(i.to_string().as_bytes(), &limits));
            Value::List(Box::new(list))
        }
        2 => {
            let mut set = structures::Set::new();
            (0..n).for_each(|i| {
                set.add(format!("m{i}").as_bytes(), &limits);
            });
            Value::Set(Box::new(set))
        }
        3 => {
            let mut hash = structures::Hash::new();
            (0..n).for_each(|i| {
                hash.set(format!("f{i}").as_bytes(), b"v", &limits);
            });
            Value::Hash(Box::new(hash))
        }
        _ => {
            let mut zset = structures::Zset::new();
            (0..n).for_each(|i| {
                zset.insert(format!("z{i}").as_bytes(), i as f64, &limits);
            });
            Value::Zset(Box::new(zset))
        }
    }
}

/// One random change of a key, or a look at it.
fn change(keys: &mut Keys<'_>, prng: &mut Prng, key: &[u8]) {
    let at = NOW - 5 + prng.below(20) as i64;
    match prng.below(7) {
        0 => {
            let big = prng.below(10) == 0;
            keys.put(key, value(prng, big), SetTtl::Keep);
        }
        1 => keys.set_string(key, b"changed", SetTtl::At(at)),
        2 => {
            keys.remove(key);
        }
        3 => {
            keys.set_expire(key, (at % 2 == 0).then_some(at));
        }
        4 => {
            if let Ok(Some(hash)) = keys.hash_mut(key) {
                hash.set(b"more", b"x", &Limits::default());
            }
        }
        5 => {
            if let Ok(Some(list)) = keys.list_mut(key) {
                list.pop_front();
            }
            keys.remove_if_empty(key);
        }
        _ => {
            keys.read(key);
        }
    }
}

fn steps(space: &Keyspace, found: &mut Picture, steps: usize) -> bool {
    let mut done = true;
    for stripe in 0..space.stripes() {
        let mut held = space.hold(StripeMask::of(stripe));
        for _ in 0..steps {
            let (mut out, mut keys) = (Vec::new(), 0);
            let progress = held.stripe(stripe).pass_step(200, &mut out, &mut keys);
            for handed in &out {
                match handed {
                    crate::Handed::Records { db, bytes, .. } => add_lines(found, *db, bytes),
                    crate::Handed::Value { db, entry, .. } => {
                        let mut bytes = Vec::new();
                        describe(&mut bytes, entry);
                        add_lines(found, *db, &bytes);
                    }
                    _ => {}
                }
            }
            if progress == PassProgress::Done {
                break;
            }
            done = false;
        }
    }
    done
}

#[test]
fn taking_back_leaves_no_trace() {
    for (seed, stripes) in [(1, 1), (2, 4), (3, 16)] {
        let space = Keyspace::new(2, stripes, StripeBy::Hash);
        let mut prng = Prng::new(seed);
        let name = |prng: &mut Prng| format!("key:{}", prng.below(60)).into_bytes();
        let mut at_start: Option<Picture> = None;
        let mut found = Picture::new();
        let mut taken_back = 0;
        for round in 0..600 {
            if at_start.is_none() && prng.below(20) == 0 {
                at_start = Some(picture(&space));
                assert!(space.begin_pass(describe, || ()));
            }
            if at_start.is_some() && steps(&space, &mut found, 1 + round % 2) {
                let seen = sorted(std::mem::take(&mut found));
                assert_eq!(Some(seen), at_start.take(), "seed {seed}, round {round}");
            }
            let before = picture(&space);
            let stats = space.stats();
            let mut keys = all_keys(&space, prng.below(2) as usize);
            let undo = prng.below(3) > 0;
            if undo {
                keys.begin_undo();
            }
            for _ in 0..prng.below(12) {
                let key = name(&mut prng);
                keys.db = prng.below(2) as usize;
                // A mere look needs no copy.
                if prng.below(5) == 0 {
                    keys.read(&key);
                } else if keys.keep(&key) {
                    change(&mut keys, &mut prng, &key);
                }
            }
            if undo && prng.below(4) > 0 {
                keys.take_back();
                assert!(keys.changes.dirty == 0 && keys.changes.ready.is_empty());
                drop(keys);
                assert_eq!(picture(&space), before, "seed {seed}, round {round}");
                assert_eq!(space.stats().expired, stats.expired);
                assert_eq!(space.stats().hits, stats.hits);
                taken_back += 1;
            } else {
                keys.end_undo();
            }
        }
        assert!(taken_back > 100);
    }
}

#[test]
fn a_big_value_is_not_kept() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    let mut keys = all_keys(&space, 0);
    keys.set_string(b"small", &[b'x'; 4000], SetTtl::Clear);
    keys.set_string(b"big", &[b'x'; 5000], SetTtl::Clear);
    assert!(keys.keep(b"big"), "nothing is kept before it is asked for");
    keys.begin_undo();
    assert!(keys.keep(b"small") && keys.keep(b"absent") && keys.keep(b"small"));
    assert!(!keys.keep(b"big"));
    (0..KEYS_MAX - 2).for_each(|n| assert!(keys.keep(n.to_string().as_bytes())));
    assert!(!keys.keep(b"one more") && keys.keep(b"small"));
}

#[test]
fn the_rest_is_taken_all_or_not_at_all() {
    let space = Keyspace::new(1, 8, StripeBy::Hash);
    let other = space.hold(StripeMask::of(6));
    let mut held = space.hold(StripeMask(0b1001));
    assert!(!held.try_rest());
    assert_eq!(held.mask(), StripeMask(0b1001));
    drop(space.hold(StripeMask(0b0100_0110 & !(1 << 6))));
    drop(other);
    // Each guard is where its stripe is looked for.
    held.stripe(0).last_write = 100;
    held.stripe(3).last_write = 103;
    assert!(held.try_rest());
    assert_eq!(held.mask(), space.all());
    held.stripe(7).last_write = 107;
    let positions: Vec<u64> = held.each().map(|stripe| stripe.last_write).collect();
    assert_eq!(positions, [100, 0, 0, 103, 0, 0, 0, 107]);
    drop(held);
    assert_eq!(space.hold(StripeMask::of(3)).stripe(3).last_write, 103);
}
