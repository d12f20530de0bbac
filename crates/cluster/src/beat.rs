//! Heartbeats: whom to ping, what to tell, and the periodic work around it.

use crate::api::ConnId;
use crate::bus::{
    Beat, Body, EXTENSIONS, Extension, FORCE_ACK, Gossip, Header, IpText, PAUSED, encode,
};
use crate::flags::Flags;
use crate::machine::Cluster;
use crate::node::{Ix, Node};
use stdx::MonoMs;

/// Every so many rounds of the periodic work a node drawn by lot is pinged.
const LOT_ROUNDS: u64 = 10;
/// How many lots are drawn; the one that was not heard of for longest is taken.
const LOTS: usize = 5;

impl Cluster {
    /// The periodic work, ten times a second. Source: redis 7.0 `cluster.c:clusterCron`.
    pub(crate) fn cron(&mut self) {
        self.crons += 1;
        let now = self.now.mono;
        if self.retry_save.is_some_and(|at| now >= at) {
            self.retry_save = None;
            self.changed(true);
        }
        self.blacklist.retain(|_, until| *until > now);
        self.tend_links();
        if self.crons.is_multiple_of(LOT_ROUNDS) {
            self.ping_by_lot();
        }
        self.watch_nodes();
        self.handover_timeout();
        if self.me().is_replica() {
            self.follow_masters_master();
            self.consider_migration();
        }
        if self.down {
            self.judge = true;
        }
    }

    fn ping_by_lot(&mut self) {
        let mut oldest: Option<(Option<MonoMs>, Ix)> = None;
        for _ in 0..LOTS {
            let at = self.prng.below(self.lots.len() as u64) as usize;
            let ix = self.lots[at];
            let node = self.node(ix);
            let idle = node.link.is_some_and(|link| link.up) && node.ping_sent.is_none();
            if ix == self.me || node.handshaking() || !idle {
                continue;
            }
            if oldest.is_none_or(|(pong, _)| node.pong_received < pong) {
                oldest = Some((node.pong_received, ix));
            }
        }
        if let Some((_, ix)) = oldest {
            self.send_beat(ix, Beat::Ping);
        }
    }

    /// Renews links that say nothing, pings whom nobody has heard of lately, suspects the silent.
    fn watch_nodes(&mut self) {
        let now = self.now.mono;
        let timeout = self.options.node_timeout;
        let waiting_for_me = self.handover_replica();
        let skip = Flags::MYSELF.with(Flags::NOADDR).with(Flags::HANDSHAKE);
        let all: Vec<Ix> =
            self.nodes.iter().filter(|(_, n)| !n.flags.has(skip)).map(|(ix, _)| *ix).collect();
        for ix in all {
            let node = self.node(ix);
            let heard = node.data_received.unwrap_or(node.created);
            if let (Some(link), Some(ping)) = (node.link, node.ping_sent)
                && now.since(link.since) > timeout
                && now.since(ping) > timeout / 2
                // Who is heard on a connection of its own may still be deaf on this one.
                && (now.since(heard) > timeout / 2 || now.since(ping) > timeout)
            {
                self.close_link(ix);
            }
            let node = self.node(ix);
            let up = node.link.is_some_and(|link| link.up);
            let asked = node.ping_sent;
            let quiet = node.pong_received.is_none_or(|pong| now.since(pong) > timeout / 2);
            if up && ((asked.is_none() && quiet) || waiting_for_me == Some(ix)) {
                self.send_beat(ix, Beat::Ping);
                continue;
            }
            let Some(ping) = asked else {
                continue;
            };
            if now.since(ping).min(now.since(heard)) > timeout && !node.doubtful() {
                self.node_mut(ix).flags.set(Flags::PFAIL);
                self.view_version += 1;
                self.judge = true;
                let line = format!("*** NODE {} possibly failing", self.node(ix).id);
                self.log(crate::api::LogLevel::Debug, line);
                self.fail_if_agreed(ix);
            }
        }
    }

