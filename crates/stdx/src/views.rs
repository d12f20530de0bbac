//! The further addresses of a node: for each *view*, which is the name of a side from which it is
//! seen, the host and port under which it is reached from there.
//!
//! The text form `outside=127.0.0.1:36379,lan=[fd00::1]:6379` travels between nodes, so reading it
//! is strict about what may stand in an address and bounded in size, and skips what it does not
//! understand: a newer node may say more than this one knows.

use std::collections::BTreeMap;
use std::fmt;

/// Most views that a node can have an address in.
const VIEWS_MAX: usize = 16;
/// Longest text that is looked at.
const TEXT_MAX: usize = 8 * 1024;

/// The view in which a node has its ordinary address.
pub const CANONICAL_VIEW: &str = "canonical";

/// Further addresses by view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewAddrs(BTreeMap<String, (String, u16)>);

impl ViewAddrs {
    /// Reads the text form; what makes no sense is left out.
    pub fn parse(text: &str) -> ViewAddrs {
        let mut addrs = ViewAddrs::default();
        if text.len() > TEXT_MAX {
            return addrs;
        }
        for part in text.split(',') {
            let Some((view, address)) = part.trim().split_once('=') else { continue };
            if let Some((host, port)) = parse_host_port(address) {
                addrs.set(view, &host, port);
            }
        }
        addrs
    }

    /// Sets the address in a view; false if the name of the view, or their number, does not allow
    /// that.
    pub fn set(&mut self, view: &str, host: &str, port: u16) -> bool {
        let known = self.0.contains_key(view);
        let fits = is_view_name(view)
            && view != CANONICAL_VIEW
            && is_host(host)
            && port != 0
            && (known || self.0.len() < VIEWS_MAX);
        if fits {
            self.0.insert(view.to_string(), (host.to_string(), port));
        }
        fits
    }

    /// Host and port in a view.
    pub fn get(&self, view: &str) -> Option<(&str, u16)> {
        self.0.get(view).map(|(host, port)| (host.as_str(), *port))
    }

    /// The names of the views.
    pub fn views(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ViewAddrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (view, (host, port))) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{view}={}", show_host_port(host, *port))?;
        }
        Ok(())
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn show_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Reads `host:port`; an IPv6 address needs brackets.
pub fn parse_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').filter(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())?
        }
        None if host.contains(':') => return None,
        None => host,
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|&port| digits && port != 0)?;
    is_host(host).then(|| (host.to_string(), port))
}

/// True for a text that can name a view: letters, digits, `-`, `_`, `.`, at most 64 of them.
pub fn is_view_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A name or an address, which can stand in lists, events and files without quotes.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::{ViewAddrs, parse_host_port};
    use crate::Prng;

    #[test]
    fn there_and_back() {
        let text = "lan=[fd00::1]:6379,outside=127.0.0.1:36379";
        let addrs = ViewAddrs::parse(text);
        assert_eq!(addrs.to_string(), text);
        assert_eq!(addrs.get("outside"), Some(("127.0.0.1", 36379)));
        assert_eq!(addrs.get("lan"), Some(("fd00::1", 6379)));
        assert_eq!(addrs.get("other"), None);
        assert_eq!(addrs.views().collect::<Vec<_>>(), ["lan", "outside"]);
        assert!(ViewAddrs::parse("").is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let text = "a=1.2.3.4,=h:1,b c=h:1,d=h:0,e=h:65536,f=h:+1,g=:1,canonical=h:1,h=x y:1,\
                    i=::1:5,j=[::1:5,k=[x]:5,l=h\":5,ok=h:1";
        assert_eq!(ViewAddrs::parse(text).to_string(), "ok=h:1");
        assert_eq!(parse_host_port("redis-1.example:6379"), Some(("redis-1.example".into(), 6379)));
    }

    #[test]
    fn a_list_is_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("v{n}=h:1")).collect();
        assert_eq!(ViewAddrs::parse(&many.join(",")).views().count(), 16);
        assert!(ViewAddrs::parse(&"x=h:1,".repeat(10_000)).is_empty());
    }

    #[test]
    fn garbage_does_no_harm() {
        let mut rng = Prng::new(7);
        let seed = b"outside=127.0.0.1:36379,lan=[fd00::1]:6379";
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..rng.between(1, 6) {
                let at = rng.between(0, bytes.len() as u64 - 1) as usize;
                bytes[at] = rng.between(0, 255) as u8;
            }
            let read = ViewAddrs::parse(&String::from_utf8_lossy(&bytes));
            assert_eq!(ViewAddrs::parse(&read.to_string()), read, "{bytes:?}");
        }
    }
}
