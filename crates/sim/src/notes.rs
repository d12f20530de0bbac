//! Watching: what happens in the world, turned into questions for the checkers.

use sentinel::{Hello, LinkPurpose};

use crate::net::{ConnState, HostId};
use crate::node::DataNode;
use crate::world::{Entry, World};

impl World {
    /// Watches for a sentinel that demotes the rightful master: the one named by the highest
    /// configuration that any sentinel has.
    pub(crate) fn note_follow(&mut self, node: usize, from: HostId, master: Option<(String, u16)>) {
        let Some((to, _)) = master else { return };
        let newest = (0..self.seats.len())
            .filter_map(|i| self.status(i))
            .filter_map(|s| s.masters.into_iter().next())
            .max_by_key(|m| m.config_epoch);
        let Some(newest) = newest else { return };
        if newest.addr.ip_text() == self.nodes[node].ip && to != self.nodes[node].ip {
            self.demotions.push(self.now);
            let by = from - self.nodes.len();
            self.log.push(Entry {
                at_us: self.now,
                sentinel: by,
                line: format!(
                    "(world) rightful master {} told to follow {to}",
                    self.nodes[node].ip
                ),
            });
        }
    }

    /// What a hello says, its sender has told.
    pub(crate) fn note_hello(&mut self, from: HostId, args: &[String]) {
        if args.len() == 3
            && args[0].eq_ignore_ascii_case("publish")
            && let Some(hello) = Hello::parse(&args[2])
            && from >= self.nodes.len()
        {
            self.checker.told(&hello.runid, hello.current_epoch, hello.master_config_epoch);
        }
    }

    /// Who asks for votes has voted for itself.
    pub(crate) fn note_ask(&mut self, from: HostId, args: &[String]) {
        if args.len() == 6
            && args[1].eq_ignore_ascii_case("is-master-down-by-addr")
            && let Ok(epoch) = args[4].parse::<u64>()
            && from >= self.nodes.len()
        {
            if args[5] != "*" {
                self.checker.voted(self.now, &args[5], epoch, &args[5]);
                self.checker.told(&args[5], epoch, 0);
            } else {
                let runid = self.seats[from - self.nodes.len()].runid.clone();
                self.checker.told(&runid, epoch, 0);
            }
        }
    }

    pub(crate) fn note_election(&mut self, index: usize) {
        let Some(status) = self.status(index) else { return };
        if let Some(epoch) = status.masters.first().and_then(|m| m.failover_epoch) {
            self.checker.elected(self.now, epoch, &status.myid);
        }
    }

    /// The replica just chosen must be the best of those that could be chosen: no node that the
    /// leader could reach all the time, and whose offset has stood still, may be better.
    pub(crate) fn note_selection(&mut self, index: usize) {
        let leader = self.sentinel_host(index);
        let Some(line) = self.log.last().map(|e| e.line.clone()) else { return };
        let ip = line.split(' ').nth(3).unwrap_or_default().to_string();
        let Some(chosen) = self.node_at(&ip) else { return };
        if self.nodes[chosen].master.is_none() {
            return; // Promoted already by a predecessor.
        }
        let Some(status) = self.status(index) else { return };
        let Some(master) = status.masters.into_iter().next() else { return };
        for other in 0..self.nodes.len() {
            let node = &self.nodes[other];
            let known = master.replicas.iter().find(|r| r.addr.ip_text() == node.ip);
            let Some(known) = known else { continue };
            let steady = |n: &DataNode| self.now.saturating_sub(n.offset_since) > 1_000_000;
            let eligible = other != chosen
                && self.hosts[other].alive
                && !self.hosts[other].paused
                && self.net.talk(leader, other)
                && self.net.slow[other] + self.net.slow[leader] < 5_000
                && known.connected
                && !known.s_down
                && known.runid == node.runid
                && node.priority != 0
                && node.master.is_some()
                // A planned switch takes only those who follow. It may have been refused by now.
                && (node.link_up || matches!(master.failover_state, "send_slaveof_noone" | "wait_promotion"))
                && steady(node)
                && steady(&self.nodes[chosen])
                && self.now.saturating_sub(node.link_down_since) < self.options.down_after * 5000
                && !self.just_disturbed(leader, other);
            if !eligible {
                continue;
            }
            let key = |n: &DataNode| (n.priority, -n.offset, n.runid.clone());
            if key(node) < key(&self.nodes[chosen]) {
                let (better, worse) = (key(node), key(&self.nodes[chosen]));
                let text = format!("{index} chose {ip} {worse:?} though {} is {better:?}", node.ip);
                self.checker.violation(self.now, text);
            }
        }
    }

    /// True when a connection between the two is too young, or stands still, so that an answer
    /// may have been lost.
    pub(crate) fn just_disturbed(&self, client: HostId, server: HostId) -> bool {
        !self.conns.values().any(|c| {
            c.client == client
                && c.server == server
                && c.purpose == LinkPurpose::Command
                && c.state == ConnState::Open
                && !c.half_dead
                && c.stalled == [None, None]
                && self.now - c.opened_at > 200_000
        })
    }
}
