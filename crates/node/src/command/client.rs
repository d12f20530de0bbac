//! CLIENT: what connections are there, and what is done to one or to all of them.
//!
//! Another connection is only reached through its owner's mailbox; its owner ends it, answers it or
//! lets it go on.

use super::connection::valid_name;
use crate::block::EndWait;
use crate::registry::registry;
use crate::{
    After, ClientInfo, ClientKind, Message, Node, NodeCtx, NodeFn, PauseFor, ReplyMode, Session,
    Track, lock,
};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::Args;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&CLIENT];

const PLAIN: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);
const ADMIN: Flags = PLAIN.union(Flags::ADMIN);
const MANY: &str = "O(N) where N is the number of client connections";

const fn spec(name: &'static str, arity: i32, flags: Flags, since: &'static str) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Connection).flags(flags).since(since)
}

/// CLIENT subcommand
pub const CLIENT: Command<NodeFn> = Command::container(
    spec("client", -2, Flags::SENTINEL, "2.4.0")
        .without_group_category()
        .doc("Depends on subcommand.", "Shows and rules connections."),
    |_, _| Err(CommandError::arity("client")),
    &[
        &CACHING,
        &CAPA,
        &GETNAME,
        &GETREDIR,
        &HELP,
        &ID,
        &INFO,
        &KILL,
        &LIST,
        &MAINT,
        &NO_EVICT,
        &NO_TOUCH,
        &PAUSE,
        &REPLY,
        &SETINFO,
        &SETNAME,
        &TRACKING,
        &TRACKINGINFO,
        &UNBLOCK,
        &UNPAUSE,
    ],
);

const ID: Command<NodeFn> = Command::new(
    spec("client|id", 2, PLAIN, "5.0.0").doc("O(1)", "Tells the connection's number."),
    |cx, _| {
        cx.reply.integer(cx.session.id() as i64);
        Ok(After::Done)
    },
);

// ---- names -------------------------------------------------------------------------------------

const SETNAME: Command<NodeFn> = Command::new(
    spec("client|setname", 3, PLAIN, "2.6.9").doc("O(1)", "Names the connection."),
    |cx, args| {
        let name = valid_name(args.at(2))?;
        lock(&cx.session.info.names).name = name;
        cx.reply.ok();
        Ok(After::Done)
    },
);

const GETNAME: Command<NodeFn> = Command::new(
    spec("client|getname", 2, PLAIN, "2.6.9").doc("O(1)", "Tells the connection's name."),
    |cx, _| {
        let names = lock(&cx.session.info.names);
        if names.name.is_empty() {
            cx.reply.null()
        } else {
            cx.reply.text(&names.name)
        }
        Ok(After::Done)
    },
);

