//! What goes into the replica's side and what comes out of it. No behaviour.

use stdx::ViewAddrs;

use crate::event::LogLine;
use crate::replid::ReplId;

/// One attempt to talk to the master. Events of earlier attempts are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Where the incoming RDB goes; for the log's wording only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadMode {
    /// To a file first (`repl-diskless-load disabled`).
    Disk,
    /// Straight into the parser.
    Parser,
}

/// The directives that this machine needs.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// What `REPLCONF listening-port` tells: `replica-announce-port`, or `port`.
    pub listening_port: u16,
    /// `replica-announce-ip`
    pub announce_ip: Option<String>,
    /// Further addresses (`announce-view`); nothing where views are not used.
    pub views: Option<ViewAddrs>,
    /// `masteruser`
    pub masteruser: Option<String>,
    /// `masterauth`
    pub masterauth: Option<Vec<u8>>,
    /// `repl-timeout`
    pub timeout_ms: u64,
    /// `repl-diskless-load`
    pub load_mode: LoadMode,
}

impl Default for ReplicaOptions {
    fn default() -> ReplicaOptions {
        ReplicaOptions {
            listening_port: 6379,
            announce_ip: None,
            views: None,
            masteruser: None,
            masterauth: None,
            timeout_ms: 60_000,
            load_mode: LoadMode::Disk,
        }
    }
}

/// What happens to the link.
#[derive(Debug)]
pub enum ReplicaInput<'a> {
    /// The connection stands.
    Connected {
        /// Which attempt.
        link: LinkId,
    },
    /// It could not be made.
    ConnectFailed {
        /// Which attempt.
        link: LinkId,
        /// The operating system's words, such as `Connection refused`.
        error: &'a str,
    },
    /// Bytes came. Feed them only while [`ReplicaLink::wants_read`](crate::ReplicaLink::wants_read), or they are kept in memory.
    Data {
        /// On which attempt's connection.
        link: LinkId,
        /// What came.
        bytes: &'a [u8],
    },
    /// The connection is gone.
    Closed {
        /// Which.
        link: LinkId,
        /// The operating system's words, empty for an orderly end.
        error: &'a str,
    },
    /// The answer to `Inspect`.
    Inspected {
        /// For which attempt.
        link: LinkId,
        /// The RDB has no key.
        incoming_empty: bool,
        /// Keys of this node.
        own_keys: u64,
        /// An empty data set is refused (`empty-master-guard`); else only warned of.
        guarded: bool,
    },
    /// The node begins to replace its data set with the incoming one: no way back from here.
    LoadStarted {
        /// For which attempt.
        link: LinkId,
    },
    /// The incoming RDB is loaded whole (`ok`), or not: broken file, refused by a guard, no memory.
    LoadFinished {
        /// For which attempt.
        link: LinkId,
        /// Whether the data set is now the master's.
        ok: bool,
        /// The RDB's `repl-stream-db`, 0 if it has none. (A record of the stream begins by selecting
        /// its database, except below a replica.)
        stream_db: u32,
    },
    /// The node met `REPLCONF GETACK` in the stream.
    AckRequested,
}

/// What the link wants done.
#[derive(Debug, PartialEq)]
pub enum ReplicaOutput {
    /// Open a connection; answer with `Connected` or `ConnectFailed`. Before that, apply or drop all
    /// `Stream` bytes of earlier links: the offset that the handshake tells must not move after it.
    Connect {
        /// The attempt's name.
        link: LinkId,
        /// Host name or address as configured.
        host: String,
        /// Port.
        port: u16,
    },
    /// Send these bytes.
    Send {
        /// On which connection.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close the connection; nothing of it counts any more. Data that was being loaded from it and
    /// is not finished is to be given up.
    Close {
        /// Which.
        link: LinkId,
    },
    /// An RDB follows: prepare a sink.
    RdbBegin {
        /// On which connection.
        link: LinkId,
        /// Its length; `None` if it is sent while it is made.
        length: Option<u64>,
        /// The id and offset that the data will have; `None` after a plain SYNC.
        replid: Option<ReplId>,
        /// See `replid`.
        offset: u64,
    },
    /// A piece of the RDB.
    RdbBytes {
        /// On which connection.
        link: LinkId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The RDB is complete, and may be that of a master that came back empty: look whether it has
    /// a key, without touching the node's own, and say `Inspected`.
    Inspect {
        /// On which connection.
        link: LinkId,
    },
    /// The RDB is complete: load it (or finish loading), then say `LoadFinished`.
    RdbEnd {
        /// On which connection.
        link: LinkId,
    },
    /// The stream begins: decode with a fresh decoder.
    StreamBegin {
        /// On which connection.
        link: LinkId,
        /// True after a full synchronization: the RDB tells the selected database. False: as before.
        full: bool,
    },
    /// Bytes of the stream, to be applied in order.
    Stream {
        /// On which connection.
        link: LinkId,
        /// The bytes, cut anywhere.
        bytes: Vec<u8>,
    },
    /// The history changed: tell the own replicas (`MasterInput::DropReplicas`).
    DropReplicas,
    /// The target of a FAILOVER has taken over.
    FailoverDone,
    /// It has not: take the role of master again (`ReplicaLink::hand_over_aborted`).
    FailoverFailed {
        /// Why, for the log.
        why: &'static str,
    },
    /// A line for the log.
    Log(LogLine),
}

/// ROLE's word for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// This node is a master.
    None,
    /// To be connected.
    Connect,
    /// Being connected.
    Connecting,
    /// Talking before the data.
    Handshake,
    /// Getting or loading the RDB.
    Sync,
    /// Following the stream.
    Connected,
}

impl LinkState {
    /// As ROLE prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::None => "none",
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// How far the RDB of a full synchronization has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncProgress {
    /// 0 if unknown.
    pub total_bytes: u64,
    /// Received.
    pub read_bytes: u64,
    /// Age of the last byte.
    pub last_io_seconds_ago: u64,
}

/// The link as INFO shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// `master_host`
    pub host: String,
    /// `master_port`
    pub port: u16,
    /// ROLE's state; `master_link_status` is up when connected.
    pub state: LinkState,
    /// `master_last_io_seconds_ago`, −1 if not connected.
    pub last_io_seconds_ago: i64,
    /// Present while an RDB comes in.
    pub sync: Option<SyncProgress>,
    /// `slave_read_repl_offset`
    pub read_offset: u64,
    /// `slave_repl_offset`
    pub applied_offset: u64,
    /// `master_link_down_since_seconds`, −1 if never up with this master; `None` while up.
    pub down_since_seconds: Option<i64>,
    /// How often the empty data set of a master that came back was refused since the last sync.
    pub empty_refused: u64,
}

/// What a REPLICAOF did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaOfOutcome {
    /// `+OK`
    Started,
    /// `+OK Already connected to specified master`
    AlreadyConnected,
}
