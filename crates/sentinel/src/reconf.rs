//! Putting nodes right outside a failover: an old master that came back, a replica that follows
//! the wrong one.
//!
//! Redis waits 8 seconds, or the failover time-out, to be sure that it is not itself the one that
//! is behind. Here a majority of the known sentinels is asked instead, at once; their word, and no
//! word of anything newer, is enough. Without it Redis's waiting times stand, counted from the
//! moment at which this sentinel last came back.
//! Source: redis 7.0 `sentinel.c:sentinelRefreshInstanceInfo`, its last part.

use std::collections::BTreeSet;

use resp::Value;
use stdx::MonoMs;

use crate::addr::parse_port;
use crate::api::LogLevel;
use crate::core::Core;
use crate::failover::send_replicaof;
use crate::link::{Owner, Pending};
use crate::model::{Confirmation, Master, Named, Node, Reconf, ReplicaKey, Role};
use crate::timing::FAST_INFO_FOR_MS;
use crate::vote;

/// What is wrong with a replica.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// It calls itself master.
    Role,
    /// It follows another node.
    Master,
}

/// How long a round of questions stands before it is begun anew.
const ROUND_MS: u64 = 3000;
/// How long a majority waits for those who have not answered.
const ANSWER_MS: u64 = 200;
/// SLAVEOF is not repeated within this time.
const REPEAT_MS: u64 = 1000;
/// A peer that was not heard for so long does not count as present.
const PRESENT_MS: u64 = 5000;

/// Looks at all replicas of `m` and puts right what may be put right.
pub(crate) fn mend(c: &mut Core, m: &mut Master) {
    note_isolation(c, m);
    if !m.failover.is_idle() || !master_is_sane(c, m) {
        m.confirmation = None;
        return;
    }
    let wrong: Vec<(ReplicaKey, Wrong)> = m
        .replicas
        .iter()
        .filter(|(_, n)| n.s_down.is_none() && n.info_at.is_some())
        .filter_map(|(key, n)| Some((key.clone(), what_is_wrong(m, n)?)))
        .collect();
    if wrong.is_empty() {
        m.confirmation = None;
        return;
    }
    let agreed = confirmed(c, m);
    for (key, wrong) in wrong {
        let may = match wrong {
            Wrong::Role => may_convert(c, m, &key, agreed),
            Wrong::Master => may_fix(c, m, &key, agreed),
        };
        if may {
            put_right(c, m, &key, wrong);
        }
    }
}

/// The master is up, says that it is one, and has said so lately.
fn master_is_sane(c: &Core, m: &Master) -> bool {
    let fresh = m.node.info_at.is_some_and(|at| c.now().since(at) < 2 * c.periods.info);
    m.node.role == Role::Master && m.node.s_down.is_none() && m.o_down.is_none() && fresh
}

fn what_is_wrong(m: &Master, node: &Node) -> Option<Wrong> {
    match node.role {
        Role::Master => Some(Wrong::Role),
        Role::Replica => {
            let host = node.master_host.as_deref()?;
            (!m.node.addr.is(host, node.master_port)).then_some(Wrong::Master)
        }
    }
}

/// True when this sentinel waits for no leader and the replica was not told just now.
fn may_act(c: &mut Core, m: &Master, node: &Node) -> bool {
    let waiting = m.following.as_ref().is_some_and(|f| !c.io.due(f.since, m.failover_timeout));
    !waiting && node.told_at.is_none_or(|at| c.io.due(at, REPEAT_MS))
}

fn may_convert(c: &mut Core, m: &Master, key: &ReplicaKey, agreed: bool) -> bool {
    let node = &m.replicas[key];
    if !may_act(c, m, node) {
        return false;
    }
    // At once only what can be the old master: a replica that has just become a master may be
    // another leader's choice.
    if agreed && node.may_be_old_master {
        return true;
    }
    let wait = c.periods.publish * 4;
    let since = node.role_at.max(c.back_since).max(node.up_since);
    c.io.due(since, wait + 1)
}

fn may_fix(c: &mut Core, m: &Master, key: &ReplicaKey, agreed: bool) -> bool {
    let node = &m.replicas[key];
    if !may_act(c, m, node) {
        return false;
    }
    // Left over from the last switch: the leader has missed it, or is gone.
    let leftover = match &m.previous {
        Some((old, told_by)) => {
            node.master_host.as_deref().is_some_and(|h| old.is(h, node.master_port))
                && told_by.as_ref().is_none_or(|leader| vote::is_silent(c, m, leader))
        }
        None => false,
    };
    if agreed && leftover && syncing(m) < m.parallel_syncs.max(1) {
        return true;
    }
    let since = node.conf_change_at.max(c.back_since).max(node.up_since);
    c.io.due(since, m.failover_timeout + 1)
}

/// Replicas that follow the right master but are not in sync yet.
fn syncing(m: &Master) -> i64 {
    let follows =
        |n: &Node| n.master_host.as_deref().is_some_and(|h| m.node.addr.is(h, n.master_port));
    m.replicas
        .values()
        .filter(|n| {
            n.s_down.is_none() && n.role == Role::Replica && follows(n) && !n.master_link_up
        })
        .count() as i64
}

