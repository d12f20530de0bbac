//! Latency as clients feel it: requests at fixed times, each measured from the time at which it was due.
//!
//! A probe that waits for a slow reply sends the next ones late, but their clocks have been running: a stall of 50 ms is
//! seen by every request that was due in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::wire::Client;

/// Latencies in microseconds.
#[derive(Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    /// The value below which this share (0..=1) of the requests stays, in milliseconds.
    pub fn quantile(&mut self, share: f64) -> f64 {
        if self.micros.is_empty() {
            return f64::NAN;
        }
        self.micros.sort_unstable();
        let at = ((self.micros.len() - 1) as f64 * share).round() as usize;
        f64::from(self.micros[at]) / 1000.0
    }

    /// The longest, in milliseconds.
    pub fn max(&mut self) -> f64 {
        self.quantile(1.0)
    }
}

/// Probing threads; [`Probe::stop`] ends them.
pub struct Probe {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Latencies>>>,
}

impl Probe {
    /// Sends what `make` appends (one request each) `rate` times a second in all, over `clients` connections.
    pub fn start<F, M>(port: u16, clients: usize, rate: f64, make: F) -> Result<Probe>
    where
        F: Fn(usize) -> M,
        M: FnMut(&mut Vec<u8>) + Send + 'static,
    {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..clients {
            let client = Client::connect(port, Duration::from_secs(120))?;
            let (stopping, make) = (Arc::clone(&stopping), make(number));
            let step = Duration::from_secs_f64(clients as f64 / rate);
            threads.push(std::thread::spawn(move || probe(client, &stopping, step, make)));
        }
        Ok(Probe { stopping, threads })
    }

    /// Ends the threads and returns all latencies.
    pub fn stop(self) -> Result<Latencies> {
        self.stopping.store(true, Ordering::Relaxed);
        let mut all = Latencies::default();
        for thread in self.threads {
            let part = thread.join().ok().context("a probe panicked")??;
            all.micros.extend(part.micros);
        }
        Ok(all)
    }
}

fn probe(
    mut client: Client,
    stopping: &AtomicBool,
    step: Duration,
    mut make: impl FnMut(&mut Vec<u8>),
) -> Result<Latencies> {
    let mut found = Latencies::default();
    let mut due = Instant::now() + step;
    let mut request = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        request.clear();
        make(&mut request);
        client.push_raw(&request);
        client.flush()?;
        client.read()?;
        found.micros.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        due += step;
    }
    Ok(found)
}
