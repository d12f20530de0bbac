//! LATENCY: events that took long, and how long commands take.

use crate::registry::registry;
use crate::stats::bucket_top;
use crate::{After, CommandRef, NodeCtx, NodeFn, lock};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::{Args, Reply};
use std::fmt::Write as _;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&LATENCY];

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);
const REPORT: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn spec(name: &'static str, arity: i32) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Server).since("2.8.13")
}

/// LATENCY subcommand
pub const LATENCY: Command<NodeFn> = Command::container(
    spec("latency", -2).doc("Depends on subcommand.", "Shows what took long."),
    |_, _| Err(CommandError::arity("latency")),
    &[&DOCTOR, &GRAPH, &HELP, &HISTOGRAM, &HISTORY, &LATEST, &RESET],
);

const LATEST: Command<NodeFn> = Command::new(
    spec("latency|latest", 2)
        .flags(ADMIN)
        .doc("O(1)", "Shows the latest spike of every event.")
        .tips(REPORT),
    |cx, _| {
        let monitor = lock(&cx.node.latency);
        cx.reply.array(monitor.events.len());
        for (name, (samples, max)) in &monitor.events {
            let (time, ms) = samples.back().copied().unwrap_or_default();
            cx.reply.array(4);
            cx.reply.text(name);
            [time, ms as i64, *max as i64].into_iter().for_each(|n| cx.reply.integer(n));
        }
        Ok(After::Done)
    },
);

const HISTORY: Command<NodeFn> = Command::new(
    spec("latency|history", 3)
        .flags(ADMIN)
        .doc("O(1)", "Lists the spikes of an event.")
        .tips(REPORT),
    |cx, args| {
        let samples = spikes(cx, args.at(2)).map(|(_, spikes)| spikes.samples).unwrap_or_default();
        cx.reply.array(samples.len());
        for (time, ms) in samples {
            cx.reply.array(2);
            cx.reply.integer(time);
            cx.reply.integer(ms as i64);
        }
        Ok(After::Done)
    },
);

/// The spikes of one event.
#[derive(Clone)]
struct Spikes {
    samples: Vec<(i64, u64)>,
    max: u64,
}

fn spikes(cx: &NodeCtx<'_, '_>, event: &[u8]) -> Option<(&'static str, Spikes)> {
    let monitor = lock(&cx.node.latency);
    let found = monitor.events.iter().find(|(name, _)| name.as_bytes() == event);
    found.map(|(name, (samples, max))| {
        (*name, Spikes { samples: samples.iter().copied().collect(), max: *max })
    })
}

const RESET: Command<NodeFn> = Command::new(
    spec("latency|reset", -2)
        .flags(ADMIN)
        .doc("O(1)", "Forgets the spikes of all events, or of some.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    |cx, args| {
        let mut monitor = lock(&cx.node.latency);
        let before = monitor.events.len();
        monitor.events.retain(|name, _| {
            args.len() > 2 && !args.tail(2).iter().any(|event| event == name.as_bytes())
        });
        cx.reply.count(before - monitor.events.len());
        Ok(After::Done)
    },
);

// ---- GRAPH -------------------------------------------------------------------------------------

