//! Hash commands: fields, counters in fields, and walks over fields.

mod field;
mod number;
mod random;
mod walk;

use crate::{Command, CommandError, Ctx, DataFn};
use structures::{Elem, ValueRef};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &field::HSET,
    &field::HMSET,
    &field::HSETNX,
    &field::HGET,
    &field::HMGET,
    &field::HDEL,
    &field::HLEN,
    &field::HEXISTS,
    &field::HSTRLEN,
    &number::HINCRBY,
    &number::HINCRBYFLOAT,
    &random::HRANDFIELD,
    &walk::HGETALL,
    &walk::HKEYS,
    &walk::HVALS,
    &walk::HSCAN,
];

/// The value of a field, before a write.
fn peek_field<'a>(
    ctx: &'a mut Ctx<'_, '_>,
    key: &[u8],
    field: &[u8],
) -> Result<Option<Elem<'a>>, CommandError> {
    match ctx.keys.before_write(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(hash.get(field)),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

#[cfg(test)]
mod tests;
