//! Against a naive model, the size promises, and the encodings' names.

use super::*;
use crate::{Limits, StreamId, class_size};
use stdx::{Prng, parse_i64};

fn text_of(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Str(text) => text.to_vec(),
        _ => panic!("not a string"),
    }
}

#[test]
fn sizes_are_as_promised() {
    let key = [b'k'; 16];
    assert_eq!(Entry::new_str(&key, &[b'v'; 32], None).mem_usage(), 56);
    assert_eq!(Entry::new_str(&key, &[b'v'; 32], Some(1)).mem_usage(), 64);
    assert_eq!(Entry::new_str(&key, &[b'v'; 8], None).mem_usage(), 32);
    assert_eq!(Entry::new_str(&key, b"12345678", None).mem_usage(), 32);
    assert_eq!(Entry::new_str(&key, &[b'v'; 100], None).mem_usage(), 128);
    assert_eq!(Entry::new_str(b"", b"", None).mem_usage(), 8);
    assert_eq!(size_of::<Option<Entry>>(), 8);
    // Header, handle and key, and a listpack of ten pairs.
    let mut hash = Hash::new();
    for i in 0..10 {
        let field = format!("field{i}");
        hash.set(field.as_bytes(), format!("value{i:05}").as_bytes(), &Limits::default());
    }
    assert_eq!(hash.mem_usage(), class_size(7 + 10 * (8 + 12)));
    assert_eq!(Entry::new(&key, Value::Hash(Box::new(hash)), None).mem_usage(), 40 + 224);
}

/// A value's length, near all the borders that matter.
fn random_len(prng: &mut Prng) -> usize {
    (match prng.below(8) {
        0..=3 => prng.below(70),
        4 => prng.between(240, 270),
        5 => prng.between(900, 1100),
        6 => prng.below(20_000),
        _ if prng.chance(97) => 3,
        _ => prng.between((1 << 20) - 3, (1 << 20) + 70_000),
    }) as usize
}

fn random_text(prng: &mut Prng) -> Vec<u8> {
    if prng.chance(20) {
        return (prng.next_u64() as i64 >> prng.below(64)).to_string().into_bytes();
    }
    let byte = b'a' + prng.below(26) as u8;
    vec![byte; random_len(prng)]
}

struct Model {
    key: Vec<u8>,
    text: Vec<u8>,
    stamp: Option<i64>,
    access: u32,
    mark: bool,
    indexed: bool,
}

impl Model {
    fn check(&self, entry: &Entry) {
        assert_eq!(entry.key(), self.key);
        assert_eq!(entry.stamp(), self.stamp);
        assert_eq!(entry.access(), self.access);
        assert_eq!((entry.mark(), entry.indexed()), (self.mark, self.indexed));
        assert_eq!(entry.str_len(), self.text.len());
        let ValueRef::Str(text) = entry.value() else { panic!("not a string") };
        text.with(|text| assert!(text == self.text));
        assert_eq!(text.as_i64(), parse_i64(&self.text));
        let whole = class_size(8 + self.key.len());
        assert!(entry.mem_usage() >= whole);
    }
}

