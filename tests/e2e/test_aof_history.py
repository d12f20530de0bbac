"""The append-only file tells where it stands in its replication history: who restarts goes on by partial sync, if that is right."""

import pytest

from harness import PRODUCT, fill_with_everything, same_data, wait_until
from test_aof import parts, persistence, rewrite

pytestmark = pytest.mark.redoubt_only

# Keepalives move the offset; the tests that count bytes do without.
QUIET = "repl-ping-replica-period 3600"


def told(node):
    """What the file says at its end: history, offset, database; nothing if something stands behind it."""
    last = None
    for line in parts(node, "incr")[-1].read_bytes().split(b"\r\n"):
        if line.startswith(b"#REPL:"):
            last = line[6:].decode().split(" ")
        elif line and not line.startswith(b"#"):
            last = None
    return last


def settle(master, *replicas):
    """Everything has reached everybody and the file."""
    def settled():
        offset = master.offset()
        last = told(master)
        return last and int(last[1]) == offset and all(replica.offset() == offset for replica in replicas)
    wait_until(settled, "the file tells what the replicas have")


def syncs(node):
    stats = node.info("stats")
    return int(stats["sync_full"]), int(stats["sync_partial_ok"])


@pytest.mark.parametrize(("policy", "preamble"), [("always", "no"), ("everysec", "yes")])
def test_a_killed_master_goes_on_by_partial_sync(world, policy, preamble):
    master = world.server(PRODUCT, "appendonly yes", f"appendfsync {policy}", QUIET,
                          f"aof-use-rdb-preamble {preamble}", name="master")
    follow = f"replicaof 127.0.0.1 {master.port}"
    replicas = [world.server(PRODUCT, follow, name="first"), world.server("redis", follow, name="second")]
    for replica in replicas:
        replica.wait_link_up()
    fill_with_everything(master.client())
    master.client(db=5).set("in five", "1")
    for round_ in range(3):
        if round_ == 1:
            rewrite(master)
        master.client(db=5).incr("counter")
        # A message is in the stream and not in the file.
        master.cmd("PUBLISH", "channel", "message")
        settle(master, *replicas)
        old = told(master)[0]
        master.kill9()
        master.start()
        wait_until(lambda: sum(syncs(master)) == 2, "both replicas are back")
        assert syncs(master) == (0, 2), master.log()[-3000:]
        fields = master.info("replication")
        assert fields["master_replid2"] == old and fields["master_replid"] != old
    master.cmd("SET", "behind", "1")
    same_data(master, *replicas)


def test_a_killed_replica_goes_on_by_partial_sync(world):
    master = world.server(PRODUCT, QUIET, name="master")
    replica = world.server(PRODUCT, "appendonly yes", QUIET, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    wait_until(lambda: persistence(replica)["aof_pending_rewrite"] == "0", "the replica has its file")
    client = master.client(db=3)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1).incr("a").execute()
    wait_until(lambda: told(replica) and int(told(replica)[1]) == master.offset(), "the replica's file tells it")
    assert told(replica)[2] == "3"
    replica.kill9()
    client.incr("a")
    replica.start()
    wait_until(lambda: sum(syncs(master)) == 2, "the replica is back")
    assert syncs(master) == (1, 1), replica.log()[-3000:]
    same_data(master, replica)
    assert replica.client(db=3).get("a") == "3"


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_a_replica_with_more_than_the_file_is_synced_anew(world, kind):
    """What the file lost must not be taken for there, also not once the master has written as much again."""
    master = world.server(PRODUCT, "appendonly yes", "appendfsync always", QUIET, name="master")
    replica = world.server(kind, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    master.cmd("SET", "kept", "1")
    settle(master, replica)
    incr = parts(master, "incr")[-1]
    whole = incr.stat().st_size
    master.cmd("SET", "lost", "1")
    settle(master, replica)
    replica.pause()
    master.kill9()
    with incr.open("r+b") as file:
        file.truncate(whole)
    master.start()
    for n in range(50):
        master.cmd("SET", f"other:{n}", n)
    assert master.offset() > 1000
    replica.resume()
    wait_until(lambda: syncs(master)[0] == 1, "there is a full synchronization", timeout=60)
    replica.wait_link_up()
    same_data(master, replica)
    assert replica.cmd("GET", "lost") is None and replica.cmd("GET", "kept") == "1"
    assert syncs(master) == (1, 0)


def test_what_stands_behind_the_last_word_takes_it_back(world):
    """Another program's commands, a torn batch: no history, and a full synchronization."""
    master = world.server(PRODUCT, "appendonly yes", "appendfsync always", QUIET, name="master")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    master.cmd("SET", "kept", "1")
    settle(master, replica)
    master.kill9()
    with parts(master, "incr")[-1].open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$1\r\n1\r\n")
    master.start()
    wait_until(lambda: sum(syncs(master)) == 1, "the replica is back")
    assert syncs(master) == (1, 0)
    same_data(master, replica)
    assert replica.cmd("GET", "other") == "1"


def test_keepalives_are_told(world):
    master = world.server(PRODUCT, "appendonly yes", "repl-ping-replica-period 1", name="master")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    before = master.offset()
    wait_until(lambda: master.offset() >= before + 28, "two keepalives were sent")
    wait_until(lambda: told(master) and int(told(master)[1]) > before, "the file tells of them")
