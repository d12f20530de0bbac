//! The thread that writes the append-only file.
//!
//! What it takes from the log it keeps until it is in the file (under `always`: on disk), so that
//! a full disk loses nothing: a write that fails is taken back (the file is cut to where it was
//! whole) and tried again each second, while the node refuses writes.
//!
//! A rewrite goes through it in two places. Where the pass begins, the log says 'cut': what was
//! recorded before belongs to the present incremental file, the rest to a new one, which joins the
//! manifest at once. When the base file is whole, it replaces everything before that cut.

use super::files::file_name;
use super::{AofTask, Files, NewBase};
use crate::io::sys;
use crate::log::{NOTICE, WARNING};
use crate::os::fs::{File, OpenOptions};
use crate::os::time::{Duration, Instant};
use crate::server::host::Tools;
use config::AppendFsync;
use node::{AofState, Node};
use persistence::aof::{FileInfo, History, Manifest, Seal, seal};
use persistence::crc64::Crc64;
use replication::{FileBatch, FilePiece, HistoryMark};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// How long it sleeps with nothing to do; a safety net, since whoever appends wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// After a write without a sync others may collect more, so that a busy server does not pay a
/// write for every few commands.
const COLLECT: Duration = Duration::from_millis(1);
/// Time between two tries after an error.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two lines about the history with no command between them.
const BARE_PERIOD: Duration = Duration::from_secs(1);
/// Time between two syncs under `everysec`.
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// The file that grows.
struct Part {
    file: File,
    /// Bytes of whole batches.
    len: u64,
    /// A seal, or the mark where seals begin, was written since it was opened.
    sealed: bool,
    /// Something of a failed write may lie behind `len`.
    torn: bool,
}

/// What is still to be done with what was taken from the log.
enum Step {
    /// To be written.
    Run(Run),
    /// A new incremental file begins.
    Cut,
}

struct Run {
    pieces: Vec<FilePiece>,
    end: u64,
    stream_offset: u64,
    /// Where the history stands behind it.
    history: Option<HistoryMark>,
}

/// The thread's state.
pub struct Writer {
    node: Arc<Node>,
    tools: Arc<Tools>,
    files: Files,
    manifest: Manifest,
    part: Option<Part>,
    steps: VecDeque<Step>,
    /// Written and not synced: file position and stream offset.
    unsynced: Option<(u64, u64)>,
    last_sync: Instant,
    /// Unix second of the last time stamp.
    stamped: i64,
    /// The last that the file says of the history; `None` if something came behind it.
    told: Option<HistoryMark>,
    /// When that was said last without anything to be written.
    told_bare: Option<Instant>,
    /// A whole base that waits for the steps before its cut.
    new_base: Option<NewBase>,
    /// A sync failed, and what it was for may never reach the disk, whatever later syncs say: writes
    /// are refused until a rewrite has replaced the file.
    doubtful: bool,
    /// The rewrite that runs was cut after that.
    doubt_ends: bool,
    /// The last cut came to nothing: its rewrite fails.
    cut_failed: Option<String>,
    spare: Vec<u8>,
}

impl Writer {
    /// The thread's state, with the manifest in force.
    pub fn new(node: Arc<Node>, tools: Arc<Tools>, files: Files, manifest: Manifest) -> Writer {
        Writer {
            node,
            tools,
            files,
            manifest,
            part: None,
            steps: VecDeque::new(),
            unsynced: None,
            last_sync: Instant::now(),
            stamped: 0,
            told: None,
            told_bare: None,
            new_base: None,
            doubtful: false,
            doubt_ends: false,
            cut_failed: None,
            spare: Vec::new(),
        }
    }

