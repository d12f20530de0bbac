//! The manifest: which files make up the append-only file, in which order they are loaded.
//!
//! Lines `file <name> seq <number> type <b|h|i>`: at most one base, history to be deleted, and
//! incremental files in ascending order. `#` begins a comment; unknown pairs of words are skipped.
//!
//! Source: redis 7.0 `aof.c:aofLoadManifestFromFile`, `getAofManifestAsString` (behaviour).

use std::fmt;

use resp::{quote, split_args};

/// The longest line, its end included.
const LINE_MAX: usize = 1024;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name, without a path.
    pub name: Vec<u8>,
    /// Its number among the files of its kind.
    pub seq: i64,
}

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Loaded first.
    pub base: Option<FileInfo>,
    /// Loaded next, in this order; the last one grows.
    pub incrs: Vec<FileInfo>,
    /// No longer needed.
    pub history: Vec<FileInfo>,
    /// The highest number that a base has had.
    pub base_seq: i64,
    /// The highest number that an incremental file has had.
    pub incr_seq: i64,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Its line, from 1; 0 if it is about the whole file.
    pub line_number: usize,
    /// That line.
    pub line: Vec<u8>,
    /// In Redis's words.
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line_number > 0 {
            let line = self.line.escape_ascii();
            write!(f, "Reading the manifest file, at line {}: '{line}': ", self.line_number)?;
        }
        f.write_str(self.what)
    }
}

impl std::error::Error for ManifestError {}

const BAD_FORMAT: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let whole = |what| ManifestError { line_number: 0, line: Vec::new(), what };
        if text.is_empty() {
            return Err(whole("Found an empty AOF manifest"));
        }
        for (index, raw) in text.split_inclusive(|&b| b == b'\n').enumerate() {
            let fail = |what| ManifestError {
                line_number: index + 1,
                line: raw.trim_ascii_end()[..raw.trim_ascii_end().len().min(LINE_MAX)].to_vec(),
                what,
            };
            if raw.first() == Some(&b'#') {
                continue;
            }
            if raw.len() > LINE_MAX || raw.last() != Some(&b'\n') {
                return Err(fail("The AOF manifest file contains too long line"));
            }
            let line = raw.trim_ascii();
            if line.is_empty() {
                return Err(fail(BAD_FORMAT));
            }
            manifest.take_line(line).map_err(fail)?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = split_args(line).map_err(|_| BAD_FORMAT)?;
        if words.len() < 6 || words.len() % 2 == 1 {
            return Err(BAD_FORMAT);
        }
        let (mut name, mut seq, mut kind) = (None, 0, 0);
        for pair in words.chunks_exact(2) {
            let (word, value) = (&pair[0], &pair[1]);
            if word.eq_ignore_ascii_case(b"file") {
                if value.contains(&b'/') || value.contains(&b'\\') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.clone());
            } else if word.eq_ignore_ascii_case(b"seq") {
                seq = stdx::parse_i64(value).ok_or(BAD_FORMAT)?;
            } else if word.eq_ignore_ascii_case(b"type") {
                kind = value.first().copied().unwrap_or(0);
            }
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Err(BAD_FORMAT) };
        if seq == 0 || kind == 0 {
            return Err(BAD_FORMAT);
        }
        let info = FileInfo { name, seq };
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = seq;
                self.base = Some(info);
            }
            b'h' => self.history.push(info),
            b'i' if seq <= self.incrs.last().map_or(0, |last| last.seq) => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.incr_seq = seq;
                self.incrs.push(info);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line = |info: &FileInfo, kind: char| {
            out.extend_from_slice(b"file ");
            if needs_quotes(&info.name) {
                out.extend_from_slice(quote(&info.name).as_bytes());
            } else {
                out.extend_from_slice(&info.name);
            }
            out.extend_from_slice(format!(" seq {} type {kind}\n", info.seq).as_bytes());
        };
        self.base.iter().for_each(|info| line(info, 'b'));
        self.history.iter().for_each(|info| line(info, 'h'));
        self.incrs.iter().for_each(|info| line(info, 'i'));
        out
    }

    /// True if nothing is to be loaded.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// The files to be loaded, in order.
    pub fn files(&self) -> impl Iterator<Item = &FileInfo> {
        self.base.iter().chain(&self.incrs)
    }

    /// A new base takes the place of the old one, and of the incremental files but the last `keep`.
    /// Returns it.
    pub fn replace_base(&mut self, filename: &[u8], rdb: bool, keep: usize) -> FileInfo {
        self.base_seq = self.base_seq.saturating_add(1);
        let kind = if rdb { ".base.rdb" } else { ".base.aof" };
        let info = named(filename, self.base_seq, kind);
        self.history.extend(self.base.replace(info.clone()));
        let old = self.incrs.len().saturating_sub(keep);
        self.history.extend(self.incrs.drain(..old));
        info
    }

    /// What the next incremental file is to be called.
    pub fn next_incr(&self, filename: &[u8]) -> FileInfo {
        named(filename, self.incr_seq.saturating_add(1), ".incr.aof")
    }

    /// Another incremental file, which grows from now on.
    pub fn push_incr(&mut self, info: FileInfo) {
        self.incr_seq = info.seq;
        self.incrs.push(info);
    }
}

fn named(filename: &[u8], seq: i64, kind: &str) -> FileInfo {
    let name = [filename, format!(".{seq}{kind}").as_bytes()].concat();
    FileInfo { name, seq }
}

/// Source: redis 7.0 `sds.c:sdsneedsrepr`.
fn needs_quotes(name: &[u8]) -> bool {
    name.is_empty()
        || name.iter().any(|&b| matches!(b, b'\\' | b'"' | b'\'') || !b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut manifest = Manifest::default();
        assert!(manifest.is_empty());
        manifest.replace_base(b"a b.aof", true, 0);
        let incr = manifest.next_incr(b"a b.aof");
        manifest.push_incr(incr);
        let text = manifest.to_bytes();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "file \"a b.aof.1.base.rdb\" seq 1 type b\nfile \"a b.aof.1.incr.aof\" seq 1 type i\n"
        );
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
        let incr = manifest.next_incr(b"x");
        manifest.push_incr(incr);
        manifest.replace_base(b"x", false, 1);
        assert_eq!(manifest.incrs, [FileInfo { name: b"x.2.incr.aof".to_vec(), seq: 2 }]);
        assert_eq!(manifest.history.len(), 2);
        let text = manifest.to_bytes();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    }

    #[test]
    fn what_redis_refuses_is_refused_in_its_words() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1100));
        for (text, what) in [
            ("", "Found an empty AOF manifest"),
            ("\n", BAD_FORMAT),
            ("file a seq 1\n", BAD_FORMAT),
            ("file a seq 1 type\n", BAD_FORMAT),
            ("file a seq 1 type b extra\n", BAD_FORMAT),
            ("file a seq 0 type b\n", BAD_FORMAT),
            ("file \"a seq 1 type b\n", BAD_FORMAT),
            ("file a seq 1 type z\n", "Unknown AOF file type"),
            ("file d/a seq 1 type b\n", "File can't be a path, just a filename"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq 1 type b", "The AOF manifest file contains too long line"),
            (&long, "The AOF manifest file contains too long line"),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().what, what, "{text}");
        }
        let fine =
            "# a comment\nfile a seq 3 type b new word\nfile h seq 1 type h\nfile i seq 9 type i\n";
        let manifest = Manifest::parse(fine.as_bytes()).unwrap();
        assert_eq!((manifest.base_seq, manifest.incr_seq, manifest.history.len()), (3, 9, 1));
    }
}
