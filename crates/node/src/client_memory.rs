//! What connections cost in memory, and who has to go when all of them together cost too much
//! (`maxmemory-clients`).
//!
//! The worker that owns a connection tells its bytes at the end of a batch, but only when they have
//! moved to another size class, and again from time to time: so a request that leaves a connection
//! as it was costs one comparison. The sum is kept in one place. Who notices that it is above the
//! limit ends the largest connections until it is not.
//!
//! Source: redis 7.0 `server.c:updateClientMemUsageAndBucket`, `networking.c:evictClients`.

use crate::{ClientInfo, ClientKind, Node, registry};
use config::Config;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// The least limit that is taken: with less nobody could talk to the server.
const LIMIT_MIN: u64 = 128 * 1024;

/// The sum of all connections' memory.
#[derive(Debug, Default)]
pub(crate) struct ClientMemory {
    /// Of ordinary and subscribed clients.
    total: AtomicU64,
    /// One round of eviction at a time.
    evicting: Mutex<()>,
    /// Connections that were ended.
    pub(crate) evicted: AtomicU64,
}

/// The size class of a connection: eight of them double the bytes, all below 4 KiB are one.
#[inline]
pub fn size_class(bytes: usize) -> u32 {
    if bytes < 4096 {
        return 0;
    }
    let log = bytes.ilog2();
    log << 3 | (bytes >> (log - 3)) as u32 & 7
}

/// `maxmemory-clients` in bytes, 0 for no limit.
/// Source: redis 7.0 `networking.c:getClientEvictionLimit`.
pub(crate) fn limit(config: &Config) -> u64 {
    let bytes = match config.maxmemory_clients {
        config::MemoryOrPercent::Bytes(bytes) => bytes,
        config::MemoryOrPercent::Percent(percent) => {
            (config.maxmemory as f64 * f64::from(percent) / 100.0) as u64
        }
    };
    if bytes == 0 { 0 } else { bytes.max(LIMIT_MIN) }
}

impl Node {
    /// Takes note of what a connection holds: bytes of its read and write buffers, and of the
    /// arguments that wait. True if that may have made it too much for all of them.
    pub fn account_client(&self, info: &ClientInfo, input: u64, output: u64, argv: u64) -> bool {
        info.input_bytes.store(input, Relaxed);
        info.output_bytes.store(output, Relaxed);
        info.argv_mem.store(argv, Relaxed);
        info.output_peak.fetch_max(info.omem.load(Relaxed), Relaxed);
        let counts = matches!(info.kind(), ClientKind::Normal | ClientKind::Pubsub);
        let new = if counts && !info.killed.load(Relaxed) { info.memory() } else { 0 };
        if info.accounted.load(Relaxed) == new {
            return false;
        }
        self.count_client(info, new);
        let limit = self.settings.load().client_memory_max;
        limit > 0 && self.client_memory.total.load(Relaxed) > limit
    }

    /// Ends the account of a connection that is gone.
    pub fn forget_client_memory(&self, info: &ClientInfo) {
        self.count_client(info, 0);
    }

    fn count_client(&self, info: &ClientInfo, new: u64) {
        let old = info.accounted.swap(new, Relaxed);
        // Both numbers were or will be part of the sum, which cannot fall below zero in the end.
        self.client_memory.total.fetch_add(new.wrapping_sub(old), Relaxed);
    }

    /// Bytes of ordinary and subscribed clients.
    pub fn client_memory_total(&self) -> u64 {
        self.client_memory.total.load(Relaxed)
    }

    /// True if there is a limit and it is passed.
    pub fn clients_are_too_much(&self) -> bool {
        let limit = self.settings.load().client_memory_max;
        limit > 0 && self.client_memory_total() > limit
    }

    /// Ends the largest connections until all of them together are within `maxmemory-clients`.
    pub fn evict_clients(&self) {
        let limit = self.settings.load().client_memory_max;
        // Whoever is at it already will see this one, too.
        let Ok(_round) = self.client_memory.evicting.try_lock() else { return };
        if limit == 0 || self.client_memory_total() <= limit {
            return;
        }
        let mut largest: Vec<(u64, Arc<ClientInfo>)> = self
            .clients
            .all()
            .into_iter()
            .filter(|client| !client.no_evict.load(Relaxed) && !client.killed.load(Relaxed))
            .map(|client| (client.accounted.load(Relaxed), client))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        // The one that came last goes first among equals.
        largest.sort_by_key(|(bytes, client)| std::cmp::Reverse((*bytes, client.id)));
        let now = self.host.now().mono().0;
        for (_, client) in largest {
            if self.client_memory_total() <= limit {
                return;
            }
            let last = client.last_command.load(Relaxed) as usize;
            let command = registry().by_index.get(last).map_or("NULL", |entry| entry.spec.name);
            self.host.log(2, &format!("Evicting client: {}", client.line(now, command)));
            self.client_memory.evicted.fetch_add(1, Relaxed);
            self.kill_client(&client);
            // Its memory is as good as free.
            self.count_client(&client, 0);
        }
        if self.client_memory_total() > limit {
            self.host.log(3, "Over client maxmemory after evicting all evictable clients");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::MemoryOrPercent;

    #[test]
    fn classes_grow_with_bytes() {
        assert_eq!(size_class(0), size_class(4095));
        let mut last = 0;
        for bytes in (4096..1 << 20).step_by(512) {
            let class = size_class(bytes);
            assert!(class >= last, "{bytes}");
            last = class;
        }
        assert_eq!(size_class(8192) + 8, size_class(16384));
        assert!(size_class(usize::MAX) > size_class(1 << 62));
    }

    #[test]
    fn limits() {
        let mut config = Config::default();
        assert_eq!(limit(&config), 0);
        config.maxmemory_clients = MemoryOrPercent::Bytes(1);
        assert_eq!(limit(&config), LIMIT_MIN);
        config.maxmemory_clients = MemoryOrPercent::Bytes(1 << 30);
        assert_eq!(limit(&config), 1 << 30);
        config.maxmemory_clients = MemoryOrPercent::Percent(5);
        assert_eq!(limit(&config), 0);
        config.maxmemory = 1 << 30;
        assert_eq!(limit(&config), (1u64 << 30) * 5 / 100);
    }
}
