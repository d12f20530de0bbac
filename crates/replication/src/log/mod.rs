//! The log of effects: every write of this node, once, in order, for whoever has to follow it.
//!
//! Appending happens under the stripe locks that made the change, so the one mutex in here is
//! taken last, held for framing and copying only, and never across anything that can wait. Records
//! above [`LARGE`] bytes are copied before it is taken, and freed blocks are dropped after it.
//!
//! The log counts in *stream offsets*: bytes meant for replicas, as Redis's `master_repl_offset`
//! does. What is kept is a tail: the larger of the backlog (`repl-backlog-size`) and what the
//! slowest registered [`Cursor`] still has to read. Without a backlog nothing is kept and the
//! offset stands still; appending then costs one atomic load.
//!
//! Invariants:
//! 1. `store.end()` is the stream offset; `end` mirrors it and is written under the lock only.
//! 2. Every registered cursor lies within `store.start() ..= store.end()`.
//! 3. `wanted` has the bit of the stream exactly when a backlog exists and this node follows
//!    nobody, and that of the file exactly while the file is open.
//! 4. One block holds bytes of one tenure.
//!
//! The append-only file is a second kind of reader, see [`file`]: other bytes, the same order,
//! positions of its own. [`Position`] carries both numbers.

mod cursor;
mod file;
mod record;
mod store;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use cursor::{Cursor, CursorLost, CursorWatch};
pub use file::{AppliedPart, FileBatch, FilePiece, HistoryMark};
pub use record::{AppendRecord, Origin, Part, Targets};
pub use store::Chunk;

use crate::replid::{ReplId, ReplIds};
use cursor::CursorSlot;
use file::FileLane;
use store::{Block, Store};

/// Smallest backlog; Redis raises smaller settings silently (`CONFIG_REPL_BACKLOG_MIN_SIZE`).
const BACKLOG_BYTES_MIN: u64 = 16 * 1024;

/// Parts of this size or more are copied outside the lock and become blocks of their own.
const LARGE: usize = 32 * 1024;

/// A place in the log. Compare positions of one node only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    stream: u64,
    file: u64,
}

/// The stream's bit in `Log::wanted`.
const WANTED_BY_STREAM: u8 = 1;
/// The append-only file's bit.
const WANTED_BY_FILE: u8 = 2;

impl Position {
    /// Before everything.
    pub const START: Position = Position { stream: 0, file: 0 };

    /// The stream offset up to which a replica must have acknowledged to hold everything before
    /// this position.
    #[inline]
    pub fn stream_offset(self) -> u64 {
        self.stream
    }

    /// The file position that must be on disk for the append-only file to hold everything before
    /// this position. 0 if no file was open.
    #[inline]
    pub fn file_position(self) -> u64 {
        self.file
    }

    /// The position that is behind both.
    #[must_use]
    pub fn max(self, other: Position) -> Position {
        Position { stream: self.stream.max(other.stream), file: self.file.max(other.file) }
    }

    /// The position just after `offset` stream bytes.
    #[inline]
    pub fn at_stream_offset(offset: u64) -> Position {
        Position { stream: offset, file: 0 }
    }
}

/// What INFO prints about the backlog, and what its memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// `repl_backlog_active`
    pub active: bool,
    /// `repl_backlog_size`: the setting, at least 16 KiB.
    pub size: u64,
    /// `repl_backlog_first_byte_offset`: 1-based, 0 without a backlog.
    pub first_byte_offset: u64,
    /// `repl_backlog_histlen`: bytes that can be read again.
    pub histlen: u64,
    /// `master_repl_offset`
    pub offset: u64,
    /// Heap bytes of all blocks.
    pub memory_bytes: u64,
}

/// The log's state at the start of a snapshot. Take it while all stripe locks are held.
#[derive(Debug)]
pub struct SnapshotMark {
    /// The snapshot holds exactly the effects of the first `offset` stream bytes.
    pub offset: u64,
    /// The histories at that moment (RDB AUX `repl-id`).
    pub ids: ReplIds,
    /// The database that the stream has selected there, `None` if the next record selects anew.
    /// RDB AUX `repl-stream-db` tells it, 0 for `None`.
    pub stream_db: Option<u32>,
    /// Keeps the bytes after `offset` until replicas have cursors of their own. `None` without a
    /// backlog, and for a snapshot that no replica gets.
    _guard: Option<Cursor>,
}

