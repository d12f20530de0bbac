//! What goes over the links, byte for byte where a real redis-sentinel listens, and the clocks.

use super::{Bench, MYID, PEER};
use crate::{CloseReason, ConnectError, Hello, Input, LinkPurpose, Output};

const MASTER: &str = "10.0.0.1:6379";
const MASTER_INFO: &str = "# Server\r\nrun_id:1111111111111111111111111111111111111111\r\n\
    # Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=5,lag=0\r\n";

fn words(commands: &[Vec<String>]) -> Vec<String> {
    commands.iter().map(|c| c.join(" ")).collect()
}

#[test]
fn first_words_to_a_data_node() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    let sent = words(&bench.sent(conn));
    let hello = format!("10.0.1.1,26379,{MYID},0,mymaster,10.0.0.1,6379,0");
    assert_eq!(
        sent,
        [
            "CLIENT SETNAME sentinel-aaaaaaaa-cmd".to_string(),
            "PING".to_string(),
            "INFO".to_string(),
            format!("PUBLISH __sentinel__:hello {hello}"),
        ]
    );
    let pubsub = bench.conn(MASTER, LinkPurpose::PubSub);
    bench.establish(pubsub);
    assert_eq!(
        words(&bench.sent(pubsub)),
        [
            "CLIENT SETNAME sentinel-aaaaaaaa-pubsub",
            "SUBSCRIBE __sentinel__:hello",
            "SUBSCRIBE __sentinel__:handover:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ]
    );
}

#[test]
fn logins_and_renamed_commands() {
    let mut bench = Bench::new(&format!(
        "sentinel monitor mymaster 10.0.0.1 6379 2\nsentinel auth-user mymaster u\n\
         sentinel auth-pass mymaster p\nsentinel rename-command mymaster PING P1NG\n\
         sentinel sentinel-pass sp\nsentinel sentinel-user su\n\
         sentinel known-sentinel mymaster 10.0.1.2 26379 {PEER}\n"
    ));
    let conn = bench.connect(MASTER);
    assert_eq!(
        words(&bench.sent(conn))[..3],
        ["AUTH u p", "CLIENT SETNAME sentinel-aaaaaaaa-cmd", "P1NG"]
    );
    let conn = bench.connect("10.0.1.2:26379");
    let sent = words(&bench.sent(conn));
    // A peer is not one of the nodes whose commands were renamed; its kind is asked on every link.
    assert_eq!(sent[..3], ["AUTH su sp", "CLIENT SETNAME sentinel-aaaaaaaa-cmd", "PING"]);
    assert!(sent.contains(&"SENTINEL MASTER mymaster".to_string()));
    // A new password opens the links anew.
    bench.command(&["SENTINEL", "SET", "mymaster", "auth-pass", "p2", "auth-user", ""]);
    let conn = bench.connect(MASTER);
    assert_eq!(words(&bench.sent(conn))[0], "AUTH p2");
}

#[test]
fn hello_fields() {
    let text = format!("10.0.1.2,26379,{PEER},7,mymaster,10.0.0.1,6379,3");
    let hello = Hello::parse(&text).unwrap();
    assert_eq!((hello.current_epoch, hello.master_config_epoch), (7, 3));
    assert_eq!(hello.text(), text);
    for bad in [
        "",
        "a,b,c,d,e,f,g,h",
        &format!("{text},9"),
        &format!("10.0.1.2,70000,{PEER},7,mymaster,10.0.0.1,6379,3"),
        &format!("10.0.1.2,26379,{PEER},-7,mymaster,10.0.0.1,6379,3"),
        &format!("10.0.1.2,26379,{PEER},7,mymaster,,6379,3"),
        &format!("10.0.1.2,26379,{PEER},18446744073709551615,mymaster,10.0.0.1,6379,3"),
        "10.0.1.2,26379,x y,7,mymaster,10.0.0.1,6379,3",
    ] {
        assert_eq!(Hello::parse(bad), None, "{bad}");
    }
}

