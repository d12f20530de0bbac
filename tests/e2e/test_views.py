"""Address views: who asks from outside is told addresses that work there, everybody else the ordinary ones."""

import socket
import subprocess

import pytest
from redis.sentinel import Sentinel

from network import sh
from harness import AGAINST, PATIENCE, PRODUCT, Raw, free_port, redoubt_binary, text, wait_until

pytestmark = pytest.mark.skipif(AGAINST == "redis", reason="redis-server has no address views")


class From(Raw):
    """A connection that comes from another address of this machine."""

    def __init__(self, source, ip, port, *login):
        self.socket = socket.create_connection((ip, port), PATIENCE, source_address=(source, 0))
        self.buffer = b""
        if login:
            assert self.command("AUTH", *login) == b"OK"

    def ask(self, *words):
        return text(self.command(*words))

    def pairs(self, *words):
        reply = self.ask(*words)
        return [dict(zip(entry[::2], entry[1::2])) for entry in reply]

    def subscribe(self, *channels):
        for channel in channels:
            self.command("SUBSCRIBE", channel)
        return self

    def message(self):
        return text(self.read())[2]

    def info(self, section):
        return dict(line.split(":", 1) for line in self.ask("INFO", section).split("\r\n") if ":" in line)


class Published:
    """A group whose nodes are reached from outside through relays, as through published ports of a Docker host.

    The relays' addresses are the view `outside`. A second listener of each sentinel serves those who see it.
    """

    def __init__(self, world, data=(PRODUCT, PRODUCT, PRODUCT), sentinels=(PRODUCT, PRODUCT, PRODUCT), rules=""):
        self.world = world
        self.data, self.outside, self.sentinels, self.listeners = [], {}, [], {}
        for at, kind in enumerate(data):
            node = world.server(kind, name=f"data{at}-{kind}", start=False)
            relay = world.proxy(node.port)
            self.outside[node.port] = relay.port
            lines = ['save ""', "enable-debug-command yes", "repl-diskless-sync-delay 0"]
            if kind != "redis":
                lines.append(f"announce-view outside address 127.0.0.1:{relay.port} {rules}")
            if at:
                lines.append(f"replicaof 127.0.0.1 {self.data[0].port}")
            node.write_config(lines)
            self.data.append(node.start())
        for node in self.data[1:]:
            node.wait_link_up()
        for at, kind in enumerate(sentinels):
            node = world.sentinel(kind, name=f"sentinel{at}-{kind}", start=False)
            lines = [
                f"sentinel monitor mymaster 127.0.0.1 {self.data[0].port} 2",
                "sentinel down-after-milliseconds mymaster 1000", "sentinel failover-timeout mymaster 10000",
            ]
            if kind != "redis":
                outer = free_port()
                self.listeners[node.port] = outer
                lines.append(f"announce-view outside address 127.0.0.1:{outer} listener 0.0.0.0:{outer} {rules}")
            node.write_config(lines)
            self.sentinels.append(node.start())

    def asked_outside(self, at=0):
        return From("127.0.0.1", "127.0.0.1", self.listeners[self.sentinels[at].port])

    def address(self, node):
        return ["127.0.0.1", str(node.port)]

    def address_outside(self, node):
        return ["127.0.0.1", str(self.outside[node.port])]

    def wait_settled(self):
        """Every sentinel knows everybody, and where they are outside."""
        ours = [at for at, node in enumerate(self.sentinels) if node.kind != "redis"]
        relays = {str(port) for port in self.outside.values()}
        outer = {str(port) for port in self.listeners.values()}

        def settled():
            for at, node in enumerate(self.sentinels):
                state = node.master_state()
                if state["num-slaves"] != str(len(self.data) - 1):
                    return False
                if state["num-other-sentinels"] != str(len(self.sentinels) - 1):
                    return False
            for at in ours:
                asked = self.asked_outside(at)
                told = {asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1]}
                told |= {entry["port"] for entry in asked.pairs("SENTINEL", "REPLICAS", "mymaster")}
                peers = {entry["port"] for entry in asked.pairs("SENTINEL", "SENTINELS", "mymaster")}
                if told != relays or len(peers & outer) != len(ours) - 1:
                    return False
            return True
        wait_until(settled, "everybody is known, inside and outside", 4 * PATIENCE)

    def by_port(self, port):
        return next(node for node in self.data if node.port == int(port))


