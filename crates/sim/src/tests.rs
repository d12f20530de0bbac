//! Scenarios, told step by step. Times are simulated; each test is one seed and always the same.

use crate::chaos;
use crate::figures::{self, median};
use crate::world::{World, WorldOptions};

fn world(options: WorldOptions) -> World {
    let mut world = World::new(options);
    world.run_ms(4000);
    world
}

fn count(world: &World, event: &str) -> usize {
    world.lines(None, event).len()
}

#[track_caller]
fn no_violations(world: &World) {
    assert_eq!(world.violations(), &[] as &[String], "\n{}", world.log_text());
}

/// All sentinels name this node.
fn all_name(world: &World, node: usize) -> bool {
    let ip = format!("10.0.0.{}", node + 1);
    (0..world.options.sentinels)
        .filter_map(|i| world.status(i))
        .all(|s| s.masters[0].addr.ip_text() == ip)
}

#[track_caller]
fn await_peace(world: &mut World, ms: u64) {
    let done = world.run_until(ms, chaos::agreed);
    assert!(done, "no agreement:\n{}", world.log_text());
    no_violations(world);
}

#[test]
fn discovery_finds_replicas_and_sentinels() {
    let world = world(WorldOptions { sentinels: 5, nodes: 4, quorum: 3, ..Default::default() });
    for i in 0..5 {
        let status = world.status(i).unwrap();
        assert_eq!(status.masters[0].replicas.len(), 3);
        assert_eq!(status.masters[0].peers.len(), 4);
        assert!(world.disk_text(i).contains("sentinel known-sentinel mymaster 10.0.1."));
    }
}

/// The master is killed; with proof of death nobody waits for down-after.
#[test]
fn kill_with_crash_grace() {
    let mut to_writable = Vec::new();
    let mut to_switch = Vec::new();
    for seed in 1..=60 {
        let options = WorldOptions { seed, ..Default::default() };
        let times = figures::plain_failover(options).expect("a failover comes about");
        assert!(times.to_odown >= 200_000, "the grace is waited for: {times:?}");
        to_writable.push(times.to_writable);
        to_switch.push(times.to_switch);
    }
    assert!(median(to_writable.clone()) < 300_000, "{to_writable:?}");
    assert!(median(to_switch) <= 100_000);
    assert!(to_writable.iter().max().unwrap() < &500_000);
}

/// Without it, silence and refusal both take down-after and little more.
#[test]
fn kill_without_crash_grace_takes_down_after() {
    for (down_after, limit) in [(5000, 5_300_000), (500, 700_000), (100, 350_000)] {
        for seed in 1..=20 {
            let options = WorldOptions { seed, down_after, crash_grace: 0, ..Default::default() };
            let times = figures::plain_failover(options).expect("a failover comes about");
            assert!(times.to_writable < limit, "down-after {down_after}: {times:?}");
            assert!(times.to_odown >= down_after * 1000, "not too early: {times:?}");
        }
    }
}

/// The order of the leader's log lines, as tutorials print it.
#[test]
fn the_leaders_log() {
    let mut world = world(WorldOptions::default());
    world.crash(0, true);
    world.run_ms(1000);
    let leader = world.lines(None, "+elected-leader")[0].sentinel;
    let mine: Vec<&str> = world
        .log
        .iter()
        .filter(|e| e.sentinel == leader && e.at_us > 4_000_000)
        .map(|e| e.line.as_str())
        .filter(|l| l.starts_with('+') || l.starts_with('-') || l.contains("voted for"))
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    let expected = [
        "+sdown",
        "+odown",
        "+new-epoch",
        "+try-failover",
        "+vote-for-leader",
        "+elected-leader",
        "+failover-state-select-slave",
        "+selected-slave",
        "+failover-state-send-slaveof-noone",
        "+failover-state-wait-promotion",
        "+promoted-slave",
        "+failover-state-reconf-slaves",
        "+slave-reconf-sent",
        "-odown",
        "+failover-end",
        "+switch-master",
        "+slave",
    ];
    let mut rest = mine.iter();
    for event in expected {
        assert!(rest.any(|e| *e == event), "{event} is missing or out of order in {mine:#?}");
    }
    no_violations(&world);
}

