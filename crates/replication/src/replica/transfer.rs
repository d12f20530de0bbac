//! The RDB of a full synchronization: its framing, byte by byte, and what happens around it.
//!
//! Two forms. `$<length>\r\n` and exactly so many bytes; or `$EOF:<40 characters>\r\n`, bytes, and
//! the same 40 characters again. Bare newlines may come before the `$`. Redis looks for the closing
//! mark at the end of what it has received; here it is searched for anywhere, so that bytes after
//! it need no pause before them.
//!
//! Source: redis 7.0 `replication.c:readSyncBulkPayload`.

use stdx::{MonoMs, parse_u64};

use super::{
    How, LinkId, LoadMode, NEWLINE_PERIOD_MS, REFUSED_RETRY_MS, ReplicaLink, ReplicaOutput,
    SYNC_BACKOFF_MS, State, SyncProgress,
};
use crate::event::printable;
use crate::replid::ReplId;

/// Longest header line.
const LINE_MAX: usize = 1024;
/// Length of the closing mark.
const MARK_LEN: usize = 40;

#[derive(Debug)]
enum Framing {
    /// Waits for the line that tells the form.
    Header(Vec<u8>),
    Length {
        left: u64,
    },
    Mark(Box<MarkSearch>),
}

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) last_io: MonoMs,
    /// `None` after a plain SYNC.
    replid: Option<ReplId>,
    offset: u64,
    framing: Framing,
    total: u64,
    read: u64,
}

impl Transfer {
    pub(super) fn new(now: MonoMs, replid: Option<ReplId>, offset: u64) -> Transfer {
        let framing = Framing::Header(Vec::new());
        Transfer { last_io: now, replid, offset, framing, total: 0, read: 0 }
    }

    /// The line that tells the form has not come yet.
    pub(super) fn in_header(&self) -> bool {
        matches!(self.framing, Framing::Header(_))
    }

    pub(super) fn progress(&self, now: MonoMs) -> Option<SyncProgress> {
        Some(SyncProgress {
            total_bytes: self.total,
            read_bytes: self.read,
            last_io_seconds_ago: now.since(self.last_io) / 1000,
        })
    }
}

/// Finds the closing mark in a stream of pieces.
#[derive(Debug)]
struct MarkSearch {
    mark: [u8; MARK_LEN],
    /// How far the window may move on when its last byte is this one (Horspool).
    skip: [u8; 256],
    /// Bytes that may be the beginning of the mark: at most `MARK_LEN - 1`.
    held: Vec<u8>,
}

impl MarkSearch {
    fn new(mark: [u8; MARK_LEN]) -> MarkSearch {
        let mut skip = [MARK_LEN as u8; 256];
        for (at, &b) in mark[..MARK_LEN - 1].iter().enumerate() {
            skip[usize::from(b)] = (MARK_LEN - 1 - at) as u8;
        }
        MarkSearch { mark, skip, held: Vec::new() }
    }

    /// Takes the next piece. Returns what is certainly data, and what follows the mark if the mark
    /// is complete.
    fn feed(&mut self, piece: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut bytes = std::mem::take(&mut self.held);
        if bytes.is_empty() {
            bytes = piece;
        } else {
            bytes.extend_from_slice(&piece);
        }
        if let Some(at) = self.find(&bytes) {
            let after = bytes.split_off(at + MARK_LEN);
            bytes.truncate(at);
            return (bytes, Some(after));
        }
        self.held = bytes.split_off(bytes.len().saturating_sub(MARK_LEN - 1));
        (bytes, None)
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + MARK_LEN) {
            if window == self.mark {
                return Some(at);
            }
            at += usize::from(self.skip[usize::from(window[MARK_LEN - 1])]);
        }
        None
    }
}

