//! Counters in fields of a hash.

use super::expire::expire_command;
use super::{peek_field, set_computed};
use crate::args::int;
use crate::family::common::*;
use crate::family::string::{NAN_OR_INF, OVERFLOW};
use crate::longdouble::LongDouble;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};
use structures::Elem;

/// HINCRBY key field increment
pub const HINCRBY: Command<DataFn> = Command::new(
    CommandSpec::new("hincrby", 4, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("2.0.0")
        .doc("O(1)", "Adds a number to the integer value of a field; a missing field counts as 0."),
    hincrby,
);

fn hincrby(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.at(1), args.at(2));
    let by = int(args.at(3))?;
    let old = match peek_field(ctx, key, field)? {
        Some(value) => {
            value.as_i64().ok_or(CommandError::new("ERR hash value is not an integer"))?
        }
        None => 0,
    };
    let sum = old.checked_add(by).ok_or(OVERFLOW)?;
    let mut text = Vec::with_capacity(stdx::I64_MAX_LEN);
    stdx::push_i64(&mut text, sum);
    set_computed(ctx, key, field, &text)?;
    ctx.keys.modified(EventClass::HASH, "hincrby", key);
    ctx.reply.integer(sum);
    Ok(Effect::Verbatim)
}

/// HINCRBYFLOAT key field increment
pub const HINCRBYFLOAT: Command<DataFn> = Command::new(
    CommandSpec::new("hincrbyfloat", 4, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("2.6.0")
        .doc("O(1)", "Adds a number with a fraction to a field; a missing field counts as 0."),
    hincrbyfloat,
);

fn hincrbyfloat(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.at(1), args.at(2));
    let by = LongDouble::parse(args.at(3)).ok_or(CommandError::NOT_FLOAT)?;
    if matches!(by, LongDouble::Inf { .. }) {
        return Err(CommandError::new("ERR value is NaN or Infinity"));
    }
    let old = match peek_field(ctx, key, field)? {
        None => Some(LongDouble::from_i64(0)),
        Some(Elem::Int(value)) => Some(LongDouble::from_i64(value)),
        Some(Elem::Bytes(text)) => LongDouble::parse(text),
    };
    let old = old.ok_or(CommandError::new("ERR hash value is not a float"))?;
    let sum = old.add(by).ok_or(NAN_OR_INF)?.to_text();
    let time = set_computed(ctx, key, field, &sum)?;
    ctx.keys.modified(EventClass::HASH, "hincrbyfloat", key);
    ctx.reply.bulk(&sum);
    // The result and not the increment: whoever replays it may compute with other precision.
    let mut commands = vec![OwnedArgs::from_parts(&[b"HSET", key, field, &sum])];
    // Whoever sets the field takes its time away.
    commands.extend(time.map(|time| expire_command(key, time, &[field])));
    Ok(Effect::Replace(commands))
}
