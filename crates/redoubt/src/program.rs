//! Which program this is called as, and its command line.

use crate::check_config;
use crate::container;
use crate::container::env::{EnvLine, Environment};
use crate::io::sys;
use crate::server::config_file::{self, ConfigFile};
use crate::server::host_level;
use config::{Action, CommandLine, Loaded};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

/// The version text that start-up errors name.
const VERSION: &str = node::command::REDIS_VERSION;

/// Runs the program that the name of the executable or the first argument asks for.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let own = args.next().map(PathBuf::from).unwrap_or_default();
    let name = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let args: Vec<_> = args.collect();
    match name.as_str() {
        "redis-server" => return server(args, false),
        "redis-sentinel" => return server(args, true),
        "redis-cli" => return cli::main_cli(args),
        "redis-benchmark" => return cli::main_benchmark(args),
        "redis-check-aof" => return crate::check::aof::main(&args),
        "redis-check-rdb" => return crate::check::rdb::main(&args),
        _ => {}
    }
    let (first, rest) = match args.split_first() {
        Some((first, rest)) => (first.to_string_lossy().into_owned(), rest.to_vec()),
        None => (String::new(), Vec::new()),
    };
    match first.as_str() {
        "server" => server(rest, false),
        "check-aof" => crate::check::aof::main(&rest),
        "check-rdb" => crate::check::rdb::main(&rest),
        "sentinel" => server(rest, true),
        "container" => container::main(rest),
        "healthcheck" => container::healthcheck(rest),
        "variables" => container::print_variables(),
        "check-config" => check_config::main(rest),
        "--version" | "-v" | "version" => {
            println!("redoubt {} (Redis {VERSION})", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        "" | "--help" | "-h" | "help" => {
            print!("{HELP}");
            if first.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        other => {
            if let Some(code) = cli::dispatch(other, rest) {
                return code;
            }
            eprintln!("redoubt: there is no subcommand '{other}'. `redoubt --help` lists them.");
            ExitCode::from(2)
        }
    }
}

const HELP: &str = "\
Redoubt: a Redis-compatible data store that keeps itself available.

Usage: redoubt SUBCOMMAND [arguments]

The whole set-up on this machine:
  up        start one master, two replicas and three sentinels, with a live view
  status    show who is master, who follows, what the sentinels think
  kill, pause, resume, start NODE
            act on one node of a running set-up
  down      stop the set-up

A set-up that runs anywhere:
  doctor    look at a running group, through its sentinels or nodes, and say what is wrong

Single programs:
  server    a data server; arguments as redis-server's: [FILE|-] [--directive value ...]
  sentinel  a sentinel; arguments as redis-sentinel's: FILE [--directive value ...]
  check-config
            tells all that is wrong with a configuration: FILE [--sentinel] [--directive value ...]
  cli       a client; arguments as redis-cli's: [-h HOST] [-p PORT] [-a PASSWORD] [COMMAND ...]
  benchmark a load; arguments as redis-benchmark's: [-t TESTS] [-n REQUESTS] [-c CLIENTS] [COMMAND ...]
  check-aof check an append-only file, and mend it: [--fix|--truncate-to-timestamp TIME] FILE
  check-rdb check an RDB file: FILE

In a container:
  container [redis-server|redis-sentinel] [arguments]
            the image's entrypoint: as above, and configured by environment variables as well
  healthcheck [PORT]
            asks the container's server whether it answers
  variables lists the environment variables that `container` understands

Called through a link named redis-server, redis-sentinel, redis-cli, redis-benchmark, redis-check-aof or
redis-check-rdb it is that program.
`redoubt SUBCOMMAND --help` tells more.
";

fn server(args: Vec<std::ffi::OsString>, sentinel: bool) -> ExitCode {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
    node(&args, sentinel, None)
}

/// Runs a data server or a sentinel by its command line, and in a container by its environment.
pub fn node(args: &[Vec<u8>], sentinel: bool, environment: Option<&Environment>) -> ExitCode {
    let line = CommandLine::parse(args, sentinel);
    match &line.action {
        Action::Run => {}
        Action::Version => {
            println!(
                "Redis server v={VERSION} sha=00000000:0 malloc=jemalloc-5.3.1 bits=64 build=0"
            );
            return ExitCode::SUCCESS;
        }
        Action::Help => {
            eprint!("{}", config::usage());
            return ExitCode::FAILURE;
        }
        Action::TestMemory(_) => {
            eprintln!(
                "This server has no memory test. Use memtest86, or `memtester` from your distribution."
            );
            return ExitCode::FAILURE;
        }
        Action::CheckSystem => {
            eprintln!("This server has no system check: it needs no setting of the kernel.");
            return ExitCode::SUCCESS;
        }
    }
    if line.sentinel {
        crate::log::set_role(b'X');
    }
    match prepare(&line, environment) {
        Ok((loaded, file)) => {
            if line.sentinel {
                crate::sentinel::run(loaded, file)
            } else {
                crate::server::run(loaded, file)
            }
        }
        Err(message) => {
            // Nothing more can be done if even the standard error is gone.
            let _ = std::io::stderr().write_all(&message);
            ExitCode::FAILURE
        }
    }
}

/// The file's text with what the environment adds.
#[derive(Clone, Debug, Default)]
pub struct Composed {
    /// The text.
    pub text: Vec<u8>,
    /// The lines of the environment, which are its last ones.
    pub variables: Vec<EnvLine>,
    /// Number of the first of them.
    pub first: usize,
}

impl Composed {
    /// The variable that a line of the text comes from.
    pub fn variable_of(&self, number: usize, line: &[u8]) -> Option<&str> {
        let given = self.variables.get(number.checked_sub(self.first)?)?;
        (given.line == line).then_some(given.variable.as_str())
    }
}

/// Puts the environment's lines behind the file's.
///
/// # Errors
/// A variable whose value can't be understood.
pub fn compose(
    line: &CommandLine,
    file: Option<&[u8]>,
    environment: Option<&Environment>,
) -> Result<Composed, String> {
    let text = file.unwrap_or_default().to_vec();
    let Some(environment) = environment else {
        return Ok(Composed { text, ..Composed::default() });
    };
    let (mut text, variables) = if line.sentinel {
        environment.sentinel_lines(file)?
    } else {
        (text, environment.data_lines()?)
    };
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let first = text.iter().filter(|&&b| b == b'\n').count() + 1;
    for given in &variables {
        text.extend_from_slice(&given.line);
        text.push(b'\n');
    }
    Ok(Composed { text, variables, first })
}

/// Reads the configuration and does what has to be done before there are threads.
fn prepare(
    line: &CommandLine,
    environment: Option<&Environment>,
) -> Result<(Loaded, ConfigFile), Vec<u8>> {
    let in_environment =
        |why: String| format!("Fatal error in the environment: {why}\n").into_bytes();
    let mut path = None;
    let mut file_text = None;
    if let Some(file) = &line.file {
        let given = PathBuf::from(std::ffi::OsStr::from_bytes(file));
        file_text = Some(std::fs::read(&given).map_err(|error| {
            refuse(&config::LoadError::Unreadable {
                path: config::Text::from(given.as_os_str().as_bytes()),
                reason: sys::reason(&error),
            })
        })?);
        path = Some(std::path::absolute(&given).unwrap_or(given));
    }
    let composed = compose(line, file_text.as_deref(), environment).map_err(in_environment)?;
    let mut stdin_text = Vec::new();
    if line.stdin {
        std::io::stdin()
            .read_to_end(&mut stdin_text)
            .map_err(|error| format!("reading the standard input: {error}\n").into_bytes())?;
    }
    let text = line.config_text(&composed.text, &stdin_text);
    let mut loaded =
        config_file::load(&text, line.sentinel).map_err(|error| {
            match of_variable(&composed, &error) {
                Some(why) => in_environment(why),
                None => refuse(&error),
            }
        })?;
    if let Some(module) = loaded.modules.first() {
        return Err(config::refuse_module(module).message(VERSION));
    }
    if let Some(setting) = loaded.module_settings.first() {
        return Err(config::refuse_module_setting(setting).message(VERSION));
    }
    // Tables of names are made from here on; all must hash alike.
    structures::hash::set_seed(crate::server::random_seed());
    install_renames(&loaded);
    node::check_user_lines(&loaded.users, &loaded.config).map_err(|error| refuse(&error))?;
    if let Some(environment) = environment {
        // What the command and the environment say without the file tells this node from others.
        let alone = compose(line, None, Some(environment)).map_err(in_environment)?;
        let alone = config_file::load(&line.config_text(&alone.text, b""), line.sentinel)
            .map_err(|error| refuse(&error))?;
        let file = line.file.as_deref();
        container::settle(&mut loaded, &alone.config, line.sentinel, file, environment)
            .map_err(|why| format!("Fatal error: {why}\n").into_bytes())?;
    }
    let dir = loaded.config.dir.to_str().into_owned();
    if !dir.is_empty()
        && let Err(error) = std::env::set_current_dir(&dir)
    {
        return Err(loaded.error_at("dir", sys::reason(&error)).message(VERSION));
    }
    if let Ok(absolute) = std::env::current_dir() {
        loaded.config.dir = config::Text::from(absolute.into_os_string().into_vec());
    }
    let logfile = loaded.config.logfile.to_str().into_owned();
    crate::log::set_level(host_level(loaded.config.loglevel));
    if let Err(error) = crate::log::set_file(&logfile) {
        return Err(config::LoadError::General(format!(
            "Can't open the log file: {}",
            sys::reason(&error)
        ))
        .message(VERSION));
    }
    container::log_notes(&loaded);
    if environment.is_some() && !line.sentinel {
        container::explain_protected_mode(&loaded);
    }
    if loaded.config.daemonize
        && let Err(error) = crate::io::sys::daemonize()
    {
        return Err(format!("going into the background: {error}\n").into_bytes());
    }
    write_pid_file(&loaded);
    let options = !line.options.is_empty() || line.stdin || !composed.variables.is_empty();
    Ok((loaded, ConfigFile::new(path, composed, options)))
}

/// The complaint about a line that comes from the environment. It does not show the value, which
/// may be a secret.
fn of_variable(composed: &Composed, error: &config::LoadError) -> Option<String> {
    let config::LoadError::Line { number, line, reason } = error else { return None };
    composed.variable_of(*number, line).map(|variable| format!("{variable}: {reason}"))
}

/// What is printed about a configuration that can't be used. A file that can't be read is a line of
/// the log instead, as with Redis.
fn refuse(error: &config::LoadError) -> Vec<u8> {
    let mut message = error.message(VERSION);
    if matches!(error, config::LoadError::Unreadable { .. }) {
        crate::log::write(crate::log::WARNING, String::from_utf8_lossy(&message).trim_end());
        return Vec::new();
    }
    if let Some(advice) = error.advice() {
        let (first, rest) = advice.split_at(1);
        message.extend_from_slice(format!("{}{rest}\n", first.to_uppercase()).as_bytes());
    }
    message
}

/// Names of commands as the file wants them, before anything looks one up.
pub fn install_renames(loaded: &Loaded) {
    let renames = loaded.renames.iter().filter_map(|line| match line.words.as_slice() {
        [_, old, new] => Some((old.clone(), new.clone())),
        _ => None,
    });
    let in_time = node::rename_commands(renames.collect());
    assert!(in_time, "commands are renamed before they are looked up");
}

fn write_pid_file(loaded: &Loaded) {
    let config = &loaded.config;
    let path = match config.pidfile.non_empty() {
        Some(path) => String::from_utf8_lossy(path).into_owned(),
        None if config.daemonize => "/var/run/redis.pid".to_string(),
        None => return,
    };
    if let Err(error) = std::fs::write(&path, format!("{}\n", std::process::id())) {
        crate::log::write(
            crate::log::WARNING,
            &format!("Failed to write PID file {path}: {error}"),
        );
    }
}
