//! The end of a running `up`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Message, Supervisor};
use crate::up::control::{Response, Verb};
use crate::up::event::Event;
use crate::up::state::{Kind, State};

/// How long a sentinel may take to stop.
const SENTINEL_STOP: Duration = Duration::from_secs(5);
/// How long a node may take: it saves its data, and a master waits for its replicas (10 s).
const NODE_STOP: Duration = Duration::from_secs(20);

impl Supervisor {
    /// Sentinels first, so that none takes the end of the master for a failure; then the master,
    /// which hands its last writes to the replicas; then these.
    pub(super) fn stop_all(&mut self) {
        self.stops = self.stops.max(1);
        self.tell(Event::now("up", "stopping"));
        self.draw(true);
        let master = self.model.master();
        let (nodes, sentinels): (Vec<usize>, Vec<usize>) = (0..self.model.members.len())
            .partition(|index| self.model.members[*index].record.kind == Kind::Node);
        let (masters, replicas): (Vec<usize>, Vec<usize>) =
            nodes.into_iter().partition(|index| Some(*index) == master);
        // A paused replica would keep the master waiting, and cannot stop either.
        for index in 0..self.model.members.len() {
            if let Ok(process) = self.running(index)
                && process.is_stopped()
            {
                let _ = process.signal(Signal::CONT);
            }
        }
        self.stop_group(&sentinels, SENTINEL_STOP);
        self.stop_group(&masters, NODE_STOP);
        self.stop_group(&replicas, NODE_STOP);
        self.finish_state();
        self.tell(Event::now("up", "stopped"));
    }

    fn stop_group(&mut self, group: &[usize], patience: Duration) {
        let deadline = Instant::now() + patience;
        for index in group {
            if let Ok(process) = self.running(*index) {
                // One that has just ended needs no signal.
                let _ = process.signal(Signal::TERM);
            }
        }
        let mut killed = false;
        while group.iter().any(|index| self.model.members[*index].child.is_some()) {
            if !killed && (self.stops > 1 || Instant::now() >= deadline) {
                killed = true;
                for index in group {
                    if let Ok(process) = self.running(*index) {
                        self.tell_of(*index, "does not stop: killing it");
                        let _ = process.signal(Signal::KILL);
                    }
                }
            }
            match self.messages.recv_timeout(Duration::from_millis(20)) {
                Ok(Message::Control(request, reply)) if request.verb != Verb::Status => {
                    let errors = vec!["`up` is stopping".to_owned()];
                    let _ = reply.send(Response { errors, ..Response::default() });
                }
                // What dying members say about each other is no news.
                Ok(Message::Update(_)) | Err(_) => {}
                Ok(message) => self.handle(message),
            }
            self.reap();
            self.draw(false);
        }
    }

    fn finish_state(&mut self) {
        let state = State {
            supervisor: None,
            members: self.model.members.iter().map(|m| m.record.clone()).collect(),
            ..self.model.plan.state.clone()
        };
        if let Err(error) = state.save(&self.model.plan.layout) {
            self.tell(Event::now("up", format!("cannot write up.json: {error}")));
        }
    }
}
