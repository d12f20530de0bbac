//! From a request to its reply: admission, locks, the run, the record on the log.

use crate::block::Blocked;
use crate::prepare::Prepared;
use crate::registry::{CommandEntry, CommandRef, Run};
use crate::session::{Multi, ReplyMode};
use crate::stats::bump;
use crate::tracking::{Own, Track};
use crate::{After, Node, NodeCtx, Session, Worker, lock};
use acl::{Context, Denied};
use commands::{CommandError, Ctx, Effect, Flags, keys_of};
use keyspace::{ExpireRule, KeyOptions, Keys, Place, StripeMask};
use resp::{Args, Reply};
use smallvec::SmallVec;
use std::sync::atomic::Ordering::Relaxed;

/// What the connection does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Goes on with the next request.
    Continue,
    /// Waits: no request is read until a message answers.
    Blocked,
    /// The request was not run: it is a script, and is to be given to [`Node::handle_long`].
    Script,
    /// The request was not run; it is to be given again after [`crate::Message::Resume`].
    Held,
    /// Ends when the replies are sent.
    Close,
}

/// Commands that are run, not queued, inside MULTI.
fn runs_inside_multi(name: &str) -> bool {
    matches!(name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

impl Node {
    /// Runs one request of a connection and writes its reply.
    pub fn handle(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        args: &Args<'_>,
        reply: &mut Reply,
    ) -> Next {
        self.handle_long(worker, session, args, reply, &mut || {})
    }

    /// As [`Node::handle_prepared`] for one request that nothing is known of.
    pub fn handle_first(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        args: &Args<'_>,
        reply: &mut Reply,
    ) -> Next {
        let prepared = self.prepare(session.db, args, self.last_command(session));
        self.handle_as(worker, session, prepared, args, reply, None)
    }

    /// As [`Node::handle`]; a script that takes long calls `serve` from time to time, for the
    /// worker's other connections. They will be told that the node is busy.
    pub fn handle_long(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        args: &Args<'_>,
        reply: &mut Reply,
        serve: &mut dyn FnMut(),
    ) -> Next {
        let prepared = self.prepare(session.db, args, self.last_command(session));
        self.handle_as(worker, session, prepared, args, reply, Some(serve))
    }

    /// As [`Node::handle`], with what [`Node::prepare_batch`] has found for these arguments.
    /// Scripts are not run ([`Next::Script`]).
    pub fn handle_prepared(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        prepared: Prepared,
        args: &Args<'_>,
        reply: &mut Reply,
    ) -> Next {
        self.handle_as(worker, session, prepared, args, reply, None)
    }

    fn handle_as(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        prepared: Prepared,
        args: &Args<'_>,
        reply: &mut Reply,
        serve: Option<&mut dyn FnMut()>,
    ) -> Next {
        if worker.settings_version != self.settings_version() {
            worker.reload_settings(self);
        }
        let mark = reply.mark();
        let next = self.process(worker, session, prepared, args, reply, serve);
        if self.tracking.is_active() {
            self.limit_tracking(worker.settings.config.tracking_table_max_keys);
        }
        if !worker.changed.is_empty() {
            let mut own = Own { id: session.info.id, after: &mut session.after };
            self.broadcast(&mut worker.changed, &mut own);
        }
        if session.caching && session.multi.is_none() && next != Next::Held {
            // CLIENT CACHING counts for the next command, or transaction; other words of CLIENT
            // do not use it up. Source: redis 7.0 `networking.c:resetClient`.
            session.caching =
                prepared.command.is_some_and(|command| command.spec.name.starts_with("client|"));
        }
        match session.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off => reply.rewind(mark),
            ReplyMode::Skip => {
                reply.rewind(mark);
                session.reply_mode = ReplyMode::On;
            }
            ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
        }
        // Messages are no replies: CLIENT REPLY does not silence them.
        if !session.pushes.is_empty() {
            let pushes = std::mem::take(&mut session.pushes);
            let own: Vec<u8> = reply.since(mark).to_vec();
            reply.rewind(mark);
            reply.buffer_mut().extend_from_slice(&pushes);
            reply.buffer_mut().extend_from_slice(&own);
        }
        if !session.after.is_empty() {
            reply.buffer_mut().extend_from_slice(&std::mem::take(&mut session.after));
        }
        next
    }

    fn process(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        prepared: Prepared,
        args: &Args<'_>,
        reply: &mut Reply,
        serve: Option<&mut dyn FnMut()>,
    ) -> Next {
        let Some(command) = prepared.command else {
            return self.refuse(session, None, &self.no_command(args), reply);
        };
        if !command.spec.arity_fits(args.len()) {
            let error = CommandError::arity(command.spec.name);
            bump(&worker.stats.commands[command.index].rejected, 1);
            return self.refuse(session, Some(command), &error, reply);
        }
        let master = session.info.master.load(Relaxed);
        if !master {
            self.look_for_room(worker);
            match self.admit(worker, session, command, args) {
                Admission::Run => {}
                Admission::Held => return Next::Held,
                Admission::Refuse(error) => {
                    bump(&worker.stats.commands[command.index].rejected, 1);
                    return self.refuse(session, Some(command), &error, reply);
                }
            }
        }
        if let Some(multi) = &mut session.multi
            && !runs_inside_multi(command.spec.name)
        {
            multi.queue.push((command, args.to_owned_args()));
            session.publish_state();
            reply.simple("QUEUED");
            return Next::Continue;
        }
        let Some(serve) = serve else {
            if runs_script(command, session) {
                return Next::Script;
            }
            self.tell_monitors(worker, session, command, args);
            return self.execute(worker, session, command, prepared.place, args, reply, &mut || {});
        };
        self.tell_monitors(worker, session, command, args);
        self.execute(worker, session, command, prepared.place, args, reply, serve)
    }

    /// Answers with an error; a transaction in progress is spoilt.
    fn refuse(
        &self,
        session: &mut Session,
        command: Option<CommandRef>,
        error: &CommandError,
        reply: &mut Reply,
    ) -> Next {
        let is_exec = command.is_some_and(|command| command.spec.name == "exec");
        if is_exec {
            crate::command::transactions::end(self, session);
            let text = format!("EXECABORT Transaction discarded because of: {}", error.text());
            self.stats.count_error(&text);
            reply.error(&text);
            return Next::Continue;
        }
        if let Some(multi) = &mut session.multi {
            multi.aborted = true;
        }
        self.stats.count_error(error.text());
        reply.error_bytes(error.bytes());
        Next::Continue
    }

    /// May this command run now? In the order in which Redis asks.
    /// Source: redis 7.0 `server.c:processCommand`.
    fn admit(
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
        if is_write
            && !replica
            && let Some(error) = self.refuse_writes(config)
        {
            return Admission::Refuse(error);
        }
        if is_write && replica && config.replica_read_only {
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
        let held_kind = if self.pause_writes_only.load(Relaxed) { may_replicate } else { true };
        if held_kind
            && !session.is_replica
            && self.paused(worker.now.unix(), may_replicate)
            && !pause_exempt(spec.name, session)
        {
            return Admission::Held;
        }
        Admission::Run
    }

    /// Why the connection's user may not run this, if so.
    #[inline]
    fn refuse_user(
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
    fn refuse_queued(
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
        if config.min_replicas_to_write > 0
            && config.min_replicas_max_lag > 0
            && self.role.good_replicas.load(Relaxed) < config.min_replicas_to_write as usize
        {
            return Some(CommandError::new("NOREPLICAS Not enough good replicas to write."));
        }
        None
    }

    /// How a command of this connection looks at keys.
    pub(crate) fn key_options(
        &self,
        worker: &Worker,
        session: &Session,
        from_master: bool,
    ) -> KeyOptions {
        let now = worker.now.unix();
        let expire = if from_master || self.persistence.loading.load(Relaxed) {
            ExpireRule::Ignore
        } else if self.is_replica() || self.paused(now, true) {
            ExpireRule::Hide
        } else {
            ExpireRule::Remove
        };
        KeyOptions {
            now,
            expire,
            notify: worker.settings.notify,
            touch: !session.info.no_touch.load(Relaxed),
            policy: worker.settings.policy,
        }
    }

    /// The stripes that a command needs from the start.
    fn mask_of(&self, command: &CommandEntry, args: &Args<'_>) -> StripeMask {
        let mut mask = StripeMask::default();
        let flags = command.spec.flags;
        if flags.contains(Flags::ALL_STRIPES) || command.spec.reaches_everywhere(args) {
            return self.keyspace.all();
        }
        if flags.contains(Flags::WALKS) && self.scripts.count.load(Relaxed) > 0 {
            // Walking would wait, stripe by stripe, for a script that may take long.
            return self.keyspace.all();
        }
        if flags.contains(Flags::WALKS) || command.spec.keys.is_empty() {
            return mask;
        }
        match keys_of(command.spec, args) {
            Some(keys) => {
                keys.iter().for_each(|&(at, _)| mask.add(self.keyspace.stripe_of(args.at(at))))
            }
            // The command will find its arguments wrong; nothing that it may touch is left out.
            None => mask = self.keyspace.all(),
        }
        mask
    }

    /// Takes the stripes of a command, and of those who wait for what it may bring.
    fn hold_for<'k>(
        &'k self,
        db: usize,
        command: &CommandEntry,
        place: Option<Place>,
        args: &Args<'k>,
        options: KeyOptions,
        from_master: bool,
    ) -> Option<Keys<'k>> {
        let mut mask = match place {
            Some(place) => StripeMask::of(place.stripe),
            None => self.mask_of(command, args),
        };
        loop {
            let held =
                self.keyspace.hold_unless(mask, &|| !from_master && self.scripts.is_busy())?;
            let mut keys = Keys::new(held, db, options);
            if let Some(place) = place {
                keys.know(args.at(command.single_key), place.hash);
            }
            if !command.spec.flags.contains(Flags::WRITE)
                || self.blocking.is_empty()
                || mask == self.keyspace.all()
            {
                return Some(keys);
            }
            let names: SmallVec<[&[u8]; 4]> = match keys_of(command.spec, args) {
                Some(list) => list.iter().map(|&(at, _)| args.at(at)).collect(),
                None => return Some(keys),
            };
            let dbs = match command.spec.name {
                "move" | "copy" => 0..self.keyspace.databases(),
                _ => db..db + 1,
            };
            let wider = self.mask_with_waiters(&mut keys, dbs, &names);
            if mask.covers(wider) {
                return Some(keys);
            }
            mask = wider;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn execute(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        command: CommandRef,
        place: Option<Place>,
        args: &Args<'_>,
        reply: &mut Reply,
        serve: &mut dyn FnMut(),
    ) -> Next {
        session.info.last_command.store(command.index as u32, Relaxed);
        let start_us = worker.now.mono_us;
        let from_master = session.info.master.load(Relaxed);
        if command.spec.name == "exec" {
            let next =
                self.execute_transaction(worker, session, command, args, reply, from_master, serve);
            self.account(worker, session, command, args, start_us, false);
            return next;
        }
        let replica = self.is_replica();
        let options = self.key_options(worker, session, from_master);
        let held = self.hold_for(session.db, command, place, args, options, from_master);
        let Some(mut keys) = held else {
            bump(&worker.stats.commands[command.index].rejected, 1);
            return self.refuse(session, Some(command), &self.scripts.busy_error(), reply);
        };
        if !from_master && self.is_replica() != replica {
            // The role changed between admission and the locks; under them it stays.
            drop(keys);
            return match self.admit(worker, session, command, args) {
                Admission::Run => self.execute(worker, session, command, place, args, reply, serve),
                Admission::Held => Next::Held,
                Admission::Refuse(error) => self.refuse(session, Some(command), &error, reply),
            };
        }
        let mark = reply.mark();
        let outcome = self.run_one(
            worker,
            session,
            command,
            args,
            &mut keys,
            reply,
            from_master,
            false,
            serve,
        );
        let mut failed = false;
        let next = match outcome {
            Ok(Outcome::Done) => Next::Continue,
            Ok(Outcome::Close) => Next::Close,
            Ok(Outcome::Wait(mut block)) => {
                let owned = block.rerun.take().unwrap_or_else(|| args.to_owned_args());
                let ticket = self.block_on_keys(worker, &mut keys, session, command, owned, block);
                session.waiting = Some(crate::session::Waiting { ticket });
                session.info.blocked.store(true, Relaxed);
                Next::Blocked
            }
            Ok(Outcome::Waiting) => Next::Blocked,
            Err(error) => {
                failed = true;
                reply.rewind(mark);
                self.stats.count_error(error.text());
                reply.error_bytes(error.bytes());
                Next::Continue
            }
        };
        self.append_effects(worker, session, from_master);
        if !worker.ready.is_empty() {
            self.serve_blocked(worker, &mut keys, from_master);
        }
        drop(keys);
        self.do_later();
        self.account(worker, session, command, args, start_us, failed);
        next
    }

    /// Runs one command under held stripes, and collects what it did.
    #[allow(clippy::too_many_arguments)]
    fn run_one(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        command: CommandRef,
        args: &Args<'_>,
        keys: &mut Keys<'_>,
        reply: &mut Reply,
        from_master: bool,
        in_exec: bool,
        serve: &mut dyn FnMut(),
    ) -> Result<Outcome, CommandError> {
        let (result, outcome) = match command.run {
            Run::Data(run) => {
                // CLIENT NO-TOUCH does not take TOUCH its meaning.
                // Source: redis 7.2 `db.c:lookupKey`.
                keys.options.touch =
                    !session.info.no_touch.load(Relaxed) || command.spec.name == "touch";
                let env = &mut worker.env;
                env.now = worker.now.unix();
                env.from_master = from_master;
                env.may_block = !in_exec && !from_master;
                env.reads_every_key = from_master
                    || session.user.is_free()
                    || !matches!(command.spec.name, "sort" | "sort_ro")
                    || self.reads_every_key(&session.user, command, args);
                let mut ctx = Ctx { keys: &mut *keys, reply, rng: &mut worker.rng, env };
                match run(&mut ctx, args) {
                    Ok(Effect::Block(block)) => (Ok(Effect::None), Outcome::Wait(block)),
                    Ok(effect) => (Ok(effect), Outcome::Done),
                    Err(error) => (Err(error), Outcome::Done),
                }
            }
            Run::Node(run) => {
                let after = run(
                    &mut NodeCtx {
                        node: self,
                        worker: &mut *worker,
                        session: &mut *session,
                        keys: &mut *keys,
                        reply,
                        in_exec,
                        serve,
                    },
                    args,
                );
                match after {
                    Ok(After::Done) => (Ok(Effect::None), Outcome::Done),
                    Ok(After::Propagate) => {
                        if self.records(from_master) && !worker.record_off {
                            worker.record.push_args(None, args);
                        }
                        (Ok(Effect::None), Outcome::Done)
                    }
                    Ok(After::Blocked) => (Ok(Effect::None), Outcome::Waiting),
                    Ok(After::Close) => (Ok(Effect::None), Outcome::Close),
                    Err(error) => (Err(error), Outcome::Done),
                }
            }
        };
        let effect = result.as_ref().map_or(&Effect::None, |effect| effect);
        let own =
            OwnOut { id: session.info.id, before: &mut session.pushes, after: &mut session.after };
        self.settle(worker, own, keys, args, effect, from_master);
        if !session.info.track().is_empty() && command.spec.flags.contains(Flags::READONLY) {
            self.remember_reads(session, keys, command, args);
        }
        result.map(|_| outcome)
    }

    /// Notes for a connection in tracking mode which keys it has read; their stripes are held. (Only
    /// MEMORY USAGE names a key and does not hold its stripe; nobody caches its answer.)
    #[cold]
    fn remember_reads(
        &self,
        session: &Session,
        keys: &mut Keys<'_>,
        command: CommandRef,
        args: &Args<'_>,
    ) {
        let mode = session.info.track();
        let wanted = mode.contains(Track::ON)
            && !mode.contains(Track::BCAST)
            && (!mode.contains(Track::OPTIN) || session.caching)
            && !(mode.contains(Track::OPTOUT) && session.caching);
        if !wanted {
            return;
        }
        let held = keys.held().mask();
        for (at, _) in keys_of(command.spec, args).unwrap_or_default() {
            let stripe = self.keyspace.stripe_of(args.at(at));
            if held.has(stripe) {
                self.tracking.remember(stripe, args.at(at), session.info.id);
            }
        }
    }

    /// After one command's run: what it changed goes where it belongs.
    fn settle(
        &self,
        worker: &mut Worker,
        own: OwnOut<'_>,
        keys: &mut Keys<'_>,
        args: &Args<'_>,
        effect: &Effect,
        from_master: bool,
    ) {
        let dirty = keys.changes.dirty;
        if dirty == 0 && keys.changes.is_quiet() {
            return;
        }
        keys.changes.dirty = 0;
        bump(&worker.stats.dirty, dirty + keys.changes.implied.len() as u64);
        if self.records(from_master) && !worker.record_off {
            self.collect(worker, keys.db, args, dirty, &keys.changes.implied, effect);
        }
        if keys.changes.is_quiet() {
            return;
        }
        let mut changes = std::mem::take(&mut keys.changes);
        if !changes.events.is_empty() {
            self.publish_events(worker.settings.notify, &changes.events, own.id, own.before);
        }
        if changes.flushed {
            self.all_keys_changed(&mut Own { id: own.id, after: &mut *own.after });
        }
        if !changes.modified.is_empty() {
            let keys = std::mem::take(&mut changes.modified);
            let mut own = Own { id: own.id, after: own.after };
            self.keys_changed(keys, &mut own, &mut worker.changed);
        }
        if !changes.ready.is_empty() {
            worker.ready.extend(changes.ready.drain(..));
        }
        worker.trash.append(&mut changes.trash);
        worker.tables.append(&mut changes.tables);
    }

    /// Runs the command of somebody who waited. False if it would wait again.
    pub(crate) fn run_served(
        &self,
        worker: &mut Worker,
        keys: &mut Keys<'_>,
        blocked: &Blocked,
        reply: &mut Reply,
        from_master: bool,
    ) -> bool {
        let crate::block::WaitFor::Keys { command, args, .. } = &blocked.what else {
            return false;
        };
        let Run::Data(run) = command.run else { return false };
        let args = args.as_args();
        if let Some(error) = self.refuse_served(worker, blocked, command, &args) {
            bump(&worker.stats.commands[command.index].rejected, 1);
            self.stats.count_error(error.text());
            reply.error_bytes(error.bytes());
            return true;
        }
        let env = &mut worker.env;
        env.now = worker.now.unix();
        env.from_master = false;
        env.may_block = true;
        let result = {
            let mut ctx = Ctx { keys: &mut *keys, reply: &mut *reply, rng: &mut worker.rng, env };
            run(&mut ctx, &args)
        };
        // Whoever waited gets messages of what it changes by its mailbox.
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let own = OwnOut { id: 0, before: &mut before, after: &mut after };
        match result {
            Ok(Effect::Block(_)) => return false,
            Ok(effect) => self.settle(worker, own, keys, &args, &effect, from_master),
            Err(error) => {
                self.settle(worker, own, keys, &args, &Effect::None, from_master);
                reply.rewind(Reply::default().mark());
                self.stats.count_error(error.text());
                reply.error_bytes(error.bytes());
            }
        }
        true
    }

    /// Rights are asked for again when a wait ends: they may have changed since.
    fn refuse_served(
        &self,
        worker: &Worker,
        blocked: &Blocked,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Option<CommandError> {
        let user = blocked.user.as_ref()?;
        let denied = self.may_run(user, command, args).err()?;
        // A connection that is just going is not answered anyway.
        let client = self.clients.get(blocked.client)?;
        let now = worker.now;
        let context = Context::Toplevel;
        let text = self.note_denied(now, &client, user, context, denied, command, args);
        Some(CommandError::quoting(&[b"NOPERM ", &text]))
    }

    /// EXEC: all queued commands under all their stripes, as one record.
    #[allow(clippy::too_many_arguments)]
    fn execute_transaction(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        exec: CommandRef,
        args: &Args<'_>,
        reply: &mut Reply,
        from_master: bool,
        serve: &mut dyn FnMut(),
    ) -> Next {
        let Some(multi) = session.multi.take() else {
            reply.error("ERR EXEC without MULTI");
            self.stats.count_error("ERR");
            return Next::Continue;
        };
        if multi.aborted {
            crate::command::transactions::end(self, session);
            let text = "EXECABORT Transaction discarded because of previous errors.";
            self.stats.count_error(text);
            reply.error(text);
            return Next::Continue;
        }
        let replica = self.is_replica();
        let options = self.key_options(worker, session, from_master);
        let mask = self.transaction_mask(&multi);
        let give_up = || !from_master && self.scripts.is_busy();
        let Some(held) = self.keyspace.hold_unless(mask, &give_up) else {
            return self.refuse(session, Some(exec), &self.scripts.busy_error(), reply);
        };
        let mut keys = Keys::new(held, session.db, options);
        if !from_master && self.is_replica() != replica {
            drop(keys);
            session.multi = Some(multi);
            return match self.admit(worker, session, exec, args) {
                Admission::Run => {
                    self.execute_transaction(worker, session, exec, args, reply, from_master, serve)
                }
                Admission::Held => Next::Held,
                Admission::Refuse(error) => self.refuse(session, Some(exec), &error, reply),
            };
        }
        if crate::command::transactions::watched_key_changed(session, &mut keys) {
            drop(keys);
            crate::command::transactions::end(self, session);
            reply.null_array();
            return Next::Continue;
        }
        reply.array(multi.queue.len());
        let mut next = Next::Continue;
        for (command, args) in &multi.queue {
            let args = args.as_args();
            let mark = reply.mark();
            let start_us = worker.now.mono_us;
            keys.db = session.db;
            if !from_master && let Some(error) = self.refuse_queued(worker, session, command, &args)
            {
                self.stats.count_error(error.text());
                bump(&worker.stats.commands[command.index].rejected, 1);
                reply.error_bytes(error.bytes());
                continue;
            }
            let outcome = self.run_one(
                worker,
                session,
                command,
                &args,
                &mut keys,
                reply,
                from_master,
                true,
                serve,
            );
            let failed = outcome.is_err();
            match outcome {
                Ok(Outcome::Close) => next = Next::Close,
                Ok(_) => {}
                Err(error) => {
                    reply.rewind(mark);
                    self.stats.count_error(error.text());
                    reply.error_bytes(error.bytes());
                }
            }
            self.account(worker, session, command, &args, start_us, failed);
        }
        self.append_effects(worker, session, from_master);
        if !worker.ready.is_empty() {
            self.serve_blocked(worker, &mut keys, from_master);
        }
        drop(keys);
        self.do_later();
        crate::command::transactions::end(self, session);
        next
    }

    /// Runs a command of a script, under the script's stripes. True if it failed.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn run_in_script(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        command: CommandRef,
        args: &Args<'_>,
        keys: &mut Keys<'_>,
        reply: &mut Reply,
        from_master: bool,
    ) -> bool {
        let outcome = self.run_one(
            worker,
            session,
            command,
            args,
            keys,
            reply,
            from_master,
            true,
            &mut || {},
        );
        let Err(error) = outcome else { return false };
        reply.buffer_mut().clear();
        self.stats.count_error(error.text());
        reply.error_bytes(error.bytes());
        true
    }

    /// Counts a command that a script called. The clock stands still inside a script.
    pub(crate) fn count_script_call(&self, worker: &Worker, command: CommandRef, failed: bool) {
        let stat = &worker.stats.commands[command.index];
        bump(&stat.calls, 1);
        if failed {
            bump(&stat.failed, 1);
        }
    }

    /// Puts what the command did on the log, under its locks.
    fn append_effects(&self, worker: &mut Worker, session: &mut Session, from_master: bool) {
        if from_master {
            if session.multi.is_none() {
                self.append_verbatim(worker, session.db);
            }
        } else if let Some(position) = self.append_record(worker) {
            session.last_write = position;
        }
    }

    fn transaction_mask(&self, multi: &Multi) -> StripeMask {
        let mut mask = StripeMask::default();
        for (command, args) in &multi.queue {
            let flags = command.spec.flags;
            // Those that walk the keyspace must not take stripes out of order, and a push must be
            // able to serve everybody who waits.
            if flags.intersects(Flags::WALKS | Flags::ALL_STRIPES)
                || (flags.contains(Flags::WRITE) && !self.blocking.is_empty())
            {
                return self.keyspace.all();
            }
            mask.0 |= self.mask_of(command, &args.as_args()).0;
        }
        mask
    }

    /// Statistics, SLOWLOG and the latency monitor. Moves the worker's clock on.
    fn account(
        &self,
        worker: &mut Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
        start_us: u64,
        failed: bool,
    ) {
        let now = worker.now.moved_to(self.host.mono_us());
        worker.now = now;
        let usec = now.mono_us.saturating_sub(start_us);
        let stats = &worker.stats;
        let stat = &stats.commands[command.index];
        bump(&stats.total_commands, 1);
        bump(&stat.calls, 1);
        bump(&stat.usec, usec);
        if failed {
            bump(&stat.failed, 1);
        }
        let config = &worker.settings.config;
        if config.latency_tracking {
            stat.histogram.record(usec);
        }
        if config.slowlog_log_slower_than >= 0
            && usec >= config.slowlog_log_slower_than as u64
            && !command.spec.flags.contains(Flags::SKIP_SLOWLOG)
        {
            let name = lock(&session.info.names).name.clone();
            let max = config.slowlog_max_len as usize;
            let started = now.unix().secs() - (usec / 1_000_000) as i64;
            let shown: Vec<&[u8]> = redacted(command, args);
            lock(&self.slowlog).add(
                max,
                started,
                usec,
                shown.into_iter(),
                &session.info.addr,
                &name,
            );
        }
        if config.latency_monitor_threshold > 0 {
            let event =
                if command.spec.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
            self.note_latency(config.latency_monitor_threshold, event, usec, now.unix());
        }
    }

    fn tell_monitors(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) {
        if self.monitor_count.load(Relaxed) > 0 {
            self.feed_monitors_as(worker, session, command, args, None);
        }
    }

    /// Shows a command to those who said MONITOR; `peer` stands in place of an address. Source: redis 7.0 `replication.c:replicationFeedMonitors`.
    pub(crate) fn feed_monitors_as(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
        peer: Option<&str>,
    ) {
        // Scripts are shown before the commands that they call.
        let is_script = command.spec.group == commands::Group::Scripting;
        if command.spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) && !is_script {
            return;
        }
        let unix_us = worker.now.unix_us;
        let peer = if let Some(peer) = peer {
            peer.to_string()
        } else if session.info.unix {
            format!("unix:{}", session.info.laddr)
        } else {
            session.info.addr.clone()
        };
        let mut line = format!(
            "+{}.{:06} [{} {}]",
            unix_us / 1_000_000,
            unix_us % 1_000_000,
            session.db,
            peer
        );
        for arg in redacted(command, args) {
            line.push(' ');
            line.push_str(&resp::quote(arg));
        }
        line.push_str("\r\n");
        for monitor in lock(&self.monitors).iter() {
            if let Some(mailbox) = self.mailboxes.get(monitor.worker) {
                mailbox.send(crate::Message::Push {
                    client: monitor.id,
                    bytes: line.clone().into_bytes(),
                });
            }
        }
    }
}

/// True for commands that run a script, and for an EXEC of such.
fn runs_script(command: CommandRef, session: &Session) -> bool {
    let script = |command: CommandRef| {
        command.spec.group == commands::Group::Scripting
            && command.spec.flags.contains(Flags::NO_MANDATORY_KEYS)
    };
    match &session.multi {
        Some(multi) if command.spec.name == "exec" => {
            multi.queue.iter().any(|(command, _)| script(command))
        }
        _ => script(command),
    }
}

/// What the connection that is being served gets besides its reply.
struct OwnOut<'a> {
    /// Its number; 0 for none.
    id: u64,
    /// Published messages: before the reply.
    before: &'a mut Vec<u8>,
    /// Invalidations: behind it.
    after: &'a mut Vec<u8>,
}

enum Outcome {
    Done,
    Close,
    /// A data command wants to wait.
    Wait(commands::Block),
    /// A command of the node has arranged a wait itself.
    Waiting,
}

enum Admission {
    Run,
    Held,
    Refuse(CommandError),
}

impl Admission {
    fn refuse(text: &'static str) -> Admission {
        Admission::Refuse(CommandError::new(text))
    }
}

/// Arguments as they may be shown: passwords are not.
fn redacted<'a>(command: CommandRef, args: &Args<'a>) -> Vec<&'a [u8]> {
    const HIDDEN: &[u8] = b"(redacted)";
    let hide_from = match command.spec.name {
        "auth" => 1,
        "acl|setuser" | "acl|getuser" | "acl|deluser" => 2,
        "hello" => args
            .iter()
            .position(|arg| arg.eq_ignore_ascii_case(b"auth"))
            .map_or(usize::MAX, |at| at + 1),
        "config|set" => {
            return (0..args.len())
                .map(|at| {
                    let secret = at >= 3
                        && at % 2 == 1
                        && config::Directive::find(args.at(at - 1))
                            .is_some_and(config::Directive::is_secret);
                    if secret { HIDDEN } else { args.at(at) }
                })
                .collect();
        }
        _ => return args.iter().collect(),
    };
    let until = if command.spec.name == "hello" { hide_from.saturating_add(2) } else { usize::MAX };
    (0..args.len())
        .map(|at| if at >= hide_from && at < until { HIDDEN } else { args.at(at) })
        .collect()
}

/// CLIENT PAUSE does not hold back what ends it.
fn pause_exempt(name: &str, session: &Session) -> bool {
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
