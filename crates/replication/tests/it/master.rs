//! The master's side, scene by scene. Reply and log texts are those of a real server 7.0.15.

use replication::{ConnId, MasterInput, MasterOptions, MasterOutput, Transport, Upstream};

use crate::harness::{Master, closed, command, drain, id, sent, snapshot_asked, streamed, text};

fn options() -> MasterOptions {
    MasterOptions { diskless_sync_delay_ms: 0, ..MasterOptions::default() }
}

fn write(master: &Master, key: &str) {
    let bytes = command(&["SET", key, "1"]);
    let parts = [replication::Part::new(0, &bytes, 1)];
    master.log.append(&replication::AppendRecord::new(&parts));
}

#[test]
fn replconf_answers_what_redis_answers() {
    let mut m = Master::new(options());
    let long = "x".repeat(256);
    let cases: &[(&[&str], &str)] = &[
        (&["REPLCONF"], "+OK"),
        (&["REPLCONF", "a"], "-ERR syntax error"),
        (&["REPLCONF", "listening-port", "abc"], "-ERR value is not an integer or out of range"),
        (&["REPLCONF", "listening-port", "70000"], "+OK"),
        (
            &["REPLCONF", "ip-address", &long],
            "-ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes",
        ),
        (&["REPLCONF", "ip-address", &long[1..]], "+OK"),
        (&["REPLCONF", "ip-address", ""], "+OK"),
        (&["REPLCONF", "capa", "anything"], "+OK"),
        (&["REPLCONF", "rdb-only", "2"], "-ERR value is out of range, value must between 0 and 1"),
        (&["REPLCONF", "rdb-only", "x"], "-ERR value is not an integer or out of range"),
        (&["REPLCONF", "rdb-filter-only", "a b"], "-ERR Unsupported rdb-filter-only option: a"),
        (&["REPLCONF", "rdb-filter-only", "\"a"], "-ERR Missing rdb-filter-only values"),
        (&["REPLCONF", "rdb-filter-only", ""], "+OK"),
        (&["REPLCONF", "version", "8.0.1"], "+OK"),
        (&["REPLCONF", "foo\r\nbar", "8"], "-ERR Unrecognized REPLCONF option: foo  bar"),
        (
            &["REPLCONF", "listening-port", "1", "foo", "1"],
            "-ERR Unrecognized REPLCONF option: foo",
        ),
        (&["REPLCONF", "LISTENING-PORT", "1", "Capa", "EOF"], "+OK"),
    ];
    for (args, reply) in cases {
        assert_eq!(m.ask(1, args), format!("{reply}\\r\\n"), "{args:?}");
    }
    for silent in [["REPLCONF", "ack", "5"], ["REPLCONF", "ack", "x"], ["REPLCONF", "getack", "*"]]
    {
        assert_eq!(m.ask(1, &silent), "", "{silent:?}");
    }
    assert_eq!(m.side.replica_count(), 0);
    assert_eq!(m.side.poll_timeout(), None, "a mere handshake needs no timers");
    m.input(MasterInput::Closed { conn: ConnId(1) });
    assert!(m.take_lines().is_empty());
}

