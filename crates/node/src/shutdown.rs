//! SHUTDOWN: replicas get what they lack, then the process ends; or it does not, and says why.
//!
//! The program's thread walks through it ([`Host::shutdown`](crate::Host::shutdown)); here is what it
//! asks of the node, and what SHUTDOWN ABORT changes under its feet. No worker waits meanwhile: who
//! said SHUTDOWN is a blocked connection like any other.
//!
//! Source: redis 7.0 `server.c:prepareForShutdown`, `finishShutdown`, `abortShutdown`.

use crate::block::{EndWait, WaitFor};
use crate::{Node, Now, PauseFor, ShutdownHow, lock};
use replication::{Laggards, MasterInput};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stdx::MonoMs;

#[derive(Debug)]
struct Progress {
    /// Tells one shutdown from the next.
    number: u64,
    how: ShutdownHow,
    /// Until then it waits for replicas, if it does.
    until: Option<MonoMs>,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    present: Option<Progress>,
}

/// The shutdown that is in progress, if one is.
#[derive(Debug, Default)]
pub struct Shutdown {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shutdown {
    /// Begins one; `None` if one is in progress.
    pub fn begin(&self, how: ShutdownHow) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.present.is_some() {
            return None;
        }
        state.begun += 1;
        let number = state.begun;
        state.present = Some(Progress { number, how, until: None });
        Some(number)
    }

    /// True while one is in progress.
    pub fn is_running(&self) -> bool {
        lock(&self.state).present.is_some()
    }

    /// Whether this one is still wanted.
    pub fn is_wanted(&self, number: u64) -> bool {
        lock(&self.state).present.as_ref().is_some_and(|p| p.number == number)
    }

    /// How it is to be done.
    pub fn how(&self) -> Option<ShutdownHow> {
        lock(&self.state).present.as_ref().map(|p| p.how)
    }

    /// Milliseconds that it still waits (`shutdown_in_milliseconds` of INFO).
    pub fn ms_left(&self, now: MonoMs) -> Option<u64> {
        let state = lock(&self.state);
        let progress = state.present.as_ref()?;
        progress.until.map(|until| until.since(now))
    }

    /// Sleeps for so long, or until something changed.
    pub fn wait(&self, time: Duration) {
        let state = lock(&self.state);
        drop(self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes the last step: while what this returns is alive, nobody can abort. `None` if somebody
    /// has.
    pub fn last_step(&self, number: u64) -> Option<impl Drop + use<'_>> {
        let state = lock(&self.state);
        let wanted = state.present.as_ref().is_some_and(|p| p.number == number);
        wanted.then_some(NoReturn { _state: state })
    }

    fn wait_until(&self, until: MonoMs) {
        if let Some(progress) = &mut lock(&self.state).present {
            progress.until = Some(until);
        }
    }

    fn end(&self) -> bool {
        let ended = lock(&self.state).present.take().is_some();
        self.changed.notify_all();
        ended
    }
}

struct NoReturn<'a> {
    _state: MutexGuard<'a, State>,
}

impl Drop for NoReturn<'_> {
    fn drop(&mut self) {}
}

impl Node {
    /// Every replica has acknowledged everything.
    pub fn replicas_have_all(&self, now: MonoMs) -> bool {
        self.laggards(now).lagging == 0
    }

    /// How the replicas stand.
    pub fn laggards(&self, now: MonoMs) -> Laggards {
        self.repl.master().laggards(now)
    }

    /// Holds writes back, so that the log's end stands still, and asks replicas to acknowledge it.
    /// Called without locks. With a script that takes too long nothing stands still: then it is
    /// not waited for.
    pub fn hold_writes_for_shutdown(&self, now: Now) {
        let Some(_held) =
            self.keyspace.hold_unless(self.keyspace.all(), &|| self.scripts.is_busy())
        else {
            return;
        };
        self.master_input(now.mono(), MasterInput::RequestAcks, None);
        self.repl.master().hold_pings(true);
        self.pause(PauseFor::Shutdown, now.unix(), i64::MAX, true);
        self.wake_streams(usize::MAX);
    }

    /// Notes until when a shutdown waits.
    pub fn shutdown_waits_until(&self, until: MonoMs) {
        self.shutdown.wait_until(until);
    }

    /// Ends a shutdown that failed: who asked for it is told, writes go on.
    pub fn cancel_shutdown(&self) -> bool {
        if !self.shutdown.end() {
            return false;
        }
        self.repl.master().hold_pings(false);
        for blocked in self.blocking.all() {
            if matches!(blocked.what, WaitFor::Shutdown) {
                self.end_wait(&blocked, EndWait::Shutdown);
            }
        }
        self.unpause(PauseFor::Shutdown);
        true
    }

    /// SHUTDOWN ABORT. False if there is nothing to abort.
    pub fn abort_shutdown(&self) -> bool {
        let aborted = self.cancel_shutdown();
        if aborted {
            self.host.log(2, "Shutdown manually aborted.");
        }
        aborted
    }
}
