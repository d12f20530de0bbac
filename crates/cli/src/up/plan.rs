//! Decides what an `up` consists of, from its options and from what an earlier one left in the
//! folder, and writes the configuration files.
//!
//! The files are the memory between runs: sentinels keep the master's address and epoch in theirs,
//! nodes keep whom they follow. The sentinel file with the highest config epoch says who is master;
//! a node that was down during the last failover still believes itself master, so its file is made
//! to follow the real one before it starts. Passwords live in these files and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use super::conf::ConfFile;
use super::layout::{self, Layout, write_private};
use super::options::{DEFAULT_BASE_PORT, DEFAULT_SENTINEL_PORT, UpOptions};
use super::state::{Kind, MemberRecord, State};

/// The name under which the sentinels watch the master.
pub const MASTER_NAME: &str = "mymaster";
const DEFAULT_REPLICAS: u16 = 2;
const DEFAULT_SENTINELS: u16 = 3;
const DEFAULT_DOWN_AFTER_MS: u64 = 5000;
const DEFAULT_FAILOVER_TIMEOUT_MS: u64 = 10_000;

/// What is to be started; its configuration files are written.
pub struct Plan {
    /// The data folder.
    pub layout: Layout,
    /// What `up.json` will say; no processes yet. Nodes come first, then sentinels.
    pub state: State,
    /// Which member is the master.
    pub master: usize,
    /// Password of all members.
    pub password: Option<String>,
    /// Things that the user should know, such as ports that were taken.
    pub notes: Vec<String>,
}

/// Reads what is there, decides, and writes. The error is what to tell the user.
pub fn prepare(layout: Layout, options: &UpOptions) -> Result<Plan, String> {
    let in_dir = |error: io::Error| format!("{}: {error}", layout.dir.display());
    layout.create().map_err(in_dir)?;
    let old = State::load(&layout).map_err(|error| error.to_string())?;
    let files = read_files(&layout, old.as_ref()).map_err(in_dir)?;
    let password = match &options.password {
        Some(password) => Some(check_password(password)?),
        None => files.iter().find_map(|conf| conf.get("requirepass")?.into_iter().next()),
    };
    let bind = choose_bind(options, old.as_ref(), password.is_some())?;
    let ip = choose_ip(options, old.as_ref(), &bind);
    let mut notes = Vec::new();
    let members = choose_members(options, old.as_ref(), &bind, &mut notes)?;
    let found = find_master(old.as_ref(), &files);
    let master = found.as_ref().map_or(0, |found| found.index);
    let state = State {
        version: 1,
        supervisor: None,
        ip: ip.to_string(),
        bind: bind.iter().map(IpAddr::to_string).collect(),
        members,
    };
    let writer = Writer { layout: &layout, options, state: &state, old: old.as_ref(), master };
    writer.write_all(&files, found.map_or(0, |found| found.config_epoch), password.as_deref())?;
    Ok(Plan { layout, state, master, password, notes })
}

/// Path of a member's configuration file.
pub fn conf_path(layout: &Layout, member: &MemberRecord) -> std::path::PathBuf {
    layout.member(&member.name).join(match member.kind {
        Kind::Node => "node.conf",
        Kind::Sentinel => "sentinel.conf",
    })
}

/// Path of a member's log file.
pub fn log_path(layout: &Layout, member: &MemberRecord) -> std::path::PathBuf {
    conf_path(layout, member).with_extension("log")
}

/// The files of the members of an earlier run, in their order; empty where one is missing.
fn read_files(layout: &Layout, old: Option<&State>) -> io::Result<Vec<ConfFile>> {
    let mut files = Vec::new();
    for member in old.map(|old| old.members.as_slice()).unwrap_or_default() {
        files.push(match fs::read_to_string(conf_path(layout, member)) {
            Ok(text) => ConfFile::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ConfFile::default(),
            Err(error) => return Err(error),
        });
    }
    Ok(files)
}

fn check_password(password: &str) -> Result<String, String> {
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err("the password must not be empty and must be one line".into());
    }
    Ok(password.to_owned())
}

