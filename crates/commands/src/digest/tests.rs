//! Sums as redis-server 7.0.15 answers them (DEBUG DIGEST-VALUE, DEBUG DIGEST).

use super::*;
use crate::testkit::Kit;
use keyspace::SetTtl;
use structures::{Hash, Limits, List, Set, Value, Zset};

const SCORES: [(f64, &str); 12] = [
    (1.0, "a"),
    (0.1, "b"),
    (1e300, "c"),
    (-0.5, "d"),
    (1e-7, "e"),
    (f64::INFINITY, "f"),
    (f64::NEG_INFINITY, "g"),
    (1e17, "h"),
    (123456789.125, "i"),
    (3e5, "j"),
    (1e16, "k"),
    (1e17, "l"),
];

fn values() -> Vec<(&'static str, Value, &'static str)> {
    let limits = Limits::default();
    let (mut list, mut hash, mut zset) = (List::new(), Hash::new(), Zset::new());
    ["a", "b", "3"].iter().for_each(|elem| list.push_back(elem.as_bytes(), &limits));
    hash.set(b"f", b"v", &limits);
    hash.set(b"g", b"2", &limits);
    SCORES.iter().for_each(|(score, member)| {
        zset.insert(member.as_bytes(), *score, &limits);
    });
    let set = |members: [&str; 3]| {
        let mut set = Set::new();
        members.iter().for_each(|member| {
            set.add(member.as_bytes(), &limits);
        });
        Value::Set(Box::new(set))
    };
    vec![
        ("s", Value::Str(b"hello".to_vec()), "36b23a1456b2dce2c3ed252c456761301dba8060"),
        ("n", Value::Str(b"42".to_vec()), "547a004a370bc71c2d611f010c52f2e7b64c77a4"),
        ("e", Value::Str(b"x".to_vec()), "0745672cb1bf060476eedeb8a28f5ffe1ff5a2be"),
        ("l", Value::List(Box::new(list)), "09eb1fc9381ee92790d59930ab462945f8cd948b"),
        ("i", set(["1", "2", "3"]), "2a462a3f51a1db89738ebbeef0c47ce1bbc85246"),
        ("m", set(["a", "b", "1"]), "e8f32bbb1ad9bf537c8867de4f19fec9e001296d"),
        ("h", Value::Hash(Box::new(hash)), "9dc7e1ed596e8ccab4b91d04b8317fc85b68294a"),
        ("z", Value::Zset(Box::new(zset)), "dd070611f356562340ca8f5aa5f3998de55b7e29"),
    ]
}

#[test]
fn sums_are_those_of_redis() {
    let kit = Kit::default();
    let mut keys = Keys::new(kit.space.hold(kit.space.all()), 0, kit.options);
    assert_eq!(of_keyspace(&mut keys).hex(), "0".repeat(40));
    for (key, value, sum) in values() {
        let ttl = if key == "e" { SetTtl::At(99_999_999_999_999) } else { SetTtl::Clear };
        keys.put(key.as_bytes(), value, ttl);
        assert_eq!(of_value(keys.peek(key.as_bytes())).hex(), sum, "{key}");
    }
    assert_eq!(of_value(keys.peek(b"nokey")).hex(), "0".repeat(40));
    assert_eq!(of_keyspace(&mut keys).hex(), "1a8b0c20d8753799b96d50b3a4f6179981c00b4c");
    keys.db = 2;
    keys.set_string(b"other", b"1", SetTtl::Clear);
    assert_eq!(of_keyspace(&mut keys).hex(), "49f29d727e6104349d33d1f08693fc53f974b240");
}
