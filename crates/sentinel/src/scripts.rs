//! The queue of notification and client reconfiguration scripts.
//!
//! Up to 256 wait, 16 run at once; a script that exits with 1 or dies of a signal is tried again
//! later, one that runs for a minute is killed. The driver starts and kills; here is only the plan.
//! Source: redis 7.0 `sentinel.c:sentinelScheduleScriptExecution` and what follows it.

use std::collections::VecDeque;

use stdx::MonoMs;

use crate::api::{LogLevel, Output, ScriptExit, ScriptId};
use crate::core::Core;

const QUEUE_MAX: usize = 256;
const RUNNING_MAX: usize = 16;
const TRIES_MAX: u32 = 10;

pub(crate) enum JobState {
    Waiting {
        not_before: MonoMs,
    },
    /// `pid` is known once the driver has said so.
    Running {
        since: MonoMs,
        pid: i64,
        killed: bool,
    },
}

pub(crate) struct Job {
    pub id: ScriptId,
    pub argv: Vec<String>,
    pub state: JobState,
    pub tries: u32,
}

#[derive(Default)]
pub(crate) struct Scripts {
    pub queue: VecDeque<Job>,
    next_id: u64,
}

impl Scripts {
    /// Adds a run; when the queue is full the oldest one that waits is dropped.
    pub fn schedule(&mut self, now: MonoMs, argv: Vec<String>) {
        self.next_id += 1;
        let state = JobState::Waiting { not_before: now };
        self.queue.push_back(Job { id: ScriptId(self.next_id), argv, state, tries: 0 });
        if self.queue.len() > QUEUE_MAX {
            let waiting =
                self.queue.iter().position(|job| matches!(job.state, JobState::Waiting { .. }));
            if let Some(at) = waiting {
                self.queue.remove(at);
            }
        }
        assert!(self.queue.len() <= QUEUE_MAX, "only {RUNNING_MAX} of them can be running");
    }

    pub fn running(&self) -> usize {
        self.queue.iter().filter(|job| matches!(job.state, JobState::Running { .. })).count()
    }

    fn position(&self, id: ScriptId) -> Option<usize> {
        self.queue.iter().position(|job| job.id == id)
    }
}

/// Starts what may start, kills what runs too long; returns when to look again.
pub(crate) fn run(c: &mut Core) -> Option<MonoMs> {
    let now = c.now();
    let mut wake: Option<MonoMs> = None;
    let mut free = RUNNING_MAX - c.scripts.running().min(RUNNING_MAX);
    let mut events = Vec::new();
    for job in &mut c.scripts.queue {
        let at = match &mut job.state {
            JobState::Waiting { not_before } if *not_before > now => *not_before,
            JobState::Waiting { .. } => {
                if free == 0 {
                    continue;
                }
                free -= 1;
                job.tries += 1;
                job.state = JobState::Running { since: now, pid: 0, killed: false };
                c.io.out.push_back(Output::RunScript { id: job.id, argv: job.argv.clone() });
                now + c.periods.script_max_runtime
            }
            JobState::Running { killed: true, .. } => continue,
            JobState::Running { since, pid, killed } => {
                let limit = *since + c.periods.script_max_runtime;
                if now >= limit {
                    *killed = true;
                    events.push(format!("{} {pid}", job.argv[0]));
                    c.io.out.push_back(Output::KillScript { id: job.id });
                    continue;
                }
                limit
            }
        };
        wake = Some(wake.map_or(at, |w| w.min(at)));
    }
    for payload in events {
        c.event(LogLevel::Warning, "-script-timeout", &payload, None);
    }
    wake
}

/// The driver has started a script.
pub(crate) fn started(c: &mut Core, id: ScriptId, new_pid: i64) {
    let Some(at) = c.scripts.position(id) else { return };
    if let JobState::Running { pid, .. } = &mut c.scripts.queue[at].state {
        *pid = new_pid;
        c.event(LogLevel::Debug, "+script-child", &new_pid.to_string(), None);
    }
}

/// The driver could not start a script: reported as Redis reports a failing fork, tried again.
pub(crate) fn not_started(c: &mut Core, id: ScriptId) {
    let Some(at) = c.scripts.position(id) else { return };
    let payload = format!("{} 0 99", c.scripts.queue[at].argv[0]);
    c.event(LogLevel::Warning, "-script-error", &payload, None);
    retry_or_drop(c, at);
}

/// A script has ended.
pub(crate) fn exited(c: &mut Core, id: ScriptId, exit: ScriptExit) {
    let Some(at) = c.scripts.position(id) else { return };
    let JobState::Running { pid, .. } = c.scripts.queue[at].state else { return };
    let (code, signal) = match exit {
        ScriptExit::Code(code) => (code, 0),
        ScriptExit::Signal(signal) => (0, signal),
    };
    c.event(LogLevel::Debug, "-script-child", &format!("{pid} {code} {signal}"), None);
    if signal != 0 || code == 1 {
        if c.scripts.queue[at].tries < TRIES_MAX {
            return retry_or_drop(c, at);
        }
    } else if code == 0 {
        c.scripts.queue.remove(at);
        return;
    }
    let payload = format!("{} {signal} {code}", c.scripts.queue[at].argv[0]);
    c.scripts.queue.remove(at);
    c.event(LogLevel::Warning, "-script-error", &payload, None);
}

fn retry_or_drop(c: &mut Core, at: usize) {
    let now = c.now();
    let base = c.periods.script_retry_delay;
    let job = &mut c.scripts.queue[at];
    if job.tries >= TRIES_MAX {
        c.scripts.queue.remove(at);
        return;
    }
    let delay = base.saturating_mul(1 << job.tries.saturating_sub(1).min(20));
    job.state = JobState::Waiting { not_before: now + delay };
}
