//! CLIENT.

use crate::testkit::Kit;
use crate::{Message, Next, Session};

fn killed(kit: &Kit) -> Vec<u64> {
    kit.messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Close { client, flush: false } => Some(client),
            _ => None,
        })
        .collect()
}

#[test]
fn names() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client", "-ERR wrong number of arguments for 'client' command"),
        ("client foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP."),
        ("client id x", "-ERR wrong number of arguments for 'client|id' command"),
        ("client id", ":1"),
        ("client getname", "$-1"),
        (
            "client setname \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        ("client setname bob", "+OK"),
        ("client getname", "$3 bob"),
        ("client setname \"\"", "+OK"),
        ("client getname", "$-1"),
        ("client setinfo lib-name redis-py", "+OK"),
        ("client setinfo LIB-VER 5.0", "+OK"),
        ("client setinfo lib-foo 5.0", "-ERR Unrecognized option 'lib-foo'"),
        (
            "client setinfo lib-ver \"5 0\"",
            "-ERR lib-ver cannot contain spaces, newlines or special characters.",
        ),
        ("client setinfo lib-ver", "-ERR wrong number of arguments for 'client|setinfo' command"),
        ("client capa redirect", "+OK"),
        ("client maint_notifications on moving-endpoint-type internal-ip", "+OK"),
        ("client maint_notifications off", "+OK"),
        ("client maint_notifications on moving-endpoint-type x", "-ERR syntax error"),
        ("client maint_notifications maybe", "-ERR syntax error"),
    ]);
    let text = kit.text("client info");
    assert!(
        text.ends_with(
            "cmd=client|info user=default redir=-1 resp=2 lib-name=redis-py lib-ver=5.0\n"
        ),
        "{text}"
    );
}

#[test]
fn lists() {
    let mut kit = Kit::default();
    let mut other = kit.connect();
    kit.line_of(&mut other, "subscribe a b");
    kit.check(&[
        ("client list type", "-ERR syntax error"),
        ("client list type foo", "-ERR Unknown client type 'foo'"),
        ("client list type master", "$0 "),
        ("client list id", "-ERR syntax error"),
        ("client list id 1 2 x", "-ERR Invalid client ID"),
        ("client list id 999", "$0 "),
        ("client list foo bar", "-ERR syntax error"),
        ("client list id 1 type normal", "-ERR Invalid client ID"),
        ("client list type normal id 1", "-ERR syntax error"),
    ]);
    let text = kit.text("client list");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(
        "id=1 addr=127.0.0.1:40001 laddr=127.0.0.1:6379 fd=8 name= age=0 idle=0 flags=N db=0 sub=0 "
    ));
    assert!(lines[0].contains(" cmd=client|list "));
    assert!(lines[1].contains(" flags=P db=0 sub=2 psub=0 ssub=0 multi=-1 "), "{}", lines[1]);
    assert!(kit.text("client list type pubsub").starts_with("id=2 "));
    let both = kit.text("client list id 2 1");
    assert!(both.starts_with("id=2 ") && both.contains("\nid=1 "), "{both}");
    let mut kit = Kit::resp3();
    assert!(kit.line("client list").starts_with("=2"), "verbatim");
    assert!(kit.line("client info").contains("txt:id=1 "));
}

#[test]
fn kill_by_filters() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client kill", "-ERR wrong number of arguments for 'client|kill' command"),
        ("client kill foo", "-ERR No such client"),
        ("client kill id", "-ERR No such client"),
        ("client kill id abc", "-ERR client-id should be greater than 0"),
        ("client kill id 0", "-ERR client-id should be greater than 0"),
        ("client kill id 9999999999999999999", "-ERR client-id should be greater than 0"),
        ("client kill id 999", ":0"),
        ("client kill type foo", "-ERR Unknown client type 'foo'"),
        ("client kill user nobody", "-ERR No such user 'nobody'"),
        ("client kill user default skipme foo", "-ERR syntax error"),
        ("client kill skipme yes", ":0"),
        ("client kill id 9999 foo", "-ERR syntax error"),
        ("client kill maxage x", "-ERR maxage is not an integer or out of range"),
        ("client kill maxage 0", "-ERR maxage should be greater than 0"),
        ("client kill maxage 5", ":0"),
    ]);
    assert_eq!((killed(&kit), kit.next), (vec![], Next::Continue));
    let others: Vec<Session> = (0..5).map(|_| kit.connect()).collect();
    let mut listener = kit.connect();
    kit.line_of(&mut listener, "psubscribe *");
    let replica = kit.connect();
    replica.info.replica.store(true, std::sync::atomic::Ordering::Relaxed);
    let ids: Vec<u64> = others.iter().map(Session::id).collect();
    kit.check(&[(&format!("client kill id {} type pubsub", ids[0]), ":0")]);
    kit.check(&[
        (&format!("client kill id {}", ids[0]), ":1"),
        (&format!("client kill id {}", ids[0]), ":0"),
    ]);
    assert_eq!(killed(&kit), [ids[0]]);
    let listed = kit.text("client list");
    let shows = |id: u64| listed.lines().any(|line| line.starts_with(&format!("id={id} ")));
    assert!(!shows(ids[0]) && shows(ids[1]), "whoever was killed is gone at once: {listed}");
    kit.check(&[("client kill type pubsub", ":1"), ("client kill type REPLICA", ":1")]);
    assert_eq!(killed(&kit), [listener.id(), replica.id()]);
    kit.check(&[(&format!("client kill {}", others[1].info.addr), "+OK")]);
    assert_eq!(killed(&kit), [ids[1]]);
    kit.advance(7000);
    let young = kit.connect();
    kit.check(&[("client kill maxage 7 type normal laddr 127.0.0.1:6379 user default", ":3")]);
    assert_eq!(killed(&kit), ids[2..]);
    assert_eq!(kit.next, Next::Continue, "not the one that asks");
    kit.check(&[("client kill skipme no type normal", ":2")]);
    assert_eq!((killed(&kit), kit.next), (vec![young.id()], Next::Close));
}

