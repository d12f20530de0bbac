//! A load generator: many connections, one thread, requests made of templates, replies counted and not kept.
//!
//! Cheap enough to keep a server busy on a machine of two cores. It understands RESP2 replies.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use stdx::Prng;

/// What to send.
pub struct Load<'a> {
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// Connections.
    pub clients: usize,
    /// Requests that a connection sends before it waits for their replies.
    pub pipeline: usize,
    /// Requests in all.
    pub requests: u64,
    /// Appends one request.
    pub make: &'a mut dyn FnMut(&mut Vec<u8>),
}

/// What came of it.
pub struct Outcome {
    /// Wall time.
    pub seconds: f64,
    /// Error replies.
    pub errors: u64,
}

struct Connection {
    stream: TcpStream,
    outgoing: Vec<u8>,
    written: usize,
    awaited: usize,
    scanner: Scanner,
}

/// Counts replies in a stream that arrives in pieces.
#[derive(Default)]
struct Scanner {
    /// Bytes of a string, its CRLF included, that are still to come.
    skip: usize,
    lead: u8,
    length: usize,
    negative: bool,
    /// Values that the reply which has begun still lacks.
    open: usize,
}

impl Scanner {
    /// (replies completed, errors among them) in these bytes.
    fn count(&mut self, mut bytes: &[u8]) -> (usize, u64) {
        let (mut replies, mut errors) = (0, 0);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let taken = self.skip.min(bytes.len());
                self.skip -= taken;
                bytes = &bytes[taken..];
                if self.skip == 0 {
                    replies += self.complete();
                }
                continue;
            }
            let byte = bytes[0];
            bytes = &bytes[1..];
            match (self.lead, byte) {
                (0, lead) => {
                    self.lead = lead;
                    errors += u64::from(lead == b'-');
                    (self.length, self.negative) = (0, false);
                    self.open = self.open.max(1);
                }
                (b'$' | b'*', b'-') => self.negative = true,
                (b'$' | b'*', b'0'..=b'9') => {
                    self.length = self.length * 10 + usize::from(byte - b'0');
                }
                (lead, b'\n') => {
                    self.lead = 0;
                    match lead {
                        b'$' if !self.negative => self.skip = self.length + 2,
                        b'*' if !self.negative && self.length > 0 => self.open += self.length - 1,
                        _ => replies += self.complete(),
                    }
                }
                _ => {}
            }
        }
        (replies, errors)
    }

    /// One value is whole; 1 if the reply is.
    fn complete(&mut self) -> usize {
        self.open -= 1;
        usize::from(self.open == 0)
    }
}

impl Load<'_> {
    /// Sends everything and waits for every reply.
    pub fn run(self) -> Result<Outcome> {
        let mut poll = Poll::new()?;
        let mut connections = Vec::new();
        for at in 0..self.clients {
            let stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(
                &mut stream,
                Token(at),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            connections.push(Connection {
                stream,
                outgoing: Vec::new(),
                written: 0,
                awaited: 0,
                scanner: Scanner::default(),
            });
        }
        let started = Instant::now();
        let (mut unsent, mut missing, mut errors) = (self.requests, self.requests, 0);
        let make = self.make;
        for connection in &mut connections {
            connection.refill(self.pipeline, &mut unsent, make);
            connection.write()?;
        }
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        while missing > 0 {
            poll.poll(&mut events, Some(Duration::from_secs(60)))?;
            if events.is_empty() {
                bail!("no reply for a minute, {missing} missing");
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                if event.is_writable() {
                    connection.write()?;
                }
                if event.is_readable() {
                    let (replies, failed) = connection.read(&mut buffer)?;
                    missing -= replies as u64;
                    errors += failed;
                    if connection.awaited == 0 && unsent > 0 {
                        connection.refill(self.pipeline, &mut unsent, make);
                        connection.write()?;
                    }
                }
            }
        }
        Ok(Outcome { seconds: started.elapsed().as_secs_f64(), errors })
    }
}

impl Connection {
    fn refill(&mut self, pipeline: usize, unsent: &mut u64, make: &mut dyn FnMut(&mut Vec<u8>)) {
        self.outgoing.clear();
        self.written = 0;
        while self.awaited < pipeline && *unsent > 0 {
            make(&mut self.outgoing);
            self.awaited += 1;
            *unsent -= 1;
        }
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(sent) => self.written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending load"),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(usize, u64)> {
        let (mut replies, mut errors) = (0, 0);
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection under load"),
                Ok(got) => {
                    let (counted, failed) = self.scanner.count(&buffer[..got]);
                    replies += counted;
                    errors += failed;
                    // A short read means that nothing more is there.
                    if got < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("reading replies"),
            }
        }
        self.awaited = self.awaited.checked_sub(replies).context("more replies than requests")?;
        Ok((replies, errors))
    }
}

