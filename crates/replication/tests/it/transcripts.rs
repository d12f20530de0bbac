//! The machines against bytes of real servers (`testdata/`): each machine plays one side and must
//! say what the real one said.

use std::collections::VecDeque;

use replication::{
    AppendRecord, ConnId, Cursor, MasterInput, MasterOptions, MasterOutput, Part, ReplicaInput,
    ReplicaOptions, ReplicaOutput,
};
use resp::{Decoded, Decoder, Limits, OwnedArgs};

use crate::harness::{Master, Replica, command, drain, text};

/// One line of a transcript.
enum Step {
    Connect,
    Cut,
    End,
    Replica(Vec<u8>),
    Master(Vec<u8>),
    Append(u32, Vec<Vec<u8>>),
    GetAck,
}

fn parse(script: &str) -> Vec<Step> {
    let lines = script.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|line| {
            let words = resp::split_args(line.as_bytes()).unwrap();
            match words[0].as_slice() {
                b"connect" => Step::Connect,
                b"cut" => Step::Cut,
                b"end" => Step::End,
                b"getack" => Step::GetAck,
                b"replica" => Step::Replica(words[1].clone()),
                b"master" => Step::Master(words[1].clone()),
                b"append" => {
                    Step::Append(stdx::parse_u64(&words[1]).unwrap() as u32, words[2..].to_vec())
                }
                other => panic!("{}", other.escape_ascii()),
            }
        })
        .collect()
}

/// Ids and marks are random: forty hexadecimal digits become forty `h`.
fn without_ids(bytes: &[u8]) -> String {
    let mut out = bytes.to_vec();
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let mut at = 0;
    while at + 40 <= out.len() {
        if out[at..at + 40].iter().all(hex) {
            out[at..at + 40].fill(b'h');
            at += 40;
        } else {
            at += 1;
        }
    }
    text(&out)
}

fn commands(bytes: &[u8]) -> Vec<(OwnedArgs, Vec<u8>)> {
    let mut decoder = Decoder::new();
    let (mut at, mut all) = (0, Vec::new());
    while at < bytes.len() {
        match decoder.decode(&bytes[at..], &Limits::default()).unwrap() {
            Decoded::Request { consumed } => {
                let args = decoder.args(&bytes[at..]).to_owned_args();
                all.push((args, bytes[at..at + consumed].to_vec()));
                at += consumed;
            }
            Decoded::Nothing { consumed } => at += consumed,
            Decoded::Incomplete { .. } => panic!("a transcript cuts no command"),
        }
    }
    all
}

/// The RDB within what a real master sent.
fn rdb_of(script: &[Step]) -> Vec<u8> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    for step in script {
        if let Step::Master(bytes) = step
            && let Some(start) = find(bytes, b"REDIS0")
        {
            let end = if find(bytes, b"$EOF:").is_some() { bytes.len() - 40 } else { bytes.len() };
            return bytes[start..end].to_vec();
        }
    }
    panic!("no RDB in the transcript");
}

/// Our master beside the real replica's bytes.
struct MasterPlay {
    master: Master,
    rdb: Vec<u8>,
    conn: u64,
    stream: Option<Cursor>,
    said: Vec<u8>,
    password: bool,
}

impl MasterPlay {
    fn hear(&mut self, bytes: &[u8]) {
        for (args, _) in commands(bytes) {
            let words: Vec<String> =
                args.as_args().iter().map(|a| String::from_utf8(a.to_vec()).unwrap()).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[0] {
                // The node answers these.
                "PING" if self.password => {
                    self.said.extend_from_slice(b"-NOAUTH Authentication required.\r\n");
                }
                "PING" => self.said.extend_from_slice(b"+PONG\r\n"),
                "AUTH" => self.said.extend_from_slice(b"+OK\r\n"),
                _ => {
                    let outputs = self.master.say(self.conn, &words);
                    self.obey(outputs);
                }
            }
        }
        self.flush();
    }

