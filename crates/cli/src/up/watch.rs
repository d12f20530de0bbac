//! Asks every member, over and over, how it is, and listens to the sentinels' events.
//!
//! One thread per member and one more per sentinel: a member that is paused holds up only those
//! who ask it. What they learn goes to the supervisor as [`Update`]s.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use resp::Value;

use super::conf::ConfFile;
use super::link::{Link, info_fields, map_fields};
use super::plan::MASTER_NAME;

/// Between two questions to the same member.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two attempts to listen to a sentinel's events: short, so that few are missed.
const RELISTEN: Duration = Duration::from_millis(50);

/// A host and a port, as a node or sentinel names them.
pub type Address = (String, u16);

/// What a data node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// True while it loads its data set.
    pub loading: bool,
    /// `master` or `slave`
    pub role: String,
    /// Whom it follows.
    pub follows: Option<Address>,
    /// True if the link to that one works; of no meaning in a master.
    pub link_up: bool,
    /// True during a full sync.
    pub syncing: bool,
    /// Seconds since the link broke.
    pub link_down_s: Option<i64>,
    /// Its replication offset.
    pub offset: i64,
    /// Its replicas, if it is a master.
    pub replicas: Vec<ReplicaFacts>,
}

/// What a master says of one replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaFacts {
    /// The port that the replica announces.
    pub port: u16,
    /// True once it is in step.
    pub online: bool,
    /// The offset that it has acknowledged last.
    pub offset: i64,
    /// Seconds since then.
    pub lag_s: i64,
}

/// What a sentinel thinks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentinelFacts {
    /// Its run id.
    pub my_id: String,
    /// Where it sends clients.
    pub master: Option<Address>,
    /// Flags of its master entry, such as `s_down`.
    pub flags: Vec<String>,
    /// State of a failover that it leads.
    pub failover_state: Option<String>,
    /// Epoch of the master's configuration.
    pub config_epoch: u64,
    /// The highest epoch it has seen, from its file.
    pub current_epoch: u64,
    /// Votes it needs for ODOWN.
    pub quorum: u64,
    /// Replicas it knows.
    pub replicas: u64,
    /// Other sentinels it knows.
    pub sentinels: Vec<PeerFacts>,
    /// How many of the replicas it takes for down.
    pub replicas_down: u64,
}

/// What a sentinel says of another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerFacts {
    /// The other one's run id.
    pub id: String,
    /// Flags, such as `s_down`, `master_down`.
    pub flags: Vec<String>,
    /// For whom it has voted, and in which epoch.
    pub vote: Option<(String, u64)>,
}

/// News from a watcher. `member` is the member's index.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A node has answered, or not (`None`).
    Node { member: usize, facts: Option<NodeFacts> },
    /// A sentinel has answered, or not (`None`).
    Sentinel { member: usize, facts: Option<SentinelFacts> },
    /// A sentinel has published an event.
    Event { member: usize, channel: String, payload: String },
}

/// Whom to watch.
#[derive(Clone)]
pub struct Target {
    /// Index of the member.
    pub member: usize,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Password, if it asks for one.
    pub password: Option<String>,
    /// Its configuration file.
    pub conf: PathBuf,
}

/// Where updates go; false when nobody wants them any more.
pub trait Sink: Fn(Update) -> bool + Send + 'static {}
impl<T: Fn(Update) -> bool + Send + 'static> Sink for T {}

/// Watches a data node until the sink is closed.
pub fn watch_node(target: &Target, sink: impl Sink) {
    let member = target.member;
    poll(target, ask_node, |facts| sink(Update::Node { member, facts }));
}

/// Watches a sentinel until the sink is closed.
pub fn watch_sentinel(target: &Target, sink: impl Sink) {
    let (member, conf) = (target.member, target.conf.clone());
    let ask = move |link: &mut Link| {
        let mut facts = ask_sentinel(link)?;
        // No command tells the current epoch; the file does, and is never behind.
        if let Ok(text) = std::fs::read_to_string(&conf) {
            let epoch = ConfFile::parse(&text).number("sentinel current-epoch");
            facts.current_epoch = epoch.unwrap_or(0).max(facts.config_epoch);
        }
        Ok(facts)
    };
    poll(target, ask, |facts| sink(Update::Sentinel { member, facts }));
}

