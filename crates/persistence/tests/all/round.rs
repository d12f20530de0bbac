//! What is written reads back: random values of every type, in every version, with and without
//! compression, by both ways of writing.

use std::io::{self, Write};

use persistence::rdb::{
    Access, EncodeOptions, RdbErrorKind, RdbStream, ReadOptions, encode_head, encode_key_record,
    encode_part,
};
use stdx::Prng;
use structures::{Limits, PagedStr, StrRef, Value, ValueRef};

use crate::model::{LoadedKey, Model, as_ref, every_form, random, read, read_in_steps};

fn tiny() -> Limits {
    Limits {
        hash_max_listpack_entries: 2,
        list_max_listpack_size: 3,
        set_max_intset_entries: 4,
        set_max_listpack_entries: 2,
        zset_max_listpack_entries: 2,
        quicklist_packed_threshold: 50,
        ..Limits::default()
    }
}

fn each_option() -> impl Iterator<Item = EncodeOptions> {
    [10, 11]
        .into_iter()
        .flat_map(|version| [true, false].map(|compress| EncodeOptions { version, compress }))
}

/// Writes `keys` as one file, once as values and once as records; the bytes must be the same.
fn write(keys: &[(LoadedKey, Value)], options: EncodeOptions) -> Vec<u8> {
    let mut whole = RdbStream::new(Vec::new(), options, true);
    let mut pieces = RdbStream::new(Vec::new(), options, true);
    for stream in [&mut whole, &mut pieces] {
        stream.aux(b"redis-ver", b"7.4.0").unwrap();
        stream.aux_int(b"ctime", 1_700_000_000).unwrap();
        stream.function(b"#!lua name=x\n").unwrap();
    }
    for (key, value) in keys {
        let access = match (key.idle, key.freq) {
            (Some(seconds), _) => Access::Idle(seconds),
            (_, Some(counter)) => Access::Freq(counter),
            _ => Access::None,
        };
        whole.select_db(key.db).unwrap();
        whole.key(&key.key, as_ref(value), key.expire_at, access).unwrap();
        let mut record = Vec::new();
        encode_key_record(&mut record, &key.key, as_ref(value), key.expire_at, access, &options);
        pieces.select_db(key.db).unwrap();
        pieces.records(&record).unwrap();
    }
    let length = whole.len();
    let (whole, summary) = whole.finish().unwrap();
    assert_eq!(whole.len() as u64, summary.bytes);
    assert_eq!(summary.bytes, length + 9);
    assert_eq!(whole[whole.len() - 8..], summary.checksum.to_le_bytes());
    let (pieces, other) = pieces.finish().unwrap();
    assert!(pieces == whole && other == summary);
    whole
}

fn key_of(prng: &mut Prng, i: u64, value: Model) -> LoadedKey {
    LoadedKey {
        db: i / 20,
        key: format!("key:{i}").into_bytes(),
        value,
        encoding: "",
        expire_at: prng.chance(30).then(|| prng.next_u64() as i64),
        idle: prng.chance(20).then(|| prng.next_u64() >> prng.below(64)),
        freq: None,
    }
}

#[test]
fn random_values() {
    for seed in 0..25 {
        let mut prng = Prng::new(seed);
        let limits = if seed % 2 == 0 { Limits::default() } else { tiny() };
        let mut keys = Vec::new();
        for i in 0..60 {
            let size = [1, 5, 40, 700][prng.below(4) as usize];
            let model = random(&mut prng, size);
            let value = model.build(&limits);
            let mut key = key_of(&mut prng, i, model);
            if key.idle.is_none() && prng.chance(20) {
                key.freq = Some(prng.next_u64() as u8);
            }
            keys.push((key, value));
        }
        for options in each_option() {
            let bytes = write(&keys, options);
            let step = [1, 100, 5000, usize::MAX][prng.below(4) as usize];
            let mut read = ReadOptions::default();
            read.decode.limits = limits;
            let content = read_in_steps(&bytes, step, read).unwrap();
            assert_eq!(content.version, options.version);
            assert_eq!(content.aux("redis-ver"), Some(&b"7.4.0"[..]));
            assert_eq!(content.aux("ctime"), Some(&b"1700000000"[..]));
            assert_eq!(content.keys.len(), keys.len());
            for ((key, _), found) in keys.iter().zip(content.keys) {
                assert_eq!(LoadedKey { encoding: "", ..found }, *key, "seed {seed}");
            }
        }
    }
}

