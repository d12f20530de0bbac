//! A conversation with one server: connecting, what the connection remembers (database,
//! transaction), sending a command and printing what comes back.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::link::{Link, error_text, is_called_off, no_connection};
use super::options::{Form, Options};
use super::render;

/// At a prompt, a command that took at least this long is followed by its time.
const SLOW: Duration = Duration::from_millis(500);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer was printed; true if it was an error.
    Answered(bool),
    /// No answer: not connected, or the link broke. The reason has been printed.
    NoAnswer,
    /// Another node of the cluster has to be asked. Never leaves [`Session::run`].
    Redirected(Redirection),
    /// What came is not RESP; the link is of no use and another one would not help.
    Garbage,
}

/// Where a MOVED or ASK error points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    slot: u16,
    /// Empty: the host that answered.
    host: String,
    port: u16,
    asking: bool,
}

/// More redirections of one command than this are a loop.
const REDIRECTIONS_MAX: usize = 64;

/// See the module's head.
pub struct Session {
    options: Options,
    link: Option<Link>,
    /// Set by Ctrl-C at a prompt; ends the wait for a reply.
    call_off: Arc<AtomicBool>,
    raw: bool,
    show_pushes: bool,
    /// A prompt or standard input: many commands, and a lost link is made anew.
    many: bool,
    db: i64,
    /// The database that a SELECT queued in the open transaction asks for.
    queued_db: Option<i64>,
    in_multi: bool,
}

impl Session {
    /// A conversation that has not begun; `many` if more than one command will follow.
    pub fn new(options: Options, many: bool, call_off: Arc<AtomicBool>) -> Session {
        let is_terminal = io::stdout().is_terminal();
        Session {
            raw: options.raw.unwrap_or(!is_terminal),
            show_pushes: options.show_pushes.unwrap_or(is_terminal),
            db: options.db,
            options,
            link: None,
            call_off,
            many,
            queued_db: None,
            in_multi: false,
        }
    }

    /// Connects to another address from now on.
    pub fn set_address(&mut self, host: String, port: u16) {
        self.options.host = host;
        self.options.port = port;
        self.options.socket = None;
        self.link = None;
    }

    /// What stands before the cursor.
    pub fn prompt(&self) -> String {
        if self.link.is_none() {
            return "not connected> ".into();
        }
        let place = match &self.options.socket {
            Some(path) => format!("redis {}", path.to_string_lossy()),
            None if self.options.host.contains(':') => {
                format!("[{}]:{}", self.options.host, self.options.port)
            }
            None => format!("{}:{}", self.options.host, self.options.port),
        };
        let db = if self.db == 0 { String::new() } else { format!("[{}]", self.db) };
        let multi = if self.in_multi { "(TX)" } else { "" };
        format!("{place}{db}{multi}> ")
    }

    /// Connects, authenticates, selects the database and the protocol. False, with the reason
    /// printed, if there is no connection; a refused AUTH, SELECT or HELLO is only printed, as the
    /// commands that follow may work all the same.
    pub fn connect(&mut self) -> bool {
        self.link = None;
        self.in_multi = false;
        self.queued_db = None;
        self.call_off.store(false, Ordering::Relaxed);
        match Link::connect(&self.options, self.call_off.clone()) {
            Ok(link) => self.link = Some(link),
            Err(error) => {
                eprintln!("{}", no_connection(&self.options, &error));
                if io::stderr().is_terminal() {
                    eprintln!(
                        "No server answers there. -h and -p name another address; `redoubt up` \
                         starts servers on this machine, `redoubt status` lists those it has \
                         started."
                    );
                }
                return false;
            }
        }
        match self.greet() {
            Ok(()) => true,
            Err(error) => {
                eprintln!("Error: {}", read_error_text(&error));
                self.link = None;
                false
            }
        }
    }

