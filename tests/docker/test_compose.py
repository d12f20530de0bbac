"""The examples, step by step as their READMEs and the tutorials have it, with a real Docker engine.

`cargo xtask e2e docker` starts this: DOCKER_HOST names the engine, REDOUBT_IMAGE the image, COMPOSE the tool.
"""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGE = os.environ["REDOUBT_IMAGE"]
COMPOSE = os.environ.get("COMPOSE", "docker-compose").split()
PATIENCE = 60


def run(*words, check=True, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=5 * PATIENCE, **options)
    assert not check or done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def docker(*words, check=True):
    return run("docker", *words, check=check)


def wait_until(check, what, timeout=PATIENCE):
    deadline = time.monotonic() + timeout
    while True:
        last = check()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {last!r})")
        time.sleep(0.1)


class Stack:
    """One compose file that is up."""

    def __init__(self, folder, project, password=None):
        self.folder, self.project, self.password = folder, project, password

    def compose(self, *words):
        return run(*COMPOSE, "-p", self.project, *words, cwd=self.folder)

    def container(self, service):
        return self.compose("ps", "-q", service).split()[-1]

    def cli(self, container, *words, port=6379):
        login = ["-a", self.password, "--no-auth-warning"] if self.password and port == 6379 else []
        return docker("exec", container, "redis-cli", "-p", str(port), *login, *words, check=False).strip()

    def info(self, container, section="replication"):
        lines = self.cli(container, "info", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def sentinel(self, container, *words):
        return self.cli(container, "sentinel", *words, port=26379).splitlines()

    def master_of(self, sentinel, group):
        """The IP that a sentinel names."""
        reply = self.sentinel(sentinel, "get-master-addr-by-name", group)
        return reply[0] if len(reply) == 2 else None

    def fields(self, sentinel, *words):
        reply = self.sentinel(sentinel, *words)
        return dict(zip(reply[::2], reply[1::2]))

    def replicas(self, sentinel, group):
        """Name, address and flags of each replica that a sentinel knows."""
        found, words = [], self.sentinel(sentinel, "replicas", group)
        for at, word in enumerate(words):
            if word == "name" and at % 2 == 0:
                found.append({"name": words[at + 1]})
            elif at % 2 == 0 and found:
                found[-1][word] = words[at + 1]
        return found


def ip_of(container):
    text = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", container)
    return text.split()[0] if text.split() else None


def example(name, tmp_path, project, password=None):
    folder = tmp_path / name
    shutil.copytree(ROOT / "examples" / name, folder)
    file = folder / "docker-compose.yml"
    # Host ports of the example may be taken here; where they are announced, too.
    text, ports = file.read_text(), {}
    for old in re.findall(r'"(?:127\.0\.0\.1:)?(\d+):\d+"', text):
        ports[old] = str(free_port())
    text = re.sub(r'"(127\.0\.0\.1:)?(\d+):(\d+)"', lambda found: f'"{found[1] or ""}{ports[found[2]]}:{found[3]}"', text)
    text = re.sub(r"address 127\.0\.0\.1:(\d+)", lambda found: f"address 127.0.0.1:{ports[found[1]]}", text)
    file.write_text(text)
    stack = Stack(folder, project, password)
    stack.ports = {int(old): int(new) for old, new in ports.items()}
    return stack


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SENTINELS = ["sentinel-1", "sentinel-2", "sentinel-3"]
NODES = ["redis-master", "redis-replica-1", "redis-replica-2"]


@pytest.fixture
def tutorial(tmp_path):
    stack = example("compose-sentinel", tmp_path, f"tutorial{os.getpid()}", "masterpass")
    # A planned switch is a test of its own; here the sentinels have to find out.
    if "shutdown-handover" in (ROOT / "docs" / "configuration.md").read_text():
        file = stack.folder / "docker-compose.yml"
        file.write_text(file.read_text().replace("redis-server ", "redis-server --shutdown-handover no "))
    stack.compose("up", "-d")
    yield stack
    stack.compose("down", "-v")


def logs(container, mark=0):
    return docker("logs", container)[mark:]


def settled(stack, master_ip, replicas=2):
    """All sentinels name this master, know each other and that many replicas which are up."""
    def check():
        for sentinel in SENTINELS:
            known = stack.replicas(sentinel, "mymaster")
            up = [r for r in known if r.get("flags") == "slave" and r.get("master-link-status") == "ok"]
            others = stack.fields(sentinel, "master", "mymaster").get("num-other-sentinels")
            if stack.master_of(sentinel, "mymaster") != master_ip or others != "2":
                return False
            if len(known) != replicas or len(up) != replicas:
                return False
        return True
    wait_until(check, f"everybody agrees on {master_ip}")


def switched(stack, marks, old_ip):
    """The sequence of a failover in the logs; returns the new master's IP."""
    for sentinel in SENTINELS:
        wait_until(
            lambda: "+switch-master mymaster" in logs(sentinel, marks[sentinel])
            or stack.master_of(sentinel, "mymaster") != old_ip, f"{sentinel} has switched",
        )
    new_ip = wait_until(lambda: agreed(stack, old_ip), "all sentinels name the same new master")
    text = {sentinel: logs(sentinel, marks[sentinel]) for sentinel in SENTINELS}
    leaders = [s for s in SENTINELS if "+elected-leader master mymaster" in text[s]]
    assert leaders, text
    leader = text[leaders[-1]]
    wanted = [
        r"\+sdown master mymaster", r"\+odown master mymaster .* #quorum [23]/2", r"\+new-epoch \d+",
        r"\+try-failover", r"\+vote-for-leader \w{40} \d+", r"\w{40} voted for \w{40} \d+", r"\+elected-leader",
        r"\+failover-state-select-slave", r"\+selected-slave", r"\+failover-state-send-slaveof-noone",
        r"\+promoted-slave", r"\+failover-end", r"\+switch-master mymaster",
    ]
    place = 0
    for pattern in wanted:
        found = re.search(pattern, leader[place:])
        assert found, f"{pattern} is missing, or out of order:\n{leader}"
        place += found.start()
    for sentinel in SENTINELS:
        assert re.search(r"\+vote-for-leader|\+config-update-from", text[sentinel]), text[sentinel]
        assert re.search(rf"\+switch-master mymaster {re.escape(old_ip)} 6379 {re.escape(new_ip)} 6379", text[sentinel])
    return new_ip


def agreed(stack, old_ip):
    named = {stack.master_of(sentinel, "mymaster") for sentinel in SENTINELS}
    only = named.pop() if len(named) == 1 else None
    return only if only and only != old_ip else None


def test_the_sentinel_tutorial(tutorial):
    """stop, look, start; kill, look, start: the rotation of the tutorial."""
    stack = tutorial
    first = ip_of("redis-master")
    settled(stack, first)
    assert (stack.folder / "sentinel.conf").read_text() == (ROOT / "examples/compose-sentinel/sentinel.conf").read_text() \
        or "sentinel myid" in (stack.folder / "sentinel.conf").read_text()
    for sentinel in SENTINELS:
        assert "what follows the value is taken as a comment" in logs(sentinel)
        assert "slaves=2,sentinels=3" in stack.cli(sentinel, "info", "sentinel", port=26379)
    assert stack.cli("redis-master", "set", "key", "value") == "OK"
    wait_until(lambda: stack.cli("redis-replica-2", "get", "key") == "value", "it is replicated")
    wait_until(lambda: all(health(node) == "healthy" for node in NODES + SENTINELS), "all are healthy")

    # docker stop, with Redis's way of finding out.
    for sentinel in SENTINELS:
        stack.sentinel(sentinel, "set", "mymaster", "crash-grace", "0")
    marks = {sentinel: len(logs(sentinel)) for sentinel in SENTINELS}
    docker("stop", "redis-master")
    second = switched(stack, marks, first)
    new_master = next(node for node in NODES[1:] if ip_of(node) == second)
    assert stack.info(new_master)["role"] == "master"
    assert stack.cli(new_master, "get", "key") == "value"
    for sentinel in SENTINELS:
        assert all(not r["name"].startswith(":") and r["ip"] for r in stack.replicas(sentinel, "mymaster"))

    # docker start: the old master is a replica, and listed once.
    docker("start", "redis-master")
    wait_until(lambda: stack.info("redis-master").get("role") == "slave", "the old master is a replica")
    settled(stack, second)

    # docker kill, with the default rule; then the third one.
    for sentinel in SENTINELS:
        stack.sentinel(sentinel, "set", "mymaster", "crash-grace", "100")
    marks = {sentinel: len(logs(sentinel)) for sentinel in SENTINELS}
    docker("kill", new_master)
    third = switched(stack, marks, second)
    docker("start", new_master)
    wait_until(lambda: stack.info(new_master).get("role") == "slave", "rotation")
    settled(stack, third)
    assert stack.cli(new_master, "get", "key") == "value"

    # A sentinel keeps its identity and what it has learnt.
    myid = stack.sentinel("sentinel-2", "myid")
    docker("restart", "sentinel-2")
    wait_until(lambda: stack.sentinel("sentinel-2", "myid") == myid, "it is the same sentinel")
    settled(stack, third)


def health(container):
    return json.loads(docker("inspect", container))[0]["State"]["Health"]["Status"]


# --- the second example


@pytest.fixture
def django(tmp_path):
    stack = example("compose-django", tmp_path, f"django{os.getpid()}")
    yield stack
    stack.compose("down", "-v")


REDIS_SERVICES = ["redis", "redis-replica", "redis-sentinel-1", "redis-sentinel-2", "redis-sentinel-3"]


def test_one_volume_for_all_services(django):
    """Down and up again in random order: every node finds its own data (the Python services are left out)."""
    stack = django
    places, ids = {}, {}
    shuffle = random.Random(1).shuffle
    for number in range(2):
        order = list(REDIS_SERVICES)
        shuffle(order)
        for service in order:
            stack.compose("up", "-d", "--no-deps", service)
        nodes = {service: stack.container(service) for service in REDIS_SERVICES}
        wait_until(lambda: stack.info(nodes["redis-replica"]).get("master_link_status") == "up", "the replica follows")
        for service in ("redis", "redis-replica"):
            place = stack.cli(nodes[service], "config", "get", "dir")
            assert places.setdefault(service, place) == place, (number, service)
        for service in REDIS_SERVICES[2:]:
            myid = stack.sentinel(nodes[service], "myid")
            assert len(myid[0]) == 40 and ids.setdefault(service, myid) == myid, (number, service)
        assert stack.cli(nodes["redis"], "get", "round") == (str(number - 1) if number else "")
        assert stack.cli(nodes["redis"], "set", "round", str(number)) == "OK"
        wait_until(
            lambda: all(
                stack.fields(nodes[s], "master", "redis").get("num-other-sentinels") == "2" for s in REDIS_SERVICES[2:]
            ), "the sentinels know each other",
        )
        # The tutorial's URLs name the host's ports, inside the network.
        for host, port in (("redis-sentinel-2", "26380"), ("redis-sentinel-3", "26381"), ("redis-sentinel-2", "26379")):
            assert docker("exec", nodes["redis"], "redis-cli", "-h", host, "-p", port, "ping").strip() == "PONG"
        # Sentinels first: nobody must see the others go.
        stack.compose("stop", *REDIS_SERVICES[2:])
        stack.compose("stop", *REDIS_SERVICES[:2])
        stack.compose("down")
    assert len(set(places.values())) == 2


# --- clients on the host and in a container


def test_a_client_on_the_host_and_one_in_a_container(django):
    """Both ask the sentinels and write to the master, through two failovers, over published ports and the bridge."""
    from redis.sentinel import Sentinel

    stack = django
    stack.compose("up", "-d", *REDIS_SERVICES)
    nodes = {service: stack.container(service) for service in REDIS_SERVICES}
    published = {"redis": stack.ports[36379], "redis-replica": stack.ports[36380]}
    sentinels = [("127.0.0.1", stack.ports[port]) for port in (26379, 26380, 26381)]
    host = Sentinel(sentinels, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)
    client = host.master_for("redis")

    def asked_inside(service):
        """What a client in another container is told by redis-sentinel-1."""
        words = ("redis-cli", "-h", "redis-sentinel-1", "sentinel", "get-master-addr-by-name", "redis")
        return docker("exec", nodes[service], *words[:3], "-p", "26379", *words[3:], check=False).split()

    def everybody_is_known():
        for sentinel, port in sentinels:
            told = Sentinel([(sentinel, port)], socket_timeout=2, decode_responses=True)
            known = {told.discover_master("redis")} | set(told.discover_slaves("redis"))
            if known != {("127.0.0.1", port) for port in published.values()}:
                return False
            peers = told.sentinels[0].sentinel_sentinels("redis")
            if {(peer["ip"], peer["port"]) for peer in peers} != set(sentinels) - {(sentinel, port)}:
                return False
        return True

    def quietly(act):
        """None while a switch goes on."""
        import redis
        try:
            return act()
        except redis.RedisError:
            return None

    wait_until(lambda: quietly(everybody_is_known), "the host is told the published ports")
    assert client.set("from the host", "before")
    for master, other in (("redis", "redis-replica"), ("redis-replica", "redis")):
        assert host.discover_master("redis") == ("127.0.0.1", published[master])
        client_inside = "redis-sentinel-3"
        ip, port = asked_inside(client_inside)
        assert (ip, port) == (ip_of(nodes[master]), "6379")
        assert docker("exec", nodes[client_inside], "redis-cli", "-h", ip, "set", "inside", master).strip() == "OK"
        wait_until(lambda: stack.info(nodes[other]).get("master_link_status") == "up", "the other one follows")
        with socket.create_connection(sentinels[1], 10) as listener:
            listener.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n")
            docker("kill", nodes[master])
            wait_until(lambda: quietly(lambda: client.set("from the host", master)), "the host writes again")
            assert host.discover_master("redis") == ("127.0.0.1", published[other])
            wait_until(lambda: asked_inside(client_inside) == [ip_of(nodes[other]), "6379"], "so does the container")
            new_ip, _ = asked_inside(client_inside)
            assert docker("exec", nodes[client_inside], "redis-cli", "-h", new_ip, "get", "from the host").strip() == master
            told = b""
            listener.settimeout(PATIENCE)
            wanted = f"redis 127.0.0.1 {published[master]} 127.0.0.1 {published[other]}".encode()
            while wanted not in told:
                more = listener.recv(4096)
                assert more, told
                told += more
        docker("start", nodes[master])
        wait_until(lambda: stack.info(nodes[master]).get("master_link_status") == "up", "the old master follows")
        wait_until(lambda: quietly(everybody_is_known), "everybody is known outside again")


# --- Django and Celery


CACHE = Path(os.environ.get("DOCKER_CACHE", "/tmp/redoubt-docker-cache"))
PROJECT = ROOT / "examples" / "compose-django" / "project"


def copy_with_libraries(files, root):
    """Copies programs and libraries, with the libraries that they need."""
    needed = set()
    for file in files:
        listed = run("ldd", str(file), check=False)
        needed.update(re.findall(r"(?:=> )?(/\S+) \(0x", listed))
    for library in needed:
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def python_root(folder):
    """An archive of this machine's Python with the project's requirements, for no image can be pulled here."""
    requirements = PROJECT / "requirements.txt"
    wanted = requirements.read_text() + sys.version
    archive, stamp = CACHE / "root.tar", CACHE / "root.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return archive
    CACHE.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
        "--target", str(root / "packages"), "-r", str(requirements), "tzdata",
    )
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        library, root / str(library).lstrip("/"), ignore_dangling_symlinks=True,
        ignore=shutil.ignore_patterns("test", "tests", "__pycache__", "site-packages", "dist-packages", "config-*", "idlelib"),
    )
    (root / "tmp").mkdir()
    programs = root / "usr/local/bin"
    programs.mkdir(parents=True)
    (root / str(interpreter).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(interpreter, root / str(interpreter).lstrip("/"))
    (programs / "python").symlink_to(interpreter)
    (programs / "celery").write_text(f"#!{interpreter}\nfrom celery.__main__ import main\nmain()\n")
    (programs / "celery").chmod(0o755)
    copy_with_libraries([interpreter, *root.rglob("*.so"), *root.rglob("*.so.*")], root)
    run("tar", "-cf", str(archive), "-C", str(root), ".")
    stamp.write_text(wanted)
    return archive


def build_python_image(folder, tag):
    shutil.copy(python_root(folder), folder / "root.tar")
    shutil.rmtree(folder / "root", ignore_errors=True)
    shutil.copytree(PROJECT, folder / "app")
    (folder / "Dockerfile").write_text(
        "FROM scratch\nADD root.tar /\nCOPY app /app\nENV PATH=/usr/local/bin:/usr/bin PYTHONPATH=/packages "
        "PYTHONUNBUFFERED=1\nWORKDIR /app\n"
    )
    run("docker", "build", "--quiet", "--tag", tag, ".", cwd=folder, env={**os.environ, "DOCKER_BUILDKIT": "0"})


def test_django_and_celery(django, tmp_path):
    """The three pages of the example before, during and after a switch."""
    stack = django
    tag = f"redoubt-django:{os.getpid()}"
    image = tmp_path / "image"
    image.mkdir()
    build_python_image(image, tag)
    file = stack.folder / "docker-compose.yml"
    text = file.read_text()
    assert "    build: project\n    image: redoubt-django-example\n" in text
    file.write_text(text.replace("    build: project\n    image: redoubt-django-example\n", f"    image: {tag}\n"))
    try:
        stack.compose("up", "-d")
        web = re.search(r'"(\d+):8000"', file.read_text())[1]

        def page(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{web}/{path}", timeout=40) as reply:
                    return json.load(reply)
            except OSError:
                return None

        wait_until(lambda: page("counter"), "the site works")
        first = page("counter")
        assert page("cached")["visits"] >= 1
        assert page("task") == {"sum": 5}
        wait_until(
            lambda: stack.fields(stack.container("redis-sentinel-1"), "master", "redis").get("num-slaves") == "1",
            "the replica is known",
        )
        docker("stop", stack.container("redis"))
        after = wait_until(lambda: other(page("counter"), first["master"]), "the site counts on at the new master")
        assert after["count"] > first["count"], (first, after)
        wait_until(lambda: page("cached"), "the cache works")
        wait_until(lambda: page("task") == {"sum": 5}, "the worker works")
        docker("start", stack.container("redis"))
        wait_until(lambda: stack.info(stack.container("redis")).get("role") == "slave", "the old master is a replica")
        assert page("task") == {"sum": 5}
    except AssertionError:
        print(stack.compose("logs", "--tail", "40"))
        raise
    finally:
        stack.compose("down", "-v")
        docker("image", "rm", "-f", tag, check=False)


def other(counted, master):
    return counted if counted and counted["master"] != master else None


# --- the image


def test_protected_mode_in_a_network(tmp_path):
    """Without a password, and without ALLOW_EMPTY_PASSWORD, the refusal names both."""
    name = f"redoubt-alone-{os.getpid()}"
    docker("run", "-d", "--name", name, IMAGE)
    try:
        address = wait_until(lambda: ip_of(name), "it has an address")
        wait_until(lambda: "Ready to accept" in logs(name), "it runs")
        said = docker("run", "--rm", IMAGE, "redis-cli", "-h", address, "ping", check=False)
        assert "REDIS_PASSWORD" in said and "ALLOW_EMPTY_PASSWORD=yes" in said, said
        assert "ALLOW_EMPTY_PASSWORD=yes" in logs(name)
        assert json.loads(docker("inspect", IMAGE))[0]["Config"]["User"] == "999:999"
    finally:
        docker("rm", "-f", "-v", name)


def test_a_volume_of_the_common_image_opens(tmp_path):
    """Files of user 999 with mode 0600, in a folder of that user."""
    data = tmp_path / "data"
    data.mkdir()
    port = free_port()
    server = shutil.which("redis-server")
    assert server, "redis-server is not installed"
    old = subprocess.Popen([server, "--port", str(port), "--dir", str(data)], stdout=subprocess.DEVNULL)
    cli = ["redis-cli", "-p", str(port)]
    try:
        wait_until(lambda: run(*cli, "ping", check=False).strip() == "PONG", "the old server answers")
        run(*cli, "set", "old", "data")
        run(*cli, "save")
    finally:
        old.terminate()
        old.wait(PATIENCE)
    os.chmod(data / "dump.rdb", 0o600)
    for path in (data, data / "dump.rdb"):
        os.chown(path, 999, 999)
    # The folder of a test run is root's alone.
    volume = f"redoubt-old-{os.getpid()}"
    name = f"redoubt-volume-{os.getpid()}"
    docker("volume", "create", volume)
    try:
        place = json.loads(docker("volume", "inspect", volume))[0]["Mountpoint"]
        run("cp", "-a", f"{data}/.", place)
        docker("run", "-d", "--name", name, "-e", "REDIS_PASSWORD=x", "-v", f"{volume}:/data", IMAGE)
        wait_until(
            lambda: docker("exec", name, "redis-cli", "-a", "x", "--no-auth-warning", "get", "old", check=False).strip()
            == "data", "the old data is there",
        )
    finally:
        docker("rm", "-f", name, check=False)
        docker("volume", "rm", "-f", volume, check=False)
