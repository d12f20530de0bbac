//! Cuts requests out of a read buffer.
//!
//! Arguments are ranges of the buffer; nothing is copied. A request that has not arrived whole
//! keeps the progress made so far, so that a large request that comes in many pieces is scanned
//! once, and its buffer can be grown to the announced size at once.
//!
//! Source: protocol/resp-and-clients.md section 2, checked against redis-server 7.0.15.

use crate::inline::split_args;

/// A request's arguments, as ranges of one buffer.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// Arguments that lie at `ranges` (start, end) of `buffer`.
    pub fn new(buffer: &'a [u8], ranges: &'a [(u32, u32)]) -> Args<'a> {
        Args { buffer, ranges }
    }

    /// How many arguments there are, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True for a request without any argument (it is never handed out by the decoder).
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The argument at `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.ranges.get(index)?;
        self.buffer.get(start as usize..end as usize)
    }

    /// The argument at `index`; the caller has checked the arity.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.ranges[index];
        &self.buffer[start as usize..end as usize]
    }

    /// All arguments in order.
    pub fn iter(&self) -> ArgsIter<'a> {
        ArgsIter { args: *self, next: 0 }
    }

    /// The arguments from `from` on.
    pub fn tail(&self, from: usize) -> Args<'a> {
        Args { buffer: self.buffer, ranges: &self.ranges[from.min(self.ranges.len())..] }
    }

    /// True if argument `index` is there and equals `word`, letters of either case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// A copy that owns its bytes.
    pub fn to_owned_args(&self) -> OwnedArgs {
        let total = self.iter().map(<[u8]>::len).sum();
        let mut owned =
            OwnedArgs { buffer: Vec::with_capacity(total), ranges: Vec::with_capacity(self.len()) };
        for arg in self.iter() {
            owned.push(arg);
        }
        owned
    }
}

impl std::ops::Index<usize> for Args<'_> {
    type Output = [u8];
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

/// Iterator over the arguments of a request.
#[derive(Clone)]
pub struct ArgsIter<'a> {
    args: Args<'a>,
    next: usize,
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let item = self.args.get(self.next)?;
        self.next += 1;
        Some(item)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.args.len() - self.next.min(self.args.len());
        (left, Some(left))
    }
}

impl ExactSizeIterator for ArgsIter<'_> {}

/// Arguments that own their bytes: a command queued by MULTI, or one that blocks.
#[derive(Clone, Default)]
pub struct OwnedArgs {
    buffer: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl OwnedArgs {
    /// Builds the arguments of a command from its parts.
    pub fn from_parts<T: AsRef<[u8]>>(parts: &[T]) -> OwnedArgs {
        let mut owned = OwnedArgs {
            buffer: Vec::with_capacity(parts.iter().map(|part| part.as_ref().len()).sum()),
            ranges: Vec::with_capacity(parts.len()),
        };
        for part in parts {
            owned.push(part.as_ref());
        }
        owned
    }

    /// Forgets the arguments, and keeps the room that they had.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.ranges.clear();
    }

    /// Adds one argument at the end. Panics beyond 4 GiB in all, which the decoder's limits exclude.
    pub fn push(&mut self, arg: &[u8]) {
        let start = u32::try_from(self.buffer.len()).expect("arguments of one command fit 4 GiB");
        let end = u32::try_from(self.buffer.len() + arg.len())
            .expect("arguments of one command fit 4 GiB");
        self.buffer.extend_from_slice(arg);
        self.ranges.push((start, end));
    }

    /// The same arguments, borrowed.
    pub fn as_args(&self) -> Args<'_> {
        Args { buffer: &self.buffer, ranges: &self.ranges }
    }

    /// Bytes held on the heap.
    pub fn mem_usage(&self) -> usize {
        self.buffer.capacity() + self.ranges.capacity() * size_of::<(u32, u32)>()
    }
}

impl std::fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_args().fmt(f)
    }
}

/// What a connection may send; depends on who it is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest bulk string, `proto-max-bulk-len` (unlimited on the link from the master).
    pub bulk_max: u64,
    /// False before authentication: at most 10 arguments of 16 KiB.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bulk_max: 512 << 20, authenticated: true }
    }
}

/// A request that breaks the protocol: the connection gets [`ProtocolError::text`] and is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(String);

impl ProtocolError {
    pub(crate) fn new(what: impl Into<String>) -> ProtocolError {
        ProtocolError(what.into())
    }

    /// The words after `Protocol error: `, as Redis prints them.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Protocol error: {}", self.0)
    }
}

impl std::error::Error for ProtocolError {}

/// What the decoder found at the front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole request; its arguments are [`Decoder::args`]. The next call starts `consumed` bytes on.
    Request {
        /// Bytes that the request took.
        consumed: usize,
    },
    /// Nothing to run (an empty line, `*0`), but `consumed` bytes are done with.
    Nothing {
        /// Bytes to drop.
        consumed: usize,
    },
    /// More bytes are needed; at least `at_least` more if that is known already.
    Incomplete {
        /// Lower bound of the missing bytes, 0 if unknown.
        at_least: usize,
    },
}

/// Longest line that holds an inline request or a length (Redis's `PROTO_INLINE_MAX_SIZE`).
const LINE_MAX: usize = 64 * 1024;

/// Bytes after which no request of a batch begins.
const BATCH_BYTES: usize = 64 * 1024;

/// Requests that were cut ahead of being run, so that what they need can be fetched meanwhile.
#[derive(Default)]
pub struct Batch {
    ranges: Vec<(u32, u32)>,
    requests: Vec<Ahead>,
    /// The bytes of inline requests, unquoted.
    inline: Vec<u8>,
}

/// One request of a batch.
struct Ahead {
    /// End of its arguments in [`Batch::ranges`].
    ranges_end: usize,
    /// Its end in the buffer.
    end: usize,
    is_inline: bool,
}

impl Batch {
    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of a request out of the buffer that the batch was cut from. They may be none:
    /// an empty line, which asks for nothing.
    #[inline]
    pub fn args<'a>(&'a self, index: usize, buffer: &'a [u8]) -> Args<'a> {
        let request = &self.requests[index];
        let start = if index == 0 { 0 } else { self.requests[index - 1].ranges_end };
        Args {
            buffer: if request.is_inline { &self.inline } else { buffer },
            ranges: &self.ranges[start..request.ranges_end],
        }
    }

    /// Where the request ends in the buffer.
    #[inline]
    pub fn end(&self, index: usize) -> usize {
        self.requests[index].end
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.requests.clear();
        self.inline.clear();
    }

    /// Adds the bytes of an inline request; returns where they begin.
    fn add_inline(&mut self, bytes: &[u8]) -> usize {
        self.inline.extend_from_slice(bytes);
        self.inline.len() - bytes.len()
    }

    #[inline]
    fn push(&mut self, ranges: &[(u32, u32)], shift: usize, end: usize, is_inline: bool) {
        let shift = shift as u32; // Batches do not begin a request beyond `BATCH_BYTES`.
        self.ranges.extend(ranges.iter().map(|&(start, end)| (start + shift, end + shift)));
        self.requests.push(Ahead { ranges_end: self.ranges.len(), end, is_inline });
    }
}

/// Cuts one request after the other out of the bytes of one connection.
///
/// The caller passes the unread bytes, always beginning at the same request until that one was
/// returned whole.
#[derive(Default)]
pub struct Decoder {
    ranges: Vec<(u32, u32)>,
    /// Arguments still missing of the request in progress; 0 between requests.
    missing: u64,
    /// Where in the request scanning goes on.
    position: usize,
    /// The bytes of an inline request, unquoted; empty for the multibulk form.
    inline: Vec<u8>,
    is_inline: bool,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// The arguments of the request that [`Decoder::decode`] has just returned from `buffer`.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8]) -> Args<'a> {
        Args { buffer: if self.is_inline { &self.inline } else { buffer }, ranges: &self.ranges }
    }

    /// Cuts whole requests off the front of `buffer`, at most `most` of them; none if the first
    /// has not arrived whole. A protocol error shows only when nothing is left before it.
    ///
    /// The next call starts behind the last of them, unless [`Decoder::start_over`] was called.
    pub fn decode_ahead(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        most: usize,
        batch: &mut Batch,
    ) -> Result<(), ProtocolError> {
        batch.clear();
        let mut start = 0;
        while batch.len() < most && start < buffer.len().min(BATCH_BYTES) {
            match self.decode(&buffer[start..], limits) {
                Ok(Decoded::Incomplete { .. }) => break,
                Ok(Decoded::Nothing { consumed }) => {
                    start += consumed;
                    batch.push(&[], 0, start, false);
                }
                // Ranges end at 4 GiB; counted from its own start the request fits.
                Ok(Decoded::Request { consumed })
                    if start > 0 && start + consumed > u32::MAX as usize =>
                {
                    break;
                }
                Ok(Decoded::Request { consumed }) => {
                    let shift = if self.is_inline { batch.add_inline(&self.inline) } else { start };
                    start += consumed;
                    batch.push(&self.ranges, shift, start, self.is_inline);
                }
                Err(_) if !batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Forgets the part of a request that was seen: the next call starts at another place.
    pub fn start_over(&mut self) {
        self.missing = 0;
    }

    /// True while a request has arrived in part.
    pub fn in_progress(&self) -> bool {
        self.missing > 0
    }

    /// Looks for one request at the start of `buffer`.
    pub fn decode(&mut self, buffer: &[u8], limits: &Limits) -> Result<Decoded, ProtocolError> {
        if self.missing == 0 {
            match buffer.first() {
                None => return Ok(Decoded::Incomplete { at_least: 0 }),
                Some(b'*') => {}
                Some(_) => return self.decode_inline(buffer),
            }
            let (count, next) = match short_length(buffer, 0) {
                Some((count, next)) => (i64::from(count), next),
                None => {
                    let Some((line, next)) = line_at(buffer, 1) else {
                        return too_long(buffer.len(), "too big mbulk count string");
                    };
                    let count = stdx::parse_i64(line).filter(|&n| n <= i64::from(i32::MAX));
                    (count.ok_or_else(|| ProtocolError::new("invalid multibulk length"))?, next)
                }
            };
            if count > 10 && !limits.authenticated {
                return Err(ProtocolError::new("unauthenticated multibulk length"));
            }
            if count <= 0 {
                return Ok(Decoded::Nothing { consumed: next });
            }
            self.ranges.clear();
            self.is_inline = false;
            self.missing = count as u64;
            self.position = next;
        }
        while self.missing > 0 {
            let (length, start) = match short_length(buffer, self.position) {
                Some((length, start)) if buffer[self.position] == b'$' => {
                    (u64::from(length), start)
                }
                _ => match long_length(buffer, self.position)? {
                    Some((length, start)) => (length, start),
                    None => {
                        return too_long(buffer.len() - self.position, "too big bulk count string");
                    }
                },
            };
            if length > limits.bulk_max {
                return Err(ProtocolError::new("invalid bulk length"));
            }
            if length > 16_384 && !limits.authenticated {
                return Err(ProtocolError::new("unauthenticated bulk length"));
            }
            let end = start + length as usize;
            // The two bytes after a bulk string are skipped, whatever they are, as Redis does.
            if buffer.len() < end + 2 {
                return Ok(Decoded::Incomplete { at_least: end + 2 - buffer.len() });
            }
            let range = (u32::try_from(start), u32::try_from(end));
            let (Ok(from), Ok(to)) = range else {
                return Err(ProtocolError::new("request beyond 4 GiB"));
            };
            self.ranges.push((from, to));
            self.missing -= 1;
            self.position = end + 2;
        }
        Ok(Decoded::Request { consumed: self.position })
    }

    fn decode_inline(&mut self, buffer: &[u8]) -> Result<Decoded, ProtocolError> {
        let Some(newline) = memchr::memchr(b'\n', buffer) else {
            return too_long(buffer.len(), "too big inline request");
        };
        let line = &buffer[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words =
            split_args(line).map_err(|_| ProtocolError::new("unbalanced quotes in request"))?;
        if words.is_empty() {
            return Ok(Decoded::Nothing { consumed: newline + 1 });
        }
        self.is_inline = true;
        self.inline.clear();
        self.ranges.clear();
        for word in &words {
            let start = self.inline.len() as u32; // A line has at most 64 KiB and a bit.
            self.inline.extend_from_slice(word);
            self.ranges.push((start, self.inline.len() as u32));
        }
        Ok(Decoded::Request { consumed: newline + 1 })
    }
}

/// The number of a line that begins at `at` with a mark (not looked at) and has few digits, and
/// where the next line begins. Nothing for lines that need a closer look.
#[inline]
fn short_length(buffer: &[u8], at: usize) -> Option<(u32, usize)> {
    let line = buffer.get(at..)?.first_chunk::<8>()?;
    let mut value = 0;
    for (digits, &byte) in line[1..7].iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let canonical = digits == 1 || (digits > 1 && line[1] != b'0');
            return (byte == b'\r' && canonical).then_some((value, at + digits + 3));
        }
        value = value * 10 + u32::from(digit);
    }
    None
}

/// The length on a bulk string's line, and where its bytes begin; nothing if the line is not whole.
fn long_length(buffer: &[u8], at: usize) -> Result<Option<(u64, usize)>, ProtocolError> {
    let Some((line, start)) = line_at(buffer, at) else { return Ok(None) };
    let (mark, digits) = match line.split_first() {
        Some((&mark, digits)) => (mark, digits),
        None => (b'\r', &[][..]),
    };
    if mark != b'$' {
        return Err(ProtocolError::new(format!("expected '$', got '{}'", char::from(mark))));
    }
    let length = stdx::parse_i64(digits).and_then(|n| u64::try_from(n).ok());
    match length.filter(|&n| n < u64::from(u32::MAX) / 2) {
        Some(length) => Ok(Some((length, start))),
        None => Err(ProtocolError::new("invalid bulk length")),
    }
}

/// The line from `start` to its CRLF, and where the next one begins.
#[inline]
fn line_at(buffer: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = buffer.get(start..)?;
    // Lengths are short: a plain loop beats a vectorised search.
    let short = rest.iter().take(16).position(|&b| b == b'\r');
    let end = match short {
        Some(at) => at,
        None if rest.len() <= 16 => return None,
        None => memchr::memchr(b'\r', rest)?,
    };
    // The byte after CR is taken for LF without a look, as Redis does.
    (rest.len() > end + 1).then(|| (&rest[..end], start + end + 2))
}

fn too_long(have: usize, what: &str) -> Result<Decoded, ProtocolError> {
    if have > LINE_MAX {
        Err(ProtocolError::new(what))
    } else {
        Ok(Decoded::Incomplete { at_least: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs all requests of `input`, which arrives in pieces of `step` bytes.
    fn run(input: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut decoder, mut buffer, mut out) = (Decoder::new(), Vec::new(), Vec::new());
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&buffer, &Limits::default())? {
                    Decoded::Request { consumed } => {
                        out.push(decoder.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                        buffer.drain(..consumed);
                    }
                    Decoded::Nothing { consumed } => {
                        buffer.drain(..consumed);
                    }
                    Decoded::Incomplete { .. } => break,
                }
            }
        }
        Ok(out)
    }

    #[test]
    fn every_split_gives_the_same_requests() {
        let input = b"*2\r\n$3\r\nGET\r\n$5\r\nk\r\ney\r\n\r\n*0\r\n*-1\r\nPING\r\n set \"a \\x41\" 'b'\n*1\r\n$0\r\n\r\n";
        let whole = run(input, input.len()).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0], [b"GET".to_vec(), b"k\r\ney".to_vec()]);
        assert_eq!(whole[2], [b"set".to_vec(), b"a A".to_vec(), b"b".to_vec()]);
        assert_eq!(whole[3], [b"".to_vec()]);
        for step in 1..input.len() {
            assert_eq!(run(input, step).unwrap(), whole, "pieces of {step}");
        }
    }

    /// As `run`, a batch at a time.
    fn run_ahead(
        input: &[u8],
        step: usize,
        most: usize,
    ) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut decoder, mut buffer, mut out) = (Decoder::new(), Vec::new(), Vec::new());
        let mut batch = Batch::default();
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                decoder.decode_ahead(&buffer, &Limits::default(), most, &mut batch)?;
                if batch.is_empty() {
                    break;
                }
                assert!(batch.len() <= most);
                // Every third batch is left half done.
                let take = if out.len() % 3 == 2 { batch.len().div_ceil(2) } else { batch.len() };
                for index in 0..take {
                    let args = batch.args(index, &buffer);
                    if !args.is_empty() {
                        out.push(args.iter().map(<[u8]>::to_vec).collect());
                    }
                }
                if take < batch.len() {
                    decoder.start_over();
                }
                buffer.drain(..batch.end(take - 1));
            }
        }
        Ok(out)
    }

    #[test]
    fn a_batch_holds_what_single_steps_give() {
        let input = b"*2\r\n$3\r\nGET\r\n$5\r\nk\r\ney\r\n\r\nPING\r\n*0\r\n set \"a \\x41\" 'b'\n*1\r\n$0\r\n\r\n\
            *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n012345678901\r\necho 'x y'\r\n*1\r\n$4\r\nQUIT\r\n";
        for step in 1..=input.len() {
            let single = run(input, step).unwrap();
            for most in 1..8 {
                assert_eq!(
                    run_ahead(input, step, most).unwrap(),
                    single,
                    "pieces of {step}, {most} at once"
                );
            }
        }
    }

    #[test]
    fn an_error_comes_after_the_requests_before_it() {
        let input = b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n+4\r\n";
        let (mut decoder, mut batch) = (Decoder::new(), Batch::default());
        decoder.decode_ahead(input, &Limits::default(), 8, &mut batch).unwrap();
        assert_eq!(batch.len(), 2);
        let rest = &input[batch.end(1)..];
        let error = decoder.decode_ahead(rest, &Limits::default(), 8, &mut batch).unwrap_err();
        assert_eq!(error.text(), "expected '$', got '+'");
    }

    #[test]
    fn errors_have_the_texts_of_redis() {
        for (input, text) in [
            (&b"*2147483648\r\n"[..], "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$007\r\n0123456\r\n", "invalid bulk length"),
            (b"*01\r\n$1\r\n0\r\n", "invalid multibulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"set \"a\r\n", "unbalanced quotes in request"),
        ] {
            assert_eq!(run(input, input.len()).unwrap_err().text(), text);
        }
        let long = vec![b'a'; LINE_MAX + 1];
        assert_eq!(run(&long, long.len()).unwrap_err().text(), "too big inline request");
    }

    #[test]
    fn strangers_get_small_limits() {
        let limits = Limits { authenticated: false, ..Limits::default() };
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.decode(b"*11\r\n", &limits).unwrap_err().text(),
            "unauthenticated multibulk length"
        );
        let mut decoder = Decoder::new();
        let error = decoder.decode(b"*1\r\n$16385\r\n", &limits).unwrap_err();
        assert_eq!(error.text(), "unauthenticated bulk length");
    }

    #[test]
    fn mutated_bytes_never_panic() {
        let seed = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$10\r\n0123456789\r\nGET 'a'\r\n";
        let mut prng = stdx::Prng::new(3);
        for _ in 0..100_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..prng.between(1, 6) {
                let at = prng.below(bytes.len() as u64) as usize;
                match prng.below(3) {
                    0 => bytes[at] = prng.next_u64() as u8,
                    1 => bytes.insert(at, b"*$\r\n0919-"[prng.below(9) as usize]),
                    _ => {
                        bytes.remove(at);
                    }
                }
            }
            let step = prng.between(1, bytes.len() as u64) as usize;
            let single = run(&bytes, step);
            assert_eq!(run_ahead(&bytes, step, prng.between(1, 5) as usize), single);
        }
    }
}
