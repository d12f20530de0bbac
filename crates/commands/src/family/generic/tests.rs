//! Replies, effects and events of the commands on keys, as redis-server 7.0.15 gives them.

use crate::testkit::{Kit, START};
use keyspace::ExpireRule;
use std::collections::BTreeSet;

const NOT_INT: &str = "-ERR value is not an integer or out of range";

#[test]
fn removing_and_asking() {
    Kit::default().check(&[
        ("MSET a 1 b 2 c 3", "+OK"),
        ("EXISTS a b n a", ":3"),
        ("TOUCH a n", ":1"),
        ("TYPE a", "+string"),
        ("TYPE n", "+none"),
        ("HSET h f v", ":1"),
        ("TYPE h", "+hash"),
        ("DEL a n a", ":1"),
        ("UNLINK b c n", ":2"),
        ("DBSIZE", ":1"),
        ("DEL", "-ERR wrong number of arguments for 'del' command"),
    ]);
}

#[test]
fn renaming() {
    Kit::default().check(&[
        ("RENAME n x", "-ERR no such key"),
        ("RENAMENX n n", "-ERR no such key"),
        ("SET a 1 EX 100", "+OK"),
        ("RENAME a a", "+OK"),
        ("RENAMENX a a", ":0"),
        ("SET b 2", "+OK"),
        ("RENAMENX a b", ":0"),
        ("RENAME a b", "+OK"),
        ("GET b", "$1 1"),
        ("TTL b", ":100"),
        ("EXISTS a", ":0"),
        ("RENAMENX b c", ":1"),
        ("TTL c", ":100"),
        ("SET long-and-longer-name-than-before 1", "+OK"),
        ("RENAME long-and-longer-name-than-before c", "+OK"),
        ("TTL c", ":-1"),
    ]);
}

