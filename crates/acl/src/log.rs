//! ACL LOG: what was not allowed, newest first; the same thing again within a minute is counted.

use std::collections::VecDeque;

/// Why an entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A wrong name or password.
    Auth,
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
}

impl Reason {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

/// Where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A request by itself.
    Toplevel,
    /// Within MULTI.
    Multi,
    /// Within a script.
    Lua,
}

impl Context {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// Something that was not allowed.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// Who.
    pub username: Vec<u8>,
    /// The connection's line in CLIENT LIST.
    pub client: String,
    /// When, Unix milliseconds.
    pub at: i64,
}

/// An incident in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number, never used again.
    pub id: u64,
    /// How often.
    pub count: u64,
    /// The first time, Unix milliseconds.
    pub created: i64,
    /// What happened; the connection and the time are those of the last time.
    pub incident: Incident,
}

/// The newest incidents.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// How many entries are looked at for the same incident.
const LOOKED_AT: usize = 10;
/// How far two times may be apart, in milliseconds.
const GROUPED_MS: i64 = 60_000;

impl Log {
    /// Adds an incident; the oldest entries beyond `max` go.
    /// Source: redis 7.2 `acl.c:addACLLogEntry`.
    pub fn add(&mut self, incident: Incident, max: usize) {
        if max == 0 {
            self.entries.clear();
            return;
        }
        let same = self.entries.iter().take(LOOKED_AT).position(|entry| {
            let old = &entry.incident;
            old.reason == incident.reason
                && old.context == incident.context
                && old.at.abs_diff(incident.at) <= GROUPED_MS as u64
                && old.object == incident.object
                && old.username == incident.username
        });
        if let Some(mut entry) = same.and_then(|at| self.entries.remove(at)) {
            entry.count = entry.count.saturating_add(1);
            entry.incident.client = incident.client;
            entry.incident.at = incident.at;
            self.entries.push_front(entry);
            return;
        }
        let created = incident.at;
        self.entries.push_front(Entry { id: self.next_id, count: 1, created, incident });
        self.next_id += 1;
        self.entries.truncate(max);
    }

    /// Newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets everything; numbers go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
