//! What happens outside, taken in: connections, replies, messages, names, the disk.
//!
//! Nothing is decided here; the sweep that follows every call looks at what has changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use resp::Value;
use stdx::MonoMs;

use crate::addr::Addr;
use crate::api::{ConnId, LinkPurpose, LogLevel, PersistToken};
use crate::core::Core;
use crate::hello::{HELLO_CHANNEL, Hello, REQUEST_CHANNEL};
use crate::info::Which;
use crate::link::{LinkId, Owner, Pending};
use crate::machine::{Sentinel, Touched};
use crate::model::{Live, Master, MasterId, Role};
use crate::{hello, info, planned, reconf, vote};

/// A name that does not resolve is mentioned again after so long.
const SAY_AGAIN_MS: u64 = 60_000;

impl Sentinel {
    /// The masters that a link serves.
    fn touched_by(&self, link: LinkId) -> Touched {
        let Some(known) = self.c.links.get(&link) else { return Touched::Nothing };
        let names = self.masters.values().filter(|m| match &known.owner {
            Owner::Master(id) | Owner::Replica(id, _) => m.id == *id,
            Owner::Peer => m.peers.values().any(|p| p.link == link),
        });
        Touched::These(names.map(|m| m.name.clone()).collect())
    }

    pub(crate) fn connected(&mut self, conn: ConnId, local: IpAddr) -> Touched {
        let Some(&(id, purpose)) = self.c.io.conns.get(&conn) else { return Touched::Nothing };
        let link = self.c.links.get_mut(&id).expect("connections belong to links");
        if link.cmd.is_up() && purpose == LinkPurpose::Command {
            return Touched::Nothing;
        }
        link.on_connected(&mut self.c.io, purpose, conn, local);
        self.touched_by(id)
    }

    pub(crate) fn ended(&mut self, conn: ConnId, how: Option<crate::api::CloseReason>) -> Touched {
        let Some((id, purpose)) = self.c.io.conns.remove(&conn) else { return Touched::Nothing };
        let now = self.c.now();
        let link = self.c.link_mut(id);
        let was_up = match purpose {
            LinkPurpose::Command => link.cmd.is_up(),
            LinkPurpose::PubSub => link.pubsub.is_up(),
        };
        match how {
            Some(how) if was_up => link.on_closed(now, purpose, how),
            _ => link.on_connect_failed(now, purpose),
        }
        let level = LogLevel::Debug;
        let name = if purpose == LinkPurpose::Command {
            "-cmd-link-reconnection"
        } else {
            "-pubsub-link-reconnection"
        };
        if was_up {
            self.log_link_loss(id, level, name);
        }
        self.touched_by(id)
    }

