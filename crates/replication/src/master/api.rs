//! What goes into the master's side and what comes out of it. No behaviour.

use resp::Args;
use stdx::ViewAddrs;

use crate::event::{ConnId, LogLine};
use crate::log::{Cursor, SnapshotMark};

/// One snapshot made for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// How the RDB of a full synchronization travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Sent while it is made, ended by a random mark. Needs `capa eof`.
    Diskless,
    /// Made whole first, sent with its length.
    Disk,
}

/// What a peer wants left out of the RDB (`REPLCONF rdb-filter-only`). Empty means all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RdbFilter {
    /// Leave the keys out.
    pub exclude_data: bool,
    /// Leave the function libraries out.
    pub exclude_functions: bool,
    /// Not asked for but known: the peer reads no version that has hashes whose fields have times,
    /// since it did not announce [`RDB_CAPA`]. If there are such, it can't be served.
    pub no_field_times: bool,
}

/// What a replica announces (`REPLCONF capa`) that reads RDB version 12. Redis passes over
/// capabilities that it does not know, and has no way of its own to tell the version.
pub const RDB_CAPA: &str = "rdb12";

/// `client-output-buffer-limit replica`.
#[derive(Clone, Copy, Debug)]
pub struct OutputLimit {
    /// Dropped at once above this many bytes; 0 = no limit. Counts as at least the backlog's size.
    pub hard_bytes: u64,
    /// Dropped when above this for `soft_ms`; 0 = no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_ms: u64,
}

/// The directives that this machine needs.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// `repl-diskless-sync`
    pub diskless_sync: bool,
    /// `repl-diskless-sync-delay`
    pub diskless_sync_delay_ms: u64,
    /// `repl-diskless-sync-max-replicas`; 0 = wait the whole delay.
    pub diskless_sync_max_replicas: usize,
    /// `repl-ping-replica-period`
    pub ping_period_ms: u64,
    /// `repl-timeout`
    pub timeout_ms: u64,
    /// `repl-backlog-ttl`; 0 = never freed.
    pub backlog_ttl_ms: u64,
    /// `client-output-buffer-limit replica`
    pub output_limit: OutputLimit,
    /// This node's further addresses (`announce-view`).
    pub views: ViewAddrs,
}

impl Default for MasterOptions {
    fn default() -> MasterOptions {
        MasterOptions {
            diskless_sync: true,
            diskless_sync_delay_ms: 5_000,
            diskless_sync_max_replicas: 0,
            ping_period_ms: 10_000,
            timeout_ms: 60_000,
            backlog_ttl_ms: 3_600_000,
            output_limit: OutputLimit {
                hard_bytes: 256 << 20,
                soft_bytes: 64 << 20,
                soft_ms: 60_000,
            },
            views: ViewAddrs::default(),
        }
    }
}

/// This node's own role, as far as its replicas care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// It is a master.
    None,
    /// It is a replica, out of sync with its master: nobody can synchronize with it.
    Down,
    /// It is a replica in sync.
    Up,
}

/// What happens to the machine.
#[derive(Debug)]
pub enum MasterInput<'a> {
    /// `REPLCONF …` from a connection that is not this node's master link.
    Replconf {
        /// Who.
        conn: ConnId,
        /// The peer's address as the socket tells it (empty for a unix socket).
        peer_ip: &'a str,
        /// The whole command, its name first.
        args: Args<'a>,
    },
    /// `PSYNC id offset [FAILOVER]`, or `SYNC` (one argument).
    Sync {
        /// Who.
        conn: ConnId,
        /// See `Replconf`.
        peer_ip: &'a str,
        /// The whole command, its name first.
        args: Args<'a>,
        /// Replies to earlier commands of this connection are still unsent.
        pending_output: bool,
    },
    /// A bare newline from an attached replica: it is alive, busy loading.
    Newline {
        /// Who.
        conn: ConnId,
    },
    /// The snapshot asked for by `StartSnapshot` has begun, at this mark.
    SnapshotStarted {
        /// Which.
        job: JobId,
        /// Taken with `mark_snapshot(true)` under all stripe locks.
        mark: SnapshotMark,
    },
    /// The snapshot is made: for the disk form it lies ready with its length, for the diskless form
    /// its last byte was handed to the transfers. `None`: it failed, or could not even start.
    SnapshotEnded {
        /// Which.
        job: JobId,
        /// Length in bytes.
        length: Option<u64>,
    },
    /// The snapshot is not made: these replicas can't be given the data set as it is, but perhaps
    /// later.
    SnapshotRefused {
        /// Which.
        job: JobId,
        /// What they are told.
        why: &'a str,
    },
    /// A transfer could not write anything for now (`true`) or got on again (`false`).
    TransferBlocked {
        /// Whose.
        conn: ConnId,
        /// See above.
        blocked: bool,
    },
    /// All bytes of a transfer, the closing mark included, were given to the socket.
    TransferDone {
        /// Whose.
        conn: ConnId,
    },
    /// The connection is gone. Harmless for connections that the machine never saw.
    Closed {
        /// Who.
        conn: ConnId,
    },
    /// Somebody waits for acknowledgements (WAIT, quorum writes, shutdown): ask the replicas.
    RequestAcks,
    /// The history changed under the replicas (`ReplicaOutput::DropReplicas`): they must come
    /// again to learn it.
    DropReplicas,
}

/// What the machine wants done.
#[derive(Debug)]
pub enum MasterOutput {
    /// Send these bytes.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Start a snapshot; answer with `SnapshotStarted` or `SnapshotEnded` without length.
    StartSnapshot {
        /// Its name.
        job: JobId,
        /// Diskless: its bytes go to all of `conns` while they are made.
        transport: Transport,
        /// What to leave out.
        filter: RdbFilter,
        /// For whom.
        conns: Vec<ConnId>,
    },
    /// Nobody wants this snapshot any more.
    AbortSnapshot {
        /// Which.
        job: JobId,
    },
    /// Send `header`, the RDB and `trailer`; then `TransferDone`.
    Transfer {
        /// To whom.
        conn: ConnId,
        /// Whose bytes.
        job: JobId,
        /// `$EOF:<mark>\r\n` or `$<length>\r\n`.
        header: Vec<u8>,
        /// The mark, empty for the disk form.
        trailer: Vec<u8>,
    },
    /// Send the log from here on, as it grows, until the connection ends.
    Stream {
        /// To whom.
        conn: ConnId,
        /// From where.
        cursor: Cursor,
    },
    /// Close the connection after what was sent before.
    Close {
        /// Whose.
        conn: ConnId,
    },
    /// A line for the log.
    Log(LogLine),
}

/// Counters for INFO stats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// `sync_full`
    pub full: u64,
    /// `sync_partial_ok`
    pub partial_ok: u64,
    /// `sync_partial_err`
    pub partial_err: u64,
}