const SETINFO: Command<NodeFn> = Command::new(
    spec("client|setinfo", 4, PLAIN, "7.2.0")
        .doc("O(1)", "Names the library that the client uses.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    setinfo,
);

/// Source: redis 7.2 `networking.c:clientSetinfoCommand`.
fn setinfo(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let option = args.at(2);
    let is_name = args.is(2, "lib-name");
    if !is_name && !args.is(2, "lib-ver") {
        return Err(CommandError::quoting(&[b"ERR Unrecognized option '", option, b"'"]));
    }
    let value = valid_name(args.at(3)).map_err(|_| {
        const REST: &[u8] = b" cannot contain spaces, newlines or special characters.";
        CommandError::quoting(&[b"ERR ", option, REST])
    })?;
    let mut names = lock(&cx.session.info.names);
    *(if is_name { &mut names.lib_name } else { &mut names.lib_ver }) = value;
    cx.reply.ok();
    Ok(After::Done)
}

const CAPA: Command<NodeFn> = Command::new(
    // Valkey's: a client names what it understands. What we do not know is ignored, as there.
    spec("client|capa", -3, PLAIN, "8.0.0")
        .doc("O(1)", "Takes note of what the client is able to do."),
    |cx, _| {
        cx.reply.ok();
        Ok(After::Done)
    },
);

const MAINT: Command<NodeFn> = Command::new(
    // Redis's cloud services know it, and the clients redis-py 8, node-redis 6 and others ask for it.
    spec("client|maint_notifications", -3, PLAIN, "8.2.0")
        .doc("O(1)", "Asks for notices of planned changes of the master."),
    maint_notifications,
);

/// `MAINT_NOTIFICATIONS ON|OFF [moving-endpoint-type type]`
fn maint_notifications(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    const TYPES: [&str; 5] =
        ["internal-ip", "internal-fqdn", "external-ip", "external-fqdn", "none"];
    let on = args.is(2, "on");
    if !on && !args.is(2, "off") {
        return Err(CommandError::SYNTAX);
    }
    let endpoint = match args.len() {
        3 => "",
        5 if args.is(3, "moving-endpoint-type") => {
            *TYPES.iter().find(|name| args.is(4, name)).ok_or(CommandError::SYNTAX)?
        }
        _ => return Err(CommandError::SYNTAX),
    };
    cx.session.info.maint.store(on, Relaxed);
    cx.session.info.maint_no_endpoint.store(endpoint == "none", Relaxed);
    cx.reply.ok();
    Ok(After::Done)
}

// ---- looking -----------------------------------------------------------------------------------

const INFO: Command<NodeFn> = Command::new(
    spec("client|info", 2, PLAIN, "6.2.0")
        .doc("O(1)", "Tells about the connection.")
        .tips(&["nondeterministic_output"]),
    |cx, _| {
        let text = lines(cx, std::slice::from_ref(&cx.session.info));
        cx.reply.verbatim("txt", text.as_bytes());
        Ok(After::Done)
    },
);

const LIST: Command<NodeFn> = Command::new(
    spec("client|list", -2, ADMIN, "2.4.0")
        .doc(MANY, "Lists connections.")
        .tips(&["nondeterministic_output"]),
    list,
);

/// Source: redis 7.0 `networking.c:clientCommand` (LIST).
fn list(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let chosen = if args.len() == 2 {
        cx.node.clients.all()
    } else if args.len() == 4 && args.is(2, "type") {
        let kind = client_kind(args.at(3))?;
        cx.node.clients.all().into_iter().filter(|client| client.kind() == kind).collect()
    } else if args.len() > 3 && args.is(2, "id") {
        let mut found = Vec::new();
        for arg in args.tail(3).iter() {
            let id = stdx::parse_i64(arg).ok_or(CommandError::new("ERR Invalid client ID"))?;
            found.extend(u64::try_from(id).ok().and_then(|id| cx.node.clients.get(id)));
        }
        found
    } else {
        return Err(CommandError::SYNTAX);
    };
    let text = lines(cx, &chosen);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(After::Done)
}

fn lines(cx: &NodeCtx<'_, '_>, clients: &[Arc<ClientInfo>]) -> String {
    let now = cx.worker.now.mono().0;
    let own = cx.session.id();
    let mut text = String::new();
    for client in clients {
        // Whoever was killed is gone for all others, even if its own thread has yet to close it.
        if client.id != own && client.killed.load(Relaxed) {
            continue;
        }
        let last = client.last_command.load(Relaxed) as usize;
        let command = registry().by_index.get(last).map_or("NULL", |command| command.spec.name);
        text.push_str(&client.line(now, command));
        text.push('\n');
    }
    text
}

/// Source: redis 7.0 `networking.c:getClientTypeByName`.
fn client_kind(word: &[u8]) -> std::result::Result<ClientKind, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(ClientKind::Normal),
        b"slave" | b"replica" => Ok(ClientKind::Replica),
        b"pubsub" => Ok(ClientKind::Pubsub),
        b"master" => Ok(ClientKind::Master),
        _ => Err(CommandError::quoting(&[b"ERR Unknown client type '", word, b"'"])),
    }
}

// ---- ending ------------------------------------------------------------------------------------

