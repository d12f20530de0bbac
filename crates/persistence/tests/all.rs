//! Tests of the formats from outside, one binary.
// A test may start a server, speak to it and keep files.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[path = "all/aof.rs"]
mod aof;
#[path = "all/dump.rs"]
mod dump;
#[path = "all/frozen.rs"]
mod frozen;
#[path = "all/model.rs"]
mod model;
#[path = "all/mutate.rs"]
mod mutate;
#[path = "all/old.rs"]
mod old;
#[path = "all/round.rs"]
mod round;
#[path = "all/server.rs"]
mod server;
#[path = "all/streams.rs"]
mod streams;
#[path = "all/timed.rs"]
mod timed;
