//! AUTH, HELLO, PING, ECHO, SELECT, QUIT, RESET.

use crate::{After, NodeCtx, NodeFn};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::{Args, Protocol};
use std::sync::atomic::Ordering::Relaxed;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&AUTH, &HELLO, &PING, &ECHO, &SELECT, &QUIT, &RESET];

const ANYTIME: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::NO_AUTH)
    .union(Flags::ALLOW_BUSY);

/// PING [message]
pub const PING: Command<NodeFn> = Command::new(
    CommandSpec::new("ping", -1, Group::Connection)
        .flags(Flags::FAST.union(Flags::SENTINEL))
        .doc("O(1)", "Answers PONG, or the message given.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    ping,
);

fn ping(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if args.len() > 2 {
        return Err(CommandError::arity("ping"));
    }
    if cx.session.subscriptions() > 0 && cx.session.protocol == Protocol::Resp2 {
        cx.reply.array(2);
        cx.reply.bulk(b"pong");
        cx.reply.bulk(args.get(1).unwrap_or_default());
    } else {
        match args.get(1) {
            Some(message) => cx.reply.bulk(message),
            None => cx.reply.simple("PONG"),
        }
    }
    Ok(After::Done)
}

/// ECHO message
pub const ECHO: Command<NodeFn> = Command::new(
    CommandSpec::new("echo", 2, Group::Connection)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .doc("O(1)", "Answers the message given."),
    |cx, args| {
        cx.reply.bulk(args.at(1));
        Ok(After::Done)
    },
);

/// SELECT index
pub const SELECT: Command<NodeFn> = Command::new(
    CommandSpec::new("select", 2, Group::Connection)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .doc("O(1)", "Changes the database that the connection works on."),
    select,
);

fn select(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let index = commands::args::int_between(args.at(1), i64::from(i32::MIN), i64::from(i32::MAX))?;
    if cx.node.settings.load().config.cluster_enabled && index != 0 {
        return Err(CommandError::new("ERR SELECT is not allowed in cluster mode"));
    }
    if index < 0 || index as usize >= cx.node.keyspace.databases() {
        return Err(CommandError::DB_INDEX);
    }
    cx.session.select(index as usize);
    cx.reply.ok();
    Ok(After::Done)
}

/// QUIT
pub const QUIT: Command<NodeFn> = Command::new(
    CommandSpec::new("quit", -1, Group::Connection)
        .flags(ANYTIME)
        .doc("O(1)", "Closes the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    |cx, _| {
        cx.reply.ok();
        Ok(After::Close)
    },
);

/// RESET
pub const RESET: Command<NodeFn> = Command::new(
    CommandSpec::new("reset", 1, Group::Connection)
        .flags(ANYTIME)
        .since("6.2.0")
        .doc("O(1)", "Puts the connection back into its first state."),
    reset,
);

fn reset(cx: &mut NodeCtx<'_, '_>, _args: &Args<'_>) -> Result {
    if cx.session.is_replica && !cx.session.is_monitor {
        return Err(CommandError::new("ERR can only reset normal client connections"));
    }
    super::transactions::end(cx.node, cx.session);
    super::pubsub::unsubscribe_all(cx.node, cx.session);
    cx.node.tracking.disable(&cx.node.keyspace, cx.session);
    cx.node.stop_monitor(cx.session);
    cx.session.select(0);
    cx.keys.db = 0;
    cx.session.set_protocol(Protocol::Resp2);
    cx.reply.set_protocol(Protocol::Resp2);
    cx.session.reply_mode = crate::ReplyMode::On;
    cx.session.info.no_evict.store(false, Relaxed);
    cx.session.info.maint.store(false, Relaxed);
    cx.session.info.no_touch.store(false, Relaxed);
    cx.node.set_default_user(cx.session);
    crate::lock(&cx.session.info.names).name.clear();
    cx.session.publish_state();
    cx.reply.simple("RESET");
    Ok(After::Done)
}

/// AUTH [username] password
pub const AUTH: Command<NodeFn> = Command::new(
    CommandSpec::new("auth", -2, Group::Connection)
        .flags(ANYTIME.union(Flags::SENTINEL))
        .doc("O(1)", "Says who the connection belongs to."),
    auth,
);

fn auth(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (user, password) = match args.len() {
        2 => {
            if cx.node.access.default_user().rules().needs_no_password() {
                return Err(CommandError::new(
                    "ERR AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?",
                ));
            }
            (&b"default"[..], args.at(1))
        }
        3 => (args.at(1), args.at(2)),
        _ => return Err(CommandError::SYNTAX),
    };
    login(cx, user, password, args.at(0))?;
    cx.reply.ok();
    Ok(After::Done)
}

fn login(
    cx: &mut NodeCtx<'_, '_>,
    user: &[u8],
    password: &[u8],
    command: &[u8],
) -> std::result::Result<(), CommandError> {
    let context = if cx.in_exec { acl::Context::Multi } else { acl::Context::Toplevel };
    cx.node.authenticate(cx.worker.now, cx.session, user, password, command, context)
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]
pub const HELLO: Command<NodeFn> = Command::new(
    CommandSpec::new("hello", -1, Group::Connection)
        .flags(ANYTIME.union(Flags::SENTINEL))
        .since("6.0.0")
        .doc("O(1)", "Chooses the protocol version, and tells what server this is."),
    hello,
);

/// Source: redis 7.0 `networking.c:helloCommand`.
fn hello(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let mut version = None;
    if let Some(arg) = args.get(1) {
        let number = stdx::parse_i64(arg)
            .ok_or(CommandError::new("ERR Protocol version is not an integer or out of range"))?;
        version = Some(match number {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CommandError::new("NOPROTO unsupported protocol version")),
        });
    }
    let (mut at, mut credentials, mut name) = (2, None, None);
    while at < args.len() {
        let more = args.len() - 1 - at;
        if args.is(at, "auth") && more >= 2 {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if args.is(at, "setname") && more >= 1 {
            name = Some(valid_name(args.at(at + 1))?);
            at += 2;
        } else {
            return Err(CommandError::quoting(&[
                b"ERR Syntax error in HELLO option '",
                args.at(at),
                b"'",
            ]));
        }
    }
    if let Some((user, password)) = credentials {
        login(cx, user, password, args.at(0))?;
    }
    if cx.node.must_authenticate(cx.session) {
        return Err(CommandError::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        crate::lock(&cx.session.info.names).name = name;
    }
    if let Some(version) = version {
        cx.session.set_protocol(version);
        cx.reply.set_protocol(version);
    }
    let reply = &mut *cx.reply;
    let is_sentinel = cx.node.sentinel().is_some();
    reply.map(if is_sentinel { 6 } else { 7 });
    reply.text("server");
    reply.text("redis");
    reply.text("version");
    reply.text(super::REDIS_VERSION);
    reply.text("proto");
    reply.integer(if reply.is_resp3() { 3 } else { 2 });
    reply.text("id");
    reply.integer(cx.session.id() as i64);
    reply.text("mode");
    if is_sentinel {
        reply.text("sentinel");
    } else {
        reply.text(if cx.worker.settings.config.cluster_enabled {
            "cluster"
        } else {
            "standalone"
        });
        reply.text("role");
        reply.text(if cx.node.is_replica() { "replica" } else { "master" });
    }
    reply.text("modules");
    reply.array(0);
    Ok(After::Done)
}

/// A name that CLIENT LIST can show: no blanks, no control characters.
pub(crate) fn valid_name(name: &[u8]) -> std::result::Result<String, CommandError> {
    if name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
        return Err(CommandError::new(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}
