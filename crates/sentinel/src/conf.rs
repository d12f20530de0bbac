//! The configuration file as text: every line kept, the `sentinel …` lines understood, all others
//! handed through untouched for the driver.
//!
//! Nothing is opened or resolved here. Lines are read in three passes, as redis-sentinel does it:
//! settings of the whole process, then `monitor`, then what refers to a master; so their order in
//! the file does not matter. Source: redis 7.0 `sentinel.c:loadSentinelConfigFromQueue`.

use std::collections::BTreeMap;

use stdx::ViewAddrs;

use crate::addr::{Addr, valid_host};
use crate::timing::{DEFAULT_CRASH_GRACE_MS, DEFAULT_PARALLEL_SYNCS, EPOCH_MAX, Periods};

/// A line that the file must not contain, in Redis's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The line without surrounding blanks.
    pub text: String,
    /// What is wrong with it.
    pub message: String,
}

impl std::fmt::Display for ConfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Reading the configuration file, at line {}\n>>> '{}'\n{}",
            self.line, self.text, self.message
        )
    }
}

impl std::error::Error for ConfError {}

/// A directive that is not Sentinel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdinaryLine {
    /// Number of the line, from 1.
    pub line: usize,
    /// The line as it stands in the file.
    pub text: String,
    /// Its words, unquoted.
    pub args: Vec<String>,
}

/// A script that the driver has to check before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptLine {
    /// The path.
    pub path: String,
    /// The error to stop with when it is missing or not executable.
    pub error: ConfError,
}

/// Which line of the file a setting lives in: the directive and, where it has one, its master.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineKey {
    pub directive: String,
    pub master: Option<String>,
}

/// One line of the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub text: Vec<u8>,
    /// For `sentinel …` lines: where it belongs and its words after `sentinel`.
    pub sentinel: Option<(LineKey, Vec<String>)>,
}

/// Settings of the whole process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    pub myid: Option<String>,
    pub current_epoch: u64,
    pub announce_ip: Option<String>,
    pub announce_port: u16,
    pub resolve_hostnames: bool,
    pub announce_hostnames: bool,
    pub deny_scripts_reconfig: bool,
    pub sentinel_user: Option<String>,
    pub sentinel_pass: Option<String>,
    /// Rules of `announce-view`, in Sentinel's own line: set at run time, they go before the others.
    pub announce_view: Option<String>,
}

/// What the file says about one master.
#[derive(Clone, Debug)]
pub(crate) struct MasterConf {
    pub name: String,
    pub addr: Addr,
    pub quorum: u64,
    pub down_after: u64,
    pub failover_timeout: u64,
    pub parallel_syncs: i64,
    pub crash_grace: u64,
    pub reboot_down_after: u64,
    /// Replicas and sentinels that are down for so long are forgotten; 0 = never.
    pub forget_after: u64,
    pub notification_script: Option<String>,
    pub client_reconfig_script: Option<String>,
    pub auth_user: Option<String>,
    pub auth_pass: Option<String>,
    /// Lower-case command and the name it has on the nodes.
    pub renamed: BTreeMap<String, String>,
    pub config_epoch: u64,
    pub leader_epoch: u64,
    pub replicas: Vec<Addr>,
    pub peers: Vec<(Addr, Option<String>)>,
    /// Further addresses of nodes and sentinels.
    pub views: Vec<(Addr, ViewAddrs)>,
}

impl MasterConf {
    pub fn new(name: &str, addr: Addr, quorum: u64, periods: &Periods) -> MasterConf {
        MasterConf {
            name: name.to_string(),
            addr,
            quorum,
            down_after: periods.default_down_after,
            failover_timeout: periods.default_failover_timeout,
            parallel_syncs: DEFAULT_PARALLEL_SYNCS,
            crash_grace: DEFAULT_CRASH_GRACE_MS,
            reboot_down_after: 0,
            forget_after: 0,
            notification_script: None,
            client_reconfig_script: None,
            auth_user: None,
            auth_pass: None,
            renamed: BTreeMap::new(),
            config_epoch: 0,
            leader_epoch: 0,
            replicas: Vec::new(),
            peers: Vec::new(),
            views: Vec::new(),
        }
    }
}

