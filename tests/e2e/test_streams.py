"""Streams and their groups between the product and real Redis: replication both ways, files, and who waits."""

import random
import threading
import time

import pytest
import redis

from harness import PRODUCT, same_data, wait_until

PAIRS = [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)]
both_ways = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)


def traffic(client, seed, rounds=400):
    """Writers, consumers and those who tidy up; the clock's IDs, approximate trimming, claims."""
    rng = random.Random(seed)
    streams = [f"stream:{at}" for at in range(4)]
    for name in streams:
        client.xadd(name, {"first": "entry"})
        for group in ("g", "h"):
            client.xgroup_create(name, group, "0")
    for at in range(rounds):
        name, group = rng.choice(streams), rng.choice("gh")
        consumer = rng.choice(("alice", "bob", "carol"))
        kind = rng.randrange(12)
        if kind < 4:
            for n in range(rng.randrange(1, 40)):
                client.xadd(name, {"at": at, "n": n} if n % 3 else {"other": "x" * n})
        elif kind == 4:
            client.xadd(name, {"cut": at}, maxlen=rng.randrange(50, 400), approximate=rng.random() < 0.7)
        elif kind < 8:
            client.xreadgroup(group, consumer, {name: ">"}, count=rng.randrange(1, 20), noack=rng.random() < 0.2)
        elif kind == 8:
            pending = client.xpending_range(name, group, "-", "+", 10)
            ids = [entry["message_id"] for entry in pending]
            if ids:
                client.xack(name, group, *ids[: len(ids) // 2 + 1])
                client.xclaim(name, group, consumer, 0, ids)
        elif kind == 9:
            client.xautoclaim(name, group, consumer, 0, count=5, justid=rng.random() < 0.5)
        elif kind == 10:
            entries = client.xrange(name, count=30)
            if entries:
                client.xdel(name, *[rng.choice(entries)[0] for _ in range(3)])
        else:
            client.xtrim(name, maxlen=rng.randrange(20, 300), approximate=rng.random() < 0.5)
    return streams


def facts(client, name):
    """All that replication carries of a stream's groups. (It does not carry how much a group has read, nor consumers
    that own nothing.)"""
    info = client.execute_command("XINFO", "STREAM", name, "FULL", "COUNT", 0)
    if isinstance(info, list):
        info = dict(zip(info[::2], info[1::2]))
    groups = []
    for group in info["groups"]:
        group = group if isinstance(group, dict) else dict(zip(group[::2], group[1::2]))
        groups.append((group["name"], group["last-delivered-id"], [tuple(entry) for entry in group["pending"]]))
    counters = ["length", "last-generated-id", "max-deleted-entry-id", "entries-added", "recorded-first-entry-id"]
    return [info[name] for name in counters], groups


def raw(node):
    """A client without redis-py's own form of XINFO."""
    client = node.client()
    client.response_callbacks.clear()
    return client


def same_facts(nodes, streams):
    def equal():
        all_facts = [[facts(raw(node), name) for name in streams] for node in nodes]
        return all_facts[0] == all_facts[1]
    wait_until(equal, "equal groups")


@both_ways
def test_groups_are_replicated(world, kinds):
    """A full sync carries half of the traffic, the stream of commands the other half."""
    master = world.server(kinds[0], "stream-node-max-entries 20")
    streams = traffic(master.client(), 1)
    replica = world.server(kinds[1], f"replicaof 127.0.0.1 {master.port}")
    replica.wait_link_up()
    same_data(master, replica)
    same_facts((master, replica), streams)
    master.client().delete(*streams)
    traffic(master.client(), 2)
    same_data(master, replica)
    same_facts((master, replica), streams)


def test_a_file_of_redis_is_read_and_written(world):
    """What real Redis saved comes up here with everything, and goes back the same."""
    there = world.server("redis")
    streams = traffic(there.client(), 3)
    here = world.server(PRODUCT)
    for name in streams:
        payload = there.client(decode_responses=False).dump(name)
        here.client(decode_responses=False).restore(name, 0, payload)
        assert facts(raw(here), name) == facts(raw(there), name)
        again = here.client(decode_responses=False).dump(name)
        there.client(decode_responses=False).restore(name, 0, again, replace=True)
        assert facts(raw(here), name) == facts(raw(there), name)
    digest = same_data(here, there)
    here.cmd("SAVE")
    here.restart()
    assert here.digest() == digest


def test_consumers_wait(world):
    """Blocked consumers on two workers share new entries, and hear when their group goes."""
    node = world.server(PRODUCT, "threads 2")
    client = node.client()
    client.xgroup_create("s", "g", "$", mkstream=True)
    got, errors = [], []

    def consume(name):
        own = node.client()
        try:
            while True:
                for _, entries in own.xreadgroup("g", name, {"s": ">"}, count=1, block=20000):
                    got.extend(entries)
        except redis.RedisError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=consume, args=(f"c{at}",), daemon=True) for at in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: int(node.info("clients")["blocked_clients"]) == 4, "four wait")
    ids = [client.xadd("s", {"n": n}) for n in range(200)]
    wait_until(lambda: len(got) == 200, "all entries are given out")
    assert sorted(entry[0] for entry in got) == sorted(ids)
    assert client.xpending("s", "g")["pending"] == 200
    wait_until(lambda: int(node.info("clients")["blocked_clients"]) == 4, "four wait again")
    client.xgroup_destroy("s", "g")
    for thread in threads:
        thread.join(10)
    assert len(errors) == 4 and all("NOGROUP" in error or "No such key" in error for error in errors)


def test_a_group_ends_by_the_clock(world):
    """A waiting consumer hears of a stream that expires while nobody touches it."""
    node = world.server(PRODUCT)
    client = node.client()
    for name in ("s", "t"):
        client.xgroup_create(name, "g", "$", mkstream=True)
    client.pexpire("s", 300)
    began = time.monotonic()
    with pytest.raises(redis.ResponseError, match="No such key 's'"):
        node.client().xreadgroup("g", "c", {"t": ">", "s": ">"}, block=20000)
    assert time.monotonic() - began < 10
