//! COMMAND, and our table against that of a real server.
//!
//! `command-7.0.15.txt` has what redis-server 7.0.15 answers to COMMAND, a line for each command and
//! subcommand: name, arity, flags, first key, last key, step, ACL categories, tips, key specs; what
//! has no order is sorted, notes for people are left out.

use crate::testkit::Kit;
use resp::Value;
use std::collections::{BTreeMap, BTreeSet};

const REAL: &str = include_str!("command-7.0.15.txt");

/// Rows that differ on purpose.
const DIFFERENT: &[(&str, &str)] = &[
    ("wait", "since 7.2 flagged as blocking, and allowed in scripts"),
    ("zrank", "since 7.2 with WITHSCORE"),
    ("zrevrank", "since 7.2 with WITHSCORE"),
];

fn show(value: &Value) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        Value::Array(items) | Value::Set(items) => list(items.iter().map(show)),
        Value::Map(pairs) => list(pairs.iter().flat_map(|(name, value)| [show(name), show(value)])),
        other => {
            let text = other.as_str().expect("text");
            if text.is_empty() || text.contains(' ') {
                format!("\"{text}\"")
            } else {
                text.to_string()
            }
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(" "))
}

fn sorted(value: &Value) -> String {
    let Value::Set(items) = value else { panic!("a set: {value:?}") };
    let items: BTreeSet<String> = items.iter().map(show).collect();
    list(items.into_iter())
}

fn key_spec(value: &Value) -> String {
    let Value::Map(pairs) = value else { panic!("a map: {value:?}") };
    let fields = pairs.iter().filter(|(name, _)| show(name) != "notes");
    list(fields.flat_map(|(name, value)| {
        let name = show(name);
        let value = if name == "flags" { sorted(value) } else { show(value) };
        [name, value]
    }))
}

fn add_row(row: &Value, rows: &mut BTreeMap<String, String>) {
    let fields = row.as_array().expect("a row");
    assert_eq!(fields.len(), 10);
    let name = show(&fields[0]);
    let Value::Set(keys) = &fields[8] else { panic!("key specs") };
    let words = [
        name.clone(),
        show(&fields[1]),
        sorted(&fields[2]),
        show(&fields[3]),
        show(&fields[4]),
        show(&fields[5]),
        sorted(&fields[6]),
        sorted(&fields[7]),
        list(keys.iter().map(key_spec)),
    ];
    rows.insert(name, words.join(" "));
    fields[9].as_array().expect("subcommands").iter().for_each(|row| add_row(row, rows));
}

