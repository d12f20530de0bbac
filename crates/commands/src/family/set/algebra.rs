//! Intersections, unions and differences of sets, returned, counted or stored.

use crate::args::{int_between_or, option_value};
use crate::family::collections::{numkeys, store};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at, each, keynum,
};
use keyspace::{EventClass, Keys};
use resp::Args;
use structures::{Elem, Limits, Set, SetRepr, Value, ValueRef};

/// The sets at several keys, in their order; a missing one is empty. Fails if any key holds
/// something else, even where the result is known before.
fn sets<'a, 'n>(
    keys: &'a mut Keys<'_>,
    names: impl Iterator<Item = &'n [u8]> + Clone,
) -> Result<Vec<Option<&'a Set>>, CommandError> {
    for name in names.clone() {
        keys.set(name)?;
    }
    let keys = &*keys;
    let view = |name| match keys.view(name).map(|entry| entry.value()) {
        Some(ValueRef::Set(set)) => Some(set),
        _ => None,
    };
    Ok(names.map(view).collect())
}

fn contains(set: &Set, member: Elem<'_>) -> bool {
    member.with(|text| set.contains(text))
}

/// Shows the members that are in all `sets` to `f`, in the order of the smallest set, as long as
/// it returns true.
fn intersect(mut sets: Vec<&Set>, f: &mut dyn FnMut(Elem<'_>) -> bool) {
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|set| contains(set, member)) && !f(member) {
            return;
        }
    }
}

/// SINTER key [key …]
pub const SINTER: Command<DataFn> = Command::new(
    CommandSpec::new("sinter", -2, Group::Set)
        .flags(READ)
        .keys(&[each(1, RO_ACCESS)])
        .tips(&["nondeterministic_output_order"])
        .doc(
            "O(n*m) for m sets, the smallest of n members",
            "Returns the members that all sets have.",
        ),
    sinter,
);

fn sinter(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let sets = sets(ctx.keys, args.tail(1).iter())?;
    let mark = ctx.reply.mark();
    let mut found = 0;
    // A missing set makes the result empty.
    if let Some(sets) = sets.into_iter().collect::<Option<Vec<_>>>() {
        intersect(sets, &mut |member| {
            bulk_elem(ctx.reply, member);
            found += 1;
            true
        });
    }
    ctx.reply.set_at(mark, found);
    Ok(Effect::None)
}

/// SINTERSTORE destination key [key …]
pub const SINTERSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("sinterstore", -3, Group::Set)
        .flags(GROW)
        .keys(&[at(1, RW_UPDATE), each(2, RO_ACCESS)])
        .doc(
            "O(n*m) for m sets, the smallest of n members",
            "Stores the members that all sets have.",
        ),
    sinterstore,
);

fn sinterstore(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let sets = sets(ctx.keys, args.tail(2).iter())?;
    let result = match sets.into_iter().collect::<Option<Vec<_>>>() {
        Some(sets) => stored_intersection(sets, &ctx.env.limits),
        None => Set::new(),
    };
    let len = result.len();
    store(ctx, args.at(1), Value::Set(Box::new(result)), len, EventClass::SET, "sinterstore")
}

/// The result starts as a listpack, unless the smallest set is an intset, and becomes an intset
/// if it can. Source: redis 7.2 `t_set.c:sinterGenericCommand`.
fn stored_intersection(sets: Vec<&Set>, limits: &Limits) -> Set {
    let from_ints = sets
        .iter()
        .min_by_key(|set| set.len())
        .is_some_and(|set| matches!(set.repr(), SetRepr::Intset(_)));
    let mut result = if from_ints { Set::new() } else { Set::with_hint(b"-", 1, limits) };
    let mut only_integers = true;
    intersect(sets, &mut |member| {
        only_integers = only_integers && member.as_i64().is_some();
        member.with(|text| result.add(text, limits))
    });
    if only_integers && !from_ints && result.len() <= limits.set_max_intset_entries {
        let mut ints = Set::new();
        result.iter().for_each(|member| {
            member.with(|text| ints.add(text, limits));
        });
        return ints;
    }
    result
}

/// SINTERCARD numkeys key [key …] [LIMIT limit]
pub const SINTERCARD: Command<DataFn> = Command::new(
    CommandSpec::new("sintercard", -3, Group::Set)
        .flags(READ)
        .keys(&[keynum(1, RO_ACCESS)])
        .since("7.0.0")
        .doc(
            "O(n*m) for m sets, the smallest of n members",
            "Counts the members that all sets have.",
        ),
    sintercard,
);

