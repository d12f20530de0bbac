//! The stripes of a script, and its second start.

use super::{Again, Next};
use crate::registry::{CommandEntry, CommandRef};
use crate::script::{EvalBy, Found};
use crate::{Node, Session, Worker};
use commands::{CommandError, keys_of};
use keyspace::{KeyOptions, Keys, StripeMask};
use resp::{Args, Reply};
use smallvec::SmallVec;
use structures::{Entry, ValueRef};

impl Node {
    /// Takes the stripes of a script: of its declared keys as long as it is not known to go beyond
    /// them, else all. Functions take all: they share an interpreter.
    ///
    /// At least one stripe is held, so that what changes under all stripes stays as it is: the role,
    /// whether anybody tracks keys, the start of a snapshot.
    pub(super) fn hold_for_script<'k>(
        &'k self,
        worker: &mut Worker,
        db: usize,
        command: &CommandEntry,
        args: &Args<'k>,
        options: KeyOptions,
        from_master: bool,
    ) -> Option<Keys<'k>> {
        let all = std::mem::take(&mut worker.all_for_script);
        let by = match command.spec.name {
            "eval" | "eval_ro" => Some(EvalBy::Source),
            "evalsha" | "evalsha_ro" => Some(EvalBy::Sha),
            _ => None,
        };
        worker.script = by.map(|by| Found::look_up(self, &mut worker.recent_script, args, by));
        let everything = || self.hold_for(db, command, None, args, options, from_master);
        // Events and what the master sends cannot be taken back.
        let may_share = !all
            && !from_master
            && options.notify == 0
            && worker.script.as_ref().is_some_and(|found| !found.goes_beyond());
        if !may_share {
            return everything();
        }
        let Some(declared) = keys_of(command.spec, args) else { return everything() };
        let names: SmallVec<[&[u8]; 4]> = declared.iter().map(|&(at, _)| args.at(at)).collect();
        let mut mask = StripeMask::default();
        names.iter().for_each(|name| mask.add(self.keyspace.stripe_of(name)));
        if names.is_empty() {
            mask.add(worker.index % self.keyspace.stripes());
        }
        loop {
            let held = self.keyspace.hold_unless(mask, &|| self.scripts.is_busy())?;
            if self.keyspace.notes_changes() {
                drop(held);
                return everything();
            }
            let mut keys = Keys::new(held, db, options);
            let now = options.now.0;
            let has_due = |entry: &Entry| matches!(entry.value(), ValueRef::Hash(hash) if hash.may_have_due(now));
            if names.iter().any(|name| keys.view(name).is_some_and(has_due)) {
                // A look at such a field removes it, which is not taken back.
                drop(keys);
                return everything();
            }
            if self.blocking.is_empty() {
                return Some(keys);
            }
            let wider = self.mask_with_waiters(&mut keys, db..db + 1, &names);
            if mask.covers(wider) {
                return Some(keys);
            }
            mask = wider;
        }
    }

    /// Judges and runs a command once more whose first try came to nothing: the role changed before
    /// it had its stripes, or it is a script that needs more of them. No stripe is held.
    #[allow(clippy::too_many_arguments)]
    #[cold]
    pub(super) fn start_again(
        &self,
        worker: &mut Worker,
        session: &mut Session,
        command: CommandRef,
        place: Option<keyspace::Place>,
        args: &Args<'_>,
        reply: &mut Reply,
        serve: &mut dyn FnMut(),
    ) -> Next {
        match self.admit_again(worker, session, command, args) {
            Ok(()) => self.execute(worker, session, command, place, args, reply, serve),
            Err(Again::Held) => Next::Held,
            Err(Again::Dropped) => Next::Close,
            Err(Again::Refuse(error)) => self.refuse(session, Some(command), &error, reply),
        }
    }

    /// Runs a command of a script, under the script's stripes. The error, whose reply is written, is
    /// to be counted.
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
    ) -> Option<CommandError> {
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
        let error = outcome.err()?;
        reply.buffer_mut().clear();
        reply.error_bytes(error.bytes());
        Some(error)
    }
}
