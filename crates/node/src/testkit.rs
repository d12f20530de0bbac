//! A whole node for tests: a host that only takes notes, a clock that stands still, and requests
//! given as lines.
//!
//! Replies are compared as readable text: the bytes with each line end shown as one blank, so `GET`
//! of `ab` is `$2 ab`.

use crate::{
    ClientInfo, Host, Mailbox, Message, Next, Node, NodeOptions, Now, ProcessFacts,
    ReplicationHost, Session, ShutdownHow, Worker, lock, master_options, replica_options,
};
use config::Config;
use keyspace::DbStripe;
use replication::{
    ConnId, JobId, Log, MasterSide, RdbFilter, ReplId, ReplicaLink, Transport, Watermarks,
};
use resp::{OwnedArgs, Protocol, Reply, ReplyParser, Value};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use stdx::{MonoMs, Prng};
use structures::Entry;

/// The wall clock at which every kit starts, Unix seconds.
pub const START: i64 = 1_700_000_000;

/// What the fake program around the node knows and was asked for.
#[derive(Default)]
pub struct Notes {
    /// Both clocks.
    pub now: Now,
    /// Facts for INFO.
    pub facts: ProcessFacts,
    /// Calls, in order.
    pub calls: Vec<String>,
    /// The text of the configuration file.
    pub config_file: String,
    /// ACL files by path.
    pub acl_files: BTreeMap<String, Vec<u8>>,
}

struct FakeHost(Arc<Mutex<Notes>>);

impl FakeHost {
    fn note(&self, call: String) {
        lock(&self.0).calls.push(call);
    }
}

impl Host for FakeHost {
    fn now(&self) -> Now {
        lock(&self.0).now
    }
    fn save(&self) -> Result<(), String> {
        self.note("save".into());
        Ok(())
    }
    fn bgsave(&self, schedule: bool) -> Result<&'static str, String> {
        self.note(format!("bgsave schedule={schedule}"));
        Ok("Background saving started")
    }
    fn bgrewriteaof(&self, _: bool) -> Result<&'static str, String> {
        self.note("bgrewriteaof".into());
        Ok("Background append only file rewriting started")
    }
    fn load_aof(&self) -> Result<(), String> {
        self.note("load_aof".into());
        Ok(())
    }
    fn reload(&self, save: bool, flush: bool) -> Result<(), String> {
        self.note(format!("reload save={save} flush={flush}"));
        Ok(())
    }
    fn role_changed(&self, is_replica: bool) {
        self.note(format!("role is_replica={is_replica}"));
    }
    fn shutdown(&self, how: ShutdownHow) {
        self.note(format!("shutdown {how:?}"));
    }
    fn read_config_file(&self) -> Result<String, String> {
        Ok(lock(&self.0).config_file.clone())
    }
    fn write_config_file(&self, text: &str) -> Result<(), String> {
        lock(&self.0).config_file = text.to_string();
        Ok(())
    }
    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        let files = &lock(&self.0).acl_files;
        files.get(path).cloned().ok_or_else(|| "No such file or directory".into())
    }
    fn write_acl_file(&self, path: &str, text: &[u8]) -> Result<(), String> {
        lock(&self.0).acl_files.insert(path.into(), text.to_vec());
        Ok(())
    }
    fn config_changed(&self, _: &Config, _: &Config, names: &[&str]) -> Result<(), String> {
        self.note(format!("config {}", names.join(" ")));
        Ok(())
    }
    fn facts(&self) -> ProcessFacts {
        lock(&self.0).facts.clone()
    }
    fn free(&self, _: Vec<Entry>, _: Vec<DbStripe>) {}
    fn random_hex(&self, digits: usize) -> String {
        "0123456789abcdef".chars().cycle().take(digits).collect()
    }
    fn sleep_all(&self, usec: u64) {
        let mut notes = lock(&self.0);
        notes.now.mono_us += usec;
        notes.now.unix_us += usec as i64;
        notes.calls.push(format!("sleep {usec}"));
    }
    fn log(&self, level: u8, line: &str) {
        self.note(format!("log {level} {line}"));
    }
    fn purge_memory(&self) {
        self.note("purge".into());
    }
    fn malloc_stats(&self) -> String {
        "allocated 1\n".into()
    }
    fn crash(&self, how: &str) {
        self.note(format!("crash {how}"));
    }
}

struct NoReplication;

impl ReplicationHost for NoReplication {
    fn start_snapshot(&self, _: JobId, _: Transport, _: RdbFilter, _: Vec<ConnId>) {}
    fn abort_snapshot(&self, _: JobId) {}
    fn timers_changed(&self) {}
}

/// A node with one worker and one connection, and more connections on demand.
pub struct Kit {
    /// The node.
    pub node: Node,
    /// What its host knows and was asked for.
    pub notes: Arc<Mutex<Notes>>,
    /// The worker.
    pub worker: Worker,
    /// The connection that [`Kit::line`] uses.
    pub session: Session,
    /// What the last request of [`Kit::line`] did to the connection.
    pub next: Next,
}

impl Default for Kit {
    fn default() -> Kit {
        Kit::new(|_| {})
    }
}

impl Kit {
    /// A node; `change` makes its configuration out of the default one with DEBUG allowed.
    pub fn new(change: impl FnOnce(&mut Config)) -> Kit {
        Kit::with_workers(1, change)
    }

