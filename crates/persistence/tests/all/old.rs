//! Files as older and newer versions of Redis wrote them, laid out by hand: ziplists, zipmaps,
//! quicklists of ziplists, versions without a checksum, opcodes and types of versions 11 and 12.

use persistence::crc64::crc64;
use persistence::rdb::{RdbErrorKind, ReadOptions};

use crate::model::{Content, Model, hash_of, read, read_in_steps, texts, zset_of};
use crate::server::RealServer;

pub fn ziplist(elements: &[&str]) -> Vec<u8> {
    let (mut out, mut previous, mut tail) = (vec![0; 10], 0usize, 10);
    for element in elements {
        tail = out.len();
        if previous < 254 {
            out.push(previous as u8);
        } else {
            out.push(0xfe);
            out.extend_from_slice(&(previous as u32).to_le_bytes());
        }
        match stdx::parse_i64(element.as_bytes()) {
            Some(n @ 0..=12) => out.push(0xf1 + n as u8),
            Some(n) if i8::try_from(n).is_ok() => out.extend_from_slice(&[0xfe, n as u8]),
            Some(n) if i16::try_from(n).is_ok() => {
                out.push(0xc0);
                out.extend_from_slice(&(n as i16).to_le_bytes());
            }
            Some(n) => {
                out.push(0xe0);
                out.extend_from_slice(&n.to_le_bytes());
            }
            None => {
                match element.len() {
                    n @ 0..64 => out.push(n as u8),
                    n @ 64..16384 => out.extend_from_slice(&[0x40 | (n >> 8) as u8, n as u8]),
                    n => {
                        out.push(0x80);
                        out.extend_from_slice(&(n as u32).to_be_bytes());
                    }
                }
                out.extend_from_slice(element.as_bytes());
            }
        }
        previous = out.len() - tail;
    }
    out.push(0xff);
    let total = out.len() as u32;
    out[..4].copy_from_slice(&total.to_le_bytes());
    out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(elements.len() as u16).to_le_bytes());
    out
}

pub fn zipmap(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![pairs.len() as u8];
    for (field, value) in pairs {
        out.push(field.len() as u8);
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(&[value.len() as u8, 1]);
        out.extend_from_slice(value.as_bytes());
        out.push(0);
    }
    out.push(0xff);
    out
}

pub fn listpack(elements: &[&str]) -> Vec<u8> {
    let mut out = vec![0; 6];
    for element in elements {
        match stdx::parse_i64(element.as_bytes()) {
            Some(n @ 0..128) => out.extend_from_slice(&[n as u8, 1]),
            _ => {
                out.push(0x80 | element.len() as u8);
                out.extend_from_slice(element.as_bytes());
                out.push(element.len() as u8 + 1);
            }
        }
    }
    out.push(0xff);
    let total = out.len() as u32;
    out[..4].copy_from_slice(&total.to_le_bytes());
    out[4..6].copy_from_slice(&(elements.len() as u16).to_le_bytes());
    out
}

pub fn string(bytes: &[u8]) -> Vec<u8> {
    let head = match bytes.len() {
        n @ 0..64 => vec![n as u8],
        n @ 64..16384 => vec![0x40 | (n >> 8) as u8, n as u8],
        n => [&[0x80][..], &(n as u32).to_be_bytes()].concat(),
    };
    [&head[..], bytes].concat()
}

/// A record: type, key, value bytes.
pub fn record(code: u8, key: &str, value: &[u8]) -> Vec<u8> {
    [&[code][..], &string(key.as_bytes()), value].concat()
}

pub fn file(version: u32, records: &[u8]) -> Vec<u8> {
    let mut out = format!("REDIS{version:04}").into_bytes();
    out.extend_from_slice(records);
    out.push(0xff);
    if version >= 5 {
        let crc = crc64(&out);
        out.extend_from_slice(&crc.to_le_bytes());
    }
    out
}

