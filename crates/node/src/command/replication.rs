//! REPLICAOF, REPLCONF, PSYNC, SYNC, ROLE, WAIT, WAITAOF, FAILOVER.

use crate::{After, AofState, Durability, Node, NodeCtx, NodeFn};
use commands::{AclCategories, Command, CommandError, CommandSpec, Flags, Group};
use replication::{ConnId, FailoverRequest, MasterInput, ReplicaOfOutcome};
use resp::Args;
use std::sync::atomic::Ordering;
use stdx::UnixMs;

type Result = std::result::Result<After, CommandError>;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] =
    &[&REPLICAOF, &SLAVEOF, &REPLCONF, &PSYNC, &SYNC, &ROLE, &WAIT, &WAITAOF, &FAILOVER];

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

/// REPLICAOF host port | NO ONE
pub const REPLICAOF: Command<NodeFn> = Command::new(
    CommandSpec::new("replicaof", 3, Group::Server)
        .flags(ADMIN.union(Flags::STALE).union(Flags::NO_ASYNC_LOADING).union(Flags::ALL_STRIPES))
        .since("5.0.0")
        .doc("O(1)", "Makes this node follow a master, or become one."),
    replicaof,
);

/// SLAVEOF host port | NO ONE
pub const SLAVEOF: Command<NodeFn> = Command::new(
    CommandSpec::new("slaveof", 3, Group::Server)
        .flags(ADMIN.union(Flags::STALE).union(Flags::NO_ASYNC_LOADING).union(Flags::ALL_STRIPES))
        .doc("O(1)", "The old name of REPLICAOF.")
        .deprecated("5.0.0", "`REPLICAOF`"),
    replicaof,
);

fn replicaof(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.worker.settings.config.cluster_enabled {
        return Err(CommandError::new("ERR REPLICAOF not allowed in cluster mode."));
    }
    let now = cx.worker.now.mono();
    let who =
        cx.session.info.line(now.0, if args.is(0, "slaveof") { "slaveof" } else { "replicaof" });
    if cx.node.failover.is_running() && !cx.node.failover.is_lingering() {
        return Err(CommandError::new("ERR REPLICAOF not allowed while failing over."));
    }
    if args.is(1, "no") && args.is(2, "one") {
        cx.node.failover.announced();
        cx.node.role.came_back_empty.store(false, Ordering::Release);
        cx.node.become_master(now, &who);
        cx.reply.ok();
        return Ok(After::Done);
    }
    if cx.session.is_replica {
        return Err(CommandError::new("ERR Command is not valid when client is a replica."));
    }
    let port = stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let port = u16::try_from(port).map_err(|_| CommandError::new("ERR Invalid master port"))?;
    cx.node.failover.announced();
    cx.node.repl.wake_driver();
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    match cx.node.become_replica(now, &host, port, &who) {
        ReplicaOfOutcome::Started => {
            cx.node.end_waits_for_role(cx.keys);
            cx.reply.ok();
        }
        ReplicaOfOutcome::AlreadyConnected => {
            cx.reply.simple("OK Already connected to specified master")
        }
    }
    Ok(After::Done)
}

/// REPLCONF option value [option value ...]
pub const REPLCONF: Command<NodeFn> = Command::new(
    CommandSpec::new("replconf", -1, Group::Server)
        .flags(ADMIN.union(Flags::LOADING).union(Flags::STALE).union(Flags::ALLOW_BUSY))
        .since("3.0.0")
        .doc("O(1)", "What a replica tells its master about itself."),
    |cx, args| {
        if args.len() == 3 && args.is(1, "empty-master") {
            return told_empty(cx, args);
        }
        let info = std::sync::Arc::clone(&cx.session.info);
        let input = MasterInput::Replconf {
            conn: ConnId(info.id),
            peer_ip: peer_ip(&info.addr, info.unix),
            args: *args,
        };
        feed(cx, input)
    },
);

/// `REPLCONF empty-master offset`: a replica that keeps its data, or a Sentinel, tells that this
/// master came back without the history that reaches to `offset` elsewhere.
fn told_empty(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let offset = stdx::parse_u64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let node = cx.node;
    let guard = cx.worker.settings.config.empty_master_guard;
    // With a second id it is no stranger to its replicas: it goes on with what they know.
    let stranger = node.log.ids().replid2 == replication::ReplId::NONE;
    let believed = guard != config::EmptyMasterGuard::No
        && !node.is_replica()
        && stranger
        && node.log.offset() < offset;
    if believed && !node.role.came_back_empty.swap(true, Ordering::AcqRel) {
        node.host.log(
            3,
            "This master came back empty while its replicas hold data: writes are refused until a \
             failover, or until REPLICAOF NO ONE confirms it as the master.",
        );
    }
    cx.reply.ok();
    Ok(After::Done)
}

