//! Who is down: subjectively by our own clocks, objectively by the word of a quorum.
//!
//! Source: redis 7.0 `sentinel.c:sentinelCheckSubjectivelyDown`, `sentinelCheckObjectivelyDown`.

use stdx::MonoMs;

use crate::api::LogLevel;
use crate::core::Core;
use crate::info::{Which, node_event};
use crate::link::{Channel, Link};
use crate::model::{Master, Role};
use crate::planned;
use crate::timing::CONNECT_WAIT_MS;

/// Judges the master, its replicas and the peers.
pub(crate) fn judge(c: &mut Core, m: &mut Master) {
    judge_node(c, m, &Which::Master);
    let keys: Vec<_> = m.replicas.keys().cloned().collect();
    for key in keys {
        judge_node(c, m, &Which::Replica(key));
    }
    let keys: Vec<_> = m.peers.keys().cloned().collect();
    for key in keys {
        judge_peer(c, m, &key);
    }
    judge_quorum(c, m);
    if m.forget_after > 0 {
        forget_replicas(c, m);
        forget_peers(c, m);
    }
}

/// Forgets replicas that have been down for `forget-after`, while the master is well: what it says
/// of its replicas is then the truth.
fn forget_replicas(c: &mut Core, m: &mut Master) {
    if !m.failover.is_idle() || m.node.s_down.is_some() || m.node.role != Role::Master {
        return;
    }
    let gone: Vec<_> = m
        .replicas
        .iter()
        .filter(|(_, node)| node.s_down.is_some_and(|since| c.io.due(since, m.forget_after)))
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        if let Some(node) = m.replicas.remove(&key) {
            c.replica_event(LogLevel::Notice, "-slave", m, &node, " #forget-after");
            c.release_link(node.link);
            c.persist();
        }
    }
}

/// Forgets sentinels that have been down and silent for `forget-after`, but only while a majority of
/// all known ones is there: a sentinel that is cut off must not make itself the majority by waiting.
fn forget_peers(c: &mut Core, m: &mut Master) {
    let present = 1 + m.peers.values().filter(|p| p.s_down.is_none()).count() as u64;
    if present < m.majority() || !m.failover.is_idle() {
        return;
    }
    let gone: Vec<_> = m
        .peers
        .iter()
        .filter(|(_, peer)| {
            peer.s_down.is_some_and(|since| {
                c.io.due(since, m.forget_after) && c.io.due(peer.last_hello, m.forget_after)
            })
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in gone {
        if let Some(peer) = m.peers.remove(&key) {
            c.peer_event(LogLevel::Notice, "-sentinel", m, &peer, " #forget-after");
            c.release_link(peer.link);
            m.confirmation = None;
            c.persist();
        }
    }
}

/// True when the instance behind the link has owed an answer for longer than `down_after`.
fn silent(c: &mut Core, link: crate::link::LinkId, down_after: u64) -> bool {
    let link = &c.links[&link];
    let Some(clock) = link.down_clock else { return false };
    // Where no connection ever stood, one lost packet must not be enough.
    let limit = if link.ever_up { down_after } else { down_after.max(2 * CONNECT_WAIT_MS) };
    c.io.due(clock, limit + 1)
}

fn judge_node(c: &mut Core, m: &mut Master, which: &Which) {
    let Some(node) = which.node(m) else { return };
    let mut down = silent(c, node.link, m.down_after);
    if *which == Which::Master {
        // A master that says it is a replica serves nobody.
        if node.role == Role::Replica {
            // One that follows a replica of its own that calls itself master has handed over, and
            // whoever led that is gone.
            let grace = if planned::left_behind(m) { 0 } else { 2 * c.periods.info };
            down |= c.io.due(node.role_at, m.down_after + grace);
        }
        if let Some(since) = node.reboot_since {
            down |= c.io.due(since, m.reboot_down_after);
        }
        down |= node.poor_since.is_some();
        down |= proven_dead(c, node.link, m.crash_grace);
    }
    let now = c.now();
    let Some(node) = which.node_mut(m) else { return };
    match (node.s_down, down) {
        (None, true) => {
            node.s_down = Some(now);
            node_event(c, m, which, LogLevel::Warning, "+sdown", "");
            if *which == Which::Master {
                // The others are asked at once, not when their turn comes.
                m.peers.values_mut().for_each(|p| p.asked_at = None);
            }
        }
        (Some(_), false) => {
            node.s_down = None;
            node.script_kill_sent = false;
            node.up_since = now;
            node_event(c, m, which, LogLevel::Warning, "-sdown", "");
        }
        _ => {}
    }
}

/// Proof of death: the other side closed the connection, and since then, for the whole grace, new
/// ones were refused or not answered. A connection that is accepted but silent proves nothing: the
/// process may be stopped, and silence takes `down-after`.
fn proven_dead(c: &mut Core, link: crate::link::LinkId, grace: u64) -> bool {
    let Some(proof) = c.links[&link].proof else { return false };
    if grace == 0 || !c.io.due(proof.since, grace) {
        return false;
    }
    match c.links[&link].cmd {
        Channel::Up { .. } => false,
        Channel::Connecting { .. } => true,
        Channel::Idle { .. } => proof.failed,
    }
}

fn judge_peer(c: &mut Core, m: &mut Master, key: &str) {
    let link = m.peers[key].link;
    let down = silent(c, link, m.down_after);
    let now = c.now();
    let Some(peer) = m.peers.get_mut(key) else { return };
    let event = match (peer.s_down, down) {
        (None, true) => {
            peer.s_down = Some(now);
            "+sdown"
        }
        (Some(_), false) => {
            peer.s_down = None;
            "-sdown"
        }
        _ => return,
    };
    c.peer_event(LogLevel::Warning, event, m, &m.peers[key], "");
}

/// Forgets old opinions and counts the others.
fn judge_quorum(c: &mut Core, m: &mut Master) {
    let limit = c.periods.ask * 5;
    for peer in m.peers.values_mut() {
        if let Some(at) = peer.last_down_reply
            && c.io.due(at, limit + 1)
        {
            peer.master_down = false;
            peer.last_down_reply = None;
            peer.leader = None;
        }
    }
    let heard = 1 + m.peers.values().filter(|p| p.master_down).count() as u64;
    let down = m.node.s_down.is_some() && heard >= m.quorum;
    match (m.o_down, down) {
        (None, true) => {
            m.o_down = Some(c.now());
            let extra = format!(" #quorum {heard}/{}", m.quorum);
            c.master_event(LogLevel::Warning, "+odown", m, &extra);
        }
        (Some(_), false) => {
            m.o_down = None;
            m.start_at = None;
            c.master_event(LogLevel::Warning, "-odown", m, "");
        }
        _ => {}
    }
}

/// Restarts all clocks of `m`: this process was away.
pub(crate) fn restart_clocks(c: &mut Core, m: &mut Master) {
    let now = c.now();
    let nodes = std::iter::once(&m.node).chain(m.replicas.values()).map(|n| n.link);
    let links: Vec<_> = nodes.chain(m.peers.values().map(|p| p.link)).collect();
    for id in links {
        c.link_mut(id).restart_clocks(now);
    }
    for node in std::iter::once(&mut m.node).chain(m.replicas.values_mut()) {
        if let Some(since) = &mut node.reboot_since {
            *since = now;
        }
    }
}

/// How long a peer or leader has not been heard on its link, 0 when it has answered everything.
pub(crate) fn owed_for(link: &Link, now: MonoMs) -> u64 {
    link.down_clock.map_or(0, |clock| now.since(clock))
}
