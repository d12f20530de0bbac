//! The table of all directives, one row each.
//!
//! A row is everything that the project knows about a directive: parsing, CONFIG GET/SET/REWRITE, the
//! field of [`Config`] and the reference page follow from it. The room that acts on a value reads the
//! field; this room does not know who that is.
//!
//! Names, defaults, bounds and mutability were read off a running redis-server 7.0.15; rows that
//! newer versions or Redoubt added say so.

use crate::checks;
use crate::text::{Text, before_comments, lossy};
use crate::types::{
    AclPubsubDefault, Allowed, AppendFsync, ClusterEndpointType, EmptyMasterGuard, HostPort,
    LogLevel, MaxmemoryPolicy, MemoryOrPercent, NotifyFlags, OomScoreAdj, OutputBufferLimits,
    PropagationErrorBehavior, ReplDisklessLoad, SanitizeDumpPayload, SavePoint, ShutdownFlags,
    Supervised, SyslogFacility, TlsAuthClients,
};
use crate::value::{Origin, Value};
use crate::views::AnnounceViews;

/// Refuses a text that can't work, with Redis's reason.
pub type Check = fn(&[u8]) -> Result<(), String>;

/// How a value is written, with unit and bounds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// `yes` or `no`; a file may say `yes` so that it loads, CONFIG SET is refused with this reason.
    OnlyInFile(&'static str),
    /// A decimal number between both bounds (inclusive).
    Int(i64, u64),
    /// A decimal number that is brought between both bounds.
    Capped(u32, u32),
    /// Bytes with an optional unit (k = 1000, kb = 1024, m, mb, g, gb), between both bounds.
    Memory(u64, u64),
    /// Bytes from 1 to the second number, raised to the first one.
    MemoryRaised(u64, u64),
    /// Bytes, or `n%` of `maxmemory`.
    MemoryOrPercent,
    /// An octal number between both bounds.
    Octal(i64, i64),
    /// One word out of a list.
    Choice,
    /// Any text.
    Text {
        /// Whether an empty text means 'not set', so that a rewrite drops the line.
        empty_is_unset: bool,
        /// Refuses what can't work.
        check: Option<Check>,
    },
    /// Letters of a fixed alphabet, in one word.
    Letters,
    /// Several words; the text describes them.
    Words(&'static str),
}

/// When a directive may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// By CONFIG SET at any time.
    Runtime,
    /// Only in the file or on the command line.
    AtStart,
    /// By CONFIG SET only if `enable-protected-configs` allows this client.
    Protected,
}

/// Not shown by CONFIG GET with a pattern.
pub(crate) const HIDDEN: u8 = 1;
/// A password or key: never in a log line.
pub(crate) const SECRET: u8 = 2;
/// Accepted, shown and rewritten, but nothing acts on it (yet).
pub(crate) const NO_EFFECT: u8 = 4;
/// CONFIG SET is refused while data is loaded.
pub(crate) const DENY_LOADING: u8 = 8;

/// The value names something outside, such as a file, that may have changed although the value has
/// not: CONFIG SET acts on it in any case.
pub(crate) const VOLATILE: u8 = 64;

/// One row of the table.
pub struct Directive {
    /// The name in the file.
    pub name: &'static str,
    /// A second name, from older versions.
    pub alias: Option<&'static str>,
    /// Heading of the reference page under which it stands.
    pub group: &'static str,
    /// Type, unit and bounds.
    pub kind: Kind,
    /// The default, as a file would write it.
    pub default: &'static str,
    /// When it may change.
    pub mutability: Mutability,
    /// What it does, in one line.
    pub doc: &'static str,
    pub(crate) flags: u8,
    pub(crate) get: fn(&Config) -> &dyn Value,
    pub(crate) get_mut: fn(&mut Config) -> &mut dyn Value,
}

impl Directive {
    /// Finds a row by name or alias, in any case.
    pub fn find(name: &[u8]) -> Option<&'static Directive> {
        Directive::find_named(name).map(|(row, _)| row)
    }

    /// Finds a row, and the one of its names that was asked for.
    pub(crate) fn find_named(asked: &[u8]) -> Option<(&'static Directive, &'static str)> {
        DIRECTIVES.iter().find_map(|row| {
            row.names()
                .find(|name| name.as_bytes().eq_ignore_ascii_case(asked))
                .map(|name| (row, name))
        })
    }

    /// The name, then the alias if it has one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// Whether CONFIG SET acts also on a value that does not change.
    pub(crate) fn is_volatile(&self) -> bool {
        self.flags & VOLATILE != 0
    }

    /// Whether CONFIG GET shows it only to who names it.
    pub fn is_hidden(&self) -> bool {
        self.flags & HIDDEN != 0
    }

    /// Whether the value must not be shown in logs.
    pub fn is_secret(&self) -> bool {
        self.flags & SECRET != 0
    }

    /// Whether nothing acts on it: kept so that existing files and clients work.
    pub fn is_without_effect(&self) -> bool {
        self.flags & NO_EFFECT != 0
    }

    /// Whether CONFIG SET answers `-LOADING` while data is loaded.
    pub fn is_denied_while_loading(&self) -> bool {
        self.flags & DENY_LOADING != 0
    }

    /// Whether it takes any number of words.
    pub fn takes_words(&self) -> bool {
        matches!(self.kind, Kind::Words(_))
    }

    /// The value as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> Vec<u8> {
        (self.get)(config).show(self)
    }

    /// The accepted words of a choice; empty for other kinds.
    pub fn choices(&self) -> &'static [&'static str] {
        (self.get)(&DEFAULTS).words()
    }

    pub(crate) fn set(
        &self,
        config: &mut Config,
        words: &[&[u8]],
        origin: Origin,
    ) -> Result<(), String> {
        (self.get_mut)(config).set(self, words, origin)
    }
}

