//! A sentinel process: the real machine, its disk, and the sessions of its peers. It does for the
//! machine what the binary's driver does, in the order that the `sentinel` crate demands.

use std::collections::{BTreeMap, VecDeque};

use resp::{Protocol, Reply};
use sentinel::{CommandOutcome, Now, Options, PersistToken, Sentinel, SentinelConf};
use stdx::{MonoMs, Prng, UnixMs};

/// Sentinels listen here.
pub const SENTINEL_PORT: u16 = 26379;

/// A peer's connection to this sentinel.
#[derive(Default)]
pub struct Session {
    pub buffer: Vec<u8>,
    /// Replies in order; the first may wait for the disk.
    replies: VecDeque<(Option<PersistToken>, Vec<u8>, Told)>,
}

/// What a reply promises, for the checkers.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// A vote: epoch and candidate.
    pub vote: Option<(u64, String)>,
}

/// One sentinel with everything around it.
pub struct Seat {
    pub ip: String,
    /// None while the process is not running.
    pub machine: Option<Sentinel>,
    pub runid: String,
    /// What is on disk.
    pub disk: Vec<u8>,
    /// What its owner wrote: all that is left when the disk is lost.
    pub original: Vec<u8>,
    /// Texts on their way to the disk.
    pub writes: VecDeque<(PersistToken, Vec<u8>)>,
    pub durable: PersistToken,
    /// Writes do not end before this time, in µs.
    pub disk_stalled_until: u64,
    pub sessions: BTreeMap<u64, Session>,
    /// Offsets of this host's clocks.
    pub mono_offset: u64,
    pub unix_offset: i64,
    /// The wake-up that counts; older ones are void.
    pub wake_at: u64,
}

impl Seat {
    pub fn new(ip: String, conf: Vec<u8>, prng: &mut Prng) -> Seat {
        Seat {
            ip,
            machine: None,
            runid: String::new(),
            disk: conf.clone(),
            original: conf,
            writes: VecDeque::new(),
            durable: PersistToken(0),
            disk_stalled_until: 0,
            sessions: BTreeMap::new(),
            mono_offset: prng.below(1_000_000),
            unix_offset: 1_700_000_000_000 + prng.below(1_000_000) as i64,
            wake_at: u64::MAX,
        }
    }

    pub fn time(&self, now_us: u64) -> Now {
        let ms = now_us / 1000;
        Now { mono: MonoMs(ms + self.mono_offset), unix: UnixMs(ms as i64 + self.unix_offset) }
    }

    /// World time, in µs, at which the machine's clock will show `at`.
    pub fn world_time(&self, at: MonoMs) -> u64 {
        at.0.saturating_sub(self.mono_offset).saturating_mul(1000)
    }

    /// Starts the process from what the disk holds.
    pub fn start(&mut self, now_us: u64, prng: &mut Prng) {
        assert!(self.machine.is_none(), "a process is started once");
        let conf = SentinelConf::parse(&self.disk).expect("the machine reads what it has written");
        let options = Options {
            myid: prng.hex(40),
            seed: prng.next_u64(),
            port: SENTINEL_PORT,
            requirepass: None,
            script_is_executable: |_| true,
        };
        let machine = Sentinel::new(self.time(now_us), conf, options);
        self.runid = machine.status().myid;
        self.machine = Some(machine);
        self.durable = PersistToken(0);
        self.writes.clear();
        self.sessions.clear();
    }

    /// Runs one request of a peer.
    pub fn run(&mut self, now_us: u64, conn: u64, args: &[String]) {
        let now = self.time(now_us);
        let Some(machine) = &mut self.machine else { return };
        let mut reply = Reply::new(Protocol::Resp2);
        let mut token = None;
        if args[0].eq_ignore_ascii_case("client") || args[0].eq_ignore_ascii_case("auth") {
            reply.ok();
        } else {
            let argv: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
            if let CommandOutcome::AfterPersist(t) = machine.command(now, &argv, &mut reply) {
                token = Some(t);
            }
        }
        let bytes = reply.into_bytes();
        let mut told = Told::default();
        let asks = args.len() == 6 && args[1].eq_ignore_ascii_case("is-master-down-by-addr");
        if asks && args[5] != "*" {
            told.vote = vote_in(&bytes);
        }
        self.sessions.entry(conn).or_default().replies.push_back((token, bytes, told));
    }

    /// Replies of a session that may go out now.
    pub fn take_replies(&mut self, conn: u64) -> (Vec<u8>, Vec<Told>) {
        let mut bytes = Vec::new();
        let mut told = Vec::new();
        let durable = self.durable;
        let Some(session) = self.sessions.get_mut(&conn) else { return (bytes, told) };
        while session.replies.front().is_some_and(|(token, ..)| token.is_none_or(|t| t <= durable))
        {
            if let Some((_, more, promise)) = session.replies.pop_front() {
                bytes.extend(more);
                told.push(promise);
            }
        }
        (bytes, told)
    }
}

/// Epoch and candidate of a reply to `is-master-down-by-addr`.
fn vote_in(bytes: &[u8]) -> Option<(u64, String)> {
    let mut parser = resp::ReplyParser::new();
    parser.feed(bytes);
    let value = parser.next().ok()??;
    let parts = value.as_array()?;
    let leader = parts.get(1)?.as_str()?.to_string();
    let epoch = u64::try_from(parts.get(2)?.as_i64()?).ok()?;
    (leader != "*").then_some((epoch, leader))
}
