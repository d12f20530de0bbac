//! `nodes.conf`: the file in which a node keeps what it must not forget.
//!
//! A line for each node, then the line of epochs:
//!
//! ```text
//! <id> <ip>:<port>@<bus>[,<hostname>[,<name>=<value>]…] <flags> <master|-> <ping> <pong> <config epoch> <link> [slots]…
//! vars currentEpoch <n> lastVoteEpoch <n>
//! ```
//!
//! Redis 7.0 ends an address with the host name; 7.2 adds named fields behind it. Both are read;
//! what is written has the fields, if the node in question has any. A file that breaks off, names a
//! slot twice or does not say which node this is, is refused: starting with it could lose votes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use stdx::parse_u64;

use crate::flags::Flags;
use crate::id::NodeId;
use crate::slots::SLOTS;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfNode {
    /// Its name.
    pub id: NodeId,
    /// Its address; empty when it is not known.
    pub ip: String,
    /// Its port for clients.
    pub port: u16,
    /// Its port of the bus.
    pub bus_port: u16,
    /// The host name it announces; empty for none.
    pub hostname: String,
    /// The name for people; empty for none.
    pub nodename: String,
    /// The other port for clients: `tls-port` or `tcp-port`.
    pub other_port: Option<OtherPort>,
    /// The shard it belongs to.
    pub shard: Option<NodeId>,
    /// Named fields that this version does not know, kept as they are.
    pub unknown: Vec<(String, String)>,
    /// Its flags.
    pub flags: Flags,
    /// Its master.
    pub master: Option<NodeId>,
    /// When the pending ping was sent, in ms since the Unix epoch; 0: none.
    pub ping_sent: u64,
    /// When it last answered, in ms since the Unix epoch.
    pub pong_received: u64,
    /// Its config epoch.
    pub config_epoch: u64,
    /// Whether the link to it stood.
    pub connected: bool,
    /// Its slots, as ranges with both ends.
    pub slots: Vec<(u16, u16)>,
    /// Slots on the way, of this node only: slot, the other node, true for importing.
    pub moving: Vec<(u16, NodeId, bool)>,
}

/// The other port of a node, by the name that it has in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherPort {
    /// `tls-port`, in a cluster whose bus speaks no TLS.
    Tls(u16),
    /// `tcp-port`, in a cluster whose bus speaks TLS.
    Tcp(u16),
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesConf {
    /// Every node, in the order of the file.
    pub nodes: Vec<ConfNode>,
    /// `currentEpoch`.
    pub current_epoch: u64,
    /// `lastVoteEpoch`.
    pub last_vote_epoch: u64,
}

/// What is wrong with a file, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// The line; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl NodesConf {
    /// Reads a file. An empty one is as good as none: `Ok(None)`.
    pub fn parse(bytes: &[u8]) -> Result<Option<NodesConf>, ConfError> {
        let whole = |why: &str| ConfError { line: 0, why: why.to_string() };
        let text = std::str::from_utf8(bytes).map_err(|_| whole("the file is not text"))?;
        let mut nodes = Vec::new();
        let mut vars = None;
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let located = |why: String| ConfError { line: at + 1, why };
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if vars.is_some() {
                return Err(located("something follows the line of epochs".into()));
            }
            if words[0] == "vars" {
                vars = Some(read_vars(&words).map_err(located)?);
            } else {
                nodes.push(read_node(&words).map_err(located)?);
            }
        }
        if nodes.is_empty() && vars.is_none() {
            return Ok(None);
        }
        let Some((current_epoch, last_vote_epoch)) = vars else {
            return Err(whole("the line of epochs is missing: the file is not complete"));
        };
        let conf = NodesConf { nodes, current_epoch, last_vote_epoch };
        conf.check().map_err(|why| whole(&why))?;
        Ok(Some(conf))
    }

    /// The line of this node.
    pub fn myself(&self) -> Option<&ConfNode> {
        self.nodes.iter().find(|node| node.flags.has(Flags::MYSELF))
    }

    fn check(&self) -> Result<(), String> {
        match self.nodes.iter().filter(|node| node.flags.has(Flags::MYSELF)).count() {
            1 => {}
            0 => return Err("no node is marked as myself".into()),
            _ => return Err("more than one node is marked as myself".into()),
        }
        let mut owners: BTreeMap<u16, NodeId> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            if !names.insert(node.id) {
                return Err(format!("node {} is there twice", node.id));
            }
            for slot in node.slots.iter().flat_map(|(from, to)| *from..=*to) {
                if owners.insert(slot, node.id).is_some() {
                    return Err(format!("slot {slot} has two owners"));
                }
            }
        }
        Ok(())
    }

    /// The file as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for node in &self.nodes {
            node.push_line(&mut out, true);
            out.push('\n');
        }
        let _ = writeln!(
            out,
            "vars currentEpoch {} lastVoteEpoch {}",
            self.current_epoch, self.last_vote_epoch
        );
        out
    }
}

