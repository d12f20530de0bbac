//! Everything that the structures ask for is given back, with the layout that it was asked with.
//!
//! The test's allocator keeps each block's layout in front of it, compares it when the block comes
//! back, and fills blocks with rubbish before they are handed out and after they return, so that
//! reading what was never written, or no longer exists, shows in the comparison with the model.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};
use stdx::Prng;
use structures::hash::hash_bytes;
use structures::{
    Entry, Hash, Limits, List, Pending, Set, StrRef, Stream, StreamGroup, StreamId, Table, TrimTo,
    UNKNOWN_READ, Value, ValueRef, Zset,
};

struct Checking;

static OUTSTANDING: AtomicIsize = AtomicIsize::new(0);
static MISTAKES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread's blocks are counted: the test's, not the harness's.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: isize) {
    if COUNTED.get() {
        OUTSTANDING.fetch_add(bytes, SeqCst);
    }
}

/// Room for the layout in front of a block; big enough for every alignment in use.
const FRONT: usize = 128;

fn outer(layout: Layout) -> Layout {
    Layout::from_size_align(layout.size() + FRONT, FRONT).expect("small blocks")
}

// SAFETY: passes on to the system's allocator with room for the layout in front; blocks keep the
// alignment asked for, as none is above `FRONT`.
unsafe impl GlobalAlloc for Checking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > FRONT {
            MISTAKES.fetch_add(1, SeqCst);
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        // SAFETY: the outer block holds the two words, the rest of the front and the block.
        unsafe {
            let base = System.alloc(outer(layout));
            base.cast::<[usize; 2]>().write([layout.size(), layout.align()]);
            base.add(FRONT).write_bytes(0xa5, layout.size());
            base.add(FRONT)
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `ptr` came from `alloc`, so the layout stands in front of it.
        unsafe {
            let base = ptr.sub(FRONT);
            let [size, align] = *base.cast::<[usize; 2]>();
            if size != layout.size() || align != layout.align() {
                MISTAKES.fetch_add(1, SeqCst);
            }
            ptr.write_bytes(0x5a, size);
            let real = Layout::from_size_align(size, align).expect("was one before");
            System.dealloc(base, outer(real));
        }
    }
}

#[global_allocator]
static ALLOCATOR: Checking = Checking;

/// The model of a value: its type and its parts as text.
#[derive(Clone, Debug, PartialEq, Default)]
struct Model {
    kind: u64,
    text: Vec<u8>,
    parts: BTreeMap<Vec<u8>, Vec<u8>>,
    list: Vec<Vec<u8>>,
}

fn text(prng: &mut Prng) -> Vec<u8> {
    match prng.below(10) {
        0 => prng.next_u64().to_string().into_bytes(),
        1 => vec![b'b'; prng.below(3_000) as usize],
        2 => vec![b'm'; prng.below(300) as usize],
        _ => prng.hex(10).into_bytes(),
    }
}

fn fresh(kind: u64, prng: &mut Prng) -> (Value, Model) {
    let text = text(prng);
    let mut model = Model { kind, ..Model::default() };
    let value = match kind {
        0 => {
            model.text.clone_from(&text);
            Value::Str(text)
        }
        1 => Value::List(Box::new(List::new())),
        2 => Value::Set(Box::new(Set::new())),
        3 => Value::Hash(Box::new(Hash::new())),
        5 => Value::Stream(Stream::new()),
        _ => Value::Zset(Box::new(Zset::new())),
    };
    (value, model)
}

fn change(entry: &mut Entry, model: &mut Model, prng: &mut Prng, limits: &Limits) {
    let (part, value) = (prng.below(60).to_string().into_bytes(), text(prng));
    let remove = prng.chance(35);
    if let Some(list) = entry.list_mut() {
        if remove && !model.list.is_empty() {
            list.pop_front();
            model.list.remove(0);
        } else {
            list.push_back(&value, limits);
            model.list.push(value);
        }
    } else if let Some(set) = entry.set_mut() {
        if remove {
            assert_eq!(set.remove(&part), model.parts.remove(&part).is_some());
        } else {
            let part = if prng.chance(30) { value } else { part };
            let known = model.parts.insert(part.clone(), Vec::new()).is_some();
            assert_eq!(set.add(&part, limits), !known);
        }
    } else if let Some(hash) = entry.hash_mut() {
        if remove {
            assert_eq!(hash.remove(&part), model.parts.remove(&part).is_some());
        } else {
            hash.set(&part, &value, limits);
            model.parts.insert(part, value);
        }
    } else if let Some(zset) = entry.zset_mut() {
        if remove {
            assert_eq!(zset.remove(&part).is_some(), model.parts.remove(&part).is_some());
        } else {
            let score = prng.below(1_000);
            zset.insert(&part, score as f64, limits);
            model.parts.insert(part, score.to_string().into_bytes());
        }
    } else if let Some(stream) = entry.stream_mut() {
        if remove && !model.list.is_empty() {
            assert_eq!(stream.trim(TrimTo::MaxLen(stream.len() - 1), false, 0), 1);
            model.list.remove(0);
        } else {
            let id = StreamId::new(stream.last_id().ms + 1, 0);
            stream.append(id, &[&part, &value], limits);
            model.list.push(value);
            if stream.group(b"g").is_none() {
                stream.add_group(b"g", StreamGroup::new(id, UNKNOWN_READ));
            }
            let group = stream.group_mut(b"g").expect("just made");
            let no = group.consumer_no(&part).or_else(|| group.add_consumer(&part, 0));
            let no = no.expect("found or made");
            group.set_pending(id, Pending { consumer: no, delivered_at: 0, deliveries: 1 });
            if prng.chance(20) {
                group.remove_consumer(&part);
            }
        }
    } else if prng.chance(50) {
        entry.append_str(&value);
        model.text.extend_from_slice(&value);
    } else {
        entry.replace_str(&value, true);
        model.text = value;
    }
}

