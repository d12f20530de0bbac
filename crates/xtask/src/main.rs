//! `cargo xtask`: the project's own checks, tests and measurements, so that CI runs nothing that a person cannot run.
//!
//! This tool drives other programs; it knows nothing of the server's insides.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Processes, sockets, files and clocks are its business.

mod bench;
mod check;
mod diff;
mod docker;
mod e2e;
mod fuzz;
mod paths;
mod run;
mod server;
mod sim;
mod tidy;
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
    /// Format, tidiness, clippy, unit tests, a minute of the simulator.
    Check,
    /// Check, the end-to-end tests and the differential test: what CI runs.
    Test,
    /// What no compiler checks about the files themselves.
    Tidy,
    /// Seeds of the simulator: `sim [--cluster] [--seeds N] [--seconds N] [--seed S [--log]]`.
    Sim(sim::Options),
    /// Runs the fuzz targets.
    Fuzz(fuzz::Options),
    /// Measures beside redis-server: throughput, memory, growth, sync, failover.
    Bench(bench::Options),
    /// Compares replies with redis-server over random commands.
    Diff(diff::Options),
    /// Runs the end-to-end tests; `e2e docker`: the image and the examples with a Docker engine.
    E2e(e2e::Options),
}

/// Prints the closing line; an error when something failed.
fn closing((counts, fine): (run::Counts, bool)) -> anyhow::Result<()> {
    println!("{}", counts.line());
    anyhow::ensure!(fine && counts.failed == 0, "tests failed");
    Ok(())
}

fn closing_docker(outcome: docker::Outcome) -> anyhow::Result<()> {
    match outcome {
        docker::Outcome::Ran(counts, fine) => closing((counts, fine)),
        docker::Outcome::Skipped(why) => {
            println!("SKIPPED: containers: {why}");
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::check(),
        Task::Test => check::test(),
        Task::Tidy => tidy::run(),
        Task::Sim(options) => sim::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Diff(options) => diff::run(&options).map(drop),
        Task::E2e(options) if options.is_docker() => docker::run().and_then(closing_docker),
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