#[test]
fn discovery_events() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    assert!(bench.has_logged("+slave slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379"));
    bench.hello(&format!("10.0.1.2,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    assert!(
        bench.has_logged(&format!(
            "+sentinel sentinel {PEER} 10.0.1.2 26379 @ mymaster 10.0.0.1 6379"
        ))
    );
    // The same process elsewhere.
    bench.hello(&format!("10.0.1.3,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    assert!(bench.has_logged(&format!(
        "+sentinel-address-switch master mymaster 10.0.0.1 6379 ip 10.0.1.3 port 26379 for {PEER}"
    )));
    // Another process there: the old entry is no more.
    let other = "c".repeat(40);
    bench.hello(&format!("10.0.1.3,26379,{other},0,mymaster,10.0.0.1,6379,0"));
    assert!(bench.has_logged(&format!(
        "+sentinel-invalid-addr sentinel {PEER} 10.0.1.3 26379 @ mymaster 10.0.0.1 6379"
    )));
    assert_eq!(bench.sentinel.status().masters[0].peers.len(), 1);
    // Messages about masters that are not watched here, and our own, say nothing.
    bench.hello(&format!("10.0.1.9,26379,{},0,unknown,10.0.0.1,6379,0", "d".repeat(40)));
    bench.hello(&format!("10.0.1.9,26379,{MYID},9,mymaster,10.0.0.7,6379,9"));
    assert_eq!(bench.sentinel.status().masters[0].peers.len(), 1);
    assert_eq!(bench.sentinel.status().current_epoch, 0);
}

#[test]
fn a_newer_configuration_is_adopted() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    bench.hello(&format!("10.0.1.2,26379,{PEER},4,mymaster,10.0.0.2,6379,4"));
    for line in [
        "+new-epoch 4",
        &format!("+config-update-from sentinel {PEER} 10.0.1.2 26379 @ mymaster 10.0.0.1 6379"),
        "+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379",
        "+slave slave 10.0.0.1:6379 10.0.0.1 6379 @ mymaster 10.0.0.2 6379",
    ] {
        assert!(bench.has_logged(line), "{line} in {:#?}", bench.logged());
    }
    assert!(bench.file().contains("sentinel monitor mymaster 10.0.0.2 6379 2\n"));
    assert!(bench.file().contains("sentinel known-replica mymaster 10.0.0.1 6379\n"));
    // An older one is not.
    bench.hello(&format!("10.0.1.2,26379,{PEER},4,mymaster,10.0.0.9,6379,3"));
    assert_eq!(bench.sentinel.status().masters[0].addr.host, "10.0.0.2");
}

/// A hello speaks only of what the disk holds.
#[test]
fn hellos_do_not_run_ahead_of_the_disk() {
    let mut bench = Bench::simple();
    bench.disk_works = false;
    bench.hello(&format!("10.0.1.2,26379,{PEER},9,mymaster,10.0.0.1,6379,9"));
    let conn = bench.connect(MASTER);
    let said = |bench: &mut Bench| {
        let sent = bench.sent(conn);
        let hello = sent.iter().rev().find(|c| c[0] == "PUBLISH").expect("a hello");
        Hello::parse(&hello[2]).unwrap()
    };
    let hello = said(&mut bench);
    assert_eq!((hello.current_epoch, hello.master_config_epoch), (0, 0));
    let token = bench.outputs.iter().rev().find_map(|o| match o {
        Output::Persist { token, .. } => Some(*token),
        _ => None,
    });
    bench.input(Input::Persisted { token: token.unwrap() });
    let hello = said(&mut bench);
    assert_eq!((hello.current_epoch, hello.master_config_epoch), (9, 9));
}

