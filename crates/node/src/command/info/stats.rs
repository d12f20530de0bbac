//! The sections of INFO that show counters: Stats, Commandstats, Errorstats, Latencystats.

use super::Writer;
use crate::lock;
use crate::pubsub::Topic;
use crate::registry::registry;
use crate::stats::{HISTOGRAM_BUCKETS, Stats, bucket_top};
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn section(w: &mut Writer<'_, '_, '_>) {
    let node = w.cx.node;
    let stats = &node.stats;
    let rates = *lock(&stats.rates);
    // A sentinel has no replicas.
    let sync =
        if node.sentinel().is_none() { node.repl.master().stats() } else { Default::default() };
    let listened = |topic| node.pubsub.count(topic) as u64;
    let keyspace = w.walk.stats;
    w.fields(&[
        ("total_connections_received", stats.connections.load(Relaxed)),
        ("total_commands_processed", stats.sum(|worker| &worker.total_commands)),
        ("instantaneous_ops_per_sec", rates.mean(0)),
        ("total_net_input_bytes", stats.sum(|worker| &worker.net_input)),
        ("total_net_output_bytes", stats.sum(|worker| &worker.net_output)),
        ("total_net_repl_input_bytes", stats.sum(|worker| &worker.repl_input)),
        ("total_net_repl_output_bytes", stats.sum(|worker| &worker.repl_output)),
    ]);
    for (which, name) in [
        "instantaneous_input_kbps",
        "instantaneous_output_kbps",
        "instantaneous_input_repl_kbps",
        "instantaneous_output_repl_kbps",
    ]
    .iter()
    .enumerate()
    {
        w.field(name, format_args!("{:.2}", rates.mean(which + 1) as f64 / 1024.0));
    }
    w.fields(&[
        ("rejected_connections", stats.rejected_connections.load(Relaxed)),
        ("sync_full", sync.full),
        ("sync_partial_ok", sync.partial_ok),
        ("sync_partial_err", sync.partial_err),
        ("expired_subkeys", keyspace.expired_fields),
        ("expired_keys", keyspace.expired),
    ]);
    w.field("expired_stale_perc", "0.00");
    w.zeroes(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    w.field("evicted_keys", keyspace.evicted);
    w.field("evicted_clients", w.cx.node.client_memory.evicted.load(Relaxed));
    let (exceeded, present) = w.cx.node.eviction.exceeded_ms(w.cx.worker.now.mono_us);
    w.fields(&[
        ("total_eviction_exceeded_time", exceeded),
        ("current_eviction_exceeded_time", present),
        ("keyspace_hits", keyspace.hits),
        ("keyspace_misses", keyspace.misses),
        ("pubsub_channels", listened(Topic::Channel)),
        ("pubsub_patterns", listened(Topic::Pattern)),
        ("pubsubshard_channels", listened(Topic::Shard)),
    ]);
    // Snapshots need no fork; what follows belongs to things that this server does not have.
    w.zeroes(&[
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ]);
    let tracking = node.tracking.counts();
    let commands_usec = stats.commands_usec();
    let (cycles, cycle_usec) = (rates.mean(5), rates.mean(6));
    w.fields(&[
        ("tracking_total_keys", tracking.keys as u64),
        ("tracking_total_items", tracking.items as u64),
        ("tracking_total_prefixes", tracking.prefixes as u64),
        ("unexpected_error_replies", stats.unexpected_errors.load(Relaxed)),
        ("total_error_replies", stats.total_errors.load(Relaxed)),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", stats.sum(|worker| &worker.reads)),
        ("total_writes_processed", stats.sum(|worker| &worker.writes)),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
        ("eventloop_cycles", stats.sum(|worker| &worker.cycles)),
        ("eventloop_duration_sum", stats.sum(|worker| &worker.cycle_usec)),
        ("eventloop_duration_cmd_sum", commands_usec),
        ("instantaneous_eventloop_cycles_per_sec", cycles),
        ("instantaneous_eventloop_duration_usec", cycle_usec.checked_div(cycles).unwrap_or(0)),
        ("acl_access_denied_auth", stats.auth_denied.load(Relaxed)),
        ("acl_access_denied_cmd", stats.command_denied.load(Relaxed)),
        ("acl_access_denied_key", stats.key_denied.load(Relaxed)),
        ("acl_access_denied_channel", stats.channel_denied.load(Relaxed)),
    ]);
}

/// Counters of one command over all workers.
#[derive(Clone, Copy, Default)]
struct Sums {
    calls: u64,
    usec: u64,
    rejected: u64,
    failed: u64,
}

impl Stats {
    fn command(&self, index: usize) -> Sums {
        self.workers.iter().map(|worker| &worker.commands[index]).fold(
            Sums::default(),
            |sums, stat| Sums {
                calls: sums.calls + stat.calls.load(Relaxed),
                usec: sums.usec + stat.usec.load(Relaxed),
                rejected: sums.rejected + stat.rejected.load(Relaxed),
                failed: sums.failed + stat.failed.load(Relaxed),
            },
        )
    }

    /// Microseconds in commands, all of them together.
    fn commands_usec(&self) -> u64 {
        let one = |worker: &std::sync::Arc<crate::WorkerStats>| {
            worker.commands.iter().map(|stat| stat.usec.load(Relaxed)).fold(0, u64::wrapping_add)
        };
        self.workers.iter().map(one).fold(0, u64::wrapping_add)
    }

    /// How often one command took how long, over all workers: the histogram's buckets.
    pub(crate) fn histogram(&self, index: usize) -> Vec<u64> {
        (0..HISTOGRAM_BUCKETS)
            .map(|bucket| {
                self.workers.iter().map(|worker| worker.commands[index].histogram.get(bucket)).sum()
            })
            .collect()
    }
}

pub(super) fn commandstats(w: &mut Writer<'_, '_, '_>) {
    for command in sorted_commands() {
        let sums = w.cx.node.stats.command(command.index);
        if sums.calls + sums.rejected + sums.failed == 0 {
            continue;
        }
        let per_call = if sums.calls == 0 { 0.0 } else { sums.usec as f64 / sums.calls as f64 };
        w.field(
            &format!("cmdstat_{}", command.spec.name),
            format_args!(
                "calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                sums.calls, sums.usec, sums.rejected, sums.failed
            ),
        );
    }
}

fn sorted_commands() -> Vec<crate::CommandRef> {
    let mut all = registry().by_index.clone();
    all.sort_by_key(|command| command.spec.name);
    all
}

pub(super) fn errorstats(w: &mut Writer<'_, '_, '_>) {
    let errors = lock(&w.cx.node.stats.errors).clone();
    for (code, count) in &errors {
        w.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub(super) fn latencystats(w: &mut Writer<'_, '_, '_>) {
    let settings = std::sync::Arc::clone(&w.cx.worker.settings);
    for command in sorted_commands() {
        let histogram = w.cx.node.stats.histogram(command.index);
        let total: u64 = histogram.iter().sum();
        if total == 0 {
            continue;
        }
        let values: Vec<String> = settings
            .config
            .latency_tracking_info_percentiles
            .iter()
            .map(|&p| {
                format!("p{}={:.3}", percentile_name(p), percentile(&histogram, total, p) as f64)
            })
            .collect();
        w.field(&format!("latency_percentiles_usec_{}", command.spec.name), values.join(","));
    }
}

/// `99.9`, without zeros at the end.
fn percentile_name(p: f64) -> String {
    format!("{p}")
}

/// The time in microseconds that `p` percent of the calls kept within, as exact as the buckets are.
fn percentile(histogram: &[u64], total: u64, p: f64) -> u64 {
    let wanted = ((total as f64 * p / 100.0).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    for (bucket, &count) in histogram.iter().enumerate() {
        seen += count;
        if seen >= wanted {
            return bucket_top(bucket);
        }
    }
    bucket_top(HISTOGRAM_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_tops_of_their_buckets() {
        let mut histogram = vec![0; HISTOGRAM_BUCKETS];
        histogram[3] = 98;
        histogram[40] = 1;
        histogram[60] = 1;
        assert_eq!(percentile(&histogram, 100, 0.0), 3);
        assert_eq!(percentile(&histogram, 100, 50.0), 3);
        assert_eq!(percentile(&histogram, 100, 98.0), 3);
        assert_eq!(percentile(&histogram, 100, 99.0), bucket_top(40));
        assert_eq!(percentile(&histogram, 100, 99.9), bucket_top(60));
        assert_eq!(percentile(&histogram, 100, 100.0), bucket_top(60));
        assert_eq!((percentile_name(50.0), percentile_name(99.9)), ("50".into(), "99.9".into()));
    }
}