#[test]
fn a_diskless_full_synchronization() {
    let mut m = Master::new(options());
    write(&m, "before");
    let outputs = m.handshake(2, "?", "-1");
    let (job, transport, conns) = snapshot_asked(&outputs).unwrap();
    assert_eq!((transport, conns), (Transport::Diskless, vec![ConnId(2)]));
    assert_eq!(sent(&outputs), "");
    assert!(m.info().contains("slave0:ip=10.0.0.2,port=7002,state=wait_bgsave,offset=0,lag=0\r\n"));
    write(&m, "while the snapshot starts");
    let replid = m.log.ids().replid;
    assert_ne!(replid, id('a'), "the first replica starts a history");
    let offset = m.log.offset();
    let outputs = m.start_snapshot(job);
    assert_eq!(sent(&outputs), format!("+FULLRESYNC {replid} {offset}\\r\\n"));
    let Some(MasterOutput::Transfer { header, trailer, .. }) = outputs.last() else {
        panic!("{outputs:?}")
    };
    assert_eq!(trailer.len(), 40);
    assert_eq!(text(header), format!("$EOF:{}\\r\\n", text(trailer)));
    write(&m, "during the transfer");
    // An ACK in the middle of the transfer means nothing.
    assert!(m.say(2, &["REPLCONF", "ACK", "0"]).is_empty());
    m.input(MasterInput::SnapshotEnded { job, length: Some(1) });
    assert!(m.input(MasterInput::TransferDone { conn: ConnId(2) }).is_empty());
    assert!(m.info().contains("state=online,offset=0,lag=0\r\n"));
    let ack = offset.to_string();
    let mut cursor = streamed(m.say(2, &["REPLCONF", "ACK", &ack])).unwrap();
    let expected = [command(&["SELECT", "0"]), command(&["SET", "during the transfer", "1"])];
    assert_eq!(text(&drain(&m.log, &mut cursor)), text(&expected.concat()));
    assert!(m.say(2, &["REPLCONF", "ACK", &ack]).is_empty(), "a stream begins once");
    assert!(m.info().contains(&format!("state=online,offset={offset},lag=0\r\n")));
    assert_eq!(
        m.take_lines(),
        [
            "* Replica 10.0.0.2:7002 asks for synchronization".to_owned(),
            "* Full resync requested by replica 10.0.0.2:7002".to_owned(),
            format!(
                "* Replication backlog created, my new replication IDs are '{replid}' and '{}'",
                id('0')
            ),
            "* Starting BGSAVE for SYNC with target: replicas sockets".to_owned(),
            "# Diskless rdb transfer, done reading from pipe, 1 replicas still up.".to_owned(),
            "* Background RDB transfer terminated with success".to_owned(),
            "* Streamed RDB transfer with replica 10.0.0.2:7002 succeeded (socket). Waiting for \
             REPLCONF ACK from slave to enable streaming"
                .to_owned(),
            "* Synchronization with replica 10.0.0.2:7002 succeeded".to_owned(),
        ]
    );
    m.input(MasterInput::Closed { conn: ConnId(2) });
    assert_eq!(m.take_lines(), ["# Connection with replica 10.0.0.2:7002 lost."]);
    assert_eq!(m.side.stats().full, 1);
}

#[test]
fn the_disk_form_streams_at_once_and_lets_others_join() {
    let mut m = Master::new(MasterOptions { diskless_sync: false, ..options() });
    let outputs = m.handshake(1, "?", "-1");
    let (job, transport, _) = snapshot_asked(&outputs).unwrap();
    assert_eq!(transport, Transport::Disk);
    m.start_snapshot(job);
    m.take_lines();
    let joined = sent(&m.handshake(2, "?", "-1"));
    assert!(joined.starts_with("+FULLRESYNC "), "{joined}");
    assert_eq!(m.take_lines()[2], "* Waiting for end of BGSAVE for SYNC");
    assert_eq!(sent(&m.pass(1000)), "\\n\\n", "both hear that the link lives");
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: Some(187) });
    let headers: Vec<String> = outputs
        .iter()
        .filter_map(|o| match o {
            MasterOutput::Transfer { header, trailer, .. } => {
                assert!(trailer.is_empty());
                Some(text(header))
            }
            _ => None,
        })
        .collect();
    assert_eq!(headers, ["$187\\r\\n", "$187\\r\\n"]);
    assert!(m.info().contains("state=send_bulk"));
    assert_eq!(sent(&m.pass(1000)), "", "no newline inside an RDB");
    assert!(streamed(m.input(MasterInput::TransferDone { conn: ConnId(1) })).is_some());
    assert!(streamed(m.input(MasterInput::TransferDone { conn: ConnId(2) })).is_some());
    // A third one comes too late for that snapshot.
    assert!(snapshot_asked(&m.handshake(3, "?", "-1")).is_some());
}

