//! The RDB reader: any file ends in a whole RDB or in an error, without a panic and without much memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::rdb::{Event, RdbReader, ReadOptions};

fuzz_target!(|input: (bool, &[u8])| {
    let (headed, bytes) = input;
    // Half of the time the header is given, so that the fuzzer need not find it.
    let file = if headed { [b"REDIS0010", bytes].concat() } else { bytes.to_vec() };
    let options = ReadOptions { checksum: false, ..ReadOptions::default() };
    let mut reader = RdbReader::new(file.as_slice(), options);
    loop {
        match reader.next_event() {
            Ok(Event::Eof { .. }) | Err(_) => break,
            Ok(_) => {}
        }
    }
    assert!(reader.offset() <= file.len() as u64);
});
