//! What runs on the hosts: requests served by data nodes and sentinels, and replication.

use resp::{Decoded, Decoder, Limits};
use sentinel::CloseReason;

use crate::net::{Dir, HostId};
use crate::node::{Effect, NODE_PORT};
use crate::world::{Event, REPLICATION_US, World};

impl World {
    pub(crate) fn serve_node(&mut self, node: usize, id: u64, from: HostId, bytes: &[u8]) {
        self.nodes[node].sessions.entry(id).or_default().buffer.extend_from_slice(bytes);
        loop {
            let Some(session) = self.nodes[node].sessions.get_mut(&id) else { return };
            let Some(args) = next_request(&mut session.buffer, &self.decoder_limits) else {
                return;
            };
            let mut out = Vec::new();
            self.note_hello(from, &args);
            let effects = self.nodes[node].run(self.now, id, &args, &mut out);
            self.transmit(id, Dir::ToClient, out);
            for effect in effects {
                self.apply(node, id, from, effect);
            }
        }
    }

    pub(crate) fn apply(&mut self, node: usize, id: u64, from: HostId, effect: Effect) {
        match effect {
            Effect::KillClients { pubsub } => {
                let victims: Vec<u64> = self.nodes[node]
                    .sessions
                    .iter()
                    .filter(|(conn, session)| **conn != id && session.subscribed == pubsub)
                    .map(|(conn, _)| *conn)
                    .collect();
                for victim in victims {
                    self.nodes[node].sessions.remove(&victim);
                    self.end_from(victim, node, CloseReason::Fin);
                }
            }
            Effect::Publish { channel, message } => {
                let mut out = resp::Reply::new(resp::Protocol::Resp2);
                out.array(3);
                out.text("message");
                out.text(&channel);
                out.text(&message);
                let subscribers: Vec<u64> = self.nodes[node]
                    .sessions
                    .iter()
                    .filter(|(_, session)| session.subscribed)
                    .map(|(conn, _)| *conn)
                    .collect();
                for conn in subscribers {
                    self.transmit(conn, Dir::ToClient, out.bytes().to_vec());
                }
            }
            Effect::Follow { master } => self.note_follow(node, from, master),
        }
    }

    pub(crate) fn serve_seat(&mut self, index: usize, id: u64, from: HostId, bytes: &[u8]) {
        self.seats[index].sessions.entry(id).or_default().buffer.extend_from_slice(bytes);
        while let Some(session) = self.seats[index].sessions.get_mut(&id) {
            let Some(args) = next_request(&mut session.buffer, &self.decoder_limits) else { break };
            self.note_hello(from, &args);
            self.note_ask(from, &args);
            self.seats[index].run(self.now, id, &args);
            self.drain(index);
            self.flush_session(index, id);
        }
    }

    pub(crate) fn flush_session(&mut self, index: usize, id: u64) {
        let (bytes, told) = self.seats[index].take_replies(id);
        let runid = self.seats[index].runid.clone();
        for (epoch, candidate) in told.into_iter().filter_map(|t| t.vote) {
            self.checker.voted(self.now, &runid, epoch, &candidate);
            self.checker.told(&runid, epoch, 0);
        }
        self.transmit(id, Dir::ToClient, bytes);
    }

    pub(crate) fn on_replication(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.hosts[node].alive || self.hosts[node].paused {
                continue;
            }
            self.hand_over(node);
            match self.nodes[node].master.clone() {
                None if self.nodes[node].handover.is_some() => {}
                None => {
                    self.nodes[node].offset += self.prng.below(40) as i64;
                    self.nodes[node].offset_since = self.now;
                    self.nodes[node].connected_replicas = self.replicas_of(node);
                }
                Some((ip, _)) => self.replicate(node, &ip),
            }
        }
        self.push(self.now + REPLICATION_US, Event::Replication);
    }

    /// Takes a node's FAILOVER as far as it can go now.
    fn hand_over(&mut self, node: usize) {
        let Some(handover) = self.nodes[node].handover.clone() else { return };
        let Some(target) = self.node_at(&handover.target) else { return };
        let there =
            self.hosts[target].alive && !self.hosts[target].paused && self.net.talk(node, target);
        if handover.promoted {
            if there {
                self.nodes[node].handover = None;
            }
            return;
        }
        let follows = self.follows(target) == Some(node) && self.nodes[target].link_up;
        let equal = self.nodes[target].offset == self.nodes[node].offset;
        if there && follows && equal {
            let lost = self.prng.chance(10);
            self.nodes[target].follow(self.now, None);
            self.nodes[node].follow(self.now, Some((handover.target, NODE_PORT)));
            match &mut self.nodes[node].handover {
                Some(handover) if lost => handover.promoted = true,
                handover => *handover = None,
            }
        } else if self.now >= handover.until {
            self.nodes[node].handover = None;
        }
    }

    pub(crate) fn replicas_of(&self, node: usize) -> Vec<(String, u16, i64)> {
        let ip = &self.nodes[node].ip;
        self.nodes
            .iter()
            .enumerate()
            .filter(|(other, n)| {
                self.hosts[*other].alive
                    && n.link_up
                    && n.master.as_ref().is_some_and(|(master, _)| master == ip)
            })
            .map(|(_, n)| (n.ip.clone(), NODE_PORT, n.offset))
            .collect()
    }

    pub(crate) fn replicate(&mut self, node: usize, master_ip: &str) {
        let now = self.now;
        let Some(master) = self.node_at(master_ip) else { return };
        let reachable = self.hosts[master].alive
            && !self.hosts[master].paused
            && master != node
            && self.net.talk(node, master)
            // A replica of a replica that is itself cut off gets nothing.
            && (self.nodes[master].master.is_none() || self.nodes[master].link_up);
        let target = self.nodes[master].offset;
        let refused = !self.hosts[master].alive && self.hosts[master].kernel;
        let mut lag = self.prng.below(25) as i64;
        if self.nodes[master].handover.is_some() {
            lag = 0;
        }
        let work = self.prng.between(1000, 60_000);
        let me = &mut self.nodes[node];
        if !reachable {
            me.sync_done_at = None;
            let timed_out = now.saturating_sub(me.last_master_io) > 10_000_000;
            if me.link_up && (refused || timed_out) {
                me.link_up = false;
                me.link_down_since = now;
            }
            return;
        }
        me.last_master_io = now;
        let before = me.offset;
        if me.link_up {
            me.offset = me.offset.max(target - lag);
        } else {
            match me.sync_done_at {
                None => me.sync_done_at = Some(now + work),
                Some(at) if now >= at => {
                    me.link_up = true;
                    me.sync_done_at = None;
                    me.offset = target - lag.min(target);
                }
                Some(_) => {}
            }
        }
        if me.offset != before {
            me.offset_since = now;
        }
    }
}

/// Takes one request off the front of a buffer.
fn next_request(buffer: &mut Vec<u8>, limits: &Limits) -> Option<Vec<String>> {
    let mut decoder = Decoder::new();
    match decoder.decode(buffer, limits).expect("sentinels speak RESP") {
        Decoded::Request { consumed } => {
            let args = decoder.args(buffer);
            let args = args.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
            buffer.drain(..consumed);
            Some(args)
        }
        Decoded::Nothing { consumed } => {
            buffer.drain(..consumed);
            None
        }
        Decoded::Incomplete { .. } => None,
    }
}
