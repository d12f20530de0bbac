//! What a `$name` in a command template stands for: keys, values, numbers, bounds, drawn from one seeded generator.
//!
//! Pools are small on purpose: commands must meet each other's keys and elements. Each type has keys of its own; now and
//! then a key of another type is drawn, so that wrong-type errors are met too.

use stdx::Prng;

/// Makes one argument.
pub type Token = fn(&mut Gen) -> Vec<u8>;

/// The source of all randomness of a run.
pub struct Gen {
    /// The seeded generator.
    pub rng: Prng,
    /// Unix seconds at the start; absolute expiry times lie far behind it.
    start_seconds: i64,
    /// The highest time in an ID of a stream so far.
    stream_ms: u64,
}

/// The token with this name, without its `$`.
pub fn token(name: &str) -> Option<Token> {
    TOKENS.iter().find(|(known, _)| *known == name).map(|(_, make)| *make)
}

const TOKENS: &[(&str, Token)] = &[
    // Keys.
    ("s", |draw| draw.key_of(b's')),
    ("l", |draw| draw.key_of(b'l')),
    ("h", |draw| draw.key_of(b'h')),
    ("t", |draw| draw.key_of(b't')),
    ("z", |draw| draw.key_of(b'z')),
    ("y", |draw| draw.small_pool(b'y')),
    ("c", |draw| draw.small_pool(b'c')),
    ("x", |draw| draw.key_of(b'x')),
    ("k", Gen::any_key),
    ("b", |draw| draw.key_of(b'b')),
    ("p", |draw| draw.key_of(b'p')),
    ("g", |draw| draw.key_of(b'g')),
    ("sl", |draw| draw.numbered("sl:", 4)),
    ("st", |draw| draw.numbered("st:", 4)),
    ("sz", |draw| draw.numbered("sz:", 4)),
    ("w", |draw| draw.numbered("w:", 30)),
    ("wh", |draw| draw.numbered("wh:", 30)),
    // Values and elements.
    ("v", Gen::value),
    ("short", Gen::short),
    ("big", Gen::big),
    ("e", Gen::element),
    ("f", Gen::element),
    ("m", Gen::element),
    ("int", Gen::int),
    ("flt", Gen::float),
    ("sc", Gen::score),
    ("pe", |draw| draw.numbered("", 20_000)),
    ("gm", |draw| draw.numbered("m", 80)),
    ("se", Gen::sortable),
    // Bits, places, patterns of SORT.
    ("bit", |draw| draw.one_of(&["0", "1", "0", "1", "0", "1", "0", "1", "2", "-1", "x"])),
    ("bo", Gen::bit_offset),
    ("bt", Gen::bit_type),
    ("lon", |draw| draw.degrees(180.0)),
    ("lat", |draw| draw.degrees(85.0)),
    ("len", Gen::length),
    ("unit", |draw| draw.one_of(&["m", "km", "KM", "ft", "mi", "km", "km", "m", "cm"])),
    ("by", |draw| draw.one_of(SORT_BY)),
    ("get", |draw| draw.one_of(SORT_GET)),
    // Numbers.
    ("i", Gen::index),
    ("n", Gen::count),
    ("off", Gen::offset),
    ("bad", Gen::bad_number),
    ("sec", |draw| draw.rng.between(1_000, 1_000_000).to_string().into_bytes()),
    ("msec", |draw| draw.rng.between(1_000_000, 1_000_000_000).to_string().into_bytes()),
    ("ats", |draw| draw.absolute(1).to_string().into_bytes()),
    ("atms", |draw| draw.absolute(1000).to_string().into_bytes()),
    ("past", |draw| draw.rng.between(1, 1_000_000).to_string().into_bytes()),
    ("wait", |draw| draw.one_of(&["0.001", "0.002", "0.0015"])),
    ("db", |draw| draw.one_of(&["0", "0", "0", "1", "2", "9", "15"])),
    // Bounds and patterns.
    ("smin", Gen::score_bound),
    ("smax", Gen::score_bound),
    ("lmin", Gen::lex_bound),
    ("lmax", Gen::lex_bound),
    ("pat", Gen::pattern),
    // Streams.
    ("xnew", Gen::next_stream_id),
    ("xid", Gen::stream_id),
    ("xtop", |draw| {
        draw.stream_ms += 1;
        format!("{}-{}", draw.stream_ms, draw.rng.below(3)).into_bytes()
    }),
    ("dollar", |_| b"$".to_vec()),
    ("xstart", Gen::stream_bound),
    ("xend", Gen::stream_bound),
    ("g", |draw| draw.one_of(&["g1", "g2", "g3", "nogroup"])),
    ("cons", |draw| draw.one_of(&["alice", "bob", "carol"])),
    // Names.
    ("ch", |draw| draw.one_of(&["news", "news.a", "x", "__sentinel__:hello", "c\u{0}h"])),
    ("cmd", |draw| draw.one_of(COMMAND_NAMES)),
    ("usr", |draw| draw.one_of(&["u:1", "u:2", "u:3", "u:4"])),
    ("rule", Gen::acl_rule),
    ("cfg", |draw| draw.one_of(CONFIG_NAMES)),
    ("junk", Gen::junk),
    ("lua", |draw| draw.one_of(super::scripts::SCRIPTS)),
    ("luabad", |draw| draw.one_of(super::scripts::FAILING)),
    ("libcode", |draw| draw.one_of(super::scripts::LIBRARIES)),
];

