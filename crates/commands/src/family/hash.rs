//! Hash commands: fields, counters in fields, walks over fields, and the times of fields.
//!
//! A field whose time has come is not there for any command. One that is asked for by name is removed
//! first ([`keyspace::Keys::expire_fields`]); HLEN alone counts those that nobody has removed yet, as
//! in Redis, whose answer takes constant time.

mod combined;
mod expire;
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
    &expire::HEXPIRE,
    &expire::HPEXPIRE,
    &expire::HEXPIREAT,
    &expire::HPEXPIREAT,
    &expire::HTTL,
    &expire::HPTTL,
    &expire::HEXPIRETIME,
    &expire::HPEXPIRETIME,
    &expire::HPERSIST,
    &combined::HGETDEL,
    &combined::HGETEX,
    &combined::HSETEX,
];

/// The value of a field, before a write.
fn peek_field<'a>(
    ctx: &'a mut Ctx<'_, '_>,
    key: &[u8],
    field: &[u8],
) -> Result<Option<Elem<'a>>, CommandError> {
    ctx.keys.expire_fields(key, [field]);
    let now = ctx.keys.fields_now();
    match ctx.keys.before_write(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(hash.get_at(field, now)),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// Sets a field to what a command has made of its old value: its time stays. Returns that time.
fn set_computed(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    field: &[u8],
    value: &[u8],
) -> Result<Option<i64>, CommandError> {
    let now = ctx.keys.fields_now();
    let hash = ctx.keys.hash_or_new(key)?;
    if !hash.knows_times() {
        hash.set(field, value, &ctx.env.limits);
        return Ok(None);
    }
    // Whoever may not remove a field that is due puts a new one in its place.
    if hash.is_due(field, now) {
        hash.set(field, value, &ctx.env.limits);
        ctx.keys.fields_changed(key);
        return Ok(None);
    }
    hash.set_keep_time(field, value, &ctx.env.limits);
    Ok(hash.time_of(field).flatten())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
