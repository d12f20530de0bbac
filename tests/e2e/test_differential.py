"""Several connections at once against real Redis and the product: same commands in the same order, same answers.

`cargo xtask diff` compares single commands. Here it is what connections do to each other: WATCH, blocked clients and
who is served with what, messages and keyspace events in their order, and what reaches a replica of the other kind.
"""

import random
import select

import pytest

from harness import PRODUCT, RespError, encode, same_data, wait_until

DEBUG = "enable-debug-command yes"
# Keys that take any type, and keys that stay lists or sorted sets.
KEYS, LISTS, ZSETS = ["a", "b", "c"], ["l1", "l2"], ["z1", "z2"]
CONNECTIONS = 4


class Side:
    """One server with its connections. A command may leave its connection waiting; others may end that wait."""

    def __init__(self, server):
        self.server = server
        self.control = server.raw()
        self.subscriber = server.raw()
        self.connections = [server.raw() for _ in range(CONNECTIONS)]
        self.ids = [connection.command("CLIENT", "ID") for connection in self.connections]
        self.waiting = set()
        assert self.control.command("CONFIG", "SET", "notify-keyspace-events", "KEA") == b"OK"
        self.subscriber.command("PSUBSCRIBE", "*")
        self.subscriber.command("SUBSCRIBE", "step done")

    def blocked(self):
        info = self.control.command("INFO", "clients").decode()
        return int(info.split("blocked_clients:")[1].split("\r\n")[0])

    def step(self, at, words):
        """Sends a command on connection `at` (or the control connection for None); everything that anybody got by it."""
        if at is None:
            got = [("control", self.control.command(*words))]
        else:
            self.connections[at].send(encode(*words))
            self.waiting.add(at)
            got = []
        self._settle(got)
        # In order of connections: which of them is served first shows in what it got.
        got.sort(key=lambda item: str(item[0]))
        return got, self._messages()

    def _settle(self, got):
        def settled():
            sockets = {self.connections[at].socket: at for at in self.waiting}
            ready, _, _ = select.select(list(sockets), [], [], 0)
            for socket in ready:
                at = sockets[socket]
                got.append((at, self.connections[at].read()))
                self.waiting.discard(at)
            return len(self.waiting) == self.blocked() and not ready
        wait_until(settled, f"{len(self.waiting)} connections wait", every=0.0005)

    def _messages(self):
        self.control.command("PUBLISH", "step done", "")
        messages = []
        while True:
            message = self.subscriber.read()
            if message[0] == b"message":
                # The pattern gets the mark too.
                assert self.subscriber.read()[0] == b"pmessage"
                return messages
            messages.append(message[2:])


