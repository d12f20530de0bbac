//! Plans over fresh, kept and damaged folders.

use super::*;
use std::path::Path;

fn options(dir: &Path) -> UpOptions {
    // High ports, apart from those of the other tests of this crate.
    UpOptions {
        dir: dir.to_owned(),
        base_port: Some(41_000),
        sentinel_port: Some(42_000),
        ..UpOptions::default()
    }
}

fn plan(options: &UpOptions) -> Plan {
    let plan = prepare(Layout::new(&options.dir).unwrap(), options).unwrap();
    plan.state.save(&plan.layout).unwrap();
    plan
}

fn refusal(options: &UpOptions) -> String {
    match prepare(Layout::new(&options.dir).unwrap(), options) {
        Ok(_) => panic!("accepted"),
        Err(text) => text,
    }
}

fn conf(plan: &Plan, name: &str) -> ConfFile {
    let member = plan.state.members.iter().find(|m| m.name == name).unwrap();
    ConfFile::parse(&fs::read_to_string(conf_path(&plan.layout, member)).unwrap())
}

fn overwrite(plan: &Plan, name: &str, conf: &ConfFile) {
    let member = plan.state.members.iter().find(|m| m.name == name).unwrap();
    fs::write(conf_path(&plan.layout, member), conf.text()).unwrap();
}

#[test]
fn a_fresh_folder_gets_the_tutorial() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&options(&dir.path().join("new")));
    assert_eq!(plan.state.members.len(), 6);
    assert_eq!(plan.master, 0);
    let (one, two) = (conf(&plan, "node-1"), conf(&plan, "node-2"));
    assert_eq!(one.get("replicaof"), None);
    let master_port = plan.state.members[0].port;
    assert_eq!(two.get("replicaof").unwrap(), ["127.0.0.1", &master_port.to_string()]);
    assert_eq!(two.get("bind").unwrap(), ["127.0.0.1"]);
    let sentinel = conf(&plan, "sentinel-3");
    assert_eq!(
        sentinel.get("sentinel monitor mymaster").unwrap(),
        ["127.0.0.1", &master_port.to_string(), "2"]
    );
    assert_eq!(sentinel.number("sentinel down-after-milliseconds mymaster"), Some(5000));
    assert_eq!(sentinel.number("sentinel failover-timeout mymaster"), Some(10_000));
    assert_eq!(sentinel.get("requirepass"), None);
}

#[test]
fn passwords_are_private_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir.path().join("new"));
    options.password = Some("it's \"a\" secret".into());
    let first = plan(&options);
    for member in &first.state.members {
        let path = conf_path(&first.layout, member);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(conf(&first, &member.name).get("requirepass").unwrap(), ["it's \"a\" secret"]);
    }
    assert_eq!(fs::metadata(&options.dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!fs::read_to_string(first.layout.state()).unwrap().contains("secret"));
    assert!(conf(&first, "sentinel-1").get("sentinel auth-pass mymaster").is_some());
    options.password = None;
    assert_eq!(plan(&options).password.as_deref(), Some("it's \"a\" secret"));
    // A new password replaces the old one, and its hash in a rewritten file.
    let mut rewritten = conf(&first, "node-1");
    rewritten.push("user default on #abcd ~* &* +@all");
    overwrite(&first, "node-1", &rewritten);
    options.password = Some("other".into());
    let third = plan(&options);
    assert_eq!(conf(&third, "node-1").get("masterauth").unwrap(), ["other"]);
    assert_eq!(conf(&third, "node-1").get("user default"), None);
}

