//! Ranges of entries.

use super::id::{End, bound};
use super::put_entry;
use crate::args::int;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};
use structures::{Stream, StreamId};

/// XRANGE key start end [COUNT count]
pub const XRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("xrange", -4, Group::Stream)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("5.0.0")
        .doc("O(n) for n returned entries", "Returns the entries between two IDs."),
    |ctx, args| range(ctx, args, false),
);

/// XREVRANGE key end start [COUNT count]
pub const XREVRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("xrevrange", -4, Group::Stream)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("5.0.0")
        .doc("O(n) for n returned entries", "Returns the entries between two IDs, last first."),
    |ctx, args| range(ctx, args, true),
);

/// Source: redis 7.0 `t_stream.c:xrangeGenericCommand`.
fn range(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, rev: bool) -> CommandResult {
    let (start_at, end_at) = if rev { (3, 2) } else { (2, 3) };
    let start = bound(args.at(start_at), End::Start)?;
    let end = bound(args.at(end_at), End::Stop)?;
    let (mut count, mut index) = (None, 4);
    while index < args.len() {
        if !args.is(index, "count") || index + 1 >= args.len() {
            return Err(CommandError::SYNTAX);
        }
        count = Some(int(args.at(index + 1))?.max(0) as usize);
        index += 2;
    }
    match ctx.keys.stream(args.at(1))? {
        None => ctx.reply.array(0),
        Some(_) if count == Some(0) => ctx.reply.null_array(),
        Some(stream) => put_range(ctx.reply, stream, start, end, count.unwrap_or(usize::MAX), rev),
    }
    Ok(Effect::None)
}

/// Writes up to `count` entries as an array.
pub fn put_range(
    reply: &mut Reply,
    stream: &Stream,
    start: StreamId,
    end: StreamId,
    count: usize,
    rev: bool,
) {
    let mark = reply.mark();
    let mut len = 0;
    for entry in stream.range(start, end, rev).take(count) {
        put_entry(reply, &entry);
        len += 1;
    }
    reply.array_at(mark, len);
}
