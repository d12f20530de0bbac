//! LOLWUT and MODULE: what this server says of itself where it has little to say.

use super::REDIS_VERSION;
use crate::{After, NodeCtx, NodeFn};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::Args;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&LOLWUT, &MODULE];

/// LOLWUT [VERSION version [argument ...]]
pub const LOLWUT: Command<NodeFn> = Command::new(
    CommandSpec::new("lolwut", -1, Group::Server)
        .flags(Flags::READONLY.union(Flags::FAST))
        .since("5.0.0")
        .doc("", "Tells the version."),
    lolwut,
);

/// Source: redis 7.0 `lolwut.c:lolwutCommand`, without its pictures.
fn lolwut(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if args.len() >= 3 && args.is(1, "version") {
        stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    }
    let text = format!("Redoubt ver. {}\nRedis ver. {REDIS_VERSION}\n", env!("CARGO_PKG_VERSION"));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(After::Done)
}

/// MODULE subcommand
pub const MODULE: Command<NodeFn> = Command::container(
    CommandSpec::new("module", -2, Group::Server)
        .since("4.0.0")
        .doc("Depends on subcommand.", "There are no modules here."),
    |_, _| Err(CommandError::arity("module")),
    &[&MODULE_HELP, &MODULE_LIST, &MODULE_LOAD, &MODULE_LOADEX, &MODULE_UNLOAD],
);

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

const MODULE_LIST: Command<NodeFn> = Command::new(
    CommandSpec::new("module|list", 2, Group::Server)
        .flags(ADMIN)
        .since("4.0.0")
        .doc("O(N) where N is the number of loaded modules.", "Lists modules.")
        .tips(&["nondeterministic_output_order"]),
    |cx, _| {
        cx.reply.array(0);
        Ok(After::Done)
    },
);

const fn loading(
    name: &'static str,
    arity: i32,
    since: &'static str,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Server)
        .flags(ADMIN.union(Flags::NO_ASYNC_LOADING))
        .since(since)
        .doc("O(1)", summary)
}

const NO_MODULES: CommandError = CommandError::new("ERR Redoubt does not load modules");

const MODULE_LOAD: Command<NodeFn> =
    Command::new(loading("module|load", -3, "4.0.0", "Refuses to load a module."), |_, _| {
        Err(NO_MODULES)
    });

const MODULE_LOADEX: Command<NodeFn> =
    Command::new(loading("module|loadex", -3, "7.0.0", "Refuses to load a module."), |_, _| {
        Err(NO_MODULES)
    });

const MODULE_UNLOAD: Command<NodeFn> =
    Command::new(loading("module|unload", 3, "4.0.0", "Finds no module to unload."), |_, _| {
        Err(CommandError::new("ERR Error unloading module: no such module with that name"))
    });

const MODULE_HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("module|help", 2, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("5.0.0")
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "MODULE",
            &["LIST", "    Return a list of loaded modules: there are none."],
        );
        Ok(After::Done)
    },
);
