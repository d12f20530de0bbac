//! Conclusions from what members say.

use super::*;
use crate::up::layout::Layout;
use crate::up::state::{ProcessId, State};
use crate::up::watch::{PeerFacts, ReplicaFacts};

fn model() -> Model {
    let record = |name: &str, kind, port| MemberRecord {
        name: name.into(),
        kind,
        port,
        process: ProcessId::own(),
    };
    let members = vec![
        record("node-1", Kind::Node, 1),
        record("node-2", Kind::Node, 2),
        record("sentinel-1", Kind::Sentinel, 11),
        record("sentinel-2", Kind::Sentinel, 12),
        record("sentinel-3", Kind::Sentinel, 13),
    ];
    let state = State { ip: "127.0.0.1".into(), members, ..State::default() };
    let layout = Layout::new(std::path::Path::new("x")).unwrap();
    let mut model =
        Model::new(Plan { layout, state, master: 0, password: None, notes: Vec::new() });
    for member in &mut model.members {
        // Any process will do: only its presence counts here.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        member.child = Some(child);
    }
    model
}

fn at(port: u16) -> Option<Address> {
    Some(("127.0.0.1".into(), port))
}

fn master_facts() -> NodeFacts {
    let replica = ReplicaFacts { port: 2, online: true, offset: 90, lag_s: 1 };
    NodeFacts {
        role: "master".into(),
        offset: 100,
        replicas: vec![replica],
        ..NodeFacts::default()
    }
}

fn replica_facts(link_up: bool) -> NodeFacts {
    NodeFacts { role: "slave".into(), follows: at(1), link_up, offset: 95, ..NodeFacts::default() }
}

fn sentinel_facts(id: &str, port: u16) -> SentinelFacts {
    let peer = |id: &str| PeerFacts { id: id.into(), ..PeerFacts::default() };
    SentinelFacts {
        my_id: id.into(),
        master: at(port),
        flags: vec!["master".into()],
        replicas: 1,
        sentinels: vec![peer("x"), peer("y")],
        ..SentinelFacts::default()
    }
}

fn healthy() -> Model {
    let mut model = model();
    model.take(Update::Node { member: 0, facts: Some(master_facts()) });
    model.take(Update::Node { member: 1, facts: Some(replica_facts(true)) });
    for (member, id) in [(2, "a"), (3, "b"), (4, "c")] {
        model.take(Update::Sentinel { member, facts: Some(sentinel_facts(id, 1)) });
    }
    model
}

#[test]
fn readiness_names_what_is_missing() {
    let mut model = healthy();
    assert_eq!(model.snapshot().waiting_for, Vec::<String>::new());
    assert!(model.snapshot().ready);
    model.take(Update::Node { member: 1, facts: Some(replica_facts(false)) });
    assert_eq!(model.snapshot().waiting_for, ["node-2: link to the master"]);
    model.take(Update::Node { member: 1, facts: None });
    assert_eq!(model.snapshot().waiting_for, ["node-2: silent"]);
    let mut facts = sentinel_facts("a", 1);
    facts.sentinels.pop();
    model.take(Update::Sentinel { member: 2, facts: Some(facts) });
    assert!(
        model.snapshot().waiting_for.contains(&"sentinel-1: knows 1 of 2 other sentinels".into())
    );
    let mut facts = sentinel_facts("a", 1);
    facts.flags.push("s_down".into());
    model.take(Update::Sentinel { member: 2, facts: Some(facts) });
    assert!(model.snapshot().waiting_for.contains(&"sentinel-1: s_down".into()));
}

#[test]
fn the_majority_names_the_master() {
    let mut model = healthy();
    assert_eq!(model.master(), Some(0));
    model.take(Update::Sentinel { member: 2, facts: Some(sentinel_facts("a", 2)) });
    assert_eq!(model.master(), Some(0));
    model.take(Update::Sentinel { member: 3, facts: Some(sentinel_facts("b", 2)) });
    assert_eq!(model.master(), Some(1));
    model.take(Update::Sentinel { member: 3, facts: None });
    // One against one.
    assert_eq!(model.master(), None);
    assert!(model.find("master").is_err());
    assert_eq!(model.find("NODE-2"), Ok(1));
    assert_eq!(model.find("13"), Ok(4));
    assert!(model.find("node-9").unwrap_err().contains("node-1, node-2"));
    for member in 2..5 {
        model.take(Update::Sentinel { member, facts: None });
    }
    // Nobody to ask but the nodes.
    assert_eq!(model.master(), Some(0));
}

