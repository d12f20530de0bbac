//! A few seeds, and cases that chance would take long to find.

use super::chaos;
use super::world::{ClusterWorld, Settings};

fn settings(seed: u64) -> Settings {
    Settings {
        seed,
        masters: 3,
        replicas: 1,
        node_timeout: 1000,
        delay_us: (100, 500),
        disk_us: (500, 2000),
        checked: true,
    }
}

fn healthy(world: &mut ClusterWorld, within_ms: u64) {
    let end = world.now + within_ms * 1000;
    while world.now < end && chaos::disagreement(world).is_some() {
        world.run_ms(20);
    }
    let log = if chaos::disagreement(world).is_some() { world.log_text() } else { String::new() };
    assert_eq!(chaos::disagreement(world), None, "{log}");
    assert_eq!(world.violations(), &[] as &[String]);
}

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let mut world = ClusterWorld::new(settings(3));
    chaos::create(&mut world);
    healthy(&mut world, 1);
    world.crash(0, true);
    world.run_ms(6000);
    let replica = world.machine(3).expect("alive");
    assert!(!replica.is_replica() && replica.is_ok());
    world.start(0);
    healthy(&mut world, 10_000);
    assert!(world.machine(0).expect("alive").is_replica());
}

#[test]
fn a_minority_serves_nothing() {
    let mut world = ClusterWorld::new(settings(4));
    chaos::create(&mut world);
    for peer in 1..6 {
        world.cuts.insert((0, peer));
        world.cuts.insert((peer, 0));
    }
    world.run_ms(3000);
    assert!(!world.machine(0).expect("alive").is_ok());
    world.run_ms(6000);
    assert!(world.machine(1).expect("alive").is_ok());
    world.cuts.clear();
    healthy(&mut world, 20_000);
}

#[test]
fn a_paused_master_does_not_serve_when_it_wakes() {
    let mut world = ClusterWorld::new(settings(5));
    chaos::create(&mut world);
    world.pause(1);
    world.run_ms(8000);
    assert!(!world.machine(4).expect("alive").is_replica());
    world.resume(1);
    let woken = world.machine(1).expect("alive");
    assert!(woken.is_replica() || !woken.is_ok());
    healthy(&mut world, 20_000);
}

#[test]
fn an_orphaned_master_gets_a_replica() {
    let mut world = ClusterWorld::new(Settings { masters: 3, replicas: 2, ..settings(6) });
    chaos::create(&mut world);
    // Both replicas of the first master die.
    world.crash(3, true);
    world.crash(6, true);
    world.run_ms(20_000);
    let first = world.machine(0).expect("alive");
    let replicas = first.status().iter().filter(|n| n.master == Some(first.myid())).count();
    assert_eq!(replicas, 3, "two dead ones and one that came over: {}", world.log_text());
}

#[test]
fn seeds_of_chaos_are_clean() {
    for seed in 1..=6 {
        let outcome = chaos::run(seed);
        assert!(outcome.violations.is_empty(), "{outcome:#?}");
    }
}
