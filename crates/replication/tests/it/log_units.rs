//! The log's rules one by one.

use replication::{
    AppendRecord, AppliedPart, CursorLost, FileBatch, Log, Origin, Part, PartialRefusal, Position,
    ReplIds, Targets,
};

use crate::harness::{command, drain, id};

fn active() -> Log {
    let log = Log::new(id('a'), 1 << 20);
    log.create_backlog(id('b')).unwrap();
    log
}

fn set(log: &Log, db: u32, key: &str) -> Position {
    log.append(&AppendRecord::new(&[Part::new(db, &command(&["SET", key, "1"]), 1)]))
}

fn concat(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|c| command(c)).collect()
}

#[test]
fn nothing_is_written_before_the_first_replica() {
    let log = Log::new(id('a'), 1 << 20);
    assert!(!log.wants_records());
    assert_eq!(set(&log, 0, "a"), Position::START);
    log.append_ping();
    log.append_getack();
    let stats = log.stats();
    assert_eq!((stats.offset, stats.active, stats.first_byte_offset), (0, false, 0));
    assert_eq!(stats.memory_bytes, 0);
    assert!(log.cursor_at(0).is_none());
    let ids = log.create_backlog(id('b')).unwrap();
    assert_eq!(ids, ReplIds { replid: id('b'), replid2: id('0'), second_repl_offset: -1 });
    assert_eq!(log.create_backlog(id('c')), None, "the second replica changes nothing");
    assert!(log.wants_records());
    assert_eq!(log.stats().first_byte_offset, 1);
}

#[test]
fn select_comes_when_the_database_changes() {
    let log = active();
    let mut cursor = log.cursor_at(0).unwrap();
    set(&log, 0, "a");
    set(&log, 0, "b");
    set(&log, 12, "c");
    let publish = command(&["publish", "ch", "m"]);
    let part = Part { db: None, ..Part::new(0, &publish, 1) };
    log.append(&AppendRecord::new(&[part]));
    let end = set(&log, 0, "d");
    let expected = concat(&[
        &["SELECT", "0"],
        &["SET", "a", "1"],
        &["SET", "b", "1"],
        &["SELECT", "12"],
        &["SET", "c", "1"],
        &["publish", "ch", "m"],
        &["SELECT", "0"],
        &["SET", "d", "1"],
    ]);
    assert_eq!(end.stream_offset(), expected.len() as u64);
    assert_eq!(drain(&log, &mut cursor), expected);
}

#[test]
fn several_commands_are_wrapped_and_select_may_sit_inside() {
    let log = active();
    let mut cursor = log.cursor_at(0).unwrap();
    let two = concat(&[&["SET", "a", "1"], &["DEL", "b"]]);
    let one = command(&["SET", "c", "1"]);
    log.append(&AppendRecord::new(&[Part::new(0, &two, 2), Part::new(3, &one, 1)]));
    log.append(&AppendRecord::new(&[Part::new(3, &one, 1)]));
    log.append(&AppendRecord::new(&[Part::new(3, b"", 0)]));
    let expected = concat(&[
        &["SELECT", "0"],
        &["MULTI"],
        &["SET", "a", "1"],
        &["DEL", "b"],
        &["SELECT", "3"],
        &["SET", "c", "1"],
        &["EXEC"],
        &["SET", "c", "1"],
    ]);
    assert_eq!(drain(&log, &mut cursor), expected);
}

#[test]
fn what_is_for_the_file_alone_moves_no_offset() {
    let log = active();
    let (shown, hidden) = (command(&["SET", "a", "1"]), command(&["SET", "h", "1"]));
    let hidden = Part { targets: Targets::AOF, ..Part::new(0, &hidden, 1) };
    assert_eq!(log.append(&AppendRecord::new(&[hidden])), Position::START);
    // One visible command beside a hidden one goes bare.
    let mut cursor = log.cursor_at(0).unwrap();
    log.append(&AppendRecord::new(&[hidden, Part::new(0, &shown, 1)]));
    assert_eq!(drain(&log, &mut cursor), concat(&[&["SELECT", "0"], &["SET", "a", "1"]]));
    let applied = AppendRecord { origin: Origin::Master, ..AppendRecord::new(&[]) };
    assert_eq!(log.append(&applied), log.position());
}

