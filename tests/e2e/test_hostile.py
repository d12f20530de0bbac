"""Proof 6: malformed input, limits, crowds, readers who do not read. The server stays alive, its memory bounded."""

import random
import re
import resource
import select
import socket
import time

import pytest

from harness import PATIENCE, PRODUCT, Raw, RespError, encode, wait_until

MIB = 1 << 20


def seed_frames():
    """Well-formed requests that the mutations start from."""
    return [
        encode("PING"), encode("SET", "k", "v"), encode("GET", "k"), encode("HELLO", "3"), encode("CLIENT", "ID"),
        encode("MSET", "a", 1, "b", 2), encode("LPUSH", "l", *range(20)), encode("ZADD", "z", 1.5, "m"),
        encode("EVAL", "return 1", 0), encode("RESTORE", "r", 0, b"\x00\x01v\x0a\x00\x01\x02\x03\x04\x05\x06\x07\x08"),
        encode("SUBSCRIBE", "c"), encode("MULTI") + encode("INCR", "n") + encode("EXEC"),
        encode("SCAN", 0, "MATCH", "*", "COUNT", 10), encode("SETRANGE", "s", 10, "x"), encode("OBJECT", "ENCODING", "k"),
        encode("REPLCONF", "listening-port", 1), encode("PSYNC", "?", -1), encode("CONFIG", "GET", "*"),
        b"PING\r\n", b"SET inline \"quoted \\x41\"\r\n", b"*0\r\n*-1\r\n", b"\r\n\r\n", b"$5\r\nhello\r\n",
    ]


DANGEROUS = re.compile(rb"shutdown|debug|sleep|replicaof|slaveof|failover", re.I)


def mutate(rng, frame):
    data = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(7)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randrange(1, 6))
        elif kind == 2 and data:
            del data[at % len(data) : at % len(data) + rng.randrange(1, 6)]
        elif kind == 3:
            data[at:at] = rng.choice([b"\r\n", b"*", b"$", b"-1", b"99999999999", b"0", b"\x00", b"*2147483647\r\n", b"$536870912\r\n"])
        elif kind == 4:
            data = data[:at]
        elif kind == 5:
            data += rng.choice(seed_frames())
        elif data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def test_mutated_frames(world):
    """100,000 spoiled requests, each on a connection of its own, for the first error closes it; many end in mid-frame."""
    node = world.server(PRODUCT)
    frames, rng = seed_frames(), random.Random(20)
    sent, before, address = 0, node.rss(), ("127.0.0.1", node.port)
    deadline = time.monotonic() + 300
    while sent < 100_000:
        assert time.monotonic() < deadline, f"only {sent} frames in time"
        frame = mutate(rng, rng.choice(frames))
        if DANGEROUS.search(frame):
            continue
        connection = socket.create_connection(address, PATIENCE)
        connection.sendall(frame)
        # The end of input: the server takes what has come, answers, and closes in its turn.
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        connection.close()
        sent += 1
        if sent % 5000 == 0:
            assert node.alive(), node.log()[-2000:]
            assert node.cmd("PING") == "PONG"
    wait_until(lambda: int(node.info("clients")["connected_clients"]) <= 2, "the connections are gone")
    assert int(node.info("stats")["total_connections_received"]) > 100_000
    assert node.rss() - before < 300 * MIB


def test_split_at_every_byte(world):
    """Requests that arrive one byte at a time, and in every pair of pieces."""
    node = world.server(PRODUCT)
    frames = encode("SET", "k", b"\r\n$3\r\n") + encode("GET", "k") + b"get k\r\n" + encode("HELLO", "2", "SETNAME", "n")
    whole = node.raw()
    whole.send(frames)
    expected = [whole.read() for _ in range(3)]
    for cut in range(1, len(frames)):
        connection = node.raw()
        connection.send(frames[:cut])
        if cut % 7 == 0:
            time.sleep(0.001)
        connection.send(frames[cut:])
        assert [connection.read() for _ in range(3)] == expected
        connection.read()
        connection.close()
    slow = node.raw()
    for at in range(len(frames)):
        slow.send(frames[at : at + 1])
    assert [slow.read() for _ in range(3)] == expected


