//! Failover: a replica asks for votes, masters give them, and the handover that somebody orders.
//!
//! Source: redis 7.0 `cluster.c:clusterHandleSlaveFailover`, `clusterSendFailoverAuthIfNeeded`,
//! `clusterHandleManualFailover`.

use std::collections::BTreeSet;

use stdx::MonoMs;

use crate::api::{LogLevel, Output};
use crate::bus::{Body, FORCE_ACK, Header, encode};
use crate::flags::Flags;
use crate::machine::{Cluster, EPOCH_MAX};
use crate::node::Ix;
use crate::save::Promise;

/// How long a handover that somebody ordered may take.
const HANDOVER_MS: u64 = 5000;
/// The master holds writes back for twice that.
const PAUSE_MS: u64 = 2 * HANDOVER_MS;

/// What a replica has done to replace its master.
#[derive(Debug, Default)]
pub(crate) enum Election {
    /// Nothing lately.
    #[default]
    Idle,
    /// The vote is going to be asked for at `at`.
    Waiting { at: MonoMs, rank: usize },
    /// Votes were asked for in `epoch`; `at` is when the election was due.
    Asked { at: MonoMs, epoch: u64, voters: BTreeSet<Ix> },
    /// It did not succeed; nothing new before `until`.
    Lost { until: MonoMs },
}

/// A handover that somebody ordered.
#[derive(Debug)]
pub(crate) enum Manual {
    /// On the master: this replica takes over, writes are held back.
    Giving { replica: Ix, ends: MonoMs },
    /// On the replica: it asked, and waits to have applied everything up to `offset`.
    Taking { ends: MonoMs, offset: Option<u64>, ready: bool },
}

impl Cluster {
    /// When the election wants the next look, if it waits for a moment.
    pub(crate) fn election_due(&self) -> Option<MonoMs> {
        match self.election {
            Election::Waiting { at, .. } if self.me().is_replica() => {
                Some(at.max(self.now.mono + 1))
            }
            _ => None,
        }
    }

    fn election_ms(&self) -> u64 {
        self.options.node_timeout.saturating_mul(2).max(2000)
    }

    fn ordered(&self) -> bool {
        matches!(self.manual, Some(Manual::Taking { ready: true, .. }))
    }

    /// Whether this node may try to replace its master now.
    fn may_replace(&self) -> bool {
        let Some(master) = self.me().master.and_then(|master| self.nodes.get(&master)) else {
            return false;
        };
        if !self.me().is_replica() || master.slots == 0 {
            return false;
        }
        if self.ordered() {
            return true;
        }
        if !master.failed() || self.me().flags.has(Flags::NOFAILOVER) || !self.facts.has_data {
            return false;
        }
        let age = self.facts.data_age_ms.saturating_sub(self.options.node_timeout);
        let factor = self.options.validity_factor;
        let bound = (self.options.repl_ping_period.saturating_mul(1000))
            .saturating_add(self.options.node_timeout.saturating_mul(factor));
        factor == 0 || age <= bound
    }

    /// How many replicas of the same master have more data.
    fn rank(&self) -> usize {
        let Some(master) = self.me().master else {
            return 0;
        };
        let mine = self.facts.repl_offset;
        self.replicas_of(master)
            .filter(|(ix, node)| {
                *ix != self.me && node.repl_offset > mine && !node.flags.has(Flags::NOFAILOVER)
            })
            .count()
    }

    /// One look at the election, at the end of every call.
    pub(crate) fn election_step(&mut self) {
        if !self.may_replace() {
            if matches!(self.election, Election::Waiting { .. }) {
                self.election = Election::Idle;
            }
            return;
        }
        let now = self.now.mono;
        match &mut self.election {
            Election::Idle => self.plan_election(),
            Election::Lost { until } if now >= *until => self.plan_election(),
            Election::Lost { .. } => {}
            Election::Waiting { at, rank } => {
                let (at, rank) = (*at, *rank);
                self.wait_for_election(at, rank);
            }
            Election::Asked { at, epoch, voters } => {
                let (at, epoch, votes) = (*at, *epoch, voters.len());
                if votes > self.size / 2 {
                    self.won(epoch);
                } else if now.since(at) > self.election_ms() {
                    self.log(
                        LogLevel::Warning,
                        "Currently unable to failover: Failover attempt expired.",
                    );
                    self.election = Election::Lost { until: at + 2 * self.election_ms() };
                }
            }
        }
    }

