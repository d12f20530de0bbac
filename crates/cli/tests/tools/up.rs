//! `up` and its commands over real Redis programs.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{TOOLS, have};

/// A folder with its `up`; whatever happens, nothing is left running.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        Stage { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A command of the tools on this folder, with real Redis programs as members.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(TOOLS);
        command
            .arg(name)
            .arg("--dir")
            .arg(self.data())
            .env("REDOUBT_UP_SERVER", "redis-server")
            .env("REDOUBT_UP_SENTINEL", "redis-sentinel")
            .env_remove("REDOUBT_PASSWORD");
        command
    }

    fn run(&self, name: &str, args: &[&str]) -> Output {
        self.command(name).args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn good(&self, name: &str, args: &[&str]) -> String {
        let output = self.run(name, args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {args:?}: {text}{complaint}");
        text
    }

    fn bad(&self, name: &str, args: &[&str]) -> String {
        let output = self.run(name, args);
        assert_eq!(output.status.code(), Some(1), "{name} {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn status(&self) -> Value {
        let output = self.run("status", &["--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the status is as asked.
    fn until(&self, what: &str, patience: u64, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(patience);
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "no {what} within {patience} s: {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.run("down", &[]);
    }
}

/// A port to count from: free now, and so are most of its neighbours.
fn base_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn pids(status: &Value) -> Vec<u64> {
    let members = status["nodes"].as_array().unwrap().iter();
    let members = members.chain(status["sentinels"].as_array().unwrap());
    members.filter_map(|member| member["pid"].as_u64()).collect()
}

/// True while a process exists that is not just waiting to be buried.
fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

fn wait_for_end(pids: &[u64]) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Some(pid) = pids.iter().find(|pid| is_alive(**pid)) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()
}

fn ask(port: &Value, password: &str, words: &[&str]) -> String {
    let output = Command::new(TOOLS)
        .args(["cli", "-p", &port.to_string()])
        .args(words)
        .env("REDISCLI_AUTH", password)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Every file below `dir` whose text holds `secret`.
fn files_with(dir: &Path, secret: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, secret, found);
        } else if std::fs::read(&path).is_ok_and(|b| String::from_utf8_lossy(&b).contains(secret)) {
            found.push(path);
        }
    }
}

#[test]
fn a_failover_a_return_and_a_second_run() {
    if !have("redis-server") || !have("redis-sentinel") {
        return;
    }
    let stage = Stage::new();
    let secret = "s3cret-of-the-test";
    let file = stage.dir.path().join("password");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let password_file = file.to_str().unwrap();
    let (base, sentinel_base) = (base_port(), base_port());
    let text = stage.good(
        "up",
        &[
            "--detach",
            "--base-port",
            &base,
            "--sentinel-port",
            &sentinel_base,
            "--down-after",
            "500",
            "--failover-timeout",
            "5000",
            "--password-file",
            password_file,
        ],
    );
    assert!(
        text.lines().any(|line| line.starts_with("ready: master node-1 at 127.0.0.1:")),
        "{text}"
    );
    assert!(text.contains("redis-cli -p ") && text.contains("python3 -c "), "{text}");
    let status = stage.status();
    assert_eq!((&status["running"], &status["ready"]), (&true.into(), &true.into()));
    assert_eq!((pids(&status).len(), &status["master"]), (6, &"node-1".into()));
    assert!(stage.bad("up", &[]).contains("running"));
    secrets_stay_inside(&stage, &status, secret);

    // The master is killed.
    let port = node(&status, "node-1")["port"].clone();
    assert_eq!(ask(&port, secret, &["set", "greeting", "hello"]), "OK");
    assert_eq!(ask(&port, secret, &["wait", "2", "5000"]), "2");
    assert!(ask(&port, "", &["get", "greeting"]).starts_with("NOAUTH"));
    let text = stage.good("kill", &["master"]);
    assert!(text.starts_with("killed node-1 (the master)"), "{text}");
    assert_eq!(node(&stage.status(), "node-1")["state"], "killed");
    let status = stage.until("new master", 20, |status| {
        let others = ["node-2", "node-3"].map(|name| node(status, name)["follows"].clone());
        status["master"] != "node-1"
            && !status["master"].is_null()
            && others.contains(&status["master"])
    });
    let master = status["master"].as_str().unwrap().to_owned();
    let new_port = node(&status, &master)["port"].clone();
    assert_eq!(ask(&new_port, secret, &["get", "greeting"]), "hello");
    assert!(!is_alive(0) && node(&status, "node-1")["pid"].is_null());
    let table = stage.good("status", &[]);
    assert!(
        table.contains(&format!("master: {master} at ")) && table.contains("killed"),
        "{table}"
    );
    assert!(stage.bad("kill", &["node-1"]).contains("not running"));

    // It returns as a replica.
    assert!(stage.good("start", &["node-1"]).contains("node-1 answers"));
    let status = stage.until("return as a replica", 40, |status| {
        status["ready"] == true && node(status, "node-1")["role"] == "replica"
    });
    assert_eq!(node(&status, "node-1")["follows"], master.as_str());
    assert!(stage.bad("start", &["node-1"]).contains("running already"));
    assert!(stage.bad("kill", &["node-7"]).contains("there are node-1"));

    // A node that is down when everything stops comes back as a replica as well.
    stage.good("kill", &["node-1"]);
    let before = pids(&stage.status());
    stage.good("down", &[]);
    wait_for_end(&before);
    assert_eq!(stage.status()["running"], false);
    assert!(stage.bad("status", &[]).contains("no `up` runs on"));
    let text = stage.good("up", &["--detach"]);
    assert!(text.contains(&format!("ready: master {master} at")), "{text}");
    let status = stage.status();
    assert_eq!(status["master"], master.as_str());
    assert_eq!(node(&status, &master)["port"], new_port);
    assert_eq!(ask(&new_port, secret, &["get", "greeting"]), "hello");
    let before = pids(&status);
    stage.good("down", &[]);
    wait_for_end(&before);
    secrets_stay_inside(&stage, &status, secret);
}

/// The password is in configuration files that only their owner can read, and nowhere else.
fn secrets_stay_inside(stage: &Stage, status: &Value, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    files_with(&stage.data(), secret, &mut found);
    assert_eq!(found.len(), 6, "{found:?}");
    for path in found {
        assert_eq!(path.extension().unwrap(), "conf");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{path:?}");
    }
    for pid in pids(status).into_iter().chain(status["pid"].as_u64()) {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{file} of {pid}");
        }
    }
    assert!(!status.to_string().contains(secret));
}

/// An `up` in the foreground with its lines read up to `ready:`.
fn foreground(stage: &Stage) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = stage
        .command("up")
        .args(["--base-port", &base_port(), "--sentinel-port", &base_port()])
        .args(["--replicas", "1", "--sentinels", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready:") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
    }
    (child, lines)
}

#[test]
fn a_signal_stops_everything() {
    if !have("redis-server") || !have("redis-sentinel") {
        return;
    }
    let stage = Stage::new();
    let (mut child, mut lines) = foreground(&stage);
    let before = pids(&stage.status());
    assert_eq!(before.len(), 3);
    stage.good("pause", &["node-2"]);
    stage.until("pause", 5, |status| node(status, "node-2")["state"] == "paused");
    assert!(stage.bad("start", &["node-2"]).contains("paused"));
    stage.good("resume", &["node-2"]);
    stage.until("resume", 5, |status| node(status, "node-2")["state"] == "running");
    // Even with a member that cannot act.
    stage.good("pause", &["node-2"]);
    signal("TERM", child.id().into());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("node-2 paused") && rest.contains("up stopped"), "{rest}");
    wait_for_end(&before);
}

