//! Nodes that replicate from each other through byte pipes which are slow, cut at random places,
//! and change their direction when roles change. Seeded: a failing seed replays.
//!
//! Each node's data is the list of writes that it has seen, so that a lost, doubled, reordered or
//! misplaced (wrong database) write shows. In the end all must hold the master's list.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use replication::{
    AppendRecord, Chunk, ConnId, Cursor, JobId, LinkId, LinkState, Log, MasterInput, MasterOptions,
    MasterOutput, MasterSide, OutputLimit, Part, ReplId, ReplicaInput, ReplicaLink, ReplicaOptions,
    ReplicaOutput, SnapshotMark, Transport, Watermarks,
};
use resp::{Decoded, Decoder, Limits, OwnedArgs};
use stdx::{MonoMs, Prng};

use crate::harness::command;

type Data = Vec<(u32, u64)>;

fn encode_rdb(data: &Data, stream_db: u32) -> Vec<u8> {
    let mut out = stream_db.to_le_bytes().to_vec();
    for (db, key) in data {
        out.extend_from_slice(&db.to_le_bytes());
        out.extend_from_slice(&key.to_le_bytes());
    }
    out
}

fn decode_rdb(bytes: &[u8]) -> (Data, u32) {
    let db = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let key = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(bytes.len() % 12, 4, "the RDB came whole");
    let data = (4..bytes.len()).step_by(12).map(|at| (db(at), key(at + 4))).collect();
    (data, db(0))
}

/// Applies a master's stream: what a node does with `Stream` bytes.
#[derive(Default)]
struct Session {
    buffer: Vec<u8>,
    selected: u32,
    transaction: Option<Data>,
}

/// A snapshot that is being made: asked for, marked, told to the machine, ended.
struct Making {
    told: bool,
    mark: Option<SnapshotMark>,
    rdb: Vec<u8>,
    transport: Transport,
}

/// One replica's connection, at its master.
#[derive(Default)]
struct Serving {
    outbox: VecDeque<u8>,
    /// Diskless: what is still to come when the snapshot ends.
    transfer: Option<(JobId, Vec<u8>)>,
    transfer_ends: bool,
    cursor: Option<Cursor>,
    inbox: Vec<u8>,
}

struct Node {
    log: Arc<Log>,
    side: MasterSide,
    link: ReplicaLink,
    data: Data,
    session: Session,
    serving: BTreeMap<ConnId, Serving>,
    making: BTreeMap<JobId, Making>,
    /// RDBs that are ready to be sent in the disk form.
    ready: BTreeMap<JobId, Vec<u8>>,
    incoming: Vec<u8>,
    /// An RDB that is here whole, and whether the old data is gone already.
    loading: Option<(LinkId, bool)>,
    partial: u64,
    full: u64,
    id_changes: u64,
}

/// A connection between a replica's link and a master's side.
struct Pipe {
    replica: usize,
    link: LinkId,
    master: usize,
    conn: ConnId,
    to_replica: VecDeque<u8>,
    to_master: VecDeque<u8>,
}

struct World {
    prng: Prng,
    now: MonoMs,
    nodes: Vec<Node>,
    pipes: Vec<Pipe>,
    conns: u64,
    keys: u64,
}

impl World {
    fn new(seed: u64, nodes: usize) -> World {
        let mut prng = Prng::new(seed);
        let now = MonoMs(10_000);
        let nodes = (0..nodes).map(|_| Node::new(&mut prng, now)).collect();
        World { prng, now, nodes, pipes: Vec::new(), conns: 0, keys: 0 }
    }

    fn write(&mut self, node: usize) {
        if self.nodes[node].link.master().is_some() {
            return;
        }
        let count = if self.prng.chance(20) { self.prng.between(2, 4) } else { 1 };
        let padding = if self.prng.chance(5) { 40_000 } else { self.prng.below(200) as usize };
        let padding = "p".repeat(padding);
        let mut parts = Vec::new();
        for _ in 0..count {
            self.keys += 1;
            let db = self.prng.below(3) as u32;
            parts.push((db, self.keys, command(&["SET", &self.keys.to_string(), &padding])));
        }
        let node = &mut self.nodes[node];
        node.data.extend(parts.iter().map(|(db, key, _)| (*db, *key)));
        let parts: Vec<Part<'_>> = parts.iter().map(|(db, _, b)| Part::new(*db, b, 1)).collect();
        node.log.append(&AppendRecord::new(&parts));
    }

