//! Driving the connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::options::Options;
use super::suite::Test;
use crate::shell::answer::Answer;
use crate::shell::link::Link;
use crate::shell::tool::{Failure, Tool};

/// What one test has measured.
pub struct Measured {
    /// Latencies of all requests.
    pub latencies: Histogram,
    /// From the first request to the last reply.
    pub took: Duration,
}

/// What is replaced by a random number.
const MARK: &[u8] = b"__rand_int__";

/// The server's `save` and `appendonly`, for the report. Nothing if it does not tell.
pub fn server_config(options: &Options) -> Option<(String, String)> {
    let mut tool = Tool::connect(&options.server).ok()?;
    let mut get = |name: &str| match tool.ask(&[b"CONFIG", b"GET", name.as_bytes()]).ok()? {
        Answer::List(_, items) => Some(String::from_utf8_lossy(items.get(1)?.text()?).into_owned()),
        Answer::Map(pairs) => Some(String::from_utf8_lossy(pairs.first()?.1.text()?).into_owned()),
        _ => None,
    };
    Some((get("save")?, get("appendonly")?))
}

/// Opens the connections and keeps them until the process is ended.
pub fn idle(options: &Options) -> Result<(), String> {
    let mut links = Vec::new();
    for _ in 0..options.clients {
        links.push(connect(options).map_err(|Failure(text)| text)?);
    }
    eprintln!("Creating {} idle connections and waiting forever (Ctrl+C when done)", links.len());
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn connect(options: &Options) -> Result<Link, Failure> {
    let mut tool = Tool::connect(&options.server)?;
    if options.tracking
        && let Answer::Error(text) = tool.ask(&[b"CLIENT", b"TRACKING", b"ON"])?
    {
        return Err(Failure(format!("Error from server: {}", String::from_utf8_lossy(&text))));
    }
    Ok(tool.into_link())
}

/// Runs one test with all threads.
pub fn measure(options: &Options, test: &Test) -> Result<Measured, String> {
    let threads = options.threads.clamp(1, options.clients.max(1));
    let left = AtomicU64::new(options.requests);
    let stop = AtomicBool::new(false);
    // Connections are made first: they are not what is measured.
    let mut shares: Vec<Vec<Link>> = (0..threads).map(|_| Vec::new()).collect();
    for index in 0..options.clients {
        shares[index % threads].push(connect(options).map_err(|Failure(text)| text)?);
    }
    let began = Instant::now();
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = shares
            .into_iter()
            .enumerate()
            .map(|(index, links)| {
                let (left, stop) = (&left, &stop);
                let seed = options.seed.wrapping_add(index as u64);
                scope.spawn(move || {
                    let mut driver =
                        Driver { options, test, left, random: seed, all: Histogram::default() };
                    let result = driver.run(links, stop);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    result.map(|()| driver.all)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join()).collect()
    });
    let took = began.elapsed();
    let mut latencies = Histogram::default();
    for result in results {
        match result {
            Ok(Ok(part)) => latencies.merge(&part),
            Ok(Err(Failure(text))) => return Err(text),
            Err(_) => return Err("a thread of the benchmark has failed".into()),
        }
    }
    Ok(Measured { latencies, took })
}

/// One thread's part.
struct Driver<'a> {
    options: &'a Options,
    test: &'a Test,
    left: &'a AtomicU64,
    random: u64,
    all: Histogram,
}

/// A connection and what it waits for.
struct Flight {
    link: Link,
    sent: Instant,
    waiting: u64,
}

impl Driver<'_> {
    /// Keeps a batch on its way on every connection until no request is left.
    fn run(&mut self, links: Vec<Link>, stop: &AtomicBool) -> Result<(), Failure> {
        let mut flights = Vec::new();
        for link in links {
            let mut flight = Flight { link, sent: Instant::now(), waiting: 0 };
            self.launch(&mut flight)?;
            flights.push(flight);
        }
        let mut busy = true;
        while busy && !stop.load(Ordering::Relaxed) {
            busy = false;
            for flight in &mut flights {
                if flight.waiting == 0 {
                    continue;
                }
                self.land(flight)?;
                if !self.options.keep_alive && self.left.load(Ordering::Relaxed) > 0 {
                    flight.link = connect(self.options)?;
                }
                self.launch(flight)?;
                busy |= flight.waiting > 0;
            }
        }
        Ok(())
    }

    fn launch(&mut self, flight: &mut Flight) -> Result<(), Failure> {
        let take = |left: u64| (left > 0).then(|| left - left.min(self.options.pipeline));
        let Ok(before) = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) else {
            flight.waiting = 0;
            return Ok(());
        };
        flight.waiting = before.min(self.options.pipeline);
        let mut bytes = Vec::new();
        for _ in 0..flight.waiting {
            bytes.extend_from_slice(&self.test.request);
        }
        if let Some(keyspace) = self.options.keyspace {
            fill_marks(&mut bytes, keyspace, &mut self.random);
        }
        flight.sent = Instant::now();
        Ok(flight.link.send_bytes(&bytes)?)
    }

    fn land(&mut self, flight: &mut Flight) -> Result<(), Failure> {
        let batch = flight.waiting;
        while flight.waiting > 0 {
            match flight.link.receive()? {
                Answer::Error(text) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    return Err(Failure(format!("Error from server: {text}")));
                }
                answer if answer.is_push() => {}
                _ => flight.waiting -= 1,
            }
        }
        let micros = flight.sent.elapsed().as_micros() as u64;
        for _ in 0..batch {
            self.all.add(micros);
        }
        Ok(())
    }
}

/// Writes a random number of 12 digits over each mark.
fn fill_marks(bytes: &mut [u8], keyspace: u64, random: &mut u64) {
    let mut at = 0;
    while let Some(found) =
        bytes.get(at..).and_then(|rest| rest.windows(MARK.len()).position(|w| w == MARK))
    {
        // SplitMix64.
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (mixed ^ (mixed >> 31)) % keyspace % 1_000_000_000_000;
        at += found;
        bytes[at..at + MARK.len()].copy_from_slice(format!("{number:012}").as_bytes());
        at += MARK.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_numbers_below_the_limit() {
        let mut bytes = b"a __rand_int__ b __rand_int____rand_int_".to_vec();
        let mut random = 1;
        fill_marks(&mut bytes, 10, &mut random);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("a 00000000000") && text.ends_with("__rand_int_"));
        assert!(text[17..29].parse::<u64>().unwrap() < 10);
    }
}
