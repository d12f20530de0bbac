//! DEBUG: looks inside, and switches for tests.
//!
//! One command without subcommands in the table, as in Redis, so it takes no stripes at its start:
//! what looks at keys takes those that it needs here (inside EXEC all are held already). What can't
//! mean anything in this server says so.

mod keys;
mod protocol;

use crate::{After, Node, NodeCtx, NodeFn, lock};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use config::Rewrite;
use keyspace::{ExpireRule, Keys, StripeMask};
use replication::ReplId;
use resp::Args;
use std::sync::atomic::Ordering::Relaxed;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&DEBUG];

/// DEBUG subcommand [argument ...]
pub const DEBUG: Command<NodeFn> = Command::new(
    CommandSpec::new("debug", -2, Group::Server)
        .flags(
            Flags::ADMIN
                .union(Flags::NOSCRIPT)
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::WALKS),
        )
        .doc("Depends on subcommand.", "Looks inside the server; for its developers."),
    debug,
);

/// Number of arguments that a subcommand takes, DEBUG and itself included.
enum Arity {
    Exactly(usize),
    AtLeast(usize),
    Between(usize, usize),
}

impl Arity {
    fn fits(&self, count: usize) -> bool {
        match *self {
            Arity::Exactly(n) => count == n,
            Arity::AtLeast(n) => count >= n,
            Arity::Between(low, high) => (low..=high).contains(&count),
        }
    }
}

