//! What others may know of a connection: the line of CLIENT LIST, and how to end it.
//!
//! The owning worker keeps [`crate::Session`]; this part is shared, and written so rarely or so
//! cheaply (relaxed stores) that a command does not feel it.

use crate::lock;
use crate::tracking::Track;
use resp::Protocol;
use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use std::sync::{Arc, Mutex};

/// Bytes of a connection beside its buffers, about: the worker's part, this one, tables.
const CLIENT_BYTES: u64 = 2048;
/// Size of Redis's fixed output buffer, and of the blocks behind it.
const FIXED_BYTES: u64 = 16 * 1024;

/// A connection's buffers in the terms of CLIENT LIST.
struct Buffers {
    input_free: u64,
    fixed_size: u64,
    fixed_used: u64,
    list_len: u64,
    list_bytes: u64,
}

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// An ordinary client.
    Normal,
    /// A replica that follows us.
    Replica,
    /// Our master.
    Master,
    /// Subscribed to channels.
    Pubsub,
}

/// Names that a connection gave itself.
#[derive(Clone, Debug, Default)]
pub struct ClientNames {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: String,
    /// ACL user.
    pub user: Vec<u8>,
    /// The view that it last asked for with a master's name (`mymaster@outside`).
    pub named_view: Option<String>,
}

/// The shared part of a connection.
#[derive(Debug)]
pub struct ClientInfo {
    /// Its number, never used again.
    pub id: u64,
    /// Index of the worker that owns it.
    worker: AtomicUsize,
    /// Peer's address, `ip:port`, or the socket's path with `:0`.
    pub addr: String,
    /// Our own address.
    pub laddr: String,
    /// File descriptor, for people only.
    pub fd: i32,
    /// Time of the connection, monotonic milliseconds.
    pub created: u64,
    /// Names.
    pub names: Mutex<ClientNames>,
    /// Last time that it sent something, monotonic milliseconds.
    pub last_active: AtomicU64,
    /// Database.
    pub db: AtomicU32,
    /// Index of the last command in the registry, `u32::MAX` for none.
    pub last_command: AtomicU32,
    /// RESP version, 2 or 3.
    pub resp: AtomicU32,
    /// Channels subscribed to.
    pub subs: AtomicU32,
    /// Patterns subscribed to.
    pub psubs: AtomicU32,
    /// Shard channels subscribed to.
    pub ssubs: AtomicU32,
    /// Commands queued by MULTI, -1 outside.
    pub multi: AtomicI64,
    /// Bytes of queued commands.
    pub multi_mem: AtomicU64,
    /// Bytes of watched keys, subscriptions and tracked prefixes.
    pub names_mem: AtomicU64,
    /// Bytes of arguments that wait: of a blocked or held command.
    pub argv_mem: AtomicU64,
    /// Bytes waiting in the query buffer.
    pub qbuf: AtomicU64,
    /// Bytes waiting to be sent.
    pub omem: AtomicU64,
    /// Bytes of the query buffer when they were last accounted.
    pub input_bytes: AtomicU64,
    /// Bytes of the output buffer when they were last accounted.
    pub output_bytes: AtomicU64,
    /// Most bytes that waited to be sent in the last seconds.
    pub output_peak: AtomicU64,
    /// Its part of the sum of all connections' memory.
    pub(crate) accounted: AtomicU64,
    /// Blocked by a command.
    pub blocked: AtomicBool,
    /// Watches keys.
    pub watching: AtomicBool,
    /// MONITOR.
    pub monitor: AtomicBool,
    /// CLIENT NO-EVICT.
    pub no_evict: AtomicBool,
    /// CLIENT MAINT_NOTIFICATIONS, and that without an address.
    pub maint: AtomicBool,
    /// See `maint`.
    pub maint_no_endpoint: AtomicBool,
    /// CLIENT NO-TOUCH.
    pub no_touch: AtomicBool,
    /// How it tracks keys, the bits of [`Track`].
    pub tracking: AtomicU32,
    /// Number of the connection that gets its invalidations, 0 for itself.
    pub redirect: AtomicU64,
    /// Connected by a unix socket.
    pub unix: bool,
    /// A replica that follows us.
    pub replica: AtomicBool,
    /// Our master's link.
    pub master: AtomicBool,
    /// A sentinel speaks through it: it has asked for an opinion, or listens to hellos.
    pub sentinel: AtomicBool,
    /// To be closed.
    pub killed: AtomicBool,
}

