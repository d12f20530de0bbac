//! MEMORY, LATENCY, SLOWLOG, LOLWUT, MODULE, and commands that are to come.

use crate::testkit::Kit;
use resp::Value;

#[test]
fn memory() {
    let mut kit = Kit::default();
    kit.check(&[
        ("set k v", "+OK"),
        ("memory", "-ERR wrong number of arguments for 'memory' command"),
        ("memory foo", "-ERR unknown subcommand 'foo'. Try MEMORY HELP."),
        ("memory usage", "-ERR wrong number of arguments for 'memory|usage' command"),
        ("memory usage nokey", "$-1"),
        ("memory usage k samples", "-ERR syntax error"),
        ("memory usage k samples abc", "-ERR value is not an integer or out of range"),
        ("memory usage k samples -1", "-ERR syntax error"),
        ("memory usage k foo 0", "-ERR syntax error"),
        ("memory purge", "+OK"),
        ("memory malloc-stats", "$12 allocated 1\n"),
        ("memory doctor x", "-ERR wrong number of arguments for 'memory|doctor' command"),
    ]);
    let usage = kit.value("memory usage k").as_i64().expect("a number");
    assert!((20..100).contains(&usage), "{usage}");
    assert_eq!(kit.calls(), ["purge"]);
    assert!(kit.text("memory doctor").contains("very little data"));
    let Value::Array(flat) = kit.value("memory stats") else { panic!("a flat array") };
    assert_eq!(flat.len(), 56);
    let mut kit = Kit::resp3();
    kit.line("set k v");
    let Value::Map(pairs) = kit.value("memory stats") else { panic!("a map") };
    let names: Vec<&str> = pairs.iter().filter_map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "peak.allocated",
            "total.allocated",
            "startup.allocated",
            "replication.backlog",
            "clients.slaves",
            "clients.normal",
            "cluster.links",
            "aof.buffer",
            "lua.caches",
            "functions.caches",
            "db.0",
            "overhead.total",
            "keys.count",
            "keys.bytes-per-key",
            "dataset.bytes",
            "dataset.percentage",
            "peak.percentage",
            "allocator.allocated",
            "allocator.active",
            "allocator.resident",
            "allocator-fragmentation.ratio",
            "allocator-fragmentation.bytes",
            "allocator-rss.ratio",
            "allocator-rss.bytes",
            "rss-overhead.ratio",
            "rss-overhead.bytes",
            "fragmentation",
            "fragmentation.bytes",
        ]
    );
    assert_eq!(pairs[16].1, Value::Double(75.0));
    assert_eq!(pairs[12].1, Value::Int(1));
}

#[test]
fn slow_commands() {
    let mut kit = Kit::default();
    kit.check(&[
        ("slowlog foo", "-ERR unknown subcommand 'foo'. Try SLOWLOG HELP."),
        ("slowlog get", "*0"),
        ("client setname me", "+OK"),
        ("debug sleep 0.02", "+OK"),
        ("debug sleep 0.001", "+OK"),
        ("slowlog len", ":1"),
        (
            "slowlog get",
            "*1 *6 :0 :1700000000 :20000 *3 $5 debug $5 sleep $4 0.02 $15 127.0.0.1:40001 $2 me",
        ),
        ("config set slowlog-log-slower-than 0 slowlog-max-len 3", "+OK"),
        ("set a b", "+OK"),
        ("set c d", "+OK"),
        ("config set slowlog-log-slower-than -1", "+OK"),
        ("slowlog len", ":3"),
        ("slowlog get -2", "-ERR count should be greater than or equal to -1"),
        ("slowlog get abc", "-ERR count should be greater than or equal to -1"),
        (
            "slowlog get 1 2",
            "-ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
        ),
    ]);
    let count = |kit: &mut Kit, line: &str| kit.value(line).as_array().map(<[Value]>::len);
    assert_eq!(
        (count(&mut kit, "slowlog get -1"), count(&mut kit, "slowlog get 1")),
        (Some(3), Some(1))
    );
    kit.check(&[("slowlog reset", "+OK"), ("slowlog len", ":0")]);
}

