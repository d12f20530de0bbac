//! What `up` knows at one moment, in the form that `status --json`, the table and the live view
//! share. Field names are an interface for scripts.

use serde::{Deserialize, Serialize};

use super::event::Event;

/// How a member's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// Its turn has not come.
    #[serde(rename = "waiting")]
    NotStarted,
    /// It runs and has not answered yet.
    Starting,
    /// It answers, and is loading its data set.
    Loading,
    /// It answers.
    Running,
    /// It runs and no longer answers.
    Silent,
    /// Stopped by a signal (`pause`).
    Paused,
    /// Killed by request.
    Killed,
    /// It ended by itself, or someone else ended it.
    Exited,
}

impl MemberState {
    /// The word that people and scripts see.
    pub fn word(self) -> &'static str {
        match self {
            MemberState::NotStarted => "waiting",
            MemberState::Starting => "starting",
            MemberState::Loading => "loading",
            MemberState::Running => "running",
            MemberState::Silent => "silent",
            MemberState::Paused => "paused",
            MemberState::Killed => "killed",
            MemberState::Exited => "exited",
        }
    }
}

/// The whole set-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Data folder.
    pub dir: String,
    /// Process of `up`.
    pub pid: u32,
    /// True if every member runs, follows the master and agrees with the others.
    pub ready: bool,
    /// When everything was up for the first time, in milliseconds since 1970, UTC.
    pub ready_at: Option<i64>,
    /// What is not as it should be; empty when `ready`.
    pub waiting_for: Vec<String>,
    /// The name under which sentinels know the master.
    pub master_name: String,
    /// The node that most sentinels call the master.
    pub master: Option<String>,
    /// Its address.
    pub master_address: Option<String>,
    /// True if members ask for a password.
    pub password: bool,
    /// Data nodes.
    pub nodes: Vec<NodeStatus>,
    /// Sentinels.
    pub sentinels: Vec<SentinelStatus>,
    /// The last events, oldest first.
    pub events: Vec<Event>,
}

/// What nodes and sentinels have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// `node-1`, `sentinel-2`
    pub name: String,
    /// Address told to the others and to clients.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Its process, if it has one.
    pub pid: Option<u32>,
    /// How the process is.
    pub state: MemberState,
    /// How it ended, if it did.
    pub end: Option<String>,
    /// Configuration file.
    pub config: String,
    /// Log file.
    pub log: String,
}

/// One data node. What it has not said is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Name, process and files.
    #[serde(flatten)]
    pub member: MemberStatus,
    /// `master` or `replica`, as the node says itself.
    pub role: Option<String>,
    /// Name, or address, of the node that it follows.
    pub follows: Option<String>,
    /// Its link to that one: `up`, `sync` or `down`.
    pub link: Option<String>,
    /// Seconds since the link broke.
    pub link_down_seconds: Option<i64>,
    /// Replication offset.
    pub offset: Option<i64>,
    /// Bytes that the master has written and this replica has not confirmed.
    pub lag_bytes: Option<i64>,
    /// Seconds since it last confirmed.
    pub lag_seconds: Option<i64>,
    /// Replicas that are connected to it.
    pub connected_replicas: Option<usize>,
}

/// One sentinel. What it has not said is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SentinelStatus {
    /// Name, process and files.
    #[serde(flatten)]
    pub member: MemberStatus,
    /// Address where it sends clients.
    pub master_address: Option<String>,
    /// Name of that node.
    pub master: Option<String>,
    /// It takes the master for down.
    pub sdown: Option<bool>,
    /// Enough sentinels do.
    pub odown: Option<bool>,
    /// State of the failover that it leads.
    pub failover: Option<String>,
    /// Epoch of the configuration it has.
    pub config_epoch: Option<u64>,
    /// The highest epoch it has seen.
    pub current_epoch: Option<u64>,
    /// For whom it voted last.
    pub vote: Option<Vote>,
    /// Votes needed to call the master down.
    pub quorum: Option<u64>,
    /// Other sentinels that it knows.
    pub known_sentinels: Option<u64>,
    /// Replicas that it knows.
    pub known_replicas: Option<u64>,
    /// Other sentinels and replicas that it takes for down.
    pub down: Option<u64>,
}

/// A vote for a leader of a failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Name of the sentinel, or its run id.
    pub leader: String,
    /// The epoch of the failover.
    pub epoch: u64,
}

impl SentinelStatus {
    /// What it thinks of the master, in a few words.
    pub fn opinion(&self) -> String {
        let mut words = Vec::new();
        if self.odown == Some(true) {
            words.push("odown");
        } else if self.sdown == Some(true) {
            words.push("sdown");
        }
        if let Some(failover) = &self.failover {
            words.push(failover);
        }
        match (self.sdown, words.is_empty()) {
            (None, _) => "-".into(),
            (_, true) => "up".into(),
            _ => words.join(" "),
        }
    }

    /// Its last vote, as `sentinel-2 (3)`.
    pub fn vote_text(&self) -> String {
        self.vote.as_ref().map_or("-".into(), |vote| format!("{} ({})", vote.leader, vote.epoch))
    }

    /// Whom it sees, as `2+2` (replicas and sentinels), with those it takes for down.
    pub fn sees(&self) -> String {
        match (self.known_replicas, self.known_sentinels, self.down) {
            (Some(replicas), Some(sentinels), Some(0)) => format!("{replicas}+{sentinels}"),
            (Some(replicas), Some(sentinels), Some(down)) => {
                format!("{replicas}+{sentinels}, {down} down")
            }
            _ => "-".into(),
        }
    }

    /// Name of its master, or the address if it is none of ours.
    pub fn master_text(&self) -> String {
        self.master.clone().or_else(|| self.master_address.clone()).unwrap_or("-".into())
    }
}

impl NodeStatus {
    /// Role, or a dash.
    pub fn role_text(&self) -> &str {
        self.role.as_deref().unwrap_or("-")
    }

    /// Whom it follows and how, or who follows it.
    pub fn link_text(&self) -> String {
        match (&self.follows, &self.link, self.connected_replicas) {
            (Some(follows), Some(link), _) => match self.link_down_seconds {
                Some(seconds) if link == "down" && seconds > 0 => {
                    format!("{follows} {link} {seconds} s")
                }
                _ => format!("{follows} {link}"),
            },
            (None, _, Some(1)) => "1 replica".into(),
            (None, _, Some(count)) => format!("{count} replicas"),
            _ => "-".into(),
        }
    }

    /// Offset, or a dash.
    pub fn offset_text(&self) -> String {
        self.offset.map_or("-".into(), |offset| offset.to_string())
    }

    /// How far it is behind.
    pub fn lag_text(&self) -> String {
        match (self.lag_bytes, self.lag_seconds) {
            (Some(bytes), Some(seconds)) => format!("{bytes} B, {seconds} s"),
            _ => "-".into(),
        }
    }
}

/// A pid, or a dash.
pub fn pid_text(pid: Option<u32>) -> String {
    pid.map_or("-".into(), |pid| pid.to_string())
}
