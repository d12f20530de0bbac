//! Commands on parts of string values.

use crate::args::{check_string_len, int};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::{EventClass, SetTtl};
use resp::Args;
use structures::{Entry, StrRef, ValueRef};

/// The string that an entry holds.
pub(crate) fn text_of(entry: &Entry) -> Result<StrRef<'_>, CommandError> {
    match entry.value() {
        ValueRef::Str(text) => Ok(text),
        _ => Err(CommandError::WRONG_TYPE),
    }
}

/// APPEND key value
pub const APPEND: Command<DataFn> = Command::new(
    CommandSpec::new("append", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .since("2.0.0")
        .doc("O(1) amortised", "Appends to a string; makes the key if it is not there."),
    append,
);

fn append(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    let len = match ctx.keys.write(key) {
        Some(entry) => {
            check_string_len(ctx.env, text_of(entry)?.len(), value.len())?;
            entry.append_str(value)
        }
        None => {
            ctx.keys.set_string(key, value, SetTtl::Clear);
            value.len()
        }
    };
    ctx.keys.modified(EventClass::STRING, "append", key);
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}

/// STRLEN key
pub const STRLEN: Command<DataFn> = Command::new(
    CommandSpec::new("strlen", 2, Group::String)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("2.2.0")
        .doc("O(1)", "Returns the length of a string in bytes."),
    strlen,
);

fn strlen(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.keys.string(args.at(1))?.map_or(0, StrRef::len);
    ctx.reply.count(len);
    Ok(Effect::None)
}

/// GETRANGE key start end
pub const GETRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("getrange", 4, Group::String)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.4.0")
        .doc("O(n) for n bytes returned", "Returns a part of a string."),
    getrange,
);

/// SUBSTR key start end
pub const SUBSTR: Command<DataFn> = Command::new(
    CommandSpec::new("substr", 4, Group::String)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .doc("O(n) for n bytes returned", "The old name of GETRANGE.")
        .deprecated("2.0.0", "`GETRANGE`"),
    getrange,
);

fn getrange(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (int(args.at(2))?, int(args.at(3))?);
    let Some(text) = ctx.keys.string(args.at(1))? else {
        ctx.reply.bulk(b"");
        return Ok(Effect::None);
    };
    match clip(start, end, text.len()) {
        Some((start, end)) => bulk_str_range(ctx.reply, text, start, end),
        None => ctx.reply.bulk(b""),
    }
    Ok(Effect::None)
}

/// The half-open range of bytes that `start..=end` means, both counted from the end if negative.
/// `None` if it is empty. Source: redis 7.0 `t_string.c:getrangeCommand`.
fn clip(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = len as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    (start <= end && len > 0).then(|| (start as usize, end as usize + 1))
}

/// SETRANGE key offset value
pub const SETRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("setrange", 4, Group::String)
        .flags(GROW)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.2.0")
        .doc(
            "O(1), O(n) for n bytes of long values",
            "Overwrites a part of a string; fills with zeros up to it.",
        ),
    setrange,
);

fn setrange(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(3));
    let offset = usize::try_from(int(args.at(2))?)
        .map_err(|_| CommandError::new("ERR offset is out of range"))?;
    let old_len = match ctx.keys.before_write(key) {
        Some(entry) => Some(text_of(entry)?.len()),
        None => None,
    };
    if value.is_empty() {
        ctx.reply.count(old_len.unwrap_or(0));
        return Ok(Effect::None);
    }
    check_string_len(ctx.env, offset, value.len())?;
    if old_len.is_none() {
        ctx.keys.set_string(key, b"", SetTtl::Clear);
    }
    let len = match ctx.keys.write(key) {
        Some(entry) => entry.write_str_at(offset, value),
        None => 0,
    };
    ctx.keys.modified(EventClass::STRING, "setrange", key);
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}
