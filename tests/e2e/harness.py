"""Starts and torments servers for the end-to-end tests.

Two kinds of program stand behind every test: `redis` (Debian's redis-server and redis-sentinel) and `redoubt` (the same
names, links to the binary under test). A test that says PRODUCT means the program under test; with
E2E_AGAINST=redis that is real Redis too, which proves the tests themselves.

Everything lives in one World: temporary folder, processes, proxies, network namespaces. Leaving the World ends all of it.
"""

import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from network import Network, Proxy
from wire import PATIENCE, Raw, RespError, encode, text

__all__ = ["PATIENCE", "Raw", "RespError", "encode", "text"]

AGAINST = os.environ.get("E2E_AGAINST", "redoubt")
PRODUCT = "redis" if AGAINST == "redis" else "redoubt"
ROOT = Path(__file__).resolve().parents[2]
RUNS = Path(os.environ.get("E2E_RUNS", ROOT / "target" / "e2e-runs"))


def program(kind, role):
    """The words that start a program: kind redis or redoubt, role server, sentinel, cli or benchmark."""
    name = {"server": "redis-server", "sentinel": "redis-sentinel"}.get(role, f"redis-{role}")
    if kind == "redis":
        path = shutil.which(name)
        assert path, f"{name} is not installed"
        return [path]
    if role in ("server", "sentinel"):
        links = os.environ.get("REDOUBT_LINKS")
        assert links, "REDOUBT_LINKS is not set: run the tests with `cargo xtask e2e`"
        return [str(Path(links) / name)]
    raise AssertionError(f"no {role} of kind {kind}")


def redoubt_binary():
    """The binary under test itself, for its own subcommands."""
    path = os.environ.get("REDOUBT_BIN")
    assert path and Path(path).exists(), "REDOUBT_BIN does not name a binary"
    return path


class Timeout(AssertionError):
    """Something that should have happened has not."""


def wait_until(check, what, timeout=PATIENCE, every=0.02):
    """Calls check until it returns something true, and returns that. Redis errors count as 'not yet'."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            result = check()
            if result:
                return result
            last = result
        except (redis.RedisError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise Timeout(f"not within {timeout} s: {what} (last: {last!r})")
        time.sleep(every)


_ports_given = set()


def _port_range():
    """Where our ports are, below the range that outgoing connections use. Tests that run side by side have ranges of
    their own: a port is free only until somebody else is given it too."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = 20000 + int(worker) % 4 * 2500
    return first, first + 2499


def free_port():
    """A port that nobody listens on."""
    for _ in range(2000):
        port = random.randint(*_port_range())
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise AssertionError("no free port")


