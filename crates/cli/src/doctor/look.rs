//! Asking the members of a group. Nothing is changed there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use resp::{ReplyParser, Value};

use super::facts::{Group, Listed, NodeFacts, SentinelFacts, Trouble};

/// How long one member may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes of one reply.
const REPLY_MAX: usize = 16 << 20;
/// Most members that are asked.
const MEMBERS_MAX: usize = 200;
/// Directives that the findings are about.
const DIRECTIVES: &[&str] =
    &["save", "appendonly", "min-replicas-to-write", "requirepass", "masterauth"];

/// How to log in.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// User of the data nodes.
    pub user: Option<String>,
    /// Password of the data nodes.
    pub password: Option<String>,
    /// Password of the sentinels; where it is missing the nodes' is tried.
    pub sentinel_password: Option<String>,
}

/// Asks these addresses and everybody that they name. One group for each master that the sentinels
/// watch, or one without a name if there are no sentinels.
pub fn look(addresses: &[String], login: &Login) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut nameless = Group::default();
    let mut queue: VecDeque<String> = addresses.iter().cloned().collect();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut sentinels = BTreeSet::new();
    while let Some(addr) = queue.pop_front() {
        if seen.len() > MEMBERS_MAX {
            break;
        }
        let mut reach = |found: &str| {
            if seen.insert(found.to_string()) {
                queue.push_back(found.to_string());
            }
        };
        match ask(&addr, login, sentinels.contains(&addr)) {
            Asked::Node(node) => {
                members_of(&node).iter().for_each(|addr| reach(addr));
                nameless.nodes.push(*node);
            }
            Asked::Sentinel(views) => {
                for (name, view) in views {
                    for listed in std::iter::once(&view.master).chain(&view.replicas) {
                        reach(&listed.addr);
                    }
                    for listed in &view.sentinels {
                        sentinels.insert(listed.addr.clone());
                        reach(&listed.addr);
                    }
                    let group = groups.entry(name.clone()).or_default();
                    group.name = name;
                    group.sentinels.push(view);
                }
            }
            Asked::Nobody(trouble) if sentinels.contains(&addr) => {
                let gone =
                    SentinelFacts { addr, trouble: Some(trouble), ..SentinelFacts::default() };
                let names_it = |group: &Group| {
                    group.sentinels.iter().any(|s| s.sentinels.iter().any(|l| l.addr == gone.addr))
                };
                for group in groups.values_mut() {
                    if names_it(group) {
                        group.sentinels.push(gone.clone());
                    }
                }
            }
            Asked::Nobody(trouble) => {
                nameless.nodes.push(NodeFacts {
                    addr,
                    trouble: Some(trouble),
                    ..NodeFacts::default()
                });
            }
        }
    }
    if groups.is_empty() {
        return vec![nameless];
    }
    for group in groups.values_mut() {
        let members: BTreeSet<String> = group
            .sentinels
            .iter()
            .flat_map(|s| std::iter::once(&s.master).chain(&s.replicas))
            .map(|listed| listed.addr.clone())
            .collect();
        group.nodes =
            nameless.nodes.iter().filter(|node| members.contains(&node.addr)).cloned().collect();
    }
    groups.into_values().collect()
}

/// The addresses that a node's INFO names.
fn members_of(node: &NodeFacts) -> Vec<String> {
    let mut found = Vec::new();
    if node.field("role") == "slave" {
        found.push(format!("{}:{}", node.field("master_host"), node.field("master_port")));
    }
    for (name, value) in &node.info {
        let number = name.strip_prefix("slave").unwrap_or_default();
        let part =
            |name: &str| value.split(',').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        if !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
            && let (Some(ip), Some(port)) = (part("ip"), part("port"))
        {
            found.push(format!("{ip}:{port}"));
        }
    }
    found
}

enum Asked {
    Node(Box<NodeFacts>),
    /// What it says of each master, by name.
    Sentinel(Vec<(String, SentinelFacts)>),
    Nobody(Trouble),
}

fn ask(addr: &str, login: &Login, sentinel: bool) -> Asked {
    let mut link = match Link::connect(addr) {
        Ok(link) => link,
        Err(why) => return Asked::Nobody(Trouble::Unreachable(why)),
    };
    match link.introduce(login, sentinel) {
        Ok(mode) if mode == "sentinel" => match ask_sentinel(&mut link, addr) {
            Ok(views) => Asked::Sentinel(views),
            Err(trouble) => Asked::Nobody(trouble),
        },
        Ok(_) => match ask_node(&mut link, addr) {
            Ok(node) => Asked::Node(Box::new(node)),
            Err(trouble) => Asked::Nobody(trouble),
        },
        Err(trouble) => Asked::Nobody(trouble),
    }
}