/// A configuration file that has been read.
#[derive(Clone, Debug)]
pub struct SentinelConf {
    pub(crate) lines: Vec<Line>,
    pub(crate) globals: Globals,
    pub(crate) masters: BTreeMap<String, MasterConf>,
    ordinary: Vec<OrdinaryLine>,
    scripts: Vec<ScriptLine>,
    warnings: Vec<String>,
}

const UNRECOGNIZED: &str = "Unrecognized sentinel configuration statement.";
const NO_MASTER: &str = "No such master with specified name.";

impl SentinelConf {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line, in the order of the passes, that redis-sentinel would refuse.
    pub fn parse(text: &[u8]) -> Result<SentinelConf, ConfError> {
        SentinelConf::read(text, &mut Err)
    }

    /// Everything that is wrong with the text of a file, in the order of the passes.
    pub fn check(text: &[u8]) -> Vec<ConfError> {
        let mut errors = Vec::new();
        let read = SentinelConf::read(text, &mut |error| {
            errors.push(error);
            Ok(())
        });
        debug_assert!(read.is_ok());
        errors
    }

    /// Reads a text; `wrong` decides whether reading goes on after an error.
    fn read(
        text: &[u8],
        wrong: &mut dyn FnMut(ConfError) -> Result<(), ConfError>,
    ) -> Result<SentinelConf, ConfError> {
        let mut conf = SentinelConf {
            lines: Vec::new(),
            globals: Globals { deny_scripts_reconfig: true, ..Globals::default() },
            masters: BTreeMap::new(),
            ordinary: Vec::new(),
            scripts: Vec::new(),
            warnings: Vec::new(),
        };
        let mut statements = Vec::new();
        for (index, raw) in text.split(|&b| b == b'\n').enumerate() {
            let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
            conf.read_line(index + 1, raw, &mut statements).or_else(&mut *wrong)?;
        }
        // The text ends with a line end, not with an empty line.
        if conf.lines.last().is_some_and(|line| line.text.is_empty()) {
            conf.lines.pop();
        }
        for pass in [Pass::Globals, Pass::Monitor, Pass::Masters] {
            for statement in statements.iter().filter(|s| Pass::of(&s.args) == pass) {
                let outcome = match pass {
                    Pass::Globals => conf.global(&statement.args),
                    Pass::Monitor => conf.monitor(&statement.args),
                    Pass::Masters => conf.of_master(statement),
                };
                outcome.map_err(|message| statement.error(message)).or_else(&mut *wrong)?;
            }
        }
        Ok(conf)
    }

    /// The directives that are not Sentinel's own, in the order of the file.
    pub fn ordinary(&self) -> &[OrdinaryLine] {
        &self.ordinary
    }

    /// Every script path in force, for the driver to check.
    pub fn scripts(&self) -> &[ScriptLine] {
        &self.scripts
    }

    /// What was read otherwise than redis-sentinel would have done, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The rules of a line `sentinel announce-view`, as they stand there: the driver reads them.
    pub fn announce_view(&self) -> Option<&str> {
        self.globals.announce_view.as_deref()
    }

    /// True when the file holds a state that this sentinel has written: it votes from the start.
    pub fn has_state(&self) -> bool {
        self.globals.myid.is_some()
    }

    fn read_line(
        &mut self,
        number: usize,
        raw: &[u8],
        statements: &mut Vec<Statement>,
    ) -> Result<(), ConfError> {
        let trimmed = raw.trim_ascii();
        let mut line = Line { text: raw.to_vec(), sentinel: None };
        if !trimmed.is_empty() && trimmed[0] != b'#' {
            let text = String::from_utf8_lossy(trimmed).into_owned();
            let before_comment = words_before_comment(trimmed);
            if before_comment.is_some() {
                self.warnings.push(format!(
                    "Line {number} of the configuration, '{text}': what follows the value is taken as \
                     a comment. redis-sentinel refuses such a line; better write the comment on a line \
                     of its own."
                ));
            }
            let words = match before_comment {
                Some(words) => words,
                None => words_of(trimmed).ok_or_else(|| ConfError {
                    line: number,
                    text: text.clone(),
                    message: "Unbalanced quotes in configuration line".to_string(),
                })?,
            };
            let mut args: Vec<String> =
                words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
            if args.first().is_some_and(|a| a.eq_ignore_ascii_case("sentinel")) {
                args.remove(0);
                if !args.is_empty() {
                    args[0] = canonical(&args[0]);
                    line.sentinel = Some((key_of(&args), args.clone()));
                    statements.push(Statement { line: number, text, args });
                }
            } else if !args.is_empty() {
                self.ordinary.push(OrdinaryLine { line: number, text, args });
            }
        }
        self.lines.push(line);
        Ok(())
    }

