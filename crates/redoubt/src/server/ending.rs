//! The end of a data server: SHUTDOWN, SIGTERM, SIGINT.
//!
//! A thread of its own walks through it, so that no worker waits: replicas get what they lack, for
//! at most `shutdown-timeout`; then the data set is saved if that is due, with writes held back, so
//! that the file is what clients and replicas were told; then the process ends. Until the last step
//! SHUTDOWN ABORT can call it off.
//!
//! On SIGTERM a master first tries to hand over (`handover.rs`), and all of it keeps within
//! [`WHOLE_MS`], for a container engine kills after ten seconds.
//!
//! Source: redis 7.0 `server.c:prepareForShutdown`, `finishShutdown`.

use super::host::Tools;
use crate::log::{NOTICE, WARNING};
use crate::os::time::{Duration, Instant};
use config::{Config, ShutdownFlags};
use node::ShutdownHow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stdx::MonoMs;

/// How often it looks whether the replicas have everything.
const LOOK: Duration = Duration::from_millis(10);
/// Longest time for what is written to reach the replicas' sockets at the very end.
const LAST_BYTES: Duration = Duration::from_millis(200);
/// SIGTERM with `shutdown-handover yes`: how long everything may take, and until when waiting for
/// others has to be over.
const WHOLE_MS: u64 = 7500;
const HAND_OVER_MS: u64 = 4500;
const WAITING_MS: u64 = 5000;

/// Begins to end the process; nothing if that has begun already.
pub fn begin(tools: &Arc<Tools>, how: ShutdownHow) {
    begin_for(tools, how, false);
}

fn begin_for(tools: &Arc<Tools>, how: ShutdownHow, sigterm: bool) {
    let node = &tools.shared().node;
    let Some(number) = node.shutdown.begin(how) else { return };
    let thread = Arc::clone(tools);
    let spawned = super::server_spawn("shutdown", move || end(&thread, number, how, sigterm));
    if let Err(why) = spawned {
        crate::log::write(WARNING, &why);
        node.cancel_shutdown();
    }
}

fn end(tools: &Tools, number: u64, how: ShutdownHow, sigterm: bool) {
    let node = &tools.shared().node;
    crate::log::write(WARNING, "User requested shutdown...");
    super::host::notify_supervisor("STOPPING=1\n");
    let config = node.settings.load_full().config.clone();
    let mono = || node.host.now().mono();
    let begun = mono();
    let in_time = sigterm && config.shutdown_handover && !config.cluster_enabled;
    let mut patience = u64::from(config.shutdown_timeout) * 1000;
    let mut handed_over = false;
    if in_time && !how.now {
        let was_replica = node.is_replica();
        let until = begun + HAND_OVER_MS;
        node.shutdown_waits_until(until);
        handed_over = super::handover::run(node, number, until) && !was_replica;
        patience = patience.min(WAITING_MS.saturating_sub(mono().since(begun)));
        if handed_over {
            crate::log::write(NOTICE, "Another node is the master now.");
        }
        if !node.shutdown.is_wanted(number) {
            return;
        }
    }
    if !how.now && patience > 0 && !node.replicas_have_all(mono()) {
        let until = mono() + patience;
        node.shutdown_waits_until(until);
        node.hold_writes_for_shutdown(node.host.now());
        crate::log::write(NOTICE, "Waiting for replicas before shutting down.");
        while node.shutdown.is_wanted(number) && mono() < until && !node.replicas_have_all(mono()) {
            node.shutdown.wait(LOOK);
        }
    } else {
        // What is saved, and what replicas get, is what clients were told: nothing comes behind it.
        node.hold_writes_for_shutdown(node.host.now());
    }
    if !node.shutdown.is_wanted(number) {
        return;
    }
    report_replicas(tools);
    // A node that has handed over saves what another one has, too: not at any price.
    let save_until = handed_over.then(|| begun + WHOLE_MS);
    if tools.finish_aof(how).is_err() || !save(tools, &config, how, save_until) {
        crate::log::write(
            WARNING,
            "Errors trying to shut down the server. Check the logs for more information.",
        );
        node.cancel_shutdown();
        return;
    }
    let Some(_no_return) = node.shutdown.last_step(number) else { return };
    let text = |text: &config::Text| {
        text.non_empty().map(|path| PathBuf::from(String::from_utf8_lossy(path).into_owned()))
    };
    if let Some(path) = text(&config.pidfile) {
        crate::log::write(NOTICE, "Removing the pid file.");
        let _ = crate::os::fs::remove_file(path);
    }
    let begun = Instant::now();
    while node.repl.master().unsent_bytes() > 0 && begun.elapsed() < LAST_BYTES {
        crate::os::thread::sleep(Duration::from_millis(1));
    }
    if let Some(path) = text(&config.unixsocket) {
        let _ = crate::os::fs::remove_file(path);
    }
    crate::log::write(WARNING, "Redis is now ready to exit, bye bye...");
    crate::os::process::exit(0);
}

