//! Comparisons with what a redis-server 7.0.15 did (`testdata/*-7.0.tsv`; texts are quoted as in
//! configuration files), round trips, and properties of any input.

use config::{
    Action, CommandLine, Config, DIRECTIVES, Directive, HostPort, LoadError, Loaded, Loader,
    Mutability, REWRITE_MARKER, Rewrite, SetError, SetRules, nearest_name, reference_page,
    refuse_module, split_words,
};
use proptest::prelude::*;

const VERSION: &str = "7.0.15";

/// The rows of a table, each field split into its words.
fn table(text: &str) -> Vec<Vec<Vec<Vec<u8>>>> {
    let rows: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').map(|field| split_words(field.as_bytes()).unwrap()).collect())
        .collect();
    assert!(rows.len() > 40, "the table was not read");
    rows
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn no_include(path: &[u8], _: &Config) -> config::Included {
    Err(LoadError::Unreadable { path: path.into(), reason: "No such file or directory".into() })
}

fn load(source: &[u8], sentinel: bool) -> Result<Loaded, LoadError> {
    let mut loader = Loader::new(sentinel);
    loader.load(source, &mut |path, config| {
        if path.ends_with(b"i.conf") {
            Ok(vec![b"hz 11\n".to_vec()])
        } else if path.ends_with(b"c.conf") {
            Ok(vec![b"port 0\nmaxclients 100\n".to_vec()])
        } else if path.ends_with(b"*.conf") {
            Ok(Vec::new())
        } else {
            no_include(path, config)
        }
    })?;
    loader.finish()
}

fn load_ok(source: &str) -> Loaded {
    load(source.as_bytes(), false).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn reason(source: &str) -> String {
    match load(source.as_bytes(), false) {
        Err(LoadError::Line { reason, .. } | LoadError::General(reason)) => reason,
        other => panic!("{source}: {other:?}"),
    }
}

fn set(config: &Config, args: &[&str]) -> Result<Config, String> {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let rules = SetRules { protected_allowed: false, loading: false };
    config.prepare_set(&args, rules).map(|p| p.config).map_err(|e| e.to_string())
}

#[test]
fn names_defaults_and_mutability() {
    let config = Config::default();
    let rows = table(include_str!("../testdata/directives-7.0.tsv"));
    for row in &rows {
        let (name, default, mutable) = (text(&row[0][0]), &row[1][0], text(&row[2][0]));
        let directive = Directive::find(name.as_bytes()).unwrap_or_else(|| panic!("no {name}"));
        assert!(directive.names().any(|known| known == name));
        assert_eq!(text(&directive.show(&config)), text(default), "{name}");
        let is_mutable = directive.mutability == Mutability::Runtime;
        assert_eq!(is_mutable, mutable == "yes", "{name}");
        assert!(!directive.is_hidden(), "{name}");
    }
    // What else is listed is known to be newer or ours.
    let listed: Vec<String> = config.get(&[b"*"]).iter().map(|(name, _)| text(name)).collect();
    let newer: Vec<&String> =
        listed.iter().filter(|name| !rows.iter().any(|row| row[0][0] == name.as_bytes())).collect();
    let expected = [
        "announce-view",
        "cluster-announce-human-nodename",
        "empty-master-guard",
        "extra-ports",
        "locale-collate",
        "max-new-connections-per-cycle",
        "max-new-tls-connections-per-cycle",
        "set-max-listpack-entries",
        "set-max-listpack-value",
        "shutdown-handover",
        "snapshot-memory-max",
        "threads",
    ];
    assert_eq!(newer, expected);
    assert!(listed.is_sorted());
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = DIRECTIVES.iter().flat_map(Directive::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
}

/// Replies that 7.0 gives when a side effect fails; the node's business here.
fn is_side_effect(reply: &str) -> bool {
    reply.contains("operating system is not able") || reply.contains("Failed to set current oom")
}

#[test]
fn config_set_session() {
    let mut config = load_ok("save \"\"").config;
    let mut compared = 0;
    for row in table(include_str!("../testdata/config-set-7.0.tsv")) {
        let args: Vec<&[u8]> = row[0].iter().map(Vec::as_slice).collect();
        let (reply, value) = (text(&row[1][0]), text(&row[2][0]));
        // 7.0 refuses this one only while there is no socket.
        if is_side_effect(&reply) || args[1] == b"{unixsocket}" {
            continue;
        }
        let ours = match config.prepare_set(&args, SetRules::default()) {
            Ok(prepared) => {
                config = prepared.config;
                "+OK".to_string()
            }
            Err(error) => format!("-{error}"),
        };
        let shown: Vec<String> = args.iter().map(|arg| text(arg)).collect();
        assert_eq!(ours, reply, "CONFIG SET {shown:?}");
        if args[0] == b"dir" || args[0] == b"port" {
            continue; // Those are the recorded process's own.
        }
        let got = config.get(&args[..1]);
        let got = got.first().map(|(_, value)| text(value)).unwrap_or_default();
        assert_eq!(got, value, "CONFIG GET after CONFIG SET {shown:?}");
        compared += 1;
    }
    assert!(compared > 2500, "only {compared} compared");
}

#[test]
fn files() {
    for row in table(include_str!("../testdata/files-7.0.tsv")) {
        let source = &row[0][0];
        if source.starts_with(b"port 0 #") {
            continue; // A comment here, on purpose: see the test of third words.
        }
        let ours = match load(source, false) {
            Ok(_) => String::new(),
            Err(error @ LoadError::Unreadable { .. }) => {
                assert!(text(source).starts_with("include"));
                assert!(error.message(VERSION).starts_with(b"Fatal error, can't open config file"));
                continue;
            }
            Err(error) => text(&error.message(VERSION)),
        };
        assert_eq!(ours, text(&row[1][0]), "{}", text(source));
    }
}

/// As redis-server 7.0.15 does with the same lines.
#[test]
fn renames() {
    let is_command = |name: &[u8]| [&b"get"[..], b"set", b"config"].contains(&name);
    let load = |source: &str| {
        let mut loader = Loader::new(false).with_commands(is_command);
        loader.load(source.as_bytes(), &mut |path, config| no_include(path, config))?;
        loader.finish()
    };
    let wrong = |source: &str| match load(source) {
        Err(LoadError::Line { number, reason, .. }) => (number, reason),
        other => panic!("{source}: {other:?}"),
    };
    let (gone, taken) = ("No such command in rename-command", "Target command name already exists");
    for (source, at, reason) in [
        ("rename-command nosuch x", 1, gone),
        ("rename-command config|get x", 1, gone),
        ("rename-command get set", 1, taken),
        ("rename-command get \"\"\nrename-command GET x", 2, gone),
        ("rename-command get x\nrename-command set X", 2, taken),
        ("rename-command get x\nport z", 2, "argument couldn't be parsed into an integer"),
    ] {
        assert_eq!(wrong(source), (at, reason.to_string()), "{source}");
    }
    for source in [
        "rename-command get GeT",
        "rename-command get x\nrename-command X y\nrename-command set get",
        "rename-command get x\nrename-command x \"\"\nrename-command set x",
    ] {
        assert!(load(source).is_ok(), "{source}");
    }
}

#[test]
fn all_problems_at_once() {
    let source = "port x\ninclude i.conf\nhz 11\ninclude none\ntimeout -1\n\ncluster-enabled yes\n\
                  replicaof 127.0.0.1 1\n";
    let mut loader = Loader::new(false).collecting();
    let included = |path: &[u8], config: &Config| match path {
        b"i.conf" => Ok(vec![b"\nmaxclients 0\n".to_vec()]),
        path => no_include(path, config),
    };
    loader.load(source.as_bytes(), &mut { included }).unwrap();
    let (loaded, problems) = loader.check();
    assert_eq!(loaded.config.hz, 11);
    let shown: Vec<(Vec<usize>, String)> = problems
        .iter()
        .map(|p| (p.via.iter().map(|line| line.number).collect(), p.error.to_string()))
        .collect();
    let main = Vec::new;
    assert_eq!(
        shown,
        [
            (main(), "line 1, 'port x': argument couldn't be parsed into an integer".to_string()),
            (
                vec![2],
                "line 2, 'maxclients 0': argument must be between 1 and 4294967295 inclusive"
                    .into()
            ),
            (main(), "can't open config file 'none': No such file or directory".into()),
            (
                main(),
                "line 5, 'timeout -1': argument must be between 0 and 2147483647 inclusive".into()
            ),
            (main(), "replicaof directive not allowed in cluster mode".into()),
        ]
    );
}

#[test]
fn command_lines() {
    for row in table(include_str!("../testdata/argv-7.0.tsv")) {
        let args = &row[0];
        let line = CommandLine::parse(args, false);
        assert_eq!(line.action, Action::Run);
        let file: &[u8] = match line.file.as_deref() {
            None => b"",
            Some(b"c.conf") => b"port 0\nmaxclients 100\n",
            Some(b"nl.conf") => b"port 0\nmaxclients 100",
            Some(b"s.conf") => b"port 0\nsentinel monitor m 127.0.0.1 1 1\n",
            Some(other) => panic!("{}", text(other)),
        };
        let stdin: &[u8] = if line.stdin { b"maxclients 7\n" } else { b"" };
        let ours = match load(&line.config_text(file, stdin), line.sentinel) {
            Ok(_) => String::new(),
            // 7.2 has one level more.
            Err(error) => text(&error.message(VERSION)).replace("warning, nothing", "warning"),
        };
        let shown: Vec<String> = args.iter().map(|arg| text(arg)).collect();
        assert_eq!(ours, text(&row[1][0]), "{shown:?}");
    }
}

fn command_line(args: &[&str]) -> CommandLine {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    CommandLine::parse(&args, false)
}

#[test]
fn command_line_actions() {
    assert_eq!(command_line(&["--version", "x"]).action, Action::Version);
    assert_eq!(command_line(&["-v"]).action, Action::Version);
    assert_eq!(command_line(&["-h"]).action, Action::Help);
    assert_eq!(command_line(&["--check-system"]).action, Action::CheckSystem);
    assert_eq!(command_line(&["--test-memory", "5"]).action, Action::TestMemory(Some("5".into())));
    assert_eq!(command_line(&["--test-memory"]).action, Action::TestMemory(None));
    assert_eq!(command_line(&["--test-memory", "5", "6"]).action, Action::TestMemory(None));
    assert_eq!(command_line(&["--port", "1", "--version"]).action, Action::Run);
    assert!(command_line(&["a.conf", "--sentinel"]).sentinel);
    assert!(!command_line(&["a.conf"]).sentinel);
    assert!(CommandLine::parse(&[b"a.conf".to_vec()], true).sentinel);
    assert_eq!(command_line(&[]), command_line(&[""]));
}

/// The forms that Redis's own suite starts servers with.
#[test]
fn command_line_values() {
    let values = |args: &[&str]| {
        let line = command_line(args);
        load(&line.config_text(b"", b""), line.sentinel).unwrap().config
    };
    assert_eq!(values(&["--maxmemory 700mb"]).maxmemory, 700 << 20);
    assert_eq!(values(&["--logfile", "--my--log--file"]).logfile, "--my--log--file");
    assert!(values(&["--save", ""]).save.is_empty());
    assert!(values(&["--save"]).save.is_empty());
    let config = values(&["--save", "--port", "7"]);
    assert!(config.save.is_empty() && config.port == 7);
    assert_eq!(values(&["--save", "100", "100"]).save.len(), 1);
    assert_eq!(values(&["--save", "1 1", "--save", "2 2"]).save.len(), 2);
    let config = values(&["--shutdown-on-sigint", "nosave", "force", "now"]);
    assert!(config.shutdown_on_sigint.nosave && config.shutdown_on_sigint.now);
    assert_eq!(values(&["--replicaof", "h", "5"]).replicaof.unwrap().port, 5);
    assert_eq!(values(&["--bind", "a", "b"]).bind, ["a", "b"]);
    assert_eq!(values(&["--sentinel", "--port", "9"]).port, 9);
    assert_eq!(values(&["--sentinel"]).port, 26379);
    assert!(!values(&["--sentinel"]).protected_mode);
}

/// Splits at the marker: what stands before has a fixed order, what was appended follows a hash
/// table's order in Redis.
fn parts(file: &str) -> (String, Vec<String>) {
    let marker = format!("{REWRITE_MARKER}\n");
    let Some((head, tail)) = file.split_once(&marker) else {
        return (file.to_string(), Vec::new());
    };
    let mut tail: Vec<String> =
        tail.lines().filter(|line| !line.is_empty()).map(String::from).collect();
    tail.sort();
    (head.to_string(), tail)
}

#[test]
fn rewritten_files() {
    for row in table(include_str!("../testdata/rewrite-7.0.tsv")) {
        let source = text(&row[0][0]).replace("PORT", "7777");
        let expected = text(&row[2][0]).replace("PORT", "7777");
        let mut config = load_ok(&source).config;
        config.dir = "DIR".into();
        for change in row[1].split(|word| word == b";") {
            let args: Vec<&[u8]> = change.iter().map(Vec::as_slice).collect();
            match args.as_slice() {
                [] => {}
                [b"replicaof", b"no", b"one"] => config.replicaof = None,
                [b"replicaof", host, port] => {
                    let port = text(port).parse().unwrap();
                    config.replicaof = Some(HostPort { host: text(host), port });
                }
                args => config = config.prepare_set(args, SetRules::default()).unwrap().config,
            }
        }
        let users: Vec<Vec<u8>> = expected
            .lines()
            .filter(|line| line.starts_with("user "))
            .map(|line| line.as_bytes().to_vec())
            .collect();
        let ours = text(&config.rewritten(source.as_bytes(), &users));
        assert_eq!(parts(&ours), parts(&expected), "{source}");
        // A second rewrite changes nothing but may add one blank line, as Redis's does; lines of
        // client classes move in further rewrites, in Redis too.
        if ours.contains("client-output-buffer-limit") {
            continue;
        }
        let again = text(&config.rewritten(ours.as_bytes(), &users));
        assert_eq!(again.trim_end(), ours.trim_end(), "{source}");
        assert_eq!(text(&config.rewritten(again.as_bytes(), &users)), again, "{source}");
    }
}

#[test]
fn sentinel_state_goes_through_the_same_rewrite() {
    let source = "# top\nport 5000\nsentinel monitor m 127.0.0.1 1 2\n# mid\n\
                  SENTINEL known-slave m 127.0.0.1 2\nsentinel known-replica m 127.0.0.1 3\n\
                  sentinel auth-pass m xx\nsave 1 1\nsentinel resolve-hostnames no\n";
    let loaded = load(source.as_bytes(), true).unwrap();
    assert_eq!(loaded.sentinel.len(), 5);
    assert_eq!(loaded.sentinel[1].words[1], b"known-slave");
    assert_eq!(loaded.sentinel[1].number, 5);
    let mut config = loaded.config;
    config.dir = "/d".into();
    let mut rewrite = Rewrite::new(source.as_bytes());
    config.rewrite_into(&mut rewrite, true);
    rewrite.put("sentinel monitor", "sentinel monitor m 127.0.0.1 9 2".into(), true);
    rewrite.put("sentinel known-replica", "sentinel known-replica m 127.0.0.1 1".into(), true);
    rewrite.put("sentinel myid", "sentinel myid abc".into(), true);
    rewrite.mark_processed("sentinel resolve-hostnames");
    assert_eq!(
        text(&rewrite.finish()),
        "# top\nport 5000\nsentinel monitor m 127.0.0.1 9 2\n# mid\n\
         sentinel known-replica m 127.0.0.1 1\n\nsentinel auth-pass m xx\n\n\
         # Generated by CONFIG REWRITE\nprotected-mode no\ndir \"/d\"\n\
         latency-tracking-info-percentiles 50 99 99.9\nsentinel myid abc\n"
    );
}

#[test]
fn force_all_writes_every_line() {
    let config = Config::default();
    let mut rewrite = Rewrite::new(b"");
    rewrite.force_all();
    config.rewrite_into(&mut rewrite, false);
    let file = text(&rewrite.finish());
    for line in
        ["maxmemory 0", "repl-backlog-size 1mb", "client-output-buffer-limit replica 256mb 64mb 60"]
    {
        assert!(file.lines().any(|l| l == line), "{line}");
    }
    // `dir` is the caller's to fill in before it rewrites.
    let mut loaded = load_ok(&file.replace("dir \"\"\n", "")).config;
    loaded.dir = config.dir.clone();
    assert_eq!(loaded, config);
}

#[test]
fn config_get() {
    let config = Config::default();
    let get = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|p| p.as_bytes()).collect();
        config.get(&patterns).iter().map(|(n, v)| format!("{}={}", text(n), text(v))).collect()
    };
    assert_eq!(get(&["LOGLEVEL"]), ["LOGLEVEL=notice"]);
    assert_eq!(get(&["watchdog*"]), Vec::<String>::new());
    assert_eq!(get(&["watchdog-period"]), ["watchdog-period=0"]);
    assert_eq!(get(&["nosuch", "", "\\hz"]), Vec::<String>::new());
    assert_eq!(get(&["h?", "hz"]), ["hz=10"]);
    assert_eq!(
        get(&["HASH-max-ziplist-entries", "hash-max-ziplist-*"]),
        ["HASH-max-ziplist-entries=512", "hash-max-ziplist-value=64"]
    );
    assert_eq!(get(&["[hm]z", "SAVE"]), ["hz=10", "SAVE=3600 1 300 100 60 10000"]);
}

#[test]
fn changes_of_a_set() {
    let config = Config::default();
    let args: Vec<&[u8]> = vec![
        b"maxmemory",
        b"1gb",
        b"hz",
        b"10",
        b"slave-priority",
        b"7",
        b"replica-priority",
        b"8",
    ];
    let prepared = config.prepare_set(&args, SetRules::default()).unwrap();
    let changes: Vec<(&str, &str, String, String)> = prepared
        .changes
        .iter()
        .map(|c| (c.directive.name, c.name, text(&c.old), text(&c.new)))
        .collect();
    assert_eq!(
        changes,
        [
            ("maxmemory", "maxmemory", "0".into(), "1073741824".into()),
            ("replica-priority", "replica-priority", "100".into(), "8".into()),
        ]
    );
    assert_eq!(config, Config::default());
    assert_eq!(
        SetError::not_applied("port", "Unable to listen on this port. Check server logs.")
            .to_string(),
        "ERR CONFIG SET failed (possibly related to argument 'port') - \
         Unable to listen on this port. Check server logs."
    );
}

#[test]
fn protected_and_loading() {
    let config = Config::default();
    let dir: &[&[u8]] = &[b"dir", b"/tmp", b"dbfilename", b"x.rdb"];
    let refused = config.prepare_set(dir, SetRules::default()).unwrap_err();
    assert!(refused.to_string().ends_with("argument 'dir') - can't set protected config"));
    let allowed = SetRules { protected_allowed: true, loading: false };
    assert_eq!(config.prepare_set(dir, allowed).unwrap().config.dir, "/tmp");
    let loading = SetRules { protected_allowed: true, loading: true };
    let args: &[&[u8]] = &[b"nosuch", b"1", b"dir", b"/tmp"];
    assert_eq!(
        config.prepare_set(args, loading).unwrap_err().to_string(),
        "LOADING Redis is loading the dataset in memory"
    );
    assert!(config.prepare_set(&[b"hz", b"5"], loading).is_ok());
    let path: &[&[u8]] = &[b"dbfilename", b"a/b"];
    assert!(config.prepare_set(path, allowed).unwrap_err().to_string().contains("can't be a path"));
    assert_eq!(config.prepare_set(&[b"hz"], allowed).unwrap_err().to_string(), "ERR syntax error");
}

#[test]
fn every_listed_value_can_be_set_again() {
    let config = Config::default();
    for row in DIRECTIVES.iter().filter(|row| row.mutability == Mutability::Runtime) {
        for name in row.names() {
            let value = text(&row.show(&config));
            let after = set(&config, &[name, &value]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(after == config, "{name}");
        }
    }
}

#[test]
fn where_we_differ_from_7_0() {
    let config = Config::default();
    // 7.2 knows a level without any log.
    assert_eq!(load_ok("loglevel nothing").config.loglevel, config::LogLevel::Nothing);
    // 7.0 loses `n` beside `A`.
    let all = set(&config, &["notify-keyspace-events", "KEAn"]).unwrap();
    assert_eq!(text(&all.get(&[b"notify-keyspace-events"])[0].1), "AnKE");
    // Sizes beyond 64 bits wrap around silently in Redis.
    for size in ["18446744073709551616", "99999999999gb", "17179869184gb"] {
        let error = set(&config, &["maxmemory", size]).unwrap_err();
        assert!(error.ends_with("argument must be a memory value"), "{error}");
    }
    // A file may ask for defragmentation; a client is told that there is none.
    assert!(load_ok("activedefrag yes").config.activedefrag);
    assert!(set(&config, &["activedefrag", "yes"]).unwrap_err().contains("Active defrag"));
    // A file that includes itself.
    let mut loader = Loader::new(false);
    let endless =
        loader.load(b"include me\n", &mut |_, _| Ok(vec![b"include me\n".to_vec()])).unwrap_err();
    assert_eq!(endless.to_string(), "line 1, 'include me': Files include each other too deeply");
}

#[test]
fn worker_threads() {
    assert_eq!(load_ok("").config.worker_threads(), None);
    assert_eq!(load_ok("io-threads 1").config.worker_threads(), None);
    assert_eq!(load_ok("io-threads 4").config.worker_threads(), Some(4));
    assert_eq!(load_ok("io-threads 4\nthreads 2").config.worker_threads(), Some(2));
    assert_eq!(load_ok("threads 0\nio-threads 3").config.worker_threads(), Some(3));
    assert_eq!(load_ok("threads 1").config.worker_threads(), Some(1));
}

#[test]
fn lines_of_other_rooms() {
    let loaded = load_ok(
        "user a on >pw ~*\nrename-command GET \"\"\nloadmodule /lib/x.so a b\nx.y 5\nuser b off\n",
    );
    assert_eq!(loaded.users.len(), 2);
    assert_eq!(loaded.users[1].words, [b"user".to_vec(), b"b".to_vec(), b"off".to_vec()]);
    assert_eq!(loaded.renames[0].words[2], b"");
    assert_eq!(loaded.module_settings[0].number, 4);
    let refusal = text(&refuse_module(&loaded.modules[0]).message(VERSION));
    assert!(refusal.contains("at line 3\n>>> 'loadmodule /lib/x.so a b'\n"));
    assert!(refusal.contains("'x.so'"));
    let error = load_ok("dir /nope").error_at("dir", "No such file or directory");
    assert_eq!(
        text(&error.message("7.0.15")),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 1\n\
         >>> 'dir /nope'\nNo such file or directory\n"
    );
    let error = load_ok("").error_at("logfile", "Can't open the log file: Permission denied");
    assert_eq!(
        text(&error.message("7.0.15")),
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nCan't open the log file: Permission denied\n"
    );
}

#[test]
fn save_lines_add_up() {
    let points = |source: &str| -> Vec<(u64, u64)> {
        load_ok(source).config.save.iter().map(|p| (p.secs, p.changes)).collect()
    };
    assert_eq!(points(""), [(3600, 1), (300, 100), (60, 10000)]);
    assert_eq!(points("save 9 1"), [(9, 1)]);
    assert_eq!(points("save 9 1\nsave 8 2"), [(9, 1), (8, 2)]);
    assert_eq!(points("save 9 1 8 2"), [(9, 1), (8, 2)]);
    assert_eq!(points("save '9 1 8 2'"), [(9, 1), (8, 2)]);
    assert_eq!(points("save 9 1\nsave ''"), []);
    assert_eq!(points("save ''\nsave 9 1"), [(9, 1)]);
    assert_eq!(points("save"), []);
}

#[test]
fn suggestions() {
    assert_eq!(nearest_name(b"maxmemmory"), Some("maxmemory"));
    assert_eq!(nearest_name(b"PROT"), Some("port"));
    assert_eq!(nearest_name(b"append-only"), Some("appendonly"));
    assert_eq!(nearest_name(b"xyzzy"), None);
    assert_eq!(nearest_name(&[b'a'; 500]), None);
    let error = load(b"maxclient 5\n", false).unwrap_err();
    assert_eq!(error.advice().as_deref(), Some("did you mean 'maxclients'?"));
    assert_eq!(load(b"maxclients x\n", false).unwrap_err().advice(), None);
    let advice = |line: &str| load(line.as_bytes(), false).unwrap_err().advice();
    assert_eq!(advice("renamecommand GET x").as_deref(), Some("did you mean 'rename-command'?"));
    assert_eq!(advice("rename-command GET"), None);
    assert!(advice("Server-Threads 4").is_some_and(|text| text.contains("`threads`")));
    assert_eq!(reason("maxclient 5"), "Bad directive or wrong number of arguments");
}

#[test]
fn secrets_are_masked() {
    let config = load_ok("requirepass hunter2\nmasterauth hunter3\nport 1\n").config;
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter") && shown.contains("port"), "{shown}");
    let secrets: Vec<&str> =
        DIRECTIVES.iter().filter(|row| row.is_secret()).map(|row| row.name).collect();
    for name in ["requirepass", "masterauth", "tls-key-file-pass"] {
        assert!(secrets.contains(&name));
    }
}

#[test]
fn without_effect() {
    let config = load_ok("activedefrag yes\nport 1\ntimeout 20\nactiverehashing yes\n").config;
    let names: Vec<&str> = config.without_effect().iter().map(|row| row.name).collect();
    assert_eq!(names, ["activedefrag"]);
}

#[test]
fn reference_page_has_every_directive() {
    let page = reference_page();
    for row in DIRECTIVES {
        assert!(page.contains(&format!("| `{}`", row.name)), "{}", row.name);
        assert!(row.doc.ends_with(['.', ')']), "{}", row.name);
    }
}

/// Lines that look like configuration, many of them valid.
fn some_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => proptest::sample::select(DIRECTIVES.iter().flat_map(Directive::names).collect::<Vec<_>>())
            .prop_map(String::from),
        1 => Just("sentinel monitor".to_string()),
        1 => Just("user".to_string()),
        1 => Just("include".to_string()),
        1 => Just("rename-command".to_string()),
        1 => "[a-z.#\"' -]{0,12}",
    ];
    let value = prop_oneof![
        Just("yes".to_string()),
        Just("no".to_string()),
        Just("\"\"".to_string()),
        "[0-9]{1,6}",
        "[0-9]{1,4}(kb|mb|gb|%|)",
        "[0-9]{1,4} [0-9]{1,4}",
        Just("local".to_string()),
        Just("normal 1mb 2kb 3".to_string()),
        Just("KEA".to_string()),
        Just("host 6379".to_string()),
        "\"[ -~]{0,10}\"",
        "[ -~]{0,10}",
    ];
    prop_oneof![
        9 => (name, value).prop_map(|(name, value)| format!("{name} {value}").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

/// A file of the lines that can stand together.
fn loadable(lines: Vec<Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    for line in lines {
        let longer = [file.as_slice(), &line, b"\n"].concat();
        if load(&longer, false).is_ok() {
            file = longer;
        }
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_load_or_fail(source in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load(&source, false);
        let _ = Rewrite::new(&source).finish();
    }

    #[test]
    fn any_lines_load_or_fail(lines in proptest::collection::vec(some_line(), 0..6)) {
        if let Err(error) = load(&lines.join(&b'\n'), true) {
            prop_assert!(!error.message(VERSION).is_empty());
            let _ = error.advice();
        }
    }

    #[test]
    fn any_arguments_parse(args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..6)) {
        let line = CommandLine::parse(&args, false);
        let _ = load(&line.config_text(b"", b""), line.sentinel);
    }

    #[test]
    fn any_set_succeeds_or_fails(
        name in proptest::sample::select(DIRECTIVES.iter().map(|row| row.name).collect::<Vec<_>>()),
        value in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let rules = SetRules { protected_allowed: true, loading: false };
        let config = Config::default();
        if let Ok(prepared) = config.prepare_set(&[name.as_bytes(), &value], rules) {
            // What is accepted is shown, and what is shown is accepted.
            let shown = prepared.config.get(&[name.as_bytes()]).remove(0).1;
            let again = config.prepare_set(&[name.as_bytes(), &shown], rules);
            prop_assert!(again.is_ok_and(|again| again.config == prepared.config));
        }
    }

    #[test]
    fn a_rewritten_file_loads_to_the_same_values(
        lines in proptest::collection::vec(some_line(), 0..25),
        sets in proptest::collection::vec(some_line(), 0..10),
    ) {
        let source = loadable(lines);
        let loaded = load(&source, false).unwrap();
        let mut config = loaded.config;
        for line in sets {
            let at = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
            let (name, value) = (&line[..at], line.get(at + 1..).unwrap_or_default());
            let rules = SetRules { protected_allowed: true, loading: false };
            if let Ok(prepared) = config.prepare_set(&[name, value], rules) {
                config = prepared.config;
            }
        }
        let users: Vec<Vec<u8>> = loaded.users.iter().map(|line| line.text.to_vec()).collect();
        let file = config.rewritten(&source, &users);
        let again = load(&file, false);
        prop_assert!(again.is_ok(), "{}", text(&file));
        let again = again.unwrap();
        prop_assert!(again.config == config, "{}\n{:?}\n{:?}", text(&file), again.config, config);
        prop_assert_eq!(again.renames.len(), loaded.renames.len());
        prop_assert_eq!(again.users.len(), loaded.users.len());
    }
}

/// The tutorials' sentinel.conf has `port 26379 # …`, in Korean; redis-server 7.0.15 dies on it.
#[test]
fn a_third_word_that_begins_with_a_hash_is_a_comment_after_one_value() {
    for line in [
        "port 7001 # 센티넬 포트",
        "port 7001 #",
        "port 7001\t#don't",
        "PORT 7001 # it's \"quoted",
        "port \"7001\" # a # b",
    ] {
        let loaded = load_ok(line);
        assert_eq!(loaded.config.port, 7001, "{line}");
        assert_eq!(loaded.warnings.len(), 1, "{line}");
        assert!(loaded.warnings[0].to_lowercase().contains("'port'"), "{:?}", loaded.warnings);
    }
    assert_eq!(load_ok("requirepass \"a # b\"").config.requirepass, "a # b");
    assert_eq!(load_ok("requirepass a#b").config.requirepass, "a#b");
    assert!(load_ok("requirepass #a").warnings.is_empty());
    for line in ["port # 7001", "port 7001 7002 # x", "bind 127.0.0.1 # x y'"] {
        assert!(load(line.as_bytes(), false).is_err(), "{line}");
    }
}

#[test]
fn a_rewrite_keeps_a_comment_behind_a_value_that_stays() {
    let old = "port 7001 # 포트, don't touch\nhz 11 # old\n";
    let mut config = load_ok(old).config;
    config.hz = 12;
    let new = text(&config.rewritten(old.as_bytes(), &[]));
    assert!(new.starts_with("port 7001 # 포트, don't touch\nhz 12\n"), "{new}");
}

#[test]
fn extra_ports_are_ports() {
    assert_eq!(load_ok("extra-ports \"26380 26381\"").config.extra_ports, "26380 26381");
    assert!(reason("extra-ports \"26380 x\"").contains("separated by blanks"));
    assert!(reason("extra-ports 0").contains("between 1 and 65535"));
}
