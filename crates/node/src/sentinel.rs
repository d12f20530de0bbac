//! A node that is a sentinel: it serves connections as ever, but has a sentinel's commands and asks
//! another room for what they say.
//!
//! Sessions, logins, subscriptions and CLIENT are the same for both kinds of server, so they stay
//! here; what a sentinel knows of masters and votes does not belong here, and comes through
//! [`SentinelMode`]. Nothing of keys, replication or files is reachable on such a node: its commands
//! are those that carry the flag `SENTINEL` or `ONLY_SENTINEL`.

use crate::registry::{CommandEntry, CommandRef, registry};
use crate::{ClientInfo, Node};
use resp::{Args, Reply};

/// What a sentinel's commands are answered from. Called by workers; returns soon.
pub trait SentinelMode: Send + Sync {
    /// Runs SENTINEL, ROLE or PUBLISH. Either writes the reply, or keeps it, for it promises
    /// something that has to reach the disk first: then the ticket under which a
    /// [`crate::Message::Unblock`] will bring it.
    fn command(&self, client: &ClientInfo, args: &Args<'_>, reply: &mut Reply) -> Option<u64>;

    /// INFO: of the process's own `sections` (lower-case name, text) and of the sentinel's those
    /// that `names` ask for; all when there are no names.
    fn info(&self, client: &ClientInfo, names: &[&[u8]], sections: &[(&str, String)]) -> String;
}

impl Node {
    /// Makes this node a sentinel, for good. To be called before the first request.
    ///
    /// # Panics
    /// When it is one already.
    pub fn become_sentinel(&self, mode: Box<dyn SentinelMode>) {
        assert!(self.sentinel.set(mode).is_ok(), "a node becomes a sentinel once");
    }

    /// What answers a sentinel's commands; nothing on a data node.
    pub fn sentinel(&self) -> Option<&dyn SentinelMode> {
        self.sentinel.get().map(Box::as_ref)
    }

    /// True if this kind of node has the command.
    #[inline]
    pub fn has_command(&self, command: &CommandEntry) -> bool {
        if self.sentinel.get().is_some() {
            command.is_of_sentinel()
        } else {
            command.is_of_data_node()
        }
    }

    /// The commands that this kind of node has, in the order of their names, without subcommands.
    pub fn commands(&self) -> &'static [CommandRef] {
        if self.sentinel.get().is_some() {
            &registry().of_sentinel
        } else {
            &registry().of_data_node
        }
    }

    /// Finds `name` or `container|sub` among the commands of this kind of node.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandRef> {
        registry().find_full(name).filter(|command| self.has_command(command))
    }
}
