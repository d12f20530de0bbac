//! The types of directive values, as the rooms read them.
//!
//! Each enum carries Redis's spelling of its choices in Redis's order, because the error text for a
//! wrong choice lists them so.

use std::fmt;

/// An enum whose variants are the words that a directive accepts (in any case).
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum $name { $($(#[$vdoc])* $variant),+ }

            impl $name {
                /// The accepted words, in the order of Redis's error text.
                pub const WORDS: &'static [&'static str] = &[$($word),+];

                const ALL: &'static [$name] = &[$($name::$variant),+];

                /// The word of the configuration file.
                pub fn as_str(self) -> &'static str {
                    match self { $($name::$variant => $word),+ }
                }

                /// Finds the choice for a word, in any case.
                pub fn from_word(word: &[u8]) -> Option<$name> {
                    let at = $name::WORDS.iter().position(|w| w.as_bytes().eq_ignore_ascii_case(word))?;
                    Some($name::ALL[at])
                }
            }

            impl Default for $name {
                fn default() -> Self { $name::ALL[0] }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
            }

            crate::value::choice_value!($name);
        )+
    };
}

choices! {
    /// Lowest level that is logged (`loglevel`).
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Also rarely useful information.
        Verbose = "verbose",
        /// What production wants.
        Notice = "notice",
        /// Only important and critical messages.
        Warning = "warning",
        /// No log at all (since 7.2).
        Nothing = "nothing",
    }
    /// What is removed when `maxmemory` is reached (`maxmemory-policy`).
    MaxmemoryPolicy {
        /// Among keys with a time to live, the least recently used.
        VolatileLru = "volatile-lru",
        /// Among keys with a time to live, the least frequently used.
        VolatileLfu = "volatile-lfu",
        /// Among keys with a time to live, any.
        VolatileRandom = "volatile-random",
        /// The key that expires first.
        VolatileTtl = "volatile-ttl",
        /// The least recently used key.
        AllkeysLru = "allkeys-lru",
        /// The least frequently used key.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// Nothing: writes get an error.
        Noeviction = "noeviction",
    }
    /// When the append-only file is synced (`appendfsync`).
    AppendFsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before the reply.
        Always = "always",
        /// When the operating system wants to.
        No = "no",
    }
    /// What a replica does when its master comes back without data (`empty-master-guard`).
    EmptyMasterGuard {
        /// Keeps its own where a Sentinel watches; elsewhere obeys, with a warning.
        Auto = "auto",
        /// Keeps its own.
        Yes = "yes",
        /// Obeys.
        No = "no",
    }
    /// Loading an RDB straight from the link (`repl-diskless-load`).
    ReplDisklessLoad {
        /// Store to a file first.
        Disabled = "disabled",
        /// Only into an empty database.
        OnEmptyDb = "on-empty-db",
        /// Keep the old data until the new is complete.
        Swapdb = "swapdb",
    }
    /// Channels of a new ACL user (`acl-pubsub-default`).
    AclPubsubDefault {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
    /// Who may use a protected feature (`enable-*`).
    Allowed {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }
    /// `oom-score-adj`.
    OomScoreAdj {
        /// Leave the score alone.
        No = "no",
        /// As `relative`.
        Yes = "yes",
        /// Values are added to the score at start.
        Relative = "relative",
        /// Values are the score.
        Absolute = "absolute",
    }
    /// Deep checks of payloads in RDB files and RESTORE (`sanitize-dump-payload`).
    SanitizeDumpPayload {
        /// Never.
        No = "no",
        /// Always.
        Yes = "yes",
        /// Only what clients send.
        Clients = "clients",
    }
    /// Whether TLS clients need certificates (`tls-auth-clients`).
    TlsAuthClients {
        /// None asked for.
        No = "no",
        /// Required.
        Yes = "yes",
        /// Checked if sent.
        Optional = "optional",
    }
    /// Process supervision (`supervised`).
    Supervised {
        /// Stop once by SIGSTOP when ready.
        Upstart = "upstart",
        /// Tell `NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// By the environment.
        Auto = "auto",
        /// None.
        No = "no",
    }
    /// `syslog-facility`.
    SyslogFacility {
        /// LOG_USER.
        User = "user",
        /// LOG_LOCAL0.
        Local0 = "local0",
        /// LOG_LOCAL1.
        Local1 = "local1",
        /// LOG_LOCAL2.
        Local2 = "local2",
        /// LOG_LOCAL3.
        Local3 = "local3",
        /// LOG_LOCAL4.
        Local4 = "local4",
        /// LOG_LOCAL5.
        Local5 = "local5",
        /// LOG_LOCAL6.
        Local6 = "local6",
        /// LOG_LOCAL7.
        Local7 = "local7",
    }
    /// What a replica does when a replicated command fails (`propagation-error-behavior`).
    PropagationErrorBehavior {
        /// Go on.
        Ignore = "ignore",
        /// Stop.
        Panic = "panic",
        /// Stop if the command came by replication.
        PanicOnReplicas = "panic-on-replicas",
    }
    /// Address form in redirections (`cluster-preferred-endpoint-type`).
    ClusterEndpointType {
        /// IP address.
        Ip = "ip",
        /// Host name.
        Hostname = "hostname",
        /// Null.
        UnknownEndpoint = "unknown-endpoint",
    }
}

