//! Connections to other nodes: opening, reading, writing, and how they ended.

use crate::io::stream::Stream;
use crate::io::worker::Shared;
use mio::net::TcpStream;
use mio::{Registry, Token};
use sentinel::{CloseReason, ConnId, ConnectError};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What one look at a connection has brought.
pub enum Seen {
    /// It stands; this end's address.
    Connected(IpAddr),
    /// It could not be opened; it is forgotten.
    Failed(ConnectError),
    /// So many bytes are in the buffer; there may be more.
    Bytes(usize),
    /// It has ended; it is forgotten.
    Closed(CloseReason),
    /// Nothing (more) now.
    Nothing,
}

struct Link {
    stream: Stream,
    addr: SocketAddr,
    connecting: bool,
    output: Vec<u8>,
    /// How a write found it ended; told after what can still be read.
    broken: Option<CloseReason>,
    /// Why TLS has failed, to be said.
    complaint: Option<String>,
}

/// All connections by number.
#[derive(Default)]
pub struct Links {
    open: BTreeMap<ConnId, Link>,
    /// Where the settings of encrypted links are, with `tls-replication yes`.
    encrypted: Option<Arc<Shared>>,
    /// What was said last of the handshakes that fail with each address: once is enough.
    complaints: BTreeMap<SocketAddr, String>,
}

/// Addresses of which complaints are remembered.
const COMPLAINTS_MAX: usize = 1000;

/// The number of a connection as a token of the poll. Numbers begin with 1 and grow by one.
fn token_of(conn: ConnId) -> Token {
    Token(conn.0 as usize)
}

/// The connection that a token of the poll means.
pub fn conn_of(token: Token) -> ConnId {
    ConnId(token.0 as u64)
}

impl Links {
    /// Links that are encrypted, with the settings of `encrypted`, or not.
    pub fn new(encrypted: Option<Arc<Shared>>) -> Links {
        Links { encrypted, ..Links::default() }
    }

    /// Begins to open a connection; an error is its end.
    pub fn connect(
        &mut self,
        registry: &Registry,
        conn: ConnId,
        addr: SocketAddr,
        source: Option<IpAddr>,
    ) -> Result<(), ConnectError> {
        let tcp = open(addr, source).map_err(|error| connect_error(&error))?;
        let mut stream = match &self.encrypted {
            None => Stream::Tcp(tcp),
            Some(shared) => match shared.tls.connect(&addr.ip().to_string()) {
                Ok(channel) => Stream::tls(tcp, channel),
                Err(_) => return Err(ConnectError::Unreachable),
            },
        };
        stream.register(registry, token_of(conn)).map_err(|error| connect_error(&error))?;
        let link = Link {
            stream,
            addr,
            connecting: true,
            output: Vec::new(),
            broken: None,
            complaint: None,
        };
        self.open.insert(conn, link);
        Ok(())
    }

    /// True if the connection exists, opened or being opened.
    pub fn has(&self, conn: ConnId) -> bool {
        self.open.contains_key(&conn)
    }

    /// Forgets a connection.
    pub fn close(&mut self, registry: &Registry, conn: ConnId) {
        if let Some(mut link) = self.open.remove(&conn) {
            if !link.connecting {
                link.stream.say_farewell();
            }
            link.stream.deregister(registry);
        }
    }

