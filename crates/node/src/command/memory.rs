//! MEMORY: what keys and the server cost.

use super::info::{KeyspaceWalk, MemoryReport, human_bytes};
use crate::{After, NodeCtx, NodeFn};
use commands::{Command, CommandError, CommandSpec, Flags, Group, KeyFlags, at};
use resp::{Args, Reply};

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&MEMORY];

const SLOW: &str = "Depends on how much memory is allocated, could be slow";
const REPORT: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const fn spec(name: &'static str, arity: i32) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Server).since("4.0.0")
}

/// MEMORY subcommand
pub const MEMORY: Command<NodeFn> = Command::container(
    spec("memory", -2).doc("Depends on subcommand.", "Tells what memory is used for."),
    |_, _| Err(CommandError::arity("memory")),
    &[&DOCTOR, &HELP, &MALLOC_STATS, &PURGE, &STATS, &USAGE],
);

const USAGE: Command<NodeFn> = Command::new(
    spec("memory|usage", -3)
        .flags(Flags::READONLY)
        .keys(&[at(2, KeyFlags::RO)])
        .doc("O(N) where N is the number of samples.", "Tells what a key costs."),
    usage,
);

/// Source: redis 7.0 `object.c:memoryCommand` (USAGE).
fn usage(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let mut samples = commands::mem::SAMPLES_DEFAULT;
    for index in (3..args.len()).step_by(2) {
        let value = args
            .get(index + 1)
            .filter(|_| args.is(index, "samples"))
            .ok_or(CommandError::SYNTAX)?;
        let number = stdx::parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
        samples = usize::try_from(number).map_err(|_| CommandError::SYNTAX)?;
    }
    match cx.keys.peek(args.at(2)) {
        Some(entry) => cx.reply.count(commands::mem::usage(entry, samples)),
        None => cx.reply.null(),
    }
    Ok(After::Done)
}

const STATS: Command<NodeFn> = Command::new(
    spec("memory|stats", 2)
        .flags(Flags::WALKS)
        .doc("O(1)", "Tells what memory is used for.")
        .tips(REPORT),
    stats,
);

/// Source: redis 7.0 `object.c:memoryCommand` (STATS).
fn stats(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let walk = KeyspaceWalk::new(cx);
    let report = MemoryReport::new(cx, &walk);
    let facts = &report.facts;
    let reply = &mut *cx.reply;
    let dbs = walk.dbs.iter().enumerate().filter(|(_, db)| db.keys > 0);
    reply.map(27 + dbs.clone().count());
    integer(reply, "peak.allocated", facts.used_memory_peak);
    integer(reply, "total.allocated", facts.used_memory);
    integer(reply, "startup.allocated", facts.used_memory_startup);
    integer(reply, "replication.backlog", report.backlog);
    integer(reply, "clients.slaves", report.clients_slaves);
    integer(reply, "clients.normal", report.clients_normal);
    let scripts = cx.node.scripts.memory();
    integer(reply, "cluster.links", 0);
    integer(reply, "aof.buffer", cx.node.log.file_pending_bytes() as u64);
    integer(reply, "lua.caches", scripts.cached_bytes);
    integer(reply, "functions.caches", scripts.library_bytes);
    for (index, db) in dbs {
        reply.text(&format!("db.{index}"));
        reply.map(3);
        integer(reply, "overhead.hashtable.main", db.table_bytes);
        integer(reply, "overhead.hashtable.expires", db.index_bytes);
        integer(reply, "overhead.hashtable.slot-to-keys", 0);
    }
    integer(reply, "overhead.total", report.overhead);
    integer(reply, "keys.count", report.keys);
    let per_key = report.net_usage().checked_div(report.keys).unwrap_or(0);
    integer(reply, "keys.bytes-per-key", per_key);
    integer(reply, "dataset.bytes", report.dataset);
    double(reply, "dataset.percentage", report.dataset_percent());
    double(reply, "peak.percentage", report.peak_percent());
    let (allocated, active, resident) = facts.allocator;
    integer(reply, "allocator.allocated", allocated);
    integer(reply, "allocator.active", active);
    integer(reply, "allocator.resident", resident);
    pair(
        reply,
        ["allocator-fragmentation.ratio", "allocator-fragmentation.bytes"],
        active,
        allocated,
    );
    pair(reply, ["allocator-rss.ratio", "allocator-rss.bytes"], resident, active);
    pair(reply, ["rss-overhead.ratio", "rss-overhead.bytes"], facts.rss, resident);
    pair(reply, ["fragmentation", "fragmentation.bytes"], facts.rss, facts.used_memory);
    Ok(After::Done)
}

fn integer(reply: &mut Reply, name: &str, value: u64) {
    reply.text(name);
    reply.integer(value as i64);
}

fn double(reply: &mut Reply, name: &str, value: f64) {
    reply.text(name);
    reply.double(value);
}

fn pair(reply: &mut Reply, names: [&str; 2], a: u64, b: u64) {
    double(reply, names[0], super::info::ratio(a, b));
    reply.text(names[1]);
    reply.integer(super::info::difference(a, b));
}

