//! What all masters share: identity, epochs, links, outgoing work and the state of the disk.
//!
//! Functions elsewhere take `&mut Core` beside one `&mut Master`, so that the borrow checker keeps
//! the two apart. Nothing here decides about a master.

use std::collections::{BTreeMap, VecDeque};

use stdx::{MonoMs, Prng, ViewAddrs};

use crate::addr::Addr;
use crate::api::{LogLevel, Now, Options, Output, PersistToken, ViewPayload};
use crate::conf::{Globals, Line};
use crate::io::Io;
use crate::link::{Link, LinkId, Owner};
use crate::model::{Master, MasterId, Node, Peer};
use crate::scripts::Scripts;
use crate::timing::{Periods, STATELESS_MUTE_MS};
use crate::views::{ReadViews, Seen};

/// SENTINEL SIMULATE-FAILURE: crash when elected.
pub(crate) const FAIL_AFTER_ELECTION: u8 = 1;
/// SENTINEL SIMULATE-FAILURE: crash when the replica is promoted.
pub(crate) const FAIL_AFTER_PROMOTION: u8 = 2;

/// What a configuration on its way to the disk says.
struct InFlight {
    token: PersistToken,
    since: MonoMs,
    current_epoch: u64,
    masters: Vec<(MasterId, u64, Addr)>,
}

/// The disk as the machine knows it.
pub(crate) struct Disk {
    next: u64,
    /// Something has changed since the last text was handed out.
    dirty: bool,
    in_flight: VecDeque<InFlight>,
    done: PersistToken,
    retry_at: Option<MonoMs>,
    /// Longest time that a write has taken lately, in ms.
    pub latency: u64,
    /// The current epoch that the disk holds; hellos speak of nothing newer.
    pub current_epoch: u64,
}

pub(crate) struct Core {
    pub io: Io,
    pub prng: Prng,
    pub options: Options,
    pub myid: String,
    pub globals: Globals,
    pub lines: Vec<Line>,
    pub periods: Periods,
    pub current_epoch: u64,
    pub links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_master: u64,
    pub scripts: Scripts,
    pub disk: Disk,
    /// Since when TILT lasts.
    pub tilt: Option<MonoMs>,
    pub started_at: MonoMs,
    /// When this sentinel last came back: its start, the end of TILT, or of a pause.
    pub back_since: MonoMs,
    /// The file held no state: no votes until some time after the first contact with a peer.
    pub stateless: bool,
    pub first_contact: Option<MonoMs>,
    /// Highest epoch heard from peers while that lasts.
    pub epoch_heard: u64,
    pub simulate_failure: u8,
    /// `Output::Exit` was given; nothing happens any more.
    pub dead: bool,
    /// Peers' addresses that one master's hello has changed for all.
    pub moved_peers: Vec<(String, Addr)>,
    /// Names that did not resolve when last looked up, and when that was said.
    pub unresolved: BTreeMap<String, MonoMs>,
    /// Masters other than the present one that have to be looked at again.
    pub touch_all: bool,
    /// Our own further addresses, where views are used at all.
    pub views: Option<ViewAddrs>,
    /// Text of the rules, and what understands such texts.
    pub view_rules: (String, Option<ReadViews>),
    /// The view of the client whose command is being answered.
    pub asker_view: Option<String>,
}

impl Core {
    pub fn new(now: Now, options: Options, mut globals: Globals, lines: Vec<Line>) -> Core {
        let stateless = globals.myid.is_none();
        let myid = globals.myid.get_or_insert_with(|| options.myid.clone()).clone();
        let current_epoch = globals.current_epoch;
        Core {
            io: Io::new(now),
            prng: Prng::new(options.seed),
            options,
            myid,
            globals,
            lines,
            periods: Periods::default(),
            current_epoch,
            links: BTreeMap::new(),
            next_link: 1,
            next_master: 1,
            scripts: Scripts::default(),
            disk: Disk {
                next: 1,
                dirty: false,
                in_flight: VecDeque::new(),
                done: PersistToken(0),
                retry_at: None,
                latency: 0,
                current_epoch,
            },
            tilt: None,
            started_at: now.mono,
            back_since: now.mono,
            stateless,
            first_contact: None,
            epoch_heard: 0,
            simulate_failure: 0,
            dead: false,
            moved_peers: Vec::new(),
            unresolved: BTreeMap::new(),
            touch_all: false,
            views: None,
            view_rules: (String::new(), None),
            asker_view: None,
        }
    }

    pub fn now(&self) -> MonoMs {
        self.io.now.mono
    }

    pub fn hostnames(&self) -> bool {
        self.globals.announce_hostnames
    }

