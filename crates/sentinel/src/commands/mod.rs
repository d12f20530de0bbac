//! The commands that a Sentinel answers from its own knowledge: SENTINEL and its subcommands, INFO,
//! ROLE, PUBLISH and PING. Sessions, logins and subscriptions are the driver's.
//!
//! Source: redis 7.0 `sentinel.c:sentinelCommand`, `sentinelInfoCommand`, `sentinelRoleCommand`,
//! `sentinelPublishCommand`; the names with `primary` are Valkey 8's.

mod change;
mod show;

use resp::Reply;

use crate::api::{CommandOutcome, LogLevel};
use crate::conf::valid_runid;
use crate::core::{FAIL_AFTER_ELECTION, FAIL_AFTER_PROMOTION};
use crate::hello::{HELLO_CHANNEL, Hello};
use crate::machine::Sentinel;
use crate::model::{Cause, Plan};
use crate::views::Seen;
use crate::{failover, planned, select, vote};

const NO_SUCH_MASTER: &str = "ERR No such master with that name";

/// Subcommands with their number of words, the command included; negative: at least so many.
const ARITY: [(&str, i32); 25] = [
    ("ckquorum", 3),
    ("config", -3),
    ("debug", -2),
    ("failover", -3),
    ("flushconfig", 2),
    ("get-master-addr-by-name", 3),
    ("get-primary-addr-by-name", 3),
    ("help", 2),
    ("info-cache", -3),
    ("is-master-down-by-addr", 6),
    ("is-primary-down-by-addr", 6),
    ("master", 3),
    ("masters", 2),
    ("monitor", 6),
    ("myid", 2),
    ("pending-scripts", 2),
    ("primaries", 2),
    ("primary", 3),
    ("remove", 3),
    ("replicas", 3),
    ("reset", 3),
    ("sentinels", 3),
    ("set", -5),
    ("simulate-failure", -3),
    ("slaves", 3),
];

fn arity_fits(arity: i32, words: usize) -> bool {
    let words = i32::try_from(words).unwrap_or(i32::MAX);
    if arity >= 0 { words == arity } else { words >= -arity }
}

fn wrong_number(reply: &mut Reply, command: &str) -> CommandOutcome {
    reply.error(&format!("ERR wrong number of arguments for '{command}' command"));
    CommandOutcome::Done
}

impl Sentinel {
    pub(crate) fn dispatch_command(&mut self, argv: &[&[u8]], reply: &mut Reply) -> CommandOutcome {
        let args: Vec<String> =
            argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        let Some(name) = args.first().map(|a| a.to_ascii_lowercase()) else {
            reply.error("ERR unknown command '', with args beginning with: ");
            return CommandOutcome::Done;
        };
        match name.as_str() {
            "sentinel" if args.len() < 2 => wrong_number(reply, "sentinel"),
            "sentinel" => self.sentinel_command(&args, reply),
            "info" => {
                let names: Vec<&[u8]> = argv[1..].to_vec();
                let view = self.c.asker_view.clone();
                let text = self.info(view.as_deref(), &names, &[]);
                reply.bulk(text.as_bytes());
                CommandOutcome::Done
            }
            "role" if args.len() == 1 => {
                reply.array(2);
                reply.text("sentinel");
                reply.array(self.masters.len());
                self.masters.keys().for_each(|name| reply.text(name));
                CommandOutcome::Done
            }
            "publish" if args.len() == 3 => self.publish(&args, reply),
            "ping" if args.len() <= 2 => {
                match argv.get(1) {
                    Some(text) => reply.bulk(text),
                    None => reply.simple("PONG"),
                }
                CommandOutcome::Done
            }
            "role" | "publish" | "ping" => wrong_number(reply, &name),
            _ => {
                let quoted: String = args[1..].iter().map(|a| format!("'{a}' ")).collect();
                let cut: String = quoted.chars().take(128).collect();
                reply.error(&format!(
                    "ERR unknown command '{}', with args beginning with: {cut}",
                    args[0].chars().take(128).collect::<String>()
                ));
                CommandOutcome::Done
            }
        }
    }

    /// PUBLISH takes hellos from peers, nothing else.
    fn publish(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        if args[1] != HELLO_CHANNEL {
            reply.error("ERR Only HELLO messages are accepted by Sentinel instances.");
            return CommandOutcome::Done;
        }
        if let Some(hello) = Hello::parse(&args[2]) {
            self.take_hello(&hello);
        }
        reply.integer(1);
        CommandOutcome::Done
    }

