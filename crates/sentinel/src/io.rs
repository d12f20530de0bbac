//! What leaves the machine, and when it wants to be called again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use stdx::MonoMs;

use crate::api::{ConnId, LinkPurpose, Now, Output};
use crate::link::LinkId;

/// What the links share with the world.
pub(crate) struct Io {
    pub now: Now,
    pub out: VecDeque<Output>,
    pub conns: BTreeMap<ConnId, (LinkId, LinkPurpose)>,
    next_conn: u64,
    /// The earliest time at which something is due, gathered while a master is swept.
    pub wake: Option<MonoMs>,
    /// Names that are being looked up, or were lately, and when that was asked.
    resolving: BTreeMap<String, MonoMs>,
}

impl Io {
    pub fn new(now: Now) -> Io {
        Io {
            now,
            out: VecDeque::new(),
            conns: BTreeMap::new(),
            next_conn: 1,
            wake: None,
            resolving: BTreeMap::new(),
        }
    }

    /// Asks to be called again at `at`.
    pub fn wake_at(&mut self, at: MonoMs) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// True once `period` has passed since `since`; otherwise asks to be called then.
    pub fn due(&mut self, since: MonoMs, period: u64) -> bool {
        let at = since + period;
        if self.now.mono >= at {
            return true;
        }
        self.wake_at(at);
        false
    }

    /// Looks a name up, at most once a second.
    pub fn resolve(&mut self, host: &str) {
        let now = self.now.mono;
        if self.resolving.get(host).is_some_and(|&asked| now.since(asked) < 1000) {
            return;
        }
        self.resolving.retain(|_, asked| now.since(*asked) < 60_000);
        self.resolving.insert(host.to_string(), now);
        self.out.push_back(Output::Resolve { host: host.to_string() });
    }

    pub fn connect(&mut self, link: LinkId, addr: SocketAddr, purpose: LinkPurpose) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, (link, purpose));
        self.out.push_back(Output::Connect { conn, addr, purpose });
        conn
    }

    pub fn close(&mut self, conn: ConnId) {
        let known = self.conns.remove(&conn);
        assert!(known.is_some(), "a connection is closed once");
        self.out.push_back(Output::Close { conn });
    }

    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        self.out.push_back(Output::Send { conn, bytes });
    }
}
