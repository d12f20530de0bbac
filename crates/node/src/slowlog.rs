//! Commands that took long, and events that did: SLOWLOG and LATENCY.

use std::collections::{BTreeMap, VecDeque};

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Number, never used again.
    pub id: u64,
    /// Unix seconds of its start.
    pub time: i64,
    /// Microseconds that it took.
    pub usec: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Peer's address.
    pub addr: String,
    /// Connection's name.
    pub name: String,
}

/// The newest slow commands.
#[derive(Debug, Default)]
pub struct SlowLog {
    /// Newest first.
    pub entries: VecDeque<SlowEntry>,
    next_id: u64,
}

const SLOWLOG_ARGS_MAX: usize = 32;
const SLOWLOG_ARG_BYTES_MAX: usize = 128;

impl SlowLog {
    /// Adds a command; the oldest beyond `max` go.
    pub fn add<'a>(
        &mut self,
        max: usize,
        time: i64,
        usec: u64,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        addr: &str,
        name: &str,
    ) {
        let count = args.len();
        let keep = if count > SLOWLOG_ARGS_MAX { SLOWLOG_ARGS_MAX - 1 } else { count };
        let mut short: Vec<Vec<u8>> = args
            .take(keep)
            .map(|arg| {
                let mut text = arg[..arg.len().min(SLOWLOG_ARG_BYTES_MAX)].to_vec();
                if arg.len() > SLOWLOG_ARG_BYTES_MAX {
                    let more = arg.len() - SLOWLOG_ARG_BYTES_MAX;
                    text.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
                }
                text
            })
            .collect();
        if keep < count {
            short.push(format!("... ({} more arguments)", count - keep).into_bytes());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(SlowEntry {
            id,
            time,
            usec,
            args: short,
            addr: addr.to_string(),
            name: name.to_string(),
        });
        self.entries.truncate(max);
    }
}

/// Spikes of one event: (Unix seconds, milliseconds), newest last, at most 160; and the all-time
/// maximum.
pub type EventSpikes = (VecDeque<(i64, u64)>, u64);

/// Spikes by event, for LATENCY.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    /// By event.
    pub events: BTreeMap<&'static str, EventSpikes>,
}

const LATENCY_SAMPLES_MAX: usize = 160;

impl LatencyMonitor {
    /// Notes a spike. Several within one second count as the longest.
    pub fn add(&mut self, event: &'static str, time: i64, ms: u64) {
        let (samples, max) = self.events.entry(event).or_default();
        *max = (*max).max(ms);
        match samples.back_mut() {
            Some((last, longest)) if *last == time => *longest = (*longest).max(ms),
            _ => {
                samples.push_back((time, ms));
                if samples.len() > LATENCY_SAMPLES_MAX {
                    samples.pop_front();
                }
            }
        }
    }
}
