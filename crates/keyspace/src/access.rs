//! The access field of a key: 24 bits that say how lately, or how often, it was used.
//!
//! Under an LRU policy they are the second of the last access, modulo 2^24. Under an LFU policy they
//! are the minute of the last decay (16 bits) over a counter (8 bits) that grows logarithmically.
//! Source: redis 7.0 `evict.c` (LFU), `object.c:createObject` (start values).

use stdx::UnixMs;
use structures::Entry;

/// What the access field of a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// Seconds of the last access, modulo 2^24.
    Lru,
    /// A logarithmic counter of accesses and the minute of its last decay.
    Lfu {
        /// `lfu-log-factor`: the larger, the slower the counter grows.
        log_factor: u32,
        /// `lfu-decay-time`: minutes in which the counter falls by one; 0 = never.
        decay_minutes: u32,
    },
}

const LRU_CLOCK_MAX: u32 = 0x00ff_ffff;
/// The counter of a new key, so that it is not the first to go.
const LFU_START: u32 = 5;

/// The clock of the access field under LRU: seconds, modulo 2^24.
pub fn lru_clock(now: UnixMs) -> u32 {
    (now.secs() & 0x00ff_ffff) as u32
}

fn lfu_minutes(now: UnixMs) -> u32 {
    ((now.secs() / 60) & 0xffff) as u32
}

impl MemoryPolicy {
    /// True for LFU.
    pub fn is_lfu(self) -> bool {
        self != MemoryPolicy::Lru
    }

    /// Notes an access. `noise` is a state of pseudo-random numbers that the call moves on.
    #[inline]
    pub(crate) fn touch(self, entry: &mut Entry, now: UnixMs, noise: &mut u64) {
        match self {
            MemoryPolicy::Lru => entry.set_access(lru_clock(now)),
            MemoryPolicy::Lfu { log_factor, decay_minutes } => {
                let count = decayed(entry.access(), now, decay_minutes);
                let count = count + u32::from(grows(count, log_factor, noise));
                entry.set_access(lfu_minutes(now) << 8 | count);
            }
        }
    }

    /// The access field of a new entry.
    #[inline]
    pub(crate) fn first(self, now: UnixMs) -> u32 {
        match self {
            MemoryPolicy::Lru => lru_clock(now),
            MemoryPolicy::Lfu { .. } => lfu_minutes(now) << 8 | LFU_START,
        }
    }

    /// The access field of a key that was last used so many seconds ago, or has this counter;
    /// nothing if the policy has no use for what is known.
    /// Source: redis 7.0 `object.c:objectSetLRUOrLFU`.
    pub fn given(self, now: UnixMs, idle_secs: Option<u64>, frequency: Option<u8>) -> Option<u32> {
        match self {
            MemoryPolicy::Lru => idle_secs.map(|idle| {
                let clock = lru_clock(now);
                match u32::try_from(idle) {
                    Ok(idle) if idle <= clock => clock - idle,
                    // Idle for longer than the clock goes round: half a round is the best that
                    // can be said.
                    _ => (clock + LRU_CLOCK_MAX / 2) % LRU_CLOCK_MAX,
                }
            }),
            MemoryPolicy::Lfu { .. } => {
                frequency.map(|count| lfu_minutes(now) << 8 | u32::from(count))
            }
        }
    }

    /// Seconds since the last access (LRU), or the counter as it is after its decay (LFU).
    pub fn reading(self, access: u32, now: UnixMs) -> u32 {
        match self {
            MemoryPolicy::Lru => lru_clock(now).wrapping_sub(access) & 0x00ff_ffff,
            MemoryPolicy::Lfu { decay_minutes, .. } => decayed(access, now, decay_minutes),
        }
    }
}

/// The counter, less one for each decay time that has passed.
fn decayed(access: u32, now: UnixMs, decay_minutes: u32) -> u32 {
    let passed = lfu_minutes(now).wrapping_sub(access >> 8) & 0xffff;
    (access & 0xff).saturating_sub(passed.checked_div(decay_minutes).unwrap_or(0))
}

/// Whether the counter grows with this access: with the chance 1 / (above * factor + 1), `above`
/// being what it has gained over its start.
fn grows(count: u32, log_factor: u32, noise: &mut u64) -> bool {
    let above = u64::from(count.saturating_sub(LFU_START));
    *noise = noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*noise ^ (*noise >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let draw = (mixed ^ (mixed >> 32)) >> 11;
    count < 255 && (draw as u128 * (above * u64::from(log_factor) + 1) as u128) >> 53 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use structures::Value;

    const DAY: UnixMs = UnixMs(86_400_000);
    const LFU: MemoryPolicy = MemoryPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

    fn entry(policy: MemoryPolicy, now: UnixMs) -> Entry {
        let mut entry = Entry::new(b"k", Value::Str(b"v".to_vec()), None);
        entry.set_access(policy.first(now));
        entry
    }

    #[test]
    fn lru_reads_seconds_since_the_last_access() {
        let mut entry = entry(MemoryPolicy::Lru, DAY);
        let later = UnixMs(DAY.0 + 42_000);
        assert_eq!(MemoryPolicy::Lru.reading(entry.access(), later), 42);
        MemoryPolicy::Lru.touch(&mut entry, later, &mut 1);
        assert_eq!(MemoryPolicy::Lru.reading(entry.access(), later), 0);
    }

    #[test]
    fn lfu_counts_logarithmically() {
        // Redis's documentation tells what the counter is after so many hits with factor 10.
        for (hits, low, high) in [(100, 8, 13), (1000, 15, 22), (100_000, 130, 155)] {
            let (mut entry, mut noise) = (entry(LFU, DAY), 7);
            (0..hits).for_each(|_| LFU.touch(&mut entry, DAY, &mut noise));
            let count = LFU.reading(entry.access(), DAY);
            assert!((low..=high).contains(&count), "{count} after {hits}");
        }
    }

    #[test]
    fn lfu_decays_with_time_and_stops_at_its_ends() {
        let mut entry = entry(LFU, DAY);
        entry.set_access(lfu_minutes(DAY) << 8 | 255);
        LFU.touch(&mut entry, DAY, &mut 1);
        assert_eq!(LFU.reading(entry.access(), DAY), 255);
        assert_eq!(LFU.reading(entry.access(), UnixMs(DAY.0 + 10 * 60_000)), 245);
        assert_eq!(LFU.reading(entry.access(), UnixMs(DAY.0 + 1000 * 60_000)), 0);
        let never = MemoryPolicy::Lfu { log_factor: 10, decay_minutes: 0 };
        assert_eq!(never.reading(entry.access(), UnixMs(DAY.0 + 1000 * 60_000)), 255);
    }

    #[test]
    fn a_given_state_reads_back() {
        let lru = MemoryPolicy::Lru.given(DAY, Some(9), None).unwrap();
        assert_eq!(MemoryPolicy::Lru.reading(lru, DAY), 9);
        assert_eq!(LFU.reading(LFU.given(DAY, None, Some(77)).unwrap(), DAY), 77);
        assert_eq!(LFU.given(DAY, Some(9), None), None);
    }
}
