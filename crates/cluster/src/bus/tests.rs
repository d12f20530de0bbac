//! The codec against messages that real nodes sent, and against damaged ones.

use stdx::Prng;

use super::{
    Beat, Body, BusError, Cutter, Extension, GOSSIP_BYTES, Gossip, HEADER_BYTES, Header, IpText,
    Message, decode, encode,
};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::slots::SlotSet;

const CAPTURE: &[u8] = include_bytes!("../../testdata/bus-7.0.15.bin");

fn captured() -> Vec<Vec<u8>> {
    let mut cutter = Cutter::default();
    cutter.feed(CAPTURE);
    let mut messages = Vec::new();
    while let Some(bytes) = cutter.cut().expect("the capture is whole") {
        messages.push(bytes.to_vec());
    }
    messages
}

fn id(digit: u8) -> NodeId {
    NodeId::parse(&[digit; 40]).expect("a digit")
}

fn header() -> Header {
    Header {
        port: 7000,
        other_port: 0,
        bus_port: 17000,
        current_epoch: 7,
        config_epoch: 3,
        offset: 99,
        sender: id(b'a'),
        slots: (0..=5460).collect(),
        master: None,
        ip: IpText::new("10.0.0.1"),
        flags: Flags(17),
        down: false,
        message_flags: 4,
    }
}

fn bodies() -> Vec<Body> {
    let gossip = Gossip {
        id: id(b'b'),
        ping_sent: 0,
        pong_received: 1_700_000_000,
        ip: IpText::new("::1"),
        port: 7001,
        bus_port: 17001,
        flags: Flags::REPLICA.with(Flags::PFAIL),
        other_port: 7101,
    };
    let extensions = vec![
        Extension::Hostname("seven77".into()),
        Extension::Nodename("nodenames-of-people_1".into()),
        Extension::Forgotten(id(b'f'), 59),
        Extension::Shard(id(b'5')),
        Extension::Unknown(77, vec![1; 16]),
    ];
    vec![
        Body::Heartbeat { beat: Beat::Ping, gossip: vec![gossip.clone(); 3], extensions },
        Body::Heartbeat { beat: Beat::Meet, gossip: vec![gossip], extensions: Vec::new() },
        Body::Fail(id(b'c')),
        Body::Publish { sharded: true, channel: b"ch".to_vec(), message: vec![0, 255, 7] },
        Body::AuthRequest,
        Body::Update { config_epoch: u64::MAX, id: id(b'd'), slots: SlotSet::new() },
        Body::MfStart,
        Body::Module { module: 1 << 60, kind: 3, data: b"xyz".to_vec() },
    ]
}

#[test]
fn messages_of_real_nodes_come_out_as_they_went_in() {
    let messages = captured();
    let mut kinds = std::collections::BTreeSet::new();
    let mut hostnames = 0;
    for bytes in &messages {
        let message = decode(bytes).expect("a real message");
        assert_eq!(&encode(&message.header, &message.body), bytes);
        kinds.insert(message.body.kind());
        assert_eq!(message.header.bus_port - message.header.port, 100);
        if let Body::Heartbeat { extensions, .. } = &message.body {
            hostnames += extensions
                .iter()
                .filter(|e| matches!(e, Extension::Hostname(name) if name.starts_with("node-")))
                .count();
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 8]);
    assert!(messages.len() > 20 && hostnames > 3);
}

#[test]
fn what_is_encoded_is_decoded() {
    for body in bodies() {
        let message = Message { header: header(), body };
        let bytes = encode(&message.header, &message.body);
        assert_eq!(decode(&bytes), Ok(message));
    }
}

#[test]
fn sizes_of_the_fact_sheet() {
    let len = |body: &Body| encode(&header(), body).len();
    assert_eq!(len(&Body::Fail(id(b'0'))), 2296);
    let update = Body::Update { config_epoch: 1, id: id(b'0'), slots: SlotSet::new() };
    assert_eq!(len(&update), 4352);
    for (extension, size) in [
        (Extension::Shard(id(b'0')), 48),
        (Extension::Forgotten(id(b'0'), 60), 56),
        (Extension::Nodename("seven77".into()), 16),
        (Extension::Hostname("eight888".into()), 24),
    ] {
        let body =
            Body::Heartbeat { beat: Beat::Pong, gossip: vec![], extensions: vec![extension] };
        assert_eq!(len(&body), HEADER_BYTES + size);
    }
}