def test_clients_of_both_sides_through_a_failover(world):
    """redis-py inside and outside; a real redis-sentinel in the quorum; events to subscribers of both sides."""
    group = Published(world, sentinels=(PRODUCT, PRODUCT, "redis"))
    group.wait_settled()
    old = group.data[0]
    options = dict(socket_timeout=2, socket_connect_timeout=2, decode_responses=True)
    inside = Sentinel([("127.0.0.1", node.port) for node in group.sentinels], **options)
    outside = Sentinel([("127.0.0.1", port) for port in group.listeners.values()], **options)
    relays, ports = set(group.outside.values()), {node.port for node in group.data}
    assert outside.discover_master("mymaster") == ("127.0.0.1", group.outside[old.port])
    assert inside.discover_master("mymaster") == ("127.0.0.1", old.port)
    assert {port for _, port in outside.discover_slaves("mymaster")} == relays - {group.outside[old.port]}
    assert {port for _, port in inside.discover_slaves("mymaster")} == ports - {old.port}
    clients = {"inside": inside.master_for("mymaster"), "outside": outside.master_for("mymaster")}
    for side, client in clients.items():
        assert client.set(side, "before")

    heard_inside = From("127.0.0.1", "127.0.0.1", group.sentinels[0].port).subscribe("+switch-master")
    heard_outside = group.asked_outside().subscribe("+switch-master")
    # Who has asked under a name of its own hears of that name.
    named = From("127.0.0.1", "127.0.0.1", group.sentinels[0].port)
    assert named.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster@outside") == group.address_outside(old)
    named.subscribe("+switch-master")
    all_outside = group.asked_outside(1)
    all_outside.command("PSUBSCRIBE", "*")

    old.kill9()
    for side, client in clients.items():
        def writes(client=client, side=side):
            return client.set(side, "after")
        wait_until(writes, f"the client {side} writes again", 4 * PATIENCE)
    new_port = inside.discover_master("mymaster")[1]
    new = group.by_port(new_port)
    assert outside.discover_master("mymaster") == ("127.0.0.1", group.outside[new_port])
    assert heard_inside.message() == " ".join(["mymaster", *group.address(old), *group.address(new)])
    switched = [*group.address_outside(old), *group.address_outside(new)]
    assert heard_outside.message() == " ".join(["mymaster", *switched])
    assert named.message() == " ".join(["mymaster@outside", *switched])
    # No event of the other one names an ordinary address of a data node.
    events = []
    while not events or events[-1][2] != "+switch-master":
        events.append(text(all_outside.read()))
    for _, _, name, payload in events:
        assert not {str(node.port) for node in group.data} & set(payload.replace(":", " ").split()), (name, payload)
    assert any(name == "+sdown" and str(group.outside[old.port]) in payload for _, _, name, payload in events)

    # The real sentinel saw ordinary addresses all the time, and took part.
    real = group.sentinels[2]
    wait_until(lambda: real.master_addr() == ("127.0.0.1", new_port), "the real sentinel has switched")
    told = From("127.0.0.1", "127.0.0.1", real.port)
    replicas = told.pairs("SENTINEL", "REPLICAS", "mymaster")
    assert {entry["port"] for entry in replicas} == {str(port) for port in ports - {new_port}}
    peers = told.pairs("SENTINEL", "SENTINELS", "mymaster")
    assert {entry["port"] for entry in peers} == {str(node.port) for node in group.sentinels[:2]}
    assert "+sentinel-invalid-addr" not in real.log() and "+sentinel-address-switch" not in real.log()

    # The old master comes back as a replica, seen from both sides.
    old.start()
    old.wait_replica_of(new)
    back = str(group.outside[old.port])

    def is_back():
        entries = group.asked_outside().pairs("SENTINEL", "REPLICAS", "mymaster")
        return any(entry["port"] == back and entry["master-link-status"] == "ok" for entry in entries)
    wait_until(is_back, "it is listed outside")


def test_rules_that_fit_everybody_do_not_reach_nodes_and_sentinels(world):
    """Even where every address is 'outside', what nodes and sentinels ask each other stays canonical."""
    group = Published(world, sentinels=(PRODUCT, "redis", PRODUCT), rules="client-net 127.0.0.0/8")
    group.wait_settled()
    old = group.data[0]
    # Not even this way of asking, for sentinels.
    asked = From("127.0.0.1", "127.0.0.1", group.sentinels[0].port)
    get = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    assert asked.ask(*get) == group.address_outside(old)
    assert asked.ask("CLIENT", "SETNAME", "sentinel-12345678-cmd") == "OK"
    assert asked.ask(*get) == group.address(old)
    old.kill9()
    new_port = wait_until(lambda: switched(group, old), "all have switched", 4 * PATIENCE)
    old.start()
    old.wait_role("slave", 4 * PATIENCE)
    canonical = {str(node.port) for node in group.data}
    for sentinel in group.sentinels:
        wait_until(lambda: sentinel.master_state()["num-slaves"] == "2", "nobody is known twice")
        asked = From("127.0.0.1", "127.0.0.1", sentinel.port)
        asked.ask("CLIENT", "SETNAME", "sentinel-12345678-cmd")
        told = {entry["port"] for entry in asked.pairs("SENTINEL", "REPLICAS", "mymaster")}
        assert told == canonical - {str(new_port)}, sentinel.name
        assert "+sentinel-invalid-addr" not in sentinel.log(), sentinel.name
    for node in group.data:
        # A replica's own idea of its master is the ordinary address, too.
        text_of = node.config_text() if node.port != new_port else ""
        assert not any(f"replicaof 127.0.0.1 {relay}" in text_of for relay in group.outside.values())