    /// Goes on with the last incremental file, or begins one. Before anything else runs.
    pub fn open_at_start(&mut self) -> Result<(), String> {
        self.files.make_dir()?;
        let fail = |what: &str, error: &std::io::Error| {
            format!("Can't {what} the append-only file: {}", sys::reason(error))
        };
        if self.manifest.is_empty() {
            let rdb = self.node.settings.load().config.aof_use_rdb_preamble;
            let base = self.manifest.replace_base(&self.files.filename, rdb, 0);
            let name = String::from_utf8_lossy(&base.name).into_owned();
            crate::log::write(NOTICE, &format!("Creating AOF base file {name} on server start"));
            crate::server::snapshot::write_base(
                &self.node,
                &self.files.temp_base(),
                rdb,
                &|| false,
                &mut || {},
            )
            .and_then(|()| {
                crate::os::fs::rename(self.files.temp_base(), self.files.part(&base.name))
            })
            .map_err(|error| fail("create the base of", &error))?;
        }
        match self.manifest.incrs.last() {
            Some(last) => {
                let path = self.files.part(&last.name);
                self.part = Some(open_part(&path, false).map_err(|error| fail("open", &error))?);
            }
            None => {
                let info = self.manifest.next_incr(&self.files.filename);
                let name = String::from_utf8_lossy(&info.name).into_owned();
                crate::log::write(
                    NOTICE,
                    &format!("Creating AOF incr file {name} on server start"),
                );
                let path = self.files.part(&info.name);
                self.part = Some(open_part(&path, true).map_err(|error| fail("create", &error))?);
                self.manifest.push_incr(info);
                self.files
                    .write_manifest(&self.manifest)
                    .map_err(|error| fail("write the manifest of", &error))?;
            }
        }
        if let Err(error) = self.collect_garbage() {
            crate::log::write(WARNING, &format!("Removing old append-only files: {error}"));
        }
        let size = self.files.size(&self.manifest)?;
        self.node.aof.current_size.store(size, Relaxed);
        self.node.aof.base_size.store(size, Relaxed);
        self.node.log.open_file();
        self.node.aof.set_state(AofState::On);
        self.node.set_file_gate();
        Ok(())
    }

    /// Runs until the process ends.
    pub fn run(mut self) {
        let _ = self.tools.aof.thread.set(crate::os::thread::current());
        loop {
            for task in self.tools.aof.take_tasks() {
                self.act(task);
            }
            let wrote = self.turn();
            self.finish_rewrite();
            if !self.steps.is_empty() {
                self.sleep(RETRY, false);
            } else if !wrote {
                let until_sync = SYNC_PERIOD.saturating_sub(self.last_sync.elapsed());
                let wait = if self.unsynced.is_some() { until_sync } else { IDLE };
                self.sleep(wait.max(COLLECT), true);
            } else if self.policy() != AppendFsync::Always {
                crate::os::thread::sleep(COLLECT);
            }
        }
    }

    /// Sleeps until a task comes, with `for_bytes` also until the log has something.
    fn sleep(&self, time: Duration, for_bytes: bool) {
        let parked = &self.node.aof.parked;
        parked.store(for_bytes, SeqCst);
        let busy =
            self.tools.aof.has_tasks() || (for_bytes && self.node.log.file_pending_bytes() > 0);
        if !busy {
            crate::os::thread::park_timeout(time);
        }
        parked.store(false, SeqCst);
    }

    fn policy(&self) -> AppendFsync {
        self.node.settings.load().config.appendfsync
    }

    fn act(&mut self, task: AofTask) {
        match task {
            AofTask::Start(answer) => {
                let _ = answer.send(self.files.make_dir());
            }
            AofTask::Stop => self.stop(),
            AofTask::Rewritten { result: Ok(base), .. } => self.new_base = Some(base),
            AofTask::Rewritten { generation, .. } if !self.tools.aof.is_current(generation) => {
                self.rewrite_ended();
            }
            AofTask::Rewritten { result: Err(why), .. } => self.rewrite_failed(&why),
            AofTask::Sync(answer) => {
                self.told_bare = None;
                self.turn();
                let synced = if self.steps.is_empty() { self.sync() } else { Ok(()) };
                let result = match (synced, self.node.aof.error()) {
                    (Err(error), _) => Err(sys::reason(&error)),
                    (Ok(()), Some(why)) if !self.steps.is_empty() => Err(why),
                    _ => Ok(()),
                };
                // Nobody listens any more if the process is on its way out.
                let _ = answer.send(result);
            }
        }
    }