    fn obey(&mut self, outputs: Vec<MasterOutput>) {
        let mut todo = VecDeque::from(outputs);
        while let Some(output) = todo.pop_front() {
            match output {
                MasterOutput::Send { bytes, .. } => self.said.extend_from_slice(&bytes),
                MasterOutput::StartSnapshot { job, .. } => {
                    todo.extend(self.master.start_snapshot(job));
                    let length = Some(self.rdb.len() as u64);
                    todo.extend(self.master.input(MasterInput::SnapshotEnded { job, length }));
                }
                MasterOutput::Transfer { conn, header, trailer, .. } => {
                    self.said.extend_from_slice(&[header, self.rdb.clone(), trailer].concat());
                    todo.extend(self.master.input(MasterInput::TransferDone { conn }));
                }
                MasterOutput::Stream { cursor, .. } => self.stream = Some(cursor),
                other => panic!("{other:?}"),
            }
        }
    }

    fn flush(&mut self) {
        if let Some(cursor) = &mut self.stream {
            let bytes = drain(&self.master.log, cursor);
            self.said.extend_from_slice(&bytes);
        }
    }

    fn append(&mut self, db: u32, parts: &[Vec<u8>]) {
        let bytes = parts.concat();
        let parts = [Part::new(db, &bytes, parts.len() as u32)];
        self.master.log.append(&AppendRecord::new(&parts));
        self.flush();
    }
}

fn play_master(script: &str, options: MasterOptions) {
    let steps = parse(script);
    let mut play = MasterPlay {
        master: Master::new(options),
        rdb: rdb_of(&steps),
        conn: 0,
        stream: None,
        said: Vec::new(),
        password: script.contains("NOAUTH"),
    };
    let mut real = Vec::new();
    // The real master's id, once told, stands for ours in the replica's PSYNC.
    for step in &steps {
        play.master.pass(1);
        match step {
            Step::Connect => play.conn += 1,
            Step::Replica(bytes) => {
                let ours = play.master.log.ids().replid;
                let shown = String::from_utf8(bytes.clone()).unwrap();
                let shown = match shown.split_once("PSYNC\r\n$40\r\n") {
                    Some((before, after)) if play.conn > 1 => {
                        format!("{before}PSYNC\r\n$40\r\n{ours}{}", &after[40..])
                    }
                    _ => shown,
                };
                play.hear(shown.as_bytes());
            }
            Step::Master(bytes) => real.extend_from_slice(bytes),
            Step::Append(db, parts) => play.append(*db, parts),
            Step::GetAck => {
                let outputs = play.master.input(MasterInput::RequestAcks);
                play.obey(outputs);
                play.flush();
            }
            Step::Cut => {
                let conn = ConnId(play.conn);
                let outputs = play.master.input(MasterInput::Closed { conn });
                play.obey(outputs);
                play.stream = None;
            }
            Step::End => {}
        }
    }
    assert_eq!(without_ids(&play.said), without_ids(&real));
    assert!(real.len() > 500, "the transcript is not empty");
    let end = play.master.log.offset();
    assert_eq!(play.master.side.watermarks().acked_by(1), end, "the replica's last ACK");
}

/// Our replica beside the real master's bytes.
struct ReplicaPlay {
    replica: Replica,
    said: Vec<u8>,
    acks: Vec<u64>,
    rdb: Vec<u8>,
    applied: Vec<u8>,
}

impl ReplicaPlay {
    fn obey(&mut self, outputs: Vec<ReplicaOutput>) {
        let mut todo = VecDeque::from(outputs);
        while let Some(output) = todo.pop_front() {
            match output {
                ReplicaOutput::Send { bytes, .. } => self.sent(&bytes),
                ReplicaOutput::RdbBytes { bytes, .. } => self.rdb.extend_from_slice(&bytes),
                ReplicaOutput::RdbEnd { .. } => todo.extend(self.replica.load()),
                ReplicaOutput::Stream { bytes, .. } => {
                    for (args, raw) in commands(&bytes) {
                        self.replica.log.append_verbatim(&raw, 0, &[]);
                        self.applied.extend_from_slice(&raw);
                        if args.as_args().is(1, "getack") {
                            todo.extend(self.replica.input(ReplicaInput::AckRequested));
                        }
                    }
                }
                ReplicaOutput::Connect { .. }
                | ReplicaOutput::Close { .. }
                | ReplicaOutput::RdbBegin { .. }
                | ReplicaOutput::StreamBegin { .. }
                | ReplicaOutput::DropReplicas => {}
                ReplicaOutput::FailoverDone
                | ReplicaOutput::FailoverFailed { .. }
                | ReplicaOutput::Inspect { .. } => {
                    unreachable!("no script has these")
                }
                ReplicaOutput::Log(_) => unreachable!("put aside by the stage"),
            }
        }
    }

