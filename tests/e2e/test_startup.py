"""How the program is started, configured and ended: the forms that start scripts use, bad options beside real Redis."""

import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest
import redis

from harness import PATIENCE, PRODUCT, Raw, RespError, encode, free_port, program, wait_until


def run(kind, role, *args, stdin=None, cwd=None):
    """Runs a program to its end; (exit code, what it printed)."""
    done = subprocess.run(
        program(kind, role) + list(args), capture_output=True, text=True, timeout=PATIENCE, input=stdin, cwd=cwd,
    )
    return done.returncode, done.stdout + done.stderr


class Started:
    """A server started with arguments of the test's own choice."""

    def __init__(self, world, *args, role="server", stdin=None, cwd=None, kind=PRODUCT):
        self.port = free_port()
        args = [a.replace("PORT", str(self.port)) for a in args]
        self.log = open(world.dir / f"started-{self.port}.log", "wb+")
        self.process = subprocess.Popen(
            program(kind, role) + args, stdout=self.log, stderr=self.log, cwd=cwd or world.dir,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        )
        if stdin:
            self.process.stdin.write(stdin.replace("PORT", str(self.port)).encode())
            self.process.stdin.close()
        world.background(self)
        wait_until(lambda: self.call("PING"), "the server answers")

    def call(self, *args):
        connection = Raw("127.0.0.1", self.port)
        try:
            return connection.command(*args)
        finally:
            connection.close()

    def config(self, name):
        reply = self.call("CONFIG", "GET", name)
        return reply[1].decode() if reply else None

    def text(self):
        self.log.flush()
        return open(self.log.name).read()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def test_version_and_help():
    for flag in ("--version", "-v"):
        code, text = run(PRODUCT, "server", flag)
        assert code == 0
        assert re.fullmatch(r"Redis server v=\d+\.\d+\.\d+ sha=\S+ malloc=\S+ bits=64 build=[0-9a-f]+( \(.*\))?\n", text)
    for flag in ("--help", "-h"):
        code, text = run(PRODUCT, "server", flag)
        assert "Usage: ./redis-server [/path/to/redis.conf] [options] [-]" in text
        assert code == run("redis", "server", flag)[0]


BAD_ARGUMENTS = [
    ["--nosuchoption", "1"],
    ["--port", "abc"],
    ["--port", "70000"],
    ["--port"],
    ["--maxmemory", "10xb"],
    ["--maxmemory-policy", "sometimes"],
    ["--loglevel"],
    ["--loglevel", "loud"],
    ["--appendonly", "maybe"],
    ["--save", "10"],
    ["--save", "a", "b"],
    ["--replicaof", "127.0.0.1", "abc"],
    ["--replicaof", "127.0.0.1"],
    ["--databases", "0"],
    ["--client-output-buffer-limit", "normal", "1", "2"],
    ["--client-output-buffer-limit", "strange", "0", "0", "0"],
    ["--hz", "10", "20"],
    ["--dir", "/no/such/folder"],
    ["/no/such/file.conf"],
    ["--rename-command", "GET"],
    ["--unixsocketperm", "9999"],
    ["--timeout", "-1"],
    ["--tcp-keepalive", "x"],
    ["--notify-keyspace-events", "??"],
    ["--slaveof", "no"],
    ["--port", "0", "--unixsocket"],
    ["--include", "/no/such/file.conf"],
    ["-x"],
    ["--logfile", "/no/such/folder/log"],
]


def comparable(text):
    """What must be equal: times, pids and version numbers may differ."""
    text = re.sub(r"\d+:[CMX] \d\d \w{3} \d{4} [0-9:.]+", "PID TIME", text)
    text = re.sub(r"Redis (\d+\.\d+\.\d+)", "Redis V", text)
    text = re.sub(r"^PID TIME # .*(oO0OoO0OoO0Oo|Redis version=|Configuration loaded).*$", "", text, flags=re.M)
    # Redis 7.2 has one log level more.
    text = text.replace("notice, warning, nothing", "notice, warning")
    # Start-up remarks.
    text = re.sub(r"^.*(Running mode=|overcommit_memory|TCP backlog setting|Transparent Huge Pages|monotonic clock).*$", "", text, flags=re.M)
    return "\n".join(line for line in text.split("\n") if line.strip())


@pytest.mark.parametrize("args", BAD_ARGUMENTS, ids=" ".join)
def test_bad_options_as_real_redis(world, args):
    """Exit code and text are those of the real server."""
    real = run("redis", "server", *args, cwd=world.dir)
    ours = run(PRODUCT, "server", *args, cwd=world.dir)
    assert real[0] != 0
    assert (ours[0], comparable(ours[1])) == (real[0], comparable(real[1]))


