//! Pending entries change hands: XCLAIM and XAUTOCLAIM.

use super::id::{End, bound, strict};
use super::pending::no_key_or_group;
use super::{claim_effect, group_id_effect, put_entry, put_id};
use crate::args::{int_between_or, int_or};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs, Reply};
use structures::{ConsumerNo, Pending, Stream, StreamId};

/// XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-ms] [RETRYCOUNT count]
/// [FORCE] [JUSTID] [LASTID id]
pub const XCLAIM: Command<DataFn> = Command::new(
    CommandSpec::new("xclaim", -6, Group::Stream)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .doc("O(log n) for each entry", "Makes a consumer the owner of pending entries."),
    xclaim,
);

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub const XAUTOCLAIM: Command<DataFn> = Command::new(
    CommandSpec::new("xautoclaim", -6, Group::Stream)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_DELETE)])
        .since("6.2.0")
        .tips(&["nondeterministic_output"])
        .doc(
            "O(n) for n looked at",
            "Makes a consumer the owner of pending entries that nobody cared for.",
        ),
    xautoclaim,
);

/// XCLAIM's options.
#[derive(Default)]
struct Options {
    delivered_at: Option<i64>,
    retry_count: Option<i64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: &Args<'_>, from: usize, now: i64) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = from;
        while index < args.len() {
            let value = args.get(index + 1);
            let number = |value, name: &str| {
                let text = format!("ERR Invalid {name} option argument for XCLAIM");
                int_or(value, CommandError::owned(text))
            };
            match value {
                _ if args.is(index, "force") => options.force = true,
                _ if args.is(index, "justid") => options.just_id = true,
                Some(value) if args.is(index, "idle") => {
                    options.delivered_at = Some(now.wrapping_sub(number(value, "IDLE")?));
                    index += 1;
                }
                Some(value) if args.is(index, "time") => {
                    options.delivered_at = Some(number(value, "TIME")?);
                    index += 1;
                }
                Some(value) if args.is(index, "retrycount") => {
                    options.retry_count = Some(number(value, "RETRYCOUNT")?);
                    index += 1;
                }
                Some(value) if args.is(index, "lastid") => {
                    options.last_id = strict(value, 0)?;
                    index += 1;
                }
                _ => {
                    return Err(CommandError::quoting(&[
                        b"ERR Unrecognized XCLAIM option '",
                        args.at(index),
                        b"'",
                    ]));
                }
            }
            index += 1;
        }
        Ok(options)
    }
}

/// Everything that the two commands do with one group.
struct Claimer<'a> {
    stream: &'a mut Stream,
    reply: &'a mut Reply,
    key: &'a [u8],
    group: &'a [u8],
    consumer: ConsumerNo,
    now: i64,
    min_idle: i64,
    just_id: bool,
    effects: Vec<OwnedArgs>,
    /// Number of changes.
    changes: u64,
}

impl Claimer<'_> {
    fn pending(&self, id: StreamId) -> Option<Pending> {
        self.stream.group(self.group)?.pending(id).copied()
    }

    fn note(&mut self, id: StreamId, pending: &Pending) {
        self.changes += 1;
        if let Some(group) = self.stream.group(self.group) {
            self.effects.push(claim_effect(self.key, self.group, group, id, pending));
        }
    }

    /// An entry that is deleted meanwhile is not pending any more. On a replica the same claim has
    /// the same effect.
    fn forget(&mut self, id: StreamId, pending: &Pending) {
        self.note(id, pending);
        if let Some(group) = self.stream.group_mut(self.group) {
            group.ack(id);
        }
    }

    /// False if the entry was given to somebody too short a time ago.
    fn idle_enough(&self, pending: &Pending) -> bool {
        self.min_idle <= 0 || self.now.saturating_sub(pending.delivered_at) >= self.min_idle
    }

    /// Gives the entry over, with this state, and writes it.
    fn take(&mut self, id: StreamId, pending: Pending) {
        if let Some(group) = self.stream.group_mut(self.group) {
            group.set_pending(id, pending);
            group.consumer_mut(self.consumer).active_time = self.now;
        }
        match self.stream.get(id) {
            Some(entry) if !self.just_id => put_entry(self.reply, &entry),
            _ => put_id(self.reply, id),
        }
        self.note(id, &pending);
    }
}

/// The arguments that both begin with, the group checked and the consumer made.
fn claimer<'a>(
    stream: Option<&'a mut Stream>,
    reply: &'a mut Reply,
    args: &Args<'a>,
    now: i64,
) -> Result<(Claimer<'a>, bool), CommandError> {
    let (key, group) = (args.at(1), args.at(2));
    let missing = || no_key_or_group(key, group);
    let stream = stream.ok_or_else(missing)?;
    let found = stream.group_mut(group).ok_or_else(missing)?;
    let known = found.consumer_no(args.at(3));
    let consumer = known.or_else(|| found.add_consumer(args.at(3), now)).ok_or_else(missing)?;
    found.consumer_mut(consumer).seen_time = now;
    let claimer = Claimer {
        stream,
        reply,
        key,
        group,
        consumer,
        now,
        min_idle: 0,
        just_id: false,
        effects: Vec::new(),
        changes: 0,
    };
    Ok((claimer, known.is_none()))
}

