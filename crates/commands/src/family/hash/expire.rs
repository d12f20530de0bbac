//! Times of fields: setting, asking, taking away.
//!
//! Source: redis 7.4 `t_hash.c:hexpireGenericCommand`, `httlGenericCommand`, `hpersistCommand`.

use crate::args::{TimeForm, int, int_between_or};
use crate::family::common::*;
use crate::family::string::already_expired;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};
use structures::{FIELD_TIME_MAX, ValueRef};

/// The latest time that a command may give a field.
/// Source: redis 7.4 `t_hash.c:HFE_MAX_ABS_TIME_MSEC`.
const TIME_MAX: i64 = FIELD_TIME_MAX >> 2;

/// Without the field.
const NO_FIELD: i64 = -2;

const FIELDS_MISSING: CommandError =
    CommandError::new("ERR Mandatory argument FIELDS is missing or not at the right position");
const NOT_AS_MANY: CommandError =
    CommandError::new("ERR The `numfields` parameter must match the number of arguments");
const NO_COUNT: CommandError = CommandError::new("ERR Number of fields must be a positive integer");
const NO_COUNT_EXPIRE: CommandError =
    CommandError::new("ERR Parameter `numFields` should be greater than 0");

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field …]
pub const HEXPIRE: Command<DataFn> = Command::new(
    CommandSpec::new("hexpire", -6, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Sets the time to live of fields of a hash in seconds."),
    |ctx, args| hexpire(ctx, args, TimeForm::InSeconds, "hexpire"),
);

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field …]
pub const HPEXPIRE: Command<DataFn> = Command::new(
    CommandSpec::new("hpexpire", -6, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Sets the time to live of fields of a hash in milliseconds."),
    |ctx, args| hexpire(ctx, args, TimeForm::InMs, "hpexpire"),
);

/// HEXPIREAT key unix-seconds [NX | XX | GT | LT] FIELDS numfields field [field …]
pub const HEXPIREAT: Command<DataFn> = Command::new(
    CommandSpec::new("hexpireat", -6, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Sets the Unix time in seconds at which fields of a hash go."),
    |ctx, args| hexpire(ctx, args, TimeForm::AtSeconds, "hexpireat"),
);

/// HPEXPIREAT key unix-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field …]
pub const HPEXPIREAT: Command<DataFn> = Command::new(
    CommandSpec::new("hpexpireat", -6, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Sets the Unix time in milliseconds at which fields go."),
    |ctx, args| hexpire(ctx, args, TimeForm::AtMs, "hpexpireat"),
);

/// When a field's time is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    /// The condition that an argument names; `Always` for any other word.
    fn parse(arg: &[u8]) -> Condition {
        match arg.to_ascii_lowercase().as_slice() {
            b"nx" => Condition::Nx,
            b"xx" => Condition::Xx,
            b"gt" => Condition::Gt,
            b"lt" => Condition::Lt,
            _ => Condition::Always,
        }
    }

    /// No time is later than every time.
    fn allows(self, present: Option<i64>, at: i64) -> bool {
        match self {
            Condition::Always => true,
            Condition::Nx => present.is_none(),
            Condition::Xx => present.is_some(),
            Condition::Gt => present.is_some_and(|present| present < at),
            Condition::Lt => present.is_none_or(|present| present > at),
        }
    }
}

/// The error if a key holds something else than a hash. An access, as Redis's lookup for writing.
pub(super) fn check_hash(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<(), CommandError> {
    match ctx.keys.before_write(key).map(|entry| entry.value()) {
        None | Some(ValueRef::Hash(_)) => Ok(()),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// Reads the time that fields get, Unix ms.
pub(super) fn field_time(
    ctx: &Ctx<'_, '_>,
    arg: &[u8],
    form: TimeForm,
    name: &str,
) -> Result<i64, CommandError> {
    let value = int(arg)?;
    if value < 0 {
        return Err(CommandError::new("ERR invalid expire time, must be >= 0"));
    }
    let ms = if form.seconds() { value.checked_mul(1000) } else { Some(value) };
    let base = if form.relative() { ctx.env.now.0 } else { 0 };
    ms.and_then(|ms| ms.checked_add(base))
        .filter(|at| (0..=TIME_MAX).contains(at))
        .ok_or_else(|| CommandError::invalid_expire(name))
}

/// The fields named by `FIELDS numfields field …` from argument `from` on.
pub(super) fn named_fields<'a>(
    args: &Args<'a>,
    from: usize,
    no_count: CommandError,
) -> Result<Args<'a>, CommandError> {
    if !args.is(from, "fields") {
        return Err(FIELDS_MISSING);
    }
    let Some(count) = args.get(from + 1) else { return Err(NOT_AS_MANY) };
    let count = int_between_or(count, 1, i64::MAX, no_count)?;
    let fields = args.tail(from + 2);
    if count as usize != fields.len() {
        return Err(NOT_AS_MANY);
    }
    Ok(fields)
}

/// As [`named_fields`] for the commands that call a missing count by its usual name.
pub(super) fn fields_at<'a>(args: &Args<'a>, from: usize) -> Result<Args<'a>, CommandError> {
    named_fields(args, from, NO_COUNT)
}

/// The command by which times of fields go on the log.
pub(super) fn expire_command(key: &[u8], time: i64, fields: &[&[u8]]) -> OwnedArgs {
    let (time, count) = (time.to_string(), fields.len().to_string());
    let mut command =
        OwnedArgs::from_parts(&[b"HPEXPIREAT", key, time.as_bytes(), b"FIELDS", count.as_bytes()]);
    fields.iter().for_each(|field| command.push(field));
    command
}

/// The command by which removed fields go on the log.
pub(super) fn delete_command(key: &[u8], fields: &[&[u8]]) -> OwnedArgs {
    let mut command = OwnedArgs::from_parts(&[b"HDEL", key]);
    fields.iter().for_each(|field| command.push(field));
    command
}

fn hexpire(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: TimeForm, name: &str) -> CommandResult {
    let key = args.at(1);
    check_hash(ctx, key)?;
    let time = field_time(ctx, args.at(2), form, name)?;
    let condition = Condition::parse(args.at(3));
    let from = if condition == Condition::Always { 3 } else { 4 };
    let fields = named_fields(args, from, NO_COUNT_EXPIRE)?;
    ctx.keys.expire_fields(key, fields.iter());
    let past = already_expired(ctx, time);
    let now = ctx.keys.fields_now();
    ctx.reply.array(fields.len());
    let mut changed: Vec<&[u8]> = Vec::new();
    if let Some(hash) = ctx.keys.hash_mut(key)? {
        for field in fields.iter() {
            let there = hash.time_of(field).filter(|_| !hash.is_due(field, now));
            let answer = match there {
                None => NO_FIELD,
                Some(present) if !condition.allows(present, time) => 0,
                Some(_) => {
                    changed.push(field);
                    if past {
                        hash.remove(field);
                        2
                    } else {
                        hash.set_time(field, Some(time));
                        1
                    }
                }
            };
            ctx.reply.integer(answer);
        }
        ctx.keys.fields_changed(key);
    } else {
        fields.iter().for_each(|_| ctx.reply.integer(NO_FIELD));
    }
    Ok(times_changed(ctx, key, time, past, &changed))
}

/// Accounts for fields that got a time, or that went since it lies in the past. Returns the effect.
pub(super) fn times_changed(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    time: i64,
    past: bool,
    changed: &[&[u8]],
) -> Effect {
    if changed.is_empty() {
        return Effect::None;
    }
    ctx.keys.modified(EventClass::HASH, if past { "hdel" } else { "hexpire" }, key);
    ctx.keys.dirty(changed.len() as u64 - 1);
    if past {
        ctx.keys.remove_if_empty(key);
        return Effect::Replace(vec![delete_command(key, changed)]);
    }
    Effect::Replace(vec![expire_command(key, time, changed)])
}

/// HTTL key FIELDS numfields field [field …]
pub const HTTL: Command<DataFn> = Command::new(
    CommandSpec::new("httl", -5, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Returns how many seconds fields of a hash have to live."),
    |ctx, args| httl(ctx, args, TimeForm::InSeconds),
);

/// HPTTL key FIELDS numfields field [field …]
pub const HPTTL: Command<DataFn> = Command::new(
    CommandSpec::new("hpttl", -5, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Returns how many milliseconds fields of a hash have to live."),
    |ctx, args| httl(ctx, args, TimeForm::InMs),
);

/// HEXPIRETIME key FIELDS numfields field [field …]
pub const HEXPIRETIME: Command<DataFn> = Command::new(
    CommandSpec::new("hexpiretime", -5, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Returns the Unix time in seconds at which fields go."),
    |ctx, args| httl(ctx, args, TimeForm::AtSeconds),
);

/// HPEXPIRETIME key FIELDS numfields field [field …]
pub const HPEXPIRETIME: Command<DataFn> = Command::new(
    CommandSpec::new("hpexpiretime", -5, Group::Hash)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Returns the Unix time in milliseconds at which fields go."),
    |ctx, args| httl(ctx, args, TimeForm::AtMs),
);

/// Answers -2 without the field, -1 without a time; seconds are rounded up.
fn httl(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: TimeForm) -> CommandResult {
    let (now, base) = (ctx.keys.fields_now(), ctx.env.now.0);
    let hash = ctx.keys.hash(args.at(1))?;
    let fields = fields_at(args, 2)?;
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        let time = hash.and_then(|hash| hash.time_of(field).filter(|_| !hash.is_due(field, now)));
        ctx.reply.integer(match time {
            None => NO_FIELD,
            Some(None) => -1,
            Some(Some(time)) => {
                let ms = if form.relative() { time.saturating_sub(base) } else { time };
                if form.seconds() { ms.saturating_add(999).div_euclid(1000) } else { ms }
            }
        });
    }
    Ok(Effect::None)
}

/// HPERSIST key FIELDS numfields field [field …]
pub const HPERSIST: Command<DataFn> = Command::new(
    CommandSpec::new("hpersist", -5, Group::Hash)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("7.4.0")
        .doc("O(n) for n fields", "Takes the times of fields of a hash away."),
    hpersist,
);

fn hpersist(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    check_hash(ctx, key)?;
    let fields = fields_at(args, 2)?;
    ctx.keys.expire_fields(key, fields.iter());
    let now = ctx.keys.fields_now();
    ctx.reply.array(fields.len());
    let Some(hash) = ctx.keys.hash_mut(key)? else {
        fields.iter().for_each(|_| ctx.reply.integer(NO_FIELD));
        return Ok(Effect::None);
    };
    let mut changed = 0;
    for field in fields.iter() {
        let answer = match hash.time_of(field).filter(|_| !hash.is_due(field, now)) {
            None => NO_FIELD,
            Some(None) => -1,
            Some(Some(_)) => {
                hash.set_time(field, None);
                changed += 1;
                1
            }
        };
        ctx.reply.integer(answer);
    }
    ctx.keys.fields_changed(key);
    if changed == 0 {
        return Ok(Effect::None);
    }
    ctx.keys.modified(EventClass::HASH, "hpersist", key);
    Ok(Effect::Verbatim)
}

/// Gives those of `fields` that are there this time, or removes them if it lies in the past. Returns
/// the fields.
pub(super) fn set_times<'a>(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    fields: Args<'a>,
    time: i64,
    past: bool,
) -> Result<Vec<&'a [u8]>, CommandError> {
    let now = ctx.keys.fields_now();
    let Some(hash) = ctx.keys.hash_mut(key)? else { return Ok(Vec::new()) };
    let mut changed = Vec::new();
    for field in fields.iter() {
        if !hash.contains_at(field, now) {
            continue;
        }
        changed.push(field);
        if past {
            hash.remove(field);
        } else {
            hash.set_time(field, Some(time));
        }
    }
    ctx.keys.fields_changed(key);
    Ok(changed)
}
