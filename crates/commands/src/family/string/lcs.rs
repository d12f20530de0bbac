//! LCS: the longest common subsequence of two strings.
//!
//! The table of the textbook method is kept whole, since the way back through it gives the text and
//! the places; LEN alone needs its last two rows only. Which of several longest subsequences comes
//! out is decided by the way back, so that goes as in Redis.

use crate::args::int;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, span};
use resp::Args;
use structures::StrRef;

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
pub const LCS: Command<DataFn> = Command::new(
    CommandSpec::new("lcs", -3, Group::String)
        .flags(READ)
        .keys(&[span(1, 1, 1, RO_ACCESS)])
        .since("7.0.0")
        .doc(
            "O(n*m) for strings of n and m bytes",
            "Returns the longest common subsequence of two strings.",
        ),
    lcs,
);

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "idx") {
                options.idx = true;
            } else if args.is(at, "len") {
                options.len = true;
            } else if args.is(at, "withmatchlen") {
                options.with_match_len = true;
            } else if args.is(at, "minmatchlen")
                && let Some(value) = args.get(at + 1)
            {
                options.min_match_len = int(value)?.max(0);
                at += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        if options.idx && options.len {
            return Err(CommandError::new(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

fn lcs(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let a = text(ctx, args.at(1))?;
    let b = text(ctx, args.at(2))?;
    let options = Options::parse(args)?;
    check_size(a.len(), b.len(), ctx.env.bulk_max)?;
    if options.len {
        ctx.reply.count(length(&a, &b) as usize);
        return Ok(Effect::None);
    }
    let table = Table::fill(&a, &b)?;
    if !options.idx {
        let mut common = Vec::with_capacity(table.len(a.len(), b.len()) as usize);
        table.way_back(&a, &b, |i, _| common.push(a[i]));
        common.reverse();
        ctx.reply.bulk(&common);
        return Ok(Effect::None);
    }
    ctx.reply.map(2);
    ctx.reply.bulk(b"matches");
    let mark = ctx.reply.mark();
    let mut count = 0;
    for found in table.matches(&a, &b) {
        if (found.len as i64) < options.min_match_len {
            continue;
        }
        count += 1;
        ctx.reply.array(2 + usize::from(options.with_match_len));
        for start in [found.a, found.b] {
            ctx.reply.array(2);
            ctx.reply.count(start);
            ctx.reply.count(start + found.len - 1);
        }
        if options.with_match_len {
            ctx.reply.count(found.len);
        }
    }
    ctx.reply.array_at(mark, count);
    ctx.reply.bulk(b"len");
    ctx.reply.count(table.len(a.len(), b.len()) as usize);
    Ok(Effect::None)
}

/// The string under a key; empty if there is none.
fn text(ctx: &mut Ctx<'_, '_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    let text = ctx
        .keys
        .string(key)
        .map_err(|_| CommandError::new("ERR The specified keys must contain string values"))?;
    let mut bytes = Vec::new();
    match text {
        Some(StrRef::Int(value)) => stdx::push_i64(&mut bytes, value),
        Some(text) => text.read_range(0, text.len(), &mut bytes),
        None => {}
    }
    Ok(bytes)
}

/// Refuses what Redis refuses, also where LEN would need less memory here.
fn check_size(a: usize, b: usize, bulk_max: u64) -> Result<(), CommandError> {
    const LONGEST: usize = u32::MAX as usize - 1;
    if a >= LONGEST || b >= LONGEST {
        return Err(CommandError::new("ERR String too long for LCS"));
    }
    let bytes = (a as u128 + 1) * (b as u128 + 1) * size_of::<u32>() as u128;
    if bytes > u128::from(bulk_max) {
        return Err(CommandError::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    Ok(())
}

/// Length of the longest common subsequence.
fn length(a: &[u8], b: &[u8]) -> u32 {
    let (mut above, mut row) = (vec![0u32; b.len() + 1], vec![0u32; b.len() + 1]);
    for &byte in a {
        fill_row(byte, b, &above, &mut row);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

/// The row of the table for one more byte of the first string.
fn fill_row(byte: u8, b: &[u8], above: &[u32], row: &mut [u32]) {
    for (at, &other) in b.iter().enumerate() {
        row[at + 1] = if byte == other { above[at] + 1 } else { above[at + 1].max(row[at]) };
    }
}

/// A run of bytes that both strings have.
#[derive(Clone, Copy)]
struct Match {
    /// Where it starts in the first string.
    a: usize,
    /// Where it starts in the second one.
    b: usize,
    /// Its length, 1 or more.
    len: usize,
}

/// Lengths of the longest common subsequences of all pairs of beginnings.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn fill(a: &[u8], b: &[u8]) -> Result<Table, CommandError> {
        let width = b.len() + 1;
        let size = (a.len() + 1) * width;
        let mut cells = Vec::new();
        if cells.try_reserve_exact(size).is_err() {
            return Err(CommandError::new(
                "ERR Insufficient memory, failed allocating transient memory for LCS",
            ));
        }
        cells.resize(size, 0);
        for (at, &byte) in a.iter().enumerate() {
            let (before, rest) = cells.split_at_mut((at + 1) * width);
            fill_row(byte, b, &before[at * width..], &mut rest[..width]);
        }
        Ok(Table { cells, width })
    }

    /// For the first `i` bytes of one and the first `j` of the other.
    fn len(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// Calls `each` with the places of the common bytes, from the last to the first.
    /// Source: redis 7.0 `t_string.c:lcsCommand`, for the way taken between equals.
    fn way_back(&self, a: &[u8], b: &[u8], mut each: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                each(i, j);
            } else if self.len(i - 1, j) > self.len(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    /// The common bytes as runs, the last one first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        self.way_back(a, b, |i, j| match found.last_mut() {
            Some(run) if run.a == i + 1 && run.b == j + 1 => {
                *run = Match { a: i, b: j, len: run.len + 1 };
            }
            _ => found.push(Match { a: i, b: j, len: 1 }),
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Kit;

    #[test]
    fn text_length_and_places() {
        let matches = "*2 *3 *2 :4 :7 *2 :5 :8 :4 *3 *2 :2 :3 *2 :0 :1 :2";
        Kit::default().check(&[
            ("SET a ohmytext", "+OK"),
            ("SET b mynewtext", "+OK"),
            ("LCS a b", "$6 mytext"),
            ("LCS a b LEN", ":6"),
            ("LCS a b IDX", "*4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6"),
            ("LCS a b IDX WITHMATCHLEN", &format!("*4 $7 matches {matches} $3 len :6")),
            (
                "LCS a b idx minmatchlen 4 withmatchlen",
                "*4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6",
            ),
            ("LCS a b MINMATCHLEN 4", "$6 mytext"),
            ("LCS a b IDX MINMATCHLEN -1 MINMATCHLEN 9", "*4 $7 matches *0 $3 len :6"),
            ("LCS a none", "$0 "),
            ("LCS none a LEN", ":0"),
            ("LCS none none IDX", "*4 $7 matches *0 $3 len :0"),
            ("SET n 1234", "+OK"),
            ("SET m 9249", "+OK"),
            ("LCS n m", "$2 24"),
        ]);
        Kit::resp3().check(&[("LCS none none IDX", "%2 $7 matches *0 $3 len :0")]);
    }

    #[test]
    fn errors() {
        let strings = "-ERR The specified keys must contain string values";
        let both = "-ERR If you want both the length and indexes, please just use IDX.";
        Kit::default().check(&[
            ("RPUSH l x", ":1"),
            ("LCS l none FOO", strings),
            ("LCS none l", strings),
            ("LCS a b FOO", "-ERR syntax error"),
            ("LCS a b MINMATCHLEN", "-ERR syntax error"),
            ("LCS a b MINMATCHLEN x", "-ERR value is not an integer or out of range"),
            ("LCS a b IDX LEN", both),
            ("LCS a", "-ERR wrong number of arguments for 'lcs' command"),
        ]);
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(check_size(u32::MAX as usize, 0, u64::MAX).is_err());
        let error = check_size(20_000, 20_000, 512 << 20).unwrap_err();
        assert_eq!(
            error.text(),
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        );
        assert!(check_size(10_000, 10_000, 512 << 20).is_ok());
    }
}
