//! DEBUG.

use crate::testkit::Kit;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn subcommands_and_their_arguments() {
    Kit::default().check(&[
        ("debug", "-ERR wrong number of arguments for 'debug' command"),
        (
            "debug foo",
            "-ERR unknown subcommand or wrong number of arguments for 'foo'. Try DEBUG HELP.",
        ),
        (
            "debug jmap",
            "-ERR unknown subcommand or wrong number of arguments for 'jmap'. Try DEBUG HELP.",
        ),
        (
            "debug sleep",
            "-ERR unknown subcommand or wrong number of arguments for 'sleep'. Try DEBUG HELP.",
        ),
        (
            "debug sleep 0.01 x",
            "-ERR unknown subcommand or wrong number of arguments for 'sleep'. Try DEBUG HELP.",
        ),
        (
            "debug digest x",
            "-ERR unknown subcommand or wrong number of arguments for 'digest'. Try DEBUG HELP.",
        ),
        (
            "debug populate 3 foo 20 x",
            "-ERR unknown subcommand or wrong number of arguments for 'populate'. Try DEBUG HELP.",
        ),
        (
            "debug reload foo",
            "-ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
        ),
        ("debug client-eviction", "-ERR maxmemory-clients is disabled."),
        (
            "debug clusterlink kill all x",
            "-ERR Debug option only available for cluster mode enabled setup!",
        ),
        ("debug loadaof", "+OK"),
        ("debug leak abc", "+OK"),
        ("debug stringmatch-test", "+Apparently Redis did not crash: test passed"),
        ("debug stringmatch-len a*c abbc", ":1"),
        ("debug stringmatch-len a*d abbc", ":0"),
    ]);
}

#[test]
fn only_who_may() {
    let mut kit = Kit::new(|config| config.enable_debug_command = config::Allowed::No);
    assert!(kit.line("debug digest").starts_with("-ERR DEBUG command not allowed."));
}

#[test]
fn digests_are_those_of_redis() {
    let mut kit = Kit::default();
    kit.check(&[
        ("debug digest", "+0000000000000000000000000000000000000000"),
        ("set k v", "+OK"),
        ("rpush l 1 2 3 1 2 3", ":6"),
        ("hset h a 1", ":1"),
        ("zadd z 1 a 2.5 b", ":2"),
        ("debug digest", "+4f1255b6bb886e0ec65a50fa6c301179313b9301"),
        ("debug digest-value", "*0"),
        (
            "debug digest-value k l nokey h z",
            "*5 +d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f +e2e6ab8e5f90bec153ff4333fa515f6ebe08cf2b \
             +0000000000000000000000000000000000000000 +626a7b57a269f8f179a44902458ecb2f5920d35d \
             +c45c5b051acd64070e5ed1a949939d5145f806c5",
        ),
        ("multi", "+OK"),
        ("del l", "+QUEUED"),
        ("debug digest-value k", "+QUEUED"),
        ("exec", "*2 :1 *1 +d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f"),
    ]);
}

#[test]
fn objects() {
    let mut kit = Kit::default();
    kit.check(&[
        ("debug object nokey", "-ERR no such key"),
        ("set k v", "+OK"),
        ("rpush l 1 2 3", ":3"),
        ("hset h a 1", ":1"),
    ]);
    kit.advance(5000);
    let clock = (1_700_000_000i64 & 0x00ff_ffff).to_string();
    for (key, encoding, length) in [("k", "embstr", 2), ("l", "listpack", 0), ("h", "listpack", 0)]
    {
        let text = kit.line(&format!("debug object {key}"));
        assert!(text.starts_with("+Value at:0x"), "{text}");
        assert!(
            text.contains(&format!(" refcount:1 encoding:{encoding} serializedlength:")),
            "{text}"
        );
        assert!(text.ends_with(&format!(" lru:{clock} lru_seconds_idle:5")), "{text}");
        assert!(length == 0 || text.contains(&format!("serializedlength:{length} ")), "{text}");
    }
    let at = |kit: &mut Kit| kit.line("debug object h").split(' ').nth(1).map(str::to_string);
    let before = at(&mut kit);
    kit.check(&[("hset h b 2", ":1")]);
    assert_eq!(at(&mut kit), before, "changed in place");
    kit.check(&[
        ("debug sdslen k", "+key_sds_len:1, key_sds_avail:0, key_zmalloc: 8, val_sds_len:1, val_sds_avail:0, val_zmalloc: 8"),
        ("debug sdslen l", "-ERR Not an sds encoded string."),
        ("debug sdslen nokey", "-ERR no such key"),
        ("debug listpack k", "-ERR Not a listpack encoded object."),
        ("debug listpack h", "+Listpack structure printed in the log"),
        ("debug quicklist h", "-ERR Not a quicklist encoded object."),
        ("debug htstats 99", "-ERR Out of range database"),
        ("debug htstats abc", "-ERR value is not an integer or out of range"),
        ("debug htstats-key nokey", "-ERR no such key"),
        ("debug htstats-key h", "-ERR The value stored at the specified key is not represented using an hash table"),
        ("config set hash-max-listpack-entries 1", "+OK"),
        ("hset h c 3", ":1"),
    ]);
    let calls = kit.calls();
    assert!(
        calls[0].starts_with("log 2 DEBUG LISTPACK: ")
            && calls[0].ends_with("bytes, 4 elements: \"a\" \"1\" \"b\" \"2\""),
        "{calls:?}"
    );
    assert!(kit.text("debug htstats 0").contains(" number of elements: 3\n"));
    assert!(kit.text("debug htstats-key h").contains(" number of elements: 3\n"));
}