#[test]
fn moving_and_copying() {
    let mut kit = Kit::default();
    kit.check(&[
        ("SET a 1 EX 100", "+OK"),
        ("MOVE a 99", "-ERR DB index is out of range"),
        ("MOVE a -1", "-ERR DB index is out of range"),
        ("MOVE a x", NOT_INT),
        ("MOVE a 0", "-ERR source and destination objects are the same"),
        (
            "MOVE a 99999999999",
            "-ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        ("MOVE n 1", ":0"),
        ("MOVE a 1", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 2", "+OK"),
        ("MOVE a 1", ":0"),
        ("COPY a a", "-ERR source and destination objects are the same"),
        ("COPY a b DB 99", "-ERR DB index is out of range"),
        ("COPY a b DB", "-ERR syntax error"),
        ("COPY a b FOO", "-ERR syntax error"),
        ("COPY n b", ":0"),
        ("COPY a b", ":1"),
        ("COPY a b", ":0"),
        ("COPY a b REPLACE", ":1"),
        ("COPY a a DB 1", ":0"),
        ("COPY a c DB 1 REPLACE", ":1"),
    ]);
    kit.db = 1;
    kit.check(&[("GET a", "$1 1"), ("TTL a", ":100"), ("GET c", "$1 2"), ("DBSIZE", ":2")]);
}

#[test]
fn a_copy_is_a_thing_of_its_own() {
    let mut kit = Kit::default();
    kit.check(&[
        ("HSET h a 1", ":1"),
        ("COPY h g", ":1"),
        ("HSET h a 2 b 3", ":1"),
        ("HGETALL g", "*2 $1 a $1 1"),
        ("EXPIRE h 10", ":1"),
        ("COPY h g REPLACE", ":1"),
        ("TTL g", ":10"),
    ]);
    // A table stays a table, small as it may have become.
    kit.env.limits.hash_max_listpack_entries = 2;
    kit.check(&[
        ("HSET t a 1 b 2 c 3", ":3"),
        ("OBJECT ENCODING t", "$9 hashtable"),
        ("HDEL t b c", ":2"),
        ("COPY t u", ":1"),
        ("OBJECT ENCODING u", "$9 hashtable"),
        ("HGETALL u", "*2 $1 a $1 1"),
    ]);
    kit.env.limits.hash_max_listpack_entries = 0;
    kit.check(&[("COPY h i", ":1"), ("OBJECT ENCODING i", "$8 listpack")]);
}

#[test]
fn expiry_times() {
    Kit::default().check(&[
        ("SET a 1", "+OK"),
        ("TTL a", ":-1"),
        ("TTL n", ":-2"),
        ("PEXPIRETIME n", ":-2"),
        ("EXPIRE n 10", ":0"),
        ("EXPIRE a 100", ":1"),
        ("TTL a", ":100"),
        ("PTTL a", ":100000"),
        ("EXPIRETIME a", ":1700000100"),
        ("PEXPIRETIME a", ":1700000100000"),
        ("PEXPIRE a 1499", ":1"),
        ("TTL a", ":1"),
        ("PEXPIRE a 1500", ":1"),
        ("TTL a", ":2"),
        ("EXPIREAT a 1700000100", ":1"),
        ("TTL a", ":100"),
        ("EXPIRE a 10 NX", ":0"),
        ("EXPIRE a 10 GT", ":0"),
        ("EXPIRE a 100 GT", ":0"),
        ("EXPIRE a 200 LT", ":0"),
        ("EXPIRE a 200 XX GT", ":1"),
        ("EXPIRE a 100 LT", ":1"),
        ("PERSIST a", ":1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 10 XX", ":0"),
        ("EXPIRE a 10 GT", ":0"),
        ("EXPIRE a 10 XX LT", ":0"),
        ("EXPIRE a 10 LT", ":1"),
        ("PERSIST a", ":1"),
        ("EXPIRE a 10 nx", ":1"),
        ("PEXPIREAT a 9223372036854775807", ":1"),
        ("PEXPIRETIME a", ":9223372036854775807"),
        ("EXPIRE a 10 FOO", "-ERR Unsupported option FOO"),
        ("EXPIRE a x FOO", "-ERR Unsupported option FOO"),
        ("EXPIRE a x", NOT_INT),
        ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE a -9223372036854775808", "-ERR invalid expire time in 'expire' command"),
        ("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT a 9223372036854775807", "-ERR invalid expire time in 'expireat' command"),
        (
            "EXPIRE a 10 NX LT",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        ("EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE a 0 GT", ":0"),
        ("EXPIRE a -5", ":1"),
        ("EXISTS a", ":0"),
    ]);
}

#[test]
fn what_expiry_puts_on_the_log() {
    let at = START + 5000;
    let mut kit = Kit::default();
    kit.check_effects(&[
        ("SET a 1", "SET a 1"),
        ("EXPIRE a 5", &format!("PEXPIREAT a {at}")),
        ("PEXPIRE a 5000 XX", &format!("PEXPIREAT a {at} XX")),
        ("EXPIREAT a 1700000005", &format!("PEXPIREAT a {at}")),
        ("pexpireat a 1700000005000 GT", ""),
        ("pexpireat a 1700000006000 GT", "pexpireat a 1700000006000 GT"),
        ("PERSIST a", "PERSIST a"),
        ("PERSIST a", ""),
        ("EXPIRE a -1", "DEL a"),
        ("EXPIRE a 1", ""),
    ]);
    kit.env.lazy_expire = true;
    kit.check_effects(&[("SET a 1", "SET a 1"), ("EXPIRE a -1", "UNLINK a")]);
}

#[test]
fn who_follows_a_master_does_not_judge_times() {
    let mut kit = Kit::default();
    kit.env.from_master = true;
    kit.options.expire = ExpireRule::Ignore;
    kit.check(&[
        ("SET a 1", "+OK"),
        ("PEXPIREAT a 5", ":1"),
        ("PEXPIRETIME a", ":5"),
        ("GET a", "$1 1"),
        ("PTTL a", ":0"),
    ]);
    kit.env.from_master = false;
    kit.options.expire = ExpireRule::Hide;
    kit.check(&[("GET a", "$-1"), ("DBSIZE", ":1"), ("KEYS *", "*0"), ("RANDOMKEY", "$-1")]);
}

#[test]
fn events_and_counts() {
    Kit::default().check_events(&[
        ("MSET a 1 b 2", "set a, set b", 2),
        ("DEL a n b", "del a, del b", 2),
        ("SET a 1", "set a", 1),
        ("RENAME a b", "rename_from a, rename_to b", 1),
        ("RENAME b b", "", 0),
        ("COPY b a", "copy_to a", 1),
        ("MOVE a 1", "move_from a, move_to a", 1),
        ("EXPIRE b 10", "expire b", 1),
        ("PERSIST b", "persist b", 1),
        ("EXPIRE b -1", "del b", 1),
        ("MSET a 1 b 2", "set a, set b", 2),
        ("FLUSHDB", "", 2),
        ("FLUSHALL", "", 1),
    ]);
}

#[test]
fn walks_see_every_key() {
    let mut kit = Kit::default();
    let names: BTreeSet<String> = (0..500).map(|n| format!("key:{n}")).collect();
    names.iter().for_each(|name| {
        kit.line(&format!("SET {name} v"));
    });
    kit.line("HSET hash f v");
    kit.check(&[("DBSIZE", ":501"), ("KEYS hash", "*1 $4 hash"), ("KEYS x*", "*0")]);
    let keys = kit.line("KEYS key:*").reply;
    let keys: BTreeSet<String> = keys.split(' ').skip(2).step_by(2).map(str::to_owned).collect();
    assert_eq!(keys, names);
    for options in ["", "COUNT 1", "COUNT 7 MATCH key:*", "COUNT 1000 TYPE string"] {
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let reply = kit.line(&format!("SCAN {cursor} {options}")).reply;
            let words: Vec<&str> = reply.split(' ').collect();
            seen.extend(words[5..].iter().step_by(2).map(|&key| key.to_owned()));
            cursor = words[2].to_owned();
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        seen.remove("hash");
        assert_eq!(seen, names, "{options}");
        assert!(calls > 1 || options.starts_with("COUNT 1000"), "{options}: {calls}");
    }
}

#[test]
fn scan_options_and_cursors() {
    Kit::default().check(&[
        ("SCAN 0", "*2 $1 0 *0"),
        ("SET a 1", "+OK"),
        ("SCAN \"\" COUNT 100", "*2 $1 0 *1 $1 a"),
        ("SCAN 0 TYPE STRING COUNT 100", "*2 $1 0 *1 $1 a"),
        ("SCAN 0 TYPE foo COUNT 100", "*2 $1 0 *0"),
        ("SCAN 0 MATCH b* COUNT 100", "*2 $1 0 *0"),
        ("SCAN x", "-ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 COUNT x", NOT_INT),
        ("SCAN 0 NOVALUES", "-ERR syntax error"),
        ("SCAN 0 MATCH", "-ERR syntax error"),
    ]);
    let mut kit = Kit::default();
    kit.line("SET a 1");
    for cursor in ["-1", "18446744073709551615", "9223372036854775808", "12345678901"] {
        assert!(kit.line(&format!("SCAN {cursor}")).reply.starts_with("*2 $"));
    }
}

#[test]
fn random_keys_are_those_that_live() {
    let mut kit = Kit::default();
    kit.check(&[("RANDOMKEY", "$-1"), ("SET a 1", "+OK"), ("RANDOMKEY", "$1 a")]);
    for n in 0..50 {
        kit.line(&format!("SET key:{n} v PX 10"));
    }
    let drawn: BTreeSet<String> = (0..200).map(|_| kit.line("RANDOMKEY").reply).collect();
    assert!(drawn.len() > 30, "{drawn:?}");
    kit.advance(10);
    for _ in 0..20 {
        kit.check(&[("RANDOMKEY", "$1 a"), ("KEYS *", "*1 $1 a")]);
    }
}

#[test]
fn whole_databases() {
    let mut kit = Kit::default();
    kit.check(&[
        ("MSET a 1 b 2", "+OK"),
        ("MOVE a 1", ":1"),
        ("FLUSHDB FOO", "-ERR syntax error"),
        ("FLUSHDB SYNC ASYNC", "-ERR syntax error"),
        ("FLUSHDB SYNC", "+OK"),
        ("DBSIZE", ":0"),
        ("SWAPDB 0 x", "-ERR invalid second DB index"),
        ("SWAPDB x 0", "-ERR invalid first DB index"),
        ("SWAPDB 99999999999 0", "-ERR invalid first DB index"),
        ("SWAPDB 0 4", "-ERR DB index is out of range"),
        ("SWAPDB -1 0", "-ERR DB index is out of range"),
        ("SWAPDB 0 1", "+OK"),
        ("GET a", "$1 1"),
        ("SWAPDB 0 0", "+OK"),
    ]);
    kit.check_effects(&[
        ("flushall async", "flushall async"),
        ("FLUSHDB", "FLUSHDB"),
        ("SWAPDB 0 1", "SWAPDB 0 1"),
    ]);
    kit.line("SET a 1");
    assert!(!kit.line("FLUSHALL").changes.tables.is_empty());
}

#[test]
fn objects() {
    let mut kit = Kit::default();
    kit.check(&[
        ("SET a 5", "+OK"),
        ("SET s hello", "+OK"),
        ("OBJECT ENCODING a", "$3 int"),
        ("OBJECT ENCODING s", "$6 embstr"),
        ("OBJECT ENCODING n", "$-1"),
        ("OBJECT REFCOUNT a", ":2147483647"),
        ("OBJECT REFCOUNT s", ":1"),
        ("OBJECT FOO a", "-ERR unknown subcommand 'FOO'. Try OBJECT HELP."),
        ("object foo", "-ERR unknown subcommand 'foo'. Try OBJECT HELP."),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ("OBJECT FREQ n", "$-1"),
    ]);
    kit.advance(10_500);
    kit.check(&[("OBJECT IDLETIME a", ":10"), ("TYPE a", "+string"), ("TTL a", ":-1")]);
    kit.check(&[("OBJECT IDLETIME a", ":10"), ("GET a", "$1 5"), ("OBJECT IDLETIME a", ":0")]);
    assert!(kit.line("OBJECT FREQ a").reply.starts_with("-ERR An LFU maxmemory policy is not"));
    assert!(kit.line("OBJECT HELP").reply.starts_with("*15 +OBJECT <subcommand> [<arg> [value]"));
    kit.options.policy = keyspace::MemoryPolicy::Lfu { log_factor: 10, decay_minutes: 1 };
    assert!(kit.line("OBJECT IDLETIME a").reply.starts_with("-ERR An LFU maxmemory policy is sel"));
}

#[test]
fn dumped_values_come_back() {
    let mut kit = Kit::default();
    kit.check(&[("SET s hello", "+OK"), ("HSET h a 1 b two", ":2"), ("DUMP n", "$-1")]);
    for key in ["s", "h"] {
        let bytes = kit.line(&format!("DUMP {key}")).bytes;
        let head = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
        let payload = &bytes[head..bytes.len() - 2];
        let args = |key: &str, ttl: &str, more: &[&str]| {
            let mut args: Vec<Vec<u8>> = vec![b"RESTORE".to_vec(), key.into(), ttl.into()];
            args.push(payload.to_vec());
            args.extend(more.iter().map(|word| word.as_bytes().to_vec()));
            args
        };
        let text = String::from_utf8_lossy(payload).into_owned();
        assert!(
            kit.run(&args(key, "0", &[])).reply.starts_with("-BUSYKEY Target key name already")
        );
        let outcome = kit.run(&args("r", "5000", &[]));
        assert_eq!(outcome.reply, "+OK");
        assert_eq!(outcome.effect, format!("RESTORE r {} {text} ABSTTL", START + 5000));
        assert_eq!(outcome.events, ["restore r"]);
        kit.check(&[("PTTL r", ":5000")]);
        let absolute = format!("{}", START + 7000);
        let outcome = kit.run(&args("r", &absolute, &["REPLACE", "ABSTTL", "IDLETIME", "9"]));
        assert_eq!(
            outcome.effect,
            format!("RESTORE r {absolute} {text} REPLACE ABSTTL IDLETIME 9")
        );
        kit.check(&[("PTTL r", ":7000"), ("OBJECT IDLETIME r", ":9")]);
        let outcome = kit.run(&args("r", "1", &["replace", "absttl"]));
        assert_eq!((outcome.effect.as_str(), outcome.events), ("DEL r", vec!["del r".to_owned()]));
        let outcome = kit.run(&args("r", "1", &["absttl"]));
        assert_eq!((outcome.reply.as_str(), outcome.effect.as_str()), ("+OK", ""));
        kit.check(&[("EXISTS r", ":0")]);
        assert_eq!(kit.run(&args("copy", "0", &[])).reply, "+OK");
        let damaged: Vec<u8> = payload.iter().map(|b| b ^ 1).collect();
        let bad = kit.run(&[b"RESTORE".as_slice(), b"x", b"0", &damaged]);
        assert_eq!(bad.reply, "-ERR DUMP payload version or checksum are wrong");
        kit.line("DEL copy");
    }
    kit.check(&[
        ("RESTORE s x foo", "-BUSYKEY Target key name already exists."),
        ("RESTORE t x foo", NOT_INT),
        ("RESTORE t -1 foo", "-ERR Invalid TTL value, must be >= 0"),
        ("RESTORE t 0 foo", "-ERR DUMP payload version or checksum are wrong"),
        ("RESTORE t 0 foo IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0"),
        ("RESTORE t 0 foo FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ("RESTORE t 0 foo FREQ 2 IDLETIME 2", "-ERR syntax error"),
        ("RESTORE t 0 foo FREQ", "-ERR syntax error"),
    ]);
}
