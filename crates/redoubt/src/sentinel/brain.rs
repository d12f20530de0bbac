//! The machine, shared by the worker that runs clients' commands and by the driver.
//!
//! Every call takes the outputs out at once and in order; the driver alone carries them out. Replies
//! that promise something stay here until the disk has it, under the same lock as the machine, so
//! that no [`sentinel::Input::Persisted`] can slip in between.

use crate::io::listen::extra_listeners;
use config::AnnounceViews;
use mio::Waker;
use node::{ClientInfo, Message, Node, SentinelMode};
use replication::Position;
use resp::{Args, Reply};
use sentinel::{CommandOutcome, Input, Now, Output, PersistToken, Sentinel, ViewPayload};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::MonoMs;

/// A reply that waits for the disk.
struct Held {
    token: PersistToken,
    client: u64,
    worker: usize,
    ticket: u64,
    bytes: Vec<u8>,
    /// What is said instead when the disk has failed; a vote just waits for the next try.
    on_failure: Option<&'static str>,
    protocol: resp::Protocol,
}

struct Inner {
    machine: Sentinel,
    /// What is to be done, in order.
    outputs: VecDeque<Output>,
    held: Vec<Held>,
    last_ticket: u64,
}

impl Inner {
    fn collect(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push_back(output);
        }
    }
}

/// The machine with what belongs to it.
pub struct Brain {
    inner: Mutex<Inner>,
    node: Arc<Node>,
    waker: Arc<Waker>,
}

/// A node's time as the machine takes it.
pub fn machine_time(now: node::Now) -> Now {
    Now { mono: now.mono(), unix: now.unix() }
}

