"""`maxmemory-clients`: connections that hold too much are ended, the largest first."""

import re
import time

from harness import PATIENCE, PRODUCT, Raw, encode, wait_until

MB = 1 << 20


def field(node, section, name):
    text = node.cmd("INFO", section)
    return int(re.search(rf"^{name}:(\d+)", text, re.M).group(1))


def listed(node):
    """CLIENT LIST, by name."""
    rows = {}
    for line in node.cmd("CLIENT", "LIST").splitlines():
        row = dict(part.split("=", 1) for part in line.split(" "))
        rows[row["name"]] = row
    return rows


def named(node, name):
    connection = node.raw()
    assert connection.command("CLIENT", "SETNAME", name) == b"OK"
    return connection


def hoard_output(node, name, megabytes):
    """A client that asks for so much and reads none of it."""
    connection = named(node, name)
    connection.socket.sendall(encode("GET", "mb") * megabytes)
    # What fits into the sockets' buffers is not the server's.
    wait_until(lambda: name not in listed(node) or int(listed(node)[name]["omem"]) > (megabytes - 8) * MB, f"{name} has output")
    return connection


def hoard_input(node, name, megabytes):
    """A client that sends so much of a request and never its end."""
    connection = named(node, name)
    size = megabytes * MB
    connection.socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (size + 1) + b"x" * size)
    wait_until(lambda: name not in listed(node) or int(listed(node)[name]["qbuf"]) > size - MB, f"{name} has input")
    return connection


def is_gone(connection):
    connection.socket.settimeout(PATIENCE)
    try:
        while connection.socket.recv(1 << 20):
            pass
        return True
    except ConnectionError:
        return True


def test_fields_of_client_list(world):
    node = world.server(PRODUCT)
    node.cmd("SET", "mb", "x" * MB)
    idle = named(node, "idle")
    row = listed(node)["idle"]
    assert int(row["tot-mem"]) > 500 and row["multi-mem"] == row["omem"] == row["oll"] == row["obl"] == "0"
    multi = named(node, "multi")
    multi.command("MULTI")
    multi.command("SET", "a", "y" * 100_000)
    row = listed(node)["multi"]
    assert 100_000 < int(row["multi-mem"]) < 110_000 and int(row["tot-mem"]) > 100_000
    multi.command("DISCARD")
    assert listed(node)["multi"]["multi-mem"] == "0"
    blocked = named(node, "blocked")
    blocked.socket.sendall(encode("BLPOP", "k" * 50_000, "0"))
    wait_until(lambda: int(listed(node)["blocked"]["argv-mem"]) > 50_000, "the arguments are counted")
    reader = hoard_output(node, "reader", 20)
    row = listed(node)["reader"]
    assert int(row["obl"]) == int(row["rbs"]) == int(row["rbp"]) == 16384 and int(row["oll"]) > 100 and row["events"] == "rw"
    assert int(row["tot-mem"]) > int(row["omem"]) > 10 * MB
    writer = hoard_input(node, "writer", 5)
    row = listed(node)["writer"]
    assert int(row["tot-mem"]) >= int(row["qbuf"]) + int(row["qbuf-free"]) > 5 * MB
    watcher = named(node, "watcher")
    before = int(listed(node)["watcher"]["tot-mem"])
    watcher.command("WATCH", *["w" * 100 + str(n) for n in range(1000)])
    assert int(listed(node)["watcher"]["tot-mem"]) > before + 100_000
    watcher.command("UNWATCH")
    assert int(listed(node)["watcher"]["tot-mem"]) == before
    normal = field(node, "memory", "mem_clients_normal")
    assert normal > 15 * MB
    reader.close()
    wait_until(lambda: field(node, "memory", "mem_clients_normal") < normal - 10 * MB, "the account is closed")
    for connection in (idle, multi, blocked, writer, watcher):
        connection.close()