impl ClientInfo {
    /// A fresh connection.
    pub fn new(
        id: u64,
        worker: usize,
        addr: String,
        laddr: String,
        fd: i32,
        unix: bool,
        now: u64,
    ) -> ClientInfo {
        ClientInfo {
            id,
            worker: AtomicUsize::new(worker),
            addr,
            laddr,
            fd,
            created: now,
            names: Mutex::new(ClientNames { user: b"default".to_vec(), ..ClientNames::default() }),
            last_active: AtomicU64::new(now),
            db: AtomicU32::new(0),
            last_command: AtomicU32::new(u32::MAX),
            resp: AtomicU32::new(2),
            subs: AtomicU32::new(0),
            psubs: AtomicU32::new(0),
            ssubs: AtomicU32::new(0),
            multi: AtomicI64::new(-1),
            multi_mem: AtomicU64::new(0),
            names_mem: AtomicU64::new(0),
            argv_mem: AtomicU64::new(0),
            qbuf: AtomicU64::new(0),
            omem: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            output_peak: AtomicU64::new(0),
            accounted: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            monitor: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            maint: AtomicBool::new(false),
            maint_no_endpoint: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            tracking: AtomicU32::new(0),
            redirect: AtomicU64::new(0),
            unix,
            replica: AtomicBool::new(false),
            master: AtomicBool::new(false),
            sentinel: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        }
    }

    /// Index of the worker that owns it.
    pub fn worker(&self) -> usize {
        self.worker.load(Relaxed)
    }

    /// Another worker owns it from now on. Messages that are on their way to the old one are sent on
    /// by that one.
    pub fn set_worker(&self, worker: usize) {
        self.worker.store(worker, Relaxed);
    }

    /// What it is used for.
    pub fn kind(&self) -> ClientKind {
        if self.master.load(Relaxed) {
            ClientKind::Master
        } else if self.replica.load(Relaxed) && !self.monitor.load(Relaxed) {
            ClientKind::Replica
        } else if self.is_subscribed() {
            ClientKind::Pubsub
        } else {
            ClientKind::Normal
        }
    }

    /// Subscribed to anything.
    pub fn is_subscribed(&self) -> bool {
        [&self.subs, &self.psubs, &self.ssubs].iter().any(|count| count.load(Relaxed) > 0)
    }

    /// How it tracks keys.
    #[inline]
    pub fn track(&self) -> Track {
        Track::from_bits_truncate(self.tracking.load(Relaxed))
    }

