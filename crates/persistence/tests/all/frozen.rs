//! Files that redis-server 7.0.15 wrote, kept in `testdata/`.
//!
//! With `REDOUBT_REWRITE=1` they are made anew with the installed server.

use std::path::PathBuf;

use persistence::rdb::{Access, EncodeOptions, RdbStream};
use structures::Limits;

use crate::model::{Content, LoadedKey, Model, as_ref, every_form, read, read_in_steps};
use crate::server::{RealServer, read_file};

const LIBRARY: &str =
    "#!lua name=testlib\nredis.register_function('answer', function() return 42 end)";
const EXPIRE_AT: i64 = 4_102_444_800_123;

/// The files, with the directives under which they were written.
const FILES: [(&str, &[&str]); 4] = [
    ("redis-7.0.15-compressed.rdb", &["--list-compress-depth", "1"]),
    ("redis-7.0.15-plain.rdb", &["--rdbcompression", "no"]),
    ("redis-7.0.15-lru.rdb", &["--maxmemory-policy", "allkeys-lru"]),
    ("redis-7.0.15-lfu-nosum.rdb", &["--maxmemory-policy", "allkeys-lfu", "--rdbchecksum", "no"]),
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

pub fn file(name: &str) -> Vec<u8> {
    read_file(&path(name))
}

pub fn all_files() -> Vec<Vec<u8>> {
    FILES.iter().map(|(name, _)| file(name)).collect()
}

fn rewrite() {
    for (name, arguments) in FILES {
        let Some(mut server) = RealServer::start(None, arguments) else { return };
        if name.contains("compressed") || name.contains("plain") {
            server.run(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]);
            for (key, value) in every_form() {
                server.store(key.as_bytes(), &value);
            }
            server.text("SELECT 3");
            server.text("SET expiring value");
            server.text(&format!("PEXPIREAT expiring {EXPIRE_AT}"));
            server.text("SELECT 9");
            for i in 0..70 {
                server.text(&format!("SET key:{i} {i}"));
            }
        } else {
            server.text("SET a 1");
            server.text("RPUSH b x y");
            server.text(&format!("PEXPIREAT b {EXPIRE_AT}"));
        }
        let bytes = server.save();
        std::fs::write(path(name), bytes).unwrap();
    }
}

fn check_every_form(content: &Content) {
    assert_eq!(content.version, 10);
    assert_eq!(content.aux("redis-ver"), Some(&b"7.0.15"[..]));
    assert_eq!(content.aux("redis-bits"), Some(&b"64"[..]));
    assert_eq!(content.aux("aof-base"), Some(&b"0"[..]));
    assert_eq!(content.functions, [LIBRARY.as_bytes()]);
    let all = every_form();
    assert_eq!(content.sizes, [(0, all.len() as u64, 0), (3, 1, 1), (9, 70, 0)]);
    assert_eq!(content.keys.len(), all.len() + 71);
    assert!(content.empty.is_empty());
    for (name, value) in &all {
        let key = content.key(name);
        assert_eq!(&key.value, value, "{name}");
        assert_eq!((key.db, key.expire_at, key.idle, key.freq), (0, None, None, None));
    }
    let key = content.key("expiring");
    assert_eq!((key.db, key.expire_at), (3, Some(EXPIRE_AT)));
    for i in 0..70 {
        let key = content.key(&format!("key:{i}"));
        assert_eq!((key.db, &key.value), (9, &Model::Str(i.to_string().into_bytes())));
    }
    for (name, encoding) in [
        ("list:packed", "listpack"),
        ("list:nodes", "quicklist"),
        ("set:int16", "intset"),
        ("set:int64", "intset"),
        ("set:texts", "listpack"),
        ("set:table", "hashtable"),
        ("set:mixed-table", "hashtable"),
        ("hash:packed", "listpack"),
        ("hash:long-value", "hashtable"),
        ("hash:table", "hashtable"),
        ("zset:packed", "listpack"),
        ("zset:skiplist", "skiplist"),
        ("zset:long-member", "skiplist"),
    ] {
        assert_eq!(content.key(name).encoding, encoding, "{name}");
    }
}

#[test]
fn files_of_redis_7_0_15_load() {
    if std::env::var_os("REDOUBT_REWRITE").is_some() {
        rewrite();
    }
    for name in ["redis-7.0.15-compressed.rdb", "redis-7.0.15-plain.rdb"] {
        let bytes = file(name);
        let content = read(&bytes).unwrap();
        check_every_form(&content);
        assert_eq!(content.length, bytes.len() as u64);
        let stored = u64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
        assert_eq!(content.checksum, Some(stored));
        for step in [1, 3, 1000] {
            assert_eq!(read_in_steps(&bytes, step, Default::default()).unwrap(), content);
        }
    }
}

#[test]
fn access_data_of_the_policies_is_read() {
    let content = read(&file("redis-7.0.15-lru.rdb")).unwrap();
    assert!(content.keys.iter().all(|k| k.idle.is_some_and(|s| s < 60) && k.freq.is_none()));
    assert!(content.checksum.is_some());
    let content = read(&file("redis-7.0.15-lfu-nosum.rdb")).unwrap();
    assert!(content.keys.iter().all(|k| k.idle.is_none() && k.freq.is_some_and(|f| f > 0)));
    assert_eq!(content.checksum, None, "rdbchecksum was off");
    let mut keys: Vec<&LoadedKey> = content.keys.iter().collect();
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(keys[0].value, Model::Str(b"1".to_vec()));
    assert_eq!(keys[1].value, Model::List(vec![b"x".to_vec(), b"y".to_vec()]));
    assert_eq!(keys[1].expire_at, Some(EXPIRE_AT));
}

#[test]
fn every_cut_is_an_unexpected_end() {
    let bytes = file("redis-7.0.15-compressed.rdb");
    for len in (0..bytes.len()).step_by(7) {
        let error = read(&bytes[..len]).unwrap_err();
        let end = matches!(error.kind(), persistence::rdb::RdbErrorKind::UnexpectedEof { .. });
        assert!(end && error.offset() == len as u64, "{len}: {error}");
    }
}

/// Our compression is about as good as Redis's on the same data.
#[test]
fn compressed_files_are_of_about_the_same_size() {
    let theirs = file("redis-7.0.15-compressed.rdb");
    let content = read(&theirs).unwrap();
    let mut stream = RdbStream::new(Vec::new(), EncodeOptions::default(), true);
    for key in &content.keys {
        stream.select_db(key.db).unwrap();
        let value = key.value.build(&Limits::default());
        stream.key(&key.key, as_ref(&value), key.expire_at, Access::None).unwrap();
    }
    let (ours, _) = stream.finish().unwrap();
    assert!(ours.len() < theirs.len() * 11 / 10, "{} against {}", ours.len(), theirs.len());
}