fn poll<T>(
    target: &Target,
    ask: impl Fn(&mut Link) -> io::Result<T>,
    tell: impl Fn(Option<T>) -> bool,
) {
    let mut link: Option<Link> = None;
    loop {
        let mut answer = link.as_mut().map(&ask);
        // A failover ends the clients' links to a node that takes another role; such a link is made
        // anew at once. One that hangs is given up until the next time.
        let hangs = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if !matches!(&answer, Some(Err(error)) if hangs(error)) && !matches!(answer, Some(Ok(_))) {
            link = Link::connect(target.port, target.password.as_deref()).ok();
            answer = link.as_mut().map(&ask);
        }
        let facts = answer.and_then(Result::ok);
        if facts.is_none() {
            link = None;
        }
        if !tell(facts) {
            return;
        }
        std::thread::sleep(PERIOD);
    }
}

/// Listens to the events of a sentinel until the sink is closed.
pub fn listen(target: &Target, sink: impl Sink) {
    loop {
        // A sentinel that is down is noticed by the one who asks it, not here.
        if let Ok(mut link) = Link::connect(target.port, target.password.as_deref())
            && link.send(&["PSUBSCRIBE", "*"]).is_ok()
        {
            loop {
                match link.receive(Duration::from_secs(1)) {
                    Ok(Some(value)) => {
                        let Some((channel, payload)) = message(&value) else { continue };
                        if !sink(Update::Event { member: target.member, channel, payload }) {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
        std::thread::sleep(RELISTEN);
    }
}

fn message(value: &Value) -> Option<(String, String)> {
    match value.as_array()? {
        [kind, _, channel, payload] if kind.as_bytes() == Some(b"pmessage") => {
            let text =
                |value: &Value| Some(String::from_utf8_lossy(value.as_bytes()?).into_owned());
            Some((text(channel)?, text(payload)?))
        }
        _ => None,
    }
}

fn ask_node(link: &mut Link) -> io::Result<NodeFacts> {
    let loading = link.call(&["PING"])?.is_error("LOADING");
    let info = link.call(&["INFO", "replication"])?;
    let mut facts = node_facts(info.as_str().unwrap_or_default());
    facts.loading = loading;
    Ok(facts)
}

fn node_facts(info: &str) -> NodeFacts {
    let fields = info_fields(info);
    let field = |name: &str| fields.get(name).copied();
    let number = |name: &str| field(name).and_then(|text| text.parse::<i64>().ok());
    let role = field("role").unwrap_or_default().to_owned();
    let is_master = role == "master";
    NodeFacts {
        loading: false,
        follows: field("master_host")
            .map(str::to_owned)
            .zip(number("master_port").and_then(|port| u16::try_from(port).ok())),
        link_up: field("master_link_status") == Some("up"),
        syncing: number("master_sync_in_progress") == Some(1),
        link_down_s: number("master_link_down_since_seconds"),
        offset: number(if is_master { "master_repl_offset" } else { "slave_repl_offset" })
            .unwrap_or(0),
        replicas: (0..number("connected_slaves").unwrap_or(0).clamp(0, 1000))
            .filter_map(|n| field(&format!("slave{n}")).map(replica_facts))
            .collect(),
        role,
    }
}

/// `ip=…,port=…,state=online,offset=…,lag=…`
fn replica_facts(text: &str) -> ReplicaFacts {
    let fields: BTreeMap<&str, &str> =
        text.split(',').filter_map(|part| part.split_once('=')).collect();
    let number =
        |name: &str| fields.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    ReplicaFacts {
        port: u16::try_from(number("port")).unwrap_or(0),
        online: fields.get("state") == Some(&"online"),
        offset: number("offset"),
        lag_s: number("lag"),
    }
}

fn ask_sentinel(link: &mut Link) -> io::Result<SentinelFacts> {
    let my_id = link.call(&["SENTINEL", "MYID"])?.as_str().unwrap_or_default().to_owned();
    let address = link.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME])?;
    let master = link.call(&["SENTINEL", "MASTER", MASTER_NAME])?;
    let replicas = link.call(&["SENTINEL", "REPLICAS", MASTER_NAME])?;
    let peers = link.call(&["SENTINEL", "SENTINELS", MASTER_NAME])?;
    Ok(sentinel_facts(my_id, &address, &master, &replicas, &peers))
}

fn sentinel_facts(
    my_id: String,
    address: &Value,
    master: &Value,
    replicas: &Value,
    peers: &Value,
) -> SentinelFacts {
    let fields = map_fields(master);
    let number =
        |name: &str| fields.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let address = match address.as_array() {
        Some([ip, port]) => ip
            .as_str()
            .map(str::to_owned)
            .zip(port.as_i64().and_then(|port| u16::try_from(port).ok())),
        _ => None,
    };
    let down = |value: &&Value| flags(&map_fields(value)).iter().any(|flag| flag == "s_down");
    SentinelFacts {
        my_id,
        master: address,
        flags: flags(&fields),
        failover_state: fields
            .get("failover-state")
            .filter(|state| **state != "none")
            .map(|state| (*state).to_owned()),
        config_epoch: number("config-epoch"),
        current_epoch: number("config-epoch"),
        quorum: number("quorum"),
        replicas: number("num-slaves"),
        sentinels: peers.as_array().unwrap_or_default().iter().map(peer_facts).collect(),
        replicas_down: replicas.as_array().unwrap_or_default().iter().filter(down).count() as u64,
    }
}

fn flags(fields: &BTreeMap<&str, &str>) -> Vec<String> {
    fields.get("flags").map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn peer_facts(value: &Value) -> PeerFacts {
    let fields = map_fields(value);
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let vote = field("voted-leader");
    PeerFacts {
        id: field("runid").to_owned(),
        flags: flags(&fields),
        vote: (!matches!(vote, "" | "?"))
            .then(|| Some((vote.to_owned(), field("voted-leader-epoch").parse().ok()?)))
            .flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_and_a_replica() {
        let facts = node_facts(
            "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\
             slave0:ip=127.0.0.1,port=6380,state=online,offset=90,lag=1\r\nmaster_repl_offset:100\r\n",
        );
        assert_eq!((facts.role.as_str(), facts.offset), ("master", 100));
        assert_eq!(
            facts.replicas,
            [ReplicaFacts { port: 6380, online: true, offset: 90, lag_s: 1 }]
        );
        let facts = node_facts(
            "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:down\r\n\
             master_sync_in_progress:1\r\nslave_repl_offset:7\r\nmaster_link_down_since_seconds:3\r\n",
        );
        assert_eq!(facts.follows, Some(("127.0.0.1".into(), 6379)));
        assert!(!facts.link_up && facts.syncing);
        assert_eq!((facts.offset, facts.link_down_s), (7, Some(3)));
        assert_eq!(node_facts("nonsense"), NodeFacts::default());
    }

    #[test]
    fn a_sentinel() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let list = |words: &[&str]| Value::Array(words.iter().map(|w| bulk(w)).collect());
        let facts = sentinel_facts(
            "me".into(),
            &list(&["10.0.0.1", "6379"]),
            &list(&[
                "flags",
                "master,s_down,o_down",
                "config-epoch",
                "3",
                "quorum",
                "2",
                "num-slaves",
                "2",
                "failover-state",
                "wait_start",
            ]),
            &Value::Array(vec![list(&["flags", "slave"]), list(&["flags", "slave,s_down"])]),
            &Value::Array(vec![
                list(&[
                    "runid",
                    "b",
                    "flags",
                    "sentinel",
                    "voted-leader",
                    "me",
                    "voted-leader-epoch",
                    "4",
                ]),
                list(&[
                    "runid",
                    "c",
                    "flags",
                    "sentinel",
                    "voted-leader",
                    "?",
                    "voted-leader-epoch",
                    "0",
                ]),
            ]),
        );
        assert_eq!(facts.master, Some(("10.0.0.1".into(), 6379)));
        assert_eq!(facts.failover_state.as_deref(), Some("wait_start"));
        assert_eq!((facts.config_epoch, facts.quorum, facts.replicas_down), (3, 2, 1));
        assert_eq!(facts.sentinels[0].vote, Some(("me".into(), 4)));
        assert_eq!(facts.sentinels[1].vote, None);
        assert_eq!(
            sentinel_facts(String::new(), &Value::Null, &Value::Null, &Value::Null, &Value::Null),
            SentinelFacts::default()
        );
    }

    #[test]
    fn events() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let value = Value::Array(vec![bulk("pmessage"), bulk("*"), bulk("+sdown"), bulk("x y")]);
        assert_eq!(message(&value), Some(("+sdown".into(), "x y".into())));
        let value = Value::Array(vec![bulk("psubscribe"), bulk("*"), Value::Int(1)]);
        assert_eq!(message(&value), None);
    }
}