    fn greet(&mut self) -> io::Result<()> {
        if let Some(password) = self.options.password.clone() {
            let mut words = vec![b"AUTH".to_vec()];
            words.extend(self.options.user.clone());
            words.push(password);
            if let Answer::Error(text) = self.ask(&words)? {
                eprintln!("AUTH failed: {}", String::from_utf8_lossy(&text));
            }
        }
        if self.db != 0 {
            let words = [b"SELECT".to_vec(), self.db.to_string().into_bytes()];
            if let Answer::Error(text) = self.ask(&words)? {
                eprintln!("SELECT {} failed: {}", self.db, String::from_utf8_lossy(&text));
                self.db = 0;
            }
        }
        if self.options.protocol == Some(3)
            && let Answer::Error(text) = self.ask(&[b"HELLO".to_vec(), b"3".to_vec()])?
        {
            eprintln!("HELLO 3 failed: {}", String::from_utf8_lossy(&text));
        }
        Ok(())
    }

    /// Sends and waits for the reply; messages that come first are dropped.
    fn ask(&mut self, words: &[Vec<u8>]) -> io::Result<Answer> {
        let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        link.send(words)?;
        loop {
            let answer = link.receive()?;
            if !answer.is_push() {
                return Ok(answer);
            }
        }
    }

    /// What the server says of its commands; nothing if it does not say.
    pub fn docs(&mut self) -> Option<Answer> {
        self.link.as_ref()?;
        let answer = self.ask(&[b"COMMAND".to_vec(), b"DOCS".to_vec()]);
        match answer {
            Ok(answer) if !answer.is_error() => Some(answer),
            Ok(_) => None,
            Err(_) => {
                // The next command makes a new one.
                self.link = None;
                None
            }
        }
    }

    /// Runs one command and prints what it answers, at the node of the cluster that has the key if
    /// redirections are followed. The error is one of standard output.
    pub fn run(&mut self, words: &[Vec<u8>]) -> io::Result<Outcome> {
        let mut outcome = self.run_here(words)?;
        for _ in 0..REDIRECTIONS_MAX {
            let Outcome::Redirected(target) = outcome else { return Ok(outcome) };
            let host = match target.host.as_str() {
                "" => self.options.host.clone(),
                host => host.to_owned(),
            };
            if self.many {
                let slot = target.slot;
                let line =
                    format!("-> Redirected to slot [{slot}] located at {host}:{}\n", target.port);
                emit(line.as_bytes())?;
            }
            self.set_address(host, target.port);
            if !self.connect() {
                return Ok(Outcome::NoAnswer);
            }
            if target.asking && self.ask(&[b"ASKING".to_vec()]).is_err() {
                return Ok(Outcome::NoAnswer);
            }
            outcome = self.run_here(words)?;
        }
        eprintln!("Error: redirected too often");
        Ok(Outcome::NoAnswer)
    }