#[test]
fn no_newline_lands_in_a_transfer_while_the_next_snapshot_waits() {
    let mut m = Master::new(options());
    let (first, _, _) = snapshot_asked(&m.handshake(1, "?", "-1")).unwrap();
    m.start_snapshot(first);
    m.handshake(2, "?", "-1");
    // The first replica still reads its RDB when the second one's snapshot is asked for.
    let outputs = m.input(MasterInput::SnapshotEnded { job: first, length: Some(1) });
    assert_eq!(snapshot_asked(&outputs).unwrap().2, [ConnId(2)]);
    let outputs = m.pass(1000);
    assert!(
        matches!(&outputs[..], [MasterOutput::Send { conn: ConnId(2), bytes }] if bytes == b"\n"),
        "{outputs:?}"
    );
}

#[test]
fn old_sync_gets_no_fullresync_line_and_no_time_out() {
    let mut m = Master::new(options());
    let (job, transport, _) = snapshot_asked(&m.say(1, &["SYNC"])).unwrap();
    assert_eq!(transport, Transport::Disk, "it never said that it understands more");
    assert_eq!(sent(&m.start_snapshot(job)), "");
    m.input(MasterInput::SnapshotEnded { job, length: Some(9) });
    let cursor = streamed(m.input(MasterInput::TransferDone { conn: ConnId(1) }));
    assert!(cursor.is_some());
    assert!(closed(&m.pass(300_000)).is_empty());
    assert!(m.take_lines()[0].starts_with("* Replica 10.0.0.1:<unknown-replica-port> asks"));
}

#[test]
fn a_diskless_snapshot_waits_for_company() {
    let wait = MasterOptions {
        diskless_sync_delay_ms: 5000,
        diskless_sync_max_replicas: 3,
        ..MasterOptions::default()
    };
    let mut m = Master::new(wait);
    assert!(snapshot_asked(&m.handshake(1, "?", "-1")).is_none());
    assert!(m.take_lines().contains(&"* Delay next BGSAVE for diskless SYNC".to_owned()));
    let outputs = m.pass(4999);
    assert!(snapshot_asked(&outputs).is_none());
    assert_eq!(sent(&outputs), "\\n\\n\\n\\n");
    assert!(snapshot_asked(&m.handshake(2, "?", "-1")).is_none());
    let (job, _, conns) = snapshot_asked(&m.pass(1)).unwrap();
    assert_eq!(conns.len(), 2);
    // During a diskless snapshot others wait for the next one.
    m.start_snapshot(job);
    assert!(snapshot_asked(&m.handshake(3, "?", "-1")).is_none());
    let last = m.take_lines().pop().unwrap();
    assert_eq!(last, "* Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
    m.handshake(4, "?", "-1");
    m.handshake(5, "?", "-1");
    // Three are enough to start without waiting.
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: Some(1) });
    assert_eq!(snapshot_asked(&outputs).unwrap().2, [ConnId(3), ConnId(4), ConnId(5)]);
}

#[test]
fn a_cut_replica_continues() {
    let mut m = Master::new(options());
    let cursor = m.full_sync(1);
    drop(cursor);
    write(&m, "a");
    m.input(MasterInput::Closed { conn: ConnId(1) });
    write(&m, "b");
    m.take_lines();
    let replid = m.log.ids().replid.to_string();
    let outputs = m.handshake(2, &replid, "1");
    assert_eq!(sent(&outputs), format!("+CONTINUE {replid}\\r\\n"));
    let bytes = m.log.offset();
    let mut cursor = streamed(outputs).unwrap();
    assert_eq!(drain(&m.log, &mut cursor).len() as u64, bytes);
    assert_eq!(
        m.take_lines(),
        [
            "* Replica 10.0.0.2:7002 asks for synchronization".to_owned(),
            format!(
                "* Partial resynchronization request from 10.0.0.2:7002 accepted. Sending {bytes} \
                 bytes of backlog starting from offset 1."
            ),
        ]
    );
    // Without psync2 the id is not told.
    let argument = (bytes + 1).to_string();
    assert_eq!(m.ask(3, &["PSYNC", &replid, &argument]), "+CONTINUE\\r\\n");
    assert_eq!(m.side.stats().partial_ok, 2);
    assert!(m.say(3, &["PSYNC", "?", "-1"]).is_empty(), "asked twice");
}

