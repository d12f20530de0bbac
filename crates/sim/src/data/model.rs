//! What the private keys of one client must hold: a naive model of a few commands.

use resp::Value;
use std::collections::BTreeMap;
use stdx::Prng;

type Bytes = Vec<u8>;

/// Entries that a stream keeps.
const STREAM_MAX: usize = 6;

/// The private keys of one client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    text: Option<Bytes>,
    number: Option<i64>,
    list: Vec<Bytes>,
    hash: BTreeMap<Bytes, Bytes>,
    zset: BTreeMap<Bytes, i64>,
    stream: Option<Vec<(u64, Bytes)>>,
}

/// A private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A sorted set.
    Zset,
    /// A stream.
    Stream,
}

const KEYS: [Key; 6] = [Key::Text, Key::Number, Key::List, Key::Hash, Key::Zset, Key::Stream];

impl Key {
    fn name(self, client: usize) -> Bytes {
        let word = match self {
            Key::Text => "text",
            Key::Number => "number",
            Key::List => "list",
            Key::Hash => "hash",
            Key::Zset => "zset",
            Key::Stream => "stream",
        };
        format!("c{client}:{word}").into_bytes()
    }
}

/// One request, and what it does to the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// SET
    Set(Bytes),
    /// APPEND
    Append(Bytes),
    /// GET
    Get,
    /// INCRBY
    Incr(i64),
    /// RPUSH
    Push(Bytes),
    /// LPOP
    Pop,
    /// HSET
    Hset(Bytes, Bytes),
    /// HDEL
    Hdel(Bytes),
    /// ZADD
    Zadd(Bytes, i64),
    /// ZREM
    Zrem(Bytes),
    /// XADD with MAXLEN
    Xadd(u64, Bytes),
    /// EXPIRE, far away
    Expire(Key),
    /// DEL
    Del(Key),
    /// EVAL: sets the text and counts
    Eval(Bytes),
    /// MULTI … EXEC
    Multi(Vec<Op>),
    /// ECHO
    Echo(Bytes),
}

fn bulk(bytes: &[u8]) -> Value {
    Value::Bulk(bytes.to_vec())
}

fn text_of(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| bulk(bytes))
}

impl Op {
    /// A random one.
    pub fn random(prng: &mut Prng, number: u64) -> Op {
        let value = value(prng, number);
        match prng.below(20) {
            0 | 1 => Op::Set(value),
            2 | 3 => Op::Append(value),
            4 => Op::Get,
            5 | 6 => Op::Incr(1 + prng.below(5) as i64),
            7 | 8 => Op::Push(value),
            9 => Op::Pop,
            10 | 11 => Op::Hset(word(prng), value),
            12 => Op::Hdel(word(prng)),
            13 => Op::Zadd(word(prng), prng.below(100) as i64),
            14 => Op::Zrem(word(prng)),
            15 => Op::Xadd(number, value),
            16 if prng.chance(50) => Op::Expire(KEYS[prng.below(6) as usize]),
            16 => Op::Del(KEYS[prng.below(6) as usize]),
            17 => Op::Eval(value),
            18 => {
                let count = 1 + prng.below(4);
                let mut inner = Vec::new();
                while inner.len() < count as usize {
                    match Op::random(prng, number) {
                        // A stream takes each ID once.
                        Op::Multi(_) | Op::Xadd(..) => {}
                        op => inner.push(op),
                    }
                }
                Op::Multi(inner)
            }
            _ => Op::Echo(format!("echo {number}").into_bytes()),
        }
    }

    /// True if it changes something.
    pub fn writes(&self) -> bool {
        !matches!(self, Op::Get | Op::Echo(_))
    }

