//! The parts of DEBUG that look at keys, or make some.

use super::holding;
use crate::{After, NodeCtx};
use commands::{CommandError, digest as sums};
use keyspace::{Keys, SetTtl, StripeMask, lru_clock};
use persistence::dump::dump_payload;
use persistence::rdb::EncodeOptions;
use resp::Args;
use structures::{Entry, List, ListNode, Listpack, StrRef, ValueRef, class_size};

type Result = std::result::Result<After, CommandError>;

fn stripe_of(cx: &NodeCtx<'_, '_>, key: &[u8]) -> StripeMask {
    let mut mask = StripeMask::default();
    mask.add(cx.node.keyspace.stripe_of(key));
    mask
}

/// Runs `f` on the entry of the key at argument 2.
fn with_entry<R>(
    cx: &mut NodeCtx<'_, '_>,
    args: &Args<'_>,
    f: impl FnOnce(&Entry) -> std::result::Result<R, CommandError>,
) -> std::result::Result<R, CommandError> {
    let key = args.at(2);
    let mask = stripe_of(cx, key);
    holding(cx, mask, |keys| keys.peek(key).map_or(Err(CommandError::NO_SUCH_KEY), f))
}

pub(super) fn digest(cx: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result {
    let all = cx.node.keyspace.all();
    let digest = holding(cx, all, sums::of_keyspace);
    cx.reply.simple(&digest.hex());
    Ok(After::Done)
}

pub(super) fn digest_value(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let names: Vec<&[u8]> = args.tail(2).iter().collect();
    let mut mask = StripeMask::default();
    names.iter().for_each(|key| mask.0 |= stripe_of(cx, key).0);
    let sum = |keys: &mut Keys<'_>| -> Vec<String> {
        names.iter().map(|key| sums::of_value(keys.peek(key)).hex()).collect()
    };
    let digests = holding(cx, mask, sum);
    cx.reply.array(digests.len());
    digests.iter().for_each(|digest| cx.reply.simple(digest));
    Ok(After::Done)
}

// ---- OBJECT ------------------------------------------------------------------------------------

pub(super) fn object(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let clock = lru_clock(cx.worker.now.unix());
    let settings = std::sync::Arc::clone(&cx.worker.settings);
    let text = with_entry(cx, args, |entry| {
        let (compress, lfu) = (settings.env.compress, settings.policy.is_lfu());
        let mut text = describe(entry, clock, compress, lfu);
        if let ValueRef::List(list) = entry.value()
            && list.encoding() == "quicklist"
        {
            text.push_str(&list_facts(list, &settings.config));
        }
        Ok(text)
    })?;
    cx.reply.simple(&text);
    Ok(After::Done)
}

/// Source: redis 7.0 `debug.c:debugCommand` (OBJECT).
fn describe(entry: &Entry, clock: u32, compress: bool, lfu: bool) -> String {
    // The type's byte before, version and checksum behind are not part of the value.
    let payload =
        dump_payload(entry.value(), &EncodeOptions { compress, ..EncodeOptions::default() });
    let serialized = payload.len().saturating_sub(11);
    let access = entry.access();
    let idle = if lfu { 0 } else { clock.wrapping_sub(access) & 0x00ff_ffff };
    format!(
        "Value at:{:#x} refcount:1 encoding:{} serializedlength:{serialized} lru:{access} lru_seconds_idle:{idle}",
        address(entry),
        entry.encoding_name(),
    )
}

/// Where the value lies: the same as long as it is changed in place.
fn address(entry: &Entry) -> usize {
    match entry.value() {
        ValueRef::Str(StrRef::Bytes(bytes)) => bytes.as_ptr().addr(),
        ValueRef::Str(StrRef::Paged(pages)) => std::ptr::from_ref(pages).addr(),
        ValueRef::Str(StrRef::Int(_)) => entry.key().as_ptr().addr(),
        ValueRef::List(list) => std::ptr::from_ref(list).addr(),
        ValueRef::Set(set) => std::ptr::from_ref(set).addr(),
        ValueRef::Hash(hash) => std::ptr::from_ref(hash).addr(),
        ValueRef::Zset(zset) => std::ptr::from_ref(zset).addr(),
        ValueRef::Stream(stream) => std::ptr::from_ref(stream).addr(),
    }
}

