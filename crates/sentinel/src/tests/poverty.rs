//! A master that comes back with less than its replicas have.

use super::Bench;
use crate::{CloseReason, Input};

const MASTER: &str = "10.0.0.1:6379";
const REPLICA: &str = "10.0.0.2:6379";

fn master_info(run: char, offset: u64, keys: u64, more: &str) -> String {
    let run = run.to_string().repeat(40);
    format!(
        "run_id:{run}\r\n{more}role:master\r\nmaster_repl_offset:{offset}\r\n\
         slave0:ip=10.0.0.2,port=6379,state=online,offset={offset},lag=0\r\n\
         # Keyspace\r\ndb0:keys={keys},expires=0,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n"
    )
}

fn replica_info(offset: u64, keys: u64) -> String {
    let run = "c".repeat(40);
    format!(
        "run_id:{run}\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
         master_link_status:up\r\nslave_repl_offset:{offset}\r\nslave_priority:100\r\n\
         # Keyspace\r\ndb0:keys={keys},expires=0,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n"
    )
}

/// A master with ten keys and a replica, seen; then the master's connection ends and stands again.
fn restarted() -> (Bench, crate::ConnId, crate::ConnId) {
    let mut bench = Bench::simple();
    let conn = bench.connect(MASTER);
    bench.serve(conn, &master_info('a', 500, 10, ""));
    let replica = bench.connect(REPLICA);
    bench.serve(replica, &replica_info(500, 10));
    bench.input(Input::Closed { conn, how: CloseReason::Fin });
    bench.pass(60);
    bench.serve(replica, &replica_info(500, 10));
    let conn = bench.connect(MASTER);
    (bench, conn, replica)
}

fn found_poor(bench: &Bench) -> bool {
    bench.has_logged("+came-back-empty master mymaster 10.0.0.1 6379")
}

#[test]
fn it_counts_as_down_and_is_told() {
    let (mut bench, conn, _) = restarted();
    bench.serve(conn, &master_info('b', 0, 0, ""));
    assert!(found_poor(&bench));
    assert!(bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    let told = bench.sent(conn);
    assert!(told.iter().any(|words| *words == ["REPLCONF", "empty-master", "500"]), "{told:?}");
}

#[test]
fn who_is_not_poor() {
    // The same process without keys: FLUSHALL. A new one with all keys, with a longer history, or
    // still at loading.
    for info in [
        master_info('a', 600, 0, ""),
        master_info('b', 0, 10, ""),
        master_info('b', 600, 0, ""),
        master_info('b', 0, 0, "loading:1\r\n"),
    ] {
        let (mut bench, conn, _) = restarted();
        bench.serve(conn, &info);
        assert!(!found_poor(&bench), "{info}");
        assert!(!bench.has_logged("+sdown master mymaster 10.0.0.1 6379"));
    }
}

#[test]
fn it_is_judged_when_it_has_loaded() {
    let (mut bench, conn, replica) = restarted();
    bench.serve(conn, &master_info('b', 0, 0, "loading:1\r\n"));
    bench.pass(990);
    bench.serve(replica, &replica_info(500, 10));
    bench.pass(20);
    bench.serve(conn, &master_info('b', 0, 3, "loading:0\r\n"));
    assert!(found_poor(&bench));
}