#[test]
fn kill_in_a_transaction_ends_the_own_connection_after_its_replies() {
    let mut kit = Kit::default();
    let other = kit.connect();
    kit.check(&[
        ("multi", "+OK"),
        ("config rewrite", "+QUEUED"),
        ("client kill type normal", "+QUEUED"),
        ("client kill type pubsub", "+QUEUED"),
        ("exec", "*3 +OK :1 :0"),
    ]);
    assert_eq!((killed(&kit), kit.next), (vec![other.id()], Next::Continue));
    kit.check(&[
        ("multi", "+OK"),
        ("client kill id 1 skipme no", "+QUEUED"),
        ("set k v", "+QUEUED"),
        ("exec", "*2 :1 +OK"),
    ]);
    assert_eq!(kit.next, Next::Close);
}

#[test]
fn pause_and_unpause() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client pause", "-ERR wrong number of arguments for 'client|pause' command"),
        ("client pause abc", "-ERR timeout is not an integer or out of range"),
        ("client pause -1", "-ERR timeout is negative"),
        ("client pause 9223372036854775807", "-ERR timeout is out of range"),
        ("client pause 1 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
        (
            "client pause 1 all x",
            "-ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP.",
        ),
        ("client pause 100 write", "+OK"),
        ("get k", "$-1"),
        ("set k v", ""),
    ]);
    assert_eq!(kit.next, Next::Held);
    kit.advance(100);
    kit.check(&[
        ("set k v", "+OK"),
        ("client pause 100 all", "+OK"),
        ("client pause 10 write", "+OK"),
    ]);
    kit.advance(50);
    kit.check(&[("get k", "")]);
    assert_eq!(kit.next, Next::Held, "the longer and stricter pause stays");
    assert!(kit.messages().is_empty());
    kit.check(&[("client unpause", "+OK"), ("get k", "$1 v")]);
    assert!(matches!(kit.messages()[..], [Message::Resume]));
}

#[test]
fn unblock() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client unblock 1", ":0"),
        ("client unblock -5", ":0"),
        ("client unblock abc", "-ERR value is not an integer or out of range"),
        ("client unblock 1 foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        (
            "client unblock 1 timeout x",
            "-ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.",
        ),
    ]);
    let mut waiter = kit.connect();
    let answer = |kit: &Kit| match &kit.messages()[..] {
        [Message::Unblock { client, bytes, .. }] => {
            (*client, String::from_utf8_lossy(bytes).trim().to_string())
        }
        other => panic!("{other:?}"),
    };
    for (how, expected) in [
        ("", "*-1"),
        (" timeout", "*-1"),
        (" error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        assert_eq!(kit.line_of(&mut waiter, "blpop a b 0"), "");
        assert_eq!(kit.next, Next::Blocked);
        let line = format!("client unblock {}{how}", waiter.id());
        kit.check(&[(&line, ":1"), (&line, ":0")]);
        assert_eq!(answer(&kit), (waiter.id(), expected.to_string()));
    }
    assert_eq!(kit.line_of(&mut waiter, "wait 1 0"), "");
    let line = format!("client unblock {}", waiter.id());
    kit.check(&[
        ("multi", "+OK"),
        ("rpush a x", "+QUEUED"),
        (&line, "+QUEUED"),
        ("exec", "*2 :1 :1"),
    ]);
    assert_eq!(answer(&kit), (waiter.id(), ":0".to_string()));
    assert_eq!(kit.line_of(&mut waiter, "blpop q 0"), "");
    kit.check(&[
        ("multi", "+OK"),
        ("set other x", "+QUEUED"),
        (&line, "+QUEUED"),
        ("exec", "*2 +OK :1"),
    ]);
    assert_eq!(answer(&kit).1, "*-1", "also where the transaction holds its keys' stripes");
}

#[test]
fn reply_modes() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client reply foo", "-ERR syntax error"),
        ("client reply on", "+OK"),
        ("client reply off", ""),
        ("ping", ""),
        ("client reply skip", ""),
        ("ping", ""),
        ("client reply on", "+OK"),
        ("client reply skip", ""),
        ("ping", ""),
        ("ping", "+PONG"),
    ]);
}

#[test]
fn caching_is_off_at_first() {
    let mut kit = Kit::resp3();
    kit.check(&[
        ("client getredir", ":-1"),
        ("client trackinginfo", "%3 $5 flags ~1 $3 off $8 redirect :-1 $8 prefixes *0"),
        ("client tracking off", "+OK"),
        ("client tracking foo", "-ERR syntax error"),
        ("client no-evict on", "+OK"),
        ("client no-evict foo", "-ERR syntax error"),
        ("client no-touch on", "+OK"),
        ("client no-touch", "-ERR wrong number of arguments for 'client|no-touch' command"),
    ]);
    assert!(
        kit.line("client caching yes").starts_with("-ERR CLIENT CACHING can be called only when")
    );
    let text = kit.text("client info");
    assert!(text.contains(" flags=eT "), "{text}");
    assert!(kit.line("client help").starts_with("*"));
}
