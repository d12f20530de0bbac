"""Snapshots of big values under writes: the file is the state at the cut, writers never wait long, memory is bounded."""

import random
import shutil
import threading
import time

import pytest

from harness import PRODUCT, same_data, wait_until

FIELDS, MEMBERS = 5_000, 5_000


def fill_big(client):
    """One big value of each kind, and small ones around them."""
    pipe = client.pipeline(transaction=False)
    for start in range(0, FIELDS, 5000):
        pipe.hset("hash", mapping={f"field:{n}": f"value:{n}" * 3 for n in range(start, start + 5000)})
        pipe.sadd("set", *[f"member:{n}" for n in range(start, start + 5000)])
        pipe.rpush("list", *[f"element:{n}" for n in range(start, start + 5000)])
    for start in range(0, MEMBERS, 5000):
        pipe.zadd("zset", {f"member:{n}": n % 977 + n / 7 for n in range(start, start + 5000)})
    for n in range(2000):
        pipe.set(f"small:{n}", n)
        pipe.xadd("stream", {"n": n})
    # Some text that can be compressed, some that can not.
    pipe.set("text", b"some words " * 150_000)
    pipe.set("noise", random.Random(3).randbytes(3 << 20))
    for name in ("hash", "set", "zset"):
        pipe.copy(name, f"{name}:dropped")
        pipe.copy(name, f"{name}:renamed")
        pipe.copy(name, f"{name}:over")
        pipe.copy(name, f"{name}:expired")
    pipe.execute()


class Changes:
    """Changes of everything, from the cut on; remembers the longest that one took."""

    def __init__(self, node):
        self.node, self.client, self.longest, self.count = node, node.client(), 0.0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def once(self, *words):
        begun = time.monotonic()
        self.client.execute_command(*words)
        self.longest = max(self.longest, time.monotonic() - begun)
        self.count += 1

    def rare(self):
        for name in ("hash", "set", "zset"):
            self.once("DEL", f"{name}:dropped")
            self.once("RENAME", f"{name}:renamed", f"{name}:moved")
            self.once("SET", f"{name}:over", "now a string")
            self.once("PEXPIRE", f"{name}:expired", 20)

    def _run(self):
        dice = random.Random(1)
        self.rare()
        while not self.stop.is_set():
            n = dice.randrange(FIELDS)
            self.once("HSET", "hash", f"field:{n}", "changed", f"new:{n}", "new")
            self.once("HDEL", "hash", f"field:{dice.randrange(FIELDS)}")
            self.once("ZADD", "zset", dice.random() * 20_000, f"member:{dice.randrange(MEMBERS)}")
            self.once("ZREM", "zset", f"member:{dice.randrange(MEMBERS)}")
            self.once("SREM", "set", f"member:{n}")
            self.once("SADD", "set", f"new:{n}")
            self.once("SETRANGE", "text", dice.randrange(1_500_000), "changed")
            self.once("SETRANGE", "noise", dice.randrange(3 << 20), "changed")
            self.once("LPUSH", "list", "new")
            self.once("RPOP", "list")
            self.once("SET", f"small:{dice.randrange(2000)}", "x" * dice.randrange(2000))
            self.once("INCR", f"later:{n % 50}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        gone = [f"{name}:expired" for name in ("hash", "set", "zset")]
        wait_until(lambda: self.client.exists(*gone) == 0, "what expires has expired")


def saving(node):
    return node.info("persistence")["rdb_bgsave_in_progress"] == "1"


def test_the_file_is_the_state_at_the_cut(world):
    node = world.server(PRODUCT, "snapshot-memory-max 100kb", "rdb-key-save-delay 5000")
    fill_big(node.client())
    digest = node.digest()
    spilled = False
    assert node.cmd("BGSAVE") == "Background saving started"
    with Changes(node) as changes:
        deadline = time.monotonic() + 120
        while saving(node) and time.monotonic() < deadline:
            fields = node.info("persistence")
            spilled = spilled or int(fields.get("current_cow_spilled", 0)) > 0
            time.sleep(0.05)
    assert not saving(node)
    fields = node.info("persistence")
    assert fields["rdb_last_bgsave_status"] == "ok", node.log()[-2000:]
    assert changes.count > 50 and changes.longest < 30
    assert int(fields["rdb_last_cow_size"]) > 0
    assert spilled and "snapshot-memory-max" in node.log()
    assert int(node.info("memory")["mem_not_counted_for_evict"]) < 1 << 20
    assert not list(node.dir.glob("temp-*"))
    for kind in (PRODUCT, "redis"):
        reader = world.server(kind, name=f"read-by-{kind}", start=False)
        shutil.copy(node.dir / "dump.rdb", reader.dir / "dump.rdb")
        reader.start()
        assert reader.digest() == digest
        reader.kill9()
    # What it left behind does no harm to the next one.
    now = node.digest()
    node.cmd("CONFIG", "SET", "rdb-key-save-delay", "0")
    assert node.cmd("SAVE") == "OK"
    node.kill9()
    node.start()
    assert node.digest() == now


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_replica_gets_big_values_under_writes(world, diskless):
    master = world.server(PRODUCT, name="master")
    master.cmd("CONFIG", "SET", "repl-diskless-sync", diskless, "repl-diskless-sync-delay", "0")
    master.cmd("CONFIG", "SET", "snapshot-memory-max", "100kb", "rdb-key-save-delay", "1000")
    fill_big(master.client())
    replica = world.server(PRODUCT, name="replica")
    with Changes(master):
        replica.cmd("REPLICAOF", "127.0.0.1", str(master.port))
        replica.wait_link_up(timeout=90)
    same_data(master, replica)


def test_a_snapshot_given_up_leaves_nothing_behind(world):
    master = world.server(PRODUCT, name="master")
    master.cmd("CONFIG", "SET", "repl-diskless-sync", "yes", "repl-diskless-sync-delay", "0")
    fill_big(master.client())
    master.cmd("CONFIG", "SET", "rdb-key-save-delay", "5000")
    replica = world.server(PRODUCT, name="replica")
    with Changes(master):
        replica.cmd("REPLICAOF", "127.0.0.1", str(master.port))
        wait_until(lambda: "snapshot" in master.log().lower() or int(master.info("stats")["sync_full"]) > 0, "sync")
        time.sleep(0.3)
        replica.cmd("REPLICAOF", "NO", "ONE")
        time.sleep(0.3)
        master.cmd("CONFIG", "SET", "rdb-key-save-delay", "0")
    digest = master.digest()
    wait_until(lambda: int(master.info("memory")["mem_not_counted_for_evict"]) < 1 << 20, "nothing held")
    assert master.cmd("SAVE") == "OK"
    reader = world.server(PRODUCT, name="reader", start=False)
    shutil.copy(master.dir / "dump.rdb", reader.dir / "dump.rdb")
    reader.start()
    assert reader.digest() == digest
