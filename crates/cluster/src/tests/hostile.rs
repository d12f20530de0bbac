//! Nothing that a peer sends may stop the machine or make it believe nonsense.

use stdx::Prng;

use super::{Bench, THREE, beat, header_of, id};
use crate::bus::{Beat, Body, Extension, Gossip, IpText, encode};
use crate::{Flags, Input, NodesConf, SlotSet};

#[test]
fn impossible_epochs_are_ignored() {
    let mut bench = Bench::new(THREE);
    let conn = bench.accept(1);
    let all: SlotSet = (0..16_384).collect();
    for body in [beat(Beat::Ping), Body::AuthRequest, Body::Fail(id(b'1'))] {
        bench.receive(conn, &header_of(id(b'1'), u64::MAX, all.clone()), &body);
    }
    let mut header = header_of(id(b'1'), 7, (5001..=10_000).collect());
    header.config_epoch = 1;
    let update = Body::Update { config_epoch: u64::MAX, id: id(b'2'), slots: all.clone() };
    bench.receive(conn, &header, &update);
    assert_eq!(bench.machine.epochs(), (7, 5, 3));
    assert_eq!(bench.machine.status().iter().filter(|n| n.config_epoch > 5).count(), 0);
    // The greatest epoch that is believed: nobody can count beyond it, nothing overflows.
    bench.receive(
        conn,
        &header_of(id(b'1'), i64::MAX as u64, (5001..=10_000).collect()),
        &beat(Beat::Ping),
    );
    assert_eq!(bench.machine.epochs().0, i64::MAX as u64);
    assert_eq!(bench.machine.bump(bench.now), "STILL 5");
    bench.run_ms(500);
}

#[test]
fn strangers_change_nothing() {
    let mut bench = Bench::new(THREE);
    let before = bench.machine.status();
    let conn = bench.accept(1);
    let gossip = Gossip {
        id: id(b'c'),
        ping_sent: 0,
        pong_received: u32::MAX,
        ip: IpText::new("10.9.9.9"),
        port: 1,
        bus_port: 2,
        flags: Flags::MASTER,
        other_port: 0,
    };
    let mut header = header_of(id(b'9'), 100, (0..16_384).collect());
    for forged in [id(b'9'), id(b'5')] {
        header.sender = forged;
        let body = Body::Heartbeat {
            beat: Beat::Ping,
            gossip: vec![gossip.clone(); 5],
            extensions: vec![Extension::Forgotten(id(b'1'), 60)],
        };
        bench.receive(conn, &header, &body);
        bench.receive(conn, &header, &Body::Fail(id(b'1')));
        bench.receive(conn, &header, &Body::MfStart);
        bench.receive(conn, &header, &Body::AuthRequest);
        bench.receive(
            conn,
            &header,
            &Body::Publish { sharded: false, channel: b"c".to_vec(), message: b"m".to_vec() },
        );
    }
    assert_eq!(bench.machine.status(), before);
    assert!(bench.sent.iter().any(|(c, m)| *c == conn && m.body.kind() == 1), "a PING is answered");
}

#[test]
fn bytes_that_are_no_messages_close_the_connection() {
    let mut bench = Bench::new(THREE);
    let conn = bench.accept(1);
    bench.input(Input::Received { conn, bytes: b"GET / HTTP/1.1\r\n\r\n" });
    assert!(bench.other.contains(&crate::Output::Close { conn }));
}

/// Everything that nodes of this cluster could say, damaged in all ways.
#[test]
fn seeded_noise() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let mut bench = Bench::new(THREE);
        bench.run_ms(200);
        let mut conns = bench.connect_all();
        for number in 1..4 {
            conns.push(bench.accept(number));
        }
        for round in 0..120u64 {
            let bytes = noise(&mut prng);
            let conn = conns[prng.below(conns.len() as u64) as usize];
            if prng.chance(3) {
                bench.input(Input::Closed { conn });
            }
            bench.input(Input::Received { conn, bytes: &bytes });
            if prng.chance(20) {
                bench.run_ms([50, 300, 2500][prng.below(3) as usize]);
                conns.extend(bench.connect_all());
            }
            if prng.chance(5) {
                conns.push(bench.accept(1000 + round));
            }
        }
        // What it would write, it could start from.
        let text = bench.machine.conf().text();
        assert!(NodesConf::parse(text.as_bytes()).expect("good").is_some());
        Bench::new(&text);
    }
}

fn noise(prng: &mut Prng) -> Vec<u8> {
    let names = [id(b'1'), id(b'2'), id(b'7'), id(b'9'), id(b'5'), id(b'c')];
    let name = |prng: &mut Prng| names[prng.below(6) as usize];
    let from = prng.below(16_384) as u16;
    let slots: SlotSet = (from..from.saturating_add(prng.below(9000) as u16).min(16_384)).collect();
    let epoch = [0, 1, 6, 9, 1 << 40, u64::MAX][prng.below(6) as usize];
    let mut header = header_of(name(prng), epoch, slots.clone());
    header.current_epoch = header.current_epoch.saturating_add(prng.below(2));
    header.flags = crate::Flags(prng.next_u64() as u16);
    header.message_flags = prng.next_u64() as u8;
    header.master = prng.chance(40).then(|| name(prng));
    let gossip = (0..prng.below(4)).map(|_| Gossip {
        id: name(prng),
        ping_sent: prng.next_u64() as u32,
        pong_received: prng.next_u64() as u32,
        ip: IpText::new(["10.0.0.7", "", "x", "::1"][prng.below(4) as usize]),
        port: prng.next_u64() as u16,
        bus_port: prng.next_u64() as u16,
        flags: crate::Flags(prng.next_u64() as u16),
        other_port: 0,
    });
    let gossip: Vec<Gossip> = gossip.collect();
    let body = match prng.below(12) {
        0..=5 => Body::Heartbeat {
            beat: [Beat::Ping, Beat::Pong, Beat::Meet][prng.below(3) as usize],
            gossip,
            extensions: vec![
                Extension::Hostname("h.example".into()),
                Extension::Shard(name(prng)),
                Extension::Forgotten(name(prng), prng.next_u64() >> prng.below(64)),
            ],
        },
        6 => Body::Fail(name(prng)),
        7 => Body::AuthRequest,
        8 => Body::AuthAck,
        9 => Body::MfStart,
        10 => Body::Update { config_epoch: epoch, id: name(prng), slots },
        _ => Body::Module { module: 1, kind: 1, data: vec![1; 9] },
    };
    let mut bytes = encode(&header, &body);
    if prng.chance(30) {
        let at = prng.below(bytes.len() as u64) as usize;
        bytes[at] = prng.next_u64() as u8;
    }
    bytes
}