/// Why a partial resynchronization is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialRefusal {
    /// The replica knows no history (`PSYNC ? -1`).
    NoHistory,
    /// Neither of our ids.
    IdMismatch,
    /// Our second id, but the replica went on where that history had ended.
    BeyondSecondId {
        /// The highest argument that would do.
        limit: i64,
    },
    /// Those bytes are gone.
    Trimmed,
    /// More than there is.
    BeyondEnd,
}

/// The log. Shared by all threads behind a reference.
#[derive(Debug)]
pub struct Log {
    /// Mirror of `Inner::store.end()`.
    end: AtomicU64,
    /// Mirror of `Inner::file.end`.
    file_end: AtomicU64,
    /// Who wants local effects written down; see invariant 3.
    wanted: AtomicU8,
    /// File position up to which everything is on disk.
    synced: AtomicU64,
    /// How often this node was promoted; see [`Log::tenure`].
    tenure: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    cursors: Vec<Arc<CursorSlot>>,
    /// What the stream has selected; `None` makes the next record select.
    selected_db: Option<u32>,
    active: bool,
    /// A replica writes nothing of its own into the stream.
    following: bool,
    backlog_bytes: u64,
    ids: ReplIds,
    file: FileLane,
    /// The stream offset that belongs to `Log::synced`.
    synced_offset: u64,
}

impl Log {
    /// An empty log without a backlog. `backlog_bytes` is `repl-backlog-size`.
    pub fn new(replid: ReplId, backlog_bytes: u64) -> Log {
        let inner = Inner {
            store: Store::new(0, backlog_bytes.max(BACKLOG_BYTES_MIN)),
            cursors: Vec::new(),
            selected_db: None,
            active: false,
            following: false,
            backlog_bytes,
            ids: ReplIds::new(replid),
            file: FileLane::default(),
            synced_offset: 0,
        };
        Log {
            end: AtomicU64::new(0),
            file_end: AtomicU64::new(0),
            wanted: AtomicU8::new(0),
            synced: AtomicU64::new(0),
            tenure: AtomicU64::new(0),
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the log")
    }

    /// Changes the log: keeps the mirrors right and frees blocks after the lock is gone.
    fn change<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = f(&mut inner);
        let garbage = inner.trim();
        self.end.store(inner.store.end(), Ordering::Release);
        self.file_end.store(inner.file.end, Ordering::Release);
        self.wanted.store(inner.wanted(), Ordering::Release);
        drop(inner);
        drop(garbage);
        result
    }