    /// Takes what the log has and does what is to be done with it. True if something was written.
    fn turn(&mut self) -> bool {
        self.keep_gate();
        if self.steps.is_empty() {
            self.take();
        }
        let mut wrote = false;
        while let Some(step) = self.steps.front() {
            let result = match step {
                Step::Run(_) => self.write_front(),
                Step::Cut => self.switch(),
            };
            match result {
                Ok(()) => {
                    self.steps.pop_front();
                    wrote = true;
                    self.clear_error();
                }
                Err(error) => {
                    self.note_error("writing", &error);
                    return wrote;
                }
            }
        }
        if self.unsynced.is_some()
            && self.policy() == AppendFsync::Everysec
            && self.last_sync.elapsed() >= SYNC_PERIOD
            && !self.may_not_sync()
        {
            match self.sync() {
                Ok(()) => self.clear_error(),
                Err(error) => self.note_error("syncing", &error),
            }
        }
        wrote
    }

    /// The gate follows the settings; somebody else may have closed it a little too far.
    fn keep_gate(&self) {
        let open_to = self.node.aof.open_to();
        let on = self.node.aof.state() == AofState::On;
        if on && self.policy() == AppendFsync::Always {
            let synced = self.node.log.synced_position();
            if open_to == u64::MAX || open_to < synced {
                self.node.open_file_gate(synced);
            }
        } else if open_to != u64::MAX {
            self.node.open_file_gate(u64::MAX);
        }
    }

    fn take(&mut self) {
        let mut batch = FileBatch::default();
        let spare = std::mem::take(&mut self.spare);
        self.node.log.take_file(&mut batch, spare);
        let FileBatch { mut pieces, end, stream_offset, history, cut } = batch;
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.node.aof.buffered.store(bytes as u64, Relaxed);
        let seen = history.map_or_else(|| self.node.log.offset(), |history| history.offset);
        self.tools.aof.seen_offset.store(seen, Relaxed);
        if let Some(at) = cut {
            let rest = pieces.split_off(at.min(pieces.len()));
            let after: usize = rest.iter().map(|piece| piece.len()).sum();
            if !pieces.is_empty() {
                let run = Run { pieces, end: end - after as u64, stream_offset, history: None };
                self.steps.push_back(Step::Run(run));
            }
            self.steps.push_back(Step::Cut);
            pieces = rest;
        }
        if !pieces.is_empty() || cut.is_some() || self.history_is_due(history) {
            self.steps.push_back(Step::Run(Run { pieces, end, stream_offset, history }));
        } else if cut.is_none() && self.unsynced.is_none() {
            // Nothing came for the file: what the stream has got needs no disk.
            self.node.log.note_synced(end, stream_offset);
        }
    }

    /// The stream went on without a byte for the file (a keepalive, a message), and the file has to
    /// say so: whoever restarts from it must not seem to be behind. Not too often.
    fn history_is_due(&mut self, history: Option<HistoryMark>) -> bool {
        if history.is_none()
            || history == self.told
            || self.part.is_none()
            || self.told_bare.is_some_and(|at| at.elapsed() < BARE_PERIOD)
        {
            return false;
        }
        self.told_bare = Some(Instant::now());
        true
    }

    // ---- writing -------------------------------------------------------------------------

