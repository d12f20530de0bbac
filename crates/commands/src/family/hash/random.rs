//! HRANDFIELD.

use crate::args::int_between;
use crate::family::collections::draw_many;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};
use std::collections::BTreeSet;
use stdx::Prng;
use structures::{Elem, Hash};

/// HRANDFIELD key [count [WITHVALUES]]
pub const HRANDFIELD: Command<DataFn> = Command::new(
    CommandSpec::new("hrandfield", -2, Group::Hash)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.2.0")
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n fields returned", "Returns random fields of a hash."),
    hrandfield,
);

fn hrandfield(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 {
        let field = ctx.keys.hash(args.at(1))?.and_then(|hash| hash.random(ctx.rng));
        bulk_elem_or_null(ctx.reply, field.map(|(field, _)| field));
        return Ok(Effect::None);
    }
    let count = int_between(args.at(2), -i64::MAX, i64::MAX)?;
    let with_values = args.len() > 3;
    if with_values {
        if args.len() > 4 || !args.is(3, "withvalues") {
            return Err(CommandError::SYNTAX);
        }
        if count.unsigned_abs() > i64::MAX as u64 / 2 {
            return Err(CommandError::OUT_OF_RANGE);
        }
    }
    let Some(hash) = ctx.keys.hash(args.at(1))?.filter(|_| count != 0) else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    if count < 0 {
        let draws = count.unsigned_abs();
        head(ctx.reply, usize::try_from(draws).unwrap_or(usize::MAX), with_values);
        let rng = &mut *ctx.rng;
        draw_many(ctx.reply, draws, |reply| {
            if let Some(pair) = hash.random(rng) {
                item(reply, pair, with_values);
            }
        })?;
        return Ok(Effect::None);
    }
    let wanted = (count as usize).min(hash.len());
    head(ctx.reply, wanted, with_values);
    let reply = &mut *ctx.reply;
    sample(hash, wanted, ctx.rng, &mut |pair| item(reply, pair, with_values));
    Ok(Effect::None)
}

fn head(reply: &mut Reply, count: usize, with_values: bool) {
    let doubled = with_values && !reply.is_resp3();
    reply.array(if doubled { count.saturating_mul(2) } else { count });
}

fn item(reply: &mut Reply, (field, value): (Elem<'_>, Elem<'_>), with_values: bool) {
    if with_values && reply.is_resp3() {
        reply.array(2);
    }
    bulk_elem(reply, field);
    if with_values {
        bulk_elem(reply, value);
    }
}

/// Hands `wanted` different fields to `f`, each set of so many fields being as likely as any other.
fn sample(hash: &Hash, wanted: usize, rng: &mut Prng, f: &mut dyn FnMut((Elem<'_>, Elem<'_>))) {
    // Drawing until enough differ is quick while most draws are new; else one walk over all.
    if wanted < hash.len() / 4 && hash.as_listpack().is_none() {
        let mut seen = BTreeSet::new();
        while seen.len() < wanted {
            let Some(pair) = hash.random(rng) else { return };
            if seen.insert(pair.0.to_vec()) {
                f(pair);
            }
        }
        return;
    }
    let (mut left, mut wanted) = (hash.len() as u64, wanted as u64);
    for pair in hash.iter() {
        if rng.below(left) < wanted {
            f(pair);
            wanted -= 1;
        }
        left -= 1;
    }
}
