//! COMMAND: what commands there are. Everything is read off the [`CommandSpec`]s.

use crate::registry::registry;
use crate::{After, CommandRef, NodeCtx, NodeFn};
use cmdargs::Argument;
use commands::{
    AclCategories, Begin, Command, CommandError, CommandSpec, Find, Flags, Group, KeyFlags,
    KeyList, KeySpec, exact_flags, keys_of,
};
use resp::{Args, Reply};

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&COMMAND];

const LOOK: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL);
const ALL: &str = "O(N) where N is the total number of Redis commands";
const SOME: &str = "O(N) where N is the number of commands to look up";
const ARGUMENTS: &str = "O(N) where N is the number of arguments to the command";
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];

const fn spec(name: &'static str, arity: i32, since: &'static str) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Server)
        .flags(LOOK)
        .acl(AclCategories::CONNECTION)
        .since(since)
}

/// COMMAND
pub const COMMAND: Command<NodeFn> = Command::container(
    spec("command", -1, "2.8.13").doc(ALL, "Describes all commands.").tips(ANY_ORDER),
    |cx, _| {
        rows(cx.reply, cx.node.commands());
        Ok(After::Done)
    },
    &[&COUNT, &DOCS, &GETKEYS, &GETKEYSANDFLAGS, &HELP, &INFO, &LIST],
);

const COUNT: Command<NodeFn> = Command::new(
    spec("command|count", 2, "2.8.13").doc("O(1)", "Counts the commands."),
    |cx, _| {
        cx.reply.count(cx.node.commands().len());
        Ok(After::Done)
    },
);

const INFO: Command<NodeFn> = Command::new(
    spec("command|info", -2, "2.8.13").doc(SOME, "Describes some commands.").tips(ANY_ORDER),
    |cx, args| {
        if args.len() == 2 {
            rows(cx.reply, cx.node.commands());
            return Ok(After::Done);
        }
        cx.reply.array(args.len() - 2);
        for name in args.tail(2).iter() {
            match cx.node.find_full(name) {
                Some(command) => row(cx.reply, command),
                None => cx.reply.null(),
            }
        }
        Ok(After::Done)
    },
);

fn rows(reply: &mut Reply, commands: &[CommandRef]) {
    reply.array(commands.len());
    commands.iter().for_each(|command| row(reply, command));
}

/// One command's description. Source: redis 7.0 `server.c:addReplyCommandInfo`.
fn row(reply: &mut Reply, command: CommandRef) {
    let spec = command.spec;
    reply.array(10);
    reply.text(spec.name);
    reply.integer(i64::from(spec.arity));
    let mut flags = names_of(FLAG_NAMES, |flag| spec.flags.contains(flag));
    if spec.movable_keys() {
        flags.push("movablekeys");
    }
    simple_set(reply, &flags);
    let (first, last, step) = spec.legacy_range();
    [first, last, step].into_iter().for_each(|n| reply.integer(n));
    let categories = spec.categories();
    simple_set(reply, &names_of(CATEGORY_NAMES, |category| categories.contains(category)));
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.text(tip));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|key| key_spec(reply, key));
    if command.subcommands.is_empty() {
        reply.set(0);
    } else {
        rows(reply, &command.subcommands);
    }
}

