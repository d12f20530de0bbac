//! A master that comes back empty, and readers that fall behind too far.

use replication::{ReplicaInput, ReplicaOptions, ReplicaOutput};

use crate::harness::{Replica, command, id, says, text};

/// In sync at `offset` of history b, then cut off; the next handshake is answered by history c at 0.
fn offered_another(offset: u64) -> (Replica, Vec<ReplicaOutput>) {
    let mut r = Replica::new(ReplicaOptions::default());
    r.replicaof();
    r.up_to_psync();
    r.hear(format!("+FULLRESYNC {} {offset}\r\n", id('b')).as_bytes());
    r.hear(b"$5\r\nREDIS");
    r.load();
    r.lose();
    r.up_to_psync();
    r.hear(format!("+FULLRESYNC {} 0\r\n", id('c')).as_bytes());
    let outputs = r.hear(b"$5\r\nREDIS");
    r.take_lines();
    (r, outputs)
}

fn inspected(
    r: &mut Replica,
    incoming_empty: bool,
    own_keys: u64,
    guarded: bool,
) -> Vec<ReplicaOutput> {
    let link = r.link.link();
    r.input(ReplicaInput::Inspected { link, incoming_empty, own_keys, guarded })
}

#[test]
fn a_shorter_foreign_history_is_looked_at_first() {
    let (mut r, outputs) = offered_another(100);
    assert!(matches!(outputs.last(), Some(ReplicaOutput::Inspect { .. })));
    let outputs = inspected(&mut r, true, 7, true);
    assert_eq!(says(&outputs), "");
    assert!(matches!(outputs.last(), Some(ReplicaOutput::Close { .. })));
    assert_eq!(r.link.status(r.now).unwrap().empty_refused, 1);
    assert_eq!((r.log.ids().replid, r.log.offset()), (id('b'), 100), "its history is kept");
    assert!(r.take_lines()[0].contains("came back empty, with another history; the 7 keys"));
    // It asks again from time to time, with its own history.
    let outputs = r.pass(100);
    assert!(outputs.iter().any(|o| matches!(o, ReplicaOutput::Connect { .. })));
    r.connected();
    let told = says(&r.hear(b"+PONG\r\n"));
    assert!(told.ends_with(&text(&command(&["REPLCONF", "empty-master", "100"]))), "{told}");
    let psync = says(&r.hear(b"+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: empty-master\r\n"));
    assert_eq!(psync, text(&command(&["PSYNC", id('b').as_str(), "101"])));
    // By now its history is longer than ours. That makes it no better.
    r.hear(format!("+FULLRESYNC {} 5000\r\n", id('c')).as_bytes());
    let outputs = r.hear(b"$5\r\nREDIS");
    assert!(matches!(outputs.last(), Some(ReplicaOutput::Inspect { .. })));
    inspected(&mut r, true, 7, true);
    r.pass(5_000);
    r.connected();
    r.hear(b"+PONG\r\n");
    r.hear(b"+OK\r\n+OK\r\n+OK\r\n");
    r.hear(b"+CONTINUE\r\n");
    assert_eq!(r.link.status(r.now).unwrap().empty_refused, 0);
}

#[test]
fn what_is_obeyed() {
    for (incoming_empty, own_keys, guarded) in [(false, 7, true), (true, 0, true), (true, 7, false)]
    {
        let (mut r, _) = offered_another(100);
        let outputs = inspected(&mut r, incoming_empty, own_keys, guarded);
        assert!(matches!(outputs[..], [ReplicaOutput::RdbEnd { .. }]));
        assert_eq!(r.take_lines().len(), usize::from(!guarded), "a warning if it is a loss");
    }
    let (_, outputs) = offered_another(0);
    assert!(matches!(outputs.last(), Some(ReplicaOutput::RdbEnd { .. })), "not shorter");
}

#[test]
fn a_deliberate_replicaof_is_obeyed() {
    let (mut r, _) = offered_another(100);
    inspected(&mut r, true, 7, true);
    // The same master, named again: it is meant.
    assert!(!r.replicaof().is_empty());
    r.up_to_psync();
    r.hear(format!("+FULLRESYNC {} 0\r\n", id('c')).as_bytes());
    let outputs = r.hear(b"$5\r\nREDIS");
    assert!(matches!(outputs.last(), Some(ReplicaOutput::RdbEnd { .. })));
}