class Script:
    """Random steps that a connection in its state may take."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.in_multi = [False] * CONNECTIONS
        self.sent = [[] for _ in range(CONNECTIONS)]

    def next(self, waiting):
        at, words = self._next(waiting)
        if words[0] == "SWAPDB":
            # Redis walks the keys that somebody waits for in the order of a hash table.
            awaited = [set(KEYS + LISTS + ZSETS).intersection(self.sent[other]) for other in waiting]
            if len(awaited) > 1 or any(len(keys) > 1 for keys in awaited) or any(self.in_multi):
                words = ["DBSIZE"]
        if at is not None:
            self.sent[at] = words
        return at, words

    def _next(self, waiting):
        free = [at for at in range(CONNECTIONS) if at not in waiting]
        if not free or self.random.random() < 0.03:
            if waiting and self.random.random() < 0.5:
                return None, ["UNBLOCK", self.random.choice(sorted(waiting)), self.random.choice(["TIMEOUT", "ERROR"])]
            return None, self.command(blocking=False)
        at = self.random.choice(free)
        draw = self.random.random()
        if self.in_multi[at]:
            if draw < 0.3:
                self.in_multi[at] = False
                return at, [self.random.choice(["EXEC", "EXEC", "EXEC", "DISCARD"])]
            return at, self.command(blocking=True, queued=True)
        if draw < 0.07:
            self.in_multi[at] = True
            return at, ["MULTI"]
        if draw < 0.12:
            return at, ["WATCH", self.key(), self.key()]
        if draw < 0.13:
            return at, ["UNWATCH"]
        return at, self.command(blocking=True)

    def key(self):
        return self.random.choice(KEYS)

    def command(self, blocking, queued=False):
        pick, key = self.random.choice, self.key
        some_list, some_zset = lambda: pick(LISTS), lambda: pick(ZSETS)
        side, wrong = lambda: pick(["LEFT", "RIGHT"]), lambda: pick(["x", "y"])
        if not queued and self.random.random() < 0.2:
            # Since 7.2 who waits for several keys is served by running the command again: an earlier key wins over
            # one that was ready before it, and a key of another type is an error. So these keys get elements one at
            # a time, and have one type.
            return pick([
                lambda: ["RPUSH", some_list(), *[self.random.randrange(100) for _ in range(self.random.randint(1, 3))]],
                lambda: ["RENAME", some_list(), some_list()],
                lambda: ["COPY", some_list(), some_list(), "REPLACE"],
                lambda: ["LMPOP", 2, some_list(), some_list(), side(), "COUNT", 2],
                lambda: ["ZADD", some_zset(), 1, "m", 2, "n", 3, "o"],
                lambda: ["ZRANGESTORE", some_zset(), some_zset(), 0, 1],
                # Not over a key of another type: there Redis forgets to wake who waits for a sorted set.
                lambda: ["ZUNIONSTORE", some_zset(), 2, key(), key()],
                lambda: ["DEL", *LISTS, *ZSETS],
                *([] if not blocking else [
                    lambda: ["BLPOP", some_list(), some_list(), 0],
                    lambda: ["BLMPOP", 0, 2, some_list(), some_list(), side(), "COUNT", self.random.randint(1, 3)],
                    lambda: ["BZPOPMIN", some_zset(), some_zset(), 0],
                    lambda: ["BZMPOP", 0, 2, some_zset(), some_zset(), "MAX"],
                ]),
            ])()
        plain = [
            lambda: ["RPUSH", key(), *[self.random.randrange(100) for _ in range(self.random.randint(1, 3))]],
            lambda: ["RPUSH", key(), self.random.randrange(100)],
            lambda: ["LPUSH", key(), self.random.randrange(100), wrong()],
            lambda: ["ZADD", key(), self.random.randrange(9), wrong()],
            lambda: ["ZADD", key(), 1, "m", 2, "n", 3, "o"],
            lambda: ["SADD", key(), 1],
            lambda: ["SET", key(), "v"],
            lambda: ["DEL", key(), key()],
            lambda: ["DEL", key()],
            lambda: ["RENAME", key(), key()],
            lambda: ["COPY", key(), key(), "REPLACE"],
            lambda: ["COPY", key(), key(), "DB", pick([0, 1])],
            lambda: ["MOVE", key(), pick([0, 1])],
            lambda: ["SWAPDB", 0, 1],
            lambda: ["SELECT", pick([0, 0, 0, 1])],
            lambda: ["LMOVE", key(), key(), side(), side()],
            lambda: ["LPOP", key()],
            lambda: ["ZPOPMIN", key()],
            lambda: ["LMPOP", 2, key(), key(), side(), "COUNT", 2],
            lambda: ["PEXPIRE", key(), -1],
            lambda: ["EXPIRE", key(), 1000],
            lambda: ["PERSIST", key()],
            lambda: ["LINSERT", key(), "BEFORE", 1, 2],
            lambda: ["SUNIONSTORE", key(), key(), key()],
            lambda: ["PUBLISH", pick(["news", "other"]), wrong()],
            lambda: ["LRANGE", key(), 0, -1],
            lambda: ["ZRANGE", key(), 0, -1],
            lambda: ["TYPE", key()],
            lambda: ["GET", key()],
            lambda: ["INCR", key()],
            lambda: ["NOSUCH", key()],
            lambda: ["GET"],
            lambda: ["FLUSHDB"] if self.random.random() < 0.2 else ["DBSIZE"],
        ]
        waits = [
            lambda: ["BLPOP", key(), 0],
            lambda: ["BRPOP", key(), 0],
            lambda: ["BLMOVE", key(), key(), side(), side(), 0],
            lambda: ["BRPOPLPUSH", key(), key(), 0],
            lambda: ["BLMPOP", 0, 1, key(), side(), "COUNT", self.random.randint(1, 3)],
            lambda: ["BZPOPMIN", key(), 0],
            lambda: ["BZPOPMAX", key(), 0],
            lambda: ["BZMPOP", 0, 1, key(), pick(["MIN", "MAX"]), "COUNT", self.random.randint(1, 3)],
        ]
        return pick(waits)() if blocking and self.random.random() < 0.3 else pick(plain)()


def line(step, number):
    at, words = step
    return f"{number} {'control' if at is None else at}: {' '.join(map(str, words))}"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threads", [1, 3])
def test_connections_meet(world, seed, threads):
    """What each of several connections gets, and the events that all of it makes, step by step."""
    tested = world.server(PRODUCT, DEBUG, "hz 100", *([f"threads {threads}"] if PRODUCT != "redis" else []), name="b")
    sides = [Side(world.server("redis", DEBUG, "hz 100", name="a")), Side(tested)]
    script, taken = Script(seed), []
    for number in range(1500):
        at, words = script.next(sides[0].waiting)
        taken.append((at, words))
        seen = []
        for side in sides:
            if words[0] == "UNBLOCK":
                words_here = ["CLIENT", "UNBLOCK", side.ids[words[1]], words[2]]
            else:
                words_here = words
            seen.append(side.step(at, words_here))
        story = "\n".join(line(step, n) for n, step in enumerate(taken))[-3000:]
        assert seen[0] == seen[1], f"seed {seed}, step {number}:\n{story}"
        assert sides[0].waiting == sides[1].waiting, f"seed {seed}, step {number}:\n{story}"
    digests = [side.control.command("DEBUG", "DIGEST") for side in sides]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("kinds", [("redis", PRODUCT), (PRODUCT, "redis"), (PRODUCT, PRODUCT)], ids="-".join)
@pytest.mark.parametrize("seed", range(2))
def test_stream_of_connections(world, kinds, seed):
    """Everything that happens on a master reaches a replica: what is random, runs out, or was waited for included."""
    master = world.server(kinds[0], DEBUG, name="master")
    replica = world.server(kinds[1], DEBUG, f"replicaof 127.0.0.1 {master.port}", name="replica")
    replica.wait_link_up()
    side, script = Side(master), Script(100 + seed)
    chance = script.random
    for number in range(4000):
        at, words = script.next(side.waiting)
        free = [c for c in range(CONNECTIONS) if c not in side.waiting]
        if free and chance.random() < 0.25:
            at, words = chance.choice(free), chance.choice([
                ["SADD", "set", *[chance.randrange(1000) for _ in range(30)]],
                ["SPOP", "set"],
                ["SPOP", "set", chance.randint(0, 40)],
                ["SET", f"short {chance.randrange(20)}", number, "PX", chance.randint(1, 30)],
                ["PEXPIRE", script.key(), chance.randint(1, 20)],
                ["GETEX", f"short {chance.randrange(20)}", "PX", chance.randint(1, 30)],
                ["APPEND", f"short {chance.randrange(20)}", "x"],
                ["GET", f"short {chance.randrange(20)}"],
                ["INCRBYFLOAT", "float", chance.random()],
                ["HINCRBYFLOAT", "hash", chance.randrange(5), chance.random()],
                ["BLPOP", script.key(), "0.01"],
                ["BLMOVE", script.key(), script.key(), "LEFT", "RIGHT", "0.01"],
                ["SINTERSTORE", "stored", "set", "set"],
                ["ZRANGESTORE", "stored", script.key(), 0, 5],
                ["GETDEL", f"short {chance.randrange(20)}"],
            ])
        if words[0] == "UNBLOCK":
            words = ["CLIENT", "UNBLOCK", side.ids[words[1]], words[2]]
        side.step(at, words)
    # What waits for its time shall have had it.
    wait_until(
        lambda: all(side.control.command("PTTL", key) < 0 for key in side.control.command("KEYS", "short *")),
        "everything has run out",
    )
    same_data(master, replica)
    assert not isinstance(replica.raw().command("DEBUG", "DIGEST"), RespError)
