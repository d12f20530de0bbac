//! Tables: variables in, lines out.

use super::{Environment, SENTINEL_DIRECTIVES, VARIABLES, monitored};

fn environment(vars: &[(&str, &str)]) -> Result<Environment, String> {
    let vars = vars.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Environment::read(vars, &|path| match path {
        "/run/secrets/p" => Ok(b"s3cret \"x\"\r\n".to_vec()),
        "/run/secrets/two" => Ok(b"a\nb\n".to_vec()),
        "/run/secrets/empty" => Ok(b"\n".to_vec()),
        _ => Err("No such file or directory".into()),
    })
}

fn data(vars: &[(&str, &str)]) -> Vec<String> {
    let lines = environment(vars).and_then(|env| env.data_lines());
    let lines = lines.unwrap_or_else(|why| panic!("{vars:?}: {why}"));
    lines.into_iter().map(|given| String::from_utf8(given.line).expect("text")).collect()
}

fn sentinel(vars: &[(&str, &str)], file: Option<&str>) -> (String, Vec<String>) {
    let env = environment(vars).unwrap_or_else(|why| panic!("{vars:?}: {why}"));
    let (text, lines) = env.sentinel_lines(file.map(str::as_bytes)).expect("lines");
    let lines = lines.into_iter().map(|given| String::from_utf8(given.line).expect("text"));
    (String::from_utf8(text).expect("text"), lines.collect())
}

/// Variables, and the lines that they become.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn data_nodes() {
    let cases: &[Case] = &[
        (&[], &[]),
        (&[("PATH", "/bin"), ("REDIS_PASSWORD", "")], &[]),
        (&[("REDIS_REPLICATION_MODE", "master")], &[]),
        (&[("REDIS_REPLICATION_MODE", "slave")], &["replicaof redis 6379"]),
        (
            &[
                ("REDIS_REPLICATION_MODE", "Replica"),
                ("REDIS_MASTER_HOST", "db"),
                ("REDIS_MASTER_PORT_NUMBER", "7000"),
                ("REDIS_MASTER_PASSWORD", "m"),
                ("REDIS_PASSWORD", "own # word"),
                ("REDIS_MASTER_SET", "mymaster"),
            ],
            &[
                "replicaof db 7000",
                "requirepass \"own # word\"",
                "masterauth \"own # word\"",
                "masterauth m",
            ],
        ),
        (&[("ALLOW_EMPTY_PASSWORD", "yes")], &["protected-mode no"]),
        (&[("ALLOW_EMPTY_PASSWORD", "no")], &[]),
        (
            &[
                ("REDIS_REPLICA_IP", "10.0.0.1"),
                ("REDIS_REPLICA_PORT", "7"),
                ("REDIS_ACLFILE", "/a"),
            ],
            &["replica-announce-ip 10.0.0.1", "replica-announce-port 7", "aclfile /a"],
        ),
        (&[("REDIS_AOF_ENABLED", "true")], &["appendonly yes"]),
        (
            &[("REDOUBT_MAXMEMORY_POLICY", "allkeys-lru"), ("REDOUBT_SAVE", "900 1 300 10")],
            &["maxmemory-policy allkeys-lru", "save \"900 1 300 10\""],
        ),
        (&[("REDOUBT_SLAVEOF", "redis 6379")], &["replicaof \"redis 6379\""]),
        // What is for the sentinels of the same compose file.
        (&[("REDOUBT_SENTINEL_CRASH_GRACE", "0")], &[]),
        (
            &[("REDIS_PASSWORD_FILE", "/run/secrets/p")],
            &["requirepass \"s3cret \\\"x\\\"\"", "masterauth \"s3cret \\\"x\\\"\""],
        ),
        (&[("REDOUBT_REQUIREPASS_FILE", "/run/secrets/p")], &["requirepass \"s3cret \\\"x\\\"\""]),
        // A directive of its own, not a file with a directive's value.
        (&[("REDOUBT_TLS_CERT_FILE", "/run/secrets/p")], &["tls-cert-file /run/secrets/p"]),
        (
            &[
                ("REDOUBT_PORT", "tcp://10.0.0.1:6379"),
                ("REDOUBT_PORT_6379_TCP_PROTO", "tcp"),
                ("REDOUBT_SERVICE_HOST", "10.0.0.1"),
            ],
            &[],
        ),
    ];
    for (vars, expected) in cases {
        assert_eq!(data(vars), *expected, "{vars:?}");
    }
}

