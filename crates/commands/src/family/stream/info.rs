//! XINFO: what a stream and its groups are made of.

use super::group::{no_group, wrong_subcommand};
use super::{put_entry, put_id};
use crate::args::{help, int, unknown_subcommand};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, KeySpec,
    at,
};
use resp::{Args, Reply};
use structures::{Stream, StreamConsumer, StreamGroup, StreamId, UNKNOWN_READ};

/// XINFO subcommand …
pub const XINFO: Command<DataFn> = Command::container(
    CommandSpec::new("xinfo", -2, Group::Stream)
        .without_group_category()
        .since("5.0.0")
        .doc("Depends on the subcommand.", "Tells about a stream, its groups and consumers."),
    |_, args| Err(unknown_subcommand(args)),
    &[&CONSUMERS, &GROUPS, &HELP, &STREAM],
);

const KEY_AT_2: &[KeySpec] = &[at(2, RO_ACCESS)];

/// XINFO CONSUMERS key group
const CONSUMERS: Command<DataFn> = Command::new(
    CommandSpec::new("xinfo|consumers", 4, Group::Stream)
        .flags(READ)
        .keys(KEY_AT_2)
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .doc("O(1)", "Lists the consumers of a group."),
    |ctx, args| {
        let now = ctx.env.now.0;
        let Ctx { keys, reply, .. } = ctx;
        let stream = keys.stream(args.at(2))?.ok_or(CommandError::NO_SUCH_KEY)?;
        let group = stream.group(args.at(3)).ok_or_else(|| no_group(args.at(3), args.at(2)))?;
        reply.array(group.consumer_count());
        for consumer in group.consumers() {
            let since = |time: i64| now.saturating_sub(time).max(0);
            reply.map(4);
            reply.text("name");
            reply.bulk(consumer.name());
            reply.text("pending");
            reply.count(consumer.pending_count());
            reply.text("idle");
            reply.integer(since(consumer.seen_time));
            reply.text("inactive");
            let active = consumer.active_time;
            reply.integer(if active == -1 { -1 } else { since(active) });
        }
        Ok(Effect::None)
    },
);

/// XINFO GROUPS key
const GROUPS: Command<DataFn> = Command::new(
    CommandSpec::new("xinfo|groups", 3, Group::Stream)
        .flags(READ)
        .keys(KEY_AT_2)
        .since("5.0.0")
        .doc("O(1)", "Lists the groups of a stream."),
    |ctx, args| {
        let Ctx { keys, reply, .. } = ctx;
        let stream = keys.stream(args.at(2))?.ok_or(CommandError::NO_SUCH_KEY)?;
        reply.array(stream.group_count());
        for (name, group) in stream.groups() {
            reply.map(6);
            reply.text("name");
            reply.bulk(name);
            reply.text("consumers");
            reply.count(group.consumer_count());
            reply.text("pending");
            reply.count(group.pending_count());
            put_progress(reply, stream, group);
        }
        Ok(Effect::None)
    },
);

