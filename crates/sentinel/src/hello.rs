//! Hello messages: what sentinels tell each other through the data nodes and directly.
//!
//! `ip,port,runid,current_epoch,master_name,master_ip,master_port,master_config_epoch`
//! Source: redis 7.0 `sentinel.c:sentinelProcessHelloMessage`, `sentinelSendHello`.

use std::net::IpAddr;

use crate::addr::{Addr, parse_port, valid_host};
use crate::api::LogLevel;
use crate::conf::valid_runid;
use crate::core::Core;
use crate::link::{Owner, Pending};
use crate::model::{Master, Named, Peer};
use crate::timing::EPOCH_MAX;
use crate::{failover, switch, vote};

/// The channel on which sentinels find each other.
pub const HELLO_CHANNEL: &str = "__sentinel__:hello";

/// A master that is about to end asks one sentinel to lead a planned switch: this and the
/// sentinel's run id name the channel, the message is the master's run id. Redis's sentinels never
/// subscribe to it.
pub const REQUEST_CHANNEL: &str = "__sentinel__:handover:";

/// One hello, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's announced address.
    pub host: String,
    /// The sender's port.
    pub port: u16,
    /// The sender's run id.
    pub runid: String,
    /// The sender's current epoch.
    pub current_epoch: u64,
    /// The master that this is about.
    pub master_name: String,
    /// The master's address as the sender knows it.
    pub master_host: String,
    /// The master's port.
    pub master_port: u16,
    /// The epoch of that configuration.
    pub master_config_epoch: u64,
}

impl Hello {
    /// Reads a message; anything that is not exactly eight sane fields is no hello.
    pub fn parse(text: &str) -> Option<Hello> {
        let mut fields = text.split(',');
        let mut next = || fields.next();
        let hello = Hello {
            host: next()?.to_string(),
            port: parse_port(next()?)?,
            runid: next()?.to_string(),
            current_epoch: epoch(next()?)?,
            master_name: next()?.to_string(),
            master_host: next()?.to_string(),
            master_port: parse_port(next()?)?,
            master_config_epoch: epoch(next()?)?,
        };
        let whole = fields.next().is_none();
        let sane = valid_host(&hello.host)
            && valid_host(&hello.master_host)
            && valid_runid(&hello.runid)
            && hello.port != 0
            && hello.master_port != 0;
        (whole && sane).then_some(hello)
    }

    /// The message.
    pub fn text(&self) -> String {
        format!(
            "{},{},{},{},{},{},{},{}",
            self.host,
            self.port,
            self.runid,
            self.current_epoch,
            self.master_name,
            self.master_host,
            self.master_port,
            self.master_config_epoch
        )
    }
}

fn epoch(text: &str) -> Option<u64> {
    let value = stdx::parse_u64(text.as_bytes())?;
    (value <= EPOCH_MAX).then_some(value)
}

/// Sends hellos about `m` on all links where one is due.
pub(crate) fn publish_due(c: &mut Core, m: &mut Master) {
    let period = c.periods.publish;
    let Master { node, replicas, peers, .. } = m;
    let nodes = std::iter::once(node).chain(replicas.values_mut());
    let mut to: Vec<_> = nodes.map(|n| (n.link, &mut n.last_publish)).collect();
    to.extend(peers.values_mut().map(|p| (p.link, &mut p.last_publish)));
    let now = c.now();
    let mut due = Vec::new();
    for (link, last) in to {
        if !c.links[&link].cmd.is_up() {
            continue;
        }
        if last.is_none_or(|at| c.io.due(at, period)) {
            *last = Some(now);
            c.io.wake_at(now + period);
            due.push(link);
        }
    }
    for link in due {
        let Some(local) = c.link(link).local_ip else { continue };
        let text = compose(c, m, local).text();
        c.send(link, Pending::Ignored, &["PUBLISH", HELLO_CHANNEL, &text]);
    }
}

/// Says at once, on every link, what is known about `m`.
pub(crate) fn force(m: &mut Master) {
    m.node.last_publish = None;
    m.replicas.values_mut().for_each(|n| n.last_publish = None);
    m.peers.values_mut().for_each(|p| p.last_publish = None);
}

/// Our own hello. It speaks only of what the disk holds: a restart must not find us below it.
fn compose(c: &Core, m: &Master, local: IpAddr) -> Hello {
    let (config_epoch, addr) = &m.durable;
    Hello {
        host: c.globals.announce_ip.clone().unwrap_or_else(|| local.to_string()),
        port: own_port(c),
        runid: c.myid.clone(),
        current_epoch: c.disk.current_epoch,
        master_name: m.name.clone(),
        master_host: addr.announced(c.hostnames()),
        master_port: addr.port,
        master_config_epoch: *config_epoch,
    }
}