    /// Sends bytes behind those that wait. True if the connection was found broken, and has to be
    /// looked at.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let Some(link) = self.open.get_mut(&conn) else { return false };
        link.output.extend_from_slice(bytes);
        link.flush();
        link.broken.is_some()
    }

    /// Sends what waits.
    pub fn flush(&mut self, conn: ConnId) {
        if let Some(link) = self.open.get_mut(&conn) {
            link.flush();
        }
    }

    /// Looks what there is of a connection; to be called until it has nothing more.
    pub fn look(&mut self, registry: &Registry, conn: ConnId, buffer: &mut [u8]) -> Seen {
        let Some(link) = self.open.get_mut(&conn) else { return Seen::Nothing };
        let seen = if link.connecting { link.look_connecting() } else { link.read(buffer) };
        let complaint = std::mem::take(&mut link.complaint);
        let addr = link.addr;
        if let Some(why) = complaint {
            self.complain(addr, why);
        } else if matches!(seen, Seen::Bytes(_)) && !self.complaints.is_empty() {
            self.complaints.remove(&addr);
        }
        if matches!(seen, Seen::Failed(_) | Seen::Closed(_)) {
            self.close(registry, conn);
        }
        seen
    }

    /// Says why there is no TLS with an address, unless that was said.
    fn complain(&mut self, addr: SocketAddr, why: String) {
        if self.complaints.get(&addr) == Some(&why) {
            return;
        }
        let line = format!("TLS connection to {} failed: {why}", crate::io::addr::show(addr));
        crate::log::write(crate::log::WARNING, &line);
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.insert(addr, why);
        }
    }
}

