//! Streams as RDB bytes, and back: nodes as they are in memory, counters, groups with their pending
//! entries and consumers.
//!
//! Three forms: type 15 (Redis 5), type 19 with the counters of Redis 7.0, and type 21 with the
//! time of a consumer's last activity, which needs version 11.
//!
//! Source: redis 7.2 `rdb.c:rdbSaveObject`, `rdbLoadObject`; the project's fact sheet on RDB.

use std::collections::BTreeMap;
use std::io::Read;

use structures::{Listpack, Pending, Stream, StreamGroup, StreamId, StreamMeta, UNKNOWN_READ};

use super::codes::{TYPE_STREAM, TYPE_STREAM_2, TYPE_STREAM_3, VERSION_STREAM_3};
use super::decode::corrupt;
use super::encode::{EncodeOptions, Sink, push_length, push_string};
use super::error::RdbError;
use super::source::Source;

/// The number of the type under which streams are written.
pub(super) fn stream_type(options: &EncodeOptions) -> u8 {
    if options.version >= VERSION_STREAM_3 { TYPE_STREAM_3 } else { TYPE_STREAM_2 }
}

fn push_id(out: &mut Vec<u8>, id: StreamId) {
    push_length(out, id.ms);
    push_length(out, id.seq);
}

/// Writes a stream without its type.
pub(super) fn put_stream<S: Sink>(
    out: &mut S,
    stream: &Stream,
    options: &EncodeOptions,
) -> Result<(), S::Error> {
    let nodes = stream.nodes();
    push_length(out.bytes(), nodes.len() as u64);
    for (key, pack) in nodes {
        push_string(out.bytes(), &key.to_be_bytes(), options.compress);
        push_string(out.bytes(), pack.as_bytes(), options.compress);
        out.relieve()?;
    }
    let meta = stream.meta();
    let bytes = out.bytes();
    push_length(bytes, meta.len);
    push_id(bytes, meta.last_id);
    push_id(bytes, meta.first_id);
    push_id(bytes, meta.max_deleted_id);
    push_length(bytes, meta.entries_added);
    push_length(bytes, stream.group_count() as u64);
    for (name, group) in stream.groups() {
        push_string(out.bytes(), name, options.compress);
        put_group(out, group, options)?;
    }
    out.relieve()
}

fn put_group<S: Sink>(
    out: &mut S,
    group: &StreamGroup,
    options: &EncodeOptions,
) -> Result<(), S::Error> {
    push_id(out.bytes(), group.last_id);
    push_length(out.bytes(), group.entries_read as u64);
    push_length(out.bytes(), group.pending_count() as u64);
    for (id, pending) in group.pending_range(StreamId::ZERO, StreamId::MAX) {
        let bytes = out.bytes();
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&pending.delivered_at.to_le_bytes());
        push_length(bytes, pending.deliveries);
        out.relieve()?;
    }
    push_length(out.bytes(), group.consumer_count() as u64);
    for consumer in group.consumers() {
        let bytes = out.bytes();
        push_string(bytes, consumer.name(), options.compress);
        bytes.extend_from_slice(&consumer.seen_time.to_le_bytes());
        if stream_type(options) == TYPE_STREAM_3 {
            bytes.extend_from_slice(&consumer.active_time.to_le_bytes());
        }
        push_length(bytes, consumer.pending_count() as u64);
        for id in consumer.pending(StreamId::ZERO, StreamId::MAX) {
            out.bytes().extend_from_slice(&id.to_be_bytes());
            out.relieve()?;
        }
    }
    Ok(())
}

/// Reads streams of one of the three forms.
pub(super) struct StreamReader<'a, R> {
    pub(super) src: &'a mut Source<R>,
    pub(super) code: u8,
}

