//! Addresses as Redis writes them.

use std::net::{IpAddr, SocketAddr};

/// `ip:port`, with brackets around IPv6; an IPv4 address that came in by IPv6 is shown as IPv4.
pub fn show(addr: SocketAddr) -> String {
    match plain_ip(addr.ip()) {
        IpAddr::V4(ip) => format!("{ip}:{}", addr.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", addr.port()),
    }
}

/// The address without port.
pub fn plain_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}
