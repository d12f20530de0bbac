//! The end of a data server: SHUTDOWN, SIGTERM, SIGINT.
//!
//! A thread of its own walks through it, so that no worker waits: replicas get what they lack, for
//! at most `shutdown-timeout`; then the data set is saved if that is due, with writes held back, so
//! that the file is what clients and replicas were told; then the process ends. Until the last step
//! SHUTDOWN ABORT can call it off.
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

/// How often it looks whether the replicas have everything.
const LOOK: Duration = Duration::from_millis(10);
/// Longest time for what is written to reach the replicas' sockets at the very end.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// Begins to end the process; nothing if that has begun already.
pub fn begin(tools: &Arc<Tools>, how: ShutdownHow) {
    let node = &tools.shared().node;
    let Some(number) = node.shutdown.begin(how) else { return };
    let thread = Arc::clone(tools);
    let spawned = super::server_spawn("shutdown", move || end(&thread, number, how));
    if let Err(why) = spawned {
        crate::log::write(WARNING, &why);
        node.cancel_shutdown();
    }
}

fn end(tools: &Tools, number: u64, how: ShutdownHow) {
    let node = &tools.shared().node;
    crate::log::write(WARNING, "User requested shutdown...");
    super::host::notify_supervisor("STOPPING=1\n");
    let config = node.settings.load_full().config.clone();
    let mono = || node.host.now().mono();
    let patience = u64::from(config.shutdown_timeout) * 1000;
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
    if tools.finish_aof(how).is_err() || !save(tools, &config, how) {
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
fn save(tools: &Tools, config: &Config, how: ShutdownHow) -> bool {
    let wanted = how.save.unwrap_or(!config.save.is_empty());
    // What is half loaded must not replace the file that it comes from.
    if !wanted || tools.shared().node.persistence.loading.load(Ordering::Acquire) {
        return true;
    }
    crate::log::write(NOTICE, "Saving the final RDB snapshot before exiting.");
    super::host::notify_supervisor("STATUS=Saving the final RDB snapshot\n");
    match tools.save_and_wait() {
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
            begin(&tools, how_of(flags));
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