#[test]
fn refusals_are_explained_in_the_log() {
    let mut m = Master::new(options());
    m.full_sync(1);
    write(&m, "a");
    let (replid, end) = (m.log.ids().replid, m.log.offset());
    m.take_lines();
    let mut line = |conn: u64, id: &str, offset: &str| {
        m.handshake(conn, id, offset);
        let lines = m.take_lines();
        m.input(MasterInput::Closed { conn: ConnId(conn) });
        m.take_lines();
        lines[1..lines.len() - 1].to_vec()
    };
    assert_eq!(
        line(2, &id('c').to_string(), "1"),
        [format!(
            "* Partial resynchronization not accepted: Replication ID mismatch (Replica asked for \
             '{}', my replication IDs are '{replid}' and '{}')",
            id('c'),
            id('0')
        )]
    );
    let beyond = (end + 2).to_string();
    assert_eq!(
        line(3, replid.as_str(), &beyond),
        [
            format!(
                "* Unable to partial resync with replica 10.0.0.3:7003 for lack of backlog (Replica \
                 request was: {beyond})."
            ),
            "# Warning: replica 10.0.0.3:7003 tried to PSYNC with an offset that is greater than \
             the master replication offset."
                .to_owned(),
        ]
    );
    assert_eq!(
        line(4, replid.as_str(), "0"),
        ["* Unable to partial resync with replica 10.0.0.4:7004 for lack of backlog (Replica \
          request was: 0)."]
    );
    assert_eq!(line(5, "?", "-1"), ["* Full resync requested by replica 10.0.0.5:7005"]);
    m.log.follow();
    m.log.promote(id('f'));
    write(&m, "new");
    m.handshake(6, replid.as_str(), &beyond);
    assert_eq!(
        m.take_lines()[1],
        format!(
            "* Partial resynchronization not accepted: Requested offset for second ID was {beyond}, \
             but I can reply up to {}",
            end + 1
        )
    );
    assert_eq!(m.side.stats().partial_err, 4);
    assert_eq!(m.side.stats().full, 6);
}

#[test]
fn who_cannot_be_served_is_told_why() {
    let mut m = Master::new(options());
    let refusal = "-ERR value is not an integer or out of range\\r\\n";
    assert_eq!(m.ask(1, &["PSYNC", "?", "x"]), refusal);
    assert_eq!(
        m.take_lines()[1],
        "# Replica 10.0.0.1:<unknown-replica-port> asks for synchronization but with a wrong offset"
    );
    assert_eq!(
        m.ask(1, &["PSYNC", "?"]),
        "-ERR wrong number of arguments for 'psync' command\\r\\n"
    );
    m.ask(2, &["REPLCONF", "rdb-filter-only", "functions"]);
    assert_eq!(
        m.ask(2, &["PSYNC", "?", "-1"]),
        "-ERR Filtered replica requires EOF capability\\r\\n"
    );
    let owned = resp::OwnedArgs::from_parts(&["PSYNC", "?", "-1"]);
    let outputs = m.input(MasterInput::Sync {
        conn: ConnId(3),
        peer_ip: "",
        args: owned.as_args(),
        pending_output: true,
    });
    assert_eq!(sent(&outputs), "-ERR SYNC and PSYNC are invalid with pending output\\r\\n");
    m.log.follow();
    m.side.set_upstream(m.now, Upstream::Down);
    assert_eq!(
        m.ask(1, &["PSYNC", "?", "-1"]),
        "-NOMASTERLINK Can't SYNC while not connected with my master\\r\\n"
    );
    assert_eq!(m.side.replica_count(), 0);
}