    fn redirection(&self, answer: &Answer) -> Option<Redirection> {
        let Answer::Error(text) = answer else { return None };
        if !self.options.cluster {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        let asking = match words.next()? {
            "ASK" => true,
            "MOVED" => false,
            _ => return None,
        };
        let slot = words.next()?.parse().ok()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        Some(Redirection { slot, host: host.to_owned(), port: port.parse().ok()?, asking })
    }

    fn run_here(&mut self, words: &[Vec<u8>]) -> io::Result<Outcome> {
        let name = words.first().map(|w| w.to_ascii_lowercase()).unwrap_or_default();
        if matches!(name.as_slice(), b"sync" | b"psync") {
            eprintln!(
                "Error: {} opens a replication stream, which this client cannot show. Use \
                 MONITOR to watch commands.",
                String::from_utf8_lossy(&name)
            );
            return Ok(Outcome::NoAnswer);
        }
        if self.link.is_none() && !self.connect() {
            return Ok(Outcome::NoAnswer);
        }
        let started = Instant::now();
        let mut failure = match self.exchange(&name, words)? {
            Ok(outcome) => return self.finish(outcome, started),
            Err(error) => error,
        };
        // A prompt may have been idle while the server was restarted: one more try.
        let lost = failure.kind() != io::ErrorKind::InvalidData && !is_called_off(&failure);
        if self.many && lost && self.connect() {
            match self.exchange(&name, words)? {
                Ok(outcome) => return self.finish(outcome, started),
                Err(error) => failure = error,
            }
        }
        self.link = None;
        if is_called_off(&failure) {
            self.call_off.store(false, Ordering::Relaxed);
            self.connect();
            return Ok(Outcome::NoAnswer);
        }
        eprintln!("Error: {}", read_error_text(&failure));
        let garbage = failure.kind() == io::ErrorKind::InvalidData;
        Ok(if garbage { Outcome::Garbage } else { Outcome::NoAnswer })
    }

    fn finish(&mut self, outcome: Outcome, started: Instant) -> io::Result<Outcome> {
        let took = started.elapsed();
        if self.many && !self.raw && took >= SLOW && io::stdin().is_terminal() {
            emit(format!("({:.2}s)\n", took.as_secs_f64()).as_bytes())?;
        }
        Ok(outcome)
    }

    /// One send and its replies. The outer error is one of standard output, the inner of the link.
    fn exchange(
        &mut self,
        name: &[u8],
        words: &[Vec<u8>],
    ) -> io::Result<Result<Outcome, io::Error>> {
        let Some(link) = self.link.as_mut() else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Err(error) = link.send(words) {
            return Ok(Err(error));
        }
        let streams =
            matches!(name, b"subscribe" | b"psubscribe" | b"ssubscribe") && words.len() > 1;
        if streams && (!self.raw || self.options.form.is_some()) {
            emit(b"Reading messages... (press Ctrl-C to quit)\n")?;
        }
        loop {
            let Some(link) = self.link.as_mut() else {
                return Ok(Err(io::ErrorKind::NotConnected.into()));
            };
            let answer = match link.receive() {
                Ok(answer) => answer,
                Err(error)
                    if name == b"shutdown" && error.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    self.link = None;
                    return Ok(Ok(Outcome::Answered(false)));
                }
                Err(error) => return Ok(Err(error)),
            };
            if answer.is_push() && !streams {
                if self.show_pushes {
                    emit(&render::push_message(&answer))?;
                }
                continue;
            }
            if let Some(target) = self.redirection(&answer) {
                return Ok(Ok(Outcome::Redirected(target)));
            }
            self.remember(name, words, &answer);
            self.print(words, &answer)?;
            let streams_on = streams || (name == b"monitor" && !answer.is_error());
            if !streams_on || (streams && answer.is_error()) {
                return Ok(Ok(Outcome::Answered(answer.is_error())));
            }
        }
    }

    fn print(&self, words: &[Vec<u8>], answer: &Answer) -> io::Result<()> {
        if let (Answer::Error(text), true, false) = (answer, self.options.error_exit, self.many) {
            return io::stderr().write_all(&[text, &b"\n"[..]].concat());
        }
        if render::is_plain_text(words) {
            return emit(&render::raw(answer, &self.options.delimiter));
        }
        let mut text = match self.options.form {
            Some(Form::Csv) => render::csv(answer),
            Some(Form::Json) => render::json(answer, false),
            Some(Form::QuotedJson) => render::json(answer, true),
            None if !self.raw => return emit(&render::standard(answer)),
            None => {
                let mut text = render::raw(answer, &self.options.delimiter);
                text.extend_from_slice(&self.options.reply_delimiter);
                return emit(&text);
            }
        };
        text.push(b'\n');
        emit(&text)
    }

    /// Follows what the server now holds for this connection.
    fn remember(&mut self, name: &[u8], words: &[Vec<u8>], answer: &Answer) {
        if answer.is_error() {
            if name == b"exec" {
                (self.in_multi, self.queued_db) = (false, None);
            }
            return;
        }
        let queued = answer.text() == Some(b"QUEUED");
        match name {
            b"select" if words.len() == 2 => {
                let db = stdx::parse_i64(&words[1]);
                if queued { self.queued_db = db } else { self.db = db.unwrap_or(self.db) }
            }
            b"auth" if !queued && self.db != 0 => {
                // The first AUTH may have come too late for the SELECT of the start.
                let _ = self.ask(&[b"SELECT".to_vec(), self.db.to_string().into_bytes()]);
            }
            b"multi" if !queued => self.in_multi = true,
            b"exec" => {
                self.in_multi = false;
                let db = self.queued_db.take();
                if *answer != Answer::Nil {
                    self.db = db.unwrap_or(self.db);
                }
            }
            b"discard" => (self.in_multi, self.queued_db) = (false, None),
            b"reset" => (self.in_multi, self.queued_db, self.db) = (false, None, 0),
            b"quit" => self.link = None,
            _ => {}
        }
    }
}

fn read_error_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "Server closed the connection".into(),
        _ => error_text(error),
    }
}

/// Writes to standard output at once.
pub fn emit(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
