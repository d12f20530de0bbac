//! Replies and events, compared with what redis-sentinel 7.0.15 answers.

use resp::Protocol;

use super::{Bench, MYID, PEER};
use crate::{CommandOutcome, Input, LogLevel, Output, PersistToken, ScriptExit, ScriptId};

#[track_caller]
fn check(bench: &mut Bench, command: &str, expected: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(bench.command(&words), expected, "{command}");
}

/// Every one of these was asked of redis-sentinel 7.0.15.
#[test]
fn errors_and_small_replies() {
    let mut bench = Bench::simple();
    let wrong =
        |sub: &str| format!("-ERR wrong number of arguments for 'sentinel|{sub}' command\r\n");
    let no_master = "-ERR No such master with that name\r\n";
    let config = "-ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.\r\n";
    for (command, expected) in [
        ("sentinel", "-ERR wrong number of arguments for 'sentinel' command\r\n"),
        ("sentinel foo", "-ERR unknown subcommand 'foo'. Try SENTINEL HELP.\r\n"),
        ("sentinel master x", no_master),
        ("sentinel slaves x", no_master),
        ("sentinel sentinels x", no_master),
        ("sentinel remove x", no_master),
        ("sentinel ckquorum x", no_master),
        ("sentinel failover x", no_master),
        ("sentinel set x quorum 1", no_master),
        ("sentinel get-master-addr-by-name x", "*-1\r\n"),
        ("sentinel get-master-addr-by-name mymaster", "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n"),
        ("sentinel get-primary-addr-by-name mymaster", "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n"),
        ("sentinel replicas mymaster", "*0\r\n"),
        ("sentinel sentinels mymaster", "*0\r\n"),
        ("sentinel info-cache x", "*0\r\n"),
        ("sentinel info-cache mymaster", "*2\r\n$8\r\nmymaster\r\n*1\r\n*2\r\n:0\r\n$-1\r\n"),
        ("sentinel pending-scripts", "*0\r\n"),
        ("sentinel flushconfig", "+OK\r\n"),
        (
            "sentinel ckquorum mymaster",
            "-NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the specified \
             quorum for this master\r\n",
        ),
        ("sentinel failover mymaster", "-NOGOODSLAVE No suitable replica to promote\r\n"),
        ("sentinel is-master-down-by-addr 127.0.0.1 1 0 *", "*3\r\n:0\r\n$1\r\n*\r\n:0\r\n"),
        (
            "sentinel is-master-down-by-addr 127.0.0.1 x 0 *",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "sentinel is-master-down-by-addr 127.0.0.1 1 x *",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "sentinel simulate-failure help",
            "*2\r\n$20\r\ncrash-after-election\r\n$21\r\ncrash-after-promotion\r\n",
        ),
        ("sentinel simulate-failure foo", "-ERR Unknown failure simulation specified\r\n"),
        ("sentinel simulate-failure crash-after-election", "+OK\r\n"),
        (
            "sentinel set mymaster foo bar",
            "-ERR Unknown option or number of arguments for SENTINEL SET 'foo'\r\n",
        ),
        (
            "sentinel set mymaster quorum 2 foo",
            "-ERR Unknown option or number of arguments for SENTINEL SET 'foo'\r\n",
        ),
        (
            "sentinel set mymaster rename-command a",
            "-ERR Unknown option or number of arguments for SENTINEL SET 'rename-command'\r\n",
        ),
        (
            "sentinel set mymaster quorum 0",
            "-ERR Invalid argument '0' for SENTINEL SET 'quorum'\r\n",
        ),
        (
            "sentinel set mymaster down-after-milliseconds abc",
            "-ERR Invalid argument 'abc' for SENTINEL SET 'down-after-milliseconds'\r\n",
        ),
        (
            "sentinel set mymaster parallel-syncs 0",
            "-ERR Invalid argument '0' for SENTINEL SET 'parallel-syncs'\r\n",
        ),
        (
            "sentinel set mymaster notification-script /tmp/x",
            "-ERR Reconfiguration of scripts path is denied for security reasons. Check the \
             deny-scripts-reconfig configuration directive in your Sentinel configuration\r\n",
        ),
        ("sentinel monitor a b c d", "-ERR Invalid quorum\r\n"),
        ("sentinel monitor a 127.0.0.1 x 1", "-ERR Invalid port\r\n"),
        ("sentinel monitor a b 1 1", "-ERR Invalid IP address or hostname specified\r\n"),
        ("sentinel monitor a 127.0.0.1 99999 1", "-ERR Invalid port number.\r\n"),
        ("sentinel monitor mymaster 127.0.0.1 99 1", "-ERR Duplicate master name.\r\n"),
        ("sentinel monitor a 127.0.0.1 99 0", "-ERR Quorum must be 1 or greater.\r\n"),
        ("sentinel config get", config),
        ("sentinel config foo bar", config),
        ("sentinel config set announce-ip", config),
        ("sentinel config set a b", "-ERR Invalid argument 'a' to SENTINEL CONFIG SET\r\n"),
        (
            "sentinel config set resolve-hostnames maybe",
            "-ERR Invalid value 'maybe' to SENTINEL CONFIG SET 'resolve-hostnames'\r\n",
        ),
        (
            "sentinel config set announce-port 99999",
            "-ERR Invalid value '99999' to SENTINEL CONFIG SET 'announce-port'\r\n",
        ),
        ("sentinel config set announce-ip 1.2.3.4", "+OK\r\n"),
        (
            "sentinel config get announce-*",
            "*6\r\n$18\r\nannounce-hostnames\r\n$2\r\nno\r\n$11\r\nannounce-ip\r\n$7\r\n1.2.3.4\r\n\
             $13\r\nannounce-port\r\n$1\r\n0\r\n",
        ),
        (
            "sentinel debug foo",
            "-ERR Unknown option or number of arguments for SENTINEL DEBUG 'foo'\r\n",
        ),
        (
            "sentinel debug info-period 5 ping-period",
            "-ERR Unknown option or number of arguments for SENTINEL DEBUG 'ping-period'\r\n",
        ),
        (
            "sentinel debug info-period a",
            "-ERR Invalid argument 'a' for SENTINEL DEBUG 'info-period'\r\n",
        ),
        (
            "sentinel debug info-period 0",
            "-ERR Invalid argument '0' for SENTINEL DEBUG 'info-period'\r\n",
        ),
        ("sentinel reset z*", ":0\r\n"),
        ("role", "*2\r\n$8\r\nsentinel\r\n*1\r\n$8\r\nmymaster\r\n"),
        ("role x", "-ERR wrong number of arguments for 'role' command\r\n"),
        ("ping", "+PONG\r\n"),
        ("ping a", "$1\r\na\r\n"),
        ("publish a b", "-ERR Only HELLO messages are accepted by Sentinel instances.\r\n"),
        ("publish __sentinel__:hello foo", ":1\r\n"),
        ("publish a", "-ERR wrong number of arguments for 'publish' command\r\n"),
        ("get a", "-ERR unknown command 'get', with args beginning with: 'a' \r\n"),
        ("info foo", "$0\r\n\r\n"),
    ] {
        check(&mut bench, command, expected);
    }
    for sub in ["master", "config", "set", "reset", "info-cache", "simulate-failure"] {
        check(&mut bench, &format!("sentinel {sub}"), &wrong(sub));
    }
    check(&mut bench, "sentinel help x", &wrong("help"));
    check(&mut bench, "sentinel myid", &format!("$40\r\n{MYID}\r\n"));
    assert!(bench.command(&["sentinel", "help"]).starts_with(
        "*49\r\n+SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+CKQUORUM"
    ));
    assert!(
        bench.command(&["sentinel", "debug"]).starts_with("*26\r\n$11\r\nINFO-PERIOD\r\n$1\r\n5")
    );
    let (map, _) = bench.command_in(Protocol::Resp3, &["sentinel", "get-master-addr-by-name", "x"]);
    assert_eq!(map, "_\r\n");
}