    /// The stream offset (`master_repl_offset`).
    #[inline]
    pub fn offset(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The position of the last record.
    #[inline]
    pub fn position(&self) -> Position {
        Position { stream: self.offset(), file: self.file_position() }
    }

    /// The file position of the last record.
    #[inline]
    pub fn file_position(&self) -> u64 {
        self.file_end.load(Ordering::Acquire)
    }

    /// False when [`Log::append`] would drop its record, so that the caller can save the trouble of
    /// encoding it. May become true only while all stripe locks are held or before a snapshot.
    #[inline]
    pub fn wants_records(&self) -> bool {
        self.wanted.load(Ordering::Acquire) != 0
    }

    /// Whether replicas want records.
    pub fn wants_stream(&self) -> bool {
        self.wanted.load(Ordering::Acquire) & WANTED_BY_STREAM != 0
    }

    /// Whether the append-only file wants records, also of a replica.
    #[inline]
    pub fn wants_file(&self) -> bool {
        self.wanted.load(Ordering::Acquire) & WANTED_BY_FILE != 0
    }

    /// Writes one record down: the effect of one command, transaction or script. Call it under the
    /// stripe locks of the change. Returns the position after it; without anybody to read it, and
    /// on a replica, nothing is written.
    #[inline]
    pub fn append(&self, record: &AppendRecord<'_>) -> Position {
        if !self.wants_records() || record.origin == Origin::Master {
            return self.position();
        }
        self.append_wanted(record)
    }

    fn append_wanted(&self, record: &AppendRecord<'_>) -> Position {
        let large = record.copy_large_parts();
        let mut inner = self.lock();
        if inner.active && !inner.following {
            inner.frame(record, &large);
        }
        if inner.file.wanted {
            inner.file.frame(record, &large);
        }
        self.finish_append(inner)
    }

    /// Writes bytes of the master's stream down as they came (PING, GETACK and SELECT included),
    /// once they are applied. `selected_db` is the database that is selected after them.
    /// `applied` are the writes among them, for the append-only file.
    pub fn append_verbatim(
        &self,
        bytes: &[u8],
        selected_db: u32,
        applied: &[AppliedPart<'_>],
    ) -> Position {
        let large = (bytes.len() >= LARGE).then(|| Arc::new(bytes.to_vec()));
        let mut inner = self.lock();
        assert!(inner.following, "only a replica copies its master's stream");
        assert!(inner.active, "a replica has a backlog once it is in sync");
        match large {
            Some(bytes) => inner.store.push_block(bytes, 0),
            None => inner.store.push(bytes, 0),
        }
        inner.selected_db = Some(selected_db);
        if inner.file.wanted {
            applied.iter().for_each(|part| inner.file.applied(part));
        }
        self.finish_append(inner)
    }

    /// As [`Log::append_verbatim`], for bytes that came while [`Log::tenure`] was `tenure`. Nothing
    /// if this node was promoted since: they belong to a history that has ended.
    pub fn append_applied(
        &self,
        bytes: &[u8],
        selected_db: u32,
        tenure: u64,
        applied: &[AppliedPart<'_>],
    ) {
        let large = (bytes.len() >= LARGE).then(|| Arc::new(bytes.to_vec()));
        let mut inner = self.lock();
        if !inner.following || !inner.active || self.tenure() != tenure {
            return;
        }
        match large {
            Some(bytes) => inner.store.push_block(bytes, 0),
            None => inner.store.push(bytes, 0),
        }
        inner.selected_db = Some(selected_db);
        if inner.file.wanted {
            applied.iter().for_each(|part| inner.file.applied(part));
        }
        self.finish_append(inner);
    }

    /// Counts promotions. Changes under all stripe locks, so under any of them it tells whether
    /// what a former master sent still counts.
    #[inline]
    pub fn tenure(&self) -> u64 {
        self.tenure.load(Ordering::Acquire)
    }

    /// Writes the keepalive that a master sends each `repl-ping-replica-period`. Nothing without a
    /// backlog or on a replica.
    pub fn append_ping(&self) -> Position {
        self.append_bare(record::PING)
    }

    /// Writes the question that makes replicas acknowledge at once (WAIT). Nothing without a
    /// backlog or on a replica.
    pub fn append_getack(&self) -> Position {
        self.append_bare(record::GETACK)
    }

    fn append_bare(&self, bytes: &[u8]) -> Position {
        let mut inner = self.lock();
        if inner.active && !inner.following {
            inner.store.push(bytes, 0);
        }
        self.finish_append(inner)
    }

    /// The common end of every append. Trimming looks at the cursors only when a block was sealed.
    fn finish_append(&self, mut inner: MutexGuard<'_, Inner>) -> Position {
        let (end, file) = (inner.store.end(), inner.file.end);
        let garbage = if inner.store.take_sealed_flag() { inner.trim() } else { Vec::new() };
        self.end.store(end, Ordering::Release);
        self.file_end.store(file, Ordering::Release);
        drop(inner);
        drop(garbage);
        Position { stream: end, file }
    }

    // ---- the append-only file ------------------------------------------------------------

    /// The append-only file wants every record from here on. Take all stripe locks, or be alone.
    pub fn open_file(&self) {
        self.change(|inner| inner.file.open());
    }

    /// The append-only file wants no more records.
    pub fn close_file(&self) {
        let garbage = self.change(|inner| inner.file.close());
        drop(garbage);
    }

    /// A new file begins at this position. Take all stripe locks.
    pub fn cut_file(&self) {
        self.change(|inner| inner.file.cut());
    }

    /// Takes what was recorded for the file since the last call. `spare` is a buffer to be used
    /// again.
    pub fn take_file(&self, out: &mut FileBatch, mut spare: Vec<u8>) {
        out.pieces.clear();
        spare.clear();
        let mut inner = self.lock();
        inner.file.take(out, spare);
        out.stream_offset = inner.store.end();
        out.history = inner.active.then(|| HistoryMark {
            replid: inner.ids.replid,
            offset: inner.store.end(),
            stream_db: inner.selected_db.unwrap_or(0),
        });
    }

    /// Everything before this file position is on disk, and with it every effect of the stream
    /// before `stream_offset`.
    pub fn note_synced(&self, position: u64, stream_offset: u64) {
        let mut inner = self.lock();
        inner.synced_offset = stream_offset;
        self.synced.store(position, Ordering::Release);
    }

    /// File position up to which everything is on disk.
    #[inline]
    pub fn synced_position(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// The stream offset up to which every effect is on disk (`FACK`); `None` without a file.
    pub fn synced_stream_offset(&self) -> Option<u64> {
        let inner = self.lock();
        if !inner.file.wanted {
            return None;
        }
        // What came since without a byte for the file needs no disk.
        let all = self.synced.load(Ordering::Acquire) >= inner.file.end;
        Some(if all { inner.store.end() } else { inner.synced_offset })
    }

    /// Bytes that the file's thread has not taken yet.
    pub fn file_pending_bytes(&self) -> usize {
        self.lock().file.pending_bytes()
    }

    /// Registers a reader at stream offset `offset`; `None` if those bytes are not there.
    pub fn cursor_at(&self, offset: u64) -> Option<Cursor> {
        let mut inner = self.lock();
        inner.cursor_at(offset)
    }

    /// Reads on from a cursor: adds up to `bytes_max` bytes as chunks to `out` and returns how many.
    /// 0 means that the reader has caught up. The cursor itself moves with [`Cursor::advance`].
    pub fn read(
        &self,
        cursor: &mut Cursor,
        bytes_max: usize,
        out: &mut Vec<Chunk>,
    ) -> Result<usize, CursorLost> {
        let from = cursor.position().ok_or(CursorLost)?;
        if from == self.offset() {
            return Ok(0);
        }
        let inner = self.lock();
        // Looked at again: a reset happens under the lock.
        let from = cursor.position().ok_or(CursorLost)?;
        let bytes = inner.store.read(from, bytes_max, out);
        drop(inner);
        cursor.handed_out(from + bytes as u64);
        Ok(bytes)
    }

    /// How many bytes the reader behind `watch` has still to read; 0 when it is gone.
    pub fn cursor_lag(&self, watch: &CursorWatch) -> u64 {
        watch.position().map_or(0, |at| self.offset().saturating_sub(at))
    }

    /// Drops blocks that nobody needs any more. Appending does this by itself; call it from time to
    /// time so that the memory of a slow reader is freed on an idle node, too.
    pub fn trim(&self) {
        self.change(|_| ());
    }

    /// The replication ids.
    pub fn ids(&self) -> ReplIds {
        self.lock().ids
    }

    /// Numbers for INFO.
    pub fn stats(&self) -> LogStats {
        let inner = self.lock();
        let (start, end) = (inner.store.start(), inner.store.end());
        LogStats {
            active: inner.active,
            size: inner.backlog_bytes.max(BACKLOG_BYTES_MIN),
            first_byte_offset: if inner.active { start + 1 } else { 0 },
            histlen: end - start,
            offset: end,
            memory_bytes: inner.store.memory_bytes(),
        }
    }

    /// Whether a backlog exists.
    pub fn backlog_active(&self) -> bool {
        self.lock().active
    }

    /// Changes `repl-backlog-size`. Values below 16 KiB count as 16 KiB.
    pub fn set_backlog_size(&self, bytes: u64) {
        self.change(|inner| {
            inner.backlog_bytes = bytes;
            inner.store.set_backlog_bytes(bytes.max(BACKLOG_BYTES_MIN));
        });
    }

    /// Takes the position for a snapshot. With `for_replicas` the next record selects its database
    /// anew, as replicas that load the snapshot need it.
    pub fn mark_snapshot(&self, for_replicas: bool) -> SnapshotMark {
        let mut inner = self.lock();
        // A replica's stream is its master's: no SELECT can be put in, the RDB tells the database.
        if for_replicas && !inner.following {
            inner.selected_db = None;
        }
        let offset = inner.store.end();
        let guard = if for_replicas { inner.cursor_at(offset) } else { None };
        SnapshotMark { offset, ids: inner.ids, stream_db: inner.selected_db, _guard: guard }
    }

    /// A first replica comes: a backlog starts here, and with it a history of its own, because what
    /// was written before is in no log. Returns the new ids, or `None` if a backlog exists.
    /// Source: redis 7.0 `replication.c:syncCommand`.
    pub fn create_backlog(&self, new_replid: ReplId) -> Option<ReplIds> {
        self.change(|inner| {
            if inner.active {
                return None;
            }
            inner.ids = ReplIds::new(new_replid);
            inner.active = true;
            inner.selected_db = None;
            Some(inner.ids)
        })
    }

    /// Frees the backlog after `repl-backlog-ttl` without replicas; the history ends, since writes
    /// go on unrecorded. Source: redis 7.0 `replication.c:replicationCron`.
    pub fn free_backlog(&self, new_replid: ReplId) {
        self.change(|inner| {
            assert!(!inner.following, "a replica never frees its backlog");
            inner.ids = ReplIds::new(new_replid);
            inner.active = false;
            inner.reset(inner.store.end());
        });
    }

    /// Replaces the id and forgets the second one (DEBUG CHANGE-REPL-ID).
    pub fn change_replid(&self, new_replid: ReplId) {
        self.change(|inner| inner.ids = ReplIds::new(new_replid));
    }

    /// This node becomes a replica: own effects stay out of the stream from here on. History and
    /// backlog are kept; a partial resynchronization may continue them.
    pub fn follow(&self) {
        self.change(|inner| inner.following = true);
    }

    /// This node becomes a master again: a new history that continues the present one.
    /// Source: redis 7.0 `replication.c:replicationUnsetMaster`, `shiftReplicationId`.
    pub fn promote(&self, new_replid: ReplId) -> ReplIds {
        self.change(|inner| {
            assert!(inner.following, "only a replica is promoted");
            inner.following = false;
            self.tenure.fetch_add(1, Ordering::AcqRel);
            inner.selected_db = None;
            let offset = inner.store.end();
            inner.ids.shift(new_replid, offset);
            inner.ids
        })
    }

    /// A replica has loaded its master's snapshot: the master's history from `offset` on, where the
    /// stream has `stream_db` selected (RDB AUX `repl-stream-db`). All readers lose their place. Source: redis 7.0 `replication.c:replicationAttachToNewMaster`
    /// and the end of `readSyncBulkPayload`.
    pub fn adopt(&self, replid: ReplId, offset: u64, stream_db: u32) {
        self.change(|inner| {
            assert!(inner.following, "only a replica adopts a history");
            inner.ids = ReplIds::new(replid);
            inner.active = true;
            inner.reset(offset);
            inner.selected_db = Some(stream_db);
        });
    }

    /// A replica begins to replace its data: nobody can go on from its history any more, not even
    /// after a promotion in the middle of the load. The offset stays until [`Log::adopt`].
    pub fn discard_history(&self) {
        self.change(|inner| {
            assert!(inner.following, "only a replica's data is replaced");
            inner.active = false;
            inner.reset(inner.store.end());
        });
    }

    /// A partial resynchronization was accepted. `new_replid` is the master's id, if it told one;
    /// a different one starts a new history that continues ours. Returns true in that case.
    pub fn resume(&self, new_replid: Option<ReplId>) -> bool {
        self.change(|inner| {
            assert!(inner.following, "only a replica resumes");
            inner.active = true;
            let offset = inner.store.end();
            match new_replid {
                Some(id) if id != inner.ids.replid => {
                    inner.ids.shift(id, offset);
                    true
                }
                _ => false,
            }
        })
    }

    /// A master starts from an RDB file that tells where its history had come: replicas of that
    /// history may continue. Source: redis 7.0 `server.c:loadDataFromDisk`.
    pub fn restore_as_master(&self, replid: ReplId, offset: u64) {
        self.change(|inner| {
            assert!(!inner.following && !inner.active, "restoring happens at start");
            inner.ids.replid2 = replid;
            inner.ids.second_repl_offset = i64::try_from(offset).map_or(-1, |o| o + 1);
            inner.active = true;
            inner.reset(offset);
        });
    }

    /// A replica starts from an RDB file that tells where its master's history had come, and the
    /// database that its stream had selected there.
    pub fn restore_as_replica(&self, replid: ReplId, offset: u64, stream_db: u32) {
        self.change(|inner| {
            inner.ids = ReplIds::new(replid);
            inner.following = true;
            inner.active = true;
            inner.reset(offset);
            inner.selected_db = Some(stream_db);
        });
    }

    /// Decides on `PSYNC <id> <argument>`, where the argument is the first missing byte, 1-based.
    /// Accepted: a cursor at that place, registered in the same instant.
    /// Source: redis 7.0 `replication.c:masterTryPartialResync`.
    pub fn try_partial(&self, id: &[u8], argument: i64) -> Result<Cursor, PartialRefusal> {
        let mut inner = self.lock();
        let ids = inner.ids;
        if !ids.replid.matches(id) {
            if id.first() == Some(&b'?') {
                return Err(PartialRefusal::NoHistory);
            }
            if !ids.replid2.matches(id) {
                return Err(PartialRefusal::IdMismatch);
            }
            if argument > ids.second_repl_offset {
                return Err(PartialRefusal::BeyondSecondId { limit: ids.second_repl_offset });
            }
        }
        let offset = argument.checked_sub(1).and_then(|o| u64::try_from(o).ok());
        match offset {
            Some(offset) if offset > inner.store.end() => Err(PartialRefusal::BeyondEnd),
            Some(offset) => inner.cursor_at(offset).ok_or(PartialRefusal::Trimmed),
            None => Err(PartialRefusal::Trimmed),
        }
    }
}

impl Inner {
    fn wanted(&self) -> u8 {
        let stream = if self.active && !self.following { WANTED_BY_STREAM } else { 0 };
        stream | if self.file.wanted { WANTED_BY_FILE } else { 0 }
    }

    fn cursor_at(&mut self, offset: u64) -> Option<Cursor> {
        if !self.active || offset < self.store.start() || offset > self.store.end() {
            return None;
        }
        let cursor = Cursor::new(offset);
        self.cursors.push(cursor.slot());
        Some(cursor)
    }

    /// Puts SELECT and MULTI/EXEC where they belong and copies the parts. The SELECT of the first
    /// command comes before MULTI, those of later ones inside, as on a real master's wire.
    fn frame(&mut self, record: &AppendRecord<'_>, large: &record::LargeParts) {
        let epoch = record.tenure_epoch;
        let wrap = record.stream_commands() > 1;
        let mut multi_due = wrap;
        for (index, part) in record.parts.iter().enumerate() {
            if !part.targets.replicas() || part.count == 0 {
                continue;
            }
            if let Some(db) = part.db
                && self.selected_db != Some(db)
            {
                self.store.push(record::Select::new(db).bytes(), epoch);
                self.selected_db = Some(db);
            }
            if std::mem::take(&mut multi_due) {
                self.store.push(record::MULTI, epoch);
            }
            match large.get(index) {
                Some(bytes) => self.store.push_block(bytes, epoch),
                None => self.store.push(part.commands, epoch),
            }
        }
        if wrap {
            self.store.push(record::EXEC, epoch);
        }
    }

    /// Takes out what neither the backlog nor a cursor needs, to be dropped without the lock.
    fn trim(&mut self) -> Vec<Block> {
        let backlog = self.backlog_bytes.max(BACKLOG_BYTES_MIN);
        let end = self.store.end();
        let mut keep_from = end.saturating_sub(backlog);
        self.cursors.retain(|slot| match slot.position() {
            Some(at) if slot.overrun(at, end) => false,
            Some(at) => {
                keep_from = keep_from.min(at);
                true
            }
            None => false,
        });
        self.store.take_before(keep_from)
    }

    /// Drops the whole tail and goes on at `offset`; readers lose their place.
    fn reset(&mut self, offset: u64) {
        for slot in self.cursors.drain(..) {
            slot.lose();
        }
        self.store.reset(offset);
        self.selected_db = None;
    }
}
