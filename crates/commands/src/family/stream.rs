//! Stream commands: adding, trimming and reading entries, and groups of consumers.

mod add;
mod claim;
mod group;
mod id;
mod info;
mod pending;
mod range;
mod read;
mod trim;

use crate::family::common::bulk_elem;
use crate::{Command, DataFn};
use resp::{OwnedArgs, Reply};
use structures::{Pending, StreamEntry, StreamGroup, StreamId};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &add::XADD,
    &add::XLEN,
    &add::XDEL,
    &add::XSETID,
    &trim::XTRIM,
    &range::XRANGE,
    &range::XREVRANGE,
    &read::XREAD,
    &read::XREADGROUP,
    &group::XGROUP,
    &pending::XACK,
    &pending::XPENDING,
    &claim::XCLAIM,
    &claim::XAUTOCLAIM,
    &info::XINFO,
];

/// Writes an ID as a bulk string.
fn put_id(reply: &mut Reply, id: StreamId) {
    reply.bulk(&id.to_vec());
}

/// Writes an entry: its ID and its fields with values, flat in both protocols.
fn put_entry(reply: &mut Reply, entry: &StreamEntry<'_>) {
    reply.array(2);
    put_id(reply, entry.id);
    reply.array(entry.len() * 2);
    for (field, value) in entry.iter() {
        bulk_elem(reply, field);
        bulk_elem(reply, value);
    }
}

/// What tells a replica that a pending entry has this state now.
/// Source: redis 7.0 `t_stream.c:streamPropagateXCLAIM`.
fn claim_effect(
    key: &[u8],
    name: &[u8],
    group: &StreamGroup,
    id: StreamId,
    pending: &Pending,
) -> OwnedArgs {
    OwnedArgs::from_parts(&[
        &b"XCLAIM"[..],
        key,
        name,
        group.consumer(pending.consumer).name(),
        b"0",
        &id.to_vec(),
        b"TIME",
        pending.delivered_at.to_string().as_bytes(),
        b"RETRYCOUNT",
        (pending.deliveries as i64).to_string().as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &group.last_id.to_vec(),
    ])
}

/// What tells a replica how far a group has read.
/// Source: redis 7.0 `t_stream.c:streamPropagateGroupID`.
fn group_id_effect(key: &[u8], name: &[u8], group: &StreamGroup) -> OwnedArgs {
    OwnedArgs::from_parts(&[
        &b"XGROUP"[..],
        b"SETID",
        key,
        name,
        &group.last_id.to_vec(),
        b"ENTRIESREAD",
        group.entries_read.to_string().as_bytes(),
    ])
}

pub use read::no_group_to_read;

#[cfg(test)]
mod tests;
