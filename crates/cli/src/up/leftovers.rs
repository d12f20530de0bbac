//! Members that still run although the `up` that started them is gone, and the lock that tells
//! whether it is.
//!
//! They end with it as a rule (see `spawn`); but one that hangs does not, and one that is saving a
//! large data set takes a while.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::hints;
use super::layout::{self, Layout};
use super::state::{ProcessId, State};

/// How long a leftover may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes the folder for this process, for as long as the file stays open.
pub fn lock(layout: &Layout) -> Result<File, String> {
    let path = layout.lock();
    let file =
        layout::append_private(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let pid = State::load(layout).ok().flatten().and_then(|state| state.supervisor);
            let pid = pid.map_or(String::new(), |process| format!(", pid {}", process.pid));
            let (program, dir) = (hints::program(), layout::display(&layout.dir));
            Err(format!(
                "an `up` is running on {dir} already{pid}; `{program} status --dir {dir}` shows \
                 it, `{program} down --dir {dir}` stops it, another --dir starts a second one"
            ))
        }
        Err(TryLockError::Error(error)) => Err(format!("{}: {error}", path.display())),
    }
}

/// Stops what is left of an earlier `up`; the caller holds the lock. Returns what was done.
pub fn stop(layout: &Layout) -> Result<Vec<String>, String> {
    let Some(state) = State::load(layout).map_err(|error| error.to_string())? else {
        return Ok(Vec::new());
    };
    let left = state.leftovers();
    for (_, process) in &left {
        // The signals fail only for one that has just ended.
        let _ = process.signal(Signal::TERM);
        let _ = process.signal(Signal::CONT);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut notes = Vec::new();
    for (name, process) in left {
        let how = match wait(process, deadline) {
            true => "stopped",
            false => {
                let _ = process.signal(Signal::KILL);
                wait(process, Instant::now() + Duration::from_secs(2));
                "killed"
            }
        };
        notes.push(format!("{how} {name}, pid {}, left running by an earlier `up`", process.pid));
    }
    Ok(notes)
}

fn wait(process: ProcessId, deadline: Instant) -> bool {
    while process.is_alive() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::state::{Kind, MemberRecord};

    #[test]
    fn a_paused_leftover_is_stopped_and_a_stranger_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        let mut ours = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(ours.id()).unwrap();
        process.signal(Signal::STOP).unwrap();
        let other = ProcessId::of(stranger.id()).unwrap();
        let record = |name: &str, process| MemberRecord {
            name: name.into(),
            kind: Kind::Node,
            port: 1,
            process: Some(process),
        };
        let reused = ProcessId { started: other.started - 1, ..other };
        let state = State {
            version: 1,
            members: vec![record("node-1", process), record("node-2", reused)],
            ..State::default()
        };
        state.save(&layout).unwrap();
        let notes = stop(&layout).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("stopped node-1"), "{notes:?}");
        assert!(ours.try_wait().unwrap().is_some());
        assert!(other.is_alive());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn one_up_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        let held = lock(&layout).unwrap();
        assert!(lock(&layout).unwrap_err().contains("running"));
        drop(held);
        lock(&layout).unwrap();
    }
}
