//! One blocking connection to a server.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::{self, Answer};
use super::options::Options;
use super::secure::{NotSet, Secure};

/// How often a wait looks whether it has been called off.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// Idle seconds before the first keepalive probe, as redis-cli sets it.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Any kind of stream.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Secure),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer, LOOK_AROUND),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes),
        }
    }
}

/// Reads until there is something, the peer is gone, or the wait is called off.
struct Patient {
    stream: Stream,
    call_off: Arc<AtomicBool>,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) =>
                {
                    if self.call_off.load(Ordering::Relaxed) {
                        return Err(io::Error::other(CalledOff));
                    }
                }
                done => return done,
            }
        }
    }
}

/// The person at the prompt has pressed Ctrl-C.
#[derive(Debug)]
pub struct CalledOff;

impl std::fmt::Display for CalledOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("called off")
    }
}

impl std::error::Error for CalledOff {}

/// True if `error` came from [`CalledOff`].
pub fn is_called_off(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<CalledOff>())
}

/// A connection that has been made.
pub struct Link {
    reader: BufReader<Patient>,
}

impl Link {
    /// Connects to the socket or the address that the options name. Nothing is sent.
    /// Waits for replies end early once `call_off` is set.
    pub fn connect(options: &Options, call_off: Arc<AtomicBool>) -> io::Result<Link> {
        let stream = match &options.socket {
            Some(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LOOK_AROUND))?;
                Stream::Unix(stream)
            }
            None => {
                let stream = connect_tcp(&options.host, options.port)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LOOK_AROUND))?;
                // A link that cannot be probed still works; only a dead peer is noticed later.
                let _ = rustix::net::sockopt::set_socket_keepalive(stream.as_fd(), true);
                let _ = rustix::net::sockopt::set_tcp_keepidle(stream.as_fd(), KEEPALIVE);
                match options.tls {
                    true => Stream::Tls(Secure::connect(stream, options)?),
                    false => Stream::Tcp(stream),
                }
            }
        };
        Ok(Link { reader: BufReader::with_capacity(64 << 10, Patient { stream, call_off }) })
    }

    /// Sends one command.
    pub fn send(&mut self, words: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, words);
        self.reader.get_mut().stream.write_all(&bytes)
    }

    /// Sends bytes that are requests already.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().stream.write_all(bytes)
    }

    /// Another way to write to the same connection, for a thread of its own.
    pub fn writer(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match &self.reader.get_ref().stream {
            Stream::Tcp(stream) => Box::new(stream.try_clone()?),
            Stream::Unix(stream) => Box::new(stream.try_clone()?),
            Stream::Tls(stream) => Box::new(stream.clone()),
        })
    }

    /// The bytes that come, for a mode that is sent more than replies.
    pub fn reader(&mut self) -> &mut impl io::BufRead {
        &mut self.reader
    }

    /// Reads one reply or message.
    pub fn receive(&mut self) -> io::Result<Answer> {
        answer::read(&mut self.reader)
    }
}

/// What to say when there is no connection.
pub fn no_connection(options: &Options, error: &io::Error) -> String {
    if let Some(why) = error.get_ref().and_then(|inner| inner.downcast_ref::<NotSet>()) {
        return format!("Could not negotiate a TLS connection: {why}");
    }
    let place = match &options.socket {
        Some(path) => path.to_string_lossy().into_owned(),
        None => format!("{}:{}", options.host, options.port),
    };
    format!("Could not connect to Redis at {place}: {}", error_text(error))
}

/// Tries every address of the name, as the resolver orders them; the last failure counts.
fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's words for an error, without what Rust adds to them.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_the_system_says_them() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(error_text(&error), "Connection refused");
        assert!(is_called_off(&io::Error::other(CalledOff)));
        assert!(!is_called_off(&io::Error::other("called off")));
    }
}
