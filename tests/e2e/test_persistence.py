"""RDB files: saved, loaded at start, exchanged with real Redis, and the ends of a server's life."""

import os
import shutil
import signal

import pytest
import redis

from harness import PRODUCT, fill_with_everything, wait_until

BOTH = pytest.mark.parametrize("kinds", [(PRODUCT, "redis"), ("redis", PRODUCT), (PRODUCT, PRODUCT)], ids="-".join)


@BOTH
def test_file_of_one_is_read_by_the_other(world, kinds):
    writer = world.server(kinds[0], name="writer")
    fill_with_everything(writer.client())
    before = writer.digest()
    assert writer.cmd("SAVE") == "OK"
    reader = world.server(kinds[1], name="reader", start=False)
    shutil.copy(writer.dir / "dump.rdb", reader.dir / "dump.rdb")
    reader.start()
    assert reader.digest() == before
    assert 100 < reader.client().ttl("str:3") <= 100_001


@pytest.mark.parametrize("kind", [PRODUCT])
def test_restart_keeps_what_was_saved(world, kind):
    node = world.server(kind)
    client = node.client()
    fill_with_everything(client)
    before = node.digest()
    last = client.lastsave()
    assert client.bgsave()
    wait_until(lambda: node.info("persistence")["rdb_bgsave_in_progress"] == "0", "the background save ends")
    fields = node.info("persistence")
    assert fields["rdb_last_bgsave_status"] == "ok" and fields["rdb_changes_since_last_save"] == "0"
    assert client.lastsave() >= last
    client.set("after the save", 1)
    node.kill9()
    node.start()
    assert node.digest() == before
    assert node.client().get("after the save") is None


@pytest.mark.parametrize("kind", [PRODUCT])
def test_bgsave_under_writes_is_one_moment(world, kind):
    """What is saved is one state: a counter and its mirror, always changed together, must agree in the file."""
    node = world.server(kind)
    client = node.client()
    node.cmd("DEBUG", "POPULATE", 300000, "fill", 50)
    pipe = client.pipeline(transaction=True)
    client.bgsave()
    rounds = 0
    while node.info("persistence")["rdb_bgsave_in_progress"] == "1" or rounds < 20:
        for at in range(50):
            pipe.incr(f"fill:{at * 5000}:counter")
            pipe.incr(f"mirror:{at * 5000}")
        pipe.incr("left")
        pipe.incr("right")
        pipe.execute()
        rounds += 1
    node.kill9()
    node.start()
    after = node.client()
    assert after.get("left") == after.get("right")
    for at in range(50):
        assert after.get(f"fill:{at * 5000}:counter") == after.get(f"mirror:{at * 5000}")
    assert after.dbsize() >= 300000


@pytest.mark.parametrize("kind", [PRODUCT])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_ends_in_order_and_saves(world, kind, number):
    node = world.server(kind, "save 3600 1")
    fill_with_everything(node.client())
    before = node.digest()
    assert node.stop(number) == 0
    assert "ready to exit, bye bye" in node.log()
    node.start()
    assert node.digest() == before


@pytest.mark.parametrize("kind", [PRODUCT])
def test_shutdown_command(world, kind):
    node = world.server(kind, "save 3600 1")
    node.client().set("k", "v")
    with pytest.raises((redis.ConnectionError, ConnectionError)):
        node.cmd("SHUTDOWN", "NOSAVE")
    assert node.process.wait(20) == 0
    node.process = None
    node.start()
    assert node.client().get("k") is None
    node.client().set("k", "v")
    with pytest.raises((redis.ConnectionError, ConnectionError)):
        node.cmd("SHUTDOWN", "SAVE")
    assert node.process.wait(20) == 0
    node.process = None
    node.start()
    assert node.client().get("k") == "v"


@pytest.mark.parametrize("kind", [PRODUCT])
@pytest.mark.parametrize("spoil", ["cut", "flip", "version", "empty"])
def test_spoiled_file_is_refused(world, kind, spoil):
    node = world.server(kind)
    fill_with_everything(node.client())
    node.cmd("SAVE")
    node.kill9()
    path = node.dir / "dump.rdb"
    data = bytearray(path.read_bytes())
    if spoil == "cut":
        data = data[: len(data) // 2]
    elif spoil == "flip":
        data[len(data) // 2] ^= 0x10
    elif spoil == "version":
        data[5:9] = b"0099"
    else:
        data = bytearray()
    path.write_bytes(bytes(data))
    mark = node.log_mark()
    node.start(wait=False)
    assert node.process.wait(30) != 0
    node.process = None
    log = node.log_since(mark)
    wanted = {"version": "RDB format version 99"}.get(spoil)
    assert wanted is None or wanted in log
    assert "Ready to accept connections" not in log


@pytest.mark.parametrize("kind", [PRODUCT])
def test_failed_save_is_said_and_stops_writes(world, kind):
    """stop-writes-on-bgsave-error: once a background save failed, writes are refused until one succeeds."""
    node = world.server(kind, "save 3600 100000")
    client = node.client()
    client.set("k", "v")
    # A folder in the way of the file: renaming onto it fails, for root too.
    os.mkdir(node.dir / "dump.rdb")
    (node.dir / "dump.rdb" / "x").write_text("in the way")
    client.bgsave()
    wait_until(lambda: node.info("persistence")["rdb_last_bgsave_status"] == "err", "the save fails")
    with pytest.raises(redis.ResponseError, match="MISCONF Redis is configured to save RDB snapshots"):
        node.cmd("SET", "k", "w")
    assert client.get("k") == "v"
    shutil.rmtree(node.dir / "dump.rdb")
    client.bgsave()
    wait_until(lambda: node.info("persistence")["rdb_last_bgsave_status"] == "ok", "the save succeeds")
    assert client.set("k", "w")


@pytest.mark.parametrize("kind", [PRODUCT])
def test_save_points(world, kind):
    node = world.server(kind, "save 1 5")
    client = node.client()
    for number in range(5):
        client.set(f"k{number}", number)
    wait_until(lambda: (node.dir / "dump.rdb").exists(), "the save point is reached", 60)
    wait_until(lambda: node.info("persistence")["rdb_bgsave_in_progress"] == "0", "the save ends")
    node.kill9()
    node.start()
    assert node.client().dbsize() == 5
