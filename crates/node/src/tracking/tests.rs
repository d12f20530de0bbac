//! Tests of client-side caching and of sharded pub/sub, with a whole node.

use super::*;
use crate::testkit::{Kit, readable};
use std::collections::BTreeSet;

/// Readable messages of one connection.
fn told(kit: &Kit, session: &Session) -> String {
    let mut all = Vec::new();
    for message in kit.messages() {
        match message {
            Message::Push { client, bytes } if client == session.id() => all.extend(bytes),
            Message::PushAll { clients, bytes } if clients.contains(&session.id()) => {
                all.extend_from_slice(&bytes);
            }
            Message::Push { .. } | Message::PushAll { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    readable(&all)
}

fn resp3(kit: &Kit) -> Session {
    let mut session = kit.connect();
    session.set_protocol(Protocol::Resp3);
    session
}

#[test]
fn who_has_read_a_key_is_told_once() {
    let mut kit = Kit::resp3();
    let mut reader = resp3(&kit);
    assert_eq!(kit.line_of(&mut reader, "client tracking on"), "+OK");
    kit.line_of(&mut reader, "mget k l");
    kit.check(&[("set k 1", "+OK"), ("set k 2", "+OK")]);
    assert_eq!(told(&kit, &reader), ">2 $10 invalidate *1 $1 k");
    assert_eq!(kit.node.tracking.counts().keys, 1);
    kit.check(&[("select 3", "+OK"), ("set l 1", "+OK"), ("set other 1", "+OK")]);
    assert_eq!(told(&kit, &reader), ">2 $10 invalidate *1 $1 l", "whatever the database");
    kit.line_of(&mut reader, "client tracking off");
    assert_eq!(kit.node.tracking.counts(), TrackingCounts::default());
    assert!(!kit.node.keyspace.notes_changes());
}

#[test]
fn own_changes_come_behind_the_reply_and_behind_exec() {
    let mut kit = Kit::resp3();
    kit.check(&[
        ("client tracking on", "+OK"),
        ("get k", "_"),
        ("set k 1", "+OK >2 $10 invalidate *1 $1 k"),
        ("get k", "$1 1"),
        ("multi", "+OK"),
        ("set k 2", "+QUEUED"),
        ("get k", "+QUEUED"),
        ("set k 3", "+QUEUED"),
        ("exec", "*3 +OK $1 2 +OK >2 $10 invalidate *1 $1 k >2 $10 invalidate *1 $1 k"),
        ("flushall", "+OK >2 $10 invalidate _"),
        ("client tracking on noloop", "+OK"),
        ("get k", "_"),
        ("set k 1", "+OK"),
        ("client reply off", ""),
        ("client tracking on", ""),
        ("get k", ""),
        ("set k 2", ">2 $10 invalidate *1 $1 k"),
    ]);
    assert!(kit.messages().is_empty());
}

#[test]
fn opting_in_and_out() {
    let mut kit = Kit::resp3();
    let mut reader = resp3(&kit);
    let mut run = |kit: &mut Kit, lines: &[&str]| {
        for line in lines {
            kit.line_of(&mut reader, line);
        }
        kit.line("mset a 1 b 1 c 1");
        let keys: Vec<String> = told(kit, &reader)
            .split(' ')
            .filter(|word| matches!(*word, "a" | "b" | "c"))
            .map(str::to_owned)
            .collect();
        keys.join(" ")
    };
    let on = ["client tracking on optin", "get a", "client caching yes", "get b", "get c"];
    assert_eq!(run(&mut kit, &on), "b");
    let multi = ["client caching yes", "multi", "get a", "get b", "exec", "get c"];
    assert_eq!(run(&mut kit, &multi), "a b");
    let late = ["multi", "get a", "client caching yes", "get b", "exec", "get c"];
    assert_eq!(run(&mut kit, &late), "b");
    assert_eq!(run(&mut kit, &["client caching yes", "client id", "get a", "get b"]), "a");
    let out =
        ["client tracking off", "client tracking on optout", "client caching no", "get a", "get b"];
    assert_eq!(run(&mut kit, &out), "b");
}

#[test]
fn broadcast_by_prefix() {
    let mut kit = Kit::resp3();
    let mut reader = resp3(&kit);
    kit.line_of(&mut reader, "client tracking on bcast prefix p: prefix q:");
    kit.line("mset p:2 1 p:1 1 q:1 1 z 1");
    let all = ">2 $10 invalidate *2 $3 p:1 $3 p:2 >2 $10 invalidate *1 $3 q:1";
    assert_eq!(told(&kit, &reader), all);
    assert_eq!(kit.line_of(&mut reader, "set p:1 3"), "+OK >2 $10 invalidate *1 $3 p:1");
    for line in ["multi", "set p:9 3", "set p:1 3"] {
        kit.line(line);
    }
    kit.line("exec");
    assert_eq!(told(&kit, &reader), ">2 $10 invalidate *2 $3 p:1 $3 p:9");
    assert_eq!(kit.node.tracking.counts().prefixes, 2);
    kit.line_of(&mut reader, "client tracking on bcast noloop");
    assert_eq!(kit.line_of(&mut reader, "set z 1"), "+OK");
    kit.line("set z 1");
    assert_eq!(told(&kit, &reader), ">2 $10 invalidate *1 $1 z");
    kit.node.session_ended(&mut reader);
    assert_eq!(kit.node.tracking.counts(), TrackingCounts::default());
    kit.line("set z 1");
    assert!(kit.messages().is_empty());
}

#[test]
fn keys_that_go_by_themselves() {
    let mut kit = Kit::resp3();
    let mut reader = resp3(&kit);
    let mut everything = resp3(&kit);
    kit.line("mset k 1 l 1");
    kit.line("pexpire k 10");
    kit.line_of(&mut reader, "client tracking on");
    kit.line_of(&mut everything, "client tracking on bcast");
    kit.line_of(&mut reader, "get k");
    kit.advance(20);
    kit.line("get k");
    assert_eq!(told(&kit, &reader), ">2 $10 invalidate *1 $1 k", "found by a read");
    kit.line_of(&mut reader, "get l");
    kit.node.key_went(b"l");
    let messages = kit.messages();
    assert_eq!(messages.len(), 2, "{messages:?}");
    kit.line("flushdb");
    assert_eq!(told(&kit, &everything), ">2 $10 invalidate _");
}

#[test]
fn redirection_and_its_end() {
    let mut kit = Kit::default();
    let (mut data, mut listener) = (kit.connect(), kit.connect());
    let on = format!("client tracking on redirect {}", listener.id());
    assert_eq!(kit.line_of(&mut data, &on), "+OK");
    kit.line_of(&mut data, "get k");
    kit.line("set k 1");
    assert_eq!(told(&kit, &listener), "", "it does not listen yet");
    kit.line_of(&mut listener, "subscribe __redis__:invalidate");
    kit.line_of(&mut data, "get k");
    kit.line("set k 2");
    assert_eq!(told(&kit, &listener), "*3 $7 message $20 __redis__:invalidate *1 $1 k");
    kit.line("flushall");
    assert_eq!(told(&kit, &listener), "*3 $7 message $20 __redis__:invalidate $-1");
    kit.line_of(&mut data, "get k");
    kit.line_of(&mut data, "hello 3");
    let id = listener.id();
    kit.node.session_ended(&mut listener);
    kit.line("set k 3");
    assert_eq!(told(&kit, &data), format!(">2 $21 tracking-redir-broken :{id}"));
    let info = kit.line_of(&mut data, "client info");
    assert!(info.contains(" flags=tR ") && info.contains(&format!(" redir={id} ")), "{info}");
    let info = kit.line_of(&mut data, "client trackinginfo");
    assert!(info.contains("~2 $2 on $15 broken_redirect"), "{info}");
}

#[test]
fn the_tables_stay_within_their_limit() {
    let mut kit = Kit::new(|config| config.tracking_table_max_keys = 5);
    let mut reader = resp3(&kit);
    kit.line_of(&mut reader, "client tracking on");
    for key in 0..50 {
        kit.line_of(&mut reader, &format!("get k{key}"));
        assert!(kit.node.tracking.counts().keys <= 5);
    }
    let gone = told(&kit, &reader).matches("invalidate").count();
    assert_eq!(gone, 45);
    assert_eq!(kit.node.tracking.counts().items, 5);
}

#[test]
fn modes_that_do_not_go_together() {
    let mut kit = Kit::default();
    kit.check(&[
        ("client tracking foo", "-ERR syntax error"),
        ("client tracking on redirect", "-ERR syntax error"),
        ("client tracking on redirect 99999", "-ERR The client ID you want redirect to does not exist"),
        ("client tracking on redirect a", "-ERR value is not an integer or out of range"),
        ("client tracking on redirect 1 redirect 1", "-ERR A client can only redirect to a single other client"),
        ("client tracking on prefix a", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("client tracking on bcast optin", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("client tracking on optin optout", "-ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("client tracking on optin", "+OK"),
        ("client getredir", ":0"),
        (
            "client tracking on optout",
            "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        (
            "client tracking on bcast",
            "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        ("client caching no", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        ("client caching foo", "-ERR syntax error"),
        ("client caching yes", "+OK"),
        ("client trackinginfo", "*6 $5 flags *3 $2 on $5 optin $11 caching-yes $8 redirect :0 $8 prefixes *0"),
        ("reset", "+RESET"),
        (
            "client tracking on bcast prefix ab prefix a",
            "-ERR Prefix 'ab' overlaps with another provided prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        ("client tracking on bcast prefix ab prefix c", "+OK"),
        (
            "client tracking on bcast prefix a",
            "-ERR Prefix 'a' overlaps with an existing prefix 'ab'. Prefixes for a single client must not overlap.",
        ),
    ]);
}

/// The table against a plain map.
#[test]
fn the_table_is_a_map() {
    let mut rng = Prng::new(5);
    let (mut table, mut model) = (Table::default(), BTreeMap::<Vec<u8>, BTreeSet<u64>>::new());
    for _ in 0..20_000 {
        let key = format!("k{}", rng.below(200)).into_bytes();
        // Few hash values, so that keys meet.
        let hash = hash_bytes(&key) % 16;
        let same = |tracked: Option<Tracked>, clients: Option<BTreeSet<u64>>| {
            let tracked = tracked.map(|tracked| tracked.clients.to_vec());
            assert_eq!(tracked, clients.map(|clients| clients.into_iter().collect()));
        };
        match rng.below(10) {
            0..6 => {
                let client = rng.below(6);
                let new_key = !model.contains_key(&key);
                let new_item = model.entry(key.clone()).or_default().insert(client);
                assert_eq!(table.insert(hash, &key, client), (new_key, new_item));
            }
            6..9 => same(table.remove(hash, &key), model.remove(&key)),
            _ => match table.remove_any(&mut rng) {
                Some(tracked) => {
                    let clients = model.remove(tracked.key.as_ref());
                    same(Some(tracked), clients);
                }
                None => assert!(model.is_empty()),
            },
        }
        assert_eq!((table.entries.len(), table.index.len()), (model.len(), model.len()));
    }
}

#[test]
fn shard_channels() {
    let mut kit = Kit::resp3();
    let mut other = kit.connect();
    let listen = kit.line_of(&mut other, "ssubscribe x y");
    assert_eq!(listen, "*3 $10 ssubscribe $1 x :1 *3 $10 ssubscribe $1 y :2");
    assert_eq!(kit.line_of(&mut other, "subscribe z"), "*3 $9 subscribe $1 z :1");
    assert!(kit.line_of(&mut other, "client info").starts_with("-ERR Can't execute 'client|info'"));
    let line = kit.text("client list");
    assert!(line.contains(" flags=P ") && line.contains(" sub=1 psub=0 ssub=2 "), "{line}");
    kit.check(&[
        ("publish x m", ":0"),
        ("spublish z m", ":0"),
        ("spublish x m", ":1"),
        ("pubsub channels", "*1 $1 z"),
        ("pubsub shardchannels", "*2 $1 x $1 y"),
        ("pubsub shardchannels y*", "*1 $1 y"),
        ("pubsub shardnumsub x q", "*4 $1 x :1 $1 q :0"),
        ("pubsub shardchannels a b", "-ERR unknown subcommand or wrong number of arguments for 'shardchannels'. Try PUBSUB HELP."),
        ("psubscribe *", ">3 $10 psubscribe $1 * :1"),
        ("spublish y m", ":1"),
        ("multi", "+OK"),
        ("ssubscribe q", "+QUEUED"),
        ("exec", "*1 -ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"),
        ("client reply off", ""),
        ("ssubscribe q", ">3 $10 ssubscribe $1 q :1"),
        ("client reply on", "+OK"),
        ("spublish q m", ">3 $8 smessage $1 q $1 m :1"),
        ("reset", "+RESET"),
        ("pubsub shardnumsub q", "*2 $1 q :0"),
    ]);
    let heard = "*3 $8 smessage $1 x $1 m *3 $8 smessage $1 y $1 m";
    assert_eq!(told(&kit, &other), heard);
    assert_eq!(
        kit.line_of(&mut other, "sunsubscribe x q"),
        "*3 $12 sunsubscribe $1 x :1 *3 $12 sunsubscribe $1 q :1"
    );
    kit.line_of(&mut other, "unsubscribe");
    assert_eq!(kit.line_of(&mut other, "sunsubscribe"), "*3 $12 sunsubscribe $1 y :0");
    assert_eq!(kit.line_of(&mut other, "sunsubscribe"), "*3 $12 sunsubscribe $-1 :0");
    assert_eq!(kit.line_of(&mut other, "ping"), "+PONG");
}
