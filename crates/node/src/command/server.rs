//! The server's files, its end and its configuration: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE,
//! SHUTDOWN, TIME, CONFIG, MONITOR.

use crate::{After, Node, NodeCtx, NodeFn, Session, ShutdownHow, lock};
use commands::{AclCategories, Command, CommandError, CommandSpec, Flags, Group};
use config::{SetError, SetRules};
use resp::Args;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] =
    &[&SAVE, &BGSAVE, &BGREWRITEAOF, &LASTSAVE, &SHUTDOWN, &TIME, &CONFIG, &MONITOR];

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

/// SAVE
pub const SAVE: Command<NodeFn> = Command::new(
    CommandSpec::new("save", 1, Group::Server)
        .flags(ADMIN.union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI))
        .doc(
            "O(N) where N is the total number of keys in all databases",
            "Writes the data set to its file, and waits for that.",
        ),
    |cx, _| {
        cx.node.host.save().map_err(CommandError::owned)?;
        cx.reply.ok();
        Ok(After::Done)
    },
);

/// BGSAVE [SCHEDULE]
pub const BGSAVE: Command<NodeFn> = Command::new(
    CommandSpec::new("bgsave", -1, Group::Server)
        .flags(ADMIN.union(Flags::NO_ASYNC_LOADING))
        .doc("O(1)", "Writes the data set to its file in the background."),
    |cx, args| {
        let schedule = match args.len() {
            1 => false,
            2 if args.is(1, "schedule") => true,
            _ => return Err(CommandError::SYNTAX),
        };
        let answer = cx.node.host.bgsave(schedule).map_err(CommandError::owned)?;
        cx.reply.simple(answer);
        Ok(After::Done)
    },
);

/// BGREWRITEAOF
pub const BGREWRITEAOF: Command<NodeFn> = Command::new(
    CommandSpec::new("bgrewriteaof", 1, Group::Server)
        .flags(ADMIN.union(Flags::NO_ASYNC_LOADING))
        .doc("O(1)", "Rewrites the append-only file in the background."),
    |cx, _| {
        let answer = cx.node.host.bgrewriteaof(cx.in_exec).map_err(CommandError::owned)?;
        cx.reply.simple(answer);
        Ok(After::Done)
    },
);

