//! `cargo xtask`: the project's own checks, tests and measurements, so that CI runs nothing that a person cannot run.
//!
//! This tool drives other programs; it knows nothing of the server's insides.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Processes, sockets, files and clocks are its business.

mod diff;
mod e2e;
mod paths;
mod run;
mod server;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and measurements of Redoubt")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compares replies with redis-server over random commands.
    Diff(diff::Options),
    /// Runs the end-to-end tests.
    E2e(e2e::Options),
}

/// Prints the closing line; an error when something failed.
fn closing((counts, fine): (run::Counts, bool)) -> anyhow::Result<()> {
    println!("{}", counts.line());
    anyhow::ensure!(fine && counts.failed == 0, "tests failed");
    Ok(())
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Diff(options) => diff::run(&options).map(drop),
        Task::E2e(options) => e2e::run(&options).and_then(closing),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