fn list_facts(list: &List, config: &config::Config) -> String {
    let (mut nodes, mut bytes) = (0usize, 0usize);
    for node in list.nodes() {
        nodes += 1;
        bytes += match node {
            ListNode::Plain(text) | ListNode::Packed(text) => text.len(),
        };
    }
    let average = list.len() as f64 / nodes.max(1) as f64;
    format!(
        " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{bytes}",
        config.list_max_listpack_size
    )
}

// ---- how values are stored ---------------------------------------------------------------------

/// The listpack that a value is stored as.
fn listpack_of(entry: &Entry) -> Option<Vec<u8>> {
    match entry.value() {
        ValueRef::Hash(hash) => {
            let pack = hash.as_listpack().or_else(|| hash.as_timed_listpack());
            pack.map(|pack| pack.as_bytes().to_vec())
        }
        ValueRef::Zset(zset) => zset.as_listpack().map(|pack| pack.as_bytes().to_vec()),
        ValueRef::Stream(_) => None,
        ValueRef::Set(set) => match set.repr() {
            structures::SetRepr::Listpack(pack) => Some(pack.as_bytes().to_vec()),
            _ => None,
        },
        ValueRef::List(list) if list.encoding() == "listpack" => match list.nodes().next() {
            Some(ListNode::Packed(bytes)) => Some(bytes.to_vec()),
            _ => None,
        },
        ValueRef::List(_) | ValueRef::Str(_) => None,
    }
}

fn elements_text(bytes: Vec<u8>) -> String {
    let Ok(pack) = Listpack::from_bytes(bytes) else { return "(not readable)".into() };
    let words: Vec<String> = pack.iter().map(|elem| resp::quote(&elem.to_vec())).collect();
    format!("{} bytes, {} elements: {}", pack.byte_len(), pack.len(), words.join(" "))
}

pub(super) fn listpack(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let bytes = with_entry(cx, args, |entry| {
        listpack_of(entry).ok_or(CommandError::new("ERR Not a listpack encoded object."))
    })?;
    cx.node.host.log(2, &format!("DEBUG LISTPACK: {}", elements_text(bytes)));
    cx.reply.simple("Listpack structure printed in the log");
    Ok(After::Done)
}

pub(super) fn quicklist(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let full = args.get(3).is_some_and(super::switch);
    let lines = with_entry(cx, args, |entry| match entry.value() {
        ValueRef::List(list) if list.encoding() == "quicklist" => Ok(nodes_text(list, full)),
        _ => Err(CommandError::new("ERR Not a quicklist encoded object.")),
    })?;
    for line in lines {
        cx.node.host.log(2, &format!("DEBUG QUICKLIST: {line}"));
    }
    cx.reply.simple("Quicklist structure printed in the log");
    Ok(After::Done)
}

fn nodes_text(list: &List, full: bool) -> Vec<String> {
    let node_text = |(number, node): (usize, ListNode<'_>)| match node {
        ListNode::Plain(text) if full => {
            format!("node {number}: plain, {} bytes: {}", text.len(), resp::quote(text))
        }
        ListNode::Plain(text) => format!("node {number}: plain, {} bytes", text.len()),
        ListNode::Packed(bytes) if full => {
            format!("node {number}: packed, {}", elements_text(bytes.to_vec()))
        }
        ListNode::Packed(bytes) => format!("node {number}: packed, {} bytes", bytes.len()),
    };
    let head = format!("{} elements", list.len());
    std::iter::once(head).chain(list.nodes().enumerate().map(node_text)).collect()
}

