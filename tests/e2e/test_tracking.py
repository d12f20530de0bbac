"""Client-side caching and sharded pub/sub, on real Redis and on the product with the same expectations."""

import threading
import time

import pytest
import redis
from redis.cache import CacheConfig

from harness import PATIENCE, PRODUCT, RespError, wait_until

KINDS = ["redis"] if PRODUCT == "redis" else ["redis", PRODUCT]


@pytest.fixture(params=KINDS)
def node(request, world):
    return world.server(request.param, "notify-keyspace-events KEA")


def invalidate(*keys):
    return [b"invalidate", [key.encode() for key in keys]]


def quiet(connection):
    """Nothing waits to be read: a PING is answered at once."""
    return connection.command("PING") == b"PONG"


def test_default_mode(node):
    reader, writer = node.raw(proto=3), node.raw()
    assert reader.command("CLIENT", "TRACKING", "ON") == b"OK"
    assert reader.command("MGET", "k", "l") == [None, None]
    assert writer.command("SET", "k", "1") == b"OK" and writer.command("SET", "k", "2") == b"OK"
    assert reader.read() == invalidate("k")
    assert quiet(reader)
    writer.command("SELECT", "3")
    writer.command("SET", "l", "1")
    assert reader.read() == invalidate("l")
    # Own changes: the reply first, and the whole of EXEC.
    reader.command("GET", "k")
    assert reader.command("INCR", "k") == 3 and reader.read() == invalidate("k")
    reader.command("GET", "k")
    for words in (["MULTI"], ["SET", "k", "5"], ["GET", "k"]):
        reader.command(*words)
    assert reader.command("EXEC") == [b"OK", b"5"] and reader.read() == invalidate("k")
    # A key that was missed, one of the wrong type, and a deleted one.
    reader.command("GET", "nothing")
    writer.command("SELECT", "0")
    writer.command("SET", "nothing", "1")
    assert reader.read() == invalidate("nothing")
    assert isinstance(reader.command("LLEN", "nothing"), RespError)
    writer.command("DEL", "nothing")
    assert reader.read() == invalidate("nothing")
    assert reader.command("CLIENT", "TRACKING", "OFF") == b"OK"
    reader.command("GET", "k")
    writer.command("SET", "k", "6")
    assert quiet(reader)


def test_expiry_and_flush(node):
    reader, writer = node.raw(proto=3), node.raw()
    writer.command("SET", "short", "1", "PX", "150")
    reader.command("CLIENT", "TRACKING", "ON")
    reader.command("GET", "short")
    assert reader.read() == invalidate("short"), "the active expiry tells too"
    reader.command("GET", "other")
    writer.command("FLUSHALL")
    assert reader.read() == [b"invalidate", None]
    assert reader.command("FLUSHDB") == b"OK" and reader.read() == [b"invalidate", None]
    assert node.info("stats")["tracking_total_keys"] == "0"


def test_eviction_tells(node):
    reader, writer = node.raw(proto=3), node.raw()
    reader.command("CLIENT", "TRACKING", "ON")
    writer.command("SET", "big", "x" * 100_000)
    reader.command("STRLEN", "big")
    writer.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    writer.command("CONFIG", "SET", "maxmemory", "1")
    writer.command("SET", "another", "1")
    assert reader.read() == invalidate("big")


def test_broadcast(node):
    reader, writer = node.raw(proto=3), node.raw()
    assert reader.command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "p:", "PREFIX", "q:") == b"OK"
    writer.command("MSET", "p:2", "1", "p:1", "1", "q:1", "1", "z", "1")
    assert reader.read() == invalidate("p:1", "p:2") and reader.read() == invalidate("q:1")
    assert reader.command("SET", "p:1", "2") == b"OK" and reader.read() == invalidate("p:1")
    assert node.info("stats")["tracking_total_prefixes"] == "2"
    assert reader.command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "p") == (
        "ERR Prefix 'p' overlaps with an existing prefix 'p:'. Prefixes for a single client must not overlap.")
    assert reader.command("CLIENT", "TRACKING", "OFF") == b"OK"
    assert reader.command("CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP") == b"OK"
    assert reader.command("SET", "mine", "1") == b"OK"
    assert quiet(reader)
    writer.command("SET", "yours", "1")
    assert reader.read() == invalidate("yours")
    reader.close()
    wait_until(lambda: node.info("stats")["tracking_total_prefixes"] == "0", "the prefixes go with their connection")
    assert node.info("clients")["tracking_clients"] == "0"


def test_noloop(node):
    reader, writer = node.raw(proto=3), node.raw()
    reader.command("CLIENT", "TRACKING", "ON", "NOLOOP")
    reader.command("GET", "k")
    assert reader.command("SET", "k", "1") == b"OK"
    assert quiet(reader)
    reader.command("GET", "k")
    writer.command("SET", "k", "2")
    assert reader.read() == invalidate("k")


