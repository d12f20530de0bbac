//! Leading a failover, and taking over what another leader has done.
//!
//! The states and their legal order are drawn at [`Failover`]; only the `become_*` functions below
//! change it. Redis polls its states ten times a second; here every state is left in the call in
//! which its condition came true. Source: redis 7.0 `sentinel.c:sentinelFailoverStateMachine`,
//! `sentinelStartFailoverIfNeeded`.

use stdx::MonoMs;

use crate::addr::Addr;
use crate::api::{LogLevel, Output};
use crate::core::{Core, FAIL_AFTER_ELECTION, FAIL_AFTER_PROMOTION};
use crate::link::Pending;
use crate::model::{Cause, Failover, Master, Node, Plan, Reconf, ReplicaKey, Role, Term};
use crate::timing::{
    DESYNC_MS, EPOCH_MAX, FAST_INFO_FOR_MS, FAST_INFO_MS, LEADER_PAUSE_MAX_MS, LIVE_OFFSET_WAIT_MS,
    RANK_STEP_MS, RECONF_SETTLE_MS,
};
use crate::{planned, select, switch, vote};

// ----- whether to start -----

/// Starts a failover when the master is objectively down and our turn has come.
pub(crate) fn start_if_due(c: &mut Core, m: &mut Master) {
    if m.o_down.is_none() || !m.failover.is_idle() {
        return;
    }
    if let Some(until) = c.muted_until() {
        return c.io.wake_at(until);
    }
    if !may_start(c, m) {
        m.start_at = None;
        return;
    }
    let now = c.now();
    let start_at = match m.start_at {
        Some(at) => at,
        None => {
            let at = now + vote::start_delay(c, m);
            m.start_at = Some(at);
            at
        }
    };
    if now >= start_at {
        become_wait_start(c, m, Cause::Down);
    } else {
        c.io.wake_at(start_at);
    }
}

/// Redis's rule is twice the failover time-out after the last start or vote. Earlier when the
/// leader that we voted for has gone silent, or our own election was lost, and enough sentinels
/// can be reached to make another attempt worth its epoch.
fn may_start(c: &mut Core, m: &mut Master) -> bool {
    let Some(last) = m.failover_start_time else { return true };
    let now = c.now();
    let free_at = last + m.failover_timeout.saturating_mul(2);
    if now >= free_at {
        return true;
    }
    c.io.wake_at(free_at);
    if vote::usable(c, m) >= m.votes_needed() {
        if m.following.is_some() {
            return vote::leader_silent(c, m);
        }
        if let Some(at) = m.retry_at {
            return c.io.due(at, 0);
        }
    }
    if m.failover_delay_logged != Some(last) {
        m.failover_delay_logged = Some(last);
        let in_ms = i64::try_from(free_at.since(now)).unwrap_or(i64::MAX);
        let at = ctime(c.io.now.unix.0.saturating_add(in_ms).div_euclid(1000));
        c.log(
            LogLevel::Warning,
            format!("Next failover delay: I will not start a failover before {at}"),
        );
    }
    false
}

/// True when so many of the known sentinels have told their epochs that none can have been won
/// without the vote of one of them, this sentinel left out since it has forgotten its own: what an
/// operator orders then gets an epoch above every one that was voted in.
pub(crate) fn has_heard_epochs(m: &Master) -> bool {
    let heard = m.peers.values().filter(|p| p.named.is_some()).count() as u64;
    let known = m.peers.len() as u64 + 1;
    heard > known - m.majority()
}

/// SENTINEL FAILOVER.
pub(crate) fn force(c: &mut Core, m: &mut Master, cause: Cause) {
    // Requests for votes that could not be given yet have told of epochs, too.
    c.current_epoch = c.current_epoch.max(c.epoch_heard);
    c.log(LogLevel::Warning, format!("Executing user requested FAILOVER of '{}'", m.name));
    become_wait_start(c, m, cause);
}

// ----- changing the state -----

