//! The driver of replication: the connection to our own master, and the timers of both machines.
//!
//! One thread. It never blocks: names are resolved and connections made by helper threads, an RDB
//! is loaded by another; their results come back through a channel.

use super::host::Tools;
use super::load::{self, LoadHow, LoadReport};
use crate::io::stream::Stream;
use crate::io::worker::Shared;
use crate::log::WARNING;
use crate::os::fs::File;
use crate::os::mio::net::TcpStream;
use crate::os::mio::{Events, Poll, Token, Waker};
use crate::os::mpsc::{Receiver, Sender, channel};
use crate::os::time::Duration;
use node::{AofState, Node, StreamApplier, Worker};
use replication::{LinkId, LinkState, MasterInput, ReplicaInput, ReplicaOutput};
use std::io::{BufReader, ErrorKind, Write};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const WAKE: Token = Token(0);
const LINK: Token = Token(1);
/// Longest time that a connection attempt may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes read from the master before timers and outputs get their turn.
const READ_TURN: usize = 4 << 20;

/// What a helper thread brings back.
enum Helped {
    Connected(LinkId, std::io::Result<Box<Connected>>),
    Loaded(LinkId, Result<LoadReport, String>),
}

/// A socket, and what encrypts its bytes if `tls-replication` says so.
struct Connected {
    tcp: crate::os::net::TcpStream,
    channel: Option<Box<tls::Channel>>,
}

struct Connection {
    link: LinkId,
    stream: Stream,
    output: Vec<u8>,
    /// The socket may have more to read although no event will come.
    readable: bool,
}

/// The driver.
pub struct LinkDriver {
    shared: Arc<Shared>,
    tools: Arc<Tools>,
    poll: Poll,
    waker: Arc<Waker>,
    worker: Worker,
    connection: Option<Connection>,
    applier: Option<StreamApplier>,
    /// Database that the stream had selected when it was cut.
    selected_db: usize,
    incoming: Option<(LinkId, File, PathBuf)>,
    helped: Receiver<Helped>,
    helper: Sender<Helped>,
    buffer: Vec<u8>,
    seen: Option<LinkState>,
}

impl LinkDriver {
    /// A driver with its own poll; `waker` is the poll's. `selected_db` is what the stream had
    /// selected where the loaded data ends.
    pub fn new(
        shared: Arc<Shared>,
        tools: Arc<Tools>,
        poll: Poll,
        waker: Arc<Waker>,
        worker: Worker,
        selected_db: usize,
    ) -> LinkDriver {
        let (helper, helped) = channel();
        LinkDriver {
            shared,
            tools,
            poll,
            waker,
            worker,
            connection: None,
            applier: None,
            selected_db,
            incoming: None,
            helped,
            helper,
            buffer: vec![0; 256 * 1024],
            seen: None,
        }
    }

    /// The token that the waker of the poll must have.
    pub const WAKE: Token = WAKE;

    fn node(&self) -> Arc<Node> {
        Arc::clone(&self.shared.node)
    }

    /// Runs until the process ends.
    pub fn run(mut self) {
        let node = self.node();
        let mut events = Events::with_capacity(16);
        loop {
            self.worker.now = node.host.now();
            let now = self.worker.now.mono();
            self.drain(&node);
            let next_master = node.master_timeout(now);
            node.open_gate();
            node.drive_failover(now);
            node.repl.link().handle_timeout(now);
            self.drain(&node);
            self.publish_state(&node);
            let next_link = node.repl.link().poll_timeout();
            let next_failover = node.failover_timeout(now);
            let next = [next_master, next_link, next_failover].into_iter().flatten().min();
            let wants_read = node.repl.link().wants_read();
            let busy = wants_read && self.connection.as_ref().is_some_and(|c| c.readable);
            let wait = if busy {
                Duration::ZERO
            } else {
                Duration::from_millis(next.map_or(100, |at| at.since(now)).min(100))
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                panic!("epoll_wait failed: {error}");
            }
            self.worker.now = node.host.now();
            for event in &events {
                if event.token() == LINK
                    && let Some(connection) = &mut self.connection
                {
                    connection.readable |=
                        event.is_readable() || event.is_read_closed() || event.is_error();
                    if event.is_writable() {
                        self.flush();
                    }
                }
            }
            self.take_helped(&node);
            self.close_if_killed(&node);
            if node.repl.link().wants_read() {
                self.read(&node);
            }
            self.after_round(&node);
        }
    }

