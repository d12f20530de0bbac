//! The shared state of a data node.

use crate::access::Access;
use crate::block::Blocking;
use crate::client::{ClientInfo, Clients};
use crate::evict::Eviction;
use crate::gate::Gate;
use crate::host::Host;
use crate::lock;
use crate::mailbox::Mailbox;
use crate::pubsub::PubSub;
use crate::registry::registry;
use crate::sentinel::SentinelMode;
use crate::settings::Settings;
use crate::slowlog::{LatencyMonitor, SlowLog};
use crate::stats::Stats;
use arc_swap::ArcSwap;
use config::{Config, MaxmemoryPolicy, NotifyFlags, SanitizeDumpPayload};
use keyspace::{EventClass, Keyspace, MemoryPolicy};
use replication::Log;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use stdx::UnixMs;
use structures::Limits;

/// What this node is in its replication group. Read by every command; changed under all stripe
/// locks, so that no write straddles the change.
#[derive(Debug, Default)]
pub struct Role {
    /// Follows a master.
    pub is_replica: AtomicBool,
    /// The link to the master is up and in sync.
    pub link_up: AtomicBool,
    /// Replicas that are online and whose lag is good enough (`min-replicas-to-write`).
    pub good_replicas: AtomicUsize,
    /// Moves on with every change of role and with every pause, under all stripe locks: a command
    /// that was admitted before has to be judged again.
    pub era: AtomicU64,
    /// A Sentinel has spoken on this node.
    pub sentinel_seen: AtomicBool,
    /// A Sentinel, or a replica that keeps its data, has told that this master came back empty.
    pub came_back_empty: AtomicBool,
}

/// State of files and loading.
#[derive(Debug)]
pub struct Persistence {
    /// A data set is being loaded: most commands are refused.
    pub loading: AtomicBool,
    /// Changes at the last successful save: INFO shows the difference.
    pub dirty_at_save: AtomicU64,
    /// Unix seconds of the last successful save.
    pub last_save: AtomicI64,
    /// False after a failed background save.
    pub last_bgsave_ok: AtomicBool,
    /// A background save runs.
    pub bgsave_running: AtomicBool,
    /// Seconds that the last one took, -1 never.
    pub last_bgsave_secs: AtomicI64,
    /// Unix seconds of the start of the present one.
    pub bgsave_started: AtomicI64,
    /// Saves so far.
    pub saves: AtomicU64,
    /// Keys handed out by the running pass.
    pub pass_keys: AtomicU64,
    /// Keys that it had to hand out at its start.
    pub pass_total: AtomicU64,
    /// Bytes that it has written.
    pub pass_bytes: AtomicU64,
    /// Bytes of old states that it has put into a file, for want of memory.
    pub pass_spilled: AtomicU64,
    /// When it began, microseconds of the monotonic clock.
    pub pass_started_us: AtomicU64,
    /// Most bytes held for a snapshot on behalf of writers.
    pub last_cow_bytes: AtomicU64,
    /// Loading: total and loaded bytes, start in Unix seconds.
    pub load_total: AtomicU64,
    /// See `load_total`.
    pub load_done: AtomicU64,
    /// See `load_total`.
    pub load_started: AtomicI64,
    /// Keys of the last load.
    pub load_keys: AtomicU64,
    /// Keys of the last load that had expired.
    pub load_expired: AtomicU64,
}

/// What a node is made with.
pub struct NodeOptions {
    /// The configuration at start.
    pub config: Config,
    /// One per worker, in order; jobs that run commands come behind them.
    pub mailboxes: Vec<Mailbox>,
    /// Workers and jobs that run commands.
    pub runners: usize,
    /// Number of stripes, a power of two.
    pub stripes: usize,
    /// The program around the node.
    pub host: Box<dyn Host>,
    /// This run's id, 40 hexadecimal digits.
    pub run_id: String,
    /// The log.
    pub log: Arc<Log>,
}