/// PSYNC replicationid offset
pub const PSYNC: Command<NodeFn> = Command::new(
    CommandSpec::new("psync", -3, Group::Server)
        // The form with FAILOVER changes the role.
        .flags(
            ADMIN.union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI).union(Flags::ALL_STRIPES),
        )
        .since("2.8.0")
        .doc("Depends on the data set", "Asks to follow this node, from an offset on if possible."),
    sync,
);

/// SYNC
pub const SYNC: Command<NodeFn> = Command::new(
    CommandSpec::new("sync", 1, Group::Server)
        .flags(ADMIN.union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI))
        .doc("Depends on the data set", "Asks to follow this node, from the start."),
    sync,
);

fn sync(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let asks_to_take_over = args.len() > 3 && args.is(0, "psync") && args.is(3, "failover");
    if asks_to_take_over && !cx.node.repl.master().is_replica(ConnId(cx.session.id())) {
        let now = cx.worker.now.mono();
        let who = cx.session.info.line(now.0, "psync");
        cx.node.take_over(now, args.at(1), &who).map_err(CommandError::new)?;
    }
    let pending_output = !cx.reply.is_empty();
    let info = std::sync::Arc::clone(&cx.session.info);
    let input = MasterInput::Sync {
        conn: ConnId(info.id),
        peer_ip: peer_ip(&info.addr, info.unix),
        args: *args,
        pending_output,
    };
    feed(cx, input)
}

fn feed(cx: &mut NodeCtx<'_, '_>, input: MasterInput<'_>) -> Result {
    // From here on the machine wants to know of this connection's end and of its newlines.
    cx.session.is_replica = true;
    let id = cx.session.id();
    let close = cx.node.master_input(cx.worker.now.mono(), input, Some((id, cx.reply)));
    let attached = cx.node.repl.master().is_replica(ConnId(id));
    cx.session.info.replica.store(attached, Ordering::Relaxed);
    cx.node.open_gate();
    Ok(if close { After::Close } else { After::Done })
}

/// The peer's address without its port, empty for a unix socket.
fn peer_ip(addr: &str, unix: bool) -> &str {
    if unix {
        return "";
    }
    let end = addr.rfind(':').unwrap_or(addr.len());
    addr[..end].trim_start_matches('[').trim_end_matches(']')
}

/// ROLE
pub const ROLE: Command<NodeFn> = Command::new(
    CommandSpec::new("role", 1, Group::Server)
        .flags(
            Flags::NOSCRIPT
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::FAST)
                .union(Flags::SENTINEL),
        )
        .acl(AclCategories::ADMIN.union(AclCategories::DANGEROUS))
        .since("2.8.12")
        .doc("O(1)", "Tells this node's place in its replication group."),
    |cx, args| {
        if cx.node.sentinel().is_some() {
            return super::sentinel::run(cx, args);
        }
        let view = cx.node.view_of(&cx.session.info);
        let link = cx.node.repl.link();
        let master = cx.node.repl.master();
        let now = cx.worker.now.mono();
        replication::role_reply(now, &link, &master, view.as_deref(), cx.reply);
        Ok(After::Done)
    },
);

