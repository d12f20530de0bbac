//! Commands on single members of a set.

use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::{Set, ValueRef};

/// SADD key member [member …]
pub const SADD: Command<DataFn> = Command::new(
    CommandSpec::new("sadd", -3, Group::Set)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .doc("O(n) for n members", "Adds members to a set; makes it if missing."),
    sadd,
);

fn sadd(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, members, limits) = (args.at(1), args.tail(2), &ctx.env.limits);
    let set = ctx.keys.set_or_new(key)?;
    // The number of arguments decides the first encoding, even if some are the same.
    if set.is_empty() {
        *set = Set::with_hint(args.at(2), members.len(), limits);
    } else {
        set.reserve(members.len(), limits);
    }
    let added = members.iter().filter(|member| set.add(member, limits)).count();
    if added > 0 {
        ctx.keys.modified(EventClass::SET, "sadd", key);
        ctx.keys.dirty(added as u64 - 1);
    }
    ctx.reply.count(added);
    Ok(Effect::Verbatim)
}

/// SREM key member [member …]
pub const SREM: Command<DataFn> = Command::new(
    CommandSpec::new("srem", -3, Group::Set)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_DELETE)])
        .doc("O(n) for n members", "Removes members of a set, and the set with its last member."),
    srem,
);

fn srem(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let removed = match ctx.keys.set_mut(key)? {
        Some(set) => args.tail(2).iter().filter(|member| set.remove(member)).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.keys.modified(EventClass::SET, "srem", key);
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.remove_if_empty(key);
    }
    ctx.reply.count(removed);
    Ok(Effect::Verbatim)
}

/// SMOVE source destination member
pub const SMOVE: Command<DataFn> = Command::new(
    CommandSpec::new("smove", 4, Group::Set)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE), at(2, RW_INSERT)])
        .doc("O(1)", "Moves a member from one set to another."),
    smove,
);

/// The set at a key, before a write: no access, no statistics.
fn peek_set<'a>(ctx: &'a mut Ctx<'_, '_>, key: &[u8]) -> Result<Option<&'a Set>, CommandError> {
    match ctx.keys.peek(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

fn smove(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (source, target, member) = (args.at(1), args.at(2), args.at(3));
    let there = peek_set(ctx, source)?.map(|set| set.contains(member));
    // The target's type matters only if there is a source.
    if there.is_some() {
        peek_set(ctx, target)?;
    }
    let there = there.unwrap_or(false);
    ctx.reply.integer(i64::from(there));
    if !there || source == target {
        return Ok(Effect::None);
    }
    if let Some(set) = ctx.keys.set_mut(source)? {
        set.remove(member);
    }
    ctx.keys.modified(EventClass::SET, "srem", source);
    ctx.keys.remove_if_empty(source);
    let set = ctx.keys.set_or_new(target)?;
    if set.is_empty() {
        *set = Set::with_hint(member, 1, &ctx.env.limits);
    }
    if set.add(member, &ctx.env.limits) {
        ctx.keys.modified(EventClass::SET, "sadd", target);
    }
    Ok(Effect::Verbatim)
}

/// SCARD key
pub const SCARD: Command<DataFn> = Command::new(
    CommandSpec::new("scard", 2, Group::Set)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .doc("O(1)", "Returns the number of members of a set."),
    scard,
);

fn scard(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.keys.set(args.at(1))?.map_or(0, Set::len);
    ctx.reply.count(len);
    Ok(Effect::None)
}

/// SISMEMBER key member
pub const SISMEMBER: Command<DataFn> = Command::new(
    CommandSpec::new("sismember", 3, Group::Set)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .doc("O(1)", "Says whether a member is in a set."),
    sismember,
);

fn sismember(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let there = ctx.keys.set(args.at(1))?.is_some_and(|set| set.contains(args.at(2)));
    ctx.reply.integer(i64::from(there));
    Ok(Effect::None)
}

/// SMISMEMBER key member [member …]
pub const SMISMEMBER: Command<DataFn> = Command::new(
    CommandSpec::new("smismember", -3, Group::Set)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(n) for n members", "Says of each of several members whether it is in a set."),
    smismember,
);

fn smismember(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let set = ctx.keys.set(args.at(1))?;
    ctx.reply.array(args.len() - 2);
    for member in args.tail(2).iter() {
        ctx.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(Effect::None)
}
