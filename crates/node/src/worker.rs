//! What one worker keeps for itself while it runs commands.

use crate::settings::Settings;
use crate::stats::WorkerStats;
use keyspace::DbStripe;
use replication::Targets;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use stdx::{MonoMs, Prng, UnixMs};
use structures::Entry;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Wall clock.
    pub unix_us: i64,
    /// Monotonic clock, microseconds.
    pub mono_us: u64,
}

impl Now {
    /// This reading brought forward by the monotonic clock. The wall clock follows in step, and
    /// is read itself once in a round of the event loop.
    #[inline]
    pub fn moved_to(self, mono_us: u64) -> Now {
        let passed = mono_us.saturating_sub(self.mono_us);
        Now { unix_us: self.unix_us + passed as i64, mono_us: self.mono_us + passed }
    }

    /// Wall clock in milliseconds.
    pub fn unix(self) -> UnixMs {
        UnixMs(self.unix_us.div_euclid(1000))
    }

    /// Monotonic clock in milliseconds.
    pub fn mono(self) -> MonoMs {
        MonoMs(self.mono_us / 1000)
    }
}

/// Whether reads must not show what is not on disk. Without `always` nothing promises that.
fn gates_reads(config: &config::Config) -> bool {
    config.appendonly && config.appendfsync == config::AppendFsync::Always
}

/// One worker's own state. A job that runs commands (the replication link) has one too.
pub struct Worker {
    /// Its index; mailboxes have the same.
    pub index: usize,
    /// The time at which the present batch, or the command in it, began.
    pub now: Now,
    /// For commands with a random choice.
    pub rng: Prng,
    /// Settings in force.
    pub settings: Arc<Settings>,
    pub(crate) settings_version: u64,
    /// What data commands see of the settings; time and circumstances are set for each command.
    pub(crate) env: commands::Env,
    /// Counters.
    pub stats: Arc<WorkerStats>,
    /// Time-outs of this worker's blocked connections: (Unix ms, ticket).
    pub timeouts: BTreeSet<(UnixMs, u64)>,
    /// Big values to be freed elsewhere.
    pub trash: Vec<Entry>,
    /// Emptied tables to be freed elsewhere.
    pub tables: Vec<DbStripe>,
    /// True if the log has grown since the worker last told the replicas' owners.
    pub log_grew: bool,
    /// Bytes of the master's stream whose commands are being applied.
    pub(crate) verbatim: Vec<u8>,
    /// [`Log::tenure`](replication::Log::tenure) when the link that sent them was made.
    pub(crate) tenure: u64,
    /// [`Role::era`](crate::Role::era) when the present command was admitted.
    pub(crate) era: u64,
    /// Keys that got elements while clients wait for them.
    pub(crate) ready: VecDeque<(usize, Box<[u8]>)>,
    /// Changed keys for those who track by prefixes.
    pub(crate) changed: crate::tracking::Broadcast,
    /// False while more memory is in use than allowed and nothing can be evicted.
    pub(crate) has_room: bool,
    /// When it looks at the memory in use again.
    pub(crate) next_look: crate::evict::NextLook,
    /// Encoded commands of the record in progress.
    pub(crate) record: crate::propagate::Record,
    /// Who is to see effects (`redis.set_repl`).
    pub(crate) targets: Targets,
    /// File position that the replies of the present connection depend on.
    pub(crate) gate_position: u64,
    /// File position of the writes that those replies show.
    pub(crate) read_position: u64,
    /// Replies to reads wait, too (`appendfsync always`).
    pub(crate) gates_reads: bool,
    /// Writes of the master's stream, for the append-only file.
    pub(crate) applied: crate::apply::Applied,
    /// The interpreter of scripts, once there was one.
    pub(crate) evaluator: Option<Box<crate::script::Evaluator>>,
    /// The script that EVAL is about to run: looked up before its stripes were taken.
    pub(crate) script: Option<crate::script::Found>,
    /// The script that was looked up by its source last.
    pub(crate) recent_script: Option<crate::script::Recent>,
    /// The next script takes all stripes, as it could not go on without them.
    pub(crate) all_for_script: bool,
}

impl Worker {
    /// A worker of `node`.
    pub fn new(node: &crate::Node, index: usize, seed: u64) -> Worker {
        let settings = node.settings.load_full();
        let gates_reads = gates_reads(&settings.config);
        Worker {
            index,
            now: Now::default(),
            rng: Prng::new(seed),
            env: settings.env.clone(),
            settings,
            settings_version: node.settings_version(),
            stats: Arc::clone(&node.stats.workers[index]),
            timeouts: BTreeSet::new(),
            trash: Vec::new(),
            tables: Vec::new(),
            log_grew: false,
            verbatim: Vec::new(),
            tenure: 0,
            era: 0,
            ready: VecDeque::new(),
            changed: crate::tracking::Broadcast::new(),
            has_room: true,
            next_look: crate::evict::NextLook::default(),
            record: crate::propagate::Record::default(),
            targets: Targets::ALL,
            gate_position: 0,
            read_position: 0,
            gates_reads,
            applied: crate::apply::Applied::default(),
            evaluator: None,
            script: None,
            recent_script: None,
            all_for_script: false,
        }
    }

    /// Takes over settings that have changed.
    pub(crate) fn reload_settings(&mut self, node: &crate::Node) {
        self.settings_version = node.settings_version();
        self.settings = node.settings.load_full();
        self.env = self.settings.env.clone();
        self.gates_reads = gates_reads(&self.settings.config);
    }

    /// A connection's turn begins.
    pub fn begin_turn(&mut self) {
        self.gate_position = 0;
        self.read_position = 0;
    }

    /// What was written to the reply depends on the file, so that it may have to wait.
    #[inline]
    pub fn depends_on_file(&self) -> bool {
        self.gate_position | self.read_position != 0
    }

    /// What the reply depends on.
    pub fn take_dependence(&mut self) -> crate::OnFile {
        crate::OnFile {
            write: std::mem::take(&mut self.gate_position),
            read: std::mem::take(&mut self.read_position),
        }
    }

    /// The next moment at which a blocked connection of this worker has waited long enough.
    pub fn next_timeout(&self) -> Option<UnixMs> {
        self.timeouts.first().map(|&(at, _)| at)
    }
}
