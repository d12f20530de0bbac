//! `announce-view`: under which further addresses a node is reached, and which clients are told them.
//!
//! A view is the name of a side from which the nodes are seen. A line gives a view's items:
//!
//! ```text
//! announce-view outside address 127.0.0.1:36379 client-net gateway
//! ```
//! `address` is this node's address in the view; `listener`, `client-net` and `user` say who sees the
//! nodes that way. Lines add up; of the rules the first that fits a client decides. Which client asks
//! comes in from outside, so that all of this is a pure function.

use crate::directives::Directive;
use crate::text::{join, lossy};
use crate::value::{Origin, Value};
use std::net::{IpAddr, SocketAddr};
use stdx::{CANONICAL_VIEW, ViewAddrs, is_view_name, parse_host_port, show_host_port};

/// More would be a mistake.
const ITEMS_MAX: usize = 256;

/// What a line says of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewItem {
    /// This node's address there.
    Address(String, u16),
    /// Clients that came in by this port, at this address if one is given.
    Listener(Option<IpAddr>, u16),
    /// Clients of this network: its address and the number of bits that count.
    ClientNet(IpAddr, u8),
    /// Clients that come from the machine's default gateway: to a container that is whoever came by
    /// a published port of its host.
    Gateway,
    /// Clients of this ACL user.
    User(String),
}

/// All lines of `announce-view`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceViews(Vec<(String, ViewItem)>);

/// Who asks.
pub struct Asker<'a> {
    /// The client's address, unless it came by a unix socket.
    pub peer: Option<IpAddr>,
    /// The address of this node that it came to.
    pub local: Option<SocketAddr>,
    /// Its ACL user.
    pub user: &'a [u8],
    /// The machine's default gateways; asked for when a rule needs them.
    pub gateways: &'a dyn Fn() -> Vec<IpAddr>,
}

impl AnnounceViews {
    /// Without any line?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This node's own further addresses. Of two for one view the later counts.
    pub fn addresses(&self) -> ViewAddrs {
        let mut addrs = ViewAddrs::default();
        for (view, item) in &self.0 {
            if let ViewItem::Address(host, port) = item {
                addrs.set(view, host, *port);
            }
        }
        addrs
    }

    /// The view that the first fitting rule gives a client; nothing for the ordinary addresses.
    pub fn view_of(&self, asker: &Asker<'_>) -> Option<&str> {
        let (view, _) = self.0.iter().find(|(_, item)| item.fits(asker))?;
        (view != CANONICAL_VIEW).then_some(view.as_str())
    }

    /// What `listener` rules name.
    pub fn listeners(&self) -> impl Iterator<Item = (Option<IpAddr>, u16)> {
        self.0.iter().filter_map(|(_, item)| match item {
            ViewItem::Listener(ip, port) => Some((*ip, *port)),
            _ => None,
        })
    }

    /// Reads a text as CONFIG GET shows it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<AnnounceViews, String> {
        AnnounceViews::parse(&[text.as_bytes()])
    }

    /// Reads the words of a line, of several lines behind each other too: no view has the name of
    /// an item.
    fn parse(words: &[&[u8]]) -> Result<AnnounceViews, String> {
        let words: Vec<_> = words.iter().map(|word| lossy(word)).collect();
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
        let mut items = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let view = words[at];
            if !is_view_name(view) || ViewItem::is_kind(view) {
                return Err(format!(
                    "'{view}' can't be the name of a view: letters, digits, '-', '_' and '.'"
                ));
            }
            at += 1;
            let before = items.len();
            while let Some(kind) = words.get(at).filter(|word| ViewItem::is_kind(word)) {
                let value = words
                    .get(at + 1)
                    .ok_or_else(|| format!("'{kind}' of view '{view}' has no value"))?;
                items.push((view.to_string(), ViewItem::parse(view, kind, value)?));
                at += 2;
            }
            if items.len() == before {
                let found = words.get(at).copied().unwrap_or("nothing");
                return Err(format!(
                    "after view '{view}' there must be address, listener, client-net or user, not {found}"
                ));
            }
        }
        if items.len() > ITEMS_MAX {
            Err("too many items".into())
        } else {
            Ok(AnnounceViews(items))
        }
    }

    /// One text for each run of items of one view.
    fn texts(&self) -> Vec<String> {
        let runs = self.0.chunk_by(|(one, _), (next, _)| one == next);
        runs.map(|run| {
            let items: Vec<String> = run.iter().map(|(_, item)| item.to_string()).collect();
            format!("{} {}", run[0].0, items.join(" "))
        })
        .collect()
    }
}

impl ViewItem {
    fn is_kind(word: &str) -> bool {
        ["address", "listener", "client-net", "user"].contains(&word)
    }