/// Every record that a version up to 10 may hold, and what it means.
fn old_records(version: u32) -> (Vec<u8>, Vec<(&'static str, Model)>) {
    let mut out = vec![0xfe, 0];
    let mut keys = Vec::new();
    let mut add = |since: u32, code: u8, key: &'static str, value: Vec<u8>, model: Model| {
        if version >= since {
            out.extend_from_slice(&record(code, key, &value));
            keys.push((key, model));
        }
    };
    let s = |t: &str| string(t.as_bytes());
    let long: String = "long text ".repeat(60);
    let abc = || Model::List(texts(["a", "-7", &long]));
    add(1, 0, "str", s("text"), Model::Str(b"text".to_vec()));
    add(1, 0, "int32", b"\xc2\x01\0\0\x80".to_vec(), Model::Str(b"-2147483647".to_vec()));
    add(1, 1, "list", [vec![3], s("a"), b"\xc0\xf9".to_vec(), s(&long)].concat(), abc());
    let set = Model::Set(texts(["x", "y"]).into_iter().collect());
    add(1, 2, "set", [vec![2], s("x"), s("y")].concat(), set);
    let scores = [("p", 1.5), ("q", f64::INFINITY), ("r", f64::NEG_INFINITY), ("s", 17.0)];
    let bytes = b"\x04\x01p\x031.5\x01q\xfe\x01r\xff\x01s\x0217".to_vec();
    add(1, 3, "zset", bytes, zset_of(scores));
    let pairs = [("f", "v"), ("g", "12")];
    let bytes = [vec![2], s("f"), s("v"), s("g"), b"\xc0\x0c".to_vec()].concat();
    add(1, 4, "hash", bytes, hash_of(pairs));
    add(2, 9, "zipmap", string(&zipmap(&pairs)), hash_of(pairs));
    add(3, 10, "ziplist", string(&ziplist(&["a", "-7", &long])), abc());
    let ints = b"\x02\0\0\0\x03\0\0\0\xff\xff\x01\0\x00\x70";
    let set = Model::Set(texts([-1, 1, 0x7000]).into_iter().collect());
    add(3, 11, "intset", string(ints), set);
    let bytes = ziplist(&["b", "-2.5", "a", "1", "c", "1e100", "d", "inf"]);
    let scores = [("a", 1.0), ("b", -2.5), ("c", 1e100), ("d", f64::INFINITY)];
    add(3, 12, "zset-ziplist", string(&bytes), zset_of(scores));
    add(4, 13, "hash-ziplist", string(&ziplist(&["f", "v", "g", "12"])), hash_of(pairs));
    let nodes = [ziplist(&["a", "-7"]), ziplist(&[]), ziplist(&[&long])];
    let bytes = [vec![3], string(&nodes[0]), string(&nodes[1]), string(&nodes[2])].concat();
    add(7, 14, "quicklist", bytes, abc());
    let bytes = [&b"\x02\x01p"[..], &1.5f64.to_le_bytes(), b"\x01q", &17f64.to_le_bytes()].concat();
    add(8, 5, "zset2", bytes, zset_of([("p", 1.5), ("q", 17.0)]));
    (out, keys)
}

fn check(content: &Content, keys: &[(&str, Model)]) {
    assert_eq!(content.keys.len(), keys.len());
    for (name, model) in keys {
        assert_eq!(&content.key(name).value, model, "{name}");
    }
}

#[test]
fn versions_1_to_10() {
    for version in 1..=10 {
        let (records, keys) = old_records(version);
        let bytes = file(version, &records);
        let content = read(&bytes).unwrap();
        assert_eq!(content.version, version);
        assert_eq!(content.checksum.is_some(), version >= 5);
        assert_eq!(content.length, bytes.len() as u64);
        check(&content, &keys);
        assert_eq!(read_in_steps(&bytes, 1, ReadOptions::default()).unwrap(), content);
    }
}

/// The hand-made files are true ones: the real server reads the same from them.
#[test]
fn the_real_server_reads_the_same_from_them() {
    for version in [1, 4, 9, 10] {
        let (records, keys) = old_records(version);
        let Some(mut server) = RealServer::start(Some(&file(version, &records)), &[]) else {
            return;
        };
        for (name, model) in &keys {
            assert_eq!(&server.content(name.as_bytes()), model, "{name} of version {version}");
        }
    }
}