fn names_of<F: Copy>(table: &[(F, &'static str)], has: impl Fn(F) -> bool) -> Vec<&'static str> {
    table.iter().filter(|(flag, _)| has(*flag)).map(|&(_, name)| name).collect()
}

fn simple_set(reply: &mut Reply, names: &[&str]) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

/// Flags that COMMAND shows; some are of no use to a client and are not shown by Redis either.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::ALLOW_BUSY, "allow_busy"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
];

const CATEGORY_NAMES: &[(AclCategories, &str)] = &[
    (AclCategories::KEYSPACE, "@keyspace"),
    (AclCategories::READ, "@read"),
    (AclCategories::WRITE, "@write"),
    (AclCategories::SET, "@set"),
    (AclCategories::SORTEDSET, "@sortedset"),
    (AclCategories::LIST, "@list"),
    (AclCategories::HASH, "@hash"),
    (AclCategories::STRING, "@string"),
    (AclCategories::BITMAP, "@bitmap"),
    (AclCategories::HYPERLOGLOG, "@hyperloglog"),
    (AclCategories::GEO, "@geo"),
    (AclCategories::STREAM, "@stream"),
    (AclCategories::PUBSUB, "@pubsub"),
    (AclCategories::ADMIN, "@admin"),
    (AclCategories::FAST, "@fast"),
    (AclCategories::SLOW, "@slow"),
    (AclCategories::BLOCKING, "@blocking"),
    (AclCategories::DANGEROUS, "@dangerous"),
    (AclCategories::CONNECTION, "@connection"),
    (AclCategories::TRANSACTION, "@transaction"),
    (AclCategories::SCRIPTING, "@scripting"),
];

const KEY_FLAG_NAMES: &[(KeyFlags, &str)] = &[
    (KeyFlags::RO, "RO"),
    (KeyFlags::RW, "RW"),
    (KeyFlags::OW, "OW"),
    (KeyFlags::RM, "RM"),
    (KeyFlags::ACCESS, "access"),
    (KeyFlags::UPDATE, "update"),
    (KeyFlags::INSERT, "insert"),
    (KeyFlags::DELETE, "delete"),
    (KeyFlags::NOT_KEY, "not_key"),
    (KeyFlags::INCOMPLETE, "incomplete"),
    (KeyFlags::VARIABLE_FLAGS, "variable_flags"),
];

/// Source: redis 7.0 `server.c:addReplyCommandKeySpecs`.
fn key_spec(reply: &mut Reply, key: &KeySpec) {
    reply.map(if key.notes.is_empty() { 3 } else { 4 });
    if !key.notes.is_empty() {
        reply.text("notes");
        reply.text(key.notes);
    }
    reply.text("flags");
    simple_set(reply, &names_of(KEY_FLAG_NAMES, |flag| key.flags.contains(flag)));
    reply.text("begin_search");
    match key.begin {
        Begin::Index(index) => search(reply, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
            head(reply, "keyword", 2);
            reply.text("keyword");
            reply.text(word);
            number(reply, "startfrom", i64::from(from));
        }
        Begin::Unknown => search(reply, "unknown", &[]),
    }
    reply.text("find_keys");
    match key.find {
        Find::Range { last, step, limit } => {
            let last = i64::from(last);
            search(
                reply,
                "range",
                &[("lastkey", last), ("keystep", step as i64), ("limit", limit as i64)],
            );
        }
        Find::KeyNum { at, first, step } => {
            let fields =
                [("keynumidx", at as i64), ("firstkey", first as i64), ("keystep", step as i64)];
            search(reply, "keynum", &fields);
        }
        Find::Unknown => search(reply, "unknown", &[]),
    }
}

fn head(reply: &mut Reply, kind: &str, fields: usize) {
    reply.map(2);
    reply.text("type");
    reply.text(kind);
    reply.text("spec");
    reply.map(fields);
}

fn search(reply: &mut Reply, kind: &str, fields: &[(&str, i64)]) {
    head(reply, kind, fields.len());
    fields.iter().for_each(|&(name, value)| number(reply, name, value));
}

fn number(reply: &mut Reply, name: &str, value: i64) {
    reply.text(name);
    reply.integer(value);
}

// ---- LIST --------------------------------------------------------------------------------------

const LIST: Command<NodeFn> = Command::new(
    spec("command|list", -2, "7.0.0").doc(ALL, "Lists the names of commands.").tips(ANY_ORDER),
    list,
);

/// Source: redis 7.0 `server.c:commandListCommand`. Every list has subcommands too.
fn list(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let names: Vec<&str> = if args.len() == 2 {
        filtered(cx.node.commands(), |_| true)
    } else if args.len() == 5 && args.is(2, "filterby") && args.is(3, "module") {
        Vec::new()
    } else if args.len() == 5 && args.is(2, "filterby") && args.is(3, "aclcat") {
        let wanted = CATEGORY_NAMES
            .iter()
            .find(|(_, name)| name.as_bytes()[1..].eq_ignore_ascii_case(args.at(4)));
        filtered(cx.node.commands(), |spec| {
            wanted.is_some_and(|(category, _)| spec.categories().contains(*category))
        })
    } else if args.len() == 5 && args.is(2, "filterby") && args.is(3, "pattern") {
        filtered(cx.node.commands(), |spec| {
            stdx::glob_match(args.at(4), spec.name.as_bytes(), true)
        })
    } else {
        return Err(CommandError::SYNTAX);
    };
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.text(name));
    Ok(After::Done)
}

fn filtered(commands: &[CommandRef], keep: impl Fn(&CommandSpec) -> bool) -> Vec<&'static str> {
    let with_subcommands =
        commands.iter().flat_map(|command| std::iter::once(command).chain(&command.subcommands));
    with_subcommands
        .map(|command| command.spec)
        .filter(|spec| keep(spec))
        .map(|spec| spec.name)
        .collect()
}

