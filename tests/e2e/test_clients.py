"""Tools that nobody here wrote: redis-py in both protocols, redis-cli, redis-benchmark, pub/sub, blocking, big values."""

import subprocess
import threading
import time

import pytest
import redis

from harness import PATIENCE, PRODUCT, wait_until


@pytest.fixture
def node(world):
    return world.server(PRODUCT)


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(request, node):
    return node.client(protocol=request.param)


def test_redis_py_types(client):
    """What the client library makes of replies is the same in both protocols."""
    assert client.ping()
    assert client.set("s", "v", ex=100) and client.get("s") == "v" and 90 < client.ttl("s") <= 100
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2 and client.hgetall("h") == {"a": "1", "b": "2"}
    assert client.sadd("t", "x", "y") == 2 and client.smembers("t") == {"x", "y"}
    assert client.zadd("z", {"one": 1, "half": 0.5}) == 2
    assert [[m, s] for m, s in client.zrange("z", 0, -1, withscores=True)] == [["half", 0.5], ["one", 1.0]]
    assert client.zscore("z", "half") == 0.5 and client.zscore("z", "nobody") is None
    assert client.rpush("l", 1, 2, 3) == 3 and client.lrange("l", 0, -1) == ["1", "2", "3"]
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert sorted(client.scan_iter(count=2)) == ["h", "l", "s", "t", "z"]
    assert client.info("server")["redis_mode"] == "standalone"
    assert client.object("encoding", "h") == "listpack"
    assert client.client_setname("tester") and client.client_getname() == "tester"
    assert client.client_info()["name"] == "tester"
    assert int(client.memory_usage("h")) > 0
    assert client.copy("s", "s2") and client.get("s2") == "v"


def test_redis_py_pipelines_and_transactions(client):
    with client.pipeline(transaction=True) as pipe:
        pipe.set("n", 1)
        pipe.incr("n")
        pipe.lpush("n", "wrong type")
        pipe.get("n")
        replies = pipe.execute(raise_on_error=False)
    assert replies[:2] == [True, 2] and isinstance(replies[2], redis.ResponseError) and replies[3] == "2"

    def double(pipe):
        value = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", value * 2)
    assert client.transaction(double, "n") == [True]
    assert client.get("n") == "4"


def test_redis_py_pubsub(client):
    subscriber = client.pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("channel")
    subscriber.psubscribe("pat*")
    subscriber.get_message(timeout=1)
    subscriber.get_message(timeout=1)
    wait_until(lambda: client.pubsub_numsub("channel") == [("channel", 1)] or client.pubsub_numsub("channel") == [["channel", 1]],
               "the subscription is there")
    assert client.publish("channel", "hello") == 1
    assert client.publish("pattern", "world") == 1
    heard = []
    wait_until(lambda: heard.append(subscriber.get_message(timeout=0.1)) or len([m for m in heard if m]) == 2, "two messages")
    heard = [(m["type"], m["channel"], m["data"]) for m in heard if m]
    assert heard == [("message", "channel", "hello"), ("pmessage", "pattern", "world")]
    subscriber.close()


def test_blocking_clients_are_served_in_order(node):
    """Who came first is served first; a push of three elements serves three."""
    served, threads = [], []

    def wait_for_element(number):
        element = node.client().blpop("queue", 20)
        served.append((number, element[1]))
    for number in range(3):
        thread = threading.Thread(target=wait_for_element, args=(number,))
        thread.start()
        threads.append(thread)
        wait_until(lambda: node.info("clients")["blocked_clients"] == str(number + 1), "one more is blocked")
    node.cmd("RPUSH", "queue", "a", "b", "c")
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(served) == [(0, "a"), (1, "b"), (2, "c")]
    assert node.cmd("EXISTS", "queue") == 0


