//! Sentinel without I/O: watching masters, agreeing that one is down, electing a leader, promoting
//! the best replica and telling everyone about it, in one quorum with redis-sentinel 7.0.
//!
//! The crate decides and never acts: time, bytes and events come in as [`Input`], what is to be
//! done goes out as [`Output`]. It must not know sockets, files, clocks, threads or the keyspace;
//! that is why the simulator can drive the very code that runs in production.
//!
//! # The driver's duties, in order
//!
//! 1. **Start.** Read the configuration file, call [`SentinelConf::parse`], apply
//!    [`SentinelConf::ordinary`] (port, bind, logfile, requirepass, …), check that every path of
//!    [`SentinelConf::scripts`] is executable and that the file can be written, then build
//!    [`Sentinel::new`] with a seed and a run id from the operating system's random source (the run
//!    id is used only when the file has none). A file without `sentinel myid` counts as lost state:
//!    such a sentinel gives no vote for ten seconds after it has met another. Whoever starts a whole
//!    group anew and wants failovers at once writes a `sentinel myid` of its own into each file.
//! 2. **Drain.** After *every* call (`new`, `handle_input`, `handle_timeout`, `command`) take
//!    [`Sentinel::poll_output`] until it is empty and carry the outputs out in the order given.
//! 3. **Inputs before time-outs.** After waking up, deliver everything that has arrived (bytes,
//!    closes, command lines) before calling `handle_timeout`: what peers said while this process was
//!    paused must be known before anyone is judged.
//! 4. **Time.** Call `handle_timeout` when the clock has reached [`Sentinel::poll_timeout`]. That
//!    instant may move with every call; it is never more than a tenth of a second away. `Now` holds
//!    a monotonic time and the wall clock; only the monotonic one decides anything.
//! 5. **Connections.** On [`Output::Connect`] open a non-blocking connection (TLS when
//!    `tls-replication yes`) and report `Connected`, with the local address, or `ConnectFailed`.
//!    Say honestly *how* a connection ended: `Fin` and `Reset` came from the other side and may be
//!    proof of its death, `Error` is anything else. After [`Output::Close`] forget the id: nothing
//!    about it is to be reported any more. Never connect or retry on your own. With TLS,
//!    `Connected` means that TCP stands: a server that is slow with its handshake is alive, and must
//!    not be taken for one that does not answer.
//! 6. **Send** writes go out in order on their connection; two `Send`s in a row for one connection
//!    may be one write. No `Send` needs to wait for the disk: the machine holds back whatever
//!    promises something until its `Persisted` has come.
//! 7. **Persist.** Write the text beside the file, fsync, rename, fsync the folder (in place with a
//!    copy kept where a rename is impossible), off the event loop, in the order of the tokens; a
//!    queue may be cut to its newest entry. Report `Persisted { token }` (it covers all earlier
//!    tokens) or `PersistFailed`; the machine logs both and retries a failure by itself.
//! 8. **Commands.** SENTINEL, ROLE, PUBLISH and INFO go to [`Sentinel::command`] (INFO better to
//!    [`Sentinel::info`], with the process's own sections). On [`CommandOutcome::AfterPersist`] the
//!    reply, and all later replies of that session, wait until a `Persisted` with that token or a
//!    later one has come: a vote reaches the disk before the wire. PING, AUTH, HELLO, CLIENT,
//!    COMMAND, ACL, SUBSCRIBE and SHUTDOWN are the driver's own.
//! 9. **Publish** goes to the local subscribers of that channel and of matching patterns, to each in
//!    the view in which it sees the nodes; **Log**
//!    to the log if the level allows it; **Resolve** to a resolver thread, answered by `Resolved`.
//! 10. **Scripts.** `RunScript` starts a child without inherited descriptors; report
//!     `ScriptStarted` or `ScriptNotStarted`, then `ScriptExited`. `KillScript` is SIGKILL.
//! 11. **Exit** (`SENTINEL SIMULATE-FAILURE`) ends the process at once with that status; nothing
//!     that comes after it is carried out.

mod addr;
mod api;
mod commands;
mod conf;
mod core;
mod down;
mod failover;
mod hello;
mod info;
mod inputs;
mod io;
mod link;
mod machine;
mod model;
mod planned;
mod reconf;
mod rewrite;
mod save;
mod scripts;
mod select;
mod status;
mod switch;
mod timing;
mod views;
mod vote;

pub use addr::Addr;
pub use api::{
    CloseReason, CommandOutcome, ConnId, ConnectError, Input, LinkPurpose, LogLevel, Now, Options,
    Output, PersistToken, ScriptExit, ScriptId, ViewPayload,
};
pub use conf::{ConfError, OrdinaryLine, ScriptLine, SentinelConf, words_before_comment};
pub use hello::{HELLO_CHANNEL, Hello, REQUEST_CHANNEL};
pub use machine::Sentinel;
pub use status::{MasterStatus, NodeStatus, PeerStatus, Status};
pub use views::ReadViews;

#[cfg(test)]
mod tests;
