//! SETBIT and GETBIT.

use super::{bit_offset, with_room};
use crate::args::int_between_or;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::ValueRef;

/// SETBIT key offset value
pub const SETBIT: Command<DataFn> = Command::new(
    CommandSpec::new("setbit", 4, Group::Bitmap)
        .flags(GROW)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("2.2.0")
        .doc("O(1)", "Sets or clears one bit of a string; returns what it was."),
    setbit,
);

fn setbit(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const NO_BIT: CommandError = CommandError::new("ERR bit is not an integer or out of range");
    let key = args.at(1);
    let offset = bit_offset(args.at(2), None, ctx.env)?;
    let on = int_between_or(args.at(3), 0, 1, NO_BIT)? == 1;
    let (at, mask) = ((offset >> 3) as usize, 0x80u8 >> (offset & 7));
    let (was, changed) = with_room(ctx, key, offset, |entry, grown| {
        let byte = match entry.value() {
            ValueRef::Str(text) => text.byte_at(at).unwrap_or(0),
            _ => 0,
        };
        let was = byte & mask != 0;
        if was != on {
            entry.write_str_at(at, &[byte ^ mask]);
        }
        (was, grown || was != on)
    })?;
    if changed {
        ctx.keys.modified(EventClass::STRING, "setbit", key);
    }
    ctx.reply.integer(i64::from(was));
    Ok(Effect::Verbatim)
}

/// GETBIT key offset
pub const GETBIT: Command<DataFn> = Command::new(
    CommandSpec::new("getbit", 3, Group::Bitmap)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.2.0")
        .doc("O(1)", "Returns one bit of a string."),
    |ctx, args| {
        let offset = bit_offset(args.at(2), None, ctx.env)?;
        let text = ctx.keys.string(args.at(1))?;
        let byte = text.and_then(|text| text.byte_at((offset >> 3) as usize)).unwrap_or(0);
        ctx.reply.integer(i64::from(byte >> (7 - (offset & 7)) & 1));
        Ok(Effect::None)
    },
);
