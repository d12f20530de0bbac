//! What is known of a master, its replicas and the other sentinels that watch it.
//!
//! Data and small questions about it; nothing here acts. Keys are ordered, so that every walk over
//! them replays the same way.

use std::collections::{BTreeMap, BTreeSet};

use stdx::{MonoMs, ViewAddrs};

use crate::addr::Addr;
use crate::api::PersistToken;
use crate::link::LinkId;

/// Names one monitored master; a name that is removed and monitored anew gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MasterId(pub u64);

/// Announced host and port at the time the replica was found.
pub(crate) type ReplicaKey = (String, u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Replica,
}

impl Role {
    /// Redis's word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Replica => "slave",
        }
    }
}

/// How far a replica has come in following the new master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reconf {
    None,
    /// SLAVEOF was sent at that time.
    Sent(MonoMs),
    /// Its INFO names the new master.
    InProgress,
    /// Its link to the new master is up.
    Done,
}

/// Answer to ROLE while a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub role: Role,
    /// Negative when the node does not tell (its own master link is down).
    pub offset: i64,
}

/// A data node: the master itself or one of its replicas.
#[derive(Debug)]
pub(crate) struct Node {
    pub addr: Addr,
    pub link: LinkId,
    pub runid: String,
    pub s_down: Option<MonoMs>,
    /// When the last INFO arrived, and on which connection the last one was asked for.
    pub info_at: Option<MonoMs>,
    pub info_conn: Option<crate::api::ConnId>,
    pub info_sent: MonoMs,
    pub info_text: Vec<u8>,
    /// INFO is asked for at a fast pace until then.
    pub fast_info_until: MonoMs,
    pub role: Role,
    /// Since when that role is reported.
    pub role_at: MonoMs,
    pub last_publish: Option<MonoMs>,
    pub conf_change_at: MonoMs,
    pub master_link_down_ms: u64,
    pub master_link_up: bool,
    pub priority: i64,
    pub repl_offset: i64,
    pub master_host: Option<String>,
    pub master_port: u16,
    pub announced: bool,
    pub reboot_since: Option<MonoMs>,
    /// Keys that its last INFO told.
    pub keys: u64,
    /// Another process than before, and not yet found to have what its replicas have.
    pub fresh_run: bool,
    /// Since when it is known to have come back with less than its replicas have.
    pub poor_since: Option<MonoMs>,
    pub script_kill_sent: bool,
    pub reconf: Reconf,
    /// Its INFO told of a FAILOVER: `Some(true)` while one is under way, none if it knows of none.
    pub handing_over: Option<bool>,
    /// Live state, while it is asked for and after.
    pub live: Option<Live>,
    pub live_asked: bool,
    pub live_info: bool,
    /// Last time that SLAVEOF was sent outside a failover.
    pub told_at: Option<MonoMs>,
    /// When it became known in its present part.
    pub added_at: MonoMs,
    /// When it last came back from being down, or was found.
    pub up_since: MonoMs,
    /// It has not been seen as a replica since it was the master, or since it was found: when it
    /// calls itself master it is an old one that came back, not one that was just promoted.
    pub may_be_old_master: bool,
    /// Its further addresses.
    pub views: ViewAddrs,
}

impl Node {
    pub fn new(addr: Addr, link: LinkId, role: Role, now: MonoMs) -> Node {
        Node {
            addr,
            link,
            runid: String::new(),
            s_down: None,
            info_at: None,
            info_conn: None,
            info_sent: now,
            info_text: Vec::new(),
            fast_info_until: MonoMs(0),
            role,
            role_at: now,
            last_publish: None,
            conf_change_at: now,
            master_link_down_ms: 0,
            master_link_up: false,
            priority: 100,
            repl_offset: 0,
            master_host: None,
            master_port: 0,
            announced: true,
            reboot_since: None,
            keys: 0,
            fresh_run: false,
            poor_since: None,
            script_kill_sent: false,
            reconf: Reconf::None,
            handing_over: None,
            live: None,
            live_asked: false,
            live_info: false,
            told_at: None,
            added_at: now,
            up_since: now,
            may_be_old_master: true,
            views: ViewAddrs::default(),
        }
    }
}

/// What a peer last said about the master.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub at: MonoMs,
    pub config_epoch: u64,
    /// It named the address that we know.
    pub same_addr: bool,
    /// It leads a failover of that very configuration.
    pub in_failover: bool,
}

