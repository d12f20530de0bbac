//! Answers that show what is known: field maps of masters, replicas and sentinels, caches, help.
//!
//! Names and order of the fields are Redis's; `crash-grace`, at the end of a master's map, is ours
//! and is how two sentinels of this kind recognise each other.
//! Source: redis 7.0 `sentinel.c:addReplySentinelRedisInstance`.

use resp::Reply;
use stdx::MonoMs;

use super::NO_SUCH_MASTER;
use crate::link::Link;
use crate::machine::Sentinel;
use crate::model::{Failover, Master, Node, Peer, Reconf};
use crate::scripts::JobState;

type Fields = Vec<(&'static str, String)>;

impl Sentinel {
    pub(super) fn show_masters(&self, reply: &mut Reply) {
        reply.array(self.masters.len());
        for m in self.masters.values() {
            write_map(reply, &self.master_fields(m));
        }
    }

    pub(super) fn show_master(&self, name: &str, reply: &mut Reply) {
        match self.masters.get(name) {
            Some(m) => write_map(reply, &self.master_fields(m)),
            None => reply.error(NO_SUCH_MASTER),
        }
    }

    pub(super) fn show_replicas(&self, name: &str, reply: &mut Reply) {
        let Some(m) = self.masters.get(name) else { return reply.error(NO_SUCH_MASTER) };
        let shown: Vec<_> = m.replicas.iter().filter(|(_, n)| n.announced).collect();
        reply.array(shown.len());
        for (key, node) in shown {
            write_map(reply, &self.replica_fields(m, node, m.failover.chosen() == Some(key)));
        }
    }

    pub(super) fn show_sentinels(&self, name: &str, reply: &mut Reply) {
        let Some(m) = self.masters.get(name) else { return reply.error(NO_SUCH_MASTER) };
        reply.array(m.peers.len());
        for peer in m.peers.values() {
            write_map(reply, &self.peer_fields(m, peer));
        }
    }

    fn master_fields(&self, m: &Master) -> Fields {
        let mut flags = down_flags(m.node.s_down, m.o_down);
        flags.push("master");
        let link = self.c.link(m.node.link);
        if disconnected(link) {
            flags.push("disconnected");
        }
        if let Some(term) = m.failover.term() {
            flags.push("failover_in_progress");
            if term.cause != crate::model::Cause::Down {
                flags.push("force_failover");
            }
        }
        if m.node.script_kill_sent {
            flags.push("script_kill_sent");
        }
        let told = self.c.told(&m.node.addr, &m.node.views, self.c.seen());
        let mut fields = head(m.name.clone(), told, &m.node.runid, &flags, link);
        if m.failover != Failover::Idle {
            fields.push(("failover-state", m.failover.word().to_string()));
        }
        self.clocks(&mut fields, link, m.node.s_down, m.o_down, m.down_after);
        self.role_fields(&mut fields, &m.node);
        fields.push(("config-epoch", m.config_epoch.to_string()));
        fields.push(("num-slaves", m.replicas.len().to_string()));
        fields.push(("num-other-sentinels", m.peers.len().to_string()));
        fields.push(("quorum", m.quorum.to_string()));
        fields.push(("failover-timeout", m.failover_timeout.to_string()));
        fields.push(("parallel-syncs", m.parallel_syncs.to_string()));
        if let Some(path) = &m.notification_script {
            fields.push(("notification-script", path.clone()));
        }
        if let Some(path) = &m.client_reconfig_script {
            fields.push(("client-reconfig-script", path.clone()));
        }
        fields.push(("crash-grace", m.crash_grace.to_string()));
        if m.forget_after > 0 {
            fields.push(("forget-after", m.forget_after.to_string()));
        }
        fields
    }

    fn replica_fields(&self, m: &Master, node: &Node, chosen: bool) -> Fields {
        let link = self.c.link(node.link);
        let mut flags = down_flags(node.s_down, None);
        flags.push("slave");
        if disconnected(link) {
            flags.push("disconnected");
        }
        if chosen {
            flags.push("promoted");
        }
        match node.reconf {
            Reconf::None => {}
            Reconf::Sent(_) => flags.push("reconf_sent"),
            Reconf::InProgress => flags.push("reconf_inprog"),
            Reconf::Done => flags.push("reconf_done"),
        }
        if node.script_kill_sent {
            flags.push("script_kill_sent");
        }
        let told = self.c.told(&node.addr, &node.views, self.c.seen());
        let name = format!("{}:{}", told.0, told.1);
        let mut fields = head(name, told, &node.runid, &flags, link);
        self.clocks(&mut fields, link, node.s_down, None, m.down_after);
        self.role_fields(&mut fields, node);
        let status = if node.master_link_up { "ok" } else { "err" };
        fields.push(("master-link-down-time", node.master_link_down_ms.to_string()));
        fields.push(("master-link-status", status.to_string()));
        let (master_host, master_port) = self.master_of(m, node);
        fields.push(("master-host", master_host));
        fields.push(("master-port", master_port.to_string()));
        fields.push(("slave-priority", node.priority.to_string()));
        fields.push(("slave-repl-offset", node.repl_offset.to_string()));
        fields.push(("replica-announced", u8::from(node.announced).to_string()));
        fields
    }

    fn peer_fields(&self, m: &Master, peer: &Peer) -> Fields {
        let link = self.c.link(peer.link);
        let mut flags = down_flags(peer.s_down, None);
        flags.push("sentinel");
        if disconnected(link) {
            flags.push("disconnected");
        }
        if peer.master_down {
            flags.push("master_down");
        }
        let runid = peer.runid.clone().unwrap_or_default();
        let told = self.c.told(&peer.addr, &peer.views, self.c.seen());
        let mut fields = head(peer.key(), told, &runid, &flags, link);
        self.clocks(&mut fields, link, peer.s_down, None, m.down_after);
        fields.push(("last-hello-message", self.age(peer.last_hello)));
        fields.push(("voted-leader", peer.leader.clone().unwrap_or_else(|| "?".to_string())));
        fields.push(("voted-leader-epoch", peer.leader_epoch.to_string()));
        fields
    }

    /// The address that a replica names as its master's.
    fn master_of(&self, m: &Master, node: &Node) -> (String, u16) {
        let Some(host) = &node.master_host else { return ("?".to_string(), node.master_port) };
        let seen = self.c.seen();
        // In our own view it is shown as the replica said it.
        match m.node_at(host, node.master_port).filter(|_| seen.view.is_some()) {
            Some(master) => self.c.told(&master.addr, &master.views, seen),
            None => (host.clone(), node.master_port),
        }
    }

    fn clocks(
        &self,
        fields: &mut Fields,
        link: &Link,
        s_down: Option<MonoMs>,
        o_down: Option<MonoMs>,
        down_after: u64,
    ) {
        let owed = link.down_clock.map_or_else(|| "0".to_string(), |at| self.age(at));
        fields.push(("last-ping-sent", owed));
        fields.push(("last-ok-ping-reply", self.age(link.last_ok)));
        fields.push(("last-ping-reply", self.age(link.last_pong)));
        if let Some(since) = s_down {
            fields.push(("s-down-time", self.age(since)));
        }
        if let Some(since) = o_down {
            fields.push(("o-down-time", self.age(since)));
        }
        fields.push(("down-after-milliseconds", down_after.to_string()));
    }

    fn role_fields(&self, fields: &mut Fields, node: &Node) {
        let refreshed = node.info_at.map_or_else(|| "0".to_string(), |at| self.age(at));
        fields.push(("info-refresh", refreshed));
        fields.push(("role-reported", node.role.word().to_string()));
        fields.push(("role-reported-time", self.age(node.role_at)));
    }

    fn age(&self, since: MonoMs) -> String {
        self.c.now().since(since).to_string()
    }

    pub(super) fn show_info_cache(&self, names: &[String], reply: &mut Reply) {
        let shown: Vec<_> = self.masters.values().filter(|m| names.contains(&m.name)).collect();
        reply.array(shown.len() * 2);
        for m in shown {
            reply.text(&m.name);
            reply.array(1 + m.replicas.len());
            for node in std::iter::once(&m.node).chain(m.replicas.values()) {
                reply.array(2);
                let age = node.info_at.map_or(0, |at| self.c.now().since(at));
                reply.integer(age as i64);
                if node.info_text.is_empty() {
                    reply.null();
                } else {
                    reply.bulk(&node.info_text);
                }
            }
        }
    }

    pub(super) fn show_scripts(&self, reply: &mut Reply) {
        let now = self.c.now();
        reply.array(self.c.scripts.queue.len());
        for job in &self.c.scripts.queue {
            let (flags, pid, time_name, time) = match job.state {
                JobState::Running { since, pid, .. } => {
                    ("running", pid, Some("run-time"), now.since(since))
                }
                JobState::Waiting { not_before } => {
                    let delay = not_before.since(now);
                    ("scheduled", 0, (delay > 0).then_some("run-delay"), delay)
                }
            };
            reply.map(4 + usize::from(time_name.is_some()));
            reply.text("argv");
            reply.array(job.argv.len());
            job.argv.iter().for_each(|arg| reply.text(arg));
            reply.text("flags");
            reply.text(flags);
            reply.text("pid");
            reply.text(&pid.to_string());
            if let Some(name) = time_name {
                reply.text(name);
                reply.text(&time.to_string());
            }
            reply.text("retry-num");
            reply.text(&job.tries.to_string());
        }
    }
}

/// The fields that all kinds begin with.
fn head(
    name: String,
    (host, port): (String, u16),
    runid: &str,
    flags: &[&str],
    link: &Link,
) -> Fields {
    vec![
        ("name", name),
        ("ip", host),
        ("port", port.to_string()),
        ("runid", runid.to_string()),
        ("flags", flags.join(",")),
        ("link-pending-commands", link.pending.len().to_string()),
        ("link-refcount", link.refcount.to_string()),
    ]
}

fn write_map(reply: &mut Reply, fields: &Fields) {
    reply.map(fields.len());
    for (name, value) in fields {
        reply.text(name);
        reply.text(value);
    }
}

fn down_flags(s_down: Option<MonoMs>, o_down: Option<MonoMs>) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if s_down.is_some() {
        flags.push("s_down");
    }
    if o_down.is_some() {
        flags.push("o_down");
    }
    flags
}

