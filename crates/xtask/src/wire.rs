//! A small blocking RESP client of our own, for tests and measurements.
//!
//! It must not share code with the server's codec: a mistake made twice would cancel itself out. It keeps replies as they
//! were on the wire (a double stays text, the several nulls stay apart), so that two servers can be compared byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One reply, with nothing of its wire form lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$n`
    Bulk(Vec<u8>),
    /// `$-1`, RESP2's missing string.
    NullBulk,
    /// `*-1`, RESP2's missing array.
    NullArray,
    /// `_`, RESP3's null.
    Null,
    /// `*n`
    Array(Vec<Value>),
    /// `%n`
    Map(Vec<(Value, Value)>),
    /// `~n`
    Set(Vec<Value>),
    /// `>n`
    Push(Vec<Value>),
    /// `,text`
    Double(Vec<u8>),
    /// `#t` or `#f`
    Bool(bool),
    /// `(digits`
    Big(Vec<u8>),
    /// `=n`, format prefix included.
    Verbatim(Vec<u8>),
}

impl Value {
    /// The elements of an array, set or push; `None` for everything else.
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The bytes of a string-like value.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text)
            | Value::Bulk(text)
            | Value::Verbatim(text)
            | Value::Double(text)
            | Value::Big(text) => Some(text),
            _ => None,
        }
    }

    /// True for an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }

    /// True for any of the three nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }

    /// A word for the kind of value, for comparisons of shape.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Simple(_) => "simple",
            Value::Error(_) => "error",
            Value::Int(_) => "int",
            Value::Bulk(_) => "bulk",
            Value::NullBulk => "null-bulk",
            Value::NullArray => "null-array",
            Value::Null => "null",
            Value::Array(_) => "array",
            Value::Map(_) => "map",
            Value::Set(_) => "set",
            Value::Push(_) => "push",
            Value::Double(_) => "double",
            Value::Bool(_) => "bool",
            Value::Big(_) => "big",
            Value::Verbatim(_) => "verbatim",
        }
    }
}

/// One line that a person can read, cut to `limit` characters.
pub fn render(value: &Value, limit: usize) -> String {
    let mut out = String::new();
    render_into(value, &mut out, limit);
    if out.chars().count() > limit {
        out = out.chars().take(limit).collect();
        out.push('…');
    }
    out
}

fn render_into(value: &Value, out: &mut String, limit: usize) {
    if out.len() > limit {
        return;
    }
    match value {
        Value::Simple(text) => out.push_str(&format!("+{}", escape(text))),
        Value::Error(text) => out.push_str(&format!("-{}", escape(text))),
        Value::Int(number) => out.push_str(&format!(":{number}")),
        Value::Bulk(text) => out.push_str(&format!("\"{}\"", escape(text))),
        Value::NullBulk => out.push_str("$-1"),
        Value::NullArray => out.push_str("*-1"),
        Value::Null => out.push('_'),
        Value::Array(items) => render_items("[", items, "]", out, limit),
        Value::Set(items) => render_items("~[", items, "]", out, limit),
        Value::Push(items) => render_items(">[", items, "]", out, limit),
        Value::Map(pairs) => {
            out.push('{');
            for (at, (key, item)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                render_into(key, out, limit);
                out.push_str(": ");
                render_into(item, out, limit);
            }
            out.push('}');
        }
        Value::Double(text) => out.push_str(&format!(",{}", escape(text))),
        Value::Bool(truth) => out.push_str(if *truth { "#t" } else { "#f" }),
        Value::Big(text) => out.push_str(&format!("({}", escape(text))),
        Value::Verbatim(text) => out.push_str(&format!("=\"{}\"", escape(text))),
    }
}

fn render_items(open: &str, items: &[Value], close: &str, out: &mut String, limit: usize) {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        render_into(item, out, limit);
        if out.len() > limit {
            break;
        }
    }
    out.push_str(close);
}

/// Bytes as text: printable ASCII as it is, the rest as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// Appends one command in its wire form.
pub fn encode<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one value from the front of `bytes`; `None` when it is not complete yet.
fn decode(bytes: &[u8], at: &mut usize) -> Result<Option<Value>> {
    let Some(line_len) = bytes[*at..].windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let line = &bytes[*at..*at + line_len];
    let (lead, rest) = line.split_first().context("an empty line where a reply should be")?;
    let after = *at + line_len + 2;
    let value = match lead {
        b'+' => Value::Simple(rest.to_vec()),
        b'-' => Value::Error(rest.to_vec()),
        b':' => Value::Int(integer(rest)?),
        b',' => Value::Double(rest.to_vec()),
        b'(' => Value::Big(rest.to_vec()),
        b'_' => Value::Null,
        b'#' => Value::Bool(rest == b"t"),
        b'$' | b'=' => return decode_blob(*lead, rest, bytes, after, at),
        b'*' | b'~' | b'>' | b'%' => return decode_aggregate(*lead, rest, bytes, after, at),
        other => bail!("a reply begins with 0x{other:02x}: {}", escape(line)),
    };
    *at = after;
    Ok(Some(value))
}

fn decode_blob(
    lead: u8,
    rest: &[u8],
    bytes: &[u8],
    after: usize,
    at: &mut usize,
) -> Result<Option<Value>> {
    let len = integer(rest)?;
    if len < 0 {
        *at = after;
        return Ok(Some(Value::NullBulk));
    }
    let end = after + usize::try_from(len)?;
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    if &bytes[end..end + 2] != b"\r\n" {
        bail!("a string of {len} bytes is not followed by CRLF");
    }
    *at = end + 2;
    let text = bytes[after..end].to_vec();
    Ok(Some(if lead == b'$' { Value::Bulk(text) } else { Value::Verbatim(text) }))
}

