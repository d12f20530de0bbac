//! Applies the master's stream to a replica.
//!
//! The bytes are cut into commands, each is run as the master's, and its bytes are appended to the
//! log verbatim under the locks of what it changed, so that a snapshot never holds an effect that
//! its position does not count, or the reverse.

use crate::client::ClientInfo;
use crate::{Next, Node, Session, Worker};
use resp::{Decoded, Decoder, Limits, ProtocolError, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

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
                        let next = node.handle(worker, &mut self.session, &args, &mut self.reply);
                        if next == Next::Close {
                            // This node was promoted: what is left of the stream counts no more.
                            worker.verbatim.clear();
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
        self.log.append_applied(&worker.verbatim, selected_db as u32, worker.tenure);
        worker.verbatim.clear();
        worker.log_grew = true;
    }
}
