//! Jobs that run from time to time: expiry, growing tables, rates, save points; and the thread that
//! frees big values.

use super::host::Tools;
use super::snapshot::Job;
use crate::io::worker::Shared;
use crate::log::NOTICE;
use crate::os::mpsc::Receiver;
use crate::os::time::{Duration, Instant};
use keyspace::{DbStripe, StripeMask};
use node::{AofState, Node};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use structures::Entry;

/// Values and tables to be freed.
pub type Trash = (Vec<Entry>, Vec<DbStripe>);

/// Frees what it is given, until the process ends.
pub fn free(node: &Node, queue: &Receiver<Trash>) {
    for (entries, tables) in queue {
        let count =
            entries.len() as i64 + tables.iter().map(|table| table.len() as i64).sum::<i64>();
        drop(entries);
        drop(tables);
        node.stats.lazyfree_pending.fetch_sub(count, Relaxed);
        node.stats.lazyfreed.fetch_add(count as u64, Relaxed);
    }
}

/// One round of the cron.
const ROUND: Duration = Duration::from_millis(25);
/// Notes of the expiry index handled under one lock: some tens of microseconds.
const EXPIRE_STEP: usize = 64;
/// Longest time that expiry takes of one round.
const EXPIRE_BUDGET: Duration = Duration::from_millis(6);

/// The same for fields of hashes.
const EXPIRE_FIELDS_BUDGET: Duration = Duration::from_millis(3);

/// Runs until the process ends.
pub fn run(shared: &Arc<Shared>, tools: &Tools) {
    let node = &*shared.node;
    let mut round = 0u64;
    let mut limit = RewriteLimit::default();
    loop {
        crate::os::thread::sleep(ROUND);
        round += 1;
        if node.cron_paused.load(Relaxed) {
            continue;
        }
        if node.active_expire.load(Relaxed)
            && !node.is_replica()
            && !node.persistence.loading.load(Relaxed)
        {
            expire(node);
            expire_fields(node, round as usize);
        }
        tools.aof.watch(node);
        if node.settings.load().config.maxmemory > 0 {
            node.check_memory();
        }
        if round.is_multiple_of(4) {
            node.sample_rates();
            rehash(node);
        }
        if round.is_multiple_of(8) {
            save_points(node, tools);
            rewrites(node, tools, &mut limit);
            node.log.trim();
            tools.note_peak();
        }
    }
}

fn expire(node: &Node) {
    let now = node.host.now().unix();
    if node.paused(now, true) {
        return;
    }
    let begun = Instant::now();
    let mut removed = Vec::new();
    for stripe in 0..node.keyspace.stripes() {
        loop {
            let mut held = node.keyspace.hold(StripeMask(1 << stripe));
            if node.is_replica() || node.paused(now, true) {
                // Since the look above; under the lock it stays so.
                return;
            }
            let data = held.stripe(stripe);
            if !data.has_due(now.0) {
                break;
            }
            let more = data.expire_step(now.0, EXPIRE_STEP, &mut removed);
            // The removals go on the log before anybody else can touch the keys.
            node.log_expired(&removed);
            drop(held);
            node.end_waits_of_removed(&removed);
            node.host.free(removed.drain(..).map(|(_, entry)| entry).collect(), Vec::new());
            if begun.elapsed() > EXPIRE_BUDGET {
                return;
            }
            if !more {
                break;
            }
        }
    }
}

/// Removes fields of hashes whose time has come, beginning with another stripe each time.
fn expire_fields(node: &Node, round: usize) {
    let now = node.host.now().unix();
    if node.paused(now, true) {
        return;
    }
    let begun = Instant::now();
    let stripes = node.keyspace.stripes();
    let mut removed = Vec::new();
    for stripe in (0..stripes).map(|offset| (round + offset) % stripes) {
        loop {
            let mut held = node.keyspace.hold(StripeMask(1 << stripe));
            let data = held.stripe(stripe);
            if !data.has_due_fields(now.0) {
                break;
            }
            let more = data.expire_fields_step(now.0, EXPIRE_STEP, &mut removed);
            // As with keys: on the log before anybody else can touch the hashes.
            node.log_expired_fields(&removed);
            drop(held);
            removed.clear();
            if begun.elapsed() > EXPIRE_FIELDS_BUDGET {
                return;
            }
            if !more {
                break;
            }
        }
    }
}

