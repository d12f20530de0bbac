"""What the image's entrypoint does, without an engine: variables, shared folders, where a sentinel keeps its state.

`redoubt container` is started as a process; what a container engine would add (namespaces, mounts) is added by unshare where a
test needs it. tests/docker has the same with a real engine.
"""

import os
import random
import re
import shutil
import signal
import subprocess


import pytest

from harness import PATIENCE, ROOT, Raw, _die_with_parent, free_port, program, redoubt_binary, wait_until

pytestmark = pytest.mark.redoubt_only

TUTORIAL = ROOT / "examples" / "compose-sentinel" / "sentinel.conf"


class Container:
    """A process that believes to be a container's first one."""

    def __init__(self, folder, name, words=(), port=None, cwd=None, **variables):
        self.name, self.words, self.port = name, list(words), port
        self.cwd = cwd or folder
        self.log_path = folder / f"{name}.log"
        self.environment = {"PATH": os.environ["PATH"], **variables}
        self.prefix = []
        self.process = None

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.prefix + [redoubt_binary(), "container", *self.words], cwd=self.cwd, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent,
            )
        if wait:
            wait_until(self.answers, f"{self.name} answers; log:\n{self.log()[-2000:]}")
        return self

    def answers(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log()[-2000:]}"
        return self.cmd("PING") is not None

    def cmd(self, *words):
        connection = Raw("127.0.0.1", self.port, PATIENCE)
        try:
            if "REDIS_PASSWORD" in self.environment and "REDIS_MASTER_SET" not in self.environment:
                connection.command("AUTH", self.environment["REDIS_PASSWORD"])
            return connection.command(*words)
        finally:
            connection.close()

    def config(self, name):
        return self.cmd("CONFIG", "GET", name)[1].decode()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self, number=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def fails(self):
        """Starts it; it must end by itself, with an error. Returns what it has said."""
        self.start(wait=False)
        assert self.process.wait(PATIENCE) != 0, self.log()
        self.process = None
        return self.log()


@pytest.fixture
def containers(world):
    """Makes containers in one folder each; they end with the test."""
    made = []

    def make(name, words=(), **variables):
        port = variables.pop("port", None) or free_port()
        folder = variables.pop("folder", world.dir)
        variables.setdefault("REDOUBT_PORT", str(port))
        container = Container(world.dir, name, words, port, folder, **variables)
        made.append(container)
        return container

    yield make
    for container in made:
        container.stop(signal.SIGKILL)


# --- variables


def test_command_line_goes_before_environment_and_environment_before_file(world, containers):
    file = world.dir / "redis.conf"
    file.write_text("maxmemory 1mb\nmaxclients 111\ntimeout 11\n")
    secret = world.dir / "secret"
    secret.write_text("s3 cret\n")
    node = containers(
        "node", ["redis-server", str(file), "--timeout", "33"], REDOUBT_MAXCLIENTS="222", REDOUBT_TIMEOUT="22",
        REDIS_PASSWORD_FILE=str(secret),
    )
    node.start(wait=False)
    wait_until(lambda: Raw("127.0.0.1", node.port, PATIENCE).command("PING"), "it answers")
    assert str(Raw("127.0.0.1", node.port, PATIENCE).command("PING")).startswith("NOAUTH")
    node.environment["REDIS_PASSWORD"] = "s3 cret"
    assert node.config("maxmemory") == str(1 << 20)
    assert node.config("maxclients") == "222"
    assert node.config("timeout") == "33"


def test_a_stray_variable_changes_no_server_that_is_started_otherwise(world):
    port = free_port()
    environment = {**os.environ, "REDIS_PASSWORD": "x", "REDOUBT_MAXCLIENTS": "7", "REDIS_MASTER_SET": "m"}
    process = subprocess.Popen(
        program("redoubt", "server") + ["--port", str(port)], cwd=world.dir, env=environment,
        stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent,
    )
    try:
        reply = wait_until(lambda: Raw("127.0.0.1", port, PATIENCE).command("CONFIG", "GET", "maxclients"), "it answers")
        assert reply == [b"maxclients", b"10000"]
        assert not (world.dir / "redoubt-node").exists()
    finally:
        process.kill()
        process.wait()


