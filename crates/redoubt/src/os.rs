//! What the rooms `server` and `io` ask of the operating system, by the names under which they ask:
//! files, threads, clocks, channels between threads, sockets and their events, signals.
//!
//! The simulator compiles the same files of those rooms with another module of this name, whose files,
//! threads and sockets are simulated. So nothing in them says `std::fs`, `std::thread` or `mio` past
//! this module.

pub use std::sync::mpsc;
pub use std::{fs, net, process, thread, time};
pub use {mio, signal_hook};
