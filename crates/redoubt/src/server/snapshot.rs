//! The thread that makes snapshots: for files and for replicas, one after the other.
//!
//! One pass over the keyspace writes one RDB. Its bytes go to a file beside the old one, or to the
//! queues of replicas while they are made. Writers never wait for it; what they hand over before
//! they change it is taken away after every few steps.

use super::aof::{AofControl, AofTask, Files, NewBase};
use super::host::Tools;
use crate::io::replica::SnapshotQueue;
use crate::io::worker::Shared;
use crate::log::{NOTICE, VERBOSE, WARNING};
use crate::os::fs::File;
use crate::os::mpsc::{Receiver, Sender};
use crate::os::time::{Duration, Instant};
use keyspace::{PartsEncoder, PassEncoder};
use node::{AofState, Node};
use persistence::rdb::{
    Access, EncodeOptions, RdbStream, VERSION_DEFAULT, VERSION_FIELD_TIMES, encode_head,
    encode_key_record, encode_part,
};
use replication::{ConnId, JobId, MasterInput, RdbFilter, SnapshotMark, Transport};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use structures::Entry;
use walk::{PassSink, abandon, walk};

mod walk;

/// What the snapshot thread is asked to do.
pub enum Job {
    /// BGSAVE or a save point.
    Background,
    /// A new base for the append-only file.
    Rewrite,
    /// SAVE, SHUTDOWN, DEBUG RELOAD: the answer is sent when it is done.
    Wait(Sender<Result<(), String>>),
    /// For replicas.
    Replicas {
        /// Its name.
        job: JobId,
        /// How it travels.
        transport: Transport,
        /// What to leave out.
        filter: RdbFilter,
        /// For whom.
        conns: Vec<ConnId>,
    },
}

/// Jobs that nobody wants any more.
#[derive(Default)]
pub struct Aborted(Mutex<BTreeSet<JobId>>);

impl Aborted {
    /// Notes one.
    pub fn add(&self, job: JobId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
    }

    fn has(&self, job: JobId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&job)
    }
}

const PACKED: EncodeOptions = EncodeOptions { version: 10, compress: true };
const PLAIN: EncodeOptions = EncodeOptions { version: 10, compress: false };

fn encode(out: &mut Vec<u8>, entry: &Entry, options: &EncodeOptions) {
    encode_key_record(out, entry.key(), entry.value(), entry.stamp(), Access::None, options);
}

fn head(out: &mut Vec<u8>, entry: &Entry, options: &EncodeOptions) -> Option<i64> {
    encode_head(out, entry.key(), entry.value(), entry.stamp(), Access::None, options)
}

/// Entries as records of an RDB, in the way that `rdbcompression` asks for.
pub fn rdb_encoder(compress: bool) -> PassEncoder {
    if compress {
        PassEncoder {
            entry: |out, entry| encode(out, entry, &PACKED),
            parts: Some(PartsEncoder {
                head: |out, entry| head(out, entry, &PACKED),
                part: |out, part, base| encode_part(out, part, base, true),
            }),
        }
    } else {
        PassEncoder {
            entry: |out, entry| encode(out, entry, &PLAIN),
            parts: Some(PartsEncoder {
                head: |out, entry| head(out, entry, &PLAIN),
                part: |out, part, base| encode_part(out, part, base, false),
            }),
        }
    }
}

/// Runs jobs until the process ends.
pub fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>, tools: &Tools) {
    let aborted = &tools.aborted;
    for job in jobs {
        match job {
            Job::Rewrite => rewrite(&shared.node, &tools.aof),
            Job::Background => {
                background(&shared.node);
            }
            Job::Wait(answer) => {
                let result = save_to_file(&shared.node);
                if let Err(why) = &result {
                    crate::log::write(WARNING, why);
                }
                // Nobody listens any more if the process is on its way out.
                let _ = answer.send(result);
            }
            Job::Replicas { job, transport, filter, conns } => {
                for_replicas(shared, job, transport, filter, &conns, aborted);
            }
        }
    }
}