/// WAIT numreplicas timeout
pub const WAIT: Command<NodeFn> = Command::new(
    CommandSpec::new("wait", 3, Group::Generic)
        .flags(Flags::BLOCKING)
        .acl(AclCategories::CONNECTION)
        .since("3.0.0")
        .doc("O(1)", "Waits until replicas have acknowledged the connection's writes.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    wait,
);

/// Source: redis 7.0 `replication.c:waitCommand`.
fn wait(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.node.is_replica() {
        return Err(CommandError::new(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let wanted = stdx::parse_i64(args.at(1)).ok_or(CommandError::NOT_INTEGER)?;
    let ms = stdx::parse_i64(args.at(2))
        .ok_or(CommandError::new("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(CommandError::new("ERR timeout is negative"));
    }
    let position = cx.session.last_write;
    let wants = Durability { position, replicas: wanted.max(0) as usize, on_disk: None };
    wait_for(cx, wants, ms)
}

/// WAITAOF numlocal numreplicas timeout
pub const WAITAOF: Command<NodeFn> = Command::new(
    CommandSpec::new("waitaof", 4, Group::Generic)
        .flags(Flags::NOSCRIPT)
        .acl(AclCategories::CONNECTION)
        .since("7.2.0")
        .doc("O(1)", "Waits until the connection's writes are on disk here and on replicas.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    waitaof,
);

/// Source: redis 7.2 `replication.c:waitaofCommand`.
fn waitaof(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    let local = stdx::parse_i64(args.at(1)).ok_or(CommandError::NOT_INTEGER)?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::new("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = stdx::parse_i64(args.at(2)).ok_or(CommandError::NOT_INTEGER)?;
    let replicas = usize::try_from(replicas)
        .map_err(|_| CommandError::new("ERR value is out of range, must be positive"))?;
    let ms = stdx::parse_i64(args.at(3))
        .ok_or(CommandError::new("ERR timeout is not an integer or out of range"))?;
    if ms < 0 {
        return Err(CommandError::new("ERR timeout is negative"));
    }
    if cx.node.is_replica() {
        return Err(CommandError::new(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just \
             local and are not propagated.",
        ));
    }
    if local > 0 && cx.node.aof.state() == AofState::Off {
        return Err(CommandError::new(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let position = cx.session.last_write;
    wait_for(cx, Durability { position, replicas, on_disk: Some(local > 0) }, ms)
}

/// Answers at once if it can, or makes the connection wait, `ms` at most (0 = for ever).
fn wait_for(cx: &mut NodeCtx<'_, '_>, wants: Durability, ms: i64) -> Result {
    let progress = cx.node.progress_of(&wants);
    if wants.is_met(progress) || cx.in_exec {
        crate::block::durability_reply(cx.reply, &wants, progress);
        return Ok(After::Done);
    }
    let until = (ms > 0).then(|| UnixMs(cx.worker.now.unix().0.saturating_add(ms)));
    let ticket = cx.node.block_on_durability(cx.worker, cx.session, wants, until);
    cx.session.waiting = Some(crate::session::Waiting { ticket });
    cx.session.info.blocked.store(true, Ordering::Relaxed);
    cx.node.master_input(cx.worker.now.mono(), MasterInput::RequestAcks, None);
    cx.worker.log_grew = true;
    // An acknowledgement may have come between the look and the wait.
    cx.node.open_gate();
    Ok(After::Blocked)
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]
pub const FAILOVER: Command<NodeFn> = Command::new(
    CommandSpec::new("failover", -1, Group::Server)
        .flags(ADMIN.union(Flags::STALE).union(Flags::ALL_STRIPES))
        .since("6.2.0")
        .doc("O(1)", "Hands the role of master over to a replica."),
    failover,
);

/// Source: redis 7.0 `replication.c:failoverCommand`.
fn failover(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>) -> Result {
    if cx.worker.settings.config.cluster_enabled {
        return Err(CommandError::new("ERR FAILOVER not allowed in cluster mode."));
    }
    let now = cx.node.host.now();
    if args.len() == 2 && args.is(1, "abort") {
        if !cx.node.abort_failover(now.mono(), "Failover manually aborted") {
            return Err(CommandError::new("ERR No failover in progress."));
        }
        cx.reply.ok();
        return Ok(After::Done);
    }
    let request = failover_request(args)?;
    let led = crate::failover::is_sentinel(&crate::lock(&cx.session.info.names).name);
    cx.node.begin_failover(now, request, led).map_err(CommandError::new)?;
    cx.worker.log_grew = true;
    cx.reply.ok();
    Ok(After::Done)
}

fn failover_request(args: &Args<'_>) -> std::result::Result<FailoverRequest, CommandError> {
    let mut request = FailoverRequest::default();
    let number = |at: usize| stdx::parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
    let mut at = 1;
    while at < args.len() {
        if args.is(at, "timeout") && at + 1 < args.len() && request.timeout_ms.is_none() {
            let ms = u64::try_from(number(at + 1)?).unwrap_or(0);
            if ms == 0 {
                return Err(CommandError::new("ERR FAILOVER timeout must be greater than 0"));
            }
            request.timeout_ms = Some(ms);
            at += 2;
        } else if args.is(at, "to") && at + 2 < args.len() && request.target.is_none() {
            let host = String::from_utf8_lossy(args.at(at + 1)).into_owned();
            request.target = Some((host, number(at + 2)?));
            at += 3;
        } else if args.is(at, "force") && !request.force {
            request.force = true;
            at += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    Ok(request)
}

impl Node {
    /// Becomes a master. All stripe locks are held.
    pub fn become_master(&self, now: stdx::MonoMs, who: &str) {
        let changed = self.repl.link().replicaof_no_one(who);
        self.role_now_master(now, changed);
    }

    /// Follows a master. All stripe locks are held.
    pub fn become_replica(
        &self,
        now: stdx::MonoMs,
        host: &str,
        port: u16,
        who: &str,
    ) -> ReplicaOfOutcome {
        let outcome = self.repl.link().replicaof(now, host, port, who);
        if outcome == ReplicaOfOutcome::Started {
            self.role_now_replica(now, host, port);
        }
        outcome
    }

    /// `replicaof` in the configuration follows the role, so that CONFIG REWRITE keeps it.
    pub(crate) fn settings_of_role(&self, master: Option<(&str, u16)>) {
        let _one_at_a_time = crate::lock(&self.config_lock);
        let mut config = self.settings.load().config.clone();
        config.replicaof =
            master.map(|(host, port)| config::HostPort { host: host.to_string(), port });
        self.set_config(config);
        self.host.role_changed(master.is_some());
    }
}
