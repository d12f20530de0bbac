//! Holding commands back: CLIENT PAUSE, and while this node hands its role over or shuts down.
//!
//! Each purpose has a pause of its own; what counts is all of them together. A pause begins under
//! all stripe locks and moves [`Role::era`](crate::Role::era), so that a command that was admitted
//! before it and still waits for its stripes is judged again: from the moment a pause begins,
//! nothing changes that should not.
//!
//! Source: redis 7.0 `networking.c:pauseClients`, `updateClientPauseTypeAndEndTime`.

use crate::{Message, Node, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use stdx::UnixMs;

/// Why commands are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseFor {
    /// CLIENT PAUSE.
    Client,
    /// A shutdown waits for replicas.
    Shutdown,
    /// FAILOVER.
    Failover,
}

const PURPOSES: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: i64,
    writes_only: bool,
}

/// All pauses in force.
#[derive(Debug, Default)]
pub struct Pauses {
    /// Until this Unix time in ms everything is held back; 0 for no pause.
    all_until: AtomicI64,
    /// Until this one, writes.
    writes_until: AtomicI64,
    causes: Mutex<[Option<Pause>; PURPOSES]>,
}

impl Pauses {
    fn publish(&self, causes: &[Option<Pause>; PURPOSES]) {
        let latest = |writes_only: bool| {
            let of_kind = causes.iter().flatten().filter(|p| p.writes_only == writes_only);
            of_kind.map(|p| p.until).max().unwrap_or(0)
        };
        self.all_until.store(latest(false), Ordering::Release);
        self.writes_until.store(latest(true), Ordering::Release);
    }

    /// Whether commands of this kind are held back.
    #[inline]
    pub fn in_force(&self, now: UnixMs, write: bool) -> bool {
        let all = self.all_until.load(Ordering::Acquire);
        (all != 0 && now.0 < all) || (write && now.0 < self.writes_until.load(Ordering::Acquire))
    }
}

impl Node {
    /// Holds commands back until a Unix time in ms. A pause for the same purpose that is in force
    /// stays at least as long and at least as strict. All stripe locks are held.
    pub fn pause(&self, purpose: PauseFor, now: UnixMs, until: i64, writes_only: bool) {
        let mut causes = lock(&self.pauses.causes);
        for cause in causes.iter_mut() {
            cause.take_if(|pause| pause.until <= now.0);
        }
        let slot = &mut causes[purpose as usize];
        *slot = Some(match *slot {
            Some(old) => {
                Pause { until: until.max(old.until), writes_only: writes_only && old.writes_only }
            }
            None => Pause { until, writes_only },
        });
        self.pauses.publish(&causes);
        self.role.era.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends a pause: what it held back runs, unless another one holds it.
    pub fn unpause(&self, purpose: PauseFor) {
        let mut causes = lock(&self.pauses.causes);
        causes[purpose as usize] = None;
        self.pauses.publish(&causes);
        drop(causes);
        for mailbox in &self.mailboxes {
            mailbox.send(Message::Resume);
        }
    }

    /// True while commands of this kind are held back.
    #[inline]
    pub fn paused(&self, now: UnixMs, write: bool) -> bool {
        self.pauses.in_force(now, write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_pause_counts_and_a_longer_one_outlives_it() {
        let pauses = Pauses::default();
        let mut causes = [None; PURPOSES];
        assert!(!pauses.in_force(UnixMs(0), true));
        causes[PauseFor::Failover as usize] = Some(Pause { until: i64::MAX, writes_only: true });
        causes[PauseFor::Client as usize] = Some(Pause { until: 100, writes_only: false });
        pauses.publish(&causes);
        assert!(pauses.in_force(UnixMs(99), false) && pauses.in_force(UnixMs(99), true));
        assert!(!pauses.in_force(UnixMs(100), false) && pauses.in_force(UnixMs(100), true));
        causes[PauseFor::Failover as usize] = None;
        pauses.publish(&causes);
        assert!(!pauses.in_force(UnixMs(100), true));
    }
}
