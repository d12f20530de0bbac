//! SUBSCRIBE and its kin, PUBLISH and SPUBLISH, PUBSUB.

use crate::pubsub::Topic;
use crate::{After, Node, NodeCtx, NodeFn, ReplyMode, Session};
use commands::{Command, CommandError, CommandSpec, Flags, Group, KeyFlags, at, each};
use resp::{Args, Reply};

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[
    &SUBSCRIBE,
    &UNSUBSCRIBE,
    &PSUBSCRIBE,
    &PUNSUBSCRIBE,
    &SSUBSCRIBE,
    &SUNSUBSCRIBE,
    &PUBLISH,
    &SPUBLISH,
    &PUBSUB,
];

const SUB: Flags = Flags::PUBSUB
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::SENTINEL);

/// SUBSCRIBE channel [channel ...]
pub const SUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("subscribe", -2, Group::Pubsub)
        .flags(SUB)
        .since("2.0.0")
        .doc("O(N) where N is the number of channels to subscribe to.", "Listens to channels."),
    |cx, args| subscribe(cx, args, Topic::Channel),
);

/// PSUBSCRIBE pattern [pattern ...]
pub const PSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("psubscribe", -2, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of patterns to subscribe to.",
        "Listens to the channels that match patterns.",
    ),
    |cx, args| subscribe(cx, args, Topic::Pattern),
);

/// Flags of what only a data node has.
const SHARD: Flags = Flags::PUBSUB.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// SSUBSCRIBE shardchannel [shardchannel ...]
pub const SSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("ssubscribe", -2, Group::Pubsub)
        .flags(SHARD)
        .keys(&[each(1, KeyFlags::NOT_KEY)])
        .since("7.0.0")
        .doc(
            "O(N) where N is the number of shard channels to subscribe to.",
            "Listens to shard channels.",
        ),
    |cx, args| {
        // Source: redis 7.0 `pubsub.c:ssubscribeCommand`.
        if cx.in_exec {
            return Err(CommandError::new(
                "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client",
            ));
        }
        subscribe(cx, args, Topic::Shard)
    },
);

fn subscribe(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, topic: Topic) -> Result {
    for name in args.iter().skip(1) {
        if name == b"__sentinel__:hello" {
            cx.session.info.sentinel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        if cx.session.add_topic(topic, name) {
            cx.node.pubsub.subscribe(topic, name, &cx.session.info);
        }
        let count = count(cx.session, topic);
        confirm(cx, WORDS[topic as usize].0, Some(name), count);
    }
    cx.session.publish_state();
    Ok(After::Done)
}

/// What confirms a subscription and its end, by topic.
const WORDS: [(&str, &str); 3] =
    [("subscribe", "unsubscribe"), ("psubscribe", "punsubscribe"), ("ssubscribe", "sunsubscribe")];

/// Subscriptions as a confirmation counts them: those to shard channels apart.
fn count(session: &Session, topic: Topic) -> usize {
    match topic {
        Topic::Shard => session.shards.len(),
        Topic::Channel | Topic::Pattern => session.channels.len() + session.patterns.len(),
    }
}

/// A confirmation is a message: CLIENT REPLY does not silence it.
fn confirm(cx: &mut NodeCtx<'_, '_>, word: &str, name: Option<&[u8]>, count: usize) {
    if cx.session.reply_mode == ReplyMode::On {
        return write_confirmation(cx.reply, word, name, count);
    }
    let mut reply = Reply::new(cx.session.protocol);
    write_confirmation(&mut reply, word, name, count);
    cx.session.pushes.extend_from_slice(reply.bytes());
}

fn write_confirmation(reply: &mut Reply, word: &str, name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.text(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.count(count);
}

/// UNSUBSCRIBE [channel [channel ...]]
pub const UNSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("unsubscribe", -1, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of channels to unsubscribe.",
        "Stops listening to channels.",
    ),
    |cx, args| unsubscribe(cx, args, Topic::Channel),
);

/// PUNSUBSCRIBE [pattern [pattern ...]]
pub const PUNSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("punsubscribe", -1, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of patterns to unsubscribe.",
        "Stops listening to patterns.",
    ),
    |cx, args| unsubscribe(cx, args, Topic::Pattern),
);

/// SUNSUBSCRIBE [shardchannel [shardchannel ...]]
pub const SUNSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("sunsubscribe", -1, Group::Pubsub)
        .flags(SHARD)
        .keys(&[each(1, KeyFlags::NOT_KEY)])
        .since("7.0.0")
        .doc(
            "O(N) where N is the number of shard channels to unsubscribe.",
            "Stops listening to shard channels.",
        ),
    |cx, args| unsubscribe(cx, args, Topic::Shard),
);

fn unsubscribe(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, topic: Topic) -> Result {
    let names: Vec<Vec<u8>> = if args.len() > 1 {
        args.iter().skip(1).map(<[u8]>::to_vec).collect()
    } else {
        cx.session.topics(topic).iter().cloned().collect()
    };
    let mut left = Vec::with_capacity(names.len());
    for name in &names {
        if cx.session.remove_topic(topic, name) {
            cx.node.pubsub.unsubscribe(topic, name, cx.session.id());
        }
        left.push(count(cx.session, topic));
    }
    take_pushes(cx.node, cx.session);
    let word = WORDS[topic as usize].1;
    for (name, left) in names.iter().zip(left) {
        confirm(cx, word, Some(name), left);
    }
    if names.is_empty() {
        let count = count(cx.session, topic);
        confirm(cx, word, None, count);
    }
    cx.session.publish_state();
    Ok(After::Done)
}