fn rehash(node: &Node) {
    for stripe in 0..node.keyspace.stripes() {
        node.keyspace.hold(StripeMask(1 << stripe)).stripe(stripe).rehash_step(32);
    }
}

/// Rewrites that fail again and again are tried less and less often.
/// Source: redis 7.0 `aof.c:aofRewriteLimited`.
#[derive(Default)]
struct RewriteLimit {
    /// Minutes to wait, 0 if nothing is the matter.
    minutes: u64,
    until: Option<Instant>,
}

/// Failures after which the waiting begins.
const REWRITE_FAILURES: u64 = 3;
const REWRITE_WAIT_MAX_MINUTES: u64 = 60;

impl RewriteLimit {
    fn is_limited(&mut self, failures: u64) -> bool {
        if failures < REWRITE_FAILURES {
            *self = RewriteLimit::default();
            return false;
        }
        if let Some(until) = self.until {
            if Instant::now() < until {
                return true;
            }
            self.until = None;
            return false;
        }
        self.minutes = (self.minutes * 2).clamp(1, REWRITE_WAIT_MAX_MINUTES);
        self.until = Some(Instant::now() + Duration::from_secs(self.minutes * 60));
        crate::log::write(
            crate::log::WARNING,
            &format!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
                self.minutes
            ),
        );
        true
    }
}

/// Starts a rewrite of the append-only file when one is due.
/// Source: redis 7.0 `server.c:serverCron`.
fn rewrites(node: &Node, tools: &Tools, limit: &mut RewriteLimit) {
    let aof = &node.aof;
    if aof.rewriting.load(Relaxed)
        || node.persistence.bgsave_running.load(Relaxed)
        || node.persistence.loading.load(Relaxed)
    {
        return;
    }
    let failures = aof.rewrite_failures.load(Relaxed);
    let state = aof.state();
    let asked = aof.scheduled.load(Relaxed) || state == AofState::WaitRewrite;
    if asked {
        if !limit.is_limited(failures) {
            tools.start_rewrite();
        }
        return;
    }
    let settings = node.settings.load();
    let config = &settings.config;
    let (size, base) = (aof.current_size.load(Relaxed), aof.base_size.load(Relaxed).max(1));
    if state != AofState::On
        || config.auto_aof_rewrite_percentage == 0
        || size <= config.auto_aof_rewrite_min_size
    {
        return;
    }
    let growth = (u128::from(size) * 100 / u128::from(base)).saturating_sub(100);
    if growth >= u128::from(config.auto_aof_rewrite_percentage) && !limit.is_limited(failures) {
        crate::log::write(
            NOTICE,
            &format!("Starting automatic rewriting of AOF on {growth}% growth"),
        );
        tools.start_rewrite();
    }
}

/// Starts a background save when enough has changed for long enough.
/// Source: redis 7.0 `server.c:serverCron` (a failed save is tried again after 5 s).
fn save_points(node: &Node, tools: &Tools) {
    let state = &node.persistence;
    if state.bgsave_running.load(Relaxed)
        || state.loading.load(Relaxed)
        || node.aof.rewriting.load(Relaxed)
    {
        return;
    }
    let config = node.settings.load_full().config.save.clone();
    let now = node.host.now().unix().secs();
    let since = now - state.last_save.load(Relaxed);
    let dirty = node.dirty_since_save();
    let retry = state.last_bgsave_ok.load(Relaxed) || now - state.bgsave_started.load(Relaxed) > 5;
    let due = config.iter().find(|point| dirty >= point.changes && since > point.secs as i64);
    if let Some(point) = due
        && retry
    {
        crate::log::write(
            NOTICE,
            &format!("{} changes in {} seconds. Saving...", point.changes, point.secs),
        );
        state.bgsave_running.store(true, Relaxed);
        state.bgsave_started.store(now, Relaxed);
        tools.snapshot(Job::Background);
    }
}
