//! Replies that wait until what they depend on is in the append-only file.

use super::*;

impl EventLoop {
    /// The replies that come next wait if what they depend on is not on disk yet.
    pub(super) fn hold_if_gated(&mut self, at: usize) {
        let needs = self.worker.take_dependence();
        if !self.shared.node.aof.is_open_to(needs)
            && let Some(conn) = self.conns.get_mut(at)
        {
            conn.hold_replies(needs);
            self.gated.push(at);
        }
    }

    /// Sends the replies that need not wait any more; their connections go on.
    pub(super) fn open_gate(&mut self) {
        self.gate_open = false;
        for at in std::mem::take(&mut self.gated) {
            let Some(conn) = self.conns.get_mut(at) else { continue };
            let Some(gated) = conn.gated.take() else { continue };
            if !self.shared.node.aof.is_open_to(gated.needs) {
                conn.gated = Some(gated);
                self.gated.push(at);
                continue;
            }
            if conn.send(&gated.bytes) == Flush::Broken
                || (conn.closing && conn.pending_output() == 0)
            {
                self.close(at);
                continue;
            }
            conn.session.info.omem.store(conn.pending_output() as u64, Ordering::Relaxed);
            if conn.feed.is_some() {
                self.pump(at);
            }
            self.go_on(at);
        }
    }

    /// Both of the below, from within a script.
    pub(super) fn turn_gate(&mut self) {
        if !self.gated.is_empty() {
            self.open_gate();
        }
        if std::mem::take(&mut self.worker.log_grew)
            && self.shared.node.wake_streams(self.worker.index)
        {
            self.pump_again = true;
        }
        if !self.gated.is_empty() {
            self.wait_at_gate();
        }
    }

    /// Says that replies wait, and looks whether they had to meanwhile.
    pub(super) fn wait_at_gate(&mut self) {
        let aof = &self.shared.node.aof;
        aof.wait(self.worker.index);
        self.gate_open = self.gated.iter().any(|at| {
            let gated = self.conns.get(*at).and_then(|conn| conn.gated.as_ref());
            gated.is_none_or(|gated| aof.is_open_to(gated.needs))
        });
    }
}
