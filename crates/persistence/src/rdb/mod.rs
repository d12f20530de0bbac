//! The RDB format: versions 1 to 12 are read, 10 to 12 written.
//!
//! Source: the project's fact sheet on RDB, verified against redis-server 7.0.15.

mod codes;
mod decode;
mod encode;
mod error;
mod reader;
mod source;
mod stream;
mod stream_value;
mod ziplist;
mod zipmap;

pub use codes::{
    VERSION_DEFAULT, VERSION_FIELD_TIMES, VERSION_READ_MAX, VERSION_WRITE_MAX, type_name,
};
pub use decode::{DecodeOptions, Loaded};
pub use encode::{Access, EncodeOptions, encode_head, encode_key_record, encode_part, version_for};
pub use error::{RdbError, RdbErrorKind};
pub use reader::{Event, KeyRecord, RdbReader, ReadOptions};
pub use stream::{RdbStream, RdbSummary};

pub(crate) use codes::{OP_FUNCTION_PRE_GA, OP_FUNCTION2};
pub(crate) use decode::{Decoded, Scratch, decode_value};
pub(crate) use encode::{encode_value, push_string};
pub(crate) use source::Source;