impl Brain {
    /// A machine whose driver is woken by `waker`.
    pub fn new(machine: Sentinel, node: Arc<Node>, waker: Arc<Waker>) -> Brain {
        let mut inner =
            Inner { machine, outputs: VecDeque::new(), held: Vec::new(), last_ticket: 0 };
        inner.collect();
        Brain { inner: Mutex::new(inner), node, waker }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, as the machine takes it.
    pub fn now(&self) -> Now {
        machine_time(self.node.host.now())
    }

    /// Something has happened.
    pub fn input(&self, input: Input<'_>) {
        let ended = match &input {
            Input::Persisted { token } => Some((*token, false)),
            Input::PersistFailed { token, .. } => Some((*token, true)),
            _ => None,
        };
        let mut inner = self.lock();
        // The time is read under the lock, so that it never runs backwards for the machine.
        let now = self.now();
        inner.machine.handle_input(now, input);
        inner.collect();
        if let Some((token, failed)) = ended {
            self.release(&mut inner, token, failed);
        }
    }

    /// The machine's time has come, if it has.
    pub fn timeout(&self) {
        let mut inner = self.lock();
        let now = self.now();
        if now.mono >= inner.machine.poll_timeout() {
            inner.machine.handle_timeout(now);
            inner.collect();
        }
    }

    /// When [`Brain::timeout`] is due.
    pub fn next_timeout(&self) -> MonoMs {
        self.lock().machine.poll_timeout()
    }

    /// The next thing to be done.
    pub fn next_output(&self) -> Option<Output> {
        self.lock().outputs.pop_front()
    }

    /// Sends an event to the subscribers of its channel, to each with the addresses that it sees.
    pub fn publish(&self, channel: &str, payload: &str, views: &[ViewPayload]) {
        let node = &self.node;
        if views.is_empty() {
            // Nobody asks from here: every subscriber has a mailbox.
            let (channel, payload, mut own) = (channel.as_bytes(), payload.as_bytes(), Vec::new());
            node.pubsub.publish(&node.mailboxes, false, channel, payload, 0, &mut own);
            return;
        }
        node.pubsub.publish_each(&node.mailboxes, channel.as_bytes(), &|client| {
            let named = {
                let names = client.names.lock().unwrap_or_else(PoisonError::into_inner);
                names.named_view.clone()
            };
            let suffixed = named.is_some();
            let seen = named.or_else(|| node.view_of(client));
            let fits = |other: &&ViewPayload| {
                other.suffixed == suffixed && seen.as_deref() == Some(other.view.as_str())
            };
            views.iter().find(fits).map_or(payload, |other| other.payload.as_str()).as_bytes()
        });
    }

    /// Sends the replies that have waited for this state of the disk.
    fn release(&self, inner: &mut Inner, token: PersistToken, failed: bool) {
        let mut still = Vec::new();
        for held in std::mem::take(&mut inner.held) {
            if held.token > token || (failed && held.on_failure.is_none()) {
                still.push(held);
                continue;
            }
            let bytes = match held.on_failure.filter(|_| failed) {
                Some(error) => {
                    let mut reply = Reply::new(held.protocol);
                    reply.error(error);
                    reply.into_bytes()
                }
                None => held.bytes,
            };
            if let Some(mailbox) = self.node.mailboxes.get(held.worker) {
                mailbox.send(Message::Unblock {
                    client: held.client,
                    ticket: held.ticket,
                    bytes,
                    position: Position::START,
                });
            }
        }
        inner.held = still;
    }

    /// SENTINEL CONFIG SET may have changed the rules by which clients see the nodes.
    fn follow_rules(&self, rules: &str) {
        let old = self.node.settings.load_full();
        let Ok(views) = AnnounceViews::read(rules) else { return };
        if views == old.config.announce_view {
            return;
        }
        let mut config = old.config.clone();
        config.announce_view = views;
        if extra_listeners(&config) != extra_listeners(&old.config) {
            let later = "Listeners of announce-view are opened, and closed, at the next start.";
            crate::log::write(crate::log::NOTICE, later);
        }
        self.node.set_config(config);
    }

    fn command(&self, client: &ClientInfo, args: &Args<'_>, reply: &mut Reply) -> Option<u64> {
        let argv: Vec<&[u8]> = args.iter().collect();
        let mark = reply.mark();
        let is_vote = args.is(1, "is-master-down-by-addr") || args.is(1, "is-primary-down-by-addr");
        if is_vote || args.is(0, "publish") {
            client.sentinel.store(true, Relaxed);
        }
        let view = self.node.view_of(client);
        let mut inner = self.lock();
        if let Some(named) = inner.machine.view_in_name(&argv) {
            let mut names = client.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.named_view = Some(named);
        }
        let before = inner.machine.poll_timeout();
        let now = self.now();
        let outcome = inner.machine.command_in_view(now, view.as_deref(), &argv, reply);
        inner.collect();
        if args.is(1, "config") {
            self.follow_rules(inner.machine.view_rules());
        }
        let ticket = match outcome {
            CommandOutcome::Done => None,
            CommandOutcome::AfterPersist(token) => {
                inner.last_ticket += 1;
                let ticket = inner.last_ticket;
                let held = Held {
                    token,
                    client: client.id,
                    worker: client.worker(),
                    ticket,
                    bytes: reply.since(mark).to_vec(),
                    on_failure: (!is_vote)
                        .then_some("ERR Failed to save config file. Please check server logs."),
                    protocol: reply.protocol(),
                };
                reply.rewind(mark);
                inner.held.push(held);
                Some(ticket)
            }
        };
        let wake = !inner.outputs.is_empty() || inner.machine.poll_timeout() != before;
        drop(inner);
        if wake {
            // Fails only if the counter is full: then the driver is being woken already.
            let _ = self.waker.wake();
        }
        ticket
    }
}

/// What the node asks.
pub struct Mode(pub Arc<Brain>);

impl SentinelMode for Mode {
    fn command(&self, client: &ClientInfo, args: &Args<'_>, reply: &mut Reply) -> Option<u64> {
        self.0.command(client, args, reply)
    }

    fn info(&self, client: &ClientInfo, names: &[&[u8]], sections: &[(&str, String)]) -> String {
        let view = self.0.node.view_of(client);
        self.0.lock().machine.info(view.as_deref(), names, sections)
    }
}

#[cfg(test)]
mod tests {
    use super::{Brain, Mode, machine_time};
    use crate::sentinel::host::{Ending, SentinelHost};
    use crate::server::config_file::ConfigFile;
    use crate::server::host::ProcessHost;
    use config::Config;
    use mio::{Poll, Token, Waker};
    use node::{ClientInfo, Host, Mailbox, Message, SentinelMode};
    use resp::{OwnedArgs, Protocol, Reply};
    use sentinel::{Input, Output, PersistToken, SentinelConf};
    use std::sync::Arc;
    use std::time::Instant;