def test_the_role_follows_from_the_environment(world, containers):
    master = containers("master", REDIS_REPLICATION_MODE="master", REDIS_PASSWORD="p").start()
    replica = containers(
        "replica", REDIS_REPLICATION_MODE="slave", REDIS_MASTER_HOST="127.0.0.1",
        REDIS_MASTER_PORT_NUMBER=str(master.port), REDIS_PASSWORD="p",
    ).start()
    sentinel = containers(
        "sentinel", REDIS_MASTER_SET="redis", REDIS_MASTER_HOST="127.0.0.1", REDIS_MASTER_PORT_NUMBER=str(master.port),
        REDIS_PASSWORD="p", REDIS_SENTINEL_QUORUM="1", REDIS_SENTINEL_DOWN_AFTER_MILLISECONDS="1000",
    ).start()
    assert replica.cmd("ROLE")[0] == b"slave"
    wait_until(lambda: replica.cmd("ROLE")[3] == b"connected", "the replica follows")
    wait_until(lambda: sentinel.cmd("SENTINEL", "REPLICAS", "redis"), "the sentinel knows the replica")
    master.stop(signal.SIGKILL)
    wait_until(lambda: replica.cmd("ROLE")[0] == b"master", "the replica takes over")
    # Who is master survives a new start, though the environment still names the first one.
    wait_until(
        lambda: sentinel.cmd("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "redis")[1] == str(replica.port).encode(), "switched"
    )
    sentinel.stop()
    sentinel.start()
    assert sentinel.cmd("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "redis")[1] == str(replica.port).encode()


def test_what_is_wrong_with_a_variable_is_said(containers):
    assert "Did you mean REDOUBT_MAXMEMORY?" in containers("a", REDOUBT_MAXMEMROY="1mb").fails()
    said = containers("b", REDOUBT_REQUIREPASS="geheim", REDOUBT_MAXMEMORY="much").fails()
    assert "REDOUBT_MAXMEMORY: argument must be a memory value" in said and "geheim" not in said
    assert "REDIS_REPLICATION_MODE=boss" in containers("c", REDIS_REPLICATION_MODE="boss").fails()


def in_network(container, address):
    """Gives the container a network of its own in which `address` is not the loopback address."""
    script = f'ip link set lo up && ip addr add {address}/32 dev lo && exec "$@"'
    container.prefix = ["unshare", "--net", "sh", "-c", script, "sh"]


def ask_from(container, address, *words):
    """A command from a client with a foreign address, in the container's network."""
    done = subprocess.run(
        ["nsenter", "--net", "-t", str(container.process.pid), *program("redis", "cli"), "-h", address,
         "-p", str(container.port), *words], capture_output=True, text=True, timeout=PATIENCE,
    )
    return done.stdout + done.stderr


def test_protected_mode_names_both_remedies(containers):
    closed = containers("closed", port=6379)
    in_network(closed, "10.99.0.1")
    closed.start(wait=False)
    wait_until(lambda: "Ready to accept" in closed.log(), "it runs")
    assert re.search(r"REDIS_PASSWORD.*ALLOW_EMPTY_PASSWORD=yes", closed.log())
    refusal = ask_from(closed, "10.99.0.1", "ping")
    assert refusal.startswith("DENIED") or "DENIED" in refusal, refusal
    assert "REDIS_PASSWORD" in refusal and "ALLOW_EMPTY_PASSWORD=yes" in refusal
    assert ask_from(closed, "127.0.0.1", "ping") == "PONG\n"
    closed.stop()
    closed.environment["ALLOW_EMPTY_PASSWORD"] = "yes"
    mark = len(closed.log())
    closed.start(wait=False)
    wait_until(lambda: "Ready to accept" in closed.log()[mark:], "it runs")
    assert ask_from(closed, "10.99.0.1", "ping") == "PONG\n"
    assert "ALLOW_EMPTY_PASSWORD" not in closed.log()[mark:]


def test_health(containers):
    node = containers("node").start()

    def check():
        done = subprocess.run([redoubt_binary(), "healthcheck", str(node.port)], capture_output=True, text=True)
        return done.returncode, done.stdout.strip()

    assert check() == (0, "+PONG")
    node.cmd("CONFIG", "SET", "requirepass", "x")
    code, said = check()
    assert code == 0 and said.startswith("-NOAUTH")
    node.stop()
    assert check()[0] == 1


def test_doctor(containers):
    """What is wrong with a group, in words and as an exit code."""
    master = containers("master", ["redis-server"], REDIS_PASSWORD="p").start()
    replica = containers(
        "replica", REDIS_REPLICATION_MODE="slave", REDIS_MASTER_HOST="127.0.0.1",
        REDIS_MASTER_PORT_NUMBER=str(master.port), REDIS_PASSWORD="p",
    ).start()
    sentinel = containers(
        "sentinel", REDIS_MASTER_SET="group", REDIS_MASTER_HOST="127.0.0.1", REDIS_MASTER_PORT_NUMBER=str(master.port),
        REDIS_PASSWORD="p", REDIS_SENTINEL_QUORUM="2",
    ).start()
    wait_until(lambda: replica.cmd("ROLE")[3] == b"connected", "the replica follows")
    wait_until(lambda: sentinel.cmd("SENTINEL", "REPLICAS", "group"), "the sentinel knows the replica")

    def doctor(*words):
        done = subprocess.run([redoubt_binary(), "doctor", *words], capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout

    code, said = doctor(f"127.0.0.1:{sentinel.port}", "-a", "p")
    assert code == 1 and said.startswith("group: 2 data node(s), 1 sentinel(s)"), said
    for words in ("1 sentinel(s): when one is gone", "The quorum is 2, but 1 sentinel(s) answer", "NOQUORUM"):
        assert words in said, said
    assert "can't be reached" not in said and "refuses this password" not in said, said
    assert "refuses this password" in doctor(f"127.0.0.1:{sentinel.port}", "-a", "wrong")[1]
    # Two nodes without sentinels: only advice.
    code, said = doctor(f"127.0.0.1:{replica.port}", "-a", "p")
    assert code == 0 and "2 data node(s), 0 sentinel(s)" in said, said
    replica.cmd("REPLICAOF", "NO", "ONE")
    code, said = doctor(f"127.0.0.1:{replica.port}", f"127.0.0.1:{master.port}", "-a", "p")
    assert code == 1 and "2 nodes say that they are the master" in said, said
    master.stop()
    code, said = doctor(f"127.0.0.1:{master.port}")
    assert code == 2 and "can't be reached from here" in said, said


# --- one volume for all


def test_ten_rounds_on_one_volume(world, containers):
    """Five services, one volume, down and up in random order: everybody finds its own data."""
    volume = world.dir / "data"
    volume.mkdir()
    master_port = free_port()
    common = dict(folder=volume, REDIS_MASTER_HOST="127.0.0.1", REDIS_MASTER_PORT_NUMBER=str(master_port))
    master = containers("master", ["redis-server"], port=master_port, folder=volume, REDOUBT_SAVE="")
    replica = containers("replica", ["redis-server"], REDIS_REPLICATION_MODE="replica", REDOUBT_SAVE="", **common)
    sentinels = [
        containers(
            f"sentinel-{n}", REDIS_MASTER_SET="redis", REDOUBT_NODE_NAME=f"sentinel-{n}",
            REDOUBT_SENTINEL_CRASH_GRACE="0", **common,
        )
        for n in (1, 2, 3)
    ]
    nodes = [master, replica, *sentinels]
    shuffle = random.Random(5).shuffle
    places, ids = {}, {}
    for number in range(10):
        order = list(nodes)
        shuffle(order)
        for node in order:
            node.start(wait=False)
        for node in order:
            wait_until(node.answers, f"{node.name} answers")
        for node in (master, replica):
            place = node.config("dir")
            assert places.setdefault(node.name, place) == place, (number, node.name)
        for node in sentinels:
            myid = node.cmd("SENTINEL", "MYID")
            assert ids.setdefault(node.name, myid) == myid, (number, node.name)
        assert master.cmd("GET", "round") == (str(number - 1).encode() if number else None)
        master.cmd("SET", "round", str(number))
        wait_until(lambda: replica.cmd("GET", "round") == str(number).encode(), "the replica follows")
        master.cmd("SAVE")
        replica.cmd("SAVE")
        shuffle(order)
        for node in order:
            node.stop(random.Random(number).choice([signal.SIGTERM, signal.SIGKILL]))
    assert len(set(places.values())) == 2 and len(set(ids.values())) == 3
    owners = [path.read_text() for path in volume.rglob("redoubt-node")]
    assert len(owners) == 5 == len(set(owners)), owners


def test_twins_on_one_volume_are_told_which_variable_to_set(world, containers):
    volume = world.dir / "data"
    volume.mkdir()
    variables = dict(folder=volume, REDIS_MASTER_SET="redis", REDIS_MASTER_HOST="127.0.0.1")
    first = containers("first", port=26379, **variables)
    in_network(first, "10.99.0.1")
    first.start(wait=False)
    wait_until(lambda: (volume / "redoubt-node").exists(), "the first has the folder")
    second = containers("second", port=26379, **variables)
    in_network(second, "10.99.0.2")
    said = second.fails()
    assert "is in use" in said and "set REDOUBT_NODE_NAME" in said, said
    second.environment["REDOUBT_NODE_NAME"] = "second"
    second.start(wait=False)
    wait_until(lambda: (volume / "node-1" / "redoubt-node").exists(), "a name of its own is enough")


def test_files_of_a_former_image_are_the_masters(world, containers):
    volume = world.dir / "data"
    volume.mkdir()
    port = free_port()
    old = subprocess.Popen(
        program("redis", "server") + ["--port", str(port), "--dir", str(volume)], stdout=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )
    wait_until(lambda: Raw("127.0.0.1", port, PATIENCE).command("PING"), "the old server answers")
    Raw("127.0.0.1", port, PATIENCE).command("SET", "old", "data")
    Raw("127.0.0.1", port, PATIENCE).command("SAVE")
    old.terminate()
    old.wait(PATIENCE)
    # The image's user is not who wrote this with a mode for its owner alone; uid 999 is both here and there.
    os.chmod(volume / "dump.rdb", 0o600)
    master_port = free_port()
    replica = containers(
        "replica", ["redis-server", "--replicaof", "127.0.0.1", str(master_port)], folder=volume,
    ).start()
    assert replica.config("dir") == str(volume / "node-1")
    master = containers("master", ["redis-server"], port=master_port, folder=volume).start()
    assert master.config("dir") == str(volume)
    assert master.cmd("GET", "old") == b"data"
    # The same node started in another way must not begin empty beside its data.
    master.stop()
    changed = containers("changed", ["redis-server"], folder=volume)
    said = changed.fails()
    assert f'REDOUBT_NODE_NAME="server port {master_port}"' in said, said
    changed.environment["REDOUBT_NODE_NAME"] = f"server port {master_port}"
    changed.start()
    assert changed.cmd("GET", "old") == b"data"


# --- where a sentinel keeps its state


def mounted(container, source, target, options=""):
    """Mounts one file over another, as an engine does for `./sentinel.conf:/etc/sentinel.conf`."""
    remount = f"mount -o remount,bind,ro {target} && " if options == "ro" else ""
    script = f'mount --make-rprivate / && mount --bind {source} {target} && {remount}exec "$@"'
    container.prefix = ["unshare", "--mount", "sh", "-c", script, "sh"]


@pytest.fixture
def tutorial(world):
    """The tutorial's file, and a place to mount it to."""
    source, target = world.dir / "sentinel.conf", world.dir / "mounted.conf"
    shutil.copy(TUTORIAL, source)
    target.write_text("")
    return source, target


def test_the_tutorials_file_mounted_by_itself_is_rewritten_in_place(world, containers, tutorial):
    """redis/docker-library-redis#287: rename over a mount point is EBUSY."""
    source, target = tutorial
    before = source.read_text()
    (world.dir / "data").mkdir()
    node = containers("sentinel", ["redis-sentinel", str(target)], folder=world.dir / "data")
    mounted(node, source, target)
    node.start()
    myid = node.cmd("SENTINEL", "MYID").decode()
    wait_until(lambda: f"sentinel myid {myid}" in source.read_text(), "the state is in the mounted file")
    kept = source.read_text()
    for line in before.splitlines():
        assert line in kept.splitlines(), line
    assert "taken as a comment" in node.log()
    assert "Failed to resolve hostname 'redis-master': waiting until it resolves" in node.log()
    assert node.cmd("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"redis-master", b"6379"]
    node.stop(signal.SIGKILL)
    node.start()
    assert node.cmd("SENTINEL", "MYID").decode() == myid
    assert "not able to save" not in node.log()


def test_a_read_only_mount_sends_the_state_to_dir(world, containers, tutorial):
    source, target = tutorial
    (world.dir / "data").mkdir()
    node = containers("sentinel", ["redis-sentinel", str(target)], folder=world.dir / "data")
    mounted(node, source, target, "ro")
    node.start()
    myid = node.cmd("SENTINEL", "MYID")
    node.cmd("SENTINEL", "SET", "mymaster", "auth-pass", "changed")
    node.cmd("SENTINEL", "FLUSHCONFIG")
    node.stop()
    assert source.read_text() == TUTORIAL.read_text()
    assert node.log().count("This sentinel's state is kept in") == 1
    state = (world.dir / "data" / "sentinel.conf")
    assert state.stat().st_mode & 0o077 == 0, "it holds passwords"
    assert "auth-pass mymaster changed" in state.read_text()
    node.start()
    assert node.cmd("SENTINEL", "MYID") == myid
    # An edited configuration counts, what was learnt stays.
    node.stop()
    source.write_text(TUTORIAL.read_text().replace("masterpass", "edited").replace("6379 2", "6379 3"))
    node.start()
    assert node.cmd("SENTINEL", "MYID") == myid
    fields = node.cmd("SENTINEL", "MASTER", "mymaster")
    assert dict(zip(fields[::2], fields[1::2]))[b"quorum"] == b"3"
    node.cmd("SENTINEL", "FLUSHCONFIG")
    assert "auth-pass mymaster edited" in state.read_text()


def test_outside_of_a_container_too(world, tutorial):
    """A plain redis-sentinel on a read-only mount: EROFS is no reason to stop."""
    source, target = tutorial
    port = free_port()
    data = world.dir / "data"
    data.mkdir()
    script = (
        f'mount --make-rprivate / && mount --bind {source} {target} && mount -o remount,bind,ro {target} && exec "$@"'
    )
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", *program("redoubt", "sentinel"), str(target), "--port", str(port),
         "--dir", str(data)], stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent,
    )
    try:
        wait_until(lambda: Raw("127.0.0.1", port, PATIENCE).command("PING"), "it answers")
        assert (data / "sentinel.conf").exists()
    finally:
        process.kill()
        process.wait()


def test_three_sentinels_that_mount_one_file(world, containers, tutorial):
    """With Redis they write over each other's state; here one has the file, the others their folders."""
    source, target = tutorial
    nodes = []
    for number in (1, 2, 3):
        data = world.dir / f"data-{number}"
        data.mkdir()
        node = containers(f"sentinel-{number}", ["redis-sentinel", str(target)], folder=data)
        mounted(node, source, target)
        nodes.append(node.start())
    ids = [node.cmd("SENTINEL", "MYID") for node in nodes]
    assert len(set(ids)) == 3
    for node in nodes:
        node.stop()
    for node in reversed(nodes):
        node.start()
    assert [node.cmd("SENTINEL", "MYID") for node in nodes] == ids


def test_a_script_that_can_not_run_is_an_error_at_the_start(world, containers):
    script = world.dir / "notify"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    said = containers(
        "sentinel", REDIS_MASTER_SET="m", REDIS_MASTER_HOST="127.0.0.1", REDOUBT_SENTINEL_NOTIFICATION_SCRIPT=str(script),
    ).fails()
    assert "/no/such/shell" in said and "with-shell" in said, said


def test_extra_ports(world, containers):
    more = free_port()
    node = containers("node", REDOUBT_EXTRA_PORTS=str(more)).start()
    assert Raw("127.0.0.1", more, PATIENCE).command("PING") == b"PONG"
    assert node.config("extra-ports") == str(more)
    # A change of `port` leaves the other sockets alone.
    assert node.cmd("CONFIG", "SET", "port", str(free_port())) == b"OK"
    assert Raw("127.0.0.1", more, PATIENCE).command("PING") == b"PONG"


def test_address_views_from_the_environment(world, containers):
    """One variable per node, also over several lines; what is wrong with it is said with its name."""
    more = free_port()
    node = containers(
        "node", REDOUBT_ANNOUNCE_VIEW=f"outside address 127.0.0.1:36379 client-net gateway\n  lan listener {more} user app\n"
    ).start()
    said = f"outside address 127.0.0.1:36379 client-net gateway lan listener {more} user app"
    assert node.config("announce-view") == said
    assert Raw("127.0.0.1", more, PATIENCE).command("PING") == b"PONG"
    assert b"announced_views:outside=127.0.0.1:36379\r\n" in node.cmd("INFO", "replication")
    assert "REDOUBT_ANNOUNCE_VIEW" in containers("wrong", REDOUBT_ANNOUNCE_VIEW="outside 127.0.0.1:36379").fails()
    sentinel = containers(
        "sentinel", REDIS_MASTER_SET="group", REDIS_MASTER_HOST="127.0.0.1", REDIS_MASTER_PORT_NUMBER=str(node.port),
        REDOUBT_ANNOUNCE_VIEW="outside client-net 127.0.0.1/32",
    ).start()
    get = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "group")
    wait_until(lambda: sentinel.cmd(*get) == [b"127.0.0.1", b"36379"], "the sentinel knows the node's further address")
