//! String commands: whole values, parts of values, and counters.
//!
//! A string that is a canonical integer is stored as one (`structures::StrRef::Int`); what writes a
//! part of a string or appends to it turns it into bytes first, as in Redis.

mod lcs;
mod number;
mod range;
mod value;

pub(crate) use number::{NAN_OR_INF, OVERFLOW};
pub(crate) use range::text_of;
pub(crate) use value::{already_expired, removal_word};

use crate::{Command, DataFn};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &value::GET,
    &value::SET,
    &value::SETNX,
    &value::SETEX,
    &value::PSETEX,
    &value::GETSET,
    &value::GETDEL,
    &value::GETEX,
    &value::MGET,
    &value::MSET,
    &value::MSETNX,
    &lcs::LCS,
    &range::APPEND,
    &range::STRLEN,
    &range::GETRANGE,
    &range::SUBSTR,
    &range::SETRANGE,
    &number::INCR,
    &number::DECR,
    &number::INCRBY,
    &number::DECRBY,
    &number::INCRBYFLOAT,
];

#[cfg(test)]
mod tests;
