//! The moment in which another node becomes the master of an entry, by our own failover or by the
//! word of a peer with a newer configuration.
//!
//! Source: redis 7.0 `sentinel.c:sentinelResetMasterAndChangeAddress`.

use stdx::ViewAddrs;

use crate::addr::Addr;
use crate::api::LogLevel;
use crate::core::Core;
use crate::link::Owner;
use crate::model::{Failover, Master, Node, ReplicaKey, Role};
use crate::views::Seen;
use crate::{failover, planned};

/// The end of our own failover: the promoted replica takes the entry's place.
pub(crate) fn finish(c: &mut Core, m: &mut Master) {
    let Failover::UpdateConfig { promoted, .. } = &m.failover else { return };
    let to = m.replicas[promoted].addr.clone();
    let planned = m.failover.term().is_some_and(|term| term.cause.is_planned());
    switch_event(c, m, &to);
    switch_to(c, m, to, None);
    if planned {
        planned::dismiss(c, m);
    }
}

/// A peer names another master under a newer epoch: that is the master now.
pub(crate) fn adopt_configuration(c: &mut Core, m: &mut Master, from: &str, to: Addr) {
    if to.is_name() && to.ip.is_none() && !c.globals.resolve_hostnames {
        return;
    }
    if let Some(peer) = m.peers.get(from) {
        c.peer_event(LogLevel::Warning, "+config-update-from", m, peer, "");
    }
    switch_event(c, m, &to);
    call_reconfig_script(c, m, "observer", &m.node.addr.clone(), &to);
    switch_to(c, m, to, Some(from.to_string()));
}

fn switch_event(c: &mut Core, m: &Master, to: &Addr) {
    let unknown = ViewAddrs::default();
    let views = m.node_at(&to.host, to.port).map_or(&unknown, |node| &node.views);
    let text = |seen: Seen<'_>| {
        let (old, old_port) = c.told(&m.node.addr, &m.node.views, seen);
        let (new, new_port) = c.told(to, views, seen);
        format!("{} {old} {old_port} {new} {new_port}", seen.name(m))
    };
    let payload = text(Seen::default());
    let views = c.in_views(m, &payload, &text);
    let script = m.notification_script.as_deref();
    c.event_in_views(LogLevel::Warning, "+switch-master", &payload, views, script);
}

/// Makes the node at `to` the master of this entry and the old one a replica of it. Links and what
/// is known of the nodes stay; clocks start anew, so that nobody is judged by the past.
pub(crate) fn switch_to(c: &mut Core, m: &mut Master, to: Addr, told_by: Option<String>) {
    assert!(!m.node.addr.same(&to), "a switch changes the address");
    let now = c.now();
    let old_addr = m.node.addr.clone();
    let new_node = match m.replica_at(&to.host, to.port).and_then(|key| m.replicas.remove(&key)) {
        Some(node) => {
            let Core { links, io, .. } = c;
            let link = links.get_mut(&node.link).expect("an instance's link exists");
            link.owner = Owner::Master(m.id);
            link.begin_anew(io);
            fresh_node(c, node, Role::Master)
        }
        None => {
            let link = c.add_node_link(m, Owner::Master(m.id), to.clone());
            Node::new(to, link, Role::Master, now)
        }
    };
    let old_node = std::mem::replace(&mut m.node, new_node);
    let others = std::mem::take(&mut m.replicas);
    failover::become_idle(m);
    m.o_down = None;
    m.previous = Some((old_addr, told_by));
    for peer in m.peers.values_mut() {
        peer.master_down = false;
        peer.last_down_reply = None;
        peer.asked_at = None;
        peer.named = None;
    }
    for (key, node) in others {
        let node = fresh_node(c, node, Role::Replica);
        readd_replica(c, m, key, node);
    }
    let key = (old_node.addr.announced(c.hostnames()), old_node.addr.port);
    let mut old_node = fresh_node(c, old_node, Role::Replica);
    old_node.may_be_old_master = true;
    readd_replica(c, m, key, old_node);
    c.persist();
}

fn readd_replica(c: &mut Core, m: &mut Master, key: ReplicaKey, node: Node) {
    c.link_mut(node.link).owner = Owner::Replica(m.id, key.clone());
    if m.replicas.contains_key(&key) {
        // Two entries under one name: the first one stays.
        c.release_link(node.link);
        return;
    }
    m.replicas.insert(key.clone(), node);
    c.replica_event(LogLevel::Notice, "+slave", m, &m.replicas[&key], "");
}

/// The node with its history forgotten. Its link stays, and what it owes is owed from now.
fn fresh_node(c: &mut Core, node: Node, role: Role) -> Node {
    let now = c.now();
    let link = c.link_mut(node.link);
    link.proof = None;
    if let Some(clock) = &mut link.down_clock {
        *clock = now;
    }
    let kept_role = node.role == role;
    Node {
        runid: node.runid,
        info_text: node.info_text,
        repl_offset: node.repl_offset,
        priority: node.priority,
        announced: node.announced,
        master_host: node.master_host,
        master_port: node.master_port,
        master_link_up: node.master_link_up,
        may_be_old_master: node.may_be_old_master && role == Role::Replica,
        role_at: if kept_role { node.role_at } else { now },
        told_at: node.told_at,
        views: node.views,
        ..Node::new(node.addr, node.link, role, now)
    }
}

pub(crate) fn call_reconfig_script(c: &mut Core, m: &Master, part: &str, from: &Addr, to: &Addr) {
    let Some(path) = &m.client_reconfig_script else { return };
    let names = c.hostnames();
    let argv = vec![
        path.clone(),
        m.name.clone(),
        part.to_string(),
        "start".to_string(),
        from.announced(names),
        from.port.to_string(),
        to.announced(names),
        to.port.to_string(),
    ];
    let now = c.now();
    c.scripts.schedule(now, argv);
}