/// Opens a new epoch and stands for election in it.
pub(crate) fn become_wait_start(c: &mut Core, m: &mut Master, cause: Cause) {
    assert!(m.failover.is_idle(), "one failover at a time");
    if c.current_epoch >= EPOCH_MAX {
        return;
    }
    let now = c.now();
    c.current_epoch += 1;
    let failover_epoch = c.current_epoch;
    c.master_epoch_event(m);
    c.master_event(LogLevel::Warning, "+try-failover", m, "");
    m.failover_start_time = Some(now + c.prng.below(DESYNC_MS));
    m.start_at = None;
    m.retry_at = None;
    m.following = None;
    m.confirmation = None;
    m.peers.values_mut().for_each(|p| p.asked_at = None);
    vote::cast(c, m, failover_epoch, &c.myid.clone());
    let token = c.persist();
    m.failover = Failover::WaitStart { term: Term { failover_epoch, cause, since: now }, token };
}

fn become_select_replica(c: &mut Core, m: &mut Master) {
    let Failover::WaitStart { term, token } = m.failover else {
        unreachable!("only a candidate is elected");
    };
    assert!(c.is_durable(token), "the epoch is on disk before anyone was asked");
    let now = c.now();
    m.elections_lost = 0;
    c.master_event(LogLevel::Warning, "+elected-leader", m, "");
    if crash_if(c, FAIL_AFTER_ELECTION) {
        return;
    }
    c.master_event(LogLevel::Warning, "+failover-state-select-slave", m, "");
    m.failover = Failover::SelectReplica { term: Term { since: now, ..term } };
    select::ask_live(c, m);
}

pub(crate) fn become_send_replicaof_no_one(c: &mut Core, m: &mut Master, chosen: ReplicaKey) {
    let (Failover::SelectReplica { term } | Failover::HandOver { term, .. }) = m.failover else {
        unreachable!("the choice follows the election, or the master has refused");
    };
    let node = m.replicas.get(&chosen).expect("the choice is one of the replicas");
    c.replica_event(LogLevel::Warning, "+selected-slave", m, node, "");
    c.replica_event(LogLevel::Notice, "+failover-state-send-slaveof-noone", m, node, "");
    let term = Term { since: c.now(), ..term };
    m.failover = Failover::SendReplicaofNoOne { term, chosen };
}

fn become_wait_promotion(c: &mut Core, m: &mut Master) {
    let Failover::SendReplicaofNoOne { term, chosen } = m.failover.clone() else {
        unreachable!("a promotion is awaited after it was ordered");
    };
    assert!(term.failover_epoch >= c.current_epoch, "a later epoch ends this failover");
    let now = c.now();
    let node = m.replicas.get_mut(&chosen).expect("the chosen replica stays known");
    // While waiting, its role is asked for again and again, not once a second.
    node.fast_info_until = now + m.failover_timeout;
    let node = &m.replicas[&chosen];
    c.replica_event(LogLevel::Notice, "+failover-state-wait-promotion", m, node, "");
    m.failover = Failover::WaitPromotion { term: Term { since: now, ..term }, chosen };
}

/// The chosen replica has reported that it is a master.
pub(crate) fn become_reconf_replicas(c: &mut Core, m: &mut Master) {
    let (Failover::WaitPromotion { term, chosen } | Failover::HandOver { term, chosen, .. }) =
        m.failover.clone()
    else {
        unreachable!("a promotion is seen while it is awaited");
    };
    if m.config_epoch >= term.failover_epoch {
        return become_idle_superseded(c, m);
    }
    let now = c.now();
    m.config_epoch = term.failover_epoch;
    c.persist();
    if term.cause.is_planned() {
        // It was the old master that gave it its role: what it is has to outlive a restart.
        let link = m.replicas[&chosen].link;
        c.send(link, Pending::Ignored, &["CONFIG", "REWRITE"]);
    }
    let node = m.replicas.get_mut(&chosen).expect("the chosen replica stays known");
    node.fast_info_until = MonoMs(0);
    let to = node.addr.clone();
    let node = &m.replicas[&chosen];
    c.replica_event(LogLevel::Warning, "+promoted-slave", m, node, "");
    if crash_if(c, FAIL_AFTER_PROMOTION) {
        return;
    }
    c.master_event(LogLevel::Warning, "+failover-state-reconf-slaves", m, "");
    switch::call_reconfig_script(c, m, "leader", &m.node.addr.clone(), &to);
    m.failover = Failover::ReconfReplicas {
        term: Term { since: now, ..term },
        promoted: chosen,
        all_told_at: None,
    };
}

