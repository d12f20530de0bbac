//! EVAL and its relatives, SCRIPT.

use crate::script::{EvalBy, eval, keep};
use crate::{After, NodeCtx, NodeFn};
use commands::{Command, CommandError, CommandSpec, Flags, Group, KeyFlags, keynum};
use resp::Args;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&EVAL, &EVAL_RO, &EVALSHA, &EVALSHA_RO, &SCRIPT];

/// What running a script is.
pub(super) const RUNS: Flags = Flags::NOSCRIPT
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::MAY_REPLICATE)
    .union(Flags::ALL_STRIPES);
/// The same, for scripts that only read.
pub(super) const RUNS_RO: Flags = Flags::READONLY
    .union(Flags::NOSCRIPT)
    .union(Flags::STALE)
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::ALL_STRIPES);
/// What a script does with its keys.
pub(super) const WRITES_KEYS: KeyFlags =
    KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);
/// The same, for scripts that only read.
pub(super) const READS_KEYS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);

/// EVAL script numkeys [key ...] [arg ...]
pub const EVAL: Command<NodeFn> = Command::new(
    CommandSpec::new("eval", -3, Group::Scripting)
        .flags(RUNS)
        .keys(&[keynum(2, WRITES_KEYS).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )])
        .since("2.6.0")
        .doc("Depends on the script that is executed.", "Runs a Lua script."),
    |cx, args| eval(cx, args, EvalBy::Source, false),
);

/// EVAL_RO script numkeys [key ...] [arg ...]
pub const EVAL_RO: Command<NodeFn> = Command::new(
    CommandSpec::new("eval_ro", -3, Group::Scripting)
        .flags(RUNS_RO)
        .keys(&[keynum(2, READS_KEYS).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )])
        .since("7.0.0")
        .doc("Depends on the script that is executed.", "Runs a Lua script that only reads."),
    |cx, args| eval(cx, args, EvalBy::Source, true),
);

/// EVALSHA sha1 numkeys [key ...] [arg ...]
pub const EVALSHA: Command<NodeFn> = Command::new(
    CommandSpec::new("evalsha", -3, Group::Scripting)
        .flags(RUNS)
        .keys(&[keynum(2, WRITES_KEYS)])
        .since("2.6.0")
        .doc("Depends on the script that is executed.", "Runs a Lua script of the cache."),
    |cx, args| eval(cx, args, EvalBy::Sha, false),
);

/// EVALSHA_RO sha1 numkeys [key ...] [arg ...]
pub const EVALSHA_RO: Command<NodeFn> = Command::new(
    CommandSpec::new("evalsha_ro", -3, Group::Scripting)
        .flags(RUNS_RO)
        .keys(&[keynum(2, READS_KEYS)])
        .since("7.0.0")
        .doc(
            "Depends on the script that is executed.",
            "Runs a Lua script of the cache that only reads.",
        ),
    |cx, args| eval(cx, args, EvalBy::Sha, true),
);

/// SCRIPT subcommand
pub const SCRIPT: Command<NodeFn> = Command::container(
    CommandSpec::new("script", -2, Group::Scripting)
        .without_group_category()
        .since("2.6.0")
        .doc("Depends on subcommand.", "Manages the cache of scripts."),
    |_, _| Err(CommandError::arity("script")),
    &[&DEBUG, &EXISTS, &FLUSH, &HELP, &KILL, &LOAD],
);

const DEBUG: Command<NodeFn> = Command::new(
    CommandSpec::new("script|debug", 3, Group::Scripting)
        .flags(Flags::NOSCRIPT)
        .since("3.2.0")
        .doc("O(1)", "Would set the debug mode of scripts; there is no debugger."),
    |cx, args| {
        if args.is(2, "no") {
            cx.reply.ok();
            return Ok(After::Done);
        }
        if args.is(2, "yes") || args.is(2, "sync") {
            return Err(CommandError::new("ERR The script debugger is not supported"));
        }
        Err(CommandError::new("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
    },
);

const EXISTS: Command<NodeFn> = Command::new(
    CommandSpec::new("script|exists", -3, Group::Scripting)
        .flags(Flags::NOSCRIPT)
        .since("2.6.0")
        .doc(
            "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
            "Tells which scripts the cache has.",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
    |cx, args| {
        cx.reply.array(args.len() - 2);
        for sha in args.iter().skip(2) {
            cx.reply.integer(i64::from(cx.node.scripts.get(sha).is_some()));
        }
        Ok(After::Done)
    },
);

const FLUSH: Command<NodeFn> = Command::new(
    CommandSpec::new("script|flush", -2, Group::Scripting)
        .flags(Flags::NOSCRIPT)
        .since("2.6.0")
        .doc("O(N) with N being the number of scripts in cache", "Empties the cache of scripts.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    |cx, args| {
        let fits =
            args.len() == 2 || (args.len() == 3 && (args.is(2, "async") || args.is(2, "sync")));
        if !fits {
            return Err(CommandError::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
        cx.node.scripts.flush();
        cx.reply.ok();
        Ok(After::Done)
    },
);

const HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("script|help", 2, Group::Scripting)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("5.0.0")
        .doc("O(1)", "Shows the subcommands."),
    |cx, _| {
        help(cx.reply, "SCRIPT", HELP_LINES);
        Ok(After::Done)
    },
);

/// As Redis words it for these two containers.
pub(super) fn help(reply: &mut resp::Reply, command: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}

const HELP_LINES: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
];

const KILL: Command<NodeFn> = Command::new(
    CommandSpec::new("script|kill", 2, Group::Scripting)
        .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY))
        .since("2.6.0")
        .doc("O(1)", "Ends the script that runs.")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    |cx, _| {
        cx.node.scripts.kill(false)?;
        cx.reply.ok();
        Ok(After::Done)
    },
);

const LOAD: Command<NodeFn> = Command::new(
    CommandSpec::new("script|load", 3, Group::Scripting)
        .flags(Flags::NOSCRIPT.union(Flags::STALE))
        .since("2.6.0")
        .doc(
            "O(N) with N being the length in bytes of the script body.",
            "Puts a script into the cache.",
        )
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    load,
);

fn load(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let sha = scripting::sha1_hex(args.at(2));
    if cx.node.scripts.get(sha.as_bytes()).is_none() {
        keep(cx, args.at(2), sha.clone())?;
    }
    cx.reply.text(&sha);
    Ok(After::Done)
}
