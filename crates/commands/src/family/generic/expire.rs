//! Expiry times: setting, asking, taking away.

use crate::args::{TimeForm, int};
use crate::family::common::*;
use crate::family::string::{already_expired, removal_word};
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};

/// EXPIRE key seconds [NX | XX | GT | LT]
pub const EXPIRE: Command<DataFn> = Command::new(
    CommandSpec::new("expire", -3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .doc("O(1)", "Sets a key's time to live in seconds."),
    |ctx, args| expire(ctx, args, TimeForm::InSeconds, "expire"),
);

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub const PEXPIRE: Command<DataFn> = Command::new(
    CommandSpec::new("pexpire", -3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.6.0")
        .doc("O(1)", "Sets a key's time to live in milliseconds."),
    |ctx, args| expire(ctx, args, TimeForm::InMs, "pexpire"),
);

/// EXPIREAT key unix-seconds [NX | XX | GT | LT]
pub const EXPIREAT: Command<DataFn> = Command::new(
    CommandSpec::new("expireat", -3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("1.2.0")
        .doc("O(1)", "Sets the Unix time in seconds at which a key goes."),
    |ctx, args| expire(ctx, args, TimeForm::AtSeconds, "expireat"),
);

/// PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]
pub const PEXPIREAT: Command<DataFn> = Command::new(
    CommandSpec::new("pexpireat", -3, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.6.0")
        .doc("O(1)", "Sets the Unix time in milliseconds at which a key goes."),
    |ctx, args| expire(ctx, args, TimeForm::AtMs, "pexpireat"),
);

/// When the EXPIRE family sets the time.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    /// Source: redis 7.0 `expire.c:parseExtendedExpireArgumentsOrReply`.
    fn parse(args: &Args<'_>, from: usize) -> Result<Conditions, CommandError> {
        let mut c = Conditions::default();
        for arg in args.tail(from).iter() {
            match arg.to_ascii_lowercase().as_slice() {
                b"nx" => c.nx = true,
                b"xx" => c.xx = true,
                b"gt" => c.gt = true,
                b"lt" => c.lt = true,
                _ => {
                    return Err(CommandError::quoting(&[b"ERR Unsupported option ", arg]));
                }
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err(CommandError::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.gt && c.lt {
            return Err(CommandError::new(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(c)
    }

    /// True if a key that expires at `present` may be set to expire at `at`. No time is later than
    /// every time.
    fn allow(self, present: Option<i64>, at: i64) -> bool {
        !(self.nx && present.is_some()
            || self.xx && present.is_none()
            || self.gt && present.is_none_or(|present| at <= present)
            || self.lt && present.is_some_and(|present| at >= present))
    }
}

/// Source: redis 7.0 `expire.c:expireGenericCommand`.
fn expire(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: TimeForm, name: &str) -> CommandResult {
    let key = args.at(1);
    let conditions = Conditions::parse(args, 3)?;
    let at = moment(int(args.at(2))?, form, ctx.env.now.0)
        .ok_or_else(|| CommandError::invalid_expire(name))?;
    let allowed =
        ctx.keys.before_write(key).is_some_and(|entry| conditions.allow(entry.stamp(), at));
    ctx.reply.integer(i64::from(allowed));
    if !allowed {
        return Ok(Effect::None);
    }
    if already_expired(ctx, at) {
        ctx.keys.remove(key);
        ctx.keys.modified(EventClass::GENERIC, "del", key);
        return Ok(Effect::replace(&[removal_word(ctx), key]));
    }
    ctx.keys.set_expire(key, Some(at));
    ctx.keys.modified(EventClass::GENERIC, "expire", key);
    if form == TimeForm::AtMs {
        return Ok(Effect::Verbatim);
    }
    let mut parts = OwnedArgs::from_parts(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    args.tail(3).iter().for_each(|condition| parts.push(condition));
    Ok(Effect::Replace(vec![parts]))
}

/// The Unix time in ms that is meant; negative ones lie in the past. `None` beyond 64 bits.
fn moment(value: i64, form: TimeForm, now: i64) -> Option<i64> {
    let ms = if form.seconds() { value.checked_mul(1000)? } else { value };
    if form.relative() { ms.checked_add(now) } else { Some(ms) }
}

/// TTL key
pub const TTL: Command<DataFn> = Command::new(
    CommandSpec::new("ttl", 2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .tips(&["nondeterministic_output"])
        .doc("O(1)", "Returns how many seconds a key has to live."),
    |ctx, args| ttl(ctx, args, TimeForm::InSeconds),
);

/// PTTL key
pub const PTTL: Command<DataFn> = Command::new(
    CommandSpec::new("pttl", 2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.6.0")
        .tips(&["nondeterministic_output"])
        .doc("O(1)", "Returns how many milliseconds a key has to live."),
    |ctx, args| ttl(ctx, args, TimeForm::InMs),
);

/// EXPIRETIME key
pub const EXPIRETIME: Command<DataFn> = Command::new(
    CommandSpec::new("expiretime", 2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.0.0")
        .doc("O(1)", "Returns the Unix time in seconds at which a key goes."),
    |ctx, args| ttl(ctx, args, TimeForm::AtSeconds),
);

/// PEXPIRETIME key
pub const PEXPIRETIME: Command<DataFn> = Command::new(
    CommandSpec::new("pexpiretime", 2, Group::Generic)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("7.0.0")
        .doc("O(1)", "Returns the Unix time in milliseconds at which a key goes."),
    |ctx, args| ttl(ctx, args, TimeForm::AtMs),
);

/// Answers -2 without the key, -1 without a time. Source: redis 7.0 `expire.c:ttlGenericCommand`.
fn ttl(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: TimeForm) -> CommandResult {
    let answer = match ctx.keys.look(args.at(1)).map(|entry| entry.stamp()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = if form.relative() { at.saturating_sub(ctx.env.now.0).max(0) } else { at };
            // Rounded to the nearest second; wrapping as C does at the very end of time.
            if form.seconds() { ((i128::from(ms) + 500) / 1000) as i64 } else { ms }
        }
    };
    ctx.reply.integer(answer);
    Ok(Effect::None)
}

/// PERSIST key
pub const PERSIST: Command<DataFn> = Command::new(
    CommandSpec::new("persist", 2, Group::Generic)
        .flags(WRITE_FAST)
        .keys(&[at(1, RW_UPDATE)])
        .since("2.2.0")
        .doc("O(1)", "Takes a key's expiry time away."),
    persist,
);

fn persist(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let had = ctx.keys.before_write(key).is_some_and(|entry| entry.stamp().is_some());
    if had {
        ctx.keys.set_expire(key, None);
        ctx.keys.modified(EventClass::GENERIC, "persist", key);
    }
    ctx.reply.integer(i64::from(had));
    Ok(Effect::Verbatim)
}