impl ConfNode {
    /// Writes the line without its end; `fields`: with what only the file says.
    pub fn push_line(&self, out: &mut String, fields: bool) {
        let _ = write!(out, "{} {}:{}@{}", self.id, self.ip, self.port, self.bus_port);
        if fields {
            self.push_fields(out);
        } else if !self.hostname.is_empty() {
            let _ = write!(out, ",{}", self.hostname);
        }
        let _ = write!(out, " {} ", self.flags.names());
        match &self.master {
            Some(master) => out.push_str(master.as_str()),
            None => out.push('-'),
        }
        let link = if self.connected { "connected" } else { "disconnected" };
        let _ =
            write!(out, " {} {} {} {link}", self.ping_sent, self.pong_received, self.config_epoch);
        for (from, to) in &self.slots {
            if from == to {
                let _ = write!(out, " {from}");
            } else {
                let _ = write!(out, " {from}-{to}");
            }
        }
        for (slot, other, importing) in &self.moving {
            let arrow = if *importing { "-<-" } else { "->-" };
            let _ = write!(out, " [{slot}{arrow}{other}]");
        }
    }

    fn push_fields(&self, out: &mut String) {
        let mut named = String::new();
        match self.other_port {
            Some(OtherPort::Tls(port)) => drop(write!(named, ",tls-port={port}")),
            Some(OtherPort::Tcp(port)) => drop(write!(named, ",tcp-port={port}")),
            None => {}
        }
        if !self.nodename.is_empty() {
            let _ = write!(named, ",nodename={}", self.nodename);
        }
        if let Some(shard) = &self.shard {
            let _ = write!(named, ",shard-id={shard}");
        }
        for (name, value) in &self.unknown {
            let _ = write!(named, ",{name}={value}");
        }
        if !self.hostname.is_empty() || !named.is_empty() {
            let _ = write!(out, ",{}{named}", self.hostname);
        }
    }
}

fn read_vars(words: &[&str]) -> Result<(u64, u64), String> {
    let (mut current, mut vote) = (None, None);
    for pair in words[1..].chunks(2) {
        let [name, value] = pair else {
            return Err(format!("'{}' has no value", pair.join(" ")));
        };
        let value = number(value)?;
        match *name {
            "currentEpoch" => current = Some(value),
            "lastVoteEpoch" => vote = Some(value),
            // Later versions may have more to say.
            _ => {}
        }
    }
    match (current, vote) {
        (Some(current), Some(vote)) => Ok((current, vote)),
        _ => Err("an epoch is missing".into()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    parse_u64(text.as_bytes()).ok_or_else(|| format!("'{text}' is not a number"))
}

fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text.as_bytes()).ok_or_else(|| format!("'{text}' is not the name of a node"))
}

