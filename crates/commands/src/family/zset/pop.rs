//! Commands that take members off an end of a sorted set, at once or when there are any.

use crate::args::{not_negative, timeout};
use crate::family::collections::{MultiPop, keys_and_timeout, pop_effect, wait_for};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, at,
    keynum, upto_last,
};
use keyspace::EventClass;
use resp::Args;
use structures::{Elem, ValueRef, Zset};

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    /// `MIN` or `MAX`.
    fn parse(word: &[u8]) -> Option<End> {
        if word.eq_ignore_ascii_case(b"min") {
            Some(End::Min)
        } else if word.eq_ignore_ascii_case(b"max") {
            Some(End::Max)
        } else {
            None
        }
    }

    /// The plain pop at this end, for the log.
    fn pop_name(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }

    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// ZPOPMIN key [count]
pub const ZPOPMIN: Command<DataFn> = Command::new(
    CommandSpec::new("zpopmin", -2, Group::SortedSet)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .since("5.0.0")
        .doc("O(m*log(n)) for m members", "Removes the members with the lowest scores."),
    |ctx, args| pop(ctx, args, End::Min),
);

/// ZPOPMAX key [count]
pub const ZPOPMAX: Command<DataFn> = Command::new(
    CommandSpec::new("zpopmax", -2, Group::SortedSet)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .since("5.0.0")
        .doc("O(m*log(n)) for m members", "Removes the members with the highest scores."),
    |ctx, args| pop(ctx, args, End::Max),
);

fn pop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let count = args.get(2).map(not_negative).transpose()?;
    let key = args.at(1);
    let there = zset_len(ctx, key)?.min(count.unwrap_or(1) as usize);
    // With a count, and only then, RESP3 has pairs.
    let nested = count.is_some() && ctx.reply.is_resp3();
    ctx.reply.array(if nested { there } else { there * 2 });
    take(ctx, key, end, there, nested)?;
    Ok(Effect::Verbatim)
}

/// Number of members, 0 without a key; fails if it holds something else.
fn zset_len(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<usize, CommandError> {
    match ctx.keys.peek(key).map(|entry| entry.value()) {
        None => Ok(0),
        Some(ValueRef::Zset(zset)) => Ok(Zset::len(zset)),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// Removes `count` members, which are there, and writes them with their scores, each in an array
/// of its own if `nested`.
fn take(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    end: End,
    count: usize,
    nested: bool,
) -> Result<(), CommandError> {
    let Some(zset) = ctx.keys.zset_mut(key)?.filter(|_| count > 0) else { return Ok(()) };
    let reply = &mut *ctx.reply;
    let mut write = |member: Elem<'_>, score: f64| {
        if nested {
            reply.array(2);
        }
        bulk_elem(reply, member);
        reply.double(score);
    };
    match end {
        End::Min => {
            zset.remove_by_rank(0, count, &mut write);
        }
        End::Max => {
            zset.range_by_rank(0, count, true).for_each(|(member, score)| write(member, score));
            zset.remove_by_rank(zset.len() - count, count, &mut |_, _| ());
        }
    }
    ctx.keys.modified(EventClass::ZSET, end.event(), key);
    ctx.keys.dirty(count as u64 - 1);
    ctx.keys.remove_if_empty(key);
    Ok(())
}

/// ZMPOP numkeys key [key …] MIN|MAX [COUNT count]
pub const ZMPOP: Command<DataFn> = Command::new(
    CommandSpec::new("zmpop", -4, Group::SortedSet)
        .flags(WRITE)
        .keys(&[keynum(1, RW_ACCESS_DELETE)])
        .since("7.0.0")
        .doc(
            "O(k)+O(m*log(n)) for k keys and m members",
            "Removes members at an end of the first sorted set that has any.",
        ),
    zmpop,
);

fn zmpop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pop = MultiPop::parse(args, 1, End::parse)?;
    if let Some(effect) = pop_first(ctx, &pop)? {
        return Ok(effect);
    }
    ctx.reply.null_array();
    Ok(Effect::None)
}

/// Pops from the first sorted set that is there, and writes its key and the pairs; `None` if there
/// is none.
fn pop_first(
    ctx: &mut Ctx<'_, '_>,
    pop: &MultiPop<'_, End>,
) -> Result<Option<Effect>, CommandError> {
    for key in &pop.keys {
        let count = zset_len(ctx, key)?.min(pop.count);
        if count > 0 {
            ctx.reply.array(2);
            ctx.reply.bulk(key);
            ctx.reply.array(count);
            take(ctx, key, pop.end, count, true)?;
            return Ok(Some(pop_effect(pop.end.pop_name(), key, count)));
        }
    }
    Ok(None)
}

/// BZPOPMIN key [key …] timeout
pub const BZPOPMIN: Command<DataFn> = Command::new(
    CommandSpec::new("bzpopmin", -3, Group::SortedSet)
        .flags(WRITE_FAST.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[upto_last(1, RW_ACCESS_DELETE)])
        .since("5.0.0")
        .doc("O(log(n))", "Removes the member with the lowest score of the first key, or waits."),
    |ctx, args| blocking_pop(ctx, args, End::Min),
);

/// BZPOPMAX key [key …] timeout
pub const BZPOPMAX: Command<DataFn> = Command::new(
    CommandSpec::new("bzpopmax", -3, Group::SortedSet)
        .flags(WRITE_FAST.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[upto_last(1, RW_ACCESS_DELETE)])
        .since("5.0.0")
        .doc("O(log(n))", "Removes the member with the highest score of the first key, or waits."),
    |ctx, args| blocking_pop(ctx, args, End::Max),
);

fn blocking_pop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    let (keys, until) = keys_and_timeout(ctx, args)?;
    for key in &keys {
        if zset_len(ctx, key)? > 0 {
            ctx.reply.array(3);
            ctx.reply.bulk(key);
            take(ctx, key, end, 1, false)?;
            return Ok(Effect::replace(&[end.pop_name(), key]));
        }
    }
    wait_for(ctx, keys.into_iter(), until)
}

/// BZMPOP timeout numkeys key [key …] MIN|MAX [COUNT count]
pub const BZMPOP: Command<DataFn> = Command::new(
    CommandSpec::new("bzmpop", -5, Group::SortedSet)
        .flags(WRITE.union(Flags::BLOCKING))
        .keys(&[keynum(2, RW_ACCESS_DELETE)])
        .since("7.0.0")
        .doc(
            "O(k)+O(m*log(n)) for k keys and m members",
            "Removes members at an end of the first sorted set that has any, or waits for some.",
        ),
    bzmpop,
);

fn bzmpop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pop = MultiPop::parse(args, 2, End::parse)?;
    let until = timeout(args.at(1), ctx.env.now)?;
    match pop_first(ctx, &pop)? {
        Some(effect) => Ok(effect),
        None => wait_for(ctx, pop.keys.into_iter(), until),
    }
}