/// What was published before a subscription ended goes out before the answer that says so: a
/// client that has left subscriber mode would take it for the reply to its next command.
fn take_pushes(node: &Node, session: &mut Session) {
    if let Some(mailbox) = node.mailboxes.get(session.info.worker()) {
        let pushed = mailbox.take_pushes(session.id());
        session.pushes.extend_from_slice(&pushed);
    }
}

/// Ends all subscriptions of a connection, without replies.
pub fn unsubscribe_all(node: &Node, session: &mut Session) {
    if session.subscriptions() == 0 {
        return session.publish_state();
    }
    for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
        for name in session.take_topics(topic) {
            node.pubsub.unsubscribe(topic, &name, session.id());
        }
    }
    take_pushes(node, session);
    session.publish_state();
}

/// PUBLISH channel message
pub const PUBLISH: Command<NodeFn> = Command::new(
    CommandSpec::new("publish", 3, Group::Pubsub)
        .flags(Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::MAY_REPLICATE).union(Flags::SENTINEL))
        .since("2.0.0")
        .doc("O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).", "Sends a message to everybody who listens to a channel."),
    publish,
);

fn publish(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.node.sentinel().is_some() {
        return super::sentinel::run(cx, args);
    }
    if args.at(1) == HELLO_CHANNEL {
        cx.node.role.sentinel_seen.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    send(cx, args, false)
}

/// Where Sentinels speak: a node on which one does is watched.
const HELLO_CHANNEL: &[u8] = b"__sentinel__:hello";

/// SPUBLISH shardchannel message
pub const SPUBLISH: Command<NodeFn> = Command::new(
    CommandSpec::new("spublish", 3, Group::Pubsub)
        .flags(
            Flags::PUBSUB
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::FAST)
                .union(Flags::MAY_REPLICATE),
        )
        .keys(&[at(1, KeyFlags::NOT_KEY)])
        .since("7.0.0")
        .doc(
            "O(N) where N is the number of clients subscribed to the receiving shard channel.",
            "Sends a message to everybody who listens to a shard channel.",
        ),
    |cx, args| send(cx, args, true),
);

fn send(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, shard: bool) -> Result {
    let own = cx.session.id();
    let receivers = cx.node.pubsub.publish(
        &cx.node.mailboxes,
        shard,
        args.at(1),
        args.at(2),
        own,
        &mut cx.session.pushes,
    );
    cx.reply.count(receivers);
    Ok(After::Propagate)
}

/// PUBSUB subcommand
pub const PUBSUB: Command<NodeFn> = Command::container(
    CommandSpec::new("pubsub", -2, Group::Pubsub)
        .since("2.8.0")
        .doc("Depends on subcommand.", "Tells about channels and who listens."),
    |_, _| Err(CommandError::arity("pubsub")),
    &[&CHANNELS, &NUMPAT, &NUMSUB, &SHARDCHANNELS, &SHARDNUMSUB, &HELP],
);

const LOOK: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const CHANNELS: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|channels", -2, Group::Pubsub).flags(LOOK).since("2.8.0").doc("O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)", "Lists channels that somebody listens to."),
    |cx, args| channels(cx, args, Topic::Channel),
);

const SHARDCHANNELS: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|shardchannels", -2, Group::Pubsub).flags(LOOK).since("7.0.0").doc("O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).", "Lists shard channels that somebody listens to."),
    |cx, args| channels(cx, args, Topic::Shard),
);

fn channels(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, topic: Topic) -> Result {
    if args.len() > 3 {
        return Err(super::subcommand_error(args, "PUBSUB"));
    }
    let channels = cx.node.pubsub.channels(topic, args.get(2));
    cx.reply.array(channels.len());
    channels.iter().for_each(|channel| cx.reply.bulk(channel));
    Ok(After::Done)
}

const NUMPAT: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|numpat", 2, Group::Pubsub)
        .flags(LOOK)
        .since("2.8.0")
        .doc("O(1)", "Counts the patterns that somebody listens to."),
    |cx, _| {
        cx.reply.count(cx.node.pubsub.count(Topic::Pattern));
        Ok(After::Done)
    },
);

const NUMSUB: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|numsub", -2, Group::Pubsub).flags(LOOK).since("2.8.0").doc(
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "Counts those who listen to channels.",
    ),
    |cx, args| numsub(cx, args, Topic::Channel),
);

const SHARDNUMSUB: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|shardnumsub", -2, Group::Pubsub).flags(LOOK).since("7.0.0").doc(
        "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        "Counts those who listen to shard channels.",
    ),
    |cx, args| numsub(cx, args, Topic::Shard),
);

fn numsub(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, topic: Topic) -> Result {
    // Pairs in one flat array, also in RESP3, as Redis sends them.
    cx.reply.array((args.len() - 2) * 2);
    for channel in args.iter().skip(2) {
        cx.reply.bulk(channel);
        cx.reply.count(cx.node.pubsub.listeners(topic, channel));
    }
    Ok(After::Done)
}

const HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|help", 2, Group::Pubsub)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("6.2.0")
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "PUBSUB",
            &[
                "CHANNELS [<pattern>]",
                "    Return the currently active channels matching a <pattern> (default: '*').",
                "NUMPAT",
                "    Return number of subscriptions to patterns.",
                "NUMSUB [<channel> ...]",
                "    Return the number of subscribers for the specified channels, excluding",
                "    pattern subscriptions(default: no channels).",
                "SHARDCHANNELS [<pattern>]",
                "    Return the currently active shard level channels matching a <pattern> (default: '*').",
                "SHARDNUMSUB [<shardchannel> ...]",
                "    Return the number of subscribers for the specified shard level channel(s)",
            ],
        );
        Ok(After::Done)
    },
);