#[test]
fn large_values_are_blocks_of_their_own() {
    let log = active();
    let mut cursor = log.cursor_at(0).unwrap();
    let big = "x".repeat(3 << 20);
    let big = command(&["SET", "big", &big]);
    let small = command(&["DEL", "big"]);
    log.append(&AppendRecord::new(&[Part::new(1, &big, 1), Part::new(1, &small, 1)]));
    let mut expected = concat(&[&["SELECT", "1"], &["MULTI"]]);
    expected.extend_from_slice(&big);
    expected.extend_from_slice(&concat(&[&["DEL", "big"], &["EXEC"]]));
    let mut chunks = Vec::new();
    log.read(&mut cursor, usize::MAX, &mut chunks).unwrap();
    assert_eq!(chunks.len(), 3, "the big part was not cut");
    assert_eq!(chunks.iter().flat_map(|c| c.to_vec()).collect::<Vec<u8>>(), expected);
    assert_eq!(drain(&log, &mut cursor), expected);
    assert!(chunks.iter().all(|c| c.tenure_epoch() == 0));
}

#[test]
fn a_snapshot_mark_makes_the_next_record_select() {
    let log = active();
    set(&log, 0, "a");
    let plain = log.mark_snapshot(false);
    assert_eq!(plain.stream_db, Some(0));
    let mark = log.mark_snapshot(true);
    assert_eq!((mark.stream_db, mark.offset, mark.ids), (None, log.offset(), log.ids()));
    let mut cursor = log.cursor_at(mark.offset).unwrap();
    set(&log, 0, "b");
    assert_eq!(drain(&log, &mut cursor), concat(&[&["SELECT", "0"], &["SET", "b", "1"]]));
}

#[test]
fn a_snapshot_mark_keeps_what_follows_it() {
    let log = active();
    log.set_backlog_size(1);
    let mark = log.mark_snapshot(true);
    for _ in 0..100 {
        set(&log, 0, &"k".repeat(10_000));
    }
    assert!(log.cursor_at(mark.offset).is_some());
    let offset = mark.offset;
    drop(mark);
    log.trim();
    assert!(log.cursor_at(offset).is_none());
    assert!(log.stats().histlen >= 16 * 1024);
    assert!(log.stats().histlen < 16 * 1024 + 64 * 1024);
}

#[test]
fn tenures_do_not_share_a_block() {
    let log = active();
    let mut cursor = log.cursor_at(0).unwrap();
    let one = command(&["PING"]);
    for tenure_epoch in [0, 0, 5, 5, 6] {
        let parts = [Part { db: None, ..Part::new(0, &one, 1) }];
        log.append(&AppendRecord { tenure_epoch, ..AppendRecord::new(&parts) });
    }
    let mut chunks = Vec::new();
    log.read(&mut cursor, usize::MAX, &mut chunks).unwrap();
    let seen: Vec<_> = chunks.iter().map(|c| (c.tenure_epoch(), c.len())).collect();
    assert_eq!(seen, [(0, 28), (5, 28), (6, 14)]);
}

#[test]
fn partial_requests_are_judged_as_redis_does() {
    let log = active();
    set(&log, 0, "a");
    let end = log.offset();
    let arg = |offset: u64| offset as i64 + 1;
    let b = id('b');
    assert_eq!(log.try_partial(b.as_bytes(), arg(end)).unwrap().position(), Some(end));
    assert_eq!(
        log.try_partial(b"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", 1).unwrap().position(),
        Some(0)
    );
    let refused = |id: &[u8], argument: i64| log.try_partial(id, argument).unwrap_err();
    assert_eq!(refused(b"?", -1), PartialRefusal::NoHistory);
    assert_eq!(refused(b"", 1), PartialRefusal::IdMismatch);
    assert_eq!(refused(id('c').as_bytes(), 1), PartialRefusal::IdMismatch);
    assert_eq!(refused(b.as_bytes(), arg(end) + 1), PartialRefusal::BeyondEnd);
    assert_eq!(refused(b.as_bytes(), i64::MAX), PartialRefusal::BeyondEnd);
    for argument in [0, -1, i64::MIN] {
        assert_eq!(refused(b.as_bytes(), argument), PartialRefusal::Trimmed);
    }
}

#[test]
fn the_second_id_is_good_up_to_the_promotion() {
    let log = active();
    set(&log, 0, "a");
    log.follow();
    assert!(!log.wants_records());
    let before = log.position();
    assert_eq!(set(&log, 0, "local write of a replica"), before);
    log.append_ping();
    assert_eq!(log.position(), before);
    let end = log.offset();
    let ids = log.promote(id('c'));
    assert_eq!(
        ids,
        ReplIds { replid: id('c'), replid2: id('b'), second_repl_offset: end as i64 + 1 }
    );
    let mut cursor = log.cursor_at(end).unwrap();
    set(&log, 0, "x");
    assert_eq!(drain(&log, &mut cursor), concat(&[&["SELECT", "0"], &["SET", "x", "1"]]));
    assert!(log.try_partial(id('b').as_bytes(), end as i64 + 1).is_ok());
    assert_eq!(
        log.try_partial(id('b').as_bytes(), end as i64 + 2).unwrap_err(),
        PartialRefusal::BeyondSecondId { limit: end as i64 + 1 }
    );
}