/// The two words of a line whose third one begins with `#`, if the first is a directive of one value:
/// the rest is a comment, whatever it holds.
pub(crate) fn words_before_comment(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    before_comments(line)
        .find(|words| words.len() >= 2)
        .filter(|words| words.len() == 2)
        .filter(|words| Directive::find(&words[0]).is_some_and(|row| !row.takes_words()))
}

impl std::fmt::Debug for Directive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Directive({})", self.name)
    }
}

static DEFAULTS: std::sync::LazyLock<Config> = std::sync::LazyLock::new(Config::build_default);

impl Default for Config {
    fn default() -> Config {
        DEFAULTS.clone()
    }
}

impl Config {
    /// The configuration without a file: each row's default.
    fn build_default() -> Config {
        let mut config = Config::blank();
        for row in DIRECTIVES {
            let words: Vec<&[u8]> = match row.kind {
                Kind::Words(_) => row.default.as_bytes().split(|&b| b == b' ').collect(),
                _ => vec![row.default.as_bytes()],
            };
            // An unset master has no words that a file could write.
            if row.name == "replicaof" {
                continue;
            }
            if let Err(reason) = row.set(&mut config, &words, Origin::FileFirst) {
                unreachable!("the default of {} is refused: {reason}", row.name);
            }
        }
        config
    }

    /// Worker threads asked for: `threads`, or else `io-threads` above 1; `None` = one per core.
    pub fn worker_threads(&self) -> Option<usize> {
        match (self.threads, self.io_threads) {
            (0, 0 | 1) => None,
            (0, io_threads) => Some(io_threads as usize),
            (threads, _) => Some(threads as usize),
        }
    }

    /// Rows that were changed from their default although nothing acts on them: for a warning at
    /// start.
    pub fn without_effect(&self) -> Vec<&'static Directive> {
        self.changed().into_iter().filter(|row| row.is_without_effect()).collect()
    }

    /// Rows whose value is not the default.
    pub fn changed(&self) -> Vec<&'static Directive> {
        DIRECTIVES.iter().filter(|row| row.show(self) != row.show(&DEFAULTS)).collect()
    }
}

impl std::fmt::Debug for Config {
    /// Lists what differs from the defaults; secrets are masked.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for row in self.changed() {
            let shown = row.show(self);
            let shown = if row.is_secret() { "(secret)".into() } else { lossy(&shown) };
            map.entry(&row.name, &shown);
        }
        map.finish()
    }
}

const INT: u64 = i32::MAX as u64;
const LONG: u64 = i64::MAX as u64;
const MB: u64 = 1 << 20;

const fn int(min: i64, max: u64) -> Kind {
    Kind::Int(min, max)
}

const fn memory(min: u64, max: u64) -> Kind {
    Kind::Memory(min, max)
}

const BOOL: Kind = Kind::Bool;
/// The text of a Redis without its own allocator, which clients know how to take.
const NO_DEFRAG: Kind = Kind::OnlyInFile(
    "Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
     modified Jemalloc like the one shipped by default with the Redis source distribution",
);
const CHOICE: Kind = Kind::Choice;
/// An empty text is a value of its own.
const TEXT: Kind = Kind::Text { empty_is_unset: false, check: None };
/// An empty text is 'not set'.
const UNSET: Kind = Kind::Text { empty_is_unset: true, check: None };

const fn checked(check: Check) -> Kind {
    Kind::Text { empty_is_unset: false, check: Some(check) }
}

macro_rules! alias {
    () => {
        None
    };
    ($alias:literal) => {
        Some($alias)
    };
}

macro_rules! directives {
    ($($group:literal {
        $($field:ident: $ty:ty = $name:literal $(| $alias:literal)?, $kind:expr, $default:literal, $mutability:ident, $flags:expr, $doc:literal;)*
    })*) => {
        /// The value of every directive. Plain fields, so that reading one costs nothing.
        #[derive(Clone, PartialEq)]
        pub struct Config {
            $($(
                #[doc = concat!("`", $name, "`: ", $doc)]
                pub $field: $ty,
            )*)*
        }

        impl Config {
            /// Every field empty, to be filled with the defaults.
            fn blank() -> Config {
                Config { $($($field: Default::default(),)*)* }
            }
        }

        /// All rows, grouped by topic.
        pub static DIRECTIVES: &[Directive] = &[
            $($(Directive {
                name: $name,
                alias: alias!($($alias)?),
                group: $group,
                kind: $kind,
                default: $default,
                mutability: Mutability::$mutability,
                doc: $doc,
                flags: $flags,
                get: |config| &config.$field,
                get_mut: |config| &mut config.$field,
            },)*)*
        ];
    };
}

