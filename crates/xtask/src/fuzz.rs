//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, without cargo-fuzz and without a nightly toolchain.
//!
//! libFuzzer needs coverage counters in the code; the compiler's flags for them are stable. The address sanitizer's is not,
//! so the one compiler run that builds the targets is told to accept it (RUSTC_BOOTSTRAP).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, run};

/// What the command line says.
#[derive(clap::Args)]
pub struct Options {
    /// One target; all of them when left out.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the targets and runs them; an input that breaks one is kept in `fuzz/artifacts`.
pub fn run(options: &Options) -> Result<()> {
    let dir = paths::root().join("fuzz");
    let targets: Vec<String> = targets(&dir)?
        .into_iter()
        .filter(|name| options.target.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    if targets.is_empty() {
        bail!("there is no fuzz target {:?}", options.target);
    }
    let build = paths::target().join("fuzz");
    let flags = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
        "-Cdebug-assertions",
        "-Ccodegen-units=1",
        "-Zsanitizer=address",
        "--cfg=fuzzing",
    ];
    run::must(
        Command::new("cargo")
            // With a target named, build scripts and procedural macros are built without the flags.
            .args(["build", "--release", "--target", TRIPLE])
            .current_dir(&dir)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags.join(" "))
            .env("CARGO_TARGET_DIR", &build),
    )?;
    for name in &targets {
        let (corpus, artifacts) = (dir.join("corpus").join(name), dir.join("artifacts").join(name));
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(build.join(TRIPLE).join("release").join(name));
        command.arg(&corpus);
        let seeds = dir.join("seeds").join(name);
        if seeds.exists() {
            command.arg(seeds);
        }
        command
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1", "-print_funcs=0"]);
        run::must(&mut command).with_context(|| format!("see {}", artifacts.display()))?;
    }
    Ok(())
}

/// The names of all targets, from their files.
fn targets(dir: &std::path::Path) -> Result<Vec<String>> {
    let folder: PathBuf = dir.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
