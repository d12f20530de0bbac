//! What people and tools order: the CLUSTER subcommands that change something, with Redis's error
//! texts. The driver has read the arguments; slots are in range.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::api::{LogLevel, Now, Output};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::{Cluster, EPOCH_MAX};
use crate::node::Ix;
use crate::slots::SLOTS;

/// How long a forgotten node stays forgotten.
const FORGET_MS: u64 = 60_000;

/// What CLUSTER SETSLOT orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlot {
    /// `MIGRATING <node>`
    Migrating(NodeId),
    /// `IMPORTING <node>`
    Importing(NodeId),
    /// `STABLE`
    Stable,
    /// `NODE <node>`
    Node(NodeId),
}

/// How CLUSTER FAILOVER is to go about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverKind {
    /// Together with the master.
    Agreed,
    /// `FORCE`: without the master, with votes.
    Force,
    /// `TAKEOVER`: without anybody.
    Takeover,
}

/// An error reply, without the leading `-`.
pub type Refused = String;

fn refuse<T>(text: impl std::fmt::Display) -> Result<T, Refused> {
    Err(format!("ERR {text}"))
}

impl Cluster {
    /// CLUSTER MEET. `ip` is what the client wrote.
    pub fn meet(&mut self, now: Now, ip: &str, port: i64, bus_port: i64) -> Result<(), Refused> {
        let fits = |port: i64| u16::try_from(port).ok().filter(|port| *port > 0);
        let (Ok(addr), Some(port16), Some(bus16)) =
            (ip.parse::<IpAddr>(), fits(port), fits(bus_port))
        else {
            return refuse(format_args!("Invalid node address specified: {ip}:{port}"));
        };
        self.begin(now);
        self.start_handshake(addr, port16, bus16, true);
        self.finish();
        Ok(())
    }

    /// CLUSTER FORGET.
    pub fn forget(&mut self, now: Now, id: &NodeId) -> Result<(), Refused> {
        let Some(ix) = self.find(id) else {
            return refuse(format_args!("Unknown node {id}"));
        };
        if ix == self.me {
            return refuse("I tried hard but I can't forget myself...");
        }
        if self.me().master == Some(ix) {
            return refuse("Can't forget my master!");
        }
        self.begin(now);
        self.blacklist.insert(*id, now.mono + FORGET_MS);
        self.remove_node(ix);
        self.finish();
        Ok(())
    }

    /// CLUSTER REPLICATE; `empty`: this node holds no keys.
    pub fn replicate(&mut self, now: Now, id: &NodeId, empty: bool) -> Result<(), Refused> {
        let Some(ix) = self.find(id) else {
            return refuse(format_args!("Unknown node {id}"));
        };
        if ix == self.me {
            return refuse("Can't replicate myself");
        }
        if self.node(ix).is_replica() {
            return refuse("I can only replicate a master, not a replica.");
        }
        if self.me().is_master() && (self.me().slots != 0 || !empty) {
            return refuse("To set a master the node must be empty and without assigned slots.");
        }
        if self.node(ix).handshaking() {
            return refuse(format_args!("Unknown node {id}"));
        }
        self.begin(now);
        self.become_replica(ix);
        self.finish();
        Ok(())
    }

    /// CLUSTER ADDSLOTS and ADDSLOTSRANGE.
    pub fn add_slots(&mut self, now: Now, slots: &[u16]) -> Result<(), Refused> {
        self.check_slots(slots, true)?;
        self.begin(now);
        for slot in slots {
            self.importing.remove(slot);
            let me = self.me;
            self.set_owner(*slot, Some(me));
        }
        self.changed(true);
        self.finish();
        Ok(())
    }

    /// CLUSTER DELSLOTS and DELSLOTSRANGE.
    pub fn del_slots(&mut self, now: Now, slots: &[u16]) -> Result<(), Refused> {
        self.check_slots(slots, false)?;
        self.begin(now);
        let mut mine = Vec::new();
        for slot in slots {
            if self.owner_of(*slot) == Some(self.me) {
                mine.push(*slot);
                self.migrating.remove(slot);
            }
            self.set_owner(*slot, None);
        }
        if !mine.is_empty() {
            self.out.push_back(Output::SlotsLost { slots: mine, delete: false });
        }
        self.changed(true);
        self.finish();
        Ok(())
    }

