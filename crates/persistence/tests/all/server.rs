//! A real redis-server beside the tests, where one is installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::model::Model;

/// A reply of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Status(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    pub fn bulk(self) -> Vec<u8> {
        match self {
            Reply::Bulk(bytes) => bytes,
            other => panic!("a bulk string expected, not {other:?}"),
        }
    }

    pub fn bulks(self) -> Vec<Vec<u8>> {
        match self {
            Reply::Array(all) => all.into_iter().map(Reply::bulk).collect(),
            other => panic!("an array expected, not {other:?}"),
        }
    }
}

/// A server in a folder of its own, and a connection to it. Ends with the value.
pub struct RealServer {
    child: Child,
    link: BufReader<TcpStream>,
    pub dir: tempfile::TempDir,
}

impl RealServer {
    /// Starts a server with `dump` as its file. `None`, with the reason printed, if no
    /// redis-server is installed.
    pub fn start(dump: Option<&[u8]>, arguments: &[&str]) -> Option<RealServer> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(bytes) = dump {
            std::fs::write(dir.path().join("dump.rdb"), bytes).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spawned = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                eprintln!("SKIPPED: can't start redis-server ({error}); install it to compare");
                return None;
            }
        };
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(25));
            if let Some(status) = child.try_wait().unwrap() {
                panic!("redis-server ended at once: {status}; does it refuse the file?");
            }
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut server = RealServer { child, link: BufReader::new(stream), dir };
                while matches!(server.run(&[b"PING"]), Reply::Error(_)) {
                    std::thread::sleep(Duration::from_millis(25)); // Loading.
                }
                return Some(server);
            }
        }
        child.kill().unwrap();
        panic!("redis-server does not listen");
    }

    /// Runs one command.
    pub fn run(&mut self, command: &[&[u8]]) -> Reply {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.link.get_mut().write_all(&bytes).unwrap();
        self.reply()
    }

    /// Runs a command given as text without blanks inside its words; no error may come.
    pub fn text(&mut self, command: &str) -> Reply {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let reply = self.run(&words);
        assert!(!matches!(reply, Reply::Error(_)), "{command}: {reply:?}");
        reply
    }

    /// Makes `key` hold `value`.
    pub fn store(&mut self, key: &[u8], value: &Model) {
        for command in value.commands(key) {
            let command: Vec<&[u8]> = command.iter().map(|part| &part[..]).collect();
            let reply = self.run(&command);
            assert!(!matches!(reply, Reply::Error(_)), "{command:?}: {reply:?}");
        }
    }

    /// What `key` holds, read by ordinary commands.
    pub fn content(&mut self, key: &[u8]) -> Model {
        let Reply::Status(kind) = self.run(&[b"TYPE", key]) else { panic!("a type expected") };
        let pairs = |all: Vec<Vec<u8>>| -> Vec<(Vec<u8>, Vec<u8>)> {
            all.chunks(2).map(|p| (p[0].clone(), p[1].clone())).collect()
        };
        match &kind[..] {
            "string" => Model::Str(self.run(&[b"GET", key]).bulk()),
            "list" => Model::List(self.run(&[b"LRANGE", key, b"0", b"-1"]).bulks()),
            "set" => Model::Set(self.run(&[b"SMEMBERS", key]).bulks().into_iter().collect()),
            "hash" => {
                Model::Hash(pairs(self.run(&[b"HGETALL", key]).bulks()).into_iter().collect())
            }
            "zset" => {
                let all = self.run(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]).bulks();
                let pairs = pairs(all).into_iter();
                let score = |text: Vec<u8>| stdx::parse_f64(&text).unwrap().to_bits();
                Model::Zset(pairs.map(|(member, text)| (member, score(text))).collect())
            }
            "stream" => {
                let Reply::Array(entries) = self.run(&[b"XRANGE", key, b"-", b"+"]) else {
                    panic!("entries expected")
                };
                let entry = |entry| match entry {
                    Reply::Array(parts) => {
                        let mut parts = parts.into_iter();
                        let id = parts.next().expect("an ID").bulk();
                        (id, parts.next().expect("fields").bulks())
                    }
                    other => panic!("{other:?}"),
                };
                Model::Stream(entries.into_iter().map(entry).collect())
            }
            other => panic!("type {other} of {key:?}"),
        }
    }

    /// SAVE, and the file.
    pub fn save(&mut self) -> Vec<u8> {
        self.text("SAVE");
        read_file(&self.dir.path().join("dump.rdb"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.link.read_line(&mut line).expect("a reply within the time-out");
        line.trim_end().to_string()
    }

    fn reply(&mut self) -> Reply {
        let line = self.line();
        let rest = line.get(1..).unwrap_or_default().to_string();
        match line.as_bytes().first() {
            Some(b'+') => Reply::Status(rest),
            Some(b'-') => Reply::Error(rest),
            Some(b':') => Reply::Int(rest.parse().unwrap()),
            Some(b'$') if rest == "-1" => Reply::Null,
            Some(b'$') => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.link.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            Some(b'*') => Reply::Array((0..rest.parse().unwrap()).map(|_| self.reply()).collect()),
            _ => panic!("no reply: {line:?}"),
        }
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn read_file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
