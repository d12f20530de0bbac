//! What happens by the clock: keepalives, time-outs, output limits, the end of an idle backlog.
//!
//! Source: redis 7.0 `replication.c:replicationCron`, `networking.c:checkClientOutputBufferLimits`.

use stdx::MonoMs;

use super::{Conn, ConnId, FailoverState, MasterSide, State, Transport, Upstream};

/// How often every replica is looked at. Redis looks once a second.
pub(super) const CRON_PERIOD_MS: u64 = 1000;
/// How often when a replica is far behind: the output limit must not be overrun by a second's worth.
const BUSY_PERIOD_MS: u64 = 100;
/// How much counts as far behind.
const BUSY_BYTES: u64 = 1 << 20;

impl MasterSide {
    pub(super) fn cron(&mut self, now: MonoMs) {
        self.start_due_snapshot(now);
        if self.next_cron.is_some_and(|due| due <= now) {
            self.each_second(now);
        }
        if self.next_ping.is_some_and(|due| due <= now) {
            // Not while somebody has to reach the log's end.
            if !self.hold_pings && self.failover_state() == FailoverState::None {
                self.log.append_ping();
            }
            self.next_ping = Some(now + self.options.ping_period_ms.max(1));
        }
        if self.backlog_free_due().is_some_and(|due| due <= now) {
            let fresh = self.fresh_id();
            self.log.free_backlog(fresh);
            self.notice(format!(
                "Replication backlog freed after {} seconds without connected replicas.",
                self.options.backlog_ttl_ms / 1000
            ));
        }
    }

    fn each_second(&mut self, now: MonoMs) {
        self.check_output_limits(now);
        if self.newline_due(now) {
            self.send_newlines();
        }
        self.drop_silent(now);
        self.log.trim();
        if self.next_cron.is_some() {
            let busy = self.conns.iter().any(|c| self.output_bytes(c.id) > BUSY_BYTES);
            let period = if busy { BUSY_PERIOD_MS } else { CRON_PERIOD_MS };
            self.next_cron = Some(now + period);
        }
    }

    /// The look at all replicas may run more often than newlines are wanted.
    fn newline_due(&mut self, now: MonoMs) -> bool {
        let due = now.since(self.last_newline) >= CRON_PERIOD_MS;
        if due {
            self.last_newline = now;
        }
        due
    }

    /// Tells replicas that wait for an RDB that the link lives. Not while a diskless one is being
    /// sent: a newline would land inside it.
    fn send_newlines(&mut self) {
        let waits = |state: &State| {
            matches!(
                state,
                State::WaitStart { .. } | State::InJob { transport: Transport::Disk, .. }
            )
        };
        // Members of an earlier snapshot may still be in the middle of theirs.
        let unstarted = self.job.as_ref().filter(|j| j.offset.is_none()).map(|j| j.id);
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|c| waits(&c.state) || (unstarted.is_some() && c.job() == unstarted))
            .map(|c| c.id)
            .collect();
        for id in ids {
            self.send(id, b"\n");
        }
    }

    /// Drops replicas that said nothing, or took nothing, for `repl-timeout`.
    fn drop_silent(&mut self, now: MonoMs) {
        let limit = self.options.timeout_ms;
        let mut dropped = Vec::new();
        for conn in &self.conns {
            match conn.state {
                // A peer that came by SYNC sends no ACKs.
                State::Online(_) if !conn.pre_psync => {
                    let age = self.watermarks.of(conn.id, now).map_or(0, |(_, age_ms)| age_ms);
                    if age > limit {
                        dropped.push((conn.id, conn.name(), "streaming sync"));
                    }
                }
                State::InJob { transport: Transport::Diskless, .. }
                    if conn.blocked_since.is_some_and(|since| now.since(since) > limit) =>
                {
                    dropped.push((conn.id, conn.name(), "full sync"));
                }
                _ => {}
            }
        }
        for (id, name, what) in dropped {
            self.warning(format!("Disconnecting timedout replica ({what}): {name}"));
            self.close(now, id);
        }
    }

    /// Bytes of the log that may be kept for one replica. Source: redis 7.0
    /// `networking.c:checkClientOutputBufferLimits` (never less than the backlog).
    fn hard_limit(&self) -> u64 {
        match self.options.output_limit.hard_bytes {
            0 => u64::MAX,
            bytes => bytes.max(self.log.stats().size),
        }
    }

    /// Tells the log how far each replica may fall behind, so that not even a burst between two
    /// looks keeps more for it.
    pub(super) fn limit_readers(&mut self) {
        let hard = self.hard_limit();
        self.conns.iter().filter_map(Conn::watch).for_each(|watch| watch.set_limit(hard));
    }

    /// Drops replicas for which too much is kept.
    fn check_output_limits(&mut self, now: MonoMs) {
        let limit = self.options.output_limit;
        let hard = self.hard_limit();
        let soft = if limit.soft_bytes == 0 { u64::MAX } else { limit.soft_bytes };
        let end = self.log.offset();
        let mut dropped = Vec::new();
        for conn in &mut self.conns {
            let Some(at) = conn.stream_position() else { continue };
            let kept = end.saturating_sub(at);
            let over_soft = kept > soft;
            let since = conn.over_soft_since.unwrap_or(now);
            conn.over_soft_since = over_soft.then_some(since);
            if kept > hard || (over_soft && now.since(since) > limit.soft_ms) {
                dropped.push((conn.id, conn.name()));
            }
        }
        for (id, name) in dropped {
            self.warning(over_limit(id, &name));
            self.close(now, id);
        }
        self.drop_lost(now);
    }

    /// Drops replicas whose place in the log is gone.
    fn drop_lost(&mut self, now: MonoMs) {
        let lost = |conn: &&Conn| conn.watch().is_some_and(|watch| watch.position().is_none());
        let ids: Vec<ConnId> = self.conns.iter().filter(lost).map(|c| c.id).collect();
        for id in ids {
            self.close(now, id);
        }
    }

    /// When the backlog ends for want of replicas.
    pub(super) fn backlog_free_due(&self) -> Option<MonoMs> {
        let ttl = self.options.backlog_ttl_ms;
        let applies = ttl > 0 && self.upstream == Upstream::None && self.replica_count() == 0;
        // Redis waits for more than the time, not just for it.
        (applies && self.log.wants_stream()).then(|| self.no_replicas_since + ttl + 1000)
    }
}

/// What the log says of a replica for which too much would have to be kept.
pub(super) fn over_limit(id: ConnId, name: &str) -> String {
    format!(
        "Client id={} addr={name} flags=S scheduled to be closed ASAP for overcoming of output \
         buffer limits.",
        id.0
    )
}