    /// Carries out what node `at` wants, until it wants nothing more.
    fn settle(&mut self, at: usize) {
        loop {
            let upstream = self.nodes[at].link.upstream();
            self.nodes[at].side.set_upstream(self.now, upstream);
            if let Some(output) = self.nodes[at].link.poll_output() {
                self.obey_link(at, output);
            } else if let Some(output) = self.nodes[at].side.poll_output() {
                self.obey_side(at, output);
            } else {
                return;
            }
        }
    }

    fn obey_link(&mut self, at: usize, output: ReplicaOutput) {
        let now = self.now;
        match output {
            ReplicaOutput::Connect { link, host, .. } => {
                self.conns += 1;
                let (conn, master) = (ConnId(self.conns), host.parse::<usize>().unwrap());
                self.nodes[master].serving.insert(conn, Serving::default());
                let (to_replica, to_master) = (VecDeque::new(), VecDeque::new());
                self.pipes.push(Pipe { replica: at, link, master, conn, to_replica, to_master });
                self.nodes[at].link.handle_input(now, ReplicaInput::Connected { link });
            }
            ReplicaOutput::Send { link, bytes } => {
                let pipe = self.pipes.iter_mut().find(|p| p.replica == at && p.link == link);
                if let Some(pipe) = pipe {
                    pipe.to_master.extend(bytes);
                }
            }
            ReplicaOutput::Close { link } => {
                // What is half loaded stays so: nothing.
                self.nodes[at].loading.take_if(|(l, _)| *l == link);
                let pipe = self.pipes.iter().position(|p| p.replica == at && p.link == link);
                if let Some(pipe) = pipe {
                    self.cut(pipe);
                }
            }
            ReplicaOutput::RdbBegin { .. } => self.nodes[at].incoming.clear(),
            ReplicaOutput::RdbBytes { bytes, .. } => self.nodes[at].incoming.extend(bytes),
            ReplicaOutput::RdbEnd { link } => {
                self.nodes[at].loading = Some((link, false));
            }
            ReplicaOutput::StreamBegin { full, .. } => {
                let node = &mut self.nodes[at];
                node.session.buffer.clear();
                node.session.transaction = None;
                if full {
                    node.full += 1;
                } else {
                    node.partial += 1;
                }
            }
            ReplicaOutput::Stream { bytes, .. } => self.nodes[at].apply(now, &bytes),
            ReplicaOutput::DropReplicas => {
                self.nodes[at].side.handle_input(now, MasterInput::DropReplicas);
            }
            ReplicaOutput::Inspect { link } => {
                let inspected = ReplicaInput::Inspected {
                    link,
                    incoming_empty: false,
                    own_keys: 1,
                    guarded: true,
                };
                self.nodes[at].link.handle_input(now, inspected);
            }
            ReplicaOutput::FailoverDone | ReplicaOutput::FailoverFailed { .. } => {
                unreachable!("nobody hands over here")
            }
            ReplicaOutput::Log(line) => {
                let changed = line.text.starts_with("Master replication ID changed");
                self.nodes[at].id_changes += u64::from(changed);
            }
        }
    }

    fn obey_side(&mut self, at: usize, output: MasterOutput) {
        let node = &mut self.nodes[at];
        match output {
            MasterOutput::Send { conn, bytes } => {
                if let Some(serving) = node.serving.get_mut(&conn) {
                    serving.outbox.extend(bytes);
                }
            }
            MasterOutput::StartSnapshot { job, transport, .. } => {
                node.making
                    .insert(job, Making { told: false, mark: None, rdb: Vec::new(), transport });
            }
            MasterOutput::AbortSnapshot { job } => {
                node.making.remove(&job);
                node.ready.remove(&job);
            }
            MasterOutput::Transfer { conn, job, header, trailer } => {
                let ready = node.ready.get(&job).cloned();
                if let Some(serving) = node.serving.get_mut(&conn) {
                    serving.outbox.extend(header);
                    match ready {
                        Some(rdb) => {
                            serving.outbox.extend(rdb);
                            serving.transfer_ends = true;
                        }
                        None => serving.transfer = Some((job, trailer)),
                    }
                }
            }
            MasterOutput::Stream { conn, cursor } => {
                if let Some(serving) = node.serving.get_mut(&conn) {
                    serving.cursor = Some(cursor);
                }
            }
            MasterOutput::Close { conn } => {
                let pipe = self.pipes.iter().position(|p| p.master == at && p.conn == conn);
                if let Some(pipe) = pipe {
                    self.cut(pipe);
                }
            }
            MasterOutput::Log(_) => {}
        }
    }

