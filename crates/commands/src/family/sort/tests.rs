//! Tests of SORT and SORT_RO.

use crate::testkit::Kit;

fn filled() -> Kit {
    let mut kit = Kit::default();
    kit.check(&[
        ("RPUSH l 3 1 2", ":3"),
        ("MSET w1 b w2 a w3 c n1 3 n2 2 n3 1", "+OK"),
        ("HSET h1 f x", ":1"),
        ("ZADD z 1 b 2 a", ":2"),
        ("SADD s b a", ":2"),
    ]);
    kit
}

/// Replies of a redis-server 7.0.15.
#[test]
fn orders() {
    filled().check(&[
        ("SORT l", "*3 $1 1 $1 2 $1 3"),
        ("SORT l DESC LIMIT 0 2", "*2 $1 3 $1 2"),
        ("SORT l LIMIT 5 2", "*0"),
        ("SORT l LIMIT 1 -1", "*2 $1 2 $1 3"),
        ("SORT l BY n*", "*3 $1 3 $1 2 $1 1"),
        ("SORT l BY n* LIMIT 1 1", "*1 $1 2"),
        (
            "SORT l BY w* ALPHA GET # GET w* GET h*->f",
            "*9 $1 2 $1 a $-1 $1 1 $1 b $1 x $1 3 $1 c $-1",
        ),
        ("SORT l BY w*", "-ERR One or more scores can't be converted into double"),
        ("SORT l BY nosort DESC", "*3 $1 2 $1 1 $1 3"),
        ("SORT l BY nosort LIMIT 1 1", "*1 $1 1"),
        ("SORT l BY nosort DESC LIMIT 2 5", "*1 $1 3"),
        ("SORT z BY nosort DESC", "*2 $1 a $1 b"),
        ("OBJECT ENCODING z", "$8 skiplist"),
        ("SORT z", "-ERR One or more scores can't be converted into double"),
        ("SORT s ALPHA DESC", "*2 $1 b $1 a"),
        ("SORT w1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SORT_RO l STORE d", "-ERR syntax error"),
        ("SORT l LIMIT a b", "-ERR value is not an integer or out of range"),
        ("SORT l GET", "-ERR syntax error"),
    ]);
}

#[test]
fn what_is_stored() {
    let mut kit = filled();
    kit.check(&[
        ("SORT l BY w* ALPHA STORE d", ":3"),
        ("LRANGE d 0 -1", "*3 $1 2 $1 1 $1 3"),
        ("SORT s BY nosort STORE d", ":2"),
        ("LRANGE d 0 -1", "*2 $1 a $1 b"),
        ("SORT l GET h*->f STORE d", ":3"),
        ("LRANGE d 0 -1", "*3 $1 x $0  $0 "),
    ]);
    kit.check_effects(&[("SORT l LIMIT 0 1 STORE d", "SORT l LIMIT 0 1 STORE d"), ("SORT l", "")]);
    kit.check_events(&[
        ("SORT l STORE d", "sortstore d", 3),
        ("SORT nokey STORE d", "del d", 1),
        ("SORT nokey STORE d", "", 0),
    ]);
}

#[test]
fn keys_of_a_request() {
    let mut kit = filled();
    // The destination is no pattern's key, but it is held.
    kit.check(&[("SORT l BY w* STORE by STORE e ALPHA", ":3"), ("EXISTS by e", ":1")]);
}