fn put_right(c: &mut Core, m: &mut Master, key: &ReplicaKey, wrong: Wrong) {
    let now = c.now();
    let to = m.node.addr.clone();
    assert!(m.failover.is_idle(), "during a failover the leader decides who follows whom");
    let Some(node) = m.replicas.get_mut(key) else { return };
    if !send_replicaof(c, node.link, Some(&to)) {
        return;
    }
    node.told_at = Some(now);
    node.info_conn = c.links[&node.link].cmd.conn();
    node.info_sent = now;
    node.fast_info_until = now + FAST_INFO_FOR_MS;
    node.reconf = Reconf::None;
    let event = match wrong {
        Wrong::Role => "+convert-to-slave",
        Wrong::Master => "+fix-slave-config",
    };
    c.replica_event(LogLevel::Notice, event, m, &m.replicas[key], "");
}

// ----- the others' word -----

/// Asks every peer what it takes for the master, and tells whether a majority of the known
/// sentinels has confirmed our view since a replica was first seen to be wrong.
fn confirmed(c: &mut Core, m: &mut Master) -> bool {
    let now = c.now();
    if m.peers.is_empty() {
        // Alone, or not yet acquainted: only after a while.
        return now.since(c.started_at) > c.periods.publish * 5;
    }
    if m.confirmation.as_ref().is_some_and(|round| now.since(round.since) >= ROUND_MS) {
        m.confirmation = None;
    }
    let round = m.confirmation.get_or_insert_with(|| Confirmation {
        since: now,
        asked: BTreeSet::new(),
        agreed: BTreeSet::new(),
        higher: false,
    });
    c.io.wake_at(round.since + ROUND_MS);
    for (key, peer) in &m.peers {
        if let Some(named) = peer.named
            && named.at >= round.since
        {
            weigh(round, key, &named, m.config_epoch);
        }
        if !round.asked.contains(key) && c.links[&peer.link].cmd.is_up() {
            let pending = Pending::Confirm { master: m.id, peer: key.clone() };
            if c.send(peer.link, pending, &["SENTINEL", "MASTER", &m.name]) {
                round.asked.insert(key.clone());
            }
        }
    }
    let (since, higher, agreed) = (round.since, round.higher, round.agreed.len() as u64 + 1);
    // The one that knows better may be the last to answer.
    let id = m.id;
    let open = |p: &Pending| matches!(p, Pending::Confirm { master, .. } if *master == id);
    if m.peers.values().any(|p| c.links[&p.link].awaits(open)) && !c.io.due(since, ANSWER_MS) {
        return false;
    }
    !higher && agreed >= m.majority() && m.durable.0 == m.config_epoch
}

fn weigh(round: &mut Confirmation, key: &str, named: &Named, config_epoch: u64) {
    if named.config_epoch > config_epoch || named.in_failover {
        round.higher = true;
    } else if named.config_epoch == config_epoch && named.same_addr {
        round.agreed.insert(key.to_string());
    }
}

/// Asks a peer, on each new connection, what it knows: its answer also tells its kind.
pub(crate) fn ask_kind(c: &mut Core, m: &Master) {
    for (key, peer) in &m.peers {
        let link = &c.links[&peer.link];
        let conn = link.cmd.conn();
        if !link.cmd.is_up() || link.kind_asked == conn {
            continue;
        }
        let pending = Pending::Confirm { master: m.id, peer: key.clone() };
        if c.send(peer.link, pending, &["SENTINEL", "MASTER", &m.name]) {
            c.link_mut(peer.link).kind_asked = conn;
        }
    }
}

/// The answer to `SENTINEL MASTER`, a map or its flat form.
pub(crate) fn answered(c: &mut Core, m: &mut Master, key: &str, reply: &Value) {
    let pairs: Vec<(&str, &str)> = match reply {
        Value::Map(pairs) => {
            pairs.iter().filter_map(|(k, v)| Some((k.as_str()?, v.as_str()?))).collect()
        }
        other => other
            .as_array()
            .unwrap_or_default()
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
            .collect(),
    };
    let field = |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    let (Some(host), Some(port), Some(config_epoch)) = (
        field("ip"),
        field("port").and_then(parse_port),
        field("config-epoch").and_then(|e| stdx::parse_u64(e.as_bytes())),
    ) else {
        return;
    };
    let same_addr = m.node.addr.is(host, port);
    let flags = field("flags").unwrap_or_default();
    let leads = flags.split(',').any(|f| f == "failover_in_progress");
    let ours = config_epoch == m.config_epoch && same_addr;
    let named = Named { at: c.now(), config_epoch, same_addr, in_failover: leads && ours };
    let Some(peer) = m.peers.get_mut(key) else { return };
    peer.named = Some(named);
    let link = peer.link;
    let link = c.link_mut(link);
    assert!(link.owner == Owner::Peer, "only sentinels are asked");
    // A field that redis-sentinel does not have.
    link.is_redoubt = Some(field("crash-grace").is_some());
}

/// After a time without any peer this sentinel may be behind: its waiting starts anew.
fn note_isolation(c: &mut Core, m: &mut Master) {
    let now = c.now();
    let last = m
        .peers
        .values()
        .map(|p| c.links[&p.link].last_ok.max(p.last_hello))
        .max()
        .unwrap_or(MonoMs(u64::MAX));
    let isolated = now.since(last) > PRESENT_MS;
    if m.isolated && !isolated {
        c.back_since = now;
    }
    m.isolated = isolated;
    if !isolated && !m.peers.is_empty() {
        c.io.wake_at(last + PRESENT_MS + 1);
    }
}
