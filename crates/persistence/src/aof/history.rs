//! Where the data set stands in its replication history: a line of our own behind each batch.
//!
//! `#REPL:<replication id> <offset> <database>` says: with everything before this line the data set
//! is what the history `id` makes of its first `offset` bytes, and its stream has `database`
//! selected there. It counts only while no command follows it, so that whatever another program
//! appends, or a torn tail leaves, takes it back without further ado.
//!
//! Redis 7 skips lines that begin with `#` (`aof.c:loadSingleAppendOnlyFile`), up to 127 bytes.

/// How the line begins.
pub const PREFIX: &[u8] = b"#REPL:";
/// Length of a replication id.
const ID_LEN: usize = 40;
/// Above that the offsets of the stream would leave what INFO and ACK can say.
const OFFSET_MAX: u64 = i64::MAX as u64 / 2;

/// What such a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The replication id: printable characters.
    pub id: [u8; ID_LEN],
    /// Bytes of the stream that the data set holds.
    pub offset: u64,
    /// The database that the stream has selected behind them.
    pub db: u32,
}

impl History {
    /// Appends the line.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(&self.id);
        out.push(b' ');
        stdx::push_u64(out, self.offset);
        out.push(b' ');
        stdx::push_u64(out, u64::from(self.db));
        out.extend_from_slice(b"\r\n");
    }

    /// Reads a whole line, its end included. Only what [`History::push_to`] writes is one.
    pub fn parse(line: &[u8]) -> Option<History> {
        let text = line.strip_prefix(PREFIX)?.strip_suffix(b"\r\n")?;
        let mut words = text.split(|&b| b == b' ');
        let id: [u8; ID_LEN] = words.next()?.try_into().ok()?;
        let offset = stdx::parse_u64(words.next()?).filter(|offset| *offset <= OFFSET_MAX)?;
        let db = u32::try_from(stdx::parse_u64(words.next()?)?).ok()?;
        let history = History { id, offset, db };
        let mut again = Vec::with_capacity(line.len());
        history.push_to(&mut again);
        (id.iter().all(u8::is_ascii_graphic) && again == line).then_some(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (offset, db) in [(0, 0), (17, 3), (OFFSET_MAX, u32::MAX)] {
            let history = History { id: [b'a'; ID_LEN], offset, db };
            let mut line = Vec::new();
            history.push_to(&mut line);
            assert!(line.len() < 127, "Redis reads lines up to 127 bytes");
            assert_eq!(History::parse(&line), Some(history));
        }
        let id = "f".repeat(ID_LEN);
        for bad in [
            String::new(),
            "#REPL:\r\n".into(),
            format!("#REPL:{id} 1\r\n"),
            format!("#REPL:{id} 1 0 0\r\n"),
            format!("#REPL:{id} 01 0\r\n"),
            format!("#REPL:{id} -1 0\r\n"),
            format!("#REPL:{id}  1 0\r\n"),
            format!("#REPL:{id} {} 0\r\n", u64::MAX),
            format!("#REPL:{id} 1 4294967296\r\n"),
            format!("#REPL:{id}0 1 0\r\n"),
            format!("#REPL:{id} 1 0\n"),
            format!("#REPL:\u{7f}{} 1 0\r\n", &id[1..]),
        ] {
            assert_eq!(History::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