fn read_node(words: &[&str]) -> Result<ConfNode, String> {
    let [id, address, flags, master, ping, pong, epoch, link, rest @ ..] = words else {
        return Err("a node needs at least eight fields: the line breaks off".into());
    };
    let mut node = read_address(address)?;
    node.id = node_id(id)?;
    node.flags = Flags::parse(flags).ok_or_else(|| format!("'{flags}' holds an unknown flag"))?;
    node.master = if *master == "-" { None } else { Some(node_id(master)?) };
    (node.ping_sent, node.pong_received) = (number(ping)?, number(pong)?);
    node.config_epoch = number(epoch)?;
    node.connected = match *link {
        "connected" => true,
        "disconnected" => false,
        _ => return Err(format!("'{link}' is not the state of a link")),
    };
    for word in rest {
        match word.strip_prefix('[') {
            Some(word) => node.moving.push(read_moving(word)?),
            None => node.slots.push(read_range(word)?),
        }
    }
    Ok(node)
}

fn slot(text: &str) -> Result<u16, String> {
    let slot = number(text)?;
    u16::try_from(slot)
        .ok()
        .filter(|slot| *slot < SLOTS)
        .ok_or_else(|| format!("there is no slot {slot}"))
}

fn read_range(word: &str) -> Result<(u16, u16), String> {
    let (from, to) = match word.split_once('-') {
        Some((from, to)) => (slot(from)?, slot(to)?),
        None => (slot(word)?, slot(word)?),
    };
    if from > to { Err(format!("'{word}' ends before it begins")) } else { Ok((from, to)) }
}

fn read_moving(word: &str) -> Result<(u16, NodeId, bool), String> {
    let wrong = || format!("'[{word}' is not a slot on its way");
    let word_end = word.strip_suffix(']').ok_or_else(wrong)?;
    if let Some((text, id)) = word_end.split_once("->-") {
        return Ok((slot(text)?, node_id(id)?, false));
    }
    let (text, id) = word_end.split_once("-<-").ok_or_else(wrong)?;
    Ok((slot(text)?, node_id(id)?, true))
}