/// The old master comes back and is told within a second.
#[test]
fn old_master_returns_as_replica() {
    for seed in 1..=20 {
        let mut world = world(WorldOptions { seed, ..Default::default() });
        world.crash(0, true);
        world.run_ms(5000);
        world.restart(0, true);
        let back = world.now;
        let told = world.run_until(10_000, |w| w.follows(0).is_some());
        assert!(told, "{}", world.log_text());
        assert!(world.now - back <= 1_000_000, "told after {} µs", world.now - back);
        assert!(count(&world, "+convert-to-slave") >= 1);
        await_peace(&mut world, 5000);
    }
}

/// Three masters are killed in turn, each comes back.
#[test]
fn three_rotations() {
    let mut world = world(WorldOptions::default());
    for round in 1..=3 {
        let master = (0..3).find(|n| world.is_master(*n)).unwrap();
        world.crash(master, true);
        assert!(world.run_until(2000, |w| !all_name(w, master)));
        world.run_ms(2000);
        world.restart(master, true);
        await_peace(&mut world, 10_000);
        assert_eq!(world.switches, round);
    }
}

/// down-after 100 makes exactly one failover, not a storm.
#[test]
fn down_after_100_makes_one_failover() {
    for seed in 1..=20 {
        for grace in [0, 200] {
            let mut world = world(WorldOptions {
                seed,
                down_after: 100,
                crash_grace: grace,
                ..Default::default()
            });
            world.crash(0, true);
            world.run_ms(20_000);
            assert_eq!(world.switches, 1, "seed {seed}:\n{}", world.log_text());
            assert_eq!(world.elections(), 1, "seed {seed}:\n{}", world.log_text());
            no_violations(&world);
        }
    }
}

/// The leader dies right after its election, before it has done anything.
#[test]
fn leader_killed_after_election() {
    leader_killed("crash-after-election");
}

/// The leader dies when it has seen the promotion, before it could tell anybody.
#[test]
fn leader_killed_after_promotion() {
    leader_killed("crash-after-promotion");
}

fn leader_killed(when: &str) {
    for grace in [200, 0] {
        let mut outages = Vec::new();
        for seed in 1..=20 {
            let mut world = world(WorldOptions {
                seed,
                down_after: 1000,
                crash_grace: grace,
                ..Default::default()
            });
            for i in 0..3 {
                assert_eq!(world.command(i, &["SENTINEL", "SIMULATE-FAILURE", when]), "+OK\r\n");
            }
            let crashed = world.now;
            world.crash(0, true);
            // Only the first leader shall die.
            let died = world.run_until(10_000, |w| (0..3).any(|i| w.status(i).is_none()));
            assert!(died, "{}", world.log_text());
            for i in 0..3 {
                if world.status(i).is_some() {
                    // An unknown word leaves the flags as they were; HELP is no flag either.
                    world.clear_simulated_failure(i);
                }
            }
            let done = world.run_until(30_000, |w| {
                (0..3).filter_map(|i| w.status(i)).all(|s| {
                    s.masters[0].addr.ip_text() != "10.0.0.1"
                        && s.masters[0].failover_state == "none"
                })
            });
            assert!(done, "seed {seed}:\n{}", world.log_text());
            outages.push((world.now - crashed) / 1000);
            let masters: Vec<_> = (0..3).filter(|n| world.is_master(*n)).collect();
            assert_eq!(masters.len(), 1, "one new master:\n{}", world.log_text());
            no_violations(&world);
        }
        let plain = if grace > 0 { 260 } else { 1060 };
        let middle = median(outages.clone());
        assert!(middle <= 2 * plain, "{when}, grace {grace}: {middle} ms, {outages:?}");
    }
}

