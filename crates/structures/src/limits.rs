//! The thresholds at which collections change their encoding.

/// Encoding thresholds, as configured; every call that may convert takes them by reference.
/// Names, meanings and defaults are those of Redis 7.2's directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `hash-max-listpack-entries`: most fields of a packed hash.
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`: longest field or value of a packed hash, in bytes.
    pub hash_max_listpack_value: usize,
    /// `list-max-listpack-size`: -1 to -5 for 4 to 64 KiB per node, else elements per node.
    pub list_max_listpack_size: i32,
    /// `list-compress-depth`: kept for CONFIG; nodes are not compressed in memory.
    pub list_compress_depth: u32,
    /// `set-max-intset-entries`: most members of a set of integers.
    pub set_max_intset_entries: usize,
    /// `set-max-listpack-entries`: most members of a packed set.
    pub set_max_listpack_entries: usize,
    /// `set-max-listpack-value`: longest member of a packed set, in bytes.
    pub set_max_listpack_value: usize,
    /// `zset-max-listpack-entries`: most members of a packed sorted set.
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`: longest member of a packed sorted set, in bytes.
    pub zset_max_listpack_value: usize,
    /// From this size on a list element gets a node of its own (DEBUG QUICKLIST-PACKED-THRESHOLD).
    pub quicklist_packed_threshold: usize,
    /// `stream-node-max-bytes`: most bytes of a stream node; 0 for no limit of its own.
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`: most entries of a stream node; 0 for no limit.
    pub stream_node_max_entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            quicklist_packed_threshold: 1 << 30,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}
