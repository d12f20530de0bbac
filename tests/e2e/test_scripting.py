"""Scripts and functions: what clients' scripts do, hostile ones, replication of effects, functions in files and syncs."""

import random
import threading

import pytest
import redis

from harness import PRODUCT, same_data, wait_until

UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"

RATE = """
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) < limit then
  redis.call('ZADD', KEYS[1], now, ARGV[4])
  redis.call('PEXPIRE', KEYS[1], window)
  return 1
end
return 0
"""

# As a job queue does it: options arrive packed, a job becomes a hash, its id goes to a list and to a delay set.
ADD_JOB = """
local args = cmsgpack.unpack(ARGV[1])
local opts = cmsgpack.unpack(ARGV[2])
local id = redis.call('INCR', KEYS[1])
local key = args[1] .. id
redis.call('HMSET', key, 'name', args[2], 'data', ARGV[3], 'opts', cjson.encode(opts), 'timestamp', args[3])
if opts.delay and opts.delay > 0 then
  redis.call('ZADD', KEYS[2], args[3] + opts.delay, id)
else
  redis.call('LPUSH', KEYS[3], id)
end
return id .. ''
"""

LIBRARY = """#!lua name=mylib
local function keep(keys, args) redis.call('set', keys[1], args[1]) return redis.call('get', keys[1]) end
redis.register_function('keep', keep)
redis.register_function{function_name='look', callback=function(keys) return redis.call('get', keys[1]) end, flags={'no-writes'}}
"""


def test_scripts_of_clients(world):
    node = world.server(PRODUCT)
    client = node.client()
    client.set("lock", "mine")
    unlock = client.register_script(UNLOCK)
    assert unlock(keys=["lock"], args=["other"]) == 0
    assert unlock(keys=["lock"], args=["mine"]) == 1
    rate = client.register_script(RATE)
    assert [rate(keys=["r"], args=[1000 + n, 60000, 3, n]) for n in range(5)] == [1, 1, 1, 0, 0]
    args = client.execute_command(
        "EVAL", "return cmsgpack.pack(cjson.decode(ARGV[1]))", 0, '["jobs:","mail",5000]', NEVER_DECODE=True)
    later = client.execute_command(
        "EVAL", "return cmsgpack.pack({delay=250,attempts=3})", 0, NEVER_DECODE=True)
    now = client.execute_command("EVAL", "return cmsgpack.pack({})", 0, NEVER_DECODE=True)
    add = client.register_script(ADD_JOB)
    ids = [add(keys=["id", "delayed", "wait"], args=[args, opts, "{}"]) for opts in (later, now)]
    assert [int(i) for i in ids] == [1, 2]
    assert client.zscore("delayed", "1") == 5250
    assert client.llen("wait") == 1
    assert int(client.hget("jobs:1", "timestamp")) == 5000
    assert client.script_exists(unlock.sha, "0" * 40) == [True, False]
    client.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(unlock.sha, 1, "lock", "x")


def run_aside(node, *command):
    """Runs a command on a thread of its own; returns a box that will hold what came of it."""
    box = []

    def run():
        try:
            box.append(node.cmd(*command, timeout=60))
        except Exception as error:  # the answer is the matter here
            box.append(error)

    threading.Thread(target=run, daemon=True).start()
    return box


def busy(node):
    try:
        node.cmd("PING")
        return False
    except Exception as error:
        return "BUSY" in str(error)


LOOPS = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "local s = string.rep('a', 20000) while true do pcall(string.find, s, 'a-a-a-a-a-a-a-a-a-b') end"
    if PRODUCT == "redoubt" else "while true do end",
]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_endless_script_is_killed(world, loop, threads):
    lines = ["lua-time-limit 50"] + ([f"threads {threads}"] if PRODUCT == "redoubt" else [])
    node = world.server(PRODUCT, *lines)
    node.cmd("SET", "k", "v")
    box = run_aside(node, "EVAL", loop, "0")
    wait_until(lambda: busy(node), "others hear BUSY")
    # Connections on every worker are answered.
    for _ in range(6):
        assert busy(node)
    assert node.cmd("SCRIPT", "KILL") in (b"OK", "OK", True)
    wait_until(lambda: box, "the script ended")
    assert "killed by user" in str(box[0])
    assert node.client().get("k") in (b"v", "v")