fn change(mut entry: Entry, model: &mut Model, prng: &mut Prng) -> Entry {
    match prng.below(16) {
        0..=4 => {
            let text = random_text(prng);
            let keep = prng.chance(50);
            entry.replace_str(&text, keep);
            model.text = text;
            model.stamp = model.stamp.filter(|_| keep);
        }
        5 => {
            let value = prng.next_u64() as i64;
            entry.set_int(value);
            model.text = value.to_string().into_bytes();
            assert_eq!(entry.str_encoding(), "int");
        }
        6 | 7 => {
            let text = random_text(prng);
            model.text.extend_from_slice(&text);
            assert_eq!(entry.append_str(&text), model.text.len());
            assert_eq!(entry.str_encoding(), "raw");
        }
        8 => {
            let text = random_text(prng);
            let at = prng.below(model.text.len() as u64 + 50) as usize;
            if !text.is_empty() {
                model.text.resize(model.text.len().max(at + text.len()), 0);
                model.text[at..at + text.len()].copy_from_slice(&text);
            }
            assert_eq!(entry.write_str_at(at, &text), model.text.len());
        }
        9 => {
            entry.make_bytes_mut(|bytes| bytes.reverse());
            model.text.reverse();
        }
        10 | 11 => {
            model.stamp = prng.chance(60).then(|| prng.next_u64() as i64);
            entry.set_stamp(model.stamp);
        }
        12 => {
            model.access = prng.next_u64() as u32 & 0xff_ffff;
            entry.set_access(model.access);
        }
        13 => {
            model.mark = prng.chance(50);
            model.indexed = prng.chance(50);
            entry.set_mark(model.mark);
            entry.set_indexed(model.indexed);
        }
        14 => {
            let len = random_len(prng).min(2_000);
            model.key = vec![b'K'; len];
            entry = entry.rename(&model.key);
        }
        _ => {
            let len = model.text.len() + prng.below(300) as usize;
            assert_eq!(entry.grow_str(len), len);
            model.text.resize(len, 0);
        }
    }
    entry
}

#[test]
fn behaves_as_its_parts() {
    let mut prng = Prng::new(55);
    for round in 0..12 {
        let key = vec![b'k'; [0, 5, 16, 254, 255, 256][round % 6]];
        let stamp = (round % 2 == 0).then_some(7);
        let mut model = Model {
            text: random_text(&mut prng),
            key,
            stamp,
            access: 0,
            mark: false,
            indexed: false,
        };
        let mut entry = Entry::new_str(&model.key, &model.text, stamp);
        for _ in 0..2_000 {
            model.check(&entry);
            entry = change(entry, &mut model, &mut prng);
            if model.text.len() > 3 << 20 {
                model.text.clear();
                entry.replace_str(b"", true);
            }
        }
        model.check(&entry);
        match entry.take_value() {
            Value::Str(text) => assert!(text == model.text),
            _ => panic!("not a string"),
        }
    }
}

#[test]
fn encodings_are_named_as_redis_does() {
    let long = [b'x'; 45];
    for (text, name) in [
        (&b"12"[..], "int"),
        (b"-9223372036854775808", "int"),
        (b"9223372036854775808", "embstr"),
        (b"012", "embstr"),
        (b"", "embstr"),
        (&long[..44], "embstr"),
        (&long, "raw"),
    ] {
        assert_eq!(Entry::new_str(b"k", text, None).encoding_name(), name);
    }
    let mut entry = Entry::new_str(b"k", b"12", None);
    entry.append_str(b"3");
    assert_eq!((entry.encoding_name(), text_of(&entry).as_slice()), ("raw", &b"123"[..]));
    entry.replace_str(b"ab", false);
    assert_eq!(entry.encoding_name(), "embstr");
    entry.write_str_at(1, b"c");
    assert_eq!((entry.encoding_name(), text_of(&entry).as_slice()), ("raw", &b"ac"[..]));
    assert_eq!(entry.type_name(), "string");
}

#[test]
fn overwriting_within_a_class_stays_in_place() {
    let mut entry = Entry::new_str(&[b'k'; 16], &[b'v'; 32], None);
    let address = entry.address();
    for len in [32, 30, 25, 31, 32] {
        entry.replace_str(&vec![b'w'; len], false);
        assert_eq!(entry.address(), address);
        assert_eq!(entry.mem_usage(), 56);
    }
    entry.replace_str(&[b'v'; 5], false);
    assert_eq!(entry.mem_usage(), 32);
    let mut long = Entry::new_str(b"k", &[b'v'; 5000], Some(3));
    let address = long.address();
    long.replace_str(&[b'w'; 5000], true);
    assert_eq!((long.address(), text_of(&long)), (address, vec![b'w'; 5000]));
}