fn become_update_config(c: &mut Core, m: &mut Master, in_time: bool) {
    let Failover::ReconfReplicas { term, promoted, .. } = m.failover.clone() else {
        unreachable!("the failover ends after the replicas were told");
    };
    assert_eq!(m.config_epoch, term.failover_epoch, "a newer configuration ends this failover");
    if m.o_down.take().is_some() {
        c.master_event(LogLevel::Warning, "-odown", m, "");
    }
    if !in_time {
        c.master_event(LogLevel::Warning, "+failover-end-for-timeout", m, "");
    }
    c.master_event(LogLevel::Warning, "+failover-end", m, "");
    m.failover = Failover::UpdateConfig { term, promoted };
}

/// Gives a failover up that has not promoted anybody yet.
pub(crate) fn become_idle_aborted(c: &mut Core, m: &mut Master, event: &str) {
    assert!(m.failover.promoted().is_none(), "a promotion cannot be taken back");
    assert!(!m.failover.is_idle(), "nothing to give up");
    m.failover = Failover::Idle;
    m.replicas.values_mut().for_each(|n| n.fast_info_until = MonoMs(0));
    c.master_event(LogLevel::Warning, event, m, "");
}

/// A newer configuration has come: whatever this sentinel was doing for an older one is over.
pub(crate) fn become_idle_superseded(c: &mut Core, m: &mut Master) {
    m.confirmation = None;
    m.following = None;
    if m.failover.is_idle() {
        return;
    }
    m.failover = Failover::Idle;
    m.replicas.values_mut().for_each(|n| {
        n.fast_info_until = MonoMs(0);
        n.reconf = Reconf::None;
    });
    c.master_event(LogLevel::Warning, "-failover-abort-not-elected", m, "");
}

/// Nothing is under way any more: the switch is made, or the entry was reset.
pub(crate) fn become_idle(m: &mut Master) {
    m.failover = Failover::Idle;
    m.failover_start_time = None;
    m.start_at = None;
    m.retry_at = None;
    m.elections_lost = 0;
    m.following = None;
    m.confirmation = None;
}

/// SENTINEL SIMULATE-FAILURE.
fn crash_if(c: &mut Core, flag: u8) -> bool {
    if c.simulate_failure & flag == 0 {
        return false;
    }
    c.log(LogLevel::Warning, "Sentinel CRASH because of SENTINEL simulate-failure");
    c.io.out.push_back(Output::Exit { status: 99 });
    c.dead = true;
    true
}

// ----- the steps -----

/// Takes the failover as far as it can go now. `late` is how much later than promised this call
/// comes: a leader that was stopped may have a successor.
pub(crate) fn step(c: &mut Core, m: &mut Master, late: u64) {
    // Each state is entered at most once per failover, so this ends.
    loop {
        let before = m.failover.clone();
        if may_go_on(c, m, late) {
            match &m.failover {
                Failover::Idle => {}
                Failover::WaitStart { .. } => step_wait_start(c, m),
                Failover::SelectReplica { .. } => step_select_replica(c, m),
                Failover::SendReplicaofNoOne { .. } => step_send_replicaof_no_one(c, m),
                Failover::WaitPromotion { .. } => step_wait_promotion(c, m),
                Failover::HandOver { .. } => planned::step(c, m),
                Failover::ReconfReplicas { .. } => step_reconf_replicas(c, m),
                Failover::UpdateConfig { .. } => switch::finish(c, m),
            }
        }
        if c.dead || m.failover.is_idle() || m.failover == before {
            return;
        }
    }
}

