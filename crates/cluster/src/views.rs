//! What clients are shown: pure functions of the machine's state. The driver makes replies of the
//! models here; texts are Redis's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::api::ConnId;
use crate::bus::KIND_NAMES;
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::Cluster;
use crate::node::{Ix, Node};
use crate::slots::SLOTS;

/// `cluster-preferred-endpoint-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EndpointType {
    /// The address.
    #[default]
    Ip,
    /// The host name, `?` where there is none.
    Hostname,
    /// Nothing: the client takes the address that it has used.
    Unknown,
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name to show; nothing for a null.
    pub host: Option<String>,
    /// The port for this client.
    pub port: u16,
}

/// One node of CLUSTER SLOTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsNode {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its name.
    pub id: NodeId,
    /// What the endpoint does not say: `ip`, `hostname`.
    pub meta: Vec<(&'static str, String)>,
}

/// One entry of CLUSTER SLOTS: a range and its nodes, the master first.
pub type SlotsEntry = ((u16, u16), Vec<SlotsNode>);

/// One node of CLUSTER SHARDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardNode {
    /// Its name.
    pub id: NodeId,
    /// Its port without TLS; 0: none.
    pub port: u16,
    /// Its port with TLS; 0: none.
    pub tls_port: u16,
    /// Its address.
    pub ip: String,
    /// The preferred endpoint.
    pub endpoint: Option<String>,
    /// Its host name, empty for none.
    pub hostname: String,
    /// `master` or `replica`.
    pub role: &'static str,
    /// Its replication offset.
    pub replication_offset: u64,
    /// `online`, `failed` or `loading`.
    pub health: &'static str,
}

/// One shard of CLUSTER SHARDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its slots.
    pub slots: Vec<(u16, u16)>,
    /// Its nodes.
    pub nodes: Vec<ShardNode>,
}

/// One entry of CLUSTER LINKS. What waits in the connection's buffer, the driver knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The connection.
    pub conn: ConnId,
    /// Opened by this node (`to`) or by the other (`from`).
    pub outgoing: bool,
    /// The other node.
    pub node: NodeId,
    /// When it was made, in ms since the Unix epoch.
    pub create_time: i64,
}

impl Cluster {
    /// CLUSTER MYSHARDID. Redis 7.2.
    pub fn my_shard(&self) -> NodeId {
        self.me().shard.unwrap_or(self.me().id)
    }

    /// One line of CLUSTER NODES, without its end.
    fn nodes_line(&self, ix: Ix, slots: Vec<(u16, u16)>, tls: bool) -> String {
        let node = self.node(ix);
        let mut line = self.conf_node(ix, node, slots);
        line.port = self.client_port(node, tls);
        let mut text = String::new();
        line.push_line(&mut text, false);
        text
    }

    /// The port of a node for clients that use TLS, or not; 0: none.
    fn client_port(&self, node: &Node, tls: bool) -> u16 {
        if tls == self.options.tls { node.port } else { node.other_port }
    }

    fn ranges_by_owner(&self) -> BTreeMap<Ix, Vec<(u16, u16)>> {
        let mut ranges: BTreeMap<Ix, Vec<(u16, u16)>> = BTreeMap::new();
        for (ix, range) in self.owned_ranges() {
            ranges.entry(ix).or_default().push(range);
        }
        ranges
    }

    /// CLUSTER NODES, for a client that uses TLS or not.
    pub fn nodes_text(&self, tls: bool) -> String {
        let mut ranges = self.ranges_by_owner();
        let mut text = String::new();
        for ix in self.nodes.keys() {
            text.push_str(&self.nodes_line(*ix, ranges.remove(ix).unwrap_or_default(), tls));
            text.push('\n');
        }
        text
    }

    /// CLUSTER REPLICAS: lines as in CLUSTER NODES.
    pub fn replicas_lines(&self, id: &NodeId, tls: bool) -> Result<Vec<String>, String> {
        let Some(ix) = self.find(id) else {
            return Err(format!("ERR Unknown node {id}"));
        };
        if !self.node(ix).is_master() {
            return Err("ERR The specified node is not a master".into());
        }
        Ok(self.replicas_of(ix).map(|(ix, _)| self.nodes_line(ix, Vec::new(), tls)).collect())
    }

    /// CLUSTER COUNT-FAILURE-REPORTS.
    pub fn count_failure_reports(&self, id: &NodeId) -> Result<usize, String> {
        let Some(ix) = self.find(id) else {
            return Err(format!("ERR Unknown node {id}"));
        };
        let valid = self.options.node_timeout.saturating_mul(2);
        let now = self.now.mono;
        Ok(self.node(ix).reports.values().filter(|at| now.since(**at) <= valid).count())
    }

    /// CLUSTER INFO; `links_exceeded` is how many links the driver has closed for their buffers.
    pub fn info_text(&self, links_exceeded: u64) -> String {
        let (mut assigned, mut pfail, mut fail) = (0u32, 0u32, 0u32);
        for node in self.nodes.values() {
            let slots = u32::from(node.slots);
            assigned += slots;
            if node.failed() {
                fail += slots;
            } else if node.flags.has(Flags::PFAIL) {
                pfail += slots;
            }
        }
        let my_epoch =
            self.me().master.map_or(self.me().config_epoch, |ix| self.node(ix).config_epoch);
        let mut text = String::new();
        let _ = write!(
            text,
            "cluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{}\r\n\
             cluster_slots_pfail:{pfail}\r\ncluster_slots_fail:{fail}\r\ncluster_known_nodes:{}\r\n\
             cluster_size:{}\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{my_epoch}\r\n",
            if self.down { "fail" } else { "ok" },
            assigned - pfail - fail,
            self.nodes.len(),
            self.nodes.values().filter(|node| node.votes()).count(),
            self.current_epoch,
        );
        for (counts, word) in [(&self.sent, "sent"), (&self.received, "received")] {
            for (count, name) in counts.iter().zip(KIND_NAMES).filter(|(count, _)| **count > 0) {
                let _ = write!(text, "cluster_stats_messages_{name}_{word}:{count}\r\n");
            }
            let total: u64 = counts.iter().sum();
            let _ = write!(text, "cluster_stats_messages_{word}:{total}\r\n");
        }
        let _ = write!(text, "total_cluster_links_buffer_limit_exceeded:{links_exceeded}\r\n");
        text
    }

