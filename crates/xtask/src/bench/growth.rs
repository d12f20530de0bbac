//! Pauses from a growing key table: ten million inserts, and a probe that looks at the longest wait.

use anyhow::Result;

use super::Setting;
use super::load::{Kind, Load, Requests};
use super::probe::{Latencies, Probe};
use super::report::{Bound, Report, Row};
use crate::server::{Program, Server};
use crate::wire::encode;

/// Passes on a fresh server each. A pause that growth causes comes in all of them; the machine's own noise does not.
const PASSES: usize = 3;

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let keys: u64 = if setting.quick { 500_000 } else { 10_000_000 };
    let mut report = Report::new(
        "growth",
        format!(
            "{keys} inserts at pipeline 16 over one connection; a second one asks 1000 times a second. Then a quarter of \
             them once more, when nothing grows: what the machine itself adds. The best of {PASSES} passes."
        ),
    );
    let (redis, ours) = (best(&setting.redis, keys)?, best(&setting.ours, keys)?);
    for (at, name) in ["longest wait", "p99.9", "p99"].into_iter().enumerate() {
        report.add(Row::new(format!("{name}, growing"), "ms", Some(redis[at].0), ours[at].0));
        report.add(Row::new(format!("{name}, nothing grows"), "ms", Some(redis[at].1), ours[at].1));
    }
    let caused = (ours[0].0 - ours[0].1).max(0.0);
    report.add(
        Row::new("longest wait, growing less still", "ms", None, caused).within(Bound::AtMost(2.0)),
    );
    Ok(report)
}

/// For the longest wait, p99.9 and p99: the least over all passes, (growing, nothing grows).
fn best(program: &Program, keys: u64) -> Result<[(f64, f64); 3]> {
    let mut least = [(f64::INFINITY, f64::INFINITY); 3];
    for _ in 0..PASSES {
        let (mut growing, mut still) = measure(program, keys)?;
        for (at, share) in [1.0, 0.999, 0.99].into_iter().enumerate() {
            least[at].0 = least[at].0.min(growing.quantile(share));
            least[at].1 = least[at].1.min(still.quantile(share));
        }
    }
    Ok(least)
}

/// (latencies while growing, latencies of the same load without growth)
fn measure(program: &Program, keys: u64) -> Result<(Latencies, Latencies)> {
    let server = Server::start(program, &[])?;
    let pass = |requests: u64| -> Result<Latencies> {
        let probe = Probe::start(server.port, 1, 1000.0, |_| {
            |out: &mut Vec<u8>| encode(&["GET", "key:000000000000"], out)
        })?;
        let mut source = Requests::new(Kind::Fill, keys, 8);
        let make = &mut |out: &mut Vec<u8>| source.make(out);
        Load { port: server.port, clients: 1, pipeline: 16, requests, make }.run()?;
        probe.stop()
    };
    Ok((pass(keys)?, pass(keys / 4)?))
}
