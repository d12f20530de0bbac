"""The planned switch: a master that is stopped hands over first, nothing acknowledged is lost, clients see no error."""

import re
import signal
import threading
import time

import pytest
import redis
from redis.sentinel import Sentinel

from harness import PATIENCE, PRODUCT, Raw, wait_until

pytestmark = pytest.mark.redoubt_only

# Bounds are ten times what is promised: 8 s for everything, 1 s for a client that blocks.
WHOLE = 80


class DefaultWriter:
    """Threads that write through redis-py's Sentinel as it comes: default retries, and every error is noted."""

    def __init__(self, group, threads=2):
        self.group, self.acknowledged, self.errors, self.gaps = group, [], [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        sentinel = Sentinel([(s.ip, s.port) for s in self.group.sentinels], socket_timeout=5.0)
        master = sentinel.master_for(self.group.name, socket_timeout=5.0)
        at, last = 0, time.monotonic()
        while not self.stopping.is_set():
            key = f"w:{number}:{at}"
            at += 1
            try:
                master.set(key, at)
                self.acknowledged.append(key)
            except (redis.RedisError, OSError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            now = time.monotonic()
            self.gaps.append(now - last)
            last = now
            time.sleep(0.002)
        master.close()
        sentinel.close()

    def wait_writes(self, count):
        target = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= target, f"{count} more writes; {self.errors[-3:]}", 60)

    def close(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def lost_on(self, node):
        pipe = node.client().pipeline(transaction=False)
        for key in self.acknowledged:
            pipe.exists(key)
        return [key for key, there in zip(self.acknowledged, pipe.execute()) if not there]


def stop(node, number=signal.SIGTERM):
    """SIGTERM; the seconds until it has ended."""
    begun = time.monotonic()
    assert node.stop(number, timeout=WHOLE) == 0
    return time.monotonic() - begun


def names_of(sentinels, *lines):
    return [s for s in sentinels if any(line in s.log() for line in lines)]


@pytest.mark.parametrize("sentinels", [[PRODUCT] * 3, [PRODUCT, "redis", "redis"]], ids=["own", "mixed"])
@pytest.mark.parametrize("data", [[PRODUCT] * 3, [PRODUCT, "redis", "redis"]], ids=["own-data", "real-replicas"])
def test_sigterm_of_the_master(world, data, sentinels):
    """0 acknowledged writes lost, 0 errors, no +odown; one switch under a new epoch that all sentinels know."""
    group = world.group(data, sentinels, down_after=30_000)
    old = group.data[0]
    writer = world.background(DefaultWriter(group))
    writer.wait_writes(200)
    marks = {s: s.log_mark() for s in group.sentinels}
    took = stop(old)
    new = group.wait_new_master(old)
    writer.wait_writes(200)
    writer.close()
    assert not writer.errors, writer.errors[:5]
    assert not writer.lost_on(new)
    print(f"\nstopped in {took * 1000:.0f} ms, longest stall {max(writer.gaps) * 1000:.0f} ms")
    for sentinel, mark in marks.items():
        names = sentinel.event_names(mark)
        assert "+odown" not in names and names.count("+switch-master") == 1, names
    leaders = names_of(group.sentinels, "+elected-leader")
    assert len(leaders) == 1 and leaders[0].kind == PRODUCT
    events = leaders[0].event_names(marks[leaders[0]])
    for event in ("+new-epoch", "+try-failover", "+vote-for-leader", "+elected-leader", "+selected-slave",
                  "+failover-state-send-failover", "+promoted-slave", "+failover-end"):
        assert event in events, (event, events)
    assert "Asking a sentinel to hand this master's role over" in old.log()
    assert "Another node is the master now." in old.log()
    # It comes back as a replica, and nobody needs a second look.
    old.start()
    group.wait_converged()
    assert not writer.lost_on(old)


def test_the_stopped_master_comes_back_without_a_full_sync(world):
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, down_after=30_000, data_lines=["save 3600 1"])
    old = group.data[0]
    old.client().set("before", 1)
    stop(old)
    new = group.wait_new_master(old)
    before = int(new.info("stats")["sync_full"])
    new.client().set("after", 1)
    old.start()
    group.wait_converged()
    assert old.cmd("GET", "after") == "1"
    assert int(new.info("stats")["sync_full"]) == before


def test_only_real_sentinels(world):
    """Without a sentinel that can lead the master only waits for its replicas; then the ordinary failover comes."""
    group = world.group([PRODUCT] * 2, ["redis"] * 3, down_after=1000)
    old = group.data[0]
    old.client().set("last words", 1)
    stop(old)
    assert "Asking a sentinel" not in old.log()
    assert "1 of 1 replicas are in sync when shutting down." in old.log()
    new = group.wait_new_master(old, 90)
    assert new.cmd("GET", "last words") == "1"
    assert any("+odown" in s.event_names() for s in group.sentinels)


def test_switched_off(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=1000, data_lines=["shutdown-handover no"])
    old = group.data[0]
    old.client().set("last words", 1)
    stop(old)
    assert "Asking a sentinel" not in old.log() and "FAILOVER" not in old.log()
    new = group.wait_new_master(old)
    assert new.cmd("GET", "last words") == "1"
    assert any("+odown" in s.event_names() for s in group.sentinels)


def test_a_shutdown_by_command_does_not_switch(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=1000)
    group.data[0].raw().send(b"*2\r\n$8\r\nSHUTDOWN\r\n$6\r\nNOSAVE\r\n")
    wait_until(lambda: not group.data[0].alive(), "it has ended")
    assert "Asking a sentinel" not in group.data[0].log()


def test_all_stopped_together(world):
    """`docker compose down`: nobody waits for those who end, too; and all find their data again."""
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, data_lines=["save 3600 1"])
    client = group.data[0].client()
    for at in range(1000):
        client.set(f"k:{at}", at)
    everyone = group.data + group.sentinels
    begun = time.monotonic()
    for node in everyone:
        node.send_signal(signal.SIGTERM)
    for node in everyone:
        assert node.process.wait(WHOLE) == 0, node.name
        node.process = None
    took = time.monotonic() - begun
    print(f"\nall stopped in {took * 1000:.0f} ms")
    for node in everyone:
        node.start()
    master = group.wait_converged()
    assert master.cmd("DBSIZE") == 1000


