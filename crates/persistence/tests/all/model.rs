//! What a key holds, apart from encodings, and the data sets that the tests share.

use std::collections::{BTreeMap, BTreeSet};

use persistence::rdb::{Event, RdbError, RdbReader, ReadOptions};
use stdx::Prng;
use structures::{Limits, Stream, StreamId, Value, ValueRef, Zset};

/// The content of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// By member; scores compare by their bits.
    Zset(BTreeMap<Vec<u8>, u64>),
    /// IDs with fields and values in turn; groups have tests of their own.
    Stream(Vec<(Vec<u8>, Vec<Vec<u8>>)>),
}

impl Model {
    /// The same content in our structures.
    pub fn build(&self, limits: &Limits) -> Value {
        match self {
            Model::Str(text) => Value::Str(text.clone()),
            Model::List(elements) => {
                let mut list = structures::List::new();
                elements.iter().for_each(|e| list.push_back(e, limits));
                Value::List(Box::new(list))
            }
            Model::Set(members) => {
                let mut set = structures::Set::new();
                members.iter().for_each(|m| assert!(set.add(m, limits)));
                Value::Set(Box::new(set))
            }
            Model::Hash(pairs) => {
                let mut hash = structures::Hash::new();
                pairs.iter().for_each(|(f, v)| assert!(hash.set(f, v, limits)));
                Value::Hash(Box::new(hash))
            }
            Model::Zset(members) => {
                let mut zset = Zset::new();
                for (member, score) in members {
                    zset.insert(member, f64::from_bits(*score), limits);
                }
                Value::Zset(Box::new(zset))
            }
            Model::Stream(entries) => {
                let mut stream = Stream::new();
                for (id, parts) in entries {
                    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                    stream.append(id_of(id), &parts, limits);
                }
                Value::Stream(stream)
            }
        }
    }

    /// The content of `value`, checking on the way that its own count is right.
    pub fn of(value: &Value) -> Model {
        match value {
            Value::Str(text) => Model::Str(text.clone()),
            Value::List(list) => {
                let elements: Vec<_> = list.iter().map(|e| e.to_vec()).collect();
                assert_eq!(elements.len(), list.len());
                Model::List(elements)
            }
            Value::Set(set) => {
                let members: BTreeSet<_> = set.iter().map(|e| e.to_vec()).collect();
                assert_eq!(members.len(), set.len());
                Model::Set(members)
            }
            Value::Hash(hash) => {
                let pairs: BTreeMap<_, _> =
                    hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
                assert_eq!(pairs.len(), hash.len());
                Model::Hash(pairs)
            }
            Value::Zset(zset) => {
                let members: BTreeMap<_, _> =
                    zset.iter().map(|(m, s)| (m.to_vec(), s.to_bits())).collect();
                assert_eq!(members.len(), zset.len());
                Model::Zset(members)
            }
            Value::Stream(stream) => {
                let entries: Vec<_> = stream
                    .iter()
                    .map(|entry| {
                        let parts = entry.iter().flat_map(|(f, v)| [f.to_vec(), v.to_vec()]);
                        (entry.id.to_vec(), parts.collect())
                    })
                    .collect();
                assert_eq!(entries.len() as u64, stream.len());
                Model::Stream(entries)
            }
        }
    }

    /// The commands that make `key` hold this.
    pub fn commands(&self, key: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let command = |name: &str| vec![name.as_bytes().to_vec(), key.to_vec()];
        let mut out = Vec::new();
        match self {
            Model::Str(text) => out.push([command("SET"), vec![text.clone()]].concat()),
            Model::List(elements) => {
                for part in elements.chunks(100) {
                    out.push([command("RPUSH"), part.to_vec()].concat());
                }
            }
            Model::Set(members) => {
                for member in members {
                    out.push([command("SADD"), vec![member.clone()]].concat());
                }
            }
            Model::Hash(pairs) => {
                for (field, value) in pairs {
                    out.push([command("HSET"), vec![field.clone(), value.clone()]].concat());
                }
            }
            Model::Zset(members) => {
                for (member, score) in members {
                    let mut text = Vec::new();
                    stdx::format_f64(&mut text, f64::from_bits(*score));
                    out.push([command("ZADD"), vec![text, member.clone()]].concat());
                }
            }
            Model::Stream(entries) => {
                for (id, parts) in entries {
                    out.push([command("XADD"), vec![id.clone()], parts.clone()].concat());
                }
            }
        }
        out
    }
}

