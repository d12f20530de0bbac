//! Commands that add elements to a list.

use super::{End, peek_list};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;

/// LPUSH key element [element …]
pub const LPUSH: Command<DataFn> = Command::new(
    CommandSpec::new("lpush", -3, Group::List)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .doc("O(n) for n elements", "Puts elements at the head of a list; makes it if missing."),
    |ctx, args| push(ctx, args, End::Left, false),
);

/// RPUSH key element [element …]
pub const RPUSH: Command<DataFn> = Command::new(
    CommandSpec::new("rpush", -3, Group::List)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .doc("O(n) for n elements", "Puts elements at the tail of a list; makes it if missing."),
    |ctx, args| push(ctx, args, End::Right, false),
);

/// LPUSHX key element [element …]
pub const LPUSHX: Command<DataFn> = Command::new(
    CommandSpec::new("lpushx", -3, Group::List)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .since("2.2.0")
        .doc("O(n) for n elements", "Puts elements at the head of a list that exists."),
    |ctx, args| push(ctx, args, End::Left, true),
);

/// RPUSHX key element [element …]
pub const RPUSHX: Command<DataFn> = Command::new(
    CommandSpec::new("rpushx", -3, Group::List)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .since("2.2.0")
        .doc("O(n) for n elements", "Puts elements at the tail of a list that exists."),
    |ctx, args| push(ctx, args, End::Right, true),
);

fn push(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, end: End, must_exist: bool) -> CommandResult {
    let key = args.at(1);
    if must_exist && peek_list(ctx, key)?.is_none() {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    }
    let list = ctx.keys.list_or_new(key)?;
    let elements = args.tail(2);
    list.reserve(elements.iter().map(<[u8]>::len).sum(), elements.len(), &ctx.env.limits);
    for element in elements.iter() {
        match end {
            End::Left => list.push_front_prepared(element),
            End::Right => list.push_back_prepared(element),
        }
    }
    let len = list.len();
    ctx.keys.modified(EventClass::LIST, end.push_event(), key);
    ctx.keys.dirty(elements.len() as u64 - 1);
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}

/// LINSERT key BEFORE|AFTER pivot element
pub const LINSERT: Command<DataFn> = Command::new(
    CommandSpec::new("linsert", 5, Group::List)
        .flags(GROW)
        .keys(&[at(1, RW_INSERT)])
        .since("2.2.0")
        .doc("O(n) for n elements before the pivot", "Puts an element beside another one."),
    linsert,
);

fn linsert(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let before = args.is(2, "before");
    if !before && !args.is(2, "after") {
        return Err(CommandError::SYNTAX);
    }
    let key = args.at(1);
    let Some(list) = ctx.keys.list_mut(key)? else {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    };
    if !list.insert(args.at(3), before, args.at(4), &ctx.env.limits) {
        ctx.reply.integer(-1);
        return Ok(Effect::None);
    }
    let len = list.len();
    ctx.keys.modified(EventClass::LIST, "linsert", key);
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}
