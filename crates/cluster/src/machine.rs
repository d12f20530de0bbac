//! The node of a cluster itself: every call, and what is done at the end of each.

use std::collections::{BTreeMap, VecDeque};

use stdx::{MonoMs, Prng};

use crate::api::{ConnId, Facts, Input, LogLevel, Now, Options, Output, PersistToken};
use crate::bus::{Cutter, IpText, KIND_NAMES};
use crate::conf::NodesConf;
use crate::election::{Election, Manual};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::node::{Ix, Node};
use crate::save::{Face, Promise};
use crate::slots::{SLOTS, SlotSet};

/// How often the periodic work is done.
pub(crate) const CRON_MS: u64 = 100;
/// Epochs beyond this are nonsense: nobody gets there by counting, and there is room above it to count.
pub(crate) const EPOCH_MAX: u64 = i64::MAX as u64;
/// More nodes than a cluster can have; a peer that tells of more is not believed.
pub(crate) const NODES_MAX: usize = 20_000;

/// A connection of the bus.
pub(crate) struct Conn {
    /// The node to which this one has opened it.
    pub to: Option<Ix>,
    /// The node from which it was accepted, once that has shown its name.
    pub from: Option<Ix>,
    pub peer: Option<std::net::IpAddr>,
    pub local: Option<std::net::IpAddr>,
    pub cutter: Cutter,
    pub up: bool,
    /// When it was made, in ms since the Unix epoch.
    pub created_unix: i64,
}

/// A node of a cluster without I/O. The driver's duties are listed at the head of the crate.
pub struct Cluster {
    pub(crate) options: Options,
    pub(crate) now: Now,
    pub(crate) facts: Facts,
    pub(crate) prng: Prng,
    pub(crate) me: Ix,
    pub(crate) nodes: BTreeMap<Ix, Node>,
    pub(crate) ids: BTreeMap<NodeId, Ix>,
    /// All nodes in no order, to draw lots from.
    pub(crate) lots: Vec<Ix>,
    pub(crate) next_ix: Ix,
    /// The owner of each slot, 0 for nobody.
    pub(crate) owner: Vec<Ix>,
    pub(crate) migrating: BTreeMap<u16, Ix>,
    pub(crate) importing: BTreeMap<u16, Ix>,
    pub(crate) current_epoch: u64,
    pub(crate) last_vote_epoch: u64,
    /// The cluster does not serve.
    pub(crate) down: bool,
    /// Masters with slots.
    pub(crate) size: usize,
    pub(crate) minority_at: Option<MonoMs>,
    pub(crate) started: MonoMs,
    pub(crate) election: Election,
    pub(crate) manual: Option<Manual>,
    pub(crate) blacklist: BTreeMap<NodeId, MonoMs>,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) next_conn: u64,
    pub(crate) out: VecDeque<Output>,
    pub(crate) sent: [u64; KIND_NAMES.len()],
    pub(crate) received: [u64; KIND_NAMES.len()],
    pub(crate) gossip_serial: u64,
    /// What others are told of this node: never more than the disk knows.
    pub(crate) face: Face,
    pub(crate) face_stale: bool,
    pub(crate) unsaved: Option<bool>,
    pub(crate) pending: VecDeque<(PersistToken, Face)>,
    pub(crate) held: VecDeque<(PersistToken, Promise)>,
    pub(crate) next_token: u64,
    pub(crate) retry_save: Option<MonoMs>,
    pub(crate) judge: bool,
    pub(crate) view_version: u64,
    pub(crate) next_cron: MonoMs,
    pub(crate) crons: u64,
}

impl Cluster {
    /// A node that starts, from its file if it has one. The first output saves the file.
    pub fn new(now: Now, conf: Option<&NodesConf>, options: Options) -> Cluster {
        let me = 1;
        let mut myself = Node::new(options.myid, Flags::MYSELF.with(Flags::MASTER), now.mono);
        myself.shard = Some(options.shard);
        let mut cluster = Cluster {
            prng: Prng::new(options.seed),
            now,
            facts: Facts::default(),
            me,
            nodes: BTreeMap::new(),
            ids: BTreeMap::new(),
            lots: Vec::new(),
            next_ix: 1,
            owner: vec![0; usize::from(SLOTS)],
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            current_epoch: 0,
            last_vote_epoch: 0,
            down: true,
            size: 1,
            minority_at: None,
            started: now.mono,
            election: Election::default(),
            manual: None,
            blacklist: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 2,
            out: VecDeque::new(),
            sent: [0; KIND_NAMES.len()],
            received: [0; KIND_NAMES.len()],
            gossip_serial: 0,
            face: Face::default(),
            face_stale: true,
            unsaved: Some(true),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            next_token: 1,
            retry_save: None,
            judge: true,
            view_version: 1,
            next_cron: now.mono,
            crons: 0,
            options,
        };
        match conf {
            Some(conf) => cluster.load(conf),
            None => {
                cluster.add_node(myself);
                let line = format!("No cluster configuration found, I'm {}", cluster.me().id);
                cluster.log(LogLevel::Notice, line);
            }
        }
        cluster.announce_myself();
        if cluster.me().is_replica() {
            cluster.follow_master();
        }
        // What the file said may be told at once.
        cluster.refresh_face();
        cluster.finish();
        cluster
    }

