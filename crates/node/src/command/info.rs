//! INFO: what the node tells about itself, in sections.
//!
//! Names, order and form of the fields are those of Redis 7.2 (`protocol/info-fields.md`): people's
//! dashboards, Sentinel and the test-suite read them. A field stands for something that is really
//! counted here, or for something that this server never does, and then it is zero. The keyspace is
//! walked once, stripe by stripe, and only if a section asks for it.

mod memory;
mod stats;

pub(crate) use memory::{MemoryReport, difference, human_bytes, ratio};

use super::REDIS_VERSION;
use crate::{After, AofState, ClientKind, Node, NodeCtx, NodeFn};
use commands::{AclCategories, Command, CommandSpec, Flags, Group};
use keyspace::StripeData;
use resp::Args;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use stdx::Prng;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&INFO];

/// INFO [section [section ...]]
pub const INFO: Command<NodeFn> = Command::new(
    CommandSpec::new("info", -1, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL).union(Flags::WALKS))
        .acl(AclCategories::DANGEROUS)
        .doc("O(1)", "Tells about the server, in sections.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    |cx, args| {
        let text =
            if cx.node.sentinel().is_some() { sentinel_text(cx, args) } else { text(cx, args) };
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

/// One section: its name, whether it is shown without being asked for, and what writes it.
struct Section {
    name: &'static str,
    default: bool,
    /// Needs the walk through the keyspace.
    walks: bool,
    write: fn(&mut Writer<'_, '_, '_>),
}

const fn section(name: &'static str, write: fn(&mut Writer<'_, '_, '_>)) -> Section {
    Section { name, default: true, walks: false, write }
}

const fn walking(name: &'static str, write: fn(&mut Writer<'_, '_, '_>)) -> Section {
    Section { name, default: true, walks: true, write }
}

const fn on_demand(name: &'static str, write: fn(&mut Writer<'_, '_, '_>)) -> Section {
    Section { name, default: false, walks: false, write }
}

/// In the order in which they are shown.
const SECTIONS: &[Section] = &[
    section("Server", server),
    walking("Clients", clients),
    walking("Memory", memory::section),
    walking("Persistence", persistence),
    walking("Stats", stats::section),
    section("Replication", replication),
    section("CPU", cpu),
    section("Modules", |_| {}),
    on_demand("Commandstats", stats::commandstats),
    section("Errorstats", stats::errorstats),
    on_demand("Latencystats", stats::latencystats),
    section("Cluster", |w| {
        w.field("cluster_enabled", u8::from(w.cx.worker.settings.config.cluster_enabled));
    }),
    walking("Keyspace", keyspace),
];

/// A text in the making.
struct Writer<'w, 'a, 'k> {
    cx: &'w mut NodeCtx<'a, 'k>,
    walk: KeyspaceWalk,
    out: String,
}

impl Writer<'_, '_, '_> {
    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing into a string does not fail.
        let _ = write!(self.out, "{name}:{value}\r\n");
    }

    fn fields(&mut self, fields: &[(&str, u64)]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    fn zeroes(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }
}

