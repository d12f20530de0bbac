//! Loading the append-only file: at start, and for DEBUG LOADAOF.
//!
//! Source: redis 7.0 `aof.c:loadAppendOnlyFiles`, `loadSingleAppendOnlyFile` (behaviour, log lines).

use super::Files;
use crate::io::sys;
use crate::log::{NOTICE, WARNING};
use crate::os::fs::{File, OpenOptions};
use crate::os::time::Instant;
use crate::server::load::{self, Expired, LoadHow};
use node::{FileApplier, Node, Worker};
use persistence::aof::{AofError, AofEvent, AofReader, FileInfo, History, Manifest};
use std::io::{BufReader, Read, Seek};
use std::sync::atomic::Ordering::Relaxed;

/// What there was to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No append-only file.
    Nothing,
    /// It was loaded; where it ends in its replication history, if it tells that.
    Loaded(Option<History>),
}

/// Loads all parts into an empty node. An error is what the last line of the log has to say.
pub fn load(
    node: &Node,
    worker: &mut Worker,
    files: &Files,
    manifest: &Manifest,
) -> Result<Found, String> {
    if manifest.is_empty() {
        return Ok(Found::Nothing);
    }
    let total = files.size(manifest)?;
    let state = &node.persistence;
    state.load_total.store(total, Relaxed);
    state.load_done.store(0, Relaxed);
    state.load_started.store(node.host.now().unix().secs(), Relaxed);
    let begun = Instant::now();
    let last = manifest.files().last();
    let (mut done, mut history) = (0, None);
    for (index, info) in manifest.files().enumerate() {
        let started = Instant::now();
        let part = Part {
            node,
            files,
            info,
            is_last: last.is_some_and(|last| std::ptr::eq(last, info)),
            done,
        };
        let end = part.load(worker, &mut history)?;
        let kind = if index == 0 && manifest.base.is_some() { "base" } else { "incr" };
        if end > 0 {
            crate::log::write(
                NOTICE,
                &format!(
                    "DB loaded from {kind} file {}: {:.3} seconds",
                    part.name(),
                    started.elapsed().as_secs_f64()
                ),
            );
        }
        done += end;
        state.load_done.store(done, Relaxed);
    }
    crate::log::write(
        NOTICE,
        &format!("DB loaded from append only file: {:.3} seconds", begun.elapsed().as_secs_f64()),
    );
    Ok(Found::Loaded(history))
}

/// One part that is being loaded.
struct Part<'a> {
    node: &'a Node,
    files: &'a Files,
    info: &'a FileInfo,
    is_last: bool,
    /// Bytes of the parts before it.
    done: u64,
}

