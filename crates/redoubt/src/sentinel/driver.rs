//! The driver's loop: brings the machine what has happened, carries out what it wants done.
//!
//! It never waits for anything but events: names, the disk and scripts have helpers, which leave
//! their news in a channel and wake it. Outputs are carried out one by one in the machine's order;
//! what a step brings about at once (a connection refused on the spot) is kept as an event of its
//! own, so that the machine is never called from within its own outputs.

use super::brain::Brain;
use super::disk::Disk;
use super::links::{Links, Seen, conn_of};
use super::names::Names;
use super::scripts::Scripts;
use mio::{Events, Poll, Token, Waker};
use sentinel::{ConnId, ConnectError, Input, LogLevel, Output, PersistToken};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// Token of the waker; connections have their numbers, which begin with 1.
pub const WAKE: Token = Token(0);
/// Bytes that one read takes.
const READ_BYTES: usize = 64 * 1024;
/// Reads of one connection before the others get their turn.
const READS_PER_TURN: usize = 16;

/// What a helper has brought about.
pub enum News {
    /// A text is in the file, or could not be written.
    Written(PersistToken, Result<(), String>),
    /// The address of a name, if it has one.
    Resolved(String, Option<IpAddr>),
    /// A child process may have ended.
    ChildEnded,
}

/// What an output has brought about at once.
enum Happened {
    Refused(ConnId, ConnectError),
    Look(ConnId),
    ScriptStarted(sentinel::ScriptId, Option<i64>),
}

/// The driver.
pub struct Driver {
    brain: Arc<Brain>,
    poll: Poll,
    waker: Arc<Waker>,
    disk: Arc<Disk>,
    news: Receiver<News>,
    news_sender: Sender<News>,
    source: Option<IpAddr>,
    links: Links,
    names: Names,
    scripts: Scripts,
    happened: VecDeque<Happened>,
    buffer: Vec<u8>,
}

impl Driver {
    /// A driver with its own poll; `waker` is the poll's, `news` the channel that helpers write to.
    pub fn new(
        brain: Arc<Brain>,
        poll: Poll,
        waker: Arc<Waker>,
        disk: Arc<Disk>,
        news: (Sender<News>, Receiver<News>),
        source: Option<IpAddr>,
        links: Links,
    ) -> Driver {
        Driver {
            brain,
            poll,
            waker,
            disk,
            news: news.1,
            news_sender: news.0,
            source,
            links,
            names: Names::default(),
            scripts: Scripts::default(),
            happened: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Runs until the process ends.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            self.carry_out();
            // Turns that were cut short go on without waiting.
            let wait = if self.happened.is_empty() { self.time_left() } else { Duration::ZERO };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                panic!("epoll_wait failed: {error}");
            }
            for _ in 0..self.happened.len() {
                self.take_happened();
            }
            for event in &events {
                if event.token() == WAKE {
                    continue;
                }
                let conn = conn_of(event.token());
                if event.is_writable() {
                    self.links.flush(conn);
                }
                self.look(conn);
            }
            while let Ok(news) = self.news.try_recv() {
                self.take_news(news);
            }
            self.carry_out();
            self.brain.timeout();
        }
    }

    fn time_left(&self) -> Duration {
        let until = self.brain.next_timeout();
        Duration::from_millis(until.since(self.brain.now().mono))
    }

    fn input(&mut self, input: Input<'_>) {
        self.brain.input(input);
        self.carry_out();
    }

    // ---- what happens --------------------------------------------------------------------

    fn take_happened(&mut self) {
        match self.happened.pop_front() {
            None => {}
            Some(Happened::Refused(conn, error)) => {
                self.input(Input::ConnectFailed { conn, error })
            }
            Some(Happened::Look(conn)) => self.look(conn),
            Some(Happened::ScriptStarted(id, Some(pid))) => {
                self.input(Input::ScriptStarted { id, pid })
            }
            Some(Happened::ScriptStarted(id, None)) => self.input(Input::ScriptNotStarted { id }),
        }
    }

    fn look(&mut self, conn: ConnId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut turns = READS_PER_TURN;
        while self.links.has(conn) {
            if turns == 0 {
                self.happened.push_back(Happened::Look(conn));
                break;
            }
            turns -= 1;
            match self.links.look(self.poll.registry(), conn, &mut buffer) {
                Seen::Nothing => break,
                Seen::Connected(local) => self.input(Input::Connected { conn, local }),
                Seen::Failed(error) => self.input(Input::ConnectFailed { conn, error }),
                Seen::Bytes(n) => self.input(Input::Received { conn, bytes: &buffer[..n] }),
                Seen::Closed(how) => self.input(Input::Closed { conn, how }),
            }
        }
        self.buffer = buffer;
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Written(token, Ok(())) => self.input(Input::Persisted { token }),
            News::Written(token, Err(error)) => {
                self.input(Input::PersistFailed { token, error: &error })
            }
            News::Resolved(host, addr) => {
                self.names.done(&host, &self.news_sender, &self.waker);
                self.input(Input::Resolved { host: &host, addr });
            }
            News::ChildEnded => {
                for (id, exit) in self.scripts.ended() {
                    self.input(Input::ScriptExited { id, exit });
                }
            }
        }
    }

    // ---- what is to be done --------------------------------------------------------------

    fn carry_out(&mut self) {
        while let Some(output) = self.brain.next_output() {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Connect { conn, addr, .. } => {
                if let Err(error) =
                    self.links.connect(self.poll.registry(), conn, addr, self.source)
                {
                    self.happened.push_back(Happened::Refused(conn, error));
                }
            }
            Output::Send { conn, bytes } => {
                if self.links.send(conn, &bytes) {
                    self.happened.push_back(Happened::Look(conn));
                }
            }
            Output::Close { conn } => {
                self.links.close(self.poll.registry(), conn);
                self.happened.retain(|h| !matches!(h, Happened::Refused(c, _) if *c == conn));
            }
            Output::Persist { token, text } => self.disk.write(token, text),
            Output::Publish { channel, payload, views } => {
                self.brain.publish(&channel, &payload, &views);
            }
            Output::Log { level, line } => crate::log::write(log_level(level), &line),
            Output::RunScript { id, argv } => {
                let pid = self.scripts.start(id, &argv);
                self.happened.push_back(Happened::ScriptStarted(id, pid));
            }
            Output::KillScript { id } => self.scripts.kill(id),
            Output::Resolve { host } => self.names.resolve(host, &self.news_sender, &self.waker),
            Output::Exit { status } => {
                crate::log::flush();
                std::process::exit(status);
            }
        }
    }
}

fn log_level(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => crate::log::DEBUG,
        LogLevel::Verbose => crate::log::VERBOSE,
        LogLevel::Notice => crate::log::NOTICE,
        LogLevel::Warning => crate::log::WARNING,
    }
}
