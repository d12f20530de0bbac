//! Messages of peers, taken in. Source: redis 7.0 `cluster.c:clusterProcessPacket`.

use std::net::IpAddr;

use crate::api::{ConnId, LogLevel, Output};
use crate::bus::{Beat, Body, EXTENSIONS, Extension, Gossip, Header, IpText, Message, PAUSED};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::{Cluster, EPOCH_MAX, NODES_MAX};
use crate::node::{Ix, Node};

/// How long a forgotten node stays forgotten at most, whatever a peer says, in ms.
const FORGOTTEN_MS_MAX: u64 = 3_600_000;

impl Cluster {
    pub(crate) fn message(&mut self, conn: ConnId, message: Message) {
        let Message { header, body } = message;
        if let Some(count) = self.received.get_mut(usize::from(body.kind())) {
            *count += 1;
        }
        if header.current_epoch > EPOCH_MAX || header.config_epoch > EPOCH_MAX {
            let line = format!("Ignored a message of {} with an impossible epoch", header.sender);
            self.log(LogLevel::Warning, line);
            return;
        }
        let sender =
            self.find(&header.sender).filter(|ix| *ix != self.me && !self.node(*ix).handshaking());
        if let Some(sender) = sender {
            self.take_header(sender, &header);
        }
        match body {
            Body::Heartbeat { beat, gossip, extensions } => {
                self.heartbeat(conn, sender, &header, beat, &gossip, &extensions);
            }
            Body::Fail(id) => {
                if sender.is_some()
                    && let Some(ix) = self.find(&id)
                {
                    self.told_failed(ix, &header.sender);
                }
            }
            Body::Publish { sharded, channel, message } => {
                if sender.is_some() {
                    self.out.push_back(Output::Deliver { sharded, channel, message });
                }
            }
            Body::AuthRequest => {
                if let Some(sender) = sender {
                    self.consider_vote(sender, &header);
                }
            }
            Body::AuthAck => {
                if let Some(sender) = sender {
                    self.vote_received(sender, header.current_epoch);
                }
            }
            Body::MfStart => {
                if let Some(sender) = sender {
                    self.handover_asked(sender);
                }
            }
            Body::Update { config_epoch, id, slots } => {
                if sender.is_some() && config_epoch <= EPOCH_MAX {
                    self.update_received(config_epoch, &id, &slots);
                }
            }
            Body::Module { .. } => {}
        }
    }

