//! The configuration as commands see it: one immutable value, exchanged as a whole.

use commands::Env;
use config::Config;
use keyspace::MemoryPolicy;

/// Settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All directives.
    pub config: Config,
    /// What data commands need of them; the time is set for each command.
    pub env: Env,
    /// What the access field of a key is used for.
    pub policy: MemoryPolicy,
    /// `maxmemory-clients` in bytes, 0 for no limit.
    pub client_memory_max: u64,
    /// Classes of keyspace events to publish, 0 unless `K` or `E` is among them.
    pub notify: u32,
}
