//! Measures the structures: time per operation, worst single insertion, bytes requested per item.
//! Run it with `cargo run --release -p structures --example bench`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // A benchmark reads the clock.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use stdx::Prng;
use structures::hash::hash_bytes;
use structures::{Entry, Hash, Limits, List, Set, Table, Value, ValueRef, Zset, class_size};

#[repr(C)]
struct Timespec {
    secs: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

/// Nanoseconds of processor time, page faults included, that this thread has used. Being preempted
/// does not count, so a busy machine disturbs it little.
fn cpu_ns() -> u64 {
    const THREAD_CPUTIME: i32 = 3;
    let mut time = Timespec { secs: 0, nanos: 0 };
    // SAFETY: `time` is writable and laid out as on 64-bit Linux, for which this program is.
    unsafe { clock_gettime(THREAD_CPUTIME, &mut time) };
    time.secs as u64 * 1_000_000_000 + time.nanos as u64
}

/// Counts what is requested.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: by the caller.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        BYTES.fetch_add(new, Relaxed);
        BYTES.fetch_sub(layout.size(), Relaxed);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: by the caller.
        unsafe { System.realloc(ptr, layout, new) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(out: &mut [u8; 16], i: u64) -> &[u8] {
    out[..4].copy_from_slice(b"key:");
    let mut rest = i;
    for byte in out[4..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out
}

fn timed(name: &str, n: u64, f: impl FnOnce()) {
    let (start, cpu) = (Instant::now(), cpu_ns());
    f();
    let per = |ns: u64| ns as f64 / n as f64;
    let (cpu, wall) = (per(cpu_ns() - cpu), per(start.elapsed().as_nanos() as u64));
    println!("{name:<44} {cpu:8.1} ns of CPU, {wall:8.1} ns elapsed");
}

fn keyspace() {
    const N: u64 = 1_000_000;
    let value = [b'v'; 32];
    let mut k = [0u8; 16];
    let before = BYTES.load(Relaxed);
    let mut table: Table<Entry> = Table::new();
    let mut prng = Prng::new(1);
    timed("insert of a new key (1 M)", N, || {
        for i in 0..N {
            let key = key(&mut k, i);
            table.insert_new(hash_bytes(key), Entry::new_str(key, &value, None));
        }
    });
    let used = BYTES.load(Relaxed) - before;
    println!(
        "bytes per key: {:.2} requested, {:.2} touched by the table beside 56 for the entry",
        used as f64 / N as f64,
        table.mem_usage() as f64 / N as f64
    );
    timed("get, random", N, || {
        for _ in 0..N {
            let key = key(&mut k, prng.below(N));
            let entry = table.get(hash_bytes(key), key).expect("inserted above");
            black_box(first_byte(entry));
        }
    });
    timed("get, absent", N, || {
        for _ in 0..N {
            let key = key(&mut k, N + prng.below(N));
            black_box(table.get(hash_bytes(key), key).is_none());
        }
    });
    let mut batches = |name: &str, write: bool| {
        let hint = table.prefetch_hint();
        timed(name, N, || {
            let mut keys = [[0u8; 16]; 16];
            let mut hashes = [0u64; 16];
            for _ in 0..N / 16 {
                for (k, hash) in keys.iter_mut().zip(&mut hashes) {
                    *hash = hash_bytes(key(k, prng.below(N)));
                    hint.prefetch(*hash);
                }
                hashes.iter().for_each(|&hash| table.prefetch_entry(hash));
                for (k, &hash) in keys.iter().zip(&hashes) {
                    let entry = table.get_mut(hash, k).expect("inserted above");
                    if write {
                        entry.replace_str(&value, false);
                    }
                    black_box(first_byte(entry));
                }
            }
        });
    };
    batches("get, random, prefetched in batches of 16", false);
    batches("set over the same size, batches of 16", true);
    let calls = CALLS.load(Relaxed);
    timed("set over the same size, random", N, || {
        for _ in 0..N {
            let key = key(&mut k, prng.below(N));
            table.get_mut(hash_bytes(key), key).expect("inserted above").replace_str(&value, false);
        }
    });
    println!("allocations by them: {}", CALLS.load(Relaxed) - calls);
    timed("scan, per key", N, || {
        let (mut cursor, mut sum) = (0, 0usize);
        loop {
            cursor = table.scan(cursor, &mut |entry| sum += entry.key().len());
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(sum as u64, 16 * N);
    });
    timed("random key", N / 10, || {
        (0..N / 10).for_each(|_| {
            black_box(table.random(&mut prng).is_some());
        });
    });
    timed("remove", N, || {
        for i in 0..N {
            let key = key(&mut k, i);
            assert!(table.remove(hash_bytes(key), key).is_some());
        }
    });
    assert_eq!(table.allocated(), 0);
}

fn first_byte(entry: &Entry) -> u8 {
    match entry.value() {
        ValueRef::Str(text) => text.byte_at(0).unwrap_or(0),
        _ => 0,
    }
}

/// Inserts 10 M keys, each timed on its own, then removes them; and does nothing as often, for
/// comparison.
fn worst() {
    const N: u64 = 10_000_000;
    let mut k = [0u8; 16];
    let mut table: Table<Entry> = Table::new();
    let (mut requested, mut touched, mut samples) = (0.0, 0.0, 0.0);
    let mut next = 100_000.0;
    let report = |name: &str, times: &mut Vec<u32>| {
        times.sort_unstable_by(|a, b| b.cmp(a));
        let over = times.iter().take_while(|&&ns| ns > 100_000).count();
        let top: Vec<u32> = times.iter().take(6).map(|ns| ns / 1000).collect();
        println!("{name}: worst {top:?} us of CPU; above 100 us: {over}");
    };
    let mut times = vec![0; N as usize];
    times.clear();
    for i in 0..N {
        let key = key(&mut k, i);
        let hash = hash_bytes(key);
        let start = cpu_ns();
        table.insert_new(hash, Entry::new_str(key, b"x", None));
        times.push((cpu_ns() - start) as u32);
        if i as f64 > next {
            next *= 1.02;
            requested += table.allocated() as f64 / i as f64;
            touched += table.mem_usage() as f64 / i as f64;
            samples += 1.0;
        }
    }
    report("10 M inserts", &mut times);
    println!(
        "table bytes per key, mean over sizes from 100 k to 10 M: {:.2} requested, {:.2} touched",
        requested / samples,
        touched / samples
    );
    times.clear();
    // Kept, so that what the allocator does with 10 M freed blocks is not measured.
    let mut removed = Vec::with_capacity(N as usize);
    for i in 0..N {
        let key = key(&mut k, i);
        let hash = hash_bytes(key);
        let start = cpu_ns();
        let entry = table.remove(hash, key);
        times.push((cpu_ns() - start) as u32);
        removed.push(entry);
    }
    report("10 M removals", &mut times);
    times.clear();
    removed.clear();
    for i in 0..N {
        let key = key(&mut k, i);
        let start = cpu_ns();
        removed.push(Some(Entry::new_str(key, b"x", None)));
        times.push((cpu_ns() - start) as u32);
    }
    report("10 M entries without a table", &mut times);
    times.clear();
    for _ in 0..N {
        let start = cpu_ns();
        black_box((0..60u64).fold(0, |a, b| black_box(a ^ b)));
        times.push((cpu_ns() - start) as u32);
    }
    report("10 M times nothing", &mut times);
}

/// Bytes requested for what `build` makes.
fn weigh<T>(build: impl FnOnce() -> T) -> (usize, T) {
    let before = BYTES.load(Relaxed);
    let built = build();
    (BYTES.load(Relaxed) - before, built)
}

fn collections() {
    let limits = Limits::default();
    let k = [b'k'; 16];
    let entry = |value: Value| Entry::new(&k, value, None);
    let small = |name: &str, bytes: usize| {
        println!("{name:<44} {bytes} bytes with its key, and about 13 of the table");
    };
    let (bytes, e) = weigh(|| {
        let mut hash = Hash::new();
        for i in 0..10 {
            hash.set(format!("field{i}").as_bytes(), format!("value{i:05}").as_bytes(), &limits);
        }
        entry(Value::Hash(Box::new(hash)))
    });
    assert_eq!(bytes, e.mem_usage());
    small("hash of 10 (6 B fields, 10 B values)", bytes);
    let (bytes, _) = weigh(|| {
        let mut list = List::new();
        (0..20).for_each(|i| list.push_back(format!("element{i:03}").as_bytes(), &limits));
        entry(Value::List(Box::new(list)))
    });
    small("list of 20 (10 B)", bytes);
    let (bytes, _) = weigh(|| {
        let mut set = Set::new();
        (0..20).for_each(|i| assert!(set.add((i * 1000).to_string().as_bytes(), &limits)));
        entry(Value::Set(Box::new(set)))
    });
    small("set of 20 ints", bytes);
    let (bytes, _) = weigh(|| {
        let mut set = Set::new();
        (0..20).for_each(|i| assert!(set.add(format!("member{i:04}").as_bytes(), &limits)));
        entry(Value::Set(Box::new(set)))
    });
    small("set of 20 strings (10 B)", bytes);
    let (bytes, _) = weigh(|| {
        let mut zset = Zset::new();
        for i in 0..20 {
            zset.insert(format!("member{i:04}").as_bytes(), f64::from(i) * 1.5, &limits);
        }
        entry(Value::Zset(Box::new(zset)))
    });
    small("zset of 20 (10 B)", bytes);
    big_collections(&limits);
}

fn big_collections(limits: &Limits) {
    const N: u64 = 1_000_000;
    let mut k = [0u8; 16];
    let mut prng = Prng::new(2);
    let (bytes, hash) = weigh(|| {
        let mut hash = Hash::new();
        (0..N).for_each(|i| {
            hash.set(&key(&mut k, i)[6..], b"0123456789", limits);
        });
        hash
    });
    let per = |bytes: usize| bytes as f64 / N as f64;
    println!(
        "hash of 1 M, per 10 B field and 10 B value: {:.1} ({:.1} touched)",
        per(bytes),
        per(hash.mem_usage())
    );
    drop(hash);
    for (name, score) in [("ascending", 0), ("random", 1), ("equal", 2)] {
        let mut zset = Zset::new();
        let before = BYTES.load(Relaxed);
        timed(&format!("zset insert, {name} scores (1 M)"), N, || {
            for i in 0..N {
                let score = match score {
                    0 => i as f64,
                    1 => prng.unit_f64(),
                    _ => 0.0,
                };
                zset.insert(&key(&mut k, i)[6..], score, limits);
            }
        });
        let bytes = BYTES.load(Relaxed) - before;
        println!("  per 10 B member: {:.1} ({:.1} touched)", per(bytes), per(zset.mem_usage()));
        timed("  score changed at random", N, || {
            for _ in 0..N {
                let member = &key(&mut k, prng.below(N))[6..];
                zset.insert(member, prng.unit_f64(), limits);
            }
        });
        timed("  rank", N, || {
            for _ in 0..N {
                black_box(zset.rank(&key(&mut k, prng.below(N))[6..], false));
            }
        });
        timed("  remove", N, || {
            for i in 0..N {
                black_box(zset.remove(&key(&mut k, i)[6..]));
            }
        });
    }
    let mut list = List::new();
    timed("list push_back (1 M)", N, || {
        (0..N).for_each(|i| list.push_back(&key(&mut k, i)[6..], limits));
    });
    timed("list, each element of 1 M walked", N, || {
        assert_eq!(list.iter().map(|elem| elem.len() as u64).sum::<u64>(), 10 * N);
    });
}

fn main() {
    println!("an entry of 16 + 32 bytes asks for {}", class_size(8 + 16 + 32));
    keyspace();
    collections();
    worst();
}