#[test]
fn rdb_only_peers_get_the_rdb_and_go() {
    let mut m = Master::new(options());
    m.ask(1, &["REPLCONF", "rdb-only", "1", "capa", "eof"]);
    let (job, _, _) = snapshot_asked(&m.say(1, &["SYNC"])).unwrap();
    m.start_snapshot(job);
    m.input(MasterInput::SnapshotEnded { job, length: Some(1) });
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: Some(1) });
    assert!(outputs.is_empty());
    assert_eq!(closed(&m.input(MasterInput::TransferDone { conn: ConnId(1) })), [1]);
    let lines = m.take_lines();
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "* RDB transfer completed, rdb only replica (10.0.0.1:<unknown-replica-port>) should be \
             disconnected asap",
            "# Connection with replica 10.0.0.1:<unknown-replica-port> lost.",
        ]
    );
}

#[test]
fn a_failed_snapshot_ends_its_replicas() {
    let mut m = Master::new(options());
    let (job, _, _) = snapshot_asked(&m.handshake(1, "?", "-1")).unwrap();
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: None });
    assert_eq!(sent(&outputs), "-ERR BGSAVE failed, replication can't continue\\r\\n");
    assert_eq!(closed(&outputs), [1]);
    let (job, _, _) = snapshot_asked(&m.handshake(2, "?", "-1")).unwrap();
    m.start_snapshot(job);
    m.handshake(3, "?", "-1");
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: None });
    assert_eq!(closed(&outputs), [2]);
    assert!(snapshot_asked(&outputs).is_some(), "the next one gets its own");
}

/// Who reads RDB version 12 says so, and does not share a snapshot with who may not.
#[test]
fn peers_of_other_versions_get_other_snapshots() {
    let mut m = Master::new(MasterOptions { diskless_sync: false, ..options() });
    let asked = |outputs: &[MasterOutput]| {
        outputs.iter().find_map(|output| match output {
            MasterOutput::StartSnapshot { job, filter, conns, .. } => {
                Some((*job, filter.no_field_times, conns.clone()))
            }
            _ => None,
        })
    };
    let (job, old, conns) = asked(&m.handshake(1, "?", "-1")).unwrap();
    assert_eq!((old, conns), (true, vec![ConnId(1)]));
    m.start_snapshot(job);
    assert_eq!(m.ask(2, &["REPLCONF", "capa", "RDB12"]), "+OK\\r\\n");
    assert!(asked(&m.handshake(2, "?", "-1")).is_none());
    assert_eq!(asked(&m.handshake(3, "?", "-1")), None);
    let outputs = m.input(MasterInput::SnapshotEnded { job, length: Some(1) });
    let (_, old, conns) = asked(&outputs).unwrap();
    assert_eq!((old, conns), (false, vec![ConnId(2)]));
    // Who can't be served is told to come back later.
    let mut m = Master::new(options());
    let (job, _, _) = asked(&m.handshake(1, "?", "-1")).unwrap();
    let outputs = m.input(MasterInput::SnapshotRefused { job, why: "not yet" });
    assert_eq!(sent(&outputs), "-NOMASTERLINK not yet\\r\\n");
    assert_eq!(closed(&outputs), [1]);
    assert!(m.input(MasterInput::SnapshotRefused { job, why: "again" }).is_empty());
    assert!(asked(&m.handshake(2, "?", "-1")).is_some());
}

#[test]
fn nobody_left_ends_the_snapshot() {
    let mut m = Master::new(options());
    let (job, _, _) = snapshot_asked(&m.handshake(1, "?", "-1")).unwrap();
    m.start_snapshot(job);
    let outputs = m.input(MasterInput::Closed { conn: ConnId(1) });
    assert!(matches!(outputs[..], [MasterOutput::AbortSnapshot { job: j }] if j == job));
    let lines = m.take_lines();
    let line = "* Diskless rdb transfer, last replica dropped, killing fork child.".to_owned();
    assert_eq!(lines.last(), Some(&line));
    // Late news of it does no harm.
    assert!(m.input(MasterInput::SnapshotEnded { job, length: Some(1) }).is_empty());
    assert!(m.input(MasterInput::TransferDone { conn: ConnId(1) }).is_empty());
}