    /// Where a node is, for a client.
    fn endpoint(&self, node: &Node, kind: EndpointType, tls: bool) -> Endpoint {
        let host = match kind {
            EndpointType::Ip => Some(node.ip.as_str().to_string()),
            EndpointType::Hostname if node.hostname.is_empty() => Some("?".to_string()),
            EndpointType::Hostname => Some(node.hostname.clone()),
            EndpointType::Unknown => None,
        };
        Endpoint { host, port: self.client_port(node, tls) }
    }

    /// CLUSTER SLOTS.
    pub fn slots_view(&self, kind: EndpointType, tls: bool) -> Vec<SlotsEntry> {
        let entry = |node: &Node| {
            let mut meta = Vec::new();
            if kind != EndpointType::Ip {
                meta.push(("ip", node.ip.as_str().to_string()));
            }
            if kind != EndpointType::Hostname && !node.hostname.is_empty() {
                meta.push(("hostname", node.hostname.clone()));
            }
            SlotsNode { endpoint: self.endpoint(node, kind, tls), id: node.id, meta }
        };
        let mut by_master: BTreeMap<Ix, Vec<SlotsNode>> = BTreeMap::new();
        self.owned_ranges()
            .into_iter()
            .map(|(ix, range)| {
                let nodes = by_master.entry(ix).or_insert_with(|| {
                    let replicas = self.replicas_of(ix).filter(|(_, node)| !node.failed());
                    let replicas = replicas.map(|(_, node)| entry(node));
                    std::iter::once(entry(self.node(ix))).chain(replicas).collect()
                });
                (range, nodes.clone())
            })
            .collect()
    }

    /// CLUSTER SHARDS.
    pub fn shards_view(&self, kind: EndpointType) -> Vec<Shard> {
        let mut ranges = self.ranges_by_owner();
        let masters = self.nodes.iter().filter(|(_, node)| node.is_master() && !node.handshaking());
        masters
            .map(|(ix, master)| {
                let replicas =
                    self.replicas_of(*ix).map(|(ix, node)| self.shard_node(ix, node, kind));
                let master = self.shard_node(*ix, master, kind);
                Shard {
                    slots: ranges.remove(ix).unwrap_or_default(),
                    nodes: std::iter::once(master).chain(replicas).collect(),
                }
            })
            .collect()
    }

    fn shard_node(&self, ix: Ix, node: &Node, kind: EndpointType) -> ShardNode {
        let offset = if ix == self.me { self.facts.repl_offset } else { node.repl_offset };
        let health = if node.failed() {
            "failed"
        } else if node.is_replica() && offset == 0 {
            "loading"
        } else {
            "online"
        };
        ShardNode {
            id: node.id,
            port: self.client_port(node, false),
            tls_port: self.client_port(node, true),
            ip: node.ip.as_str().to_string(),
            endpoint: self.endpoint(node, kind, self.options.tls).host,
            hostname: node.hostname.clone(),
            role: if node.is_master() { "master" } else { "replica" },
            replication_offset: offset,
            health,
        }
    }

    /// CLUSTER LINKS: all links to and from nodes that are known.
    pub fn links_view(&self) -> Vec<LinkView> {
        let mut links = Vec::new();
        for node in self.nodes.values() {
            let both = [(node.link.map(|link| link.conn), true), (node.inbound, false)];
            for (conn, outgoing) in both {
                if let Some(conn) = conn
                    && let Some(state) = self.conns.get(&conn)
                {
                    let create_time = state.created_unix;
                    links.push(LinkView { conn, outgoing, node: node.id, create_time });
                }
            }
        }
        links
    }

    /// What redirects need to know of every slot, to be shared with workers whenever
    /// [`Cluster::view_version`] has grown.
    pub fn routes(&self, kind: EndpointType) -> crate::redirect::Routes {
        use crate::redirect::{Place, Routes};
        let my_master = self.me().master;
        let mut places: Vec<Place> = Vec::new();
        let mut known: BTreeMap<Ix, u16> = BTreeMap::new();
        let mut place_of = |ix: Ix| {
            *known.entry(ix).or_insert_with(|| {
                let node = self.node(ix);
                places.push(Place {
                    id: node.id,
                    plain: self.endpoint(node, kind, false),
                    tls: self.endpoint(node, kind, true),
                    mine: ix == self.me,
                    my_master: my_master == Some(ix),
                });
                places.len() as u16
            })
        };
        let mut owner = vec![0u16; usize::from(SLOTS)];
        for (ix, (from, to)) in self.owned_ranges() {
            let place = place_of(ix);
            // A claim of this node counts from when the disk knows it.
            for slot in from..=to {
                if ix != self.me || self.face.slots.contains(slot) {
                    owner[usize::from(slot)] = place;
                }
            }
        }
        let migrating = self.migrating.iter().map(|(slot, ix)| (*slot, place_of(*ix))).collect();
        let importing = self.importing.keys().copied().collect();
        Routes {
            down: self.down,
            reads_when_down: self.options.reads_when_down,
            pubsubshard_when_down: self.options.pubsubshard_when_down,
            replica: self.me().is_replica(),
            owner,
            migrating,
            importing,
            places,
        }
    }
}