def test_the_largest_go_first(world):
    node = world.server(PRODUCT, "maxmemory-clients 0")
    node.cmd("SET", "mb", "x" * MB)
    small = hoard_output(node, "small", 12)
    query = hoard_input(node, "query", 20)
    large = hoard_output(node, "large", 50)
    spared = named(node, "spared")
    assert spared.command("CLIENT", "NO-EVICT", "on") == b"OK"
    spared.socket.sendall(encode("GET", "mb") * 60)
    wait_until(lambda: int(listed(node)["spared"]["omem"]) > 40 * MB, "the spared one has output")
    idle = named(node, "idle")
    sizes = {name: int(row["tot-mem"]) for name, row in listed(node).items()}
    order = sorted(("small", "query", "large"), key=lambda name: -sizes[name])
    assert order[0] == "large" and order[2] == "small"
    # The spared one counts, too: room for it, the small one and half of the next.
    limit = sizes["spared"] + sizes["small"] + sizes["query"] // 2
    assert node.cmd("CONFIG", "SET", "maxmemory-clients", str(limit)) == "OK"
    wait_until(lambda: field(node, "stats", "evicted_clients") == 2, "two are evicted")
    left = listed(node)
    assert "large" not in left and "query" not in left and {"small", "spared", "idle"} <= left.keys()
    assert is_gone(large) and is_gone(query)
    log = [line for line in node.log().splitlines() if "Evicting client:" in line]
    assert ["name=large" in log[0], "name=query" in log[1]] == [True, True]
    assert idle.command("PING") == b"PONG"
    assert sum(int(row["tot-mem"]) for row in listed(node).values()) < limit + 2 * MB
    # One that comes to much meanwhile goes at once; in one request after the other, too.
    greedy = named(node, "greedy")
    greedy.socket.sendall(encode("GET", "mb") * 200)
    wait_until(lambda: field(node, "stats", "evicted_clients") >= 3, "it is evicted")
    wait_until(lambda: "greedy" not in listed(node), "it is gone")
    assert "spared" in listed(node)
    assert node.cmd("CONFIG", "RESETSTAT") == "OK"
    assert field(node, "stats", "evicted_clients") == 0
    for connection in (small, spared, idle):
        connection.close()


def test_memory_stays_within_the_bound(world):
    """Many clients that each stay below any limit of their own."""
    node = world.server(PRODUCT, "maxmemory-clients 30mb")
    node.cmd("SET", "mb", "x" * MB)
    base = field(node, "memory", "used_memory")
    worker = named(node, "worker")
    hoarders = []
    most = 0
    for n in range(40):
        connection = named(node, f"h{n}")
        if n % 2:
            connection.socket.sendall(encode("GET", "mb") * 12)
        else:
            try:
                connection.socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (20 * MB) + b"x" * (8 * MB))
            except ConnectionError:
                pass
        hoarders.append(connection)
        assert worker.command("SET", "n", str(n)) == b"OK"
        time.sleep(0.05)
        most = max(most, field(node, "memory", "used_memory") - base)
    wait_until(lambda: field(node, "stats", "evicted_clients") > 5, "some are evicted")
    wait_until(lambda: field(node, "memory", "mem_clients_normal") < 31 * MB, "the rest is within the bound")
    # Beside the clients a worker's own buffers and what is in the sockets on its way in.
    assert most < 80 * MB, most
    assert worker.command("GET", "n") == b"39"
    for connection in hoarders:
        connection.close()


def test_subscribers_and_percent(world):
    node = world.server(PRODUCT, "maxmemory 200mb", "maxmemory-clients 5%", "client-output-buffer-limit pubsub 0 0 0")
    slow = named(node, "slow")
    slow.command("SUBSCRIBE", "news")
    publisher = node.raw()
    for _ in range(60):
        publisher.command("PUBLISH", "news", "x" * MB)
    wait_until(lambda: field(node, "stats", "evicted_clients") == 1, "the subscriber goes")
    assert "slow" not in listed(node)
    slow.close()
    publisher.close()
