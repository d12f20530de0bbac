//! Counters: strings that are numbers.

use super::range::text_of;
use crate::args::int;
use crate::family::common::*;
use crate::longdouble::LongDouble;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::{EventClass, SetTtl};
use resp::Args;
use structures::StrRef;

/// A sum beyond 64 bits.
pub(crate) const OVERFLOW: CommandError =
    CommandError::new("ERR increment or decrement would overflow");
/// A sum beyond the range of long doubles.
pub(crate) const NAN_OR_INF: CommandError =
    CommandError::new("ERR increment would produce NaN or Infinity");

/// INCR key
pub const INCR: Command<DataFn> = Command::new(
    CommandSpec::new("incr", 2, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Adds one to the integer value of a key; a missing key counts as 0."),
    |ctx, args| add(ctx, args.at(1), 1),
);

/// DECR key
pub const DECR: Command<DataFn> = Command::new(
    CommandSpec::new("decr", 2, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Takes one from the integer value of a key; a missing key counts as 0."),
    |ctx, args| add(ctx, args.at(1), -1),
);

/// INCRBY key increment
pub const INCRBY: Command<DataFn> = Command::new(
    CommandSpec::new("incrby", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Adds a number to the integer value of a key; a missing key counts as 0."),
    |ctx, args| {
        let by = int(args.at(2))?;
        add(ctx, args.at(1), by)
    },
);

/// DECRBY key decrement
pub const DECRBY: Command<DataFn> = Command::new(
    CommandSpec::new("decrby", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Takes a number from the integer value of a key; a missing key counts as 0."),
    |ctx, args| {
        let by = int(args.at(2))?
            .checked_neg()
            .ok_or(CommandError::new("ERR decrement would overflow"))?;
        add(ctx, args.at(1), by)
    },
);

fn add(ctx: &mut Ctx<'_, '_>, key: &[u8], by: i64) -> CommandResult {
    let sum = match ctx.keys.write(key) {
        Some(entry) => {
            let old = text_of(entry)?.as_i64().ok_or(CommandError::NOT_INTEGER)?;
            let sum = old.checked_add(by).ok_or(OVERFLOW)?;
            entry.set_int(sum);
            sum
        }
        None => {
            let mut text = Vec::with_capacity(stdx::I64_MAX_LEN);
            stdx::push_i64(&mut text, by);
            ctx.keys.set_string(key, &text, SetTtl::Clear);
            by
        }
    };
    ctx.keys.modified(EventClass::STRING, "incrby", key);
    ctx.reply.integer(sum);
    Ok(Effect::Verbatim)
}

/// INCRBYFLOAT key increment
pub const INCRBYFLOAT: Command<DataFn> = Command::new(
    CommandSpec::new("incrbyfloat", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("2.6.0")
        .doc(
            "O(1)",
            "Adds a number with a fraction to the value of a key; a missing key counts as 0.",
        ),
    incrbyfloat,
);

fn incrbyfloat(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let old = match ctx.keys.before_write(key) {
        Some(entry) => long_double_of(text_of(entry)?)?,
        None => LongDouble::from_i64(0),
    };
    let by = LongDouble::parse(args.at(2)).ok_or(CommandError::NOT_FLOAT)?;
    let sum = old.add(by).ok_or(NAN_OR_INF)?.to_text();
    ctx.keys.set_string(key, &sum, SetTtl::Keep);
    if !sum.contains(&b'.')
        && let Some(entry) = ctx.keys.write(key)
    {
        // Redis keeps this result as text even where it is a whole number (OBJECT ENCODING tells).
        entry.set_text(&sum);
    }
    ctx.keys.modified(EventClass::STRING, "incrbyfloat", key);
    ctx.reply.bulk(&sum);
    // The result and not the increment: whoever replays it may compute with other precision.
    Ok(Effect::replace(&[b"SET", key, &sum, b"KEEPTTL"]))
}

fn long_double_of(text: StrRef<'_>) -> Result<LongDouble, CommandError> {
    match text {
        StrRef::Int(value) => Some(LongDouble::from_i64(value)),
        StrRef::Bytes(bytes) => LongDouble::parse(bytes),
        StrRef::Paged(_) => None, // Longer than any number that Redis takes.
    }
    .ok_or(CommandError::NOT_FLOAT)
}
