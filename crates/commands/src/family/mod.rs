//! The families of data commands. Each family's table lists its commands once.

use crate::{Command, DataFn};

mod collections;
mod common;
pub mod generic;
pub mod hash;
pub mod list;
pub mod set;
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
    stream::TABLE,
];
