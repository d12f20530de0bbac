//! The members as the supervisor knows them, and what follows from what they say: who is master,
//! what is missing, which changes are worth an event.

use std::collections::{BTreeMap, VecDeque};
use std::process::Child;

use super::event::Event;
use super::plan::{self, MASTER_NAME, Plan};
use super::snapshot::{MemberState, MemberStatus, NodeStatus, SentinelStatus, Snapshot, Vote};
use super::state::{Kind, MemberRecord};
use super::watch::{Address, NodeFacts, SentinelFacts, Update};

/// Events kept for the view.
const EVENTS_MAX: usize = 1000;
/// Events in a snapshot.
const EVENTS_SHOWN: usize = 50;

/// Why a member has no process.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// By request.
    Killed,
    /// Otherwise; how, in words.
    Exited(String),
}

/// One node or sentinel.
pub struct Member {
    /// Name, port, process.
    pub record: MemberRecord,
    /// Its process, if it has one.
    pub child: Option<Child>,
    /// Why it has none, if it had one.
    pub end: Option<End>,
    /// True once it was asked to go.
    pub kill_requested: bool,
    /// True once it has answered since it was started.
    pub answered: bool,
    /// What it said last, if it is a node.
    pub node: Option<NodeFacts>,
    /// What it said last, if it is a sentinel.
    pub sentinel: Option<SentinelFacts>,
    /// Its run id, if it is a sentinel: kept while it is silent or down.
    pub id: Option<String>,
    /// Its last vote: run id and epoch.
    pub vote: Option<(String, u64)>,
}

impl Member {
    /// How its process is.
    pub fn state(&self) -> MemberState {
        let answers = self.node.is_some() || self.sentinel.is_some();
        let stopped = || self.record.process.is_some_and(|process| process.is_stopped());
        match (&self.child, &self.end) {
            (Some(_), _) if stopped() => MemberState::Paused,
            (Some(_), _) if self.node.as_ref().is_some_and(|facts| facts.loading) => {
                MemberState::Loading
            }
            (Some(_), _) if answers => MemberState::Running,
            (Some(_), _) if self.answered => MemberState::Silent,
            (Some(_), _) => MemberState::Starting,
            (None, Some(End::Killed)) => MemberState::Killed,
            (None, Some(End::Exited(_))) => MemberState::Exited,
            (None, None) => MemberState::NotStarted,
        }
    }

    /// Forgets what it said: it has ended, or begins anew.
    pub fn forget(&mut self) {
        self.node = None;
        self.sentinel = None;
        self.answered = false;
    }
}

/// See the module's head.
pub struct Model {
    /// What was planned: folder, addresses.
    pub plan: Plan,
    /// Nodes, then sentinels, in the order of the plan.
    pub members: Vec<Member>,
    /// The time line, oldest first.
    pub events: VecDeque<Event>,
    /// When everything was up for the first time, in milliseconds since 1970, UTC.
    pub ready_at: Option<i64>,
}

impl Model {
    /// All members, none of them started.
    pub fn new(plan: Plan) -> Model {
        let member = |record: &MemberRecord| Member {
            record: record.clone(),
            child: None,
            end: None,
            kill_requested: false,
            answered: false,
            node: None,
            sentinel: None,
            id: None,
            vote: None,
        };
        let members = plan.state.members.iter().map(member).collect();
        Model { plan, members, events: VecDeque::new(), ready_at: None }
    }

    /// Adds to the time line.
    pub fn note(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Indices of the members of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = usize> + '_ {
        let is_it = move |index: &usize| self.members[*index].record.kind == kind;
        (0..self.members.len()).filter(is_it)
    }

    /// Finds a member by name, port, or as `master`.
    pub fn find(&self, text: &str) -> Result<usize, String> {
        if text.eq_ignore_ascii_case("master") {
            return self.master().ok_or_else(|| {
                "the sentinels do not agree on a master just now: name a node, as in node-1".into()
            });
        }
        let is_it = |member: &Member| {
            member.record.name.eq_ignore_ascii_case(text) || member.record.port.to_string() == text
        };
        self.members.iter().position(is_it).ok_or_else(|| {
            let names: Vec<&str> = self.members.iter().map(|m| m.record.name.as_str()).collect();
            format!("there is no node {text}; there are {}, and master", names.join(", "))
        })
    }

