//! The sentinel itself: takes inputs apart, sweeps what they touched, keeps time.
//!
//! Every call ends in the same way: the masters concerned are swept until nothing is due, a changed
//! configuration is handed to the disk, and the next deadline is known. Source: redis 7.0
//! `sentinel.c:sentinelTimer`, which does the same for everything, ten times a second.

use std::collections::{BTreeMap, BTreeSet};

use stdx::MonoMs;

use crate::addr::Addr;
use crate::api::{CommandOutcome, Input, LinkPurpose, LogLevel, Now, Options, Output};
use crate::conf::{MasterConf, SentinelConf};
use crate::core::Core;
use crate::link::{Care, LinkId, Owner};
use crate::model::{Failover, Master, Node, Peer, Role};
use crate::save::MUTE_MARK;
use crate::status::Status;
use crate::timing::LEADER_PING_MS;
use crate::{down, failover, hello, info, reconf, scripts, views, vote};

/// A sentinel without I/O. The driver's duties are listed at the head of the crate.
pub struct Sentinel {
    pub(crate) c: Core,
    pub(crate) masters: BTreeMap<String, Master>,
    /// When this sentinel was last called, and when it asked to be called.
    seen: MonoMs,
    promised: MonoMs,
    next_tick: MonoMs,
    scripts_wake: Option<MonoMs>,
}

impl Sentinel {
    /// A sentinel with this configuration. Its first outputs save the configuration and open the
    /// links.
    ///
    /// # Panics
    /// When `options.myid` is not a run id: that is the driver's mistake.
    pub fn new(now: Now, conf: SentinelConf, options: Options) -> Sentinel {
        assert!(
            options.myid.len() == 40 && options.myid.bytes().all(|b| b.is_ascii_alphanumeric()),
            "a run id has 40 hexadecimal digits"
        );
        let marked = conf.lines.iter().any(|line| line.text == MUTE_MARK);
        let SentinelConf { lines, globals, masters, .. } = conf;
        let mut c = Core::new(now, options, globals, lines);
        c.stateless |= marked;
        let mut sentinel = Sentinel {
            c,
            masters: BTreeMap::new(),
            seen: now.mono,
            promised: now.mono,
            next_tick: now.mono,
            scripts_wake: None,
        };
        let id = format!("Sentinel ID is {}", sentinel.c.myid);
        sentinel.c.log(LogLevel::Warning, id);
        for conf in masters.into_values() {
            sentinel.add_master(conf);
        }
        sentinel.c.persist();
        sentinel.run(&Touched::All, 0);
        sentinel
    }

    /// Starts watching a master; the caller has checked that the name is free.
    pub(crate) fn add_master(&mut self, conf: MasterConf) {
        let c = &mut self.c;
        let now = c.now();
        let id = c.new_master_id();
        let link = c.add_link(Owner::Master(id), conf.addr.clone());
        let mut m = Master {
            id,
            node: Node::new(conf.addr.clone(), link, Role::Master, now),
            replicas: BTreeMap::new(),
            peers: BTreeMap::new(),
            quorum: conf.quorum,
            down_after: conf.down_after,
            failover_timeout: conf.failover_timeout,
            parallel_syncs: conf.parallel_syncs,
            crash_grace: conf.crash_grace,
            reboot_down_after: conf.reboot_down_after,
            forget_after: conf.forget_after,
            notification_script: conf.notification_script,
            client_reconfig_script: conf.client_reconfig_script,
            auth_user: conf.auth_user,
            auth_pass: conf.auth_pass,
            renamed: conf.renamed,
            o_down: None,
            config_epoch: conf.config_epoch,
            durable: (conf.config_epoch, conf.addr),
            leader: None,
            leader_epoch: conf.leader_epoch,
            failover: Failover::Idle,
            failover_start_time: None,
            failover_delay_logged: None,
            start_at: None,
            retry_at: None,
            elections_lost: 0,
            following: None,
            confirmation: None,
            previous: None,
            isolated: false,
            deadline: now,
            name: conf.name,
        };
        c.set_login(link, &m);
        let views_at = |addr: &Addr| {
            conf.views.iter().find(|(known, _)| known.same(addr)).map(|(_, views)| views.clone())
        };
        m.node.views = views_at(&m.node.addr).unwrap_or_default();
        for addr in conf.replicas {
            let views = views_at(&addr).unwrap_or_default();
            if m.replica_at(&addr.host, addr.port).is_none() && !m.node.addr.same(&addr) {
                let key = info::insert_replica(c, &mut m, addr);
                if let Some(node) = m.replicas.get_mut(&key) {
                    node.views = views;
                }
            }
        }
        for (addr, runid) in conf.peers {
            if runid.as_deref() == Some(&c.myid) {
                continue;
            }
            let shared = c
                .links
                .values()
                .find(|link| link.owner == Owner::Peer && link.addr.same(&addr))
                .map(|link| link.id);
            let link = match shared {
                Some(id) => {
                    c.link_mut(id).refcount += 1;
                    id
                }
                None => c.add_link(Owner::Peer, addr.clone()),
            };
            let views = views_at(&addr).unwrap_or_default();
            let peer = Peer { views, ..Peer::new(addr, link, runid, now) };
            if let Some(double) = m.peers.insert(peer.key(), peer) {
                c.release_link(double.link);
            }
        }
        let extra = format!(" quorum {}", m.quorum);
        c.master_event(LogLevel::Warning, "+monitor", &m, &extra);
        self.masters.insert(m.name.clone(), m);
    }