/// A borrowed view of `value` for the encoder.
pub fn as_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Str(text) => ValueRef::Str(structures::StrRef::Bytes(text)),
        Value::List(list) => ValueRef::List(list),
        Value::Set(set) => ValueRef::Set(set),
        Value::Hash(hash) => ValueRef::Hash(hash),
        Value::Zset(zset) => ValueRef::Zset(zset),
        Value::Stream(stream) => ValueRef::Stream(stream),
    }
}

/// The encoding's name as OBJECT ENCODING says it; strings are none of the codec's business.
pub fn encoding(value: &Value) -> &'static str {
    match value {
        Value::Str(_) => "string",
        Value::List(list) => list.encoding(),
        Value::Set(set) => set.encoding(),
        Value::Hash(hash) => hash.encoding(),
        Value::Zset(zset) => zset.encoding(),
        Value::Stream(_) => "stream",
    }
}

fn id_of(text: &[u8]) -> StreamId {
    let mut parts = text.split(|byte| *byte == b'-').map(|part| stdx::parse_u64(part).unwrap());
    StreamId::new(parts.next().unwrap(), parts.next().unwrap())
}

pub fn texts(from: impl IntoIterator<Item = impl ToString>) -> Vec<Vec<u8>> {
    from.into_iter().map(|t| t.to_string().into_bytes()).collect()
}

pub fn hash_of(pairs: impl IntoIterator<Item = (impl ToString, impl ToString)>) -> Model {
    let text = |t: &dyn ToString| t.to_string().into_bytes();
    Model::Hash(pairs.into_iter().map(|(f, v)| (text(&f), text(&v))).collect())
}

pub fn zset_of(pairs: impl IntoIterator<Item = (impl ToString, f64)>) -> Model {
    let pairs = pairs.into_iter();
    Model::Zset(pairs.map(|(m, s)| (m.to_string().into_bytes(), s.to_bits())).collect())
}

