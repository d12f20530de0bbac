//! Commands on whole string values: GET and SET with their relatives.

use crate::args::{TimeForm, expire_at};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, KeyFlags, at,
    each, span,
};
use keyspace::{EventClass, ExpireRule, SetTtl};
use resp::{Args, OwnedArgs};

/// GET key
pub const GET: Command<DataFn> = Command::new(
    CommandSpec::new("get", 2, Group::String)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .doc("O(1)", "Returns the string value of a key."),
    get,
);

fn get(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    reply_value(ctx, args.at(1))?;
    Ok(Effect::None)
}

/// Writes the string at `key` or a null; true if there was one.
fn reply_value(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<bool, CommandError> {
    match ctx.keys.string(key)? {
        Some(text) => {
            bulk_str(ctx.reply, text);
            Ok(true)
        }
        None => {
            ctx.reply.null();
            Ok(false)
        }
    }
}

/// Options of SET and GETEX.
#[derive(Clone, Copy, Default)]
struct ValueOptions<'a> {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    time: Option<(TimeForm, &'a [u8])>,
}

impl<'a> ValueOptions<'a> {
    /// Parses the options from argument `from` on: those of GETEX if `getex`, else those of SET.
    /// Source: redis 7.0 `t_string.c:parseExtendedStringArgumentsOrReply`.
    fn parse(args: &Args<'a>, from: usize, getex: bool) -> Result<ValueOptions<'a>, CommandError> {
        let mut o = ValueOptions::default();
        let mut index = from;
        while index < args.len() {
            let is = |word| args.is(index, word);
            if !getex && is("nx") && !o.xx {
                o.nx = true;
            } else if !getex && is("xx") && !o.nx {
                o.xx = true;
            } else if !getex && is("get") {
                o.get = true;
            } else if !getex && is("keepttl") && o.time.is_none() {
                o.keep_ttl = true;
            } else if getex && is("persist") && o.time.is_none() {
                o.persist = true;
            } else if let Some(form) = time_form(args.at(index))
                && let Some(value) = args.get(index + 1)
                && !o.keep_ttl
                && !o.persist
                && o.time.is_none_or(|(before, _)| before == form)
            {
                o.time = Some((form, value));
                index += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
            index += 1;
        }
        Ok(o)
    }
}

fn time_form(word: &[u8]) -> Option<TimeForm> {
    match word.to_ascii_lowercase().as_slice() {
        b"ex" => Some(TimeForm::InSeconds),
        b"px" => Some(TimeForm::InMs),
        b"exat" => Some(TimeForm::AtSeconds),
        b"pxat" => Some(TimeForm::AtMs),
        _ => None,
    }
}

/// SET key value [NX | XX] [GET] [EX seconds | PX ms | EXAT unix-s | PXAT unix-ms | KEEPTTL]
pub const SET: Command<DataFn> = Command::new(
    CommandSpec::new("set", -3, Group::String)
        .flags(GROW)
        .keys(&[at(1, RW_ACCESS_UPDATE.union(KeyFlags::VARIABLE_FLAGS))
            .notes("RW and ACCESS due to the optional `GET` argument")])
        .doc("O(1)", "Sets a key to a string, whatever it held before."),
    set,
);

fn set(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        ctx.keys.set_string(key, value, SetTtl::Clear);
        ctx.keys.modified(EventClass::STRING, "set", key);
        ctx.reply.ok();
        return Ok(Effect::Verbatim);
    }
    let options = ValueOptions::parse(args, 3, false)?;
    let expire = match options.time {
        Some((form, text)) => Some(expire_at(text, form, ctx.env.now, "set")?),
        None => None,
    };
    if options.get {
        reply_value(ctx, key)?;
    }
    if (options.nx || options.xx) && ctx.keys.before_write(key).is_some() != options.xx {
        if !options.get {
            ctx.reply.null();
        }
        return Ok(Effect::None);
    }
    let ttl = match expire {
        Some(at) => SetTtl::At(at),
        None if options.keep_ttl => SetTtl::Keep,
        None => SetTtl::Clear,
    };
    store(ctx, key, value, ttl);
    if !options.get {
        ctx.reply.ok();
    }
    Ok(match expire {
        Some(at) => set_with_time(key, value, at),
        None if options.get => without_get(args),
        None => Effect::Verbatim,
    })
}

/// Sets the string, with the events `set` and, if it has a time, `expire`.
fn store(ctx: &mut Ctx<'_, '_>, key: &[u8], value: &[u8], ttl: SetTtl) {
    ctx.keys.set_string(key, value, ttl);
    ctx.keys.modified(EventClass::STRING, "set", key);
    if matches!(ttl, SetTtl::At(_)) {
        ctx.keys.notify(EventClass::GENERIC, "expire", key);
    }
}

fn set_with_time(key: &[u8], value: &[u8], at: i64) -> Effect {
    let at = at.to_string();
    Effect::replace(&[b"SET", key, value, b"PXAT", at.as_bytes()])
}

/// The same command without its GET words, which mean nothing to who follows the log.
fn without_get(args: &Args<'_>) -> Effect {
    let mut parts = OwnedArgs::default();
    for (index, arg) in args.iter().enumerate() {
        if index < 3 || !arg.eq_ignore_ascii_case(b"get") {
            parts.push(arg);
        }
    }
    Effect::Replace(vec![parts])
}

/// SETNX key value
pub const SETNX: Command<DataFn> = Command::new(
    CommandSpec::new("setnx", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, OW_INSERT)])
        .doc("O(1)", "Sets a key to a string if the key is not there."),
    setnx,
);

