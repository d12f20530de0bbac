//! One side of a connection: bytes in the clear on one hand, a stream that may not block on the
//! other.
//!
//! The handshake is done by [`Channel::read`] and needs no care. Nothing grows without bound: what
//! was read off the wire and has no room yet is one read at most, what is encrypted and not taken by
//! the wire is one write at most.

use crate::settings::{ClientSettings, ServerSettings};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// What carries the encrypted bytes.
pub trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// Most that is read off the wire at once.
const READ_BYTES: usize = 64 * 1024;
/// Least that is: a record and its head, so that small buffers do not cost many calls.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Most that is encrypted at once.
const WRITE_BYTES: usize = 64 * 1024;

thread_local! {
    /// What is read off the wire stays here until it is decrypted.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a connection has ended for its reader.
#[derive(Clone, Debug)]
enum End {
    /// In an orderly way, or by the end of the stream after the handshake.
    Closed,
    /// In the middle of the handshake.
    Cut,
    /// By something that is not allowed.
    Failed(rustls::Error),
    /// The wire is broken.
    Broken(ErrorKind),
}

/// One side of a connection.
pub struct Channel {
    connection: Connection,
    /// Read off the wire; waits for room.
    waiting: Vec<u8>,
    /// There is more to be read without anything happening on the wire.
    more: bool,
    ended: Option<End>,
    /// Encrypted bytes that the wire did not take.
    unsent: usize,
}

impl Channel {
    /// The side of a server.
    pub fn accept(settings: &ServerSettings) -> io::Result<Channel> {
        let connection =
            ServerConnection::new(Arc::clone(&settings.0)).map_err(io::Error::other)?;
        Ok(Channel::new(connection.into()))
    }

    /// The side of a client. `name` is what the server may be told, if the settings say so; what is
    /// no name of a host is not told.
    pub fn connect(settings: &ClientSettings, name: &str) -> io::Result<Channel> {
        let name = ServerName::try_from(name.to_owned())
            .or_else(|_| ServerName::try_from("redis".to_owned()))
            .map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(&settings.0), name).map_err(io::Error::other)?;
        Ok(Channel::new(connection.into()))
    }

    fn new(mut connection: Connection) -> Channel {
        // Bounded here: a write is taken only once the one before it is gone.
        connection.set_buffer_limit(None);
        Channel { connection, waiting: Vec::new(), more: false, ended: None, unsent: 0 }
    }

    /// True until both sides have proved themselves.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// True if a read would bring something without the wire having more.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Encrypted bytes that the wire did not take yet.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Reads what has come, as far as it fits. As with a socket, 0 is the end and `WouldBlock` means
    /// that there is nothing now; what the protocol needs to be answered is sent.
    pub fn read(&mut self, wire: &mut impl Wire, buffer: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        self.more = false;
        let mut drained = false;
        let result = loop {
            self.take_clear(buffer, &mut got);
            if got == buffer.len() {
                self.more = !buffer.is_empty();
                break Ok(got);
            }
            if let Some(end) = &self.ended {
                // What came before the end is given first.
                self.more = got > 0;
                break if got > 0 { Ok(got) } else { end.result() };
            }
            if !self.waiting.is_empty() {
                let bytes = std::mem::take(&mut self.waiting);
                self.decrypt(&bytes, buffer, &mut got);
                continue;
            }
            if drained && got > 0 {
                break Ok(got);
            }
            match self.read_wire(wire, buffer, &mut got) {
                Ok(all) => drained = all,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if got == 0 => break Err(error),
                Err(_) => break Ok(got),
            }
        };
        if self.connection.wants_write() {
            // A wire that is broken shows when something is read or written.
            let _ = self.flush(wire);
        }
        result
    }

    /// One read off the wire. True if the wire has no more for now.
    fn read_wire(
        &mut self,
        wire: &mut impl Wire,
        buffer: &mut [u8],
        got: &mut usize,
    ) -> io::Result<bool> {
        // Answers of the handshake go out before the next message is waited for.
        if self.connection.wants_write() {
            let _ = self.flush(wire);
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(READ_BYTES, 0);
        let want = (buffer.len() - *got).clamp(READ_BYTES_MIN, READ_BYTES);
        let result = wire.read(&mut scratch[..want]);
        let done = match result {
            Ok(0) => {
                self.ended = Some(match self.is_handshaking() {
                    true => End::Cut,
                    false => End::Closed,
                });
                Ok(true)
            }
            Ok(count) => {
                self.decrypt(&scratch[..count], buffer, got);
                Ok(count < want)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Err(error)
            }
            Err(error) => {
                self.ended = Some(End::Broken(error.kind()));
                Ok(true)
            }
        };
        SCRATCH.set(scratch);
        done
    }

    /// Decrypts as far as there is room; the rest waits.
    fn decrypt(&mut self, mut bytes: &[u8], buffer: &mut [u8], got: &mut usize) {
        while !bytes.is_empty() && self.ended.is_none() {
            if *got == buffer.len() {
                self.waiting.extend_from_slice(bytes);
                return;
            }
            let failed = match self.connection.read_tls(&mut bytes) {
                Ok(0) => return,
                Ok(_) => self.connection.process_new_packets().err(),
                Err(error) => Some(rustls::Error::General(error.to_string())),
            };
            self.take_clear(buffer, got);
            if let Some(error) = failed {
                self.ended = Some(End::Failed(error));
            }
        }
    }

    /// Takes what is decrypted.
    fn take_clear(&mut self, buffer: &mut [u8], got: &mut usize) {
        while *got < buffer.len() {
            match self.connection.reader().read(&mut buffer[*got..]) {
                Ok(0) => {
                    // An orderly end; what still comes does not count.
                    self.waiting = Vec::new();
                    self.ended.get_or_insert(End::Closed);
                    return;
                }
                Ok(count) => *got += count,
                Err(_) => return,
            }
        }
    }

    /// Encrypts and sends; what is taken is on its way, although [`Channel::unsent`] may still say
    /// that the wire has not taken all of it. `WouldBlock` if nothing is taken: before the end of
    /// the handshake, and while the write before is not gone.
    pub fn write(&mut self, wire: &mut impl Wire, bytes: &[u8]) -> io::Result<usize> {
        if self.connection.is_handshaking() || !self.flush(wire)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let part = &bytes[..bytes.len().min(WRITE_BYTES)];
        let taken = self.connection.writer().write(part)?;
        self.flush(wire)?;
        Ok(taken)
    }

    /// Sends what is encrypted; true if nothing of it is left.
    pub fn flush(&mut self, wire: &mut impl Wire) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(wire) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let state = self.connection.process_new_packets();
                    self.unsent = state.map_or(1, |state| state.tls_bytes_to_write().max(1));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.unsent = 0;
        Ok(true)
    }

    /// Tells the other side that nothing more comes, as far as the wire takes it.
    pub fn close(&mut self, wire: &mut impl Wire) {
        if !matches!(self.ended, Some(End::Failed(_) | End::Broken(_))) {
            self.connection.send_close_notify();
        }
        // The connection is given up in any case.
        let _ = self.flush(wire);
    }
}

impl End {
    fn result(&self) -> io::Result<usize> {
        match self {
            End::Closed => Ok(0),
            End::Cut => Err(ErrorKind::UnexpectedEof.into()),
            End::Failed(error) => Err(io::Error::new(ErrorKind::InvalidData, error.clone())),
            End::Broken(kind) => Err((*kind).into()),
        }
    }
}
