//! A hundred thousand damaged files: every one ends in content or in an error, with bounded memory.

use persistence::dump::restore_payload;
use persistence::rdb::{
    Access, DecodeOptions, EncodeOptions, Event, RdbReader, ReadOptions, encode_key_record,
};
use stdx::Prng;
use structures::{Pending, Stream, StreamGroup, StreamId, TrimTo, Value, ValueRef};

use crate::frozen::all_files;
use crate::model::Model;
use crate::old;
use crate::server::{RealServer, Reply};

const FILES: u64 = 100_000;

/// Small seeds give many mutants of every structure in little time.
fn seeds() -> Vec<Vec<u8>> {
    use old::{file, listpack, record, string, ziplist, zipmap};
    let packed = |code, pack: Vec<u8>| record(code, "k", &string(&pack));
    let mut all = vec![
        file(12, &packed(16, listpack(&["field", "1", "g", "text"]))),
        file(12, &packed(17, listpack(&["a", "1", "b", "2", "c", "inf"]))),
        file(12, &packed(23, listpack(&["a", "1", "77", "f", "v", "0"]))),
        file(12, &record(24, "k", crate::timed::METADATA)),
        file(12, &record(22, "k", b"\x02\x05\x01a\x01b\x00\x01f\x01v")),
        file(12, &packed(20, listpack(&["a", "1", "b", "77", "c", "xyz"]))),
        file(9, &packed(10, ziplist(&["a", "1", "-500", "77", "100000", "xyz"]))),
        file(9, &packed(12, ziplist(&["a", "1", "b", "2.5"]))),
        file(9, &packed(13, ziplist(&["a", "1", "b", "2.5"]))),
        file(9, &packed(9, zipmap(&[("a", "1"), ("b", "2.5")]))),
        file(9, &packed(11, b"\x04\0\0\0\x02\0\0\0\x01\0\0\0\0\0\x01\0".to_vec())),
        file(9, b"\xfe\0\xfb\x02\0\x05\x01z\x01\x01a\0\0\0\0\0\0\xf0\x3f\x03\x01y\x01\x01b\x011"),
        file(9, b"\xfe\0\x00\x01k\xc3\x09\x28\x01aa\xe0\x1b\0\x01aa\xfc\0\0\0\0\0\0\0\x01\0\x01a\xc2abcd"),
        file(9, b"\xf7\x81\0\0\0\0\0\0\0\0\x02\x01\x01\x05\x05\x03abc\0\xf5\x03abc\xfa\x01a\x01b"),
    ];
    for version in [10, 11] {
        let options = EncodeOptions { version, compress: false };
        let mut record = Vec::new();
        let stream = small_stream();
        encode_key_record(
            &mut record,
            b"x",
            ValueRef::Stream(&stream),
            None,
            Access::None,
            &options,
        );
        all.push(file(version, &record));
    }
    all.push(file(
        10,
        &[b"\x12\x01k\x02\x02", &string(&listpack(&["a", "5"]))[..], b"\x01\x01p"].concat(),
    ));
    all.push(file(9, &[b"\x0e\x01k\x01", &string(&ziplist(&["a", "5"]))[..]].concat()));
    all
}

/// Entries with and without the master's fields, one deleted, and a group with two consumers.
pub fn small_stream() -> Stream {
    let mut stream = Stream::new();
    for n in 1..6 {
        let pairs: &[&[u8]] = if n == 3 { &[b"g", b"x"] } else { &[b"f", b"1", b"h", b"yy"] };
        stream.append(StreamId::new(n, n % 2), pairs, &structures::Limits::default());
    }
    stream.delete(StreamId::new(2, 0));
    let mut group = StreamGroup::new(StreamId::new(4, 0), 4);
    for (name, id) in [("a", 1), ("b", 3), ("a", 4)] {
        let consumer = group.consumer_no(name.as_bytes());
        let consumer = consumer.or_else(|| group.add_consumer(name.as_bytes(), 77)).expect("new");
        group.set_pending(
            StreamId::new(id, id % 2),
            Pending { consumer, delivered_at: 1000 + id as i64, deliveries: id },
        );
    }
    stream.add_group(b"group", group);
    stream
}

fn mutate(prng: &mut Prng, bytes: &mut Vec<u8>) {
    for _ in 0..=prng.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = prng.below(bytes.len() as u64) as usize;
        match prng.below(9) {
            0 => bytes[at] ^= 1 << prng.below(8),
            1 => bytes[at] = prng.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, prng.next_u64() as u8),
            4 => drop(bytes.remove(at)),
            5 => {
                // A length of four or eight bytes, large.
                let wide = [&b"\x80\x7f\xff\xff\xff"[..], b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff"];
                let wide = wide[prng.below(2) as usize];
                bytes.splice(at..at + 1, wide.iter().copied());
            }
            6 => bytes[at] = [0xff, 0xfe, 0xfc, 0xf7, 0xc3, 0xe0, 0x7f, 0][prng.below(8) as usize],
            7 => {
                let len = (prng.below(30) as usize).min(bytes.len() - at);
                let piece = bytes[at..at + len].to_vec();
                let to = prng.below(bytes.len() as u64) as usize;
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill(if prng.chance(50) { 0xff } else { 0 });
            }
        }
    }
}

