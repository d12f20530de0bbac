"""FAILOVER: the role is handed over without a lost write, clients are held, not failed; both ways with real Redis."""

import re
import threading
import time

import pytest
import redis

from harness import PRODUCT, same_data, wait_until

PAIRS = [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)]
both_ways = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)


def pair(world, kinds, *lines):
    master = world.server(kinds[0], *lines, name="master")
    replica = world.server(kinds[1], f"replicaof 127.0.0.1 {master.port}", *lines, name="replica")
    replica.wait_link_up()
    wait_until(lambda: "state=online" in master.info("replication")["slave0"], "the replica is online")
    return master, replica


def state(node):
    return node.info("replication")["master_failover_state"]


class Writers:
    """Clients that write to one node and note every acknowledged key, and every other answer."""

    def __init__(self, node, count=4):
        self.node, self.acknowledged, self.errors = node, [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        client, at = self.node.client(), 0
        while not self.stopping.is_set():
            key = f"w:{number}:{at}"
            at += 1
            try:
                client.set(key, at)
                self.acknowledged.append(key)
            except redis.RedisError as error:
                self.errors.append(error)
                time.sleep(0.02)

    def close(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)


@both_ways
@pytest.mark.parametrize("named", [False, True], ids=["any", "named"])
def test_no_write_is_lost(world, kinds, named):
    master, replica = pair(world, kinds)
    writers = world.background(Writers(master))
    wait_until(lambda: len(writers.acknowledged) > 200, "the load runs")
    target = ["TO", "127.0.0.1", replica.port] if named else []
    assert master.cmd("FAILOVER", *target) == "OK"
    replica.wait_role("master")
    master.wait_replica_of(replica)
    assert state(master) == state(replica) == "no-failover"
    wait_until(lambda: writers.errors, "writers find a replica")
    writers.close()
    assert all(isinstance(error, redis.ReadOnlyError) for error in writers.errors), writers.errors[:3]
    client = replica.client()
    lost = [key for key in writers.acknowledged if not client.exists(key)]
    assert not lost
    assert int(replica.info("stats")["sync_full"]) == 0, "the old master goes on with its history"
    client.set("new", 1)
    same_data(master, replica)
    assert re.search(rf"Failover target 127\.0\.0\.1:{replica.port} is synced, failing over\.", master.log())
    assert re.search(r"# Failover request received for replid [0-9a-f]{40}\.", replica.log())
    assert re.search(r"MASTER MODE enabled \(failover request from '", replica.log())


@both_ways
def test_there_and_back(world, kinds):
    a, b = pair(world, kinds)
    for at in range(2):
        for old, new in ((a, b), (b, a)):
            old.client().set(f"before {at} {old.name}", 1)
            old.cmd("FAILOVER", "TO", "127.0.0.1", new.port, "TIMEOUT", 10000)
            new.wait_role("master")
            old.wait_replica_of(new)
            wait_until(lambda: "state=online" in new.info("replication").get("slave0", ""), "online")
    same_data(a, b)
    assert int(a.info("stats")["sync_full"]) == 1 and int(b.info("stats")["sync_full"]) == 0


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_waiting_is_aborted(world, kind):
    """A replica that does not answer: writes wait, reads do not; ABORT and TIMEOUT let them go on."""
    master, replica = pair(world, (PRODUCT, kind))
    replica.pause()
    try:
        master.client().set("unseen", 1)
        assert master.cmd("FAILOVER") == "OK"
        assert state(master) == "waiting-for-sync"
        with pytest.raises(redis.ResponseError, match="^ERR FAILOVER already in progress.$"):
            master.cmd("FAILOVER")
        with pytest.raises(redis.ResponseError, match="^ERR REPLICAOF not allowed while failing over.$"):
            master.cmd("REPLICAOF", "127.0.0.1", 1)
        held = master.raw()
        held.send(b"*3\r\n$3\r\nSET\r\n$4\r\nheld\r\n$1\r\n1\r\n")
        assert master.cmd("GET", "unseen") == "1"
        time.sleep(0.3)
        assert master.cmd("EXISTS", "held") == 0
        assert master.cmd("FAILOVER", "ABORT") == "OK"
        assert held.read() == b"OK"
        assert state(master) == "no-failover" and master.role_name() == "master"
        with pytest.raises(redis.ResponseError, match="^ERR No failover in progress.$"):
            master.cmd("FAILOVER", "ABORT")
        assert "FAILOVER to any replica aborted: Failover manually aborted" in master.log()
        assert master.cmd("FAILOVER", "TO", "127.0.0.1", replica.port, "TIMEOUT", 300) == "OK"
        assert master.cmd("SET", "after the time-out", 1) == "OK"
        assert state(master) == "no-failover"
        expected = f"FAILOVER to 127.0.0.1:{replica.port} aborted: Replica never caught up before timeout"
        assert expected in master.log()
    finally:
        replica.resume()
    same_data(master, replica)


@both_ways
def test_force_takes_what_there_is(world, kinds):
    """FORCE: after the time the target takes over, although it lacks something; it is asked when it can be reached."""
    master, replica = pair(world, kinds)
    proxy_free = replica.cmd("CONFIG", "SET", "repl-timeout", 3600)
    assert proxy_free == "OK"
    replica.pause()
    try:
        master.client().set("unseen", 1)
        assert master.cmd("FAILOVER", "TO", "127.0.0.1", replica.port, "FORCE", "TIMEOUT", 200) == "OK"
        wait_until(lambda: state(master) == "failover-in-progress", "it goes on without an answer")
        assert master.role_name() == "slave"
    finally:
        replica.resume()
    replica.wait_role("master")
    master.wait_replica_of(replica)
    assert f"FAILOVER to 127.0.0.1:{replica.port} time out exceeded, failing over." in master.log()
    same_data(master, replica)


@both_ways
def test_a_target_that_refuses(world, kinds):
    """The target has another history: the old master is the master again, and held writes run."""
    master, replica = pair(world, kinds)
    replica.cmd("DEBUG", "CHANGE-REPL-ID")
    assert master.cmd("FAILOVER", "TO", "127.0.0.1", replica.port) == "OK"
    held = master.raw()
    held.send(b"*3\r\n$3\r\nSET\r\n$4\r\nheld\r\n$1\r\n1\r\n")
    answer = held.read()
    # redis-server refuses what comes between the switch and the target's answer.
    assert answer == b"OK" or (kinds[0] == "redis" and str(answer).startswith("READONLY"))
    wait_until(lambda: state(master) == "no-failover", "given up")
    assert master.role_name() == "master"
    if answer == b"OK":
        assert master.cmd("GET", "held") == "1"
    assert replica.role_name() == "slave"
    assert re.search(r"FAILOVER to 127\.0\.0\.1:\d+ aborted: Failover target rejected psync request", master.log())
    same_data(master, replica)


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_words_of_refusal(world, kind):
    """The same texts as redis-server's."""
    alone = world.server(kind, name="alone")
    master, replica = pair(world, (kind, PRODUCT))
    late = world.server(PRODUCT, "repl-diskless-sync-delay 0", name="late")
    cases = [
        (alone, ["FAILOVER"], "FAILOVER requires connected replicas."),
        (alone, ["FAILOVER", "ABORT"], "No failover in progress."),
        (alone, ["FAILOVER", "ABORT", "NOW"], "syntax error"),
        (alone, ["FAILOVER", "TO", "a"], "syntax error"),
        (alone, ["FAILOVER", "TIMEOUT", "0"], "FAILOVER timeout must be greater than 0"),
        (alone, ["FAILOVER", "TIMEOUT", "-1"], "FAILOVER timeout must be greater than 0"),
        (alone, ["FAILOVER", "TIMEOUT", "x"], "value is not an integer or out of range"),
        (alone, ["FAILOVER", "TIMEOUT", "1", "TIMEOUT", "1"], "syntax error"),
        (alone, ["FAILOVER", "FORCE", "FORCE"], "syntax error"),
        (master, ["FAILOVER", "FORCE"], "FAILOVER with force option requires both a timeout and target HOST and IP."),
        (master, ["FAILOVER", "TO", "127.0.0.1", "1"], "FAILOVER target HOST and PORT is not a replica."),
        (master, ["FAILOVER", "TO", "127.0.0.1", "x"], "value is not an integer or out of range"),
        (master, ["PSYNC", "x", "1", "FAILOVER"], "PSYNC FAILOVER can't be sent to a master."),
    ]
    for node, words, expected in cases:
        with pytest.raises(redis.ResponseError) as refusal:
            node.cmd(*words)
        assert str(refusal.value) == f"ERR {expected}", words
    slave = world.server(kind, f"replicaof 127.0.0.1 {master.port}", name="slave")
    slave.wait_link_up()
    for words, expected in [
        (["FAILOVER"], "FAILOVER is not valid when server is a replica."),
        (["PSYNC", "x", "1", "FAILOVER"], "PSYNC FAILOVER replid must match my replid."),
    ]:
        with pytest.raises(redis.ResponseError) as refusal:
            slave.cmd(*words)
        assert str(refusal.value) == f"ERR {expected}", words
    assert late.role_name() == "master"
