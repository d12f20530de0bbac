"""`redoubt cli` beside redis-cli: the same server, arguments and input; the same output and exit code."""

import os
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
    for flag in ("--tls", "--rdb", "--replica", "--cluster", "--lru-test"):
        done = subprocess.run([redoubt_binary(), "cli", flag, "x"], capture_output=True, timeout=PATIENCE, text=True)
        assert done.returncode == 1 and done.stderr.startswith(f"{flag}: ")