fn background(node: &Node) {
    let state = &node.persistence;
    let started = node.host.now();
    state.bgsave_started.store(started.unix().secs(), Relaxed);
    state.bgsave_running.store(true, Relaxed);
    crate::log::write(NOTICE, "Background saving started");
    let result = save_to_file(node);
    let secs = (node.host.now().mono_us - started.mono_us) / 1_000_000;
    state.last_bgsave_secs.store(secs as i64, Relaxed);
    state.last_bgsave_ok.store(result.is_ok(), Relaxed);
    match result {
        Ok(()) => crate::log::write(NOTICE, "Background saving terminated with success"),
        Err(why) => crate::log::write(WARNING, &format!("Background saving error: {why}")),
    }
    state.bgsave_running.store(false, Relaxed);
}

/// Writes the data set to `dbfilename` in `dir`, by way of a file beside it.
pub fn save_to_file(node: &Node) -> Result<(), String> {
    let settings = node.settings.load_full();
    let path = PathBuf::from(settings.config.dbfilename.to_str().into_owned());
    let temp = PathBuf::from(format!("temp-{}.rdb", std::process::id()));
    let dirty_before = node.dirty();
    let result = write_file(node, &temp).and_then(|()| {
        crate::os::fs::rename(&temp, &path)?;
        sync_folder_of(&path)
    });
    match result {
        Ok(()) => {
            let state = &node.persistence;
            state.dirty_at_save.store(dirty_before, Relaxed);
            state.last_save.store(node.host.now().unix().secs(), Relaxed);
            state.saves.fetch_add(1, Relaxed);
            state.last_bgsave_ok.store(true, Relaxed);
            crate::log::write(NOTICE, "DB saved on disk");
            Ok(())
        }
        Err(error) => {
            let _ = crate::os::fs::remove_file(&temp);
            Err(format!("Error saving the data set to {}: {error}", path.display()))
        }
    }
}

/// A rename is durable once the folder is.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_file(node: &Node, path: &Path) -> io::Result<()> {
    let step = node.settings.load().config.rdb_save_incremental_fsync;
    let file = SyncedFile::create(path, step)?;
    let how = RdbOf { for_replicas: false, aof_base: false, filter: RdbFilter::default() };
    let (file, ()) = write_rdb(node, file, &how, &|| false, &mut |_| {})?;
    file.file.sync_all()
}

// ---- the append-only file --------------------------------------------------------------------

/// A new base file for the append-only file, from the moment at which the log is cut.
fn rewrite(node: &Node, control: &AofControl) {
    let generation = control.next_generation();
    control.asked.store(false, Relaxed);
    let rdb = node.settings.load().config.aof_use_rdb_preamble;
    let temp = Files::new(&node.settings.load().config).temp_base();
    let mut cut = || {
        // Turned off in between: nothing is recorded any more, and the base stands for itself.
        if node.aof.state() != AofState::Off {
            if !node.log.wants_file() {
                node.log.open_file();
            }
            node.log.cut_file();
        }
    };
    let begun = Instant::now();
    let give_up = || !control.is_current(generation);
    let result = Files::new(&node.settings.load().config)
        .make_dir()
        .map_err(io::Error::other)
        .and_then(|()| write_base(node, &temp, rdb, &give_up, &mut cut));
    let result = match result {
        Ok(()) => {
            crate::log::write(
                NOTICE,
                &format!(
                    "Successfully created the temporary AOF base file {} ({:.3} seconds)",
                    temp.display(),
                    begun.elapsed().as_secs_f64()
                ),
            );
            Ok(NewBase { temp, rdb, generation })
        }
        Err(error) => {
            let _ = crate::os::fs::remove_file(&temp);
            Err(format!("writing {}: {}", temp.display(), crate::io::sys::reason(&error)))
        }
    };
    control.task(AofTask::Rewritten { generation, result });
}

/// Writes a base file and syncs it. `at_start` is called under all stripes.
pub fn write_base(
    node: &Node,
    path: &Path,
    rdb: bool,
    give_up: &dyn Fn() -> bool,
    at_start: &mut dyn FnMut(),
) -> io::Result<()> {
    let step = node.settings.load().config.aof_rewrite_incremental_fsync;
    let file = SyncedFile::create(path, step)?;
    let file = if rdb {
        let how = RdbOf { for_replicas: false, aof_base: true, filter: RdbFilter::default() };
        write_rdb_from(node, file, &how, give_up, at_start, &mut |_| {})?.0
    } else {
        write_commands(node, file, give_up, at_start)?
    };
    file.file.sync_all()
}

