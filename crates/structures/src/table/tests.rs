//! Against a naive model, with the SCAN promise checked over random growth and shrinking.

use super::*;
use crate::items::{Field, SetMember};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn name(i: u64) -> Vec<u8> {
    format!("key:{i}").into_bytes()
}

fn insert(table: &mut Table<SetMember>, i: u64) {
    let key = name(i);
    table.insert_new(hash_bytes(&key), SetMember::new(&key));
}

fn remove(table: &mut Table<SetMember>, i: u64) -> bool {
    let key = name(i);
    table.remove(hash_bytes(&key), &key).is_some()
}

/// Every entry is where its hash says, the counts are right, and no child is kept in vain.
fn check<E: TableEntry>(table: &Table<E>) {
    let mut seen = 0;
    let mut children = 0;
    for index in 0..table.buckets {
        let chain = table.chain_at(index);
        // SAFETY: the table is borrowed.
        unsafe {
            chain.for_each(|entry| {
                assert_eq!(bucket_index(entry.hash(), table.buckets, table.mask), index);
                seen += 1;
            });
            let mut piece = chain.first();
            while let Some(child) = piece.child() {
                assert_ne!(child.used(), 0, "an empty child is freed");
                children += 1;
                piece = child;
            }
        }
    }
    assert_eq!(seen, table.len());
    assert!(table.child_bytes >= children * 32 && table.child_bytes <= children * 64);
    assert_eq!(table.iter().count(), table.len());
    if table.buckets > 0 {
        assert!(table.mask.count_ones() == 64 - (table.buckets as u64 - 1).leading_zeros());
    }
}

#[test]
fn behaves_as_a_map() {
    let mut prng = Prng::new(42);
    let mut table: Table<Field> = Table::new();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for step in 0..60_000u64 {
        // The range of keys swells and shrinks, so that the table does, too.
        let phase = (step / 6_000) % 2;
        let key = name(prng.below(4_000));
        let hash = hash_bytes(&key);
        let adds = if phase == 0 { 70 } else { 15 };
        if prng.chance(adds) {
            let value = prng.hex(prng.clone().below(20) as usize).into_bytes();
            if let Some(entry) = table.get_mut(hash, &key) {
                entry.set_value(&value);
            } else {
                table.insert_new(hash, Field::new(&key, &value));
            }
            model.insert(key, value);
        } else if prng.chance(90) {
            let removed = table.remove(hash, &key);
            assert_eq!(removed.map(|entry| entry.value().to_vec()), model.remove(&key));
        } else {
            let found = table.get(hash, &key).map(|entry| entry.value());
            assert_eq!(found, model.get(&key).map(Vec::as_slice));
        }
        assert_eq!(table.len(), model.len());
        if step % 997 == 0 {
            check(&table);
        }
    }
    check(&table);
    let all: BTreeMap<_, _> =
        table.iter().map(|entry| (entry.field().to_vec(), entry.value().to_vec())).collect();
    assert_eq!(all, model);
    for key in model.keys() {
        assert!(table.remove(hash_bytes(key), key).is_some());
    }
    assert_eq!((table.len(), table.buckets, table.allocated()), (0, 0, 0));
}

/// An entry whose hash is its number: for chains of any length.
struct Chosen(Box<(u64, Vec<u8>)>);

impl Chosen {
    fn new(hash: u64, i: u64) -> Chosen {
        Chosen(Box::new((hash, name(i))))
    }
}

impl TableEntry for Chosen {
    fn key(&self) -> &[u8] {
        &self.0.1
    }
    fn hash(&self) -> u64 {
        self.0.0
    }
    fn address(&self) -> *const u8 {
        std::ptr::from_ref(&*self.0).cast()
    }
}

#[test]
fn chains_of_any_length_work() {
    let mut prng = Prng::new(8);
    let mut table: Table<Chosen> = Table::new();
    let mut model = BTreeSet::new();
    // All hashes agree in all bits but some high ones: splitting never helps.
    let hash = |i: u64| (i % 3) << 60 | 5;
    for _ in 0..20_000 {
        let i = prng.below(100);
        if model.contains(&i) && prng.chance(60) {
            assert!(table.remove(hash(i), &name(i)).is_some());
            model.remove(&i);
        } else if model.insert(i) {
            table.insert_new(hash(i), Chosen::new(hash(i), i));
        }
        assert_eq!(table.len(), model.len());
    }
    check(&table);
    for i in 0..100 {
        assert_eq!(table.get(hash(i), &name(i)).is_some(), model.contains(&i));
    }
    let mut out = Vec::new();
    table.extract_if_hash32(5, &mut |entry| entry.0.0 >> 60 == 1, &mut out);
    assert_eq!(out.len(), model.iter().filter(|&i| i % 3 == 1).count());
    assert!(out.iter().all(|entry| entry.0.0 >> 60 == 1));
    check(&table);
    // A random draw from one long chain.
    if !table.is_empty() {
        assert!(table.random(&mut prng).is_some());
    }
}

