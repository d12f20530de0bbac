//! How far the replicas have come: the offsets that they acknowledged, and when.
//!
//! [`MasterSide`](crate::MasterSide) writes here when an ACK arrives; workers read without taking
//! its place: the reply gate and WAIT ask [`Watermarks::acked_by`] (no lock for small numbers of
//! replicas), admission asks [`Watermarks::good_replicas`] for `min-replicas-to-write`.
//! The node's own progress is the log's end; it is not repeated here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use stdx::MonoMs;

use crate::ConnId;

/// For this many replicas `acked_by` needs no lock; more is legal and a little slower.
const PUBLISHED: usize = 16;

/// One replica's progress.
#[derive(Clone, Copy, Debug)]
struct Mark {
    conn: ConnId,
    /// Applied by the replica, as its last ACK said; 0 before the first one, as in INFO.
    ack_offset: u64,
    /// Synced to the replica's disk (`FACK`, Redis 7.2), if it reports that.
    fsync_offset: Option<u64>,
    /// When the last sign of life came.
    ack_at: MonoMs,
    /// Only online replicas count for WAIT and `min-replicas-to-write`.
    online: bool,
}

/// Acknowledged offsets of all attached replicas. Shared between threads.
#[derive(Debug, Default)]
pub struct Watermarks {
    /// `published[n - 1]`: the highest offset that at least n online replicas acknowledged.
    published: [AtomicU64; PUBLISHED],
    marks: Mutex<Vec<Mark>>,
}

impl Watermarks {
    /// No replicas.
    pub fn new() -> Watermarks {
        Watermarks::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.marks.lock().expect("nothing panics while it holds the watermarks")
    }

    /// A replica asked for synchronization.
    pub(crate) fn attach(&self, conn: ConnId, now: MonoMs) {
        let mut marks = self.lock();
        debug_assert!(marks.iter().all(|m| m.conn != conn));
        marks.push(Mark { conn, ack_offset: 0, fsync_offset: None, ack_at: now, online: false });
    }

    /// The replica has its data and follows the stream from now on.
    pub(crate) fn online(&self, conn: ConnId, now: MonoMs) {
        self.change(conn, |mark| {
            mark.online = true;
            mark.ack_at = now;
        });
    }

    /// An ACK arrived. Offsets never go back within one connection.
    pub(crate) fn ack(&self, conn: ConnId, now: MonoMs, offset: u64, fsynced: Option<u64>) {
        self.change(conn, |mark| {
            mark.ack_offset = mark.ack_offset.max(offset);
            mark.fsync_offset = mark.fsync_offset.max(fsynced);
            mark.ack_at = now;
        });
    }

    /// A sign of life without an offset (a bare newline while the replica loads).
    pub(crate) fn touch(&self, conn: ConnId, now: MonoMs) {
        self.change(conn, |mark| mark.ack_at = now);
    }

    /// The replica is gone.
    pub(crate) fn detach(&self, conn: ConnId) {
        let mut marks = self.lock();
        marks.retain(|m| m.conn != conn);
        self.publish(&marks);
    }

    fn change(&self, conn: ConnId, f: impl FnOnce(&mut Mark)) {
        let mut marks = self.lock();
        if let Some(mark) = marks.iter_mut().find(|m| m.conn == conn) {
            f(mark);
            self.publish(&marks);
        }
    }

    fn publish(&self, marks: &[Mark]) {
        let mut offsets = [0; PUBLISHED];
        let mut all: Vec<u64> = marks.iter().filter(|m| m.online).map(|m| m.ack_offset).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        for (to, from) in offsets.iter_mut().zip(&all) {
            *to = *from;
        }
        for (slot, offset) in self.published.iter().zip(offsets) {
            slot.store(offset, Ordering::Release);
        }
    }

    /// The highest stream offset that at least `n` online replicas have acknowledged; 0 if fewer
    /// than `n` are online, `u64::MAX` for n = 0.
    pub fn acked_by(&self, n: usize) -> u64 {
        match n.checked_sub(1) {
            None => u64::MAX,
            Some(at) if at < PUBLISHED => self.published[at].load(Ordering::Acquire),
            Some(at) => {
                let marks = self.lock();
                let mut all: Vec<u64> =
                    marks.iter().filter(|m| m.online).map(|m| m.ack_offset).collect();
                all.sort_unstable_by(|a, b| b.cmp(a));
                all.get(at).copied().unwrap_or(0)
            }
        }
    }

