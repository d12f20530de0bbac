//! FCALL, FUNCTION.
//! Source: redis 7.0 `functions.c`.

use super::scripting::{READS_KEYS, RUNS, RUNS_RO, WRITES_KEYS, help};
use crate::script::{RestorePolicy, fcall};
use crate::{After, Node, NodeCtx, NodeFn, lock};
use commands::{Command, CommandError, CommandSpec, Flags, Group, keynum};
use resp::Args;
use std::sync::atomic::Ordering;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&FCALL, &FCALL_RO, &FUNCTION];

/// Changes the libraries: nobody may be running one of their functions.
const CHANGES: Flags = Flags::WRITE.union(Flags::NOSCRIPT).union(Flags::ALL_STRIPES);
const ALL: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
/// A library that is loaded for longer is given up, microseconds.
const LOAD_US: u64 = 500_000;

/// FCALL function numkeys [key ...] [arg ...]
pub const FCALL: Command<NodeFn> = Command::new(
    CommandSpec::new("fcall", -3, Group::Scripting)
        .flags(RUNS)
        .keys(&[keynum(2, WRITES_KEYS).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )])
        .since("7.0.0")
        .doc("Depends on the function that is executed.", "Calls a function."),
    |cx, args| fcall(cx, args, false),
);

/// FCALL_RO function numkeys [key ...] [arg ...]
pub const FCALL_RO: Command<NodeFn> = Command::new(
    CommandSpec::new("fcall_ro", -3, Group::Scripting)
        .flags(RUNS_RO)
        .keys(&[keynum(2, READS_KEYS).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )])
        .since("7.0.0")
        .doc("Depends on the function that is executed.", "Calls a function that only reads."),
    |cx, args| fcall(cx, args, true),
);

/// FUNCTION subcommand
pub const FUNCTION: Command<NodeFn> = Command::container(
    CommandSpec::new("function", -2, Group::Scripting)
        .without_group_category()
        .since("7.0.0")
        .doc("Depends on subcommand.", "Manages libraries of functions."),
    |_, _| Err(CommandError::arity("function")),
    &[&DELETE, &DUMP, &FLUSH, &HELP, &KILL, &LIST, &LOAD, &RESTORE, &STATS],
);

const DELETE: Command<NodeFn> = Command::new(
    CommandSpec::new("function|delete", 3, Group::Scripting)
        .flags(CHANGES)
        .since("7.0.0")
        .doc("O(1)", "Removes a library.")
        .tips(ALL),
    |cx, args| {
        if !lock(&cx.node.scripts.functions).delete(args.at(2)) {
            return Err(CommandError::new("ERR Library not found"));
        }
        changed(cx);
        cx.reply.ok();
        Ok(After::Propagate)
    },
);

/// Counts a change of the libraries as one of the data set.
fn changed(cx: &mut NodeCtx<'_, '_>) {
    let dirty = &cx.worker.stats.dirty;
    dirty.store(dirty.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

const DUMP: Command<NodeFn> = Command::new(
    CommandSpec::new("function|dump", 2, Group::Scripting)
        .flags(Flags::NOSCRIPT)
        .since("7.0.0")
        .doc("O(N) where N is the number of functions", "Returns all libraries as a payload."),
    |cx, _| {
        let sources = cx.node.function_sources();
        let compress = cx.worker.settings.env.compress;
        let payload = persistence::dump::function_dump_payload(
            sources.iter().map(Vec::as_slice),
            &persistence::rdb::EncodeOptions {
                compress,
                ..persistence::rdb::EncodeOptions::default()
            },
        );
        cx.reply.bulk(&payload);
        Ok(After::Done)
    },
);

const FLUSH: Command<NodeFn> = Command::new(
    CommandSpec::new("function|flush", -2, Group::Scripting)
        .flags(CHANGES)
        .since("7.0.0")
        .doc("O(N) where N is the number of functions deleted", "Removes all libraries.")
        .tips(ALL),
    |cx, args| {
        if args.len() > 3 {
            let name = args.at(1);
            return Err(CommandError::quoting(&[
                b"ERR unknown subcommand or wrong number of arguments for '",
                &name[..name.len().min(128)],
                b"'. Try FUNCTION HELP.",
            ]));
        }
        if args.len() == 3 && !args.is(2, "sync") && !args.is(2, "async") {
            return Err(CommandError::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
        }
        lock(&cx.node.scripts.functions).flush();
        cx.node.scripts.vm_functions.store(0, Ordering::Relaxed);
        changed(cx);
        cx.reply.ok();
        Ok(After::Propagate)
    },
);

const HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("function|help", 2, Group::Scripting)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("7.0.0")
        .doc("O(1)", "Shows the subcommands."),
    |cx, _| {
        help(cx.reply, "FUNCTION", HELP_LINES);
        Ok(After::Done)
    },
);

const HELP_LINES: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];

const KILL: Command<NodeFn> = Command::new(
    CommandSpec::new("function|kill", 2, Group::Scripting)
        .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY))
        .since("7.0.0")
        .doc("O(1)", "Ends the function that runs.")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    |cx, _| {
        cx.node.scripts.kill(true)?;
        cx.reply.ok();
        Ok(After::Done)
    },
);

