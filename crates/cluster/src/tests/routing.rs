//! Redirects in Redis's order, and the operations that change owners.

use super::{Bench, THREE, id};
use crate::redirect::{Decision, Keys, Query};
use crate::{EndpointType, SetSlot};

fn routed(bench: &Bench, slots: &[u16], query: Query, keys: Keys) -> String {
    let routes = bench.machine.routes(EndpointType::Ip);
    match routes.decide(slots.iter().copied(), query, || keys) {
        Decision::Serve => "serve".to_string(),
        Decision::Refuse(redirect) => redirect.to_string(),
    }
}

fn ready() -> Bench {
    let mut bench = Bench::new(THREE);
    bench.machine.set_down(false);
    bench
}

#[test]
fn the_order_of_redirects() {
    let mut bench = ready();
    let q = Query::default();
    let asking = Query { asking: true, ..q };
    let several = Query { several_keys: true, ..q };
    let keys = |here, missing| Keys { here, missing };
    for (slots, query, have, expected) in [
        (&[] as &[u16], q, keys(0, 0), "serve"),
        (&[3], q, keys(0, 1), "serve"),
        (&[3, 4], several, keys(0, 2), "CROSSSLOT Keys in request don't hash to the same slot"),
        (&[5001], q, keys(0, 1), "MOVED 5001 10.0.0.2:7000"),
        (&[100], q, keys(1, 0), "serve"),
        (&[100], q, keys(0, 1), "ASK 100 10.0.0.2:7000"),
        (
            &[100, 100],
            several,
            keys(1, 1),
            "TRYAGAIN Multiple keys request during rehashing of slot",
        ),
        (&[100], Query { migrate: true, ..q }, keys(0, 1), "serve"),
        (&[6000], q, keys(1, 0), "MOVED 6000 10.0.0.2:7000"),
        (&[6000], asking, keys(0, 1), "serve"),
        (
            &[6000, 6000],
            Query { several_keys: true, ..asking },
            keys(1, 1),
            "TRYAGAIN Multiple keys request during rehashing of slot",
        ),
        (&[6001], asking, keys(0, 1), "MOVED 6001 10.0.0.2:7000"),
    ] {
        assert_eq!(routed(&bench, slots, query, have), expected, "{slots:?} {query:?}");
    }
    bench.machine.set_down(true);
    let down = "CLUSTERDOWN The cluster is down";
    assert_eq!(routed(&bench, &[3], q, keys(0, 1)), down);
    assert_eq!(
        routed(&bench, &[3, 4], several, keys(0, 1)),
        "CROSSSLOT Keys in request don't hash to the same slot"
    );
    let shard = Query { pubsubshard: true, ..q };
    assert_eq!(routed(&bench, &[3], shard, keys(0, 0)), "serve");
    bench.machine.del_slots(bench.now, &[16_000]).expect("ours to give away");
    assert_eq!(routed(&bench, &[16_000, 3], q, keys(0, 1)), "CLUSTERDOWN Hash slot not served");
    let mut options = super::options();
    options.reads_when_down = true;
    bench.machine.set_options(bench.now, options);
    bench.machine.set_down(true);
    let reading = Query { reads_only: true, ..q };
    assert_eq!(
        routed(&bench, &[3], q, keys(0, 1)),
        "CLUSTERDOWN The cluster is down and only accepts read commands"
    );
    assert_eq!(routed(&bench, &[3], reading, keys(0, 1)), "serve");
}

#[test]
fn replicas_serve_readers_of_their_masters_slots() {
    let bench = Bench::new(
        &THREE
            .replace("myself,master", "master")
            .replace("slave", "myself,slave")
            .split(" [100")
            .next()
            .map(|head| {
                format!(
                    "{head}\n{}",
                    &THREE[THREE.find("\n1111").unwrap() + 1..].replace("slave", "myself,slave")
                )
            })
            .unwrap(),
    );
    let mut bench = bench;
    bench.machine.set_down(false);
    let q = Query::default();
    let readonly = Query { readonly: true, ..q };
    let reading = Query { reads_only: true, ..readonly };
    let none = Keys::default();
    assert_eq!(routed(&bench, &[6000], q, none), "MOVED 6000 10.0.0.2:7000");
    assert_eq!(routed(&bench, &[6000], readonly, none), "MOVED 6000 10.0.0.2:7000");
    assert_eq!(routed(&bench, &[6000], reading, none), "serve");
    assert_eq!(routed(&bench, &[3], reading, none), "MOVED 3 10.0.0.1:7000");
}

