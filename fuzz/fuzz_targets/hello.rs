//! The hello parser: what is accepted says the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sentinel::Hello;

fuzz_target!(|text: &str| {
    if let Some(hello) = Hello::parse(text) {
        assert_eq!(Hello::parse(&hello.text()).as_ref(), Some(&hello));
    }
});
