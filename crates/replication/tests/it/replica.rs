//! The replica's side, scene by scene. Log texts are those of a real server 7.0.15.

use std::sync::Arc;

use replication::{
    InfoSettings, LinkState, LoadMode, MasterOptions, MasterSide, ReplicaInput, ReplicaOfOutcome,
    ReplicaOptions, ReplicaOutput, Upstream, Watermarks,
};
use stdx::Prng;

use crate::harness::{Replica, command, id, says, stream_bytes, text};

fn replica() -> Replica {
    let mut r = Replica::new(ReplicaOptions::default());
    r.replicaof();
    r.take_lines();
    r
}

fn fullresync(offset: u64) -> Vec<u8> {
    format!("+FULLRESYNC {} {offset}\r\n", id('b')).into_bytes()
}

/// A replica in sync after a full synchronization at `offset`.
fn in_sync(offset: u64) -> Replica {
    let mut r = replica();
    r.up_to_psync();
    r.hear(&fullresync(offset));
    r.hear(b"$5\r\nREDIS");
    r.load();
    r.take_lines();
    r
}

#[test]
fn the_handshake_is_that_of_a_real_replica() {
    let options = ReplicaOptions {
        listening_port: 7001,
        announce_ip: Some("9.9.9.9".to_owned()),
        masteruser: Some("bob".to_owned()),
        masterauth: Some(b"pw".to_vec()),
        ..ReplicaOptions::default()
    };
    let mut r = Replica::new(options);
    let outputs = r.replicaof();
    assert!(
        matches!(&outputs[..], [ReplicaOutput::Connect { host, port: 6379, .. }] if host == "10.0.0.1")
    );
    assert_eq!(r.connected(), text(&command(&["PING"])));
    let all = [
        command(&["AUTH", "bob", "pw"]),
        command(&["REPLCONF", "listening-port", "7001"]),
        command(&["REPLCONF", "ip-address", "9.9.9.9"]),
        command(&["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "rdb12"]),
    ];
    assert_eq!(says(&r.hear(b"-NOAUTH Authentication required.\r\n")), text(&all.concat()));
    assert_eq!(says(&r.hear(b"+OK\r\n-ERR a\r\n-ERR b\r\n")), "");
    let psync = command(&["PSYNC", id('e').as_str(), "1"]);
    assert_eq!(says(&r.hear(b"-ERR c\r\n")), text(&psync));
    assert_eq!(
        r.take_lines(),
        [
            "* Before turning into a replica, using my own master parameters to synthesize a cached \
             master: I may be able to synchronize with the new master with just a partial transfer."
                .to_owned(),
            "* Connecting to MASTER 10.0.0.1:6379".to_owned(),
            "* MASTER <-> REPLICA sync started".to_owned(),
            "* REPLICAOF 10.0.0.1:6379 enabled (user request from 'test')".to_owned(),
            "* Non blocking connect for SYNC fired the event.".to_owned(),
            "* Master replied to PING, replication can continue...".to_owned(),
            "* (Non critical) Master does not understand REPLCONF listening-port: -ERR a".to_owned(),
            "* (Non critical) Master does not understand REPLCONF ip-address: -ERR b".to_owned(),
            "* (Non critical) Master does not understand REPLCONF capa: -ERR c".to_owned(),
            format!("* Trying a partial resynchronization (request {}:1).", id('e')),
        ]
    );
    // A password alone is sent without a user.
    let options = ReplicaOptions { masterauth: Some(b"pw".to_vec()), ..ReplicaOptions::default() };
    let mut r = Replica::new(options);
    r.replicaof();
    r.connected();
    assert!(says(&r.hear(b"+PONG\r\n")).starts_with(&text(&command(&["AUTH", "pw"]))));
}

#[test]
fn a_start_without_history_offers_none() {
    let mut r = Replica::new(ReplicaOptions::default());
    r.link.start(r.now, "m", 1, false);
    assert_eq!(r.pass(0).len(), 1, "it connects at once");
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", "?", "-1"])));
    let lines = r.take_lines();
    let line = "* Partial resynchronization not possible (no cached master)".to_owned();
    assert_eq!(lines.last(), Some(&line));
    assert!(!lines.iter().any(|l| l.contains("Before turning")));
}

#[test]
fn a_start_with_history_offers_it() {
    let mut r = Replica::new(ReplicaOptions::default());
    r.log.restore_as_replica(id('b'), 4071, 0);
    r.link.start(r.now, "m", 1, true);
    r.pass(0);
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", id('b').as_str(), "4072"])));
    r.hear(b"+CONTINUE\r\n");
    assert_eq!(r.link.upstream(), Upstream::Up);
}

#[test]
fn a_full_synchronization_with_length() {
    let mut r = replica();
    r.up_to_psync();
    assert_eq!(r.link.link_state(), LinkState::Handshake);
    assert!(r.hear(b"\n\n+FULL").is_empty());
    r.hear(format!("RESYNC {} 100\r\n", id('b')).as_bytes());
    assert_eq!(r.link.link_state(), LinkState::Sync);
    let link = r.link.link();
    let outputs = r.hear(b"\n\n$1");
    assert!(outputs.is_empty());
    // The stream may follow the RDB without a pause; a part of it comes with the RDB's last bytes.
    let outputs = r.hear(b"0\r\nREDIS00");
    let begin =
        ReplicaOutput::RdbBegin { link, length: Some(10), replid: Some(id('b')), offset: 100 };
    assert_eq!(outputs, [begin, ReplicaOutput::RdbBytes { link, bytes: b"REDIS00".to_vec() }]);
    let outputs = r.hear(b"109*1\r\n$4\r\n");
    let bytes = b"109".to_vec();
    assert_eq!(outputs, [ReplicaOutput::RdbBytes { link, bytes }, ReplicaOutput::RdbEnd { link }]);
    assert!(!r.link.wants_read());
    assert_eq!(says(&r.pass(2500)), "\\n\\n", "the master hears that loading goes on");
    let outputs = r.load();
    assert!(outputs.contains(&ReplicaOutput::DropReplicas));
    assert!(outputs.contains(&ReplicaOutput::StreamBegin { link, full: true }));
    assert_eq!(stream_bytes(&outputs), b"*1\r\n$4\r\n");
    assert_eq!(says(&outputs), text(&command(&["REPLCONF", "ACK", "100"])));
    assert!(r.link.wants_read());
    assert_eq!(r.log.offset(), 100);
    assert_eq!(r.log.ids().replid, id('b'));
    assert_eq!(r.link.status(r.now).unwrap().read_offset, 108);
    assert_eq!(
        r.take_lines()[3..],
        [
            format!("* Full resync from master: {}:100", id('b')),
            "* MASTER <-> REPLICA sync: receiving 10 bytes from master to disk".to_owned(),
            "* Discarding previously cached master state.".to_owned(),
            "* MASTER <-> REPLICA sync: Flushing old data".to_owned(),
            "* MASTER <-> REPLICA sync: Loading DB in memory".to_owned(),
            "* MASTER <-> REPLICA sync: Finished with success".to_owned(),
        ]
    );
}

#[test]
fn a_full_synchronization_with_mark() {
    let mut r =
        Replica::new(ReplicaOptions { load_mode: LoadMode::Parser, ..ReplicaOptions::default() });
    r.replicaof();
    r.up_to_psync();
    r.hear(&fullresync(0));
    let mark = "c".repeat(40);
    let outputs = r.hear(format!("$EOF:{mark}\r\nREDIS{mark}").as_bytes());
    assert!(matches!(outputs[0], ReplicaOutput::RdbBegin { length: None, .. }));
    assert!(matches!(&outputs[1], ReplicaOutput::RdbBytes { bytes, .. } if bytes == b"REDIS"));
    assert!(matches!(outputs[2], ReplicaOutput::RdbEnd { .. }));
    r.load();
    assert_eq!(r.link.upstream(), Upstream::Up);
    let lines = r.take_lines();
    let line = "* MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to parser";
    assert!(lines.contains(&line.to_owned()), "{lines:?}");
}

#[test]
fn acks_go_out_each_second_and_on_demand() {
    let mut r = in_sync(100);
    let ack = |offset: &str| text(&command(&["REPLCONF", "ACK", offset]));
    assert_eq!(says(&r.pass(999)), "");
    assert_eq!(says(&r.pass(1)), ack("100"));
    let getack = command(&["REPLCONF", "GETACK", "*"]);
    assert_eq!(stream_bytes(&r.hear(&getack)), getack);
    r.log.append_verbatim(&getack, 0, &[]);
    r.link.handle_input(r.now, ReplicaInput::AckRequested);
    r.link.handle_input(r.now, ReplicaInput::AckRequested);
    assert_eq!(says(&r.outputs()), ack("137"), "one answer for both");
    assert_eq!(says(&r.pass(1000)), ack("137"));
    // Not in sync: nothing to acknowledge.
    r.lose();
    assert_eq!(says(&r.input(ReplicaInput::AckRequested)), "");
}

#[test]
fn a_cut_link_is_taken_up_where_it_broke() {
    let mut r = in_sync(100);
    r.hear(b"*1\r\n$4\r\nping\r\n*1\r\n");
    r.log.append_verbatim(b"*1\r\n$4\r\nping\r\n", 0, &[]);
    assert_eq!(r.link.status(r.now).unwrap().read_offset, 118);
    let outputs = r.lose();
    assert!(matches!(outputs[..], [ReplicaOutput::Connect { .. }]), "at once");
    let status = r.link.status(r.now).unwrap();
    assert_eq!((status.read_offset, status.applied_offset), (114, 114));
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", id('b').as_str(), "115"])));
    let outputs = r.hear(format!("+CONTINUE {}\r\n*1\r\n$4", id('b')).as_bytes());
    assert_eq!(stream_bytes(&outputs), b"*1\r\n$4");
    assert!(!outputs.contains(&ReplicaOutput::DropReplicas));
    assert_eq!(
        r.take_lines(),
        [
            "# Connection with master lost.".to_owned(),
            "* Caching the disconnected master state.".to_owned(),
            "* Reconnecting to MASTER 10.0.0.1:6379".to_owned(),
            "* MASTER <-> REPLICA sync started".to_owned(),
            "* Non blocking connect for SYNC fired the event.".to_owned(),
            "* Master replied to PING, replication can continue...".to_owned(),
            format!("* Trying a partial resynchronization (request {}:115).", id('b')),
            "* Successful partial resynchronization with master.".to_owned(),
            "* MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.".to_owned(),
        ]
    );
}

#[test]
fn a_new_id_with_continue_is_adopted() {
    let mut r = in_sync(100);
    r.lose();
    r.up_to_psync();
    let outputs = r.hear(format!("+CONTINUE {}\r\n", id('c')).as_bytes());
    assert!(outputs.contains(&ReplicaOutput::DropReplicas));
    let ids = r.log.ids();
    assert_eq!((ids.replid, ids.replid2, ids.second_repl_offset), (id('c'), id('b'), 101));
    let lines = r.take_lines();
    assert!(lines.contains(&format!("# Master replication ID changed to {}", id('c'))));
    // An id that is none changes nothing.
    r.lose();
    r.up_to_psync();
    r.hear(b"+CONTINUE cc\r\n");
    assert_eq!(r.log.ids(), ids);
    assert_eq!(r.link.upstream(), Upstream::Up);
}

#[test]
fn connecting_is_tried_each_second() {
    let mut r = replica();
    for _ in 0..3 {
        let link = r.link.link();
        r.input(ReplicaInput::ConnectFailed { link, error: "Connection refused" });
        assert!(r.pass(999).is_empty());
        assert!(matches!(r.pass(1)[..], [ReplicaOutput::Connect { .. }]));
    }
    assert_eq!(
        r.take_lines()[..3],
        [
            "# Error condition on socket for SYNC: Connection refused",
            "* Connecting to MASTER 10.0.0.1:6379",
            "* MASTER <-> REPLICA sync started",
        ]
    );
}

/// What the log says when a handshake goes wrong, and when the next attempt begins.
fn failure(replies: &[&[u8]]) -> (String, u64) {
    let options = ReplicaOptions { masterauth: Some(b"pw".to_vec()), ..ReplicaOptions::default() };
    let mut r = Replica::new(options);
    r.replicaof();
    r.connected();
    let link = r.link.link();
    for reply in replies {
        r.take_lines();
        r.hear(reply);
    }
    assert_ne!(r.link.link(), link, "the attempt is over");
    let line = r.take_lines().into_iter().find(|l| !l.contains("SYNC...")).unwrap();
    let wait = match r.link.link_state() {
        LinkState::Connecting => 0,
        _ => r.link.poll_timeout().unwrap().since(r.now),
    };
    (line, wait)
}

#[test]
fn failures_are_named_and_repeated_after_a_pause() {
    let ok: &[u8] = b"+OK\r\n+OK\r\n+OK\r\n";
    let full = fullresync(5);
    let cases: &[(&[&[u8]], &str, u64)] = &[
        (&[b"-ERR foo\r\n"], "# Error reply to PING from master: '-ERR foo'", 1000),
        (
            &[b"+PONG\r\n", b"-WRONGPASS bad\r\n"],
            "# Unable to AUTH to MASTER: -WRONGPASS bad",
            1000,
        ),
        (
            &[b"+PONG\r\n", ok, b"-NOMASTERLINK nope\r\n"],
            "* Master is currently unable to PSYNC but should be in the future: -NOMASTERLINK nope",
            1000,
        ),
        (
            &[b"+PONG\r\n", ok, b"-LOADING nope\r\n"],
            "* Master is currently unable to PSYNC but should be in the future: -LOADING nope",
            1000,
        ),
        (
            &[b"+PONG\r\n", ok, b"+FULLRESYNC abc\r\n"],
            "# Master replied with wrong +FULLRESYNC syntax.",
            1000,
        ),
        (
            &[b"+PONG\r\n", ok, &full, b"hello\r\n"],
            "# Bad protocol from MASTER, the first byte is not '$' (we received 'hello'), are you \
             sure the host and port are right?",
            0,
        ),
        (
            &[b"+PONG\r\n", ok, &full, b"-ERR no rdb\r\n"],
            "# MASTER aborted replication with an error: ERR no rdb",
            0,
        ),
        (
            &[b"+PONG\r\n", ok, &full, b"$-5\r\n"],
            "# Bad protocol from MASTER, the first byte is not \
             '$' (we received '$-5'), are you sure the host and port are right?",
            0,
        ),
    ];
    for (replies, line, wait) in cases {
        assert_eq!(failure(replies), ((*line).to_owned(), *wait));
    }
    let endless = vec![b'x'; 20_000];
    assert!(failure(&[&endless]).0.contains("endless"));
}

#[test]
fn a_master_without_psync_is_asked_by_sync() {
    for (reply, line) in [
        (
            &b"-ERR unknown command\r\n"[..],
            "* Master does not support PSYNC or is in error state (reply: -ERR unknown command)",
        ),
        (b"+WAT\r\n", "# Unexpected reply to PSYNC from master: +WAT"),
    ] {
        let mut r = replica();
        r.up_to_psync();
        r.take_lines();
        assert_eq!(says(&r.hear(reply)), "SYNC\\r\\n");
        assert_eq!(r.take_lines(), [line, "* Retrying with SYNC..."]);
        let outputs = r.hear(b"$3\r\nabc");
        assert!(matches!(outputs[0], ReplicaOutput::RdbBegin { replid: None, .. }));
        r.load();
        assert_eq!(r.link.upstream(), Upstream::Up);
        assert_ne!(r.log.ids().replid, id('e'));
    }
}

#[test]
fn failed_transfers_back_off() {
    let mut r = replica();
    let mut waits = Vec::new();
    for _ in 0..7 {
        r.up_to_psync();
        r.hear(&fullresync(7));
        r.hear(b"$10\r\nabc");
        r.lose();
        let started = r.now;
        while r.link.link_state() != LinkState::Connecting {
            r.pass(1);
        }
        waits.push(r.now.since(started));
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1000, 1000]);
    let lines = r.take_lines();
    assert!(lines.contains(&"# I/O error trying to sync with MASTER: connection lost".to_owned()));
    assert!(lines.contains(&"* Reconnecting to MASTER 10.0.0.1:6379 after failure".to_owned()));
    // A transfer that was cut before the load changes nothing: the own history is offered still.
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", id('e').as_str(), "1"])));
}

#[test]
fn a_failed_load_leaves_no_history() {
    for started in [false, true] {
        let mut r = in_sync(100);
        r.lose();
        r.up_to_psync();
        r.hear(&fullresync(7));
        r.hear(b"$3\r\nabc");
        let link = r.link.link();
        if started {
            r.input(ReplicaInput::LoadStarted { link });
        }
        let outputs = r.input(ReplicaInput::LoadFinished { link, ok: false, stream_db: 0 });
        assert!(outputs.contains(&ReplicaOutput::Close { link }));
        assert_eq!(r.log.backlog_active(), !started, "what is half replaced is no history");
        let b = id('b').to_string();
        let offered = if started { ["PSYNC", "?", "-1"] } else { ["PSYNC", b.as_str(), "101"] };
        assert_eq!(r.up_to_psync(), text(&command(&offered)));
        assert!(r.input(ReplicaInput::LoadFinished { link, ok: true, stream_db: 0 }).is_empty());
    }
}

#[test]
fn silence_ends_every_state() {
    let mut r = replica();
    assert!(r.pass(60_000).is_empty());
    let outputs = r.pass(1);
    assert!(matches!(outputs[..], [ReplicaOutput::Close { .. }, ReplicaOutput::Connect { .. }]));
    assert_eq!(r.take_lines()[0], "# Timeout connecting to the MASTER...");
    r.up_to_psync();
    r.pass(50_000);
    r.hear(b"\n");
    r.pass(50_000);
    assert_eq!(r.link.link_state(), LinkState::Handshake, "newlines keep it alive");
    r.hear(&fullresync(1));
    r.hear(b"$5\r\na");
    r.pass(60_001);
    assert!(
        r.take_lines().iter().any(|l| l.starts_with("# Timeout receiving bulk data from MASTER"))
    );
    let mut r = in_sync(5);
    let outputs = r.pass(60_001);
    assert!(outputs.iter().any(|o| matches!(o, ReplicaOutput::Close { .. })));
    assert_eq!(
        r.take_lines()[..3],
        [
            "# MASTER timeout: no data nor PING received...",
            "# Connection with master lost.",
            "* Caching the disconnected master state.",
        ]
    );
}

#[test]
fn the_role_changes_at_run_time() {
    let mut r = in_sync(100);
    assert_eq!(r.link.replicaof(r.now, "10.0.0.1", 6379, "x"), ReplicaOfOutcome::AlreadyConnected);
    r.outputs();
    r.take_lines();
    let old = r.link.link();
    assert_eq!(r.link.replicaof(r.now, "10.0.0.9", 1, "x"), ReplicaOfOutcome::Started);
    let outputs = r.outputs();
    assert_eq!(outputs[0], ReplicaOutput::Close { link: old });
    assert!(r.input(ReplicaInput::Data { link: old, bytes: b"late" }).is_empty());
    assert!(!r.take_lines().iter().any(|l| l.contains("Before turning")));
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", id('b').as_str(), "101"])));
    r.take_lines();
    assert!(r.link.replicaof_no_one("x"));
    assert!(r.outputs().contains(&ReplicaOutput::DropReplicas));
    let ids = r.log.ids();
    assert_eq!((ids.replid2, ids.second_repl_offset), (id('b'), 101));
    assert_eq!(
        r.take_lines(),
        [
            "* Discarding previously cached master state.".to_owned(),
            format!(
                "# Setting secondary replication ID to {}, valid up to offset: 101. New \
                 replication ID is {}",
                id('b'),
                ids.replid
            ),
            "* MASTER MODE enabled (user request from 'x')".to_owned(),
        ]
    );
    assert!(!r.link.replicaof_no_one("x"));
    assert_eq!((r.link.upstream(), r.link.poll_timeout()), (Upstream::None, None));
    // Back again: the new history is offered.
    r.replicaof();
    assert_eq!(r.up_to_psync(), text(&command(&["PSYNC", ids.replid.as_str(), "101"])));
}

fn info(r: &Replica) -> String {
    let settings = InfoSettings {
        replica_priority: 100,
        replica_read_only: true,
        replica_announced: true,
        came_back_empty: false,
        min_replicas: Some(10),
    };
    let marks = Arc::new(Watermarks::new());
    let log = Arc::clone(&r.log);
    let master = MasterSide::new(r.now, log, marks, MasterOptions::default(), Prng::new(1));
    replication::info_section(r.now, &settings, &r.log, &r.link, &master, None)
}

fn head(first: &str, middle: &str) -> String {
    format!(
        "# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
         {first}{middle}slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n\
         connected_slaves:0\r\nmin_slaves_good_slaves:0\r\nmaster_failover_state:no-failover\r\n"
    )
}

#[test]
fn info_prints_the_fields_of_a_real_replica() {
    let mut r = replica();
    let down = "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n";
    let never = format!(
        "{down}master_sync_in_progress:0\r\nslave_read_repl_offset:0\r\nslave_repl_offset:0\r\n"
    );
    let expected = head(&never, "master_link_down_since_seconds:-1\r\n");
    assert!(info(&r).starts_with(&expected), "{}", info(&r));
    r.up_to_psync();
    r.hear(&fullresync(100));
    r.hear(b"$400\r\nREDIS0010");
    r.pass(1500);
    let syncing = format!(
        "{down}master_sync_in_progress:1\r\nslave_read_repl_offset:0\r\nslave_repl_offset:0\r\n\
         master_sync_total_bytes:400\r\nmaster_sync_read_bytes:9\r\nmaster_sync_left_bytes:391\r\n\
         master_sync_perc:2.25\r\nmaster_sync_last_io_seconds_ago:1\r\n"
    );
    let expected = head(&syncing, "master_link_down_since_seconds:-1\r\n");
    assert!(info(&r).starts_with(&expected), "{}", info(&r));
    let mut r = in_sync(100);
    r.hear(b"*1\r\n");
    r.pass(3100);
    let up = "master_link_status:up\r\nmaster_last_io_seconds_ago:3\r\n\
              master_sync_in_progress:0\r\nslave_read_repl_offset:104\r\nslave_repl_offset:100\r\n";
    assert!(info(&r).starts_with(&head(up, "")), "{}", info(&r));
    r.lose();
    r.pass(2100);
    let lost = format!(
        "{down}master_sync_in_progress:0\r\nslave_read_repl_offset:100\r\nslave_repl_offset:100\r\n"
    );
    let expected = head(&lost, "master_link_down_since_seconds:2\r\n");
    assert!(info(&r).starts_with(&expected), "{}", info(&r));
}

#[test]
fn role_tells_state_and_offset() {
    let role = |r: &Replica| {
        let marks = Arc::new(Watermarks::new());
        let log = Arc::clone(&r.log);
        let master = MasterSide::new(r.now, log, marks, MasterOptions::default(), Prng::new(1));
        let mut reply = resp::Reply::new(resp::Protocol::Resp2);
        replication::role_reply(r.now, &r.link, &master, None, &mut reply);
        text(reply.bytes())
    };
    let start = "*5\\r\\n$5\\r\\nslave\\r\\n$8\\r\\n10.0.0.1\\r\\n:6379\\r\\n";
    let mut r = in_sync(100);
    assert_eq!(role(&r), format!("{start}$9\\r\\nconnected\\r\\n:100\\r\\n"));
    r.lose();
    assert_eq!(role(&r), format!("{start}$10\\r\\nconnecting\\r\\n:-1\\r\\n"));
}

#[test]
fn no_bytes_of_a_master_can_break_the_link() {
    // Pieces that are likely to lead far, and noise.
    let pieces: Vec<Vec<u8>> = vec![
        b"+PONG\r\n".to_vec(),
        b"+OK\r\n+OK\r\n".to_vec(),
        b"+CONTINUE\r\n".to_vec(),
        format!("+CONTINUE {}\r\n", id('d')).into_bytes(),
        fullresync(3),
        fullresync(u64::MAX / 4),
        format!("+FULLRESYNC {} 99999999999999999999\r\n", id('b')).into_bytes(),
        b"+FULLRESYNC  \r\n".to_vec(),
        b"$3\r\nabc".to_vec(),
        b"$0\r\n".to_vec(),
        b"$18446744073709551615\r\n".to_vec(),
        b"$EOF:abc\r\n".to_vec(),
        format!("$EOF:{}\r\n{}", "m".repeat(40), "m".repeat(40)).into_bytes(),
        b"\n".to_vec(),
        b"-ERR x\r\n".to_vec(),
        b"-\r\n".to_vec(),
        vec![0xff; 50],
    ];
    for seed in 0..2000 {
        let mut prng = Prng::new(seed);
        let mut r = Replica::new(ReplicaOptions::default());
        r.replicaof();
        for _ in 0..60 {
            let link = r.link.link();
            match prng.below(12) {
                0..3 => drop(r.input(ReplicaInput::Connected { link })),
                3..8 => {
                    let piece = &pieces[prng.below(pieces.len() as u64) as usize];
                    let cut = prng.below(piece.len() as u64 + 1) as usize;
                    let whole = prng.chance(80);
                    drop(r.hear(if whole { piece } else { &piece[..cut] }));
                }
                8 => drop(r.lose()),
                9 => drop(r.load()),
                10 => {
                    let ok = prng.chance(50);
                    drop(r.input(ReplicaInput::LoadFinished { link, ok, stream_db: 0 }));
                }
                _ => drop(r.pass(prng.below(5000))),
            }
        }
    }
}

#[test]
fn a_replica_exchanges_further_addresses_with_its_master() {
    let views = Some(stdx::ViewAddrs::parse("outside=127.0.0.1:36380"));
    let role = |r: &Replica, view| {
        let marks = Arc::new(Watermarks::new());
        let log = Arc::clone(&r.log);
        let master = MasterSide::new(r.now, log, marks, MasterOptions::default(), Prng::new(1));
        let mut reply = resp::Reply::new(resp::Protocol::Resp2);
        replication::role_reply(r.now, &r.link, &master, view, &mut reply);
        text(reply.bytes())
    };
    for (answer, seen) in [
        ("+OK outside=127.0.0.1:36379", "$9\\r\\n127.0.0.1\\r\\n:36379"),
        // A master that has none, and one of another kind.
        ("+OK", "$8\\r\\n10.0.0.1\\r\\n:6379"),
        ("-ERR Unrecognized REPLCONF option: announced-views", "$8\\r\\n10.0.0.1\\r\\n:6379"),
    ] {
        let options = ReplicaOptions { views: views.clone(), ..ReplicaOptions::default() };
        let mut r = Replica::new(options);
        r.replicaof();
        r.connected();
        let asked = says(&r.hear(b"+PONG\r\n"));
        let told = command(&["REPLCONF", "announced-views", "outside=127.0.0.1:36380"]);
        assert!(asked.ends_with(&text(&told)), "{asked}");
        let psync = says(&r.hear(format!("+OK\r\n+OK\r\n{answer}\r\n").as_bytes()));
        assert!(psync.contains("PSYNC"), "{psync}");
        assert!(role(&r, Some("outside")).contains(seen), "{}", role(&r, Some("outside")));
        assert!(role(&r, None).contains("10.0.0.1"));
        assert!(!r.take_lines().iter().any(|line| line.contains("announced-views")));
    }
}