/// Another sentinel, as far as one master is concerned.
#[derive(Debug)]
pub(crate) struct Peer {
    pub addr: Addr,
    pub link: LinkId,
    /// Unknown for an entry of an old file.
    pub runid: Option<String>,
    pub s_down: Option<MonoMs>,
    pub last_hello: MonoMs,
    pub last_publish: Option<MonoMs>,
    /// It answered that the master is down.
    pub master_down: bool,
    pub last_down_reply: Option<MonoMs>,
    pub asked_at: Option<MonoMs>,
    pub leader: Option<String>,
    pub leader_epoch: u64,
    pub named: Option<Named>,
    /// Its further addresses.
    pub views: ViewAddrs,
}

impl Peer {
    pub fn new(addr: Addr, link: LinkId, runid: Option<String>, now: MonoMs) -> Peer {
        Peer {
            addr,
            link,
            runid,
            s_down: None,
            last_hello: now,
            last_publish: None,
            master_down: false,
            last_down_reply: None,
            asked_at: None,
            leader: None,
            leader_epoch: 0,
            named: None,
            views: ViewAddrs::default(),
        }
    }

    /// The key under which it is kept, which is also its name in events.
    pub fn key(&self) -> String {
        self.runid.clone().unwrap_or_else(|| format!("{}:{}", self.addr.ip_text(), self.addr.port))
    }
}

/// Why a failover was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The master is objectively down.
    Down,
    /// SENTINEL FAILOVER in Redis's way: no votes, and the master is not asked.
    Forced,
    /// The master hands over, because it is about to end, or on an operator's word.
    Planned(Plan),
}

impl Cause {
    pub fn is_planned(self) -> bool {
        matches!(self, Cause::Planned(_))
    }
}

/// Who wants a planned switch: that decides what becomes of it when it cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The master, before it ends: without a majority, or a replica, it comes to nothing.
    Shutdown,
    /// `SENTINEL FAILOVER name COORDINATED`: the same.
    Coordinated,
    /// `SENTINEL FAILOVER name`: when no majority answers the switch is made without one, as in
    /// Redis; when the master refuses, a replica is promoted without it.
    Anyhow,
}

/// What is common to all states of a running failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub failover_epoch: u64,
    pub cause: Cause,
    /// When the present state was entered.
    pub since: MonoMs,
}

/// Failover of one master, led by this sentinel.
///
/// ```text
/// Idle -> WaitStart -> SelectReplica -> SendReplicaofNoOne -> WaitPromotion
///      -> ReconfReplicas -> UpdateConfig -> Idle
/// ```
/// A planned switch has HandOver in the place of SendReplicaofNoOne and WaitPromotion.
/// Any state up to WaitPromotion may abort to Idle; the later ones only finish.
///
/// Source: redis 7.0 `sentinel.c:sentinelFailoverStateMachine`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failover {
    Idle,
    /// Votes are asked for, once the new epoch and our own vote are on disk.
    WaitStart {
        term: Term,
        token: PersistToken,
    },
    /// Elected; live offsets are being asked from the replicas.
    SelectReplica {
        term: Term,
    },
    /// A replica is chosen; its link is awaited.
    SendReplicaofNoOne {
        term: Term,
        chosen: ReplicaKey,
    },
    /// `SLAVEOF NO ONE` was sent; INFO has to say `role:master`.
    WaitPromotion {
        term: Term,
        chosen: ReplicaKey,
    },
    /// The master was sent `FAILOVER TO` the chosen replica, which has to say `role:master`.
    /// `accepted`: it has answered OK.
    HandOver {
        term: Term,
        chosen: ReplicaKey,
        accepted: bool,
    },
    /// The new master exists; the others are being told.
    /// `all_told_at`: when the last reachable replica got its SLAVEOF.
    ReconfReplicas {
        term: Term,
        promoted: ReplicaKey,
        all_told_at: Option<MonoMs>,
    },
    /// The entry is about to be switched over.
    UpdateConfig {
        term: Term,
        promoted: ReplicaKey,
    },
}

impl Failover {
    pub fn term(&self) -> Option<&Term> {
        match self {
            Failover::Idle => None,
            Failover::WaitStart { term, .. }
            | Failover::SelectReplica { term }
            | Failover::SendReplicaofNoOne { term, .. }
            | Failover::WaitPromotion { term, .. }
            | Failover::HandOver { term, .. }
            | Failover::ReconfReplicas { term, .. }
            | Failover::UpdateConfig { term, .. } => Some(term),
        }
    }

    pub fn is_idle(&self) -> bool {
        *self == Failover::Idle
    }

    /// The replica that has become the master but has not yet taken the entry's place.
    pub fn promoted(&self) -> Option<&ReplicaKey> {
        match self {
            Failover::ReconfReplicas { promoted, .. } | Failover::UpdateConfig { promoted, .. } => {
                Some(promoted)
            }
            _ => None,
        }
    }

