//! Tests of the set commands: argument lists, replies and effects.

use crate::testkit::Kit;
use keyspace::ExpireRule;
use std::collections::BTreeMap;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn members_come_and_go() {
    Kit::default().check(&[
        ("SADD s 3 1 2 1", ":3"),
        ("SADD s 3", ":0"),
        ("SCARD s", ":3"),
        ("SCARD none", ":0"),
        ("SISMEMBER s 2", ":1"),
        ("SISMEMBER s 02", ":0"),
        ("SISMEMBER none 2", ":0"),
        ("SMISMEMBER s 1 x 3", "*3 :1 :0 :1"),
        ("SMISMEMBER none 1 x", "*2 :0 :0"),
        ("SMEMBERS s", "*3 $1 1 $1 2 $1 3"),
        ("SMEMBERS none", "*0"),
        ("SREM s 1 x 1", ":1"),
        ("SREM none x", ":0"),
        ("SREM s 2 3 4", ":2"),
        ("EXISTS s", ":0"),
        ("SET t v", "+OK"),
        ("SADD t a", WRONG),
        ("SREM t a", WRONG),
        ("SCARD t", WRONG),
        ("SMISMEMBER t a", WRONG),
    ]);
    Kit::resp3().check(&[("SADD s 1", ":1"), ("SMEMBERS s", "~1 $1 1"), ("SMEMBERS n", "~0")]);
}

#[test]
fn members_move() {
    Kit::default().check(&[
        ("SADD a x y", ":2"),
        ("SMOVE a b x", ":1"),
        ("SMOVE a b x", ":0"),
        ("SMOVE a a y", ":1"),
        ("SMOVE a a z", ":0"),
        ("SADD b y", ":1"),
        ("SMOVE a b y", ":1"),
        ("EXISTS a", ":0"),
        ("SCARD b", ":2"),
        ("SET t v", "+OK"),
        ("SMOVE b t x", WRONG),
        ("SMOVE t b x", WRONG),
        ("SMOVE none t x", ":0"),
    ]);
}

#[test]
fn algebra() {
    Kit::default().check(&[
        ("SADD a 1 2 3 4", ":4"),
        ("SADD b 2 3 4 5", ":4"),
        ("SADD c 3 5", ":2"),
        ("SET t v", "+OK"),
        ("SINTER a b", "*3 $1 2 $1 3 $1 4"),
        ("SINTER a b c", "*1 $1 3"),
        ("SINTER a", "*4 $1 1 $1 2 $1 3 $1 4"),
        ("SINTER a none", "*0"),
        ("SINTER none t", WRONG),
        ("SUNION a c none", "*5 $1 1 $1 2 $1 3 $1 4 $1 5"),
        ("SUNION none", "*0"),
        ("SUNION a t", WRONG),
        ("SDIFF a b", "*1 $1 1"),
        ("SDIFF a c none", "*3 $1 1 $1 2 $1 4"),
        ("SDIFF a none a", "*0"),
        ("SDIFF none a", "*0"),
        ("SDIFF none t", WRONG),
        ("SINTERCARD 2 a b", ":3"),
        ("SINTERCARD 2 a b LIMIT 2", ":2"),
        ("SINTERCARD 2 a b LIMIT 0", ":3"),
        ("SINTERCARD 2 a none", ":0"),
        ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD x a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 1 a LIMIT", "-ERR syntax error"),
        ("SINTERCARD 1 a b", "-ERR syntax error"),
        ("SINTERSTORE d a b", ":3"),
        ("SMEMBERS d", "*3 $1 2 $1 3 $1 4"),
        ("SINTERSTORE d d c", ":1"),
        ("SUNIONSTORE d d c a", ":5"),
        ("SDIFFSTORE d d a", ":1"),
        ("SMEMBERS d", "*1 $1 5"),
        ("SUNIONSTORE t a", ":4"),
        ("TYPE t", "+set"),
        ("SINTERSTORE t a none", ":0"),
        ("EXISTS t", ":0"),
    ]);
    Kit::resp3().check(&[
        ("SADD a 1 2", ":2"),
        ("SINTER a a", "~2 $1 1 $1 2"),
        ("SINTER a n", "~0"),
        ("SDIFF a n", "~2 $1 1 $1 2"),
    ]);
}