impl Link {
    fn look_connecting(&mut self) -> Seen {
        let Some(tcp) = self.stream.tcp() else { return Seen::Nothing };
        match tcp.take_error() {
            Ok(Some(error)) | Err(error) => return Seen::Failed(connect_error(&error)),
            Ok(None) => {}
        }
        match tcp.peer_addr().and_then(|_| tcp.local_addr()) {
            Ok(local) => {
                self.connecting = false;
                Seen::Connected(crate::io::addr::plain_ip(local.ip()))
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::InvalidInput) =>
            {
                Seen::Nothing
            }
            Err(error) => Seen::Failed(connect_error(&error)),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Seen {
        let was_handshaking = self.stream.is_handshaking();
        let seen = self.read_stream(buffer);
        if was_handshaking && !self.stream.is_handshaking() {
            // What had to wait for the handshake.
            self.flush();
        }
        seen
    }

    fn read_stream(&mut self, buffer: &mut [u8]) -> Seen {
        loop {
            return match self.stream.read(buffer) {
                // A reset that a write was told of is an end like any other for the reads after it.
                Ok(0) => Seen::Closed(self.broken.unwrap_or(CloseReason::Fin)),
                Ok(n) => Seen::Bytes(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.broken {
                    Some(how) => Seen::Closed(how),
                    None => Seen::Nothing,
                },
                Err(error) => {
                    if self.stream.is_handshaking() || error.kind() == ErrorKind::InvalidData {
                        self.complaint = Some(tls::error_text(&error));
                    }
                    Seen::Closed(close_reason(&error))
                }
            };
        }
    }

    fn flush(&mut self) {
        if self.connecting || self.broken.is_some() {
            return;
        }
        let mut sent = 0;
        while sent < self.output.len() {
            match self.stream.write(&self.output[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.broken = Some(close_reason(&error));
                    break;
                }
            }
        }
        self.output.drain(..sent);
        if let Err(error) = self.stream.flush() {
            self.broken = self.broken.or(Some(close_reason(&error)));
        }
    }
}

fn open(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // PING and votes must not wait for more to come.
    socket.set_tcp_nodelay(true)?;
    if let Some(ip) = source.filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn connect_error(error: &io::Error) -> ConnectError {
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectError::Refused,
        ErrorKind::TimedOut => ConnectError::TimedOut,
        _ => ConnectError::Unreachable,
    }
}

/// Only what the other side has sent counts as its doing.
fn close_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        // A write fails so after a reset was taken note of.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => CloseReason::Reset,
        _ => CloseReason::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::{Links, Seen, conn_of};
    use mio::{Events, Poll};
    use sentinel::{CloseReason, ConnId, ConnectError};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::time::{Duration, Instant};

    const CONN: ConnId = ConnId(7);

    struct Bench {
        poll: Poll,
        links: Links,
        /// Bytes that have come.
        got: Vec<u8>,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { poll: Poll::new().expect("epoll"), links: Links::default(), got: Vec::new() }
        }

        fn connect(&mut self, addr: SocketAddr) -> Result<(), ConnectError> {
            self.links.connect(self.poll.registry(), CONN, addr, None)
        }

        /// Waits for what is more than bytes.
        fn next(&mut self) -> Seen {
            let mut events = Events::with_capacity(8);
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until {
                self.poll.poll(&mut events, Some(Duration::from_millis(100))).expect("epoll_wait");
                for event in &events {
                    assert_eq!(conn_of(event.token()), CONN);
                    self.links.flush(CONN);
                }
                let mut buffer = [0; 4];
                loop {
                    match self.links.look(self.poll.registry(), CONN, &mut buffer) {
                        Seen::Nothing => break,
                        Seen::Bytes(n) => self.got.extend_from_slice(&buffer[..n]),
                        other => return other,
                    }
                }
            }
            Seen::Nothing
        }
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("local address");
        (listener, addr)
    }

    #[test]
    fn bytes_come_whole_and_then_the_orderly_end() {
        let (listener, addr) = listener();
        let mut bench = Bench::new();
        bench.connect(addr).expect("loopback");
        let (mut peer, _) = listener.accept().expect("accept");
        assert!(matches!(bench.next(), Seen::Connected(ip) if ip.is_loopback()));
        assert!(!bench.links.send(CONN, b"PING\r\n"));
        let mut heard = [0; 6];
        peer.read_exact(&mut heard).expect("what was sent");
        peer.write_all(b"+PONG\r\n+PONG\r\n").expect("write");
        drop(peer);
        assert!(matches!(bench.next(), Seen::Closed(CloseReason::Fin)));
        assert_eq!(bench.got, b"+PONG\r\n+PONG\r\n");
        assert!(!bench.links.has(CONN));
    }

    #[test]
    fn a_reset_is_told_from_an_orderly_end() {
        let (listener, addr) = listener();
        let mut bench = Bench::new();
        bench.connect(addr).expect("loopback");
        let (peer, _) = listener.accept().expect("accept");
        assert!(matches!(bench.next(), Seen::Connected(_)));
        let peer = socket2::Socket::from(peer);
        peer.set_linger(Some(Duration::ZERO)).expect("linger");
        drop(peer);
        assert!(matches!(bench.next(), Seen::Closed(CloseReason::Reset)));
    }

    #[test]
    fn a_write_that_finds_the_reset_first_tells_it_too() {
        let (listener, addr) = listener();
        let mut bench = Bench::new();
        bench.connect(addr).expect("loopback");
        let (peer, _) = listener.accept().expect("accept");
        assert!(matches!(bench.next(), Seen::Connected(_)));
        let peer = socket2::Socket::from(peer);
        peer.set_linger(Some(Duration::ZERO)).expect("linger");
        drop(peer);
        let until = Instant::now() + Duration::from_secs(20);
        while !bench.links.send(CONN, b"x") {
            assert!(Instant::now() < until, "the reset never came");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(bench.next(), Seen::Closed(CloseReason::Reset)));
    }

    #[test]
    fn nobody_listening_is_a_refusal() {
        let (listener, addr) = listener();
        drop(listener);
        let mut bench = Bench::new();
        match bench.connect(addr) {
            Err(error) => assert_eq!(error, ConnectError::Refused),
            Ok(()) => assert!(matches!(bench.next(), Seen::Failed(ConnectError::Refused))),
        }
        assert!(!bench.links.has(CONN));
    }

    #[test]
    fn what_is_closed_here_is_forgotten() {
        let (listener, addr) = listener();
        let mut bench = Bench::new();
        bench.connect(addr).expect("loopback");
        bench.links.close(bench.poll.registry(), CONN);
        assert!(!bench.links.has(CONN));
        assert!(!bench.links.send(CONN, b"x"));
        drop(listener);
    }
}
