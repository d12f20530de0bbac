//! A snapshot of what this sentinel thinks, for the live view, the simulator and tests.

use stdx::MonoMs;

use crate::addr::Addr;
use crate::machine::Sentinel;
use crate::model::{Master, Node, Peer};

/// The whole sentinel.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its run id.
    pub myid: String,
    /// The highest epoch it has seen.
    pub current_epoch: u64,
    /// It distrusts its clock.
    pub tilt: bool,
    /// It gives no votes yet, because it started without state.
    pub muted: bool,
    /// All monitored masters, by name.
    pub masters: Vec<MasterStatus>,
}

/// One monitored master.
#[derive(Clone, Debug)]
pub struct MasterStatus {
    /// Its name.
    pub name: String,
    /// The address that clients are told.
    pub addr: Addr,
    /// Since when it is subjectively down.
    pub s_down: Option<MonoMs>,
    /// Since when it is objectively down.
    pub o_down: Option<MonoMs>,
    /// The epoch of the present configuration.
    pub config_epoch: u64,
    /// Sentinels that must agree on its being down.
    pub quorum: u64,
    /// `failover-state` of SENTINEL MASTER.
    pub failover_state: &'static str,
    /// Epoch of the failover that this sentinel leads.
    pub failover_epoch: Option<u64>,
    /// Whom this sentinel voted for last.
    pub voted_for: Option<String>,
    /// In which epoch.
    pub leader_epoch: u64,
    /// The master itself.
    pub node: NodeStatus,
    /// Its replicas.
    pub replicas: Vec<NodeStatus>,
    /// The other sentinels.
    pub peers: Vec<PeerStatus>,
}

/// A data node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Where it is.
    pub addr: Addr,
    /// Its run id, empty until known.
    pub runid: String,
    /// The role that it reports, `master` or `slave`.
    pub role: &'static str,
    /// The command link is up.
    pub connected: bool,
    /// It is subjectively down.
    pub s_down: bool,
    /// Replicas: the link to the master is up.
    pub master_link_up: bool,
    /// Replicas: applied offset.
    pub repl_offset: i64,
    /// Replicas: priority.
    pub priority: i64,
}

/// Another sentinel.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Where it is.
    pub addr: Addr,
    /// Its run id, empty until known.
    pub runid: String,
    /// The link is up.
    pub connected: bool,
    /// It is subjectively down.
    pub s_down: bool,
    /// It says that the master is down.
    pub master_down: bool,
    /// Whom it voted for last, as far as we were told.
    pub voted_for: Option<String>,
    /// In which epoch.
    pub leader_epoch: u64,
}

impl Sentinel {
    pub(crate) fn master_status(&self, m: &Master) -> MasterStatus {
        MasterStatus {
            name: m.name.clone(),
            addr: m.current_addr().clone(),
            s_down: m.node.s_down,
            o_down: m.o_down,
            config_epoch: m.config_epoch,
            quorum: m.quorum,
            failover_state: m.failover.word(),
            failover_epoch: m.failover.term().map(|t| t.failover_epoch),
            voted_for: m.leader.clone(),
            leader_epoch: m.leader_epoch,
            node: self.node_status(&m.node),
            replicas: m.replicas.values().map(|n| self.node_status(n)).collect(),
            peers: m.peers.values().map(|p| self.peer_status(p)).collect(),
        }
    }

    fn node_status(&self, node: &Node) -> NodeStatus {
        NodeStatus {
            addr: node.addr.clone(),
            runid: node.runid.clone(),
            role: node.role.word(),
            connected: self.c.link(node.link).cmd.is_up(),
            s_down: node.s_down.is_some(),
            master_link_up: node.master_link_up,
            repl_offset: node.repl_offset,
            priority: node.priority,
        }
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        PeerStatus {
            addr: peer.addr.clone(),
            runid: peer.runid.clone().unwrap_or_default(),
            connected: self.c.link(peer.link).cmd.is_up(),
            s_down: peer.s_down.is_some(),
            master_down: peer.master_down,
            voted_for: peer.leader.clone(),
            leader_epoch: peer.leader_epoch,
        }
    }
}
