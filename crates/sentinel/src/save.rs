//! What the configuration file should say: the settings, and the state that must survive a restart.
//!
//! How it is said, in which line, is `rewrite`'s business.
//! Source: redis 7.0 `sentinel.c:rewriteConfigSentinelOption`.

use stdx::ViewAddrs;

use crate::addr::Addr;
use crate::conf::MasterConf;
use crate::machine::Sentinel;
use crate::model::Master;
use crate::rewrite::{Wanted, rewrite};
use crate::timing::{DEFAULT_CRASH_GRACE_MS, Periods};

/// Marks a file whose owner has started without state and gives no votes yet.
pub(crate) const MUTE_MARK: &[u8] = b"# Started without state: no votes are given yet";

impl Sentinel {
    /// The configuration file as it should be now.
    pub(crate) fn config_text(&mut self) -> Vec<u8> {
        let mut wanted = Vec::new();
        let globals = &self.c.globals;
        let mut one = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                wanted.push(Wanted::new(&[name, value], false, false));
            }
        };
        let yes_no = |b: bool| if b { "yes" } else { "no" };
        one("myid", Some(&self.c.myid));
        let port = globals.announce_port.to_string();
        one("announce-ip", globals.announce_ip.as_deref());
        one("announce-port", (globals.announce_port != 0).then_some(port.as_str()));
        one("sentinel-user", globals.sentinel_user.as_deref());
        one("sentinel-pass", globals.sentinel_pass.as_deref());
        one("announce-view", globals.announce_view.as_deref());
        for (name, value, default) in [
            ("resolve-hostnames", globals.resolve_hostnames, false),
            ("announce-hostnames", globals.announce_hostnames, false),
            ("deny-scripts-reconfig", globals.deny_scripts_reconfig, true),
        ] {
            wanted.push(Wanted::new(&[name, yes_no(value)], false, value == default));
        }
        for m in self.masters.values() {
            wanted_of(m, &mut wanted);
        }
        let epoch = self.c.current_epoch.to_string();
        wanted.push(Wanted::new(&["current-epoch", &epoch], false, false));
        self.c.lines.retain(|line| line.text != MUTE_MARK);
        let mut text = rewrite(&mut self.c.lines, wanted);
        if self.c.stateless {
            text.extend_from_slice(MUTE_MARK);
            text.push(b'\n');
        }
        text
    }
}

/// Who of a master has further addresses.
fn views_known(m: &Master) -> impl Iterator<Item = (&Addr, &ViewAddrs)> {
    let nodes = std::iter::once(&m.node).chain(m.replicas.values());
    let nodes = nodes.map(|node| (&node.addr, &node.views));
    let peers = m.peers.values().map(|peer| (&peer.addr, &peer.views));
    nodes.chain(peers).filter(|(_, views)| !views.is_empty())
}

/// What the file should say about one master.
fn wanted_of(m: &Master, wanted: &mut Vec<Wanted>) {
    let defaults = MasterConf::new("", Addr::new("0.0.0.0", 0), 1, &Periods::default());
    let name = m.name.as_str();
    let addr = m.current_addr();
    let (port, quorum) = (addr.port.to_string(), m.quorum.to_string());
    wanted.push(Wanted::new(&["monitor", name, &addr.host, &port, &quorum], true, false));
    let mut number = |directive: &str, value: u64, default: u64| {
        let text = value.to_string();
        wanted.push(Wanted::new(&[directive, name, &text], true, value == default));
    };
    number("down-after-milliseconds", m.down_after, defaults.down_after);
    number("failover-timeout", m.failover_timeout, defaults.failover_timeout);
    number("crash-grace", m.crash_grace, DEFAULT_CRASH_GRACE_MS);
    number("master-reboot-down-after-period", m.reboot_down_after, 0);
    number("forget-after", m.forget_after, 0);
    let syncs = m.parallel_syncs.to_string();
    let default = m.parallel_syncs == defaults.parallel_syncs;
    wanted.push(Wanted::new(&["parallel-syncs", name, &syncs], true, default));
    for (directive, value) in [
        ("notification-script", &m.notification_script),
        ("client-reconfig-script", &m.client_reconfig_script),
        ("auth-user", &m.auth_user),
        ("auth-pass", &m.auth_pass),
    ] {
        if let Some(value) = value {
            wanted.push(Wanted::new(&[directive, name, value], true, false));
        }
    }
    for (old, new) in &m.renamed {
        wanted.push(Wanted::new(&["rename-command", name, old, new], true, false));
    }
    for (directive, epoch) in [("config-epoch", m.config_epoch), ("leader-epoch", m.leader_epoch)] {
        wanted.push(Wanted::new(&[directive, name, &epoch.to_string()], true, false));
    }
    for node in m.replicas.values() {
        // While the promoted replica stands in the master's line, the old master stands in its.
        let addr = if node.addr.same(addr) { &m.node.addr } else { &node.addr };
        let port = addr.port.to_string();
        wanted.push(Wanted::new(&["known-replica", name, &addr.host, &port], true, false));
    }
    for (addr, views) in views_known(m) {
        let (port, views) = (addr.port.to_string(), views.to_string());
        wanted.push(Wanted::new(&["known-view", name, &addr.host, &port, &views], true, false));
    }
    for peer in m.peers.values() {
        let port = peer.addr.port.to_string();
        let mut args = vec!["known-sentinel", name, peer.addr.host.as_str(), &port];
        args.extend(peer.runid.as_deref());
        wanted.push(Wanted::new(&args, true, false));
    }
}