def test_a_replica_that_stands_still(world):
    """It is the only one and does not catch up: writes are held for a bounded time, and the process still ends."""
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=60_000)
    master, replica = group.data
    replica.pause()
    try:
        master.client().set("unseen", 1)
        took = stop(master)
        print(f"\nstopped in {took * 1000:.0f} ms")
        assert "Another node is the master now." not in master.log()
    finally:
        replica.resume()


def test_a_replica_that_dies_in_between(world):
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=60_000)
    master, replica = group.data
    replica.pause()
    master.client().set("unseen", 1)
    master.send_signal(signal.SIGTERM)
    master.wait_log("FAILOVER requested to")
    replica.kill9()
    assert master.process.wait(WHOLE) == 0
    master.process = None
    assert "aborted: " in master.log()


def test_the_leader_dies_in_between(world):
    """After it has ordered FAILOVER: the nodes finish by themselves, and the other sentinels find out and tell."""
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=1000)
    old, replica = group.data
    writer = world.background(DefaultWriter(group))
    writer.wait_writes(50)
    replica.pause()
    wait_until(lambda: writer.acknowledged, "a write that the replica lacks")
    old.send_signal(signal.SIGTERM)
    old.wait_log("FAILOVER requested to")
    leader = wait_until(lambda: names_of(group.sentinels, "+failover-state-send-failover"), "who leads")[0]
    leader.kill9()
    replica.resume()
    assert old.process.wait(WHOLE) == 0
    old.process = None
    new = group.wait_new_master(old)
    assert new is replica
    writer.wait_writes(50)
    writer.close()
    assert not writer.lost_on(new)
    for sentinel in group.sentinels:
        if sentinel is not leader:
            assert sentinel.event_names().count("+switch-master") == 1


def test_a_leader_that_stops_gives_nothing_away(world):
    """The sentinel that is asked does not answer: another one is asked."""
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, down_after=30_000)
    old = group.data[0]
    first = min(group.sentinels, key=lambda s: s.cmd("SENTINEL", "MYID"))
    first.pause()
    try:
        stop(old)
        others = [s for s in group.sentinels if s is not first]
        new = group.wait_new_master(old, sentinels=others)
        assert "Another node is the master now." in old.log()
    finally:
        first.resume()
    wait_until(lambda: first.master_addr() == (new.ip, new.port), "who slept hears of it")


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
@pytest.mark.parametrize("words", [[], ["COORDINATED"]], ids=["plain", "coordinated"])
def test_sentinel_failover(world, kind, words):
    """SENTINEL FAILOVER of a healthy master loses nothing, with nodes of both kinds; the old one follows at once."""
    group = world.group([kind] * 3, [PRODUCT] * 3, down_after=30_000)
    old = group.data[0]
    writer = world.background(DefaultWriter(group))
    writer.wait_writes(100)
    assert group.sentinels[1].cmd("SENTINEL", "FAILOVER", "mymaster", *words) == "OK"
    new = group.wait_new_master(old)
    writer.wait_writes(100)
    writer.close()
    assert not writer.lost_on(new)
    # A master that is a real redis-server answers READONLY, which is an error at a client that does not try again.
    assert kind == "redis" or not writer.errors, writer.errors[:5]
    print(f"\nlongest stall {max(writer.gaps) * 1000:.0f} ms")
    assert "+failover-state-send-failover" in group.sentinels[1].event_names()
    group.wait_converged()
    assert sum(int(node.info("stats")["sync_full"]) for node in group.data) == 2, "only those of the start"
    assert f"replicaof 127.0.0.1 {new.port}" in old.config_text()
    with pytest.raises(redis.ResponseError, match="^ERR Unknown failover option specified$"):
        group.sentinels[1].cmd("SENTINEL", "FAILOVER", "mymaster", "gently")