#[test]
fn expired_inputs_are_missing() {
    let filled = || {
        let mut kit = Kit::default();
        kit.check(&[("SADD a 1 2", ":2"), ("SADD b 2 3", ":2"), ("PEXPIRE a 10", ":1")]);
        kit.advance(20);
        kit
    };
    let outcome = filled().line("SUNION a b");
    assert_eq!((outcome.reply.as_str(), outcome.effect.as_str()), ("*2 $1 2 $1 3", "DEL a"));
    // A replica's clients don't see the key, its master's commands do.
    let mut kit = filled();
    kit.options.expire = ExpireRule::Hide;
    let outcome = kit.line("SUNION a b");
    assert_eq!((outcome.reply.as_str(), outcome.effect.as_str()), ("*2 $1 2 $1 3", ""));
    kit.options.expire = ExpireRule::Ignore;
    kit.check(&[("SUNION a b", "*3 $1 1 $1 2 $1 3"), ("ZUNION 2 a b", "*3 $1 1 $1 3 $1 2")]);
}

/// Both ways to compute a difference give the same.
#[test]
fn a_difference_of_many_sets() {
    let mut kit = Kit::default();
    let numbers = |range: std::ops::Range<u32>| range.map(|n| format!(" {n}")).collect::<String>();
    kit.line(&format!("SADD a{}", numbers(0..400)));
    for n in 0..8 {
        kit.line(&format!("SADD s{n} {} {}", n, 100 + n));
    }
    let many = kit.line("SDIFFSTORE d a s0 s1 s2 s3 s4 s5 s6 s7").reply;
    assert_eq!(many, ":384");
    kit.line("SUNIONSTORE u s0 s1 s2 s3 s4 s5 s6 s7");
    kit.check(&[("SDIFFSTORE e a u", ":384"), ("SDIFF d e", "*0"), ("SDIFF e d", "*0")]);
}

#[test]
fn stored_results_have_the_smallest_encoding() {
    let mut kit = Kit::default();
    kit.env.limits.set_max_listpack_entries = 4;
    kit.check(&[
        ("SADD mixed 1 2 3 x", ":4"),
        ("OBJECT ENCODING mixed", "$8 listpack"),
        ("SADD table 1 2 3 4 x y", ":6"),
        ("OBJECT ENCODING table", "$9 hashtable"),
        ("SINTERSTORE d mixed table", ":4"),
        ("OBJECT ENCODING d", "$8 listpack"),
        ("SADD ints 1 2 3 4 5 6", ":6"),
        ("OBJECT ENCODING ints", "$6 intset"),
        ("SINTERSTORE d ints table", ":4"),
        ("OBJECT ENCODING d", "$6 intset"),
        ("SREM mixed x", ":1"),
        ("SINTERSTORE d mixed table", ":3"),
        ("OBJECT ENCODING d", "$6 intset"),
        ("SUNIONSTORE d ints mixed", ":6"),
        ("OBJECT ENCODING d", "$6 intset"),
    ]);
    // What is left after a big pop is stored anew.
    assert_eq!(kit.line("SPOP table 5").reply.split(' ').next(), Some("*5"));
    kit.check(&[("SCARD table", ":1"), ("OBJECT ENCODING table", "$8 listpack")]);
}