/// Walks the value from both ends and changes it: what was loaded must hold together.
fn use_value(value: &mut Value, options: &DecodeOptions) {
    match value {
        Value::Str(_) => {}
        Value::List(list) => {
            let backward = list.iter().rev().count();
            assert_eq!(backward, list.len());
            list.push_back(b"new", &options.limits);
            list.pop_front();
        }
        Value::Set(set) => {
            set.add(b"new", &options.limits);
            set.remove(b"a");
        }
        Value::Hash(hash) => {
            let mut taken = Vec::new();
            hash.take_due(i64::MAX, 2, &mut taken);
            hash.set_time(b"f", Some(5));
            hash.set(b"new", b"value", &options.limits);
            hash.remove(b"a");
        }
        Value::Zset(zset) => {
            zset.insert(b"new", 1.5, &options.limits);
            zset.remove(b"a");
            assert_eq!(zset.iter().rev().count(), zset.len());
        }
        Value::Stream(stream) => use_stream(stream, options),
    }
}

fn use_stream(stream: &mut Stream, options: &DecodeOptions) {
    let (all, len) = ((StreamId::ZERO, StreamId::MAX), stream.len());
    assert_eq!(stream.range(all.0, all.1, true).count() as u64, len);
    if let Some(id) = stream.last_id().next() {
        stream.append(id, &[b"a", b"new"], &options.limits);
        assert!(stream.delete(id));
    }
    let names: Vec<Vec<u8>> = stream.groups().map(|(name, _)| name.to_vec()).collect();
    for name in names {
        let group = stream.group_mut(&name).expect("just listed");
        let ids: Vec<StreamId> = group.pending_range(all.0, all.1).map(|(id, _)| id).collect();
        let owned: usize = group.consumers().map(|consumer| consumer.pending_count()).sum();
        assert_eq!(owned, ids.len());
        assert!(ids.into_iter().all(|id| group.ack(id)));
    }
    assert_eq!(stream.trim(TrimTo::MaxLen(len / 2), false, 0), len - len / 2);
}

/// Peak of the process's memory in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn damaged_files_end_in_content_or_error() {
    let (small, large) = (seeds(), all_files());
    let mut prng = Prng::new(2024);
    let (mut good, mut bad) = (0, 0);
    for round in 0..FILES {
        let seeds = if round % 20 == 0 { &large } else { &small };
        let mut bytes = seeds[prng.below(seeds.len() as u64) as usize].clone();
        mutate(&mut prng, &mut bytes);
        let options = ReadOptions { checksum: false, ..ReadOptions::default() };
        let mut reader = RdbReader::new(&bytes[..], options);
        loop {
            match reader.next_event() {
                Ok(Event::Eof { .. }) => {
                    good += 1;
                    break;
                }
                Ok(Event::Key(record)) => {
                    let mut value = record.value.into_value();
                    Model::of(&value); // Checks the counts, which duplicates would belie.
                    use_value(&mut value, &options.decode);
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(error.offset() <= bytes.len() as u64 + 8, "{error}");
                    bad += 1;
                    break;
                }
            }
        }
    }
    assert_eq!(good + bad, FILES);
    assert!(good > FILES / 20 && bad > FILES / 4, "{good} good, {bad} bad");
    if let Some(peak) = peak_memory() {
        assert!(peak < 1 << 29, "{peak} bytes at the peak");
    }
}

#[test]
fn damaged_payloads_end_in_a_value_or_error() {
    let mut prng = Prng::new(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let seeds = seeds();
        let seed = &seeds[prng.below(seeds.len() as u64) as usize];
        let mut body = seed[9..].to_vec();
        mutate(&mut prng, &mut body);
        body.extend_from_slice(&[10, 0]);
        let crc = persistence::crc64::crc64(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        match restore_payload(&body, &DecodeOptions::default()) {
            Ok(mut value) => {
                good += 1;
                use_value(&mut value, &DecodeOptions::default());
            }
            Err(_) => bad += 1,
        }
        let cut = prng.below(body.len() as u64) as usize;
        assert!(restore_payload(&body[..cut], &DecodeOptions::default()).is_err());
    }
    assert!(bad > 1000, "{good} good, {bad} bad");
}

/// Damaged payloads get the same answer from a real server, and the same content where both take
/// them. A few differ: 7.0.15 reads a cut value on into the footer, takes any text for a score and
/// any order in a packed sorted set, and is laxer with zipmaps.
#[test]
fn damaged_payloads_fare_as_in_a_real_server() {
    let Some(mut server) = RealServer::start(None, &["--sanitize-dump-payload", "yes"]) else {
        return;
    };
    let mut prng = Prng::new(31);
    let (seeds, options) = (seeds(), DecodeOptions::default());
    let (mut both, mut neither, mut stricter, mut laxer) = (0, 0, 0, 0);
    while both + neither + stricter + laxer < 10_000 {
        let seed = &seeds[prng.below(seeds.len() as u64) as usize];
        // Type and value without the key `k`, for those that begin with a key of that length.
        let body = &seed[9..seed.len() - 9];
        let (code, key_len) = (body[0], body[1]);
        if code > 18 || key_len != 1 {
            continue;
        }
        let mut body = body[3..].to_vec();
        mutate(&mut prng, &mut body);
        body.insert(0, code);
        body.extend_from_slice(&[10, 0]);
        let crc = persistence::crc64::crc64(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        let theirs = server.run(&[b"RESTORE", b"k", b"0", &body, b"REPLACE"]);
        match (restore_payload(&body, &options), theirs == Reply::Status("OK".into())) {
            (Ok(value), true) => {
                both += 1;
                assert_eq!(server.content(b"k"), Model::of(&value), "{}", body.escape_ascii());
            }
            (Err(_), false) => neither += 1,
            (Err(_), true) => stricter += 1,
            (Ok(_), false) => laxer += 1,
        }
    }
    let figures = format!("{both} both, {neither} neither, {stricter} only 7.0, {laxer} only we");
    assert!(both > 300 && neither > 5000 && stricter < 300 && laxer < 20, "{figures}");
}