    /// Takes in what a watcher has learned; returns what is worth an event.
    pub fn take(&mut self, update: Update) -> Vec<Event> {
        match update {
            Update::Node { member, facts } => self.take_node(member, facts),
            Update::Sentinel { member, facts } => {
                self.take_sentinel(member, facts);
                Vec::new()
            }
            Update::Event { member, channel, payload } => {
                if channel == "+vote-for-leader"
                    && let Some((id, epoch)) = payload.split_once(' ')
                    && let Ok(epoch) = epoch.parse()
                {
                    self.members[member].vote = Some((id.into(), epoch));
                }
                let name = &self.members[member].record.name;
                vec![Event::now(name, format!("{channel} {payload}"))]
            }
        }
    }

    fn take_node(&mut self, index: usize, facts: Option<NodeFacts>) -> Vec<Event> {
        // A reply may be on its way while its sender dies.
        if self.members[index].child.is_none() {
            return Vec::new();
        }
        let text = facts.as_ref().and_then(|new| {
            let old = self.members[index].node.as_ref();
            self.change_text(old, new)
        });
        let member = &mut self.members[index];
        member.answered |= facts.is_some();
        member.node = facts;
        text.map(|text| Event::now(&member.record.name, text)).into_iter().collect()
    }

    /// What has changed in a node's place among the others.
    fn change_text(&self, old: Option<&NodeFacts>, new: &NodeFacts) -> Option<String> {
        if new.loading {
            return old.is_none_or(|old| !old.loading).then(|| "loads its data set".into());
        }
        // A node that answers again after a pause has not changed by that; one that comes up says
        // what it is.
        if new.role == "master" {
            let was = old.is_some_and(|old| old.role == "master" && !old.loading);
            return (!was).then(|| "is a master".into());
        }
        let follows = self.address_name(new.follows.as_ref()?);
        let same = |old: &&NodeFacts| old.role == new.role && old.follows == new.follows;
        let was_up = old.filter(same).is_some_and(|old| old.link_up);
        match (was_up, new.link_up) {
            (false, true) => Some(format!("follows {follows}, link up")),
            (true, false) => Some(format!("link to {follows} down")),
            _ => None,
        }
    }

    fn take_sentinel(&mut self, index: usize, facts: Option<SentinelFacts>) {
        if self.members[index].child.is_none() {
            return;
        }
        // What a peer was told about a vote counts when its own event was missed.
        for peer in facts.iter().flat_map(|facts| &facts.sentinels) {
            let Some(vote) = &peer.vote else { continue };
            let voter = self.members.iter_mut().find(|m| m.id.as_ref() == Some(&peer.id));
            if let Some(voter) = voter
                && voter.vote.as_ref().is_none_or(|(_, epoch)| vote.1 > *epoch)
            {
                voter.vote = Some(vote.clone());
            }
        }
        let member = &mut self.members[index];
        member.answered |= facts.is_some();
        member.id = facts.as_ref().map(|facts| facts.my_id.clone()).or(member.id.take());
        member.sentinel = facts;
    }

    /// The member's name for an address, or the address.
    pub fn address_name(&self, address: &Address) -> String {
        match self.node_at(address) {
            Some(index) => self.members[index].record.name.clone(),
            None => format!("{}:{}", address.0, address.1),
        }
    }

    /// The node that listens there. All members are on this machine, so the port says it.
    fn node_at(&self, address: &Address) -> Option<usize> {
        self.of_kind(Kind::Node).find(|index| self.members[*index].record.port == address.1)
    }

