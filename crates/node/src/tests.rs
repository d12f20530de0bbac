//! Tests of the node's own commands, on a whole node. Expected replies were read off a redis-server
//! 7.0.15, but where newer versions differ.

mod acl;
mod aof;
mod client;
mod command_table;
mod debug;
mod info;
mod reports;
mod scripts;
mod streams;
