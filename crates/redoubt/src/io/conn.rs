//! One connection: its socket, its session, and the bytes that are on their way in or out.

use super::replica::ReplicaFeed;
use super::stream::Stream;
use node::{ClientKind, Node, OnFile, Session};
use resp::{Decoder, OwnedArgs};
use std::io::ErrorKind;

/// One connection of a worker.
pub struct Conn {
    /// The socket.
    pub stream: Stream,
    /// What the node knows of it.
    pub session: Session,
    /// Cuts requests.
    pub decoder: Decoder,
    /// Bytes of requests that have not arrived whole; empty while idle.
    pub input: Vec<u8>,
    /// Where in `input` the next request begins.
    pub input_start: usize,
    /// Replies that did not go out yet; empty while idle.
    pub output: Vec<u8>,
    /// Where in `output` sending goes on.
    pub output_start: usize,
    /// Replies that wait until the append-only file is on disk, and what comes behind them.
    pub gated: Option<Box<Gated>>,
    /// A request that has to wait for the end of CLIENT PAUSE.
    pub held: Option<OwnedArgs>,
    /// A script that is to be run next, or runs.
    pub script: Script,
    /// A replica: what it is being sent.
    pub feed: Option<Box<ReplicaFeed>>,
    /// Ends once `output` is sent.
    pub closing: bool,
    /// Bytes of it were read and wait for their turn in the worker's present round.
    pub in_round: bool,
    /// The socket may have more to read although no event will come.
    pub more_to_read: bool,
    /// It is in the worker's list of those with something to send.
    pub unsent: bool,
    /// The ticket of a command that was carried to the new master.
    pub forwarded: Option<u64>,
    /// Its command is with the new master; the connection ends when the reply is out.
    pub leaving: bool,
    /// It runs scripts, which stop its batches: requests are cut one by one.
    pub runs_scripts: bool,
    /// Bytes of the arguments of the command that waits.
    pub argv_bytes: usize,
    /// The size class in which its memory was accounted last.
    pub class: u32,
    /// Since when the output is above the soft limit, monotonic ms.
    pub over_soft_since: Option<u64>,
}

/// A request that runs a script: it has the worker's loop to itself.
#[derive(Default)]
pub enum Script {
    /// There is none.
    #[default]
    None,
    /// Waits for its turn.
    Due(OwnedArgs),
    /// Runs; the session is with it.
    Runs,
}

/// Replies at the gate.
pub struct Gated {
    /// What must be on disk.
    pub needs: OnFile,
    /// What is sent then.
    pub bytes: Vec<u8>,
}

/// What a write left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything went out.
    Done,
    /// The socket takes no more for now.
    Pending,
    /// The connection is broken.
    Broken,
}

impl Conn {
    /// A fresh connection.
    pub fn new(stream: Stream, session: Session) -> Conn {
        Conn {
            stream,
            session,
            decoder: Decoder::new(),
            input: Vec::new(),
            input_start: 0,
            output: Vec::new(),
            output_start: 0,
            gated: None,
            held: None,
            script: Script::None,
            feed: None,
            closing: false,
            in_round: false,
            more_to_read: false,
            unsent: false,
            forwarded: None,
            leaving: false,
            runs_scripts: false,
            argv_bytes: 0,
            class: 0,
            over_soft_since: None,
        }
    }

    /// Bytes that wait to be sent.
    pub fn pending_output(&self) -> usize {
        let gated = self.gated.as_ref().map_or(0, |gated| gated.bytes.len());
        self.output.len() - self.output_start + self.stream.unsent() + gated
    }

    /// Takes note of the connection's memory if it has moved to another size class. True if all
    /// connections together may be too large now.
    #[inline]
    pub fn account(&mut self, node: &Node) -> bool {
        let held = self.session.held_bytes + self.argv_bytes;
        let class = node::size_class(self.input.capacity() + self.output.capacity() + held);
        class != self.class && self.account_anew(node, class)
    }

    #[cold]
    fn account_anew(&mut self, node: &Node, class: u32) -> bool {
        self.class = class;
        self.account_now(node)
    }

    /// Takes note of the connection's memory as it is. True as [`Conn::account`].
    pub fn account_now(&self, node: &Node) -> bool {
        let [input, output, argv] =
            [self.input.capacity(), self.output.capacity(), self.argv_bytes].map(|n| n as u64);
        node.account_client(&self.session.info, input, output, argv)
    }

    /// What is sent from here on waits until this is on disk.
    pub fn hold_replies(&mut self, needs: OnFile) {
        match &mut self.gated {
            Some(gated) => gated.needs = gated.needs.max(needs),
            None => self.gated = Some(Box::new(Gated { needs, bytes: Vec::new() })),
        }
    }

    /// True while no request may be run.
    pub fn is_stopped(&self) -> bool {
        self.closing
            || self.session.waiting.is_some()
            || self.held.is_some()
            || self.gated.is_some()
            || !matches!(self.script, Script::None)
    }

    /// Sends what waits and may leave.
    pub fn flush(&mut self) -> Flush {
        while self.output_start < self.output.len() {
            match self.stream.write(&self.output[self.output_start..]) {
                Ok(0) => return Flush::Broken,
                Ok(sent) => self.output_start += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.output_start > 1 << 20 {
                        self.output.drain(..self.output_start);
                        self.output_start = 0;
                    }
                    return Flush::Pending;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
        self.output_start = 0;
        // An idle connection keeps no buffer.
        if self.output.capacity() > 0 {
            self.output = Vec::new();
        }
        match self.flush_stream() {
            Flush::Done if self.gated.is_some() => Flush::Pending,
            flushed => flushed,
        }
    }

    /// Sends what the stream itself still has: with TLS only.
    fn flush_stream(&mut self) -> Flush {
        match self.stream.flush() {
            Ok(true) => Flush::Done,
            Ok(false) => Flush::Pending,
            Err(_) => Flush::Broken,
        }
    }

    /// Sends `bytes` behind what waits already; what does not go out at once is kept.
    pub fn send(&mut self, bytes: &[u8]) -> Flush {
        if let Some(gated) = &mut self.gated {
            gated.bytes.extend_from_slice(bytes);
            return Flush::Pending;
        }
        if self.output_start < self.output.len() {
            self.output.extend_from_slice(bytes);
            return self.flush();
        }
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return Flush::Broken,
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.output.clear();
                    self.output_start = 0;
                    self.output.extend_from_slice(&bytes[sent..]);
                    return Flush::Pending;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
        if self.stream.unsent() > 0 { Flush::Pending } else { Flush::Done }
    }

    /// True if the output is beyond what this kind of client may have waiting.
    /// Source: redis 7.0 `networking.c:checkClientOutputBufferLimits`.
    pub fn over_limit(&mut self, config: &config::Config, now_ms: u64) -> bool {
        let waiting = self.pending_output() as u64;
        let limits = &config.client_output_buffer_limit;
        let limit = match self.session.info.kind() {
            ClientKind::Normal => limits.normal,
            ClientKind::Pubsub => limits.pubsub,
            // A replica's backlog of work is measured on the log, by the replication machine.
            ClientKind::Replica | ClientKind::Master => return false,
        };
        if limit.hard_bytes > 0 && waiting > limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
            self.over_soft_since = None;
            return false;
        }
        let since = *self.over_soft_since.get_or_insert(now_ms);
        now_ms.saturating_sub(since) > limit.soft_secs * 1000
    }
}