    fn check_slots(&self, slots: &[u16], free: bool) -> Result<(), Refused> {
        let mut seen = BTreeSet::new();
        for slot in slots {
            if *slot >= SLOTS {
                return refuse("Invalid or out of range slot");
            }
            if free && self.owner_of(*slot).is_some() {
                return refuse(format_args!("Slot {slot} is already busy"));
            }
            if !free && self.owner_of(*slot).is_none() {
                return refuse(format_args!("Slot {slot} is already unassigned"));
            }
            if !seen.insert(*slot) {
                return refuse(format_args!("Slot {slot} specified multiple times"));
            }
        }
        Ok(())
    }

    /// CLUSTER FLUSHSLOTS.
    pub fn flush_slots(&mut self, now: Now, empty: bool) -> Result<(), Refused> {
        if !empty {
            return refuse("DB must be empty to perform CLUSTER FLUSHSLOTS.");
        }
        let mine: Vec<u16> = self.slots_of(self.me).iter().collect();
        if mine.is_empty() { Ok(()) } else { self.del_slots(now, &mine) }
    }

    /// CLUSTER SETSLOT; `keys` is how many keys this node holds in the slot.
    pub fn set_slot(&mut self, now: Now, slot: u16, to: SetSlot, keys: u64) -> Result<(), Refused> {
        if self.me().is_replica() {
            return refuse("You can use SETSLOT only with masters.");
        }
        if slot >= SLOTS {
            return refuse("Invalid or out of range slot");
        }
        let other = match to {
            SetSlot::Stable => None,
            SetSlot::Migrating(id) | SetSlot::Importing(id) | SetSlot::Node(id) => {
                Some(self.other_side(slot, to, &id)?)
            }
        };
        let mine = self.owner_of(slot) == Some(self.me);
        if let (SetSlot::Node(_), Some(to)) = (to, other)
            && mine
            && to != self.me
            && keys != 0
        {
            return refuse(format_args!(
                "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ));
        }
        self.begin(now);
        match (to, other) {
            (SetSlot::Migrating(_), Some(other)) => drop(self.migrating.insert(slot, other)),
            (SetSlot::Importing(_), Some(other)) => drop(self.importing.insert(slot, other)),
            (SetSlot::Node(_), Some(other)) => self.assign(slot, other, keys),
            _ => {
                self.migrating.remove(&slot);
                self.importing.remove(&slot);
            }
        }
        self.changed(false);
        self.finish();
        Ok(())
    }

    fn other_side(&self, slot: u16, to: SetSlot, id: &NodeId) -> Result<Ix, Refused> {
        let mine = self.owner_of(slot) == Some(self.me);
        match to {
            SetSlot::Migrating(_) if !mine => {
                return refuse(format_args!("I'm not the owner of hash slot {slot}"));
            }
            SetSlot::Importing(_) if mine => {
                return refuse(format_args!("I'm already the owner of hash slot {slot}"));
            }
            _ => {}
        }
        let known = self.find(id).filter(|ix| !self.node(*ix).handshaking());
        let Some(ix) = known else {
            return match to {
                SetSlot::Node(_) => refuse(format_args!("Unknown node {id}")),
                _ => refuse(format_args!("I don't know about node {id}")),
            };
        };
        if self.node(ix).is_replica() {
            return refuse("Target node is not a master");
        }
        Ok(ix)
    }

    /// SETSLOT NODE: the slot gets this owner; whoever imported it claims it under a new epoch.
    fn assign(&mut self, slot: u16, to: Ix, keys: u64) {
        let was_mine = self.owner_of(slot) == Some(self.me);
        if keys == 0 {
            self.migrating.remove(&slot);
        }
        self.set_owner(slot, Some(to));
        if was_mine && to != self.me {
            self.migrating.remove(&slot);
            self.out.push_back(Output::SlotsLost { slots: vec![slot], delete: false });
            if self.me().slots == 0 && self.options.allow_replica_migration {
                let line = format!(
                    "Configuration change detected. Reconfiguring myself as a replica of {}",
                    self.node(to).id
                );
                self.log(LogLevel::Notice, line);
                self.become_replica(to);
            }
        }
        if to == self.me && self.importing.remove(&slot).is_some() {
            self.changed(true);
            if self.bump_epoch() {
                let line = format!("configEpoch updated after importing slot {slot}");
                self.log(LogLevel::Warning, line);
            }
            self.promise(crate::save::Promise::PongToAll);
        }
    }

    /// CLUSTER BUMPEPOCH: the text of the reply.
    pub fn bump(&mut self, now: Now) -> String {
        self.begin(now);
        let word = if self.bump_epoch() { "BUMPED" } else { "STILL" };
        let text = format!("{word} {}", self.me().config_epoch);
        self.finish();
        text
    }

    /// CLUSTER SET-CONFIG-EPOCH.
    pub fn set_config_epoch(&mut self, now: Now, config_epoch: i64) -> Result<(), Refused> {
        let Some(epoch) = u64::try_from(config_epoch).ok().filter(|epoch| *epoch < EPOCH_MAX)
        else {
            return refuse(format_args!("Invalid config epoch specified: {config_epoch}"));
        };
        if self.nodes.len() > 1 {
            return refuse(
                "The user can assign a config epoch only when the node does not know any other node.",
            );
        }
        if self.me().config_epoch != 0 {
            return refuse("Node config epoch is already non-zero");
        }
        self.begin(now);
        self.me_mut().config_epoch = epoch;
        self.current_epoch = self.current_epoch.max(epoch);
        self.changed(true);
        let line = format!("configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH");
        self.log(LogLevel::Warning, line);
        self.finish();
        Ok(())
    }

    /// CLUSTER FAILOVER.
    pub fn failover(&mut self, now: Now, kind: FailoverKind) -> Result<(), Refused> {
        if self.me().is_master() {
            return refuse("You should send CLUSTER FAILOVER to a replica");
        }
        let Some(master) = self.me().master else {
            return refuse("I'm a replica but my master is unknown to me");
        };
        let node = self.node(master);
        if kind == FailoverKind::Agreed && (node.failed() || !node.link.is_some_and(|l| l.up)) {
            return refuse("Master is down or failed, please use CLUSTER FAILOVER FORCE");
        }
        self.begin(now);
        match kind {
            FailoverKind::Agreed => {
                self.log(LogLevel::Warning, "Manual failover user request accepted.");
                self.start_handover(false);
            }
            FailoverKind::Force => {
                self.log(LogLevel::Warning, "Forced failover user request accepted.");
                self.start_handover(true);
            }
            FailoverKind::Takeover => {
                self.log(LogLevel::Warning, "Taking over the master (user request).");
                self.end_handover();
                self.bump_epoch();
                self.take_over();
            }
        }
        self.finish();
        Ok(())
    }

    /// CLUSTER RESET; `hard`: with a new name, which the driver draws, and without epochs.
    pub fn reset(&mut self, now: Now, hard: Option<NodeId>, empty: bool) -> Result<(), Refused> {
        if self.me().is_master() && !empty {
            return refuse("CLUSTER RESET can't be called with master nodes containing keys");
        }
        self.begin(now);
        let was_replica = self.me().is_replica();
        self.end_handover();
        self.election = crate::election::Election::Idle;
        if was_replica {
            let me = self.me;
            self.set_node_master(me);
            self.out.push_back(Output::EmptyData);
            self.out.push_back(Output::Lead);
        }
        self.migrating.clear();
        self.importing.clear();
        (0..SLOTS).for_each(|slot| self.set_owner(slot, None));
        let others: Vec<Ix> = self.nodes.keys().copied().filter(|ix| *ix != self.me).collect();
        others.into_iter().for_each(|ix| self.remove_node(ix));
        self.me_mut().flags.clear(Flags::MIGRATE_TO);
        if let Some(id) = hard
            && !self.ids.contains_key(&id)
        {
            self.current_epoch = 0;
            self.last_vote_epoch = 0;
            let (me, old) = (self.me, self.me().id);
            self.me_mut().config_epoch = 0;
            self.rename_node(me, id);
            // What the old name promised is void.
            self.held.clear();
            self.log(LogLevel::Notice, format!("Node hard reset, now I'm {id}, formerly {old}"));
        }
        self.changed(true);
        self.finish();
        Ok(())
    }

    /// CLUSTER SAVECONFIG.
    pub fn save_config(&mut self, now: Now) {
        self.begin(now);
        self.unsaved = Some(true);
        self.finish();
    }
}
