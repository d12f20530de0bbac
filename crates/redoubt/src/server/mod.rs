//! Starting and ending a data server.

mod aof;
pub mod config_file;
mod cron;
mod ending;
mod handover;
pub mod host;
mod link;
mod load;
mod snapshot;

use crate::io::listen;
use crate::io::sys;
use crate::io::worker::{EventLoop, Handover, Shared, WAKER};
use crate::log::{NOTICE, WARNING};
use crate::os::fs::File;
use crate::os::mio::{Poll, Waker};
use crate::os::mpsc::channel;
use crate::os::time::{Duration, Instant};
use config::{Config, Loaded};
use config_file::ConfigFile;
use host::{ProcessHost, ReplicationDriver, Tools};
use load::{Expired, LoadHow, LoadReport};
use node::{Mailbox, Node, NodeOptions, Worker, master_options, replica_options};
use persistence::aof::History;
use replication::{Log, MasterSide, ReplId, ReplicaLink, Watermarks};
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use stdx::Prng;

/// Number of lock stripes. More than any sensible number of cores, so that two workers seldom meet.
const STRIPES: usize = 64;
/// Descriptors that are not clients: files, listeners, links.
const SPARE_FILES: u64 = 32;

/// Runs a data server until it ends.
pub fn run(loaded: Loaded, file: ConfigFile) -> ExitCode {
    match start(loaded, file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            crate::log::write(WARNING, &why);
            ExitCode::FAILURE
        }
    }
}

/// Everything up to the first request. Comes back only with an error.
fn start(loaded: Loaded, file: ConfigFile) -> Result<(), String> {
    let started = Instant::now();
    refuse_unsupported(&loaded)?;
    let users = loaded.users;
    let mut config = loaded.config;
    greet(&file);
    raise_limits(&mut config);
    let workers = worker_count(&config);

    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..workers {
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let waker =
            Waker::new(poll.registry(), WAKER).map_err(|error| format!("eventfd: {error}"))?;
        mailboxes.push(Mailbox::new(Box::new(move || {
            // Fails only if the counter is full: then the worker is being woken already.
            let _ = waker.wake();
        })));
        polls.push(poll);
    }
    let link_poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
    let link_waker = Arc::new(
        Waker::new(link_poll.registry(), link::LinkDriver::WAKE)
            .map_err(|error| format!("eventfd: {error}"))?,
    );

    let seed = random_seed();
    let mut prng = Prng::new(seed);
    let (snapshot_jobs, snapshot_queue) = channel();
    let (trash, trash_queue) = channel();
    let tools = Arc::new(Tools::new(file, snapshot_jobs, trash, Arc::clone(&link_waker), started));
    let log = Arc::new(Log::new(random_replid(), config.repl_backlog_size));
    // One runner more than workers: the link to the master runs commands, too.
    let node = Arc::new(Node::new(NodeOptions {
        config: config.clone(),
        mailboxes,
        runners: workers + 1,
        stripes: STRIPES,
        host: Box::new(ProcessHost(Arc::clone(&tools))),
        run_id: random_hex(40),
        log: Arc::clone(&log),
    }));
    let now = stdx::MonoMs(started.elapsed().as_millis() as u64);
    let master = MasterSide::new(
        now,
        Arc::clone(&log),
        Arc::new(Watermarks::new()),
        master_options(&config),
        Prng::new(random_seed()),
    );
    let link =
        ReplicaLink::new(Arc::clone(&log), replica_options(&config), Prng::new(random_seed()));
    node.repl.install(master, link, Box::new(ReplicationDriver(Arc::clone(&tools))));

    let shared = Arc::new(Shared {
        node: Arc::clone(&node),
        handover: Handover::new(workers),
        queues: crate::io::replica::SnapshotQueues::default(),
        new_listeners: Mutex::default(),
        tls: crate::io::tls::Tls::default(),
        sleep_until_us: AtomicU64::new(0),
    });
    tools.attach(&shared);
    crate::crash::install(&node, started);

    shared.tls.configure_at_start(&config)?;
    let listeners = listen::all(&config)?;
    crate::log::set_role(if config.replicaof.is_some() { b'S' } else { b'M' });
    announce_mode(&config, "standalone");
    crate::log::write(NOTICE, "Server initialized");

    node.load_users_at_start(&users)?;
    server_spawn("snapshot", {
        let (shared, tools) = (Arc::clone(&shared), Arc::clone(&tools));
        move || snapshot::run(&shared, &snapshot_queue, &tools)
    })?;
    server_spawn("free", {
        let node = Arc::clone(&node);
        move || cron::free(&node, &trash_queue)
    })?;
    ending::spawn_signals(&tools)?;

    // The data is loaded by a thread of its own. When that takes long, clients are served
    // meanwhile (-LOADING); when not, the first one finds everything there.
    node.persistence.loading.store(true, Ordering::Release);
    let startup = Startup {
        shared: Arc::clone(&shared),
        tools,
        config: config.clone(),
        link_poll,
        link_waker,
        link_index: workers,
        seed: prng.next_u64(),
    };
    let (loaded, wait_loaded) = channel();
    server_spawn("load", move || match startup.load() {
        // Nobody waits any more if it took long.
        Ok(()) => drop(loaded.send(())),
        Err(why) => {
            crate::log::write(WARNING, &why);
            crate::os::process::exit(1);
        }
    })?;
    // An error ends the process; the end of the wait means that it takes long.
    let _ = wait_loaded.recv_timeout(LOADING_GRACE);

    let mut listeners = Some(listeners);
    for (index, poll) in polls.into_iter().enumerate() {
        let worker = Worker::new(&node, index, prng.next_u64());
        let mine = if index == 0 { listeners.take().unwrap_or_default() } else { Vec::new() };
        let event_loop = EventLoop::new(Arc::clone(&shared), poll, worker, mine)
            .map_err(|error| format!("event loop: {error}"))?;
        if index + 1 == workers {
            event_loop.run();
        } else {
            server_spawn("worker", move || event_loop.run())?;
        }
    }
    Ok(())
}