// ---- keys of a command -------------------------------------------------------------------------

const GETKEYS: Command<NodeFn> = Command::new(
    spec("command|getkeys", -4, "2.8.13")
        .doc(ARGUMENTS, "Finds the keys among a command's arguments."),
    |cx, args| {
        let args = args.tail(2);
        let (_, keys) = keys_in(cx.node, &args)?;
        cx.reply.array(keys.len());
        keys.iter().for_each(|&(at, _)| cx.reply.bulk(args.at(at)));
        Ok(After::Done)
    },
);

const GETKEYSANDFLAGS: Command<NodeFn> = Command::new(
    spec("command|getkeysandflags", -4, "7.0.0")
        .doc(ARGUMENTS, "Finds the keys, and tells what is done with them."),
    |cx, args| {
        let args = args.tail(2);
        let (command, keys) = keys_in(cx.node, &args)?;
        cx.reply.array(keys.len());
        for (at, flags) in keys {
            cx.reply.array(2);
            cx.reply.bulk(args.at(at));
            simple_set(
                cx.reply,
                &names_of(KEY_FLAG_NAMES, |flag| {
                    exact_flags(command.spec, &args, flags).contains(flag)
                }),
            );
        }
        Ok(After::Done)
    },
);

/// Source: redis 7.0 `server.c:getKeysSubcommandImpl`.
fn keys_in(
    node: &crate::Node,
    args: &Args<'_>,
) -> std::result::Result<(CommandRef, KeyList), CommandError> {
    let top = registry().find(args.at(0)).filter(|command| node.has_command(command));
    let command = match top {
        Some(top) if !top.subcommands.is_empty() => {
            args.get(1).and_then(|name| registry().find_sub(top, name))
        }
        other => other,
    };
    let command = command.ok_or(CommandError::new("ERR Invalid command specified"))?;
    let is_key = |key: &commands::KeySpec| !key.flags.contains(KeyFlags::NOT_KEY);
    if !command.spec.keys.iter().any(is_key) {
        return Err(CommandError::new("ERR The command has no key arguments"));
    }
    if !command.spec.arity_fits(args.len()) {
        return Err(CommandError::new("ERR Invalid number of arguments specified for command"));
    }
    let none_is_fine = command.spec.flags.contains(Flags::NO_MANDATORY_KEYS);
    let keys = keys_of(command.spec, args).filter(|keys| none_is_fine || !keys.is_empty());
    let keys = keys.ok_or(CommandError::new("ERR Invalid arguments specified for command"))?;
    Ok((command, keys))
}

// ---- DOCS --------------------------------------------------------------------------------------

const DOCS: Command<NodeFn> = Command::new(
    spec("command|docs", -2, "7.0.0").doc(SOME, "Explains commands.").tips(ANY_ORDER),
    |cx, args| {
        let commands: Vec<CommandRef> = if args.len() == 2 {
            cx.node.commands().to_vec()
        } else {
            args.tail(2).iter().filter_map(|name| cx.node.find_full(name)).collect()
        };
        docs(cx.reply, &commands);
        Ok(After::Done)
    },
);

