//! A pass with values in parts: what it hands out is the state at its start, whatever happens.

use super::*;
use crate::{ExpireRule, KeyOptions, Keys, Keyspace, MemoryPolicy, SetTtl, StripeBy, StripeMask};
use std::collections::BTreeMap;
use stdx::{Prng, UnixMs};
use structures::{Limits, Value, ValueRef};

/// Of each key: its head, and its elements in order of their bytes.
type Picture = BTreeMap<(usize, Vec<u8>), (String, Vec<Vec<u8>>)>;

fn head(out: &mut Vec<u8>, entry: &Entry) -> Option<i64> {
    let len = match entry.value() {
        ValueRef::Set(set) => set.len(),
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Zset(zset) => zset.len(),
        _ => 0,
    };
    let key = String::from_utf8_lossy(entry.key()).into_owned();
    let line = format!("K {key} {:?} {} {len}\n", entry.stamp(), entry.type_name());
    out.extend_from_slice(line.as_bytes());
    Some(len as i64)
}

fn part(out: &mut Vec<u8>, part: Part<'_>, _base: Option<i64>) {
    let line = match part {
        Part::Member(member) => format!("E {member:?}\n"),
        Part::Field { field, value, time } => format!("E {field:?} {value:?} {time:?}\n"),
        Part::Scored { member, score } => format!("E {member:?} {score}\n"),
    };
    out.extend_from_slice(line.as_bytes());
}

fn whole(out: &mut Vec<u8>, entry: &Entry) {
    head(out, entry);
    match entry.value() {
        ValueRef::Str(text) => {
            let text = text.to_vec();
            let sum = structures::hash::hash_bytes(&text);
            out.extend_from_slice(format!("E {} {sum}\n", text.len()).as_bytes());
        }
        ValueRef::List(list) => {
            for (n, element) in list.iter().enumerate() {
                out.extend_from_slice(format!("E {n} {:?}\n", element.to_vec()).as_bytes());
            }
        }
        ValueRef::Set(set) => {
            set.iter().for_each(|m| m.with(|member| part(out, Part::Member(member), None)));
        }
        ValueRef::Hash(hash) => {
            let mut fields = hash.iter();
            while let Some((field, value, time)) = fields.next_timed() {
                let (field, value) = (field.to_vec(), value.to_vec());
                part(out, Part::Field { field: &field, value: &value, time }, None);
            }
        }
        ValueRef::Zset(zset) => {
            for (member, score) in zset.iter() {
                member.with(|member| part(out, Part::Scored { member, score }, None));
            }
        }
        ValueRef::Stream(stream) => {
            out.extend_from_slice(format!("E {}\n", stream.len()).as_bytes());
        }
    }
}

const ENCODER: PassEncoder = PassEncoder { entry: whole, parts: Some(PartsEncoder { head, part }) };

/// Puts pieces together as a sink does, and insists on their order.
#[derive(Default)]
struct Sink {
    texts: BTreeMap<usize, Vec<u8>>,
    waiting: Vec<Handed>,
    in_value: Option<usize>,
}

impl Sink {
    fn add(&mut self, out: &mut Vec<Handed>) {
        for handed in out.drain(..) {
            match handed {
                Handed::Part { db, bytes, last } => {
                    assert!(self.in_value.is_none_or(|open| open == db));
                    self.texts.entry(db).or_default().extend_from_slice(&bytes);
                    self.in_value = (!last).then_some(db);
                }
                Handed::Rest { db, mut entry } => {
                    assert_eq!(self.in_value.take(), Some(db));
                    self.drain(db, &mut entry);
                }
                Handed::Emptied(_) => {}
                whole => self.waiting.push(whole),
            }
        }
        if self.in_value.is_none() {
            for handed in std::mem::take(&mut self.waiting) {
                match handed {
                    Handed::Records { db, bytes, .. } => {
                        self.texts.entry(db).or_default().extend_from_slice(&bytes);
                    }
                    Handed::Value { db, mut entry, .. } => self.drain(db, &mut entry),
                    _ => unreachable!(),
                }
            }
        }
    }

    fn drain(&mut self, db: usize, entry: &mut Entry) {
        let text = self.texts.entry(db).or_default();
        let done = ENCODER.drain(entry, &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok::<(), ()>(())
        });
        assert_eq!(done, Ok(()));
    }

    fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        for (db, text) in &self.texts {
            let mut at = None;
            for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                if line[0] == b'K' {
                    let key = line[2..].split(|&b| b == b' ').next().unwrap().to_vec();
                    let head = String::from_utf8(line.to_vec()).unwrap();
                    let old = picture.insert((*db, key.clone()), (head, Vec::new()));
                    assert!(old.is_none(), "{} came twice", String::from_utf8_lossy(&key));
                    at = Some((*db, key));
                } else {
                    let at = at.as_ref().expect("elements follow a head");
                    picture.get_mut(at).unwrap().1.push(line.to_vec());
                }
            }
        }
        picture.values_mut().for_each(|(_, elements)| elements.sort());
        picture
    }
}

