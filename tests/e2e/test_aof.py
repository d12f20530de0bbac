"""The append-only file: exchanged with real Redis, rewritten, cut, damaged, on a full disk, and killed under load."""

import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import redis

from harness import PRODUCT, RespError, encode, fill_with_everything, program, wait_until

BOTH = pytest.mark.parametrize("kinds", [(PRODUCT, "redis"), ("redis", PRODUCT), (PRODUCT, PRODUCT)], ids="-".join)

# A short loop for CI; `E2E_AOF_KILLS=300` is the long one.
KILLS = int(os.environ.get("E2E_AOF_KILLS", "10"))


def folder(node):
    return node.dir / "appendonlydir"


def parts(node, kind):
    return sorted(folder(node).glob(f"*.{kind}.*"), key=lambda path: int(path.name.split(".")[-3]))


def manifest(node):
    return (folder(node) / "appendonly.aof.manifest").read_text()


def persistence(node):
    return node.info("persistence")


def rewrite(node):
    before = int(persistence(node)["aof_rewrites"])
    node.cmd("BGREWRITEAOF")
    wait_rewritten(node, before + 1)


def wait_rewritten(node, at_least):
    def done():
        fields = persistence(node)
        return (int(fields["aof_rewrites"]) >= at_least and fields["aof_rewrite_in_progress"] == "0"
                and fields["aof_rewrite_scheduled"] == "0")
    wait_until(done, "the rewrite ends")
    assert persistence(node)["aof_last_bgrewrite_status"] == "ok", node.log()[-2000:]


