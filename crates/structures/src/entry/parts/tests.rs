//! What is handed out in parts is the state at the beginning, whatever happens meanwhile.

use super::*;
use crate::{Limits, Set, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stdx::Prng;

/// Elements as texts that can be compared: name, then everything else.
type Model = BTreeMap<Vec<u8>, String>;

fn shown(part: Part<'_>) -> (Vec<u8>, String) {
    match part {
        Part::Member(member) => (member.to_vec(), String::new()),
        Part::Field { field, value, time } => (field.to_vec(), format!("{value:?} {time:?}")),
        Part::Scored { member, score } => (member.to_vec(), format!("{score}")),
    }
}

fn state(entry: &Entry) -> Model {
    match entry.value() {
        ValueRef::Set(set) => set.iter().map(|m| (m.to_vec(), String::new())).collect(),
        ValueRef::Hash(hash) => {
            let (mut out, mut fields) = (Model::new(), hash.iter());
            while let Some((field, value, time)) = fields.next_timed() {
                out.insert(field.to_vec(), format!("{:?} {time:?}", value.to_vec()));
            }
            out
        }
        ValueRef::Zset(zset) => {
            zset.iter().map(|(member, score)| (member.to_vec(), format!("{score}"))).collect()
        }
        _ => panic!("no collection"),
    }
}

fn mutate(entry: &mut Entry, prng: &mut Prng, names: u64) {
    let limits = Limits::default();
    let name = format!("n{}", prng.below(names)).into_bytes();
    let number = prng.below(1000);
    if let Some(set) = entry.set_mut() {
        match prng.below(8) {
            0..=3 => drop(set.add(&name, &limits)),
            4..=6 => drop(set.remove(&name)),
            _ => drop(set.pop_random(prng)),
        }
    } else if let Some(hash) = entry.hash_mut() {
        match prng.below(10) {
            0..=3 => drop(hash.set(&name, format!("{number}").as_bytes(), &limits)),
            4 => drop(hash.set_keep_time(&name, &vec![b'v'; number as usize], &limits)),
            5..=6 => drop(hash.remove(&name)),
            7 => drop(hash.set_time(&name, prng.chance(70).then_some(number as i64 + 1))),
            8 => drop(hash.remove(&name)),
            _ => hash.take_due(prng.below(400) as i64, 5, &mut Vec::new()),
        }
    } else if let Some(zset) = entry.zset_mut() {
        let len = zset.len() as u64;
        match prng.below(10) {
            0..=4 => drop(zset.insert(&name, number as f64 / 8.0 - 60.0, &limits)),
            5..=6 => drop(zset.remove(&name)),
            7 => drop(zset.pop_min()),
            8 => drop(zset.pop_max()),
            _ => {
                let start = prng.below(len + 1) as usize;
                zset.remove_by_rank(start, 3, &mut |_, _| ());
            }
        }
    }
}

fn fresh(kind: u64, limits: &Limits) -> Entry {
    let value = match kind {
        0 => {
            let mut set = Set::new();
            set.reserve(1000, limits);
            Value::Set(Box::new(set))
        }
        1 => {
            let mut hash = Hash::new();
            hash.reserve(1000, limits);
            Value::Hash(Box::new(hash))
        }
        _ => {
            let mut zset = Zset::new();
            zset.reserve(1000, 0, limits);
            Value::Zset(Box::new(zset))
        }
    };
    Entry::new(b"key", value, None)
}

/// Adds elements of one size.
fn fill(entry: &mut Entry, count: usize) {
    let limits = Limits::default();
    for n in 0..count {
        let name = format!("n{n}").into_bytes();
        if let Some(set) = entry.set_mut() {
            set.add(&name, &limits);
        } else if let Some(hash) = entry.hash_mut() {
            hash.set(&name, b"value", &limits);
        } else if let Some(zset) = entry.zset_mut() {
            zset.insert(&name, n as f64, &limits);
        }
    }
}

/// One watch over a value that goes on changing at every step.
fn check(prng: &mut Prng, kind: u64, held: &Arc<AtomicU64>) {
    let limits = Limits::default();
    let mut entry = fresh(kind, &limits);
    let names = prng.between(1, 800);
    for _ in 0..prng.below(3 * names) {
        mutate(&mut entry, prng, names);
    }
    let expected = state(&entry);
    let head = PartsHead { id: 7, bytes: b"head".to_vec(), base: None, held: Arc::clone(held) };
    entry.begin_parts(head);
    // Some are emptied, some grow, some are left alone.
    let (bias, changes) = (prng.below(3), prng.below(40));
    let mut got = Model::new();
    let budget = prng.between(1, 4000) as usize;
    loop {
        for _ in 0..prng.below(changes + 1) {
            let names = if bias == 0 { names * 4 } else { names };
            mutate(&mut entry, prng, names);
            if bias == 1 && prng.chance(3) {
                while !state(&entry).is_empty() {
                    mutate(&mut entry, prng, names / 2 + 1);
                    if prng.chance(1) {
                        break;
                    }
                }
            }
        }
        assert_eq!(entry.parts_head().map(|head| head.id), Some(7));
        let live = state(&entry);
        let done = entry.parts_step(budget, &mut |part| {
            let (name, rest) = shown(part);
            let cost = name.len() + rest.len();
            assert!(got.insert(name, rest).is_none(), "an element came twice");
            cost
        });
        assert_eq!(live, state(&entry), "a step changes nothing");
        if done {
            break;
        }
    }
    assert!(got == expected, "kind {kind}: {} elements, not {}", got.len(), expected.len());
    assert!(entry.parts_head().is_none());
    assert_eq!(held.load(Ordering::Relaxed), 0, "nothing is held any more");
}

#[test]
fn parts_are_the_state_at_the_beginning() {
    let held = Arc::new(AtomicU64::new(0));
    for seed in 0..45 {
        let mut prng = Prng::new(seed);
        check(&mut prng, seed % 3, &held);
    }
}

#[test]
fn a_copy_is_not_watched_and_a_dropped_watch_gives_its_bytes_back() {
    let held = Arc::new(AtomicU64::new(0));
    for kind in 0..3 {
        let mut prng = Prng::new(kind);
        let mut entry = fresh(kind, &Limits::default());
        fill(&mut entry, 500);
        assert!(entry.goes_in_parts() && entry.is_bulky());
        let exact = entry.mem_usage();
        assert!((exact / 2..exact * 2).contains(&entry.mem_estimate()));
        entry.begin_parts(PartsHead {
            id: 1,
            bytes: Vec::new(),
            base: None,
            held: Arc::clone(&held),
        });
        (0..1000).for_each(|_| mutate(&mut entry, &mut prng, 500));
        assert!(held.load(Ordering::Relaxed) > 0);
        assert!(entry.clone().parts_head().is_none());
        let mut entry = entry.rename(b"other");
        assert!(entry.parts_head().is_some());
        drop(entry);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }
}
