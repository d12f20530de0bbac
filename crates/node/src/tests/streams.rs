//! Connections that wait for entries of streams.

use crate::testkit::Kit;
use crate::{Message, Next};

/// The one answer since the last question.
#[track_caller]
fn answer(kit: &Kit) -> String {
    match &kit.messages()[..] {
        [Message::Unblock { bytes, .. }] => crate::testkit::readable(bytes),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn waits(kit: &mut Kit, session: &mut crate::Session, line: &str) {
    assert_eq!(kit.line_of(session, line), "");
    assert_eq!(kit.next, Next::Blocked);
}

#[test]
fn a_read_gets_what_is_added() {
    let mut kit = Kit::default();
    let mut waiter = kit.connect();
    kit.check(&[("xadd k 1-1 a 1", "$3 1-1")]);
    waits(&mut kit, &mut waiter, "xread block 0 streams no k $ $");
    kit.check(&[("xadd k 1-2 a 2", "$3 1-2")]);
    assert_eq!(answer(&kit), "*1 *2 $1 k *1 *2 $3 1-2 *2 $1 a $1 2");
    // Other changes and other types wake nobody up, a new stream does.
    waits(&mut kit, &mut waiter, "xread block 0 streams new k 0 $");
    kit.check(&[
        ("set new text", "+OK"),
        ("del new k", ":2"),
        ("xgroup create new g 0 mkstream", "+OK"),
    ]);
    assert!(kit.messages().is_empty());
    kit.check(&[("multi", "+OK"), ("xadd new 1 a 1", "+QUEUED"), ("xadd new 2 a 2", "+QUEUED")]);
    kit.line("exec");
    assert_eq!(answer(&kit), "*1 *2 $3 new *2 *2 $3 1-0 *2 $1 a $1 1 *2 $3 2-0 *2 $1 a $1 2");
}

#[test]
fn consumers_share_what_is_added() {
    let mut kit = Kit::default();
    let (mut one, mut two) = (kit.connect(), kit.connect());
    kit.check(&[("xgroup create k g $ mkstream", "+OK")]);
    waits(&mut kit, &mut one, "xreadgroup group g a block 0 streams k >");
    waits(&mut kit, &mut two, "xreadgroup group g b count 1 block 0 streams k >");
    kit.check(&[("xadd k 1-1 a 1", "$3 1-1")]);
    assert_eq!(answer(&kit), "*1 *2 $1 k *1 *2 $3 1-1 *2 $1 a $1 1");
    kit.check(&[("xadd k 1-2 a 2", "$3 1-2")]);
    assert_eq!(answer(&kit), "*1 *2 $1 k *1 *2 $3 1-2 *2 $1 a $1 2");
    kit.check(&[("xpending k g", "*4 :2 $3 1-1 $3 1-2 *2 *2 $1 a $1 1 *2 $1 b $1 1")]);
}

#[test]
fn consumers_learn_that_there_is_nothing_to_wait_for() {
    let no_group = "-NOGROUP No such key 'k' or consumer group 'g' in XREADGROUP with GROUP option";
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for (line, expected) in [
        ("xgroup destroy k g", no_group),
        ("del k", no_group),
        ("rename k other", no_group),
        ("rename s k", wrong_type),
        ("set k text", wrong_type),
        ("flushall", no_group),
        ("swapdb 0 1", no_group),
        ("pexpireat k 1", no_group),
    ] {
        let mut kit = Kit::default();
        let mut waiter = kit.connect();
        kit.check(&[("xgroup create k g $ mkstream", "+OK"), ("set s text", "+OK")]);
        waits(&mut kit, &mut waiter, "xreadgroup group g a block 0 streams k >");
        kit.line(line);
        assert_eq!(answer(&kit), expected, "after {line}");
    }
}

#[test]
fn an_expired_key_ends_the_wait() {
    let no_group = "-NOGROUP No such key 'k' or consumer group 'g' in XREADGROUP with GROUP option";
    for by_the_clock in [false, true] {
        let mut kit = Kit::default();
        let mut waiter = kit.connect();
        kit.check(&[
            ("xgroup create k g $ mkstream", "+OK"),
            ("xgroup create k2 g $ mkstream", "+OK"),
            ("pexpire k 50", ":1"),
        ]);
        let keys = if by_the_clock { "k k2 > >" } else { "k >" };
        let line = format!("xreadgroup count 1 group g a block 0 streams {keys}");
        waits(&mut kit, &mut waiter, &line);
        kit.advance(5000);
        if by_the_clock {
            let (mut removed, now) = (Vec::new(), kit.node.host.now().unix().0);
            for stripe in 0..kit.node.keyspace.stripes() {
                let mut held = kit.node.keyspace.hold(keyspace::StripeMask(1 << stripe));
                held.stripe(stripe).expire_step(now, 100, &mut removed);
            }
            assert_eq!(removed.len(), 1);
            kit.node.end_waits_of_removed(&removed);
        } else {
            kit.check(&[("exists k", ":0")]);
        }
        assert_eq!(answer(&kit), no_group);
        // The wait is over on all keys.
        kit.check(&[("xadd k2 1-1 a b", "$3 1-1")]);
        assert!(kit.messages().is_empty());
    }
}