    /// Redis tells the loss of a link at debug level only.
    fn log_link_loss(&mut self, id: LinkId, level: LogLevel, name: &str) {
        let owner = self.c.link(id).owner.clone();
        let (Owner::Master(master) | Owner::Replica(master, _)) = &owner else { return };
        let Some(m) = self.masters.values().find(|m| m.id == *master) else { return };
        let which = match owner {
            Owner::Replica(_, key) => Which::Replica(key),
            _ => Which::Master,
        };
        info::node_event(&mut self.c, m, &which, level, name, " #Connection lost");
    }

    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8]) -> Touched {
        let Some(&(id, purpose)) = self.c.io.conns.get(&conn) else { return Touched::Nothing };
        let now = self.c.now();
        let link = self.c.link_mut(id);
        let up = match purpose {
            LinkPurpose::Command => link.cmd.is_up(),
            LinkPurpose::PubSub => link.pubsub.is_up(),
        };
        if !up {
            return Touched::Nothing;
        }
        let mut touched = self.touched_by(id);
        let Some(values) = self.c.link_mut(id).on_received(now, purpose, bytes) else {
            let Core { links, io, .. } = &mut self.c;
            if let Some(link) = links.get_mut(&id) {
                link.drop_broken(io, purpose);
            }
            return touched;
        };
        for value in values {
            // What a reply leads to may close the link that it came on.
            if self.c.io.conns.get(&conn).is_none_or(|(link, _)| *link != id) {
                break;
            }
            match purpose {
                LinkPurpose::Command => self.replied(id, &value),
                LinkPurpose::PubSub => touched.join(self.heard(id, &value)),
            }
        }
        touched
    }

    /// One reply on a command link.
    fn replied(&mut self, id: LinkId, value: &Value) {
        let Some(pending) = self.c.link_mut(id).pending.pop_front() else {
            // A reply to nothing: whoever speaks there does not speak our protocol.
            let Core { links, io, .. } = &mut self.c;
            if let Some(link) = links.get_mut(&id) {
                link.drop_broken(io, LinkPurpose::Command);
            }
            return;
        };
        match pending {
            Pending::Ignored => {}
            Pending::Ping { sent } => self.ponged(id, sent, value),
            Pending::Info => {
                if let Value::Bulk(text) = value {
                    self.with_node(id, |c, m, which| info::refresh(c, m, which, text));
                }
            }
            Pending::PeerInfo => {
                if let Value::Bulk(text) = value {
                    self.learn_peer_views(id, &String::from_utf8_lossy(text));
                }
            }
            Pending::Role => self.with_node(id, |_, m, which| {
                if let Some(node) = which.node_mut(m) {
                    node.live =
                        Some(parse_role(value).unwrap_or(Live { role: node.role, offset: -1 }));
                }
            }),
            Pending::Failover { epoch } => self.with_node(id, |c, m, _| {
                planned::answered(c, m, epoch, value);
            }),
            Pending::Ask { master, peer, addr, vote_epoch } => self.with_master(master, |c, m| {
                vote::answered(c, m, &peer, &addr, vote_epoch, value);
            }),
            Pending::Confirm { master, peer } => self.with_master(master, |c, m| {
                reconf::answered(c, m, &peer, value);
            }),
        }
    }

    fn ponged(&mut self, id: LinkId, sent: MonoMs, value: &Value) {
        let now = self.c.now();
        let alive = matches!(value, Value::Simple(text) if text == b"PONG");
        let good = alive || value.is_error("LOADING") || value.is_error("MASTERDOWN");
        let link = self.c.link_mut(id);
        link.pong(now, sent, good);
        if link.owner == Owner::Peer {
            self.c.note_contact();
            return;
        }
        let busy = value.is_error("BUSY");
        self.with_node(id, |c, m, which| {
            let Some(node) = which.node_mut(m) else { return };
            if alive {
                node.reboot_since = None;
            }
            if busy && node.s_down.is_some() && !node.script_kill_sent {
                node.script_kill_sent = c.send(id, Pending::Ignored, &["SCRIPT", "KILL"]);
            }
        });
    }

    /// One message on a subscription.
    fn heard(&mut self, id: LinkId, value: &Value) -> Touched {
        let Some([kind, channel, text]) = value.as_array() else { return Touched::Nothing };
        if kind.as_bytes() != Some(b"message") {
            return Touched::Nothing;
        }
        let asked_of = channel.as_str().and_then(|c| c.strip_prefix(REQUEST_CHANNEL));
        if asked_of == Some(&self.c.myid) {
            let runid = text.as_str().unwrap_or_default();
            self.with_node(id, |c, m, which| planned::requested(c, m, which, runid));
            return Touched::Nothing;
        }
        if channel.as_str() != Some(HELLO_CHANNEL) {
            return Touched::Nothing;
        }
        match text.as_str().and_then(Hello::parse) {
            Some(hello) => self.take_hello(&hello),
            None => Touched::Nothing,
        }
    }

    /// A hello, from a subscription or by PUBLISH.
    pub(crate) fn take_hello(&mut self, hello: &Hello) -> Touched {
        let Some(m) = self.masters.get_mut(&hello.master_name) else { return Touched::Nothing };
        hello::receive(&mut self.c, m, hello);
        m.deadline = self.c.now();
        Touched::These(BTreeSet::from([hello.master_name.clone()]))
    }

    fn with_master(&mut self, id: MasterId, act: impl FnOnce(&mut Core, &mut Master)) {
        if let Some(m) = self.masters.values_mut().find(|m| m.id == id) {
            act(&mut self.c, m);
        }
    }

    fn with_node(&mut self, link: LinkId, act: impl FnOnce(&mut Core, &mut Master, &Which)) {
        let (id, which) = match &self.c.link(link).owner {
            Owner::Master(id) => (*id, Which::Master),
            Owner::Replica(id, key) => (*id, Which::Replica(key.clone())),
            Owner::Peer => return,
        };
        self.with_master(id, |c, m| act(c, m, &which));
    }

    pub(crate) fn resolved(&mut self, host: &str, addr: Option<IpAddr>) -> Touched {
        let Some(ip) = addr else {
            self.not_resolved(host);
            return Touched::Nothing;
        };
        if self.c.unresolved.remove(host).is_some() {
            self.c.log(LogLevel::Warning, format!("The hostname '{host}' resolves to {ip} now"));
        }
        let same = |addr: &Addr| addr.is_name() && addr.host.eq_ignore_ascii_case(host);
        for m in self.masters.values_mut() {
            for node in std::iter::once(&mut m.node).chain(m.replicas.values_mut()) {
                if same(&node.addr) {
                    node.addr.ip = Some(ip);
                }
            }
            for peer in m.peers.values_mut().filter(|p| same(&p.addr)) {
                peer.addr.ip = Some(ip);
            }
            if same(&m.durable.1) {
                m.durable.1.ip = Some(ip);
            }
        }
        let Core { links, io, .. } = &mut self.c;
        for link in links.values_mut().filter(|link| same(&link.addr)) {
            link.set_ip(io, ip);
        }
        for m in self.masters.values_mut() {
            info::drop_doubles(&mut self.c, m);
        }
        Touched::All
    }

    /// A name has no address: the last good one stays. Said once, then once in a minute.
    fn not_resolved(&mut self, host: &str) {
        let now = self.c.now();
        if self.c.unresolved.get(host).is_some_and(|&said| now.since(said) < SAY_AGAIN_MS) {
            return;
        }
        let mut addrs = self.masters.values().flat_map(|m| {
            let nodes = std::iter::once(&m.node).chain(m.replicas.values()).map(|n| &n.addr);
            nodes.chain(m.peers.values().map(|p| &p.addr))
        });
        let last = addrs
            .find(|addr| addr.is_name() && addr.host.eq_ignore_ascii_case(host))
            .and_then(|addr| addr.ip);
        let what_now = match last {
            Some(ip) => format!("its last address {ip} stays in use"),
            None => "waiting until it resolves".to_string(),
        };
        self.c.unresolved.insert(host.to_string(), now);
        self.c.log(LogLevel::Warning, format!("Failed to resolve hostname '{host}': {what_now}"));
    }

    pub(crate) fn persisted(&mut self, token: PersistToken) -> Touched {
        for (id, config_epoch, addr) in self.c.persisted(token) {
            if let Some(m) = self.masters.values_mut().find(|m| m.id == id)
                && m.durable != (config_epoch, addr.clone())
            {
                m.durable = (config_epoch, addr);
                // What could not be said before is said at once.
                hello::force(m);
            }
        }
        self.c.log(LogLevel::Notice, "Sentinel new configuration saved on disk");
        Touched::All
    }
}

/// `[slave, host, port, state, offset]` or `[master, offset, …]`.
fn parse_role(value: &Value) -> Option<Live> {
    let parts = value.as_array()?;
    match parts.first()?.as_str()? {
        "slave" => Some(Live { role: Role::Replica, offset: parts.get(4)?.as_i64()? }),
        "master" => Some(Live { role: Role::Master, offset: parts.get(1)?.as_i64()? }),
        _ => None,
    }
}