/// One `save` rule: a snapshot after `secs` if `changes` happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub secs: u64,
    /// Changed keys since the last snapshot.
    pub changes: u64,
}

/// Output buffer limits of one client class; 0 = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// At this many bytes the client is closed at once.
    pub hard_bytes: u64,
    /// Above this many bytes for `soft_secs` the client is closed.
    pub soft_bytes: u64,
    /// Seconds.
    pub soft_secs: u64,
}

/// `client-output-buffer-limit`, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients with subscriptions.
    pub pubsub: OutputBufferLimit,
}

/// Bytes, or a share of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOrPercent {
    /// Bytes; 0 = no limit.
    Bytes(u64),
    /// 1 to 100.
    Percent(u8),
}

impl Default for MemoryOrPercent {
    fn default() -> Self {
        MemoryOrPercent::Bytes(0)
    }
}

impl MemoryOrPercent {
    /// The limit in bytes; 0 = none (also a percentage without `maxmemory`).
    pub fn bytes(self, maxmemory: u64) -> u64 {
        match self {
            MemoryOrPercent::Bytes(bytes) => bytes,
            MemoryOrPercent::Percent(percent) => {
                (u128::from(maxmemory) * u128::from(percent) / 100) as u64
            }
        }
    }
}

/// `host port` of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Address or name, as given.
    pub host: String,
    /// 1 to 65535 (0 is accepted in a file, as by Redis).
    pub port: u16,
}

/// Flags of `shutdown-on-sigint` and `shutdown-on-sigterm`; none set is `default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save, even without save points.
    pub save: bool,
    /// Do not save.
    pub nosave: bool,
    /// Do not wait for lagging replicas.
    pub now: bool,
    /// Go on if saving fails.
    pub force: bool,
}

/// The classes of `notify-keyspace-events`, one bit per letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(u16);

impl NotifyFlags {
    /// `g`: generic commands (DEL, EXPIRE, RENAME, …).
    pub const GENERIC: NotifyFlags = NotifyFlags(1 << 0);
    /// `$`: strings.
    pub const STRING: NotifyFlags = NotifyFlags(1 << 1);
    /// `l`: lists.
    pub const LIST: NotifyFlags = NotifyFlags(1 << 2);
    /// `s`: sets.
    pub const SET: NotifyFlags = NotifyFlags(1 << 3);
    /// `h`: hashes.
    pub const HASH: NotifyFlags = NotifyFlags(1 << 4);
    /// `z`: sorted sets.
    pub const ZSET: NotifyFlags = NotifyFlags(1 << 5);
    /// `x`: expired keys.
    pub const EXPIRED: NotifyFlags = NotifyFlags(1 << 6);
    /// `e`: evicted keys.
    pub const EVICTED: NotifyFlags = NotifyFlags(1 << 7);
    /// `t`: streams.
    pub const STREAM: NotifyFlags = NotifyFlags(1 << 8);
    /// `d`: module types.
    pub const MODULE: NotifyFlags = NotifyFlags(1 << 9);
    /// `n`: new keys.
    pub const NEW: NotifyFlags = NotifyFlags(1 << 10);
    /// `K`: events on `__keyspace@db__:key`.
    pub const KEYSPACE: NotifyFlags = NotifyFlags(1 << 11);
    /// `E`: events on `__keyevent@db__:event`.
    pub const KEYEVENT: NotifyFlags = NotifyFlags(1 << 12);
    /// `m`: key misses.
    pub const KEY_MISS: NotifyFlags = NotifyFlags(1 << 13);
    /// `A`: all classes but `m` and `n`.
    pub const ALL: NotifyFlags = NotifyFlags((1 << 10) - 1);

    /// The class letters that `A` stands for, then `n`, in the order in which Redis prints them.
    const LETTERS: &'static [u8] = b"g$lshzxetdnKEm";

    /// The raw bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether any class of `other` is on.
    pub fn intersects(self, other: NotifyFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub fn union(self, other: NotifyFlags) -> NotifyFlags {
        NotifyFlags(self.0 | other.0)
    }

    /// Reads letters; `None` at an unknown one.
    pub fn from_letters(letters: &[u8]) -> Option<NotifyFlags> {
        letters.iter().try_fold(NotifyFlags(0), |flags, letter| {
            let bits = match letter {
                b'A' => NotifyFlags::ALL.0,
                _ => 1 << NotifyFlags::LETTERS.iter().position(|l| l == letter)?,
            };
            Some(NotifyFlags(flags.0 | bits))
        })
    }

    /// The letters as CONFIG GET shows them: `A` if all its classes are on, else each, then
    /// `K`, `E`, `m`.
    ///
    /// 7.0 forgets `n` beside `A`, so that a rewrite loses it; here it is kept.
    pub fn letters(self) -> String {
        let all = self.0 & NotifyFlags::ALL.0 == NotifyFlags::ALL.0;
        let mut out = String::new();
        if all {
            out.push('A');
        }
        for (bit, &letter) in NotifyFlags::LETTERS.iter().enumerate() {
            let flag = 1u16 << bit;
            if self.0 & flag != 0 && !(all && NotifyFlags::ALL.0 & flag != 0) {
                out.push(char::from(letter));
            }
        }
        out
    }
}
