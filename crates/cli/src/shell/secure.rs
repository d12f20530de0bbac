//! A connection with TLS.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tls::{Channel, ClientOptions, ClientSettings, Files};

use super::link::error_text;
use super::options::Options;

/// Where systems keep what they trust.
const SYSTEM_TRUST: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// The options do not lead to a connection: a file is missing, or is not what it should be.
#[derive(Debug)]
pub struct NotSet(String);

impl fmt::Display for NotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotSet {}

/// A connection that a thread may read and another one write.
#[derive(Clone)]
pub struct Secure {
    /// To wait on while the other half works.
    wait_on: Arc<TcpStream>,
    halves: Arc<Mutex<(TcpStream, Channel)>>,
}

impl Secure {
    /// Does the handshake on a socket that was just connected.
    pub fn connect(tcp: TcpStream, options: &Options) -> io::Result<Secure> {
        let mut wanted = options.tls_options.clone();
        wanted.with_name = options.sni.is_some();
        wanted.system_trust = system_trust();
        let settings = settings(wanted).map_err(|why| io::Error::other(NotSet(why)))?;
        let name = options.sni.as_deref().unwrap_or(&options.host);
        let mut channel = Channel::connect(&settings, name)?;
        let mut tcp = tcp;
        tcp.set_nonblocking(true)?;
        let began = Instant::now();
        while channel.is_handshaking() {
            match channel.read(&mut tcp, &mut [0; 1]) {
                Err(error) if is_nothing(&error) && began.elapsed() < HANDSHAKE => {
                    wait(&tcp, PollFlags::IN, Duration::from_millis(100));
                }
                Err(error) => {
                    let why = tls::error_text(&error);
                    return Err(io::Error::other(format!("SSL_connect failed: {why}")));
                }
                Ok(_) => return Err(io::Error::other("SSL_connect failed: unexpected end")),
            }
        }
        channel.flush(&mut tcp)?;
        let wait_on = Arc::new(tcp.try_clone()?);
        Ok(Secure { wait_on, halves: Arc::new(Mutex::new((tcp, channel))) })
    }

    fn lock(&self) -> MutexGuard<'_, (TcpStream, Channel)> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what there is; `WouldBlock` if there is nothing for a while.
    pub fn read(&self, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
        for last in [false, true] {
            let result = {
                let (tcp, channel) = &mut *self.lock();
                channel.read(tcp, buffer)
            };
            match result {
                Err(error) if is_nothing(&error) && !last => {
                    wait(&self.wait_on, PollFlags::IN, patience);
                }
                Err(error) if is_nothing(&error) => return Err(error),
                Err(error) => return Err(io::Error::other(tls::error_text(&error))),
                done => return done,
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let result = {
                let (tcp, channel) = &mut *self.lock();
                channel.write(tcp, bytes)
            };
            match result {
                Err(error) if is_nothing(&error) => {
                    wait(&self.wait_on, PollFlags::OUT, Duration::from_millis(100));
                }
                Ok(count) => {
                    self.flush()?;
                    return Ok(count);
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            let done = {
                let (tcp, channel) = &mut *self.lock();
                channel.flush(tcp)?
            };
            if done {
                return Ok(());
            }
            wait(&self.wait_on, PollFlags::OUT, Duration::from_millis(100));
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Waits until the socket is ready, or for as long. A wait that fails ends early, no more.
fn wait(tcp: &TcpStream, what: PollFlags, patience: Duration) {
    let mut fds = [PollFd::from_borrowed_fd(tcp.as_fd(), what)];
    let patience = Timespec::try_from(patience).ok();
    let _ = poll(&mut fds, patience.as_ref());
}

/// The settings for these options; read once as long as they are the same.
fn settings(options: ClientOptions) -> Result<ClientSettings, String> {
    static LAST: Mutex<Option<(ClientOptions, ClientSettings)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, settings)) = &*last
        && *known == options
    {
        return Ok(settings.clone());
    }
    let settings = ClientSettings::new(&options, &Disk)?;
    *last = Some((options, settings.clone()));
    Ok(settings)
}

fn system_trust() -> Vec<String> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    named.into_iter().chain(SYSTEM_TRUST.map(str::to_owned)).collect()
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error_text(&error))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(Path::new(folder)).map_err(|error| error_text(&error))?;
        Ok(entries
            .filter_map(Result::ok)
            .map(|entry| entry.path().to_string_lossy().into_owned())
            .collect())
    }
}
