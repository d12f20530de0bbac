//! `sim --cluster`: seeds of the cluster's world.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::cluster::{chaos, figures};

const USAGE: &str = "usage: sim --cluster [--seeds N] [--seconds N] [--first S] [--seed S [--log]] \
    [--figures NODES [--timeout MS]]";

#[derive(Default)]
struct Arguments {
    seeds: Option<u64>,
    seconds: Option<u64>,
    first: u64,
    seed: Option<u64>,
    log: bool,
    figures: Option<u64>,
    timeout: u64,
}

fn arguments(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { first: 1, timeout: 15_000, ..Arguments::default() };
    let mut words = words.filter(|word| word != "--cluster");
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{word}: '{text}' is no number"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = Some(number()?),
            "--seconds" => arguments.seconds = Some(number()?),
            "--first" => arguments.first = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--figures" => arguments.figures = Some(number()?),
            "--timeout" => arguments.timeout = number()?,
            "--log" => arguments.log = true,
            _ => return Err(format!("{USAGE}; not {word}")),
        }
    }
    Ok(arguments)
}

pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match arguments(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(nodes) = arguments.figures {
        for replicas in [true, false] {
            println!("{:?}", figures::measure(nodes as usize, replicas, arguments.timeout, 1));
        }
        return ExitCode::SUCCESS;
    }
    match arguments.seed {
        Some(seed) => one_seed(seed, arguments.log),
        None => many_seeds(&arguments),
    }
}

fn one_seed(seed: u64, log: bool) -> ExitCode {
    println!("{:?}", chaos::settings(seed));
    let (outcome, world) = chaos::run_world(seed);
    if log {
        print!("{}", world.log_text());
    }
    println!("{outcome:#?}");
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many_seeds(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let time = arguments.seconds.map(Duration::from_secs);
    let most = arguments.seeds.unwrap_or(if time.is_some() { u64::MAX } else { 100 });
    let (mut seeds, mut takeovers, mut simulated_ms) = (0u64, 0u64, 0u64);
    let mut healed = Vec::new();
    while seeds < most && time.is_none_or(|time| started.elapsed() < time) {
        let seed = arguments.first + seeds;
        let outcome = chaos::run(seed);
        seeds += 1;
        takeovers += outcome.takeovers;
        simulated_ms += outcome.simulated_ms;
        healed.push(outcome.healed_in_ms);
        if !outcome.violations.is_empty() {
            eprintln!("cluster seed {seed} breaks a rule:");
            outcome.violations.iter().for_each(|v| eprintln!("  {v}"));
            eprintln!(
                "replay: cargo run --release -p sim --bin sim -- --cluster --seed {seed} --log"
            );
            return ExitCode::FAILURE;
        }
    }
    println!(
        "cluster: {seeds} seeds clean in {:.1} s: {:.1} simulated hours, {takeovers} takeovers, one view \
         after healing: median {} ms, longest {} ms",
        started.elapsed().as_secs_f64(),
        simulated_ms as f64 / 3.6e6,
        sim::figures::median(healed.clone()),
        healed.iter().max().unwrap_or(&0),
    );
    ExitCode::SUCCESS
}
