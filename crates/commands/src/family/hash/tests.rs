//! Replies, effects and events of the hash commands, as redis-server 7.0.15 gives them.

use crate::testkit::Kit;
use std::collections::BTreeSet;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "-ERR value is not an integer or out of range";

#[test]
fn fields() {
    Kit::default().check(&[
        ("HSET h a 1 b 2 a 3", ":2"),
        ("HGET h a", "$1 3"),
        ("HGET h n", "$-1"),
        ("HGET n a", "$-1"),
        ("HMGET h a n b", "*3 $1 3 $-1 $1 2"),
        ("HMGET n a b", "*2 $-1 $-1"),
        ("HMSET h c 4", "+OK"),
        ("HSETNX h c 5", ":0"),
        ("HSETNX h d 5", ":1"),
        ("HSETNX new d 5", ":1"),
        ("HLEN h", ":4"),
        ("HLEN n", ":0"),
        ("HEXISTS h a", ":1"),
        ("HEXISTS h n", ":0"),
        ("HEXISTS n n", ":0"),
        ("HSTRLEN h a", ":1"),
        ("HSET h long -1234", ":1"),
        ("HSTRLEN h long", ":5"),
        ("HSTRLEN n a", ":0"),
        ("HGETALL new", "*2 $1 d $1 5"),
        ("HKEYS h", "*5 $1 a $1 b $1 c $1 d $4 long"),
        ("HVALS h", "*5 $1 3 $1 2 $1 4 $1 5 $5 -1234"),
        ("HGETALL n", "*0"),
        ("HKEYS n", "*0"),
        ("HDEL h a a n b", ":2"),
        ("HDEL n a", ":0"),
        ("HDEL h c d long", ":3"),
        ("EXISTS h", ":0"),
        ("HSET h f", "-ERR wrong number of arguments for 'hset' command"),
        ("HSET h f 1 g", "-ERR wrong number of arguments for 'hset' command"),
        ("HMSET h f 1 g", "-ERR wrong number of arguments for 'hmset' command"),
        ("EXISTS h", ":0"),
    ]);
}

#[test]
fn another_type_is_refused() {
    let mut kit = Kit::default();
    kit.line("SET s v");
    for line in [
        "HSET s f v",
        "HMSET s f v",
        "HSETNX s f v",
        "HGET s f",
        "HMGET s f",
        "HDEL s f",
        "HLEN s",
        "HEXISTS s f",
        "HSTRLEN s f",
        "HINCRBY s f 1",
        "HINCRBYFLOAT s f 1",
        "HRANDFIELD s",
        "HRANDFIELD s 0",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HSCAN s 0 FOO",
    ] {
        let outcome = kit.line(line);
        assert_eq!((outcome.reply.as_str(), outcome.effect.as_str()), (WRONG, ""), "{line}");
    }
}

#[test]
fn resp3_has_maps_and_pairs() {
    Kit::resp3().check(&[
        ("HSET h a 1", ":1"),
        ("HGETALL h", "%1 $1 a $1 1"),
        ("HGETALL n", "%0"),
        ("HKEYS h", "*1 $1 a"),
        ("HGET h n", "_"),
        ("HRANDFIELD h", "$1 a"),
        ("HRANDFIELD n", "_"),
        ("HRANDFIELD h 5 WITHVALUES", "*1 *2 $1 a $1 1"),
        ("HRANDFIELD h -2 WITHVALUES", "*2 *2 $1 a $1 1 *2 $1 a $1 1"),
        ("HSCAN h 0", "*2 $1 0 *2 $1 a $1 1"),
    ]);
}

#[test]
fn counters() {
    Kit::default().check(&[
        ("HINCRBY h f 5", ":5"),
        ("HINCRBY h f -7", ":-2"),
        ("HINCRBY h f x", NOT_INT),
        ("HSET h g 9223372036854775807 w word", ":2"),
        ("HINCRBY h g 1", "-ERR increment or decrement would overflow"),
        ("HINCRBY h w 1", "-ERR hash value is not an integer"),
        ("HINCRBYFLOAT h w 1", "-ERR hash value is not a float"),
        ("HINCRBYFLOAT h f x", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h f nan", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT h f 0.1", "$4 -1.9"),
        ("HINCRBYFLOAT h f 1.9", "$1 0"),
        ("HINCRBYFLOAT n f 3.0e3", "$4 3000"),
        ("HINCRBY bad f x", NOT_INT),
        ("EXISTS bad", ":0"),
    ]);
}