    pub fn log(&mut self, level: LogLevel, line: impl Into<String>) {
        self.io.out.push_back(Output::Log { level, line: line.into() });
    }

    /// Raises an event: a log line, a message to subscribers, and for warnings the master's
    /// notification script.
    pub fn event(&mut self, level: LogLevel, name: &str, payload: &str, script: Option<&str>) {
        self.event_in_views(level, name, payload, Vec::new(), script);
    }

    /// The same for an event with addresses, and how it reads in other views.
    pub fn event_in_views(
        &mut self,
        level: LogLevel,
        name: &str,
        payload: &str,
        views: Vec<ViewPayload>,
        script: Option<&str>,
    ) {
        self.log(level, format!("{name} {payload}"));
        if level != LogLevel::Debug {
            let (channel, payload) = (name.into(), payload.into());
            self.io.out.push_back(Output::Publish { channel, payload, views });
        }
        if level == LogLevel::Warning
            && let Some(path) = script
        {
            let argv = vec![path.to_string(), name.to_string(), payload.to_string()];
            let now = self.now();
            self.scripts.schedule(now, argv);
        }
    }

    /// An event about a master: `name master NAME IP PORT` and `extra`.
    pub fn master_event(&mut self, level: LogLevel, name: &str, m: &Master, extra: &str) {
        let text = |seen: Seen<'_>| format!("master {}{extra}", self.name_and_addr(m, seen));
        self.event_of(level, name, m, text(Seen::default()), self.in_views_of(m, &text));
    }

    /// An event about a replica of `m`.
    pub fn replica_event(
        &mut self,
        level: LogLevel,
        name: &str,
        m: &Master,
        node: &Node,
        extra: &str,
    ) {
        let text = |seen: Seen<'_>| format!("{}{extra}", self.replica_text(m, node, seen));
        self.event_of(level, name, m, text(Seen::default()), self.in_views_of(m, &text));
    }

