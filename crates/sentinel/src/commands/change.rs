//! Commands that change the configuration: MONITOR, REMOVE, RESET, SET, CONFIG, DEBUG.
//!
//! Each is answered when the new configuration is on disk, as redis-sentinel saves before it
//! replies. Several options are applied one by one; those before a wrong one stay, as there.
//! Source: redis 7.0 `sentinel.c:sentinelSetCommand`, `sentinelConfigSetCommand`.

use resp::Reply;

use super::NO_SUCH_MASTER;
use crate::addr::{Addr, valid_host};
use crate::api::{CommandOutcome, LogLevel};
use crate::conf::{MasterConf, parse_yes_no};
use crate::core::Core;
use crate::failover;
use crate::link::Owner;
use crate::machine::Sentinel;
use crate::model::{Master, Node, Role};
use crate::timing::Periods;

const SCRIPTS_DENIED: &str = "ERR Reconfiguration of scripts path is denied for security reasons. \
    Check the deny-scripts-reconfig configuration directive in your Sentinel configuration";
const CONFIG_SYNTAX: &str =
    "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.";

/// The options of SENTINEL CONFIG, in the order in which GET prints them.
const CONFIG_OPTIONS: [&str; 7] = [
    "resolve-hostnames",
    "announce-hostnames",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
    "announce-view",
];

impl Sentinel {
    fn saved(&mut self) -> CommandOutcome {
        self.c.touch_all = true;
        CommandOutcome::AfterPersist(self.c.persist())
    }

    /// MONITOR name ip port quorum.
    pub(super) fn monitor(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        let number = |text: &str| stdx::parse_i64(text.as_bytes());
        let refuse = |reply: &mut Reply, text: &str| {
            reply.error(text);
            CommandOutcome::Done
        };
        let Some(quorum) = number(&args[5]) else { return refuse(reply, "ERR Invalid quorum") };
        let Some(port) = number(&args[4]) else { return refuse(reply, "ERR Invalid port") };
        if quorum <= 0 {
            return refuse(reply, "ERR Quorum must be 1 or greater.");
        }
        let addr = Addr::new(&args[3], u16::try_from(port).unwrap_or(0));
        if addr.is_name() && !(self.c.globals.resolve_hostnames && valid_host(&args[3])) {
            return refuse(reply, "ERR Invalid IP address or hostname specified");
        }
        if u16::try_from(port).is_err() {
            return refuse(reply, "ERR Invalid port number.");
        }
        if self.masters.contains_key(&args[2]) {
            return refuse(reply, "ERR Duplicate master name.");
        }
        let conf = MasterConf::new(&args[2], addr, quorum as u64, &self.c.periods);
        self.add_master(conf);
        reply.ok();
        self.saved()
    }

    pub(super) fn remove(&mut self, name: &str, reply: &mut Reply) -> CommandOutcome {
        let Some(m) = self.masters.remove(name) else {
            reply.error(NO_SUCH_MASTER);
            return CommandOutcome::Done;
        };
        self.c.master_event(LogLevel::Warning, "-monitor", &m, "");
        self.release_master(m);
        reply.ok();
        self.saved()
    }

    /// RESET pattern: forgets everything about the masters that is not configuration.
    pub(super) fn reset(&mut self, pattern: &str, reply: &mut Reply) -> CommandOutcome {
        let names: Vec<String> = self
            .masters
            .keys()
            .filter(|name| glob(pattern.as_bytes(), name.as_bytes()))
            .cloned()
            .collect();
        reply.count(names.len());
        if names.is_empty() {
            return CommandOutcome::Done;
        }
        for name in names {
            if let Some(mut m) = self.masters.remove(&name) {
                self.reset_master(&mut m);
                self.masters.insert(name, m);
            }
        }
        self.saved()
    }

    fn reset_master(&mut self, m: &mut Master) {
        self.release_instances(m);
        let now = self.c.now();
        let addr = m.current_addr().clone();
        self.c.release_link(m.node.link);
        let link = self.c.add_node_link(m, Owner::Master(m.id), addr.clone());
        m.node = Node::new(addr, link, Role::Master, now);
        failover::become_idle(m);
        m.o_down = None;
        m.leader = None;
        m.previous = None;
        self.c.master_event(LogLevel::Warning, "+reset-master", m, "");
    }

