//! Latencies counted in buckets of 8 microseconds, from 16 milliseconds on with three significant
//! digits: what redis-benchmark's numbers are rounded to.

use std::collections::BTreeMap;

/// Counts of latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: BTreeMap<u64, u64>,
    total: u64,
    sum: u64,
}

/// The highest latency that shares a bucket with `micros`.
pub fn bucket(micros: u64) -> u64 {
    let bits = u64::BITS - micros.leading_zeros();
    let low = bits.saturating_sub(11).max(3);
    micros | ((1 << low) - 1)
}

impl Histogram {
    /// Counts one latency.
    pub fn add(&mut self, micros: u64) {
        *self.counts.entry(bucket(micros)).or_insert(0) += 1;
        self.total += 1;
        self.sum = self.sum.saturating_add(micros);
    }

    /// Adds all that another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (value, count) in &other.counts {
            *self.counts.entry(*value).or_insert(0) += count;
        }
        self.total += other.total;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many have been counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The mean in microseconds; 0 of none.
    pub fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum as f64 / self.total as f64 }
    }

    /// The low end of the smallest's bucket; 0 of none.
    pub fn min(&self) -> u64 {
        self.counts.keys().next().map_or(0, |value| value & !7)
    }

    /// The greatest; 0 of none.
    pub fn max(&self) -> u64 {
        self.counts.keys().next_back().copied().unwrap_or(0)
    }

    /// The latency that `percent` of all do not exceed, and how many do not.
    pub fn at_percentile(&self, percent: f64) -> (u64, u64) {
        let wanted =
            ((percent / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (value, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return (*value, seen);
            }
        }
        (self.max(), self.total)
    }

    /// How many do not exceed `micros`.
    pub fn count_up_to(&self, micros: u64) -> u64 {
        self.counts.range(..=micros).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_latencies() {
        let mut all = Histogram::default();
        for micros in 1..=1000 {
            all.add(micros);
        }
        assert_eq!(all.at_percentile(50.0), (503, 503));
        assert_eq!(all.at_percentile(99.0), (991, 991));
        assert_eq!(all.at_percentile(0.0), (7, 7));
        assert_eq!(all.at_percentile(100.0), (1007, 1000));
        assert_eq!((all.min(), all.max(), all.mean()), (0, 1007, 500.5));
        assert_eq!(all.count_up_to(103), 103);
        let mut twice = all.clone();
        twice.merge(&all);
        assert_eq!((twice.total(), twice.mean()), (2000, 500.5));
    }

    #[test]
    fn buckets_keep_three_digits() {
        for micros in [0, 1, 2047, 2048, 4097, 1_000_003, u64::MAX] {
            let top = bucket(micros);
            assert!(top >= micros && (top - micros) as f64 <= micros as f64 / 1000.0 + 7.0);
        }
        assert_eq!(Histogram::default().at_percentile(50.0), (0, 0));
    }
}
