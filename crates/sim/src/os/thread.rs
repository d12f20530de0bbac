//! Threads, as `std::thread` has them.

use super::turns::{self, TaskId};
use std::time::Duration;

/// A thread.
#[derive(Clone, Copy, Debug)]
pub struct Thread(TaskId);

impl Thread {
    /// As std's.
    pub fn unpark(&self) {
        turns::give_token(self.0);
    }
}

/// As std's.
pub fn current() -> Thread {
    Thread(turns::me().unwrap_or(0))
}

/// As std's.
pub fn sleep(time: Duration) {
    turns::spend(time.as_micros() as u64);
}

/// As std's.
pub fn yield_now() {
    turns::spend_below(20);
}

/// As std's.
pub fn park_timeout(time: Duration) {
    let until = turns::with(|state, _| state.now_us + time.as_micros() as u64);
    turns::park_for_token(Some(until));
}

/// As std's.
pub fn available_parallelism() -> std::io::Result<std::num::NonZero<usize>> {
    Ok(std::num::NonZero::<usize>::MIN)
}

/// As std's; nobody joins.
pub fn spawn(run: impl FnOnce() + Send + 'static) {
    turns::spawn("helper".into(), run);
}

/// As std's.
#[derive(Default)]
pub struct Builder {
    name: String,
}

impl Builder {
    /// As std's.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// As std's.
    pub fn name(self, name: String) -> Builder {
        Builder { name }
    }

    /// As std's.
    pub fn spawn(self, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        turns::spawn(self.name, run);
        Ok(())
    }
}
