//! The bus: messages between nodes as bytes, both ways.
//!
//! A message is a header of 2256 bytes and a body that its type decides. All numbers are big-endian.
//! [`Cutter`] cuts messages out of a connection's bytes, [`decode`] takes one apart, [`encode`]
//! makes one. Whatever arrives is either a [`Message`] that says the same when it is encoded again,
//! or an error; lengths are checked before anything is allocated for them.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `RCmb` |
//! | 4 | 4 | length of the whole message |
//! | 8 | 2 | version, 1 |
//! | 10 | 2 | port for clients |
//! | 12 | 2 | type |
//! | 14 | 2 | number of gossip entries |
//! | 16 | 8 | the sender's current epoch |
//! | 24 | 8 | config epoch of the sender, or of its master |
//! | 32 | 8 | replication offset |
//! | 40 | 40 | the sender's name |
//! | 80 | 2048 | slots of the sender, or of its master |
//! | 2128 | 40 | the master's name, zeros for a master |
//! | 2168 | 46 | the announced IP, zeros when the address of the connection counts |
//! | 2214 | 2 | number of extensions |
//! | 2216 | 30 | zeros |
//! | 2246 | 2 | the other port for clients: without TLS, or with it |
//! | 2248 | 2 | port of the bus |
//! | 2250 | 2 | flags of the sender |
//! | 2252 | 1 | 0: the cluster is ok, 1: it is down |
//! | 2253 | 3 | flags of the message |

mod decode;
mod encode;

use std::fmt;

pub use decode::{Cutter, decode};
pub use encode::encode;

use crate::flags::Flags;
use crate::id::NodeId;
use crate::slots::SlotSet;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 2256;
/// Bytes of a gossip entry.
pub const GOSSIP_BYTES: usize = 104;

/// In the first byte of the message's flags: the master has paused its clients for a handover.
pub const PAUSED: u8 = 1;
/// In the same place: a vote for a handover that somebody ordered, though the master is fine.
pub const FORCE_ACK: u8 = 2;
/// In the same place: the sender understands extensions.
pub const EXTENSIONS: u8 = 4;

/// An IP address as text in its field of 46 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IpText([u8; 46]);

impl IpText {
    /// No address.
    pub const NONE: IpText = IpText([0; 46]);

    /// The text, cut to the 45 bytes that fit.
    pub fn new(text: &str) -> IpText {
        let mut bytes = [0; 46];
        let text = text.as_bytes();
        let len = text.len().min(45);
        bytes[..len].copy_from_slice(&text[..len]);
        IpText(bytes)
    }

    /// The text up to the first NUL; empty when it is not printable.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(46);
        let text = &self.0[..len];
        if !text.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'@')) {
            return "";
        }
        std::str::from_utf8(text).unwrap_or("")
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl fmt::Debug for IpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What every message begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Port for clients; the TLS port where the bus uses TLS.
    pub port: u16,
    /// The other port for clients, 0 if there is none.
    pub other_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// The greatest epoch that the sender knows of.
    pub current_epoch: u64,
    /// The config epoch of the sender, or of its master.
    pub config_epoch: u64,
    /// The replication offset of the sender.
    pub offset: u64,
    /// The sender's name.
    pub sender: NodeId,
    /// The slots of the sender, or of its master.
    pub slots: SlotSet,
    /// The sender's master.
    pub master: Option<NodeId>,
    /// The address that the sender announces.
    pub ip: IpText,
    /// The sender's flags.
    pub flags: Flags,
    /// Whether the sender takes the cluster for down.
    pub down: bool,
    /// [`PAUSED`], [`FORCE_ACK`], [`EXTENSIONS`].
    pub message_flags: u8,
}

/// What a message says about a third node.
#[derive(Clone, Debug, PartialEq)]
pub struct Gossip {
    /// Its name.
    pub id: NodeId,
    /// When the pending ping was sent, in seconds since the Unix epoch; 0: none is pending.
    pub ping_sent: u32,
    /// When it last answered, in seconds since the Unix epoch.
    pub pong_received: u32,
    /// Its address.
    pub ip: IpText,
    /// Its port for clients.
    pub port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// Its flags.
    pub flags: Flags,
    /// Its other port for clients.
    pub other_port: u16,
}