impl ReplicaLink {
    /// Takes bytes of the transfer; returns what follows it.
    pub(super) fn transfer_bytes(&mut self, now: MonoMs, mut bytes: Vec<u8>) -> Vec<u8> {
        let link = self.link;
        let State::Transfer(transfer) = &mut self.state else {
            unreachable!("called in this state only")
        };
        transfer.last_io = now;
        let (data, rest) = match &mut transfer.framing {
            Framing::Header(line) => {
                let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
                    line.extend_from_slice(&bytes);
                    if line.len() > LINE_MAX {
                        let line = std::mem::take(line);
                        self.bad_header(now, &line);
                    }
                    return Vec::new();
                };
                let rest = bytes.split_off(end + 1);
                let mut line = std::mem::take(line);
                line.extend_from_slice(&bytes[..end]);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                self.transfer_header(now, &line);
                return rest;
            }
            Framing::Length { left } => {
                let now_len = usize::try_from(*left).map_or(bytes.len(), |l| l.min(bytes.len()));
                let rest = bytes.split_off(now_len);
                *left -= now_len as u64;
                let finished = *left == 0;
                (bytes, finished.then_some(rest))
            }
            Framing::Mark(search) => search.feed(bytes),
        };
        transfer.read += data.len() as u64;
        if !data.is_empty() {
            self.outputs.push_back(ReplicaOutput::RdbBytes { link, bytes: data });
        }
        match rest {
            None => Vec::new(),
            Some(rest) => {
                self.become_loading(now);
                rest
            }
        }
    }

    fn transfer_header(&mut self, now: MonoMs, line: &[u8]) {
        if line.is_empty() {
            return; // The master lives and is busy.
        }
        if line[0] == b'-' {
            let shown = printable(&line[1..]);
            self.warning(format!("MASTER aborted replication with an error: {shown}"));
            return self.sync_failed(now);
        }
        let mark = line.strip_prefix(b"$EOF:").and_then(|m| m.get(..MARK_LEN));
        let length = line.strip_prefix(b"$").and_then(parse_u64);
        let target = match self.options.load_mode {
            LoadMode::Disk => "to disk",
            LoadMode::Parser => "to parser",
        };
        let State::Transfer(transfer) = &mut self.state else { return };
        let (replid, offset) = (transfer.replid, transfer.offset);
        let what = match (mark.and_then(|m| m.try_into().ok()), length) {
            (Some(mark), _) => {
                transfer.framing = Framing::Mark(Box::new(MarkSearch::new(mark)));
                format!("receiving streamed RDB from master with EOF {target}")
            }
            (None, Some(length)) => {
                transfer.framing = Framing::Length { left: length };
                transfer.total = length;
                format!("receiving {length} bytes from master {target}")
            }
            (None, None) => return self.bad_header(now, line),
        };
        self.notice(format!("MASTER <-> REPLICA sync: {what}"));
        let link = self.link;
        self.outputs.push_back(ReplicaOutput::RdbBegin { link, length, replid, offset });
        if length == Some(0) {
            self.become_loading(now);
        }
    }

    fn bad_header(&mut self, now: MonoMs, line: &[u8]) {
        self.warning(format!(
            "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure \
             the host and port are right?",
            printable(line)
        ));
        self.sync_failed(now);
    }

    /// All of the RDB is here.
    fn become_loading(&mut self, now: MonoMs) {
        let State::Transfer(transfer) = &self.state else {
            unreachable!("loading ends a transfer")
        };
        let (replid, offset) = (transfer.replid, transfer.offset);
        let next_newline = now + NEWLINE_PERIOD_MS;
        self.state = State::Loading { offset, replid, early: Vec::new(), next_newline };
        let link = self.link;
        self.outputs.push_back(if self.is_suspicious(replid, offset) {
            ReplicaOutput::Inspect { link }
        } else {
            ReplicaOutput::RdbEnd { link }
        });
    }

    /// Whether what comes may be nothing, from a master that lost everything: a history that has
    /// nothing to do with ours and is shorter, and nobody asked for it.
    fn is_suspicious(&self, replid: Option<ReplId>, offset: u64) -> bool {
        let ids = self.log.ids();
        let known = replid.is_some_and(|id| id == ids.replid || id == ids.replid2);
        // Its history grows; once refused, a stranger stays one.
        let shorter = offset < self.log.offset() || (replid.is_some() && replid == self.refused);
        self.can_continue && !self.deliberate && !known && shorter
    }

    /// What was received is known: go on with it, or keep what there is.
    pub(super) fn inspected(&mut self, now: MonoMs, empty: bool, own_keys: u64, guarded: bool) {
        let State::Loading { replid, .. } = self.state else { return };
        if !empty || own_keys == 0 {
            return self.outputs.push_back(ReplicaOutput::RdbEnd { link: self.link });
        }
        let address = self.address();
        if !guarded {
            self.warning(format!(
                "The master {address} came back empty; its {own_keys} keys are dropped here, too. \
                 Set empty-master-guard to yes to keep them."
            ));
            return self.outputs.push_back(ReplicaOutput::RdbEnd { link: self.link });
        }
        self.refused = replid;
        self.empty_refused += 1;
        let first = self.empty_refused == 1;
        if first {
            self.warning(format!(
                "The master {address} came back empty, with another history; the {own_keys} keys \
                 here are kept. Promote a replica (REPLICAOF NO ONE), or say REPLICAOF again to \
                 obey it."
            ));
        }
        self.outputs.push_back(ReplicaOutput::Close { link: self.link });
        self.link = LinkId(self.link.0 + 1);
        // The first time soon: the next handshake tells the master what was found.
        let wait = if first { SYNC_BACKOFF_MS } else { REFUSED_RETRY_MS };
        self.state = State::Connect { at: now + wait, how: How::AfterFailure };
    }

    /// The node's own data goes now. Neither we nor our replicas can go on from it any more.
    pub(super) fn load_started(&mut self) {
        if !matches!(self.state, State::Transfer(_) | State::Loading { .. }) || self.replacing {
            return;
        }
        self.replacing = true;
        self.forget_history();
        self.log.discard_history();
        self.outputs.push_back(ReplicaOutput::DropReplicas);
        self.notice("MASTER <-> REPLICA sync: Flushing old data");
        self.notice("MASTER <-> REPLICA sync: Loading DB in memory");
    }

    pub(super) fn load_finished(&mut self, now: MonoMs, ok: bool, stream_db: u32) {
        if !ok {
            // A parser may fail before the last byte has come.
            if matches!(self.state, State::Transfer(_) | State::Loading { .. }) {
                self.warning(
                    "Failed trying to load the MASTER synchronization DB from socket or disk, \
                     check server logs.",
                );
                self.sync_failed(now);
            }
            return;
        }
        self.load_started();
        let State::Loading { offset, replid, early, .. } = &mut self.state else { return };
        let (offset, early) = (*offset, std::mem::take(early));
        let replid = replid.unwrap_or_else(|| ReplId::generate(&mut self.prng));
        self.log.adopt(replid, offset, stream_db);
        self.notice("MASTER <-> REPLICA sync: Finished with success");
        self.become_connected(now, true);
        if !early.is_empty() {
            self.data(now, &early);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    #[test]
    fn the_mark_is_found_wherever_the_pieces_are_cut() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let mark: [u8; 40] = prng.hex(40).as_bytes().try_into().unwrap();
            // Data full of near misses: beginnings of the mark.
            let mut data = Vec::new();
            while data.len() < 300 {
                let part = prng.below(40) as usize;
                data.extend_from_slice(&mark[..part]);
                data.push(prng.next_u64() as u8 | 0x80);
            }
            let mut wire = data.clone();
            wire.extend_from_slice(&mark);
            wire.extend_from_slice(b"after");
            let mut search = MarkSearch::new(mark);
            let (mut got, mut rest) = (Vec::new(), &wire[..]);
            let after = loop {
                let (piece, later) = rest.split_at(rest.len().min(1 + prng.below(60) as usize));
                rest = later;
                let (bytes, after) = search.feed(piece.to_vec());
                got.extend_from_slice(&bytes);
                if let Some(after) = after {
                    break after;
                }
                assert!(search.held.len() < MARK_LEN);
            };
            assert_eq!(got, data, "seed {seed}");
            assert_eq!([after.as_slice(), rest].concat(), b"after", "seed {seed}");
        }
    }

    #[test]
    fn a_repetitive_mark_is_found() {
        let mut search = MarkSearch::new([b'a'; 40]);
        let (data, after) = search.feed([vec![b'a'; 39], b"b".to_vec()].concat());
        assert!(after.is_none());
        let (data2, after) = search.feed(vec![b'a'; 40]);
        assert_eq!(after, Some(Vec::new()));
        assert_eq!([data, data2].concat(), [vec![b'a'; 39], b"b".to_vec()].concat());
    }
}
