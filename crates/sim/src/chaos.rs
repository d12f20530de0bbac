//! Random faults from a seed, then peace, then the demand that everybody agrees.

use stdx::Prng;

use crate::world::{World, WorldOptions};

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Broken rules; empty for a clean run.
    pub violations: Vec<String>,
    /// Failovers that were completed by their leader.
    pub switches: u64,
    /// Epochs that had a winner.
    pub elections: usize,
    /// Simulated time in ms.
    pub simulated_ms: u64,
    /// Time from the end of all faults to agreement, in ms.
    pub healed_in_ms: u64,
    /// How often, while faults were going on, a sentinel demoted the rightful master.
    pub demotions_in_chaos: usize,
}

/// Sizes and settings that follow from a seed.
pub fn options(seed: u64) -> WorldOptions {
    let mut prng = Prng::new(seed ^ 0x5eed_0f0f);
    let sentinels = [3, 3, 3, 4, 5][prng.below(5) as usize];
    let nodes = prng.between(2, 4) as usize;
    let majority = sentinels as u64 / 2 + 1;
    WorldOptions {
        seed,
        sentinels,
        nodes,
        quorum: prng.between(1, majority),
        down_after: [100, 300, 1000, 5000][prng.below(4) as usize],
        failover_timeout: [2000, 5000, 10_000][prng.below(3) as usize],
        parallel_syncs: prng.between(1, 2),
        crash_grace: [0, 200, 200][prng.below(3) as usize],
        delay_us: [(30, 200), (100, 2000), (500, 15_000)][prng.below(3) as usize],
        disk_us: [(300, 2000), (1000, 20_000)][prng.below(2) as usize],
        with_state: prng.chance(80),
        priorities: (0..nodes).map(|_| [100, 100, 100, 50, 0][prng.below(5) as usize]).collect(),
    }
}

/// Runs one seed: a quiet start, half a minute to a minute of faults, healing.
pub fn run(seed: u64) -> Outcome {
    run_world(seed).0
}

/// Runs one seed and hands the world back, for its log.
pub fn run_world(seed: u64) -> (Outcome, World) {
    let options = options(seed);
    let mut world = World::new(options.clone());
    let mut prng = Prng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    // Long enough to get acquainted, and for some runs to be able to vote from the start.
    world.run_ms(if options.with_state { 3000 } else { 13_000 });
    let end = world.now + prng.between(20, 60) * 1_000_000;
    let mut faults = Faults::default();
    while world.now < end && world.violations().is_empty() {
        let pause = prng.between(10, 3000);
        world.run_ms(pause);
        faults.one(&mut world, &mut prng);
        faults.ended(&mut world);
    }
    let in_chaos = world.demotions.len();
    let healed_in_ms = if world.violations().is_empty() { make_peace(&mut world) } else { 0 };
    let outcome = Outcome {
        seed,
        violations: world.violations().to_vec(),
        switches: world.switches,
        elections: world.elections(),
        simulated_ms: world.now / 1000,
        healed_in_ms,
        demotions_in_chaos: in_chaos,
    };
    (outcome, world)
}

/// Faults that end by themselves.
#[derive(Default)]
struct Faults {
    ends: Vec<(u64, Repair)>,
}

#[derive(Clone, Copy)]
enum Repair {
    Restart { host: usize, with_disk: bool },
    Resume { host: usize },
    Heal { from: usize, to: usize },
    Unslow { host: usize },
}

impl Faults {
    /// Undoes what has lasted long enough.
    fn ended(&mut self, world: &mut World) {
        let due: Vec<Repair> =
            self.ends.iter().filter(|(at, _)| *at <= world.now).map(|(_, r)| *r).collect();
        self.ends.retain(|(at, _)| *at > world.now);
        for repair in due {
            match repair {
                Repair::Restart { host, with_disk } => {
                    let with_disk = with_disk || !may_lose_state(world, host);
                    world.restart(host, with_disk);
                }
                Repair::Resume { host } => world.resume(host),
                Repair::Heal { from, to } => world.heal(from, to),
                Repair::Unslow { host } => world.slow(host, 0),
            }
        }
    }

    fn later(&mut self, world: &World, ms: u64, repair: Repair) {
        self.ends.push((world.now + ms * 1000, repair));
    }

