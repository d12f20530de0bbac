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

#[cfg(test)]
mod tests;
