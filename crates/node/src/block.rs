//! Connections that wait: for elements of a key, or for durability.
//!
//! A waiting connection is one object with a claim. Whoever wins the claim answers it: the push
//! that serves it, its time-out, CLIENT UNBLOCK, its own end, or a change of role.

use crate::access::UserCell;
use crate::gate::{Durability, Progress};
use crate::lock;
use crate::registry::CommandRef;
use crate::worker::Worker;
use crate::{Message, Node};
use commands::{Block, Group};
use keyspace::{Keys, StripeMask};
use replication::Position;
use resp::{OwnedArgs, Protocol, Reply};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use stdx::UnixMs;

/// What a waiting connection waits for.
#[derive(Debug)]
pub enum WaitFor {
    /// Elements: the command is run again.
    Keys {
        /// The command.
        command: CommandRef,
        /// Its arguments.
        args: OwnedArgs,
        /// The keys.
        block: Block,
        /// Stripes of all its keys.
        mask: StripeMask,
    },
    /// Durability (WAIT, WAITAOF).
    Durable(Durability),
    /// The end of the process (SHUTDOWN); answered only if that does not come.
    Shutdown,
}

/// One waiting connection.
#[derive(Debug)]
pub struct Blocked {
    /// Its number among all that ever waited.
    pub ticket: u64,
    /// The connection.
    pub client: u64,
    /// The worker that owns it.
    pub worker: usize,
    /// Its database.
    pub db: usize,
    /// Its RESP version.
    pub protocol: Protocol,
    /// Whose connection it is; nobody's if it is the master's.
    pub user: Option<Arc<UserCell>>,
    /// What it waits for.
    pub what: WaitFor,
    claimed: AtomicBool,
}

impl Blocked {
    /// Wins the right to answer.
    pub fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Gives the right back: there was nothing to answer with.
    pub fn unclaim(&self) {
        self.claimed.store(false, Ordering::Release);
    }
}

/// All waiting connections.
#[derive(Default)]
pub struct Blocking {
    by_ticket: Mutex<BTreeMap<u64, Arc<Blocked>>>,
    next: AtomicU64,
    count: AtomicUsize,
}

