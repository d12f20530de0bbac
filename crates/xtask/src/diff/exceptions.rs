//! Differences from redis-server 7.0.15 that are on purpose: rows of `tests/exceptions.tsv`, each with its source.

use anyhow::{Result, bail};

use crate::wire::{Value, render};

/// One row: for a command, what the first and the second server may answer.
pub struct Exception {
    command: String,
    rule: Rule,
    line: usize,
    used: u64,
}

enum Rule {
    /// Both replies, as the report prints them, match these patterns (`*` stands for anything).
    Patterns(String, String),
    /// The replies are equal once every number with a fraction is read as a double.
    Doubles,
}

/// All rows, with counts of their use.
pub struct Exceptions {
    rows: Vec<Exception>,
}

impl Exceptions {
    /// Reads the table; an error names its line.
    pub fn parse(text: &str) -> Result<Exceptions> {
        let mut rows = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let columns: Vec<&str> = line.split('\t').collect();
            let [command, rule, a, b, source] = columns[..] else {
                bail!("exceptions, line {}: {} columns instead of 5", at + 1, columns.len());
            };
            if source.trim().is_empty() {
                bail!("exceptions, line {}: no source", at + 1);
            }
            let rule = match rule {
                "patterns" => Rule::Patterns(a.to_owned(), b.to_owned()),
                "doubles" => Rule::Doubles,
                other => bail!("exceptions, line {}: unknown rule {other:?}", at + 1),
            };
            rows.push(Exception { command: command.to_lowercase(), rule, line: at + 1, used: 0 });
        }
        Ok(Exceptions { rows })
    }

    /// True when a row allows this difference; counts its use. `command` holds the words of the command.
    pub fn allow(&mut self, command: &[Vec<u8>], a: &Value, b: &Value) -> bool {
        let words: Vec<String> = command
            .iter()
            .take(2)
            .map(|word| String::from_utf8_lossy(word).to_lowercase())
            .collect();
        let (first, both) = (words.first().cloned().unwrap_or_default(), words.join(" "));
        let (shown_a, shown_b) = (render(a, 4000), render(b, 4000));
        for row in &mut self.rows {
            if row.command != "*" && row.command != first && row.command != both {
                continue;
            }
            let fits = match &row.rule {
                Rule::Patterns(left, right) => {
                    matches(left.as_bytes(), shown_a.as_bytes())
                        && matches(right.as_bytes(), shown_b.as_bytes())
                }
                Rule::Doubles => same_doubles(a, b),
            };
            if fits {
                row.used += 1;
                return true;
            }
        }
        false
    }

    /// How often each row was used, for the report.
    pub fn summary(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter(|row| row.used > 0)
            .map(|row| format!("line {} ({}): {} times", row.line, row.command, row.used))
            .collect()
    }
}

/// Equal up to the way in which numbers are written.
fn same_doubles(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Value::Array(a), Value::Array(b)) | (Value::Set(a), Value::Set(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_doubles(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| same_doubles(&a.0, &b.0) && same_doubles(&a.1, &b.1))
        }
        (Value::Double(a), Value::Double(b)) | (Value::Bulk(a), Value::Bulk(b)) => {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<f64>().ok();
            match (number(a), number(b)) {
                (Some(a), Some(b)) => a.to_bits() == b.to_bits(),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Glob match with `*` only.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&[u8]> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        if part.is_empty() {
            continue;
        }
        match rest.windows(part.len()).position(|window| window == *part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Exceptions, matches};
    use crate::wire::Value;

    #[test]
    fn patterns() {
        assert!(matches(b"a*c", b"abbc") && matches(b"*", b"") && matches(b"a*b*c", b"axbxc"));
        assert!(!matches(b"a*c", b"ab") && !matches(b"", b"a") && !matches(b"a*b*c", b"acb"));
    }

    #[test]
    fn a_row_allows_its_command_only() {
        let text = "object encoding\tpatterns\t\"hashtable\"\t\"listpack\"\tRedis 7.2 notes\n\
                    zscore\tdoubles\t\t\tRedis 7.2 notes\n";
        let mut rows = Exceptions::parse(text).unwrap();
        let words =
            |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        assert!(rows.allow(&words("OBJECT encoding k"), &bulk("hashtable"), &bulk("listpack")));
        assert!(!rows.allow(&words("OBJECT encoding k"), &bulk("listpack"), &bulk("hashtable")));
        assert!(!rows.allow(&words("get encoding"), &bulk("hashtable"), &bulk("listpack")));
        assert!(rows.allow(&words("ZSCORE z a"), &bulk("0.10000000000000001"), &bulk("0.1")));
        assert!(!rows.allow(&words("ZSCORE z a"), &bulk("0.1"), &bulk("0.2")));
        assert_eq!(rows.summary().len(), 2);
    }
}