def _die_with_parent():
    # PR_SET_PDEATHSIG: a server must not outlive a killed test run.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """One server process with a folder, a configuration file and a log."""

    def __init__(self, world, kind, role, name, lines, host=None, args=()):
        self.world, self.kind, self.role, self.name = world, kind, role, name
        self.host = host
        self.ip = host.ip if host else "127.0.0.1"
        self.port = free_port()
        self.dir = world.dir / name
        self.dir.mkdir()
        self.log_path = self.dir / "log"
        self.config_path = self.dir / f"{role}.conf"
        self.args = list(args)
        self.password = None
        self.process = None
        self.write_config(lines)

    def write_config(self, lines):
        head = [f"port {self.port}", f"dir {self.dir}", "protected-mode no"]
        if self.host:
            head.append(f"bind {self.ip} 127.0.0.1")
        else:
            head.append("bind 127.0.0.1")
        self.config_path.write_text("\n".join(head + list(lines)) + "\n")

    def config_text(self):
        return self.config_path.read_text()

    # --- life

    def start(self, wait=True):
        assert self.process is None, f"{self.name} runs already"
        words = program(self.kind, self.role) + [str(self.config_path)] + self.args
        if self.host:
            words = ["ip", "netns", "exec", self.host.namespace] + words
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            words, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=_die_with_parent,
        )
        log.close()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=PATIENCE):
        def ready():
            assert self.process.poll() is None, f"{self.name} ended at start:\n{self.log()[-3000:]}"
            try:
                reply = self.raw(timeout=2).command("PING")
            except OSError:
                return False
            # A server that asks for a password or waits for its master is up; one that loads is not yet.
            return isinstance(reply, bytes) or (isinstance(reply, RespError) and not reply.startswith("LOADING"))
        wait_until(ready, f"{self.name} answers")

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def kill9(self):
        self.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE):
        """Asks it to end; returns its exit code."""
        self.send_signal(number)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def pause(self):
        self.send_signal(signal.SIGSTOP)
        # The kernel stops one thread after the other, each when it gets a core.
        tasks = Path(f"/proc/{self.pid}/task")
        stopped = lambda task: (task / "stat").read_text().rpartition(")")[2].split()[0] in "Tt"
        wait_until(lambda: all(stopped(task) for task in tasks.iterdir()), "every thread stands still")

    def resume(self):
        self.send_signal(signal.SIGCONT)

    def restart(self):
        if self.process is not None:
            self.kill9()
        return self.start()

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    # --- what it says

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_mark(self):
        """A position in the log, for wait_log and log_since."""
        return len(self.log())

    def log_since(self, mark):
        return self.log()[mark:]

    def wait_log(self, pattern, since=0, timeout=PATIENCE, every=0.02):
        """Waits until a line matches the regular expression; returns the match."""
        return wait_until(
            lambda: re.search(pattern, self.log()[since:], re.M),
            f"{self.name} logs {pattern!r}; log:\n{self.log()[-2000:]}", timeout, every,
        )

    def rss(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024

    # --- talking to it

    def raw(self, timeout=PATIENCE, proto=2, password=None):
        """A plain connection that shows replies as they come."""
        connection = Raw(self.ip, self.port, timeout)
        password = password or self.password
        if password:
            reply = connection.command("AUTH", password)
            assert reply == b"OK", reply
        if proto == 3:
            connection.command("HELLO", "3")
        return connection

    def client(self, **options):
        """A redis-py client, with the node's password."""
        settings = dict(
            host=self.ip, port=self.port, password=self.password, socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE, decode_responses=True,
        )
        settings.update(options)
        client = redis.Redis(**settings)
        self.world.clients.append(client)
        return client

    def cmd(self, *args, timeout=PATIENCE):
        """One command over a new connection; error replies are raised."""
        connection = self.raw(timeout)
        try:
            reply = connection.command(*args)
        finally:
            connection.close()
        if isinstance(reply, RespError):
            raise redis.ResponseError(str(reply))
        return text(reply)

    def info(self, section):
        """The fields of an INFO section, all as text."""
        lines = self.cmd("INFO", section).split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def digest(self):
        return self.cmd("DEBUG", "DIGEST")


class Server(Process):
    """A data node."""

    def role_name(self):
        return self.cmd("ROLE")[0]

    def offset(self):
        fields = self.info("replication")
        return int(fields["slave_repl_offset" if fields["role"] == "slave" else "master_repl_offset"])

    def wait_link_up(self, timeout=PATIENCE):
        wait_until(
            lambda: self.info("replication").get("master_link_status") == "up",
            f"{self.name}: link to its master is up", timeout,
        )

    def wait_role(self, role, timeout=PATIENCE):
        wait_until(lambda: self.role_name() == role, f"{self.name} is {role}", timeout)

    def wait_replica_of(self, master, timeout=PATIENCE):
        def follows():
            fields = self.info("replication")
            return (
                fields["role"] == "slave"
                and fields["master_port"] == str(master.port)
                and fields["master_link_status"] == "up"
            )
        wait_until(follows, f"{self.name} follows {master.name}", timeout)


class SentinelNode(Process):
    """A sentinel."""

    def master_addr(self, group="mymaster"):
        reply = self.cmd("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group)
        return (reply[0], int(reply[1])) if reply else None

    def master_state(self, group="mymaster"):
        reply = self.cmd("SENTINEL", "MASTER", group)
        return dict(zip(reply[::2], reply[1::2]))

    def events(self, since=0):
        """The event lines of the log, as (event, payload)."""
        found = re.findall(r"^\d+:X .{20,30} [#*.-] ([+-][a-z-]+)(?: (.*))?$", self.log()[since:], re.M)
        return [(name, payload) for name, payload in found]

    def event_names(self, since=0):
        return [name for name, _ in self.events(since)]

    def current_epoch(self):
        """The epoch on disk; 0 as long as none was written."""
        found = re.search(r"^sentinel current-epoch (\d+)", self.config_text(), re.M)
        return int(found.group(1)) if found else 0


class World:
    """Everything that one test starts."""

    def __init__(self, name):
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80]
        self.dir = RUNS / f"{safe}-{os.getpid()}"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.processes, self.clients, self.others = [], [], []
        self._network = None

    def _add(self, node):
        self.processes.append(node)
        return node

    def server(self, kind, *lines, name=None, host=None, start=True, args=(), password=None):
        """A data node with these configuration lines."""
        name = name or f"{kind}-{len(self.processes)}"
        base = ['save ""', "enable-debug-command yes", "repl-diskless-sync-delay 0"]
        node = self._add(Server(self, kind, "server", name, base + list(lines), host, args))
        node.password = password
        return node.start() if start else node

    def sentinel(self, kind, *lines, name=None, host=None, start=True, password=None):
        name = name or f"sentinel-{kind}-{len(self.processes)}"
        node = self._add(SentinelNode(self, kind, "sentinel", name, lines, host))
        node.password = password
        return node.start() if start else node

    def proxy(self, target_port):
        proxy = Proxy(target_port)
        self.others.append(proxy)
        return proxy

    @property
    def network(self):
        if self._network is None:
            self._network = Network()
        return self._network

    def group(self, data, sentinels, **options):
        """A master, replicas and sentinels, all up and knowing each other."""
        return Group(self, data, sentinels, **options)

    def background(self, thing):
        """Something with close() that ends with the world."""
        self.others.append(thing)
        return thing

    def logs(self):
        parts = []
        for node in self.processes:
            parts.append(f"===== {node.name} (port {node.port}, {node.kind}) {node.dir}\n{node.log()[-6000:]}")
        return "\n".join(parts)

    def close(self, keep):
        for other in reversed(self.others):
            other.close()
        for client in self.clients:
            try:
                client.close()
            except (redis.RedisError, OSError):
                pass
        for node in self.processes:
            node.end()
        if self._network:
            self._network.close()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class Group:
    """One master with replicas under the eyes of sentinels."""

    def __init__(self, world, data, sentinels, quorum=2, down_after=1000, failover_timeout=10000,
                 password=None, hosts=None, sentinel_lines=(), data_lines=(), name="mymaster", fresh=False):
        self.world, self.name, self.quorum, self.password = world, name, quorum, password
        self.down_after, self.failover_timeout = down_after, failover_timeout
        auth = [f"requirepass {password}", f"masterauth {password}"] if password else []
        self.data = []
        hosts = hosts or [None] * (len(data) + len(sentinels))
        for at, kind in enumerate(data):
            node = world.server(
                kind, *auth, *data_lines, name=f"data{at}-{kind}", host=hosts[at], password=password,
                start=False,
            )
            if at:
                first = self.data[0]
                node.write_config(
                    ['save ""', "enable-debug-command yes", "repl-diskless-sync-delay 0", *auth, *data_lines,
                     f"replicaof {first.ip} {first.port}"]
                )
            self.data.append(node)
            node.start()
        for node in self.data[1:]:
            node.wait_link_up()
        self.sentinels = []
        for at, kind in enumerate(sentinels):
            lines = [
                f"sentinel monitor {name} {self.data[0].ip} {self.data[0].port} {quorum}",
                f"sentinel down-after-milliseconds {name} {down_after}",
                f"sentinel failover-timeout {name} {failover_timeout}",
                f"sentinel parallel-syncs {name} 1",
            ]
            if password:
                lines.append(f"sentinel auth-pass {name} {password}")
            if not fresh:
                # A sentinel that has run before: one of the product that has lost its state keeps out of failovers at first.
                lines.append(f"sentinel myid {random.randbytes(20).hex()}")
            self.sentinels.append(world.sentinel(
                kind, *lines, *sentinel_lines, name=f"sentinel{at}-{kind}", host=hosts[len(data) + at],
            ))
        self.wait_settled()

    def wait_settled(self, timeout=PATIENCE):
        """Every sentinel knows every replica and every other sentinel, and finds the master healthy."""
        for sentinel in self.sentinels:
            if sentinel.alive():
                wait_until(lambda: self._knows_all(sentinel), f"{sentinel.name} knows the group", timeout)

    def wait_voting(self):
        """A sentinel that starts without any state takes part in no failover for its first ten seconds."""
        time.sleep(10.5)

    def _knows_all(self, sentinel):
        state = sentinel.master_state(self.name)
        return (
            state["flags"] == "master"
            and int(state["num-slaves"]) >= len(self.data) - 1
            and int(state["num-other-sentinels"]) == len(self.sentinels) - 1
        )

    def by_address(self, address):
        for node in self.data:
            if (node.ip, node.port) == tuple(address):
                return node
        raise AssertionError(f"{address} is none of the nodes")

    def wait_new_master(self, old, timeout=60, sentinels=None):
        """Waits until these sentinels name the same master, another one than `old`; returns it."""
        sentinels = sentinels or [s for s in self.sentinels if s.alive()]

        def agreed():
            addresses = {sentinel.master_addr(self.name) for sentinel in sentinels}
            if len(addresses) == 1 and addresses != {(old.ip, old.port)}:
                return addresses.pop()
            return None

        master = self.by_address(wait_until(agreed, "all sentinels name a new master", timeout, 0.01))
        master.wait_role("master", timeout)
        return master

    def wait_converged(self, timeout=120):
        """Waits until all sentinels name one master, it is one, and every other running node follows it; returns it."""
        def converged():
            addresses = {s.master_addr(self.name) for s in self.sentinels if s.alive()}
            if len(addresses) != 1:
                return None
            master = self.by_address(addresses.pop())
            if not master.alive() or master.role_name() != "master":
                return None
            for node in self.data:
                if node is master or not node.alive():
                    continue
                fields = node.info("replication")
                if fields.get("master_port") != str(master.port) or fields.get("master_link_status") != "up":
                    return None
            return master
        return wait_until(converged, "one master, agreed upon and followed", timeout, 0.05)

    def wait_replicas_follow(self, master, timeout=60):
        for node in self.data:
            if node is not master and node.alive():
                node.wait_replica_of(master, timeout)

    def redis_py(self, **options):
        """redis-py's Sentinel object for this group.

        Its own retries, which wait for seconds at a sentinel that is gone, are off: who uses it here tries again itself.
        """
        sentinel_options = {"socket_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
        return Sentinel(
            [(s.ip, s.port) for s in self.sentinels], sentinel_kwargs=sentinel_options,
            socket_timeout=options.pop("socket_timeout", 1.0), password=self.password,
            decode_responses=True, **options,
        )


class Writer:
    """A client that writes through redis-py's Sentinel and remembers what was acknowledged and when.

    Every key is written once: w:<n> = n. `replicated` holds the keys that WAIT has seen on `copies` replicas.
    """

    def __init__(self, group, rate=200, copies=0, retry=0.05):
        self.group, self.rate, self.copies, self.retry = group, rate, copies, retry
        self.acknowledged, self.replicated, self.failures = [], [], []
        self.next = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        master = self.group.redis_py().master_for(self.group.name, retry=Retry(NoBackoff(), 0))
        while not self.stopping.is_set():
            number = self.next
            self.next += 1
            try:
                master.set(f"w:{number}", number)
                self.acknowledged.append((time.monotonic(), number))
                if self.copies and master.wait(self.copies, 100) >= self.copies:
                    self.replicated.append(number)
                time.sleep(1 / self.rate)
            except (redis.RedisError, OSError) as error:
                self.failures.append((time.monotonic(), repr(error)))
                time.sleep(self.retry)

    def wait_writes(self, count=20, timeout=60):
        """Waits for this many new acknowledged writes."""
        target = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= target, f"{count} more writes; {self.failures[-3:]}", timeout)

    def longest_gap(self, since=0.0):
        """The longest time between two acknowledged writes."""
        times = [at for at, _ in self.acknowledged if at >= since]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def close(self):
        self.stopping.set()
        self.thread.join(20)


def fill_with_everything(client, seed=1, size=400):
    """Keys of every type and encoding, some with a time to live, in two databases."""
    rng = random.Random(seed)
    pipe = client.pipeline(transaction=False)
    for at in range(size):
        pipe.set(f"str:{at}", rng.randbytes(rng.randrange(200)))
        pipe.set(f"int:{at}", rng.randrange(-(10**12), 10**12))
    pipe.set("big", rng.randbytes(200_000))
    pipe.set("huge", bytes(range(256)) * 6000)
    for kind, count in (("small", 10), ("large", 700)):
        pipe.rpush(f"list:{kind}", *[f"item {at}" * (1 + at % 5) for at in range(count)])
        pipe.sadd(f"set:{kind}", *[f"m{at}" for at in range(count)])
        pipe.sadd(f"intset:{kind}", *range(count))
        pipe.hset(f"hash:{kind}", mapping={f"f{at}": f"v{at}" for at in range(count)})
        pipe.zadd(f"zset:{kind}", {f"z{at}": at / 4 for at in range(count)})
    pipe.rpush("list:bulky", *[rng.randbytes(3000) for _ in range(20)])
    pipe.hset("hash:long", mapping={"field": "x" * 100})
    pipe.zadd("zset:odd", {"inf": "inf", "ninf": "-inf", "tenth": 0.1, "third": 1 / 3, "big": 1e17})
    for at in range(0, size, 3):
        pipe.pexpire(f"str:{at}", 100_000_000 + at)
    pipe.execute_command("SELECT", 3)
    pipe.set("in db 3", "yes")
    pipe.hset("h3", "a", "b")
    pipe.execute_command("SELECT", 0)
    pipe.execute()


def same_data(*nodes, timeout=PATIENCE):
    """Waits until all nodes hold the same data, and returns the digest."""
    def same():
        digests = {node.digest() for node in nodes}
        return digests.pop() if len(digests) == 1 else None
    return wait_until(same, f"equal data on {[n.name for n in nodes]}", timeout, 0.1)