    fn sentinel_command(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        let sub = args[1].to_ascii_lowercase();
        let Some((_, arity)) = ARITY.iter().find(|(name, _)| *name == sub) else {
            let shown: String = args[1].chars().take(128).collect();
            reply.error(&format!("ERR unknown subcommand '{shown}'. Try SENTINEL HELP."));
            return CommandOutcome::Done;
        };
        if !arity_fits(*arity, args.len()) {
            return wrong_number(reply, &format!("sentinel|{sub}"));
        }
        if let Some((name, view)) = args.get(2).and_then(|name| self.split_name(&sub, name)) {
            let mut args = args.to_vec();
            self.c.asker_view = (view != stdx::CANONICAL_VIEW).then(|| view.to_string());
            args[2] = name.to_string();
            return self.subcommand(&sub, &args, reply);
        }
        self.subcommand(&sub, args, reply)
    }

    fn subcommand(&mut self, sub: &str, args: &[String], reply: &mut Reply) -> CommandOutcome {
        match sub {
            "help" => show::help(reply),
            "masters" | "primaries" => self.show_masters(reply),
            "master" | "primary" => self.show_master(&args[2], reply),
            "replicas" | "slaves" => self.show_replicas(&args[2], reply),
            "sentinels" => self.show_sentinels(&args[2], reply),
            "myid" => reply.text(&self.c.myid),
            "info-cache" => self.show_info_cache(&args[2..], reply),
            "pending-scripts" => self.show_scripts(reply),
            "ckquorum" => self.ckquorum(&args[2], reply),
            "get-master-addr-by-name" | "get-primary-addr-by-name" => {
                self.master_addr(&args[2], reply);
            }
            "is-master-down-by-addr" | "is-primary-down-by-addr" => {
                return self.is_master_down(args, reply);
            }
            "failover" => return self.forced_failover(&args[2..], reply),
            "simulate-failure" => self.simulate_failure(&args[2..], reply),
            "debug" => self.debug(&args[2..], reply),
            "config" => return self.config(&args[2..], reply),
            "monitor" => return self.monitor(args, reply),
            "remove" => return self.remove(&args[2], reply),
            "reset" => return self.reset(&args[2], reply),
            "set" => return self.set(args, reply),
            _ => {
                assert_eq!(sub, "flushconfig", "every subcommand of the table is handled");
                reply.ok();
                return CommandOutcome::AfterPersist(self.c.persist());
            }
        }
        CommandOutcome::Done
    }

    fn master_addr(&self, name: &str, reply: &mut Reply) {
        let Some(m) = self.masters.get(name) else { return reply.null_array() };
        let node = m.current_node();
        let (host, port) = self.c.told(&node.addr, &node.views, self.c.seen());
        reply.array(2);
        reply.text(&host);
        reply.text(&port.to_string());
    }

    /// `is-master-down-by-addr IP PORT EPOCH RUNID|*`: an opinion, and a vote if one is asked for.
    fn is_master_down(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        let number = |text: &str| stdx::parse_i64(text.as_bytes());
        let (Some(port), Some(epoch)) = (number(&args[3]), number(&args[4])) else {
            reply.error("ERR value is not an integer or out of range");
            return CommandOutcome::Done;
        };
        let (host, candidate) = (&args[2], &args[5]);
        let port = u16::try_from(port).ok();
        let found =
            self.masters.values_mut().find(|m| port.is_some_and(|p| m.node.addr.is(host, p)));
        let Some(m) = found else {
            show::opinion(reply, false, None);
            return CommandOutcome::Done;
        };
        m.deadline = self.c.now();
        let down = self.c.tilt.is_none() && m.node.s_down.is_some();
        if candidate == "*" {
            vote::ask_again_soon(&self.c, m);
            show::opinion(reply, down, None);
            return CommandOutcome::Done;
        }
        if let Ok(epoch) = u64::try_from(epoch)
            && valid_runid(candidate)
        {
            vote::vote(&mut self.c, m, epoch, candidate);
        }
        let leader = m.leader.clone().map(|leader| (leader, m.leader_epoch));
        let told = leader.is_some();
        show::opinion(reply, down, leader);
        // A vote that was given is told only once it cannot be forgotten.
        let token = self.c.latest_token();
        if told && !self.c.is_durable(token) {
            CommandOutcome::AfterPersist(token)
        } else {
            CommandOutcome::Done
        }
    }

