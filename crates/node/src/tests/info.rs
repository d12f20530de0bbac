//! INFO.

use crate::testkit::{Kit, START};
use std::sync::atomic::Ordering::Relaxed;

/// Names of the fields of a section, in order, as redis-server 7.0.15 shows them; what later
/// versions or this server added is in brackets.
const FIELDS: &[(&str, &str)] = &[
    (
        "Server",
        "redis_version [redoubt_version] redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits \
         monotonic_clock multiplexing_api atomicvar_api gcc_version process_id process_supervised run_id tcp_port \
         server_time_usec uptime_in_seconds uptime_in_days hz configured_hz lru_clock executable config_file \
         io_threads_active [listener0]",
    ),
    (
        "Clients",
        "connected_clients cluster_connections maxclients client_recent_max_input_buffer \
         client_recent_max_output_buffer blocked_clients tracking_clients [pubsub_clients] [watching_clients] \
         clients_in_timeout_table [total_blocking_keys] [total_blocking_keys_on_nokey]",
    ),
    (
        "Memory",
        "used_memory used_memory_human used_memory_rss used_memory_rss_human used_memory_peak used_memory_peak_human \
         used_memory_peak_perc used_memory_overhead used_memory_startup used_memory_dataset used_memory_dataset_perc \
         allocator_allocated allocator_active allocator_resident total_system_memory total_system_memory_human \
         used_memory_lua used_memory_vm_eval used_memory_lua_human used_memory_scripts_eval number_of_cached_scripts \
         number_of_functions number_of_libraries used_memory_vm_functions used_memory_vm_total \
         used_memory_vm_total_human used_memory_functions used_memory_scripts used_memory_scripts_human maxmemory \
         maxmemory_human maxmemory_policy allocator_frag_ratio allocator_frag_bytes allocator_rss_ratio \
         allocator_rss_bytes rss_overhead_ratio rss_overhead_bytes mem_fragmentation_ratio mem_fragmentation_bytes \
         mem_not_counted_for_evict mem_replication_backlog mem_total_replication_buffers mem_clients_slaves \
         mem_clients_normal mem_cluster_links mem_aof_buffer mem_allocator active_defrag_running \
         lazyfree_pending_objects lazyfreed_objects",
    ),
    (
        "Persistence",
        "loading async_loading current_cow_peak current_cow_size current_cow_size_age current_fork_perc \
         current_save_keys_processed current_save_keys_total rdb_changes_since_last_save rdb_bgsave_in_progress \
         rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves \
         rdb_last_cow_size rdb_last_load_keys_expired rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress \
         aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status \
         aof_rewrites aof_rewrites_consecutive_failures aof_last_write_status aof_last_cow_size \
         module_fork_in_progress module_fork_last_cow_size",
    ),
    (
        "Stats",
        "total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes \
         total_net_output_bytes total_net_repl_input_bytes total_net_repl_output_bytes instantaneous_input_kbps \
         instantaneous_output_kbps instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections \
         sync_full sync_partial_ok sync_partial_err [expired_subkeys] expired_keys expired_stale_perc \
         expired_time_cap_reached_count expire_cycle_cpu_milliseconds evicted_keys evicted_clients total_eviction_exceeded_time \
         current_eviction_exceeded_time keyspace_hits keyspace_misses pubsub_channels pubsub_patterns \
         pubsubshard_channels latest_fork_usec total_forks migrate_cached_sockets slave_expires_tracked_keys \
         active_defrag_hits active_defrag_misses active_defrag_key_hits active_defrag_key_misses \
         total_active_defrag_time current_active_defrag_time tracking_total_keys tracking_total_items \
         tracking_total_prefixes unexpected_error_replies total_error_replies dump_payload_sanitizations \
         total_reads_processed total_writes_processed io_threaded_reads_processed io_threaded_writes_processed \
         reply_buffer_shrinks reply_buffer_expands [eventloop_cycles] [eventloop_duration_sum] \
         [eventloop_duration_cmd_sum] [instantaneous_eventloop_cycles_per_sec] \
         [instantaneous_eventloop_duration_usec] [acl_access_denied_auth] [acl_access_denied_cmd] \
         [acl_access_denied_key] [acl_access_denied_channel]",
    ),
    (
        "Replication",
        "role connected_slaves master_failover_state master_replid master_replid2 master_repl_offset \
         second_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen",
    ),
    (
        "CPU",
        "used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread \
         used_cpu_user_main_thread",
    ),
    ("Modules", ""),
    ("Errorstats", ""),
    ("Cluster", "cluster_enabled"),
    ("Keyspace", ""),
];

fn headings(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# ")).collect()
}

fn fields(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
}

#[test]
fn every_field_in_its_place() {
    let mut kit = Kit::default();
    let text = kit.text("info");
    assert_eq!(headings(&text), FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, expected) in FIELDS {
        let expected: Vec<&str> = expected
            .split_whitespace()
            .map(|word| word.trim_matches(|c| matches!(c, '[' | ']')))
            .collect();
        let text = kit.text(&format!("info {name}"));
        assert_eq!(fields(&text), expected, "{name}");
        assert!(text.starts_with(&format!("# {name}\r\n")) && text.ends_with("\r\n"), "{text:?}");
    }
}

#[test]
fn sections_by_name() {
    let mut kit = Kit::default();
    kit.check(&[
        ("info nosuch", "$0 "),
        ("info cluster nosuch", "$30 # Cluster cluster_enabled:0 "),
    ]);
    assert_eq!(
        kit.text("info keyspace CPU cluster cluster").split("\r\n\r\n").count(),
        3,
        "each once"
    );
    let default: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(headings(&kit.text("info default")), default);
    let mut all = default.clone();
    all.insert(8, "Commandstats");
    all.insert(10, "Latencystats");
    for line in ["info all", "info everything", "info default commandstats latencystats"] {
        assert_eq!(headings(&kit.text(line)), all, "{line}");
    }
    assert!(Kit::resp3().line("info cluster").starts_with("=34 txt:# Cluster "));
}

