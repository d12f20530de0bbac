//! A blocking connection with deadlines, over which the watchers ask members how they are.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use resp::{ReplyParser, Value};

/// A member that does not answer for this long is shown as silent.
pub const PATIENCE: Duration = Duration::from_millis(1000);

/// See the module's head.
pub struct Link {
    stream: TcpStream,
    parser: ReplyParser,
}

impl Link {
    /// Connects to a port of this machine and authenticates.
    pub fn connect(port: u16, password: Option<&str>) -> io::Result<Link> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut link = Link { stream, parser: ReplyParser::new() };
        if let Some(password) = password
            && let Value::Error(text) = link.call(&["AUTH", password])?
        {
            return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()));
        }
        // So that CLIENT LIST tells who asks all the time; it matters to nobody else.
        link.call(&["CLIENT", "SETNAME", "redoubt-up"])?;
        Ok(link)
    }

    /// Sends a command and waits for its reply.
    pub fn call(&mut self, words: &[&str]) -> io::Result<Value> {
        self.send(words)?;
        self.receive(PATIENCE)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Sends a command.
    pub fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, words);
        self.stream.write_all(&bytes)
    }

    /// Waits for one reply or message; `None` if none came in time.
    pub fn receive(&mut self, patience: Duration) -> io::Result<Option<Value>> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(value) =
                self.parser.next().map_err(|e| io::Error::other(e.text().to_owned()))?
            {
                return Ok(Some(value));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.parser.feed(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The fields of an INFO text.
pub fn info_fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).collect()
}

/// The fields of a map, sent as one or as a flat array.
pub fn map_fields(value: &Value) -> BTreeMap<&str, &str> {
    match value {
        Value::Map(pairs) => {
            pairs.iter().filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?))).collect()
        }
        other => other
            .as_array()
            .unwrap_or_default()
            .chunks_exact(2)
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
            .collect(),
    }
}
