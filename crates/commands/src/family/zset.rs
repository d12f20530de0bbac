//! Sorted set commands: scores, ranks, ranges by rank, score or bytes, pops, and unions,
//! intersections and differences with weights.

mod add;
mod algebra;
mod bounds;
mod pop;
mod random;
mod range;
mod remove;
mod score;
mod walk;

pub(crate) use add::ZADD;

use crate::{Command, DataFn};
use resp::Reply;

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &add::ZADD,
    &add::ZINCRBY,
    &remove::ZREM,
    &remove::ZREMRANGEBYRANK,
    &remove::ZREMRANGEBYSCORE,
    &remove::ZREMRANGEBYLEX,
    &score::ZCARD,
    &score::ZSCORE,
    &score::ZMSCORE,
    &score::ZRANK,
    &score::ZREVRANK,
    &score::ZCOUNT,
    &score::ZLEXCOUNT,
    &range::ZRANGE,
    &range::ZRANGESTORE,
    &range::ZREVRANGE,
    &range::ZRANGEBYSCORE,
    &range::ZREVRANGEBYSCORE,
    &range::ZRANGEBYLEX,
    &range::ZREVRANGEBYLEX,
    &pop::ZPOPMIN,
    &pop::ZPOPMAX,
    &pop::ZMPOP,
    &pop::BZPOPMIN,
    &pop::BZPOPMAX,
    &pop::BZMPOP,
    &random::ZRANDMEMBER,
    &walk::ZSCAN,
    &algebra::ZUNION,
    &algebra::ZINTER,
    &algebra::ZDIFF,
    &algebra::ZUNIONSTORE,
    &algebra::ZINTERSTORE,
    &algebra::ZDIFFSTORE,
    &algebra::ZINTERCARD,
];

/// Head of an array of `len` members: flat with scores in RESP2, else an array of pairs.
fn members_head(reply: &mut Reply, len: usize, with_scores: bool) {
    reply.array(if with_scores && !reply.is_resp3() { len.saturating_mul(2) } else { len });
}

/// A member below [`members_head`].
fn member_item(reply: &mut Reply, member: structures::Elem<'_>, score: f64, with_scores: bool) {
    if with_scores && reply.is_resp3() {
        reply.array(2);
    }
    crate::family::common::bulk_elem(reply, member);
    if with_scores {
        reply.double(score);
    }
}

#[cfg(test)]
mod tests;
