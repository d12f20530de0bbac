//! HyperLogLog commands: estimates of how many different elements were seen.
//!
//! The values are strings in Redis's own representation (`structures::hll`), which clients may read
//! and write as such; so every command checks what it finds. A change works on a copy of a sparse
//! value, so that one with senseless runs is refused without having changed; a dense one always
//! makes sense and is changed in place.

mod debug;

use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, KeyFlags,
    at, each,
};
use keyspace::{EventClass, SetTtl};
use resp::Args;
use std::borrow::Cow;
use structures::hll::{self, HllEncoding, InvalidHll, Union};
use structures::{Entry, StrRef, ValueRef};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] =
    &[&PFADD, &PFCOUNT, &PFMERGE, &debug::PFDEBUG, &debug::PFSELFTEST];

const CORRUPT: CommandError = CommandError::new("INVALIDOBJ Corrupted HLL object detected");

fn corrupt(_: InvalidHll) -> CommandError {
    CORRUPT
}

/// The bytes of a HyperLogLog and its encoding.
/// Source: redis 7.0 `hyperloglog.c:isHLLObjectOrReply`.
fn hll_of(entry: &Entry) -> Result<(Cow<'_, [u8]>, HllEncoding), CommandError> {
    const NONE: CommandError =
        CommandError::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
    let bytes = match entry.value() {
        ValueRef::Str(StrRef::Bytes(bytes)) => Cow::Borrowed(bytes),
        ValueRef::Str(StrRef::Paged(pages)) => Cow::Owned(pages.to_vec()),
        ValueRef::Str(StrRef::Int(_)) => return Err(NONE),
        _ => return Err(CommandError::WRONG_TYPE),
    };
    let encoding = hll::encoding(&bytes).ok_or(NONE)?;
    Ok((bytes, encoding))
}

/// Puts the bytes of a changed HyperLogLog in place of the old ones; the expiry time stays.
fn put_back(ctx: &mut Ctx<'_, '_>, key: &[u8], hll: &[u8]) {
    if ctx.keys.before_write(key).is_none() {
        ctx.keys.set_string(key, b"", SetTtl::Clear);
    }
    if let Some(entry) = ctx.keys.write(key) {
        if entry.str_len() > hll.len() {
            entry.set_text(b"");
        }
        entry.write_str_at(0, hll);
    }
}

/// PFADD key [element …]
pub const PFADD: Command<DataFn> = Command::new(
    CommandSpec::new("pfadd", -2, Group::Hyperloglog)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_INSERT)])
        .since("2.8.9")
        .doc("O(1) for each element", "Counts elements in; makes the key if it is not there."),
    pfadd,
);

/// Source: redis 7.0 `hyperloglog.c:pfaddCommand`.
fn pfadd(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, max) = (args.at(1), ctx.env.hll_sparse_max);
    let mut updated = 0;
    let old = match ctx.keys.before_write(key).map(hll_of).transpose()? {
        Some((_, HllEncoding::Dense)) => None,
        Some((bytes, HllEncoding::Sparse)) => Some(bytes.into_owned()),
        None => {
            updated = 1;
            Some(hll::new_sparse())
        }
    };
    match old {
        Some(mut copy) => {
            for element in args.tail(2).iter() {
                updated += u64::from(hll::add(&mut copy, element, max).map_err(corrupt)?);
            }
            if updated > 0 {
                hll::invalidate(&mut copy);
                put_back(ctx, key, &copy);
            } else {
                loosen(ctx, key);
            }
        }
        None => updated = add_to_dense(ctx, args),
    }
    if updated > 0 {
        ctx.keys.modified(EventClass::STRING, "pfadd", key);
        ctx.keys.dirty(updated - 1);
    }
    ctx.reply.integer(i64::from(updated > 0));
    Ok(Effect::Verbatim)
}