/// The base without an RDB: every key as the commands that make it.
fn write_commands(
    node: &Node,
    file: SyncedFile,
    give_up: &dyn Fn() -> bool,
    at_start: &mut dyn FnMut(),
) -> io::Result<SyncedFile> {
    let mut functions = Vec::new();
    // A command names its key, and times come last: big values are not written in parts.
    let encoder = PassEncoder { entry: encode_as_commands, parts: None };
    let begun = node.keyspace.begin_pass_in_parts(encoder, || {
        at_start();
        functions = node.function_sources();
    });
    assert!(begun, "one thread makes all passes");
    let mut sink = CommandSink { output: io::BufWriter::new(file), db: None };
    let result = (|| {
        if node.settings.load().config.aof_timestamp_enabled {
            sink.output
                .write_all(format!("#TS:{}\r\n", node.host.now().unix().secs()).as_bytes())?;
        }
        for source in &functions {
            let mut command = Vec::new();
            resp::encode_command(&mut command, &[&b"FUNCTION"[..], b"LOAD", source]);
            sink.output.write_all(&command)?;
        }
        walk(node, &mut sink, encoder, false, give_up)
    })();
    if result.is_err() {
        abandon(node);
    }
    result?;
    sink.output.into_inner().map_err(io::IntoInnerError::into_error)
}

fn encode_as_commands(out: &mut Vec<u8>, entry: &Entry) {
    persistence::aof::encode_commands(out, entry.key(), entry.value(), entry.stamp());
}

struct CommandSink {
    output: io::BufWriter<SyncedFile>,
    db: Option<u64>,
}

