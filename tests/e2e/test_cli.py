"""`redoubt cli` and `redoubt benchmark` beside redis-cli and redis-benchmark: the same server, arguments and input."""

import os
import re
import shutil
import subprocess

import pytest

from harness import PATIENCE, redoubt_binary


def run(words, *args, port, stdin=b"", env=None):
    """Runs a client to its end: (exit code, standard output, standard error)."""
    done = subprocess.run(
        words + ["-p", str(port)] + list(args), input=stdin, capture_output=True, timeout=PATIENCE,
        env={**os.environ, **(env or {})},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def same(world):
    """Runs redis-cli and `redoubt cli` one after the other on one server; both must say the same."""
    server = world.server("redis")
    theirs = [shutil.which("redis-cli")]
    assert theirs[0], "redis-cli is not installed"

    def check(*args, stdin=b"", env=None, ready=True):
        if ready:
            fill(theirs, server.port)
        expected = run(theirs, *args, port=server.port, stdin=stdin, env=env)
        if ready:
            fill(theirs, server.port)
        assert run([redoubt_binary(), "cli"], *args, port=server.port, stdin=stdin, env=env) == expected, args
        return expected

    return check


def fill(words, port):
    """The same few keys every time."""
    lines = b"""flushall
set a hello
set b "x\\x00\\xff\\n"
set "c d" 3
rpush l 1 2 3
sadd s 1
zadd z 1.5 a
hset h f v
"""
    assert run(words, port=port, stdin=lines)[0] == 0


FORMS = [[], ["--no-raw"], ["--csv"], ["--json"], ["--quoted-json"], ["-3"], ["-3", "--no-raw"], ["--json", "-2"]]
COMMANDS = [
    ["get", "a"], ["get", "b"], ["get", "none"], ["lrange", "l", "0", "-1"], ["hgetall", "h"], ["smembers", "s"],
    ["zrange", "z", "0", "-1", "withscores"], ["incr", "c d"], ["incr", "a"], ["nosuch", "x"], ["exists", "a"],
]


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_forms_of_output(same, form):
    for command in COMMANDS:
        same(*form, *command)


def test_options(same):
    same("-e", "incr", "a")
    assert same("-e", "nosuch")[0] == 1
    same("-x", "set", "a", stdin=b"from input\n")
    same("-X", "TAG", "set", "TAG", "v", stdin=b"key")
    same("-X", "TAG", "get", "a", stdin=b"key")
    same("--quoted-input", "get", '"c\\x20d"')
    same("--quoted-input", "get", '"c')
    same("-r", "3", "-i", "0.01", "incr", "n")
    same("-D", "|", "-r", "2", "get", "a")
    same("-d", ";", "lrange", "l", "0", "-1")
    same("-n", "3", "dbsize")
    same("-n", "99", "ping")
    same("-a", "wrong", "ping")
    same("ping", env={"REDISCLI_AUTH": "wrong"})
    same("-c", "get", "a")
    same("--no-such-option")
    same("-u", "http://localhost", "ping")


def test_lines(same):
    same(stdin=b"get a\n3 incr n\nmulti\nget a\nexec\n\"open\nquit\n")
    same("--csv", stdin=b"lrange l 0 -1\nnosuch\n")


def test_modes_over_keys(same):
    same("--scan")
    same("--scan", "--pattern", "[ac]*")
    same("--no-raw", "--scan")
    same("--scan", "--quoted-pattern", '"c d"')
    same("--scan", "--quoted-pattern", '"c')
    same("--bigkeys")
    same("--memkeys")
    same("--memkeys-samples", "2")
    same("--hotkeys")


def test_pipe(same):
    assert same("--pipe", stdin=b"SET k v\r\nGET k\r\n")[0] == 0
    assert same("--pipe", stdin=b"SET k v\r\nNOSUCH\r\n*1\r\n$4\r\nPING\r\n")[0] == 1
    same("--pipe")
    same("--pipe", stdin=b"PING")
    same("--pipe", stdin=b"SET k v\r\n" * 50_000)


def test_eval(same, tmp_path):
    script = tmp_path / "script.lua"
    script.write_text("return {KEYS[1], KEYS[2], ARGV[1]}")
    same("--eval", str(script), "k1", "k2", ",", "v1")
    same("--eval", str(script), "k1")
    same("--eval", str(tmp_path / "none"))


def test_what_is_not_there_is_named():
    for flag in ("--ldb", "--cluster"):
        done = subprocess.run([redoubt_binary(), "cli", flag, "x"], capture_output=True, timeout=PATIENCE, text=True)
        assert done.returncode == 1 and done.stderr.startswith(f"{flag}: ")


def benchmark(port, *args, stdin=b""):
    """Lines of `redoubt benchmark` and of redis-benchmark, numbers replaced by N (a rate is `inf` when no time was measured)."""
    outputs = []
    for words in ([shutil.which("redis-benchmark")], [redoubt_binary(), "benchmark"]):
        code, out, err = run(words, *args, port=port, stdin=stdin)
        lines = [line.split("\r")[-1] for line in out.decode().split("\n")]
        outputs.append((code, [re.sub(r"\d+\.\d+|\binf\b", "N", line).strip() for line in lines], err))
    return outputs


def test_benchmark_forms(world):
    port = world.server("redis").port
    for args in (
        ["-n", "200", "--csv"],
        ["-n", "200", "-c", "7", "-t", "ping,set,lrange_300,mset", "--csv", "-P", "4"],
        ["-n", "200", "--csv", "-r", "10", "lpush", "list", "__rand_int__"],
    ):
        theirs, ours = benchmark(port, *args)
        assert ours == theirs, args
    theirs, ours = benchmark(port, "-n", "50", "-q", "-x", "set", "k", stdin=b"value")
    assert [line for line in ours[1] if line] == [line for line in theirs[1] if line]
    assert ours[0] == theirs[0] == 0
    theirs, ours = benchmark(port, "-n", "500", "--threads", "2", "-t", "get")
    for head in ("====== GET ======", "500 requests completed in N seconds", "threads: 2",
                 "Latency by percentile distribution:", "throughput summary: N requests per second",
                 "avg       min       p50       p95       p99       max"):
        assert head in theirs[1] and head in ours[1], head


def test_benchmark_does_the_work(world):
    server = world.server("redis")
    words = [redoubt_binary(), "benchmark"]
    assert run(words, "-n", "1003", "-P", "10", "-q", "-c", "9", "--threads", "3", "incr", "n", port=server.port)[0] == 0
    assert server.cmd("GET", "n") == "1003"
    assert run(words, "-n", "500", "-r", "20", "-q", "sadd", "s", "__rand_int__", port=server.port)[0] == 0
    members = server.cmd("SMEMBERS", "s")
    assert 10 < len(members) <= 20 and all(len(m) == 12 and int(m) < 20 for m in members)
    before = server.info("stats")["total_connections_received"]
    assert run(words, "-n", "100", "-k", "0", "-c", "5", "-q", "-t", "get", port=server.port)[0] == 0
    assert int(server.info("stats")["total_connections_received"]) - int(before) >= 100
    code, _, err = run(words, "-n", "10", "nosuch", port=server.port)
    assert code == 1 and err.startswith(b"Error from server: ERR unknown command")
    assert run(words, "--cluster", port=server.port)[0] == 1
