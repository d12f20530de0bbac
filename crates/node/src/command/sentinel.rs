//! SENTINEL and its subcommands, which only a sentinel has; and the way of ROLE and PUBLISH there.
//!
//! The table is for COMMAND, ACL and the check of arguments. What the subcommands do is decided by
//! the room behind [`crate::SentinelMode`].

use crate::session::Waiting;
use crate::{After, NodeCtx, NodeFn};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::Args;
use std::sync::atomic::Ordering::Relaxed;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&SENTINEL];

const ONLY: Flags = Flags::SENTINEL.union(Flags::ONLY_SENTINEL);

const fn sub(
    name: &'static str,
    arity: i32,
    since: &'static str,
    summary: &'static str,
) -> Command<NodeFn> {
    let spec =
        CommandSpec::new(name, arity, Group::Sentinel).flags(ONLY.union(Flags::ADMIN)).since(since);
    Command::new(
        spec.doc("O(N) where N is the number of masters and of what is known of them", summary),
        run,
    )
}

/// SENTINEL subcommand
pub const SENTINEL: Command<NodeFn> = Command::container(
    CommandSpec::new("sentinel", -2, Group::Sentinel)
        .flags(ONLY.union(Flags::ADMIN))
        .since("2.8.4")
        .doc("Depends on subcommand.", "Asks a sentinel, or tells it what to do."),
    run,
    &[
        &CKQUORUM,
        &CONFIG,
        &DEBUG,
        &FAILOVER,
        &FLUSHCONFIG,
        &GET_MASTER,
        &GET_PRIMARY,
        &HELP,
        &INFO_CACHE,
        &IS_MASTER_DOWN,
        &IS_PRIMARY_DOWN,
        &MASTER,
        &MASTERS,
        &MONITOR,
        &MYID,
        &PENDING_SCRIPTS,
        &PRIMARIES,
        &PRIMARY,
        &REMOVE,
        &REPLICAS,
        &RESET,
        &SENTINELS,
        &SET,
        &SIMULATE_FAILURE,
        &SLAVES,
    ],
);

const CKQUORUM: Command<NodeFn> =
    sub("sentinel|ckquorum", 3, "2.8.4", "Tells whether a failover could be authorized now.");
const CONFIG: Command<NodeFn> =
    sub("sentinel|config", -3, "6.2.0", "Reads and changes settings of the whole sentinel.");
const DEBUG: Command<NodeFn> =
    sub("sentinel|debug", -2, "7.0.0", "Reads and changes the periods of a sentinel.");
const FAILOVER: Command<NodeFn> = sub(
    "sentinel|failover",
    -3,
    "2.8.4",
    "Has a replica take over, and the master hand over if it can.",
);
const FLUSHCONFIG: Command<NodeFn> =
    sub("sentinel|flushconfig", 2, "2.8.4", "Writes the configuration file anew.");
const GET_MASTER: Command<NodeFn> =
    sub("sentinel|get-master-addr-by-name", 3, "2.8.4", "Tells the address of a master.");
const GET_PRIMARY: Command<NodeFn> =
    sub("sentinel|get-primary-addr-by-name", 3, "8.0.0", "Tells the address of a master.");
const INFO_CACHE: Command<NodeFn> =
    sub("sentinel|info-cache", -3, "3.2.0", "Shows the last INFO of masters and replicas.");
const IS_MASTER_DOWN: Command<NodeFn> = sub(
    "sentinel|is-master-down-by-addr",
    6,
    "2.8.4",
    "Asks for an opinion about a master, and for a vote.",
);
const IS_PRIMARY_DOWN: Command<NodeFn> = sub(
    "sentinel|is-primary-down-by-addr",
    6,
    "8.0.0",
    "Asks for an opinion about a master, and for a vote.",
);
const MASTER: Command<NodeFn> = sub("sentinel|master", 3, "2.8.4", "Shows one master.");
const MASTERS: Command<NodeFn> = sub("sentinel|masters", 2, "2.8.4", "Shows all masters.");
const MONITOR: Command<NodeFn> = sub("sentinel|monitor", 6, "2.8.4", "Starts watching a master.");
const MYID: Command<NodeFn> = sub("sentinel|myid", 2, "6.2.0", "Tells the sentinel's run id.");
const PENDING_SCRIPTS: Command<NodeFn> =
    sub("sentinel|pending-scripts", 2, "2.8.4", "Shows scripts that run or wait.");
const PRIMARIES: Command<NodeFn> = sub("sentinel|primaries", 2, "8.0.0", "Shows all masters.");
const PRIMARY: Command<NodeFn> = sub("sentinel|primary", 3, "8.0.0", "Shows one master.");
const REMOVE: Command<NodeFn> = sub("sentinel|remove", 3, "2.8.4", "Stops watching a master.");
const REPLICAS: Command<NodeFn> =
    sub("sentinel|replicas", 3, "5.0.0", "Shows the replicas of a master.");
const RESET: Command<NodeFn> =
    sub("sentinel|reset", 3, "2.8.4", "Forgets what was learned about masters.");
const SENTINELS: Command<NodeFn> =
    sub("sentinel|sentinels", 3, "2.8.4", "Shows the other sentinels of a master.");
const SET: Command<NodeFn> = sub("sentinel|set", -5, "2.8.4", "Changes settings of a master.");
const SIMULATE_FAILURE: Command<NodeFn> =
    sub("sentinel|simulate-failure", -3, "3.2.0", "Makes the sentinel crash in a failover.");
const SLAVES: Command<NodeFn> = {
    let mut command = sub("sentinel|slaves", 3, "2.8.0", "Shows the replicas of a master.");
    command.spec = command.spec.deprecated("5.0.0", "`SENTINEL REPLICAS`");
    command
};
const HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("sentinel|help", 2, Group::Sentinel)
        .flags(ONLY.union(Flags::LOADING).union(Flags::STALE))
        .since("6.2.0")
        .doc("O(1)", "Lists the subcommands."),
    run,
);

/// Hands a command to the sentinel; its reply may have to wait for the disk.
pub(crate) fn run(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let node = cx.node;
    let Some(mode) = node.sentinel() else {
        // A data node's registry does not hand these commands out.
        return Err(CommandError::new("ERR This instance is not a sentinel"));
    };
    match mode.command(&cx.session.info, args, cx.reply) {
        None => Ok(After::Done),
        Some(ticket) => {
            cx.session.waiting = Some(Waiting { ticket });
            cx.session.info.blocked.store(true, Relaxed);
            Ok(After::Blocked)
        }
    }
}
