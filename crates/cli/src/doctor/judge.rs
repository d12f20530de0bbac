//! From facts to findings. Nothing is asked here.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Finding, Grade, Group, Listed, NodeFacts, SentinelFacts, Trouble};

/// Clocks that differ by more are worth a word.
const CLOCKS_MS: i64 = 2000;
/// Where a cluster node listens for others, above its port.
const BUS_OFFSET: u32 = 10_000;

/// Everything that is wrong with a group, worst first.
pub fn findings(group: &Group) -> Vec<Finding> {
    let mut found = Found(Vec::new());
    reachability(group, &mut found);
    masters(group, &mut found);
    replication(group, &mut found);
    quorum(group, &mut found);
    places(group, &mut found);
    safety(group, &mut found);
    found.0.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    found.0
}

struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, grade: Grade, text: impl Into<String>) {
        let text = text.into();
        if !self.0.iter().any(|known| known.text == text) {
            self.0.push(Finding { grade, text });
        }
    }
}

fn reachability(group: &Group, found: &mut Found) {
    let nodes = group.nodes.iter().map(|node| (&node.addr, &node.trouble, "node"));
    let sentinels = group.sentinels.iter().map(|s| (&s.addr, &s.trouble, "sentinel"));
    for (addr, trouble, kind) in nodes.chain(sentinels) {
        match trouble {
            None => {}
            Some(Trouble::Unreachable(why)) => found.add(
                Grade::Broken,
                format!(
                    "The {kind} at {addr} can't be reached from here ({why}). If it runs, it announces an \
                     address that only works inside its own network."
                ),
            ),
            Some(Trouble::Password(why)) => found.add(
                Grade::Risk,
                format!("The {kind} at {addr} refuses this password ({why}): give it with -a or --sentinel-pass."),
            ),
            Some(Trouble::Protected) => found.add(
                Grade::Broken,
                format!(
                    "The {kind} at {addr} is in protected mode: it has no password and answers only its own \
                     machine, so replicas and sentinels elsewhere can't reach it. Set a password, or \
                     `protected-mode no`."
                ),
            ),
        }
    }
}

/// The nodes that were asked.
fn asked(group: &Group) -> impl Iterator<Item = &NodeFacts> {
    group.nodes.iter().filter(|node| node.trouble.is_none())
}

/// The sentinels that were asked.
fn heard(group: &Group) -> impl Iterator<Item = &SentinelFacts> {
    group.sentinels.iter().filter(|sentinel| sentinel.trouble.is_none())
}

fn masters(group: &Group, found: &mut Found) {
    let masters: Vec<&str> =
        asked(group).filter(|node| node.is_master()).map(|node| node.addr.as_str()).collect();
    match masters.as_slice() {
        [] if asked(group).next().is_some() => {
            found.add(Grade::Broken, "No node says that it is the master: nothing can be written.");
        }
        [] | [_] => {}
        several => found.add(
            Grade::Broken,
            format!(
                "{} nodes say that they are the master: {}. What is written to the wrong one is lost when \
                 it becomes a replica.",
                several.len(),
                several.join(", ")
            ),
        ),
    }
    let named: BTreeSet<&str> = heard(group).map(|s| s.master.addr.as_str()).collect();
    if named.len() > 1 {
        let named: Vec<&str> = named.into_iter().collect();
        found.add(
            Grade::Broken,
            format!("The sentinels name different masters: {}.", named.join(", ")),
        );
    }
    for sentinel in heard(group) {
        let node = asked(group).find(|node| node.addr == sentinel.master.addr);
        if let Some(node) = node.filter(|node| !node.is_master()) {
            found.add(
                Grade::Broken,
                format!("The sentinels name {} as master, but it says it is a replica.", node.addr),
            );
        }
        let known = std::iter::once(&sentinel.master).chain(&sentinel.replicas);
        known.for_each(|listed| not_reached_by(group, sentinel, listed, found));
    }
}

/// A sentinel takes a node for down that answers us: its password or its way there is wrong.
fn not_reached_by(group: &Group, sentinel: &SentinelFacts, listed: &Listed, found: &mut Found) {
    let has = |flag: &str| listed.flags.split(',').any(|f| f == flag);
    if (has("s_down") || has("disconnected")) && asked(group).any(|node| node.addr == listed.addr) {
        found.add(
            Grade::Broken,
            format!(
                "The sentinel at {} can't reach the node at {}, which answers here: compare `sentinel \
                 auth-pass` with that node's password, and their networks.",
                sentinel.addr, listed.addr
            ),
        );
    }
}