    /// SET name option value …
    pub(super) fn set(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        let Some(m) = self.masters.get_mut(&args[2]) else {
            reply.error(NO_SUCH_MASTER);
            return CommandOutcome::Done;
        };
        let mut at = 3;
        let mut changed = false;
        let mut login_changed = false;
        while at < args.len() {
            let option = args[at].to_ascii_lowercase();
            let values = if option == "rename-command" { 2 } else { 1 };
            let given = &args[at + 1..args.len().min(at + 1 + values)];
            let outcome = if given.len() < values {
                Err(unknown_option(&args[at]))
            } else {
                set_option(&self.c, m, &option, given)
            };
            if let Err(error) = outcome {
                reply.error(&error);
                break;
            }
            changed = true;
            login_changed |=
                matches!(option.as_str(), "auth-pass" | "auth-user" | "rename-command");
            let shown = if option == "auth-pass" { "******".to_string() } else { given.join(" ") };
            let extra = format!(" {option} {shown}");
            self.c.master_event(LogLevel::Warning, "+set", m, &extra);
            at += 1 + values;
        }
        if login_changed {
            let links: Vec<_> =
                std::iter::once(&m.node).chain(m.replicas.values()).map(|n| n.link).collect();
            for id in links {
                self.c.set_login(id, m);
                let Core { links, io, .. } = &mut self.c;
                if let Some(link) = links.get_mut(&id) {
                    link.restart(io);
                }
            }
        }
        if at >= args.len() {
            reply.ok();
        }
        if changed { self.saved() } else { CommandOutcome::Done }
    }

    /// DEBUG, or DEBUG name ms …
    pub(super) fn debug(&mut self, args: &[String], reply: &mut Reply) {
        if args.is_empty() {
            reply.map(Periods::NAMES.len());
            for name in Periods::NAMES {
                reply.text(&name.to_ascii_uppercase());
                let value = self.c.periods.by_name(name).map_or(0, |v| *v);
                reply.text(&value.to_string());
            }
            return;
        }
        self.c.touch_all = true;
        for pair in args.chunks(2) {
            let name = &pair[0];
            let (Some(slot), Some(value)) = (self.c.periods.by_name(name), pair.get(1)) else {
                return reply.error(&format!(
                    "ERR Unknown option or number of arguments for SENTINEL DEBUG '{name}'"
                ));
            };
            match stdx::parse_i64(value.as_bytes()).filter(|ms| *ms > 0) {
                Some(ms) => *slot = ms as u64,
                None => {
                    return reply.error(&format!(
                        "ERR Invalid argument '{value}' for SENTINEL DEBUG '{name}'"
                    ));
                }
            }
        }
        reply.ok();
    }

    /// CONFIG GET pattern …, CONFIG SET option value … (7.2 takes several).
    pub(super) fn config(&mut self, args: &[String], reply: &mut Reply) -> CommandOutcome {
        if args[0].eq_ignore_ascii_case("get") && args.len() >= 2 {
            self.config_get(&args[1..], reply);
            CommandOutcome::Done
        } else if args[0].eq_ignore_ascii_case("set") && args.len() >= 3 && args.len() % 2 == 1 {
            self.config_set(&args[1..], reply)
        } else {
            reply.error(CONFIG_SYNTAX);
            CommandOutcome::Done
        }
    }

    fn config_get(&self, patterns: &[String], reply: &mut Reply) {
        let globals = &self.c.globals;
        let yes_no = |b: bool| if b { "yes" } else { "no" }.to_string();
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let values = [
            yes_no(globals.resolve_hostnames),
            yes_no(globals.announce_hostnames),
            text(&globals.announce_ip),
            globals.announce_port.to_string(),
            text(&globals.sentinel_user),
            text(&globals.sentinel_pass),
            self.c.view_rules.0.clone(),
        ];
        let shown: Vec<_> = CONFIG_OPTIONS
            .iter()
            .zip(&values)
            .filter(|(name, value)| {
                // What redis-sentinel does not have is shown where it is used, or asked for.
                let is_shown = **name != "announce-view" || !value.is_empty();
                patterns
                    .iter()
                    .map(|p| p.to_ascii_lowercase())
                    .any(|p| p == **name || (is_shown && glob(p.as_bytes(), name.as_bytes())))
            })
            .collect();
        reply.map(shown.len());
        for (name, value) in shown {
            reply.text(name);
            reply.text(value);
        }
    }

    fn config_set(&mut self, pairs: &[String], reply: &mut Reply) -> CommandOutcome {
        // All are checked before the first one is applied.
        for pair in pairs.chunks_exact(2) {
            let option = pair[0].to_ascii_lowercase();
            let fits = match option.as_str() {
                "resolve-hostnames" | "announce-hostnames" => parse_yes_no(&pair[1]).is_some(),
                "announce-port" => pair[1].parse::<u16>().is_ok(),
                "announce-ip" => pair[1].is_empty() || valid_host(&pair[1]),
                "sentinel-user" | "sentinel-pass" => true,
                "announce-view" => self.c.read_views(&pair[1]).is_some(),
                _ => {
                    reply.error(&format!(
                        "ERR Invalid argument '{}' to SENTINEL CONFIG SET",
                        pair[0]
                    ));
                    return CommandOutcome::Done;
                }
            };
            if !fits {
                reply.error(&format!(
                    "ERR Invalid value '{}' to SENTINEL CONFIG SET '{}'",
                    pair[1], pair[0]
                ));
                return CommandOutcome::Done;
            }
        }
        let mut login_changed = false;
        for pair in pairs.chunks_exact(2) {
            let value = &pair[1];
            let text = (!value.is_empty()).then(|| value.clone());
            let yes = parse_yes_no(value).unwrap_or(false);
            let rules = self.c.read_views(value);
            let globals = &mut self.c.globals;
            match pair[0].to_ascii_lowercase().as_str() {
                "resolve-hostnames" => globals.resolve_hostnames = yes,
                "announce-hostnames" => globals.announce_hostnames = yes,
                "announce-ip" => globals.announce_ip = text,
                "announce-port" => globals.announce_port = value.parse().unwrap_or(0),
                "announce-view" => {
                    if let Some((text, own)) = rules {
                        globals.announce_view = Some(text.clone());
                        self.c.views = (!text.is_empty()).then_some(own);
                        self.c.view_rules.0 = text;
                    }
                }
                "sentinel-user" => {
                    globals.sentinel_user = text;
                    login_changed = true;
                }
                _ => {
                    globals.sentinel_pass = text;
                    login_changed = true;
                }
            }
        }
        if login_changed {
            self.login_anew();
        }
        reply.ok();
        self.saved()
    }

