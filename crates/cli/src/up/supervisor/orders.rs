//! What a running `up` is told to do to its members, from the view or from another shell.

use std::time::Instant;

use rustix::process::Signal;

use super::Supervisor;
use crate::up::control::{Request, Response, Verb};
use crate::up::state::ProcessId;

impl Supervisor {
    pub(super) fn obey(&mut self, request: &Request) -> Response {
        let mut response = Response::default();
        match request.verb {
            Verb::Status => response.snapshot = Some(self.model.snapshot()),
            Verb::Down => {
                self.stops += 1;
                let running = self.model.members.iter().filter(|m| m.child.is_some()).count();
                response.lines.push(format!("stopping {running} processes"));
            }
            Verb::Kill | Verb::Pause | Verb::Resume | Verb::Start => {
                // All names are looked up first: `master` means the one before the command.
                let found: Vec<_> = request.nodes.iter().map(|n| self.model.find(n)).collect();
                for index in found {
                    let result = index.and_then(|index| match request.verb {
                        Verb::Kill => self.kill(index),
                        Verb::Pause => self.pause(index),
                        Verb::Resume => self.resume(index),
                        _ => self.start(index),
                    });
                    match result {
                        Ok(line) => response.lines.push(line),
                        Err(line) => response.errors.push(line),
                    }
                }
            }
        }
        response
    }

    /// `node-1 (the master)`
    fn title(&self, index: usize) -> String {
        let name = &self.model.members[index].record.name;
        let is_master = self.model.master() == Some(index);
        if is_master { format!("{name} (the master)") } else { name.clone() }
    }

    pub(super) fn running(&self, index: usize) -> Result<ProcessId, String> {
        let member = &self.model.members[index];
        match (&member.child, member.record.process) {
            (Some(_), Some(process)) => Ok(process),
            _ => {
                let name = &member.record.name;
                Err(format!("{name} is not running; `start {name}` starts it"))
            }
        }
    }

    pub(super) fn kill(&mut self, index: usize) -> Result<String, String> {
        let process = self.running(index)?;
        let title = self.title(index);
        let member = &mut self.model.members[index];
        member.kill_requested = true;
        process.signal(Signal::KILL).map_err(|error| format!("{title}: {error}"))?;
        let status = member.child.as_mut().map(|child| child.wait());
        if let Some(Ok(status)) = status {
            self.ended(index, status);
        }
        let name = &self.model.members[index].record.name;
        Ok(format!("killed {title}, pid {}; `start {name}` starts it again", process.pid))
    }

    pub(super) fn pause(&mut self, index: usize) -> Result<String, String> {
        let process = self.running(index)?;
        let title = self.title(index);
        let name = self.model.members[index].record.name.clone();
        if process.is_stopped() {
            return Err(format!("{name} is paused already; `resume {name}` lets it go on"));
        }
        process.signal(Signal::STOP).map_err(|error| format!("{title}: {error}"))?;
        if Some(index) == self.master {
            self.lost.get_or_insert((Instant::now(), format!("{name} was paused")));
        }
        self.tell_of(index, "paused (SIGSTOP)");
        Ok(format!("paused {title}, pid {}; `resume {name}` lets it go on", process.pid))
    }

    pub(super) fn resume(&mut self, index: usize) -> Result<String, String> {
        let process = self.running(index)?;
        let name = self.model.members[index].record.name.clone();
        if !process.is_stopped() {
            return Err(format!("{name} is not paused"));
        }
        process.signal(Signal::CONT).map_err(|error| format!("{name}: {error}"))?;
        self.tell_of(index, "resumed (SIGCONT)");
        Ok(format!("resumed {name}, pid {}", process.pid))
    }

    pub(super) fn start(&mut self, index: usize) -> Result<String, String> {
        let name = self.model.members[index].record.name.clone();
        if let Ok(process) = self.running(index) {
            return Err(if process.is_stopped() {
                format!("{name} is paused; `resume {name}` lets it go on")
            } else {
                format!("{name} is running already, pid {}", process.pid)
            });
        }
        self.spawn(index)?;
        let pid = self.model.members[index].record.process.map_or(0, |process| process.pid);
        Ok(format!("started {name}, pid {pid}"))
    }
}
