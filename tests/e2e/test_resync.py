"""Partial resynchronization where Redis 7 has it: after restarts of either side, promotions, role swaps in a chain."""

import threading
import time

import pytest
import redis

from harness import PRODUCT, fill_with_everything, same_data, wait_until

PAIRS = [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)]
both_ways = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)


def follows(world, kind, master, *lines, **options):
    node = world.server(kind, f"replicaof 127.0.0.1 {master.port}", *lines, **options)
    node.wait_link_up()
    return node


def full_syncs(node):
    return int(node.info("stats")["sync_full"])


def all_acknowledged(master, count=1):
    """Every replica has acknowledged all that there is."""
    def even():
        fields = master.info("replication")
        states = [fields.get(f"slave{at}", "") for at in range(count)]
        return all(f"offset={fields['master_repl_offset']}," in state for state in states)
    wait_until(even, "the replicas have acknowledged everything")


@both_ways
def test_master_restarted_in_order(world, kinds):
    """A master that saves at its end comes back with its history as the second one; the replica goes on with it."""
    master = world.server(kinds[0], "save 3600 1", name="master")
    replica = follows(world, kinds[1], master, "save 3600 1", name="replica")
    fill_with_everything(master.client())
    same_data(master, replica)
    before = master.info("replication")
    assert master.stop() == 0
    master.start()
    replica.wait_link_up()
    fields = master.info("replication")
    assert fields["master_replid2"] == before["master_replid"] != fields["master_replid"]
    assert int(fields["second_repl_offset"]) >= int(before["master_repl_offset"]) + 1
    assert full_syncs(master) == 0, "a full sync where the file told the history"
    assert int(master.info("stats")["sync_partial_ok"]) == 1
    assert replica.info("replication")["master_replid"] == fields["master_replid"]
    master.client().set("after", 1)
    same_data(master, replica)
    # And once more, now with a history that has a second one.
    assert master.stop() == 0
    master.start()
    replica.wait_link_up()
    assert full_syncs(master) == 0
    same_data(master, replica)


@both_ways
def test_keys_that_expired_while_the_master_was_away(world, kinds):
    """What had expired in the file is left out at its loading; the replica, which goes on, is told."""
    master = world.server(kinds[0], "save 3600 1", name="master")
    replica = follows(world, kinds[1], master, name="replica")
    client = master.client()
    for number in range(50):
        client.set(f"short:{number}", number, px=1500)
        client.set(f"long:{number}", number)
    client.execute_command("SELECT", 5)
    client.set("short too", 1, px=1500)
    same_data(master, replica)
    all_acknowledged(master)
    assert master.stop() == 0
    time.sleep(2)
    master.start()
    replica.wait_link_up()
    assert full_syncs(master) == 0
    wait_until(lambda: replica.cmd("DBSIZE") == 50, "the replica has removed them, too")
    same_data(master, replica)
    assert "db5" not in replica.info("keyspace")


@both_ways
def test_a_crashed_master_does_not_go_on_from_an_old_file(world, kinds):
    """After a kill the file is older than what the replica has: only a full sync is right."""
    master = world.server(kinds[0], name="master")
    replica = follows(world, kinds[1], master, name="replica")
    client = master.client()
    client.set("saved", 1)
    same_data(master, replica)
    client.save()
    for number in range(100):
        client.set(f"lost:{number}", number)
    same_data(master, replica)
    master.kill9()
    master.start()
    replica.wait_link_up()
    assert full_syncs(master) == 1
    same_data(master, replica)
    assert replica.cmd("KEYS", "*") == ["saved"]


@both_ways
def test_both_restarted(world, kinds):
    master = world.server(kinds[0], "save 3600 1", name="master")
    replica = follows(world, kinds[1], master, "save 3600 1", name="replica")
    fill_with_everything(master.client())
    same_data(master, replica)
    all_acknowledged(master)
    assert master.stop() == 0
    assert replica.stop() == 0
    replica.start()
    master.start()
    replica.wait_link_up()
    assert full_syncs(master) == 0
    same_data(master, replica)


