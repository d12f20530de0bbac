//! PSYNC and SYNC: the decision between a partial and a full resynchronization, and the way through
//! a full one.
//!
//! Source: redis 7.0 `replication.c:syncCommand`, `masterTryPartialResync`,
//! `startBgsaveForReplication`, `updateSlavesWaitingBgsave`, `replicaPutOnline`.

use resp::Args;
use stdx::{MonoMs, parse_i64};

use super::cron::CRON_PERIOD_MS;
use super::{
    Conn, FailoverState, Job, JobId, MasterOutput, MasterSide, State, Streaming, Transport,
    Upstream,
};
use crate::event::{ConnId, printable};
use crate::log::{PartialRefusal, SnapshotMark};

impl MasterSide {
    /// `PSYNC id offset [FAILOVER]` or `SYNC`.
    pub(super) fn sync(
        &mut self,
        now: MonoMs,
        id: ConnId,
        peer_ip: &str,
        args: Args<'_>,
        pending_output: bool,
    ) {
        if self.is_replica(id) {
            return; // Asked twice: Redis does not answer.
        }
        let is_psync = args.is(0, "psync");
        if is_psync && args.len() < 3 {
            let text = "ERR wrong number of arguments for 'psync' command";
            return self.reply_error(id, text.as_bytes());
        }
        if let Err(error) = self.may_sync(pending_output) {
            return self.reply_error(id, error.as_bytes());
        }
        let conn = self.find_or_add(id, peer_ip);
        let (name, filtered, capa_eof) = (conn.name(), conn.filter, conn.capa_eof);
        if (filtered.exclude_data || filtered.exclude_functions) && !capa_eof {
            return self.reply_error(id, b"ERR Filtered replica requires EOF capability");
        }
        self.notice(format!("Replica {name} asks for synchronization"));
        if is_psync {
            let Some(argument) = parse_i64(args.at(2)) else {
                self.warning(format!(
                    "Replica {name} asks for synchronization but with a wrong offset"
                ));
                return self.reply_error(id, b"ERR value is not an integer or out of range");
            };
            if self.psync(now, id, &name, args.at(1), argument) {
                return;
            }
        } else if let Some(conn) = self.find(id) {
            conn.pre_psync = true;
        }
        self.begin_full(now, id);
    }

