//! Values that clients have written themselves, taken for HyperLogLogs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use structures::hll;

fuzz_target!(|data: &[u8]| {
    let _ = hll::estimate(data);
    let _ = hll::Union::new().merge(data);
    let mut value = data.to_vec();
    if hll::encoding(&value).is_some() {
        hll::runs(&value).for_each(drop);
        for element in [&b"a"[..], b"b", b"c", b"d"] {
            let _ = hll::add(&mut value, element, 3000);
        }
        hll::invalidate(&mut value);
        let _ = hll::make_dense(&mut value);
    }
});