#[test]
fn field_names_are_in_redis_order() {
    let mut bench = Bench::simple();
    let (map, _) = bench.command_in(Protocol::Resp3, &["sentinel", "master", "mymaster"]);
    let mut parser = resp::ReplyParser::new();
    parser.feed(map.as_bytes());
    let Some(resp::Value::Map(pairs)) = parser.next().unwrap() else { panic!("{map}") };
    let names: Vec<&str> = pairs.iter().filter_map(|(k, _)| k.as_str()).collect();
    assert_eq!(
        names,
        [
            "name",
            "ip",
            "port",
            "runid",
            "flags",
            "link-pending-commands",
            "link-refcount",
            "last-ping-sent",
            "last-ok-ping-reply",
            "last-ping-reply",
            "down-after-milliseconds",
            "info-refresh",
            "role-reported",
            "role-reported-time",
            "config-epoch",
            "num-slaves",
            "num-other-sentinels",
            "quorum",
            "failover-timeout",
            "parallel-syncs",
            "crash-grace"
        ]
    );
    let value =
        |name: &str| pairs.iter().find(|(k, _)| k.as_str() == Some(name)).unwrap().1.as_str();
    assert_eq!(value("flags"), Some("master,disconnected"));
    assert_eq!(value("failover-timeout"), Some("180000"));
}