fn sintercard(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const TOO_MANY: CommandError =
        CommandError::new("ERR Number of keys can't be greater than number of args");
    const LIMIT: CommandError = CommandError::new("ERR LIMIT can't be negative");
    let count = numkeys(args, 1)?;
    if count > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let mut limit = 0;
    for index in (2 + count..args.len()).step_by(2) {
        let value = option_value(args, index, "limit").ok_or(CommandError::SYNTAX)?;
        limit = int_between_or(value, 0, i64::MAX, LIMIT)?;
    }
    let sets = sets(ctx.keys, args.tail(2).iter().take(count))?;
    let mut found = 0;
    if let Some(sets) = sets.into_iter().collect::<Option<Vec<_>>>() {
        intersect(sets, &mut |_| {
            found += 1;
            found != limit
        });
    }
    ctx.reply.integer(found);
    Ok(Effect::None)
}

fn union(sets: &[Option<&Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        member.with(|text| result.add(text, limits));
    }
    result
}

/// The members of the first set that no other set has.
fn difference(sets: &[Option<&Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    let Some((Some(first), others)) = sets.split_first() else { return result };
    let mut others: Vec<&Set> = others.iter().flatten().copied().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return result;
    }
    // Either each member is looked for in the other sets, or all members of all sets are walked.
    // Source: redis 7.0 `t_set.c:sunionDiffGenericCommand`.
    let walk: usize = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if first.len().saturating_mul(others.len() + 1) / 2 > walk {
        for member in first.iter() {
            member.with(|text| result.add(text, limits));
        }
        for member in others.iter().flat_map(|set| set.iter()) {
            member.with(|text| result.remove(text));
            if result.is_empty() {
                break;
            }
        }
        return result;
    }
    // The biggest first: it is the likeliest to have a member.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    for member in first.iter() {
        if !others.iter().any(|set| contains(set, member)) {
            member.with(|text| result.add(text, limits));
        }
    }
    result
}

/// SUNION key [key …]
pub const SUNION: Command<DataFn> = Command::new(
    CommandSpec::new("sunion", -2, Group::Set)
        .flags(READ)
        .keys(&[each(1, RO_ACCESS)])
        .tips(&["nondeterministic_output_order"])
        .doc("O(n) for n members of all sets", "Returns the members that any of the sets has."),
    |ctx, args| show(ctx, args, union),
);

/// SDIFF key [key …]
pub const SDIFF: Command<DataFn> = Command::new(
    CommandSpec::new("sdiff", -2, Group::Set)
        .flags(READ)
        .keys(&[each(1, RO_ACCESS)])
        .tips(&["nondeterministic_output_order"])
        .doc(
            "O(n) for n members of all sets",
            "Returns members of the first set that no other has.",
        ),
    |ctx, args| show(ctx, args, difference),
);

fn show(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    compute: fn(&[Option<&Set>], &Limits) -> Set,
) -> CommandResult {
    let result = compute(&sets(ctx.keys, args.tail(1).iter())?, &ctx.env.limits);
    ctx.reply.set(result.len());
    result.iter().for_each(|member| bulk_elem(ctx.reply, member));
    Ok(Effect::None)
}

/// SUNIONSTORE destination key [key …]
pub const SUNIONSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("sunionstore", -3, Group::Set)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), each(2, RO_ACCESS)])
        .doc("O(n) for n members of all sets", "Stores the members that any of the sets has."),
    |ctx, args| {
        let result = union(&sets(ctx.keys, args.tail(2).iter())?, &ctx.env.limits);
        let len = result.len();
        store(ctx, args.at(1), Value::Set(Box::new(result)), len, EventClass::SET, "sunionstore")
    },
);

/// SDIFFSTORE destination key [key …]
pub const SDIFFSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("sdiffstore", -3, Group::Set)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), each(2, RO_ACCESS)])
        .doc(
            "O(n) for n members of all sets",
            "Stores members of the first set that no other has.",
        ),
    |ctx, args| {
        let result = difference(&sets(ctx.keys, args.tail(2).iter())?, &ctx.env.limits);
        let len = result.len();
        store(ctx, args.at(1), Value::Set(Box::new(result)), len, EventClass::SET, "sdiffstore")
    },
);