impl PassSink for CommandSink {
    fn database(&mut self, db: u64) -> io::Result<()> {
        if self.db != Some(db) {
            self.db = Some(db);
            let mut command = Vec::new();
            resp::encode_command(&mut command, &["SELECT", &db.to_string()]);
            self.output.write_all(&command)?;
        }
        Ok(())
    }
    fn entries(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }
    fn done(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Bytes between two syncs of a file that is being made. Source: redis 7.0
/// `config.h:REDIS_AUTOSYNC_BYTES`.
const SYNC_BYTES: u64 = 4 << 20;

/// A file that goes to disk while it is written, so that the end of it is no burst.
struct SyncedFile {
    file: File,
    step: bool,
    unsynced: u64,
}

impl SyncedFile {
    fn create(path: &Path, step: bool) -> io::Result<SyncedFile> {
        Ok(SyncedFile { file: File::create(path)?, step, unsynced: 0 })
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written as u64;
        if self.step && self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What kind of RDB it is to be.
struct RdbOf {
    for_replicas: bool,
    /// The base of an append-only file.
    aof_base: bool,
    filter: RdbFilter,
}

/// One pass over the keyspace, as an RDB on `output`. `started` gets the log's mark at once.
fn write_rdb<W: Write>(
    node: &Node,
    output: W,
    how: &RdbOf,
    give_up: &dyn Fn() -> bool,
    started: &mut dyn FnMut(SnapshotMark),
) -> io::Result<(W, ())> {
    write_rdb_from(node, output, how, give_up, &mut || {}, started)
}

/// As [`write_rdb`]; `at_cut` is called under all stripes, where the pass begins.
fn write_rdb_from<W: Write>(
    node: &Node,
    output: W,
    how: &RdbOf,
    give_up: &dyn Fn() -> bool,
    at_cut: &mut dyn FnMut(),
    started: &mut dyn FnMut(SnapshotMark),
) -> io::Result<(W, ())> {
    let &RdbOf { for_replicas, filter, .. } = how;
    let settings = node.settings.load_full();
    let compress = settings.config.rdbcompression;
    let encoder = rdb_encoder(compress);
    let mut mark = None;
    let mut functions = Vec::new();
    let begun = node.keyspace.begin_pass_in_parts(encoder, || {
        mark = Some(node.log.mark_snapshot(for_replicas));
        at_cut();
        if !filter.exclude_functions {
            functions = node.function_sources();
        }
    });
    assert!(begun, "one thread makes all passes");
    let timed = node.keyspace.pass_has_timed_fields();
    if timed && filter.no_field_times && !filter.exclude_data {
        // One came since `refusal` looked.
        abandon(node);
        return Err(io::Error::other("fields of a hash have got times"));
    }
    // The lowest version that holds the data; the records are the same in all.
    let version = if timed { VERSION_FIELD_TIMES } else { VERSION_DEFAULT };
    let options = EncodeOptions { version, compress };
    let mut stream = RdbStream::new(output, options, settings.config.rdbchecksum);
    let mark = mark.expect("the mark is taken when the pass begins");
    let (ids, offset, stream_db) = (mark.ids, mark.offset, mark.stream_db);
    started(mark);
    let result = (|| {
        write_aux(node, &mut stream, ids, offset, stream_db, how)?;
        for source in &functions {
            stream.function(source)?;
        }
        walk(node, &mut stream, encoder, filter.exclude_data, give_up)
    })();
    if result.is_err() {
        // The pass has to be walked to its end in any case: marks must not stay behind.
        abandon(node);
    }
    result?;
    stream.finish().map(|(output, _)| (output, ()))
}

fn write_aux<W: Write>(
    node: &Node,
    stream: &mut RdbStream<W>,
    ids: replication::ReplIds,
    offset: u64,
    stream_db: Option<u32>,
    how: &RdbOf,
) -> io::Result<()> {
    let for_replicas = how.for_replicas;
    let now = node.host.now();
    stream.aux(b"redis-ver", node::command::REDIS_VERSION.as_bytes())?;
    stream.aux_int(b"redis-bits", 64)?;
    stream.aux_int(b"ctime", now.unix().secs())?;
    stream.aux_int(b"used-mem", node.host.facts().used_memory as i64)?;
    // Without a backlog there is no history that could be gone on with.
    // A base is loaded together with what was written after it, so its offset would be too low.
    if for_replicas || (!how.aof_base && node.log.backlog_active()) {
        stream.aux_int(b"repl-stream-db", stream_db.map_or(0, i64::from))?;
        stream.aux(b"repl-id", ids.replid.to_string().as_bytes())?;
        stream.aux_int(b"repl-offset", offset as i64)?;
    }
    stream.aux_int(b"aof-base", i64::from(how.aof_base))
}

// ---- for replicas --------------------------------------------------------------------------

/// Bytes gathered before they are given to the replicas' queues.
const CHUNK_BYTES: usize = 128 * 1024;

/// Gives the same bytes to several replicas. A replica that takes none for too long is dropped.
struct FanOut<'a> {
    node: &'a Node,
    queues: Vec<(ConnId, Arc<SnapshotQueue>)>,
    buffer: Vec<u8>,
    patience: Duration,
}

impl FanOut<'_> {
    fn give(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Arc::new(std::mem::take(&mut self.buffer));
        let patience = self.patience;
        let node = self.node;
        let mut idle = || walk::while_waiting(node);
        self.queues.retain(|(_, queue)| queue.push(&chunk, patience, &mut idle));
        for (conn, _) in &self.queues {
            wake_owner(self.node, *conn);
        }
        if self.queues.is_empty() {
            return Err(io::Error::other("the last replica is gone"));
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.give()?;
        for (conn, queue) in &self.queues {
            queue.end();
            wake_owner(self.node, *conn);
        }
        Ok(())
    }
}

fn wake_owner(node: &Node, conn: ConnId) {
    if let Some(client) = node.clients.get(conn.0) {
        node.mailboxes[client.worker()].send(node::Message::PumpReplicas);
    }
}

impl Write for FanOut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.give()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.give()
    }
}

fn for_replicas(
    shared: &Arc<Shared>,
    job: JobId,
    transport: Transport,
    filter: RdbFilter,
    conns: &[ConnId],
    aborted: &Aborted,
) {
    let node = &*shared.node;
    if let Some((key, why)) = refusal(node, filter, conns) {
        crate::log::write(WARNING, &format!("Full sync with replica {why}"));
        let why = format!("Can't SYNC while fields of key '{key}' have expiry times");
        let refused = MasterInput::SnapshotRefused { job, why: &why };
        node.master_input(node.host.now().mono(), refused, None);
        return;
    }
    let patience = Duration::from_secs(u64::from(node.settings.load().config.repl_timeout.max(1)));
    let queues: Vec<_> =
        conns.iter().map(|conn| (*conn, shared.queues.open(job, conn.0))).collect();
    let give_up = || aborted.has(job);
    let now = || node.host.now().mono();
    let mut started = |mark: SnapshotMark| {
        node.master_input(now(), MasterInput::SnapshotStarted { job, mark }, None);
    };
    let begun = Instant::now();
    let result = match transport {
        Transport::Diskless => {
            let fan_out = FanOut { node, queues, buffer: Vec::new(), patience };
            let how = RdbOf { for_replicas: true, aof_base: false, filter };
            write_rdb(node, fan_out, &how, &give_up, &mut started)
                .and_then(|(mut fan_out, ())| fan_out.end())
                .map(|()| 0)
        }
        Transport::Disk => by_file(node, job, filter, queues, patience, &give_up, &mut started),
    };
    match result {
        Ok(length) => {
            crate::log::write(
                VERBOSE,
                &format!("Snapshot for replicas made in {:.3} s", begun.elapsed().as_secs_f64()),
            );
            if transport == Transport::Diskless {
                node.master_input(
                    now(),
                    MasterInput::SnapshotEnded { job, length: Some(length) },
                    None,
                );
            }
        }
        Err(error) => {
            crate::log::write(WARNING, &format!("Snapshot for replicas failed: {error}"));
            shared.queues.drop_job(job);
            node.master_input(now(), MasterInput::SnapshotEnded { job, length: None }, None);
        }
    }
}

/// Why these replicas can't get the data set: no form that they read holds some key. The key, and
/// what goes to the log.
fn refusal(node: &Node, filter: RdbFilter, conns: &[ConnId]) -> Option<(String, String)> {
    if !filter.no_field_times || filter.exclude_data {
        return None;
    }
    let (db, key) = node.keyspace.key_with_timed_fields()?;
    // A name may be as long as any string.
    let key = key[..key.len().min(128)].escape_ascii().to_string();
    let peers: Vec<String> = conns
        .iter()
        .filter_map(|conn| node.clients.get(conn.0))
        .map(|client| client.addr.clone())
        .collect();
    let why = format!(
        "{} refused: fields of key '{key}' in DB {db} have expiry times, which need RDB version \
         {VERSION_FIELD_TIMES}, and it did not announce that it reads that (REPLCONF capa {})",
        peers.join(", "),
        replication::RDB_CAPA,
    );
    Some((key, why))
}

/// The form with a length: a whole file first, which is then sent.
fn by_file(
    node: &Node,
    job: JobId,
    filter: RdbFilter,
    queues: Vec<(ConnId, Arc<SnapshotQueue>)>,
    patience: Duration,
    give_up: &dyn Fn() -> bool,
    started: &mut dyn FnMut(SnapshotMark),
) -> io::Result<u64> {
    let temp = PathBuf::from(format!("temp-repl-{}.rdb", std::process::id()));
    let made = File::create(&temp)
        .and_then(|file| {
            let how = RdbOf { for_replicas: true, aof_base: false, filter };
            write_rdb(node, file, &how, give_up, started)
        })
        .map(|_| ());
    let outcome = made.and_then(|()| {
        let mut file = File::open(&temp)?;
        let length = file.metadata()?.len();
        let now = node.host.now().mono();
        node.master_input(now, MasterInput::SnapshotEnded { job, length: Some(length) }, None);
        let mut fan_out = FanOut { node, queues, buffer: Vec::new(), patience };
        let mut piece = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                n => fan_out.write_all(&piece[..n])?,
            }
        }
        fan_out.end()?;
        Ok(length)
    });
    let _ = crate::os::fs::remove_file(&temp);
    outcome
}