BAD_FILES = [
    "port 1 2 3\n", "nosuchdirective yes\n", "port abc\n", "save \"\nport 1\n", "maxclients 0\n",
    "requirepass \"unbalanced\n", "appendonly on\n", "include /no/such\n", "bind\n",
    "sentinel monitor mymaster 127.0.0.1 6379 2\n", "tcp-backlog x\n", "\nport 0\n\n\nbad line here\n",
]


@pytest.mark.parametrize("text", BAD_FILES, ids=[repr(text) for text in BAD_FILES])
def test_bad_files_as_real_redis(world, text):
    path = world.dir / "bad.conf"
    path.write_text(text)
    real = run("redis", "server", str(path), cwd=world.dir)
    ours = run(PRODUCT, "server", str(path), cwd=world.dir)
    assert real[0] != 0
    assert (ours[0], comparable(ours[1])) == (real[0], comparable(real[1]))


BAD_SENTINEL_FILES = [
    "sentinel monitor mymaster 127.0.0.1 6379\n",
    "sentinel monitor mymaster 127.0.0.1 6379 0\n",
    "sentinel monitor mymaster 127.0.0.1 99999999 2\n",
    "sentinel monitor a 127.0.0.1 6379 2\nsentinel monitor a 127.0.0.1 6380 2\n",
    "sentinel down-after-milliseconds nobody 1000\n",
    "sentinel monitor a 127.0.0.1 6379 2\nsentinel down-after-milliseconds a 0\n",
    "sentinel monitor a 127.0.0.1 6379 2\nsentinel nosuch a 1\n",
    "sentinel monitor a 127.0.0.1 6379 2\nsentinel notification-script a /no/such/script\n",
    "sentinel monitor a no.such.host.invalid 6379 2\n",
    "sentinel myid 123\n",
]


@pytest.mark.parametrize("text", BAD_SENTINEL_FILES, ids=[repr(text) for text in BAD_SENTINEL_FILES])
def test_bad_sentinel_files_as_real_redis(world, text):
    outcomes = []
    for kind in ("redis", PRODUCT):
        path = world.dir / "sentinel.conf"
        path.write_text(f"port {free_port()}\n{text}")
        outcomes.append(run(kind, "sentinel", str(path), cwd=world.dir))
    real, ours = outcomes
    assert real[0] != 0
    assert (ours[0], comparable(ours[1])) == (real[0], comparable(real[1]))


def test_sentinel_without_a_file():
    real, ours = run("redis", "sentinel"), run(PRODUCT, "sentinel")
    assert (ours[0], comparable(ours[1])) == (real[0], comparable(real[1]))


def test_forms_of_options(world):
    server = Started(
        world, "--port", "PORT", "--maxmemory 700mb", "--save", "100", "100", "--bind", "127.0.0.1", "-::1",
        "--client-output-buffer-limit", "pubsub", "1mb", "2mb", "3", "--proc-title-template", "--my--title",
        "--shutdown-on-sigint", "nosave", "force", "now", "--appendonly", "no", "--loglevel", "verbose",
    )
    assert server.config("maxmemory") == str(700 << 20)
    assert server.config("save") == "100 100"
    assert server.config("bind") == "127.0.0.1 -::1"
    assert "pubsub 1048576 2097152 3" in server.config("client-output-buffer-limit")
    assert server.config("loglevel") == "verbose"


def test_file_then_options_and_standard_input(world):
    path = world.dir / "my.conf"
    path.write_text("# a comment\n\nport PORT\nmaxclients 77\n timeout   5 \nsave ''\ndbfilename \"a b.rdb\"\n".replace("PORT", "1"))
    server = Started(world, str(path), "--port", "PORT", "--timeout", "9")
    assert server.config("maxclients") == "77" and server.config("timeout") == "9"
    assert server.config("save") == "" and server.config("dbfilename") == "a b.rdb"
    server = Started(world, "-", "--timeout", "8", stdin="port PORT\nmaxclients 78\n")
    assert server.config("maxclients") == "78" and server.config("timeout") == "8"
    included = world.dir / "included.conf"
    included.write_text("maxclients 79\n")
    path.write_text(f"include {included}\ntimeout 3\n")
    server = Started(world, str(path), "--port", "PORT")
    assert server.config("maxclients") == "79" and server.config("timeout") == "3"


def test_log_says_pid_and_readiness(world):
    server = Started(world, "--port", "PORT")
    text = server.text()
    pid = server.process.pid
    assert re.search(rf"^{pid}:C .* # .*[Rr]edis .*starting", text, re.M)
    assert re.search(rf"^{pid}:M \d\d \w{{3}} \d{{4}} \d\d:\d\d:\d\d\.\d{{3}} \* Ready to accept connections", text, re.M)
    assert re.search(rf"\bpid={pid}\b", text)
    assert server.call("INFO", "server").decode().count(f"process_id:{pid}\r\n") == 1


