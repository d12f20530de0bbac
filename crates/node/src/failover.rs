//! FAILOVER: handing the role of master over to a replica, with writes held back, not failed.
//!
//! The decisions are [`MasterSide`](replication::MasterSide)'s and
//! [`ReplicaLink`](replication::ReplicaLink)'s. Here both are put together with the stripe locks and
//! the pause: writes stop under all locks, so the log's end stands still; when the replica has
//! acknowledged it, this node becomes its replica, again under all locks, and asks it to take over.
//! Until it has answered, writes stay held; then they find a replica (`-READONLY`), or, if the
//! target refused, the master that this node is again.
//!
//! When a sentinel leads, clients can find the new master only once it has been announced. So writes
//! stay held until the sentinel's SLAVEOF says that it has, or for [`LINGER_MS`] at most; those that
//! wait are carried to the new master and its replies back ([`Message::ForwardHeld`]), for many
//! clients take a lost connection for an error. Then all clients are sent away, those that block too.
//! They come back to the new master.

use crate::{ClientInfo, Message, Node, PauseFor, ReplyMode, Session, lock};
use commands::Flags;
use keyspace::Keys;
use replication::{FailoverRequest, FailoverState, FailoverStep, MasterInput, Upstream};
use resp::{OwnedArgs, Protocol, Reply};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stdx::MonoMs;

/// What clients are told of how long a switch takes, and how long they stay with what they were told.
const NOTICE_SECS: i64 = 10;
/// Longest time for the new master to be announced.
const LINGER_MS: u64 = 1000;
/// How often held commands are looked for meanwhile.
const FORWARD_MS: u64 = 2;
/// From the announcement on every client goes with its next reply; who has asked for nothing for so
/// long is cut off. A connection that ends while a request is on its way to it would be an error at
/// the client.
const LEAVE_MS: u64 = 300;
/// Clients that were told where to go may take so long.
const MOVE_MS: u64 = 1000;
/// After the last one was cut off nothing is answered for so long: the workers have to hear of it.
const CUT_MS: u64 = 20;

/// What admission has to know of a FAILOVER.
#[derive(Debug, Default)]
pub struct Failover {
    running: AtomicBool,
    in_progress: AtomicBool,
    /// A sentinel leads.
    led: AtomicBool,
    /// It is done; clients have to hear of it yet.
    lingering: AtomicBool,
    /// The sentinel has announced the new master.
    announced: AtomicBool,
    /// Clients are being sent away, and have been.
    leaving: AtomicBool,
    cut: AtomicBool,
    /// Number of the last notice to clients that asked for them.
    notices: AtomicU64,
    /// Until when that is awaited.
    until: Mutex<MonoMs>,
    /// Connections that blocked when this node became a replica, and wait for nothing any more:
    /// worker and client.
    stranded: Mutex<Vec<(usize, u64)>>,
}

impl Failover {
    /// The target was asked to take over and has not answered.
    #[inline]
    pub fn in_progress(&self) -> bool {
        self.in_progress.load(Ordering::Acquire)
    }

    /// There is one, or clients have not heard of its end yet.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// The role has changed for good; only clients have not heard of it yet.
    pub fn is_lingering(&self) -> bool {
        self.lingering.load(Ordering::Acquire)
    }

    /// A sentinel has told this node whom to follow: the new master is announced.
    pub fn announced(&self) {
        self.announced.store(true, Ordering::Release);
    }

    /// What a sentinel's CLIENT KILL wants is about to be done, more gently.
    pub(crate) fn spares(&self, caller: &str) -> bool {
        self.is_lingering() && is_sentinel(caller)
    }
}

