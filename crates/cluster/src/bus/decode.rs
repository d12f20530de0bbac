//! Bytes to messages. Nothing here may panic, whatever the bytes are.

use super::{
    Beat, Body, BusError, Extension, GOSSIP_BYTES, Gossip, HEADER_BYTES, Header, IpText, Message,
};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::slots::SlotSet;

/// The longest message taken in: two strings of the greatest length that clients may send.
const MESSAGE_BYTES_MAX: u32 = 2 * (512 << 20) + 4096;
/// The longest that is not a published message: all gossip that a count can say, and as much again.
const BEAT_BYTES_MAX: u32 = 2 * 65_536 * GOSSIP_BYTES as u32;

/// Cuts messages out of the bytes of a connection.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: Vec<u8>,
    taken: usize,
}

impl Cutter {
    /// Bytes have arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one. After an error the connection must be closed.
    pub fn cut(&mut self) -> Result<Option<&[u8]>, BusError> {
        let rest = self.buffer.get(self.taken..).unwrap_or(&[]);
        let Some(head) = rest.get(..8) else {
            return Ok(None);
        };
        if &head[..4] != b"RCmb" {
            return Err(BusError::Signature);
        }
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if length < HEADER_BYTES as u32 || length > MESSAGE_BYTES_MAX {
            return Err(BusError::Length(length));
        }
        if let Some(kind) = rest.get(12..14)
            && !matches!(u16::from_be_bytes([kind[0], kind[1]]), 4 | 9 | 10)
            && length > BEAT_BYTES_MAX
        {
            return Err(BusError::Length(length));
        }
        let start = self.taken;
        let Some(end) = start.checked_add(length as usize).filter(|end| *end <= self.buffer.len())
        else {
            return Ok(None);
        };
        self.taken = end;
        Ok(self.buffer.get(start..end))
    }
}

/// Reads fields one after the other; every read says so when the bytes end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn ip(&mut self) -> Option<IpText> {
        self.array().map(IpText)
    }

    fn slots(&mut self) -> Option<SlotSet> {
        SlotSet::from_bytes(self.take(2048)?)
    }

    fn id(&mut self) -> Option<Result<NodeId, BusError>> {
        Some(NodeId::parse(self.take(40)?).ok_or(BusError::Name))
    }
}

/// Takes one whole message apart.
pub fn decode(bytes: &[u8]) -> Result<Message, BusError> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut fields = Fields(bytes);
    let short = BusError::Length(length);
    let mut header_fields = Fields(fields.take(HEADER_BYTES).ok_or(short)?);
    let (header, kind, gossip, extensions) =
        read_header(&mut header_fields, length).ok_or(short)??;
    let wrong = BusError::Body { kind, length: bytes.len() };
    let body = read_body(&mut fields, kind, gossip, extensions).ok_or(wrong)??;
    if !fields.0.is_empty() {
        return Err(wrong);
    }
    Ok(Message { header, body })
}

type Head = (Header, u16, u16, u16);

fn read_header(f: &mut Fields<'_>, length: u32) -> Option<Result<Head, BusError>> {
    if f.take(4)? != b"RCmb" {
        return Some(Err(BusError::Signature));
    }
    let said = f.u32()?;
    if said != length {
        return Some(Err(BusError::Length(said)));
    }
    let version = f.u16()?;
    if version != 1 {
        return Some(Err(BusError::Version(version)));
    }
    let port = f.u16()?;
    let kind = f.u16()?;
    let gossip = f.u16()?;
    let (current_epoch, config_epoch, offset) = (f.u64()?, f.u64()?, f.u64()?);
    let sender = f.id()?;
    let slots = f.slots()?;
    let master = f.take(40)?;
    let master = if master.iter().all(|b| *b == 0) {
        Ok(None)
    } else {
        NodeId::parse(master).map(Some).ok_or(BusError::Name)
    };
    let ip = f.ip()?;
    let extensions = f.u16()?;
    f.take(30)?;
    let (other_port, bus_port, flags) = (f.u16()?, f.u16()?, f.u16()?);
    let [state, message_flags, _, _] = f.array::<4>()?;
    let (sender, master) = match (sender, master) {
        (Ok(sender), Ok(master)) => (sender, master),
        _ => return Some(Err(BusError::Name)),
    };
    let header = Header {
        port,
        other_port,
        bus_port,
        current_epoch,
        config_epoch,
        offset,
        sender,
        slots,
        master,
        ip,
        flags: Flags(flags),
        down: state != 0,
        message_flags,
    };
    Some(Ok((header, kind, gossip, extensions)))
}