    /// Lets everything go that belongs to a master.
    pub(crate) fn release_master(&mut self, mut m: Master) {
        self.release_instances(&mut m);
        self.c.release_link(m.node.link);
    }

    /// Forgets the replicas and sentinels of `m`.
    pub(crate) fn release_instances(&mut self, m: &mut Master) {
        for node in std::mem::take(&mut m.replicas).into_values() {
            self.c.release_link(node.link);
        }
        for peer in std::mem::take(&mut m.peers).into_values() {
            self.c.release_link(peer.link);
        }
    }

    // ----- the five methods, and commands -----

    /// Something has happened.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        let Some(late) = self.enter(now) else { return };
        let touched = match input {
            Input::Connected { conn, local } => self.connected(conn, local),
            Input::ConnectFailed { conn, .. } => self.ended(conn, None),
            Input::Closed { conn, how } => self.ended(conn, Some(how)),
            Input::Received { conn, bytes } => self.received(conn, bytes),
            Input::Resolved { host, addr } => self.resolved(host, addr),
            Input::Persisted { token } => self.persisted(token),
            Input::PersistFailed { token: _, error } => {
                let line = format!(
                    "WARNING: Sentinel was not able to save the new configuration on disk!!!: {error}"
                );
                self.c.log(LogLevel::Warning, line);
                self.c.persist_failed();
                Touched::Nothing
            }
            Input::ScriptStarted { id, pid } => {
                scripts::started(&mut self.c, id, pid);
                Touched::Nothing
            }
            Input::ScriptNotStarted { id } => {
                scripts::not_started(&mut self.c, id);
                Touched::Nothing
            }
            Input::ScriptExited { id, exit } => {
                scripts::exited(&mut self.c, id, exit);
                Touched::Nothing
            }
        };
        self.run(&touched, late);
    }

    /// The time of [`Sentinel::poll_timeout`] has come. Harmless when it has not.
    pub fn handle_timeout(&mut self, now: Now) {
        let Some(late) = self.enter(now) else { return };
        self.run(&Touched::Nothing, late);
    }

    /// When to call [`Sentinel::handle_timeout`]. Any other call may change the answer.
    pub fn poll_timeout(&self) -> MonoMs {
        let masters = self.masters.values().map(|m| m.deadline);
        masters
            .chain(self.scripts_wake)
            .chain(self.c.disk_deadline())
            .chain([self.next_tick])
            .min()
            .unwrap_or(self.next_tick)
    }

    /// The next thing to be done outside, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.c.io.out.pop_front()
    }

    /// What this sentinel thinks now.
    pub fn status(&self) -> Status {
        Status {
            myid: self.c.myid.clone(),
            current_epoch: self.c.current_epoch,
            tilt: self.c.tilt.is_some(),
            muted: self.c.muted_until().is_some(),
            masters: self.masters.values().map(|m| self.master_status(m)).collect(),
        }
    }

    /// Takes SENTINEL SIMULATE-FAILURE back; there is no command for it.
    pub fn clear_simulated_failure(&mut self) {
        self.c.simulate_failure = 0;
    }

    /// Run id, current epoch and the highest configuration epoch: cheap enough for a checker that
    /// looks at every step.
    pub fn epochs(&self) -> (&str, u64, u64) {
        let config = self.masters.values().map(|m| m.config_epoch).max().unwrap_or(0);
        (&self.c.myid, self.c.current_epoch, config)
    }

    /// Runs SENTINEL, ROLE, PUBLISH, INFO (its Sentinel section only, see [`Sentinel::info`]) or
    /// PING, and writes the reply.
    pub fn command(&mut self, now: Now, argv: &[&[u8]], reply: &mut resp::Reply) -> CommandOutcome {
        self.command_in_view(now, None, argv, reply)
    }

    /// The same for a client that sees the nodes from another side: it is told the addresses that
    /// they have in this view. Nodes and sentinels that ask have no view.
    pub fn command_in_view(
        &mut self,
        now: Now,
        view: Option<&str>,
        argv: &[&[u8]],
        reply: &mut resp::Reply,
    ) -> CommandOutcome {
        let Some(late) = self.enter(now) else {
            reply.error("ERR this Sentinel is shutting down");
            return CommandOutcome::Done;
        };
        self.c.asker_view = view.map(str::to_string);
        let outcome = self.dispatch_command(argv, reply);
        self.c.asker_view = None;
        self.run(&Touched::Nothing, late);
        outcome
    }

    // ----- time -----

    /// Every call begins here: how late is it? Nothing when the machine has ended.
    fn enter(&mut self, now: Now) -> Option<u64> {
        if self.c.dead {
            return None;
        }
        // A monotonic clock that goes back is the driver's mistake; standing still is the safe answer.
        let mono = now.mono.max(self.seen);
        let gap = mono.since(self.seen);
        let late = mono.since(self.promised);
        self.seen = mono;
        self.c.io.now = Now { mono, unix: now.unix };
        if gap > self.c.periods.tilt_trigger {
            self.c.tilt = Some(mono);
            self.c.event(LogLevel::Warning, "+tilt", "#tilt mode entered", None);
            self.c.back_since = mono;
        }
        if let Some(since) = self.c.tilt
            && mono.since(since) > self.c.periods.tilt
        {
            self.c.tilt = None;
            self.c.back_since = mono;
            self.c.event(LogLevel::Warning, "-tilt", "#tilt mode exited", None);
            self.c.touch_all = true;
        }
        for m in self.masters.values_mut() {
            // Who was away for a good part of the time limit knows nothing about the others.
            if late > m.down_after / 2 {
                down::restart_clocks(&mut self.c, m);
            } else if m.crash_grace > 0
                && late > m.crash_grace / 2
                // A judgement that was made stands until something speaks against it.
                && m.node.s_down.is_none()
                && let Some(proof) = &mut self.c.link_mut(m.node.link).proof
            {
                proof.since = mono;
            }
        }
        Some(late)
    }

    // ----- the sweep -----

    /// Ends every call.
    pub(crate) fn run(&mut self, touched: &Touched, late: u64) {
        let now = self.c.now();
        self.end_mute();
        for (runid, addr) in std::mem::take(&mut self.c.moved_peers) {
            self.move_peer(&runid, &addr);
        }
        let all = std::mem::take(&mut self.c.touch_all) || *touched == Touched::All;
        let Sentinel { c, masters, .. } = self;
        for m in masters.values_mut() {
            if all || m.deadline <= now || touched.names(&m.name) {
                sweep(c, m, late);
                if c.dead {
                    return;
                }
            }
        }
        if now >= self.next_tick {
            // Redis's timer runs 10 to 19 times a second, at random, to keep sentinels apart.
            self.next_tick = now + 1000 / self.c.prng.between(10, 19);
        }
        self.scripts_wake = scripts::run(&mut self.c);
        if self.c.wants_persist() {
            let text = self.config_text();
            let state = self
                .masters
                .values()
                .map(|m| (m.id, m.config_epoch, m.current_addr().clone()))
                .collect();
            self.c.emit_persist(text, state);
        }
        self.invariants();
        self.promised = self.poll_timeout();
    }

    /// The time without votes is over: no vote in any epoch that was heard of during it.
    fn end_mute(&mut self) {
        if !self.c.stateless || self.c.first_contact.is_none() || self.c.muted_until().is_some() {
            return;
        }
        self.c.stateless = false;
        let heard = self.c.epoch_heard;
        self.c.current_epoch = self.c.current_epoch.max(heard);
        for m in self.masters.values_mut() {
            m.leader_epoch = m.leader_epoch.max(heard);
        }
        self.c.persist();
        self.c.touch_all = true;
    }

    /// A peer has another address: all masters that know it are told.
    fn move_peer(&mut self, runid: &str, addr: &Addr) {
        for m in self.masters.values_mut() {
            let Some(peer) = m.peers.get_mut(runid) else { continue };
            if peer.addr == *addr {
                continue;
            }
            peer.addr = addr.clone();
            let link = self.c.links.get_mut(&peer.link).expect("an instance's link exists");
            if link.addr != *addr {
                link.addr = addr.clone();
                link.restart(&mut self.c.io);
            }
            let peer = &m.peers[runid];
            self.c.peer_event(LogLevel::Notice, "+sentinel-address-update", m, peer, "");
            self.c.persist();
        }
    }

    /// What must be true between two calls. A failure is a mistake in this crate.
    fn invariants(&self) {
        let c = &self.c;
        for (conn, (link, purpose)) in &c.io.conns {
            let link = c.links.get(link).expect("a connection belongs to a link");
            let channel = match purpose {
                LinkPurpose::Command => &link.cmd,
                LinkPurpose::PubSub => &link.pubsub,
            };
            assert_eq!(channel.conn(), Some(*conn), "a link knows its connections");
        }
        let mut users: BTreeMap<LinkId, u32> = BTreeMap::new();
        for m in self.masters.values() {
            assert!(m.config_epoch <= c.current_epoch, "no configuration from the future");
            assert!(m.leader_epoch <= c.current_epoch, "no vote in the future");
            assert!(m.durable.0 <= m.config_epoch, "the disk is not ahead of us");
            if let Some(term) = m.failover.term() {
                assert!(term.failover_epoch <= c.current_epoch, "a failover has an epoch");
            }
            if let Some(key) = m.failover.chosen() {
                assert!(m.replicas.contains_key(key), "the chosen replica stays known");
            }
            for node in std::iter::once(&m.node).chain(m.replicas.values()) {
                *users.entry(node.link).or_default() += 1;
            }
            for peer in m.peers.values() {
                *users.entry(peer.link).or_default() += 1;
            }
        }
        assert_eq!(users.len(), c.links.len(), "every link has a user");
        for (id, count) in users {
            assert_eq!(c.link(id).refcount, count, "users are counted");
        }
        assert!(c.disk.current_epoch <= c.current_epoch, "the disk is not ahead of us");
    }
}

