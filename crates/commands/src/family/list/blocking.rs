//! Pops that wait until one of their lists has elements.

use super::End;
use super::pop::{pop_first, pop_one};
use crate::args::timeout;
use crate::family::collections::{MultiPop, keys_and_timeout, wait_for};
use crate::family::common::*;
use crate::{
    Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, keynum, upto_last,
};
use resp::Args;

/// BLPOP key [key …] timeout
pub const BLPOP: Command<DataFn> = Command::new(
    CommandSpec::new("blpop", -3, Group::List)
        .flags(WRITE.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[upto_last(1, RW_ACCESS_DELETE)])
        .since("2.0.0")
        .doc(
            "O(k) for k keys",
            "Takes the first element off the first list that has any, or waits.",
        ),
    |ctx, args| pop(ctx, args, End::Left),
);

/// BRPOP key [key …] timeout
pub const BRPOP: Command<DataFn> = Command::new(
    CommandSpec::new("brpop", -3, Group::List)
        .flags(WRITE.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[upto_last(1, RW_ACCESS_DELETE)])
        .since("2.0.0")
        .doc(
            "O(k) for k keys",
            "Takes the last element off the first list that has any, or waits.",
        ),
    |ctx, args| pop(ctx, args, End::Right),
);

fn pop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    let (keys, until) = keys_and_timeout(ctx, args)?;
    for key in &keys {
        let mark = ctx.reply.mark();
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        if pop_one(ctx, key, end)? {
            return Ok(Effect::replace(&[end.pop_name(), key]));
        }
        ctx.reply.rewind(mark);
    }
    wait_for(ctx, keys.into_iter(), until)
}

/// BLMPOP timeout numkeys key [key …] LEFT|RIGHT [COUNT count]
pub const BLMPOP: Command<DataFn> = Command::new(
    CommandSpec::new("blmpop", -5, Group::List)
        .flags(WRITE.union(Flags::BLOCKING))
        .keys(&[keynum(2, RW_ACCESS_DELETE)])
        .since("7.0.0")
        .doc(
            "O(k+n) for k keys and n elements",
            "Takes elements off the first list that has any, or waits for some.",
        ),
    blmpop,
);

fn blmpop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pop = MultiPop::parse(args, 2, End::parse)?;
    let until = timeout(args.at(1), ctx.env.now)?;
    match pop_first(ctx, &pop)? {
        Some(effect) => Ok(effect),
        None => wait_for(ctx, pop.keys.into_iter(), until),
    }
}