/// A stopped master is silent: down-after, then a failover; when it goes on it becomes a replica.
#[test]
fn sigstop_and_sigcont_of_the_master() {
    for seed in 1..=10 {
        let mut world = world(WorldOptions { seed, down_after: 1000, ..Default::default() });
        world.pause(0);
        world.run_ms(800);
        assert_eq!(count(&world, "+sdown"), 0, "silence takes down-after");
        assert!(
            world.run_until(3000, |w| !all_name(w, 0) && w.switches == 1),
            "{}",
            world.log_text()
        );
        world.run_ms(20_000);
        world.resume(0);
        let back = world.now;
        assert!(world.run_until(10_000, |w| w.follows(0).is_some()), "{}", world.log_text());
        assert!(world.now - back <= 1_000_000, "told after {} µs", world.now - back);
        await_peace(&mut world, 10_000);
        assert_eq!(world.switches, 1);
    }
}

/// A sentinel's container is paused: it judges nobody by what it missed.
#[test]
fn paused_sentinels_make_no_failover() {
    for seed in 1..=10 {
        for pause_ms in [60, 120, 600, 1500, 5000] {
            let options = WorldOptions { seed, down_after: 100, quorum: 1, ..Default::default() };
            let mut world = world(options);
            for i in 0..3 {
                world.pause(world.sentinel_host(i));
            }
            world.run_ms(pause_ms);
            for i in 0..3 {
                world.resume(world.sentinel_host(i));
            }
            world.run_ms(5000);
            assert_eq!(count(&world, "+sdown"), 0, "pause {pause_ms}:\n{}", world.log_text());
            assert_eq!(count(&world, "+tilt"), if pause_ms > 2000 { 3 } else { 0 });
            no_violations(&world);
        }
    }
}

/// A supervisor restarts the master within the grace: it is left alone.
#[test]
fn restart_within_the_grace_is_left_alone() {
    for seed in 1..=20 {
        for after_ms in [10, 60, 150] {
            let mut world = world(WorldOptions { seed, ..Default::default() });
            world.crash(0, true);
            world.run_ms(after_ms);
            world.restart(0, true);
            world.run_ms(10_000);
            assert_eq!(count(&world, "+sdown"), 0, "{after_ms} ms:\n{}", world.log_text());
            assert_eq!(world.switches, 0);
            assert_eq!(count(&world, "+reboot"), 3);
        }
    }
}

/// Proof of death needs the other side's word: a host that vanishes silently takes down-after.
#[test]
fn silent_death_takes_down_after() {
    let mut world = world(WorldOptions { down_after: 3000, ..Default::default() });
    world.crash(0, false);
    world.run_ms(2900);
    assert_eq!(count(&world, "+sdown"), 0);
    assert!(world.run_until(2000, |w| w.switches == 1), "{}", world.log_text());
    no_violations(&world);
}

/// A quorum must have seen it: one sentinel's cut connections prove nothing.
#[test]
fn one_sentinels_loss_is_no_failover() {
    let mut world = world(WorldOptions { down_after: 1000, ..Default::default() });
    let host = world.sentinel_host(0);
    world.cut_both(host, 0);
    world.run_ms(10_000);
    assert_eq!(world.lines(Some(0), "+sdown").len(), 1);
    assert_eq!(count(&world, "+odown"), 0);
    assert_eq!(world.switches, 0);
    world.heal_all();
    await_peace(&mut world, 5000);
}

/// The master is cut off together with one sentinel. The others fail over; after healing the old
/// master follows, and the lonely sentinel demotes nobody.
#[test]
fn partition_with_one_sentinel() {
    for seed in 1..=10 {
        let mut world = world(WorldOptions { seed, down_after: 1000, ..Default::default() });
        let inside = [0, world.sentinel_host(0)];
        let outside = [1, 2, world.sentinel_host(1), world.sentinel_host(2)];
        for a in inside {
            for b in outside {
                world.cut_both(a, b);
            }
        }
        world.run_ms(10_000);
        assert_eq!(world.switches, 1, "{}", world.log_text());
        assert!(world.is_master(0), "nobody can tell it yet");
        world.heal_all();
        let healed = world.now;
        assert!(world.run_until(10_000, |w| w.follows(0).is_some()), "{}", world.log_text());
        assert!(world.now - healed <= 1_000_000, "told after {} µs", world.now - healed);
        await_peace(&mut world, 20_000);
        world.run_ms(20_000);
        assert_eq!(world.switches, 1, "no second failover:\n{}", world.log_text());
        assert!(world.demotions.is_empty(), "{}", world.log_text());
        no_violations(&world);
    }
}

