//! Addresses of nodes: what was configured or announced, and the IP it last stood for.
//!
//! An address is never empty. A name that cannot be resolved keeps the IP that it last had, and a
//! name that never could be resolved is shown as it is. (redis-sentinel stores an empty string,
//! loses the old master of a container network and shows a phantom replica.)

use std::net::{IpAddr, SocketAddr};

/// Host and port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The name or IP as given.
    pub host: String,
    /// The last good address of `host`.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Addr {
    /// An address from its text; `ip` is known at once when `host` is one.
    pub fn new(host: &str, port: u16) -> Addr {
        let ip = host.parse::<IpAddr>().ok();
        let host = ip.map_or_else(|| host.to_string(), |ip| ip.to_string());
        Addr { host, ip, port }
    }

    /// True when `host` is a name that has to be resolved.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// The IP as text, or the name while no IP is known.
    pub fn ip_text(&self) -> String {
        self.ip.map_or_else(|| self.host.clone(), |ip| ip.to_string())
    }

    /// What clients and peers are told: the name with `announce-hostnames`, else the IP.
    pub fn announced(&self, hostnames: bool) -> String {
        if hostnames { self.host.clone() } else { self.ip_text() }
    }

    /// Where to connect to, when known.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// True when `host:port` names this node, by name or by IP.
    pub fn is(&self, host: &str, port: u16) -> bool {
        if self.port != port {
            return false;
        }
        if self.host.eq_ignore_ascii_case(host) {
            return true;
        }
        match (self.ip, host.parse::<IpAddr>()) {
            (Some(mine), Ok(theirs)) => mine == theirs,
            _ => false,
        }
    }

    /// True when both stand for the same node.
    pub fn same(&self, other: &Addr) -> bool {
        self.port == other.port
            && (self.host.eq_ignore_ascii_case(&other.host)
                || (self.ip.is_some() && self.ip == other.ip))
    }
}

/// A port from its text, as `atoi` with a range check would read it.
pub fn parse_port(text: &str) -> Option<u16> {
    text.parse::<u16>().ok()
}

/// True for a text that can be a host name: no blanks, control characters or quotes, which would
/// break the configuration file and event payloads.
pub fn valid_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b',' | b'\\'))
}
