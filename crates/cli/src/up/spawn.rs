//! Starts the programs of the members.
//!
//! A member is started through this program itself (`up-child`), which asks the kernel for SIGTERM
//! when its parent dies and then becomes the real program: so the pid stays the same, no member
//! outlives an `up` that was killed with -9, and no code runs between fork and exec. The kernel
//! sends that signal when the *thread* that started the child ends, so only the main thread may
//! call [`spawn`].
//!
//! SIGTERM and not SIGKILL, so that nodes still save their data. A member that is stopped (SIGSTOP)
//! sees it as well: it has a process group of its own, which its parent's end leaves an orphan, and
//! the kernel lets stopped orphans go on.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::layout::append_private;
use super::state::Kind;

/// The hidden subcommand behind [`child_main`].
pub const CHILD_SUBCOMMAND: &str = "up-child";
/// Hidden variables that name other programs to start, for tests with real Redis programs.
const PROGRAM_VARIABLES: [&str; 2] = ["REDOUBT_UP_SERVER", "REDOUBT_UP_SENTINEL"];
/// Variables with secrets, which a member does not need.
const SECRET_VARIABLES: [&str; 2] = [PASSWORD_VARIABLE, "REDISCLI_AUTH"];
/// A place for the password that the list of processes does not show.
pub const PASSWORD_VARIABLE: &str = "REDOUBT_PASSWORD";

/// Starts a member with its configuration file; what it prints is added to its log file.
pub fn spawn(kind: Kind, conf: &Path, log: &Path) -> io::Result<Child> {
    let output = append_private(log)?;
    let mut command = Command::new(own_program());
    command.arg(CHILD_SUBCOMMAND).arg(std::process::id().to_string());
    let (variable, role) = match kind {
        Kind::Node => (PROGRAM_VARIABLES[0], "server"),
        Kind::Sentinel => (PROGRAM_VARIABLES[1], "sentinel"),
    };
    match std::env::var_os(variable) {
        Some(program) => command.arg(program),
        None => command.arg(own_program()).arg(role),
    };
    for variable in SECRET_VARIABLES {
        command.env_remove(variable);
    }
    command
        .arg(conf)
        .current_dir(conf.parent().unwrap_or(Path::new(".")))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Ctrl-C is for `up`, which then stops the members in order.
        .process_group(0)
        .spawn()
}

/// The file of the running program; still good when that file has been replaced since.
pub fn own_program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// `up-child PARENT PROGRAM [ARGUMENT ...]`: becomes PROGRAM, bound to the life of PARENT.
pub fn child_main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let parent = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        eprintln!("usage: redoubt {CHILD_SUBCOMMAND} PARENT PROGRAM [ARGUMENT ...]");
        return ExitCode::FAILURE;
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("cannot ask for a signal when the parent ends: {error}");
        return ExitCode::FAILURE;
    }
    // It may have ended before the request.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(args).exec();
    eprintln!("cannot start {}: {error}", program.to_string_lossy());
    ExitCode::FAILURE
}