#[test]
fn every_form_in_every_version() {
    for limits in [Limits::default(), tiny()] {
        for options in each_option() {
            let keys: Vec<_> = every_form()
                .into_iter()
                .map(|(name, model)| {
                    let value = model.build(&limits);
                    let key = LoadedKey {
                        db: 0,
                        key: name.as_bytes().to_vec(),
                        value: model,
                        encoding: "",
                        expire_at: None,
                        idle: None,
                        freq: None,
                    };
                    (key, value)
                })
                .collect();
            let content = read(&write(&keys, options)).unwrap();
            for ((key, _), found) in keys.iter().zip(&content.keys) {
                assert_eq!((&found.key, &found.value), (&key.key, &key.value));
            }
        }
    }
}

#[test]
fn long_strings_and_elements() {
    let mut prng = Prng::new(77);
    let noise: Vec<u8> = (0..3_000_000).map(|_| prng.next_u64() as u8).collect();
    let text: Vec<u8> = b"a text that repeats ".iter().cycle().take(2_500_000).copied().collect();
    let limits = Limits { quicklist_packed_threshold: 1000, ..Limits::default() };
    let models = [
        Model::Str(noise.clone()),
        Model::Str(text.clone()),
        Model::Str(noise[..200_000].to_vec()),
        Model::List(vec![noise[..300_000].to_vec(), text[..150_000].to_vec(), b"x".to_vec()]),
        Model::Hash(
            [(b"f".to_vec(), text.clone()), (noise[..140_000].to_vec(), b"".to_vec())].into(),
        ),
        Model::Set([noise[..131_072].to_vec(), noise[..131_073].to_vec()].into()),
    ];
    let keys: Vec<_> = models
        .into_iter()
        .map(|model| {
            let value = model.build(&limits);
            (key_of(&mut prng, 0, model), value)
        })
        .collect();
    for options in each_option() {
        let bytes = write(&keys, options);
        for step in [4096, usize::MAX] {
            let content = read_in_steps(&bytes, step, ReadOptions::default()).unwrap();
            assert!(content.checksum.is_some());
            for ((key, _), found) in keys.iter().zip(content.keys) {
                assert!(LoadedKey { encoding: "", ..found } == *key);
            }
        }
        // Cut inside the long strings: an end that is named, and no memory for what isn't there.
        for len in [1000, 200_000, 1_500_000, bytes.len() - 9] {
            let error = read(&bytes[..len]).unwrap_err();
            assert!(matches!(error.kind(), RdbErrorKind::UnexpectedEof { .. }), "{error}");
            assert_eq!(error.offset(), len as u64);
        }
    }
}

#[test]
fn integers_and_paged_strings() {
    let mut prng = Prng::new(5);
    let noise: Vec<u8> = (0..1_300_001).map(|_| prng.next_u64() as u8).collect();
    let text: Vec<u8> = b"page after page ".iter().cycle().take(1_200_000).copied().collect();
    for options in each_option() {
        let mut stream = RdbStream::new(Vec::new(), options, true);
        stream.select_db(0).unwrap();
        let (noise_pages, text_pages) = (PagedStr::from_bytes(&noise), PagedStr::from_bytes(&text));
        for (key, value) in [("noise", &noise_pages), ("text", &text_pages)] {
            let value = ValueRef::Str(StrRef::Paged(value));
            stream.key(key.as_bytes(), value, None, Access::None).unwrap();
        }
        for int in [0, -1, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let value = ValueRef::Str(StrRef::Int(int));
            stream.key(int.to_string().as_bytes(), value, None, Access::None).unwrap();
        }
        let (bytes, _) = stream.finish().unwrap();
        assert_eq!(options.compress, bytes.len() < 2_000_000);
        let content = read(&bytes).unwrap();
        assert!(content.key("noise").value == Model::Str(noise.clone()));
        assert!(content.key("text").value == Model::Str(text.clone()));
        for int in [0, -1, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let text = int.to_string();
            assert_eq!(content.key(&text).value, Model::Str(text.clone().into_bytes()));
        }
    }
}