def test_sentinel_failover_of_a_master_that_is_silent(world):
    """It cannot hand over: COORDINATED comes to nothing, the plain word is carried out as in Redis."""
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=20_000, failover_timeout=4000)
    old, replica = group.data
    sentinel = group.sentinels[0]
    old.cmd("CONFIG", "SET", "repl-timeout", 3600)
    old.pause()
    try:
        assert sentinel.cmd("SENTINEL", "FAILOVER", "mymaster", "COORDINATED") == "OK"
        wait_until(lambda: "-failover-abort-slave-timeout" in sentinel.event_names(), "it is given up")
        assert replica.role_name() == "slave"
    finally:
        old.resume()

    def one_master():
        """The old one; or the replica, if the order that waited at the old one was faster than its withdrawal. Then the
        sentinels find out after down-after-milliseconds."""
        named = {group.by_address(one.master_addr()) for one in group.sentinels}
        [master] = named if len(named) == 1 else [None]
        return master and master.role_name() == "master" and master.client().set("still here", 1)
    wait_until(one_master, "there is a master, and all know it", 4 * PATIENCE)


def test_without_a_majority(world):
    """The sentinel that is asked cannot be elected: nothing is held, nothing is switched, the process ends."""
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=60_000)
    for sentinel in group.sentinels[1:]:
        sentinel.kill9()
    old = group.data[0]
    took = stop(old)
    print(f"\nstopped in {took * 1000:.0f} ms")
    assert "FAILOVER requested" not in old.log()
    assert group.data[1].role_name() == "slave"


def test_clients_that_block_are_back_at_once(world):
    """As Celery's workers: BRPOP, Sentinel pool of default settings. The item that comes after the switch arrives."""
    group = world.group([PRODUCT] * 3, [PRODUCT] * 3, down_after=30_000)
    old = group.data[0]
    got, errors = [], []

    def work():
        sentinel = Sentinel([(s.ip, s.port) for s in group.sentinels], socket_timeout=30)
        client = sentinel.master_for("mymaster", socket_timeout=30)
        while not got:
            try:
                got.append(client.brpop("queue", 20))
            except redis.ConnectionError as error:
                errors.append(f"{type(error).__name__}: {error}")

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    wait_until(lambda: int(old.info("clients")["blocked_clients"]) == 1, "the worker blocks")
    idle, listener = Raw(old.ip, old.port, 30), Raw(old.ip, old.port, 30)
    assert idle.command("PING") == b"PONG"
    listener.command("SUBSCRIBE", "news")
    begun = time.monotonic()
    assert group.sentinels[0].cmd("SENTINEL", "FAILOVER", "mymaster") == "OK"
    new = group.wait_new_master(old)
    wait_until(lambda: int(new.info("clients")["blocked_clients"]) == 1, "the worker blocks at the new master", 10)
    print(f"\nback after {(time.monotonic() - begun) * 1000:.0f} ms")
    # Who only listens, or does nothing, has been sent away, too.
    assert listener.read_all() == b"" and idle.read_all() == b""
    new.client().lpush("queue", "work")
    worker.join(30)
    assert got == [(b"queue", b"work")]
    # It lost its connection once, and asked the sentinels when they knew.
    assert len(errors) == 1, errors
    assert old.role_name() == "slave"


def test_a_failover_without_a_sentinel_keeps_its_clients(world):
    """FAILOVER by hand is Redis's: who is connected stays connected."""
    master = world.server(PRODUCT)
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}")
    replica.wait_link_up()
    wait_until(lambda: "state=online" in master.info("replication")["slave0"], "the replica is online")
    idle = master.raw()
    assert master.cmd("FAILOVER") == "OK"
    replica.wait_role("master")
    master.wait_replica_of(replica)
    assert idle.command("PING") == b"PONG"


