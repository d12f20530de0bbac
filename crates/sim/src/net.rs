//! The network: connections as ordered byte pipes with delays, cut directions, and what a crash or
//! a pause of one end does to the other.
//!
//! Modelled after TCP as far as it shows: bytes of a cut direction wait for the sender's next
//! retransmission, whose distance grows with the length of the cut; a dead host's connections are
//! reset by the first packet after its return.

use std::collections::{BTreeSet, VecDeque};

use sentinel::{ConnId, LinkPurpose};

/// Index of a host: data nodes first, then sentinels.
pub type HostId = usize;

/// The two directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// From the sentinel that opened it.
    ToServer,
    /// Back to it.
    ToClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// The first packet is on its way, or lost.
    Opening,
    Open,
}

/// One connection. Clients are always sentinels.
pub struct Conn {
    pub client: HostId,
    /// The client's own name for it, and which life of the client opened it.
    pub id: ConnId,
    pub client_life: u32,
    pub server: HostId,
    pub server_life: u32,
    pub purpose: LinkPurpose,
    pub state: ConnState,
    pub opened_at: u64,
    /// Bytes that have left but not arrived, per direction.
    pub in_flight: [VecDeque<Vec<u8>>; 2],
    /// When the last of them arrives.
    pub arrives: [u64; 2],
    /// Since when a direction stands still.
    pub stalled: [Option<u64>; 2],
    /// The end that is gone without having been able to say so.
    pub half_dead: bool,
}

impl Conn {
    pub fn ends(&self, dir: Dir) -> (HostId, HostId) {
        match dir {
            Dir::ToServer => (self.client, self.server),
            Dir::ToClient => (self.server, self.client),
        }
    }
}

pub fn slot(dir: Dir) -> usize {
    match dir {
        Dir::ToServer => 0,
        Dir::ToClient => 1,
    }
}

/// Which packets get through, and how fast, in microseconds.
pub struct Net {
    /// Directions that lose every packet.
    pub cuts: BTreeSet<(HostId, HostId)>,
    /// Bounds of the one-way delay.
    pub delay: (u64, u64),
    /// Extra delay for packets from or to this host.
    pub slow: Vec<u64>,
}

impl Net {
    pub fn passes(&self, from: HostId, to: HostId) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// True when the two hosts can talk in both directions.
    pub fn talk(&self, a: HostId, b: HostId) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }
}
