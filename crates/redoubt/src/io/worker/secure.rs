//! What is particular about connections with TLS: how they begin, and what is said when one fails.

use super::{EventLoop, NewConn};
use crate::io::addr;
use crate::io::conn::{Conn, Flush};
use crate::io::stream::Stream;
use crate::io::tls::{HANDSHAKE_MS, Tls};
use crate::log::{VERBOSE, WARNING};
use crate::os::mio::net::TcpStream;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// A socket that came in at `tls-port`; nothing if there are no settings for it.
pub(super) fn accepted(tls: &Tls, stream: TcpStream, peer: SocketAddr) -> Option<NewConn> {
    let local = stream.local_addr().map(addr::show).unwrap_or_default();
    match tls.accept() {
        Ok(channel) => {
            Some(NewConn { stream: Stream::tls(stream, channel), peer: Some(peer), local })
        }
        Err(error) => {
            say_failed(&error, &addr::show(peer), &local);
            None
        }
    }
}

/// Source: redis 7.0 `networking.c:clientAcceptHandler`.
fn say_failed(error: &Error, addr: &str, laddr: &str) {
    let why = tls::error_text(error);
    crate::log::write(
        WARNING,
        &format!("Error accepting a client connection: {why} (addr={addr} laddr={laddr})"),
    );
}

/// Says why reading has failed, if it is for a reason that operators look for.
pub(super) fn say_read_failed(conn: &Conn, error: &Error) {
    let info = &conn.session.info;
    if conn.stream.is_handshaking() {
        say_failed(error, &info.addr, &info.laddr);
    } else if error.kind() == ErrorKind::InvalidData {
        let why = tls::error_text(error);
        crate::log::write(VERBOSE, &format!("Reading from client: {why} (addr={})", info.addr));
    }
}

/// True if a handshake takes too long; the log says it.
pub(super) fn is_too_slow(conn: &Conn, now_ms: u64) -> bool {
    let info = &conn.session.info;
    let slow = now_ms.saturating_sub(info.created) > HANDSHAKE_MS;
    if slow {
        say_failed(&Error::other("handshake timed out"), &info.addr, &info.laddr);
    }
    slow
}

impl EventLoop {
    /// A connection that is to be closed behind its last bytes, which wait for the handshake.
    pub(super) fn finish_handshake(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at) else { return };
        if !conn.stream.is_handshaking() {
            return;
        }
        // What is asked is not heard.
        let result = conn.stream.read(&mut [0; 256]);
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        {
            say_read_failed(conn, error);
            return self.close(at);
        }
        if !conn.stream.is_handshaking() && conn.flush() != Flush::Pending {
            self.close(at);
        }
    }
}
