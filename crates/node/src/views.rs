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
