//! XGROUP: making and removing groups and consumers.

use super::id::strict;
use crate::args::{help, int, unknown_subcommand};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, KeySpec,
    at,
};
use keyspace::EventClass;
use resp::Args;
use structures::{Stream, StreamGroup, StreamId, UNKNOWN_READ};

/// XGROUP subcommand …
pub const XGROUP: Command<DataFn> = Command::container(
    CommandSpec::new("xgroup", -2, Group::Stream)
        .without_group_category()
        .since("5.0.0")
        .doc("Depends on the subcommand.", "Manages the groups of consumers of a stream."),
    |_, args| Err(unknown_subcommand(args)),
    &[&CREATE, &CREATECONSUMER, &DELCONSUMER, &DESTROY, &HELP, &SETID],
);

const INSERT_AT_2: &[KeySpec] = &[at(2, RW_INSERT)];
const UPDATE_AT_2: &[KeySpec] = &[at(2, RW_UPDATE)];
const DELETE_AT_2: &[KeySpec] = &[at(2, RW_DELETE)];

const NO_KEY: CommandError = CommandError::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);

/// The error for a group that is not there.
pub fn no_group(group: &[u8], key: &[u8]) -> CommandError {
    CommandError::quoting(&[
        b"NOGROUP No such consumer group '",
        group,
        b"' for key name '",
        key,
        b"'",
    ])
}

/// The error for arguments that a subcommand does not know.
/// Source: redis 7.0 `networking.c:addReplySubcommandSyntaxError`.
pub fn wrong_subcommand(args: &Args<'_>) -> CommandError {
    let sub = args.at(1);
    CommandError::quoting(&[
        b"ERR unknown subcommand or wrong number of arguments for '",
        &sub[..sub.len().min(128)],
        b"'. Try ",
        &args.at(0).to_ascii_uppercase(),
        b" HELP.",
    ])
}

/// Options of CREATE and SETID.
#[derive(Default)]
struct Options {
    make: bool,
    entries_read: Option<i64>,
}

impl Options {
    fn parse(args: &Args<'_>, create: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 5;
        while index < args.len() {
            if create && args.is(index, "mkstream") {
                options.make = true;
                index += 1;
            } else if args.is(index, "entriesread") && index + 1 < args.len() {
                let read = int(args.at(index + 1))?;
                if read < UNKNOWN_READ {
                    return Err(CommandError::new(
                        "ERR value for ENTRIESREAD must be positive or -1",
                    ));
                }
                options.entries_read = Some(read);
                index += 2;
            } else {
                return Err(wrong_subcommand(args));
            }
        }
        Ok(options)
    }
}

fn group_start(arg: &[u8], stream: Option<&Stream>) -> Result<StreamId, CommandError> {
    if arg == b"$" {
        return Ok(stream.map_or(StreamId::ZERO, Stream::last_id));
    }
    strict(arg, 0)
}

/// The group that the arguments name.
fn group_of<'k>(
    ctx: &'k mut Ctx<'_, '_>,
    args: &Args<'_>,
) -> Result<&'k mut StreamGroup, CommandError> {
    let stream = ctx.keys.stream_mut(args.at(2))?.ok_or(NO_KEY)?;
    stream.group_mut(args.at(3)).ok_or_else(|| no_group(args.at(3), args.at(2)))
}

fn changed(ctx: &mut Ctx<'_, '_>, event: &'static str, key: &[u8]) {
    ctx.keys.dirty(1);
    ctx.keys.notify(EventClass::STREAM, event, key);
}

/// XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]
const CREATE: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|create", -5, Group::Stream)
        .flags(GROW)
        .keys(INSERT_AT_2)
        .since("5.0.0")
        .doc("O(1)", "Makes a group of consumers."),
    create,
);

fn create(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args, true)?;
    let (key, name) = (args.at(2), args.at(3));
    let stream = ctx.keys.stream(key)?;
    let missing = stream.is_none();
    if missing && !options.make {
        return Err(NO_KEY);
    }
    // Each option once: Redis counts arguments.
    if args.len() > 8 {
        return Err(wrong_subcommand(args));
    }
    let last_id = group_start(args.at(4), stream)?;
    let group = StreamGroup::new(last_id, options.entries_read.unwrap_or(UNKNOWN_READ));
    if !ctx.keys.stream_or_new(key)?.add_group(name, group) {
        return Err(CommandError::new("BUSYGROUP Consumer Group name already exists"));
    }
    if missing {
        ctx.keys.signal(key);
    }
    ctx.reply.ok();
    changed(ctx, "xgroup-create", key);
    Ok(Effect::Verbatim)
}

