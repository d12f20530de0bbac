//! `maxmemory`: keys go when more memory is in use than is allowed.
//!
//! As Redis: a few random keys are drawn, the best of them enter a small pool that lives on, and
//! the best of the pool goes, until enough is free. Whoever is about to run a command does the work,
//! before it holds any stripe; the cron does what is left over when no command comes. Memory in use
//! is asked of the allocator every millisecond or every 64 KiB of requests, since that costs some
//! microseconds. The log beyond the backlog does not count, so that slow replicas feed no eviction.
//! Source: redis 7.0 `evict.c`.

use crate::{Node, Worker, lock};
use config::{Config, MaxmemoryPolicy};
use keyspace::{Candidate, EventClass, StripeMask};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use stdx::{Prng, UnixMs};

/// Candidates that the pool keeps.
const POOL: usize = 16;
/// Longest time between two looks at the memory in use while commands run, microseconds.
const LOOK_US: u64 = 1000;
/// Bytes of requests of one worker after which it looks again.
const LOOK_BYTES: u64 = 64 << 10;

/// Eviction's state.
pub struct Eviction {
    /// More is in use than allowed, and nothing could be evicted.
    over: AtomicBool,
    /// Since when more is in use than allowed, monotonic microseconds; 0 = it is not.
    exceeded_since: AtomicU64,
    /// Microseconds for which more was in use, without the present time.
    exceeded: AtomicU64,
    pool: Mutex<Pool>,
}

/// Drawn candidates, the best at the end.
struct Pool {
    best: Vec<(u64, Candidate)>,
    drawn: Vec<Candidate>,
    rng: Prng,
}

/// When a worker looks at the memory in use again.
#[derive(Debug, Default)]
pub(crate) struct NextLook {
    at_us: u64,
    at_input: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// As much is free as was asked for.
    Enough,
    /// There is more to be done than may be done at once.
    Running,
    /// No key may go.
    Nothing,
}

impl Eviction {
    pub(crate) fn new(seed: u64) -> Eviction {
        Eviction {
            over: AtomicBool::new(false),
            exceeded_since: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
            pool: Mutex::new(Pool { best: Vec::new(), drawn: Vec::new(), rng: Prng::new(seed) }),
        }
    }

    /// Milliseconds for which more was in use than allowed: in all, and of the present time alone.
    pub(crate) fn exceeded_ms(&self, now_us: u64) -> (u64, u64) {
        let since = self.exceeded_since.load(Relaxed);
        let present = if since == 0 { 0 } else { now_us.saturating_sub(since) };
        ((self.exceeded.load(Relaxed) + present) / 1000, present / 1000)
    }

    fn note(&self, over: bool, now_us: u64) {
        if over {
            let _ = self.exceeded_since.compare_exchange(0, now_us.max(1), Relaxed, Relaxed);
        } else {
            let since = self.exceeded_since.swap(0, Relaxed);
            if since != 0 {
                self.exceeded.fetch_add(now_us.saturating_sub(since), Relaxed);
            }
        }
    }
}

impl Node {
    /// Before a command, without stripes: makes room if that is due, and notes whether more memory
    /// is in use than allowed although all was evicted that may be.
    #[inline]
    pub(crate) fn look_for_room(&self, worker: &mut Worker) {
        worker.has_room = worker.settings.config.maxmemory == 0 || self.has_room(worker);
    }

    fn has_room(&self, worker: &mut Worker) -> bool {
        if self.is_replica() && worker.settings.config.replica_ignore_maxmemory {
            return true;
        }
        let (now, input) = (worker.now.mono_us, worker.stats.net_input.load(Relaxed));
        if now < worker.next_look.at_us && input < worker.next_look.at_input {
            return !self.eviction.over.load(Acquire);
        }
        let settings = Arc::clone(&worker.settings);
        let (fits, more) = self.make_room(&settings.config, worker.now.unix());
        worker.next_look = match more {
            true => NextLook::default(),
            false => NextLook { at_us: now + LOOK_US, at_input: input + LOOK_BYTES },
        };
        fits
    }

