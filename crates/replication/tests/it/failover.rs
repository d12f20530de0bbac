//! FAILOVER, both ends: the master that waits, and its link to the node that is to take over.
//! Texts are those of a real server 7.0.15.

use replication::{
    ConnId, FailoverRequest, FailoverState, FailoverStep, MasterInput, MasterOptions, Part,
    ReplicaInput, ReplicaOptions, ReplicaOutput, Upstream,
};

use crate::harness::{Master, Replica, command, id, says, text};

fn master() -> Master {
    Master::new(MasterOptions { diskless_sync_delay_ms: 0, ..MasterOptions::default() })
}

fn write(m: &Master) {
    let bytes = command(&["SET", "k", "v"]);
    m.log.append(&replication::AppendRecord::new(&[Part::new(0, &bytes, 1)]));
}

fn to(host: &str, port: i64) -> FailoverRequest {
    FailoverRequest { target: Some((host.to_owned(), port)), ..FailoverRequest::default() }
}

fn ack(m: &mut Master, conn: u64, offset: u64) {
    m.say(conn, &["REPLCONF", "ACK", &offset.to_string()]);
}

#[test]
fn it_waits_for_any_replica_that_has_everything() {
    let mut m = master();
    let _cursors = (m.full_sync(1), m.full_sync(2));
    write(&m);
    m.take_lines();
    let request = FailoverRequest::default();
    m.side.failover_request(m.now, request.clone()).unwrap();
    m.outputs();
    assert_eq!(m.take_lines(), ["* FAILOVER requested to any replica."]);
    assert_eq!(m.side.failover_state(), FailoverState::WaitingForSync);
    assert!(m.info().contains("master_failover_state:waiting-for-sync\r\n"));
    assert_eq!(m.side.failover_request(m.now, request), Err("ERR FAILOVER already in progress."));
    let end = m.log.offset();
    ack(&mut m, 1, end - 1);
    assert_eq!(m.side.failover_step(m.now), FailoverStep::Wait);
    ack(&mut m, 2, end);
    let step = m.side.failover_step(m.now);
    let expected = FailoverStep::Switch { host: "10.0.0.2".to_owned(), port: 7002, forced: false };
    assert_eq!(step, expected);
    m.side.failover_begin("10.0.0.2", 7002, false);
    m.outputs();
    assert_eq!(m.take_lines(), ["* Failover target 10.0.0.2:7002 is synced, failing over."]);
    assert_eq!(
        m.ask(3, &["PSYNC", "?", "-1"]),
        "-NOMASTERLINK Can't SYNC while failing over\\r\\n"
    );
    m.side.failover_done();
    assert_eq!(m.side.failover_state(), FailoverState::None);
}

#[test]
fn the_offset_stands_still_while_it_waits() {
    let mut m = master();
    let _cursor = m.full_sync(1);
    m.side.failover_request(m.now, FailoverRequest::default()).unwrap();
    let end = m.log.offset();
    for _ in 0..30 {
        m.pass(1_000);
        m.say(1, &["REPLCONF", "ACK", "0"]);
    }
    assert_eq!(m.log.offset(), end, "no keepalive");
    assert_eq!(m.side.failover_abort("Failover manually aborted"), FailoverState::WaitingForSync);
    m.outputs();
    assert!(
        m.take_lines()
            .contains(&"* FAILOVER to any replica aborted: Failover manually aborted".to_owned())
    );
    m.pass(11_000);
    assert!(m.log.offset() > end, "keepalives again");
}

#[test]
fn time_ends_it_or_forces_it() {
    let mut m = master();
    let _cursor = m.full_sync(1);
    write(&m);
    let mut request = to("10.0.0.1", 7001);
    request.timeout_ms = Some(500);
    m.side.failover_request(m.now, request.clone()).unwrap();
    assert_eq!(m.side.poll_timeout().map(|at| at.since(m.now) <= 500), Some(true));
    m.pass(499);
    assert_eq!(m.side.failover_step(m.now), FailoverStep::Wait);
    // Who drives it asks for the step whenever a timer is due.
    m.now = m.now + 1;
    assert_eq!(m.side.failover_step(m.now), FailoverStep::TimedOut);
    m.side.failover_abort("Replica never caught up before timeout");
    request.force = true;
    m.side.failover_request(m.now, request).unwrap();
    m.now = m.now + 500;
    let expected = FailoverStep::Switch { host: "10.0.0.1".to_owned(), port: 7001, forced: true };
    assert_eq!(m.side.failover_step(m.now), expected);
}