#[test]
fn rows_are_those_of_a_real_server() {
    let mut ours = BTreeMap::new();
    let all = Kit::resp3().value("command");
    all.as_array().expect("rows").iter().for_each(|row| add_row(row, &mut ours));
    let real: BTreeMap<&str, &str> =
        REAL.lines().map(|line| (line.split(' ').next().unwrap_or_default(), line)).collect();
    let different: BTreeSet<&str> = DIFFERENT.iter().map(|&(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (name, row) in &ours {
        let Some(expected) = real.get(name.as_str()) else { continue };
        if (row == expected) == different.contains(name.as_str()) {
            wrong.push(format!("ours: {row}\nreal: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows\n{}", wrong.len(), wrong.join("\n"));
    assert!(different.iter().all(|name| ours.contains_key(*name)), "a stale exception");
}

#[test]
fn info_count_and_list() {
    let mut kit = Kit::default();
    let count = kit.node.commands().len();
    kit.check(&[
        ("command count", &format!(":{count}")),
        ("command count x", "-ERR wrong number of arguments for 'command|count' command"),
        ("command foo", "-ERR unknown subcommand 'foo'. Try COMMAND HELP."),
        ("command info foo", "*1 $-1"),
        (
            "command info config|get",
            "*1 *10 $10 config|get :-3 *4 +admin +noscript +loading +stale :0 :0 :0 *3 +@admin +@slow +@dangerous *0 *0 *0",
        ),
        ("command list foo", "-ERR syntax error"),
        ("command list filterby", "-ERR syntax error"),
        ("command list filterby foo bar", "-ERR syntax error"),
        ("command list filterby module foo", "*0"),
        ("command list filterby aclcat foo", "*0"),
        (
            "command list filterby pattern CONFIG*",
            "*6 $6 config $10 config|get $11 config|help $16 config|resetstat $14 config|rewrite $10 config|set",
        ),
        ("command list filterby aclcat Transaction", "*5 $7 discard $4 exec $5 multi $7 unwatch $5 watch"),
    ]);
    let Value::Array(names) = kit.value("command list") else { panic!("an array") };
    let subcommands: usize =
        kit.node.commands().iter().map(|command| command.subcommands.len()).sum();
    assert_eq!(names.len(), count + subcommands);
    assert!(
        !names
            .iter()
            .any(|name| name.as_str() == Some("sentinel") || name.as_str() == Some("migrate"))
    );
    assert_eq!(
        kit.line("command info get"),
        "*1 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 +RO +access \
         $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 $9 find_keys *4 $4 type $5 range $4 spec *6 \
         $7 lastkey :0 $7 keystep :1 $5 limit :0 *0"
    );
    assert!(
        Kit::resp3()
            .line("command info get foo")
            .starts_with("*2 *10 $3 get :2 ~2 +readonly +fast :1 :1 :1 ~3 +@read ")
    );
}

#[test]
fn keys_of_a_command() {
    Kit::default().check(&[
        ("command getkeys get", "-ERR wrong number of arguments for 'command|getkeys' command"),
        ("command getkeys get a", "*1 $1 a"),
        ("command getkeys foo a", "-ERR Invalid command specified"),
        ("command getkeys object foo k", "-ERR Invalid command specified"),
        ("command getkeys object freq k", "*1 $1 k"),
        ("command getkeys ping a", "-ERR The command has no key arguments"),
        ("command getkeys config get x", "-ERR The command has no key arguments"),
        ("command getkeys set a", "-ERR Invalid number of arguments specified for command"),
        ("command getkeys mset a b c d", "*2 $1 a $1 c"),
        ("command getkeys mset a b c", "*2 $1 a $1 c"),
        ("command getkeys set a b c d e", "*1 $1 a"),
        ("command getkeysandflags get a", "*1 *2 $1 a *2 +RO +access"),
        (
            "command getkeysandflags mset a b c d",
            "*2 *2 $1 a *2 +OW +update *2 $1 c *2 +OW +update",
        ),
        ("command getkeysandflags set a b", "*1 *2 $1 a *2 +OW +update"),
        ("command getkeysandflags set a b get", "*1 *2 $1 a *3 +RW +access +update"),
        ("command getkeysandflags copy a b", "*2 *2 $1 a *2 +RO +access *2 $1 b *2 +OW +update"),
    ]);
}

#[test]
fn keys_behind_a_number() {
    Kit::default().check(&[
        ("command getkeys zunionstore a 2 b c", "*3 $1 a $1 b $1 c"),
        ("command getkeys zunionstore a 20 b c", "-ERR Invalid arguments specified for command"),
        ("command getkeys zunionstore a x b c", "-ERR Invalid arguments specified for command"),
        (
            "command getkeysandflags lmove a b left right",
            "*2 *2 $1 a *3 +RW +access +delete *2 $1 b *2 +RW +insert",
        ),
        (
            "command getkeysandflags zunionstore a 2 b c",
            "*3 *2 $1 a *2 +OW +update *2 $1 b *2 +RO +access *2 $1 c *2 +RO +access",
        ),
    ]);
}

#[test]
fn docs() {
    let mut kit = Kit::resp3();
    kit.check(&[("command docs foo", "%0")]);
    let Value::Map(all) = kit.value("command docs") else { panic!("a map") };
    assert_eq!(all.len(), kit.node.commands().len());
    let Value::Map(some) = kit.value("command docs slaveof config|get memory debug nonsense")
    else {
        panic!("a map")
    };
    let names: Vec<String> = some.iter().map(|(name, _)| show(name)).collect();
    assert_eq!(names, ["slaveof", "config|get", "memory", "debug"]);
    let fields = |index: usize| -> Vec<String> {
        let Value::Map(doc) = &some[index].1 else { panic!("a map") };
        doc.iter().map(|(name, _)| show(name)).collect()
    };
    let deprecated = [
        "summary",
        "since",
        "group",
        "complexity",
        "doc_flags",
        "deprecated_since",
        "replaced_by",
        "arguments",
    ];
    assert_eq!(fields(0), deprecated);
    assert_eq!(fields(1), ["summary", "since", "group", "complexity", "arguments"]);
    assert_eq!(fields(2), ["summary", "since", "group", "complexity", "subcommands"]);
    assert_eq!(fields(3), ["summary", "since", "group", "complexity", "doc_flags"]);
    let text = kit.line("command docs slaveof");
    assert!(
        text.contains(
            "~1 +deprecated $16 deprecated_since $5 5.0.0 $11 replaced_by $11 `REPLICAOF`"
        ),
        "{text}"
    );
}