fn replication(group: &Group, found: &mut Found) {
    let mut masters: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let port_of = |node: &NodeFacts| node.field("master_port").to_string();
    for node in asked(group).filter(|node| node.field("role") == "slave") {
        let master = format!("{}:{}", node.field("master_host"), port_of(node));
        masters.entry(master.clone()).or_default().push(&node.addr);
        if node.field("master_link_status") == "up" {
            continue;
        }
        let secret = |name: &str, node: &NodeFacts| node.config.get(name).cloned();
        let upstream = asked(group).find(|other| other.is_master());
        let differs = upstream
            .and_then(|master| Some(secret("masterauth", node)? != secret("requirepass", master)?));
        let hint = match differs {
            Some(true) => " Its `masterauth` is not the master's password.",
            _ => "",
        };
        found.add(
            Grade::Broken,
            format!("The replica at {} has no link to its master {master}.{hint}", node.addr),
        );
    }
    let ports: BTreeSet<String> =
        asked(group).filter(|n| n.field("role") == "slave").map(port_of).collect();
    // One master has several names: that is a problem only where a sentinel's or the port says so.
    if masters.len() > 1 && (ports.len() > 1 || chained(group)) {
        let list: Vec<String> = masters
            .iter()
            .map(|(master, of)| format!("{} follows {master}", of.join(", ")))
            .collect();
        found.add(Grade::Risk, format!("Replicas follow different masters: {}.", list.join("; ")));
    }
    let clocks: Vec<i64> = asked(group).map(|node| node.clock_ahead_ms).collect();
    if let (Some(least), Some(most)) = (clocks.iter().min(), clocks.iter().max())
        && most - least > CLOCKS_MS
    {
        found.add(
            Grade::Risk,
            format!(
                "The clocks of the nodes differ by {} ms: keys expire at different times on master and \
                 replica. Run a time service.",
                most - least
            ),
        );
    }
}

/// True if a replica has replicas of its own.
fn chained(group: &Group) -> bool {
    asked(group)
        .any(|n| n.field("role") == "slave" && !matches!(n.field("connected_slaves"), "" | "0"))
}

fn quorum(group: &Group, found: &mut Found) {
    if group.sentinels.is_empty() {
        found.add(
            Grade::Advice,
            "No sentinel was asked: name one to have the whole group looked at.",
        );
        return;
    }
    let known = group.sentinels.len() as u64;
    let reached = group
        .sentinels
        .iter()
        .filter(|s| !matches!(s.trouble, Some(Trouble::Unreachable(_) | Trouble::Protected)))
        .count() as u64;
    let majority = known / 2 + 1;
    if known < 3 {
        found.add(
            Grade::Risk,
            format!("{known} sentinel(s): when one is gone there is no majority. Run three, on machines of their own."),
        );
    } else if known.is_multiple_of(2) {
        found.add(
            Grade::Advice,
            format!(
                "{known} sentinels survive no more losses than {}: take an odd number.",
                known - 1
            ),
        );
    }
    if reached < majority {
        found.add(
            Grade::Broken,
            format!("Only {reached} of {known} sentinels answer: without {majority} nobody may lead a failover."),
        );
    }
    let quorums: BTreeSet<u64> = heard(group).map(|s| s.quorum).collect();
    for quorum in &quorums {
        if *quorum > reached {
            found.add(
                Grade::Broken,
                format!("The quorum is {quorum}, but {reached} sentinel(s) answer: the master can't be found down."),
            );
        } else if *quorum < majority {
            found.add(
                Grade::Advice,
                format!(
                    "The quorum of {quorum} is below the majority of {known} sentinels ({majority}): a few \
                     sentinels with a bad network start elections that they can't win."
                ),
            );
        }
    }
    if quorums.len() > 1 {
        found.add(Grade::Risk, format!("The sentinels have different quorums: {quorums:?}."));
    }
    for sentinel in heard(group).filter(|s| s.ckquorum.starts_with("NOQUORUM")) {
        found.add(
            Grade::Broken,
            format!("The sentinel at {} says: {}", sentinel.addr, sentinel.ckquorum),
        );
    }
}

fn host_of(addr: &str) -> &str {
    addr.rsplit_once(':').map_or(addr, |(host, _)| host)
}