/// One key per form in which Redis keeps or writes something, with its name telling which.
pub fn every_form() -> Vec<(&'static str, Model)> {
    let noise: Vec<u8> = {
        let mut prng = Prng::new(11);
        (0..200).map(|_| prng.next_u64() as u8).collect()
    };
    let mut all = vec![
        ("str:text", Model::Str(b"hello world".to_vec())),
        ("str:empty", Model::Str(Vec::new())),
        ("str:binary", Model::Str(noise.clone())),
        ("str:repeats", Model::Str(b"abcabcabc".repeat(40))),
        ("str:0123", Model::Str(b"0123".to_vec())),
        ("str:float", Model::Str(b"3.25".to_vec())),
    ];
    for int in [0i64, -1, 127, -128, 128, 32767, -32768, 32768, 2147483647, -2147483648, 2147483648]
    {
        let name: &'static str = Box::leak(format!("str:{int}").into_boxed_str());
        all.push((name, Model::Str(int.to_string().into_bytes())));
    }
    all.push(("str:i64min", Model::Str(i64::MIN.to_string().into_bytes())));
    let every_listpack_form: Vec<Vec<u8>> = [
        texts([0i64, 127, -1, 4095, -4096, 32767, -32768, 8388607, -8388608, 2147483647]),
        texts([i64::from(i32::MIN), i64::MAX, i64::MIN]),
        vec![Vec::new(), b"x".to_vec(), vec![b's'; 63], vec![b'm'; 64], noise.clone()],
    ]
    .concat();
    all.push(("list:packed", Model::List(every_listpack_form.clone())));
    all.push(("list:long-text", Model::List(vec![vec![b'l'; 4500], b"tail".to_vec()])));
    let mut nodes = Vec::new();
    for i in 0..300 {
        nodes.push(format!("element-{i}-{}", "pad".repeat(12)).into_bytes());
    }
    all.push(("list:nodes", Model::List(nodes)));
    all.push(("set:int16", Model::Set(texts([-5, 1, 2, 300]).into_iter().collect())));
    all.push(("set:int32", Model::Set(texts([1, 70000, -70000]).into_iter().collect())));
    all.push(("set:int64", Model::Set(texts([1i64, 1 << 40]).into_iter().collect())));
    all.push(("set:texts", Model::Set(texts(["a", "b", "17", "-4", "c"]).into_iter().collect())));
    let many = (0..150).map(|i| format!("member:{i}"));
    all.push(("set:table", Model::Set(texts(many).into_iter().collect())));
    let mut mixed = every_listpack_form.clone();
    mixed.push(vec![b'w'; 70]);
    all.push(("set:mixed-table", Model::Set(mixed.into_iter().collect())));
    all.push(("hash:packed", hash_of([("f", "v"), ("n", "12"), ("7", "seven"), ("e", "")])));
    all.push(("hash:long-value", hash_of([("f", "v".repeat(80)), ("g", "1".into())])));
    all.push(("hash:table", hash_of((0..520).map(|i| (i, i * i)))));
    all.push(("zset:packed", zset_of([("a", 1.0), ("b", -2.5), ("c", 0.1), ("9", 1e100)])));
    all.push(("zset:infinite", zset_of([("a", f64::INFINITY), ("b", f64::NEG_INFINITY)])));
    all.push(("zset:ties", zset_of([("bb", 1.0), ("b", 1.0), ("a", 1.0), ("10", 1.0)])));
    all.push(("zset:skiplist", zset_of((0..140).map(|i| (format!("m{i}"), f64::from(i) / 7.0)))));
    let entry = |n: u64| {
        let fields =
            if n % 7 == 3 { texts(["other", "1", "f", "x"]) } else { texts(["f", "v", "n", "12"]) };
        (format!("{}-{}", 5 + n / 3, n).into_bytes(), fields)
    };
    all.push(("stream:node", Model::Stream((1..9).map(entry).collect())));
    all.push(("stream:nodes", Model::Stream((1..450).map(entry).collect())));
    let name = "z".repeat(70);
    all.push(("zset:long-member", zset_of([(name, 5e-324), ("short".into(), -1.5)])));
    all
}

/// A random value of a random type; `size` bounds the number of elements.
pub fn random(prng: &mut Prng, size: u64) -> Model {
    let count = prng.between(1, size);
    let text = |prng: &mut Prng| -> Vec<u8> {
        match prng.below(8) {
            0..=2 => (prng.next_u64() as i64 >> prng.below(64)).to_string().into_bytes(),
            3 => vec![b'a' + prng.below(3) as u8; prng.below(100) as usize],
            4 => (0..prng.below(300)).map(|_| prng.next_u64() as u8).collect(),
            5 => prng.hex(5).repeat(prng.below(20) as usize).into_bytes(),
            _ => prng.hex(8).into_bytes(),
        }
    };
    match prng.below(6) {
        5 => {
            let mut id = StreamId::ZERO;
            let mut entry = |_| {
                id = StreamId::new(id.ms + prng.below(3), id.seq + 1 + prng.below(1 << 40));
                let fields = prng.between(1, 3);
                (id.to_vec(), (0..fields * 2).map(|_| text(prng)).collect())
            };
            Model::Stream((0..count).map(&mut entry).collect())
        }
        0 => {
            let mut all = text(prng);
            if prng.chance(10) {
                all = all.repeat(prng.below(3000) as usize);
            }
            Model::Str(all)
        }
        1 => Model::List((0..count).map(|_| text(prng)).collect()),
        2 if prng.chance(40) => {
            let width = prng.below(64);
            let int = |prng: &mut Prng| prng.next_u64() as i64 >> width;
            Model::Set(texts((0..count).map(|_| int(prng))).into_iter().collect())
        }
        2 => Model::Set((0..count).map(|_| text(prng)).collect()),
        3 => Model::Hash((0..count).map(|_| (text(prng), text(prng))).collect()),
        _ => {
            let score = |prng: &mut Prng| match prng.below(4) {
                0 => f64::from(prng.below(10) as u32),
                1 => prng.unit_f64() * 1e6 - 5e5,
                2 => f64::INFINITY,
                _ => Some(f64::from_bits(prng.next_u64())).filter(|s| !s.is_nan()).unwrap_or(1.0),
            };
            let pairs = (0..count).map(|_| (text(prng), score(prng).to_bits()));
            Model::Zset(pairs.collect())
        }
    }
}