fn picture(space: &Keyspace) -> Picture {
    let (mut sink, mut held) = (Sink::default(), space.hold(space.all()));
    for stripe in held.each() {
        for (db, part) in stripe.dbs.iter().enumerate() {
            let text = sink.texts.entry(db).or_default();
            part.table.iter().for_each(|entry| whole(text, entry));
        }
    }
    sink.picture()
}

fn keys(space: &Keyspace, db: usize, now: i64) -> Keys<'_> {
    let policy = MemoryPolicy::Lru;
    let expire = ExpireRule::Remove;
    let options = KeyOptions { now: UnixMs(now), expire, notify: 0, touch: true, policy };
    Keys::new(space.hold(space.all()), db, options)
}

const DBS: usize = 3;
const KEYS: u64 = 12;

fn name(prng: &mut Prng) -> Vec<u8> {
    format!("key:{}", prng.below(KEYS)).into_bytes()
}

/// Up to a few hundred changes of one value; big forms are the rule.
fn change_value(keys: &mut Keys<'_>, key: &[u8], prng: &mut Prng) {
    let limits = Limits::default();
    let kind = keys.peek(key).map_or("none", Entry::type_name);
    let count = if kind == "none" { prng.below(800) } else { prng.below(20) };
    let choice = prng.below(5);
    for _ in 0..=count {
        let element = format!("e{}", prng.below(900)).into_bytes();
        let number = prng.below(500);
        match (kind, choice) {
            ("hash", _) | ("none", 0) => {
                let hash = keys.hash_or_new(key).unwrap();
                match prng.below(8) {
                    0 | 1 => drop(hash.remove(&element)),
                    2 => drop(hash.set_time(&element, Some(number as i64 + 100_000))),
                    _ => drop(hash.set(&element, &vec![b'v'; number as usize], &limits)),
                }
                keys.fields_changed(key);
            }
            ("set", _) | ("none", 1) => {
                let set = keys.set_or_new(key).unwrap();
                match prng.below(3) {
                    0 => drop(set.remove(&element)),
                    _ => drop(set.add(&element, &limits)),
                }
            }
            ("zset", _) | ("none", 2) => {
                let zset = keys.zset_or_new(key).unwrap();
                match prng.below(3) {
                    0 => drop(zset.remove(&element)),
                    _ => drop(zset.insert(&element, number as f64, &limits)),
                }
            }
            ("list", _) | ("none", 3) => {
                let list = keys.list_or_new(key).unwrap();
                let element = element.repeat(1 + number as usize % 20);
                match prng.below(12) {
                    0 => drop(list.pop_front()),
                    1 => list.push_front(&element, &limits),
                    2 => drop(list.remove(1, &element)),
                    3 => drop(list.insert(&element, true, b"pivoted", &limits)),
                    4 => drop(list.set(number as i64, &element, &limits)),
                    5 if prng.chance(5) => list.trim(number as usize, 2000),
                    _ => list.push_back(&element, &limits),
                }
            }
            ("string", _) | ("none", _) => {
                if keys.peek(key).is_none() {
                    keys.set_string(key, &vec![b's'; 1_100_000], SetTtl::Clear);
                }
                let at = prng.below(1_300_000) as usize;
                keys.write(key).unwrap().write_str_at(at, &element);
            }
            _ => unreachable!(),
        }
    }
    keys.remove_if_empty(key);
}

fn change(space: &Keyspace, prng: &mut Prng, now: i64) {
    let db = prng.below(DBS as u64) as usize;
    let (mut keys, key) = (keys(space, db, now), name(prng));
    match prng.below(60) {
        0 => drop(keys.remove(&key)),
        1 => keys.set_string(&key, b"short", SetTtl::Keep),
        2 => {
            // RENAME, and MOVE.
            if let Some(entry) = keys.take(&key) {
                keys.db = prng.below(DBS as u64) as usize;
                let to = name(prng);
                keys.remove(&to);
                keys.insert(entry.rename(&to));
            }
        }
        3 => {
            // COPY
            let copy = keys.view(&key).map(|entry| {
                let mut copy = entry.clone().rename(b"copy");
                copy.set_mark(false);
                copy
            });
            if let Some(copy) = copy {
                keys.remove(b"copy");
                keys.insert(copy);
            }
        }
        4 if prng.chance(30) => drop(keys.flush(if prng.chance(50) { Some(db) } else { None })),
        5 if prng.chance(50) => keys.swap_dbs(db, prng.below(DBS as u64) as usize),
        6 => keys.put(&key, Value::Str(vec![b'p'; 2_000_000]), SetTtl::Clear),
        7 | 8 => drop(keys.set_expire(&key, Some(now + prng.below(40) as i64))),
        9 => drop(keys.set_expire(&key, None)),
        10 => {
            drop(keys);
            let stripe = prng.below(space.stripes() as u64) as usize;
            space.hold(StripeMask::of(stripe)).stripe(stripe).expire_step(now, 5, &mut Vec::new());
        }
        11 => {
            drop(keys);
            let stripe = space.stripe_of(&key);
            space.hold(StripeMask::of(stripe)).stripe(stripe).evict(db, &key, false);
        }
        12 => drop(keys.peek(&key).is_some()),
        _ => change_value(&mut keys, &key, prng),
    }
}