    /// Writes the first step; under `always` it is on disk then.
    fn write_front(&mut self) -> std::io::Result<()> {
        let always = self.policy() == AppendFsync::Always;
        let stamp = self.time_stamp();
        let Some(Step::Run(run)) = self.steps.front() else { return Ok(()) };
        let (end, stream_offset) = (run.end, run.stream_offset);
        let Some(part) = &mut self.part else { return Ok(()) };
        if part.torn {
            take_back(part)?;
        }
        self.tools.aof.begin_call();
        let result = write_run(part, run, stamp.as_deref());
        let history = run.history;
        self.tools.aof.end_call(&self.node);
        let written = match result {
            Ok(written) => written,
            Err(error) => {
                part.torn = true;
                self.told = None;
                // Tried again before the next write.
                let _ = take_back(part);
                return Err(error);
            }
        };
        let before = part.len;
        let all_synced = self.unsynced.is_none() && !self.doubtful;
        part.len += written;
        self.told = history;
        self.unsynced = Some((end, stream_offset));
        self.tools.aof.written.store(end, Release);
        if always && !self.may_not_sync() {
            if let Err(error) = self.try_sync() {
                // What the system says is lost is written again.
                if let Some(part) = &mut self.part {
                    part.len = before;
                    part.torn = true;
                }
                self.told = None;
                match all_synced {
                    true => self.unsynced = None,
                    false => self.doubt(),
                }
                return Err(error);
            }
        } else if always && self.node.aof.state() == AofState::On {
            self.node.open_file_gate(end);
        }
        self.node.aof.current_size.fetch_add(written, Relaxed);
        self.node.aof.buffered.store(0, Relaxed);
        if let Some(Step::Run(run)) = self.steps.front_mut()
            && let Some(FilePiece::Small(bytes)) = run.pieces.pop()
            && bytes.capacity() <= 4 << 20
        {
            self.spare = bytes;
        }
        Ok(())
    }

    /// `no-appendfsync-on-rewrite`, while a save or a rewrite runs.
    fn may_not_sync(&self) -> bool {
        self.node.settings.load().config.no_appendfsync_on_rewrite
            && (self.node.aof.rewriting.load(Relaxed)
                || self.node.persistence.bgsave_running.load(Relaxed))
    }

    /// Syncs what was written. A failure leaves it in doubt.
    fn sync(&mut self) -> std::io::Result<()> {
        self.try_sync().inspect_err(|_| self.doubt())
    }

    fn try_sync(&mut self) -> std::io::Result<()> {
        self.last_sync = Instant::now();
        let Some(part) = &self.part else { return Ok(()) };
        self.tools.aof.begin_call();
        self.node.aof.syncing.store(true, Relaxed);
        let result = part.file.sync_data();
        self.node.aof.syncing.store(false, Relaxed);
        self.tools.aof.end_call(&self.node);
        result?;
        if !self.doubtful
            && let Some((end, stream_offset)) = self.unsynced.take()
        {
            self.node.log.note_synced(end, stream_offset);
            if self.policy() == AppendFsync::Always && self.node.aof.state() == AofState::On {
                self.node.open_file_gate(end);
            }
            self.node.open_gate();
        }
        Ok(())
    }

    /// Asks for a rewrite, for the kernel forgets what a failed sync was for.
    fn doubt(&mut self) {
        self.doubtful = true;
        self.doubt_ends = false;
        self.node.aof.scheduled.store(true, Relaxed);
    }

    fn time_stamp(&mut self) -> Option<Vec<u8>> {
        if !self.node.settings.load().config.aof_timestamp_enabled {
            return None;
        }
        let now = self.node.host.now().unix().secs();
        (now != self.stamped).then(|| {
            self.stamped = now;
            format!("#TS:{now}\r\n").into_bytes()
        })
    }

    fn note_error(&mut self, doing: &str, error: &std::io::Error) {
        self.stamped = 0;
        if self.node.aof.set_error(Some(sys::reason(error))) {
            // Those who only read need not wait for this.
            self.node.nudge_file_gate();
            crate::log::write(
                WARNING,
                &format!(
                    "Error {doing} to the AOF file: {}. Writes are refused until it works again; it is tried each second.",
                    sys::reason(error)
                ),
            );
        }
    }

    fn clear_error(&mut self) {
        if !self.doubtful && self.node.aof.error().is_some() && self.node.aof.set_error(None) {
            crate::log::write(WARNING, "AOF write error looks solved, Redis can write again.");
        }
    }

    // ---- rewriting and switching ---------------------------------------------------------