    const CLIENT: u64 = 5;

    fn brain() -> Arc<Brain> {
        let poll = Poll::new().expect("epoll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("eventfd"));
        let config = Config::default();
        let tools = crate::sentinel::tools(
            ConfigFile::new(None, Default::default(), false),
            &waker,
            Instant::now(),
        );
        let disk = crate::sentinel::disk::Disk::new("unused".into());
        let host =
            SentinelHost::new(ProcessHost(Arc::new(tools)), Arc::new(Ending::new(disk, &config)));
        let text =
            format!("sentinel myid {}\nsentinel monitor mymaster 127.0.0.1 1 2\n", "b".repeat(40));
        let conf = SentinelConf::parse(text.as_bytes()).expect("a good file");
        let options = crate::sentinel::machine_options(&config);
        let machine = sentinel::Sentinel::new(machine_time(host.now()), conf, options);
        let node = crate::sentinel::node(&config, Mailbox::new(Box::new(|| {})), Box::new(host));
        Arc::new(Brain::new(machine, Arc::new(node), waker))
    }

    fn ask(brain: &Arc<Brain>, words: &[&str]) -> (Option<u64>, String) {
        let client =
            ClientInfo::new(CLIENT, 0, "127.0.0.1:9".into(), "127.0.0.1:1".into(), 9, false, 0);
        let mut reply = Reply::new(Protocol::Resp2);
        let args = OwnedArgs::from_parts(words);
        let ticket = Mode(Arc::clone(brain)).command(&client, &args.as_args(), &mut reply);
        (ticket, String::from_utf8_lossy(reply.bytes()).into_owned())
    }

    fn last_token(brain: &Brain) -> PersistToken {
        let outputs = std::iter::from_fn(|| brain.next_output());
        let tokens = outputs.filter_map(|output| match output {
            Output::Persist { token, .. } => Some(token),
            _ => None,
        });
        tokens.last().expect("something was to be written")
    }

    fn answers(brain: &Brain) -> Vec<(u64, String)> {
        let messages = brain.node.mailboxes[0].take().into_iter();
        messages
            .filter_map(|message| match message {
                Message::Unblock { client: CLIENT, ticket, bytes, .. } => {
                    Some((ticket, String::from_utf8_lossy(&bytes).into_owned()))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_plain_question_is_answered_at_once() {
        let brain = brain();
        let (ticket, text) = ask(&brain, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
        assert_eq!((ticket, text.as_str()), (None, "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n"));
    }

    #[test]
    fn a_promise_waits_for_its_own_state_of_the_disk() {
        let brain = brain();
        let first = last_token(&brain);
        let (ticket, text) = ask(&brain, &["SENTINEL", "SET", "mymaster", "quorum", "1"]);
        let ticket = ticket.expect("it has to be kept first");
        assert_eq!(text, "", "nothing is said before");
        brain.input(Input::Persisted { token: first });
        assert!(answers(&brain).is_empty(), "an older state does not hold it");
        brain.input(Input::Persisted { token: last_token(&brain) });
        assert_eq!(answers(&brain), [(ticket, "+OK\r\n".to_string())]);
    }

    #[test]
    fn a_disk_that_fails_is_told_to_operators_and_keeps_votes_back() {
        let brain = brain();
        let (operator, _) = ask(&brain, &["SENTINEL", "FLUSHCONFIG"]);
        let runid = "a".repeat(40);
        let vote = ["SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "1", "7", &runid];
        let (voter, _) = ask(&brain, &vote);
        let voter = voter.expect("a vote reaches the disk before the wire");
        let token = last_token(&brain);
        brain.input(Input::PersistFailed { token, error: "No space left on device" });
        let told = answers(&brain);
        assert_eq!(told.len(), 1);
        assert_eq!(Some(told[0].0), operator);
        assert!(told[0].1.starts_with("-ERR Failed to save config file"), "{told:?}");
        brain.input(Input::Persisted { token });
        let told = answers(&brain);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, voter);
        assert!(told[0].1.contains(&runid), "{told:?}");
    }
}