def test_the_request_is_not_believed_from_a_replica(world):
    """Only the master's own word counts: PUBLISH on a replica, or with another run id, starts nothing."""
    group = world.group([PRODUCT] * 2, [PRODUCT] * 3, down_after=30_000)
    master, replica = group.data
    channels = [c for c in master.cmd("PUBSUB", "CHANNELS") if re.fullmatch(r"__sentinel__:handover:[0-9a-f]{40}", c)]
    assert len(channels) == 3
    for channel in channels:
        replica.cmd("PUBLISH", channel, replica.info("server")["run_id"])
        replica.cmd("PUBLISH", channel, master.info("server")["run_id"])
        master.cmd("PUBLISH", channel, "0" * 40)
    time.sleep(0.5)
    assert not any("+try-failover" in s.event_names() for s in group.sentinels)


def held_pair(world):
    """A master whose writes are held, since its replica stands still, and the connection that leads as a sentinel's does."""
    master = world.server(PRODUCT, name="master")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", "repl-timeout 3600", name="replica")
    replica.wait_link_up()
    wait_until(lambda: "state=online" in master.info("replication")["slave0"], "the replica is online")
    leader = master.raw()
    assert leader.command("CLIENT", "SETNAME", "sentinel-00000000-cmd") == b"OK"
    replica.pause()
    master.cmd("SET", "unseen", 1)
    return master, replica, leader


def lead(leader, replica):
    assert leader.command("FAILOVER", "TO", "127.0.0.1", replica.port, "TIMEOUT", 600_000) == b"OK"


def test_notices(world):
    """RESP3 clients that asked hear of it in the form that redis-py and node-redis read; others hear nothing."""
    master, replica, leader = held_pair(world)
    asked, silent, resp2 = master.raw(proto=3), master.raw(proto=3), master.raw()
    for connection in (asked, resp2):
        reply = connection.command("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip")
        assert reply == b"OK"
    lead(leader, replica)
    assert asked.read() == [b"FAILING_OVER", 1, 10]
    assert master.cmd("FAILOVER", "ABORT") == "OK"
    assert asked.read() == [b"FAILED_OVER", 2]
    lead(leader, replica)
    assert asked.read() == [b"FAILING_OVER", 3, 10]
    asked.send(b"*3\r\n$3\r\nSET\r\n$7\r\ncarried\r\n$1\r\n1\r\n")
    replica.resume()
    # The command goes to the new master, its reply comes back, and in the end the connection is closed.
    moving = f">4\r\n$6\r\nMOVING\r\n:4\r\n:10\r\n${len(str(replica.port)) + 10}\r\n127.0.0.1:{replica.port}\r\n"
    everything = asked.read_all()
    assert sorted([everything.find(b"+OK\r\n"), everything.find(moving.encode())])[0] == 0, everything
    assert len(everything) == len(moving) + 5
    assert replica.cmd("GET", "carried") == "1"
    for connection in (silent, resp2):
        assert connection.read_all() == b""
    assert leader.command("PING") == b"PONG", "a sentinel stays"


def test_what_is_carried(world):
    """A transaction and a pipeline that the switch meets go on at the new master; WATCH is not kept, and not pretended."""
    master, replica, leader = held_pair(world)
    multi, begun, pipe, watch, select = (master.raw() for _ in range(5))
    assert watch.command("WATCH", "n") == b"OK" and watch.command("MULTI") == b"OK"
    assert watch.command("SET", "w", "1") == b"QUEUED"
    assert begun.command("MULTI") == b"OK" and begun.command("INCR", "m") == b"QUEUED"
    lead(leader, replica)
    incr = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"
    multi.send(b"*1\r\n$5\r\nMULTI\r\n" + incr + incr + b"*1\r\n$4\r\nEXEC\r\n")
    begun.send(b"*1\r\n$4\r\nEXEC\r\n")
    pipe.send(b"".join(b"*3\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$1\r\n%d\r\n" % at for at in range(3)))
    watch.send(b"*1\r\n$4\r\nEXEC\r\n")
    assert select.command("SELECT", "3") == b"OK"
    select.send(b"*3\r\n$3\r\nSET\r\n$1\r\nd\r\n$1\r\n3\r\n")
    blocked = master.raw()
    blocked.send(b"*3\r\n$5\r\nBLPOP\r\n$7\r\nnothing\r\n$1\r\n0\r\n")
    assert master.cmd("DBSIZE") == 1
    replica.resume()
    assert [multi.read() for _ in range(4)] == [b"OK", b"QUEUED", b"QUEUED", [1, 2]]
    assert begun.read() == [1]
    assert select.read() == b"OK"
    # What is behind the first command of a pipeline follows as long as there is time.
    answered = pipe.read_all()
    assert b":1\r\n:2\r\n:3\r\n".startswith(answered) and answered
    for connection in (watch, blocked):
        assert connection.read_all() == b""
    master.wait_replica_of(replica)
    assert replica.cmd("GET", "n") == "2" and replica.cmd("EXISTS", "w") == 0
    assert replica.cmd("LLEN", "list") >= answered.count(b":")
    assert replica.client(db=3).get("d") == "3"
