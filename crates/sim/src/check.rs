//! What must never happen, checked at every step.

use std::collections::BTreeMap;

use sentinel::Sentinel;

/// Everything that was promised so far.
#[derive(Default)]
pub struct Checker {
    /// Epoch to the sentinel that was elected in it.
    pub winners: BTreeMap<u64, String>,
    /// Voter and epoch to the candidate.
    votes: BTreeMap<(String, u64), String>,
    /// Highest epochs that each running sentinel has shown: current and of the configuration.
    shown: BTreeMap<String, (u64, u64)>,
    /// Highest epochs that each sentinel has told anybody: these must survive a restart.
    told: BTreeMap<String, (u64, u64)>,
    /// Broken rules, in words.
    pub violations: Vec<String>,
}

impl Checker {
    pub fn violation(&mut self, at_us: u64, text: String) {
        self.violations.push(format!("at {}.{:03} ms: {text}", at_us / 1000, at_us % 1000));
    }

    /// `+elected-leader` was logged.
    pub fn elected(&mut self, at_us: u64, epoch: u64, runid: &str) {
        if let Some(other) = self.winners.insert(epoch, runid.to_string())
            && other != runid
        {
            self.violation(at_us, format!("epoch {epoch} has two winners: {other} and {runid}"));
        }
    }

    /// A vote has left its voter.
    pub fn voted(&mut self, at_us: u64, voter: &str, epoch: u64, candidate: &str) {
        let key = (voter.to_string(), epoch);
        if let Some(other) = self.votes.insert(key, candidate.to_string())
            && other != candidate
        {
            self.violation(
                at_us,
                format!("{voter} voted twice in epoch {epoch}: for {other} and for {candidate}"),
            );
        }
    }

    /// A message with these epochs has left a sentinel.
    pub fn told(&mut self, runid: &str, current_epoch: u64, config_epoch: u64) {
        let told = self.told.entry(runid.to_string()).or_default();
        told.0 = told.0.max(current_epoch);
        told.1 = told.1.max(config_epoch);
    }

    /// Compares a running sentinel with what it has shown and told before.
    pub fn epochs(&mut self, at_us: u64, machine: &Sentinel) {
        let (runid, current, config) = machine.epochs();
        let before = match self.shown.get_mut(runid) {
            Some(shown) => std::mem::replace(shown, (current, config)),
            None => self.shown.insert(runid.to_string(), (current, config)).unwrap_or_default(),
        };
        if current < before.0 || config < before.1 {
            let runid = runid.to_string();
            self.violation(
                at_us,
                format!("epochs of {runid} fell from {before:?} to ({current}, {config})"),
            );
        }
    }

    /// A sentinel runs again: what it had told must not be forgotten; what it had only thought may.
    pub fn restarted(&mut self, at_us: u64, machine: &Sentinel) {
        let (runid, current, config) = machine.epochs();
        let told = self.told.get(runid).copied().unwrap_or_default();
        if current < told.0 || config < told.1 {
            let runid = runid.to_string();
            self.violation(
                at_us,
                format!("{runid} had told epochs {told:?} and restarts with ({current}, {config})"),
            );
        }
        self.shown.insert(runid.to_string(), (current, config));
    }
}