    /// What every message of a known node tells.
    fn take_header(&mut self, sender: Ix, header: &Header) {
        let now = self.now.mono;
        if header.current_epoch > self.current_epoch {
            self.current_epoch = header.current_epoch;
            self.changed(false);
        }
        let node = self.node_mut(sender);
        node.data_received = Some(now);
        node.repl_offset = header.offset;
        if header.message_flags & EXTENSIONS != 0 {
            node.extensions = true;
        }
        if header.master.is_none() && header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.changed(false);
        }
        if header.message_flags & PAUSED != 0 {
            self.master_paused(sender, header.offset);
        }
    }

    fn heartbeat(
        &mut self,
        conn: ConnId,
        sender: Option<Ix>,
        header: &Header,
        beat: Beat,
        gossip: &[Gossip],
        extensions: &[Extension],
    ) {
        if beat != Beat::Pong {
            self.greeted(conn, sender, header, beat);
        }
        let Some(linked) = self.conns.get(&conn).map(|state| state.to) else {
            return;
        };
        let mut sender = sender;
        if let Some(ix) = linked {
            if self.node(ix).handshaking() {
                if !self.end_handshake(ix, sender, header) {
                    return;
                }
                sender = Some(ix);
                self.take_header(ix, header);
            } else if self.node(ix).id != header.sender {
                self.somebody_else_answers(ix);
                return;
            }
            if beat == Beat::Pong {
                self.answered(ix);
            }
        }
        let Some(sender) = sender else {
            return;
        };
        if beat == Beat::Ping {
            self.set_inbound(conn, sender);
            self.update_address(conn, sender, header);
        }
        self.take_role(sender, header);
        self.take_slots(sender, header);
        self.settle_collision(sender, header);
        self.take_gossip(sender, gossip);
        self.take_extensions(sender, extensions);
    }

    /// PING and MEET are answered, whoever sends them; MEET is an invitation too.
    fn greeted(&mut self, conn: ConnId, sender: Option<Ix>, header: &Header, beat: Beat) {
        let Some(state) = self.conns.get(&conn) else {
            return;
        };
        let (peer, local) = (state.peer, state.local);
        // Where others reach this node, it learns from those that do.
        if self.options.announce_ip.is_none()
            && (beat == Beat::Meet || self.me().ip.is_empty())
            && let Some(local) = local
        {
            let text = IpText::new(&local.to_string());
            if self.me().ip != text {
                self.me_mut().ip = text;
                self.log(LogLevel::Warning, format!("IP address for this node updated to {local}"));
                self.changed(false);
            }
        }
        let myself = header.sender == self.me().id;
        if beat == Beat::Meet && sender.is_none() && !myself {
            let ip = header.ip.as_str().parse().ok().or(peer);
            if let Some(ip) = ip
                && self.start_handshake(ip, header.port, header.bus_port, false)
            {
                self.changed(false);
            }
        }
        let understands = header.message_flags & EXTENSIONS != 0
            || sender.is_some_and(|ix| self.node(ix).extensions);
        self.send_beat_on(conn, Beat::Pong, understands);
    }

    /// The node on a link that this one has opened says its name. False: there is no such node any
    /// more, the one of that name was known.
    fn end_handshake(&mut self, ix: Ix, sender: Option<Ix>, header: &Header) -> bool {
        if sender.is_some() || self.ids.contains_key(&header.sender) {
            if let Some(known) = sender {
                self.move_address(known, self.node(ix).ip, header);
            }
            self.remove_node(ix);
            return false;
        }
        self.rename_node(ix, header.sender);
        let node = self.node_mut(ix);
        node.flags.clear(Flags::HANDSHAKE.with(Flags::MEET));
        // Whose replica it is, the role in the same message tells.
        node.flags.set(Flags::MASTER);
        node.extensions = header.message_flags & EXTENSIONS != 0;
        let line = format!("Handshake with node {} completed.", header.sender);
        self.log(LogLevel::Debug, line);
        self.changed(false);
        true
    }

    /// Another node has the address of the one that this link was opened to.
    fn somebody_else_answers(&mut self, ix: Ix) {
        let node = self.node_mut(ix);
        let line = format!("PONG contains mismatching sender ID. Node {} has moved", node.id);
        node.flags.set(Flags::NOADDR);
        node.ip = IpText::NONE;
        (node.port, node.bus_port, node.other_port) = (0, 0, 0);
        self.log(LogLevel::Debug, line);
        self.close_link(ix);
        self.changed(false);
    }

    fn answered(&mut self, ix: Ix) {
        let now = self.now.mono;
        let node = self.node_mut(ix);
        node.pong_received = Some(now);
        node.ping_sent = None;
        if node.flags.has(Flags::PFAIL) {
            node.flags.clear(Flags::PFAIL);
            self.changed(false);
        } else if node.failed() {
            self.perhaps_not_failed(ix);
        }
    }

    fn update_address(&mut self, conn: ConnId, sender: Ix, header: &Header) {
        let Some(peer) = self.conns.get(&conn).filter(|c| c.to.is_none()).and_then(|c| c.peer)
        else {
            return;
        };
        let announced: Option<IpAddr> = header.ip.as_str().parse().ok();
        let ip = IpText::new(&announced.unwrap_or(peer).to_string());
        self.move_address(sender, ip, header);
    }

    fn move_address(&mut self, ix: Ix, ip: IpText, header: &Header) {
        let node = self.node_mut(ix);
        let ports = (header.port, header.bus_port, header.other_port);
        if node.ip == ip && (node.port, node.bus_port, node.other_port) == ports {
            return;
        }
        node.ip = ip;
        (node.port, node.bus_port, node.other_port) = ports;
        node.flags.clear(Flags::NOADDR);
        let line = format!("Address updated for node {}, now {}:{}", node.id, ip.as_str(), ports.0);
        self.log(LogLevel::Warning, line);
        self.close_link(ix);
        if self.me().master == Some(ix) {
            self.follow_master();
        }
        self.changed(false);
    }

    /// Master or replica, and whose.
    fn take_role(&mut self, sender: Ix, header: &Header) {
        let node = self.node_mut(sender);
        let (had, has) = (node.flags.has(Flags::NOFAILOVER), header.flags.has(Flags::NOFAILOVER));
        if had != has {
            node.flags.0 ^= Flags::NOFAILOVER.0;
        }
        let Some(master) = header.master else {
            if !self.node(sender).is_master() {
                self.set_node_master(sender);
            }
            return;
        };
        if self.node(sender).is_master() {
            // A demotion: what it had is nobody's until the new owner tells.
            let slots = self.slots_of(sender);
            slots.iter().for_each(|slot| self.set_owner(slot, None));
            let node = self.node_mut(sender);
            node.flags.clear(Flags::MASTER.with(Flags::MIGRATE_TO));
            node.flags.set(Flags::REPLICA);
            self.changed(false);
        }
        let master = self.find(&master).filter(|ix| *ix != sender);
        if self.node(sender).master != master {
            self.leave_master(sender);
            if let Some(master) = master {
                self.join_master(sender, master);
            }
            self.changed(false);
        }
        self.follow_masters_master();
    }

    /// A replica whose master has become a replica itself goes to that one's master.
    pub(crate) fn follow_masters_master(&mut self) {
        let Some(master) = self.me().master.filter(|_| self.me().is_replica()) else {
            return;
        };
        let above = self.nodes.get(&master).filter(|node| node.is_replica()).and_then(|n| n.master);
        if let Some(above) = above.filter(|above| *above != self.me && *above != master)
            && self.node(above).is_master()
        {
            let line = format!(
                "I'm a sub-replica! Reconfiguring myself from {} to {}",
                self.node(master).id,
                self.node(above).id
            );
            self.log(LogLevel::Notice, line);
            self.become_replica(above);
        }
    }

    fn take_gossip(&mut self, sender: Ix, gossip: &[Gossip]) {
        for entry in gossip {
            match self.find(&entry.id) {
                Some(ix) if ix == self.me => {}
                Some(ix) => self.gossip_of_known(sender, ix, entry),
                None => self.gossip_of_unknown(entry),
            }
        }
    }

    fn gossip_of_known(&mut self, sender: Ix, ix: Ix, entry: &Gossip) {
        let doubtful = entry.flags.has(Flags::FAIL.with(Flags::PFAIL));
        if self.node(sender).is_master() && sender != ix {
            if doubtful {
                self.report(ix, sender);
            } else {
                self.unreport(ix, sender);
            }
        }
        let (now, unix) = (self.now.mono, self.now.unix.0);
        let node = self.node_mut(ix);
        if !doubtful && node.ping_sent.is_none() && node.reports.is_empty() {
            let ago = unix.saturating_sub(i64::from(entry.pong_received).saturating_mul(1000));
            // From the future, or from before the last news: clocks differ.
            if ago >= -500 {
                let at = now - u64::try_from(ago).unwrap_or(0);
                node.pong_received = node.pong_received.max(Some(at));
            }
        }
        let moved = (node.ip, node.port, node.bus_port) != (entry.ip, entry.port, entry.bus_port);
        if node.doubtful()
            && !doubtful
            && !entry.flags.has(Flags::NOADDR)
            && moved
            && entry.ip.as_str().parse::<IpAddr>().is_ok()
        {
            (node.ip, node.port, node.bus_port) = (entry.ip, entry.port, entry.bus_port);
            node.other_port = entry.other_port;
            node.flags.clear(Flags::NOADDR);
            self.close_link(ix);
            self.changed(false);
        }
    }

    /// A node that only others know yet. It is taken in under its name and address, not by a
    /// handshake: its address may be somebody else's by now.
    fn gossip_of_unknown(&mut self, entry: &Gossip) {
        let odd = Flags::NOADDR.with(Flags::HANDSHAKE);
        if entry.flags.has(odd)
            || self.blacklist.contains_key(&entry.id)
            || self.nodes.len() >= NODES_MAX
            || entry.ip.as_str().parse::<IpAddr>().is_err()
        {
            return;
        }
        let role = if entry.flags.has(Flags::REPLICA) { Flags::REPLICA } else { Flags::MASTER };
        let mut node = Node::new(entry.id, role, self.now.mono);
        (node.ip, node.port, node.bus_port) = (entry.ip, entry.port, entry.bus_port);
        node.other_port = entry.other_port;
        self.add_node(node);
        self.changed(false);
    }

    fn take_extensions(&mut self, sender: Ix, extensions: &[Extension]) {
        let (mut hostname, mut nodename) = (String::new(), String::new());
        let mut shard = None;
        for extension in extensions {
            match extension {
                Extension::Hostname(name) => hostname.clone_from(name),
                Extension::Nodename(name) => nodename.clone_from(name),
                Extension::Shard(id) => shard = Some(*id),
                Extension::Forgotten(id, ttl) => self.told_to_forget(id, *ttl),
                Extension::Unknown(..) => {}
            }
        }
        let Some(node) = self.nodes.get_mut(&sender) else {
            return;
        };
        let before = (node.hostname.clone(), node.nodename.clone(), node.shard);
        node.hostname = hostname;
        node.nodename = nodename;
        node.shard = shard.or(node.shard);
        if before != (node.hostname.clone(), node.nodename.clone(), node.shard) {
            self.changed(false);
        }
        self.share_shard(sender);
    }

    /// Replicas belong to the shard of their master, also where nobody says so: 7.0 does not.
    pub(crate) fn share_shard(&mut self, ix: Ix) {
        let Some(node) = self.nodes.get(&ix) else {
            return;
        };
        let of_master =
            node.master.and_then(|master| self.nodes.get(&master)).and_then(|m| m.shard);
        if let Some(shard) = of_master
            && node.shard != Some(shard)
        {
            self.node_mut(ix).shard = Some(shard);
            self.changed(false);
        }
    }

    fn told_to_forget(&mut self, id: &NodeId, ttl: u64) {
        let Some(ix) = self.find(id) else {
            return;
        };
        if ix == self.me || self.me().master == Some(ix) || ttl == 0 {
            return;
        }
        let until = self.now.mono + ttl.saturating_mul(1000).min(FORGOTTEN_MS_MAX);
        self.blacklist.insert(*id, until);
        self.remove_node(ix);
    }
}
