//! A deterministic world for the machines: time, network, disks and data nodes are simulated, the
//! sentinels are the real ones. Development only.
//!
//! One seed decides everything: who is hit by which fault, how long each byte travels, when a disk
//! is slow. A run that fails prints its seed and the command that replays it. Nothing here touches
//! the operating system; what happens between the threads of a real process is not modelled.
//!
//! Rooms: [`World`] is the event loop, `net` and `wire` the network, `serve` what runs on the hosts, `node` the data node as its protocol shows
//! it, `seat` a sentinel process with its disk and sessions, `check` and `notes` what must never happen,
//! [`chaos`] random faults and the demand for peace after them, [`figures`] measurements.

pub mod chaos;
pub mod cluster;
#[cfg(feature = "data")]
pub mod data;
pub mod figures;

mod check;
mod net;
mod node;
mod notes;
mod seat;
mod serve;
mod wire;
mod world;

pub use world::{Entry, Host, World, WorldOptions};

// The server's own rooms, compiled here with a simulated operating system below them. They name the
// rest of the binary by these paths.
#[cfg(feature = "data")]
#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
// Its threads are real, their turns are not.
mod os;
#[cfg(feature = "data")]
use os::log;
#[cfg(feature = "data")]
use os::program::{self, container, crash};
#[cfg(feature = "data")]
#[path = "../../redoubt/src/io"]
#[allow(dead_code)] // Some is for other drivers than this one.
mod io {
    pub mod addr;
    pub mod balance;
    pub mod conn;
    pub mod replica;
    pub mod stream;
    pub mod worker;
    pub use crate::os::sys::memory;
    pub use crate::os::{gateway, listen, sys, tls};
}
#[cfg(feature = "data")]
#[path = "../../redoubt/src/server/mod.rs"]
#[allow(dead_code, unused_imports, clippy::disallowed_types, clippy::disallowed_methods)]
// As in the binary.
mod server;

#[cfg(test)]
mod tests;
