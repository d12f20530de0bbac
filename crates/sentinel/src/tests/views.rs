//! Addresses in views: what is learnt, kept, and told to whom.

use resp::{Protocol, Reply};
use stdx::ViewAddrs;

use super::{Bench, MYID, PEER, at};
use crate::Output;

const OUTSIDE: Option<&str> = Some("outside");

/// A group of a master and a replica that state an address in the view `outside`.
fn group() -> Bench {
    let mut bench = Bench::simple();
    let own = ViewAddrs::parse("outside=127.0.0.1:26379");
    bench.sentinel.set_views("outside address 127.0.0.1:26379".into(), own, read);
    let master = bench.connect("10.0.0.1:6379");
    bench.serve(master, "redoubt_version:1\r\nannounced_views:outside=127.0.0.1:36379\r\n");
    bench.pass(1500);
    let info = format!(
        "run_id:{}\r\nredoubt_version:1\r\nrole:master\r\nannounced_views:outside=127.0.0.1:36379\r\n\
         slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n",
        "1".repeat(40)
    );
    bench.serve(master, &info);
    bench.pass(10);
    let replica = bench.connect("10.0.0.2:6379");
    let info = format!(
        "run_id:{}\r\nredoubt_version:1\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
         master_link_status:up\r\nannounced_views:outside=127.0.0.1:36380,bad=x\r\n",
        "2".repeat(40)
    );
    bench.serve(replica, &info);
    bench
}

/// Stands for the driver: any text but `wrong` is fine, and the address follows from its length.
fn read(text: &str) -> Result<(String, ViewAddrs), String> {
    match text {
        "wrong" => Err("it is wrong".into()),
        _ => {
            Ok((text.trim().into(), ViewAddrs::parse(&format!("outside=127.0.0.1:{}", text.len()))))
        }
    }
}

fn ask(bench: &mut Bench, view: Option<&str>, words: &str) -> String {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let mut reply = Reply::new(Protocol::Resp2);
    let _ = bench.sentinel.command_in_view(at(bench.now), view, &words, &mut reply);
    bench.drain();
    String::from_utf8(reply.into_bytes()).unwrap()
}

fn bulk(words: &[&str]) -> String {
    words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect()
}

#[test]
fn every_reply_tells_the_address_of_the_view() {
    let mut bench = group();
    for (command, ordinary, outside) in [
        (
            "sentinel get-master-addr-by-name mymaster",
            bulk(&["10.0.0.1", "6379"]),
            bulk(&["127.0.0.1", "36379"]),
        ),
        (
            "sentinel master mymaster",
            bulk(&["ip", "10.0.0.1", "port", "6379"]),
            bulk(&["ip", "127.0.0.1", "port", "36379"]),
        ),
        (
            "sentinel masters",
            bulk(&["ip", "10.0.0.1", "port", "6379"]),
            bulk(&["ip", "127.0.0.1", "port", "36379"]),
        ),
        (
            "sentinel replicas mymaster",
            bulk(&["name", "10.0.0.2:6379", "ip", "10.0.0.2", "port", "6379"]),
            bulk(&["name", "127.0.0.1:36380", "ip", "127.0.0.1", "port", "36380"]),
        ),
        (
            "sentinel slaves mymaster",
            bulk(&["master-host", "10.0.0.1", "master-port", "6379"]),
            bulk(&["master-host", "127.0.0.1", "master-port", "36379"]),
        ),
        ("info sentinel", "address=10.0.0.1:6379,".into(), "address=127.0.0.1:36379,".into()),
    ] {
        let told = ask(&mut bench, None, command);
        assert!(told.contains(&ordinary) && !told.contains(&outside), "{command}: {told}");
        let told = ask(&mut bench, OUTSIDE, command);
        assert!(told.contains(&outside) && !told.contains(&ordinary), "{command}: {told}");
        // A view in which nobody has an address shows the ordinary ones.
        assert!(ask(&mut bench, Some("other"), command).contains(&ordinary), "{command}");
    }
}

