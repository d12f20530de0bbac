//! Replies, effects and events of the string commands, as redis-server 7.0.15 gives them.

use crate::testkit::{Kit, START};

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn set_with_its_options() {
    Kit::default().check(&[
        ("GET a", "$-1"),
        ("SET a 1", "+OK"),
        ("GET a", "$1 1"),
        ("SET a 2 NX", "$-1"),
        ("SET b 2 XX", "$-1"),
        ("SET a 2 NX GET", "$1 1"),
        ("SET a 2 GET XX", "$1 1"),
        ("SET c 2 NX GET", "$-1"),
        ("GET c", "$1 2"),
        ("SET a 3 EX 10", "+OK"),
        ("SET a 4 KEEPTTL", "+OK"),
        ("TTL a", ":10"),
        ("SET a 4 EX 1 EX 20", "+OK"),
        ("TTL a", ":20"),
        ("SET a 4", "+OK"),
        ("TTL a", ":-1"),
        ("SET a 1 EX 1 PX 2", "-ERR syntax error"),
        ("SET a 1 KEEPTTL EX 2", "-ERR syntax error"),
        ("SET a 1 EX", "-ERR syntax error"),
        ("SET a 1 NX XX", "-ERR syntax error"),
        ("SET a 1 PERSIST", "-ERR syntax error"),
        ("SET a 1 EX x", "-ERR value is not an integer or out of range"),
        ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EXAT 1", "+OK"),
        ("EXISTS a", ":0"),
        ("HSET h f v", ":1"),
        ("GET h", WRONG),
        ("SET h v GET", WRONG),
        ("SET h v", "+OK"),
        ("GET h", "$1 v"),
    ]);
}

#[test]
fn what_sets_with_a_time_puts_on_the_log() {
    let at = START + 5000;
    Kit::default().check_effects(&[
        ("SET a 1", "SET a 1"),
        ("SET a 1 NX", ""),
        ("SET a 1 EX 5 XX GET", &format!("SET a 1 PXAT {at}")),
        ("SET a 1 PX 5000", &format!("SET a 1 PXAT {at}")),
        ("SET a 1 get XX GET", "SET a 1 XX"),
        ("SET a 1 KEEPTTL", "SET a 1 KEEPTTL"),
        ("SETEX a 5 x", &format!("SET a x PXAT {at}")),
        ("PSETEX a 5000 x", &format!("SET a x PXAT {at}")),
        ("SETNX a x", ""),
        ("SETNX n x", "SETNX n x"),
        ("GETSET a y", "SET a y"),
        ("GETEX a EX 5", &format!("PEXPIREAT a {at}")),
        ("GETEX a PERSIST", "PERSIST a"),
        ("GETEX a PERSIST", ""),
        ("GETEX a", ""),
        ("GETEX a EXAT 1", "DEL a"),
        ("GETEX a EX 5", ""),
        ("GETDEL n", "DEL n"),
        ("GETDEL n", ""),
        ("MSET a 1 b 2", "MSET a 1 b 2"),
        ("MSETNX a 1 c 2", ""),
        ("INCRBYFLOAT a 0.5", "SET a 1.5 KEEPTTL"),
        ("INCR b", "INCR b"),
        ("SETRANGE z 0 \"\"", ""),
    ]);
}

#[test]
fn a_key_whose_time_has_come_goes_first() {
    let mut kit = Kit::default();
    kit.line("SET a 1 PX 10");
    kit.advance(10);
    let outcome = kit.line("SET a 2 NX");
    assert_eq!(outcome.reply, "+OK");
    assert_eq!(outcome.effect, "DEL a; SET a 2 NX");
    assert_eq!(outcome.events, ["expired a", "set a"]);
}

#[test]
fn events_and_counts() {
    Kit::default().check_events(&[
        ("SET a 1", "set a", 1),
        ("SET a 1 EX 5", "set a, expire a", 1),
        ("MSET a 1 b 2", "set a, set b", 2),
        ("APPEND a x", "append a", 1),
        ("SETRANGE a 0 x", "setrange a", 1),
        ("SETRANGE a 0 \"\"", "", 0),
        ("DECR b", "incrby b", 1),
        ("INCRBYFLOAT b 1", "incrbyfloat b", 1),
        ("GETEX b EX 5", "expire b", 1),
        ("GETEX b PERSIST", "persist b", 1),
        ("GETDEL b", "del b", 1),
        ("GETDEL b", "", 0),
    ]);
    let mut kit = Kit::default();
    kit.options.notify = u32::MAX;
    kit.check_events(&[
        ("GET a", "keymiss a", 0),
        ("SET a 1", "new a, set a", 1),
        ("SET a 1", "set a", 1),
        ("INCR b", "new b, incrby b", 1),
    ]);
}