/// Which masters a call concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    Nothing,
    These(BTreeSet<String>),
    All,
}

impl Touched {
    fn names(&self, name: &str) -> bool {
        match self {
            Touched::Nothing => false,
            Touched::These(names) => names.contains(name),
            Touched::All => true,
        }
    }

    pub(crate) fn join(&mut self, other: Touched) {
        match (&mut *self, other) {
            (_, Touched::Nothing) | (Touched::All, _) => {}
            (Touched::These(mine), Touched::These(more)) => mine.extend(more),
            (_, other) => *self = other,
        }
    }
}

/// Does for one master whatever is due, and notes when something will be.
fn sweep(c: &mut Core, m: &mut Master, late: u64) {
    let now = c.now();
    c.io.wake = None;
    let before = (m.failover.clone(), m.o_down, m.node.s_down, m.node.addr.clone());
    drive_links(c, m);
    info::ask_due(c, m);
    hello::publish_due(c, m);
    views::ask_peers(c, m);
    reconf::ask_kind(c, m);
    if c.tilt.is_none() {
        down::judge(c, m);
        failover::start_if_due(c, m);
        failover::step(c, m, late);
        if c.dead {
            return;
        }
        vote::ask(c, m);
        reconf::mend(c, m);
    }
    let after = (m.failover.clone(), m.o_down, m.node.s_down, m.node.addr.clone());
    // What one step has changed may make others due: they come at once, in a call of their own.
    m.deadline =
        if before == after { c.io.wake.map_or(now + 1000, |at| at.max(now + 1)) } else { now };
}

fn drive_links(c: &mut Core, m: &Master) {
    let awaited = m.following.as_ref().filter(|_| m.o_down.is_some()).map(|f| f.leader.as_str());
    let ping_period = c.periods.ping.min(m.down_after);
    let care = Care {
        ping_period,
        down_after: m.down_after,
        publish_period: c.periods.publish,
        min_reconnect: c.periods.min_link_reconnect,
        s_down: false,
        grace: 0,
    };
    let Core { links, io, .. } = c;
    let mut drive = |id: LinkId, care: Care| {
        links.get_mut(&id).expect("an instance's link exists").drive(io, &care);
    };
    let s_down = m.node.s_down.is_some();
    drive(m.node.link, Care { s_down, grace: m.crash_grace, ..care });
    for node in m.replicas.values() {
        drive(node.link, Care { s_down: node.s_down.is_some(), ..care });
    }
    for (key, peer) in &m.peers {
        let hurry = awaited == Some(key.as_str());
        let ping_period = if hurry { ping_period.min(LEADER_PING_MS) } else { ping_period };
        drive(peer.link, Care { s_down: peer.s_down.is_some(), ping_period, ..care });
    }
}