    /// Ends a connection; what is under way is lost.
    fn cut(&mut self, pipe: usize) {
        let pipe = self.pipes.swap_remove(pipe);
        let now = self.now;
        self.nodes[pipe.master].serving.remove(&pipe.conn);
        let closed = MasterInput::Closed { conn: pipe.conn };
        self.nodes[pipe.master].side.handle_input(now, closed);
        let closed = ReplicaInput::Closed { link: pipe.link, error: "" };
        self.nodes[pipe.replica].link.handle_input(now, closed);
    }

    /// A snapshot of some node begins or ends.
    fn snapshot_step(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Some((&job, making)) = node.making.iter_mut().next() else { return };
        if making.rdb.is_empty() {
            let mark = node.log.mark_snapshot(true);
            making.rdb = encode_rdb(&node.data, mark.stream_db.unwrap_or(0));
            making.mark = Some(mark);
            return;
        }
        if let Some(mark) = making.mark.take() {
            making.told = true;
            node.side.handle_input(now, MasterInput::SnapshotStarted { job, mark });
            return;
        }
        assert!(making.told);
        let Some(making) = node.making.remove(&job) else { return };
        let length = Some(making.rdb.len() as u64);
        if making.transport == Transport::Disk {
            node.ready.insert(job, making.rdb);
        } else {
            for serving in node.serving.values_mut() {
                if let Some((_, trailer)) = serving.transfer.take_if(|(j, _)| *j == job) {
                    serving.outbox.extend(&making.rdb);
                    serving.outbox.extend(trailer);
                    serving.transfer_ends = true;
                }
            }
        }
        node.side.handle_input(now, MasterInput::SnapshotEnded { job, length });
    }

    /// Moves some bytes along one pipe, either way.
    fn deliver(&mut self, index: usize, bytes_max: usize) {
        let now = self.now;
        let pipe = &mut self.pipes[index];
        let (replica, link, master, conn) = (pipe.replica, pipe.link, pipe.master, pipe.conn);
        let node = &mut self.nodes[master];
        if node.fill(now, conn, &mut pipe.to_replica, bytes_max) {
            return self.cut(index);
        }
        if self.nodes[replica].link.wants_read() {
            let count = bytes_max.min(pipe.to_replica.len());
            let bytes: Vec<u8> = pipe.to_replica.drain(..count).collect();
            let data = ReplicaInput::Data { link, bytes: &bytes };
            self.nodes[replica].link.handle_input(now, data);
        }
        let count = bytes_max.min(pipe.to_master.len());
        let bytes: Vec<u8> = pipe.to_master.drain(..count).collect();
        self.nodes[master].hear(now, conn, &bytes);
        self.settle(replica);
        self.settle(master);
    }

    fn advance(&mut self, ms: u64) {
        self.now = self.now + ms;
        for at in 0..self.nodes.len() {
            let now = self.now;
            if self.nodes[at].side.poll_timeout().is_some_and(|due| due <= now) {
                self.nodes[at].side.handle_timeout(now);
            }
            if self.nodes[at].link.poll_timeout().is_some_and(|due| due <= now) {
                self.nodes[at].link.handle_timeout(now);
            }
            self.settle(at);
        }
    }

    fn replicaof(&mut self, at: usize, master: usize) {
        self.nodes[at].link.replicaof(self.now, &master.to_string(), 1, "test");
        self.settle(at);
    }

    fn no_one(&mut self, at: usize) {
        self.nodes[at].link.replicaof_no_one("test");
        self.settle(at);
    }

    /// One random event.
    fn step(&mut self) {
        let nodes = self.nodes.len() as u64;
        let at = self.prng.below(nodes) as usize;
        match self.prng.below(1000) {
            0..150 => self.write(at),
            150..700 if !self.pipes.is_empty() => {
                let index = self.prng.below(self.pipes.len() as u64) as usize;
                let bytes = if self.prng.chance(30) { 1 + self.prng.below(30) } else { 1 << 20 };
                self.deliver(index, bytes as usize);
            }
            700..840 => self.snapshot_step(at),
            840..930 => self.nodes[at].load_step(self.now),
            930..980 => {
                let ms = self.prng.below(400);
                self.advance(ms);
            }
            980..988 if !self.pipes.is_empty() => {
                let index = self.prng.below(self.pipes.len() as u64) as usize;
                self.cut(index);
            }
            988..990 => self.no_one(at),
            990..993 => {
                let master = self.prng.below(nodes) as usize;
                if master != at {
                    self.replicaof(at, master);
                }
            }
            993 => self.nodes[at].log.set_backlog_size(self.prng.between(1, 200_000)),
            994 => self.nodes[at].side.handle_input(self.now, MasterInput::RequestAcks),
            _ => {}
        }
        for at in 0..self.nodes.len() {
            self.settle(at);
        }
    }

