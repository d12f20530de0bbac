//! ZRANDMEMBER.

use super::{member_item, members_head};
use crate::args::int_between;
use crate::family::collections::{Picker, draw_many};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::Args;
use std::collections::BTreeSet;
use stdx::Prng;
use structures::{Elem, Zset};

/// ZRANDMEMBER key [count [WITHSCORES]]
pub const ZRANDMEMBER: Command<DataFn> = Command::new(
    CommandSpec::new("zrandmember", -2, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.2.0")
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n members returned", "Returns random members of a sorted set."),
    zrandmember,
);

fn zrandmember(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 {
        let member = ctx.keys.zset(args.at(1))?.and_then(|zset| zset.random(ctx.rng));
        bulk_elem_or_null(ctx.reply, member.map(|(member, _)| member));
        return Ok(Effect::None);
    }
    let count = int_between(args.at(2), -i64::MAX, i64::MAX)?;
    let with_scores = args.len() > 3;
    if with_scores {
        if args.len() > 4 || !args.is(3, "withscores") {
            return Err(CommandError::SYNTAX);
        }
        if count.unsigned_abs() > i64::MAX as u64 / 2 {
            return Err(CommandError::OUT_OF_RANGE);
        }
    }
    let Some(zset) = ctx.keys.zset(args.at(1))?.filter(|_| count != 0) else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    let reply = &mut *ctx.reply;
    if count > 0 {
        let wanted = (count as usize).min(zset.len());
        members_head(reply, wanted, with_scores);
        sample(zset, wanted, ctx.rng, &mut |member, score| {
            member_item(reply, member, score, with_scores);
        });
        return Ok(Effect::None);
    }
    let draws = count.unsigned_abs();
    members_head(reply, usize::try_from(draws).unwrap_or(usize::MAX), with_scores);
    let rng = &mut *ctx.rng;
    draw_many(reply, draws, |reply| {
        if let Some((member, score)) = zset.random(rng) {
            member_item(reply, member, score, with_scores);
        }
    })?;
    Ok(Effect::None)
}

/// Shows `wanted` different members, at most as many as there are, to `f`; every choice is equally
/// likely.
fn sample(zset: &Zset, wanted: usize, rng: &mut Prng, f: &mut dyn FnMut(Elem<'_>, f64)) {
    // Drawing until enough differ is quick while most draws are new; else one walk over all.
    if wanted < zset.len() / 4 && zset.as_listpack().is_none() {
        let mut seen = BTreeSet::new();
        while seen.len() < wanted {
            let Some((member, score)) = zset.random(rng) else { return };
            if seen.insert(member.to_vec()) {
                f(member, score);
            }
        }
        return;
    }
    let mut picker = Picker::new(zset.len(), wanted);
    zset.iter().filter(|_| picker.pick(rng)).for_each(|(member, score)| f(member, score));
}
