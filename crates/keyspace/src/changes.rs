//! The account of what a command changed.

use crate::db::DbStripe;
use structures::Entry;

/// Class of a keyspace event; the bits of `notify-keyspace-events`.
/// Source: redis 7.0 `notify.c` (letters) and `server.h` (`NOTIFY_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventClass(pub u32);

impl EventClass {
    /// `K`: publish on `__keyspace@…`.
    pub const KEYSPACE: EventClass = EventClass(1);
    /// `E`: publish on `__keyevent@…`.
    pub const KEYEVENT: EventClass = EventClass(1 << 1);
    /// `g`: DEL, EXPIRE, RENAME …
    pub const GENERIC: EventClass = EventClass(1 << 2);
    /// `$`
    pub const STRING: EventClass = EventClass(1 << 3);
    /// `l`
    pub const LIST: EventClass = EventClass(1 << 4);
    /// `s`
    pub const SET: EventClass = EventClass(1 << 5);
    /// `h`
    pub const HASH: EventClass = EventClass(1 << 6);
    /// `z`
    pub const ZSET: EventClass = EventClass(1 << 7);
    /// `x`
    pub const EXPIRED: EventClass = EventClass(1 << 8);
    /// `e`
    pub const EVICTED: EventClass = EventClass(1 << 9);
    /// `t`
    pub const STREAM: EventClass = EventClass(1 << 10);
    /// `m`: a read found nothing.
    pub const KEY_MISS: EventClass = EventClass(1 << 11);
    /// `d`: module events; never raised, the letter is accepted.
    pub const MODULE: EventClass = EventClass(1 << 13);
    /// `n`: a key was created.
    pub const NEW: EventClass = EventClass(1 << 14);
}

/// One keyspace event to publish.
#[derive(Clone, Debug)]
pub struct KeyEvent {
    /// Its class.
    pub class: EventClass,
    /// Its name, such as `set` or `expired`.
    pub name: &'static str,
    /// Index of the database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

/// A key or fields that the server removed by itself, to be put on the log before the command's own effect.
#[derive(Clone, Debug)]
pub enum Change {
    /// Removed because its time had come.
    Expired {
        /// Index of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
    },
    /// Fields of a hash, removed because their time had come; the hash went with its last field.
    ExpiredFields {
        /// Index of the database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
        /// The fields.
        fields: Vec<Vec<u8>>,
    },
}

/// What a command, transaction or background step changed.
#[derive(Default)]
pub struct Changes {
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Removals that precede the command's effect.
    pub implied: Vec<Change>,
    /// Events to publish, in order; only those that somebody asked for.
    pub events: Vec<KeyEvent>,
    /// Keys that got elements while clients wait for them: (database, key).
    pub ready: Vec<(usize, Box<[u8]>)>,
    /// Names of the keys that changed, if [`crate::Keyspace::note_changes`] was asked for them.
    pub modified: Vec<Box<[u8]>>,
    /// A database was emptied, or all were.
    pub flushed: bool,
    /// Big values that were removed, to be freed elsewhere.
    pub trash: Vec<Entry>,
    /// Tables that FLUSHDB and FLUSHALL took out, to be freed elsewhere.
    pub tables: Vec<DbStripe>,
}

impl Changes {
    /// True if nothing is to be done after the command.
    pub fn is_quiet(&self) -> bool {
        self.implied.is_empty()
            && self.events.is_empty()
            && self.ready.is_empty()
            && self.modified.is_empty()
            && !self.flushed
            && self.trash.is_empty()
            && self.tables.is_empty()
    }
}
