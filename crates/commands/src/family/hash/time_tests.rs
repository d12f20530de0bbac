//! Fields with times: replies as the documentation and the test-suite of Redis 7.4 and 8.0 have them,
//! what goes on the log, events; and a model under a clock that moves.

use crate::testkit::{Kit, START};
use keyspace::ExpireRule;
use std::collections::BTreeMap;
use stdx::Prng;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "-ERR value is not an integer or out of range";
const NO_FIELDS: &str = "-ERR Mandatory argument FIELDS is missing or not at the right position";
const NOT_AS_MANY: &str = "-ERR The `numfields` parameter must match the number of arguments";
const NO_COUNT: &str = "-ERR Number of fields must be a positive integer";
const NEGATIVE: &str = "-ERR invalid expire time, must be >= 0";

#[test]
fn times_are_set_and_told() {
    let mut kit = Kit::default();
    let (at, secs) = (START + 1500, (START + 1500 + 999) / 1000);
    kit.check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HPEXPIRE h 1500 FIELDS 2 a none", "*2 :1 :-2"),
        ("HPTTL h FIELDS 3 a b none", "*3 :1500 :-1 :-2"),
        ("HTTL h FIELDS 1 a", "*1 :2"),
        ("HPEXPIRETIME h FIELDS 2 a b", &format!("*2 :{at} :-1")),
        ("HEXPIRETIME h FIELDS 1 a", &format!("*1 :{secs}")),
        ("OBJECT ENCODING h", "$10 listpackex"),
        ("HEXPIRE h 10 NX FIELDS 2 a b", "*2 :0 :1"),
        ("HEXPIRE h 10 XX FIELDS 2 a c", "*2 :1 :0"),
        ("HEXPIRE h 20 GT FIELDS 2 a c", "*2 :1 :0"),
        ("HEXPIRE h 15 GT FIELDS 1 a", "*1 :0"),
        ("HEXPIRE h 20 GT FIELDS 1 a", "*1 :0"),
        ("HEXPIRE h 15 LT FIELDS 2 a c", "*2 :1 :1"),
        ("HEXPIRE h 16 lt fields 1 a", "*1 :0"),
        ("HTTL h FIELDS 3 a b c", "*3 :15 :10 :15"),
        ("HPERSIST h FIELDS 4 a a none b", "*4 :1 :-1 :-2 :1"),
        ("HTTL h FIELDS 2 a b", "*2 :-1 :-1"),
        ("HPEXPIRE n 1 FIELDS 2 a b", "*2 :-2 :-2"),
        ("HTTL n FIELDS 2 a b", "*2 :-2 :-2"),
        ("HPERSIST n FIELDS 1 a", "*1 :-2"),
        ("HPEXPIREAT h 1 FIELDS 3 a b none", "*3 :2 :2 :-2"),
        ("HEXPIRE h 0 FIELDS 1 c", "*1 :2"),
        ("EXISTS h", ":0"),
        ("HSET plain a 1", ":1"),
        ("HTTL plain FIELDS 2 a b", "*2 :-1 :-2"),
        ("HPERSIST plain FIELDS 2 a b", "*2 :-1 :-2"),
        ("OBJECT ENCODING plain", "$8 listpack"),
    ]);
}

