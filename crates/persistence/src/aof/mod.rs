//! The append-only file: the manifest that names its parts, the commands in them, and checksums
//! of our own on the lines that Redis skips.
//!
//! A part is a run of commands in multibulk form, with lines between them that begin with `#`:
//! `#TS:<Unix seconds>` (Redis 7.0, `aof-timestamp-enabled`) and ours, see [`seal`] and
//! [`history`]. The base part may be an RDB instead.

pub mod history;
pub mod manifest;
pub mod reader;
pub mod rewrite;
pub mod seal;

pub use history::History;
pub use manifest::{FileInfo, Manifest, ManifestError};
pub use reader::{AofError, AofErrorKind, AofEvent, AofReader};
pub use rewrite::encode_commands;
pub use seal::Seal;