    fn global(&mut self, args: &[String]) -> Result<(), String> {
        if args[0] == "announce-view" && args.len() > 1 {
            self.globals.announce_view = Some(args[1..].join(" "));
            return Ok(());
        }
        let [name, value] = args else { return Err(UNRECOGNIZED.into()) };
        let globals = &mut self.globals;
        let yes_no = |option: &str, s: &str| {
            parse_yes_no(value)
                .ok_or_else(|| format!("Please specify yes or no for the {option} option{s}."))
        };
        match name.as_str() {
            "myid" => {
                if value.len() != 40 || !valid_runid(value) {
                    return Err("Malformed Sentinel id in myid option.".into());
                }
                globals.myid = Some(value.clone());
            }
            "current-epoch" => {
                globals.current_epoch = globals.current_epoch.max(parse_epoch(value));
            }
            "announce-ip" => globals.announce_ip = (!value.is_empty()).then(|| value.clone()),
            "announce-port" => globals.announce_port = atoi(value).clamp(0, 65535) as u16,
            "deny-scripts-reconfig" => {
                globals.deny_scripts_reconfig = yes_no("deny-scripts-reconfig", "s")?;
            }
            "resolve-hostnames" => globals.resolve_hostnames = yes_no("resolve-hostnames", "")?,
            "announce-hostnames" => globals.announce_hostnames = yes_no("announce-hostnames", "")?,
            "sentinel-user" => globals.sentinel_user = (!value.is_empty()).then(|| value.clone()),
            "sentinel-pass" => globals.sentinel_pass = (!value.is_empty()).then(|| value.clone()),
            _ => return Err(UNRECOGNIZED.into()),
        }
        Ok(())
    }

    fn monitor(&mut self, args: &[String]) -> Result<(), String> {
        let [_, name, host, port, quorum] = args else { return Err(UNRECOGNIZED.into()) };
        let quorum = atoi(quorum);
        if quorum <= 0 {
            return Err("Quorum must be 1 or greater.".into());
        }
        let addr = self.address(host, port)?;
        if self.masters.contains_key(name) {
            return Err("Duplicate master name.".into());
        }
        let master = MasterConf::new(name, addr, quorum as u64, &Periods::default());
        self.masters.insert(name.clone(), master);
        Ok(())
    }

    /// An address of the file: a name only where names are to be resolved.
    fn address(&self, host: &str, port: &str) -> Result<Addr, String> {
        let port = u16::try_from(atoi(port)).map_err(|_| String::from("Invalid port number."))?;
        let addr = Addr::new(host, port);
        if addr.is_name() && !(self.globals.resolve_hostnames && valid_host(host)) {
            return Err("Can't resolve instance hostname.".into());
        }
        Ok(addr)
    }

    fn of_master(&mut self, statement: &Statement) -> Result<(), String> {
        let args = &statement.args;
        let expected = match args[0].as_str() {
            "known-replica" | "rename-command" => 4..=4,
            "known-view" => 5..=5,
            "known-sentinel" => 4..=5,
            "down-after-milliseconds"
            | "failover-timeout"
            | "parallel-syncs"
            | "crash-grace"
            | "master-reboot-down-after-period"
            | "forget-after"
            | "notification-script"
            | "client-reconfig-script"
            | "auth-pass"
            | "auth-user"
            | "config-epoch"
            | "leader-epoch" => 3..=3,
            _ => return Err(UNRECOGNIZED.into()),
        };
        if !expected.contains(&args.len()) {
            return Err(UNRECOGNIZED.into());
        }
        if !self.masters.contains_key(&args[1]) {
            return Err(NO_MASTER.into());
        }
        match args[0].as_str() {
            "known-replica" => self.known_replica(args),
            "known-sentinel" => self.known_sentinel(args),
            "known-view" => self.known_view(args),
            _ => self.master_setting(statement),
        }
    }

