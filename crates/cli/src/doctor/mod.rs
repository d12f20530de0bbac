//! `redoubt doctor`: looks at a running group and says in words what is wrong with it.
//!
//! It asks the members that it is told of, and whoever they name; it changes nothing, so it works on
//! Redis's own servers and sentinels, too. [`look`] gathers facts, [`judge`] makes findings of them.

mod facts;
mod judge;
mod look;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use facts::{Grade, Group};
use look::Login;

/// Look at a running group and say what is wrong with it.
///
/// Name a sentinel, or nodes where there are no sentinels; everybody that they know is asked as well.
/// Nothing is changed. Exit code: 0 when nothing is wrong, 1 when there are risks or something is broken, 2
/// when nobody answered. Advice alone is 0.
#[derive(Debug, Parser)]
#[command(name = "redoubt doctor", bin_name = "redoubt doctor")]
struct Options {
    /// Members, as HOST:PORT
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:26379")]
    addresses: Vec<String>,
    /// Password of the data nodes; the variable REDISCLI_AUTH does as well
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    password: Option<String>,
    /// User of the data nodes
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Password of the sentinels
    #[arg(long, value_name = "PASSWORD")]
    sentinel_pass: Option<String>,
}

/// Runs `redoubt doctor`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("redoubt doctor")).chain(args);
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            // Help and version are no errors; clap knows which stream is right.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let login = Login {
        user: options.user,
        password: options.password.or_else(|| std::env::var("REDISCLI_AUTH").ok()),
        sentinel_password: options.sentinel_pass,
    };
    let groups = look::look(&options.addresses, &login);
    let mut worst = None;
    for group in &groups {
        worst = worst.max(report(group));
    }
    let answered = |group: &Group| {
        group.nodes.iter().any(|n| n.trouble.is_none())
            || group.sentinels.iter().any(|s| s.trouble.is_none())
    };
    if !groups.iter().any(answered) {
        return ExitCode::from(2);
    }
    match worst {
        None | Some(Grade::Advice) => ExitCode::SUCCESS,
        Some(Grade::Risk | Grade::Broken) => ExitCode::FAILURE,
    }
}

/// Prints one group; returns its worst finding's grade.
fn report(group: &Group) -> Option<Grade> {
    let name = if group.name.is_empty() { "The nodes" } else { group.name.as_str() };
    println!("{name}: {} data node(s), {} sentinel(s)", group.nodes.len(), group.sentinels.len());
    let findings = judge::findings(group);
    for finding in &findings {
        let grade = match finding.grade {
            Grade::Broken => "BROKEN",
            Grade::Risk => "RISK",
            Grade::Advice => "advice",
        };
        println!("  {grade:<7} {}", finding.text);
    }
    if findings.is_empty() {
        println!("  nothing is wrong");
    }
    findings.first().map(|finding| finding.grade)
}
