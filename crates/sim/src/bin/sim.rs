//! Runs seeds of the simulator: `sim [--data] [--seconds N] [--seeds N] [--seed S] [--log]`. With
//! `--data` the world of real data nodes, otherwise that of sentinels.
//!
//! Without `--seed` it goes through seeds one after the other for N seconds, prints a summary and
//! the figures of plain failovers, and fails at the first seed that breaks a rule, with the command
//! that replays it. With `--seed` it runs that one.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // A program: it may look at a clock.

#[path = "../cluster_main.rs"]
mod cluster_main;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::{WorldOptions, chaos, figures};

struct Arguments {
    seconds: u64,
    first: u64,
    seed: Option<u64>,
    log: bool,
    data: bool,
    seeds: Option<u64>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seconds: 60, first: 1, seed: None, log: false, data: false, seeds: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{word}: '{text}' is no number"))
        };
        match word.as_str() {
            "--seconds" => arguments.seconds = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--first" => arguments.first = number()?,
            "--seeds" => arguments.seeds = Some(number()?),
            "--log" => arguments.log = true,
            "--data" => arguments.data = true,
            _ => {
                return Err(format!(
                    "usage: sim [--data] [--seconds N] [--seeds N] [--seed S] [--first S] [--log], not {word}"
                ));
            }
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--cluster") {
        return cluster_main::main(std::env::args().skip(1));
    }
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if arguments.data {
        return data(&arguments);
    }
    match arguments.seed {
        Some(seed) => one_seed(seed, arguments.log),
        None => many_seeds(arguments.first, &Bound::of(&arguments)),
    }
}

fn one_seed(seed: u64, log: bool) -> ExitCode {
    println!("{:?}", chaos::options(seed));
    let (outcome, world) = chaos::run_world(seed);
    if log || !outcome.violations.is_empty() {
        print!("{}", world.log_text());
    }
    println!("{outcome:#?}");
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When enough seeds were run.
struct Bound {
    started: Instant,
    time: Duration,
    seeds: Option<u64>,
}

impl Bound {
    fn of(arguments: &Arguments) -> Bound {
        let time = Duration::from_secs(arguments.seconds);
        Bound { started: Instant::now(), time, seeds: arguments.seeds }
    }

    fn is_open(&self, seeds: u64) -> bool {
        self.seeds.map_or_else(|| self.started.elapsed() < self.time, |bound| seeds < bound)
    }
}

#[cfg(not(feature = "data"))]
fn data(_: &Arguments) -> ExitCode {
    eprintln!("this simulator was built without the feature 'data'");
    ExitCode::from(2)
}

/// The world of real data nodes.
#[cfg(feature = "data")]
fn data(arguments: &Arguments) -> ExitCode {
    use sim::data;
    if cfg!(panic = "abort") {
        eprintln!("threads of dead processes end by unwinding: run it without --release");
        return ExitCode::from(2);
    }
    if let Some(seed) = arguments.seed {
        let options = data::options(seed);
        println!("{options:#?}");
        let (outcome, world) = data::run_world(options);
        if arguments.log || !outcome.violations.is_empty() {
            print!("{}", world.log_text());
        }
        println!("{outcome:#?}");
        return if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let bound = Bound::of(arguments);
    let mut total = data::Outcome::default();
    let mut seeds = 0;
    while bound.is_open(seeds) {
        let seed = arguments.first + seeds;
        let outcome = data::run(seed);
        seeds += 1;
        if !outcome.violations.is_empty() {
            eprintln!("seed {seed} breaks a rule:");
            outcome.violations.iter().for_each(|v| eprintln!("  {v}"));
            eprintln!("replay: cargo run -p sim -- --data --seed {seed} --log");
            return ExitCode::FAILURE;
        }
        total.add(&outcome);
    }
    println!(
        "{seeds} seeds clean in {:.1} s: {:.1} simulated minutes, {} deaths of nodes, {} confirmed \
         writes, {} looks of clients at their keys, {} comparisons of nodes, {} turns of threads",
        bound.started.elapsed().as_secs_f64(),
        total.simulated_us as f64 / 6e7,
        total.deaths,
        total.writes,
        total.looks,
        total.compared,
        total.turns,
    );
    ExitCode::SUCCESS
}

fn many_seeds(first: u64, bound: &Bound) -> ExitCode {
    let (mut seeds, mut switches, mut simulated_ms, mut demotions) = (0u64, 0u64, 0u64, 0usize);
    let mut healed = Vec::new();
    while bound.is_open(seeds) {
        let seed = first + seeds;
        let outcome = chaos::run(seed);
        seeds += 1;
        switches += outcome.switches;
        simulated_ms += outcome.simulated_ms;
        demotions += outcome.demotions_in_chaos;
        healed.push(outcome.healed_in_ms);
        if !outcome.violations.is_empty() {
            eprintln!("seed {seed} breaks a rule:");
            outcome.violations.iter().for_each(|v| eprintln!("  {v}"));
            eprintln!("replay: cargo run --release -p sim --bin sim -- --seed {seed} --log");
            return ExitCode::FAILURE;
        }
    }
    let took = bound.started.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds clean in {took:.1} s: {:.1} simulated hours, {switches} failovers ({:.0}/s), \
         agreement after healing: median {} ms, longest {} ms, {demotions} demotions during faults",
        simulated_ms as f64 / 3.6e6,
        switches as f64 / took,
        figures::median(healed.clone()),
        healed.iter().max().unwrap_or(&0),
    );
    figures_of_plain_failovers();
    ExitCode::SUCCESS
}

fn figures_of_plain_failovers() {
    for (down_after, crash_grace) in [(5000, 200), (5000, 0), (500, 0), (100, 0), (100, 200)] {
        let times: Vec<_> = (1..=200)
            .filter_map(|seed| {
                figures::plain_failover(WorldOptions {
                    seed,
                    down_after,
                    crash_grace,
                    ..WorldOptions::default()
                })
            })
            .collect();
        let of = |pick: fn(&figures::Times) -> u64| {
            let numbers: Vec<u64> = times.iter().map(pick).collect();
            let max = numbers.iter().max().copied().unwrap_or(0);
            format!("{:.1} (max {:.1})", figures::median(numbers) as f64 / 1e3, max as f64 / 1e3)
        };
        println!(
            "kill -9, down-after {down_after}, crash-grace {crash_grace}, {} runs, ms: \
             to +odown {}, +odown to +switch-master {}, to writable {}, until all know {}",
            times.len(),
            of(|t| t.to_odown),
            of(|t| t.to_switch),
            of(|t| t.to_writable),
            of(|t| t.to_all),
        );
    }
}
