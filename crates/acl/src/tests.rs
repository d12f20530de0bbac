//! Rules and what they allow, against a naive model and against what a real server showed.

use crate::{
    Catalog, CatalogEntry, Context, Denied, Incident, Log, Reason, RuleError, User,
    merge_selectors, parse_file, parse_user_line, show_users,
};
use commands::{AclCategories, CommandSpec, Flags, Group, KeyFlags, at, each};
use resp::OwnedArgs;
use std::collections::BTreeMap;
use stdx::Prng;

const READ: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const BOTH: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);

static SPECS: [CommandSpec; 9] = [
    CommandSpec::new("get", 2, Group::String).flags(Flags::READONLY).keys(&[at(1, READ)]),
    CommandSpec::new("set", -3, Group::String)
        .flags(Flags::WRITE)
        .keys(&[at(1, BOTH.union(KeyFlags::VARIABLE_FLAGS))]),
    CommandSpec::new("copy", -3, Group::Generic)
        .flags(Flags::WRITE)
        .keys(&[at(1, READ), at(2, KeyFlags::OW.union(KeyFlags::UPDATE))]),
    CommandSpec::new("exists", -2, Group::Generic)
        .flags(Flags::READONLY)
        .keys(&[each(1, KeyFlags::RO)]),
    CommandSpec::new("config", -2, Group::Server),
    CommandSpec::new("config|get", -3, Group::Server).flags(Flags::ADMIN),
    CommandSpec::new("config|help", 2, Group::Server),
    CommandSpec::new("publish", 3, Group::Pubsub).flags(Flags::PUBSUB),
    CommandSpec::new("psubscribe", -2, Group::Pubsub).flags(Flags::PUBSUB),
];

fn catalog() -> Catalog {
    Catalog::new(
        SPECS
            .iter()
            .enumerate()
            .map(|(id, spec)| CatalogEntry {
                id,
                name: spec.name,
                categories: spec.categories(),
                subcommands: if spec.name == "config" { vec![5, 6] } else { Vec::new() },
                is_sub: spec.name.contains('|'),
            })
            .collect(),
    )
}

fn apply(user: &mut User, rules: &[&str]) -> Result<(), RuleError> {
    let merged = merge_selectors(rules.iter().map(|rule| rule.as_bytes()));
    let merged = merged.map_err(|_| RuleError::Unmatched)?;
    merged.iter().try_for_each(|rule| user.apply(rule, &catalog()))
}

fn user(rules: &[&str]) -> User {
    let mut user = User::new(false);
    apply(&mut user, rules).unwrap_or_else(|error| panic!("{rules:?}: {error}"));
    user
}

fn check(user: &User, name: &str, args: &[&str]) -> Result<(), Denied> {
    let id = SPECS.iter().position(|spec| spec.name == name).expect("a known command");
    let words: Vec<&str> = name.split('|').chain(args.iter().copied()).collect();
    let owned = OwnedArgs::from_parts(&words);
    user.check(&SPECS[id], id, &owned.as_args())
}

fn shown(user: &User) -> String {
    String::from_utf8(user.show()).expect("text")
}