#[test]
fn a_name_can_carry_the_view() {
    let mut bench = group();
    let get = "sentinel get-master-addr-by-name";
    let outside = format!("*2\r\n{}", bulk(&["127.0.0.1", "36379"]));
    let ordinary = format!("*2\r\n{}", bulk(&["10.0.0.1", "6379"]));
    assert_eq!(ask(&mut bench, None, &format!("{get} mymaster@outside")), outside);
    assert_eq!(ask(&mut bench, OUTSIDE, &format!("{get} mymaster@canonical")), ordinary);
    assert_eq!(ask(&mut bench, None, &format!("{get} mymaster@unheard-of")), "*-1\r\n");
    assert_eq!(ask(&mut bench, None, &format!("{get} other@outside")), "*-1\r\n");
    assert!(ask(&mut bench, None, "sentinel replicas mymaster@outside").contains("36380"));
    // Only what shows something takes it.
    let error = ask(&mut bench, None, "sentinel remove mymaster@outside");
    assert_eq!(error, "-ERR No such master with that name\r\n");
    let named = |words: &str| {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        bench.sentinel.view_in_name(&words)
    };
    assert_eq!(named(&format!("{get} mymaster@outside")).as_deref(), OUTSIDE);
    assert_eq!(named(&format!("{get} mymaster")), None);
    assert_eq!(named("sentinel masters"), None);
}

#[test]
fn events_are_told_in_every_view() {
    let mut bench = group();
    bench.outputs.clear();
    bench.hello(&format!("10.0.0.9,26379,{PEER},7,mymaster,10.0.0.2,6379,7"));
    let published = bench.outputs.iter().find_map(|output| match output {
        Output::Publish { channel, payload, views } if channel == "+switch-master" => {
            Some((payload.clone(), views.clone()))
        }
        _ => None,
    });
    let (payload, views) = published.expect("the peer's word counts");
    assert_eq!(payload, "mymaster 10.0.0.1 6379 10.0.0.2 6379");
    let told: Vec<(&str, bool, &str)> =
        views.iter().map(|v| (v.view.as_str(), v.suffixed, v.payload.as_str())).collect();
    assert_eq!(
        told,
        [
            ("outside", false, "mymaster 127.0.0.1 36379 127.0.0.1 36380"),
            ("outside", true, "mymaster@outside 127.0.0.1 36379 127.0.0.1 36380"),
            ("canonical", true, "mymaster@canonical 10.0.0.1 6379 10.0.0.2 6379"),
        ]
    );
    // The new master, which was the replica, keeps what it has said; so does the old one.
    assert!(
        ask(&mut bench, OUTSIDE, "sentinel get-master-addr-by-name mymaster").contains("36380")
    );
    assert!(ask(&mut bench, OUTSIDE, "sentinel replicas mymaster").contains("36379"));
    // Scripts, the log and what nodes are told stay as they were.
    assert!(bench.has_logged("+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379"));
}