    /// The request, or the requests of a transaction.
    pub fn commands(&self, client: usize) -> Vec<Vec<Bytes>> {
        let key = |key: Key| key.name(client);
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        let int = |n: i64| n.to_string().into_bytes();
        vec![match self {
            Op::Set(v) => words(&[b"SET", &key(Key::Text), v]),
            Op::Append(v) => words(&[b"APPEND", &key(Key::Text), v]),
            Op::Get => words(&[b"GET", &key(Key::Text)]),
            Op::Incr(by) => words(&[b"INCRBY", &key(Key::Number), &int(*by)]),
            Op::Push(v) => words(&[b"RPUSH", &key(Key::List), v]),
            Op::Pop => words(&[b"LPOP", &key(Key::List)]),
            Op::Hset(f, v) => words(&[b"HSET", &key(Key::Hash), f, v]),
            Op::Hdel(f) => words(&[b"HDEL", &key(Key::Hash), f]),
            Op::Zadd(m, score) => words(&[b"ZADD", &key(Key::Zset), &int(*score), m]),
            Op::Zrem(m) => words(&[b"ZREM", &key(Key::Zset), m]),
            Op::Xadd(id, v) => {
                let (max, id) = (int(STREAM_MAX as i64), format!("{id}-0").into_bytes());
                words(&[b"XADD", &key(Key::Stream), b"MAXLEN", &max, &id, b"f", v])
            }
            Op::Expire(k) => words(&[b"EXPIRE", &key(*k), b"100000"]),
            Op::Del(k) => words(&[b"DEL", &key(*k)]),
            Op::Eval(v) => words(&[
                b"EVAL",
                b"redis.call('SET',KEYS[1],ARGV[1]) return redis.call('INCR',KEYS[2])",
                b"2",
                &key(Key::Text),
                &key(Key::Number),
                v,
            ]),
            Op::Echo(v) => words(&[b"ECHO", v]),
            Op::Multi(ops) => {
                let mut all = vec![words(&[b"MULTI"])];
                all.extend(ops.iter().flat_map(|op| op.commands(client)));
                all.push(words(&[b"EXEC"]));
                return all;
            }
        }]
    }
}

fn word(prng: &mut Prng) -> Bytes {
    format!("w{}", prng.below(6)).into_bytes()
}

fn value(prng: &mut Prng, number: u64) -> Bytes {
    let mut value = format!("v{number}.").into_bytes();
    // Now and then one that fills more than a socket's buffer.
    let more = if prng.chance(3) { prng.below(6000) } else { prng.below(30) };
    value.extend((0..more).map(|_| b'a' + (prng.below(26) as u8)));
    value
}

impl Model {
    /// Runs a request; returns its reply.
    pub fn apply(&mut self, op: &Op) -> Value {
        match op {
            Op::Set(v) => {
                self.text = Some(v.clone());
                Value::Simple(b"OK".to_vec())
            }
            Op::Append(v) => {
                let text = self.text.get_or_insert_default();
                text.extend_from_slice(v);
                Value::Int(text.len() as i64)
            }
            Op::Get => text_of(self.text.as_ref()),
            Op::Incr(by) => {
                let number = self.number.get_or_insert(0);
                *number += by;
                Value::Int(*number)
            }
            Op::Push(v) => {
                self.list.push(v.clone());
                Value::Int(self.list.len() as i64)
            }
            Op::Pop if self.list.is_empty() => Value::Null,
            Op::Pop => Value::Bulk(self.list.remove(0)),
            Op::Hset(f, v) => {
                Value::Int(i64::from(self.hash.insert(f.clone(), v.clone()).is_none()))
            }
            Op::Hdel(f) => Value::Int(i64::from(self.hash.remove(f).is_some())),
            Op::Zadd(m, score) => {
                Value::Int(i64::from(self.zset.insert(m.clone(), *score).is_none()))
            }
            Op::Zrem(m) => Value::Int(i64::from(self.zset.remove(m).is_some())),
            Op::Xadd(id, v) => {
                let stream = self.stream.get_or_insert_default();
                stream.push((*id, v.clone()));
                stream.drain(..stream.len().saturating_sub(STREAM_MAX));
                bulk(format!("{id}-0").as_bytes())
            }
            Op::Expire(key) => Value::Int(i64::from(self.has(*key))),
            Op::Del(key) => {
                let had = self.has(*key);
                match key {
                    Key::Text => self.text = None,
                    Key::Number => self.number = None,
                    Key::List => self.list.clear(),
                    Key::Hash => self.hash.clear(),
                    Key::Zset => self.zset.clear(),
                    Key::Stream => self.stream = None,
                }
                Value::Int(i64::from(had))
            }
            Op::Eval(v) => {
                self.apply(&Op::Set(v.clone()));
                self.apply(&Op::Incr(1))
            }
            Op::Multi(ops) => Value::Array(ops.iter().map(|op| self.apply(op)).collect()),
            Op::Echo(v) => bulk(v),
        }
    }

