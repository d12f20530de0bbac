//! cjson, cmsgpack and struct on arbitrary bytes: no panic, and what was decoded can be encoded.
//! The first byte chooses the codec.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{OwnedArgs, Protocol, Reply};
use scripting::{About, Engine, Host, Kind, Random};

struct Nobody;

impl Host for Nobody {
    fn call(&mut self, _: &OwnedArgs, _: &mut Reply) -> Result<(), Vec<u8>> {
        Err(b"ERR no".to_vec())
    }
    fn tick(&mut self) -> bool {
        true
    }
    fn log(&mut self, _: u8, _: &[u8]) {}
    fn set_repl(&mut self, _: i64) {}
    fn may_run(&mut self, _: &OwnedArgs) -> Option<bool> {
        None
    }
}

const SCRIPTS: [&str; 4] = [
    "local ok, v = pcall(cjson.decode, ARGV[1]) if ok then pcall(cjson.encode, v) end",
    "local ok, v = pcall(cmsgpack.unpack, ARGV[1]) if ok then cmsgpack.pack(v) end",
    "pcall(struct.unpack, ARGV[1], ARGV[2]) pcall(struct.size, ARGV[1]) pcall(struct.pack, ARGV[1], 1, 'abc', 2, 'd', 3)",
    "pcall(string.find, ARGV[2], ARGV[1]) pcall(string.gsub, ARGV[2], ARGV[1], '%1')",
];

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let about = About { version: "7.4.0", version_number: 0x70400 };
    let mut engine = Engine::new(Kind::Eval, about, &Random::default()).expect("an interpreter");
    let script = SCRIPTS[usize::from(first) % SCRIPTS.len()];
    let script = engine.compile(script.as_bytes()).expect("a script");
    let (head, tail) = rest.split_at(rest.len() / 2);
    let argv: [&[u8]; 2] = if usize::from(first) % SCRIPTS.len() < 2 { [rest, b""] } else { [head, tail] };
    let mut reply = Reply::new(Protocol::Resp2);
    let result = engine.run(&script, "fuzz", &[], &argv, &mut Nobody, &mut reply);
    assert!(result.is_ok(), "{result:?}");
});
