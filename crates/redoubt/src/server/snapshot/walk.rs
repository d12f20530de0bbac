//! The walk of a snapshot over the keyspace, and the old states that wait for their place in it.
//!
//! What the pass hands out (`keyspace::Handed`) goes to the sink at once, but for one rule: a value that
//! is written in parts is finished before anything else. What writers hand over meanwhile waits; so it
//! does while a slow replica holds the sink up. Beyond `snapshot-memory-max` it waits in a temporary
//! file in the working directory, which has no name any more once it is open. If that file cannot be
//! written, the snapshot is given up: writers never wait for it.

use crate::log::NOTICE;
use crate::os::fs::{File, OpenOptions};
use crate::os::time::{Duration, Instant};
use keyspace::{Handed, PassEncoder, PassProgress, StripeMask};
use node::Node;
use std::cell::RefCell;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of entries that one step under a stripe's lock encodes: well below 100 us of work.
const STEP_BYTES: usize = 32 * 1024;
/// Work between two moments at which others may have the core; less than the scheduler's own slice.
const SLICE: Duration = Duration::from_micros(500);
/// How long it leaves the core to others then, while clients are served.
const PAUSE: Duration = Duration::from_micros(250);
/// Steps between two rounds that take writers' old values away from all stripes.
const STEPS_PER_SWEEP: usize = 64;
/// Between two lines of the log about how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// What a pass writes into.
pub trait PassSink {
    /// What follows belongs to this database.
    fn database(&mut self, db: u64) -> io::Result<()>;
    /// Encoded entries, or the next piece of one.
    fn entries(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// That was all.
    fn done(&mut self) -> io::Result<()>;
}

impl<W: Write> PassSink for persistence::rdb::RdbStream<W> {
    fn database(&mut self, db: u64) -> io::Result<()> {
        self.select_db(db)
    }

    fn entries(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.records(bytes)
    }

    fn done(&mut self) -> io::Result<()> {
        self.flush()
    }
}

// ---- what waits ------------------------------------------------------------------------------

/// A file of old states: database and length, then the bytes.
struct Spill {
    file: BufWriter<File>,
    bytes: u64,
}

impl Spill {
    fn create() -> io::Result<Spill> {
        let path = format!("temp-snapshot-{}.spill", std::process::id());
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        crate::os::fs::remove_file(&path)?;
        Ok(Spill { file: BufWriter::new(file), bytes: 0 })
    }

    fn add(&mut self, db: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(&(db as u64).to_le_bytes())?;
        self.file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.file.write_all(bytes)?;
        self.bytes += 16 + bytes.len() as u64;
        Ok(())
    }

    /// Everything that was added, in order.
    fn read_back(self, put: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let (mut input, mut left) = (BufReader::new(file), self.bytes);
        let mut piece = Vec::new();
        while left > 0 {
            let (mut db, mut len) = ([0; 8], [0; 8]);
            input.read_exact(&mut db)?;
            input.read_exact(&mut len)?;
            let len = u64::from_le_bytes(len);
            left = left.saturating_sub(16 + len);
            piece.resize(len as usize, 0);
            input.read_exact(&mut piece)?;
            put(u64::from_le_bytes(db), &piece)?;
        }
        Ok(())
    }
}

/// Old states that wait until they may be written.
#[derive(Default)]
struct Aside {
    waiting: Vec<Handed>,
    spill: Option<Spill>,
    encoder: Option<PassEncoder>,
    /// The data are not wanted at all.
    dropped: bool,
    spilled: u64,
    held_max: u64,
}

thread_local! {
    // Of the thread that makes the pass: one at a time. The sink's own waiting comes by here, too.
    static ASIDE: RefCell<Aside> = RefCell::default();
}

impl Aside {
    fn add(&mut self, handed: Handed) {
        if !self.dropped {
            self.waiting.push(handed);
        }
    }