#[test]
fn views_outlive_a_restart() {
    let mut bench = group();
    bench.hello(&format!("10.0.0.9,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    let peer = bench.connect("10.0.0.9:26379");
    let asked = bench.sent(peer);
    assert!(asked.iter().any(|command| command == &["INFO"]), "{asked:?}");
    bench.reply(peer, "+OK\r\n+PONG\r\n");
    for words in asked.iter().skip(2) {
        let info = "redoubt_version:1\r\nannounced_views:outside=127.0.0.1:26380\r\n";
        match words[0].as_str() {
            "INFO" => bench.reply(peer, &format!("${}\r\n{info}\r\n", info.len())),
            "PUBLISH" => bench.reply(peer, ":1\r\n"),
            _ => bench.reply(peer, "-ERR x\r\n"),
        }
    }
    let file = bench.file();
    for line in [
        "sentinel known-view mymaster 10.0.0.1 6379 outside=127.0.0.1:36379",
        "sentinel known-view mymaster 10.0.0.2 6379 outside=127.0.0.1:36380",
        "sentinel known-view mymaster 10.0.0.9 26379 outside=127.0.0.1:26380",
    ] {
        assert!(file.contains(line), "{file}");
    }
    let mut again = Bench::new(&file);
    let get = "sentinel get-master-addr-by-name mymaster";
    assert!(ask(&mut again, OUTSIDE, get).contains("36379"));
    assert!(ask(&mut again, OUTSIDE, "sentinel replicas mymaster").contains("36380"));
    assert!(ask(&mut again, OUTSIDE, "sentinel sentinels mymaster").contains("26380"));
    assert_eq!(again.file(), file, "nothing is said twice");
    // A server of another kind, which states no views, has those that the file gives it; one of our
    // kind has those that it states.
    let master = again.connect("10.0.0.1:6379");
    again.serve(master, "role:master\r\n");
    assert!(ask(&mut again, OUTSIDE, get).contains("36379"));
    again.pass(1500);
    again.serve(master, "redoubt_version:1\r\nrole:master\r\n");
    assert!(ask(&mut again, OUTSIDE, get).contains("10.0.0.1"));
    assert!(!again.file().contains("known-view mymaster 10.0.0.1"));
}

#[test]
fn peers_are_asked_only_where_views_are_used() {
    let mut bench = Bench::simple();
    bench.hello(&format!("10.0.0.9,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    let peer = bench.connect("10.0.0.9:26379");
    bench.pass(25_000);
    assert!(!bench.sent(peer).iter().any(|command| command[0] == "INFO"));
    assert!(!ask(&mut bench, None, "info").contains("announced_views"));
    let mut bench = group();
    assert!(ask(&mut bench, None, "info").contains("announced_views:outside=127.0.0.1:26379\r\n"));
}

#[test]
fn what_nodes_and_peers_hear_stays_as_it_was() {
    let mut bench = group();
    bench.hello(&format!("10.0.0.9,26379,{PEER},0,mymaster,10.0.0.1,6379,0"));
    let peer = bench.connect("10.0.0.9:26379");
    bench.pass(3000);
    let hellos: Vec<String> = bench
        .sent(peer)
        .into_iter()
        .filter(|command| command[0] == "PUBLISH")
        .map(|command| command[2].clone())
        .collect();
    let hello = format!("10.0.1.1,26379,{MYID},0,mymaster,10.0.0.1,6379,0");
    assert!(!hellos.is_empty() && hellos.iter().all(|text| *text == hello), "{hellos:?}");
}

#[test]
fn lines_of_the_file() {
    let head = "sentinel monitor m 10.0.0.1 6379 1\n";
    let error = |line: &str| {
        let text = format!("{head}{line}\n");
        crate::SentinelConf::parse(text.as_bytes()).map(|_| ()).map_err(|error| error.message)
    };
    assert_eq!(error("sentinel known-view m 10.0.0.1 6379 outside=127.0.0.1:1"), Ok(()));
    let expected = "Expected views and addresses, like outside=127.0.0.1:36379.";
    assert_eq!(error("sentinel known-view m 10.0.0.1 6379 x").unwrap_err(), expected);
    let unknown = "No such master with specified name.";
    assert_eq!(error("sentinel known-view x 10.0.0.1 6379 o=h:1").unwrap_err(), unknown);
    let statement = "Unrecognized sentinel configuration statement.";
    assert_eq!(error("sentinel known-view m 10.0.0.1 6379").unwrap_err(), statement);
}

#[test]
fn rules_change_at_run_time() {
    let mut bench = group();
    let get = "sentinel config get announce-view";
    let shown = |text: &str| format!("*2\r\n{}", bulk(&["announce-view", text]));
    assert_eq!(ask(&mut bench, None, get), shown("outside address 127.0.0.1:26379"));
    let words =
        |text: &'static str| -> [&str; 5] { ["sentinel", "config", "set", "announce-view", text] };
    let wrong = bench.command(&words("wrong"));
    assert_eq!(wrong, "-ERR Invalid value 'wrong' to SENTINEL CONFIG SET 'announce-view'\r\n");
    assert_eq!(bench.command(&words("o client-net gateway ")), "+OK\r\n");
    assert_eq!(ask(&mut bench, None, get), shown("o client-net gateway"));
    assert_eq!(bench.sentinel.view_rules(), "o client-net gateway");
    assert!(ask(&mut bench, None, "info").contains("announced_views:outside=127.0.0.1:21\r\n"));
    assert!(
        bench.file().contains("sentinel announce-view \"o client-net gateway\"\n"),
        "{}",
        bench.file()
    );
    let conf = crate::SentinelConf::parse(bench.file().as_bytes()).unwrap();
    assert_eq!(conf.announce_view(), Some("o client-net gateway"));
    let conf = crate::SentinelConf::parse(b"sentinel announce-view o user app p user x\n").unwrap();
    assert_eq!(conf.announce_view(), Some("o user app p user x"));
    assert_eq!(bench.command(&words("")), "+OK\r\n");
    assert!(!ask(&mut bench, None, "info").contains("announced_views"));
    assert!(!ask(&mut bench, None, "sentinel config get *").contains("announce-view"));
}