/// Before `SLAVEOF NO ONE` a higher epoch, a pause of our own, or a master that is up again ends
/// the failover.
fn may_go_on(c: &mut Core, m: &mut Master, late: u64) -> bool {
    let before_promotion = matches!(
        m.failover,
        Failover::WaitStart { .. }
            | Failover::SelectReplica { .. }
            | Failover::SendReplicaofNoOne { .. }
    );
    let Some(term) = m.failover.term() else { return false };
    let overtaken = c.current_epoch > term.failover_epoch;
    let needless = term.cause == Cause::Down && m.o_down.is_none();
    let stopped = late > LEADER_PAUSE_MAX_MS && term.since < c.now();
    if before_promotion && (overtaken || needless || stopped) {
        become_idle_aborted(c, m, "-failover-abort-not-elected");
        retry_later(c, m);
        return false;
    }
    true
}

/// After an own failover that came to nothing: again soon, but not in step with others.
pub(crate) fn retry_later(c: &mut Core, m: &mut Master) {
    let spread = 200u64 << m.elections_lost.min(7);
    let delay = 200 + c.prng.below(spread);
    retry_after(c, m, delay);
}

fn retry_after(c: &mut Core, m: &mut Master, delay: u64) {
    m.elections_lost += 1;
    let at = c.now() + delay;
    m.retry_at = Some(at);
    c.io.wake_at(at);
}

fn step_wait_start(c: &mut Core, m: &mut Master) {
    let Failover::WaitStart { term, token } = m.failover else { return };
    let epoch = term.failover_epoch;
    let needed = m.votes_needed();
    let myid = c.myid.clone();
    if c.is_durable(token) {
        let votes = vote::votes_for(m, &myid, epoch);
        if term.cause == Cause::Forced || votes >= needed {
            return become_select_replica(c, m);
        }
        if let Some(winner) = vote::other_winner(c, m, epoch) {
            become_idle_aborted(c, m, "-failover-abort-not-elected");
            let since = c.now();
            m.following = Some(crate::model::Following { leader: winner, since });
            return;
        }
        // Whoever has not answered within a few round trips will not vote for us in time. Before
        // it could be asked our own disk had its turn, then comes its own.
        let rtt = m.peers.values().map(|p| c.links[&p.link].rtt).max().unwrap_or(0);
        let patience = (4 * (rtt + RANK_STEP_MS) + 3 * c.disk.latency).clamp(200, 2000);
        let waiting = !c.io.due(term.since, patience);
        let coming = m
            .peers
            .values()
            .filter(|p| waiting && p.leader_epoch < epoch && vote::is_usable(c, p))
            .count() as u64;
        let anyhow = term.cause == Cause::Planned(Plan::Anyhow);
        if anyhow && votes + coming < needed {
            return become_select_replica(c, m);
        }
        if votes + coming < needed && vote::usable(c, m) >= needed {
            become_idle_aborted(c, m, "-failover-abort-not-elected");
            // The votes were split, and it is known that nobody leads: the next attempt needs no
            // pause, only an order. When that fails too, chance decides.
            if m.elections_lost == 0 && vote::nobody_won(m, epoch) {
                return retry_after(c, m, 1);
            }
            return retry_later(c, m);
        }
    }
    let limit = c.periods.election_timeout.min(m.failover_timeout);
    if c.io.due(term.since, limit + 1) {
        become_idle_aborted(c, m, "-failover-abort-not-elected");
        retry_later(c, m);
    }
}

fn step_select_replica(c: &mut Core, m: &mut Master) {
    let Failover::SelectReplica { term } = m.failover else { return };
    if !select::all_answered(c, m) && !c.io.due(term.since, LIVE_OFFSET_WAIT_MS) {
        return;
    }
    if term.cause.is_planned() {
        return planned::select(c, m);
    }
    match select::choose(c, m) {
        Some(key) => become_send_replicaof_no_one(c, m, key),
        None => become_idle_aborted(c, m, "-failover-abort-no-good-slave"),
    }
}