/// A writer that takes note of the largest piece and fails at a given length.
struct Watched {
    taken: usize,
    largest: usize,
    fail_at: usize,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.taken += bytes.len();
        self.largest = self.largest.max(bytes.len());
        if self.taken > self.fail_at {
            return Err(io::Error::other("disk full"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn big_collections_pass_in_small_pieces_and_errors_surface() {
    let model = Model::Hash(
        (0..100_000).map(|i| (format!("field:{i}").into_bytes(), vec![b'v'; 10])).collect(),
    );
    let value = model.build(&Limits::default());
    let write = |fail_at| -> io::Result<usize> {
        let output = Watched { taken: 0, largest: 0, fail_at };
        let mut stream = RdbStream::new(output, EncodeOptions::default(), true);
        stream.select_db(0)?;
        stream.key(b"big", as_ref(&value), None, Access::None)?;
        let (output, summary) = stream.finish()?;
        assert_eq!(output.taken as u64, summary.bytes);
        Ok(output.largest)
    };
    assert!(write(usize::MAX).unwrap() < 70_000);
    assert_eq!(write(1_000_000).unwrap_err().to_string(), "disk full");
    assert_eq!(write(10).unwrap_err().to_string(), "disk full");
}

#[test]
fn databases_are_named_once_and_the_checksum_can_be_left_out() {
    let mut stream = RdbStream::new(Vec::new(), EncodeOptions::default(), false);
    for db in [0, 0, 5, 5, 0] {
        stream.select_db(db).unwrap();
        let value = ValueRef::Str(StrRef::Int(1));
        stream.key(b"k", value, None, Access::None).unwrap();
    }
    let (bytes, summary) = stream.finish().unwrap();
    let record = b"\0\x01k\xc0\x01";
    let expected = [
        &b"REDIS0010\xfe\0"[..],
        record,
        record,
        b"\xfe\x05",
        record,
        record,
        b"\xfe\0",
        record,
        b"\xff\0\0\0\0\0\0\0\0",
    ]
    .concat();
    assert_eq!(bytes, expected);
    assert_eq!(summary.checksum, 0);
    assert_eq!(read(&bytes).unwrap().checksum, None);
}

/// What a snapshot writes of a value in parts is what would be written of it whole, although the value
/// changes between two parts.
#[test]
fn values_in_parts() {
    let mut prng = Prng::new(11);
    let mut seen = [0; 4];
    for round in 0..300 {
        let model = random(&mut prng, 900);
        let mut value = model.build(&tiny());
        if let Value::Hash(hash) = &mut value
            && prng.chance(50)
        {
            let fields: Vec<Vec<u8>> = hash.iter().map(|(field, _)| field.to_vec()).collect();
            for (n, field) in fields.iter().enumerate().filter(|(n, _)| n % 3 != 0) {
                hash.set_time(field, Some(1_000_000 + n as i64));
            }
        }
        let timed = matches!(&value, Value::Hash(hash) if hash.has_times());
        let mut entry = structures::Entry::new(b"key", value, None);
        if !entry.goes_in_parts() {
            continue;
        }
        let compress = prng.chance(50);
        let version = if timed { 12 } else { 10 };
        let options = EncodeOptions { version, compress };
        let expire_at = prng.chance(50).then_some(77_000);
        let (mut whole, mut bytes) = (Vec::new(), Vec::new());
        encode_key_record(&mut whole, b"key", entry.value(), expire_at, Access::None, &options);
        let base =
            encode_head(&mut bytes, b"key", entry.value(), expire_at, Access::None, &options);
        let head = structures::PartsHead {
            id: 1,
            bytes: Vec::new(),
            base,
            held: std::sync::Arc::default(),
        };
        entry.begin_parts(head);
        while !entry.parts_step(500, &mut |part| {
            let before = bytes.len();
            encode_part(&mut bytes, part, base, compress);
            bytes.len() - before
        }) {
            let name = format!("new{}", prng.below(50));
            if let Some(set) = entry.set_mut() {
                set.add(name.as_bytes(), &tiny());
                set.pop_random(&mut prng);
                seen[0] += 1;
            } else if let Some(hash) = entry.hash_mut() {
                hash.set(name.as_bytes(), b"new", &tiny());
                if let Some((field, _)) = hash.random(&mut prng) {
                    let field = field.to_vec();
                    hash.set_time(&field, Some(5));
                }
                seen[1 + usize::from(timed)] += 1;
            } else if let Some(zset) = entry.zset_mut() {
                zset.insert(name.as_bytes(), prng.unit_f64(), &tiny());
                zset.pop_max();
                seen[3] += 1;
            }
        }
        let loaded = |record: &[u8]| {
            let mut file = RdbStream::new(Vec::new(), options, true);
            file.select_db(0).unwrap();
            file.records(record).unwrap();
            let content = read(&file.finish().unwrap().0).unwrap();
            assert_eq!(content.keys.len(), 1);
            content.keys
        };
        assert!(loaded(&bytes) == loaded(&whole), "round {round}");
        // Whatever the order: the same bytes, times included.
        bytes.sort_unstable();
        whole.sort_unstable();
        assert!(bytes == whole, "round {round}");
    }
    assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
}