fn seen(entry: &Entry) -> Model {
    let mut model = Model::default();
    match entry.value() {
        ValueRef::Str(text) => model.text = text.to_vec(),
        ValueRef::List(list) => {
            model.kind = 1;
            model.list = list.iter().map(|elem| elem.to_vec()).collect();
        }
        ValueRef::Set(set) => {
            model.kind = 2;
            model.parts = set.iter().map(|elem| (elem.to_vec(), Vec::new())).collect();
        }
        ValueRef::Hash(hash) => {
            model.kind = 3;
            model.parts = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
        }
        ValueRef::Zset(zset) => {
            model.kind = 4;
            let pairs = zset.iter().map(|(m, s)| (m.to_vec(), s.to_string().into_bytes()));
            model.parts = pairs.collect();
        }
        ValueRef::Stream(stream) => {
            model.kind = 5;
            let values = stream.iter().flat_map(|entry| entry.iter().map(|(_, v)| v.to_vec()));
            model.list = values.collect();
        }
    }
    model
}

/// One change to a keyspace and to its model.
fn step(
    table: &mut Table<Entry>,
    model: &mut BTreeMap<Vec<u8>, Model>,
    prng: &mut Prng,
    limits: &Limits,
) {
    let mut key = prng.below(300).to_string().into_bytes();
    key.resize(if prng.chance(10) { 300 } else { 16 }, b'.');
    let hash = hash_bytes(&key);
    let Some(entry) = table.get_mut(hash, &key) else {
        let (value, fresh) = fresh(prng.below(6), prng);
        table.insert_new(hash, Entry::new(&key, value, prng.chance(30).then_some(5)));
        model.insert(key, fresh);
        return;
    };
    let own = model.get_mut(&key).expect("both have the same keys");
    match prng.below(20) {
        0 => {
            assert!(table.remove(hash, &key).is_some());
            model.remove(&key);
        }
        1 => {
            let (value, fresh) = fresh(prng.below(6), prng);
            entry.replace_value(value, prng.chance(50));
            *own = fresh;
        }
        2 => entry.set_stamp(prng.chance(50).then_some(9)),
        3 => {
            let copy = entry.clone();
            assert_eq!((seen(&copy), copy.encoding_name()), (own.clone(), entry.encoding_name()));
            assert_eq!((copy.key(), copy.stamp()), (entry.key(), entry.stamp()));
            *entry = copy;
        }
        4 => {
            let taken = table.remove(hash, &key).expect("just found");
            let value = taken.rename(b"meanwhile").take_value();
            table.insert_new(hash, Entry::new(&key, value, None));
        }
        _ => change(entry, own, prng, limits),
    }
}

#[test]
fn all_memory_is_given_back_as_it_was_taken() {
    let limits = Limits {
        hash_max_listpack_entries: 20,
        set_max_intset_entries: 20,
        set_max_listpack_entries: 20,
        zset_max_listpack_entries: 20,
        list_max_listpack_size: -1,
        stream_node_max_entries: 5,
        quicklist_packed_threshold: 2_000,
        ..Limits::default()
    };
    COUNTED.set(true);
    let before = OUTSTANDING.load(SeqCst);
    {
        let mut prng = Prng::new(2024);
        let mut table: Table<Entry> = Table::new();
        let mut model = BTreeMap::new();
        for round in 0..120_000 {
            step(&mut table, &mut model, &mut prng, &limits);
            if round % 5_000 == 0 {
                assert_eq!(table.len(), model.len());
                for entry in table.iter() {
                    assert_eq!(&seen(entry), &model[entry.key()]);
                    if let ValueRef::Str(StrRef::Bytes(bytes)) = entry.value() {
                        assert!(entry.mem_usage() >= bytes.len() + entry.key().len());
                    }
                }
            }
        }
        model.clear();
        assert!(table.len() > 100);
    }
    COUNTED.set(false);
    assert_eq!(MISTAKES.load(SeqCst), 0, "blocks that came back with another layout");
    assert_eq!(OUTSTANDING.load(SeqCst), before, "bytes that did not come back");
}