#[test]
fn latency() {
    let mut kit = Kit::new(|config| config.latency_monitor_threshold = 5);
    assert!(kit.text("latency doctor").starts_with("No latency spike"));
    kit.check(&[
        ("latency foo", "-ERR unknown subcommand 'foo'. Try LATENCY HELP."),
        ("latency graph", "-ERR wrong number of arguments for 'latency|graph' command"),
        ("latency latest", "*0"),
        ("latency graph command", "-ERR No samples available for event 'command'"),
        ("debug sleep 0.02", "+OK"),
        ("debug sleep 0.001", "+OK"),
    ]);
    kit.advance(3000);
    kit.check(&[
        ("debug sleep 0.01", "+OK"),
        ("latency latest", "*1 *4 $7 command :1700000003 :10 :20"),
        ("latency history command", "*2 *2 :1700000000 :20 *2 :1700000003 :10"),
        ("latency history foo", "*0"),
    ]);
    let graph = kit.text("latency graph command");
    assert!(
        graph.starts_with("command - high 20 ms, low 10 ms (all time high 20 ms)\n---"),
        "{graph}"
    );
    let doctor = kit.text("latency doctor");
    assert!(doctor.contains("1. command: 2 latency spikes (average 15ms, mean deviation 5ms). Worst all time event 20ms."));
    assert!(doctor.contains("slowlog-log-slower-than 5000"), "{doctor}");
    kit.check(&[
        ("latency reset foo", ":0"),
        ("latency reset foo command", ":1"),
        ("latency reset", ":0"),
        ("latency latest", "*0"),
        ("config set latency-monitor-threshold 0", "+OK"),
    ]);
    assert!(kit.text("latency doctor").starts_with("The latency monitor is off."));
}

#[test]
fn histograms() {
    let mut kit = Kit::resp3();
    kit.check(&[
        ("latency histogram set", "%0"),
        ("set a b", "+OK"),
        ("set a c", "+OK"),
        ("config get nosuch", "%0"),
        ("debug sleep 0.001", "+OK"),
        ("latency histogram set foo", "%1 $3 set %2 $5 calls :2 $14 histogram_usec %1 :1 :2"),
        (
            "latency histogram config",
            "%1 $10 config|get %2 $5 calls :1 $14 histogram_usec %1 :1 :1",
        ),
        ("latency histogram debug", "%1 $5 debug %2 $5 calls :1 $14 histogram_usec %1 :1056 :1"),
        ("config resetstat", "+OK"),
        ("latency histogram set", "%0"),
    ]);
    let Value::Map(all) = kit.value("latency histogram") else { panic!("a map") };
    let names: Vec<&str> = all.iter().filter_map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["config|resetstat", "latency|histogram"]);
}

#[test]
fn what_is_not_here() {
    let mut kit = Kit::default();
    kit.check(&[
        ("module list", "*0"),
        ("module foo", "-ERR unknown subcommand 'foo'. Try MODULE HELP."),
        ("module load /x.so", "-ERR Redoubt does not load modules"),
        ("module unload foo", "-ERR Error unloading module: no such module with that name"),
        ("acl whoami", "$7 default"),
        ("acl foo", "-ERR unknown subcommand 'foo'. Try ACL HELP."),
        ("cluster info", "-ERR This instance has cluster support disabled"),
        ("readonly", "-ERR This instance has cluster support disabled"),
        ("multi", "+OK"),
        ("migrate 127.0.0.1 1 k 0 5", "-ERR MIGRATE is not supported yet"),
        ("exec", "-EXECABORT Transaction discarded because of previous errors."),
        ("lolwut version abc", "-ERR value is not an integer or out of range"),
    ]);
    assert!(kit.text("lolwut version 5 1 2").contains("Redis ver. 7.4.0\n"));
    for container in ["client", "command", "debug", "memory", "latency", "slowlog", "module"] {
        let help = kit.value(&format!("{container} help"));
        let first = help.as_array().and_then(|lines| lines[0].as_str().map(str::to_string));
        let upper = container.to_ascii_uppercase();
        assert_eq!(
            first,
            Some(format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"))
        );
    }
}
