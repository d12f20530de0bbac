//! Copies of entries, for COPY.
//!
//! A twin has its original's encoding, also where the thresholds in force would choose another:
//! so the copies are built under thresholds that leave no choice.

use structures::{
    Entry, Hash, Limits, List, ListNode, ListNodeOwned, Listpack, Set, SetRepr, Value, ValueRef,
    Zset,
};

/// Thresholds under which everything stays packed.
const ROOMY: Limits = Limits {
    hash_max_listpack_entries: usize::MAX,
    hash_max_listpack_value: usize::MAX,
    list_max_listpack_size: -2,
    list_compress_depth: 0,
    set_max_intset_entries: usize::MAX,
    set_max_listpack_entries: usize::MAX,
    set_max_listpack_value: usize::MAX,
    zset_max_listpack_entries: usize::MAX,
    zset_max_listpack_value: usize::MAX,
    quicklist_packed_threshold: 1 << 30,
    stream_node_max_bytes: 4096,
    stream_node_max_entries: 100,
};

/// Thresholds under which nothing stays packed.
const TIGHT: Limits = Limits {
    hash_max_listpack_entries: 0,
    hash_max_listpack_value: 0,
    set_max_intset_entries: 0,
    set_max_listpack_entries: 0,
    set_max_listpack_value: 0,
    zset_max_listpack_entries: 0,
    zset_max_listpack_value: 0,
    ..ROOMY
};

/// A copy of an entry under another key: same value, same encoding, same expiry time.
pub(super) fn twin(entry: &Entry, key: &[u8], limits: &Limits) -> Entry {
    let value = match entry.value() {
        ValueRef::Str(_) => return entry.str_twin(key),
        ValueRef::List(list) => Value::List(Box::new(twin_list(list, limits))),
        ValueRef::Set(set) => Value::Set(Box::new(twin_set(set))),
        ValueRef::Hash(hash) => Value::Hash(Box::new(twin_hash(hash))),
        ValueRef::Zset(zset) => Value::Zset(Box::new(twin_zset(zset))),
        ValueRef::Stream(stream) => Value::Stream(stream.clone()),
    };
    Entry::new(key, value, entry.stamp())
}

fn twin_list(list: &List, limits: &Limits) -> List {
    let mut twin = List::new();
    for node in list.nodes() {
        let node = match node {
            ListNode::Plain(bytes) => ListNodeOwned::Plain(bytes.to_vec()),
            ListNode::Packed(bytes) => ListNodeOwned::Packed(
                Listpack::from_bytes(bytes.to_vec()).expect("a list's own listpack is sound"),
            ),
        };
        twin.push_node(node, limits);
    }
    twin
}

fn twin_set(set: &Set) -> Set {
    if let SetRepr::Listpack(pack) = set.repr() {
        let mut copy = Listpack::new();
        pack.iter().for_each(|elem| copy.push_elem(elem));
        return Set::from_listpack(copy, &ROOMY).expect("a set has each member once");
    }
    let limits = if set.encoding() == "intset" { &ROOMY } else { &TIGHT };
    let mut twin = Set::new();
    twin.reserve(set.len(), limits);
    for member in set.iter() {
        member.with(|member| twin.add(member, limits));
    }
    twin
}

fn twin_hash(hash: &Hash) -> Hash {
    if hash.knows_times() {
        return hash.clone();
    }
    let limits = if hash.as_listpack().is_some() { &ROOMY } else { &TIGHT };
    let mut twin = Hash::new();
    twin.reserve(hash.len(), limits);
    for (field, value) in hash.iter() {
        field.with(|field| value.with(|value| twin.set(field, value, limits)));
    }
    twin
}

fn twin_zset(zset: &Zset) -> Zset {
    let limits = if zset.as_listpack().is_some() { &ROOMY } else { &TIGHT };
    let mut twin = Zset::new();
    twin.reserve(zset.len(), 0, limits);
    for (member, score) in zset.iter() {
        member.with(|member| twin.insert(member, score, limits));
    }
    twin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::of_value;

    /// A twin has the same elements and encoding; changing the original leaves it alone.
    #[track_caller]
    fn check(value: Value, encoding: &str) {
        let entry = Entry::new(b"original", value, Some(7));
        assert_eq!(entry.encoding_name(), encoding);
        let twin = twin(&entry, b"twin", &Limits::default());
        assert_eq!(twin.encoding_name(), encoding);
        assert_eq!((twin.key(), twin.stamp()), (b"twin".as_slice(), Some(7)));
        assert_eq!(of_value(Some(&twin)), of_value(Some(&entry)));
    }

    fn set(members: &[&[u8]], limits: &Limits) -> Set {
        let mut set = Set::new();
        members.iter().for_each(|member| {
            set.add(member, limits);
        });
        set
    }

    #[test]
    fn every_encoding_is_kept() {
        let limits = Limits::default();
        check(Value::Str(b"12345".to_vec()), "int");
        check(Value::Str(b"hello".to_vec()), "embstr");
        check(Value::Str(vec![b'x'; 2_000_000]), "raw");
        check(Value::Set(Box::new(set(&[b"1", b"-7", b"70000"], &limits))), "intset");
        let mut integers = set(&[b"1", b"word", b"3"], &limits);
        integers.remove(b"word");
        check(Value::Set(Box::new(integers)), "listpack");
        check(Value::Set(Box::new(set(&[b"1", b"2"], &TIGHT))), "hashtable");
        for (limits, hash_encoding, zset_encoding) in
            [(&limits, "listpack", "listpack"), (&TIGHT, "hashtable", "skiplist")]
        {
            let (mut hash, mut zset) = (Hash::new(), Zset::new());
            for (name, score) in [("a", 1.5), ("b", -3.0), ("17", 1e300)] {
                hash.set(name.as_bytes(), b"12", limits);
                zset.insert(name.as_bytes(), score, limits);
            }
            let mut timed = hash.clone();
            timed.set_time(b"a", Some(1 << 40));
            let timed_encoding =
                if hash_encoding == "listpack" { "listpackex" } else { hash_encoding };
            check(Value::Hash(Box::new(timed)), timed_encoding);
            check(Value::Hash(Box::new(hash)), hash_encoding);
            check(Value::Zset(Box::new(zset)), zset_encoding);
        }
        let mut list = List::new();
        list.push_back(b"1", &limits);
        list.push_back(b"two", &limits);
        check(Value::List(Box::new(list)), "listpack");
        let mut list = List::new();
        (0..5000).for_each(|n: i32| list.push_back(n.to_string().as_bytes(), &limits));
        check(Value::List(Box::new(list)), "quicklist");
    }
}
