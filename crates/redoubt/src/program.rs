//! Which program this is called as, and its command line.

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

Single programs:
  server    a data server; arguments as redis-server's: [FILE|-] [--directive value ...]
  sentinel  a sentinel; arguments as redis-sentinel's: FILE [--directive value ...]
  cli       a client; arguments as redis-cli's: [-h HOST] [-p PORT] [-a PASSWORD] [COMMAND ...]
  benchmark a load; arguments as redis-benchmark's: [-t TESTS] [-n REQUESTS] [-c CLIENTS] [COMMAND ...]
  check-aof check an append-only file, and mend it: [--fix|--truncate-to-timestamp TIME] FILE
  check-rdb check an RDB file: FILE

Called through a link named redis-server, redis-sentinel, redis-cli, redis-benchmark, redis-check-aof or
redis-check-rdb it is that program.
`redoubt SUBCOMMAND --help` tells more.
";

fn server(args: Vec<std::ffi::OsString>, sentinel: bool) -> ExitCode {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
    let line = CommandLine::parse(&args, sentinel);
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
    match prepare(&line) {
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

/// Reads the configuration and does what has to be done before there are threads.
fn prepare(line: &CommandLine) -> Result<(Loaded, ConfigFile), Vec<u8>> {
    let mut path = None;
    let mut file_text = Vec::new();
    if let Some(file) = &line.file {
        let given = PathBuf::from(std::ffi::OsStr::from_bytes(file));
        file_text = std::fs::read(&given).map_err(|error| {
            refuse(&config::LoadError::Unreadable {
                path: config::Text::from(given.as_os_str().as_bytes()),
                reason: sys::reason(&error),
            })
        })?;
        path = Some(std::path::absolute(&given).unwrap_or(given));
    }
    let mut stdin_text = Vec::new();
    if line.stdin {
        std::io::stdin()
            .read_to_end(&mut stdin_text)
            .map_err(|error| format!("reading the standard input: {error}\n").into_bytes())?;
    }
    let text = line.config_text(&file_text, &stdin_text);
    let mut loaded = config_file::load(&text, line.sentinel).map_err(|error| refuse(&error))?;
    if let Some(module) = loaded.modules.first() {
        return Err(config::refuse_module(module).message(VERSION));
    }
    // Tables of names are made from here on; all must hash alike.
    structures::hash::set_seed(crate::server::random_seed());
    node::check_user_lines(&loaded.users, &loaded.config).map_err(|error| refuse(&error))?;
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
    if loaded.config.daemonize
        && let Err(error) = crate::io::sys::daemonize()
    {
        return Err(format!("going into the background: {error}\n").into_bytes());
    }
    write_pid_file(&loaded);
    Ok((loaded, ConfigFile::new(path, !line.options.is_empty() || line.stdin)))
}

/// What is printed about a configuration that can't be used. A file that can't be read is a line of
/// the log instead, as with Redis.
fn refuse(error: &config::LoadError) -> Vec<u8> {
    let mut message = error.message(VERSION);
    if matches!(error, config::LoadError::Unreadable { .. }) {
        crate::log::write(crate::log::WARNING, String::from_utf8_lossy(&message).trim_end());
        return Vec::new();
    }
    if let Some(nearest) = error.suggestion() {
        message.extend_from_slice(format!("Did you mean '{nearest}'?\n").as_bytes());
    }
    message
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
