//! One connection for the modes that look at a server instead of running a person's commands:
//! every failure ends the program with redis-cli's words.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::answer::Answer;
use super::link::{Link, error_text, no_connection};
use super::options::Options;

/// What a mode ends with when it cannot go on: the line for standard error.
#[derive(Debug)]
pub struct Failure(pub String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(match error.kind() {
            io::ErrorKind::UnexpectedEof => "Error: Server closed the connection".into(),
            _ => format!("Error: {}", error_text(&error)),
        })
    }
}

/// A connection, authenticated and in the right database.
pub struct Tool {
    link: Link,
    call_off: Arc<AtomicBool>,
}

impl Tool {
    /// Connects. A refused AUTH or SELECT is said, and what follows may work all the same.
    pub fn connect(options: &Options) -> Result<Tool, Failure> {
        let call_off = Arc::new(AtomicBool::new(false));
        let link = Link::connect(options, call_off.clone())
            .map_err(|error| Failure(no_connection(options, &error)))?;
        let mut tool = Tool { link, call_off };
        if let Some(password) = &options.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(options.user.as_deref());
            words.push(password);
            if let Answer::Error(text) = tool.ask(&words)? {
                eprintln!("AUTH failed: {}", String::from_utf8_lossy(&text));
            }
        }
        if options.db != 0 {
            let db = options.db.to_string();
            if let Answer::Error(text) = tool.ask(&[b"SELECT", db.as_bytes()])? {
                eprintln!("SELECT {db} failed: {}", String::from_utf8_lossy(&text));
            }
        }
        if options.protocol == Some(3)
            && let Answer::Error(text) = tool.ask(&[b"HELLO", b"3"])?
        {
            eprintln!("HELLO 3 failed: {}", String::from_utf8_lossy(&text));
        }
        Ok(tool)
    }

    /// Sends one command without waiting.
    pub fn send(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
        Ok(self.link.send(&words)?)
    }

    /// The next reply; messages that come first are dropped.
    pub fn receive(&mut self) -> Result<Answer, Failure> {
        loop {
            let answer = self.link.receive()?;
            if !answer.is_push() {
                return Ok(answer);
            }
        }
    }

    /// Sends one command and waits for its reply.
    pub fn ask(&mut self, words: &[&[u8]]) -> Result<Answer, Failure> {
        self.send(words)?;
        self.receive()
    }

    /// What ends a wait for a reply when it is set.
    pub fn call_off(&self) -> Arc<AtomicBool> {
        self.call_off.clone()
    }

    /// The link alone, for a mode that speaks by itself.
    pub fn into_link(self) -> Link {
        self.link
    }
}

/// One step of SCAN: the cursor to go on with and the keys.
pub fn scan(
    tool: &mut Tool,
    options: &Options,
    cursor: &[u8],
) -> Result<(Vec<u8>, Vec<Vec<u8>>), Failure> {
    let count = options.count.map(|count| count.to_string());
    let mut words: Vec<&[u8]> = vec![b"SCAN", cursor];
    if let Some(pattern) = &options.pattern {
        words.extend([&b"MATCH"[..], pattern]);
    }
    if let Some(count) = &count {
        words.extend([&b"COUNT"[..], count.as_bytes()]);
    }
    match tool.ask(&words)? {
        Answer::Error(text) => Err(Failure(format!("ERROR: {}", String::from_utf8_lossy(&text)))),
        Answer::List(_, items) => match items.as_slice() {
            [cursor, Answer::List(_, keys)] => {
                let keys = keys.iter().filter_map(|key| key.text().map(<[u8]>::to_vec));
                Ok((cursor.text().unwrap_or(b"0").to_vec(), keys.collect()))
            }
            _ => Err(Failure("Invalid element count from SCAN!".into())),
        },
        _ => Err(Failure("Non ARRAY response from SCAN!".into())),
    }
}