#[test]
fn encodings_follow_the_limits() {
    let mut options = ReadOptions::default();
    options.decode.limits.hash_max_listpack_entries = 1;
    options.decode.limits.zset_max_listpack_value = 0;
    options.decode.limits.set_max_intset_entries = 2;
    let (records, keys) = old_records(10);
    let content = read_in_steps(&file(10, &records), 64, options).unwrap();
    check(&content, &keys);
    for (name, encoding) in
        [("zipmap", "hashtable"), ("hash-ziplist", "hashtable"), ("zset-ziplist", "skiplist")]
    {
        assert_eq!(content.key(name).encoding, encoding, "{name}");
    }
    assert_ne!(content.key("intset").encoding, "intset");
    let content = read(&file(10, &records)).unwrap();
    for (name, encoding) in [
        ("zipmap", "listpack"),
        ("ziplist", "listpack"),
        ("hash-ziplist", "listpack"),
        ("intset", "intset"),
    ] {
        assert_eq!(content.key(name).encoding, encoding, "{name}");
    }
}

#[test]
fn opcodes_around_keys() {
    let records = [
        &b"\xfa\x04name\x05value\xfa\x05ctime\xc2\x01\x02\x03\x04"[..],
        // A module's data: id, when, one item of every kind, end.
        b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x01",
        b"\x01\x05\x02\x40\x64\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\x03abc",
        b"\x05\xc3\x09\x28\x01aa\xe0\x1b\0\x01aa\x05\xc0\x01\x05\xc1\x01\x01\x05\xc2\0\0\0\0\0",
        b"\xf5\x0alib source",
        b"\xfe\x02\xfb\x04\x02\xf4\x51\xff\x01\0",
        b"\xfd\x01\0\0\0\x00\x01a\xc0\x05",
        b"\xfd\xff\xff\xff\xff\x00\x01b\xc0\x05",
        b"\xfc\x01\0\0\0\0\0\0\0\xf8\x40\x64\x00\x01c\xc0\x05",
        b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xf9\x07\x00\x01d\xc0\x05",
        b"\xfe\x40\x64\x00\x01e\x80\0\0\0\x01x\x00\x01f\x81\0\0\0\0\0\0\0\x01y",
    ]
    .concat();
    let content = read(&file(12, &records)).unwrap();
    assert_eq!(content.aux("name"), Some(&b"value"[..]));
    assert_eq!(content.aux("ctime"), Some(&b"67305985"[..]));
    assert_eq!(content.functions, [b"lib source"]);
    assert_eq!(content.sizes, [(2, 4, 2)]);
    assert_eq!(content.slots, [(0x11ff, 1, 0)]);
    let key = |name| {
        let k = content.key(name);
        (k.db, k.expire_at, k.idle, k.freq)
    };
    assert_eq!(key("a"), (2, Some(1000), None, None));
    assert_eq!(key("b"), (2, Some(-1000), None, None));
    assert_eq!(key("c"), (2, Some(1), Some(100), None));
    assert_eq!(key("d"), (2, None, None, Some(7)));
    assert_eq!(key("e"), (100, None, None, None));
    assert_eq!(content.key("e").value, Model::Str(b"x".to_vec()));
    assert_eq!(content.key("f").value, Model::Str(b"y".to_vec()));
}

#[test]
fn set_listpacks_of_version_11() {
    let members = ["a", "5", "b"];
    let bytes = file(11, &record(20, "s", &string(&listpack(&members))));
    let content = read(&bytes).unwrap();
    assert_eq!(content.key("s").value, Model::Set(texts(members).into_iter().collect()));
    assert_eq!(content.key("s").encoding, "listpack");
}

#[test]
fn types_that_are_not_supported_are_named() {
    for code in [6, 7] {
        let bytes =
            file(12, &[record(0, "before", b"\x01x"), record(code, "the key", b"")].concat());
        let error = read(&bytes).unwrap_err();
        assert!(
            matches!(error.kind(), RdbErrorKind::UnsupportedType { code: found } if *found == code)
        );
        assert_eq!(error.key(), Some(&b"the key"[..]));
        let text = error.to_string();
        let name = persistence::rdb::type_name(code).unwrap();
        assert!(text.contains("the key") && text.contains(name), "{text}");
    }
}

