//! Replica migration: a replica leaves a master that has more than enough of them for one that has
//! lost its last. Source: redis 7.0 `cluster.c:clusterHandleSlaveMigration`.

use std::collections::BTreeMap;

use crate::api::LogLevel;
use crate::flags::Flags;
use crate::machine::Cluster;
use crate::node::Ix;

/// How long a master must have been without replicas.
const ORPHAN_MS: u64 = 5000;

impl Cluster {
    /// Looks for masters without replicas; moves to one when it is this node's turn.
    pub(crate) fn consider_migration(&mut self) {
        let now = self.now.mono;
        // Working replicas by master.
        let mut working: BTreeMap<Ix, Vec<Ix>> = BTreeMap::new();
        for (ix, node) in &self.nodes {
            if let Some(master) = node.master
                && !node.doubtful()
            {
                working.entry(master).or_default().push(*ix);
            }
        }
        let mut target = None;
        let (mut most, mut candidate) = (0, None);
        let masters: Vec<Ix> =
            self.nodes.iter().filter(|(_, n)| n.is_master()).map(|(ix, _)| *ix).collect();
        for ix in &masters {
            most = most.max(working.get(ix).map_or(0, Vec::len));
        }
        for ix in masters {
            let replicas = working.get(&ix).map_or(&[][..], Vec::as_slice);
            let node = self.node(ix);
            let orphaned = replicas.is_empty()
                && node.slots > 0
                && !node.doubtful()
                && node.flags.has(Flags::MIGRATE_TO);
            if replicas.len() == most {
                let smallest = replicas.iter().map(|ix| (self.node(*ix).id, *ix)).min();
                candidate = [candidate, smallest].into_iter().flatten().min();
            }
            let node = self.node_mut(ix);
            if !orphaned {
                node.orphaned = None;
            } else if now.since(*node.orphaned.get_or_insert(now)) > ORPHAN_MS && target.is_none() {
                target = Some(ix);
            }
        }
        let mine = self.me().master.and_then(|master| working.get(&master)).map_or(0, Vec::len);
        let allowed = self.options.allow_replica_migration
            && !self.down
            && most >= 2
            && mine > self.options.migration_barrier
            && !self.me().flags.has(Flags::NOFAILOVER);
        if let Some(target) = target
            && allowed
            && candidate.is_some_and(|(_, ix)| ix == self.me)
        {
            let line = format!("Migrating to orphaned master {}", self.node(target).id);
            self.log(LogLevel::Notice, line);
            self.become_replica(target);
        }
    }
}