    fn plan_election(&mut self) {
        let now = self.now.mono;
        if self.ordered() {
            self.election = Election::Waiting { at: now, rank: 0 };
            self.ask_for_votes(now);
            return;
        }
        let rank = self.rank();
        let delay = 500 + self.prng.below(500) + rank as u64 * 1000;
        self.election = Election::Waiting { at: now + delay, rank };
        let line = format!(
            "Start of election delayed for {delay} milliseconds (rank #{rank}, offset {}).",
            self.facts.repl_offset
        );
        self.log(LogLevel::Warning, line);
        // So that the others know this node's offset, and rank themselves behind it or before.
        self.pong_to_siblings();
    }

    fn wait_for_election(&mut self, at: MonoMs, rank: usize) {
        let (mut at, mut rank) = (at, rank);
        let new_rank = self.rank();
        if new_rank > rank && !self.ordered() {
            let added = (new_rank - rank) as u64 * 1000;
            at = at + added;
            rank = new_rank;
            let line =
                format!("Replica rank updated to #{rank}, added {added} milliseconds of delay.");
            self.log(LogLevel::Warning, line);
        }
        self.election = Election::Waiting { at, rank };
        if self.now.mono >= at || self.ordered() {
            self.ask_for_votes(at.min(self.now.mono));
        }
    }

    fn ask_for_votes(&mut self, at: MonoMs) {
        if self.current_epoch >= EPOCH_MAX {
            self.election = Election::Lost { until: self.now.mono + self.election_ms() };
            return;
        }
        self.current_epoch += 1;
        let epoch = self.current_epoch;
        self.log(LogLevel::Warning, format!("Starting a failover election for epoch {epoch}."));
        self.election = Election::Asked { at, epoch, voters: BTreeSet::new() };
        let bytes = self.auth_request(epoch, self.ordered());
        self.changed(true);
        for conn in self.links() {
            self.promise(Promise::Bytes { conn, bytes: bytes.clone() });
        }
    }

    /// A vote. It counts for the epoch in which it was given, and once for each voter.
    pub(crate) fn vote_received(&mut self, sender: Ix, vote_epoch: u64) {
        let counts = self.node(sender).votes();
        if let Election::Asked { epoch, voters, .. } = &mut self.election
            && vote_epoch == *epoch
            && counts
        {
            voters.insert(sender);
        }
    }

    fn won(&mut self, epoch: u64) {
        self.log(LogLevel::Warning, "Failover election won: I'm the new master.");
        self.election = Election::Idle;
        if self.me().config_epoch < epoch {
            self.me_mut().config_epoch = epoch;
            let line = format!("configEpoch set to {epoch} after successful failover");
            self.log(LogLevel::Warning, line);
        }
        self.take_over();
    }

    /// A replica asks for this node's vote.
    pub(crate) fn consider_vote(&mut self, sender: Ix, header: &Header) {
        match self.refusal(sender, header) {
            Err(why) => {
                let id = self.node(sender).id;
                self.log(LogLevel::Warning, format!("Failover auth denied to {id}: {why}"));
            }
            Ok(master) => {
                let now = self.now.mono;
                self.node_mut(master).voted = Some(now);
                let epoch = header.current_epoch;
                self.last_vote_epoch = epoch;
                let id = self.node(sender).id;
                self.log(
                    LogLevel::Warning,
                    format!("Failover auth granted to {id} for epoch {epoch}"),
                );
                self.changed(true);
                if let Some(link) = self.node(sender).link.filter(|link| link.up) {
                    let mut header = self.header();
                    // The vote is for this epoch and no other, whatever happens until it is sent.
                    header.current_epoch = epoch;
                    let bytes = encode(&header, &Body::AuthAck);
                    self.promise(Promise::Bytes { conn: link.conn, bytes });
                }
            }
        }
    }

