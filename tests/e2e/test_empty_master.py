"""A master that restarts without its data must not wipe its replicas, where somebody watches; a plain cache pair behaves as with Redis."""

import time

import pytest
import redis

from harness import PRODUCT, same_data, wait_until

pytestmark = pytest.mark.redoubt_only


def pair(world, *lines, master="redis", replica_kind=PRODUCT):
    first = world.server(master, name="master")
    second = world.server(replica_kind, f"replicaof 127.0.0.1 {first.port}", *lines, name="replica")
    second.wait_link_up()
    client = first.client()
    for number in range(100):
        client.set(f"k:{number}", number)
    same_data(first, second)
    return first, second


def quick_restart(node):
    """Back within 200 ms, and empty."""
    node.kill9()
    (node.dir / "dump.rdb").unlink(missing_ok=True)
    node.start()
    return node


@pytest.mark.parametrize("kinds", [(PRODUCT,) * 3, ("redis", PRODUCT, PRODUCT)], ids="-".join)
def test_with_redoubt_sentinels(world, kinds):
    """They see that it has lost its data, and fail over to a replica that has not."""
    group = world.group(list(kinds), [PRODUCT] * 3, down_after=20000, sentinel_lines=("sentinel crash-grace mymaster 20000",))
    old = group.data[0]
    client = old.client()
    for number in range(100):
        client.set(f"k:{number}", number)
    same_data(*group.data)
    time.sleep(2.5)  # every node has heard the sentinels, and told its offset
    for sentinel in group.sentinels:
        sentinel.cmd("SENTINEL", "CKQUORUM", "mymaster")
    wait_keys_known(group)
    began = time.monotonic()
    quick_restart(old)
    master = group.wait_new_master(old)
    took = time.monotonic() - began
    assert master.cmd("DBSIZE") == 100
    master = group.wait_converged()
    same_data(*group.data)
    assert old.cmd("DBSIZE") == 100, "the old master has its data back"
    assert any("+came-back-empty" in sentinel.log() for sentinel in group.sentinels)
    # Far below down-after, which plays no part.
    assert took < 15, took


def wait_keys_known(group):
    """The sentinels' last INFO of every replica is younger than the last write."""
    def known():
        for sentinel in group.sentinels:
            replicas = sentinel.cmd("SENTINEL", "REPLICAS", "mymaster")
            for fields in replicas:
                values = dict(zip(fields[::2], fields[1::2]))
                node = next(n for n in group.data if n.port == int(values["port"]))
                if int(values["slave-repl-offset"]) < known.mark[node.port]:
                    return False
        return True
    known.mark = {node.port: node.offset() for node in group.data}
    wait_until(known, "sentinels know the replicas' offsets", 60)


def test_with_real_sentinels(world):
    """They do not see it; the replica keeps its data and says so."""
    group = world.group([PRODUCT, PRODUCT], ["redis"] * 3, down_after=20000)
    master, replica = group.data
    client = master.client()
    for number in range(100):
        client.set(f"k:{number}", number)
    same_data(master, replica)
    time.sleep(2.5)
    quick_restart(master)
    replica.wait_log(r"came back empty, with another history; the 100 keys here are kept")
    assert replica.cmd("DBSIZE") == 100
    assert int(replica.info("replication")["master_empty_refused"]) >= 1
    # The master of our kind was told, and takes no writes that would be lost.
    wait_until(lambda: master.info("replication").get("master_came_back_empty") == "1", "the master knows")
    with pytest.raises(redis.ReadOnlyError, match="came back empty"):
        master.client().set("k", 1)
    assert master.client().get("k") is None
    time.sleep(3)
    assert replica.cmd("DBSIZE") == 100
    # The operator's word counts: this one is the master, and the replica is to obey it.
    assert master.cmd("REPLICAOF", "NO", "ONE") == "OK"
    master.client().set("new", 1)
    replica.wait_link_up(60)
    same_data(master, replica)


@pytest.mark.parametrize("guard", ["auto", "no"])
def test_a_plain_pair_obeys(world, guard):
    """No Sentinel: the replica of an empty master becomes empty, as with Redis; `auto` warns."""
    master, replica = pair(world, f"empty-master-guard {guard}")
    quick_restart(master)
    replica.wait_link_up(60)
    wait_until(lambda: replica.cmd("DBSIZE") == 0, "the replica obeys")
    assert "came back empty; its 100 keys are dropped here, too" in replica.log()


@pytest.mark.parametrize("master_kind", ["redis", PRODUCT])
def test_without_sentinels_but_told_to(world, master_kind):
    """`yes` guards everywhere; REPLICAOF for the same master says that it is meant."""
    master, replica = pair(world, "empty-master-guard yes", master=master_kind)
    quick_restart(master)
    replica.wait_log("came back empty, with another history; the 100 keys here are kept")
    assert replica.cmd("DBSIZE") == 100 and replica.role_name() == "slave"
    assert replica.cmd("REPLICAOF", "127.0.0.1", master.port) == "OK"
    replica.wait_link_up(60)
    wait_until(lambda: replica.cmd("DBSIZE") == 0, "the replica obeys")
    assert "master_empty_refused" not in replica.info("replication")


def test_promotion_after_a_refusal(world):
    master, replica = pair(world, "empty-master-guard yes", master=PRODUCT)
    quick_restart(master)
    replica.wait_log("came back empty, with another history")
    assert replica.cmd("REPLICAOF", "NO", "ONE") == "OK"
    assert master.cmd("REPLICAOF", "127.0.0.1", replica.port) == "OK"
    master.wait_replica_of(replica)
    same_data(master, replica)
    assert master.cmd("DBSIZE") == 100


@pytest.mark.parametrize("master_kind", ["redis", PRODUCT])
def test_what_the_guard_leaves_alone(world, master_kind):
    """FLUSHALL, a restart with data, a deliberate REPLICAOF to an empty node."""
    master, replica = pair(world, "empty-master-guard yes", master=master_kind)
    master.cmd("FLUSHALL")
    wait_until(lambda: replica.cmd("DBSIZE") == 0, "FLUSHALL is obeyed")
    master.client().set("k", 1)
    same_data(master, replica)
    master.client().save()
    for number in range(100):
        master.client().set(f"lost:{number}", 1)
    same_data(master, replica)
    master.kill9()
    master.start()
    replica.wait_link_up(60)
    wait_until(lambda: replica.cmd("DBSIZE") == 1, "a master with data is obeyed")
    empty = world.server(master_kind, name="empty")
    replica.cmd("REPLICAOF", "127.0.0.1", empty.port)
    replica.wait_replica_of(empty)
    assert replica.cmd("DBSIZE") == 0