PROTOCOL_ERRORS = [
    (b"*1\r\nPING\r\n", "ERR Protocol error: expected '$', got 'P'"),
    (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*abc\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*1\r\n$-2\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
    (b"SET a \"b\r\n", "ERR Protocol error: unbalanced quotes in request"),
    (b"x" * (70 * 1024), "ERR Protocol error: too big inline request"),
    (b"*1\r\n$" + b"1" * (70 * 1024), "ERR Protocol error: too big bulk count string"),
    (b"*" + b"1" * (70 * 1024), "ERR Protocol error: too big mbulk count string"),
]


@pytest.mark.parametrize("data,text", PROTOCOL_ERRORS, ids=[text[20:] for _, text in PROTOCOL_ERRORS])
def test_protocol_errors_close_the_connection(world, data, text):
    node = world.server(PRODUCT)
    connection = node.raw()
    connection.send(encode("PING"))
    assert connection.read() == b"PONG"
    connection.send(data)
    assert connection.read() == RespError(text)
    assert connection.read_all() == b""
    assert node.cmd("PING") == "PONG"


@pytest.mark.parametrize("data,text", [
    (b"*11\r\n", "ERR Protocol error: unauthenticated multibulk length"),
    (b"*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"),
], ids=["arguments", "length"])
def test_strangers_get_less(world, data, text):
    node = world.server(PRODUCT, "requirepass pw", password="pw")
    connection = Raw("127.0.0.1", node.port)
    assert connection.command("GET", "x") == RespError("NOAUTH Authentication required.")
    connection.send(data)
    assert connection.read() == RespError(text)
    assert connection.read_all() == b""


def test_announced_lengths_are_not_believed(world):
    """Half a gigabyte announced on many connections, little sent: no memory is taken for it."""
    node = world.server(PRODUCT)
    before = node.rss()
    crowd = []
    for _ in range(200):
        connection = node.raw()
        connection.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nbeginning")
        crowd.append(connection)
    many = node.raw()
    many.send(b"*2147483647\r\n$4\r\nMSET\r\n")
    assert node.cmd("PING") == "PONG"
    assert node.rss() - before < 200 * MIB
    for connection in crowd:
        connection.close()


def test_proto_max_bulk_len(world):
    node = world.server(PRODUCT, "proto-max-bulk-len 2mb")
    assert node.cmd("SET", "k", "x" * (2 * MIB)) == "OK"
    connection = node.raw()
    connection.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2097153\r\n")
    assert connection.read() == RespError("ERR Protocol error: invalid bulk length")
    reply = node.raw().command("APPEND", "k", "y")
    assert reply == RespError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


def test_query_buffer_limit(world):
    """More unprocessed input than client-query-buffer-limit closes that client."""
    node = world.server(PRODUCT, "client-query-buffer-limit 2mb")
    connection = node.raw()
    connection.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n")
    with pytest.raises(OSError):
        for _ in range(100):
            connection.send(b"x" * 100_000)
            time.sleep(0.005)
        if connection.socket.recv(1) == b"":
            raise ConnectionResetError
    assert node.cmd("PING") == "PONG"


def test_ten_thousand_idle_connections(world):
    need = 10_200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= need + 100, f"raise the limit of open files ({hard})"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(need + 200, hard)), hard))
    node = world.server(PRODUCT, "maxclients 10100")
    before = node.rss()
    crowd = []
    try:
        for at in range(10_000):
            connection = socket.create_connection(("127.0.0.1", node.port), PATIENCE)
            crowd.append(connection)
            if at % 3 == 0:
                connection.sendall(encode("PING"))
        wait_until(lambda: int(node.info("clients")["connected_clients"]) >= 10_000, "all are connected")
        # 20 KiB each would be twice what Redis takes.
        assert node.rss() - before < 10_000 * 20 * 1024
        began = time.monotonic()
        for _ in range(50):
            assert node.cmd("PING") == "PONG"
        assert time.monotonic() - began < 5
        for connection in crowd[::3]:
            assert connection.recv(100) == b"+PONG\r\n"
        for connection in crowd:
            connection.close()
        crowd.clear()
        wait_until(lambda: int(node.info("clients")["connected_clients"]) < 10, "all are gone")
    finally:
        for connection in crowd:
            connection.close()


def test_maxclients(world):
    node = world.server(PRODUCT, "maxclients 20")
    crowd = [node.raw() for _ in range(20)]
    for connection in crowd:
        assert connection.command("PING") == b"PONG"
    extra = Raw("127.0.0.1", node.port)
    assert extra.read_all().startswith(b"-ERR max number of clients reached")
    assert crowd[0].command("INFO", "stats").count(b"rejected_connections:1\r\n") == 1
    crowd.pop().close()
    wait_until(lambda: node.raw().command("PING") == b"PONG", "a place is free again")


