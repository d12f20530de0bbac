//! Replies as they are shown to a person: every type that the wire knows, numbers as they were
//! written there.
//!
//! `resp::Value` is made for programs that act on a reply; it folds verbatim strings into bulk
//! strings and reads doubles into floats. What is printed must show which of them was sent, and
//! its digits, so this reader keeps both. It reads from a blocking stream, so a reply of any size
//! is read once.

use std::io::{self, BufRead, Read};

/// Which brackets an aggregate came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `*`
    Array,
    /// `~`
    Set,
    /// `>`, a message that nobody asked for
    Push,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `+…`
    Status(Vec<u8>),
    /// `-…` and `!…`
    Error(Vec<u8>),
    /// `:…`
    Integer(i64),
    /// `$…`
    Bulk(Vec<u8>),
    /// `=…`, without its format
    Verbatim(Vec<u8>),
    /// `_`, `$-1`, `*-1`
    Nil,
    /// `,…`, as written
    Double(Vec<u8>),
    /// `#…`
    Bool(bool),
    /// `(…`, as written
    BigNumber(Vec<u8>),
    /// `*…`, `~…`, `>…`
    List(Kind, Vec<Answer>),
    /// `%…`
    Map(Vec<(Answer, Answer)>),
}

impl Answer {
    /// True for `-…`.
    pub fn is_error(&self) -> bool {
        matches!(self, Answer::Error(_))
    }

    /// True for a message that nobody asked for.
    pub fn is_push(&self) -> bool {
        matches!(self, Answer::List(Kind::Push, _))
    }

    /// The text of a status, error or string.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Answer::Status(text)
            | Answer::Error(text)
            | Answer::Bulk(text)
            | Answer::Verbatim(text) => Some(text),
            _ => None,
        }
    }
}

/// How deep replies may be nested before the peer is taken for broken.
const DEPTH_MAX: usize = 128;
/// A longer line cannot be a length or a status.
const LINE_MAX: u64 = 1 << 20;

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads one whole reply. `UnexpectedEof` means that the peer has closed the link,
/// `InvalidData` that what came is not RESP; its text says why, in redis-cli's words where it has any.
pub fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    value(from, 0)
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(if line.len() as u64 + 1 >= LINE_MAX {
            broken("Protocol error, line too long")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn value(from: &mut impl BufRead, depth: usize) -> io::Result<Answer> {
    if depth > DEPTH_MAX {
        return Err(broken("Protocol error, reply nested too deep"));
    }
    let mut head = line(from)?;
    if head.is_empty() {
        return Err(broken("Protocol error, empty line where a reply was expected"));
    }
    let mark = head.remove(0);
    let rest = head;
    match mark {
        b'+' => Ok(Answer::Status(rest)),
        b'-' => Ok(Answer::Error(rest)),
        b':' => {
            Ok(Answer::Integer(stdx::parse_i64(&rest).ok_or_else(|| broken("Bad integer value"))?))
        }
        b'_' => Ok(Answer::Nil),
        b',' => Ok(Answer::Double(rest)),
        b'#' => Ok(Answer::Bool(rest == b"t")),
        b'(' => Ok(Answer::BigNumber(rest)),
        b'$' | b'=' | b'!' => match length(&rest, "Bad bulk string length")? {
            None => Ok(Answer::Nil),
            Some(length) => blob(from, mark, length),
        },
        b'*' | b'~' | b'>' | b'%' | b'|' => match length(&rest, "Bad multi-bulk length")? {
            None => Ok(Answer::Nil),
            Some(length) => aggregate(from, mark, length, depth),
        },
        other => Err(broken(format!(
            "Protocol error, got \"{}\" as reply type byte",
            char::from(other).escape_default()
        ))),
    }
}

/// A length, or nothing for -1.
fn length(text: &[u8], complaint: &str) -> io::Result<Option<u64>> {
    match stdx::parse_i64(text) {
        Some(-1) => Ok(None),
        Some(length) if length >= 0 => Ok(Some(length as u64)),
        _ => Err(broken(complaint)),
    }
}

fn blob(from: &mut impl BufRead, mark: u8, length: u64) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    from.by_ref().take(length).read_to_end(&mut bytes)?;
    let mut end = [0; 2];
    from.read_exact(&mut end)?;
    if bytes.len() as u64 != length || end != *b"\r\n" {
        return Err(broken("Protocol error, bulk string without its end"));
    }
    Ok(match mark {
        b'!' => Answer::Error(bytes),
        b'=' => Answer::Verbatim(bytes.split_off(bytes.len().min(4))),
        _ => Answer::Bulk(bytes),
    })
}

fn aggregate(from: &mut impl BufRead, mark: u8, length: u64, depth: usize) -> io::Result<Answer> {
    // No room is reserved by the announced length: it may be a lie.
    let mut items = Vec::new();
    if matches!(mark, b'%' | b'|') {
        let mut pairs = Vec::new();
        for _ in 0..length {
            pairs.push((value(from, depth + 1)?, value(from, depth + 1)?));
        }
        // An attribute is a remark on the reply that follows; it is not shown.
        return if mark == b'%' { Ok(Answer::Map(pairs)) } else { value(from, depth + 1) };
    }
    for _ in 0..length {
        items.push(value(from, depth + 1)?);
    }
    let kind = match mark {
        b'~' => Kind::Set,
        b'>' => Kind::Push,
        _ => Kind::Array,
    };
    Ok(Answer::List(kind, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> io::Result<Answer> {
        read(&mut io::Cursor::new(bytes))
    }

    #[test]
    fn types_keep_their_digits() {
        assert_eq!(one(b",1.50\r\n").unwrap(), Answer::Double(b"1.50".to_vec()));
        assert_eq!(one(b"=5\r\ntxt:a\r\n").unwrap(), Answer::Verbatim(b"a".to_vec()));
        assert_eq!(one(b"$-1\r\n").unwrap(), Answer::Nil);
        assert_eq!(one(b"*-1\r\n").unwrap(), Answer::Nil);
        assert_eq!(one(b"|1\r\n+a\r\n+b\r\n:3\r\n").unwrap(), Answer::Integer(3));
        assert_eq!(
            one(b"%1\r\n+a\r\n~1\r\n#t\r\n").unwrap(),
            Answer::Map(vec![(
                Answer::Status(b"a".to_vec()),
                Answer::List(Kind::Set, vec![Answer::Bool(true)])
            )])
        );
    }

    #[test]
    fn a_cut_reply_is_an_end_and_nonsense_an_error() {
        let whole = b"*2\r\n$3\r\nabc\r\n%1\r\n+a\r\n:1\r\n";
        for cut in 0..whole.len() {
            let error = one(&whole[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        for bad in [&b"x\r\n"[..], b"\r\n", b":a\r\n", b"$-2\r\n", b"*x\r\n", b"$1\r\nabc\r\n"] {
            assert_eq!(one(bad).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(one(&b"*1\r\n".repeat(1000)).is_err());
        assert!(one(b"*9000000000000000000\r\n:1\r\n").is_err());
    }
}
