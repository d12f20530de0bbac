//! Loading an RDB into the keyspace: at start, after a full synchronization, DEBUG RELOAD.

use keyspace::{ExpireRule, KeyOptions, Keys, MemoryPolicy, StripeMask};
use node::Node;
use persistence::rdb::DecodeOptions;
use persistence::rdb::{Event, Loaded, RdbReader, ReadOptions};
use std::io::Read;
use std::sync::atomic::Ordering::Relaxed;
use structures::Entry;

/// What an RDB told beside its keys.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Keys loaded.
    pub keys: u64,
    /// Keys left out, since their time had passed.
    pub expired: u64,
    /// Keys left out, since they were empty.
    pub empty: u64,
    /// `repl-id`
    pub repl_id: Option<String>,
    /// `repl-offset`
    pub repl_offset: Option<u64>,
    /// `repl-stream-db`
    pub stream_db: Option<i64>,
}

/// What becomes of keys whose time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// They stay: a replica keeps them until its master says so.
    Keep,
    /// They are left out.
    Drop,
    /// They are left out, and their removal is written to the log: replicas that go on from where
    /// the file ends still have them.
    DropAndTell,
}

impl Expired {
    /// For DEBUG RELOAD.
    pub fn on_reload(node: &Node) -> Expired {
        if node.is_replica() { Expired::Keep } else { Expired::Drop }
    }
}

/// How a file is loaded.
#[derive(Clone, Copy)]
pub struct LoadHow<'a> {
    /// See [`Expired`].
    pub expired: Expired,
    /// A key that is there is replaced (DEBUG RELOAD MERGE); else it is an error.
    pub replace: bool,
    /// Bytes of other files that were loaded before, for the progress.
    pub done_before: u64,
    /// Called once, before the first key: the file has told what it is.
    pub header: Option<&'a dyn Fn(&LoadReport)>,
}

impl LoadHow<'_> {
    /// A master's data set, for a replica.
    pub const FROM_MASTER: LoadHow<'static> =
        LoadHow { expired: Expired::Keep, replace: false, done_before: 0, header: None };
}

/// Loads everything. Keys that were loaded before an error stay: the caller decides what then.
pub fn load(node: &Node, input: impl Read, how: LoadHow<'_>) -> Result<LoadReport, String> {
    load_front(node, input, how).map(|(report, _)| report)
}

/// As [`load`], for an RDB with something behind it: the reader comes back at its end.
pub fn load_front<R: Read>(
    node: &Node,
    input: R,
    how: LoadHow<'_>,
) -> Result<(LoadReport, RdbReader<R>), String> {
    let settings = node.settings.load_full();
    let options = ReadOptions {
        decode: DecodeOptions { limits: settings.env.limits },
        checksum: settings.config.rdbchecksum,
    };
    let key_options = KeyOptions {
        now: node.host.now().unix(),
        expire: ExpireRule::Ignore,
        notify: 0,
        touch: true,
        policy: settings.policy,
    };
    let mut reader = RdbReader::new(input, options);
    let (mut report, mut db) = (LoadReport::default(), 0usize);
    let mut header = how.header;
    loop {
        if report.keys % 1024 == 0 {
            node.persistence.load_done.store(how.done_before + reader.offset(), Relaxed);
        }
        let event = reader.next_event().map_err(|error| error.to_string())?;
        if !matches!(event, Event::Aux { .. })
            && let Some(header) = header.take()
        {
            header(&report);
        }
        match event {
            Event::Aux { name, value } => note_aux(&mut report, name, value),
            Event::SelectDb(index) => {
                db = usize::try_from(index).ok().filter(|db| *db < node.keyspace.databases()).ok_or_else(|| {
                    format!("the file has keys in database {index}, but `databases` is {}: raise it", node.keyspace.databases())
                })?;
            }
            Event::ResizeDb { .. } | Event::SlotInfo { .. } => {}
            Event::Function(source) => {
                node.load_functions(source, how.replace).map_err(|text| {
                    format!(
                        "Failed creating the functions library: {}",
                        String::from_utf8_lossy(&text)
                    )
                })?;
            }
            Event::EmptyKey { key, .. } => {
                report.empty += 1;
                if report.empty <= 10 {
                    crate::log::write(
                        crate::log::NOTICE,
                        &format!("Rdb load skipping empty key: {}", String::from_utf8_lossy(key)),
                    );
                }
            }
            Event::Key(record) => {
                let late = record.expire_at.is_some_and(|at| at <= key_options.now.0);
                if late && how.expired != Expired::Keep {
                    if how.expired == Expired::DropAndTell {
                        node.log_expired_at_load(db, record.key);
                    }
                    report.expired += 1;
                    continue;
                }
                let entry = match record.value {
                    Loaded::Text(text) => Entry::new_str(record.key, text, record.expire_at),
                    Loaded::Owned(value) => Entry::new(record.key, value, record.expire_at),
                };
                let access = key_options.policy.given(key_options.now, record.idle, record.freq);
                insert(node, db, key_options, entry, how.replace, access)?;
                report.keys += 1;
            }
            Event::Eof { .. } => break,
        }
    }
    if report.empty > 0 {
        crate::log::write(
            crate::log::WARNING,
            &format!(
                "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
                report.keys, report.expired, report.empty
            ),
        );
    } else {
        crate::log::write(
            crate::log::NOTICE,
            &format!(
                "Done loading RDB, keys loaded: {}, keys expired: {}.",
                report.keys, report.expired
            ),
        );
    }
    node.persistence.load_keys.store(report.keys, Relaxed);
    node.persistence.load_expired.store(report.expired, Relaxed);
    Ok((report, reader))
}