fn step_send_replicaof_no_one(c: &mut Core, m: &mut Master) {
    let Failover::SendReplicaofNoOne { term, chosen } = &m.failover else { return };
    let (since, link) = (term.since, m.replicas[chosen].link);
    if send_replicaof(c, link, None) {
        let node = m.replicas.get_mut(&chosen.clone()).expect("the chosen replica stays known");
        node.info_conn = c.links[&link].cmd.conn();
        node.info_sent = c.now();
        return become_wait_promotion(c, m);
    }
    let down = m.replicas[chosen].s_down.is_some();
    if down || c.io.due(since, m.failover_timeout + 1) {
        become_idle_aborted(c, m, "-failover-abort-slave-timeout");
        retry_later(c, m);
    }
}

/// INFO ends this state (see [`become_reconf_replicas`]); here only what can go wrong.
fn step_wait_promotion(c: &mut Core, m: &mut Master) {
    let Failover::WaitPromotion { term, chosen } = &m.failover else { return };
    let (term, chosen) = (*term, chosen.clone());
    let node = &m.replicas[&chosen];
    let (link, down) = (node.link, node.s_down.is_some());
    if down || c.io.due(term.since, m.failover_timeout + 1) {
        become_idle_aborted(c, m, "-failover-abort-slave-timeout");
        return retry_later(c, m);
    }
    // The order may have been lost with its connection: on a new one it is repeated, unless
    // somebody else has been elected meanwhile.
    let conn = c.links[&link].cmd.conn();
    let node = m.replicas.get_mut(&chosen).expect("the chosen replica stays known");
    let lost = node.info_conn != conn && c.links[&link].cmd.is_up();
    if lost && term.failover_epoch >= c.current_epoch && send_replicaof(c, link, None) {
        node.info_conn = conn;
        node.info_sent = c.now();
    }
    c.io.wake_at(c.now() + FAST_INFO_MS);
}

