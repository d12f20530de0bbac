//! Real data nodes in a simulated world.
//!
//! What runs is the server as it is in the binary: its event loops, sessions, the gate, the append-only
//! file's thread, snapshots, the link to the master, the cron. Only what is below them is simulated
//! (`os`): threads take turns, disks tear and lose, networks delay and cut.
//!
//! [`World`] is the machines and the clients, [`run`] one seed of faults, `client` and `model` what must
//! hold for a client's own keys, `noise` what others do meanwhile.

mod chaos;
mod client;
mod model;
mod noise;
mod world;

pub use chaos::{Outcome, options, run, run_world};
pub use world::{Options, Promise, World};

#[cfg(test)]
mod tests;
