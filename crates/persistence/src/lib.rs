//! The file and transfer formats of Redis over `Read`, `Write` and byte vectors: RDB files,
//! append-only files, `DUMP` payloads, and the framing of a full synchronisation.
//!
//! Nothing here opens a file, knows a path, a thread, a stripe or a clock: a caller brings bytes
//! and takes bytes. Everything that is read is untrusted; it ends in a value or in a typed error
//! with the place, what was expected and what was found, never in a panic, and no memory is asked
//! for on the word of a length that has no bytes behind it.
//!
//! - [`rdb`]: [`rdb::encode_key_record`] makes the bytes of one key apart from any stream,
//!   [`rdb::RdbStream`] frames such bytes to a whole file, [`rdb::RdbReader`] reads one back.
//! - [`aof`]: the manifest, the commands with their checksums, values as commands.
//! - [`dump`]: `DUMP`/`RESTORE` and `FUNCTION DUMP`/`RESTORE` payloads.
//! - [`transfer`]: what surrounds an RDB on a replication link.
//! - [`lzf`], [`crc64`]: the two codecs that the formats need.

pub mod aof;
pub mod crc64;
pub mod dump;
pub mod lzf;
pub mod rdb;
pub mod transfer;
