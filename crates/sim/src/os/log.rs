//! The log lines of simulated nodes: they go into the log of the world.

use super::turns;

/// A level of `loglevel`.
pub const DEBUG: u8 = 0;
/// See [`DEBUG`].
pub const VERBOSE: u8 = 1;
/// See [`DEBUG`].
pub const NOTICE: u8 = 2;
/// See [`DEBUG`].
pub const WARNING: u8 = 3;

/// Nothing to be done here.
pub fn set_level(_: u8) {}

/// Nothing to be done here.
pub fn set_role(_: u8) {}

/// A line.
pub fn write(level: u8, text: &str) {
    if level >= VERBOSE && !turns::is_dead() {
        turns::with(|state, proc| state.note(format!("node {proc}: {text}")));
    }
}
