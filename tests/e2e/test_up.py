"""`redoubt up` and the commands that steer it, with the product's own six nodes (the README's tour)."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
import redis

from harness import PATIENCE, free_port, redoubt_binary, wait_until

pytestmark = pytest.mark.redoubt_only


class Up:
    """A data folder with its `up`; whatever happens, `down` ends it."""

    def __init__(self, world, password=None):
        self.dir = world.dir / "data"
        self.base = free_port()
        self.environment = dict(os.environ)
        self.environment.pop("REDOUBT_PASSWORD", None)
        if password:
            self.environment["REDOUBT_PASSWORD"] = password
            self.environment["REDISCLI_AUTH"] = password
        world.background(self)

    def tool(self, *words, check=True, timeout=120):
        done = subprocess.run(
            [redoubt_binary()] + [str(word) for word in words], capture_output=True, text=True, timeout=timeout,
            env=self.environment, stdin=subprocess.DEVNULL,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def on_dir(self, name, *words, **options):
        return self.tool(name, "--dir", self.dir, *words, **options)

    def up(self, *words):
        return self.on_dir("up", "--detach", "--base-port", self.base, "--sentinel-port", free_port(), *words).stdout

    def status(self):
        return json.loads(self.on_dir("status", "--json", check=False).stdout)

    def until(self, what, check, timeout=60):
        return wait_until(lambda: (lambda status: status if check(status) else None)(self.status()), what, timeout, 0.1)

    def node(self, name, status=None):
        status = status or self.status()
        return next(m for m in status["nodes"] + status["sentinels"] if m["name"] == name)

    def close(self):
        self.on_dir("down", check=False)


def pids(status):
    return [member["pid"] for member in status["nodes"] + status["sentinels"] if member["pid"]]


def running(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_tour(world):
    """Six nodes from one command; the master is killed, a replica takes over, the old one comes back as a replica."""
    password = "tour-password"
    up = Up(world, password)
    text = up.up("--down-after", "1000")
    assert re.search(r"^ready: master node-1 at 127\.0\.0\.1:\d+", text, re.M)
    assert "redis-cli -p" in text and "python3 -c" in text
    status = up.status()
    assert status["ready"] and status["master"] == "node-1" and len(pids(status)) == 6
    assert [len(status["nodes"]), len(status["sentinels"])] == [3, 3]

    # Through tools that nobody here wrote.
    master_port = up.node("node-1", status)["port"]
    cli = subprocess.run(
        ["redis-cli", "-p", str(master_port), "set", "greeting", "hello"], capture_output=True, text=True, env=up.environment,
    )
    assert cli.stdout.strip() == "OK"
    assert redis.Redis(port=master_port, password=password).wait(2, 10_000) == 2
    python = next(line for line in text.splitlines() if line.strip().startswith("python3 -c"))
    assert python.strip()

    assert "killed node-1 (the master)" in up.on_dir("kill", "master").stdout
    status = up.until("a new master", lambda s: s["master"] not in (None, "node-1") and len(pids(s)) == 5)
    new = up.node(status["master"], status)
    for sentinel in status["sentinels"]:
        client = redis.Redis(port=sentinel["port"], password=password, decode_responses=True)
        wait_until(
            lambda: client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", status["master_name"])
            == ["127.0.0.1", str(new["port"])], "every sentinel names the new master",
        )
    assert redis.Redis(port=new["port"], password=password).get("greeting") == b"hello"
    own = up.tool("cli", "-p", new["port"], "get", "greeting")
    assert own.stdout.strip().strip('"') == "hello"

    assert "node-1 answers" in up.on_dir("start", "node-1").stdout
    status = up.until("the return as a replica", lambda s: s["ready"] and up.node("node-1", s)["role"] == "replica", 90)
    assert up.node("node-1", status)["follows"] == status["master"]

    # Stopped and resumed, it is a replica too.
    paused = status["master"]
    up.on_dir("pause", "master")
    status = up.until("a third master", lambda s: s["master"] not in (None, paused), 90)
    up.on_dir("resume", paused)
    up.until("the paused one follows", lambda s: s["ready"] and up.node(paused, s)["role"] == "replica", 90)

    # A sentinel too may die and return.
    up.on_dir("kill", "sentinel-2")
    up.until("a dead sentinel is seen", lambda s: up.node("sentinel-2", s)["state"] == "killed")
    up.on_dir("start", "sentinel-2")
    status = up.until("all is well", lambda s: s["ready"])
    table = up.on_dir("status").stdout
    assert f"master: {status['master']} at " in table

    # Down, and up again with the data.
    before = pids(status)
    up.on_dir("down")
    wait_until(lambda: not any(running(pid) for pid in before), "all processes are gone")
    assert up.status()["running"] is False
    up.on_dir("up", "--detach")
    status = up.status()
    master = up.node(status["master"], status)
    assert redis.Redis(port=master["port"], password=password).get("greeting") == b"hello"
    for path in up.dir.rglob("*"):
        if path.is_file() and password.encode() in path.read_bytes():
            assert path.suffix == ".conf" and path.stat().st_mode & 0o077 == 0, path


def test_taken_ports_are_passed_over(world):
    up = Up(world)

    with socket.create_server(("127.0.0.1", up.base)):
        text = up.up("--replicas", "1", "--sentinels", "1")
    ports = [node["port"] for node in up.status()["nodes"]]
    assert up.base not in ports
    assert str(up.base) in text, "what was taken is said"


def test_foreground_prints_lines_and_ends_cleanly(world):
    up = Up(world)
    process = subprocess.Popen(
        [redoubt_binary(), "up", "--dir", str(up.dir), "--base-port", str(up.base), "--sentinel-port", str(free_port()),
         "--replicas", "1", "--sentinels", "1"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=up.environment,
    )
    try:
        lines = []
        deadline = time.monotonic() + 60
        while not lines or not lines[-1].startswith("ready:"):
            line = process.stdout.readline()
            assert line and time.monotonic() < deadline, lines
            lines.append(line)
        before = pids(up.status())
        assert len(before) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        wait_until(lambda: not any(running(pid) for pid in before), "all processes are gone")
    finally:
        process.kill()
        process.wait()


def test_nothing_outlives_a_killed_up(world):
    up = Up(world)
    up.up("--replicas", "1", "--sentinels", "1")
    status = up.status()
    os.kill(status["pid"], signal.SIGKILL)
    wait_until(lambda: not any(running(pid) for pid in pids(status)), "all processes are gone")


def test_mistakes_are_explained(world):
    up = Up(world)
    assert up.on_dir("kill", "master", check=False).returncode == 1
    up.up("--replicas", "1", "--sentinels", "1")
    failed = up.on_dir("kill", "node-9", check=False)
    assert failed.returncode == 1 and "node-1" in failed.stderr
    assert up.on_dir("up", "--detach", check=False).returncode == 1
    # Other than loopback needs a password.
    refused = Up(world)
    refused.dir = world.dir / "other"
    assert refused.on_dir("up", "--detach", "--bind", "0.0.0.0", check=False).returncode != 0