    /// The header of a message that leaves now.
    pub(crate) fn header(&self) -> Header {
        let face = &self.face;
        let me = self.me();
        let (config_epoch, slots, master) = match face.master {
            None => (face.config_epoch, face.slots.clone(), None),
            Some((id, epoch)) => (epoch, face.slots.clone(), Some(id)),
        };
        let mut message_flags = EXTENSIONS;
        if master.is_none() && self.handover_replica().is_some() {
            message_flags |= PAUSED;
        }
        Header {
            port: me.port,
            other_port: me.other_port,
            bus_port: me.bus_port,
            current_epoch: face.current_epoch,
            config_epoch,
            offset: self.facts.repl_offset,
            sender: face.id.unwrap_or(me.id),
            slots,
            master,
            ip: self.options.announce_ip.map_or(IpText::NONE, |ip| IpText::new(&ip.to_string())),
            flags: face.flags,
            down: self.down,
            message_flags,
        }
    }

    /// PING, PONG or MEET over the link to a node.
    pub(crate) fn send_beat(&mut self, to: Ix, beat: Beat) {
        let Some(link) = self.node(to).link.filter(|link| link.up) else {
            return;
        };
        if beat != Beat::Pong {
            let now = self.now.mono;
            self.node_mut(to).ping_sent = Some(now);
        }
        let extensions = self.node(to).extensions;
        self.send_beat_on(link.conn, beat, extensions);
    }

    /// The same over a given connection.
    pub(crate) fn send_beat_on(&mut self, conn: ConnId, beat: Beat, understands: bool) {
        let header = self.header();
        let gossip = self.choose_gossip();
        let extensions = if understands { self.extensions() } else { self.hostname_only() };
        let bytes = encode(&header, &Body::Heartbeat { beat, gossip, extensions });
        self.send_bytes(conn, bytes);
    }

    /// Redis 7.0 understands host names, and nothing else, without saying so.
    fn hostname_only(&self) -> Vec<Extension> {
        let name = &self.me().hostname;
        if name.is_empty() { Vec::new() } else { vec![Extension::Hostname(name.clone())] }
    }

    fn extensions(&self) -> Vec<Extension> {
        let me = self.me();
        let mut all = self.hostname_only();
        if !me.nodename.is_empty() {
            all.push(Extension::Nodename(me.nodename.clone()));
        }
        for (id, until) in &self.blacklist {
            let ttl = until.since(self.now.mono) / 1000;
            if ttl > 0 {
                all.push(Extension::Forgotten(*id, ttl));
            }
        }
        all.extend(me.shard.map(Extension::Shard));
        all
    }

    /// A tenth of the nodes, at least three, drawn by lot; and all that are suspected.
    fn choose_gossip(&mut self) -> Vec<Gossip> {
        self.gossip_serial += 1;
        let serial = self.gossip_serial;
        let count = self.nodes.len();
        let wanted = (count / 10).max(3).min(count.saturating_sub(2));
        let mut gossip = Vec::with_capacity(wanted);
        let hidden = Flags::HANDSHAKE.with(Flags::NOADDR);
        for _ in 0..wanted * 3 {
            if gossip.len() >= wanted {
                break;
            }
            let at = self.prng.below(self.lots.len() as u64) as usize;
            let ix = self.lots[at];
            let me = self.me;
            let node = self.node_mut(ix);
            let unknown = node.link.is_none() && node.slots == 0;
            if ix == me
                || node.gossiped == serial
                || node.flags.has(hidden.with(Flags::PFAIL))
                || unknown
            {
                continue;
            }
            node.gossiped = serial;
            let entry = self.gossip_of(self.node(ix));
            gossip.push(entry);
        }
        for node in self.nodes.values() {
            if node.flags.has(Flags::PFAIL) && !node.flags.has(hidden) && gossip.len() < 60_000 {
                gossip.push(self.gossip_of(node));
            }
        }
        gossip
    }