/// What can't work yet must not seem to: each reason, with the directive that it is about.
pub fn unsupported(config: &Config) -> Vec<(&'static str, &'static str)> {
    let wrong = [(
        config.cluster_enabled,
        "cluster-enabled",
        "`cluster-enabled yes` is not supported yet.",
    )];
    wrong.into_iter().filter(|(asked, ..)| *asked).map(|(_, name, why)| (name, why)).collect()
}

/// How long the first clients wait for the data, before they are told that it is being loaded.
const LOADING_GRACE: Duration = Duration::from_millis(250);

/// What is left to be done once the workers could start: everything that needs the data.
struct Startup {
    shared: Arc<Shared>,
    tools: Arc<Tools>,
    config: Config,
    link_poll: Poll,
    link_waker: Arc<Waker>,
    link_index: usize,
    seed: u64,
}

impl Startup {
    fn load(self) -> Result<(), String> {
        let (node, config) = (Arc::clone(&self.shared.node), &self.config);
        let mut worker = Worker::new(&node, self.link_index, self.seed);
        worker.now = node.host.now();
        let files = aof::Files::new(config);
        let mut manifest = files.read_manifest()?;
        let restored = if config.appendonly {
            aof::load::upgrade(&files, &mut manifest)?;
            let found = aof::load::load(&node, &mut worker, &files, &manifest)?;
            match found {
                aof::load::Found::Loaded(history) => go_on_from_file(&node, config, history),
                aof::load::Found::Nothing => {
                    warn_of_unused_rdb(config);
                    None
                }
            }
        } else {
            load_data(&node, config)?
        };
        if !worker.trash.is_empty() || !worker.tables.is_empty() {
            node.host.free(std::mem::take(&mut worker.trash), std::mem::take(&mut worker.tables));
        }
        // Loading is no traffic.
        node.stats.reset();
        node.persistence.dirty_at_save.store(node.dirty(), Ordering::Relaxed);
        let stream_db = restored.as_ref().map_or(0, |restored| restored.stream_db as usize);
        {
            // A role changes under all stripe locks.
            let _all = node.keyspace.hold(node.keyspace.all());
            follow_configured_master(&node, config, restored);
        }
        let mut writer =
            aof::Writer::new(Arc::clone(&node), Arc::clone(&self.tools), files, manifest);
        if config.appendonly {
            writer.open_at_start()?;
        }
        server_spawn("aof", move || writer.run())?;
        server_spawn("cron", {
            let (shared, tools) = (Arc::clone(&self.shared), Arc::clone(&self.tools));
            move || cron::run(&shared, &tools)
        })?;
        server_spawn("link", {
            let (poll, waker) = (self.link_poll, self.link_waker);
            let driver = link::LinkDriver::new(
                Arc::clone(&self.shared),
                Arc::clone(&self.tools),
                poll,
                waker,
                worker,
                stream_db,
            );
            move || driver.run()
        })?;
        node.persistence.loading.store(false, Ordering::Release);
        announce_ready(config);
        Ok(())
    }
}