    /// Compares the memory in use with `maxmemory` and evicts what is too much, in bounded time.
    /// Called from time to time, without stripes, and when `maxmemory` has changed.
    pub fn check_memory(&self) {
        let settings = self.settings.load_full();
        let config = &settings.config;
        if config.maxmemory == 0 || (self.is_replica() && config.replica_ignore_maxmemory) {
            self.eviction.over.store(false, Release);
            self.eviction.note(false, self.host.mono_us());
            return;
        }
        self.make_room(config, self.host.now().unix());
    }

    /// Bytes in use above `maxmemory`. What is held for replicas beyond the backlog, and for a running
    /// snapshot, does not count: evicting keys would not give it back, but make it more.
    fn excess(&self, max: u64) -> u64 {
        let stats = self.log.stats();
        let beyond_backlog = stats.memory_bytes.saturating_sub(stats.size);
        let not_data = beyond_backlog.saturating_add(self.keyspace.snapshot_held());
        self.host.used_memory().saturating_sub(not_data).saturating_sub(max)
    }

    /// (True if a command that needs memory may run; true if there is more to be evicted.)
    fn make_room(&self, config: &Config, now: UnixMs) -> (bool, bool) {
        let excess = self.excess(config.maxmemory);
        let begun = self.host.mono_us();
        let outcome = if excess == 0 {
            Outcome::Enough
        } else if config.maxmemory_policy == MaxmemoryPolicy::Noeviction
            || self.persistence.loading.load(Relaxed)
        {
            Outcome::Nothing
        } else if self.paused(now, true) {
            // Nobody may change data now; what is too much goes later.
            Outcome::Enough
        } else {
            self.evict(config, now, excess)
        };
        self.eviction.over.store(outcome == Outcome::Nothing, Release);
        self.eviction.note(outcome != Outcome::Enough, self.host.mono_us());
        if excess > 0 && config.latency_monitor_threshold > 0 {
            let took = self.host.mono_us().saturating_sub(begun);
            self.note_latency(config.latency_monitor_threshold, "eviction-cycle", took, now);
        }
        (outcome != Outcome::Nothing, outcome == Outcome::Running)
    }

    fn evict(&self, config: &Config, now: UnixMs, mut excess: u64) -> Outcome {
        let mut pool = lock(&self.eviction.pool);
        let policy = self.settings.load().policy;
        let until = tenacity_us(config.maxmemory_eviction_tenacity)
            .map(|budget| self.host.mono_us() + budget);
        let (mut freed, mut count) = (0, 0u32);
        let outcome = loop {
            if self.paused(now, true) {
                break Outcome::Enough;
            }
            let Some(victim) = pool.next(&self.keyspace, config, policy, now) else {
                let enough = count > 0 && self.excess(config.maxmemory) == 0;
                break if enough { Outcome::Enough } else { Outcome::Nothing };
            };
            freed += self.evict_one(config, &victim, now);
            count += 1;
            if freed >= excess {
                // With freeing elsewhere the allocator's word would come too early.
                if config.lazyfree_lazy_eviction {
                    break Outcome::Enough;
                }
                (excess, freed) = (self.excess(config.maxmemory), 0);
                if excess == 0 {
                    break Outcome::Enough;
                }
            }
            if count % 16 == 0 && until.is_some_and(|until| self.host.mono_us() >= until) {
                break Outcome::Running;
            }
        };
        drop(pool);
        if count > 0 {
            self.wake_streams(usize::MAX);
        }
        outcome
    }

    /// Removes one key if it is still there; returns the bytes that this frees, about.
    fn evict_one(&self, config: &Config, victim: &Candidate, now: UnixMs) -> u64 {
        let stripe = self.keyspace.stripe_of(&victim.key);
        let mut held = self.keyspace.hold(StripeMask::of(stripe));
        if self.paused(now, true) {
            // Since the look before; under the lock it stays so.
            return 0;
        }
        let volatile = is_volatile(config.maxmemory_policy);
        let Some((entry, freed)) = held.stripe(stripe).evict(victim.db, &victim.key, volatile)
        else {
            return 0;
        };
        let lazy = config.lazyfree_lazy_eviction;
        self.log_removal(victim.db, &victim.key, lazy, EventClass::EVICTED, "evicted");
        drop(held);
        if lazy && freed > 4096 {
            self.host.free(vec![entry], Vec::new());
        }
        freed as u64
    }
}

