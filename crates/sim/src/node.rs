//! A data node as its protocol shows it: role, offsets, and the handful of commands that sentinels
//! send. What a client wrote is not kept; an offset stands for it.

use std::collections::BTreeMap;

use resp::{Protocol, Reply};
use stdx::Prng;

/// Data nodes listen here.
pub const NODE_PORT: u16 = 6379;

/// What a data node remembers of one connection.
#[derive(Default)]
pub struct Session {
    pub buffer: Vec<u8>,
    pub subscribed: bool,
    multi: Option<Vec<Vec<String>>>,
}

/// What a command asks of the world besides its reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send the others away: subscribers or the rest.
    KillClients {
        pubsub: bool,
    },
    Publish {
        channel: String,
        message: String,
    },
    /// SLAVEOF was run: follow this address, or nobody.
    Follow {
        master: Option<(String, u16)>,
    },
}

/// A FAILOVER: this replica is to take over.
#[derive(Clone, Debug)]
pub struct Handover {
    pub target: String,
    /// In µs.
    pub until: u64,
    /// The target was promoted; this node has yet to hear of it.
    pub promoted: bool,
}

/// One simulated redis-server.
pub struct DataNode {
    pub ip: String,
    pub runid: String,
    pub priority: i64,
    /// A redis-server does not tell its offset in ROLE while its master is gone; ours does.
    pub silent_role: bool,
    pub master: Option<(String, u16)>,
    pub offset: i64,
    pub link_up: bool,
    /// Since when the link is down, in µs.
    pub link_down_since: u64,
    /// When a synchronisation that is under way will be done.
    pub sync_done_at: Option<u64>,
    pub last_master_io: u64,
    /// The offset did not change since then.
    pub offset_since: u64,
    pub sessions: BTreeMap<u64, Session>,
    /// What a restart finds: master and offset.
    pub disk: (Option<(String, u16)>, i64),
    pub connected_replicas: Vec<(String, u16, i64)>,
    /// Its FAILOVER; nothing is written meanwhile.
    pub handover: Option<Handover>,
}

impl DataNode {
    pub fn new(
        ip: String,
        priority: i64,
        master: Option<(String, u16)>,
        prng: &mut Prng,
    ) -> DataNode {
        DataNode {
            ip,
            runid: prng.hex(40),
            priority,
            silent_role: prng.chance(50),
            disk: (master.clone(), 0),
            master,
            offset: 0,
            link_up: false,
            link_down_since: 0,
            sync_done_at: None,
            last_master_io: 0,
            offset_since: 0,
            sessions: BTreeMap::new(),
            connected_replicas: Vec::new(),
            handover: None,
        }
    }

    /// What is left after a crash: the process state is new, role and offset come from disk.
    pub fn restart(&mut self, now: u64, empty: bool, prng: &mut Prng) {
        self.runid = prng.hex(40);
        self.sessions.clear();
        self.master = self.disk.0.clone();
        self.offset = if empty { 0 } else { self.disk.1 };
        self.link_up = false;
        self.link_down_since = now;
        self.sync_done_at = None;
        self.offset_since = now;
        self.connected_replicas.clear();
        self.handover = None;
    }

    pub fn follow(&mut self, now: u64, master: Option<(String, u16)>) {
        if self.master == master {
            return;
        }
        self.master = master;
        if self.link_up {
            self.link_down_since = now;
        }
        self.link_up = false;
        self.sync_done_at = None;
        self.connected_replicas.clear();
    }

    /// Runs one request of a session; the reply goes to `out`.
    pub fn run(&mut self, now: u64, conn: u64, args: &[String], out: &mut Vec<u8>) -> Vec<Effect> {
        let mut reply = Reply::new(Protocol::Resp2);
        let name = args[0].to_ascii_lowercase();
        let mut effects = Vec::new();
        let session = self.sessions.entry(conn).or_default();
        if name == "exec" {
            match session.multi.take() {
                Some(queue) => {
                    reply.array(queue.len());
                    for args in queue {
                        effects.extend(self.execute(now, conn, &args, &mut reply));
                    }
                }
                None => reply.error("ERR EXEC without MULTI"),
            }
        } else if let Some(queue) = &mut session.multi {
            queue.push(args.to_vec());
            reply.simple("QUEUED");
        } else {
            effects = self.execute(now, conn, args, &mut reply);
        }
        out.extend_from_slice(reply.bytes());
        effects
    }