def test_optin_and_optout(node):
    reader, writer = node.raw(proto=3), node.raw()
    reader.command("CLIENT", "TRACKING", "ON", "OPTIN")
    reader.command("GET", "a")
    assert reader.command("CLIENT", "CACHING", "YES") == b"OK"
    reader.command("GET", "b")
    reader.command("GET", "c")
    writer.command("MSET", "a", "1", "b", "1", "c", "1")
    assert reader.read() == invalidate("b")
    assert quiet(reader)
    assert isinstance(reader.command("CLIENT", "TRACKING", "ON", "OPTOUT"), RespError)
    reader.command("CLIENT", "TRACKING", "OFF")
    reader.command("CLIENT", "TRACKING", "ON", "OPTOUT")
    assert reader.command("CLIENT", "CACHING", "NO") == b"OK"
    assert reader.command("CLIENT", "TRACKINGINFO")[b"flags"] == [b"on", b"optout", b"caching-no"]
    reader.command("GET", "a")
    reader.command("GET", "b")
    writer.command("MSET", "a", "1", "b", "1", "c", "1")
    assert reader.read() == invalidate("b")
    assert quiet(reader)


def test_redirect_to_resp2(node):
    data, listener, writer = node.raw(), node.raw(), node.raw()
    number = listener.command("CLIENT", "ID")
    assert data.command("CLIENT", "TRACKING", "ON", "REDIRECT", number + 1000) == (
        "ERR The client ID you want redirect to does not exist")
    assert data.command("CLIENT", "TRACKING", "ON", "REDIRECT", number) == b"OK"
    assert data.command("CLIENT", "GETREDIR") == number
    listener.command("SUBSCRIBE", "__redis__:invalidate")
    data.command("GET", "k")
    writer.command("SET", "k", "1")
    assert listener.read() == [b"message", b"__redis__:invalidate", [b"k"]]
    writer.command("FLUSHALL")
    assert listener.read() == [b"message", b"__redis__:invalidate", None]
    # When the listener goes, a RESP3 connection is told.
    data.command("HELLO", "3")
    data.command("GET", "k")
    listener.close()
    wait_until(lambda: f"id={number} " not in node.cmd("CLIENT", "LIST"), "the listener is gone")
    writer.command("SET", "k", "2")
    assert data.read() == [b"tracking-redir-broken", number]
    line = data.command("CLIENT", "INFO").decode()
    assert " flags=tR " in line and f" redir={number} " in line
    assert data.command("CLIENT", "TRACKINGINFO")[b"flags"] == [b"on", b"broken_redirect"]


def test_table_limit(node):
    reader = node.raw(proto=3)
    reader.command("CLIENT", "TRACKING", "ON")
    node.cmd("CONFIG", "SET", "tracking-table-max-keys", "10")
    told = []
    for key in range(100):
        reader.send(b"GET k%d\r\n" % key)
        while (reply := reader.read()) is not None:
            told.append(reply[1][0])
    wait_until(lambda: int(node.info("stats")["tracking_total_keys"]) <= 10, "the table shrinks")
    reader.send(b"PING\r\n")
    while (reply := reader.read()) != b"PONG":
        told.append(reply[1][0])
    assert len(told) >= 90 and len(set(told)) == len(told)


def test_replicas_tell_of_the_masters_changes(world, node):
    replica = world.server(node.kind, f"replicaof {node.ip} {node.port}")
    wait_until(lambda: replica.info("replication").get("master_link_status") == "up", "the replica is in sync")
    reader = replica.raw(proto=3)
    reader.command("CLIENT", "TRACKING", "ON")
    reader.command("GET", "k")
    node.cmd("SET", "k", "1")
    assert reader.read() == invalidate("k")
    listener = replica.raw()
    assert listener.command("SSUBSCRIBE", "shard") == [b"ssubscribe", b"shard", 1]
    node.cmd("SPUBLISH", "shard", "over the link")
    assert listener.read() == [b"smessage", b"shard", b"over the link"]


@pytest.mark.redoubt_only
def test_redis_py_cache(world):
    """redis-py wants a server of 7.4 or later for this."""
    node = world.server(PRODUCT)
    cached = node.client(protocol=3, cache_config=CacheConfig())
    plain = node.client()
    plain.set("k", "1")
    assert cached.get("k") == "1" and cached.get("k") == "1"
    calls = lambda: int(node.info("commandstats")["cmdstat_get"].split("calls=")[1].split(",")[0])
    assert calls() == 1, "the second came from the cache"
    plain.set("k", "2")
    wait_until(lambda: cached.get("k") == "2", "the cache hears of the change")
    plain.flushall()
    wait_until(lambda: cached.get("k") is None, "the cache hears of the flush")
    cached.close()