def test_a_script_that_wrote_is_not_killed(world):
    lines = ["lua-time-limit 50"]
    node = world.server(PRODUCT, *lines)
    run_aside(node, "EVAL", "redis.call('set', 'a', 1) while true do end", "0")
    wait_until(lambda: busy(node), "others hear BUSY")
    with pytest.raises(Exception, match="UNKILLABLE"):
        node.cmd("SCRIPT", "KILL")
    with pytest.raises(Exception, match="BUSY"):
        node.cmd("GET", "a")
    with pytest.raises(Exception):
        node.cmd("SHUTDOWN", "NOSAVE")
    wait_until(lambda: not node.alive(), "the server ended")


@pytest.mark.parametrize("script", [
    "local function f() return f() + 1 end return f()",
    "local t = {} for i = 1, 300 do t = {t} end return loadstring(string.rep('(', 10000))()",
    "return unpack({}, 1, 1e8)",
    "return cmsgpack.unpack(string.rep('\\145', 1e6))",
    "foo = 1", "redis.call = nil", "getmetatable('').__index = nil", "rawset(_G, 'x', 1)", "return io", "return debug",
    "return loadstring(string.dump(function() end))()",
    "return require('x')",
])
def test_hostile_scripts_leave_the_server_alive(world, script):
    node = world.server(PRODUCT)
    with pytest.raises(Exception):
        node.cmd("EVAL", script, "0")
    assert node.cmd("EVAL", "return string.rep('x', 3)", "0") in (b"xxx", "xxx")


MOVE = """
local n = tonumber(ARGV[3])
redis.call('HINCRBY', ARGV[1], 'sum', -n)
pcall(function() redis.call('HINCRBY', ARGV[2], 'sum', n) end)
redis.call('LPUSH', 'log:' .. ARGV[1], n)
redis.call('LTRIM', 'log:' .. ARGV[1], 0, 5)
return redis.call('HGET', ARGV[1], 'sum')
"""
ACCOUNTS = 20
SUM = f"local s = 0 for i = 0, {ACCOUNTS - 1} do s = s + redis.call('HGET', 'acc:' .. i, 'sum') end return s"


@pytest.mark.parametrize("replica_kind", [PRODUCT, "redis"])
def test_scripts_beside_each_other_are_atomic(world, replica_kind):
    """Transfers between accounts by scripts that declare all, some or none of their keys: every look sees the whole."""
    threads = ["threads 3"] if PRODUCT == "redoubt" else []
    master = world.server(PRODUCT, *threads)
    replica = world.server(replica_kind, f"replicaof 127.0.0.1 {master.port}")
    replica.wait_link_up()
    client = master.client()
    for n in range(ACCOUNTS):
        client.hset(f"acc:{n}", "sum", 100)
    failures = []

    def work(seed):
        try:
            random_ = random.Random(seed)
            own = master.client()
            for step in range(250):
                a, b = f"acc:{random_.randrange(ACCOUNTS)}", f"acc:{random_.randrange(ACCOUNTS)}"
                keys = random_.choice([[a, b, f"log:{a}"], [a], []])
                own.eval(MOVE + f"-- {len(keys)}", len(keys), *keys, a, b, random_.randrange(1, 50))
                if step % 10 == 0:
                    everything = [f"acc:{n}" for n in range(ACCOUNTS)]
                    assert own.eval(SUM, ACCOUNTS, *everything) == 100 * ACCOUNTS
                    with own.pipeline(transaction=True) as pipe:
                        pipe.eval(SUM, 0)
                        pipe.eval(MOVE, 2, a, b, a, b, 1)
                        pipe.eval(SUM, 0)
                        sums = pipe.execute()
                    assert sums[0] == sums[2] == 100 * ACCOUNTS
                if step % 50 == 49:
                    own.script_flush()
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    [worker.start() for worker in workers]
    master.cmd("BGSAVE")
    [worker.join() for worker in workers]
    assert not failures, [str(failure) for failure in failures]
    assert client.eval(SUM, 0) == 100 * ACCOUNTS
    same_data(master, replica)


