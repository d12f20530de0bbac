//! Scenes with real data nodes. Times are simulated; a seed is always the same.

use super::chaos;
use super::world::{Options, Promise, World};

fn options(seed: u64, nodes: usize, config: &str, promise: Promise) -> Options {
    Options {
        seed,
        nodes,
        clients: 3,
        noise: 1,
        config: format!("repl-diskless-sync-delay 0\nrepl-timeout 5\n{config}"),
        promise,
        delay: (50, 500),
        buffer: 65_536,
        disks_lie: false,
    }
}

fn started(options: Options) -> World {
    let mut world = World::new(options);
    for proc in 0..world.options.nodes {
        world.boot(proc);
    }
    world.run_us(2_000_000);
    world
}

const ALWAYS: &str = "appendonly yes\nappendfsync always";

/// Power fails again and again; stops at the first broken rule.
fn power_cuts(world: &mut World, times: usize) {
    for _ in 0..times {
        let pause = 200_000 + world.below(1_500_000);
        world.run_us(pause);
        if world.violations() > 0 {
            return;
        }
        world.lose_power(0);
        world.run_us(100_000);
        world.boot(0);
    }
    world.run_us(1_000_000);
}

#[test]
fn some_seeds() {
    for seed in 1..=3 {
        let outcome = chaos::run(seed);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        assert!(outcome.writes > 100, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn a_seed_is_always_the_same() {
    let run = || {
        let (outcome, world) = chaos::run_world(chaos::options(3));
        (outcome.turns, outcome.writes, world.log_text())
    };
    let (first, second) = (run(), run());
    assert_eq!((first.0, first.1), (second.0, second.1));
    assert!(first.2 == second.2, "the logs differ");
}

#[test]
fn confirmed_under_always_is_there_after_power_cuts() {
    let mut world = started(options(11, 1, ALWAYS, Promise::Always));
    power_cuts(&mut world, 8);
    assert_eq!(world.broken(), Vec::<String>::new(), "{}", world.log_text());
    assert!(world.clients.iter().all(|client| client.looks >= 5));
}

/// The checks can fail: a disk that says too early that it has synced is found out.
#[test]
fn a_disk_that_lies_is_found_out() {
    let found = (1..=5).filter(|&seed| {
        let lying = Options { disks_lie: true, ..options(seed, 1, ALWAYS, Promise::Always) };
        let mut world = started(lying);
        power_cuts(&mut world, 4);
        world.violations() > 0
    });
    assert_eq!(found.count(), 5);
}

/// The checks can fail: `everysec` does not keep what `always` promises.
#[test]
fn everysec_is_not_always() {
    let found = (1..=5).filter(|&seed| {
        let config = "appendonly yes\nappendfsync everysec";
        let mut world = started(options(seed, 1, config, Promise::Always));
        power_cuts(&mut world, 6);
        world.violations() > 0
    });
    assert!(found.count() >= 4);
}

/// The checks can fail: data of a replica that somebody has changed is found to differ.
#[test]
fn a_replica_that_parts_is_found_out() {
    let mut world = started(options(5, 2, ALWAYS, Promise::Always));
    world.run_us(1_000_000);
    assert!(world.compared > 0, "both are at one place now and then");
    world.tell(1, &["CONFIG", "SET", "replica-read-only", "no"]);
    world.run_us(100_000);
    world.tell(1, &["SET", "of-its-own", "1"]);
    world.quieten();
    world.run_us(2_000_000);
    assert!(world.broken().iter().any(|text| text.contains("are both at")), "{:?}", world.broken());
}

/// A master that keeps nothing is killed and comes back within 200 ms, empty.
fn empty_master(guard: &str) -> (World, Option<usize>) {
    let config = format!("appendonly no\nsave \"\"\nempty-master-guard {guard}");
    let quiet = Options { clients: 0, noise: 0, ..options(7, 2, &config, Promise::Nothing) };
    let mut world = started(quiet);
    world.tell(0, &["MSET", "a", "1", "b", "2", "c", "3"]);
    world.run_us(1_000_000);
    assert_eq!(world.keys(1), Some(3));
    world.kill(0);
    world.run_us(150_000);
    world.boot(0);
    world.run_us(15_000_000);
    let left = world.keys(1);
    (world, left)
}

#[test]
fn a_master_that_comes_back_empty_wipes_nobody() {
    let (mut world, left) = empty_master("yes");
    assert_eq!(left, Some(3), "{}", world.log_text());
    assert_eq!(world.keys(0), Some(0));
    world.promote(1);
    let until = world.now_us() + 30_000_000;
    assert!(world.run_until(until, World::agrees), "{}", world.log_text());
    assert_eq!((world.keys(0), world.keys(1)), (Some(3), Some(3)));
}

/// Without the guard it is as in Redis.
#[test]
fn without_the_guard_the_replica_follows_into_emptiness() {
    let (world, left) = empty_master("no");
    assert_eq!(left, Some(0), "{}", world.log_text());
}