#[test]
fn refusals() {
    let mut m = master();
    let ask = |m: &mut Master, request| m.side.failover_request(m.now, request).unwrap_err();
    let plain = FailoverRequest::default();
    assert_eq!(ask(&mut m, plain.clone()), "ERR FAILOVER requires connected replicas.");
    let _cursor = m.full_sync(1);
    let force = FailoverRequest { force: true, ..to("10.0.0.1", 7001) };
    assert_eq!(
        ask(&mut m, force),
        "ERR FAILOVER with force option requires both a timeout and target HOST and IP."
    );
    assert_eq!(
        ask(&mut m, to("10.0.0.1", 7002)),
        "ERR FAILOVER target HOST and PORT is not a replica."
    );
    m.handshake(2, "?", "-1");
    assert_eq!(ask(&mut m, to("10.0.0.2", 7002)), "ERR FAILOVER target replica is not online.");
    m.side.set_upstream(m.now, Upstream::Up);
    assert_eq!(ask(&mut m, plain), "ERR FAILOVER is not valid when server is a replica.");
    m.input(MasterInput::Closed { conn: ConnId(1) });
}

/// A master with a history that hands over.
fn handing_over() -> Replica {
    let mut r = Replica::new(ReplicaOptions::default());
    r.log.create_backlog(id('a'));
    r.log.append_ping();
    r.link.hand_over(r.now, "10.0.0.1", 6379);
    r.outputs();
    r
}

#[test]
fn the_target_is_asked_to_take_over() {
    let mut r = handing_over();
    let psync = r.up_to_psync();
    assert_eq!(psync, text(&command(&["PSYNC", id('a').as_str(), "15", "FAILOVER"])));
    let answer = format!("+CONTINUE {}\r\n", id('b'));
    let outputs = r.hear(answer.as_bytes());
    assert!(outputs.contains(&ReplicaOutput::FailoverDone));
    assert_eq!((r.log.ids().replid, r.log.ids().replid2), (id('b'), id('a')));
    assert_eq!(r.link.upstream(), Upstream::Up);
}

#[test]
fn a_target_that_refuses_leaves_the_old_master() {
    let mut r = handing_over();
    r.up_to_psync();
    let outputs = r.hear(b"-ERR PSYNC FAILOVER replid must match my replid.\r\n");
    let why = "Failover target rejected psync request";
    assert!(outputs.contains(&ReplicaOutput::FailoverFailed { why }));
    assert!(!says(&outputs).contains("SYNC"), "it does not ask for everything instead");
    assert!(r.link.hand_over_aborted());
    assert_eq!(r.link.upstream(), Upstream::None);
    assert_eq!(r.log.ids().replid2, id('a'));
}

#[test]
fn a_target_out_of_reach_before_it_was_asked() {
    let mut r = handing_over();
    let link = r.link.link();
    let outputs = r.input(ReplicaInput::ConnectFailed { link, error: "Connection refused" });
    let why = "Failover target can't be reached";
    assert!(outputs.contains(&ReplicaOutput::FailoverFailed { why }));
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let mut r = handing_over();
    r.up_to_psync();
    let outputs = r.lose();
    assert!(!outputs.iter().any(|o| matches!(o, ReplicaOutput::FailoverFailed { .. })));
    r.pass(1_000);
    assert!(r.up_to_psync().contains("FAILOVER"));
    let outputs = r.hear(b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n");
    assert!(outputs.contains(&ReplicaOutput::FailoverDone), "it was promoted by the first one");
    r.pass(1_000);
    let psync = r.up_to_psync();
    assert_eq!(psync, text(&command(&["PSYNC", id('a').as_str(), "15"])));
}

#[test]
fn patience_ends() {
    let mut r = handing_over();
    r.up_to_psync();
    r.lose();
    let outputs = r.pass(61_000);
    let why = "Failover target did not answer in time";
    assert!(outputs.contains(&ReplicaOutput::FailoverFailed { why }));
}
