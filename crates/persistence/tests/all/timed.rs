//! Hashes whose fields have times: every form, there and back, and what is refused.

use persistence::dump::{dump_payload, restore_payload};
use persistence::rdb::{
    Access, DecodeOptions, EncodeOptions, Event, Loaded, RdbReader, RdbStream, ReadOptions,
    version_for,
};
use std::collections::BTreeMap;
use stdx::Prng;
use structures::{Hash, Limits, Listpack, Value, ValueRef};

use crate::old::{file, record, string};

/// `f` without a time, `g` with the first one, `h` a second later.
pub const METADATA: &[u8] =
    b"\x00\x38\x4e\x60\xba\x01\x00\x00\x03\x00\x01f\x01v\x01\x01g\x01w\x43\xe9\x01h\x01x";
const FIRST: i64 = 0x01ba_604e_3800;

type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn fields(hash: &Hash) -> Fields {
    let (mut iter, mut all) = (hash.iter(), Fields::new());
    while let Some((field, value, time)) = iter.next_timed() {
        all.insert(field.to_vec(), (value.to_vec(), time));
    }
    all
}

fn listpack(texts: &[&str]) -> Vec<u8> {
    let mut pack = Listpack::new();
    texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
    pack.as_bytes().to_vec()
}

/// The only key of a file.
fn read(bytes: &[u8]) -> Result<Hash, String> {
    let mut reader = RdbReader::new(bytes, ReadOptions::default());
    loop {
        match reader.next_event().map_err(|error| error.to_string())? {
            Event::Key(record) => {
                let Loaded::Owned(Value::Hash(hash)) = record.value else { panic!("a hash") };
                return Ok(*hash);
            }
            Event::Eof { .. } => return Err("no key".to_owned()),
            _ => {}
        }
    }
}

fn expected() -> Fields {
    let field = |name: &str, value: &str, time| {
        (name.as_bytes().to_vec(), (value.as_bytes().to_vec(), time))
    };
    [field("f", "v", None), field("g", "w", Some(FIRST)), field("h", "x", Some(FIRST + 1000))]
        .into()
}

#[test]
fn every_form_is_read() {
    let (first, second) = (FIRST.to_string(), (FIRST + 1000).to_string());
    let pack = |order: &[usize]| {
        let triples = [["f", "v", "0"], ["g", "w", &first], ["h", "x", &second]];
        string(&listpack(&order.iter().flat_map(|&at| triples[at]).collect::<Vec<_>>()))
    };
    let hint = 77u64.to_le_bytes();
    let mut old = b"\x03\x00\x01f\x01v".to_vec();
    for (time, text) in [(FIRST, b"\x01g\x01w"), (FIRST + 1000, b"\x01h\x01x")] {
        old.push(0x81);
        old.extend_from_slice(&time.to_be_bytes());
        old.extend_from_slice(text);
    }
    for (code, body) in [
        (24, METADATA.to_vec()),
        (22, old),
        (25, [&hint[..], &pack(&[1, 2, 0])].concat()),
        // Not in the order that every server writes.
        (25, [&hint[..], &pack(&[2, 0, 1])].concat()),
        (23, pack(&[1, 2, 0])),
    ] {
        let hash = read(&file(12, &record(code, "k", &body))).unwrap();
        assert_eq!(fields(&hash), expected(), "type {code}");
        assert_eq!((hash.encoding(), hash.has_times()), ("listpackex", true));
    }
    // Times that went: a plain hash as far as anybody can tell.
    let plain = string(&listpack(&["f", "v", "0"]));
    let hash = read(&file(12, &record(25, "k", &[&hint[..], &plain].concat()))).unwrap();
    assert_eq!((hash.len(), hash.has_times()), (1, false));
    assert_eq!(version_for(ValueRef::Hash(&hash)), 10);
}

#[test]
fn what_is_no_hash_with_times_is_refused() {
    let hint = 0u64.to_le_bytes();
    let packed = |texts: &[&str]| [&hint[..], &string(&listpack(texts))].concat();
    for (code, body) in [
        (25, packed(&["a", "1"])),
        (25, packed(&["a", "1", "5", "a", "2", "6"])),
        (25, packed(&["a", "1", "x"])),
        (25, packed(&["a", "1", "-1"])),
        (25, packed(&["a", "1", "281474976710656"])),
        (24, b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x011".to_vec()),
        (24, b"\xff\xff\xff\xff\xff\xff\xff\x7f\x01\x01\x01a\x011".to_vec()),
        (24, b"\0\0\0\0\0\0\0\0\x01\x01\x01a\x011".to_vec()),
        (24, b"\0\0\0\0\0\0\0\0\x02\x05\x01a\x011\x05\x01a\x011".to_vec()),
        (22, b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x011".to_vec()),
    ] {
        let error = read(&file(12, &record(code, "k", &body)));
        assert!(error.is_err(), "type {code}: {body:?}");
    }
    assert!(read(&file(12, &record(25, "k", &packed(&[])))).is_err_and(|text| text == "no key"));
}

/// Small and big ones, by files and by payloads, in the lowest version that holds them.
#[test]
fn there_and_back() {
    let mut rng = Prng::new(7);
    for size in [1, 3, 40, 512, 513, 3000] {
        for share in [0, 30, 100] {
            let (mut hash, limits) = (Hash::new(), Limits::default());
            for n in 0..size {
                let field = format!("field:{n}").into_bytes();
                hash.set(&field, rng.next_u64().to_string().as_bytes(), &limits);
                if rng.chance(share) {
                    hash.set_time(&field, Some(FIRST + rng.below(1 << 40) as i64));
                }
            }
            let value = ValueRef::Hash(&hash);
            let version = if hash.has_times() { 12 } else { 10 };
            assert_eq!(version_for(value), version);
            for compress in [true, false] {
                let options = EncodeOptions { version: 10, compress };
                let payload = dump_payload(value, &options);
                assert_eq!(u32::from(payload[payload.len() - 10]), version);
                let restored = restore_payload(&payload, &DecodeOptions::default()).unwrap();
                let Value::Hash(restored) = restored else { panic!("a hash") };
                assert_eq!(fields(&restored), fields(&hash));
                let options = EncodeOptions { version, compress };
                let mut stream = RdbStream::new(Vec::new(), options, true);
                stream.select_db(0).unwrap();
                stream.key(b"k", value, None, Access::None).unwrap();
                let (bytes, _) = stream.finish().unwrap();
                assert_eq!(bytes[7..9], *version.to_string().as_bytes());
                let loaded = read(&bytes).unwrap();
                assert_eq!((fields(&loaded), loaded.encoding()), (fields(&hash), hash.encoding()));
            }
        }
    }
}
