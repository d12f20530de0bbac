//! Replication: the one log of effects, and the two machines that speak PSYNC about it.
//!
//! - [`Log`] holds what replicas and the append-only file (later also slot migration) still have
//!   to read. Every worker appends to it; readers follow with a [`Cursor`].
//! - [`Watermarks`] says how far the replicas have acknowledged; WAIT, `min-replicas-to-write` and
//!   the reply gate compare positions with it.
//! - [`MasterSide`] is the table of attached replicas: handshake, partial or full
//!   resynchronization, keepalive, time-outs.
//! - [`ReplicaLink`] is the link to this node's own master.
//!
//! The machines get time, bytes and events and give outputs; they never touch a socket, clock,
//! file, random source or the keyspace, so that the binary's driver and the simulator run the same
//! code. `handle_input`, `handle_timeout`, `poll_timeout` and `poll_output` are all that a driver
//! calls; after every call of the first two it drains `poll_output` and asks `poll_timeout` anew.
//!
//! Rejected: a byte ring as backlog beside per-replica output buffers (Redis before 7). One chain of
//! blocks with cursors stores every byte once and makes a slow reader's cost visible.

mod event;
mod info;
mod log;
mod master;
mod replica;
mod replid;
mod watermarks;

pub use event::{ConnId, LogLevel, LogLine};
pub use info::{InfoSettings, role_reply, section as info_section};
pub use log::{
    AppendRecord, AppliedPart, Chunk, Cursor, CursorLost, CursorWatch, FileBatch, FilePiece,
    HistoryMark, Log, LogStats, Origin, Part, PartialRefusal, Position, SnapshotMark, Targets,
};
pub use master::{
    FailoverRequest, FailoverState, FailoverStep, JobId, Laggards, MasterInput, MasterOptions,
    MasterOutput, MasterSide, OutputLimit, RDB_CAPA, RdbFilter, SyncStats, Transport, Upstream,
};
pub use replica::{
    LinkId, LinkState, LinkStatus, LoadMode, ReplicaInput, ReplicaLink, ReplicaOfOutcome,
    ReplicaOptions, ReplicaOutput, SyncProgress,
};
pub use replid::{ReplId, ReplIds};
pub use watermarks::Watermarks;
