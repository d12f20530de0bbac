//! The bytes themselves: a chain of sealed blocks that are never written again, and one open block
//! at the end.
//!
//! Readers get sealed blocks by reference count and the open block's bytes as a small copy. Shared
//! memory that grows under its readers would save that copy, but needs `unsafe`.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

/// Capacity of an ordinary block.
const BLOCK_BYTES_MAX: u64 = 64 * 1024;
/// Blocks of small backlogs are smaller, so that the tail stays near its setting.
const BLOCK_BYTES_MIN: u64 = 16 * 1024;
/// Most bytes that one read copies out of the open block, under the lock.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// Bytes that will not change.
#[derive(Debug)]
pub(super) struct Block {
    start: u64,
    tenure_epoch: u64,
    bytes: Arc<Vec<u8>>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// A run of stream bytes, handed to a reader. Cheap to clone and to keep while it is written out.
#[derive(Clone, Debug)]
pub struct Chunk {
    offset: u64,
    tenure_epoch: u64,
    bytes: Arc<Vec<u8>>,
    from: usize,
    to: usize,
}

impl Chunk {
    /// Stream offset of the first byte (0-based: so many bytes come before it).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The tenure in which these bytes were written.
    pub fn tenure_epoch(&self) -> u64 {
        self.tenure_epoch
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

#[derive(Debug)]
pub(super) struct Store {
    sealed: VecDeque<Block>,
    open: Vec<u8>,
    open_start: u64,
    open_epoch: u64,
    block_bytes: usize,
    /// An emptied block, kept so that a full backlog needs no allocation.
    spare: Option<Vec<u8>>,
    /// Capacity of all sealed blocks.
    sealed_capacity: u64,
    sealed_flag: bool,
}

impl Store {
    pub(super) fn new(offset: u64, backlog_bytes: u64) -> Store {
        let mut store = Store {
            sealed: VecDeque::new(),
            open: Vec::new(),
            open_start: offset,
            open_epoch: 0,
            block_bytes: 0,
            spare: None,
            sealed_capacity: 0,
            sealed_flag: false,
        };
        store.set_backlog_bytes(backlog_bytes);
        store
    }

    /// Chooses the size of blocks to come.
    pub(super) fn set_backlog_bytes(&mut self, backlog_bytes: u64) {
        self.block_bytes = (backlog_bytes / 16).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX) as usize;
    }

    /// Offset of the oldest byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.sealed.front().map_or(self.open_start, |b| b.start)
    }

    /// Offset after the newest byte.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.open_start + self.open.len() as u64
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let spare = self.spare.as_ref().map_or(0, Vec::capacity);
        self.sealed_capacity + (self.open.capacity() + spare) as u64
    }

    /// Whether a block was sealed since the last call.
    pub(super) fn take_sealed_flag(&mut self) -> bool {
        std::mem::take(&mut self.sealed_flag)
    }

    /// Copies bytes to the end.
    pub(super) fn push(&mut self, mut bytes: &[u8], tenure_epoch: u64) {
        if self.open_epoch != tenure_epoch {
            self.seal();
            self.open_epoch = tenure_epoch;
        }
        while !bytes.is_empty() {
            if self.open.len() >= self.block_bytes {
                self.seal();
            }
            if self.open.capacity() == 0 {
                self.open = self.spare.take().unwrap_or_default();
                // A spare of a former size is as good as none.
                self.open.reserve_exact(self.block_bytes);
            }
            let room = self.block_bytes - self.open.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.open.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Puts a whole block at the end, without copying it.
    pub(super) fn push_block(&mut self, bytes: Arc<Vec<u8>>, tenure_epoch: u64) {
        self.seal();
        self.open_epoch = tenure_epoch;
        self.seal_bytes(bytes);
    }

    /// Closes the open block.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.open);
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        self.seal_bytes(Arc::new(bytes));
    }

    fn seal_bytes(&mut self, bytes: Arc<Vec<u8>>) {
        debug_assert!(self.open.is_empty());
        self.sealed_flag = true;
        self.sealed_capacity += bytes.capacity() as u64;
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.sealed.push_back(Block { start, tenure_epoch: self.open_epoch, bytes });
    }

    /// Takes out all blocks that end at or before `offset`. One that nobody reads is kept for reuse.
    pub(super) fn take_before(&mut self, offset: u64) -> Vec<Block> {
        let mut garbage = Vec::new();
        while self.sealed.front().is_some_and(|b| b.end() <= offset) {
            let Some(block) = self.sealed.pop_front() else { break };
            self.sealed_capacity -= block.bytes.capacity() as u64;
            if self.spare.is_some() || block.bytes.capacity() != self.block_bytes {
                garbage.push(block);
                continue;
            }
            match Arc::try_unwrap(block.bytes) {
                Ok(mut bytes) => {
                    bytes.clear();
                    self.spare = Some(bytes);
                }
                // A reader writes it out just now; its reference frees it.
                Err(shared) => drop(shared),
            }
        }
        garbage
    }

    /// Forgets everything and goes on at `offset`.
    pub(super) fn reset(&mut self, offset: u64) {
        self.sealed.clear();
        self.open = Vec::new();
        self.spare = None;
        self.sealed_capacity = 0;
        self.open_start = offset;
    }

    /// Collects chunks from `from` on, `bytes_max` bytes at most, and returns how many bytes.
    pub(super) fn read(&self, from: u64, bytes_max: usize, out: &mut Vec<Chunk>) -> usize {
        assert!(self.start() <= from && from <= self.end(), "a cursor lies within the log");
        let mut done = 0;
        let first = self.sealed.partition_point(|b| b.end() <= from);
        for block in self.sealed.range(first..) {
            if done == bytes_max {
                return done;
            }
            let offset = from + done as u64;
            let skip = (offset - block.start) as usize;
            let to = block.bytes.len().min(skip + (bytes_max - done));
            done += to - skip;
            let (bytes, tenure_epoch) = (Arc::clone(&block.bytes), block.tenure_epoch);
            out.push(Chunk { offset, tenure_epoch, bytes, from: skip, to });
        }
        let offset = from + done as u64;
        let skip = (offset - self.open_start.min(offset)) as usize;
        let room = (bytes_max - done).min(COPY_BYTES_MAX);
        let to = self.open.len().min(skip.saturating_add(room));
        if offset >= self.open_start && to > skip {
            let bytes = Arc::new(self.open[skip..to].to_vec());
            let len = to - skip;
            out.push(Chunk { offset, tenure_epoch: self.open_epoch, bytes, from: 0, to: len });
            done += len;
        }
        done
    }
}
