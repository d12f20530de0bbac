"""Configuration as it is met in the wild: Debian's files as they are, renamed commands, `redoubt check-config`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import PATIENCE, PRODUCT, Raw, RespError, free_port, program, redoubt_binary, wait_until

DEBIAN = Path("/etc/redis")
needs_debian = pytest.mark.skipif(
    not (DEBIAN / "redis.conf").exists(), reason="Debian's configuration files are not here"
)


def debian_file(world, name, port):
    """Debian's file with folders and port of this test; nothing else is changed."""
    path = world.dir / name
    shutil.copyfile(DEBIAN / name, path)
    text = path.read_text()
    for old, new in [
        ("/run/redis/", f"{world.dir}/"),
        ("/run/sentinel/", f"{world.dir}/"),
        ("/var/log/redis/", f"{world.dir}/"),
        ("/var/lib/redis", str(world.dir)),
        ("\nport 6379", f"\nport {port}"),
        ("\nport 26379", f"\nport {port}"),
    ]:
        text = text.replace(old, new)
    path.write_text(text)
    return path


class Daemon:
    """A server that has gone into the background, found by its pid file."""

    def __init__(self, world, role, path, pidfile, port):
        words = program(PRODUCT, role) + [str(path)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, cwd=world.dir)
        assert done.returncode == 0, done
        self.port = port
        world.background(self)
        self.pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), "a pid file"))
        wait_until(lambda: self.call("PING") == b"PONG", f"{role} answers")

    def call(self, *args):
        connection = Raw("127.0.0.1", self.port)
        try:
            return connection.command(*args)
        finally:
            connection.close()

    def gone(self):
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    def close(self):
        if not self.gone():
            subprocess.run(["kill", "-9", str(self.pid)])


@needs_debian
def test_debians_redis_conf_starts_unchanged(world):
    port = free_port()
    path = debian_file(world, "redis.conf", port)
    server = Daemon(world, "server", path, world.dir / "redis-server.pid", port)
    assert server.call("SET", "k", "v") == b"OK"
    log = (world.dir / "redis-server.log").read_text()
    assert "Ready to accept connections" in log
    # Everything stands at its default: there is nothing to be said about any directive.
    assert "accepted but have no effect" not in log
    assert server.call("CONFIG", "GET", "hz") == [b"hz", b"10"]
    assert server.call("CONFIG", "REWRITE") == b"OK"
    with pytest.raises((OSError, ConnectionError)):
        server.call("SHUTDOWN", "NOSAVE")
        raise ConnectionError
    wait_until(server.gone, "the server ends")
    # What it has rewritten starts again.
    again = Daemon(world, "server", path, world.dir / "redis-server.pid", port)
    assert again.call("CONFIG", "GET", "appendfsync") == [b"appendfsync", b"everysec"]


@needs_debian
def test_debians_sentinel_conf_starts_unchanged(world):
    port = free_port()
    path = debian_file(world, "sentinel.conf", port)
    sentinel = Daemon(world, "sentinel", path, world.dir / "redis-sentinel.pid", port)
    masters = sentinel.call("SENTINEL", "MASTERS")
    assert len(masters) == 1 and b"mymaster" in masters[0]
    log = world.dir / "redis-sentinel.log"
    wait_until(lambda: "+monitor master mymaster" in log.read_text(), "the sentinel logs its master")


@needs_debian
@pytest.mark.parametrize("name", ["redis.conf", "sentinel.conf"])
def test_check_config_finds_nothing_wrong_with_debians_files(world, name):
    path = debian_file(world, name, free_port())
    flags = ["--sentinel"] if name.startswith("sentinel") else []
    code, text = check_config(path, *flags)
    assert (code, text) == (0, f"{path}: no errors\n")