/// Makes requests of one kind over a key space.
pub struct Requests {
    rng: Prng,
    keys: u64,
    value: Vec<u8>,
    kind: Kind,
    next: u64,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SET` of random keys.
    Set,
    /// `SET` of all keys in turn.
    Fill,
    /// `SET` of all keys in turn, with a time to live.
    FillWithTtl,
    /// `GET` of random keys.
    Get,
    /// `INCR` of random counters.
    Incr,
    /// `LPUSH` to one of a thousand lists.
    Lpush,
    /// `HSET` of one of a thousand fields in one of a thousand hashes.
    Hset,
    /// `ZADD` of one of a thousand members in one of a thousand sorted sets.
    Zadd,
    /// `RPUSH` to the lists that [`Kind::Lrange`] reads, in turn.
    Rpush,
    /// `LRANGE` of the first hundred elements of one of a hundred lists.
    Lrange,
    /// `SADD` of one of ten thousand members to one of a thousand sets.
    Sadd,
    /// `SPOP` from one of a thousand sets.
    Spop,
    /// `ZRANGEBYSCORE` of ten members in one of a thousand sorted sets.
    Zrangebyscore,
    /// `XADD` of two fields to one of a thousand streams.
    Xadd,
    /// `MSET` of ten random keys.
    Mset,
    /// `EVAL` of a script that calls `GET` for its key.
    Eval,
    /// `PUBLISH` on one channel.
    Publish,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Set => "SET",
            Kind::Fill => "fill",
            Kind::FillWithTtl => "fill with TTL",
            Kind::Get => "GET",
            Kind::Incr => "INCR",
            Kind::Lpush => "LPUSH",
            Kind::Hset => "HSET",
            Kind::Zadd => "ZADD",
            Kind::Rpush => "RPUSH",
            Kind::Lrange => "LRANGE 100",
            Kind::Sadd => "SADD",
            Kind::Spop => "SPOP",
            Kind::Zrangebyscore => "ZRANGEBYSCORE",
            Kind::Xadd => "XADD",
            Kind::Mset => "MSET of 10",
            Kind::Eval => "EVAL of a GET",
            Kind::Publish => "PUBLISH to 100 subscribers",
        }
    }
}

impl Requests {
    /// A seeded source of requests.
    pub fn new(kind: Kind, keys: u64, value_bytes: usize) -> Requests {
        Requests { rng: Prng::new(1), keys, value: vec![b'v'; value_bytes], kind, next: 0 }
    }

    /// Appends one request.
    pub fn make(&mut self, out: &mut Vec<u8>) {
        match self.kind {
            Kind::Set => {
                let key = self.rng.below(self.keys);
                head(out, b"*3\r\n$3\r\nSET\r\n$16\r\nkey:", key);
                bulk(out, &self.value);
            }
            Kind::Fill => {
                head(out, b"*3\r\n$3\r\nSET\r\n$16\r\nkey:", self.next % self.keys);
                bulk(out, &self.value);
                self.next += 1;
            }
            Kind::FillWithTtl => {
                head(out, b"*5\r\n$3\r\nSET\r\n$16\r\nkey:", self.next % self.keys);
                bulk(out, &self.value);
                out.extend_from_slice(b"$2\r\nEX\r\n$6\r\n100000\r\n");
                self.next += 1;
            }
            Kind::Get => {
                let key = self.rng.below(self.keys);
                head(out, b"*2\r\n$3\r\nGET\r\n$16\r\nkey:", key);
            }
            Kind::Incr => {
                let key = self.rng.below(self.keys);
                head(out, b"*2\r\n$4\r\nINCR\r\n$16\r\ncnt:", key);
            }
            Kind::Lpush => {
                let key = self.rng.below(1000);
                head(out, b"*3\r\n$5\r\nLPUSH\r\n$16\r\nlst:", key);
                bulk(out, &self.value);
            }
            Kind::Hset => {
                let (key, field) = (self.rng.below(1000), self.rng.below(1000));
                head(out, b"*4\r\n$4\r\nHSET\r\n$16\r\nhsh:", key);
                head(out, b"$16\r\nfld:", field);
                bulk(out, &self.value);
            }
            Kind::Zadd => {
                let (key, member) = (self.rng.below(1000), self.rng.below(1000));
                let score = self.rng.below(1_000_000).to_string();
                head(out, b"*4\r\n$4\r\nZADD\r\n$16\r\nzst:", key);
                bulk(out, score.as_bytes());
                head(out, b"$16\r\nmem:", member);
            }
            Kind::Rpush => {
                head(out, b"*3\r\n$5\r\nRPUSH\r\n$16\r\nrng:", self.next % 100);
                bulk(out, &self.value);
                self.next += 1;
            }
            Kind::Lrange => {
                let key = self.rng.below(100);
                head(out, b"*4\r\n$6\r\nLRANGE\r\n$16\r\nrng:", key);
                out.extend_from_slice(b"$1\r\n0\r\n$2\r\n99\r\n");
            }
            Kind::Sadd => {
                let (key, member) = (self.rng.below(1000), self.rng.below(10_000));
                head(out, b"*3\r\n$4\r\nSADD\r\n$16\r\nset:", key);
                head(out, b"$16\r\nmem:", member);
            }
            Kind::Spop => {
                let key = self.rng.below(1000);
                head(out, b"*2\r\n$4\r\nSPOP\r\n$16\r\nset:", key);
            }
            Kind::Zrangebyscore => {
                let (key, from) = (self.rng.below(1000), self.rng.below(900_000));
                head(out, b"*7\r\n$13\r\nZRANGEBYSCORE\r\n$16\r\nzst:", key);
                bulk(out, from.to_string().as_bytes());
                out.extend_from_slice(b"$4\r\n+inf\r\n$5\r\nLIMIT\r\n$1\r\n0\r\n$2\r\n10\r\n");
            }
            Kind::Xadd => {
                let key = self.rng.below(1000);
                head(out, b"*7\r\n$4\r\nXADD\r\n$16\r\nstr:", key);
                out.extend_from_slice(b"$1\r\n*\r\n$6\r\nfield1\r\n");
                bulk(out, &self.value);
                out.extend_from_slice(b"$6\r\nfield2\r\n$6\r\nvalue2\r\n");
            }
            Kind::Mset => {
                out.extend_from_slice(b"*21\r\n$4\r\nMSET\r\n");
                for _ in 0..10 {
                    let key = self.rng.below(self.keys);
                    head(out, b"$16\r\nkey:", key);
                    bulk(out, &self.value);
                }
            }
            Kind::Eval => {
                let key = self.rng.below(self.keys);
                out.extend_from_slice(b"*4\r\n$4\r\nEVAL\r\n");
                bulk(out, b"return redis.call('GET', KEYS[1])");
                head(out, b"$1\r\n1\r\n$16\r\nkey:", key);
            }
            Kind::Publish => {
                out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$7\r\nchannel\r\n");
                bulk(out, &self.value);
            }
        }
    }
}

/// A prefix and twelve digits, which end a string of sixteen bytes.
fn head(out: &mut Vec<u8>, prefix: &[u8], mut number: u64) {
    out.extend_from_slice(prefix);
    let mut digits = *b"000000000000\r\n";
    for digit in digits[..12].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

fn bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"$");
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Kind, Requests, Scanner};

    #[test]
    fn replies_are_counted_at_every_cut() {
        let wire = b"+OK\r\n:12\r\n$-1\r\n$5\r\na\r\nb\n\r\n-ERR x\r\n$0\r\n\r\n";
        for cut in 0..=wire.len() {
            let mut scanner = Scanner::default();
            let (a, b) = (scanner.count(&wire[..cut]), scanner.count(&wire[cut..]));
            assert_eq!((a.0 + b.0, a.1 + b.1), (6, 1), "cut at {cut}");
        }
    }

    #[test]
    fn arrays_are_one_reply() {
        let wire = b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n*0\r\n*-1\r\n*1\r\n*0\r\n:5\r\n";
        for cut in 0..=wire.len() {
            let mut scanner = Scanner::default();
            let (a, b) = (scanner.count(&wire[..cut]), scanner.count(&wire[cut..]));
            assert_eq!(a.0 + b.0, 5, "cut at {cut}");
        }
    }

    #[test]
    fn requests_are_well_formed() {
        let mut out = Vec::new();
        let mut requests = Requests::new(Kind::Fill, 10, 3);
        requests.make(&mut out);
        requests.make(&mut out);
        let first = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$3\r\nvvv\r\n";
        assert_eq!(&out[..first.len()], first);
        assert!(out[first.len()..].windows(16).any(|window| window == b"key:000000000001"));
    }
}