    /// The protocol version.
    pub fn protocol(&self) -> Protocol {
        if self.resp.load(Relaxed) == 3 { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    /// Bytes of everything that it holds (`tot-mem`).
    /// Source: redis 7.2 `networking.c:getClientMemoryUsage`.
    pub fn memory(&self) -> u64 {
        let input = self.input_bytes.load(Relaxed).max(self.qbuf.load(Relaxed));
        let output = self.output_bytes.load(Relaxed).max(self.omem.load(Relaxed));
        let rest = [&self.argv_mem, &self.multi_mem, &self.names_mem];
        CLIENT_BYTES + input + output + rest.iter().map(|part| part.load(Relaxed)).sum::<u64>()
    }

    /// The buffers in Redis's terms: what waits to be sent is in a fixed buffer first, then in a
    /// list of blocks. Here it is one piece, whose memory counts in the same way.
    fn buffers(&self) -> Buffers {
        let (waiting, size) = (self.omem.load(Relaxed), self.output_bytes.load(Relaxed));
        let size = size.max(waiting);
        let beyond = waiting.saturating_sub(FIXED_BYTES);
        Buffers {
            input_free: self.input_bytes.load(Relaxed).saturating_sub(self.qbuf.load(Relaxed)),
            fixed_size: size.min(FIXED_BYTES),
            fixed_used: waiting.min(FIXED_BYTES),
            list_len: beyond.div_ceil(FIXED_BYTES),
            list_bytes: if beyond == 0 { 0 } else { size - FIXED_BYTES },
        }
    }

    /// Its line in CLIENT LIST. Source: redis 7.2 `networking.c:catClientInfoString`.
    pub fn line(&self, now: u64, command: &str) -> String {
        let names = lock(&self.names).clone();
        let mut flags = String::new();
        let track = self.track();
        let redirect = match track.contains(Track::ON) {
            true => self.redirect.load(Relaxed) as i64,
            false => -1,
        };
        for (set, letter) in [
            (self.replica.load(Relaxed) && self.monitor.load(Relaxed), 'O'),
            (self.replica.load(Relaxed) && !self.monitor.load(Relaxed), 'S'),
            (self.monitor.load(Relaxed) && !self.replica.load(Relaxed), 'O'),
            (self.master.load(Relaxed), 'M'),
            (self.kind() == ClientKind::Pubsub, 'P'),
            (self.multi.load(Relaxed) >= 0, 'x'),
            (self.blocked.load(Relaxed), 'b'),
            (track.contains(Track::ON), 't'),
            (track.contains(Track::BROKEN), 'R'),
            (track.contains(Track::BCAST), 'B'),
            (self.unix, 'U'),
            (self.no_evict.load(Relaxed), 'e'),
            (self.no_touch.load(Relaxed), 'T'),
        ] {
            if set {
                flags.push(letter);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let buffers = self.buffers();
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
             multi={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} \
             tot-mem={} events={} cmd={} user={} redir={} resp={} lib-name={} lib-ver={}",
            self.id,
            self.addr,
            self.laddr,
            self.fd,
            names.name,
            now.saturating_sub(self.created) / 1000,
            now.saturating_sub(self.last_active.load(Relaxed)) / 1000,
            flags,
            self.db.load(Relaxed),
            self.subs.load(Relaxed),
            self.psubs.load(Relaxed),
            self.ssubs.load(Relaxed),
            self.multi.load(Relaxed),
            self.qbuf.load(Relaxed),
            buffers.input_free,
            self.argv_mem.load(Relaxed),
            self.multi_mem.load(Relaxed),
            buffers.fixed_size,
            self.output_peak.load(Relaxed).min(FIXED_BYTES),
            buffers.fixed_used,
            buffers.list_len,
            buffers.list_bytes,
            self.memory(),
            if self.omem.load(Relaxed) > 0 { "rw" } else { "r" },
            command,
            String::from_utf8_lossy(&names.user),
            redirect,
            self.resp.load(Relaxed),
            names.lib_name,
            names.lib_ver,
        )
    }
}

/// All connections, by number.
#[derive(Default)]
pub struct Clients {
    by_id: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
    next_id: AtomicU64,
}

impl Clients {
    /// The next number.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed) + 1
    }

    /// Adds a connection.
    pub fn add(&self, info: &Arc<ClientInfo>) {
        lock(&self.by_id).insert(info.id, Arc::clone(info));
    }

    /// Removes a connection.
    pub fn remove(&self, id: u64) {
        lock(&self.by_id).remove(&id);
    }

    /// One connection.
    pub fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        lock(&self.by_id).get(&id).cloned()
    }

    /// One connection, if the table can be looked at without waiting.
    pub fn try_get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.by_id.try_lock().ok()?.get(&id).cloned()
    }

    /// All connections, oldest first.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        lock(&self.by_id).values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.by_id).len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