    fn execute(&mut self, now: u64, conn: u64, args: &[String], reply: &mut Reply) -> Vec<Effect> {
        let lower: Vec<String> = args.iter().map(|a| a.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["ping"] => reply.simple("PONG"),
            ["multi"] => {
                self.sessions.entry(conn).or_default().multi = Some(Vec::new());
                reply.ok();
            }
            ["auth", ..] | ["client", "setname", _] => reply.ok(),
            ["config", "rewrite"] => {
                self.disk.0.clone_from(&self.master);
                reply.ok();
            }
            ["info", ..] => reply.bulk(self.info(now).as_bytes()),
            ["role"] => self.role(reply),
            ["failover", "abort"] => match self.handover.take() {
                Some(handover) => {
                    if handover.promoted {
                        self.follow(now, None);
                    }
                    reply.ok();
                }
                None => reply.error("ERR No failover in progress."),
            },
            ["failover", "to", host, port, "timeout", ms] => {
                let known = self
                    .connected_replicas
                    .iter()
                    .any(|(ip, p, _)| ip == host && p.to_string() == *port);
                if self.master.is_some() {
                    reply.error("ERR FAILOVER is not valid when server is a replica.");
                } else if self.handover.is_some() {
                    reply.error("ERR FAILOVER already in progress.");
                } else if !known {
                    reply.error("ERR FAILOVER target HOST and PORT is not a replica.");
                } else {
                    let until = now + ms.parse::<u64>().unwrap_or(0) * 1000;
                    let target = (*host).to_string();
                    self.handover = Some(Handover { target, until, promoted: false });
                    reply.ok();
                }
            }
            ["slaveof", ..] if self.handover.is_some() => {
                reply.error("ERR REPLICAOF not allowed while failing over.");
            }
            ["slaveof", "no", "one"] => {
                reply.ok();
                self.follow(now, None);
                return vec![Effect::Follow { master: None }];
            }
            ["slaveof", host, port] => {
                reply.ok();
                let master = Some(((*host).to_string(), port.parse().unwrap_or(0)));
                self.follow(now, master.clone());
                return vec![Effect::Follow { master }];
            }
            ["client", "kill", "type", kind] => {
                reply.integer(0);
                return vec![Effect::KillClients { pubsub: *kind == "pubsub" }];
            }
            ["subscribe", _] => {
                self.sessions.entry(conn).or_default().subscribed = true;
                reply.array(3);
                reply.text("subscribe");
                reply.text(&args[1]);
                reply.integer(1);
            }
            ["publish", ..] => {
                reply.integer(1);
                return vec![Effect::Publish {
                    channel: args[1].clone(),
                    message: args[2].clone(),
                }];
            }
            _ => reply.error(&format!("ERR unknown command '{}'", args[0])),
        }
        Vec::new()
    }

    fn role(&self, reply: &mut Reply) {
        match &self.master {
            None => {
                reply.array(3);
                reply.text("master");
                reply.integer(self.offset);
                reply.array(0);
            }
            Some((host, port)) => {
                let unknown = self.silent_role && !self.link_up;
                reply.array(5);
                reply.text("slave");
                reply.text(host);
                reply.integer(i64::from(*port));
                reply.text(if self.link_up { "connected" } else { "connect" });
                reply.integer(if unknown { -1 } else { self.offset });
            }
        }
    }

    fn info(&self, now: u64) -> String {
        let mut text = format!("# Server\r\nrun_id:{}\r\n\r\n# Replication\r\n", self.runid);
        let state = match &self.handover {
            None => "no-failover",
            Some(handover) if handover.promoted => "failover-in-progress",
            Some(_) => "waiting-for-sync",
        };
        text.push_str(&format!("master_failover_state:{state}\r\n"));
        match &self.master {
            None => {
                text.push_str("role:master\r\n");
                text.push_str(&format!("connected_slaves:{}\r\n", self.connected_replicas.len()));
                for (index, (ip, port, offset)) in self.connected_replicas.iter().enumerate() {
                    text.push_str(&format!(
                        "slave{index}:ip={ip},port={port},state=online,offset={offset},lag=0\r\n"
                    ));
                }
                text.push_str(&format!("master_repl_offset:{}\r\n", self.offset));
            }
            Some((host, port)) => {
                text.push_str(&format!(
                    "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\n"
                ));
                let status = if self.link_up { "up" } else { "down" };
                text.push_str(&format!("master_link_status:{status}\r\n"));
                text.push_str(&format!("slave_repl_offset:{}\r\n", self.offset));
                if !self.link_up {
                    let secs = now.saturating_sub(self.link_down_since) / 1_000_000;
                    text.push_str(&format!("master_link_down_since_seconds:{secs}\r\n"));
                }
                text.push_str(&format!(
                    "slave_priority:{}\r\nslave_read_only:1\r\nreplica_announced:1\r\n",
                    self.priority
                ));
            }
        }
        text
    }
}
