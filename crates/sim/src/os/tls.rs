//! Settings of TLS: there is none here.

use super::net::TcpStream;
use config::Config;
use std::io;
use std::time::Duration;
use tls::Channel;

/// As the server's.
pub const HANDSHAKE_MS: u64 = 10_000;

/// As the server's.
#[derive(Default)]
pub struct Tls(());

/// As the server's.
pub fn is_setting(_: &str) -> bool {
    false
}

fn none<T>() -> io::Result<T> {
    Err(io::Error::other("TLS is not configured"))
}

impl Tls {
    /// As the server's.
    pub fn configure(&self, _: &Config) -> Result<(), &'static str> {
        Ok(())
    }
    /// As the server's.
    pub fn configure_at_start(&self, _: &Config) -> Result<(), String> {
        Ok(())
    }
    /// As the server's.
    pub fn accept(&self) -> io::Result<Channel> {
        none()
    }
    /// As the server's.
    pub fn connect_and_wait(&self, _: &mut TcpStream, _: &str, _: Duration) -> io::Result<Channel> {
        none()
    }
}