    /// The node that more than half of the answering sentinels call the master. Before any
    /// sentinel has been started, the planned one.
    pub fn master(&self) -> Option<usize> {
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        let mut answering = 0;
        for facts in self.members.iter().filter_map(|m| m.sentinel.as_ref()) {
            answering += 1;
            if let Some(node) = facts.master.as_ref().and_then(|address| self.node_at(address)) {
                *votes.entry(node).or_default() += 1;
            }
        }
        if answering == 0 {
            let mut sentinels = self.of_kind(Kind::Sentinel).map(|index| &self.members[index]);
            if sentinels.all(|m| m.child.is_none() && m.end.is_none()) {
                return Some(self.plan.master);
            }
            // Nobody to ask: the nodes' own word, if only one of them claims it.
            let claims = |index: &usize| {
                self.members[*index].node.as_ref().is_some_and(|facts| facts.role == "master")
            };
            let mut claiming = self.of_kind(Kind::Node).filter(claims);
            return claiming.next().filter(|_| claiming.next().is_none());
        }
        let (node, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        (count * 2 > answering).then_some(node)
    }

    /// What is not as it should be.
    fn missing(&self, master: Option<usize>) -> Vec<String> {
        let mut missing = Vec::new();
        let sentinels = self.of_kind(Kind::Sentinel).count() as u64;
        let replicas = self.of_kind(Kind::Node).count() as u64 - 1;
        if master.is_none() {
            missing.push("a master that the sentinels agree on".into());
        }
        for (index, member) in self.members.iter().enumerate() {
            let name = &member.record.name;
            let state = member.state();
            if state != MemberState::Running {
                missing.push(format!("{name}: {}", state.word()));
                continue;
            }
            if let Some(facts) = &member.node {
                missing.extend(self.missing_in_node(index, facts, master));
            }
            let Some(facts) = &member.sentinel else { continue };
            let at = facts.master.as_ref().and_then(|address| self.node_at(address));
            if at != master {
                missing.push(format!("{name}: another master"));
            } else if facts.flags.len() > 1 {
                missing.push(format!("{name}: {}", facts.flags[1..].join(" ")));
            } else if (facts.sentinels.len() as u64) < sentinels - 1 {
                let count = facts.sentinels.len();
                missing.push(format!("{name}: knows {count} of {} other sentinels", sentinels - 1));
            } else if facts.replicas < replicas {
                missing.push(format!("{name}: knows {} of {replicas} replicas", facts.replicas));
            } else if down_count(facts) > 0 {
                missing.push(format!("{name}: takes {} for down", others(down_count(facts))));
            }
        }
        missing
    }

    fn missing_in_node(
        &self,
        index: usize,
        facts: &NodeFacts,
        master: Option<usize>,
    ) -> Option<String> {
        let name = &self.members[index].record.name;
        if Some(index) == master {
            return (facts.role != "master").then(|| format!("{name}: is not yet a master"));
        }
        let follows = facts.follows.as_ref().and_then(|address| self.node_at(address));
        if facts.role == "master" {
            Some(format!("{name}: is a master too"))
        } else if follows != master {
            Some(format!("{name}: follows another one"))
        } else {
            (!facts.link_up).then(|| format!("{name}: link to the master"))
        }
    }

    /// The members' names by port and by run id, for [`shorten`].
    pub fn names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        for member in &self.members {
            let name = &member.record.name;
            names.insert(member.record.port.to_string(), name.clone());
            names.extend(member.id.clone().map(|id| (id, name.clone())));
        }
        names
    }

    /// Everything, for showing.
    pub fn snapshot(&self) -> Snapshot {
        let master = self.master();
        let waiting_for = self.missing(master);
        let layout = &self.plan.layout;
        Snapshot {
            dir: layout.dir.display().to_string(),
            pid: std::process::id(),
            ready: waiting_for.is_empty(),
            ready_at: self.ready_at,
            waiting_for,
            master_name: MASTER_NAME.into(),
            master: master.map(|index| self.members[index].record.name.clone()),
            master_address: master.map(|index| self.address(&self.members[index].record)),
            password: self.plan.password.is_some(),
            nodes: self.of_kind(Kind::Node).map(|index| self.node_status(index)).collect(),
            sentinels: self.of_kind(Kind::Sentinel).map(|i| self.sentinel_status(i)).collect(),
            events: self
                .events
                .iter()
                .skip(self.events.len().saturating_sub(EVENTS_SHOWN))
                .cloned()
                .collect(),
        }
    }

    fn address(&self, record: &MemberRecord) -> String {
        let ip = &self.plan.state.ip;
        let port = record.port;
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    }

    fn member_status(&self, member: &Member) -> MemberStatus {
        MemberStatus {
            name: member.record.name.clone(),
            address: self.address(&member.record),
            port: member.record.port,
            pid: member.child.as_ref().map(Child::id),
            state: member.state(),
            end: match &member.end {
                Some(End::Exited(text)) => Some(text.clone()),
                Some(End::Killed) => Some("killed by request".into()),
                None => None,
            },
            config: plan::conf_path(&self.plan.layout, &member.record).display().to_string(),
            log: plan::log_path(&self.plan.layout, &member.record).display().to_string(),
        }
    }

