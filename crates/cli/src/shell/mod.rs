//! `redoubt cli`: the command line client, in the form of redis-cli.
//!
//! Output, exit codes and messages are redis-cli's, so that scripts written for it work. What is
//! not here (the cluster manager, RDB files, some measurements) is refused by name.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub(crate) mod answer;
mod follow;
mod hints;
mod keys;
pub(crate) mod link;
mod options;
mod pipe;
mod prompt;
mod render;
mod secure;
mod session;
pub(crate) mod tool;
mod watch;

pub(crate) use options::Options;
use options::{Mode, Parsed};
pub(crate) use session::emit;
use session::{Outcome, Session};
use tool::Failure;

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
  -u URI             redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]; rediss:// speaks TLS
  -n DB              database number
  -2, -3             speak RESP2 (the default) or RESP3
  -r N               run the command N times; -1: for ever
  -i SECONDS         pause between repetitions, such as 0.1
  -c                 follow the redirections of a cluster
  -X TAG             take the argument that is TAG from standard input
  -x                 take the command's last argument from standard input
  -e                 exit with 1 when the command answers an error
  -d DELIMITER       what stands between the elements of a raw reply (default: a line end)
  -D DELIMITER       what stands behind a raw reply (default: a line end)
  --csv              print replies as comma separated values
  --json             print replies as JSON (asks for RESP3, unless -2); --quoted-json: in ASCII
  --quoted-input     arguments are quoted strings, as in '\"a b\"'
  --askpass          ask for the password
  --raw              print replies as they are (default when standard output is not a terminal)
  --no-raw           print replies for people (default on a terminal)
  --show-pushes YN   print messages that come unasked in RESP3 (default: on a terminal)
  --no-auth-warning  keep quiet about a password on the command line
  --tls              speak TLS
  --cacert FILE      trust these certificates; --cacertdir: those in a folder (default: those that
                     this system trusts)
  --insecure         trust any certificate
  --cert FILE        show this certificate; --key FILE: its key
  --sni HOST         tell the server this name
  --tls-ciphers LIST, --tls-ciphersuites LIST
                     offer these ciphers up to TLS 1.2, and of TLS 1.3
  --eval FILE [KEY ...] [, ARGUMENT ...]
                     run a script
  --pipe             send standard input, which is protocol, and count the replies;
                     --pipe-timeout SECONDS waits so long for the last one (default 30; 0: for ever)
  --scan             list the keys; also with these: --pattern PATTERN, --quoted-pattern, --count N
  --bigkeys          find the biggest values, by elements
  --memkeys          find the biggest values, by memory; --memkeys-samples N looks at N elements
  --hotkeys          find the keys used most (maxmemory-policy *lfu)
  --stat             print a line about the server again and again
  --latency          measure the time of a PING; --latency-history: in ranges of 15 seconds (-i)
  --latency-dist     show the times of many PINGs as a spectrum, a line each second
  --lru-test KEYS    use the server as a cache of so many keys, a fifth of them often
  --rdb FILE         fetch the data set as an RDB file; --functions-rdb: the functions alone
  --replica          show the commands that the server sends to replicas
  --intrinsic-latency SECONDS
                     measure what this machine itself adds
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
            return print_and_leave(&format!(
                "redis-cli 7.0.15 (Redoubt {})\n",
                env!("CARGO_PKG_VERSION")
            ));
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

/// Which server the client's own options mean, for a tool that has more of them.
pub(crate) fn server_options(args: Vec<OsString>) -> Result<Options, String> {
    match options::parse(args, std::env::var_os("REDISCLI_AUTH"))? {
        Parsed::Run(options) => Ok(*options),
        Parsed::Help | Parsed::Version => Err("an option's value is missing".into()),
    }
}

