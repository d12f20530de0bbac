//! What goes into the machine and what comes out of it.
//!
//! Plain data only. Addresses are `std::net` values, which carry no socket.

use std::net::{IpAddr, SocketAddr};

use stdx::{MonoMs, UnixMs};

/// The time of a call. Decisions use `mono` only; `unix` is printed in one log line and never
/// compared, so that a jump of the wall clock changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds.
    pub mono: MonoMs,
    /// Milliseconds since the Unix epoch.
    pub unix: UnixMs,
}

/// A connection, named by the machine in [`Output::Connect`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A state of the configuration that is to reach the disk. Tokens grow by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub u64);

/// One run of a notification or reconfiguration script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptId(pub u64);

/// How an established connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The other side closed in order.
    Fin,
    /// The other side reset the connection.
    Reset,
    /// Anything else: a time-out of the transport, a TLS failure, a local error.
    Error,
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The address answered that nobody listens.
    Refused,
    /// No answer.
    TimedOut,
    /// No route to the host or network, or any other failure.
    Unreachable,
}

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptExit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Something that happened outside.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The connection is established; `local` is this end's address, announced to peers when no
    /// `announce-ip` is set.
    Connected {
        /// The connection.
        conn: ConnId,
        /// This end's address.
        local: IpAddr,
    },
    /// The connection could not be established; its id is spent.
    ConnectFailed {
        /// The connection.
        conn: ConnId,
        /// Why.
        error: ConnectError,
    },
    /// An established connection has ended; its id is spent.
    Closed {
        /// The connection.
        conn: ConnId,
        /// How.
        how: CloseReason,
    },
    /// Bytes have arrived on an established connection.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes, cut anywhere.
        bytes: &'a [u8],
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// The name asked for.
        host: &'a str,
        /// Its first address, or nothing when the name is not known (now).
        addr: Option<IpAddr>,
    },
    /// The configuration with this token, and with all earlier ones, is safe on disk.
    Persisted {
        /// The token.
        token: PersistToken,
    },
    /// Writing failed; the machine tries again with a new token.
    PersistFailed {
        /// The token.
        token: PersistToken,
        /// The operating system's words.
        error: &'a str,
    },
    /// A script runs.
    ScriptStarted {
        /// The run.
        id: ScriptId,
        /// Its process id.
        pid: i64,
    },
    /// A script could not be started at all.
    ScriptNotStarted {
        /// The run.
        id: ScriptId,
    },
    /// A script has ended.
    ScriptExited {
        /// The run.
        id: ScriptId,
        /// How.
        exit: ScriptExit,
    },
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// Commands and replies.
    Command,
    /// The subscription to `__sentinel__:hello`.
    PubSub,
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
    /// Open a connection.
    Connect {
        /// Its id from now on.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
        /// What it will carry.
        purpose: LinkPurpose,
    },
    /// Write bytes to an established connection.
    Send {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a connection, established or not; its id is spent.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Make this the configuration file's content.
    Persist {
        /// Comes back in [`Input::Persisted`].
        token: PersistToken,
        /// The whole text.
        text: Vec<u8>,
    },
    /// Send a message to this process's own subscribers.
    Publish {
        /// The event's name.
        channel: String,
        /// The event's payload.
        payload: String,
        /// What those are told instead who see the nodes from another side.
        views: Vec<ViewPayload>,
    },
    /// Write a log line.
    Log {
        /// Its level.
        level: LogLevel,
        /// The line, without prefix.
        line: String,
    },
    /// Start a script.
    RunScript {
        /// The run.
        id: ScriptId,
        /// Path and arguments.
        argv: Vec<String>,
    },
    /// Kill a script that has run too long.
    KillScript {
        /// The run.
        id: ScriptId,
    },
    /// Look a host name up.
    Resolve {
        /// The name.
        host: String,
    },
    /// End the process with this status, without any cleaning up.
    Exit {
        /// The status.
        status: i32,
    },
}

/// An event's payload with the addresses of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewPayload {
    /// The view.
    pub view: String,
    /// For who named the master `name@view`: it is called so here.
    pub suffixed: bool,
    /// The payload.
    pub payload: String,
}

/// What becomes of the reply that [`crate::Sentinel::command`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum CommandOutcome {
    /// Send it.
    Done,
    /// Send it once this token, or a later one, is on disk.
    AfterPersist(PersistToken),
}

/// What the machine needs to know at its start besides the configuration file.
#[derive(Clone, Debug)]
pub struct Options {
    /// 40 lower-case hexadecimal digits; used when the file has no `sentinel myid`.
    pub myid: String,
    /// Seed of all random choices.
    pub seed: u64,
    /// The port that peers are told when `announce-port` is not set (the TLS port where links use
    /// TLS).
    pub port: u16,
    /// Password for peers when `sentinel-pass` is not set: this process's own `requirepass`.
    pub requirepass: Option<String>,
    /// Tells whether a script path exists and may be executed; asked by SENTINEL SET.
    pub script_is_executable: fn(&str) -> bool,
}
