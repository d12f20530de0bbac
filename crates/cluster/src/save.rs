//! The file, and what must not leave before it is on disk.
//!
//! Votes, requests for votes and a config epoch of one's own are promises: forgotten in a crash and
//! made again, they would give one slot two owners. Each is held back until the file that holds it
//! is on disk. Heartbeats go on meanwhile and show the face that the disk knows.

use std::collections::BTreeMap;

use crate::api::{ConnId, LogLevel, Output, PersistToken};
use crate::bus::IpText;
use crate::conf::{ConfNode, NodesConf, OtherPort};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::Cluster;
use crate::node::{Ix, Node};
use crate::slots::SlotSet;

/// How long after a failed write the next is tried.
const RETRY_MS: u64 = 1000;

/// What headers tell of this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Face {
    pub id: Option<NodeId>,
    pub current_epoch: u64,
    pub config_epoch: u64,
    pub slots: SlotSet,
    pub flags: Flags,
    /// The master and its config epoch; the slots are the master's then.
    pub master: Option<(NodeId, u64)>,
}

/// What waits for the disk.
#[derive(Debug)]
pub(crate) enum Promise {
    /// A message.
    Bytes { conn: ConnId, bytes: Vec<u8> },
    /// This node is a master from now on.
    Lead,
    /// Everybody is told of it.
    PongToAll,
}

impl Cluster {
    /// Holds this back until what is in memory now is on disk. To be called after `changed(true)`.
    pub(crate) fn promise(&mut self, promise: Promise) {
        assert!(self.unsaved == Some(true), "a promise follows what it promises");
        self.held.push_back((PersistToken(self.next_token), promise));
        if matches!(self.held.back(), Some((_, Promise::Lead))) {
            self.held.push_back((PersistToken(self.next_token), Promise::PongToAll));
        }
    }

    fn face(&self) -> Face {
        let me = self.me();
        let mut flags = me.flags;
        flags.clear(Flags::MEET.with(Flags::HANDSHAKE).with(Flags::NOADDR));
        let master = me.master.and_then(|master| self.nodes.get(&master));
        Face {
            id: Some(me.id),
            current_epoch: self.current_epoch,
            config_epoch: me.config_epoch,
            slots: self.slots_of(me.master.unwrap_or(self.me)),
            flags,
            master: master.map(|master| (master.id, master.config_epoch)),
        }
    }

    pub(crate) fn refresh_face(&mut self) {
        if self.face_stale && self.pending.is_empty() {
            self.face_stale = false;
            self.face = self.face();
        }
    }

    /// Hands what has changed to the disk, at the end of every call.
    pub(crate) fn save_if_needed(&mut self) {
        if let Some(sync) = self.unsaved.take() {
            let token = PersistToken(self.next_token);
            self.next_token += 1;
            self.out.push_back(Output::Persist { token, text: self.conf().text(), sync });
            if sync {
                let face = self.face();
                self.pending.push_back((token, face));
            }
        }
        self.refresh_face();
    }

    pub(crate) fn persisted(&mut self, token: PersistToken) {
        while let Some((pending, _)) = self.pending.front()
            && *pending <= token
        {
            if let Some((_, face)) = self.pending.pop_front() {
                self.face = face;
                self.face_stale = true;
            }
        }
        self.refresh_face();
        while self.held.front().is_some_and(|(waits, _)| *waits <= token) {
            match self.held.pop_front() {
                Some((_, Promise::Bytes { conn, bytes })) => self.send_bytes(conn, bytes),
                Some((_, Promise::PongToAll)) => self.pong_to_all(),
                Some((_, Promise::Lead)) if self.me().is_master() => {
                    self.out.push_back(Output::Lead);
                    self.view_version += 1;
                }
                // It is a replica again before it could lead.
                Some((_, Promise::Lead)) => {}
                None => {}
            }
        }
    }

    /// Nothing that waits is given up: a later token that gets there covers it.
    pub(crate) fn persist_failed(&mut self, token: PersistToken) {
        let line = format!("nodes.conf could not be written (attempt {})", token.0);
        self.log(LogLevel::Warning, line);
        self.retry_save = Some(self.now.mono + RETRY_MS);
    }

    /// Runs of slots with one owner, in ascending order.
    pub(crate) fn owned_ranges(&self) -> Vec<(Ix, (u16, u16))> {
        let mut runs: Vec<(Ix, (u16, u16))> = Vec::new();
        let mut before = 0;
        for (slot, ix) in self.owner.iter().enumerate() {
            let slot = slot as u16;
            if *ix != 0 {
                match runs.last_mut() {
                    Some((_, (_, end))) if before == *ix => *end = slot,
                    _ => runs.push((*ix, (slot, slot))),
                }
            }
            before = *ix;
        }
        runs
    }

