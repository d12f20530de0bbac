//! Tests of the machine as a whole, driven by hand: one sentinel, and a test that plays everybody
//! else. Groups of sentinels are tested in the `sim` crate.

mod commands;
mod conf;
mod garbage;
mod links;
mod poverty;
mod views;

use std::net::IpAddr;

use resp::{Decoded, Decoder, Limits, Protocol, Reply};
use stdx::{MonoMs, UnixMs};

use crate::{
    CommandOutcome, ConnId, Input, LinkPurpose, Now, Options, Output, Sentinel, SentinelConf,
};

pub(crate) const MYID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const PEER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// One sentinel and all that it has asked for.
pub(crate) struct Bench {
    pub sentinel: Sentinel,
    pub now: u64,
    pub outputs: Vec<Output>,
    /// Writes are answered at once.
    pub disk_works: bool,
}

impl Bench {
    pub fn new(conf: &str) -> Bench {
        let conf = SentinelConf::parse(conf.as_bytes()).unwrap();
        let options = Options {
            myid: MYID.to_string(),
            seed: 1,
            port: 26379,
            requirepass: None,
            script_is_executable: |path| path.starts_with("/bin/"),
        };
        let now = 1000;
        let sentinel = Sentinel::new(at(now), conf, options);
        let mut bench = Bench { sentinel, now, outputs: Vec::new(), disk_works: true };
        bench.drain();
        bench
    }

    /// One master at 10.0.0.1 and the state of a sentinel that has run before.
    pub fn simple() -> Bench {
        Bench::new(&format!(
            "sentinel monitor mymaster 10.0.0.1 6379 2\n\
             sentinel down-after-milliseconds mymaster 1000\nsentinel myid {MYID}\n"
        ))
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.sentinel.poll_output() {
            let token = match &output {
                Output::Persist { token, .. } if self.disk_works => Some(*token),
                _ => None,
            };
            self.outputs.push(output);
            if let Some(token) = token {
                self.sentinel.handle_input(at(self.now), Input::Persisted { token });
            }
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.sentinel.handle_input(at(self.now), input);
        self.drain();
    }

    /// Lets time pass, calling the machine whenever it asks for it.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = self.sentinel.poll_timeout().0.clamp(self.now, end);
            if self.sentinel.poll_timeout().0 <= self.now {
                self.sentinel.handle_timeout(at(self.now));
                self.drain();
            }
        }
    }

    /// The newest connection that was opened to this address for this purpose.
    pub fn conn(&self, to: &str, wanted: LinkPurpose) -> ConnId {
        let found = self.outputs.iter().rev().find_map(|o| match o {
            Output::Connect { conn, addr, purpose }
                if addr.to_string() == to && *purpose == wanted =>
            {
                Some(*conn)
            }
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no connection to {to} was opened"))
    }

    /// Establishes the command connection to this address.
    pub fn connect(&mut self, to: &str) -> ConnId {
        let conn = self.conn(to, LinkPurpose::Command);
        self.establish(conn);
        conn
    }

    pub fn establish(&mut self, conn: ConnId) {
        let local: IpAddr = "10.0.1.1".parse().unwrap();
        self.input(Input::Connected { conn, local });
    }

    /// Commands written to a connection and not taken yet, in order.
    pub fn sent(&mut self, conn: ConnId) -> Vec<Vec<String>> {
        let mut bytes = Vec::new();
        self.outputs.retain(|o| match o {
            Output::Send { conn: to, bytes: more } if *to == conn => {
                bytes.extend_from_slice(more);
                false
            }
            _ => true,
        });
        let mut commands = Vec::new();
        while !bytes.is_empty() {
            let mut decoder = Decoder::new();
            let Ok(Decoded::Request { consumed }) = decoder.decode(&bytes, &Limits::default())
            else {
                panic!("the machine writes whole requests");
            };
            let args = decoder.args(&bytes);
            commands.push(args.iter().map(|a| String::from_utf8(a.to_vec()).unwrap()).collect());
            bytes.drain(..consumed);
        }
        commands
    }

    pub fn reply(&mut self, conn: ConnId, bytes: &str) {
        self.input(Input::Received { conn, bytes: bytes.as_bytes() });
    }

    /// Answers everything that a data node was asked on this connection.
    pub fn serve(&mut self, conn: ConnId, info: &str) {
        for command in self.sent(conn) {
            let reply = match command[0].as_str() {
                "PING" => "+PONG\r\n".to_string(),
                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                "PUBLISH" => ":1\r\n".to_string(),
                _ => "+OK\r\n".to_string(),
            };
            self.reply(conn, &reply);
        }
    }

    pub fn hello(&mut self, text: &str) {
        let reply = self.command(&["PUBLISH", "__sentinel__:hello", text]);
        assert_eq!(reply, ":1\r\n");
    }

    pub fn command(&mut self, words: &[&str]) -> String {
        self.command_in(Protocol::Resp2, words).0
    }

    pub fn command_in(&mut self, protocol: Protocol, words: &[&str]) -> (String, CommandOutcome) {
        let argv: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let mut reply = Reply::new(protocol);
        let outcome = self.sentinel.command(at(self.now), &argv, &mut reply);
        self.drain();
        (String::from_utf8(reply.into_bytes()).unwrap(), outcome)
    }

    /// Log lines so far.
    pub fn logged(&self) -> Vec<String> {
        self.outputs
            .iter()
            .filter_map(|o| match o {
                Output::Log { line, .. } => Some(line.clone()),
                _ => None,
            })
            .collect()
    }

    pub fn has_logged(&self, line: &str) -> bool {
        self.logged().iter().any(|l| l == line)
    }

    /// The newest text handed to the disk.
    pub fn file(&self) -> String {
        let text = self.outputs.iter().rev().find_map(|o| match o {
            Output::Persist { text, .. } => Some(String::from_utf8(text.clone()).unwrap()),
            _ => None,
        });
        text.unwrap()
    }
}

pub(crate) fn at(ms: u64) -> Now {
    Now { mono: MonoMs(ms), unix: UnixMs(1_700_000_000_000 + ms as i64) }
}