#[test]
fn descriptions_are_redis_s() {
    let table: &[(&[&str], &str)] = &[
        (&[], "off sanitize-payload resetchannels -@all"),
        (
            &["on", "nopass", "allkeys", "allchannels", "allcommands"],
            "on nopass sanitize-payload ~* &* +@all",
        ),
        (
            &["~a", "%R~a", "%R~b", "%W~b", "%RW~*", "~c"],
            "off sanitize-payload ~a ~b ~* ~c resetchannels -@all",
        ),
        (&["%R~*", "~c", "&a", "&a"], "off sanitize-payload %R~* ~c resetchannels &a -@all"),
        (&["%W"], "off sanitize-payload %W~ resetchannels -@all"),
        (&["(", ")"], "off sanitize-payload resetchannels -@all (resetchannels -@all)"),
        (
            &["(+get", "~a", "-@string", ")"],
            "off sanitize-payload resetchannels -@all (~a resetchannels -@all +get -@string)",
        ),
        (&["(~a \"~b\")", "clearselectors"], "off sanitize-payload resetchannels -@all"),
        (
            &["+config", "-config|get", "+config|get", "+CONFIG"],
            "off sanitize-payload resetchannels -@all +config",
        ),
        (
            &["+config|get", "-config|help", "+get"],
            "off sanitize-payload resetchannels -@all +config|get -config|help +get",
        ),
        (
            &["+get", "+@all", "-@READ", "-get", "+Get"],
            "off sanitize-payload resetchannels +@all -@read +get",
        ),
        (&["+get|A", "+get|a", "+set"], "off sanitize-payload resetchannels -@all +get|a +set"),
        (&["skip-sanitize-payload", "+@all", "reset"], "off sanitize-payload resetchannels -@all"),
        (&[""], "off sanitize-payload resetchannels -@all"),
    ];
    for (rules, expected) in table {
        assert_eq!(shown(&user(rules)), *expected, "{rules:?}");
    }
}

#[test]
fn wrong_rules_are_refused() {
    use RuleError::*;
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let upper = format!("#{}", hash.to_uppercase());
    let missing = format!("!{hash}");
    let table: &[(&[&str], RuleError)] = &[
        (&["bogus"], Syntax),
        (&["+foo"], Unknown),
        (&["-foo"], Unknown),
        (&["+"], Unknown),
        (&["+@"], Unknown),
        (&["-@foo"], Unknown),
        (&["+get|a|b"], Unknown),
        (&["-get|a"], Unknown),
        (&["+config|foo"], Unknown),
        (&["+config|get|x"], FirstArgOfSubcommand),
        (&["+get|"], Syntax),
        (&["+get|a\nuser b on nopass +@all"], Syntax),
        (&["+foo|"], Unknown),
        (&["~a b"], Syntax),
        (&["&a\tb"], Syntax),
        (&["%~a"], Syntax),
        (&["%"], Syntax),
        (&["%RR~a"], Syntax),
        (&["%X~a"], Syntax),
        (&["%a"], Syntax),
        (&["allkeys", "~a"], KeysBehindAll),
        (&["~*", "%R~a"], KeysBehindAll),
        (&["allchannels", "&a"], ChannelsBehindAll),
        (&["<a"], NoSuchPassword),
        (&[&missing], NoSuchPassword),
        (&["#a"], BadHash),
        (&[&upper], BadHash),
        (&["(on)"], Syntax),
        (&["(+get"], Unmatched),
    ];
    for (rules, error) in table {
        assert_eq!(apply(&mut User::new(false), rules), Err(*error), "{rules:?}");
    }
}

#[test]
fn passwords() {
    let mut one = user(&["on", ">a", ">b", ">a"]);
    assert_eq!(one.passwords().len(), 2);
    assert!(one.admits(b"a") && one.admits(b"b") && !one.admits(b"c") && !one.admits(b""));
    apply(&mut one, &["<a", "off"]).unwrap();
    assert!(!one.admits(b"b"));
    apply(&mut one, &["on"]).unwrap();
    assert!(one.admits(b"b") && !one.admits(b"a"));
    apply(&mut one, &["nopass"]).unwrap();
    assert!(one.admits(b"anything") && one.passwords().is_empty());
    apply(&mut one, &[">x"]).unwrap();
    assert!(!one.admits(b"anything") && !one.needs_no_password());
    apply(&mut one, &["resetpass"]).unwrap();
    assert!(!one.admits(b"x"));
}

#[test]
fn commands_and_their_parts() {
    let one = user(&["+@all", "-config", "+config|get", "~*", "&*"]);
    assert_eq!(check(&one, "config|get", &["x"]), Ok(()));
    assert_eq!(check(&one, "config|help", &[]), Err(Denied::Command));
    assert_eq!(check(&one, "get", &["x"]), Ok(()));
    let one = user(&["~*", "+get|a"]);
    assert_eq!(check(&one, "get", &["A"]), Ok(()));
    assert_eq!(check(&one, "get", &["b"]), Err(Denied::Command));
    // A container's category takes its subcommands along.
    let one = user(&["+@slow", "-@admin", "~*"]);
    assert_eq!(check(&one, "config|help", &[]), Ok(()));
    assert_eq!(check(&one, "config|get", &["x"]), Err(Denied::Command));
    assert!(SPECS[4].categories().contains(AclCategories::SLOW));
}

