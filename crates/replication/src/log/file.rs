//! What the append-only file has still to get.
//!
//! The file is a reader with a place of its own, because it sees other bytes than replicas do:
//! records that name it alone, none that name replicas alone, no keepalives, and its own SELECT
//! and MULTI. Its bytes are framed under the same append lock, so both readers see one order. They
//! lie here until the file's thread takes them, all at once, by exchanging a few vectors.
//!
//! *File positions* count these bytes since the log was made. They never go back, also not when
//! the file is closed and opened again: a reply that waits for a position finds it passed.

use std::sync::Arc;

use crate::replid::ReplId;

use super::record::{self, AppendRecord, LargeParts};

/// Bytes of commands for the file.
#[derive(Clone, Debug)]
pub enum FilePiece {
    /// Small commands, one behind the other.
    Small(Vec<u8>),
    /// One big part, which the replication stream may hold, too.
    Large(Arc<Vec<u8>>),
}

impl std::ops::Deref for FilePiece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FilePiece::Small(bytes) => bytes,
            FilePiece::Large(bytes) => bytes,
        }
    }
}

/// Commands that a replica applied, for its own file.
#[derive(Clone, Copy, Debug)]
pub struct AppliedPart<'a> {
    /// The database in which they began.
    pub db: u32,
    /// The one that is selected after them: a transaction may select.
    pub db_after: u32,
    /// The commands: one, or a whole transaction with its MULTI and EXEC.
    pub commands: &'a [u8],
}

/// A place in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryMark {
    /// The history.
    pub replid: ReplId,
    /// Stream offset.
    pub offset: u64,
    /// The database that the stream has selected there; 0 if the next record selects anew.
    pub stream_db: u32,
}

/// What was taken out for the file.
#[derive(Debug, Default)]
pub struct FileBatch {
    /// In order. A piece ends where a record ends, or where a new file is to begin.
    pub pieces: Vec<FilePiece>,
    /// File position behind the last of them.
    pub end: u64,
    /// Every effect of the stream before this offset is in these pieces or was taken before.
    pub stream_offset: u64,
    /// Where the history stands behind the last of them; `None` while there is no backlog.
    pub history: Option<HistoryMark>,
    /// How many of `pieces` still belong into the present file: behind them a new one begins,
    /// as [`super::Log::cut_file`] said.
    pub cut: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct FileLane {
    pub(super) wanted: bool,
    pieces: Vec<FilePiece>,
    open: Vec<u8>,
    pub(super) end: u64,
    pending: usize,
    /// What the file has selected; `None` makes the next record select.
    selected_db: Option<u32>,
    cut: Option<usize>,
}

impl FileLane {
    /// Bytes that nobody has taken yet.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending
    }

    pub(super) fn open(&mut self) {
        self.wanted = true;
        self.selected_db = None;
    }

    /// Nothing is wanted any more; what was not taken is dropped.
    pub(super) fn close(&mut self) -> Vec<FilePiece> {
        self.wanted = false;
        self.cut = None;
        self.pending = 0;
        self.open = Vec::new();
        std::mem::take(&mut self.pieces)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
        self.pending += bytes.len();
    }

    fn push_large(&mut self, bytes: Arc<Vec<u8>>) {
        self.seal();
        self.end += bytes.len() as u64;
        self.pending += bytes.len();
        self.pieces.push(FilePiece::Large(bytes));
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(FilePiece::Small(std::mem::take(&mut self.open)));
        }
    }

    /// A new file begins here. It knows of no database.
    pub(super) fn cut(&mut self) {
        self.seal();
        self.cut = Some(self.pieces.len());
        self.selected_db = None;
    }

    fn select(&mut self, db: u32) {
        if self.selected_db != Some(db) {
            self.push(record::Select::new(db).bytes());
            self.selected_db = Some(db);
        }
    }

    /// Puts SELECT and MULTI/EXEC where the file needs them, as for the stream.
    pub(super) fn frame(&mut self, record: &AppendRecord<'_>, large: &LargeParts) {
        let parts = || record.parts.iter().enumerate().filter(|(_, part)| part.targets.aof());
        let wrap = parts().map(|(_, part)| u64::from(part.count)).sum::<u64>() > 1;
        let mut multi_due = wrap;
        for (index, part) in parts().filter(|(_, part)| part.count > 0) {
            if let Some(db) = part.db {
                self.select(db);
            }
            if std::mem::take(&mut multi_due) {
                self.push(record::MULTI);
            }
            match large.get(index) {
                Some(bytes) => self.push_large(bytes),
                None => self.push(part.commands),
            }
        }
        if wrap {
            self.push(record::EXEC);
        }
    }

    pub(super) fn applied(&mut self, part: &AppliedPart<'_>) {
        self.select(part.db);
        self.push(part.commands);
        self.selected_db = Some(part.db_after);
    }

    /// Moves everything into `out`; `spare` becomes the buffer that is filled next.
    pub(super) fn take(&mut self, out: &mut FileBatch, spare: Vec<u8>) {
        self.seal();
        self.open = spare;
        std::mem::swap(&mut self.pieces, &mut out.pieces);
        self.pieces.clear();
        self.pending = 0;
        out.end = self.end;
        out.cut = self.cut.take();
    }
}
