//! What is kept of a command that ran: statistics, SLOWLOG, latency, MONITOR.

use crate::registry::CommandRef;
use crate::stats::bump;
use crate::{Node, Session, Worker, lock};
use commands::Flags;
use resp::Args;
use std::sync::atomic::Ordering::Relaxed;

impl Node {
    /// Counts a command that a script called. The clock stands still inside a script.
    pub(crate) fn count_script_call(&self, worker: &Worker, command: CommandRef, failed: bool) {
        let stat = &worker.stats.commands[command.index];
        bump(&stat.calls, 1);
        if failed {
            bump(&stat.failed, 1);
        }
    }

    /// Statistics, SLOWLOG and the latency monitor. Moves the worker's clock on.
    pub(super) fn account(
        &self,
        worker: &mut Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
        start_us: u64,
        failed: bool,
    ) {
        let now = worker.now.moved_to(self.host.mono_us());
        worker.now = now;
        let usec = now.mono_us.saturating_sub(start_us);
        let stats = &worker.stats;
        let stat = &stats.commands[command.index];
        bump(&stats.total_commands, 1);
        bump(&stat.calls, 1);
        bump(&stat.usec, usec);
        if failed {
            bump(&stat.failed, 1);
        }
        let config = &worker.settings.config;
        if config.latency_tracking {
            stat.histogram.record(usec);
        }
        if config.slowlog_log_slower_than >= 0
            && usec >= config.slowlog_log_slower_than as u64
            && !command.spec.flags.contains(Flags::SKIP_SLOWLOG)
        {
            let name = lock(&session.info.names).name.clone();
            let max = config.slowlog_max_len as usize;
            let started = now.unix().secs() - (usec / 1_000_000) as i64;
            let shown: Vec<&[u8]> = redacted(command, args);
            lock(&self.slowlog).add(
                max,
                started,
                usec,
                shown.into_iter(),
                &session.info.addr,
                &name,
            );
        }
        if config.latency_monitor_threshold > 0 {
            let event =
                if command.spec.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
            self.note_latency(config.latency_monitor_threshold, event, usec, now.unix());
        }
    }

    pub(super) fn tell_monitors(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
    ) {
        if self.monitor_count.load(Relaxed) > 0 {
            self.feed_monitors_as(worker, session, command, args, None);
        }
    }

    /// Shows a command to those who said MONITOR; `peer` stands in place of an address. Source: redis 7.0 `replication.c:replicationFeedMonitors`.
    pub(crate) fn feed_monitors_as(
        &self,
        worker: &Worker,
        session: &Session,
        command: CommandRef,
        args: &Args<'_>,
        peer: Option<&str>,
    ) {
        // Scripts are shown before the commands that they call.
        let is_script = command.spec.group == commands::Group::Scripting;
        if command.spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) && !is_script {
            return;
        }
        let unix_us = worker.now.unix_us;
        let peer = if let Some(peer) = peer {
            peer.to_string()
        } else if session.info.unix {
            format!("unix:{}", session.info.laddr)
        } else {
            session.info.addr.clone()
        };
        let mut line = format!(
            "+{}.{:06} [{} {}]",
            unix_us / 1_000_000,
            unix_us % 1_000_000,
            session.db,
            peer
        );
        for arg in redacted(command, args) {
            line.push(' ');
            line.push_str(&resp::quote(arg));
        }
        line.push_str("\r\n");
        for monitor in lock(&self.monitors).iter() {
            if let Some(mailbox) = self.mailboxes.get(monitor.worker()) {
                mailbox.send(crate::Message::Push {
                    client: monitor.id,
                    bytes: line.clone().into_bytes(),
                });
            }
        }
    }
}

/// Arguments as they may be shown: passwords are not.
pub(super) fn redacted<'a>(command: CommandRef, args: &Args<'a>) -> Vec<&'a [u8]> {
    const HIDDEN: &[u8] = b"(redacted)";
    let hide_from = match command.spec.name {
        "auth" => 1,
        "acl|setuser" | "acl|getuser" | "acl|deluser" => 2,
        "hello" => args
            .iter()
            .position(|arg| arg.eq_ignore_ascii_case(b"auth"))
            .map_or(usize::MAX, |at| at + 1),
        "config|set" => {
            return (0..args.len())
                .map(|at| {
                    let secret = at >= 3
                        && at % 2 == 1
                        && config::Directive::find(args.at(at - 1))
                            .is_some_and(config::Directive::is_secret);
                    if secret { HIDDEN } else { args.at(at) }
                })
                .collect();
        }
        _ => return args.iter().collect(),
    };
    let until = if command.spec.name == "hello" { hide_from.saturating_add(2) } else { usize::MAX };
    (0..args.len())
        .map(|at| if at >= hide_from && at < until { HIDDEN } else { args.at(at) })
        .collect()
}
