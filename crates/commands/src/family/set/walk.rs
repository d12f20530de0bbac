//! Commands that walk over the members of a set.

use crate::args::{ScanKind, ScanOptions, cursor};
use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};
use structures::Set;

/// SMEMBERS key
pub const SMEMBERS: Command<DataFn> = Command::new(
    CommandSpec::new("smembers", 2, Group::Set)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .tips(&["nondeterministic_output_order"])
        .doc("O(n) for n members", "Returns all members of a set."),
    smembers,
);

fn smembers(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let set = ctx.keys.set(args.at(1))?;
    ctx.reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| bulk_elem(ctx.reply, member));
    Ok(Effect::None)
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
pub const SSCAN: Command<DataFn> = Command::new(
    CommandSpec::new("sscan", -3, Group::Set)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.0")
        .tips(&["nondeterministic_output"])
        .doc("O(1) for a call, O(n) for all n members", "Walks over a set, a part in each call."),
    sscan,
);

fn sscan(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let start = cursor(args.at(2))?;
    let Some(set) = ctx.keys.set(args.at(1))? else {
        scan_reply(ctx.reply, 0, 0, &Reply::default());
        return Ok(Effect::None);
    };
    let options = ScanOptions::parse(args, 3, ScanKind::Other)?;
    let mut items = Reply::new(ctx.reply.protocol());
    let mut len = 0;
    let next = set.scan(start, options.count, &mut |member| {
        if member.with(|text| options.matches(text)) {
            bulk_elem(&mut items, member);
            len += 1;
        }
    });
    scan_reply(ctx.reply, next, len, &items);
    Ok(Effect::None)
}
