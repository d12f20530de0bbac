//! A full sync of a gigabyte to a new replica while clients write.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stdx::Prng;

use super::Setting;
use super::probe::Probe;
use super::report::{Bound, Report, Row};
use crate::server::{Program, Server};
use crate::wire::encode;

/// What one sync costs.
struct Figures {
    seconds: f64,
    longest: f64,
    p999: f64,
    longest_before: f64,
    memory_percent: f64,
}

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let keys: u64 = if setting.quick { 100_000 } else { 1_000_000 };
    let mut report = Report::new(
        "sync",
        format!(
            "{keys} keys of 1 KiB; 5000 writes/s over 4 connections, each timed from when it was due; a new replica of the \
             same kind joins. Memory is the master's resident set and what a saving child copies."
        ),
    );
    let redis = measure(&setting.redis, keys)?;
    let ours = measure(&setting.ours, keys)?;
    report.add(Row::new(
        "time until the replica is in sync",
        "s",
        Some(redis.seconds),
        ours.seconds,
    ));
    report.add(
        Row::new("longest client wait during the sync", "ms", Some(redis.longest), ours.longest)
            .within(Bound::AtMost(20.0)),
    );
    report.add(Row::new("p99.9 during the sync", "ms", Some(redis.p999), ours.p999));
    report.add(Row::new(
        "longest client wait before it (noise of the machine)",
        "ms",
        Some(redis.longest_before),
        ours.longest_before,
    ));
    report.add(
        Row::new(
            "extra memory of the master",
            "%",
            Some(redis.memory_percent),
            ours.memory_percent,
        )
        .within(Bound::AtMost(15.0)),
    );
    Ok(report)
}

fn measure(program: &Program, keys: u64) -> Result<Figures> {
    let directives = [("enable-debug-command", "yes"), ("repl-diskless-sync-delay", "0")];
    let master = Server::start(program, &directives)?;
    let mut client = master.client()?;
    client.expect_ok(&["DEBUG", "POPULATE", &keys.to_string(), "key", "1024"])?;
    let writers = || {
        Probe::start(master.port, 4, 5000.0, |number| {
            let mut rng = Prng::new(number as u64);
            let value = "w".repeat(1024);
            move |out: &mut Vec<u8>| {
                let key = format!("key:{}", rng.below(keys));
                encode(&["SET", &key, &value], out);
            }
        })
    };
    let calm = writers()?;
    std::thread::sleep(Duration::from_secs(5));
    let mut before = calm.stop()?;

    let resident = master.memory("VmRSS")?;
    let probe = writers()?;
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    let replica = Server::start(
        program,
        &[("replicaof", &format!("127.0.0.1 {}", master.port)), ("repl-diskless-sync-delay", "0")],
    )?;
    let mut follower = replica.client()?;
    let mut peak = 0;
    loop {
        let copied: u64 = client.info_field("persistence", "current_cow_size")?.parse()?;
        peak = peak.max(master.memory("VmRSS")? + copied);
        if follower.info_field("replication", "master_link_status")? == "up" {
            break;
        }
        if started.elapsed() > Duration::from_secs(300) {
            bail!("no full sync within five minutes:\n{}", replica.log_tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let mut during = probe.stop()?;
    let extra = peak.saturating_sub(resident) as f64;
    Ok(Figures {
        seconds,
        longest: during.max(),
        p999: during.quantile(0.999),
        longest_before: before.max(),
        memory_percent: 100.0 * extra / resident as f64,
    })
}
