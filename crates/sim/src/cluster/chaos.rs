//! Random faults from a seed, then peace, then the demand that all nodes see one cluster.

use std::collections::BTreeMap;

use cluster::{Cluster, FailoverKind, Flags, NodeId, NodeStatus};
use stdx::Prng;

use super::world::{ClusterWorld, Settings};

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken rules; empty for a clean run.
    pub violations: Vec<String>,
    /// How often slots came under a greater config epoch.
    pub takeovers: u64,
    /// Simulated time in ms.
    pub simulated_ms: u64,
    /// Time from the end of all faults to one view, in ms.
    pub healed_in_ms: u64,
}

/// Sizes and settings that follow from a seed.
pub fn settings(seed: u64) -> Settings {
    let mut prng = Prng::new(seed ^ 0xc105_7e12);
    let masters = prng.between(3, 6) as usize;
    let replicas =
        if masters > 5 { 1 } else { prng.between(1, if masters < 4 { 3 } else { 2 }) as usize };
    // Some seeds have the full twenty nodes.
    let (masters, replicas) = if prng.chance(15) { (5, 3) } else { (masters, replicas) };
    Settings {
        seed,
        masters,
        replicas,
        node_timeout: [300, 1000, 2000, 5000][prng.below(4) as usize],
        delay_us: [(30, 200), (100, 2000), (500, 15_000)][prng.below(3) as usize],
        disk_us: [(300, 2000), (1000, 20_000)][prng.below(2) as usize],
        checked: true,
    }
}

/// Runs one seed.
pub fn run(seed: u64) -> Outcome {
    run_world(seed).0
}

/// Runs one seed and hands the world back, for its log.
pub fn run_world(seed: u64) -> (Outcome, ClusterWorld) {
    let settings = settings(seed);
    let mut world = ClusterWorld::new(settings);
    let mut prng = Prng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(11));
    create(&mut world);
    let end = world.now + prng.between(10, 40) * 1_000_000;
    let mut faults = Faults::default();
    while world.now < end && world.violations().is_empty() {
        let pause = prng.between(10, 2500);
        world.run_ms(pause);
        faults.one(&mut world, &mut prng);
        faults.ended(&mut world);
    }
    let healed_in_ms =
        if world.violations().is_empty() { make_peace(&mut world, faults) } else { 0 };
    let outcome = Outcome {
        seed,
        violations: world.violations().to_vec(),
        takeovers: world.checker.winners,
        simulated_ms: world.now / 1000,
        healed_in_ms,
    };
    (outcome, world)
}

/// What `redis-cli --cluster create` does: epochs, slots, meetings, replicas.
pub fn create(world: &mut ClusterWorld) {
    let (masters, count) = (world.settings.masters, world.settings.nodes());
    for host in 0..count {
        world.call(host, |m, now| m.set_config_epoch(now, host as i64 + 1));
        if host < masters {
            let (from, to) = (16384 * host / masters, 16384 * (host + 1) / masters);
            let slots: Vec<u16> = (from..to).map(|slot| slot as u16).collect();
            world.call(host, |m, now| m.add_slots(now, &slots));
        }
    }
    for host in 1..count {
        meet(world, host);
    }
    for host in masters..count {
        let master = world.id(host % masters);
        let mut done = false;
        for _ in 0..600 {
            world.run_ms(50);
            let (Some(master), Some(machine)) = (master, world.machine(host)) else {
                break;
            };
            if machine.is_replica() {
                done = true;
                break;
            }
            let _ = world.call(host, |m, now| m.replicate(now, &master, true));
        }
        if !done {
            let text = format!("node {host} did not become a replica");
            world.checker.violation(world.now, text);
        }
    }
    let bound = 30_000 + 4 * world.settings.node_timeout;
    let from = world.now;
    while world.now < from + bound * 1000 && disagreement(world).is_some() {
        world.run_ms(50);
    }
    if let Some(text) = disagreement(world) {
        world.checker.violation(world.now, format!("the cluster was never made: {text}"));
    }
}

fn meet(world: &mut ClusterWorld, host: usize) {
    let first =
        (0..world.seats.len()).find(|other| *other != host && world.machine(*other).is_some());
    if let Some(first) = first {
        let ip = ClusterWorld::ip(first).to_string();
        world.call(host, |m, now| m.meet(now, &ip, 7000, 17_000));
    }
}

/// Faults that end by themselves.
#[derive(Default)]
struct Faults {
    ends: Vec<(u64, Repair)>,
    /// Names that nobody has any more, with the hosts that have new ones.
    lost: Vec<(usize, NodeId)>,
}