#[test]
fn pings_go_out_and_silent_replicas_go() {
    let mut m = Master::new(options());
    let mut cursor = m.full_sync(1);
    drain(&m.log, &mut cursor);
    m.pass(9_999);
    assert_eq!(drain(&m.log, &mut cursor), b"");
    m.pass(1);
    assert_eq!(drain(&m.log, &mut cursor), b"*1\r\n$4\r\nping\r\n");
    assert!(m.info().contains("lag=10\r\n"));
    assert!(closed(&m.pass(50_000)).is_empty());
    assert_eq!(closed(&m.pass(1_000)), [1]);
    let lines = m.take_lines();
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "# Disconnecting timedout replica (streaming sync): 10.0.0.1:7001",
            "# Connection with replica 10.0.0.1:7001 lost.",
        ]
    );
    // Newlines and ACKs keep one alive.
    let _cursor = m.full_sync(2);
    for _ in 0..5 {
        m.pass(30_000);
        m.input(MasterInput::Newline { conn: ConnId(2) });
    }
    assert_eq!(m.side.replica_count(), 1);
}

#[test]
fn a_transfer_that_stands_still_is_ended() {
    let mut m = Master::new(options());
    let (job, _, _) = snapshot_asked(&m.handshake(1, "?", "-1")).unwrap();
    m.start_snapshot(job);
    m.pass(100_000);
    assert_eq!(m.side.replica_count(), 1, "a slow snapshot is not the replica's fault");
    m.input(MasterInput::TransferBlocked { conn: ConnId(1), blocked: true });
    m.pass(59_000);
    m.input(MasterInput::TransferBlocked { conn: ConnId(1), blocked: false });
    m.input(MasterInput::TransferBlocked { conn: ConnId(1), blocked: true });
    assert!(closed(&m.pass(60_000)).is_empty());
    assert_eq!(closed(&m.pass(2_000)), [1]);
    assert!(m.take_lines().iter().any(|l| l.contains("timedout replica (full sync)")));
}

#[test]
fn output_limits_end_slow_replicas() {
    let mut small = options();
    small.output_limit =
        replication::OutputLimit { hard_bytes: 3 << 20, soft_bytes: 1 << 20, soft_ms: 10_000 };
    let mut m = Master::new(small);
    let _slow = m.full_sync(1);
    for key in 0..3 {
        write(&m, &format!("{key}{}", "x".repeat(400_000)));
    }
    assert_eq!(m.side.output_bytes(ConnId(1)), m.log.offset());
    m.say(1, &["REPLCONF", "ACK", "0"]);
    assert!(closed(&m.pass(9_000)).is_empty());
    assert_eq!(closed(&m.pass(3_000)), [1], "too long above the soft limit");
    let _slow = m.full_sync(2);
    m.pass(1_000);
    for key in 0..10 {
        write(&m, &format!("{key}{}", "x".repeat(400_000)));
    }
    assert_eq!(closed(&m.pass(1_000)), [2], "above the hard limit");
    assert!(m.take_lines().iter().any(|l| l.contains("overcoming of output buffer limits.")));
}

#[test]
fn the_backlog_ends_after_its_time() {
    let ttl = MasterOptions { backlog_ttl_ms: 5000, ..options() };
    let mut m = Master::new(ttl);
    let _cursor = m.full_sync(1);
    m.pass(20_000);
    let before = m.log.ids();
    m.input(MasterInput::Closed { conn: ConnId(1) });
    m.pass(5_000);
    assert_eq!(m.log.ids(), before);
    m.pass(1_000);
    assert_ne!(m.log.ids(), before);
    assert!(!m.log.backlog_active());
    assert_eq!(
        m.take_lines().pop().unwrap(),
        "* Replication backlog freed after 5 seconds without connected replicas."
    );
    assert_eq!(m.side.poll_timeout(), None);
}

