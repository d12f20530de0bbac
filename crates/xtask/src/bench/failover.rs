//! Failover times: a writer's outage, beside a trio of real redis-sentinels.
//!
//! The scenes are played by Python (`tests/e2e/bench_failover.py`), for the writer is redis-py's; this file asks for them and
//! holds the figures against the bounds.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Setting;
use super::report::{Bound, Report, Row, median};
use crate::{e2e, paths};

/// A scene: its name in the script, what it shows, the bound on the median outage in seconds, runs against Redis.
struct Scene {
    name: &'static str,
    what: &'static str,
    bound: Option<f64>,
    redis_runs: usize,
}

const SCENES: &[Scene] = &[
    Scene {
        name: "stop-5000",
        what: "SIGTERM, the planned switch, down-after 5000",
        bound: Some(0.05),
        redis_runs: 2,
    },
    Scene {
        name: "kill-5000",
        what: "kill -9, down-after 5000, crash-grace on",
        bound: Some(0.5),
        redis_runs: 5,
    },
    Scene {
        name: "kill-500",
        what: "kill -9, down-after 500, crash-grace on",
        bound: Some(0.5),
        redis_runs: 0,
    },
    Scene {
        name: "kill-100",
        what: "kill -9, down-after 100, crash-grace on",
        bound: Some(0.5),
        redis_runs: 0,
    },
    Scene {
        name: "grace0-5000",
        what: "kill -9, down-after 5000, crash-grace 0",
        bound: Some(5.3),
        redis_runs: 0,
    },
    Scene {
        name: "grace0-500",
        what: "kill -9, down-after 500, crash-grace 0",
        bound: Some(0.7),
        redis_runs: 5,
    },
    Scene {
        name: "grace0-100",
        what: "kill -9, down-after 100, crash-grace 0",
        bound: Some(0.35),
        redis_runs: 5,
    },
    Scene {
        name: "leader-killed",
        what: "leader sentinel killed in mid-failover, down-after 5000, crash-grace on",
        bound: None,
        redis_runs: 2,
    },
    Scene {
        name: "leader-killed-grace0",
        what: "leader sentinel killed in mid-failover, down-after 5000, crash-grace 0",
        bound: None,
        redis_runs: 0,
    },
];

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let runs = setting.rounds.unwrap_or(if setting.quick { 2 } else { 20 });
    let mut report = Report::new(
        "failover",
        format!(
            "Three sentinels, a master and two replicas, a redis-py writer (200/s, retry every 50 ms); medians of {runs} runs \
             (Redis: 1 to 5). Outage is the longest time between two acknowledged writes."
        ),
    );
    // Plain outages at down-after 5000, with crash-grace and without.
    let (mut plain, mut plain_grace0) = (f64::NAN, f64::NAN);
    for scene in SCENES {
        let redis = match scene.redis_runs.min(runs) {
            0 => None,
            count => Some(play("redis", scene.name, count)?),
        };
        let ours = play(if setting.product { "redoubt" } else { "redis" }, scene.name, runs)?;
        let middle = |outcome: &Outcome| median(&outcome.outages);
        let outage = middle(&ours);
        let mut row =
            Row::new(format!("{}: outage", scene.what), "s", redis.as_ref().map(middle), outage);
        // With the leader killed, at most twice the plain outage under the same settings.
        row.bound = match scene.name {
            "leader-killed" => Some(Bound::AtMost(2.0 * plain)),
            "leader-killed-grace0" => Some(Bound::AtMost(2.0 * plain_grace0)),
            _ => scene.bound.map(Bound::AtMost),
        };
        match scene.name {
            "kill-5000" => plain = outage,
            "grace0-5000" => plain_grace0 = outage,
            _ => {}
        }
        report.add(row);
        let worst = |outcome: &Outcome| outcome.outages.iter().copied().fold(f64::NAN, f64::max);
        let redis_worst = redis.as_ref().map(worst);
        report.add(Row::new(
            format!("{}: longest outage", scene.what),
            "s",
            redis_worst,
            worst(&ours),
        ));
        let most = |outcome: &Outcome| outcome.failovers.iter().copied().fold(f64::NAN, f64::max);
        let mut row = Row::new(
            format!("{}: most failovers in a run", scene.what),
            "",
            redis.as_ref().map(most),
            most(&ours),
        );
        if !scene.name.starts_with("leader-killed") {
            row = row.within(Bound::AtMost(1.0));
        }
        report.add(row);
        let back = |outcome: &Outcome| median(&outcome.returns);
        report.add(
            Row::new(
                format!("{}: old master told to be a replica", scene.what),
                "s",
                redis.as_ref().map(back),
                back(&ours),
            )
            .within(Bound::AtMost(1.0)),
        );
        if scene.name == "kill-5000" {
            let switch = |outcome: &Outcome| median(&outcome.switches);
            report.add(
                Row::new(
                    "+odown to +switch-master",
                    "s",
                    redis.as_ref().map(switch),
                    switch(&ours),
                )
                .within(Bound::AtMost(0.1)),
            );
        }
    }
    Ok(report)
}

struct Outcome {
    outages: Vec<f64>,
    failovers: Vec<f64>,
    returns: Vec<f64>,
    switches: Vec<f64>,
}

fn play(kind: &str, scene: &str, runs: usize) -> Result<Outcome> {
    let python = e2e::python_environment()?;
    let mut command = Command::new(python);
    command.arg("bench_failover.py").args([kind, scene, &runs.to_string()]);
    command.current_dir(paths::root().join("tests/e2e")).env("PYTHONDONTWRITEBYTECODE", "1");
    e2e::product_environment(&mut command, if kind == "redis" { "redis" } else { "redoubt" })?;
    let output = command.output().context("cannot run python")?;
    if !output.status.success() {
        bail!("{scene} with {kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().context("the script printed nothing")?;
    let value: Value = serde_json::from_str(last).with_context(|| format!("not JSON: {last}"))?;
    let list = |name: &str| -> Vec<f64> {
        value[name]
            .as_array()
            .map(|items| items.iter().filter_map(Value::as_f64).collect())
            .unwrap_or_default()
    };
    Ok(Outcome {
        outages: list("outages"),
        failovers: list("failovers"),
        returns: list("returns"),
        switches: list("switches"),
    })
}
