//! The clock.

use super::turns;
use std::ops::Add;
pub use std::time::Duration;

/// As std's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// As std's.
    pub fn now() -> Instant {
        Instant(turns::with(|state, _| state.now_us))
    }

    /// As std's. Whoever asks how long its work takes has done some: that takes its time here, since
    /// otherwise it would take none.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(turns::with(|state, _| {
            state.now_us += state.prng.below(WORK_US);
            state.now_us - self.0.min(state.now_us)
        }))
    }
}

impl Instant {
    /// As std's.
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Longest time of the work between two looks at the clock, microseconds.
const WORK_US: u64 = 60;

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time.as_micros() as u64)
    }
}

/// Unix time at the beginning of every world, microseconds.
pub const EPOCH_US: i64 = 1_700_000_000_000_000;

/// As std's.
#[derive(Clone, Copy, Debug)]
pub struct SystemTime(i64);

/// As std's.
pub const UNIX_EPOCH: SystemTime = SystemTime(0);

impl SystemTime {
    /// As std's.
    pub fn now() -> SystemTime {
        SystemTime(EPOCH_US + turns::with(|state, _| state.now_us as i64))
    }

    /// As std's.
    pub fn duration_since(&self, from: SystemTime) -> Result<Duration, ()> {
        Ok(Duration::from_micros((self.0 - from.0).max(0) as u64))
    }
}
