//! What is kept in `up.json`: which processes belong to this folder, and where they listen.
//!
//! A pid alone says little, since pids are used again; with the time at which the process began it
//! names one process for good. No secret is kept here.

use std::io;
use std::path::Path;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, write_private};

/// Which of the two programs a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A data node.
    Node,
    /// A sentinel.
    Sentinel,
}

/// One process of this machine, past or present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since the machine started.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<ProcessId> {
        read_stat(pid).map(|stat| ProcessId { pid, started: stat.started })
    }

    /// This process.
    pub fn own() -> Option<ProcessId> {
        ProcessId::of(std::process::id())
    }

    /// True while it exists and has not exited.
    pub fn is_alive(&self) -> bool {
        read_stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    /// True while it is stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        read_stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && matches!(stat.state, 'T' | 't'))
    }

    /// Sends a signal, if it still exists.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process is gone"));
        }
        let pid = Pid::from_raw(self.pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }
}

struct Stat {
    state: char,
    started: u64,
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 3 and 22 of proc(5)'s stat; the name in field 2 may hold blanks and brackets.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, started })
}

/// One node or sentinel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// `node-1`, `sentinel-2`
    pub name: String,
    /// Node or sentinel.
    pub kind: Kind,
    /// Where it listens.
    pub port: u16,
    /// Its process, if it was running when this was written.
    pub process: Option<ProcessId>,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Format of the file; 1.
    pub version: u32,
    /// The running `up`.
    pub supervisor: Option<ProcessId>,
    /// Address that the nodes tell each other and clients.
    pub ip: String,
    /// Addresses they listen on.
    pub bind: Vec<String>,
    /// Nodes, then sentinels.
    pub members: Vec<MemberRecord>,
}

impl State {
    /// Reads the file; `None` if there is none yet.
    pub fn load(layout: &Layout) -> io::Result<Option<State>> {
        let path = layout.state();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&path, &error)),
        };
        let state: State = serde_json::from_str(&text).map_err(|error| named(&path, &error))?;
        match state.version {
            1 => Ok(Some(state)),
            other => Err(io::Error::other(format!(
                "{} has format {other}, which a newer redoubt has written",
                path.display()
            ))),
        }
    }

    /// Writes the file.
    pub fn save(&self, layout: &Layout) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        write_private(&layout.state(), &text)
    }

    /// Processes that still run although the `up` that started them is gone.
    pub fn leftovers(&self) -> Vec<(&str, ProcessId)> {
        let running = |m: &MemberRecord| m.process.filter(ProcessId::is_alive);
        self.members.iter().filter_map(|m| Some((m.name.as_str(), running(m)?))).collect()
    }
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = parse_stat(&format!("17 (a) b (c) T {}", fields.join(" "))).unwrap();
        assert_eq!((stat.state, stat.started), ('T', 22));
        assert!(parse_stat("").is_none());
        assert!(parse_stat("17 (x) R 1").is_none());
    }

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive() && !own.is_stopped());
        let other = ProcessId { started: own.started + 1, ..own };
        assert!(!other.is_alive());
        assert!(other.signal(Signal::TERM).is_err());
    }

    #[test]
    fn states_survive_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        assert_eq!(State::load(&layout).unwrap(), None);
        let state = State {
            version: 1,
            supervisor: ProcessId::own(),
            ip: "127.0.0.1".into(),
            bind: vec!["127.0.0.1".into()],
            members: vec![MemberRecord {
                name: "node-1".into(),
                kind: Kind::Node,
                port: 7000,
                process: Some(ProcessId { pid: 1, started: u64::MAX }),
            }],
        };
        state.save(&layout).unwrap();
        assert_eq!(State::load(&layout).unwrap().as_ref(), Some(&state));
        assert!(state.leftovers().is_empty());
        std::fs::write(
            layout.state(),
            "{\"version\":9,\"ip\":\"\",\"bind\":[],\"members\":[],\"supervisor\":null}",
        )
        .unwrap();
        assert!(State::load(&layout).unwrap_err().to_string().contains("format 9"));
        std::fs::write(layout.state(), "nonsense").unwrap();
        assert!(State::load(&layout).is_err());
    }
}
