//! Two kinds of time that must not be mixed, both in milliseconds.

use std::ops::{Add, Sub};

/// Milliseconds on a monotonic clock whose start means nothing. For time-outs and ages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMs(pub u64);

/// Milliseconds since the Unix epoch. For expiry times that are kept in files and on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl MonoMs {
    /// Milliseconds from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: MonoMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for MonoMs {
    type Output = MonoMs;
    fn add(self, ms: u64) -> MonoMs {
        MonoMs(self.0.saturating_add(ms))
    }
}

impl Sub<u64> for MonoMs {
    type Output = MonoMs;
    fn sub(self, ms: u64) -> MonoMs {
        MonoMs(self.0.saturating_sub(ms))
    }
}

impl UnixMs {
    /// Whole seconds since the epoch, rounded down.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl Add<i64> for UnixMs {
    type Output = UnixMs;
    fn add(self, ms: i64) -> UnixMs {
        UnixMs(self.0.saturating_add(ms))
    }
}
