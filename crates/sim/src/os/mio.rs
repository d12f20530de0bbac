//! Sockets and their events, as far as the server uses mio.

use super::turns::{self, Core, ProcId, TaskId};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a source is ready for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
    pub(super) error: bool,
}

/// What a poll has to tell.
#[derive(Debug, Default)]
pub struct Signals {
    pub(super) ready: BTreeMap<usize, Ready>,
    pub(super) task: Option<TaskId>,
}

type Shared = Arc<Mutex<Signals>>;

fn lock(signals: &Shared) -> std::sync::MutexGuard<'_, Signals> {
    signals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As mio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub usize);

/// As mio's; everything is watched in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Interest;

impl Interest {
    /// As mio's.
    pub const READABLE: Interest = Interest;
    /// As mio's.
    pub const WRITABLE: Interest = Interest;
}

impl std::ops::BitOr for Interest {
    type Output = Interest;
    fn bitor(self, _: Interest) -> Interest {
        self
    }
}

/// As mio's.
pub struct Registry(Shared);

/// As mio's.
pub struct Poll(Registry);

/// One event.
pub struct SimEvent(usize, Ready);

impl SimEvent {
    /// As mio's.
    pub fn token(&self) -> Token {
        Token(self.0)
    }
    /// As mio's.
    pub fn is_readable(&self) -> bool {
        self.1.readable
    }
    /// As mio's.
    pub fn is_writable(&self) -> bool {
        self.1.writable
    }
    /// As mio's.
    pub fn is_read_closed(&self) -> bool {
        self.1.read_closed
    }
    /// As mio's.
    pub fn is_error(&self) -> bool {
        self.1.error
    }
}

/// As mio's.
pub struct Events(Vec<SimEvent>);

impl Events {
    /// As mio's.
    pub fn with_capacity(_: usize) -> Events {
        Events(Vec::new())
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a SimEvent;
    type IntoIter = std::slice::Iter<'a, SimEvent>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Longest time of a usual turn of a loop, microseconds.
const TURN_US: u64 = 30;

impl Poll {
    /// As mio's.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll(Registry(Shared::default())))
    }

    /// As mio's.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// As mio's. What the loop did since it was here last takes its time here.
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        lock(&self.0.0).task = turns::me();
        let begun = turns::with(|state, _| state.now_us);
        let busy = turns::with(|state, _| 1 + state.prng.below(TURN_US));
        turns::park(Some(begun + busy));
        if lock(&self.0.0).ready.is_empty() {
            turns::park(timeout.map(|time| begun + time.as_micros() as u64));
        }
        let ready = std::mem::take(&mut lock(&self.0.0).ready);
        events.0 = ready.into_iter().map(|(token, ready)| SimEvent(token, ready)).collect();
        Ok(())
    }
}

/// As mio's.
pub struct Waker {
    signals: Shared,
    token: usize,
    core: Arc<Core>,
}

impl Waker {
    /// As mio's.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        Ok(Waker { signals: Arc::clone(&registry.0), token: token.0, core: turns::core() })
    }

    /// As mio's.
    pub fn wake(&self) -> io::Result<()> {
        let mut signals = lock(&self.signals);
        signals.ready.entry(self.token).or_default().readable = true;
        if let Some(task) = signals.task {
            drop(signals);
            self.core.state().wake(task);
        }
        Ok(())
    }
}

/// Traits of sources.
pub mod event {
    use super::{Interest, Registry, Token};

    /// As mio's.
    pub trait Source {
        /// As mio's.
        fn register(
            &mut self,
            registry: &Registry,
            token: Token,
            on: Interest,
        ) -> std::io::Result<()>;
        /// As mio's.
        fn deregister(&mut self, registry: &Registry) -> std::io::Result<()>;
    }
}

/// Sockets.
pub mod net {
    use super::event::Source;
    use super::{Arc, Core, Duration, Interest, ProcId, Registry, Token, io, turns};
    use crate::os::net::{Host, node_at};
    use std::io::{ErrorKind, Read, Write};
    use std::net::SocketAddr;
    use std::os::fd::{AsRawFd, RawFd};

    /// One end of a connection.
    pub struct TcpStream {
        conn: usize,
        side: usize,
        core: Arc<Core>,
        life: u32,
        proc: ProcId,
    }

