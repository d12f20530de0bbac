//! What a master does on SIGTERM before it ends: it asks a sentinel to lead a planned switch.
//!
//! Every sentinel of our kind listens on a channel of its own at each node; one after the other is
//! asked there. Who accepts is elected and orders FAILOVER, and from then on that command's own
//! rules hold: writes are held, a replica catches up and takes over, or nothing has happened. Without
//! such a sentinel nothing is done here: a switch that nobody announces would be turned back by the
//! sentinels. When all nodes are stopped together the sentinels' connections end, and so does this.

use crate::log::NOTICE;
use crate::os::time::Duration;
use node::{Node, Topic};
use stdx::MonoMs;

/// Followed by the run id of the sentinel. The same as `sentinel::REQUEST_CHANNEL`.
const CHANNEL: &[u8] = sentinel::REQUEST_CHANNEL.as_bytes();
/// How long a sentinel may take until its FAILOVER comes: an election with its writes to disk.
const ASK_MS: u64 = 1200;
/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);

/// Hands over to a replica. True if this node is not the master any more when it returns.
pub fn run(node: &Node, number: u64, until: MonoMs) -> bool {
    let now = || node.host.now().mono();
    let mut asked: Vec<Vec<u8>> = Vec::new();
    while now() < until && node.shutdown.is_wanted(number) {
        if node.is_replica() || node.repl.master().replica_count() == 0 {
            break;
        }
        let Some(channel) = sentinels(node).into_iter().find(|name| !asked.contains(name)) else {
            break;
        };
        if asked.is_empty() {
            crate::log::write(
                NOTICE,
                "Asking a sentinel to hand this master's role over before shutting down.",
            );
        }
        node.pubsub.publish(
            &node.mailboxes,
            false,
            &channel,
            node.run_id.as_bytes(),
            0,
            &mut Vec::new(),
        );
        let patience = until.min(now() + ASK_MS);
        let open = || now() < patience && node.shutdown.is_wanted(number);
        while open() && !node.failover.is_running() && !node.is_replica() {
            if node.pubsub.listeners(Topic::Channel, &channel) == 0 {
                break;
            }
            node.shutdown.wait(LOOK);
        }
        asked.push(channel);
        await_end(node, number, until);
    }
    node.is_replica()
}

/// The channels of the sentinels that can be asked.
fn sentinels(node: &Node) -> Vec<Vec<u8>> {
    let all = node.pubsub.channels(Topic::Channel, None);
    all.into_iter().filter(|name| name.starts_with(CHANNEL)).collect()
}

/// Waits until the FAILOVER that was ordered has ended, for good or ill.
fn await_end(node: &Node, number: u64, until: MonoMs) {
    while node.failover.is_running() && node.host.now().mono() < until {
        // The replica has gone while it caught up: there is nothing to wait for.
        if !node.is_replica() && node.repl.master().replica_count() == 0 {
            node.abandon_failover("No replica is left");
            return;
        }
        if !node.shutdown.is_wanted(number) {
            return;
        }
        node.shutdown.wait(LOOK);
    }
}
