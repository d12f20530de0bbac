//! The settings of TLS connections as they are now in force.
//!
//! New connections take what is here; those that stand keep what they were made with.

use super::sys;
use crate::log::WARNING;
use ::tls::{Channel, ClientAuth, ClientSettings, Files, ServerOptions, ServerSettings, Settings};
use arc_swap::ArcSwapOption;
use config::{Config, Text, TlsAuthClients};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What a CONFIG SET is refused with; the log says more. Source: redis 7.0 `config.c:applyTlsCfg`.
const REFUSED: &str = "Unable to update TLS configuration. Check server logs.";

/// Time that a client has for its handshake, milliseconds.
pub const HANDSHAKE_MS: u64 = 10_000;

/// Settings in force; none while TLS is not used.
#[derive(Default)]
pub struct Tls {
    server: ArcSwapOption<ServerSettings>,
    client: ArcSwapOption<ClientSettings>,
}

/// True if something of this configuration needs TLS.
fn is_wanted(config: &Config) -> bool {
    config.tls_port != 0 || config.tls_replication || config.tls_cluster
}

/// True for directives that [`Tls::configure`] reads.
pub fn is_setting(name: &str) -> bool {
    name.starts_with("tls-") && name != "tls-port"
}

impl Tls {
    /// Reads the files that the configuration names, if it needs TLS. If something is wrong the log
    /// has a line, and what was in force stays.
    pub fn configure(&self, config: &Config) -> Result<(), &'static str> {
        if !is_wanted(config) {
            // Asked for again, it is read again.
            self.server.store(None);
            self.client.store(None);
            return Ok(());
        }
        match Settings::new(&options(config), &Disk, seconds) {
            Ok(settings) => {
                for note in &settings.notes {
                    crate::log::write(WARNING, note);
                }
                self.server.store(Some(settings.server.into()));
                self.client.store(Some(settings.client.into()));
                Ok(())
            }
            Err(why) => {
                crate::log::write(WARNING, &why);
                Err(REFUSED)
            }
        }
    }

    /// The same at the start of the process: without TLS as configured there is no process.
    pub fn configure_at_start(&self, config: &Config) -> Result<(), String> {
        self.configure(config)
            .map_err(|_| "Failed to configure TLS. Check logs for more info.".to_string())
    }

    /// The side of a server, for a client that has just connected.
    pub fn accept(&self) -> io::Result<Channel> {
        match &*self.server.load() {
            Some(settings) => Channel::accept(settings),
            None => Err(io::Error::other("TLS is not configured")),
        }
    }

    /// The side of a client.
    pub fn connect(&self, host: &str) -> io::Result<Channel> {
        match &*self.client.load() {
            Some(settings) => Channel::connect(settings, host),
            None => Err(io::Error::other("TLS is not configured")),
        }
    }

    /// Does the handshake on a socket that was just connected and returns when both sides have proved
    /// themselves. For helper threads. The socket does not block from then on.
    pub fn connect_and_wait(
        &self,
        stream: &mut TcpStream,
        host: &str,
        patience: Duration,
    ) -> io::Result<Channel> {
        let mut channel = self.connect(host)?;
        let until = Instant::now() + patience;
        stream.set_nonblocking(true)?;
        loop {
            // Nothing in the clear is to come before the handshake is done.
            match channel.read(stream, &mut [0; 1]) {
                Ok(0) => return Err(io::Error::other("the connection was closed")),
                Err(error) if is_nothing(&error) => {}
                Err(error) => return Err(io::Error::other(::tls::error_text(&error))),
                // A server that talks before it is asked: not one of ours.
                Ok(_) => return Err(io::Error::other("unexpected bytes")),
            }
            if !channel.is_handshaking() {
                return Ok(channel);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A wait that fails ends early: then there is another one.
            let mut fds = [PollFd::new(&*stream, PollFlags::IN)];
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Seconds of the monotonic clock.
fn seconds() -> u64 {
    sys::monotonic_us() / 1_000_000
}

fn options(config: &Config) -> ServerOptions {
    let text = |text: &Text| text.to_str().into_owned();
    ServerOptions {
        cert_file: text(&config.tls_cert_file),
        key_file: text(&config.tls_key_file),
        client_cert_file: text(&config.tls_client_cert_file),
        client_key_file: text(&config.tls_client_key_file),
        ca_cert_file: text(&config.tls_ca_cert_file),
        ca_cert_dir: text(&config.tls_ca_cert_dir),
        auth_clients: match config.tls_auth_clients {
            TlsAuthClients::No => ClientAuth::No,
            TlsAuthClients::Optional => ClientAuth::Optional,
            TlsAuthClients::Yes => ClientAuth::Required,
        },
        connects: config.tls_replication || config.tls_cluster,
        protocols: text(&config.tls_protocols),
        ciphers: text(&config.tls_ciphers),
        ciphersuites: text(&config.tls_ciphersuites),
        prefer_server_ciphers: config.tls_prefer_server_ciphers,
        session_caching: config.tls_session_caching,
        session_cache_size: config.tls_session_cache_size,
        session_cache_timeout: config.tls_session_cache_timeout,
    }
}

/// Files of this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| sys::reason(&error))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(folder).map_err(|error| sys::reason(&error))?;
        let mut paths: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        paths.sort();
        Ok(paths)
    }
}
