//! Commands that take an element off one list and put it on another, at once or when there is one.

use super::{End, peek_list, popped};
use crate::args::timeout;
use crate::family::collections::wait_for;
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, at,
};
use keyspace::EventClass;
use resp::Args;

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub const LMOVE: Command<DataFn> = Command::new(
    CommandSpec::new("lmove", 5, Group::List)
        .flags(GROW)
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, RW_INSERT)])
        .since("6.2.0")
        .doc("O(1)", "Moves an element from an end of one list to an end of another."),
    |ctx, args| {
        let (from, to) = ends(args)?;
        plain(ctx, args, from, to)
    },
);

/// RPOPLPUSH source destination
pub const RPOPLPUSH: Command<DataFn> = Command::new(
    CommandSpec::new("rpoplpush", 3, Group::List)
        .flags(GROW)
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, RW_INSERT)])
        .since("1.2.0")
        .doc("O(1)", "Moves the last element of one list to the head of another.")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    |ctx, args| plain(ctx, args, End::Right, End::Left),
);

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
pub const BLMOVE: Command<DataFn> = Command::new(
    CommandSpec::new("blmove", 6, Group::List)
        .flags(GROW.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, RW_INSERT)])
        .since("6.2.0")
        .doc("O(1)", "Moves an element between lists, or waits until there is one to move."),
    |ctx, args| {
        let (from, to) = ends(args)?;
        let words: [&[u8]; 5] = [b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)];
        blocking(ctx, args, from, to, &words)
    },
);

/// BRPOPLPUSH source destination timeout
pub const BRPOPLPUSH: Command<DataFn> = Command::new(
    CommandSpec::new("brpoplpush", 4, Group::List)
        .flags(GROW.union(Flags::NOSCRIPT).union(Flags::BLOCKING))
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, RW_INSERT)])
        .since("2.2.0")
        .doc("O(1)", "Moves the last element of one list to the head of another, or waits for one.")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    |ctx, args| blocking(ctx, args, End::Right, End::Left, &[b"RPOPLPUSH", args.at(1), args.at(2)]),
);

/// The two ends of LMOVE and BLMOVE.
fn ends(args: &Args<'_>) -> Result<(End, End), CommandError> {
    let from = End::parse(args.at(3)).ok_or(CommandError::SYNTAX)?;
    let to = End::parse(args.at(4)).ok_or(CommandError::SYNTAX)?;
    Ok((from, to))
}

fn plain(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, from: End, to: End) -> CommandResult {
    if move_element(ctx, args.at(1), args.at(2), from, to)? {
        return Ok(Effect::Verbatim);
    }
    ctx.reply.null();
    Ok(Effect::None)
}

/// `effect` is the plain command for the log.
fn blocking(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    from: End,
    to: End,
    effect: &[&[u8]],
) -> CommandResult {
    let source = args.at(1);
    let until = timeout(args.at(args.len() - 1), ctx.env.now)?;
    if move_element(ctx, source, args.at(2), from, to)? {
        return Ok(Effect::replace(effect));
    }
    if !ctx.env.may_block {
        // Here, and only here, no value is a plain null and not a null array.
        ctx.reply.null();
        return Ok(Effect::None);
    }
    wait_for(ctx, std::iter::once(source), until)
}

/// Moves one element and writes it; false, and nothing written, if there is no source list.
/// Source: redis 7.0 `t_list.c:lmoveGenericCommand`.
fn move_element(
    ctx: &mut Ctx<'_, '_>,
    source: &[u8],
    target: &[u8],
    from: End,
    to: End,
) -> Result<bool, CommandError> {
    if peek_list(ctx, source)?.is_none() {
        return Ok(false);
    }
    peek_list(ctx, target)?;
    let taken = ctx.keys.list_mut(source)?.and_then(|list| match from {
        End::Left => list.pop_front(),
        End::Right => list.pop_back(),
    });
    let Some(element) = taken else { return Ok(false) };
    // The source may be empty now and be the target at the same time: it is removed last.
    let list = ctx.keys.list_or_new(target)?;
    match to {
        End::Left => list.push_front(&element, &ctx.env.limits),
        End::Right => list.push_back(&element, &ctx.env.limits),
    }
    ctx.keys.signal(target);
    ctx.keys.notify(EventClass::LIST, to.push_event(), target);
    ctx.reply.bulk(&element);
    popped(ctx, source, from, 1);
    Ok(true)
}
