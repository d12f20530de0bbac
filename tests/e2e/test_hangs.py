"""What hangs Redis, or fills its memory, does not hang Redoubt: other connections are answered meanwhile."""

import threading
import time

import pytest

from harness import PATIENCE, PRODUCT, RespError, encode, wait_until

MIB = 1 << 20


class Others:
    """Connections that go on working with keys of their own; on several workers, as the server gives them out."""

    def __init__(self, node, count=4):
        self.stop = threading.Event()
        self.done = [0] * count
        self.errors = []
        self.threads = [threading.Thread(target=self.work, args=(node, n)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self, node, which):
        try:
            connection = node.raw()
            while not self.stop.is_set():
                assert connection.command("SET", f"other-{which}", self.done[which]) == b"OK"
                self.done[which] += 1
            connection.close()
        except Exception as error:
            self.errors.append(error)

    def __enter__(self):
        wait_until(lambda: all(self.done), "the others work")
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.errors, self.errors


HUGE = [-(2**63), -(2**63) + 1, -(2**62), -(2**62) + 1, -(2**31), -(2**31) - 1, -(10**9), -50_000_000]


@pytest.mark.parametrize("command, option", [
    (("SRANDMEMBER", "s"), ()), (("HRANDFIELD", "h"), ("WITHVALUES",)), (("HRANDFIELD", "h"), ()),
    (("ZRANDMEMBER", "z"), ("WITHSCORES",)), (("ZRANDMEMBER", "z"), ()),
], ids=lambda part: " ".join(part))
def test_random_draws_with_huge_counts(world, command, option):
    node = world.server(PRODUCT)
    node.cmd("SADD", "s", *range(1000))
    node.cmd("HSET", "h", *range(2000))
    node.cmd("ZADD", "z", *range(2000))
    node.cmd("SADD", "big", *("x" * MIB + str(n) for n in range(4)))
    before = node.rss()
    client = node.raw(timeout=PATIENCE * 3)
    with Others(node) as others:
        for count in HUGE:
            done = sum(others.done)
            reply = client.command(*command, count, *option)
            assert isinstance(reply, RespError) and "out of range" in str(reply), (count, reply)
            assert node.rss() < before + 300 * MIB
            wait_until(lambda: sum(others.done) > done, "the others go on")
        # Each element counts, not only their number.
        reply = client.command("SRANDMEMBER", "big", -1000)
        assert isinstance(reply, RespError) and "out of range" in str(reply)
        some = client.command(*command, -1000, *option)
        assert len(some) == (2000 if option else 1000)
    assert client.command("PING") == b"PONG"
    client.close()


def test_watching_a_hundred_thousand_keys(world):
    node = world.server(PRODUCT)
    client, other = node.raw(), node.raw()
    with Others(node) as others:
        for half in range(2):
            names = [f"w{n}" for n in range(half * 50_000, half * 50_000 + 50_000)]
            assert client.command("WATCH", *names) == b"OK"
        # A key that is watched already is not watched twice.
        assert client.command("WATCH", *names) == b"OK"
        assert other.command("SET", "w99999", "1") == b"OK"
        assert client.command("MULTI") == b"OK"
        assert client.command("PING") == b"QUEUED"
        assert client.command("EXEC") is None
        assert client.command("WATCH", *names) == b"OK"
        assert client.command("MULTI") == b"OK"
        assert client.command("PING") == b"QUEUED"
        assert client.command("EXEC") == [b"PONG"]
        assert client.command("WATCH", *names) == b"OK"
        assert client.command("UNWATCH") == b"OK"
        assert client.command("WATCH", *names) == b"OK"
        client.close()
        done = sum(others.done)
        wait_until(lambda: sum(others.done) > done + 100, "the others go on")
    assert other.command("INCR", "w99999") == 2
    other.close()


def test_keys_over_a_million(world):
    """KEYS and SCAN with a pattern full of stars: each stripe is held only for its own part."""
    node = world.server(PRODUCT, "threads 4")
    node.cmd("DEBUG", "POPULATE", 1_000_000, "key", 8, timeout=PATIENCE * 6)
    client = node.raw(timeout=PATIENCE * 12)
    with Others(node, 8) as others:
        for pattern in ("*", "*9*9*9*9*9*9*", "nothing"):
            before = list(others.done)
            client.send(encode("KEYS", pattern))
            # Those on the same worker wait; the others do not.
            busy = wait_until(
                lambda: sum(now > then + 20 for now, then in zip(others.done, before)) >= 4, "others go on", PATIENCE * 6, 0.005,
            )
            assert busy
            reply = client.read()
            assert len(reply) >= (1_000_000 if pattern == "*" else 0)
    client.close()


def test_sort_over_a_million(world):
    node = world.server(PRODUCT, "threads 4")
    loader = node.raw(timeout=PATIENCE * 6)
    for start in range(0, 1_000_000, 50_000):
        loader.command("RPUSH", "list", *((n * 7919) % 1_000_003 for n in range(start, start + 50_000)))
    client = node.raw(timeout=PATIENCE * 12)
    with Others(node, 8) as others:
        before = list(others.done)
        begun = time.monotonic()
        client.send(encode("SORT", "list", "LIMIT", "0", "10", "DESC"))
        wait_until(
            lambda: sum(now > then for now, then in zip(others.done, before)) >= 2, "others go on", PATIENCE * 6, 0.005,
        )
        assert client.read()[0] == b"1000002" and time.monotonic() - begun < PATIENCE * 12
        assert client.command("SORT", "list", "STORE", "sorted") == 1_000_000
    loader.close()
    client.close()


def test_backtracking_pattern_can_be_killed(world):
    node = world.server(PRODUCT, "busy-reply-threshold 100")
    client, other = node.raw(timeout=PATIENCE * 3), node.raw()
    script = "return string.find(string.rep('a', 30000), string.rep('a-', 20) .. 'b')"
    client.send(encode("EVAL", script, "0"))
    wait_until(lambda: "BUSY" in str(other.command("GET", "k")), "others are told that a script runs")
    assert other.command("SCRIPT", "KILL") == b"OK"
    reply = client.read()
    assert isinstance(reply, RespError) and "killed" in str(reply)
    assert other.command("SET", "k", "v") == b"OK"
    # A glob pattern full of stars is bounded by itself.
    other.command("SET", "a" * 5000, "1")
    begun = time.monotonic()
    assert other.command("KEYS", "*a" * 500 + "b") == []
    assert time.monotonic() - begun < PATIENCE
    client.close()
    other.close()


@pytest.mark.parametrize("how, sign", [
    ("PANIC", "DEBUG PANIC called at Unix time"), ("ASSERT", "=== ASSERTION FAILED ==="), ("SEGFAULT", "crashed by signal: 11"),
])
def test_a_crash_leaves_a_report(world, how, sign):
    node = world.server(PRODUCT, name="node")
    client = node.raw()
    client.command("SET", "secret-key", "secret-value")
    client.send(encode("DEBUG", how))
    code = node.process.wait(PATIENCE)
    node.process = None
    assert code in (-6, -11), code
    log = node.log()
    report = log[log.index("=== REDIS BUG REPORT START: Cut & paste starting from here ==="):]
    assert "=== REDIS BUG REPORT END." in report
    for part in (sign, "redoubt_version:", "uptime_in_seconds:", "STACK TRACE", "argv[0]: 'debug", "run_batch"):
        assert part in report, (part, report)
    assert "secret" not in report
    # It starts again.
    node.start()
    assert node.cmd("PING") == "PONG"


def test_no_report_if_it_is_not_wanted(world):
    node = world.server(PRODUCT, "crash-log-enabled no", "use-exit-on-panic yes", name="node")
    node.raw().send(encode("DEBUG", "PANIC"))
    assert node.process.wait(PATIENCE) == 1
    node.process = None
    assert "BUG REPORT" not in node.log() and "DEBUG PANIC called" in node.log()