const KILL: Command<NodeFn> =
    Command::new(spec("client|kill", -3, ADMIN, "2.4.0").doc(MANY, "Closes connections."), kill);

/// What CLIENT KILL is to find; all conditions must hold.
struct KillFilter<'a> {
    id: Option<u64>,
    kind: Option<ClientKind>,
    user: Option<&'a [u8]>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    /// Connected for so many seconds or longer.
    max_age: Option<u64>,
    skip_me: bool,
}

impl<'a> KillFilter<'a> {
    /// Source: redis 7.4 `networking.c:parseClientFiltersOrReply`.
    fn parse(node: &Node, args: &Args<'a>) -> std::result::Result<KillFilter<'a>, CommandError> {
        let mut filter = KillFilter {
            id: None,
            kind: None,
            user: None,
            addr: None,
            laddr: None,
            max_age: None,
            skip_me: true,
        };
        if args.len() == 3 {
            // The old form: an address, and our own is no exception.
            filter.addr = Some(args.at(2));
            filter.skip_me = false;
            return Ok(filter);
        }
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(CommandError::SYNTAX)?;
            filter.option(node, args, at, value)?;
        }
        Ok(filter)
    }

    fn option(
        &mut self,
        node: &Node,
        args: &Args<'a>,
        at: usize,
        value: &'a [u8],
    ) -> std::result::Result<(), CommandError> {
        let number = || stdx::parse_i64(value);
        if args.is(at, "id") {
            let id = number().filter(|&id| id > 0);
            let id = id.ok_or(CommandError::new("ERR client-id should be greater than 0"))?;
            self.id = Some(id as u64);
        } else if args.is(at, "type") {
            self.kind = Some(client_kind(value)?);
        } else if args.is(at, "addr") {
            self.addr = Some(value);
        } else if args.is(at, "laddr") {
            self.laddr = Some(value);
        } else if args.is(at, "user") {
            if node.access.find(value).is_none() {
                return Err(CommandError::quoting(&[b"ERR No such user '", value, b"'"]));
            }
            self.user = Some(value);
        } else if args.is(at, "maxage") {
            let age = number()
                .ok_or(CommandError::new("ERR maxage is not an integer or out of range"))?;
            if age <= 0 {
                return Err(CommandError::new("ERR maxage should be greater than 0"));
            }
            self.max_age = Some(age as u64);
        } else if args.is(at, "skipme") {
            self.skip_me = match value.to_ascii_lowercase().as_slice() {
                b"yes" => true,
                b"no" => false,
                _ => return Err(CommandError::SYNTAX),
            };
        } else {
            return Err(CommandError::SYNTAX);
        }
        Ok(())
    }

    fn matches(&self, client: &ClientInfo, own: u64, now: u64) -> bool {
        let age = now.saturating_sub(client.created) / 1000;
        let spared = client.killed.load(Relaxed) || (self.skip_me && client.id == own);
        !spared
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self.addr.is_none_or(|addr| addr == client.addr.as_bytes())
            && self.laddr.is_none_or(|laddr| laddr == client.laddr.as_bytes())
            && self.user.is_none_or(|user| user == lock(&client.names).user)
            && self.max_age.is_none_or(|least| age >= least)
    }
}

fn kill(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let filter = KillFilter::parse(cx.node, args)?;
    let (own, now) = (cx.session.id(), cx.worker.now.mono().0);
    let spares = cx.node.failover.spares(&lock(&cx.session.info.names).name);
    let mut killed = 0;
    let mut after = After::Done;
    for client in cx.node.clients.all() {
        if !filter.matches(&client, own, now) {
            continue;
        }
        killed += 1;
        if spares && client.id != own {
            continue;
        }
        if client.id == own {
            client.killed.store(true, Relaxed);
            after = After::Close;
        } else {
            cx.node.kill_client(&client);
        }
    }
    match (args.len(), killed) {
        (3, 0) => return Err(CommandError::new("ERR No such client")),
        (3, _) => cx.reply.ok(),
        _ => cx.reply.integer(killed),
    }
    Ok(after)
}

