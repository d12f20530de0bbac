//! One connection's state, owned by its worker.

use crate::access::{Access, UserCell};
use crate::client::ClientInfo;
use crate::pubsub::Topic;
use crate::registry::CommandRef;
use keyspace::WatchFlag;
use replication::Position;
use resp::{OwnedArgs, Protocol};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Commands queued since MULTI.
#[derive(Default)]
pub struct Multi {
    /// In order.
    pub queue: Vec<(CommandRef, OwnedArgs)>,
    /// A command was refused: EXEC will refuse the transaction.
    pub aborted: bool,
}

/// Keys watched, and the flag that a change of them sets.
pub struct Watch {
    /// Set when one of the keys has changed.
    pub flag: Arc<WatchFlag>,
    /// (database, key, true if its time had passed when the watch began).
    pub keys: Vec<(usize, Vec<u8>, bool)>,
}

/// Which replies are sent (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not the next command's.
    SkipNext,
    /// Not this command's.
    Skip,
}

/// What a connection waits for.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its ticket.
    pub ticket: u64,
}

/// One connection's state.
pub struct Session {
    /// The shared part.
    pub info: Arc<ClientInfo>,
    /// Database.
    pub db: usize,
    /// RESP version.
    pub protocol: Protocol,
    /// Whose connection it is.
    pub user: Arc<UserCell>,
    /// True once it has logged in, or needs not to; see [`crate::Node::must_authenticate`].
    pub authenticated: bool,
    /// MULTI in progress.
    pub multi: Option<Multi>,
    /// WATCH in force.
    pub watch: Option<Watch>,
    /// Channels subscribed to.
    pub channels: BTreeSet<Vec<u8>>,
    /// Patterns subscribed to.
    pub patterns: BTreeSet<Vec<u8>>,
    /// Shard channels subscribed to.
    pub shards: BTreeSet<Vec<u8>>,
    /// CLIENT REPLY.
    pub reply_mode: ReplyMode,
    /// Log position of the connection's last write, for WAIT.
    pub last_write: Position,
    /// Set while a blocking command waits.
    pub waiting: Option<Waiting>,
    /// Bytes that precede the reply of the command that runs (messages to itself).
    pub pushes: Vec<u8>,
    /// Bytes that follow the reply of the command that runs (invalidations of keys that it changed).
    pub after: Vec<u8>,
    /// CLIENT CACHING was said: it counts for the next command.
    pub caching: bool,
    /// Prefixes of keys that are tracked in BCAST mode.
    pub prefixes: BTreeSet<Vec<u8>>,
    /// CLIENT CAPA, HELLO … said by a replica: REPLCONF in progress.
    pub is_replica: bool,
    /// MONITOR.
    pub is_monitor: bool,
    /// Set by SHUTDOWN, QUIT and errors: the connection ends after its replies.
    pub close_after_reply: bool,
}

impl Session {
    /// A fresh connection of the user `default`.
    pub fn new(info: Arc<ClientInfo>, access: &Access) -> Session {
        Session {
            info,
            db: 0,
            protocol: Protocol::Resp2,
            user: access.default_user(),
            authenticated: access.is_open(),
            multi: None,
            watch: None,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shards: BTreeSet::new(),
            reply_mode: ReplyMode::On,
            last_write: Position::START,
            waiting: None,
            pushes: Vec::new(),
            after: Vec::new(),
            caching: false,
            prefixes: BTreeSet::new(),
            is_replica: false,
            is_monitor: false,
            close_after_reply: false,
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.info.id
    }

    /// Everything subscribed to.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shards.len()
    }

    /// The names of one kind that are subscribed to.
    pub fn topics(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }

    /// Changes the database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.info.db.store(db as u32, Relaxed);
    }

    /// Changes the RESP version.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.info.resp.store(if protocol == Protocol::Resp3 { 3 } else { 2 }, Relaxed);
    }

    /// Shows the state of MULTI and WATCH and the subscriptions to CLIENT LIST.
    pub fn publish_state(&self) {
        let multi = self.multi.as_ref().map_or(-1, |multi| multi.queue.len() as i64);
        self.info.multi.store(multi, Relaxed);
        self.info.watching.store(self.watch.is_some(), Relaxed);
        self.info.subs.store(self.channels.len() as u32, Relaxed);
        self.info.psubs.store(self.patterns.len() as u32, Relaxed);
        self.info.ssubs.store(self.shards.len() as u32, Relaxed);
    }
}