#[test]
fn silence_takes_down_after_from_the_first_unanswered_ping() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    bench.pass(900);
    assert!(!bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    // The next PING goes out one period after the last answer.
    bench.pass(1050);
    assert!(!bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    bench.pass(100);
    assert!(bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    let flags = bench.command(&["SENTINEL", "MASTER", "mymaster"]);
    assert!(flags.contains("s_down,master"), "{flags}");
}

#[test]
fn proof_of_death() {
    for (how, refused, proven) in [
        (CloseReason::Fin, true, true),
        (CloseReason::Reset, true, true),
        (CloseReason::Reset, false, true),
        (CloseReason::Error, true, false),
    ] {
        let mut bench = Bench::simple();
        let conn = bench.connect(MASTER);
        bench.serve(conn, MASTER_INFO);
        bench.input(Input::Closed { conn, how });
        for _ in 0..40 {
            bench.pass(5);
            if refused {
                let conn = bench.conn(MASTER, LinkPurpose::Command);
                bench.input(Input::ConnectFailed { conn, error: ConnectError::Refused });
            }
        }
        bench.pass(20);
        let down = bench.has_logged("+sdown master mymaster 10.0.0.1 6379");
        assert_eq!(down, proven, "{how:?}, refused {refused}");
    }
}

/// A server that takes connections but says nothing may be stopped: that is silence, not proof.
#[test]
fn an_accepted_connection_is_no_proof() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    bench.input(Input::Closed { conn, how: CloseReason::Reset });
    bench.connect(MASTER);
    bench.pass(900);
    assert!(!bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    bench.pass(200);
    assert!(bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
}

#[test]
fn crash_grace_0_switches_it_off() {
    let mut bench = Bench::simple();
    bench.command(&["SENTINEL", "SET", "mymaster", "crash-grace", "0"]);
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    bench.input(Input::Closed { conn, how: CloseReason::Reset });
    let conn = bench.conn(MASTER, LinkPurpose::Command);
    bench.input(Input::ConnectFailed { conn, error: ConnectError::Refused });
    bench.pass(900);
    assert!(!bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
}

/// A good answer is `+PONG`, `-LOADING` or `-MASTERDOWN`; `-BUSY` gets SCRIPT KILL once it is down.
#[test]
fn kinds_of_pong() {
    for (reply, alive) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", true),
        ("-MASTERDOWN Link with MASTER is down\r\n", true),
        ("-BUSY Redis is busy running a script.\r\n", false),
        ("-NOAUTH Authentication required.\r\n", false),
    ] {
        let mut bench = Bench::simple();
        let conn = bench.connect(MASTER);
        let mut killed = false;
        for _ in 0..200 {
            for command in bench.sent(conn) {
                killed |= command.join(" ") == "SCRIPT KILL";
                let answer = match command[0].as_str() {
                    "PING" => reply.to_string(),
                    _ => "+OK\r\n".to_string(),
                };
                bench.reply(conn, &answer);
            }
            bench.pass(20);
        }
        let down = bench.has_logged("+sdown master mymaster 10.0.0.1 6379");
        assert_eq!(down, !alive, "{reply} {:#?}", bench.logged());
        assert_eq!(killed, reply.starts_with("-BUSY"), "{reply}");
    }
}

/// Names are resolved off the machine; the last good address stays; nothing is ever empty.
#[test]
fn hostnames() {
    let mut bench = Bench::new(&format!(
        "sentinel resolve-hostnames yes\nsentinel monitor mymaster redis-master 6379 2\n\
         sentinel myid {MYID}\n"
    ));
    assert!(bench.has_logged("+monitor master mymaster redis-master 6379 quorum 2"));
    assert!(bench.outputs.contains(&Output::Resolve { host: "redis-master".to_string() }));
    bench.input(Input::Resolved { host: "redis-master", addr: None });
    let waiting = "Failed to resolve hostname 'redis-master': waiting until it resolves";
    assert!(bench.has_logged(waiting));
    // It goes on trying, and does not say so every second.
    bench.pass(5000);
    bench.input(Input::Resolved { host: "redis-master", addr: None });
    assert_eq!(bench.logged().iter().filter(|line| *line == waiting).count(), 1);
    let asked = |o: &&Output| matches!(o, Output::Resolve { host } if host == "redis-master");
    assert!(bench.outputs.iter().filter(asked).count() > 3);
    let addr = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
    assert_eq!(bench.command(&addr), "*2\r\n$12\r\nredis-master\r\n$4\r\n6379\r\n");
    bench.input(Input::Resolved { host: "redis-master", addr: Some("10.0.0.1".parse().unwrap()) });
    let conn = bench.connect(MASTER);
    bench.serve(conn, MASTER_INFO);
    assert!(bench.has_logged("The hostname 'redis-master' resolves to 10.0.0.1 now"));
    assert_eq!(bench.command(&addr), "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n");
    // The container goes, and its name with it.
    bench.input(Input::Closed { conn, how: CloseReason::Fin });
    bench.pass(1500);
    bench.input(Input::Resolved { host: "redis-master", addr: None });
    assert!(bench.has_logged(
        "Failed to resolve hostname 'redis-master': its last address 10.0.0.1 stays in use"
    ));
    assert_eq!(bench.command(&addr), "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n");
    assert!(bench.file().contains("sentinel monitor mymaster redis-master 6379 2\n"));
    // It comes back elsewhere.
    bench.pass(1500);
    bench.input(Input::Resolved { host: "redis-master", addr: Some("10.0.0.7".parse().unwrap()) });
    bench.connect("10.0.0.7:6379");
    assert_eq!(bench.command(&addr), "*2\r\n$8\r\n10.0.0.7\r\n$4\r\n6379\r\n");
    bench.command(&["SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes"]);
    assert_eq!(bench.command(&addr), "*2\r\n$12\r\nredis-master\r\n$4\r\n6379\r\n");
}

/// The old master's container comes back with another IP. The new master names it by that IP before
/// its name resolves again: there must be one entry, and it is the one by name.
/// (redis/redis#9103, #12184, bitnami/containers#53232: a phantom replica at `:6379`.)
#[test]
fn no_phantom_when_a_container_comes_back_with_another_ip() {
    let mut bench = Bench::new(&format!(
        "sentinel resolve-hostnames yes\nsentinel monitor mymaster 10.0.0.2 6379 2\n\
         sentinel known-replica mymaster redis-master 6379\nsentinel myid {MYID}\n"
    ));
    bench.input(Input::Resolved { host: "redis-master", addr: Some("10.0.0.1".parse().unwrap()) });
    bench.input(Input::Resolved { host: "redis-master", addr: None });
    let conn = bench.connect("10.0.0.2:6379");
    bench.serve(
        conn,
        "run_id:2222222222222222222222222222222222222222\r\nrole:master\r\n\
         slave0:ip=10.0.0.9,port=6379,state=online\r\n",
    );
    assert_eq!(bench.sentinel.status().masters[0].replicas.len(), 2);
    bench.input(Input::Resolved { host: "redis-master", addr: Some("10.0.0.9".parse().unwrap()) });
    assert_eq!(bench.sentinel.status().masters[0].replicas.len(), 1);
    let file = bench.file();
    assert!(file.contains("known-replica mymaster redis-master 6379"), "{file}");
    assert!(!file.contains("10.0.0.9"), "{file}");
    assert!(!file.contains("mymaster  6379") && !file.contains("\"\""), "{file}");
}

/// A process that answers at two addresses is one replica; the address that is dead goes.
#[test]
fn one_run_id_is_one_replica() {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(
        conn,
        "run_id:1111111111111111111111111111111111111111\r\nrole:master\r\n\
         slave0:ip=10.0.0.2,port=6379\r\nslave1:ip=10.0.0.3,port=6379\r\n",
    );
    let info = "run_id:3333333333333333333333333333333333333333\r\nrole:slave\r\n";
    let old = bench.connect("10.0.0.2:6379");
    bench.serve(old, info);
    // Both answer: nobody can say which one is to go.
    let new = bench.connect("10.0.0.3:6379");
    bench.serve(new, info);
    assert_eq!(bench.sentinel.status().masters[0].replicas.len(), 2);
    bench.input(Input::Closed { conn: old, how: CloseReason::Fin });
    for _ in 0..24 {
        bench.pass(500);
        bench.serve(new, info);
    }
    let replicas = &bench.sentinel.status().masters[0].replicas;
    assert_eq!(replicas.len(), 1, "{replicas:?}");
    assert!(!bench.file().contains("10.0.0.2"), "{}", bench.file());
}

/// Sentinels and replicas that are gone for good (redis/redis#1972, #1988).
#[test]
fn forget_after_forgets_who_is_gone() {
    let other = "c".repeat(40);
    let mut bench = Bench::new(&format!(
        "sentinel monitor mymaster 10.0.0.1 6379 2\nsentinel myid {MYID}\n\
         sentinel down-after-milliseconds mymaster 1000\nsentinel forget-after mymaster 60000\n\
         sentinel known-replica mymaster 10.0.0.2 6379\n\
         sentinel known-sentinel mymaster 10.0.1.2 26379 {PEER}\n\
         sentinel known-sentinel mymaster 10.0.1.3 26379 {other}\n"
    ));
    let conn = bench.connect(MASTER);
    let peer = bench.connect("10.0.1.2:26379");
    let live = |bench: &mut Bench, ms: u64, with_peer: bool| {
        for _ in 0..ms / 500 {
            bench.pass(500);
            bench.serve(conn, "role:master\r\n");
            if with_peer {
                bench.serve(peer, "");
            }
        }
    };
    live(&mut bench, 50_000, true);
    assert_eq!(bench.sentinel.status().masters[0].replicas.len(), 1);
    assert_eq!(bench.sentinel.status().masters[0].peers.len(), 2);
    live(&mut bench, 30_000, true);
    assert_eq!(bench.sentinel.status().masters[0].replicas.len(), 0);
    assert_eq!(bench.sentinel.status().masters[0].peers.len(), 1);
    assert!(bench.logged().iter().any(|line| line.starts_with("-sentinel sentinel ccc")));
    // Alone, without a majority, it forgets nobody, however long it takes.
    bench.input(Input::Closed { conn: peer, how: CloseReason::Fin });
    live(&mut bench, 200_000, false);
    assert_eq!(bench.sentinel.status().masters[0].peers.len(), 1);
    assert!(bench.file().contains("sentinel forget-after mymaster 60000"));
    assert_eq!(bench.command(&["SENTINEL", "SET", "mymaster", "forget-after", "0"]), "+OK\r\n");
    assert!(bench.file().contains("sentinel forget-after mymaster 0"), "{}", bench.file());
}

/// Two masters that share a sentinel share the link to it.
#[test]
fn links_to_peers_are_shared() {
    let mut bench =
        Bench::new("sentinel monitor one 10.0.0.1 6379 2\nsentinel monitor two 10.0.0.2 6379 2\n");
    bench.hello(&format!("10.0.1.2,26379,{PEER},0,one,10.0.0.1,6379,0"));
    bench.hello(&format!("10.0.1.2,26379,{PEER},0,two,10.0.0.2,6379,0"));
    let opened = bench
        .outputs
        .iter()
        .filter(
            |o| matches!(o, Output::Connect { addr, .. } if addr.to_string() == "10.0.1.2:26379"),
        )
        .count();
    assert_eq!(opened, 1);
    assert!(
        bench.command(&["SENTINEL", "SENTINELS", "one"]).contains("link-refcount\r\n$1\r\n2\r\n")
    );
    // It moves: both masters know.
    bench.hello(&format!("10.0.1.7,26379,{PEER},0,one,10.0.0.1,6379,0"));
    assert!(bench.has_logged(&format!(
        "+sentinel-address-update sentinel {PEER} 10.0.1.7 26379 @ two 10.0.0.2 6379"
    )));
    bench.command(&["SENTINEL", "REMOVE", "one"]);
    assert!(
        bench.command(&["SENTINEL", "SENTINELS", "two"]).contains("link-refcount\r\n$1\r\n1\r\n")
    );
}

/// A promotion order is one write, and INFO follows it at once.
#[test]
fn the_orders_of_a_forced_failover() {
    let mut bench = Bench::simple();
    let master = bench.connect(MASTER);
    bench.serve(master, MASTER_INFO);
    let replica = bench.connect("10.0.0.2:6379");
    let info = "run_id:2222222222222222222222222222222222222222\r\nrole:slave\r\n\
        master_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
        slave_repl_offset:5\r\nslave_priority:100\r\n";
    bench.serve(replica, info);
    assert_eq!(bench.command(&["SENTINEL", "FAILOVER", "mymaster"]), "+OK\r\n");
    assert_eq!(
        bench.command(&["SENTINEL", "FAILOVER", "mymaster"]),
        "-INPROG Failover already in progress\r\n"
    );
    assert_eq!(words(&bench.sent(replica)), ["ROLE", "INFO"]);
    bench.reply(
        replica,
        "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:5\r\n",
    );
    bench.reply(replica, &format!("${}\r\n{info}\r\n", info.len()));
    // The call that changed the state asked to be called again at once.
    bench.pass(1);
    let orders = bench.outputs.iter().filter(|o| {
        matches!(o, Output::Send { conn, bytes } if *conn == replica && bytes.starts_with(b"*1\r\n$5\r\nMULTI"))
    });
    assert_eq!(orders.count(), 1, "one write");
    assert_eq!(
        words(&bench.sent(replica)),
        [
            "MULTI",
            "SLAVEOF NO ONE",
            "CONFIG REWRITE",
            "CLIENT KILL TYPE normal",
            "CLIENT KILL TYPE pubsub",
            "EXEC",
            "INFO"
        ]
    );
    for _ in 0..6 {
        bench.reply(replica, "+OK\r\n");
    }
    let promoted = "run_id:2222222222222222222222222222222222222222\r\nrole:master\r\n";
    bench.reply(replica, &format!("${}\r\n{promoted}\r\n", promoted.len()));
    let addr = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
    assert_eq!(bench.command(&addr), "*2\r\n$8\r\n10.0.0.2\r\n$4\r\n6379\r\n");
    bench.pass(60);
    assert!(
        bench.has_logged("+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379"),
        "{:#?}",
        bench.logged()
    );
}

/// Down is what a peer that is ours is told of at once, and the peer's question makes us ask again.
#[test]
fn odown_by_a_peers_word() {
    let mut bench = Bench::simple();
    let master = bench.connect(MASTER);
    bench.serve(master, MASTER_INFO);
    bench.hello(&format!("10.0.1.2,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    let peer = bench.connect("10.0.1.2:26379");
    bench.sent(peer);
    // SETNAME, PING, hello, SENTINEL MASTER in the order sent.
    bench.reply(peer, "+OK\r\n+PONG\r\n:1\r\n-ERR No such master with that name\r\n");
    bench.input(Input::Closed { conn: master, how: CloseReason::Reset });
    let refuse = bench.conn(MASTER, LinkPurpose::Command);
    bench.input(Input::ConnectFailed { conn: refuse, error: ConnectError::Refused });
    bench.pass(210);
    assert!(bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    let asked = words(&bench.sent(peer));
    assert_eq!(asked.last().unwrap(), "SENTINEL is-master-down-by-addr 10.0.0.1 6379 0 *");
    bench.reply(peer, "*3\r\n:1\r\n$1\r\n*\r\n:0\r\n");
    assert!(bench.has_logged("+odown master mymaster 10.0.0.1 6379 #quorum 2/2"));
    // The peer has not shown that it is of our kind: the start is random, within a tenth of a second.
    bench.pass(110);
    assert!(bench.has_logged("+try-failover master mymaster 10.0.0.1 6379"));
    assert!(bench.has_logged(&format!("+vote-for-leader {MYID} 1")));
    bench.pass(1);
    let asked = words(&bench.sent(peer));
    assert_eq!(
        asked.last().unwrap(),
        &format!("SENTINEL is-master-down-by-addr 10.0.0.1 6379 1 {MYID}")
    );
    bench.reply(peer, &format!("*3\r\n:1\r\n$40\r\n{MYID}\r\n:1\r\n"));
    assert!(bench.has_logged(&format!("{PEER} voted for {MYID} 1")));
    bench.pass(60);
    assert!(bench.has_logged("+elected-leader master mymaster 10.0.0.1 6379"));
}