/// A minority cannot elect anybody, however long it tries, and does not run epochs up meanwhile.
#[test]
fn a_minority_elects_nobody() {
    let mut world = world(WorldOptions { down_after: 1000, quorum: 1, ..Default::default() });
    let lonely = world.sentinel_host(2);
    for host in [0, world.sentinel_host(0), world.sentinel_host(1)] {
        world.cut_both(lonely, host);
    }
    world.run_ms(120_000);
    assert_eq!(world.switches, 0);
    assert_eq!(world.elections(), 0);
    let epoch = world.status(2).unwrap().current_epoch;
    assert!(epoch <= 7, "one try per two failover time-outs: {epoch}");
    world.heal_all();
    await_peace(&mut world, 60_000);
}

/// Sentinels start from files of different ages: the newest configuration wins.
#[test]
fn mixed_config_epochs() {
    let base = |master: u8, epoch: u64| {
        format!(
            "port 26379\nsentinel monitor mymaster 10.0.0.{master} 6379 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 10000\n\
             sentinel config-epoch mymaster {epoch}\nsentinel leader-epoch mymaster {epoch}\n\
             sentinel current-epoch {epoch}\n\
             sentinel known-replica mymaster 10.0.0.{} 6379\n",
            if master == 1 { 2 } else { 1 }
        )
    };
    for seed in 1..=10 {
        let confs = vec![base(1, 5), base(2, 9), base(2, 3)];
        let options = WorldOptions { seed, down_after: 1000, ..Default::default() };
        let mut world = World::with_confs(options, confs);
        // Node 0 is the master by its own file; the newest configuration says node 1.
        await_peace(&mut world, 90_000);
        for i in 0..3 {
            let status = world.status(i).unwrap();
            assert!(status.current_epoch >= 9);
            assert!(status.masters[0].config_epoch >= 9);
        }
    }
}

/// A disk that hangs holds the vote back; nothing is promised that could be forgotten.
#[test]
fn a_vote_that_is_not_on_disk_does_not_count() {
    let mut world = world(WorldOptions::default());
    world.stall_disk(0, 6000);
    world.stall_disk(1, 6000);
    world.stall_disk(2, 6000);
    world.crash(0, true);
    world.run_ms(5000);
    assert!(count(&world, "+try-failover") > 0, "they try");
    assert_eq!(world.elections(), 0, "nobody's vote may count:\n{}", world.log_text());
    assert!(world.run_until(20_000, |w| w.switches == 1), "{}", world.log_text());
    no_violations(&world);
}

/// One voter's disk hangs: the others are enough.
#[test]
fn one_stalled_disk_does_not_stop_the_election() {
    for stalled in 0..3 {
        let mut world = world(WorldOptions::default());
        world.stall_disk(stalled, 20_000);
        world.crash(0, true);
        assert!(world.run_until(3000, |w| w.switches == 1), "{}", world.log_text());
        no_violations(&world);
    }
}

/// Disks that take longer than a vote is usually waited for only make the election longer.
#[test]
fn slow_disks_do_not_stop_the_election() {
    for seed in 1..=5 {
        let disk_us = (250_000, 350_000);
        let mut world = world(WorldOptions { seed, disk_us, ..Default::default() });
        world.crash(0, true);
        assert!(world.run_until(5000, |w| w.switches == 1), "{}", world.log_text());
        no_violations(&world);
    }
}

