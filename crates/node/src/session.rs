//! One connection's state, owned by its worker.

use crate::access::{Access, UserCell};
use crate::client::ClientInfo;
use crate::pubsub::Topic;
use crate::registry::CommandRef;
use keyspace::WatchFlag;
use replication::Position;
use resp::{OwnedArgs, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes that a name in one of a connection's sets takes beside its own, about: in the set, and in
/// the table of those who want to hear of it.
pub(crate) const NAME_BYTES: usize = 64;

/// Commands queued since MULTI.
#[derive(Default)]
pub struct Multi {
    /// In order.
    pub queue: Vec<(CommandRef, OwnedArgs)>,
    /// Bytes of their arguments.
    pub bytes: usize,
    /// A command was refused: EXEC will refuse the transaction.
    pub aborted: bool,
}

/// Bytes that a queued command takes beside its arguments, about.
const QUEUED_BYTES: usize = 64;

impl Multi {
    /// Queues a command.
    pub(crate) fn push(&mut self, command: CommandRef, args: &resp::Args<'_>) {
        self.bytes += args.iter().map(<[u8]>::len).sum::<usize>() + QUEUED_BYTES;
        self.queue.push((command, args.to_owned_args()));
    }
}

/// Keys watched, and the flag that a change of them sets.
#[derive(Default)]
pub struct Watch {
    /// Set when one of the keys has changed.
    pub flag: Arc<WatchFlag>,
    /// By database: keys, and true if a key's time had passed when the watch began.
    pub keys: BTreeMap<usize, BTreeMap<Vec<u8>, bool>>,
    /// Bytes of the keys.
    pub bytes: usize,
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
    /// Bytes of all names subscribed to.
    pub topic_bytes: usize,
    /// Bytes that the connection holds beside its buffers.
    pub held_bytes: usize,
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
        Session::of_user(info, access.default_user(), access.is_open())
    }

    /// A fresh session of the same connection and user.
    pub fn stand_in(&self) -> Session {
        Session::of_user(Arc::clone(&self.info), Arc::clone(&self.user), self.authenticated)
    }

    fn of_user(info: Arc<ClientInfo>, user: Arc<UserCell>, authenticated: bool) -> Session {
        Session {
            info,
            db: 0,
            protocol: Protocol::Resp2,
            user,
            authenticated,
            multi: None,
            watch: None,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shards: BTreeSet::new(),
            topic_bytes: 0,
            held_bytes: 0,
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
    pub fn topics(&self, topic: Topic) -> &BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::Shard => &self.shards,
        }
    }

    fn topics_mut(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shards,
        }
    }

    /// Adds a name; false if it was there.
    pub fn add_topic(&mut self, topic: Topic, name: &[u8]) -> bool {
        let new = self.topics_mut(topic).insert(name.to_vec());
        self.topic_bytes += if new { name.len() + NAME_BYTES } else { 0 };
        new
    }

    /// Takes a name out; false if it was not there.
    pub fn remove_topic(&mut self, topic: Topic, name: &[u8]) -> bool {
        let had = self.topics_mut(topic).remove(name);
        self.topic_bytes -= if had { name.len() + NAME_BYTES } else { 0 };
        had
    }

    /// Takes all names of one kind out.
    pub fn take_topics(&mut self, topic: Topic) -> BTreeSet<Vec<u8>> {
        let names = std::mem::take(self.topics_mut(topic));
        self.topic_bytes -= names.iter().map(|name| name.len() + NAME_BYTES).sum::<usize>();
        names
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
    pub fn publish_state(&mut self) {
        let multi_bytes = self.multi.as_ref().map_or(0, |multi| multi.bytes);
        let watch_bytes = self.watch.as_ref().map_or(0, |watch| watch.bytes);
        let prefix_bytes: usize = self.prefixes.iter().map(|name| name.len() + NAME_BYTES).sum();
        let names_bytes = watch_bytes + self.topic_bytes + prefix_bytes;
        self.held_bytes = multi_bytes + names_bytes;
        self.info.multi_mem.store(multi_bytes as u64, Relaxed);
        self.info.names_mem.store(names_bytes as u64, Relaxed);
        let multi = self.multi.as_ref().map_or(-1, |multi| multi.queue.len() as i64);
        self.info.multi.store(multi, Relaxed);
        self.info.watching.store(self.watch.is_some(), Relaxed);
        self.info.subs.store(self.channels.len() as u32, Relaxed);
        self.info.psubs.store(self.patterns.len() as u32, Relaxed);
        self.info.ssubs.store(self.shards.len() as u32, Relaxed);
    }
}