#[test]
fn keys_by_what_is_done_to_them() {
    let one = user(&["+@all", "%R~r*", "%W~w*", "~b*"]);
    assert_eq!(check(&one, "get", &["r"]), Ok(()));
    assert_eq!(check(&one, "get", &["w"]), Err(Denied::Key(1)));
    assert_eq!(check(&one, "set", &["w", "v"]), Ok(()));
    assert_eq!(check(&one, "set", &["w", "v", "GET"]), Err(Denied::Key(1)));
    assert_eq!(check(&one, "set", &["b", "v", "GET"]), Ok(()));
    assert_eq!(check(&one, "copy", &["r", "w"]), Ok(()));
    assert_eq!(check(&one, "copy", &["r", "r"]), Err(Denied::Key(2)));
    // EXISTS tells nothing of the value: any pattern that matches will do.
    assert_eq!(check(&one, "exists", &["w", "r", "b"]), Ok(()));
    assert_eq!(check(&one, "exists", &["w", "x"]), Err(Denied::Key(2)));
}

#[test]
fn channels_and_selectors() {
    let one = user(&["+publish", "+psubscribe", "&a*", "(+get ~x)", "(+set ~y %R~z)"]);
    assert_eq!(check(&one, "publish", &["abc", "m"]), Ok(()));
    assert_eq!(check(&one, "publish", &["b", "m"]), Err(Denied::Channel(1)));
    assert_eq!(check(&one, "psubscribe", &["a*"]), Ok(()));
    assert_eq!(check(&one, "psubscribe", &["a*", "abc"]), Err(Denied::Channel(2)));
    assert_eq!(check(&one, "get", &["x"]), Ok(()));
    assert_eq!(check(&one, "get", &["y"]), Err(Denied::Key(1)));
    assert_eq!(check(&one, "set", &["y", "1"]), Ok(()));
    assert_eq!(check(&one, "set", &["z", "1"]), Err(Denied::Key(1)));
    assert_eq!(check(&one, "exists", &["x"]), Err(Denied::Command));
    // The furthest reason is told.
    let one = user(&["(+copy ~a)", "(+copy ~b)"]);
    assert_eq!(check(&one, "copy", &["a", "x"]), Err(Denied::Key(2)));
}

#[test]
fn who_may_read_keys_that_are_not_named() {
    let every = |rules: &[&str]| {
        let owned = OwnedArgs::from_parts(&["get", "a"]);
        user(rules).reads_every_key(&SPECS[0], 0, &owned.as_args())
    };
    assert!(every(&["+get", "~*"]) && every(&["+get", "%R~*"]) && every(&["(+get %R~*)"]));
    assert!(
        !every(&["+get", "%W~*", "%R~a"]) && !every(&["~*"]) && !every(&["+get ~a", "(~*)"][1..])
    );
}

#[test]
fn listeners_that_have_to_go() {
    let all = user(&["&*"]);
    let some = user(&["&a*", "(&b)"]);
    assert!(all.keeps_channels_of(&some) && !some.keeps_channels_of(&all));
    assert!(user(&["&b", "&a*", "&c"]).keeps_channels_of(&some));
    assert!(!user(&["&a*"]).keeps_channels_of(&some));
    assert!(some.may_listen(b"abc", false) && some.may_listen(b"b", false));
    assert!(some.may_listen(b"a*", true) && !some.may_listen(b"ab*", true));
    assert!(!some.may_listen(b"c", false) && all.may_listen(b"c", false));
}

