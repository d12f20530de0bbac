//! Many commands: from a prompt with history, or line by line from standard input.

use std::io::{self, BufRead};
use std::path::PathBuf;

use rustyline::error::ReadlineError;

use super::hints::Hints;
use super::session::{Outcome, Session, emit};

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Line {
    Nothing,
    /// A quote is not closed.
    Unbalanced,
    /// A number before a command that is none to repeat by.
    BadRepeat,
    Quit,
    Clear,
    Help,
    Connect(String, u16),
    /// A command, and how often.
    Command(Vec<Vec<u8>>, u64),
}

fn read_line(line: &[u8]) -> Line {
    let Ok(mut words) = resp::split_args(line) else { return Line::Unbalanced };
    let Some(first) = words.first() else { return Line::Nothing };
    let word = |index: usize| words.get(index).map(|w| String::from_utf8_lossy(w).into_owned());
    match first.to_ascii_lowercase().as_slice() {
        b"quit" | b"exit" if words.len() == 1 => Line::Quit,
        b"clear" if words.len() == 1 => Line::Clear,
        b"help" | b"?" => Line::Help,
        b"connect" if words.len() == 3 => match word(2).and_then(|port| port.parse().ok()) {
            Some(port) => Line::Connect(word(1).unwrap_or_default(), port),
            None => Line::Command(words, 1),
        },
        _ if words.len() > 1 && is_integer(first) => {
            match word(0).and_then(|times| times.parse::<i64>().ok()) {
                Some(times) if times > 0 => {
                    words.remove(0);
                    Line::Command(words, times.unsigned_abs())
                }
                _ => Line::BadRepeat,
            }
        }
        _ => Line::Command(words, 1),
    }
}

fn is_integer(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// True for lines that hold a password: they are not kept.
fn is_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    first == "auth"
        || (first == "acl" && line.contains("setuser"))
        || (matches!(first, "hello" | "migrate") && line.contains("auth"))
        || (matches!(first, "config" | "sentinel")
            && (line.contains("pass") || line.contains("auth")))
}

const HELP: &str = "\
Type a command of the server and its arguments, as in: set greeting \"hello world\"
A number before a command repeats it. Ctrl-C ends waiting for a reply.
      connect HOST PORT   talk to another server
      clear               clear the screen
      quit                leave
COMMAND DOCS name, asked of the server, explains a command.
";

/// Does what a line says; false when it is time to leave.
fn obey(session: &mut Session, line: &[u8]) -> io::Result<bool> {
    match read_line(line) {
        Line::Nothing => {}
        Line::Unbalanced => emit(b"Invalid argument(s)\n")?,
        Line::BadRepeat => emit(b"Invalid redis-cli repeat command option value.\n")?,
        Line::Quit => return Ok(false),
        Line::Clear => emit(b"\x1b[H\x1b[2J")?,
        Line::Help => emit(HELP.as_bytes())?,
        Line::Connect(host, port) => {
            session.set_address(host, port);
            session.connect();
        }
        Line::Command(words, times) => {
            for _ in 0..times {
                match session.run(&words)? {
                    Outcome::Answered(_) => {}
                    Outcome::NoAnswer | Outcome::Redirected(_) => break,
                    Outcome::Garbage => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
        }
    }
    Ok(true)
}

/// Runs the lines of standard input until it ends or says `quit`.
pub fn from_stdin(session: &mut Session) -> io::Result<()> {
    session.connect();
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 || !obey(session, &line)? {
            return Ok(());
        }
    }
}

/// Asks for lines at a terminal until `quit`, Ctrl-C or Ctrl-D.
pub fn interactive(session: &mut Session) -> io::Result<()> {
    let config =
        rustyline::Config::builder().completion_type(rustyline::CompletionType::List).build();
    let mut editor: rustyline::Editor<Hints, _> =
        rustyline::Editor::with_history(config, rustyline::history::FileHistory::new())
            .map_err(io::Error::other)?;
    let history = history_path();
    if let Some(path) = &history {
        // There is none at the first start.
        let _ = editor.load_history(path);
    }
    session.connect();
    let mut hints = Hints::built_in(std::env::var_os("NO_COLOR").is_none());
    if let Some(docs) = session.docs() {
        hints.learn(&docs);
    }
    editor.set_helper(Some(hints));
    loop {
        let line = match editor.readline(&session.prompt()) {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(io::Error::other(error)),
        };
        if !line.trim().is_empty() && !is_secret(&line) {
            let _ = editor.add_history_entry(&line);
        }
        if !obey(session, line.as_bytes())? {
            break;
        }
    }
    if let Some(path) = &history {
        // A prompt without history is still a prompt.
        let _ = editor.save_history(path);
    }
    Ok(())
}

/// REDISCLI_HISTFILE, or a file in the home folder; `/dev/null` switches history off.
fn history_path() -> Option<PathBuf> {
    let path = match std::env::var_os("REDISCLI_HISTFILE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".redoubt_cli_history"),
    };
    (path.as_os_str() != "/dev/null").then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let command =
            |line: &str, times| Line::Command(resp::split_args(line.as_bytes()).unwrap(), times);
        assert_eq!(read_line(b"  \n"), Line::Nothing);
        assert_eq!(read_line(b"set a \"x\n"), Line::Unbalanced);
        assert_eq!(read_line(b"EXIT\n"), Line::Quit);
        assert_eq!(read_line(b"3 incr a\n"), command("incr a", 3));
        assert_eq!(read_line(b"+02 incr a\n"), command("incr a", 2));
        assert_eq!(read_line(b"0 incr a"), Line::BadRepeat);
        assert_eq!(read_line(b"99999999999999999999 incr a"), Line::BadRepeat);
        assert_eq!(read_line(b"3x a"), command("3x a", 1));
        assert_eq!(read_line(b"3\n"), command("3", 1));
        assert_eq!(read_line(b"connect h 7000"), Line::Connect("h".into(), 7000));
        assert_eq!(read_line(b"connect h x"), command("connect h x", 1));
        assert_eq!(read_line(b"get quit"), command("get quit", 1));
    }

    #[test]
    fn passwords_are_not_kept() {
        for line in [
            "AUTH secret",
            " auth u secret",
            "hello 3 auth u p",
            "ACL SETUSER u >p",
            "config set requirepass x",
            "config set masterauth x",
            "sentinel set m auth-pass x",
        ] {
            assert!(is_secret(line), "{line}");
        }
        for line in ["get auth", "hello 3", "config get maxmemory", "set authx 1"] {
            assert!(!is_secret(line), "{line}");
        }
    }
}
