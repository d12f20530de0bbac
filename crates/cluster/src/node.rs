//! What is known of one node.

use std::collections::BTreeMap;

use stdx::MonoMs;

use crate::api::ConnId;
use crate::bus::IpText;
use crate::flags::Flags;
use crate::id::NodeId;

/// A node's place in the tables of this machine; 0 stands for nobody. It outlives a change of the
/// name, which comes with the end of a handshake.
pub(crate) type Ix = u32;

/// The connection that this node has opened to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub conn: ConnId,
    pub since: MonoMs,
    pub up: bool,
}

/// One node, as this one sees it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub id: NodeId,
    pub flags: Flags,
    pub ip: IpText,
    pub port: u16,
    pub bus_port: u16,
    pub other_port: u16,
    pub hostname: String,
    pub nodename: String,
    pub shard: Option<NodeId>,
    /// Named fields of the file that this version does not know.
    pub unknown: Vec<(String, String)>,
    pub config_epoch: u64,
    pub master: Option<Ix>,
    pub slots: u16,
    pub created: MonoMs,
    /// The ping that is not answered yet.
    pub ping_sent: Option<MonoMs>,
    pub pong_received: Option<MonoMs>,
    pub data_received: Option<MonoMs>,
    pub fail_time: MonoMs,
    /// When this node last voted for a replica of it.
    pub voted: Option<MonoMs>,
    pub repl_offset: u64,
    /// Since when it has slots and no working replica.
    pub orphaned: Option<MonoMs>,
    /// Which masters reported it as failing, and when.
    pub reports: BTreeMap<Ix, MonoMs>,
    pub link: Option<Link>,
    pub inbound: Option<ConnId>,
    /// It has shown that it understands extensions.
    pub extensions: bool,
    /// The last message whose gossip it stood in.
    pub gossiped: u64,
}

impl Node {
    pub fn new(id: NodeId, flags: Flags, created: MonoMs) -> Node {
        Node {
            id,
            flags,
            ip: IpText::NONE,
            port: 0,
            bus_port: 0,
            other_port: 0,
            hostname: String::new(),
            nodename: String::new(),
            shard: None,
            unknown: Vec::new(),
            config_epoch: 0,
            master: None,
            slots: 0,
            created,
            ping_sent: None,
            pong_received: None,
            data_received: None,
            fail_time: created,
            voted: None,
            repl_offset: 0,
            orphaned: None,
            reports: BTreeMap::new(),
            link: None,
            inbound: None,
            extensions: false,
            gossiped: 0,
        }
    }

    pub fn is_master(&self) -> bool {
        self.flags.has(Flags::MASTER)
    }

    pub fn is_replica(&self) -> bool {
        self.flags.has(Flags::REPLICA)
    }

    pub fn failed(&self) -> bool {
        self.flags.has(Flags::FAIL)
    }

    /// FAIL or PFAIL.
    pub fn doubtful(&self) -> bool {
        self.flags.has(Flags::FAIL.with(Flags::PFAIL))
    }

    pub fn handshaking(&self) -> bool {
        self.flags.has(Flags::HANDSHAKE)
    }

    /// A master whose vote counts.
    pub fn votes(&self) -> bool {
        self.is_master() && self.slots > 0
    }
}