#[test]
fn the_last_master_stays_master() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let first = plan(&options);
    let port = |index: usize| first.state.members[index].port.to_string();
    // A failover to node-3 that sentinel-2 has missed; node-1 was down and knows nothing of it.
    for name in ["sentinel-1", "sentinel-3"] {
        let mut file = conf(&first, name);
        file.set("sentinel monitor mymaster", &["127.0.0.1", &port(2), "2"]);
        file.push("sentinel config-epoch mymaster 4");
        file.push(format!("sentinel known-replica mymaster 127.0.0.1 {}", port(0)));
        file.push(format!(
            "sentinel known-sentinel mymaster 127.0.0.1 {} {}",
            port(4),
            "a".repeat(40)
        ));
        overwrite(&first, name, &file);
    }
    let mut file = conf(&first, "node-3");
    file.remove("replicaof");
    file.push("maxmemory 100mb");
    overwrite(&first, "node-3", &file);
    // This time the ports are others.
    options.base_port = Some(43_000);
    options.sentinel_port = Some(44_000);
    let second = plan(&options);
    let port = |index: usize| second.state.members[index].port.to_string();
    assert_eq!(second.master, 2);
    assert_eq!(conf(&second, "node-3").get("replicaof"), None);
    assert_eq!(conf(&second, "node-3").get("maxmemory").unwrap(), ["100mb"]);
    assert_eq!(conf(&second, "node-1").get("replicaof").unwrap(), ["127.0.0.1", &port(2)]);
    for name in ["sentinel-1", "sentinel-2", "sentinel-3"] {
        let file = conf(&second, name);
        assert_eq!(
            file.get("sentinel monitor mymaster").unwrap(),
            ["127.0.0.1", &port(2), "2"],
            "{name}"
        );
        assert_eq!(file.number("sentinel config-epoch mymaster"), Some(4));
        assert!(file.text().contains(&format!("known-replica mymaster 127.0.0.1 {}\n", port(0))));
    }
    let known = conf(&second, "sentinel-1").get("sentinel known-sentinel mymaster").unwrap();
    assert_eq!(known[1], port(4));
}

#[test]
fn settings_change_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.down_after = Some(700);
    options.quorum = Some(3);
    plan(&options);
    (options.down_after, options.quorum) = (None, None);
    let second = plan(&options);
    let file = conf(&second, "sentinel-1");
    assert_eq!(file.number("sentinel down-after-milliseconds mymaster"), Some(700));
    assert_eq!(file.get("sentinel monitor mymaster").unwrap()[2], "3");
    options.failover_timeout = Some(2000);
    options.replicas = Some(3);
    options.threads = Some(2);
    let third = plan(&options);
    assert_eq!(conf(&third, "sentinel-2").number("sentinel failover-timeout mymaster"), Some(2000));
    assert_eq!(conf(&third, "node-4").number("threads"), Some(2));
    options.replicas = Some(1);
    assert!(refusal(&options).contains("grow but not shrink"));
}

#[test]
fn taken_ports_are_passed_over_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let blocker = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = blocker.local_addr().unwrap().port();
    let mut options = options(dir.path());
    options.base_port = Some(port);
    let plan = plan(&options);
    assert_ne!(plan.state.members[0].port, port);
    assert!(plan.notes[0].contains(&format!("port {port}")), "{:?}", plan.notes);
}

#[test]
fn the_world_is_kept_out_without_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bind = Some(vec!["0.0.0.0".parse().unwrap()]);
    assert!(refusal(&options).contains("password"));
    options.password = Some("p".into());
    options.announce_ip = Some("192.0.2.7".parse().unwrap());
    let plan = plan(&options);
    assert_eq!(conf(&plan, "node-2").get("replicaof").unwrap()[0], "192.0.2.7");
    assert_eq!(conf(&plan, "node-2").get("replica-announce-ip").unwrap(), ["192.0.2.7"]);
    assert_eq!(conf(&plan, "sentinel-1").get("sentinel announce-ip").unwrap(), ["192.0.2.7"]);
    options.bind = Some(vec!["203.0.113.77".parse().unwrap()]);
    assert!(refusal(&options).contains("203.0.113.77"));
    options.bind = None;
    options.quorum = Some(4);
    assert!(refusal(&options).contains("quorum"));
    options.password = Some(String::new());
    assert!(refusal(&options).contains("password"));
}
