//! Tests of the bit commands.

use crate::testkit::Kit;

#[test]
fn single_bits() {
    let mut kit = Kit::default();
    let offset = "-ERR bit offset is not an integer or out of range";
    kit.check(&[
        ("SETBIT b 7 1", ":0"),
        ("SETBIT b 7 1", ":1"),
        ("SETBIT b 100 0", ":0"),
        ("STRLEN b", ":13"),
        ("SETBIT b -1 1", offset),
        ("SETBIT b 4294967296 1", offset),
        ("SETBIT b 1 2", "-ERR bit is not an integer or out of range"),
        ("GETBIT b 7", ":1"),
        ("GETBIT b 8", ":0"),
        ("GETBIT b 100000", ":0"),
        ("GETBIT b #1", offset),
        ("LPUSH l a", ":1"),
        ("SETBIT l 1 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
    kit.check_events(&[
        ("SETBIT e 8 0", "setbit e", 1),
        ("SETBIT e 8 0", "", 0),
        ("SETBIT e 8 1", "setbit e", 1),
        ("SETBIT e 30 0", "setbit e", 1),
    ]);
}

#[test]
fn counts_and_places() {
    let mut kit = Kit::default();
    kit.check(&[
        ("SET f foobar", "+OK"),
        ("BITCOUNT f", ":26"),
        ("BITCOUNT f 5 30 BIT", ":17"),
        ("BITCOUNT f 1 1", ":6"),
        ("BITCOUNT f -1 -2", ":0"),
        ("BITCOUNT nokey 0 x", "-ERR value is not an integer or out of range"),
        ("BITCOUNT nokey 0 1 FOO", "-ERR syntax error"),
        ("BITCOUNT f 1", "-ERR syntax error"),
        ("BITPOS f 1", ":1"),
        ("BITPOS f 0 0 0 BIT", ":0"),
        ("BITPOS f 2", "-ERR The bit argument must be 1 or 0."),
        ("BITPOS nokey 0", ":0"),
        ("BITPOS nokey 1", ":-1"),
        (r#"SET ones "\xff\xff""#, "+OK"),
        ("BITPOS ones 0", ":16"),
        ("BITPOS ones 0 0 -1", ":-1"),
        ("BITPOS ones 1 2", ":-1"),
        ("SET number 12", "+OK"),
        ("BITCOUNT number", ":6"),
    ]);
}

#[test]
fn combinations() {
    let mut kit = Kit::default();
    kit.check(&[
        ("SET a abc", "+OK"),
        (r#"SET b "\xff""#, "+OK"),
        ("BITOP AND d a b", ":3"),
        ("GETRANGE d 0 0", "$1 a"),
        ("BITCOUNT d 1 -1", ":0"),
        ("BITOP xor d a a", ":3"),
        ("BITCOUNT d", ":0"),
        ("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key."),
        ("BITOP FOO d a", "-ERR syntax error"),
        ("BITOP OR d a nokey", ":3"),
        ("GET d", "$3 abc"),
        ("OBJECT ENCODING d", "$3 raw"),
    ]);
    kit.check_events(&[("BITOP OR d nokey", "del d", 1), ("BITOP OR d nokey", "", 0)]);
}

#[test]
fn fields() {
    let mut kit = Kit::default();
    kit.check(&[
        ("BITFIELD x INCRBY i5 100 1 GET u4 0", "*2 :1 :0"),
        ("BITFIELD x OVERFLOW SAT SET u8 0 300 OVERFLOW FAIL INCRBY u8 0 1", "*2 :0 $-1"),
        ("BITFIELD x SET i8 #1 -1 GET u16 0", "*2 :0 :65535"),
        (
            "BITFIELD x GET u64 0",
            "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
             supported but i64 is.",
        ),
        ("BITFIELD_RO x SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
        ("BITFIELD x OVERFLOW FOO", "-ERR Invalid OVERFLOW type specified"),
        ("BITFIELD x", "*0"),
        // Far below the smallest number counts as too big: so does a real server.
        ("BITFIELD k OVERFLOW SAT SET i8 0 -9223372036854775808 GET i8 0", "*2 :0 :127"),
        ("BITFIELD k SET i64 3 -2 GET i64 3 INCRBY i64 3 2", "*3 :-576460752303423488 :-2 :0"),
    ]);
    kit.check_effects(&[
        ("BITFIELD y GET u8 0", ""),
        ("BITFIELD y SET u8 0 7", "BITFIELD y SET u8 0 7"),
        ("BITFIELD y SET u8 0 7", ""),
    ]);
}

/// Strings in pages against the same bits kept as bytes.
#[test]
fn long_strings_follow_a_model() {
    let mut kit = Kit::default();
    let bits = 9u64 << 20;
    let mut model = vec![0u8; (bits / 8) as usize];
    kit.line(&format!("SETBIT b {} 0", bits - 1));
    let mut prng = stdx::Prng::new(3);
    for _ in 0..500 {
        let at = prng.below(bits);
        let on = prng.below(2);
        let (byte, mask) = ((at / 8) as usize, 0x80 >> (at % 8));
        let was = u8::from(model[byte] & mask != 0);
        assert_eq!(kit.line(&format!("SETBIT b {at} {on}")).reply, format!(":{was}"));
        model[byte] = if on == 1 { model[byte] | mask } else { model[byte] & !mask };
        let (start, end) = (prng.below(bits), prng.below(bits));
        let inside = |at: u64| (start..=end).contains(&at);
        let set = (0..model.len() as u64).filter(|at| model[*at as usize] != 0).flat_map(|at| {
            let byte = model[at as usize];
            (0..8u64).filter(move |bit| byte & 0x80 >> bit != 0).map(move |bit| at * 8 + bit)
        });
        let set: Vec<u64> = set.filter(|at| inside(*at)).collect();
        let count = kit.line(&format!("BITCOUNT b {start} {end} BIT")).reply;
        assert_eq!(count, format!(":{}", set.len()));
        let first = set.first().map_or(-1, |at| *at as i64);
        let place = kit.line(&format!("BITPOS b 1 {start} {end} BIT")).reply;
        assert_eq!(place, format!(":{first}"));
    }
    kit.check(&[
        ("BITOP NOT n b", ":1179648"),
        ("BITOP AND d n b", ":1179648"),
        ("BITCOUNT d", ":0"),
    ]);
}
