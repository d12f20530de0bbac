//! XREAD and XREADGROUP: entries behind an ID, of several streams, waited for if need be.

use super::id::strict;
use super::range::put_range;
use super::{claim_effect, group_id_effect, put_entry, put_id};
use crate::args::int;
use crate::family::common::*;
use crate::{
    Begin, Block, Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Find,
    Flags, Group, KeyFlags, KeyList, KeySpec,
};
use keyspace::EventClass;
use resp::{Args, OwnedArgs, Reply};
use stdx::UnixMs;
use structures::{ConsumerNo, Pending, Stream, StreamId, UNKNOWN_READ};

const fn behind_streams(from: i32, flags: KeyFlags) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range { last: -1, step: 1, limit: 2 },
        flags,
        notes: "",
    }
}

/// XREAD [COUNT count] [BLOCK ms] STREAMS key [key …] id [id …]
pub const XREAD: Command<DataFn> = Command::new(
    CommandSpec::new("xread", -4, Group::Stream)
        .flags(READ.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS))
        .keys(&[behind_streams(1, RO_ACCESS)])
        .find_keys(stream_keys)
        .since("5.0.0")
        .doc("O(n) for n returned entries", "Returns entries behind an ID, or waits for some."),
    |ctx, args| read(ctx, args, false),
);

/// The keys of XREAD and XREADGROUP: options are stepped over, since a group or consumer may have
/// the name `STREAMS`. Source: redis 7.0 `db.c:xreadGetKeys`.
fn stream_keys(args: &Args<'_>) -> Option<KeyList> {
    let mut at = 1;
    while at < args.len() {
        at += match args.at(at).to_ascii_lowercase().as_slice() {
            b"block" | b"count" => 2,
            b"group" => 3,
            b"noack" => 1,
            b"streams" => {
                let rest = args.len() - at - 1;
                let sound = rest > 0 && rest.is_multiple_of(2);
                return sound
                    .then(|| (at + 1..=at + rest / 2).map(|key| (key, RO_ACCESS)).collect());
            }
            _ => return None,
        };
    }
    None
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK ms] [NOACK] STREAMS key [key …] id [id …]
pub const XREADGROUP: Command<DataFn> = Command::new(
    CommandSpec::new("xreadgroup", -7, Group::Stream)
        .flags(WRITE.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS))
        .keys(&[behind_streams(4, RO_ACCESS)])
        .find_keys(stream_keys)
        .since("5.0.0")
        .doc(
            "O(n) for n returned entries",
            "Returns entries that no consumer of a group has got, or waits for some.",
        ),
    |ctx, args| read(ctx, args, true),
);

/// The arguments, read.
struct Request<'a> {
    group: Option<(&'a [u8], &'a [u8])>,
    count: usize,
    /// When waiting ends; `None`: there is no waiting; `Some(None)`: never.
    block: Option<Option<UnixMs>>,
    noack: bool,
    /// Argument index of the first key.
    keys_at: usize,
    /// Number of keys, and of IDs behind them.
    keys: usize,
}

