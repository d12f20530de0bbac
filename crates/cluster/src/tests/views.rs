//! What clients are shown.

use super::{Bench, THREE, id};
use crate::EndpointType;

#[test]
fn texts_of_a_small_cluster() {
    let bench = Bench::new(THREE);
    let m = &bench.machine;
    // A link that does not stand yet is shown as such.
    let expected =
        THREE.replace("1 connected", "1 disconnected").replace("2 connected", "2 disconnected");
    let (nodes, _) = expected.split_once("vars").expect("whole");
    assert_eq!(m.nodes_text(false), nodes);
    let info = m.info_text(0);
    for line in [
        "cluster_state:fail",
        "cluster_slots_assigned:16384",
        "cluster_slots_ok:16384",
        "cluster_known_nodes:4",
        "cluster_size:3",
        "cluster_current_epoch:7",
        "cluster_my_epoch:5",
        "cluster_stats_messages_sent:0",
        "total_cluster_links_buffer_limit_exceeded:0",
    ] {
        assert!(info.contains(&format!("{line}\r\n")), "{line} in {info}");
    }
    assert_eq!(
        m.replicas_lines(&id(b'7'), false).unwrap_err(),
        "ERR The specified node is not a master"
    );
    assert_eq!(m.replicas_lines(&id(b'1'), false).expect("known").len(), 1);
    assert_eq!(m.count_failure_reports(&id(b'1')), Ok(0));
}

#[test]
fn slots_and_shards() {
    let bench = Bench::new(THREE);
    let slots = bench.machine.slots_view(EndpointType::Ip, false);
    assert_eq!(
        slots.iter().map(|(range, nodes)| (*range, nodes.len())).collect::<Vec<_>>(),
        [((0, 5000), 1), ((5001, 10_000), 2), ((10_001, 16_383), 1)]
    );
    assert_eq!(slots[2].1[0].meta, [("hostname", "two.example".to_string())]);
    let unknown = bench.machine.slots_view(EndpointType::Unknown, false);
    assert_eq!(unknown[1].1[0].endpoint.host, None);
    assert_eq!(unknown[1].1[0].meta, [("ip", "10.0.0.2".to_string())]);
    let shards = bench.machine.shards_view(EndpointType::Ip);
    assert_eq!(shards.len(), 3);
    assert_eq!(shards[1].nodes[1].health, "loading", "its offset is not known yet");
    assert!(bench.machine.links_view().is_empty());
}