    /// How many of the keys are equal.
    pub fn likeness(&self, other: &Model) -> usize {
        [
            self.text == other.text,
            self.number == other.number,
            self.list == other.list,
            self.hash == other.hash,
            self.zset == other.zset,
            self.stream == other.stream,
        ]
        .iter()
        .filter(|&&equal| equal)
        .count()
    }

    /// The text has grown enough.
    pub fn is_long(&self) -> bool {
        self.text.as_ref().is_some_and(|text| text.len() > 3000) || self.list.len() > 40
    }

    fn has(&self, key: Key) -> bool {
        match key {
            Key::Text => self.text.is_some(),
            Key::Number => self.number.is_some(),
            Key::List => !self.list.is_empty(),
            Key::Hash => !self.hash.is_empty(),
            Key::Zset => !self.zset.is_empty(),
            Key::Stream => self.stream.is_some(),
        }
    }

    /// The transaction that reads everything. It also writes, so that a replica refuses it: what that has
    /// may change yet.
    pub fn questions(client: usize) -> Vec<Vec<Bytes>> {
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        let name = |key: Key| key.name(client);
        vec![
            words(&[b"MULTI"]),
            words(&[b"SET", format!("c{client}:look").as_bytes(), b"1"]),
            words(&[b"GET", &name(Key::Text)]),
            words(&[b"GET", &name(Key::Number)]),
            words(&[b"LRANGE", &name(Key::List), b"0", b"-1"]),
            words(&[b"HGETALL", &name(Key::Hash)]),
            words(&[b"ZRANGE", &name(Key::Zset), b"0", b"-1", b"WITHSCORES"]),
            words(&[b"XRANGE", &name(Key::Stream), b"-", b"+"]),
            words(&[b"EXEC"]),
        ]
    }

    /// What the node's answer to that says; `None` if it is of another form.
    pub fn from_answer(answer: &Value) -> Option<Model> {
        let [_, text, number, list, hash, zset, stream] = answer.as_array()? else { return None };
        let text_of = |value: &Value| match value {
            Value::Null => Some(None),
            other => other.as_bytes().map(|bytes| Some(bytes.to_vec())),
        };
        let all = |value: &Value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_bytes().map(<[u8]>::to_vec)).collect::<Option<Vec<_>>>()
        };
        let pairs = |value: &Value| {
            Some(
                all(value)?
                    .chunks_exact(2)
                    .map(|p| (p[0].clone(), p[1].clone()))
                    .collect::<Vec<_>>(),
            )
        };
        let mut entries = Vec::new();
        for entry in stream.as_array()? {
            let [id, fields] = entry.as_array()? else { return None };
            let id = id.as_str()?.strip_suffix("-0")?.parse().ok()?;
            entries.push((id, all(fields)?.get(1)?.clone()));
        }
        Some(Model {
            text: text_of(text)?,
            number: match text_of(number)? {
                Some(bytes) => Some(stdx::parse_i64(&bytes)?),
                None => None,
            },
            list: all(list)?,
            hash: pairs(hash)?.into_iter().collect(),
            zset: pairs(zset)?
                .into_iter()
                .map(|(m, score)| Some((m, stdx::parse_i64(&score)?)))
                .collect::<Option<_>>()?,
            stream: (!entries.is_empty()).then_some(entries),
        })
    }
}
