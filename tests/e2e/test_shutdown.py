"""SHUTDOWN with replicas: they get what they lack, or the wait is called off; nobody else waits for it."""

import re
import time

import pytest
import redis

from harness import PRODUCT, same_data, wait_until

KINDS = [PRODUCT] if PRODUCT == "redis" else [PRODUCT, "redis"]


def pair(world, kind, *lines):
    master = world.server(kind, *lines, name="master")
    replica = world.server(PRODUCT, f"replicaof 127.0.0.1 {master.port}", "repl-timeout 3600", name="replica")
    replica.wait_link_up()
    wait_until(lambda: "state=online" in master.info("replication")["slave0"], "the replica is online")
    return master, replica


def say(node, *words):
    """Says something whose answer may never come."""
    connection = node.raw(timeout=60)
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    connection.send(f"*{len(words)}\r\n{parts}".encode())
    return connection


def gone(node):
    wait_until(lambda: not node.alive(), f"{node.name} has ended")
    code = node.process.wait()
    node.process = None
    return code


@pytest.mark.parametrize("kind", KINDS)
def test_waits_for_the_replica(world, kind):
    master, replica = pair(world, kind, "shutdown-timeout 100")
    replica.pause()
    master.client().set("last words", 1)
    asked = say(master, "SHUTDOWN", "NOSAVE")
    master.wait_log("Waiting for replicas before shutting down.")
    # Reads are served, writes wait, all on any worker.
    writes = say(master, "SET", "held", "1")
    assert all(master.cmd("GET", "last words") == "1" for _ in range(20))
    assert master.cmd("EXISTS", "held") == 0
    left = int(master.info("server")["shutdown_in_milliseconds"])
    assert 0 < left <= 100_000
    replica.resume()
    assert gone(master) == 0
    assert "1 of 1 replicas are in sync when shutting down." in master.log()
    assert replica.cmd("GET", "last words") == "1" and replica.cmd("EXISTS", "held") == 0
    for connection in (asked, writes):
        assert connection.read_all() == b""


@pytest.mark.parametrize("kind", KINDS)
def test_abort(world, kind):
    master, replica = pair(world, kind, "shutdown-timeout 100")
    with pytest.raises(redis.ResponseError, match="^ERR No shutdown in progress.$"):
        master.cmd("SHUTDOWN", "ABORT")
    replica.pause()
    master.client().set("unseen", 1)
    asked, again = say(master, "SHUTDOWN", "NOSAVE"), None
    master.wait_log("Waiting for replicas before shutting down.")
    again = say(master, "SHUTDOWN", "NOSAVE")
    held = say(master, "SET", "held", "1")
    wait_until(lambda: master.info("clients")["blocked_clients"] >= "2", "both wait")
    assert master.cmd("SHUTDOWN", "ABORT") == "OK"
    for connection in (asked, again):
        assert str(connection.read()) == "ERR Errors trying to SHUTDOWN. Check logs."
    assert held.read() == b"OK"
    assert "Shutdown manually aborted." in master.log()
    assert "shutdown_in_milliseconds" not in master.info("server")
    replica.resume()
    same_data(master, replica)


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_over(world, kind):
    master, replica = pair(world, kind, "shutdown-timeout 1")
    replica.pause()
    master.client().set("unseen", 1)
    say(master, "SHUTDOWN", "NOSAVE")
    assert gone(master) == 0
    log = master.log()
    assert re.search(r"# Lagging replica 127\.0\.0\.1:\d+ reported offset \d+ behind master, lag=\d+, state=online\.", log)
    assert "0 of 1 replicas are in sync when shutting down." in log
    replica.resume()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["now", "timeout 0", "signal"])
def test_without_waiting(world, kind, how):
    lines = {"now": [], "timeout 0": ["shutdown-timeout 0"], "signal": ["shutdown-on-sigterm nosave now"]}[how]
    master, replica = pair(world, kind, *lines)
    replica.pause()
    master.client().set("unseen", 1)
    began = time.monotonic()
    if how == "signal":
        assert master.stop() == 0
    else:
        say(master, "SHUTDOWN", "NOSAVE", *(["NOW"] if how == "now" else []))
        assert gone(master) == 0
    assert time.monotonic() - began < 8
    assert "Waiting for replicas" not in master.log()
    replica.resume()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_written(world, kind):
    """Without FORCE the server stays, says so, and takes writes again; with it, it goes."""
    master = world.server(kind, "save 3600 1", name="master")
    master.client().set("k", 1)
    file = master.dir / "dump.rdb"
    file.mkdir()
    (file / "in the way").write_text("x")
    with pytest.raises(redis.ResponseError, match="^ERR Errors trying to SHUTDOWN. Check logs.$"):
        master.cmd("SHUTDOWN")
    assert "Error trying to save the DB, can't exit." in master.log()
    assert "Errors trying to shut down the server. Check the logs for more information." in master.log()
    master.cmd("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    assert master.cmd("SET", "k", 2) == "OK"
    say(master, "SHUTDOWN", "FORCE")
    assert gone(master) == 0
    assert "Error trying to save the DB. Exit anyway." in master.log()


@pytest.mark.parametrize("kind", KINDS)
def test_words(world, kind):
    node = world.server(kind, name="node")
    for words in (["SAVE", "NOSAVE"], ["ABORT", "NOW"], ["ABORT", "SAVE"], ["LATER"]):
        with pytest.raises(redis.ResponseError, match="^ERR syntax error$"):
            node.cmd("SHUTDOWN", *words)
    assert node.alive()
    say(node, "SHUTDOWN", "save", "Now", "FORCE")
    assert gone(node) == 0
    assert (node.dir / "dump.rdb").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_signal_waits_too(world, kind):
    master, replica = pair(world, kind, "shutdown-timeout 100", "save 3600 1")
    replica.pause()
    master.client().set("last words", 1)
    master.send_signal(15)
    master.wait_log("Received SIGTERM scheduling shutdown...")
    master.wait_log("Waiting for replicas before shutting down.")
    replica.resume()
    assert gone(master) == 0
    assert "DB saved on disk" in master.log()
    master.start()
    replica.wait_link_up()
    assert int(master.info("stats")["sync_full"]) == 0
    same_data(master, replica)