fn setnx(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if ctx.keys.before_write(args.at(1)).is_some() {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    }
    store(ctx, args.at(1), args.at(2), SetTtl::Clear);
    ctx.reply.integer(1);
    Ok(Effect::Verbatim)
}

/// SETEX key seconds value
pub const SETEX: Command<DataFn> = Command::new(
    CommandSpec::new("setex", 4, Group::String)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE)])
        .since("2.0.0")
        .doc("O(1)", "Sets a key to a string that expires after some seconds."),
    |ctx, args| set_for(ctx, args, TimeForm::InSeconds, "setex"),
);

/// PSETEX key milliseconds value
pub const PSETEX: Command<DataFn> = Command::new(
    CommandSpec::new("psetex", 4, Group::String)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE)])
        .since("2.6.0")
        .doc("O(1)", "Sets a key to a string that expires after some milliseconds."),
    |ctx, args| set_for(ctx, args, TimeForm::InMs, "psetex"),
);

fn set_for(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: TimeForm, name: &str) -> CommandResult {
    let (key, value) = (args.at(1), args.at(3));
    let at = expire_at(args.at(2), form, ctx.env.now, name)?;
    store(ctx, key, value, SetTtl::At(at));
    ctx.reply.ok();
    Ok(set_with_time(key, value, at))
}

/// GETSET key value
pub const GETSET: Command<DataFn> = Command::new(
    CommandSpec::new("getset", 3, Group::String)
        .flags(GROW_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE)])
        .doc("O(1)", "Sets a key to a string and returns what it held before.")
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    getset,
);

fn getset(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.at(1), args.at(2));
    reply_value(ctx, key)?;
    store(ctx, key, value, SetTtl::Clear);
    Ok(Effect::replace(&[b"SET", key, value]))
}

/// GETDEL key
pub const GETDEL: Command<DataFn> = Command::new(
    CommandSpec::new("getdel", 2, Group::String)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_DELETE)])
        .since("6.2.0")
        .doc("O(1)", "Returns the string value of a key and removes the key."),
    getdel,
);

fn getdel(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    if !reply_value(ctx, key)? {
        return Ok(Effect::None);
    }
    ctx.keys.remove(key);
    ctx.keys.modified(EventClass::GENERIC, "del", key);
    Ok(Effect::replace(&[b"DEL", key]))
}

/// GETEX key [EX seconds | PX ms | EXAT unix-s | PXAT unix-ms | PERSIST]
pub const GETEX: Command<DataFn> = Command::new(
    CommandSpec::new("getex", -2, Group::String)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_ACCESS_UPDATE).notes("RW and UPDATE because it changes the TTL")])
        .since("6.2.0")
        .doc("O(1)", "Returns the string value of a key and sets or clears its expiry time."),
    getex,
);