def test_no_cache_stays_stale(node):
    """Several caches and writers at once: when the writers stop, every cache comes to the last value."""
    stop, errors, keys = threading.Event(), [], [f"k{at}" for at in range(8)]

    def guarded(work):
        def run():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - shown by the assertion below
                errors.append(error)
        return threading.Thread(target=run)

    last = {}

    def write(part):
        client, number = node.client(), 0
        while not stop.is_set():
            number += 1
            for key in keys[part::2]:
                client.set(key, f"{part}-{number}")
                last[key] = f"{part}-{number}"

    caches = [{} for _ in range(4)]

    def read(cache):
        connection = node.raw(proto=3)
        connection.command("CLIENT", "TRACKING", "ON")
        at = 0

        def handle(reply):
            # A message: whatever it names is not known any more.
            for key in reply[1]:
                cache.pop(key.decode(), None)

        def ask(*words):
            connection.send(b" ".join(words) + b"\r\n")
            while isinstance(reply := connection.read(), list):
                handle(reply)
            return reply
        while not stop.is_set():
            at += 1
            key = keys[at % len(keys)]
            if key not in cache:
                cache[key] = (ask(b"GET", key.encode()) or b"").decode()
            else:
                ask(b"PING")
        time.sleep(0.5)
        ask(b"PING")
    threads = [guarded(lambda part=part: write(part)) for part in range(2)]
    threads += [guarded(lambda cache=cache: read(cache)) for cache in caches]
    for thread in threads:
        thread.start()
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not errors
    for cache in caches:
        assert all(last[key] == value for key, value in cache.items())


@pytest.mark.parametrize("protocol", [2, 3])
def test_sharded_pubsub(node, protocol):
    listener, other = node.raw(proto=protocol), node.raw()
    assert listener.command("SSUBSCRIBE", "a", "b") == [b"ssubscribe", b"a", 1]
    assert listener.read() == [b"ssubscribe", b"b", 2]
    assert listener.command("SUBSCRIBE", "c") == [b"subscribe", b"c", 1]
    assert other.command("PUBLISH", "a", "not here") == 0
    assert other.command("SPUBLISH", "a", "here") == 1
    assert listener.read() == [b"smessage", b"a", b"here"]
    assert other.command("PUBSUB", "SHARDCHANNELS") in ([b"a", b"b"], [b"b", b"a"])
    assert other.command("PUBSUB", "SHARDCHANNELS", "b*") == [b"b"]
    assert other.command("PUBSUB", "SHARDNUMSUB", "a", "x") == [b"a", 1, b"x", 0]
    assert other.command("PUBSUB", "CHANNELS") == [b"c"]
    assert node.info("stats")["pubsubshard_channels"] == "2"
    assert " ssub=2 " in other.command("CLIENT", "LIST", "TYPE", "pubsub").decode()
    if protocol == 2:
        assert listener.command("GET", "k").startswith("ERR Can't execute 'get': only (P|S)SUBSCRIBE")
    assert listener.command("SUNSUBSCRIBE", "a") == [b"sunsubscribe", b"a", 1]
    assert listener.command("SUNSUBSCRIBE") == [b"sunsubscribe", b"b", 0]
    assert other.command("PUBSUB", "SHARDCHANNELS") == []


def test_shard_channels_and_acl(node):
    node.cmd("ACL", "SETUSER", "limited", "on", "nopass", "+@all", "resetchannels", "&allowed*")
    client = node.raw()
    assert client.command("AUTH", "limited", "x") == b"OK"
    assert client.command("SPUBLISH", "other", "m").startswith("NOPERM ")
    assert client.command("SSUBSCRIBE", "other").startswith("NOPERM ")
    assert client.command("SSUBSCRIBE", "allowed1") == [b"ssubscribe", b"allowed1", 1]
    node.cmd("ACL", "SETUSER", "limited", "resetchannels")
    with pytest.raises(OSError):
        while True:
            client.read()


def test_shard_channels_by_redis_py_connections(node):
    listener, publisher = (redis.Connection(host=node.ip, port=node.port, protocol=2, decode_responses=True) for _ in range(2))
    listener.send_command("SSUBSCRIBE", "s")
    assert listener.read_response() == ["ssubscribe", "s", 1]
    publisher.send_command("SPUBLISH", "s", "hello")
    assert publisher.read_response() == 1
    assert listener.read_response() == ["smessage", "s", "hello"]
    publisher.send_command("SPUBLISH", "s")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'spublish' command"):
        publisher.read_response()
    listener.disconnect()
    wait_until(lambda: node.cmd("PUBSUB", "SHARDNUMSUB", "s") == ["s", 0], "the subscription ends with its connection")
    publisher.disconnect()
