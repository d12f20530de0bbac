//! Applies the master's stream to a replica.
//!
//! The bytes are cut into commands, each is run as the master's, and its bytes are appended to the
//! log verbatim under the locks of what it changed, so that a snapshot never holds an effect that
//! its position does not count, or the reverse.

use crate::client::ClientInfo;
use crate::{Next, Node, Session, Worker};
use replication::AppliedPart;
use resp::{Args, Decoded, Decoder, Limits, ProtocolError, Reply};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Writes of the master's stream that were applied and are not in the log yet, for the append-only
/// file of this replica.
#[derive(Default)]
pub(crate) struct Applied {
    bytes: Vec<u8>,
    /// Databases before and behind, end in `bytes`.
    parts: Vec<(u32, u32, usize)>,
    /// A transaction in progress: the database in which it began, the one selected by now, and
    /// where its bytes begin.
    multi: Option<(u32, u32, usize)>,
}

impl Applied {
    /// Takes one command that is about to be run in `db`. Transactions are kept whole.
    fn note(&mut self, args: &Args<'_>, bytes: &[u8], db: usize) {
        let db = db as u32;
        if let Some((began, selected, from)) = &mut self.multi {
            self.bytes.extend_from_slice(bytes);
            if args.is(0, "select") {
                let to = args.get(1).and_then(stdx::parse_i64);
                *selected = to.and_then(|to| u32::try_from(to).ok()).unwrap_or(*selected);
            } else if args.is(0, "exec") {
                self.parts.push((*began, *selected, self.bytes.len()));
                self.multi = None;
            } else if args.is(0, "discard") {
                self.bytes.truncate(*from);
                self.multi = None;
            }
        } else if args.is(0, "multi") {
            self.multi = Some((db, db, self.bytes.len()));
            self.bytes.extend_from_slice(bytes);
        } else if is_written(args) {
            self.bytes.extend_from_slice(bytes);
            self.parts.push((db, db, self.bytes.len()));
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.parts.clear();
        self.multi = None;
    }
}

/// What is no write, and so not for the file.
fn is_written(args: &Args<'_>) -> bool {
    !["ping", "select", "replconf", "publish", "spublish"].iter().any(|name| args.is(0, name))
}

/// The master's link as a session.
pub struct StreamApplier {
    session: Session,
    decoder: Decoder,
    buffer: Vec<u8>,
    start: usize,
    reply: Reply,
    /// The master asked for an acknowledgement since this was last looked at.
    pub ack_wanted: bool,
    /// The tenure in which this link was made.
    tenure: u64,
}

impl StreamApplier {
    /// A fresh link to a master at `addr`. The stream has `db` selected.
    pub fn new(node: &Node, addr: String, now_ms: u64, worker: usize, db: usize) -> StreamApplier {
        let info = Arc::new(ClientInfo::new(
            node.clients.next_id(),
            worker,
            addr,
            String::new(),
            -1,
            false,
            now_ms,
        ));
        info.master.store(true, Relaxed);
        node.clients.add(&info);
        let mut session = Session::new(info, &node.access);
        session.authenticated = true;
        crate::lock(&session.info.names).user = b"(superuser)".to_vec();
        session.select(db);
        StreamApplier {
            session,
            decoder: Decoder::new(),
            buffer: Vec::new(),
            start: 0,
            reply: Reply::default(),
            ack_wanted: false,
            tenure: node.log.tenure(),
        }
    }

    /// The database that the stream has selected.
    pub fn selected_db(&self) -> usize {
        self.session.db
    }

    /// CLIENT KILL was said of this link: its driver has to close it.
    pub fn is_killed(&self) -> bool {
        self.session.info.killed.load(Relaxed)
    }

    /// Ends the link: a transaction that has not ended is dropped, with its bytes.
    pub fn close(self, node: &Node, worker: &mut Worker) {
        worker.verbatim.clear();
        worker.applied.clear();
        node.clients.remove(self.session.id());
    }

