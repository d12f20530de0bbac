//! A connected socket: TCP, unix, or TCP with TLS.

use crate::os::mio::event::Source;
use crate::os::mio::net::{TcpStream, UnixStream};
use crate::os::mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use tls::Channel;

/// A connected socket.
pub enum Stream {
    /// IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// IPv4 or IPv6, encrypted.
    Tls(Box<TlsStream>),
}

/// A TCP socket and what encrypts its bytes.
pub struct TlsStream {
    tcp: TcpStream,
    channel: Channel,
}

impl Stream {
    /// A socket with TLS on it; the handshake is still to come, or done.
    pub fn tls(tcp: TcpStream, channel: Channel) -> Stream {
        Stream::Tls(Box::new(TlsStream { tcp, channel }))
    }

    /// Registers for reading and writing, edge-triggered.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, both),
            Stream::Unix(stream) => stream.register(registry, token, both),
            Stream::Tls(stream) => stream.tcp.register(registry, token, both),
        }
    }

    /// Ends the registration.
    pub fn deregister(&mut self, registry: &Registry) {
        // The socket is closed next, which ends the registration in any case.
        let _ = match self {
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Unix(stream) => stream.deregister(registry),
            Stream::Tls(stream) => stream.tcp.deregister(registry),
        };
    }

    /// Reads what is there. With TLS this does the handshake, too.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.channel.read(&mut stream.tcp, buffer),
        }
    }

    /// Writes what goes. With TLS, what is taken may be encrypted and still here:
    /// [`Stream::unsent`].
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.channel.write(&mut stream.tcp, bytes),
        }
    }

    /// Bytes that were written and that the socket has not taken.
    #[inline]
    pub fn unsent(&self) -> usize {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => 0,
            Stream::Tls(stream) => stream.channel.unsent(),
        }
    }

    /// Sends what was written and is still here; true if nothing is left.
    #[inline]
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(true),
            Stream::Tls(stream) => stream.channel.flush(&mut stream.tcp),
        }
    }

    /// True if a read would bring something although no event of the socket will come.
    #[inline]
    pub fn has_more(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            Stream::Tls(stream) => stream.channel.has_more(),
        }
    }

    /// True while both sides still have to prove themselves.
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            Stream::Tls(stream) => stream.channel.is_handshaking(),
        }
    }

    /// Says farewell, where the protocol has a word for it.
    pub fn say_farewell(&mut self) {
        if let Stream::Tls(stream) = self {
            stream.channel.close(&mut stream.tcp);
        }
    }

    /// The TCP socket, if it is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => Some(&stream.tcp),
        }
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tls(stream) => stream.tcp.as_raw_fd(),
        }
    }
}