    fn gossip_of(&self, node: &Node) -> Gossip {
        Gossip {
            id: node.id,
            ping_sent: self.wire_secs(node.ping_sent),
            pong_received: self.wire_secs(node.pong_received),
            ip: node.ip,
            port: node.port,
            bus_port: node.bus_port,
            flags: node.flags,
            other_port: node.other_port,
        }
    }

    /// A moment as milliseconds since the Unix epoch; 0 for never.
    pub(crate) fn unix_ms(&self, at: Option<MonoMs>) -> u64 {
        let Some(at) = at else {
            return 0;
        };
        let ago = i64::try_from(self.now.mono.since(at)).unwrap_or(i64::MAX);
        u64::try_from(self.now.unix.0.saturating_sub(ago)).unwrap_or(0)
    }

    fn wire_secs(&self, at: Option<MonoMs>) -> u32 {
        u32::try_from(self.unix_ms(at) / 1000).unwrap_or(u32::MAX)
    }

    /// PONG to everybody: news that should not wait.
    pub(crate) fn pong_to_all(&mut self) {
        let skip = Flags::MYSELF.with(Flags::HANDSHAKE);
        let all: Vec<Ix> =
            self.nodes.iter().filter(|(_, n)| !n.flags.has(skip)).map(|(ix, _)| *ix).collect();
        all.into_iter().for_each(|ix| self.send_beat(ix, Beat::Pong));
    }

    /// PONG to the replicas of this node's master.
    pub(crate) fn pong_to_siblings(&mut self) {
        let Some(master) = self.me().master else {
            return;
        };
        let siblings: Vec<Ix> =
            self.replicas_of(master).map(|(ix, _)| ix).filter(|ix| *ix != self.me).collect();
        siblings.into_iter().for_each(|ix| self.send_beat(ix, Beat::Pong));
    }

    /// A message without gossip to everybody.
    pub(crate) fn broadcast(&mut self, body: &Body) {
        let bytes = encode(&self.header(), body);
        for conn in self.links() {
            self.send_bytes(conn, bytes.clone());
        }
    }

    /// The links that stand, to all nodes that have a name.
    pub(crate) fn links(&self) -> Vec<ConnId> {
        self.nodes
            .values()
            .filter(|node| !node.handshaking())
            .filter_map(|node| node.link.filter(|link| link.up))
            .map(|link| link.conn)
            .collect()
    }

    /// A message without gossip to one node.
    pub(crate) fn send_to(&mut self, to: Ix, body: &Body) {
        if let Some(link) = self.node(to).link.filter(|link| link.up) {
            let bytes = encode(&self.header(), body);
            self.send_bytes(link.conn, bytes);
        }
    }

    /// PUBLISH goes to every node, SPUBLISH to the other nodes of this shard.
    pub fn publish(&mut self, now: crate::api::Now, sharded: bool, channel: &[u8], message: &[u8]) {
        self.begin(now);
        let body = Body::Publish { sharded, channel: channel.to_vec(), message: message.to_vec() };
        if sharded {
            let master = self.me().master.unwrap_or(self.me);
            let shard: Vec<Ix> = self
                .nodes
                .iter()
                .filter(|(ix, node)| **ix == master || node.master == Some(master))
                .map(|(ix, _)| *ix)
                .collect();
            shard.into_iter().for_each(|ix| self.send_to(ix, &body));
        } else {
            self.broadcast(&body);
        }
        self.finish();
    }

    /// The header of a request for votes, in an epoch that the face does not show yet.
    pub(crate) fn auth_request(&self, epoch: u64, forced: bool) -> Vec<u8> {
        let mut header = self.header();
        header.current_epoch = epoch;
        if forced {
            header.message_flags |= FORCE_ACK;
        }
        encode(&header, &Body::AuthRequest)
    }
}