#[test]
fn what_is_refused_names_the_variable() {
    for (vars, why) in [
        (
            &[("REDIS_REPLICATION_MODE", "primary")][..],
            "REDIS_REPLICATION_MODE=primary: it must be",
        ),
        (&[("ALLOW_EMPTY_PASSWORD", "maybe")], "ALLOW_EMPTY_PASSWORD=maybe: it must be yes or no"),
        (&[("REDIS_PASSWORD_FILE", "/nope")], "REDIS_PASSWORD_FILE=/nope: No such file"),
        (&[("REDIS_PASSWORD_FILE", "/run/secrets/two")], "more than one line"),
        (&[("REDIS_PASSWORD_FILE", "/run/secrets/empty")], "the file is empty"),
        (
            &[("REDIS_PASSWORD", "x"), ("REDIS_PASSWORD_FILE", "/run/secrets/p")],
            "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set",
        ),
        (
            &[("REDOUBT_REQUIREPASS", "x"), ("REDOUBT_REQUIREPASS_FILE", "/run/secrets/p")],
            "are both set",
        ),
        (&[("REDOUBT_REQUIREPAS", "x")], "Did you mean REDOUBT_REQUIREPASS?"),
        (&[("REDOUBT_LOADMODULE", "x")], "there is no directive 'loadmodule'"),
        (&[("REDOUBT_SENTINEL_NONSENSE", "x")], "there is no directive 'sentinel-nonsense'"),
    ] {
        let outcome = environment(vars).and_then(|env| env.data_lines());
        let error = outcome.expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn roles() {
    for (vars, is_sentinel) in [
        (&[][..], false),
        (&[("REDIS_PASSWORD", "x")], false),
        (&[("REDIS_MASTER_SET", "redis")], true),
        (&[("REDIS_SENTINEL_QUORUM", "2")], true),
        (&[("REDIS_SENTINEL_PASSWORD_FILE", "/run/secrets/p")], true),
        (&[("REDOUBT_SENTINEL_CRASH_GRACE", "0")], true),
        (&[("REDIS_SENTINEL_QUORUM", "2"), ("REDIS_REPLICATION_MODE", "master")], false),
        (&[("REDIS_SENTINEL_SERVICE_HOST", "10.0.0.1")], false),
    ] {
        let env = environment(vars).expect("good variables");
        assert_eq!(env.is_sentinel(), is_sentinel, "{vars:?}");
    }
}

#[test]
fn a_sentinel_without_a_file() {
    let (text, lines) = sentinel(&[], None);
    assert_eq!(text, "");
    assert_eq!(
        lines,
        [
            "sentinel resolve-hostnames yes",
            "sentinel monitor mymaster redis 6379 2",
            "sentinel down-after-milliseconds mymaster 60000",
            "sentinel failover-timeout mymaster 180000",
        ]
    );
    let vars = [
        ("REDIS_MASTER_SET", "redis"),
        ("REDIS_MASTER_HOST", "10.0.0.1"),
        ("REDIS_SENTINEL_QUORUM", "3"),
        ("REDIS_SENTINEL_DOWN_AFTER_MILLISECONDS", "3000"),
        ("REDIS_SENTINEL_PASSWORD", "s"),
        ("REDIS_SENTINEL_PORT_NUMBER", "26380"),
        ("REDIS_PASSWORD", "shared"),
        ("REDIS_MASTER_PASSWORD", "master"),
        ("RESOLVE_HOSTNAMES", "no"),
        ("REDIS_SENTINEL_ANNOUNCE_IP", "10.0.0.9"),
        ("REDIS_SENTINEL_ANNOUNCE_PORT", "26390"),
        ("REDIS_SENTINEL_ANNOUNCE_HOSTNAMES", "1"),
        ("REDIS_ACLFILE", "/acl"),
        ("REDOUBT_SENTINEL_CRASH_GRACE", "0"),
        ("REDOUBT_LOGLEVEL", "verbose"),
    ];
    let lines = sentinel(&vars, None).1;
    for line in [
        "sentinel monitor redis 10.0.0.1 6379 3",
        "sentinel auth-pass redis shared",
        "sentinel auth-pass redis master",
        "aclfile /acl",
        "port 26380",
        "requirepass s",
        "sentinel announce-ip 10.0.0.9",
        "sentinel announce-port 26390",
        "sentinel announce-hostnames yes",
        "sentinel crash-grace redis 0",
        "loglevel verbose",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:?}");
    }
    let last = |start: &str| lines.iter().rfind(|l| l.starts_with(start)).cloned();
    assert_eq!(
        last("sentinel down-after").as_deref(),
        Some("sentinel down-after-milliseconds redis 3000")
    );
    assert_eq!(last("sentinel resolve").as_deref(), Some("sentinel resolve-hostnames no"));
}

#[test]
fn a_sentinel_with_a_file() {
    let file = "port 26379 # 포트\nsentinel monitor mine redis-master 6379 2 # it's mine\n\
                sentinel down-after-milliseconds mine 5000\n";
    let (text, lines) = sentinel(&[], Some(file));
    assert_eq!((text.as_str(), lines.len()), (file, 0), "without variables the file stays");
    let vars = [
        ("REDIS_SENTINEL_DOWN_AFTER_MILLISECONDS", "7"),
        ("REDIS_SENTINEL_QUORUM", "3"),
        ("REDIS_MASTER_HOST", "db"),
    ];
    let (text, lines) = sentinel(&vars, Some(file));
    assert!(text.contains("sentinel monitor mine db 6379 3\n"), "{text}");
    assert_eq!(lines, ["sentinel down-after-milliseconds mine 7"]);
    // Where the file holds a state, the master's address is a failover's outcome.
    let (text, _) = sentinel(&vars, Some(&format!("{file}sentinel myid {}\n", "a".repeat(40))));
    assert!(text.contains("sentinel monitor mine redis-master 6379 3\n"), "{text}");
    // A group that the file does not have.
    let (text, lines) = sentinel(&[("REDIS_MASTER_SET", "other")], Some(file));
    assert_eq!(text, file);
    assert!(lines.contains(&"sentinel monitor other redis 6379 2".to_string()), "{lines:?}");
}

#[test]
fn monitor_lines() {
    assert_eq!(monitored(b" SENTINEL Monitor a b 1 2 # c").as_deref(), Some("a"));
    for line in [&b"sentinel monitor a b 1"[..], b"", b"# sentinel monitor a b 1 2", b"sentinel x"]
    {
        assert_eq!(monitored(line), None);
    }
}

/// The page of variables names every one of them.
#[test]
fn the_reference_is_complete() {
    let page = include_str!("../../../../../docs/containers.md");
    for row in VARIABLES {
        let line = format!("| `{}` | {} |", row.name, row.doc);
        assert!(page.contains(&line), "docs/containers.md lacks the row\n{line}");
    }
    for (name, _) in SENTINEL_DIRECTIVES {
        let name = format!("REDOUBT_SENTINEL_{}", name.to_ascii_uppercase().replace('-', "_"));
        assert!(page.contains(&format!("`{name}`")), "docs/containers.md lacks {name}");
    }
}
