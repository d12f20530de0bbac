"""What a slow replica may cost, backlogs that end, RDBs for tools, expiry down a chain, full syncs for many at once."""

import subprocess
import time

import pytest

from harness import PRODUCT, program, same_data, wait_until

PAIRS = [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)]
both_ways = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)


def silent_replica(master):
    """A connection that has got its data set, acknowledges it, and reads nothing any more."""
    connection = master.raw(timeout=30)
    assert connection.command("REPLCONF", "listening-port", "1", "capa", "psync2") == b"OK"
    connection.send(b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n")
    line = connection.read()
    assert line.startswith(b"FULLRESYNC"), line
    wait_until(lambda: "state=online" in master.info("replication").get("slave0", ""), "the silent replica is online", 30)
    return connection


def test_a_silent_replica_is_dropped_at_its_limit(world):
    """Its memory is bounded even by a burst between two looks, and other clients do not notice."""
    master = world.server(PRODUCT, "client-output-buffer-limit replica 8mb 0 0", "repl-backlog-size 1mb", name="master")
    master.client().set("k", 1)
    silent = silent_replica(master)
    client = master.client()
    most = 0
    for _ in range(40):
        pipe = client.pipeline(transaction=False)
        for number in range(4):
            pipe.set(f"big:{number}", b"x" * 1_000_000)
        pipe.execute()
        most = max(most, int(master.info("memory")["mem_total_replication_buffers"]))
        if master.info("replication")["connected_slaves"] == "0":
            break
    wait_until(lambda: master.info("replication")["connected_slaves"] == "0", "it is dropped")
    assert "scheduled to be closed ASAP for overcoming of output buffer limits." in master.log()
    assert most < 16_000_000, most
    silent.close()


def test_the_soft_limit_takes_its_time(world):
    master = world.server(PRODUCT, "client-output-buffer-limit replica 0 1mb 2", "repl-backlog-size 1mb", name="master")
    master.client().set("k", 1)
    silent = silent_replica(master)
    master.client().set("big", b"x" * 30_000_000)
    began = time.monotonic()
    wait_until(lambda: master.info("replication")["connected_slaves"] == "0", "it is dropped", 30)
    assert time.monotonic() - began > 1.5
    silent.close()


@pytest.mark.parametrize("kind", [PRODUCT, "redis"])
def test_an_idle_backlog_ends(world, kind):
    """repl-backlog-ttl: without replicas the backlog is freed and the history ends."""
    master = world.server(kind, "repl-backlog-ttl 1", name="master")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    before = master.info("replication")
    assert before["repl_backlog_active"] == "1"
    replica.stop()
    wait_until(lambda: master.info("replication")["repl_backlog_active"] == "0", "the backlog is freed")
    after = master.info("replication")
    assert after["master_replid"] != before["master_replid"] and after["master_replid2"] == "0" * 40
    assert "Replication backlog freed after 1 seconds without connected replicas." in master.log()


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_redis_cli_fetches_files(world, diskless):
    """`redis-cli --rdb` and `--functions-rdb`: REPLCONF rdb-only and rdb-filter-only."""
    master = world.server(PRODUCT, f"repl-diskless-sync {diskless}", name="master")
    client = master.client()
    for number in range(200):
        client.set(f"k:{number}", "v" * 20)
    client.execute_command("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 7 end)")
    for option, keys in (("--rdb", 200), ("--functions-rdb", 0)):
        path = world.dir / f"fetched{option}.rdb"
        done = subprocess.run(
            [*program("redis", "cli"), "-p", str(master.port), option, str(path)], capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == 0, done.stderr
        for kind in ("redis", PRODUCT):
            reader = world.server(kind, start=False)
            (reader.dir / "dump.rdb").write_bytes(path.read_bytes())
            reader.start()
            assert reader.cmd("DBSIZE") == keys
            assert reader.cmd("FCALL", "f", 0) == 7
    wait_until(lambda: master.info("replication")["connected_slaves"] == "0", "the tool is gone")


@pytest.mark.parametrize("kinds", [(PRODUCT, "redis", PRODUCT), ("redis", PRODUCT, "redis"), (PRODUCT,) * 3], ids="-".join)
def test_expiry_down_a_chain(world, kinds):
    """Only the top removes what has expired; those below hide it until they are told."""
    nodes = []
    for at, kind in enumerate(kinds):
        above = [f"replicaof 127.0.0.1 {nodes[-1].port}"] if nodes else []
        nodes.append(world.server(kind, *above, name=f"n{at}-{kind}"))
        if above:
            nodes[-1].wait_link_up()
    top, middle, bottom = nodes
    top.cmd("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    top.client().set("soon", "x", px=700)
    top.client().set("stays", "x")
    same_data(*nodes)
    time.sleep(1)
    for node in (middle, bottom):
        assert node.cmd("GET", "soon") is None and node.cmd("DBSIZE") == 2, "hidden, not removed"
    top.cmd("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    for node in nodes:
        wait_until(lambda node=node: node.cmd("DBSIZE") == 1, "removed everywhere")
    same_data(*nodes)


def test_enough_replicas_end_the_delay(world):
    """repl-diskless-sync-max-replicas: with so many waiting nobody waits for more; they share one snapshot."""
    master = world.server(PRODUCT, "repl-diskless-sync-delay 60", "repl-diskless-sync-max-replicas 2", name="master")
    master.client().set("k", 1)
    replicas = [world.server(kind, f"replicaof 127.0.0.1 {master.port}") for kind in (PRODUCT, PRODUCT)]
    for replica in replicas:
        replica.wait_link_up(30)
    same_data(master, *replicas)
    # (A redis-server among them would get one of its own: it does not tell that it reads RDB version 12.)
    assert master.log().count("Starting BGSAVE for SYNC with target: replicas sockets") == 1
