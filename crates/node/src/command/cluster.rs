//! CLUSTER and its companions, which a server without cluster support knows and refuses.
//!
//! Clients ask for them (`CLUSTER INFO` tells some which kind of server it is), and rules of users name them.

use crate::{After, NodeCtx, NodeFn};
use commands::{AclCategories, Command, CommandError, CommandSpec, Flags, Group};
use resp::Args;

/// The commands of this group.
pub const TABLE: &[&Command<NodeFn>] = &[&CLUSTER, &ASKING, &READONLY, &READWRITE];

const DISABLED: CommandError = CommandError::new("ERR This instance has cluster support disabled");

fn refuse(_: &mut NodeCtx<'_, '_>, _: &Args<'_>) -> Result<After, CommandError> {
    Err(DISABLED)
}

/// CLUSTER subcommand
pub const CLUSTER: Command<NodeFn> = Command::container(
    CommandSpec::new("cluster", -2, Group::Cluster)
        .since("3.0.0")
        .doc("Depends on subcommand.", "There is no cluster here."),
    |_, _| Err(CommandError::arity("cluster")),
    &[
        &ADDSLOTS,
        &ADDSLOTSRANGE,
        &BUMPEPOCH,
        &COUNT_FAILURE_REPORTS,
        &COUNTKEYSINSLOT,
        &DELSLOTS,
        &DELSLOTSRANGE,
        &FAILOVER,
        &FLUSHSLOTS,
        &FORGET,
        &GETKEYSINSLOT,
        &HELP,
        &INFO,
        &KEYSLOT,
        &LINKS,
        &MEET,
        &MYID,
        &MYSHARDID,
        &NODES,
        &REPLICAS,
        &REPLICATE,
        &RESET,
        &SAVECONFIG,
        &SET_CONFIG_EPOCH,
        &SETSLOT,
        &SHARDS,
        &SLAVES,
        &SLOTS,
    ],
);

/// ASKING
pub const ASKING: Command<NodeFn> = Command::new(
    connection("asking", Flags::FAST, "Goes on after a redirection of a cluster."),
    refuse,
);

const READER: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);

/// READONLY
pub const READONLY: Command<NodeFn> =
    Command::new(connection("readonly", READER, "Reads from a replica of a cluster."), refuse);

/// READWRITE
pub const READWRITE: Command<NodeFn> =
    Command::new(connection("readwrite", READER, "Ends the effect of READONLY."), refuse);

const fn connection(name: &'static str, flags: Flags, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, 1, Group::Cluster)
        .flags(flags)
        .acl(AclCategories::CONNECTION)
        .since("3.0.0")
        .doc("O(1)", summary)
}

const ASK: Flags = Flags::ADMIN.union(Flags::STALE);
const CHANGE: Flags = ASK.union(Flags::NO_ASYNC_LOADING);
const RESET_FLAGS: Flags = ASK.union(Flags::NOSCRIPT);
const VARYING: &[&str] = &["nondeterministic_output"];

const fn sub(name: &'static str, arity: i32, flags: Flags, since: &'static str) -> CommandSpec {
    CommandSpec::new(name, arity, Group::Cluster).flags(flags).since(since)
}

const ADDSLOTS: Command<NodeFn> = Command::new(
    sub("cluster|addslots", -3, CHANGE, "3.0.0").doc(
        "O(N) where N is the total number of hash slot arguments",
        "Takes hash slots for this node.",
    ),
    refuse,
);

const ADDSLOTSRANGE: Command<NodeFn> = Command::new(sub("cluster|addslotsrange", -4, CHANGE, "7.0.0").doc("O(N) where N is the total number of the slots between the start slot and end slot arguments.", "Takes ranges of hash slots for this node."), refuse);

const BUMPEPOCH: Command<NodeFn> = Command::new(
    sub("cluster|bumpepoch", 2, CHANGE, "3.0.0")
        .doc("O(1)", "Raises the configuration epoch.")
        .tips(VARYING),
    refuse,
);

const COUNT_FAILURE_REPORTS: Command<NodeFn> = Command::new(
    sub("cluster|count-failure-reports", 3, ASK, "3.0.0")
        .doc(
            "O(N) where N is the number of failure reports",
            "Counts who reports a node as failing.",
        )
        .tips(VARYING),
    refuse,
);

const COUNTKEYSINSLOT: Command<NodeFn> = Command::new(
    sub("cluster|countkeysinslot", 3, Flags::STALE, "3.0.0")
        .doc("O(1)", "Counts the keys of a hash slot."),
    refuse,
);

const DELSLOTS: Command<NodeFn> = Command::new(
    sub("cluster|delslots", -3, CHANGE, "3.0.0").doc(
        "O(N) where N is the total number of hash slot arguments",
        "Gives up hash slots of this node.",
    ),
    refuse,
);

const DELSLOTSRANGE: Command<NodeFn> = Command::new(sub("cluster|delslotsrange", -4, CHANGE, "7.0.0").doc("O(N) where N is the total number of the slots between the start slot and end slot arguments.", "Gives up ranges of hash slots of this node."), refuse);

const FAILOVER: Command<NodeFn> = Command::new(
    sub("cluster|failover", -2, CHANGE, "3.0.0")
        .doc("O(1)", "Makes a replica take its master's place."),
    refuse,
);

const FLUSHSLOTS: Command<NodeFn> = Command::new(
    sub("cluster|flushslots", 2, CHANGE, "3.0.0")
        .doc("O(1)", "Gives up all hash slots of this node."),
    refuse,
);