def switched(group, old):
    """The port of the new master, once all sentinels that are asked as sentinels name the same one."""
    named = set()
    for sentinel in group.sentinels:
        asked = From("127.0.0.1", "127.0.0.1", sentinel.port)
        asked.ask("CLIENT", "SETNAME", "sentinel-12345678-cmd")
        named.add(asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])
        asked.socket.close()
    only = int(named.pop()) if len(named) == 1 else old.port
    return only if only != old.port else None


def test_rules(world):
    """By network, by user, by the master's name, by listener; the first that fits decides."""
    group = Published(world, data=(PRODUCT, PRODUCT), sentinels=(PRODUCT,), rules="client-net 127.0.0.2/32 user app")
    group.wait_settled()
    master, replica = group.data
    sentinel = group.sentinels[0]
    get = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")
    near = From("127.0.0.1", "127.0.0.1", sentinel.port)
    far = From("127.0.0.2", "127.0.0.1", sentinel.port)
    assert near.ask(*get, "mymaster") == group.address(master)
    assert far.ask(*get, "mymaster") == group.address_outside(master)
    assert far.ask(*get, "mymaster@canonical") == group.address(master)
    assert near.ask(*get, "mymaster@outside") == group.address_outside(master)
    assert near.ask(*get, "mymaster@nowhere") is None
    assert near.ask(*get, "other@outside") is None
    assert near.ask("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all") == "OK"
    user = From("127.0.0.1", "127.0.0.1", sentinel.port, "app", "secret")
    assert user.ask(*get, "mymaster") == group.address_outside(master)
    assert f"address=127.0.0.1:{group.outside[master.port]}," in far.ask("INFO", "sentinel")
    assert f"address=127.0.0.1:{master.port}," in near.ask("INFO", "sentinel")
    [entry] = far.pairs("SENTINEL", "MASTERS")
    assert [entry["ip"], entry["port"]] == group.address_outside(master)

    # The data nodes know each other's addresses, too.
    for source, address in (("127.0.0.1", group.address), ("127.0.0.2", group.address_outside)):
        asked = From(source, "127.0.0.1", master.port)
        [[ip, port, _]] = asked.ask("ROLE")[2]
        assert [ip, port] == address(replica)
        assert f"ip={ip},port={port}," in asked.info("replication")["slave0"]
        asked = From(source, "127.0.0.1", replica.port)
        assert asked.ask("ROLE")[1:3] == [address(master)[0], int(address(master)[1])]
        fields = asked.info("replication")
        assert [fields["master_host"], fields["master_port"]] == address(master)
    assert near.ask("PING") == "PONG"


def test_a_sentinel_remembers_after_a_restart(world):
    """And before that: the doctor, standing outside, sees one group under addresses that it can reach."""
    group = Published(world, data=(PRODUCT, PRODUCT), sentinels=(PRODUCT, PRODUCT), rules="client-net 127.0.0.0/8")
    group.wait_settled()
    words = [redoubt_binary(), "doctor", f"127.0.0.1:{group.listeners[group.sentinels[0].port]}"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE).stdout
    assert said.startswith("mymaster: 2 data node(s), 2 sentinel(s)") and "can't be reached" not in said, said
    master, sentinel = group.data[0], group.sentinels[0]
    for node in group.data:
        node.kill9()
    sentinel.restart()
    asked = group.asked_outside()
    assert asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") == group.address_outside(master)
    [entry] = asked.pairs("SENTINEL", "REPLICAS", "mymaster")
    assert entry["port"] == str(group.outside[group.data[1].port])
    [entry] = asked.pairs("SENTINEL", "SENTINELS", "mymaster")
    assert entry["port"] == str(group.listeners[group.sentinels[1].port])