#[derive(Clone, Copy)]
enum Repair {
    Restart { host: usize },
    Resume { host: usize },
    Heal { from: usize, to: usize },
    Unslow { host: usize },
}

impl Faults {
    fn ended(&mut self, world: &mut ClusterWorld) {
        let now = world.now;
        let due: Vec<Repair> =
            self.ends.iter().filter(|(at, _)| *at <= now).map(|(_, r)| *r).collect();
        self.ends.retain(|(at, _)| *at > now);
        for repair in due {
            match repair {
                Repair::Restart { host } => world.start(host),
                Repair::Resume { host } => world.resume(host),
                Repair::Heal { from, to } => drop(world.cuts.remove(&(from, to))),
                Repair::Unslow { host } => world.slow[host] = 0,
            }
        }
    }

    fn later(&mut self, world: &ClusterWorld, ms: u64, repair: Repair) {
        self.ends.push((world.now + ms * 1000, repair));
    }

    fn one(&mut self, world: &mut ClusterWorld, prng: &mut Prng) {
        let count = world.seats.len() as u64;
        let any = prng.below(count) as usize;
        let peer = prng.below(count) as usize;
        let longest = 4 * world.settings.node_timeout + 2000;
        let ms = prng.between(20, longest);
        // Masters are hit more often than chance would have it.
        let victim = if prng.chance(50) { a_master(world, prng).unwrap_or(any) } else { any };
        match prng.below(12) {
            0..=2 => {
                let loses_disk =
                    prng.chance(25) && world.machine(victim).is_some_and(Cluster::is_replica);
                let id = world.id(victim);
                world.crash(victim, prng.chance(70));
                if loses_disk && let Some(id) = id {
                    world.seats[victim].disk = None;
                    self.lost.push((victim, id));
                }
                self.later(world, ms, Repair::Restart { host: victim });
            }
            3 | 4 => {
                world.pause(victim);
                self.later(world, ms, Repair::Resume { host: victim });
            }
            5 => {
                world.cuts.insert((any, peer));
                self.later(world, ms, Repair::Heal { from: any, to: peer });
            }
            6 | 7 => self.partition(world, prng, ms),
            8 => {
                world.seats[any].stalled_until = world.now + prng.between(50, 4000) * 1000;
                world.seats[any].clock_off = prng.below(200_000) as i64 - 100_000;
            }
            9 => {
                world.slow[any] = prng.between(5_000, 200_000);
                self.later(world, ms, Repair::Unslow { host: any });
            }
            10 => self.handover(world, prng),
            _ => (0..prng.between(1, 6)).for_each(|_| world.break_connection(prng.next_u64())),
        }
    }

    /// Some hosts here, the others there; in one direction or in both.
    fn partition(&mut self, world: &mut ClusterWorld, prng: &mut Prng, ms: u64) {
        let count = world.seats.len();
        let here: Vec<bool> = (0..count).map(|_| prng.chance(30)).collect();
        let both = prng.chance(70);
        for from in 0..count {
            for to in 0..count {
                if here[from] && !here[to] {
                    world.cuts.insert((from, to));
                    self.later(world, ms, Repair::Heal { from, to });
                    if both {
                        world.cuts.insert((to, from));
                        self.later(world, ms, Repair::Heal { from: to, to: from });
                    }
                }
            }
        }
    }

    /// CLUSTER FAILOVER, with and without FORCE. (TAKEOVER may break what is checked: it asks nobody.)
    fn handover(&mut self, world: &mut ClusterWorld, prng: &mut Prng) {
        let replicas: Vec<usize> = (0..world.seats.len())
            .filter(|host| {
                world.seats[*host].running()
                    && world.machine(*host).is_some_and(Cluster::is_replica)
            })
            .collect();
        if replicas.is_empty() {
            return;
        }
        let host = replicas[prng.below(replicas.len() as u64) as usize];
        let kind = if prng.chance(50) { FailoverKind::Agreed } else { FailoverKind::Force };
        let _ = world.call(host, |m, now| m.failover(now, kind));
    }
}

fn a_master(world: &ClusterWorld, prng: &mut Prng) -> Option<usize> {
    let masters: Vec<usize> = (0..world.seats.len())
        .filter(|host| world.machine(*host).is_some_and(|m| !m.is_replica()))
        .collect();
    (!masters.is_empty()).then(|| masters[prng.below(masters.len() as u64) as usize])
}

