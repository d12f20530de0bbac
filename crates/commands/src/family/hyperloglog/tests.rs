//! Tests of the HyperLogLog commands.

use crate::testkit::Kit;

#[test]
fn counting() {
    let mut kit = Kit::default();
    kit.check(&[
        ("PFADD h", ":1"),
        ("PFADD h", ":0"),
        ("PFADD h a b c", ":1"),
        ("PFADD h a b c", ":0"),
        ("PFCOUNT h", ":3"),
        ("PFADD i c d", ":1"),
        ("PFCOUNT h i nokey", ":4"),
        ("PFCOUNT nokey", ":0"),
        ("PFMERGE m h i", "+OK"),
        ("PFCOUNT m", ":4"),
        ("PFDEBUG ENCODING m", "+sparse"),
        ("PFDEBUG TODENSE m", ":1"),
        ("PFDEBUG TODENSE m", ":0"),
        ("STRLEN m", ":12304"),
        ("PFCOUNT m", ":4"),
        ("PFADD m a", ":0"),
        ("PFADD m z", ":1"),
        ("PFCOUNT m h", ":5"),
        ("PFDEBUG DECODE m", "-ERR HLL encoding is not sparse"),
        ("PFDEBUG FOO m", "-ERR Unknown PFDEBUG subcommand 'FOO'"),
        ("PFDEBUG DECODE nokey", "-ERR The specified key does not exist"),
        ("PFSELFTEST", "+OK"),
    ]);
}

#[test]
fn what_replicas_are_told() {
    let mut kit = Kit::default();
    kit.check_effects(&[
        ("PFADD h a", "PFADD h a"),
        ("PFADD h a", ""),
        ("PFCOUNT h", "PFCOUNT h"),
        ("PFCOUNT h", ""),
        ("PFCOUNT h h", ""),
        ("PFMERGE m h", "PFMERGE m h"),
        ("PFDEBUG GETREG m", "PFDEBUG GETREG m"),
    ]);
    kit.check_events(&[
        ("PFADD e a b", "pfadd e", 3),
        ("PFCOUNT e", "", 1),
        ("PFMERGE e h", "pfadd e", 1),
    ]);
}

#[test]
fn other_values_are_refused() {
    let mut kit = Kit::default();
    let none = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
    let corrupt = "-INVALIDOBJ Corrupted HLL object detected";
    kit.check(&[
        ("SET s hello", "+OK"),
        ("PFADD s a", none),
        ("SET n 12", "+OK"),
        ("PFCOUNT n", none),
        ("LPUSH l a", ":1"),
        ("PFADD l a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("PFADD h a b c", ":1"),
        ("SETRANGE h 16 zzz", ":27"),
        ("PFCOUNT h", corrupt),
        ("PFMERGE d h", corrupt),
        ("EXISTS d", ":0"),
        // A run of 12800 registers and nothing behind it: that of `a` is there, that of `2` is not.
        (r#"SET short "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80q\xff""#, "+OK"),
        ("PFADD short a 2", corrupt),
    ]);
    // Nothing was changed by what was refused.
    assert_eq!(kit.line("STRLEN short").reply, ":18");
}
