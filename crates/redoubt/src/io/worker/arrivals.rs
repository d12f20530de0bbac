//! New connections: accepted, given to a worker, refused or taken in.

use super::*;

impl EventLoop {
    pub(super) fn accept(&mut self, at: usize) {
        loop {
            let Some(listener) = self.listeners.get(at) else { return };
            let accepted = match listener {
                Listener::Tcp(listener) | Listener::Extra(listener) => {
                    listener.accept().map(|(stream, peer)| {
                        let local = stream.local_addr().map(addr::show).unwrap_or_default();
                        Some(NewConn { stream: Stream::Tcp(stream), peer: Some(peer), local })
                    })
                }
                Listener::Tls(listener) => listener
                    .accept()
                    .map(|(stream, peer)| secure::accepted(&self.shared.tls, stream, peer)),
                Listener::Unix(listener) => listener.accept().map(|(stream, _)| {
                    let path = self.worker.settings.config.unixsocket.to_str().into_owned();
                    Some(NewConn { stream: Stream::Unix(stream), peer: None, local: path })
                }),
            };
            match accepted {
                Ok(None) => {}
                Ok(Some(new)) => {
                    let target = self.shared.handover.least_loaded();
                    self.shared.handover.loads[target].fetch_add(1, Ordering::Relaxed);
                    if target == self.worker.index {
                        self.add_conn(new);
                    } else {
                        self.shared.handover.queues[target]
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(new);
                        // Any message wakes the worker, which then looks at its queue.
                        self.shared.node.mailboxes[target].send(Message::Resume);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    crate::log::write(
                        crate::log::WARNING,
                        &format!("Accepting client connection: {error}"),
                    );
                    return;
                }
            }
        }
    }

    pub(super) fn take_new_conns(&mut self) {
        let new = {
            let queue = &self.shared.handover.queues[self.worker.index];
            std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for conn in new {
            self.add_conn(conn);
        }
    }

    pub(super) fn add_conn(&mut self, new: NewConn) {
        let node = self.node();
        let NewConn { mut stream, peer, local } = new;
        let settings = node.settings.load_full();
        let config = &settings.config;
        let refusal = refusal(&node, config, peer);
        // Behind a handshake even a refusal has to wait; where there are too many, that is too much.
        let refuse_later =
            refusal.is_some_and(|text| text.starts_with("-DENIED")) && stream.is_handshaking();
        if let Some(refusal) = refusal.filter(|_| !refuse_later) {
            // One try: the refusal fits any socket buffer.
            let _ = stream.write(refusal.as_bytes());
            node.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            self.shared.handover.loads[self.worker.index].fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if let Some(tcp) = stream.tcp() {
            // Without these the connection works as well, only worse.
            let _ = tcp.set_nodelay(true);
            if config.tcp_keepalive > 0 {
                listen::set_keepalive(tcp, config.tcp_keepalive);
            }
        }
        let is_unix = peer.is_none();
        let peer_text = peer.map_or_else(|| format!("{local}:0"), addr::show);
        let local = if is_unix { format!("{local}:0") } else { local };
        let id = node.clients.next_id();
        let now = self.worker.now.mono().0;
        let info = Arc::new(ClientInfo::new(
            id,
            self.worker.index,
            peer_text,
            local,
            stream.fd(),
            is_unix,
            now,
        ));
        node.clients.add(&info);
        node.stats.connections.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(info, &node.access);
        let mut conn = Conn::new(stream, session);
        if refuse_later {
            node.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
            conn.output.extend_from_slice(refusal.unwrap_or_default().as_bytes());
            conn.closing = true;
        }
        let at = self.conns.insert(conn);
        if self.conns[at].account_now(&node) {
            node.evict_clients();
        }
        self.by_client.insert(id, at);
        let registered = self.conns[at].stream.register(self.poll.registry(), Token(at));
        if registered.is_err() {
            self.close(at);
        }
    }
}

/// Why a new connection is not served, if it is not.
/// Source: redis 7.0 `networking.c:clientAcceptHandler`.
fn refusal(node: &Node, config: &config::Config, peer: Option<SocketAddr>) -> Option<&'static str> {
    if node.clients.len() >= config.maxclients as usize {
        return Some("-ERR max number of clients reached\r\n");
    }
    let stranger = peer.is_some_and(|peer| !addr::plain_ip(peer.ip()).is_loopback());
    let without_password = || node.access.default_user().rules().needs_no_password();
    if config.protected_mode && stranger && without_password() {
        if let Some(text) = crate::container::protected_mode_refusal() {
            return Some(text);
        }
        return Some(
            "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
             for the default user. In this mode connections are only accepted from the loopback interface. If you \
             want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just \
             disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface \
             by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly \
             accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively \
             you can just disable the protected mode by editing the Redis configuration file, and setting the protected \
             mode option to 'no', and then restarting the server. 3) If you started the server manually just for \
             testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the \
             default user. NOTE: You only need to do one of the above things in order for the server to start accepting \
             connections from the outside.\r\n",
        );
    }
    None
}