#[test]
fn arguments_are_checked_in_order() {
    let mut kit = Kit::default();
    kit.line("SET s v");
    kit.line("HSET h a 1");
    for name in ["HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT"] {
        let invalid =
            format!("-ERR invalid expire time in '{}' command", name.to_ascii_lowercase());
        let arity =
            format!("-ERR wrong number of arguments for '{}' command", name.to_ascii_lowercase());
        let check = |kit: &mut Kit, rest: &str, expected: &str| {
            kit.check(&[(&format!("{name} {rest}"), expected)]);
        };
        check(&mut kit, "s x NX", &arity);
        check(&mut kit, "s x FIELDS 1 a", WRONG);
        check(&mut kit, "h x FIELDS 1 a", NOT_INT);
        check(&mut kit, "h -1 FIELDS 1 a", NEGATIVE);
        check(&mut kit, "h 9223372036854775807 FIELDS 1 a", &invalid);
        check(&mut kit, "h 70368744177664 FIELDS 1 a", &invalid);
        check(&mut kit, "h 9 WORD 1 a", NO_FIELDS);
        check(&mut kit, "h 9 NX XX FIELDS 1 a", NO_FIELDS);
        check(&mut kit, "h 9 NX FIELDS 1", NOT_AS_MANY);
        check(&mut kit, "h 9 FIELDS 2 a", NOT_AS_MANY);
        check(&mut kit, "h 9 FIELDS 1 a b", NOT_AS_MANY);
        for count in ["0", "-1", "x", "9223372036854775808"] {
            let expected = "-ERR Parameter `numFields` should be greater than 0";
            check(&mut kit, &format!("h 9 FIELDS {count} a"), expected);
        }
    }
    for name in ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST", "HGETDEL", "HGETEX"] {
        kit.check(&[
            (&format!("{name} s FIELDS 1 a"), WRONG),
            (&format!("{name} h WORDS 1 a"), NO_FIELDS),
            (&format!("{name} h FIELDS 0 a"), NO_COUNT),
            (&format!("{name} h FIELDS x a"), NO_COUNT),
            (&format!("{name} h FIELDS 2 a"), NOT_AS_MANY),
            (&format!("{name} n FIELDS 1 a b"), NOT_AS_MANY),
        ]);
    }
    kit.check(&[
        ("HGETEX h EX x FIELDS 1 a", NOT_INT),
        ("HGETEX h PX -1 FIELDS 1 a", NEGATIVE),
        ("HGETEX h PXAT 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hgetex' command"),
        ("HGETEX h PXAT 1 1", NO_FIELDS),
        ("HGETEX h PERSIST 1 FIELDS 1 a", NO_FIELDS),
        ("HGETEX h PX 5 FIELDS", NOT_AS_MANY),
    ]);
    let arity = "-ERR wrong number of arguments for 'hsetex' command";
    let one_time = "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
    let one_condition = "-ERR Only one of FXX or FNX arguments can be specified";
    kit.check(&[
        ("HSETEX s FIELDS 1 a b", WRONG),
        ("HSETEX h FIELDS 1 a", arity),
        ("HSETEX h FIELDS 2 a b", arity),
        ("HSETEX h FIELDS 2 a b c", arity),
        ("HSETEX h FIELDS 1 a b FXX", arity),
        ("HSETEX h EX 10 KEEPTTL FIELDS", one_time),
        ("HSETEX h FNX EX 10 FIELDS", arity),
        ("HSETEX h FIELDS 0 a b", "-ERR invalid number of fields"),
        ("HSETEX h FIELDS x a b", "-ERR invalid number of fields"),
        ("HSETEX h NX FIELDS 1 a b", "-ERR unknown argument: NX"),
        ("HSETEX h FXX FNX FIELDS 1 a b", one_condition),
        ("HSETEX h FXX FXX FIELDS 1 a b", one_condition),
        ("HSETEX h KEEPTTL PX 1 FIELDS 1 a b", one_time),
        ("HSETEX h EX 1 EX 1 FIELDS 1 a b", one_time),
        ("HSETEX h KEEPTTL KEEPTTL FIELDS 1 a b", one_time),
        ("HSETEX h EX FIELDS 1 a b", NOT_INT),
        ("HSETEX h FXX FXX x EX", one_condition),
        ("HSETEX h PX 5 FNX EXAT", one_time),
        ("HSETEX h FNX x x EX", "-ERR unknown argument: x"),
        ("HSETEX h EX -1 FIELDS 1 a b", NEGATIVE),
        (
            "HSETEX h EXAT 70368744177664 FIELDS 1 a b",
            "-ERR invalid expire time in 'hsetex' command",
        ),
        ("HGETALL h", "*2 $1 a $1 1"),
    ]);
}

