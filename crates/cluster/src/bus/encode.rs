//! Messages to bytes.

use super::{Body, Extension, GOSSIP_BYTES, Gossip, HEADER_BYTES, Header};
use crate::slots::SlotSet;

/// One message as bytes.
pub fn encode(header: &Header, body: &Body) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body_bytes(body));
    let (gossip, extensions) = match body {
        Body::Heartbeat { gossip, extensions, .. } => (gossip.len(), extensions.len()),
        _ => (0, 0),
    };
    put_header(&mut out, header, body.kind(), gossip, extensions);
    put_body(&mut out, body);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out[4..8].copy_from_slice(&length.to_be_bytes());
    out
}

fn body_bytes(body: &Body) -> usize {
    match body {
        Body::Heartbeat { gossip, extensions, .. } => {
            gossip.len() * GOSSIP_BYTES + extensions.len() * 64
        }
        Body::Publish { channel, message, .. } => 8 + channel.len() + message.len(),
        Body::Update { .. } => 8 + 40 + 2048,
        Body::Module { data, .. } => 13 + data.len(),
        _ => 40,
    }
}

fn put_header(out: &mut Vec<u8>, h: &Header, kind: u16, gossip: usize, extensions: usize) {
    out.extend_from_slice(b"RCmb\0\0\0\0");
    put16(out, 1);
    put16(out, h.port);
    put16(out, kind);
    put16(out, gossip as u16);
    put64(out, h.current_epoch);
    put64(out, h.config_epoch);
    put64(out, h.offset);
    out.extend_from_slice(h.sender.bytes());
    put_slots(out, &h.slots);
    match &h.master {
        Some(master) => out.extend_from_slice(master.bytes()),
        None => out.extend_from_slice(&[0; 40]),
    }
    out.extend_from_slice(&h.ip.0);
    put16(out, extensions as u16);
    out.extend_from_slice(&[0; 30]);
    put16(out, h.other_port);
    put16(out, h.bus_port);
    put16(out, h.flags.0);
    out.extend_from_slice(&[u8::from(h.down), h.message_flags, 0, 0]);
    debug_assert_eq!(out.len(), HEADER_BYTES);
}

fn put_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Heartbeat { gossip, extensions, .. } => {
            gossip.iter().for_each(|entry| put_gossip(out, entry));
            extensions.iter().for_each(|extension| put_extension(out, extension));
        }
        Body::Fail(id) => out.extend_from_slice(id.bytes()),
        Body::Publish { channel, message, .. } => {
            put32(out, channel.len() as u32);
            put32(out, message.len() as u32);
            out.extend_from_slice(channel);
            out.extend_from_slice(message);
        }
        Body::Update { config_epoch, id, slots } => {
            put64(out, *config_epoch);
            out.extend_from_slice(id.bytes());
            put_slots(out, slots);
        }
        Body::Module { module, kind, data } => {
            put64(out, *module);
            put32(out, data.len() as u32);
            out.push(*kind);
            out.extend_from_slice(data);
        }
        Body::AuthRequest | Body::AuthAck | Body::MfStart => {}
    }
}

fn put_gossip(out: &mut Vec<u8>, g: &Gossip) {
    out.extend_from_slice(g.id.bytes());
    put32(out, g.ping_sent);
    put32(out, g.pong_received);
    out.extend_from_slice(&g.ip.0);
    put16(out, g.port);
    put16(out, g.bus_port);
    put16(out, g.flags.0);
    put16(out, g.other_port);
    put16(out, 0);
}

/// An extension's length counts its own eight bytes, and is a multiple of eight.
fn put_extension(out: &mut Vec<u8>, extension: &Extension) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let kind: u16 = match extension {
        Extension::Hostname(name) => {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            0
        }
        Extension::Nodename(name) => {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
            1
        }
        Extension::Forgotten(id, ttl) => {
            out.extend_from_slice(id.bytes());
            put64(out, *ttl);
            2
        }
        Extension::Shard(id) => {
            out.extend_from_slice(id.bytes());
            3
        }
        Extension::Unknown(kind, data) => {
            out.extend_from_slice(data);
            *kind
        }
    };
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&kind.to_be_bytes());
}

fn put_slots(out: &mut Vec<u8>, slots: &SlotSet) {
    out.extend_from_slice(slots.bytes());
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}