/// A history that the append-only file tells at its end is gone on with. The file may lack what
/// replicas of the history have got: as with an RDB, a master begins a history of its own there, so
/// that only those who hold no more than the file can go on without a full synchronization.
fn go_on_from_file(node: &Node, config: &Config, history: Option<History>) -> Option<Restored> {
    let history = history?;
    let replid = ReplId::parse(&history.id)?;
    let restored = Restored { replid, offset: history.offset, stream_db: history.db };
    crate::log::write(
        NOTICE,
        &format!("The append-only file ends at offset {} of the history {replid}", history.offset),
    );
    if config.replicaof.is_none() {
        node.log.restore_as_master(restored.replid, restored.offset);
    }
    Some(restored)
}

/// As in Redis, the RDB is not looked at when the append-only file is on.
fn warn_of_unused_rdb(config: &Config) {
    let path = PathBuf::from(config.dbfilename.to_str().into_owned());
    if crate::os::fs::metadata(&path).is_ok_and(|m| m.is_file()) {
        crate::log::write(
            WARNING,
            &format!(
                "There is no append-only file yet, so the server starts empty although there is {}. To keep its data, stop this server (SHUTDOWN NOSAVE), start with `appendonly no`, and turn the append-only file on with CONFIG SET appendonly yes.",
                path.display()
            ),
        );
    }
}

fn refuse_unsupported(loaded: &Loaded) -> Result<(), String> {
    if let Some((_, why)) = unsupported(&loaded.config).first() {
        return Err(format!("Fatal error: {why}"));
    }
    note_directives(&loaded.config);
    Ok(())
}

/// Says which directives are not what they are in Redis.
pub fn note_directives(config: &Config) {
    let idle: Vec<&str> = config.without_effect().iter().map(|row| row.name).collect();
    if !idle.is_empty() {
        let idle = idle.join(", ");
        let text = format!("These directives are accepted but have no effect here: {idle}");
        crate::log::write(NOTICE, &text);
    }
    if config.threads == 0 && config.io_threads > 1 {
        let text = format!("io-threads {} is taken for threads {0}", config.io_threads);
        crate::log::write(NOTICE, &text);
    }
}

/// The first lines of the log.
pub fn greet(file: &ConfigFile) {
    crate::log::write(WARNING, "oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    crate::log::write(
        WARNING,
        &format!(
            "Redis version={}, bits=64, commit=00000000, modified=0, pid={}, just started (Redoubt {})",
            node::command::REDIS_VERSION,
            std::process::id(),
            env!("CARGO_PKG_VERSION")
        ),
    );
    if file.is_default() {
        crate::log::write(
            WARNING,
            "Warning: no config file specified, using the default config. In order to specify a config file use redis-server /path/to/redis.conf",
        );
    } else {
        crate::log::write(WARNING, "Configuration loaded");
    }
}

/// The line from which scripts read the process id, once the server listens.
pub fn announce_mode(config: &Config, mode: &str) {
    crate::log::write(
        NOTICE,
        &format!("Running mode={mode}, port={}, PID: {}", shown_port(config), std::process::id()),
    );
}

/// The port that people are told: that of TLS, if there is no other.
fn shown_port(config: &Config) -> u16 {
    if config.port != 0 { config.port } else { config.tls_port }
}

/// As many files as `maxclients` needs, or fewer clients.
pub fn raise_limits(config: &mut Config) {
    let wanted = u64::from(config.maxclients) + SPARE_FILES;
    let got = sys::raise_open_files(wanted);
    if got < wanted {
        let fits = got.saturating_sub(SPARE_FILES).max(1);
        crate::log::write(
            WARNING,
            &format!(
                "Your current 'ulimit -n' of {got} is not enough for the server to start with maxclients {}. \
                 maxclients has been reduced to {fits}; raise the limit of open files to change that.",
                config.maxclients
            ),
        );
        config.maxclients = fits as u32;
    }
}

fn worker_count(config: &Config) -> usize {
    let cores = crate::os::thread::available_parallelism().map_or(1, usize::from);
    config.worker_threads().unwrap_or(cores).clamp(1, 64)
}

