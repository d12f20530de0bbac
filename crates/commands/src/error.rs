//! Errors that a command answers with, in Redis's words.

use keyspace::WrongType;
use std::borrow::Cow;

/// The text of an error reply, its code (`ERR`, `WRONGTYPE` …) first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError(Cow<'static, [u8]>);

impl CommandError {
    /// The key holds a value of another type.
    pub const WRONG_TYPE: CommandError =
        CommandError::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The arguments make no sense together.
    pub const SYNTAX: CommandError = CommandError::new("ERR syntax error");
    /// An argument that should be a 64-bit integer is not.
    pub const NOT_INTEGER: CommandError =
        CommandError::new("ERR value is not an integer or out of range");
    /// An argument that should be a double is not.
    pub const NOT_FLOAT: CommandError = CommandError::new("ERR value is not a valid float");
    /// The key is not there and must be.
    pub const NO_SUCH_KEY: CommandError = CommandError::new("ERR no such key");
    /// An index beyond the ends.
    pub const INDEX_OUT_OF_RANGE: CommandError = CommandError::new("ERR index out of range");
    /// A number beyond its bounds.
    pub const OUT_OF_RANGE: CommandError = CommandError::new("ERR value is out of range");
    /// A number that must not be negative is.
    pub const NOT_POSITIVE: CommandError =
        CommandError::new("ERR value is out of range, must be positive");
    /// A string would grow beyond `proto-max-bulk-len`.
    pub const STRING_TOO_LONG: CommandError =
        CommandError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    /// No such database.
    pub const DB_INDEX: CommandError = CommandError::new("ERR DB index is out of range");

    /// An error with a fixed text.
    pub const fn new(text: &'static str) -> CommandError {
        CommandError(Cow::Borrowed(text.as_bytes()))
    }

    /// An error whose text is made for the case.
    pub fn owned(text: String) -> CommandError {
        CommandError(Cow::Owned(text.into_bytes()))
    }

    /// An error that repeats bytes of the client: its parts one after the other, each up to its
    /// first NUL, since Redis formats such texts as C strings; line ends at the end are cut.
    /// Source: redis 7.0 `networking.c:addReplyErrorFormat`.
    pub fn quoting(parts: &[&[u8]]) -> CommandError {
        let c_string = |part: &&[u8]| part.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        let text: Vec<u8> = parts.iter().filter_map(c_string).flatten().collect();
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let end = text.iter().rposition(|byte| !is_line_end(byte)).map_or(0, |last| last + 1);
        CommandError(Cow::Owned(text[..end].to_vec()))
    }

    /// `ERR wrong number of arguments for 'NAME' command`.
    pub fn arity(name: &str) -> CommandError {
        CommandError::owned(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// `ERR invalid expire time in 'NAME' command`.
    pub fn invalid_expire(name: &str) -> CommandError {
        CommandError::owned(format!("ERR invalid expire time in '{name}' command"))
    }

    /// The whole text, which may repeat bytes of the client.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text up to the first byte that is no UTF-8: its code always, and mostly everything.
    pub fn text(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WRONG_TYPE
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::error::Error for CommandError {}
