//! The clients of a master that has handed its role over: their held commands are carried to the
//! new master, its replies back, and then they go.
//!
//! A client that lost its connection with a command under way would have to report an error, as
//! nobody can know whether the command was run. These were not run: so they are, where the master is
//! now. One short-lived thread per worker and round does it, over one connection, with the login of
//! replication; so only commands of users who may do anything are carried, and none that block. All
//! others just lose their connection, as they do at every failover.

use super::EventLoop;
use crate::io::conn::{Conn, Flush, Script};
use crate::os::net::TcpStream;
use crate::os::time::Duration;
use node::{ClientKind, Message, Node};
use replication::Position;
use resp::{OwnedArgs, Protocol, ReplyParser};
use std::io::{Read, Write};
use std::net::ToSocketAddrs;

/// How long the new master may take to be reached, and then for each command.
const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_millis(1500);

/// The commands of one client; the reply to the last one is the client's.
struct Job {
    client: u64,
    ticket: u64,
    db: usize,
    protocol: Protocol,
    commands: Vec<OwnedArgs>,
}

impl EventLoop {
    /// Carries held commands to the new master; with `leaving` their clients go afterwards.
    pub(super) fn forward_held(&mut self, leaving: bool) {
        let node = self.node();
        let Some((host, port)) = target(&node) else { return };
        self.queue_held();
        let mut jobs = Vec::new();
        for (_, conn) in &mut self.conns {
            let Some(args) = &conn.held else { continue };
            let session = &mut conn.session;
            let Some((ticket, commands)) = node.carry_off(session, args) else { continue };
            conn.held = None;
            conn.forwarded = Some(ticket);
            conn.leaving = leaving;
            let (client, db, protocol) = (session.id(), session.db, session.protocol);
            jobs.push(Job { client, ticket, db, protocol, commands });
        }
        if jobs.is_empty() {
            return;
        }
        let worker = self.worker.index;
        let spawned = crate::os::thread::Builder::new().name("forward".into()).spawn({
            let node = self.node();
            move || carry(&node, worker, &host, port, &jobs)
        });
        if let Err(error) = spawned {
            // Their clients are cut off in a moment, as all others.
            crate::log::write(crate::log::WARNING, &format!("starting a thread: {error}"));
        }
    }

    /// Held commands inside MULTI are queued, as they are carried with their EXEC.
    fn queue_held(&mut self) {
        let node = self.node();
        let held = self.conns.iter().filter(|(_, c)| c.held.is_some() && c.session.multi.is_some());
        let held: Vec<usize> = held.map(|(at, _)| at).collect();
        for at in held {
            while let Some(conn) = self.conns.get_mut(at)
                && let Some(args) = conn.held.take()
            {
                if !node.queue_held(&mut conn.session, &args) {
                    conn.held = Some(args);
                    break;
                }
                if conn.send(b"+QUEUED\r\n") == Flush::Broken {
                    self.close(at);
                    break;
                }
                self.go_on(at);
            }
        }
    }

    /// All clients go with their next reply; those that listen or block, at once.
    pub(super) fn clients_leave(&mut self) {
        self.forward_held(true);
        let mut victims = Vec::new();
        for (at, conn) in &mut self.conns {
            if !is_client(conn) {
                continue;
            }
            conn.leaving = true;
            let waits = conn.session.waiting.as_ref().map(|waiting| waiting.ticket);
            let blocks = waits.is_some() && waits != conn.forwarded;
            if blocks || conn.session.subscriptions() > 0 || conn.session.is_monitor {
                victims.push(at);
            }
        }
        self.end(victims);
    }

    /// All clients go that are still here, and have been told to.
    pub(super) fn cut_clients(&mut self) {
        self.forward_held(true);
        let mut victims = Vec::new();
        for (at, conn) in &mut self.conns {
            let waits = conn.session.waiting.as_ref().map(|waiting| waiting.ticket);
            // Who waits for a reply from the new master goes when it has it.
            if is_client(conn) && conn.leaving && (waits.is_none() || waits != conn.forwarded) {
                victims.push(at);
            }
        }
        self.end(victims);
    }

    /// Closes connections, after their output if they have any.
    fn end(&mut self, victims: Vec<usize>) {
        for at in victims {
            let conn = &mut self.conns[at];
            conn.closing = true;
            if conn.session.waiting.is_some() || conn.pending_output() == 0 {
                self.close(at);
            }
        }
    }
}

