//! Streams with groups: byte for byte the payloads of a real server, the old and the new form, and
//! payloads that contradict themselves.

use persistence::dump::{dump_payload, restore_payload};
use persistence::rdb::{DecodeOptions, EncodeOptions};
use structures::{Stream, StreamId, Value, ValueRef};

use crate::mutate::small_stream;
use crate::server::{RealServer, Reply};

const PLAIN: EncodeOptions = EncodeOptions { version: 10, compress: false };

fn restored(payload: &[u8]) -> Result<Stream, String> {
    match restore_payload(payload, &DecodeOptions::default()) {
        Ok(Value::Stream(stream)) => Ok(stream),
        Ok(_) => panic!("a stream expected"),
        Err(error) => Err(format!("{error:?}")),
    }
}

#[test]
fn payloads_are_those_of_a_real_server() {
    let Some(mut server) = RealServer::start(None, &["--rdbcompression", "no"]) else { return };
    for n in 1..300 {
        let fields = if n % 5 == 0 { "other 1" } else { "f 1 g text" };
        server.text(&format!("XADD k {n}-{} {fields}", n % 3));
    }
    server.text("XGROUP CREATE k g 5");
    server.text("XGROUP CREATE k empty $");
    server.text("XREADGROUP GROUP g alice COUNT 20 STREAMS k >");
    server.text("XREADGROUP GROUP g bob COUNT 150 STREAMS k >");
    server.text("XGROUP CREATECONSUMER k g idle");
    server.text("XDEL k 7-1 8-2 200-2");
    server.text("XTRIM k MAXLEN 290");
    server.text("XADD none MAXLEN 0 5-5 a b");
    for key in ["k", "none"] {
        let payload = server.run(&[b"DUMP", key.as_bytes()]).bulk();
        let stream = restored(&payload).unwrap();
        assert_eq!(dump_payload(ValueRef::Stream(&stream), &PLAIN), payload, "{key}");
        // And back, where the server checks everything.
        server.text("CONFIG SET sanitize-dump-payload yes");
        let reply = server.run(&[b"RESTORE", b"copy", b"0", &payload, b"REPLACE"]);
        assert_eq!(reply, Reply::Status("OK".into()));
    }
}

#[test]
fn version_11_has_the_times_of_activity() {
    let mut stream = small_stream();
    let group = stream.group_mut(b"group").unwrap();
    let alice = group.consumer_no(b"a").unwrap();
    group.consumer_mut(alice).active_time = 55;
    let active = |stream: &Stream| -> Vec<i64> {
        let group = stream.group(b"group").unwrap();
        group.consumers().map(|consumer| consumer.active_time).collect()
    };
    let payload =
        |version| dump_payload(ValueRef::Stream(&stream), &EncodeOptions { version, ..PLAIN });
    assert_eq!((payload(10)[0], payload(11)[0]), (19, 21));
    assert_eq!(active(&restored(&payload(11)).unwrap()), [55, -1]);
    // Where the time is not told it is taken to be that of the last sign of life.
    assert_eq!(active(&restored(&payload(10)).unwrap()), [77, 77]);
}

/// A payload of type 15 is one of type 19 without first ID, deleted ID and entries ever added, and
/// without the number of entries that a group has read.
#[test]
fn the_form_of_redis_5() {
    let mut stream = Stream::new();
    let limits = structures::Limits::default();
    stream.append(StreamId::new(1, 1), &[b"f", b"v"], &limits);
    stream.append(StreamId::new(2, 0), &[b"f", b"v"], &limits);
    let mut body = dump_payload(ValueRef::Stream(&stream), &PLAIN);
    body.truncate(body.len() - 10);
    // length, last ID (2), first ID (2), deleted ID (2), entries added, groups: one byte each.
    let tail = body.split_off(body.len() - 9);
    assert_eq!(tail, [2, 2, 0, 1, 1, 0, 0, 2, 0]);
    body[0] = 15;
    body.extend_from_slice(&[2, 2, 0, 1, 1, b'g', 2, 0, 0, 0]);
    let payload = |mut body: Vec<u8>| {
        body.extend_from_slice(&9u16.to_le_bytes());
        let crc = persistence::crc64::crc64(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        body
    };
    let old = restored(&payload(body.clone())).unwrap();
    assert_eq!(old.meta(), stream.meta());
    assert_eq!(old.group(b"g").unwrap().entries_read, 2);
    if let Some(mut server) = RealServer::start(None, &[]) {
        let reply = server.run(&[b"RESTORE", b"k", b"0", &payload(body)]);
        assert_eq!(reply, Reply::Status("OK".into()));
    }
}

#[test]
fn contradictions_are_refused() {
    let good = dump_payload(ValueRef::Stream(&small_stream()), &PLAIN);
    let body = &good[..good.len() - 10];
    let find = |wanted: &[u8]| body.windows(wanted.len()).rposition(|w| w == wanted).unwrap();
    // The group's pending entries come before those of its consumers.
    let first = |wanted: &[u8]| {
        let from = find(b"\x05group");
        from + body[from..].windows(wanted.len()).position(|w| w == wanted).unwrap()
    };
    let id = |n: u64| StreamId::new(n, n % 2).to_be_bytes();
    let change = |at: usize, to: &[u8]| {
        let mut bad = body.to_vec();
        bad[at..at + to.len()].copy_from_slice(to);
        bad.extend_from_slice(&10u16.to_le_bytes());
        let crc = persistence::crc64::crc64(&bad);
        bad.extend_from_slice(&crc.to_le_bytes());
        restored(&bad)
    };
    assert!(change(0, &[19]).is_ok());
    let cases = [
        ("another consumer's entry", find(&id(3)), &id(4)[..]),
        ("an entry that is not pending", find(&id(3)), &id(9)),
        ("a pending entry twice", first(&id(3)), &id(1)),
        ("one consumer twice", find(b"\x01b"), b"\x01a"),
        // Length 4, last ID 5-1, first 1-1, deleted 2-0, 5 ever added.
        ("another length", find(&[4, 5, 1, 1, 1, 2, 0, 5, 1]), &[5]),
        ("a last ID before the entries", find(&[4, 5, 1, 1, 1, 2, 0, 5, 1]), &[4, 4, 1]),
    ];
    for (name, at, to) in cases {
        assert!(change(at, to).is_err(), "{name}");
    }
}
