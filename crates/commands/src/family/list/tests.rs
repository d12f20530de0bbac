//! Tests of the list commands: argument lists, replies and effects.

use crate::testkit::{Kit, START};
use stdx::UnixMs;

#[test]
fn pushes_and_insertions() {
    Kit::default().check(&[
        ("RPUSH l a b", ":2"),
        ("LPUSH l x y", ":4"),
        ("LRANGE l 0 -1", "*4 $1 y $1 x $1 a $1 b"),
        ("LPUSHX none a", ":0"),
        ("RPUSHX l c d", ":6"),
        ("EXISTS none", ":0"),
        ("LINSERT l BEFORE a 1", ":7"),
        ("LINSERT l after a 2", ":8"),
        ("LINSERT l AFTER none 2", ":-1"),
        ("LINSERT none AFTER a 2", ":0"),
        ("LINSERT l BESIDE a 2", "-ERR syntax error"),
        ("LRANGE l 0 -1", "*8 $1 y $1 x $1 1 $1 a $1 2 $1 b $1 c $1 d"),
        ("SET s v", "+OK"),
        ("LPUSH s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LPUSHX s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn pops_with_and_without_count() {
    Kit::default().check(&[
        ("RPUSH l 1 2 3 4 5 6", ":6"),
        ("LPOP l", "$1 1"),
        ("RPOP l", "$1 6"),
        ("LPOP l 0", "*0"),
        ("LPOP l 2", "*2 $1 2 $1 3"),
        ("RPOP l 5", "*2 $1 5 $1 4"),
        ("EXISTS l", ":0"),
        ("LPOP l", "$-1"),
        ("LPOP l 0", "*-1"),
        ("RPOP l 3", "*-1"),
        ("LPOP l -1", "-ERR value is out of range, must be positive"),
        ("LPOP l x", "-ERR value is out of range, must be positive"),
        ("LPOP l 1 2", "-ERR wrong number of arguments for 'lpop' command"),
        ("RPOP l 1 2", "-ERR wrong number of arguments for 'rpop' command"),
    ]);
    Kit::resp3().check(&[("LPOP l", "_"), ("LPOP l 1", "_")]);
}

#[test]
fn elements_by_index_and_value() {
    Kit::default().check(&[
        ("RPUSH l a b c a b c a", ":7"),
        ("LLEN l", ":7"),
        ("LLEN none", ":0"),
        ("LINDEX l 1", "$1 b"),
        ("LINDEX l -2", "$1 c"),
        ("LINDEX l 7", "$-1"),
        ("LINDEX l -8", "$-1"),
        ("LINDEX l x", "-ERR value is not an integer or out of range"),
        ("LINDEX none x", "$-1"),
        ("LSET l -1 z", "+OK"),
        ("LSET l 7 z", "-ERR index out of range"),
        ("LSET l x z", "-ERR value is not an integer or out of range"),
        ("LSET none x z", "-ERR no such key"),
        ("LREM l -1 a", ":1"),
        ("LRANGE l 0 -1", "*6 $1 a $1 b $1 c $1 b $1 c $1 z"),
        ("LREM l 1 b", ":1"),
        ("LREM l 0 c", ":2"),
        ("LREM l 5 none", ":0"),
        ("LREM none 0 a", ":0"),
        ("LREM l 9223372036854775808 a", "-ERR value is not an integer or out of range"),
        ("LREM l -9223372036854775808 b", ":1"),
        ("LRANGE l 0 -1", "*2 $1 a $1 z"),
    ]);
}

#[test]
fn positions() {
    const RANK: &str = "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
        second ... or use negative to start from the end of the list";
    Kit::default().check(&[
        ("RPUSH l a b c 1 2 3 c c", ":8"),
        ("LPOS l c", ":2"),
        ("LPOS l none", "$-1"),
        ("LPOS l c RANK 2", ":6"),
        ("LPOS l c rank -1", ":7"),
        ("LPOS l c RANK -4", "$-1"),
        ("LPOS l c COUNT 2", "*2 :2 :6"),
        ("LPOS l c COUNT 0", "*3 :2 :6 :7"),
        ("LPOS l c COUNT 0 RANK -2", "*2 :6 :2"),
        ("LPOS l c COUNT 1 RANK 2", "*1 :6"),
        ("LPOS l c COUNT 0 MAXLEN 3", "*1 :2"),
        ("LPOS l c MAXLEN 2", "$-1"),
        ("LPOS l c MAXLEN 1 RANK -1", ":7"),
        ("LPOS l none COUNT 1", "*0"),
        ("LPOS none c", "$-1"),
        ("LPOS none c COUNT 1", "*0"),
        ("LPOS l 2", ":4"),
        ("LPOS l c RANK 0", RANK),
        ("LPOS l c COUNT -1", "-ERR COUNT can't be negative"),
        ("LPOS l c MAXLEN x", "-ERR MAXLEN can't be negative"),
        ("LPOS l c RANK x", "-ERR value is not an integer or out of range"),
        ("LPOS l c COUNT", "-ERR syntax error"),
    ]);
}

#[test]
fn ranges() {
    Kit::default().check(&[
        ("RPUSH l 0 1 2 3 4", ":5"),
        ("LRANGE l 1 -2", "*3 $1 1 $1 2 $1 3"),
        ("LRANGE l -100 0", "*1 $1 0"),
        ("LRANGE l 3 100", "*2 $1 3 $1 4"),
        ("LRANGE l 3 2", "*0"),
        ("LRANGE l 5 9", "*0"),
        ("LRANGE none 0 -1", "*0"),
        ("LRANGE none 0 x", "-ERR value is not an integer or out of range"),
        ("LTRIM l 1 -2", "+OK"),
        ("LRANGE l 0 -1", "*3 $1 1 $1 2 $1 3"),
        ("LTRIM l 5 9", "+OK"),
        ("EXISTS l", ":0"),
        ("LTRIM none 0 0", "+OK"),
    ]);
}

#[test]
fn moves() {
    Kit::default().check(&[
        ("RPUSH a 1 2 3", ":3"),
        ("LMOVE a b LEFT RIGHT", "$1 1"),
        ("LMOVE a b right left", "$1 3"),
        ("LRANGE b 0 -1", "*2 $1 3 $1 1"),
        ("RPOPLPUSH b b", "$1 1"),
        ("LRANGE b 0 -1", "*2 $1 1 $1 3"),
        ("RPOPLPUSH a a", "$1 2"),
        ("LRANGE a 0 -1", "*1 $1 2"),
        ("LMOVE none b LEFT LEFT", "$-1"),
        ("LMOVE a b LEFT UP", "-ERR syntax error"),
        ("SET s v", "+OK"),
        ("RPOPLPUSH a s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RPOPLPUSH none s", "$-1"),
        ("LRANGE a 0 -1", "*1 $1 2"),
    ]);
}

#[test]
fn pops_from_several_keys() {
    Kit::default().check(&[
        ("RPUSH b 1 2 3", ":3"),
        ("LMPOP 2 a b LEFT", "*2 $1 b *1 $1 1"),
        ("LMPOP 2 a b right COUNT 9", "*2 $1 b *2 $1 3 $1 2"),
        ("LMPOP 2 a b LEFT", "*-1"),
        ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP 2 a LEFT", "-ERR syntax error"),
        ("LMPOP 9223372036854775807 a LEFT", "-ERR syntax error"),
        ("LMPOP 1 a UP", "-ERR syntax error"),
        ("LMPOP 1 a LEFT COUNT 0", "-ERR count should be greater than 0"),
        ("LMPOP 1 a LEFT COUNT", "-ERR syntax error"),
        ("LMPOP 1 a LEFT COUNT 1 COUNT 1", "-ERR syntax error"),
        ("SET s v", "+OK"),
        ("LMPOP 2 s b LEFT", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn what_goes_on_the_log() {
    Kit::default().check_effects(&[
        ("RPUSH l 1 2 3 4 5 6 7 8", "RPUSH l 1 2 3 4 5 6 7 8"),
        ("LPUSHX none a", ""),
        ("LPOP l", "LPOP l"),
        ("LPOP none", ""),
        ("LPOP l 0", ""),
        ("LMPOP 2 none l RIGHT COUNT 2", "RPOP l 2"),
        ("BLPOP none l 1", "LPOP l"),
        ("BRPOP l 1", "RPOP l"),
        ("BLMPOP 1 1 l LEFT COUNT 100", "LPOP l 3"),
        ("RPUSH l 1 2", "RPUSH l 1 2"),
        ("BLMOVE l d left RIGHT 1", "LMOVE l d left RIGHT"),
        ("BRPOPLPUSH l d 1", "RPOPLPUSH l d"),
        ("LTRIM d 0 -1", ""),
        ("LTRIM d 0 0", "LTRIM d 0 0"),
        ("LREM d 0 x", ""),
        ("LREM d 0 2", "LREM d 0 2"),
        ("BLPOP d 1", ""),
    ]);
}

#[test]
fn events_and_counts() {
    Kit::default().check_events(&[
        ("RPUSH l a b a", "rpush l", 3),
        ("LPUSH l c", "lpush l", 1),
        ("LINSERT l BEFORE a x", "linsert l", 1),
        ("LSET l 0 y", "lset l", 1),
        ("LREM l 0 a", "lrem l", 2),
        ("LTRIM l 0 -1", "ltrim l", 0),
        ("LMOVE l m LEFT RIGHT", "rpush m, lpop l", 1),
        ("RPOPLPUSH m m", "lpush m, rpop m", 1),
        ("RPOPLPUSH m l", "lpush l, rpop m, del m", 1),
        ("LPOP l 2", "lpop l", 2),
        ("LTRIM l 5 5", "ltrim l, del l", 1),
        ("RPUSH l a", "rpush l", 1),
        ("BRPOP l 0", "rpop l, del l", 1),
        ("LPOP l", "", 0),
    ]);
}

#[test]
fn blocking_commands_wait() {
    let mut kit = Kit::default();
    let keys = |line: &str, kit: &mut Kit| {
        let block = kit.line(line).block.expect("nothing is there");
        let keys: Vec<_> = block.keys.iter().map(|k| String::from_utf8_lossy(k).into()).collect();
        (keys, block.until, block.null_array)
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let after = |ms| Some(UnixMs(START + ms));
    assert_eq!(keys("BLPOP a b a 0", &mut kit), (words("a b a"), None, true));
    assert_eq!(keys("BRPOP a 0.0101", &mut kit), (words("a"), after(11), true));
    assert_eq!(keys("BLMPOP 2 2 a b LEFT", &mut kit), (words("a b"), after(2000), true));
    assert_eq!(keys("BLMOVE a b LEFT LEFT 1.5", &mut kit), (words("a"), after(1500), true));
    assert_eq!(keys("BRPOPLPUSH a b 3", &mut kit), (words("a"), after(3000), true));
    // Errors come before waiting.
    kit.check(&[
        ("BLPOP a x", "-ERR timeout is not a float or out of range"),
        ("BLPOP a -1", "-ERR timeout is negative"),
        ("BLPOP a inf", "-ERR timeout is out of range"),
        ("BLMOVE a b LEFT UP x", "-ERR syntax error"),
        ("BLMOVE a b LEFT LEFT x", "-ERR timeout is not a float or out of range"),
        ("BLMPOP x 1 a UP", "-ERR syntax error"),
        ("BLMPOP x 1 a LEFT", "-ERR timeout is not a float or out of range"),
        ("SET s v", "+OK"),
        ("BLPOP a s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("BRPOPLPUSH s a 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
    // Where nothing may wait, the time-out's answer comes at once.
    kit.env.may_block = false;
    kit.check(&[
        ("BLPOP a 0", "*-1"),
        ("BLMPOP 0 1 a LEFT", "*-1"),
        ("BLMOVE a b LEFT LEFT 0", "$-1"),
        ("BRPOPLPUSH a b 0", "$-1"),
        ("RPUSH b 1 2 3", ":3"),
        ("BLPOP a b 0", "*2 $1 b $1 1"),
        ("BLMPOP 0 2 a b RIGHT COUNT 5", "*2 $1 b *2 $1 3 $1 2"),
    ]);
}

#[test]
fn big_lists_change_their_encoding() {
    let mut kit = Kit::default();
    kit.env.limits.list_max_listpack_size = 4;
    kit.check(&[
        ("RPUSH l 1 2 3 4", ":4"),
        ("OBJECT ENCODING l", "$8 listpack"),
        ("RPUSH l 5", ":5"),
        ("OBJECT ENCODING l", "$9 quicklist"),
        ("LPOS l 5", ":4"),
        ("LPOS l 1 RANK -1", ":0"),
        ("RPOP l 4", "*4 $1 5 $1 4 $1 3 $1 2"),
        ("OBJECT ENCODING l", "$8 listpack"),
    ]);
}