    fn one(&mut self, world: &mut World, prng: &mut Prng) {
        let nodes = world.options.nodes;
        let all = world.hosts.len();
        let any = prng.below(all as u64) as usize;
        let other = prng.below(all as u64) as usize;
        let sentinel = prng.below(world.options.sentinels as u64) as usize;
        // The master is hit more often than chance would have it.
        let node = if prng.chance(50) {
            (0..nodes).find(|n| world.is_master(*n)).unwrap_or(0)
        } else {
            prng.below(nodes as u64) as usize
        };
        match prng.below(14) {
            0 | 1 => {
                world.crash(node, prng.chance(70));
                let with_disk = prng.chance(80);
                let ms = prng.between(20, 12_000);
                self.later(world, ms, Repair::Restart { host: node, with_disk });
            }
            2 => {
                world.pause(node);
                self.later(world, prng.between(50, 8000), Repair::Resume { host: node });
            }
            3 => {
                let host = world.sentinel_host(sentinel);
                world.pause(host);
                self.later(world, prng.between(20, 4000), Repair::Resume { host });
            }
            4 | 5 => {
                let host = world.sentinel_host(sentinel);
                world.crash(host, prng.chance(70));
                let with_disk = prng.chance(75);
                let ms = prng.between(20, 8000);
                self.later(world, ms, Repair::Restart { host, with_disk });
            }
            6 => {
                world.cut(any, other);
                let ms = prng.between(100, 12_000);
                self.later(world, ms, Repair::Heal { from: any, to: other });
            }
            7 | 8 => {
                let ms = prng.between(100, 12_000);
                for peer in (0..all).filter(|h| *h != any) {
                    if prng.chance(70) {
                        world.cut_both(any, peer);
                        self.later(world, ms, Repair::Heal { from: any, to: peer });
                        self.later(world, ms, Repair::Heal { from: peer, to: any });
                    }
                }
            }
            12 => {
                // The master is told to end, and does a while after; or it is called off.
                world.ask_to_lead(node, sentinel);
                if prng.chance(60) {
                    let ms = prng.between(1, 4000);
                    world.run_ms(ms);
                    world.crash(node, true);
                    let ms = prng.between(20, 12_000);
                    self.later(world, ms, Repair::Restart { host: node, with_disk: true });
                }
            }
            13 => {
                world.command(sentinel, &["SENTINEL", "FAILOVER", "mymaster", "COORDINATED"]);
            }
            9 => {
                world.stall_disk(sentinel, prng.between(50, 4000));
                world.jump_clock(sentinel, prng.below(200_000) as i64 - 100_000);
            }
            10 => {
                world.slow(any, prng.between(5_000, 200_000));
                self.later(world, prng.between(200, 5000), Repair::Unslow { host: any });
            }
            _ => {
                for _ in 0..prng.between(1, 6) {
                    world.break_connection(prng.next_u64());
                }
            }
        }
    }
}

/// A sentinel may come back without its state while all the others have theirs and can be reached:
/// what one has promised and forgotten, they have heard of. When a majority forgets, nothing is
/// left by which anybody could know.
fn may_lose_state(world: &World, host: usize) -> bool {
    host < world.options.nodes
        || (world.net.cuts.is_empty()
            && (0..world.options.sentinels).filter(|i| world.sentinel_host(*i) != host).all(|i| {
                let up = !world.hosts[world.sentinel_host(i)].paused;
                up && world.status(i).is_some_and(|s| !s.muted)
            }))
}

/// True if the only node whose priority lets it be master came back as a replica, with the configuration of
/// its first start: as in Redis nobody makes it master again, for a master is not its own successor.
fn has_no_heir(world: &World) -> bool {
    let mut able = world.nodes.iter().filter(|node| node.priority != 0);
    matches!((able.next(), able.next()), (Some(only), None) if only.master.is_some())
}