/// Ends all faults, does what an operator does for nodes that lost their disks, and demands one
/// view within a bound, and then quiet. Returns the time that it took, in ms.
fn make_peace(world: &mut ClusterWorld, faults: Faults) -> u64 {
    for host in 0..world.seats.len() {
        world.resume(host);
        world.start(host);
        world.slow[host] = 0;
    }
    world.cuts.clear();
    let healed_at = world.now;
    let timeout = world.settings.node_timeout;
    // A ping pending, its answer missing, the majority's agreement, a lost election and a new one.
    let bound = 30_000 + 16 * timeout;
    let settle = (2 * timeout + 6000) * 1000;
    let end = world.now + bound * 1000 + settle;
    repair_lost(world, &faults.lost);
    let mut since = None;
    let mut round = 0;
    while world.now < end
        && since.is_none_or(|at| world.now - at < settle)
        && world.violations().is_empty()
    {
        world.run_ms(50);
        round += 1;
        if round % 20 == 0 {
            adopt_strays(world);
        }
        since = if disagreement(world).is_none() { since.or(Some(world.now)) } else { None };
    }
    let took = (since.unwrap_or(world.now) - healed_at) / 1000;
    if !world.violations().is_empty() {
        return took;
    }
    if let Some(text) = disagreement(world) {
        world
            .checker
            .violation(world.now, format!("no one view {bound} ms after all faults ended: {text}"));
        return took;
    }
    let before = world.machine(0).map(Cluster::status).map(owners);
    world.run_ms(10_000);
    if world.machine(0).map(Cluster::status).map(owners) != before {
        world.checker.violation(world.now, "peace did not last".into());
    }
    took
}

fn repair_lost(world: &mut ClusterWorld, lost: &[(usize, NodeId)]) {
    for (_, id) in lost {
        for host in 0..world.seats.len() {
            if world.id(host) != Some(*id) {
                let _ = world.call(host, |m, now| m.forget(now, id));
            }
        }
    }
    for (host, _) in lost {
        meet(world, *host);
    }
}

/// Masters without slots that nobody needs become replicas of the master with the fewest.
fn adopt_strays(world: &mut ClusterWorld) {
    for host in 0..world.seats.len() {
        let Some(machine) = world.machine(host).filter(|m| !m.is_replica()) else {
            continue;
        };
        let (id, view) = (machine.myid(), machine.status());
        let mine = view.iter().find(|node| node.id == id);
        if mine.is_none_or(|node| !node.slots.is_empty()) {
            continue;
        }
        if machine.known_nodes() == 1 {
            meet(world, host);
            continue;
        }
        let replicas = |id: &NodeId| view.iter().filter(|node| node.master == Some(*id)).count();
        let master =
            view.iter().filter(|node| !node.slots.is_empty()).min_by_key(|node| replicas(&node.id));
        if let Some(master) = master.map(|node| node.id) {
            let _ = world.call(host, |m, now| m.replicate(now, &master, true));
        }
    }
}

type Owners = BTreeMap<NodeId, (Option<NodeId>, Vec<(u16, u16)>, u64)>;

fn owners(view: Vec<NodeStatus>) -> Owners {
    view.into_iter().map(|node| (node.id, (node.master, node.slots, node.config_epoch))).collect()
}

/// Why the nodes do not all see the same healthy cluster; nothing when they do.
pub fn disagreement(world: &ClusterWorld) -> Option<String> {
    let sick = Flags::FAIL.with(Flags::PFAIL).with(Flags::NOADDR).with(Flags::HANDSHAKE);
    let mut first: Option<Owners> = None;
    for host in 0..world.seats.len() {
        let Some(machine) = world.machine(host) else {
            return Some(format!("node {host} is dead"));
        };
        if !machine.is_ok() {
            return Some(format!(
                "node {host} takes the cluster for down:\n{}{}",
                machine.nodes_text(false),
                machine.info_text(0)
            ));
        }
        if machine.known_nodes() != world.seats.len() {
            return Some(format!("node {host} knows {} nodes", machine.known_nodes()));
        }
        let view = machine.status();
        if let Some(node) = view.iter().find(|node| node.flags.has(sick)) {
            return Some(format!("node {host} sees {} as {}", node.id, node.flags.names()));
        }
        let follow = world.seats[host].follow.and_then(|master| world.id(master));
        let mine = view.iter().find(|node| node.id == machine.myid()).and_then(|node| node.master);
        if mine != follow {
            return Some(format!("node {host} replicates {follow:?} and should {mine:?}"));
        }
        if mine.is_some_and(|id| view.iter().any(|node| node.id == id && node.master.is_some())) {
            return Some(format!("node {host} replicates a replica"));
        }
        let owners = owners(view);
        match &first {
            None => first = Some(owners),
            Some(first) if *first != owners => {
                return Some(format!("node {host} and node 0 see different owners"));
            }
            Some(_) => {}
        }
    }
    None
}
