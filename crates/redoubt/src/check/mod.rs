//! Checking files on disk: `check-rdb` and `check-aof`, with the words and exit codes of
//! redis-check-rdb and redis-check-aof.

pub mod aof;
pub mod rdb;

/// The milliseconds of the wall clock.
fn unix_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}