fn print_and_leave(text: &str) -> ExitCode {
    match session::emit(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(mut options: Options) -> io::Result<ExitCode> {
    if options.askpass {
        options.password = Some(ask_password()?);
    }
    if let Some(mode) = options.mode.clone() {
        return match run_mode(&mode, &mut options) {
            Ok(Some(code)) => Ok(code),
            Ok(None) => one_command(options, Arc::new(AtomicBool::new(false))),
            Err(Failure(text)) => {
                eprintln!("{text}");
                Ok(ExitCode::FAILURE)
            }
        };
    }
    if options.quoted_input {
        let words: Option<Vec<_>> =
            options.command.iter().map(|word| options::unquoted(word)).collect();
        let Some(words) = words else {
            session::emit(b"Invalid quoted string\n")?;
            return Ok(ExitCode::FAILURE);
        };
        options.command = words;
    }
    let call_off = Arc::new(AtomicBool::new(false));
    if let (Some(tag), false) = (&options.stdin_tag, options.last_argument_from_stdin) {
        let Some(at) = options.command.iter().position(|word| word == tag) else {
            eprintln!("Using -X option but stdin tag not match.");
            return Ok(ExitCode::FAILURE);
        };
        let mut value = Vec::new();
        io::stdin().lock().read_to_end(&mut value)?;
        options.command[at] = value;
    }
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

/// Runs a mode to its end. Nothing if it has become a command that is still to be run.
fn run_mode(mode: &Mode, options: &mut Options) -> Result<Option<ExitCode>, Failure> {
    let raw = options.raw.unwrap_or(!io::stdout().is_terminal());
    match mode {
        Mode::Pipe => return pipe::run(options).map(Some),
        Mode::Scan => keys::list(options, !raw && options.form.is_none())?,
        Mode::BigKeys | Mode::MemKeys => keys::big(options)?,
        Mode::HotKeys => keys::hot(options)?,
        Mode::Stat => watch::stat(options)?,
        Mode::Latency | Mode::LatencyHistory => watch::latency(options)?,
        Mode::LatencyDist => watch::latency_dist(options)?,
        Mode::LruTest(keys) => watch::lru_test(options, *keys)?,
        Mode::Rdb(path, functions_only) => follow::fetch(options, path, *functions_only)?,
        Mode::Replica => follow::replica(options)?,
        Mode::Intrinsic(seconds) => watch::intrinsic(*seconds)?,
        Mode::Eval(path) => {
            options.command = eval_command(path, &options.command)?;
            return Ok(None);
        }
    }
    Ok(Some(ExitCode::SUCCESS))
}

/// `EVAL` with the text of a file; a comma stands between keys and arguments.
fn eval_command(path: &OsString, words: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Failure> {
    let script = std::fs::read(path).map_err(|error| {
        let path = path.to_string_lossy();
        Failure(format!("Can't open file '{path}': {}", link::error_text(&error)))
    })?;
    let comma = words.iter().position(|word| word == b",");
    let keys = &words[..comma.unwrap_or(words.len())];
    let arguments = comma.map_or(&[][..], |at| &words[at + 1..]);
    let mut command = vec![b"EVAL".to_vec(), script, keys.len().to_string().into_bytes()];
    command.extend_from_slice(keys);
    command.extend_from_slice(arguments);
    Ok(command)
}

/// Reads a password from the terminal, which shows stars, or a line of another standard input.
fn ask_password() -> io::Result<Vec<u8>> {
    eprint!("Please input password: ");
    let masked = io::stdin().is_terminal();
    if masked {
        crossterm::terminal::enable_raw_mode()?;
    }
    let password = read_password(masked);
    if masked {
        crossterm::terminal::disable_raw_mode()?;
        eprintln!();
    }
    password
}

fn read_password(masked: bool) -> io::Result<Vec<u8>> {
    let (mut password, mut byte) = (Vec::new(), [0]);
    while io::stdin().lock().read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C and Ctrl-D, which a raw terminal does not act on.
            3 | 4 if masked => return Err(io::ErrorKind::Interrupted.into()),
            8 | 127 if masked => {
                if password.pop().is_some() {
                    eprint!("\x08 \x08");
                }
            }
            byte => {
                password.push(byte);
                if masked {
                    eprint!("*");
                }
            }
        }
    }
    Ok(password)
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
            Outcome::NoAnswer | Outcome::Redirected(_) | Outcome::Garbage => {
                return Ok(ExitCode::FAILURE);
            }
        }
        left -= i64::from(left > 0);
        if left != 0 && !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    Ok(ExitCode::SUCCESS)
}
