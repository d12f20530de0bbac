//! Adding and deleting entries, and the counters of a stream.

use super::id::{NewId, strict};
use super::put_id;
use super::trim::TrimOptions;
use crate::args::int;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};
use smallvec::SmallVec;
use structures::{Stream, StreamId};

/// XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value …]
pub const XADD: Command<DataFn> = Command::new(
    CommandSpec::new("xadd", -5, Group::Stream)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)
            .notes("UPDATE instead of INSERT because of the optional trimming feature")])
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .doc("O(1), and O(n) for n trimmed entries", "Adds an entry to a stream."),
    xadd,
);

/// Source: redis 7.0 `t_stream.c:xaddCommand`.
fn xadd(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const TOO_LOW: CommandError = CommandError::new(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    let (mut options, mut make, mut index) = (TrimOptions::default(), true, 2);
    let new_id = loop {
        if index >= args.len() {
            options.finish(ctx.env)?;
            return Err(CommandError::arity("xadd"));
        }
        if args.at(index) == b"*" {
            break NewId::Auto;
        }
        let read = options.read(args, index)?;
        if read > 0 {
            index += read;
        } else if args.is(index, "nomkstream") {
            make = false;
            index += 1;
        } else {
            break NewId::parse(args.at(index))?;
        }
    };
    let trim = options.finish(ctx.env)?;
    let pairs: SmallVec<[&[u8]; 8]> = args.tail(index + 1).iter().collect();
    if pairs.len() < 2 || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::arity("xadd"));
    }
    if new_id == NewId::Given(StreamId::ZERO) {
        return Err(CommandError::new("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let key = args.at(1);
    // Everything that can go wrong is looked at before a stream is made.
    let last_id = match ctx.keys.before_write(key).map(structures::Entry::value) {
        Some(structures::ValueRef::Stream(stream)) => stream.last_id(),
        Some(_) => return Err(CommandError::WRONG_TYPE),
        None if !make => {
            ctx.reply.null();
            return Ok(Effect::None);
        }
        None => StreamId::ZERO,
    };
    if last_id == StreamId::MAX {
        return Err(CommandError::new(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match new_id {
        NewId::Given(id) => id,
        NewId::AutoSeq(ms) if ms == last_id.ms => {
            StreamId::new(ms, last_id.seq.checked_add(1).ok_or(TOO_LOW)?)
        }
        NewId::AutoSeq(ms) => StreamId::new(ms, 0),
        NewId::Auto => {
            let now = u64::try_from(ctx.env.now.0).unwrap_or(0);
            if now > last_id.ms { StreamId::new(now, 0) } else { last_id.next().ok_or(TOO_LOW)? }
        }
    };
    if id <= last_id {
        return Err(TOO_LOW);
    }
    if !Stream::can_hold(pairs.iter().map(|text| text.len()).sum()) {
        return Err(CommandError::new("ERR Elements are too large to be stored"));
    }
    let stream = ctx.keys.stream_or_new(key)?;
    stream.append(id, &pairs, &ctx.env.limits);
    let mut trimmed = 0;
    let mut rewritten = None;
    if let Some(trim) = &trim {
        trimmed = trim.run(stream);
        if trim.approx() && ctx.env.recorded {
            rewritten = Some(trim.exact_args(args, stream));
        }
    }
    let given = matches!(new_id, NewId::Given(_));
    put_id(ctx.reply, id);
    ctx.keys.modified(EventClass::STREAM, "xadd", key);
    if trimmed > 0 {
        ctx.keys.notify(EventClass::STREAM, "xtrim", key);
    }
    if !ctx.env.recorded || (given && rewritten.is_none()) {
        return Ok(Effect::Verbatim);
    }
    let id = id.to_vec();
    let mut parts: Vec<&[u8]> = match &rewritten {
        Some(parts) => parts.iter().map(Vec::as_slice).collect(),
        None => args.iter().collect(),
    };
    if !given {
        parts[index] = &id;
    }
    Ok(Effect::Replace(vec![OwnedArgs::from_parts(&parts)]))
}

/// XLEN key
pub const XLEN: Command<DataFn> = Command::new(
    CommandSpec::new("xlen", 2, Group::Stream)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .since("5.0.0")
        .doc("O(1)", "Returns the number of entries in a stream."),
    |ctx, args| {
        let len = ctx.keys.stream(args.at(1))?.map_or(0, Stream::len);
        ctx.reply.integer(len as i64);
        Ok(Effect::None)
    },
);

/// XDEL key id [id …]
pub const XDEL: Command<DataFn> = Command::new(
    CommandSpec::new("xdel", -3, Group::Stream)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_DELETE)])
        .since("5.0.0")
        .doc("O(1) for each entry", "Deletes entries from a stream."),
    |ctx, args| {
        let key = args.at(1);
        let Some(stream) = ctx.keys.stream_mut(key)? else {
            ctx.reply.integer(0);
            return Ok(Effect::None);
        };
        let ids = args.tail(2).iter().map(|id| strict(id, 0)).collect::<Result<Vec<_>, _>>()?;
        let deleted = ids.into_iter().filter(|id| stream.delete(*id)).count();
        ctx.reply.count(deleted);
        if deleted > 0 {
            ctx.keys.modified(EventClass::STREAM, "xdel", key);
            ctx.keys.dirty(deleted as u64 - 1);
        }
        Ok(Effect::Verbatim)
    },
);

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
pub const XSETID: Command<DataFn> = Command::new(
    CommandSpec::new("xsetid", -3, Group::Stream)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("5.0.0")
        .doc("O(1)", "Sets the last ID and the counters of a stream; for internal use."),
    xsetid,
);

/// Source: redis 7.0 `t_stream.c:xsetidCommand`.
fn xsetid(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const BELOW_TOP: CommandError = CommandError::new(
        "ERR The ID specified in XSETID is smaller than the target stream top item",
    );
    let id = strict(args.at(2), 0)?;
    let (mut entries_added, mut max_deleted) = (None, None);
    let mut index = 3;
    while index < args.len() {
        let value = args.get(index + 1).ok_or(CommandError::SYNTAX)?;
        if args.is(index, "entriesadded") {
            let count = int(value)?;
            let count = u64::try_from(count)
                .map_err(|_| CommandError::new("ERR entries_added must be positive"))?;
            entries_added = Some(count);
        } else if args.is(index, "maxdeletedid") {
            let deleted = strict(value, 0)?;
            if id < deleted {
                return Err(CommandError::new(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(CommandError::SYNTAX);
        }
        index += 2;
    }
    let key = args.at(1);
    let stream = ctx.keys.stream_mut(key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    if id < stream.meta().max_deleted_id {
        return Err(CommandError::new(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if stream.last_entry_id().is_some_and(|last| id < last) {
        return Err(BELOW_TOP);
    }
    if entries_added.is_some_and(|added| added < stream.len()) {
        return Err(CommandError::new(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    stream.set_last_id(id);
    if let Some(added) = entries_added {
        stream.set_entries_added(added);
    }
    if let Some(deleted) = max_deleted.filter(|id| *id != StreamId::ZERO) {
        stream.set_max_deleted_id(deleted);
    }
    ctx.reply.ok();
    ctx.keys.dirty(1);
    ctx.keys.notify(EventClass::STREAM, "xsetid", key);
    Ok(Effect::Verbatim)
}
