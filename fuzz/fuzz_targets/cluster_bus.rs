//! The bus decoder: what is accepted says the same when it is encoded again.
#![no_main]

use cluster::bus::{Cutter, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut cutter = Cutter::default();
    cutter.feed(bytes);
    while let Ok(Some(piece)) = cutter.cut() {
        if let Ok(message) = decode(piece) {
            let again = encode(&message.header, &message.body);
            assert_eq!(decode(&again).as_ref(), Ok(&message));
        }
    }
});