/// One key of a loaded file.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedKey {
    pub db: u64,
    pub key: Vec<u8>,
    pub value: Model,
    pub encoding: &'static str,
    pub expire_at: Option<i64>,
    pub idle: Option<u64>,
    pub freq: Option<u8>,
}

/// Everything in an RDB.
#[derive(Debug, Default, PartialEq)]
pub struct Content {
    pub version: u32,
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    pub sizes: Vec<(u64, u64, u64)>,
    pub slots: Vec<(u64, u64, u64)>,
    pub keys: Vec<LoadedKey>,
    pub empty: Vec<Vec<u8>>,
    pub functions: Vec<Vec<u8>>,
    pub checksum: Option<u64>,
    pub length: u64,
}

impl Content {
    pub fn key(&self, name: &str) -> &LoadedKey {
        let mut found = self.keys.iter().filter(|k| k.key == name.as_bytes());
        let key = found.next().unwrap_or_else(|| panic!("no key {name}"));
        assert!(found.next().is_none(), "{name} twice");
        key
    }

    pub fn aux(&self, name: &str) -> Option<&[u8]> {
        self.aux.iter().find(|a| a.0 == name.as_bytes()).map(|a| &a.1[..])
    }
}

/// Reads a whole RDB, giving the reader `step` bytes at a time.
pub fn read_in_steps(bytes: &[u8], step: usize, options: ReadOptions) -> Result<Content, RdbError> {
    struct Steps<'a>(&'a [u8], usize);
    impl std::io::Read for Steps<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(out.len()).min(self.0.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }
    let mut reader = RdbReader::new(Steps(bytes, step), options);
    let mut content = Content { version: reader.read_header()?, ..Content::default() };
    let mut db = 0;
    loop {
        match reader.next_event()? {
            Event::Aux { name, value } => content.aux.push((name.to_vec(), value.to_vec())),
            Event::SelectDb(n) => db = n,
            Event::ResizeDb { keys, expires } => content.sizes.push((db, keys, expires)),
            Event::SlotInfo { slot, keys, expires } => content.slots.push((slot, keys, expires)),
            Event::Key(record) => {
                let key = record.key.to_vec();
                let (expire_at, idle, freq) = (record.expire_at, record.idle, record.freq);
                let value = record.value.into_value();
                content.keys.push(LoadedKey {
                    db,
                    key,
                    encoding: encoding(&value),
                    value: Model::of(&value),
                    expire_at,
                    idle,
                    freq,
                });
            }
            Event::EmptyKey { key, .. } => content.empty.push(key.to_vec()),
            Event::Function(code) => content.functions.push(code.to_vec()),
            Event::Eof { checksum } => {
                content.checksum = checksum;
                break;
            }
        }
    }
    content.length = reader.offset();
    assert!(matches!(reader.next_event(), Ok(Event::Eof { .. })), "the end again");
    Ok(content)
}

/// Reads a whole RDB.
pub fn read(bytes: &[u8]) -> Result<Content, RdbError> {
    read_in_steps(bytes, usize::MAX, ReadOptions::default())
}
