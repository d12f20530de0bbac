//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. EXEC itself runs in `exec`, where the locks are.

use crate::session::{Multi, NAME_BYTES, Watch};
use crate::{After, Node, NodeCtx, NodeFn, Session};
use commands::{Command, CommandError, CommandSpec, Flags, Group, KeyFlags, each};
use keyspace::Keys;
use resp::Args;
use std::sync::Arc;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&MULTI, &EXEC, &DISCARD, &WATCH, &UNWATCH];

const ALWAYS: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::ALLOW_BUSY);

/// MULTI
pub const MULTI: Command<NodeFn> = Command::new(
    CommandSpec::new("multi", 1, Group::Transactions)
        .flags(ALWAYS)
        .since("1.2.0")
        .doc("O(1)", "Starts a transaction."),
    |cx, _| {
        if cx.session.multi.is_some() {
            return Err(CommandError::new("ERR MULTI calls can not be nested"));
        }
        cx.session.multi = Some(Multi::default());
        cx.session.publish_state();
        cx.reply.ok();
        Ok(After::Done)
    },
);

/// EXEC
pub const EXEC: Command<NodeFn> = Command::new(
    CommandSpec::new("exec", 1, Group::Transactions)
        .flags(Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SKIP_SLOWLOG))
        .since("1.2.0")
        .doc("Depends on commands in the transaction", "Runs the commands of a transaction."),
    // Only reached outside MULTI; inside, `exec` runs the queue.
    |_, _| Err(CommandError::new("ERR EXEC without MULTI")),
);

/// DISCARD
pub const DISCARD: Command<NodeFn> = Command::new(
    CommandSpec::new("discard", 1, Group::Transactions)
        .flags(ALWAYS)
        .since("2.0.0")
        .doc("O(N), when N is the number of queued commands", "Gives a transaction up."),
    |cx, _| {
        if cx.session.multi.is_none() {
            return Err(CommandError::new("ERR DISCARD without MULTI"));
        }
        end(cx.node, cx.session);
        cx.reply.ok();
        Ok(After::Done)
    },
);

/// WATCH key [key ...]
pub const WATCH: Command<NodeFn> = Command::new(
    CommandSpec::new("watch", -2, Group::Transactions)
        .flags(ALWAYS)
        .keys(&[each(1, KeyFlags::RO)])
        .since("2.2.0")
        .doc(
            "O(1) for every key.",
            "Lets the next transaction fail if one of the keys changes before it.",
        ),
    watch,
);

fn watch(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.session.multi.is_some() {
        return Err(CommandError::new("ERR WATCH inside MULTI is not allowed"));
    }
    let db = cx.session.db;
    let watch = cx.session.watch.get_or_insert_with(Watch::default);
    for key in args.iter().skip(1) {
        if watch.keys.get(&db).is_some_and(|keys| keys.contains_key(key)) {
            continue;
        }
        let stripe = cx.keys.space().stripe_of(key);
        let now = cx.keys.options.now.0;
        let hash = structures::hash::hash_bytes(key);
        let data = cx.keys.held().stripe(stripe);
        let expired = data
            .db(db)
            .get(hash, key)
            .and_then(structures::Entry::stamp)
            .is_some_and(|at| at <= now);
        data.watch(db, key, &watch.flag);
        watch.keys.entry(db).or_default().insert(key.to_vec(), expired);
        watch.bytes += key.len() + NAME_BYTES;
    }
    cx.session.publish_state();
    cx.reply.ok();
    Ok(After::Done)
}

/// UNWATCH
pub const UNWATCH: Command<NodeFn> = Command::new(
    CommandSpec::new("unwatch", 1, Group::Transactions)
        .flags(ALWAYS)
        .since("2.2.0")
        .doc("O(1)", "Forgets the watched keys."),
    |cx, _| {
        // Inside EXEC the stripes are held, and the watch ends with the transaction anyway.
        if !cx.in_exec {
            unwatch(cx.node, cx.session);
            cx.session.publish_state();
        }
        cx.reply.ok();
        Ok(After::Done)
    },
);

/// Ends MULTI and WATCH. Call it without stripes held.
pub fn end(node: &Node, session: &mut Session) {
    session.multi = None;
    unwatch(node, session);
    session.publish_state();
}

fn unwatch(node: &Node, session: &mut Session) {
    let Some(watch) = session.watch.take() else { return };
    let keys = watch.keys.iter().flat_map(|(db, keys)| keys.keys().map(move |key| (*db, key)));
    for (db, key) in keys {
        node.forget(crate::script::Later::Unwatch {
            db,
            key: Box::from(key.as_slice()),
            flag: Arc::clone(&watch.flag),
        });
    }
}

/// True if a watched key has changed, or its time has come since.
/// Source: redis 7.0 `multi.c:isWatchedKeyExpired`.
pub(crate) fn watched_key_changed(session: &Session, keys: &mut Keys<'_>) -> bool {
    let Some(watch) = &session.watch else { return false };
    if watch.flag.is_set() {
        return true;
    }
    let now = keys.options.now.0;
    let of_all = watch.keys.iter().flat_map(|(db, keys)| keys.iter().map(move |key| (db, key)));
    let mut those = of_all.filter(|(_, (_, was_expired))| !**was_expired);
    those.any(|(db, (key, _))| {
        let stripe = keys.space().stripe_of(key);
        let hash = structures::hash::hash_bytes(key);
        // A stripe outside the transaction is looked at alone, without keeping it.
        let look = |data: &mut keyspace::StripeData| {
            data.db(*db)
                .get(hash, key)
                .and_then(structures::Entry::stamp)
                .is_some_and(|at| at <= now)
        };
        let mask = keys.held().mask();
        mask.has(stripe) && look(keys.held().stripe(stripe))
    })
}