    /// After the storm: one master, chains allowed, time to recover.
    fn heal(&mut self, seed: u64) {
        let nodes = self.nodes.len();
        self.no_one(0);
        for at in 1..nodes {
            let master = if self.prng.chance(30) { at - 1 } else { 0 };
            self.replicaof(at, master);
        }
        for round in 0..4000 {
            if round < 50 {
                self.write(0);
            }
            self.advance(50);
            for at in 0..nodes {
                self.snapshot_step(at);
                self.nodes[at].load_step(self.now);
                self.settle(at);
            }
            for index in (0..self.pipes.len()).rev() {
                if index < self.pipes.len() {
                    self.deliver(index, 1 << 20);
                }
            }
            if round > 60 && self.agreed() {
                return;
            }
        }
        let states: Vec<_> =
            self.nodes.iter().map(|n| (n.link.link_state(), n.log.stats())).collect();
        panic!("seed {seed}: no agreement: {states:?}");
    }

    fn agreed(&self) -> bool {
        let master = &self.nodes[0];
        let offset = master.log.offset();
        self.nodes[1..].iter().all(|n| {
            n.link.link_state() == LinkState::Connected
                && n.log.offset() == offset
                && n.log.ids().replid == master.log.ids().replid
        })
    }
}

impl Node {
    fn new(prng: &mut Prng, now: MonoMs) -> Node {
        let seed = prng.next_u64();
        let log = Arc::new(Log::new(ReplId::generate(prng), prng.between(1, 200_000)));
        let options = MasterOptions {
            diskless_sync: prng.chance(60),
            diskless_sync_delay_ms: prng.below(2) * 300,
            diskless_sync_max_replicas: prng.below(3) as usize,
            ping_period_ms: prng.between(500, 10_000),
            timeout_ms: prng.between(5_000, 60_000),
            backlog_ttl_ms: prng.below(2) * 3_000,
            output_limit: OutputLimit {
                hard_bytes: if prng.chance(20) { 100_000 } else { 0 },
                soft_bytes: 50_000,
                soft_ms: 1000,
            },
            ..MasterOptions::default()
        };
        let marks = Arc::new(Watermarks::new());
        let side = MasterSide::new(now, Arc::clone(&log), marks, options, Prng::new(seed));
        let options = ReplicaOptions { timeout_ms: 20_000, ..ReplicaOptions::default() };
        let link = ReplicaLink::new(Arc::clone(&log), options, Prng::new(seed ^ 1));
        Node {
            log,
            side,
            link,
            data: Vec::new(),
            session: Session::default(),
            serving: BTreeMap::new(),
            making: BTreeMap::new(),
            ready: BTreeMap::new(),
            incoming: Vec::new(),
            loading: None,
            partial: 0,
            full: 0,
            id_changes: 0,
        }
    }

    /// Commands from a replica.
    fn hear(&mut self, now: MonoMs, conn: ConnId, bytes: &[u8]) {
        let Some(serving) = self.serving.get_mut(&conn) else { return };
        serving.inbox.extend_from_slice(bytes);
        let mut decoder = Decoder::new();
        loop {
            let Some(serving) = self.serving.get_mut(&conn) else { return };
            let inbox = serving.inbox.clone();
            match decoder.decode(&inbox, &Limits::default()).unwrap() {
                Decoded::Incomplete { .. } => return,
                Decoded::Nothing { consumed } => {
                    serving.inbox.drain(..consumed);
                    self.side.handle_input(now, MasterInput::Newline { conn });
                }
                Decoded::Request { consumed } => {
                    let args: OwnedArgs = decoder.args(&inbox).to_owned_args();
                    serving.inbox.drain(..consumed);
                    let (peer_ip, args) = ("10.0.0.1", args.as_args());
                    let input = match args.at(0) {
                        b"PING" => {
                            serving.outbox.extend(b"+PONG\r\n");
                            continue;
                        }
                        b"REPLCONF" => MasterInput::Replconf { conn, peer_ip, args },
                        _ => MasterInput::Sync { conn, peer_ip, args, pending_output: false },
                    };
                    self.side.handle_input(now, input);
                    // Replies go out in order.
                    return;
                }
            }
        }
    }