#[test]
fn changes_become_events() {
    let mut model = model();
    let mut texts = |facts: NodeFacts| -> Vec<String> {
        let events = model.take(Update::Node { member: 1, facts: Some(facts) });
        events.into_iter().map(|event| event.text).collect()
    };
    assert_eq!(texts(NodeFacts { loading: true, ..replica_facts(false) }), ["loads its data set"]);
    assert_eq!(texts(replica_facts(false)), Vec::<String>::new());
    assert_eq!(texts(replica_facts(true)), ["follows node-1, link up"]);
    assert_eq!(texts(replica_facts(true)), Vec::<String>::new());
    assert_eq!(texts(replica_facts(false)), ["link to node-1 down"]);
    assert_eq!(texts(master_facts()), ["is a master"]);
    assert_eq!(texts(master_facts()), Vec::<String>::new());
}

#[test]
fn lag_is_the_masters_account() {
    let snapshot = healthy().snapshot();
    let replica = &snapshot.nodes[1];
    assert_eq!(
        (replica.lag_bytes, replica.lag_seconds, replica.offset),
        (Some(10), Some(1), Some(95))
    );
    assert_eq!(replica.link_text(), "node-1 up");
    assert_eq!(snapshot.nodes[0].link_text(), "1 replica");
    assert_eq!(snapshot.master_address.as_deref(), Some("127.0.0.1:1"));
}

#[test]
fn votes_come_from_events_and_peers() {
    let mut model = healthy();
    let event = |payload: &str| Update::Event {
        member: 2,
        channel: "+vote-for-leader".into(),
        payload: payload.into(),
    };
    assert_eq!(model.take(event("b 3"))[0].text, "+vote-for-leader b 3");
    let mut facts = sentinel_facts("c", 1);
    facts.sentinels[0] =
        PeerFacts { id: "b".into(), vote: Some(("c".into(), 2)), ..PeerFacts::default() };
    facts.sentinels[1] =
        PeerFacts { id: "a".into(), vote: Some(("c".into(), 2)), ..PeerFacts::default() };
    model.take(Update::Sentinel { member: 4, facts: Some(facts) });
    // A leader that is silent keeps its name.
    model.take(Update::Sentinel { member: 3, facts: None });
    let snapshot = model.snapshot();
    assert_eq!(snapshot.sentinels[0].vote_text(), "sentinel-2 (3)");
    assert_eq!(snapshot.sentinels[1].vote_text(), "sentinel-3 (2)");
    assert_eq!(snapshot.sentinels[2].vote_text(), "-");
    // Nonsense in an event is shown, not believed.
    model.take(event("b"));
    assert_eq!(model.snapshot().sentinels[0].vote_text(), "sentinel-2 (3)");
}

#[test]
fn events_in_short() {
    let names = BTreeMap::from(
        [("1", "node-1"), ("2", "node-2"), ("abc", "sentinel-1")]
            .map(|(k, v)| (k.into(), v.into())),
    );
    let short = |text: &str| shorten(text, &names);
    assert_eq!(
        short("+odown master mymaster 127.0.0.1 1 #quorum 2/2"),
        "+odown node-1 #quorum 2/2"
    );
    assert_eq!(
        short("+sdown slave 127.0.0.1:2 127.0.0.1 2 @ mymaster 127.0.0.1 1"),
        "+sdown node-2"
    );
    assert_eq!(
        short(
            "+role-change slave 127.0.0.1:2 127.0.0.1 2 @ mymaster 127.0.0.1 1 new reported role is master"
        ),
        "+role-change node-2 new reported role is master"
    );
    assert_eq!(
        short("+switch-master mymaster 127.0.0.1 1 127.0.0.1 2"),
        "+switch-master node-1 -> node-2"
    );
    assert_eq!(short("+vote-for-leader abc 7"), "+vote-for-leader sentinel-1 7");
    for same in
        ["+new-epoch 1", "", "+sdown master mymaster 127.0.0.1 9", "+switch-master m a 1 b 9"]
    {
        assert_eq!(short(same), same);
    }
}