type Sub = (&'static str, Arity, NodeFn);

/// The subcommands. A name may stand there twice, with different numbers of arguments.
const SUBCOMMANDS: &[Sub] = &[
    ("help", Arity::Exactly(2), help),
    ("digest", Arity::Exactly(2), keys::digest),
    ("digest-value", Arity::AtLeast(2), keys::digest_value),
    ("object", Arity::Exactly(3), keys::object),
    ("listpack", Arity::Exactly(3), keys::listpack),
    ("quicklist", Arity::Between(3, 4), keys::quicklist),
    ("sdslen", Arity::Exactly(3), keys::sdslen),
    ("htstats", Arity::Between(3, 4), keys::htstats),
    ("htstats-key", Arity::Between(3, 4), keys::htstats_key),
    ("populate", Arity::Between(3, 5), keys::populate),
    ("protocol", Arity::Exactly(3), protocol::protocol),
    ("error", Arity::Exactly(3), error),
    ("log", Arity::Exactly(3), log),
    ("sleep", Arity::Exactly(3), sleep),
    ("active-workers", Arity::Exactly(3), active_workers),
    ("set-active-expire", Arity::Exactly(3), set_active_expire),
    ("pause-cron", Arity::Exactly(3), pause_cron),
    ("quicklist-packed-threshold", Arity::Exactly(3), packed_threshold),
    ("reload", Arity::AtLeast(2), reload),
    ("change-repl-id", Arity::Exactly(2), change_repl_id),
    ("replicate", Arity::AtLeast(3), replicate),
    ("config-rewrite-force-all", Arity::Exactly(2), rewrite_force_all),
    ("structsize", Arity::Exactly(2), structsize),
    ("stringmatch-test", Arity::Exactly(2), stringmatch_test),
    ("stringmatch-len", Arity::Exactly(4), stringmatch),
    ("set-skip-checksum-validation", Arity::Exactly(3), skip_checksum),
    ("client-eviction", Arity::Exactly(2), client_eviction),
    ("leak", Arity::Exactly(3), leak),
    ("segfault", Arity::Exactly(2), crash),
    ("panic", Arity::Exactly(2), crash),
    ("assert", Arity::Exactly(2), crash),
    ("oom", Arity::Exactly(2), crash),
    ("clusterlink", Arity::AtLeast(4), |_, _| {
        Err(CommandError::new("ERR Debug option only available for cluster mode enabled setup!"))
    }),
    ("drop-cluster-packet-filter", Arity::Exactly(3), |_, _| {
        Err(CommandError::new("ERR This instance has cluster support disabled"))
    }),
    ("loadaof", Arity::Exactly(2), load_aof),
    ("aof-flush-sleep", Arity::Exactly(3), |_, _| {
        Err(CommandError::new("ERR the append-only file has a thread of its own: no command waits"))
    }),
    ("set-disable-deny-scripts", Arity::Exactly(3), |_, _| {
        Err(CommandError::new("ERR commands that scripts may not call stay so here"))
    }),
    ("restart", Arity::Between(2, 3), no_restart),
    ("crash-and-recover", Arity::Between(2, 3), no_restart),
    ("mallctl", Arity::Between(3, 4), no_mallctl),
    ("mallctl-str", Arity::Between(3, 4), no_mallctl),
    ("replybuffer", Arity::Exactly(4), |_, _| {
        Err(CommandError::new(
            "ERR reply buffers have no fixed part here whose size could be ruled",
        ))
    }),
];

/// Source: redis 7.0 `debug.c:debugCommand`.
fn debug(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let fits = |(name, arity, _): &&Sub| args.is(1, name) && arity.fits(args.len());
    match SUBCOMMANDS.iter().find(fits) {
        Some((_, _, run)) => run(cx, args),
        None => Err(super::subcommand_error(args, "DEBUG")),
    }
}

/// Runs `f` on keys of these stripes. Inside EXEC all are held already.
fn holding<R>(cx: &mut NodeCtx<'_, '_>, mask: StripeMask, f: impl FnOnce(&mut Keys<'_>) -> R) -> R {
    if cx.keys.held().mask() != StripeMask::default() {
        return f(cx.keys);
    }
    let mut options = cx.keys.options;
    if options.expire == ExpireRule::Remove {
        // A removal would have to be on the log before these stripes are let go.
        options.expire = ExpireRule::Hide;
    }
    let node = cx.node;
    let mut keys = Keys::new(node.keyspace.hold(mask), cx.keys.db, options);
    let result = f(&mut keys);
    let mut done = keys.finish();
    let changes = &mut cx.keys.changes;
    changes.dirty += done.dirty;
    changes.events.append(&mut done.events);
    changes.ready.append(&mut done.ready);
    changes.trash.append(&mut done.trash);
    changes.tables.append(&mut done.tables);
    result
}

/// As C's `atoi`: what is no number counts as 0.
fn switch(arg: &[u8]) -> bool {
    stdx::parse_i64(arg).is_some_and(|n| n != 0)
}

fn ok(cx: &mut NodeCtx<'_, '_>) -> Result {
    cx.reply.ok();
    Ok(After::Done)
}

fn error(_: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    Err(CommandError::owned(String::from_utf8_lossy(args.at(2)).into_owned()))
}

fn log(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    cx.node.host.log(3, &format!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2))));
    ok(cx)
}

fn sleep(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let seconds = stdx::parse_f64(args.at(2)).filter(|s| s.is_finite() && *s > 0.0).unwrap_or(0.0);
    cx.node.host.sleep_all((seconds * 1e6) as u64);
    ok(cx)
}

/// Ours: how many workers serve, for tests of connections that move.
fn active_workers(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let workers = stdx::parse_i64(args.at(2)).and_then(|n| usize::try_from(n).ok());
    cx.node.host.set_active_workers(
        workers.ok_or(CommandError::new("ERR value is not an integer or out of range"))?,
    );
    ok(cx)
}

fn set_active_expire(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    cx.node.active_expire.store(switch(args.at(2)), Relaxed);
    ok(cx)
}

fn pause_cron(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    cx.node.cron_paused.store(switch(args.at(2)), Relaxed);
    ok(cx)
}

/// Size from which a list element has a node of its own, unless changed.
const PACKED_THRESHOLD: usize = 1 << 30;

