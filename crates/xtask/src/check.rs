//! `cargo xtask check` and `cargo xtask test`: everything that must hold before a change lands.
//!
//! All parts run even when one fails, so that one run tells everything; the closing line counts what ran.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::run::{self, Counts};
use crate::{diff, docker, e2e, paths, tidy};

/// Seeds of the differential test within `cargo xtask test`, and the commands of each.
const DIFF_SEEDS: std::ops::RangeInclusive<u64> = 1..=5;
const DIFF_COMMANDS: u64 = 100_000;
/// How long the simulator runs: over the sentinels' world, the cluster's, and that of data nodes.
const SIM_SECONDS: &str = "30";
const CLUSTER_SIM_SECONDS: &str = "15";
const DATA_SIM_SECONDS: &str = "15";

/// What has run so far.
#[derive(Default)]
struct Tally {
    counts: Counts,
    failed: Vec<String>,
    /// Parts that could not run here, and why.
    skipped: Vec<String>,
}

impl Tally {
    /// Runs a part that passes or fails as a whole.
    fn part(&mut self, name: &str, body: impl FnOnce() -> Result<()>) {
        self.counted(name, || body().map(|()| (Counts::one(true), true)));
    }

    /// Runs a part that counts its tests.
    fn counted(&mut self, name: &str, body: impl FnOnce() -> Result<(Counts, bool)>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let (counts, fine) = body().unwrap_or_else(|error| {
            println!("error: {error:#}");
            (Counts::one(false), false)
        });
        // A program that failed without a failed test (it did not build, or crashed) is a failure too.
        let counts =
            if !fine && counts.failed == 0 { counts.plus(Counts::one(false)) } else { counts };
        if counts.failed > 0 {
            self.failed.push(name.to_owned());
        }
        self.counts = self.counts.plus(counts);
        println!("=== {name}: {} ({:.0} s)", counts.line(), started.elapsed().as_secs_f64());
    }

    fn finish(self) -> Result<()> {
        println!();
        for part in &self.skipped {
            println!("SKIPPED: {part}");
        }
        println!("{}", self.counts.line());
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

/// `cargo xtask check`.
pub fn check() -> Result<()> {
    let mut tally = Tally::default();
    run_check(&mut tally);
    tally.finish()
}

/// `cargo xtask test`: check, the end-to-end tests, and half a million compared commands.
pub fn test() -> Result<()> {
    let mut tally = Tally::default();
    run_check(&mut tally);
    tally.counted("end-to-end tests", || e2e::run(&e2e::Options::all()));
    let mut skipped = None;
    tally.counted("containers", || {
        Ok(match docker::run()? {
            docker::Outcome::Ran(counts, fine) => (counts, fine),
            docker::Outcome::Skipped(why) => {
                skipped = Some(format!("containers: {why}"));
                (Counts::default(), true)
            }
        })
    });
    tally.skipped.extend(skipped);
    for seed in DIFF_SEEDS {
        tally.part(&format!("differential test, seed {seed}"), || {
            diff::run(&diff::Options::seeded(seed, DIFF_COMMANDS)).map(drop)
        });
    }
    tally.finish()
}

fn run_check(tally: &mut Tally) {
    // Tests of the tools drive real Redis programs.
    tally.part("tools", e2e::install_tools);
    tally.part("format", || run::must(cargo().args(["fmt", "--all", "--check"])));
    tally.part("tidy", tidy::run);
    tally.part("clippy", || {
        let flags = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run::must(cargo().args(flags))
    });
    tally.counted("unit and machine tests", unit_tests);
    tally.part("simulator", || {
        let sim = ["run", "--release", "--locked", "--package", "sim", "--no-default-features"];
        run::must(cargo().args(sim).args(["--", "--seconds", SIM_SECONDS]))
    });
    // Its nodes end by unwinding, which a release build does not.
    tally.part("simulator of data nodes", || {
        let sim = ["run", "--locked", "--package", "sim", "--", "--data"];
        run::must(cargo().args(sim).args(["--seconds", DATA_SIM_SECONDS]))
    });
    tally.part("simulator, cluster", || {
        let sim = ["run", "--release", "--locked", "--package", "sim", "--no-default-features"];
        run::must(cargo().args(sim).args(["--", "--cluster", "--seconds", CLUSTER_SIM_SECONDS]))
    });
}

fn unit_tests() -> Result<(Counts, bool)> {
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output();
    let mut command = cargo();
    if nextest.is_ok_and(|done| done.status.success()) {
        command.args(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        command.args([
            "--status-level",
            "fail",
            "--final-status-level",
            "fail",
            "--hide-progress-bar",
        ]);
    } else {
        command.args(["test", "--workspace", "--locked", "--no-fail-fast", "--quiet"]);
    }
    let (counts, fine) = run::counted(&mut command)?;
    if counts == Counts::default() {
        bail!("no unit test ran");
    }
    Ok((counts, fine))
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(paths::root());
    command
}
