//! Memory: per key, per small collection, per idle connection.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Setting;
use super::load::{Kind, Load, Requests};
use super::report::{Bound, Report, Row};
use crate::server::{Program, Server};
use crate::wire::encode;

/// The measurement.
pub fn run(setting: &Setting) -> Result<Report> {
    let keys: u64 = if setting.quick { 100_000 } else { 1_000_000 };
    let mut report = Report::new(
        "memory",
        format!(
            "Differences to the empty server; {keys} keys of 16 bytes, 100 thousand collections, idle connections."
        ),
    );
    for (what, kind, value, bound) in [
        ("16 B key, 8 B value", Kind::Fill, 8, None),
        ("16 B key, 32 B value", Kind::Fill, 32, Some(Bound::AtMost(0.6))),
        ("16 B key, 100 B value", Kind::Fill, 100, None),
        ("16 B key, 32 B value, TTL", Kind::FillWithTtl, 32, None),
    ] {
        let measure = |program: &Program| {
            grown(
                program,
                setting.product && !std::ptr::eq(program, &setting.redis),
                keys,
                |server| {
                    let mut source = Requests::new(kind, keys, value);
                    let make = &mut |out: &mut Vec<u8>| source.make(out);
                    Load { port: server.port, clients: 4, pipeline: 64, requests: keys, make }
                        .run()
                        .map(drop)
                },
            )
        };
        let (redis, ours) = (measure(&setting.redis)?, measure(&setting.ours)?);
        let mut row = Row::new(format!("{what}: RSS"), "bytes", Some(redis.0), ours.0);
        row.ratio_bound = bound;
        report.add(row);
        let mut row = Row::new(format!("{what}: used_memory"), "bytes", Some(redis.1), ours.1);
        row.ratio_bound = bound;
        report.add(row);
    }
    for (what, make) in COLLECTIONS {
        let count = if setting.quick { 10_000 } else { 100_000 };
        let measure = |program: &Program| {
            grown(program, false, count, |server| {
                let mut number = 0;
                let make = &mut |out: &mut Vec<u8>| {
                    encode(&make(number), out);
                    number += 1;
                };
                Load { port: server.port, clients: 4, pipeline: 16, requests: count, make }
                    .run()
                    .map(drop)
            })
        };
        let (redis, ours) = (measure(&setting.redis)?, measure(&setting.ours)?);
        let row = Row::new(format!("{what}: RSS"), "bytes", Some(redis.0), ours.0);
        report.add(row.ratio(Bound::AtMost(1.0)));
    }
    for (what, element) in LARGE {
        let measure = |program: &Program| per_element(program, keys, *element);
        let (redis, ours) = (measure(&setting.redis)?, measure(&setting.ours)?);
        let row = Row::new(format!("{what}, each: RSS"), "bytes", Some(redis), ours);
        report.add(row.ratio(Bound::AtMost(1.0)));
    }
    let count = if setting.quick { 1_000 } else { 9_000 };
    let (redis, ours) = (connections(&setting.redis, count)?, connections(&setting.ours, count)?);
    report.add(Row::new("idle connection: RSS", "bytes", Some(redis), ours));
    Ok(report)
}

type Collection = fn(u64) -> Vec<String>;

/// What one small collection is.
const COLLECTIONS: &[(&str, Collection)] = &[
    ("hash of 10", |number| {
        collection("HSET", number, 10, |at| {
            vec![format!("field:{at:04}"), format!("value:{at:04}")]
        })
    }),
    ("list of 20", |number| collection("RPUSH", number, 20, |at| vec![format!("element:{at:04}")])),
    ("set of 20 integers", |number| {
        collection("SADD", number, 20, |at| vec![(number * 31 + at).to_string()])
    }),
    ("set of 20 strings", |number| {
        collection("SADD", number, 20, |at| vec![format!("element:{at:04}")])
    }),
    ("zset of 20", |number| {
        collection("ZADD", number, 20, |at| vec![at.to_string(), format!("member:{at:04}")])
    }),
];