#[test]
fn every_cut_and_every_wrong_length_is_refused() {
    for body in bodies() {
        let bytes = encode(&header(), &body);
        for len in (0..bytes.len()).step_by(7) {
            assert!(decode(&bytes[..len]).is_err());
            let mut lying = bytes[..len].to_vec();
            if len >= 8 {
                lying[4..8].copy_from_slice(&(len as u32).to_be_bytes());
                assert!(decode(&lying).is_err(), "{body:?} cut to {len}");
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        longer[4..8].copy_from_slice(&(bytes.len() as u32 + 1).to_be_bytes());
        assert!(decode(&longer).is_err());
    }
}

#[test]
fn forged_counts_and_names() {
    let ping = Body::Heartbeat { beat: Beat::Ping, gossip: vec![], extensions: vec![] };
    let good = encode(&header(), &ping);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&bad)
    };
    let wrong = Err(BusError::Body { kind: 0, length: HEADER_BYTES });
    assert_eq!(with(14, &[255, 255]), wrong);
    assert_eq!(with(2214, &[255, 255]), wrong);
    assert_eq!(with(8, &[0, 2]), Err(BusError::Version(2)));
    assert_eq!(with(12, &[0, 11]), Err(BusError::Kind(11)));
    assert_eq!(with(40, b"G"), Err(BusError::Name));
    assert_eq!(with(2128, b"z"), Err(BusError::Name));
    assert_eq!(with(0, b"X"), Err(BusError::Signature));
    assert_eq!(with(4, &[0, 0, 0, 9]), Err(BusError::Length(9)));
}

#[test]
fn mutated_messages_never_panic_and_stay_themselves() {
    let messages = captured();
    let mut prng = Prng::new(6);
    let mut accepted = 0;
    for round in 0..20_000 {
        let mut bytes = messages[round % messages.len()].clone();
        for _ in 0..prng.between(1, 4) {
            // Headers are mostly slots; the interesting bytes lie outside.
            let len = bytes.len() as u64;
            let at = match prng.below(3) {
                0 => prng.below(80),
                1 => 2128 + prng.below(128),
                _ => prng.below(len),
            };
            bytes[at as usize] = [0, 1, 8, 255, prng.next_u64() as u8][prng.below(5) as usize];
        }
        if let Ok(message) = decode(&bytes) {
            accepted += 1;
            let again = encode(&message.header, &message.body);
            assert_eq!(decode(&again), Ok(message));
        }
        let mut cutter = Cutter::default();
        cutter.feed(&bytes);
        cutter.feed(&bytes);
        while let Ok(Some(piece)) = cutter.cut() {
            assert!(piece.len() >= HEADER_BYTES);
        }
    }
    assert!(accepted > 1000);
}

#[test]
fn the_cutter_takes_bytes_as_they_come() {
    let messages = captured();
    let mut prng = Prng::new(1);
    let mut cutter = Cutter::default();
    let (mut rest, mut got) = (CAPTURE, Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest.split_at((prng.between(1, 5000) as usize).min(rest.len()));
        cutter.feed(head);
        rest = tail;
        while let Some(bytes) = cutter.cut().expect("good bytes") {
            got.push(bytes.to_vec());
        }
    }
    assert_eq!(got, messages);
    let mut cutter = Cutter::default();
    cutter.feed(b"RCmb\xff\xff\xff\xff");
    assert_eq!(cutter.cut(), Err(BusError::Length(u32::MAX)));
    let mut cutter = Cutter::default();
    cutter.feed(b"RCmb\0\xff\xff\xff\0\x01\0\0\0\0");
    assert_eq!(cutter.cut(), Err(BusError::Length(0x00ff_ffff)), "no PING is that long");
    assert_eq!(GOSSIP_BYTES, 104);
}