    /// The file as it should be.
    pub(crate) fn conf(&self) -> NodesConf {
        let mut ranges: BTreeMap<Ix, Vec<(u16, u16)>> = BTreeMap::new();
        for (ix, range) in self.owned_ranges() {
            ranges.entry(ix).or_default().push(range);
        }
        let nodes = self
            .nodes
            .iter()
            .filter(|(_, node)| !node.handshaking())
            .map(|(ix, node)| self.conf_node(*ix, node, ranges.remove(ix).unwrap_or_default()))
            .collect();
        NodesConf {
            nodes,
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
        }
    }

    pub(crate) fn conf_node(&self, ix: Ix, node: &Node, slots: Vec<(u16, u16)>) -> ConfNode {
        let master = node.master.and_then(|master| self.nodes.get(&master));
        let mut moving: Vec<(u16, NodeId, bool)> = Vec::new();
        if ix == self.me {
            let name = |other: &Ix| self.nodes.get(other).map(|node| node.id);
            let tokens = |map: &BTreeMap<u16, Ix>, importing: bool| {
                let all =
                    map.iter().filter_map(|(slot, other)| Some((*slot, name(other)?, importing)));
                all.collect::<Vec<_>>()
            };
            moving.extend(tokens(&self.migrating, false));
            moving.extend(tokens(&self.importing, true));
            moving.sort_by_key(|(slot, _, importing)| (*slot, *importing));
        }
        let other = if self.options.tls { OtherPort::Tcp } else { OtherPort::Tls };
        ConfNode {
            id: node.id,
            ip: node.ip.as_str().to_string(),
            port: node.port,
            bus_port: node.bus_port,
            hostname: node.hostname.clone(),
            nodename: node.nodename.clone(),
            other_port: Some(other(node.other_port)),
            shard: node.shard,
            unknown: node.unknown.clone(),
            flags: node.flags,
            master: master.map(|master| master.id),
            ping_sent: self.unix_ms(node.ping_sent),
            pong_received: self.unix_ms(node.pong_received),
            // A replica shows its master's.
            config_epoch: master.map_or(node.config_epoch, |master| master.config_epoch),
            connected: ix == self.me || node.link.is_some_and(|link| link.up),
            slots,
            moving,
        }
    }

    /// Takes the file in, at the start.
    pub(crate) fn load(&mut self, conf: &NodesConf) {
        let now = self.now.mono;
        for line in &conf.nodes {
            let mut node = Node::new(line.id, line.flags, now);
            node.flags.clear(Flags::HANDSHAKE.with(Flags::MEET));
            if !node.is_master() && !node.is_replica() {
                node.flags.set(Flags::MASTER);
            }
            if node.is_replica() {
                node.flags.clear(Flags::MASTER);
            }
            node.ip = IpText::new(&line.ip);
            (node.port, node.bus_port) = (line.port, line.bus_port);
            node.other_port = match line.other_port {
                Some(OtherPort::Tls(port) | OtherPort::Tcp(port)) => port,
                None => 0,
            };
            (node.hostname, node.nodename) = (line.hostname.clone(), line.nodename.clone());
            (node.shard, node.unknown) = (line.shard, line.unknown.clone());
            node.ping_sent = (line.ping_sent != 0).then_some(now);
            node.pong_received = (line.pong_received != 0).then_some(now);
            node.config_epoch = if line.master.is_some() { 0 } else { line.config_epoch };
            let ix = self.add_node(node);
            if line.flags.has(Flags::MYSELF) {
                self.me = ix;
                self.node_mut(ix).ping_sent = None;
            }
        }
        for line in &conf.nodes {
            let Some(ix) = self.find(&line.id) else {
                continue;
            };
            if let Some(master) = line.master.and_then(|id| self.find(&id)).filter(|m| *m != ix)
                && self.node(ix).is_replica()
            {
                self.join_master(ix, master);
            }
            if self.node(ix).is_master() {
                for slot in line.slots.iter().flat_map(|(from, to)| *from..=*to) {
                    self.set_owner(slot, Some(ix));
                }
            }
        }
        if self.me().is_replica() && self.me().master.is_none() {
            self.me_mut().flags.clear(Flags::REPLICA);
            self.me_mut().flags.set(Flags::MASTER);
        }
        self.load_moving(conf);
        let shard = self.options.shard;
        if self.me().shard.is_none() {
            self.me_mut().shard = Some(shard);
        }
        let greatest = self.nodes.values().map(|node| node.config_epoch).max().unwrap_or(0);
        self.current_epoch = conf.current_epoch.max(greatest).min(crate::machine::EPOCH_MAX);
        self.last_vote_epoch = conf.last_vote_epoch;
        for node in self.nodes.values_mut() {
            node.config_epoch = node.config_epoch.min(self.current_epoch);
        }
        let line = format!("Node configuration loaded, I'm {}", self.me().id);
        self.log(LogLevel::Notice, line);
    }

    fn load_moving(&mut self, conf: &NodesConf) {
        if !self.me().is_master() {
            return;
        }
        for (slot, other, importing) in conf.myself().map_or(&[][..], |me| me.moving.as_slice()) {
            if let Some(other) = self.find(other) {
                let map = if *importing { &mut self.importing } else { &mut self.migrating };
                map.insert(*slot, other);
            }
        }
    }
}