/// All with a `*`, so that they ask for an order.
const SORT_BY: &[&str] = &[
    "w:*", "w:*", "wh:*->f", "wh:*->f", "wh:*->g", "w:*->f", "wh:*", "*", "wh:*->", "*->f", "w:*x",
];

const SORT_GET: &[&str] =
    &["#", "#", "w:*", "wh:*->f", "wh:*->g", "w:*->f", "wh:*", "*", "plain", "w:0", "#*", "wh:*->"];

const COMMAND_NAMES: &[&str] = &[
    "get",
    "SET",
    "mget",
    "lpush",
    "lrange",
    "hset",
    "hgetall",
    "zadd",
    "zrange",
    "zunionstore",
    "sadd",
    "sinter",
    "expire",
    "del",
    "exists",
    "blpop",
    "blmove",
    "multi",
    "exec",
    "watch",
    "ping",
    "echo",
    "select",
    "swapdb",
    "move",
    "copy",
    "dump",
    "restore",
    "scan",
    "keys",
    "type",
    "ttl",
    "append",
    "incr",
    "lmpop",
    "zmpop",
    "publish",
    "subscribe",
    "nosuchcommand",
];

const ACL_COMMANDS: &[&str] = &[
    "get",
    "set",
    "SET",
    "mget",
    "del",
    "exists",
    "lpush",
    "lrange",
    "hset",
    "hgetall",
    "zadd",
    "zunionstore",
    "sadd",
    "sinterstore",
    "copy",
    "rename",
    "getex",
    "append",
    "incr",
    "publish",
    "subscribe",
    "psubscribe",
    "select",
    "select|0",
    "ping",
    "multi",
    "exec",
    "config",
    "config|get",
    "config|set",
    "CONFIG|Get",
    "object",
    "object|encoding",
    "client",
    "client|id",
    "client|foo",
    "nosuch",
    "get|a",
    "get|",
    "config|get|x",
    "scan",
    "keys",
    "swapdb",
    "flushall",
    "acl|whoami",
    "memory|usage",
    "auth",
    "",
];

const ACL_CATEGORIES: &[&str] = &[
    "all",
    "all",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "keyspace",
    "Read",
    "nosuch",
];

const ACL_PATTERNS: &[&str] =
    &["s:*", "l:*", "h:*", "[tz]:*", "*", "s:1", "?:1*", "*:2", "a b", "", "\\s:[^1]", "missing"];

const ACL_HASHES: &[&str] = &[
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    "CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB",
    "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48b",
    "",
];