type Element = fn(u64) -> Vec<String>;

/// What adds an element to one large value.
const LARGE: &[(&str, Element)] = &[
    ("fields of a large hash", |at| {
        words(["HSET", "big", &format!("field:{at:08}"), &format!("value:{at:08}")])
    }),
    ("elements of a large list", |at| words(["RPUSH", "big", &format!("element:{at:08}")])),
    ("integers of a large set", |at| words(["SADD", "big", &(at * 7).to_string()])),
    ("strings of a large set", |at| words(["SADD", "big", &format!("element:{at:08}")])),
    ("members of a large sorted set", |at| {
        words(["ZADD", "big", &at.to_string(), &format!("member:{at:08}")])
    }),
    ("entries of a large stream", |at| {
        words(["XADD", "big", &format!("{}-1", at + 1), "field", &format!("value:{at:08}")])
    }),
    ("streams of 20", |at| {
        let (key, entry) = (format!("stream:{:06}", at / 20), format!("{}-1", at % 20 + 1));
        words(["XADD", &key, &entry, "field", &format!("value:{at:08}")])
    }),
];

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// Resident bytes that each of `elements` takes.
fn per_element(program: &Program, elements: u64, element: Element) -> Result<f64> {
    let server = Server::start(program, &[])?;
    let before = server.memory("VmRSS")? as f64;
    let mut number = 0;
    let make = &mut |out: &mut Vec<u8>| {
        encode(&element(number), out);
        number += 1;
    };
    // One connection: the IDs of streams have to rise.
    Load { port: server.port, clients: 1, pipeline: 64, requests: elements, make }.run()?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok((server.memory("VmRSS")? as f64 - before) / elements as f64)
}

fn collection(
    command: &str,
    number: u64,
    size: u64,
    element: impl Fn(u64) -> Vec<String>,
) -> Vec<String> {
    let mut args = vec![command.to_owned(), format!("key:{number:012}")];
    args.extend((0..size).flat_map(element));
    args
}

/// Bytes per item that a server grows by: (resident, used_memory).
fn grown(
    program: &Program,
    one_thread: bool,
    items: u64,
    fill: impl FnOnce(&Server) -> Result<()>,
) -> Result<(f64, f64)> {
    let directives: &[(&str, &str)] = if one_thread { &[("threads", "1")] } else { &[] };
    let server = Server::start(program, directives)?;
    let mut client = server.client()?;
    let used = |client: &mut crate::wire::Client| -> Result<f64> {
        Ok(client.info_field("memory", "used_memory")?.parse()?)
    };
    let before = (server.memory("VmRSS")? as f64, used(&mut client)?);
    fill(&server)?;
    let size = client.expect_ok(&["DBSIZE"])?;
    if size != crate::wire::Value::Int(items as i64) {
        bail!("{} holds {size:?} keys instead of {items}", server.name);
    }
    // Buffers of the load's connections go, and rehashing ends.
    std::thread::sleep(Duration::from_millis(1500));
    let after = (server.memory("VmRSS")? as f64, used(&mut client)?);
    let per = |before: f64, after: f64| (after - before) / items as f64;
    Ok((per(before.0, after.0), per(before.1, after.1)))
}

/// Resident bytes per connection that has sent one command and then nothing.
fn connections(program: &Program, count: u64) -> Result<f64> {
    let server = Server::start(program, &[("maxclients", "10000")])?;
    let mut client = server.client()?;
    let before = server.memory("VmRSS")?;
    let mut crowd = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port))?;
        std::io::Write::write_all(&mut stream, b"PING\r\n")?;
        crowd.push(stream);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.info_field("clients", "connected_clients")?.parse::<u64>()? < count {
        if Instant::now() > deadline {
            bail!("{} does not accept {count} connections", server.name);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Redis gives unused query buffers back after two seconds.
    std::thread::sleep(Duration::from_secs(4));
    let after = server.memory("VmRSS")?;
    drop(crowd);
    Ok((after as f64 - before as f64) / count as f64)
}
