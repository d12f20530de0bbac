//! `redoubt container`: the entrypoint of the image.
//!
//! This word is the switch of everything that a container does differently: configuration by
//! environment variables, the role from them, a folder of a shared volume. Without it nothing of that
//! happens, so a stray REDIS_PASSWORD on a developer's machine changes no server that is started as
//! `redis-server`; and a program that is started by hand in a container (`docker exec`) is what its
//! command line says.

pub mod env;
pub mod folder;
mod health;
mod words;

use crate::log::{NOTICE, WARNING};
use config::{Config, Loaded};
use env::Environment;
use folder::{Identity, NoFolder};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use words::Plan;

pub use health::main as healthcheck;

/// Set once in a process that runs as a container's entrypoint.
static ACTIVE: OnceLock<()> = OnceLock::new();
/// Holds the lock of the data folder.
static FOLDER_LOCK: OnceLock<File> = OnceLock::new();

/// What a client is told that protected mode keeps out.
const DENIED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no \
     password is set for the default user. In this mode connections are only accepted from the loopback \
     interface. For a container there are two remedies: 1) set a password with the environment variable \
     REDIS_PASSWORD (or --requirepass), 2) set ALLOW_EMPTY_PASSWORD=yes (or --protected-mode no) if \
     everybody who can reach the container may use it.\r\n";

/// True in a process that was started as a container's entrypoint.
pub fn is_active() -> bool {
    ACTIVE.get().is_some()
}

/// The refusal of protected mode, where it differs from Redis's.
pub fn protected_mode_refusal() -> Option<&'static str> {
    is_active().then_some(DENIED)
}

/// Runs `redoubt container WORDS`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let words: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
    let environment = match own_environment() {
        Ok(environment) => environment,
        Err(why) => {
            eprintln!("Fatal error in the environment: {why}");
            return ExitCode::FAILURE;
        }
    };
    match words::plan(&words, environment.is_sentinel()) {
        Plan::Node { sentinel, args } => {
            // Set here only, before there are threads.
            let _ = ACTIVE.set(());
            crate::program::node(&args, sentinel, Some(&environment))
        }
        Plan::Own { name: "healthcheck", args } => health::main(os_strings(args)),
        Plan::Own { name: "variables", .. } => print_variables(),
        Plan::Own { name, args } => {
            cli::dispatch(name, os_strings(args)).unwrap_or(ExitCode::FAILURE)
        }
        Plan::Other(words) => run_other(words),
    }
}

/// Runs `redoubt variables`: what a container can be told by its environment.
pub fn print_variables() -> ExitCode {
    for row in env::VARIABLES {
        println!("{:<40} {}", row.name, row.doc.replace('`', ""));
    }
    println!("{:<40} Any directive of the configuration.", "REDOUBT_<DIRECTIVE>");
    println!("{:<40} A file that holds the variable's value.", "<VARIABLE>_FILE");
    ExitCode::SUCCESS
}

fn os_strings(words: Vec<Vec<u8>>) -> Vec<OsString> {
    words.into_iter().map(OsString::from_vec).collect()
}

/// Becomes another program of the image.
fn run_other(words: Vec<Vec<u8>>) -> ExitCode {
    let mut words = os_strings(words).into_iter();
    let Some(program) = words.next() else { return ExitCode::FAILURE };
    let error = std::process::Command::new(&program).args(words).exec();
    eprintln!(
        "redoubt container: starting {}: {}",
        program.display(),
        crate::io::sys::reason(&error)
    );
    ExitCode::from(127)
}

/// The variables of this process.
fn own_environment() -> Result<Environment, String> {
    // What is not UTF-8 can't be one of ours.
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Environment::read(vars, &|path| {
        std::fs::read(path).map_err(|error| crate::io::sys::reason(&error))
    })
}

/// Brings a loaded configuration into the shape that a container needs, and takes the data folder.
/// `alone` is what the command and the environment say without the file, `file` the file's name in
/// the command.
///
/// # Errors
/// A text to be printed.
pub fn settle(
    loaded: &mut Loaded,
    alone: &Config,
    sentinel: bool,
    file: Option<&[u8]>,
    environment: &Environment,
) -> Result<(), String> {
    if loaded.config.daemonize {
        loaded.config.daemonize = false;
        let why = "`daemonize yes` has no effect here: a container ends with its first process.";
        loaded.warnings.push(why.into());
    }
    let base = base_folder(&loaded.config);
    // A folder that is missing altogether can be made; that one is wrong shows below.
    let _ = std::fs::create_dir_all(&base);
    let identity = Identity {
        name: match environment.node_name() {
            Some(name) => name.to_string(),
            None => describe(alone, sentinel, file, environment),
        },
        given: environment.node_name().is_some(),
        master: !sentinel && loaded.config.replicaof.is_none(),
    };
    if identity.name.contains(['\n', '\r']) {
        return Err("REDOUBT_NODE_NAME must be one line.".into());
    }
    match folder::claim(&base, &identity) {
        Ok(claim) => {
            loaded.warnings.extend(claim.note);
            loaded.config.dir = config::Text::from(claim.dir.into_os_string().into_vec());
            // Once in a process.
            let _ = FOLDER_LOCK.set(claim.lock);
            Ok(())
        }
        Err(NoFolder::Unclear(why)) => Err(why),
        Err(NoFolder::Unwritable(error)) => {
            loaded.warnings.push(format!(
                "The data folder {} can't be written by user {} ({}): nothing can be saved there. \
                 Give the folder to that user (chown), or run the container as the user that owns \
                 it (`user:`).",
                base.display(),
                rustix::process::geteuid().as_raw(),
                crate::io::sys::reason(&error)
            ));
            Ok(())
        }
    }
}

/// The folder that `dir` names, or the one that the process stands in.
fn base_folder(config: &Config) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let dir = Path::new(std::ffi::OsStr::from_bytes(&config.dir));
    if config.dir.is_empty() || dir == Path::new("./") { here } else { here.join(dir) }
}

/// A node's description by what tells it from others: role, port and master.
fn describe(
    alone: &Config,
    sentinel: bool,
    file: Option<&[u8]>,
    environment: &Environment,
) -> String {
    let mut text = format!("{} port {}", if sentinel { "sentinel" } else { "server" }, alone.port);
    let extra = alone.extra_ports.to_str();
    if !extra.is_empty() {
        text.push_str(&format!(" and {extra}"));
    }
    if sentinel {
        text.push_str(&format!(" of {}", environment.master_set(b"")));
    } else if let Some(master) = &alone.replicaof {
        text.push_str(&format!(" replica of {} {}", master.host, master.port));
    }
    if let Some(file) = file {
        text.push_str(&format!(" by {}", String::from_utf8_lossy(file).escape_debug()));
    }
    text
}

/// Says what protected mode means for a container, while it is in the way.
pub fn explain_protected_mode(loaded: &Loaded) {
    let config = &loaded.config;
    let may_have_users = !loaded.users.is_empty() || config.aclfile.non_empty().is_some();
    if config.protected_mode && config.requirepass.is_empty() && !may_have_users {
        crate::log::write(
            WARNING,
            "Protected mode is on, for no password is set: nobody outside this container is answered. \
             Set a password with REDIS_PASSWORD, or ALLOW_EMPTY_PASSWORD=yes if everybody who can reach \
             the container may use it.",
        );
    }
}

/// Logs what was noted while the configuration was read.
pub fn log_notes(loaded: &Loaded) {
    for note in &loaded.warnings {
        crate::log::write(NOTICE, note);
    }
}
