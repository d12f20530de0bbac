//! The calls that `redoubt` keeps in its `io::sys` and `io::memory`.

use super::turns;

/// Microseconds since some moment.
pub fn monotonic_us() -> u64 {
    turns::with(|state, _| state.now_us)
}

/// Nothing to be done here.
pub fn ask_for_short_slices() {}

/// Nothing to be done here.
pub fn large_signal_stack() {}

/// No account is kept.
pub fn time_on_and_off_cores() -> (u64, u64) {
    (0, 0)
}

/// No account is kept.
pub fn cpu_seconds(_: bool) -> (f64, f64) {
    (0.0, 0.0)
}

/// As many as wanted.
pub fn raise_open_files(wanted: u64) -> u64 {
    wanted
}

/// Words of `uname`.
pub fn uname() -> String {
    "Simulated 1 none".into()
}

/// The end of the process by a signal.
pub fn segfault() {
    super::process::exit(139);
}

/// The operating system's words for an error, without the number that Rust adds.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// Memory: always the same, so that nothing depends on the simulator's own.
pub mod memory {
    /// Bytes in use.
    pub fn allocated() -> u64 {
        1 << 20
    }
    /// Bytes in pages in use, and held.
    pub fn active_and_resident() -> (u64, u64) {
        (1 << 20, 1 << 20)
    }
    /// Nothing to be done here.
    pub fn purge() {}
    /// Resident set.
    pub fn resident() -> u64 {
        1 << 20
    }
    /// Physical memory.
    pub fn total() -> u64 {
        1 << 30
    }
}