#[test]
fn info_has_the_sentinel_section() {
    let mut bench = Bench::simple();
    let expected = "# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\n\
        sentinel_tilt_since_seconds:-1\r\nsentinel_running_scripts:0\r\n\
        sentinel_scripts_queue_length:0\r\nsentinel_simulate_failure_flags:0\r\n\
        master0:name=mymaster,status=ok,address=10.0.0.1:6379,slaves=0,sentinels=1\r\n";
    let reply = bench.command(&["INFO", "sentinel"]);
    assert_eq!(reply, format!("${}\r\n{expected}\r\n", expected.len()));
    let server = [("server", "# Server\r\nx:1\r\n".to_string())];
    assert_eq!(
        bench.sentinel.info(None, &[], &server),
        format!("# Server\r\nx:1\r\n\r\n{expected}")
    );
    assert_eq!(bench.sentinel.info(None, &[b"server"], &server), "# Server\r\nx:1\r\n");
}

#[test]
fn monitor_remove_reset_and_their_events() {
    let mut bench = Bench::simple();
    check(&mut bench, "sentinel monitor other 10.0.0.9 6380 1", "+OK\r\n");
    assert!(bench.has_logged("+monitor master other 10.0.0.9 6380 quorum 1"));
    assert!(bench.file().contains("sentinel monitor other 10.0.0.9 6380 1\n"));
    check(&mut bench, "sentinel reset o?[ab]er", ":0\r\n");
    check(&mut bench, "sentinel reset *the[r]", ":1\r\n");
    assert!(bench.has_logged("+reset-master master other 10.0.0.9 6380"));
    check(&mut bench, "sentinel remove other", "+OK\r\n");
    assert!(bench.has_logged("-monitor master other 10.0.0.9 6380"));
    assert!(!bench.file().contains("other"));
}

#[test]
fn set_tells_and_masks_secrets() {
    let mut bench = Bench::simple();
    check(&mut bench, "sentinel set mymaster quorum 1 down-after-milliseconds 600", "+OK\r\n");
    assert!(bench.has_logged("+set master mymaster 10.0.0.1 6379 quorum 1"));
    assert!(bench.has_logged("+set master mymaster 10.0.0.1 6379 down-after-milliseconds 600"));
    check(&mut bench, "sentinel set mymaster auth-pass secret", "+OK\r\n");
    assert!(bench.has_logged("+set master mymaster 10.0.0.1 6379 auth-pass ******"));
    assert!(!bench.logged().iter().any(|l| l.contains("secret")));
    // Options before a wrong one stay.
    let reply = bench.command(&["sentinel", "set", "mymaster", "quorum", "3", "quorum", "-1"]);
    assert_eq!(reply, "-ERR Invalid argument '-1' for SENTINEL SET 'quorum'\r\n");
    assert!(bench.file().contains("sentinel monitor mymaster 10.0.0.1 6379 3\n"));
}

/// One vote per epoch, told only when it is on disk.
#[test]
fn votes() {
    let mut bench = Bench::simple();
    bench.disk_works = false;
    let ask = |epoch: &'static str, who: &'static str| {
        vec!["SENTINEL", "is-master-down-by-addr", "10.0.0.1", "6379", epoch, who]
    };
    let (reply, outcome) = bench.command_in(Protocol::Resp2, &ask("3", PEER));
    assert_eq!(reply, format!("*3\r\n:0\r\n$40\r\n{PEER}\r\n:3\r\n"));
    let CommandOutcome::AfterPersist(token) = outcome else { panic!("a vote waits for the disk") };
    assert!(bench.has_logged("+new-epoch 3"));
    assert!(bench.has_logged(&format!("+vote-for-leader {PEER} 3")));
    assert!(bench.file().contains("sentinel leader-epoch mymaster 3\n"));
    assert!(bench.file().contains("sentinel current-epoch 3\n"));
    // The same epoch again: the same vote, and it still waits.
    let other = "cccccccccccccccccccccccccccccccccccccccc";
    let (reply, outcome) = bench.command_in(
        Protocol::Resp2,
        &["SENTINEL", "is-master-down-by-addr", "10.0.0.1", "6379", "3", other],
    );
    assert_eq!(reply, format!("*3\r\n:0\r\n$40\r\n{PEER}\r\n:3\r\n"));
    assert_eq!(outcome, CommandOutcome::AfterPersist(token));
    bench.input(Input::Persisted { token });
    assert!(bench.has_logged("Sentinel new configuration saved on disk"));
    // An older epoch gets no vote; an opinion needs no disk.
    let (reply, outcome) = bench.command_in(Protocol::Resp2, &ask("2", MYID));
    assert_eq!(
        (reply.as_str(), outcome),
        (format!("*3\r\n:0\r\n$40\r\n{PEER}\r\n:3\r\n").as_str(), CommandOutcome::Done)
    );
    let (reply, outcome) = bench.command_in(Protocol::Resp2, &ask("9", "*"));
    assert_eq!((reply.as_str(), outcome), ("*3\r\n:0\r\n$1\r\n*\r\n:0\r\n", CommandOutcome::Done));
    assert_eq!(bench.sentinel.status().current_epoch, 3);
}

