//! The data structures under the keyspace: the hash table and the one-allocation entry of a key,
//! and what a key can hold (string, list, set, hash, sorted set) with Redis's encodings.
//!
//! This room knows bytes and sizes. It must not know databases, expiry, clocks, clients or replies:
//! a time stamp on an [`Entry`] is an opaque number, the thresholds that decide an encoding come in
//! as [`Limits`], and random choices are drawn from a generator that the caller owns.
//!
//! Two rules hold everywhere:
//! - One allocation per thing where it can be done, asked for in the allocator's own size classes
//!   ([`class_size`]), so that growing inside a class is free and nothing is lost to rounding.
//! - `unsafe` lives in `alloc`, `pack`, `table`, `items`, `thin`, `entry` and `zset/big` only. The other
//!   collections and the sorted set's tree are safe code.

mod alloc;
mod due;
mod elem;
mod entry;
pub mod hash;
mod hashobj;
pub mod hll;
mod intset;
mod items;
mod limits;
mod list;
mod listpack;
mod pack;
mod paged;
mod parts;
mod set;
mod size;
mod stream;
mod table;
mod thin;
mod tree;
mod value;
mod zset;

pub use alloc::SmallSteps;
pub use due::ExpireIndex;
pub use elem::Elem;
pub use entry::Entry;
pub use hashobj::{FIELD_TIME_MAX, Hash, HashIter};
pub use intset::{Intset, IntsetIter};
pub use limits::Limits;
pub use list::{List, ListIter, ListNode, ListNodeOwned};
pub use listpack::{Corrupt, Listpack, ListpackIter};
pub use paged::{PAGE_SIZE, PagedStr};
pub use parts::{Part, PartsHead};
pub use set::{Set, SetIter, SetRepr};
pub use size::class_size;
pub use stream::{
    ConsumerNo, Pending, Stream, StreamConsumer, StreamEntry, StreamFields, StreamGroup, StreamId,
    StreamIter, StreamMeta, TrimTo, UNKNOWN_READ,
};
pub use table::{PrefetchHint, Table, TableEntry, TableIter};
pub use value::{StrRef, Value, ValueRef};
pub use zset::{LexBound, LexRange, ScoreRange, ZAdd, Zset, ZsetIter};