#[test]
fn effects_and_events() {
    let mut kit = Kit::default();
    kit.check_effects(&[
        ("HSET h a 1 b 2", "HSET h a 1 b 2"),
        ("HSETNX h a 1", ""),
        ("HINCRBY h a 1", "HINCRBY h a 1"),
        ("HINCRBYFLOAT h a 0.5", "HSET h a 2.5"),
        ("HDEL h n", ""),
        ("HDEL h a n", "HDEL h a n"),
    ]);
    Kit::default().check_events(&[
        ("HSET h a 1 b 2", "hset h", 2),
        ("HMSET h a 1", "hset h", 1),
        ("HSETNX h c 1", "hset h", 1),
        ("HINCRBY h a 1", "hincrby h", 1),
        ("HINCRBYFLOAT h a 1", "hincrbyfloat h", 1),
        ("HDEL h a b n", "hdel h", 2),
        ("HDEL h c", "hdel h, del h", 1),
        ("HDEL h c", "", 0),
    ]);
}

#[test]
fn random_fields_have_the_right_number() {
    Kit::default().check(&[
        ("HRANDFIELD n", "$-1"),
        ("HRANDFIELD n 3", "*0"),
        ("HSET h a 1", ":1"),
        ("HRANDFIELD h 0", "*0"),
        ("HRANDFIELD h 5", "*1 $1 a"),
        ("HRANDFIELD h -3", "*3 $1 a $1 a $1 a"),
        ("HRANDFIELD h 1 WITHVALUES", "*2 $1 a $1 1"),
        ("HRANDFIELD h x", NOT_INT),
        ("HRANDFIELD h 1 FOO", "-ERR syntax error"),
        ("HRANDFIELD n 1 FOO", "-ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES FOO", "-ERR syntax error"),
        ("HRANDFIELD h 9223372036854775807 WITHVALUES", "-ERR value is out of range"),
        (
            "HRANDFIELD h -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ),
    ]);
}

/// The bulk strings of a flat array.
fn texts(reply: &str) -> Vec<&str> {
    reply.split(' ').skip(2).step_by(2).collect()
}

#[test]
fn random_fields_differ_and_all_come() {
    for size in [40, 1000] {
        let mut kit = Kit::default();
        for n in 0..size {
            kit.line(&format!("HSET h field:{n} {n}"));
        }
        let mut seen = BTreeSet::new();
        for count in [1, 7, size / 2, size - 1] {
            let reply = kit.line(&format!("HRANDFIELD h {count}")).reply;
            let fields: BTreeSet<String> = texts(&reply).into_iter().map(str::to_owned).collect();
            assert_eq!(fields.len(), count, "{count} of {size}");
            seen.extend(fields);
        }
        for _ in 0..20 {
            seen.extend(texts(&kit.line("HRANDFIELD h 30").reply).into_iter().map(str::to_owned));
        }
        assert!(seen.len() > size / 3, "{} of {size}", seen.len());
    }
}

#[test]
fn a_scan_sees_every_field() {
    for size in [10, 3000] {
        let mut kit = Kit::default();
        for n in 0..size {
            kit.line(&format!("HSET h field:{n} {n}"));
        }
        let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
        loop {
            let reply = kit.line(&format!("HSCAN h {cursor} COUNT 50 NOVALUES")).reply;
            let words: Vec<&str> = reply.split(' ').collect();
            seen.extend(words[5..].iter().step_by(2).map(|&field| field.to_owned()));
            cursor = words[2].to_owned();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), size);
    }
}

#[test]
fn scan_options() {
    Kit::default().check(&[
        ("HSET h aa 1 ab 2 b 3", ":3"),
        ("HSCAN h 0", "*2 $1 0 *6 $2 aa $1 1 $2 ab $1 2 $1 b $1 3"),
        ("HSCAN h 0 MATCH a*", "*2 $1 0 *4 $2 aa $1 1 $2 ab $1 2"),
        ("HSCAN h 0 MATCH a* NOVALUES", "*2 $1 0 *2 $2 aa $2 ab"),
        ("HSCAN h 0 MATCH *", "*2 $1 0 *6 $2 aa $1 1 $2 ab $1 2 $1 b $1 3"),
        ("HSCAN n 0 FOO", "*2 $1 0 *0"),
        ("HSCAN h 0 FOO", "-ERR syntax error"),
        ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
        ("HSCAN h 0 COUNT x", NOT_INT),
        ("HSCAN n x", "-ERR invalid cursor"),
    ]);
}