def test_busy_port(world):
    first = Started(world, "--port", "PORT")
    code, text = run(PRODUCT, "server", "--port", str(first.port))
    assert code == 1
    assert re.search(rf"# Warning: Could not create server TCP listening socket \*:{first.port}: bind: Address already in use", text)
    assert re.search(rf"# Failed listening on port {first.port} \((TCP|tcp)\), aborting\.", text)


def test_unix_socket(world):
    path = world.dir / "s.sock"
    Started(world, "--port", "PORT", "--unixsocket", str(path), "--unixsocketperm", "700")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    client = redis.Redis(unix_socket_path=str(path), decode_responses=True)
    assert client.set("k", "v") and client.get("k") == "v"
    assert any(entry["addr"] == f"{path}:0" for entry in client.client_list())
    only = subprocess.Popen(
        program(PRODUCT, "server") + ["--port", "0", "--unixsocket", str(world.dir / "o.sock")], cwd=world.dir,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        client = redis.Redis(unix_socket_path=str(world.dir / "o.sock"))
        assert wait_until(client.ping, "a server with a unix socket alone answers")
    finally:
        only.terminate()
        only.wait(20)


def test_ipv6_and_several_addresses(world):
    server = Started(world, "--port", "PORT", "--bind", "127.0.0.1", "::1", "-9.9.9.9")
    with socket.create_connection(("::1", server.port), PATIENCE) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"


def test_daemonize_pidfile_logfile(world):
    port, pidfile, log = free_port(), world.dir / "my.pid", world.dir / "my.log"
    done = subprocess.run(
        program(PRODUCT, "server") + ["--port", str(port), "--daemonize", "yes", "--pidfile", str(pidfile), "--logfile", str(log),
                                      "--dir", str(world.dir), "--save", ""],
        cwd=world.dir, timeout=PATIENCE,
    )
    assert done.returncode == 0
    wait_until(lambda: Raw("127.0.0.1", port).command("PING") == b"PONG", "the daemon answers")
    pid = int(pidfile.read_text())
    try:
        assert f"process_id:{pid}\r\n" in Raw("127.0.0.1", port).command("INFO", "server").decode()
        assert "Ready to accept connections" in log.read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), "the pid file is removed")


def test_requirepass_and_auth(world):
    node = world.server(PRODUCT, "requirepass the-password")
    stranger = Raw("127.0.0.1", node.port)
    assert stranger.command("GET", "k") == RespError("NOAUTH Authentication required.")
    assert stranger.command("PING") == RespError("NOAUTH Authentication required.")
    assert str(stranger.command("HELLO", "3")).startswith("NOAUTH HELLO must be called with the client already authenticated")
    wrong = RespError("WRONGPASS invalid username-password pair or user is disabled.")
    assert stranger.command("AUTH", "guess") == wrong
    assert stranger.command("AUTH", "nobody", "the-password") == wrong
    assert stranger.command("HELLO", "3", "AUTH", "default", "the-password", "SETNAME", "me")[b"proto"] == 3
    assert stranger.command("CLIENT", "GETNAME") == b"me"
    assert stranger.command("CONFIG", "SET", "requirepass", "") == b"OK"
    assert Raw("127.0.0.1", node.port).command("PING") == b"PONG"
    assert "the-password" not in node.log()


def test_config_rewrite_keeps_lines_and_secrets(world):
    node = world.server(PRODUCT, "# my own comment", "requirepass hush-hush", "maxclients 500", "save 900 1", password="hush-hush")
    assert node.cmd("CONFIG", "SET", "maxclients", "600", "timeout", "7") == "OK"
    assert node.cmd("CONFIG", "REWRITE") == "OK"
    text = node.config_text()
    assert "# my own comment" in text and "maxclients 600" in text and "timeout 7" in text
    assert re.search(r'^requirepass "?hush-hush"?$', text, re.M)
    node.restart()
    assert node.cmd("CONFIG", "GET", "maxclients")[1] == "600" and node.cmd("CONFIG", "GET", "timeout")[1] == "7"
    assert node.cmd("CONFIG", "GET", "save")[1] == "900 1"


@pytest.mark.redoubt_only
def test_files_with_passwords_are_private(world):
    node = world.server(PRODUCT, "requirepass hush-hush", password="hush-hush")
    node.cmd("CONFIG", "REWRITE")
    assert stat.S_IMODE(node.config_path.stat().st_mode) == 0o600
    sentinel = world.sentinel(
        PRODUCT, f"sentinel monitor mymaster 127.0.0.1 {node.port} 1", "sentinel auth-pass mymaster hush-hush",
    )
    sentinel.cmd("SENTINEL", "FLUSHCONFIG")
    assert stat.S_IMODE(sentinel.config_path.stat().st_mode) == 0o600