    /// The failed master in whose place the sender would come, or why it gets no vote.
    fn refusal(&self, sender: Ix, header: &Header) -> Result<Ix, String> {
        if !self.me().votes() {
            return Err("I'm not a master that serves slots".into());
        }
        let epoch = header.current_epoch;
        if epoch < self.current_epoch {
            return Err(format!("reqEpoch ({epoch}) < curEpoch({})", self.current_epoch));
        }
        if self.last_vote_epoch >= epoch {
            return Err(format!("already voted for epoch {}", self.last_vote_epoch));
        }
        let node = self.node(sender);
        let Some(master) = node.master.filter(|_| node.is_replica()) else {
            return Err("it is a master node, or I don't know its master".into());
        };
        let forced = header.message_flags & FORCE_ACK != 0;
        if !forced && !self.node(master).failed() {
            return Err("its master is up".into());
        }
        let again = self.options.node_timeout.saturating_mul(2);
        if self.node(master).voted.is_some_and(|at| self.now.mono.since(at) < again) {
            return Err(format!(
                "can't vote about this master before {again} milliseconds have passed"
            ));
        }
        for slot in header.slots.iter() {
            let owner = self.owner_of(slot).map(|owner| self.node(owner));
            if owner.is_some_and(|owner| owner.config_epoch > header.config_epoch) {
                return Err(format!("slot {slot} epoch > reqEpoch({})", header.config_epoch));
            }
        }
        Ok(master)
    }

    // Handovers that somebody orders.

    /// The replica to which this master hands over at the moment.
    pub(crate) fn handover_replica(&self) -> Option<Ix> {
        match self.manual {
            Some(Manual::Giving { replica, .. }) => Some(replica),
            _ => None,
        }
    }

    /// CLUSTER FAILOVER was accepted on this replica.
    pub(crate) fn start_handover(&mut self, forced: bool) {
        self.end_handover();
        self.election = Election::Idle;
        let ends = self.now.mono + HANDOVER_MS;
        self.manual = Some(Manual::Taking { ends, offset: None, ready: forced });
        if !forced && let Some(master) = self.me().master {
            self.send_to(master, &Body::MfStart);
        }
    }

    /// A replica wants to take over.
    pub(crate) fn handover_asked(&mut self, sender: Ix) {
        if !self.me().is_master() || self.node(sender).master != Some(self.me) {
            return;
        }
        self.end_handover();
        let ends = self.now.mono + HANDOVER_MS;
        self.manual = Some(Manual::Giving { replica: sender, ends });
        self.out.push_back(Output::PauseWrites { ms: PAUSE_MS });
        let id = self.node(sender).id;
        self.log(LogLevel::Warning, format!("Manual failover requested by replica {id}."));
        // The offset at which writes stopped reaches the replica with the next ping.
        self.send_beat(sender, crate::bus::Beat::Ping);
    }

    /// The master says at which offset it has stopped.
    pub(crate) fn master_paused(&mut self, sender: Ix, at: u64) {
        let mine = self.me().master == Some(sender);
        if let Some(Manual::Taking { offset: offset @ None, .. }) = &mut self.manual
            && mine
        {
            *offset = Some(at);
            let line =
                format!("Received replication offset for paused master manual failover: {at}");
            self.log(LogLevel::Warning, line);
        }
    }

    /// Goes on with a handover once everything has arrived.
    pub(crate) fn handover_step(&mut self) {
        let mine = self.facts.repl_offset;
        if let Some(Manual::Taking { offset: Some(offset), ready: ready @ false, .. }) =
            &mut self.manual
            && mine == *offset
        {
            *ready = true;
            let line = "All master replication stream processed, manual failover can start.";
            self.log(LogLevel::Warning, line);
        }
    }

    pub(crate) fn handover_timeout(&mut self) {
        let ends = match self.manual {
            Some(Manual::Giving { ends, .. } | Manual::Taking { ends, .. }) => ends,
            None => return,
        };
        if self.now.mono > ends {
            self.log(LogLevel::Warning, "Manual failover timed out.");
            self.end_handover();
        }
    }

    pub(crate) fn end_handover(&mut self) {
        if let Some(Manual::Giving { .. }) = self.manual.take() {
            self.out.push_back(Output::ResumeWrites);
        }
    }
}