#[test]
fn reading_and_setting_with_a_time() {
    Kit::default().check(&[
        ("HSETEX h EX 10 FIELDS 2 a 1 b 2", ":1"),
        ("HTTL h FIELDS 2 a b", "*2 :10 :10"),
        ("HSETEX h FNX FIELDS 2 b 3 c 3", ":0"),
        ("HSETEX h FXX FIELDS 2 b 3 c 3", ":0"),
        ("HSETEX n FXX FIELDS 1 a 1", ":0"),
        ("EXISTS n", ":0"),
        ("HSETEX h KEEPTTL FXX FIELDS 1 a 7", ":1"),
        ("HTTL h FIELDS 1 a", "*1 :10"),
        ("HSETEX h FIELDS 1 a 8", ":1"),
        ("HTTL h FIELDS 1 a", "*1 :-1"),
        ("HSETEX h FNX KEEPTTL FIELDS 1 c 3", ":1"),
        ("HGETEX h FIELDS 3 a b none", "*3 $1 8 $1 2 $-1"),
        ("HTTL h FIELDS 2 a b", "*2 :-1 :10"),
        ("HGETEX h PX 7000 FIELDS 2 a none", "*2 $1 8 $-1"),
        ("HPTTL h FIELDS 2 a b", "*2 :7000 :10000"),
        ("HGETEX h PERSIST FIELDS 2 a c", "*2 $1 8 $1 3"),
        ("HTTL h FIELDS 2 a b", "*2 :-1 :10"),
        ("HGETEX n EX 5 FIELDS 1 a", "*1 $-1"),
        ("HGETDEL h FIELDS 3 a none a", "*3 $1 8 $-1 $-1"),
        ("HGETEX h PXAT 1 FIELDS 1 b", "*1 $1 2"),
        ("HGETALL h", "*2 $1 c $1 3"),
        ("HSETEX h PX 0 FIELDS 1 c 3", ":1"),
        ("EXISTS h", ":0"),
        ("HGETDEL h FIELDS 1 c", "*1 $-1"),
    ]);
}

#[test]
fn values_keep_and_lose_times() {
    let mut kit = Kit::default();
    kit.check(&[
        ("HSET h a 1 b 2 c 3 d 1.5", ":4"),
        ("HEXPIRE h 10 FIELDS 4 a b c d", "*4 :1 :1 :1 :1"),
        ("HSET h a 2", ":0"),
        ("HINCRBY h b 5", ":7"),
        ("HINCRBYFLOAT h d 1.5", "$1 3"),
        ("HSETNX h c 9", ":0"),
        ("HTTL h FIELDS 4 a b c d", "*4 :-1 :10 :10 :10"),
        ("HDEL h c", ":1"),
        ("HSET h c 3", ":1"),
        ("HTTL h FIELDS 1 c", "*1 :-1"),
        ("COPY h copy", ":1"),
        ("RENAME h new", "+OK"),
        ("MOVE new 1", ":1"),
        ("HTTL copy FIELDS 3 a b d", "*3 :-1 :10 :10"),
    ]);
    kit.db = 1;
    kit.check(&[("HTTL new FIELDS 3 a b d", "*3 :-1 :10 :10")]);
    kit.advance(10_000);
    kit.check(&[("HGETALL new", "*4 $1 a $1 2 $1 c $1 3")]);
}

