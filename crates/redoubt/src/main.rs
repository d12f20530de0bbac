//! The binary: threads, event loops, sockets, files and the drivers of the machines. It decides
//! nothing: what a command or a link does stands in the rooms below.
//!
//! Called as `redis-server`, `redis-sentinel`, `redis-cli` or `redis-benchmark` (through a link of
//! that name) it is that program; as `redoubt` it has subcommands. `redoubt container` is the entrypoint
//! of the image.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // This is where sockets, files, clocks and threads live.

mod check;
mod check_config;
mod container;
mod crash;
mod io;
mod log;
mod os;
mod program;
mod sentinel;
mod server;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: structures::SmallSteps<tikv_jemallocator::Jemalloc> =
    structures::SmallSteps(tikv_jemallocator::Jemalloc);

fn main() -> ExitCode {
    program::main()
}
