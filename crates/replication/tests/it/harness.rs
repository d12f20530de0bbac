//! A little stage for the machines: commands in, outputs sorted by kind.

use std::sync::Arc;

use replication::{
    Chunk, ConnId, Cursor, JobId, Log, LogLine, MasterInput, MasterOptions, MasterOutput,
    MasterSide, ReplId, ReplicaInput, ReplicaLink, ReplicaOptions, ReplicaOutput, Transport,
    Watermarks,
};
use resp::OwnedArgs;
use stdx::{MonoMs, Prng};

/// An encoded command.
pub fn command(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    resp::encode_command(&mut out, args);
    out
}

pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'")
}

pub fn id(digit: char) -> ReplId {
    ReplId::parse(digit.to_string().repeat(40).as_bytes()).unwrap()
}

/// Everything from a cursor to the end, and the cursor moved there.
pub fn drain(log: &Log, cursor: &mut Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let mut chunks: Vec<Chunk> = Vec::new();
        let bytes = log.read(cursor, 1 << 20, &mut chunks).unwrap();
        if bytes == 0 {
            return out;
        }
        for chunk in chunks {
            out.extend_from_slice(&chunk);
        }
        cursor.advance(bytes);
    }
}

pub struct Master {
    pub now: MonoMs,
    pub log: Arc<Log>,
    pub side: MasterSide,
    pub lines: Vec<LogLine>,
}

impl Master {
    pub fn new(options: MasterOptions) -> Master {
        let now = MonoMs(1_000_000);
        let log = Arc::new(Log::new(id('a'), 1 << 20));
        let marks = Arc::new(Watermarks::new());
        let side = MasterSide::new(now, Arc::clone(&log), marks, options, Prng::new(7));
        Master { now, log, side, lines: Vec::new() }
    }

    /// Outputs so far; log lines are put aside.
    pub fn outputs(&mut self) -> Vec<MasterOutput> {
        let mut outputs = Vec::new();
        while let Some(output) = self.side.poll_output() {
            match output {
                MasterOutput::Log(line) => self.lines.push(line),
                output => outputs.push(output),
            }
        }
        outputs
    }

    pub fn input(&mut self, input: MasterInput<'_>) -> Vec<MasterOutput> {
        self.side.handle_input(self.now, input);
        self.outputs()
    }

    /// One command from a connection at 10.0.0.<conn>.
    pub fn say(&mut self, conn: u64, args: &[&str]) -> Vec<MasterOutput> {
        let owned = OwnedArgs::from_parts(args);
        let (conn, peer_ip) = (ConnId(conn), format!("10.0.0.{conn}"));
        let (peer_ip, args) = (peer_ip.as_str(), owned.as_args());
        let input = match args.at(0) {
            b"REPLCONF" => MasterInput::Replconf { conn, peer_ip, args },
            _ => MasterInput::Sync { conn, peer_ip, args, pending_output: false },
        };
        self.input(input)
    }

    /// The bytes that one command is answered with.
    pub fn ask(&mut self, conn: u64, args: &[&str]) -> String {
        sent(&self.say(conn, args))
    }

    /// Lets time pass, timers firing when they are due.
    pub fn pass(&mut self, ms: u64) -> Vec<MasterOutput> {
        let until = self.now + ms;
        let mut outputs = Vec::new();
        while let Some(due) = self.side.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.side.handle_timeout(self.now);
            outputs.extend(self.outputs());
        }
        self.now = until;
        outputs
    }

    /// A modern replica's handshake up to PSYNC; returns what PSYNC gave.
    pub fn handshake(&mut self, conn: u64, replid: &str, offset: &str) -> Vec<MasterOutput> {
        let port = (7000 + conn).to_string();
        assert_eq!(self.ask(conn, &["REPLCONF", "listening-port", &port]), "+OK\\r\\n");
        let capa = ["REPLCONF", "capa", "eof", "capa", "psync2"];
        assert_eq!(self.ask(conn, &capa), "+OK\\r\\n");
        self.say(conn, &["PSYNC", replid, offset])
    }

    /// Starts the snapshot that was asked for.
    pub fn start_snapshot(&mut self, job: JobId) -> Vec<MasterOutput> {
        let mark = self.log.mark_snapshot(true);
        self.input(MasterInput::SnapshotStarted { job, mark })
    }

    /// A whole diskless full synchronization; returns the stream's cursor.
    pub fn full_sync(&mut self, conn: u64) -> Cursor {
        let mut outputs = self.handshake(conn, "?", "-1");
        if outputs.is_empty() {
            outputs = self.pass(60_000);
        }
        let job = snapshot_asked(&outputs).expect("a snapshot is asked for").0;
        self.start_snapshot(job);
        self.input(MasterInput::SnapshotEnded { job, length: Some(100) });
        assert!(self.input(MasterInput::TransferDone { conn: ConnId(conn) }).is_empty());
        streamed(self.say(conn, &["REPLCONF", "ACK", "0"])).expect("the ACK starts the stream")
    }

    pub fn info(&self) -> String {
        let mut lines = String::new();
        let settings = replication::InfoSettings {
            replica_priority: 100,
            replica_read_only: true,
            replica_announced: true,
            came_back_empty: false,
            min_replicas: None,
        };
        let link = ReplicaLink::new(Arc::clone(&self.log), ReplicaOptions::default(), Prng::new(1));
        lines.push_str(&replication::info_section(
            self.now, &settings, &self.log, &link, &self.side, None,
        ));
        lines
    }

    /// Takes the log lines so far, each with its level's sign.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.drain(..).map(|l| line_text(&l)).collect()
    }
}