#[test]
fn headers() {
    for version in [0, 13, 80, 9999] {
        let error = read(&file(version, b"")).unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, RdbErrorKind::BadVersion { found, max: 12 } if *found == version),
            "{error}"
        );
    }
    for magic in [&b"VALKEY080"[..], b"REDIS00x1", b"redis0010", b"REDIS-001"] {
        let error = read(magic).unwrap_err();
        assert!(matches!(error.kind(), RdbErrorKind::BadMagic { .. }), "{error}");
    }
}

#[test]
fn checksums() {
    let good = file(10, b"\xfe\0\0\x01a\x01b");
    assert!(read(&good).unwrap().checksum.is_some());
    let mut changed = good.clone();
    changed[15] ^= 1;
    let error = read(&changed).unwrap_err();
    let RdbErrorKind::ChecksumMismatch { expected, found } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!((*expected, error.offset()), (crc64(&changed[..changed.len() - 8]), 17));
    assert_eq!(*found, crc64(&good[..good.len() - 8]));
    let unchecked = ReadOptions { checksum: false, ..ReadOptions::default() };
    assert_eq!(read_in_steps(&changed, 5, unchecked).unwrap().checksum, None);
    let end = changed.len() - 8;
    changed[end..].fill(0);
    assert_eq!(read(&changed).unwrap().checksum, None);
}

#[test]
fn collections_without_elements_are_reported() {
    let no_lp = string(&listpack(&[]));
    let no_zl = string(&ziplist(&[]));
    let records = [
        record(1, "l", b"\0"),
        record(2, "s", b"\0"),
        record(3, "z", b"\0"),
        record(4, "h", b"\0"),
        record(5, "z2", b"\0"),
        record(9, "zm", &string(&zipmap(&[]))),
        record(10, "lz", &no_zl),
        record(12, "zz", &no_zl),
        record(13, "hz", &no_zl),
        record(14, "q", b"\0"),
        record(14, "qe", &[&b"\x01"[..], &no_zl].concat()),
        record(16, "hl", &no_lp),
        record(17, "zl", &no_lp),
        record(18, "q2", b"\0"),
        record(18, "q2e", &[&b"\x01\x02"[..], &no_lp].concat()),
        record(20, "sl", &no_lp),
        record(0, "full", b"\0"),
    ];
    let content = read(&file(11, &records.concat())).unwrap();
    assert_eq!(content.empty.len(), records.len() - 1);
    assert_eq!(content.keys.len(), 1);
    assert_eq!(content.key("full").value, Model::Str(Vec::new()));
}

/// Reads one record; `None` when it loads.
fn trouble(code: u8, value: &[u8]) -> Option<RdbErrorKindName> {
    let bytes = file(12, &record(code, "k", value));
    let error = read_in_steps(&bytes, 9, ReadOptions::default()).err()?;
    assert_eq!(error.key(), Some(&b"k"[..]), "{error}");
    Some(match error.kind() {
        RdbErrorKind::DuplicateElement { .. } => RdbErrorKindName::Duplicate,
        RdbErrorKind::Malformed { .. } => RdbErrorKindName::Malformed,
        RdbErrorKind::UnexpectedEof { .. } => RdbErrorKindName::End,
        _ => RdbErrorKindName::Other,
    })
}

#[derive(Debug, PartialEq)]
enum RdbErrorKindName {
    Duplicate,
    Malformed,
    End,
    Other,
}

#[test]
fn duplicates() {
    use RdbErrorKindName::{Duplicate, Malformed};
    let single = [
        (2, b"\x02\x01a\x01a".to_vec()),
        (4, b"\x02\x01a\x01b\x01a\x01c".to_vec()),
        (3, b"\x02\x01a\x011\x01a\x012".to_vec()),
        (9, string(&zipmap(&[("a", "b"), ("a", "c")]))),
        (12, string(&ziplist(&["a", "1", "a", "2"]))),
        (13, string(&ziplist(&["a", "1", "a", "2"]))),
    ];
    for (code, value) in single {
        assert_eq!(trouble(code, &value), Some(Duplicate), "type {code}");
    }
    let packed = [
        (16, listpack(&["a", "1", "b", "2", "a", "3"])),
        (16, listpack(&["7", "1", "7", "2"])),
        (17, listpack(&["a", "1", "a", "2"])),
        (20, listpack(&["a", "b", "a"])),
    ];
    for (code, pack) in packed {
        assert_eq!(trouble(code, &string(&pack)), Some(Malformed), "type {code}");
    }
    // Equal values are none, and neither are equal list elements.
    assert_eq!(trouble(16, &string(&listpack(&["a", "1", "b", "1"]))), None);
    let list = [&b"\x01\x02"[..], &string(&listpack(&["a", "a"]))].concat();
    assert_eq!(trouble(18, &list), None);
}