/// `ip:port@bus[,hostname[,name=value]…]`; an IPv6 address may hold colons itself.
fn read_address(text: &str) -> Result<ConfNode, String> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or("");
    let hostname = parts.next().unwrap_or("").to_string();
    let (ip, ports) =
        address.rsplit_once(':').ok_or_else(|| format!("'{address}' is not an address"))?;
    let port =
        |text: &str| text.parse::<u16>().map_err(|_| format!("'{address}' has a wrong port"));
    // Before Redis 4 there was no bus port in the file: it was the other one plus 10000.
    let (port, bus_port) = match ports.split_once('@') {
        Some((client, bus)) => (port(client)?, port(bus)?),
        None => {
            let client = port(ports)?;
            (client, client.checked_add(10_000).ok_or("the port of the bus is too great")?)
        }
    };
    let mut node = ConfNode {
        id: NodeId::parse(&[b'0'; 40]).ok_or("no name")?,
        ip: ip.to_string(),
        port,
        bus_port,
        hostname,
        nodename: String::new(),
        other_port: None,
        shard: None,
        unknown: Vec::new(),
        flags: Flags::default(),
        master: None,
        ping_sent: 0,
        pong_received: 0,
        config_epoch: 0,
        connected: false,
        slots: Vec::new(),
        moving: Vec::new(),
    };
    for part in parts {
        let (name, value) =
            part.split_once('=').ok_or_else(|| format!("'{part}' is not name=value"))?;
        let other = || value.parse::<u16>().map_err(|_| format!("'{part}' is not a port"));
        match name {
            "shard-id" => node.shard = Some(node_id(value)?),
            "nodename" => node.nodename = value.to_string(),
            "tls-port" => node.other_port = Some(OtherPort::Tls(other()?)),
            "tcp-port" => node.other_port = Some(OtherPort::Tcp(other()?)),
            _ => node.unknown.push((name.to_string(), value.to_string())),
        }
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use stdx::Prng;

    use super::NodesConf;

    const FILES: [&str; 5] = [
        include_str!("../testdata/nodes-7.0.15-a-0.conf"),
        include_str!("../testdata/nodes-7.0.15-a-1.conf"),
        include_str!("../testdata/nodes-7.0.15-b-0.conf"),
        include_str!("../testdata/nodes-7.0.15-c-0.conf"),
        include_str!("../testdata/nodes-7.0.15-d-1.conf"),
    ];
    const LATER: &str = "\
        07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,h,tls-port=0,nodename=n,shard-id=\
        1111111111111111111111111111111111111111,new=1 myself,slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 \
        1426238317239 4 connected\n\
        67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 ::1:30002@31002,,tls-port=7,shard-id=\
        2222222222222222222222222222222222222222 master,fail? - 5 1426238316232 2 disconnected 5461-10922 16383\n\
        vars currentEpoch 18446744073709551615 lastVoteEpoch 3\n";

    #[test]
    fn files_of_real_nodes_come_out_as_they_went_in() {
        for text in FILES.into_iter().chain([LATER]) {
            let conf = NodesConf::parse(text.as_bytes()).expect("a good file").expect("not empty");
            assert_eq!(conf.text(), text);
            assert!(conf.myself().is_some());
        }
        let moving = NodesConf::parse(FILES[0].as_bytes()).unwrap().unwrap();
        let me = moving.myself().unwrap();
        assert_eq!(me.slots, [(0, 5460)]);
        assert_eq!(
            me.moving.iter().map(|m| (m.0, m.2)).collect::<Vec<_>>(),
            [(5, false), (7, false)]
        );
        // 7.0.15 writes in place and fills what a longer file left with ends of lines.
        let padded = format!("{}\n\n\n\n", FILES[0]);
        assert_eq!(NodesConf::parse(padded.as_bytes()).unwrap(), Some(moving));
        assert_eq!(NodesConf::parse(b"\n\n"), Ok(None));
    }

    #[test]
    fn damaged_files_say_what_is_wrong() {
        let damaged = |from: &str, to: &str| {
            assert!(LATER.contains(from), "{from}");
            let error = NodesConf::parse(LATER.replacen(from, to, 1).as_bytes());
            error.expect_err("damaged").to_string()
        };
        assert_eq!(damaged("myself,", ""), "no node is marked as myself");
        assert_eq!(damaged("master,", "myself,"), "more than one node is marked as myself");
        assert_eq!(damaged("fail?", "sick"), "line 2: 'master,sick' holds an unknown flag");
        assert_eq!(damaged(" 16383", " 16384"), "line 2: there is no slot 16384");
        assert_eq!(damaged(" 16383", " 9-3"), "line 2: '9-3' ends before it begins");
        assert_eq!(damaged(" 16383", " 10922"), "slot 10922 has two owners");
        assert_eq!(damaged(" 16383", " [1-x]"), "line 2: '[1-x]' is not a slot on its way");
        assert_eq!(damaged("67ed", "67eX").split(':').next(), Some("line 2"));
        assert_eq!(damaged("30002@", "99999@"), "line 2: '::1:99999@31002' has a wrong port");
        assert_eq!(damaged("lastVoteEpoch 3", ""), "line 3: an epoch is missing");
        assert_eq!(
            damaged(" connected", ""),
            "line 1: a node needs at least eight fields: the line breaks off"
        );
        let cut = &LATER[..LATER.find("vars").unwrap()];
        assert_eq!(
            NodesConf::parse(cut.as_bytes()).expect_err("cut").to_string(),
            "the line of epochs is missing: the file is not complete"
        );
        assert_eq!(
            NodesConf::parse(b"\xff").expect_err("binary").to_string(),
            "the file is not text"
        );
    }

    #[test]
    fn mutated_files_never_panic() {
        let mut prng = Prng::new(3);
        let mut accepted = 0;
        for round in 0..5_000 {
            let mut bytes = [FILES[round % 5], LATER][round % 2].as_bytes().to_vec();
            for _ in 0..prng.between(1, 3) {
                let at = prng.below(bytes.len().max(1) as u64) as usize;
                if bytes.is_empty() {
                    break;
                }
                match prng.below(3) {
                    0 => bytes[at] = b"0159a-,@:[]<> \n\xff="[prng.below(17) as usize],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at + 1),
                }
            }
            if let Ok(Some(conf)) = NodesConf::parse(&bytes) {
                accepted += 1;
                assert_eq!(NodesConf::parse(conf.text().as_bytes()), Ok(Some(conf)));
            }
        }
        assert!(accepted > 100);
    }
}