impl Blocking {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, ticket: u64) -> Option<Arc<Blocked>> {
        lock(&self.by_ticket).get(&ticket).cloned()
    }

    /// The one that this connection is.
    pub fn of_client(&self, client: u64) -> Option<Arc<Blocked>> {
        lock(&self.by_ticket).values().find(|blocked| blocked.client == client).cloned()
    }

    /// How many of those that wait for elements do so with a time-out.
    pub fn timed(&self) -> usize {
        let timed = |blocked: &&Arc<Blocked>| matches!(&blocked.what, WaitFor::Keys { block, .. } if block.until.is_some());
        lock(&self.by_ticket).values().filter(timed).count()
    }

    /// A ticket for something that is not in this list.
    pub fn new_ticket(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn add(&self, blocked: Arc<Blocked>) {
        let mut all = lock(&self.by_ticket);
        all.insert(blocked.ticket, blocked);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    fn remove(&self, ticket: u64) {
        let mut all = lock(&self.by_ticket);
        all.remove(&ticket);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Blocked>> {
        lock(&self.by_ticket).values().cloned().collect()
    }
}

const ROLE_CHANGED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
const SHUTDOWN_FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// How a wait ends without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndWait {
    /// As if the time-out had passed.
    Timeout,
    /// With `-UNBLOCKED`, by CLIENT UNBLOCK … ERROR.
    Error,
    /// With `-UNBLOCKED`: this node becomes a replica.
    Role,
    /// The shutdown that it waited for has failed, or was aborted.
    Shutdown,
    /// Without an answer: the connection is gone.
    Gone,
}

impl Node {
    /// Makes a connection wait; the stripes of the keys are held.
    pub(crate) fn block_on_keys(
        &self,
        worker: &mut Worker,
        keys: &mut Keys<'_>,
        client: &crate::Session,
        command: CommandRef,
        args: OwnedArgs,
        block: Block,
    ) -> u64 {
        let ticket = self.blocking.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut mask = StripeMask::default();
        if let Some(list) = commands::keys_of(command.spec, &args.as_args()) {
            for (at, _) in list {
                mask.add(self.keyspace.stripe_of(args.as_args().at(at)));
            }
        }
        for key in &block.keys {
            let stripe = self.keyspace.stripe_of(key);
            mask.add(stripe);
            keys.held().stripe(stripe).wait_on(client.db, key, ticket);
        }
        if let Some(until) = block.until {
            worker.timeouts.insert((until, ticket));
        }
        self.blocking.add(Arc::new(Blocked {
            ticket,
            client: client.id(),
            worker: worker.index,
            db: client.db,
            protocol: client.protocol,
            user: user_of(client),
            what: WaitFor::Keys { command, args, block, mask },
            claimed: AtomicBool::new(false),
        }));
        ticket
    }

    /// Makes a connection wait until its writes are durable.
    pub fn block_on_durability(
        &self,
        worker: &mut Worker,
        client: &crate::Session,
        wants: Durability,
        until: Option<UnixMs>,
    ) -> u64 {
        let ticket = self.blocking.next.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(until) = until {
            worker.timeouts.insert((until, ticket));
        }
        self.blocking.add(Arc::new(Blocked {
            ticket,
            client: client.id(),
            worker: worker.index,
            db: client.db,
            protocol: client.protocol,
            user: user_of(client),
            what: WaitFor::Durable(wants),
            claimed: AtomicBool::new(false),
        }));
        self.gate.add(crate::gate::GateWaiter { ticket, wants });
        ticket
    }

    /// Makes a connection wait for the end of the process.
    pub fn block_on_shutdown(&self, worker: &Worker, client: &crate::Session) -> u64 {
        let ticket = self.blocking.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.blocking.add(Arc::new(Blocked {
            ticket,
            client: client.id(),
            worker: worker.index,
            db: client.db,
            protocol: client.protocol,
            user: user_of(client),
            what: WaitFor::Shutdown,
            claimed: AtomicBool::new(false),
        }));
        ticket
    }

    /// How durable it is by now.
    pub fn progress_of(&self, wants: &Durability) -> Progress {
        let offset = wants.position.stream_offset();
        if wants.on_disk.is_none() {
            return Progress { replicas: self.repl.acked_count(offset), local: false };
        }
        let replicas = self.repl.watermarks().map_or(0, |marks| marks.count_fsynced(offset));
        let synced = self.log.synced_position() >= wants.position.file_position();
        Progress { replicas, local: synced && self.aof.state() == crate::AofState::On }
    }

    /// Answers the connections whose time is up; call it on the worker that owns them.
    pub fn expire_waits(&self, worker: &mut Worker, now: UnixMs) {
        if self.scripts.is_busy() {
            return;
        }
        while let Some(&(until, ticket)) = worker.timeouts.first() {
            if until > now {
                break;
            }
            worker.timeouts.pop_first();
            if let Some(blocked) = self.blocking.get(ticket)
                && !self.end_wait(&blocked, EndWait::Timeout)
            {
                // Somebody is just trying to serve it; if that comes to nothing, we are back.
                worker.timeouts.insert((now + 1, ticket));
            }
        }
    }

    /// Ends a wait unserved. False if somebody else answers at this moment.
    pub fn end_wait(&self, blocked: &Blocked, how: EndWait) -> bool {
        self.end_wait_by(blocked, how, |block| self.stop_waiting(blocked, block))
    }

    /// As [`Node::end_wait`] for a caller that holds all stripes.
    pub(crate) fn end_wait_holding_all(
        &self,
        keys: &mut Keys<'_>,
        blocked: &Blocked,
        how: EndWait,
    ) -> bool {
        self.end_wait_by(blocked, how, |block| {
            for key in &block.keys {
                let stripe = self.keyspace.stripe_of(key);
                keys.held().stripe(stripe).stop_waiting(blocked.db, key, blocked.ticket);
            }
        })
    }

    fn end_wait_by(
        &self,
        blocked: &Blocked,
        how: EndWait,
        stop_waiting: impl FnOnce(&Block),
    ) -> bool {
        if !blocked.claim() {
            return false;
        }
        let mut reply = Reply::new(blocked.protocol);
        match &blocked.what {
            WaitFor::Keys { block, .. } => {
                stop_waiting(block);
                match how {
                    EndWait::Timeout if block.null_array => reply.null_array(),
                    EndWait::Timeout => reply.null(),
                    _ => {}
                }
            }
            WaitFor::Durable(wants) => {
                self.gate.remove(blocked.ticket);
                if how == EndWait::Timeout {
                    durability_reply(&mut reply, wants, self.progress_of(wants));
                }
            }
            WaitFor::Shutdown if how == EndWait::Timeout => reply.error(SHUTDOWN_FAILED),
            WaitFor::Shutdown => {}
        }
        match how {
            EndWait::Error => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            EndWait::Role => reply.error(ROLE_CHANGED),
            EndWait::Shutdown => reply.error(SHUTDOWN_FAILED),
            EndWait::Timeout | EndWait::Gone => {}
        }
        self.blocking.remove(blocked.ticket);
        if how != EndWait::Gone {
            self.answer(blocked, reply.into_bytes(), Position::START);
        }
        true
    }

    fn stop_waiting(&self, blocked: &Blocked, block: &Block) {
        for key in &block.keys {
            self.forget(crate::script::Later::StopWaiting {
                db: blocked.db,
                key: key.clone(),
                ticket: blocked.ticket,
            });
        }
    }

    fn answer(&self, blocked: &Blocked, bytes: Vec<u8>, position: Position) {
        if let Some(mailbox) = self.mailboxes.get(blocked.worker) {
            mailbox.send(Message::Unblock {
                client: blocked.client,
                ticket: blocked.ticket,
                bytes,
                position,
            });
        }
    }

    /// Answers those who have waited enough for durability.
    pub fn open_gate(&self) {
        for (waiter, progress) in self.gate.open(|wants| self.progress_of(wants)) {
            let Some(blocked) = self.blocking.get(waiter.ticket) else { continue };
            if blocked.claim() {
                let mut reply = Reply::new(blocked.protocol);
                durability_reply(&mut reply, &waiter.wants, progress);
                self.blocking.remove(blocked.ticket);
                self.answer(&blocked, reply.into_bytes(), Position::START);
            }
        }
    }

    /// A change of role ends every wait for elements (`-UNBLOCKED`). Call it without locks.
    pub fn end_all_waits(&self) {
        for blocked in self.blocking.all() {
            if matches!(blocked.what, WaitFor::Keys { .. }) && blocked.claim() {
                let WaitFor::Keys { block, .. } = &blocked.what else { continue };
                self.stop_waiting(&blocked, block);
                let mut reply = Reply::new(blocked.protocol);
                reply.error(ROLE_CHANGED);
                self.blocking.remove(blocked.ticket);
                self.answer(&blocked, reply.into_bytes(), Position::START);
            }
        }
    }

    /// Answers the consumers who wait for one of these keys, which are gone, with `-NOGROUP`: the
    /// removals by the clock, after which nobody else looks at who waits. Call it without locks.
    pub fn end_waits_of_removed(&self, removed: &[(usize, structures::Entry)]) {
        if self.blocking.is_empty() {
            return;
        }
        for blocked in self.blocking.all() {
            let WaitFor::Keys { args, block, .. } = &blocked.what else { continue };
            let waits_for = |db: usize, key: &[u8]| {
                block.on_removal && blocked.db == db && block.keys.iter().any(|own| **own == *key)
            };
            let gone = removed.iter().find(|(db, entry)| waits_for(*db, entry.key()));
            let Some((_, entry)) = gone.filter(|_| blocked.claim()) else { continue };
            self.stop_waiting(&blocked, block);
            let args = args.as_args();
            let group = (0..args.len()).find(|at| args.is(*at, "group"));
            let group = group.and_then(|at| args.get(at + 1)).unwrap_or_default();
            let error = commands::no_group_to_read(entry.key(), group);
            let mut reply = Reply::new(blocked.protocol);
            reply.error_bytes(error.bytes());
            self.stats.count_error(error.text());
            self.blocking.remove(blocked.ticket);
            self.answer(&blocked, reply.into_bytes(), Position::START);
        }
    }

    /// The stripes that have to be held together with those that are held, so that a command that
    /// changes `names` in one of `dbs` can serve those who wait for them at once.
    pub(crate) fn mask_with_waiters(
        &self,
        keys: &mut Keys<'_>,
        dbs: Range<usize>,
        names: &[&[u8]],
    ) -> StripeMask {
        let mut mask = keys.held().mask();
        for (db, key) in dbs.flat_map(|db| names.iter().map(move |key| (db, key))) {
            let stripe = self.keyspace.stripe_of(key);
            for ticket in keys.held().stripe(stripe).waiters_of(db, key) {
                let Some(blocked) = self.blocking.get(ticket) else { continue };
                let WaitFor::Keys { command, mask: others, .. } = &blocked.what else { continue };
                if matches!(command.spec.name, "blmove" | "brpoplpush") {
                    // What it moves may serve somebody else, and so on, on any keys.
                    return self.keyspace.all();
                }
                mask.0 |= others.0;
            }
        }
        mask
    }

    /// Serves those who wait for the keys in `worker.ready`, oldest first, as long as there is
    /// something for them. Runs under the locks of the push; what they take is appended behind it.
    pub(crate) fn serve_blocked(
        &self,
        worker: &mut Worker,
        keys: &mut Keys<'_>,
        from_master: bool,
    ) {
        let own_db = keys.db;
        while let Some((db, key)) = worker.ready.pop_front() {
            let stripe = self.keyspace.stripe_of(&key);
            if !keys.held().mask().has(stripe) {
                continue;
            }
            let tickets = keys.held().stripe(stripe).waiters_of(db, &key);
            for ticket in tickets {
                keys.db = db;
                let Some(blocked) = self.blocking.get(ticket) else {
                    keys.held().stripe(stripe).stop_waiting(db, &key, ticket);
                    continue;
                };
                let WaitFor::Keys { command, block, mask, .. } = &blocked.what else { continue };
                if !keys.held().mask().covers(*mask)
                    || !(block.on_removal || right_type(keys, &key, command.spec.group))
                {
                    continue;
                }
                if !blocked.claim() {
                    continue;
                }
                let mut reply = Reply::new(blocked.protocol);
                let served = self.run_served(worker, keys, &blocked, &mut reply, from_master);
                if !served {
                    blocked.unclaim();
                    continue;
                }
                for name in &block.keys {
                    let at = self.keyspace.stripe_of(name);
                    keys.held().stripe(at).stop_waiting(db, name, ticket);
                }
                self.blocking.remove(ticket);
                let position = self.append_record(worker).unwrap_or(Position::START);
                self.answer(&blocked, reply.into_bytes(), position);
            }
        }
        keys.db = own_db;
    }
}

/// The answer of WAIT, or of WAITAOF.
pub(crate) fn durability_reply(reply: &mut Reply, wants: &Durability, progress: Progress) {
    if wants.on_disk.is_some() {
        reply.array(2);
        reply.integer(i64::from(progress.local));
    }
    reply.count(progress.replicas);
}

fn user_of(client: &crate::Session) -> Option<Arc<UserCell>> {
    (!client.info.master.load(Ordering::Relaxed)).then(|| Arc::clone(&client.user))
}

/// A key that has become something else serves nobody.
fn right_type(keys: &mut Keys<'_>, key: &[u8], group: Group) -> bool {
    match keys.peek(key).map(structures::Entry::value) {
        Some(structures::ValueRef::List(_)) => group == Group::List,
        Some(structures::ValueRef::Zset(_)) => group == Group::SortedSet,
        Some(structures::ValueRef::Stream(_)) => group == Group::Stream,
        _ => false,
    }
}