    fn parse(view: &str, kind: &str, value: &str) -> Result<ViewItem, String> {
        let bad = |what: &str| Err(format!("'{value}' of view '{view}' is not {what}"));
        match kind {
            "address" if view == CANONICAL_VIEW => {
                Err("the view 'canonical' stands for the ordinary addresses".into())
            }
            "address" => match parse_host_port(value) {
                Some((host, port)) => Ok(ViewItem::Address(host, port)),
                None => bad("a host and a port, like 127.0.0.1:36379"),
            },
            "listener" => match parse_listener(value) {
                Some((ip, port)) => Ok(ViewItem::Listener(ip, port)),
                None => bad("a port, or an address and a port, like 0.0.0.0:36379"),
            },
            "user" if value.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\#".contains(&b)) => {
                Ok(ViewItem::User(value.to_string()))
            }
            "user" => bad("a user's name without blanks and quotes"),
            _ if value == "gateway" => Ok(ViewItem::Gateway),
            _ => match parse_net(value) {
                Some((ip, bits)) => Ok(ViewItem::ClientNet(ip, bits)),
                None => bad("a network like 172.18.0.1/32, or 'gateway'"),
            },
        }
    }

    /// Whether a rule fits this client.
    fn fits(&self, asker: &Asker<'_>) -> bool {
        match self {
            ViewItem::Address(..) => false,
            ViewItem::Listener(ip, port) => asker.local.is_some_and(|local| {
                local.port() == *port && ip.is_none_or(|ip| ip == local.ip().to_canonical())
            }),
            ViewItem::ClientNet(net, bits) => {
                asker.peer.is_some_and(|peer| contains(*net, *bits, peer.to_canonical()))
            }
            ViewItem::Gateway => {
                asker.peer.is_some_and(|peer| (asker.gateways)().contains(&peer.to_canonical()))
            }
            ViewItem::User(user) => user.as_bytes() == asker.user,
        }
    }
}

impl std::fmt::Display for ViewItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ViewItem::Address(host, port) => write!(f, "address {}", show_host_port(host, *port)),
            ViewItem::Listener(None, port) => write!(f, "listener {port}"),
            ViewItem::Listener(Some(ip), port) => {
                write!(f, "listener {}", SocketAddr::new(*ip, *port))
            }
            ViewItem::ClientNet(ip, bits) => write!(f, "client-net {ip}/{bits}"),
            ViewItem::Gateway => f.write_str("client-net gateway"),
            ViewItem::User(user) => write!(f, "user {user}"),
        }
    }
}

/// `port` or `address:port`; an address that stands for all is none.
fn parse_listener(text: &str) -> Option<(Option<IpAddr>, u16)> {
    let (ip, port) = match text.strip_prefix("*:").unwrap_or(text).parse::<u16>() {
        Ok(port) => (None, port),
        Err(_) => {
            let addr = text.parse::<SocketAddr>().ok()?;
            let ip = addr.ip().to_canonical();
            ((!ip.is_unspecified()).then_some(ip), addr.port())
        }
    };
    (port != 0).then_some((ip, port))
}

/// `address` or `address/bits`.
fn parse_net(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip.parse::<IpAddr>().ok()?, Some(bits)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
        Some(_) => return None,
        None => most,
    };
    (bits <= most).then_some((ip, bits))
}

/// True if the first `bits` of both are the same.
fn contains(net: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let (net, ip, width) = match (net, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => (net.to_bits().into(), ip.to_bits().into(), 32),
        (IpAddr::V6(net), IpAddr::V6(ip)) => (net.to_bits(), ip.to_bits(), 128),
        _ => return false,
    };
    let differing: u128 = net ^ ip;
    differing.checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

impl std::fmt::Display for AnnounceViews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.texts().join(" "))
    }
}