fn disconnected(link: &Link) -> bool {
    let needs_pubsub = link.owner != crate::link::Owner::Peer;
    !link.cmd.is_up() || (needs_pubsub && !link.pubsub.is_up())
}

/// The reply to `is-master-down-by-addr`.
pub(super) fn opinion(reply: &mut Reply, down: bool, leader: Option<(String, u64)>) {
    let (leader, epoch) = leader.unwrap_or_else(|| ("*".to_string(), 0));
    reply.array(3);
    reply.integer(i64::from(down));
    reply.text(&leader);
    reply.integer(i64::try_from(epoch).unwrap_or(i64::MAX));
}

/// One line per subcommand and explanation, as Redis prints them.
const HELP: [&str; 49] = [
    "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CKQUORUM <master-name>",
    "    Check if the current Sentinel configuration is able to reach the quorum",
    "    needed to failover a master and the majority needed to authorize the",
    "    failover.",
    "CONFIG SET <param> <value>",
    "    Set a global Sentinel configuration parameter.",
    "CONFIG GET <param>",
    "    Get global Sentinel configuration parameter.",
    "DEBUG [<param> <value> ...]",
    "    Show a list of configurable time parameters and their values (milliseconds).",
    "    Or update current configurable parameters values (one or more).",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    Return the ip and port number of the master with that name.",
    "FAILOVER <master-name>",
    "    Manually failover a master node without asking for agreement from other",
    "    Sentinels",
    "FLUSHCONFIG",
    "    Force Sentinel to rewrite its configuration on disk, including the current",
    "    Sentinel state.",
    "INFO-CACHE <master-name>",
    "    Return last cached INFO output from masters and all its replicas.",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    Check if the master specified by ip:port is down from current Sentinel's",
    "    point of view.",
    "MASTER <master-name>",
    "    Show the state and info of the specified master.",
    "MASTERS",
    "    Show a list of monitored masters and their state.",
    "MONITOR <name> <ip> <port> <quorum>",
    "    Start monitoring a new master with the specified name, ip, port and quorum.",
    "MYID",
    "    Return the ID of the Sentinel instance.",
    "PENDING-SCRIPTS",
    "    Get pending scripts information.",
    "REMOVE <master-name>",
    "    Remove master from Sentinel's monitor list.",
    "REPLICAS <master-name>",
    "    Show a list of replicas for this master and their state.",
    "RESET <pattern>",
    "    Reset masters for specific master name matching this pattern.",
    "SENTINELS <master-name>",
    "    Show a list of Sentinel instances for this master and their state.",
    "SET <master-name> <option> <value> [<option> <value> ...]",
    "    Set configuration parameters for certain masters.",
    "SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]",
    "    Simulate a Sentinel crash.",
    "HELP",
    "    Prints this help.",
];

pub(super) fn help(reply: &mut Reply) {
    reply.array(HELP.len());
    HELP.iter().for_each(|line| reply.simple(line));
}
