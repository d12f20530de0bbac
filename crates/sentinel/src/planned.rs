//! The planned switch: a master that is well hands its role over to a replica that has everything.
//!
//! Asked for by the master itself before it ends ([`requested`]), or by SENTINEL FAILOVER. The
//! election is the ordinary one, under a new epoch. Then the master, not the replica, gets the
//! order (`FAILOVER TO host port TIMEOUT ms`, Redis 6.2): it holds its writes, waits until the
//! replica has acknowledged the last of them, steps down and asks the replica to take over. So
//! nothing that was acknowledged can be missing, whoever fails: up to the last moment the master
//! takes itself back, after its time-out or on `FAILOVER ABORT`. What follows is as in any
//! failover: the new address under the new epoch, on disk first, then to everybody.
//!
//! What can go wrong, and then:
//!
//! - no majority, no replica that is fit, the master refuses: nothing has happened yet; idle again.
//! - the replica stands still or dies: the master gives up after [`CATCH_UP_MS`]; should it not be
//!   known how it ended, it is told `FAILOVER ABORT`, and this failover is over.
//! - this sentinel dies: the master finishes or gives up by itself. If it has finished, the others
//!   find a master that follows its own replica ([`left_behind`]); it counts as down after
//!   `down-after-milliseconds`, and their leader finds the replica promoted (see `select.rs`).
//! - another sentinel leads meanwhile under a higher epoch: its configuration wins, here as always.

use resp::Value;

use crate::api::LogLevel;
use crate::core::Core;
use crate::failover::{become_idle_aborted, become_send_replicaof_no_one, retry_later};
use crate::info::{Facts, Which};
use crate::link::Pending;
use crate::model::{Cause, Failover, Master, Node, Plan, ReplicaKey, Role, Term};
use crate::timing::{CATCH_UP_MS, FAST_INFO_FOR_MS, HAND_OVER_INFO_MS, HAND_OVER_MS};
use crate::{failover, select};

const REFUSED: &str = "-failover-abort-refused";

/// The master asks this sentinel to lead: it is about to end. Its subscription has brought it, so
/// it comes from the node that is watched, whoever said it there.
pub(crate) fn requested(c: &mut Core, m: &mut Master, which: &Which, runid: &str) {
    let its_own = *which == Which::Master && (m.node.runid.is_empty() || m.node.runid == runid);
    if !its_own || !m.failover.is_idle() || m.o_down.is_some() {
        return;
    }
    let able = c.tilt.is_none() && c.muted_until().is_none() && is_fit(c, m);
    if !able {
        let why = "Not leading the switch that the master asks for before it ends";
        return c.log(LogLevel::Notice, format!("{why}: {}", m.name));
    }
    c.log(
        LogLevel::Warning,
        format!("The master of '{}' is about to end and asks to be replaced", m.name),
    );
    failover::become_wait_start(c, m, Cause::Planned(Plan::Shutdown));
    m.deadline = c.now();
}

/// True when a planned switch can be expected to work: the master knows FAILOVER, is heard, and
/// has a replica. Which of them follow it is asked when the election is won.
pub(crate) fn is_fit(c: &Core, m: &Master) -> bool {
    let link = &c.links[&m.node.link];
    m.node.s_down.is_none()
        && link.cmd.is_up()
        && m.node.role == Role::Master
        && m.node.handing_over == Some(false)
        && select::choose(c, m).is_some()
}

/// The best of the replicas that follow the master.
fn choose(c: &Core, m: &Master) -> Option<ReplicaKey> {
    select::choose_among(c, m, |node| follows(m, node))
}

fn follows(m: &Master, node: &Node) -> bool {
    let role = node.live.map_or(node.role, |live| live.role);
    let master = node.master_host.as_deref();
    role == Role::Replica
        && node.role == Role::Replica
        && node.master_link_up
        && (master.is_none_or(|host| m.node.addr.is(host, node.master_port))
            // By its name the master may be known here only, or there only.
            || known_to_master(m, node).is_some())
}

/// The replica's address as the master knows it: FAILOVER wants that one.
fn known_to_master(m: &Master, node: &Node) -> Option<(String, u16)> {
    let facts = Facts::parse(&String::from_utf8_lossy(&m.node.info_text));
    facts.replicas.into_iter().find(|(host, port)| node.addr.is(host, *port))
}

