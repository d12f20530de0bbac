//! A world of cluster nodes: the real machines over a simulated network, disks and data.
//!
//! As for the sentinels, one seed decides everything. What a host holds of data is a number, its
//! replication offset. Nothing is shared with the world of sentinels but the idea: a cluster has
//! one kind of process, and its connections carry one kind of message.

pub mod chaos;
pub mod figures;

mod check;
mod seat;
mod world;

pub use world::{ClusterWorld, Settings};

#[cfg(test)]
mod tests;