const GRAPH: Command<NodeFn> = Command::new(
    spec("latency|graph", 3).flags(ADMIN).doc("O(1)", "Draws the spikes of an event.").tips(REPORT),
    |cx, args| {
        let Some((name, spikes)) = spikes(cx, args.at(2)) else {
            let event = String::from_utf8_lossy(args.at(2));
            return Err(CommandError::owned(format!(
                "ERR No samples available for event '{event}'"
            )));
        };
        let text = graph(name, &spikes, cx.worker.now.unix().secs());
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

/// Rows of the graph.
const GRAPH_ROWS: u64 = 4;
/// Spikes that fit beside each other.
const GRAPH_COLUMNS: usize = 80;

/// A column for each of the latest spikes, and below it how long ago that was, read downwards.
fn graph(name: &str, spikes: &Spikes, now: i64) -> String {
    let shown = &spikes.samples[spikes.samples.len().saturating_sub(GRAPH_COLUMNS)..];
    let high = shown.iter().map(|&(_, ms)| ms).max().unwrap_or(0);
    let low = shown.iter().map(|&(_, ms)| ms).min().unwrap_or(0);
    let mut text =
        format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", spikes.max);
    text.push_str(&"-".repeat(GRAPH_COLUMNS));
    text.push('\n');
    let range = (high - low).max(1);
    // Heights from 1 to GRAPH_ROWS, the lowest spike at the bottom.
    let height = |ms: u64| (ms - low) * (GRAPH_ROWS - 1) / range + 1;
    for row in (1..=GRAPH_ROWS).rev() {
        for &(_, ms) in shown {
            text.push(match height(ms) {
                top if top == row => '_',
                top if top > row => '|',
                _ => ' ',
            });
        }
        text.push('\n');
    }
    text.push('\n');
    let labels: Vec<String> = shown.iter().map(|&(time, _)| age(now - time)).collect();
    let depth = labels.iter().map(String::len).max().unwrap_or(0);
    for row in 0..depth {
        text.extend(
            labels.iter().map(|label| label.as_bytes().get(row).map_or(' ', |&b| b as char)),
        );
        text.push('\n');
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

// ---- DOCTOR ------------------------------------------------------------------------------------

const DOCTOR: Command<NodeFn> = Command::new(
    spec("latency|doctor", 2)
        .flags(ADMIN)
        .doc("O(1)", "Explains the spikes, and what may help.")
        .tips(REPORT),
    |cx, _| {
        let text = diagnosis(cx);
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

fn diagnosis(cx: &NodeCtx<'_, '_>) -> String {
    let config = &cx.worker.settings.config;
    let all: Vec<(&str, Spikes)> = lock(&cx.node.latency)
        .events
        .iter()
        .map(|(name, (samples, max))| {
            (*name, Spikes { samples: samples.iter().copied().collect(), max: *max })
        })
        .collect();
    if all.is_empty() {
        if config.latency_monitor_threshold == 0 {
            return "The latency monitor is off. Turn it on with 'CONFIG SET latency-monitor-threshold <milliseconds>'; \
                    what takes as long or longer is then kept and explained here.\n"
                .into();
        }
        return "No latency spike has been seen since the start or the last LATENCY RESET.\n"
            .into();
    }
    let mut text = String::from("Latency spikes were seen:\n\n");
    for (number, (name, spikes)) in all.iter().enumerate() {
        let count = spikes.samples.len() as u64;
        let mean = spikes.samples.iter().map(|&(_, ms)| ms).sum::<u64>() / count.max(1);
        let deviation =
            spikes.samples.iter().map(|&(_, ms)| ms.abs_diff(mean)).sum::<u64>() / count.max(1);
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{}. {name}: {count} latency spikes (average {mean}ms, mean deviation {deviation}ms). Worst all time event {}ms.",
            number + 1,
            spikes.max
        );
    }
    text.push_str("\nWhat may help:\n\n");
    if all.iter().any(|(name, _)| matches!(*name, "command" | "fast-command")) {
        let slower = config.slowlog_log_slower_than;
        let threshold_us = config.latency_monitor_threshold.saturating_mul(1000);
        if slower < 0 || slower as u64 > threshold_us {
            let _ = writeln!(
                text,
                "- SLOWLOG misses some of these commands: 'CONFIG SET slowlog-log-slower-than {threshold_us}'."
            );
        }
        text.push_str("- SLOWLOG GET names the commands. Commands on very large values take their time; smaller values don't.\n");
    } else {
        text.push_str("- LATENCY HISTORY shows when each event happened, to be compared with what the machine did then.\n");
    }
    text
}

// ---- HISTOGRAM ---------------------------------------------------------------------------------

const HISTOGRAM: Command<NodeFn> = Command::new(
    CommandSpec::new("latency|histogram", -2, Group::Server)
        .flags(ADMIN)
        .since("7.0.0")
        .doc(
            "O(N) where N is the number of commands with latency information being retrieved.",
            "Tells how long commands take.",
        )
        .tips(REPORT),
    histogram,
);

/// Source: redis 7.0 `latency.c:latencyAllCommandsFillCDF`, `latencySpecificCommandsFillCDF`.
fn histogram(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let commands: Vec<CommandRef> = if args.len() == 2 {
        registry().top.iter().flat_map(|&command| with_subcommands(command)).collect()
    } else {
        let named = args.tail(2);
        named
            .iter()
            .filter_map(|name| registry().find_full(name))
            .flat_map(with_subcommands)
            .collect()
    };
    let mark = cx.reply.mark();
    let mut shown = 0;
    for command in commands {
        let buckets = cx.node.stats.histogram(command.index);
        if buckets.iter().any(|&count| count > 0) {
            distribution(cx.reply, command.spec.name, &buckets);
            shown += 1;
        }
    }
    cx.reply.map_at(mark, shown);
    Ok(After::Done)
}

fn with_subcommands(command: CommandRef) -> impl Iterator<Item = CommandRef> {
    std::iter::once(command).chain(command.subcommands.iter().copied())
}

/// Microseconds below which calls are counted together: the doubling steps that Redis shows (1, 2,
/// 4, 8, 16, 33, 66, 132 …: nanoseconds in whole microseconds).
fn step_top(step: u32) -> u64 {
    let nanoseconds = 1024u64 << step;
    (nanoseconds + (nanoseconds >> 7) - 1) / 1000
}

/// Pairs of a step and the calls that took no longer, from the first step that any call fits to the
/// one that all fit. A bucket of ours counts for the step in which it ends.
fn distribution(reply: &mut Reply, name: &str, buckets: &[u64]) {
    let total: u64 = buckets.iter().sum();
    reply.text(name);
    reply.map(2);
    reply.text("calls");
    reply.integer(total as i64);
    reply.text("histogram_usec");
    let mark = reply.mark();
    let (mut pairs, mut seen, mut bucket) = (0, 0, 0);
    let mut last = 0;
    for step in 0.. {
        while bucket < buckets.len() && bucket_top(bucket) <= step_top(step) {
            seen += buckets[bucket];
            bucket += 1;
        }
        if seen > last {
            reply.integer(step_top(step) as i64);
            reply.integer(seen as i64);
            pairs += 1;
            last = seen;
        }
        if seen == total {
            break;
        }
    }
    reply.map_at(mark, pairs);
}

const HELP: Command<NodeFn> = Command::new(
    spec("latency|help", 2)
        .flags(Flags::LOADING.union(Flags::STALE))
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "LATENCY",
            &[
                "DOCTOR",
                "    Return a human readable latency analysis report.",
                "GRAPH <event>",
                "    Return an ASCII latency graph for the <event> class.",
                "HISTORY <event>",
                "    Return time-latency samples for the <event> class.",
                "LATEST",
                "    Return the latest latency samples for all events.",
                "RESET [<event> ...]",
                "    Reset latency data of one or more <event> classes.",
                "    (default: reset all data for all event classes)",
                "HISTOGRAM [COMMAND ...]",
                "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
                "    If no commands are specified then all histograms are replied.",
            ],
        );
        Ok(After::Done)
    },
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::HISTOGRAM_BUCKETS;
    use resp::Protocol;

    #[test]
    fn steps_are_those_of_redis() {
        let steps: Vec<u64> = (0..15).map(step_top).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908]);
    }

    #[test]
    fn a_distribution_is_cumulative_and_ends_with_all_calls() {
        let mut buckets = vec![0; HISTOGRAM_BUCKETS];
        for bucket in [0, 3, 5, HISTOGRAM_BUCKETS - 1] {
            buckets[bucket] = 2;
        }
        let mut reply = Reply::new(Protocol::Resp3);
        distribution(&mut reply, "set", &buckets);
        let text = String::from_utf8_lossy(reply.bytes()).replace("\r\n", " ");
        assert!(
            text.starts_with("$3 set %2 $5 calls :8 $14 histogram_usec %4 :1 :2 :4 :4 :8 :6 :"),
            "{text}"
        );
        assert!(text.ends_with(":8 "), "{text}");
    }

    #[test]
    fn a_graph_has_one_column_for_each_spike() {
        let spikes = Spikes { samples: vec![(1000, 10), (1030, 40), (1095, 25)], max: 70 };
        let expected = format!(
            "command - high 40 ms, low 10 ms (all time high 70 ms)\n{}\n _ \n | \n |_\n_||\n\n115\nmms\n",
            "-".repeat(80)
        );
        assert_eq!(graph("command", &spikes, 1100), expected);
        assert_eq!(
            (age(59), age(61), age(7200), age(200_000)),
            ("59s".into(), "1m".into(), "2h".into(), "2d".into())
        );
    }
}
