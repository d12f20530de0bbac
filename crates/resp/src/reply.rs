//! Writes replies in RESP2 or RESP3.
//!
//! One writer for both: a command says what it means (a map, a double, a null), the protocol
//! version of the connection decides the bytes.
//! Source: protocol/resp-and-clients.md section 1.

use crate::encode::{push_bulk, push_head};

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The default of a new connection.
    #[default]
    Resp2,
    /// After HELLO 3.
    Resp3,
}

/// A place in the reply that can be gone back to, or where an array's length is written later.
#[derive(Clone, Copy, Debug)]
pub struct ReplyMark(usize);

/// A growing buffer of replies.
#[derive(Default)]
pub struct Reply {
    buffer: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    /// An empty buffer for a connection of this protocol version.
    pub fn new(protocol: Protocol) -> Reply {
        Reply { buffer: Vec::new(), protocol }
    }

    /// Writes on into `buffer`.
    pub fn with_buffer(buffer: Vec<u8>, protocol: Protocol) -> Reply {
        Reply { buffer, protocol }
    }

    /// The protocol version in force.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the protocol version for what follows (HELLO, RESET).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// True on a RESP3 connection.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the buffer.
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    /// The buffer, for a caller that has encoded bytes to add.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The present end of the reply.
    pub fn mark(&self) -> ReplyMark {
        ReplyMark(self.buffer.len())
    }

    /// Drops everything written after `mark`.
    pub fn rewind(&mut self, mark: ReplyMark) {
        self.buffer.truncate(mark.0);
    }

    /// What was written after `mark`.
    pub fn since(&self, mark: ReplyMark) -> &[u8] {
        &self.buffer[mark.0.min(self.buffer.len())..]
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buffer.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` has no line end.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error. `text` begins with its code (`ERR …`); line ends in it become blanks, since they
    /// may come from what the client sent.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.as_bytes());
    }

    /// An error given as bytes, which may hold parts of what the client sent.
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    fn line(&mut self, mark: u8, text: &[u8]) {
        self.buffer.push(mark);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(text);
        for b in &mut self.buffer[start..] {
            if matches!(b, b'\r' | b'\n') {
                *b = b' ';
            }
        }
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if (0..10).contains(&value) {
            return self.buffer.extend_from_slice(&[b':', b'0' + value as u8, b'\r', b'\n']);
        }
        self.buffer.push(b':');
        self.buffer.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A length or a count.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.integer(value as i64);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len() + 16);
        push_bulk(&mut self.buffer, bytes);
    }

    /// A bulk string from text.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// A bulk string that holds a number.
    pub fn bulk_i64(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A double: a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        stdx::format_f64(&mut text, value);
        if self.is_resp3() {
            self.line(b',', &text);
        } else {
            self.bulk(&text);
        }
    }

    /// A boolean: an integer in RESP2.
    pub fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.buffer.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.integer(i64::from(value));
        }
    }

    /// A big number, given as its digits: a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if self.is_resp3() {
            self.line(b'(', digits.as_bytes());
        } else {
            self.text(digits);
        }
    }

    /// Text for people; `format` is three letters such as `txt`. A bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3);
        if self.is_resp3() {
            push_head(&mut self.buffer, b'=', text.len() + 4);
            self.buffer.extend_from_slice(format.as_bytes());
            self.buffer.push(b':');
            self.buffer.extend_from_slice(text);
            self.buffer.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// No value: `$-1` in RESP2.
    #[inline]
    pub fn null(&mut self) {
        self.buffer.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No array: `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.buffer.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Head of an array of `len` elements, which the caller writes next.
    #[inline]
    pub fn array(&mut self, len: usize) {
        push_head(&mut self.buffer, b'*', len);
    }

    /// Head of a map of `pairs` pairs: an array of twice as many in RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() {
            push_head(&mut self.buffer, b'%', pairs);
        } else {
            push_head(&mut self.buffer, b'*', pairs * 2);
        }
    }

    /// Head of a set: an array in RESP2.
    pub fn set(&mut self, len: usize) {
        let head = if self.is_resp3() { b'~' } else { b'*' };
        push_head(&mut self.buffer, head, len);
    }

    /// Head of a push message: an array in RESP2.
    pub fn push(&mut self, len: usize) {
        let head = if self.is_resp3() { b'>' } else { b'*' };
        push_head(&mut self.buffer, head, len);
    }

    /// Head of an attribute of `pairs` pairs (RESP3 only).
    pub fn attribute(&mut self, pairs: usize) {
        debug_assert!(self.is_resp3());
        push_head(&mut self.buffer, b'|', pairs);
    }

    /// Puts the head of an array before what was written since `mark`, once its length is known.
    pub fn array_at(&mut self, mark: ReplyMark, len: usize) {
        self.head_at(mark, b'*', len);
    }

    /// As [`Reply::array_at`] for a map.
    pub fn map_at(&mut self, mark: ReplyMark, pairs: usize) {
        if self.is_resp3() {
            self.head_at(mark, b'%', pairs);
        } else {
            self.head_at(mark, b'*', pairs * 2);
        }
    }

    /// As [`Reply::array_at`] for a set.
    pub fn set_at(&mut self, mark: ReplyMark, len: usize) {
        let head = if self.is_resp3() { b'~' } else { b'*' };
        self.head_at(mark, head, len);
    }

    fn head_at(&mut self, mark: ReplyMark, kind: u8, len: usize) {
        let mut head = Vec::with_capacity(24);
        push_head(&mut head, kind, len);
        self.buffer.splice(mark.0..mark.0, head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Reply)) -> (String, String) {
        let show = |protocol| {
            let mut reply = Reply::new(protocol);
            write(&mut reply);
            String::from_utf8(reply.into_bytes()).unwrap()
        };
        (show(Protocol::Resp2), show(Protocol::Resp3))
    }

    #[test]
    fn each_kind_in_both_versions() {
        type Case<'a> = (&'a dyn Fn(&mut Reply), &'a str, &'a str);
        let cases: [Case<'_>; 10] = [
            (&|r| r.null(), "$-1\r\n", "_\r\n"),
            (&|r| r.null_array(), "*-1\r\n", "_\r\n"),
            (&|r| r.map(2), "*4\r\n", "%2\r\n"),
            (&|r| r.set(12), "*12\r\n", "~12\r\n"),
            (&|r| r.push(3), "*3\r\n", ">3\r\n"),
            (&|r| r.double(0.1), "$3\r\n0.1\r\n", ",0.1\r\n"),
            (&|r| r.boolean(true), ":1\r\n", "#t\r\n"),
            (&|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (&|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n"),
            (&|r| r.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        ];
        for (write, two, three) in cases {
            assert_eq!(both(write), (two.to_string(), three.to_string()));
        }
    }

    #[test]
    fn a_late_head_goes_before_its_elements() {
        let (two, three) = both(|r| {
            r.ok();
            let mark = r.mark();
            r.integer(1);
            r.integer(-20);
            r.set_at(mark, 2);
        });
        assert_eq!(two, "+OK\r\n*2\r\n:1\r\n:-20\r\n");
        assert_eq!(three, "+OK\r\n~2\r\n:1\r\n:-20\r\n");
    }
}