directives! {
    "Network" {
        bind: Vec<String> = "bind", Kind::Words("addresses"), "* -::*", Runtime, 0, "Addresses to listen on; `-` before one: skip it if this machine does not have it; `*` and `::*`: all.";
        port: u16 = "port", int(0, 65535), "6379", Runtime, 0, "TCP port; 0 = none.";
        extra_ports: Text = "extra-ports", Kind::Text { empty_is_unset: true, check: Some(checks::ports) }, "", AtStart, 0, "More TCP ports to listen on beside `port`, separated by blanks; same addresses (Redoubt's own).";
        announce_view: AnnounceViews = "announce-view", Kind::Words("a view, then `address HOST:PORT`, `listener [ADDRESS:]PORT`, `client-net NETWORK` or `client-net gateway`, `user NAME`, as many as needed"), "", Runtime, 0, "Further addresses of this node, and which clients are told the nodes' addresses in which view; lines add up (Redoubt's own, see addresses.md).";
        tcp_backlog: u32 = "tcp-backlog", int(0, INT), "511", AtStart, 0, "Length of the queue of connections not yet accepted.";
        unixsocket: Text = "unixsocket", UNSET, "", AtStart, 0, "Path of a unix socket to listen on.";
        unixsocketperm: u32 = "unixsocketperm", Kind::Octal(0, 0o777), "0", AtStart, 0, "Mode of the unix socket, octal; 0 = by the umask.";
        timeout: u32 = "timeout", int(0, INT), "0", Runtime, 0, "Seconds after which an idle client is closed; 0 = never.";
        tcp_keepalive: u32 = "tcp-keepalive", int(0, INT), "300", Runtime, 0, "Seconds between TCP keepalive probes; 0 = none.";
        protected_mode: bool = "protected-mode", BOOL, "yes", Runtime, 0, "Without a password, answer only clients of this machine.";
        bind_source_addr: Text = "bind-source-addr", UNSET, "", Runtime, NO_EFFECT, "Local address of outgoing connections.";
        maxclients: u32 = "maxclients", int(1, u32::MAX as u64), "10000", Runtime, 0, "Most clients at a time.";
        socket_mark_id: u32 = "socket-mark-id", int(0, u32::MAX as u64), "0", AtStart, NO_EFFECT, "Firewall mark of listening sockets; 0 = none.";
        client_query_buffer_limit: u64 = "client-query-buffer-limit", memory(MB, LONG), "1gb", Runtime, 0, "Longest request that is not yet complete.";
        client_output_buffer_limit: OutputBufferLimits = "client-output-buffer-limit", Kind::Words("class hard soft seconds, for the classes normal, replica and pubsub"), "normal 0 0 0 replica 268435456 67108864 60 pubsub 33554432 8388608 60", Runtime, 0, "Limits of pending replies, by client class; 0 = none.";
        proto_max_bulk_len: u64 = "proto-max-bulk-len", memory(MB, LONG), "512mb", Runtime, 0, "Longest argument, and longest string value.";
        max_new_connections_per_cycle: u32 = "max-new-connections-per-cycle", int(1, 1000), "10", Runtime, NO_EFFECT, "Connections accepted in one turn of the loop (since 7.4).";
        max_new_tls_connections_per_cycle: u32 = "max-new-tls-connections-per-cycle", int(1, 1000), "1", Runtime, NO_EFFECT, "TLS connections accepted in one turn of the loop (since 7.4).";
    }
    "TLS" {
        tls_port: u16 = "tls-port", int(0, 65535), "0", Runtime, 0, "TCP port for TLS; 0 = none.";
        tls_cert_file: Text = "tls-cert-file", UNSET, "", Runtime, VOLATILE, "Certificate, PEM.";
        tls_key_file: Text = "tls-key-file", UNSET, "", Runtime, VOLATILE, "Private key, PEM.";
        tls_key_file_pass: Text = "tls-key-file-pass", UNSET, "", Runtime, SECRET | NO_EFFECT, "Password of the private key; encrypted keys are not read.";
        tls_client_cert_file: Text = "tls-client-cert-file", UNSET, "", Runtime, VOLATILE, "Certificate for outgoing connections.";
        tls_client_key_file: Text = "tls-client-key-file", UNSET, "", Runtime, VOLATILE, "Private key for outgoing connections.";
        tls_client_key_file_pass: Text = "tls-client-key-file-pass", UNSET, "", Runtime, SECRET | NO_EFFECT, "The same for outgoing connections.";
        tls_dh_params_file: Text = "tls-dh-params-file", UNSET, "", Runtime, NO_EFFECT, "Diffie-Hellman parameters of old clients, which TLS here does without.";
        tls_ca_cert_file: Text = "tls-ca-cert-file", UNSET, "", Runtime, VOLATILE, "Trusted certificates, one file.";
        tls_ca_cert_dir: Text = "tls-ca-cert-dir", UNSET, "", Runtime, VOLATILE, "Trusted certificates, all files of a folder.";
        tls_auth_clients: TlsAuthClients = "tls-auth-clients", CHOICE, "yes", Runtime, 0, "Whether clients must show a certificate.";
        tls_replication: bool = "tls-replication", BOOL, "no", Runtime, 0, "TLS to the master, and between sentinels and nodes.";
        tls_cluster: bool = "tls-cluster", BOOL, "no", Runtime, NO_EFFECT, "TLS on the cluster bus.";
        tls_protocols: Text = "tls-protocols", UNSET, "", Runtime, 0, "Allowed versions out of `TLSv1.2 TLSv1.3`.";
        tls_ciphers: Text = "tls-ciphers", UNSET, "", Runtime, 0, "Allowed ciphers up to TLS 1.2.";
        tls_ciphersuites: Text = "tls-ciphersuites", UNSET, "", Runtime, 0, "Allowed cipher suites of TLS 1.3.";
        tls_prefer_server_ciphers: bool = "tls-prefer-server-ciphers", BOOL, "no", Runtime, 0, "The server's order of ciphers counts.";
        tls_session_caching: bool = "tls-session-caching", BOOL, "yes", Runtime, 0, "Let clients resume sessions.";
        tls_session_cache_size: u32 = "tls-session-cache-size", int(0, INT), "20480", Runtime, 0, "Sessions kept.";
        tls_session_cache_timeout: u32 = "tls-session-cache-timeout", int(0, INT), "300", Runtime, 0, "Seconds that a session is kept.";
    }
    "Process" {
        daemonize: bool = "daemonize", BOOL, "no", AtStart, 0, "Run in the background.";
        supervised: Supervised = "supervised", CHOICE, "no", AtStart, 0, "How a supervisor is told that the server is ready.";
        pidfile: Text = "pidfile", UNSET, "", AtStart, 0, "File for the process id.";
        loglevel: LogLevel = "loglevel", CHOICE, "notice", Runtime, 0, "Lowest level that is logged.";
        logfile: Text = "logfile", TEXT, "", AtStart, 0, "Log file; empty = standard output.";
        syslog_enabled: bool = "syslog-enabled", BOOL, "no", AtStart, NO_EFFECT, "Log to the system log as well.";
        syslog_ident: Text = "syslog-ident", TEXT, "redis", AtStart, NO_EFFECT, "Name in the system log.";
        syslog_facility: SyslogFacility = "syslog-facility", CHOICE, "local0", AtStart, NO_EFFECT, "Facility in the system log.";
        databases: u32 = "databases", int(1, INT), "16", AtStart, 0, "Number of databases.";
        dir: Text = "dir", TEXT, "", Protected, DENY_LOADING, "Folder of RDB and append-only files; the server works in it.";
        threads: u32 = "threads", int(0, 1024), "0", AtStart, 0, "Worker threads; 0 = one per core (Redoubt's own).";
        io_threads: u32 = "io-threads", int(1, 128), "1", AtStart, 0, "Above 1: sets `threads` where that is not given.";
        io_threads_do_reads: bool = "io-threads-do-reads", BOOL, "no", AtStart, NO_EFFECT, "Worker threads always read here.";
        always_show_logo: bool = "always-show-logo", BOOL, "no", AtStart, NO_EFFECT, "Picture at start; a line with the process id is always logged.";
        set_proc_title: bool = "set-proc-title", BOOL, "yes", AtStart, NO_EFFECT, "Show roles and address in the process title.";
        proc_title_template: Text = "proc-title-template", checked(checks::title_template), "{title} {listen-addr} {server-mode}", Runtime, NO_EFFECT, "Form of the process title.";
        crash_log_enabled: bool = "crash-log-enabled", BOOL, "yes", Runtime, 0, "Write a report on a crash.";
        crash_memcheck_enabled: bool = "crash-memcheck-enabled", BOOL, "yes", Runtime, NO_EFFECT, "Test memory after a crash.";
        use_exit_on_panic: bool = "use-exit-on-panic", BOOL, "no", Runtime, HIDDEN, "Exit instead of abort on a failed assertion.";
        watchdog_period: u32 = "watchdog-period", int(0, INT), "0", Runtime, HIDDEN | NO_EFFECT, "Milliseconds after which a stuck loop is logged; 0 = off.";
        shutdown_timeout: u32 = "shutdown-timeout", int(0, INT), "10", Runtime, 0, "Seconds that a shutdown waits for lagging replicas.";
        shutdown_handover: bool = "shutdown-handover", BOOL, "yes", Runtime, 0, "On SIGTERM a master hands over to a replica, led by a sentinel, and the process ends within 8 seconds.";
        shutdown_on_sigint: ShutdownFlags = "shutdown-on-sigint", Kind::Words("default, or some of save, nosave, now, force"), "default", Runtime, 0, "How SIGINT ends the server.";
        shutdown_on_sigterm: ShutdownFlags = "shutdown-on-sigterm", Kind::Words("default, or some of save, nosave, now, force"), "default", Runtime, 0, "How SIGTERM ends the server.";
        oom_score_adj: OomScoreAdj = "oom-score-adj", CHOICE, "no", Runtime, NO_EFFECT, "Whether to set the kernel's out-of-memory score.";
        oom_score_adj_values: [i32; 3] = "oom-score-adj-values", Kind::Words("three numbers from -2000 to 2000: master, replica, background child"), "0 200 800", Runtime, NO_EFFECT, "Out-of-memory scores.";
        disable_thp: bool = "disable-thp", BOOL, "yes", AtStart, NO_EFFECT, "Turn transparent huge pages off for this process.";
        server_cpulist: Text = "server_cpulist", UNSET, "", AtStart, NO_EFFECT, "CPUs of the server threads.";
        bio_cpulist: Text = "bio_cpulist", UNSET, "", AtStart, NO_EFFECT, "CPUs of the background threads.";
        aof_rewrite_cpulist: Text = "aof_rewrite_cpulist", UNSET, "", AtStart, NO_EFFECT, "CPUs of the AOF rewrite.";
        bgsave_cpulist: Text = "bgsave_cpulist", UNSET, "", AtStart, NO_EFFECT, "CPUs of the background save.";
        ignore_warnings: Text = "ignore-warnings", TEXT, "", Runtime, NO_EFFECT, "Warnings at start to leave out.";
        locale_collate: Text = "locale-collate", TEXT, "", Runtime, NO_EFFECT, "Locale of SORT ALPHA (since 7.2).";
        hz: u32 = "hz", Kind::Capped(1, 500), "10", Runtime, NO_EFFECT, "Runs of the periodic work per second.";
        dynamic_hz: bool = "dynamic-hz", BOOL, "yes", Runtime, NO_EFFECT, "More runs of the periodic work with many clients.";
        active_expire_effort: u32 = "active-expire-effort", int(1, 10), "1", Runtime, NO_EFFECT, "How hard to look for expired keys.";
        activerehashing: bool = "activerehashing", BOOL, "yes", Runtime, NO_EFFECT, "Rehash in idle time; tables here grow without it.";
        busy_reply_threshold: u64 = "busy-reply-threshold" | "lua-time-limit", int(0, LONG), "5000", Runtime, 0, "Milliseconds after which a script makes others get -BUSY.";
        lua_enable_deprecated_api: bool = "lua-enable-deprecated-api", BOOL, "no", AtStart, HIDDEN | NO_EFFECT, "Keep removed functions of the Lua interface.";
        propagation_error_behavior: PropagationErrorBehavior = "propagation-error-behavior", CHOICE, "ignore", Runtime, NO_EFFECT, "When a replicated command fails.";
    }
    "Security" {
        requirepass: Text = "requirepass", UNSET, "", Runtime, SECRET, "Password of the default user.";
        aclfile: Text = "aclfile", TEXT, "", AtStart, 0, "File with ACL users.";
        acllog_max_len: u64 = "acllog-max-len", int(0, LONG), "128", Runtime, 0, "Entries of ACL LOG.";
        acl_pubsub_default: AclPubsubDefault = "acl-pubsub-default", CHOICE, "resetchannels", Runtime, 0, "Channels of a new user.";
        enable_protected_configs: Allowed = "enable-protected-configs", CHOICE, "no", AtStart, 0, "Who may change protected directives.";
        enable_debug_command: Allowed = "enable-debug-command", CHOICE, "no", AtStart, 0, "Who may use DEBUG.";
        enable_module_command: Allowed = "enable-module-command", CHOICE, "no", AtStart, NO_EFFECT, "Who may use MODULE; there are no modules here.";
        sanitize_dump_payload: SanitizeDumpPayload = "sanitize-dump-payload", CHOICE, "no", Runtime, NO_EFFECT, "Deep checks of payloads; here every payload is always checked.";
    }
    "Memory" {
        maxmemory: u64 = "maxmemory", memory(0, u64::MAX), "0", Runtime, 0, "Bytes of data; 0 = no limit.";
        maxmemory_policy: MaxmemoryPolicy = "maxmemory-policy", CHOICE, "noeviction", Runtime, 0, "What goes when `maxmemory` is reached.";
        maxmemory_samples: u32 = "maxmemory-samples", int(1, INT), "5", Runtime, 0, "Keys looked at for one eviction.";
        maxmemory_eviction_tenacity: u32 = "maxmemory-eviction-tenacity", int(0, 100), "10", Runtime, 0, "How long one eviction may take.";
        maxmemory_clients: MemoryOrPercent = "maxmemory-clients", Kind::MemoryOrPercent, "0", Runtime, 0, "Memory of all clients together; 0 = no limit.";
        snapshot_memory_max: u64 = "snapshot-memory-max", memory(0, LONG), "256mb", Runtime, 0, "Memory for what a running snapshot still needs; then it spills to `dir`; 0 = no limit (Redoubt's own).";
        lfu_log_factor: u32 = "lfu-log-factor", int(0, INT), "10", Runtime, 0, "Slope of the frequency counter.";
        lfu_decay_time: u32 = "lfu-decay-time", int(0, INT), "1", Runtime, 0, "Minutes in which the frequency counter falls by one.";
        lazyfree_lazy_eviction: bool = "lazyfree-lazy-eviction", BOOL, "no", Runtime, 0, "Free evicted values in the background.";
        lazyfree_lazy_expire: bool = "lazyfree-lazy-expire", BOOL, "no", Runtime, 0, "Free expired values in the background; replicate UNLINK instead of DEL.";
        lazyfree_lazy_server_del: bool = "lazyfree-lazy-server-del", BOOL, "no", Runtime, NO_EFFECT, "Free overwritten values in the background.";
        lazyfree_lazy_user_del: bool = "lazyfree-lazy-user-del", BOOL, "no", Runtime, 0, "DEL works as UNLINK.";
        lazyfree_lazy_user_flush: bool = "lazyfree-lazy-user-flush", BOOL, "no", Runtime, NO_EFFECT, "FLUSHALL and FLUSHDB work as with ASYNC.";
        activedefrag: bool = "activedefrag", NO_DEFRAG, "no", Runtime, NO_EFFECT, "Move values to lessen fragmentation.";
        active_defrag_ignore_bytes: u64 = "active-defrag-ignore-bytes", memory(1, LONG), "100mb", Runtime, NO_EFFECT, "Least waste for defragmentation to start.";
        active_defrag_threshold_lower: u32 = "active-defrag-threshold-lower", int(0, 1000), "10", Runtime, NO_EFFECT, "Percentage of waste for defragmentation to start.";
        active_defrag_threshold_upper: u32 = "active-defrag-threshold-upper", int(0, 1000), "100", Runtime, NO_EFFECT, "Percentage of waste for most effort.";
        active_defrag_cycle_min: u32 = "active-defrag-cycle-min", int(1, 99), "1", Runtime, NO_EFFECT, "Least effort in percent of CPU.";
        active_defrag_cycle_max: u32 = "active-defrag-cycle-max", int(1, 99), "25", Runtime, NO_EFFECT, "Most effort in percent of CPU.";
        active_defrag_max_scan_fields: u64 = "active-defrag-max-scan-fields", int(1, LONG), "1000", Runtime, NO_EFFECT, "Largest value handled in one go.";
        jemalloc_bg_thread: bool = "jemalloc-bg-thread", BOOL, "yes", Runtime, NO_EFFECT, "Allocator's own purging thread.";
    }
    "Snapshots" {
        save: Vec<SavePoint> = "save", Kind::Words("pairs of seconds and changes"), "3600 1 300 100 60 10000", Runtime, 0, "When to save: after so many seconds with at least so many changes; lines add up, empty = never.";
        stop_writes_on_bgsave_error: bool = "stop-writes-on-bgsave-error", BOOL, "yes", Runtime, 0, "Refuse writes after a failed save.";
        rdbcompression: bool = "rdbcompression", BOOL, "yes", Runtime, 0, "Compress strings in RDB files.";
        rdbchecksum: bool = "rdbchecksum", BOOL, "yes", AtStart, 0, "Checksum at the end of RDB files.";
        dbfilename: Text = "dbfilename", checked(checks::dbfilename), "dump.rdb", Protected, 0, "Name of the RDB file in `dir`.";
        rdb_del_sync_files: bool = "rdb-del-sync-files", BOOL, "no", Runtime, 0, "Remove RDB files that only replication needed.";
        rdb_save_incremental_fsync: bool = "rdb-save-incremental-fsync", BOOL, "yes", Runtime, 0, "Sync while saving, not only at the end.";
        rdb_key_save_delay: i32 = "rdb-key-save-delay", int(i32::MIN as i64, INT), "0", Runtime, HIDDEN, "Microseconds to wait after each saved key (tests).";
        key_load_delay: i32 = "key-load-delay", int(i32::MIN as i64, INT), "0", Runtime, HIDDEN | NO_EFFECT, "Microseconds to wait after each loaded key (tests).";
        loading_process_events_interval_bytes: u32 = "loading-process-events-interval-bytes", int(1024, INT), "2097152", Runtime, HIDDEN | NO_EFFECT, "How often loading lets clients be served.";
    }
    "Append-only file" {
        appendonly: bool = "appendonly", BOOL, "no", Runtime, DENY_LOADING, "Log every write to the append-only file.";
        appendfilename: Text = "appendfilename", checked(checks::appendfilename), "appendonly.aof", AtStart, 0, "Base name of the append-only files.";
        appenddirname: Text = "appenddirname", checked(checks::appenddirname), "appendonlydir", AtStart, 0, "Folder of the append-only files in `dir`.";
        appendfsync: AppendFsync = "appendfsync", CHOICE, "everysec", Runtime, 0, "When to sync the append-only file.";
        no_appendfsync_on_rewrite: bool = "no-appendfsync-on-rewrite", BOOL, "no", Runtime, 0, "No sync while a save or rewrite runs.";
        auto_aof_rewrite_percentage: u32 = "auto-aof-rewrite-percentage", int(0, INT), "100", Runtime, 0, "Growth that starts a rewrite; 0 = never.";
        auto_aof_rewrite_min_size: u64 = "auto-aof-rewrite-min-size", memory(0, LONG), "64mb", Runtime, 0, "Least size that starts a rewrite.";
        aof_load_truncated: bool = "aof-load-truncated", BOOL, "yes", Runtime, 0, "Load a file with a cut end.";
        aof_use_rdb_preamble: bool = "aof-use-rdb-preamble", BOOL, "yes", Runtime, 0, "Rewrites begin with an RDB.";
        aof_rewrite_incremental_fsync: bool = "aof-rewrite-incremental-fsync", BOOL, "yes", Runtime, 0, "Sync while rewriting, not only at the end.";
        aof_timestamp_enabled: bool = "aof-timestamp-enabled", BOOL, "no", Runtime, 0, "Time stamps in the append-only file.";
        aof_disable_auto_gc: bool = "aof-disable-auto-gc", BOOL, "no", Runtime, 0, "Keep old append-only files (tests).";
    }
    "Replication" {
        replicaof: Option<HostPort> = "replicaof" | "slaveof", Kind::Words("host port"), "", AtStart, 0, "The master; the REPLICAOF command changes it.";
        masteruser: Text = "masteruser", UNSET, "", Runtime, SECRET, "User for the master.";
        masterauth: Text = "masterauth", UNSET, "", Runtime, SECRET, "Password for the master.";
        replica_serve_stale_data: bool = "replica-serve-stale-data" | "slave-serve-stale-data", BOOL, "yes", Runtime, 0, "Answer reads without a link to the master.";
        replica_read_only: bool = "replica-read-only" | "slave-read-only", BOOL, "yes", Runtime, 0, "Replicas refuse writes.";
        replica_lazy_flush: bool = "replica-lazy-flush" | "slave-lazy-flush", BOOL, "no", Runtime, NO_EFFECT, "Free old data in the background before a full sync.";
        replica_ignore_maxmemory: bool = "replica-ignore-maxmemory" | "slave-ignore-maxmemory", BOOL, "yes", Runtime, 0, "Replicas don't evict.";
        replica_ignore_disk_write_errors: bool = "replica-ignore-disk-write-errors", BOOL, "no", Runtime, NO_EFFECT, "Replicas go on when they can't write to disk.";
        replica_priority: u32 = "replica-priority" | "slave-priority", int(0, INT), "100", Runtime, 0, "Lowest is promoted first; 0 = never.";
        replica_announced: bool = "replica-announced", BOOL, "yes", Runtime, 0, "Whether sentinels list this replica.";
        replica_announce_ip: Text = "replica-announce-ip" | "slave-announce-ip", UNSET, "", Runtime, 0, "Address that a replica tells its master.";
        replica_announce_port: u16 = "replica-announce-port" | "slave-announce-port", int(0, 65535), "0", Runtime, 0, "Port that a replica tells its master; 0 = `port`.";
        min_replicas_to_write: u32 = "min-replicas-to-write" | "min-slaves-to-write", int(0, INT), "0", Runtime, 0, "Writes need so many replicas with a fresh link.";
        min_replicas_max_lag: u32 = "min-replicas-max-lag" | "min-slaves-max-lag", int(0, INT), "10", Runtime, 0, "Seconds in which a replica's link counts as fresh.";
        repl_timeout: u32 = "repl-timeout", int(1, INT), "60", Runtime, 0, "Seconds without a sign of life that end a link.";
        repl_ping_replica_period: u32 = "repl-ping-replica-period" | "repl-ping-slave-period", int(1, INT), "10", Runtime, 0, "Seconds between PINGs to replicas.";
        repl_backlog_size: u64 = "repl-backlog-size", Kind::MemoryRaised(16 << 10, LONG), "1mb", Runtime, 0, "Bytes of the stream kept for partial syncs.";
        repl_backlog_ttl: u64 = "repl-backlog-ttl", int(0, LONG), "3600", Runtime, 0, "Seconds without replicas after which the backlog is freed; 0 = never.";
        repl_disable_tcp_nodelay: bool = "repl-disable-tcp-nodelay", BOOL, "no", Runtime, 0, "Fewer, larger packets to replicas.";
        repl_diskless_sync: bool = "repl-diskless-sync", BOOL, "yes", Runtime, 0, "Full syncs are sent while they are made, without a file.";
        repl_diskless_sync_delay: u32 = "repl-diskless-sync-delay", int(0, INT), "5", Runtime, 0, "Seconds that a full sync waits for more replicas.";
        repl_diskless_sync_max_replicas: u32 = "repl-diskless-sync-max-replicas", int(0, INT), "0", Runtime, 0, "So many waiting replicas end the delay; 0 = no such number.";
        empty_master_guard: EmptyMasterGuard = "empty-master-guard", CHOICE, "auto", Runtime, 0, "Keep the data of a replica whose master comes back empty; auto = where a Sentinel watches (Redoubt's own).";
        repl_diskless_load: ReplDisklessLoad = "repl-diskless-load", CHOICE, "disabled", Runtime, NO_EFFECT, "Load a full sync straight from the link.";
    }
    "Encodings" {
        hash_max_listpack_entries: u64 = "hash-max-listpack-entries" | "hash-max-ziplist-entries", int(0, LONG), "512", Runtime, 0, "Most fields of a listpack hash.";
        hash_max_listpack_value: u64 = "hash-max-listpack-value" | "hash-max-ziplist-value", memory(0, LONG), "64", Runtime, 0, "Longest field or value of a listpack hash.";
        list_max_listpack_size: i32 = "list-max-listpack-size" | "list-max-ziplist-size", int(i32::MIN as i64, INT), "-2", Runtime, 0, "Size of a list node: elements, or -1 to -5 for 4 to 64 kB.";
        list_compress_depth: u32 = "list-compress-depth", int(0, INT), "0", Runtime, NO_EFFECT, "List nodes at each end that stay uncompressed; 0 = all.";
        set_max_intset_entries: u64 = "set-max-intset-entries", int(0, LONG), "512", Runtime, 0, "Most elements of an intset.";
        set_max_listpack_entries: u64 = "set-max-listpack-entries", int(0, LONG), "128", Runtime, 0, "Most elements of a listpack set (since 7.2).";
        set_max_listpack_value: u64 = "set-max-listpack-value", memory(0, LONG), "64", Runtime, 0, "Longest element of a listpack set (since 7.2).";
        zset_max_listpack_entries: u64 = "zset-max-listpack-entries" | "zset-max-ziplist-entries", int(0, LONG), "128", Runtime, 0, "Most elements of a listpack sorted set.";
        zset_max_listpack_value: u64 = "zset-max-listpack-value" | "zset-max-ziplist-value", memory(0, LONG), "64", Runtime, 0, "Longest element of a listpack sorted set.";
        hll_sparse_max_bytes: u64 = "hll-sparse-max-bytes", memory(0, LONG), "3000", Runtime, 0, "Largest sparse HyperLogLog.";
        stream_node_max_bytes: u64 = "stream-node-max-bytes", memory(0, LONG), "4096", Runtime, 0, "Most bytes of a stream node; 0 = no limit.";
        stream_node_max_entries: u64 = "stream-node-max-entries", int(0, LONG), "100", Runtime, 0, "Most entries of a stream node; 0 = no limit.";
    }
    "Watching" {
        slowlog_log_slower_than: i64 = "slowlog-log-slower-than", int(-1, LONG), "10000", Runtime, 0, "Microseconds from which SLOWLOG keeps a command; -1 = none.";
        slowlog_max_len: u64 = "slowlog-max-len", int(0, LONG), "128", Runtime, 0, "Entries of SLOWLOG.";
        latency_monitor_threshold: u64 = "latency-monitor-threshold", int(0, LONG), "0", Runtime, 0, "Milliseconds from which LATENCY keeps an event; 0 = off.";
        latency_tracking: bool = "latency-tracking", BOOL, "yes", Runtime, 0, "Time every command for INFO latencystats.";
        latency_tracking_info_percentiles: Vec<f64> = "latency-tracking-info-percentiles", Kind::Words("numbers from 0 to 100"), "50 99 99.9", Runtime, 0, "Percentiles of INFO latencystats.";
        notify_keyspace_events: NotifyFlags = "notify-keyspace-events", Kind::Letters, "", Runtime, 0, "Which keyspace events are published: K and E choose channels, the other letters classes.";
        tracking_table_max_keys: u64 = "tracking-table-max-keys", int(0, LONG), "1000000", Runtime, 0, "Keys remembered for client-side caching; 0 = no limit.";
    }
    "Cluster" {
        cluster_enabled: bool = "cluster-enabled", BOOL, "no", AtStart, NO_EFFECT, "Be a cluster node.";
        cluster_config_file: Text = "cluster-config-file", TEXT, "nodes.conf", AtStart, NO_EFFECT, "The node's own record of the cluster.";
        cluster_node_timeout: u64 = "cluster-node-timeout", int(0, LONG), "15000", Runtime, NO_EFFECT, "Milliseconds of silence after which a node counts as failing.";
        cluster_port: u16 = "cluster-port", int(0, 65535), "0", AtStart, NO_EFFECT, "Port of the bus; 0 = `port` + 10000.";
        cluster_ping_interval: u32 = "cluster-ping-interval", int(1, INT), "1000", Runtime, HIDDEN | NO_EFFECT, "Milliseconds between PINGs on the bus (since 7.2).";
        cluster_replica_validity_factor: u32 = "cluster-replica-validity-factor" | "cluster-slave-validity-factor", int(0, INT), "10", Runtime, NO_EFFECT, "A replica cut off for longer than this times the node timeout is not promoted.";
        cluster_migration_barrier: u32 = "cluster-migration-barrier", int(0, INT), "1", Runtime, NO_EFFECT, "Replicas that a master keeps before one may migrate.";
        cluster_allow_replica_migration: bool = "cluster-allow-replica-migration", BOOL, "yes", Runtime, NO_EFFECT, "Replicas may move to masters without one.";
        cluster_replica_no_failover: bool = "cluster-replica-no-failover" | "cluster-slave-no-failover", BOOL, "no", Runtime, NO_EFFECT, "Never promote this replica by itself.";
        cluster_require_full_coverage: bool = "cluster-require-full-coverage", BOOL, "yes", Runtime, NO_EFFECT, "Stop when a slot has no master.";
        cluster_allow_reads_when_down: bool = "cluster-allow-reads-when-down", BOOL, "no", Runtime, NO_EFFECT, "Answer reads when the cluster is down.";
        cluster_allow_pubsubshard_when_down: bool = "cluster-allow-pubsubshard-when-down", BOOL, "yes", Runtime, NO_EFFECT, "Sharded pub/sub when the cluster is down.";
        cluster_link_sendbuf_limit: u64 = "cluster-link-sendbuf-limit", memory(0, u64::MAX), "0", Runtime, NO_EFFECT, "Pending bytes that close a bus link; 0 = no limit.";
        cluster_announce_ip: Text = "cluster-announce-ip", UNSET, "", Runtime, NO_EFFECT, "Address told to other nodes.";
        cluster_announce_port: u16 = "cluster-announce-port", int(0, 65535), "0", Runtime, NO_EFFECT, "Port told to other nodes.";
        cluster_announce_tls_port: u16 = "cluster-announce-tls-port", int(0, 65535), "0", Runtime, NO_EFFECT, "TLS port told to other nodes.";
        cluster_announce_bus_port: u16 = "cluster-announce-bus-port", int(0, 65535), "0", Runtime, NO_EFFECT, "Bus port told to other nodes.";
        cluster_announce_hostname: Text = "cluster-announce-hostname", Kind::Text { empty_is_unset: true, check: Some(checks::hostname) }, "", Runtime, NO_EFFECT, "Host name told to other nodes.";
        cluster_announce_human_nodename: Text = "cluster-announce-human-nodename", Kind::Text { empty_is_unset: true, check: Some(checks::nodename) }, "", Runtime, NO_EFFECT, "Name for log lines (since 7.2).";
        cluster_preferred_endpoint_type: ClusterEndpointType = "cluster-preferred-endpoint-type", CHOICE, "ip", Runtime, NO_EFFECT, "Form of addresses in redirections.";
    }
}
