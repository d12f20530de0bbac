//! What durability costs: waits and memory while data goes to disk or to a replica, how fast it goes and comes back, and
//! the rate that an append-only file leaves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stdx::Prng;

use super::Setting;
use super::load::Kind;
use super::probe::{Latencies, Probe};
use super::report::{Bound, Report, Row, median};
use super::throughput::drive;
use crate::server::{Program, Server};
use crate::wire::{Client, encode};

const VALUE_BYTES: u64 = 1024;
/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What runs while a client asks 2000 times a second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Nothing: what the machine itself adds.
    Idle,
    Save,
    Rewrite,
    Sync,
}

const EVENTS: &[(Event, &str)] = &[
    (Event::Idle, "idle"),
    (Event::Save, "BGSAVE"),
    (Event::Rewrite, "AOF rewrite"),
    (Event::Sync, "full sync"),
];

/// What came of one event.
struct Seen {
    latencies: Latencies,
    seconds: f64,
    memory_percent: f64,
}

/// One server's figures.
struct Figures {
    events: Vec<Seen>,
    load_seconds: f64,
}

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let mib = setting.size.unwrap_or(if setting.quick { 64 } else { 2048 });
    let keys = mib * 1024 * 1024 / VALUE_BYTES;
    let mut report = Report::new(
        "durability",
        format!(
            "{keys} keys of 1 KiB; one client asks 2000 times a second, half of it writes, each request timed from when it was \
             due. Memory is the resident set and what a saving child copies. Then 50 clients SET 64 bytes with and without an \
             append-only file, in interleaved rounds."
        ),
    );
    let mut redis = measure(&setting.redis, keys)?;
    let mut ours = measure(&setting.ours, keys)?;
    for (at, (event, name)) in EVENTS.iter().enumerate() {
        add_event(&mut report, *event, name, &mut redis.events[at], &mut ours.events[at]);
    }
    let rate = |seconds: f64| mib as f64 / seconds;
    for (at, (event, name)) in EVENTS.iter().enumerate() {
        let (redis, ours) = (&redis.events[at], &ours.events[at]);
        let what = format!("{name}: rate");
        let row = Row::new(what, "MiB/s", Some(rate(redis.seconds)), rate(ours.seconds));
        match event {
            Event::Idle => {}
            Event::Sync => report.add(row.ratio(Bound::AtLeast(1.5))),
            Event::Save | Event::Rewrite => report.add(row),
        }
    }
    let loaded = |seconds: f64| keys as f64 / seconds / 1e3;
    report.add(
        Row::new(
            "start with the RDB: rate",
            "thousand keys/s",
            Some(loaded(redis.load_seconds)),
            loaded(ours.load_seconds),
        )
        .ratio(Bound::AtLeast(2.0)),
    );
    throughput(setting, &mut report)?;
    Ok(report)
}

fn add_event(report: &mut Report, event: Event, name: &str, redis: &mut Seen, ours: &mut Seen) {
    for (share, label) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "longest wait")] {
        let (theirs, our) = (redis.latencies.quantile(share), ours.latencies.quantile(share));
        let mut row = Row::new(format!("{name}: {label}"), "ms", Some(theirs), our);
        if event != Event::Idle && label == "p99.9" {
            row = row.within(Bound::AtMost(5.0));
        }
        report.add(row);
    }
    let (theirs, our) = (redis.memory_percent, ours.memory_percent);
    let row = Row::new(format!("{name}: extra memory"), "%", Some(theirs), our);
    report.add(if event == Event::Idle { row } else { row.within(Bound::AtMost(10.0)) });
}

fn measure(program: &Program, keys: u64) -> Result<Figures> {
    let directives = [
        ("enable-debug-command", "yes"),
        ("repl-diskless-sync-delay", "0"),
        ("appendonly", "yes"),
        ("auto-aof-rewrite-percentage", "0"),
    ];
    let server = Server::start(program, &directives)?;
    let mut client = Client::connect(server.port, PATIENCE)?;
    client.expect_ok(&["DEBUG", "POPULATE", &keys.to_string(), "key", "1024"])?;
    let mut events = Vec::new();
    for (event, name) in EVENTS {
        println!("  {}: {name}", server.name);
        events.push(under_probe(program, &server, &mut client, *event, keys)?);
    }
    let dir = client.expect_ok(&["CONFIG", "GET", "dir"])?;
    let dir = match &dir {
        crate::wire::Value::Array(words) => words.get(1).and_then(|word| word.bytes()),
        _ => None,
    };
    let dir = String::from_utf8_lossy(dir.context("CONFIG GET dir")?).into_owned();
    let begun = Instant::now();
    let reader = Server::start(program, &[("dir", &dir)])?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let size = reader.client()?.expect_ok(&["DBSIZE"])?;
    if size != crate::wire::Value::Int(keys as i64) {
        bail!("{} has loaded {size:?} of {keys} keys", reader.name);
    }
    Ok(Figures { events, load_seconds })
}