/// The sections that the arguments ask for. Source: redis 7.0 `server.c:genInfoSectionDict`.
fn text(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> String {
    let asked = |word: &str| (1..args.len()).any(|at| args.is(at, word));
    let all = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let chosen: Vec<&Section> =
        SECTIONS.iter().filter(|s| all || (default && s.default) || asked(s.name)).collect();
    let mut walk = KeyspaceWalk::default();
    if chosen.iter().any(|section| section.walks) {
        walk = KeyspaceWalk::new(cx);
    }
    let mut writer = Writer { cx, walk, out: String::with_capacity(4096) };
    for (index, section) in chosen.iter().enumerate() {
        if index > 0 {
            writer.out.push_str("\r\n");
        }
        // The replication room writes its heading itself.
        if section.name != "Replication" {
            let _ = write!(writer.out, "# {}\r\n", section.name);
        }
        (section.write)(&mut writer);
    }
    writer.out
}

/// A sentinel shows few sections of the process, and its own.
/// Source: redis 7.0 `sentinel.c:sentinelInfoCommand`.
fn sentinel_text(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> String {
    let node = cx.node;
    let Some(sentinel) = node.sentinel() else { return String::new() };
    let mut writer = Writer { cx, walk: KeyspaceWalk::default(), out: String::new() };
    let mut sections = Vec::new();
    for name in ["Server", "Clients", "Stats", "CPU"] {
        let Some(section) = SECTIONS.iter().find(|section| section.name == name) else { continue };
        writer.out = format!("# {name}\r\n");
        (section.write)(&mut writer);
        sections.push((name.to_ascii_lowercase(), std::mem::take(&mut writer.out)));
    }
    let sections: Vec<(&str, String)> =
        sections.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let names: Vec<&[u8]> = args.iter().skip(1).collect();
    sentinel.info(&writer.cx.session.info, &names, &sections)
}

/// Sums over all stripes, each of them right for its own moment.
#[derive(Default)]
pub(crate) struct KeyspaceWalk {
    /// By database.
    pub(crate) dbs: Vec<DbSums>,
    stats: keyspace::KeyspaceStats,
    /// Different keys that somebody waits for.
    waited_keys: usize,
}

/// Sums of one database.
#[derive(Clone, Default)]
pub(crate) struct DbSums {
    /// Keys.
    pub(crate) keys: u64,
    /// Keys with an expiry time.
    pub(crate) volatile: u64,
    /// Bytes of the tables, without the entries.
    pub(crate) table_bytes: u64,
    /// Bytes of the expiry indexes.
    pub(crate) index_bytes: u64,
    ttl_sum: u64,
    ttl_samples: u64,
    /// Hashes that have fields with a time.
    timed_hashes: u64,
}

/// Keys looked at per stripe and database for the mean time to live.
const TTL_SAMPLES: usize = 16;

impl KeyspaceWalk {
    pub(crate) fn new(cx: &mut NodeCtx<'_, '_>) -> KeyspaceWalk {
        let databases = cx.keys.space().databases();
        let now = cx.worker.now.unix().0;
        let mut walk =
            KeyspaceWalk { dbs: vec![DbSums::default(); databases], ..KeyspaceWalk::default() };
        let rng = &mut cx.worker.rng;
        cx.keys.each_stripe(|stripe| walk.add(stripe, now, rng));
        walk
    }

    fn add(&mut self, stripe: &StripeData, now: i64, rng: &mut Prng) {
        let stats = stripe.stats();
        self.stats.hits += stats.hits;
        self.stats.misses += stats.misses;
        self.stats.expired += stats.expired;
        self.stats.evicted += stats.evicted;
        self.stats.expired_fields += stats.expired_fields;
        let waits = stripe.has_waiters();
        for (index, sums) in self.dbs.iter_mut().enumerate() {
            let db = stripe.db(index);
            if waits {
                self.waited_keys += stripe.waited_keys(index).len();
            }
            sums.keys += db.len() as u64;
            sums.volatile += db.volatile() as u64;
            sums.timed_hashes += db.timed_hashes() as u64;
            sums.table_bytes += db.table().mem_usage() as u64;
            sums.index_bytes += db.expires().mem_usage() as u64;
            if db.volatile() == 0 {
                continue;
            }
            for _ in 0..TTL_SAMPLES {
                let stamp = db.table().random(rng).and_then(structures::Entry::stamp);
                if let Some(at) = stamp.filter(|&at| at > now) {
                    sums.ttl_sum = sums.ttl_sum.saturating_add((at - now) as u64);
                    sums.ttl_samples += 1;
                }
            }
        }
    }
}

fn server(w: &mut Writer<'_, '_, '_>) {
    let facts = w.cx.node.host.facts();
    let now = w.cx.worker.now;
    let settings = std::sync::Arc::clone(&w.cx.worker.settings);
    let config = &settings.config;
    let uptime = (now.unix().secs() - w.cx.node.started).max(0);
    let version = env!("CARGO_PKG_VERSION");
    w.field("redis_version", REDIS_VERSION);
    w.field("redoubt_version", version);
    w.field("redis_git_sha1", "00000000");
    w.field("redis_git_dirty", 0);
    let build = structures::hash::hash_bytes(version.as_bytes());
    w.field("redis_build_id", format_args!("{build:x}"));
    w.field(
        "redis_mode",
        match w.cx.node.sentinel() {
            Some(_) => "sentinel",
            None if config.cluster_enabled => "cluster",
            None => "standalone",
        },
    );
    w.field("os", &facts.os);
    w.field("arch_bits", usize::BITS);
    w.field("monotonic_clock", "POSIX clock_gettime");
    w.field("multiplexing_api", "epoll");
    w.field("atomicvar_api", "std");
    w.field("gcc_version", "0.0.0");
    w.field("process_id", facts.pid);
    w.field("process_supervised", facts.supervised);
    w.field("run_id", &w.cx.node.run_id);
    w.field("tcp_port", if config.port != 0 { config.port } else { config.tls_port });
    w.field("server_time_usec", now.unix_us);
    w.field("uptime_in_seconds", uptime);
    w.field("uptime_in_days", uptime / 86_400);
    w.field("hz", config.hz);
    w.field("configured_hz", config.hz);
    w.field("lru_clock", keyspace::lru_clock(now.unix()));
    w.field("executable", &facts.executable);
    w.field("config_file", &facts.config_file);
    w.field("io_threads_active", u8::from(w.cx.node.mailboxes.len() > 1));
    listeners(w, config);
    if let Some(ms) = w.cx.node.shutdown.ms_left(w.cx.worker.now.mono()) {
        w.field("shutdown_in_milliseconds", ms);
    }
}

/// One line for each kind of listening socket. Source: redis 7.2 `server.c:getListensInfoString`.
fn listeners(w: &mut Writer<'_, '_, '_>, config: &config::Config) {
    let mut number = 0;
    let addresses: String = config.bind.iter().map(|address| format!(",bind={address}")).collect();
    for (name, port) in [("tcp", config.port), ("tls", config.tls_port)] {
        if port != 0 {
            let text = format_args!("name={name}{addresses},port={port}");
            w.field(&format!("listener{number}"), text);
            number += 1;
        }
    }
    if let Some(path) = config.unixsocket.non_empty() {
        let path = String::from_utf8_lossy(path);
        w.field(&format!("listener{number}"), format_args!("name=unix,bind={path}"));
    }
}

fn clients(w: &mut Writer<'_, '_, '_>) {
    let all = w.cx.node.clients.all();
    let is = |kind| all.iter().filter(|client| client.kind() == kind).count() as u64;
    let largest = |bytes: fn(&crate::ClientInfo) -> u64| {
        all.iter().map(|client| bytes(client)).max().unwrap_or(0)
    };
    let watching = all.iter().filter(|client| client.watching.load(Relaxed)).count() as u64;
    let config = &w.cx.worker.settings.config;
    let fields = [
        ("connected_clients", all.len() as u64 - is(ClientKind::Replica)),
        ("cluster_connections", 0),
        ("maxclients", u64::from(config.maxclients)),
        ("client_recent_max_input_buffer", largest(|client| client.qbuf.load(Relaxed))),
        ("client_recent_max_output_buffer", largest(|client| client.omem.load(Relaxed))),
        ("blocked_clients", w.cx.node.blocking.len() as u64),
        ("tracking_clients", w.cx.node.tracking.counts().clients as u64),
        ("pubsub_clients", is(ClientKind::Pubsub)),
        ("watching_clients", watching),
        ("clients_in_timeout_table", w.cx.node.blocking.timed() as u64),
        ("total_blocking_keys", w.walk.waited_keys as u64),
        ("total_blocking_keys_on_nokey", 0),
    ];
    w.fields(&fields);
}

fn persistence(w: &mut Writer<'_, '_, '_>) {
    let state = &w.cx.node.persistence;
    let now = w.cx.worker.now.unix().secs();
    let loading = state.loading.load(Relaxed);
    let saving = state.bgsave_running.load(Relaxed);
    let (keys, total) = if saving {
        (state.pass_keys.load(Relaxed), state.pass_total.load(Relaxed))
    } else {
        (0, 0)
    };
    let percent = if total == 0 { 0.0 } else { (keys as f64 / total as f64 * 100.0).min(100.0) };
    let cow = w.cx.node.keyspace.snapshot_held();
    let last_cow = state.last_cow_bytes.load(Relaxed);
    w.field("loading", u8::from(loading));
    w.field("async_loading", 0);
    w.field("current_cow_peak", if saving { cow.max(last_cow) } else { 0 });
    w.field("current_cow_size", if saving { cow } else { 0 });
    w.field("current_cow_size_age", 0);
    w.field("current_fork_perc", format_args!("{percent:.2}"));
    w.field("current_save_keys_processed", keys);
    w.field("current_save_keys_total", total);
    w.field("rdb_changes_since_last_save", w.cx.node.dirty_since_save());
    w.field("rdb_bgsave_in_progress", u8::from(saving));
    w.field("rdb_last_save_time", state.last_save.load(Relaxed));
    w.field(
        "rdb_last_bgsave_status",
        if state.last_bgsave_ok.load(Relaxed) { "ok" } else { "err" },
    );
    w.field("rdb_last_bgsave_time_sec", state.last_bgsave_secs.load(Relaxed));
    let running = if saving { (now - state.bgsave_started.load(Relaxed)).max(0) } else { -1 };
    w.field("rdb_current_bgsave_time_sec", running);
    w.field("rdb_saves", state.saves.load(Relaxed));
    w.field("rdb_last_cow_size", last_cow);
    w.field("rdb_last_load_keys_expired", state.load_expired.load(Relaxed));
    w.field("rdb_last_load_keys_loaded", state.load_keys.load(Relaxed));
    append_only_fields(w, now);
    if saving {
        // Redoubt's own.
        let begun = state.pass_started_us.load(Relaxed);
        let micros = w.cx.worker.now.mono_us.saturating_sub(begun).max(1);
        let written = state.pass_bytes.load(Relaxed);
        let per_sec = u128::from(written) * 1_000_000 / u128::from(micros);
        w.field("current_save_bytes_written", written);
        w.field("current_save_bytes_per_sec", per_sec as u64);
        w.field("current_cow_spilled", state.pass_spilled.load(Relaxed));
    }
    if loading {
        loading_fields(w, now);
    }
}

/// Source: redis 7.0 `server.c:genRedisInfoString` (persistence).
fn append_only_fields(w: &mut Writer<'_, '_, '_>, now: i64) {
    let node = w.cx.node;
    let aof = &node.aof;
    let on = aof.state() != AofState::Off;
    let rewriting = aof.rewriting.load(Relaxed);
    let word = |ok: bool| if ok { "ok" } else { "err" };
    w.field("aof_enabled", u8::from(on));
    w.field("aof_rewrite_in_progress", u8::from(rewriting));
    w.field("aof_rewrite_scheduled", u8::from(aof.scheduled.load(Relaxed)));
    w.field("aof_last_rewrite_time_sec", aof.last_rewrite_secs.load(Relaxed));
    let running = if rewriting { (now - aof.rewrite_started.load(Relaxed)).max(0) } else { -1 };
    w.field("aof_current_rewrite_time_sec", running);
    w.field("aof_last_bgrewrite_status", word(aof.last_rewrite_ok.load(Relaxed)));
    w.field("aof_rewrites", aof.rewrites.load(Relaxed));
    w.field("aof_rewrites_consecutive_failures", aof.rewrite_failures.load(Relaxed));
    w.field("aof_last_write_status", word(aof.error().is_none()));
    w.zeroes(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if on {
        w.field("aof_current_size", aof.current_size.load(Relaxed));
        w.field("aof_base_size", aof.base_size.load(Relaxed));
        w.field("aof_pending_rewrite", u8::from(aof.state() == AofState::WaitRewrite));
        let pending = node.log.file_pending_bytes() as u64 + aof.buffered.load(Relaxed);
        w.field("aof_buffer_length", pending);
        w.field("aof_pending_bio_fsync", u8::from(aof.syncing.load(Relaxed)));
        w.field("aof_delayed_fsync", aof.delayed.load(Relaxed));
    }
}

/// Source: redis 7.0 `server.c:genRedisInfoString` (loading).
fn loading_fields(w: &mut Writer<'_, '_, '_>, now: i64) {
    let state = &w.cx.node.persistence;
    let (total, done) = (state.load_total.load(Relaxed), state.load_done.load(Relaxed));
    let started = state.load_started.load(Relaxed);
    let percent = if total == 0 { 0.0 } else { done as f64 / total as f64 * 100.0 };
    let elapsed = (now - started).max(0) as u64;
    let eta = match (elapsed, done) {
        (0, _) | (_, 0) => 1,
        _ => {
            (u128::from(elapsed) * u128::from(total.saturating_sub(done)) / u128::from(done)) as u64
                + 1
        }
    };
    w.field("loading_start_time", started);
    w.field("loading_total_bytes", total);
    w.field("loading_rdb_used_mem", 0);
    w.field("loading_loaded_bytes", done);
    w.field("loading_loaded_perc", format_args!("{percent:.2}"));
    w.field("loading_eta_seconds", eta);
}

fn replication(w: &mut Writer<'_, '_, '_>) {
    let node = w.cx.node;
    let config = &w.cx.worker.settings.config;
    let wanted = config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0;
    let settings = replication::InfoSettings {
        replica_priority: u64::from(config.replica_priority),
        replica_read_only: config.replica_read_only,
        replica_announced: config.replica_announced,
        came_back_empty: node.role.came_back_empty.load(Relaxed),
        min_replicas: wanted.then_some(u64::from(config.min_replicas_max_lag)),
    };
    let view = node.view_of(&w.cx.session.info);
    let own = config.announce_view.addresses();
    let link = node.repl.link();
    let master = node.repl.master();
    let now = w.cx.worker.now.mono();
    let text =
        replication::info_section(now, &settings, &node.log, &link, &master, view.as_deref());
    drop((link, master));
    w.out.push_str(&text);
    if !own.is_empty() {
        // Sentinels of our kind read it; others read past it.
        w.field("announced_views", own);
    }
}

fn cpu(w: &mut Writer<'_, '_, '_>) {
    let facts = w.cx.node.host.facts();
    let mut seconds = |name: &str, value: f64| w.field(name, format_args!("{value:.6}"));
    seconds("used_cpu_sys", facts.cpu.0);
    seconds("used_cpu_user", facts.cpu.1);
    seconds("used_cpu_sys_children", 0.0);
    seconds("used_cpu_user_children", 0.0);
    seconds("used_cpu_sys_main_thread", facts.cpu_thread.0);
    seconds("used_cpu_user_main_thread", facts.cpu_thread.1);
}

fn keyspace(w: &mut Writer<'_, '_, '_>) {
    let dbs = std::mem::take(&mut w.walk.dbs);
    for (index, db) in dbs.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        let ttl = db.ttl_sum.checked_div(db.ttl_samples).unwrap_or(0);
        w.field(
            &format!("db{index}"),
            format_args!(
                "keys={},expires={},avg_ttl={ttl},subexpiry={}",
                db.keys, db.volatile, db.timed_hashes
            ),
        );
    }
}

impl Node {
    /// Adds a sample of the counters behind `instantaneous_…`; call it ten times a second.
    pub fn sample_rates(&self) {
        let stats = &self.stats;
        let counters = [
            stats.sum(|worker| &worker.total_commands),
            stats.sum(|worker| &worker.net_input),
            stats.sum(|worker| &worker.net_output),
            stats.sum(|worker| &worker.repl_input),
            stats.sum(|worker| &worker.repl_output),
            stats.sum(|worker| &worker.cycles),
            stats.sum(|worker| &worker.cycle_usec),
        ];
        crate::lock(&stats.rates).sample(self.host.now().mono_us, counters);
    }
}