// ---- holding back ------------------------------------------------------------------------------

const PAUSE: Command<NodeFn> = Command::new(
    spec("client|pause", -3, ADMIN.union(Flags::ALL_STRIPES), "2.9.50")
        .doc("O(1)", "Holds commands back for a while."),
    pause,
);

/// Source: redis 7.0 `networking.c:clientCommand` (PAUSE), `pauseClients`.
fn pause(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let writes_only = match args.len() {
        3 => false,
        4 if args.is(3, "write") => true,
        4 if args.is(3, "all") => false,
        4 => return Err(CommandError::new("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(super::subcommand_error(args, "CLIENT")),
    };
    let ms = stdx::parse_i64(args.at(2))
        .ok_or(CommandError::new("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(CommandError::new("ERR timeout is negative"));
    }
    let now = cx.worker.now.unix();
    let until = now.0.checked_add(ms).ok_or(CommandError::new("ERR timeout is out of range"))?;
    cx.node.pause(PauseFor::Client, now, until, writes_only);
    cx.reply.ok();
    Ok(After::Done)
}

const UNPAUSE: Command<NodeFn> = Command::new(
    spec("client|unpause", 2, ADMIN, "6.2.0")
        .doc("O(N) Where N is the number of paused clients", "Ends CLIENT PAUSE."),
    |cx, _| {
        cx.node.unpause(PauseFor::Client);
        cx.reply.ok();
        Ok(After::Done)
    },
);

const UNBLOCK: Command<NodeFn> = Command::new(
    spec("client|unblock", -3, ADMIN.union(Flags::ALL_STRIPES), "5.0.0").doc(
        "O(log N) where N is the number of client connections",
        "Ends another connection's wait.",
    ),
    unblock,
);

/// Source: redis 7.0 `networking.c:clientCommand` (UNBLOCK).
fn unblock(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let how = match args.len() {
        3 => EndWait::Timeout,
        4 if args.is(3, "timeout") => EndWait::Timeout,
        4 if args.is(3, "error") => EndWait::Error,
        4 => return Err(CommandError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(super::subcommand_error(args, "CLIENT")),
    };
    let id = stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let blocked = u64::try_from(id).ok().and_then(|id| cx.node.blocking.of_client(id));
    let ended = blocked.is_some_and(|blocked| cx.node.end_wait_holding_all(cx.keys, &blocked, how));
    cx.reply.integer(i64::from(ended));
    Ok(After::Done)
}

// ---- manners of the own connection -------------------------------------------------------------

const REPLY: Command<NodeFn> = Command::new(
    spec("client|reply", 3, PLAIN, "3.2.0")
        .doc("O(1)", "Chooses which replies the connection gets."),
    |cx, args| {
        if args.is(2, "on") {
            cx.session.reply_mode = ReplyMode::On;
            cx.reply.ok();
        } else if args.is(2, "off") {
            cx.session.reply_mode = ReplyMode::Off;
        } else if args.is(2, "skip") {
            if cx.session.reply_mode != ReplyMode::Off {
                cx.session.reply_mode = ReplyMode::SkipNext;
            }
        } else {
            return Err(CommandError::SYNTAX);
        }
        Ok(After::Done)
    },
);

const NO_EVICT: Command<NodeFn> = Command::new(
    spec("client|no-evict", 3, ADMIN, "7.0.0")
        .doc("O(1)", "Keeps the connection when memory for clients runs out."),
    |cx, args| on_off(cx, args, |client| &client.no_evict),
);

const NO_TOUCH: Command<NodeFn> = Command::new(
    spec("client|no-touch", 3, PLAIN, "7.2.0")
        .doc("O(1)", "Lets the connection's reads not count as use of keys."),
    |cx, args| on_off(cx, args, |client| &client.no_touch),
);

fn on_off(
    cx: &mut NodeCtx<'_, '_>,
    args: &Args<'_>,
    flag: fn(&ClientInfo) -> &AtomicBool,
) -> Result {
    let on = args.is(2, "on");
    if !on && !args.is(2, "off") {
        return Err(CommandError::SYNTAX);
    }
    flag(&cx.session.info).store(on, Relaxed);
    cx.reply.ok();
    Ok(After::Done)
}

// ---- client-side caching -----------------------------------------------------------------------

const TRACKING: Command<NodeFn> = Command::new(
    // Under all stripes, so that no write that has begun misses it.
    spec("client|tracking", -3, PLAIN.union(Flags::ALL_STRIPES), "6.0.0").doc(
        "O(1). Some options may introduce additional complexity.",
        "Turns client-side caching on or off.",
    ),
    tracking,
);

/// Source: redis 7.0 `networking.c:clientCommand` (TRACKING).
fn tracking(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (mut mode, mut redirect, mut prefixes) = (Track::empty(), 0, Vec::new());
    let mut at = 3;
    while at < args.len() {
        let value = args.get(at + 1);
        at += 1;
        match (args.at(at - 1).to_ascii_lowercase().as_slice(), value) {
            (b"redirect", Some(value)) => {
                at += 1;
                if redirect != 0 {
                    return Err(CommandError::new(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                let id = stdx::parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                redirect = u64::try_from(id).unwrap_or_default();
                if cx.node.clients.get(redirect).is_none() {
                    return Err(CommandError::new(
                        "ERR The client ID you want redirect to does not exist",
                    ));
                }
            }
            (b"prefix", Some(value)) => {
                at += 1;
                prefixes.push(value);
            }
            (b"bcast", _) => mode |= Track::BCAST,
            (b"optin", _) => mode |= Track::OPTIN,
            (b"optout", _) => mode |= Track::OPTOUT,
            (b"noloop", _) => mode |= Track::NOLOOP,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    if args.is(2, "on") {
        check_mode(cx.session, mode, &prefixes)?;
        cx.node.tracking.enable(&cx.node.keyspace, cx.session, mode, redirect, &prefixes);
    } else if args.is(2, "off") {
        cx.node.tracking.disable(&cx.node.keyspace, cx.session);
    } else {
        return Err(CommandError::SYNTAX);
    }
    cx.reply.ok();
    Ok(After::Done)
}

/// Do the options go together, and with the present mode?
fn check_mode(
    session: &Session,
    mode: Track,
    prefixes: &[&[u8]],
) -> std::result::Result<(), CommandError> {
    let old = session.info.track();
    let error = if !mode.contains(Track::BCAST) && !prefixes.is_empty() {
        "ERR PREFIX option requires BCAST mode to be enabled"
    } else if old.contains(Track::ON) && (old ^ mode).contains(Track::BCAST) {
        "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
    } else if mode.contains(Track::BCAST) && mode.intersects(Track::OPTIN | Track::OPTOUT) {
        "ERR OPTIN and OPTOUT are not compatible with BCAST"
    } else if mode.contains(Track::OPTIN | Track::OPTOUT) {
        "ERR You can't specify both OPTIN mode and OPTOUT mode"
    } else if (mode | old).contains(Track::OPTIN | Track::OPTOUT)
        && mode.intersects(Track::OPTIN | Track::OPTOUT)
    {
        "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
    } else {
        return check_prefixes(session, prefixes);
    };
    Err(CommandError::new(error))
}

/// No key may come under two prefixes of one connection.
/// Source: redis 7.0 `tracking.c:checkPrefixCollisionsOrReply`.
fn check_prefixes(session: &Session, prefixes: &[&[u8]]) -> std::result::Result<(), CommandError> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refuse = |prefix: &[u8], which: &[u8], other: &[u8]| {
        const REST: &[u8] = b"'. Prefixes for a single client must not overlap.";
        CommandError::quoting(&[b"ERR Prefix '", prefix, b"' overlaps with ", which, other, REST])
    };
    for (at, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = session.prefixes.iter().find(|other| overlap(other, prefix)) {
            return Err(refuse(prefix, b"an existing prefix '", other));
        }
        if let Some(other) = prefixes.iter().skip(at + 1).find(|other| overlap(other, prefix)) {
            return Err(refuse(prefix, b"another provided prefix '", other));
        }
    }
    Ok(())
}

const CACHING: Command<NodeFn> = Command::new(
    spec("client|caching", 3, PLAIN, "6.0.0")
        .doc("O(1)", "Says whether the next command's keys are tracked."),
    caching,
);

/// Source: redis 7.0 `networking.c:clientCommand` (CACHING).
fn caching(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let mode = cx.session.info.track();
    if !mode.contains(Track::ON) {
        return Err(CommandError::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    }
    if args.is(2, "yes") {
        if !mode.contains(Track::OPTIN) {
            return Err(CommandError::new(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if args.is(2, "no") {
        if !mode.contains(Track::OPTOUT) {
            return Err(CommandError::new(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(CommandError::SYNTAX);
    }
    cx.session.caching = true;
    cx.reply.ok();
    Ok(After::Done)
}

const GETREDIR: Command<NodeFn> = Command::new(
    spec("client|getredir", 2, PLAIN, "6.0.0")
        .doc("O(1)", "Tells which connection gets this one's invalidations."),
    |cx, _| {
        cx.reply.integer(redirection(cx.session));
        Ok(After::Done)
    },
);

fn redirection(session: &Session) -> i64 {
    if session.info.track().contains(Track::ON) {
        session.info.redirect.load(Relaxed) as i64
    } else {
        -1
    }
}

const TRACKINGINFO: Command<NodeFn> = Command::new(
    spec("client|trackinginfo", 2, PLAIN, "6.2.0")
        .doc("O(1)", "Tells about the connection's client-side caching."),
    |cx, _| {
        let mode = cx.session.info.track();
        let caching = cx.session.caching;
        let words = [
            (!mode.contains(Track::ON), "off"),
            (mode.contains(Track::ON), "on"),
            (mode.contains(Track::BCAST), "bcast"),
            (mode.contains(Track::OPTIN), "optin"),
            (mode.contains(Track::OPTIN) && caching, "caching-yes"),
            (mode.contains(Track::OPTOUT), "optout"),
            (mode.contains(Track::OPTOUT) && caching, "caching-no"),
            (mode.contains(Track::NOLOOP), "noloop"),
            (mode.contains(Track::BROKEN), "broken_redirect"),
        ];
        cx.reply.map(3);
        cx.reply.text("flags");
        cx.reply.set(words.iter().filter(|(set, _)| *set).count());
        words.iter().filter(|(set, _)| *set).for_each(|(_, word)| cx.reply.text(word));
        cx.reply.text("redirect");
        cx.reply.integer(redirection(cx.session));
        cx.reply.text("prefixes");
        cx.reply.array(cx.session.prefixes.len());
        cx.session.prefixes.iter().for_each(|prefix| cx.reply.bulk(prefix));
        Ok(After::Done)
    },
);

const HELP: Command<NodeFn> = Command::new(
    spec("client|help", 2, Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL), "5.0.0")
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(cx.reply, "CLIENT", HELP_LINES);
        Ok(After::Done)
    },
);

const HELP_LINES: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "MAINT_NOTIFICATIONS (ON|OFF) [MOVING-ENDPOINT-TYPE <type>]",
    "    Get notices of planned changes of the master (RESP3).",
    "CAPA <capability> [...]",
    "    Tell what the client is able to do; unknown capabilities are ignored.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID <client-id> [<client-id> ...]",
    "      Return clients of specified IDs.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];

impl Node {
    /// Ends another connection, whatever is still queued for it. The link to the master has no
    /// worker: its driver is woken and finds [`crate::StreamApplier::is_killed`].
    pub fn kill_client(&self, client: &ClientInfo) {
        client.killed.store(true, Relaxed);
        match self.mailboxes.get(client.worker()) {
            Some(mailbox) => mailbox.send(Message::Close { client: client.id, flush: false }),
            None => self.repl.wake_driver(),
        }
    }
}
