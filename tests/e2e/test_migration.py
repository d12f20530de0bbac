"""docs/migrating.md, step by step, under load: a real group becomes the product's node by node, and real again."""

import re

import pytest

from harness import PRODUCT, Writer, wait_until

pytestmark = pytest.mark.redoubt_only


def replace(node, kind):
    """Another program at the same address, with the same folder and the same file."""
    assert node.stop(timeout=60) == 0
    node.kind = kind
    node.start()


def replace_sentinels(group, kind):
    for sentinel in group.sentinels:
        replace(sentinel, kind)
        group.wait_settled(60)


def replace_data(group, kind):
    """The replicas, then a switch, then the old master, which is a replica by then."""
    master = group.by_address(group.sentinels[0].master_addr())
    for node in group.data:
        if node is not master:
            replace(node, kind)
            node.wait_replica_of(master)
            wait_until(lambda: master.info("replication")["connected_slaves"] == "2", "both replicas are there")
            group.wait_settled(60)
    # NOGOODSLAVE as long as this sentinel has not heard that the new replicas are in step.
    wait_until(lambda: group.sentinels[0].cmd("SENTINEL", "FAILOVER", "mymaster", "COORDINATED") == "OK", "a switch begins", 60)
    new = group.wait_new_master(master)
    assert new.kind == kind
    group.wait_converged()
    replace(master, kind)
    master.wait_replica_of(new)
    group.wait_converged()
    group.wait_settled(60)


def full_syncs(node, mark):
    return len(re.findall(r"Full resync from master:", node.log_since(mark)))


def lost_on(node, writer):
    pipe = node.client().pipeline(transaction=False)
    keys = [f"w:{number}" for _, number in writer.acknowledged]
    for key in keys:
        pipe.exists(key)
    return [key for key, there in zip(keys, pipe.execute()) if not there]


def test_over_and_back(world):
    group = world.group(["redis"] * 3, ["redis"] * 3, down_after=10_000)
    writer = world.background(Writer(group))
    writer.wait_writes(100)
    for way in ("over", "back"):
        marks = {node: node.log_mark() for node in group.data}
        if way == "over":
            replace_sentinels(group, PRODUCT)
            replace_data(group, PRODUCT)
        else:
            replace_data(group, "redis")
            replace_sentinels(group, "redis")
        writer.wait_writes(50)
        syncs = {node.name: full_syncs(node, mark) for node, mark in marks.items()}
        print(f"\n{way}: full syncs {syncs}, longest stall {writer.longest_gap() * 1000:.0f} ms")
        assert max(syncs.values()) <= 1, syncs
    writer.close()
    master = group.wait_converged()
    assert master.kind == "redis" and len(writer.acknowledged) > 200
    for node in group.data:
        wait_until(lambda: node.offset() == master.offset(), f"{node.name} has everything")
        assert not lost_on(node, writer)
