//! Measures encoding and loading of small string keys: `cargo run --release --example rdb_speed`.
// A measurement needs a clock.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use persistence::rdb::{
    Access, EncodeOptions, Event, Loaded, RdbReader, RdbStream, ReadOptions, encode_key_record,
};
use persistence::transfer::{TransferDecoder, TransferForm};
use structures::{Entry, Limits, StrRef, Value, ValueRef};

const KEYS: usize = 1_000_000;

fn report(what: &str, keys: usize, from: Instant, bytes: usize) {
    let seconds = from.elapsed().as_secs_f64();
    let (rate, megabytes) = (keys as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    println!("{what:44} {rate:6.2} M keys/s  {megabytes:7.0} MB/s");
}

fn strings(compress: bool) {
    let keys: Vec<Vec<u8>> = (0..KEYS).map(|i| format!("key:{i:012}").into_bytes()).collect();
    let value = b"0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p";
    let options = EncodeOptions { compress, ..EncodeOptions::default() };
    let name = if compress { "compression on" } else { "compression off" };

    let started = Instant::now();
    let mut records = Vec::new();
    for key in &keys {
        let value = ValueRef::Str(StrRef::Bytes(value));
        encode_key_record(&mut records, key, value, None, Access::None, &options);
    }
    report(&format!("encode records, {name}"), KEYS, started, records.len());

    let started = Instant::now();
    let mut stream = RdbStream::new(Vec::new(), options, true);
    stream.select_db(0).expect("memory");
    for key in &keys {
        let value = ValueRef::Str(StrRef::Bytes(value));
        stream.key(key, value, None, Access::None).expect("memory");
    }
    let (file, _) = stream.finish().expect("memory");
    report(&format!("write a stream with its CRC, {name}"), KEYS, started, file.len());

    load(&format!("load, events only, {name}"), &file, |_, value| {
        black_box(matches!(value, Loaded::Text(_)));
    });
    let mut entries = Vec::with_capacity(KEYS);
    load(&format!("load into entries, {name}"), &file, |key, value| {
        entries.push(match value {
            Loaded::Text(text) => Entry::new_str(key, text, None),
            Loaded::Owned(value) => Entry::new(key, value, None),
        });
    });
}

fn load(what: &str, file: &[u8], mut each: impl FnMut(&[u8], Loaded<'_>)) {
    let started = Instant::now();
    let mut reader = RdbReader::new(file, ReadOptions::default());
    let mut count = 0;
    loop {
        match reader.next_event().expect("a good file") {
            Event::Key(record) => {
                count += 1;
                each(record.key, record.value);
            }
            Event::Eof { .. } => break,
            _ => {}
        }
    }
    report(what, count, started, file.len());
}

fn hashes() {
    let limits = Limits::default();
    let mut stream = RdbStream::new(Vec::new(), EncodeOptions::default(), true);
    stream.select_db(0).expect("memory");
    let mut hash = structures::Hash::new();
    for i in 0..10 {
        hash.set(format!("field:{i}").as_bytes(), b"a value of some bytes", &limits);
    }
    let started = Instant::now();
    for i in 0..KEYS / 5 {
        let key = format!("hash:{i}");
        stream.key(key.as_bytes(), ValueRef::Hash(&hash), None, Access::None).expect("memory");
    }
    let (file, _) = stream.finish().expect("memory");
    report("write hashes of 10 fields", KEYS / 5, started, file.len());
    load("load hashes of 10 fields", &file, |_, value| {
        black_box(matches!(value, Loaded::Owned(Value::Hash(_))));
    });
}

/// Finding the mark behind an RDB of unknown length, in pieces as a socket gives them.
fn transfer() {
    let mut prng = stdx::Prng::new(1);
    let mark: [u8; 40] = prng.hex(40).into_bytes().try_into().expect("forty digits");
    let mut wire = Vec::new();
    TransferForm::EofMark(mark).push_header(&mut wire);
    wire.extend((0..100_000_000).map(|_| prng.next_u64() as u8));
    wire.extend_from_slice(&mark);
    let started = Instant::now();
    let (mut decoder, mut payload) = (TransferDecoder::new(), 0);
    for piece in wire.chunks(16 * 1024) {
        decoder.feed(piece, &mut |bytes| payload += bytes.len()).expect("a good transfer");
    }
    assert!(decoder.is_done() && payload == 100_000_000);
    report("cut out of a diskless transfer", 0, started, payload);
}

fn main() {
    transfer();
    strings(false);
    strings(true);
    hashes();
}