/// An ordinary client or a listener, and no sentinel.
fn is_client(conn: &Conn) -> bool {
    let info = &conn.session.info;
    let name = info.names.lock().map(|names| names.name.clone()).unwrap_or_default();
    matches!(info.kind(), ClientKind::Normal | ClientKind::Pubsub)
        && !node::is_sentinel(&name)
        && !matches!(conn.script, Script::Runs)
}

/// Where the master is now, if that can be spoken to without encryption.
fn target(node: &Node) -> Option<(String, u16)> {
    if !node.is_replica() || node.settings.load().config.tls_replication {
        return None;
    }
    let link = node.repl.link();
    link.master().map(|(host, port)| (host.to_owned(), port))
}

/// Runs the commands at the new master. Whoever cannot be answered is closed.
fn carry(node: &Node, worker: usize, host: &str, port: u16, jobs: &[Job]) {
    let Some(mailbox) = node.mailboxes.get(worker) else { return };
    let mut far = Far::connect(node, host, port);
    for job in jobs {
        let answer = match &mut far {
            Ok(far) => far.run(job),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        };
        match answer {
            Ok(bytes) => mailbox.send(Message::Unblock {
                client: job.client,
                ticket: job.ticket,
                bytes,
                position: Position::START,
            }),
            Err(error) => {
                mailbox.send(Message::Close { client: job.client, flush: false });
                far = Err(error);
            }
        }
    }
}

/// The connection to the new master.
struct Far {
    tcp: TcpStream,
    buffer: Vec<u8>,
    db: usize,
    protocol: Protocol,
}

impl Far {
    fn connect(node: &Node, host: &str, port: u16) -> std::io::Result<Far> {
        let mut last = std::io::Error::other("the name has no address");
        let mut found = None;
        for addr in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&addr, CONNECT) {
                Ok(tcp) => {
                    found = Some(tcp);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(tcp) = found else { return Err(last) };
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(ANSWER))?;
        tcp.set_write_timeout(Some(ANSWER))?;
        let mut far = Far { tcp, buffer: Vec::new(), db: 0, protocol: Protocol::Resp2 };
        let settings = node.settings.load();
        let password = settings.config.masterauth.non_empty().map(<[u8]>::to_vec);
        let user = settings.config.masteruser.non_empty().map(<[u8]>::to_vec);
        drop(settings);
        match (user, password) {
            (Some(user), Some(password)) => far.expect(&[b"AUTH", &user, &password])?,
            (None, Some(password)) => far.expect(&[b"AUTH", &password])?,
            (_, None) => {}
        }
        Ok(far)
    }

    /// A command that must not fail.
    fn expect(&mut self, words: &[&[u8]]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, words);
        self.tcp.write_all(&bytes)?;
        match self.answer()?.first() {
            Some(b'-') | None => Err(std::io::Error::other("the new master has refused")),
            Some(_) => Ok(()),
        }
    }

    fn run(&mut self, job: &Job) -> std::io::Result<Vec<u8>> {
        if job.protocol != self.protocol {
            let version: &[u8] = if job.protocol == Protocol::Resp3 { b"3" } else { b"2" };
            self.expect(&[b"HELLO", version])?;
            self.protocol = job.protocol;
        }
        if job.db != self.db {
            self.expect(&[b"SELECT", job.db.to_string().as_bytes()])?;
            self.db = job.db;
        }
        let mut bytes = Vec::new();
        for command in &job.commands {
            let args = command.as_args();
            let words: Vec<&[u8]> = (0..args.len()).map(|at| args.at(at)).collect();
            resp::encode_command(&mut bytes, &words);
        }
        self.tcp.write_all(&bytes)?;
        let mut last = Vec::new();
        for _ in &job.commands {
            last = self.answer()?;
        }
        Ok(last)
    }

    /// The next reply, as it came.
    fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        let mut chunk = vec![0; 16 * 1024];
        let mut parser = ReplyParser::new();
        parser.feed(&self.buffer);
        loop {
            let broken = |_| std::io::Error::other("that is no reply");
            if parser.next().map_err(broken)?.is_some() {
                let rest = parser.pending().len();
                let reply = self.buffer.drain(..self.buffer.len() - rest).collect();
                return Ok(reply);
            }
            let read = self.tcp.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..read]);
            parser.feed(&chunk[..read]);
        }
    }
}