const ACL_SELECTORS: &[&str] = &[
    ")",
    "+get ~s:*)",
    "+@read %R~*)",
    "+@all allkeys -@dangerous)",
    "on)",
    "+set ~s:1",
    "%W~l:* +@list &x)",
    "~\"a b\")",
    "+publish &news*)",
    "+@write ~[hz]:* -del)",
];

const ACL_WORDS: &[&str] = &[
    "on",
    "on",
    "off",
    "nopass",
    "nopass",
    "resetpass",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
    "reset",
    "clearselectors",
    "sanitize-payload",
    "skip-sanitize-payload",
    "ON",
    "bogus",
    "",
    ")",
];

const CONFIG_NAMES: &[&str] = &[
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "hash-max-ziplist-entries",
    "list-max-listpack-size",
    "list-max-ziplist-size",
    "list-compress-depth",
    "set-max-intset-entries",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
    "maxmemory",
    "maxmemory-policy",
    "databases",
    "timeout",
    "appendonly",
    "appendfsync",
    "save",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "nosuchparameter",
    "maxmemory-sam*",
    "zset-max-l*",
    "stream-node-max-*",
    "client-output-buffer-limit",
    "min-replicas-to-write",
    "repl-timeout",
    "repl-backlog-size",
    "notify-keyspace-events",
    "lazyfree-lazy-expire",
    "proto-max-bulk-len",
    "replica-priority",
    "hz",
    "tcp-keepalive",
    "rdbcompression",
    "rdbchecksum",
    "requirepass",
];

impl Gen {
    /// A generator; `start_seconds` is the wall clock, which no decision but absolute expiry depends on.
    pub fn new(seed: u64, start_seconds: i64) -> Gen {
        Gen { rng: Prng::new(seed), start_seconds, stream_ms: 0 }
    }

    /// One of several texts.
    pub fn one_of(&mut self, texts: &[&str]) -> Vec<u8> {
        texts[self.rng.below(texts.len() as u64) as usize].as_bytes().to_vec()
    }

    /// A rule of ACL SETUSER.
    fn acl_rule(&mut self) -> Vec<u8> {
        let (head, rest): (&[&str], &[&str]) = match self.rng.below(100) {
            0..22 => (&["+", "-"], ACL_COMMANDS),
            22..40 => (&["+@", "-@"], ACL_CATEGORIES),
            40..60 => (&["~", "~", "%R~", "%W~", "%RW~", "%rw~", "%X~"], ACL_PATTERNS),
            60..70 => (&["&"], &["news", "news*", "*", "x", "__*", "?"]),
            70..78 => (&[">", ">", "<"], &["a", "b", ""]),
            78..80 => (&["#", "!"], ACL_HASHES),
            80..86 => (&["("], ACL_SELECTORS),
            _ => (&[""], ACL_WORDS),
        };
        let mut rule = self.one_of(head);
        rule.extend(self.one_of(rest));
        rule
    }

    fn pool_key(&mut self, kind: u8, size: u64) -> Vec<u8> {
        let number = self.rng.below(size);
        match (kind, number) {
            // A few keys that are hard to carry: empty, binary, long.
            (b's', 0) => Vec::new(),
            (b'h', 0) => b"h\x00\r\n\xff$5\r\n".to_vec(),
            (b'z', 0) => vec![b'z'; 300],
            (b't', 0) => b"1234567890123456789".to_vec(),
            _ => format!("{}:{number}", char::from(kind)).into_bytes(),
        }
    }

    /// One of `count` numbered names.
    fn numbered(&mut self, prefix: &str, count: u64) -> Vec<u8> {
        format!("{prefix}{}", self.rng.below(count)).into_bytes()
    }

    /// An element that weight keys are named after; mostly a number.
    fn sortable(&mut self) -> Vec<u8> {
        match self.rng.below(60) {
            0..50 => self.numbered("", 30),
            50..55 => (self.rng.below(200) as i64 - 100).to_string().into_bytes(),
            55..57 => self.one_of(&["1.5", "-2.25", "1e3", ".5", "inf", "-inf", "0x10", " 7", ""]),
            57 => self.one_of(&["abc", "1 ", "nan", "a\u{0}b", "a\u{0}a", "a"]),
            _ => self.short(),
        }
    }

