//! Commands that walk over the fields of a hash.

use crate::args::{ScanKind, ScanOptions, cursor};
use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};

/// HGETALL key
pub const HGETALL: Command<DataFn> = Command::new(
    CommandSpec::new("hgetall", 2, Group::Hash)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .tips(&["nondeterministic_output_order"])
        .doc("O(n) for n fields", "Returns all fields of a hash with their values."),
    hgetall,
);

fn hgetall(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash(args.at(1))?;
    ctx.reply.map(hash.map_or(0, |hash| hash.len_at(now)));
    for (field, value) in hash.into_iter().flat_map(|hash| hash.iter_at(now)) {
        bulk_elem(ctx.reply, field);
        bulk_elem(ctx.reply, value);
    }
    Ok(Effect::None)
}

/// HKEYS key
pub const HKEYS: Command<DataFn> = Command::new(
    CommandSpec::new("hkeys", 2, Group::Hash)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .tips(&["nondeterministic_output_order"])
        .doc("O(n) for n fields", "Returns all fields of a hash."),
    hkeys,
);

fn hkeys(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash(args.at(1))?;
    ctx.reply.array(hash.map_or(0, |hash| hash.len_at(now)));
    let pairs = hash.into_iter().flat_map(|hash| hash.iter_at(now));
    pairs.for_each(|(field, _)| bulk_elem(ctx.reply, field));
    Ok(Effect::None)
}

/// HVALS key
pub const HVALS: Command<DataFn> = Command::new(
    CommandSpec::new("hvals", 2, Group::Hash)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .tips(&["nondeterministic_output_order"])
        .doc("O(n) for n fields", "Returns the values of all fields of a hash."),
    hvals,
);

fn hvals(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash(args.at(1))?;
    ctx.reply.array(hash.map_or(0, |hash| hash.len_at(now)));
    let pairs = hash.into_iter().flat_map(|hash| hash.iter_at(now));
    pairs.for_each(|(_, value)| bulk_elem(ctx.reply, value));
    Ok(Effect::None)
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
pub const HSCAN: Command<DataFn> = Command::new(
    CommandSpec::new("hscan", -3, Group::Hash)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.0")
        .tips(&["nondeterministic_output"])
        .doc("O(1) for a call, O(n) for all n fields", "Walks over a hash, a part in each call."),
    hscan,
);

fn hscan(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let start = cursor(args.at(2))?;
    let now = ctx.keys.fields_now();
    let Some(hash) = ctx.keys.hash(args.at(1))? else {
        scan_reply(ctx.reply, 0, 0, &Reply::default());
        return Ok(Effect::None);
    };
    let options = ScanOptions::parse(args, 3, ScanKind::Hash)?;
    let mut items = Reply::new(ctx.reply.protocol());
    let mut len = 0;
    let next = hash.scan(start, options.count, now, &mut |field, value| {
        if !field.with(|text| options.matches(text)) {
            return;
        }
        bulk_elem(&mut items, field);
        len += 1;
        if !options.no_values {
            bulk_elem(&mut items, value);
            len += 1;
        }
    });
    scan_reply(ctx.reply, next, len, &items);
    Ok(Effect::None)
}
