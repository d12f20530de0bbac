//! The tools as programs, beside and over real Redis programs.
//!
//! Where those are not installed the tests say so and pass; with REDOUBT_REQUIRE_REDIS set, as the
//! end-to-end run does, their absence is a failure.

// Tests start programs and wait for them.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::process::Command;

mod shell;
mod up;

/// The program under test.
const TOOLS: &str = env!("CARGO_BIN_EXE_redoubt-tools");

/// True if a real Redis program can be run.
fn have(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("REDOUBT_REQUIRE_REDIS").is_none(), "{program} is missing");
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}