#[test]
fn a_replica_keeps_its_backlog_and_sends_no_pings() {
    let mut m = Master::new(MasterOptions { backlog_ttl_ms: 5000, ..options() });
    m.log.follow();
    m.log.adopt(id('d'), 100, 0);
    m.side.set_upstream(m.now, Upstream::Up);
    let mut cursor = m.full_sync(1);
    assert_eq!(m.log.ids().replid, id('d'), "sub-replicas share the master's history");
    m.pass(15_000);
    assert_eq!(drain(&m.log, &mut cursor), b"");
    m.input(MasterInput::Closed { conn: ConnId(1) });
    m.pass(100_000);
    assert!(m.log.backlog_active());
}

#[test]
fn a_change_of_history_sends_replicas_away() {
    let mut m = Master::new(options());
    let _cursor = m.full_sync(1);
    m.handshake(2, "?", "-1");
    m.ask(3, &["REPLCONF", "listening-port", "1"]);
    let outputs = m.input(MasterInput::DropReplicas);
    assert_eq!(closed(&outputs), [1, 2]);
    assert!(outputs.iter().any(|o| matches!(o, MasterOutput::AbortSnapshot { .. })));
    assert_eq!(m.side.replica_count(), 0);
    assert_eq!(m.watermarks_online(), 0);
}

impl Master {
    fn watermarks_online(&self) -> usize {
        self.side.watermarks().count_acked(0)
    }
}

#[test]
fn acknowledgements_are_counted_and_asked_for() {
    let mut m = Master::new(options());
    m.input(MasterInput::RequestAcks);
    assert_eq!(m.log.offset(), 0, "nobody is there to be asked");
    let mut cursor = m.full_sync(1);
    write(&m, "a");
    let end = m.log.offset();
    drain(&m.log, &mut cursor);
    m.input(MasterInput::RequestAcks);
    assert_eq!(drain(&m.log, &mut cursor), command(&["REPLCONF", "GETACK", "*"]));
    assert_eq!(m.side.watermarks().acked_by(1), 0);
    m.say(1, &["REPLCONF", "ACK", &end.to_string(), "FACK", "7"]);
    assert_eq!(m.side.watermarks().acked_by(1), end);
    assert_eq!(m.side.watermarks().count_acked(end), 1);
    assert_eq!(m.side.watermarks().count_fsynced(7), 1);
    m.input(MasterInput::Closed { conn: ConnId(1) });
    assert_eq!(m.side.watermarks().acked_by(1), 0);
}

#[test]
fn role_names_the_online_replicas() {
    let mut m = Master::new(options());
    let _cursor = m.full_sync(1);
    m.ask(2, &["REPLCONF", "ip-address", "1.2.3.4"]);
    let link = replication::ReplicaLink::new(
        std::sync::Arc::clone(&m.log),
        replication::ReplicaOptions::default(),
        stdx::Prng::new(1),
    );
    let replid = m.log.ids().replid.to_string();
    m.handshake(2, &replid, "1");
    m.handshake(3, "?", "-1");
    let mut reply = resp::Reply::new(resp::Protocol::Resp2);
    replication::role_reply(m.now, &link, &m.side, None, &mut reply);
    assert_eq!(
        text(reply.bytes()),
        "*3\\r\\n$6\\r\\nmaster\\r\\n:0\\r\\n*2\\r\\n\
         *3\\r\\n$8\\r\\n10.0.0.1\\r\\n$4\\r\\n7001\\r\\n$1\\r\\n0\\r\\n\
         *3\\r\\n$7\\r\\n1.2.3.4\\r\\n$4\\r\\n7002\\r\\n$1\\r\\n0\\r\\n"
    );
}

#[test]
fn info_prints_the_fields_of_a_real_master() {
    let mut m = Master::new(options());
    let zeros = id('0');
    assert_eq!(
        m.info(),
        format!(
            "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\
             master_failover_state:no-failover\r\nmaster_replid:{}\r\nmaster_replid2:{zeros}\r\n\
             master_repl_offset:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n\
             repl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:0\r\n\
             repl_backlog_histlen:0\r\n",
            id('a')
        )
    );
    let _cursor = m.full_sync(1);
    write(&m, "x");
    assert!(m.info().ends_with(
        "repl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n\
         repl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:50\r\n"
    ));
}

