//! Notification and reconfiguration scripts: child processes.
//!
//! A child has our standard output and error and nothing else of ours: every descriptor that this
//! program opens is closed on exec.

use super::conf::plain;
use crate::log::WARNING;
use sentinel::{ScriptExit, ScriptId};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Scripts that run.
#[derive(Default)]
pub struct Scripts {
    running: BTreeMap<ScriptId, Child>,
}

impl Scripts {
    /// Starts a script; returns its process id, or nothing if it could not be started.
    pub fn start(&mut self, id: ScriptId, argv: &[String]) -> Option<i64> {
        let (path, args) = argv.split_first()?;
        // The path is a file's, not a command's to be looked for.
        let path = if path.contains('/') { path.clone() } else { format!("./{path}") };
        match Command::new(&path).args(args).stdin(Stdio::null()).spawn() {
            Ok(child) => {
                let pid = i64::from(child.id());
                self.running.insert(id, child);
                Some(pid)
            }
            Err(error) => {
                crate::log::write(
                    WARNING,
                    &format!("Starting the script {path} failed: {}", plain(&error)),
                );
                None
            }
        }
    }

    /// Kills a script. Its end is reported as any other's.
    pub fn kill(&mut self, id: ScriptId) {
        if let Some(child) = self.running.get_mut(&id) {
            // Fails only if it has ended already.
            let _ = child.kill();
        }
    }

    /// Takes out those that have ended.
    pub fn ended(&mut self) -> Vec<(ScriptId, ScriptExit)> {
        let mut ended = Vec::new();
        for (id, child) in &mut self.running {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => ended.push((*id, exit_of(status))),
                // Nobody else waits for our children; a child that can't be waited for is gone.
                Err(_) => ended.push((*id, ScriptExit::Code(255))),
            }
        }
        ended.iter().for_each(|(id, _)| {
            self.running.remove(id);
        });
        ended
    }
}

fn exit_of(status: ExitStatus) -> ScriptExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ScriptExit::Code(code),
        (None, Some(signal)) => ScriptExit::Signal(signal),
        (None, None) => ScriptExit::Code(255),
    }
}
