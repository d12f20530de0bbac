//! What one client's heavy command costs the others: the longest wait of a client that asks 2000 times a second.

use std::time::Duration;

use anyhow::Result;

use super::Setting;
use super::load::Load;
use super::probe::Probe;
use super::report::{Bound, Report, Row};
use crate::server::{Program, Server};
use crate::wire::{Client, encode};

/// Heavy work: what is filled in before, what is then done, and the wait that it may add (ms; the goals of this project).
struct Case {
    what: &'static str,
    fill: fn(&Server, u64) -> Result<()>,
    act: fn(&mut Client) -> Result<()>,
    /// Time in which it has its effect.
    lasts: Duration,
    bound: f64,
}

const CASES: &[Case] = &[
    Case {
        what: "DEL of a sorted set of 5 M",
        fill: big_sorted_set,
        act: |client| client.expect_ok(&["DEL", "big"]).map(drop),
        lasts: Duration::from_millis(500),
        bound: 2.0,
    },
    Case {
        what: "KEYS * over 1 M keys",
        fill: |server, scale| populate(server, 1_000_000 / scale),
        act: |client| client.expect_ok(&["KEYS", "*"]).map(drop),
        lasts: Duration::from_millis(500),
        bound: 5.0,
    },
    Case {
        what: "1 M keys that expire in one second",
        fill: expiring,
        act: |_| Ok(()),
        lasts: Duration::from_secs(6),
        bound: 2.0,
    },
    Case {
        what: "FLUSHALL of 1 M keys",
        fill: |server, scale| populate(server, 1_000_000 / scale),
        act: |client| client.expect_ok(&["FLUSHALL"]).map(drop),
        lasts: Duration::from_millis(500),
        bound: 2.0,
    },
];

/// The best of so many passes: what a command causes comes in all of them, the machine's own noise does not.
const PASSES: usize = 3;

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let scale = if setting.quick { 10 } else { 1 };
    let mut report = Report::new(
        "stalls",
        format!(
            "Longest wait of one client that asks 2000 times a second, while another one does this; less the longest wait of \
             as long a time without it. The best of {PASSES} passes."
        ),
    );
    for case in CASES {
        let best = |program: &Program| -> Result<f64> {
            let mut least = f64::INFINITY;
            for _ in 0..PASSES {
                least = least.min(measure(program, case, scale)?);
            }
            Ok(least)
        };
        let (redis, ours) = (best(&setting.redis)?, best(&setting.ours)?);
        let row = Row::new(format!("{}: added wait", case.what), "ms", Some(redis), ours);
        report.add(row.within(Bound::AtMost(case.bound)));
    }
    Ok(report)
}

/// How much longer the longest wait gets, ms.
fn measure(program: &Program, case: &Case, scale: u64) -> Result<f64> {
    let server = Server::start(program, &[("enable-debug-command", "yes")])?;
    (case.fill)(&server, scale)?;
    let probe = || {
        Probe::start(server.port, 1, 2000.0, |_| {
            |out: &mut Vec<u8>| encode(&["GET", "nobody"], out)
        })
    };
    let calm = probe()?;
    std::thread::sleep(Duration::from_millis(500));
    let mut calm = calm.stop()?;
    let busy = probe()?;
    std::thread::sleep(Duration::from_millis(100));
    (case.act)(&mut server.client()?)?;
    std::thread::sleep(case.lasts);
    Ok((busy.stop()?.max() - calm.max()).max(0.0))
}

fn populate(server: &Server, keys: u64) -> Result<()> {
    server.client()?.expect_ok(&["DEBUG", "POPULATE", &keys.to_string()]).map(drop)
}

/// Every key ends in the same second, four to five seconds from now.
fn expiring(server: &Server, scale: u64) -> Result<()> {
    let requests = 1_000_000 / scale;
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis()
        as u64
        + 5000;
    let mut number = 0;
    let make = &mut |out: &mut Vec<u8>| {
        let key = format!("key:{number:012}");
        encode(&["SET", &key, "value", "PXAT", &(end + number % 1000).to_string()], out);
        number += 1;
    };
    Load { port: server.port, clients: 4, pipeline: 64, requests, make }.run()?;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as u64;
    // The quiet part of the measurement ends before the keys do.
    std::thread::sleep(Duration::from_millis(end.saturating_sub(now + 1000)));
    Ok(())
}

fn big_sorted_set(server: &Server, scale: u64) -> Result<()> {
    let mut number = 0;
    let make = &mut |out: &mut Vec<u8>| {
        let mut args = vec!["ZADD".to_owned(), "big".to_owned()];
        for _ in 0..20 {
            args.push(number.to_string());
            args.push(format!("member:{number:09}"));
            number += 1;
        }
        encode(&args, out);
    };
    Load { port: server.port, clients: 4, pipeline: 16, requests: 250_000 / scale, make }.run()?;
    Ok(())
}
