//! Periods and bounds, all in milliseconds: Redis's own, which SENTINEL DEBUG can change, and those
//! of the faster paths that Redis does not have.

/// Two sentinels that could start together are told apart by this random delay.
pub const DESYNC_MS: u64 = 1000;
/// Commands that may wait for a reply on one link, per master that shares it.
pub const PENDING_MAX: usize = 100;
/// A stateless sentinel does not vote for so long after its first contact with a peer.
pub const STATELESS_MUTE_MS: u64 = 10_000;
/// How long the choice of a replica waits for live offsets.
pub const LIVE_OFFSET_WAIT_MS: u64 = 50;
/// How long the other replicas may take to follow before the new master is announced.
pub const RECONF_SETTLE_MS: u64 = 50;
/// What each rank waits beyond a round trip before it starts a failover.
pub const RANK_STEP_MS: u64 = 20;
/// A lost link is tried again at once, then at this pace.
pub const RETRY_MS: u64 = 250;
/// An attempt to connect that is not answered is replaced by a new one.
pub const CONNECT_WAIT_MS: u64 = 500;
/// A silent connection to a node that is down is replaced: after a long silence the transport
/// itself retries too slowly to notice that the node is back.
pub const SILENT_RECYCLE_MS: u64 = 500;
/// A leader that was voted for is silent when its link has been down, or a PING to it unanswered,
/// for so long.
pub const LEADER_SILENT_MS: u64 = 500;
/// The same when its process closed the link and refuses new ones.
pub const LEADER_DEAD_MS: u64 = 60;
/// While a leader is awaited it is asked this often whether it lives.
pub const LEADER_PING_MS: u64 = 100;
/// A leader that was itself stopped for so long before `SLAVEOF NO ONE` gives up.
pub const LEADER_PAUSE_MAX_MS: u64 = 250;
/// Pace of INFO while something is expected to change.
pub const FAST_INFO_MS: u64 = 50;
/// How long that pace is kept.
pub const FAST_INFO_FOR_MS: u64 = 1000;
/// How long a planned switch holds the master's writes while the replica catches up.
pub const CATCH_UP_MS: u64 = 2000;
/// How much longer the leader of a planned switch waits to hear that it was made.
pub const HAND_OVER_MS: u64 = 1500;
/// Pace of INFO to both nodes meanwhile: until it is seen, clients wait.
pub const HAND_OVER_INFO_MS: u64 = 10;
/// Epochs above this are nonsense from a broken peer and are ignored.
pub const EPOCH_MAX: u64 = 1 << 62;
/// Default of `sentinel crash-grace`.
pub const DEFAULT_CRASH_GRACE_MS: u64 = 200;
/// Default of `sentinel parallel-syncs`.
pub const DEFAULT_PARALLEL_SYNCS: i64 = 1;

/// Redis's periods. Source: redis 7.0 `sentinel.c`, the list of SENTINEL DEBUG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periods {
    /// INFO to masters and replicas.
    pub info: u64,
    /// PING to everyone.
    pub ping: u64,
    /// `is-master-down-by-addr` to peers.
    pub ask: u64,
    /// Hello messages.
    pub publish: u64,
    /// `down-after-milliseconds` of a newly monitored master.
    pub default_down_after: u64,
    /// `failover-timeout` of a newly monitored master.
    pub default_failover_timeout: u64,
    /// A gap between two ticks beyond this means TILT.
    pub tilt_trigger: u64,
    /// How long TILT lasts.
    pub tilt: u64,
    /// A replica that does not take its new master within this is given up.
    pub slave_reconf_timeout: u64,
    /// Least age of a link before silence closes it.
    pub min_link_reconnect: u64,
    /// How long an election may last.
    pub election_timeout: u64,
    /// A script is killed after this.
    pub script_max_runtime: u64,
    /// Base of the delay before a script is tried again.
    pub script_retry_delay: u64,
}

impl Default for Periods {
    fn default() -> Periods {
        Periods {
            info: 10_000,
            ping: 1000,
            ask: 1000,
            publish: 2000,
            default_down_after: 30_000,
            default_failover_timeout: 180_000,
            tilt_trigger: 2000,
            tilt: 30_000,
            slave_reconf_timeout: 10_000,
            min_link_reconnect: 15_000,
            election_timeout: 10_000,
            script_max_runtime: 60_000,
            script_retry_delay: 30_000,
        }
    }
}

impl Periods {
    /// Names in the order in which SENTINEL DEBUG prints them.
    pub const NAMES: [&'static str; 13] = [
        "info-period",
        "ping-period",
        "ask-period",
        "publish-period",
        "default-down-after",
        "default-failover-timeout",
        "tilt-trigger",
        "tilt-period",
        "slave-reconf-timeout",
        "min-link-reconnect-period",
        "election-timeout",
        "script-max-runtime",
        "script-retry-delay",
    ];

    /// The period with that name, in any case of letters.
    pub fn by_name(&mut self, name: &str) -> Option<&mut u64> {
        let index = Self::NAMES.iter().position(|n| n.eq_ignore_ascii_case(name))?;
        Some(match index {
            0 => &mut self.info,
            1 => &mut self.ping,
            2 => &mut self.ask,
            3 => &mut self.publish,
            4 => &mut self.default_down_after,
            5 => &mut self.default_failover_timeout,
            6 => &mut self.tilt_trigger,
            7 => &mut self.tilt,
            8 => &mut self.slave_reconf_timeout,
            9 => &mut self.min_link_reconnect,
            10 => &mut self.election_timeout,
            11 => &mut self.script_max_runtime,
            _ => &mut self.script_retry_delay,
        })
    }
}