/// LASTSAVE
pub const LASTSAVE: Command<NodeFn> = Command::new(
    CommandSpec::new("lastsave", 1, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .acl(AclCategories::ADMIN.union(AclCategories::DANGEROUS))
        .doc("O(1)", "Tells when the data set was last written to its file.")
        .tips(&["nondeterministic_output"]),
    |cx, _| {
        cx.reply.integer(cx.node.persistence.last_save.load(Ordering::Relaxed));
        Ok(After::Done)
    },
);

/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
pub const SHUTDOWN: Command<NodeFn> = Command::new(
    CommandSpec::new("shutdown", -1, Group::Server)
        .flags(ADMIN.union(Flags::LOADING).union(Flags::STALE).union(Flags::NO_MULTI).union(Flags::SENTINEL).union(Flags::ALLOW_BUSY))
        .doc("O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)", "Ends the server."),
    shutdown,
);

/// Source: redis 7.0 `db.c:shutdownCommand`.
fn shutdown(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let (mut how, mut abort) = (ShutdownHow::default(), false);
    let (mut save, mut nosave) = (false, false);
    for word in args.iter().skip(1) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("nosave") {
            nosave = true;
        } else if is("save") {
            save = true;
        } else if is("now") {
            how.now = true;
        } else if is("force") {
            how.force = true;
        } else if is("abort") {
            abort = true;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if (save && nosave) || (abort && (save || nosave || how != ShutdownHow::default())) {
        return Err(CommandError::SYNTAX);
    }
    how.save = if save || nosave { Some(save) } else { None };
    if abort {
        if !cx.node.abort_shutdown() {
            return Err(CommandError::new("ERR No shutdown in progress."));
        }
        cx.reply.ok();
        return Ok(After::Done);
    }
    if cx.node.scripts.is_busy() && !nosave {
        return Err(cx.node.scripts.busy_error());
    }
    // First in line, then the news: it may fail at once.
    let ticket = cx.node.block_on_shutdown(cx.worker, cx.session);
    cx.session.waiting = Some(crate::session::Waiting { ticket });
    cx.session.info.blocked.store(true, Ordering::Relaxed);
    cx.node.host.shutdown(how);
    Ok(After::Blocked)
}

/// TIME
pub const TIME: Command<NodeFn> = Command::new(
    CommandSpec::new("time", 1, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .since("2.6.0")
        .doc("O(1)", "Tells the server's time.")
        .tips(&["nondeterministic_output"]),
    |cx, _| {
        let us = cx.worker.now.unix_us;
        cx.reply.array(2);
        cx.reply.bulk_i64(us.div_euclid(1_000_000));
        cx.reply.bulk_i64(us.rem_euclid(1_000_000));
        Ok(After::Done)
    },
);

/// MONITOR
pub const MONITOR: Command<NodeFn> = Command::new(
    CommandSpec::new("monitor", 1, Group::Server)
        .flags(ADMIN.union(Flags::LOADING).union(Flags::STALE))
        .doc("O(1)", "Shows every command that the server runs."),
    |cx, _| {
        if cx.in_exec {
            return Err(CommandError::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
        }
        if !cx.session.is_monitor {
            cx.session.is_monitor = true;
            cx.session.info.monitor.store(true, Ordering::Relaxed);
            let mut monitors = lock(&cx.node.monitors);
            monitors.push(Arc::clone(&cx.session.info));
            cx.node.monitor_count.store(monitors.len(), Ordering::Relaxed);
        }
        cx.reply.ok();
        Ok(After::Done)
    },
);

/// CONFIG subcommand
pub const CONFIG: Command<NodeFn> = Command::container(
    CommandSpec::new("config", -2, Group::Server)
        .since("2.0.0")
        .doc("Depends on subcommand.", "Reads and changes the configuration."),
    |_, _| Err(CommandError::arity("config")),
    &[&CONFIG_GET, &CONFIG_HELP, &CONFIG_RESETSTAT, &CONFIG_REWRITE, &CONFIG_SET],
);

const CONFIG_FLAGS: Flags = ADMIN.union(Flags::LOADING).union(Flags::STALE);

const CONFIG_GET: Command<NodeFn> = Command::new(
    CommandSpec::new("config|get", -3, Group::Server)
        .flags(CONFIG_FLAGS)
        .since("2.0.0")
        .doc("O(N) when N is the number of configuration parameters provided", "Reads directives."),
    |cx, args| {
        let patterns: Vec<&[u8]> = args.iter().skip(2).collect();
        let found = cx.node.settings.load().config.get(&patterns);
        cx.reply.map(found.len());
        for (name, value) in &found {
            cx.reply.bulk(name);
            cx.reply.bulk(value);
        }
        Ok(After::Done)
    },
);

const CONFIG_SET: Command<NodeFn> = Command::new(
    CommandSpec::new("config|set", -4, Group::Server)
        .flags(CONFIG_FLAGS)
        .since("2.0.0")
        .doc(
            "O(N) when N is the number of configuration parameters provided",
            "Changes directives.",
        )
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    config_set,
);

fn config_set(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let node = cx.node;
    let one_at_a_time = lock(&node.config_lock);
    let old = node.settings.load_full();
    let words: Vec<&[u8]> = args.iter().skip(2).collect();
    let rules = SetRules {
        protected_allowed: crate::exec::command_allowed(
            old.config.enable_protected_configs,
            cx.session,
        ),
        loading: node.persistence.loading.load(Ordering::Relaxed),
    };
    let prepared = old
        .config
        .prepare_set(&words, rules)
        .map_err(|error| CommandError::owned(error.to_string()))?;
    for change in &prepared.changes {
        let name = change.directive.name;
        if let Err(reason) = node.host.config_changed(&old.config, &prepared.config, &[name]) {
            // What was applied before this one is taken back.
            for undone in prepared.changes.iter().take_while(|c| c.directive.name != name) {
                // The old value was in force a moment ago.
                let _ = node.host.config_changed(
                    &prepared.config,
                    &old.config,
                    &[undone.directive.name],
                );
            }
            return Err(CommandError::owned(
                SetError::not_applied(change.name, &reason).to_string(),
            ));
        }
    }
    if prepared.changes.iter().any(|change| change.directive.name == "requirepass") {
        node.access.set_default_password(prepared.config.requirepass.as_bytes());
    }
    let prepared_names: Vec<&str> =
        prepared.changes.iter().map(|change| change.directive.name).collect();
    node.set_config(prepared.config);
    let config = &node.settings.load().config;
    node.repl.master().set_options(cx.worker.now.mono(), crate::master_options(config));
    node.repl.link().set_options(crate::replica_options(config));
    node.refresh_good_replicas(cx.worker.now.mono());
    if prepared_names.iter().any(|name| matches!(*name, "appendonly" | "appendfsync")) {
        node.set_file_gate();
    }
    // Stripes come before this lock, and eviction takes some.
    drop(one_at_a_time);
    // In a transaction stripes are held; the cron does it then.
    if !cx.in_exec {
        node.check_memory();
    }
    node.repl.wake_driver();
    cx.reply.ok();
    Ok(After::Done)
}

const CONFIG_REWRITE: Command<NodeFn> = Command::new(
    CommandSpec::new("config|rewrite", 2, Group::Server)
        .flags(CONFIG_FLAGS)
        .since("2.8.0")
        .doc("O(1)", "Writes the configuration into its file."),
    |cx, _| {
        let _one_at_a_time = lock(&cx.node.config_lock);
        cx.node.rewrite_config().map_err(CommandError::owned)?;
        cx.reply.ok();
        Ok(After::Done)
    },
);

const CONFIG_RESETSTAT: Command<NodeFn> = Command::new(
    CommandSpec::new("config|resetstat", 2, Group::Server)
        .flags(CONFIG_FLAGS.union(Flags::WALKS))
        .since("2.0.0")
        .doc("O(1)", "Sets the counters of INFO to zero."),
    |cx, _| {
        cx.node.stats.reset();
        cx.node.client_memory.evicted.store(0, Ordering::Relaxed);
        cx.node.repl.master().reset_stats();
        cx.keys.each_stripe(keyspace::StripeData::reset_stats);
        cx.reply.ok();
        Ok(After::Done)
    },
);

const CONFIG_HELP: Command<NodeFn> = Command::new(
    CommandSpec::new("config|help", 2, Group::Server)
        .flags(Flags::LOADING.union(Flags::STALE))
        .since("5.0.0")
        .doc("O(1)", "Lists the subcommands."),
    |cx, _| {
        super::help(
            cx.reply,
            "CONFIG",
            &[
                "GET <pattern>",
                "    Return parameters matching the glob-like <pattern> and their values.",
                "SET <directive> <value>",
                "    Set the configuration <directive> to <value>.",
                "RESETSTAT",
                "    Reset statistics reported by the INFO command.",
                "REWRITE",
                "    Rewrite the configuration file.",
            ],
        );
        Ok(After::Done)
    },
);

impl Node {
    /// Writes the configuration in force into its file.
    pub fn rewrite_config(&self) -> std::result::Result<(), String> {
        let old = self.host.read_config_file()?;
        let config = &self.settings.load().config;
        // With a file of their own, users have no place in this one.
        let users = match config.aclfile.non_empty() {
            Some(_) => Vec::new(),
            None => self.access.lines(),
        };
        let text = config.rewritten(old.as_bytes(), &users);
        let text = String::from_utf8_lossy(&text).into_owned();
        match self.host.write_config_file(&text) {
            Ok(()) => {
                self.host.log(2, "CONFIG REWRITE executed with success.");
                Ok(())
            }
            Err(why) => {
                self.host.log(3, &format!("CONFIG REWRITE failed: {why}"));
                Err(format!("ERR Rewriting config file: {why}"))
            }
        }
    }

    /// Ends MONITOR.
    pub fn stop_monitor(&self, session: &mut Session) {
        if !session.is_monitor {
            return;
        }
        session.is_monitor = false;
        session.info.monitor.store(false, Ordering::Relaxed);
        let mut monitors = lock(&self.monitors);
        monitors.retain(|info| info.id != session.id());
        self.monitor_count.store(monitors.len(), Ordering::Relaxed);
    }

    /// A connection is gone: everything that remembers it forgets it.
    pub fn session_ended(&self, session: &mut Session) {
        super::transactions::end(self, session);
        super::pubsub::unsubscribe_all(self, session);
        self.tracking.disable(&self.keyspace, session);
        self.stop_monitor(session);
        if let Some(waiting) = session.waiting.take()
            && let Some(blocked) = self.blocking.get(waiting.ticket)
        {
            self.end_wait(&blocked, crate::block::EndWait::Gone);
        }
        self.clients.remove(session.id());
        self.forget_client_memory(&session.info);
    }
}
