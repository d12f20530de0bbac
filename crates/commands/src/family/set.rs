//! Set commands: members, random members, walks, and intersections, unions and differences.

mod algebra;
mod member;
mod random;
mod walk;

use crate::{Command, DataFn};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &member::SADD,
    &member::SREM,
    &member::SMOVE,
    &member::SCARD,
    &member::SISMEMBER,
    &member::SMISMEMBER,
    &random::SPOP,
    &random::SRANDMEMBER,
    &walk::SMEMBERS,
    &walk::SSCAN,
    &algebra::SINTER,
    &algebra::SINTERSTORE,
    &algebra::SINTERCARD,
    &algebra::SUNION,
    &algebra::SUNIONSTORE,
    &algebra::SDIFF,
    &algebra::SDIFFSTORE,
];

#[cfg(test)]
mod tests;
