//! The node's own commands: about connections, transactions, channels and the server itself.

pub mod about;
pub mod acl;
pub mod client;
pub mod cluster;
pub mod command_cmd;
pub mod connection;
pub mod debug;
pub mod functions;
pub mod info;
pub mod latency;
pub(crate) mod later;
pub mod memory;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod sentinel;
pub mod server;
pub mod slowlog;
pub mod transactions;

use crate::NodeFn;
use commands::Command;

/// The tables of all groups.
pub const TABLES: &[&[&Command<NodeFn>]] = &[
    connection::TABLE,
    transactions::TABLE,
    pubsub::TABLE,
    replication::TABLE,
    sentinel::TABLE,
    server::TABLE,
    info::TABLE,
    client::TABLE,
    command_cmd::TABLE,
    debug::TABLE,
    memory::TABLE,
    latency::TABLE,
    slowlog::TABLE,
    scripting::TABLE,
    functions::TABLE,
    about::TABLE,
    acl::TABLE,
    cluster::TABLE,
];

/// The version of Redis whose behaviour clients may expect.
pub const REDIS_VERSION: &str = "7.4.0";

/// The reply to `… HELP`: a head, the lines, and HELP itself. Source: redis 7.0 `addReplyHelp`.
pub(crate) fn help(reply: &mut resp::Reply, command: &str, lines: &[&str]) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// `ERR unknown subcommand or wrong number of arguments for 'x'. Try COMMAND HELP.`
pub(crate) fn subcommand_error(args: &resp::Args<'_>, command: &str) -> commands::CommandError {
    let name = args.get(1).unwrap_or_default();
    commands::CommandError::quoting(&[
        b"ERR unknown subcommand or wrong number of arguments for '",
        &name[..name.len().min(128)],
        b"'. Try ",
        command.as_bytes(),
        b" HELP.",
    ])
}
