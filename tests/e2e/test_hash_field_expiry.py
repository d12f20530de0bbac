"""Times of hash fields between processes: clients, replication, restarts, and peers that can't hold them."""

import time

import pytest
import redis

from harness import PATIENCE, PRODUCT, same_data, wait_until


def hours(n=1):
    """A Unix time in ms, some hours from now."""
    return int(time.time() * 1000) + n * 3_600_000


def times(node, key):
    """Every field of a hash with its time."""
    fields = sorted(node.cmd("HKEYS", key))
    return dict(zip(fields, node.cmd("HPEXPIRETIME", key, "FIELDS", len(fields), *fields))) if fields else {}


def fill(client):
    """A small and a big hash with times, and one that had some."""
    small = {f"f{n}": n for n in range(20)}
    big = {f"field:{n}": "v" * (n % 90) for n in range(2000)}
    for name, fields in (("small", small), ("big", big), ("was", small)):
        client.hset(name, mapping=fields)
        for n, field in enumerate(fields):
            if n % 3 == 0:
                client.hpexpireat(name, hours(1 + n), field)
    client.hpersist("was", *small)
    client.expire("big", 100_000)


NAMES = ("small", "big", "was")


def test_a_client_library_knows_the_commands(world):
    """redis-py's own methods, over RESP2 and RESP3."""
    node = world.server(PRODUCT)
    for protocol in (2, 3):
        client = node.client(protocol=protocol)
        client.flushall()
        client.hset("h", mapping={"a": 1, "b": 2, "c": 3, "d": 4})
        assert client.hexpire("h", 100, "a", "none") == [1, -2]
        assert client.hpexpire("h", 100_000, "b", nx=True) == [1]
        assert client.hexpireat("h", hours() // 1000, "a", gt=True) == [1]
        assert client.hpexpireat("h", hours(9), "a", lt=True) == [0]
        assert 0 < client.httl("h", "b")[0] <= 100
        assert 0 < client.hpttl("h", "b", "c")[0] <= 100_000
        assert client.hpexpiretime("h", "c", "none") == [-1, -2]
        assert abs(client.hexpiretime("h", "a")[0] * 1000 - hours()) < 60_000
        assert client.hpersist("h", "a", "c") == [1, -1]
        assert client.hpexpire("h", 0, "d") == [2]
        if hasattr(client, "hsetex"):
            assert client.hsetex("h", mapping={"e": "5", "f": "6"}, ex=100) == 1
            assert client.hgetex("h", "e", "none", persist=True) == ["5", None]
            assert client.httl("h", "e", "f")[0] == -1
            assert client.hgetdel("h", "e", "f") == ["5", "6"]
        assert client.hgetall("h") == {"a": "1", "b": "2", "c": "3"}
        with pytest.raises(redis.ResponseError, match="numfields"):
            client.execute_command("HTTL", "h", "FIELDS", 2, "a")


def test_fields_go_by_themselves(world):
    """The cycle removes fields and tells those who listen; INFO counts."""
    node = world.server(PRODUCT, "notify-keyspace-events Khgx")
    client = node.client()
    listener = world.background(client.pubsub())
    listener.psubscribe("__keyspace@0__:*")
    client.hset("h", mapping={f"f{n}": n for n in range(300)})
    client.hset("big", mapping={f"f{n}": n for n in range(5000)})
    for name, count in (("h", 300), ("big", 4000)):
        client.hpexpire(name, 300, *[f"f{n}" for n in range(count)])
    assert ",subexpiry=2" in node.cmd("INFO", "keyspace")
    wait_until(lambda: client.exists("h") == 0 and client.hlen("big") == 1000, "fields are gone")
    assert ",subexpiry=0" in node.cmd("INFO", "keyspace")
    assert int(client.info("stats")["expired_subkeys"]) == 4300
    events = []

    def heard():
        message = listener.get_message(timeout=0.1)
        if message and message["type"] == "pmessage":
            events.append((message["channel"].split(":", 1)[1], message["data"]))
        return ("h", "del") in events

    wait_until(heard, "the events")
    assert ("h", "hexpired") in events
    assert events.index(("h", "hexpired")) < events.index(("h", "del"))


def test_times_are_replicated(world):
    """Full sync and stream carry times; fields that go on the master go on the replica, and only then."""
    master = world.server(PRODUCT)
    client = master.client()
    fill(client)
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}")
    replica.wait_link_up()
    same_data(master, replica)
    for name in NAMES:
        assert times(master, name) == times(replica, name)
    client.hset("live", mapping={"a": 1, "b": 2, "c": 1.5, "d": 4, "e": 5})
    client.hexpire("live", 3600, "a", "b", "c")
    client.execute_command("HSETEX", "live", "EX", 3600, "FIELDS", 1, "f", "6")
    client.execute_command("HSETEX", "live", "KEEPTTL", "FIELDS", 1, "a", "7")
    client.execute_command("HGETEX", "live", "PX", 3_600_000, "FIELDS", 1, "d")
    client.execute_command("HGETDEL", "live", "FIELDS", 1, "e")
    client.hincrbyfloat("live", "c", 1.25)
    client.hpersist("live", "b")
    with client.pipeline() as pipe:
        pipe.hpexpire("live", 1, "b").hset("live", "g", 8)
        pipe.execute()
    wait_until(lambda: client.hexists("live", "b") is False, "the field is gone")
    same_data(master, replica)
    assert times(master, "live") == times(replica, "live")
    assert set(times(replica, "live")) == {"a", "c", "d", "f", "g"}
    # A replica hides what is due, and leaves it where it is.
    master.cmd("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    client.hset("short", mapping={"a": 1, "b": 2})
    client.hpexpire("short", 50, "a", "b")
    same_data(master, replica)
    wait_until(lambda: replica.cmd("HGETALL", "short") in ({}, []), "the fields are hidden")
    assert replica.cmd("HGET", "short", "a") is None
    assert (replica.cmd("HLEN", "short"), replica.cmd("EXISTS", "short")) == (2, 1)
    assert client.hget("short", "a") is None
    wait_until(lambda: replica.cmd("HLEN", "short") == 1, "the master's HDEL")
    assert client.hmget("short", "a", "b") == [None, None]
    wait_until(lambda: replica.cmd("EXISTS", "short") == 0, "the hash goes with its last field")
    same_data(master, replica)


def test_times_outlive_a_restart(world):
    """SAVE and restart, DEBUG RELOAD, DUMP: each in the lowest version that holds the data."""
    node = world.server(PRODUCT)
    client = node.client()
    client.set("other", "value")
    node.cmd("SAVE")
    file = node.dir / "dump.rdb"
    assert file.read_bytes()[:9] == b"REDIS0010"
    fill(client)
    before, digest = {name: times(node, name) for name in NAMES}, node.digest()
    for again in (lambda: node.cmd("DEBUG", "RELOAD"), lambda: (node.cmd("SAVE"), node.restart())):
        again()
        assert node.digest() == digest
        assert {name: times(node, name) for name in NAMES} == before
    assert file.read_bytes()[:9] == b"REDIS0012"
    client = node.client(decode_responses=False)
    for name in NAMES:
        payload = client.dump(name)
        assert payload[-10] == (10 if name == "was" else 12)
        client.restore(name + ":copy", 0, payload)
        assert times(node, name + ":copy") == before[name]
    for name in ("small", "big"):
        client.delete(name, name + ":copy")
    node.cmd("SAVE")
    assert file.read_bytes()[:9] == b"REDIS0010"


def test_a_replica_that_cannot_hold_times_is_refused(world):
    """redis-server 7.0.15 reads RDB version 10: the master says which key is in the way, and the replica keeps its data."""
    master = world.server(PRODUCT)
    client = master.client()
    client.hset("session:77", mapping={"token": "t", "user": "u"})
    client.hexpire("session:77", 3600, "token")
    replica = world.server("redis")
    replica.client().set("own", "kept")
    mark = master.log_mark()
    replica.cmd("REPLICAOF", "127.0.0.1", master.port)
    master.wait_log(r"Full sync with replica \S+ refused: fields of key 'session:77' in DB 0 have expiry times", mark)
    replica.wait_log("NOMASTERLINK Can't SYNC while fields of key 'session:77' have expiry times")
    assert replica.client().get("own") == "kept"
    assert replica.info("replication")["master_link_status"] == "down"
    # A replica of our own is served all the same.
    own = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}")
    own.wait_link_up()
    same_data(master, own)
    # And the other one as soon as nothing is in the way.
    client.hpersist("session:77", "token")
    replica.wait_link_up(timeout=PATIENCE)
    same_data(master, replica)
