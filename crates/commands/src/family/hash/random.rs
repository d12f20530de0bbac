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
        let now = ctx.keys.fields_now();
        let field = ctx.keys.hash(args.at(1))?.and_then(|hash| hash.random_at(now, ctx.rng));
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
    let now = ctx.keys.fields_now();
    let there = |hash: &&Hash| count != 0 && hash.len_at(now) > 0;
    let Some(hash) = ctx.keys.hash(args.at(1))?.filter(there) else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    if count < 0 {
        let draws = count.unsigned_abs();
        head(ctx.reply, usize::try_from(draws).unwrap_or(usize::MAX), with_values);
        // Draws among few that are not due would be lost on the others.
        let few: Vec<_> = if mostly_due(hash, now) { hash.iter_at(now).collect() } else { vec![] };
        let rng = &mut *ctx.rng;
        draw_many(ctx.reply, draws, |reply| {
            let drawn = if few.is_empty() {
                hash.random_at(now, rng)
            } else {
                Some(few[rng.below(few.len() as u64) as usize])
            };
            if let Some(pair) = drawn {
                item(reply, pair, with_values);
            }
        })?;
        return Ok(Effect::None);
    }
    let wanted = (count as usize).min(hash.len_at(now));
    head(ctx.reply, wanted, with_values);
    let reply = &mut *ctx.reply;
    sample(hash, wanted, now, ctx.rng, &mut |pair| item(reply, pair, with_values));
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

/// Whether more fields are due at `now` than not.
fn mostly_due(hash: &Hash, now: i64) -> bool {
    hash.may_have_due(now) && hash.len_at(now) < hash.len() / 2
}

/// Hands `wanted` different fields to `f`, each set of so many fields being as likely as any other.
fn sample(
    hash: &Hash,
    wanted: usize,
    now: i64,
    rng: &mut Prng,
    f: &mut dyn FnMut((Elem<'_>, Elem<'_>)),
) {
    let there = hash.len_at(now);
    // Drawing until enough differ is quick while most draws are new; else one walk over all.
    if wanted < there / 4 && hash.encoding() == "hashtable" && !mostly_due(hash, now) {
        let mut seen = BTreeSet::new();
        while seen.len() < wanted {
            let Some(pair) = hash.random_at(now, rng) else { return };
            if seen.insert(pair.0.to_vec()) {
                f(pair);
            }
        }
        return;
    }
    let (mut left, mut wanted) = (there as u64, wanted as u64);
    for pair in hash.iter_at(now) {
        if rng.below(left) < wanted {
            f(pair);
            wanted -= 1;
        }
        left -= 1;
    }
}