#[test]
fn a_replica_adopts_its_masters_history_and_copies_its_bytes() {
    let log = active();
    set(&log, 0, "old");
    let mut old = log.cursor_at(0).unwrap();
    log.follow();
    log.adopt(id('d'), 500, 7);
    assert_eq!(log.mark_snapshot(true).stream_db, Some(7));
    assert_eq!(log.ids(), ReplIds { replid: id('d'), replid2: id('0'), second_repl_offset: -1 });
    let mut chunks = Vec::new();
    assert_eq!(log.read(&mut old, 10, &mut chunks), Err(CursorLost));
    assert_eq!(old.position(), None);
    let mut cursor = log.cursor_at(500).unwrap();
    log.append_verbatim(b"any bytes", 4, &[]);
    log.append_verbatim(&[b'z'; 100_000], 4, &[]);
    assert_eq!(log.offset(), 500 + 9 + 100_000);
    assert_eq!(drain(&log, &mut cursor).len(), 100_009);
    assert_eq!(log.mark_snapshot(true).stream_db, Some(4), "the RDB has to tell the database");
    assert_eq!(log.stats().first_byte_offset, 501);
    assert!(!log.resume(None));
    assert!(!log.resume(Some(id('d'))));
    assert!(log.resume(Some(id('f'))));
    let second_repl_offset = 500 + 9 + 100_000 + 1;
    assert_eq!(log.ids(), ReplIds { replid: id('f'), replid2: id('d'), second_repl_offset });
}

#[test]
fn data_that_is_being_replaced_has_no_history() {
    let log = active();
    set(&log, 0, "a");
    let end = log.offset() as i64;
    log.follow();
    log.discard_history();
    let ids = log.promote(id('c'));
    assert_eq!(ids.replid2, id('b'));
    // The ids alone would allow it.
    assert!(log.try_partial(id('b').as_bytes(), end + 1).is_err());
    assert_eq!(log.create_backlog(id('d')).unwrap().replid2, id('0'));
}

#[test]
fn an_idle_backlog_ends_its_history() {
    let log = active();
    set(&log, 0, "a");
    let (end, mut cursor) = (log.offset(), log.cursor_at(0).unwrap());
    log.free_backlog(id('c'));
    assert_eq!(log.ids(), ReplIds { replid: id('c'), replid2: id('0'), second_repl_offset: -1 });
    assert_eq!(set(&log, 0, "b").stream_offset(), end, "the offset stands still");
    assert_eq!(log.read(&mut cursor, 1, &mut Vec::new()), Err(CursorLost));
    assert_eq!(log.stats().memory_bytes, 0);
}

#[test]
fn restarts_continue_what_the_file_tells() {
    let master = Log::new(id('a'), 1 << 20);
    master.restore_as_master(id('d'), 4071);
    let ids = ReplIds { replid: id('a'), replid2: id('d'), second_repl_offset: 4072 };
    assert_eq!((master.ids(), master.offset()), (ids, 4071));
    assert!(master.try_partial(id('d').as_bytes(), 4072).is_ok());
    assert!(master.wants_records());
    let replica = Log::new(id('a'), 1 << 20);
    replica.restore_as_replica(id('d'), 4071, 0);
    assert_eq!((replica.ids().replid, replica.offset()), (id('d'), 4071));
    assert!(!replica.wants_records());
}

#[test]
fn small_backlogs_count_as_16_kib() {
    let log = active();
    log.set_backlog_size(100);
    assert_eq!(log.stats().size, 16 * 1024);
    log.set_backlog_size(1 << 21);
    assert_eq!(log.stats().size, 1 << 21);
}

#[test]
fn a_lag_is_seen_from_outside() {
    let log = active();
    let mut cursor = log.cursor_at(0).unwrap();
    let watch = cursor.watch();
    set(&log, 0, "a");
    assert_eq!(log.cursor_lag(&watch), log.offset());
    drain(&log, &mut cursor);
    assert_eq!(log.cursor_lag(&watch), 0);
    drop(cursor);
    assert_eq!((watch.position(), log.cursor_lag(&watch)), (None, 0));
}

/// Everything that the file got since the last look.
fn file_bytes(log: &Log) -> Vec<u8> {
    let mut batch = FileBatch::default();
    log.take_file(&mut batch, Vec::new());
    assert_eq!(log.file_pending_bytes(), 0);
    batch.pieces.iter().flat_map(|piece| piece.to_vec()).collect()
}