impl<R: Read> StreamReader<'_, R> {
    fn wrong<T>(&self, expected: &'static str, found: &str) -> Result<T, RdbError> {
        Err(RdbError::malformed(self.src.offset(), expected, found))
    }

    fn text(&mut self) -> Result<Vec<u8>, RdbError> {
        let mut text = Vec::new();
        self.src.string_into(&mut text)?;
        Ok(text)
    }

    fn id(&mut self) -> Result<StreamId, RdbError> {
        Ok(StreamId::new(self.src.length()?, self.src.length()?))
    }

    fn raw_id(&mut self) -> Result<StreamId, RdbError> {
        Ok(StreamId::from_be_bytes(self.src.array()?))
    }

    fn time(&mut self) -> Result<i64, RdbError> {
        Ok(i64::from_le_bytes(self.src.array()?))
    }

    /// The stream. Unlike other collections it may be empty.
    pub(super) fn stream(&mut self) -> Result<Stream, RdbError> {
        let mut stream = Stream::new();
        for _ in 0..self.src.length()? {
            self.node(&mut stream)?;
        }
        let at = self.src.offset();
        let len = self.src.length()?;
        let mut meta =
            StreamMeta { len, last_id: self.id()?, entries_added: len, ..StreamMeta::default() };
        if self.code != TYPE_STREAM {
            self.id()?; // That of the first entry, which the entries tell.
            meta.max_deleted_id = self.id()?;
            meta.entries_added = self.src.length()?;
        }
        stream.set_meta(meta).map_err(|error| corrupt(at, error))?;
        for _ in 0..self.src.length()? {
            let name = self.text()?;
            let group = self.group(&stream)?;
            if !stream.add_group(&name, group) {
                return self.wrong("groups with different names", "one name twice");
            }
        }
        Ok(stream)
    }

    fn node(&mut self, stream: &mut Stream) -> Result<(), RdbError> {
        let key = self.text()?;
        let Ok(key) = <[u8; 16]>::try_from(key) else {
            return self.wrong("a stream node's key of 16 bytes", "another length");
        };
        let at = self.src.offset();
        let pack = Listpack::from_bytes(self.text()?).map_err(|error| corrupt(at, error))?;
        stream.push_node(StreamId::from_be_bytes(key), pack).map_err(|error| corrupt(at, error))
    }

    fn group(&mut self, stream: &Stream) -> Result<StreamGroup, RdbError> {
        let last_id = self.id()?;
        let entries_read = if self.code == TYPE_STREAM {
            stream.count_up_to(last_id).map_or(UNKNOWN_READ, |count| count as i64)
        } else {
            self.src.length()? as i64
        };
        let mut group = StreamGroup::new(last_id, entries_read);
        let mut ownerless = BTreeMap::new();
        for _ in 0..self.src.length()? {
            let state = (self.raw_id()?, self.time()?, self.src.length()?);
            if ownerless.insert(state.0, (state.1, state.2)).is_some() {
                return self.wrong("different pending entries", "one ID twice");
            }
        }
        for _ in 0..self.src.length()? {
            self.consumer(&mut group, &mut ownerless)?;
        }
        if !ownerless.is_empty() {
            return self.wrong("a consumer for every pending entry", "one without");
        }
        Ok(group)
    }

    fn consumer(
        &mut self,
        group: &mut StreamGroup,
        ownerless: &mut BTreeMap<StreamId, (i64, u64)>,
    ) -> Result<(), RdbError> {
        let name = self.text()?;
        let seen_time = self.time()?;
        let active_time = if self.code == TYPE_STREAM_3 { self.time()? } else { seen_time };
        let Some(consumer) = group.add_consumer(&name, seen_time) else {
            return self.wrong("consumers with different names", "one name twice");
        };
        group.consumer_mut(consumer).active_time = active_time;
        for _ in 0..self.src.length()? {
            let id = self.raw_id()?;
            let Some((delivered_at, deliveries)) = ownerless.remove(&id) else {
                return self.wrong("an entry that is pending in the group", "another ID");
            };
            group.set_pending(id, Pending { consumer, delivered_at, deliveries });
        }
        Ok(())
    }
}