    /// Settings have changed (CONFIG SET).
    pub fn set_options(&mut self, now: Now, options: Options) {
        self.begin(now);
        self.options = options;
        self.announce_myself();
        self.judge = true;
        self.finish();
    }

    /// Sets what this node says of itself from its settings.
    fn announce_myself(&mut self) {
        let options = &self.options;
        let (port, other, bus) = (options.port, options.other_port, options.bus_port);
        let (hostname, nodename) = (options.hostname.clone(), options.nodename.clone());
        let ip = options.announce_ip.map(|ip| IpText::new(&ip.to_string()));
        let no_failover = options.no_failover;
        let me = self.me_mut();
        (me.port, me.other_port, me.bus_port) = (port, other, bus);
        (me.hostname, me.nodename) = (hostname, nodename);
        if let Some(ip) = ip {
            me.ip = ip;
        }
        if no_failover {
            me.flags.set(Flags::NOFAILOVER);
        } else {
            me.flags.clear(Flags::NOFAILOVER);
        }
        self.changed(false);
    }

    /// What the data side looks like.
    pub fn set_facts(&mut self, facts: Facts) {
        self.facts = facts;
    }

    /// Whether a handover waits for the offset: the driver then reports it as it moves, followed by
    /// a call of [`Cluster::handle_timeout`].
    pub fn wants_offset(&self) -> bool {
        self.manual.is_some()
    }