#[test]
fn damaged_values() {
    use RdbErrorKindName::{End, Malformed};
    let nan = f64::NAN.to_le_bytes();
    let huge = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff";
    for (code, value, expected) in [
        (8, b"\0".to_vec(), Malformed),
        (0, b"\xc4".to_vec(), Malformed),
        (0, b"\x82\0\0\0\x01a".to_vec(), Malformed),
        (1, b"\xc0\x01".to_vec(), Malformed),
        (3, b"\x01\x01a\xfd".to_vec(), Malformed),
        (3, b"\x01\x01a\x01x".to_vec(), Malformed),
        (5, [b"\x01\x01a", &nan[..]].concat(), Malformed),
        (16, string(&listpack(&["a", "1", "b"])), Malformed),
        (17, string(&listpack(&["a", "1", "b"])), Malformed),
        (17, string(&listpack(&["a", "x"])), Malformed),
        (17, string(&listpack(&["a", "nan"])), Malformed),
        (17, string(&listpack(&["a", "2", "b", "1"])), Malformed),
        (12, string(&ziplist(&["a", "1", "b"])), Malformed),
        (12, string(&ziplist(&["a", "x"])), Malformed),
        (13, string(&ziplist(&["a"])), Malformed),
        (11, string(b"\x02\0\0\0\0\0\0\0"), Malformed),
        (11, string(b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0"), Malformed),
        (11, string(b"\x03\0\0\0\x01\0\0\0\x05\0\0"), Malformed),
        (18, b"\x01\x03\x01a".to_vec(), Malformed),
        (18, [&b"\x01\x02"[..], &string(&listpack(&["a"])[..8])].concat(), Malformed),
        // Compressed to less than LZF can.
        (0, b"\xc3\x03\x81\0\0\0\x10\0\0\0\0abc".to_vec(), Malformed),
        (0, b"\xc3\x03\x09\x05ab".to_vec(), Malformed),
        // Lengths without bytes behind them.
        (0, huge.to_vec(), End),
        (1, huge.to_vec(), Malformed),
        (2, [&huge[..], b"\x01a"].concat(), Malformed),
        (4, [&huge[..], b"\x01a\x01b"].concat(), Malformed),
        (10, huge.to_vec(), End),
        (0, [&b"\xc3"[..], huge, huge].concat(), End),
    ] {
        let found = trouble(code, &value);
        // What comes after a huge count is the end of the file, read as elements.
        let also_end = value.starts_with(huge) && found == Some(End);
        assert!(found.as_ref() == Some(&expected) || also_end, "{code} {value:?}: {found:?}");
    }
}

#[test]
fn unknown_codes_between_keys() {
    for code in [26, 100, 200, 243, 246] {
        let error = read(&file(12, &[code, 1, b'a', 1, b'b'])).unwrap_err();
        assert!(matches!(error.kind(), RdbErrorKind::Malformed { .. }), "{error}");
        assert_eq!(error.offset(), 9);
    }
}

#[test]
fn what_follows_the_end_is_given_back() {
    let mut bytes = file(10, b"\xfe\0\0\x01a\x01b");
    let length = bytes.len() as u64;
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let mut reader = persistence::rdb::RdbReader::new(&bytes[..], ReadOptions::default());
    while !matches!(reader.next_event().unwrap(), persistence::rdb::Event::Eof { .. }) {}
    assert_eq!(reader.offset(), length);
    let (rest, read_ahead) = reader.into_parts();
    assert_eq!([&read_ahead[..], rest].concat(), b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn after_an_error_nothing_is_read() {
    let bytes = file(10, b"\xfe\0\x08\x01a\x01b\0\x01c\x01d");
    let mut reader = persistence::rdb::RdbReader::new(&bytes[..], ReadOptions::default());
    assert!(reader.next_event().is_ok());
    assert!(reader.next_event().is_err());
    assert!(reader.next_event().is_err());
}
