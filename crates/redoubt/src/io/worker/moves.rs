//! Connections that go from one worker to another, when the number of those that serve changes.
//!
//! Only a connection that nothing hangs on is moved: no request half read or waiting, no reply on
//! its way, no subscription, no transaction. A message to it that comes to the worker that it has
//! left is sent on.

use super::EventLoop;
use crate::io::balance::{Balancer, WINDOW_MS, Window};
use crate::io::conn::{Conn, Script};
use crate::io::sys;
use crate::os::mio::Token;
use node::{Message, Node};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What one worker says of itself: nanoseconds since its start.
#[derive(Default)]
pub(super) struct Pulse {
    ran: AtomicU64,
    waited: AtomicU64,
}

/// The first worker's view of all.
pub(super) struct Watcher {
    balancer: Balancer,
    last: Seen,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    at_us: u64,
    requests: u64,
    ran: u64,
    waited: u64,
}

impl Watcher {
    /// For so many workers; none if there is nothing to choose.
    pub(super) fn new(workers: usize) -> Option<Box<Watcher>> {
        (workers > 1)
            .then(|| Box::new(Watcher { balancer: Balancer::new(workers), last: Seen::default() }))
    }

    /// Number of workers that are to serve from now on.
    fn look(&mut self, node: &Node, pulses: &[Pulse], now_us: u64) -> usize {
        let sum = |of: fn(&Pulse) -> &AtomicU64| {
            pulses.iter().map(|pulse| of(pulse).load(Ordering::Relaxed)).sum::<u64>()
        };
        let workers = &node.stats.workers[..pulses.len()];
        let seen = Seen {
            at_us: now_us,
            requests: workers.iter().map(|w| w.total_commands.load(Ordering::Relaxed)).sum(),
            ran: sum(|pulse| &pulse.ran),
            waited: sum(|pulse| &pulse.waited),
        };
        let last = std::mem::replace(&mut self.last, seen);
        let seconds = seen.at_us.saturating_sub(last.at_us) as f64 / 1e6;
        let ran = seen.ran.saturating_sub(last.ran) as f64 / 1e9;
        let waited = seen.waited.saturating_sub(last.waited) as f64 / 1e9;
        if last.at_us == 0 || seconds <= 0.0 {
            return self.balancer.step(now_us / 1000, Window::default());
        }
        let window = Window {
            // CONFIG RESETSTAT makes one window a quiet one.
            rate: seen.requests.saturating_sub(last.requests) as f64 / seconds,
            busy: ran / seconds,
            waited: if waited > 0.0 { waited / (ran + waited) } else { 0.0 },
        };
        self.balancer.step(now_us / 1000, window)
    }
}

/// Which workers serve, and connections on their way to another.
pub(super) struct Moves {
    /// The first so many workers serve.
    active: AtomicUsize,
    /// Set by hand, 0 if not.
    forced: AtomicUsize,
    pulses: Vec<Pulse>,
    queues: Vec<std::sync::Mutex<Vec<Conn>>>,
}

impl Moves {
    pub(super) fn new(workers: usize) -> Moves {
        Moves {
            active: AtomicUsize::new(workers),
            forced: AtomicUsize::new(0),
            pulses: (0..workers).map(|_| Pulse::default()).collect(),
            queues: (0..workers).map(|_| std::sync::Mutex::default()).collect(),
        }
    }

    /// Workers that serve.
    pub(super) fn active(&self) -> usize {
        match self.forced.load(Ordering::Relaxed) {
            0 => self.active.load(Ordering::Relaxed),
            forced => forced.min(self.queues.len()),
        }
    }

    /// Sets the number by hand; 0 ends that.
    pub(super) fn force(&self, workers: usize) {
        self.forced.store(workers, Ordering::Relaxed);
    }
}

impl EventLoop {
    /// Says how this worker does, and looks, as the first one, how all do. To be called every
    /// [`WINDOW_MS`].
    pub(super) fn balance(&mut self) {
        const _: () = assert!(WINDOW_MS == super::HOUSEKEEPING_MS);
        let moves = &self.shared.handover.moves;
        if moves.pulses.len() < 2 {
            return;
        }
        let (ran, waited) = sys::time_on_and_off_cores();
        let pulse = &moves.pulses[self.worker.index];
        pulse.ran.store(ran, Ordering::Relaxed);
        pulse.waited.store(waited, Ordering::Relaxed);
        if let Some(watcher) = &mut self.watcher {
            let active = watcher.look(&self.shared.node, &moves.pulses, self.worker.now.mono_us);
            moves.active.store(active, Ordering::Relaxed);
        }
        self.move_conns();
    }

    /// Gives away connections of which this worker has more than its share.
    fn move_conns(&mut self) {
        let handover = &self.shared.handover;
        let active = handover.moves.active();
        if active == self.active_seen {
            return;
        }
        let total: usize = handover.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        let share = if self.worker.index < active { total.div_ceil(active) } else { 0 };
        let surplus = self.conns.len().saturating_sub(share);
        let movable: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| may_move(conn)).map(|(at, _)| at).collect();
        // Those that are busy now are looked at again in the next window.
        if movable.len() >= surplus {
            self.active_seen = active;
        }
        for at in movable.into_iter().take(surplus) {
            self.give_away(at, self.shared.handover.least_loaded());
        }
    }

    fn give_away(&mut self, at: usize, target: usize) {
        if target == self.worker.index {
            return;
        }
        let mut conn = self.conns.remove(at);
        conn.stream.deregister(self.poll.registry());
        self.by_client.remove(&conn.session.id());
        conn.session.info.set_worker(target);
        let handover = &self.shared.handover;
        handover.loads[self.worker.index].fetch_sub(1, Ordering::Relaxed);
        handover.loads[target].fetch_add(1, Ordering::Relaxed);
        handover.moves.queues[target].lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        // Any message wakes the worker, which then looks at its queue.
        self.shared.node.mailboxes[target].send(Message::Resume);
    }

    /// Takes the connections that other workers gave to this one.
    pub(super) fn take_moved(&mut self) {
        let moves = &self.shared.handover.moves;
        let moved = std::mem::take(
            &mut *moves.queues[self.worker.index].lock().unwrap_or_else(PoisonError::into_inner),
        );
        for conn in moved {
            let id = conn.session.id();
            let at = self.conns.insert(conn);
            self.by_client.insert(id, at);
            if self.conns[at].stream.register(self.poll.registry(), Token(at)).is_err() {
                self.close(at);
            } else {
                // What came meanwhile makes no event of its own on every kind of socket.
                self.again.push(at);
            }
        }
    }

    /// Sends a message on to the worker that has its connection now.
    pub(super) fn send_on(&self, client: u64, message: Message) {
        let Some(info) = self.shared.node.clients.get(client) else { return };
        let owner = info.worker();
        if owner != self.worker.index
            && let Some(mailbox) = self.shared.node.mailboxes.get(owner)
        {
            mailbox.send(message);
        }
    }
}

/// True if nothing hangs on the connection but its socket and its settings.
fn may_move(conn: &Conn) -> bool {
    let session = &conn.session;
    let plain = !session.is_replica
        && !session.is_monitor
        && session.subscriptions() == 0
        && session.multi.is_none()
        && session.watch.is_none()
        && session.info.tracking.load(Ordering::Relaxed) == 0;
    let idle = !conn.is_stopped()
        && !conn.in_round
        && conn.pending_output() == 0
        && conn.gated.is_none()
        && conn.input.is_empty()
        && matches!(conn.script, Script::None);
    plain && idle && conn.feed.is_none()
}
