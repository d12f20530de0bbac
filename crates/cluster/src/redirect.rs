//! Where a command is to go: MOVED, ASK, TRYAGAIN, CROSSSLOT, CLUSTERDOWN, in Redis's order.
//!
//! [`Routes`] is a snapshot that workers share; [`Routes::decide`] is a pure function of it and of
//! what is known of the command. Source: redis 7.0 `cluster.c:getNodeByQuery`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::NodeId;
use crate::views::Endpoint;

/// A node to which clients may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub id: NodeId,
    /// Where clients without TLS reach it.
    pub plain: Endpoint,
    /// Where clients with TLS reach it.
    pub tls: Endpoint,
    /// It is this node.
    pub mine: bool,
    /// It is this node's master.
    pub my_master: bool,
}

/// What redirects depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The cluster is down.
    pub down: bool,
    /// `cluster-allow-reads-when-down`.
    pub reads_when_down: bool,
    /// `cluster-allow-pubsubshard-when-down`.
    pub pubsubshard_when_down: bool,
    /// This node is a replica.
    pub replica: bool,
    pub(crate) owner: Vec<u16>,
    pub(crate) migrating: BTreeMap<u16, u16>,
    pub(crate) importing: BTreeSet<u16>,
    pub(crate) places: Vec<Place>,
}

/// What the session and the command have to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// ASKING came before, or the command implies it.
    pub asking: bool,
    /// READONLY is on.
    pub readonly: bool,
    /// The command (all commands of a transaction) does not write.
    pub reads_only: bool,
    /// It is about shard channels, not keys.
    pub pubsubshard: bool,
    /// It is MIGRATE, or a transaction that holds one.
    pub migrate: bool,
    /// It names more than one key.
    pub several_keys: bool,
    /// The connection uses TLS.
    pub tls: bool,
}

/// What becomes of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs here.
    Serve,
    /// An error is the reply.
    Refuse(Redirect),
}

/// An error reply that sends the client elsewhere, or away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Keys of different slots.
    CrossSlot,
    /// Keys of a slot on its way are not all in one place.
    TryAgain,
    /// The slot lives there.
    Moved(u16, Endpoint),
    /// Ask there, this once.
    Ask(u16, Endpoint),
    /// Nobody has the slot.
    DownUnbound,
    /// The cluster does not serve.
    DownState,
    /// It only serves reads.
    DownReadOnly,
}

impl fmt::Display for Redirect {
    /// The reply without the leading `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = |f: &mut fmt::Formatter<'_>, word: &str, slot: u16, to: &Endpoint| {
            write!(f, "{word} {slot} {}:{}", to.host.as_deref().unwrap_or(""), to.port)
        };
        match self {
            Redirect::CrossSlot => {
                f.write_str("CROSSSLOT Keys in request don't hash to the same slot")
            }
            Redirect::TryAgain => {
                f.write_str("TRYAGAIN Multiple keys request during rehashing of slot")
            }
            Redirect::Moved(slot, to) => there(f, "MOVED", *slot, to),
            Redirect::Ask(slot, to) => there(f, "ASK", *slot, to),
            Redirect::DownUnbound => f.write_str("CLUSTERDOWN Hash slot not served"),
            Redirect::DownState => f.write_str("CLUSTERDOWN The cluster is down"),
            Redirect::DownReadOnly => {
                f.write_str("CLUSTERDOWN The cluster is down and only accepts read commands")
            }
        }
    }
}

impl Routes {
    /// The node that has a slot.
    pub fn place(&self, slot: u16) -> Option<&Place> {
        let place = *self.owner.get(usize::from(slot))?;
        self.places.get(usize::from(place).checked_sub(1)?)
    }

    /// Whether a slot is on its way from or to this node, so that it matters which keys are here.
    pub fn moving(&self, slot: u16) -> bool {
        self.migrating.contains_key(&slot) || self.importing.contains(&slot)
    }

    /// Decides where a command goes. `slots` are those of its keys, in their order; `missing`
    /// counts the keys that are not here, and is only asked while the slot is on its way.
    pub fn decide(
        &self,
        slots: impl IntoIterator<Item = u16>,
        query: Query,
        missing: impl FnOnce() -> Keys,
    ) -> Decision {
        let mut slots = slots.into_iter();
        let Some(slot) = slots.next() else {
            return Decision::Serve;
        };
        // The first key's slot must have an owner before the others are looked at.
        let Some(place) = self.place(slot) else {
            return Decision::Refuse(Redirect::DownUnbound);
        };
        if slots.any(|other| other != slot) {
            return Decision::Refuse(Redirect::CrossSlot);
        }
        if self.down {
            if query.pubsubshard {
                if !self.pubsubshard_when_down {
                    return Decision::Refuse(Redirect::DownState);
                }
            } else if !self.reads_when_down {
                return Decision::Refuse(Redirect::DownState);
            } else if !query.reads_only {
                return Decision::Refuse(Redirect::DownReadOnly);
            }
        }
        match self.on_its_way(slot, place, query, missing) {
            Some(decision) => decision,
            None => self.settled(slot, place, query),
        }
    }

    fn on_its_way(
        &self,
        slot: u16,
        place: &Place,
        query: Query,
        missing: impl FnOnce() -> Keys,
    ) -> Option<Decision> {
        let leaving = if place.mine { self.migrating.get(&slot) } else { None };
        let arriving = !place.mine && self.importing.contains(&slot);
        if leaving.is_none() && !arriving {
            return None;
        }
        // MIGRATE moves what is here, wherever the slot belongs.
        if query.migrate {
            return Some(Decision::Serve);
        }
        // Shard channels do not move with keys.
        let keys = if query.pubsubshard { Keys { here: 1, missing: 0 } } else { missing() };
        if let Some(to) = leaving
            && keys.missing > 0
        {
            if keys.here > 0 {
                return Some(Decision::Refuse(Redirect::TryAgain));
            }
            let to = self.places.get(usize::from(*to).checked_sub(1)?)?;
            return Some(Decision::Refuse(Redirect::Ask(slot, endpoint(to, query.tls))));
        }
        if arriving && query.asking {
            let split = query.several_keys && keys.missing > 0;
            return Some(if split {
                Decision::Refuse(Redirect::TryAgain)
            } else {
                Decision::Serve
            });
        }
        None
    }

    fn settled(&self, slot: u16, place: &Place, query: Query) -> Decision {
        let replica_read =
            self.replica && query.readonly && (query.reads_only || query.pubsubshard);
        if place.mine || (replica_read && place.my_master) {
            return Decision::Serve;
        }
        Decision::Refuse(Redirect::Moved(slot, endpoint(place, query.tls)))
    }
}

/// How many of a command's keys are here, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Here.
    pub here: usize,
    /// Not here.
    pub missing: usize,
}

fn endpoint(place: &Place, tls: bool) -> Endpoint {
    if tls { place.tls.clone() } else { place.plain.clone() }
}