#[test]
fn what_is_due_is_not_there() {
    let mut kit = Kit::default();
    kit.check(&[
        ("HSET h a 1 b 2 c 3 d 4 e 5", ":5"),
        ("HPEXPIRE h 100 FIELDS 4 a b c d", "*4 :1 :1 :1 :1"),
    ]);
    kit.advance(99);
    kit.check(&[("HGET h a", "$1 1"), ("HPTTL h FIELDS 1 a", "*1 :1")]);
    kit.advance(1);
    kit.check(&[
        ("HGETALL h", "*2 $1 e $1 5"),
        ("HKEYS h", "*1 $1 e"),
        ("HVALS h", "*1 $1 5"),
        ("HSCAN h 0", "*2 $1 0 *2 $1 e $1 5"),
        ("HRANDFIELD h", "$1 e"),
        ("HRANDFIELD h 9", "*1 $1 e"),
        ("HRANDFIELD h -3", "*3 $1 e $1 e $1 e"),
        ("HTTL h FIELDS 2 a e", "*2 :-2 :-1"),
        // Redis counts here what nobody has removed yet.
        ("HLEN h", ":5"),
        ("HMGET h a e", "*2 $-1 $1 5"),
        ("HLEN h", ":4"),
        ("HEXISTS h b", ":0"),
        ("HSTRLEN h c", ":0"),
        ("HLEN h", ":2"),
        ("HSET h d 9", ":1"),
        ("HTTL h FIELDS 1 d", "*1 :-1"),
    ]);
    // Also where the server may not remove it.
    kit.check(&[("HPEXPIRE h 100 FIELDS 2 d e", "*2 :1 :1")]);
    kit.advance(100);
    kit.options.expire = ExpireRule::Hide;
    kit.check(&[
        ("HGET h d", "$-1"),
        ("HMGET h d e", "*2 $-1 $-1"),
        ("HGETALL h", "*0"),
        ("HRANDFIELD h 5", "*0"),
        ("HEXISTS h d", ":0"),
        ("EXISTS h", ":1"),
    ]);
    // The master's commands see it.
    kit.options.expire = ExpireRule::Ignore;
    kit.check(&[("HGET h d", "$1 9"), ("HDEL h d", ":1"), ("HLEN h", ":1")]);
    kit.options.expire = ExpireRule::Remove;
    kit.check(&[("HGET h e", "$-1"), ("EXISTS h", ":0")]);
}

#[test]
fn effects_carry_absolute_times() {
    let mut kit = Kit::default();
    let at = |ms: i64| START + ms;
    let seconds = format!("HPEXPIREAT h {} FIELDS 2 a b", at(10_000));
    kit.check_effects(&[
        ("HSET h a 1 b 2 c 3", "HSET h a 1 b 2 c 3"),
        ("HEXPIRE h 10 NX FIELDS 3 a none b", &seconds),
        ("HEXPIRE h 10 NX FIELDS 1 a", ""),
        ("HPERSIST h FIELDS 1 c", ""),
        ("HPERSIST h FIELDS 2 a c", "HPERSIST h FIELDS 2 a c"),
        ("HGETEX h PERSIST FIELDS 2 a b", "HPERSIST h FIELDS 1 b"),
        ("HGETEX h FIELDS 1 a", ""),
        ("HGETEX h PX 50 FIELDS 2 a none", &format!("HPEXPIREAT h {} FIELDS 1 a", at(50))),
        ("HGETEX h PX 0 FIELDS 2 b none", "HDEL h b"),
        ("HINCRBY h a 1", "HINCRBY h a 1"),
        ("HINCRBYFLOAT h a 1.5", &format!("HSET h a 3.5; HPEXPIREAT h {} FIELDS 1 a", at(50))),
        ("HINCRBYFLOAT h c 1", "HSET h c 4"),
        (
            "HSETEX h KEEPTTL FIELDS 2 a 1 c 1",
            &format!("HSET h a 1 c 1; HPEXPIREAT h {} FIELDS 1 a", at(50)),
        ),
        (
            "HSETEX h EX 5 FIELDS 1 d 1",
            &format!("HSET h d 1; HPEXPIREAT h {} FIELDS 1 d", at(5000)),
        ),
        ("HSETEX h FIELDS 1 d 1", "HSET h d 1"),
        ("HSETEX h FNX FIELDS 1 d 1", ""),
        ("HSETEX h PX 0 FIELDS 2 d 1 e 1", "HDEL h d e"),
        ("HGETDEL h FIELDS 2 c none", "HDEL h c"),
        ("HGETDEL h FIELDS 1 c", ""),
        ("HPEXPIREAT h 1 FIELDS 2 a none", "HDEL h a"),
    ]);
    kit.check_effects(&[(
        "HSETEX h PX 50 FIELDS 3 a 1 b 2 c 3",
        &format!("HSET h a 1 b 2 c 3; HPEXPIREAT h {} FIELDS 3 a b c", at(50)),
    )]);
    kit.advance(50);
    kit.check_effects(&[
        ("HGETALL h", ""),
        ("HGET h a", "HDEL h a"),
        ("HINCRBY h b 5", "HDEL h b; HINCRBY h b 5"),
        ("HSET h c 1", "HSET h c 1"),
    ]);
    // A replica gives times that have passed, and leaves the removal to the master.
    kit.env.from_master = true;
    kit.options.expire = ExpireRule::Ignore;
    kit.check(&[("HPEXPIREAT h 1 FIELDS 1 c", "*1 :1"), ("HLEN h", ":2")]);
}

