//! `cargo xtask bench`: figures beside redis-server's, from the same run on the same machine.
//!
//! Servers under comparison run interleaved, round by round, so that a noisy minute hits all of them. Each figure that the
//! project has promised stands beside its bound. Results go to `target/bench`.

mod commands;
mod durability;
mod failover;
mod growth;
mod load;
mod memory;
mod probe;
mod report;
mod stalls;
mod sync;
mod throughput;

use anyhow::{Result, bail};

use crate::e2e;
use crate::server::Program;

/// What the command line says.
#[derive(clap::Args)]
pub struct Options {
    /// throughput, commands, memory, growth, stalls, sync, durability or failover; all of them when left out.
    name: Option<String>,
    /// Rounds (throughput) or runs (failover).
    #[arg(long)]
    rounds: Option<usize>,
    /// The server under test; the default is the release build of redoubt, or $REDOUBT_BIN. `redis-server` proves the tool.
    #[arg(long)]
    program: Option<String>,
    /// Small sizes, for a quick look.
    #[arg(long)]
    quick: bool,
    /// MiB of data (durability; 2048 when left out).
    #[arg(long)]
    size: Option<u64>,
    /// An error when a bound is missed.
    #[arg(long)]
    strict: bool,
}

/// What a measurement is given.
struct Setting {
    redis: Program,
    ours: Program,
    /// True when the product is measured (not redis-server in its place).
    product: bool,
    rounds: Option<usize>,
    quick: bool,
    size: Option<u64>,
}

type Measurement = fn(&Setting) -> Result<report::Report>;

/// All measurements.
const ALL: &[(&str, Measurement)] = &[
    ("throughput", throughput::run),
    ("commands", commands::run),
    ("memory", memory::run),
    ("growth", growth::run),
    ("stalls", stalls::run),
    ("sync", sync::run),
    ("durability", durability::run),
    ("failover", failover::run),
];

/// Runs the measurements.
pub fn run(options: &Options) -> Result<()> {
    e2e::install_tools()?;
    let ours = match &options.program {
        Some(line) => Program::parse(line)?,
        None => {
            e2e::build_product()?;
            Program::redoubt()?
        }
    };
    let setting = Setting {
        redis: Program::redis()?,
        ours,
        product: options.program.is_none(),
        rounds: options.rounds,
        quick: options.quick,
        size: options.size,
    };
    let chosen: Vec<_> = ALL
        .iter()
        .filter(|(name, _)| options.name.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if chosen.is_empty() {
        bail!("there is no measurement {:?}", options.name);
    }
    let (mut met, mut missed) = (0, 0);
    for (name, measure) in chosen {
        println!("bench: {name}");
        let report = measure(&setting)?;
        report.write()?;
        met += report.verdict().0;
        missed += report.verdict().1;
    }
    println!("bounds: {met} met, {missed} missed");
    if options.strict && missed > 0 {
        bail!("{missed} bounds missed");
    }
    Ok(())
}
