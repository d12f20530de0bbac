//! A whole data node without I/O: sessions, admission, execution, the log, the gate, pub/sub,
//! blocking.
//!
//! [`Node`] is shared by all workers and jobs. A worker feeds the requests of its connections to
//! [`Node::handle`] and sends what that writes. Sockets, threads, files and clocks are on the other
//! side: what the node needs of them it asks of a [`Host`], and other workers' connections are
//! reached only through [`Mailbox`]es. See `ARCHITECTURE.md` for the way of a write.

mod access;
mod aof;
mod apply;
mod block;
mod client;
mod client_memory;
pub mod command;
mod evict;
mod exec;
mod failover;
mod gate;
mod host;
mod mailbox;
mod node;
mod pause;
mod prepare;
mod propagate;
mod pubsub;
mod registry;
mod script;
mod sentinel;
mod serve;
mod session;
mod settings;
mod shutdown;
mod slowlog;
mod stats;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
mod tracking;
mod views;
mod worker;

pub use access::{Access, UserCell, check_user_lines, check_users};
pub use aof::{Aof, AofState, OnFile};
pub use apply::{FileApplier, StreamApplier};
pub use block::{Blocked, Blocking};
pub use client::{ClientInfo, ClientKind, ClientNames, Clients};
pub use client_memory::size_class;
pub use exec::Next;
pub use failover::{Failover, is_sentinel};
pub use gate::{Durability, Gate, Progress};
pub use host::{Host, ProcessFacts, ShutdownHow};
pub use mailbox::{Mailbox, Message};
pub use node::{Node, NodeOptions, Persistence, Role};
pub use pause::{PauseFor, Pauses};
pub use prepare::Prepared;
pub use pubsub::{PubSub, Topic};
pub use registry::{
    CommandEntry, CommandRef, Registry, Rename, Run, is_command, registry, rename_commands,
};
pub use script::{Fate, Functions, RestorePolicy, Running, Script, ScriptMemory, Scripts};
pub use sentinel::SentinelMode;
pub use serve::{Repl, ReplicaTask, ReplicationHost, Transfer, master_options, replica_options};
pub use session::{Multi, ReplyMode, Session, Watch};
pub use settings::Settings;
pub use shutdown::Shutdown;
pub use slowlog::{LatencyMonitor, SlowEntry, SlowLog};
pub use stats::{CommandStat, Stats, WorkerStats};
pub use tracking::{Track, Tracking, TrackingCounts};
pub use worker::{Now, Worker};

use commands::CommandError;
use resp::{Args, Reply};
use std::sync::{Mutex, MutexGuard};

/// What a command of the node itself works with.
pub struct NodeCtx<'a, 'k> {
    /// The node.
    pub node: &'a Node,
    /// The worker that runs the command.
    pub worker: &'a mut Worker,
    /// The connection.
    pub session: &'a mut Session,
    /// The keys. Held are: those of the command's key specs, all with `ALL_STRIPES` (a
    /// script may have fewer, see `script`), else none or (inside EXEC) all. The keyspace must be reached through this alone.
    pub keys: &'a mut keyspace::Keys<'k>,
    /// Where the reply goes.
    pub reply: &'a mut Reply,
    /// True inside EXEC.
    pub in_exec: bool,
    /// Serves the worker's other connections, for a command that takes long.
    pub serve: &'a mut dyn FnMut(),
}

/// What is to happen after a command of the node itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing special.
    #[default]
    Done,
    /// The command goes on the log as it is.
    Propagate,
    /// The connection waits; no reply was written.
    Blocked,
    /// Nothing was done: the command is to start again, under all stripes.
    Again,
    /// The connection ends after its replies.
    Close,
}

/// A function of the node's own commands.
pub type NodeFn = fn(&mut NodeCtx<'_, '_>, &Args<'_>) -> Result<After, CommandError>;

/// Takes a lock. A thread that panicked while it held one has aborted the process.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
