//! Asking data nodes for INFO and learning from it.
//!
//! Source: redis 7.0 `sentinel.c:sentinelRefreshInstanceInfo`, `sentinelSendPeriodicCommands`.

use stdx::{MonoMs, ViewAddrs};

use crate::addr::{Addr, parse_port, valid_host};
use crate::api::LogLevel;
use crate::conf::atoi;
use crate::core::Core;
use crate::failover;
use crate::link::{Owner, Pending};
use crate::model::{Failover, Master, Node, ReplicaKey, Role};
use crate::timing::{FAST_INFO_MS, HAND_OVER_INFO_MS};

/// How long a master that is new to us is asked for its replicas every second.
const SETTLING_MS: u64 = 15_000;

/// Which data node of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Master,
    Replica(ReplicaKey),
}

impl Which {
    pub fn node<'a>(&self, m: &'a Master) -> Option<&'a Node> {
        match self {
            Which::Master => Some(&m.node),
            Which::Replica(key) => m.replicas.get(key),
        }
    }

    pub fn node_mut<'a>(&self, m: &'a mut Master) -> Option<&'a mut Node> {
        match self {
            Which::Master => Some(&mut m.node),
            Which::Replica(key) => m.replicas.get_mut(key),
        }
    }
}

/// What an INFO says, as far as Sentinel reads it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub run_id: Option<String>,
    pub role: Option<Role>,
    pub replicas: Vec<(String, u16)>,
    pub link_down_ms: u64,
    pub master_host: Option<String>,
    pub master_port: Option<u16>,
    pub link_up: Option<bool>,
    pub priority: Option<i64>,
    pub repl_offset: Option<i64>,
    pub announced: Option<bool>,
    /// `master_repl_offset`
    pub master_offset: Option<i64>,
    /// `master_failover_state` is other than `no-failover`; `None` where FAILOVER is not known.
    pub handing_over: Option<bool>,
    /// All keys, `None` while the node loads its data.
    pub keys: Option<u64>,
    /// Further addresses, if it is a server that knows of such.
    pub views: Option<ViewAddrs>,
}

impl Facts {
    /// Reads the text of INFO. Lines that make no sense are passed over.
    pub fn parse(text: &str) -> Facts {
        let mut facts = Facts::default();
        let (mut keys, mut loading) = (0u64, false);
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            match key {
                "run_id" if crate::conf::valid_runid(value) && value.len() == 40 => {
                    facts.run_id = Some(value.to_string());
                }
                "role" if value.starts_with("master") => facts.role = Some(Role::Master),
                "role" if value.starts_with("slave") => facts.role = Some(Role::Replica),
                "master_link_down_since_seconds" => {
                    facts.link_down_ms =
                        u64::try_from(atoi(value)).unwrap_or(0).saturating_mul(1000);
                }
                "master_host" => facts.master_host = Some(value.to_string()),
                "master_port" => facts.master_port = parse_port(value),
                "master_link_status" => facts.link_up = Some(value == "up"),
                "slave_priority" => facts.priority = Some(atoi(value)),
                "slave_repl_offset" => facts.repl_offset = Some(atoi(value)),
                "master_repl_offset" => facts.master_offset = Some(atoi(value)),
                "master_failover_state" => facts.handing_over = Some(value != "no-failover"),
                "loading" => loading = atoi(value) != 0,
                _ if is_db(key) => keys = keys.saturating_add(keys_of(value)),
                "replica_announced" => facts.announced = Some(atoi(value) != 0),
                _ => facts.replicas.extend(replica_line(key, value)),
            }
        }
        facts.keys = (!loading).then_some(keys);
        facts.views = crate::views::announced(text);
        facts
    }
}

