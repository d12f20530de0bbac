//! Votes, requests for votes and epochs reach the disk before the wire.

use super::{Bench, THREE, beat, header_of, id};
use crate::bus::{Beat, Body, FORCE_ACK};
use crate::{Facts, FailoverKind, Flags, Input, Output, SlotSet};

/// A request of node 7 for the place of node 1.
fn request(bench: &mut Bench, epoch: u64, forced: bool) {
    let conn = bench.accept(90 + epoch);
    let mut header = header_of(id(b'7'), 1, (5001..=10_000).collect());
    header.current_epoch = epoch;
    header.master = Some(id(b'1'));
    header.flags = Flags::REPLICA;
    header.message_flags |= if forced { FORCE_ACK } else { 0 };
    bench.receive(conn, &header, &Body::AuthRequest);
}

fn votes(bench: &Bench) -> Vec<u64> {
    let acks = bench.sent.iter().filter(|(_, message)| message.body == Body::AuthAck);
    acks.map(|(_, message)| message.header.current_epoch).collect()
}

#[test]
fn a_vote_waits_for_the_disk_and_is_given_once() {
    let mut bench = Bench::new(THREE);
    bench.run_ms(200);
    bench.connect_all();
    bench.instant_disk = false;
    bench.persists.clear();
    request(&mut bench, 8, true);
    assert_eq!(votes(&bench), [] as [u64; 0]);
    let (token, text, sync) = bench.persists.last().cloned().expect("saved");
    assert!(sync && text.ends_with("vars currentEpoch 8 lastVoteEpoch 8\n"), "{text}");
    // Heartbeats go on meanwhile, and tell nothing that the disk does not know.
    bench.sent.clear();
    let conn = bench.accept(3);
    let mut other = header_of(id(b'2'), 7, (10_001..=16_383).collect());
    other.config_epoch = 2;
    bench.receive(conn, &other, &beat(Beat::Ping));
    bench.run_ms(200);
    assert!(bench.sent.iter().all(|(_, message)| message.header.current_epoch == 7));
    assert!(!bench.sent.is_empty());
    bench.input(Input::Persisted { token });
    assert_eq!(votes(&bench), [8]);
    bench.instant_disk = true;
    request(&mut bench, 8, true);
    request(&mut bench, 7, true);
    // The same master again, too soon.
    request(&mut bench, 9, true);
    assert_eq!(votes(&bench), [8]);
    bench.run_ms(4100);
    for _ in 0..4 {
        bench.run_ms(100);
        bench.connect_all();
    }
    request(&mut bench, 10, false);
    assert_eq!(votes(&bench), [8], "its master is up");
    request(&mut bench, 11, true);
    assert_eq!(votes(&bench), [8, 11]);
}

/// This node is a replica of 1; 2 and 3 are masters.
const REPLICA: &str = "\
    5555555555555555555555555555555555555555 10.0.0.1:7000@17000 myself,slave 1111111111111111111111111111111111111111 0 0 1 connected\n\
    1111111111111111111111111111111111111111 10.0.0.2:7000@17000 master - 0 1700000000000 1 connected 0-5000\n\
    2222222222222222222222222222222222222222 10.0.0.3:7000@17000 master - 0 1700000000000 2 connected 5001-10000\n\
    3333333333333333333333333333333333333333 10.0.0.4:7000@17000 master - 0 1700000000000 3 connected 10001-16383\n\
    vars currentEpoch 3 lastVoteEpoch 3\n";

#[test]
fn an_election_from_the_failure_to_the_news() {
    let mut bench = Bench::new(REPLICA);
    bench.machine.set_facts(Facts { repl_offset: 9, data_age_ms: 0, has_data: true });
    assert!(bench.other.iter().any(|o| *o == Output::Follow { ip: "10.0.0.2".into(), port: 7000 }));
    bench.run_ms(200);
    let conns = bench.connect_all();
    assert_eq!(conns.len(), 3);
    let (two, three) = (
        header_of(id(b'2'), 2, (5001..=10_000).collect()),
        header_of(id(b'3'), 3, (10_001..=16_383).collect()),
    );
    let (from_two, from_three) = (bench.accept(1), bench.accept(2));
    bench.receive(from_two, &two, &Body::Fail(id(b'1')));
    bench.instant_disk = false;
    bench.persists.clear();
    for _ in 0..12 {
        bench.run_ms(100);
        bench.receive(from_two, &two, &beat(Beat::Ping));
        bench.receive(from_three, &three, &beat(Beat::Ping));
    }
    let asked =
        |bench: &Bench| bench.sent.iter().filter(|(_, m)| m.body == Body::AuthRequest).count();
    assert_eq!(asked(&bench), 0, "not before the epoch is on disk");
    let (token, text, _) = bench.persists.last().cloned().expect("saved");
    assert!(text.contains("currentEpoch 4"));
    bench.input(Input::Persisted { token });
    assert_eq!(asked(&bench), 3);
    // A vote for another epoch does not count, one of a replica neither, one twice only once.
    let with = |header: &crate::bus::Header, epoch| crate::bus::Header {
        current_epoch: epoch,
        ..header.clone()
    };
    bench.receive(from_two, &with(&two, 3), &Body::AuthAck);
    bench.receive(from_two, &with(&two, 4), &Body::AuthAck);
    bench.receive(from_two, &with(&two, 4), &Body::AuthAck);
    assert!(bench.machine.is_replica());
    bench.sent.clear();
    bench.receive(from_three, &with(&three, 4), &Body::AuthAck);
    assert!(!bench.machine.is_replica());
    assert_eq!(bench.machine.epochs().1, 4);
    assert!(!bench.other.contains(&Output::Lead), "nothing is served before it is on disk");
    assert!(bench.sent.iter().all(|(_, message)| message.header.master.is_some()));
    let (token, ..) = bench.persists.last().cloned().expect("saved");
    bench.input(Input::Persisted { token });
    assert!(bench.other.contains(&Output::Lead));
    let news = bench.sent.last().expect("told").1.header.clone();
    assert_eq!((news.master, news.config_epoch, news.slots.ranges()), (None, 4, vec![(0, 5000)]));
}

