//! `INFO replication` and ROLE, put together from the log and the two machines.

use resp::Reply;
use stdx::MonoMs;

use crate::log::Log;
use crate::master::MasterSide;
use crate::replica::{LinkState, ReplicaLink};

/// Directives that INFO repeats.
#[derive(Clone, Copy, Debug)]
pub struct InfoSettings {
    /// `replica-priority`
    pub replica_priority: u64,
    /// `replica-read-only`
    pub replica_read_only: bool,
    /// `replica-announced`
    pub replica_announced: bool,
    /// This master came back empty while its replicas hold data.
    pub came_back_empty: bool,
    /// `min-replicas-to-write` and `min-replicas-max-lag` in seconds, if both are set.
    pub min_replicas: Option<u64>,
}

/// The whole section with its heading, as Redis 7.0 prints it. Other nodes' addresses are those that
/// they have in `view`.
/// Source: redis 7.0 `server.c:genRedisInfoString`.
pub fn section(
    now: MonoMs,
    settings: &InfoSettings,
    log: &Log,
    link: &ReplicaLink,
    master: &MasterSide,
    view: Option<&str>,
) -> String {
    let mut out = String::with_capacity(1024);
    out.push_str("# Replication\r\n");
    match link.status(now) {
        None => {
            out.push_str("role:master\r\n");
            if settings.came_back_empty {
                out.push_str("master_came_back_empty:1\r\n");
            }
        }
        Some(_) => replica_lines(now, settings, link, view, &mut out),
    }
    out.push_str(&format!("connected_slaves:{}\r\n", master.replica_count()));
    if let Some(max_lag_s) = settings.min_replicas {
        let good = master.watermarks().good_replicas(now, max_lag_s);
        out.push_str(&format!("min_slaves_good_slaves:{good}\r\n"));
    }
    master.info_replicas(now, view, &mut out);
    let (ids, stats) = (log.ids(), log.stats());
    let failover = master.failover_state().as_str();
    out.push_str(&format!("master_failover_state:{failover}\r\n"));
    out.push_str(&format!("master_replid:{}\r\n", ids.replid));
    out.push_str(&format!("master_replid2:{}\r\n", ids.replid2));
    out.push_str(&format!("master_repl_offset:{}\r\n", stats.offset));
    out.push_str(&format!("second_repl_offset:{}\r\n", ids.second_repl_offset));
    out.push_str(&format!("repl_backlog_active:{}\r\n", u8::from(stats.active)));
    out.push_str(&format!("repl_backlog_size:{}\r\n", stats.size));
    out.push_str(&format!("repl_backlog_first_byte_offset:{}\r\n", stats.first_byte_offset));
    out.push_str(&format!("repl_backlog_histlen:{}\r\n", stats.histlen));
    out
}

fn replica_lines(
    now: MonoMs,
    settings: &InfoSettings,
    link: &ReplicaLink,
    view: Option<&str>,
    out: &mut String,
) {
    let Some(status) = link.status(now) else { return };
    let (host, port) = link.master_in_view(view).unwrap_or((status.host.as_str(), status.port));
    let up = status.state == LinkState::Connected;
    out.push_str("role:slave\r\n");
    out.push_str(&format!("master_host:{host}\r\n"));
    out.push_str(&format!("master_port:{port}\r\n"));
    out.push_str(&format!("master_link_status:{}\r\n", if up { "up" } else { "down" }));
    out.push_str(&format!("master_last_io_seconds_ago:{}\r\n", status.last_io_seconds_ago));
    out.push_str(&format!("master_sync_in_progress:{}\r\n", u8::from(status.sync.is_some())));
    out.push_str(&format!("slave_read_repl_offset:{}\r\n", status.read_offset));
    out.push_str(&format!("slave_repl_offset:{}\r\n", status.applied_offset));
    if let Some(sync) = status.sync {
        let left = sync.total_bytes as i64 - sync.read_bytes as i64;
        let percent = match sync.total_bytes {
            0 => 0.0,
            total => sync.read_bytes as f64 / total as f64 * 100.0,
        };
        out.push_str(&format!("master_sync_total_bytes:{}\r\n", sync.total_bytes));
        out.push_str(&format!("master_sync_read_bytes:{}\r\n", sync.read_bytes));
        out.push_str(&format!("master_sync_left_bytes:{left}\r\n"));
        out.push_str(&format!("master_sync_perc:{percent:.2}\r\n"));
        out.push_str(&format!("master_sync_last_io_seconds_ago:{}\r\n", sync.last_io_seconds_ago));
    }
    if let Some(seconds) = status.down_since_seconds {
        out.push_str(&format!("master_link_down_since_seconds:{seconds}\r\n"));
    }
    out.push_str(&format!("slave_priority:{}\r\n", settings.replica_priority));
    out.push_str(&format!("slave_read_only:{}\r\n", u8::from(settings.replica_read_only)));
    out.push_str(&format!("replica_announced:{}\r\n", u8::from(settings.replica_announced)));
    if status.empty_refused > 0 {
        out.push_str(&format!("master_empty_refused:{}\r\n", status.empty_refused));
    }
}

/// The answer of ROLE, with other nodes' addresses as they are in `view`.
/// Source: redis 7.0 `replication.c:roleCommand`.
pub fn role_reply(
    now: MonoMs,
    link: &ReplicaLink,
    master: &MasterSide,
    view: Option<&str>,
    reply: &mut Reply,
) {
    if link.master().is_some() {
        link.role_reply(view, reply);
    } else {
        master.role_reply(now, view, reply);
    }
}