fn getex(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let options = ValueOptions::parse(args, 2, true)?;
    if !reply_value(ctx, key)? {
        return Ok(Effect::None);
    }
    let Some((form, text)) = options.time else {
        if options.persist && ctx.keys.expire_time(key).flatten().is_some() {
            ctx.keys.set_expire(key, None);
            ctx.keys.modified(EventClass::GENERIC, "persist", key);
            return Ok(Effect::replace(&[b"PERSIST", key]));
        }
        return Ok(Effect::None);
    };
    let at = expire_at(text, form, ctx.env.now, "getex")?;
    if !form.relative() && already_expired(ctx, at) {
        ctx.keys.remove(key);
        ctx.keys.modified(EventClass::GENERIC, "del", key);
        return Ok(Effect::replace(&[removal_word(ctx), key]));
    }
    ctx.keys.set_expire(key, Some(at));
    ctx.keys.modified(EventClass::GENERIC, "expire", key);
    Ok(Effect::replace(&[b"PEXPIREAT", key, at.to_string().as_bytes()]))
}

/// True if an expiry time lies in the past and this node may act on it: on a replica and while
/// loading, keys go when the master or the file says so.
/// Source: redis 7.0 `expire.c:checkAlreadyExpired`.
pub(crate) fn already_expired(ctx: &Ctx<'_, '_>, at: i64) -> bool {
    at <= ctx.env.now.0 && ctx.keys.options.expire == ExpireRule::Remove && !ctx.env.from_master
}

/// How a removal by time goes on the log.
pub(crate) fn removal_word(ctx: &Ctx<'_, '_>) -> &'static [u8] {
    if ctx.env.lazy_expire { b"UNLINK" } else { b"DEL" }
}

/// MGET key [key …]
pub const MGET: Command<DataFn> = Command::new(
    CommandSpec::new("mget", -2, Group::String)
        .flags(READ_FAST)
        .keys(&[each(1, RO_ACCESS)])
        .tips(&["request_policy:multi_shard"])
        .doc("O(n) for n keys", "Returns the string values of several keys."),
    mget,
);

fn mget(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    ctx.reply.array(args.len() - 1);
    for key in args.tail(1).iter() {
        match ctx.keys.string(key) {
            Ok(Some(text)) => bulk_str(ctx.reply, text),
            // A value of another type is no string: a null, not an error.
            Ok(None) | Err(_) => ctx.reply.null(),
        }
    }
    Ok(Effect::None)
}

/// MSET key value [key value …]
pub const MSET: Command<DataFn> = Command::new(
    CommandSpec::new("mset", -3, Group::String)
        .flags(GROW)
        .keys(&[span(1, -1, 2, OW_UPDATE)])
        .since("1.0.1")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .doc("O(n) for n keys", "Sets several keys to strings."),
    mset,
);

fn mset(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    store_pairs(ctx, args, "mset")?;
    ctx.reply.ok();
    Ok(Effect::Verbatim)
}

fn store_pairs(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, name: &str) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::arity(name));
    }
    for index in (1..args.len()).step_by(2) {
        store(ctx, args.at(index), args.at(index + 1), SetTtl::Clear);
    }
    Ok(())
}

/// MSETNX key value [key value …]
pub const MSETNX: Command<DataFn> = Command::new(
    CommandSpec::new("msetnx", -3, Group::String)
        .flags(GROW)
        .keys(&[span(1, -1, 2, OW_INSERT)])
        .since("1.0.1")
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"])
        .doc("O(n) for n keys", "Sets several keys to strings if none of them is there."),
    msetnx,
);

fn msetnx(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let even = args.len().is_multiple_of(2);
    if !even
        && (1..args.len()).step_by(2).any(|index| ctx.keys.before_write(args.at(index)).is_some())
    {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    }
    store_pairs(ctx, args, "msetnx")?;
    ctx.reply.integer(1);
    Ok(Effect::Verbatim)
}
