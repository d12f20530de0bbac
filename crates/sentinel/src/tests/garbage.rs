//! Nothing that a peer, a node, a client or a file sends may stop the machine: seeded mutations of
//! good messages, and plain noise.

use stdx::Prng;

use super::{Bench, MYID, PEER};
use crate::{CloseReason, ConnId, Input, LinkPurpose, Output, SentinelConf};

fn mutated(prng: &mut Prng, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..prng.between(1, 4) {
        let len = bytes.len() as u64;
        if len == 0 {
            break;
        }
        let at = prng.below(len) as usize;
        match prng.below(4) {
            0 => bytes[at] = prng.next_u64() as u8,
            1 => {
                bytes.remove(at);
            }
            2 => bytes.insert(at, b"0123456789-,:*$\r\n \xff"[prng.below(19) as usize]),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

const INFO: &str = "run_id:1111111111111111111111111111111111111111\r\nrole:master\r\n\
    slave0:ip=10.0.0.2,port=6379,state=online,offset=5,lag=0\r\nslave1:10.0.0.3,6379,online\r\n\
    master_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_down_since_seconds:3\r\n\
    master_link_status:up\r\nslave_priority:100\r\nslave_repl_offset:77\r\nreplica_announced:1\r\n";

#[test]
fn links_survive_noise() {
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let mut bench = Bench::new(&format!(
            "sentinel monitor mymaster 10.0.0.1 6379 1\nsentinel down-after-milliseconds mymaster 50\n\
             sentinel failover-timeout mymaster 300\nsentinel myid {MYID}\n\
             sentinel known-sentinel mymaster 10.0.1.2 26379 {PEER}\n"
        ));
        let hello = format!("10.0.1.2,26379,{PEER},7,mymaster,10.0.0.4,6379,3");
        let replies: Vec<Vec<u8>> = vec![
            b"+PONG\r\n".to_vec(),
            b"+OK\r\n".to_vec(),
            b"-BUSY x\r\n".to_vec(),
            b":1\r\n".to_vec(),
            format!("${}\r\n{INFO}\r\n", INFO.len()).into_bytes(),
            format!("*3\r\n:1\r\n$40\r\n{MYID}\r\n:1\r\n").into_bytes(),
            b"*3\r\n$6\r\nmaster\r\n:5\r\n*0\r\n".to_vec(),
            b"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$7\r\nconnect\r\n:-1\r\n".to_vec(),
            format!("*3\r\n$7\r\nmessage\r\n$18\r\n__sentinel__:hello\r\n${}\r\n{hello}\r\n", hello.len())
                .into_bytes(),
            b"*8\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n$4\r\nport\r\n$4\r\n6379\r\n$12\r\nconfig-epoch\r\n\
              $1\r\n0\r\n$11\r\ncrash-grace\r\n$1\r\n0\r\n"
                .to_vec(),
        ];
        let mut conns: Vec<ConnId> = Vec::new();
        for _ in 0..60 {
            let opened: Vec<ConnId> = bench
                .outputs
                .drain(..)
                .filter_map(|o| match o {
                    Output::Connect { conn, .. } => Some(conn),
                    _ => None,
                })
                .collect();
            for conn in opened {
                if prng.chance(80) {
                    bench.establish(conn);
                    conns.push(conn);
                }
            }
            for _ in 0..prng.below(6) {
                if conns.is_empty() {
                    break;
                }
                let conn = conns[prng.below(conns.len() as u64) as usize];
                let mut bytes = replies[prng.below(replies.len() as u64) as usize].clone();
                if prng.chance(30) {
                    bytes = mutated(&mut prng, &bytes);
                }
                bench.input(Input::Received { conn, bytes: &bytes });
            }
            if prng.chance(10) && !conns.is_empty() {
                let conn = conns.swap_remove(prng.below(conns.len() as u64) as usize);
                bench.input(Input::Closed { conn, how: CloseReason::Reset });
            }
            bench.pass(prng.below(40));
        }
    }
}

#[test]
fn commands_survive_noise() {
    let subs = [
        "masters",
        "master",
        "replicas",
        "sentinels",
        "myid",
        "info-cache",
        "pending-scripts",
        "ckquorum",
        "get-master-addr-by-name",
        "is-master-down-by-addr",
        "failover",
        "simulate-failure",
        "debug",
        "config",
        "monitor",
        "remove",
        "reset",
        "set",
        "flushconfig",
    ];
    let values = [
        "mymaster",
        "other",
        "10.0.0.1",
        "6379",
        "0",
        "-1",
        "99999999999999999999",
        "*",
        "",
        "get",
        "set",
        "announce-ip",
        "quorum",
        "down-after-milliseconds",
        "rename-command",
        "[a-",
        "\\",
        "4611686018427387905",
        PEER,
        MYID,
        "a\r\nb",
        "tilt-period",
        "1",
    ];
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let mut bench = Bench::simple();
        for _ in 0..60 {
            let mut words = vec!["SENTINEL", subs[prng.below(subs.len() as u64) as usize]];
            for _ in 0..prng.below(5) {
                words.push(values[prng.below(values.len() as u64) as usize]);
            }
            let reply = bench.command(&words);
            assert!(!reply.is_empty(), "{words:?}");
            bench.pass(prng.below(20));
        }
        // Whatever it has become, the file is read again.
        SentinelConf::parse(bench.file().as_bytes())
            .unwrap_or_else(|e| panic!("{e}\n{}", bench.file()));
    }
}

#[test]
fn hellos_survive_noise() {
    let mut bench = Bench::simple();
    let mut prng = Prng::new(3);
    let good = format!("10.0.1.2,26379,{PEER},7,mymaster,10.0.0.4,6379,3");
    for _ in 0..5000 {
        let bytes = mutated(&mut prng, good.as_bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        bench.hello(&text);
        bench.outputs.truncate(200);
    }
    SentinelConf::parse(bench.file().as_bytes()).unwrap();
}

#[test]
fn files_survive_noise() {
    let good = format!(
        "port 26379\nsentinel monitor mymaster 10.0.0.2 6379 2\nsentinel myid {MYID}\n\
         sentinel config-epoch mymaster 7\nsentinel leader-epoch mymaster 8\n\
         sentinel known-replica mymaster 10.0.0.1 6379\nsentinel auth-pass mymaster \"a \\x41\"\n\
         sentinel known-sentinel mymaster 10.0.1.2 26379 {PEER}\nsentinel current-epoch 9\n"
    );
    let mut prng = Prng::new(4);
    let mut read = 0;
    for _ in 0..20_000 {
        let bytes = mutated(&mut prng, good.as_bytes());
        if let Ok(conf) = SentinelConf::parse(&bytes) {
            read += 1;
            let _ = conf.ordinary();
        }
    }
    assert!(read > 1000, "most damages are harmless: {read}");
}

/// An answer that comes on a connection that was given up is for nobody.
#[test]
fn late_news_of_old_connections() {
    let mut bench = Bench::simple();
    let conn = bench.conn("10.0.0.1:6379", LinkPurpose::Command);
    bench.pass(600);
    bench.establish(conn);
    bench.input(Input::Received { conn, bytes: b"+PONG\r\n" });
    bench.input(Input::Closed { conn, how: CloseReason::Fin });
    bench.input(Input::Closed { conn: ConnId(9999), how: CloseReason::Fin });
}