/// A data node, shared by workers and jobs.
pub struct Node {
    /// All data.
    pub keyspace: Keyspace,
    /// Users.
    pub access: Access,
    /// All connections.
    pub clients: Clients,
    /// All subscriptions.
    pub pubsub: PubSub,
    /// Client-side caching.
    pub tracking: crate::Tracking,
    /// Ways to other workers.
    pub mailboxes: Vec<Mailbox>,
    /// Settings in force.
    pub settings: ArcSwap<Settings>,
    version: AtomicU64,
    /// Serialises CONFIG SET and REWRITE.
    pub config_lock: Mutex<()>,
    /// Counters.
    pub stats: Stats,
    /// The log of effects.
    pub log: Arc<Log>,
    /// Place in the replication group.
    pub role: Role,
    /// Files and loading.
    pub persistence: Persistence,
    /// The append-only file.
    pub aof: crate::Aof,
    /// Blocked connections.
    pub blocking: Blocking,
    /// Replies that wait for durability.
    pub gate: Gate,
    /// Scripts and functions.
    pub scripts: crate::Scripts,
    /// Connections that get every command.
    pub monitors: Mutex<Vec<Arc<ClientInfo>>>,
    /// How many of them there are.
    pub monitor_count: AtomicUsize,
    /// Slow commands.
    pub slowlog: Mutex<SlowLog>,
    /// Latency spikes.
    pub latency: Mutex<LatencyMonitor>,
    /// Replication machines and what belongs to them.
    pub repl: crate::serve::Repl,
    /// What is held back, and why.
    pub pauses: crate::Pauses,
    /// Handing the role over.
    pub failover: crate::Failover,
    /// The end, once it has begun.
    pub shutdown: crate::Shutdown,
    /// What is done about `maxmemory`.
    pub(crate) eviction: Eviction,
    /// What connections cost.
    pub(crate) client_memory: crate::client_memory::ClientMemory,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: AtomicBool,
    /// DEBUG PAUSE-CRON.
    pub cron_paused: AtomicBool,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS and the like, which tests set.
    pub quicklist_packed_threshold: AtomicUsize,
    /// Set when this node is a sentinel.
    pub(crate) sentinel: OnceLock<Box<dyn SentinelMode>>,
    /// The program around the node.
    pub host: Box<dyn Host>,
    /// This run's id.
    pub run_id: String,
    /// Unix seconds of the start.
    pub started: i64,
}

impl Node {
    /// An empty node.
    pub fn new(options: NodeOptions) -> Node {
        let now = options.host.now();
        let databases = options.config.databases as usize;
        let by = if options.config.cluster_enabled {
            keyspace::StripeBy::Slot
        } else {
            keyspace::StripeBy::Hash
        };
        let access = Access::new(&options.config);
        let settings = derive_settings(options.config, 1 << 30);
        let started = now.unix().secs();
        Node {
            keyspace: Keyspace::new(databases, options.stripes, by),
            access,
            clients: Clients::default(),
            pubsub: PubSub::default(),
            tracking: crate::Tracking::new(options.stripes, started as u64),
            mailboxes: options.mailboxes,
            settings: ArcSwap::from_pointee(settings),
            version: AtomicU64::new(1),
            config_lock: Mutex::new(()),
            stats: Stats::new(options.runners, registry().by_index.len()),
            log: options.log,
            role: Role::default(),
            persistence: Persistence {
                loading: AtomicBool::new(false),
                dirty_at_save: AtomicU64::new(0),
                last_save: AtomicI64::new(started),
                last_bgsave_ok: AtomicBool::new(true),
                bgsave_running: AtomicBool::new(false),
                last_bgsave_secs: AtomicI64::new(-1),
                bgsave_started: AtomicI64::new(0),
                saves: AtomicU64::new(0),
                pass_keys: AtomicU64::new(0),
                pass_total: AtomicU64::new(0),
                pass_bytes: AtomicU64::new(0),
                pass_spilled: AtomicU64::new(0),
                pass_started_us: AtomicU64::new(0),
                last_cow_bytes: AtomicU64::new(0),
                load_total: AtomicU64::new(0),
                load_done: AtomicU64::new(0),
                load_started: AtomicI64::new(0),
                load_keys: AtomicU64::new(0),
                load_expired: AtomicU64::new(0),
            },
            aof: crate::Aof::default(),
            blocking: Blocking::default(),
            gate: Gate::default(),
            scripts: crate::Scripts::default(),
            monitors: Mutex::new(Vec::new()),
            monitor_count: AtomicUsize::new(0),
            slowlog: Mutex::new(SlowLog::default()),
            latency: Mutex::new(LatencyMonitor::default()),
            repl: crate::serve::Repl::default(),
            pauses: crate::Pauses::default(),
            failover: crate::Failover::default(),
            shutdown: crate::Shutdown::default(),
            eviction: Eviction::new(started as u64),
            client_memory: crate::client_memory::ClientMemory::default(),
            active_expire: AtomicBool::new(true),
            cron_paused: AtomicBool::new(false),
            quicklist_packed_threshold: AtomicUsize::new(1 << 30),
            sentinel: OnceLock::new(),
            host: options.host,
            run_id: options.run_id,
            started,
        }
    }

    /// Changes whenever [`Node::settings`] does.
    #[inline]
    pub fn settings_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Puts a configuration in force.
    pub fn set_config(&self, config: Config) {
        self.log.set_backlog_size(config.repl_backlog_size);
        let packed = self.quicklist_packed_threshold.load(Ordering::Relaxed);
        self.settings.store(Arc::new(derive_settings(config, packed)));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Follows a master.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.role.is_replica.load(Ordering::Acquire)
    }

    /// Changes of the data set so far.
    pub fn dirty(&self) -> u64 {
        self.stats.sum(|worker| &worker.dirty)
    }