#[test]
fn the_file_has_its_own_bytes_and_positions() {
    let log = Log::new(id('a'), 1 << 20);
    log.open_file();
    assert!(log.wants_records() && log.wants_file() && !log.wants_stream());
    let first = set(&log, 2, "a");
    assert_eq!((first.stream_offset(), log.offset()), (0, 0), "no replica, no offset");
    let (hidden, shown) = (command(&["SET", "h", "1"]), command(&["SET", "s", "1"]));
    let hidden = Part { targets: Targets::AOF, ..Part::new(2, &hidden, 1) };
    let shown = Part { targets: Targets::REPLICAS, ..Part::new(2, &shown, 1) };
    log.create_backlog(id('b')).unwrap();
    log.append(&AppendRecord::new(&[hidden, shown]));
    log.append_ping();
    let last = set(&log, 2, "b");
    let expected =
        concat(&[&["SELECT", "2"], &["SET", "a", "1"], &["SET", "h", "1"], &["SET", "b", "1"]]);
    assert_eq!(file_bytes(&log), expected);
    assert_eq!(last.file_position(), expected.len() as u64);
    let mut cursor = log.cursor_at(0).unwrap();
    let stream = concat(&[&["SELECT", "2"], &["SET", "s", "1"], &["ping"], &["SET", "b", "1"]]);
    assert_eq!(drain(&log, &mut cursor), stream);
    log.close_file();
    assert!(!log.wants_file());
    assert_eq!(set(&log, 2, "c").file_position(), last.file_position());
    assert_eq!(file_bytes(&log), b"");
}

#[test]
fn transactions_and_large_parts_in_the_file() {
    let log = Log::new(id('a'), 1 << 20);
    log.open_file();
    let big = command(&["SET", "big", &"x".repeat(1 << 20)]);
    let small = command(&["DEL", "big"]);
    log.append(&AppendRecord::new(&[Part::new(1, &big, 1), Part::new(1, &small, 1)]));
    let mut expected = concat(&[&["SELECT", "1"], &["MULTI"]]);
    expected.extend_from_slice(&big);
    expected.extend_from_slice(&concat(&[&["DEL", "big"], &["EXEC"]]));
    assert_eq!(file_bytes(&log), expected);
}

#[test]
fn a_cut_begins_a_new_file_that_selects_anew() {
    let log = Log::new(id('a'), 1 << 20);
    log.open_file();
    set(&log, 0, "a");
    log.cut_file();
    set(&log, 0, "b");
    let mut batch = FileBatch::default();
    log.take_file(&mut batch, Vec::new());
    assert_eq!(batch.cut, Some(1));
    let one = |key: &str| concat(&[&["SELECT", "0"], &["SET", key, "1"]]);
    let found: Vec<Vec<u8>> = batch.pieces.iter().map(|piece| piece.to_vec()).collect();
    assert_eq!(found, [one("a"), one("b")]);
    log.take_file(&mut batch, Vec::new());
    assert_eq!((batch.pieces.len(), batch.cut), (0, None), "a cut is told once");
}

#[test]
fn a_replica_writes_what_it_applies_and_tells_what_is_synced() {
    let log = Log::new(id('a'), 1 << 20);
    log.follow();
    log.adopt(id('b'), 100, 3);
    assert_eq!(log.synced_stream_offset(), None);
    log.open_file();
    assert_eq!(log.synced_stream_offset(), Some(100), "nothing is missing on disk");
    let write = command(&["SET", "a", "1"]);
    let part = AppliedPart { db: 3, db_after: 3, commands: &write };
    log.append_verbatim(&write, 3, &[part]);
    log.append_verbatim(&command(&["ping"]), 3, &[]);
    let offset = log.offset();
    assert_eq!(log.synced_stream_offset(), Some(0));
    let mut batch = FileBatch::default();
    log.take_file(&mut batch, Vec::new());
    assert_eq!(batch.stream_offset, offset);
    let bytes: Vec<u8> = batch.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
    assert_eq!(bytes, concat(&[&["SELECT", "3"], &["SET", "a", "1"]]));
    log.note_synced(batch.end, batch.stream_offset);
    log.append_verbatim(&command(&["ping"]), 3, &[]);
    assert_eq!(log.synced_stream_offset(), Some(log.offset()));
    // A local write of a writable replica goes to the file alone.
    assert!(log.wants_records() && !log.wants_stream());
    set(&log, 3, "own");
    assert_eq!(file_bytes(&log), command(&["SET", "own", "1"]));
}
