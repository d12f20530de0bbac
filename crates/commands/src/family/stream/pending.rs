//! What waits for acknowledgement: XACK and XPENDING.

use super::id::{End, bound, strict};
use super::put_id;
use crate::args::int;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};
use structures::{Pending, StreamGroup, StreamId};

/// The error for a key or group that is not there.
pub fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::quoting(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

/// XACK key group id [id …]
pub const XACK: Command<DataFn> = Command::new(
    CommandSpec::new("xack", -4, Group::Stream)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("5.0.0")
        .doc("O(1) for each entry", "Acknowledges entries that were given to a consumer."),
    |ctx, args| {
        let stream = ctx.keys.stream_mut(args.at(1))?;
        let Some(group) = stream.and_then(|stream| stream.group_mut(args.at(2))) else {
            ctx.reply.integer(0);
            return Ok(Effect::None);
        };
        let ids = args.tail(3).iter().map(|id| strict(id, 0)).collect::<Result<Vec<_>, _>>()?;
        let count = ids.into_iter().filter(|id| group.ack(*id)).count();
        ctx.reply.count(count);
        ctx.keys.dirty(count as u64);
        Ok(Effect::Verbatim)
    },
);

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub const XPENDING: Command<DataFn> = Command::new(
    CommandSpec::new("xpending", -3, Group::Stream)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n returned entries", "Shows what a group has not acknowledged."),
    xpending,
);

/// The longer form's arguments.
struct Window<'a> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Window<'a> {
    fn parse(args: &Args<'a>) -> Result<Option<Window<'a>>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::SYNTAX);
        }
        let (mut min_idle, mut from) = (0, 3);
        if args.is(3, "idle") {
            min_idle = int(args.at(4))?;
            if args.len() < 8 {
                return Err(CommandError::SYNTAX);
            }
            from = 5;
        }
        let count = int(args.at(from + 2))?.max(0) as usize;
        Ok(Some(Window {
            min_idle,
            start: bound(args.at(from), End::Start)?,
            end: bound(args.at(from + 1), End::Stop)?,
            count,
            consumer: args.get(from + 3),
        }))
    }
}

/// Source: redis 7.0 `t_stream.c:xpendingCommand`.
fn xpending(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let window = Window::parse(args)?;
    let now = ctx.env.now.0;
    let Ctx { keys, reply, .. } = ctx;
    let stream = keys.stream(args.at(1))?;
    let group = stream
        .and_then(|stream| stream.group(args.at(2)))
        .ok_or_else(|| no_key_or_group(args.at(1), args.at(2)))?;
    match window {
        None => put_summary(reply, group),
        Some(window) => put_window(reply, group, &window, now),
    }
    Ok(Effect::None)
}

fn put_summary(reply: &mut Reply, group: &StreamGroup) {
    reply.array(4);
    reply.count(group.pending_count());
    let mut all = group.pending_range(StreamId::ZERO, StreamId::MAX).map(|(id, _)| id);
    let Some(first) = all.next() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    put_id(reply, first);
    put_id(reply, all.next_back().unwrap_or(first));
    let owners = || group.consumers().filter(|consumer| consumer.pending_count() > 0);
    reply.array(owners().count());
    for consumer in owners() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_i64(consumer.pending_count() as i64);
    }
}

fn put_window(reply: &mut Reply, group: &StreamGroup, window: &Window<'_>, now: i64) {
    let idle = |pending: &Pending| now.saturating_sub(pending.delivered_at).max(0);
    let mark = reply.mark();
    let mut len = 0;
    let mut put = |id: StreamId, pending: &Pending| {
        reply.array(4);
        put_id(reply, id);
        reply.bulk(group.consumer(pending.consumer).name());
        reply.integer(idle(pending));
        reply.integer(pending.deliveries as i64);
        len += 1;
    };
    let old_enough = |pending: &Pending| window.min_idle <= 0 || idle(pending) >= window.min_idle;
    match window.consumer {
        None => group
            .pending_range(window.start, window.end)
            .filter(|(_, pending)| old_enough(pending))
            .take(window.count)
            .for_each(|(id, pending)| put(id, pending)),
        Some(name) => {
            if let Some(no) = group.consumer_no(name) {
                group
                    .consumer(no)
                    .pending(window.start, window.end)
                    .filter_map(|id| group.pending(id).map(|pending| (id, pending)))
                    .filter(|(_, pending)| old_enough(pending))
                    .take(window.count)
                    .for_each(|(id, pending)| put(id, pending));
            }
        }
    }
    reply.array_at(mark, len);
}
