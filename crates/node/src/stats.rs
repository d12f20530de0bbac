//! Counters. Each worker writes its own, with plain relaxed stores; INFO adds them up.

use crate::lock;
use crossbeam_utils::CachePadded;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Counters of one command at one worker.
#[derive(Debug, Default)]
pub struct CommandStat {
    /// Runs.
    pub calls: AtomicU64,
    /// Microseconds of all runs.
    pub usec: AtomicU64,
    /// Refused before they ran.
    pub rejected: AtomicU64,
    /// Ended with an error.
    pub failed: AtomicU64,
    /// Runs by their time: bucket b counts times from 2^(b/4) us, four buckets an octave.
    pub histogram: Histogram,
}

/// Times in quarter-octave buckets, up to about 18 minutes.
#[derive(Debug)]
pub struct Histogram(Box<[AtomicU64; HISTOGRAM_BUCKETS]>);

/// Buckets of a [`Histogram`].
pub const HISTOGRAM_BUCKETS: usize = 120;

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Box::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&self, usec: u64) {
        bump(&self.0[bucket_of(usec)], 1);
    }

    /// Count of one bucket.
    pub fn get(&self, bucket: usize) -> u64 {
        self.0[bucket].load(Relaxed)
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Relaxed));
    }
}

fn bucket_of(usec: u64) -> usize {
    if usec < 4 {
        return usec as usize;
    }
    let octave = 63 - usec.leading_zeros() as usize;
    let quarter = (usec >> (octave - 2) & 3) as usize;
    ((octave - 1) * 4 + quarter).min(HISTOGRAM_BUCKETS - 1)
}

/// The largest time, in microseconds, that `bucket` counts.
pub fn bucket_top(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let octave = bucket / 4 + 1;
    let quarter = (bucket % 4) as u64;
    ((4 + quarter + 1) << (octave - 2)) - 1
}

/// Adds to a counter that only this thread writes.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// One worker's counters.
#[derive(Debug)]
pub struct WorkerStats {
    /// By command index.
    pub commands: Box<[CommandStat]>,
    /// Commands run.
    pub total_commands: AtomicU64,
    /// Bytes read from clients.
    pub net_input: AtomicU64,
    /// Bytes written to clients.
    pub net_output: AtomicU64,
    /// Bytes read from the master.
    pub repl_input: AtomicU64,
    /// Bytes written to replicas.
    pub repl_output: AtomicU64,
    /// Read events.
    pub reads: AtomicU64,
    /// Write events.
    pub writes: AtomicU64,
    /// Changes of the data set.
    pub dirty: AtomicU64,
    /// The connection whose requests it runs, or has run last.
    pub serving: AtomicU64,
    /// Rounds of the event loop.
    pub cycles: AtomicU64,
    /// Microseconds in them.
    pub cycle_usec: AtomicU64,
}

impl WorkerStats {
    fn new(commands: usize) -> WorkerStats {
        let zero = || AtomicU64::new(0);
        WorkerStats {
            commands: (0..commands).map(|_| CommandStat::default()).collect(),
            total_commands: zero(),
            net_input: zero(),
            net_output: zero(),
            repl_input: zero(),
            repl_output: zero(),
            reads: zero(),
            writes: zero(),
            dirty: zero(),
            serving: zero(),
            cycles: zero(),
            cycle_usec: zero(),
        }
    }
}

/// The whole node's counters.
pub struct Stats {
    /// By worker, jobs that run commands included.
    pub workers: Vec<Arc<WorkerStats>>,
    /// Connections accepted.
    pub connections: CachePadded<AtomicU64>,
    /// Connections refused for `maxclients`.
    pub rejected_connections: AtomicU64,
    /// Full syncs given.
    pub sync_full: AtomicU64,
    /// Partial syncs given.
    pub sync_partial_ok: AtomicU64,
    /// Partial syncs refused.
    pub sync_partial_err: AtomicU64,
    /// Values freed in the background.
    pub lazyfreed: AtomicU64,
    /// Values waiting to be freed.
    pub lazyfree_pending: AtomicI64,
    /// Error replies in all.
    pub total_errors: AtomicU64,
    /// Errors in what the master sent.
    pub unexpected_errors: AtomicU64,
    /// Wrong names and passwords.
    pub auth_denied: AtomicU64,
    /// Commands that users had no right to.
    pub command_denied: AtomicU64,
    /// Keys that users had no right to.
    pub key_denied: AtomicU64,
    /// Channels that users had no right to.
    pub channel_denied: AtomicU64,
    /// Error replies by their first word.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// Operations per second and bytes, sampled ten times a second.
    pub rates: Mutex<Rates>,
}

