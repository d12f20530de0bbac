//! How many workers serve connections.
//!
//! More workers than cores that are free do harm: requests are answered in smaller batches, and the
//! workers take cores from those who wait for the answers (redis-benchmark and a server with two
//! threads on two cores are 5 to 25 % slower than with one). Nothing that can be read says how
//! many are right, so it is tried: while workers have to wait for cores, half as many get the
//! connections for a moment, and what serves more requests stays. While cores are free all workers
//! serve, and nothing is tried.

/// Time between two looks, ms.
pub const WINDOW_MS: u64 = 100;

/// Windows whose mean is a rate.
const MEAN_OF: usize = 3;
/// Below so many busy cores nothing is judged.
const QUIET_CORES: f64 = 0.3;
/// Share of its time that a thread which wants to run waits for a core, from which on cores are
/// said to be short.
const SHORT_OF_CORES: f64 = 0.15;
/// Busy share of a worker that could use help.
const SATURATED: f64 = 0.9;
/// What a change has to gain to be kept.
const GAIN: f64 = 1.03;
/// A rate that differs by this factor is another load: what was found for the old one is void.
const OTHER_LOAD: f64 = 1.7;
/// Shortest and longest time without a trial after one that gained nothing, ms.
const HOLD_MS: (u64, u64) = (2_000, 60_000);

/// What the workers did since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Requests in a second.
    pub rate: f64,
    /// Cores that they kept busy.
    pub busy: f64,
    /// Share of the time in which they wanted to run and had to wait for a core, 0 to 1.
    pub waited: f64,
}

/// What is being tried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Steady,
    /// Connections are on their way.
    Moving {
        from: usize,
        before: f64,
    },
    /// So many windows have been seen, and their rates' sum.
    Trying {
        from: usize,
        before: f64,
        windows: usize,
        sum: f64,
    },
}

/// Finds how many workers to use.
#[derive(Debug)]
pub struct Balancer {
    workers: usize,
    active: usize,
    phase: Phase,
    recent: Vec<f64>,
    /// Rate of the load that the present number is right for, as far as is known.
    chosen_at: f64,
    hold_until: u64,
    hold_ms: u64,
}

impl Balancer {
    /// For so many workers, all of which serve at first.
    pub fn new(workers: usize) -> Balancer {
        Balancer {
            workers,
            active: workers,
            phase: Phase::Steady,
            recent: Vec::with_capacity(MEAN_OF),
            chosen_at: 0.0,
            hold_until: 0,
            hold_ms: HOLD_MS.0,
        }
    }

    /// Takes in one window that ended at `now` (monotonic ms); returns how many workers are to serve.
    pub fn step(&mut self, now: u64, window: Window) -> usize {
        let quiet = window.busy < QUIET_CORES;
        match self.phase {
            Phase::Steady if quiet => self.recent.clear(),
            Phase::Steady => self.look(now, window),
            Phase::Moving { from, .. } | Phase::Trying { from, .. } if quiet => {
                // The load ended before anything was found out.
                self.active = from;
                self.phase = Phase::Steady;
                self.recent.clear();
            }
            Phase::Moving { from, before } => {
                self.phase = Phase::Trying { from, before, windows: 0, sum: 0.0 };
            }
            Phase::Trying { from, before, windows, sum } => {
                let (windows, sum) = (windows + 1, sum + window.rate);
                self.phase = Phase::Trying { from, before, windows, sum };
                if windows == MEAN_OF {
                    self.judge(now, from, before, sum / windows as f64);
                }
            }
        }
        self.active
    }

    fn look(&mut self, now: u64, window: Window) {
        if window.rate > self.chosen_at * OTHER_LOAD || window.rate * OTHER_LOAD < self.chosen_at {
            self.chosen_at = window.rate;
            self.hold_until = now;
            self.hold_ms = HOLD_MS.0;
            self.recent.clear();
        }
        if self.recent.len() == MEAN_OF {
            self.recent.remove(0);
        }
        self.recent.push(window.rate);
        let rate = self.recent.iter().sum::<f64>() / MEAN_OF as f64;
        if self.recent.len() < MEAN_OF || now < self.hold_until {
            return;
        }
        let to = if self.active > 1 && window.waited > SHORT_OF_CORES {
            self.active / 2
        } else if self.active < self.workers && window.busy > SATURATED * self.active as f64 {
            (self.active * 2).min(self.workers)
        } else {
            return;
        };
        self.phase = Phase::Moving { from: self.active, before: rate };
        self.active = to;
    }

