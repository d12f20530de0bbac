//! RESP2, RESP3 and inline requests: the bytes between a client and a server, in both directions.
//!
//! [`Decoder`] cuts requests out of a read buffer without copying, a [`Batch`] at a time where they come so; [`Reply`] writes answers in the
//! protocol version that the connection chose; [`Value`] and [`ReplyParser`] are the client's side,
//! used by Sentinel, the tools and the tests. Command names, sockets and limits per user are not
//! known here: the limits that depend on them come in as [`Limits`].

mod decode;
mod encode;
mod inline;
mod reply;
mod value;

pub use decode::{Args, ArgsIter, Batch, Decoded, Decoder, Limits, OwnedArgs, ProtocolError};
pub use encode::{encode_command, push_array_len, push_bulk};
pub use inline::{UnbalancedQuotes, quote, split_args};
pub use reply::{Protocol, Reply, ReplyMark};
pub use value::{ReplyParser, Value};