    /// Takes bytes of the stream and applies every whole command among them.
    pub fn feed(
        &mut self,
        node: &Node,
        worker: &mut Worker,
        bytes: &[u8],
    ) -> Result<(), ProtocolError> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
        self.session.info.last_active.store(worker.now.mono().0, Relaxed);
        worker.tenure = self.tenure;
        // The master's commands are not judged: no limit but memory.
        let limits = Limits { bulk_max: u64::MAX, authenticated: true };
        loop {
            match self.decoder.decode(&self.buffer[self.start..], &limits)? {
                Decoded::Incomplete { .. } => return Ok(()),
                Decoded::Nothing { consumed } => {
                    let bytes = &self.buffer[self.start..self.start + consumed];
                    worker.verbatim.extend_from_slice(bytes);
                    self.start += consumed;
                }
                Decoded::Request { consumed } => {
                    let bytes = &self.buffer[self.start..self.start + consumed];
                    worker.verbatim.extend_from_slice(bytes);
                    let args = self.decoder.args(bytes);
                    if args.is(0, "replconf") && args.is(1, "getack") {
                        self.ack_wanted = true;
                    } else {
                        if node.log.wants_file() {
                            worker.applied.note(&args, bytes, self.session.db);
                        }
                        let next = node.handle(worker, &mut self.session, &args, &mut self.reply);
                        if next == Next::Close {
                            // This node was promoted: what is left of the stream counts no more.
                            worker.verbatim.clear();
                            worker.applied.clear();
                            self.buffer.clear();
                            self.start = 0;
                            return Ok(());
                        }
                        check_reply(&mut self.reply, node, &args);
                    }
                    self.start += consumed;
                }
            }
            if self.session.multi.is_none() {
                node.append_verbatim(worker, self.session.db);
            }
        }
    }
}

/// Runs the commands of an append-only file, as a session that nobody judges.
pub struct FileApplier {
    session: Session,
    reply: Reply,
}

impl FileApplier {
    /// A fresh one, at the beginning of a part.
    pub fn new(node: &Node, worker: usize) -> FileApplier {
        let info = Arc::new(ClientInfo::new(
            node.clients.next_id(),
            worker,
            String::new(),
            String::new(),
            -1,
            false,
            0,
        ));
        info.master.store(true, Relaxed);
        let mut session = Session::new(info, &node.access);
        session.authenticated = true;
        FileApplier { session, reply: Reply::default() }
    }

    /// True inside a transaction that has not ended.
    pub fn in_multi(&self) -> bool {
        self.session.multi.is_some()
    }

    /// Runs one command. False if there is no such command.
    pub fn run(&mut self, node: &Node, worker: &mut Worker, args: &Args<'_>) -> bool {
        if node.find_command(args).is_none() {
            return false;
        }
        // No master's link comes in between.
        worker.tenure = node.log.tenure();
        node.handle(worker, &mut self.session, args, &mut self.reply);
        self.reply.rewind(Reply::default().mark());
        // What waits for elements gets none while a file is loaded.
        worker.ready.clear();
        self.session.waiting = None;
        true
    }
}

/// The master gets no replies; an error among them means that the data sets have parted.
fn check_reply(reply: &mut Reply, node: &Node, args: &resp::Args<'_>) {
    if reply.bytes().first() == Some(&b'-') {
        node.stats.unexpected_errors.fetch_add(1, Relaxed);
        let text = String::from_utf8_lossy(&reply.bytes()[1..]).trim_end().to_string();
        let name = String::from_utf8_lossy(args.at(0)).into_owned();
        node.host.log(
            3,
            &format!(
                "== CRITICAL == This replica is sending an error to its master: '{text}' after processing the command '{name}'"
            ),
        );
    }
    reply.rewind(Reply::default().mark());
}

impl Node {
    /// Appends the master's bytes whose commands were applied.
    pub(crate) fn append_verbatim(&self, worker: &mut Worker, selected_db: usize) {
        if worker.verbatim.is_empty() {
            return;
        }
        let mut start = 0;
        let applied: SmallVec<[AppliedPart<'_>; 4]> = worker
            .applied
            .parts
            .iter()
            .map(|&(db, db_after, end)| {
                let commands = &worker.applied.bytes[start..end];
                start = end;
                AppliedPart { db, db_after, commands }
            })
            .collect();
        self.log.append_applied(&worker.verbatim, selected_db as u32, worker.tenure, &applied);
        drop(applied);
        worker.applied.clear();
        worker.verbatim.clear();
        worker.log_grew = true;
    }
}
