//! Who has failed: reports of masters, agreement, and taking it back.

use crate::api::LogLevel;
use crate::bus::Body;
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::Cluster;
use crate::node::Ix;

impl Cluster {
    /// How long a report counts.
    fn report_ms(&self) -> u64 {
        self.options.node_timeout.saturating_mul(2)
    }

    /// A master says that it cannot reach a node.
    pub(crate) fn report(&mut self, ix: Ix, by: Ix) {
        let now = self.now.mono;
        if self.node_mut(ix).reports.insert(by, now).is_none() {
            let line = format!(
                "Node {} reported node {} as not reachable.",
                self.node(by).id,
                self.node(ix).id
            );
            self.log(LogLevel::Verbose, line);
        }
        self.fail_if_agreed(ix);
    }

    /// It can reach it again.
    pub(crate) fn unreport(&mut self, ix: Ix, by: Ix) {
        if self.node_mut(ix).reports.remove(&by).is_some() {
            let line = format!(
                "Node {} reported node {} is back online.",
                self.node(by).id,
                self.node(ix).id
            );
            self.log(LogLevel::Verbose, line);
        }
    }

    /// The reports that still count.
    pub(crate) fn reports_of(&mut self, ix: Ix) -> usize {
        let (now, valid) = (self.now.mono, self.report_ms());
        let reports = &mut self.node_mut(ix).reports;
        reports.retain(|_, at| now.since(*at) <= valid);
        reports.len()
    }

    /// PFAIL becomes FAIL once a majority of the masters with slots agrees.
    pub(crate) fn fail_if_agreed(&mut self, ix: Ix) {
        let node = self.node(ix);
        if !node.flags.has(Flags::PFAIL) || node.failed() {
            return;
        }
        self.reports_of(ix);
        let votes = self
            .node(ix)
            .reports
            .keys()
            .filter(|by| self.nodes.get(by).is_some_and(|node| node.votes()));
        let agreed = votes.count() + usize::from(self.me().votes());
        if agreed < self.size / 2 + 1 {
            return;
        }
        let id = self.node(ix).id;
        self.log(LogLevel::Notice, format!("Marking node {id} as failing (quorum reached)."));
        self.become_failed(ix);
        self.broadcast(&Body::Fail(id));
    }

    /// Another node says that a majority agrees.
    pub(crate) fn told_failed(&mut self, ix: Ix, by: &NodeId) {
        if ix == self.me || self.node(ix).failed() || self.node(ix).handshaking() {
            return;
        }
        let id = self.node(ix).id;
        self.log(LogLevel::Notice, format!("FAIL message received from {by} about {id}"));
        self.become_failed(ix);
    }

    fn become_failed(&mut self, ix: Ix) {
        assert!(ix != self.me, "a node does not fail itself");
        let now = self.now.mono;
        let node = self.node_mut(ix);
        node.flags.clear(Flags::PFAIL);
        node.flags.set(Flags::FAIL);
        node.fail_time = now;
        self.changed(false);
    }

    /// A failed node has answered. A master with slots stays failed while a replica of it may still
    /// be about to take over.
    pub(crate) fn perhaps_not_failed(&mut self, ix: Ix) {
        let patience = self.report_ms();
        let node = self.node(ix);
        if !node.failed() {
            return;
        }
        let what = if node.is_replica() {
            "replica is reachable again."
        } else if node.slots == 0 {
            "master without slots is reachable again."
        } else if self.now.mono.since(node.fail_time) > patience {
            "is reachable again and nobody is serving its slots after some time."
        } else {
            return;
        };
        let line = format!("Clear FAIL state for node {}: {what}", node.id);
        self.log(LogLevel::Notice, line);
        self.node_mut(ix).flags.clear(Flags::FAIL);
        self.changed(false);
    }
}
