//! The I/O core: one epoll loop per worker, its connections, and the few calls to the operating
//! system that need `unsafe`.
//!
//! A worker reads a connection's requests, runs them, and answers the whole batch with one write.
//! Buffers are the worker's while a connection has nothing pending, so that an idle connection
//! costs little.

pub mod addr;
pub mod balance;
pub mod conn;
pub mod gateway;
pub mod listen;
pub mod memory;
pub mod replica;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod worker;
