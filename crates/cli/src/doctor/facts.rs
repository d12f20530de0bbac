//! What the doctor knows of a group when it judges: plain data, gathered elsewhere.

use std::collections::BTreeMap;

/// Why an address could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers there; the operating system's reason.
    Unreachable(String),
    /// It wants a password, or another one.
    Password(String),
    /// Protected mode keeps us out.
    Protected,
}

/// A data node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Where it was asked.
    pub addr: String,
    /// Why it was not.
    pub trouble: Option<Trouble>,
    /// Fields of INFO.
    pub info: BTreeMap<String, String>,
    /// Directives that matter; empty where CONFIG is not allowed.
    pub config: BTreeMap<String, String>,
    /// Its clock, Unix milliseconds, at our own time zero of the question.
    pub clock_ahead_ms: i64,
}

impl NodeFacts {
    /// A field of INFO, or nothing.
    pub fn field(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    /// True for a node that says it is a master.
    pub fn is_master(&self) -> bool {
        self.field("role") == "master"
    }
}

/// An instance as a sentinel lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// `host:port`.
    pub addr: String,
    /// Its flags, comma separated.
    pub flags: String,
}

/// One sentinel's view of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SentinelFacts {
    /// Where it was asked.
    pub addr: String,
    /// Why it was not.
    pub trouble: Option<Trouble>,
    /// Whom it names as master.
    pub master: Listed,
    /// Sentinels that must agree.
    pub quorum: u64,
    /// The replicas that it lists.
    pub replicas: Vec<Listed>,
    /// The other sentinels that it lists.
    pub sentinels: Vec<Listed>,
    /// The reply to SENTINEL CKQUORUM.
    pub ckquorum: String,
}

/// Everything about one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name; empty when no sentinel told it.
    pub name: String,
    /// Data nodes.
    pub nodes: Vec<NodeFacts>,
    /// Sentinels.
    pub sentinels: Vec<SentinelFacts>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Worth knowing.
    Advice,
    /// A failover would go wrong, or lose data.
    Risk,
    /// Broken now.
    Broken,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub grade: Grade,
    /// What, and what to do.
    pub text: String,
}