    fn master_setting(&mut self, statement: &Statement) -> Result<(), String> {
        let args = &statement.args;
        let value = &args[2];
        let Some(master) = self.masters.get_mut(&args[1]) else { return Err(NO_MASTER.into()) };
        let text = || (!value.is_empty()).then(|| value.clone());
        match args[0].as_str() {
            "down-after-milliseconds" => master.down_after = positive(value)?,
            "failover-timeout" => master.failover_timeout = positive(value)?,
            "parallel-syncs" => master.parallel_syncs = atoi(value),
            "crash-grace" => master.crash_grace = not_negative(value)?,
            "master-reboot-down-after-period" => master.reboot_down_after = not_negative(value)?,
            "forget-after" => master.forget_after = not_negative(value)?,
            "auth-pass" => master.auth_pass = text(),
            "auth-user" => master.auth_user = text(),
            "config-epoch" | "leader-epoch" => {
                let epoch = parse_epoch(value);
                // A state that no sentinel writes, but a damaged file may hold: the current epoch
                // is never below one that was used.
                self.globals.current_epoch = self.globals.current_epoch.max(epoch);
                if args[0] == "config-epoch" {
                    master.config_epoch = epoch;
                } else {
                    master.leader_epoch = epoch;
                }
            }
            "rename-command" => {
                let renamed = master.renamed.insert(value.to_ascii_lowercase(), args[3].clone());
                if renamed.is_some() {
                    return Err("Same command renamed multiple times with rename-command.".into());
                }
            }
            which => {
                let (slot, kind) = if which == "notification-script" {
                    (&mut master.notification_script, "Notification")
                } else {
                    (&mut master.client_reconfig_script, "Client reconfiguration")
                };
                *slot = Some(value.clone());
                let message = format!("{kind} script seems non existing or non executable.");
                self.scripts
                    .push(ScriptLine { path: value.clone(), error: statement.error(message) });
            }
        }
        Ok(())
    }

    fn known_replica(&mut self, args: &[String]) -> Result<(), String> {
        // Older files of redis-sentinel can hold an entry whose name was lost; it says nothing.
        if args[2].is_empty() {
            return Ok(());
        }
        let addr = self.address(&args[2], &args[3])?;
        let Some(master) = self.masters.get_mut(&args[1]) else { return Err(NO_MASTER.into()) };
        if !master.replicas.iter().any(|known| known.same(&addr)) {
            master.replicas.push(addr);
        }
        Ok(())
    }

    /// `known-view MASTER HOST PORT VIEW=HOST:PORT,…`
    fn known_view(&mut self, args: &[String]) -> Result<(), String> {
        let addr = self.address(&args[2], &args[3])?;
        let views = ViewAddrs::parse(&args[4]);
        if views.is_empty() {
            return Err("Expected views and addresses, like outside=127.0.0.1:36379.".into());
        }
        let Some(master) = self.masters.get_mut(&args[1]) else { return Err(NO_MASTER.into()) };
        master.views.push((addr, views));
        Ok(())
    }

    fn known_sentinel(&mut self, args: &[String]) -> Result<(), String> {
        let addr = self.address(&args[2], &args[3])?;
        let runid = args.get(4).cloned();
        if runid.as_deref().is_some_and(|id| !valid_runid(id)) {
            return Err("Wrong hostname or port for sentinel.".into());
        }
        let Some(master) = self.masters.get_mut(&args[1]) else { return Err(NO_MASTER.into()) };
        if runid.is_some() && master.peers.iter().any(|(_, known)| *known == runid) {
            return Err("Duplicate runid for sentinel.".into());
        }
        master.peers.push((addr, runid));
        Ok(())
    }
}

