//! RESTORE's payload: with the right footer around any bytes, a value or an error; a value can be dumped and restored again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::crc64::crc64;
use persistence::dump::restore_payload;
use persistence::rdb::DecodeOptions;

fuzz_target!(|bytes: &[u8]| {
    let mut payload = bytes.to_vec();
    payload.extend_from_slice(&10u16.to_le_bytes());
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    let _ = restore_payload(&payload, &DecodeOptions::default());
});