/// `dbN`, a line of the section Keyspace.
fn is_db(key: &str) -> bool {
    let number = key.strip_prefix("db").unwrap_or("");
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

fn keys_of(value: &str) -> u64 {
    let count = value.split(',').find_map(|part| part.strip_prefix("keys="));
    count.map_or(0, |count| u64::try_from(atoi(count)).unwrap_or(0))
}

/// `slaveN:ip=…,port=…,…`, or `slaveN:ip,port,state` of very old servers.
fn replica_line(key: &str, value: &str) -> Option<(String, u16)> {
    let number = key.strip_prefix("slave")?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let field =
        |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (host, port) = match (field("ip"), field("port")) {
        (Some(host), Some(port)) => (host, port),
        _ => {
            let mut parts = value.split(',');
            (parts.next()?, parts.next()?)
        }
    };
    let port = parse_port(port)?;
    (valid_host(host) && port != 0).then(|| (host.to_string(), port))
}

/// Asks every node of `m` for INFO that is due for it.
pub(crate) fn ask_due(c: &mut Core, m: &mut Master) {
    // Whoever leads may hand over, and may be gone in the middle of it.
    let following = m.following.is_some();
    let hurry = m.o_down.is_some() || !m.failover.is_idle() || following;
    let (handing_over, chosen) = match &m.failover {
        Failover::HandOver { chosen, .. } => (true, Some(chosen)),
        _ => (false, None),
    };
    // Replicas turn up one after the other after a start or a switch: the master is asked more
    // often then.
    let settling = c.now().since(m.node.added_at) < SETTLING_MS;
    let master_period = if handing_over {
        HAND_OVER_INFO_MS
    } else if settling || following || m.node.role == Role::Replica {
        c.periods.info.min(1000)
    } else {
        c.periods.info
    };
    ask_node(c, &mut m.node, master_period);
    for (key, node) in &mut m.replicas {
        let now = c.now();
        let period = if chosen == Some(key) {
            HAND_OVER_INFO_MS
        } else if node.fast_info_until > now {
            FAST_INFO_MS
        } else if hurry || node.master_link_down_ms != 0 || node.role == Role::Master {
            c.periods.info.min(1000)
        } else {
            c.periods.info
        };
        ask_node(c, node, period);
    }
}

fn ask_node(c: &mut Core, node: &mut Node, period: u64) {
    let link = &c.links[&node.link];
    let conn = if link.cmd.is_up() { link.cmd.conn() } else { None };
    if conn.is_none() {
        return;
    }
    // On a new connection at once: who is it that came back?
    let fresh = node.info_conn != conn;
    if !fresh && (link.awaits(|p| matches!(p, Pending::Info)) || !c.io.due(node.info_sent, period))
    {
        return;
    }
    if c.send(node.link, Pending::Info, &["INFO"]) {
        node.info_conn = conn;
        node.info_sent = c.now();
        c.io.wake_at(node.info_sent + period);
    }
}

/// Takes an INFO of one node in.
pub(crate) fn refresh(c: &mut Core, m: &mut Master, which: &Which, text: &[u8]) {
    let now = c.now();
    let facts = Facts::parse(&String::from_utf8_lossy(text));
    let reboot_period = m.reboot_down_after;
    let Some(node) = which.node_mut(m) else { return };
    node.info_text = text.to_vec();
    node.info_at = Some(now);
    node.live_info = true;
    let rebooted = note_run_id(node, &facts, reboot_period, now);
    if rebooted {
        node_event(c, m, which, LogLevel::Notice, "+reboot", "");
    }
    if facts.run_id.is_some() {
        drop_doubles(c, m);
    }
    if which.node(m).is_none() {
        return;
    }
    // An old master that has come back may have replicas of its own that nobody else knows.
    let was_master = which.node(m).is_some_and(|n| n.may_be_old_master);
    if facts.role == Some(Role::Master) && (*which == Which::Master || was_master) {
        for (host, port) in &facts.replicas {
            add_replica(c, m, host, *port);
        }
    }
    // A master that has become a replica while nobody else of its group is known here (a sentinel
    // that started anew from its first file) names the only way out: the node that it follows.
    if facts.role == Some(Role::Replica)
        && *which == Which::Master
        && m.replicas.is_empty()
        && let (Some(host), Some(port)) = (&facts.master_host, facts.master_port)
        && valid_host(host)
    {
        add_replica(c, m, host, port);
    }
    let Some(node) = which.node_mut(m) else { return };
    note_replica_facts(node, &facts, now);
    node.handing_over = facts.handing_over;
    node.keys = facts.keys.unwrap_or(node.keys);
    if let Some(views) = &facts.views
        && node.views != *views
    {
        node.views.clone_from(views);
        c.persist();
    }
    if *which == Which::Master {
        judge_poverty(c, m, &facts, rebooted);
    }
    if let Some(role) = facts.role {
        note_role(c, m, which, role);
    }
    if c.tilt.is_some() {
        return;
    }
    if let Which::Replica(key) = which
        && facts.role == Some(Role::Master)
        && matches!(&m.failover, Failover::WaitPromotion { chosen, .. }
            | Failover::HandOver { chosen, .. } if chosen == key)
    {
        failover::become_reconf_replicas(c, m);
    }
}

/// A master that is another process than before, with fewer keys and a shorter history than a
/// replica of it, has lost data that the replica still has: it counts as down, so that the replica
/// takes over before it obeys.
fn judge_poverty(c: &mut Core, m: &mut Master, facts: &Facts, rebooted: bool) {
    if rebooted {
        m.node.fresh_run = true;
    }
    let master = facts.role == Some(Role::Master);
    let (Some(keys), Some(offset)) = (facts.keys, facts.master_offset) else { return };
    let richer = |node: &&Node| node.keys > keys && node.repl_offset > offset;
    let lost = m.replicas.values().filter(richer).map(|node| node.repl_offset).max();
    let poor = m.node.fresh_run && master && lost.is_some();
    if poor && m.node.poor_since.is_none() {
        m.node.poor_since = Some(c.now());
        node_event(c, m, &Which::Master, LogLevel::Warning, "+came-back-empty", "");
        // One of our kind takes no writes then; others answer an error.
        let offset = lost.unwrap_or(0).to_string();
        c.send(m.node.link, Pending::Ignored, &["REPLCONF", "empty-master", &offset]);
    } else if !poor {
        m.node.poor_since = None;
        // What it has now is what its replicas have, or more: nothing is lost any more.
        m.node.fresh_run &= lost.is_some() || m.replicas.is_empty();
    }
}

/// Returns true when the node is another process than before.
fn note_run_id(node: &mut Node, facts: &Facts, reboot_period: u64, now: MonoMs) -> bool {
    let Some(runid) = &facts.run_id else { return false };
    if node.runid == *runid {
        return false;
    }
    let rebooted = !node.runid.is_empty();
    node.runid.clone_from(runid);
    if rebooted && reboot_period != 0 {
        node.reboot_since = Some(now);
    }
    rebooted
}

fn note_replica_facts(node: &mut Node, facts: &Facts, now: MonoMs) {
    node.master_link_down_ms = facts.link_down_ms;
    if facts.role != Some(Role::Replica) {
        return;
    }
    if let Some(host) = &facts.master_host
        && node.master_host.as_ref() != Some(host)
    {
        node.master_host = Some(host.clone());
        node.conf_change_at = now;
    }
    if let Some(port) = facts.master_port
        && node.master_port != port
    {
        node.master_port = port;
        node.conf_change_at = now;
    }
    node.master_link_up = facts.link_up.unwrap_or(node.master_link_up);
    node.priority = facts.priority.unwrap_or(node.priority);
    node.repl_offset = facts.repl_offset.unwrap_or(node.repl_offset);
    node.announced = facts.announced.unwrap_or(node.announced);
}

fn note_role(c: &mut Core, m: &mut Master, which: &Which, role: Role) {
    let now = c.now();
    let Some(node) = which.node_mut(m) else { return };
    if role == Role::Replica {
        node.may_be_old_master = false;
    }
    if node.role == role {
        return;
    }
    node.role = role;
    node.role_at = now;
    if role == Role::Replica {
        node.conf_change_at = now;
    }
    let as_expected = (*which == Which::Master) == (role == Role::Master);
    let name = if as_expected { "+role-change" } else { "-role-change" };
    let extra = format!(" new reported role is {}", role.word());
    node_event(c, m, which, LogLevel::Verbose, name, &extra);
}

/// An event about the master or one of its replicas.
pub(crate) fn node_event(
    c: &mut Core,
    m: &Master,
    which: &Which,
    level: LogLevel,
    name: &str,
    extra: &str,
) {
    match which {
        Which::Master => c.master_event(level, name, m, extra),
        Which::Replica(key) => {
            if let Some(node) = m.replicas.get(key) {
                c.replica_event(level, name, m, node, extra);
            }
        }
    }
}

/// Makes a replica known that the master has named.
pub(crate) fn add_replica(c: &mut Core, m: &mut Master, host: &str, port: u16) {
    let addr = Addr::new(host, port);
    if m.replica_at(host, port).is_some() || m.node.addr.same(&addr) {
        return;
    }
    if addr.is_name() && !c.globals.resolve_hostnames {
        return;
    }
    let key = insert_replica(c, m, addr);
    if let Some(node) = m.replicas.get(&key) {
        c.replica_event(LogLevel::Notice, "+slave", m, node, "");
    }
    c.persist();
}

/// Adds a replica with a link of its own.
pub(crate) fn insert_replica(c: &mut Core, m: &mut Master, addr: Addr) -> ReplicaKey {
    let key = (addr.announced(c.hostnames()), addr.port);
    assert!(!m.replicas.contains_key(&key), "a replica is added once");
    let now = c.now();
    let link = c.add_node_link(m, Owner::Replica(m.id, key.clone()), addr.clone());
    m.replicas.insert(key.clone(), Node::new(addr, link, Role::Replica, now));
    key
}

/// Forgets replicas that are another entry under another address: a container that came back with
/// a new IP must not leave a phantom. One process is one run id; entries by name stay before those by
/// IP, for only a name can be followed to the next address.
pub(crate) fn drop_doubles(c: &mut Core, m: &mut Master) {
    let doubles: Vec<ReplicaKey> = m
        .replicas
        .iter()
        .filter(|(key, node)| {
            let others = m.replicas.iter().filter(|(other, _)| other != key).map(|(_, n)| n);
            m.failover.chosen() != Some(*key)
                && std::iter::once(&m.node).chain(others).any(|other| is_double(c, node, other))
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in doubles {
        if let Some(node) = m.replicas.remove(&key) {
            let which = c.describe_replica(m, &node);
            c.log(LogLevel::Notice, format!("Forgetting another address of a known node: {which}"));
            c.release_link(node.link);
            c.persist();
        }
    }
}

/// True when `node` is only another address of `other`.
fn is_double(c: &Core, node: &Node, other: &Node) -> bool {
    if node.addr.is_name() {
        return false;
    }
    if other.addr.is_name() && other.addr.same(&node.addr) {
        return true;
    }
    let one_process = !node.runid.is_empty() && node.runid == other.runid;
    let answers = |node: &Node| node.s_down.is_none() && c.link(node.link).cmd.is_up();
    one_process && answers(other) && (other.addr.is_name() || !answers(node))
}