    /// How many online replicas have acknowledged `offset`: the answer of WAIT.
    /// Source: redis 7.0 `replication.c:replicationCountAcksByOffset`.
    pub fn count_acked(&self, offset: u64) -> usize {
        self.lock().iter().filter(|m| m.online && m.ack_offset >= offset).count()
    }

    /// How many online replicas have `offset` on disk: the second answer of WAITAOF.
    pub fn count_fsynced(&self, offset: u64) -> usize {
        self.lock().iter().filter(|m| m.online && m.fsync_offset >= Some(offset)).count()
    }

    /// How many online replicas showed life within `max_lag_ms`, to the millisecond. Redis counts
    /// whole seconds and looks once a second; see [`Watermarks::good_replicas`].
    pub fn good_replicas_ms(&self, now: MonoMs, max_lag_ms: u64) -> usize {
        self.lock().iter().filter(|m| m.online && now.since(m.ack_at) <= max_lag_ms).count()
    }

    /// How many online replicas lag at most `max_lag_s` whole seconds: the measure of
    /// `min-replicas-to-write`. Source: redis 7.0 `replication.c:refreshGoodSlavesCount`.
    pub fn good_replicas(&self, now: MonoMs, max_lag_s: u64) -> usize {
        self.lock().iter().filter(|m| m.online && now.since(m.ack_at) / 1000 <= max_lag_s).count()
    }

    /// The acknowledged offset and the age of the last sign of life in ms, of one replica.
    pub fn of(&self, conn: ConnId, now: MonoMs) -> Option<(u64, u64)> {
        let marks = self.lock();
        marks.iter().find(|m| m.conn == conn).map(|m| (m.ack_offset, now.since(m.ack_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_best_ack_counts() {
        let marks = Watermarks::new();
        for (id, offset) in [(1, 100), (2, 300), (3, 200)] {
            marks.attach(ConnId(id), MonoMs(0));
            marks.ack(ConnId(id), MonoMs(0), offset, None);
        }
        assert_eq!(marks.acked_by(1), 0, "nobody is online yet");
        for id in 1..=3 {
            marks.online(ConnId(id), MonoMs(0));
        }
        assert_eq!([0, 1, 2, 3, 4].map(|n| marks.acked_by(n)), [u64::MAX, 300, 200, 100, 0]);
        assert_eq!(marks.count_acked(200), 2);
        marks.ack(ConnId(2), MonoMs(0), 50, None);
        assert_eq!(marks.acked_by(1), 300, "an ACK never takes an offset back");
        marks.detach(ConnId(2));
        assert_eq!(marks.acked_by(1), 200);
        assert_eq!(marks.acked_by(17), 0);
    }

    #[test]
    fn lag_counts_in_seconds_and_in_ms() {
        let marks = Watermarks::new();
        marks.attach(ConnId(1), MonoMs(0));
        marks.online(ConnId(1), MonoMs(1000));
        assert_eq!(marks.good_replicas(MonoMs(2999), 1), 1);
        assert_eq!(marks.good_replicas(MonoMs(3000), 1), 0);
        assert_eq!(marks.good_replicas_ms(MonoMs(1500), 499), 0);
        assert_eq!(marks.good_replicas_ms(MonoMs(1500), 500), 1);
        marks.touch(ConnId(1), MonoMs(5000));
        assert_eq!(marks.of(ConnId(1), MonoMs(5100)), Some((0, 100)));
    }

    #[test]
    fn fsynced_offsets_count_only_where_reported() {
        let marks = Watermarks::new();
        for id in 1..=2 {
            marks.attach(ConnId(id), MonoMs(0));
            marks.online(ConnId(id), MonoMs(0));
        }
        marks.ack(ConnId(1), MonoMs(0), 10, Some(7));
        marks.ack(ConnId(2), MonoMs(0), 10, None);
        assert_eq!((marks.count_fsynced(7), marks.count_fsynced(8)), (1, 0));
    }
}
