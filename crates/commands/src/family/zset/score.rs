//! Commands that count members or look up scores and ranks.

use super::bounds::{lex_range, score_range};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};
use structures::Zset;

/// ZCARD key
pub const ZCARD: Command<DataFn> = Command::new(
    CommandSpec::new("zcard", 2, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("1.2.0")
        .doc("O(1)", "Returns the number of members of a sorted set."),
    |ctx, args| count(ctx, args, Zset::len),
);

/// ZCOUNT key min max
pub const ZCOUNT: Command<DataFn> = Command::new(
    CommandSpec::new("zcount", 4, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(log(n))", "Counts the members within a range of scores."),
    |ctx, args| {
        let range = score_range(args.at(2), args.at(3))?;
        count(ctx, args, |zset| zset.count_by_score(&range))
    },
);

/// ZLEXCOUNT key min max
pub const ZLEXCOUNT: Command<DataFn> = Command::new(
    CommandSpec::new("zlexcount", 4, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.9")
        .doc("O(log(n))", "Counts the members within a range of names."),
    |ctx, args| {
        let range = lex_range(args.at(2), args.at(3))?;
        count(ctx, args, |zset| zset.count_by_lex(&range))
    },
);

fn count(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    run: impl FnOnce(&Zset) -> usize,
) -> CommandResult {
    let count = ctx.keys.zset(args.at(1))?.map_or(0, run);
    ctx.reply.count(count);
    Ok(Effect::None)
}

fn score_or_null(reply: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// ZSCORE key member
pub const ZSCORE: Command<DataFn> = Command::new(
    CommandSpec::new("zscore", 3, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("1.2.0")
        .doc("O(1)", "Returns the score of a member."),
    zscore,
);

fn zscore(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let score = ctx.keys.zset(args.at(1))?.and_then(|zset| zset.score(args.at(2)));
    score_or_null(ctx.reply, score);
    Ok(Effect::None)
}

/// ZMSCORE key member [member …]
pub const ZMSCORE: Command<DataFn> = Command::new(
    CommandSpec::new("zmscore", -3, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(n) for n members", "Returns the scores of several members."),
    zmscore,
);

fn zmscore(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let zset = ctx.keys.zset(args.at(1))?;
    ctx.reply.array(args.len() - 2);
    for member in args.tail(2).iter() {
        score_or_null(ctx.reply, zset.and_then(|zset| zset.score(member)));
    }
    Ok(Effect::None)
}

/// ZRANK key member [WITHSCORE]
pub const ZRANK: Command<DataFn> = Command::new(
    CommandSpec::new("zrank", -3, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(log(n))", "Returns a member's place, counted from the lowest score."),
    |ctx, args| rank(ctx, args, false, "zrank"),
);

/// ZREVRANK key member [WITHSCORE]
pub const ZREVRANK: Command<DataFn> = Command::new(
    CommandSpec::new("zrevrank", -3, Group::SortedSet)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(log(n))", "Returns a member's place, counted from the highest score."),
    |ctx, args| rank(ctx, args, true, "zrevrank"),
);

/// Source: redis 7.2 `t_zset.c:zrankGenericCommand`.
fn rank(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, rev: bool, name: &str) -> CommandResult {
    if args.len() > 4 {
        return Err(CommandError::arity(name));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "withscore") {
        return Err(CommandError::SYNTAX);
    }
    let member = args.at(2);
    let zset = ctx.keys.zset(args.at(1))?;
    let found = zset.and_then(|zset| Some((zset, zset.rank(member, rev)?)));
    match found {
        Some((zset, rank)) if with_score => {
            ctx.reply.array(2);
            ctx.reply.count(rank);
            score_or_null(ctx.reply, zset.score(member));
        }
        Some((_, rank)) => ctx.reply.count(rank),
        None if with_score => ctx.reply.null_array(),
        None => ctx.reply.null(),
    }
    Ok(Effect::None)
}
