//! `redoubt benchmark`: measures a server, in the form of redis-benchmark.
//!
//! Each thread drives its share of the connections with blocking sends and receives in turn: all
//! of its requests are sent first, then the replies are read. A latency is the time from sending a
//! batch to having its last reply in hand. Names of tests, options and the CSV form are
//! redis-benchmark's.

use std::ffi::OsString;
use std::process::ExitCode;

mod engine;
mod histogram;
mod options;
mod report;
mod suite;

use options::{Options, Parsed};

/// Runs `redoubt benchmark` with the arguments after the subcommand.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(Parsed::Run(options)) => *options,
        Ok(Parsed::Say(text)) => {
            return match crate::shell::emit(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Err(text) => {
            eprintln!("{text}\n`redoubt benchmark --help` lists what there is.");
            return ExitCode::FAILURE;
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.idle {
        return engine::idle(options);
    }
    let config = engine::server_config(options);
    if config.is_none() {
        eprintln!("WARNING: Could not fetch server CONFIG");
    }
    let tests = suite::tests(options)?;
    if options.csv {
        report::say(report::CSV_HEAD)?;
    }
    loop {
        for test in &tests {
            let result = engine::measure(options, test)?;
            report::show(options, test, &result, config.as_ref())?;
        }
        if !options.forever {
            return Ok(());
        }
    }
}