def test_real_redis_nodes_get_their_addresses_from_the_sentinels_file(world):
    """`sentinel known-view`: for nodes that can't state them."""
    master = world.server("redis")
    # A replica tells it views that it does not know, and follows all the same.
    stranger = world.server(PRODUCT, "announce-view outside address 127.0.0.1:36380", f"replicaof 127.0.0.1 {master.port}")
    stranger.wait_link_up()
    sentinel = world.sentinel(PRODUCT, start=False)
    sentinel.write_config([
        f"sentinel monitor mymaster 127.0.0.1 {master.port} 1",
        f"sentinel known-view mymaster 127.0.0.1 {master.port} outside=127.0.0.1:36379",
    ])
    sentinel.start()
    wait_until(lambda: sentinel.master_state()["runid"], "INFO has arrived")
    assert sentinel.master_addr() == ("127.0.0.1", master.port)
    assert sentinel.master_addr("mymaster@outside") == ("127.0.0.1", 36379)
    sentinel.restart()
    assert sentinel.master_addr("mymaster@outside") == ("127.0.0.1", 36379)


def test_the_rules_of_a_sentinel_change_while_it_runs(world):
    group = Published(world, data=(PRODUCT, PRODUCT), sentinels=(PRODUCT,))
    group.wait_settled()
    sentinel, master = group.sentinels[0], group.data[0]
    assert sentinel.master_addr() == ("127.0.0.1", master.port)
    listener = sentinel.cmd("SENTINEL", "CONFIG", "GET", "announce-view")[1]
    rules = f"{listener} client-net 127.0.0.0/8"
    assert sentinel.cmd("SENTINEL", "CONFIG", "SET", "announce-view", rules) == "OK"
    assert sentinel.master_addr() == ("127.0.0.1", group.outside[master.port])
    with pytest.raises(Exception, match="Invalid value"):
        sentinel.cmd("SENTINEL", "CONFIG", "SET", "announce-view", "outside")
    sentinel.restart()
    assert sentinel.cmd("SENTINEL", "CONFIG", "GET", "announce-view") == ["announce-view", rules]
    assert sentinel.master_addr() == ("127.0.0.1", group.outside[master.port])
    assert sentinel.cmd("SENTINEL", "CONFIG", "SET", "announce-view", "") == "OK"
    assert sentinel.master_addr() == ("127.0.0.1", master.port)


def test_config_commands(world):
    """CONFIG GET, SET, REWRITE; what is wrong is named and changes nothing."""
    node = world.server(PRODUCT, "announce-view outside address 127.0.0.1:36379 client-net gateway", "announce-view lan user app")
    both = "outside address 127.0.0.1:36379 client-net gateway lan user app"
    assert node.cmd("CONFIG", "GET", "announce-view") == ["announce-view", both]
    assert node.info("replication")["announced_views"] == "outside=127.0.0.1:36379"
    for wrong in ("outside", "outside address x", "a@b user x", "outside client-net 10.0.0.0/33", "outside listener x"):
        with pytest.raises(Exception, match="announce-view"):
            node.cmd("CONFIG", "SET", "announce-view", wrong)
    assert node.cmd("CONFIG", "GET", "announce-view")[1] == both
    # A listener of its own can be opened while the server runs.
    port = free_port()
    assert node.cmd("CONFIG", "SET", "announce-view", f"o address [::1]:7 listener {port}") == "OK"
    wait_until(lambda: Raw("127.0.0.1", port).command("PING") == b"PONG", "it listens")
    assert node.cmd("CONFIG", "REWRITE") == "OK"
    assert f"announce-view o address [::1]:7 listener {port}\n" in node.config_text()
    assert "lan user" not in node.config_text()
    node.restart()
    assert node.info("replication")["announced_views"] == "o=[::1]:7"
    assert Raw("127.0.0.1", port).command("PING") == b"PONG"
    assert node.cmd("CONFIG", "SET", "announce-view", "") == "OK"
    assert "announced_views" not in node.info("replication")


def test_the_gateway_of_a_network(world):
    """Who comes from the default gateway, as clients of published ports do in a container, is outside."""
    sentinel_host, client_host = world.network.host(), world.network.host()
    gateway = f"{world.network.prefix}.1"
    sh("ip", "-n", sentinel_host.namespace, "route", "add", "default", "via", gateway)
    master = world.server(PRODUCT, "announce-view outside address 127.0.0.1:36379", host=sentinel_host)
    sentinel = world.sentinel(
        PRODUCT, f"sentinel monitor mymaster {master.ip} {master.port} 1", "announce-view outside client-net gateway",
        host=sentinel_host,
    )
    ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    # This process stands at the gateway's address.
    wait_until(lambda: sentinel.cmd(*ask) == ["127.0.0.1", "36379"], "the gateway is told the address outside")
    assert client_host.cli(sentinel, *ask).split() == [master.ip, str(master.port)]
    assert sentinel_host.cli(sentinel, *ask).split() == [master.ip, str(master.port)]