def test_big_values(node):
    """Values around and above a megabyte, read and written in parts."""
    client = node.client(decode_responses=False)
    for size in ((1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20):
        value = bytes(range(251)) * (size // 251 + 1)
        value = value[:size]
        client.set("big", value)
        assert client.get("big") == value
        assert client.getrange("big", size - 10, size) == value[-10:]
        assert client.getrange("big", 65530, 65545) == value[65530:65546]
        client.setrange("big", 70000, b"patched")
        assert client.getrange("big", 69999, 70007) == value[69999:70000] + b"patched" + value[70007:70008]
        assert client.append("big", b"tail") == size + 4
        assert client.get("big")[-4:] == b"tail"


def test_redis_cli(node):
    def cli(*words, stdin=None):
        done = subprocess.run(
            ["redis-cli", "-p", str(node.port)] + list(words), capture_output=True, text=True, input=stdin, timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")
    assert cli("set", "k", "v") == "OK"
    assert cli("-3", "hgetall", "nothing") in ("", "(empty hash)")
    assert cli("get", "k") == "v"
    assert "redis_version:" in cli("info", "server")
    assert cli(stdin="set a 1\nincr a\nget a\n") == "OK\n2\n2"
    assert cli("--scan", "--pattern", "*").split() != []
    assert "Biggest string found" in cli("--bigkeys")
    assert cli("--pipe", stdin="*3\r\n$3\r\nSET\r\n$1\r\np\r\n$1\r\n1\r\n").endswith("errors: 0, replies: 1")
    rdb = node.dir / "copy.rdb"
    cli("--rdb", str(rdb))
    assert rdb.read_bytes().startswith(b"REDIS00")


def test_redis_benchmark(node):
    done = subprocess.run(
        ["redis-benchmark", "-p", str(node.port), "-n", "20000", "-c", "30", "-P", "8", "--csv",
         "-t", "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,zadd,mset,lrange_100"],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith('"')]
    assert len(rows) >= 14, done.stdout
    assert "rror" not in done.stdout + done.stderr


def test_monitor_shows_commands_and_hides_secrets(node):
    watcher = node.raw()
    assert watcher.command("MONITOR") == b"OK"
    node.cmd("SET", "k", "v")
    node.raw().command("AUTH", "some-secret")
    node.cmd("GET", "k")
    lines = []
    wait_until(lambda: lines.append(watcher.read().decode()) or "GET" in lines[-1], "the commands are shown")
    assert any('"SET" "k" "v"' in line for line in lines)
    assert not any("some-secret" in line for line in lines)


def test_slowlog_and_latency(node):
    node.cmd("CONFIG", "SET", "slowlog-log-slower-than", "10000", "latency-monitor-threshold", "10")
    node.cmd("DEBUG", "SLEEP", "0.05")
    entry = node.cmd("SLOWLOG", "GET")[0]
    assert entry[3][:2] == ["DEBUG", "SLEEP"] and entry[2] >= 50_000
    assert any(row[0] == "command" and row[2] >= 40 for row in node.cmd("LATENCY", "LATEST"))


def test_clients_are_listed_named_and_killed(node):
    victim = node.raw()
    victim.command("CLIENT", "SETNAME", "victim")
    row = next(line for line in node.cmd("CLIENT", "LIST").splitlines() if " name=victim " in line)
    fields = dict(word.split("=", 1) for word in row.split(" "))
    assert fields["cmd"] == "client|setname" and fields["db"] == "0"
    assert node.cmd("CLIENT", "KILL", "ID", fields["id"]) == 1
    assert victim.read_all() == b""
    first = node.raw()
    assert node.cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no") >= 1
    assert first.read_all() == b""


def test_client_pause(node):
    node.cmd("CLIENT", "PAUSE", "1500", "WRITE")
    client = node.client()
    began = time.monotonic()
    assert client.get("k") is None
    assert time.monotonic() - began < 1
    assert client.set("k", "v")
    assert time.monotonic() - began > 1
    node.cmd("CLIENT", "PAUSE", "1500", "ALL")
    began = time.monotonic()
    assert node.cmd("PING") == "PONG"
    assert time.monotonic() - began > 1
    node.cmd("CLIENT", "PAUSE", "60000", "WRITE")
    assert node.cmd("CLIENT", "UNPAUSE") == "OK"
    assert node.cmd("SET", "k", "w") == "OK"


def test_active_expiry(node):
    """Keys go without being asked for, soon after their time."""
    client = node.client()
    pipe = client.pipeline(transaction=False)
    for number in range(5000):
        pipe.set(f"e:{number}", "x", px=300 + number % 200)
    pipe.execute()
    wait_until(lambda: client.dbsize() == 0, "all keys are gone", 20)
    assert int(node.info("stats")["expired_keys"]) == 5000


@pytest.mark.redoubt_only
def test_threads_give_the_same_answers(world):
    """Atomic counters, transactions and multi-key commands with several workers and many clients."""
    node = world.server(PRODUCT, "threads 4")

    def work(seed):
        client = node.client()
        for number in range(300):
            client.incr("counter")
            client.lmove("ring", "ring", "LEFT", "RIGHT")
            with client.pipeline(transaction=True) as pipe:
                pipe.incr(f"pair:{number % 7}:a")
                pipe.incr(f"pair:{number % 7}:b")
                pipe.mget([f"pair:{number % 7}:a", f"pair:{number % 7}:b"])
                a, b, both = pipe.execute()
            assert a == b and both == [str(a), str(b)]
            client.mset({f"m:{at}": f"{seed}:{number}" for at in range(5)})
            assert len(set(client.mget([f"m:{at}" for at in range(5)]))) == 1
    node.client().rpush("ring", *range(20))
    failures = []

    def guarded(seed):
        try:
            work(seed)
        except BaseException as error:
            failures.append(repr(error))
    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures[0]
    assert node.cmd("GET", "counter") == str(8 * 300)
    assert sorted(map(int, node.cmd("LRANGE", "ring", 0, -1))) == list(range(20))


def test_connections_move_between_workers(world):
    """Whatever a connection is doing when the number of serving workers changes: replies stay right and in order."""
    node = world.server(PRODUCT, "threads 4", "enable-debug-command yes")
    stop = time.monotonic() + 4
    failures, rounds = [], []

    def work(me):
        try:
            client = node.client()
            listener = node.client()
            pubsub = listener.pubsub(ignore_subscribe_messages=True)
            pubsub.subscribe(f"channel{me}")
            pubsub.get_message(timeout=PATIENCE)
            count = 0
            while time.monotonic() < stop:
                count += 1
                with client.pipeline(transaction=count % 2 == 0) as pipe:
                    pipe.incr(f"n{me}").echo(f"{me}-{count}").incr("sum").publish(f"channel{me}", count)
                    replies = pipe.execute()
                assert replies[:2] == [count, f"{me}-{count}"], replies
                assert replies[3] == 1, replies
                message = None
                while message is None:
                    message = pubsub.get_message(timeout=PATIENCE)
                assert message["data"] == str(count), message
                client.rpush(f"list{me}", count)
                assert client.blpop(f"list{me}", timeout=PATIENCE) == (f"list{me}", str(count))
            rounds.append(count)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(12)]
    for thread in threads:
        thread.start()
    admin = node.client()
    number = 0
    while time.monotonic() < stop:
        number += 1
        admin.execute_command("DEBUG", "ACTIVE-WORKERS", [1, 4, 2, 3, 1, 0][number % 6])
        time.sleep(0.11)
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == [] and len(rounds) == 12
    assert int(admin.get("sum")) == sum(rounds)
    # Those that were given away can be ended by others as before.
    victim = node.client()
    number = victim.client_id()
    admin.execute_command("DEBUG", "ACTIVE-WORKERS", 1)
    time.sleep(0.3)
    assert victim.client_id() == number
    assert admin.client_kill_filter(_id=number) == 1
    wait_until(lambda: all(int(line["id"]) != number for line in admin.client_list()), "the end of a connection that moved")