/// Lets something happen while a client asks.
fn under_probe(
    program: &Program,
    server: &Server,
    client: &mut Client,
    event: Event,
    keys: u64,
) -> Result<Seen> {
    let resident = server.memory("VmRSS")?;
    let probe = Probe::start(server.port, 1, 2000.0, |number| {
        let mut rng = Prng::new(number as u64 + 1);
        let value = "w".repeat(VALUE_BYTES as usize);
        move |out: &mut Vec<u8>| {
            let key = format!("key:{}", rng.below(keys));
            if rng.below(2) == 0 {
                encode(&["SET", &key, &value], out);
            } else {
                encode(&["GET", &key], out);
            }
        }
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    let mut follower = match event {
        Event::Idle => None,
        Event::Save => client.expect_ok(&["BGSAVE"]).map(|_| None)?,
        Event::Rewrite => client.expect_ok(&["BGREWRITEAOF"]).map(|_| None)?,
        Event::Sync => {
            let master = format!("127.0.0.1 {}", server.port);
            let replica = Server::start(program, &[("replicaof", &master)])?;
            let client = replica.client()?;
            Some((replica, client))
        }
    };
    let mut peak = 0;
    loop {
        let done = match (event, &mut follower) {
            (Event::Sync, Some((_, follower))) => {
                follower.info_field("replication", "master_link_status")? == "up"
            }
            (Event::Save, _) => client.info_field("persistence", "rdb_bgsave_in_progress")? == "0",
            (Event::Rewrite, _) => {
                client.info_field("persistence", "aof_rewrite_in_progress")? == "0"
            }
            _ => begun.elapsed() > Duration::from_secs(5),
        };
        let copied: u64 = client.info_field("persistence", "current_cow_size")?.parse()?;
        peak = peak.max(server.memory("VmRSS")? + copied);
        if done {
            break;
        }
        if begun.elapsed() > PATIENCE {
            bail!("{} has not ended after ten minutes:\n{}", server.name, server.log_tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = begun.elapsed().as_secs_f64();
    if event == Event::Rewrite {
        let status = client.info_field("persistence", "aof_last_bgrewrite_status")?;
        if status != "ok" {
            bail!("{} could not rewrite:\n{}", server.name, server.log_tail());
        }
    }
    // Too short an event has no p99.9.
    std::thread::sleep(Duration::from_millis(500));
    let memory_percent = 100.0 * peak.saturating_sub(resident) as f64 / resident as f64;
    Ok(Seen { latencies: probe.stop()?, seconds, memory_percent })
}

/// Directives of one way to keep a file, what reports call it, and the share of the rate that it has to leave at pipeline 1
/// and 16.
type Policy = (&'static [(&'static str, &'static str)], &'static str, [f64; 2]);

const POLICIES: &[Policy] = &[
    (&[], "no file", [1.0, 1.0]),
    (&[("appendonly", "yes"), ("appendfsync", "everysec")], "everysec", [0.95, 0.95]),
    (&[("appendonly", "yes"), ("appendfsync", "always")], "always", [0.7, 0.8]),
];

fn throughput(setting: &Setting, report: &mut Report) -> Result<()> {
    let rounds = setting.rounds.unwrap_or(if setting.quick { 1 } else { 3 });
    let (keys, scale) = if setting.quick { (100_000, 10) } else { (1_000_000, 1) };
    let pipelines = [(1, 200_000 / scale), (16, 2_000_000 / scale)];
    let mut servers = Vec::new();
    for (directives, ..) in POLICIES {
        let quiet = [*directives, &[("auto-aof-rewrite-percentage", "0")]].concat();
        servers
            .push([Server::start(&setting.redis, &quiet)?, Server::start(&setting.ours, &quiet)?]);
    }
    for (pipeline_at, (pipeline, requests)) in pipelines.iter().enumerate() {
        let mut rates = vec![[Vec::new(), Vec::new()]; servers.len()];
        for _ in 0..rounds {
            for (pair, rates) in servers.iter().zip(&mut rates) {
                for (server, rates) in pair.iter().zip(rates) {
                    rates.push(drive(server, Kind::Set, keys, *pipeline, *requests)?.0);
                }
            }
        }
        let plain = [median(&rates[0][0]), median(&rates[0][1])];
        for ((_, name, least), rates) in POLICIES.iter().zip(&rates) {
            let (redis, ours) = (median(&rates[0]), median(&rates[1]));
            let what = format!("SET, pipeline {pipeline}, {name}");
            let row = Row::new(what.clone(), "thousand/s", Some(redis / 1e3), ours / 1e3);
            report.add(row);
            if least[pipeline_at] < 1.0 {
                let (redis, ours) = (redis / plain[0], ours / plain[1]);
                let row = Row::new(format!("{what}: share of the rate"), "x", Some(redis), ours);
                report.add(row.within(Bound::AtLeast(least[pipeline_at])));
            }
        }
    }
    Ok(())
}
