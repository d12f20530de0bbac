//! What a cluster of so many nodes costs and how long its news take.

use super::chaos::{create, disagreement};
use super::world::{ClusterWorld, Settings};

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// How many nodes.
    pub nodes: usize,
    /// Bytes that one node sends in a second, in peace.
    pub bytes_per_second: u64,
    /// From the last MEET until every node knows every other and the state is ok, in ms.
    pub formed_ms: u64,
    /// From the death of a master until every node knows its successor, in ms; 0: none was killed.
    pub failover_ms: u64,
}

/// Makes a cluster of `nodes` (half of them replicas, where `replicas`), and measures it.
pub fn measure(nodes: usize, replicas: bool, node_timeout: u64, seed: u64) -> Figures {
    let settings = Settings {
        seed,
        masters: if replicas { nodes / 2 } else { nodes },
        replicas: usize::from(replicas),
        node_timeout,
        delay_us: (100, 500),
        disk_us: (300, 2000),
        checked: false,
    };
    let mut world = ClusterWorld::new(settings);
    let from = world.now;
    create(&mut world);
    let formed_ms = (world.now - from) / 1000;
    world.run_ms(2 * node_timeout);
    let (bytes, at) = (world.bytes_sent, world.now);
    world.run_ms(node_timeout);
    let seconds = (world.now - at) / 1_000_000;
    let bytes_per_second = (world.bytes_sent - bytes) / seconds.max(1) / nodes as u64;
    let failover_ms = if replicas { failover(&mut world) } else { 0 };
    Figures { nodes, bytes_per_second, formed_ms, failover_ms }
}

fn failover(world: &mut ClusterWorld) -> u64 {
    let (Some(old), masters) = (world.id(0), world.settings.masters) else {
        return 0;
    };
    debug_assert!(disagreement(world).is_none());
    let from = world.now;
    world.crash(0, true);
    let limit = from + 60 * world.settings.node_timeout * 1000;
    while world.now < limit {
        world.run_ms(50);
        let news = (1..world.seats.len()).all(|host| {
            world.machine(host).is_some_and(|machine| {
                let view = machine.status();
                view.iter().any(|n| n.id == old && n.slots.is_empty())
                    && view.iter().filter(|n| !n.slots.is_empty()).count() == masters
            })
        });
        if news {
            return (world.now - from) / 1000;
        }
    }
    0
}