    /// Writes what is due for one replica into its pipe. True: the connection is of no more use.
    fn fill(&mut self, now: MonoMs, conn: ConnId, pipe: &mut VecDeque<u8>, max: usize) -> bool {
        let Some(serving) = self.serving.get_mut(&conn) else { return true };
        let count = max.min(serving.outbox.len());
        pipe.extend(serving.outbox.drain(..count));
        if !serving.outbox.is_empty() {
            return false;
        }
        if std::mem::take(&mut serving.transfer_ends) {
            self.side.handle_input(now, MasterInput::TransferDone { conn });
            return false;
        }
        if let Some(cursor) = &mut serving.cursor {
            let mut chunks: Vec<Chunk> = Vec::new();
            let Ok(bytes) = self.log.read(cursor, max, &mut chunks) else { return true };
            for chunk in &chunks {
                pipe.extend(chunk.iter());
            }
            cursor.advance(bytes);
        }
        false
    }

    fn load_step(&mut self, now: MonoMs) {
        let Some((link, flushed)) = &mut self.loading else { return };
        let link = *link;
        if !*flushed {
            *flushed = true;
            self.data.clear();
            return self.link.handle_input(now, ReplicaInput::LoadStarted { link });
        }
        self.loading = None;
        let (data, stream_db) = decode_rdb(&self.incoming);
        self.data = data;
        self.session = Session { selected: stream_db, ..Session::default() };
        let finished = ReplicaInput::LoadFinished { link, ok: true, stream_db };
        self.link.handle_input(now, finished);
    }

    /// Applies whole commands and transactions and copies their bytes into the log.
    fn apply(&mut self, now: MonoMs, bytes: &[u8]) {
        let session = &mut self.session;
        session.buffer.extend_from_slice(bytes);
        let (mut at, mut done, mut selected) = (0, 0, session.selected);
        loop {
            let mut decoder = Decoder::new();
            let rest = &session.buffer[at..];
            let Decoded::Request { consumed } = decoder.decode(rest, &Limits::default()).unwrap()
            else {
                break;
            };
            let args = decoder.args(rest);
            let number = |index: usize| stdx::parse_u64(args.at(index)).unwrap();
            let mut getack = false;
            match args.at(0) {
                b"SELECT" => session.selected = number(1) as u32,
                b"MULTI" => session.transaction = Some(Vec::new()),
                b"EXEC" => self.data.extend(session.transaction.take().unwrap()),
                b"SET" => {
                    let write = (session.selected, number(1));
                    session.transaction.as_mut().unwrap_or(&mut self.data).push(write);
                }
                b"REPLCONF" => getack = true,
                b"ping" => {}
                other => panic!("{}", other.escape_ascii()),
            }
            at += consumed;
            if session.transaction.is_none() {
                self.log.append_verbatim(&session.buffer[done..at], session.selected, &[]);
                done = at;
                selected = session.selected;
            }
            if getack {
                self.link.handle_input(now, ReplicaInput::AckRequested);
            }
        }
        // An unfinished transaction is decoded anew with what comes.
        if session.transaction.take().is_some() {
            at = done;
            session.selected = selected;
        }
        session.buffer.drain(..at);
    }
}

#[test]
fn replicas_hold_what_their_master_holds() {
    let (mut partial, mut full, mut id_changes) = (0, 0, 0);
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let nodes = prng.between(2, 4) as usize;
        let mut world = World::new(seed, nodes);
        for at in 1..nodes {
            world.replicaof(at, 0);
        }
        for _ in 0..prng.between(200, 5000) {
            world.step();
        }
        world.heal(seed);
        for (at, node) in world.nodes.iter().enumerate() {
            assert!(node.data == world.nodes[0].data, "seed {seed}: node {at} differs");
            partial += node.partial;
            full += node.full;
            id_changes += node.id_changes;
        }
    }
    let ways = [partial, full, id_changes];
    println!("partial, full, with a new id: {ways:?}");
    assert!(ways.iter().all(|n| *n > 100), "every way was taken: {ways:?}");
}