    /// Takes away what writers left in all stripes, and keeps within the limit.
    fn sweep(&mut self, node: &Node) -> io::Result<()> {
        let mut out = Vec::new();
        for stripe in 0..node.keyspace.stripes() {
            node.keyspace.hold(StripeMask::of(stripe)).stripe(stripe).take_pre_images(&mut out);
        }
        out.into_iter().for_each(|handed| self.add(handed));
        let held = node.keyspace.snapshot_held();
        self.held_max = self.held_max.max(held);
        let max = node.settings.load().config.snapshot_memory_max;
        if max > 0 && held > max { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        let Some(encoder) = self.encoder else { return Ok(()) };
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => {
                crate::log::write(
                    NOTICE,
                    "What a snapshot still needs is above snapshot-memory-max: it goes to a file",
                );
                Spill::create()?
            }
        };
        let before = spill.bytes;
        for handed in self.waiting.drain(..) {
            match handed {
                Handed::Records { db, bytes, .. } => spill.add(db, &bytes)?,
                Handed::Value { db, mut entry, .. } => {
                    encoder.drain(&mut entry, &mut |bytes| spill.add(db, bytes))?;
                }
                Handed::Part { .. } | Handed::Rest { .. } | Handed::Emptied(_) => {}
            }
        }
        self.spilled += spill.bytes - before;
        self.spill = Some(spill);
        Ok(())
    }
}

/// For sinks that wait: keeps what writers leave within the limit. False if that fails, and the snapshot
/// has to be given up.
pub fn while_waiting(node: &Node) -> bool {
    ASIDE.with_borrow_mut(|aside| aside.sweep(node)).is_ok()
}

// ---- the walk --------------------------------------------------------------------------------

struct Walk<'a, S> {
    node: &'a Node,
    sink: &'a mut S,
    encoder: PassEncoder,
    give_up: &'a dyn Fn() -> bool,
    exclude_data: bool,
    /// A value is being written in parts.
    in_value: bool,
    written: u64,
    steps: usize,
    fresh: Instant,
    last_served: u64,
    begun: Instant,
    reported: Instant,
}

/// Walks a pass that has begun to its end.
pub fn walk<S: PassSink>(
    node: &Node,
    sink: &mut S,
    encoder: PassEncoder,
    exclude_data: bool,
    give_up: &dyn Fn() -> bool,
) -> io::Result<()> {
    ASIDE.set(Aside { encoder: Some(encoder), dropped: exclude_data, ..Aside::default() });
    let state = &node.persistence;
    state.pass_keys.store(0, Relaxed);
    state.pass_bytes.store(0, Relaxed);
    state.pass_spilled.store(0, Relaxed);
    state.pass_started_us.store(node.host.now().mono_us, Relaxed);
    let total: usize = (0..node.keyspace.databases()).map(|db| node.keyspace.db_size(db).0).sum();
    state.pass_total.store(total as u64, Relaxed);
    let now = Instant::now();
    let mut walk = Walk {
        node,
        sink,
        encoder,
        give_up,
        exclude_data,
        in_value: false,
        written: 0,
        steps: 0,
        fresh: now,
        last_served: 0,
        begun: now,
        reported: now,
    };
    let result = walk.all_stripes();
    let aside = ASIDE.take();
    state.last_cow_bytes.store(aside.held_max, Relaxed);
    result
}