impl Value for AnnounceViews {
    fn set(&mut self, _: &Directive, words: &[&[u8]], origin: Origin) -> Result<(), String> {
        let AnnounceViews(items) = AnnounceViews::parse(words)?;
        // An empty line takes what the lines before it said back.
        if origin != Origin::FileAgain || items.is_empty() {
            self.0.clear();
        }
        self.0.extend(items);
        self.0.truncate(ITEMS_MAX);
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    fn lines(&self, row: &Directive, _: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        let texts = self.texts();
        texts.iter().map(|text| (join(&[row.name.as_bytes(), text.as_bytes()]), true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{AnnounceViews, Asker};
    use std::net::IpAddr;
    use stdx::Prng;

    fn read(text: &str) -> Result<AnnounceViews, String> {
        AnnounceViews::read(text)
    }

    fn view(rules: &str, peer: &str, local: &str, user: &str) -> Option<String> {
        let gateways = || vec!["172.18.0.1".parse::<IpAddr>().expect("an address")];
        let asker = Asker {
            peer: peer.parse().ok(),
            local: local.parse().ok(),
            user: user.as_bytes(),
            gateways: &gateways,
        };
        read(rules).expect("good rules").view_of(&asker).map(str::to_string)
    }

    #[test]
    fn rules() {
        let here = "172.18.0.5:26379";
        for (rules, peer, local, user, expected) in [
            ("o listener 0.0.0.0:36379", "10.0.0.9", "172.18.0.5:36379", "default", Some("o")),
            ("o listener 36379", "10.0.0.9", "172.18.0.5:36379", "default", Some("o")),
            ("o listener *:36379", "10.0.0.9", "172.18.0.5:36379", "default", Some("o")),
            ("o listener [::]:36379", "fd00::9", "[fd00::5]:36379", "default", Some("o")),
            ("o listener 0.0.0.0:36379", "10.0.0.9", here, "default", None),
            ("o listener 172.18.0.5:26379", "10.0.0.9", here, "default", Some("o")),
            ("o listener 172.18.0.6:26379", "10.0.0.9", here, "default", None),
            ("o client-net 172.18.0.1/32", "172.18.0.1", here, "default", Some("o")),
            ("o client-net 172.18.0.1", "172.18.0.1", here, "default", Some("o")),
            ("o client-net 172.18.0.1/32", "172.18.0.2", here, "default", None),
            ("o client-net 172.18.9.9/16", "172.18.0.2", here, "default", Some("o")),
            ("o client-net 172.18.0.0/16", "172.19.0.2", here, "default", None),
            ("o client-net 0.0.0.0/0", "172.19.0.2", here, "default", Some("o")),
            ("o client-net 0.0.0.0/0", "fd00::1", here, "default", None),
            ("o client-net 0.0.0.0/0", "::ffff:10.0.0.1", here, "default", Some("o")),
            ("o client-net fd00::/8", "fd00::1", here, "default", Some("o")),
            ("o client-net ::/0", "fd00::1", here, "default", Some("o")),
            ("o client-net gateway", "172.18.0.1", here, "default", Some("o")),
            ("o client-net gateway", "172.18.0.2", here, "default", None),
            ("o client-net gateway", "/run/socket", "", "default", None),
            ("o user app", "172.18.0.2", here, "app", Some("o")),
            ("o user app", "172.18.0.2", here, "App", None),
            ("o address h:1", "172.18.0.2", here, "app", None),
            ("a user x b user app c client-net ::/0", "10.0.0.1", here, "app", Some("b")),
            (
                "canonical client-net 172.16.0.0/12 o client-net 0.0.0.0/0",
                "172.18.0.2",
                here,
                "",
                None,
            ),
            (
                "canonical client-net 172.16.0.0/12 o client-net 0.0.0.0/0",
                "10.1.1.1",
                here,
                "",
                Some("o"),
            ),
        ] {
            assert_eq!(view(rules, peer, local, user).as_deref(), expected, "{rules} {peer}");
        }
    }

    #[test]
    fn one_line_says_it_all() {
        let views =
            read("outside address 127.0.0.1:36379 client-net gateway lan user app").unwrap();
        assert_eq!(views.addresses().to_string(), "outside=127.0.0.1:36379");
        assert_eq!(
            views.texts(),
            ["outside address 127.0.0.1:36379 client-net gateway", "lan user app"]
        );
        let twice = read("o address a:1 o address [fd00::1]:2").unwrap();
        assert_eq!(twice.addresses().to_string(), "o=[fd00::1]:2");
        assert_eq!(
            read("o listener 0.0.0.0:7").unwrap().listeners().collect::<Vec<_>>(),
            [(None, 7)]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, hint) in [
            ("outside", "there must be address"),
            ("outside 127.0.0.1:1", "not 127.0.0.1:1"),
            ("address 127.0.0.1:1", "can't be the name of a view"),
            ("a@b user x", "can't be the name of a view"),
            ("o address", "has no value"),
            ("o address 127.0.0.1", "is not a host and a port"),
            ("o address h:0", "is not a host and a port"),
            ("o listener 0", "is not a port"),
            ("o listener x:1", "is not a port"),
            ("o client-net 10.0.0.0/33", "is not a network"),
            ("o client-net 10.0.0.0/+8", "is not a network"),
            ("o client-net fd00::/129", "is not a network"),
            ("canonical address h:1", "stands for the ordinary"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(read("").expect("nothing is fine").is_empty());
        assert!(read(&"o user x ".repeat(257)).is_err());
    }

    #[test]
    fn garbage_does_no_harm() {
        let mut rng = Prng::new(11);
        let seed = "outside address [fd00::1]:36379 client-net 172.18.0.1/32 listener 0.0.0.0:1 lan user x";
        for _ in 0..20_000 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..rng.between(1, 5) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = b" :./@0129afxuser-net\xff\n\""[rng.below(21) as usize];
            }
            let Ok(views) = AnnounceViews::parse(&[&bytes]) else { continue };
            let again = read(&views.texts().join(" ")).expect("what is shown can be read");
            assert_eq!(again, views, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