#[test]
fn big_lists() {
    let mut kit = Kit::default();
    kit.check(&[("config set list-max-listpack-size 2", "+OK"), ("rpush l 1 2 3 4 5", ":5")]);
    let text = kit.line("debug object l");
    assert!(text.contains(" encoding:quicklist "), "{text}");
    assert!(
        text.contains(" ql_nodes:3 ql_avg_node:1.67 ql_listpack_max:2 ql_compressed:0 "),
        "{text}"
    );
    kit.calls();
    kit.check(&[("debug quicklist l 1", "+Quicklist structure printed in the log")]);
    assert_eq!(kit.calls().len(), 4);
}

#[test]
fn populate() {
    let mut kit = Kit::default();
    kit.check(&[
        ("debug populate abc", "-ERR value is out of range, must be positive"),
        ("debug populate -1", "-ERR value is out of range, must be positive"),
        ("debug populate 3 foo abc", "-ERR value is out of range, must be positive"),
        ("set key:1 mine", "+OK"),
        ("debug populate 10000", "+OK"),
        ("dbsize", ":10000"),
        ("get key:1", "$4 mine"),
        ("get key:9999", "$10 value:9999"),
        ("debug populate 3 foo 20", "+OK"),
        ("strlen foo:2", ":20"),
        ("getrange foo:2 0 7", "$8 value:2\0"),
        ("debug populate 1 bar 3", "+OK"),
        ("get bar:0", "$3 val"),
        ("multi", "+OK"),
        ("debug populate 1 baz", "+QUEUED"),
        ("exec", "*1 +OK"),
        ("get baz:0", "$7 value:0"),
    ]);
}

#[test]
fn replies_of_every_type() {
    let wrong = "-ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";
    for (kind, resp2, resp3) in [
        ("string", "$11 Hello World", "$11 Hello World"),
        ("INTEGER", ":12345", ":12345"),
        ("double", "$5 3.141", ",3.141"),
        ("null", "$-1", "_"),
        ("array", "*3 :0 :1 :2", "*3 :0 :1 :2"),
        ("set", "*3 :0 :1 :2", "~3 :0 :1 :2"),
        ("map", "*6 :0 :0 :1 :1 :2 :0", "%3 :0 #f :1 #t :2 #f"),
        (
            "attrib",
            "$39 Some real reply following the attribute",
            "|1 $14 key-popularity *2 $7 key:123 :90 $39 Some real reply following the attribute",
        ),
        (
            "push",
            "-ERR RESP2 is not supported by this command",
            ">2 $16 server-cpu-usage :42 $40 Some real reply following the push reply",
        ),
        ("verbatim", "$25 This is a verbatim\nstring", "=29 txt:This is a verbatim\nstring"),
        ("true", ":1", "#t"),
        ("false", ":0", "#f"),
        (
            "bignum",
            "$37 1234567999999999999999999999999999999",
            "(1234567999999999999999999999999999999",
        ),
        ("foo", wrong, wrong),
    ] {
        let line = format!("debug protocol {kind}");
        assert_eq!(
            (Kit::default().line(&line), Kit::resp3().line(&line)),
            (resp2.into(), resp3.into()),
            "{kind}"
        );
    }
    Kit::default().check(&[
        ("debug error \"FOO bar\"", "-FOO bar"),
        ("debug error \"-X a\"", "--X a"),
        ("debug error \"a\\nb\"", "-a b"),
    ]);
}

#[test]
fn switches() {
    let mut kit = Kit::default();
    kit.check(&[
        ("debug sleep 0.25", "+OK"),
        ("debug sleep abc", "+OK"),
        ("debug sleep -1", "+OK"),
        ("debug log hello", "+OK"),
        ("debug reload", "+OK"),
        ("debug reload nosave NOFLUSH merge", "+OK"),
        ("debug change-repl-id", "+OK"),
        ("debug pause-cron 1", "+OK"),
        ("debug set-active-expire 0", "+OK"),
        ("debug set-skip-checksum-validation 0", "+OK"),
        ("debug set-skip-checksum-validation 1", "-ERR checksums are always verified here"),
        ("multi", "+OK"),
        ("debug reload", "+QUEUED"),
        ("exec", "*1 -ERR DEBUG RELOAD is not possible inside a transaction"),
        ("debug segfault", "-ERR the process did not end"),
    ]);
    assert_eq!(
        kit.calls(),
        [
            "sleep 250000",
            "sleep 0",
            "sleep 0",
            "log 3 DEBUG LOG: hello",
            "reload save=true flush=true",
            "reload save=false flush=false",
            "log 2 Changing replication IDs after receiving change-repl-id",
            "crash segfault",
        ]
    );
    assert!(kit.node.cron_paused.load(Relaxed) && !kit.node.active_expire.load(Relaxed));
    assert!(
        kit.text("info replication")
            .contains("\r\nmaster_replid:0123456789abcdef0123456789abcdef01234567\r\n")
    );
    kit.check(&[
        (
            "debug quicklist-packed-threshold abc",
            "-ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ),
        (
            "debug quicklist-packed-threshold 5gb",
            "-ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ),
        ("debug quicklist-packed-threshold 100b", "+OK"),
    ]);
    assert_eq!(kit.node.settings.load().env.limits.quicklist_packed_threshold, 100);
    kit.check(&[
        ("debug quicklist-packed-threshold 0", "+OK"),
        ("debug config-rewrite-force-all", "+OK"),
    ]);
    assert_eq!(kit.node.settings.load().env.limits.quicklist_packed_threshold, 1 << 30);
    assert!(crate::lock(&kit.notes).config_file.contains("\nmaxclients 10000\n"));
}