def check_config(*args):
    done = subprocess.run(
        [redoubt_binary(), "check-config", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
    )
    return done.returncode, done.stdout + done.stderr


def test_check_config_tells_all_errors_at_once(world):
    part = world.dir / "part.conf"
    part.write_text("# fine\nhz many\n")
    path = world.dir / "bad.conf"
    path.write_text(
        f"port 99999\nmaxmemroy 1gb\ninclude {part}\nloadmodule /usr/lib/redisearch.so\n\n"
        "user app on >secret ~* +gett\nrename-command NOSUCH x\nsyslog-ident me\n"
    )
    code, text = check_config(path)
    lines = text.splitlines()
    assert code == 1, text
    starts = [
        f"{path}:1: argument must be between 0 and 65535 inclusive",
        f"{path}:2: Bad directive or wrong number of arguments: 'maxmemroy 1gb' (did you mean 'maxmemory'?)",
        f"{path}:3: {part}:2: argument couldn't be parsed into an integer",
        f"{path}:4: Redoubt loads no modules",
        f"{path}:6: Error loading ACL rule '+gett'",
        f"{path}:7: No such command in rename-command",
        f"{path}: note: 'syslog-ident'",
        f"{path}: 6 errors",
    ]
    assert len(lines) == len(starts) and all(a.startswith(b) for a, b in zip(lines, starts)), text


def test_check_config_of_a_sentinel(world):
    path = world.dir / "s.conf"
    path.write_text("sentinel monitor m 127.0.0.1 6379 0\nsentinel monitor n 127.0.0.1 6379 1\nsentinel quorum n x\n")
    code, text = check_config(path, "--sentinel")
    assert code == 1
    assert f"{path}:1: Quorum must be 1 or greater." in text and f"{path}:3: " in text
    assert f"{path}:2: " not in text and text.endswith(": 2 errors\n")
    code, text = check_config(path)
    assert code == 1 and text.count("sentinel directive while not in sentinel mode") == 3
    assert check_config(world.dir / "none")[0] == 2
    assert check_config()[0] == 2


LONG = "p" * 64


def renaming_server(world, kind, name, *lines):
    return world.server(
        kind, f"rename-command SET {LONG}", 'rename-command GET ""', "rename-command CONFIG cfg",
        "rename-command EXPIRE xp", "user bob on nopass ~* +get +set", *lines, name=name,
    )


def try_renamed(node):
    """What a node with renamed commands says; compared between both servers."""
    connection = node.raw()
    said = []

    def say(*args):
        reply = connection.command(*args)
        said.append((args, str(reply) if isinstance(reply, RespError) else reply))

    for words in [
        (LONG, "a", "1"), ("SET", "a", "1"), ("GET", "a"), ("XP", "a", "100"), ("TTL", "a"), ("CFG",), ("CFG", "foo"),
        ("XP",), ("CFG", "SET", "nosuch", "1"), ("COMMAND", "GETKEYS", LONG, "a", "1"), ("COMMAND", "GETKEYS", "SET", "a", "1"),
        ("EVAL", "return redis.pcall('set','x','1')", "0"), ("EVAL", f"return redis.call('{LONG}','x','1')", "0"),
        ("ACL", "SETUSER", "al", "+cfg"), ("ACL", "SETUSER", "al", "on", "nopass", "~*", "+get", "+config|get"),
        ("ACL", "GETUSER", "al"), ("ACL", "DRYRUN", "bob", "set", "a", "1"), ("ACL", "DRYRUN", "bob", LONG, "a", "1"),
        ("AUTH", "al", ""), ("CFG", "GET", "maxclients"), ("XP", "a", "1"), ("AUTH", "default", "x"),
    ]:
        say(*words)
    info = connection.command("COMMAND", "INFO", "get", "set", LONG, "cfg", "config|get", "cfg|get")
    said.append([row and row[0] for row in info])
    stats = connection.command("INFO", "commandstats").decode()
    said.append(sorted(line.split(":")[0] for line in stats.splitlines() if "cmdstat_" in line and "acl" not in line))
    names = set(connection.command("COMMAND", "LIST"))
    said.append([name in names for name in (b"get", b"set", LONG.encode(), b"config", b"cfg", b"expire")])
    docs = connection.command("COMMAND", "DOCS", "set", LONG)
    said.append(docs[::2])
    return said


def test_renamed_commands_as_in_redis(world):
    ours = try_renamed(renaming_server(world, PRODUCT, "ours"))
    real = try_renamed(renaming_server(world, "redis", "real"))
    for mine, theirs in zip(ours, real):
        # 7.2 names the user and the command in another order of words.
        if "NOPERM" in str(theirs) or "no permissions" in str(theirs):
            assert "permissions" in str(mine) and "cfg" not in str(mine)
            continue
        if "script" in str(theirs):
            assert "Unknown Redis command called from script" in str(mine), mine
            continue
        if isinstance(theirs, tuple) and theirs[0][1:2] == ("GETUSER",):
            # 7.2 shows one flag more, and the rules in the order in which they were given.
            assert mine[1][4] == theirs[1][4] == b"commands"
            assert sorted(mine[1][5].split()) == sorted(theirs[1][5].split()) == [b"+config|get", b"+get", b"-@all"]
            continue
        assert mine == theirs
    assert len(ours) == len(real)


@pytest.mark.parametrize("kinds", [(PRODUCT, PRODUCT), ("redis", PRODUCT), (PRODUCT, "redis"), ("redis", "redis")], ids=str)
def test_renames_reach_replicas_under_their_names(world, kinds):
    """A command goes to replicas as it was sent: one that knows no such name complains, and goes on."""
    master = renaming_server(world, kinds[0], "master")
    same = renaming_server(world, kinds[1], "same", f"replicaof 127.0.0.1 {master.port}")
    plain = world.server(kinds[1], f"replicaof 127.0.0.1 {master.port}", name="plain")
    for replica in (same, plain):
        wait_until(lambda: "master_link_status:up" in replica.cmd("INFO", "replication"), "the link is up")
    assert master.cmd(LONG, "a", "1") == "OK"
    # This one is rewritten by the master, into a command under its own name.
    assert master.cmd("PSETEX", "p", "100000", "2") == "OK"
    assert master.cmd("INCR", "n") == 1
    wait_until(lambda: same.cmd("EXISTS", "a", "n") == 2, "the replica with the same names has the key")
    wait_until(lambda: plain.cmd("EXISTS", "n") == 1, "the plain replica goes on")
    assert plain.cmd("EXISTS", "a") == 0
    assert plain.cmd("EXISTS", "p") == 1


@pytest.mark.parametrize("lines, code", [
    (["rename-command NOSUCH x"], 1), (["rename-command GET SET"], 1), (['rename-command GET ""', "rename-command GET x"], 1),
    (["rename-command GET x", "rename-command SET X"], 1),
], ids=str)
def test_wrong_renames_as_in_redis(world, lines, code):
    path = world.dir / "r.conf"
    path.write_text("\n".join(lines) + "\nport 0\n")
    runs = {}
    for kind in (PRODUCT, "redis"):
        done = subprocess.run(
            program(kind, "server") + [str(path)], capture_output=True, text=True, timeout=PATIENCE, cwd=world.dir,
        )
        runs[kind] = (done.returncode, [line for line in done.stderr.splitlines() if line and "***" not in line])
    assert runs[PRODUCT] == runs["redis"] and runs[PRODUCT][0] == code


def test_io_threads_set_the_threads(world):
    node = world.server(PRODUCT, "io-threads 3", "syslog-ident other", "active-expire-effort 3", name="node")
    node.wait_log("io-threads 3 is taken for threads 3")
    lines = [line for line in node.log().splitlines() if "have no effect" in line]
    assert len(lines) == 1 and "syslog-ident" in lines[0]
    threads = lambda: [p.read_text().strip() for p in Path(f"/proc/{node.pid}/task").glob("*/comm")]
    # The last worker is the process's main thread. A thread gives itself its name once it runs.
    wait_until(lambda: threads().count("worker") == 2, "two threads named worker")