const FORGET: Command<NodeFn> = Command::new(
    sub("cluster|forget", 3, CHANGE, "3.0.0")
        .doc("O(1)", "Takes a node out of the table of nodes."),
    refuse,
);

const GETKEYSINSLOT: Command<NodeFn> = Command::new(
    sub("cluster|getkeysinslot", 4, Flags::STALE, "3.0.0")
        .doc("O(log(N)) where N is the number of requested keys", "Names keys of a hash slot.")
        .tips(VARYING),
    refuse,
);

const HELP: Command<NodeFn> = Command::new(
    sub("cluster|help", 2, Flags::STALE.union(Flags::LOADING), "5.0.0")
        .doc("O(1)", "Lists the subcommands."),
    refuse,
);

const INFO: Command<NodeFn> = Command::new(
    sub("cluster|info", 2, Flags::STALE, "3.0.0")
        .doc("O(1)", "Tells the state of the cluster.")
        .tips(VARYING),
    refuse,
);

const KEYSLOT: Command<NodeFn> = Command::new(
    sub("cluster|keyslot", 3, Flags::STALE, "3.0.0")
        .doc("O(N) where N is the number of bytes in the key", "Computes the hash slot of a key."),
    refuse,
);

const LINKS: Command<NodeFn> = Command::new(
    sub("cluster|links", 2, Flags::STALE, "7.0.0")
        .doc("O(N) where N is the total number of Cluster nodes", "Lists the links to other nodes.")
        .tips(VARYING),
    refuse,
);

const MEET: Command<NodeFn> = Command::new(
    sub("cluster|meet", -4, CHANGE, "3.0.0").doc("O(1)", "Makes the acquaintance of another node."),
    refuse,
);

const MYID: Command<NodeFn> = Command::new(
    sub("cluster|myid", 2, Flags::STALE, "3.0.0").doc("O(1)", "Tells the id of this node."),
    refuse,
);

const MYSHARDID: Command<NodeFn> = Command::new(
    sub("cluster|myshardid", 2, Flags::STALE, "7.2.0")
        .doc("O(1)", "Tells the id of this node's shard.")
        .tips(VARYING),
    refuse,
);

const NODES: Command<NodeFn> = Command::new(
    sub("cluster|nodes", 2, Flags::STALE, "3.0.0")
        .doc(
            "O(N) where N is the total number of Cluster nodes",
            "Lists the nodes as a node's file does.",
        )
        .tips(VARYING),
    refuse,
);

const REPLICAS: Command<NodeFn> = Command::new(
    sub("cluster|replicas", 3, ASK, "5.0.0")
        .doc("O(1)", "Lists the replicas of a master.")
        .tips(VARYING),
    refuse,
);

const REPLICATE: Command<NodeFn> = Command::new(
    sub("cluster|replicate", 3, CHANGE, "3.0.0")
        .doc("O(1)", "Makes this node the replica of another."),
    refuse,
);

const RESET: Command<NodeFn> = Command::new(sub("cluster|reset", -2, RESET_FLAGS, "3.0.0").doc("O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.", "Makes a node forget its cluster."), refuse);

const SAVECONFIG: Command<NodeFn> = Command::new(
    sub("cluster|saveconfig", 2, CHANGE, "3.0.0")
        .doc("O(1)", "Writes the state of the cluster to disk."),
    refuse,
);

const SET_CONFIG_EPOCH: Command<NodeFn> = Command::new(
    sub("cluster|set-config-epoch", 3, CHANGE, "3.0.0")
        .doc("O(1)", "Sets the configuration epoch of a new node."),
    refuse,
);

const SETSLOT: Command<NodeFn> = Command::new(
    sub("cluster|setslot", -4, CHANGE, "3.0.0")
        .doc("O(1)", "Says which node a hash slot belongs to."),
    refuse,
);

const SHARDS: Command<NodeFn> = Command::new(
    sub("cluster|shards", 2, Flags::STALE, "7.0.0")
        .doc(
            "O(N) where N is the total number of cluster nodes",
            "Tells which nodes hold which hash slots.",
        )
        .tips(VARYING),
    refuse,
);

const SLAVES: Command<NodeFn> = Command::new(
    sub("cluster|slaves", 3, ASK, "3.0.0")
        .doc("O(1)", "Lists the replicas of a master.")
        .tips(VARYING)
        .deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    refuse,
);

const SLOTS: Command<NodeFn> = Command::new(
    sub("cluster|slots", 2, Flags::STALE, "3.0.0")
        .doc(
            "O(N) where N is the total number of Cluster nodes",
            "Tells which nodes hold which hash slots.",
        )
        .tips(VARYING)
        .deprecated("7.0.0", "`CLUSTER SHARDS`"),
    refuse,
);

#[cfg(test)]
mod tests {
    use crate::testkit::Kit;

    #[test]
    fn they_are_known_and_refused() {
        let disabled = "-ERR This instance has cluster support disabled";
        Kit::default().check(&[
            ("cluster info", disabled),
            ("CLUSTER Slots", disabled),
            ("cluster keyslot k", disabled),
            ("asking", disabled),
            ("readonly", disabled),
            ("readwrite", disabled),
            ("readonly x", "-ERR wrong number of arguments for 'readonly' command"),
            ("cluster nosuch", "-ERR unknown subcommand 'nosuch'. Try CLUSTER HELP."),
            ("acl setuser u -cluster +cluster|info -readonly", "+OK"),
        ]);
    }
}