fn read_body(
    f: &mut Fields<'_>,
    kind: u16,
    gossip: u16,
    extensions: u16,
) -> Option<Result<Body, BusError>> {
    Some(match kind {
        0..=2 => read_beat(f, kind, gossip, extensions)?,
        3 => f.id()?.map(Body::Fail),
        4 | 10 => {
            let (channel, message) = (f.u32()? as usize, f.u32()? as usize);
            let channel = f.take(channel)?.to_vec();
            Ok(Body::Publish { sharded: kind == 10, channel, message: f.take(message)?.to_vec() })
        }
        5 => Ok(Body::AuthRequest),
        6 => Ok(Body::AuthAck),
        7 => {
            let config_epoch = f.u64()?;
            let id = f.id()?;
            let slots = f.slots()?;
            id.map(|id| Body::Update { config_epoch, id, slots })
        }
        8 => Ok(Body::MfStart),
        9 => {
            let (module, length) = (f.u64()?, f.u32()? as usize);
            let [kind] = f.array::<1>()?;
            Ok(Body::Module { module, kind, data: f.take(length)?.to_vec() })
        }
        _ => Err(BusError::Kind(kind)),
    })
}

fn read_beat(
    f: &mut Fields<'_>,
    kind: u16,
    count: u16,
    extensions: u16,
) -> Option<Result<Body, BusError>> {
    let beat = [Beat::Ping, Beat::Pong, Beat::Meet][usize::from(kind).min(2)];
    let mut entries = Fields(f.take(usize::from(count) * GOSSIP_BYTES)?);
    let mut gossip = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let id = entries.id()?;
        let (ping_sent, pong_received) = (entries.u32()?, entries.u32()?);
        let ip = entries.ip()?;
        let (port, bus_port) = (entries.u16()?, entries.u16()?);
        let (flags, other_port) = (Flags(entries.u16()?), entries.u16()?);
        entries.u16()?;
        let Ok(id) = id else {
            return Some(Err(BusError::Name));
        };
        gossip.push(Gossip { id, ping_sent, pong_received, ip, port, bus_port, flags, other_port });
    }
    let mut read = Vec::new();
    for _ in 0..extensions {
        match read_extension(f)? {
            Ok(extension) => read.push(extension),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(Body::Heartbeat { beat, gossip, extensions: read }))
}

fn read_extension(f: &mut Fields<'_>) -> Option<Result<Extension, BusError>> {
    let length = f.u32()? as usize;
    let kind = f.u16()?;
    f.u16()?;
    if !length.is_multiple_of(8) {
        return None;
    }
    let data = f.take(length.checked_sub(8)?)?;
    let mut inner = Fields(data);
    Some(Ok(match kind {
        0 => Extension::Hostname(text_of(data)?),
        1 => Extension::Nodename(text_of(data)?),
        2 if data.len() == 48 => {
            let id = match inner.id()? {
                Ok(id) => id,
                Err(error) => return Some(Err(error)),
            };
            Extension::Forgotten(id, inner.u64()?)
        }
        3 if data.len() == 40 => match inner.id()? {
            Ok(id) => Extension::Shard(id),
            Err(error) => return Some(Err(error)),
        },
        _ => Extension::Unknown(kind, data.to_vec()),
    }))
}

/// A text that ends with a NUL and is padded with more of them; one that could not stand in the
/// file of nodes is refused.
fn text_of(data: &[u8]) -> Option<String> {
    let end = data.iter().position(|b| *b == 0)?;
    let text = &data[..end];
    let fine = text.len() <= 255
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !fine || data[end..].iter().any(|b| *b != 0) || data.len() - end > 8 {
        return None;
    }
    String::from_utf8(text.to_vec()).ok()
}
