//! `cargo xtask sim`: the simulator with any arguments of its own.

use anyhow::Result;

use crate::{paths, run};

/// What is handed on.
#[derive(clap::Args)]
pub struct Options {
    /// Arguments of the simulator; `--cluster` for the cluster's world.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs the simulator as it is measured: optimised.
pub fn run(options: &Options) -> Result<()> {
    let mut command = std::process::Command::new("cargo");
    command.current_dir(paths::root());
    command.args(["run", "--release", "--locked", "--package", "sim", "--"]);
    run::must(command.args(&options.words))
}