/// A sentinel that lost its disk gives no vote for ten seconds after it has met the others.
#[test]
fn a_stateless_sentinel_does_not_vote_at_first() {
    let mut world = world(WorldOptions::default());
    let host = world.sentinel_host(2);
    world.crash(host, true);
    world.run_ms(200);
    world.restart(host, false);
    world.run_ms(500);
    assert!(world.status(2).unwrap().muted);
    assert!(world.disk_text(2).contains("# Started without state"), "{}", world.disk_text(2));
    world.crash(0, true);
    world.run_ms(3000);
    let voted = world.lines(Some(2), "+vote-for-leader");
    assert!(voted.is_empty(), "{voted:?}");
    // The other two are a majority of three.
    assert_eq!(world.switches, 1, "{}", world.log_text());
    world.run_ms(10_000);
    assert!(!world.status(2).unwrap().muted);
    no_violations(&world);
}

/// The best replica is chosen: priority, then the live offset, then the run id.
#[test]
fn the_best_replica_is_chosen() {
    for seed in 1..=20 {
        let options = WorldOptions {
            seed,
            nodes: 4,
            priorities: vec![100, 100, 100, 0],
            ..Default::default()
        };
        let mut world = world(options);
        world.crash(0, true);
        // What the sentinels last heard of the offsets is older than this.
        world.set_offset(1, 5_000_000 + seed as i64);
        world.set_offset(2, 5_000_000);
        assert!(world.run_until(3000, |w| w.switches == 1));
        assert!(world.is_master(1), "seed {seed}:\n{}", world.log_text());
        no_violations(&world);
    }
}

/// SENTINEL FAILOVER of a healthy master: the old one follows at once, and nobody is demoted twice.
#[test]
fn forced_failover() {
    for seed in 1..=20 {
        let mut world = world(WorldOptions { seed, ..Default::default() });
        assert_eq!(world.command(1, &["SENTINEL", "FAILOVER", "mymaster"]), "+OK\r\n");
        assert!(world.run_until(2000, |w| w.switches == 1), "{}", world.log_text());
        await_peace(&mut world, 3000);
        world.run_ms(20_000);
        assert_eq!(world.switches, 1, "{}", world.log_text());
        assert!(world.demotions.is_empty(), "{}", world.log_text());
        assert_eq!(count(&world, "+try-failover"), 1);
        no_violations(&world);
    }
}

/// Masters fall in a cascade, and the first one is back, still calling itself master, when the
/// second one dies: it is not taken for a promoted replica, whose data would be newer.
#[test]
fn an_old_master_is_not_mistaken_for_a_promoted_replica() {
    for seed in 1..=20 {
        let mut world = world(WorldOptions { seed, nodes: 3, ..Default::default() });
        world.crash(0, true);
        assert!(world.run_until(2000, |w| w.switches == 1 && forgotten(w, 0)));
        world.run_ms(3000);
        let second = (1..3).find(|n| world.is_master(*n)).unwrap();
        let third = 3 - second;
        // Nobody can tell the old master anything for the moment.
        world.crash(second, true);
        world.run_ms(150);
        world.restart(0, true);
        assert!(world.run_until(3000, |w| w.switches == 2), "seed {seed}:\n{}", world.log_text());
        assert!(world.is_master(third), "seed {seed}:\n{}", world.log_text());
        no_violations(&world);
    }
}

/// No sentinel names this node any more.
fn forgotten(world: &World, node: usize) -> bool {
    !all_name(world, node)
}

/// Each sentinel is restarted in the middle of a failover, with its disk.
#[test]
fn sentinels_restarted_in_mid_failover() {
    for seed in 1..=20 {
        for (index, after_us) in [(0, 201_000), (1, 204_000), (2, 206_000), (0, 230_000)] {
            let mut world = world(WorldOptions { seed, ..Default::default() });
            world.crash(0, true);
            world.run_until_us(world.now + after_us);
            let host = world.sentinel_host(index);
            world.crash(host, true);
            world.run_ms(50);
            world.restart(host, true);
            let done = world.run_until(15_000, |w| forgotten(w, 0));
            assert!(done, "seed {seed}:\n{}", world.log_text());
            world.restart(0, true);
            await_peace(&mut world, 20_000);
        }
    }
}

