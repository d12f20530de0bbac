//! ACL: users, their rules, and what was denied.

use crate::access::denied_text;
use crate::registry::registry;
use crate::{After, NodeCtx, NodeFn, lock};
use acl::{CATEGORIES, Selector, category_name, merge_selectors};
use commands::{Command, CommandError, CommandSpec, Flags, Group};
use resp::{Args, Reply};

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&ACL];

const PLAIN: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);
const ADMIN: Flags = PLAIN.union(Flags::ADMIN);

const fn spec(name: &'static str, arity: i32, flags: Flags) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Server).flags(flags).since("6.0.0")
}

/// ACL subcommand
pub const ACL: Command<NodeFn> = Command::container(
    spec("acl", -2, Flags::SENTINEL).doc("Depends on subcommand.", "Shows and rules users."),
    |_, _| Err(CommandError::arity("acl")),
    &[
        &CAT, &DELUSER, &DRYRUN, &GENPASS, &GETUSER, &HELP, &LIST, &LOAD, &LOG, &SAVE, &SETUSER,
        &USERS, &WHOAMI,
    ],
);

const WHOAMI: Command<NodeFn> = Command::new(
    spec("acl|whoami", 2, PLAIN).doc("O(1)", "Tells which user the connection belongs to."),
    |cx, _| {
        cx.reply.bulk(cx.session.user.name());
        Ok(After::Done)
    },
);

// ---- users -------------------------------------------------------------------------------------

const SETUSER: Command<NodeFn> = Command::new(
    spec("acl|setuser", -3, ADMIN)
        .doc("O(N). Where N is the number of rules provided.", "Makes a user, or changes one."),
    setuser,
);

/// Source: redis 7.0 `acl.c:aclCommand` (SETUSER).
fn setuser(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let name = args.at(2);
    if acl::has_spaces(name) {
        return Err(CommandError::new("ERR Usernames can't contain spaces or null characters"));
    }
    let words = args.tail(3);
    let rules = merge_selectors(words.iter()).map_err(|at| {
        CommandError::quoting(&[
            b"ERR Unmatched parenthesis in acl selector starting at '",
            words.at(at),
            b"'.",
        ])
    })?;
    cx.node.set_user(name, &rules).map_err(|(rule, error)| {
        CommandError::quoting(&[
            b"ERR Error in ACL SETUSER modifier '",
            &rule,
            b"': ",
            error.text().as_bytes(),
        ])
    })?;
    cx.reply.ok();
    Ok(After::Done)
}

const DELUSER: Command<NodeFn> = Command::new(
    spec("acl|deluser", -3, ADMIN).doc(
        "O(1) amortized time considering the typical user.",
        "Removes users, and ends their connections.",
    ),
    |cx, args| {
        let names: Vec<&[u8]> = args.iter().skip(2).collect();
        if names.contains(&b"default".as_slice()) {
            return Err(CommandError::new("ERR The 'default' user cannot be removed"));
        }
        let (deleted, ends_own) = cx.node.delete_users(&names, cx.session.id());
        cx.reply.count(deleted);
        Ok(if ends_own { After::Close } else { After::Done })
    },
);

const GETUSER: Command<NodeFn> = Command::new(
    spec("acl|getuser", 3, ADMIN).doc(
        "O(N). Where N is the number of password, command and pattern rules that the user has.",
        "Tells the rules of a user.",
    ),
    getuser,
);

