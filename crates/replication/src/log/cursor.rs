//! Readers' places in the log.
//!
//! A cursor shares one atomic number with the log, so that reading on and being dropped need no
//! lock; the log looks at all of them when it trims.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The reader was dropped.
const RELEASED: u64 = u64::MAX;
/// The log was reset under the reader.
const LOST: u64 = u64::MAX - 1;

/// The reader fell behind further than it may.
const OVERRUN: u64 = u64::MAX - 2;

/// The log dropped the history that this cursor read (full resynchronization of this node, or its
/// backlog was freed): the reader must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorLost;

impl std::fmt::Display for CursorLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the log no longer holds this reader's place")
    }
}

impl std::error::Error for CursorLost {}

#[derive(Debug)]
pub(super) struct CursorSlot {
    at: AtomicU64,
    /// How far behind the log's end it may be.
    limit: AtomicU64,
}

impl CursorSlot {
    /// The place, `None` when the reader is gone or lost.
    pub(super) fn position(&self) -> Option<u64> {
        let at = self.at.load(Ordering::Acquire);
        (at < OVERRUN).then_some(at)
    }

    pub(super) fn lose(&self) {
        // A released slot may become a lost one: both count for nothing.
        self.at.store(LOST, Ordering::Release);
    }

    /// Loses its place if it is too far behind `end`. True if it did.
    pub(super) fn overrun(&self, at: u64, end: u64) -> bool {
        let over = end.saturating_sub(at) > self.limit.load(Ordering::Relaxed);
        // Fails if the reader has just moved on: then it is looked at the next time.
        over && self.at.compare_exchange(at, OVERRUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A reader's registered place. The log keeps everything from here on until the cursor moves on or
/// is dropped.
#[derive(Debug)]
pub struct Cursor {
    slot: Arc<CursorSlot>,
    /// How far chunks were handed out; advancing goes no further.
    handed_out: u64,
}

impl Cursor {
    pub(super) fn new(offset: u64) -> Cursor {
        assert!(offset < OVERRUN);
        let slot = CursorSlot { at: AtomicU64::new(offset), limit: AtomicU64::new(u64::MAX) };
        Cursor { slot: Arc::new(slot), handed_out: offset }
    }

    pub(super) fn slot(&self) -> Arc<CursorSlot> {
        Arc::clone(&self.slot)
    }

    pub(super) fn handed_out(&mut self, to: u64) {
        self.handed_out = self.handed_out.max(to);
    }

    /// The stream offset of the next byte to read, `None` if the log was reset.
    pub fn position(&self) -> Option<u64> {
        self.slot.position()
    }

    /// The reader is done with `bytes` more bytes (written to its socket); they may be freed.
    pub fn advance(&mut self, bytes: usize) {
        let Some(at) = self.slot.position() else { return };
        let to = at + bytes as u64;
        assert!(to <= self.handed_out, "a reader is done with bytes that it never got");
        // Fails only if the log was reset meanwhile; the next read reports that.
        let _ = self.slot.at.compare_exchange(at, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// A view of this cursor for whoever measures its lag.
    pub fn watch(&self) -> CursorWatch {
        CursorWatch(self.slot())
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.slot.at.store(RELEASED, Ordering::Release);
    }
}

/// Sees where a cursor is without keeping anything alive.
#[derive(Clone, Debug)]
pub struct CursorWatch(Arc<CursorSlot>);

impl CursorWatch {
    /// The reader loses its place when it falls behind by more than this.
    pub fn set_limit(&self, bytes: u64) {
        self.0.limit.store(bytes, Ordering::Relaxed);
    }

    /// It lost its place that way.
    pub fn is_overrun(&self) -> bool {
        self.0.at.load(Ordering::Acquire) == OVERRUN
    }

    /// The stream offset of the reader's next byte, `None` when it is gone.
    pub fn position(&self) -> Option<u64> {
        self.0.position()
    }
}