/// How long one eviction may take, microseconds; none for as long as it needs.
/// Source: redis 7.0 `evict.c:evictionTimeLimitUs`.
fn tenacity_us(tenacity: u32) -> Option<u64> {
    match tenacity {
        0..=10 => Some(50 * u64::from(tenacity)),
        11..=99 => Some((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64),
        _ => None,
    }
}

fn is_volatile(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::*;
    matches!(policy, VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl)
}

impl Pool {
    /// The next key to go.
    fn next(
        &mut self,
        space: &keyspace::Keyspace,
        config: &Config,
        policy: keyspace::MemoryPolicy,
        now: UnixMs,
    ) -> Option<Candidate> {
        use MaxmemoryPolicy::*;
        let volatile = is_volatile(config.maxmemory_policy);
        let random = matches!(config.maxmemory_policy, AllkeysRandom | VolatileRandom);
        let samples = if random { 1 } else { config.maxmemory_samples as usize };
        let first = self.rng.below(space.stripes() as u64) as usize;
        for offset in 0..space.stripes() {
            let stripe = (first + offset) % space.stripes();
            let mut held = space.hold(StripeMask::of(stripe));
            held.stripe(stripe).sample(volatile, samples, &mut self.rng, &mut self.drawn);
            drop(held);
            if random && !self.drawn.is_empty() {
                let at = self.rng.below(self.drawn.len() as u64) as usize;
                let chosen = self.drawn.swap_remove(at);
                self.drawn.clear();
                return Some(chosen);
            }
            for candidate in std::mem::take(&mut self.drawn) {
                let score = match config.maxmemory_policy {
                    VolatileTtl => u64::MAX - candidate.stamp.unwrap_or(i64::MAX).max(0) as u64,
                    AllkeysLfu | VolatileLfu => {
                        255 - u64::from(policy.reading(candidate.access, now).min(255))
                    }
                    _ => u64::from(policy.reading(candidate.access, now)),
                };
                self.offer(score, candidate);
            }
            if let Some((_, candidate)) = self.best.pop() {
                return Some(candidate);
            }
        }
        None
    }

    /// Keeps a candidate if it is among the best.
    fn offer(&mut self, score: u64, candidate: Candidate) {
        let same = |other: &Candidate| other.db == candidate.db && other.key == candidate.key;
        if self.best.iter().any(|(_, other)| same(other)) {
            return;
        }
        let at = self.best.partition_point(|(other, _)| *other < score);
        if self.best.len() < POOL {
            self.best.insert(at, (score, candidate));
        } else if at > 0 {
            self.best.remove(0);
            self.best.insert(at - 1, (score, candidate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: &str) -> Candidate {
        Candidate { db: 0, key: Box::from(key.as_bytes()), access: 0, stamp: None }
    }

    #[test]
    fn the_pool_keeps_the_best_and_gives_the_best_first() {
        let mut pool = Pool { best: Vec::new(), drawn: Vec::new(), rng: Prng::new(1) };
        let mut rng = Prng::new(2);
        let mut scores: Vec<u64> = (0..200).map(|_| rng.below(1000)).collect();
        for (at, &score) in scores.iter().enumerate() {
            pool.offer(score, candidate(&format!("k{at}")));
            pool.offer(score, candidate(&format!("k{at}")));
        }
        scores.sort_unstable_by(|a, b| b.cmp(a));
        let mut kept = Vec::new();
        while let Some((score, _)) = pool.best.pop() {
            kept.push(score);
        }
        assert_eq!(kept, scores[..POOL]);
    }

    #[test]
    fn tenacity_grows_from_nothing_to_no_limit() {
        assert_eq!((tenacity_us(0), tenacity_us(10), tenacity_us(100)), (Some(0), Some(500), None));
        assert!(tenacity_us(99).unwrap() > 100_000_000 / 2);
    }

    #[test]
    fn time_above_the_limit_is_counted() {
        let eviction = Eviction::new(1);
        eviction.note(true, 1_000_000);
        eviction.note(true, 2_000_000);
        assert_eq!(eviction.exceeded_ms(4_000_000), (3000, 3000));
        eviction.note(false, 5_000_000);
        assert_eq!(eviction.exceeded_ms(9_000_000), (4000, 0));
    }
}