/// The order to follow `master`, or nobody: one write, so that the node is never seen in between,
/// with its configuration saved and its old clients sent away. INFO follows at once.
pub(crate) fn send_replicaof(
    c: &mut Core,
    link: crate::link::LinkId,
    master: Option<&Addr>,
) -> bool {
    let (host, port) = match master {
        Some(addr) => (addr.announced(c.hostnames()), addr.port.to_string()),
        None => ("NO".to_string(), "ONE".to_string()),
    };
    let words: [&[&str]; 7] = [
        &["MULTI"],
        &["SLAVEOF", &host, &port],
        &["CONFIG", "REWRITE"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["CLIENT", "KILL", "TYPE", "pubsub"],
        &["EXEC"],
        &["INFO"],
    ];
    let commands: Vec<(Pending, &[&str])> = words
        .iter()
        .enumerate()
        .map(|(i, w)| (if i == 6 { Pending::Info } else { Pending::Ignored }, *w))
        .collect();
    c.send_all(link, &commands)
}

fn step_reconf_replicas(c: &mut Core, m: &mut Master) {
    let Failover::ReconfReplicas { term, promoted, all_told_at } = &m.failover else { return };
    let (term, promoted, mut all_told_at) = (*term, promoted.clone(), *all_told_at);
    let to = m.replicas[&promoted].addr.clone();
    note_reconf_progress(c, m, &promoted, &to);
    let now = c.now();
    if now.since(term.since) > m.failover_timeout {
        become_update_config(c, m, false);
        return tell_the_rest(c, m, &promoted, &to);
    }
    c.io.wake_at(term.since + m.failover_timeout + 1);
    let planned = term.cause.is_planned();
    tell_next(c, m, &promoted, &to, planned);
    let others = || m.replicas.iter().filter(|(key, n)| **key != promoted && n.s_down.is_none());
    let reachable = |n: &Node| c.links[&n.link].cmd.is_up();
    let all_done = others().all(|(_, n)| n.reconf == Reconf::Done);
    let all_told = others().all(|(_, n)| n.reconf != Reconf::None || !reachable(n));
    if !all_told {
        all_told_at = None;
    } else if all_told_at.is_none() {
        all_told_at = Some(now);
    }
    if let Failover::ReconfReplicas { all_told_at: kept, .. } = &mut m.failover {
        *kept = all_told_at;
    }
    // Clients of a master that has handed over wait: they are told as soon as the other sentinels
    // can know it.
    if planned {
        if all_told && m.durable.0 >= term.failover_epoch {
            become_update_config(c, m, true);
        }
        return;
    }
    if all_done || all_told_at.is_some_and(|at| c.io.due(at, RECONF_SETTLE_MS)) {
        become_update_config(c, m, true);
    }
}

/// Reads from the replicas' INFO how far they have come.
fn note_reconf_progress(c: &mut Core, m: &mut Master, promoted: &ReplicaKey, to: &Addr) {
    let keys: Vec<_> = m.replicas.keys().filter(|k| *k != promoted).cloned().collect();
    for key in keys {
        let Some(node) = m.replicas.get_mut(&key) else { continue };
        let told = matches!(node.reconf, Reconf::Sent(_));
        let follows = node.role == Role::Replica
            && node.master_host.as_deref().is_some_and(|h| to.is(h, node.master_port));
        if told && follows {
            node.reconf = Reconf::InProgress;
            c.replica_event(LogLevel::Notice, "+slave-reconf-inprog", m, &m.replicas[&key], "");
        }
        let Some(node) = m.replicas.get_mut(&key) else { continue };
        if node.reconf == Reconf::InProgress && node.master_link_up {
            node.reconf = Reconf::Done;
            c.replica_event(LogLevel::Notice, "+slave-reconf-done", m, &m.replicas[&key], "");
        }
        let Some(node) = m.replicas.get_mut(&key) else { continue };
        if let Reconf::Sent(at) = node.reconf
            && c.io.due(at, c.periods.slave_reconf_timeout + 1)
        {
            node.reconf = Reconf::Done;
            c.replica_event(
                LogLevel::Notice,
                "-slave-reconf-sent-timeout",
                m,
                &m.replicas[&key],
                "",
            );
        }
    }
}

/// Sends SLAVEOF to as many replicas as may synchronise at a time.
/// After a planned switch they all have what the new master has: then it is all of them.
fn tell_next(c: &mut Core, m: &mut Master, promoted: &ReplicaKey, to: &Addr, planned: bool) {
    let syncing = |n: &Node| matches!(n.reconf, Reconf::Sent(_) | Reconf::InProgress);
    let mut in_progress = m.replicas.values().filter(|n| syncing(n)).count() as i64;
    let keys: Vec<_> = m.replicas.keys().filter(|k| *k != promoted).cloned().collect();
    for key in keys {
        if in_progress >= m.parallel_syncs && !planned {
            return;
        }
        let Some(node) = m.replicas.get(&key) else { continue };
        if node.reconf == Reconf::None && tell(c, m, &key, to, "+slave-reconf-sent") {
            in_progress += 1;
        }
    }
}

/// The time is over: SLAVEOF to everyone who has not had it, come what may.
fn tell_the_rest(c: &mut Core, m: &mut Master, promoted: &ReplicaKey, to: &Addr) {
    let keys: Vec<_> = m.replicas.keys().filter(|k| *k != promoted).cloned().collect();
    for key in keys {
        if m.replicas[&key].reconf == Reconf::None {
            tell(c, m, &key, to, "+slave-reconf-sent-be");
        }
    }
}

fn tell(c: &mut Core, m: &mut Master, key: &ReplicaKey, to: &Addr, event: &str) -> bool {
    let now = c.now();
    let Some(node) = m.replicas.get_mut(key) else { return false };
    if !send_replicaof(c, node.link, Some(to)) {
        return false;
    }
    node.reconf = Reconf::Sent(now);
    node.info_sent = now;
    node.info_conn = c.links[&node.link].cmd.conn();
    node.fast_info_until = now + FAST_INFO_FOR_MS;
    node.told_at = Some(now);
    c.replica_event(LogLevel::Notice, event, m, &m.replicas[key], "");
    true
}

/// A time in seconds in the words of C's `ctime`, in UTC.
fn ctime(secs: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Days to a date by the 400-year cycle that begins on a first of March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {} {day:>2} {:02}:{:02}:{:02} {year}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod ctime_tests {
    #[test]
    fn known_dates() {
        assert_eq!(super::ctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(super::ctime(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(super::ctime(1_795_372_627), "Sun Nov 22 18:37:07 2026");
    }
}