/// Source: redis 7.0 `debug.c:debugCommand` (SDSLEN). Strings here have no spare bytes but those of
/// the allocator's size class.
pub(super) fn sdslen(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let key_len = args.at(2).len();
    let len = with_entry(cx, args, |entry| match entry.value() {
        ValueRef::Str(text @ (StrRef::Bytes(_) | StrRef::Paged(_))) => Ok(text.len()),
        _ => Err(CommandError::new("ERR Not an sds encoded string.")),
    })?;
    cx.reply.simple(&format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{len}, val_sds_avail:0, val_zmalloc: {}",
        class_size(key_len),
        class_size(len)
    ));
    Ok(After::Done)
}

pub(super) fn htstats(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let db = stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let db = usize::try_from(db).ok().filter(|&db| db < cx.node.keyspace.databases());
    let db = db.ok_or(CommandError::new("ERR Out of range database"))?;
    let (mut buckets, mut keys, mut bytes, mut volatile, mut notes, mut note_bytes) =
        (0, 0, 0, 0, 0, 0);
    cx.keys.each_stripe(|stripe| {
        let db = stripe.db(db);
        buckets += db.table().buckets();
        keys += db.len();
        bytes += db.table().mem_usage();
        volatile += db.volatile();
        notes += db.expires().len();
        note_bytes += db.expires().mem_usage();
    });
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {buckets}\n number of elements: {keys}\n \
         bytes: {bytes}\n stripes: {}\n[Expires HT]\n number of elements: {volatile}\n notes of the index: {notes}\n \
         bytes: {note_bytes}\n",
        cx.node.keyspace.stripes()
    );
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(After::Done)
}

pub(super) fn htstats_key(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let text = with_entry(cx, args, |entry| {
        let len = match entry.value() {
            ValueRef::Set(set) if set.encoding() == "hashtable" => set.len(),
            ValueRef::Hash(hash) if hash.encoding() == "hashtable" => hash.len(),
            ValueRef::Zset(zset) if zset.encoding() == "skiplist" => zset.len(),
            _ => {
                return Err(CommandError::new(
                    "ERR The value stored at the specified key is not represented using an hash table",
                ));
            }
        };
        let bytes = entry.mem_usage();
        Ok(format!(
            "Hash table 0 stats (main hash table):\n number of elements: {len}\n bytes: {bytes}\n"
        ))
    })?;
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(After::Done)
}

// ---- POPULATE ----------------------------------------------------------------------------------

/// Keys made under one hold of the stripes, so that others get their turn.
const POPULATE_STEP: u64 = 4096;

/// Source: redis 7.0 `debug.c:debugCommand` (POPULATE).
pub(super) fn populate(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let count = commands::args::not_negative(args.at(2))? as u64;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = match args.get(4) {
        None => 0,
        Some(arg) => commands::args::not_negative(arg)? as u64,
    };
    if size > cx.worker.settings.config.proto_max_bulk_len {
        return Err(CommandError::STRING_TOO_LONG);
    }
    let all = cx.node.keyspace.all();
    let mut from = 0;
    while from < count {
        let until = (from + POPULATE_STEP).min(count);
        holding(cx, all, |keys| {
            (from..until).for_each(|n| make_key(keys, prefix, n, size as usize))
        });
        from = until;
    }
    cx.reply.ok();
    Ok(After::Done)
}

fn make_key(keys: &mut Keys<'_>, prefix: &[u8], number: u64, size: usize) {
    let mut key = prefix.to_vec();
    key.extend_from_slice(format!(":{number}").as_bytes());
    if keys.exists(&key) {
        return;
    }
    let mut value = format!("value:{number}").into_bytes();
    if size > 0 {
        value.resize(size, 0);
    }
    keys.set_string(&key, &value, SetTtl::Clear);
    keys.signal(&key);
}