def test_replicaof_is_rewritten(world):
    master, node = world.server(PRODUCT), world.server(PRODUCT)
    node.cmd("REPLICAOF", "127.0.0.1", master.port)
    node.cmd("CONFIG", "REWRITE")
    assert re.search(rf"^(replicaof|slaveof) 127\.0\.0\.1 {master.port}$", node.config_text(), re.M)
    node.restart()
    node.wait_replica_of(master)
    node.cmd("REPLICAOF", "NO", "ONE")
    node.cmd("CONFIG", "REWRITE")
    assert not re.search(r"^(replicaof|slaveof) ", node.config_text(), re.M)


def test_config_get_set_of_everything(world):
    """Every parameter that CONFIG GET * shows may be set to its present value, but for those that are fixed at start."""
    node = world.server(PRODUCT, "enable-protected-configs yes")
    reply = node.cmd("CONFIG", "GET", "*")
    shown = dict(zip(reply[::2], reply[1::2]))
    assert len(shown) > 100
    refusals = {}
    for name, value in shown.items():
        try:
            assert node.cmd("CONFIG", "SET", name, value) == "OK"
        except redis.ResponseError as error:
            refusals[name] = str(error)
    strange = {name: text for name, text in refusals.items() if "immutable config" not in text}
    # Values that mean 'not set', which real Redis cannot be given back either.
    allowed = {"oom-score-adj-values", "bind-source-addr", "locale-collate", "rdbchecksum"}
    assert set(strange) <= allowed, strange


def test_debug_is_off_by_default(world):
    server = Started(world, "--port", "PORT")
    assert str(server.call("DEBUG", "DIGEST")).startswith("ERR DEBUG command not allowed.")
    assert "immutable config" in str(server.call("CONFIG", "SET", "enable-debug-command", "yes"))
    assert "can't set protected config" in str(server.call("CONFIG", "SET", "dbfilename", "x"))


def test_protected_mode(world):
    """Without a password and a bind, who comes from elsewhere is refused with an explanation."""
    host = world.network.host()
    path = world.dir / "open.conf"
    port = free_port()
    path.write_text(f"port {port}\nbind * -::*\ndir {world.dir}\n")
    process = subprocess.Popen(
        ["ip", "netns", "exec", host.namespace] + program(PRODUCT, "server") + [str(path)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        def refusal():
            return Raw(host.ip, port).read_all()
        text = wait_until(refusal, "the server answers")
        assert text.startswith(b"-DENIED Redis is running in protected mode because protected mode is enabled")
    finally:
        process.kill()
        process.wait()


def test_sigterm_while_busy(world):
    node = world.server(PRODUCT)
    connection = node.raw()
    connection.send(encode("DEBUG", "SLEEP", "0.5"))
    time.sleep(0.1)
    assert node.stop(timeout=20) == 0


def test_sentinel_in_both_forms(world):
    master = world.server(PRODUCT)
    path = world.dir / "s.conf"
    line = f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
    path.write_text(line)
    for role, args in (("sentinel", [str(path)]), ("server", [str(path), "--sentinel"])):
        path.write_text(line)
        started = Started(world, *args, "--port", "PORT", role=role)
        assert started.call("ROLE")[0] == b"sentinel"
        assert started.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == [b"127.0.0.1", str(master.port).encode()]
        started.close()


@pytest.mark.redoubt_only
def test_sentinel_rewrites_in_place_when_it_must(world):
    """A file that cannot be replaced (a bind mount in a container) is written in place; real Redis fails there."""
    master = world.server(PRODUCT)
    folder = world.dir / "mount"
    folder.mkdir()
    real = world.dir / "real.conf"
    target = folder / "sentinel.conf"
    real.write_text(f"# kept\nport {free_port()}\nsentinel monitor mymaster 127.0.0.1 {master.port} 1\n")
    target.touch()
    mounted = subprocess.run(["mount", "--bind", str(real), str(target)], capture_output=True, text=True)
    assert mounted.returncode == 0, mounted.stderr
    try:
        started = Started(world, str(target), "--port", "PORT", role="sentinel")
        wait_until(lambda: "sentinel myid" in real.read_text(), "the file is rewritten")
        assert started.call("SENTINEL", "FLUSHCONFIG") == b"OK"
        assert "# kept" in real.read_text()
        started.close()
    finally:
        subprocess.run(["umount", str(target)], capture_output=True)
