//! RESTORE's payload: with the right footer around any bytes, a value or an error; a value can be dumped and restored again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::crc64::crc64;
use persistence::dump::{dump_payload, restore_payload};
use persistence::rdb::{DecodeOptions, EncodeOptions};
use structures::{Value, ValueRef};

fuzz_target!(|bytes: &[u8]| {
    let mut payload = bytes.to_vec();
    payload.extend_from_slice(&10u16.to_le_bytes());
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    let Ok(Value::Hash(mut hash)) = restore_payload(&payload, &DecodeOptions::default()) else { return };
    // Fields with times have an order and an index of their own: what was taken must hold together.
    let again = dump_payload(ValueRef::Hash(&hash), &EncodeOptions::default());
    let Ok(Value::Hash(twin)) = restore_payload(&again, &DecodeOptions::default()) else {
        panic!("a dump is restored")
    };
    assert_eq!((twin.len(), twin.has_times()), (hash.len(), hash.has_times()));
    let mut out = Vec::new();
    while let Some(due) = hash.next_due() {
        let before = (hash.len(), out.len());
        hash.take_due(due + 64, 3, &mut out);
        assert_eq!(before.0 - hash.len(), out.len() - before.1);
    }
    assert!(hash.iter().all(|(field, _)| field.with(|field| hash.time_of(field) == Some(None))));
});