/// Takes a hello about `m` in.
pub(crate) fn receive(c: &mut Core, m: &mut Master, hello: &Hello) {
    // A message from our own address is ours too, from a life before we lost our state.
    if hello.runid == c.myid || is_own_address(c, &hello.host, hello.port) {
        return;
    }
    c.note_contact();
    if c.muted_until().is_some() {
        c.epoch_heard = c.epoch_heard.max(hello.current_epoch).max(hello.master_config_epoch);
    }
    let known = m
        .peers
        .get(&hello.runid)
        .is_some_and(|p| p.addr.is(&hello.host, hello.port) && p.runid.is_some());
    if !known {
        add_peer(c, m, hello);
    }
    // A configuration is never newer than the epoch in which it was made.
    let epoch = hello.current_epoch.max(hello.master_config_epoch);
    if epoch > c.current_epoch {
        c.adopt_epoch(epoch, m);
    }
    let now = c.now();
    let same_addr = m.current_addr().is(&hello.master_host, hello.master_port);
    let named =
        Named { at: now, config_epoch: hello.master_config_epoch, same_addr, in_failover: false };
    if let Some(peer) = m.peers.get_mut(&hello.runid) {
        peer.last_hello = now;
        peer.named = Some(named);
    }
    vote::heard_from(m, &hello.runid, hello.master_config_epoch);
    if hello.master_config_epoch > m.config_epoch {
        m.config_epoch = hello.master_config_epoch;
        c.persist();
        if m.node.addr.is(&hello.master_host, hello.master_port) {
            // The same master under a newer epoch: whatever we were about to do is over.
            failover::become_idle_superseded(c, m);
        } else {
            let addr = Addr::new(&hello.master_host, hello.master_port);
            switch::adopt_configuration(c, m, &hello.runid, addr);
        }
    }
}

/// True for the address that we announce ourselves.
fn is_own_address(c: &Core, host: &str, port: u16) -> bool {
    if port != own_port(c) {
        return false;
    }
    match &c.globals.announce_ip {
        Some(own) => own.eq_ignore_ascii_case(host),
        None => host
            .parse::<IpAddr>()
            .is_ok_and(|host| c.links.values().any(|link| link.local_ip == Some(host))),
    }
}

fn own_port(c: &Core) -> u16 {
    if c.globals.announce_port != 0 { c.globals.announce_port } else { c.options.port }
}

/// Makes a sentinel known that was not, or not at this address.
fn add_peer(c: &mut Core, m: &mut Master, hello: &Hello) {
    let addr = Addr::new(&hello.host, hello.port);
    if addr.is_name() && !c.globals.resolve_hostnames {
        return;
    }
    let now = c.now();
    let old = m.peers.remove(&hello.runid);
    // Whoever else was at that address is there no longer: one process has one run id.
    let gone: Vec<String> =
        m.peers.iter().filter(|(_, p)| p.addr.same(&addr)).map(|(k, _)| k.clone()).collect();
    for key in gone {
        if let Some(peer) = m.peers.remove(&key) {
            if peer.runid.is_some() {
                c.peer_event(LogLevel::Notice, "+sentinel-invalid-addr", m, &peer, "");
            }
            c.release_link(peer.link);
        }
    }
    let link = shared_link(c, &addr, old.as_ref());
    let mut peer = Peer::new(addr, link, Some(hello.runid.clone()), now);
    match old {
        Some(old) => {
            let extra = format!(" ip {} port {} for {}", hello.host, hello.port, hello.runid);
            c.master_event(LogLevel::Notice, "+sentinel-address-switch", m, &extra);
            peer.leader = old.leader;
            peer.leader_epoch = old.leader_epoch;
            peer.views = old.views;
            c.moved_peers.push((hello.runid.clone(), peer.addr.clone()));
        }
        None => c.peer_event(LogLevel::Notice, "+sentinel", m, &peer, ""),
    }
    m.peers.insert(hello.runid.clone(), peer);
    m.confirmation = None;
    c.persist();
}

/// The link to a peer: the one that other masters use already, or a new one.
fn shared_link(c: &mut Core, addr: &Addr, old: Option<&Peer>) -> crate::link::LinkId {
    if let Some(old) = old {
        let link = c.links.get_mut(&old.link).expect("an instance's link exists");
        link.addr = addr.clone();
        link.restart(&mut c.io);
        return old.link;
    }
    let shared = c
        .links
        .values()
        .find(|link| link.owner == Owner::Peer && link.addr.same(addr))
        .map(|link| link.id);
    match shared {
        Some(id) => {
            c.link_mut(id).refcount += 1;
            id
        }
        None => c.add_link(Owner::Peer, addr.clone()),
    }
}