const LIST: Command<NodeFn> = Command::new(
    CommandSpec::new("function|list", -2, Group::Scripting)
        .flags(Flags::NOSCRIPT)
        .since("7.0.0")
        .doc("O(N) where N is the number of functions", "Lists libraries and their functions.")
        .tips(&["nondeterministic_output_order"]),
    list,
);

fn list(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (mut with_code, mut pattern, mut at) = (false, None, 2);
    while at < args.len() {
        if !with_code && args.is(at, "withcode") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "libraryname") {
            at += 1;
            let missing = CommandError::new("ERR library name argument was not given");
            pattern = Some(args.get(at).ok_or(missing)?);
        } else {
            return Err(CommandError::quoting(&[b"ERR Unknown argument ", args.at(at)]));
        }
        at += 1;
    }
    let functions = lock(&cx.node.scripts.functions);
    let shown: Vec<_> = functions
        .libraries
        .values()
        .filter(|library| {
            pattern.is_none_or(|pattern| stdx::glob_match(pattern, library.name.as_bytes(), true))
        })
        .collect();
    cx.reply.array(shown.len());
    for library in shown {
        cx.reply.map(if with_code { 4 } else { 3 });
        cx.reply.text("library_name");
        cx.reply.text(&library.name);
        cx.reply.text("engine");
        cx.reply.text("LUA");
        cx.reply.text("functions");
        cx.reply.array(library.functions.len());
        for function in library.functions.values() {
            cx.reply.map(3);
            cx.reply.text("name");
            cx.reply.text(&function.name);
            cx.reply.text("description");
            match &function.description {
                Some(text) => cx.reply.bulk(text),
                None => cx.reply.null(),
            }
            cx.reply.text("flags");
            let names = function.flags.names();
            cx.reply.set(names.len());
            names.iter().for_each(|name| cx.reply.simple(name));
        }
        if with_code {
            cx.reply.text("library_code");
            cx.reply.bulk(&library.source);
        }
    }
    Ok(After::Done)
}

const LOAD: Command<NodeFn> = Command::new(
    CommandSpec::new("function|load", -3, Group::Scripting)
        .flags(CHANGES.union(Flags::DENYOOM))
        .since("7.0.0")
        .doc("O(1) (considering compilation time is redundant)", "Adds a library.")
        .tips(ALL),
    load,
);

fn load(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (mut replace, mut at) = (false, 2);
    while at + 1 < args.len() {
        if !args.is(at, "replace") {
            return Err(CommandError::quoting(&[b"ERR Unknown option given: ", args.at(at)]));
        }
        replace = true;
        at += 1;
    }
    let name = cx
        .node
        .load_functions(args.at(at), replace)
        .map_err(|text| CommandError::quoting(&[&text]))?;
    changed(cx);
    cx.reply.text(&name);
    Ok(After::Propagate)
}