#[test]
fn takeover_and_handover() {
    let mut bench = Bench::new(REPLICA);
    bench.machine.set_facts(Facts { repl_offset: 9, data_age_ms: 0, has_data: true });
    let refused = bench.machine.failover(bench.now, FailoverKind::Agreed);
    assert_eq!(
        refused.unwrap_err(),
        "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"
    );
    bench.run_ms(200);
    bench.connect_all();
    bench.machine.failover(bench.now, FailoverKind::Agreed).expect("accepted");
    bench.drain();
    assert!(bench.sent.iter().any(|(_, message)| message.body == Body::MfStart));
    assert!(bench.machine.wants_offset());
    let mut master = header_of(id(b'1'), 1, (0..=5000).collect());
    (master.message_flags, master.offset) = (5, 12);
    let conn = bench.accept(1);
    bench.sent.clear();
    bench.receive(conn, &master, &beat(Beat::Ping));
    let forced = |bench: &Bench| {
        bench
            .sent
            .iter()
            .filter(|(_, m)| m.body == Body::AuthRequest && m.header.message_flags & FORCE_ACK != 0)
            .count()
    };
    assert_eq!(forced(&bench), 0);
    bench.machine.set_facts(Facts { repl_offset: 12, data_age_ms: 0, has_data: true });
    bench.run_ms(50);
    assert_eq!(forced(&bench), 3);
    bench.run_ms(6000);
    assert!(!bench.machine.wants_offset(), "timed out");
    bench.machine.failover(bench.now, FailoverKind::Takeover).expect("accepted");
    bench.drain();
    assert!(!bench.machine.is_replica() && bench.other.contains(&Output::Lead));
}

#[test]
fn a_master_hands_over() {
    let mut bench = Bench::new(THREE);
    let mut replica = header_of(id(b'7'), 5, (0..=5000).collect());
    (replica.master, replica.flags) = (Some(id(b'5')), Flags::REPLICA);
    bench.run_ms(200);
    bench.connect_all();
    let conn = bench.accept(1);
    bench.receive(conn, &replica, &Body::MfStart);
    assert!(!bench.other.contains(&Output::PauseWrites { ms: 10_000 }), "not its replica yet");
    bench.receive(conn, &replica, &beat(Beat::Ping));
    bench.machine.set_facts(Facts { repl_offset: 77, ..Facts::default() });
    bench.sent.clear();
    bench.receive(conn, &replica, &Body::MfStart);
    assert!(bench.other.contains(&Output::PauseWrites { ms: 10_000 }));
    let told = &bench.sent.first().expect("told at once").1.header;
    assert_eq!((told.message_flags & 1, told.offset), (1, 77));
    // The replica has won: its claim beats ours, and we follow it.
    let won = header_of(id(b'7'), 8, (0..=5000).collect());
    bench.receive(conn, &won, &beat(Beat::Pong));
    assert!(bench.other.contains(&Output::ResumeWrites) && bench.machine.is_replica());
    assert!(
        bench.other.iter().any(
            |o| matches!(o, Output::SlotsLost { delete: false, slots } if slots.len() == 5001)
        )
    );
}

#[test]
fn collisions_are_settled_by_the_smaller_name() {
    let mut bench = Bench::new(THREE);
    let conn = bench.accept(1);
    bench.receive(conn, &header_of(id(b'2'), 5, (10_001..=16_383).collect()), &beat(Beat::Ping));
    assert_eq!(bench.machine.epochs().1, 5, "ours is the greater name");
    let other = header_of(id(b'9'), 5, SlotSet::new());
    bench.receive(conn, &other, &beat(Beat::Meet));
    bench.run_ms(200);
    let conns = bench.connect_all();
    let handshake = *conns.last().expect("to the new node");
    bench.receive(handshake, &other, &beat(Beat::Pong));
    assert_eq!(bench.machine.epochs(), (8, 8, 3));
}