impl<S: PassSink> Walk<'_, S> {
    fn all_stripes(&mut self) -> io::Result<()> {
        let (mut out, mut keys_done) = (Vec::new(), 0);
        for stripe in 0..self.node.keyspace.stripes() {
            let mut keys = 0;
            loop {
                self.breathe()?;
                let progress = self
                    .node
                    .keyspace
                    .hold(StripeMask::of(stripe))
                    .stripe(stripe)
                    .pass_step(STEP_BYTES, &mut out, &mut keys);
                for handed in out.drain(..) {
                    self.take(handed)?;
                }
                if !self.in_value {
                    self.write_waiting()?;
                }
                self.node.persistence.pass_keys.store(keys_done + keys, Relaxed);
                self.delay();
                match progress {
                    PassProgress::More => {}
                    PassProgress::Done => break,
                    PassProgress::Lost => {
                        return Err(io::Error::other("a value was lost while it was written"));
                    }
                }
            }
            keys_done += keys;
        }
        self.sink.done()
    }

    fn take(&mut self, handed: Handed) -> io::Result<()> {
        match handed {
            Handed::Part { db, bytes, last } => {
                self.in_value = !last;
                self.put(db as u64, &bytes)
            }
            Handed::Rest { db, entry } => {
                self.in_value = false;
                self.drain(db, entry)
            }
            // Freed here, where nobody waits for it.
            Handed::Emptied(table) => {
                drop(table);
                Ok(())
            }
            waits if self.in_value => {
                ASIDE.with_borrow_mut(|aside| aside.add(waits));
                Ok(())
            }
            Handed::Records { db, bytes, .. } => self.put(db as u64, &bytes),
            Handed::Value { db, entry, .. } => self.drain(db, entry),
        }
    }

    /// Writes what waited, from memory and from the file.
    fn write_waiting(&mut self) -> io::Result<()> {
        loop {
            let (waiting, spill) = ASIDE
                .with_borrow_mut(|aside| (std::mem::take(&mut aside.waiting), aside.spill.take()));
            if waiting.is_empty() && spill.is_none() {
                return Ok(());
            }
            for handed in waiting {
                self.take(handed)?;
            }
            if let Some(spill) = spill {
                spill.read_back(&mut |db, bytes| {
                    self.put(db, bytes)?;
                    self.breathe()
                })?;
            }
        }
    }

    fn drain(&mut self, db: usize, mut entry: structures::Entry) -> io::Result<()> {
        if self.exclude_data {
            return Ok(());
        }
        let encoder = self.encoder;
        encoder.drain(&mut entry, &mut |bytes| {
            self.put(db as u64, bytes)?;
            self.breathe()
        })
    }

    fn put(&mut self, db: u64, bytes: &[u8]) -> io::Result<()> {
        if self.exclude_data || bytes.is_empty() {
            return Ok(());
        }
        self.written += bytes.len() as u64;
        self.sink.database(db)?;
        self.sink.entries(bytes)
    }

    /// Between two pieces of work: lets others have the core, takes what writers left.
    fn breathe(&mut self) -> io::Result<()> {
        if self.fresh.elapsed() > SLICE {
            let served = self.node.stats.sum(|worker| &worker.total_commands);
            pause(served != self.last_served);
            (self.last_served, self.fresh) = (served, Instant::now());
        }
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_SWEEP) {
            let spilled =
                ASIDE.with_borrow_mut(|aside| aside.sweep(self.node).map(|()| aside.spilled));
            let spilled = spilled.map_err(|error| {
                io::Error::other(format!("what the snapshot needs can't be kept: {error}"))
            })?;
            self.report(spilled);
        }
        if (self.give_up)() {
            return Err(io::Error::other("nobody wants this snapshot any more"));
        }
        Ok(())
    }

    fn report(&mut self, spilled: u64) {
        let state = &self.node.persistence;
        state.pass_bytes.store(self.written, Relaxed);
        state.pass_spilled.store(spilled, Relaxed);
        if self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        let (keys, total) = (state.pass_keys.load(Relaxed), state.pass_total.load(Relaxed));
        let percent = keys.min(total) as f64 / total.max(1) as f64 * 100.0;
        let mib = self.written as f64 / f64::from(1 << 20);
        let rate = mib / self.begun.elapsed().as_secs_f64().max(0.001);
        crate::log::write(
            NOTICE,
            &format!("Snapshot: {percent:.1}% of the keys, {mib:.0} MiB, {rate:.1} MiB/s"),
        );
    }

    fn delay(&self) {
        let delay = self.node.settings.load().config.rdb_key_save_delay;
        if delay > 0 {
            let delay = u64::from(delay.unsigned_abs()).min(100_000);
            crate::os::thread::sleep(Duration::from_micros(delay));
        }
    }
}

/// Lets others have the core, for longer when clients are being served. A thread of lower priority
/// would do harm: workers wait for stripes that it holds while it waits for a core.
fn pause(clients: bool) {
    if clients {
        crate::os::thread::sleep(PAUSE);
    } else {
        crate::os::thread::yield_now();
    }
}

/// Walks a pass that nobody wants to its end: marks must not stay behind.
pub fn abandon(node: &Node) {
    ASIDE.take();
    let (mut out, mut keys) = (Vec::new(), 0);
    for stripe in 0..node.keyspace.stripes() {
        let mut held = node.keyspace.hold(StripeMask::of(stripe));
        held.stripe(stripe).abandon_pass();
        held.stripe(stripe).take_pre_images(&mut out);
        drop(held);
        out.clear();
    }
    for stripe in 0..node.keyspace.stripes() {
        loop {
            let mut held = node.keyspace.hold(StripeMask::of(stripe));
            let progress = held.stripe(stripe).pass_step(STEP_BYTES, &mut out, &mut keys);
            drop(held);
            out.clear();
            if progress != PassProgress::More {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spill_gives_back_what_it_got() {
        let mut spill = Spill::create().unwrap();
        let pieces: Vec<(usize, Vec<u8>)> =
            (0..200).map(|n| (n % 3, vec![n as u8; n * 997])).collect();
        for (db, bytes) in &pieces {
            spill.add(*db, bytes).unwrap();
        }
        let mut back = Vec::new();
        spill
            .read_back(&mut |db, bytes| {
                back.push((db as usize, bytes.to_vec()));
                Ok(())
            })
            .unwrap();
        assert!(back == pieces);
    }
}
