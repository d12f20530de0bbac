//! The families of data commands. Each family's table lists its commands once.

use crate::{Command, DataFn};

pub mod bitmap;
mod collections;
mod common;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
mod order;
pub mod set;
pub mod sort;
pub mod stream;
pub mod string;
pub mod zset;

/// The tables of all families.
pub const TABLES: &[&[&Command<DataFn>]] = &[
    string::TABLE,
    generic::TABLE,
    hash::TABLE,
    list::TABLE,
    set::TABLE,
    zset::TABLE,
    bitmap::TABLE,
    hyperloglog::TABLE,
    geo::TABLE,
    sort::TABLE,
    stream::TABLE,
];
