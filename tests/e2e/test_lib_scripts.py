"""What job queues and locks do with scripts, and what hostile scripts must not do."""

import threading
import time
import uuid

import pytest
import redis
from redis.exceptions import LockError, LockNotOwnedError

from harness import PATIENCE, PRODUCT, wait_until

# As a scheduler of jobs does it: the members of a sorted set that are due are taken, as many as asked for.
TAKE_DUE = """
local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, ARGV[2])
for _, job in ipairs(due) do
  redis.call('zrem', KEYS[1], job)
  redis.call('lpush', KEYS[2], job)
end
return #due
"""

TAKE_ONE = """
local job = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if job then
  redis.call('zrem', KEYS[1], job)
end
return job
"""


def test_scheduled_jobs_run_once(world):
    """Four pollers move due jobs to a queue, six workers take them; every job runs exactly once."""
    node = world.server(PRODUCT)
    client = node.client()
    jobs = [f"job:{number}" for number in range(600)]
    now = time.time()
    with client.pipeline(transaction=True) as pipe:
        pipe.zadd("schedule", {job: now - 1 + at / 600 for at, job in enumerate(jobs)})
        pipe.sadd("queues", "default")
        pipe.execute()
    done, stopping = [], threading.Event()

    def poll(script, keys):
        own = node.client()
        run = own.register_script(script)
        while not stopping.is_set():
            taken = run(keys=keys, args=[time.time(), 7])
            if script is TAKE_ONE and taken:
                own.lpush("queue:default", taken)
            if not taken:
                time.sleep(0.01)

    def work():
        own = node.client()
        while not stopping.is_set():
            got = own.brpop(["queue:critical", "queue:default"], timeout=1)
            if got:
                done.append(got[1])

    threads = [threading.Thread(target=poll, args=(script, ["schedule", "queue:default"])) for script in [TAKE_DUE, TAKE_ONE] * 2]
    threads += [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    try:
        wait_until(lambda: len(done) >= len(jobs), "all jobs ran")
    finally:
        stopping.set()
        [thread.join(PATIENCE) for thread in threads]
    assert sorted(done) == sorted(jobs)
    assert client.zcard("schedule") == 0 and client.llen("queue:default") == 0


def test_a_reliable_queue(world):
    """Jobs are moved to a list of their worker, and put back by a script when the worker is gone."""
    node = world.server(PRODUCT)
    client = node.client()
    client.lpush("queue", *range(20))
    for _ in range(7):
        assert client.blmove("queue", "working:1", 5, "RIGHT", "LEFT")
    rescue = client.register_script(
        "local n = 0 while redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do n = n + 1 end return n")
    assert rescue(keys=["working:1", "queue"]) == 7
    assert client.lrange("queue", 0, -1) == [str(number) for number in range(19, -1, -1)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_lock_over_three_nodes(world, protocol):
    """The lock of redis-py on three independent nodes, one of which dies: the majority decides."""
    nodes = [world.server(PRODUCT, name=f"lock{at}") for at in range(3)]

    def locks(token):
        held = []
        for node in nodes:
            try:
                lock = node.client(protocol=protocol, retry=None).lock("resource", timeout=30, blocking=False)
                if lock.acquire(token=token):
                    held.append(lock)
            except redis.ConnectionError:
                pass
        return held

    mine, theirs = uuid.uuid4().hex, uuid.uuid4().hex
    first = locks(mine)
    assert len(first) == 3 and not locks(theirs)
    assert all(lock.owned() and lock.locked() for lock in first)
    assert all(lock.extend(30, replace_ttl=True) and lock.reacquire() for lock in first)
    thief = nodes[1].client(protocol=protocol).lock("resource", timeout=5)
    thief.local.token = b"somebody else's"
    with pytest.raises(LockNotOwnedError):
        thief.release()
    nodes[0].kill9()
    assert not locks(theirs)
    for lock in first[1:]:
        lock.release()
        with pytest.raises(LockError):
            lock.release()
    second = locks(theirs)
    assert len(second) == 2
    assert all(node.client().get("resource") == theirs for node in nodes[1:])


# --- hostile scripts

ENDLESS = [
    "local t = {} while true do t[#t + 1] = {} if #t > 100000 then t = {} end end",
    "local c = coroutine.wrap(function() while true do redis.call('ping') end end) c()",
    "while true do pcall(error, 'x') end",
    "while true do xpcall(function() error('x') end, function() while true do end end) end",
    "local function f(n) return f(n + 1) end return f(1)",
    "while true do redis.pcall('nosuch') end",
] + ([
    # Redis itself does not come back from these.
    "return loadstring and load(function() return 'x ' end)",
    "return string.gsub(string.rep('a', 3e5), '.-b', '')",
    "return string.find(string.rep('a', 40), string.rep('a-', 38) .. 'b')",
] if PRODUCT == "redoubt" else [])


@pytest.mark.parametrize("script", ENDLESS)
def test_others_hear_of_an_endless_script_and_end_it(world, script):
    node = world.server(PRODUCT, "lua-time-limit 50")
    node.cmd("SET", "k", "v")
    outcome = []

    def run():
        try:
            outcome.append(node.cmd("EVAL", script, "0", timeout=60))
        except (redis.RedisError, OSError) as error:
            outcome.append(error)

    runner = threading.Thread(target=run)
    runner.start()

    def busy():
        try:
            node.cmd("GET", "k")
        except redis.ResponseError as error:
            return str(error).startswith("BUSY")
        return False

    wait_until(busy, "others are answered with BUSY")
    assert node.cmd("SCRIPT", "KILL") == "OK"
    runner.join(PATIENCE)
    assert outcome and "killed by user" in str(outcome[0]), outcome
    assert node.cmd("GET", "k") == "v" and node.cmd("EVAL", "return 7", "0") == 7


REFUSED = [
    ("return #string.rep('x', 1e10)", ""),
    ("local function f(n) return 1 + f(n) end return f(1)", "stack overflow"),
    ("return unpack({}, 1, 7e6)", "too many results"),
    ("local t = {} t[1] = t return cjson.encode(t)", "excessive nesting"),
    ("return cjson.decode(string.rep('[', 1e6))", "nested"),
    ("return getfenv(0)", "getfenv"),
    ("setfenv(0, {})", "setfenv"),
    ("return newproxy(true)", "newproxy"),
    ("for k in pairs(_G) do _G[k] = nil end", "readonly table"),
    ("string.rep = nil", "readonly table"),
    ("redis = nil", ""),
    ("getmetatable('').__index = 1", "readonly table"),
    ("return os.getenv('HOME')", "nil value"),
    ("return os.execute('true')", "nil value"),
    ("return print", "nonexistent global variable"),
    ("return dofile('/etc/passwd')", "dofile"),
    ("return redis.call('eval', 'return 1', 0)", "not allowed from script"),
    ("return redis.call('subscribe', 'x')", "not allowed from script"),
    ("return struct.unpack('>I99', 'x')", ""),
    ("error({})", ""),
]


def test_hostile_scripts_are_refused(world):
    """One server for all of them: none leaves anything behind."""
    node = world.server(PRODUCT)
    for script, words in REFUSED if PRODUCT == "redoubt" else REFUSED[1:]:
        with pytest.raises(redis.ResponseError) as refused:
            node.cmd("EVAL", script, "0", timeout=60)
        assert words in str(refused.value), script
        assert node.cmd("EVAL", "return {redis.sha1hex(''), #string.rep('x', 3), type(redis.call)}", "0") == [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709", 3, "function"]
    # Deep values are cut off, not followed for ever.
    assert node.cmd("EVAL", "local t = {} t[1] = t return #cmsgpack.pack(t)", "0") == 17
    big = node.cmd("EVAL", "local t = {} for i = 1, 1e6 do t[i] = {i} end return #t", "0", timeout=60)
    assert big == 1_000_000