def check_aof(path, *flags, answer="", kind=PRODUCT):
    words = program(kind, "check-aof") if kind == "redis" else [str(Path(os.environ["REDOUBT_BIN"])), "check-aof"]
    done = subprocess.run(words + list(flags) + [str(path)], input=answer, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def fill(node):
    """Every type, several databases, transactions, scripts, functions."""
    client = node.client()
    fill_with_everything(client)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("tx:1", "a").lpush("tx:2", "b", "c").execute()
    client.eval("redis.call('set', 'by:script', ARGV[1]); redis.call('sadd', 'by:script:2', 1, 2, 3)", 0, "x")
    node.cmd("FUNCTION", "LOAD", "REPLACE",
             "#!lua name=aoflib\nredis.register_function('aoff', function(keys) return redis.call('incr', keys[1]) end)")
    node.cmd("FCALL", "aoff", "1", "by:function")
    client.spop("set:small", 3)
    client.delete("stream", "only a group")
    for at in range(300):
        client.xadd("stream", {"f": at, "long": "x" * (at % 90)}, id=f"{1000 + at}-{at % 3}")
    client.xdel("stream", "1003-0", "1100-2")
    client.xgroup_create("stream", "group", "1010-0")
    client.xgroup_create("stream", "idle", "0")
    client.xreadgroup("group", "one", {"stream": ">"}, count=7)
    client.xreadgroup("group", "two", {"stream": ">"}, count=5)
    client.xack("stream", "group", "1012-2", "1014-1")
    client.xclaim("stream", "group", "two", 0, ["1013-2"], justid=True)
    client.xtrim("stream", maxlen=250)
    client.xadd("emptied", {"a": 1}, maxlen=0)
    client.xgroup_create("only a group", "g", mkstream=True)
    client.setrange("holes", 70_000, "end")
    client.pfadd("hll", *range(2000))
    client.geoadd("geo", (13.36, 38.11, "Palermo"))
    client.linsert("list:small", "before", "item 1item 1", "put in")
    client.set("gone soon", 1, px=1)
    client.copy("hash:small", "copied", replace=True)
    other = node.client(db=9)
    other.set("in nine", "x", ex=100000)
    other.xadd("stream of nine", {"f": "v"})
    # The look at it removes it; until then it counts in a digest.
    wait_until(lambda: not client.exists("gone soon"), "a key has expired")


@BOTH
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_files_of_one_are_read_by_the_other(world, kinds, preamble):
    lines = ["appendonly yes", "appendfsync always", f"aof-use-rdb-preamble {preamble}", "aof-timestamp-enabled yes"]
    writer = world.server(kinds[0], *lines, name="writer")
    fill(writer)
    rewrite(writer)
    writer.client().set("after the rewrite", "1")
    writer.client(db=3).rpush("list behind", *range(100))
    before = writer.digest()
    writer.kill9()
    reader = world.server(kinds[1], *lines, name="reader", start=False)
    shutil.copytree(folder(writer), folder(reader))
    reader.start()
    # Keys that expired meanwhile are in the file, and go at once.
    wait_until(lambda: reader.digest() == before, "the reader has the same data")
    assert reader.cmd("FCALL", "aoff", "1", "by:function") == 2
    # And it goes on with the files, for the first one to read.
    fill_with_everything(reader.client(db=5))
    after = reader.digest()
    reader.kill9()
    shutil.rmtree(folder(writer))
    shutil.copytree(folder(reader), folder(writer))
    writer.start()
    wait_until(lambda: writer.digest() == after, "the writer has the same data")


@pytest.mark.redoubt_only
def test_real_check_aof_accepts_our_files(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    fill(node)
    rewrite(node)
    fill(node)
    node.kill9()
    path = folder(node) / "appendonly.aof.manifest"
    for kind in ("redis", PRODUCT):
        code, said = check_aof(path, kind=kind)
        assert code == 0 and "All AOF files and manifest are valid" in said, said


def test_manifest_and_names(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always", 'appendfilename "my file.aof"', "appenddirname dir2")
    node.cmd("SET", "a", "1")
    path = node.dir / "dir2" / "my file.aof.manifest"
    assert path.read_text() == (
        'file "my file.aof.1.base.rdb" seq 1 type b\nfile "my file.aof.1.incr.aof" seq 1 type i\n'
    )
    rewrite(node)
    wait_until(lambda: path.read_text() == (
        'file "my file.aof.2.base.rdb" seq 2 type b\nfile "my file.aof.2.incr.aof" seq 2 type i\n'
    ), "the history is gone")
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        "my file.aof.2.base.rdb", "my file.aof.2.incr.aof", "my file.aof.manifest"]
    node.kill9()
    node.start()
    assert node.cmd("GET", "a") == "1"


def test_on_and_off_at_run_time(world):
    node = world.server(PRODUCT)
    fill(node)
    assert persistence(node)["aof_enabled"] == "0" and not folder(node).exists()
    assert node.cmd("CONFIG", "SET", "appendonly", "yes") == "OK"
    node.cmd("SET", "meanwhile", "1")
    wait_rewritten(node, 1)
    node.cmd("SET", "behind", "2")
    before = node.digest()
    assert persistence(node)["aof_enabled"] == "1"
    wait_until(lambda: b"behind" in parts(node, "incr")[-1].read_bytes(), "the write is in the file")
    assert node.cmd("CONFIG", "SET", "appendonly", "no") == "OK"
    node.cmd("SET", "not in the file", "3")
    wait_until(lambda: persistence(node)["aof_enabled"] == "0", "it is off")
    node.kill9()
    node.args = ["--appendonly", "yes"]
    node.start()
    assert node.digest() == before
    # On again: a new base.
    node.cmd("CONFIG", "SET", "appendonly", "no")
    node.cmd("SET", "third", "3")
    node.cmd("CONFIG", "SET", "appendonly", "yes")
    wait_rewritten(node, 1)
    node.cmd("SET", "fourth", "4")
    before = node.digest()
    wait_until(lambda: b"fourth" in parts(node, "incr")[-1].read_bytes(), "the write is in the file")
    node.kill9()
    node.start()
    assert node.digest() == before


def test_load_and_reload_on_request(world):
    node = world.server(PRODUCT, "appendonly yes")
    fill(node)
    before = node.digest()
    assert node.cmd("DEBUG", "LOADAOF") == "OK"
    assert node.digest() == before
    assert node.cmd("DEBUG", "RELOAD") == "OK"
    assert node.digest() == before
    node.cmd("SET", "more", "1")
    rewrite(node)
    assert node.cmd("DEBUG", "LOADAOF") == "OK"
    assert node.cmd("GET", "more") == "1"


def test_old_single_file_is_taken_over(world):
    node = world.server(PRODUCT, "appendonly yes", start=False)
    text = b"".join(encode(*words) for words in [["SELECT", "0"], ["SET", "a", "1"], ["SELECT", "2"], ["RPUSH", "l", "1", "2"]])
    (node.dir / "appendonly.aof").write_bytes(text)
    node.start()
    assert node.cmd("GET", "a") == "1"
    assert node.client(db=2).lrange("l", 0, -1) == ["1", "2"]
    assert not (node.dir / "appendonly.aof").exists()
    assert manifest(node).startswith("file appendonly.aof seq 1 type b\n")
    assert "Successfully migrated an old-style AOF" in node.log()
    node.cmd("SET", "b", "2")
    rewrite(node)
    node.stop()
    node.start()
    assert node.cmd("GET", "b") == "2" and node.cmd("GET", "a") == "1"


def test_rewrite_under_load_is_one_moment(world):
    """Counters in pairs, changed together, agree after rewrites in the middle of the load."""
    node = world.server(PRODUCT, "appendonly yes", "appendfsync everysec")
    node.cmd("DEBUG", "POPULATE", 100000, "fill", 50)
    stop = threading.Event()

    def load():
        client = node.client()
        while not stop.is_set():
            with client.pipeline(transaction=True) as pipe:
                for at in range(20):
                    pipe.incr(f"fill:{at * 5000}:left").incr(f"right:{at * 5000}")
                pipe.execute()

    writers = [threading.Thread(target=load) for _ in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        rewrite(node)
    stop.set()
    for writer in writers:
        writer.join()
    before = node.digest()
    assert node.stop() == 0
    node.start()
    assert node.digest() == before
    client = node.client()
    assert int(client.get("fill:0:left")) > 0
    for at in range(20):
        assert client.get(f"fill:{at * 5000}:left") == client.get(f"right:{at * 5000}")


def test_it_is_rewritten_by_itself(world):
    node = world.server(PRODUCT, "appendonly yes", "auto-aof-rewrite-min-size 100kb", "auto-aof-rewrite-percentage 100")
    client = node.client()
    for _ in range(30):
        client.set("same key", "x" * 10000)
    wait_rewritten(node, 1)
    assert "Starting automatic rewriting of AOF on" in node.log()
    assert int(persistence(node)["aof_current_size"]) < 200_000


class Writer(threading.Thread):
    """Writes numbers, each to a key of its own, and remembers which were acknowledged."""

    def __init__(self, node, number, pipeline):
        super().__init__(daemon=True)
        self.node, self.number, self.pipeline = node, number, pipeline
        self.acked, self.sent, self.times = -1, -1, {}

    def run(self):
        try:
            connection = self.node.raw()
            at = 0
            while True:
                batch = range(at, at + self.pipeline)
                connection.send(b"".join(encode("SET", f"w{self.number}:{n}", n) for n in batch))
                self.sent = batch[-1]
                for n in batch:
                    reply = connection.read()
                    if isinstance(reply, RespError):
                        raise ConnectionError(reply)
                    self.acked = n
                    self.times[n] = time.monotonic()
                at += self.pipeline
        except (OSError, ConnectionError):
            pass


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_kill_9_under_load(world, policy):
    """Nothing acknowledged under `always` is lost; under `everysec` nothing older than two seconds. The file always loads."""
    node = world.server(PRODUCT, "appendonly yes", f"appendfsync {policy}", "auto-aof-rewrite-min-size 200kb",
                        "auto-aof-rewrite-percentage 50")
    rng = random.Random(7)
    for round_ in range(KILLS if policy == "always" else max(2, KILLS // 5)):
        node.cmd("FLUSHALL")
        writers = [Writer(node, number, pipeline) for number, pipeline in enumerate([1, 1, 1, 4, 16, 50])]
        for writer in writers:
            writer.start()
        time.sleep(rng.uniform(0.05, 0.6))
        if round_ % 4 == 3:
            try:
                node.cmd("BGREWRITEAOF")
            except redis.ResponseError:
                pass
            time.sleep(rng.uniform(0, 0.05))
        node.kill9()
        killed = time.monotonic()
        for writer in writers:
            writer.join()
        node.start()
        wait_until(lambda: persistence(node)["loading"] == "0", "it is loaded")
        client = node.client()
        for writer in writers:
            for n in range(writer.acked + 1):
                if policy == "everysec" and killed - writer.times[n] < 2:
                    break
                assert client.get(f"w{writer.number}:{n}") == str(n), (
                    f"round {round_}: writer {writer.number} lost {n} of {writer.acked} acknowledged"
                )
            # What is there is a beginning of what was sent: order was kept.
            there = [client.exists(f"w{writer.number}:{n}") for n in range(writer.sent + 1)]
            assert there == sorted(there, reverse=True), f"round {round_}: a hole in writer {writer.number}"


def test_torn_tails_are_cut_and_told(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    for n in range(20):
        node.cmd("SET", f"k{n}", "v" * 10)
    node.kill9()
    incr = parts(node, "incr")[-1]
    whole = incr.read_bytes()
    for lost in (1, 7, 40):
        incr.write_bytes(whole[:-lost] if lost < len(whole) else b"")
        mark = node.log_mark()
        node.start()
        keys = node.cmd("DBSIZE")
        assert 18 <= keys <= 20
        assert incr.stat().st_size <= len(whole) + 200
        said = node.log_since(mark)
        # The end of a checksum's line is no command: only a cut command is a loss.
        assert "Truncating the AOF" in said or "have no checksum" in said
        if keys < 20:
            assert "Lost: appendonly.aof.1.incr.aof: the last" in said
        node.kill9()
        incr.write_bytes(whole)
    # Without leave it does not start.
    node.args = ["--aof-load-truncated", "no"]
    incr.write_bytes(whole[:-40])
    node.start(wait=False)
    assert node.process.wait(30) == 1
    node.process = None
    assert "Unexpected end of file reading the append only file" in node.log().strip().split("\n")[-1]


def test_an_open_transaction_is_cut_whole(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    node.cmd("SET", "before", "1")
    node.kill9()
    incr = parts(node, "incr")[-1]
    size = incr.stat().st_size
    with incr.open("ab") as file:
        file.write(encode("MULTI") + encode("SET", "half", "1") + encode("SET", "half2", "1"))
    node.start()
    assert node.cmd("DBSIZE") == 1
    assert "a transaction without its EXEC (2 commands in it)" in node.log()
    node.kill9()
    assert incr.stat().st_size == size


@pytest.mark.redoubt_only
def test_every_flipped_bit_is_found(world):
    """In the middle of the file and in its checksums; check-aof finds the same, and --fix mends it."""
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    for n in range(30):
        node.cmd("SET", f"key:{n}", f"value:{n}")
    node.kill9()
    incr = parts(node, "incr")[-1]
    whole = incr.read_bytes()
    rng = random.Random(3)
    for at in rng.sample(range(len(whole)), 40):
        broken = bytearray(whole)
        broken[at] ^= 1 << rng.randrange(8)
        incr.write_bytes(broken)
        code, said = check_aof(incr)
        assert code == 1, f"byte {at} of {len(whole)}: {said}"
    at = whole.index(b"value:3")
    broken = bytearray(whole)
    broken[at + 6] ^= 1
    incr.write_bytes(broken)
    node.start(wait=False)
    assert node.process.wait(30) == 1
    node.process = None
    lines = node.log().strip().split("\n")
    assert "Bad file format reading the append only file" in lines[-1]
    assert "wrong checksum of the bytes from offset" in lines[-2] and "expected" in lines[-2] and "found" in lines[-2]
    code, said = check_aof(incr, "--fix", answer="y\n")
    assert code == 0 and "Successfully truncated AOF" in said, said
    node.start()
    # Everything before the damage is there.
    assert node.cmd("GET", "key:2") == "value:2" and node.cmd("GET", "key:3") is None


def test_broken_manifests_are_refused(world):
    node = world.server(PRODUCT, "appendonly yes")
    node.cmd("SET", "a", "1")
    node.stop()
    path = folder(node) / "appendonly.aof.manifest"
    good = path.read_text()
    for text, said in [
        ("", "Found an empty AOF manifest"),
        ("nonsense\n", "Invalid AOF manifest file format"),
        (good.replace("type b", "type x"), "Unknown AOF file type"),
        (good + "file other.2.base.rdb seq 2 type b\n", "Found duplicate base file information"),
        (good + "file other.1.incr.aof seq 1 type i\n", "Found a non-monotonic sequence number"),
        (good + "file gone.2.incr.aof seq 2 type i\n", "No such file or directory"),
    ]:
        path.write_text(text)
        node.start(wait=False)
        assert node.process.wait(30) == 1, text
        node.process = None
        assert said in node.log(), said
    path.write_text(good)
    node.start()
    assert node.cmd("GET", "a") == "1"


@pytest.mark.redoubt_only
def test_full_disk(world):
    """On a full disk writers are refused and readers served; when there is room again it goes on, and nothing acknowledged is lost."""
    disk = world.dir / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs to be had: {mounted.stderr}")
    try:
        node = world.server(PRODUCT, "appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0", start=False)
        node.write_config(['save ""', "appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0",
                           "enable-debug-command yes", f"dir {disk}"])
        node.start()
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 500_000)
        acked, refused = [], None
        connection = node.raw(timeout=5)
        for n in range(2000):
            try:
                reply = connection.command("SET", f"k{n}", "v" * 2000)
            except TimeoutError:
                break  # It waits at the gate: executed, not acknowledged.
            if isinstance(reply, RespError):
                refused = reply
                break
            acked.append(n)
        assert len(acked) > 10
        other = node.raw()

        def refusal():
            reply = other.command("SET", "x", "1")
            return reply if isinstance(reply, RespError) else None

        refused = refused or wait_until(refusal, "writers are refused")
        assert refused.startswith("MISCONF Errors writing to the AOF file: No space left on device"), refused
        assert other.command("PING").startswith("MISCONF")
        assert other.command("GET", f"k{acked[0]}") == b"v" * 2000
        assert persistence(node)["aof_last_write_status"] == "err"
        ballast.unlink()
        wait_until(lambda: persistence(node)["aof_last_write_status"] == "ok", "it recovers by itself")
        assert "AOF write error looks solved" in node.log()
        assert other.command("SET", "after", "1") == b"OK"
        node.kill9()
        node.start()
        client = node.client()
        assert client.get("after") == "1"
        for n in acked:
            assert client.get(f"k{n}") == "v" * 2000, n
        node.end()
    finally:
        subprocess.run(["umount", "-l", str(disk)], capture_output=True)


@pytest.mark.redoubt_only
def test_waitaof(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync everysec")
    connection = node.raw()
    assert connection.command("SET", "a", "1") == b"OK"
    assert connection.command("WAITAOF", "1", "0", "0") == [1, 0]
    node.cmd("CONFIG", "SET", "appendfsync", "no")
    connection.command("SET", "a", "2")
    assert connection.command("WAITAOF", "1", "0", "50") == [0, 0]
    node.cmd("CONFIG", "SET", "appendfsync", "always")
    connection.command("SET", "a", "3")
    assert connection.command("WAITAOF", "1", "0", "0") == [1, 0]
    assert connection.command("WAITAOF", "2", "0", "0") == "ERR value is out of range, value must between 0 and 1"
    replica = world.server(PRODUCT, "appendonly yes", f"replicaof 127.0.0.1 {node.port}", name="replica")
    replica.wait_link_up()
    wait_until(lambda: persistence(replica).get("aof_pending_rewrite") == "0", "the replica has its file")
    connection.command("SET", "b", "1")
    assert connection.command("WAITAOF", "1", "1", "20000") == [1, 1]
    assert replica.cmd("GET", "b") == "1"
    refused = replica.raw().command("WAITAOF", "1", "0", "0")
    assert refused.startswith("ERR WAITAOF cannot be used with replica instances.")
    plain = world.server(PRODUCT, name="plain")
    assert plain.raw().command("WAITAOF", "1", "0", "0") == (
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    assert plain.raw().command("WAITAOF", "0", "0", "0") == [0, 0]


@pytest.mark.parametrize("kinds", [(PRODUCT, PRODUCT), ("redis", PRODUCT)], ids="-".join)
def test_a_replica_keeps_a_file_of_its_own(world, kinds):
    master = world.server(kinds[0], name="master")
    fill(master)
    replica = world.server(kinds[1], "appendonly yes", f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    client = master.client(db=4)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("t1", 1).incr("t2").execute()
    client.set("short", "1", px=50)
    client.publish("channel", "no write")
    master.cmd("SET", "last", "1")
    wait_until(lambda: replica.cmd("GET", "last") == "1", "the replica has it")
    wait_until(lambda: persistence(replica).get("aof_pending_rewrite") == "0", "the replica has its file")
    wait_until(lambda: client.exists("short") == 0 and replica.client(db=4).dbsize() == 2, "the key has expired")
    master.cmd("SET", "very last", "1")
    wait_until(lambda: replica.cmd("GET", "very last") == "1", "the replica has it")
    before = replica.digest()
    assert before == master.digest()
    # TERM brings everything to disk.
    assert replica.stop() == 0
    assert b"no write" not in parts(replica, "incr")[-1].read_bytes()
    master.stop()
    replica.args = ["--replicaof", "no", "one"]
    replica.start()
    assert replica.digest() == before


def test_expired_and_evicted_keys_stay_away(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    client = node.client()
    client.set("gone", "1", px=20)
    client.set("stays", "1")
    wait_until(lambda: client.dbsize() == 1, "the key has expired")
    wait_until(lambda: b"DEL" in parts(node, "incr")[-1].read_bytes(), "the removal is in the file")
    node.kill9()
    node.start()
    assert node.client().keys() == ["stays"]


@pytest.mark.redoubt_only
def test_effects_for_the_file_alone(world):
    """redis.set_repl: what is for the file alone is in it, what is for replicas alone is not."""
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always")
    node.cmd("EVAL", "redis.set_repl(redis.REPL_AOF); redis.call('set','aof',1); redis.set_repl(redis.REPL_REPLICA);"
                     "redis.call('set','replica',1); redis.set_repl(redis.REPL_ALL); redis.call('set','all',1)", "0")
    node.kill9()
    node.start()
    assert sorted(node.client().keys()) == ["all", "aof"]


@pytest.mark.redoubt_only
def test_truncation_to_a_moment(world):
    node = world.server(PRODUCT, "appendonly yes", "appendfsync always", "aof-timestamp-enabled yes")
    node.cmd("SET", "early", "1")
    stamp = int(time.time())
    wait_until(lambda: time.time() > stamp + 2, "time passes")
    node.cmd("SET", "late", "1")
    node.kill9()
    code, said = check_aof(folder(node) / "appendonly.aof.manifest", "--truncate-to-timestamp", str(stamp))
    assert code == 0 and f"to timestamp {stamp}" in said, said
    node.start()
    assert node.client().keys() == ["early"]


def test_loading_is_told(world):
    """While a big file is loaded clients are told so, and INFO shows how far it is."""
    node = world.server(PRODUCT, "appendonly yes", "aof-use-rdb-preamble no")
    pipe = node.client().pipeline(transaction=False)
    for block in range(60):
        for n in range(2500):
            pipe.set(f"key:{block}:{n}", "x" * 20)
        pipe.execute()
    assert node.stop() == 0
    node.start(wait=False)
    wait_until(lambda: node.raw(timeout=2).command("PING") is not None, "it listens")
    seen = persistence(node)
    wait_until(lambda: persistence(node)["loading"] == "0", "it is loaded")
    assert node.cmd("DBSIZE") == 150_000
    if seen["loading"] == "1":
        assert int(seen["loading_total_bytes"]) > 1_000_000