    /// A new incremental file: here a rewrite's pass began.
    fn switch(&mut self) -> std::io::Result<()> {
        if self.part.is_some() {
            self.sync()?;
        }
        self.cut_failed = None;
        self.doubt_ends = true;
        let waits = self.node.aof.state() == AofState::WaitRewrite;
        let made = if waits {
            open_part(&self.files.temp(".incr"), true).map(|part| self.part = Some(part))
        } else {
            self.add_incr()
        };
        if let Err(error) = made {
            crate::log::write(
                WARNING,
                &format!(
                    "Can't open a new append-only file for the rewrite: {}",
                    sys::reason(&error)
                ),
            );
            self.cut_failed = Some(sys::reason(&error));
            if waits {
                // Without a file there is nothing to go on with: the retry cuts again.
                self.part = None;
            }
        }
        self.stamped = 0;
        self.told = None;
        Ok(())
    }

    fn add_incr(&mut self) -> std::io::Result<()> {
        let info: FileInfo = self.manifest.next_incr(&self.files.filename);
        let name = String::from_utf8_lossy(&info.name).into_owned();
        crate::log::write(NOTICE, &format!("Creating AOF incr file {name} on background rewrite"));
        let path = self.files.part(&info.name);
        let part = open_part(&path, true)?;
        let mut manifest = self.manifest.clone();
        manifest.push_incr(info);
        if let Err(error) = self.files.write_manifest(&manifest) {
            let _ = crate::os::fs::remove_file(&path);
            return Err(error);
        }
        self.manifest = manifest;
        self.part = Some(part);
        Ok(())
    }

    /// A whole base takes the place of everything before its cut.
    fn finish_rewrite(&mut self) {
        if self.new_base.is_none() || !self.steps.is_empty() {
            return;
        }
        // After an error the steps that were left came first, and the cut of this base may still be in
        // the log: without it the base would stand beside what it holds already.
        self.turn();
        if !self.steps.is_empty() {
            return;
        }
        let Some(base) = self.new_base.take() else { return };
        if !self.tools.aof.is_current(base.generation) {
            let _ = crate::os::fs::remove_file(&base.temp);
            return self.rewrite_ended();
        }
        if let Some(why) = self.cut_failed.take() {
            let _ = crate::os::fs::remove_file(&base.temp);
            return self.rewrite_failed(&why);
        }
        match self.replace(&base) {
            Ok(()) => {
                let size = self.files.size(&self.manifest).unwrap_or(0);
                let aof = &self.node.aof;
                aof.current_size.store(size, Relaxed);
                aof.base_size.store(size, Relaxed);
                aof.last_rewrite_ok.store(true, Relaxed);
                aof.rewrite_failures.store(0, Relaxed);
                crate::log::write(NOTICE, "Background AOF rewrite finished successfully");
                self.doubtful &= !self.doubt_ends;
                self.rewrite_ended();
                if !self.doubtful {
                    self.clear_error();
                }
                self.node.set_file_gate();
                self.node.open_gate();
            }
            Err(error) => {
                let _ = crate::os::fs::remove_file(&base.temp);
                self.rewrite_failed(&sys::reason(&error));
            }
        }
    }

    fn replace(&mut self, base: &NewBase) -> std::io::Result<()> {
        crate::log::write(NOTICE, "Background AOF rewrite terminated with success");
        if self.part.is_some() {
            self.sync()?;
        }
        let state = self.node.aof.state();
        let mut manifest = self.manifest.clone();
        let mut keep = usize::from(state != AofState::Off);
        if state == AofState::WaitRewrite {
            let info = manifest.next_incr(&self.files.filename);
            rename(&self.files.temp(".incr"), &self.files.part(&info.name), "incr")?;
            manifest.push_incr(info);
            keep = 1;
        }
        let info = manifest.replace_base(&self.files.filename, base.rdb, keep);
        rename(&base.temp, &self.files.part(&info.name), "base")?;
        self.files.write_manifest(&manifest)?;
        self.manifest = manifest;
        if state == AofState::WaitRewrite {
            self.node.aof.set_state(AofState::On);
        }
        self.collect_garbage()
    }

    fn collect_garbage(&mut self) -> std::io::Result<()> {
        if self.node.settings.load().config.aof_disable_auto_gc {
            return Ok(());
        }
        self.files.remove_history(&mut self.manifest)
    }

    fn rewrite_failed(&mut self, why: &str) {
        let aof = &self.node.aof;
        crate::log::write(WARNING, &format!("Background AOF rewrite terminated with error: {why}"));
        aof.last_rewrite_ok.store(false, Relaxed);
        aof.rewrite_failures.fetch_add(1, Relaxed);
        self.rewrite_ended();
    }

