//! Running scripts, and serving the other connections meanwhile.
//!
//! A script may run for very long. It is run when nothing else of the loop is in the middle of
//! something, so that the loop can be turned from within: what other connections ask then is
//! answered with -BUSY, and what ends the script gets through.

use super::EventLoop;
use crate::io::conn::Script;
use crate::os::mio::Events;
use crate::os::time::Duration;
use node::{Next, Worker};
use resp::{OwnedArgs, Reply};

/// Bytes kept for the replies of scripts.
const ROOM_MAX: usize = 64 << 10;

impl EventLoop {
    /// Runs the scripts that are due, and what their connections ask next.
    pub(super) fn run_scripts(&mut self) {
        while let Some(at) = self.scripts_due.pop() {
            let Some(conn) = self.conns.get_mut(at) else { continue };
            match std::mem::take(&mut conn.script) {
                Script::Due(args) => self.run_script(at, &args),
                other => conn.script = other,
            }
        }
    }

    fn run_script(&mut self, at: usize, args: &OwnedArgs) {
        let node = self.node();
        let Some(conn) = self.conns.get_mut(at) else { return };
        let stand_in = conn.session.stand_in();
        let mut session = std::mem::replace(&mut conn.session, stand_in);
        conn.script = Script::Runs;
        conn.runs_scripts = true;
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => {
                let seed = node.host.mono_us() ^ self.worker.index as u64;
                Box::new(Worker::new(&node, self.worker.index, seed))
            }
        };
        let mut worker = std::mem::replace(&mut self.worker, spare);
        let room = std::mem::take(&mut self.script_reply);
        let mut reply = Reply::with_buffer(room, session.protocol);
        worker.begin_turn();
        let mut events = None;
        let next =
            node.handle_long(&mut worker, &mut session, &args.as_args(), &mut reply, &mut || {
                self.serve_meanwhile(events.get_or_insert_with(|| Events::with_capacity(256)));
            });
        let spare = std::mem::replace(&mut self.worker, worker);
        self.take_over(spare);
        let Some(conn) = self.conns.get_mut(at) else { return };
        conn.session = session;
        conn.script = Script::None;
        self.after_script(at, next, args, &reply);
        let mut room = reply.into_bytes();
        if room.capacity() <= ROOM_MAX {
            room.clear();
            self.script_reply = room;
        }
    }

    /// What the spare worker has collected goes to the real one.
    fn take_over(&mut self, mut spare: Box<Worker>) {
        self.worker.log_grew |= spare.log_grew;
        spare.log_grew = false;
        self.worker.trash.append(&mut spare.trash);
        self.worker.tables.append(&mut spare.tables);
        self.worker.timeouts.append(&mut spare.timeouts);
        self.spare = Some(spare);
    }

    fn after_script(&mut self, at: usize, next: Next, args: &OwnedArgs, reply: &Reply) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        match next {
            Next::Continue | Next::Blocked | Next::Script => {}
            Next::Held => conn.held = Some(args.clone()),
            Next::Close => conn.closing = true,
        }
        self.hold_if_gated(at);
        if !reply.is_empty() {
            // The connection's next script may follow at once: their replies go out together.
            self.queue(at, reply.bytes());
        }
        let Some(conn) = self.conns.get_mut(at) else { return };
        conn.argv_bytes = 0;
        if conn.account(&self.shared.node) {
            self.shared.node.evict_clients();
        }
        let Some(conn) = self.conns.get_mut(at) else { return };
        if conn.closing && conn.pending_output() == 0 {
            return self.close(at);
        }
        self.go_on(at);
    }

    /// One turn of the loop from within a script, without waiting.
    fn serve_meanwhile(&mut self, events: &mut Events) {
        // An interrupted wait brings no events; they come next time.
        if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
            return;
        }
        self.tick();
        self.run_events(events);
        self.take_new_conns();
        self.take_moved();
        self.take_messages();
        self.turn_gate();
        self.flush_unsent();
    }
}
