//! What a node is said to be: flags as they stand on the wire, and their names in the file.

/// Flags of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// A master.
    pub const MASTER: Flags = Flags(1);
    /// A replica.
    pub const REPLICA: Flags = Flags(2);
    /// Perhaps failed: this node cannot reach it.
    pub const PFAIL: Flags = Flags(4);
    /// Failed: a majority of masters cannot reach it.
    pub const FAIL: Flags = Flags(8);
    /// This node itself.
    pub const MYSELF: Flags = Flags(16);
    /// Met, but its name is not known yet.
    pub const HANDSHAKE: Flags = Flags(32);
    /// Its address is not known.
    pub const NOADDR: Flags = Flags(64);
    /// To be greeted with MEET.
    pub const MEET: Flags = Flags(128);
    /// A master to which replicas may migrate.
    pub const MIGRATE_TO: Flags = Flags(256);
    /// A replica that will not start a failover by itself.
    pub const NOFAILOVER: Flags = Flags(512);

    /// Whether one of these is set.
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    /// Sets these.
    pub fn set(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    /// Clears these.
    pub fn clear(&mut self, flags: Flags) {
        self.0 &= !flags.0;
    }

    /// These and those.
    pub fn with(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }

    /// The names of CLUSTER NODES and `nodes.conf`, with commas.
    pub fn names(self) -> String {
        let mut names = Vec::new();
        for (flag, name) in NAMES {
            if self.has(*flag) {
                names.push(*name);
            }
        }
        if names.is_empty() { "noflags".to_string() } else { names.join(",") }
    }

    /// Reads the names; nothing when one is unknown.
    pub fn parse(text: &str) -> Option<Flags> {
        let mut flags = Flags::default();
        for word in text.split(',') {
            if word == "noflags" {
                continue;
            }
            flags.set(NAMES.iter().find(|(_, name)| *name == word)?.0);
        }
        Some(flags)
    }
}

/// In the order in which they are written.
const NAMES: &[(Flags, &str)] = &[
    (Flags::MYSELF, "myself"),
    (Flags::MASTER, "master"),
    (Flags::REPLICA, "slave"),
    (Flags::PFAIL, "fail?"),
    (Flags::FAIL, "fail"),
    (Flags::HANDSHAKE, "handshake"),
    (Flags::NOADDR, "noaddr"),
    (Flags::NOFAILOVER, "nofailover"),
];
