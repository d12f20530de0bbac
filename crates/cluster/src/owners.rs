//! Who owns which slot, who replicates whom, and config epochs that collide.

use crate::api::{LogLevel, Output};
use crate::bus::{Body, Header};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::{Cluster, EPOCH_MAX};
use crate::node::Ix;
use crate::slots::SlotSet;

impl Cluster {
    /// The slots that a message claims, against what is known.
    pub(crate) fn take_slots(&mut self, sender: Ix, header: &Header) {
        if self.node(sender).is_master() {
            let (claimed, known) = (&header.slots, self.node(sender).slots);
            let differs = claimed.len() != usize::from(known)
                || claimed.iter().any(|slot| self.owner_of(slot) != Some(sender));
            if !differs {
                return;
            }
            self.take_claims(sender, header.config_epoch, &header.slots);
        } else if self.node(sender).master.is_some_and(|master| {
            header.slots.iter().all(|slot| self.owner_of(slot) == Some(master))
        }) {
            return;
        }
        // Somebody who does not know of a newer owner is told.
        let stale = header.slots.iter().find_map(|slot| {
            let owner = self.owner_of(slot).filter(|owner| *owner != sender)?;
            (self.epoch_told(owner) > header.config_epoch).then_some(owner)
        });
        if let Some(owner) = stale {
            let node = self.node(owner);
            let line = format!(
                "Node {} has old slots configuration, sending an UPDATE message about {}",
                self.node(sender).id,
                node.id
            );
            let update = if owner == self.me {
                Body::Update {
                    config_epoch: self.face.config_epoch,
                    id: node.id,
                    slots: self.face.slots.clone(),
                }
            } else {
                Body::Update {
                    config_epoch: node.config_epoch,
                    id: node.id,
                    slots: self.slots_of(owner),
                }
            };
            self.log(LogLevel::Verbose, line);
            self.send_to(sender, &update);
        }
    }

    /// The config epoch of a node that may be told: of this one, what is on disk.
    fn epoch_told(&self, ix: Ix) -> u64 {
        if ix != self.me {
            return self.node(ix).config_epoch;
        }
        if self.face.master.is_some() { 0 } else { self.face.config_epoch }
    }

    /// A master owns these slots with this epoch: wherever that beats the owner known here, it is
    /// the owner from now on. Source: redis 7.0 `cluster.c:clusterUpdateSlotsConfigWith`.
    pub(crate) fn take_claims(&mut self, sender: Ix, config_epoch: u64, slots: &SlotSet) {
        if sender == self.me {
            return;
        }
        let my_side = if self.me().is_master() { self.me } else { self.me().master.unwrap_or(0) };
        let (mut lost, mut moved_from_us) = (Vec::new(), 0usize);
        let mut any = false;
        // Slots lie in runs: one look at an owner is enough for a run.
        let mut judged: Option<(Option<Ix>, bool)> = None;
        for slot in slots.iter() {
            let owner = self.owner_of(slot);
            // Whoever imports a slot waits for the end of that.
            if owner == Some(sender) || self.importing.contains_key(&slot) {
                continue;
            }
            let (_, strong) = match judged {
                Some((judged, strong)) if judged == owner => (judged, strong),
                _ => {
                    let strong =
                        owner.is_some_and(|owner| self.node(owner).config_epoch >= config_epoch);
                    *judged.insert((owner, strong))
                }
            };
            if strong {
                continue;
            }
            if owner == Some(self.me) {
                lost.push(slot);
                self.migrating.remove(&slot);
            }
            if owner == Some(my_side) {
                moved_from_us += 1;
            }
            self.set_owner(slot, Some(sender));
            any = true;
        }
        if any {
            self.changed(false);
        }
        let robbed = moved_from_us > 0 && self.nodes.get(&my_side).is_some_and(|n| n.slots == 0);
        let whole = slots.len() == moved_from_us;
        let follows = robbed && (self.options.allow_replica_migration || whole);
        if !lost.is_empty() {
            self.out.push_back(Output::SlotsLost { slots: lost, delete: !follows });
        }
        if follows {
            let line = format!(
                "Configuration change detected. Reconfiguring myself as a replica of {}",
                self.node(sender).id
            );
            self.log(LogLevel::Notice, line);
            self.become_replica(sender);
        }
    }

