//! Which addresses a client is told: its view of the nodes.
//!
//! The rules are `announce-view`'s; this is where they meet a connection. What speaks as a sentinel or
//! a replica sees the ordinary addresses whatever the rules say: what nodes tell each other must be
//! the same everywhere. Redirections of a cluster and of CLIENT CAPA redirect take their address from
//! here, too, once there are such.

use crate::client::ClientInfo;
use crate::{Node, lock};
use config::Asker;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

/// Names that sentinels of every kind give their connections begin so.
const SENTINEL_NAME: &str = "sentinel-";

impl Node {
    /// The view in which a client sees the nodes; none for the ordinary addresses.
    pub fn view_of(&self, client: &ClientInfo) -> Option<String> {
        let settings = self.settings.load();
        let views = &settings.config.announce_view;
        if views.is_empty() || is_of_group(client) {
            return None;
        }
        let user = lock(&client.names).user.clone();
        let asker = Asker {
            peer: (!client.unix).then(|| ip_of(&client.addr)).flatten(),
            local: (!client.unix).then(|| client.laddr.parse().ok()).flatten(),
            user: &user,
            gateways: &|| self.host.gateways(),
        };
        views.view_of(&asker).map(str::to_string)
    }
}

/// A sentinel or another node: it has said so in one way or another.
fn is_of_group(client: &ClientInfo) -> bool {
    let flags = [&client.sentinel, &client.replica, &client.master];
    flags.iter().any(|flag| flag.load(Relaxed))
        || lock(&client.names).name.starts_with(SENTINEL_NAME)
}

fn ip_of(addr: &str) -> Option<IpAddr> {
    addr.parse::<SocketAddr>().ok().map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use crate::ClientInfo;
    use crate::testkit::Kit;
    use std::sync::atomic::Ordering::Relaxed;

    const EVERYBODY: &str = "o client-net 0.0.0.0/0 o client-net ::/0";

    fn kit(rules: &str) -> Kit {
        let mut kit = Kit::default();
        let set: [&[u8]; 4] = [b"config", b"set", b"announce-view", rules.as_bytes()];
        let mut session = kit.connect();
        assert_eq!(kit.run(&mut session, &set), b"+OK\r\n");
        kit
    }

    fn client(addr: &str, laddr: &str, unix: bool) -> ClientInfo {
        ClientInfo::new(77, 0, addr.into(), laddr.into(), 9, unix, 0)
    }

    #[test]
    fn what_speaks_for_the_group_sees_the_ordinary_addresses() {
        let kit = kit(EVERYBODY);
        type Mark = fn(&ClientInfo);
        let marks: [(&str, Mark); 5] = [
            ("a sentinel's name", |c| {
                crate::lock(&c.names).name = "sentinel-0123abcd-cmd".into();
            }),
            ("a vote, a hello", |c| c.sentinel.store(true, Relaxed)),
            ("a replica", |c| c.replica.store(true, Relaxed)),
            ("our master", |c| c.master.store(true, Relaxed)),
            ("nothing", |_| {}),
        ];
        for (what, mark) in marks {
            for addr in ["10.0.0.9:5555", "[fd00::9]:5555"] {
                let client = client(addr, "10.0.0.1:6379", false);
                mark(&client);
                let expected = (what == "nothing").then_some("o");
                assert_eq!(kit.node.view_of(&client).as_deref(), expected, "{what} {addr}");
            }
        }
    }

    #[test]
    fn a_unix_socket_has_no_network_but_a_user() {
        let kit = kit(&format!("{EVERYBODY} o listener 6379 mine user default"));
        let socket = client("/run/redis.sock:0", "/run/redis.sock:0", true);
        assert_eq!(kit.node.view_of(&socket).as_deref(), Some("mine"));
        let tcp = client("10.0.0.9:1", "10.0.0.1:6379", false);
        assert_eq!(kit.node.view_of(&tcp).as_deref(), Some("o"));
        assert_eq!(Kit::default().node.view_of(&tcp), None, "without rules");
    }

    #[test]
    fn who_listens_to_hellos_is_a_sentinel() {
        let mut kit = kit("o user default");
        let mut session = kit.connect();
        assert_eq!(kit.node.view_of(&session.info).as_deref(), Some("o"));
        kit.line_of(&mut session, "subscribe news");
        assert_eq!(kit.node.view_of(&session.info).as_deref(), Some("o"));
        kit.line_of(&mut session, "subscribe __sentinel__:hello");
        assert_eq!(kit.node.view_of(&session.info), None);
    }

    #[test]
    fn info_states_the_own_addresses() {
        let mut kit = kit("o address 127.0.0.1:36379 user nobody");
        assert!(kit.text("info replication").contains("announced_views:o=127.0.0.1:36379\r\n"));
        assert!(!Kit::default().text("info").contains("announced_views"));
    }
}
