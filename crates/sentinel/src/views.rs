//! Addresses as somebody else sees them: replies and events in another view than our own.
//!
//! What nodes and sentinels tell each other are always the ordinary addresses. A node states its
//! further ones in its INFO (`announced_views`), a line that redis-sentinel does not read; they are
//! kept here, and in the file, and given to clients that see the nodes from that side. Which client
//! does is the driver's knowledge. A node that has said nothing of a view is shown there under its
//! ordinary address.

use std::collections::BTreeSet;

use stdx::{CANONICAL_VIEW, ViewAddrs};

use crate::addr::Addr;
use crate::api::ViewPayload;
use crate::core::Core;
use crate::link::{LinkId, Pending};
use crate::machine::Sentinel;
use crate::model::Master;

/// Understands the text of `announce-view`: gives it back in its ordinary form, with the addresses of
/// this sentinel that it holds.
pub type ReadViews = fn(&str) -> Result<(String, ViewAddrs), String>;

/// With whose eyes addresses are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    /// The view; none for the ordinary addresses.
    pub view: Option<&'a str>,
    /// The client named the master `name@view` and knows it under no other name.
    pub suffixed: bool,
}

impl Seen<'_> {
    /// A master's name.
    pub fn name(self, m: &Master) -> String {
        match self.view.filter(|_| self.suffixed) {
            Some(view) => format!("{}@{view}", m.name),
            None => m.name.clone(),
        }
    }
}

/// Subcommands whose argument is the name of a master to be shown.
const SHOWING: [&str; 8] = [
    "get-master-addr-by-name",
    "get-primary-addr-by-name",
    "master",
    "primary",
    "replicas",
    "slaves",
    "sentinels",
    "ckquorum",
];

impl Core {
    /// Host and port of a node as they are told.
    pub fn told(&self, addr: &Addr, views: &ViewAddrs, seen: Seen<'_>) -> (String, u16) {
        match seen.view.and_then(|view| views.get(view)) {
            Some((host, port)) => (host.to_string(), port),
            None => (addr.announced(self.hostnames()), addr.port),
        }
    }

    /// The payload of an event for those who see the nodes of `m` otherwise than we do.
    pub fn in_views(
        &self,
        m: &Master,
        ordinary: &str,
        text: &dyn Fn(Seen<'_>) -> String,
    ) -> Vec<ViewPayload> {
        let views = views_of(m);
        if views.is_empty() {
            return Vec::new();
        }
        let by_rule = views.iter().map(|&view| (view, false));
        let by_name = views.iter().copied().chain([CANONICAL_VIEW]).map(|view| (view, true));
        by_rule
            .chain(by_name)
            .map(|(view, suffixed)| (view, suffixed, text(Seen { view: Some(view), suffixed })))
            .filter(|(_, _, payload)| payload != ordinary)
            .map(|(view, suffixed, payload)| ViewPayload {
                view: view.to_string(),
                suffixed,
                payload,
            })
            .collect()
    }

    /// Reads rules that SENTINEL CONFIG SET gives.
    pub fn read_views(&self, text: &str) -> Option<(String, ViewAddrs)> {
        self.view_rules.1.and_then(|read| read(text).ok())
    }

    /// How the client whose command is being answered sees the nodes.
    pub fn seen(&self) -> Seen<'_> {
        Seen { view: self.asker_view.as_deref(), suffixed: false }
    }
}

/// All views in which something of `m` has an address.
fn views_of(m: &Master) -> BTreeSet<&str> {
    let nodes = std::iter::once(&m.node).chain(m.replicas.values()).map(|node| &node.views);
    nodes.chain(m.peers.values().map(|peer| &peer.views)).flat_map(ViewAddrs::views).collect()
}

impl Sentinel {
    /// The rules that are in force: as text, and this sentinel's own further addresses out of them.
    /// `read` understands such texts; SENTINEL CONFIG SET asks it.
    pub fn set_views(&mut self, text: String, own: ViewAddrs, read: ReadViews) {
        self.c.views = (!text.is_empty()).then_some(own);
        self.c.view_rules = (text, Some(read));
        self.c.touch_all = true;
    }

    /// The text of the rules that are in force; the driver compares it with its own.
    pub fn view_rules(&self) -> &str {
        &self.c.view_rules.0
    }

    /// The view that a command asks for with a name like `mymaster@outside`.
    pub fn view_in_name(&self, argv: &[&[u8]]) -> Option<String> {
        let [command, sub, name, ..] = argv else { return None };
        if !command.eq_ignore_ascii_case(b"sentinel") {
            return None;
        }
        let sub = String::from_utf8_lossy(sub).to_ascii_lowercase();
        let (_, view) = self.split_name(&sub, std::str::from_utf8(name).ok()?)?;
        Some(view.to_string())
    }

    /// A name that no master has, taken apart at its `@`, if that makes sense.
    pub(crate) fn split_name<'n>(&self, sub: &str, name: &'n str) -> Option<(&'n str, &'n str)> {
        if !SHOWING.contains(&sub) || self.masters.contains_key(name) {
            return None;
        }
        let (base, view) = name.rsplit_once('@')?;
        let m = self.masters.get(base)?;
        let own = self.c.views.as_ref().is_some_and(|views| views.get(view).is_some());
        (view == CANONICAL_VIEW || own || views_of(m).contains(view)).then_some((base, view))
    }

    /// A peer's INFO: the views of a sentinel of our kind.
    pub(crate) fn learn_peer_views(&mut self, link: LinkId, text: &str) {
        let Some(views) = announced(text) else { return };
        let mut changed = false;
        for m in self.masters.values_mut() {
            for peer in m.peers.values_mut().filter(|peer| peer.link == link) {
                if peer.views != views {
                    peer.views.clone_from(&views);
                    changed = true;
                }
            }
        }
        if changed {
            self.c.persist();
        }
    }
}

/// The views that an INFO states: none at all from a server of another kind, which does not know
/// them.
pub(crate) fn announced(info: &str) -> Option<ViewAddrs> {
    let mut lines = info.lines();
    lines.clone().any(|line| line.starts_with("redoubt_version:")).then(|| {
        let stated = lines.find_map(|line| line.strip_prefix("announced_views:"));
        ViewAddrs::parse(stated.unwrap_or_default())
    })
}

/// Asks peers for their further addresses, where such are used: with an INFO, which any sentinel
/// answers.
pub(crate) fn ask_peers(c: &mut Core, m: &Master) {
    if c.views.is_none() {
        return;
    }
    let period = c.periods.info;
    for peer in m.peers.values() {
        let link = &c.links[&peer.link];
        let Some(conn) = link.cmd.conn().filter(|_| link.cmd.is_up()) else { continue };
        let waiting = link.awaits(|pending| matches!(pending, Pending::PeerInfo));
        let (asked_on, asked_at) = link.views_asked.unzip();
        if waiting || (asked_on == Some(conn) && asked_at.is_some_and(|at| !c.io.due(at, period))) {
            continue;
        }
        if c.send(peer.link, Pending::PeerInfo, &["INFO"]) {
            let now = c.now();
            c.link_mut(peer.link).views_asked = Some((conn, now));
            c.io.wake_at(now + period);
        }
    }
}
