//! OBJECT: how a value is stored and used.

use crate::args::{help, unknown_subcommand};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, KeySpec,
    at,
};
use structures::{Entry, StrRef, ValueRef};

/// Integers that Redis keeps one shared object for; their reference count shows as the biggest.
/// Source: redis 7.0 `server.h:OBJ_SHARED_INTEGERS`.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;

/// OBJECT subcommand …
pub const OBJECT: Command<DataFn> = Command::container(
    CommandSpec::new("object", -2, Group::Generic)
        .without_group_category()
        .since("2.2.3")
        .doc("Depends on the subcommand.", "Tells how values are stored and used."),
    |_, args| Err(unknown_subcommand(args)),
    &[&ENCODING, &FREQ, &HELP, &IDLETIME, &REFCOUNT],
);

const KEY_AT_2: &[KeySpec] = &[at(2, RO)];

const fn about_key(name: &'static str, since: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, 3, Group::Generic)
        .flags(READ)
        .keys(KEY_AT_2)
        .since(since)
        .tips(&["nondeterministic_output"])
        .doc("O(1)", summary)
}

/// OBJECT ENCODING key
const ENCODING: Command<DataFn> = Command::new(
    about_key("object|encoding", "2.2.3", "Returns the name of the encoding of a value."),
    |ctx, args| {
        match ctx.keys.peek(args.at(2)) {
            Some(entry) => ctx.reply.text(entry.encoding_name()),
            None => ctx.reply.null(),
        }
        Ok(Effect::None)
    },
);

/// OBJECT REFCOUNT key
const REFCOUNT: Command<DataFn> = Command::new(
    about_key("object|refcount", "2.2.3", "Returns the reference count of a value."),
    |ctx, args| {
        let count = ctx.keys.peek(args.at(2)).map(|entry| match entry.value() {
            ValueRef::Str(StrRef::Int(value)) if SHARED_INTEGERS.contains(&value) => {
                i64::from(i32::MAX)
            }
            _ => 1,
        });
        integer_or_null(ctx, count)
    },
);

/// OBJECT IDLETIME key
const IDLETIME: Command<DataFn> = Command::new(
    about_key("object|idletime", "2.2.3", "Returns the seconds since the last access to a key."),
    |ctx, args| {
        let access = ctx.keys.peek(args.at(2)).map(Entry::access);
        let policy = ctx.keys.options.policy;
        if access.is_some() && policy.is_lfu() {
            return Err(CommandError::new(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. \
                 Please note that when switching between policies at runtime \
                 LRU and LFU data will take some time to adjust.",
            ));
        }
        let idle = access.map(|access| i64::from(policy.reading(access, ctx.env.now)));
        integer_or_null(ctx, idle)
    },
);

/// OBJECT FREQ key
const FREQ: Command<DataFn> = Command::new(
    about_key("object|freq", "4.0.0", "Returns the logarithmic access counter of a key."),
    |ctx, args| {
        let access = ctx.keys.peek(args.at(2)).map(Entry::access);
        let policy = ctx.keys.options.policy;
        if access.is_some() && !policy.is_lfu() {
            return Err(CommandError::new(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                 Please note that when switching between policies at runtime \
                 LRU and LFU data will take some time to adjust.",
            ));
        }
        let count = access.map(|access| i64::from(policy.reading(access, ctx.env.now)));
        integer_or_null(ctx, count)
    },
);

/// OBJECT HELP
const HELP: Command<DataFn> = Command::new(
    CommandSpec::new("object|help", 2, Group::Generic)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("6.2.0")
        .doc("O(1)", "Explains the subcommands."),
    |ctx, _| {
        help(
            ctx,
            "OBJECT",
            &[
                "ENCODING <key>",
                "    Return the kind of internal representation used in order to store the value",
                "    associated with a <key>.",
                "FREQ <key>",
                "    Return the access frequency index of the <key>. The returned integer is",
                "    proportional to the logarithm of the recent access frequency of the key.",
                "IDLETIME <key>",
                "    Return the idle time of the <key>, that is the approximated number of",
                "    seconds elapsed since the last access to the key.",
                "REFCOUNT <key>",
                "    Return the number of references of the value associated with the specified",
                "    <key>.",
            ],
        );
        Ok(Effect::None)
    },
);

fn integer_or_null(ctx: &mut Ctx<'_, '_>, value: Option<i64>) -> CommandResult {
    match value {
        Some(value) => ctx.reply.integer(value),
        None => ctx.reply.null(),
    }
    Ok(Effect::None)
}
