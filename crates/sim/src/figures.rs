//! Measurements of plain failovers: how long from the crash to `+odown`, from there to
//! `+switch-master`, and until the last sentinel names the new master.

use crate::world::{World, WorldOptions};

/// Times of one failover in µs.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Crash to the leader's `+odown`.
    pub to_odown: u64,
    /// The leader's `+odown` to its `+switch-master`.
    pub to_switch: u64,
    /// Crash until the last sentinel has switched.
    pub to_all: u64,
    /// Crash until the new master accepts writes.
    pub to_writable: u64,
}

/// Kills the master of a fresh world and measures; nothing when no failover came about.
pub fn plain_failover(options: WorldOptions) -> Option<Times> {
    let sentinels = options.sentinels;
    let wait = options.down_after + 10_000;
    let mut world = World::new(options);
    let warm_up = 4000 + world.prng.below(1000);
    world.run_ms(warm_up);
    let crash = world.now;
    world.crash(0, true);
    let mut writable = None;
    let end = world.now + wait * 1000;
    while world.now < end && world.lines(None, "+switch-master").len() < sentinels {
        world.run_until_us(world.now + 1000);
        if writable.is_none() && (1..world.options.nodes).any(|n| world.is_master(n)) {
            writable = Some(world.now);
        }
    }
    let leader = world.lines(None, "+elected-leader").first()?.sentinel;
    let odown = world.lines(Some(leader), "+odown").first()?.at_us;
    let switch = world.lines(Some(leader), "+switch-master").first()?.at_us;
    let all = world.lines(None, "+switch-master");
    if all.len() < sentinels || !world.violations().is_empty() {
        return None;
    }
    Some(Times {
        to_odown: odown - crash,
        to_switch: switch.saturating_sub(odown),
        to_all: all.iter().map(|e| e.at_us).max()? - crash,
        to_writable: writable? - crash,
    })
}

/// The middle one of some numbers.
pub fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}
