//! FAILOVER: handing the role of master over to a replica, with writes held back, not failed.
//!
//! The decisions are [`MasterSide`](replication::MasterSide)'s and
//! [`ReplicaLink`](replication::ReplicaLink)'s. Here both are put together with the stripe locks and
//! the pause: writes stop under all locks, so the log's end stands still; when the replica has
//! acknowledged it, this node becomes its replica, again under all locks, and asks it to take over.
//! Until it has answered, writes stay held; then they find a replica (`-READONLY`), or, if the
//! target refused, the master that this node is again.

use crate::{Message, Node, PauseFor};
use keyspace::Keys;
use replication::{FailoverRequest, FailoverState, FailoverStep, MasterInput, Upstream};
use std::sync::atomic::{AtomicBool, Ordering};
use stdx::MonoMs;

/// What admission has to know of a FAILOVER.
#[derive(Debug, Default)]
pub struct Failover {
    running: AtomicBool,
    in_progress: AtomicBool,
}

impl Failover {
    /// The target was asked to take over and has not answered.
    #[inline]
    pub fn in_progress(&self) -> bool {
        self.in_progress.load(Ordering::Acquire)
    }

    /// There is one.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }
}

impl Node {
    /// FAILOVER. All stripe locks are held.
    pub(crate) fn begin_failover(
        &self,
        now: crate::Now,
        request: FailoverRequest,
    ) -> Result<(), &'static str> {
        let mut master = self.repl.master();
        master.failover_request(now.mono(), request)?;
        self.drain_master(&mut master, None);
        drop(master);
        self.pause(PauseFor::Failover, now.unix(), i64::MAX, true);
        self.failover.running.store(true, Ordering::Release);
        self.wake_streams(usize::MAX);
        self.repl.wake_driver();
        Ok(())
    }

    /// FAILOVER ABORT. All stripe locks are held. False if there is nothing to abort.
    pub(crate) fn abort_failover(&self, now: MonoMs, why: &str) -> bool {
        let mut master = self.repl.master();
        let was = master.failover_abort(why);
        self.drain_master(&mut master, None);
        drop(master);
        if was == FailoverState::None {
            return false;
        }
        if was == FailoverState::InProgress {
            let changed = self.repl.link().hand_over_aborted();
            self.role_now_master(now, changed);
        }
        self.end_failover();
        true
    }

    /// Goes on with a FAILOVER; the driver of the link calls it, without locks.
    pub fn drive_failover(&self, now: MonoMs) {
        if !self.failover.is_running() || self.failover.in_progress() {
            return;
        }
        let step = self.repl.master().failover_step(now);
        if step == FailoverStep::Wait {
            return;
        }
        let held = self.keyspace.hold(self.keyspace.all());
        let settings = self.settings.load();
        let options = keyspace::KeyOptions {
            now: self.host.now().unix(),
            expire: keyspace::ExpireRule::Hide,
            notify: 0,
            touch: false,
            policy: settings.policy,
        };
        let mut keys = Keys::new(held, 0, options);
        // FAILOVER ABORT may have come first; from here on nothing changes it.
        let step = self.repl.master().failover_step(now);
        match step {
            FailoverStep::Wait => {}
            FailoverStep::TimedOut => {
                self.abort_failover(now, "Replica never caught up before timeout");
            }
            FailoverStep::Switch { host, port, forced } => {
                let mut master = self.repl.master();
                master.failover_begin(&host, port, forced);
                self.drain_master(&mut master, None);
                drop(master);
                self.failover.in_progress.store(true, Ordering::Release);
                self.repl.link().hand_over(now, &host, port);
                self.role_now_replica(now, &host, port);
                self.end_waits_for_role(&mut keys);
            }
        }
    }

    /// The target has answered that it took over. Called without locks.
    pub fn failover_done(&self) {
        let _held = self.keyspace.hold(self.keyspace.all());
        self.repl.master().failover_done();
        self.end_failover();
    }

    /// The target has refused, or cannot be reached. Called without locks.
    pub fn failover_failed(&self, now: MonoMs, why: &str) {
        let _held = self.keyspace.hold(self.keyspace.all());
        self.abort_failover(now, why);
    }

    fn end_failover(&self) {
        self.failover.running.store(false, Ordering::Release);
        self.failover.in_progress.store(false, Ordering::Release);
        self.role.era.fetch_add(1, Ordering::AcqRel);
        self.unpause(PauseFor::Failover);
    }

    /// `PSYNC id offset FAILOVER`: the master asks this replica to take over. All stripe locks are
    /// held.
    pub(crate) fn take_over(
        &self,
        now: MonoMs,
        replid: &[u8],
        who: &str,
    ) -> Result<(), &'static str> {
        let shown = String::from_utf8_lossy(replid).replace(|c: char| c.is_control(), "?");
        self.host.log(3, &format!("Failover request received for replid {shown}."));
        if !self.is_replica() {
            return Err("ERR PSYNC FAILOVER can't be sent to a master.");
        }
        if !self.log.ids().replid.matches(replid) {
            return Err("ERR PSYNC FAILOVER replid must match my replid.");
        }
        let changed = self.repl.link().take_over(who);
        self.role_now_master(now, changed);
        Ok(())
    }

    /// The link has made this node a master. All stripe locks are held.
    pub(crate) fn role_now_master(&self, now: MonoMs, changed: bool) {
        if changed {
            self.role.is_replica.store(false, Ordering::Release);
            self.role.link_up.store(false, Ordering::Release);
            self.role.era.fetch_add(1, Ordering::AcqRel);
            self.repl.master().set_upstream(now, Upstream::None);
            // Replicas that come from now on know the new history already.
            if self.repl.link().take_drop_replicas() {
                self.master_input(now, MasterInput::DropReplicas, None);
            }
            self.settings_of_role(None);
        }
        self.repl.wake_driver();
    }

    /// The link has made this node a replica. All stripe locks are held.
    pub(crate) fn role_now_replica(&self, now: MonoMs, host: &str, port: u16) {
        self.role.is_replica.store(true, Ordering::Release);
        self.role.came_back_empty.store(false, Ordering::Release);
        self.role.link_up.store(false, Ordering::Release);
        self.role.era.fetch_add(1, Ordering::AcqRel);
        self.repl.master().set_upstream(now, Upstream::Down);
        self.settings_of_role(Some((host, port)));
        self.repl.wake_driver();
    }

    /// A master that becomes a replica lets nobody wait for writes. All stripe locks are held.
    /// Source: redis 7.0 `blocked.c:disconnectAllBlockedClients`.
    pub(crate) fn end_waits_for_role(&self, keys: &mut Keys<'_>) {
        for blocked in self.blocking.all() {
            if matches!(blocked.what, crate::block::WaitFor::Shutdown) {
                continue;
            }
            let ended = self.end_wait_holding_all(keys, &blocked, crate::block::EndWait::Role);
            if ended && let Some(mailbox) = self.mailboxes.get(blocked.worker) {
                mailbox.send(Message::Close { client: blocked.client, flush: true });
            }
        }
    }
}