/// Codes kept apart in INFO errorstats.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Zeroes, for so many workers and commands.
    pub fn new(workers: usize, commands: usize) -> Stats {
        Stats {
            workers: (0..workers).map(|_| Arc::new(WorkerStats::new(commands))).collect(),
            connections: CachePadded::new(AtomicU64::new(0)),
            rejected_connections: AtomicU64::new(0),
            sync_full: AtomicU64::new(0),
            sync_partial_ok: AtomicU64::new(0),
            sync_partial_err: AtomicU64::new(0),
            lazyfreed: AtomicU64::new(0),
            lazyfree_pending: AtomicI64::new(0),
            total_errors: AtomicU64::new(0),
            unexpected_errors: AtomicU64::new(0),
            auth_denied: AtomicU64::new(0),
            command_denied: AtomicU64::new(0),
            key_denied: AtomicU64::new(0),
            channel_denied: AtomicU64::new(0),
            errors: Mutex::new(BTreeMap::new()),
            rates: Mutex::new(Rates::default()),
        }
    }

    /// Sum of one counter over all workers.
    pub fn sum(&self, counter: impl Fn(&WorkerStats) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Counts an error reply by its first word.
    pub fn count_error(&self, text: &str) {
        self.total_errors.fetch_add(1, Relaxed);
        let code = text.split(' ').next().unwrap_or("ERR");
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_string(), 1);
        }
    }

    /// Takes counts of an error back: they belong to what was undone.
    pub(crate) fn uncount_error(&self, code: &str, count: u64) {
        let less = |total: u64| Some(total.saturating_sub(count));
        let _ = self.total_errors.fetch_update(Relaxed, Relaxed, less);
        let mut errors = lock(&self.errors);
        if let Some(known) = errors.get_mut(code) {
            *known = known.saturating_sub(count);
            if *known == 0 {
                errors.remove(code);
            }
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for worker in &self.workers {
            for stat in &worker.commands {
                for counter in [&stat.calls, &stat.usec, &stat.rejected, &stat.failed] {
                    counter.store(0, Relaxed);
                }
                stat.histogram.reset();
            }
            for counter in [
                &worker.total_commands,
                &worker.net_input,
                &worker.net_output,
                &worker.repl_input,
                &worker.repl_output,
                &worker.reads,
                &worker.writes,
            ] {
                counter.store(0, Relaxed);
            }
        }
        for counter in [
            &*self.connections,
            &self.rejected_connections,
            &self.sync_full,
            &self.sync_partial_ok,
            &self.sync_partial_err,
            &self.lazyfreed,
            &self.total_errors,
            &self.unexpected_errors,
            &self.auth_denied,
            &self.command_denied,
            &self.key_denied,
            &self.channel_denied,
        ] {
            counter.store(0, Relaxed);
        }
        lock(&self.errors).clear();
        *lock(&self.rates) = Rates::default();
    }
}

/// Rates as means of the last sixteen samples of about 100 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    last: Option<(u64, [u64; RATES])>,
    samples: [[u64; 16]; RATES],
    next: usize,
}

/// Commands, input, output, replication input, replication output, rounds of the event loops, and
/// microseconds in them.
pub const RATES: usize = 7;

impl Rates {
    /// Adds a sample of counters at a monotonic time in microseconds.
    pub fn sample(&mut self, now_us: u64, counters: [u64; RATES]) {
        if let Some((before, old)) = self.last {
            let elapsed = now_us.saturating_sub(before).max(1);
            for i in 0..RATES {
                let delta = counters[i].saturating_sub(old[i]);
                self.samples[i][self.next] =
                    (u128::from(delta) * 1_000_000 / u128::from(elapsed)) as u64;
            }
            self.next = (self.next + 1) % 16;
        }
        self.last = Some((now_us, counters));
    }

    /// Mean of one rate, per second.
    pub fn mean(&self, which: usize) -> u64 {
        self.samples[which].iter().sum::<u64>() / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for usec in 0..100_000u64 {
            let bucket = bucket_of(usec);
            assert!(bucket == last || bucket == last + 1, "{usec}");
            assert!(usec <= bucket_top(bucket));
            assert!(bucket == 0 || usec > bucket_top(bucket - 1));
            last = bucket;
        }
    }
}
