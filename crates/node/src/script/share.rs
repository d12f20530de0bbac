//! Scripts that run beside others, on the stripes of their declared keys.
//!
//! Such a run must not be noticed if it comes to nothing. It comes to nothing when it needs a stripe
//! that is held by somebody else: it must not wait for it while it holds some. Then everything is
//! taken back, the script is ended in a way that it cannot hold up, and starts again under all
//! stripes. So whatever cannot be taken back needs all stripes first ([`ScriptHost::take_rest`]).
//!
//! A script that was once seen to go beyond its declared keys takes all stripes from the start
//! ([`Script::beyond`]); other reasons depend on the moment and are not held against it.

use super::Script;
use super::host::ScriptHost;
use crate::registry::{CommandRef, Run};
use commands::{Flags, KeyFlags, keys_of};
use resp::Args;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Different errors, and lines for the log, of one run that may have to be forgotten.
const NOTES_MAX: usize = 64;

/// What a run that may come to nothing has left outside of the keys.
pub(super) struct Shared {
    script: Arc<Script>,
    /// The worker's count of changes at the start.
    dirty: u64,
    /// Commands that were counted: index, runs, failures.
    calls: SmallVec<[(usize, u64, u64); 4]>,
    /// Errors that were counted, by their code.
    errors: Vec<(String, u64)>,
    /// Lines that the log does not have yet.
    lines: Vec<(u8, String)>,
}

impl Shared {
    pub(super) fn new(script: &Arc<Script>, worker: &crate::Worker) -> Shared {
        Shared {
            script: Arc::clone(script),
            dirty: worker.stats.dirty.load(Relaxed),
            calls: SmallVec::new(),
            errors: Vec::new(),
            lines: Vec::new(),
        }
    }
}

impl ScriptHost<'_, '_> {
    /// Takes all stripes if that needs no waiting. Else everything is taken back, the run is over,
    /// and the script has to start again. True if it may go on.
    #[cold]
    pub(super) fn take_rest(&mut self, goes_beyond: bool) -> bool {
        let Some(shared) = self.shared.take() else { return !self.over };
        if goes_beyond {
            shared.script.beyond.store(true, Relaxed);
        }
        if self.keys.held().try_rest() {
            self.keep_changes(shared);
            return true;
        }
        self.take_back(shared);
        false
    }

    /// The run has come to its end, or has all stripes.
    pub(super) fn keep_changes(&mut self, shared: Shared) {
        self.keys.end_undo();
        for (level, line) in shared.lines {
            self.node.host.log(level, &line);
        }
    }

    fn take_back(&mut self, shared: Shared) {
        (self.over, self.again) = (true, true);
        self.keys.take_back();
        let worker = &mut *self.worker;
        worker.record.clear();
        worker.ready.clear();
        worker.stats.dirty.store(shared.dirty, Relaxed);
        for (index, calls, failed) in shared.calls {
            let stat = &worker.stats.commands[index];
            // CONFIG RESETSTAT may have come in between.
            for (counter, by) in [(&stat.calls, calls), (&stat.failed, failed)] {
                counter.store(counter.load(Relaxed).saturating_sub(by), Relaxed);
            }
        }
        for (code, count) in shared.errors {
            self.node.stats.uncount_error(&code, count);
        }
        self.node.scripts.again.fetch_add(1, Relaxed);
    }

    /// Counts an error.
    pub(super) fn count_error(&mut self, text: &str) {
        self.node.stats.count_error(text);
        let Some(shared) = &mut self.shared else { return };
        let code = text.split(' ').next().unwrap_or("ERR");
        match shared.errors.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => shared.errors.push((code.to_string(), 1)),
        }
        if shared.errors.len() > NOTES_MAX {
            self.take_rest(false);
        }
    }

    /// Counts a command that ran.
    pub(super) fn count_call(&mut self, command: CommandRef, failed: bool) {
        self.node.count_script_call(self.worker, command, failed);
        let Some(shared) = &mut self.shared else { return };
        let (index, failed) = (command.index, u64::from(failed));
        match shared.calls.iter_mut().find(|(known, ..)| *known == index) {
            Some((_, calls, failures)) => (*calls, *failures) = (*calls + 1, *failures + failed),
            None => shared.calls.push((index, 1, failed)),
        }
    }

    /// A line for the log, which waits as long as the run may come to nothing.
    pub(super) fn log_line(&mut self, level: u8, line: String) {
        let Some(shared) = &mut self.shared else {
            if !self.over {
                self.node.host.log(level, &line);
            }
            return;
        };
        shared.lines.push((level, line));
        if shared.lines.len() > NOTES_MAX {
            self.take_rest(false);
        }
    }

    /// Has the stripes that a command needs, and keeps what it may change; `shown` if somebody sees
    /// every command. False if the run is over.
    pub(super) fn prepare_call(
        &mut self,
        command: CommandRef,
        args: &Args<'_>,
        shown: bool,
    ) -> bool {
        let spec = command.spec;
        if shown && !self.take_rest(false) {
            return false;
        }
        if self.shared.is_none() {
            return !self.over;
        }
        let held = self.keys.held().mask();
        let within = match command.run {
            // The node's own commands reach for whatever they want.
            Run::Node(_) => matches!(spec.name, "ping" | "echo" | "select" | "time"),
            // These two change keys of other databases too.
            Run::Data(_) => {
                !spec.keys.is_empty()
                    && !matches!(spec.name, "move" | "copy")
                    && held.covers(self.node.mask_of(command, args))
            }
        };
        if !within {
            return self.take_rest(true);
        }
        if !spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) {
            return true;
        }
        let Some(list) = keys_of(spec, args) else { return self.take_rest(true) };
        self.keys.db = self.session.db;
        if spec.flags.contains(Flags::WRITE) && !self.node.blocking.is_empty() {
            let names: SmallVec<[&[u8]; 4]> = list.iter().map(|&(at, _)| args.at(at)).collect();
            let db = self.session.db;
            let wider = self.node.mask_with_waiters(self.keys, db..db + 1, &names);
            if !held.covers(wider) {
                return self.take_rest(false);
            }
        }
        for &(at, flags) in &list {
            // XREADGROUP says of its keys that it only reads them, and changes their groups.
            let only_read = flags.contains(KeyFlags::RO) && spec.name != "xreadgroup";
            if !only_read && !self.keys.keep(args.at(at)) {
                return self.take_rest(true);
            }
        }
        true
    }
}
