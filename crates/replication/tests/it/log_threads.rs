//! Many threads append while others read, as workers and replica connections do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use replication::{AppendRecord, Chunk, Cursor, Log, Part};
use resp::{Decoded, Decoder, Limits};
use stdx::Prng;

use crate::harness::{command, id};

const WRITERS: usize = 4;
const RECORDS: u64 = 3000;

fn follow(log: &Log, mut cursor: Cursor, done: &AtomicBool) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let finished = done.load(Ordering::Acquire);
        let mut chunks: Vec<Chunk> = Vec::new();
        let bytes = log.read(&mut cursor, 50_000, &mut chunks).unwrap();
        for chunk in &chunks {
            assert_eq!(chunk.offset(), out.len() as u64);
            out.extend_from_slice(chunk);
        }
        cursor.advance(bytes);
        if bytes == 0 {
            if finished {
                return out;
            }
            thread::yield_now();
        }
    }
}

fn write(log: &Log, writer: usize) -> u64 {
    let mut prng = Prng::new(writer as u64);
    let mut last = 0;
    for number in 0..RECORDS {
        let value = "v".repeat(match prng.below(200) {
            0 => 40_000,
            1..20 => prng.below(3000) as usize,
            _ => prng.below(60) as usize,
        });
        let (writer, number) = (writer.to_string(), number.to_string());
        let mut bytes = command(&["SET", &writer, &number, &value]);
        let count = prng.between(1, 2) as u32;
        if count == 2 {
            bytes.extend(command(&["DEL", &writer]));
        }
        let db = prng.below(2) as u32;
        let end = log.append(&AppendRecord::new(&[Part::new(db, &bytes, count)]));
        assert!(end.stream_offset() > last, "positions grow");
        last = end.stream_offset();
    }
    last
}

/// Every writer's records are there, whole and in its order.
fn check(bytes: &[u8]) {
    let mut decoder = Decoder::new();
    let limits = Limits { bulk_max: u64::MAX, authenticated: true };
    let (mut at, mut next, mut in_multi, mut since_multi) = (0, [0u64; WRITERS], false, 0);
    while at < bytes.len() {
        let Decoded::Request { consumed } = decoder.decode(&bytes[at..], &limits).unwrap() else {
            panic!("the stream ends within a command");
        };
        let args = decoder.args(&bytes[at..]);
        match args.at(0) {
            b"MULTI" => {
                assert!(!in_multi);
                (in_multi, since_multi) = (true, 0);
            }
            b"EXEC" => {
                assert_eq!(
                    (in_multi, since_multi),
                    (true, 2),
                    "nobody writes into another's MULTI"
                );
                in_multi = false;
            }
            b"SET" => {
                let writer: usize = std::str::from_utf8(args.at(1)).unwrap().parse().unwrap();
                assert_eq!(args.at(2), next[writer].to_string().as_bytes());
                next[writer] += 1;
                since_multi += 1;
            }
            b"DEL" => since_multi += 1,
            b"SELECT" | b"ping" => assert!(!in_multi),
            other => panic!("{}", other.escape_ascii()),
        }
        at += consumed;
    }
    assert_eq!(next, [RECORDS; WRITERS]);
}

#[test]
fn appenders_and_readers_do_not_disturb_each_other() {
    let log = Arc::new(Log::new(id('a'), 64 * 1024));
    log.create_backlog(id('b'));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (log, done) = (Arc::clone(&log), Arc::clone(&done));
            let cursor = log.cursor_at(0).unwrap();
            thread::spawn(move || follow(&log, cursor, &done))
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            thread::spawn(move || write(&log, writer))
        })
        .collect();
    for _ in 0..50 {
        log.append_ping();
        log.trim();
        // Readers that come and go.
        let offset = log.offset();
        drop(log.cursor_at(offset));
        thread::yield_now();
    }
    let ends: Vec<u64> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    done.store(true, Ordering::Release);
    let streams: Vec<Vec<u8>> = readers.into_iter().map(|r| r.join().unwrap()).collect();
    assert_eq!(streams[0], streams[1]);
    assert_eq!(streams[0].len() as u64, log.offset());
    assert!(ends.iter().all(|end| *end <= log.offset()));
    check(&streams[0]);
    log.trim();
    assert!(log.stats().memory_bytes < 400_000, "{:?}", log.stats());
}
