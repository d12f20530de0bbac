//! Requests per second and server CPU per request.

use anyhow::{Result, bail};

use super::Setting;
use super::load::{Kind, Load, Requests};
use super::report::{Bound, Report, Row, median};
use crate::server::Server;

const KINDS: &[Kind] = &[Kind::Set, Kind::Get, Kind::Incr, Kind::Lpush, Kind::Hset, Kind::Zadd];
const CLIENTS: usize = 50;

/// One server's figures for one kind and pipeline, over the rounds.
#[derive(Default, Clone)]
struct Series {
    per_second: Vec<f64>,
    cpu_micros: Vec<f64>,
}

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let rounds = setting.rounds.unwrap_or(if setting.quick { 1 } else { 3 });
    let (keys, scale) = if setting.quick { (100_000, 10) } else { (1_000_000, 1) };
    let mut servers = vec![Server::start(&setting.redis, &[])?];
    let one: &[(&str, &str)] = if setting.product { &[("threads", "1")] } else { &[] };
    let two: &[(&str, &str)] = if setting.product { &[("threads", "2")] } else { &[] };
    servers.push(Server::start(&setting.ours, one)?);
    servers.push(Server::start(&setting.ours, two)?);
    let pipelines = [(1, 200_000 / scale), (16, 2_000_000 / scale)];
    let mut figures = vec![Series::default(); KINDS.len() * pipelines.len() * servers.len()];
    for round in 0..rounds {
        println!("  round {} of {rounds}", round + 1);
        for server in &servers {
            server.client()?.expect_ok(&["FLUSHALL"])?;
            drive(server, Kind::Fill, keys, 16, keys)?;
        }
        for (pipeline_at, (pipeline, requests)) in pipelines.iter().enumerate() {
            for (kind_at, kind) in KINDS.iter().enumerate() {
                for (server_at, server) in servers.iter().enumerate() {
                    let at = (pipeline_at * KINDS.len() + kind_at) * servers.len() + server_at;
                    let (per_second, cpu) = drive(server, *kind, keys, *pipeline, *requests)?;
                    figures[at].per_second.push(per_second);
                    figures[at].cpu_micros.push(cpu);
                }
            }
        }
    }
    let mut report = Report::new(
        "throughput",
        format!(
            "{CLIENTS} connections, {keys} keys, 64-byte values, client on the same cores; medians of {rounds} \
             interleaved rounds; CPU is the server's own, user and system."
        ),
    );
    for (pipeline_at, (pipeline, _)) in pipelines.iter().enumerate() {
        for (kind_at, kind) in KINDS.iter().enumerate() {
            let at = (pipeline_at * KINDS.len() + kind_at) * servers.len();
            add_rows(&mut report, *kind, *pipeline, &figures[at..at + servers.len()]);
        }
    }
    Ok(report)
}

fn add_rows(report: &mut Report, kind: Kind, pipeline: usize, servers: &[Series]) {
    let [redis, one, two] = servers else { return };
    let name = format!("{}, pipeline {pipeline}", kind.name());
    let plain = matches!(kind, Kind::Get | Kind::Set);
    let (redis_cpu, one_cpu) = (median(&redis.cpu_micros), median(&one.cpu_micros));
    let mut row =
        Row::new(format!("{name}: CPU, threads 1"), "us/request", Some(redis_cpu), one_cpu);
    if plain {
        row = row.ratio(Bound::AtMost(if pipeline == 1 { 0.9 } else { 0.6 }));
    }
    report.add(row);
    let (redis_rate, one_rate, two_rate) =
        (median(&redis.per_second), median(&one.per_second), median(&two.per_second));
    let mut row = Row::new(
        format!("{name}: rate, threads 1"),
        "thousand/s",
        Some(redis_rate / 1e3),
        one_rate / 1e3,
    );
    if plain && pipeline == 16 {
        row = row.ratio(Bound::AtLeast(1.5));
    }
    report.add(row);
    report.add(Row::new(
        format!("{name}: rate, threads 2"),
        "thousand/s",
        Some(redis_rate / 1e3),
        two_rate / 1e3,
    ));
    let gain =
        Row::new(format!("{name}: rate of threads 2 to threads 1"), "x", None, two_rate / one_rate);
    // Two medians of the same thing differ by a few percent on this kind of machine.
    report.add(gain.within(Bound::AtLeast(0.97)));
}

/// One server under load: (requests per second, CPU microseconds per request).
pub fn drive(
    server: &Server,
    kind: Kind,
    keys: u64,
    pipeline: usize,
    requests: u64,
) -> Result<(f64, f64)> {
    let mut source = Requests::new(kind, keys, 64);
    let before = server.cpu_seconds()?;
    let load = Load {
        port: server.port,
        clients: CLIENTS,
        pipeline,
        requests,
        make: &mut |out| source.make(out),
    };
    let outcome = load.run()?;
    let after = server.cpu_seconds()?;
    if outcome.errors > 0 {
        bail!("{} answered {} of {} with an error", server.name, outcome.errors, kind.name());
    }
    let cpu = (after.0 - before.0) + (after.1 - before.1);
    Ok((requests as f64 / outcome.seconds, cpu * 1e6 / requests as f64))
}
