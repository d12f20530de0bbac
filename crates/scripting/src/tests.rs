//! Scripts run against a host that only takes notes.

use crate::*;
use resp::{OwnedArgs, Protocol, Reply};

#[derive(Default)]
struct Notes {
    calls: Vec<String>,
    ticks: u32,
    /// Ends the script at this tick.
    kill_at: u32,
}

impl Host for Notes {
    fn call(&mut self, args: &OwnedArgs, reply: &mut Reply) -> Result<(), Vec<u8>> {
        let args = args.as_args();
        let words: Vec<String> =
            args.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        self.calls.push(words.join(" "));
        match args.at(0) {
            b"ping" => reply.simple("PONG"),
            b"get" => reply.bulk(b"value"),
            b"list" => {
                reply.array(3);
                reply.integer(1);
                reply.null();
                reply.bulk(b"x");
            }
            b"map" => {
                reply.map(1);
                reply.bulk(b"k");
                reply.double(1.5);
            }
            b"bad" => reply.error("WRONGTYPE no"),
            _ => return Err(b"ERR Unknown Redis command called from script".to_vec()),
        }
        Ok(())
    }
    fn tick(&mut self) -> bool {
        self.ticks += 1;
        self.kill_at == 0 || self.ticks < self.kill_at
    }
    fn log(&mut self, level: u8, line: &[u8]) {
        self.calls.push(format!("log {level} {}", String::from_utf8_lossy(line)));
    }
    fn set_repl(&mut self, bits: i64) {
        self.calls.push(format!("repl {bits}"));
    }
    fn may_run(&mut self, args: &OwnedArgs) -> Option<bool> {
        (args.as_args().at(0) == b"get").then_some(true)
    }
}

const ABOUT: About = About { version: "7.4.0", version_number: 0x70400 };

fn engine() -> Engine {
    Engine::new(Kind::Eval, ABOUT, &Random::default()).unwrap()
}

fn run_on(engine: &mut Engine, host: &mut Notes, source: &str) -> String {
    let script = match engine.compile(source.as_bytes()) {
        Ok(script) => script,
        Err(text) => return format!("-{}", String::from_utf8_lossy(&text)),
    };
    let mut reply = Reply::new(Protocol::Resp2);
    let keys: [&[u8]; 2] = [b"k1", b"k2"];
    let argv: [&[u8]; 1] = [b"a1"];
    match engine.run(&script, "SHA", &keys, &argv, host, &mut reply) {
        Ok(()) => {
            String::from_utf8_lossy(reply.bytes()).replace("\r\n", " ").trim_end().to_string()
        }
        Err(failure) => format!("-{}", String::from_utf8_lossy(&failure.text)),
    }
}

fn run(source: &str) -> String {
    run_on(&mut engine(), &mut Notes::default(), source)
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    let mut engine = engine();
    for (source, expected) in table {
        let got = run_on(&mut engine, &mut Notes::default(), source);
        assert_eq!(got, *expected, "{source}");
    }
}

mod behaviour;
mod hostile;
