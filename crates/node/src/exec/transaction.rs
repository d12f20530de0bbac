//! EXEC: all queued commands under all their stripes, as one record.

use super::{Again, Next, Outcome};
use crate::registry::CommandRef;
use crate::session::Multi;
use crate::stats::bump;
use crate::{Node, Session, Worker};
use commands::Flags;
use keyspace::{Keys, StripeMask};
use resp::{Args, Reply};

impl Node {
    /// EXEC: all queued commands under all their stripes, as one record.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn execute_transaction(
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
        worker.script = None;
        let options = self.key_options(worker, session, from_master);
        let mask = self.transaction_mask(&multi);
        let give_up = || !from_master && self.scripts.is_busy();
        let Some(held) = self.keyspace.hold_unless(mask, &give_up) else {
            return self.refuse(session, Some(exec), &self.scripts.busy_error(), reply);
        };
        let mut keys = Keys::new(held, session.db, options);
        if self.times_changed(worker, from_master) {
            drop(keys);
            session.multi = Some(multi);
            return match self.admit_again(worker, session, exec, args) {
                Ok(()) => {
                    self.execute_transaction(worker, session, exec, args, reply, from_master, serve)
                }
                Err(Again::Held) => Next::Held,
                Err(Again::Dropped) => Next::Close,
                Err(Again::Refuse(error)) => self.refuse(session, Some(exec), &error, reply),
            };
        }
        if crate::command::transactions::watched_key_changed(session, &mut keys) {
            drop(keys);
            crate::command::transactions::end(self, session);
            reply.null_array();
            return Next::Continue;
        }
        reply.array(multi.queue.len());
        let gate_before = worker.gate_position;
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
        if worker.gates_reads {
            self.note_gate(worker, &mut keys, gate_before, Flags::empty());
        }
        drop(keys);
        self.do_later();
        crate::command::transactions::end(self, session);
        next
    }

    pub(super) fn transaction_mask(&self, multi: &Multi) -> StripeMask {
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
}
