//! Words of an inline request, of a configuration line, of what a person types: quoting as in Redis.

/// A quote that is not closed, or is followed by something other than a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

impl std::fmt::Display for UnbalancedQuotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unbalanced quotes")
    }
}

impl std::error::Error for UnbalancedQuotes {}

/// Splits a line into words. `"…"` knows `\n \r \t \b \a \\ \" \xHH`, `'…'` only `\'`.
/// Source: redis 7.0 `sds.c:sdssplitargs` (behaviour).
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&b| is_blank(b)) {
            at += 1;
        }
        if at >= line.len() || line[at] == 0 {
            return Ok(words);
        }
        let mut word = Vec::new();
        while let Some(&b) = line.get(at) {
            match b {
                b'"' | b'\'' => {
                    at = quoted(line, at, &mut word)?;
                    if line.get(at).is_some_and(|&b| !is_blank(b)) {
                        return Err(UnbalancedQuotes);
                    }
                    break;
                }
                0 => break,
                b if is_blank(b) => break,
                b => {
                    word.push(b);
                    at += 1;
                }
            }
        }
        words.push(word);
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c)
}

/// Reads the quoted run that begins at `at`; returns where the text after it begins.
fn quoted(line: &[u8], at: usize, word: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    let quote = line[at];
    let mut at = at + 1;
    loop {
        let &b = line.get(at).ok_or(UnbalancedQuotes)?;
        if b == quote {
            return Ok(at + 1);
        }
        if b != b'\\' {
            word.push(b);
            at += 1;
            continue;
        }
        let next = line.get(at + 1).copied();
        if quote == b'\'' {
            if next == Some(b'\'') {
                word.push(b'\'');
                at += 2;
            } else {
                word.push(b'\\');
                at += 1;
            }
            continue;
        }
        if let (Some(b'x'), Some(high), Some(low)) =
            (next, hex_at(line, at + 2), hex_at(line, at + 3))
        {
            word.push(high << 4 | low);
            at += 4;
            continue;
        }
        word.push(match next.ok_or(UnbalancedQuotes)? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'a' => 7,
            other => other,
        });
        at += 2;
    }
}

fn hex_at(line: &[u8], at: usize) -> Option<u8> {
    char::from(*line.get(at)?).to_digit(16).map(|d| d as u8)
}

/// The double-quoted form of `text`, which [`split_args`] reads back: used for MONITOR, logs and
/// rewritten configuration files.
pub fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &b in text {
        match b {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(char::from(b));
            }
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            0x20..=0x7e => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let split = |line: &str| {
            split_args(line.as_bytes())
                .map(|w| w.into_iter().map(|w| String::from_utf8(w).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(split("  a  b\t").unwrap(), ["a", "b"]);
        assert_eq!(split(r#""a b" 'c "d' "" x"#).unwrap(), ["a b", "c \"d", "", "x"]);
        assert_eq!(split(r#""\x41\n\"" 'it\'s'"#).unwrap(), ["A\n\"", "it's"]);
        assert!(split("\"a").is_err());
        assert!(split("\"a\"b").is_err());
    }

    #[test]
    fn quote_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split_args(quote(&all).as_bytes()).unwrap(), [all]);
    }
}
