//! Reading the file, its errors, and writing it anew.

use super::{Bench, MYID, PEER};
use crate::SentinelConf;

const MONITOR: &str = "sentinel monitor mymaster 127.0.0.1 6399 2\n";

/// Texts as redis-sentinel 7.0.15 prints them.
#[test]
fn errors_are_redis_words() {
    let no_master = "No such master with specified name.";
    let unknown = "Unrecognized sentinel configuration statement.";
    let cases: &[(&str, usize, &str)] = &[
        ("sentinel foo bar", 1, unknown),
        ("sentinel down-after-milliseconds x 5", 1, no_master),
        ("sentinel monitor mymaster 127.0.0.1 6399", 1, unknown),
        ("sentinel monitor mymaster 127.0.0.1 6399 0", 1, "Quorum must be 1 or greater."),
        ("sentinel monitor mymaster 127.0.0.1 6399 q", 1, "Quorum must be 1 or greater."),
        ("sentinel monitor mymaster nosuchhost 6399 2", 1, "Can't resolve instance hostname."),
        ("sentinel monitor mymaster 127.0.0.1 639999 2", 1, "Invalid port number."),
        ("MM", 2, "Duplicate master name."),
        ("Msentinel down-after-milliseconds mymaster 0", 2, "negative or zero time parameter."),
        ("Msentinel failover-timeout mymaster -1", 2, "negative or zero time parameter."),
        ("Msentinel myid abc", 2, "Malformed Sentinel id in myid option."),
        ("Msentinel known-replica mymaster nohost 1", 2, "Can't resolve instance hostname."),
        ("Msentinel known-replica mymaster 1.2.3.4 99999", 2, "Invalid port number."),
        (
            "Msentinel known-sentinel mymaster 1.2.3.4 1 abc\n\
             sentinel known-sentinel mymaster 1.2.3.4 2 abc",
            3,
            "Duplicate runid for sentinel.",
        ),
        (
            "Msentinel rename-command mymaster a b\nsentinel rename-command mymaster a c",
            3,
            "Same command renamed multiple times with rename-command.",
        ),
        (
            "Msentinel resolve-hostnames maybe",
            2,
            "Please specify yes or no for the resolve-hostnames option.",
        ),
        (
            "Msentinel deny-scripts-reconfig maybe",
            2,
            "Please specify yes or no for the deny-scripts-reconfig options.",
        ),
        ("Msentinel auth-pass mymaster a b", 2, unknown),
        ("Msentinel sentinel-user", 2, unknown),
        ("Msentinel crash-grace mymaster -1", 2, "negative time parameter."),
        ("M# ok\nport \"26379", 3, "Unbalanced quotes in configuration line"),
    ];
    for (text, line, message) in cases {
        let text = text.replace('M', MONITOR);
        let error = SentinelConf::parse(text.as_bytes()).expect_err(&text);
        assert_eq!((error.line, error.message.as_str()), (*line, *message), "{text}");
    }
}