#[test]
fn no_words_of_a_peer_can_break_the_table() {
    let words = [
        "REPLCONF",
        "PSYNC",
        "SYNC",
        "ack",
        "getack",
        "capa",
        "eof",
        "psync2",
        "rdb-only",
        "1",
        "0",
        "rdb-filter-only",
        "functions",
        "",
        "listening-port",
        "-1",
        "?",
        "FACK",
        "ip-address",
        "9223372036854775807",
        "-9223372036854775808",
        "FAILOVER",
        "x\r\ny",
        "\u{fffd}",
        "*",
    ];
    for seed in 0..2000 {
        let mut prng = stdx::Prng::new(seed);
        let delay = prng.below(2) * 2000;
        let mut m = Master::new(MasterOptions {
            diskless_sync: prng.chance(50),
            diskless_sync_delay_ms: delay,
            backlog_ttl_ms: 5000,
            ..MasterOptions::default()
        });
        let mut cursors = Vec::new();
        let mut jobs = Vec::new();
        for _ in 0..60 {
            let conn = prng.below(4);
            let outputs = match prng.below(14) {
                0..4 => {
                    let count = prng.between(1, 5);
                    let mut args = vec![words[prng.below(3) as usize]];
                    args.extend((0..count).map(|_| words[prng.below(words.len() as u64) as usize]));
                    m.say(conn, &args)
                }
                4..7 => m.say(conn, &["PSYNC", "?", "-1"]),
                7 => m.say(conn, &["REPLCONF", "ACK", "1"]),
                8 => m.input(MasterInput::TransferDone { conn: ConnId(conn) }),
                9 => m.input(MasterInput::Closed { conn: ConnId(conn) }),
                10 if !jobs.is_empty() => m.start_snapshot(*prng.pick(&jobs)),
                11 if !jobs.is_empty() => {
                    let length = prng.chance(80).then_some(10);
                    m.input(MasterInput::SnapshotEnded { job: *prng.pick(&jobs), length })
                }
                12 => {
                    write(&m, "k");
                    Vec::new()
                }
                _ => m.pass(prng.below(5000)),
            };
            jobs.extend(snapshot_asked(&outputs).map(|(job, _, _)| job));
            cursors.extend(streamed(outputs));
        }
    }
}

trait Pick {
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T;
}

impl Pick for stdx::Prng {
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

#[test]
fn a_view_shows_the_further_addresses_of_replicas() {
    let views = stdx::ViewAddrs::parse("outside=127.0.0.1:36379");
    let mut m = Master::new(MasterOptions { views, ..options() });
    let told = m.ask(1, &["REPLCONF", "announced-views", "outside=127.0.0.1:36380,bad"]);
    assert_eq!(told, "+OK outside=127.0.0.1:36379\\r\\n");
    assert_eq!(m.ask(2, &["REPLCONF", "announced-views", ""]), "+OK outside=127.0.0.1:36379\\r\\n");
    let _cursor = m.full_sync(1);
    let link = replication::ReplicaLink::new(
        std::sync::Arc::clone(&m.log),
        replication::ReplicaOptions::default(),
        stdx::Prng::new(1),
    );
    for (view, address) in [
        (None, "$8\\r\\n10.0.0.1\\r\\n$4\\r\\n7001\\r\\n"),
        (Some("outside"), "$9\\r\\n127.0.0.1\\r\\n$5\\r\\n36380\\r\\n"),
        (Some("unheard-of"), "$8\\r\\n10.0.0.1\\r\\n$4\\r\\n7001\\r\\n"),
    ] {
        let mut reply = resp::Reply::new(resp::Protocol::Resp2);
        replication::role_reply(m.now, &link, &m.side, view, &mut reply);
        assert!(text(reply.bytes()).contains(address), "{view:?}");
    }
    assert!(m.info().contains("slave0:ip=10.0.0.1,port=7001,"));
    // Without any of its own a master says OK alone.
    let mut m = Master::new(options());
    assert_eq!(m.ask(1, &["REPLCONF", "announced-views", "x=h:1"]), "+OK\\r\\n");
}
