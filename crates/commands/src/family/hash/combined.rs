//! Commands that read or set fields and do something about their times in one step.
//!
//! On the log they become HDEL, HSET, HPEXPIREAT and HPERSIST, which every version that knows times
//! of fields takes.
//!
//! Source: redis 8.0 `t_hash.c:hgetdelCommand`, `hgetexCommand`, `hsetexCommand`.

use super::expire::{
    check_hash, delete_command, expire_command, field_time, fields_at, set_times, times_changed,
};
use super::field::remove_fields;
use crate::args::{TimeForm, int_between_or};
use crate::family::common::*;
use crate::family::string::already_expired;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};

/// HGETDEL key FIELDS numfields field [field …]
pub const HGETDEL: Command<DataFn> = Command::new(
    CommandSpec::new("hgetdel", -5, Group::Hash)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .since("8.0.0")
        .doc("O(n) for n fields", "Returns the values of fields of a hash and removes the fields."),
    hgetdel,
);

fn hgetdel(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    check_hash(ctx, key)?;
    let fields = fields_at(args, 2)?;
    // One after the other: a field that is named twice is not there the second time.
    ctx.keys.expire_fields(key, fields.iter());
    ctx.reply.array(fields.len());
    let mut removed: Vec<&[u8]> = Vec::new();
    let now = ctx.keys.fields_now();
    if let Some(hash) = ctx.keys.hash_mut(key)? {
        for field in fields.iter() {
            let value = hash.get_at(field, now);
            bulk_elem_or_null(ctx.reply, value);
            if value.is_some() {
                hash.remove(field);
                removed.push(field);
            }
        }
    } else {
        fields.iter().for_each(|_| ctx.reply.null());
    }
    if removed.is_empty() {
        return Ok(Effect::None);
    }
    ctx.keys.fields_changed(key);
    ctx.keys.modified(EventClass::HASH, "hdel", key);
    ctx.keys.dirty(removed.len() as u64 - 1);
    ctx.keys.remove_if_empty(key);
    Ok(Effect::Replace(vec![delete_command(key, &removed)]))
}

/// The form of an expiry time that an option announces.
fn time_form(arg: &[u8]) -> Option<TimeForm> {
    match arg.to_ascii_lowercase().as_slice() {
        b"ex" => Some(TimeForm::InSeconds),
        b"px" => Some(TimeForm::InMs),
        b"exat" => Some(TimeForm::AtSeconds),
        b"pxat" => Some(TimeForm::AtMs),
        _ => None,
    }
}

/// HGETEX key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]
/// FIELDS numfields field [field …]
pub const HGETEX: Command<DataFn> = Command::new(
    CommandSpec::new("hgetex", -5, Group::Hash)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .since("8.0.0")
        .doc("O(n) for n fields", "Returns the values of fields and sets or removes their times."),
    hgetex,
);

fn hgetex(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    check_hash(ctx, key)?;
    let (mut time, mut persist, mut from) = (None, false, 2);
    if let Some(form) = time_form(args.at(2)) {
        time = Some(field_time(ctx, args.at(3), form, "hgetex")?);
        from = 4;
    } else if args.is(2, "persist") {
        persist = true;
        from = 3;
    }
    let fields = fields_at(args, from)?;
    ctx.keys.expire_fields(key, fields.iter());
    let now = ctx.keys.fields_now();
    ctx.reply.array(fields.len());
    let hash = ctx.keys.hash(key)?;
    for field in fields.iter() {
        bulk_elem_or_null(ctx.reply, hash.and_then(|hash| hash.get_at(field, now)));
    }
    if let Some(time) = time {
        let past = already_expired(ctx, time);
        let changed = set_times(ctx, key, fields, time, past)?;
        return Ok(times_changed(ctx, key, time, past, &changed));
    }
    if persist { take_times_away(ctx, key, fields) } else { Ok(Effect::None) }
}

/// HGETEX with PERSIST.
fn take_times_away(ctx: &mut Ctx<'_, '_>, key: &[u8], fields: Args<'_>) -> CommandResult {
    let now = ctx.keys.fields_now();
    let Some(hash) = ctx.keys.hash_mut(key)?.filter(|hash| hash.knows_times()) else {
        return Ok(Effect::None);
    };
    let mut changed: Vec<&[u8]> = Vec::new();
    for field in fields.iter() {
        if hash.time_of(field).flatten().is_some_and(|time| time > now) {
            hash.set_time(field, None);
            changed.push(field);
        }
    }
    if changed.is_empty() {
        return Ok(Effect::None);
    }
    ctx.keys.fields_changed(key);
    ctx.keys.modified(EventClass::HASH, "hpersist", key);
    ctx.keys.dirty(changed.len() as u64 - 1);
    let count = changed.len().to_string();
    let mut command = OwnedArgs::from_parts(&[b"HPERSIST", key, b"FIELDS", count.as_bytes()]);
    changed.iter().for_each(|field| command.push(field));
    Ok(Effect::Replace(vec![command]))
}

/// HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds
/// | KEEPTTL] FIELDS numfields field value [field value …]
pub const HSETEX: Command<DataFn> = Command::new(
    CommandSpec::new("hsetex", -6, Group::Hash)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("8.0.0")
        .doc("O(n) for n fields", "Sets fields of a hash and when they go."),
    hsetex,
);