/// How many of the elements have changed a register.
fn add_to_dense(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> u64 {
    let Some(entry) = ctx.keys.write(args.at(1)) else { return 0 };
    entry.make_bytes_mut(|bytes| {
        let mut updated = 0;
        for element in args.tail(2).iter() {
            let (index, value) = hll::place_of(element);
            updated += u64::from(hll::dense_raise(bytes, index, value));
        }
        if updated > 0 {
            hll::invalidate(bytes);
        }
        updated
    })
}

/// A value that a command of this family was about to change is stored for changes from then on
/// (OBJECT ENCODING `raw`). Source: redis 7.0 `db.c:dbUnshareStringValue`.
fn loosen(ctx: &mut Ctx<'_, '_>, key: &[u8]) {
    if ctx.keys.before_write(key).is_some_and(|entry| entry.encoding_name() != "raw")
        && let Some(entry) = ctx.keys.write(key)
    {
        entry.grow_str(0);
    }
}

/// PFCOUNT key [key …]
pub const PFCOUNT: Command<DataFn> = Command::new(
    CommandSpec::new("pfcount", -2, Group::Hyperloglog)
        .flags(READ.union(Flags::MAY_REPLICATE))
        .keys(&[each(1, KeyFlags::RW.union(KeyFlags::ACCESS)).notes(
            "RW because it may change the internal representation of the key, and propagate to \
             replicas",
        )])
        .since("2.8.9")
        .doc(
            "O(1) for one key, O(n) for n keys",
            "Estimates how many different elements keys have seen together.",
        ),
    pfcount,
);

/// The estimate of a single key is kept in it, and that is a change which replicas must know.
/// Source: redis 7.0 `hyperloglog.c:pfcountCommand`.
fn pfcount(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 2 {
        let mut union = Union::new();
        for key in args.tail(1).iter() {
            if let Some(entry) = ctx.keys.read(key) {
                union.merge(&hll_of(entry)?.0).map_err(corrupt)?;
            }
        }
        ctx.reply.integer(union.estimate() as i64);
        return Ok(Effect::None);
    }
    let key = args.at(1);
    let Some(entry) = ctx.keys.read(key) else {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    };
    let (bytes, _) = hll_of(entry)?;
    if let Some(estimate) = hll::cached(&bytes) {
        loosen(ctx, key);
        ctx.reply.integer(estimate as i64);
        return Ok(Effect::None);
    }
    let estimate = hll::estimate(&bytes).map_err(corrupt)?;
    let (at, cache) = hll::cache_bytes(estimate);
    if let Some(entry) = ctx.keys.write(key) {
        entry.write_str_at(at, &cache);
    }
    ctx.keys.signal(key);
    ctx.keys.dirty(1);
    ctx.reply.integer(estimate as i64);
    Ok(Effect::Verbatim)
}

/// PFMERGE destkey [sourcekey …]
pub const PFMERGE: Command<DataFn> = Command::new(
    CommandSpec::new("pfmerge", -2, Group::Hyperloglog)
        .flags(GROW)
        .keys(&[at(1, RW_INSERT.union(KeyFlags::ACCESS)), each(2, RO_ACCESS)])
        .since("2.8.9")
        .doc("O(n) for n keys", "Merges what several keys have seen into the first one."),
    pfmerge,
);

/// Source: redis 7.0 `hyperloglog.c:pfmergeCommand`.
fn pfmerge(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, max) = (args.at(1), ctx.env.hll_sparse_max);
    let (mut union, mut dense) = (Union::new(), false);
    for source in args.tail(1).iter() {
        if let Some(entry) = ctx.keys.read(source) {
            let (bytes, encoding) = hll_of(entry)?;
            dense |= encoding == HllEncoding::Dense;
            union.merge(&bytes).map_err(corrupt)?;
        }
    }
    let mut merged = match ctx.keys.before_write(key) {
        Some(entry) => hll_of(entry)?.0.into_owned(),
        None => hll::new_sparse(),
    };
    if dense {
        hll::make_dense(&mut merged).map_err(corrupt)?;
    }
    for (index, &value) in union.registers().iter().enumerate().filter(|(_, value)| **value > 0) {
        hll::raise(&mut merged, index, value, max).map_err(corrupt)?;
    }
    hll::invalidate(&mut merged);
    put_back(ctx, key, &merged);
    ctx.keys.modified(EventClass::STRING, "pfadd", key);
    ctx.reply.ok();
    Ok(Effect::Verbatim)
}

#[cfg(test)]
mod tests;
