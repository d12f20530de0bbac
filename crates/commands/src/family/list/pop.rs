//! Commands that take elements off an end of a list.

use super::{End, peek_list, popped};
use crate::args::not_negative;
use crate::family::collections::{MultiPop, pop_effect};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at, keynum,
};
use resp::Args;

/// LPOP key [count]
pub const LPOP: Command<DataFn> = Command::new(
    CommandSpec::new("lpop", -2, Group::List)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .doc("O(n) for n elements", "Takes elements off the head of a list."),
    |ctx, args| pop(ctx, args, End::Left, "lpop"),
);

/// RPOP key [count]
pub const RPOP: Command<DataFn> = Command::new(
    CommandSpec::new("rpop", -2, Group::List)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .doc("O(n) for n elements", "Takes elements off the tail of a list."),
    |ctx, args| pop(ctx, args, End::Right, "rpop"),
);

fn pop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, end: End, name: &str) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::arity(name));
    }
    let key = args.at(1);
    let there = match args.get(2).map(not_negative).transpose()? {
        None => {
            let there = pop_one(ctx, key, end)?;
            if !there {
                ctx.reply.null();
            }
            return Ok(Effect::Verbatim);
        }
        Some(0) => {
            let there = peek_list(ctx, key)?.is_some();
            if there {
                ctx.reply.array(0);
            }
            there
        }
        Some(count) => pop_many(ctx, key, end, count as usize)?.is_some(),
    };
    if !there {
        ctx.reply.null_array();
    }
    Ok(Effect::Verbatim)
}

/// Pops one element and writes it; false, and nothing written, if there is no list.
pub(super) fn pop_one(ctx: &mut Ctx<'_, '_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    let Some(list) = ctx.keys.list_mut(key)? else { return Ok(false) };
    let (index, position) = match end {
        End::Left => (0, 0),
        End::Right => (-1, list.len().saturating_sub(1)),
    };
    bulk_elem_or_null(ctx.reply, list.get(index));
    list.delete_range(position, 1);
    popped(ctx, key, end, 1);
    Ok(true)
}

/// Pops up to `count` elements (1 or more) and writes them as an array; returns how many there
/// were. `None`, and nothing written, if there is no list.
pub(super) fn pop_many(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<Option<usize>, CommandError> {
    let Some(list) = ctx.keys.list_mut(key)? else { return Ok(None) };
    let count = count.min(list.len());
    ctx.reply.array(count);
    match end {
        End::Left => {
            list.range(0, count).for_each(|element| bulk_elem(ctx.reply, element));
            list.delete_range(0, count);
        }
        End::Right => {
            list.range_rev(0, count).for_each(|element| bulk_elem(ctx.reply, element));
            list.delete_range(list.len() - count, count);
        }
    }
    popped(ctx, key, end, count);
    Ok(Some(count))
}

/// LMPOP numkeys key [key …] LEFT|RIGHT [COUNT count]
pub const LMPOP: Command<DataFn> = Command::new(
    CommandSpec::new("lmpop", -4, Group::List)
        .flags(WRITE)
        .keys(&[keynum(1, RW_ACCESS_DELETE)])
        .since("7.0.0")
        .doc("O(k+n) for k keys and n elements", "Takes elements off the first list that has any."),
    lmpop,
);

fn lmpop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pop = MultiPop::parse(args, 1, End::parse)?;
    if let Some(effect) = pop_first(ctx, &pop)? {
        return Ok(effect);
    }
    ctx.reply.null_array();
    Ok(Effect::None)
}

/// Pops from the first list that is there, and writes its key and the elements; `None` if there
/// is no list.
pub(super) fn pop_first(
    ctx: &mut Ctx<'_, '_>,
    pop: &MultiPop<'_, End>,
) -> Result<Option<Effect>, CommandError> {
    for key in &pop.keys {
        let mark = ctx.reply.mark();
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        if let Some(count) = pop_many(ctx, key, pop.end, pop.count)? {
            return Ok(Some(pop_effect(pop.end.pop_name(), key, count)));
        }
        ctx.reply.rewind(mark);
    }
    Ok(None)
}