    /// Something has happened.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        self.begin(now);
        match input {
            Input::Connected { conn } => self.connected(conn),
            Input::ConnectFailed { conn } | Input::Closed { conn } => self.gone(conn),
            Input::Accepted { conn, peer, local } => self.accepted(conn, peer, local),
            Input::Received { conn, bytes } => self.bytes(conn, bytes),
            Input::Persisted { token } => self.persisted(token),
            Input::PersistFailed { token } => self.persist_failed(token),
        }
        self.finish();
    }

    /// The time of [`Cluster::poll_timeout`] has come, or the facts have changed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin(now);
        if now.mono >= self.next_cron {
            self.next_cron = now.mono + CRON_MS;
            self.cron();
        }
        self.finish();
    }

    /// When the machine wants to be called again. It may move with every call.
    pub fn poll_timeout(&self) -> MonoMs {
        match self.election_due() {
            Some(due) => due.min(self.next_cron),
            None => self.next_cron,
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Grows whenever something changed that redirects, CLUSTER SLOTS or the like show.
    pub fn view_version(&self) -> u64 {
        self.view_version
    }

    /// Takes the time in. A process that was stopped for long knows nothing: whoever seems silent
    /// was not heard, and a master may have been replaced.
    pub(crate) fn begin(&mut self, now: Now) {
        let late = now.mono.since(self.next_cron);
        self.now = now;
        if late <= (self.options.node_timeout / 2).max(500) {
            return;
        }
        self.next_cron = now.mono;
        for node in self.nodes.values_mut() {
            if node.ping_sent.is_some() {
                node.ping_sent = Some(now.mono);
            }
        }
        if late > self.options.node_timeout && self.me().is_master() && self.nodes.len() > 1 {
            self.log(LogLevel::Warning, format!("This process did not run for {late} ms"));
            self.minority_at = Some(now.mono);
            self.set_down(true);
        }
    }

    /// What ends every call.
    pub(crate) fn finish(&mut self) {
        self.handover_step();
        self.election_step();
        if self.judge {
            self.judge = false;
            self.judge_state();
        }
        self.save_if_needed();
        #[cfg(any(test, debug_assertions))]
        self.invariants();
    }

    pub(crate) fn log(&mut self, level: LogLevel, line: impl Into<String>) {
        self.out.push_back(Output::Log { level, line: line.into() });
    }

    pub(crate) fn me(&self) -> &Node {
        &self.nodes[&self.me]
    }

    pub(crate) fn me_mut(&mut self) -> &mut Node {
        let me = self.me;
        self.node_mut(me)
    }

    pub(crate) fn node(&self, ix: Ix) -> &Node {
        &self.nodes[&ix]
    }

    pub(crate) fn node_mut(&mut self, ix: Ix) -> &mut Node {
        self.nodes.get_mut(&ix).expect("a node's place is not given up while somebody has it")
    }

    pub(crate) fn find(&self, id: &NodeId) -> Option<Ix> {
        self.ids.get(id).copied()
    }

    /// Something was changed that stands in the file; `hard`: what nobody may hear before it is on
    /// disk.
    pub(crate) fn changed(&mut self, hard: bool) {
        self.unsaved = Some(self.unsaved.unwrap_or(false) || hard);
        self.face_stale = true;
        self.judge = true;
        self.view_version += 1;
    }

    pub(crate) fn add_node(&mut self, node: Node) -> Ix {
        let ix = self.next_ix;
        self.next_ix += 1;
        let before = self.ids.insert(node.id, ix);
        assert!(before.is_none(), "a name stands for one node");
        self.nodes.insert(ix, node);
        self.lots.push(ix);
        ix
    }

    /// Forgets a node and everything that points to it.
    pub(crate) fn remove_node(&mut self, ix: Ix) {
        assert!(ix != self.me, "a node does not forget itself");
        self.close_link(ix);
        if let Some(conn) = self.node(ix).inbound {
            self.close_conn(conn);
        }
        for slot in 0..SLOTS {
            if self.owner[usize::from(slot)] == ix {
                self.set_owner(slot, None);
            }
        }
        self.migrating.retain(|_, to| *to != ix);
        self.importing.retain(|_, from| *from != ix);
        for node in self.nodes.values_mut() {
            node.reports.remove(&ix);
            if node.master == Some(ix) {
                node.master = None;
            }
        }
        self.leave_master(ix);
        let Some(node) = self.nodes.remove(&ix) else {
            return;
        };
        if self.ids.get(&node.id) == Some(&ix) {
            self.ids.remove(&node.id);
        }
        self.lots.retain(|lot| *lot != ix);
        self.changed(false);
    }

    pub(crate) fn rename_node(&mut self, ix: Ix, id: NodeId) {
        let old = std::mem::replace(&mut self.node_mut(ix).id, id);
        self.ids.remove(&old);
        let before = self.ids.insert(id, ix);
        assert!(before.is_none(), "a name stands for one node");
    }

    pub(crate) fn owner_of(&self, slot: u16) -> Option<Ix> {
        self.owner.get(usize::from(slot)).copied().filter(|ix| *ix != 0)
    }

    pub(crate) fn set_owner(&mut self, slot: u16, owner: Option<Ix>) {
        let place = &mut self.owner[usize::from(slot)];
        let before = std::mem::replace(place, owner.unwrap_or(0));
        if before != 0 {
            let node = self.node_mut(before);
            assert!(node.slots > 0, "slots are counted");
            node.slots -= 1;
        }
        if let Some(owner) = owner {
            self.node_mut(owner).slots += 1;
        }
        self.face_stale = true;
    }

    pub(crate) fn slots_of(&self, ix: Ix) -> SlotSet {
        if self.nodes.get(&ix).is_none_or(|node| node.slots == 0) {
            return SlotSet::new();
        }
        let owned = self.owner.iter().enumerate().filter(|(_, owner)| **owner == ix);
        owned.map(|(slot, _)| slot as u16).collect()
    }

    pub(crate) fn replicas_of(&self, master: Ix) -> impl Iterator<Item = (Ix, &Node)> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.master == Some(master))
            .map(|(ix, node)| (*ix, node))
    }

    /// The machine's promises to itself.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn invariants(&self) {
        assert!(self.me().flags.has(Flags::MYSELF));
        assert!(self.me().config_epoch <= self.current_epoch || self.me().is_replica());
        assert!(self.current_epoch <= EPOCH_MAX + 1);
        assert_eq!(self.nodes.len(), self.ids.len());
        assert_eq!(self.nodes.len(), self.lots.len());
        assert!(self.me().is_master() != self.me().is_replica());
        assert!(self.me().is_master() == self.me().master.is_none() || self.me().is_replica());
        if self.me().is_replica() {
            assert!(self.migrating.is_empty() && self.importing.is_empty());
        }
    }
}
