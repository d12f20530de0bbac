//! The tools beside the servers: the command line client, the benchmark and `redoubt up`.
//!
//! Everything here is an ordinary client of the servers, reached over sockets and processes; the
//! rooms that make up a server are not known here, so the tools work on a real redis-server as
//! well, and are tested against one.
//!
//! [`dispatch`] finds the tool by its subcommand's name; [`SUBCOMMANDS`] lists them for a help text.

// Tools wait on sockets, files, children and clocks: that is all they do.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::ffi::OsString;
use std::process::ExitCode;

mod bench;
mod doctor;
mod shell;
pub mod up;

pub use bench::main as main_benchmark;
pub use shell::main_cli;

/// Name and one line of explanation of each subcommand that [`dispatch`] knows, hidden ones left out.
pub const SUBCOMMANDS: &[(&str, &str)] = &[
    ("cli", "talk to a server: one command, commands from standard input, or a prompt"),
    ("benchmark", "measure a server"),
    ("doctor", "look at a running group and say what is wrong with it"),
    ("up", "start a master, replicas and sentinels on this machine and watch them"),
    ("status", "show what a running `up` sees, as a table or as JSON"),
    ("kill", "kill nodes of a running `up` (kill -9)"),
    ("pause", "stop nodes of a running `up` in their tracks (SIGSTOP)"),
    ("resume", "let paused nodes go on (SIGCONT)"),
    ("start", "start nodes that were killed or have died"),
    ("down", "stop a running `up` and everything it started"),
];

/// Runs the subcommand `name` with the arguments that follow it; `None` if it is not one of ours.
pub fn dispatch(name: &str, args: Vec<OsString>) -> Option<ExitCode> {
    Some(match name {
        "cli" => main_cli(args),
        "benchmark" => main_benchmark(args),
        "doctor" => doctor::main(args),
        "up" => up::main(args),
        "status" => up::status(args),
        "kill" => up::kill(args),
        "pause" => up::pause(args),
        "resume" => up::resume(args),
        "start" => up::start(args),
        "down" => up::down(args),
        up::CHILD_SUBCOMMAND => up::child_main(args),
        _ => return None,
    })
}