#[test]
fn counters_of_commands_and_errors() {
    let mut kit = Kit::new(|config| config.latency_tracking_info_percentiles = vec![50.0, 99.9]);
    kit.check(&[
        ("set k v", "+OK"),
        ("get k", "$1 v"),
        ("get nokey", "$-1"),
        ("lpush k x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("set k", "-ERR wrong number of arguments for 'set' command"),
        ("config get nosuch", "*0"),
    ]);
    let text = kit.text("info commandstats");
    for line in [
        "cmdstat_config|get:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
        "cmdstat_get:calls=2,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
        "cmdstat_lpush:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=1",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    assert!(!text.contains("cmdstat_mget"));
    assert_eq!(
        kit.text("info errorstats"),
        "# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=1\r\n"
    );
    let text = kit.text("info stats");
    assert!(text.contains("\r\nkeyspace_hits:1\r\nkeyspace_misses:1\r\n"), "{text}");
    assert!(text.contains("\r\ntotal_error_replies:2\r\n"));
    kit.line("debug sleep 0.001");
    let text = kit.text("info latencystats");
    assert!(
        text.contains("\r\nlatency_percentiles_usec_debug:p50=1023.000,p99.9=1023.000\r\n"),
        "{text}"
    );
    kit.check(&[("config resetstat", "+OK")]);
    let text = kit.text("info stats errorstats");
    assert!(text.contains("\r\nkeyspace_hits:0\r\n") && !text.contains("errorstat_"), "{text}");
}

#[test]
fn a_rejected_command_is_counted() {
    let mut kit = Kit::default();
    kit.check(&[("set k", "-ERR wrong number of arguments for 'set' command")]);
    let text = kit.text("info commandstats");
    assert!(
        text.contains(
            "\r\ncmdstat_set:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"
        ),
        "{text}"
    );
}

#[test]
fn keys_by_database() {
    let mut kit = Kit::default();
    kit.check(&[
        ("set a 1 ex 100", "+OK"),
        ("set b 1", "+OK"),
        ("select 3", "+OK"),
        ("set c 1", "+OK"),
    ]);
    let text = kit.text("info keyspace");
    assert_eq!(
        text,
        "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=100000,subexpiry=0\r\ndb3:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\n"
    );
    kit.check(&[("multi", "+OK"), ("set d 1", "+QUEUED"), ("info keyspace", "+QUEUED")]);
    assert!(
        kit.line("exec").contains("db3:keys=2,"),
        "inside a transaction, with its stripes held"
    );
}

#[test]
fn clients_and_memory() {
    let mut kit = Kit::new(|config| {
        config.maxclients = 77;
        config.maxmemory = 100 << 20;
    });
    let mut other = kit.connect();
    kit.line_of(&mut other, "blpop q1 q2 100");
    let mut third = kit.connect();
    kit.line_of(&mut third, "subscribe x");
    let text = kit.text("info clients");
    for field in [
        "connected_clients:3",
        "maxclients:77",
        "blocked_clients:1",
        "pubsub_clients:1",
        "clients_in_timeout_table:1",
        "total_blocking_keys:2",
    ] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{field}\n{text}");
    }
    let text = kit.text("info memory");
    for field in [
        "used_memory_human:3.00M",
        "used_memory_peak_perc:75.00%",
        "maxmemory_human:100.00M",
        "allocator_frag_ratio:1.33",
        "rss_overhead_bytes:1048576",
        "mem_allocator:test-1.0",
    ] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{field}\n{text}");
    }
    let text = kit.text("info server");
    for field in [
        "redis_version:7.4.0".to_string(),
        format!("redoubt_version:{}", env!("CARGO_PKG_VERSION")),
        "redis_mode:standalone".into(),
        "process_id:4711".into(),
        format!("run_id:{}", "f".repeat(40)),
        format!("server_time_usec:{START}000000"),
        "listener0:name=tcp,bind=*,bind=-::*,port=6379".into(),
    ] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{field}\n{text}");
    }
}

#[test]
fn loading_and_saving() {
    let mut kit = Kit::default();
    let state = &kit.node.persistence;
    state.loading.store(true, Relaxed);
    state.load_started.store(START - 9, Relaxed);
    state.load_total.store(1000, Relaxed);
    state.load_done.store(250, Relaxed);
    state.bgsave_running.store(true, Relaxed);
    state.bgsave_started.store(START - 3, Relaxed);
    state.pass_keys.store(1, Relaxed);
    state.pass_total.store(3, Relaxed);
    let text = kit.text("info persistence");
    let expected = format!(
        "loading_start_time:{}\r\nloading_total_bytes:1000\r\nloading_rdb_used_mem:0\r\nloading_loaded_bytes:250\r\n\
         loading_loaded_perc:25.00\r\nloading_eta_seconds:28\r\n",
        START - 9
    );
    assert!(text.ends_with(&expected), "{text}");
    for field in [
        "loading:1",
        "current_fork_perc:33.33",
        "rdb_bgsave_in_progress:1",
        "rdb_current_bgsave_time_sec:3",
    ] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{field}\n{text}");
    }
}

#[test]
fn rates_are_means_of_samples() {
    let mut kit = Kit::default();
    kit.node.sample_rates();
    for _ in 0..16 {
        (0..10).for_each(|_| drop(kit.line("ping")));
        kit.advance(100);
        kit.node.sample_rates();
    }
    let text = kit.text("info stats");
    assert!(text.contains("\r\ninstantaneous_ops_per_sec:100\r\n"), "{text}");
}
