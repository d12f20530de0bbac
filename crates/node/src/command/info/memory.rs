//! Where the memory goes: INFO memory, and the figures behind MEMORY STATS and MEMORY DOCTOR.

use super::{KeyspaceWalk, Writer};
use crate::{ClientKind, NodeCtx, ProcessFacts};
use std::sync::atomic::Ordering::Relaxed;

/// The figures at one moment, in bytes.
pub(crate) struct MemoryReport {
    pub(crate) facts: ProcessFacts,
    /// Blocks of the log up to `repl-backlog-size`.
    pub(crate) backlog: u64,
    /// Blocks of the log that only slow replicas keep.
    pub(crate) clients_slaves: u64,
    /// Connections of clients, their buffers included.
    pub(crate) clients_normal: u64,
    /// Everything that is not data.
    pub(crate) overhead: u64,
    /// The rest.
    pub(crate) dataset: u64,
    /// Keys of all databases.
    pub(crate) keys: u64,
}

/// `a / b`, or 0.
pub(crate) fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// `a - b`, which may be negative.
pub(crate) fn difference(a: u64, b: u64) -> i64 {
    a as i64 - b as i64
}

impl MemoryReport {
    /// Source: redis 7.0 `object.c:getMemoryOverheadData`.
    pub(crate) fn new(cx: &NodeCtx<'_, '_>, walk: &KeyspaceWalk) -> MemoryReport {
        let facts = cx.node.host.facts();
        let log = cx.node.log.stats();
        let backlog = log.memory_bytes.min(log.size);
        let mut replicas = 0;
        let mut clients_normal = 0;
        for client in cx.node.clients.all() {
            let bytes = client.memory();
            match client.kind() {
                ClientKind::Replica => replicas += bytes,
                _ => clients_normal += bytes,
            }
        }
        let clients_slaves = replicas + (log.memory_bytes - backlog);
        let tables: u64 = walk.dbs.iter().map(|db| db.table_bytes + db.index_bytes).sum();
        let overhead =
            facts.used_memory_startup + backlog + clients_slaves + clients_normal + tables;
        MemoryReport {
            backlog,
            clients_slaves,
            clients_normal,
            overhead,
            dataset: facts.used_memory.saturating_sub(overhead),
            keys: walk.dbs.iter().map(|db| db.keys).sum(),
            facts,
        }
    }

    /// Bytes that came since the start.
    pub(crate) fn net_usage(&self) -> u64 {
        self.facts.used_memory.saturating_sub(self.facts.used_memory_startup).max(1)
    }

    /// Data in percent of what came since the start.
    pub(crate) fn dataset_percent(&self) -> f64 {
        (self.dataset as f64 * 100.0 / self.net_usage() as f64).min(100.0)
    }

    /// Use at present in percent of the most that ever was.
    pub(crate) fn peak_percent(&self) -> f64 {
        ratio(self.facts.used_memory, self.facts.used_memory_peak) * 100.0
    }
}

/// Bytes with a unit and two decimals, as `used_memory_human` shows them.
/// Source: redis 7.0 `util.c:bytesToHuman`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    for unit in ["K", "M", "G", "T"] {
        if value < 1024.0 {
            return format!("{value:.2}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2}P")
}

pub(super) fn section(w: &mut Writer<'_, '_, '_>) {
    let report = MemoryReport::new(w.cx, &w.walk);
    let facts = &report.facts;
    let settings = std::sync::Arc::clone(&w.cx.worker.settings);
    let config = &settings.config;
    with_human(w, "used_memory", facts.used_memory);
    with_human(w, "used_memory_rss", facts.rss);
    with_human(w, "used_memory_peak", facts.used_memory_peak);
    w.field("used_memory_peak_perc", format_args!("{:.2}%", report.peak_percent()));
    w.field("used_memory_overhead", report.overhead);
    w.field("used_memory_startup", facts.used_memory_startup);
    w.field("used_memory_dataset", report.dataset);
    w.field("used_memory_dataset_perc", format_args!("{:.2}%", report.dataset_percent()));
    let (allocated, active, resident) = facts.allocator;
    w.fields(&[
        ("allocator_allocated", allocated),
        ("allocator_active", active),
        ("allocator_resident", resident),
    ]);
    with_human(w, "total_system_memory", facts.total_system_memory);
    let scripts = w.cx.node.scripts.memory();
    w.fields(&[("used_memory_lua", scripts.vm_eval), ("used_memory_vm_eval", scripts.vm_eval)]);
    w.field("used_memory_lua_human", human_bytes(scripts.vm_eval));
    w.fields(&[
        ("used_memory_scripts_eval", scripts.cached_bytes),
        ("number_of_cached_scripts", scripts.cached),
        ("number_of_functions", scripts.functions),
        ("number_of_libraries", scripts.libraries),
        ("used_memory_vm_functions", scripts.vm_functions),
        ("used_memory_vm_total", scripts.vm_eval + scripts.vm_functions),
    ]);
    w.field("used_memory_vm_total_human", human_bytes(scripts.vm_eval + scripts.vm_functions));
    w.field("used_memory_functions", scripts.library_bytes);
    with_human(w, "used_memory_scripts", scripts.cached_bytes + scripts.library_bytes);
    with_human(w, "maxmemory", config.maxmemory);
    w.field("maxmemory_policy", config.maxmemory_policy.as_str());
    w.field("allocator_frag_ratio", format_args!("{:.2}", ratio(active, allocated)));
    w.field("allocator_frag_bytes", difference(active, allocated));
    w.field("allocator_rss_ratio", format_args!("{:.2}", ratio(resident, active)));
    w.field("allocator_rss_bytes", difference(resident, active));
    w.field("rss_overhead_ratio", format_args!("{:.2}", ratio(facts.rss, resident)));
    w.field("rss_overhead_bytes", difference(facts.rss, resident));
    w.field("mem_fragmentation_ratio", format_args!("{:.2}", ratio(facts.rss, facts.used_memory)));
    w.field("mem_fragmentation_bytes", difference(facts.rss, facts.used_memory));
    let log_bytes = w.cx.node.log.stats().memory_bytes;
    let snapshot = w.cx.node.keyspace.snapshot_held();
    let pending = w.cx.node.stats.lazyfree_pending.load(Relaxed).max(0) as u64;
    w.fields(&[
        ("mem_not_counted_for_evict", log_bytes - report.backlog.min(log_bytes) + snapshot),
        ("mem_replication_backlog", report.backlog),
        ("mem_total_replication_buffers", log_bytes),
        ("mem_clients_slaves", report.clients_slaves),
        ("mem_clients_normal", report.clients_normal),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", w.cx.node.log.file_pending_bytes() as u64),
    ]);
    w.field("mem_allocator", facts.allocator_name);
    w.field("active_defrag_running", 0);
    w.field("lazyfree_pending_objects", pending);
    w.field("lazyfreed_objects", w.cx.node.stats.lazyfreed.load(Relaxed));
}

fn with_human(w: &mut Writer<'_, '_, '_>, name: &str, bytes: u64) {
    w.field(name, bytes);
    w.field(&format!("{name}_human"), human_bytes(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536, "1.50K"),
            (1 << 20, "1.00M"),
            (25_276_063_744, "23.54G"),
            (3 << 40, "3.00T"),
            (5 << 50, "5.00P"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