fn choose_bind(
    options: &UpOptions,
    old: Option<&State>,
    has_password: bool,
) -> Result<Vec<IpAddr>, String> {
    let mut bind: Vec<IpAddr> = match (&options.bind, old) {
        (Some(bind), _) => bind.clone(),
        (None, Some(old)) => old.bind.iter().filter_map(|text| text.parse().ok()).collect(),
        (None, None) => Vec::new(),
    };
    // The view, the sentinels' neighbours and the commands to try all use this one.
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if !bind.iter().any(|ip| *ip == local || *ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED)) {
        bind.push(local);
    }
    for ip in &bind {
        if !ip.is_loopback() && !has_password {
            return Err(format!(
                "without a password the nodes listen on loopback addresses only, and {ip} is not \
                 one: add --password-file FILE, or leave out --bind"
            ));
        }
        if let Err(error) = TcpListener::bind((*ip, 0)) {
            return Err(format!(
                "cannot listen on {ip}: {error}; --bind takes addresses of this machine"
            ));
        }
    }
    Ok(bind)
}

/// The address under which members and clients find each other.
fn choose_ip(options: &UpOptions, old: Option<&State>, bind: &[IpAddr]) -> IpAddr {
    if let Some(ip) = options.announce_ip {
        return ip;
    }
    if options.bind.is_none()
        && let Some(ip) = old.and_then(|old| old.ip.parse().ok())
    {
        return ip;
    }
    match bind.first() {
        Some(ip) if ip.is_unspecified() => own_address(*ip),
        Some(ip) => *ip,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// The address that this machine uses towards others. Connecting a UDP socket sends nothing; it
/// only asks the routing table. The addresses are from the ranges kept for documentation.
fn own_address(unspecified: IpAddr) -> IpAddr {
    let (target, fallback) = match unspecified {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(_) => (
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ),
    };
    let ask = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect((target, 9))?;
        socket.local_addr()
    };
    ask().map_or(fallback, |address| address.ip())
}

fn choose_members(
    options: &UpOptions,
    old: Option<&State>,
    bind: &[IpAddr],
    notes: &mut Vec<String>,
) -> Result<Vec<MemberRecord>, String> {
    let mut taken = BTreeSet::new();
    let mut members = Vec::new();
    let nodes = options.replicas.map(|replicas| replicas + 1);
    for (kind, wanted, default, base, default_base) in [
        (Kind::Node, nodes, DEFAULT_REPLICAS + 1, options.base_port, DEFAULT_BASE_PORT),
        (
            Kind::Sentinel,
            options.sentinels,
            DEFAULT_SENTINELS,
            options.sentinel_port,
            DEFAULT_SENTINEL_PORT,
        ),
    ] {
        let old: Vec<&MemberRecord> =
            old.into_iter().flat_map(|old| &old.members).filter(|m| m.kind == kind).collect();
        let word = if kind == Kind::Node { "node" } else { "sentinel" };
        let count =
            wanted.map_or(if old.is_empty() { default.into() } else { old.len() }, usize::from);
        if count < old.len() {
            return Err(format!(
                "the folder holds {} {word}s, and {count} are asked for: a set-up can grow but not \
                 shrink; use another --dir, or delete the folder",
                old.len()
            ));
        }
        let mut next = base.unwrap_or(default_base);
        for index in 0..count {
            let name = format!("{word}-{}", index + 1);
            let kept = old.get(index).map(|m| m.port).filter(|_| base.is_none());
            let port = free_port(kept.unwrap_or(next), &name, bind, &mut taken, notes)?;
            next = port.saturating_add(1);
            members.push(MemberRecord { name, kind, port, process: None });
        }
    }
    let sentinels = members.iter().filter(|m| m.kind == Kind::Sentinel).count();
    if options.quorum.is_some_and(|quorum| usize::from(quorum) > sentinels) {
        return Err(format!("a quorum cannot be larger than the number of sentinels, {sentinels}"));
    }
    Ok(members)
}

/// The first port from `first` on that nobody listens on.
fn free_port(
    first: u16,
    name: &str,
    bind: &[IpAddr],
    taken: &mut BTreeSet<u16>,
    notes: &mut Vec<String>,
) -> Result<u16, String> {
    let mut passed_over = Vec::new();
    for port in first..=u16::MAX {
        if taken.contains(&port) {
            continue;
        }
        if bind.iter().any(|ip| TcpListener::bind((*ip, port)).is_err()) {
            passed_over.push(port.to_string());
            continue;
        }
        taken.insert(port);
        if !passed_over.is_empty() {
            notes.push(format!(
                "port {} is taken or not allowed: {name} uses {port}",
                passed_over.join(", ")
            ));
        }
        return Ok(port);
    }
    Err(format!(
        "no free port from {first} on for {name}; --base-port and --sentinel-port choose others"
    ))
}

struct FoundMaster {
    index: usize,
    config_epoch: u64,
}

/// Who was master last: the word of the sentinel with the highest config epoch; without one, the
/// first node whose file follows nobody.
fn find_master(old: Option<&State>, files: &[ConfFile]) -> Option<FoundMaster> {
    let old = old?;
    let mut best: Option<FoundMaster> = None;
    for (member, conf) in old.members.iter().zip(files) {
        let Some(monitor) = conf.get(&format!("sentinel monitor {MASTER_NAME}")) else { continue };
        let is_it = |m: &MemberRecord| {
            m.kind == Kind::Node && monitor.get(1).is_some_and(|port| *port == m.port.to_string())
        };
        let Some(index) = old.members.iter().position(is_it) else { continue };
        debug_assert_eq!(member.kind, Kind::Sentinel);
        let config_epoch =
            conf.number(&format!("sentinel config-epoch {MASTER_NAME}")).unwrap_or(0);
        if best.as_ref().is_none_or(|best| config_epoch > best.config_epoch) {
            best = Some(FoundMaster { index, config_epoch });
        }
    }
    best.or_else(|| {
        let follows_nobody = |(member, conf): (&MemberRecord, &ConfFile)| {
            member.kind == Kind::Node
                && conf.get("replicaof").is_none()
                && conf.get("slaveof").is_none()
        };
        let index = old.members.iter().zip(files).position(follows_nobody)?;
        Some(FoundMaster { index, config_epoch: 0 })
    })
}

struct Writer<'a> {
    layout: &'a Layout,
    options: &'a UpOptions,
    state: &'a State,
    old: Option<&'a State>,
    master: usize,
}

