//! Scripts: a Lua 5.1 interpreter in Redis's sandbox, with Redis's libraries and its interface
//! `redis`, and libraries of functions.
//!
//! [`Engine`] runs scripts; what a script wants of the server goes through [`Host`]. Nothing here
//! knows commands, keys, connections, sockets or clocks. Where this stands apart from Redis's own
//! patched interpreter: tables are protected by metatables (`sandbox`), and patterns are matched by
//! our own matcher, because a kill has to reach it (`pattern`).

mod api;
mod args;
mod bit;
mod cjson;
mod cmsgpack;
mod convert;
mod current;
mod engine;
pub mod header;
mod library;
mod number;
mod pattern;
mod raise;
mod random;
mod sandbox;
mod strings;
mod structs;
#[cfg(test)]
mod tests;

pub use api::{About, REPL_AOF, REPL_REPLICA, sha1_hex};
pub use engine::{Compiled, Engine, Failure, Host, Kind};
pub use header::Flags;
pub use library::{Function, Library};
pub use random::Random;
