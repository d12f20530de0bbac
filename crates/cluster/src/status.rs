//! A snapshot of what this node thinks, for tests, simulators and the live view.

use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::Cluster;

/// What this node thinks of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub id: NodeId,
    /// Its flags.
    pub flags: Flags,
    /// Its master.
    pub master: Option<NodeId>,
    /// Its config epoch.
    pub config_epoch: u64,
    /// Its slots, as ranges.
    pub slots: Vec<(u16, u16)>,
    /// Whether the link to it stands.
    pub connected: bool,
}

impl Cluster {
    /// This node's name.
    pub fn myid(&self) -> NodeId {
        self.me().id
    }

    /// The greatest epoch known, this node's config epoch, and the last epoch it voted in.
    pub fn epochs(&self) -> (u64, u64, u64) {
        (self.current_epoch, self.me().config_epoch, self.last_vote_epoch)
    }

    /// Whether the cluster serves, as far as this node can tell.
    pub fn is_ok(&self) -> bool {
        !self.down
    }

    /// Whether this node is a replica.
    pub fn is_replica(&self) -> bool {
        self.me().is_replica()
    }

    /// How many nodes are known, this one and those of handshakes included.
    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes, in the order of their names.
    pub fn status(&self) -> Vec<NodeStatus> {
        let conf = self.conf();
        let mut all: Vec<NodeStatus> = conf
            .nodes
            .into_iter()
            .map(|node| NodeStatus {
                id: node.id,
                flags: node.flags,
                master: node.master,
                config_epoch: node.config_epoch,
                slots: node.slots,
                connected: node.connected,
            })
            .collect();
        all.sort_by_key(|node| node.id);
        all
    }
}
