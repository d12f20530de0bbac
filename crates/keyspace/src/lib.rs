//! Databases, lock stripes, expiry, WATCH, and the pass over the keyspace that snapshots use.
//!
//! The keyspace is cut into stripes; each holds its part of every database under one lock. A
//! command holds the stripes of its keys ([`Keyspace::hold`]) and works through [`Keys`], which
//! hides expired keys, gives old values to a running snapshot before they change, and keeps the
//! account of what changed ([`Changes`]) that the log, WATCH and notifications follow.
//!
//! This room does not know RESP, clients or log positions. Waiting clients are opaque tickets,
//! the bytes of a snapshot come from an encoder that the caller passes.
//!
//! Why lock stripes and not a thread per part of the keyspace: message passing costs more than it
//! gains at small core counts (DESIGN section 6), and multi-key commands stay simple.

mod access;
mod changes;
mod db;
mod evict;
mod fields;
mod keys;
mod snapshot;
mod stripe;
mod undo;

pub use access::{MemoryPolicy, lru_clock};
pub use changes::{Change, Changes, EventClass, KeyEvent};
pub use db::{DbStripe, SetTtl};
pub use evict::Candidate;
pub use fields::ExpiredFields;
pub use keys::{ExpireRule, KeyOptions, Keys, WrongType};
pub use snapshot::{
    EncodeEntry, Handed, HeldBytes, PartsEncoder, PassEncoder, PassProgress, TablePass,
};
pub use stripe::{
    Held, Keyspace, KeyspaceStats, Place, STRIPES_MAX, StripeBy, StripeData, StripeMask, WatchFlag,
    key_hash_slot,
};
pub use structures::ExpireIndex;