/// What HSETEX is asked for.
struct SetOptions<'a> {
    /// Only if none (true) or all (false) of the fields are there.
    only_new: Option<bool>,
    time: Option<i64>,
    keep: bool,
    /// Fields and values in turn.
    pairs: Args<'a>,
}

impl<'a> SetOptions<'a> {
    fn parse(ctx: &Ctx<'_, '_>, args: &Args<'a>) -> Result<SetOptions<'a>, CommandError> {
        const ONE_CONDITION: CommandError =
            CommandError::new("ERR Only one of FXX or FNX arguments can be specified");
        const ONE_TIME: CommandError = CommandError::new(
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        );
        let (mut only_new, mut time, mut keep) = (None, None, false);
        let mut index = 2;
        while index < args.len() {
            let arg = args.at(index);
            if args.is(index, "fields") {
                let pairs = Self::pairs(args, index + 1)?;
                return Ok(SetOptions { only_new, time, keep, pairs });
            } else if args.is(index, "fnx") || args.is(index, "fxx") {
                if only_new.is_some() {
                    return Err(ONE_CONDITION);
                }
                only_new = Some(args.is(index, "fnx"));
            } else if args.is(index, "keepttl") {
                if keep || time.is_some() {
                    return Err(ONE_TIME);
                }
                keep = true;
            } else if let Some(form) = time_form(arg) {
                if keep || time.is_some() {
                    return Err(ONE_TIME);
                }
                index += 1;
                let text = args.get(index).ok_or(CommandError::new("ERR missing expire time"))?;
                time = Some(field_time(ctx, text, form, "hsetex")?);
            } else {
                return Err(CommandError::quoting(&[b"ERR unknown argument: ", arg]));
            }
            index += 1;
        }
        Err(CommandError::arity("hsetex"))
    }

    /// The pairs behind FIELDS: as many as the number at `from` says, and nothing else.
    fn pairs(args: &Args<'a>, from: usize) -> Result<Args<'a>, CommandError> {
        let arity = || CommandError::arity("hsetex");
        let count = args.get(from).ok_or_else(arity)?;
        let error = CommandError::new("ERR invalid number of fields");
        let count = int_between_or(count, 1, i64::from(i32::MAX), error)?;
        let pairs = args.tail(from + 1);
        if pairs.len() as i64 != count * 2 {
            return Err(arity());
        }
        Ok(pairs)
    }

    fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        self.pairs.iter().step_by(2)
    }
}

fn hsetex(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let options = SetOptions::parse(ctx, args)?;
    check_hash(ctx, key)?;
    ctx.keys.expire_fields(key, options.fields());
    let now = ctx.keys.fields_now();
    if let Some(only_new) = options.only_new {
        let hash = ctx.keys.hash_mut(key)?;
        let there = |field: &[u8]| hash.as_ref().is_some_and(|hash| hash.contains_at(field, now));
        if options.fields().any(|field| there(field) == only_new) {
            ctx.reply.integer(0);
            return Ok(Effect::None);
        }
    }
    let count = options.pairs.len() / 2;
    let limits = &ctx.env.limits;
    let hash = ctx.keys.hash_or_new(key)?;
    hash.reserve(count, limits);
    for at in 0..count {
        let (field, value) = (options.pairs.at(at * 2), options.pairs.at(at * 2 + 1));
        if options.keep && !hash.is_due(field, now) {
            hash.set_keep_time(field, value, limits);
        } else {
            hash.set(field, value, limits);
        }
    }
    ctx.keys.fields_changed(key);
    ctx.keys.modified(EventClass::HASH, "hset", key);
    ctx.keys.dirty(count as u64 - 1);
    ctx.reply.integer(1);
    set_ex_times(ctx, key, &options)
}

/// The times that HSETEX gives to fields that it has just set, and its effect.
fn set_ex_times(ctx: &mut Ctx<'_, '_>, key: &[u8], options: &SetOptions<'_>) -> CommandResult {
    let mut set = OwnedArgs::from_parts(&[b"HSET", key]);
    options.pairs.iter().for_each(|arg| set.push(arg));
    let fields: Vec<&[u8]> = options.fields().collect();
    let Some(time) = options.time else {
        let mut commands = vec![set];
        if let Some(hash) = ctx.keys.hash_mut(key)?.filter(|hash| hash.knows_times()) {
            // HSET takes times away: those that stayed are set again.
            for field in fields {
                let time = hash.time_of(field).flatten();
                commands.extend(time.map(|time| expire_command(key, time, &[field])));
            }
        }
        return Ok(Effect::Replace(commands));
    };
    if already_expired(ctx, time) {
        let mut names = OwnedArgs::from_parts::<&[u8]>(&[]);
        fields.iter().for_each(|field| names.push(field));
        remove_fields(ctx, key, names.as_args())?;
        ctx.keys.notify(EventClass::HASH, "hdel", key);
        ctx.keys.remove_if_empty(key);
        return Ok(Effect::Replace(vec![delete_command(key, &fields)]));
    }
    let hash = ctx.keys.hash_or_new(key)?;
    fields.iter().for_each(|field| {
        hash.set_time(field, Some(time));
    });
    ctx.keys.fields_changed(key);
    ctx.keys.notify(EventClass::HASH, "hexpire", key);
    Ok(Effect::Replace(vec![set, expire_command(key, time, &fields)]))
}