    /// Reasons to refuse right away.
    fn may_sync(&self, pending: bool) -> Result<(), &'static str> {
        if self.failover_state() != FailoverState::None {
            return Err("NOMASTERLINK Can't SYNC while failing over");
        }
        if self.upstream == Upstream::Down {
            return Err("NOMASTERLINK Can't SYNC while not connected with my master");
        }
        if pending {
            return Err("ERR SYNC and PSYNC are invalid with pending output");
        }
        Ok(())
    }

    /// Tries to go on where the replica was cut off. False: a full resynchronization is needed.
    fn psync(&mut self, now: MonoMs, id: ConnId, name: &str, replid: &[u8], argument: i64) -> bool {
        let refusal = match self.log.try_partial(replid, argument) {
            Ok(cursor) => {
                let first = cursor.position().unwrap_or(0);
                let bytes = self.log.offset() - first;
                self.become_replica(now, id, State::Online(Streaming::AwaitAck(cursor)));
                self.limit_readers();
                self.watermarks.online(id, now);
                self.stats.partial_ok += 1;
                let replid = self.log.ids().replid;
                let psync2 = self.find(id).is_some_and(|c| c.capa_psync2);
                let line =
                    if psync2 { format!("+CONTINUE {replid}\r\n") } else { "+CONTINUE\r\n".into() };
                self.send(id, line.as_bytes());
                self.notice(format!(
                    "Partial resynchronization request from {name} accepted. \
                     Sending {bytes} bytes of backlog starting from offset {argument}."
                ));
                self.start_stream(id);
                return true;
            }
            Err(refusal) => refusal,
        };
        if refusal != PartialRefusal::NoHistory {
            self.stats.partial_err += 1;
        }
        self.log_refusal(refusal, name, replid, argument);
        false
    }

    fn log_refusal(&mut self, why: PartialRefusal, name: &str, replid: &[u8], argument: i64) {
        let ids = self.log.ids();
        match why {
            PartialRefusal::NoHistory => {
                self.notice(format!("Full resync requested by replica {name}"));
            }
            PartialRefusal::IdMismatch => self.notice(format!(
                "Partial resynchronization not accepted: Replication ID mismatch \
                 (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                printable(replid),
                ids.replid,
                ids.replid2
            )),
            PartialRefusal::BeyondSecondId { limit } => self.notice(format!(
                "Partial resynchronization not accepted: Requested offset for second ID was \
                 {argument}, but I can reply up to {limit}"
            )),
            PartialRefusal::Trimmed | PartialRefusal::BeyondEnd => {
                self.notice(format!(
                    "Unable to partial resync with replica {name} for lack of backlog \
                     (Replica request was: {argument})."
                ));
                if why == PartialRefusal::BeyondEnd {
                    self.warning(format!(
                        "Warning: replica {name} tried to PSYNC with an offset that is greater \
                         than the master replication offset."
                    ));
                }
            }
        }
    }

    /// The only way from a connection to a replica.
    fn become_replica(&mut self, now: MonoMs, id: ConnId, state: State) {
        let first = self.replica_count() == 0;
        let Some(conn) = self.find(id) else { return };
        assert!(!conn.is_replica(), "attached twice");
        conn.state = state;
        self.watermarks.attach(id, now);
        // INFO numbers replicas in the order in which they attached.
        if let Some(at) = self.conns.iter().position(|c| c.id == id) {
            let conn = self.conns.remove(at);
            self.conns.push(conn);
        }
        if first {
            self.next_ping = Some(now + self.options.ping_period_ms.max(1));
            self.next_cron = Some(now + CRON_PERIOD_MS);
        }
    }

    /// Queues a replica for the whole data set.
    fn begin_full(&mut self, now: MonoMs, id: ConnId) {
        self.stats.full += 1;
        if let Some(conn) = self.find(id) {
            conn.filter.no_field_times = !conn.capa_rdb12;
        }
        self.become_replica(now, id, State::WaitStart { since: now });
        if self.upstream == Upstream::None {
            let fresh = self.fresh_id();
            if let Some(ids) = self.log.create_backlog(fresh) {
                self.notice(format!(
                    "Replication backlog created, my new replication IDs are '{}' and '{}'",
                    ids.replid, ids.replid2
                ));
            }
        }
        match &self.job {
            Some(job) if job.transport == Transport::Diskless => {
                self.notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
            }
            Some(_) => {
                if self.attach_to_job(id) {
                    self.notice("Waiting for end of BGSAVE for SYNC");
                } else {
                    self.notice(
                        "Can't attach the replica to the current BGSAVE. \
                         Waiting for next BGSAVE for SYNC",
                    );
                }
            }
            None => {
                if self.snapshot_due().is_some_and(|due| due > now) {
                    self.notice("Delay next BGSAVE for diskless SYNC");
                }
                self.start_due_snapshot(now);
            }
        }
    }

    /// Joins the running disk snapshot, if another replica still holds its place in the log.
    fn attach_to_job(&mut self, id: ConnId) -> bool {
        let Some(Job { id: job, filter, offset: Some(offset), .. }) = self.job else {
            return false;
        };
        let Some(conn) = self.conns.iter().find(|c| c.id == id) else { return false };
        if conn.filter != filter {
            return false;
        }
        let Some(cursor) = self.log.cursor_at(offset) else { return false };
        let cursor = (!conn.rdb_only).then_some(cursor);
        if let Some(conn) = self.find(id) {
            conn.state = State::InJob { job, transport: Transport::Disk, cursor };
        }
        self.limit_readers();
        self.send_fullresync(id, offset);
        true
    }

    fn send_fullresync(&mut self, id: ConnId, offset: u64) {
        let replid = self.log.ids().replid;
        if self.find(id).is_some_and(|c| !c.pre_psync) {
            self.send(id, format!("+FULLRESYNC {replid} {offset}\r\n").as_bytes());
        }
    }

    fn waiting(&self) -> impl Iterator<Item = (&Conn, MonoMs)> {
        self.conns.iter().filter_map(|c| match c.state {
            State::WaitStart { since } => Some((c, since)),
            _ => None,
        })
    }

    /// When the next snapshot has to start, if anybody waits for one and none is being made.
    pub(super) fn snapshot_due(&self) -> Option<MonoMs> {
        if self.job.is_some() {
            return None;
        }
        let (_, oldest) = self.waiting().min_by_key(|(_, since)| *since)?;
        let max = self.options.diskless_sync_max_replicas;
        let crowd = max > 0 && self.waiting().count() >= max;
        match self.transport_for_waiting() {
            Transport::Diskless if !crowd => Some(oldest + self.options.diskless_sync_delay_ms),
            _ => Some(oldest),
        }
    }

    /// Diskless only if everybody who waits understands it and acknowledges its end.
    fn transport_for_waiting(&self) -> Transport {
        if self.options.diskless_sync && self.waiting().all(|(c, _)| c.capa_eof && !c.pre_psync) {
            Transport::Diskless
        } else {
            Transport::Disk
        }
    }

    pub(super) fn start_due_snapshot(&mut self, now: MonoMs) {
        if self.snapshot_due().is_none_or(|due| due > now) {
            return;
        }
        let transport = self.transport_for_waiting();
        let Some(filter) = self.waiting().next().map(|(c, _)| c.filter) else { return };
        self.jobs_made += 1;
        let job = JobId(self.jobs_made);
        let mut conns = Vec::new();
        for conn in &mut self.conns {
            if matches!(conn.state, State::WaitStart { .. }) && conn.filter == filter {
                conn.state = State::InJob { job, transport, cursor: None };
                conns.push(conn.id);
            }
        }
        assert!(!conns.is_empty(), "a snapshot is made for somebody");
        self.job = Some(Job { id: job, transport, filter, offset: None });
        self.notice(format!(
            "Starting BGSAVE for SYNC with target: {}",
            match transport {
                Transport::Diskless => "replicas sockets",
                Transport::Disk => "disk",
            }
        ));
        self.outputs.push_back(MasterOutput::StartSnapshot { job, transport, filter, conns });
    }

    pub(super) fn snapshot_started(&mut self, job: JobId, mark: &SnapshotMark) {
        let Some(current) = self.job.as_mut().filter(|j| j.id == job) else { return };
        current.offset = Some(mark.offset);
        let transport = current.transport;
        let members: Vec<(ConnId, bool)> = self
            .conns
            .iter()
            .filter(|c| c.job() == Some(job))
            .map(|c| (c.id, c.rdb_only))
            .collect();
        for (id, rdb_only) in members {
            let place = if rdb_only { None } else { self.log.cursor_at(mark.offset) };
            if let Some(Conn { state: State::InJob { cursor, .. }, .. }) = self.find(id) {
                *cursor = place;
            }
            self.send_fullresync(id, mark.offset);
            if transport == Transport::Diskless {
                let trailer = self.prng.hex(40);
                let header = format!("$EOF:{trailer}\r\n").into_bytes();
                let trailer = trailer.into_bytes();
                self.outputs.push_back(MasterOutput::Transfer { conn: id, job, header, trailer });
            }
        }
        self.limit_readers();
    }

    pub(super) fn snapshot_ended(&mut self, now: MonoMs, id: JobId, length: Option<u64>) {
        let Some(job) = self.job.take_if(|j| j.id == id) else { return };
        let members: Vec<ConnId> =
            self.conns.iter().filter(|c| c.job() == Some(id)).map(|c| c.id).collect();
        match length {
            None => self.snapshot_failed(now, &job, &members),
            Some(length) if job.transport == Transport::Disk => {
                for member in members {
                    self.send_bulk(id, member, length);
                }
            }
            Some(_) => {
                // Each transfer reports its own end.
                self.warning(format!(
                    "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
                    members.len()
                ));
                self.notice("Background RDB transfer terminated with success");
            }
        }
        self.start_due_snapshot(now);
    }

    /// The answer by which a replica tries again after a second; at an error it would come back at
    /// once, and again and again.
    pub(super) fn snapshot_refused(&mut self, now: MonoMs, id: JobId, why: &str) {
        if self.job.take_if(|j| j.id == id).is_none() {
            return;
        }
        let members: Vec<ConnId> =
            self.conns.iter().filter(|c| c.job() == Some(id)).map(|c| c.id).collect();
        for member in members {
            self.reply_error(member, format!("NOMASTERLINK {why}").as_bytes());
            self.close(now, member);
        }
        self.start_due_snapshot(now);
    }

    fn snapshot_failed(&mut self, now: MonoMs, job: &Job, members: &[ConnId]) {
        if job.offset.is_none() {
            self.warning("BGSAVE for replication failed");
        }
        for &member in members {
            if job.offset.is_none() {
                self.reply_error(member, b"ERR BGSAVE failed, replication can't continue");
            } else {
                self.warning("SYNC failed. BGSAVE child returned an error");
            }
            self.close(now, member);
        }
    }

    fn send_bulk(&mut self, job: JobId, member: ConnId, length: u64) {
        let Some(conn) = self.find(member) else { return };
        let State::InJob { cursor, .. } = &mut conn.state else { return };
        let cursor = cursor.take();
        conn.state = State::SendBulk { job, cursor };
        let header = format!("${length}\r\n").into_bytes();
        let trailer = Vec::new();
        self.outputs.push_back(MasterOutput::Transfer { conn: member, job, header, trailer });
    }

    /// The whole RDB is with the replica (or in its socket).
    pub(super) fn transfer_done(&mut self, now: MonoMs, id: ConnId) {
        let Some(conn) = self.find(id) else { return };
        let name = conn.name();
        let (diskless, cursor) = match &mut conn.state {
            State::InJob { transport: Transport::Diskless, cursor, .. } => (true, cursor.take()),
            State::SendBulk { cursor, .. } => (false, cursor.take()),
            _ => return,
        };
        let job = conn.job();
        conn.blocked_since = None;
        if diskless {
            self.notice(format!(
                "Streamed RDB transfer with replica {name} succeeded (socket). \
                 Waiting for REPLCONF ACK from slave to enable streaming"
            ));
        }
        let Some(cursor) = cursor else {
            // It wanted the RDB alone, or the history ended while it got it.
            self.notice(format!(
                "RDB transfer completed, rdb only replica ({name}) should be disconnected asap"
            ));
            return self.close(now, id);
        };
        if let Some(conn) = self.find(id) {
            conn.state = State::Online(Streaming::AwaitAck(cursor));
        }
        self.watermarks.online(id, now);
        self.notice(format!("Synchronization with replica {name} succeeded"));
        if !diskless {
            self.start_stream(id);
        }
        // Its own transfer may report its end before the snapshot does.
        let more = self.conns.iter().any(|c| c.job() == job);
        if !more && self.job.take_if(|j| Some(j.id) == job).is_some() {
            self.start_due_snapshot(now);
        }
    }

    /// Ends a snapshot that nobody waits for any more.
    pub(super) fn abort_unwanted(&mut self, now: MonoMs, id: JobId) {
        if self.conns.iter().any(|c| c.job() == Some(id)) {
            return;
        }
        let Some(job) = self.job.take_if(|j| j.id == id) else { return };
        if job.transport == Transport::Diskless {
            self.notice("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        self.outputs.push_back(MasterOutput::AbortSnapshot { job: id });
        self.start_due_snapshot(now);
    }
}