#[test]
fn pops_and_samples() {
    Kit::default().check(&[
        ("SADD s 1", ":1"),
        ("SPOP s", "$1 1"),
        ("SPOP s", "$-1"),
        ("SPOP s 3", "*0"),
        ("SPOP s 3 3", "-ERR syntax error"),
        ("SPOP s -1", "-ERR value is out of range, must be positive"),
        ("SRANDMEMBER s", "$-1"),
        ("SRANDMEMBER s 3", "*0"),
        ("SRANDMEMBER s 3 3", "-ERR syntax error"),
        ("SRANDMEMBER s x", "-ERR value is not an integer or out of range"),
        (
            "SRANDMEMBER s -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("SADD s 1 2 3", ":3"),
        ("SRANDMEMBER s 0", "*0"),
        ("SRANDMEMBER s 9", "*3 $1 1 $1 2 $1 3"),
        ("SPOP s 0", "*0"),
        ("SPOP s 3", "*3 $1 1 $1 2 $1 3"),
        ("EXISTS s", ":0"),
        ("SADD s 7", ":1"),
        ("SRANDMEMBER s -3", "*3 $1 7 $1 7 $1 7"),
    ]);
    Kit::resp3().check(&[
        ("SADD s 1 2", ":2"),
        ("SRANDMEMBER s 2", "*2 $1 1 $1 2"),
        ("SPOP s 2", "~2 $1 1 $1 2"),
        ("SPOP s 2", "~0"),
        ("SPOP s", "_"),
    ]);
}

/// The members in a reply of bulk strings.
fn members(reply: &str) -> Vec<String> {
    reply.split(' ').skip(1).filter(|word| !word.starts_with('$')).map(str::to_owned).collect()
}

/// Draws `picks` of `len` members with `line` again and again, for each encoding, and checks that
/// all are drawn about as often.
fn check_fair(line: &str, len: usize, picks: usize) {
    for prefix in ["", "x", "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"]
    {
        let mut kit = Kit::default();
        let all: String = (0..len).map(|n| format!(" {prefix}{n}")).collect();
        let rounds = 300 * len / picks;
        let mut hits: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..rounds {
            kit.line(&format!("SADD s{all}"));
            let drawn = members(&kit.line(line).reply);
            assert_eq!(drawn.len(), picks);
            drawn.into_iter().for_each(|member| *hits.entry(member).or_default() += 1);
        }
        assert_eq!(hits.len(), len, "{line} {prefix}");
        // 300 expected; the deviation is below 18, so that six of it are never seen.
        assert!(hits.values().all(|hit| (195..405).contains(hit)), "{line} {prefix} {hits:?}");
    }
}

#[test]
fn choices_are_fair() {
    check_fair("SPOP s 1", 20, 1);
    check_fair("SPOP s 5", 20, 5);
    check_fair("SPOP s 19", 20, 19);
    check_fair("SRANDMEMBER s 1", 20, 1);
    check_fair("SRANDMEMBER s 4", 20, 4);
    check_fair("SRANDMEMBER s 15", 20, 15);
    check_fair("SRANDMEMBER s -10", 20, 10);
}

#[test]
fn what_goes_on_the_log() {
    let mut kit = Kit::default();
    kit.check_effects(&[
        ("SADD s 1", "SADD s 1"),
        ("SADD s 1", ""),
        ("SPOP s", "SREM s 1"),
        ("SPOP s", ""),
        ("SADD s 1 2", "SADD s 1 2"),
        ("SPOP s 2", "DEL s"),
        ("SPOP s 2", ""),
        ("SINTERSTORE d a b", ""),
        ("SADD d 1", "SADD d 1"),
        ("SINTERSTORE d a b", "SINTERSTORE d a b"),
        ("SADD a 1", "SADD a 1"),
        ("SMOVE a a 1", ""),
        ("SMOVE a b 1", "SMOVE a b 1"),
    ]);
    let numbers: String = (0..3000).map(|n| format!(" {n}")).collect();
    kit.line(&format!("SADD big{numbers}"));
    let outcome = kit.line("SPOP big 2500");
    let popped = members(&outcome.reply);
    let commands: Vec<&str> = outcome.effect.split("; ").collect();
    let sizes: Vec<usize> = commands.iter().map(|c| c.split(' ').count() - 2).collect();
    assert_eq!(sizes, [1024, 1024, 452]);
    let logged = commands.iter().flat_map(|command| command.split(' ').skip(2));
    assert!(logged.eq(popped.iter().map(String::as_str)));
    assert_eq!(outcome.changes.dirty, 2500);
    kit.check(&[("SCARD big", ":500")]);
}

#[test]
fn events_and_counts() {
    Kit::default().check_events(&[
        ("SADD s a b c d", "sadd s", 4),
        ("SADD s a", "", 0),
        ("SREM s a x", "srem s", 1),
        ("SMOVE s t b", "srem s, sadd t", 2),
        ("SADD s b", "sadd s", 1),
        ("SMOVE s t b", "srem s", 1),
        ("SPOP s", "spop s", 1),
        ("SPOP s 1", "spop s, del s", 1),
        ("SUNIONSTORE u t", "sunionstore u", 1),
        ("SINTERSTORE u t none", "del u", 1),
        ("SDIFFSTORE u none", "", 0),
        ("SREM t b", "srem t, del t", 1),
    ]);
}

#[test]
fn scans_see_everything() {
    let mut kit = Kit::default();
    kit.check(&[
        ("SSCAN none 0", "*2 $1 0 *0"),
        ("SADD s 1 2 13", ":3"),
        ("SSCAN s 0", "*2 $1 0 *3 $1 1 $1 2 $2 13"),
        ("SSCAN s 0 MATCH 1*", "*2 $1 0 *2 $1 1 $2 13"),
        ("SSCAN s x", "-ERR invalid cursor"),
        ("SSCAN s 0 COUNT 0", "-ERR syntax error"),
        ("SSCAN s 0 NOVALUES", "-ERR syntax error"),
    ]);
    let names: String = (0..1000).map(|n| format!(" m{n}")).collect();
    kit.line(&format!("SADD big{names}"));
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = kit.line(&format!("SSCAN big {cursor} COUNT 50")).reply;
        let words: Vec<&str> = reply.split(' ').collect();
        cursor = words[2].to_owned();
        seen.extend(words[3..].iter().filter(|word| word.starts_with('m')).map(|w| w.to_string()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
}