#[test]
fn other_whole_values() {
    Kit::default().check(&[
        ("SETNX a 1", ":1"),
        ("SETNX a 2", ":0"),
        ("SETEX a 0 x", "-ERR invalid expire time in 'setex' command"),
        ("PSETEX a -1 x", "-ERR invalid expire time in 'psetex' command"),
        ("SETEX a x x", "-ERR value is not an integer or out of range"),
        ("GETSET a 2", "$1 1"),
        ("GETSET n 2", "$-1"),
        ("GETDEL n", "$1 2"),
        ("EXISTS n", ":0"),
        ("GETEX n EX x", "$-1"),
        ("GETEX a EX x", "-ERR value is not an integer or out of range"),
        ("GETEX a EX 0", "-ERR invalid expire time in 'getex' command"),
        ("GETEX a EX 1 PERSIST", "-ERR syntax error"),
        ("GETEX a KEEPTTL", "-ERR syntax error"),
        ("GETEX a EX 7", "$1 2"),
        ("TTL a", ":7"),
        ("HSET h f v", ":1"),
        ("MGET a h n", "*3 $1 2 $-1 $-1"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
        ("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command"),
        ("MSETNX x 1 y 2", ":1"),
        ("MSETNX z 1 y 2", ":0"),
        ("EXISTS z", ":0"),
        ("GETDEL h", WRONG),
        ("GETEX h", WRONG),
        ("GETSET h v", WRONG),
    ]);
}

#[test]
fn parts_of_strings() {
    Kit::default().check(&[
        ("APPEND a 12", ":2"),
        ("OBJECT ENCODING a", "$3 int"),
        ("APPEND a 34", ":4"),
        ("OBJECT ENCODING a", "$3 raw"),
        ("GET a", "$4 1234"),
        ("STRLEN a", ":4"),
        ("STRLEN n", ":0"),
        ("GETRANGE a 1 2", "$2 23"),
        ("GETRANGE a -3 -1", "$3 234"),
        ("GETRANGE a -1 -3", "$0 "),
        ("GETRANGE a 3 100", "$1 4"),
        ("GETRANGE a 4 5", "$0 "),
        ("GETRANGE a -100 0", "$1 1"),
        ("GETRANGE a 0 -100", "$1 1"),
        ("GETRANGE n 0 -1", "$0 "),
        ("GETRANGE a -9223372036854775808 9223372036854775807", "$4 1234"),
        ("GETRANGE a x 1", "-ERR value is not an integer or out of range"),
        ("SUBSTR a 0 1", "$2 12"),
        ("SETRANGE a 1 xy", ":4"),
        ("GET a", "$4 1xy4"),
        ("SETRANGE a 6 z", ":7"),
        ("GET a", "$7 1xy4\0\0z"),
        ("SETRANGE a 2 \"\"", ":7"),
        ("SETRANGE n 2 \"\"", ":0"),
        ("EXISTS n", ":0"),
        ("SETRANGE n 2 x", ":3"),
        ("OBJECT ENCODING n", "$3 raw"),
        ("SET e \"\"", "+OK"),
        ("GETRANGE e 0 -1", "$0 "),
        ("GETRANGE e -1 -1", "$0 "),
        ("SETRANGE a -1 x", "-ERR offset is out of range"),
        ("SETRANGE a x x", "-ERR value is not an integer or out of range"),
        ("SETRANGE a 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SET i 17", "+OK"),
        ("GETRANGE i 1 1", "$1 7"),
        ("SETRANGE i 1 8", ":2"),
        ("INCR i", ":19"),
        ("HSET h f v", ":1"),
        ("APPEND h x", WRONG),
        ("STRLEN h", WRONG),
        ("SETRANGE h 0 x", WRONG),
        ("SETRANGE h 0 \"\"", WRONG),
        ("GETRANGE h 0 1", WRONG),
    ]);
}

#[test]
fn appending_stops_at_the_limit() {
    let mut kit = Kit::default();
    kit.env.bulk_max = 8;
    kit.check(&[
        ("SET a 12345", "+OK"),
        ("APPEND a 678", ":8"),
        ("APPEND a 9", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SETRANGE a 8 9", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
    ]);
    kit.env.from_master = true;
    kit.check(&[("APPEND a 9", ":9"), ("SETRANGE a 9 x", ":10")]);
}

#[test]
fn a_string_in_pages_comes_back_whole() {
    let mut kit = Kit::default();
    let long: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    kit.run(&[b"SET", b"a".as_slice(), &long]);
    let mut expected = b"$3000000\r\n".to_vec();
    expected.extend_from_slice(&long);
    expected.extend_from_slice(b"\r\n");
    assert!(kit.line("GET a").bytes == expected);
    let part = kit.line("GETRANGE a 1048570 1048590").bytes;
    assert_eq!(part[5..26], long[1_048_570..1_048_591]);
    kit.check(&[("STRLEN a", ":3000000"), ("APPEND a x", ":3000001")]);
    assert_eq!(kit.line("GETRANGE a -1 -1").reply, "$1 x");
}

#[test]
fn counters() {
    Kit::default().check(&[
        ("INCR a", ":1"),
        ("INCRBY a 41", ":42"),
        ("OBJECT ENCODING a", "$3 int"),
        ("DECR a", ":41"),
        ("DECRBY a 50", ":-9"),
        ("SET a 9223372036854775807", "+OK"),
        ("INCR a", "-ERR increment or decrement would overflow"),
        ("DECRBY a -1", "-ERR increment or decrement would overflow"),
        ("DECRBY a -9223372036854775808", "-ERR decrement would overflow"),
        ("INCRBY a x", "-ERR value is not an integer or out of range"),
        ("SET s hello", "+OK"),
        ("INCR s", "-ERR value is not an integer or out of range"),
        ("SET s \" 1\"", "+OK"),
        ("INCR s", "-ERR value is not an integer or out of range"),
        ("HSET h f v", ":1"),
        ("INCR h", WRONG),
        ("INCRBYFLOAT h 1", WRONG),
        ("INCRBYFLOAT f 10.5", "$4 10.5"),
        ("INCRBYFLOAT f 0.1", "$4 10.6"),
        ("INCRBYFLOAT f -5", "$3 5.6"),
        ("INCRBYFLOAT f 5.0e3", "$22 5005.60000000000000009"),
        ("INCRBYFLOAT f x", "-ERR value is not a valid float"),
        ("INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT s 1", "-ERR value is not a valid float"),
        ("SET i 3", "+OK"),
        ("EXPIRE i 100", ":1"),
        ("INCRBYFLOAT i 1", "$1 4"),
        ("INCR i", ":5"),
        ("TTL i", ":100"),
    ]);
}