/// The last ID, the number of entries read and the lag.
fn put_progress(reply: &mut Reply, stream: &Stream, group: &StreamGroup) {
    reply.text("last-delivered-id");
    put_id(reply, group.last_id);
    reply.text("entries-read");
    match group.entries_read {
        UNKNOWN_READ => reply.null(),
        read => reply.integer(read),
    }
    reply.text("lag");
    match stream.lag(group) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

/// XINFO STREAM key [FULL [COUNT count]]
const STREAM: Command<DataFn> = Command::new(
    CommandSpec::new("xinfo|stream", -3, Group::Stream)
        .flags(READ)
        .keys(KEY_AT_2)
        .since("5.0.0")
        .doc("O(1), and O(n) for n shown entries", "Tells about a stream."),
    stream_info,
);

/// Source: redis 7.0 `t_stream.c:xinfoReplyWithStreamInfo`.
fn stream_info(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let Ctx { keys, reply, .. } = ctx;
    let stream = keys.stream(args.at(2))?.ok_or(CommandError::NO_SUCH_KEY)?;
    let full = match args.len() {
        3 => None,
        4 | 6 if args.is(3, "full") => Some(match args.len() {
            4 => 10,
            _ if args.is(4, "count") => match int(args.at(5))? {
                ..0 => 10,
                0 => usize::MAX,
                count => count as usize,
            },
            _ => return Err(wrong_subcommand(args)),
        }),
        _ => return Err(wrong_subcommand(args)),
    };
    let meta = stream.meta();
    reply.map(if full.is_some() { 9 } else { 10 });
    reply.text("length");
    reply.integer(meta.len as i64);
    reply.text("radix-tree-keys");
    reply.count(stream.nodes().len());
    reply.text("radix-tree-nodes");
    reply.count(stream.radix_nodes());
    reply.text("last-generated-id");
    put_id(reply, meta.last_id);
    reply.text("max-deleted-entry-id");
    put_id(reply, meta.max_deleted_id);
    reply.text("entries-added");
    reply.integer(meta.entries_added as i64);
    reply.text("recorded-first-entry-id");
    put_id(reply, meta.first_id);
    match full {
        Some(count) => put_full(reply, stream, count),
        None => {
            reply.text("groups");
            reply.count(stream.group_count());
            for (name, rev) in [("first-entry", false), ("last-entry", true)] {
                reply.text(name);
                match stream.range(StreamId::ZERO, StreamId::MAX, rev).next() {
                    Some(entry) => put_entry(reply, &entry),
                    None => reply.null(),
                }
            }
        }
    }
    Ok(Effect::None)
}

fn put_full(reply: &mut Reply, stream: &Stream, count: usize) {
    reply.text("entries");
    super::range::put_range(reply, stream, StreamId::ZERO, StreamId::MAX, count, false);
    reply.text("groups");
    reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.text("name");
        reply.bulk(name);
        put_progress(reply, stream, group);
        reply.text("pel-count");
        reply.count(group.pending_count());
        reply.text("pending");
        reply.array(group.pending_count().min(count));
        for (id, pending) in group.pending_range(StreamId::ZERO, StreamId::MAX).take(count) {
            reply.array(4);
            put_id(reply, id);
            reply.bulk(group.consumer(pending.consumer).name());
            reply.integer(pending.delivered_at);
            reply.integer(pending.deliveries as i64);
        }
        reply.text("consumers");
        reply.array(group.consumer_count());
        group.consumers().for_each(|consumer| put_consumer(reply, group, consumer, count));
    }
}

fn put_consumer(reply: &mut Reply, group: &StreamGroup, consumer: &StreamConsumer, count: usize) {
    reply.map(5);
    reply.text("name");
    reply.bulk(consumer.name());
    reply.text("seen-time");
    reply.integer(consumer.seen_time);
    reply.text("active-time");
    reply.integer(consumer.active_time);
    reply.text("pel-count");
    reply.count(consumer.pending_count());
    reply.text("pending");
    reply.array(consumer.pending_count().min(count));
    for id in consumer.pending(StreamId::ZERO, StreamId::MAX).take(count) {
        let pending = group.pending(id);
        reply.array(3);
        put_id(reply, id);
        reply.integer(pending.map_or(0, |pending| pending.delivered_at));
        reply.integer(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// XINFO HELP
const HELP: Command<DataFn> = Command::new(
    CommandSpec::new("xinfo|help", 2, Group::Stream)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("5.0.0")
        .doc("O(1)", "Explains the subcommands."),
    |ctx, _| {
        help(
            ctx,
            "XINFO",
            &[
                "CONSUMERS <key> <groupname>",
                "    Show consumers of <groupname>.",
                "GROUPS <key>",
                "    Show the stream consumer groups.",
                "STREAM <key> [FULL [COUNT <count>]",
                "    Show information about the stream.",
            ],
        );
        Ok(Effect::None)
    },
);
