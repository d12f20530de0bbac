//! Listening sockets.

use config::Config;
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// A listening socket.
pub enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// The same, of `extra-ports` and `announce-view`.
    Extra(TcpListener),
    /// The same, for clients that speak TLS.
    Tls(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `port`
    Tcp,
    /// `extra-ports`, and listeners of `announce-view`
    Extra,
    /// `tls-port`
    Tls,
    /// `unixsocket`
    Unix,
}

impl Listener {
    /// What it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Listener::Tcp(_) => Kind::Tcp,
            Listener::Extra(_) => Kind::Extra,
            Listener::Tls(_) => Kind::Tls,
            Listener::Unix(_) => Kind::Unix,
        }
    }
}

/// Opens the sockets of one kind.
pub fn of_kind(kind: Kind, config: &Config) -> Result<Vec<Listener>, String> {
    match kind {
        Kind::Tcp => tcp(&config.bind, config.port, config.tcp_backlog),
        Kind::Extra => extra(config),
        Kind::Tls => tls(&config.bind, config.tls_port, config.tcp_backlog),
        Kind::Unix => Ok(unix(config)?.into_iter().collect()),
    }
}

/// One address of `bind`: the address, and whether its lack is no error.
fn parse_bind(word: &str) -> (Result<IpAddr, String>, bool) {
    let optional = word.starts_with('-');
    let word = word.strip_prefix('-').unwrap_or(word);
    let ip = match word {
        "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "::*" => Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => word.parse().or_else(|_| resolve(word)),
    };
    (ip, optional)
}

fn resolve(name: &str) -> Result<IpAddr, String> {
    use std::net::ToSocketAddrs;
    let mut found = (name, 0).to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
    found.next().map(|addr| addr.ip()).ok_or_else(|| format!("{name}: no address"))
}

/// Opens the sockets of `bind` and `port`.
fn tcp(bind: &[String], port: u16, backlog: u32) -> Result<Vec<Listener>, String> {
    Ok(open(bind, port, backlog)?.into_iter().map(Listener::Tcp).collect())
}

/// Opens the sockets of `bind` and `tls-port`.
fn tls(bind: &[String], port: u16, backlog: u32) -> Result<Vec<Listener>, String> {
    Ok(open(bind, port, backlog)?.into_iter().map(Listener::Tls).collect())
}

/// Opens everything that the configuration tells to listen on; the error is for the log.
pub fn all(config: &Config) -> Result<Vec<Listener>, String> {
    let failed = |port: u16, kind: &str, why: String| {
        format!("Failed listening on port {port} ({kind}), aborting. {why}")
    };
    let mut listeners = tcp(&config.bind, config.port, config.tcp_backlog)
        .map_err(|why| failed(config.port, "TCP", why))?;
    listeners.extend(
        tls(&config.bind, config.tls_port, config.tcp_backlog)
            .map_err(|why| failed(config.tls_port, "TLS", why))?,
    );
    listeners.extend(extra(config)?);
    listeners.extend(unix(config)?);
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(listeners)
}

/// Where to listen beside `port` and `tls-port`: `extra-ports` at the addresses of `bind`, and the
/// `listener`s of `announce-view` that are not served by any of these.
pub fn extra_listeners(config: &Config) -> Vec<(Option<IpAddr>, u16)> {
    // The configuration has been checked: every word is a port.
    let ports = config.extra_ports.to_str();
    let ports = ports.split_whitespace().filter_map(|word| word.parse().ok());
    let mut extra: Vec<(Option<IpAddr>, u16)> = Vec::new();
    for (ip, port) in ports.map(|port| (None, port)).chain(config.announce_view.listeners()) {
        let served = port == config.port || port == config.tls_port;
        let known = |(other_ip, other): &(Option<IpAddr>, u16)| {
            *other == port && (other_ip.is_none() || *other_ip == ip)
        };
        if !served && !extra.iter().any(known) {
            // What serves all addresses serves each.
            extra.retain(|(_, other)| ip.is_some() || *other != port);
            extra.push((ip, port));
        }
    }
    extra
}

/// Opens the sockets of [`extra_listeners`].
fn extra(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for (ip, port) in extra_listeners(config) {
        let bind = ip.map_or_else(|| config.bind.clone(), |ip| vec![ip.to_string()]);
        let opened = open(&bind, port, config.tcp_backlog)
            .map_err(|why| format!("Failed listening on port {port} (TCP), aborting. {why}"))?;
        listeners.extend(opened.into_iter().map(Listener::Extra));
    }
    Ok(listeners)
}

/// An address that this machine lacks is skipped if it is marked optional.
/// Source: redis 7.0 `server.c:listenToPort`.
fn open(bind: &[String], port: u16, backlog: u32) -> Result<Vec<TcpListener>, String> {
    if port == 0 {
        return Ok(Vec::new());
    }
    let mut listeners = Vec::new();
    for word in bind {
        let (ip, optional) = parse_bind(word);
        let opened = ip.and_then(|ip| {
            open_tcp(SocketAddr::new(ip, port), backlog).map_err(|error| (ip, error)).map_err(
                |(_, error)| match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        format!("bind: Address already in use ({word}:{port})")
                    }
                    _ => format!("bind: {error} ({word}:{port})"),
                },
            )
        });
        match opened {
            Ok(listener) => listeners.push(listener),
            Err(why) if optional && !why.contains("in use") => {
                crate::log::write(
                    crate::log::VERBOSE,
                    &format!("Skipping optional address {word}: {why}"),
                );
            }
            Err(why) => {
                crate::log::write(
                    crate::log::WARNING,
                    &format!(
                        "Warning: Could not create server TCP listening socket {}:{port}: {why}",
                        word.trim_start_matches('-')
                    ),
                );
                return Err(why);
            }
        }
    }
    Ok(listeners)
}

fn open_tcp(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog.max(1) as i32)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Opens the unix socket, if one is configured.
fn unix(config: &Config) -> Result<Option<Listener>, String> {
    let Some(path) = config.unixsocket.non_empty() else { return Ok(None) };
    let path = String::from_utf8_lossy(path).into_owned();
    // A socket file left by an earlier run is in the way of bind.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .map_err(|error| format!("Failed opening Unix socket: bind: {error}"))?;
    if config.unixsocketperm != 0 {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(config.unixsocketperm))
            .map_err(|error| format!("Failed to set permissions of the Unix socket: {error}"))?;
    }
    Ok(Some(Listener::Unix(listener)))
}

/// The kernel looks from time to time whether the other side is still there.
pub fn set_keepalive(tcp: &mio::net::TcpStream, secs: u32) {
    let interval = (secs / 3).max(1);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(secs)))
        .with_interval(Duration::from_secs(u64::from(interval)))
        .with_retries(3);
    // Without it a dead peer is found later, nothing else.
    let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
}