impl Node {
    /// FAILOVER. All stripe locks are held.
    pub(crate) fn begin_failover(
        &self,
        now: crate::Now,
        request: FailoverRequest,
        led: bool,
    ) -> Result<(), &'static str> {
        if self.failover.is_running() {
            return Err("ERR FAILOVER already in progress.");
        }
        let mut master = self.repl.master();
        master.failover_request(now.mono(), request)?;
        self.drain_master(&mut master, None);
        drop(master);
        self.pause(PauseFor::Failover, now.unix(), i64::MAX, true);
        self.tell_failing_over();
        self.failover.led.store(led, Ordering::Release);
        self.failover.announced.store(false, Ordering::Release);
        self.failover.leaving.store(false, Ordering::Release);
        self.failover.cut.store(false, Ordering::Release);
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
        self.tell_failed_over();
        if was == FailoverState::InProgress {
            let changed = self.repl.link().hand_over_aborted();
            self.role_now_master(now, changed);
        }
        self.end_failover();
        true
    }

    /// Goes on with a FAILOVER; the driver of the link calls it, without locks.
    pub fn drive_failover(&self, now: MonoMs) {
        if self.failover.is_lingering() {
            return self.end_linger(now);
        }
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
                if self.failover.led.load(Ordering::Acquire) {
                    self.strand_blocked(&mut keys);
                } else {
                    self.end_waits_for_role(&mut keys);
                }
            }
        }
    }

    /// Nobody can catch up any more. Nothing happens if the target was asked already: it may have
    /// taken over. Called without locks.
    pub fn abandon_failover(&self, why: &str) {
        let _held = self.keyspace.hold(self.keyspace.all());
        if self.repl.master().failover_state() == FailoverState::WaitingForSync {
            self.abort_failover(self.host.now().mono(), why);
        }
    }

    /// The target has answered that it took over. Called without locks.
    pub fn failover_done(&self) {
        let _held = self.keyspace.hold(self.keyspace.all());
        self.repl.master().failover_done();
        if !self.failover.led.load(Ordering::Acquire) {
            self.tell_moving();
            return self.end_failover();
        }
        *lock(&self.failover.until) = self.host.now().mono() + LINGER_MS;
        self.failover.lingering.store(true, Ordering::Release);
        self.repl.wake_driver();
    }

    /// Ends a FAILOVER that a sentinel has led, once the new master is announced or time is over.
    fn end_linger(&self, now: MonoMs) {
        let announced = self.failover.announced.load(Ordering::Acquire);
        let cut = self.failover.cut.load(Ordering::Acquire);
        let over = now >= *lock(&self.failover.until);
        let leaving = self.failover.leaving.load(Ordering::Acquire);
        if !leaving && (announced || over) {
            let moving = self.tell_moving();
            self.send_clients_away();
            self.failover.leaving.store(true, Ordering::Release);
            *lock(&self.failover.until) = now + if moving { MOVE_MS } else { LEAVE_MS };
            return;
        }
        if !cut && !over {
            self.mailboxes.iter().for_each(|m| m.send(Message::ForwardHeld { leaving }));
            return;
        }
        if !cut {
            self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::CutClients));
            self.failover.cut.store(true, Ordering::Release);
            *lock(&self.failover.until) = now + CUT_MS;
            return;
        }
        if !over {
            return;
        }
        self.failover.lingering.store(false, Ordering::Release);
        let _held = self.keyspace.hold(self.keyspace.all());
        self.end_failover();
    }

    /// When [`Node::drive_failover`] has to be called again at the latest.
    pub fn failover_timeout(&self, now: MonoMs) -> Option<MonoMs> {
        // A sentinel's word is looked for often: clients wait for it.
        self.failover.is_lingering().then(|| now + FORWARD_MS)
    }

    /// Sends all clients of a master away that is not one any more; sentinels stay.
    fn send_clients_away(&self) {
        self.host.log(2, "Closing all clients' connections: this node is not the master any more.");
        lock(&self.failover.stranded).clear();
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::ClientsLeave));
    }

    /// A push to all RESP3 clients that asked for notices. True if there are any.
    fn notify(&self, write: impl Fn(&ClientInfo, i64, &mut Reply)) -> bool {
        let number = self.failover.notices.fetch_add(1, Ordering::AcqRel) + 1;
        let mut any = false;
        for client in self.clients.all() {
            if !client.maint.load(Ordering::Relaxed) || client.protocol() != Protocol::Resp3 {
                continue;
            }
            let Some(mailbox) = self.mailboxes.get(client.worker()) else { continue };
            let mut reply = Reply::new(Protocol::Resp3);
            write(&client, number as i64, &mut reply);
            mailbox.send(Message::Push { client: client.id, bytes: reply.into_bytes() });
            any = true;
        }
        any
    }

    /// `FAILING_OVER number seconds`: answers may take longer for a while.
    fn tell_failing_over(&self) {
        self.notify(|_, number, reply| {
            reply.push(3);
            reply.text("FAILING_OVER");
            reply.integer(number);
            reply.integer(NOTICE_SECS);
        });
    }

    /// `FAILED_OVER number`: that is over.
    fn tell_failed_over(&self) {
        self.notify(|_, number, reply| {
            reply.push(2);
            reply.text("FAILED_OVER");
            reply.integer(number);
        });
    }

    /// `MOVING number seconds host:port`: the client is to go there.
    fn tell_moving(&self) -> bool {
        let Some((host, port)) = self.repl.link().master().map(|(h, p)| (h.to_owned(), p)) else {
            return false;
        };
        self.notify(|client, number, reply| {
            reply.push(4);
            reply.text("MOVING");
            reply.integer(number);
            reply.integer(NOTICE_SECS);
            if client.maint_no_endpoint.load(Ordering::Relaxed) {
                reply.null();
            } else {
                reply.text(&format!("{host}:{port}"));
            }
        })
    }

    /// Lets blocked clients wait for nothing, until they are sent away. All stripe locks are held.
    fn strand_blocked(&self, keys: &mut Keys<'_>) {
        let mut stranded = Vec::new();
        for blocked in self.blocking.all() {
            let waits = !matches!(blocked.what, crate::block::WaitFor::Shutdown);
            if waits && self.end_wait_holding_all(keys, &blocked, crate::block::EndWait::Gone) {
                stranded.push((blocked.worker, blocked.client));
            }
        }
        *lock(&self.failover.stranded) = stranded;
    }

    /// The target has refused, or cannot be reached. Called without locks.
    pub fn failover_failed(&self, now: MonoMs, why: &str) {
        let _held = self.keyspace.hold(self.keyspace.all());
        self.abort_failover(now, why);
    }

    fn end_failover(&self) {
        self.failover.lingering.store(false, Ordering::Release);
        for (worker, client) in std::mem::take(&mut *lock(&self.failover.stranded)) {
            if let Some(mailbox) = self.mailboxes.get(worker) {
                mailbox.send(Message::Close { client, flush: true });
            }
        }
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

impl Node {
    /// Queues a held command in the transaction that it belongs to, which will be carried as a
    /// whole. False if there is none, or the command is what ends it.
    pub fn queue_held(&self, session: &mut Session, args: &OwnedArgs) -> bool {
        let args = args.as_args();
        let (Some(multi), Some(command)) = (&mut session.multi, crate::registry().find(args.at(0)))
        else {
            return false;
        };
        if crate::exec::runs_inside_multi(command.spec.name) {
            return false;
        }
        multi.push(command, &args);
        session.publish_state();
        true
    }

    /// Takes a held command off a connection, to be run at the new master: with all that belongs to
    /// it, for EXEC the whole transaction, which ends here; the last reply is the connection's. It
    /// waits until that comes, under the ticket. `None` for what cannot be run on somebody's behalf.
    pub fn carry_off(
        &self,
        session: &mut Session,
        args: &OwnedArgs,
    ) -> Option<(u64, Vec<OwnedArgs>)> {
        let plain = session.user.is_free()
            && session.watch.is_none()
            && session.reply_mode == ReplyMode::On
            && !session.is_replica;
        if !plain {
            return None;
        }
        let unfit = Flags::ADMIN.union(Flags::BLOCKING).union(Flags::NOSCRIPT);
        let fits = |args: &OwnedArgs| {
            let command = crate::registry().find(args.as_args().at(0));
            command.is_some_and(|command| !command.spec.flags.intersects(unfit))
        };
        let commands = match &session.multi {
            None if fits(args) => vec![args.clone()],
            Some(open)
                if args.as_args().is(0, "exec")
                    && !open.aborted
                    && open.queue.iter().all(|(_, args)| fits(args)) =>
            {
                let queue = session.multi.take().map(|multi| multi.queue).unwrap_or_default();
                let mut all = vec![OwnedArgs::from_parts(&[b"MULTI"])];
                all.extend(queue.into_iter().map(|(_, args)| args));
                all.push(args.clone());
                all
            }
            _ => return None,
        };
        let ticket = self.blocking.new_ticket();
        session.waiting = Some(crate::session::Waiting { ticket });
        session.publish_state();
        session.info.blocked.store(true, Ordering::Relaxed);
        Some((ticket, commands))
    }
}

/// The names that sentinels give their connections.
pub fn is_sentinel(name: &str) -> bool {
    name.starts_with("sentinel-") && (name.ends_with("-cmd") || name.ends_with("-pubsub"))
}
