//! The index of hashes with times against what the hashes say, under a clock that moves.

use super::*;
use crate::{KeyOptions, MemoryPolicy, SetTtl, StripeBy, StripeMask};
use std::collections::{BTreeMap, BTreeSet};
use stdx::{Prng, UnixMs};
use structures::{Limits, Value};

fn keys<'a>(space: &'a Keyspace, now: i64, expire: ExpireRule) -> Keys<'a> {
    let options = KeyOptions {
        now: UnixMs(now),
        expire,
        notify: u32::MAX,
        touch: true,
        policy: MemoryPolicy::Lru,
    };
    Keys::new(space.hold(space.all()), 0, options)
}

/// Sets fields and gives them times, as HSET and HPEXPIREAT would.
fn set(keys: &mut Keys<'_>, key: &[u8], fields: &[(&str, Option<i64>)]) {
    let hash = keys.hash_or_new(key).unwrap();
    for (field, time) in fields {
        hash.set(field.as_bytes(), b"v", &Limits::default());
        hash.set_time(field.as_bytes(), *time);
    }
    keys.fields_changed(key);
}

fn timed(space: &Keyspace) -> usize {
    (0..space.stripes())
        .map(|stripe| space.hold(StripeMask::of(stripe)).stripe(stripe).db(0).timed_hashes())
        .sum()
}

/// Lets the cycle run until nothing is due; returns the removed fields as `key.field`.
fn cycle(space: &Keyspace, now: i64, budget: usize) -> BTreeSet<String> {
    let (mut all, mut out) = (BTreeSet::new(), Vec::new());
    for stripe in 0..space.stripes() {
        let mut held = space.hold(StripeMask::of(stripe));
        while held.stripe(stripe).has_due_fields(now) {
            held.stripe(stripe).expire_fields_step(now, budget, &mut out);
        }
    }
    for removed in out {
        assert_eq!(removed.db, 0);
        for field in removed.fields {
            let key = String::from_utf8_lossy(&removed.key);
            assert!(all.insert(format!("{key}.{}", String::from_utf8_lossy(&field))));
        }
    }
    all
}

#[test]
fn the_count_follows_keys_that_come_and_go() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    set(&mut k, b"a", &[("f", Some(5000)), ("g", None)]);
    set(&mut k, b"b", &[("f", None)]);
    set(&mut k, b"c", &[("f", Some(9000))]);
    let copy = k.peek(b"a").unwrap().clone().rename(b"copy");
    k.insert(copy);
    drop(k);
    assert_eq!(timed(&space), 3);
    assert_eq!(space.key_with_timed_fields().map(|(db, _)| db), Some(0));
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    let moved = k.take(b"a").unwrap().rename(b"d");
    k.insert(moved);
    k.set_string(b"c", b"over it", SetTtl::Clear);
    drop(k);
    assert_eq!(timed(&space), 2);
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    k.put(b"copy", Value::Str(b"x".to_vec()), SetTtl::Clear);
    k.hash_mut(b"d").unwrap().unwrap().set_time(b"f", None);
    k.fields_changed(b"d");
    drop(k);
    assert_eq!((timed(&space), space.key_with_timed_fields()), (0, None));
    assert!(cycle(&space, 1 << 40, 10).is_empty());
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    set(&mut k, b"d", &[("f", Some(5000))]);
    let (removed, _) = k.flush(None);
    drop(k);
    assert_eq!((removed, timed(&space)), (4, 0));
}

#[test]
fn who_asks_for_a_field_removes_it_once_it_is_due() {
    let space = Keyspace::new(1, 4, StripeBy::Hash);
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    set(&mut k, b"h", &[("f", Some(2000)), ("g", Some(2000)), ("h", Some(3000))]);
    drop(k);
    for (now, rule) in [(1999, ExpireRule::Remove), (9999, ExpireRule::Hide)] {
        let mut k = keys(&space, now, rule);
        k.expire_fields(b"h", [&b"f"[..]]);
        assert!(k.finish().implied.is_empty());
    }
    assert_eq!(keys(&space, 7, ExpireRule::Hide).fields_now(), 7);
    assert_eq!(keys(&space, 7, ExpireRule::Ignore).fields_now(), i64::MIN);
    let mut k = keys(&space, 2000, ExpireRule::Remove);
    k.expire_fields(b"h", [&b"f"[..], b"none", b"f", b"h"]);
    assert_eq!(k.peek(b"h").map(|entry| entry.type_name()), Some("hash"));
    let changes = k.finish();
    let names: Vec<_> = changes.events.iter().map(|event| event.name).collect();
    assert_eq!(names, ["hexpired"]);
    assert!(
        matches!(&changes.implied[..], [Change::ExpiredFields { fields, .. }] if fields.len() == 1)
    );
    let mut k = keys(&space, 3000, ExpireRule::Remove);
    k.expire_fields(b"h", [&b"g"[..], b"h"]);
    assert!(k.peek(b"h").is_none());
    let changes = k.finish();
    let names: Vec<_> = changes.events.iter().map(|event| event.name).collect();
    assert_eq!(names, ["hexpired", "del"]);
    assert_eq!((timed(&space), space.stats().expired_fields), (0, 3));
}

