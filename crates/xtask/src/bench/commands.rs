//! Server CPU per request of commands of every family, and of messages to many subscribers.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Setting;
use super::load::Kind;
use super::report::{Bound, Report, Row, median};
use super::throughput::drive;
use crate::server::Server;
use crate::wire::encode;

const PIPELINE: usize = 16;
const SUBSCRIBERS: usize = 100;
const VALUE_BYTES: usize = 64;

/// What is measured: requests of it at full size, and what has to be there before.
struct Case {
    kind: Kind,
    requests: u64,
    before: Option<(Kind, u64)>,
}

const fn case(kind: Kind, requests: u64) -> Case {
    Case { kind, requests, before: None }
}

const CASES: &[Case] = &[
    Case { kind: Kind::Lrange, requests: 400_000, before: Some((Kind::Rpush, 30_000)) },
    case(Kind::Sadd, 1_500_000),
    Case { kind: Kind::Spop, requests: 600_000, before: Some((Kind::Sadd, 1_500_000)) },
    Case { kind: Kind::Zrangebyscore, requests: 600_000, before: Some((Kind::Zadd, 1_000_000)) },
    case(Kind::Xadd, 1_000_000),
    case(Kind::Mset, 400_000),
    Case { kind: Kind::Eval, requests: 600_000, before: Some((Kind::Fill, 100_000)) },
];

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let rounds = setting.rounds.unwrap_or(if setting.quick { 1 } else { 3 });
    let scale = if setting.quick { 10 } else { 1 };
    let one: &[(&str, &str)] = if setting.product { &[("threads", "1")] } else { &[] };
    let servers = [Server::start(&setting.redis, &[])?, Server::start(&setting.ours, one)?];
    let mut figures = vec![[Vec::new(), Vec::new()]; CASES.len() + 1];
    for round in 0..rounds {
        println!("  round {} of {rounds}", round + 1);
        for server in &servers {
            server.client()?.expect_ok(&["FLUSHALL"])?;
        }
        for (at, case) in CASES.iter().enumerate() {
            for (number, server) in servers.iter().enumerate() {
                if let Some((kind, requests)) = case.before {
                    drive(server, kind, 100_000, PIPELINE, requests / scale)?;
                }
                let (_, cpu) = drive(server, case.kind, 100_000, PIPELINE, case.requests / scale)?;
                figures[at][number].push(cpu);
            }
        }
        for (number, server) in servers.iter().enumerate() {
            figures[CASES.len()][number].push(publish(server, 20_000 / scale)?);
        }
    }
    let mut report = Report::new(
        "commands",
        format!(
            "50 connections, pipeline {PIPELINE}, {VALUE_BYTES}-byte values, `threads 1`, client on the same cores; server CPU, \
             user and system; medians of {rounds} interleaved rounds."
        ),
    );
    let names = CASES.iter().map(|case| case.kind.name()).chain([Kind::Publish.name()]);
    for (name, [redis, ours]) in names.zip(&figures) {
        let row = Row::new(format!("{name}: CPU"), "us/request", Some(median(redis)), median(ours));
        report.add(row.ratio(Bound::AtMost(1.0)));
    }
    Ok(report)
}

/// CPU microseconds per message that goes to [`SUBSCRIBERS`] connections.
fn publish(server: &Server, messages: u64) -> Result<f64> {
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port))?;
        let mut request = Vec::new();
        encode(&["SUBSCRIBE", "channel"], &mut request);
        std::io::Write::write_all(&mut stream, &request)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reply = vec![0; b"*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n".len()];
        stream.read_exact(&mut reply)?;
        stream.set_nonblocking(true)?;
        subscribers.push(stream);
    }
    let message = 4 + b"$7\r\nmessage\r\n$7\r\nchannel\r\n$64\r\n".len() + VALUE_BYTES + 2;
    let wanted = messages * (SUBSCRIBERS * message) as u64;
    let reader = std::thread::spawn(move || -> Result<()> {
        let (mut got, mut buffer) = (0, vec![0; 256 << 10]);
        let deadline = Instant::now() + Duration::from_secs(120);
        while got < wanted {
            let before = got;
            for stream in &mut subscribers {
                match stream.read(&mut buffer) {
                    Ok(0) => bail!("a subscriber was cut off"),
                    Ok(read) => got += read as u64,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if got == before {
                if Instant::now() > deadline {
                    bail!("{got} of {wanted} bytes reached the subscribers");
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        Ok(())
    });
    let before = server.cpu_seconds()?;
    drive(server, Kind::Publish, 1, 1, messages)?;
    match reader.join() {
        Ok(result) => result?,
        Err(_) => bail!("the subscribers' thread panicked"),
    }
    let after = server.cpu_seconds()?;
    Ok(((after.0 - before.0) + (after.1 - before.1)) * 1e6 / messages as f64)
}
