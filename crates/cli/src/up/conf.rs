//! Reads and edits Redis configuration files line by line.
//!
//! Only the lines that `up` has a reason to change are touched; comments, order and everything that
//! a person or a server's CONFIG REWRITE has put there stay.

/// A configuration file in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfFile {
    lines: Vec<String>,
}

impl ConfFile {
    /// Takes the text of a file.
    pub fn parse(text: &str) -> ConfFile {
        ConfFile { lines: text.lines().map(str::to_owned).collect() }
    }

    /// The text to write.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// Adds a line as it is.
    pub fn push(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// What follows `directive` (one word or several) in its last line: the last one counts.
    pub fn get(&self, directive: &str) -> Option<Vec<String>> {
        self.lines.iter().rev().find_map(|line| rest_of(line, directive))
    }

    /// The first value of `directive`, read as a number.
    pub fn number(&self, directive: &str) -> Option<u64> {
        self.get(directive)?.first()?.parse().ok()
    }

    /// Replaces the line of `directive`, or adds it at the end. Further lines of it are removed.
    pub fn set(&mut self, directive: &str, values: &[&str]) {
        let mut text = directive.to_owned();
        for value in values {
            text.push(' ');
            text.push_str(&quoted_if_needed(value));
        }
        let first = self.lines.iter().position(|line| rest_of(line, directive).is_some());
        match first {
            Some(first) => {
                self.remove_from(first + 1, directive);
                self.lines[first] = text;
            }
            None => self.lines.push(text),
        }
    }

    /// Removes every line of `directive`.
    pub fn remove(&mut self, directive: &str) {
        self.remove_from(0, directive);
    }

    fn remove_from(&mut self, from: usize, directive: &str) {
        let mut index = 0;
        self.lines.retain(|line| {
            index += 1;
            index <= from || rest_of(line, directive).is_none()
        });
    }

    /// Lets `change` rewrite the words of every line that is not a comment.
    /// Lines for which it returns false stay as they are, blanks and quotes included.
    pub fn edit_words(&mut self, mut change: impl FnMut(&mut Vec<String>) -> bool) {
        for line in &mut self.lines {
            let Some(mut words) = words_of(line) else { continue };
            if change(&mut words) {
                *line = words.iter().map(|w| quoted_if_needed(w)).collect::<Vec<_>>().join(" ");
            }
        }
    }
}

/// The words of a line; nothing for blank lines, comments and unbalanced quotes.
fn words_of(line: &str) -> Option<Vec<String>> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let words = resp::split_args(line.as_bytes()).ok()?;
    let words: Vec<String> =
        words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
    (!words.is_empty()).then_some(words)
}

fn rest_of(line: &str, directive: &str) -> Option<Vec<String>> {
    let mut words = words_of(line)?.into_iter();
    for expected in directive.split(' ') {
        if !words.next()?.eq_ignore_ascii_case(expected) {
            return None;
        }
    }
    Some(words.collect())
}

fn quoted_if_needed(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/-+*@%,=~&#<>!|".contains(&b);
    if !word.is_empty() && !word.starts_with('#') && word.bytes().all(plain) {
        word.to_owned()
    } else {
        resp::quote(word.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_touch_their_line_only() {
        let text = "# Port of the node.\nport 6379\n\nsave  \"\"\nrequirepass \"a b\"\nport 7000\n";
        let mut conf = ConfFile::parse(text);
        assert_eq!(conf.text(), text);
        assert_eq!(conf.number("port"), Some(7000));
        assert_eq!(conf.get("REQUIREPASS").unwrap(), ["a b"]);
        conf.set("port", &["7001"]);
        conf.set("requirepass", &["q\"'\\ "]);
        conf.set("sentinel monitor mymaster", &["::1", "6379", "2"]);
        assert_eq!(
            conf.text(),
            "# Port of the node.\nport 7001\n\nsave  \"\"\nrequirepass \"q\\\"'\\\\ \"\n\
             sentinel monitor mymaster ::1 6379 2\n"
        );
        assert_eq!(conf.get("requirepass").unwrap(), ["q\"'\\ "]);
        assert_eq!(conf.get("sentinel monitor mymaster").unwrap()[1], "6379");
        assert_eq!(conf.get("sentinel monitor other"), None);
        conf.remove("sentinel");
        assert_eq!(conf.get("sentinel monitor mymaster"), None);
    }

    #[test]
    fn words_are_edited_in_place() {
        let mut conf = ConfFile::parse("# 6379\nsentinel known-replica m 127.0.0.1 6379\nx  'y'\n");
        conf.edit_words(|words| {
            let Some(word) = words.iter_mut().find(|w| *w == "6379") else { return false };
            *word = "7000".into();
            true
        });
        assert_eq!(conf.text(), "# 6379\nsentinel known-replica m 127.0.0.1 7000\nx  'y'\n");
    }
}