fn report_replicas(tools: &Tools) {
    let node = &tools.shared().node;
    let report = node.laggards(node.host.now().mono());
    for line in &report.lines {
        crate::log::write(WARNING, line);
    }
    if report.replicas > 0 {
        crate::log::write(
            NOTICE,
            &format!(
                "{} of {} replicas are in sync when shutting down.",
                report.replicas - report.lagging,
                report.replicas
            ),
        );
    }
}

/// Saves if that is due. False: the process must not end.
fn save(tools: &Tools, config: &Config, how: ShutdownHow, until: Option<MonoMs>) -> bool {
    let wanted = how.save.unwrap_or(!config.save.is_empty());
    // What is half loaded must not replace the file that it comes from.
    if !wanted || tools.shared().node.persistence.loading.load(Ordering::Acquire) {
        return true;
    }
    crate::log::write(NOTICE, "Saving the final RDB snapshot before exiting.");
    super::host::notify_supervisor("STATUS=Saving the final RDB snapshot\n");
    let left = until.map(|until| {
        let left = until.since(tools.shared().node.host.now().mono());
        Duration::from_millis(left.max(1))
    });
    let Some(saved) = tools.save_within(left) else {
        crate::log::write(WARNING, "Not saved in time. The new master has everything, exiting.");
        return true;
    };
    match saved {
        Ok(()) => true,
        Err(_) if how.force => {
            crate::log::write(WARNING, "Error trying to save the DB. Exit anyway.");
            true
        }
        Err(_) => {
            crate::log::write(WARNING, "Error trying to save the DB, can't exit.");
            false
        }
    }
}

/// SIGTERM and SIGINT end the server in an orderly way; a second SIGINT ends it at once.
pub fn spawn_signals(tools: &Arc<Tools>) -> Result<(), String> {
    use crate::os::signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
    let mut signals =
        crate::os::signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGPIPE])
            .map_err(|error| format!("signals: {error}"))?;
    let tools = Arc::clone(tools);
    super::server_spawn("signals", move || {
        for signal in signals.forever() {
            let node = &tools.shared().node;
            let config = node.settings.load_full().config.clone();
            let (name, flags) = match signal {
                SIGTERM => ("SIGTERM", config.shutdown_on_sigterm),
                SIGINT => ("SIGINT", config.shutdown_on_sigint),
                _ => continue,
            };
            if signal == SIGINT && node.shutdown.is_running() {
                crate::log::write(WARNING, "You insist... exiting now.");
                crate::os::process::exit(1);
            }
            crate::log::write(WARNING, &format!("Received {name} scheduling shutdown..."));
            if node.persistence.loading.load(Ordering::Acquire) {
                crate::log::write(
                    WARNING,
                    "Received shutdown signal during loading, scheduling shutdown.",
                );
            }
            begin_for(&tools, how_of(flags), signal == SIGTERM);
        }
    })
}

fn how_of(flags: ShutdownFlags) -> ShutdownHow {
    ShutdownHow {
        save: if flags.save {
            Some(true)
        } else if flags.nosave {
            Some(false)
        } else {
            None
        },
        now: flags.now,
        force: flags.force,
    }
}
