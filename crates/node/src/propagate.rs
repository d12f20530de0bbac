//! From effects to a record of the log.
//!
//! A record collects the effects of one command, or of all commands of a transaction, in the order
//! in which they happened, and is appended under the stripe locks of the change.

use crate::{Node, Worker};
use commands::Effect;
use keyspace::{Change, EventClass, ExpiredFields, KeyEvent};
use replication::{AppendRecord, Part, Position, Targets};
use resp::{Args, encode_command, push_array_len, push_bulk};
use smallvec::SmallVec;

struct RecordPart {
    db: Option<u32>,
    /// End in `bytes`.
    end: usize,
    /// Commands.
    count: u32,
    targets: Targets,
}

/// Effects collected for one record.
#[derive(Default)]
pub struct Record {
    bytes: Vec<u8>,
    parts: Vec<RecordPart>,
}

impl Record {
    fn push(&mut self, db: Option<u32>, targets: Targets, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        let end = self.bytes.len();
        match self.parts.last_mut() {
            Some(last) if last.db == db && last.targets == targets => {
                last.end = end;
                last.count += 1;
            }
            _ => self.parts.push(RecordPart { db, end, count: 1, targets }),
        }
    }

    /// Adds a removal by the server itself.
    pub fn push_removal(&mut self, db: usize, key: &[u8], lazy: bool) {
        let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.push(Some(db as u32), Targets::ALL, |bytes| encode_command(bytes, &[name, key]));
    }

    /// Adds a removal of fields of a hash by the server itself.
    pub fn push_fields_removal(&mut self, db: usize, key: &[u8], fields: &[Vec<u8>]) {
        self.push(Some(db as u32), Targets::ALL, |bytes| {
            push_array_len(bytes, fields.len() + 2);
            push_bulk(bytes, b"HDEL");
            push_bulk(bytes, key);
            fields.iter().for_each(|field| push_bulk(bytes, field));
        });
    }

    /// Adds a command as the client sent it.
    pub fn push_args(&mut self, db: Option<usize>, targets: Targets, args: &Args<'_>) {
        self.push(db.map(|db| db as u32), targets, |bytes| {
            push_array_len(bytes, args.len());
            args.iter().for_each(|arg| push_bulk(bytes, arg));
        });
    }

    /// Forgets everything: what was collected is undone.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.bytes.clear();
    }

    /// Nothing collected.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Node {
    /// True if effects of this origin have to be written down.
    #[inline]
    pub(crate) fn records(&self, from_master: bool) -> bool {
        // Effects of the master's commands are in its stream, which is kept verbatim; a writable
        // replica's own writes go to nobody but its file.
        self.log.wants_records() && !from_master && (!self.is_replica() || self.log.wants_file())
    }

    /// Adds what one command did to the worker's record.
    pub(crate) fn collect(
        &self,
        worker: &mut Worker,
        db: usize,
        args: &Args<'_>,
        dirty: u64,
        implied: &[Change],
        effect: &Effect,
    ) {
        let lazy = worker.settings.env.lazy_expire;
        for change in implied {
            match change {
                Change::Expired { db, key } => worker.record.push_removal(*db, key, lazy),
                Change::ExpiredFields { db, key, fields } => {
                    worker.record.push_fields_removal(*db, key, fields);
                }
            }
        }
        match effect {
            Effect::None | Effect::Block(_) => {}
            Effect::Verbatim if dirty == 0 => {}
            Effect::Verbatim => worker.record.push_args(Some(db), worker.targets, args),
            Effect::Replace(commands) => {
                for command in commands {
                    worker.record.push_args(Some(db), worker.targets, &command.as_args());
                }
            }
        }
    }

    /// Puts removals by time on the log, and tells who wants to know of them. The stripes of the
    /// keys are held.
    pub fn log_expired(&self, removed: &[(usize, structures::Entry)]) {
        if removed.is_empty() {
            return;
        }
        let lazy = self.settings.load().env.lazy_expire;
        for (db, entry) in removed {
            self.log_removal(*db, entry.key(), lazy, EventClass::EXPIRED, "expired");
        }
        self.wake_streams(usize::MAX);
    }

    /// Puts removals of fields by time on the log, and tells who wants to know of them. The stripe of
    /// the keys is held.
    pub fn log_expired_fields(&self, removed: &[ExpiredFields]) {
        if removed.is_empty() {
            return;
        }
        let notify = self.settings.load().notify;
        for ExpiredFields { db, key, fields, emptied } in removed {
            if self.records(false) {
                let mut record = Record::default();
                record.push_fields_removal(*db, key, fields);
                self.log.append(&AppendRecord::new(&[Part::new(*db as u32, &record.bytes, 1)]));
            }
            self.key_went(key);
            let event = |class, name| KeyEvent { class, name, db: *db, key: key.clone() };
            let mut events = vec![event(EventClass::HASH, "hexpired")];
            if emptied.is_some() {
                events.push(event(EventClass::GENERIC, "del"));
            }
            events.retain(|event| notify & event.class.0 != 0);
            if !events.is_empty() {
                self.publish_events(notify, &events, 0, &mut Vec::new());
            }
        }
        self.wake_streams(usize::MAX);
    }

    /// A key of the file that is loaded at start had expired: replicas that go on from where the
    /// file ends are told. Source: redis 7.0 `rdb.c:rdbLoadRioWithLoadingCtx`.
    pub fn log_expired_at_load(&self, db: usize, key: &[u8]) {
        if self.records(false) {
            let mut record = Record::default();
            record.push_removal(db, key, self.settings.load().env.lazy_expire);
            self.log.append(&AppendRecord::new(&[Part::new(db as u32, &record.bytes, 1)]));
        }
    }

    /// Puts one removal by the server itself on the log, and publishes its event. The stripe of the
    /// key is held; the caller wakes the streams afterwards.
    pub(crate) fn log_removal(
        &self,
        db: usize,
        key: &[u8],
        lazy: bool,
        class: EventClass,
        name: &'static str,
    ) {
        if self.records(false) {
            let mut record = Record::default();
            record.push_removal(db, key, lazy);
            self.log.append(&AppendRecord::new(&[Part::new(db as u32, &record.bytes, 1)]));
        }
        self.key_went(key);
        let notify = self.settings.load().notify;
        if notify & class.0 != 0 {
            let event = KeyEvent { class, name, db, key: Box::from(key) };
            self.publish_events(notify, &[event], 0, &mut Vec::new());
        }
    }

    /// Appends the worker's record; returns the position after it, `None` if there was nothing.
    pub(crate) fn append_record(&self, worker: &mut Worker) -> Option<Position> {
        if worker.record.is_empty() {
            return None;
        }
        let record = &mut worker.record;
        let mut start = 0;
        let parts: SmallVec<[Part<'_>; 4]> = record
            .parts
            .iter()
            .map(|part| {
                let commands = &record.bytes[start..part.end];
                start = part.end;
                let &RecordPart { db, count, targets, .. } = part;
                Part { db, targets, ..Part::new(0, commands, count) }
            })
            .collect();
        let position = self.log.append(&AppendRecord::new(&parts));
        drop(parts);
        record.parts.clear();
        record.bytes.clear();
        if record.bytes.capacity() > 1 << 20 {
            record.bytes = Vec::new();
        }
        worker.log_grew = true;
        worker.gate_position = worker.gate_position.max(position.file_position());
        Some(position)
    }
}
