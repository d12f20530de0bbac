//! FAILOVER as the master that hands over sees it: waiting until a replica has everything.
//!
//! ```text
//! None --FAILOVER--> WaitingForSync --a replica has everything, or FORCE--> InProgress --answer--> None
//!                          |                                                    |
//!                          +------------- ABORT, TIMEOUT, refusal --------------+--> None
//! ```
//! The node holds writes back as long as this is not `None`. In `InProgress` it is a replica of the
//! target already and asks it to take over (`PSYNC … FAILOVER`, see `replica/handshake.rs`).
//!
//! Source: redis 7.0 `replication.c:failoverCommand`, `updateFailoverStatus`, `abortFailover`.

use stdx::MonoMs;

use super::{Conn, MasterSide, State, Upstream};

/// Where a FAILOVER stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverState {
    /// There is none.
    #[default]
    None,
    /// Writes are held back; a replica has to catch up.
    WaitingForSync,
    /// The target is asked to take over.
    InProgress,
}

impl FailoverState {
    /// As INFO (`master_failover_state`) prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            FailoverState::None => "no-failover",
            FailoverState::WaitingForSync => "waiting-for-sync",
            FailoverState::InProgress => "failover-in-progress",
        }
    }
}

/// What FAILOVER was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverRequest {
    /// TO host port: this replica and no other.
    pub target: Option<(String, i64)>,
    /// TIMEOUT: how long to wait for it.
    pub timeout_ms: Option<u64>,
    /// FORCE: hand over to it when that time is over, whatever it has.
    pub force: bool,
}

/// What is to be done about a FAILOVER now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailoverStep {
    /// Nothing.
    Wait,
    /// It has to be aborted: nobody caught up in time.
    TimedOut,
    /// Time to become this node's replica and ask it to take over.
    Switch {
        /// Address.
        host: String,
        /// Port.
        port: u16,
        /// It may lack writes.
        forced: bool,
    },
}

/// State of a FAILOVER.
#[derive(Debug, Default)]
pub(super) struct Failover {
    state: FailoverState,
    request: FailoverRequest,
    until: Option<MonoMs>,
}

impl MasterSide {
    /// Where a FAILOVER stands.
    pub fn failover_state(&self) -> FailoverState {
        self.failover.state
    }

    /// FAILOVER: the caller then holds writes back, under all stripe locks.
    pub fn failover_request(
        &mut self,
        now: MonoMs,
        request: FailoverRequest,
    ) -> Result<(), &'static str> {
        if self.failover.state != FailoverState::None {
            return Err("ERR FAILOVER already in progress.");
        }
        if self.upstream != Upstream::None {
            return Err("ERR FAILOVER is not valid when server is a replica.");
        }
        if self.replica_count() == 0 {
            return Err("ERR FAILOVER requires connected replicas.");
        }
        if request.force && (request.timeout_ms.is_none() || request.target.is_none()) {
            return Err(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            );
        }
        if let Some((host, port)) = &request.target {
            match self.replica_at(host, *port) {
                None => return Err("ERR FAILOVER target HOST and PORT is not a replica."),
                Some(conn) if !matches!(conn.state, State::Online(_)) => {
                    return Err("ERR FAILOVER target replica is not online.");
                }
                Some(_) => {}
            }
        }
        self.notice(match &request.target {
            Some((host, port)) => format!("FAILOVER requested to {host}:{port}."),
            None => "FAILOVER requested to any replica.".to_owned(),
        });
        let until = request.timeout_ms.map(|ms| now + ms);
        self.failover = Failover { state: FailoverState::WaitingForSync, request, until };
        // The last bytes before the writes stop: who understands it acknowledges at once.
        self.log.append_getack();
        Ok(())
    }

    /// Looks whether a replica has caught up, or time is over.
    pub fn failover_step(&self, now: MonoMs) -> FailoverStep {
        if self.failover.state != FailoverState::WaitingForSync {
            return FailoverStep::Wait;
        }
        let switch = |(host, port): (String, i64), forced| match u16::try_from(port) {
            Ok(port) => FailoverStep::Switch { host, port, forced },
            // It announced nonsense: there is no way to it.
            Err(_) => FailoverStep::Wait,
        };
        let request = &self.failover.request;
        if self.failover.until.is_some_and(|until| until <= now) {
            return match &request.target {
                Some(target) if request.force => switch(target.clone(), true),
                _ => FailoverStep::TimedOut,
            };
        }
        let end = self.log.offset();
        let has_all = |conn: &&Conn| {
            let acked = self.watermarks.of(conn.id, now).map_or(0, |(offset, _)| offset);
            matches!(conn.state, State::Online(_)) && acked == end && end > 0
        };
        let found = match &request.target {
            Some((host, port)) => self.replica_at(host, *port).filter(has_all),
            None => self.conns.iter().filter(|c| usable(c)).find(has_all),
        };
        match (found, &request.target) {
            (None, _) => FailoverStep::Wait,
            (Some(_), Some(target)) => switch(target.clone(), false),
            (Some(conn), None) => {
                switch((conn.ip().to_owned(), i64::from(conn.listening_port)), false)
            }
        }
    }

    /// This node becomes the target's replica now, under all stripe locks.
    pub fn failover_begin(&mut self, host: &str, port: u16, forced: bool) {
        assert_eq!(self.failover.state, FailoverState::WaitingForSync, "first it waits");
        self.failover.state = FailoverState::InProgress;
        self.failover.request.target = Some((host.to_owned(), i64::from(port)));
        self.notice(if forced {
            format!("FAILOVER to {host}:{port} time out exceeded, failing over.")
        } else {
            format!("Failover target {host}:{port} is synced, failing over.")
        });
    }

    /// The target has taken over.
    pub fn failover_done(&mut self) {
        self.failover = Failover::default();
    }

    /// It comes to nothing; returns how far it was. From `InProgress` the caller makes this node a
    /// master again.
    pub fn failover_abort(&mut self, why: &str) -> FailoverState {
        let old = std::mem::take(&mut self.failover);
        if old.state != FailoverState::None {
            self.notice(match old.request.target {
                Some((host, port)) => format!("FAILOVER to {host}:{port} aborted: {why}"),
                None => format!("FAILOVER to any replica aborted: {why}"),
            });
        }
        old.state
    }

    /// When the present FAILOVER has waited long enough.
    pub(super) fn failover_due(&self) -> Option<MonoMs> {
        match self.failover.state {
            FailoverState::WaitingForSync => self.failover.until,
            _ => None,
        }
    }

    fn replica_at(&self, host: &str, port: i64) -> Option<&Conn> {
        self.conns.iter().find(|c| {
            c.is_replica()
                && c.ip().eq_ignore_ascii_case(host)
                && i64::from(c.listening_port) == port
        })
    }
}

/// Whether there is a way to it.
fn usable(conn: &Conn) -> bool {
    !conn.ip().is_empty() && u16::try_from(conn.listening_port).is_ok_and(|port| port > 0)
}
