//! Running other programs: shown, checked, and their test counts read from what they print.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
}

impl Counts {
    /// One check that passed or failed as a whole.
    pub fn one(passed: bool) -> Counts {
        Counts { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    /// Both together.
    pub fn plus(self, other: Counts) -> Counts {
        Counts { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// The plain closing line.
    pub fn line(self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs a command with its output shown; an error when it fails.
pub fn must(command: &mut Command) -> Result<()> {
    println!("$ {}", words(command));
    let status = command.status().with_context(|| format!("cannot run {}", words(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", words(command));
    }
    Ok(())
}

/// Runs a test program, shows its output and adds up the counts in it; false when it exited with an error.
pub fn counted(command: &mut Command) -> Result<(Counts, bool)> {
    println!("$ {}", words(command));
    let started = Instant::now();
    // Both streams into one pipe: nextest reports on stderr.
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot run {}", words(command)))?;
    // The command keeps copies of the pipe's writing end; without them the reader sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Counts::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        println!("{text}");
        std::io::stdout().flush()?;
        if let Some(found) = read_counts(&text) {
            counts = counts.plus(found);
        }
    }
    let status = child.wait()?;
    println!("  ({:.0} s)", started.elapsed().as_secs_f64());
    Ok((counts, status.success()))
}

/// The counts in a closing line of cargo test, cargo nextest or pytest.
fn read_counts(line: &str) -> Option<Counts> {
    let line = strip_colours(line);
    // Indented, it is what a failed test has printed, which its runner counts as well.
    let own = line.starts_with("test result:");
    let line = line.trim();
    let closing = own
        || line.starts_with("Summary [")
        || (line.starts_with('=') && line.contains(" in ") && line.ends_with('='));
    if !closing {
        return None;
    }
    let before = |word: &str| -> u64 {
        let Some(at) = line.find(&format!(" {word}")) else { return 0 };
        let digits: String = line[..at]
            .chars()
            .rev()
            .take_while(char::is_ascii_digit)
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .collect();
        digits.parse().unwrap_or(0)
    };
    let errors = if line.starts_with('=') { before("error") } else { 0 };
    let counts = Counts { passed: before("passed"), failed: before("failed") + errors };
    (counts != Counts::default()).then_some(counts)
}

fn strip_colours(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(letter) = chars.next() {
        if letter == '\u{1b}' {
            for skipped in chars.by_ref() {
                if skipped == 'm' {
                    break;
                }
            }
        } else {
            out.push(letter);
        }
    }
    out
}

fn words(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Counts, read_counts};

    #[test]
    fn closing_lines() {
        let counts = |passed, failed| Some(Counts { passed, failed });
        let cases = [
            ("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured", counts(12, 0)),
            ("     Summary [   0.020s] 10 tests run: 9 passed, 1 failed, 0 skipped", counts(9, 1)),
            ("===== 3 failed, 40 passed, 1 error in 12.21s =====", counts(40, 4)),
            ("\u{1b}[32m==== \u{1b}[1m2 passed\u{1b}[0m in 0.1s ====\u{1b}[0m", counts(2, 0)),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured", None),
            ("some test has passed", None),
            ("===== short test summary info =====", None),
        ];
        for (line, expected) in cases {
            assert_eq!(read_counts(line), expected, "{line}");
        }
    }
}
