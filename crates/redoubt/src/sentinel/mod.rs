//! Running a sentinel: the process around the machine of the crate `sentinel`.
//!
//! Clients are served by the same loop and the same [`node::Node`] as on a data server. What only a
//! sentinel has is behind [`brain::Brain`]: the machine and the replies that wait for the disk. A
//! [`driver::Driver`] on a thread of its own has the links to other nodes, the timers, and helpers
//! for whatever may take long: the disk, name servers, scripts. Nothing here decides anything.

mod brain;
mod conf;
mod disk;
mod driver;
mod host;
mod links;
mod names;
mod scripts;
mod state;

use crate::io::listen;
use crate::io::worker::{EventLoop, Handover, Shared, WAKER};
use crate::log::{NOTICE, WARNING};
use crate::server::config_file::ConfigFile;
use crate::server::host::{ProcessHost, Tools, notify_supervisor};
use crate::server::{random_hex, random_replid, random_seed, server_spawn};
use brain::Brain;
pub use conf::check_lines;
use config::{Config, Loaded};
use driver::{Driver, News};
use host::{Ending, SentinelHost};
use links::Links;
use mio::{Poll, Waker};
use node::{Host, Mailbox, Node, NodeOptions, Worker};
use replication::Log;
use sentinel::Options;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs a sentinel until it ends.
pub fn run(loaded: Loaded, file: ConfigFile) -> ExitCode {
    match start(loaded, file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Log(why)) => {
            crate::log::write(WARNING, &why);
            crate::log::flush();
            ExitCode::FAILURE
        }
        Err(Refusal::Print(text)) => {
            eprint!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Why a sentinel does not start.
enum Refusal {
    /// To be logged.
    Log(String),
    /// To be printed as it is: something in the file is wrong.
    Print(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal::Log(why)
    }
}

/// Everything up to the first request. Comes back only with a refusal.
fn start(mut loaded: Loaded, file: ConfigFile) -> Result<(), Refusal> {
    let started = Instant::now();
    let source = conf::source(&loaded, &file)?;
    let conf = conf::read(&source).map_err(Refusal::Print)?;
    conf::check_scripts(&conf).map_err(Refusal::Print)?;
    conf::drop_data_directives(&mut loaded);
    let mut config = loaded.config;
    conf::take_views(&conf, &mut config)?;
    crate::server::greet(&file);
    crate::server::note_directives(&config);
    crate::server::announce_mode(&config, "sentinel");
    crate::server::raise_limits(&mut config);

    let worker_poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
    let worker_waker =
        Waker::new(worker_poll.registry(), WAKER).map_err(|error| format!("eventfd: {error}"))?;
    let mailbox = Mailbox::new(Box::new(move || {
        // Fails only if the counter is full: then the worker is being woken already.
        let _ = worker_waker.wake();
    }));
    let driver_poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
    let driver_waker = Arc::new(
        Waker::new(driver_poll.registry(), driver::WAKE)
            .map_err(|error| format!("eventfd: {error}"))?,
    );

    let disk = disk::Disk::new(source.path.clone());
    let tools = Arc::new(tools(file, &driver_waker, started));
    let ending = Arc::new(Ending::new(Arc::clone(&disk), &config));
    let host = SentinelHost::new(ProcessHost(Arc::clone(&tools)), Arc::clone(&ending));
    let now = host.now();
    let node = Arc::new(node(&config, mailbox, Box::new(host)));
    let shared = Arc::new(Shared {
        node: Arc::clone(&node),
        handover: Handover::new(1),
        queues: crate::io::replica::SnapshotQueues::default(),
        new_listeners: Mutex::default(),
        tls: crate::io::tls::Tls::default(),
        sleep_until_us: AtomicU64::new(0),
    });
    tools.attach(&shared);
    crate::crash::install(&node, started);

    shared.tls.configure_at_start(&config)?;
    let listeners = listen::all(&config)?;

    crate::log::write_in_background()?;
    crate::io::sys::keep_descriptors_private();
    let (news_sender, news) = channel::<News>();
    let mut machine =
        sentinel::Sentinel::new(brain::machine_time(now), conf, machine_options(&config));
    let views = &config.announce_view;
    machine.set_views(views.to_string(), views.addresses(), conf::read_views);
    let brain = Arc::new(Brain::new(machine, Arc::clone(&node), Arc::clone(&driver_waker)));
    node.become_sentinel(Box::new(brain::Mode(Arc::clone(&brain))));
    node.load_users_at_start(&loaded.users)?;
    disk.spawn(news_sender.clone(), Arc::clone(&driver_waker))?;
    host::spawn_signals(ending, news_sender.clone(), Arc::clone(&driver_waker))?;
    let source = conf::source_address(&config)?;
    let links = Links::new(config.tls_replication.then(|| Arc::clone(&shared)));
    let news = (news_sender, news);
    let driver = Driver::new(brain, driver_poll, driver_waker, disk, news, source, links);
    server_spawn("sentinel", move || driver.run())?;

    notify_supervisor("READY=1\nSTATUS=Ready to accept connections\n");
    let worker = Worker::new(&node, 0, random_seed());
    let event_loop = EventLoop::new(shared, worker_poll, worker, listeners)
        .map_err(|error| format!("event loop: {error}"))?;
    event_loop.run();
    Ok(())
}

/// The process's own tools. Those for data are never asked for by a sentinel's commands; their
/// other ends are closed, so that asking would fail, not wait.
fn tools(file: ConfigFile, waker: &Arc<Waker>, started: Instant) -> Tools {
    let (snapshots, _) = channel();
    let (trash, _) = channel();
    Tools::new(file, snapshots, trash, Arc::clone(waker), started)
}

/// A node for one worker, without data worth the name.
fn node(config: &Config, mailbox: Mailbox, host: Box<dyn Host>) -> Node {
    let mut config = config.clone();
    config.databases = 1;
    Node::new(NodeOptions {
        config,
        mailboxes: vec![mailbox],
        runners: 1,
        stripes: 1,
        host,
        run_id: random_hex(40),
        log: Arc::new(Log::new(random_replid(), 16 * 1024)),
    })
}

fn machine_options(config: &Config) -> Options {
    Options {
        myid: random_hex(40),
        seed: random_seed(),
        port: if config.tls_replication && config.tls_port != 0 {
            config.tls_port
        } else {
            config.port
        },
        requirepass: config
            .requirepass
            .non_empty()
            .map(|pass| String::from_utf8_lossy(pass).into_owned()),
        script_is_executable: conf::is_executable,
    }
}

/// Says in the log what was left out of the file's directives.
fn note(text: &str) {
    crate::log::write(NOTICE, text);
}
