//! Listening sockets: every node has one, at its own address.

use super::mio::net::{TcpListener, TcpStream, UnixListener};
use config::Config;
use std::net::IpAddr;

/// As the server's.
#[allow(dead_code)] // The worker's loop tells them apart.
pub enum Listener {
    /// The only kind here.
    Tcp(TcpListener),
    /// None here.
    Extra(TcpListener),
    /// None here.
    Tls(TcpListener),
    /// None here.
    Unix(UnixListener),
}

/// As the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `port`
    Tcp,
    /// `extra-ports`
    Extra,
    /// `tls-port`
    Tls,
    /// `unixsocket`
    Unix,
}

impl Listener {
    /// As the server's.
    pub fn kind(&self) -> Kind {
        match self {
            Listener::Tcp(_) => Kind::Tcp,
            Listener::Extra(_) => Kind::Extra,
            Listener::Tls(_) => Kind::Tls,
            Listener::Unix(_) => Kind::Unix,
        }
    }
}

/// As the server's.
pub fn all(_: &Config) -> Result<Vec<Listener>, String> {
    Ok(vec![Listener::Tcp(TcpListener::open())])
}

/// As the server's: there are none.
pub fn extra_listeners(_: &Config) -> Vec<(Option<IpAddr>, u16)> {
    Vec::new()
}

/// As the server's; nothing is opened anew here.
pub fn of_kind(_: Kind, _: &Config) -> Result<Vec<Listener>, String> {
    Err("the address stays".into())
}

/// Nothing to be done here.
pub fn set_keepalive(_: &TcpStream, _: u32) {}