/// A failed write is told in Redis's words and tried again.
#[test]
fn a_failing_disk() {
    let mut bench = Bench::simple();
    bench.disk_works = false;
    check(&mut bench, "sentinel flushconfig", "+OK\r\n");
    bench.input(Input::PersistFailed { token: PersistToken(2), error: "No space left on device" });
    assert!(bench.has_logged(
        "WARNING: Sentinel was not able to save the new configuration on disk!!!: \
         No space left on device"
    ));
    let before = bench.outputs.iter().filter(|o| matches!(o, Output::Persist { .. })).count();
    bench.pass(1100);
    let after = bench.outputs.iter().filter(|o| matches!(o, Output::Persist { .. })).count();
    assert_eq!(after, before + 1);
}

/// Notification scripts: queue, retry with doubling delay, error, time-out.
#[test]
fn scripts() {
    let mut bench = Bench::new(
        "sentinel monitor mymaster 10.0.0.1 6379 2\n\
         sentinel notification-script mymaster /bin/notify\n",
    );
    let runs = |bench: &Bench| {
        bench
            .outputs
            .iter()
            .filter_map(|o| match o {
                Output::RunScript { id, argv } => Some((*id, argv.clone())),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let first = runs(&bench);
    let event = ["/bin/notify", "+monitor", "master mymaster 10.0.0.1 6379 quorum 2"];
    assert_eq!(first, [(ScriptId(1), event.map(String::from).to_vec())]);
    bench.input(Input::ScriptStarted { id: ScriptId(1), pid: 77 });
    assert!(
        bench
            .outputs
            .contains(&Output::Log { level: LogLevel::Debug, line: "+script-child 77".into() })
    );
    assert!(
        bench
            .command(&["sentinel", "pending-scripts"])
            .contains("$7\r\nrunning\r\n$3\r\npid\r\n$2\r\n77\r\n$8\r\nrun-time")
    );
    // Exit 1: again after 30 s, then 60 s.
    bench.input(Input::ScriptExited { id: ScriptId(1), exit: ScriptExit::Code(1) });
    bench.pass(29_000);
    assert_eq!(runs(&bench).iter().filter(|(id, _)| *id == ScriptId(1)).count(), 1);
    bench.pass(1500);
    assert_eq!(runs(&bench).iter().filter(|(id, _)| *id == ScriptId(1)).count(), 2);
    // It hangs: killed after a minute, and what follows counts as a signal.
    bench.input(Input::ScriptStarted { id: ScriptId(1), pid: 78 });
    bench.pass(60_500);
    assert!(bench.has_logged("-script-timeout /bin/notify 78"));
    assert!(bench.outputs.contains(&Output::KillScript { id: ScriptId(1) }));
    bench.input(Input::ScriptExited { id: ScriptId(1), exit: ScriptExit::Signal(9) });
    bench.pass(60_500);
    assert_eq!(runs(&bench).iter().filter(|(id, _)| *id == ScriptId(1)).count(), 3);
    // Any other status is an error and ends it.
    bench.input(Input::ScriptStarted { id: ScriptId(1), pid: 79 });
    bench.input(Input::ScriptExited { id: ScriptId(1), exit: ScriptExit::Code(2) });
    assert!(bench.has_logged("-script-error /bin/notify 0 2"));
}

#[test]
fn tilt_by_a_gap_and_its_end() {
    let mut bench = Bench::simple();
    bench.pass(500);
    bench.now += 2500;
    bench.sentinel.handle_timeout(super::at(bench.now));
    bench.drain();
    assert!(bench.has_logged("+tilt #tilt mode entered"));
    assert!(bench.command(&["INFO"]).contains("sentinel_tilt:1\r\nsentinel_tilt_since_seconds:0"));
    bench.pass(30_200);
    assert!(bench.has_logged("-tilt #tilt mode exited"));
}
