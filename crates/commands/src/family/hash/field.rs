//! Commands on single fields of a hash.

use super::peek_field;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::{Elem, Hash};

/// HSET key field value [field value …]
pub const HSET: Command<DataFn> = Command::new(
    CommandSpec::new("hset", -4, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.0.0")
        .doc("O(n) for n fields", "Sets fields of a hash; returns how many are new."),
    |ctx, args| {
        let new = set_fields(ctx, args, "hset")?;
        ctx.reply.count(new);
        Ok(Effect::Verbatim)
    },
);

/// HMSET key field value [field value …]
pub const HMSET: Command<DataFn> = Command::new(
    CommandSpec::new("hmset", -4, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.0.0")
        .doc("O(n) for n fields", "Sets fields of a hash.")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    |ctx, args| {
        set_fields(ctx, args, "hmset")?;
        ctx.reply.ok();
        Ok(Effect::Verbatim)
    },
);

fn set_fields(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, name: &str) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::arity(name));
    }
    let key = args.at(1);
    let pairs = (args.len() - 2) / 2;
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash_or_new(key)?;
    hash.reserve(pairs, &ctx.env.limits);
    let timed = hash.knows_times();
    let new = (2..args.len())
        .step_by(2)
        .filter(|&index| {
            let gone = timed && hash.is_due(args.at(index), now);
            hash.set(args.at(index), args.at(index + 1), &ctx.env.limits) || gone
        })
        .count();
    if timed {
        ctx.keys.fields_changed(key);
    }
    ctx.keys.modified(EventClass::HASH, "hset", key);
    ctx.keys.dirty(pairs as u64 - 1);
    Ok(new)
}

/// HSETNX key field value
pub const HSETNX: Command<DataFn> = Command::new(
    CommandSpec::new("hsetnx", 4, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .since("2.0.0")
        .doc("O(1)", "Sets a field of a hash if the field is not there."),
    hsetnx,
);

fn hsetnx(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.at(1), args.at(2));
    if peek_field(ctx, key, field)?.is_some() {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    }
    let hash = ctx.keys.hash_or_new(key)?;
    hash.set(field, args.at(3), &ctx.env.limits);
    if hash.knows_times() {
        ctx.keys.fields_changed(key);
    }
    ctx.keys.modified(EventClass::HASH, "hset", key);
    ctx.reply.integer(1);
    Ok(Effect::Verbatim)
}

/// HGET key field
pub const HGET: Command<DataFn> = Command::new(
    CommandSpec::new("hget", 3, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(1)", "Returns the value of a field of a hash."),
    hget,
);

fn hget(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    ctx.keys.expire_fields(args.at(1), [args.at(2)]);
    let now = ctx.keys.fields_now();
    let value = ctx.keys.hash(args.at(1))?.and_then(|hash| hash.get_at(args.at(2), now));
    bulk_elem_or_null(ctx.reply, value);
    Ok(Effect::None)
}

/// HMGET key field [field …]
pub const HMGET: Command<DataFn> = Command::new(
    CommandSpec::new("hmget", -3, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(n) for n fields", "Returns the values of several fields of a hash."),
    hmget,
);

fn hmget(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    ctx.keys.expire_fields(args.at(1), args.tail(2).iter());
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash(args.at(1))?;
    ctx.reply.array(args.len() - 2);
    for field in args.tail(2).iter() {
        bulk_elem_or_null(ctx.reply, hash.and_then(|hash| hash.get_at(field, now)));
    }
    Ok(Effect::None)
}

/// HDEL key field [field …]
pub const HDEL: Command<DataFn> = Command::new(
    CommandSpec::new("hdel", -3, Group::Hash)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_DELETE)])
        .since("2.0.0")
        .doc("O(n) for n fields", "Removes fields of a hash, and the hash with its last field."),
    hdel,
);

fn hdel(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let removed = remove_fields(ctx, key, args.tail(2))?;
    if removed > 0 {
        ctx.keys.modified(EventClass::HASH, "hdel", key);
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.remove_if_empty(key);
    }
    ctx.reply.count(removed);
    Ok(Effect::Verbatim)
}

/// Removes fields, those whose time has come before. Returns how many were still there.
pub(super) fn remove_fields(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    fields: Args<'_>,
) -> Result<usize, CommandError> {
    ctx.keys.expire_fields(key, fields.iter());
    let Some(hash) = ctx.keys.hash_mut(key)? else { return Ok(0) };
    let removed = fields.iter().filter(|field| hash.remove(field)).count();
    if hash.knows_times() {
        ctx.keys.fields_changed(key);
    }
    Ok(removed)
}

/// HLEN key
pub const HLEN: Command<DataFn> = Command::new(
    CommandSpec::new("hlen", 2, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("2.0.0")
        .doc("O(1)", "Returns the number of fields of a hash."),
    hlen,
);

fn hlen(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.keys.hash(args.at(1))?.map_or(0, Hash::len);
    ctx.reply.count(len);
    Ok(Effect::None)
}

/// HEXISTS key field
pub const HEXISTS: Command<DataFn> = Command::new(
    CommandSpec::new("hexists", 3, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("2.0.0")
        .doc("O(1)", "Says whether a field of a hash is there."),
    hexists,
);

fn hexists(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    ctx.keys.expire_fields(args.at(1), [args.at(2)]);
    let now = ctx.keys.fields_now();
    let there = ctx.keys.hash(args.at(1))?.is_some_and(|hash| hash.contains_at(args.at(2), now));
    ctx.reply.integer(i64::from(there));
    Ok(Effect::None)
}

/// HSTRLEN key field
pub const HSTRLEN: Command<DataFn> = Command::new(
    CommandSpec::new("hstrlen", 3, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("3.2.0")
        .doc("O(1)", "Returns the length of the value of a field in bytes."),
    hstrlen,
);

fn hstrlen(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    ctx.keys.expire_fields(args.at(1), [args.at(2)]);
    let now = ctx.keys.fields_now();
    let value = ctx.keys.hash(args.at(1))?.and_then(|hash| hash.get_at(args.at(2), now));
    let len = value.map_or(0, Elem::len);
    ctx.reply.count(len);
    Ok(Effect::None)
}