def test_a_late_script_makes_everybody_busy_whatever_keys_it_holds(world):
    lines = ["lua-time-limit 50"] + (["threads 3"] if PRODUCT == "redoubt" else [])
    node = world.server(PRODUCT, *lines)
    node.cmd("SET", "k", "v")
    loop = "redis.call('get', KEYS[1]) while true do pcall(redis.call, 'get', KEYS[1]) end"
    boxes = [run_aside(node, "EVAL", loop, "1", f"key{n}") for n in range(3)]
    wait_until(lambda: busy(node), "others hear BUSY")
    for _ in range(6):
        with pytest.raises(Exception, match="BUSY"):
            node.cmd("GET", "k")

    def all_ended():
        # A script that became late after the others were told to end is told as well; on a Redis they come in turn.
        if not all(boxes):
            try:
                node.cmd("SCRIPT", "KILL")
            except Exception as error:
                assert "NOTBUSY" in str(error) or "BUSY" in str(error)
        return all(boxes)

    wait_until(all_ended, "all scripts ended")
    assert all("killed by user" in str(box[0]) or "BUSY" in str(box[0]) for box in boxes)
    assert node.cmd("GET", "k") in (b"v", "v")


PAIRS = [(PRODUCT, "redis"), ("redis", PRODUCT), (PRODUCT, PRODUCT)]
both_ways = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)


@both_ways
def test_effects_and_functions_reach_a_replica(world, kinds):
    master = world.server(kinds[0])
    master.cmd("FUNCTION", "LOAD", LIBRARY)
    replica = world.server(kinds[1], f"replicaof 127.0.0.1 {master.port}")
    replica.wait_link_up()
    assert replica.cmd("FCALL_RO", "look", "1", "nokey") is None
    client = master.client()
    for n in range(50):
        client.eval(
            "redis.call('set', KEYS[1], ARGV[1]) redis.call('rpush', KEYS[2], ARGV[1], math.random(100))"
            " redis.call('select', 3) redis.call('incr', KEYS[1]) redis.call('sadd', 'undeclared', ARGV[1])"
            " return redis.call('spop', 'undeclared')",
            2, f"k{n % 7}", f"l{n % 5}", n)
        client.fcall("keep", 1, f"f{n % 3}", n)
    with client.pipeline(transaction=True) as pipe:
        pipe.eval("return redis.call('incr', 'in-multi')", 0)
        pipe.set("beside", "1")
        pipe.execute()
    same_data(master, replica)
    master.cmd("FUNCTION", "LOAD", "REPLACE", LIBRARY.replace("'keep', keep", "'keep2', keep"))
    wait_until(lambda: "keep2" in str(replica.cmd("FUNCTION", "LIST")), "the new library is there")
    master.cmd("FUNCTION", "FLUSH")
    wait_until(lambda: not replica.cmd("FUNCTION", "LIST"), "it is gone")


def test_functions_survive_a_restart_and_move_between_servers(world):
    node = world.server(PRODUCT, "save 3600 1")
    node.cmd("FUNCTION", "LOAD", LIBRARY)
    node.cmd("FCALL", "keep", "1", "a", "1")
    payload = node.client().execute_command("FUNCTION", "DUMP", NEVER_DECODE=True)
    other = world.server("redis")
    other.client().execute_command("FUNCTION", "RESTORE", payload)
    assert other.cmd("FCALL", "keep", "1", "a", "2") in (b"2", "2")
    back = other.client().execute_command("FUNCTION", "DUMP", NEVER_DECODE=True)
    node.client().execute_command("FUNCTION", "RESTORE", back, "REPLACE")
    node.cmd("SAVE")
    node.restart()
    assert node.cmd("FCALL_RO", "look", "1", "a") in (b"1", "1")