fn port_of(addr: &str) -> Option<u32> {
    addr.rsplit_once(':')?.1.parse().ok()
}

fn places(group: &Group, found: &mut Found) {
    let hosts: BTreeSet<&str> = group.sentinels.iter().map(|s| host_of(&s.addr)).collect();
    let master = asked(group).find(|node| node.is_master()).map(|node| host_of(&node.addr));
    if let Some(host) = master
        && group.sentinels.len() > 1
        && hosts.len() == 1
        && hosts.contains(host)
    {
        found.add(
            Grade::Risk,
            format!("The master and all sentinels are on one machine ({host}): nobody is left to act when it fails."),
        );
    }
    for sentinel in &group.sentinels {
        let port = port_of(&sentinel.addr);
        let bus = group.nodes.iter().find(|node| {
            host_of(&node.addr) == host_of(&sentinel.addr)
                && port_of(&node.addr).map(|port| port + BUS_OFFSET) == port
        });
        if let Some(node) = bus.filter(|_| port.is_some()) {
            found.add(
                Grade::Risk,
                format!(
                    "The sentinel at {} has the cluster bus port of {}: with `cluster-enabled` one of them \
                     would not start.",
                    sentinel.addr, node.addr
                ),
            );
        }
    }
}

fn safety(group: &Group, found: &mut Found) {
    for node in asked(group) {
        let value = |name: &str| node.config.get(name).map(String::as_str);
        if node.is_master() {
            if value("save") == Some("") && value("appendonly") == Some("no") {
                found.add(
                    Grade::Risk,
                    format!(
                        "The master at {} keeps nothing on disk: restarted quickly it is an empty master, and \
                         its replicas copy the emptiness. Set `save` or `appendonly yes`, or don't restart \
                         it by itself.",
                        node.addr
                    ),
                );
            }
            let has_replicas = group.nodes.len() > 1;
            if has_replicas && value("min-replicas-to-write") == Some("0") {
                found.add(
                    Grade::Advice,
                    format!(
                        "`min-replicas-to-write` is 0 at {}: a master that is cut off goes on taking writes, \
                         which are lost when it becomes a replica.",
                        node.addr
                    ),
                );
            }
        }
        if node.info.get("config_file").is_some_and(String::is_empty) && !group.sentinels.is_empty()
        {
            found.add(
                Grade::Advice,
                format!(
                    "The node at {} runs without a configuration file: after a restart it has the role of its \
                     command line until a sentinel corrects it.",
                    node.addr
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::findings;
    use crate::doctor::facts::{Grade, Group, Listed, NodeFacts, SentinelFacts, Trouble};

    fn node(addr: &str, info: &[(&str, &str)]) -> NodeFacts {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        NodeFacts {
            addr: addr.into(),
            info: map(info),
            config: map(&[
                ("save", "3600 1"),
                ("appendonly", "no"),
                ("min-replicas-to-write", "1"),
                ("requirepass", "p"),
                ("masterauth", "p"),
            ]),
            ..NodeFacts::default()
        }
    }

    /// A group with nothing wrong.
    fn healthy() -> Group {
        let follows = [
            ("role", "slave"),
            ("master_host", "10.0.0.1"),
            ("master_port", "6379"),
            ("master_link_status", "up"),
        ];
        let sentinel = |n: u8| SentinelFacts {
            addr: format!("10.0.1.{n}:26379"),
            master: Listed { addr: "10.0.0.1:6379".into(), flags: "master".into() },
            quorum: 2,
            replicas: vec![
                Listed { addr: "10.0.0.2:6379".into(), flags: "slave".into() },
                Listed { addr: "10.0.0.3:6379".into(), flags: "slave".into() },
            ],
            ckquorum: "OK 3 usable Sentinels.".into(),
            ..SentinelFacts::default()
        };
        Group {
            name: "mymaster".into(),
            nodes: vec![
                node("10.0.0.1:6379", &[("role", "master"), ("config_file", "/c")]),
                node("10.0.0.2:6379", &follows),
                node("10.0.0.3:6379", &follows),
            ],
            sentinels: vec![sentinel(1), sentinel(2), sentinel(3)],
        }
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_group() {
        assert_eq!(findings(&healthy()), []);
    }

    /// What is changed about the healthy group, the grade of the finding, part of its text.
    type Case = (fn(&mut Group), Grade, &'static str);

    #[test]
    fn each_trouble_has_its_words() {
        let cases: &[Case] = &[
            (
                |g| g.nodes[1].trouble = Some(Trouble::Unreachable("timed out".into())),
                Grade::Broken,
                "can't be reached from here (timed out)",
            ),
            (|g| g.nodes[1].trouble = Some(Trouble::Protected), Grade::Broken, "protected mode"),
            (
                |g| g.sentinels[1].trouble = Some(Trouble::Password("NOAUTH".into())),
                Grade::Risk,
                "refuses this password",
            ),
            (
                |g| drop(g.nodes[1].info.insert("role".into(), "master".into())),
                Grade::Broken,
                "2 nodes say that they are the master",
            ),
            (
                |g| drop(g.nodes[0].info.insert("role".into(), "slave".into())),
                Grade::Broken,
                "No node says that it is the master",
            ),
            (
                |g| g.sentinels[2].master.addr = "10.0.0.9:6379".into(),
                Grade::Broken,
                "name different masters",
            ),
            (
                |g| g.sentinels[0].master.flags = "s_down,master".into(),
                Grade::Broken,
                "compare `sentinel auth-pass`",
            ),
            (
                |g| {
                    g.nodes[1].info.insert("master_link_status".into(), "down".into());
                    g.nodes[1].config.insert("masterauth".into(), "other".into());
                },
                Grade::Broken,
                "Its `masterauth` is not the master's password",
            ),
            (
                |g| drop(g.nodes[1].info.insert("master_port".into(), "7000".into())),
                Grade::Risk,
                "Replicas follow different masters",
            ),
            (|g| g.nodes[2].clock_ahead_ms = 5000, Grade::Risk, "differ by 5000 ms"),
            (|g| g.sentinels.truncate(2), Grade::Risk, "2 sentinel(s)"),
            (
                |g| {
                    g.sentinels
                        .push(SentinelFacts { addr: "10.0.1.4:1".into(), ..g.sentinels[0].clone() })
                },
                Grade::Advice,
                "take an odd number",
            ),
            (
                |g| g.sentinels.iter_mut().for_each(|s| s.quorum = 4),
                Grade::Broken,
                "The quorum is 4, but 3 sentinel(s) answer",
            ),
            (
                |g| g.sentinels.iter_mut().for_each(|s| s.quorum = 1),
                Grade::Advice,
                "below the majority",
            ),
            (
                |g| {
                    let gone = || Some(Trouble::Unreachable("refused".into()));
                    g.sentinels[0].trouble = gone();
                    g.sentinels[1].trouble = gone();
                },
                Grade::Broken,
                "Only 1 of 3 sentinels answer",
            ),
            (
                |g| g.sentinels[0].ckquorum = "NOQUORUM 1 usable Sentinels.".into(),
                Grade::Broken,
                "says: NOQUORUM",
            ),
            (
                |g| {
                    for (n, s) in g.sentinels.iter_mut().enumerate() {
                        s.addr = format!("10.0.0.1:{}", 26379 + n);
                    }
                },
                Grade::Risk,
                "on one machine (10.0.0.1)",
            ),
            (
                |g| g.sentinels[0].addr = "10.0.0.1:16379".into(),
                Grade::Risk,
                "the cluster bus port of 10.0.0.1:6379",
            ),
            (
                |g| drop(g.nodes[0].config.insert("save".into(), String::new())),
                Grade::Risk,
                "keeps nothing on disk",
            ),
            (
                |g| drop(g.nodes[0].config.insert("min-replicas-to-write".into(), "0".into())),
                Grade::Advice,
                "`min-replicas-to-write` is 0",
            ),
            (
                |g| drop(g.nodes[0].info.insert("config_file".into(), String::new())),
                Grade::Advice,
                "without a configuration file",
            ),
            (|g| g.sentinels.clear(), Grade::Advice, "No sentinel was asked"),
        ];
        for (change, grade, words) in cases {
            let mut group = healthy();
            change(&mut group);
            let found = findings(&group);
            let hit = found.iter().find(|finding| finding.text.contains(words));
            let hit = hit.unwrap_or_else(|| panic!("{words}: {found:#?}"));
            assert_eq!(hit.grade, *grade, "{words}");
            assert!(found.is_sorted_by_key(|finding| std::cmp::Reverse(finding.grade)));
        }
    }
}
