//! A node of a Redis Cluster without I/O: the bus, who is down, who owns which slot, elections and
//! handovers, in one cluster with redis-server 7.0 and 7.2.
//!
//! The crate decides and never acts: time, bytes and events come in as [`Input`] and as calls that
//! people order, what is to be done goes out as [`Output`]. It must not know sockets, files, clocks,
//! threads or the keyspace; that is why the simulator can drive the very code that runs in
//! production.
//!
//! # The driver's duties, in order
//!
//! 1. **Start.** Lock `nodes.conf`, read it with [`NodesConf::parse`] (refuse to start on an error:
//!    a file that is not whole may have lost a vote), and build [`Cluster::new`] with a seed, a
//!    name and a shard from the operating system's random source; they are used only when the file
//!    has none. Listen on the port of the bus.
//! 2. **Drain.** After *every* call that takes a time, take [`Cluster::poll_output`] until it is
//!    empty and carry the outputs out in the order given.
//! 3. **Inputs before time-outs.** After waking up, deliver all that has arrived before calling
//!    [`Cluster::handle_timeout`]: what peers said while this process stood still must be known
//!    before anyone is judged. The machine notices by itself that it was not called for long; a
//!    master then serves nothing until it has heard that it was not replaced. Commands that have
//!    waited meanwhile are to be decided after that, with the new [`Routes`].
//! 4. **Time.** Call `handle_timeout` when the clock has reached [`Cluster::poll_timeout`], which
//!    may move with every call and is at most a tenth of a second away. Only the monotonic time
//!    decides.
//! 5. **Facts.** Call [`Cluster::set_facts`] before each `handle_timeout`; while
//!    [`Cluster::wants_offset`], also as soon as the replication offset moves, with a
//!    `handle_timeout` behind it: an ordered handover goes on at that very moment.
//! 6. **Connections.** On [`Output::Connect`] open a non-blocking connection and report `Connected`
//!    or `ConnectFailed`; numbers of accepted connections are odd and chosen by the driver. After
//!    [`Output::Close`] nothing about that number is to be reported. A connection whose unsent bytes
//!    grow beyond `cluster-link-sendbuf-limit` is closed by the driver and reported as `Closed`.
//! 7. **Send** goes out in order on its connection, and need not wait for the disk: the machine
//!    holds back whatever promises something (votes, requests for votes, its own claims) until
//!    `Persisted` has come, and goes on with heartbeats that say what the disk knows.
//! 8. **Persist.** Write the text beside the file, with `sync` fsync it, rename, with `sync` fsync
//!    the folder; off the event loop, in the order of the tokens. A queue may be cut to its newest
//!    entry, which then is written with fsync if any entry asked for it. `Persisted` covers all
//!    earlier tokens. After `PersistFailed` the machine tries again by itself.
//! 9. **Roles.** [`Output::Follow`] starts replication from that address (again when it changes),
//!    [`Output::Lead`] ends it; slots are served only after `Lead`. [`Output::PauseWrites`] and
//!    `ResumeWrites` hold clients' writes back for a handover. [`Output::SlotsLost`] ends shard
//!    subscriptions and, if it says so, deletes keys. [`Output::EmptyData`] flushes everything.
//! 10. **Clients.** Whenever [`Cluster::view_version`] has grown, publish [`Cluster::routes`] to the
//!     workers: [`Routes::decide`] is what admission asks for each command with keys. CLUSTER's
//!     subcommands are calls on [`Cluster`]; those that change something return Redis's error text
//!     without the `-`, those that show something return texts or models for replies. SETSLOT wants
//!     to know how many keys this node holds in the slot, REPLICATE, RESET and FLUSHSLOTS whether it
//!     holds any. The reply to BUMPEPOCH, ADDSLOTS and the like may go out at once, as in Redis.
//! 11. **PUBLISH** on this node is handed to [`Cluster::publish`] too; [`Output::Deliver`] is what
//!     others published, for local subscribers only.

pub mod bus;
mod conf;
mod flags;
mod id;
mod slots;

pub use conf::{ConfError, ConfNode, NodesConf, OtherPort};
pub use flags::Flags;
pub use id::NodeId;
pub use slots::{SLOTS, SlotSet};

mod api;
mod beat;
mod election;
mod failure;
mod links;
mod machine;
mod migrate;
mod node;
mod ops;
mod owners;
mod packet;
mod redirect;
mod save;
mod state;
mod status;
mod views;

pub use api::{ConnId, Facts, Input, LogLevel, Now, Options, Output, PersistToken};
pub use machine::Cluster;
pub use ops::{FailoverKind, Refused, SetSlot};
pub use redirect::{Decision, Keys, Place, Query, Redirect, Routes};
pub use status::NodeStatus;
pub use views::{Endpoint, EndpointType, LinkView, Shard, ShardNode, SlotsEntry, SlotsNode};

#[cfg(test)]
mod tests;
