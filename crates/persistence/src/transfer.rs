//! What surrounds an RDB on a replication link, after `+FULLRESYNC`.
//!
//! A master that sends a file announces its length (`$<length>\r\n`); one that sends while it
//! writes announces a mark of forty random characters (`$EOF:<mark>\r\n`), which comes again
//! behind the last byte. While the RDB is not ready yet it sends bare newlines.
//!
//! [`TransferDecoder`] takes a socket buffer's bytes as they come, in any cut, and hands the RDB's
//! bytes on. It looks for the mark anywhere, not only at the end of what has been received: the
//! bytes behind it belong to the command stream and are left to the caller.
//!
//! Source: redis 7.0 `replication.c:readSyncBulkPayload`, `rdb.c:rdbSaveRioWithEOFMark`.

use std::fmt;

/// Length of the mark behind an RDB of unknown length (`CONFIG_RUN_ID_SIZE`).
pub const EOF_MARK_LEN: usize = 40;

/// The longest header line that is taken before the link counts as broken.
const LINE_MAX: usize = 1024;

/// How the RDB is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferForm {
    /// Disk form: this many bytes follow.
    Length(u64),
    /// Diskless form: bytes up to this mark follow.
    EofMark([u8; EOF_MARK_LEN]),
}

impl TransferForm {
    /// Appends the header line that announces this form.
    pub fn push_header(&self, out: &mut Vec<u8>) {
        match self {
            TransferForm::Length(bytes) => {
                out.push(b'$');
                out.extend_from_slice(bytes.to_string().as_bytes());
            }
            TransferForm::EofMark(mark) => {
                out.extend_from_slice(b"$EOF:");
                out.extend_from_slice(mark);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Why a transfer can't go on; the link is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The master sent `-text` in place of an RDB.
    Aborted(Vec<u8>),
    /// The line is no `$` header; it begins with this byte.
    BadHeader {
        /// Offset of the line in the transfer.
        offset: u64,
        /// The line, at most its first 128 bytes.
        found: Vec<u8>,
    },
    /// No line end within a sane length.
    EndlessHeader,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Aborted(text) => {
                let text = String::from_utf8_lossy(text);
                write!(f, "MASTER aborted replication with an error: {text}")
            }
            TransferError::BadHeader { offset, found } => write!(
                f,
                "Bad protocol from MASTER, expected '$<length>' or '$EOF:<mark>' at offset \
                 {offset}, found '{}'",
                found.escape_ascii()
            ),
            TransferError::EndlessHeader => {
                write!(f, "Bad protocol from MASTER, a header line of more than {LINE_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for TransferError {}

/// What [`TransferDecoder::feed`] made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that belong to the transfer; less than all only when it is done.
    pub consumed: usize,
    /// The RDB is complete; what was not consumed is command stream.
    pub done: bool,
}

enum State {
    Header(Vec<u8>),
    /// Bytes still to come.
    Counted(u64),
    /// Received bytes at the end of the data that may begin the mark: always fewer than it has.
    Marked {
        mark: Box<Mark>,
        held: Vec<u8>,
    },
    Done,
}

/// Cuts an RDB out of the bytes of a replication link; see the module.
pub struct TransferDecoder {
    state: State,
    form: Option<TransferForm>,
    /// Offset of the header line in the transfer.
    received: u64,
    payload: u64,
    keepalives: u64,
}

impl Default for TransferDecoder {
    fn default() -> TransferDecoder {
        TransferDecoder::new()
    }
}

impl TransferDecoder {
    /// A decoder that expects the header line, or newlines before it.
    pub fn new() -> TransferDecoder {
        TransferDecoder {
            state: State::Header(Vec::new()),
            form: None,
            received: 0,
            payload: 0,
            keepalives: 0,
        }
    }

    /// How the RDB is framed, once the header has come.
    pub fn form(&self) -> Option<TransferForm> {
        self.form
    }

    /// Bytes of the RDB handed on so far.
    pub fn payload_len(&self) -> u64 {
        self.payload
    }

    /// Bare newlines seen before the header: signs of life of a master that prepares the RDB.
    pub fn keepalives(&self) -> u64 {
        self.keepalives
    }

    /// True once the whole RDB has been handed on.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next bytes of the link and gives the RDB's bytes among them to `sink`, in order.
    /// After the end nothing more is consumed.
    pub fn feed(
        &mut self,
        input: &[u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Fed, TransferError> {
        let mut consumed = 0;
        while let State::Header(line) = &mut self.state {
            let rest = &input[consumed..];
            let Some(end) = rest.iter().position(|&b| b == b'\n') else {
                if line.len() + rest.len() > LINE_MAX {
                    return Err(TransferError::EndlessHeader);
                }
                line.extend_from_slice(rest);
                return Ok(Fed { consumed: input.len(), done: false });
            };
            line.extend_from_slice(&rest[..end]);
            consumed += end + 1;
            let line = std::mem::take(line);
            if line.len() > LINE_MAX {
                return Err(TransferError::EndlessHeader);
            }
            self.header(&line)?;
            self.received += line.len() as u64 + 1;
        }
        let rest = &input[consumed..];
        let payload = &mut self.payload;
        let mut sink = |bytes: &[u8]| {
            if !bytes.is_empty() {
                *payload += bytes.len() as u64;
                sink(bytes);
            }
        };
        let taken = match &mut self.state {
            State::Header(_) | State::Done => 0,
            State::Counted(left) => {
                let here = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                sink(&rest[..here]);
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                here
            }
            State::Marked { mark, held } => {
                let (taken, found) = mark.cut(held, rest, &mut sink);
                if found {
                    self.state = State::Done;
                }
                taken
            }
        };
        Ok(Fed { consumed: consumed + taken, done: self.is_done() })
    }

    /// One whole line without its newline.
    fn header(&mut self, line: &[u8]) -> Result<(), TransferError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let form = match line {
            [] => {
                self.keepalives += 1;
                return Ok(());
            }
            [b'-', text @ ..] => return Err(TransferError::Aborted(text.to_vec())),
            [b'$', b'E', b'O', b'F', b':', mark @ ..] => {
                mark.try_into().ok().map(TransferForm::EofMark)
            }
            [b'$', length @ ..] => stdx::parse_u64(length).map(TransferForm::Length),
            _ => None,
        };
        self.state = match form {
            Some(TransferForm::Length(0)) => State::Done,
            Some(TransferForm::Length(bytes)) => State::Counted(bytes),
            Some(TransferForm::EofMark(mark)) => {
                State::Marked { mark: Box::new(Mark::new(mark)), held: Vec::new() }
            }
            None => {
                return Err(TransferError::BadHeader {
                    offset: self.received,
                    found: line[..line.len().min(128)].to_vec(),
                });
            }
        };
        self.form = form;
        Ok(())
    }
}

/// The mark with Horspool's skip table: for a byte under the mark's last place, how far the mark
/// can move on at least. RDB bytes are seldom those of the mark, so most steps are forty bytes.
struct Mark {
    bytes: [u8; EOF_MARK_LEN],
    skip: [u8; 256],
}

impl Mark {
    fn new(bytes: [u8; EOF_MARK_LEN]) -> Mark {
        let mut skip = [EOF_MARK_LEN as u8; 256];
        for (at, &byte) in bytes[..EOF_MARK_LEN - 1].iter().enumerate() {
            skip[usize::from(byte)] = (EOF_MARK_LEN - 1 - at) as u8;
        }
        Mark { bytes, skip }
    }

    /// Where the mark begins in `text`.
    fn find(&self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = text.get(at..at + EOF_MARK_LEN) {
            if window == self.bytes {
                return Some(at);
            }
            at += usize::from(self.skip[usize::from(window[EOF_MARK_LEN - 1])]);
        }
        None
    }

    /// Gives what is certainly data to `sink`, keeps in `held` what may begin the mark. Returns
    /// the consumed length of `input` and whether the mark was found.
    fn cut(&self, held: &mut Vec<u8>, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> (usize, bool) {
        const KEEP: usize = EOF_MARK_LEN - 1;
        if !held.is_empty() {
            // A mark that begins in the held bytes ends within the first `KEEP` new ones.
            let before = held.len();
            held.extend_from_slice(&input[..input.len().min(KEEP)]);
            if let Some(at) = self.find(held) {
                sink(&held[..at]);
                return (at + EOF_MARK_LEN - before, true);
            }
            if input.len() < KEEP {
                let sure = held.len().saturating_sub(KEEP);
                sink(&held[..sure]);
                held.drain(..sure);
                return (input.len(), false);
            }
            sink(&held[..before]);
            held.clear();
        }
        match self.find(input) {
            Some(at) => {
                sink(&input[..at]);
                (at + EOF_MARK_LEN, true)
            }
            None => {
                let sure = input.len().saturating_sub(KEEP);
                sink(&input[..sure]);
                held.extend_from_slice(&input[sure..]);
                (input.len(), false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    /// Feeds `wire` in pieces of the sizes that `cut` gives; returns payload, rest, decoder.
    fn run(
        wire: &[u8],
        mut cut: impl FnMut() -> usize,
    ) -> Result<(Vec<u8>, Vec<u8>, TransferDecoder), TransferError> {
        let mut decoder = TransferDecoder::new();
        let (mut payload, mut at) = (Vec::new(), 0);
        while at < wire.len() && !decoder.is_done() {
            let end = (at + cut().max(1)).min(wire.len());
            let fed = decoder.feed(&wire[at..end], &mut |b| payload.extend_from_slice(b))?;
            assert!(fed.done || fed.consumed == end - at);
            assert_eq!(fed.done, decoder.is_done());
            at += fed.consumed;
        }
        assert_eq!(decoder.payload_len(), payload.len() as u64);
        Ok((payload, wire[at..].to_vec(), decoder))
    }

    #[test]
    fn both_forms_in_every_cut() {
        let mut prng = Prng::new(4);
        let mark: [u8; 40] = prng.hex(40).into_bytes().try_into().unwrap();
        for round in 0..400 {
            let mut data: Vec<u8> = (0..prng.below(300)).map(|_| prng.next_u64() as u8).collect();
            if round % 2 == 0 {
                // Beginnings of the mark inside and at the end of the data.
                data.extend_from_slice(&mark[..prng.below(40) as usize]);
                data.extend_from_slice(&mark[..prng.below(40) as usize]);
            }
            for form in [TransferForm::EofMark(mark), TransferForm::Length(data.len() as u64)] {
                let mut wire = b"\n\n".to_vec();
                form.push_header(&mut wire);
                wire.extend_from_slice(&data);
                if let TransferForm::EofMark(mark) = form {
                    wire.extend_from_slice(&mark);
                }
                wire.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
                let size = [1, 2, 39, 40, 41, 1000][prng.below(6) as usize];
                let (payload, rest, decoder) =
                    run(&wire, || prng.between(1, size) as usize).unwrap();
                assert_eq!(payload, data);
                assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
                assert_eq!(decoder.form(), Some(form));
                assert_eq!(decoder.keepalives(), 2);
                assert!(decoder.is_done());
            }
        }
    }

    #[test]
    fn an_unfinished_transfer_is_not_done() {
        let mut wire = Vec::new();
        TransferForm::EofMark([b'f'; 40]).push_header(&mut wire);
        wire.extend_from_slice(&[b'f'; 39]);
        let (payload, _, decoder) = run(&wire, || 7).unwrap();
        assert_eq!((payload.len(), decoder.is_done()), (0, false));
        let (_, _, decoder) = run(b"$5\r\nabcd", || 100).unwrap();
        assert!(!decoder.is_done());
        assert_eq!(decoder.payload_len(), 4);
    }

    #[test]
    fn nothing_is_consumed_after_the_end() {
        let mut decoder = TransferDecoder::new();
        let fed = decoder.feed(b"$0\r\nxyz", &mut |_| panic!("no payload")).unwrap();
        assert_eq!(fed, Fed { consumed: 4, done: true });
        let fed = decoder.feed(b"xyz", &mut |_| panic!("no payload")).unwrap();
        assert_eq!(fed, Fed { consumed: 0, done: true });
    }

    #[test]
    fn bad_headers_are_errors() {
        let error = |wire: &[u8]| run(wire, || 3).err().unwrap();
        assert_eq!(error(b"-ERR no\r\n"), TransferError::Aborted(b"ERR no".to_vec()));
        assert_eq!(
            error(b"\n+OK\r\n"),
            TransferError::BadHeader { offset: 1, found: b"+OK".to_vec() }
        );
        for bad in [&b"$\r\n"[..], b"$-1\r\n", b"$12x\r\n", b"$EOF:short\r\n", b"REDIS0010\r\n"] {
            assert!(matches!(error(bad), TransferError::BadHeader { .. }), "{bad:?}");
        }
        assert_eq!(error(&[b'x'; 3000]), TransferError::EndlessHeader);
        let mut decoder = TransferDecoder::new();
        let mut long = vec![b'$'; 3000];
        long.push(b'\n');
        assert_eq!(decoder.feed(&long, &mut |_| ()), Err(TransferError::EndlessHeader));
    }
}
