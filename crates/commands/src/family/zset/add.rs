//! ZADD and ZINCRBY.

use crate::args::float;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::{Limits, ValueRef, ZAdd, Zset};

/// ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member …]
pub const ZADD: Command<DataFn> = Command::new(
    CommandSpec::new("zadd", -4, Group::SortedSet)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("1.2.0")
        .doc(
            "O(m*log(n)) for m members added",
            "Adds members to a sorted set or sets their scores.",
        ),
    |ctx, args| add(ctx, args, AddOptions::default()),
);

/// ZINCRBY key increment member
pub const ZINCRBY: Command<DataFn> = Command::new(
    CommandSpec::new("zincrby", 4, Group::SortedSet)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("1.2.0")
        .doc("O(log(n))", "Adds a number to a member's score; a missing member counts as 0."),
    |ctx, args| add(ctx, args, AddOptions { incr: true, ..AddOptions::default() }),
);

/// Which members ZADD touches, and what it answers.
#[derive(Clone, Copy, Default)]
struct AddOptions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    /// Count changed members too.
    ch: bool,
    /// Scores are increments; the new score is the answer.
    incr: bool,
}

impl AddOptions {
    /// Parses the options; returns the index of the first score. ZINCRBY goes the same way, so that
    /// a word in the place of its increment counts as an option.
    /// Source: redis 7.0 `t_zset.c:zaddGenericCommand`.
    fn parse(&mut self, args: &Args<'_>) -> Result<usize, CommandError> {
        const NX_XX: CommandError =
            CommandError::new("ERR XX and NX options at the same time are not compatible");
        const GT_LT_NX: CommandError =
            CommandError::new("ERR GT, LT, and/or NX options at the same time are not compatible");
        const ONE_PAIR: CommandError =
            CommandError::new("ERR INCR option supports a single increment-element pair");
        let mut index = 2;
        loop {
            let flag = if args.is(index, "nx") {
                &mut self.nx
            } else if args.is(index, "xx") {
                &mut self.xx
            } else if args.is(index, "ch") {
                &mut self.ch
            } else if args.is(index, "incr") {
                &mut self.incr
            } else if args.is(index, "gt") {
                &mut self.gt
            } else if args.is(index, "lt") {
                &mut self.lt
            } else {
                break;
            };
            *flag = true;
            index += 1;
        }
        let rest = args.len() - index;
        if rest == 0 || !rest.is_multiple_of(2) {
            return Err(CommandError::SYNTAX);
        }
        if self.nx && self.xx {
            return Err(NX_XX);
        }
        if (self.nx && (self.gt || self.lt)) || (self.gt && self.lt) {
            return Err(GT_LT_NX);
        }
        if self.incr && rest > 2 {
            return Err(ONE_PAIR);
        }
        Ok(index)
    }

    /// Adds one pair; `None` if the options forbid it.
    /// Source: redis 7.0 `t_zset.c:zsetAdd`.
    fn add_pair(
        self,
        zset: &mut Zset,
        member: &[u8],
        score: f64,
        limits: &Limits,
    ) -> Result<Option<(ZAdd, f64)>, CommandError> {
        const NAN: CommandError = CommandError::new("ERR resulting score is not a number (NaN)");
        // Plain ZADD needs no look before it leaps.
        if !(self.nx || self.xx || self.gt || self.lt || self.incr) {
            return Ok(Some((zset.insert(member, score, limits), score)));
        }
        let Some(old) = zset.score(member) else {
            return Ok((!self.xx).then(|| (zset.insert(member, score, limits), score)));
        };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { old + score } else { score };
        if score.is_nan() {
            return Err(NAN);
        }
        if (self.lt && score >= old) || (self.gt && score <= old) {
            return Ok(None);
        }
        Ok(Some((zset.insert(member, score, limits), score)))
    }
}

fn add(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, mut options: AddOptions) -> CommandResult {
    let first = options.parse(args)?;
    let pairs = (args.len() - first) / 2;
    let scores = (0..pairs).map(|pair| float(args.at(first + pair * 2)));
    let scores = scores.collect::<Result<smallvec::SmallVec<[f64; 8]>, _>>()?;
    let (key, limits) = (args.at(1), &ctx.env.limits);
    if options.xx && !is_zset(ctx, key)? {
        if options.incr {
            ctx.reply.null()
        } else {
            ctx.reply.integer(0)
        }
        return Ok(Effect::None);
    }
    let zset = ctx.keys.zset_or_new(key)?;
    let longest = if zset.is_empty() { args.at(first + 1).len() } else { 0 };
    zset.reserve(pairs, longest, limits);
    let (mut added, mut updated, mut last) = (0, 0, None);
    for (pair, &score) in scores.iter().enumerate() {
        // The only error is that of a single increment: nothing was changed before it.
        let done = options.add_pair(zset, args.at(first + pair * 2 + 1), score, limits)?;
        last = done.map(|(_, score)| score);
        match done {
            Some((ZAdd::Added, _)) => added += 1,
            Some((ZAdd::Updated { .. }, _)) => updated += 1,
            Some((ZAdd::Same, _)) | None => {}
        }
    }
    if added + updated > 0 {
        let event = if options.incr { "zincr" } else { "zadd" };
        ctx.keys.modified(EventClass::ZSET, event, key);
        ctx.keys.dirty(added + updated - 1);
    }
    match (options.incr, last) {
        (true, Some(score)) => ctx.reply.double(score),
        (true, None) => ctx.reply.null(),
        (false, _) => ctx.reply.integer((if options.ch { added + updated } else { added }) as i64),
    }
    Ok(Effect::Verbatim)
}

/// Whether the key is there; fails if it holds something else.
fn is_zset(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<bool, CommandError> {
    match ctx.keys.peek(key).map(|entry| entry.value()) {
        None => Ok(false),
        Some(ValueRef::Zset(_)) => Ok(true),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}