/// Source: redis 7.0 `acl.c:aclCommand` (GETUSER).
fn getuser(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let Some(cell) = cx.node.access.find(args.at(2)) else {
        cx.reply.null();
        return Ok(After::Done);
    };
    let user = cell.rules();
    let reply = &mut *cx.reply;
    reply.map(6);
    reply.text("flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.text(flag));
    reply.text("passwords");
    reply.array(user.passwords().len());
    user.passwords().iter().for_each(|hash| reply.text(hash));
    rights(reply, user.root());
    reply.text("selectors");
    reply.array(user.selectors().len());
    for selector in user.selectors() {
        reply.map(3);
        rights(reply, selector);
    }
    Ok(After::Done)
}

fn rights(reply: &mut Reply, selector: &Selector) {
    reply.text("commands");
    reply.bulk(&selector.show_commands());
    reply.text("keys");
    reply.bulk(&selector.show_keys());
    reply.text("channels");
    reply.bulk(&selector.show_channels());
}

const LIST: Command<NodeFn> = Command::new(
    spec("acl|list", 2, ADMIN).doc(
        "O(N). Where N is the number of configured users.",
        "Tells the rules of all users, as a file would hold them.",
    ),
    |cx, _| {
        let lines = cx.node.access.lines();
        cx.reply.array(lines.len());
        lines.iter().for_each(|line| cx.reply.bulk(line));
        Ok(After::Done)
    },
);

const USERS: Command<NodeFn> = Command::new(
    spec("acl|users", 2, ADMIN)
        .doc("O(N). Where N is the number of configured users.", "Lists the names of all users."),
    |cx, _| {
        let users = cx.node.access.all();
        cx.reply.array(users.len());
        users.iter().for_each(|(name, _)| cx.reply.bulk(name));
        Ok(After::Done)
    },
);

// ---- rights ------------------------------------------------------------------------------------

const CAT: Command<NodeFn> = Command::new(
    spec("acl|cat", -2, PLAIN).doc(
        "O(1) since the categories and commands are a fixed set.",
        "Lists the categories of commands, or the commands of one.",
    ),
    cat,
);

fn cat(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    match args.len() {
        2 => {
            cx.reply.array(CATEGORIES.len());
            CATEGORIES.iter().for_each(|(name, _)| cx.reply.text(name));
        }
        3 => {
            let category = category_name(args.at(2)).ok_or_else(|| {
                CommandError::quoting(&[b"ERR Unknown category '", args.at(2), b"'"])
            })?;
            let listed: Vec<&str> = cx
                .node
                .catalog()
                .entries()
                .iter()
                .filter(|entry| entry.categories.intersects(category))
                .map(|entry| entry.name)
                .collect();
            cx.reply.array(listed.len());
            listed.iter().for_each(|name| cx.reply.text(name));
        }
        _ => return Err(wrong_count(args)),
    }
    Ok(After::Done)
}

/// Source: redis 7.0 `networking.c:addReplySubcommandSyntaxError`.
fn wrong_count(args: &Args<'_>) -> CommandError {
    super::subcommand_error(args, "ACL")
}

const DRYRUN: Command<NodeFn> = Command::new(
    spec("acl|dryrun", -4, ADMIN)
        .since("7.0.0")
        .doc("O(1).", "Tells whether a user may run a command, without running it."),
    dryrun,
);

/// Source: redis 7.2 `acl.c:aclCommand` (DRYRUN).
fn dryrun(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let cell = cx
        .node
        .access
        .find(args.at(2))
        .ok_or_else(|| CommandError::quoting(&[b"ERR User '", args.at(2), b"' not found"]))?;
    let request = args.tail(3);
    let command = registry().find(request.at(0)).filter(|command| cx.node.has_command(command));
    let command = match (command, request.get(1)) {
        (Some(top), Some(name)) if !top.subcommands.is_empty() => registry().find_sub(top, name),
        (command, _) => command,
    };
    let command = command
        .ok_or_else(|| CommandError::quoting(&[b"ERR Command '", request.at(0), b"' not found"]))?;
    if !command.spec.arity_fits(request.len()) {
        return Err(CommandError::arity(command.spec.name));
    }
    match cx.node.may_run(&cell, command, &request) {
        Ok(()) => cx.reply.ok(),
        Err(denied) => {
            cx.reply.bulk(&denied_text(denied, cell.name(), command, &request, true));
        }
    }
    Ok(After::Done)
}

const GENPASS: Command<NodeFn> =
    Command::new(spec("acl|genpass", -2, PLAIN).doc("O(1)", "Makes up a password."), genpass);

/// Source: redis 7.0 `acl.c:aclCommand` (GENPASS).
fn genpass(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let bits = match args.len() {
        2 => 256,
        3 => stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?,
        _ => return Err(wrong_count(args)),
    };
    if !(1..=4096).contains(&bits) {
        return Err(CommandError::new(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    cx.reply.text(&cx.node.host.random_hex(digits));
    Ok(After::Done)
}

// ---- what was denied ---------------------------------------------------------------------------

const LOG: Command<NodeFn> = Command::new(
    spec("acl|log", -2, ADMIN).doc(
        "O(N) with N being the number of entries shown.",
        "Lists what was lately denied to whom, or forgets it.",
    ),
    log,
);

/// Entries that ACL LOG shows unless told otherwise.
const SHOWN: i64 = 10;

/// Source: redis 7.2 `acl.c:aclCommand` (LOG).
fn log(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let count = match args.len() {
        2 => SHOWN,
        3 if args.is(2, "reset") => {
            lock(&cx.node.access.log).clear();
            cx.reply.ok();
            return Ok(After::Done);
        }
        3 => stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?.max(0),
        _ => return Err(wrong_count(args)),
    };
    let log = lock(&cx.node.access.log);
    let shown = log.entries().len().min(usize::try_from(count).unwrap_or(usize::MAX));
    let now = cx.worker.now.unix().0;
    let reply = &mut *cx.reply;
    reply.array(shown);
    for entry in log.entries().take(shown) {
        let incident = &entry.incident;
        reply.map(10);
        reply.text("count");
        reply.integer(i64::try_from(entry.count).unwrap_or(i64::MAX));
        reply.text("reason");
        reply.text(incident.reason.name());
        reply.text("context");
        reply.text(incident.context.name());
        reply.text("object");
        reply.bulk(&incident.object);
        reply.text("username");
        reply.bulk(&incident.username);
        reply.text("age-seconds");
        reply.double(now.saturating_sub(incident.at) as f64 / 1000.0);
        reply.text("client-info");
        reply.text(&incident.client);
        reply.text("entry-id");
        reply.integer(entry.id as i64);
        reply.text("timestamp-created");
        reply.integer(entry.created);
        reply.text("timestamp-last-updated");
        reply.integer(incident.at);
    }
    Ok(After::Done)
}

// ---- files -------------------------------------------------------------------------------------

const NO_FILE: CommandError = CommandError::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
     command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
     users in the Redis configuration.",
);

fn needs_file(cx: &NodeCtx<'_, '_>) -> std::result::Result<(), CommandError> {
    match cx.node.settings.load().config.aclfile.non_empty() {
        Some(_) => Ok(()),
        None => Err(NO_FILE),
    }
}

const LOAD: Command<NodeFn> = Command::new(
    spec("acl|load", 2, ADMIN).doc(
        "O(N). Where N is the number of configured users.",
        "Takes the users of the ACL file in the place of all users.",
    ),
    |cx, _| {
        needs_file(cx)?;
        let _one_at_a_time = lock(&cx.node.config_lock);
        let ends_own = cx.node.load_acl_file(cx.session.id()).map_err(|why| {
            cx.node.host.log(3, &why);
            CommandError::owned(format!("ERR {why}"))
        })?;
        cx.reply.ok();
        Ok(if ends_own { After::Close } else { After::Done })
    },
);

const SAVE: Command<NodeFn> = Command::new(
    spec("acl|save", 2, ADMIN).doc(
        "O(N). Where N is the number of configured users.",
        "Writes all users into the ACL file.",
    ),
    |cx, _| {
        needs_file(cx)?;
        let _one_at_a_time = lock(&cx.node.config_lock);
        cx.node.save_acl_file().map_err(|why| {
            cx.node.host.log(3, &format!("Saving the ACL file failed: {why}"));
            CommandError::new(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            )
        })?;
        cx.reply.ok();
        Ok(After::Done)
    },
);

const HELP: Command<NodeFn> = Command::new(
    spec("acl|help", 2, Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL))
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "ACL",
            &[
                "CAT [<category>]",
                "    List all commands that belong to <category>, or all command categories",
                "    when no category is specified.",
                "DELUSER <username> [<username> ...]",
                "    Delete a list of users.",
                "DRYRUN <username> <command> [<arg> ...]",
                "    Returns whether the user can execute the given command without executing the command.",
                "GETUSER <username>",
                "    Get the user's details.",
                "GENPASS [<bits>]",
                "    Generate a secure 256-bit user password. The optional `bits` argument can",
                "    be used to specify a different size.",
                "LIST",
                "    Show users details in config file format.",
                "LOAD",
                "    Reload users from the ACL file.",
                "LOG [<count> | RESET]",
                "    Show the ACL log entries.",
                "SAVE",
                "    Save the current config to the ACL file.",
                "SETUSER <username> <attribute> [<attribute> ...]",
                "    Create or modify a user with the specified attributes.",
                "USERS",
                "    List all the registered usernames.",
                "WHOAMI",
                "    Return the current connection username.",
            ],
        );
        Ok(After::Done)
    },
);