    /// `FAILOVER name [COORDINATED]`: the last word is Valkey 9's.
    fn forced_failover(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        let coordinated = match &args[1..] {
            [] => false,
            [word] if word.eq_ignore_ascii_case("coordinated") => true,
            [_] => {
                reply.error("ERR Unknown failover option specified");
                return CommandOutcome::Done;
            }
            _ => return wrong_number(reply, "sentinel|failover"),
        };
        let Some(m) = self.masters.get_mut(&args[0]) else {
            reply.error(NO_SUCH_MASTER);
            return CommandOutcome::Done;
        };
        if !m.failover.is_idle() {
            reply.error("INPROG Failover already in progress");
        } else if select::choose(&self.c, m).is_none() {
            reply.error("NOGOODSLAVE No suitable replica to promote");
        } else if let Some(until) = self.c.muted_until()
            && !failover::has_heard_epochs(m)
        {
            // This start was without state: an epoch opened now might have been used before.
            let wait = until.since(self.c.now());
            reply.error(&format!(
                "INPROG Sentinel has lost its state and takes part in failovers in {wait} ms"
            ));
        } else {
            let cause = if coordinated {
                Cause::Planned(Plan::Coordinated)
            } else if planned::is_fit(&self.c, m) {
                Cause::Planned(Plan::Anyhow)
            } else {
                Cause::Forced
            };
            failover::force(&mut self.c, m, cause);
            m.deadline = self.c.now();
            reply.ok();
        }
        CommandOutcome::Done
    }

    fn ckquorum(&self, name: &str, reply: &mut Reply) {
        let Some(m) = self.masters.get(name) else { return reply.error(NO_SUCH_MASTER) };
        let usable = 1 + m.peers.values().filter(|p| p.s_down.is_none()).count() as u64;
        let mut missing = Vec::new();
        if usable < m.quorum {
            missing.push(
                "Not enough available Sentinels to reach the specified quorum for this master",
            );
        }
        if usable < m.majority() {
            missing.push(
                "Not enough available Sentinels to reach the majority and authorize a failover",
            );
        }
        if missing.is_empty() {
            reply.simple(&format!(
                "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
            ));
        } else {
            reply.error(&format!("NOQUORUM {usable} usable Sentinels. {}", missing.join(". ")));
        }
    }

    fn simulate_failure(&mut self, flags: &[String], reply: &mut Reply) {
        if flags.iter().any(|f| f.eq_ignore_ascii_case("help")) {
            reply.array(2);
            reply.text("crash-after-election");
            return reply.text("crash-after-promotion");
        }
        let mut chosen = 0;
        for flag in flags {
            let (bit, when) = match flag.to_ascii_lowercase().as_str() {
                "crash-after-election" => {
                    (FAIL_AFTER_ELECTION, "being successfully elected as failover leader")
                }
                "crash-after-promotion" => {
                    (FAIL_AFTER_PROMOTION, "promoting the selected replica to master")
                }
                _ => return reply.error("ERR Unknown failure simulation specified"),
            };
            chosen |= bit;
            let line = format!("Failure simulation: this Sentinel will crash after {when}");
            self.c.log(LogLevel::Warning, line);
        }
        self.c.simulate_failure = chosen;
        reply.ok();
    }

    /// The text of INFO: of the process's own `sections` (name in lower case and text, which ends
    /// with a line end) and of the Sentinel section those that `names` ask for, all when there are
    /// no names. Addresses are those of `view`.
    pub fn info(&self, view: Option<&str>, names: &[&[u8]], sections: &[(&str, String)]) -> String {
        let wanted = |section: &str| {
            names.is_empty()
                || names.iter().any(|n| {
                    let n = String::from_utf8_lossy(n).to_ascii_lowercase();
                    n == section || matches!(n.as_str(), "all" | "everything" | "default")
                })
        };
        let mut parts: Vec<String> = sections
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, text)| text.clone())
            .collect();
        if wanted("sentinel") {
            parts.push(self.info_section(Seen { view, suffixed: false }));
        }
        parts.join("\r\n")
    }

    fn info_section(&self, seen: Seen<'_>) -> String {
        let c = &self.c;
        let tilt_for = c.tilt.map_or(-1, |since| (c.now().since(since) / 1000) as i64);
        let mut text = format!(
            "# Sentinel\r\nsentinel_masters:{}\r\nsentinel_tilt:{}\r\n\
             sentinel_tilt_since_seconds:{tilt_for}\r\nsentinel_running_scripts:{}\r\n\
             sentinel_scripts_queue_length:{}\r\nsentinel_simulate_failure_flags:{}\r\n",
            self.masters.len(),
            u8::from(c.tilt.is_some()),
            c.scripts.running(),
            c.scripts.queue.len(),
            c.simulate_failure
        );
        for (index, m) in self.masters.values().enumerate() {
            let status = if m.o_down.is_some() {
                "odown"
            } else if m.node.s_down.is_some() {
                "sdown"
            } else {
                "ok"
            };
            let (host, port) = c.told(&m.node.addr, &m.node.views, seen);
            text.push_str(&format!(
                "master{index}:name={},status={status},address={host}:{port},slaves={},sentinels={}\r\n",
                m.name,
                m.replicas.len(),
                m.peers.len() + 1
            ));
        }
        if let Some(views) = c.views.as_ref().filter(|views| !views.is_empty()) {
            text.push_str(&format!("announced_views:{views}\r\n"));
        }
        text
    }
}
