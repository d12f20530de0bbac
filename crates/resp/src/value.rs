//! Replies as a client sees them.
//!
//! The parser keeps what has arrived and starts a reply anew when more comes in: replies on the
//! control links that use it are small. Bulk data (the RDB of a full sync) does not pass here.

use crate::decode::ProtocolError;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+…`
    Simple(Vec<u8>),
    /// `-…` or `!…`, the code included.
    Error(Vec<u8>),
    /// `:…`
    Int(i64),
    /// `$…` or the text of `=…`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*…`
    Array(Vec<Value>),
    /// `%…`, in the order sent
    Map(Vec<(Value, Value)>),
    /// `~…`
    Set(Vec<Value>),
    /// `>…`
    Push(Vec<Value>),
    /// `,…`
    Double(f64),
    /// `#t`, `#f`
    Bool(bool),
    /// `(…`, its digits
    BigNumber(Vec<u8>),
}

impl Value {
    /// The bytes of a simple or bulk string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(bytes) | Value::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a simple or bulk string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer, or a string that holds one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            other => stdx::parse_i64(other.as_bytes()?),
        }
    }

    /// The elements of an array, set or push.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }

    /// True for an error reply whose text begins with `code`.
    pub fn is_error(&self, code: &str) -> bool {
        matches!(self, Value::Error(text) if text.starts_with(code.as_bytes()))
    }
}

/// How deep replies may be nested before the peer is taken for broken.
const DEPTH_MAX: usize = 32;

/// Cuts replies out of the bytes of one link.
#[derive(Default)]
pub struct ReplyParser {
    buffer: Vec<u8>,
    start: usize,
}

impl ReplyParser {
    /// A parser without any bytes.
    pub fn new() -> ReplyParser {
        ReplyParser::default()
    }

    /// Adds bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that have arrived but are not part of a reply handed out yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Takes the bytes that follow the last reply (the link changes its protocol there).
    pub fn take_pending(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.start);
        self.buffer.clear();
        self.start = 0;
        rest
    }

    /// The next whole reply, if it has arrived. After an error the link is of no more use.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Value>, ProtocolError> {
        let mut cursor = Cursor { bytes: &self.buffer[self.start..], at: 0 };
        match cursor.value(0)? {
            Some(value) => {
                self.start += cursor.at;
                Ok(Some(value))
            }
            None => Ok(None),
        }
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn line(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn value(&mut self, depth: usize) -> Result<Option<Value>, ProtocolError> {
        if depth > DEPTH_MAX {
            return Err(ProtocolError::new("reply nested too deep"));
        }
        let Some(line) = self.line() else { return Ok(None) };
        let Some((&mark, rest)) = line.split_first() else {
            return Err(ProtocolError::new("empty line where a reply was expected"));
        };
        let length =
            || stdx::parse_i64(rest).ok_or_else(|| ProtocolError::new("invalid length in reply"));
        Ok(Some(match mark {
            b'+' => Value::Simple(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b':' => Value::Int(length()?),
            b'_' => Value::Null,
            b'#' => Value::Bool(rest == b"t"),
            b'(' => Value::BigNumber(rest.to_vec()),
            b',' => Value::Double(match rest {
                b"nan" | b"-nan" => f64::NAN,
                _ => stdx::parse_f64(rest).ok_or_else(|| ProtocolError::new("invalid double"))?,
            }),
            b'$' | b'=' | b'!' => {
                let length = length()?;
                if length < 0 {
                    return Ok(Some(Value::Null));
                }
                let Some(bytes) = self.bytes.get(self.at..).and_then(|r| r.get(..length as usize))
                else {
                    return Ok(None);
                };
                let next = self.at + length as usize + 2;
                if self.bytes.len() < next {
                    return Ok(None);
                }
                let bytes = bytes.to_vec();
                self.at = next;
                match mark {
                    b'=' => Value::Bulk(bytes.get(4..).unwrap_or_default().to_vec()),
                    b'!' => Value::Error(bytes),
                    _ => Value::Bulk(bytes),
                }
            }
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let length = length()?;
                if length < 0 {
                    return Ok(Some(Value::Null));
                }
                return self.aggregate(mark, length as u64, depth);
            }
            other => {
                return Err(ProtocolError::new(format!("unexpected byte {other} in reply")));
            }
        }))
    }

    fn aggregate(
        &mut self,
        mark: u8,
        length: u64,
        depth: usize,
    ) -> Result<Option<Value>, ProtocolError> {
        // Room is not reserved by the announced length: it may be a lie.
        let mut items = Vec::new();
        let count = if matches!(mark, b'%' | b'|') { length.saturating_mul(2) } else { length };
        for _ in 0..count {
            match self.value(depth + 1)? {
                Some(value) => items.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(match mark {
            b'*' => Value::Array(items),
            b'~' => Value::Set(items),
            b'>' => Value::Push(items),
            // An attribute says something about the reply that follows; none that we ask for needs it.
            b'|' => return self.value(depth + 1),
            _ => {
                let mut items = items.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_gives_the_same_replies() {
        let input = b"+OK\r\n$3\r\na\r\n\r\n*2\r\n:1\r\n*-1\r\n%1\r\n$1\r\nk\r\n,0.5\r\n_\r\n>2\r\n+a\r\n#t\r\n=6\r\ntxt:hi\r\n-ERR x\r\n";
        let parse = |step: usize| {
            let (mut parser, mut out) = (ReplyParser::new(), Vec::new());
            for piece in input.chunks(step) {
                parser.feed(piece);
                while let Some(value) = parser.next().unwrap() {
                    out.push(value);
                }
            }
            assert!(parser.pending().is_empty());
            out
        };
        let whole = parse(input.len());
        assert_eq!(whole.len(), 8);
        assert_eq!(whole[2], Value::Array(vec![Value::Int(1), Value::Null]));
        for step in 1..input.len() {
            assert_eq!(parse(step), whole);
        }
    }

    #[test]
    fn a_liar_gets_an_error_or_waits() {
        for input in [&b"x\r\n"[..], b"$a\r\n", b"\r\n", b",zz\r\n"] {
            let mut parser = ReplyParser::new();
            parser.feed(input);
            assert!(parser.next().is_err());
        }
        let mut parser = ReplyParser::new();
        parser.feed(b"*9000000000000000000\r\n:1\r\n");
        assert_eq!(parser.next(), Ok(None));
        let mut parser = ReplyParser::new();
        parser.feed(&b"*1\r\n".repeat(100));
        assert!(parser.next().is_err());
    }
}
