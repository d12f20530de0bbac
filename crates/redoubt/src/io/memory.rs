//! What the allocator and the kernel say of the process's memory.

use super::sys;

/// Bytes allocated and in use.
pub fn allocated() -> u64 {
    // The statistics are cached by the allocator until the epoch moves on.
    let _ = tikv_jemalloc_ctl::epoch::advance();
    known(tikv_jemalloc_ctl::stats::allocated::read())
}

/// Bytes in pages with something in use, and bytes that the allocator holds; as of the last
/// [`allocated`].
pub fn active_and_resident() -> (u64, u64) {
    (
        known(tikv_jemalloc_ctl::stats::active::read()),
        known(tikv_jemalloc_ctl::stats::resident::read()),
    )
}

fn known(value: Result<usize, tikv_jemalloc_ctl::Error>) -> u64 {
    value.unwrap_or(0) as u64
}

/// Unused memory goes back to the system.
pub fn purge() {
    // 4096 is the allocator's name for 'all arenas'.
    let name = c"arena.4096.purge";
    // SAFETY: the name is a valid control without input or output, so all pointers may be null.
    unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        );
    }
}

/// Resident set of the process, bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * sys::page_size()
}

/// Physical memory of the machine, bytes.
pub fn total() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = info.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    kb.unwrap_or(0) * 1024
}