@both_ways
def test_a_promoted_replica_restarts(world, kinds):
    """The file of a promoted node tells its new history; whoever followed it goes on."""
    first = world.server(kinds[0], "save 3600 1", name="first")
    second = follows(world, kinds[1], first, "save 3600 1", name="second")
    fill_with_everything(first.client())
    same_data(first, second)
    second.cmd("REPLICAOF", "NO", "ONE")
    second.client().set("new history", 1)
    first.cmd("REPLICAOF", "127.0.0.1", second.port)
    first.wait_replica_of(second)
    same_data(first, second)
    assert full_syncs(second) == 0
    second.cmd("CONFIG", "REWRITE")
    assert second.stop() == 0
    second.start()
    first.wait_replica_of(second)
    assert full_syncs(second) == 0
    same_data(first, second)


@pytest.mark.parametrize("kinds", [(PRODUCT, "redis", PRODUCT), ("redis", PRODUCT, "redis"), (PRODUCT,) * 3],
                         ids="-".join)
def test_role_swaps_in_a_chain(world, kinds):
    """A - B - C becomes B - A, B - C, then C - B - A: nobody ever needs a full sync again."""
    a = world.server(kinds[0], name="a")
    b = follows(world, kinds[1], a, name="b")
    c = follows(world, kinds[2], b, name="c")
    nodes = [a, b, c]
    fill_with_everything(a.client())
    same_data(*nodes)
    before = [full_syncs(node) for node in nodes]
    wait_until(lambda: len({node.offset() for node in nodes}) == 1, "equal offsets")
    b.cmd("REPLICAOF", "NO", "ONE")
    a.cmd("REPLICAOF", "127.0.0.1", b.port)
    a.wait_replica_of(b)
    c.wait_replica_of(b)
    b.client().set("b was here", 1)
    same_data(*nodes)
    wait_until(lambda: len({node.offset() for node in nodes}) == 1, "equal offsets")
    c.cmd("REPLICAOF", "NO", "ONE")
    b.cmd("REPLICAOF", "127.0.0.1", c.port)
    b.wait_replica_of(c)
    a.wait_replica_of(b)
    c.client().set("c was here", 1)
    same_data(*nodes)
    assert [full_syncs(node) for node in nodes] == before
    wait_until(lambda: len({node.info("replication")["master_replid"] for node in nodes}) == 1, "one history")


@both_ways
def test_promotions_under_load_never_break_a_node(world, kinds):
    """REPLICAOF NO ONE in the middle of a stream: what is still on its way is dropped, not applied to the new history."""
    master = world.server(kinds[0], name="master")
    replica = follows(world, kinds[1], master, name="replica")
    writer = master.client()
    for round_number in range(8):
        pipe = writer.pipeline(transaction=False)
        for number in range(3000):
            pipe.set(f"k:{number}", f"{round_number}:{number}" * 5)
        load = threading.Thread(target=pipe.execute)
        load.start()
        time.sleep(0.02)
        replica.cmd("REPLICAOF", "NO", "ONE")
        replica.client().set("own", round_number)
        load.join()
        assert replica.alive()
        replica.cmd("REPLICAOF", "127.0.0.1", master.port)
        replica.wait_link_up()
    same_data(master, replica)


@both_ways
def test_role_changes_record_every_write(world, kinds):
    """What a master has answered before it became a replica is in its stream, whatever ran at that moment."""
    master = world.server(kinds[0], name="master")
    replica = follows(world, kinds[1], master, name="replica")
    stopping = threading.Event()

    def write(number):
        client, at = master.client(), 0
        while not stopping.is_set():
            pipe = client.pipeline(transaction=at % 3 == 0)
            for _ in range(20):
                at += 1
                pipe.set(f"k:{number}:{at % 500}", at)
                pipe.incr("shared")
                pipe.eval("return redis.call('rpush', KEYS[1], ARGV[1])", 1, f"l:{number}:{at % 50}", at)
            try:
                pipe.execute()
            except redis.RedisError:
                time.sleep(0.01)

    threads = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            time.sleep(0.25)
            # Nobody listens there: it is a replica that gets nothing new.
            assert master.cmd("REPLICAOF", "127.0.0.1", 1) == "OK"
            same_data(master, replica)
            assert master.cmd("REPLICAOF", "NO", "ONE") == "OK"
            replica.wait_link_up(60)
    finally:
        stopping.set()
    for thread in threads:
        thread.join(20)
    same_data(master, replica)
    assert full_syncs(master) == 1, "the second id lets the replica go on each time"
