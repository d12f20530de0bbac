//! `redoubt up`: a master, replicas and sentinels on this machine, and the commands that steer them.
//!
//! `plan` decides and writes configuration files; `supervisor` is the running `up`, with `model` as
//! its knowledge, `watch` as its ears and `view` as its face; `steer` holds the commands from other
//! shells, which reach it through `control`. Only programs' command lines, configuration files,
//! signals and wire protocol are used, so real Redis programs can take the place of ours.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

mod conf;
mod control;
mod event;
mod hints;
mod layout;
mod leftovers;
mod link;
mod model;
mod options;
mod plan;
mod snapshot;
mod spawn;
mod state;
mod steer;
mod supervisor;
mod table;
mod view;
mod watch;

use layout::Layout;
use options::UpOptions;
use supervisor::Show;

pub use spawn::{CHILD_SUBCOMMAND, child_main};
pub use steer::{down, kill, pause, resume, start, status};

/// How long `--detach` waits until everything is up.
const DETACH_PATIENCE: Duration = Duration::from_secs(90);

/// Runs `redoubt up` with the arguments after the subcommand. Must be called on the main thread.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let options: UpOptions = match options::parse("redoubt up", args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.supervise {
        return steer::finish(supervise());
    }
    steer::finish(with_password(options).and_then(|options| {
        if options.detach {
            detach(&options)
        } else {
            let show = supervisor::show_for(&options);
            supervisor::run(&options, show)
        }
    }))
}

/// Takes the password from its file or variable, if it comes from there.
fn with_password(mut options: UpOptions) -> Result<UpOptions, String> {
    if options.password.is_some() {
        if io::stderr().is_terminal() {
            eprintln!(
                "Note: others on this machine can read a password on the command line; \
                 --password-file or the variable {} is safer.",
                spawn::PASSWORD_VARIABLE
            );
        }
        return Ok(options);
    }
    options.password = match &options.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        None => std::env::var_os(spawn::PASSWORD_VARIABLE)
            .filter(|password| !password.is_empty())
            .map(|password| String::from_utf8(password.into_vec()))
            .transpose()
            .map_err(|_| format!("{} is not UTF-8", spawn::PASSWORD_VARIABLE))?,
    };
    Ok(options)
}

/// The process behind `--detach`: options come as JSON on standard input, so that the password is
/// neither on its command line nor in its environment.
fn supervise() -> Result<ExitCode, String> {
    // Away from the terminal, whose end would otherwise be ours.
    rustix::process::setsid().map_err(|error| format!("setsid: {error}"))?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
    let options: UpOptions = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    supervisor::run(&options, Show::Nothing)
}

/// Starts the process behind `--detach` and tells what it writes to its log until all is up.
fn detach(options: &UpOptions) -> Result<ExitCode, String> {
    let layout = Layout::new(&options.dir).map_err(|error| error.to_string())?;
    let in_dir = |error: io::Error| format!("{}: {error}", layout.dir.display());
    layout.create().map_err(in_dir)?;
    // Says so at once if another one runs there.
    drop(leftovers::lock(&layout)?);
    let log = layout::append_private(&layout.log()).map_err(in_dir)?;
    let mut reader = File::open(layout.log()).map_err(in_dir)?;
    reader.seek(SeekFrom::End(0)).map_err(in_dir)?;
    let mut child = Command::new(spawn::own_program())
        .args(["up", "--supervise"])
        .env_remove(spawn::PASSWORD_VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("cannot start the background process: {error}"))?;
    let json = serde_json::to_string(options).map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(json.as_bytes()).map_err(|error| error.to_string())?;
    }
    wait_until_ready(&layout, &mut child, &mut reader)
}

fn wait_until_ready(
    layout: &Layout,
    child: &mut Child,
    log: &mut File,
) -> Result<ExitCode, String> {
    let deadline = Instant::now() + DETACH_PATIENCE;
    loop {
        // The log is read after the look at what it tells about, so that its last words count.
        let ended = child.try_wait().map_err(|error| error.to_string())?;
        let snapshot = steer::snapshot(layout)?;
        let ready = snapshot.is_some_and(|s| s.pid == child.id() && s.ready_at.is_some());
        let mut text = String::new();
        log.read_to_string(&mut text).map_err(|error| error.to_string())?;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| format!("standard output: {error}"))?;
        let dir = layout::display(&layout.dir);
        if ended.is_some() {
            return Err(format!("`up` has ended; its log is {}", layout::display(&layout.log())));
        }
        if ready {
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "not everything is up yet; `{0} status --dir {dir}` tells what is missing, `{0} \
                 down --dir {dir}` stops it",
                hints::program()
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
