//! The specs of all data commands against COMMAND INFO of a real server.

use crate::testkit::Kit;
use crate::{AclCategories, Begin, Command, CommandSpec, DataFn, Find, Flags, KeyFlags, KeySpec};
use resp::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use stdx::Prng;

/// Rows that have no command here yet. A name that has got one fails the test.
const NOT_YET: &[&str] = &[];

fn rows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let text = include_str!("../testdata/commands.tsv");
    let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    rows.map(|line| line.split('\t').collect::<Vec<_>>()).map(|row| (row[0], row)).collect()
}

fn commands() -> Vec<&'static Command<DataFn>> {
    crate::all()
        .flat_map(|command| std::iter::once(command).chain(command.subcommands.iter().copied()))
        .collect()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn flag_words(spec: &CommandSpec) -> BTreeSet<String> {
    let ours = Flags::ALL_STRIPES | Flags::WALKS | Flags::MOVABLE_KEYS | Flags::MAY_REPLICATE;
    let names = (spec.flags - ours).iter_names();
    let mut words: BTreeSet<String> = names.map(|(name, _)| name.to_lowercase()).collect();
    if spec.movable_keys() {
        words.insert("movablekeys".to_owned());
    }
    words
}

fn category_words(categories: AclCategories) -> BTreeSet<String> {
    categories.iter_names().map(|(name, _)| format!("@{}", name.to_lowercase())).collect()
}

fn key_spec_text(spec: &KeySpec) -> String {
    let begin = match spec.begin {
        Begin::Index(index) => format!("idx@{index}"),
        Begin::Keyword(word, from) => format!("kw:{word}@{from}"),
        Begin::Unknown => "unknown".to_owned(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range({last},{step},{limit})"),
        Find::KeyNum { at, first, step } => format!("keynum({at},{first},{step})"),
        Find::Unknown => "unknown".to_owned(),
    };
    let flags: Vec<String> = key_flag_words(spec.flags);
    let mut text = format!("{begin} {find} {}", flags.join("+"));
    if !spec.notes.is_empty() {
        text.push_str(&format!(" \"{}\"", spec.notes));
    }
    text
}

fn key_flag_words(flags: KeyFlags) -> Vec<String> {
    let whole_word = KeyFlags::RO | KeyFlags::RW | KeyFlags::OW | KeyFlags::RM;
    flags
        .iter_names()
        .map(
            |(name, flag)| {
                if whole_word.contains(flag) { name.to_owned() } else { name.to_lowercase() }
            },
        )
        .collect()
}

#[test]
fn specs_are_those_of_a_real_server() {
    let rows = rows();
    let mut wrong = Vec::new();
    for spec in commands().iter().map(|command| &command.spec) {
        let Some(row) = rows.get(spec.name) else {
            wrong.push(format!("{}: no such row", spec.name));
            continue;
        };
        let mut compare = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                wrong.push(format!("{}: {what} is {ours}, should be {theirs}", spec.name));
            }
        };
        let show = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(",");
        compare("since", spec.since.to_owned(), row[1].to_owned());
        compare("group", spec.group.name().to_owned(), row[2].to_owned());
        compare("arity", spec.arity.to_string(), row[3].to_owned());
        compare("flags", show(flag_words(spec)), show(words(row[4])));
        let (first, last, step) = spec.legacy_range();
        compare("key range", format!("{first} {last} {step}"), row[5..8].join(" "));
        let specs: Vec<String> = spec.keys.iter().map(key_spec_text).collect();
        compare("key specs", specs.join("; "), row[8].to_owned());
        compare("categories", show(category_words(spec.categories())), show(words(row[9])));
        let tips = spec.tips.iter().map(|tip| (*tip).to_owned()).collect();
        compare("tips", show(tips), show(words(row[10])));
        compare("summary", (!spec.summary.is_empty()).to_string(), "true".to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_command_is_missing_or_there_twice() {
    let names: Vec<&str> = commands().iter().map(|command| command.spec.name).collect();
    let set: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), set.len());
    let mut missing: BTreeSet<&str> = rows().into_keys().collect();
    for name in &set {
        missing.remove(name);
    }
    assert_eq!(missing, NOT_YET.iter().copied().collect());
}

/// Arguments that mean something to many commands, or that try to break them.
const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "-10",
    "64",
    "1.5",
    "-0.1",
    "1e400",
    "inf",
    "-inf",
    "nan",
    "x",
    "*",
    "[a-",
    "\\",
    "(1",
    "[a",
    "+",
    "-",
    "(",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    " 1",
    "01",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "INCR",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "MATCH",
    "COUNT",
    "TYPE",
    "LIMIT",
    "WITHSCORES",
    "WITHVALUES",
    "BYSCORE",
    "BYLEX",
    "REV",
    "LEFT",
    "RIGHT",
    "BEFORE",
    "AFTER",
    "RANK",
    "MAXLEN",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "MIN",
    "MAX",
    "REPLACE",
    "DB",
    "ABSTTL",
    "IDLETIME",
    "FREQ",
    "string",
    "hash",
    "BY",
    "a*",
    "*->a",
    "#",
    "ALPHA",
    "STORE",
    "BIT",
    "AND",
    "u8",
    "i64",
    "SET",
    "INCRBY",
    "OVERFLOW",
    "FAIL",
    "FROMLONLAT",
    "BYRADIUS",
    "km",
    "TODENSE",
];

#[test]
fn random_arguments_get_a_reply() {
    let mut prng = Prng::new(11);
    let all = commands();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut kit = Kit { protocol, ..Kit::default() };
        for _ in 0..40_000 {
            let spec = &all[prng.below(all.len() as u64) as usize].spec;
            let mut argv: Vec<&str> = spec.name.split('|').collect();
            // Mostly a short name as the first key, so that commands meet values of all types.
            for _ in 0..prng.below(8) {
                let choice = if argv.len() < 3 { 4 } else { WORDS.len() as u64 };
                argv.push(WORDS[prng.below(choice) as usize]);
            }
            kit.advance(1);
            let outcome = kit.run(&argv);
            assert!(!outcome.bytes.is_empty() || outcome.block.is_some(), "{argv:?}");
            let failed = outcome.bytes.first() == Some(&b'-');
            assert!(
                !failed || outcome.effect.is_empty() || outcome.effect.starts_with("DEL"),
                "{argv:?}"
            );
        }
    }
}
