//! Connections between hosts: opening, carrying bytes, ending, with all that cuts and crashes do.

use std::net::IpAddr;

use sentinel::{CloseReason, ConnId, ConnectError, Input, LinkPurpose};

use crate::net::{Conn, ConnState, Dir, HostId, slot};
use crate::node::NODE_PORT;
use crate::seat::SENTINEL_PORT;
use crate::world::{Event, World};

impl World {
    pub(crate) fn host_of(&self, ip: IpAddr, port: u16) -> Option<HostId> {
        let ip = ip.to_string();
        match port {
            NODE_PORT => self.nodes.iter().position(|n| n.ip == ip),
            SENTINEL_PORT => {
                self.seats.iter().position(|s| s.ip == ip).map(|i| self.sentinel_host(i))
            }
            _ => None,
        }
    }

    pub(crate) fn connect(
        &mut self,
        index: usize,
        id: ConnId,
        addr: std::net::SocketAddr,
        purpose: LinkPurpose,
    ) {
        let client = self.sentinel_host(index);
        let Some(server) = self.host_of(addr.ip(), addr.port()) else { return };
        let number = self.next_conn;
        self.next_conn += 1;
        let conn = Conn {
            client,
            id,
            client_life: self.hosts[client].life,
            server,
            server_life: 0,
            purpose,
            state: ConnState::Opening,
            opened_at: self.now,
            in_flight: Default::default(),
            arrives: [self.now; 2],
            stalled: [None; 2],
            half_dead: false,
        };
        self.by_client.insert((client, conn.client_life, id), number);
        self.conns.insert(number, conn);
        if self.net.passes(client, server) {
            let delay = self.delay(client, server);
            self.push(self.now + delay, Event::Syn(number));
        }
    }

    pub(crate) fn on_syn(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (client, server) = (conn.client, conn.server);
        let host = &self.hosts[server];
        if conn.state != ConnState::Opening || !host.kernel || conn.server_life != 0 {
            return;
        }
        let accepted = host.alive;
        if !self.net.talk(client, server) {
            return;
        }
        if accepted {
            conn.server_life = host.life;
        }
        let delay = self.delay(client, server);
        self.push(self.now + delay, Event::SynAnswer(id, accepted));
    }

    pub(crate) fn on_syn_answer(&mut self, id: u64, accepted: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (client, server, own_id) = (conn.client, conn.server, conn.id);
        let index = client - self.nodes.len();
        if !accepted {
            self.forget(id);
            let error = ConnectError::Refused;
            return self.input(index, Input::ConnectFailed { conn: own_id, error });
        }
        conn.state = ConnState::Open;
        // The server may have died meanwhile.
        if conn.server_life != self.hosts[server].life || !self.hosts[server].alive {
            conn.half_dead = true;
        }
        let local = self.seats[index].ip.parse().expect("simulated hosts have addresses");
        self.input(index, Input::Connected { conn: own_id, local });
    }

    pub(crate) fn forget(&mut self, id: u64) {
        if let Some(conn) = self.conns.remove(&id) {
            self.by_client.remove(&(conn.client, conn.client_life, conn.id));
        }
    }

    /// Sends bytes along a connection.
    pub(crate) fn transmit(&mut self, id: u64, dir: Dir, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if conn.half_dead {
            return self.knock(id, dir);
        }
        let passes = self.net.passes(from, to);
        let delay = self.delay(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.in_flight[slot(dir)].push_back(bytes);
        if !passes || conn.stalled[slot(dir)].is_some() {
            conn.stalled[slot(dir)].get_or_insert(self.now);
            return;
        }
        let at = (self.now + delay).max(conn.arrives[slot(dir)]);
        conn.arrives[slot(dir)] = at;
        self.push(at, Event::Bytes(id, dir));
    }

    /// A packet for an end that is gone: reset, if its host can be heard.
    pub(crate) fn knock(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if self.hosts[to].kernel && self.net.talk(from, to) {
            let delay = 2 * self.delay(from, to);
            let back = if dir == Dir::ToServer { Dir::ToClient } else { Dir::ToServer };
            self.push(self.now + delay, Event::Closed(id, back, CloseReason::Reset));
        }
    }

    pub(crate) fn on_retransmit(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (from, to) = conn.ends(dir);
        if !self.net.passes(from, to) || conn.stalled[slot(dir)].is_none() {
            return;
        }
        let delay = self.delay(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stalled[slot(dir)] = None;
        let at = (self.now + delay).max(conn.arrives[slot(dir)]);
        conn.arrives[slot(dir)] = at;
        for _ in 0..conn.in_flight[slot(dir)].len() {
            self.push(at, Event::Bytes(id, dir));
        }
    }

    pub(crate) fn on_bytes(&mut self, id: u64, dir: Dir) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.stalled[slot(dir)].is_some() {
            return;
        }
        let Some(bytes) = conn.in_flight[slot(dir)].pop_front() else { return };
        let (from, to) = conn.ends(dir);
        let own_id = conn.id;
        if !self.hosts[to].alive {
            return self.knock(id, dir);
        }
        match dir {
            Dir::ToClient => {
                let index = to - self.nodes.len();
                self.input(index, Input::Received { conn: own_id, bytes: &bytes });
            }
            Dir::ToServer if to < self.nodes.len() => self.serve_node(to, id, from, &bytes),
            Dir::ToServer => self.serve_seat(to - self.nodes.len(), id, from, &bytes),
        }
    }

    /// One end has closed or died: tell the other, after what it had sent before.
    pub(crate) fn end_from(&mut self, id: u64, host: HostId, how: CloseReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let dir = if conn.client == host { Dir::ToServer } else { Dir::ToClient };
        let (from, to) = conn.ends(dir);
        if conn.state == ConnState::Opening {
            // The answer, if any, meets nobody, or a dead server.
            if conn.client == host {
                self.forget(id);
            } else {
                conn.half_dead = true;
            }
            return;
        }
        // Nobody is there any more to receive.
        let back = if dir == Dir::ToServer { Dir::ToClient } else { Dir::ToServer };
        conn.in_flight[slot(back)].clear();
        conn.half_dead = true;
        let after = conn.arrives[slot(dir)];
        if self.net.passes(from, to) && conn.stalled[slot(dir)].is_none() {
            let delay = self.delay(from, to);
            self.push((self.now + delay).max(after), Event::Closed(id, dir, how));
        }
    }

    /// An end learns that its connection is over.
    pub(crate) fn deliver_close(&mut self, id: u64, host: HostId, how: CloseReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let own_id = conn.id;
        if conn.client == host {
            let alive = self.hosts[host].alive && self.hosts[host].life == conn.client_life;
            let opening = conn.state == ConnState::Opening;
            self.forget(id);
            if alive {
                let index = host - self.nodes.len();
                let input = if opening {
                    Input::ConnectFailed { conn: own_id, error: ConnectError::Refused }
                } else {
                    Input::Closed { conn: own_id, how }
                };
                self.input(index, input);
            }
        } else {
            conn.half_dead = true;
            self.drop_session(host, id);
        }
    }

    pub(crate) fn drop_session(&mut self, host: HostId, id: u64) {
        if host < self.nodes.len() {
            self.nodes[host].sessions.remove(&id);
        } else {
            self.seats[host - self.nodes.len()].sessions.remove(&id);
        }
    }
}
