//! Runs seeds of the simulator: `sim --seconds N [--seed S] [--log]`.
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
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seconds: 60, first: 1, seed: None, log: false };
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
            "--log" => arguments.log = true,
            _ => {
                return Err(format!(
                    "usage: sim [--seconds N] [--seed S] [--first S] [--log], not {word}"
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
    match arguments.seed {
        Some(seed) => one_seed(seed, arguments.log),
        None => many_seeds(arguments.first, Duration::from_secs(arguments.seconds)),
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

fn many_seeds(first: u64, time: Duration) -> ExitCode {
    let started = Instant::now();
    let (mut seeds, mut switches, mut simulated_ms, mut demotions) = (0u64, 0u64, 0u64, 0usize);
    let mut healed = Vec::new();
    while started.elapsed() < time {
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
    let took = started.elapsed().as_secs_f64();
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