    /// Opens the links to the peers anew, with the password that is in force now.
    fn login_anew(&mut self) {
        let login = self.c.peer_login();
        let Core { links, io, .. } = &mut self.c;
        for link in links.values_mut().filter(|link| link.owner == Owner::Peer) {
            link.login.clone_from(&login);
            link.restart(io);
        }
    }
}

fn unknown_option(option: &str) -> String {
    format!("ERR Unknown option or number of arguments for SENTINEL SET '{option}'")
}

/// Applies one option of SENTINEL SET.
fn set_option(c: &Core, m: &mut Master, option: &str, values: &[String]) -> Result<(), String> {
    let value = values[0].as_str();
    let bad = |which: &str| format!("ERR Invalid argument '{which}' for SENTINEL SET '{option}'");
    let number = |least: i64| {
        stdx::parse_i64(value.as_bytes()).filter(|n| *n >= least).ok_or_else(|| bad(value))
    };
    let text = (!value.is_empty()).then(|| value.to_string());
    match option {
        "down-after-milliseconds" => m.down_after = number(1)? as u64,
        "failover-timeout" => m.failover_timeout = number(1)? as u64,
        "parallel-syncs" => m.parallel_syncs = number(1)?,
        "quorum" => m.quorum = number(1)? as u64,
        "master-reboot-down-after-period" => m.reboot_down_after = number(0)? as u64,
        "crash-grace" => m.crash_grace = number(0)? as u64,
        "forget-after" => m.forget_after = number(0)? as u64,
        "auth-pass" => m.auth_pass = text,
        "auth-user" => m.auth_user = text,
        "notification-script" | "client-reconfig-script" => {
            if c.globals.deny_scripts_reconfig {
                return Err(SCRIPTS_DENIED.to_string());
            }
            let (slot, kind) = if option == "notification-script" {
                (&mut m.notification_script, "Notification")
            } else {
                (&mut m.client_reconfig_script, "Client reconfiguration")
            };
            if text.is_some() && !(c.options.script_is_executable)(value) {
                return Err(format!("ERR {kind} script seems non existing or non executable"));
            }
            *slot = text;
        }
        "rename-command" => {
            let new = values[1].as_str();
            if value.is_empty() || new.is_empty() {
                return Err(bad(if value.is_empty() { value } else { new }));
            }
            let old = value.to_ascii_lowercase();
            m.renamed.remove(&old);
            if !old.eq_ignore_ascii_case(new) {
                m.renamed.insert(old, new.to_string());
            }
        }
        _ => return Err(unknown_option(option)),
    }
    Ok(())
}

/// Glob match with `*`, `?`, `[…]` and `\`, in time proportional to the product of the lengths.
/// Source: the language of redis 7.0 `util.c:stringmatchlen`.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return pattern[p..].iter().all(|&b| b == b'*');
        }
        let step = if p < pattern.len() { one(&pattern[p..], text[t]) } else { None };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte against the first element of `pattern`; returns the element's length.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => Some(1),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        b'[' => {
            let mut at = 1;
            let negated = pattern.get(at) == Some(&b'^');
            at += usize::from(negated);
            let mut found = false;
            while at < pattern.len() && pattern[at] != b']' {
                if pattern[at] == b'\\' && at + 1 < pattern.len() {
                    at += 1;
                    found |= pattern[at] == byte;
                } else if at + 2 < pattern.len() && pattern[at + 1] == b'-' {
                    let (low, high) =
                        (pattern[at].min(pattern[at + 2]), pattern[at].max(pattern[at + 2]));
                    found |= (low..=high).contains(&byte);
                    at += 2;
                } else {
                    found |= pattern[at] == byte;
                }
                at += 1;
            }
            (found != negated).then_some((at + 1).min(pattern.len()))
        }
        literal => (literal == byte).then_some(1),
    }
}