    fn bit_offset(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0..28 => self.rng.below(200).to_string().into_bytes(),
            28..34 => self.numbered("#", 20),
            34..37 => self.rng.below(20_000).to_string().into_bytes(),
            37 => self.rng.between(8 << 20, (8 << 20) + 2_000_000).to_string().into_bytes(),
            38 => self.one_of(&["-1", "4294967296", "4294967295999", "#-1", "#", "##1"]),
            _ => self.bad_number(),
        }
    }

    fn bit_type(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..10 => format!("i{}", self.rng.between(1, 64)).into_bytes(),
            10..19 => format!("u{}", self.rng.between(1, 63)).into_bytes(),
            _ => self.one_of(&["u64", "i0", "i65", "u0", "I8", "u", "i", "x8", "", "u08", "i+8"]),
        }
    }

    /// A longitude or latitude: near the middle, anywhere, at the edges.
    fn degrees(&mut self, most: f64) -> Vec<u8> {
        let part = self.rng.next_u64() as f64 / u64::MAX as f64 * 2.0 - 1.0;
        match self.rng.below(20) {
            0..9 => format!("{:.6}", part * 2.0 + 13.0).into_bytes(),
            9..12 => format!("{:.3}", part * 0.05).into_bytes(),
            12..17 => format!("{}", part * most).into_bytes(),
            17 => (self.rng.below(20) as i64 - 10).to_string().into_bytes(),
            18 => self.one_of(&["180", "-180", "85.05112878", "-85.05112878", "0", "-0", "90"]),
            _ => self.one_of(&["181", "1e300", "inf", "nan", "abc", "-86", ""]),
        }
    }

    /// A radius or a side of a box.
    fn length(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..10 => self.rng.below(400).to_string().into_bytes(),
            10..14 => format!("{}.5", self.rng.below(30_000)).into_bytes(),
            14..18 => self.rng.below(30_000_000).to_string().into_bytes(),
            18 => self.one_of(&["0", "0.001", "1e9", "inf"]),
            _ => self.one_of(&["-1", "abc", "nan", "", "-inf"]),
        }
    }

    fn small_pool(&mut self, kind: u8) -> Vec<u8> {
        self.pool_key(kind, 5)
    }

    fn key_of(&mut self, kind: u8) -> Vec<u8> {
        match self.rng.below(100) {
            0..94 => self.pool_key(kind, 14),
            94..98 => self.any_key(),
            _ => b"missing".to_vec(),
        }
    }

    fn any_key(&mut self) -> Vec<u8> {
        let kind = b"slhtzx"[self.rng.below(6) as usize];
        self.pool_key(kind, 14)
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(100) {
            0..25 => self.int(),
            25..35 => self.float(),
            35..65 => self.short(),
            // Around the lengths where encodings change.
            65..85 => {
                let around = [31, 44, 45, 63, 64, 65, 66, 127, 128, 129];
                let len = around[self.rng.below(around.len() as u64) as usize];
                self.bytes(len)
            }
            85..92 => self.bytes_up_to(600),
            92..94 => self.big(),
            94..97 => self.odd_number(),
            _ => Vec::new(),
        }
    }

    /// Text of up to 40 letters from a small alphabet.
    fn short(&mut self) -> Vec<u8> {
        let len = self.rng.below(40);
        (0..len).map(|_| b"abcdeABC 01\n\xff"[self.rng.below(13) as usize]).collect()
    }

    fn bytes_up_to(&mut self, bound: u64) -> Vec<u8> {
        let len = self.rng.below(bound);
        self.bytes(len as usize)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let start = self.rng.next_u64();
        (0..len).map(|at| (start.wrapping_mul(at as u64 / 8 + 1) >> (at % 8 * 8)) as u8).collect()
    }

    /// Kilobytes, rarely a megabyte: past the limits of list nodes and of unpaged strings.
    fn big(&mut self) -> Vec<u8> {
        let len = match self.rng.below(100) {
            0..60 => self.rng.between(2_000, 9_000),
            60..98 => self.rng.between(9_000, 70_000),
            _ => self.rng.between((1 << 20) - 2, (1 << 20) + 70_000),
        };
        self.bytes(len as usize)
    }

    fn element(&mut self) -> Vec<u8> {
        match self.rng.below(100) {
            0..45 => self.rng.below(150).to_string().into_bytes(),
            45..85 => format!("e{}", self.rng.below(150)).into_bytes(),
            85..93 => self.int(),
            93..96 => {
                let len = self.rng.between(63, 66);
                self.bytes(len as usize)
            }
            96..98 => self.odd_number(),
            98 => Vec::new(),
            _ => self.bytes_up_to(300),
        }
    }

    fn int(&mut self) -> Vec<u8> {
        let number: i64 = match self.rng.below(10) {
            0..5 => self.rng.below(200) as i64 - 50,
            5..7 => self.rng.below(200_000) as i64 - 100_000,
            7 => self.rng.next_u64() as i64,
            8 => {
                let edges = [
                    i64::MAX,
                    i64::MIN,
                    i64::MAX - 1,
                    1 << 31,
                    -(1 << 31),
                    (1 << 31) - 1,
                    32767,
                    -32768,
                    32768,
                    127,
                    128,
                    -129,
                    4095,
                    4096,
                    -4097,
                    8_388_607,
                    8_388_608,
                ];
                edges[self.rng.below(edges.len() as u64) as usize]
            }
            _ => self.rng.below(1 << 40) as i64,
        };
        number.to_string().into_bytes()
    }

    fn float(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0..6 => {
                let quarters = self.rng.below(4000) as i64 - 2000;
                format!("{}", quarters as f64 / 4.0).into_bytes()
            }
            6 => self.one_of(&["3.0e3", "1e10", "-2.5E2", ".5", "5.", "1e-3"]),
            7 => self.one_of(&["0.1", "-3.14159", "2.7182818284", "1e17", "123456789.987654321"]),
            8 => self.int(),
            _ => self.one_of(&["inf", "-inf", "+inf", "nan", "1e400", "1_0", "0x10", " 1", "1 "]),
        }
    }

    /// A score: mostly halves and quarters, which every rule of formatting prints alike.
    fn score(&mut self) -> Vec<u8> {
        match self.rng.below(100) {
            0..55 => (self.rng.below(40) as i64 - 10).to_string().into_bytes(),
            55..85 => {
                let quarters = self.rng.below(400) as i64 - 100;
                format!("{}", quarters as f64 / 4.0).into_bytes()
            }
            85..89 => self.one_of(&["inf", "-inf", "+inf"]),
            89..92 => self.one_of(&["1e15", "1e16", "9007199254740993", "1e21", "-1e17", "1e300"]),
            92..95 => self.one_of(&["0.1", "3.14159", "-1e-10", "1.1", "0.3"]),
            // No -0: whether its sign is kept depends on the encoding at that moment, and Redis 7.2 chooses it otherwise.
            95..97 => self.one_of(&["nan", "abc", "", "1.5x", "0.0"]),
            _ => self.rng.below(1 << 34).to_string().into_bytes(),
        }
    }

    fn index(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..12 => (self.rng.below(30) as i64 - 10).to_string().into_bytes(),
            12..17 => self.one_of(&["0", "-1", "1", "-2"]),
            17..19 => (self.rng.below(600) as i64 - 300).to_string().into_bytes(),
            _ => self.bad_number(),
        }
    }

    fn count(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..15 => self.rng.below(8).to_string().into_bytes(),
            15..18 => self.rng.below(200).to_string().into_bytes(),
            18 => self.one_of(&["-1", "-3"]),
            _ => self.bad_number(),
        }
    }

    /// An offset into a string: small, for it may make the string grow.
    fn offset(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..17 => self.rng.below(120).to_string().into_bytes(),
            17 => self.rng.below(70_000).to_string().into_bytes(),
            18 => self.one_of(&["-1", "536870912", "4294967296"]),
            _ => self.bad_number(),
        }
    }

    /// Something that stands where a number should, or a number at the edge.
    fn bad_number(&mut self) -> Vec<u8> {
        self.one_of(&[
            "",
            "abc",
            "1.5",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            " 1",
            "1 ",
            "01",
            "+1",
            "-0",
            "0x1",
            "1e3",
            "-",
        ])
    }

    fn odd_number(&mut self) -> Vec<u8> {
        self.one_of(&["007", "+5", "-0", "00", "1e3", "9223372036854775808", "0.50", " 7", "-"])
    }

    fn absolute(&mut self, unit: i64) -> i64 {
        // Between one year and some forty years from now.
        let ahead = self.rng.between(31_000_000, 1_200_000_000) as i64;
        (self.start_seconds + ahead) * unit + self.rng.below(unit as u64) as i64
    }

    fn score_bound(&mut self) -> Vec<u8> {
        let mut bound = Vec::new();
        if self.rng.chance(25) {
            bound.push(b'(');
        }
        let number = match self.rng.below(10) {
            0..6 => (self.rng.below(60) as i64 - 20).to_string().into_bytes(),
            6 => self.one_of(&["-inf", "+inf", "inf"]),
            7 => self.one_of(&["1.5", "2.25", "-3.75", "1e3"]),
            8 => self.one_of(&["-inf", "+inf"]),
            _ => self.one_of(&["abc", "", "nan", "((1", "1(", "9007199254740993"]),
        };
        bound.extend(number);
        bound
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0..4 => b"-".to_vec(),
            4..8 => b"+".to_vec(),
            8..18 => {
                let mut bound = self.one_of(&["[", "("]);
                bound.extend(self.element());
                bound
            }
            _ => self.one_of(&["", "a", "[", "("]),
        }
    }

    /// The ID of a new entry: mostly above all others.
    fn next_stream_id(&mut self) -> Vec<u8> {
        if self.rng.chance(30) {
            self.stream_ms += self.rng.below(3);
        }
        let ms = self.stream_ms;
        match self.rng.below(100) {
            0..70 => format!("{ms}-*").into_bytes(),
            70..85 => {
                self.stream_ms += 1;
                format!("{}", ms + 1).into_bytes()
            }
            85..95 => format!("{ms}-{}", self.rng.below(40)).into_bytes(),
            95..98 => self.stream_id(),
            _ => self.one_of(&[
                "0-0", "", "-", "+", "5-", "abc", "1-1-1", "5-**", "*-1", "0-*", "01-07",
            ]),
        }
    }

    /// An ID that some entry may have.
    fn stream_id(&mut self) -> Vec<u8> {
        let ms = self.stream_ms.saturating_sub(self.rng.below(30));
        match self.rng.below(50) {
            0..44 => format!("{ms}-{}", self.rng.below(5)).into_bytes(),
            44..48 => ms.to_string().into_bytes(),
            48 => {
                self.one_of(&["0", "0-1", "99999999", "18446744073709551615-18446744073709551615"])
            }
            _ => self.one_of(&["", "-", "abc", "1-1-1", "(5", "1-*", "5-18446744073709551616"]),
        }
    }

    fn stream_bound(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0..3 => b"-".to_vec(),
            3..6 => b"+".to_vec(),
            6 => [b"(".to_vec(), self.stream_id()].concat(),
            _ => self.stream_id(),
        }
    }

    fn pattern(&mut self) -> Vec<u8> {
        self.one_of(&[
            "*", "*", "s:*", "?:1", "[lh]:*", "[^s]:?", "*1*", "e1?", "1[0-9]", "\\*", "", "a*b*c",
            "[a-", "e[1-3]*", "**", "?", "[z-a]*", "h\\:1",
        ])
    }

    fn junk(&mut self) -> Vec<u8> {
        match self.rng.below(4) {
            0 => self.bad_number(),
            1 => {
                self.one_of(&["", "NX", "XX", "COUNT", "LIMIT", "*", "WITHSCORES", "0", "1", "-1"])
            }
            2 => self.short(),
            _ => self.any_key(),
        }
    }
}
