//! Values as the commands that make them: the base file without an RDB
//! (`aof-use-rdb-preamble no`).
//!
//! Source: redis 7.0 `aof.c:rewriteAppendOnlyFileRio` and the functions of the types (behaviour).

use resp::{encode_command, push_array_len, push_bulk};
use structures::{Elem, Hash, Stream, StreamGroup, StreamId, ValueRef};

/// Elements in one command. Source: redis 7.0 `server.h:AOF_REWRITE_ITEMS_PER_CMD`.
const ITEMS: usize = 64;

/// Appends the commands that make one key. `expire_at` is absolute, in milliseconds.
pub fn encode_commands(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire_at: Option<i64>) {
    match value {
        ValueRef::Str(text) => {
            push_array_len(out, 3);
            push_bulk(out, b"SET");
            push_bulk(out, key);
            text.with(|bytes| push_bulk(out, bytes));
        }
        ValueRef::List(list) => {
            let mut left = list.len();
            batches(out, b"RPUSH", key, &mut left, 1, list.iter(), push_elem);
        }
        ValueRef::Set(set) => {
            let mut left = set.len();
            batches(out, b"SADD", key, &mut left, 1, set.iter(), push_elem);
        }
        ValueRef::Hash(hash) => {
            let mut left = hash.len();
            batches(out, b"HMSET", key, &mut left, 2, hash.iter(), |out, (field, value)| {
                push_elem(out, field);
                push_elem(out, value);
            });
            field_times(out, key, hash);
        }
        ValueRef::Zset(zset) => {
            let mut left = zset.len();
            batches(out, b"ZADD", key, &mut left, 2, zset.iter(), |out, (member, score)| {
                let mut text = Vec::with_capacity(24);
                stdx::format_f64(&mut text, score);
                push_bulk(out, &text);
                push_elem(out, member);
            });
        }
        ValueRef::Stream(stream) => stream_commands(out, key, stream),
    }
    if let Some(at) = expire_at {
        encode_command(out, &[&b"PEXPIREAT"[..], key, at.to_string().as_bytes()]);
    }
}

/// Source: redis 7.4 `aof.c:rewriteHashObject` (one command for each field).
fn field_times(out: &mut Vec<u8>, key: &[u8], hash: &Hash) {
    if !hash.has_times() {
        return;
    }
    let mut fields = hash.iter();
    while let Some((field, _, time)) = fields.next_timed() {
        let Some(time) = time else { continue };
        push_array_len(out, 6);
        push_bulk(out, b"HPEXPIREAT");
        push_bulk(out, key);
        push_bulk(out, time.to_string().as_bytes());
        push_bulk(out, b"FIELDS");
        push_bulk(out, b"1");
        push_elem(out, field);
    }
}

fn push_elem(out: &mut Vec<u8>, elem: Elem<'_>) {
    elem.with(|bytes| push_bulk(out, bytes));
}

fn batches<T>(
    out: &mut Vec<u8>,
    name: &[u8],
    key: &[u8],
    left: &mut usize,
    width: usize,
    items: impl Iterator<Item = T>,
    push: impl Fn(&mut Vec<u8>, T),
) {
    let mut room = 0;
    for item in items.take(*left) {
        if room == 0 {
            room = (*left).min(ITEMS);
            push_array_len(out, 2 + room * width);
            push_bulk(out, name);
            push_bulk(out, key);
        }
        push(out, item);
        room -= 1;
        *left -= 1;
    }
    debug_assert_eq!(*left, 0, "a collection has as many elements as it says");
}

fn stream_commands(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let meta = stream.meta();
    for entry in stream.iter() {
        let fields: Vec<(Elem<'_>, Elem<'_>)> = entry.iter().collect();
        push_array_len(out, 3 + 2 * fields.len());
        push_bulk(out, b"XADD");
        push_bulk(out, key);
        push_bulk(out, &entry.id.to_vec());
        for (field, value) in fields {
            push_elem(out, field);
            push_elem(out, value);
        }
    }
    if meta.len == 0 {
        // An entry that goes at once; the ID must not be 0-0.
        let zero = meta.last_id == StreamId::ZERO;
        let id = if zero { StreamId::new(0, 1) } else { meta.last_id };
        encode_command(out, &[&b"XADD"[..], key, b"MAXLEN", b"0", &id.to_vec(), b"x", b"y"]);
    }
    encode_command(
        out,
        &[
            &b"XSETID"[..],
            key,
            &meta.last_id.to_vec(),
            b"ENTRIESADDED",
            meta.entries_added.to_string().as_bytes(),
            b"MAXDELETEDID",
            &meta.max_deleted_id.to_vec(),
        ],
    );
    for (name, group) in stream.groups() {
        group_commands(out, key, name, group);
    }
}

fn group_commands(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &StreamGroup) {
    encode_command(
        out,
        &[
            &b"XGROUP"[..],
            b"CREATE",
            key,
            name,
            &group.last_id.to_vec(),
            b"ENTRIESREAD",
            group.entries_read.to_string().as_bytes(),
        ],
    );
    for consumer in group.consumers() {
        encode_command(out, &[&b"XGROUP"[..], b"CREATECONSUMER", key, name, consumer.name()]);
        for id in consumer.pending(StreamId::ZERO, StreamId::MAX) {
            let Some(pending) = group.pending(id) else { continue };
            encode_command(
                out,
                &[
                    &b"XCLAIM"[..],
                    key,
                    name,
                    consumer.name(),
                    b"0",
                    &id.to_vec(),
                    b"TIME",
                    pending.delivered_at.to_string().as_bytes(),
                    b"RETRYCOUNT",
                    pending.deliveries.to_string().as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ],
            );
        }
    }
}