/// Something that not every version knows, behind the gossip.
#[derive(Clone, Debug, PartialEq)]
pub enum Extension {
    /// The host name to show clients; empty: none any more.
    Hostname(String),
    /// A name for people.
    Nodename(String),
    /// A node that was forgotten, and for how many seconds that holds.
    Forgotten(NodeId, u64),
    /// The shard that the sender belongs to.
    Shard(NodeId),
    /// Anything else; kept as it came.
    Unknown(u16, Vec<u8>),
}

/// The three kinds of heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beat {
    /// Asks for a PONG.
    Ping,
    /// The answer, or unasked news of the sender.
    Pong,
    /// Asks for a PONG and to be made a member.
    Meet,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// PING, PONG or MEET.
    Heartbeat {
        /// Which.
        beat: Beat,
        /// What the sender knows of others.
        gossip: Vec<Gossip>,
        /// Extensions.
        extensions: Vec<Extension>,
    },
    /// This node has failed.
    Fail(NodeId),
    /// A message for subscribers.
    Publish {
        /// SPUBLISH instead of PUBLISH.
        sharded: bool,
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        message: Vec<u8>,
    },
    /// A replica asks for a vote.
    AuthRequest,
    /// A master gives its vote.
    AuthAck,
    /// What somebody does not seem to know about the owner of slots.
    Update {
        /// The owner's config epoch.
        config_epoch: u64,
        /// The owner.
        id: NodeId,
        /// All its slots.
        slots: SlotSet,
    },
    /// A replica asks its master to hand over.
    MfStart,
    /// For modules, which there are none of.
    Module {
        /// The module.
        module: u64,
        /// Its own type.
        kind: u8,
        /// The bytes.
        data: Vec<u8>,
    },
}

impl Body {
    /// The type on the wire.
    pub fn kind(&self) -> u16 {
        match self {
            Body::Heartbeat { beat: Beat::Ping, .. } => 0,
            Body::Heartbeat { beat: Beat::Pong, .. } => 1,
            Body::Heartbeat { beat: Beat::Meet, .. } => 2,
            Body::Fail(_) => 3,
            Body::Publish { sharded: false, .. } => 4,
            Body::AuthRequest => 5,
            Body::AuthAck => 6,
            Body::Update { .. } => 7,
            Body::MfStart => 8,
            Body::Module { .. } => 9,
            Body::Publish { sharded: true, .. } => 10,
        }
    }
}

/// The names of the types, as CLUSTER INFO counts them.
pub const KIND_NAMES: [&str; 11] = [
    "ping",
    "pong",
    "meet",
    "fail",
    "publish",
    "auth-req",
    "auth-ack",
    "update",
    "mfstart",
    "module",
    "publishshard",
];

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// The rest.
    pub body: Body,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusError {
    /// The first four bytes are not `RCmb`: whatever this is, the connection must be closed.
    Signature,
    /// The length is impossible: the connection must be closed.
    Length(u32),
    /// Another version; to be ignored.
    Version(u16),
    /// A type that nobody knows; to be ignored.
    Kind(u16),
    /// The length does not fit the body; to be ignored.
    Body {
        /// The type.
        kind: u16,
        /// The length of the message.
        length: usize,
    },
    /// A name is not made of 40 hexadecimal digits; to be ignored.
    Name,
}

impl BusError {
    /// Whether the bytes behind it can still be trusted to be messages.
    pub fn closes(self) -> bool {
        matches!(self, BusError::Signature | BusError::Length(_))
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusError::Signature => write!(f, "bad message signature"),
            BusError::Length(length) => write!(f, "bad message length {length}"),
            BusError::Version(version) => write!(f, "message of version {version}"),
            BusError::Kind(kind) => write!(f, "message of unknown type {kind}"),
            BusError::Body { kind, length } => {
                write!(f, "message of type {kind} cannot have {length} bytes")
            }
            BusError::Name => write!(f, "a name in the message is none"),
        }
    }
}

#[cfg(test)]
mod tests;