/// The replicas have told how they stand: the order goes to the master.
pub(crate) fn select(c: &mut Core, m: &mut Master) {
    let Failover::SelectReplica { term } = m.failover else { return };
    let now = c.now();
    let Some(key) = choose(c, m).filter(|_| m.node.s_down.is_none()) else {
        return unfit(c, m, term, "-failover-abort-no-good-slave");
    };
    let node = &m.replicas[&key];
    let (host, port) =
        known_to_master(m, node).unwrap_or((node.addr.announced(c.hostnames()), node.addr.port));
    let limit = catch_up_ms(m).to_string();
    let order = ["FAILOVER", "TO", &host, &port.to_string(), "TIMEOUT", &limit];
    let pending = Pending::Failover { epoch: term.failover_epoch };
    c.replica_event(LogLevel::Warning, "+selected-slave", m, &m.replicas[&key], "");
    let sent = c.send_all(m.node.link, &[(pending, &order), (Pending::Info, &["INFO"])]);
    if !sent {
        return unfit(c, m, term, REFUSED);
    }
    m.node.info_sent = now;
    m.node.info_conn = c.links[&m.node.link].cmd.conn();
    c.replica_event(LogLevel::Notice, "+failover-state-send-failover", m, &m.replicas[&key], "");
    let term = Term { since: now, ..term };
    m.failover = Failover::HandOver { term, chosen: key, accepted: false };
}

/// Writes are not held longer than clients wait for any failover.
fn catch_up_ms(m: &Master) -> u64 {
    CATCH_UP_MS.min(m.failover_timeout / 2).max(1)
}

/// Before the master was asked, or when it has refused: an operator's plain order is carried out
/// in Redis's way, any other one comes to nothing.
fn unfit(c: &mut Core, m: &mut Master, term: Term, event: &str) {
    let choice = select::choose(c, m);
    match (term.cause, choice) {
        (Cause::Planned(Plan::Anyhow), Some(key)) if term.failover_epoch >= c.current_epoch => {
            c.log(
                LogLevel::Warning,
                format!("The master of '{}' cannot hand over: failing over without it", m.name),
            );
            let term = Term { cause: Cause::Forced, ..term };
            m.failover = Failover::SelectReplica { term };
            become_send_replicaof_no_one(c, m, key);
        }
        _ => {
            become_idle_aborted(c, m, event);
            retry_later(c, m);
        }
    }
}

/// The master's answer to FAILOVER.
pub(crate) fn answered(c: &mut Core, m: &mut Master, epoch: u64, reply: &Value) {
    let Failover::HandOver { term, accepted, .. } = &mut m.failover else { return };
    if term.failover_epoch != epoch {
        return;
    }
    let Value::Error(text) = reply else {
        *accepted = true;
        // What an INFO said that was asked before FAILOVER does not count any more.
        m.node.handing_over = None;
        return;
    };
    let term = *term;
    let text: String = String::from_utf8_lossy(text).chars().take(200).collect();
    let shown = text.replace(char::is_control, "?");
    c.log(
        LogLevel::Warning,
        format!("FAILOVER was refused by the master of '{}': {shown}", m.name),
    );
    unfit(c, m, term, REFUSED);
    m.deadline = c.now();
}

/// INFO of the chosen replica ends this state (see `failover::become_reconf_replicas`); here only
/// what can go wrong.
pub(crate) fn step(c: &mut Core, m: &mut Master) {
    let Failover::HandOver { term, accepted, .. } = &m.failover else { return };
    let (term, accepted) = (*term, *accepted);
    // Asked on the same connection after FAILOVER: it has ended, and the master is still one.
    let back = accepted && m.node.role == Role::Master && m.node.handing_over == Some(false);
    if back {
        become_idle_aborted(c, m, "-failover-abort-slave-timeout");
        return retry_later(c, m);
    }
    if c.io.due(term.since, catch_up_ms(m) + HAND_OVER_MS) {
        // Should it still be at it, it is the master again at once: nobody has announced another,
        // unless a later leader has. An error does no harm.
        if term.failover_epoch >= c.current_epoch {
            c.send(m.node.link, Pending::Ignored, &["FAILOVER", "ABORT"]);
        }
        become_idle_aborted(c, m, "-failover-abort-slave-timeout");
        return retry_later(c, m);
    }
    c.io.wake_at(c.now() + HAND_OVER_INFO_MS);
}

/// The switch is made and told: the old master remembers whom it follows, and sends its clients
/// away, who find the new one now.
pub(crate) fn dismiss(c: &mut Core, m: &mut Master) {
    let Some((old, _)) = &m.previous else { return };
    let Some(key) = m.replica_at(&old.host, old.port) else { return };
    let (now, to, link) = (c.now(), m.node.addr.clone(), m.replicas[&key].link);
    if !failover::send_replicaof(c, link, Some(&to)) {
        return;
    }
    let conn = c.links[&link].cmd.conn();
    let Some(node) = m.replicas.get_mut(&key) else { return };
    node.told_at = Some(now);
    node.info_sent = now;
    node.info_conn = conn;
    node.fast_info_until = now + FAST_INFO_FOR_MS;
    node.may_be_old_master = false;
}

/// True when the master follows one of its replicas, and that one calls itself master: it has
/// handed over, and nobody has told.
pub(crate) fn left_behind(m: &Master) -> bool {
    let named = m.node.master_host.as_deref();
    m.node.role == Role::Replica
        && named.is_some_and(|host| {
            m.replicas
                .values()
                .any(|node| node.role == Role::Master && node.addr.is(host, m.node.master_port))
        })
}
