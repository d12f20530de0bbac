//! A cluster node's process with its disk and its data.

use std::collections::VecDeque;

use cluster::{Cluster, Facts, NodeId, NodesConf, Now, Options, PersistToken};
use stdx::{MonoMs, Prng, UnixMs};

/// Port for clients of every node, and port of its bus.
pub const PORT: u16 = 7000;
pub const BUS_PORT: u16 = 17_000;

/// One host with its process.
pub struct Seat {
    /// The machine; nothing while the process is dead.
    pub machine: Option<Cluster>,
    /// What the disk holds for good.
    pub disk: Option<String>,
    /// What is being written.
    pub writing: VecDeque<(PersistToken, String)>,
    /// Until when the disk does nothing, in µs.
    pub stalled_until: u64,
    /// How far the wall clock is off, in ms.
    pub clock_off: i64,
    pub paused: bool,
    /// Whether the host answers although the process is dead.
    pub kernel: bool,
    /// Grows with every start.
    pub life: u32,
    /// The replication offset.
    pub offset: u64,
    /// The host that is replicated from.
    pub follow: Option<usize>,
    /// When it was last heard on the replication link, in µs.
    pub heard: u64,
    /// Until when clients' writes are held back, in µs.
    pub held_until: u64,
    pub next_accept: u64,
}

impl Seat {
    pub fn new() -> Seat {
        Seat {
            machine: None,
            disk: None,
            writing: VecDeque::new(),
            stalled_until: 0,
            clock_off: 0,
            paused: false,
            kernel: true,
            life: 0,
            offset: 1,
            follow: None,
            heard: 0,
            held_until: 0,
            next_accept: 1,
        }
    }

    pub fn running(&self) -> bool {
        self.machine.is_some() && !self.paused
    }

    pub fn now(&self, world_us: u64) -> Now {
        let mono = world_us / 1000 + 1_000_000;
        let unix = 1_700_000_000_000 + (world_us / 1000) as i64 + self.clock_off;
        Now { mono: MonoMs(mono), unix: UnixMs(unix) }
    }

    pub fn facts(&self, world_us: u64) -> Facts {
        Facts {
            repl_offset: self.offset,
            data_age_ms: world_us.saturating_sub(self.heard) / 1000,
            has_data: true,
        }
    }

    /// Starts the process from what the disk holds.
    pub fn start(&mut self, world_us: u64, prng: &mut Prng, tune: &dyn Fn(&mut Options)) -> NodeId {
        self.life += 1;
        self.writing.clear();
        self.follow = None;
        self.held_until = 0;
        self.heard = world_us;
        let (myid, shard) = (NodeId::random(prng), NodeId::random(prng));
        let mut options = Options::new(prng.next_u64(), myid, shard, PORT, BUS_PORT);
        tune(&mut options);
        let text = self.disk.clone().unwrap_or_default();
        let conf = NodesConf::parse(text.as_bytes()).expect("the machine writes good files");
        let machine = Cluster::new(self.now(world_us), conf.as_ref(), options);
        let id = machine.myid();
        self.machine = Some(machine);
        id
    }
}