    /// An event about a sentinel that watches `m` too.
    pub fn peer_event(
        &mut self,
        level: LogLevel,
        name: &str,
        m: &Master,
        peer: &Peer,
        extra: &str,
    ) {
        let text = |seen: Seen<'_>| {
            let (ip, port) = self.told(&peer.addr, &peer.views, seen);
            let master = self.name_and_addr(m, seen);
            format!("sentinel {} {ip} {port} @ {master}{extra}", peer.key())
        };
        self.event_of(level, name, m, text(Seen::default()), self.in_views_of(m, &text));
    }

    fn in_views_of(&self, m: &Master, text: &dyn Fn(Seen<'_>) -> String) -> Vec<ViewPayload> {
        self.in_views(m, &text(Seen::default()), text)
    }

    fn event_of(
        &mut self,
        level: LogLevel,
        name: &str,
        m: &Master,
        payload: String,
        views: Vec<ViewPayload>,
    ) {
        self.event_in_views(level, name, &payload, views, m.notification_script.as_deref());
    }

    /// `NAME IP PORT` of a master.
    fn name_and_addr(&self, m: &Master, seen: Seen<'_>) -> String {
        let (ip, port) = self.told(&m.node.addr, &m.node.views, seen);
        format!("{} {ip} {port}", seen.name(m))
    }

    pub fn describe_replica(&self, m: &Master, node: &Node) -> String {
        self.replica_text(m, node, Seen::default())
    }

    fn replica_text(&self, m: &Master, node: &Node, seen: Seen<'_>) -> String {
        let (ip, port) = self.told(&node.addr, &node.views, seen);
        format!("slave {ip}:{port} {ip} {port} @ {}", self.name_and_addr(m, seen))
    }

    // ----- the disk -----

    /// Has the configuration written at the end of this call. What must not be said before that
    /// waits for the token.
    pub fn persist(&mut self) -> PersistToken {
        self.disk.dirty = true;
        PersistToken(self.disk.next)
    }

    /// The token of the newest state that was handed to the disk, or is about to be.
    pub fn latest_token(&self) -> PersistToken {
        PersistToken(if self.disk.dirty { self.disk.next } else { self.disk.next - 1 })
    }

    pub fn is_durable(&self, token: PersistToken) -> bool {
        token <= self.disk.done
    }

    /// True when a text has to be handed out now.
    pub fn wants_persist(&mut self) -> bool {
        if let Some(at) = self.disk.retry_at
            && self.now() >= at
        {
            self.disk.retry_at = None;
            self.disk.dirty = true;
        }
        self.disk.dirty
    }

    /// When a failed write is tried again.
    pub fn disk_deadline(&self) -> Option<MonoMs> {
        self.disk.retry_at
    }

    /// Hands a text to the disk.
    pub fn emit_persist(&mut self, text: Vec<u8>, masters: Vec<(MasterId, u64, Addr)>) {
        let token = PersistToken(self.disk.next);
        assert!(self.disk.dirty && token > self.disk.done, "tokens grow");
        self.disk.next += 1;
        self.disk.dirty = false;
        self.disk.in_flight.push_back(InFlight {
            token,
            since: self.io.now.mono,
            current_epoch: self.current_epoch,
            masters,
        });
        self.io.out.push_back(Output::Persist { token, text });
    }

    /// A state has reached the disk. Returns what it says of the masters.
    pub fn persisted(&mut self, token: PersistToken) -> Vec<(MasterId, u64, Addr)> {
        let mut masters = Vec::new();
        while self.disk.in_flight.front().is_some_and(|state| state.token <= token) {
            if let Some(state) = self.disk.in_flight.pop_front() {
                let took = self.io.now.mono.since(state.since);
                self.disk.latency = took.max(self.disk.latency - self.disk.latency / 8);
                self.disk.done = self.disk.done.max(state.token);
                self.disk.current_epoch = self.disk.current_epoch.max(state.current_epoch);
                masters = state.masters;
            }
        }
        masters
    }

    /// A write has failed: again in a second, with whatever is true then.
    pub fn persist_failed(&mut self) {
        self.disk.retry_at = Some(self.now() + 1000);
    }

    // ----- epochs and votes -----

    /// Takes a higher epoch over.
    pub fn adopt_epoch(&mut self, epoch: u64, m: &Master) {
        assert!(epoch > self.current_epoch, "epochs never fall");
        self.current_epoch = epoch;
        self.persist();
        self.master_epoch_event(m);
    }

    pub fn master_epoch_event(&mut self, m: &Master) {
        let epoch = self.current_epoch.to_string();
        self.event(LogLevel::Warning, "+new-epoch", &epoch, m.notification_script.as_deref());
    }

    /// A peer was heard for the first time.
    pub fn note_contact(&mut self) {
        let now = self.now();
        self.first_contact.get_or_insert(now);
    }

    /// Until when a sentinel that lost its state gives no vote.
    pub fn muted_until(&self) -> Option<MonoMs> {
        let until = self.first_contact? + STATELESS_MUTE_MS;
        (self.stateless && self.now() < until).then_some(until)
    }

    // ----- links -----

    pub fn new_master_id(&mut self) -> MasterId {
        self.next_master += 1;
        MasterId(self.next_master - 1)
    }

    pub fn add_link(&mut self, owner: Owner, addr: Addr) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let mut link = Link::new(id, owner, addr, &self.myid, self.now());
        if link.owner == Owner::Peer {
            link.login = self.peer_login();
        }
        self.links.insert(id, link);
        id
    }

    /// How this sentinel logs in at its peers.
    pub fn peer_login(&self) -> Option<(Option<String>, String)> {
        match &self.globals.sentinel_pass {
            Some(pass) => Some((self.globals.sentinel_user.clone(), pass.clone())),
            None => self.options.requirepass.clone().map(|pass| (None, pass)),
        }
    }

    /// A link to a data node of `m`.
    pub fn add_node_link(&mut self, m: &Master, owner: Owner, addr: Addr) -> LinkId {
        let id = self.add_link(owner, addr);
        self.set_login(id, m);
        id
    }

    /// Gives a data link what `m` says about logging in and renamed commands.
    pub fn set_login(&mut self, id: LinkId, m: &Master) {
        let link = self.link_mut(id);
        link.login = m.auth_pass.clone().map(|pass| (m.auth_user.clone(), pass));
        link.renamed = m.renamed.clone();
    }

    pub fn link(&self, id: LinkId) -> &Link {
        self.links.get(&id).expect("an instance's link exists as long as the instance")
    }

    pub fn link_mut(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("an instance's link exists as long as the instance")
    }

    /// One master less uses this link.
    pub fn release_link(&mut self, id: LinkId) {
        let link = self.links.get_mut(&id).expect("a link is released once per user");
        assert!(link.refcount > 0);
        link.refcount -= 1;
        if link.refcount == 0 {
            link.close(&mut self.io);
            self.links.remove(&id);
        }
    }

    /// Sends one command on a link; false when that is not possible now.
    pub fn send(&mut self, id: LinkId, pending: crate::link::Pending, args: &[&str]) -> bool {
        let link = self.links.get_mut(&id).expect("an instance's link exists");
        link.send(&mut self.io, &[(pending, args)])
    }

    /// Sends several commands in one write.
    pub fn send_all(&mut self, id: LinkId, commands: &[(crate::link::Pending, &[&str])]) -> bool {
        let link = self.links.get_mut(&id).expect("an instance's link exists");
        link.send(&mut self.io, commands)
    }
}
