//! From a request to its reply: admission, locks, the run, the record on the log.

mod account;
mod admit;
mod scripts;
mod transaction;

use self::admit::Admission;
pub(crate) use self::admit::command_allowed;
use crate::block::Blocked;
use crate::prepare::Prepared;
use crate::registry::{CommandEntry, CommandRef, Run};
use crate::session::ReplyMode;
use crate::stats::bump;
use crate::tracking::{Own, Track};
use crate::{After, Node, NodeCtx, Session, Worker};
use acl::Context;
use commands::{CommandError, Ctx, Effect, Flags, keys_of};
use keyspace::{ExpireRule, KeyOptions, Keys, Place, StripeMask};
use replication::Targets;
use resp::{Args, Reply};
use smallvec::SmallVec;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

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
pub(crate) fn runs_inside_multi(name: &str) -> bool {
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
            worker.era = self.role.era.load(Acquire);
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
            multi.push(command, args);
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
    pub(crate) fn mask_of(&self, command: &CommandEntry, args: &Args<'_>) -> StripeMask {
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
        let options = self.key_options(worker, session, from_master);
        let held = if command.spec.flags.contains(Flags::NO_MANDATORY_KEYS) {
            self.hold_for_script(worker, session.db, command, args, options, from_master)
        } else {
            self.hold_for(session.db, command, place, args, options, from_master)
        };
        let Some(mut keys) = held else {
            worker.script = None;
            bump(&worker.stats.commands[command.index].rejected, 1);
            return self.refuse(session, Some(command), &self.scripts.busy_error(), reply);
        };
        if self.times_changed(worker, from_master) {
            drop(keys);
            worker.script = None;
            return self.start_again(worker, session, command, place, args, reply, serve);
        }
        let mark = reply.mark();
        let gate_before = worker.gate_position;
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
            Ok(Outcome::Again) => {
                reply.rewind(mark);
                drop(keys);
                worker.all_for_script = true;
                return self.start_again(worker, session, command, place, args, reply, serve);
            }
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
        if worker.gates_reads {
            self.note_gate(worker, &mut keys, gate_before, command.spec.flags);
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
                env.recorded = self.records(from_master);
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
                        if self.records(from_master) && worker.targets != Targets::NONE {
                            // Messages are for replicas alone.
                            let targets = match command.spec.group {
                                commands::Group::Pubsub => Targets::REPLICAS,
                                _ => worker.targets,
                            };
                            worker.record.push_args(None, targets, args);
                        }
                        (Ok(Effect::None), Outcome::Done)
                    }
                    Ok(After::Blocked) => (Ok(Effect::None), Outcome::Waiting),
                    Ok(After::Close) => (Ok(Effect::None), Outcome::Close),
                    Ok(After::Again) => (Ok(Effect::None), Outcome::Again),
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
        if self.records(from_master) && worker.targets != Targets::NONE {
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
        env.recorded = true;
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

    /// Under `appendfsync always` a reply waits for what it shows: a stripe remembers its last
    /// write, and whoever reads in it depends on that.
    #[cold]
    pub(super) fn note_gate(
        &self,
        worker: &mut Worker,
        keys: &mut Keys<'_>,
        before: u64,
        flags: Flags,
    ) {
        let wrote = worker.gate_position > before;
        let mask = keys.held().mask();
        let mut seen = 0;
        for stripe in (0..self.keyspace.stripes()).filter(|stripe| mask.has(*stripe)) {
            let data = keys.held().stripe(stripe);
            if wrote {
                data.last_write = worker.gate_position;
            }
            seen = seen.max(data.last_write);
        }
        if mask == StripeMask::default() && flags.contains(Flags::WALKS.union(Flags::READONLY)) {
            // It has been in all of them.
            seen = self.log.file_position();
        }
        worker.read_position = worker.read_position.max(seen);
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
}

/// Why a command that was admitted once does not run after all.
enum Again {
    Held,
    /// It is of a master that this node follows no more.
    Dropped,
    Refuse(CommandError),
}

impl Node {
    /// Whether the role has changed, or a pause has begun, between a command's admission and its
    /// locks; under them both stay.
    #[inline]
    fn times_changed(&self, worker: &Worker, from_master: bool) -> bool {
        if from_master {
            self.log.tenure() != worker.tenure
        } else {
            self.role.era.load(Acquire) != worker.era
        }
    }

    #[cold]
    fn admit_again(
        &self,
        worker: &mut Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Result<(), Again> {
        if session.info.master.load(Relaxed) {
            return Err(Again::Dropped);
        }
        worker.era = self.role.era.load(Acquire);
        match self.admit(worker, session, command, args) {
            Admission::Run => Ok(()),
            Admission::Held => Err(Again::Held),
            Admission::Refuse(error) => Err(Again::Refuse(error)),
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
    /// Nothing was done; it is to start again.
    Again,
}
