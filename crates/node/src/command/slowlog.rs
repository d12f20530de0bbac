//! SLOWLOG: commands that took long. They are noted by `exec`, after each run.

use crate::{After, NodeCtx, NodeFn, SlowEntry, lock};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::Args;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&SLOWLOG];

const ADMIN: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);

/// SLOWLOG subcommand
pub const SLOWLOG: Command<NodeFn> = Command::container(
    CommandSpec::new("slowlog", -2, Group::Server)
        .since("2.2.12")
        .doc("Depends on subcommand.", "Shows commands that took long."),
    |_, _| Err(CommandError::arity("slowlog")),
    &[&GET, &HELP, &LEN, &RESET],
);

const GET: Command<NodeFn> = Command::new(
    CommandSpec::new("slowlog|get", -2, Group::Server)
        .flags(ADMIN)
        .since("2.2.12")
        .doc("O(N) where N is the number of entries returned", "Lists the newest slow commands.")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    get,
);

/// Entries shown unless told otherwise.
const SHOWN: usize = 10;

/// Source: redis 7.0 `slowlog.c:slowlogCommand`.
fn get(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if args.len() > 3 {
        return Err(super::subcommand_error(args, "SLOWLOG"));
    }
    let count = match args.get(2) {
        None => SHOWN,
        Some(arg) => {
            let error = CommandError::new("ERR count should be greater than or equal to -1");
            let count = stdx::parse_i64(arg).filter(|&count| count >= -1).ok_or(error)?;
            usize::try_from(count).unwrap_or(usize::MAX)
        }
    };
    // The entries are few and short: copying them keeps the lock short.
    let entries: Vec<SlowEntry> =
        lock(&cx.node.slowlog).entries.iter().take(count).cloned().collect();
    cx.reply.array(entries.len());
    for entry in &entries {
        cx.reply.array(6);
        cx.reply.integer(entry.id as i64);
        cx.reply.integer(entry.time);
        cx.reply.integer(entry.usec as i64);
        cx.reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| cx.reply.bulk(arg));
        cx.reply.text(&entry.addr);
        cx.reply.text(&entry.name);
    }
    Ok(After::Done)
}

const LEN: Command<NodeFn> = Command::new(
    CommandSpec::new("slowlog|len", 2, Group::Server)
        .flags(ADMIN)
        .since("2.2.12")
        .doc("O(1)", "Counts the slow commands that are kept.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    |cx, _| {
        let len = lock(&cx.node.slowlog).entries.len();
        cx.reply.count(len);
        Ok(After::Done)
    },
);

const RESET: Command<NodeFn> = Command::new(
    CommandSpec::new("slowlog|reset", 2, Group::Server)
        .flags(ADMIN)
        .since("2.2.12")
        .doc("O(N) where N is the number of entries in the slowlog", "Forgets the slow commands.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    |cx, _| {
        lock(&cx.node.slowlog).entries.clear();
        cx.reply.ok();
        Ok(After::Done)
    },
);

const HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("slowlog|help", 2, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("6.2.0")
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "SLOWLOG",
            &[
                "GET [<count>]",
                "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
                "    Entries are made of:",
                "    id, timestamp, time in microseconds, arguments array, client IP and port,",
                "    client name",
                "LEN",
                "    Return the length of the slowlog.",
                "RESET",
                "    Reset the slowlog.",
            ],
        );
        Ok(After::Done)
    },
);