fn signal(name: &str, pid: u64) {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn members_do_not_outlive_a_killed_up() {
    if !have("redis-server") || !have("redis-sentinel") {
        return;
    }
    let stage = Stage::new();
    let (mut child, _lines) = foreground(&stage);
    let status = stage.status();
    // Not even one that cannot act.
    stage.good("pause", &["node-2"]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for_end(&pids(&status));
    assert!(stage.bad("status", &[]).contains("no `up` runs on"));

    // One that does outlive it is named, and stopped by the next command.
    let mut stubborn = Command::new("sleep").arg("60").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stubborn.id())).unwrap();
    let started: u64 =
        stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let path = stage.data().join("up.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["members"][1]["process"] =
        serde_json::json!({ "pid": stubborn.id(), "started": started });
    std::fs::write(&path, state.to_string()).unwrap();
    assert!(stage.bad("status", &[]).contains(&format!("node-2, pid {}", stubborn.id())));
    assert!(stage.good("down", &[]).contains("stopped node-2"));
    assert!(stubborn.try_wait().unwrap().is_some());
    assert!(!stage.good("down", &[]).contains("node-2"));
}

#[test]
fn a_member_that_does_not_start_is_explained() {
    let stage = Stage::new();
    for (program, reason) in [("/no/such/program", "cannot start"), ("false", "exit code 1")] {
        for detach in [false, true] {
            let mut command = stage.command("up");
            command.env("REDOUBT_UP_SERVER", program).args(["--base-port", &base_port()]);
            if detach {
                command.arg("--detach");
            }
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("node-1") && text.contains(reason), "{text}");
        }
    }
    assert_eq!(stage.status()["running"], false);
}

#[test]
fn every_command_has_help() {
    for name in ["up", "status", "kill", "pause", "resume", "start", "down"] {
        let output = Command::new(TOOLS).args([name, "--help"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}");
        assert!(
            text.contains(&format!("Usage: redoubt {name}")) && text.contains("--dir"),
            "{text}"
        );
        let output = Command::new(TOOLS).args([name, "--nonsense"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}