#[test]
fn values_of_all_types_come_and_go() {
    let limits = Limits::default();
    let mut prng = Prng::new(31);
    for key_len in [3, 300] {
        let key = vec![b'k'; key_len];
        let mut entry = Entry::new_str(&key, b"text", Some(9));
        for round in 0..3_000 {
            let value = match prng.below(6) {
                0 => Value::Str(random_text(&mut prng)),
                1 => {
                    let mut list = List::new();
                    list.push_back(b"a", &limits);
                    Value::List(Box::new(list))
                }
                2 => Value::Set(Box::default()),
                3 => Value::Hash(Box::default()),
                4 => Value::Stream(Stream::new()),
                _ => Value::Zset(Box::default()),
            };
            let keep = prng.chance(70);
            let stamp = entry.stamp().filter(|_| keep);
            entry.replace_value(value, keep);
            assert_eq!((entry.key(), entry.stamp()), (key.as_slice(), stamp));
            if prng.chance(30) {
                entry.set_stamp(prng.chance(50).then_some(round));
            }
            fill(&mut entry, &limits);
            if prng.chance(30) {
                let (stamp, name) = (entry.stamp(), entry.type_name());
                entry = Entry::new(&key, entry.take_value(), stamp);
                assert_eq!(entry.type_name(), name);
            }
            if prng.chance(10) {
                let name = entry.encoding_name();
                entry = entry.rename(b"other").rename(&key);
                assert_eq!((entry.encoding_name(), entry.key()), (name, key.as_slice()));
            }
        }
    }
}

/// Reaches every collection through the entry.
fn fill(entry: &mut Entry, limits: &Limits) {
    if let Some(list) = entry.list_mut() {
        list.push_back(b"b", limits);
        assert_eq!((list.len(), entry.type_name()), (2, "list"));
    } else if let Some(set) = entry.set_mut() {
        assert!(set.add(b"m", limits));
        assert_eq!(entry.encoding_name(), "listpack");
    } else if let Some(hash) = entry.hash_mut() {
        assert!(hash.set(b"f", b"v", limits));
        assert_eq!(entry.type_name(), "hash");
    } else if let Some(zset) = entry.zset_mut() {
        zset.insert(b"m", 1.0, limits);
        assert_eq!(entry.type_name(), "zset");
    } else if let Some(stream) = entry.stream_mut() {
        stream.append(StreamId::new(1, 1), &[b"f", b"v"], limits);
        assert_eq!((entry.type_name(), entry.encoding_name()), ("stream", "stream"));
    } else {
        assert_eq!(entry.type_name(), "string");
    }
    // Emptied again for the next round.
    match entry.value() {
        ValueRef::Str(_) => {}
        ValueRef::List(list) => assert!(!list.is_empty()),
        ValueRef::Set(set) => assert!(set.contains(b"m")),
        ValueRef::Hash(hash) => assert!(hash.contains(b"f")),
        ValueRef::Zset(zset) => assert!(zset.score(b"m").is_some()),
        ValueRef::Stream(stream) => assert!(stream.get(StreamId::new(1, 1)).is_some()),
    }
}

#[test]
fn ranges_of_strings() {
    let mut prng = Prng::new(91);
    for len in [0, 5, 44, 2_000, (1 << 20) + 100_000] {
        let text: Vec<u8> = (0..len).map(|_| prng.next_u64() as u8).collect();
        let entry = Entry::new_str(b"k", &text, None);
        let ValueRef::Str(string) = entry.value() else { panic!("not a string") };
        assert_eq!(matches!(string, StrRef::Paged(_)), len > RAW_MAX);
        for _ in 0..50 {
            let start = prng.below(len as u64 + 5) as usize;
            let end = prng.below(len as u64 + 5) as usize;
            let mut out = Vec::new();
            string.read_range(start, end, &mut out);
            let (from, to) = (start.min(len), end.min(len));
            assert_eq!(out, text.get(from..to).unwrap_or_default());
            assert_eq!(string.byte_at(start), text.get(start).copied());
        }
    }
}
