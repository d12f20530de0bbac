//! The machine on real sockets beside real redis-server nodes: it joins their cluster by MEET, and
//! they see it as a connected master for as long as it stays. Skipped where no redis-server is
//! installed.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // A test drives the machine as a driver does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::{Cluster, ConnId, Input, NodeId, Now, Options, Output};
use stdx::{MonoMs, Prng, UnixMs};

/// A real node in a folder of its own. Ends with the value.
struct Real {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Real {
    fn start() -> Option<Real> {
        let dir = tempfile::tempdir().unwrap();
        let (port, bus) = (free_port(), free_port());
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"])
            .args(["--cluster-port", &bus.to_string(), "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let real = Real { child, port, _dir: dir };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(real)
    }

    /// Sends an inline command; the first line of the reply, and the bulk string if it is one.
    fn ask(&self, command: &str) -> String {
        let mut link = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        link.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(link);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some(length) = line.strip_prefix('$') else {
            return line.trim().to_string();
        };
        let mut text = vec![0; length.trim().parse::<usize>().unwrap()];
        reader.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn bus_port(&self) -> u16 {
        let nodes = self.ask("CLUSTER NODES");
        let me = nodes.lines().find(|line| line.contains("myself")).unwrap();
        let address = me.split(' ').nth(1).unwrap();
        address.split(['@', ',']).nth(1).unwrap().parse().unwrap()
    }
}

/// The smallest driver: one thread, sockets that never block.
struct Driver {
    machine: Cluster,
    listener: TcpListener,
    sockets: BTreeMap<ConnId, TcpStream>,
    next_accepted: u64,
    started: Instant,
    outputs: Vec<Output>,
}

impl Driver {
    fn new(seed: u64) -> Driver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let bus = listener.local_addr().unwrap().port();
        let mut prng = Prng::new(seed);
        let (id, shard) = (NodeId::random(&mut prng), NodeId::random(&mut prng));
        let mut options = Options::new(seed, id, shard, free_port(), bus);
        options.node_timeout = 5000;
        options.hostname = "redoubt.example".into();
        let started = Instant::now();
        let machine = Cluster::new(Driver::at(started), None, options);
        Driver {
            machine,
            listener,
            sockets: BTreeMap::new(),
            next_accepted: 1,
            started,
            outputs: Vec::new(),
        }
    }

    fn at(started: Instant) -> Now {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mono = MonoMs(started.elapsed().as_millis() as u64 + 100_000);
        Now { mono, unix: UnixMs(unix.as_millis() as i64) }
    }

    fn now(&self) -> Now {
        Driver::at(self.started)
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now();
        self.machine.handle_input(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Connect { conn, addr } => match TcpStream::connect(addr) {
                    Ok(socket) => {
                        socket.set_nonblocking(true).unwrap();
                        self.sockets.insert(conn, socket);
                        self.input(Input::Connected { conn });
                    }
                    Err(_) => self.input(Input::ConnectFailed { conn }),
                },
                // Messages are small and loopback buffers are not.
                Output::Send { conn, bytes } => {
                    if let Some(socket) = self.sockets.get_mut(&conn)
                        && socket.write_all(&bytes).is_err()
                    {
                        self.sockets.remove(&conn);
                        self.input(Input::Closed { conn });
                    }
                }
                Output::Close { conn } => drop(self.sockets.remove(&conn)),
                Output::Persist { token, .. } => self.input(Input::Persisted { token }),
                other => self.outputs.push(other),
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while let Ok((socket, peer)) = self.listener.accept() {
                socket.set_nonblocking(true).unwrap();
                let conn = ConnId(self.next_accepted);
                self.next_accepted += 2;
                let local = socket.local_addr().unwrap().ip();
                self.sockets.insert(conn, socket);
                self.input(Input::Accepted { conn, peer: peer.ip(), local });
            }
            let conns: Vec<ConnId> = self.sockets.keys().copied().collect();
            for conn in conns {
                let mut buffer = [0; 65_536];
                let read = match self.sockets.get_mut(&conn) {
                    Some(socket) => socket.read(&mut buffer),
                    None => continue,
                };
                match read {
                    Ok(0) => {
                        self.sockets.remove(&conn);
                        self.input(Input::Closed { conn });
                    }
                    Ok(n) => self.input(Input::Received { conn, bytes: &buffer[..n] }),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => {
                        self.sockets.remove(&conn);
                        self.input(Input::Closed { conn });
                    }
                }
            }
            let now = self.now();
            if now.mono >= self.machine.poll_timeout() {
                self.machine.handle_timeout(now);
                self.drain();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs until this holds, for a minute at most.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Driver) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            assert!(Instant::now() < end, "{what}: {}", self.machine.nodes_text(false));
            self.run(Duration::from_millis(50));
        }
    }
}

fn line_of<'a>(nodes: &'a str, id: &str) -> Option<&'a str> {
    nodes.lines().find(|line| line.starts_with(id))
}

#[test]
fn joins_a_cluster_of_real_nodes() {
    let Some(reals) = (0..3).map(|_| Real::start()).collect::<Option<Vec<Real>>>() else {
        println!("SKIPPED: no redis-server is installed");
        return;
    };
    for (at, real) in reals.iter().enumerate() {
        let (from, to) = (at * 5000, at * 5000 + 4999);
        assert_eq!(real.ask(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")), "+OK");
        assert_eq!(real.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)), "+OK");
    }
    for real in &reals[1..] {
        let (port, bus) = (reals[0].port, reals[0].bus_port());
        assert_eq!(real.ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")), "+OK");
    }
    let mut ours = Driver::new(std::process::id().into());
    let now = ours.now();
    ours.machine.set_config_epoch(now, 4).unwrap();
    let rest: Vec<u16> = (15_000..16_384).collect();
    ours.machine.add_slots(now, &rest).unwrap();
    let (port, bus) = (i64::from(reals[0].port), i64::from(reals[0].bus_port()));
    ours.machine.meet(now, "127.0.0.1", port, bus).unwrap();
    ours.drain();
    let me = ours.machine.myid().to_string();
    ours.until("the cluster is whole", |ours| {
        ours.machine.is_ok() && ours.machine.known_nodes() == 4
    });
    let seen = |real: &Real| {
        let nodes = real.ask("CLUSTER NODES");
        let line = line_of(&nodes, &me).unwrap_or("").to_string();
        line.contains("redoubt.example master - ") && line.ends_with(" 4 connected 15000-16383")
    };
    ours.until("they see this node", |_| reals.iter().all(seen));
    ours.until("they serve", |_| {
        reals.iter().all(|real| real.ask("CLUSTER INFO").starts_with("cluster_state:ok"))
    });
    // And it stays that way, over two of their time-outs.
    for _ in 0..20 {
        ours.run(Duration::from_millis(500));
        for real in &reals {
            assert!(seen(real), "{}", real.ask("CLUSTER NODES"));
            assert!(real.ask("CLUSTER INFO").starts_with("cluster_state:ok"));
        }
        assert!(ours.machine.is_ok());
    }
    reals[1].ask("PUBLISH news hello");
    ours.until("a message arrives", |ours| {
        ours.outputs.iter().any(|output| {
            matches!(output, Output::Deliver { sharded: false, channel, message }
                if channel == b"news" && message == b"hello")
        })
    });
    // A replica of ours: a real node that follows it is told what it should know.
    let fifth = Real::start().expect("started before");
    let (port, bus) = (i64::from(fifth.port), i64::from(fifth.bus_port()));
    let now = ours.now();
    ours.machine.meet(now, "127.0.0.1", port, bus).unwrap();
    ours.drain();
    ours.until("the fifth knows us", |_| line_of(&fifth.ask("CLUSTER NODES"), &me).is_some());
    let fifth_id = fifth.ask("CLUSTER MYID");
    ours.until("it can follow", |_| fifth.ask(&format!("CLUSTER REPLICATE {me}")) == "+OK");
    ours.until("it is our replica", |ours| {
        let lines = ours.machine.replicas_lines(&ours.machine.myid(), false).unwrap_or_default();
        lines.iter().any(|line| line.starts_with(&fifth_id))
    });
    // It takes over; this node learns that it is a replica now.
    assert_eq!(fifth.ask("CLUSTER FAILOVER TAKEOVER"), "+OK");
    ours.until("the slots have moved", |ours| ours.machine.is_replica());
    assert!(ours.outputs.iter().any(|output| matches!(output, Output::Follow { .. })));
    // Only who is known to be a replica gets votes.
    ours.until("they know of it", |_| {
        let replica = |real: &Real| {
            line_of(&real.ask("CLUSTER NODES"), &me).is_some_and(|line| line.contains(" slave "))
        };
        reals.iter().all(replica)
    });
    let now = ours.now();
    // And with the votes of the real masters it takes them back.
    ours.machine.failover(now, cluster::FailoverKind::Force).unwrap();
    ours.drain();
    ours.until("elected by real nodes", |ours| ours.outputs.contains(&Output::Lead));
    ours.until("they agree", |_| {
        reals.iter().all(|real| {
            let nodes = real.ask("CLUSTER NODES");
            line_of(&nodes, &me).is_some_and(|line| line.ends_with(" connected 15000-16383"))
        })
    });
}