#[test]
fn events_and_changes() {
    let mut kit = Kit::default();
    kit.check_events(&[
        ("HSET h a 1 b 2 c 3", "hset h", 3),
        ("HEXPIRE h 10 FIELDS 3 a b none", "hexpire h", 2),
        ("HEXPIRE h 10 NX FIELDS 1 a", "", 0),
        ("HPERSIST h FIELDS 2 a b", "hpersist h", 1),
        ("HGETEX h EX 5 FIELDS 2 a b", "hexpire h", 2),
        ("HGETEX h PERSIST FIELDS 2 a b", "hpersist h", 2),
        ("HGETEX h PX 0 FIELDS 1 a", "hdel h", 1),
        ("HGETDEL h FIELDS 1 b", "hdel h", 1),
        ("HSETEX h EX 5 FIELDS 2 a 1 b 1", "hset h, hexpire h", 2),
        ("HSETEX h FIELDS 1 a 1", "hset h", 1),
        ("HSETEX h PX 0 FIELDS 1 a 1", "hset h, hdel h", 1),
        ("HEXPIRE h 0 FIELDS 2 b c", "hdel h, del h", 2),
        ("HSETEX h PX 0 FIELDS 1 a 1", "hset h, hdel h, del h", 1),
        ("HSETEX h PX 10 FIELDS 3 a 1 b 1 c 1", "hset h, hexpire h", 3),
        ("HGETDEL n FIELDS 1 b", "", 0),
    ]);
    kit.advance(10);
    kit.check_events(&[
        ("HGET h a", "hexpired h", 0),
        ("HMGET h b c", "hexpired h, del h", 0),
        ("HSETEX h PX 10 FIELDS 1 a 1", "hset h, hexpire h", 1),
    ]);
    kit.advance(10);
    kit.check_events(&[("HINCRBY h a 1", "hexpired h, del h, hincrby h", 1)]);
}

#[test]
fn dumps_are_restored_with_times() {
    for entries in [512, 0] {
        let mut kit = Kit::default();
        kit.env.limits.hash_max_listpack_entries = entries;
        kit.line("HSET h a 1 b 2 c 3");
        let plain = kit.run(&["DUMP", "h"]).bytes;
        kit.line("HPEXPIRE h 5000 FIELDS 1 b");
        kit.line("HEXPIRE h 60 FIELDS 1 c");
        let reply = kit.run(&["DUMP", "h"]).bytes;
        let payload = |reply: &[u8]| -> Vec<u8> {
            let start = reply.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            reply[start..reply.len() - 2].to_vec()
        };
        let (plain, timed) = (payload(&plain), payload(&reply));
        let version = |payload: &[u8]| payload[payload.len() - 10];
        assert_eq!((version(&plain), version(&timed)), (10, 12));
        assert_eq!(kit.run(&[b"RESTORE", &b"new"[..], b"0", &timed]).reply, "+OK");
        kit.check(&[("HPTTL new FIELDS 3 a b c", "*3 :-1 :5000 :60000")]);
        kit.line("HPERSIST h FIELDS 2 b c");
        let again = payload(&kit.run(&["DUMP", "h"]).bytes);
        assert_eq!((version(&again), again[0]), (10, plain[0]));
        kit.advance(5000);
        kit.check(&[("HEXISTS new b", ":0"), ("HEXISTS new c", ":1")]);
    }
}

