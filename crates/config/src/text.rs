//! Text as the user wrote it: any bytes, and the two notations in which configuration files and
//! `CONFIG REWRITE` carry them.
//!
//! Passwords and paths need not be UTF-8, and a value that went through `String` would come back
//! changed from a rewrite; so a directive's text stays bytes until somebody shows it.
//!
//! Source: redis 7.0 `sds.c:sdssplitargs`, `sdscatrepr`, `sdssplitlen`, `util.c:string2ll`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// The value of a text directive. Reads as a byte slice.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For log lines and path functions; bytes that are not UTF-8 become U+FFFD.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// `None` if empty, which for most directives means 'not set'.
    pub fn non_empty(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Text {
        Text(text.to_vec())
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Text {
        Text(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into_bytes())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut quoted = Vec::new();
        push_quoted(&mut quoted, &self.0);
        f.write_str(&String::from_utf8_lossy(&quoted))
    }
}

/// Whether C's `isspace` holds, the set that separates words.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Cuts blanks as Redis does around a line: space, tab, CR, LF.
pub(crate) fn trim_line(mut line: &[u8]) -> &[u8] {
    let blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    while let [first, rest @ ..] = line {
        if !blank(*first) {
            break;
        }
        line = rest;
    }
    while let [rest @ .., last] = line {
        if !blank(*last) {
            break;
        }
        line = rest;
    }
    line
}

/// Whether the byte ends a word outside of quotes. Vertical tab and form feed do not, although they
/// are skipped before a word.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Splits a line into words: blanks separate; `"…"` takes `\n \r \t \b \a`, `\xHH` and any other
/// character after a backslash as itself; `'…'` takes only `\'`. A closing quote must be followed by
/// a blank or the end. A zero byte ends the line, as for a C string.
///
/// `None` for unbalanced quotes.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = line.iter().position(|&b| b == 0).unwrap_or(line.len());
    let line = &line[..end];
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let mut word = Vec::new();
        while at < line.len() && !ends_word(line[at]) {
            at = match line[at] {
                b'"' => double_quoted(line, at + 1, &mut word)?,
                b'\'' => single_quoted(line, at + 1, &mut word)?,
                other => {
                    word.push(other);
                    at + 1
                }
            };
        }
        words.push(word);
    }
}

/// Every reading of a line in which a word that begins with `#` begins a comment: the words before
/// it, shortest first. Where the `#` stands within quotes there is none.
pub(crate) fn before_comments(line: &[u8]) -> impl Iterator<Item = Vec<Vec<u8>>> {
    (1..line.len())
        .filter(|&at| line[at] == b'#' && matches!(line[at - 1], b' ' | b'\t'))
        .filter_map(|at| split_words(&line[..at]))
}

/// Reads up to the closing quote; returns the position after it.
fn double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            (b'\\', Some(b'x')) if hex_pair(line, at + 2).is_some() => {
                word.extend(hex_pair(line, at + 2));
                at += 4;
            }
            (b'\\', Some(&escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            (b'"', next) => return next.is_none_or(|&b| is_space(b)).then_some(at + 1),
            (other, _) => {
                word.push(other);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            (b'\\', Some(b'\'')) => {
                word.push(b'\'');
                at += 2;
            }
            (b'\'', next) => return next.is_none_or(|&b| is_space(b)).then_some(at + 1),
            (other, _) => {
                word.push(other);
                at += 1;
            }
        }
    }
}

fn hex_pair(line: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*line.get(at)?).to_digit(16);
    Some((digit(at)? * 16 + digit(at + 1)?) as u8)
}

/// Appends `text` in double quotes such that [`split_words`] gives it back.
pub fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

/// Joins words by one blank.
pub(crate) fn join(words: &[&[u8]]) -> Vec<u8> {
    words.join(&b' ')
}

/// Bytes for a message: not UTF-8 becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What C string functions make of a file with zero bytes: each hides the rest of its line, the line
/// feed included.
pub(crate) fn drop_zero_bytes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&b| b == b'\n') {
        let end = line.iter().position(|&b| b == 0).unwrap_or(line.len());
        out.extend_from_slice(&line[..end]);
    }
    out
}