#[test]
fn endpoints() {
    let bench = ready();
    let moved = |slot: u16, kind| {
        let routes = bench.machine.routes(kind);
        match routes.decide([slot], Query::default(), Keys::default) {
            Decision::Refuse(redirect) => redirect.to_string(),
            Decision::Serve => String::new(),
        }
    };
    assert_eq!(moved(12_182, EndpointType::Hostname), "MOVED 12182 two.example:7000");
    assert_eq!(moved(5001, EndpointType::Hostname), "MOVED 5001 ?:7000");
    assert_eq!(moved(12_182, EndpointType::Unknown), "MOVED 12182 :7000");
}

#[test]
fn operations_and_their_refusals() {
    let mut bench = ready();
    let now = bench.now;
    let m = &mut bench.machine;
    let text = |result: Result<(), String>| result.expect_err("refused");
    assert_eq!(text(m.add_slots(now, &[1])), "ERR Slot 1 is already busy");
    assert_eq!(text(m.replicate(now, &id(b'5'), true)), "ERR Can't replicate myself");
    assert_eq!(
        text(m.replicate(now, &id(b'7'), true)),
        "ERR I can only replicate a master, not a replica."
    );
    assert_eq!(
        text(m.replicate(now, &id(b'1'), true)),
        "ERR To set a master the node must be empty and without assigned slots."
    );
    assert_eq!(text(m.forget(now, &id(b'5'))), "ERR I tried hard but I can't forget myself...");
    assert_eq!(text(m.forget(now, &id(b'b'))), format!("ERR Unknown node {}", id(b'b')));
    assert_eq!(text(m.meet(now, "1", 2, 3)), "ERR Invalid node address specified: 1:2");
    assert_eq!(
        text(m.set_config_epoch(now, 1)),
        "ERR The user can assign a config epoch only when the node does not know any other node."
    );
    assert_eq!(
        text(m.set_slot(now, 6000, SetSlot::Migrating(id(b'1')), 0)),
        "ERR I'm not the owner of hash slot 6000"
    );
    assert_eq!(
        text(m.set_slot(now, 1, SetSlot::Importing(id(b'1')), 0)),
        "ERR I'm already the owner of hash slot 1"
    );
    assert_eq!(
        text(m.set_slot(now, 1, SetSlot::Migrating(id(b'b')), 0)),
        format!("ERR I don't know about node {}", id(b'b'))
    );
    assert_eq!(
        text(m.set_slot(now, 1, SetSlot::Node(id(b'7')), 0)),
        "ERR Target node is not a master"
    );
    assert_eq!(
        text(m.set_slot(now, 1, SetSlot::Node(id(b'1')), 5)),
        "ERR Can't assign hashslot 1 to a different node while I still hold keys for this hash slot."
    );
    assert_eq!(
        text(m.reset(now, None, false)),
        "ERR CLUSTER RESET can't be called with master nodes containing keys"
    );
    assert_eq!(
        text(m.failover(now, crate::FailoverKind::Force)),
        "ERR You should send CLUSTER FAILOVER to a replica"
    );
    // The end of an import: a greater epoch than anybody's.
    m.set_slot(now, 6000, SetSlot::Node(id(b'5')), 3).expect("imported");
    assert_eq!(m.epochs().1, 8);
    m.del_slots(now, &[6000]).expect("given away");
    assert_eq!(text(m.del_slots(now, &[6000])), "ERR Slot 6000 is already unassigned");
    assert_eq!(text(m.add_slots(now, &[6000, 6000])), "ERR Slot 6000 specified multiple times");
    m.forget(now, &id(b'7')).expect("forgotten");
    assert_eq!(m.known_nodes(), 3);
    m.reset(now, Some(id(b'e')), true).expect("empty");
    assert_eq!((m.myid(), m.known_nodes(), m.epochs()), (id(b'e'), 1, (0, 0, 0)));
    m.set_config_epoch(now, 9).expect("alone");
    assert_eq!(text(m.set_config_epoch(now, 9)), "ERR Node config epoch is already non-zero");
    bench.drain();
}