    pub(crate) fn update_received(&mut self, config_epoch: u64, id: &NodeId, slots: &SlotSet) {
        let Some(ix) = self.find(id).filter(|ix| *ix != self.me) else {
            return;
        };
        if self.node(ix).config_epoch >= config_epoch || self.node(ix).handshaking() {
            return;
        }
        if !self.node(ix).is_master() {
            self.set_node_master(ix);
        }
        self.node_mut(ix).config_epoch = config_epoch;
        self.changed(false);
        self.take_claims(ix, config_epoch, slots);
    }

    /// Two masters with one config epoch: the one with the smaller name takes a new one.
    pub(crate) fn settle_collision(&mut self, sender: Ix, header: &Header) {
        let me = self.me();
        if !me.is_master()
            || !self.node(sender).is_master()
            || header.master.is_some()
            || header.config_epoch != me.config_epoch
            || self.node(sender).id <= me.id
            || self.current_epoch >= EPOCH_MAX
        {
            return;
        }
        self.current_epoch += 1;
        self.me_mut().config_epoch = self.current_epoch;
        self.changed(true);
        let line = format!(
            "WARNING: configEpoch collision with node {}. configEpoch set to {}",
            self.node(sender).id,
            self.current_epoch
        );
        self.log(LogLevel::Verbose, line);
    }

    /// A new config epoch without asking anybody; nothing when this node already has the greatest.
    pub(crate) fn bump_epoch(&mut self) -> bool {
        let greatest = self.nodes.values().map(|node| node.config_epoch).max().unwrap_or(0);
        let greatest = greatest.max(self.current_epoch);
        let mine = self.me().config_epoch;
        if (mine != 0 && mine == greatest) || greatest >= EPOCH_MAX {
            return false;
        }
        self.current_epoch = greatest + 1;
        self.me_mut().config_epoch = self.current_epoch;
        self.changed(true);
        let line = format!("New configEpoch set to {}", self.current_epoch);
        self.log(LogLevel::Warning, line);
        true
    }

    /// Another node turns out to be a master.
    pub(crate) fn set_node_master(&mut self, ix: Ix) {
        if self.node(ix).is_master() {
            return;
        }
        self.leave_master(ix);
        let me = self.me;
        let node = self.node_mut(ix);
        node.flags.clear(Flags::REPLICA);
        node.flags.set(Flags::MASTER);
        if ix != me {
            node.flags.set(Flags::MIGRATE_TO);
        }
        self.changed(false);
    }

    /// A replica has no master any more.
    pub(crate) fn leave_master(&mut self, ix: Ix) {
        let Some(master) = self.nodes.get_mut(&ix).and_then(|node| node.master.take()) else {
            return;
        };
        if self.replicas_of(master).next().is_none()
            && let Some(node) = self.nodes.get_mut(&master)
        {
            node.flags.clear(Flags::MIGRATE_TO);
        }
        self.face_stale = true;
    }

    pub(crate) fn join_master(&mut self, ix: Ix, master: Ix) {
        self.node_mut(ix).master = Some(master);
        self.node_mut(master).flags.set(Flags::MIGRATE_TO);
        self.face_stale = true;
        self.share_shard(ix);
    }

    /// This node replicates another from now on.
    pub(crate) fn become_replica(&mut self, master: Ix) {
        assert!(master != self.me, "no node is its own replica");
        let me = self.me;
        assert!(self.node(me).slots == 0, "who owns slots is a master");
        self.leave_master(me);
        let node = self.me_mut();
        node.flags.clear(Flags::MASTER.with(Flags::MIGRATE_TO));
        node.flags.set(Flags::REPLICA);
        self.migrating.clear();
        self.importing.clear();
        self.join_master(me, master);
        self.end_handover();
        self.follow_master();
        self.changed(false);
    }

    /// Tells the data side where its master is.
    pub(crate) fn follow_master(&mut self) {
        let Some(master) = self.me().master.and_then(|master| self.nodes.get(&master)) else {
            return;
        };
        if !master.ip.is_empty() {
            let (ip, port) = (master.ip.as_str().to_string(), master.port);
            self.out.push_back(Output::Follow { ip, port });
        }
    }

    /// This replica takes its master's place: all its slots, under this node's config epoch.
    pub(crate) fn take_over(&mut self) {
        let Some(old) = self.me().master else {
            return;
        };
        let me = self.me;
        self.set_node_master(me);
        let slots = self.slots_of(old);
        slots.iter().for_each(|slot| self.set_owner(slot, Some(me)));
        self.end_handover();
        self.changed(true);
        self.promise(crate::save::Promise::Lead);
    }
}
