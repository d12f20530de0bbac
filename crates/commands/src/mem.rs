//! MEMORY USAGE: what one key costs.

use structures::{Elem, Entry, Hash, Set, ValueRef, Zset, class_size};

/// Elements that MEMORY USAGE looks at unless told otherwise (`SAMPLES`).
/// Source: redis 7.0 `object.c:OBJ_COMPUTE_SIZE_DEF_SAMPLES`.
pub const SAMPLES_DEFAULT: usize = 5;

/// An entry's share of a hash table: a pointer, its tag, and its part of the free places at usual
/// load. Source: `structures::Table`, 7 entries in a bucket of 64 bytes.
const TABLE_SHARE: usize = 12;
/// A member's share of a sorted set's tree: score and pointer in a leaf three quarters full, and
/// the nodes above.
const TREE_SHARE: usize = 24;

/// Bytes that a key takes in all: its entry with key, value and expiry time, and its place in the
/// table.
///
/// Counted exactly, but for sets, hashes and sorted sets that are stored as tables and have more
/// than `samples` elements: of those the first `samples` are measured and the others taken to be
/// like them, so that asking about a big key costs nothing. `samples` 0 measures every element.
pub fn usage(entry: &Entry, samples: usize) -> usize {
    let elements = match entry.value() {
        ValueRef::Set(set) if big(set.len(), set.encoding(), samples) => sampled_set(set, samples),
        ValueRef::Hash(hash) if big(hash.len(), hash.encoding(), samples) => {
            sampled_hash(hash, samples)
        }
        ValueRef::Zset(zset) if big(zset.len(), zset.encoding(), samples) => {
            sampled_zset(zset, samples)
        }
        _ => return entry.mem_usage() + TABLE_SHARE,
    };
    // Head, stamp, the collection's handle and the key.
    let stamp = if entry.stamp().is_some() { 8 } else { 0 };
    class_size(24 + stamp + entry.key().len()) + elements + TABLE_SHARE
}

fn big(len: usize, encoding: &str, samples: usize) -> bool {
    samples > 0 && len > samples && matches!(encoding, "hashtable" | "skiplist")
}

/// The size of `len` elements of which `sizes` gives some.
fn extrapolate(sizes: impl Iterator<Item = usize>, len: usize) -> usize {
    let (count, sum) = sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
    if count == 0 { 0 } else { (sum as f64 / count as f64 * len as f64) as usize }
}

/// One allocation for an element of these parts, each with its length.
fn element(parts: &[Elem<'_>]) -> usize {
    let head = |len: usize| if len < 255 { 1 } else { 5 };
    class_size(parts.iter().map(|part| head(part.len()) + part.len()).sum())
}

fn sampled_set(set: &Set, samples: usize) -> usize {
    extrapolate(set.iter().take(samples).map(|m| element(&[m]) + TABLE_SHARE), set.len())
}

fn sampled_hash(hash: &Hash, samples: usize) -> usize {
    let (mut fields, mut left) = (hash.iter(), samples);
    let sizes = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        let (field, value, time) = fields.next_timed()?;
        // The time, and its note in the index.
        let time = if time.is_some() { 12 } else { 0 };
        Some(element(&[field, value]) + time + TABLE_SHARE)
    });
    extrapolate(sizes, hash.len())
}

fn sampled_zset(zset: &Zset, samples: usize) -> usize {
    let sizes =
        zset.iter().take(samples).map(|(m, _)| element(&[m]) + 8 + TABLE_SHARE + TREE_SHARE);
    extrapolate(sizes, zset.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use structures::{Limits, Value};

    fn entry_of(value: Value) -> Entry {
        Entry::new(b"a key of 16 byte", value, None)
    }

    #[test]
    fn small_values_are_counted_exactly() {
        let entry = Entry::new_str(b"a key of 16 byte", &[b'x'; 32], None);
        assert_eq!(usage(&entry, 5), entry.mem_usage() + TABLE_SHARE);
        let long = Entry::new_str(b"key", &[b'x'; 100_000], None);
        assert!(usage(&long, 5) >= 100_000);
    }

    #[test]
    fn samples_come_near_the_whole() {
        let limits = Limits::default();
        let (mut set, mut hash, mut zset) = (Set::new(), Hash::new(), Zset::new());
        for n in 0..20_000 {
            let text = format!("element:{n:07}").into_bytes();
            set.add(&text, &limits);
            hash.set(&text, b"ten bytes.", &limits);
            zset.insert(&text, f64::from(n), &limits);
        }
        let values =
            [Value::Set(Box::new(set)), Value::Hash(Box::new(hash)), Value::Zset(Box::new(zset))];
        for entry in values.map(entry_of) {
            let (exact, guess) = (usage(&entry, 0) as f64, usage(&entry, 5) as f64);
            let ratio = guess / exact;
            assert!((0.7..1.4).contains(&ratio), "{} {ratio}", entry.type_name());
        }
    }
}
