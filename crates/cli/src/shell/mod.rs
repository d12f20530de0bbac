//! `redoubt cli`: the command line client, in the form of redis-cli.
//!
//! Output, exit codes and messages are redis-cli's, so that scripts written for it work. What it
//! has beyond this (cluster mode, scanning, pipes, statistics) is not here yet and is refused as an
//! unknown option.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

mod answer;
mod link;
mod options;
mod prompt;
mod render;
mod session;

use options::{Options, Parsed};
use session::{Outcome, Session};

const HELP: &str = "\
redoubt cli: talk to a server, in the form of redis-cli

Usage: redoubt cli [OPTIONS] [COMMAND [ARGUMENT ...]]

Without a COMMAND, commands are read from standard input, line by line; on a terminal there is a
prompt with history.

  -h HOST            server host name or address (default: 127.0.0.1)
  -p PORT            server port (default: 6379)
  -s SOCKET          path of a unix socket, instead of host and port
  -a PASSWORD        password; --pass is the same. Others on this machine can read it in the list
                     of processes: the environment variable REDISCLI_AUTH is safer
  --user USER        ACL user that the password belongs to
  -u URI             redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
  -n DB              database number
  -2, -3             speak RESP2 (the default) or RESP3
  -r N               run the command N times; -1: for ever
  -i SECONDS         pause between repetitions, such as 0.1
  -x                 take the command's last argument from standard input
  -e                 exit with 1 when the command answers an error
  -d DELIMITER       what stands between the elements of a raw reply (default: a line end)
  --raw              print replies as they are (default when standard output is not a terminal)
  --no-raw           print replies for people (default on a terminal)
  --show-pushes YN   print messages that come unasked in RESP3 (default: on a terminal)
  --no-auth-warning  keep quiet about a password on the command line
  --help             print this text
  --version          print the version

Exit codes: 0 the server answered (also with an error, unless -e), 1 it did not.

Examples:
  redoubt cli set greeting hello
  redoubt cli -p 26379 sentinel get-master-addr-by-name mymaster
  redoubt cli --no-raw lrange mylist 0 -1
  redoubt cli -x set page < page.html
  printf 'incr hits\\nget hits\\n' | redoubt cli
";

/// Runs `redoubt cli` with the arguments after the subcommand.
pub fn main_cli(args: Vec<OsString>) -> ExitCode {
    let options = match options::parse(args, std::env::var_os("REDISCLI_AUTH")) {
        Ok(Parsed::Run(options)) => *options,
        Ok(Parsed::Help) => return print_and_leave(HELP),
        Ok(Parsed::Version) => {
            return print_and_leave(&format!("redoubt cli {}\n", env!("CARGO_PKG_VERSION")));
        }
        Err(text) => {
            eprintln!("{text}");
            if io::stderr().is_terminal() {
                eprintln!("`redoubt cli --help` lists what there is.");
            }
            return ExitCode::FAILURE;
        }
    };
    if options.password_in_arguments && !options.no_auth_warning {
        eprintln!(
            "Warning: Using a password with '-a' or '-u' option on the command line interface may \
             not be safe."
        );
    }
    match run(options) {
        Ok(code) => code,
        // Whoever read our output has left, as `head` does; or the peer does not speak RESP.
        Err(_) => ExitCode::FAILURE,
    }
}

fn print_and_leave(text: &str) -> ExitCode {
    match session::emit(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(mut options: Options) -> io::Result<ExitCode> {
    let call_off = Arc::new(AtomicBool::new(false));
    if options.last_argument_from_stdin {
        let mut last = Vec::new();
        io::stdin().lock().read_to_end(&mut last)?;
        options.command.push(last);
    }
    if !options.command.is_empty() {
        return one_command(options, call_off);
    }
    if io::stdin().is_terminal() {
        signal_hook::flag::register(signal_hook::consts::SIGINT, call_off.clone())?;
        prompt::interactive(&mut Session::new(options, true, call_off))?;
    } else {
        prompt::from_stdin(&mut Session::new(options, true, call_off))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one_command(options: Options, call_off: Arc<AtomicBool>) -> io::Result<ExitCode> {
    let words = options.command.clone();
    if matches!(words[0].to_ascii_lowercase().as_slice(), b"help" | b"?") {
        return Ok(print_and_leave(HELP));
    }
    let (mut left, error_exit) = (options.repeat, options.error_exit);
    let pause = Duration::try_from_secs_f64(options.interval).unwrap_or_default();
    let mut session = Session::new(options, false, call_off);
    while left != 0 {
        match session.run(&words)? {
            Outcome::Answered(is_error) if is_error && error_exit => return Ok(ExitCode::FAILURE),
            Outcome::Answered(_) => {}
            Outcome::NoAnswer | Outcome::Garbage => return Ok(ExitCode::FAILURE),
        }
        left -= i64::from(left > 0);
        if left != 0 && !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    Ok(ExitCode::SUCCESS)
}
