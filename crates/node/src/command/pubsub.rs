//! SUBSCRIBE and its kin, PUBLISH, PUBSUB.

use crate::{After, Node, NodeCtx, NodeFn, Session};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::{Args, Reply};

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] =
    &[&SUBSCRIBE, &UNSUBSCRIBE, &PSUBSCRIBE, &PUNSUBSCRIBE, &PUBLISH, &PUBSUB];

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
    |cx, args| subscribe(cx, args, false),
);

/// PSUBSCRIBE pattern [pattern ...]
pub const PSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("psubscribe", -2, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of patterns to subscribe to.",
        "Listens to the channels that match patterns.",
    ),
    |cx, args| subscribe(cx, args, true),
);

fn subscribe(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, pattern: bool) -> Result {
    for name in args.iter().skip(1) {
        if pattern {
            if cx.session.patterns.insert(name.to_vec()) {
                cx.node.pubsub.psubscribe(name, &cx.session.info);
            }
        } else if cx.session.channels.insert(name.to_vec()) {
            cx.node.pubsub.subscribe(name, &cx.session.info);
        }
        confirm(cx.reply, if pattern { "psubscribe" } else { "subscribe" }, Some(name), cx.session);
    }
    cx.session.publish_state();
    Ok(After::Done)
}

fn confirm(reply: &mut Reply, word: &str, name: Option<&[u8]>, session: &Session) {
    reply.push(3);
    reply.text(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.count(session.subscriptions());
}

/// UNSUBSCRIBE [channel [channel ...]]
pub const UNSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("unsubscribe", -1, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of channels to unsubscribe.",
        "Stops listening to channels.",
    ),
    |cx, args| unsubscribe(cx, args, false),
);

/// PUNSUBSCRIBE [pattern [pattern ...]]
pub const PUNSUBSCRIBE: Command<NodeFn> = Command::new(
    CommandSpec::new("punsubscribe", -1, Group::Pubsub).flags(SUB).since("2.0.0").doc(
        "O(N) where N is the number of patterns to unsubscribe.",
        "Stops listening to patterns.",
    ),
    |cx, args| unsubscribe(cx, args, true),
);

fn unsubscribe(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, pattern: bool) -> Result {
    let word = if pattern { "punsubscribe" } else { "unsubscribe" };
    let names: Vec<Vec<u8>> = if args.len() > 1 {
        args.iter().skip(1).map(<[u8]>::to_vec).collect()
    } else if pattern {
        cx.session.patterns.iter().cloned().collect()
    } else {
        cx.session.channels.iter().cloned().collect()
    };
    for name in &names {
        drop_one(cx.node, cx.session, name, pattern);
    }
    take_pushes(cx.node, cx.session);
    for name in &names {
        confirm(cx.reply, word, Some(name), cx.session);
    }
    if names.is_empty() {
        confirm(cx.reply, word, None, cx.session);
    }
    cx.session.publish_state();
    Ok(After::Done)
}

fn drop_one(node: &Node, session: &mut Session, name: &[u8], pattern: bool) {
    if pattern {
        if session.patterns.remove(name) {
            node.pubsub.punsubscribe(name, session.id());
        }
    } else if session.channels.remove(name) {
        node.pubsub.unsubscribe(name, session.id());
    }
}

/// What was published before a subscription ended goes out before the answer that says so: a
/// client that has left subscriber mode would take it for the reply to its next command.
fn take_pushes(node: &Node, session: &mut Session) {
    if let Some(mailbox) = node.mailboxes.get(session.info.worker) {
        let pushed = mailbox.take_pushes(session.id());
        session.pushes.extend_from_slice(&pushed);
    }
}

/// Ends all subscriptions of a connection, without replies.
pub fn unsubscribe_all(node: &Node, session: &mut Session) {
    if session.subscriptions() == 0 {
        return session.publish_state();
    }
    for name in std::mem::take(&mut session.channels) {
        node.pubsub.unsubscribe(&name, session.id());
    }
    for name in std::mem::take(&mut session.patterns) {
        node.pubsub.punsubscribe(&name, session.id());
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
    let own = cx.session.id();
    let receivers = cx.node.pubsub.publish(
        &cx.node.mailboxes,
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
    &[&CHANNELS, &NUMPAT, &NUMSUB, &HELP],
);

const LOOK: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const CHANNELS: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|channels", -2, Group::Pubsub).flags(LOOK).since("2.8.0").doc("O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)", "Lists channels that somebody listens to."),
    |cx, args| {
        if args.len() > 3 {
            return Err(super::subcommand_error(args, "PUBSUB"));
        }
        let channels = cx.node.pubsub.channels(args.get(2));
        cx.reply.array(channels.len());
        channels.iter().for_each(|channel| cx.reply.bulk(channel));
        Ok(After::Done)
    },
);

const NUMPAT: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|numpat", 2, Group::Pubsub)
        .flags(LOOK)
        .since("2.8.0")
        .doc("O(1)", "Counts the patterns that somebody listens to."),
    |cx, _| {
        cx.reply.count(cx.node.pubsub.counts().1);
        Ok(After::Done)
    },
);

const NUMSUB: Command<NodeFn> = Command::new(
    CommandSpec::new("pubsub|numsub", -2, Group::Pubsub).flags(LOOK).since("2.8.0").doc(
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "Counts those who listen to channels.",
    ),
    |cx, args| {
        // Pairs in one flat array, also in RESP3, as Redis sends them.
        cx.reply.array((args.len() - 2) * 2);
        for channel in args.iter().skip(2) {
            cx.reply.bulk(channel);
            cx.reply.count(cx.node.pubsub.listeners(channel));
        }
        Ok(After::Done)
    },
);

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
            ],
        );
        Ok(After::Done)
    },
);
