//! Asking the other sentinels what they think and for their votes; giving ours.
//!
//! A vote, ours for ourselves included, counts and leaves only when it is on disk.
//! Source: redis 7.0 `sentinel.c:sentinelAskMasterStateToOtherSentinels`, `sentinelVoteLeader`,
//! `sentinelGetLeader`.

use resp::Value;

use crate::api::LogLevel;
use crate::conf::valid_runid;
use crate::core::Core;
use crate::down::owed_for;
use crate::link::Pending;
use crate::model::{Cause, Failover, Following, Master};
use crate::timing::{DESYNC_MS, EPOCH_MAX, LEADER_DEAD_MS, LEADER_SILENT_MS, RANK_STEP_MS};

/// Asks every peer for its opinion, or for its vote while we are a candidate.
pub(crate) fn ask(c: &mut Core, m: &mut Master) {
    if m.node.s_down.is_none() && m.failover.is_idle() {
        return;
    }
    // In a forced failover nobody is asked: no vote is needed, and the master is up.
    let vote_epoch = match &m.failover {
        Failover::WaitStart { term, token } if term.cause != Cause::Forced => {
            if !c.is_durable(*token) {
                return;
            }
            Some(term.failover_epoch)
        }
        _ if m.node.s_down.is_none() => return,
        _ => None,
    };
    let myid = c.myid.clone();
    let runid = if vote_epoch.is_some() { myid.as_str() } else { "*" };
    let epoch = vote_epoch.unwrap_or(c.disk.current_epoch).to_string();
    let addr = m.node.addr.clone();
    let (host, port) = (addr.announced(c.hostnames()), addr.port.to_string());
    let args = ["SENTINEL", "is-master-down-by-addr", &host, &port, &epoch, runid];
    let (id, period) = (m.id, c.periods.ask);
    for (key, peer) in &mut m.peers {
        let link = &c.links[&peer.link];
        let unasked = |p: &Pending| matches!(p, Pending::Ask { master, peer, .. } if *master == id && peer == key);
        if !link.cmd.is_up() || link.awaits(unasked) {
            continue;
        }
        let voted = vote_epoch.is_some_and(|e| peer.leader_epoch >= e);
        if voted && peer.asked_at.is_some() {
            continue;
        }
        if peer.asked_at.is_some_and(|at| !c.io.due(at, period)) {
            continue;
        }
        let pending =
            Pending::Ask { master: id, peer: key.clone(), addr: addr.clone(), vote_epoch };
        if c.send(peer.link, pending, &args) {
            peer.asked_at = Some(c.now());
            c.io.wake_at(c.now() + period);
        }
    }
}

/// A peer that asks about this master sees it down: those who did not know yet may now.
pub(crate) fn ask_again_soon(c: &Core, m: &mut Master) {
    if m.node.s_down.is_none() || m.o_down.is_some() {
        return;
    }
    let now = c.now();
    for peer in m.peers.values_mut().filter(|p| !p.master_down) {
        if peer.asked_at.is_some_and(|at| now.since(at) >= RANK_STEP_MS) {
            peer.asked_at = None;
        }
    }
}

/// The answer to `is-master-down-by-addr`: `[down, leader|*, leader epoch]`.
pub(crate) fn answered(
    c: &mut Core,
    m: &mut Master,
    key: &str,
    addr: &crate::addr::Addr,
    vote_epoch: Option<u64>,
    reply: &Value,
) {
    let Some([down, leader, leader_epoch]) = reply.as_array() else { return };
    let (Some(down), Some(leader)) = (down.as_i64(), leader.as_str()) else { return };
    let Some(leader_epoch) = leader_epoch.as_i64().and_then(|e| u64::try_from(e).ok()) else {
        return;
    };
    let same_master = m.node.addr.same(addr);
    let now = c.now();
    let Some(peer) = m.peers.get_mut(key) else { return };
    // An answer about the address before a switch says nothing about the present master.
    if same_master {
        peer.last_down_reply = Some(now);
        peer.master_down = down == 1;
    }
    if leader == "*" || !valid_runid(leader) || leader_epoch > EPOCH_MAX {
        return;
    }
    let news = peer.leader_epoch != leader_epoch;
    peer.leader = Some(leader.to_string());
    peer.leader_epoch = leader_epoch;
    if news && vote_epoch.is_some() {
        let line = format!("{key} voted for {leader} {leader_epoch}");
        c.log(LogLevel::Warning, line);
    }
}

/// Votes for `candidate` in `req_epoch` if no vote was given in that epoch or a later one.
/// The reply that tells the vote has to wait for the disk.
pub(crate) fn vote(c: &mut Core, m: &mut Master, req_epoch: u64, candidate: &str) {
    if req_epoch > EPOCH_MAX || !valid_runid(candidate) {
        return;
    }
    // Who asks for a vote is a peer, also when nothing else was heard of it yet.
    c.note_contact();
    if c.muted_until().is_some() {
        // What it voted before its state was lost is not known: no vote in an epoch that others
        // have heard of.
        c.epoch_heard = c.epoch_heard.max(req_epoch);
        return;
    }
    if req_epoch > c.current_epoch {
        c.adopt_epoch(req_epoch, m);
    }
    if m.leader_epoch >= req_epoch || c.current_epoch > req_epoch {
        return;
    }
    cast(c, m, req_epoch, candidate);
    if candidate != c.myid {
        // It starts, we wait; if it fails silently we try later, not all at the same moment.
        m.failover_start_time = Some(c.now() + c.prng.below(DESYNC_MS));
        m.start_at = None;
        m.retry_at = None;
        m.following = Some(Following { leader: candidate.to_string(), since: c.now() });
    }
}

