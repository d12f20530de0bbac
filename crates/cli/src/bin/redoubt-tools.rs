//! The tools alone, as a program: what this crate's tests run. The product is the `redoubt` binary.
//! It holds no server, so `up` has to be told which programs to start (see `up::spawn`).

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let name = args.next().and_then(|name| name.into_string().ok()).unwrap_or_default();
    match cli::dispatch(&name, args.collect()) {
        Some(code) => code,
        None => {
            eprintln!("usage: redoubt-tools SUBCOMMAND [ARGUMENT ...]\n");
            for (name, about) in cli::SUBCOMMANDS {
                eprintln!("  {name:<8} {about}");
            }
            ExitCode::FAILURE
        }
    }
}
