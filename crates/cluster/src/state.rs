//! Whether the cluster serves. Source: redis 7.0 `cluster.c:clusterUpdateState`.

use crate::api::LogLevel;
use crate::flags::Flags;
use crate::machine::Cluster;
use crate::slots::SLOTS;

/// A master that starts gives others this time to tell it that it was replaced.
const START_MS: u64 = 2000;
/// Bounds of the time that a master waits after it was cut off.
const REJOIN_MS: (u64, u64) = (500, 5000);

impl Cluster {
    /// Counts the masters and decides anew.
    pub(crate) fn judge_state(&mut self) {
        let now = self.now.mono;
        let doubt = Flags::FAIL.with(Flags::PFAIL);
        let voters = self.nodes.values().filter(|node| node.votes());
        let (size, reachable) = voters.fold((0, 0), |(size, reachable), node| {
            (size + 1, reachable + usize::from(!node.flags.has(doubt)))
        });
        self.size = size;
        if self.me().is_master() && self.down && now.since(self.started) < START_MS {
            return;
        }
        let assigned: usize = self.nodes.values().map(|node| usize::from(node.slots)).sum();
        let lost = self.nodes.values().any(|node| node.slots > 0 && node.failed());
        let uncovered =
            self.options.require_full_coverage && (assigned < usize::from(SLOTS) || lost);
        let minority = reachable < size / 2 + 1;
        if minority {
            self.minority_at = Some(now);
        }
        let down = uncovered || minority;
        if down == self.down {
            return;
        }
        let wait = self.options.node_timeout.clamp(REJOIN_MS.0, REJOIN_MS.1);
        let waits = self.minority_at.is_some_and(|at| now.since(at) < wait);
        if !down && self.me().is_master() && waits {
            return;
        }
        self.set_down(down);
    }

    pub(crate) fn set_down(&mut self, down: bool) {
        if self.down != down {
            self.down = down;
            self.view_version += 1;
            let word = if down { "fail" } else { "ok" };
            self.log(LogLevel::Warning, format!("Cluster state changed: {word}"));
        }
    }
}