/// XGROUP SETID key group id|$ [ENTRIESREAD entries-read]
const SETID: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|setid", -5, Group::Stream)
        .flags(WRITE)
        .keys(UPDATE_AT_2)
        .since("5.0.0")
        .doc("O(1)", "Sets the last delivered ID of a group."),
    |ctx, args| {
        let options = Options::parse(args, false)?;
        let key = args.at(2);
        let stream = ctx.keys.stream_mut(key)?.ok_or(NO_KEY)?;
        if stream.group(args.at(3)).is_none() {
            return Err(no_group(args.at(3), key));
        }
        if args.len() > 7 {
            return Err(wrong_subcommand(args));
        }
        let last_id = group_start(args.at(4), Some(stream))?;
        let group = stream.group_mut(args.at(3)).ok_or_else(|| no_group(args.at(3), key))?;
        group.last_id = last_id;
        group.entries_read = options.entries_read.unwrap_or(UNKNOWN_READ);
        ctx.reply.ok();
        changed(ctx, "xgroup-setid", key);
        Ok(Effect::Verbatim)
    },
);

/// XGROUP DESTROY key group
const DESTROY: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|destroy", 4, Group::Stream)
        .flags(WRITE)
        .keys(DELETE_AT_2)
        .since("5.0.0")
        .doc("O(n) for n pending entries", "Removes a group."),
    |ctx, args| {
        let key = args.at(2);
        let stream = ctx.keys.stream_mut(key)?.ok_or(NO_KEY)?;
        let removed = stream.remove_group(args.at(3)).is_some();
        ctx.reply.integer(i64::from(removed));
        if removed {
            changed(ctx, "xgroup-destroy", key);
            // Who waits as a consumer of this group waits for nothing any more.
            ctx.keys.wake(key);
        }
        Ok(Effect::Verbatim)
    },
);

/// XGROUP CREATECONSUMER key group consumer
const CREATECONSUMER: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|createconsumer", 5, Group::Stream)
        .flags(GROW)
        .keys(INSERT_AT_2)
        .since("6.2.0")
        .doc("O(1)", "Adds a consumer to a group."),
    |ctx, args| {
        let now = ctx.env.now.0;
        let added = group_of(ctx, args)?.add_consumer(args.at(4), now).is_some();
        ctx.reply.integer(i64::from(added));
        if added {
            changed(ctx, "xgroup-createconsumer", args.at(2));
        }
        Ok(Effect::Verbatim)
    },
);

/// XGROUP DELCONSUMER key group consumer
const DELCONSUMER: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|delconsumer", 5, Group::Stream)
        .flags(WRITE)
        .keys(DELETE_AT_2)
        .since("5.0.0")
        .doc("O(n) for n pending entries", "Removes a consumer with what it has pending."),
    |ctx, args| {
        let removed = group_of(ctx, args)?.remove_consumer(args.at(4));
        ctx.reply.count(removed.unwrap_or(0));
        if removed.is_some() {
            changed(ctx, "xgroup-delconsumer", args.at(2));
        }
        Ok(Effect::Verbatim)
    },
);

/// XGROUP HELP
const HELP: Command<DataFn> = Command::new(
    CommandSpec::new("xgroup|help", 2, Group::Stream)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("5.0.0")
        .doc("O(1)", "Explains the subcommands."),
    |ctx, _| {
        help(
            ctx,
            "XGROUP",
            &[
                "CREATE <key> <groupname> <id|$> [option]",
                "    Create a new consumer group. Options are:",
                "    * MKSTREAM",
                "      Create the empty stream if it does not exist.",
                "    * ENTRIESREAD entries_read",
                "      Set the group's entries_read counter (internal use).",
                "CREATECONSUMER <key> <groupname> <consumer>",
                "    Create a new consumer in the specified group.",
                "DELCONSUMER <key> <groupname> <consumer>",
                "    Remove the specified consumer.",
                "DESTROY <key> <groupname>",
                "    Remove the specified group.",
                "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
                "    Set the current group ID and entries_read counter.",
            ],
        );
        Ok(Effect::None)
    },
);
