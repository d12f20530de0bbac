//! The report that a crash leaves in the log: what happened, where, in whose request.
//!
//! A panic or failed assertion is our own bug: the report is written and the process aborts, so that
//! a replica takes over. Signals that the processor raises are reported in the same way as far as
//! that goes: their handler does more than a handler may, so an alarm ends the process if it gets stuck,
//! and a second signal ends it at once.
//!
//! No argument of any request is shown: they are the user's data.
//!
//! Source of the form: redis 7.0 `debug.c:bugReportStart`, `logStackTrace`, `bugReportEnd`.

use crate::io::sys;
use crate::log::{self, WARNING};
use node::{Node, registry};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

static NODE: OnceLock<(Arc<Node>, Instant)> = OnceLock::new();
static REPORTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The worker that this thread is.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// From now on a crash of this process is reported.
pub fn install(node: &Arc<Node>, started: Instant) {
    if NODE.set((Arc::clone(node), started)).is_err() {
        return;
    }
    std::panic::set_hook(Box::new(on_panic));
    sys::on_crash_signals(on_signal);
    sys::large_signal_stack();
}

/// Says which worker runs on this thread.
pub fn this_is_worker(index: usize) {
    WORKER.set(Some(index));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let text = info.payload_as_str().unwrap_or("(no text)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let lines = [
        "=== ASSERTION FAILED ===".to_string(),
        format!("==> {place} {text} (thread '{}')", thread.name().unwrap_or("main")),
    ];
    report(&lines);
    let exits = NODE.get().is_some_and(|(node, _)| node.settings.load().config.use_exit_on_panic);
    if exits {
        std::process::exit(1);
    }
    std::process::abort();
}

/// What a signal's handler does before the signal takes its usual course.
fn on_signal(signal: i32, address: usize) {
    let mut lines = vec![format!("Redoubt {} crashed by signal: {signal}", version())];
    // SIGABRT has no address.
    if signal != sys::SIGABRT {
        lines.push(format!("Accessing address: {address:#x}"));
    }
    report(&lines);
}

fn version() -> String {
    format!("{} (Redis {})", env!("CARGO_PKG_VERSION"), node::command::REDIS_VERSION)
}

fn report(what: &[String]) {
    // One crash, one report: an abort behind a panic is the same.
    if REPORTED.swap(true, Relaxed) {
        return;
    }
    let node = NODE.get();
    if node.is_some_and(|(node, _)| !node.settings.load().config.crash_log_enabled) {
        what.iter().for_each(|line| log::write(WARNING, line));
        return log::flush();
    }
    log::raw(b"\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    what.iter().for_each(|line| log::write(WARNING, line));
    // The rest may go wrong in its turn; what is known by now should be on disk.
    log::flush();
    if let Some((node, started)) = node {
        write_server(node, started.elapsed().as_secs());
        write_client(node);
    }
    let trace = Backtrace::force_capture();
    log::raw(format!("\n------ STACK TRACE ------\n\nBacktrace:\n{trace}\n").as_bytes());
    log::raw(END.as_bytes());
    log::flush();
}

const END: &str = "\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n       \
    Please report the crash with everything between these lines, and tell what led to it.\n\n";

fn write_server(node: &Node, uptime: u64) {
    let role = if node.is_replica() { "replica" } else { "master" };
    let text = format!(
        "\n------ SERVER ------\nredoubt_version:{}\nredis_version:{}\nos:{}\nprocess_id:{}\nrun_id:{}\n\
         uptime_in_seconds:{uptime}\nrole:{role}\nworkers:{}\n",
        env!("CARGO_PKG_VERSION"),
        node::command::REDIS_VERSION,
        sys::uname(),
        std::process::id(),
        node.run_id,
        node.mailboxes.len(),
    );
    log::raw(text.as_bytes());
}

/// The connection whose request this thread was busy with, and the command's name.
fn write_client(node: &Node) {
    let Some(worker) = WORKER.get() else { return };
    let Some(stats) = node.stats.workers.get(worker) else { return };
    let id = stats.serving.load(Relaxed);
    // The table may be locked by the very thread that crashed.
    let Some(client) = node.clients.try_get(id) else { return };
    let last = client.last_command.load(Relaxed) as usize;
    let command = registry().by_index.get(last).map_or("NULL", |entry| entry.spec.name);
    let text = format!(
        "\n------ CURRENT CLIENT INFO ------\nid={} addr={} worker={worker} db={} resp={} multi={}\n\
         argv[0]: '{command}'\n",
        client.id,
        client.addr,
        client.db.load(Relaxed),
        client.resp.load(Relaxed),
        client.multi.load(Relaxed),
    );
    log::raw(text.as_bytes());
}