const RESTORE: Command<NodeFn> = Command::new(
    CommandSpec::new("function|restore", -3, Group::Scripting)
        .flags(CHANGES.union(Flags::DENYOOM))
        .since("7.0.0")
        .doc(
            "O(N) where N is the number of functions on the payload",
            "Adds libraries of a payload.",
        )
        .tips(ALL),
    restore,
);

fn restore(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if args.len() > 4 {
        return Err(super::subcommand_error(args, "FUNCTION"));
    }
    let policy = match args.get(3) {
        None => RestorePolicy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"append") => RestorePolicy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"replace") => RestorePolicy::Replace,
        Some(word) if word.eq_ignore_ascii_case(b"flush") => RestorePolicy::Flush,
        Some(_) => {
            return Err(CommandError::new(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let sources = persistence::dump::function_restore_payload(args.at(2))
        .map_err(|error| CommandError::owned(error.to_string()))?;
    cx.node.restore_functions(&sources, policy).map_err(|text| CommandError::quoting(&[&text]))?;
    changed(cx);
    cx.reply.ok();
    Ok(After::Propagate)
}

const STATS: Command<NodeFn> = Command::new(
    CommandSpec::new("function|stats", 2, Group::Scripting)
        .flags(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY))
        .since("7.0.0")
        .doc("O(1)", "Tells of the function that runs, and of the engines.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    stats,
);

fn stats(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let late = cx.node.scripts.late_one();
    if late.as_ref().is_some_and(|running| !running.is_function) {
        return Err(cx.node.scripts.busy_error());
    }
    cx.reply.map(2);
    cx.reply.text("running_script");
    match late.as_ref().and_then(|running| Some((running, running.called.get()?))) {
        None => cx.reply.null(),
        Some((running, (name, command))) => {
            let command = command.as_args();
            cx.reply.map(3);
            cx.reply.text("name");
            cx.reply.text(name);
            cx.reply.text("command");
            cx.reply.array(command.len());
            command.iter().for_each(|arg| cx.reply.bulk(arg));
            cx.reply.text("duration_ms");
            let now = cx.node.host.mono_us();
            cx.reply.integer((now.saturating_sub(running.started_us) / 1000) as i64);
        }
    }
    let functions = lock(&cx.node.scripts.functions);
    cx.reply.text("engines");
    cx.reply.map(1);
    cx.reply.text("LUA");
    cx.reply.map(2);
    cx.reply.text("libraries_count");
    cx.reply.count(functions.libraries.len());
    cx.reply.text("functions_count");
    cx.reply.count(functions.count());
    Ok(After::Done)
}

impl Node {
    /// The sources of all libraries.
    pub fn function_sources(&self) -> Vec<Vec<u8>> {
        let functions = lock(&self.scripts.functions);
        functions.libraries.values().map(|library| library.source.clone()).collect()
    }

    /// Adds a library; returns its name. The error is a reply's text. No function may be running.
    pub fn load_functions(
        &self,
        source: &[u8],
        replace: bool,
    ) -> std::result::Result<String, Vec<u8>> {
        let until = self.host.mono_us().saturating_add(LOAD_US);
        let mut go_on = || self.host.mono_us() < until;
        let mut log = |level: u8, line: &[u8]| self.host.log(level, &String::from_utf8_lossy(line));
        let random = &self.scripts.random;
        lock(&self.scripts.functions).load(random, source, replace, &mut go_on, &mut log)
    }

    /// Adds libraries: all of them, or none.
    pub fn restore_functions(
        &self,
        sources: &[Vec<u8>],
        policy: RestorePolicy,
    ) -> std::result::Result<(), Vec<u8>> {
        let until = self.host.mono_us().saturating_add(LOAD_US * (sources.len() as u64).max(1));
        let mut go_on = || self.host.mono_us() < until;
        let mut log = |level: u8, line: &[u8]| self.host.log(level, &String::from_utf8_lossy(line));
        let random = &self.scripts.random;
        lock(&self.scripts.functions).restore(random, sources, policy, &mut go_on, &mut log)
    }

    /// Removes all libraries.
    pub fn flush_functions(&self) {
        lock(&self.scripts.functions).flush();
    }
}
