//! Random members of a set: SPOP takes them, SRANDMEMBER looks at them.

use crate::args::{int_between, not_negative};
use crate::family::collections::{Picker, draw_many};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs, Reply};
use std::collections::BTreeSet;
use stdx::Prng;
use structures::{Elem, Limits, Set, SetRepr};

/// SPOP key [count]
pub const SPOP: Command<DataFn> = Command::new(
    CommandSpec::new("spop", -2, Group::Set)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n members returned", "Removes random members of a set and returns them."),
    spop,
);

fn spop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    match args.len() {
        2 => pop_one(ctx, key),
        3 => {
            let count = not_negative(args.at(2))? as usize;
            pop_many(ctx, key, count)
        }
        _ => Err(CommandError::SYNTAX),
    }
}

fn pop_one(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> CommandResult {
    let Some(member) = ctx.keys.set_mut(key)?.and_then(|set| set.pop_random(ctx.rng)) else {
        ctx.reply.null();
        return Ok(Effect::None);
    };
    ctx.keys.modified(EventClass::SET, "spop", key);
    ctx.keys.remove_if_empty(key);
    ctx.reply.bulk(&member);
    Ok(Effect::replace(&[b"SREM", key, &member]))
}

/// Source: redis 7.2 `t_set.c:spopWithCountCommand`.
fn pop_many(ctx: &mut Ctx<'_, '_>, key: &[u8], count: usize) -> CommandResult {
    let Some(set) = ctx.keys.set_mut(key)?.filter(|_| count > 0) else {
        ctx.reply.set(0);
        return Ok(Effect::None);
    };
    let len = set.len();
    if count >= len {
        ctx.reply.set(len);
        set.iter().for_each(|member| bulk_elem(ctx.reply, member));
        ctx.keys.remove(key);
        ctx.keys.modified(EventClass::SET, "spop", key);
        ctx.keys.dirty(len as u64 - 1);
        ctx.keys.notify(EventClass::GENERIC, "del", key);
        return Ok(Effect::replace(&[b"DEL", key]));
    }
    let mut log = Removals::new(key);
    ctx.reply.set(count);
    take_random(set, count, ctx.rng, &ctx.env.limits, &mut |member| {
        ctx.reply.bulk(member);
        log.add(member);
    });
    ctx.keys.modified(EventClass::SET, "spop", key);
    ctx.keys.dirty(count as u64 - 1);
    Ok(Effect::Replace(log.done))
}

/// Removes `count` random members, fewer than there are, and shows each to `f`; every choice is
/// equally likely.
fn take_random(
    set: &mut Set,
    count: usize,
    rng: &mut Prng,
    limits: &Limits,
    f: &mut dyn FnMut(&[u8]),
) {
    let left = set.len() - count;
    if left.saturating_mul(5) <= count {
        // Few stay: they are put into a new set, which may be stored smaller than the old one.
        let first_kind = if matches!(set.repr(), SetRepr::Intset(_)) { b"0" } else { b"-" };
        let mut rest = Set::with_hint(first_kind, 1, limits);
        let mut stays = Picker::new(set.len(), left);
        for member in set.iter() {
            if stays.pick(rng) {
                member.with(|text| rest.add(text, limits));
            } else {
                member.with(&mut *f);
            }
        }
        *set = rest;
    } else if matches!(set.repr(), SetRepr::Table) {
        for _ in 0..count {
            if let Some(member) = set.pop_random(rng) {
                f(&member);
            }
        }
    } else {
        // Small: one walk finds all of them.
        let mut goes = Picker::new(set.len(), count);
        let picked: Vec<Vec<u8>> =
            set.iter().filter(|_| goes.pick(rng)).map(Elem::to_vec).collect();
        for member in picked {
            set.remove(&member);
            f(&member);
        }
    }
}

/// SREM commands for the log, of at most 1024 members each.
struct Removals<'a> {
    key: &'a [u8],
    in_last: usize,
    done: Vec<OwnedArgs>,
}

impl Removals<'_> {
    fn new(key: &[u8]) -> Removals<'_> {
        Removals { key, in_last: 0, done: Vec::new() }
    }

    fn add(&mut self, member: &[u8]) {
        if self.in_last.is_multiple_of(1024) {
            self.done.push(OwnedArgs::from_parts(&[b"SREM", self.key]));
        }
        self.in_last += 1;
        if let Some(command) = self.done.last_mut() {
            command.push(member);
        }
    }
}

/// SRANDMEMBER key [count]
pub const SRANDMEMBER: Command<DataFn> = Command::new(
    CommandSpec::new("srandmember", -2, Group::Set)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n members returned", "Returns random members of a set."),
    srandmember,
);

fn srandmember(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let Some(count) = args.get(2) else {
        let member = ctx.keys.set(args.at(1))?.and_then(|set| set.random(ctx.rng));
        bulk_elem_or_null(ctx.reply, member);
        return Ok(Effect::None);
    };
    let count = int_between(count, -i64::MAX, i64::MAX)?;
    let Some(set) = ctx.keys.set(args.at(1))?.filter(|_| count != 0) else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    if count > 0 {
        let wanted = (count as usize).min(set.len());
        ctx.reply.array(wanted);
        sample(set, wanted, ctx.rng, ctx.reply);
        return Ok(Effect::None);
    }
    let draws = count.unsigned_abs();
    ctx.reply.array(usize::try_from(draws).unwrap_or(usize::MAX));
    let rng = &mut *ctx.rng;
    draw_many(ctx.reply, draws, |reply| bulk_elem_or_null(reply, set.random(rng)))?;
    Ok(Effect::None)
}

/// Writes `wanted` different members, at most as many as there are; every choice is equally likely.
fn sample(set: &Set, wanted: usize, rng: &mut Prng, reply: &mut Reply) {
    // Drawing until enough differ is quick while most draws are new; else one walk over all.
    if wanted < set.len() / 4 && matches!(set.repr(), SetRepr::Table) {
        let mut seen = BTreeSet::new();
        while seen.len() < wanted {
            let Some(member) = set.random(rng) else { return };
            if seen.insert(member.to_vec()) {
                bulk_elem(reply, member);
            }
        }
        return;
    }
    let mut picker = Picker::new(set.len(), wanted);
    set.iter().filter(|_| picker.pick(rng)).for_each(|member| bulk_elem(reply, member));
}
