//! The sentinel's configuration reader: any file is read or refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sentinel::SentinelConf;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = SentinelConf::parse(bytes) {
        assert!(!format!("{error:?}").is_empty());
    }
});
