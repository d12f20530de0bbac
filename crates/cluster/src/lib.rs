//! Redis Cluster without I/O.

pub mod bus;
mod conf;
mod flags;
mod id;
mod slots;

pub use conf::{ConfError, ConfNode, NodesConf, OtherPort};
pub use flags::Flags;
pub use id::NodeId;
pub use slots::{SLOTS, SlotSet};

mod api;
mod beat;
mod election;
mod failure;
mod links;
mod machine;
mod migrate;
mod node;
mod ops;
mod owners;
mod packet;
mod redirect;
mod save;
mod state;
mod status;
mod views;

pub use api::{ConnId, Facts, Input, LogLevel, Now, Options, Output, PersistToken};
pub use machine::Cluster;
pub use ops::{FailoverKind, Refused, SetSlot};
pub use redirect::{Decision, Keys, Place, Query, Redirect, Routes};
pub use status::NodeStatus;
pub use views::{Endpoint, EndpointType, LinkView, Shard, ShardNode, SlotsEntry, SlotsNode};

#[cfg(test)]
mod tests;
