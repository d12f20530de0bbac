//! Configuration by environment variables, as the common Redis images have it.
//!
//! [`VARIABLES`] lists every variable; what one means is one row. The outcome is lines of the
//! configuration, which stand behind the file's lines and before the command line's: the last one
//! wins, so the command line goes before the environment and the environment before the file.
//! Nothing here reads the process's own environment or a file: both come in.
//!
//! Any directive can be set as `REDOUBT_<DIRECTIVE>`, any variable's value can come from a file that
//! `<VARIABLE>_FILE` names. A variable of ours that means nothing is an error: a misspelt
//! `REDOUBT_REQUIREPAS` must not start a server without a password.

use config::{Directive, nearest_name, push_quoted, split_words};
use std::collections::BTreeMap;

/// What a node without a better word is configured as, like the common images.
pub const MASTER_HOST: &str = "redis";
const MASTER_PORT: &str = "6379";
const MASTER_SET: &str = "mymaster";
const QUORUM: &str = "2";
const DOWN_AFTER: &str = "60000";
const FAILOVER_TIMEOUT: &str = "180000";

/// What a variable becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// A directive of a data node.
    Data(&'static str),
    /// A directive of a sentinel.
    SentinelNode(&'static str),
    /// A directive of either.
    Both(&'static str),
    /// `sentinel <directive> <value>`.
    Sentinel(&'static str),
    /// `sentinel <directive> <set> <value>`.
    OfMaster(&'static str),
    /// More than one directive, or part of one; the functions below know.
    Special,
}

/// One row of the table.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it becomes.
    pub becomes: Becomes,
    /// One line for the reference.
    pub doc: &'static str,
}

const fn row(name: &'static str, becomes: Becomes, doc: &'static str) -> Variable {
    Variable { name, becomes, doc }
}

/// Every variable apart from `REDOUBT_<DIRECTIVE>`. Of two for one setting the later row wins.
pub static VARIABLES: &[Variable] = &[
    row(
        "REDIS_REPLICATION_MODE",
        Becomes::Special,
        "`master`, `replica` or `slave`: a data node of that role.",
    ),
    row(
        "REDIS_MASTER_HOST",
        Becomes::Special,
        "Where a replica finds its master, and a sentinel the first one; default `redis`.",
    ),
    row("REDIS_MASTER_PORT_NUMBER", Becomes::Special, "The master's port; default 6379."),
    row(
        "REDIS_MASTER_SET",
        Becomes::Special,
        "Name of the group that a sentinel watches; default `mymaster`.",
    ),
    row(
        "REDIS_PASSWORD",
        Becomes::Special,
        "Password of a data node, also towards its master; in a sentinel the master's password.",
    ),
    row(
        "REDIS_MASTER_USER",
        Becomes::Special,
        "User for logging in at the master; default the one without a name.",
    ),
    row(
        "REDIS_MASTER_PASSWORD",
        Becomes::Special,
        "Password for logging in at the master, if it is not REDIS_PASSWORD.",
    ),
    row(
        "ALLOW_EMPTY_PASSWORD",
        Becomes::Special,
        "`yes` lets a data node without a password answer other machines (protected mode off).",
    ),
    row("REDIS_PORT_NUMBER", Becomes::Data("port"), "Port of a data node; default 6379."),
    row("REDIS_AOF_ENABLED", Becomes::Data("appendonly"), "`yes` writes the append-only file."),
    row(
        "REDIS_REPLICA_IP",
        Becomes::Data("replica-announce-ip"),
        "Address that a replica announces.",
    ),
    row(
        "REDIS_REPLICA_PORT",
        Becomes::Data("replica-announce-port"),
        "Port that a replica announces.",
    ),
    row("REDIS_ACLFILE", Becomes::Both("aclfile"), "File of users and their rights."),
    row(
        "REDIS_SENTINEL_PORT_NUMBER",
        Becomes::SentinelNode("port"),
        "Port of a sentinel; default 26379.",
    ),
    row(
        "REDIS_SENTINEL_PASSWORD",
        Becomes::SentinelNode("requirepass"),
        "Password of the sentinels, the same in all.",
    ),
    row(
        "REDIS_SENTINEL_QUORUM",
        Becomes::Special,
        "How many sentinels must agree that the master is down; default 2.",
    ),
    row(
        "REDIS_SENTINEL_DOWN_AFTER_MILLISECONDS",
        Becomes::OfMaster("down-after-milliseconds"),
        "Silence after which a node is down; default 60000.",
    ),
    row(
        "REDIS_SENTINEL_FAILOVER_TIMEOUT",
        Becomes::OfMaster("failover-timeout"),
        "Time limit of a failover in ms; default 180000.",
    ),
    row("RESOLVE_HOSTNAMES", Becomes::Sentinel("resolve-hostnames"), "Older name of the next one."),
    row(
        "REDIS_SENTINEL_RESOLVE_HOSTNAMES",
        Becomes::Sentinel("resolve-hostnames"),
        "Whether names are resolved; default `yes` without a file.",
    ),
    row(
        "REDIS_SENTINEL_ANNOUNCE_HOSTNAMES",
        Becomes::Sentinel("announce-hostnames"),
        "Whether clients are told names instead of addresses; default `no`.",
    ),
    row(
        "REDIS_SENTINEL_ANNOUNCE_IP",
        Becomes::Sentinel("announce-ip"),
        "Address that a sentinel announces.",
    ),
    row(
        "REDIS_SENTINEL_ANNOUNCE_PORT",
        Becomes::Sentinel("announce-port"),
        "Port that a sentinel announces.",
    ),
    row(
        "REDOUBT_NODE_NAME",
        Becomes::Special,
        "Name of this node on a volume that several nodes share.",
    ),
];

/// Sentinel's own directives that `REDOUBT_SENTINEL_<DIRECTIVE>` may set, and whether they belong to a
/// master.
const SENTINEL_DIRECTIVES: &[(&str, bool)] = &[
    ("announce-hostnames", false),
    ("announce-ip", false),
    ("announce-port", false),
    ("auth-pass", true),
    ("auth-user", true),
    ("client-reconfig-script", true),
    ("crash-grace", true),
    ("deny-scripts-reconfig", false),
    ("down-after-milliseconds", true),
    ("failover-timeout", true),
    ("forget-after", true),
    ("master-reboot-down-after-period", true),
    ("notification-script", true),
    ("parallel-syncs", true),
    ("resolve-hostnames", false),
    ("sentinel-pass", false),
    ("sentinel-user", false),
];

/// A configuration line and the variable that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvLine {
    /// The variable's name, to be named in complaints.
    pub variable: String,
    /// The line, without its end.
    pub line: Vec<u8>,
}

/// The variables that mean something, their secrets read.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    values: BTreeMap<&'static str, Value>,
    /// `REDOUBT_<DIRECTIVE>`: in the order of their names.
    directives: Vec<(String, Target, String)>,
}

#[derive(Clone, Debug)]
struct Value {
    /// The name under which it was given: with `_FILE` or without.
    variable: String,
    text: String,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Ordinary(&'static Directive),
    Include,
    Sentinel(&'static str, bool),
}

impl Environment {
    /// Takes the variables that are ours. `read` reads the file that a `…_FILE` names.
    ///
    /// # Errors
    /// A text that names the variable and what to do.
    pub fn read(
        vars: impl IntoIterator<Item = (String, String)>,
        read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Environment, String> {
        let vars: BTreeMap<String, String> =
            vars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut env = Environment::default();
        for row in VARIABLES {
            if let Some(value) = plain_or_file(&vars, row.name, read)? {
                env.values.insert(row.name, value);
            }
        }
        for (name, value) in &vars {
            let known = |name: &str| VARIABLES.iter().any(|row| row.name == name);
            let of_table = known(name) || name.strip_suffix("_FILE").is_some_and(known);
            if !name.starts_with("REDOUBT_") || of_table || is_service_link(name, value) {
                continue;
            }
            let (target, text) = match (target(name), name.strip_suffix("_FILE")) {
                (Some(target), _) => (target, value.clone()),
                (None, Some(stem)) => {
                    let target = target(stem).ok_or_else(|| unknown(name))?;
                    if vars.contains_key(stem) {
                        return Err(both_given(stem));
                    }
                    (target, secret(name, value, read)?)
                }
                (None, None) => return Err(unknown(name)),
            };
            env.directives.push((name.clone(), target, text));
        }
        Ok(env)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// Whether a process without a command is a sentinel.
    pub fn is_sentinel(&self) -> bool {
        let speaks_of_sentinel = self
            .values
            .keys()
            .any(|name| name.starts_with("REDIS_SENTINEL_") || *name == "REDIS_MASTER_SET")
            || self.directives.iter().any(|(_, target, _)| matches!(target, Target::Sentinel(..)));
        speaks_of_sentinel && self.get("REDIS_REPLICATION_MODE").is_none()
    }

    /// The node's name, if it was given one.
    pub fn node_name(&self) -> Option<&str> {
        self.get("REDOUBT_NODE_NAME")
    }

    /// The group that a sentinel watches: the one that was named, else the only one of the file.
    pub fn master_set(&self, file: &[u8]) -> String {
        if let Some(set) = self.get("REDIS_MASTER_SET") {
            return set.to_string();
        }
        let mut sets = file.split(|&b| b == b'\n').filter_map(monitored);
        match (sets.next(), sets.next()) {
            (Some(only), None) => only,
            _ => MASTER_SET.to_string(),
        }
    }

    /// The lines of a data node.
    ///
    /// # Errors
    /// A variable whose value can't be understood.
    pub fn data_lines(&self) -> Result<Vec<EnvLine>, String> {
        let mut lines = Lines::default();
        let is_replica = match self.get("REDIS_REPLICATION_MODE").map(str::to_ascii_lowercase) {
            None => false,
            Some(mode) if mode == "master" => false,
            Some(mode) if mode == "replica" || mode == "slave" => true,
            Some(mode) => {
                return Err(format!(
                    "REDIS_REPLICATION_MODE={mode}: it must be master, replica or slave."
                ));
            }
        };
        if is_replica {
            let host = self.get("REDIS_MASTER_HOST").unwrap_or(MASTER_HOST);
            let port = self.get("REDIS_MASTER_PORT_NUMBER").unwrap_or(MASTER_PORT);
            lines.add("REDIS_MASTER_HOST", &["replicaof", host, port]);
        }
        self.add(&mut lines, "REDIS_PASSWORD", &["requirepass"]);
        // A master needs it as well: one day it is somebody's replica.
        self.add(&mut lines, "REDIS_PASSWORD", &["masterauth"]);
        self.add(&mut lines, "REDIS_MASTER_PASSWORD", &["masterauth"]);
        self.add(&mut lines, "REDIS_MASTER_USER", &["masteruser"]);
        if self.is_yes("ALLOW_EMPTY_PASSWORD")? {
            lines.add("ALLOW_EMPTY_PASSWORD", &["protected-mode", "no"]);
        }
        for row in VARIABLES {
            if let Becomes::Data(directive) | Becomes::Both(directive) = row.becomes {
                self.add(&mut lines, row.name, &[directive]);
            }
        }
        self.add_directives(&mut lines, None)?;
        Ok(lines.0)
    }

    /// What the environment makes of a sentinel's file: the lines to be read behind it, and the file
    /// with its `monitor` line changed. The master's address in a file that holds a state is a
    /// failover's outcome; there only the quorum is changed.
    ///
    /// # Errors
    /// A variable whose value can't be understood.
    pub fn sentinel_lines(&self, file: Option<&[u8]>) -> Result<(Vec<u8>, Vec<EnvLine>), String> {
        let text = file.unwrap_or_default();
        let set = self.master_set(text);
        let given = ["REDIS_MASTER_HOST", "REDIS_MASTER_PORT_NUMBER", "REDIS_MASTER_SET"];
        let is_known = text.split(|&b| b == b'\n').filter_map(monitored).any(|name| name == set);
        let asked = given.iter().any(|name| self.get(name).is_some());
        let mut lines = Lines::default();
        if !is_known && (file.is_none() || asked) {
            self.add_monitor(&mut lines, &set, file.is_none());
        }
        self.add(&mut lines, "REDIS_MASTER_USER", &["sentinel", "auth-user", &set]);
        self.add(&mut lines, "REDIS_PASSWORD", &["sentinel", "auth-pass", &set]);
        self.add(&mut lines, "REDIS_MASTER_PASSWORD", &["sentinel", "auth-pass", &set]);
        for row in VARIABLES {
            match row.becomes {
                Becomes::SentinelNode(directive) | Becomes::Both(directive) => {
                    self.add(&mut lines, row.name, &[directive]);
                }
                Becomes::Sentinel(directive) => {
                    self.add(&mut lines, row.name, &["sentinel", directive]);
                }
                Becomes::OfMaster(directive) => {
                    self.add(&mut lines, row.name, &["sentinel", directive, &set]);
                }
                Becomes::Data(_) | Becomes::Special => {}
            }
        }
        self.add_directives(&mut lines, Some(&set))?;
        Ok((self.with_monitor_changed(text, &set), lines.0))
    }

    fn add_monitor(&self, lines: &mut Lines, set: &str, alone: bool) {
        let host = self.get("REDIS_MASTER_HOST").unwrap_or(MASTER_HOST);
        let port = self.get("REDIS_MASTER_PORT_NUMBER").unwrap_or(MASTER_PORT);
        let quorum = self.get("REDIS_SENTINEL_QUORUM").unwrap_or(QUORUM);
        let is_name = host.parse::<std::net::IpAddr>().is_err();
        if is_name || alone {
            lines
                .add("REDIS_SENTINEL_RESOLVE_HOSTNAMES", &["sentinel", "resolve-hostnames", "yes"]);
        }
        lines.add("REDIS_MASTER_HOST", &["sentinel", "monitor", set, host, port, quorum]);
        let down_after = ["sentinel", "down-after-milliseconds", set, DOWN_AFTER];
        lines.add("REDIS_SENTINEL_DOWN_AFTER_MILLISECONDS", &down_after);
        let timeout = ["sentinel", "failover-timeout", set, FAILOVER_TIMEOUT];
        lines.add("REDIS_SENTINEL_FAILOVER_TIMEOUT", &timeout);
    }

    /// The file's text with the words of the `monitor` line that variables set.
    fn with_monitor_changed(&self, text: &[u8], set: &str) -> Vec<u8> {
        let holds_state = text.split(|&b| b == b'\n').any(|line| {
            words_of(line).is_some_and(|words| {
                words.len() == 3
                    && words[0].eq_ignore_ascii_case("sentinel")
                    && words[1].eq_ignore_ascii_case("myid")
            })
        });
        let host = self.get("REDIS_MASTER_HOST").filter(|_| !holds_state);
        let port = self.get("REDIS_MASTER_PORT_NUMBER").filter(|_| !holds_state);
        let changes = [(3, host), (4, port), (5, self.get("REDIS_SENTINEL_QUORUM"))];
        let mut out = Vec::with_capacity(text.len());
        for (at, line) in text.split(|&b| b == b'\n').enumerate() {
            if at > 0 {
                out.push(b'\n');
            }
            match words_of(line) {
                Some(mut words)
                    if monitored(line).is_some_and(|name| name == set)
                        && changes
                            .iter()
                            .any(|(at, new)| new.is_some_and(|new| words[*at] != new)) =>
                {
                    for (at, new) in changes {
                        words[at] = new.map_or_else(|| words[at].clone(), str::to_string);
                    }
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    out.extend(line_of(&words));
                }
                _ => out.extend_from_slice(line),
            }
        }
        out
    }

    /// Adds a line that ends with the variable's value, if it has one.
    fn add(&self, lines: &mut Lines, name: &str, words: &[&str]) {
        let Some(value) = self.values.get(name) else { return };
        let mut words = words.to_vec();
        words.push(&value.text);
        lines.add(&value.variable, &words);
    }

    /// Adds `REDOUBT_<DIRECTIVE>`; `set` is the master's name in a sentinel.
    fn add_directives(&self, lines: &mut Lines, set: Option<&str>) -> Result<(), String> {
        for (variable, target, value) in &self.directives {
            match (target, set) {
                // Several words may come as one quoted word.
                (Target::Ordinary(row), _) => lines.add(variable, &[row.name, value]),
                (Target::Include, _) => lines.add(variable, &["include", value]),
                (Target::Sentinel(name, true), Some(set)) => {
                    lines.add(variable, &["sentinel", name, set, value]);
                }
                (Target::Sentinel(name, false), Some(_)) => {
                    lines.add(variable, &["sentinel", name, value]);
                }
                // Shared by all services of a compose file: it is for the others.
                (Target::Sentinel(..), None) => {}
            }
        }
        Ok(())
    }

    fn is_yes(&self, name: &str) -> Result<bool, String> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("no" | "false" | "0" | "off") => Ok(false),
            Some("yes" | "true" | "1" | "on") => Ok(true),
            Some(other) => Err(format!("{name}={other}: it must be yes or no.")),
        }
    }
}

#[derive(Default)]
struct Lines(Vec<EnvLine>);

impl Lines {
    fn add(&mut self, variable: &str, words: &[&str]) {
        // The images took other words for yes and no than the configuration does.
        let mut words = words.to_vec();
        let is_switch = match words.as_slice() {
            ["sentinel", name, _] => name.ends_with("-hostnames"),
            [name, _] => *name == "appendonly",
            _ => false,
        };
        if let (true, Some(last)) = (is_switch, words.last_mut()) {
            *last = match last.to_ascii_lowercase().as_str() {
                "true" | "1" | "on" => "yes",
                "false" | "0" | "off" => "no",
                _ => last,
            };
        }
        self.0.push(EnvLine { variable: variable.to_string(), line: line_of(&words) });
    }
}

/// A line of these words; the first ones are names, the rest is quoted where needed.
fn line_of(words: &[&str]) -> Vec<u8> {
    let mut line = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            line.push(b' ');
        }
        let plain = !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\#".contains(&b));
        if plain {
            line.extend_from_slice(word.as_bytes());
        } else {
            push_quoted(&mut line, word.as_bytes());
        }
    }
    line
}

/// The words of one of Sentinel's lines, a comment behind them left out.
fn words_of(line: &[u8]) -> Option<Vec<String>> {
    let line = line.trim_ascii();
    let words = sentinel::words_before_comment(line).or_else(|| split_words(line))?;
    Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// The name in a complete `sentinel monitor` line.
pub fn monitored(line: &[u8]) -> Option<String> {
    let words = words_of(line)?;
    let [first, second, name, _, _, _] = words.as_slice() else { return None };
    (first.eq_ignore_ascii_case("sentinel") && second.eq_ignore_ascii_case("monitor"))
        .then(|| name.clone())
}

/// The value of a variable, or of the file that `<name>_FILE` names.
fn plain_or_file(
    vars: &BTreeMap<String, String>,
    name: &str,
    read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<Option<Value>, String> {
    let file_name = format!("{name}_FILE");
    match (vars.get(name), vars.get(&file_name)) {
        (Some(_), Some(_)) => Err(both_given(name)),
        (Some(text), None) => Ok(Some(Value { variable: name.into(), text: text.clone() })),
        (None, Some(path)) => {
            let text = secret(&file_name, path, read)?;
            Ok(Some(Value { variable: file_name, text }))
        }
        (None, None) => Ok(None),
    }
}

/// Reads a secret; the line end that editors leave does not belong to it.
fn secret(
    variable: &str,
    path: &str,
    read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<String, String> {
    let bytes = read(path).map_err(|why| format!("{variable}={path}: {why}."))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{variable}={path}: it is not UTF-8."))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("{variable}={path}: the file is empty."));
    }
    if text.contains('\n') {
        return Err(format!("{variable}={path}: the file has more than one line."));
    }
    Ok(text.to_string())
}

fn both_given(name: &str) -> String {
    format!("{name} and {name}_FILE are both set; only one of them can count.")
}

/// What `REDOUBT_<DIRECTIVE>` sets.
fn target(variable: &str) -> Option<Target> {
    let name = variable.strip_prefix("REDOUBT_")?.to_ascii_lowercase().replace('_', "-");
    if name == "include" {
        return Some(Target::Include);
    }
    if let Some(row) = Directive::find(name.as_bytes()) {
        return Some(Target::Ordinary(row));
    }
    let name = name.strip_prefix("sentinel-")?;
    let (name, of_master) = SENTINEL_DIRECTIVES.iter().find(|(known, _)| *known == name)?;
    Some(Target::Sentinel(name, *of_master))
}

fn unknown(variable: &str) -> String {
    let asked = variable.trim_start_matches("REDOUBT_").to_ascii_lowercase().replace('_', "-");
    let nearest = nearest_name(asked.as_bytes()).map(|name| {
        format!(" Did you mean REDOUBT_{}?", name.to_ascii_uppercase().replace('-', "_"))
    });
    format!("{variable}: there is no directive '{asked}'.{}", nearest.unwrap_or_default())
}

/// Variables that Kubernetes sets for a service called `redoubt`: REDOUBT_PORT=tcp://10.0.0.1:6379.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    is_url
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split("_PORT_").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
