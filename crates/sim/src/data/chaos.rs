//! A seed: a set-up, a time of faults, and then the demand for peace.

use super::world::{Options, Promise, World};
use stdx::Prng;

/// What a seed came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Broken rules; none is right.
    pub violations: Vec<String>,
    /// Times that a node lost power or was killed.
    pub deaths: u64,
    /// Confirmed writes of the clients with private keys.
    pub writes: u64,
    /// Looks at private keys that were right.
    pub looks: u64,
    /// Comparisons of nodes at the same place.
    pub compared: u64,
    /// Turns of threads.
    pub turns: u64,
    /// Simulated microseconds.
    pub simulated_us: u64,
}

impl Outcome {
    /// Adds another seed's numbers.
    pub fn add(&mut self, other: &Outcome) {
        self.deaths += other.deaths;
        self.writes += other.writes;
        self.looks += other.looks;
        self.compared += other.compared;
        self.turns += other.turns;
        self.simulated_us += other.simulated_us;
    }
}

/// The set-up of a seed.
pub fn options(seed: u64) -> Options {
    let mut prng = Prng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let promise = match prng.below(10) {
        0..=5 => Promise::Always,
        6..=8 => Promise::Everysec,
        _ => Promise::Nothing,
    };
    let mut lines = vec![
        format!("threads {}", 1 + prng.below(2)),
        "repl-diskless-sync-delay 0".into(),
        "repl-ping-replica-period 1".into(),
        "repl-timeout 5".into(),
        format!("repl-backlog-size {}", 16_384 << prng.below(6)),
        format!("repl-diskless-sync {}", if prng.chance(50) { "yes" } else { "no" }),
        format!("rdbcompression {}", if prng.chance(50) { "yes" } else { "no" }),
    ];
    match promise {
        Promise::Always => lines.push("appendonly yes\nappendfsync always".into()),
        Promise::Everysec => lines.push("appendonly yes\nappendfsync everysec".into()),
        Promise::Nothing => lines.push("appendonly no".into()),
    }
    if promise != Promise::Nothing {
        let preamble = if prng.chance(50) { "yes" } else { "no" };
        lines.push(format!("aof-use-rdb-preamble {preamble}"));
        lines.push(format!("auto-aof-rewrite-min-size {}", 4_000 << prng.below(5)));
        lines.push(format!("auto-aof-rewrite-percentage {}", 50 + prng.below(100)));
    }
    lines.push(if prng.chance(40) { "save 1 10".into() } else { "save \"\"".into() });
    Options {
        seed,
        nodes: 1 + prng.below(3) as usize,
        clients: 2 + prng.below(3) as usize,
        noise: prng.below(4) as usize,
        config: lines.join("\n"),
        promise,
        delay: match prng.below(3) {
            0 => (20, 80),
            1 => (50, 2_000),
            _ => (500, 20_000),
        },
        buffer: 4_096 << prng.below(5),
        disks_lie: false,
    }
}

/// Runs a seed.
pub fn run(seed: u64) -> Outcome {
    run_world(options(seed)).0
}

/// Runs a set-up; the world comes back with its log.
pub fn run_world(options: Options) -> (Outcome, World) {
    let mut prng = Prng::new(options.seed ^ 0xc0ff_ee00);
    let mut world = World::new(options);
    let nodes = world.options.nodes;
    let mut deaths = 0;
    for proc in 0..nodes {
        world.boot(proc);
    }
    world.run_us(1_000_000);
    for _ in 0..prng.between(6, 14) {
        if world.violations() > 0 {
            break;
        }
        fault(&mut world, &mut prng, &mut deaths);
        let pause = prng.between(50_000, 1_800_000);
        world.run_us(pause);
    }
    make_peace(&mut world);
    let outcome = Outcome {
        violations: world.broken(),
        deaths,
        writes: world.clients.iter().map(|client| client.writes).sum(),
        looks: world.clients.iter().map(|client| client.looks).sum(),
        compared: world.compared,
        turns: world.turns(),
        simulated_us: world.now_us(),
    };
    (outcome, world)
}

