//! Connections: opening, losing and replacing them, and the handshake with new nodes.

use std::net::{IpAddr, SocketAddr};

use crate::api::{ConnId, LogLevel, Output};
use crate::bus::{Cutter, IpText, decode};
use crate::flags::Flags;
use crate::id::NodeId;
use crate::machine::{Cluster, Conn};
use crate::node::{Ix, Link, Node};

impl Cluster {
    /// Opens the connections that are missing, and gives up handshakes that take too long.
    pub(crate) fn tend_links(&mut self) {
        let now = self.now.mono;
        let patience = self.options.node_timeout.max(1000);
        let mut expired = Vec::new();
        let mut lonely = Vec::new();
        for (ix, node) in &self.nodes {
            if *ix == self.me {
                continue;
            }
            if node.handshaking() && now.since(node.created) > patience {
                expired.push(*ix);
            } else if node.link.is_none() && !node.flags.has(Flags::NOADDR) {
                lonely.push(*ix);
            }
        }
        expired.into_iter().for_each(|ix| self.remove_node(ix));
        lonely.into_iter().for_each(|ix| self.open_link(ix));
    }

    fn open_link(&mut self, ix: Ix) {
        let now = self.now.mono;
        let node = self.node_mut(ix);
        let Ok(ip) = node.ip.as_str().parse::<IpAddr>() else {
            return;
        };
        let addr = SocketAddr::new(ip, node.bus_port);
        // Counted from here, so that a node that cannot be reached at all is found out too.
        node.ping_sent.get_or_insert(now);
        let conn = ConnId(self.next_conn);
        self.next_conn += 2;
        self.node_mut(ix).link = Some(Link { conn, since: now, up: false });
        self.conns.insert(
            conn,
            Conn {
                to: Some(ix),
                from: None,
                peer: Some(ip),
                local: None,
                cutter: Cutter::default(),
                up: false,
                created_unix: self.now.unix.0,
            },
        );
        self.out.push_back(Output::Connect { conn, addr });
    }

    pub(crate) fn connected(&mut self, conn: ConnId) {
        let Some(known) = self.conns.get_mut(&conn) else {
            return;
        };
        known.up = true;
        let Some(ix) = known.to else {
            return;
        };
        let now = self.now.mono;
        let node = self.node_mut(ix);
        if let Some(link) = &mut node.link {
            link.up = true;
            link.since = now;
        }
        // The wait for an answer goes on where it began.
        let pending = node.ping_sent;
        let meet = node.flags.has(Flags::MEET);
        node.flags.clear(Flags::MEET);
        self.send_beat(ix, if meet { crate::bus::Beat::Meet } else { crate::bus::Beat::Ping });
        if pending.is_some() {
            self.node_mut(ix).ping_sent = pending;
        }
    }

    pub(crate) fn accepted(&mut self, conn: ConnId, peer: IpAddr, local: IpAddr) {
        let conn_state = Conn {
            to: None,
            from: None,
            peer: Some(peer.to_canonical()),
            local: Some(local.to_canonical()),
            cutter: Cutter::default(),
            up: true,
            created_unix: self.now.unix.0,
        };
        self.conns.insert(conn, conn_state);
    }

    /// A connection has ended outside.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        let Some(state) = self.conns.remove(&conn) else {
            return;
        };
        if let Some(node) = state.to.and_then(|ix| self.nodes.get_mut(&ix)) {
            node.link = None;
        }
        if let Some(node) = state.from.and_then(|ix| self.nodes.get_mut(&ix))
            && node.inbound == Some(conn)
        {
            node.inbound = None;
        }
    }

    /// Ends a connection from this side.
    pub(crate) fn close_conn(&mut self, conn: ConnId) {
        if self.conns.contains_key(&conn) {
            self.gone(conn);
            self.out.push_back(Output::Close { conn });
        }
    }

    pub(crate) fn close_link(&mut self, ix: Ix) {
        if let Some(link) = self.nodes.get(&ix).and_then(|node| node.link) {
            self.close_conn(link.conn);
        }
    }

    /// The connection on which a known node pings; a new one replaces an old one.
    pub(crate) fn set_inbound(&mut self, conn: ConnId, ix: Ix) {
        let Some(state) = self.conns.get(&conn) else {
            return;
        };
        if state.to.is_some() || state.from == Some(ix) {
            return;
        }
        if let Some(old) = self.node(ix).inbound {
            self.close_conn(old);
        }
        let Some(state) = self.conns.get_mut(&conn) else {
            return;
        };
        let before = state.from.replace(ix);
        if let Some(node) = before.and_then(|ix| self.nodes.get_mut(&ix)) {
            node.inbound = None;
        }
        self.node_mut(ix).inbound = Some(conn);
    }

    /// Bytes of a peer. A message that makes no sense is dropped; when the bytes are no messages,
    /// the connection is.
    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.cutter.feed(bytes);
        }
        // A message may end its own connection.
        while let Some(state) = self.conns.get_mut(&conn) {
            let message = match state.cutter.cut() {
                Ok(None) => return,
                Ok(Some(bytes)) => decode(bytes),
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => self.message(conn, message),
                Err(error) if error.closes() => {
                    let line = format!("Bad message received from the cluster bus: {error}");
                    self.log(LogLevel::Warning, line);
                    self.close_conn(conn);
                }
                Err(error) => {
                    let line = format!("Ignored what came from the cluster bus: {error}");
                    self.log(LogLevel::Debug, line);
                }
            }
        }
    }

    pub(crate) fn send_bytes(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if self.conns.get(&conn).is_some_and(|state| state.up) {
            if let Some(kind) = bytes.get(13)
                && let Some(count) = self.sent.get_mut(usize::from(*kind))
            {
                *count += 1;
            }
            self.out.push_back(Output::Send { conn, bytes });
        }
    }

    /// Begins to get to know the node at this address; false when that is under way.
    pub(crate) fn start_handshake(&mut self, ip: IpAddr, port: u16, bus: u16, meet: bool) -> bool {
        let text = IpText::new(&ip.to_string());
        let known = |node: &Node| node.handshaking() && node.ip == text && node.bus_port == bus;
        if self.nodes.values().any(known) || self.nodes.len() >= crate::machine::NODES_MAX {
            return false;
        }
        let mut id = NodeId::random(&mut self.prng);
        while self.ids.contains_key(&id) {
            id = NodeId::random(&mut self.prng);
        }
        let mut flags = Flags::HANDSHAKE;
        if meet {
            flags.set(Flags::MEET);
        }
        let mut node = Node::new(id, flags, self.now.mono);
        (node.ip, node.port, node.bus_port) = (text, port, bus);
        self.add_node(node);
        true
    }
}