fn docs(reply: &mut Reply, commands: &[CommandRef]) {
    reply.map(commands.len());
    for command in commands {
        reply.text(command.spec.name);
        doc(reply, command);
    }
}

/// Commands for the server's own use or for its developers.
const SYSTEM_COMMANDS: &[&str] = &["debug", "replconf", "restore-asking"];

/// Source: redis 7.0 `server.c:addReplyCommandDocs`.
fn doc(reply: &mut Reply, command: CommandRef) {
    let spec = command.spec;
    let mark = reply.mark();
    let mut pairs = 0;
    let mut text = |reply: &mut Reply, name: &str, value: &str| {
        if !value.is_empty() {
            reply.text(name);
            reply.text(value);
            pairs += 1;
        }
    };
    text(reply, "summary", spec.summary);
    text(reply, "since", spec.since);
    text(reply, "group", spec.group.name());
    text(reply, "complexity", spec.complexity);
    let mut flags = Vec::new();
    if spec.deprecated.is_some() {
        flags.push("deprecated");
    }
    if SYSTEM_COMMANDS.contains(&spec.name) {
        flags.push("syscmd");
    }
    if let Some((since, replacement)) = spec.deprecated {
        reply.text("doc_flags");
        simple_set(reply, &flags);
        text(reply, "deprecated_since", since);
        text(reply, "replaced_by", replacement);
        pairs += 1;
    } else if !flags.is_empty() {
        reply.text("doc_flags");
        simple_set(reply, &flags);
        pairs += 1;
    }
    let arguments = cmdargs::of(spec.name);
    if !arguments.is_empty() {
        reply.text("arguments");
        argument_list(reply, arguments);
        pairs += 1;
    }
    if !command.subcommands.is_empty() {
        reply.text("subcommands");
        docs(reply, &command.subcommands);
        pairs += 1;
    }
    reply.map_at(mark, pairs);
}

/// Source: redis 7.2 `server.c:addReplyCommandArgList`.
fn argument_list(reply: &mut Reply, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let mark = reply.mark();
        let mut pairs = 0;
        let mut text = |reply: &mut Reply, name: &str, value: &str| {
            reply.text(name);
            reply.text(value);
            pairs += 1;
        };
        text(reply, "name", &argument.name);
        text(reply, "type", &argument.kind);
        let optional = [
            ("token", &argument.token),
            ("since", &argument.since),
            ("deprecated_since", &argument.deprecated_since),
        ];
        if argument.arguments.is_empty() {
            text(reply, "display_text", &argument.name);
        }
        for (name, value) in optional {
            if let Some(value) = value {
                text(reply, name, value);
            }
        }
        if let Some(index) = argument.key_spec {
            number(reply, "key_spec_index", index as i64);
            pairs += 1;
        }
        let flags = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if !flags.is_empty() {
            reply.text("flags");
            simple_set(reply, &flags);
            pairs += 1;
        }
        if !argument.arguments.is_empty() {
            reply.text("arguments");
            argument_list(reply, &argument.arguments);
            pairs += 1;
        }
        reply.map_at(mark, pairs);
    }
}

const HELP: Command<NodeFn> = Command::new(
    spec("command|help", 2, "5.0.0").doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "COMMAND",
            &[
                "(no subcommand)",
                "    Return details about all Redis commands.",
                "COUNT",
                "    Return the total number of commands in this Redis server.",
                "LIST",
                "    Return a list of all commands in this Redis server.",
                "INFO [<command-name> ...]",
                "    Return details about multiple Redis commands.",
                "    If no command names are given, documentation details for all",
                "    commands are returned.",
                "DOCS [<command-name> ...]",
                "    Return documentation details about multiple Redis commands.",
                "    If no command names are given, documentation details for all",
                "    commands are returned.",
                "GETKEYS <full-command>",
                "    Return the keys from a full Redis command.",
                "GETKEYSANDFLAGS <full-command>",
                "    Return the keys and the access flags from a full Redis command.",
            ],
        );
        Ok(After::Done)
    },
);
