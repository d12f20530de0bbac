//! Which replica becomes the master.
//!
//! Asked are the live offsets (ROLE and INFO, sent when the election is won); dropped are replicas
//! that are down, silent, stale, of priority 0, or too long without their master; of the rest wins
//! the lowest priority number, then the highest offset, then the smallest run id. A replica that is
//! a master already, promoted by a leader that died, goes before all others; an old master that
//! came back and was not yet told to follow, after all others.
//! Source: redis 7.0 `sentinel.c:sentinelSelectSlave`.

use std::cmp::Ordering;

use crate::core::Core;
use crate::link::Pending;
use crate::model::{Master, Node, ReplicaKey, Role};

/// Asks all replicas that can be reached for their present state.
pub(crate) fn ask_live(c: &mut Core, m: &mut Master) {
    for node in m.replicas.values_mut() {
        node.live = None;
        node.live_info = false;
        node.live_asked =
            c.send_all(node.link, &[(Pending::Role, &["ROLE"]), (Pending::Info, &["INFO"])]);
        if node.live_asked {
            node.info_sent = c.now();
        }
    }
}

/// True when every replica that was asked has answered, or will not any more.
pub(crate) fn all_answered(c: &Core, m: &Master) -> bool {
    m.replicas.values().all(|node| {
        !node.live_asked
            || (node.live.is_some() && node.live_info)
            || !c.links[&node.link].cmd.is_up()
    })
}

/// The replica to promote, if any is fit.
pub(crate) fn choose(c: &Core, m: &Master) -> Option<ReplicaKey> {
    choose_among(c, m, |_| true)
}

/// The same of those for which `may` holds.
pub(crate) fn choose_among(
    c: &Core,
    m: &Master,
    may: impl Fn(&Node) -> bool,
) -> Option<ReplicaKey> {
    m.replicas
        .iter()
        .filter(|(_, node)| is_fit(c, m, node) && may(node))
        .min_by(|(_, a), (_, b)| rank(a, b))
        .map(|(key, _)| key.clone())
}

/// A replica that has become a master: the choice of a leader that did not come to its end.
fn is_promoted(node: &Node) -> bool {
    node.live.is_some_and(|live| live.role == Role::Master) && !node.may_be_old_master
}

/// An old master that has come back and still calls itself one: its history has parted from the
/// others', so its offset says nothing beside theirs.
fn is_old_master(node: &Node) -> bool {
    node.live.is_some_and(|live| live.role == Role::Master) && node.may_be_old_master
}

fn is_fit(c: &Core, m: &Master, node: &Node) -> bool {
    let now = c.now();
    let link = &c.links[&node.link];
    if node.s_down.is_some() || !link.cmd.is_up() {
        return false;
    }
    if now.since(link.last_ok) > c.periods.ping * 5 {
        return false;
    }
    // A predecessor's choice is finished, whatever its priority.
    if is_promoted(node) {
        return true;
    }
    if node.priority == 0 {
        return false;
    }
    let info_age_max =
        if m.node.s_down.is_some() { c.periods.ping * 5 } else { c.periods.info * 3 };
    if node.info_at.is_none_or(|at| now.since(at) > info_age_max) {
        return false;
    }
    // Nobody can have a link to a master that is itself a replica of somebody without one.
    if m.node.role == Role::Replica {
        return true;
    }
    let master_down_for = m.node.s_down.map_or(0, |since| now.since(since));
    node.master_link_down_ms <= master_down_for + m.down_after * 10
}

/// The offset to compare by: the higher of what ROLE and INFO said. (A redis-server whose master
/// is gone answers -1 to ROLE.)
pub(crate) fn offset_of(node: &Node) -> i64 {
    node.live.map_or(node.repl_offset, |live| live.offset.max(node.repl_offset))
}

/// `Less` means better.
fn rank(a: &Node, b: &Node) -> Ordering {
    is_promoted(b)
        .cmp(&is_promoted(a))
        .then(is_old_master(a).cmp(&is_old_master(b)))
        .then(a.priority.cmp(&b.priority))
        .then(offset_of(b).cmp(&offset_of(a)))
        .then_with(|| match (a.runid.is_empty(), b.runid.is_empty()) {
            (false, false) => a.runid.to_ascii_lowercase().cmp(&b.runid.to_ascii_lowercase()),
            // Nodes that have not told their run id come last.
            (a_unknown, b_unknown) => a_unknown.cmp(&b_unknown),
        })
}