/// A leader that was stopped between its election and `SLAVEOF NO ONE` finds a successor's work and
/// leaves it alone.
#[test]
fn a_stopped_leader_does_not_go_on() {
    for seed in 1..=10 {
        let mut world = world(WorldOptions { seed, down_after: 1000, ..Default::default() });
        world.crash(0, true);
        assert!(world.run_until(3000, |w| w.elections() == 1));
        let leader = world.lines(None, "+elected-leader")[0].sentinel;
        let host = world.sentinel_host(leader);
        world.pause(host);
        assert!(world.run_until(10_000, |w| w.switches >= 1), "{}", world.log_text());
        let chosen = (1..3).find(|n| world.is_master(*n)).unwrap();
        world.resume(host);
        world.run_ms(3000);
        let masters: Vec<_> = (1..3).filter(|n| world.is_master(*n)).collect();
        assert_eq!(masters, [chosen], "seed {seed}:\n{}", world.log_text());
        no_violations(&world);
    }
}

/// A wall clock that jumps changes nothing.
#[test]
fn clock_jumps_change_nothing() {
    let mut world = world(WorldOptions { down_after: 100, quorum: 1, ..Default::default() });
    for (i, ms) in [(0, 3_600_000), (1, -3_600_000), (2, 5000)] {
        world.jump_clock(i, ms);
    }
    world.run_ms(5000);
    assert_eq!(count(&world, "+tilt") + count(&world, "+sdown"), 0);
}

/// A handful of random seeds; the `sim` program runs as many as there is time for.
#[test]
fn some_seeds() {
    for seed in 1..=25 {
        let outcome = chaos::run(seed);
        assert_eq!(
            outcome.violations,
            Vec::<String>::new(),
            "replay: cargo run --release -p sim --bin sim -- --seed {seed} --log"
        );
    }
}

/// The same seed gives the same history.
#[test]
fn seeds_replay() {
    let (_, a) = chaos::run_world(7);
    let (_, b) = chaos::run_world(7);
    assert_eq!(a.log_text(), b.log_text());
}

/// A planned switch that the master asks for: no suspicion, one election, and the replica that takes
/// over has everything.
#[test]
fn a_master_that_asks_is_replaced() {
    for seed in 1..=20 {
        let mut world = world(WorldOptions { seed, ..Default::default() });
        world.ask_to_lead(0, seed as usize % 3);
        assert!(world.run_until(2000, |w| w.switches == 1), "{}", world.log_text());
        await_peace(&mut world, 3000);
        world.run_ms(20_000);
        assert_eq!((world.switches, world.elections()), (1, 1), "{}", world.log_text());
        assert!(world.demotions.is_empty(), "{}", world.log_text());
        assert_eq!(count(&world, "+odown") + count(&world, "+sdown"), 0, "{}", world.log_text());
        no_violations(&world);
    }
}

/// The leader dies, at any moment of a planned switch: the others find out whatever has come of it.
#[test]
fn the_leader_of_a_planned_switch_dies() {
    for seed in 1..=60 {
        let options = WorldOptions { seed, down_after: 1000, ..Default::default() };
        let mut world = world(options);
        world.ask_to_lead(0, 1);
        world.run_until_us(world.now + seed * 500);
        let host = world.sentinel_host(1);
        world.crash(host, true);
        world.run_ms(10_000);
        world.restart(host, true);
        await_peace(&mut world, 20_000);
        no_violations(&world);
    }
}

/// Without a majority nothing is begun: the master is never told to hand over.
#[test]
fn a_planned_switch_wants_a_majority() {
    for seed in 1..=20 {
        let mut world = world(WorldOptions { seed, ..Default::default() });
        for index in 1..3 {
            let host = world.sentinel_host(index);
            world.crash(host, true);
        }
        world.ask_to_lead(0, 0);
        world.run_ms(5000);
        assert!(world.is_master(0) && world.switches == 0, "{}", world.log_text());
        assert_eq!(count(&world, "+failover-state-send-failover"), 0, "{}", world.log_text());
        no_violations(&world);
    }
}