impl<'a> Request<'a> {
    fn parse(args: &Args<'a>, now: UnixMs, of_group: bool) -> Result<Request<'a>, CommandError> {
        let mut request = Request {
            group: None,
            count: usize::MAX,
            block: None,
            noack: false,
            keys_at: 0,
            keys: 0,
        };
        let mut at = 1;
        while at < args.len() {
            let more = args.len() - 1 - at;
            if args.is(at, "block") && more > 0 {
                request.block = Some(wait_until(args.at(at + 1), now)?);
                at += 1;
            } else if args.is(at, "count") && more > 0 {
                let count = int(args.at(at + 1))?;
                request.count = if count > 0 { count as usize } else { usize::MAX };
                at += 1;
            } else if args.is(at, "streams") && more > 0 {
                if !more.is_multiple_of(2) {
                    return Err(CommandError::new(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                    ));
                }
                (request.keys_at, request.keys) = (at + 1, more / 2);
                break;
            } else if args.is(at, "group") && more >= 2 {
                if !of_group {
                    return Err(CommandError::new(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                request.group = Some((args.at(at + 1), args.at(at + 2)));
                at += 2;
            } else if args.is(at, "noack") {
                if !of_group {
                    return Err(CommandError::new(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                request.noack = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        if request.keys == 0 {
            return Err(CommandError::SYNTAX);
        }
        if of_group && request.group.is_none() {
            return Err(CommandError::new("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    fn key(&self, args: &Args<'a>, n: usize) -> &'a [u8] {
        args.at(self.keys_at + n)
    }

    fn id_at(&self, n: usize) -> usize {
        self.keys_at + self.keys + n
    }
}

/// A time-out in milliseconds. Source: redis 7.2 `timeout.c:getTimeoutFromObjectOrReply`.
fn wait_until(arg: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    let ms = stdx::parse_i64(arg)
        .ok_or(CommandError::new("ERR timeout is not an integer or out of range"))?;
    match ms {
        ..0 => Err(CommandError::new("ERR timeout is negative")),
        0 => Ok(None),
        _ => match now.0.checked_add(ms) {
            Some(at) => Ok(Some(UnixMs(at))),
            None => Err(CommandError::new("ERR timeout is out of range")),
        },
    }
}

/// Source: redis 7.2 `t_stream.c:xreadCommand`.
fn read(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, of_group: bool) -> CommandResult {
    let request = Request::parse(args, ctx.env.now, of_group)?;
    let mut ids = Vec::with_capacity(request.keys);
    for n in 0..request.keys {
        ids.push(start_id(ctx, args, &request, n)?);
    }
    let mut effects = Vec::new();
    let mark = ctx.reply.mark();
    let mut served = 0;
    for (n, id) in ids.iter().enumerate() {
        let key = request.key(args, n);
        let done = match request.group {
            Some((group, consumer)) => {
                read_group(ctx, &request, key, group, consumer, *id, &mut effects)?
            }
            None => read_plain(ctx, &request, key, *id)?,
        };
        served += usize::from(done);
    }
    let effect = if effects.is_empty() { Effect::None } else { Effect::Replace(effects) };
    if served > 0 {
        // A map in RESP3, an array of pairs in RESP2.
        if ctx.reply.is_resp3() {
            ctx.reply.map_at(mark, served);
        } else {
            ctx.reply.array_at(mark, served);
        }
        return Ok(effect);
    }
    match request.block {
        Some(until) if ctx.env.may_block => Ok(Effect::Block(Block {
            keys: (0..request.keys).map(|n| Box::from(request.key(args, n))).collect(),
            until,
            null_array: true,
            rerun: Some(with_ids(args, &request, &ids)),
            on_removal: of_group,
        })),
        _ => {
            ctx.reply.null_array();
            Ok(effect)
        }
    }
}

/// The command with `$` replaced by what it stands for now.
fn with_ids(args: &Args<'_>, request: &Request<'_>, ids: &[StreamId]) -> OwnedArgs {
    let mut parts: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
    for (n, id) in ids.iter().enumerate() {
        if parts[request.id_at(n)] == b"$" {
            parts[request.id_at(n)] = id.to_vec();
        }
    }
    OwnedArgs::from_parts(&parts)
}

/// XREADGROUP's error for a key or group that is not there.
pub fn no_group_to_read(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::quoting(&[
        b"NOGROUP No such key '",
        key,
        b"' or consumer group '",
        group,
        b"' in XREADGROUP with GROUP option",
    ])
}

/// The ID behind which stream `n` is read; the highest one stands for `>`.
fn start_id(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    request: &Request<'_>,
    n: usize,
) -> Result<StreamId, CommandError> {
    let key = request.key(args, n);
    let stream = ctx.keys.stream(key)?;
    if let Some((group, _)) = request.group
        && stream.is_none_or(|stream| stream.group(group).is_none())
    {
        return Err(no_group_to_read(key, group));
    }
    match args.at(request.id_at(n)) {
        b"$" if request.group.is_some() => Err(CommandError::new(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
             this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
             just return an empty result set.",
        )),
        b"$" => Ok(stream.map_or(StreamId::ZERO, Stream::last_id)),
        b">" if request.group.is_none() => Err(CommandError::new(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        b">" => Ok(StreamId::MAX),
        id => strict(id, 0),
    }
}

/// XREAD of one stream; false if there is nothing new.
fn read_plain(
    ctx: &mut Ctx<'_, '_>,
    request: &Request<'_>,
    key: &[u8],
    after: StreamId,
) -> Result<bool, CommandError> {
    let Ctx { keys, reply, .. } = ctx;
    let Some(stream) = keys.stream(key)? else { return Ok(false) };
    let Some(start) = after.next() else { return Ok(false) };
    if stream.last_entry_id().is_none_or(|last| last <= after) {
        return Ok(false);
    }
    put_stream_head(reply, key);
    put_range(reply, stream, start, StreamId::MAX, request.count, false);
    Ok(true)
}

fn put_stream_head(reply: &mut Reply, key: &[u8]) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// XREADGROUP of one stream; false if there is nothing new.
fn read_group(
    ctx: &mut Ctx<'_, '_>,
    request: &Request<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    after: StreamId,
    effects: &mut Vec<OwnedArgs>,
) -> Result<bool, CommandError> {
    let now = ctx.env.now.0;
    let Ctx { keys, reply, .. } = ctx;
    let Some(stream) = keys.stream_mut(key)? else { return Ok(false) };
    let Some(found) = stream.group_mut(group) else { return Ok(false) };
    let known = found.consumer_no(consumer);
    let no = match known.or_else(|| found.add_consumer(consumer, now)) {
        Some(no) => no,
        None => return Ok(false),
    };
    found.consumer_mut(no).seen_time = now;
    let last_id = found.last_id;
    let mut done = true;
    if after != StreamId::MAX {
        put_stream_head(reply, key);
        put_history(reply, stream, request, group, no, after, now);
    } else if stream.last_entry_id().is_none_or(|last| last <= last_id) {
        done = false;
    } else {
        put_stream_head(reply, key);
    }
    if known.is_none() && request.noack {
        effects.push(OwnedArgs::from_parts(&[
            &b"XGROUP"[..],
            b"CREATECONSUMER",
            key,
            group,
            consumer,
        ]));
    }
    if done && after == StreamId::MAX {
        deliver(reply, stream, request, key, group, no, now, effects);
    }
    if known.is_none() {
        keys.notify(EventClass::STREAM, "xgroup-createconsumer", key);
        keys.dirty(1);
    }
    keys.dirty(u64::from(done));
    Ok(done)
}

/// New entries for a consumer.
/// Source: redis 7.2 `t_stream.c:streamReplyWithRange`.
#[allow(clippy::too_many_arguments)]
fn deliver(
    reply: &mut Reply,
    stream: &mut Stream,
    request: &Request<'_>,
    key: &[u8],
    name: &[u8],
    consumer: ConsumerNo,
    now: i64,
    effects: &mut Vec<OwnedArgs>,
) {
    let Some(start) = stream.group(name).and_then(|group| group.last_id.next()) else { return };
    let mark = reply.mark();
    // Each with what is needed to count it: whether counting on is possible, and a fresh count.
    let mut given = Vec::new();
    for entry in stream.range(start, StreamId::MAX, false).take(request.count) {
        put_entry(reply, &entry);
        let countable = !stream.has_tombstones_from(entry.id);
        given.push((entry.id, countable, stream.count_up_to(entry.id)));
    }
    reply.array_at(mark, given.len());
    let Some(group) = stream.group_mut(name) else { return };
    for (id, countable, fresh) in &given {
        group.entries_read = if group.entries_read != UNKNOWN_READ && *countable {
            group.entries_read.wrapping_add(1)
        } else {
            fresh.map_or(UNKNOWN_READ, |count| count as i64)
        };
        group.last_id = *id;
        if !request.noack {
            let pending = Pending { consumer, delivered_at: now, deliveries: 1 };
            group.set_pending(*id, pending);
            group.consumer_mut(consumer).active_time = now;
            effects.push(claim_effect(key, name, group, *id, &pending));
        }
    }
    if request.noack && !given.is_empty() {
        effects.push(group_id_effect(key, name, group));
    }
}

/// What a consumer has got already and not acknowledged. Entries that are deleted meanwhile come
/// without fields.
/// Source: redis 7.2 `t_stream.c:streamReplyWithRangeFromConsumerPEL`.
fn put_history(
    reply: &mut Reply,
    stream: &mut Stream,
    request: &Request<'_>,
    name: &[u8],
    consumer: ConsumerNo,
    after: StreamId,
    now: i64,
) {
    let start = after.next().unwrap_or(StreamId::MAX);
    let ids: Vec<StreamId> = stream.group(name).map_or_else(Vec::new, |group| {
        group.consumer(consumer).pending(start, StreamId::MAX).take(request.count).collect()
    });
    reply.array(ids.len());
    for id in ids {
        let Some(entry) = stream.get(id) else {
            reply.array(2);
            put_id(reply, id);
            reply.null_array();
            continue;
        };
        put_entry(reply, &entry);
        if let Some(group) = stream.group_mut(name)
            && let Some(mut pending) = group.pending(id).copied()
        {
            pending.delivered_at = now;
            pending.deliveries = pending.deliveries.wrapping_add(1);
            group.set_pending(id, pending);
        }
    }
}