struct Statement {
    line: usize,
    text: String,
    args: Vec<String>,
}

impl Statement {
    fn error(&self, message: String) -> ConfError {
        ConfError { line: self.line, text: self.text.clone(), message }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Globals,
    Monitor,
    Masters,
}

impl Pass {
    fn of(args: &[String]) -> Pass {
        match args[0].as_str() {
            "monitor" => Pass::Monitor,
            name if is_global(name) => Pass::Globals,
            _ => Pass::Masters,
        }
    }
}

fn is_global(directive: &str) -> bool {
    matches!(
        directive,
        "myid"
            | "current-epoch"
            | "announce-ip"
            | "announce-port"
            | "deny-scripts-reconfig"
            | "resolve-hostnames"
            | "announce-hostnames"
            | "sentinel-user"
            | "sentinel-pass"
            | "announce-view"
    )
}

/// Words of a complete line, `sentinel` included; nothing for lines that may have more or fewer, and
/// for those of others.
fn words_of_directive(directive: &str) -> Option<usize> {
    Some(match directive {
        "monitor" => 6,
        "rename-command" => 5,
        "known-replica" | "known-sentinel" | "known-view" | "announce-view" => return None,
        name if is_global(name) => 3,
        _ => 4,
    })
}

/// The words of one of Sentinel's lines that has a comment behind its last one, without the comment.
pub fn words_before_comment(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_blank = |b: u8| matches!(b, b' ' | b'\t');
    let readings = (1..line.len())
        .filter(|&at| line[at] == b'#' && is_blank(line[at - 1]))
        .filter_map(|at| resp::split_args(&line[..at]).ok());
    for words in readings {
        let [first, directive, ..] = words.as_slice() else { continue };
        if !first.eq_ignore_ascii_case(b"sentinel") {
            return None;
        }
        let wanted = words_of_directive(&canonical(&String::from_utf8_lossy(directive)))?;
        if words.len() >= wanted {
            return (words.len() == wanted).then_some(words);
        }
    }
    None
}

/// The words of any line. Quotes in the comment of another directive's line are none of our business.
fn words_of(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    resp::split_args(line).ok().or_else(|| {
        (1..line.len())
            .filter(|&at| line[at] == b'#' && matches!(line[at - 1], b' ' | b'\t'))
            .find_map(|at| resp::split_args(&line[..at]).ok())
            .filter(|words| words.len() == 2 && !words[0].eq_ignore_ascii_case(b"sentinel"))
    })
}

/// The directive's one spelling.
fn canonical(directive: &str) -> String {
    let lower = directive.to_ascii_lowercase();
    if lower == "known-slave" { "known-replica".to_string() } else { lower }
}

fn key_of(args: &[String]) -> LineKey {
    let master = if is_global(&args[0]) { None } else { args.get(1).cloned() };
    LineKey { directive: args[0].clone(), master }
}

/// Reads a number as C's `atoi` does: blanks, a sign, digits; whatever follows is ignored.
pub(crate) fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = digits
        .bytes()
        .take_while(u8::is_ascii_digit)
        .fold(0i64, |value, d| value.saturating_mul(10).saturating_add(i64::from(d - b'0')));
    if negative { -value } else { value }
}

/// An epoch of the file; nonsense counts as the nearest possible one.
fn parse_epoch(text: &str) -> u64 {
    u64::try_from(atoi(text)).unwrap_or(0).min(EPOCH_MAX)
}

fn positive(text: &str) -> Result<u64, String> {
    match atoi(text) {
        value if value > 0 => Ok(value as u64),
        _ => Err("negative or zero time parameter.".into()),
    }
}

fn not_negative(text: &str) -> Result<u64, String> {
    u64::try_from(atoi(text)).map_err(|_| "negative time parameter.".into())
}

pub(crate) fn parse_yes_no(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("yes") {
        Some(true)
    } else if text.eq_ignore_ascii_case("no") {
        Some(false)
    } else {
        None
    }
}

/// True for a text that may stand as a run id in files, hellos and votes.
pub(crate) fn valid_runid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
