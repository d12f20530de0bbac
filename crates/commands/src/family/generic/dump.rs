//! DUMP and RESTORE: values as bytes.

use crate::args::{int, option_value};
use crate::family::common::*;
use crate::family::string::already_expired;
use crate::{
    AclCategories, Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags,
    Group, at,
};
use keyspace::{EventClass, SetTtl};
use persistence::dump::{dump_payload, restore_payload};
use persistence::rdb::{DecodeOptions, EncodeOptions};
use resp::{Args, OwnedArgs};

/// DUMP key
pub const DUMP: Command<DataFn> = Command::new(
    CommandSpec::new("dump", 2, Group::Generic)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.6.0")
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n elements", "Returns the value of a key in the form that RESTORE takes."),
    dump,
);

fn dump(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let options = EncodeOptions { compress: ctx.env.compress, ..EncodeOptions::default() };
    match ctx.keys.value(args.at(1)) {
        Some(value) => {
            let payload = dump_payload(value, &options);
            ctx.reply.bulk(&payload);
        }
        None => ctx.reply.null(),
    }
    Ok(Effect::None)
}

/// RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub const RESTORE: Command<DataFn> = Command::new(
    CommandSpec::new("restore", -4, Group::Generic)
        .flags(GROW)
        .acl(AclCategories::DANGEROUS)
        .keys(&[at(1, OW_UPDATE)])
        .since("2.6.0")
        .doc("O(n) for n elements", "Makes a key from what DUMP returned."),
    restore,
);

/// RESTORE-ASKING key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
pub const RESTORE_ASKING: Command<DataFn> = Command::new(
    CommandSpec::new("restore-asking", -4, Group::Server)
        .flags(GROW.union(Flags::ASKING))
        .acl(AclCategories::KEYSPACE.union(AclCategories::DANGEROUS))
        .keys(&[at(1, OW_UPDATE)])
        .since("3.0.0")
        .doc("O(n) for n elements", "RESTORE into a slot that is being imported."),
    restore,
);

#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    absttl: bool,
    idle: Option<i64>,
    freq: Option<i64>,
}

impl RestoreOptions {
    fn parse(args: &Args<'_>) -> Result<RestoreOptions, CommandError> {
        let mut o = RestoreOptions::default();
        let mut index = 4;
        while index < args.len() {
            if args.is(index, "replace") {
                o.replace = true;
            } else if args.is(index, "absttl") {
                o.absttl = true;
            } else if let Some(value) = option_value(args, index, "idletime")
                && o.freq.is_none()
            {
                let error = CommandError::new("ERR Invalid IDLETIME value, must be >= 0");
                o.idle = Some(int(value).and_then(|v| if v >= 0 { Ok(v) } else { Err(error) })?);
                index += 1;
            } else if let Some(value) = option_value(args, index, "freq")
                && o.idle.is_none()
            {
                let error = CommandError::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
                let in_range = |v| if (0..=255).contains(&v) { Ok(v) } else { Err(error) };
                o.freq = Some(int(value).and_then(in_range)?);
                index += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
            index += 1;
        }
        Ok(o)
    }
}

/// Source: redis 7.0 `cluster.c:restoreCommand`.
fn restore(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let options = RestoreOptions::parse(args)?;
    if !options.replace && ctx.keys.exists(key) {
        return Err(CommandError::new("BUSYKEY Target key name already exists."));
    }
    let ttl = int(args.at(2))?;
    if ttl < 0 {
        return Err(CommandError::new("ERR Invalid TTL value, must be >= 0"));
    }
    let decode = DecodeOptions { limits: ctx.env.limits };
    let value = restore_payload(args.at(3), &decode)
        .map_err(|error| CommandError::owned(error.to_string()))?;
    let at = match (ttl, options.absttl) {
        (0, _) => None,
        (ttl, true) => Some(ttl),
        (ttl, false) => Some(ttl.saturating_add(ctx.env.now.0)),
    };
    let replaced = ctx.keys.remove(key);
    ctx.reply.ok();
    if at.is_some_and(|at| already_expired(ctx, at)) {
        if !replaced {
            return Ok(Effect::None);
        }
        ctx.keys.modified(EventClass::GENERIC, "del", key);
        return Ok(Effect::replace(&[b"DEL", key]));
    }
    ctx.keys.put(key, value, at.map_or(SetTtl::Clear, SetTtl::At));
    set_access(ctx, key, &options);
    ctx.keys.modified(EventClass::GENERIC, "restore", key);
    Ok(match at {
        Some(at) if !options.absttl => with_absolute_ttl(args, at),
        _ => Effect::Verbatim,
    })
}

fn with_absolute_ttl(args: &Args<'_>, at: i64) -> Effect {
    let mut parts = OwnedArgs::from_parts(&[args.at(0), args.at(1), at.to_string().as_bytes()]);
    args.tail(3).iter().for_each(|arg| parts.push(arg));
    parts.push(b"ABSTTL");
    Effect::Replace(vec![parts])
}

/// Gives the key the access history of the options, where the policy in force has a use for it.
fn set_access(ctx: &mut Ctx<'_, '_>, key: &[u8], options: &RestoreOptions) {
    let idle = options.idle.map(|idle| idle as u64);
    let frequency = options.freq.map(|freq| freq as u8);
    let policy = ctx.keys.options.policy;
    let Some(access) = policy.given(ctx.env.now, idle, frequency) else { return };
    if let Some(entry) = ctx.keys.write(key) {
        entry.set_access(access);
    }
}
