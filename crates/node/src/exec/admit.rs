//! May a request run now? In the order in which Redis asks.

use crate::registry::CommandRef;
use crate::{Node, Session, Worker};
use acl::{Context, Denied};
use commands::{CommandError, Flags};
use resp::Args;
use std::sync::atomic::Ordering::Relaxed;

impl Node {
    /// May this command run now? In the order in which Redis asks.
    /// Source: redis 7.0 `server.c:processCommand`.
    pub(super) fn admit(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Admission {
        let (spec, config) = (command.spec, &worker.settings.config);
        let flags = spec.flags;
        if spec.name.starts_with("debug") && !command_allowed(config.enable_debug_command, session)
        {
            return Admission::refuse(
                "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
                 you can run it from a local connection, otherwise you need to set this option in the \
                 configuration file, and then restart the server.",
            );
        }
        if !session.authenticated
            && !flags.contains(Flags::NO_AUTH)
            && self.must_authenticate(session)
        {
            return Admission::refuse("NOAUTH Authentication required.");
        }
        if session.multi.is_some() && flags.contains(Flags::NO_MULTI) {
            return Admission::refuse("ERR Command not allowed inside a transaction");
        }
        if let Some(error) = self.refuse_user(worker, session, command, args) {
            return Admission::Refuse(error);
        }
        // A transaction is judged by what was queued.
        let flags = match (&session.multi, spec.name) {
            (Some(multi), "exec") => {
                multi.queue.iter().fold(flags, |all, (c, _)| all | c.spec.flags)
            }
            _ => flags,
        };
        let is_write = flags.intersects(Flags::WRITE);
        let may_replicate = flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
        let replica = self.is_replica();
        // What a transaction queues takes memory too, but it can always be ended.
        let needs_memory = flags.contains(Flags::DENYOOM)
            || (session.multi.is_some()
                && !matches!(spec.name, "exec" | "discard" | "quit" | "reset"));
        if !worker.has_room && needs_memory {
            return Admission::refuse("OOM command not allowed when used memory > 'maxmemory'.");
        }
        if (is_write || spec.name == "ping")
            && let Some(error) = self.refuse_for_disk(config)
        {
            return Admission::Refuse(error);
        }
        if is_write
            && !replica
            && let Some(error) = self.refuse_for_replicas(config)
        {
            return Admission::Refuse(error);
        }
        if is_write && replica && config.replica_read_only {
            if self.failover.in_progress() {
                // Whether this node stays a replica is told in a moment.
                return Admission::Held;
            }
            return Admission::refuse("READONLY You can't write against a read only replica.");
        }
        if session.subscriptions() > 0
            && session.protocol == resp::Protocol::Resp2
            && !matches!(
                spec.name,
                "ping"
                    | "subscribe"
                    | "unsubscribe"
                    | "psubscribe"
                    | "punsubscribe"
                    | "ssubscribe"
                    | "sunsubscribe"
                    | "quit"
                    | "reset"
            )
        {
            return Admission::Refuse(CommandError::owned(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                spec.name
            )));
        }
        if replica
            && !self.role.link_up.load(Relaxed)
            && !config.replica_serve_stale_data
            && !flags.contains(Flags::STALE)
        {
            return Admission::refuse(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            );
        }
        if self.persistence.loading.load(Relaxed) && !flags.contains(Flags::LOADING) {
            return Admission::refuse("LOADING Redis is loading the dataset in memory");
        }
        if self.scripts.is_busy() && !flags.contains(Flags::ALLOW_BUSY) {
            return Admission::Refuse(self.scripts.busy_error());
        }
        if !session.is_replica
            && self.paused(worker.now.unix(), may_replicate)
            && !pause_exempt(spec.name, session)
        {
            return Admission::Held;
        }
        Admission::Run
    }

    /// Why the connection's user may not run this, if so.
    #[inline]
    pub(super) fn refuse_user(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Option<CommandError> {
        let denied = self.may_run(&session.user, command, args).err()?;
        let context = if session.multi.is_some() { Context::Multi } else { Context::Toplevel };
        let text = self.note_denied(
            worker.now,
            &session.info,
            &session.user,
            context,
            denied,
            command,
            args,
        );
        Some(CommandError::quoting(&[b"NOPERM ", &text]))
    }

    /// Rights are asked for again when a transaction runs: they may have changed since.
    /// Source: redis 7.0 `multi.c:execCommand`.
    pub(super) fn refuse_queued(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Option<CommandError> {
        let denied = self.may_run(&session.user, command, args).err()?;
        let (info, user) = (&session.info, &session.user);
        self.note_denied(worker.now, info, user, Context::Multi, denied, command, args);
        let reason = match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => {
                "no permission to access one of the channels used as arguments to the command"
            }
        };
        Some(CommandError::owned(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
             This command is no longer allowed for the following reason: {reason}"
        )))
    }

    /// Why writes are refused at this moment, if they are.
    pub(crate) fn refuse_writes(&self, config: &config::Config) -> Option<CommandError> {
        self.refuse_for_disk(config).or_else(|| self.refuse_for_replicas(config))
    }

    /// The disk fails us. Source: redis 7.0 `server.c:writeCommandsDeniedByDiskError`.
    fn refuse_for_disk(&self, config: &config::Config) -> Option<CommandError> {
        if config.stop_writes_on_bgsave_error
            && !config.save.is_empty()
            && !self.persistence.last_bgsave_ok.load(Relaxed)
        {
            return Some(CommandError::new(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report \
                 errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
                 the Redis logs for details about the RDB error.",
            ));
        }
        if self.role.came_back_empty.load(Relaxed)
            && config.empty_master_guard != config::EmptyMasterGuard::No
        {
            return Some(CommandError::new(
                "READONLY This master came back empty while its replicas hold data. Writes are refused until a \
                 failover, or until REPLICAOF NO ONE confirms it as the master.",
            ));
        }
        if let Some(reason) = self.aof.error() {
            return Some(CommandError::owned(format!(
                "MISCONF Errors writing to the AOF file: {reason}"
            )));
        }
        None
    }

    fn refuse_for_replicas(&self, config: &config::Config) -> Option<CommandError> {
        if config.min_replicas_to_write > 0
            && config.min_replicas_max_lag > 0
            && self.role.good_replicas.load(Relaxed) < config.min_replicas_to_write as usize
        {
            return Some(CommandError::new("NOREPLICAS Not enough good replicas to write."));
        }
        None
    }
}

pub(super) enum Admission {
    Run,
    Held,
    Refuse(CommandError),
}

impl Admission {
    pub(super) fn refuse(text: &'static str) -> Admission {
        Admission::Refuse(CommandError::new(text))
    }
}

/// CLIENT PAUSE does not hold back what ends it.
pub(super) fn pause_exempt(name: &str, session: &Session) -> bool {
    session.is_monitor
        || matches!(
            name,
            "client|unpause" | "client|pause" | "replconf" | "psync" | "sync" | "shutdown"
        )
}

/// Whether DEBUG and the like may be used by this connection.
pub(crate) fn command_allowed(allowed: config::Allowed, session: &Session) -> bool {
    match allowed {
        config::Allowed::Yes => true,
        config::Allowed::No => false,
        config::Allowed::Local => {
            session.info.unix
                || session.info.addr.starts_with("127.")
                || session.info.addr.starts_with("[::1]")
        }
    }
}