/// Is the group there? Both commands say so before they look at their other arguments.
fn check_group(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> Result<(), CommandError> {
    let stream = ctx.keys.stream(args.at(1))?;
    match stream.and_then(|stream| stream.group(args.at(2))) {
        Some(_) => Ok(()),
        None => Err(no_key_or_group(args.at(1), args.at(2))),
    }
}

fn finish(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    made: bool,
    changes: u64,
    effects: Vec<OwnedArgs>,
) -> CommandResult {
    if made {
        ctx.keys.notify(EventClass::STREAM, "xgroup-createconsumer", key);
    }
    ctx.keys.dirty(changes + u64::from(made));
    Ok(if effects.is_empty() { Effect::None } else { Effect::Replace(effects) })
}

/// Source: redis 7.2 `t_stream.c:xclaimCommand`.
fn xclaim(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_group(ctx, args)?;
    let now = ctx.env.now.0;
    let min_idle =
        int_or(args.at(4), CommandError::new("ERR Invalid min-idle-time argument for XCLAIM"))?;
    let ids: Vec<StreamId> = args.tail(5).iter().map_while(|arg| strict(arg, 0).ok()).collect();
    let options = Options::parse(args, 5 + ids.len(), now)?;
    let delivered_at = options.delivered_at.filter(|at| (0..=now).contains(at)).unwrap_or(now);
    let (mut claimer, made) = claimer(ctx.keys.stream_mut(args.at(1))?, ctx.reply, args, now)?;
    (claimer.min_idle, claimer.just_id) = (min_idle, options.just_id);
    let mut moved_on = false;
    if let Some(group) = claimer.stream.group_mut(claimer.group)
        && options.last_id > group.last_id
    {
        group.last_id = options.last_id;
        moved_on = true;
    }
    let mark = claimer.reply.mark();
    let mut len = 0;
    for id in ids {
        let pending = claimer.pending(id);
        if claimer.stream.get(id).is_none() {
            if let Some(pending) = pending {
                claimer.forget(id, &pending);
            }
            continue;
        }
        let mut state = match pending {
            Some(pending) if !claimer.idle_enough(&pending) => continue,
            Some(pending) => pending,
            None if options.force => {
                Pending { consumer: claimer.consumer, delivered_at, deliveries: 1 }
            }
            None => continue,
        };
        state.consumer = claimer.consumer;
        state.delivered_at = delivered_at;
        match options.retry_count.filter(|count| *count >= 0) {
            Some(count) => state.deliveries = count as u64,
            None if !options.just_id => state.deliveries = state.deliveries.wrapping_add(1),
            None => {}
        }
        claimer.take(id, state);
        len += 1;
    }
    claimer.reply.array_at(mark, len);
    if moved_on && claimer.effects.is_empty() {
        claimer.changes += 1;
        if let Some(group) = claimer.stream.group(claimer.group) {
            claimer.effects.push(group_id_effect(claimer.key, claimer.group, group));
        }
    }
    let Claimer { effects, changes, .. } = claimer;
    finish(ctx, args.at(1), made, changes, effects)
}

/// Source: redis 7.2 `t_stream.c:xautoclaimCommand`.
fn xautoclaim(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    /// Entries looked at for each that may be returned.
    const ATTEMPTS: usize = 10;
    let min_idle =
        int_or(args.at(4), CommandError::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
    let start = bound(args.at(5), End::Start)?;
    let (mut count, mut just_id, mut index) = (100, false, 6);
    while index < args.len() {
        if args.is(index, "count") && index + 1 < args.len() {
            const BAD: CommandError = CommandError::new("ERR COUNT must be > 0");
            count = int_between_or(args.at(index + 1), 1, i64::MAX / 16, BAD)? as usize;
            index += 2;
        } else if args.is(index, "justid") {
            just_id = true;
            index += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    check_group(ctx, args)?;
    let now = ctx.env.now.0;
    let (mut claimer, made) = claimer(ctx.keys.stream_mut(args.at(1))?, ctx.reply, args, now)?;
    (claimer.min_idle, claimer.just_id) = (min_idle, just_id);
    let outer = claimer.reply.mark();
    let (mut len, mut deleted, mut cursor) = (0, Vec::new(), StreamId::ZERO);
    let mut attempts = count.saturating_mul(ATTEMPTS);
    let mut next = Some(start);
    while let Some(from) = next {
        let found = claimer
            .stream
            .group(claimer.group)
            .and_then(|group| group.pending_range(from, StreamId::MAX).next())
            .map(|(id, pending)| (id, *pending));
        let Some((id, mut pending)) = found else { break };
        if attempts == 0 || count == 0 {
            cursor = id;
            break;
        }
        attempts -= 1;
        next = id.next();
        if claimer.stream.get(id).is_none() {
            claimer.forget(id, &pending);
            deleted.push(id);
            count -= 1;
        } else if claimer.idle_enough(&pending) {
            pending.consumer = claimer.consumer;
            pending.delivered_at = now;
            if !just_id {
                pending.deliveries = pending.deliveries.wrapping_add(1);
            }
            claimer.take(id, pending);
            len += 1;
            count -= 1;
        }
    }
    let Claimer { reply, effects, changes, .. } = claimer;
    let claimed = reply.since(outer).to_vec();
    reply.rewind(outer);
    reply.array(3);
    put_id(reply, cursor);
    reply.array(len);
    reply.buffer_mut().extend_from_slice(&claimed);
    reply.array(deleted.len());
    deleted.into_iter().for_each(|id| put_id(reply, id));
    finish(ctx, args.at(1), made, changes, effects)
}
