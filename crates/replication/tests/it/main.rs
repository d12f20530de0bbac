//! The log, the two machines, and both together, driven through the public interface.
#![allow(clippy::disallowed_methods)] // The threaded test of the log starts threads.

mod failover;
mod guard;
mod harness;
mod log_model;
mod log_threads;
mod log_units;
mod master;
mod replica;
mod transcripts;
mod two_sided;
