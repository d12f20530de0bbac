//! Keys that get another name, another database, or a twin.

use super::twin::twin;
use crate::args::{int_between, option_value};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;

const SAME_OBJECT: CommandError =
    CommandError::new("ERR source and destination objects are the same");

/// RENAME key newkey
pub const RENAME: Command<DataFn> = Command::new(
    CommandSpec::new("rename", 3, Group::Generic)
        .flags(WRITE)
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, OW_UPDATE)])
        .doc("O(1)", "Gives a key another name; a key of that name goes."),
    |ctx, args| {
        if ctx.keys.before_write(args.at(1)).is_none() {
            return Err(CommandError::NO_SUCH_KEY);
        }
        rename(ctx, args.at(1), args.at(2));
        ctx.reply.ok();
        Ok(Effect::Verbatim)
    },
);

/// RENAMENX key newkey
pub const RENAMENX: Command<DataFn> = Command::new(
    CommandSpec::new("renamenx", 3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, OW_INSERT)])
        .doc("O(1)", "Gives a key another name if no key has it."),
    |ctx, args| {
        if ctx.keys.before_write(args.at(1)).is_none() {
            return Err(CommandError::NO_SUCH_KEY);
        }
        if ctx.keys.before_write(args.at(2)).is_some() {
            ctx.reply.integer(0);
            return Ok(Effect::None);
        }
        rename(ctx, args.at(1), args.at(2));
        ctx.reply.integer(1);
        Ok(Effect::Verbatim)
    },
);

/// Renames a key that is there, with its expiry time. The same name twice changes nothing.
fn rename(ctx: &mut Ctx<'_, '_>, from: &[u8], to: &[u8]) {
    if from == to {
        return;
    }
    ctx.keys.remove(to);
    let Some(entry) = ctx.keys.take(from) else { return };
    ctx.keys.insert(entry.rename(to));
    ctx.keys.modified(EventClass::GENERIC, "rename_from", from);
    ctx.keys.signal(to);
    ctx.keys.notify(EventClass::GENERIC, "rename_to", to);
}

/// An index of a database that is there.
fn database(ctx: &Ctx<'_, '_>, arg: &[u8]) -> Result<usize, CommandError> {
    let index = int_between(arg, i64::from(i32::MIN), i64::from(i32::MAX))?;
    let index = usize::try_from(index).ok().filter(|&db| db < ctx.keys.space().databases());
    index.ok_or(CommandError::DB_INDEX)
}

/// MOVE key db
pub const MOVE: Command<DataFn> = Command::new(
    CommandSpec::new("move", 3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Moves a key to another database."),
    move_key,
);

fn move_key(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, source) = (args.at(1), ctx.keys.db);
    let target = database(ctx, args.at(2))?;
    if source == target {
        return Err(SAME_OBJECT);
    }
    if !ctx.keys.exists(key) || in_db(ctx, target, |ctx| ctx.keys.exists(key)) {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    }
    if let Some(entry) = ctx.keys.take(key) {
        in_db(ctx, target, |ctx| ctx.keys.insert(entry));
    }
    ctx.keys.modified(EventClass::GENERIC, "move_from", key);
    in_db(ctx, target, |ctx| {
        ctx.keys.signal(key);
        ctx.keys.notify(EventClass::GENERIC, "move_to", key);
    });
    ctx.reply.integer(1);
    Ok(Effect::Verbatim)
}

/// Runs `f` on another database.
fn in_db<R>(ctx: &mut Ctx<'_, '_>, db: usize, f: impl FnOnce(&mut Ctx<'_, '_>) -> R) -> R {
    let home = std::mem::replace(&mut ctx.keys.db, db);
    let result = f(ctx);
    ctx.keys.db = home;
    result
}

/// COPY source destination [DB db] [REPLACE]
pub const COPY: Command<DataFn> = Command::new(
    CommandSpec::new("copy", -3, Group::Generic)
        .flags(GROW)
        .keys(&[at(1, RO_ACCESS), at(2, OW_UPDATE)])
        .since("6.2.0")
        .doc("O(n) for n elements", "Copies the value and expiry time of a key to another key."),
    copy,
);

fn copy(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (args.at(1), args.at(2));
    let (mut target, mut replace) = (ctx.keys.db, false);
    let mut index = 3;
    while index < args.len() {
        if args.is(index, "replace") {
            replace = true;
        } else if let Some(db) = option_value(args, index, "db") {
            target = database(ctx, db)?;
            index += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
        index += 1;
    }
    if target == ctx.keys.db && from == to {
        return Err(SAME_OBJECT);
    }
    let limits = &ctx.env.limits;
    let Some(twin) = ctx.keys.read(from).map(|entry| twin(entry, to, limits)) else {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    };
    let copied = in_db(ctx, target, |ctx| {
        if ctx.keys.exists(to) {
            if !replace {
                return false;
            }
            ctx.keys.remove(to);
        }
        ctx.keys.insert(twin);
        ctx.keys.modified(EventClass::GENERIC, "copy_to", to);
        true
    });
    ctx.reply.integer(i64::from(copied));
    Ok(if copied { Effect::Verbatim } else { Effect::None })
}
