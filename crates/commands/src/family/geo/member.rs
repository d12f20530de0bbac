//! GEOADD, GEODIST, GEOHASH and GEOPOS.

use super::{hash, point, reply_distance, reply_point, unit};
use crate::family::common::*;
use crate::family::zset::ZADD;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, OwnedArgs};

/// GEOADD key [NX|XX] [CH] longitude latitude member [longitude latitude member …]
pub const GEOADD: Command<DataFn> = Command::new(
    CommandSpec::new("geoadd", -5, Group::Geo)
        .flags(GROW)
        .keys(&[at(1, RW_UPDATE)])
        .since("3.2.0")
        .doc("O(log(n)) for each member", "Adds members with their places to a geo set."),
    geoadd,
);

/// Is a ZADD with geohashes as scores, and goes on the log as such.
/// Source: redis 7.0 `geo.c:geoaddCommand`.
fn geoadd(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (mut nx, mut xx, mut first) = (false, false, 2);
    while first < args.len() {
        match args.at(first).to_ascii_lowercase().as_slice() {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"ch" => {}
            _ => break,
        }
        first += 1;
    }
    if !(args.len() - first).is_multiple_of(3) || (nx && xx) {
        return Err(CommandError::SYNTAX);
    }
    let mut zadd = OwnedArgs::from_parts(&[b"zadd"]);
    (1..first).for_each(|index| zadd.push(args.at(index)));
    for index in (first..args.len()).step_by(3) {
        let score = hash::score_of(point(args.at(index), args.at(index + 1))?);
        zadd.push(score.to_string().as_bytes());
        zadd.push(args.at(index + 2));
    }
    match (ZADD.run)(ctx, &zadd.as_args())? {
        Effect::Verbatim if ctx.keys.changes.dirty > 0 => Ok(Effect::Replace(vec![zadd])),
        _ => Ok(Effect::None),
    }
}

/// GEODIST key member1 member2 [M|KM|FT|MI]
pub const GEODIST: Command<DataFn> = Command::new(
    CommandSpec::new("geodist", -4, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("3.2.0")
        .doc("O(1)", "Returns the distance between two members of a geo set."),
    |ctx, args| {
        let unit = match args.len() {
            4 => 1.0,
            5 => unit(args.at(4))?,
            _ => return Err(CommandError::SYNTAX),
        };
        let zset = ctx.keys.zset(args.at(1))?;
        let score = |index| zset.and_then(|zset| zset.score(args.at(index)));
        match (score(2), score(3)) {
            (Some(a), Some(b)) => {
                let distance = hash::distance(hash::point_of(a), hash::point_of(b));
                reply_distance(ctx.reply, distance / unit);
            }
            _ => ctx.reply.null(),
        }
        Ok(Effect::None)
    },
);

/// GEOHASH key [member …]
pub const GEOHASH: Command<DataFn> = Command::new(
    CommandSpec::new("geohash", -2, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("3.2.0")
        .doc("O(1) for each member", "Returns members' places as geohash strings."),
    |ctx, args| {
        let zset = ctx.keys.zset(args.at(1))?;
        ctx.reply.array(args.len() - 2);
        for member in args.tail(2).iter() {
            match zset.and_then(|zset| zset.score(member)) {
                Some(score) => ctx.reply.bulk(&hash::text_of(score)),
                None => ctx.reply.null(),
            }
        }
        Ok(Effect::None)
    },
);

/// GEOPOS key [member …]
pub const GEOPOS: Command<DataFn> = Command::new(
    CommandSpec::new("geopos", -2, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("3.2.0")
        .doc("O(1) for each member", "Returns longitude and latitude of members."),
    |ctx, args| {
        let zset = ctx.keys.zset(args.at(1))?;
        ctx.reply.array(args.len() - 2);
        for member in args.tail(2).iter() {
            match zset.and_then(|zset| zset.score(member)) {
                Some(score) => reply_point(ctx.reply, hash::point_of(score)),
                None => ctx.reply.null_array(),
            }
        }
        Ok(Effect::None)
    },
);
