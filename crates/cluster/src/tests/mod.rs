//! One machine against a hand that plays all the others.

mod hostile;
mod promises;
mod routing;
mod views;

use std::net::{IpAddr, Ipv4Addr};

use stdx::{MonoMs, UnixMs};

use crate::bus::{Beat, Body, Header, IpText, Message, decode, encode};
use crate::{Cluster, ConnId, Flags, Input, NodeId, Now, Options, Output, PersistToken, SlotSet};

/// A machine with what it has said.
pub(super) struct Bench {
    pub machine: Cluster,
    pub now: Now,
    pub sent: Vec<(ConnId, Message)>,
    pub other: Vec<Output>,
    /// What waits for the disk.
    pub persists: Vec<(PersistToken, String, bool)>,
    pub instant_disk: bool,
}

pub(super) fn id(digit: u8) -> NodeId {
    NodeId::parse(&[digit; 40]).expect("a digit")
}

pub(super) fn options() -> Options {
    let mut options = Options::new(7, id(b'5'), id(b'a'), 7000, 17_000);
    options.node_timeout = 2000;
    options
}

impl Bench {
    pub fn new(conf: &str) -> Bench {
        let conf = crate::NodesConf::parse(conf.as_bytes()).expect("a good file");
        let now = Now { mono: MonoMs(50_000), unix: UnixMs(1_700_000_000_000) };
        let machine = Cluster::new(now, conf.as_ref(), options());
        let mut bench = Bench {
            machine,
            now,
            sent: Vec::new(),
            other: Vec::new(),
            persists: Vec::new(),
            instant_disk: true,
        };
        bench.drain();
        bench
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { conn, bytes } => {
                    let message = decode(&bytes).expect("the machine says what it can read");
                    self.sent.push((conn, message));
                }
                Output::Persist { token, text, sync } => {
                    let conf = crate::NodesConf::parse(text.as_bytes());
                    assert!(conf.expect("the machine writes what it can read").is_some());
                    self.persists.push((token, text, sync));
                    if self.instant_disk {
                        self.machine.handle_input(self.now, Input::Persisted { token });
                    }
                }
                other => self.other.push(other),
            }
        }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now.mono = self.now.mono + 50;
            self.now.unix = self.now.unix + 50;
            self.machine.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Establishes every connection that was asked for; their numbers, in order.
    pub fn connect_all(&mut self) -> Vec<ConnId> {
        let mut conns = Vec::new();
        for output in std::mem::take(&mut self.other) {
            if let Output::Connect { conn, .. } = output {
                conns.push(conn);
            }
        }
        for conn in &conns {
            self.input(Input::Connected { conn: *conn });
        }
        conns
    }

    pub fn accept(&mut self, number: u64) -> ConnId {
        let conn = ConnId(number * 2 + 1);
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        self.input(Input::Accepted { conn, peer, local });
        conn
    }

    pub fn receive(&mut self, conn: ConnId, header: &Header, body: &Body) {
        let bytes = encode(header, body);
        self.input(Input::Received { conn, bytes: &bytes });
    }
}

/// The header of a master, with the address that the files here give it.
pub(super) fn header_of(sender: NodeId, epoch: u64, slots: SlotSet) -> Header {
    Header {
        port: 7000,
        other_port: 0,
        bus_port: 17_000,
        current_epoch: epoch,
        config_epoch: epoch,
        offset: 5,
        sender,
        slots,
        master: None,
        ip: IpText::new(match sender.bytes()[0] {
            b'1' => "10.0.0.2",
            b'2' => "10.0.0.3",
            b'3' | b'7' => "10.0.0.4",
            _ => "10.0.0.9",
        }),
        flags: Flags::MASTER.with(Flags::MYSELF),
        down: false,
        message_flags: 4,
    }
}

pub(super) fn beat(beat: Beat) -> Body {
    Body::Heartbeat { beat, gossip: Vec::new(), extensions: Vec::new() }
}

/// Three masters, 5 is this node; 7 is a replica of 1.
pub(super) const THREE: &str = "\
    5555555555555555555555555555555555555555 10.0.0.1:7000@17000 myself,master - 0 0 5 connected 0-5000 [100->-1111111111111111111111111111111111111111] [6000-<-1111111111111111111111111111111111111111]\n\
    1111111111111111111111111111111111111111 10.0.0.2:7000@17000 master - 0 1700000000000 1 connected 5001-10000\n\
    2222222222222222222222222222222222222222 10.0.0.3:7000@17000,two.example master - 0 1700000000000 2 connected 10001-16383\n\
    7777777777777777777777777777777777777777 10.0.0.4:7000@17000 slave 1111111111111111111111111111111111111111 0 1700000000000 1 connected\n\
    vars currentEpoch 7 lastVoteEpoch 3\n";
