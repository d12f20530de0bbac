//! ZRANGE and all that it replaced: ranges by rank, score or name, in both directions, returned or
//! stored.

use super::bounds::{lex_range, score_range};
use super::{member_item, members_head};
use crate::args::int;
use crate::family::collections::{store, window};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::{LexRange, Limits, ScoreRange, Value, Zset, ZsetIter};

const COST: &str = "O(log(n)+m) for m members returned";

/// ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub const ZRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("zrange", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("1.2.0")
        .doc(COST, "Returns a range of a sorted set, by rank, score or name."),
    |ctx, args| show(ctx, args, None, None),
);

/// ZREVRANGE key start stop [WITHSCORES]
pub const ZREVRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("zrevrange", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("1.2.0")
        .doc(COST, "Returns the members within a range of ranks, from the highest score down.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    |ctx, args| show(ctx, args, Some(By::Rank), Some(true)),
);

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub const ZRANGEBYSCORE: Command<DataFn> = Command::new(
    CommandSpec::new("zrangebyscore", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("1.0.5")
        .doc(COST, "Returns the members within a range of scores.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    |ctx, args| show(ctx, args, Some(By::Score), Some(false)),
);

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub const ZREVRANGEBYSCORE: Command<DataFn> = Command::new(
    CommandSpec::new("zrevrangebyscore", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.2.0")
        .doc(COST, "Returns the members within a range of scores, from the highest down.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    |ctx, args| show(ctx, args, Some(By::Score), Some(true)),
);

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub const ZRANGEBYLEX: Command<DataFn> = Command::new(
    CommandSpec::new("zrangebylex", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.9")
        .doc(COST, "Returns the members within a range of names.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    |ctx, args| show(ctx, args, Some(By::Lex), Some(false)),
);

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub const ZREVRANGEBYLEX: Command<DataFn> = Command::new(
    CommandSpec::new("zrevrangebylex", -4, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.9")
        .doc(COST, "Returns the members within a range of names, from the highest down.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    |ctx, args| show(ctx, args, Some(By::Lex), Some(true)),
);

/// ZRANGESTORE destination source min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]
pub const ZRANGESTORE: Command<DataFn> = Command::new(
    CommandSpec::new("zrangestore", -5, Group::SortedSet)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), at(2, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(log(n)+m) for m members stored", "Stores a range of a sorted set in another key."),
    zrangestore,
);

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The parsed ends of a range, lower one first.
enum Bounds {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange),
}

/// Everything behind the key of a range command.
struct Query {
    bounds: Bounds,
    rev: bool,
    with_scores: bool,
    offset: i64,
    /// The most members; negative for all.
    limit: i64,
}

impl Query {
    /// Parses `min max [option …]` from argument `from` on. `by` and `rev` are given by commands
    /// whose names say them; the options for them are refused then.
    /// Source: redis 7.0 `t_zset.c:zrangeGenericCommand`.
    fn parse(
        args: &Args<'_>,
        from: usize,
        mut by: Option<By>,
        mut rev: Option<bool>,
        storing: bool,
    ) -> Result<Query, CommandError> {
        const LIMIT: CommandError = CommandError::new(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        const SCORES: CommandError = CommandError::new(
            "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        );
        let (rev_given, mut with_scores) = (rev.is_some(), false);
        let (mut offset, mut limit) = (0, -1);
        let mut index = from + 2;
        while index < args.len() {
            if !storing && args.is(index, "withscores") {
                with_scores = true;
            } else if args.is(index, "limit") && index + 2 < args.len() {
                offset = int(args.at(index + 1))?;
                limit = int(args.at(index + 2))?;
                index += 2;
            } else if !rev_given && rev.is_none() && args.is(index, "rev") {
                rev = Some(true);
            } else if by.is_none() && args.is(index, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(index, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::SYNTAX);
            }
            index += 1;
        }
        let (by, rev) = (by.unwrap_or(By::Rank), rev.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(LIMIT);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES);
        }
        let (first, second) = (args.at(from), args.at(from + 1));
        // Scores and names of a reversed range are given higher one first.
        let (min, max) = if rev { (second, first) } else { (first, second) };
        let bounds = match by {
            By::Rank => Bounds::Rank(int(first)?, int(second)?),
            By::Score => Bounds::Score(score_range(min, max)?),
            By::Lex => Bounds::Lex(lex_range(min, max)?),
        };
        Ok(Query { bounds, rev, with_scores, offset, limit })
    }

    /// The members.
    fn run<'z>(&self, zset: &'z Zset) -> ZsetIter<'z> {
        let (start, len) = match &self.bounds {
            Bounds::Rank(start, end) => {
                let (start, len) = window(zset.len(), *start, *end).unwrap_or((0, 0));
                return zset.range_by_rank(start, len, self.rev);
            }
            Bounds::Score(range) => zset.score_window(range),
            Bounds::Lex(range) => zset.lex_window(range),
        };
        // A negative offset never comes to an end of its skipping.
        let skipped = usize::try_from(self.offset).unwrap_or(len).min(len);
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let taken = most.min(len - skipped);
        let start = if self.rev { zset.len() - start - len } else { start };
        zset.range_by_rank(start + skipped, taken, self.rev)
    }
}

fn show(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    by: Option<By>,
    rev: Option<bool>,
) -> CommandResult {
    let query = Query::parse(args, 2, by, rev, false)?;
    let Some(zset) = ctx.keys.zset(args.at(1))? else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    let members = query.run(zset);
    members_head(ctx.reply, members.len(), query.with_scores);
    for (member, score) in members {
        member_item(ctx.reply, member, score, query.with_scores);
    }
    Ok(Effect::None)
}

fn zrangestore(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let query = Query::parse(args, 3, None, None, true)?;
    let result = match ctx.keys.zset(args.at(2))? {
        Some(zset) => copy(query.run(zset), &ctx.env.limits),
        None => Zset::new(),
    };
    let len = result.len();
    store(ctx, args.at(1), Value::Zset(Box::new(result)), len, EventClass::ZSET, "zrangestore")
}

fn copy(members: ZsetIter<'_>, limits: &Limits) -> Zset {
    let mut result = Zset::new();
    result.reserve(members.len(), 0, limits);
    for (member, score) in members {
        member.with(|member| result.insert(member, score, limits));
    }
    result
}