#[test]
fn odd_but_accepted() {
    for text in [
        "",
        "sentinel\n",
        "sentinel down-after-milliseconds mymaster 7\nsentinel monitor mymaster 1.2.3.4 1 1\n",
        "SENTINEL Monitor mymaster 1.2.3.4 1 1\r\nsentinel known-slave mymaster 1.2.3.5 1\r\n",
        "sentinel monitor mymaster 1.2.3.4 1 1\nsentinel parallel-syncs mymaster x\n",
        "sentinel monitor mymaster 1.2.3.4 1 1\nsentinel config-epoch mymaster -5\n",
        "sentinel resolve-hostnames yes\nsentinel monitor mymaster redis-master 1 1\n",
        "sentinel monitor mymaster 1.2.3.4 1 1\nsentinel known-replica mymaster \"\" 6379\n",
    ] {
        SentinelConf::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

/// The tutorials' file: comments in Korean, one behind a value; `resolve-hostnames` after the line
/// that needs it. It comes out as it went in.
#[test]
fn the_tutorials_file() {
    let text = include_bytes!("../../../../examples/compose-sentinel/sentinel.conf");
    let conf = SentinelConf::parse(text).unwrap();
    assert_eq!(conf.warnings().len(), 0, "a comment behind `port` is the other reader's business");
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("port 26379 # ") && text.trim_end().ends_with("resolve-hostnames yes"));
    let bench = Bench::new(&text);
    let file = bench.file();
    for line in text.lines().filter(|line| !line.is_empty()) {
        assert!(file.lines().any(|kept| kept == line), "{line}\n{file}");
    }
}

#[test]
fn comments_behind_the_last_word() {
    let text = "port 26379 # it's the port\n\
                sentinel monitor mymaster 10.0.0.1 6379 2 # it's mine\n\
                sentinel auth-pass mymaster \"a # b\" # 비밀번호\n\
                sentinel deny-scripts-reconfig yes #\n";
    let conf = SentinelConf::parse(text.as_bytes()).unwrap();
    assert_eq!(conf.warnings().len(), 3, "{:?}", conf.warnings());
    let bench = Bench::new(text);
    assert!(bench.file().starts_with(text), "{}", bench.file());
    let words = crate::words_before_comment;
    assert_eq!(words(b"sentinel myid # x"), None);
    assert_eq!(words(b"sentinel auth-pass mymaster # x"), None, "the third word is the value");
    assert_eq!(words(b"sentinel auth-pass mymaster #pass # x").unwrap().len(), 4);
    for text in ["sentinel", "", "#", "sentinel x #", "\"#", "sentinel # # # #", "sentinel 'a #'"] {
        words(text.as_bytes());
    }
}

#[test]
fn ordinary_lines_are_handed_through() {
    let text = format!("port 5000\n{MONITOR}requirepass \"a b\"\n# x\nuser default on\n");
    let conf = SentinelConf::parse(text.as_bytes()).unwrap();
    let lines: Vec<_> = conf.ordinary().iter().map(|l| (l.line, l.args.join("|"))).collect();
    let expected = [(1, "port|5000"), (3, "requirepass|a b"), (5, "user|default|on")];
    assert_eq!(lines, expected.map(|(n, text)| (n, text.to_string())));
}

#[test]
fn scripts_are_named_for_the_check() {
    let text = format!("{MONITOR}sentinel notification-script mymaster /nonexist\n");
    let conf = SentinelConf::parse(text.as_bytes()).unwrap();
    assert_eq!(conf.scripts()[0].path, "/nonexist");
    assert_eq!(
        conf.scripts()[0].error.message,
        "Notification script seems non existing or non executable."
    );
}

/// Comments, order, spacing and spelled-out defaults stay; the rest follows at the end.
#[test]
fn rewrite_keeps_the_owners_lines() {
    let text = "port 26379\n# my comment\n\n  sentinel   monitor mymaster 10.0.0.1 6379 2\n\
                sentinel parallel-syncs mymaster 1\nlogfile \"a b.log\"\n\
                sentinel auth-pass mymaster \"se cret\"\n# the end\n";
    let mut bench = Bench::new(text);
    let expected_head = text.to_string();
    let file = bench.file();
    assert!(file.starts_with(&expected_head), "{file}");
    assert!(file.contains("# the end\n# Generated by CONFIG REWRITE\n"), "{file}");
    assert!(file.contains(&format!("\nsentinel myid {MYID}\n")));
    assert!(file.contains("\nsentinel current-epoch 0\n"));
    assert!(!file.contains("failover-timeout"), "a default is not added");
    // A change happens in place; what is no longer true leaves a blank line, not two.
    assert_eq!(bench.command(&["SENTINEL", "SET", "mymaster", "parallel-syncs", "3"]), "+OK\r\n");
    assert_eq!(bench.command(&["SENTINEL", "SET", "mymaster", "auth-pass", ""]), "+OK\r\n");
    let file = bench.file();
    assert!(file.contains("\nsentinel parallel-syncs mymaster 3\nlogfile"), "{file}");
    assert!(file.contains("logfile \"a b.log\"\n\n# the end"), "{file}");
    // What was written is read again to the same.
    let again = Bench::new(&file);
    assert_eq!(again.file(), file);
}

#[test]
fn rewrite_keeps_masters_apart() {
    let text = "sentinel monitor one 10.0.0.1 6379 2\nsentinel monitor two 10.0.0.2 6379 2\n\
                sentinel down-after-milliseconds two 100\n\
                sentinel down-after-milliseconds one 200\n";
    let mut bench = Bench::new(text);
    assert!(bench.file().starts_with(text), "{}", bench.file());
    bench.command(&["SENTINEL", "REMOVE", "one"]);
    let file = bench.file();
    assert!(!file.contains(" one "), "{file}");
    assert!(
        file.starts_with(
            "\nsentinel monitor two 10.0.0.2 6379 2\nsentinel down-after-milliseconds two 100\n"
        ),
        "{file}"
    );
}

#[test]
fn values_that_need_quotes_get_them() {
    let mut bench = Bench::simple();
    bench.command(&["SENTINEL", "SET", "mymaster", "auth-pass", "a \"b\" #c"]);
    let file = bench.file();
    assert!(file.contains(r#"sentinel auth-pass mymaster "a \"b\" #c""#), "{file}");
    let again = Bench::new(&file);
    assert_eq!(again.file(), file);
}

/// State lines of a real redis-sentinel file, and back.
#[test]
fn state_survives_a_restart() {
    let text = format!(
        "port 26379\nsentinel monitor mymaster 10.0.0.2 6379 2\n\n\
         # Generated by CONFIG REWRITE\nuser default on nopass ~* &* +@all\nsentinel myid {MYID}\n\
         sentinel config-epoch mymaster 7\nsentinel leader-epoch mymaster 8\n\
         sentinel known-replica mymaster 10.0.0.1 6379\n\
         sentinel known-sentinel mymaster 10.0.1.2 26379 {PEER}\nsentinel current-epoch 9\n"
    );
    let bench = Bench::new(&text);
    assert_eq!(bench.file(), text);
    let status = bench.sentinel.status();
    assert_eq!(status.current_epoch, 9);
    let master = &status.masters[0];
    assert_eq!((master.config_epoch, master.leader_epoch), (7, 8));
    assert_eq!((master.replicas.len(), master.peers.len()), (1, 1));
    assert_eq!(master.peers[0].runid, PEER);
}

/// Epochs above the current one are of a damaged file; nothing falls behind them.
#[test]
fn epochs_of_a_damaged_file() {
    let bench = Bench::new(&format!(
        "{MONITOR}sentinel config-epoch mymaster 99\nsentinel leader-epoch mymaster \
         99999999999999999999\nsentinel current-epoch 3\n"
    ));
    assert!(bench.sentinel.status().current_epoch >= 99);
}