/// Ends all faults and demands, within a bound, one master for all, and then quiet.
/// Returns the time that it took, in ms.
fn make_peace(world: &mut World) -> u64 {
    for host in 0..world.hosts.len() {
        world.resume(host);
        world.restart(host, true);
    }
    world.heal_all();
    let healed_at = world.now;
    let demotions = world.demotions.len();
    // TILT, a refused role, two delays between failovers, and the waiting times of repairs.
    let bound = 30_000
        + 20_000
        + 3 * world.options.failover_timeout
        + 10_000
        + 3 * world.options.down_after;
    // A suspicion that was under way when the faults ended may still come true once: agreement
    // counts when it has outlived the longest of them. Looked at every 20 ms, as that is costly.
    let settle = (world.options.down_after + 3500) * 1000;
    let end = world.now + bound * 1000 + settle;
    let mut since = None;
    while world.now < end && since.is_none_or(|at| world.now - at < settle) {
        world.run_ms(20);
        since = if agreed(world) { since.or(Some(world.now)) } else { None };
    }
    let agreed = since.is_some_and(|at| world.now - at >= settle);
    let took = (since.unwrap_or(world.now) - healed_at) / 1000;
    if !agreed && has_no_heir(world) {
        return took;
    }
    if !agreed {
        let text = format!("no agreement {bound} ms after all faults ended: {}", picture(world));
        world.checker.violation(world.now, text);
        return took;
    }
    let (epoch, master) = view(world, 0);
    world.run_ms(15_000);
    if view(world, 0) != (epoch, master.clone()) || !self::agreed(world) {
        let text = format!("peace did not last: it was {master}, now {}", picture(world));
        world.checker.violation(world.now, text);
    }
    if world.demotions.len() > demotions {
        world.checker.violation(
            world.now,
            "the rightful master was demoted after all faults had ended".to_string(),
        );
    }
    took
}

fn view(world: &World, sentinel: usize) -> (u64, String) {
    world
        .status(sentinel)
        .and_then(|s| s.masters.into_iter().next())
        .map_or((0, String::new()), |m| (m.config_epoch, m.addr.ip_text()))
}

/// True when all sentinels name one master at one epoch, see it up, and all nodes follow it.
pub fn agreed(world: &World) -> bool {
    let (epoch, ip) = view(world, 0);
    let Some(master) = world.node_at(&ip) else { return false };
    let sentinels = (0..world.options.sentinels).all(|i| {
        let Some(status) = world.status(i) else { return false };
        let m = &status.masters[0];
        !status.tilt
            && (m.config_epoch, m.addr.ip_text()) == (epoch, ip.clone())
            && m.s_down.is_none()
            && m.failover_state == "none"
            && m.peers.iter().filter(|p| !p.s_down).count() == world.options.sentinels - 1
    });
    sentinels
        && world.is_master(master)
        && (0..world.options.nodes)
            .filter(|n| *n != master && known(world, *n))
            .all(|n| world.follows(n) == Some(master) && world.link_up(n))
}

/// True when some sentinel has the node on its list. One that was away while every sentinel that
/// knew it lost its disk is nobody's concern, in Redis as here.
fn known(world: &World, node: usize) -> bool {
    let ip = &world.nodes[node].ip;
    (0..world.options.sentinels).filter_map(|i| world.status(i)).any(|s| {
        let m = &s.masters[0];
        m.node.addr.ip_text() == *ip || m.replicas.iter().any(|r| r.addr.ip_text() == *ip)
    })
}

/// What everybody thinks, in one line.
fn picture(world: &World) -> String {
    let mut text = String::new();
    for i in 0..world.options.sentinels {
        match world.status(i) {
            Some(s) => {
                let m = &s.masters[0];
                text.push_str(&format!(
                    "[s{i} epoch {} config {} master {} sdown {} odown {} {} tilt {} peers {}] ",
                    s.current_epoch,
                    m.config_epoch,
                    m.addr.ip_text(),
                    m.s_down.is_some(),
                    m.o_down.is_some(),
                    m.failover_state,
                    s.tilt,
                    m.peers.iter().filter(|p| !p.s_down).count(),
                ));
            }
            None => text.push_str(&format!("[s{i} dead] ")),
        }
    }
    for n in 0..world.options.nodes {
        let follows = world.follows(n).map_or("nobody".to_string(), |m| format!("n{m}"));
        text.push_str(&format!("[n{n} follows {follows} link {}] ", world.link_up(n)));
    }
    text
}