    fn node_status(&self, index: usize) -> NodeStatus {
        let member = &self.members[index];
        let facts = member.node.as_ref();
        let replica = facts.filter(|facts| facts.role != "master");
        // The master's own account of this replica: both offsets are of the same moment.
        let account = replica.and_then(|facts| {
            let master = self.members[self.node_at(facts.follows.as_ref()?)?].node.as_ref()?;
            let seen = master.replicas.iter().find(|r| r.port == member.record.port)?;
            (seen.online && facts.link_up)
                .then(|| ((master.offset - seen.offset).max(0), seen.lag_s))
        });
        NodeStatus {
            member: self.member_status(member),
            role: facts
                .map(|facts| if facts.role == "master" { "master" } else { "replica" }.into()),
            follows: replica.and_then(|f| f.follows.as_ref()).map(|a| self.address_name(a)),
            link: replica.map(|facts| {
                match (facts.link_up, facts.syncing) {
                    (true, _) => "up",
                    (false, true) => "sync",
                    (false, false) => "down",
                }
                .into()
            }),
            link_down_seconds: replica.and_then(|facts| facts.link_down_s).filter(|s| *s >= 0),
            offset: facts.map(|facts| facts.offset),
            lag_bytes: account.map(|(bytes, _)| bytes),
            lag_seconds: account.map(|(_, seconds)| seconds),
            connected_replicas: facts.map(|facts| facts.replicas.len()),
        }
    }

    fn sentinel_status(&self, index: usize) -> SentinelStatus {
        let member = &self.members[index];
        let facts = member.sentinel.as_ref();
        let has = |flag: &str| facts.map(|facts| facts.flags.iter().any(|f| f == flag));
        let address = facts.and_then(|facts| facts.master.as_ref());
        let vote = member.vote.as_ref().filter(|_| member.child.is_some());
        SentinelStatus {
            member: self.member_status(member),
            master_address: address.map(|(ip, port)| format!("{ip}:{port}")),
            master: address
                .and_then(|address| self.node_at(address))
                .map(|index| self.members[index].record.name.clone()),
            sdown: has("s_down"),
            odown: has("o_down"),
            failover: facts.and_then(|facts| facts.failover_state.clone()),
            config_epoch: facts.map(|facts| facts.config_epoch),
            current_epoch: facts.map(|facts| facts.current_epoch),
            vote: vote.map(|(id, epoch)| Vote { leader: self.sentinel_name(id), epoch: *epoch }),
            quorum: facts.map(|facts| facts.quorum),
            known_sentinels: facts.map(|facts| facts.sentinels.len() as u64),
            known_replicas: facts.map(|facts| facts.replicas),
            down: facts.map(down_count),
        }
    }

    fn sentinel_name(&self, id: &str) -> String {
        match self.members.iter().find(|m| m.id.as_deref() == Some(id)) {
            Some(member) => member.record.name.clone(),
            None => id.chars().take(8).collect(),
        }
    }
}

fn others(count: u64) -> String {
    if count == 1 { "another one".into() } else { format!("{count} others") }
}

/// Replicas and other sentinels that a sentinel takes for down.
fn down_count(facts: &SentinelFacts) -> u64 {
    let is_down = |flags: &[String]| flags.iter().any(|flag| flag == "s_down");
    let peers = facts.sentinels.iter().filter(|peer| is_down(&peer.flags)).count() as u64;
    facts.replicas_down + peers
}

/// An event of a sentinel in short: instances by name, without what is the same in every line.
/// `slave 127.0.0.1:6380 127.0.0.1 6380 @ mymaster 127.0.0.1 6379` becomes `node-2`.
pub fn shorten(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let name = |key: &str| names.get(key).cloned();
    if words.len() >= 5 && matches!(words[1], "master" | "slave" | "sentinel") {
        let Some(instance) = name(words[4]) else { return text.to_owned() };
        if words.get(5) == Some(&"@") {
            words.drain(5..words.len().min(9));
        }
        let rest = words[5..].join(" ");
        return format!("{} {instance} {rest}", words[0]).trim_end().to_owned();
    }
    if words[0] == "+switch-master"
        && let [_, _, _, old, _, new] = words[..]
        && let (Some(old), Some(new)) = (name(old), name(new))
    {
        return format!("+switch-master {old} -> {new}");
    }
    if words[0] == "+vote-for-leader"
        && let [_, id, epoch] = words[..]
        && let Some(leader) = name(id)
    {
        return format!("+vote-for-leader {leader} {epoch}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests;
