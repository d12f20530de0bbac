//! What others ask of a worker for its connections: see `node::Message`.

use super::*;

impl EventLoop {
    pub(super) fn take_messages(&mut self) {
        let messages = self.shared.node.mailboxes[self.worker.index].take();
        if messages.is_empty() {
            return;
        }
        let mut pump = false;
        for message in messages {
            match message {
                Message::PushAll { clients, bytes } => {
                    for client in clients {
                        if self.by_client.contains_key(&client) {
                            self.push(client, &bytes);
                        } else {
                            self.send_on(client, Message::Push { client, bytes: bytes.to_vec() });
                        }
                    }
                }
                Message::Push { client, bytes } => {
                    if self.by_client.contains_key(&client) {
                        self.push(client, &bytes);
                    } else {
                        self.send_on(client, Message::Push { client, bytes });
                    }
                }
                Message::Unblock { client, ticket, bytes, position } => {
                    self.unblock(client, ticket, &bytes, position)
                }
                Message::Close { client, flush } => {
                    if let Some(&at) = self.by_client.get(&client) {
                        let conn = &mut self.conns[at];
                        conn.closing = true;
                        if !flush || conn.pending_output() == 0 {
                            self.close(at);
                        }
                    } else {
                        self.send_on(client, Message::Close { client, flush });
                    }
                }
                // Looked at at the end of each round.
                Message::OpenGate => {}
                Message::Resume => self.resume(),
                Message::ForwardHeld { leaving } => self.forward_held(leaving),
                Message::ClientsLeave => self.clients_leave(),
                Message::CutClients => self.cut_clients(),
                Message::CheckChannels { client } => {
                    if let Some(&at) = self.by_client.get(&client)
                        && !self.shared.node.may_listen_on(&self.conns[at].session)
                    {
                        let conn = &mut self.conns[at];
                        conn.closing = true;
                        if conn.pending_output() == 0 {
                            self.close(at);
                        }
                    }
                }
                Message::PumpReplicas => pump = true,
                Message::Retry { client, args } => {
                    if let Some(&at) = self.by_client.get(&client) {
                        self.conns[at].held = Some(args);
                        self.retry(at);
                    }
                }
            }
        }
        if let Some(listeners) = self.take_listeners()
            && let Err(error) = self.set_listeners(listeners)
        {
            crate::log::write(
                crate::log::WARNING,
                &format!("Could not listen on the new addresses: {error}"),
            );
        }
        if pump {
            self.take_replica_tasks();
            self.pump_all();
        }
    }

    /// All listening sockets, if some of them are new.
    pub(super) fn take_listeners(&mut self) -> Option<Vec<Listener>> {
        if self.worker.index != 0 {
            return None;
        }
        let new = {
            let mut new = self.shared.new_listeners.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *new)
        };
        if new.is_empty() {
            return None;
        }
        let mut all = std::mem::take(&mut self.listeners);
        for (kind, listeners) in new {
            // The socket is closed, which ends its registration.
            all.retain(|listener| listener.kind() != kind);
            all.extend(listeners);
        }
        Some(all)
    }

    pub(super) fn take_replica_tasks(&mut self) {
        let node = self.node();
        let tasks = node.repl.take_tasks(|client| self.by_client.contains_key(&client));
        let any = !tasks.is_empty();
        for (client, task) in tasks {
            let Some(&at) = self.by_client.get(&client) else { continue };
            let conn = &mut self.conns[at];
            let fine = match task {
                ReplicaTask::Transfer(transfer) => {
                    if node.settings.load().config.repl_disable_tcp_nodelay
                        && let Stream::Tcp(tcp) = &conn.stream
                    {
                        // Without it the connection works as well.
                        let _ = tcp.set_nodelay(false);
                    }
                    replica::start_transfer(conn, &self.shared.queues, transfer)
                }
                ReplicaTask::Stream(cursor) => {
                    conn.feed
                        .get_or_insert_with(|| Box::new(ReplicaFeed::new()))
                        .start_stream(cursor);
                    true
                }
            };
            if !fine {
                self.close(at);
            }
        }
        if any {
            self.publish_streaming();
        }
    }

    pub(super) fn push(&mut self, client: u64, bytes: &[u8]) {
        let Some(&at) = self.by_client.get(&client) else { return };
        let conn = &mut self.conns[at];
        // CLIENT REPLY silences replies: a MONITOR line is one, a message is not.
        let silent = conn.session.is_monitor && conn.session.reply_mode == node::ReplyMode::Off;
        if conn.closing || silent {
            return;
        }
        self.queue(at, bytes);
        if let Some(conn) = self.conns.get_mut(at)
            && conn.account(&self.shared.node)
        {
            self.shared.node.evict_clients();
        }
    }

    pub(super) fn unblock(&mut self, client: u64, ticket: u64, bytes: &[u8], position: Position) {
        let Some(&at) = self.by_client.get(&client) else { return };
        let conn = &mut self.conns[at];
        if conn.session.waiting.as_ref().is_none_or(|waiting| waiting.ticket != ticket) {
            return;
        }
        conn.session.waiting = None;
        conn.session.info.blocked.store(false, Ordering::Relaxed);
        if position > Position::START {
            conn.session.last_write = position;
            let needs = OnFile { write: position.file_position(), read: 0 };
            if !self.shared.node.aof.is_open_to(needs) {
                conn.hold_replies(needs);
                self.gated.push(at);
            }
        }
        bump(&self.worker.stats.net_output, bytes.len() as u64);
        if conn.send(bytes) == Flush::Broken {
            return self.close(at);
        }
        if conn.leaving && conn.input.is_empty() {
            conn.closing = true;
            if conn.pending_output() == 0 {
                self.close(at);
            }
            return;
        }
        self.go_on(at);
    }

    /// Runs what CLIENT PAUSE held back.
    pub(super) fn resume(&mut self) {
        let held: Vec<usize> =
            self.conns.iter().filter(|(_, conn)| conn.held.is_some()).map(|(at, _)| at).collect();
        for at in held {
            self.retry(at);
        }
    }

    pub(super) fn retry(&mut self, at: usize) {
        let node = self.node();
        let Some(conn) = self.conns.get_mut(at) else { return };
        let Some(args) = conn.held.take() else { return };
        let mut reply = Reply::new(conn.session.protocol);
        self.worker.begin_turn();
        match node.handle_first(&mut self.worker, &mut conn.session, &args.as_args(), &mut reply) {
            Next::Continue | Next::Blocked => {}
            Next::Held => {
                conn.held = Some(args);
                return;
            }
            Next::Script => {
                conn.script = Script::Due(args);
                self.scripts_due.push(at);
                return;
            }
            Next::Close => conn.closing = true,
        }
        if !reply.is_empty() {
            self.hold_if_gated(at);
        }
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.send(reply.bytes()) == Flush::Broken || (conn.closing && conn.pending_output() == 0)
        {
            return self.close(at);
        }
        self.go_on(at);
    }
}