fn no_trace(space: &Keyspace) {
    assert_eq!(space.snapshot_held(), 0, "nothing is held any more");
    for stripe in space.hold(space.all()).each() {
        assert!(stripe.pass.is_none());
        for db in &mut stripe.dbs {
            assert!(db.pass.is_none());
            let mut cursor = 0;
            loop {
                cursor = db.table.scan_mut(cursor, &mut |entry| {
                    assert!(!entry.mark() && entry.parts_head().is_none());
                });
                if cursor == 0 {
                    break;
                }
            }
        }
    }
}

fn one_pass(space: &Keyspace, prng: &mut Prng, now: &mut i64, wanted: bool) {
    let expected = picture(space);
    assert!(space.begin_pass_in_parts(ENCODER, || ()));
    let (mut sink, mut out, mut count) = (Sink::default(), Vec::new(), 0);
    let budget = prng.between(20, 6000) as usize;
    let mut steps_left = if wanted { u64::MAX } else { prng.below(30) };
    for stripe in 0..space.stripes() {
        loop {
            for _ in 0..prng.below(4) {
                *now += prng.below(3) as i64;
                change(space, prng, *now);
            }
            let any = prng.below(space.stripes() as u64) as usize;
            if prng.chance(20) {
                space.hold(StripeMask::of(any)).stripe(any).take_pre_images(&mut out);
            }
            if steps_left == 0 {
                space.hold(space.all()).each().for_each(|stripe| stripe.abandon_pass());
            }
            steps_left = steps_left.saturating_sub(1);
            let mut held = space.hold(StripeMask::of(stripe));
            let progress = held.stripe(stripe).pass_step(budget, &mut out, &mut count);
            drop(held);
            if wanted {
                sink.add(&mut out);
            }
            assert_ne!(progress, PassProgress::Lost);
            if progress == PassProgress::Done {
                break;
            }
        }
    }
    out.clear();
    if wanted {
        assert!(sink.in_value.is_none() && sink.waiting.is_empty());
        let got = sink.picture();
        for (at, value) in &expected {
            let other = got.get(at).unwrap_or_else(|| panic!("{} is missing", value.0));
            assert_eq!(other.0, value.0);
            assert!(other.1 == value.1, "{}: {} elements", value.0, other.1.len());
        }
        assert_eq!(got.len(), expected.len());
    }
    no_trace(space);
}

#[test]
fn a_pass_in_parts_sees_the_state_at_its_start() {
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let stripes = [1, 2, 8][seed as usize % 3];
        let space = Keyspace::new(DBS, stripes, StripeBy::Hash);
        let mut now = 0;
        for round in 0..6 {
            (0..60).for_each(|_| change(&space, &mut prng, now));
            one_pass(&space, &mut prng, &mut now, round % 4 != 3);
        }
    }
}

#[test]
fn what_is_held_is_counted() {
    let space = Keyspace::new(1, 1, StripeBy::Hash);
    let mut k = keys(&space, 0, 0);
    for n in 0..5000 {
        k.set_or_new(b"set").unwrap().add(format!("m{n}").as_bytes(), &Limits::default());
    }
    drop(k);
    let size = space.hold(space.all()).stripe(0).dbs[0].table.iter().next().unwrap().mem_usage();
    assert!(space.begin_pass_in_parts(ENCODER, || ()));
    let mut k = keys(&space, 0, 0);
    k.set_or_new(b"set").unwrap().remove(b"m17");
    assert!((1..500).contains(&space.snapshot_held()), "one element");
    k.remove(b"set");
    let held = space.snapshot_held() as usize;
    assert!((size / 2..size * 2).contains(&held), "the whole set");
    assert!(k.changes.trash.is_empty(), "the snapshot frees it");
    drop(k);
    let (mut out, mut count) = (Vec::new(), 0);
    let mut held = space.hold(space.all());
    while held.stripe(0).pass_step(100, &mut out, &mut count) == PassProgress::More {}
    drop(held);
    let mut sink = Sink::default();
    sink.add(&mut out);
    assert_eq!(sink.picture()[&(0, b"set".to_vec())].1.len(), 5000);
    no_trace(&space);
}