/// While a snapshot is on its way to a big hash, the cycle leaves it alone; small ones go on.
#[test]
fn a_big_hash_waits_for_the_snapshot() {
    let space = Keyspace::new(1, 1, StripeBy::Hash);
    let mut k = keys(&space, 1000, ExpireRule::Remove);
    let names: Vec<String> = (0..2000).map(|n| format!("f{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), Some(2000))).collect();
    set(&mut k, b"big", &fields);
    set(&mut k, b"small", &fields[..5]);
    drop(k);
    assert!(space.begin_pass(|out, entry| out.extend_from_slice(entry.key()), || {}));
    assert!(space.pass_has_timed_fields());
    let removed = cycle(&space, 5000, 100);
    assert_eq!(removed.len(), 5);
    assert_eq!(
        (timed(&space), space.hold(StripeMask::of(0)).stripe(0).has_due_fields(5200)),
        (1, false)
    );
    let (mut out, mut keys_done) = (Vec::new(), 0);
    while space.hold(StripeMask::of(0)).stripe(0).pass_step(1000, &mut out, &mut keys_done)
        == crate::PassProgress::More
    {}
    assert_eq!(keys_done, 2);
    assert_eq!(cycle(&space, 6000, 100).len(), 2000);
    assert_eq!(timed(&space), 0);
}

/// The cycle finds exactly what a map says is due, however much it may do at once.
#[test]
fn the_cycle_finds_what_is_due() {
    for (seed, budget) in [(1, 1), (2, 7), (3, 1000)] {
        let mut rng = Prng::new(seed);
        let space = Keyspace::new(1, 4, StripeBy::Hash);
        let mut model: BTreeMap<(String, String), Option<i64>> = BTreeMap::new();
        let mut now = 1_000_000;
        for _ in 0..60 {
            for _ in 0..40 {
                // One hash in eight is big.
                let key = format!("k{}", rng.below(24));
                let fields = if key.ends_with('7') { 900 } else { 6 };
                let mut k = keys(&space, now, ExpireRule::Ignore);
                for _ in 0..fields / 6 {
                    let field = format!("f{}", rng.below(fields));
                    let time = (!rng.chance(30)).then(|| now + rng.below(2000) as i64);
                    set(&mut k, key.as_bytes(), &[(&field, time)]);
                    model.insert((key.clone(), field), time);
                }
            }
            now += rng.below(700) as i64;
            let removed = cycle(&space, now, budget);
            // What is due since less than a tick may stay.
            let sure = now - 64;
            for ((key, field), time) in &model {
                let name = format!("{key}.{field}");
                if time.is_some_and(|time| time <= sure) {
                    assert!(removed.contains(&name), "{name} is due");
                }
                if removed.contains(&name) {
                    assert!(time.is_some_and(|time| time <= now), "{name} is not due");
                }
            }
            model.retain(|(key, field), _| !removed.contains(&format!("{key}.{field}")));
            let alive: BTreeSet<_> =
                model.iter().filter(|(_, time)| time.is_some()).map(|((key, _), _)| key).collect();
            assert_eq!(timed(&space), alive.len());
            let mut k = keys(&space, now, ExpireRule::Ignore);
            for key in (0..24).map(|n| format!("k{n}")) {
                let fields = model.keys().filter(|(own, _)| *own == key).count();
                let len = k.hash(key.as_bytes()).unwrap().map_or(0, Hash::len);
                assert_eq!(len, fields, "{key}");
            }
        }
    }
}