impl Part<'_> {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.info.name).into_owned()
    }

    /// Loads it; returns its length. `history` is what the parts so far tell at their end.
    fn load(&self, worker: &mut Worker, history: &mut Option<History>) -> Result<u64, String> {
        let path = self.files.part(&self.info.name);
        let open = |error: std::io::Error| {
            format!(
                "Fatal error: can't open the append log file {} for reading: {}",
                self.name(),
                sys::reason(&error)
            )
        };
        let mut file = File::open(&path).map_err(open)?;
        let mut magic = [0; 5];
        let is_rdb = file.read_exact(&mut magic).is_ok() && &magic == b"REDIS";
        file.rewind().map_err(open)?;
        let file = BufReader::with_capacity(1 << 20, file);
        if !is_rdb {
            return self.commands(worker, history, AofReader::new(file));
        }
        crate::log::write(NOTICE, "Reading RDB base file on AOF loading...");
        let how = LoadHow {
            expired: Expired::Keep,
            replace: false,
            done_before: self.done,
            header: None,
        };
        let (_, reader) = load::load_front(self.node, file, how).map_err(|why| {
            crate::log::write(WARNING, &format!("{}: {why}", self.name()));
            format!(
                "Error reading the RDB preamble of the AOF file {}, AOF loading aborted",
                self.name()
            )
        })?;
        let offset = reader.offset();
        let (file, ahead) = reader.into_parts();
        *history = None;
        self.commands(worker, history, AofReader::behind(file, ahead, offset))
    }

    fn commands<R: Read>(
        &self,
        worker: &mut Worker,
        history: &mut Option<History>,
        mut reader: AofReader<R>,
    ) -> Result<u64, String> {
        let node = self.node;
        let mut applier = FileApplier::new(node, worker.index);
        // Where the transaction in progress begins, and how many commands it has.
        let mut multi: Option<(u64, u64)> = None;
        let mut count = 0u64;
        loop {
            let before = reader.offset();
            if count.is_multiple_of(1024) {
                node.persistence.load_done.store(self.done + before, Relaxed);
                worker.now = node.host.now();
            }
            count += 1;
            match reader.next_event() {
                Ok(AofEvent::Command(args)) => {
                    if !applier.run(node, worker, &args) {
                        return Err(format!(
                            "Unknown command '{}' reading the append only file {}",
                            String::from_utf8_lossy(args.at(0)),
                            self.name()
                        ));
                    }
                    multi = match (multi, applier.in_multi()) {
                        (_, false) => None,
                        (None, true) => Some((before, 0)),
                        (Some((at, n)), true) => Some((at, n + 1)),
                    };
                    free(node, worker);
                    *history = None;
                }
                Ok(AofEvent::Annotation(line)) => {
                    *history = History::parse(line).or(history.take());
                }
                Ok(AofEvent::Eof) if multi.is_none() => break,
                Ok(AofEvent::Eof) => {
                    let end = reader.offset();
                    return self.cut(multi, end, end, None);
                }
                Err(error) if error.is_truncated() => {
                    let end = reader.offset();
                    return self.cut(multi, end, error.offset, Some(&error));
                }
                Err(error) => return Err(self.damaged(&error)),
            }
        }
        if reader.has_seals() && reader.unsealed() > 0 {
            crate::log::write(
                NOTICE,
                &format!(
                    "The last {} bytes of {} have no checksum: another program wrote them, or the server died while it wrote. Their format is right.",
                    reader.unsealed(),
                    self.name()
                ),
            );
        }
        Ok(reader.offset())
    }

    fn damaged(&self, error: &AofError) -> String {
        crate::log::write(
            WARNING,
            &format!(
                "The append only file {} is damaged: {error}. Restore a good copy, or let redis-check-aof cut off everything from the damage on.",
                self.name()
            ),
        );
        format!(
            "Bad file format reading the append only file {}: make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>",
            self.name()
        )
    }

    /// The part ends too early: it is cut off behind its last whole command, or refused.
    fn cut(
        &self,
        multi: Option<(u64, u64)>,
        whole: u64,
        end: u64,
        error: Option<&AofError>,
    ) -> Result<u64, String> {
        let name = self.name();
        let keep = multi.map_or(whole, |(at, _)| at);
        let end = end.max(whole);
        let what = match (multi, error) {
            (Some((_, n)), _) => format!("a transaction without its EXEC ({n} commands in it)"),
            (None, Some(error)) => format!("a command that is not whole ({error})"),
            (None, None) => "nothing".into(),
        };
        let lost =
            format!("{name}: the last {} of its {end} bytes are {what}", end.saturating_sub(keep));
        if !self.is_last {
            crate::log::write(WARNING, &lost);
            return Err("Fatal error: the truncated file is not the last file".into());
        }
        if !self.node.settings.load().config.aof_load_truncated {
            crate::log::write(WARNING, &lost);
            return Err(format!(
                "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server."
            ));
        }
        crate::log::write(
            WARNING,
            &format!("!!! Warning: short read while loading the AOF file {name}!!!"),
        );
        crate::log::write(WARNING, &format!("!!! Truncating the AOF {name} at offset {keep} !!!"));
        let cut = OpenOptions::new()
            .write(true)
            .open(self.files.part(&self.info.name))
            .and_then(|file| file.set_len(keep).and_then(|()| file.sync_all()));
        if let Err(error) = cut {
            return Err(format!("Error truncating the AOF file {name}: {}", sys::reason(&error)));
        }
        crate::log::write(WARNING, &format!("Lost: {lost}; everything before is loaded"));
        crate::log::write(
            WARNING,
            &format!("AOF {name} loaded anyway because aof-load-truncated is enabled"),
        );
        Ok(keep)
    }
}

/// Values that the commands replaced go away.
fn free(node: &Node, worker: &mut Worker) {
    if worker.trash.len() > 64 || !worker.tables.is_empty() {
        let (trash, tables) =
            (std::mem::take(&mut worker.trash), std::mem::take(&mut worker.tables));
        node.host.free(trash, tables);
    }
}

/// A single file of a Redis before 7 becomes the base of a set.
/// Source: redis 7.0 `aof.c:aofUpgradePrepare`.
pub fn upgrade(files: &Files, manifest: &mut Manifest) -> Result<(), String> {
    let old = std::path::PathBuf::from(String::from_utf8_lossy(&files.filename).into_owned());
    if !crate::os::fs::metadata(&old).is_ok_and(|m| m.is_file()) {
        return Ok(());
    }
    let half_done = manifest.incrs.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == files.filename)
        && !crate::os::fs::exists(files.part(&files.filename)).unwrap_or(false);
    if crate::os::fs::metadata(&files.dir).is_ok_and(|m| m.is_dir())
        && !manifest.is_empty()
        && !half_done
    {
        return Ok(());
    }
    files.make_dir()?;
    if manifest.base.is_none() {
        manifest.base = Some(FileInfo { name: files.filename.clone(), seq: 1 });
        manifest.base_seq = 1;
    }
    let fail = |error: std::io::Error| {
        format!("Error trying to upgrade the old append-only file: {}", sys::reason(&error))
    };
    // The manifest first: a crash between the two is found as 'half done'.
    files.write_manifest(manifest).map_err(fail)?;
    crate::os::fs::rename(&old, files.part(&files.filename)).map_err(fail)?;
    files.sync_dir().map_err(fail)?;
    crate::log::write(
        NOTICE,
        &format!(
            "Successfully migrated an old-style AOF configuration ({}) into the AOF directory ({}).",
            old.display(),
            files.dir.display()
        ),
    );
    Ok(())
}
