//! The numbers of the RDB format.
//!
//! Source: redis 7.0 to 7.4 `rdb.h`; the project's fact sheet on RDB.

/// The version that is written unless a caller asks for another: what Redis 7.0 loads.
pub const VERSION_DEFAULT: u32 = 10;
/// The highest version that is written: the first that knows hashes whose fields have times.
pub const VERSION_WRITE_MAX: u32 = 12;
/// The highest version that is read.
pub const VERSION_READ_MAX: u32 = 12;
/// From this version on a checksum follows the end.
pub(crate) const VERSION_CHECKSUM: u32 = 5;
/// From this version on sets may be listpacks.
pub(crate) const VERSION_SET_LISTPACK: u32 = 11;
/// From this version on fields of hashes may have times.
pub const VERSION_FIELD_TIMES: u32 = 12;
/// From this version on streams say when a consumer was active.
pub(crate) const VERSION_STREAM_3: u32 = 11;

pub(crate) const MAGIC: &[u8; 5] = b"REDIS";

pub(crate) const OP_SLOT_INFO: u8 = 244;
pub(crate) const OP_FUNCTION2: u8 = 245;
pub(crate) const OP_FUNCTION_PRE_GA: u8 = 246;
pub(crate) const OP_MODULE_AUX: u8 = 247;
pub(crate) const OP_IDLE: u8 = 248;
pub(crate) const OP_FREQ: u8 = 249;
pub(crate) const OP_AUX: u8 = 250;
pub(crate) const OP_RESIZEDB: u8 = 251;
pub(crate) const OP_EXPIRETIME_MS: u8 = 252;
pub(crate) const OP_EXPIRETIME: u8 = 253;
pub(crate) const OP_SELECTDB: u8 = 254;
pub(crate) const OP_EOF: u8 = 255;

pub(crate) const TYPE_STRING: u8 = 0;
pub(crate) const TYPE_LIST: u8 = 1;
pub(crate) const TYPE_SET: u8 = 2;
pub(crate) const TYPE_ZSET: u8 = 3;
pub(crate) const TYPE_HASH: u8 = 4;
pub(crate) const TYPE_ZSET_2: u8 = 5;
pub(crate) const TYPE_MODULE_PRE_GA: u8 = 6;
pub(crate) const TYPE_MODULE_2: u8 = 7;
pub(crate) const TYPE_HASH_ZIPMAP: u8 = 9;
pub(crate) const TYPE_LIST_ZIPLIST: u8 = 10;
pub(crate) const TYPE_SET_INTSET: u8 = 11;
pub(crate) const TYPE_ZSET_ZIPLIST: u8 = 12;
pub(crate) const TYPE_HASH_ZIPLIST: u8 = 13;
pub(crate) const TYPE_LIST_QUICKLIST: u8 = 14;
pub(crate) const TYPE_STREAM: u8 = 15;
pub(crate) const TYPE_HASH_LISTPACK: u8 = 16;
pub(crate) const TYPE_ZSET_LISTPACK: u8 = 17;
pub(crate) const TYPE_LIST_QUICKLIST_2: u8 = 18;
pub(crate) const TYPE_STREAM_2: u8 = 19;
pub(crate) const TYPE_SET_LISTPACK: u8 = 20;
pub(crate) const TYPE_STREAM_3: u8 = 21;
pub(crate) const TYPE_HASH_METADATA_PRE_GA: u8 = 22;
pub(crate) const TYPE_HASH_LISTPACK_EX_PRE_GA: u8 = 23;
pub(crate) const TYPE_HASH_METADATA: u8 = 24;
pub(crate) const TYPE_HASH_LISTPACK_EX: u8 = 25;

/// Container kinds inside [`TYPE_LIST_QUICKLIST_2`].
pub(crate) const NODE_PLAIN: u64 = 1;
pub(crate) const NODE_PACKED: u64 = 2;

/// String encodings, the low six bits of a length byte that begins with two set bits.
pub(crate) const ENC_INT8: u8 = 0;
pub(crate) const ENC_INT16: u8 = 1;
pub(crate) const ENC_INT32: u8 = 2;
pub(crate) const ENC_LZF: u8 = 3;

/// The name of a value type, as `redis-check-rdb` prints it; `None` for a number that no version
/// of Redis gave out.
pub fn type_name(code: u8) -> Option<&'static str> {
    Some(match code {
        TYPE_STRING => "string",
        TYPE_LIST => "list-linked",
        TYPE_SET => "set-hashtable",
        TYPE_ZSET => "zset-v1",
        TYPE_HASH => "hash-hashtable",
        TYPE_ZSET_2 => "zset-v2",
        TYPE_MODULE_PRE_GA => "module-pre-release",
        TYPE_MODULE_2 => "module-value",
        TYPE_HASH_ZIPMAP => "hash-zipmap",
        TYPE_LIST_ZIPLIST => "list-ziplist",
        TYPE_SET_INTSET => "set-intset",
        TYPE_ZSET_ZIPLIST => "zset-ziplist",
        TYPE_HASH_ZIPLIST => "hash-ziplist",
        TYPE_LIST_QUICKLIST => "quicklist",
        TYPE_STREAM => "stream",
        TYPE_HASH_LISTPACK => "hash-listpack",
        TYPE_ZSET_LISTPACK => "zset-listpack",
        TYPE_LIST_QUICKLIST_2 => "quicklist-v2",
        TYPE_STREAM_2 => "stream-v2",
        TYPE_SET_LISTPACK => "set-listpack",
        TYPE_STREAM_3 => "stream-v3",
        TYPE_HASH_METADATA_PRE_GA => "hash-hashtable-md-pre-release",
        TYPE_HASH_LISTPACK_EX_PRE_GA => "hash-listpack-md-pre-release",
        TYPE_HASH_METADATA => "hash-hashtable-md",
        TYPE_HASH_LISTPACK_EX => "hash-listpack-md",
        _ => return None,
    })
}