def test_client_that_never_reads(world):
    """Its replies pile up to the limit; then it is closed. Others are served all the while."""
    node = world.server(PRODUCT, "client-output-buffer-limit normal 8mb 0 0")
    node.cmd("SET", "big", "x" * 500_000)
    before = node.rss()
    greedy = node.raw()
    greedy.socket.setblocking(False)
    request, pending = encode("GET", "big") * 2000, b""
    closed, deadline = False, time.monotonic() + 60
    while not closed and time.monotonic() < deadline:
        pending = pending or request
        try:
            _, writable, broken = select.select([], [greedy.socket], [greedy.socket], 0.2)
            if writable:
                pending = pending[greedy.socket.send(pending) :]
        except OSError:
            closed = True
        assert node.cmd("PING") == "PONG"
        assert node.rss() - before < 200 * MIB
        clients = node.cmd("CLIENT", "LIST")
        closed = closed or len(clients.strip().split("\n")) == 1
    assert closed, "the client that never reads was not closed"
    assert node.cmd("PING") == "PONG"


def test_subscriber_that_never_reads(world):
    node = world.server(PRODUCT, "client-output-buffer-limit pubsub 1mb 0 0")
    subscriber = node.raw()
    subscriber.send(encode("SUBSCRIBE", "news"))
    wait_until(lambda: node.cmd("PUBSUB", "NUMSUB", "news") == ["news", 1], "the subscription is there")
    publisher = node.client()
    gone = False
    for _ in range(3000):
        if publisher.publish("news", "x" * 50_000) == 0:
            gone = True
            break
    assert gone, "the subscriber that never reads was not closed"


def test_pipeline_of_a_hundred_thousand(world):
    node = world.server(PRODUCT)
    connection = node.raw(60)
    count = 100_000
    data = b"".join(encode("SET", f"p:{at}", at) for at in range(count)) + encode("DBSIZE")
    connection.socket.setblocking(False)
    received, sent, deadline = 0, 0, time.monotonic() + 60
    wanted = 5 * count + len(f":{count}\r\n")
    while received < wanted and time.monotonic() < deadline:
        readable, writable, _ = select.select(
            [connection.socket], [connection.socket] if sent < len(data) else [], [], 1
        )
        if readable:
            received += len(connection.socket.recv(1 << 20))
        if writable:
            sent += connection.socket.send(data[sent : sent + (1 << 18)])
    assert received == wanted


def test_timeout_closes_idle_clients(world):
    node = world.server(PRODUCT, "timeout 1")
    connection = node.raw()
    assert connection.command("PING") == b"PONG"
    began = time.monotonic()
    assert connection.read_all() == b""
    assert 0.5 < time.monotonic() - began < 10


def test_sentinel_survives_bad_input(world):
    """Mutated frames and mutated hello messages against a sentinel."""
    master = world.server(PRODUCT)
    sentinel = world.sentinel(PRODUCT, f"sentinel monitor mymaster 127.0.0.1 {master.port} 1")
    wait_until(lambda: sentinel.master_state()["flags"] == "master", "the sentinel watches")
    rng = random.Random(4)
    hello = f"127.0.0.1,26379,{'a' * 40},0,mymaster,127.0.0.1,{master.port},0".encode()
    publisher = master.raw()
    for _ in range(3000):
        spoiled = mutate(rng, hello)
        publisher.command("PUBLISH", "__sentinel__:hello", spoiled)
    connection = None
    for _ in range(3000):
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", sentinel.port), PATIENCE)
            connection.setblocking(False)
        frame = mutate(rng, rng.choice(seed_frames() + [
            encode("SENTINEL", "MASTERS"), encode("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", master.port, 1, "*"),
            encode("PUBLISH", "__sentinel__:hello", hello), encode("SENTINEL", "CKQUORUM", "mymaster"),
        ]))
        if DANGEROUS.search(frame):
            continue
        try:
            connection.send(frame)
            connection.recv(1 << 18)
        except BlockingIOError:
            pass
        except OSError:
            connection.close()
            connection = None
    assert sentinel.alive()
    assert sentinel.master_addr() == ("127.0.0.1", master.port)