/// Puts a vote down.
pub(crate) fn cast(c: &mut Core, m: &mut Master, epoch: u64, candidate: &str) {
    assert!(m.leader_epoch < epoch, "one vote per epoch");
    assert!(epoch <= c.current_epoch, "no vote in an epoch that has not come");
    m.leader = Some(candidate.to_string());
    m.leader_epoch = epoch;
    c.persist();
    let payload = format!("{candidate} {epoch}");
    c.event(LogLevel::Warning, "+vote-for-leader", &payload, m.notification_script.as_deref());
}

/// Votes that this sentinel has heard for `candidate` in `epoch`, its own included.
pub(crate) fn votes_for(m: &Master, candidate: &str, epoch: u64) -> u64 {
    let own = m.leader.as_deref() == Some(candidate) && m.leader_epoch == epoch;
    let others = m
        .peers
        .values()
        .filter(|p| p.leader_epoch == epoch && p.leader.as_deref() == Some(candidate));
    u64::from(own) + others.count() as u64
}

/// The other candidate that has, by what was heard, won this epoch.
pub(crate) fn other_winner(c: &Core, m: &Master, epoch: u64) -> Option<String> {
    let mut leaders =
        m.peers.values().filter(|p| p.leader_epoch == epoch).filter_map(|p| p.leader.as_ref());
    leaders
        .find(|leader| **leader != c.myid && votes_for(m, leader, epoch) >= m.votes_needed())
        .cloned()
}

/// Peers that could answer now, and this sentinel itself.
pub(crate) fn usable(c: &Core, m: &Master) -> u64 {
    1 + m.peers.values().filter(|p| is_usable(c, p)).count() as u64
}

pub(crate) fn is_usable(c: &Core, peer: &crate::model::Peer) -> bool {
    let link = &c.links[&peer.link];
    peer.s_down.is_none() && link.cmd.is_up() && owed_for(link, c.now()) < LEADER_SILENT_MS
}

/// True when the leader that we voted for is gone, or has not brought anything about for too long.
pub(crate) fn leader_silent(c: &mut Core, m: &Master) -> bool {
    let Some(following) = &m.following else { return false };
    if c.io.due(following.since, m.failover_timeout) {
        return true;
    }
    is_silent(c, m, &following.leader)
}

/// True when this sentinel cannot be heard on its own link.
pub(crate) fn is_silent(c: &mut Core, m: &Master, runid: &str) -> bool {
    let Some(peer) = m.peers.get(runid) else { return true };
    let link = &c.links[&peer.link];
    let (clock, proof) = (link.down_clock, link.proof);
    if let Some(proof) = proof.filter(|p| p.failed && !link.cmd.is_up())
        && c.io.due(proof.since, LEADER_DEAD_MS)
    {
        return true;
    }
    clock.is_some_and(|clock| c.io.due(clock, LEADER_SILENT_MS))
}

/// A hello has come from `runid`: if we wait for it and it has finished, the waiting is over.
pub(crate) fn heard_from(m: &mut Master, runid: &str, config_epoch: u64) {
    if m.following.as_ref().is_some_and(|f| f.leader == runid) && config_epoch >= m.leader_epoch {
        m.following = None;
    }
}

/// True when nobody can have won this epoch, whatever those voted that have not been heard.
pub(crate) fn nobody_won(m: &Master, epoch: u64) -> bool {
    let unheard = m.peers.values().filter(|p| p.leader_epoch < epoch).count() as u64;
    let candidates = m.peers.values().filter_map(|p| p.leader.as_ref()).chain(m.peers.keys());
    candidates
        .chain(&m.leader)
        .all(|candidate| votes_for(m, candidate, epoch) + unheard < m.votes_needed())
}

/// How long to wait before starting: the lowest run id of those that see the master down goes
/// first, the k-th k steps later. A step is the time after which the first one's request should
/// have come: it saves its own vote, then asks. With a real redis-sentinel among them the start is
/// random, as theirs is by the phase of their timers.
pub(crate) fn start_delay(c: &mut Core, m: &Master) -> u64 {
    let agreeing: Vec<_> =
        m.peers.iter().filter(|(_, p)| p.master_down && is_usable(c, p)).collect();
    if agreeing.iter().any(|(_, p)| c.links[&p.link].is_redoubt != Some(true)) {
        return c.prng.below(100);
    }
    let rtt = agreeing.iter().map(|(_, p)| c.links[&p.link].rtt).max().unwrap_or(0);
    let step = rtt.min(1000) + RANK_STEP_MS + c.disk.latency.min(200);
    let rank = agreeing.iter().filter(|(key, _)| **key < c.myid).count() as u64;
    rank * step
}
