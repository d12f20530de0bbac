//! Removing keys and asking about them.

use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at, each};
use keyspace::EventClass;
use resp::Args;

const SUM_OF_SHARDS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// DEL key [key …]
pub const DEL: Command<DataFn> = Command::new(
    CommandSpec::new("del", -2, Group::Generic)
        .flags(WRITE)
        .keys(&[each(1, RM_DELETE)])
        .tips(SUM_OF_SHARDS)
        .doc("O(n) for n keys", "Removes keys; returns how many were there."),
    remove,
);

/// UNLINK key [key …]
pub const UNLINK: Command<DataFn> = Command::new(
    CommandSpec::new("unlink", -2, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[each(1, RM_DELETE)])
        .since("4.0.0")
        .tips(SUM_OF_SHARDS)
        .doc("O(1) per key", "Removes keys; their memory is freed in the background."),
    remove,
);

/// Both commands: big values are freed elsewhere in either case (see `Changes::trash`).
fn remove(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut removed = 0;
    for key in args.tail(1).iter() {
        if ctx.keys.remove(key) {
            ctx.keys.modified(EventClass::GENERIC, "del", key);
            removed += 1;
        }
    }
    ctx.reply.count(removed);
    Ok(Effect::Verbatim)
}

/// EXISTS key [key …]
pub const EXISTS: Command<DataFn> = Command::new(
    CommandSpec::new("exists", -2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[each(1, RO)])
        .tips(SUM_OF_SHARDS)
        .doc(
            "O(n) for n keys",
            "Counts how many of the keys are there; a key given twice counts twice.",
        ),
    exists,
);

fn exists(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let count = args.tail(1).iter().filter(|key| ctx.keys.look(key).is_some()).count();
    ctx.reply.count(count);
    Ok(Effect::None)
}

/// TYPE key
pub const TYPE: Command<DataFn> = Command::new(
    CommandSpec::new("type", 2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .doc("O(1)", "Returns the type of the value of a key."),
    type_of,
);

fn type_of(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let name = ctx.keys.look(args.at(1)).map_or("none", |entry| entry.type_name());
    ctx.reply.simple(name);
    Ok(Effect::None)
}

/// TOUCH key [key …]
pub const TOUCH: Command<DataFn> = Command::new(
    CommandSpec::new("touch", -2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[each(1, RO)])
        .since("3.2.1")
        .tips(SUM_OF_SHARDS)
        .doc("O(n) for n keys", "Makes keys look used; returns how many are there."),
    touch,
);

fn touch(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    // TOUCH counts as an access even on a connection in NO-TOUCH mode.
    let mode = std::mem::replace(&mut ctx.keys.options.touch, true);
    let count = args.tail(1).iter().filter(|key| ctx.keys.read(key).is_some()).count();
    ctx.keys.options.touch = mode;
    ctx.reply.count(count);
    Ok(Effect::None)
}