pub(crate) fn server_spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    crate::os::thread::Builder::new()
        .name(name.to_string())
        .spawn(run)
        .map(|_| ())
        .map_err(|error| format!("starting the thread '{name}': {error}"))
}

/// Where a data set that was loaded had come in its history.
struct Restored {
    replid: ReplId,
    offset: u64,
    stream_db: u32,
}

fn load_data(node: &Node, config: &Config) -> Result<Option<Restored>, String> {
    let path = PathBuf::from(config.dbfilename.to_str().into_owned());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(format!(
                "Fatal error loading the DB {}: {error}. Exiting.",
                path.display()
            ));
        }
    };
    let started = Instant::now();
    let state = &node.persistence;
    state.load_total.store(file.metadata().map_or(0, |meta| meta.len()), Ordering::Relaxed);
    state.load_started.store(node.host.now().unix().secs(), Ordering::Relaxed);
    // A master's history goes on from where the file ends, and the removals of expired keys are the
    // first that happens in it.
    let restore = |report: &LoadReport| {
        if let Some(restored) = restored_of(report) {
            node.log.restore_as_master(restored.replid, restored.offset);
        }
    };
    let is_master = config.replicaof.is_none();
    let how = LoadHow {
        expired: if is_master { Expired::DropAndTell } else { Expired::Keep },
        replace: false,
        done_before: 0,
        header: is_master.then_some(&restore as &dyn Fn(&LoadReport)),
    };
    crate::log::write(NOTICE, "Loading RDB produced by an earlier run");
    let report = load::load(node, BufReader::with_capacity(1 << 20, file), how).map_err(|why| {
        format!(
            "Fatal error loading the DB, check server logs. Exiting. {}: {why}. Restore a good copy of the file, or move it away to start empty.",
            path.display()
        )
    })?;
    crate::log::write(
        NOTICE,
        &format!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64()),
    );
    Ok(restored_of(&report))
}

/// The place in a history that a file tells.
fn restored_of(report: &LoadReport) -> Option<Restored> {
    let replid = ReplId::parse(report.repl_id.as_ref()?.as_bytes())?;
    // Above that the offsets of the stream would leave what INFO and ACK can say.
    let offset = report.repl_offset.filter(|&offset| offset <= i64::MAX as u64 / 2)?;
    let stream_db = report.stream_db.and_then(|db| u32::try_from(db).ok()).unwrap_or(0);
    Some(Restored { replid, offset, stream_db })
}

/// A node that is configured as a replica starts as one; a master whose file tells its history
/// lets its replicas continue.
fn follow_configured_master(node: &Node, config: &Config, restored: Option<Restored>) {
    let now = node.host.now().mono();
    // A master took its history up before the first key was loaded.
    let Some(master) = &config.replicaof else { return };
    let history = restored.is_some();
    if let Some(restored) = restored {
        node.log.restore_as_replica(restored.replid, restored.offset, restored.stream_db);
    }
    node.role.is_replica.store(true, Ordering::Release);
    node.repl.link().start(now, &master.host, master.port, history);
    node.repl.master().set_upstream(now, replication::Upstream::Down);
    crate::log::set_role(b'S');
}

fn announce_ready(config: &Config) {
    if config.port != 0 {
        crate::log::write(NOTICE, "Ready to accept connections tcp");
    }
    if config.tls_port != 0 {
        crate::log::write(NOTICE, "Ready to accept connections tls");
    }
    if config.unixsocket.non_empty().is_some() {
        crate::log::write(NOTICE, "Ready to accept connections unix");
    }
    host::notify_supervisor("READY=1\nSTATUS=Ready to accept connections\n");
}

/// Random lower-case hexadecimal digits from the operating system.
pub fn random_hex(digits: usize) -> String {
    let mut bytes = vec![0u8; digits.div_ceil(2)];
    fill_random(&mut bytes);
    let mut text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(digits);
    text
}

/// A random replication id.
pub fn random_replid() -> ReplId {
    ReplId::parse(random_hex(40).as_bytes()).expect("forty hexadecimal digits are an id")
}

/// A seed from the operating system.
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_ne_bytes(bytes)
}

fn fill_random(bytes: &mut [u8]) {
    use std::io::Read;
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
    if let Err(error) = read {
        // Run ids and passwords must not be guessable: no second best.
        panic!("no random bytes from /dev/urandom: {error}");
    }
}

pub use host::level_number as host_level;
