//! What is appended: the effect of one command, transaction or script, already encoded.

use std::sync::Arc;

use super::LARGE;

/// The keepalive, lower-case as real masters send it.
pub(super) const PING: &[u8] = b"*1\r\n$4\r\nping\r\n";
/// Asks for an ACK.
pub(super) const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Who is to see a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets(u8);

impl Targets {
    /// Replicas and the append-only file: nearly everything.
    pub const ALL: Targets = Targets(3);
    /// The replication stream alone.
    pub const REPLICAS: Targets = Targets(1);
    /// The append-only file alone (`redis.set_repl(redis.REPL_AOF)`); no stream byte.
    pub const AOF: Targets = Targets(2);
    /// Nobody (`redis.set_repl(redis.REPL_NONE)`).
    pub const NONE: Targets = Targets(0);

    /// Whether it goes on the replication stream.
    #[inline]
    pub fn replicas(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it goes into the append-only file.
    #[inline]
    pub fn aof(self) -> bool {
        self.0 & 2 != 0
    }
}

/// Where an effect comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this node, or this node itself (expiry, eviction).
    Local,
    /// The master's stream. Its bytes are in the log already; such a record is never appended.
    Master,
}

/// Commands of one record that act on one database.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The database. `None` writes no SELECT, for commands that need none. (A real master selects
    /// the client's database even for PUBLISH.)
    pub db: Option<u32>,
    /// The commands in multibulk form, one after the other.
    pub commands: &'a [u8],
    /// How many commands those are.
    pub count: u32,
    /// Who is to see them.
    pub targets: Targets,
}

impl<'a> Part<'a> {
    /// Commands for everybody.
    pub fn new(db: u32, commands: &'a [u8], count: u32) -> Part<'a> {
        Part { db: Some(db), commands, count, targets: Targets::ALL }
    }
}

/// One record. More than one command makes MULTI and EXEC around it.
#[derive(Clone, Copy, Debug)]
pub struct AppendRecord<'a> {
    /// What it does. One part unless several databases or targets take part.
    pub parts: &'a [Part<'a>],
    /// Where it comes from.
    pub origin: Origin,
    /// The tenure of the master that wrote it. 0 as long as no `write-quorum` is set; the log keeps
    /// it with the bytes, and [`Chunk::tenure_epoch`](super::Chunk::tenure_epoch) tells readers.
    pub tenure_epoch: u64,
}

impl<'a> AppendRecord<'a> {
    /// A local record.
    pub fn new(parts: &'a [Part<'a>]) -> AppendRecord<'a> {
        AppendRecord { parts, origin: Origin::Local, tenure_epoch: 0 }
    }

    /// How many commands replicas get to see.
    pub(super) fn stream_commands(&self) -> u64 {
        self.parts.iter().filter(|p| p.targets.replicas()).map(|p| u64::from(p.count)).sum()
    }

    /// Copies big parts before the lock is taken.
    pub(super) fn copy_large_parts(&self) -> LargeParts {
        let big =
            |p: &Part<'_>| p.commands.len() >= LARGE && p.targets != Targets::NONE && p.count > 0;
        let parts = self.parts.iter().enumerate().filter(|(_, p)| big(p));
        // Nearly always empty, which costs no allocation.
        LargeParts(parts.map(|(index, p)| (index, Arc::new(p.commands.to_vec()))).collect())
    }
}

/// Copies of a record's big parts, by their index. Stream and file share them.
pub(super) struct LargeParts(Vec<(usize, Arc<Vec<u8>>)>);

impl LargeParts {
    pub(super) fn get(&self, index: usize) -> Option<Arc<Vec<u8>>> {
        self.0.iter().find(|(i, _)| *i == index).map(|(_, bytes)| Arc::clone(bytes))
    }
}

/// `SELECT <db>`, built without an allocation.
pub(super) struct Select {
    bytes: [u8; 48],
    len: usize,
}

impl Select {
    pub(super) fn new(db: u32) -> Select {
        let mut digits = [0u8; 10];
        let mut at = digits.len();
        let mut rest = db;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let digits = &digits[at..];
        let mut select = Select { bytes: [0; 48], len: 0 };
        select.push(b"*2\r\n$6\r\nSELECT\r\n$");
        if digits.len() == 10 {
            select.push(b"10");
        } else {
            select.push(&[b'0' + digits.len() as u8]);
        }
        select.push(b"\r\n");
        select.push(digits);
        select.push(b"\r\n");
        select
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_commands_are_what_encoding_gives() {
        let encoded = |args: &[&str]| {
            let mut out = Vec::new();
            resp::encode_command(&mut out, args);
            out
        };
        assert_eq!(PING, encoded(&["ping"]));
        assert_eq!(GETACK, encoded(&["REPLCONF", "GETACK", "*"]));
        assert_eq!(MULTI, encoded(&["MULTI"]));
        assert_eq!(EXEC, encoded(&["EXEC"]));
        for db in [0, 9, 10, 15, 99, 100, 12_345, u32::MAX] {
            assert_eq!(Select::new(db).bytes(), encoded(&["SELECT", &db.to_string()]));
        }
    }
}