    impl TcpStream {
        fn new(conn: usize, side: usize) -> TcpStream {
            let (proc, life) = turns::with(|state, proc| (proc, state.procs[proc].life));
            TcpStream { conn, side, core: turns::core(), life, proc }
        }

        /// As std's: waits until the connection stands.
        pub fn connect_timeout(addr: &SocketAddr, patience: Duration) -> io::Result<TcpStream> {
            let Some(to) = node_at(*addr) else { return Err(ErrorKind::ConnectionRefused.into()) };
            let begun = turns::with(|state, _| state.now_us);
            loop {
                let (low, high) = turns::with(|state, _| state.net.delay);
                turns::spend(2 * low);
                turns::spend_below(2 * (high - low));
                let answer = turns::with(|state, proc| {
                    let from = Host::Node(proc);
                    let yes = state.answers(from, to)?;
                    Some(yes.then(|| state.connect(from, to)))
                });
                match answer {
                    Some(Some(conn)) => return Ok(TcpStream::new(conn, 0)),
                    Some(None) => return Err(ErrorKind::ConnectionRefused.into()),
                    None => turns::spend(200_000),
                }
                if turns::with(|state, _| state.now_us - begun) > patience.as_micros() as u64 {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
        }

        /// As mio's.
        pub fn from_std(stream: TcpStream) -> TcpStream {
            stream
        }
        /// As std's.
        pub fn set_nonblocking(&self, _: bool) -> io::Result<()> {
            Ok(())
        }
        /// As std's.
        pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
            Ok(())
        }
        /// Nobody waits in a read here: it fails if nothing has come.
        pub fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        /// As std's.
        pub fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }
        /// As std's.
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            let state = self.core.state();
            Ok(SocketAddr::new(state.net.hosts(self.conn)[self.side].ip(), super::super::net::PORT))
        }
    }

    impl Read for TcpStream {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.core.state().read(self.conn, self.side, out)
        }
    }

    impl Write for TcpStream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.core.state().write(self.conn, self.side, bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Source for TcpStream {
        fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
            let ears = Some((Arc::clone(&registry.0), token.0));
            self.core.state().hear(self.conn, self.side, ears);
            Ok(())
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            let mut state = self.core.state();
            state.hear(self.conn, self.side, None);
            Ok(())
        }
    }

    impl AsRawFd for TcpStream {
        fn as_raw_fd(&self) -> RawFd {
            100 + (self.conn % 10_000) as RawFd
        }
    }

    impl Drop for TcpStream {
        fn drop(&mut self) {
            let mut state = self.core.state();
            // A process that died says nothing.
            if state.procs[self.proc].life == self.life {
                state.close(self.conn, self.side);
            }
        }
    }

    /// A listening socket.
    pub struct TcpListener {
        proc: ProcId,
        core: Arc<Core>,
    }

    impl TcpListener {
        /// The caller's machine listens.
        pub fn open() -> TcpListener {
            let proc = turns::with(|state, proc| {
                state.listen(proc);
                proc
            });
            TcpListener { proc, core: turns::core() }
        }

        /// As mio's.
        pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let accepted = self.core.state().accept(self.proc);
            let (conn, peer) = accepted.ok_or(ErrorKind::WouldBlock)?;
            Ok((TcpStream::new(conn, 1), peer))
        }
    }

    impl Source for TcpListener {
        fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
            let ears = Some((Arc::clone(&registry.0), token.0));
            self.core.state().hear_listener(self.proc, ears);
            Ok(())
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            self.core.state().hear_listener(self.proc, None);
            Ok(())
        }
    }

    /// There are none here.
    pub enum UnixStream {}

    impl Read for UnixStream {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            match *self {}
        }
    }
    impl Write for UnixStream {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            match *self {}
        }
        fn flush(&mut self) -> io::Result<()> {
            match *self {}
        }
    }
    impl Source for UnixStream {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            match *self {}
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            match *self {}
        }
    }
    impl AsRawFd for UnixStream {
        fn as_raw_fd(&self) -> RawFd {
            match *self {}
        }
    }

    /// There are none here.
    pub enum UnixListener {}

    impl UnixListener {
        /// As mio's.
        pub fn accept(&self) -> io::Result<(UnixStream, ())> {
            match *self {}
        }
    }
    impl Source for UnixListener {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            match *self {}
        }
        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            match *self {}
        }
    }
}
