//! How a worker, or a job, reaches connections that another worker owns.
//!
//! A message names the connection; the worker that owns it acts when its loop comes round. Messages
//! of one sender to one connection stay in order.

use replication::Position;
use resp::OwnedArgs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a worker is asked to do for one of its connections.
#[derive(Debug)]
pub enum Message {
    /// Send these bytes (a published message, a keyspace event, a MONITOR line).
    Push {
        /// The connection.
        client: u64,
        /// Encoded for its protocol version.
        bytes: Vec<u8>,
    },
    /// Send the same bytes to several connections.
    PushAll {
        /// The connections.
        clients: Vec<u64>,
        /// Encoded for the protocol version that all of them speak.
        bytes: Arc<[u8]>,
    },
    /// The connection was blocked and this is the answer; it goes on with its next command.
    Unblock {
        /// The connection.
        client: u64,
        /// What it waited for.
        ticket: u64,
        /// Its reply.
        bytes: Vec<u8>,
        /// Log position of what it was served with.
        position: Position,
    },
    /// Close the connection; after what is queued for it has gone out if `flush`.
    Close {
        /// The connection.
        client: u64,
        /// Send what is queued first.
        flush: bool,
    },
    /// Replies that wait for the append-only file may be able to leave.
    OpenGate,
    /// Commands that were held back may run again (end of CLIENT PAUSE).
    Resume,
    /// This node has handed its role over: commands that are held back go to the new master.
    ForwardHeld {
        /// Their clients are to go when they have their replies.
        leaving: bool,
    },
    /// All clients are to go with their next reply, those that only listen or block at once.
    ClientsLeave,
    /// All that are still here are to go.
    CutClients,
    /// The connection's user may have lost channels: end it if it listens to one of those.
    CheckChannels {
        /// The connection.
        client: u64,
    },
    /// A replica's connection has something to read from the log, or its transfer has.
    PumpReplicas,
    /// Run a command of a connection once more (a worker's own use).
    Retry {
        /// The connection.
        client: u64,
        /// The command.
        args: OwnedArgs,
    },
}

/// Messages to one worker.
pub struct Mailbox {
    queue: Mutex<Vec<Message>>,
    /// True while the worker has been told that there is something.
    signalled: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    /// A mailbox whose owner is woken by `wake`, from any thread.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Mailbox {
        Mailbox { queue: Mutex::new(Vec::new()), signalled: AtomicBool::new(false), wake }
    }

    /// Leaves a message and wakes the owner.
    pub fn send(&self, message: Message) {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message);
        if !self.signalled.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// Takes everything that is there.
    pub fn take(&self) -> Vec<Message> {
        if !self.signalled.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes what waits to be sent to one connection. After its last subscription to a channel has
    /// ended, that is everything that was published there before.
    pub fn take_pushes(&self, client: u64) -> Vec<u8> {
        let mut pushed = Vec::new();
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain_mut(
            |message| match message {
                Message::Push { client: to, bytes } if *to == client => {
                    pushed.extend_from_slice(bytes);
                    false
                }
                Message::PushAll { clients, bytes } => {
                    let before = clients.len();
                    clients.retain(|to| *to != client);
                    if clients.len() < before {
                        pushed.extend_from_slice(bytes);
                    }
                    !clients.is_empty()
                }
                _ => true,
            },
        );
        pushed
    }

    /// True if messages wait.
    pub fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::Acquire)
    }
}