#[test]
fn size_follows_the_number_of_keys() {
    let mut table = Table::new();
    let mut worst = 0f64;
    let mut sum = 0f64;
    let mut samples = 0f64;
    let mut next = 10_000.0;
    for i in 0..400_000u64 {
        insert(&mut table, i);
        // Samples evenly over the logarithm of the size, for some doublings.
        if table.len() as f64 > next {
            next *= 1.03;
            let per_key = table.mem_usage() as f64 / table.len() as f64;
            worst = worst.max(per_key);
            sum += per_key;
            samples += 1.0;
        }
    }
    check(&table);
    assert!(samples > 100.0 && sum / samples < 13.0, "{}", sum / samples);
    assert!(worst < 13.5, "{worst}");
    for i in 0..399_990u64 {
        assert!(remove(&mut table, i));
    }
    check(&table);
    assert!(table.allocated() < 1024, "{}", table.allocated());
    table.clear();
    assert_eq!(table.allocated(), 0);
}

#[test]
fn random_entries_are_drawn_evenly() {
    let mut prng = Prng::new(4);
    let mut table = Table::new();
    for i in 0..50 {
        insert(&mut table, i);
    }
    let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..50_000 {
        *counts.entry(table.random(&mut prng).unwrap().text().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 50);
    // 1000 expected, with a standard deviation of 31.
    assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
}

#[test]
fn cursor_order_is_that_of_reversed_hashes() {
    let mut table = Table::new();
    for i in 0..777 {
        insert(&mut table, i);
    }
    let (mut cursor, mut visited, mut steps) = (0, BTreeSet::new(), 0);
    loop {
        cursor = table.scan(cursor, &mut |entry| {
            visited.insert(entry.text().to_vec());
        });
        steps += 1;
        if cursor == 0 {
            break;
        }
        for entry in table.iter() {
            let before = entry.hash().reverse_bits() < cursor.reverse_bits();
            assert_eq!(before, visited.contains(entry.text()));
        }
    }
    assert_eq!(visited.len(), 777);
    assert_eq!(steps, table.buckets());
}

#[test]
fn entries_may_be_replaced_during_a_scan_and_extracted() {
    let mut table = Table::new();
    for i in 0..5_000 {
        insert(&mut table, i);
    }
    let mut cursor = 0;
    loop {
        cursor = table.scan_mut(cursor, &mut |entry| *entry = SetMember::new(entry.text()));
        if cursor == 0 {
            break;
        }
    }
    check(&table);
    let mut out = Vec::new();
    for i in 0..5_000 {
        let key = name(i);
        let found = out.len();
        table.extract_if_hash32(
            hash_bytes(&key) as u32,
            &mut |entry| entry.text().ends_with(b"7"),
            &mut out,
        );
        assert!(out[found..].iter().all(|entry| entry.text().ends_with(b"7")));
    }
    assert_eq!(out.len(), 500);
    assert_eq!(table.len(), 4_500);
    check(&table);
    assert!(table.iter().all(|entry| !entry.text().ends_with(b"7")));
}

#[test]
fn the_hint_outlives_changes_and_takes() {
    let mut table = Table::new();
    let hint = table.prefetch_hint();
    for i in 0..10_000 {
        insert(&mut table, i);
        let hash = hash_bytes(&name(i));
        hint.prefetch(hash);
        table.prefetch_bucket(hash);
        table.prefetch_entry(hash);
    }
    let taken = table.take();
    assert_eq!((taken.len(), table.len()), (10_000, 0));
    hint.prefetch(1);
    insert(&mut table, 1);
    assert!(Arc::ptr_eq(&hint, &table.prefetch_hint()));
    drop(taken);
    drop(table);
    hint.prefetch(2);
}

#[test]
fn maintenance_finishes_what_extraction_left() {
    let mut table = Table::new();
    for i in 0..20_000 {
        insert(&mut table, i);
    }
    let mut out = Vec::new();
    for low in 0..=u32::MAX {
        table.extract_if_hash32(low, &mut |_| true, &mut out);
        if out.len() == 20_000 || low > 40_000 {
            break;
        }
    }
    while table.maintenance(100) > 0 {}
    assert!(table.len() >= table.buckets() * SHRINK_AT || table.buckets() <= 1);
    check(&table);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever is added and removed between the calls of a scan, what was there from its start to
    /// its end is visited, and nothing is visited that was never there.
    #[test]
    fn a_scan_misses_nothing_that_stays(
        stay in 0u64..400,
        start in 0u64..3_000,
        changes in proptest::collection::vec((any::<bool>(), 0u64..600), 0..120),
    ) {
        let mut table = Table::new();
        (0..stay).for_each(|i| insert(&mut table, i));
        // Others come and go at the end of the range of numbers.
        let (mut low, mut high) = (10_000, 10_000 + start);
        (low..high).for_each(|i| insert(&mut table, i));
        let mut visited = BTreeSet::new();
        let mut cursor = 0;
        let mut changes = changes.into_iter();
        loop {
            cursor = table.scan(cursor, &mut |entry| {
                visited.insert(entry.text().to_vec());
            });
            if cursor == 0 {
                break;
            }
            match changes.next() {
                Some((true, n)) => {
                    (high..high + n).for_each(|i| insert(&mut table, i));
                    high += n;
                }
                Some((false, n)) => {
                    let to = (low + n).min(high);
                    for i in low..to {
                        prop_assert!(remove(&mut table, i));
                    }
                    low = to;
                }
                None => {}
            }
        }
        for i in 0..stay {
            prop_assert!(visited.contains(&name(i)));
        }
        for i in low..high.min(10_000 + start) {
            prop_assert!(visited.contains(&name(i)));
        }
        check(&table);
    }
}