/// Whether an RDB file holds no key at all.
pub fn has_no_key(path: &std::path::Path) -> Result<bool, String> {
    let file = crate::os::fs::File::open(path).map_err(|error| error.to_string())?;
    let options = ReadOptions {
        decode: DecodeOptions { limits: structures::Limits::default() },
        checksum: false,
    };
    let mut reader = RdbReader::new(std::io::BufReader::new(file), options);
    loop {
        // A database is named only if something is in it.
        match reader.next_event().map_err(|error| error.to_string())? {
            Event::Eof { .. } => return Ok(true),
            Event::SelectDb(_) | Event::Key(_) | Event::EmptyKey { .. } => return Ok(false),
            _ => {}
        }
    }
}

fn insert(
    node: &Node,
    db: usize,
    options: KeyOptions,
    entry: Entry,
    replace: bool,
    access: Option<u32>,
) -> Result<(), String> {
    let mut mask = StripeMask::default();
    mask.add(node.keyspace.stripe_of(entry.key()));
    let mut keys = Keys::new(node.keyspace.hold(mask), db, options);
    if keys.exists(entry.key()) {
        if !replace {
            return Err(format!(
                "RDB has duplicated key '{}' in DB {db}",
                String::from_utf8_lossy(entry.key())
            ));
        }
        let key = entry.key().to_vec();
        keys.remove(&key);
    }
    let touched = access.map(|access| (entry.key().to_vec(), access));
    keys.insert(entry);
    if let Some((key, access)) = touched
        && let Some(entry) = keys.write(&key)
    {
        entry.set_access(access);
    }
    Ok(())
}

fn note_aux(report: &mut LoadReport, name: &[u8], value: &[u8]) {
    match name {
        b"repl-id" => report.repl_id = Some(String::from_utf8_lossy(value).into_owned()),
        b"repl-offset" => report.repl_offset = stdx::parse_u64(value),
        b"repl-stream-db" => report.stream_db = stdx::parse_i64(value),
        _ => {}
    }
}

/// Empties all databases; the tables are freed elsewhere.
pub fn flush_all(node: &Node) {
    let options = KeyOptions {
        now: node.host.now().unix(),
        expire: ExpireRule::Ignore,
        notify: 0,
        touch: false,
        policy: MemoryPolicy::Lru,
    };
    let mut keys = Keys::new(node.keyspace.hold(node.keyspace.all()), 0, options);
    let (_, tables) = keys.flush(None);
    node.flush_functions();
    node.data_set_emptied();
    drop(keys);
    node.host.free(Vec::new(), tables);
}