    /// Changes since the last successful save.
    pub fn dirty_since_save(&self) -> u64 {
        self.dirty().saturating_sub(self.persistence.dirty_at_save.load(Ordering::Relaxed))
    }

    /// Publishes the events of keys that changed. Source: redis 7.0 `notify.c`.
    pub(crate) fn publish_events(
        &self,
        notify: u32,
        events: &[keyspace::KeyEvent],
        own: u64,
        own_out: &mut Vec<u8>,
    ) {
        for event in events {
            if notify & EventClass::KEYSPACE.0 != 0 {
                let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
                channel.extend_from_slice(&event.key);
                self.pubsub.publish(
                    &self.mailboxes,
                    false,
                    &channel,
                    event.name.as_bytes(),
                    own,
                    own_out,
                );
            }
            if notify & EventClass::KEYEVENT.0 != 0 {
                let channel = format!("__keyevent@{}__:{}", event.db, event.name);
                self.pubsub.publish(
                    &self.mailboxes,
                    false,
                    channel.as_bytes(),
                    &event.key,
                    own,
                    own_out,
                );
            }
        }
    }

    /// Notes a latency spike if the monitor is on.
    pub fn note_latency(&self, threshold_ms: u64, event: &'static str, usec: u64, now: UnixMs) {
        if threshold_ms > 0 && usec / 1000 >= threshold_ms {
            lock(&self.latency).add(event, now.secs(), usec / 1000);
        }
    }
}

/// What commands need of a configuration.
fn derive_settings(config: Config, quicklist_packed_threshold: usize) -> Settings {
    let limits = Limits {
        hash_max_listpack_entries: config.hash_max_listpack_entries as usize,
        hash_max_listpack_value: config.hash_max_listpack_value as usize,
        list_max_listpack_size: config.list_max_listpack_size,
        list_compress_depth: config.list_compress_depth,
        set_max_intset_entries: config.set_max_intset_entries as usize,
        set_max_listpack_entries: config.set_max_listpack_entries as usize,
        set_max_listpack_value: config.set_max_listpack_value as usize,
        zset_max_listpack_entries: config.zset_max_listpack_entries as usize,
        zset_max_listpack_value: config.zset_max_listpack_value as usize,
        quicklist_packed_threshold,
        stream_node_max_bytes: config.stream_node_max_bytes as usize,
        stream_node_max_entries: config.stream_node_max_entries as usize,
    };
    let env = commands::Env {
        now: UnixMs(0),
        limits,
        bulk_max: config.proto_max_bulk_len,
        may_block: true,
        from_master: false,
        recorded: true,
        lazy_user_del: config.lazyfree_lazy_user_del,
        lazy_expire: config.lazyfree_lazy_expire,
        compress: config.rdbcompression,
        hll_sparse_max: usize::try_from(config.hll_sparse_max_bytes).unwrap_or(usize::MAX),
        reads_every_key: true,
        sanitize: config.sanitize_dump_payload != SanitizeDumpPayload::No,
    };
    let policy = match config.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => MemoryPolicy::Lfu {
            log_factor: config.lfu_log_factor,
            decay_minutes: config.lfu_decay_time,
        },
        _ => MemoryPolicy::Lru,
    };
    let notify = event_classes(config.notify_keyspace_events);
    let client_memory_max = crate::client_memory::limit(&config);
    Settings { config, env, policy, client_memory_max, notify }
}

/// The event classes of `notify-keyspace-events`; none if events would go to no channel.
fn event_classes(flags: NotifyFlags) -> u32 {
    let pairs = [
        (NotifyFlags::KEYSPACE, EventClass::KEYSPACE),
        (NotifyFlags::KEYEVENT, EventClass::KEYEVENT),
        (NotifyFlags::GENERIC, EventClass::GENERIC),
        (NotifyFlags::STRING, EventClass::STRING),
        (NotifyFlags::LIST, EventClass::LIST),
        (NotifyFlags::SET, EventClass::SET),
        (NotifyFlags::HASH, EventClass::HASH),
        (NotifyFlags::ZSET, EventClass::ZSET),
        (NotifyFlags::EXPIRED, EventClass::EXPIRED),
        (NotifyFlags::EVICTED, EventClass::EVICTED),
        (NotifyFlags::STREAM, EventClass::STREAM),
        (NotifyFlags::KEY_MISS, EventClass::KEY_MISS),
        (NotifyFlags::MODULE, EventClass::MODULE),
        (NotifyFlags::NEW, EventClass::NEW),
    ];
    let all = pairs
        .iter()
        .filter(|(flag, _)| flags.intersects(*flag))
        .fold(0, |bits, (_, class)| bits | class.0);
    if all & (EventClass::KEYSPACE.0 | EventClass::KEYEVENT.0) == 0 { 0 } else { all }
}