    fn rewrite_ended(&mut self) {
        let aof = &self.node.aof;
        let took = self.node.host.now().unix().secs() - aof.rewrite_started.load(Relaxed);
        aof.last_rewrite_secs.store(took.max(0), Relaxed);
        aof.rewriting.store(false, Release);
        if self.doubtful {
            aof.scheduled.store(true, Relaxed);
        }
    }

    /// `appendonly no`: what was recorded is written, then nothing more.
    fn stop(&mut self) {
        if self.node.aof.state() != AofState::Off {
            // Turned on again before this came.
            return;
        }
        self.turn();
        if let Err(error) = self.sync() {
            crate::log::write(
                WARNING,
                &format!("Fail to fsync the AOF file: {}", sys::reason(&error)),
            );
        }
        self.node.log.close_file();
        self.steps.clear();
        self.part = None;
        self.told = None;
        self.unsynced = None;
        self.doubtful = false;
        self.node.aof.set_error(None);
        let _ = crate::os::fs::remove_file(self.files.temp(".incr"));
        self.node.open_file_gate(u64::MAX);
    }
}

fn open_part(path: &Path, fresh: bool) -> std::io::Result<Part> {
    if fresh {
        // What lies there is of a rewrite that came to nothing.
        match crate::os::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let len = file.metadata()?.len();
    Ok(Part { file, len, sealed: false, torn: false })
}

/// Writes one batch with its seal; returns how many bytes that were.
fn write_run(part: &mut Part, run: &Run, stamp: Option<&[u8]>) -> std::io::Result<u64> {
    let mut out = Vec::with_capacity(run.pieces.iter().map(small_len).sum::<usize>() + 128);
    if run.pieces.is_empty() && run.history.is_none() {
        return Ok(0);
    }
    if !part.sealed {
        out.extend_from_slice(seal::BEGIN);
    }
    let mut summed = out.len();
    let (mut crc, mut total, mut length) = (Crc64::new(), 0, 0);
    out.extend_from_slice(stamp.unwrap_or_default());
    for piece in &run.pieces {
        match piece {
            FilePiece::Small(bytes) => out.extend_from_slice(bytes),
            FilePiece::Large(bytes) => {
                crc.update(&out[summed..]);
                length += out.len() - summed;
                part.file.write_all(&out)?;
                total += out.len();
                out.clear();
                summed = 0;
                crc.update(bytes);
                length += bytes.len();
                part.file.write_all(bytes)?;
                total += bytes.len();
            }
        }
    }
    if let Some(HistoryMark { replid, offset, stream_db }) = run.history {
        History { id: *replid.as_bytes(), offset, db: stream_db }.push_to(&mut out);
    }
    crc.update(&out[summed..]);
    length += out.len() - summed;
    Seal { length: length as u64, checksum: crc.value() }.push_to(&mut out);
    part.file.write_all(&out)?;
    part.sealed = true;
    Ok((total + out.len()) as u64)
}

fn small_len(piece: &FilePiece) -> usize {
    match piece {
        FilePiece::Small(bytes) => bytes.len(),
        FilePiece::Large(_) => 0,
    }
}

/// Cuts off what a failed write has left.
fn take_back(part: &mut Part) -> std::io::Result<()> {
    part.sealed = false;
    if let Err(error) = part.file.set_len(part.len) {
        crate::log::write(
            WARNING,
            &format!(
                "Could not remove short write from the append-only file. Redis may refuse to load the AOF the next time it starts. ftruncate: {}",
                sys::reason(&error)
            ),
        );
        return Err(error);
    }
    part.torn = false;
    Ok(())
}

fn rename(from: &Path, to: &Path, what: &str) -> std::io::Result<()> {
    crate::os::fs::rename(from, to)?;
    crate::log::write(
        NOTICE,
        &format!(
            "Successfully renamed the temporary AOF {what} file {} into {}",
            file_name(from),
            file_name(to)
        ),
    );
    Ok(())
}
