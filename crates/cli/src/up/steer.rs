//! `status`, `kill`, `pause`, `resume`, `start` and `down`: commands to an `up` that runs in another
//! shell, or in none.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::control::{self, Request, Response, Verb};
use super::layout::{self, Layout};
use super::options::{self, DownOptions, StatusOptions};
use super::snapshot::{MemberState, MemberStatus, Snapshot};
use super::state::State;
use super::{hints, leftovers, table};

/// How long a node may take until it answers after `start`.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How long `down` waits: longer than the running `up` gives its members.
const DOWN_PATIENCE: Duration = Duration::from_secs(60);

/// Runs `redoubt status` with the arguments after the subcommand.
pub fn status(args: Vec<OsString>) -> ExitCode {
    let options: StatusOptions = match options::parse("redoubt status", args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    finish(show_status(&options))
}

fn show_status(options: &StatusOptions) -> Result<ExitCode, String> {
    let layout = layout(&options.dir)?;
    let Some(snapshot) = snapshot(&layout)? else {
        if options.json {
            let dir = layout.dir.display().to_string();
            print(&format!("{}\n", serde_json::json!({ "running": false, "dir": dir })))?;
        } else {
            eprintln!("{}", not_running(&layout));
        }
        return Ok(ExitCode::FAILURE);
    };
    if options.json {
        let mut value = serde_json::to_value(&snapshot).map_err(|error| error.to_string())?;
        value["running"] = true.into();
        print(&format!("{value:#}\n"))?;
    } else {
        print(&table::text(&snapshot))?;
    }
    Ok(ExitCode::SUCCESS)
}

macro_rules! node_command {
    ($name:ident, $verb:expr, $about:literal, $long:literal) => {
        #[doc = concat!("Runs `redoubt ", stringify!($name), "` with the arguments after the subcommand.")]
        pub fn $name(args: Vec<OsString>) -> ExitCode {
            let program = concat!("redoubt ", stringify!($name));
            let options = match options::parse_nodes(program, $about, concat!($about, ".\n\n", $long), args)
            {
                Ok(options) => options,
                Err(code) => return code,
            };
            finish(steer(&options.dir, $verb, options.nodes))
        }
    };
}

node_command!(
    kill,
    Verb::Kill,
    "Kill nodes of a running `up` at once, as kill -9 does",
    "They stay down until `redoubt start`. The data that they have saved stays."
);
node_command!(
    pause,
    Verb::Pause,
    "Stop nodes of a running `up` in their tracks (SIGSTOP)",
    "To others a paused node looks like one that hangs: links stay open, nothing is answered."
);
node_command!(
    resume,
    Verb::Resume,
    "Let paused nodes go on (SIGCONT)",
    "A master that was paused for longer than a failover takes comes back as a replica."
);
node_command!(
    start,
    Verb::Start,
    "Start nodes that were killed or have died, and wait until they answer",
    "A node that was master before and has been replaced is made a replica by the sentinels."
);

fn steer(dir: &Path, verb: Verb, nodes: Vec<String>) -> Result<ExitCode, String> {
    let layout = layout(dir)?;
    let Some(response) = ask(&layout, verb, nodes)? else { return Err(not_running(&layout)) };
    for line in &response.lines {
        print(&format!("{line}\n"))?;
    }
    let mut failed = !response.errors.is_empty();
    for line in &response.errors {
        eprintln!("{line}");
    }
    if verb == Verb::Start {
        failed |= !wait_for_start(&layout, &response)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Waits until every node that was started answers; says what became of it.
fn wait_for_start(layout: &Layout, response: &Response) -> Result<bool, String> {
    let started =
        |line: &String| Some(line.strip_prefix("started ")?.split(',').next()?.to_owned());
    let mut left: Vec<String> = response.lines.iter().filter_map(started).collect();
    let deadline = Instant::now() + START_PATIENCE;
    let mut good = true;
    while !left.is_empty() {
        let Some(snapshot) = snapshot(layout)? else { return Err(not_running(layout)) };
        let mut waiting = Vec::new();
        for name in left {
            let Some((member, role)) = find(&snapshot, &name) else { continue };
            match member.state {
                MemberState::Running => print(&format!("{name} answers{role}\n"))?,
                MemberState::Exited | MemberState::Killed => {
                    good = false;
                    let end = member.end.clone().unwrap_or_default();
                    let log = layout::display(Path::new(&member.log));
                    eprintln!("{name} did not stay up: {end}; its log is {log}");
                }
                _ if Instant::now() >= deadline => {
                    good = false;
                    let log = layout::display(Path::new(&member.log));
                    eprintln!("{name} is {} still; its log is {log}", member.state.word());
                }
                _ => waiting.push(name),
            }
        }
        left = waiting;
        if !left.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(good)
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(&'a MemberStatus, String)> {
    for node in &snapshot.nodes {
        if node.member.name == name {
            let is_master = node.role.as_deref() == Some("master");
            let role = match &node.role {
                Some(_) if is_master && snapshot.master.as_deref() != Some(name) => {
                    " as a master, until the sentinels make it a replica".to_owned()
                }
                Some(role) => format!(" as a {role}"),
                None => String::new(),
            };
            return Some((&node.member, role));
        }
    }
    let sentinel = snapshot.sentinels.iter().find(|sentinel| sentinel.member.name == name)?;
    Some((&sentinel.member, String::new()))
}

/// Runs `redoubt down` with the arguments after the subcommand.
pub fn down(args: Vec<OsString>) -> ExitCode {
    let options: DownOptions = match options::parse("redoubt down", args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    finish(stop(&options.dir))
}

fn stop(dir: &Path) -> Result<ExitCode, String> {
    let layout = layout(dir)?;
    if !layout.dir.exists() {
        return Err(not_running(&layout));
    }
    let supervisor = State::load(&layout).ok().flatten().and_then(|state| state.supervisor);
    if let Some(response) = ask(&layout, Verb::Down, Vec::new())? {
        for line in response.lines {
            print(&format!("{line}\n"))?;
        }
    }
    // Whether it was told just now, was stopping already, or is on its way out: it goes.
    let deadline = Instant::now() + DOWN_PATIENCE;
    while supervisor.is_some_and(|process| process.is_alive()) {
        if Instant::now() >= deadline {
            let pid = supervisor.map_or(0, |process| process.pid);
            return Err(format!("`up` (pid {pid}) does not stop; kill -9 {pid}, then down again"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _lock = leftovers::lock(&layout)?;
    for note in leftovers::stop(&layout)? {
        print(&format!("{note}\n"))?;
    }
    print(&format!("nothing runs on {} now\n", layout::display(&layout.dir)))?;
    Ok(ExitCode::SUCCESS)
}

/// What the running `up` knows; `None` if none runs on the folder.
pub fn snapshot(layout: &Layout) -> Result<Option<Snapshot>, String> {
    Ok(ask(layout, Verb::Status, Vec::new())?.and_then(|response| response.snapshot))
}

fn ask(layout: &Layout, verb: Verb, nodes: Vec<String>) -> Result<Option<Response>, String> {
    control::ask(layout, &Request { verb, nodes }).map_err(|error| {
        format!("{}: {error}; is `up` of another user or version?", layout.socket().display())
    })
}

fn layout(dir: &Path) -> Result<Layout, String> {
    Layout::new(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn not_running(layout: &Layout) -> String {
    let (program, dir) = (hints::program(), layout::display(&layout.dir));
    let mut text = format!(
        "no `up` runs on {dir}; `{program} up --dir {dir}` starts one, --dir names another folder"
    );
    if let Ok(Some(state)) = State::load(layout) {
        for (name, process) in state.leftovers() {
            text.push_str(&format!(
                "\n{name}, pid {}, was left running by an earlier one; `{program} down --dir \
                 {dir}` stops it",
                process.pid
            ));
        }
    }
    text
}

fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("standard output: {error}"))
}

/// Prints what went wrong and turns it into an exit code.
pub fn finish(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|text| {
        eprintln!("{text}");
        ExitCode::FAILURE
    })
}