pub fn line_text(line: &LogLine) -> String {
    use replication::LogLevel::{Debug, Notice, Verbose, Warning};
    let sign = match line.level {
        Debug => '.',
        Verbose => '-',
        Notice => '*',
        Warning => '#',
    };
    format!("{sign} {}", line.text)
}

pub fn sent(outputs: &[MasterOutput]) -> String {
    let mut all = Vec::new();
    for output in outputs {
        if let MasterOutput::Send { bytes, .. } = output {
            all.extend_from_slice(bytes);
        }
    }
    text(&all)
}

pub fn snapshot_asked(outputs: &[MasterOutput]) -> Option<(JobId, Transport, Vec<ConnId>)> {
    outputs.iter().find_map(|o| match o {
        MasterOutput::StartSnapshot { job, transport, conns, .. } => {
            Some((*job, *transport, conns.clone()))
        }
        _ => None,
    })
}

pub fn streamed(outputs: Vec<MasterOutput>) -> Option<Cursor> {
    outputs.into_iter().find_map(|o| match o {
        MasterOutput::Stream { cursor, .. } => Some(cursor),
        _ => None,
    })
}

pub fn closed(outputs: &[MasterOutput]) -> Vec<u64> {
    let ids = outputs.iter().filter_map(|o| match o {
        MasterOutput::Close { conn } => Some(conn.0),
        _ => None,
    });
    ids.collect()
}

pub struct Replica {
    pub now: MonoMs,
    pub log: Arc<Log>,
    pub link: ReplicaLink,
    pub lines: Vec<LogLine>,
}

impl Replica {
    pub fn new(options: ReplicaOptions) -> Replica {
        let log = Arc::new(Log::new(id('e'), 1 << 20));
        let link = ReplicaLink::new(Arc::clone(&log), options, Prng::new(9));
        Replica { now: MonoMs(2_000_000), log, link, lines: Vec::new() }
    }

    pub fn outputs(&mut self) -> Vec<ReplicaOutput> {
        let mut outputs = Vec::new();
        while let Some(output) = self.link.poll_output() {
            match output {
                ReplicaOutput::Log(line) => self.lines.push(line),
                output => outputs.push(output),
            }
        }
        outputs
    }

    pub fn input(&mut self, input: ReplicaInput<'_>) -> Vec<ReplicaOutput> {
        self.link.handle_input(self.now, input);
        self.outputs()
    }

    pub fn replicaof(&mut self) -> Vec<ReplicaOutput> {
        self.link.replicaof(self.now, "10.0.0.1", 6379, "test");
        self.outputs()
    }

    pub fn connected(&mut self) -> String {
        let link = self.link.link();
        says(&self.input(ReplicaInput::Connected { link }))
    }

    pub fn hear(&mut self, bytes: &[u8]) -> Vec<ReplicaOutput> {
        let link = self.link.link();
        self.input(ReplicaInput::Data { link, bytes })
    }

    pub fn lose(&mut self) -> Vec<ReplicaOutput> {
        let link = self.link.link();
        self.input(ReplicaInput::Closed { link, error: "" })
    }

    /// From REPLICAOF to the question that PSYNC asks.
    pub fn up_to_psync(&mut self) -> String {
        assert_eq!(self.connected(), "*1\\r\\n$4\\r\\nPING\\r\\n");
        self.hear(b"+PONG\r\n");
        says(&self.hear(b"+OK\r\n+OK\r\n"))
    }

    pub fn load(&mut self) -> Vec<ReplicaOutput> {
        let link = self.link.link();
        let mut outputs = self.input(ReplicaInput::LoadStarted { link });
        outputs.extend(self.input(ReplicaInput::LoadFinished { link, ok: true, stream_db: 0 }));
        outputs
    }

    pub fn pass(&mut self, ms: u64) -> Vec<ReplicaOutput> {
        let until = self.now + ms;
        let mut outputs = Vec::new();
        while let Some(due) = self.link.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.link.handle_timeout(self.now);
            outputs.extend(self.outputs());
        }
        self.now = until;
        outputs
    }

    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.drain(..).map(|l| line_text(&l)).collect()
    }
}

/// What a replica sends.
pub fn says(outputs: &[ReplicaOutput]) -> String {
    let mut all = Vec::new();
    for output in outputs {
        if let ReplicaOutput::Send { bytes, .. } = output {
            all.extend_from_slice(bytes);
        }
    }
    text(&all)
}

/// What a replica gives the node to apply.
pub fn stream_bytes(outputs: &[ReplicaOutput]) -> Vec<u8> {
    let mut all = Vec::new();
    for output in outputs {
        if let ReplicaOutput::Stream { bytes, .. } = output {
            all.extend_from_slice(bytes);
        }
    }
    all
}
