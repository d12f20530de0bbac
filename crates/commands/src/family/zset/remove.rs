//! Commands that remove members of a sorted set by name or by range.

use super::bounds::{lex_range, score_range};
use crate::args::int;
use crate::family::collections::window;
use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::Zset;

/// ZREM key member [member …]
pub const ZREM: Command<DataFn> = Command::new(
    CommandSpec::new("zrem", -3, Group::SortedSet)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_DELETE)])
        .since("1.2.0")
        .doc("O(m*log(n)) for m members removed", "Removes members of a sorted set."),
    |ctx, args| {
        remove(ctx, args, "zrem", |zset| {
            args.tail(2).iter().filter(|member| zset.remove(member).is_some()).count()
        })
    },
);

/// ZREMRANGEBYRANK key start stop
pub const ZREMRANGEBYRANK: Command<DataFn> = Command::new(
    CommandSpec::new("zremrangebyrank", 4, Group::SortedSet)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .since("2.0.0")
        .doc("O(m*log(n)) for m members removed", "Removes the members within a range of ranks."),
    |ctx, args| {
        let (start, end) = (int(args.at(2))?, int(args.at(3))?);
        remove(ctx, args, "zremrangebyrank", |zset| {
            let (start, len) = window(zset.len(), start, end).unwrap_or((0, 0));
            zset.remove_by_rank(start, len, &mut |_, _| ())
        })
    },
);

/// ZREMRANGEBYSCORE key min max
pub const ZREMRANGEBYSCORE: Command<DataFn> = Command::new(
    CommandSpec::new("zremrangebyscore", 4, Group::SortedSet)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .since("1.2.0")
        .doc("O(m*log(n)) for m members removed", "Removes the members within a range of scores."),
    |ctx, args| {
        let range = score_range(args.at(2), args.at(3))?;
        remove(ctx, args, "zremrangebyscore", |zset| zset.remove_by_score(&range))
    },
);

/// ZREMRANGEBYLEX key min max
pub const ZREMRANGEBYLEX: Command<DataFn> = Command::new(
    CommandSpec::new("zremrangebylex", 4, Group::SortedSet)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .since("2.8.9")
        .doc("O(m*log(n)) for m members removed", "Removes the members within a range of names."),
    |ctx, args| {
        let range = lex_range(args.at(2), args.at(3))?;
        remove(ctx, args, "zremrangebylex", |zset| zset.remove_by_lex(&range))
    },
);

/// Runs a removal that returns how many members went.
fn remove(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    event: &'static str,
    run: impl FnOnce(&mut Zset) -> usize,
) -> CommandResult {
    let key = args.at(1);
    let removed = ctx.keys.zset_mut(key)?.map_or(0, run);
    if removed > 0 {
        ctx.keys.modified(EventClass::ZSET, event, key);
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.remove_if_empty(key);
    }
    ctx.reply.count(removed);
    Ok(Effect::Verbatim)
}