/// Random rules: what is shown makes the same user again, and rights are those that a model counts
/// out rule by rule.
#[test]
fn random_rules_against_a_model() {
    const WORDS: &[&str] = &[
        "+get",
        "-get",
        "+set",
        "-set",
        "+copy",
        "+@read",
        "-@read",
        "+@write",
        "-@write",
        "+@all",
        "-@all",
        "+config",
        "-config",
        "+config|get",
        "-config|get",
        "+config|help",
        "+@slow",
        "-@slow",
        "-@admin",
        "+@string",
        "-@keyspace",
        "allcommands",
        "nocommands",
    ];
    let table = catalog();
    for seed in 0..400 {
        let mut rng = Prng::new(seed);
        let mut one = user(&["~*", "&*"]);
        let mut model = [false; SPECS.len()];
        for _ in 0..rng.below(12) {
            let word = WORDS[rng.below(WORDS.len() as u64) as usize];
            one.apply(word.as_bytes(), &table).unwrap();
            model_rule(&mut model, word);
        }
        for (id, spec) in SPECS.iter().enumerate() {
            let args: &[&str] = &["a", "b"];
            let allowed = check(&one, spec.name, args).is_ok();
            assert_eq!(allowed, model[id], "seed {seed}: {} {}", spec.name, shown(&one));
        }
        let rules: Vec<Vec<u8>> =
            shown(&one).split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let again = parse_user_line(&rules, false, &table).unwrap();
        assert_eq!(shown(&again), shown(&one), "seed {seed}");
        for spec in &SPECS {
            assert_eq!(check(&again, spec.name, &["a", "b"]), check(&one, spec.name, &["a", "b"]));
        }
    }
}

fn model_rule(model: &mut [bool; SPECS.len()], word: &str) {
    let (allow, what) = match word {
        "allcommands" => (true, "@all"),
        "nocommands" => (false, "@all"),
        _ => (word.starts_with('+'), &word[1..]),
    };
    for (id, spec) in SPECS.iter().enumerate() {
        let container = spec.name.split('|').next().unwrap_or_default();
        let parent = SPECS.iter().find(|other| other.name == container).expect("a container");
        let in_category = |name: &str| {
            crate::category_name(name.as_bytes()).is_some_and(|category| {
                spec.categories().intersects(category) || parent.categories().intersects(category)
            })
        };
        let meant = match what.strip_prefix('@') {
            Some("all") => true,
            Some(category) => in_category(category),
            None => spec.name == what || container == what,
        };
        if meant {
            model[id] = allow;
        }
    }
}

#[test]
fn key_patterns_against_a_model() {
    const PATTERNS: &[&str] = &["a*", "b", "?", "[ab]c", "*", "ab*"];
    const KEYS: &[&str] = &["a", "b", "ab", "abc", "bc", "", "zz"];
    for seed in 0..200 {
        let mut rng = Prng::new(seed);
        let mut one = user(&["+@all"]);
        let mut model: Vec<(&str, bool, bool)> = Vec::new();
        for _ in 0..rng.below(5) {
            let pattern = PATTERNS[rng.below(PATTERNS.len() as u64) as usize];
            let (head, read, write) =
                [("%R~", true, false), ("%W~", false, true), ("%RW~", true, true)]
                    [rng.below(3) as usize];
            one.apply(format!("{head}{pattern}").as_bytes(), &catalog()).unwrap();
            match model.iter_mut().find(|(known, ..)| *known == pattern) {
                Some(known) => *known = (pattern, known.1 || read, known.2 || write),
                None => model.push((pattern, read, write)),
            }
        }
        let may = |key: &str, reads: bool, writes: bool| {
            model.iter().any(|&(pattern, read, write)| {
                stdx::glob_match(pattern.as_bytes(), key.as_bytes(), false)
                    && (!reads || read)
                    && (!writes || write)
            })
        };
        for key in KEYS {
            assert_eq!(
                check(&one, "get", &[key]).is_ok(),
                may(key, true, false),
                "seed {seed} {key}"
            );
            assert_eq!(check(&one, "set", &[key, "v"]).is_ok(), may(key, false, true));
            assert_eq!(check(&one, "set", &[key, "v", "get"]).is_ok(), may(key, true, true));
            assert_eq!(check(&one, "exists", &[key]).is_ok(), may(key, false, false));
        }
    }
}