const DOCTOR: Command<NodeFn> = Command::new(
    spec("memory|doctor", 2)
        .flags(Flags::WALKS)
        .doc("O(1)", "Looks for problems with memory.")
        .tips(REPORT),
    |cx, _| {
        let walk = KeyspaceWalk::new(cx);
        let text = diagnosis(&MemoryReport::new(cx, &walk));
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

/// Below this there is nothing to say.
const SMALL: u64 = 5 << 20;

/// What is noteworthy. The thresholds are those of redis 7.0 `object.c:getMemoryDoctorReport`.
fn diagnosis(report: &MemoryReport) -> String {
    let facts = &report.facts;
    if facts.used_memory < SMALL {
        return "This node holds very little data: there is nothing to diagnose yet.\n".into();
    }
    let (allocated, active, resident) = facts.allocator;
    let high = |a: u64, b: u64, ratio: f64| {
        super::info::ratio(a, b) > ratio && super::info::difference(a, b) > 10 << 20
    };
    let mut found = Vec::new();
    if super::info::ratio(facts.used_memory_peak, facts.used_memory) > 1.5 {
        found.push(format!(
            "The peak of memory use ({}) was more than one and a half times what is in use now ({}). The allocator may \
             keep pages of that time; MEMORY PURGE gives back what it can.",
            human_bytes(facts.used_memory_peak),
            human_bytes(facts.used_memory)
        ));
    }
    if high(active, allocated, 1.1) {
        found.push(format!(
            "The allocator's pages are only partly filled: {} in use out of {}. That comes from values of changing sizes.",
            human_bytes(allocated),
            human_bytes(active)
        ));
    }
    if high(resident, active, 1.1) {
        found.push(format!(
            "The allocator holds {} that nothing uses. MEMORY PURGE gives it back to the system.",
            human_bytes(resident - active)
        ));
    }
    if high(facts.rss, resident, 1.1) {
        found.push(format!(
            "{} of the process's memory do not come from the allocator.",
            human_bytes(facts.rss - resident)
        ));
    }
    if report.clients_normal > 0 && report.clients_normal > facts.used_memory / 5 {
        found.push("Buffers of clients take more than a fifth of the memory: see CLIENT LIST for large omem and qbuf.".into());
    }
    if report.clients_slaves > 10 << 20 {
        found
            .push("Replicas are behind: what they have not read yet takes more than 10 MB.".into());
    }
    if found.is_empty() {
        return "No problem was found.\n".into();
    }
    let points: String = found.iter().map(|point| format!(" * {point}\n")).collect();
    format!("Found:\n\n{points}")
}

const MALLOC_STATS: Command<NodeFn> = Command::new(
    spec("memory|malloc-stats", 2)
        .doc(SLOW, "Shows what the allocator says of itself.")
        .tips(REPORT),
    |cx, _| {
        let text = cx.node.host.malloc_stats();
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

const PURGE: Command<NodeFn> = Command::new(
    spec("memory|purge", 2)
        .doc(SLOW, "Gives unused memory back to the system.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    |cx, _| {
        cx.node.host.purge_memory();
        cx.reply.ok();
        Ok(After::Done)
    },
);

const HELP: Command<NodeFn> = Command::new(
    spec("memory|help", 2)
        .flags(Flags::LOADING.union(Flags::STALE))
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "MEMORY",
            &[
                "DOCTOR",
                "    Return memory problems reports.",
                "MALLOC-STATS",
                "    Return internal statistics report from the memory allocator.",
                "PURGE",
                "    Attempt to purge dirty pages for reclamation by the allocator.",
                "STATS",
                "    Return information about the memory usage of the server.",
                "USAGE <key> [SAMPLES <count>]",
                "    Return memory in bytes used by <key> and its value. Nested values are",
                "    sampled up to <count> times (default: 5, 0 means sample all).",
            ],
        );
        Ok(After::Done)
    },
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessFacts;

    fn report(facts: ProcessFacts, clients_normal: u64) -> MemoryReport {
        MemoryReport {
            facts,
            backlog: 0,
            clients_slaves: 0,
            clients_normal,
            overhead: 0,
            dataset: 0,
            keys: 0,
        }
    }

    #[test]
    fn the_doctor_names_what_is_out_of_bounds() {
        let mb = |n: u64| n << 20;
        let healthy = ProcessFacts {
            used_memory: mb(100),
            used_memory_peak: mb(100),
            rss: mb(105),
            allocator: (mb(100), mb(101), mb(103)),
            ..ProcessFacts::default()
        };
        assert_eq!(diagnosis(&report(healthy.clone(), 0)), "No problem was found.\n");
        let cases = [
            (ProcessFacts { used_memory: mb(1), ..healthy.clone() }, 0, "very little data"),
            (ProcessFacts { used_memory_peak: mb(200), ..healthy.clone() }, 0, "The peak"),
            (
                ProcessFacts {
                    allocator: (mb(100), mb(130), mb(131)),
                    rss: mb(131),
                    ..healthy.clone()
                },
                0,
                "partly filled",
            ),
            (
                ProcessFacts {
                    allocator: (mb(100), mb(101), mb(140)),
                    rss: mb(140),
                    ..healthy.clone()
                },
                0,
                "nothing uses",
            ),
            (ProcessFacts { rss: mb(150), ..healthy.clone() }, 0, "do not come from the allocator"),
            (healthy, mb(30), "Buffers of clients"),
        ];
        for (facts, clients, part) in cases {
            let text = diagnosis(&report(facts, clients));
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