impl Writer<'_> {
    fn write_all(
        &self,
        files: &[ConfFile],
        config_epoch: u64,
        password: Option<&str>,
    ) -> Result<(), String> {
        for (index, member) in self.state.members.iter().enumerate() {
            // A member added to an old folder has no file: nodes and sentinels are matched by name.
            let old = self
                .old
                .and_then(|old| old.members.iter().position(|m| m.name == member.name))
                .and_then(|at| files.get(at))
                .filter(|conf| **conf != ConfFile::default());
            let mut conf = old.cloned().unwrap_or_else(|| fresh(member));
            let dir = self.layout.member(&member.name);
            self.common(&mut conf, member, &dir, password);
            match member.kind {
                Kind::Node => self.node(&mut conf, index, password),
                Kind::Sentinel => self.sentinel(&mut conf, config_epoch, password),
            }
            let path = conf_path(self.layout, member);
            layout::create_private(&dir)
                .and_then(|()| write_private(&path, &conf.text()))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn common(
        &self,
        conf: &mut ConfFile,
        member: &MemberRecord,
        dir: &std::path::Path,
        password: Option<&str>,
    ) {
        conf.set("port", &[&member.port.to_string()]);
        let bind: Vec<&str> = self.state.bind.iter().map(String::as_str).collect();
        conf.set("bind", &bind);
        conf.set("dir", &[&dir.to_string_lossy()]);
        conf.set("pidfile", &[&dir.join("pid").to_string_lossy()]);
        conf.set("logfile", &[""]);
        conf.set("daemonize", &["no"]);
        if self.options.password.is_some() {
            // A rewritten file also holds the old password's hash.
            conf.remove("user default");
        }
        if let Some(password) = password {
            conf.set("requirepass", &[password]);
        }
    }

    fn node(&self, conf: &mut ConfFile, index: usize, password: Option<&str>) {
        conf.remove("slaveof");
        if index == self.master {
            conf.remove("replicaof");
        } else {
            let port = self.state.members[self.master].port.to_string();
            conf.set("replicaof", &[&self.state.ip, &port]);
        }
        if let Some(password) = password {
            conf.set("masterauth", &[password]);
        }
        if let Some(threads) = self.options.threads {
            conf.set("threads", &[&threads.to_string()]);
        }
        self.announce(conf, "replica-announce-ip");
    }

    fn sentinel(&self, conf: &mut ConfFile, config_epoch: u64, password: Option<&str>) {
        self.follow_moved_addresses(conf);
        let named = |directive: &str| format!("sentinel {directive} {MASTER_NAME}");
        let sentinels = self.state.members.iter().filter(|m| m.kind == Kind::Sentinel).count();
        let before = conf.get(&named("monitor"));
        let quorum = match (self.options.quorum, &before) {
            (Some(quorum), _) => quorum.to_string(),
            (None, Some(before)) if before.len() == 3 => before[2].clone(),
            _ => (sentinels / 2 + 1).to_string(),
        };
        let ip = self.state.ip.as_str();
        let port = self.state.members[self.master].port.to_string();
        let knows_master = before.as_ref().is_some_and(|b| b[..2.min(b.len())] == [ip, &port]);
        conf.set(&named("monitor"), &[ip, &port, &quorum]);
        // A sentinel with an id of its own is known not to have lost its state: it may vote at once,
        // so that a failover works from the first second of a new set-up.
        if before.is_none()
            && conf.get("sentinel myid").is_none()
            && let Some(id) = random_id()
        {
            conf.set("sentinel myid", &[&id]);
        }
        if before.is_some() && !knows_master {
            self.catch_up(conf, config_epoch);
        }
        for (directive, asked, default) in [
            ("down-after-milliseconds", self.options.down_after, DEFAULT_DOWN_AFTER_MS),
            ("failover-timeout", self.options.failover_timeout, DEFAULT_FAILOVER_TIMEOUT_MS),
        ] {
            if asked.is_some() || before.is_none() {
                conf.set(&named(directive), &[&asked.unwrap_or(default).to_string()]);
            }
        }
        if let Some(password) = password {
            conf.set(&named("auth-pass"), &[password]);
        }
        self.announce(conf, "sentinel announce-ip");
    }

    /// For a sentinel that missed the last failover: the master is another one than it knew.
    fn catch_up(&self, conf: &mut ConfFile, config_epoch: u64) {
        let named = |directive: &str| format!("sentinel {directive} {MASTER_NAME}");
        conf.set(&named("config-epoch"), &[&config_epoch.to_string()]);
        conf.remove(&named("known-replica"));
        conf.remove(&named("known-slave"));
        for (index, member) in self.state.members.iter().enumerate() {
            if member.kind == Kind::Node && index != self.master {
                let port = member.port.to_string();
                conf.push(format!("{} {} {port}", named("known-replica"), self.state.ip));
            }
        }
    }

    /// Puts the present addresses where a sentinel noted down those of the last run.
    fn follow_moved_addresses(&self, conf: &mut ConfFile) {
        let Some(old) = self.old else { return };
        conf.edit_words(|words| {
            let known = words.len() >= 5
                && words[0].eq_ignore_ascii_case("sentinel")
                && words[1].to_ascii_lowercase().starts_with("known-");
            if !known || words[3] != old.ip {
                return false;
            }
            let Some(before) = old.members.iter().find(|m| m.port.to_string() == words[4]) else {
                return false;
            };
            let Some(now) = self.state.members.iter().find(|m| m.name == before.name) else {
                return false;
            };
            let changed = now.port != before.port || old.ip != self.state.ip;
            if changed {
                words[3] = self.state.ip.clone();
                words[4] = now.port.to_string();
            }
            changed
        });
    }

    /// Loopback needs no announcing; any other address may not be the one that a peer sees.
    fn announce(&self, conf: &mut ConfFile, directive: &str) {
        if self.state.ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()) {
            conf.remove(directive);
        } else {
            conf.set(directive, &[&self.state.ip]);
        }
    }
}

/// The first form of a file: what `up` does not set at every start.
fn fresh(member: &MemberRecord) -> ConfFile {
    let name = &member.name;
    let mut conf = ConfFile::parse(&format!(
        "# {name} of `redoubt up`: an ordinary configuration file, yours to change.\n\
         # At each start, `up` sets port, bind, dir, pidfile, logfile, daemonize and, where there\n\
         # is one, the password; {}.\n\
         # Log lines go to {}.log beside this file.",
        match member.kind {
            Kind::Node => "and whom the node follows (replicaof)",
            Kind::Sentinel => "and the master's address",
        },
        match member.kind {
            Kind::Node => "node",
            Kind::Sentinel => "sentinel",
        }
    ));
    if member.kind == Kind::Node {
        conf.push("# Replicas need not wait for others to join the same full sync.");
        conf.push("repl-diskless-sync-delay 0");
    }
    conf
}

/// Forty random hexadecimal digits; `None` without a random source, and the sentinel makes its own.
fn random_id() -> Option<String> {
    use std::io::Read;
    let mut bytes = [0u8; 20];
    std::fs::File::open("/dev/urandom").ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests;