#[test]
fn files() {
    let parse = |text: &str| parse_file(text.as_bytes(), "/u", false, &catalog());
    let users = parse("  user b on +get \r\n\n\nuser a (+get ~a b\nuser c\n").unwrap_err();
    assert_eq!(
        users,
        "/u:4: Unmatched parenthesis in selector definition.WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    let users = parse("  user b on +get \r\n\n\nuser a (+get ~a )\nuser c").unwrap();
    let show = |users: &BTreeMap<Vec<u8>, User>| -> Vec<String> {
        let lines = show_users(users.iter().map(|(name, user)| (name.as_slice(), user)));
        lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    };
    let lines = show(&users);
    assert_eq!(
        lines,
        [
            "user a off sanitize-payload resetchannels -@all (~a resetchannels -@all +get)",
            "user b on sanitize-payload resetchannels -@all +get",
            "user c off sanitize-payload resetchannels -@all",
        ]
    );
    assert_eq!(show(&parse(&lines.join("\n")).unwrap()), lines);
    let errors =
        parse("# x\nuser\nuser a bogus bogus2 +foo\nuser a on\nuser b\tc on\n").unwrap_err();
    assert_eq!(
        errors,
        "/u:1 should start with user keyword followed by the username. \
         /u:2 should start with user keyword followed by the username. \
         /u:3: Syntax error. \
         /u:3: Error in applying operation '+foo': Unknown command or category name in ACL. \
         WARNING: Duplicate user 'a' found on line 4. \
         '/u:5: username 'b\tc' contains invalid characters. \
         WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
}

#[test]
fn log_groups_what_is_the_same() {
    let incident = |object: &str, at: i64| Incident {
        reason: Reason::Key,
        context: Context::Toplevel,
        object: object.as_bytes().to_vec(),
        username: b"u".to_vec(),
        client: String::new(),
        at,
    };
    let mut log = Log::default();
    log.add(incident("a", 1000), 3);
    log.add(incident("b", 2000), 3);
    log.add(incident("a", 61_000), 3);
    let seen = |log: &Log| -> Vec<(u64, u64, i64)> {
        log.entries().map(|entry| (entry.id, entry.count, entry.created)).collect()
    };
    assert_eq!(seen(&log), [(0, 2, 1000), (1, 1, 2000)]);
    log.add(incident("a", 121_001), 3);
    log.add(incident("c", 121_002), 3);
    assert_eq!(seen(&log), [(3, 1, 121_002), (2, 1, 121_001), (0, 2, 1000)]);
    log.clear();
    log.add(incident("a", 0), 3);
    assert_eq!(seen(&log), [(4, 1, 0)]);
    log.add(incident("a", 0), 0);
    assert_eq!(log.entries().len(), 0);
}

#[test]
fn random_bytes_do_no_harm() {
    const PIECES: &[&[u8]] = &[
        b"+", b"-", b"@", b"all", b"get", b"|", b"config", b"~", b"%", b"R", b"W", b"&", b"*",
        b"(", b")", b" ", b"\"", b"\\x", b"\0", b"\xff", b">", b"<", b"#", b"!", b"on", b"reset",
        b"~*", b"\n",
    ];
    let table = catalog();
    for seed in 0..3000 {
        let mut rng = Prng::new(seed);
        let mut one = User::new(seed % 2 == 0);
        let mut file = b"user x ".to_vec();
        for _ in 0..rng.below(8) {
            let mut rule = Vec::new();
            for _ in 0..rng.below(6) {
                rule.extend_from_slice(PIECES[rng.below(PIECES.len() as u64) as usize]);
            }
            let before = one.clone();
            if one.apply(&rule, &table).is_err() {
                one = before;
            }
            file.extend_from_slice(&rule);
            file.push(b' ');
        }
        // What is wrong with it is of no interest here.
        let _ = parse_file(&file, "/u", false, &table);
        let words: Vec<Vec<u8>> =
            one.show().split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
        if let Ok(again) = parse_user_line(&words, false, &table) {
            assert_eq!(again.show(), one.show(), "seed {seed}");
        }
    }
}
