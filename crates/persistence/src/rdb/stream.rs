//! Framing of a whole RDB: header, AUX fields, databases, functions, end and checksum.
//!
//! The stream collects bytes in one buffer and gives it to the writer when it is full, taking the
//! checksum over whole buffers. Key records come in as values ([`RdbStream::key`]) or as bytes that
//! were encoded elsewhere ([`RdbStream::records`]).

use std::io::{self, Write};

use structures::ValueRef;

use super::codes::*;
use super::encode::{
    Access, EncodeOptions, Sink, push_int, push_length, push_string, put_key_record,
};
use crate::crc64::Crc64;

/// Bytes collected before the writer gets them.
const BUFFER: usize = 64 * 1024;

/// What [`RdbStream::finish`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdbSummary {
    /// Length of the whole RDB.
    pub bytes: u64,
    /// The checksum at its end; 0 if none was asked for.
    pub checksum: u64,
}

/// Writes one RDB to `W`, front to back.
pub struct RdbStream<W> {
    output: W,
    buf: Vec<u8>,
    options: EncodeOptions,
    crc: Option<Crc64>,
    written: u64,
    db: Option<u64>,
}

impl<W: Write> RdbStream<W> {
    /// Begins an RDB with its header. `checksum` is `rdbchecksum`: without it the last eight bytes
    /// are zero and readers check nothing.
    pub fn new(output: W, options: EncodeOptions, checksum: bool) -> RdbStream<W> {
        assert!(
            (VERSION_DEFAULT..=VERSION_WRITE_MAX).contains(&options.version),
            "only versions 10 to 12 are written"
        );
        let mut buf = Vec::with_capacity(BUFFER + BUFFER / 4);
        buf.extend_from_slice(MAGIC);
        buf.extend_from_slice(format!("{:04}", options.version).as_bytes());
        let crc = checksum.then(Crc64::new);
        RdbStream { output, buf, options, crc, written: 0, db: None }
    }

    /// How keys are encoded; for encoding records elsewhere in the same way.
    pub fn options(&self) -> &EncodeOptions {
        &self.options
    }

    /// Bytes produced so far, the buffered ones included.
    pub fn len(&self) -> u64 {
        self.written + self.buf.len() as u64
    }

    /// False: a stream holds its header from the beginning.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// An AUX field. Texts that are integers take the integer form, as Redis writes them.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.buf.push(OP_AUX);
        push_string(&mut self.buf, name, self.options.compress);
        push_string(&mut self.buf, value, self.options.compress);
        self.relieve()
    }

    /// An AUX field with a number.
    pub fn aux_int(&mut self, name: &[u8], value: i64) -> io::Result<()> {
        self.buf.push(OP_AUX);
        push_string(&mut self.buf, name, self.options.compress);
        push_int(&mut self.buf, value);
        self.relieve()
    }

    /// A functions library: its whole source.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.buf.push(OP_FUNCTION2);
        push_string(&mut self.buf, code, self.options.compress);
        self.relieve()
    }

    /// Says that the following records belong to `db`; writes something only when that changes.
    pub fn select_db(&mut self, db: u64) -> io::Result<()> {
        if self.db != Some(db) {
            self.db = Some(db);
            self.buf.push(OP_SELECTDB);
            push_length(&mut self.buf, db);
        }
        self.relieve()
    }

    /// Tells a reader how many keys, and how many of them with an expiry, the database has. A
    /// hint: it need not be exact.
    pub fn resize_db(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        self.buf.push(OP_RESIZEDB);
        push_length(&mut self.buf, keys);
        push_length(&mut self.buf, expires);
        self.relieve()
    }

    /// One key of the selected database. Memory stays bounded whatever the size of a collection
    /// (but not of one element).
    pub fn key(
        &mut self,
        key: &[u8],
        value: ValueRef<'_>,
        expire_at: Option<i64>,
        access: Access,
    ) -> io::Result<()> {
        debug_assert!(self.db.is_some(), "a key belongs to a database");
        let options = self.options;
        put_key_record(self, key, value, expire_at, access, &options)
    }

    /// Records that [`super::encode_key_record`] made, of the selected database.
    pub fn records(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(self.db.is_some() || bytes.is_empty(), "a key belongs to a database");
        if bytes.len() < BUFFER {
            self.buf.extend_from_slice(bytes);
            return self.relieve();
        }
        self.flush_buffer()?;
        self.write_out(bytes)
    }

    /// Gives everything buffered to the writer, and flushes that.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.output.flush()
    }

    /// Ends the RDB: end code and checksum. Flushes, and returns the writer.
    pub fn finish(mut self) -> io::Result<(W, RdbSummary)> {
        self.buf.push(OP_EOF);
        self.flush_buffer()?;
        let checksum = self.crc.as_ref().map_or(0, Crc64::value);
        self.output.write_all(&checksum.to_le_bytes())?;
        self.output.flush()?;
        Ok((self.output, RdbSummary { bytes: self.written + 8, checksum }))
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let buf = std::mem::take(&mut self.buf);
        let result = self.write_out(&buf);
        self.buf = buf;
        self.buf.clear();
        result
    }

    fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.written += bytes.len() as u64;
        self.output.write_all(bytes)
    }
}

impl<W: Write> Sink for RdbStream<W> {
    type Error = io::Error;

    #[inline]
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    #[inline]
    fn relieve(&mut self) -> io::Result<()> {
        if self.buf.len() >= BUFFER { self.flush_buffer() } else { Ok(()) }
    }
}