fn decode_aggregate(
    lead: u8,
    rest: &[u8],
    bytes: &[u8],
    after: usize,
    at: &mut usize,
) -> Result<Option<Value>> {
    let len = integer(rest)?;
    let mut inner = after;
    if len < 0 {
        *at = inner;
        return Ok(Some(Value::NullArray));
    }
    let count = usize::try_from(len)? * if lead == b'%' { 2 } else { 1 };
    let mut items = Vec::with_capacity(count.min(1 << 16));
    for _ in 0..count {
        match decode(bytes, &mut inner)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    *at = inner;
    Ok(Some(match lead {
        b'*' => Value::Array(items),
        b'~' => Value::Set(items),
        b'>' => Value::Push(items),
        _ => {
            let mut pairs = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(item)) = (items.next(), items.next()) {
                pairs.push((key, item));
            }
            Value::Map(pairs)
        }
    }))
}

fn integer(text: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(text)?;
    let number: i64 = text.parse().with_context(|| format!("not a number: {text:?}"))?;
    if number.to_string() != text {
        bail!("a number in an unusual form: {text:?}");
    }
    Ok(number)
}

/// A blocking connection to one server. Commands are collected by [`Client::push`] and leave with [`Client::flush`].
pub struct Client {
    stream: TcpStream,
    incoming: Vec<u8>,
    consumed: usize,
    outgoing: Vec<u8>,
}

impl Client {
    /// Connects to `127.0.0.1:port`. Reads and writes fail after `timeout`.
    pub fn connect(port: u16, timeout: Duration) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .with_context(|| format!("no connection to 127.0.0.1:{port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Client { stream, incoming: Vec::new(), consumed: 0, outgoing: Vec::new() })
    }

    /// Adds a command to what the next flush sends.
    pub fn push<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        encode(args, &mut self.outgoing);
    }

    /// Adds raw bytes to what the next flush sends.
    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends what was collected.
    pub fn flush(&mut self) -> Result<()> {
        let sent = self.stream.write_all(&self.outgoing).context("sending failed");
        self.outgoing.clear();
        sent
    }

    /// The next reply; waits up to the time-out.
    pub fn read(&mut self) -> Result<Value> {
        self.read_or_eof()?.context("the server closed the connection")
    }

    /// The next reply, or `None` when the server has closed the connection.
    pub fn read_or_eof(&mut self) -> Result<Option<Value>> {
        loop {
            let mut at = self.consumed;
            if at < self.incoming.len()
                && let Some(value) = decode(&self.incoming, &mut at)?
            {
                self.consumed = at;
                if self.consumed == self.incoming.len() {
                    self.incoming.clear();
                    self.consumed = 0;
                }
                return Ok(Some(value));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more bytes; false at the end of the stream.
    fn fill(&mut self) -> Result<bool> {
        self.incoming.drain(..self.consumed);
        self.consumed = 0;
        let old = self.incoming.len();
        // A big reply is decoded anew from its start after each read: read much at once.
        self.incoming.resize(old + (64 << 10).max(old), 0);
        let got = loop {
            match self.stream.read(&mut self.incoming[old..]) {
                Ok(got) => break got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break 0,
                Err(error) => {
                    self.incoming.truncate(old);
                    return Err(error).context("no reply");
                }
            }
        };
        self.incoming.truncate(old + got);
        Ok(got > 0)
    }

    /// Sends one command and waits for its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value> {
        self.push(args);
        self.flush()?;
        self.read()
    }

    /// As [`Client::call`], but an error reply is an error.
    pub fn expect_ok<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value> {
        let reply = self.call(args)?;
        if let Value::Error(text) = &reply {
            let words: Vec<String> = args.iter().map(|arg| escape(arg.as_ref())).collect();
            bail!("{}: {}", words.join(" "), escape(text));
        }
        Ok(reply)
    }

    /// A field of an INFO section, as text.
    pub fn info_field(&mut self, section: &str, field: &str) -> Result<String> {
        let reply = self.expect_ok(&["INFO", section])?;
        let text = String::from_utf8_lossy(reply.bytes().context("INFO is not text")?).into_owned();
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
            .with_context(|| format!("INFO {section} has no field {field}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, decode, encode, render};

    #[test]
    fn every_kind_is_read_back_at_every_cut() {
        let wire = b"*9\r\n+OK\r\n-ERR x\r\n:-5\r\n$3\r\na\r\n\r\n$-1\r\n%1\r\n+k\r\n,0.1\r\n~1\r\n#t\r\n_\r\n=5\r\ntxt:a\r\n";
        for cut in 1..wire.len() {
            let mut at = 0;
            assert!(decode(&wire[..cut], &mut at).unwrap().is_none(), "cut at {cut}");
        }
        let mut at = 0;
        let value = decode(wire, &mut at).unwrap().unwrap();
        assert_eq!(at, wire.len());
        assert_eq!(
            render(&value, 200),
            "[+OK, -ERR x, :-5, \"a\\r\\n\", $-1, {+k: ,0.1}, ~[#t], _, =\"txt:a\"]"
        );
        assert_eq!(value.elements().unwrap()[2], Value::Int(-5));
    }

    #[test]
    fn commands_are_arrays_of_bulks() {
        let mut out = Vec::new();
        encode(&[&b"GET"[..], b"\x00"], &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\n\x00\r\n");
    }
}
