//! The file of nodes: what is accepted says the same when it is written again.
#![no_main]

use cluster::NodesConf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(conf)) = NodesConf::parse(bytes) {
        let text = conf.text();
        assert_eq!(NodesConf::parse(text.as_bytes()).as_ref(), Ok(&Some(conf)));
    }
});