    /// The replica that is being promoted or has been.
    pub fn chosen(&self) -> Option<&ReplicaKey> {
        match self {
            Failover::SendReplicaofNoOne { chosen, .. }
            | Failover::WaitPromotion { chosen, .. }
            | Failover::HandOver { chosen, .. } => Some(chosen),
            _ => self.promoted(),
        }
    }

    /// Name of the state in `failover-state`.
    pub fn word(&self) -> &'static str {
        match self {
            Failover::Idle => "none",
            Failover::WaitStart { .. } => "wait_start",
            Failover::SelectReplica { .. } => "select_slave",
            Failover::SendReplicaofNoOne { .. } => "send_slaveof_noone",
            Failover::WaitPromotion { .. } => "wait_promotion",
            Failover::HandOver { .. } => "send_failover",
            Failover::ReconfReplicas { .. } => "reconf_slaves",
            Failover::UpdateConfig { .. } => "update_config",
        }
    }
}

/// A vote given to another sentinel: it leads, we wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub leader: String,
    pub since: MonoMs,
}

/// A round of questions whether the others know the same master, begun when a replica was first
/// seen to call itself one.
#[derive(Clone, Debug)]
pub(crate) struct Confirmation {
    pub since: MonoMs,
    pub asked: BTreeSet<String>,
    pub agreed: BTreeSet<String>,
    pub higher: bool,
}

/// One monitored master.
#[derive(Debug)]
pub(crate) struct Master {
    pub id: MasterId,
    pub name: String,
    pub node: Node,
    pub replicas: BTreeMap<ReplicaKey, Node>,
    pub peers: BTreeMap<String, Peer>,
    pub quorum: u64,
    pub down_after: u64,
    pub failover_timeout: u64,
    pub parallel_syncs: i64,
    pub crash_grace: u64,
    pub reboot_down_after: u64,
    /// Replicas and sentinels that are down for so long are forgotten; 0 = never.
    pub forget_after: u64,
    pub notification_script: Option<String>,
    pub client_reconfig_script: Option<String>,
    pub auth_user: Option<String>,
    pub auth_pass: Option<String>,
    pub renamed: BTreeMap<String, String>,
    pub o_down: Option<MonoMs>,
    pub config_epoch: u64,
    /// The configuration that the disk holds; hellos speak of nothing newer.
    pub durable: (u64, Addr),
    /// Whom this sentinel voted for, and in which epoch.
    pub leader: Option<String>,
    pub leader_epoch: u64,
    pub failover: Failover,
    /// No failover starts before this plus twice the failover time-out.
    pub failover_start_time: Option<MonoMs>,
    pub failover_delay_logged: Option<MonoMs>,
    /// When the failover that is allowed now will start.
    pub start_at: Option<MonoMs>,
    /// After a lost election of our own: not before this, and how many were lost in a row.
    pub retry_at: Option<MonoMs>,
    pub elections_lost: u32,
    pub following: Option<Following>,
    pub confirmation: Option<Confirmation>,
    /// The address before the last switch, and who told us of the switch (nobody: we led it).
    pub previous: Option<(Addr, Option<String>)>,
    /// No peer has been heard for some seconds.
    pub isolated: bool,
    /// When this master has to be looked at again.
    pub deadline: MonoMs,
}

impl Master {
    /// The address that clients are told: during the last steps of a failover already the new one.
    pub fn current_addr(&self) -> &Addr {
        match self.failover.promoted().and_then(|key| self.replicas.get(key)) {
            Some(node) => &node.addr,
            None => &self.node.addr,
        }
    }

    /// The node that clients are told to be the master.
    pub fn current_node(&self) -> &Node {
        self.failover.promoted().and_then(|key| self.replicas.get(key)).unwrap_or(&self.node)
    }

    /// The data node at this address.
    pub fn node_at(&self, host: &str, port: u16) -> Option<&Node> {
        std::iter::once(&self.node).chain(self.replicas.values()).find(|n| n.addr.is(host, port))
    }

    /// Votes that are needed to lead: a majority of all known sentinels, and the quorum.
    pub fn votes_needed(&self) -> u64 {
        self.majority().max(self.quorum)
    }

    /// A majority of all known sentinels, this one included.
    pub fn majority(&self) -> u64 {
        let known = self.peers.len() as u64 + 1;
        known / 2 + 1
    }

    /// The replica with this address, by name or by IP.
    pub fn replica_at(&self, host: &str, port: u16) -> Option<ReplicaKey> {
        let key = (host.to_string(), port);
        if self.replicas.contains_key(&key) {
            return Some(key);
        }
        self.replicas.iter().find(|(_, node)| node.addr.is(host, port)).map(|(key, _)| key.clone())
    }
}