    fn judge(&mut self, now: u64, from: usize, before: f64, after: f64) {
        self.phase = Phase::Steady;
        self.recent.clear();
        if after >= before * GAIN {
            self.chosen_at = after;
            self.hold_ms = HOLD_MS.0;
        } else {
            self.active = from;
            self.chosen_at = before;
        }
        self.hold_until = now + self.hold_ms;
        self.hold_ms = (self.hold_ms * 2).min(HOLD_MS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps through `windows` of a machine; returns how often each number of workers served.
    fn drive(
        balancer: &mut Balancer,
        start: u64,
        windows: u64,
        machine: impl Fn(usize) -> Window,
    ) -> Vec<u64> {
        let mut active = balancer.active;
        let mut seen = vec![0; balancer.workers + 1];
        for at in 0..windows {
            seen[active] += 1;
            active = balancer.step(start + at * WINDOW_MS, machine(active));
        }
        seen
    }

    /// A client that needs a core of its own on a machine with two.
    fn small_batches(active: usize) -> Window {
        match active {
            1 => Window { rate: 130_000.0, busy: 0.95, waited: 0.02 },
            _ => Window { rate: 100_000.0, busy: 1.2, waited: 0.3 },
        }
    }

    /// Large batches: two workers get more done although the client waits for them.
    fn large_batches(active: usize) -> Window {
        match active {
            1 => Window { rate: 900_000.0, busy: 0.98, waited: 0.02 },
            _ => Window { rate: 1_300_000.0, busy: 1.4, waited: 0.25 },
        }
    }

    #[test]
    fn workers_that_are_in_the_way_get_nothing() {
        let mut balancer = Balancer::new(2);
        let seen = drive(&mut balancer, 0, 600, small_batches);
        assert!(seen[1] > 570, "{seen:?}");
    }

    #[test]
    fn workers_that_help_stay() {
        let mut balancer = Balancer::new(2);
        let seen = drive(&mut balancer, 0, 600, large_batches);
        assert!(seen[2] > 570, "{seen:?}");
    }

    #[test]
    fn free_cores_are_used_and_nothing_is_tried() {
        let mut balancer = Balancer::new(8);
        let seen = drive(&mut balancer, 0, 600, |active| Window {
            rate: 100_000.0 * active as f64,
            busy: active as f64,
            waited: 0.01,
        });
        assert_eq!(seen[8], 600);
    }

    #[test]
    fn another_load_is_judged_anew_at_once() {
        let mut balancer = Balancer::new(2);
        drive(&mut balancer, 0, 300, small_batches);
        assert_eq!(balancer.active, 1);
        let seen = drive(&mut balancer, 30_000, 100, large_batches);
        assert!(seen[2] > 80, "{seen:?}");
        let seen = drive(&mut balancer, 40_000, 100, small_batches);
        assert!(seen[1] > 80, "{seen:?}");
    }

    #[test]
    fn a_load_that_ends_during_a_trial_changes_nothing() {
        let mut balancer = Balancer::new(4);
        let mut now = 0;
        while balancer.phase == Phase::Steady {
            balancer.step(now, small_batches(2));
            now += WINDOW_MS;
        }
        assert_eq!(balancer.active, 2);
        assert_eq!(balancer.step(now, Window::default()), 4);
    }

    #[test]
    fn many_workers_go_down_to_what_the_machine_has() {
        let mut balancer = Balancer::new(8);
        drive(&mut balancer, 0, 100, |active| {
            let over = active.saturating_sub(2) as f64;
            Window {
                rate: 300_000.0 - 40_000.0 * over,
                busy: 2.0,
                waited: if over > 0.0 { 0.4 } else { 0.05 },
            }
        });
        assert_eq!(balancer.active, 2);
    }
}