    /// As [`Kit::new`], for so many workers; the kit has the first of them.
    pub fn with_workers(workers: usize, change: impl FnOnce(&mut Config)) -> Kit {
        let mut config = Config::default();
        config.enable_debug_command = config::Allowed::Yes;
        change(&mut config);
        let notes = Arc::new(Mutex::new(Notes {
            now: Now { unix_us: START * 1_000_000, mono_us: 50_000_000 },
            facts: ProcessFacts {
                pid: 4711,
                used_memory: 3 << 20,
                used_memory_peak: 4 << 20,
                used_memory_startup: 1 << 20,
                rss: 6 << 20,
                allocator: (3 << 20, 4 << 20, 5 << 20),
                allocator_name: "test-1.0",
                total_system_memory: 8 << 30,
                cpu: (1.5, 2.25),
                cpu_thread: (0.5, 0.25),
                os: "Linux 6.1 x86_64".into(),
                executable: "/usr/bin/redoubt".into(),
                config_file: String::new(),
                supervised: "no",
            },
            ..Notes::default()
        }));
        let log = Arc::new(Log::new(ReplId::generate(&mut Prng::new(1)), config.repl_backlog_size));
        let node = Node::new(NodeOptions {
            config,
            mailboxes: (0..workers).map(|_| Mailbox::new(Box::new(|| {}))).collect(),
            runners: workers,
            stripes: 4,
            host: Box::new(FakeHost(Arc::clone(&notes))),
            run_id: "f".repeat(40),
            log: Arc::clone(&log),
        });
        let config = &node.settings.load_full().config;
        let master = MasterSide::new(
            MonoMs(0),
            Arc::clone(&log),
            Arc::new(Watermarks::new()),
            master_options(config),
            Prng::new(2),
        );
        let link = ReplicaLink::new(log, replica_options(config), Prng::new(3));
        node.repl.install(master, link, Box::new(NoReplication));
        let worker = Worker::new(&node, 0, 7);
        let session = new_session(&node);
        Kit { node, notes, worker, session, next: Next::Continue }
    }

    /// A kit whose connection speaks RESP3.
    pub fn resp3() -> Kit {
        let mut kit = Kit::default();
        kit.session.set_protocol(Protocol::Resp3);
        kit
    }

    /// Another connection.
    pub fn connect(&self) -> Session {
        new_session(&self.node)
    }

    /// Lets time pass.
    pub fn advance(&mut self, ms: u64) {
        let mut notes = lock(&self.notes);
        notes.now.mono_us += ms * 1000;
        notes.now.unix_us += ms as i64 * 1000;
    }

    /// Runs a request of a connection; returns the bytes of its reply.
    pub fn run<T: AsRef<[u8]>>(&mut self, session: &mut Session, argv: &[T]) -> Vec<u8> {
        self.worker.now = lock(&self.notes).now;
        let args = OwnedArgs::from_parts(argv);
        let mut reply = Reply::new(session.protocol);
        self.next = self.node.handle(&mut self.worker, session, &args.as_args(), &mut reply);
        reply.into_bytes()
    }

    /// Runs a request given as one line, split as an inline request is; returns the readable reply.
    pub fn line(&mut self, line: &str) -> String {
        readable(&self.bytes(line))
    }

    /// As [`Kit::line`], for another connection.
    pub fn line_of(&mut self, session: &mut Session, line: &str) -> String {
        let parts = resp::split_args(line.as_bytes()).expect("quotes are balanced");
        readable(&self.run(session, &parts))
    }

    /// The reply's bytes.
    pub fn bytes(&mut self, line: &str) -> Vec<u8> {
        let parts = resp::split_args(line.as_bytes()).expect("quotes are balanced");
        let other = new_session(&self.node);
        self.node.clients.remove(other.id());
        let mut session = std::mem::replace(&mut self.session, other);
        let bytes = self.run(&mut session, &parts);
        self.session = session;
        bytes
    }

    /// The reply as a client's parser sees it.
    pub fn value(&mut self, line: &str) -> Value {
        let bytes = self.bytes(line);
        let mut parser = ReplyParser::new();
        parser.feed(&bytes);
        let value = parser.next().expect("a well-formed reply").expect("a whole reply");
        assert!(parser.pending().is_empty(), "one reply to {line}");
        value
    }

    /// The text of a bulk or verbatim reply.
    pub fn text(&mut self, line: &str) -> String {
        let value = self.value(line);
        value.as_str().unwrap_or_else(|| panic!("{line}: {value:?}")).to_string()
    }

    /// Runs lines in turn and compares each reply with the readable text beside it.
    #[track_caller]
    pub fn check(&mut self, table: &[(&str, &str)]) {
        for (line, expected) in table {
            assert_eq!(self.line(line), *expected, "reply of {line}");
        }
    }

    /// What was left in the worker's mailbox.
    pub fn messages(&self) -> Vec<Message> {
        self.node.mailboxes[0].take()
    }

    /// What the host was asked for since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.notes).calls)
    }
}

fn new_session(node: &Node) -> Session {
    let now = node.host.now().mono().0;
    let id = node.clients.next_id();
    let info = ClientInfo::new(
        id,
        0,
        format!("127.0.0.1:{}", 40_000 + id),
        "127.0.0.1:6379".into(),
        8,
        false,
        now,
    );
    let info = Arc::new(info);
    node.clients.add(&info);
    info.last_active.store(now, Relaxed);
    Session::new(info, &node.access)
}

/// Bytes as readable text: line ends become blanks.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", " ");
    text.strip_suffix(' ').map(str::to_owned).unwrap_or(text)
}
