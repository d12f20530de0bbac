//! Commands that walk over a whole database, one stripe at a time.
//!
//! They hold no stripe when they start and one at a time later, so what they see is atomic for each
//! stripe only; a key that is there all the time is seen, as Redis promises for SCAN.

use crate::args::{ScanKind, ScanOptions, cursor};
use crate::family::common::*;
use crate::{
    AclCategories, Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group,
};
use keyspace::{ExpireRule, Keys};
use resp::{Args, Reply};
use stdx::glob_match;
use structures::Entry;

/// Whether a walk sees this entry: those whose time has come are left to the expiry cycle.
fn visible(keys: &Keys<'_>) -> impl Fn(&Entry) -> bool + use<> {
    let options = keys.options;
    move |entry| {
        options.expire == ExpireRule::Ignore || entry.stamp().is_none_or(|at| at > options.now.0)
    }
}

/// KEYS pattern
pub const KEYS: Command<DataFn> = Command::new(
    CommandSpec::new("keys", 2, Group::Generic)
        .flags(READ.union(Flags::WALKS))
        .acl(AclCategories::DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .doc("O(n) for n keys of the database", "Returns all keys whose names match a pattern."),
    keys,
);

fn keys(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pattern = args.at(1);
    let (db, visible, reply) = (ctx.keys.db, visible(ctx.keys), &mut *ctx.reply);
    let mark = reply.mark();
    let mut count = 0;
    ctx.keys.each_stripe(|stripe| {
        for entry in stripe.db(db).table().iter() {
            if (pattern == b"*" || glob_match(pattern, entry.key(), false)) && visible(entry) {
                reply.bulk(entry.key());
                count += 1;
            }
        }
    });
    reply.array_at(mark, count);
    Ok(Effect::None)
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub const SCAN: Command<DataFn> = Command::new(
    CommandSpec::new("scan", -2, Group::Generic)
        .flags(READ.union(Flags::WALKS))
        .since("2.8.0")
        .tips(&["nondeterministic_output", "request_policy:special"])
        .doc(
            "O(1) for a call, O(n) for all n keys",
            "Walks over the keys of a database, a part in each call.",
        ),
    scan,
);

/// The cursor is the stripe's table cursor times the number of stripes, plus the stripe's index: 0
/// at the start and the end only, and no state here between two calls.
fn scan(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let start = cursor(args.at(1))?;
    let options = ScanOptions::parse(args, 2, ScanKind::Keys)?;
    let (db, visible) = (ctx.keys.db, visible(ctx.keys));
    let stripes = ctx.keys.space().stripes() as u64;
    let (mut stripe, mut place) = (start % stripes, start / stripes);
    let mut items = Reply::new(ctx.reply.protocol());
    let (mut seen, mut found) = (0, 0);
    // Empty places count too, so that a sparse table can't make one call long.
    let mut steps_left = options.count.saturating_mul(10);
    while steps_left > 0 && seen < options.count && stripe < stripes {
        ctx.keys.with_stripe(stripe as usize, |data| {
            let table = data.db(db).table();
            while steps_left > 0 && seen < options.count {
                steps_left -= 1;
                place = table.scan(place, &mut |entry| {
                    seen += 1;
                    if options.matches(entry.key()) && of_type(entry, &options) && visible(entry) {
                        items.bulk(entry.key());
                        found += 1;
                    }
                });
                if place == 0 {
                    break;
                }
            }
        });
        if place == 0 {
            stripe += 1;
        }
    }
    let next = if stripe == stripes { 0 } else { place.wrapping_mul(stripes) + stripe };
    scan_reply(ctx.reply, next, found, &items);
    Ok(Effect::None)
}

fn of_type(entry: &Entry, options: &ScanOptions<'_>) -> bool {
    options.of_type.is_none_or(|name| name.eq_ignore_ascii_case(entry.type_name().as_bytes()))
}

/// RANDOMKEY
pub const RANDOMKEY: Command<DataFn> = Command::new(
    CommandSpec::new("randomkey", 1, Group::Generic)
        .flags(READ.union(Flags::WALKS))
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .doc("O(1)", "Returns a random key of the database."),
    randomkey,
);

/// Draws before all keys are looked at; needed where nearly all have expired.
const RANDOM_TRIES: u32 = 100;

fn randomkey(ctx: &mut Ctx<'_, '_>, _: &Args<'_>) -> CommandResult {
    let (db, visible, rng) = (ctx.keys.db, visible(ctx.keys), &mut *ctx.rng);
    for _ in 0..RANDOM_TRIES {
        let mut sizes = Vec::new();
        ctx.keys.each_stripe(|stripe| sizes.push(stripe.db(db).len() as u64));
        let total: u64 = sizes.iter().sum();
        if total == 0 {
            ctx.reply.null();
            return Ok(Effect::None);
        }
        // Each key of any stripe with the same chance.
        let mut nth = rng.below(total);
        let chosen = sizes.iter().position(|&size| {
            let here = nth < size;
            if !here {
                nth -= size;
            }
            here
        });
        let key = ctx.keys.with_stripe(chosen.unwrap_or(0), |stripe| {
            let entry = stripe.db(db).table().random(rng).filter(|entry| visible(entry))?;
            Some(entry.key().to_vec())
        });
        if let Some(key) = key {
            ctx.reply.bulk(&key);
            return Ok(Effect::None);
        }
    }
    let mut key = None;
    ctx.keys.each_stripe(|stripe| {
        if key.is_none() {
            let entry = stripe.db(db).table().iter().find(|entry| visible(entry));
            key = entry.map(|entry| entry.key().to_vec());
        }
    });
    match key {
        Some(key) => ctx.reply.bulk(&key),
        None => ctx.reply.null(),
    }
    Ok(Effect::None)
}

/// DBSIZE
pub const DBSIZE: Command<DataFn> = Command::new(
    CommandSpec::new("dbsize", 1, Group::Server)
        .flags(READ_FAST.union(Flags::WALKS))
        .acl(AclCategories::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .doc("O(1)", "Returns the number of keys of the database."),
    dbsize,
);

fn dbsize(ctx: &mut Ctx<'_, '_>, _: &Args<'_>) -> CommandResult {
    let (db, mut count) = (ctx.keys.db, 0);
    ctx.keys.each_stripe(|stripe| count += stripe.db(db).len());
    ctx.reply.count(count);
    Ok(Effect::None)
}