    /// ACKs depend on the clock; they are looked at apart.
    fn sent(&mut self, bytes: &[u8]) {
        let start = b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n";
        if bytes.starts_with(start) {
            for (args, _) in commands(bytes) {
                self.acks.push(stdx::parse_u64(args.as_args().at(2)).unwrap());
            }
        } else {
            self.said.extend_from_slice(bytes);
        }
    }
}

fn play_replica(script: &str, options: ReplicaOptions) {
    let steps = parse(script);
    let mut play = ReplicaPlay {
        replica: Replica::new(options),
        said: Vec::new(),
        acks: Vec::new(),
        rdb: Vec::new(),
        applied: Vec::new(),
    };
    let mut real = ReplicaPlay {
        replica: Replica::new(ReplicaOptions::default()),
        said: Vec::new(),
        acks: Vec::new(),
        rdb: rdb_of(&steps),
        applied: Vec::new(),
    };
    let outputs = play.replica.replicaof();
    play.obey(outputs);
    for step in &steps {
        match step {
            Step::Connect => {
                let link = play.replica.link.link();
                let outputs = play.replica.input(ReplicaInput::Connected { link });
                play.obey(outputs);
            }
            Step::Cut => {
                let outputs = play.replica.lose();
                play.obey(outputs);
            }
            Step::Master(bytes) => {
                // Cut into two pieces, to have both halves of everything.
                let (a, b) = bytes.split_at(bytes.len() / 2);
                let (a, b) = if bytes.windows(4).any(|w| w == b"$EOF") {
                    (a, b)
                } else {
                    (bytes.as_slice(), &[][..])
                };
                let outputs = play.replica.hear(a);
                play.obey(outputs);
                let outputs = play.replica.hear(b);
                play.obey(outputs);
            }
            Step::Replica(bytes) => {
                for (_, raw) in commands(bytes) {
                    real.sent(&raw);
                }
            }
            Step::Append(..) | Step::GetAck | Step::End => {}
        }
    }
    let outputs = play.replica.pass(1000);
    play.obey(outputs);
    // It announces one capability more: the RDB version that it reads.
    let shown = |args: &[&str]| without_ids(&command(args));
    let ours = without_ids(&play.said).replace(
        &shown(&["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "rdb12"]),
        &shown(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
    );
    assert_eq!(ours, without_ids(&real.said));
    assert_eq!(play.rdb, real.rdb);
    assert_eq!(play.acks.last(), real.acks.last(), "the same position at the end");
    assert_eq!(play.replica.log.offset(), play.applied.len() as u64);
    assert!(play.applied.ends_with(&command(&["SET", "after", "5"])));
}

const DISKLESS: &str = include_str!("testdata/diskless.txt");
const DISK: &str = include_str!("testdata/disk.txt");

#[test]
fn our_master_says_what_a_real_one_says() {
    let options = MasterOptions { diskless_sync_delay_ms: 0, ..MasterOptions::default() };
    play_master(DISKLESS, options.clone());
    play_master(DISK, MasterOptions { diskless_sync: false, ..options });
}

#[test]
fn our_replica_says_what_a_real_one_says() {
    let password = ReplicaOptions {
        listening_port: 24852,
        masterauth: Some(b"secret".to_vec()),
        ..ReplicaOptions::default()
    };
    play_replica(DISKLESS, password);
    let announced = ReplicaOptions {
        listening_port: 7001,
        announce_ip: Some("10.1.2.3".to_owned()),
        ..ReplicaOptions::default()
    };
    play_replica(DISK, announced);
}