fn ask_node(link: &mut Link, addr: &str) -> Result<NodeFacts, Trouble> {
    let info = link.call(&["INFO"])?;
    let mut node =
        NodeFacts { addr: addr.into(), info: fields(&text_of(&info)), ..NodeFacts::default() };
    for name in DIRECTIVES {
        // Not everybody may read the configuration; then less is said.
        if let Ok(value) = link.call(&["CONFIG", "GET", name])
            && let Some([_, value]) = value.as_array()
        {
            node.config.insert((*name).into(), text_of(value));
        }
    }
    if let Ok(time) = link.call(&["TIME"])
        && let Some([secs, micros]) = time.as_array()
        && let (Ok(secs), Ok(micros)) =
            (text_of(secs).parse::<i64>(), text_of(micros).parse::<i64>())
    {
        let ours =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        node.clock_ahead_ms =
            secs.saturating_mul(1000).saturating_add(micros / 1000).saturating_sub(ours);
    }
    Ok(node)
}

fn ask_sentinel(link: &mut Link, addr: &str) -> Result<Vec<(String, SentinelFacts)>, Trouble> {
    let mut views = Vec::new();
    let masters = link.call(&["SENTINEL", "MASTERS"])?;
    for master in masters.as_array().unwrap_or_default() {
        let master = pairs(master);
        let name = master.get("name").cloned().unwrap_or_default();
        let mut list = |what: &str| -> Result<Vec<Listed>, Trouble> {
            let all = link.call(&["SENTINEL", what, &name])?;
            Ok(all.as_array().unwrap_or_default().iter().map(|one| listed(&pairs(one))).collect())
        };
        let (replicas, sentinels) = (list("REPLICAS")?, list("SENTINELS")?);
        let ckquorum = text_of(&link.call(&["SENTINEL", "CKQUORUM", &name])?);
        let view = SentinelFacts {
            addr: addr.into(),
            master: listed(&master),
            quorum: master.get("quorum").and_then(|q| q.parse().ok()).unwrap_or(0),
            replicas,
            sentinels,
            ckquorum,
            ..SentinelFacts::default()
        };
        views.push((name, view));
    }
    Ok(views)
}

fn listed(fields: &BTreeMap<String, String>) -> Listed {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    Listed { addr: format!("{}:{}", field("ip"), field("port")), flags: field("flags") }
}

/// Names and values that alternate.
fn pairs(value: &Value) -> BTreeMap<String, String> {
    let words = value.as_array().unwrap_or_default();
    words.chunks_exact(2).map(|pair| (text_of(&pair[0]), text_of(&pair[1]))).collect()
}

fn fields(info: &str) -> BTreeMap<String, String> {
    let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    lines.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => other
            .as_bytes()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default(),
    }
}

/// A connection with deadlines.
struct Link {
    stream: TcpStream,
    parser: ReplyParser,
    taken: usize,
}

impl Link {
    fn connect(addr: &str) -> Result<Link, String> {
        let plain = |error: std::io::Error| error.to_string();
        let mut found = addr.to_socket_addrs().map_err(plain)?;
        let target = found.next().ok_or("the name has no address")?;
        let stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(plain)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(plain)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(plain)?;
        Ok(Link { stream, parser: ReplyParser::new(), taken: 0 })
    }

    /// Logs in if that is asked for; returns the mode that it says.
    fn introduce(&mut self, login: &Login, sentinel: bool) -> Result<String, Trouble> {
        let first = self.call(&["INFO", "server"])?;
        let info = match first {
            Value::Error(text) if text.starts_with(b"NOAUTH") => {
                let own = login.sentinel_password.as_ref().filter(|_| sentinel);
                let mut tried =
                    own.into_iter().chain(&login.password).chain(&login.sentinel_password);
                let refused = String::from_utf8_lossy(&text).into_owned();
                loop {
                    let Some(password) = tried.next() else {
                        return Err(Trouble::Password(refused));
                    };
                    let user = login.user.as_deref().filter(|_| !sentinel);
                    let words = match user {
                        Some(user) => vec!["AUTH", user, password.as_str()],
                        None => vec!["AUTH", password.as_str()],
                    };
                    if !matches!(self.call(&words)?, Value::Error(_)) {
                        break;
                    }
                }
                self.call(&["INFO", "server"])?
            }
            other => other,
        };
        match &info {
            Value::Error(text) => {
                Err(Trouble::Password(String::from_utf8_lossy(text).into_owned()))
            }
            info => Ok(fields(&text_of(info)).remove("redis_mode").unwrap_or_default()),
        }
    }

    fn call(&mut self, words: &[&str]) -> Result<Value, Trouble> {
        let lost = |error: std::io::Error| Trouble::Unreachable(error.to_string());
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, words);
        // A server that refuses us may have closed already; what it said is to be read.
        let sent = self.stream.write_all(&bytes);
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let next = self.parser.next();
            match next.map_err(|error| Trouble::Unreachable(error.text().to_owned()))? {
                Some(Value::Error(text)) if text.starts_with(b"DENIED") => {
                    return Err(Trouble::Protected);
                }
                Some(value) => return Ok(value),
                None => {}
            }
            if Instant::now() > deadline || self.taken > REPLY_MAX {
                return Err(Trouble::Unreachable("it does not answer".into()));
            }
            let read = self.stream.read(&mut buffer).map_err(lost)?;
            if read == 0 {
                let why = sent.err().map_or("it closed the connection".into(), |e| e.to_string());
                return Err(Trouble::Unreachable(why));
            }
            self.taken += read;
            self.parser.feed(&buffer[..read]);
        }
    }
}