/// Something goes wrong.
fn fault(world: &mut World, prng: &mut Prng, deaths: &mut u64) {
    use crate::os::net::Host;
    let nodes = world.options.nodes as u64;
    let proc = prng.below(nodes) as usize;
    let other = prng.below(nodes) as usize;
    let until = world.now_us() + 2_000_000;
    match prng.below(16) {
        0..=4 => die(world, prng, deaths, proc),
        5 => world.tell(proc, &["BGSAVE"]),
        6 => world.tell(proc, &["BGREWRITEAOF"]),
        7 => {
            let stall = prng.between(10_000, 3_500_000);
            let over = world.now_us() + stall;
            world.disk(proc, over, |faults| faults.stalled_until = over);
        }
        8 | 9 => {
            let room = prng.below(3_000);
            world.disk(proc, until, |faults| faults.room = Some(room));
            world.run_us(prng.between(10_000, 1_500_000));
            let over = world.now_us();
            world.disk(proc, over, |faults| faults.room = None);
        }
        10 if world.options.promise == Promise::Always => {
            world.disk(proc, until, |faults| faults.sync_fails = true);
            world.run_us(prng.between(10_000, 1_500_000));
            let over = world.now_us();
            world.disk(proc, over, |faults| faults.sync_fails = false);
        }
        11 | 12 if proc != other => {
            world.cut(Host::Node(proc), Host::Node(other), true);
            world.run_us(prng.between(10_000, 4_000_000));
            world.cut(Host::Node(proc), Host::Node(other), false);
        }
        13 if prng.chance(50) => {
            world.tell(proc, &["DEBUG", "ACTIVE-WORKERS", ["0", "1", "2"][prng.below(3) as usize]]);
        }
        13 => world.break_some(),
        14 if proc != world.master && world.is_alive(proc) => promote(world, prng, proc),
        _ => world.hang_up(),
    }
}

/// A node dies, and comes back after a while.
fn die(world: &mut World, prng: &mut Prng, deaths: &mut u64, proc: usize) {
    if !world.is_alive(proc) {
        return;
    }
    *deaths += 1;
    if prng.chance(70) {
        world.lose_power(proc);
    } else {
        world.kill(proc);
    }
    world.run_us(prng.between(1_000, 800_000));
    let candidates: Vec<usize> = (0..world.options.nodes)
        .filter(|&p| p != proc && world.node(p).is_some_and(|node| node.log.offset() > 1))
        .collect();
    if proc == world.master && !candidates.is_empty() && prng.chance(50) {
        let best = candidates
            .iter()
            .copied()
            .max_by_key(|&p| world.node(p).map_or(0, |node| node.log.offset()));
        if let Some(best) = best {
            promote(world, prng, best);
        }
    }
    world.boot(proc);
}

fn promote(world: &mut World, prng: &mut Prng, proc: usize) {
    world.promote(proc);
    let pause = prng.between(1_000, 500_000);
    world.run_us(pause);
}

/// Everything is put right: then everybody must come to agree.
fn make_peace(world: &mut World) {
    if world.violations() > 0 {
        return;
    }
    world.note("=== peace".into());
    world.open_all();
    for proc in 0..world.options.nodes {
        let over = world.now_us();
        world.disk(proc, over, |faults| {
            faults.room = None;
            faults.sync_fails = false;
        });
        if !world.is_alive(proc) {
            world.boot(proc);
        }
    }
    // Whoever was away when the roles were given is told now.
    let ip = crate::os::net::Host::Node(world.master).ip().to_string();
    let port = crate::os::net::PORT.to_string();
    world.run_us(3_000_000);
    for proc in 0..world.options.nodes {
        if proc == world.master {
            world.tell(proc, &["REPLICAOF", "NO", "ONE"]);
        } else {
            world.tell(proc, &["REPLICAOF", &ip, &port]);
        }
    }
    world.quieten();
    let until = world.now_us() + 60_000_000;
    if !world.run_until(until, World::agrees) && world.violations() == 0 {
        world.say_broken("no agreement a minute after the last fault".into());
    }
}
