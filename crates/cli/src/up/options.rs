//! The command lines of `up` and of the commands that steer it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::{Deserialize, Serialize};

/// The folder used when none is named.
pub const DEFAULT_DIR: &str = "redoubt-data";
/// First port of the data nodes when nothing else is said.
pub const DEFAULT_BASE_PORT: u16 = 6379;
/// First port of the sentinels when nothing else is said.
pub const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Start a master, replicas and sentinels on this machine and watch them.
///
/// The nodes are child processes with ordinary configuration files in the data folder. Files and
/// data are kept: the next `up` on the same folder goes on where this one stopped, with the node
/// that was master last as the master. On a terminal there is a live view; otherwise every event is
/// one line of text. Ctrl-C, or q in the view, stops everything cleanly.
#[derive(Clone, Debug, Default, Parser, Serialize, Deserialize)]
#[command(name = "redoubt up", bin_name = "redoubt up", after_help = UP_EXAMPLES)]
pub struct UpOptions {
    /// Data folder; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Number of replicas beside the master [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=50))]
    pub replicas: Option<u16>,
    /// Number of sentinels [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub sentinels: Option<u16>,
    /// Sentinels that must agree that the master is down [default: 2 of 3, else a majority]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub quorum: Option<u16>,
    /// Silence after which a sentinel takes a node for down, in milliseconds [default: 5000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub down_after: Option<u64>,
    /// Time that a failover may take, in milliseconds [default: 10000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub failover_timeout: Option<u64>,
    /// First port of the data nodes; taken ones are passed over [default: 6379]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
    /// First port of the sentinels; taken ones are passed over [default: 26379]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub sentinel_port: Option<u16>,
    /// Password that every node and sentinel asks for and uses. Others on this machine can read it
    /// in the list of processes: --password-file or the variable REDOUBT_PASSWORD is safer
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file")]
    #[serde(default)]
    pub password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Addresses to listen on, beside 127.0.0.1; others than loopback need a password
    #[arg(long, value_name = "ADDRESS", num_args = 1.., value_delimiter = ',')]
    pub bind: Option<Vec<IpAddr>>,
    /// Address that the nodes tell each other and clients [default: the first of --bind, or this
    /// machine's own when that is 0.0.0.0 or ::]
    #[arg(long, value_name = "ADDRESS")]
    pub announce_ip: Option<IpAddr>,
    /// Worker threads of each data node [default: the server's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Return when everything is up and leave it running; `redoubt down` stops it
    #[arg(long)]
    pub detach: bool,
    /// Print lines instead of the live view, on a terminal too
    #[arg(long)]
    pub plain: bool,
    /// Be the process behind --detach: options come from standard input
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub supervise: bool,
}

const UP_EXAMPLES: &str = "\
Examples:
  redoubt up                                       master, 2 replicas, 3 sentinels, live view
  redoubt up --down-after 500 --detach             in the background, with quick failovers
  redoubt status                                   what is going on
  redoubt kill master                              and watch a replica take over
  redoubt start node-1                             it comes back as a replica
  redoubt down                                     stop everything, keep the data
  REDOUBT_PASSWORD=secret redoubt up --bind 0.0.0.0    reachable from other machines";

/// Show what a running `up` sees.
///
/// Exit codes: 0 `up` is running, 1 it is not.
#[derive(Clone, Debug, Parser)]
#[command(name = "redoubt status", bin_name = "redoubt status")]
pub struct StatusOptions {
    /// Data folder of the `up` that is meant
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Print JSON for programs instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Which nodes a command is about.
#[derive(Clone, Debug, Parser)]
pub struct NodeOptions {
    /// Names as `redoubt status` prints them (node-1, sentinel-2), ports, or `master` for the node
    /// that is the master now
    #[arg(value_name = "NODE", required = true)]
    pub nodes: Vec<String>,
    /// Data folder of the `up` that is meant
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

/// Stop a running `up` and everything it started; data and configuration are kept.
///
/// Sentinels stop first, so that nobody takes the end for a failure, then the master, then the
/// replicas. What an `up` that was itself killed has left running is stopped as well.
#[derive(Clone, Debug, Parser)]
#[command(name = "redoubt down", bin_name = "redoubt down")]
pub struct DownOptions {
    /// Data folder of the `up` that is meant
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

/// Parses, or says what `--help` and mistakes ask for and returns the exit code.
pub fn parse<T: Parser>(program: &str, args: Vec<OsString>) -> Result<T, ExitCode> {
    let line = std::iter::once(OsString::from(program)).chain(args);
    T::try_parse_from(line).map_err(|error| leave(&error))
}

/// The same for the commands on nodes, which share their options but not their explanation.
pub fn parse_nodes(
    program: &'static str,
    about: &'static str,
    long_about: &'static str,
    args: Vec<OsString>,
) -> Result<NodeOptions, ExitCode> {
    use clap::{CommandFactory, FromArgMatches};
    let command =
        NodeOptions::command().name(program).bin_name(program).about(about).long_about(long_about);
    let line = std::iter::once(OsString::from(program)).chain(args);
    command
        .try_get_matches_from(line)
        .and_then(|matches| NodeOptions::from_arg_matches(&matches))
        .map_err(|error| leave(&error))
}

fn leave(error: &clap::Error) -> ExitCode {
    // Nothing can be said where printing fails.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_sound() {
        UpOptions::command().debug_assert();
        StatusOptions::command().debug_assert();
        NodeOptions::command().debug_assert();
        DownOptions::command().debug_assert();
    }

    #[test]
    fn every_option_explains_itself() {
        for command in [UpOptions::command(), StatusOptions::command(), NodeOptions::command()] {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{}", arg.get_id());
            }
        }
    }

    #[test]
    fn options_travel_as_json() {
        let args = ["--bind", "0.0.0.0,::1", "--password", "p", "--down-after", "100", "--detach"];
        let options: UpOptions =
            parse("up", args.iter().map(OsString::from).collect()).expect("valid");
        let json = serde_json::to_string(&options).unwrap();
        let back: UpOptions = serde_json::from_str(&json).unwrap();
        assert_eq!(back.bind.unwrap().len(), 2);
        assert_eq!((back.password.as_deref(), back.down_after), (Some("p"), Some(100)));
        assert!(back.detach && !back.supervise);
    }
}