    fn read(&mut self, node: &Node) {
        let mut total = 0;
        while total < READ_TURN {
            let Some(connection) = &mut self.connection else { return };
            if !connection.readable {
                return;
            }
            let link = connection.link;
            let now = self.worker.now.mono();
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => {
                    connection.readable = false;
                    node.repl.link().handle_input(now, ReplicaInput::Closed { link, error: "" });
                }
                Ok(n) => {
                    total += n;
                    let counter = &self.worker.stats.repl_input;
                    counter.store(counter.load(Ordering::Relaxed) + n as u64, Ordering::Relaxed);
                    node.repl
                        .link()
                        .handle_input(now, ReplicaInput::Data { link, bytes: &self.buffer[..n] });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.readable = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    connection.readable = false;
                    let error = tls::error_text(&error);
                    node.repl
                        .link()
                        .handle_input(now, ReplicaInput::Closed { link, error: &error });
                }
            }
            self.drain(node);
            if !node.repl.link().wants_read() {
                return;
            }
        }
    }

    /// Does what the link wants done.
    fn drain(&mut self, node: &Node) {
        loop {
            let output = node.repl.link().poll_output();
            match output {
                None => break,
                Some(output) => self.act(node, output),
            }
        }
    }

    fn act(&mut self, node: &Node, output: ReplicaOutput) {
        match output {
            ReplicaOutput::Connect { link, host, port } => self.connect(link, host, port),
            ReplicaOutput::Send { link, bytes } => {
                if let Some(connection) = self.connection.as_mut().filter(|c| c.link == link) {
                    connection.output.extend_from_slice(&bytes);
                    self.flush();
                }
            }
            ReplicaOutput::Close { link } => {
                if self.connection.as_ref().is_some_and(|c| c.link == link) {
                    self.close_connection(node);
                }
                if self.incoming.as_ref().is_some_and(|(l, ..)| *l == link)
                    && let Some((_, _, path)) = self.incoming.take()
                {
                    let _ = crate::os::fs::remove_file(path);
                }
            }
            ReplicaOutput::RdbBegin { link, .. } => self.begin_rdb(node, link),
            ReplicaOutput::RdbBytes { link, bytes } => self.rdb_bytes(node, link, &bytes),
            ReplicaOutput::Inspect { link } => self.inspect_rdb(node, link),
            ReplicaOutput::RdbEnd { link } => self.load_rdb(node, link),
            ReplicaOutput::StreamBegin { link, .. } => {
                let _ = link;
                let (host, port) = node
                    .repl
                    .link()
                    .master()
                    .map_or((String::new(), 0), |(h, p)| (h.to_string(), p));
                let now = self.worker.now.mono().0;
                let index = self.worker.index;
                self.applier = Some(StreamApplier::new(
                    node,
                    format!("{host}:{port}"),
                    now,
                    index,
                    self.selected_db,
                ));
            }
            ReplicaOutput::Stream { bytes, .. } => self.apply(node, &bytes),
            ReplicaOutput::DropReplicas => {
                node.master_input(self.worker.now.mono(), MasterInput::DropReplicas, None);
            }
            ReplicaOutput::FailoverDone => node.failover_done(),
            ReplicaOutput::FailoverFailed { why } => {
                node.failover_failed(self.worker.now.mono(), why);
            }
            ReplicaOutput::Log(line) => node.log_line(&line),
        }
    }

    fn connect(&mut self, link: LinkId, host: String, port: u16) {
        let (helper, waker) = (self.helper.clone(), Arc::clone(&self.waker));
        let shared = Arc::clone(&self.shared);
        let encrypted = shared.node.settings.load().config.tls_replication;
        crate::os::thread::spawn(move || {
            let connected = (host.as_str(), port).to_socket_addrs().and_then(|addrs| {
                let mut last = std::io::Error::other("the name has no address");
                for addr in addrs {
                    match crate::os::net::TcpStream::connect_timeout(&addr, CONNECT_PATIENCE) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            });
            let result = connected.and_then(|mut tcp| {
                let channel = match encrypted {
                    true => {
                        let channel =
                            shared.tls.connect_and_wait(&mut tcp, &host, CONNECT_PATIENCE)?;
                        Some(Box::new(channel))
                    }
                    false => None,
                };
                Ok(Box::new(Connected { tcp, channel }))
            });
            // The driver lives as long as the process.
            let _ = helper.send(Helped::Connected(link, result));
            let _ = waker.wake();
        });
    }

    fn take_helped(&mut self, node: &Node) {
        while let Ok(helped) = self.helped.try_recv() {
            let now = self.worker.now.mono();
            match helped {
                Helped::Connected(link, result) => {
                    if node.repl.link().link() != link {
                        continue;
                    }
                    match result.and_then(|connected| self.adopt(link, *connected)) {
                        Ok(()) => {
                            node.repl.link().handle_input(now, ReplicaInput::Connected { link })
                        }
                        Err(error) => {
                            let error = error.to_string();
                            node.repl.link().handle_input(
                                now,
                                ReplicaInput::ConnectFailed { link, error: &error },
                            );
                        }
                    }
                }
                Helped::Loaded(link, result) => {
                    let (ok, stream_db) = match result {
                        Ok(report) => {
                            let db =
                                report.stream_db.and_then(|db| u32::try_from(db).ok()).unwrap_or(0);
                            self.selected_db = db as usize;
                            (true, db)
                        }
                        Err(why) => {
                            crate::log::write(
                                WARNING,
                                &format!(
                                    "Failed trying to load the MASTER synchronization DB: {why}"
                                ),
                            );
                            (false, 0)
                        }
                    };
                    node.persistence.loading.store(false, Ordering::Release);
                    node.repl
                        .link()
                        .handle_input(now, ReplicaInput::LoadFinished { link, ok, stream_db });
                    if node.settings.load().config.appendonly && node.aof.state() == AofState::Off {
                        self.tools.restart_aof();
                        node.set_file_gate();
                    }
                }
            }
            self.drain(node);
        }
    }

    fn adopt(&mut self, link: LinkId, connected: Connected) -> std::io::Result<()> {
        let Connected { tcp, channel } = connected;
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let tcp = TcpStream::from_std(tcp);
        // The handshake may have brought bytes that the socket has no more.
        let readable = channel.is_some();
        let mut stream = match channel {
            Some(channel) => Stream::tls(tcp, *channel),
            None => Stream::Tcp(tcp),
        };
        stream.register(self.poll.registry(), LINK)?;
        self.connection = Some(Connection { link, stream, output: Vec::new(), readable });
        Ok(())
    }

    fn flush(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while !connection.output.is_empty() {
            match connection.stream.write(&connection.output) {
                Ok(n) => {
                    connection.output.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A broken connection shows when it is read.
                Err(_) => return,
            }
        }
        let _ = connection.stream.flush();
    }

    fn close_connection(&mut self, node: &Node) {
        if let Some(mut connection) = self.connection.take() {
            connection.stream.say_farewell();
            connection.stream.deregister(self.poll.registry());
        }
        if let Some(applier) = self.applier.take() {
            self.selected_db = applier.selected_db();
            applier.close(node, &mut self.worker);
        }
    }

    // ---- full synchronization ------------------------------------------------------------

    fn begin_rdb(&mut self, node: &Node, link: LinkId) {
        let path = PathBuf::from(format!(
            "temp-{}.{}.rdb",
            node.host.now().unix().secs(),
            std::process::id()
        ));
        match File::create(&path) {
            Ok(file) => self.incoming = Some((link, file, path)),
            Err(error) => {
                crate::log::write(
                    WARNING,
                    &format!(
                        "Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}"
                    ),
                );
                self.fail_sync(node, link);
            }
        }
    }

    fn rdb_bytes(&mut self, node: &Node, link: LinkId, bytes: &[u8]) {
        let Some((_, file, _)) = self.incoming.as_mut().filter(|(l, ..)| *l == link) else {
            return;
        };
        if let Err(error) = file.write_all(bytes) {
            crate::log::write(
                WARNING,
                &format!(
                    "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {error}"
                ),
            );
            self.fail_sync(node, link);
        }
    }

    /// The disk failed us: the link is closed and tried again later.
    fn fail_sync(&mut self, node: &Node, link: LinkId) {
        self.close_connection(node);
        if let Some((_, _, path)) = self.incoming.take() {
            let _ = crate::os::fs::remove_file(path);
        }
        let now = self.worker.now.mono();
        node.repl.link().handle_input(now, ReplicaInput::Closed { link, error: "the disk failed" });
    }

    /// Looks whether the received file has a key.
    fn inspect_rdb(&mut self, node: &Node, link: LinkId) {
        let Some((_, _, path)) = &self.incoming else { return };
        // A file that cannot be read fails when it is loaded, and is said to then.
        let incoming_empty = load::has_no_key(path).unwrap_or(false);
        let own_keys =
            (0..node.keyspace.databases()).map(|db| node.keyspace.db_size(db).0 as u64).sum();
        let guarded = match node.settings.load().config.empty_master_guard {
            config::EmptyMasterGuard::Yes => true,
            config::EmptyMasterGuard::No => false,
            config::EmptyMasterGuard::Auto => node.role.sentinel_seen.load(Ordering::Relaxed),
        };
        let now = self.worker.now.mono();
        let input = ReplicaInput::Inspected { link, incoming_empty, own_keys, guarded };
        node.repl.link().handle_input(now, input);
    }

    fn load_rdb(&mut self, node: &Node, link: LinkId) {
        let Some((_, file, path)) = self.incoming.take() else { return };
        let now = self.worker.now.mono();
        let total = file.metadata().map_or(0, |meta| meta.len());
        drop(file);
        node.persistence.load_total.store(total, Ordering::Relaxed);
        node.persistence.load_done.store(0, Ordering::Relaxed);
        node.persistence.load_started.store(self.worker.now.unix().secs(), Ordering::Relaxed);
        node.repl.link().handle_input(now, ReplicaInput::LoadStarted { link });
        node.persistence.loading.store(true, Ordering::Release);
        if node.aof.state() != AofState::Off {
            // What is replaced needs no file; the new data gets one when it is there.
            self.tools.stop_aof();
        }
        let (shared, helper, waker) =
            (Arc::clone(&self.shared), self.helper.clone(), Arc::clone(&self.waker));
        crate::os::thread::spawn(move || {
            let result = replace_data(&shared.node, path);
            let _ = helper.send(Helped::Loaded(link, result));
            let _ = waker.wake();
        });
    }

    // ---- the stream ----------------------------------------------------------------------

    fn apply(&mut self, node: &Node, bytes: &[u8]) {
        let Some(applier) = &mut self.applier else { return };
        if let Err(error) = applier.feed(node, &mut self.worker, bytes) {
            crate::log::write(
                WARNING,
                &format!("Protocol error ({error}) from the master; the link is closed"),
            );
            let link = node.repl.link().link();
            self.close_connection(node);
            let now = self.worker.now.mono();
            node.repl
                .link()
                .handle_input(now, ReplicaInput::Closed { link, error: "protocol error" });
            return;
        }
        if std::mem::take(&mut applier.ack_wanted) {
            node.repl.link().handle_input(self.worker.now.mono(), ReplicaInput::AckRequested);
        }
    }

    /// CLIENT KILL of the master's link closes it; it is then connected again.
    fn close_if_killed(&mut self, node: &Node) {
        if self.applier.as_ref().is_some_and(StreamApplier::is_killed) {
            let link = node.repl.link().link();
            self.close_connection(node);
            let now = self.worker.now.mono();
            node.repl
                .link()
                .handle_input(now, ReplicaInput::Closed { link, error: "killed by a client" });
        }
    }

    /// What others see of the link.
    fn publish_state(&mut self, node: &Node) {
        let (state, upstream) = {
            let link = node.repl.link();
            (link.link_state(), link.upstream())
        };
        if self.seen == Some(state) {
            return;
        }
        self.seen = Some(state);
        node.role.link_up.store(state == LinkState::Connected, Ordering::Release);
        node.repl.master().set_upstream(self.worker.now.mono(), upstream);
    }

    fn after_round(&mut self, node: &Node) {
        if self.worker.log_grew {
            self.worker.log_grew = false;
            node.wake_streams(usize::MAX);
        }
        if !self.worker.trash.is_empty() || !self.worker.tables.is_empty() {
            let (trash, tables) =
                (std::mem::take(&mut self.worker.trash), std::mem::take(&mut self.worker.tables));
            node.host.free(trash, tables);
        }
    }
}

/// Replaces the data set by the file's.
fn replace_data(node: &Node, temp: PathBuf) -> Result<LoadReport, String> {
    let config = node.settings.load_full().config.clone();
    let path = PathBuf::from(config.dbfilename.to_str().into_owned());
    File::open(&temp).and_then(|file| file.sync_all()).map_err(|error| error.to_string())?;
    crate::os::fs::rename(&temp, &path)
        .map_err(|error| format!("renaming the received RDB to {}: {error}", path.display()))?;
    load::flush_all(node);
    node.end_all_waits();
    let file = File::open(&path).map_err(|error| error.to_string())?;
    let how = LoadHow::FROM_MASTER;
    let report = load::load(node, BufReader::with_capacity(1 << 20, file), how);
    if report.is_err() {
        load::flush_all(node);
    }
    if config.rdb_del_sync_files && config.save.is_empty() && !config.appendonly {
        let _ = crate::os::fs::remove_file(&path);
    }
    report
}
