//! What goes into the machine and what comes out of it. Plain data only.

use std::net::{IpAddr, SocketAddr};

use stdx::{MonoMs, UnixMs};

use crate::id::NodeId;

/// The time of a call. Decisions use `mono` only; `unix` is what peers and people are told, and a
/// jump of the wall clock changes nothing but those numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds.
    pub mono: MonoMs,
    /// Milliseconds since the Unix epoch.
    pub unix: UnixMs,
}

/// A connection of the bus. Those that the machine opens have even numbers, those that the driver
/// has accepted have odd ones (the driver chooses them); no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A state of `nodes.conf` that is to reach the disk. Tokens grow by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub u64);

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A connection that the machine asked for is established.
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// It could not be established; its number is spent.
    ConnectFailed {
        /// The connection.
        conn: ConnId,
    },
    /// Somebody has connected to the port of the bus.
    Accepted {
        /// An odd number, not used before.
        conn: ConnId,
        /// The other side's address.
        peer: IpAddr,
        /// This side's address, as the other side sees it.
        local: IpAddr,
    },
    /// Bytes have arrived, cut anywhere.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// An established connection has ended (also: its buffer grew beyond
    /// `cluster-link-sendbuf-limit`); its number is spent.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// The file with this token, or a later one, is safe on disk.
    Persisted {
        /// The token.
        token: PersistToken,
    },
    /// The file could not be written; the machine tries again with a new token.
    PersistFailed {
        /// The token.
        token: PersistToken,
    },
}

/// Redis's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `.`
    Debug,
    /// `-`
    Verbose,
    /// `*`
    Notice,
    /// `#`
    Warning,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a connection to the bus of a node (TLS when `tls-cluster yes`).
    Connect {
        /// Its number from now on.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
    },
    /// Write bytes to an established connection.
    Send {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a connection, established or not; its number is spent.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Make this the content of `nodes.conf`.
    Persist {
        /// Comes back in [`Input::Persisted`].
        token: PersistToken,
        /// The whole text.
        text: String,
        /// With fsync: votes and epochs wait for it.
        sync: bool,
    },
    /// Write a log line.
    Log {
        /// Its level.
        level: LogLevel,
        /// The line, without prefix.
        line: String,
    },
    /// Replicate from the node at this address. Given again when the address changes.
    Follow {
        /// Its address.
        ip: String,
        /// Its port for clients.
        port: u16,
    },
    /// Be a master: stop replicating and serve the slots.
    Lead,
    /// Hold back the writes of clients, for this many milliseconds at most: a replica takes over.
    PauseWrites {
        /// The bound.
        ms: u64,
    },
    /// Let them go on.
    ResumeWrites,
    /// These slots belong to somebody else now: end the subscriptions to their shard channels.
    SlotsLost {
        /// The slots.
        slots: Vec<u16>,
        /// This node stays a master: delete the keys in them.
        delete: bool,
    },
    /// A message for subscribers, from another node.
    Deliver {
        /// SPUBLISH instead of PUBLISH.
        sharded: bool,
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        message: Vec<u8>,
    },
    /// Delete all data: CLUSTER RESET of a replica.
    EmptyData,
}

/// What the node's data side looks like. The driver sets it before every call of
/// `handle_timeout`, and whenever the offset moves while [`crate::Cluster::wants_offset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The replication offset: of what this master has written, or this replica has applied.
    pub repl_offset: u64,
    /// For a replica: milliseconds since it last heard of its master on the replication link.
    pub data_age_ms: u64,
    /// For a replica: it holds a data set that once was its master's. Without it there is nothing
    /// to offer in an election.
    pub has_data: bool,
}

/// Settings, from the directives of the same names.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of all random choices that need not be secret.
    pub seed: u64,
    /// This node's name when no file has one: from a source of true randomness.
    pub myid: NodeId,
    /// Its shard when no file has one.
    pub shard: NodeId,
    /// `cluster-announce-port`, or the port for clients (the TLS port with `tls-cluster`).
    pub port: u16,
    /// The other port for clients, 0 for none.
    pub other_port: u16,
    /// `cluster-announce-bus-port`, or the port of the bus.
    pub bus_port: u16,
    /// `tls-cluster`.
    pub tls: bool,
    /// `cluster-announce-ip`.
    pub announce_ip: Option<IpAddr>,
    /// `cluster-announce-hostname`, empty for none.
    pub hostname: String,
    /// `cluster-announce-human-nodename`, empty for none.
    pub nodename: String,
    /// `cluster-node-timeout`.
    pub node_timeout: u64,
    /// `cluster-replica-validity-factor`.
    pub validity_factor: u64,
    /// `repl-ping-replica-period` in seconds.
    pub repl_ping_period: u64,
    /// `cluster-migration-barrier`.
    pub migration_barrier: usize,
    /// `cluster-allow-replica-migration`.
    pub allow_replica_migration: bool,
    /// `cluster-require-full-coverage`.
    pub require_full_coverage: bool,
    /// `cluster-replica-no-failover`.
    pub no_failover: bool,
    /// `cluster-allow-reads-when-down`.
    pub reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`.
    pub pubsubshard_when_down: bool,
}

impl Options {
    /// Redis's defaults for a node with this name and these ports.
    pub fn new(seed: u64, myid: NodeId, shard: NodeId, port: u16, bus_port: u16) -> Options {
        Options {
            seed,
            myid,
            shard,
            port,
            other_port: 0,
            bus_port,
            tls: false,
            announce_ip: None,
            hostname: String::new(),
            nodename: String::new(),
            node_timeout: 15_000,
            validity_factor: 10,
            repl_ping_period: 10,
            migration_barrier: 1,
            allow_replica_migration: true,
            require_full_coverage: true,
            no_failover: false,
            reads_when_down: false,
            pubsubshard_when_down: true,
        }
    }
}