/// Random commands under a moving clock, against a map: what a client sees is what the map says.
#[test]
fn behaves_as_a_map_of_values_and_times() {
    for (seed, entries) in [(1, 512), (2, 0), (3, 6)] {
        let (mut kit, mut rng) = (Kit::default(), Prng::new(seed));
        kit.env.limits.hash_max_listpack_entries = entries;
        let mut model: BTreeMap<String, (i64, Option<i64>)> = BTreeMap::new();
        for step in 0..4000i64 {
            let now = kit.env.now.0;
            model.retain(|_, (_, time)| time.is_none_or(|time| time > now));
            let field = format!("f{}", rng.below(12));
            let old = model.get(&field).copied();
            let at = now + rng.below(400) as i64 - 20;
            let code = |done: bool| if at <= now && done { 2 } else { i64::from(done) };
            let expire = |model: &mut BTreeMap<_, (i64, Option<i64>)>, done: bool| {
                if done && at <= now {
                    model.remove(&field);
                } else if let Some((_, time)) = model.get_mut(&field).filter(|_| done) {
                    *time = Some(at);
                }
            };
            let (line, expected) = match rng.below(9) {
                0 => {
                    model.insert(field.clone(), (step, None));
                    (format!("HSET h {field} {step}"), format!(":{}", i64::from(old.is_none())))
                }
                1 => {
                    let (value, time) = old.unwrap_or((0, None));
                    model.insert(field.clone(), (value + 3, time));
                    (format!("HINCRBY h {field} 3"), format!(":{}", value + 3))
                }
                2 => {
                    model.remove(&field);
                    (format!("HDEL h {field}"), format!(":{}", i64::from(old.is_some())))
                }
                which @ 3..=5 => {
                    let (word, done) = match (which, old) {
                        (_, None) => ("", false),
                        (3, Some(_)) => ("", true),
                        (4, Some((_, time))) => ("NX", time.is_none()),
                        (_, Some((_, time))) => ("GT", time.is_some_and(|time| time < at)),
                    };
                    expire(&mut model, done);
                    let answer = if old.is_none() { -2 } else { code(done) };
                    (format!("HPEXPIREAT h {at} {word} FIELDS 1 {field}"), format!("*1 :{answer}"))
                }
                6 => {
                    if let Some((_, time)) = model.get_mut(&field) {
                        *time = None;
                    }
                    let answer = old.map_or(-2, |(_, time)| if time.is_some() { 1 } else { -1 });
                    (format!("HPERSIST h FIELDS 1 {field}"), format!("*1 :{answer}"))
                }
                7 => {
                    model.insert(field.clone(), (step, old.and_then(|(_, time)| time)));
                    (format!("HSETEX h KEEPTTL FIELDS 1 {field} {step}"), ":1".to_owned())
                }
                _ => {
                    kit.advance(rng.below(60) as i64);
                    continue;
                }
            };
            assert_eq!(kit.line(&line).reply, expected, "{line} at {now}");
            let ttl = model.get(&field).map_or(-2, |(_, time)| time.map_or(-1, |time| time - now));
            assert_eq!(kit.line(&format!("HPTTL h FIELDS 1 {field}")).reply, format!("*1 :{ttl}"));
            if step % 16 == 0 {
                let reply = kit.line("HGETALL h").reply;
                let words: Vec<&str> = reply.split(' ').skip(2).step_by(2).collect();
                let all: BTreeMap<_, _> =
                    words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
                let seen: BTreeMap<_, _> =
                    model.iter().map(|(f, (value, _))| (f.clone(), value.to_string())).collect();
                assert_eq!(all, seen);
            }
        }
    }
}