/// Source: redis 7.0 `quicklist.c:quicklistisSetPackedThreshold`.
fn packed_threshold(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let bytes = memory_size(args.at(2)).filter(|&bytes| bytes <= (1 << 32) - (1 << 20)).ok_or(
        CommandError::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb"),
    )?;
    let bytes = if bytes == 0 { PACKED_THRESHOLD } else { bytes as usize };
    cx.node.quicklist_packed_threshold.store(bytes, Relaxed);
    let _one_at_a_time = lock(&cx.node.config_lock);
    let config = cx.node.settings.load().config.clone();
    cx.node.set_config(config);
    ok(cx)
}

/// A number with an optional unit. Source: redis 7.0 `util.c:memtoull`.
fn memory_size(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let unit = match text[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    stdx::parse_u64(&text[..digits])?.checked_mul(unit)
}

fn reload(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (mut save, mut flush) = (true, true);
    for at in 2..args.len() {
        if args.is(at, "nosave") {
            save = false;
        } else if args.is(at, "noflush") {
            flush = false;
        } else if !args.is(at, "merge") {
            return Err(CommandError::new(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    if cx.in_exec {
        // The file is written and read by others, who need the stripes that EXEC holds.
        return Err(CommandError::new("ERR DEBUG RELOAD is not possible inside a transaction"));
    }
    cx.node.host.reload(save, flush).map_err(CommandError::owned)?;
    ok(cx)
}

fn change_repl_id(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let digits = cx.node.host.random_hex(ReplId::LEN);
    let id = ReplId::parse(digits.as_bytes())
        .ok_or(CommandError::new("ERR no random digits to be had"))?;
    cx.node.log.change_replid(id);
    cx.node.host.log(2, "Changing replication IDs after receiving change-repl-id");
    ok(cx)
}

/// Puts a command into the replicas' stream without running it here.
fn replicate(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.node.records(false) {
        cx.worker.record.push_args(None, replication::Targets::ALL, &args.tail(2));
    }
    ok(cx)
}

fn rewrite_force_all(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let _one_at_a_time = lock(&cx.node.config_lock);
    cx.node.rewrite_whole_config().map_err(|why| {
        CommandError::owned(format!(
            "ERR CONFIG-REWRITE-FORCE-ALL failed: {}",
            why.trim_start_matches("ERR ")
        ))
    })?;
    ok(cx)
}

fn structsize(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let text = format!(
        "bits:{} entry:{} value:{} client:{} session:{} stripe:{} ",
        usize::BITS,
        size_of::<structures::Entry>(),
        size_of::<structures::Value>(),
        size_of::<crate::ClientInfo>(),
        size_of::<crate::Session>(),
        size_of::<keyspace::StripeData>(),
    );
    cx.reply.text(&text);
    Ok(After::Done)
}

/// Patterns tried by STRINGMATCH-TEST.
const PATTERNS: usize = 20_000;

fn stringmatch_test(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    const LETTERS: &[u8] = b"ab*?[]^-\\";
    let rng = &mut cx.worker.rng;
    let mut random = |len: u64| -> Vec<u8> {
        let len = rng.below(len);
        (0..len).map(|_| LETTERS[rng.below(LETTERS.len() as u64) as usize]).collect()
    };
    for _ in 0..PATTERNS {
        let (pattern, text) = (random(32), random(32));
        stdx::glob_match(&pattern, &text, false);
    }
    cx.reply.simple("Apparently Redis did not crash: test passed");
    Ok(After::Done)
}

/// STRINGMATCH-LEN pattern string: 1 if it matches.
fn stringmatch(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    cx.reply.integer(i64::from(stdx::glob_match(args.at(2), args.at(3), false)));
    Ok(After::Done)
}

fn skip_checksum(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if switch(args.at(2)) {
        return Err(CommandError::new("ERR checksums are always verified here"));
    }
    ok(cx)
}

fn client_eviction(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let config = &cx.worker.settings.config;
    if config.maxmemory_clients.bytes(config.maxmemory) == 0 {
        return Err(CommandError::new("ERR maxmemory-clients is disabled."));
    }
    Err(CommandError::new("ERR clients are not evicted yet"))
}

fn leak(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    Box::leak(Box::<[u8]>::from(args.at(2)));
    ok(cx)
}

fn crash(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let how = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
    cx.node.host.crash(&how);
    // A host may outlive it (the simulator ends the node, not itself).
    Err(CommandError::new("ERR the process did not end"))
}

fn load_aof(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    if cx.in_exec {
        return Err(CommandError::new("ERR DEBUG LOADAOF is not possible inside a transaction"));
    }
    cx.node.host.load_aof().map_err(CommandError::owned)?;
    ok(cx)
}

fn no_restart(_: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    Err(CommandError::new(
        "ERR this server does not start itself again; use SHUTDOWN and whatever started it",
    ))
}

fn no_mallctl(_: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    Err(CommandError::new(
        "ERR the allocator's settings are not to be reached; see MEMORY MALLOC-STATS and MEMORY PURGE",
    ))
}

fn help(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    super::help(cx.reply, "DEBUG", HELP_LINES);
    Ok(After::Done)
}

const HELP_LINES: &[&str] = &[
    "ACTIVE-WORKERS <count>",
    "    Let the first so many workers serve all connections; 0 leaves it to the server.",
    "ASSERT",
    "    End the process as a failed assertion would.",
    "CHANGE-REPL-ID",
    "    Take a new replication id and forget the old ones; for tests of replication only.",
    "CLIENT-EVICTION",
    "    Show what maxmemory-clients would evict.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE, but with a line for every directive, defaults included.",
    "DIGEST",
    "    Return a sum over all data.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Return a sum over the value of each key.",
    "ERROR <string>",
    "    Answer with <string> as an error.",
    "HTSTATS <dbid>",
    "    Show figures of the tables of a database.",
    "HTSTATS-KEY <key>",
    "    The same for a value that is stored as a table.",
    "LEAK <string>",
    "    Lose the memory of <string>.",
    "LISTPACK <key>",
    "    Describe the listpack of <key> in the log.",
    "LOG <message>",
    "    Write <message> to the log.",
    "OBJECT <key>",
    "    Show how the value of <key> is stored.",
    "OOM",
    "    End the process as a lack of memory would.",
    "PANIC",
    "    End the process as a bug would.",
    "PAUSE-CRON <0|1>",
    "    Hold the periodic work back.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named <prefix>:<num> (default prefix: key), here alone: replicas",
    "    don't get them. Keys that are there already stay as they are.",
    "PROTOCOL <type>",
    "    Answer with a value of a type: string, integer, double, bignum, null, array, set, map,",
    "    attrib, push, verbatim, true, false.",
    "QUICKLIST <key> [<0|1>]",
    "    Describe the nodes of a list in the log; 1: with their elements.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Size from which a list element has a node of its own; 0: the default, 1gb.",
    "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
    "    Save the data set, drop it and load it again. NOSAVE: load the file as it is. NOFLUSH: keep",
    "    what is there; keys of the file replace it.",
    "REPLICATE <command> [<arg> ...]",
    "    Put a command into the stream to the replicas without running it here.",
    "SDSLEN <key>",
    "    Show the lengths of a key and its string.",
    "SEGFAULT",
    "    End the process by a bad memory access.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    With 0, expired keys go only when somebody asks for them.",
    "SLEEP <seconds>",
    "    Let the whole server stand still; decimals are allowed.",
    "STRINGMATCH-LEN <pattern> <string>",
    "    Return 1 if the pattern matches.",
    "STRINGMATCH-TEST",
    "    Match many random patterns.",
    "STRUCTSIZE",
    "    Return the sizes of some structures.",
];

impl Node {
    /// CONFIG REWRITE with a line for every directive.
    fn rewrite_whole_config(&self) -> std::result::Result<(), String> {
        let old = self.host.read_config_file()?;
        let mut rewrite = Rewrite::new(old.as_bytes());
        rewrite.force_all();
        self.settings.load().config.rewrite_into(&mut rewrite, false);
        self.host.write_config_file(&String::from_utf8_lossy(&rewrite.finish()))
    }
}
