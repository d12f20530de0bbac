//! Commands on keys of any type, on their expiry times, and on whole databases.

mod dump;
mod expire;
mod flush;
mod keys;
mod object;
mod transfer;
mod twin;
mod walk;

use crate::{Command, DataFn};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &keys::DEL,
    &keys::UNLINK,
    &keys::EXISTS,
    &keys::TYPE,
    &keys::TOUCH,
    &transfer::RENAME,
    &transfer::RENAMENX,
    &transfer::COPY,
    &transfer::MOVE,
    &walk::KEYS,
    &walk::SCAN,
    &walk::RANDOMKEY,
    &walk::DBSIZE,
    &expire::EXPIRE,
    &expire::PEXPIRE,
    &expire::EXPIREAT,
    &expire::PEXPIREAT,
    &expire::TTL,
    &expire::PTTL,
    &expire::EXPIRETIME,
    &expire::PEXPIRETIME,
    &expire::PERSIST,
    &object::OBJECT,
    &dump::DUMP,
    &dump::RESTORE,
    &dump::RESTORE_ASKING,
    &flush::FLUSHDB,
    &flush::FLUSHALL,
    &flush::SWAPDB,
];

#[cfg(test)]
mod tests;
